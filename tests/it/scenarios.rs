//! Every folder of `fixtures/scenarios`: a job, the edits before each night, and what must come of it.
//!
//! ```text
//! job.toml                the job; its comment tells the story. It is named as the folder, with dashes
//! night1/ night2/ ..      what people did before that night:
//!   <name>.csv              a file that is laid over `data/`
//!   <name>.sql              statements that are run against `data/<name>.db`
//!   <name>.delete           the file `data/<name>` goes
//!   job.toml                the job file changed
//!   args                    arguments of the run; the first night accepts its first contact where there are none; `--undo`
//!                           takes back what the run before wrote
//!   decide                  what people decide about open breaks, a line each: `KEY FIELD SYSTEM WORD.. by NAME: WHY`, with `-` for
//!                           no field or system
//!   at-apply/ at-verify/    the same, done by somebody while the run is about to write, or to read back
//! expected/night1.txt ..  the plan with its outcome, a line a change, and everything that is told
//! expected/data/          every data file after the last night: files as they are, databases as sorted text, workbooks as
//!                         `<name>.xlsx.txt`: every cell with its place, texts in quotes, formulas with their results; Parquet
//!                         files as `<name>.parquet.txt`: their types, then a line a row
//! ```
//!
//! After the last night the job runs once more without an edit. That run must plan nothing but what is owed, open no break and
//! leave every file as it is, to the byte. With `TIEOUT_REWRITE=1` the expectations are written anew, to be reviewed in the
//! diff; with `TIEOUT_SCENARIO=part-of-a-name` only some scenarios run.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use similar::TextDiff;
use tieout::change::{Break, SystemValue, key_for_people};
use tieout::error::Remedy;
use tieout::project::Project;
use tieout::reconcile::answers::Act;
use tieout::reconcile::gates::{Allowed, Gate};
use tieout::report::{ChangeReport, Report};
use tieout::review::{self, Say, Signature};
use tieout::run::{self, Request, World};
use tieout::state::{JobState, Stored};
use tieout::undo;
use tieout::value::Value;

#[test]
fn every_scenario_ends_as_its_folder_says() {
    let folders: Vec<PathBuf> = sorted(&fixtures("scenarios"))
        .into_iter()
        .filter(|folder| std::env::var("TIEOUT_SCENARIO").map_or(true, |part| name_of(folder).contains(&part)))
        .collect();
    assert!(!folders.is_empty(), "no scenario has such a name");
    let failures = side_by_side(&folders, |folder| {
        // The same must come of it whether the records at rest are looked into or not, and whether all are decided together at first contact.
        let whole = std::env::var_os("TIEOUT_REWRITE").is_none();
        let told: Vec<String> = [Way::Usual, Way::EveryRecord, Way::Stretches, Way::EveryStretch]
            .into_iter()
            .filter(|way| *way == Way::Usual || whole)
            .flat_map(|way| {
                let told = play(folder, way).unwrap_or_else(|problem| vec![problem]);
                told.into_iter().map(move |line| format!("{}{line}", way.words()))
            })
            .collect();
        (!told.is_empty()).then(|| format!("== {}\n{}", name_of(folder), told.join("\n")))
    });
    assert!(failures.is_empty(), "{} of {} scenarios differ\n\n{}", failures.len(), folders.len(), failures.join("\n\n"));
}

