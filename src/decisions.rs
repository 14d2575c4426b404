//! Decisions that people wrote into the workbook of a report, and put back for the next run.
//!
//! The sheet *Needs you* offers beside each break what can be decided about it. Whoever fills it in saves the workbook in the folder
//! `decisions` beside the job's reports. The next run takes what stands there as if it had been said to `tieout review`, tells it, and
//! puts the file into the folder `taken`.
//!
//! # Words
//! A row is *refused* if its decision cannot be kept: the break changed since the report, it is gone, the word does not fit it, nobody
//! signed. The others of the file are kept all the same. A file *waits* as long as it cannot be read: somebody has it open, it is not
//! whole yet.
//!
//! # Design
//! - Each row names the report that its reader had before them. It counts only if the break asks now what it asked there: what somebody
//!   did not see is not what they decided about. So a file that lay about for a week is taken for what did not change meanwhile.
//! - The decision is as old as the file. One that was made later, in another way, stays.
//! - The ledger keeps with each decision the file, its SHA-256 and the row. A file whose decisions were kept, and which a killed run did
//!   not put away, is known by that, and taken no second time.
//! - A plan reads the files and changes nothing: neither ledger nor files.
//! - Looking at these files stops no run. What cannot be taken is told in its report.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};

use crate::disk;
use crate::error::Error;
use crate::frame::Pulled;
use crate::job::{ExcelColumn, ExcelHeader, ExcelHeaderAt, ExcelSettings, Gates, Job, Kind, May, Role, SystemSpec};
use crate::reconcile::answers::{Act, Answer, WrittenIn, misfit};
use crate::report::workbook::{DECISION_COLUMNS, DECISION_SHEET, ID_COLUMN};
use crate::review::{Signature, give};
use crate::state::{KnownBreak, Ledger};
use crate::systems::{self, Opening};
use crate::value::FieldType;

/// The folder beside the reports of a job from which decisions are taken.
pub const FOLDER: &str = "decisions";
/// The folder in it that holds the files that were taken.
pub const TAKEN: &str = "taken";

const SNOOZE_UNTIL: &str = "snooze until";
const SNOOZE_DAYS: [i64; 2] = [7, 30];
/// So many refused rows of a file are told one by one.
const REFUSED_TOLD: usize = 20;
/// So many characters of what somebody wrote are told.
const SHOWN_CHARACTERS: usize = 60;
const ENDINGS: [&str; 5] = ["xlsx", "xlsm", "xls", "xlsb", "ods"];

/// What can be decided about a break, in the words that a workbook offers.
pub fn words(known: &KnownBreak) -> Vec<String> {
    let ask = known.ask.as_ref();
    let fits = |act: &Act| misfit(&known.open, ask, act).is_none();
    let mut words: Vec<String> = [Act::Accept].iter().filter(|act| fits(act)).map(ToString::to_string).collect();
    words.extend(ask.into_iter().flat_map(|ask| &ask.sides).map(|system| Act::Choose { system: system.clone() }).filter(fits).map(|act| act.to_string()));
    words.extend([Act::Unfreeze, Act::Reject].iter().filter(|act| fits(act)).map(ToString::to_string));
    words.extend(SNOOZE_DAYS.iter().map(|days| format!("snooze {days} days")));
    words.push(SNOOZE_UNTIL.to_owned());
    words
}

/// What was found in the folder.
#[derive(Debug, Default)]
pub struct Found {
    /// The decisions that can be kept.
    pub answers: Vec<Answer>,
    /// What is to be said about them and about everything else, a sentence each.
    pub notes: Vec<String>,
    /// The numbers of decisions whose place they take.
    replaced: BTreeSet<u64>,
    /// The files that are done with, each with the SHA-256 of what was read.
    done: Vec<(String, String)>,
    folder: PathBuf,
}

