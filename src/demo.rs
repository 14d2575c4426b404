//! Example jobs with two nights of data, compiled in.
//!
//! [`show`] makes a fresh folder with a job and the files that it reads, runs the first night, makes the edits of the day
//! after, runs the second night, and runs it once more: then nothing may be left to do. What it tells is read from the
//! reports of these runs.
//!
//! Beside the data of an example stands what must come of it: the counts of each night, and for every edit the *facts* that
//! it leads to, a change, a conflict, a drift or a break each. A demonstration goes as it should if exactly these facts are in
//! the reports, if the arithmetic holds, and if the repeated night leaves every file as it is, to the byte.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use calamine::{Data, Reader as _, Xlsx};
use encoding_rs::{Encoding, UTF_8};
use jiff::Timestamp;
use serde::Deserialize;

use crate::change::{Action, Reason, Settled};
use crate::diagnostic::{Place, did_you_mean};
use crate::disk;
use crate::error::{Error, Remedy};
use crate::job::{Job, Settings};
use crate::project::Project;
use crate::reconcile::gates::count;
use crate::report::{self, Report, RowCounts, Verdict};
use crate::run::{self, Finished, Request, World};
use crate::systems::excel::patch::{CellEdit, CellValue, SheetEdits, patch};
use crate::value::Value;

mod api;

/// When the nights are, so that every demonstration gives the same reports.
const FIRST_NIGHT: &str = "2026-03-30T01:00:00Z";
const SECOND_NIGHT: &str = "2026-03-31T01:00:00Z";

/// What a demonstration did.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What happened, for people.
    pub text: String,
    /// Whether all nights went as they should.
    pub as_it_should: bool,
    /// The runs: the first night, the second, and the second once more.
    pub nights: Vec<Finished>,
}

/// An example as it is compiled in.
struct Example {
    name: &'static str,
    job: &'static str,
    /// What is edited, and what must come of it: [`Nights`] in TOML.
    nights: &'static str,
    /// The files under `data/`. A `.sql` text becomes a database of that name.
    files: &'static [(&'static str, &'static [u8])],
    /// The name of a database that is behind an API, its table and the column with the id. Where the API listens is in `NAME.url`, and what
    /// it asks for in `NAME.token`.
    api: Option<(&'static str, &'static str, &'static str)>,
}

const EXAMPLES: &[Example] = &[
    Example {
        name: "customers",
        job: include_str!("../jobs/customers.toml"),
        nights: include_str!("../fixtures/demo/customers/nights.toml"),
        files: &[
            ("crm.csv", include_bytes!("../fixtures/demo/customers/crm.csv")),
            ("sales.xlsx", include_bytes!("../fixtures/demo/customers/sales.xlsx")),
            ("invoicing.sql", include_bytes!("../fixtures/demo/customers/invoicing.sql")),
        ],
        api: None,
    },
    Example {
        name: "billing",
        job: include_str!("../jobs/billing.toml"),
        nights: include_str!("../fixtures/demo/billing/nights.toml"),
        files: &[
            ("invoices.csv", include_bytes!("../fixtures/demo/billing/invoices.csv")),
            ("accounts.sql", include_bytes!("../fixtures/demo/billing/accounts.sql")),
        ],
        api: None,
    },
    Example {
        name: "inventory",
        job: include_str!("../jobs/inventory.toml"),
        nights: include_str!("../fixtures/demo/inventory/nights.toml"),
        files: &[
            ("storefront.csv", include_bytes!("../fixtures/demo/inventory/storefront.csv")),
            ("warehouse.sql", include_bytes!("../fixtures/demo/inventory/warehouse.sql")),
        ],
        api: None,
    },
    Example {
        name: "contacts",
        job: include_str!("../jobs/contacts.toml"),
        nights: include_str!("../fixtures/demo/contacts/nights.toml"),
        files: &[("crm.csv", include_bytes!("../fixtures/demo/contacts/crm.csv")), ("platform.sql", include_bytes!("../fixtures/demo/contacts/platform.sql"))],
        api: None,
    },
    Example {
        name: "drift",
        job: include_str!("../jobs/drift.toml"),
        nights: include_str!("../fixtures/demo/drift/nights.toml"),
        files: &[
            ("purchasing.csv", include_bytes!("../fixtures/demo/drift/purchasing.csv")),
            ("payments.sql", include_bytes!("../fixtures/demo/drift/payments.sql")),
            ("register.csv", include_bytes!("../fixtures/demo/drift/register.csv")),
        ],
        api: None,
    },
    Example {
        name: "migration",
        job: include_str!("../jobs/migration.toml"),
        nights: include_str!("../fixtures/demo/migration/nights.toml"),
        files: &[
            ("workbook.xlsx", include_bytes!("../fixtures/demo/migration/workbook.xlsx")),
            ("database.sql", include_bytes!("../fixtures/demo/migration/database.sql")),
        ],
        api: None,
    },
    Example {
        name: "contacts-api",
        job: include_str!("../jobs/contacts-api.toml"),
        nights: include_str!("../fixtures/demo/contacts/nights.toml"),
        files: &[("crm.csv", include_bytes!("../fixtures/demo/contacts/crm.csv")), ("platform.sql", include_bytes!("../fixtures/demo/contacts/platform.sql"))],
        api: Some(("platform", "subscribers", "subscriber_id")),
    },
];

/// The names of all examples.
pub fn names() -> impl Iterator<Item = &'static str> {
    EXAMPLES.iter().map(|example| example.name)
}

