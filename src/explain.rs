//! One record, explained: what the state holds of it in each system, what is open, and what every run did to it.
//!
//! It is told from what is stored: the bases of the last promoted run, the ledger, and the plans that are still kept. No
//! system is opened, nothing is written, no lock is needed.
//!
//! # Words
//! A record is *asked for* by its key, in any spelling that the cleaning of some system reads as that key, or by a native id.
//! Its *story* is what happened to it, a run at a time, the newest first; runs that left it alone are not in it.
//!
//! # Design
//! - Plans are kept for fewer days than the ledger. Of a run whose plan is gone the ledger still tells what was sent, what
//!   became of it and which values lost, and it is said that the rest is gone.
//! - Values of sensitive fields are masked as in reports: in cells, in keys, and in every sentence that quotes one.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::change::{Action, Break, Change, Decision, Outcome, SystemValue, key_for_people};
use crate::diagnostic::{Place, did_you_mean};
use crate::error::{Error, Remedy};
use crate::job::Job;
use crate::reconcile::answers::{Answer, Became};
use crate::reconcile::base::{FieldDebt, Standing};
use crate::reconcile::clean::{Accents, match_form, read_one};
use crate::report::{MASK, Secrets, value_for_people, visible_for_people};
use crate::state::{AnswerEvent, Held, KnownBreak, PlanOfRecords, RunOfStory, SentChange, Stored, keys_of};
use crate::value::{KEY_SEPARATOR, Raw, Value};

/// So many records are explained at once; a key or id that means more is too vague.
const RECORDS_MAX: usize = 5;
/// So many close keys are named where none is meant.
const CLOSE_MAX: usize = 3;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The key or native id, as a person writes it: parts of a key of several fields are separated by `|`, each may be
    /// given as `field=value`; `system:id` is the id in one system alone.
    pub key: &'a str,
    /// Only this field.
    pub field: Option<&'a str>,
    /// Only this run.
    pub run: Option<&'a str>,
    /// So many runs of the story at most, the newest.
    pub runs_max: usize,
    /// Whether values of sensitive fields are shown.
    pub reveal: bool,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The job.
    pub job: String,
    /// The run that left the state; nothing if none was promoted yet.
    pub state_of: Option<String>,
    /// The records that are meant. Never empty.
    pub records: Vec<Explained>,
    /// What a person should know of the answer, a sentence each.
    pub notes: Vec<String>,
    /// The job's fields that are masked.
    pub masked: Vec<String>,
}

/// One record.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// Its number in the job; nothing for a row that never became a record.
    pub record: Option<u64>,
    /// Its key, for people.
    pub key: String,
    /// By the job's systems: how it stands there.
    pub systems: Vec<InSystem>,
    /// What is open of it.
    pub open: Vec<StillOpen>,
    /// What happened to it, the newest run first.
    pub story: Vec<RunOfRecord>,
    /// How many runs of the story are older than those told.
    pub older_runs: usize,
    /// The canonical keys that it has or had.
    #[serde(skip)]
    keys: Vec<String>,
}

/// How a record stands in one system.
#[derive(Clone, Debug, Serialize)]
pub struct InSystem {
    /// The system.
    pub system: String,
    /// In words; nothing if it never was there.
    pub standing: Option<&'static str>,
    /// The native id.
    pub id: Option<String>,
    /// The key of the row there, for people.
    pub key: Option<String>,
    /// By the job's fields that the system carries: the base.
    pub values: Vec<BaseValue>,
}

/// The base of a field: the value that was last read and took part in a decision.
#[derive(Clone, Debug, Serialize)]
pub struct BaseValue {
    /// The field.
    pub field: String,
    /// The value; nothing if it was never seen.
    pub value: Option<Value>,
}

/// Something that is open.
#[derive(Clone, Debug, Serialize)]
pub struct StillOpen {
    /// What, in words: `owed`, `normalised`, or the kind of the break.
    pub what: String,
    /// The identity of a break.
    pub id: Option<String>,
    /// The field; nothing where the record is meant.
    pub field: Option<String>,
    /// The system that it is about.
    pub system: Option<String>,
    /// The decided value of what is owed.
    pub value: Option<Value>,
    /// What each system held.
    pub held: Vec<SystemValue>,
    /// The run that saw it first, and when that started.
    pub since: Option<(String, String)>,
    /// Why, in words.
    pub why: String,
    /// The next step for a person.
    pub next_step: Option<String>,
    /// What a person decided about it, which waits for the next run or holds, in words.
    pub decided: Option<String>,
}

/// What one run did to the record.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RunOfRecord {
    /// The run.
    pub run: String,
    /// The command that made it.
    pub command: String,
    /// When it started.
    pub started: String,
    /// How it ended; nothing if it was cut off.
    pub verdict: Option<String>,
    /// What was decided of its fields.
    pub decisions: Vec<Decided>,
    /// What was written.
    pub writes: Vec<Written>,
    /// Values that lost, where the plan is no longer there to tell.
    pub lost: Vec<Lost>,
    /// What happened to its links and keys, in words.
    pub links: Vec<String>,
    /// What happened to its breaks.
    pub breaks: Vec<BreakOfRun>,
    /// What people had decided about its breaks, with what became of it in this run, in words.
    pub answers: Vec<String>,
    /// What a person should know of it, a sentence each.
    pub notes: Vec<String>,
}