/// Reads what people decided. `folder` is that of the job's reports.
///
/// # Errors
/// Only those of the ledger.
pub fn find(job: &Job, ledger: &Ledger, folder: &Path, now: Timestamp) -> Result<Found, Error> {
    let folder = folder.join(FOLDER);
    let mut found = Found { folder: folder.clone(), ..Found::default() };
    if !folder.is_dir() {
        return Ok(found);
    }
    let names = match disk::files(&folder) {
        Ok(names) => names,
        Err(error) => {
            found.notes.push(format!("decisions could not be looked for: {}", told(&error)));
            return Ok(found);
        }
    };
    let open_in_a_program: BTreeSet<&str> =
        names.iter().filter_map(|name| name.strip_prefix(".~lock.").and_then(|name| name.strip_suffix('#')).or(name.strip_prefix("~$"))).collect();
    // A spreadsheet program leaves out the beginning of a long name.
    let is_open = |name: &str| open_in_a_program.iter().any(|open| *open == name || open.len() > 4 && name.get(2..) == Some(open));
    let mut known: Option<Known<'_>> = None;
    for name in names.iter().filter(|name| !name.starts_with('.') && !name.starts_with("~$")) {
        let shown = shown(name);
        let is_workbook = name.rsplit_once('.').is_some_and(|(_, ending)| ENDINGS.contains(&ending.to_ascii_lowercase().as_str()));
        if name.contains("${") {
            // It would be read as a reference to the environment.
            found.notes.push(format!("`{FOLDER}/{shown}` was not taken: give it a name without `$`"));
        } else if !is_workbook {
            found.notes.push(format!("`{FOLDER}/{shown}` is no workbook: it was left where it is"));
        } else if is_open(name) {
            found.notes.push(format!("`{FOLDER}/{shown}` is open in a program: its decisions wait until it is closed"));
        } else {
            let known = match &mut known {
                Some(known) => known,
                None => known.insert(Known { job, ledger, breaks: ledger.open_breaks()?, answers: ledger.answers()?, now }),
            };
            match read(&folder, name) {
                Ok(pulled) => known.take(&mut found, name, &pulled)?,
                Err(error) => found.notes.push(format!("`{FOLDER}/{shown}` was not taken: {}", told(&error))),
            }
        }
    }
    Ok(found)
}

impl Found {
    /// Gives the decisions the numbers that they would have if they were kept now.
    ///
    /// # Errors
    /// Those of the ledger.
    pub fn numbered(mut self, ledger: &Ledger) -> Result<Found, Error> {
        for (answer, number) in self.answers.iter_mut().zip(ledger.next_answer()?..) {
            answer.number = number;
        }
        Ok(self)
    }

    /// The decisions of `before` and these.
    pub fn after(&self, before: Vec<Answer>) -> Vec<Answer> {
        let new: BTreeSet<&str> = self.answers.iter().map(|answer| answer.id.as_str()).collect();
        let stay = before.into_iter().filter(|answer| !new.contains(answer.id.as_str()) && !self.replaced.contains(&answer.number));
        stay.chain(self.answers.iter().cloned()).collect()
    }

    /// Keeps the decisions, and puts the files away that they were taken from. Gives what is to be said.
    ///
    /// # Errors
    /// Those of the ledger: then nothing is kept, and all files stay.
    pub fn keep(self, ledger: &Ledger, run: &str, now: &str) -> Result<Vec<String>, Error> {
        let Found { answers, mut notes, replaced, done, folder } = self;
        if !answers.is_empty() {
            ledger.answer(&answers, &replaced.into_iter().collect::<Vec<u64>>(), now)?;
        }
        for (name, sha256) in &done {
            match put_away(&folder, name, sha256, run) {
                Ok(true) => {}
                Ok(false) => notes.push(format!("`{FOLDER}/{}` was saved again while it was read: what is new in it is taken by the next run", shown(name))),
                Err(why) => notes.push(format!("`{FOLDER}/{}` could not be put into `{TAKEN}`: {why}; its decisions are taken only once", shown(name))),
            }
        }
        Ok(notes)
    }
}