/// Makes the example `name` in the folder `into`, which must not be there yet or be empty, and runs its nights.
///
/// `progress` is told each step as it begins.
///
/// # Errors
/// `MendJob` if there is no such example, or if the folder holds anything: then nothing was made. `GiveAccess` if the folder
/// cannot be written. A night that goes wrong is no error: [`Shown`] tells it.
pub fn show(name: &str, into: &Path, progress: &dyn Fn(&str)) -> Result<Shown, Error> {
    let example = EXAMPLES.iter().find(|example| example.name == name).ok_or_else(|| no_such_example(name))?;
    let expected: Nights = toml::from_str(example.nights).map_err(|error| spoiled(example, error.to_string()))?;
    make(example, into)?;
    if let Some((database, table, id)) = example.api {
        serve(into, database, table, id)?;
    }
    let project = Project { root: into.to_owned(), settings: Settings::default() };
    let job = project.job(example.name)?;

    let stage = Stage { project: &project, job: &job, progress };
    let first = stage.night("the first night", FIRST_NIGHT, true)?;
    progress("the day after");
    for edit in &expected.edits {
        for step in &edit.steps {
            step.make(into).map_err(|why| spoiled(example, format!("{}: {why}", edit.did)))?;
        }
    }
    let second = stage.night("the second night", SECOND_NIGHT, false)?;
    let before = contents(&into.join("data"))?;
    let again = stage.night("the second night once more", SECOND_NIGHT, false)?;
    let after = contents(&into.join("data"))?;

    let mut story = Story { text: String::new(), wrong: Vec::new(), root: into };
    story.opening(example, &job, &first);
    story.first(&first, &expected.first);
    story.second(&second, &expected.second, &expected.edits);
    story.again(&again, &second.report, &before, &after);
    story.closing(example, expected.edits.len());
    let as_it_should = story.wrong.is_empty();
    Ok(Shown { text: story.text, as_it_should, nights: vec![first, second, again] })
}

// ── the folder ───────────────────────────────────────────────────────────────────────────────────────────────────────────

fn no_such_example(name: &str) -> Error {
    let known: Vec<&str> = names().collect();
    let error = Error::new(Remedy::MendJob, Place::of("demo"), format!("there is no example `{name}`"))
        .seen(format!("examples: {}", known.join(", ")))
        .seen("no folder was made");
    match did_you_mean(name, known.iter().copied()) {
        Some(close) => error.hint(format!("did you mean `{close}`?")),
        None => error.hint("`tieout demo` without a name shows the first one"),
    }
}

fn spoiled(example: &Example, why: String) -> Error {
    Error::new(Remedy::Look, Place::of(format!("demo {}", example.name)), "the example does not fit its own data")
        .seen(why)
        .hint("this is a mistake of the program, not of yours: please report it")
}

fn no_access(path: &Path, what: &str, failure: &io::Error) -> Error {
    Error::new(Remedy::GiveAccess, Place::of(path.display().to_string()), what)
        .seen(failure.to_string())
        .hint("make the folder writable, or name another one with `--into`")
}