/// What was decided of a field.
#[derive(Clone, Debug, Serialize)]
pub struct Decided {
    /// The field.
    pub field: String,
    /// The decided value.
    pub value: Value,
    /// Which rule decided, in words.
    pub rule: String,
    /// The systems whose value it is.
    pub won: Vec<String>,
    /// What each system held.
    pub seen: Vec<SystemValue>,
    /// The values that lost.
    pub lost: Vec<SystemValue>,
    /// The systems that lack it and are not sent it.
    pub unsent: Vec<String>,
}

/// A change of the record in a system.
#[derive(Clone, Debug, Serialize)]
pub struct Written {
    /// The number of the change in the plan.
    pub number: u32,
    /// The system.
    pub system: String,
    /// What was done.
    pub action: String,
    /// The fields with what stood there and what was to stand there; empty where the plan is gone.
    pub cells: Vec<WrittenCell>,
    /// Why, in words.
    pub rule: Option<String>,
    /// What became of it, in a word or two.
    pub outcome: String,
    /// The system's words, or what was read back instead.
    pub detail: Option<String>,
}

/// A cell of a change.
#[derive(Clone, Debug, Serialize)]
pub struct WrittenCell {
    /// The field; nothing for a column outside the job.
    pub field: Option<String>,
    /// The column.
    pub column: String,
    /// What stood there.
    pub before: Value,
    /// What was to stand there.
    pub after: Value,
}

/// A value that lost.
#[derive(Clone, Debug, Serialize)]
pub struct Lost {
    /// The field.
    pub field: String,
    /// The system that held it.
    pub system: String,
    /// The value.
    pub value: Value,
    /// What was decided instead.
    pub decided: Value,
    /// Which rule decided, in words.
    pub rule: String,
}

/// What happened to a break.
#[derive(Clone, Debug, Serialize)]
pub struct BreakOfRun {
    /// Its identity.
    pub id: String,
    /// `opened`, `changed` or `cleared`.
    pub event: String,
    /// Its kind, where it is still known.
    pub kind: Option<String>,
    /// Its field.
    pub field: Option<String>,
    /// The system at odds.
    pub system: Option<String>,
    /// What each system held.
    pub values: Vec<SystemValue>,
    /// Why it was there.
    pub why: Option<String>,
}

/// Explains a record of a job.
///
/// # Errors
/// `MendJob` if no record is meant, or too many; `Look` if what is stored is damaged.
pub fn explain(job: &Job, stored: Option<&Stored>, question: &Question<'_>) -> Result<Explanation, Error> {
    if let Some(field) = question.field.filter(|field| job.field(field).is_none()) {
        let names = || job.fields.iter().map(|field| field.name.as_str());
        let error = Error::new(Remedy::MendJob, Place::of(&job.name), format!("there is no field `{field}`")).seen(format!(
            "fields of `{}`: {}",
            job.name,
            names().collect::<Vec<_>>().join(", ")
        ));
        return Err(match did_you_mean(field, names()) {
            Some(close) => error.hint(format!("did you mean `{close}`?")),
            None => error.hint("leave the field out to see all of them"),
        });
    }
    let asked = Asked::read(job, question.key)?;
    let Some(stored) = stored else {
        return Err(Error::new(Remedy::MendJob, Place::of(&job.name), "the job never ran: nothing is known of any record")
            .hint(format!("run it with `tieout run {}`", job.name)));
    };
    let runs = stored.ledger.runs_of_story()?;
    if let Some(run) = question.run.filter(|run| !runs.iter().any(|known| known.line.run == **run)) {
        return Err(Error::new(Remedy::MendJob, Place::of(&job.name), format!("there is no run `{run}` of this job"))
            .hint(format!("`tieout history {}` lists them", job.name)));
    }
    let records = asked.find(job, stored)?;
    let is_key_sensitive = job.key.iter().any(|field| job.fields[*field].sensitive);
    if records.len() > RECORDS_MAX {
        return Err(Error::new(Remedy::MendJob, Place::of(&job.name), format!("`{}` means {} records", asked.text, records.len()))
            .hint("name one by its whole key, or by its id in one system as `SYSTEM:ID`"));
    }
    let held = stored.held(job, &records)?;
    let keys = held.as_ref().map(keys_of).unwrap_or_default();
    let teller = Teller { job, stored, question, runs: &runs, held: held.as_ref(), open_breaks: stored.ledger.open_breaks()? };
    let mut told = Vec::new();
    for record in &records {
        told.push(teller.tell(Some(*record), keys.get(record).cloned().unwrap_or_default())?);
    }
    if told.is_empty() && !asked.keys.is_empty() {
        let row = teller.tell(None, asked.keys.clone())?;
        told.extend((!row.open.is_empty() || !row.story.is_empty()).then_some(row));
    }
    if told.is_empty() {
        return Err(unknown(job, stored, &asked, is_key_sensitive && !question.reveal)?);
    }
    let masked: Vec<String> = match question.reveal {
        true => Vec::new(),
        false => job.fields.iter().filter(|field| field.sensitive).map(|field| field.name.clone()).collect(),
    };
    if !masked.is_empty() {
        told.iter_mut().for_each(|one| mask(job, one));
    }
    let mut notes = Vec::new();
    if told.len() > 1 {
        notes.push(format!("{} records are meant", told.len()));
    }
    notes.extend(teller.what_is_gone());
    if let Some(run) = stored.ledger.last_removed()? {
        notes.push(format!("of run {run} and those before it, only what is open is still in the ledger"));
    }
    Ok(Explanation { job: job.name.clone(), state_of: held.map(|held| held.run), records: told, notes, masked })
}