/// Puts a file away that was read. Not one that is no longer what was read: somebody saved it meanwhile, and nobody has seen that yet.
///
/// # Errors
/// Why it could not be put away.
fn put_away(folder: &Path, name: &str, sha256: &str, run: &str) -> Result<bool, String> {
    let (place, taken) = (folder.join(name), folder.join(TAKEN));
    disk::create_dir_private(&taken).map_err(|error| told(&error))?;
    let kept = taken.join(format!("{run}-{name}"));
    fs::rename(&place, &kept).map_err(|error| error.to_string())?;
    // Only now nobody saves over it any more.
    let is_what_was_read = disk::digest_of(&kept).map_err(|error| told(&error))? == sha256;
    // A file that was saved in the moment between stands at its place already: both stay.
    if !is_what_was_read && !place.exists() {
        fs::rename(&kept, &place).map_err(|error| error.to_string())?;
    }
    disk::sync_folder(folder).map_err(|error| told(&error))?;
    Ok(is_what_was_read)
}

/// What can be decided about.
struct Known<'a> {
    job: &'a Job,
    ledger: &'a Ledger,
    breaks: BTreeMap<String, KnownBreak>,
    answers: Vec<Answer>,
    now: Timestamp,
}

/// What somebody wrote into a row.
struct Row {
    row: u64,
    id: String,
    decision: String,
    reason: String,
    until: String,
    who: String,
    of_run: String,
}