/// Makes the folder with the job and its data.
fn make(example: &Example, into: &Path) -> Result<(), Error> {
    let refuse = |what: &str| {
        Err(Error::new(Remedy::MendJob, Place::of(into.display().to_string()), what)
            .seen("nothing was written")
            .hint("name a fresh folder with `--into FOLDER`, or remove this one first"))
    };
    match fs::read_dir(into).map(|mut entries| entries.next().is_some()) {
        Ok(true) => return refuse("the folder is not empty"),
        Ok(false) => {}
        Err(failure) if failure.kind() == io::ErrorKind::NotFound => {}
        Err(failure) if failure.kind() == io::ErrorKind::NotADirectory => return refuse("there is a file of that name"),
        Err(failure) => return Err(no_access(into, "the folder cannot be read", &failure)),
    }
    let write = |path: PathBuf, bytes: &[u8]| fs::write(&path, bytes).map_err(|failure| no_access(&path, "the file cannot be written", &failure));
    for folder in ["jobs", "data"] {
        let folder = into.join(folder);
        fs::create_dir_all(&folder).map_err(|failure| no_access(&folder, "the folder cannot be made", &failure))?;
    }
    write(into.join("jobs").join(format!("{}.toml", example.name)), example.job.as_bytes())?;
    for (name, bytes) in example.files {
        let path = into.join("data").join(name);
        match name.strip_suffix(".sql") {
            None => write(path, bytes)?,
            Some(stem) => {
                let text = String::from_utf8_lossy(bytes);
                let database = path.with_file_name(format!("{stem}.db"));
                let made = rusqlite::Connection::open(&database).and_then(|connection| connection.execute_batch(&format!("BEGIN;\n{text}\nCOMMIT;")));
                made.map_err(|failure| spoiled(example, format!("{name}: {failure}")))?;
            }
        }
    }
    Ok(())
}

/// Puts a table behind an API, and writes down where it is and what it asks for.
fn serve(into: &Path, database: &str, table: &'static str, id: &'static str) -> Result<(), Error> {
    let data = into.join("data");
    let served = api::Served { database: data.join(format!("{database}.db")), table, id };
    let address = api::start(served).map_err(|failure| no_access(&data, "the API of the demonstration finds no port", &failure))?;
    for (name, text) in [("url", address.as_str()), ("token", api::TOKEN)] {
        let path = data.join(format!("{database}.{name}"));
        fs::write(&path, text).map_err(|failure| no_access(&path, "the file cannot be written", &failure))?;
    }
    Ok(())
}

/// All files of a folder, by name.
fn contents(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let unreadable = |failure: io::Error| no_access(folder, "the folder cannot be read", &failure);
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_file() {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            files.insert(name, disk::read(&path)?.bytes);
        }
    }
    Ok(files)
}

// ── what is edited, and what must come of it ─────────────────────────────────────────────────────────────────────────────

/// The nights of an example, as its `nights.toml` tells them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nights {
    first: Expected,
    second: Expected,
    #[serde(rename = "edit", default)]
    edits: Vec<Edit>,
}

/// What must be in the report of a night.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    verdict: Verdict,
    /// Breaks at first contact; on the second night, what the first one left. Each with its key: `KEY: FACT`.
    leads_to: Vec<String>,
    /// Numbers of the report by their words; what is not named must be zero.
    counts: BTreeMap<String, u64>,
}

/// Something that people did.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    /// What they did, in a sentence.
    did: String,
    /// The keys under which the report tells the records that it concerns.
    keys: Vec<String>,
    /// All facts with these keys.
    leads_to: Vec<String>,
    #[serde(rename = "step")]
    steps: Vec<Step>,
}

/// One change of one file or database.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    file: Option<String>,
    encoding: Option<String>,
    /// Stands in the file exactly once.
    find: Option<String>,
    replace: Option<String>,
    append: Option<String>,
    database: Option<String>,
    /// Changes exactly one row.
    sql: Option<String>,
    workbook: Option<String>,
    sheet: Option<String>,
    /// A cell of the sheet, such as `C17`, with what stands there and what is typed over it.
    cell: Option<String>,
    was: Option<Typed>,
    becomes: Option<Typed>,
    /// A row that is typed below the others, from the first column on.
    row: Option<Vec<Typed>>,
}

/// What a person types into a cell. A date is the number that it is on the sheet: days since the first one of its calendar.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Typed {
    Text(String),
    Whole(i64),
    Number(f64),
}