/// What a person asked for, read.
struct Asked {
    /// As it was written.
    text: String,
    /// The canonical keys that some system's cleaning makes of it.
    keys: BTreeSet<String>,
    /// The native id that it may be, and the system in which alone.
    id: (String, Option<usize>),
}

impl Asked {
    fn read(job: &Job, text: &str) -> Result<Asked, Error> {
        let text = text.trim();
        let names: Vec<&str> = job.key.iter().map(|field| job.fields[*field].name.as_str()).collect();
        let of_system = text.split_once(':').and_then(|(system, id)| Some((id.trim().to_owned(), job.system(system.trim())?)));
        let id = of_system.map_or_else(|| (text.to_owned(), None), |(id, system)| (id, Some(system)));
        let whole = || Asked { text: text.to_owned(), keys: BTreeSet::new(), id: id.clone() };
        let parts: Vec<&str> = if names.len() == 1 { vec![text] } else { text.split(['|', KEY_SEPARATOR]).map(str::trim).collect() };
        let named: Vec<Option<(usize, &str)>> = parts
            .iter()
            .map(|part| part.split_once('=').and_then(|(name, value)| Some((names.iter().position(|known| *known == name.trim())?, value.trim()))))
            .collect();
        let mut ordered: Vec<Option<&str>> = vec![None; names.len()];
        if parts.len() != names.len() {
            // It may still be an id.
            if parts.len() > 1 || named.iter().any(Option::is_some) {
                return Err(Error::new(
                    Remedy::MendJob,
                    Place::of(&job.name),
                    format!("`{text}` is no key: it gives {} of its {} parts", parts.len(), names.len()),
                )
                .seen(format!("the key is {}", names.join(" | ")))
                .hint("separate its parts by `|`, in quotes, or write each as `field=value`"));
            }
            return Ok(whole());
        }
        for (place, (part, named)) in parts.iter().zip(&named).enumerate() {
            let (place, value) = named.unwrap_or((place, part));
            ordered[place] = Some(value);
        }
        let Some(ordered) = ordered.into_iter().collect::<Option<Vec<&str>>>() else {
            return Err(Error::new(Remedy::MendJob, Place::of(&job.name), format!("`{text}` gives a part of the key twice"))
                .seen(format!("the key is {}", names.join(" | ")))
                .hint("give each part once"));
        };
        let mut keys = BTreeSet::from([ordered.join(&KEY_SEPARATOR.to_string())]);
        for system in 0..job.systems.len() {
            let read = |(field, text): (&usize, &&str)| {
                let field = &job.fields[*field];
                let value = read_one(field, field.columns[system].as_ref()?, &Raw::text(*text))?;
                (!value.is_null()).then(|| value.to_string())
            };
            let parts: Option<Vec<String>> = job.key.iter().zip(&ordered).map(read).collect();
            keys.extend(parts.map(|parts| parts.join(&KEY_SEPARATOR.to_string())));
        }
        Ok(Asked { keys, ..whole() })
    }

    /// The records that are meant: those of the key that are in some system; else those of the id; else those that ended or
    /// were once called so.
    fn find(&self, job: &Job, stored: &Stored) -> Result<BTreeSet<u64>, Error> {
        let found = stored.known(job, |known| {
            let is_key = self.id.1.is_none() && self.keys.contains(known.key);
            let is_id = self.id.1.is_none_or(|system| system == known.system) && known.id == Some(self.id.0.as_str());
            (is_key || is_id).then_some((known.record, is_key, known.standing.is_linked()))
        })?;
        let choice = |wanted: fn(bool, bool) -> bool| -> BTreeSet<u64> {
            found.iter().filter(|(_, is_key, is_linked)| wanted(*is_key, *is_linked)).map(|(record, ..)| *record).collect()
        };
        let choices = [choice(|is_key, is_linked| is_key && is_linked), choice(|_, is_linked| is_linked), choice(|_, _| true)];
        if let Some(records) = choices.into_iter().find(|records| !records.is_empty()) {
            return Ok(records);
        }
        Ok(stored.ledger.records_once_called(&self.keys.iter().cloned().collect::<Vec<_>>())?.into_iter().collect())
    }
}

/// The error of a key that means no record, with the closest that do.
fn unknown(job: &Job, stored: &Stored, asked: &Asked, is_secret: bool) -> Result<Error, Error> {
    let error = Error::new(Remedy::MendJob, Place::of(&job.name), format!("no record has the key or the id `{}`", visible_for_people(&asked.text)));
    let error = error.seen(format!("the key is {}", job.key.iter().map(|field| format!("`{}`", job.fields[*field].name)).collect::<Vec<_>>().join(" | ")));
    if is_secret {
        return Ok(error.hint("close keys are not named, because the key is sensitive; `--reveal` names them"));
    }
    let forms: Vec<String> = asked.keys.iter().map(|key| match_form(key, Accents::Drop)).collect();
    let mut close = stored.known(job, |known| {
        let form = match_form(known.key, Accents::Drop);
        forms.iter().filter_map(|asked| distance(asked, &form)).min().map(|distance| (distance, known.key.to_owned()))
    })?;
    close.sort();
    close.dedup();
    let names: Vec<String> = close.iter().take(CLOSE_MAX).map(|(_, key)| format!("`{}`", visible_for_people(&key.replace(KEY_SEPARATOR, "|")))).collect();
    Ok(match names.as_slice() {
        [] => error.hint("a key is matched after cleaning; a part of it is not enough"),
        [one] => error.hint(format!("did you mean {one}?")),
        [most @ .., last] => error.hint(format!("did you mean {} or {last}?", most.join(", "))),
    })
}