impl Known<'_> {
    /// Takes the rows of a file.
    fn take(&self, found: &mut Found, name: &str, pulled: &Pulled) -> Result<(), Error> {
        let shown = shown(name);
        let sha256 = pulled.evidence.sha256.clone().unwrap_or_default();
        if self.ledger.was_taken(&sha256)? {
            found.notes.push(format!("`{FOLDER}/{shown}` was taken before: nothing of it is decided a second time"));
            found.done.push((name.to_owned(), sha256.clone()));
            return Ok(());
        }
        let saved = found.folder.join(name).metadata().and_then(|metadata| metadata.modified()).ok();
        let at = saved.and_then(|saved| Timestamp::try_from(saved).ok()).map_or(self.now, |saved| saved.min(self.now)).to_string();
        let (mut kept, mut refused) = (Vec::new(), Vec::new());
        let mut decided: BTreeMap<String, u64> = BTreeMap::new();
        for row in 0..u32::try_from(pulled.height()).unwrap_or(u32::MAX) {
            let cell = |column: &str| pulled.raw(column, row).text.map(|text| text.trim().to_owned()).unwrap_or_default();
            let [decision, reason, until, who, of_run] = DECISION_COLUMNS.map(cell);
            let row = Row { row: pulled.line(row), id: cell(ID_COLUMN), decision, reason, until, who, of_run };
            let is_blank = [&row.decision, &row.reason, &row.until].iter().all(|cell| cell.is_empty());
            if is_blank {
                continue;
            }
            let taken = match decided.get(&row.id) {
                Some(first) => Err(format!("it is decided in row {first} already")),
                None => self.answer(&row, &at)?,
            };
            match taken {
                Ok(mut given) => {
                    given.answer.written = Some(WrittenIn { file: name.to_owned(), row: row.row, sha256: sha256.clone() });
                    decided.insert(row.id, row.row);
                    found.replaced.extend(given.replaced);
                    kept.push(given.answer);
                }
                Err(why) => refused.push(format!("`{FOLDER}/{shown}`, row {}: {why}; it was not taken", row.row)),
            }
        }
        if kept.is_empty() && refused.is_empty() {
            found.notes.push(format!("`{FOLDER}/{shown}` decides nothing"));
        }
        if !kept.is_empty() {
            let mut who: Vec<&str> = kept.iter().map(|answer: &Answer| answer.who.as_str()).collect();
            who.sort_unstable();
            who.dedup();
            let count = if kept.len() == 1 { "1 decision".to_owned() } else { format!("{} decisions", kept.len()) };
            found.notes.push(format!("{count} of {} taken from `{FOLDER}/{shown}`", who.join(", ")));
        }
        let more = refused.len().saturating_sub(REFUSED_TOLD);
        found.notes.extend(refused.into_iter().take(REFUSED_TOLD));
        if more > 0 {
            found.notes.push(format!("`{FOLDER}/{shown}`: {more} more rows were not taken"));
        }
        found.answers.extend(kept);
        found.done.push((name.to_owned(), sha256));
        Ok(())
    }

    /// The decision of a row, or why it cannot be kept.
    fn answer(&self, row: &Row, at: &str) -> Result<Result<crate::review::Given, String>, Error> {
        let job = &self.job.name;
        let Some(run) = row.of_run.strip_prefix(job.as_str()).and_then(|run| run.strip_prefix(' ')) else {
            return Ok(Err(match row.of_run.split_once(' ') {
                Some((other, _)) => format!("it is of the job `{}`, and this is `{job}`", shown(other)),
                None => "nothing says which report it is of: `Of run` was changed".to_owned(),
            }));
        };
        if !self.ledger.knows(run)? {
            return Ok(Err(format!("no run `{}` of this job is known", shown(run))));
        }
        let Some(known) = self.breaks.get(&row.id) else {
            return Ok(Err(format!("the break `{}` is not open", shown(&row.id))));
        };
        let then = self.ledger.asked_after(known, run)?;
        if then.as_ref() != Some(&known.ask) {
            return Ok(Err(format!("what the break `{}` is about changed since the report: decide it in a newer one", known.id)));
        }
        let act = match act(row, known, self.now) {
            Ok(act) => act,
            Err(why) => return Ok(Err(why)),
        };
        if let Some(why) = misfit(&known.open, known.ask.as_ref(), &act) {
            return Ok(Err(format!("`{act}` does not fit the break `{}`: {why}", known.id)));
        }
        if row.who.is_empty() {
            return Ok(Err("nobody is named in `Decided by`".to_owned()));
        }
        let moment = |at: &str| at.parse::<Timestamp>().ok();
        let is_later = |answer: &&Answer| answer.id == known.id && !matches!(answer.act, Act::Undone { .. }) && moment(&answer.at) > moment(at);
        if let Some(later) = self.answers.iter().find(is_later) {
            return Ok(Err(format!("{} decided the break `{}` later ({})", later.who, known.id, later.act)));
        }
        let why = (!row.reason.is_empty()).then_some(row.reason.as_str());
        Ok(Ok(give(self.job, known, &act, Signature { who: &row.who, why, at }, &self.answers)))
    }
}

/// What the words of a row mean.
fn act(row: &Row, known: &KnownBreak, now: Timestamp) -> Result<Act, String> {
    let words: Vec<String> = row.decision.split_whitespace().map(str::to_lowercase).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let sides = || known.ask.as_ref().map(|ask| ask.sides.as_slice()).unwrap_or_default();
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let act = match words.as_slice() {
        [] => return Err("there is a reason or a day, and no decision".to_owned()),
        ["accept"] => Act::Accept,
        ["reject"] => Act::Reject,
        ["unfreeze"] => Act::Unfreeze,
        ["snooze"] | ["snooze", "until"] => return Ok(Act::Snooze { until: day_to_come(&row.until, today)?.to_string() }),
        ["snooze", days, "days"] if days.parse::<i64>().is_ok_and(|days| (1..=3650).contains(&days)) => {
            let until = days.parse::<i64>().ok().and_then(|days| today.checked_add(days.days()).ok()).ok_or("the day cannot be counted")?;
            Act::Snooze { until: until.to_string() }
        }
        ["choose", ..] => {
            let chosen = row.decision.split_once(char::is_whitespace).map(|(_, system)| system.trim()).unwrap_or_default();
            let exact = sides().iter().find(|side| *side == chosen);
            let system = exact.or_else(|| sides().iter().find(|side| side.to_lowercase() == chosen.to_lowercase()));
            Act::Choose { system: system.map_or_else(|| chosen.to_owned(), Clone::clone) }
        }
        _ => return Err(format!("`{}` is no decision; what fits: {}", shown(&row.decision), self::words(known).join(", "))),
    };
    if !row.until.is_empty() {
        return Err(format!("the day in `Until` is for `{SNOOZE_UNTIL}` alone, and the decision is `{}`", shown(&row.decision)));
    }
    Ok(act)
}