impl Typed {
    /// The empty text is an empty cell, and `#N/A` the error of a formula that found nothing.
    fn value(&self) -> CellValue {
        match self {
            Typed::Text(text) if text.is_empty() => CellValue::Empty,
            Typed::Text(text) if text == "#N/A" => CellValue::Error,
            Typed::Text(text) => CellValue::Text(text.clone()),
            Typed::Whole(number) => CellValue::Number(number.to_string()),
            Typed::Number(number) => CellValue::Number(number.to_string()),
        }
    }

    fn is(&self, there: &Data) -> bool {
        let number = match there {
            Data::Int(number) => Some(*number as f64),
            Data::Float(number) => Some(*number),
            Data::DateTime(moment) => Some(moment.as_f64()),
            _ => None,
        };
        match (self, there) {
            (Typed::Text(text), Data::String(there)) => text == there,
            (Typed::Text(text), Data::Empty) => text.is_empty(),
            (Typed::Text(_), _) => false,
            (Typed::Whole(expected), _) => number == Some(*expected as f64),
            (Typed::Number(expected), _) => number == Some(*expected),
        }
    }
}

/// Row and column of a cell from its name, from 0.
fn place_of(cell: &str) -> Option<(u32, u32)> {
    let digits = cell.find(|c: char| c.is_ascii_digit())?;
    let (letters, row) = cell.split_at(digits);
    let column = letters
        .bytes()
        .try_fold(0_u32, |column, letter| letter.is_ascii_uppercase().then(|| column.checked_mul(26)?.checked_add(u32::from(letter - b'A') + 1)).flatten())?;
    Some((row.parse::<u32>().ok()?.checked_sub(1)?, column.checked_sub(1)?))
}

impl Step {
    /// Does it, or tells why not.
    fn make(&self, root: &Path) -> Result<(), String> {
        if let (Some(database), Some(sql)) = (&self.database, &self.sql) {
            let changed = rusqlite::Connection::open(root.join(database)).and_then(|connection| connection.execute(sql, [])).map_err(|e| e.to_string())?;
            return if changed == 1 { Ok(()) } else { Err(format!("{sql}: changed {changed} rows")) };
        }
        if let (Some(workbook), Some(sheet)) = (&self.workbook, &self.sheet) {
            let path = root.join(workbook);
            let bytes = fs::read(&path).map_err(|e| format!("{workbook}: {e}"))?;
            let typed = self.type_into(&bytes, sheet).map_err(|why| format!("{workbook}: {why}"))?;
            return fs::write(&path, typed).map_err(|e| format!("{workbook}: {e}"));
        }
        let Some(file) = &self.file else { return Err("names no file, no workbook and no database".to_owned()) };
        let path = root.join(file);
        let encoding = match &self.encoding {
            Some(label) => Encoding::for_label(label.as_bytes()).ok_or_else(|| format!("there is no encoding `{label}`"))?,
            None => UTF_8,
        };
        let bytes_of = |text: &str| encoding.encode(text).0.into_owned();
        let mut bytes = fs::read(&path).map_err(|e| format!("{file}: {e}"))?;
        if let (Some(find), Some(replace)) = (&self.find, &self.replace) {
            let (find, replace) = (bytes_of(find), bytes_of(replace));
            let places: Vec<usize> = (0..bytes.len().saturating_sub(find.len().saturating_sub(1))).filter(|at| bytes[*at..].starts_with(&find)).collect();
            let [at] = places.as_slice() else {
                return Err(format!("{file}: `{}` stands there {} times", self.find.as_deref().unwrap_or_default(), places.len()));
            };
            bytes.splice(*at..*at + find.len(), replace);
        }
        bytes.extend(bytes_of(self.append.as_deref().unwrap_or_default()));
        fs::write(&path, bytes).map_err(|e| format!("{file}: {e}"))
    }