/// How far two match forms are apart; nothing if too far for a slip. A form that contains the other is further than any slip.
fn distance(asked: &str, form: &str) -> Option<usize> {
    let lengths = (asked.chars().count(), form.chars().count());
    let longer = lengths.0.max(lengths.1);
    if asked == form {
        return Some(0);
    }
    let slips_max = (longer / 3).clamp(1, 4);
    if lengths.0.abs_diff(lengths.1) <= slips_max {
        let slips = strsim::damerau_levenshtein(asked, form);
        if slips <= slips_max {
            return Some(slips);
        }
    }
    (lengths.0 >= 3 && (form.contains(asked) || asked.contains(form) && lengths.1 >= 3)).then(|| 100 + lengths.0.abs_diff(lengths.1))
}

/// Tells the stories of one job.
struct Teller<'a> {
    job: &'a Job,
    stored: &'a Stored,
    question: &'a Question<'a>,
    runs: &'a [RunOfStory],
    held: Option<&'a Held>,
    open_breaks: BTreeMap<String, KnownBreak>,
}

impl Teller<'_> {
    /// A record, or a row that is none, with the canonical keys that it has.
    fn tell(&self, record: Option<u64>, mut keys: BTreeSet<String>) -> Result<Explained, Error> {
        let of_ledger =
            record.map(|record| Ok((self.stored.ledger.sent_of(record)?, self.stored.ledger.discarded_of(record)?, self.stored.ledger.links_of(record)?)));
        let (sent, discarded, links) = of_ledger.transpose()?.unwrap_or_default();
        // The name of the record is the key that it had last.
        let name = self.name_of(record, &keys).or_else(|| links.last().map(|link| link.key.clone())).or_else(|| sent.last().map(|sent| sent.key.clone()));
        keys.extend(name.clone());
        let name = name.or_else(|| keys.first().cloned()).unwrap_or_default();
        let field = self.question.field;
        let is_wanted = |of: Option<&str>| field.is_none() || of.is_none() || of == field;

        let mut story: BTreeMap<usize, RunOfRecord> = BTreeMap::new();
        let place: BTreeMap<&str, usize> = self.runs.iter().enumerate().map(|(at, run)| (run.line.run.as_str(), at)).collect();
        let plans = self.plans(record)?;
        for (at, plan) in &plans {
            let run = story.entry(*at).or_default();
            if !plan.is_as_saved {
                run.notes.push("its plan is not, to the byte, the one that the ledger knows".to_owned());
            }
            if plan.unreadable > 0 {
                run.notes.push(format!("{} lines of its plan cannot be read by this version", plan.unreadable));
            }
            keys.extend(plan.decisions.iter().map(|decision| decision.key.clone()));
            run.decisions.extend(plan.decisions.iter().filter(|decision| is_wanted(Some(&decision.field))).map(decided));
            for change in &plan.changes {
                let journalled = sent.iter().find(|sent| sent.run == self.runs[*at].line.run && sent.number == change.number);
                run.writes.extend(written(change, journalled, field));
            }
        }
        for one in &sent {
            let Some(at) = place.get(one.run.as_str()) else { continue };
            if !plans.contains_key(at) {
                let (outcome, detail) = outcome_of(Some(one));
                story.entry(*at).or_default().writes.push(Written {
                    number: one.number,
                    system: one.system.clone(),
                    action: one.action.clone(),
                    cells: Vec::new(),
                    rule: None,
                    outcome,
                    detail,
                });
            }
        }
        for one in discarded.into_iter().filter(|one| is_wanted(Some(&one.field))) {
            let Some(at) = place.get(one.run.as_str()) else { continue };
            let run = story.entry(*at).or_default();
            // What the plan tells is not told again.
            if !run.decisions.iter().any(|decision| decision.field == one.field) {
                run.lost.push(Lost { field: one.field, system: one.system, value: one.value, decided: one.decided, rule: one.reason });
            }
        }
        for link in &links {
            keys.insert(link.key.clone());
            let Some(at) = place.get(link.run.as_str()) else { continue };
            let run = story.entry(*at).or_default();
            run.links.push(format!("`{}`: {}", link.system, link.event));
        }
        let keys: Vec<String> = keys.into_iter().collect();
        for event in self.stored.ledger.break_events_of(&keys)? {
            let Some(at) = place.get(event.run.as_str()) else { continue };
            let known = event.body.or_else(|| self.last_seen(&keys, &event.id));
            if !is_wanted(known.as_ref().and_then(|open| open.field.as_deref())) {
                continue;
            }
            let told = BreakOfRun {
                id: event.id,
                kind: known.as_ref().map(|open| open.kind.to_string()),
                field: known.as_ref().and_then(|open| open.field.clone()),
                system: known.as_ref().and_then(|open| open.system.clone()),
                values: if event.event == "cleared" { Vec::new() } else { known.as_ref().map(|open| open.values.clone()).unwrap_or_default() },
                why: known.filter(|_| event.event != "cleared").map(|open| open.why),
                event: event.event,
            };
            story.entry(*at).or_default().breaks.push(told);
        }

        let answers = self.stored.ledger.answers_of(&keys)?;
        for one in answers.iter().filter(|one| is_wanted(one.answer.to.field.as_deref())) {
            let (Some(event), Some(at)) = (&one.event, one.ended_by.as_deref().and_then(|run| place.get(run))) else { continue };
            let by = one.who.as_ref().map(|who| format!(" by {who}")).unwrap_or_default();
            story.entry(*at).or_default().answers.push(format!("{}: {}{by}", words_of(&one.answer), Became::words(event)));
        }

        let mut told: Vec<RunOfRecord> = Vec::new();
        for (at, mut run) in story.into_iter().rev() {
            let of = &self.runs[at].line;
            let is_empty = run.decisions.is_empty()
                && run.writes.is_empty()
                && run.lost.is_empty()
                && run.links.is_empty()
                && run.breaks.is_empty()
                && run.answers.is_empty();
            if is_empty || self.question.run.is_some_and(|wanted| wanted != of.run) {
                continue;
            }
            (run.run, run.command, run.started, run.verdict) = (of.run.clone(), of.command.clone(), of.started.clone(), of.verdict.clone());
            told.push(run);
        }
        let older_runs = told.len().saturating_sub(self.question.runs_max);
        told.truncate(self.question.runs_max);
        Ok(Explained {
            record,
            key: key_for_people(&name),
            systems: record.map(|record| self.systems(record)).unwrap_or_default(),
            open: self.open(record, &keys, &answers),
            story: told,
            older_runs,
            keys,
        })
    }

    /// The break as some run saw it last: its end does not tell what it was.
    fn last_seen(&self, keys: &[String], id: &str) -> Option<Break> {
        let events = self.stored.ledger.break_events_of(keys).ok()?;
        events.into_iter().rev().filter(|event| event.id == id).find_map(|event| event.body)
    }

    /// The key under which a record stands in the first system that has it.
    fn name_of(&self, record: Option<u64>, keys: &BTreeSet<String>) -> Option<String> {
        let (held, record) = (self.held?, record?);
        let rows = held.bases.iter().filter_map(|base| Some((base, base.records.binary_search(&record).ok()?)));
        let mut named: Vec<(bool, String)> = rows
            .filter_map(|(base, row)| Some((base.standings[row].is_linked(), base.keys.get(row)?.to_owned())))
            .filter(|(_, key)| keys.contains(key))
            .collect();
        named.sort_by_key(|(is_linked, _)| !is_linked);
        named.into_iter().next().map(|(_, key)| key)
    }

    /// By the place of the run: what its plan says of the record, where it is still kept.
    fn plans(&self, record: Option<u64>) -> Result<BTreeMap<usize, PlanOfRecords>, Error> {
        let mut plans = BTreeMap::new();
        let Some(record) = record else { return Ok(plans) };
        for (at, run) in self.runs.iter().enumerate() {
            let is_asked = self.question.run.is_none_or(|wanted| wanted == run.line.run);
            if let Some(digest) = run.plan_digest.as_ref().filter(|_| run.plan_saved && is_asked)
                && let Some(plan) = self.stored.plan_of_records(&run.line.run, digest, &BTreeSet::from([record]))?
            {
                plans.insert(at, plan);
            }
        }
        Ok(plans)
    }

    fn systems(&self, record: u64) -> Vec<InSystem> {
        let wanted = self.question.field.and_then(|field| self.job.field(field));
        let each = self.job.systems.iter().enumerate().map(|(system, spec)| {
            let nowhere = InSystem { system: spec.name.clone(), standing: None, id: None, key: None, values: Vec::new() };
            let Some((base, row)) = self.held.and_then(|held| Some((&held.bases[system], held.bases[system].records.binary_search(&record).ok()?))) else {
                return nowhere;
            };
            let fields = self.job.fields.iter().enumerate().filter(|(at, field)| field.is_carried_by(system) && wanted.is_none_or(|wanted| wanted == *at));
            InSystem {
                standing: Some(match base.standings[row] {
                    Standing::Live => "there",
                    Standing::Awaited => "created, and not read back yet",
                    Standing::Ended => "deleted",
                    Standing::Archived => "archived",
                }),
                id: base.ids.get(row).map(str::to_owned),
                key: base.keys.get(row).map(key_for_people),
                values: fields.map(|(at, field)| BaseValue { field: field.name.clone(), value: base.value(at, row as u32) }).collect(),
                ..nowhere
            }
        });
        each.collect()
    }

    /// What is owed to some system, then the breaks, the oldest first.
    fn open(&self, record: Option<u64>, keys: &[String], answers: &[AnswerEvent]) -> Vec<StillOpen> {
        let wanted = self.question.field;
        let is_wanted = |field: Option<&str>| wanted.is_none() || field.is_none() || field == wanted;
        let breaks = || self.open_breaks.values().filter(|known| keys.contains(&known.open.key) && is_wanted(known.open.field.as_deref()));
        let since = |field: Option<&str>, system: &str| {
            let same = breaks().filter(|known| known.open.field.as_deref() == field && known.open.system.as_deref() == Some(system));
            same.min_by_key(|known| known.first_seen.clone()).map(|known| (known.first_run.clone(), known.first_seen.clone()))
        };
        let mut open = Vec::new();
        if let (Some(held), Some(record)) = (self.held, record) {
            for ((_, field), one) in held.open.fields.iter().filter(|((of, field), _)| *of == record && is_wanted(Some(field))) {
                for (system, debt) in &one.debts {
                    let (what, why, left) = match debt {
                        FieldDebt::Owed { attempts, why, left, .. } => ("owed", format!("{}; sent {}: {why}", one.reason, times(*attempts)), left.clone()),
                        FieldDebt::Normalised { stored } => {
                            ("normalised", "the system stores the value in its own way, which is accepted".to_owned(), Some(stored.clone()))
                        }
                    };
                    open.push(StillOpen {
                        what: what.to_owned(),
                        id: None,
                        field: Some(field.clone()),
                        system: Some(system.clone()),
                        value: Some(one.value.clone()),
                        held: left.map(|value| SystemValue { system: system.clone(), value }).into_iter().collect(),
                        since: since(Some(field), system),
                        why,
                        next_step: None,
                        decided: None,
                    });
                }
            }
            for ((_, system), one) in held.open.records.iter().filter(|((of, _), _)| *of == record) {
                let what = match one.action {
                    Action::Create => "create owed",
                    Action::Update => "update owed",
                    Action::Delete => "delete owed",
                    Action::Archive => "archive owed",
                };
                open.push(StillOpen {
                    what: what.to_owned(),
                    id: None,
                    field: None,
                    system: Some(system.clone()),
                    value: None,
                    held: Vec::new(),
                    since: since(None, system),
                    why: format!("{}; sent {}: {}", one.reason, times(one.attempts), one.why),
                    next_step: None,
                    decided: None,
                });
            }
        }
        let mut of_breaks: Vec<&KnownBreak> = breaks().collect();
        of_breaks.sort_by(|a, b| (&a.first_seen, &a.id).cmp(&(&b.first_seen, &b.id)));
        open.extend(of_breaks.into_iter().map(|known| StillOpen {
            what: known.open.kind.to_string(),
            id: Some(known.id.clone()),
            field: known.open.field.clone(),
            system: known.open.system.clone(),
            value: None,
            held: known.open.values.clone(),
            since: Some((known.first_run.clone(), known.first_seen.clone())),
            why: known.open.why.clone(),
            next_step: Some(known.open.next_step.clone()),
            decided: answers.iter().rev().find(|one| one.event.is_none() && one.answer.id == known.id).map(|one| words_of(&one.answer)),
        }));
        open
    }

    /// What was removed because it was kept for long enough.
    fn what_is_gone(&self) -> Option<String> {
        let kept = self.stored.kept_plans();
        let gone = self.runs.iter().filter(|run| run.plan_saved && !kept.contains(&run.line.run)).count();
        let oldest = self.runs.iter().find(|run| run.plan_saved && kept.contains(&run.line.run));
        let rest = "of those runs the ledger tells what was sent, what became of it and which values lost";
        match oldest {
            _ if gone == 0 => None,
            Some(oldest) => Some(format!("plans before run {} are gone: {rest}", oldest.line.run)),
            None => Some(format!("the plans of all runs are gone: {rest}")),
        }
    }
}