/// The tables in the sources name a scenario in each row: every one of them is there.
#[test]
fn every_case_of_the_module_tables_has_its_scenario() {
    let mut missing = Vec::new();
    for source in ["src/reconcile/merge.rs", "src/reconcile/plan.rs"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(source)).unwrap();
        let rows: Vec<&str> = text.lines().take_while(|line| line.starts_with("//!")).filter(|line| line.starts_with("//! |")).collect();
        assert!(rows.len() > 5, "{source} has no table any more");
        for row in rows.iter().skip(2) {
            let Some(cell) = row.trim_end_matches('|').rsplit('|').next() else { continue };
            for name in cell.split('`').skip(1).step_by(2) {
                if !fixtures("scenarios").join(name).is_dir() {
                    missing.push(format!("{source}: {name}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "no scenario of this name: {}", missing.join(", "));
}

/// How the records of a night are looked into: nobody can tell the difference afterwards.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As a user's night does.
    Usual,
    /// Those at rest as well.
    EveryRecord,
    /// One at a time at first contact.
    Stretches,
    /// Those at rest as well, one at a time.
    EveryStretch,
}

impl Way {
    fn words(self) -> &'static str {
        match self {
            Way::Usual => "",
            Way::EveryRecord => "looking into every record: ",
            Way::Stretches => "one record at a time at first contact: ",
            Way::EveryStretch => "looking into every record, one at a time: ",
        }
    }

    fn of(self, request: Request) -> Request {
        match self {
            Way::Usual => request,
            Way::EveryRecord => Request { every_record: true, ..request },
            Way::Stretches => Request { stretch_rows: Some(1), ..request },
            Way::EveryStretch => Request { every_record: true, stretch_rows: Some(1), ..request },
        }
    }
}

/// Does something with every folder on a few threads; gives the answers in the order of the folders.
pub fn side_by_side(folders: &[PathBuf], each: impl Fn(&Path) -> Option<String> + Sync) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let mut answers: Vec<(usize, String)> = std::thread::scope(|scope| {
        let work = || {
            let mut answers = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(folder) = folders.get(index) else { return answers };
                answers.extend(each(folder).map(|answer| (index, answer)));
            }
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    answers.sort();
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// Plays all nights of a scenario; gives everything that is not as expected.
fn play(folder: &Path, way: Way) -> Result<Vec<String>, String> {
    let name = name_of(folder);
    let job = name.replace('_', "-");
    let stage = Stage::new(&job, way)?;
    let nights = (1..).map(|number| folder.join(format!("night{number}"))).take_while(|night| night.is_dir()).count();
    if nights == 0 {
        return Err("it has no night1/".to_owned());
    }
    copy(&folder.join("job.toml"), &stage.job_file())?;
    let mut differences = Vec::new();
    for night in 1..=nights {
        let edits = folder.join(format!("night{night}"));
        stage.edit(&edits)?;
        stage.decide(&edits.join("decide"))?;
        let args = fs::read_to_string(edits.join("args")).unwrap_or_else(|_| if night == 1 { "--first-contact".to_owned() } else { String::new() });
        let told = match stage.run(night, &args, &edits) {
            Ok(report) => describe(&report, &stage.discarded(&report.run)?),
            Err(error) => format!("{error}\nexit {}\n", error.remedy.exit_code()),
        };
        compare(&folder.join(format!("expected/night{night}.txt")), told.as_bytes(), &mut differences);
    }
    let data = stage.dump()?;
    let expected = folder.join("expected/data");
    for (file, bytes) in &data {
        compare(&expected.join(file), bytes, &mut differences);
    }
    for path in sorted(&expected) {
        if !data.contains_key(&name_of(&path)) {
            differences.push(format!("expected/data/{} is there, the run left no such file", name_of(&path)));
        }
    }
    stage.expect_quiet(nights + 1, &mut differences)?;
    Ok(differences)
}

/// A root of its own, in which one scenario is played.
struct Stage {
    root: tempfile::TempDir,
    job: String,
    way: Way,
}

impl Stage {
    fn new(job: &str, way: Way) -> Result<Stage, String> {
        let root = tempfile::tempdir().map_err(|e| e.to_string())?;
        for part in ["jobs", "data"] {
            fs::create_dir(root.path().join(part)).map_err(|e| e.to_string())?;
        }
        Ok(Stage { root, job: job.to_owned(), way })
    }

    fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    fn job_file(&self) -> PathBuf {
        self.root.path().join("jobs").join(format!("{}.toml", self.job))
    }

    /// What people did before a night.
    fn edit(&self, edits: &Path) -> Result<(), String> {
        for path in sorted(edits) {
            let name = name_of(&path);
            if ["args", "decide"].contains(&name.as_str()) || path.is_dir() {
                continue;
            } else if name == "job.toml" {
                copy(&path, &self.job_file())?;
            } else if let Some(stem) = name.strip_suffix(".sql") {
                let statements = fs::read_to_string(&path).map_err(|e| e.to_string())?;
                let database = Connection::open(self.data().join(format!("{stem}.db"))).map_err(|e| e.to_string())?;
                database.execute_batch(&statements).map_err(|e| format!("{}: {e}", path.display()))?;
            } else if let Some(gone) = name.strip_suffix(".delete") {
                fs::remove_file(self.data().join(gone)).map_err(|e| format!("{}: {e}", path.display()))?;
            } else {
                copy(&path, &self.data().join(&name))?;
            }
        }
        Ok(())
    }

    /// What people decide before a night. A line that does not fit is told as the program tells it.
    fn decide(&self, lines: &Path) -> Result<(), String> {
        let lines = fs::read_to_string(lines).unwrap_or_default();
        if lines.is_empty() {
            return Ok(());
        }
        let project = Project::find(Some(self.root.path())).map_err(|e| e.to_string())?;
        let job = project.job(&self.job).map_err(|e| e.to_string())?;
        let folder = project.state_folder(&job.name);
        let mut patience = 0..100;
        let state = loop {
            match JobState::open(&folder, "a test") {
                Err(error) if error.remedy == Remedy::Wait && patience.next().is_some() => std::thread::sleep(Duration::from_millis(10)),
                other => break other.map_err(|e| e.to_string())?,
            }
        };
        for line in lines.lines() {
            let (said, why) = line.split_once(": ").map_or((line, None), |(said, why)| (said, Some(why)));
            let (what, who) = said.split_once(" by ").ok_or("nobody decides")?;
            let words: Vec<&str> = what.split_whitespace().collect();
            let [key, field, system, word, of @ ..] = words.as_slice() else { return Err(format!("`{line}` has too few words")) };
            let none = |word: &str| (word != "-").then(|| word.to_owned());
            let is_meant = |open: &Break| key_for_people(&open.key) == *key && open.field == none(field) && open.system == none(system);
            let open = state.ledger.open_breaks().map_err(|e| e.to_string())?;
            let meant: Vec<String> = open.values().filter(|known| is_meant(&known.open)).map(|known| known.id.clone()).collect();
            let argument = of.first().map(|word| (*word).to_owned()).unwrap_or_default();
            let say = match *word {
                "accept" => Say::Decide(Act::Accept),
                "reject" => Say::Decide(Act::Reject),
                "unfreeze" => Say::Decide(Act::Unfreeze),
                "choose" => Say::Decide(Act::Choose { system: argument }),
                "snooze" => Say::Decide(Act::Snooze { until: argument }),
                "forget" => Say::Forget,
                other => return Err(format!("no word `{other}`")),
            };
            let by = Signature { who, why, at: "2026-03-01T12:00:00Z" };
            if meant.len() != 1 {
                return Err(format!("`{line}` means {} breaks", meant.len()));
            }
            review::decide(&job, &state.ledger, &meant, &say, by).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// One night: at one o'clock, a day after the other, each look at the clock a second later.
    fn run(&self, night: usize, args: &str, edits: &Path) -> Result<Report, tieout::error::Error> {
        let project = Project::find(Some(self.root.path()))?;
        let job = project.job(&self.job)?;
        let first: Timestamp = "2026-03-02T01:00:00Z".parse().unwrap();
        let days = i64::try_from(night).unwrap() - 1;
        let clock = Cell::new(first.checked_add(SignedDuration::from_hours(24 * days)).unwrap());
        let now = || clock.replace(clock.get().checked_add(SignedDuration::from_secs(1)).unwrap());
        let told = RefCell::new(Vec::new());
        let progress = |step: &str| {
            let step = step.split(':').next().unwrap_or_default().to_owned();
            let during = edits.join(format!("at-{step}"));
            if !told.borrow().contains(&step) && during.is_dir() {
                self.edit(&during).unwrap();
            }
            told.borrow_mut().push(step);
        };
        let world = World { root: &project.root, settings: &project.settings, now: &now, sleep: &|_| {}, progress: &progress, cancelled: &|| false };
        let undo = args.split_whitespace().any(|word| word == "--undo").then(|| {
            let stored = Stored::open(&project.state_folder(&job.name))?.unwrap();
            let last = stored.ledger.promoted()?.unwrap().run;
            undo::of_run(&job, &stored, &last, Signature { who: "anna", why: Some("a mistake"), at: "2026-03-01T12:00:00Z" }).map(Arc::new)
        });
        let undo = undo.transpose()?;
        let mut patience = 0..100;
        let finished = loop {
            match run::run(&world, &job, &self.way.of(Request { undo: undo.clone(), ..request(args) })) {
                // A program that another test starts holds our locks for the instant between its fork and its exec.
                Err(error) if error.remedy == Remedy::Wait && patience.next().is_some() => std::thread::sleep(Duration::from_millis(10)),
                other => break other?,
            }
        };
        if let Some(error) = finished.afterthoughts.into_iter().next() {
            return Err(error);
        }
        Ok(finished.report)
    }

    /// The values that a run discarded, as its ledger keeps them.
    fn discarded(&self, run: &str) -> Result<Vec<String>, String> {
        let ledger = Connection::open(self.root.path().join("state").join(&self.job).join("ledger.sqlite")).map_err(|e| e.to_string())?;
        let mut statement = ledger
            .prepare("SELECT key, field, system, value, decided, reason FROM discarded WHERE run = ?1 ORDER BY record, field, system")
            .map_err(|e| e.to_string())?;
        let rows = statement
            .query_map([run], |row| {
                let value = |column: usize| -> rusqlite::Result<Value> { Ok(serde_json::from_str(&row.get::<_, String>(column)?).unwrap_or(Value::Null)) };
                let (key, field, system): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
                let reason: String = row.get(5)?;
                Ok(format!("{} {field} of {system}: {} gave way to {}: {reason}", key_for_people(&key), shown(&value(3)?), shown(&value(4)?)))
            })
            .map_err(|e| e.to_string())?;
        rows.collect::<Result<_, _>>().map_err(|e| e.to_string())
    }

    /// Every data file: databases as sorted text, workbooks as text, anything else as it is. Backups of ours aside.
    fn dump(&self) -> Result<BTreeMap<String, Vec<u8>>, String> {
        let mut files = BTreeMap::new();
        for path in sorted(&self.data()) {
            let name = name_of(&path);
            if name.contains(".tieout-backup") {
                continue;
            }
            match name.strip_suffix(".db") {
                Some(stem) => files.insert(format!("{stem}.txt"), dump_database(&path)?.into_bytes()),
                None if name.ends_with(".xlsx") => files.insert(format!("{name}.txt"), dump_workbook(&path)?.into_bytes()),
                None if name.ends_with(".parquet") => files.insert(format!("{name}.txt"), dump_parquet(&path)?.into_bytes()),
                None => files.insert(name, fs::read(&path).map_err(|e| e.to_string())?),
            };
        }
        Ok(files)
    }

    /// A run without an edit: nothing but what is owed is planned, no break is new, no file changes.
    fn expect_quiet(&self, night: usize, differences: &mut Vec<String>) -> Result<(), String> {
        let bytes = |folder: &Path| -> BTreeMap<String, Vec<u8>> { sorted(folder).iter().map(|path| (name_of(path), fs::read(path).unwrap())).collect() };
        let before = bytes(&self.data());
        let Ok(report) = self.run(night, "", Path::new("")) else { return Ok(()) };
        for change in report.changes.iter().filter(|change| change.attempts == 0 && report.stopped_by.is_empty()) {
            differences.push(format!("a run without an edit would: {}", describe_change(change)));
        }
        for one in report.breaks.iter().filter(|one| one.first_run == report.run && report.stopped_by.is_empty()) {
            differences.push(format!("a run without an edit opens a break: {} {}: {}", one.open.kind, one.open.key, one.open.why));
        }
        for identity in report.identities.iter().filter(|identity| !identity.holds) {
            differences.push(format!("the arithmetic of {} does not hold for {}: {}", identity.name, identity.of, identity.equation));
        }
        let after = bytes(&self.data());
        for (file, content) in &after {
            if before.get(file) != Some(content) {
                differences.push(format!("a run without an edit changed data/{file}"));
            }
        }
        if after.len() != before.len() {
            differences.push("a run without an edit made or removed a file".to_owned());
        }
        Ok(())
    }
}

/// A Parquet file as Polars reads it: the types of its columns, then a line a row.
fn dump_parquet(path: &Path) -> Result<String, String> {
    use polars::prelude::{ParquetReader, SerReader};
    let types = ParquetReader::new(fs::File::open(path).map_err(|e| e.to_string())?).schema().map_err(|e| e.to_string())?;
    let types: Vec<String> = types.iter().map(|(name, field)| format!("{name} {:?}", field.dtype())).collect();
    let (names, pulled) = tieout::systems::parquet::columns_of_file(path).map_err(|e| e.to_string())?;
    let row = |row| names.iter().map(|name| pulled.raw(name, row).text.unwrap_or_else(|| "null".to_owned())).collect::<Vec<_>>().join(" | ");
    let rows: Vec<String> = (0..pulled.height() as u32).map(row).collect();
    Ok(format!("{}\n{}\n", types.join(", "), rows.join("\n")))
}

fn request(args: &str) -> Request {
    let mut request = Request::default();
    let mut words = args.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "--first-contact" => request.first_contact = true,
            "--undo" => {}
            "--plan" => request.plan_only = true,
            "--unfreeze" => request.unfreeze.extend(words.next().map(str::to_owned)),
            "--retry" => request.retry.extend(words.next().map(str::to_owned)),
            "--allow" => {
                for word in words.next().unwrap_or_default().split(',') {
                    let (gate, system) = word.split_once(':').map_or((word, None), |(gate, system)| (gate, Some(system.to_owned())));
                    let gate = Gate::ALL.into_iter().find(|known| known.word() == gate).unwrap_or_else(|| panic!("no gate `{gate}`"));
                    request.allowed.push(Allowed { gate, system });
                }
            }
            other => panic!("no argument `{other}`"),
        }
    }
    request
}

/// A run in the words that a reviewer needs: a line a change, then what else is told.
fn describe(report: &Report, discarded: &[String]) -> String {
    let mut text = format!("{} exit {}\n{}\n", report.verdict.word(), report.exit_code, report.sentence);
    let mut section = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            let _ = write!(text, "\n{title}\n");
            for line in lines {
                let _ = writeln!(text, "  {}", line.replace('\n', "\n  "));
            }
        }
    };
    section("stopped by", report.stopped_by.iter().map(ToString::to_string).collect());
    section("allowed", report.allowed.clone());
    section("changes", report.changes.iter().map(describe_change).collect());
    let listed = |values: &[SystemValue]| values.iter().map(|v| format!("{} {}", v.system, shown(&v.value))).collect::<Vec<_>>().join(", ");
    let conflicts = report.conflicts.iter().map(|c| format!("{} {}: {}; {}; not {}", c.key, c.field, shown(&c.decided), c.reason, listed(&c.overridden)));
    section("conflicts", conflicts.collect());
    let drift = report.drift.iter().map(|d| {
        let what = if d.restored { "put back to" } else { "left, not" };
        format!("{} {} {}: {} → {}, {what} {}", d.system, d.key, d.field, shown(&d.base), shown(&d.now), shown(&d.decided))
    });
    section("drift", drift.collect());
    section("discarded", discarded.to_vec());
    let breaks = report.breaks.iter().map(|b| {
        let place = [b.open.field.clone(), b.open.system.as_ref().map(|s| format!("in {s}"))].into_iter().flatten().collect::<Vec<_>>().join(" ");
        let values = if b.open.values.is_empty() { String::new() } else { format!(" ({})", listed(&b.open.values)) };
        let age = if b.first_run == report.run { String::new() } else { format!(" since {}", b.first_seen) };
        format!("{}{age}: {} {place}{values}: {}", b.open.kind, b.open.key, b.open.why)
    });
    section("breaks", breaks.collect());
    let cleared = report.cleared.iter().map(|c| format!("{}: {} {}", c.kind, c.key, c.field.clone().unwrap_or_default()).trim_end().to_owned());
    section("cleared", cleared.collect());
    let tolerated = report.tolerated.iter().map(|t| format!("{} {} of {}: {} beside {}", t.key, t.field, t.system, shown(&t.value), shown(&t.decided)));
    section("within tolerance", tolerated.collect());
    let totals = report.totals.iter().map(|t| {
        let held = if t.held_records > 0 { format!(", held {} in {} rows", t.held, t.held_records) } else { String::new() };
        let incomplete = if t.incomplete { ", incomplete" } else { "" };
        format!("{} {} of {}: {} in {} records{held}{incomplete}", t.field, t.group.as_deref().unwrap_or("in all"), t.system, t.after, t.records)
    });
    section("totals", totals.collect());
    let differences = report.identities.iter().filter(|identity| identity.name == "differences");
    section("differences", differences.map(|identity| format!("{}: {}", identity.of, identity.equation)).collect());
    section("quarantined", report.quarantined.iter().map(|q| format!("{} line {}: {}", q.system, q.row.line, q.row.reason)).collect());
    let duplicates = report.duplicates.iter().map(|d| {
        let survivor = d.survivor_for_people().map_or_else(|| "nobody speaks".to_owned(), |row| format!("{row} speaks"));
        format!("{} {}: {survivor}, not {} ({})", d.system, d.key, d.losers_for_people(20), d.rule)
    });
    section("duplicates", duplicates.collect());
    section("stale", report.stale.iter().map(|s| format!("{} {} {}: {}", s.system, s.action, s.key, s.why)).collect());
    section("links", report.links.iter().map(|l| format!("{} {}: {}", l.system, l.key, l.event)).collect());
    section("notes", report.notes.clone());
    section("arithmetic that does not hold", report.identities.iter().filter(|i| !i.holds).map(|i| format!("{}: {}", i.of, i.equation)).collect());
    text
}

fn describe_change(change: &ChangeReport) -> String {
    let arrow = |cell: &tieout::report::CellReport| format!("{}: {} → {} ({})", cell.field, shown(&cell.before), shown(&cell.after), cell.reason);
    let cells: Vec<String> = match change.action.to_string().as_str() {
        "create" => {
            vec![change.cells.iter().map(|c| format!("{} {}", c.field, shown(&c.after))).collect::<Vec<_>>().join(", "), format!("({})", change.reason)]
        }
        "delete" => vec![format!("({})", change.reason)],
        _ => vec![change.cells.iter().map(arrow).collect::<Vec<_>>().join(", ")],
    };
    let settled = change.settled.map_or_else(|| "not sent".to_owned(), |settled| settled.to_string());
    let detail = change.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
    let again = match change.attempts {
        0 => String::new(),
        1 => ", sent once before".to_owned(),
        attempts => format!(", sent {attempts} times before"),
    };
    format!("{} {} {}: {}; {settled}{detail}{again}", change.system, change.action, change.key, cells.join(" "))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        other => format!("`{other}`"),
    }
}

/// Compares with a file, or writes it anew.
fn compare(path: &Path, told: &[u8], differences: &mut Vec<String>) {
    if std::env::var_os("TIEOUT_REWRITE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, told).unwrap();
        return;
    }
    let expected = fs::read(path).unwrap_or_default();
    if expected != told {
        let (expected, told) = (String::from_utf8_lossy(&expected).into_owned(), String::from_utf8_lossy(told).into_owned());
        let diff = TextDiff::from_lines(expected.as_str(), told.as_str());
        differences.push(diff.unified_diff().context_radius(2).header(&format!("expected {}", name_of(path)), "told").to_string());
    }
}

/// The rows of every table of a database, sorted.
pub fn dump_database(path: &Path) -> Result<String, String> {
    let database = Connection::open(path).map_err(|e| e.to_string())?;
    let column = |statement: &str| -> Result<Vec<String>, String> {
        let mut statement = database.prepare(statement).map_err(|e| e.to_string())?;
        let rows = statement.query_map([], |row| row.get(0)).map_err(|e| e.to_string())?;
        rows.collect::<Result<_, _>>().map_err(|e| e.to_string())
    };
    let mut text = String::new();
    for table in column("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")? {
        let columns = column(&format!("SELECT name FROM pragma_table_info('{table}') ORDER BY cid"))?;
        let _ = writeln!(text, "{table}: {}", columns.join(" | "));
        let quoted: Vec<String> = columns.iter().map(|name| format!("quote(\"{name}\")")).collect();
        let mut rows = column(&format!("SELECT {} FROM \"{table}\"", quoted.join(" || ' | ' || ")))?;
        rows.sort();
        for row in rows {
            let _ = writeln!(text, "  {row}");
        }
    }
    Ok(text)
}

/// Every cell of a workbook that holds anything, by sheet and row.
pub fn dump_workbook(path: &Path) -> Result<String, String> {
    use calamine::{Data, Reader};
    let mut book: calamine::Xlsx<_> = calamine::open_workbook(path).map_err(|e: calamine::XlsxError| e.to_string())?;
    let mut text = String::new();
    for sheet in book.sheet_names() {
        let _ = writeln!(text, "{sheet}:");
        let (cells, formulas) = (book.worksheet_range(&sheet).map_err(|e| e.to_string())?, book.worksheet_formula(&sheet).map_err(|e| e.to_string())?);
        let (Some(first), Some(last)) = (cells.start(), cells.end()) else { continue };
        for row in first.0..=last.0 {
            let cell = |column: u32| {
                let value = match cells.get_value((row, column)) {
                    None | Some(Data::Empty) => None,
                    Some(Data::String(text)) => Some(format!("{text:?}")),
                    Some(Data::DateTime(moment)) => Some(format!("day {}", moment.as_f64())),
                    Some(other) => Some(other.to_string()),
                };
                let formula = formulas.get_value((row, column)).filter(|formula| !formula.is_empty());
                let shown = match (formula, value) {
                    (Some(formula), value) => Some(format!("={formula} is {}", value.as_deref().unwrap_or("not calculated"))),
                    (None, value) => value,
                };
                let letter = char::from(b'A' + u8::try_from(column).unwrap_or(25).min(25));
                shown.map(|shown| format!("{letter}{}: {shown}", row + 1))
            };
            let cells: Vec<String> = (first.1..=last.1).filter_map(cell).collect();
            if !cells.is_empty() {
                let _ = writeln!(text, "  {}", cells.join(" | "));
            }
        }
    }
    Ok(text)
}

/// A folder of `fixtures/`.
pub fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder)
}

/// What is in a folder, sorted; nothing if there is no such folder.
pub fn sorted(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// The name of a file or folder.
pub fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to).map(|_| ()).map_err(|e| format!("{}: {e}", from.display()))
}