    /// The workbook with what is typed, as its program would save it.
    fn type_into(&self, workbook: &[u8], sheet: &str) -> Result<Vec<u8>, String> {
        let (mut cells, mut rows) = (Vec::new(), Vec::new());
        if let (Some(cell), Some(was), Some(becomes)) = (&self.cell, &self.was, &self.becomes) {
            let place = place_of(cell).ok_or_else(|| format!("there is no cell `{cell}`"))?;
            let mut book: Xlsx<_> = Xlsx::new(Cursor::new(workbook)).map_err(|e| e.to_string())?;
            let there = book.worksheet_range(sheet).map_err(|e| e.to_string())?.get_value(place).cloned().unwrap_or_default();
            if !was.is(&there) {
                return Err(format!("{cell} holds {there:?}, not {was:?}"));
            }
            cells.push(CellEdit { row: place.0, column: place.1, value: becomes.value(), like: None });
        }
        if let Some(row) = &self.row {
            let edits = (0..).zip(row).map(|(column, typed)| CellEdit { row: 0, column, value: typed.value(), like: None });
            rows.push(edits.filter(|edit| edit.value != CellValue::Empty).collect());
        }
        if cells.is_empty() && rows.is_empty() {
            return Err("types nothing: a cell needs `was` and `becomes`".to_owned());
        }
        let edits = SheetEdits { sheet, cells: &cells, appended: &rows, removed: &[] };
        Ok(patch(workbook, &edits).map_err(|error| format!("{error}: {}", error.seen.join(", ")))?.bytes)
    }
}

/// Something that a report tells about one record.
struct Fact {
    key: String,
    /// In the words of `nights.toml`.
    what: String,
    /// For people.
    told: String,
}

/// Everything that a report tells about single records.
fn facts(report: &Report) -> Vec<Fact> {
    let shown = |field: &str, value: &Value| match value {
        _ if report.sensitive.iter().any(|sensitive| sensitive == field) => "(masked)".to_owned(),
        value => report::value_for_people(value),
    };
    let mut facts = Vec::new();
    for drift in &report.drift {
        let was_restored = if drift.restored { "it does not decide the field, and is put back" } else { "it does not decide the field" };
        facts.push(Fact {
            key: drift.key.clone(),
            what: format!("drift {}: {}", drift.system, drift.field),
            told: format!("drift in {}: {} was edited to {}; {was_restored}", drift.system, drift.field, shown(&drift.field, &drift.now)),
        });
    }
    for conflict in &report.conflicts {
        let rule = match &conflict.reason {
            Reason::Rule { rule, .. } => rule.as_str(),
            _ => "other",
        };
        let lost: Vec<String> = conflict.overridden.iter().map(|held| format!("{} of {}", shown(&conflict.field, &held.value), held.system)).collect();
        facts.push(Fact {
            key: conflict.key.clone(),
            what: format!("rule {rule}: {}", conflict.field),
            told: format!("conflict, decided by the rule {rule}: {} loses, and is kept in the ledger", lost.join(", ")),
        });
    }
    for change in &report.changes {
        let fields: Vec<&str> = change.cells.iter().map(|cell| cell.field.as_str()).collect();
        let ending = change.settled.map_or("not sent".to_owned(), |settled| settled.to_string());
        let unless_verified = if change.settled == Some(Settled::Verified) { String::new() } else { format!(" ({ending})") };
        let (what, done) = match change.action {
            Action::Update => {
                let cells: Vec<String> = change
                    .cells
                    .iter()
                    .map(|cell| format!("{} {} → {}", cell.field, shown(&cell.field, &cell.before), shown(&cell.field, &cell.after)))
                    .collect();
                (format!("update {}: {}", change.system, fields.join(", ")), cells.join(", "))
            }
            action => (format!("{action} {}", change.system), format!("{action}d")),
        };
        let told = format!("{}: {done} ({}), {ending}", change.system, change.reason.to_string().replace('`', ""));
        facts.push(Fact { key: change.key.clone(), what: format!("{what}{unless_verified}"), told });
    }
    for open in &report.breaks {
        let field = open.open.field.as_ref().map(|field| format!(" {field}")).unwrap_or_default();
        let system = open.open.system.as_ref().map(|system| format!(" in {system}")).unwrap_or_default();
        facts.push(Fact {
            key: open.open.key.clone(),
            what: format!("open: {}{field}{system}", open.open.kind),
            told: format!("a person must look{system} ({}): {}", open.open.kind, open.open.why.replace('`', "")),
        });
    }
    for cleared in &report.cleared {
        facts.push(Fact {
            key: cleared.key.clone(),
            what: format!("cleared: {}{}", cleared.kind, cleared.field.as_ref().map(|field| format!(" {field}")).unwrap_or_default()),
            told: format!("no longer open: {} {}", cleared.kind, cleared.key),
        });
    }
    for link in &report.links {
        facts.push(Fact { key: link.key.clone(), what: format!("link {}", link.event), told: format!("{}: {}", link.system, link.event) });
    }
    facts
}