fn times(number: u32) -> String {
    match number {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        more => format!("{more} times"),
    }
}

fn decided(decision: &Decision) -> Decided {
    Decided {
        field: decision.field.clone(),
        value: decision.value.clone(),
        rule: decision.reason.to_string(),
        won: decision.from.clone(),
        seen: decision.seen.clone(),
        lost: decision.overridden.clone(),
        unsent: decision.unsent.clone(),
    }
}

/// What a person decided, for a sentence: `conflict of name: choose crm, by anna on 2026-03-03: she called`.
fn words_of(answer: &Answer) -> String {
    let field = answer.to.field.as_ref().map(|field| format!(" of {field}")).unwrap_or_default();
    let why = answer.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
    format!("{}{field}: {}, decided by {} on {}{why}", answer.to.kind, answer.act, answer.who, answer.at.get(..10).unwrap_or_default())
}

/// A planned change; nothing if it does not touch the field that is asked for.
fn written(change: &Change, journalled: Option<&SentChange>, field: Option<&str>) -> Option<Written> {
    let cells: Vec<WrittenCell> = change
        .cells
        .iter()
        .filter(|cell| field.is_none() || cell.field.as_deref() == field)
        .map(|cell| WrittenCell { field: cell.field.clone(), column: cell.column.clone(), before: cell.before.clone(), after: cell.after.clone() })
        .collect();
    if cells.is_empty() && field.is_some() && change.action == Action::Update {
        return None;
    }
    let (outcome, detail) = outcome_of(journalled);
    Some(Written {
        number: change.number,
        system: change.system.clone(),
        action: change.action.to_string(),
        cells,
        rule: Some(change.reason.to_string()),
        outcome,
        detail,
    })
}