/// The day that somebody wrote, if it is still to come.
///
/// # Errors
/// What is wrong with it.
pub fn day_to_come(written: &str, today: Date) -> Result<Date, String> {
    if written.is_empty() {
        return Err("no day is given until which it is to be snoozed".to_owned());
    }
    // A cell with a day may hold its midnight as well.
    let day = written.strip_suffix("T00:00:00").or(written.strip_suffix(" 00:00:00")).unwrap_or(written);
    let Some(day) = day.parse::<Date>().ok().filter(|_| day.len() == 10) else { return Err(format!("`{}` is no day", shown(written))) };
    if day <= today { Err(format!("the day `{day}` has come already")) } else { Ok(day) }
}

/// Reads the sheet on which is decided.
fn read(folder: &Path, name: &str) -> Result<Pulled, Error> {
    let columns: Vec<String> = [ID_COLUMN].into_iter().chain(DECISION_COLUMNS).map(str::to_owned).collect();
    let column = |name: &String| ExcelColumn {
        name: name.clone(),
        field_type: FieldType::Text,
        is_key: false,
        is_identifier: true,
        declares_dates: false,
        fixed_width: None,
        timezone: None,
    };
    let settings = ExcelSettings {
        path: name.to_owned(),
        sheet: Some(DECISION_SHEET.to_owned()),
        header: ExcelHeader { at: ExcelHeaderAt::Find(columns.clone()), ..ExcelHeader::default() },
        columns: columns.iter().map(column).collect(),
        ..ExcelSettings::default()
    };
    let spec = SystemSpec {
        name: FOLDER.to_owned(),
        kind: Kind::Excel(settings),
        role: Role::Witness,
        may: May::default(),
        only: Vec::new(),
        id: None,
        edited_at: None,
        gates: Gates::default(),
    };
    let opening = Opening { root: folder, job: FOLDER, spec: &spec, columns, known: BTreeMap::new(), state: None };
    systems::open(opening)?.pull()?.whole()
}

fn told(error: &Error) -> String {
    let first = error.diagnostics.first();
    let message = first.map(|one| one.message.clone()).unwrap_or_default();
    let seen = first.into_iter().flat_map(|one| &one.seen).next().map(|seen| format!(" ({seen})")).unwrap_or_default();
    format!("{message}{seen}")
}

/// What somebody wrote, in one line and not too long.
fn shown(written: &str) -> String {
    let one_line: String = written.chars().map(|letter| if letter.is_control() || letter == '`' { ' ' } else { letter }).collect();
    match one_line.char_indices().nth(SHOWN_CHARACTERS) {
        Some((at, _)) => format!("{}…", &one_line[..at]),
        None => one_line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_again_meanwhile_is_not_put_away() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("report.xlsx");
        fs::write(&file, "read").expect("a file");
        let read = disk::digest(b"read");
        fs::write(&file, "saved again").expect("a file");
        assert_eq!(put_away(folder.path(), "report.xlsx", &read, "r1"), Ok(false));
        assert_eq!(fs::read_to_string(&file).expect("it stays"), "saved again");
        fs::write(&file, "read").expect("a file");
        assert_eq!(put_away(folder.path(), "report.xlsx", &read, "r2"), Ok(true));
        assert!(!file.exists());
        assert_eq!(fs::read_to_string(folder.path().join(TAKEN).join("r2-report.xlsx")).expect("it is kept"), "read");
        assert!(put_away(folder.path(), "gone.xlsx", &read, "r3").is_err());
    }
}