/// The numbers of a report by their words, the zeros left out.
fn counts(report: &Report) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for system in &report.systems {
        let rows = &system.counts;
        let by_word =
            [("read", rows.read), ("outside the filter", rows.filtered), ("held", rows.held), ("repeats", rows.repeats), ("quarantined", rows.quarantined)];
        counts.extend(by_word.map(|(word, number)| (format!("{}: {word}", system.name), number)));
        counts.extend(system.planned.iter().map(|(action, number)| (format!("{}: {action}", system.name), *number)));
    }
    let of_all = [
        ("conflicts decided", report.conflicts.len()),
        ("drift", report.drift.len()),
        ("duplicates", report.duplicates.len()),
        ("open", report.breaks.len()),
        ("cleared", report.cleared.len()),
    ];
    counts.extend(of_all.map(|(word, number)| (word.to_owned(), number as u64)));
    counts.retain(|_, number| *number > 0);
    counts
}

// ── the nights ───────────────────────────────────────────────────────────────────────────────────────────────────────────

struct Stage<'a> {
    project: &'a Project,
    job: &'a Job,
    progress: &'a dyn Fn(&str),
}

impl Stage<'_> {
    fn night(&self, what: &str, at: &str, first_contact: bool) -> Result<Finished, Error> {
        (self.progress)(what);
        let at: Timestamp = at.parse().unwrap_or_default();
        let now = || at;
        let progress = |step: &str| (self.progress)(&format!("  {step}"));
        let world = World {
            root: &self.project.root,
            settings: &self.project.settings,
            now: &now,
            sleep: &std::thread::sleep,
            progress: &progress,
            cancelled: &|| false,
        };
        run::run(&world, self.job, &Request { first_contact, ..Request::default() })
    }
}

/// The text as it grows, and what was not as it should be.
struct Story<'a> {
    text: String,
    wrong: Vec<String>,
    root: &'a Path,
}