/// What became of a change, in a word or two, and the words that came with it.
fn outcome_of(journalled: Option<&SentChange>) -> (String, Option<String>) {
    let Some(sent) = journalled else { return ("never sent".to_owned(), None) };
    if let Some(settled) = &sent.settled {
        return (settled.clone(), sent.detail.clone());
    }
    match &sent.outcome {
        None => ("sent, and nobody knows what became of it".to_owned(), None),
        Some(Outcome::Done { .. }) => ("done, by the system's word".to_owned(), None),
        Some(Outcome::Rejected { reason }) => ("rejected".to_owned(), Some(reason.clone())),
        Some(Outcome::Stale { reason }) => ("stale".to_owned(), Some(reason.clone())),
        Some(Outcome::Unknown { reason }) => ("unknown".to_owned(), Some(reason.clone())),
        Some(Outcome::Skipped { reason }) => ("skipped".to_owned(), Some(reason.clone())),
    }
}

/// Masks what nobody may read. What is secret about a record is secret in every sentence about it.
fn mask(job: &Job, one: &mut Explained) {
    let is_sensitive = |name: &str| job.field(name).is_some_and(|field| job.fields[field].sensitive);
    let is_key_sensitive = job.key.iter().any(|field| job.fields[*field].sensitive);
    let mut secrets = Secrets::default();
    let hide_value = |value: &mut Value, secrets: &mut Secrets| {
        if !value.is_null() {
            secrets.add(value);
            *value = Value::Text(MASK.to_owned());
        }
    };
    let hide_key = |key: &mut String, secrets: &mut Secrets| {
        secrets.add_text(key);
        let parts: Vec<&str> = key.split(" / ").collect();
        if parts.len() != job.key.len() {
            *key = MASK.to_owned();
            return;
        }
        let shown: Vec<&str> = parts
            .iter()
            .zip(&job.key)
            .map(|(part, field)| {
                if job.fields[*field].sensitive {
                    secrets.add_text(part);
                    MASK
                } else {
                    part
                }
            })
            .collect();
        *key = shown.join(" / ");
    };
    if is_key_sensitive {
        hide_key(&mut one.key, &mut secrets);
        one.keys.iter().for_each(|key| hide_key(&mut key_for_people(key), &mut secrets));
    }
    for (spec, system) in job.systems.iter().zip(&mut one.systems) {
        let at = job.system(&spec.name).unwrap_or_default();
        let is_field = |field: &crate::job::Field| field.sensitive && field.columns[at].as_ref().is_some_and(|column| Some(&column.name) == spec.id.as_ref());
        if let Some(id) = system.id.as_mut().filter(|_| is_key_sensitive || job.fields.iter().any(is_field)) {
            secrets.add_text(id);
            *id = MASK.to_owned();
        }
        if let Some(key) = system.key.as_mut().filter(|_| is_key_sensitive) {
            hide_key(key, &mut secrets);
        }
        for base in system.values.iter_mut().filter(|base| is_sensitive(&base.field)) {
            base.value.iter_mut().for_each(|value| hide_value(value, &mut secrets));
        }
    }
    for open in one.open.iter_mut().filter(|open| open.field.as_deref().is_some_and(is_sensitive)) {
        open.value.iter_mut().chain(open.held.iter_mut().map(|held| &mut held.value)).for_each(|value| hide_value(value, &mut secrets));
    }
    for run in &mut one.story {
        for decision in run.decisions.iter_mut().filter(|decision| is_sensitive(&decision.field)) {
            let values = decision.seen.iter_mut().chain(&mut decision.lost).map(|held| &mut held.value);
            std::iter::once(&mut decision.value).chain(values).for_each(|value| hide_value(value, &mut secrets));
        }
        for write in &mut run.writes {
            // A system may quote what is not known here.
            let is_touched = write.cells.is_empty() || write.cells.iter().any(|cell| cell.field.as_deref().is_some_and(is_sensitive));
            if let Some(detail) = write.detail.as_mut().filter(|_| is_touched) {
                secrets.add_text(detail);
                *detail = MASK.to_owned();
            }
            for cell in write.cells.iter_mut().filter(|cell| cell.field.as_deref().is_some_and(is_sensitive)) {
                [&mut cell.before, &mut cell.after].into_iter().for_each(|value| hide_value(value, &mut secrets));
            }
        }
        for lost in run.lost.iter_mut().filter(|lost| is_sensitive(&lost.field)) {
            [&mut lost.value, &mut lost.decided].into_iter().for_each(|value| hide_value(value, &mut secrets));
        }
        for event in run.breaks.iter_mut().filter(|event| event.field.as_deref().is_some_and(is_sensitive)) {
            event.values.iter_mut().for_each(|held| hide_value(&mut held.value, &mut secrets));
        }
    }
    for open in &mut one.open {
        secrets.hide(&mut open.why);
        open.next_step.iter_mut().chain(&mut open.decided).for_each(|text| secrets.hide(text));
    }
    for run in &mut one.story {
        let rules = run.decisions.iter_mut().map(|decision| &mut decision.rule).chain(run.writes.iter_mut().filter_map(|write| write.rule.as_mut()));
        rules.for_each(|text| secrets.hide(text));
        let details = run.writes.iter_mut().filter_map(|write| write.detail.as_mut());
        details
            .chain(&mut run.links)
            .chain(&mut run.answers)
            .chain(run.breaks.iter_mut().filter_map(|event| event.why.as_mut()))
            .for_each(|text| secrets.hide(text));
    }
}