impl Story<'_> {
    fn line(&mut self, text: &str) {
        // Writing into a String cannot fail.
        let _ = writeln!(self.text, "{text}");
    }

    fn opening(&mut self, example: &Example, job: &Job, first: &Finished) {
        self.line(&format!("{}: {}", example.name, job.description.clone().unwrap_or_default()));
        for (spec, system) in job.systems.iter().zip(&first.report.systems) {
            self.line(&format!("  {:<10} {:<7} {}", system.name, system.role, spec.kind.place()));
        }
    }

    /// What every night tells: how it ended, what was written, where its report is.
    fn night(&mut self, title: &str, finished: &Finished, expected: Verdict) {
        let report = &finished.report;
        self.line("");
        self.line(title);
        self.line(&format!("  {} {}: {}", report.verdict.symbol(), report.verdict.word(), report.sentence));
        if report.verdict != expected {
            self.wrong.push(format!("{title}: the verdict is {}, not {}", report.verdict.word(), expected.word()));
        }
        for diagnostic in &report.stopped_by {
            self.line(&format!("  {diagnostic}").replace('\n', "\n  "));
        }
        for identity in report.identities.iter().filter(|identity| !identity.holds) {
            self.wrong.push(format!("{title}: {} of {} does not hold: {}", identity.name, identity.of, identity.equation));
        }
        for problem in &finished.afterthoughts {
            self.wrong.push(format!("{title}: {problem}"));
        }
        for change in report.changes.iter().filter(|change| change.settled != Some(Settled::Verified)) {
            self.wrong.push(format!("{title}: a change of {} in {} was not verified", change.key, change.system));
        }
    }

    fn numbers(&mut self, report: &Report) {
        let read: Vec<String> = report.systems.iter().map(|system| format!("{} {} rows", system.name, count(system.counts.read))).collect();
        self.line(&format!("  read       {}", read.join(" · ")));
        let written: Vec<String> = report
            .systems
            .iter()
            .filter(|system| !system.planned.is_empty())
            .map(|system| {
                let actions: Vec<String> =
                    system.planned.iter().map(|(action, number)| format!("{} {action}{}", count(*number), if *number == 1 { "" } else { "s" })).collect();
                format!("{} {}", system.name, actions.join(", "))
            })
            .collect();
        self.line(&format!("  written    {}", if written.is_empty() { "nothing".to_owned() } else { written.join(" · ") }));
        let rows = |of: fn(&RowCounts) -> u64| report.systems.iter().map(|system| of(&system.counts)).sum::<u64>();
        let aside = [
            (rows(|r| r.quarantined), "unreadable"),
            (rows(|r| r.held), "held"),
            (rows(|r| r.repeats), "repeated"),
            (rows(|r| r.filtered), "outside the filter"),
        ];
        let aside: Vec<String> = aside.iter().filter(|(number, _)| *number > 0).map(|(number, word)| format!("{} {word}", count(*number))).collect();
        self.line(&format!("  set aside  {}", if aside.is_empty() { "no rows".to_owned() } else { format!("rows: {}", aside.join(", ")) }));
        let holds = report.identities.iter().filter(|identity| identity.holds).count();
        self.line(&format!("  ties out   {holds} of {} equations hold", report.identities.len()));
    }

    fn files(&mut self, finished: &Finished) {
        self.line(&format!("  report     {}", finished.folder.join("report.html").display()));
        let name = format!("{}-{}.eml", finished.report.job, finished.report.run);
        let mail = self.root.join("reports").join("outbox").join(&name);
        if mail.is_file() {
            self.line(&format!("  mail       {}", mail.display()));
        } else {
            self.wrong.push(format!("the mail {name} is not in the outbox"));
        }
    }

    fn first(&mut self, finished: &Finished, expected: &Expected) {
        let title = format!("The first night, {}: first contact, accepted", moment(&finished.report));
        self.night(&title, finished, expected.verdict);
        self.numbers(&finished.report);
        let decided = finished.report.conflicts.len();
        if decided > 0 {
            self.line(&format!("  decided    {} differences between the systems, each by its field's rule", count(decided as u64)));
        }
        let facts = facts(&finished.report);
        let open: Vec<&Fact> = facts.iter().filter(|fact| fact.what.starts_with("open: ")).collect();
        for fact in &open {
            self.line(&format!("  open       {}: {}", fact.key, fact.told));
        }
        self.files(finished);
        let seen: Vec<String> = open.iter().map(|fact| format!("{}: {}", fact.key, fact.what)).collect();
        self.compare("the first night", &expected.leads_to, seen);
        self.compare_counts("the first night", expected, &finished.report);
    }

    fn second(&mut self, finished: &Finished, expected: &Expected, edits: &[Edit]) {
        let title = format!("The second night, {}, after {} edits by people", moment(&finished.report), edits.len());
        self.night(&title, finished, expected.verdict);
        self.numbers(&finished.report);
        self.files(finished);
        self.line("");
        self.line("Which edit led to what");
        let mut left = facts(&finished.report);
        for (number, edit) in edits.iter().enumerate() {
            self.line(&format!("  {:>2}  {}", number + 1, edit.did));
            let (of_edit, others): (Vec<Fact>, Vec<Fact>) = left.into_iter().partition(|fact| edit.keys.contains(&fact.key));
            left = others;
            for fact in &of_edit {
                self.line(&format!("      → {}", fact.told));
            }
            if of_edit.is_empty() {
                self.line("      → nothing was written, and nothing is open");
            }
            self.compare(&edit.did, &edit.leads_to, of_edit.into_iter().map(|fact| fact.what).collect());
        }
        for fact in &left {
            self.line(&format!("  since the first night: {}: {}", fact.key, fact.told));
        }
        self.compare("the second night", &expected.leads_to, left.iter().map(|fact| format!("{}: {}", fact.key, fact.what)).collect());
        self.compare_counts("the second night", expected, &finished.report);
    }

    fn again(&mut self, finished: &Finished, before: &Report, data_before: &BTreeMap<String, Vec<u8>>, data_after: &BTreeMap<String, Vec<u8>>) {
        let title = "The second night once more, nothing edited";
        self.night(title, finished, before.verdict);
        let report = &finished.report;
        let moved: Vec<&str> =
            data_before.keys().chain(data_after.keys()).filter(|name| data_before.get(*name) != data_after.get(*name)).map(String::as_str).collect();
        self.line(&format!("  planned    {} changes", report.changes.len()));
        self.line(&format!(
            "  on disk    {} of {} files in data/ are the same, byte for byte",
            data_after.keys().filter(|name| data_before.get(*name) == data_after.get(*name)).count(),
            data_after.len()
        ));
        if !moved.is_empty() {
            self.wrong.push(format!("{title}: these files are not what they were: {}", moved.join(", ")));
        }
        if !report.changes.is_empty() || !report.drift.is_empty() || !report.conflicts.is_empty() || !report.cleared.is_empty() {
            self.wrong.push(format!("{title}: something was found to do"));
        }
        let open = |report: &Report| report.breaks.iter().map(|open| format!("{} {}", open.id, open.open.key)).collect::<Vec<_>>();
        self.compare(title, &open(before), open(report));
    }

    fn closing(&mut self, example: &Example, edits: usize) {
        self.line("");
        if self.wrong.is_empty() {
            self.line(&format!("As it should be: each of the {edits} edits led to exactly what was expected of it, and to nothing else."));
        } else {
            self.line("Not as it should be:");
            let wrong: Vec<String> = self.wrong.iter().map(|what| format!("  ✗ {what}").replace('\n', "\n    ")).collect();
            for what in wrong {
                self.line(&what);
            }
        }
        let root = self.root.display().to_string();
        let name = example.name;
        self.line("");
        self.line("What to try next");
        self.line("  open report.html of the second night in a browser, and the mail in a mail program");
        self.line(&format!("  edit a file in {root}/data, then:  tieout --root {root} plan {name}   (writes nothing)"));
        self.line(&format!("                                      tieout --root {root} run {name}"));
        self.line(&format!("  change a rule in {root}/jobs/{name}.toml, then:  tieout --root {root} check {name}"));
        if example.api.is_some() {
            self.line(&format!("  the API ends with this command: begin with  tieout demo {name} --stay --into FOLDER  and try these in another terminal"));
        }
        let others: Vec<&str> = names().filter(|other| *other != name).collect();
        self.line(&format!("  another example:  tieout demo {} --into FOLDER", others.join(" | ")));
    }

    fn compare(&mut self, of: &str, expected: &[String], mut seen: Vec<String>) {
        for what in expected {
            match seen.iter().position(|fact| fact == what) {
                Some(at) => drop(seen.remove(at)),
                None => self.wrong.push(format!("{of}: this did not happen: {what}")),
            }
        }
        self.wrong.extend(seen.into_iter().map(|what| format!("{of}: this was not expected: {what}")));
    }

    fn compare_counts(&mut self, of: &str, expected: &Expected, report: &Report) {
        let seen = counts(report);
        let words: BTreeSet<&String> = expected.counts.keys().chain(seen.keys()).collect();
        for word in words {
            let (should, is) = (expected.counts.get(word).copied().unwrap_or(0), seen.get(word).copied().unwrap_or(0));
            if should != is {
                self.wrong.push(format!("{of}: `{word}` should be {should}, and is {is}"));
            }
        }
    }
}

/// The start of a run, to the minute.
fn moment(report: &Report) -> String {
    report.started.get(..16).map_or_else(|| report.started.clone(), |start| format!("{} UTC", start.replace('T', " ")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_found_by_their_names() {
        for (name, place) in [("A1", Some((0, 0))), ("C17", Some((16, 2))), ("AA10", Some((9, 26))), ("C0", None), ("17", None), ("c17", None), ("C", None)] {
            assert_eq!(place_of(name), place, "{name}");
        }
    }

    #[test]
    fn a_person_types_only_over_what_they_see() {
        let workbook = include_bytes!("../fixtures/demo/migration/workbook.xlsx");
        let step = |text: &str| toml::from_str::<Step>(text).unwrap().type_into(workbook, "Kunden");
        let typed = step("cell = \"C8\"\nwas = 3000\nbecomes = \"#N/A\"").unwrap();
        let mut book: Xlsx<_> = Xlsx::new(Cursor::new(typed)).unwrap();
        assert_eq!(book.worksheet_range("Kunden").unwrap().get_value((7, 2)).unwrap().to_string(), "#N/A");
        assert!(step("cell = \"C8\"\nwas = 3001\nbecomes = 1").unwrap_err().contains("C8 holds"));
        assert!(step("cell = \"C8\"\nwas = \"3000\"\nbecomes = 1").is_err(), "a number is no text");
        assert!(step("cell = \"C8\"\nbecomes = 1").unwrap_err().contains("types nothing"));
        assert!(step("cell = \"D8\"\nwas = 3570\nbecomes = 1").is_err(), "a formula");
    }
}