impl Explanation {
    /// The answer for a terminal. Text that came from a system has its control characters spelled out.
    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        for one in &self.records {
            if !lines.is_empty() {
                lines.push(String::new());
            }
            one.write(self, &mut lines);
        }
        if !self.notes.is_empty() || !self.masked.is_empty() {
            lines.push(String::new());
        }
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        if !self.masked.is_empty() {
            lines.push(format!("note: masked, `--reveal` shows them: {}", self.masked.join(", ")));
        }
        lines.join("\n")
    }
}

impl Explained {
    fn write(&self, of: &Explanation, lines: &mut Vec<String>) {
        match self.record {
            Some(record) => lines.push(format!("{}: record {record}, key {}", of.job, quoted(&self.key))),
            None => lines.push(format!("{}: no record, but a row with the key {}", of.job, quoted(&self.key))),
        }
        if let Some(run) = of.state_of.as_ref().filter(|_| self.record.is_some()) {
            lines.push(String::new());
            lines.push(format!("The base after run {run}: what was last read there and decided on"));
            for system in &self.systems {
                let id = system.id.as_ref().map(|id| format!(", id {}", visible_for_people(id))).unwrap_or_default();
                let key = system.key.as_ref().filter(|key| **key != self.key).map(|key| format!(", there under the key {}", quoted(key))).unwrap_or_default();
                lines.push(format!("  {}: {}{id}{key}", system.system, system.standing.unwrap_or("never there")));
                let width = system.values.iter().map(|base| base.field.chars().count()).max().unwrap_or_default();
                for base in &system.values {
                    let value = base.value.as_ref().map_or_else(|| "(never seen)".to_owned(), told);
                    lines.push(format!("    {:<width$}  {value}", base.field));
                }
            }
        }
        lines.push(String::new());
        if self.open.is_empty() {
            lines.push("Nothing is open".to_owned());
        } else {
            lines.push("Open".to_owned());
        }
        for open in &self.open {
            let what = [
                open.id.clone(),
                Some(open.what.clone()),
                open.field.as_ref().map(|field| format!("`{field}`")),
                open.system.as_ref().map(|system| format!("in `{system}`")),
            ];
            let what: Vec<String> = what.into_iter().flatten().collect();
            let since = open.since.as_ref().map(|(run, seen)| format!(", since run {run} ({seen})")).unwrap_or_default();
            let value = open.value.as_ref().map(|value| format!(": {}", told(value))).unwrap_or_default();
            lines.push(format!("  {}{value}{since}", what.join(" ")));
            if !open.held.is_empty() {
                lines.push(format!("    {}", each_held(&open.held)));
            }
            lines.push(format!("    {}", visible_for_people(&open.why)));
            lines.extend(open.decided.iter().map(|decided| format!("    decided: {}", visible_for_people(decided))));
            lines.extend(open.next_step.iter().map(|next| format!("    next: {}", visible_for_people(next))));
        }
        lines.push(String::new());
        lines.push(if self.story.is_empty() { "No run that is told here touched it" } else { "Run by run, the newest first" }.to_owned());
        for run in &self.story {
            run.write(lines);
        }
        if self.older_runs > 0 {
            lines.push(format!("  … {} older {}; `--limit` shows more", self.older_runs, if self.older_runs == 1 { "run" } else { "runs" }));
        }
    }
}

impl RunOfRecord {
    fn write(&self, lines: &mut Vec<String>) {
        lines.push(format!("  {}  {}  {}", self.run, self.command, self.verdict.as_deref().unwrap_or("CUT OFF")));
        lines.extend(self.notes.iter().map(|note| format!("    note: {note}")));
        lines.extend(self.links.iter().map(|link| format!("    {}", visible_for_people(link))));
        for decision in &self.decisions {
            lines.push(format!("    {} = {}: {}", decision.field, told(&decision.value), visible_for_people(&decision.rule)));
            if !decision.seen.is_empty() {
                lines.push(format!("      seen: {}", each_held(&decision.seen)));
            }
            if !decision.won.is_empty() {
                lines.push(format!("      won: {}", decision.won.join(", ")));
            }
            if !decision.lost.is_empty() {
                lines.push(format!("      lost: {}", each_held(&decision.lost)));
            }
            if !decision.unsent.is_empty() {
                lines.push(format!("      not sent to: {}", decision.unsent.join(", ")));
            }
        }
        for lost in &self.lost {
            lines.push(format!("    {} = {}: {}", lost.field, told(&lost.decided), visible_for_people(&lost.rule)));
            lines.push(format!("      lost: {} {}", lost.system, told(&lost.value)));
        }
        for write in &self.writes {
            let rule = write.rule.as_ref().map(|rule| format!(" ({})", visible_for_people(rule))).unwrap_or_default();
            let detail = write.detail.as_ref().map(|detail| format!(": {}", visible_for_people(detail))).unwrap_or_default();
            lines.push(format!("    {} in {}: {}{detail}{rule}", write.action, write.system, write.outcome));
            for cell in &write.cells {
                let name = cell.field.as_deref().unwrap_or(&cell.column);
                let change = if write.action == "create" { told(&cell.after) } else { format!("{} → {}", told(&cell.before), told(&cell.after)) };
                lines.push(format!("      {}: {change}", visible_for_people(name)));
            }
        }
        lines.extend(self.answers.iter().map(|answer| format!("    {}", visible_for_people(answer))));
        for event in &self.breaks {
            let what = [
                Some(event.id.clone()),
                event.kind.clone(),
                event.field.as_ref().map(|field| format!("`{field}`")),
                event.system.as_ref().map(|system| format!("in `{system}`")),
            ];
            let what: Vec<String> = what.into_iter().flatten().collect();
            let why = event.why.as_ref().map(|why| format!(": {}", visible_for_people(why))).unwrap_or_default();
            lines.push(format!("    break {}: {}{why}", event.event, what.join(" ")));
            if !event.values.is_empty() {
                lines.push(format!("      {}", each_held(&event.values)));
            }
        }
    }
}

fn each_held(values: &[SystemValue]) -> String {
    values.iter().map(|held| format!("{} {}", held.system, told(&held.value))).collect::<Vec<_>>().join(", ")
}

/// A value; a text in quotes, so that its ends can be seen.
fn told(value: &Value) -> String {
    match value {
        Value::Text(text) if text == MASK => MASK.to_owned(),
        Value::Text(text) => quoted(text),
        other => visible_for_people(&value_for_people(other)).into_owned(),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", visible_for_people(text))
}
