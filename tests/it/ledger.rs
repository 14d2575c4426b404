//! The chain of hashes over a ledger: what stands in every report, and what a hand in the past leaves behind. What is no longer
//! kept goes without breaking it.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use tieout::explain::{self, Question};
use tieout::project::Project;
use tieout::report::Report;
use tieout::run::{self, Request, World};
use tieout::state::{JobState, Stored, Verification};

use crate::errors::tieout as program;

const JOB: &str = r#"
name = "pair"
key = ["id"]

[systems.sheet]
kind = "csv"
role = "peer"
path = "data/sheet.csv"

[systems.book]
kind = "csv"
role = "peer"
path = "data/book.csv"

[fields.id]
type = "text"
columns = { sheet = "id", book = "id" }
owner = "sheet"

[fields.name]
type = "text"
columns = { sheet = "name", book = "name" }
merge = { priority = ["sheet", "book"] }

[fields.note]
type = "text"
columns = { sheet = "note", book = "note" }
merge = "review"

[gates]
updates = "off"
all-changed = "off"

[report]
to = ["finance@example.com"]
"#;

struct Nights {
    root: tempfile::TempDir,
    heads: Vec<String>,
}

impl Nights {
    fn new() -> Nights {
        let root = tempfile::tempdir().unwrap();
        for folder in ["jobs", "data"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        fs::write(root.path().join("jobs/pair.toml"), JOB).unwrap();
        for file in ["sheet", "book"] {
            fs::write(root.path().join(format!("data/{file}.csv")), "id,name,note\na,Ada,\nb,Bob,\nc,Cid,\n").unwrap();
        }
        Nights { root, heads: Vec::new() }
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.root.path().join(format!("data/{file}.csv"));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    fn run(&mut self, night: i64, request: Request) -> Report {
        let project = Project::find(Some(self.root.path())).unwrap();
        let first: Timestamp = "2026-03-02T01:00:00Z".parse().unwrap();
        let clock = Cell::new(first.checked_add(SignedDuration::from_hours(24 * night)).unwrap());
        let now = || clock.replace(clock.get().checked_add(SignedDuration::from_secs(1)).unwrap());
        let world = World { root: &project.root, settings: &project.settings, now: &now, sleep: &|_| {}, progress: &|_| {}, cancelled: &|| false };
        let finished = run::run(&world, &project.job("pair").unwrap(), &Request { first_contact: true, ..request }).unwrap();
        assert!(finished.afterthoughts.is_empty(), "{:?}", finished.afterthoughts);
        self.heads.push(finished.report.ledger_head.clone().unwrap());
        finished.report
    }

    /// A first contact, a night with a conflict that a rule decides and one that waits, one that is only planned, one that a
    /// gate stops, and a quiet one.
    fn five() -> Nights {
        let mut nights = Nights::new();
        nights.run(0, Request::default());
        nights.edit("sheet", "Ada", "Ada Lovelace");
        nights.edit("book", "Ada", "A. Lovelace");
        nights.edit("sheet", "b,Bob,", "b,Bob,one");
        nights.edit("book", "b,Bob,", "b,Bob,other");
        nights.run(1, Request::default());
        nights.run(2, Request { plan_only: true, ..Request::default() });
        let sheet = fs::read_to_string(nights.root.path().join("data/sheet.csv")).unwrap();
        fs::write(nights.root.path().join("data/sheet.csv"), "id,name,note\n").unwrap();
        assert_eq!(nights.run(3, Request::default()).exit_code, 4);
        fs::write(nights.root.path().join("data/sheet.csv"), sheet).unwrap();
        nights.run(4, Request::default());
        nights
    }

    fn state(&self) -> std::path::PathBuf {
        self.root.path().join("state/pair")
    }

    fn verified(&self, head: Option<&str>) -> Verification {
        verified(&self.state(), head)
    }
}

fn verified(state: &Path, head: Option<&str>) -> Verification {
    JobState::read_ledger(state).unwrap().unwrap().verify(head).unwrap()
}

#[test]
fn the_head_of_the_chain_stands_in_every_report_and_mail() {
    let mut nights = Nights::five();
    let found = nights.verified(None);
    assert_eq!((found.runs, found.altered, found.unsealed), (5, Vec::new(), Vec::new()));
    assert_eq!(found.head.as_ref(), nights.heads.last());
    let report = nights.run(5, Request::default());
    let head = report.ledger_head.unwrap();
    let folder = nights.root.path().join("reports/pair").join(&report.run);
    for file in ["report.html", "report.txt", "report.json", "mail.eml"] {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        assert!(text.contains(&head), "{file} does not tell the head");
    }
    let mut workbook = zip::ZipArchive::new(fs::File::open(folder.join("report.xlsx")).unwrap()).unwrap();
    let mut texts = String::new();
    std::io::Read::read_to_string(&mut workbook.by_name("xl/sharedStrings.xml").unwrap(), &mut texts).unwrap();
    assert!(texts.contains(&head), "the workbook does not tell the head");
    // Every head that was ever told is found again, by its beginning too.
    for (night, head) in nights.heads.iter().enumerate() {
        let found = nights.verified(Some(&head[..12]));
        assert_eq!((found.altered, found.since_asked), (Vec::new(), nights.heads.len() - 1 - night));
    }
}

#[test]
fn a_hand_in_the_past_is_found_and_told() {
    let nights = Nights::five();
    let run = |night: usize| format!("2026030{}T010000Z", night + 2);
    let hands: &[(&str, &str)] = &[
        ("UPDATE journal SET key = 'x' WHERE run = 'RUN1'", "run RUN1: writes"),
        ("UPDATE journal SET settled = 'rejected' WHERE run = 'RUN1'", "run RUN1: writes: its row is another one"),
        ("DELETE FROM journal WHERE run = 'RUN1'", "run RUN1: writes: 0 rows, sealed were 1"),
        (
            "INSERT INTO journal (run, number, system, record, key, action) VALUES ('RUN0', 9, 'book', 1, 'a', 'update')",
            "run RUN0: writes: 1 rows, sealed were 0",
        ),
        ("UPDATE discarded SET value = '{\"text\":\"Ida\"}'", "run RUN1: discarded values"),
        (
            "INSERT INTO discarded SELECT 'RUN4', record, key, field, system, value, decided, reason FROM discarded",
            "run RUN4: discarded values: 1 rows, sealed were 0",
        ),
        (
            "INSERT INTO discarded SELECT '20260101T000000Z', record, key, field, system, value, decided, reason FROM discarded",
            "a run 20260101T000000Z, which there never was",
        ),
        ("DELETE FROM break_events", "run RUN1: events of breaks"),
        ("UPDATE break_events SET body = replace(body, 'one', 'two')", "run RUN1: events of breaks"),
        ("UPDATE breaks SET first_seen = '2026-03-05T01:00:00Z'", "it is not as its events say"),
        ("UPDATE breaks SET first_run = 'RUN4'", "it is not as its events say"),
        ("UPDATE breaks SET cleared_run = 'RUN4'", "it is not as its events say"),
        ("DELETE FROM breaks", "it is gone, and its events are there"),
        ("INSERT INTO breaks SELECT 'abcdefabcd', first_run, first_seen, last_run, NULL, body FROM breaks", "break abcdefabcd"),
        ("UPDATE runs SET verdict = 'OK' WHERE run = 'RUN3'", "run RUN3: its own row"),
        ("UPDATE runs SET started = '2026-03-05T02:00:00Z' WHERE run = 'RUN3'", "run RUN3: its own row"),
        ("UPDATE runs SET job_text = job_text || ' ' WHERE run = 'RUN0'", "run RUN0: its job file"),
        ("UPDATE runs SET job_text = '', knowledge = NULL WHERE run = 'RUN0'", "run RUN0: what it left to the next run"),
        ("DELETE FROM runs WHERE run = 'RUN3'", "run RUN3: it is gone"),
        (
            "INSERT INTO runs (run, command, status, started, job_digest, job_text) VALUES ('20260304T020000Z', 'run', 'promoted', 'x', '', '');
          UPDATE runs SET rowid = rowid + 100 WHERE run > '20260304T020000Z'",
            "run 20260304T020000Z: it is in no link of the chain",
        ),
        ("DELETE FROM chain WHERE number = 3", "before run RUN3: 1 link is missing in the chain"),
        ("UPDATE chain SET rows = '' WHERE number = 2", "run RUN1: its own row, or its link of the chain"),
        ("UPDATE chain SET head = replace(head, substr(head, 1, 4), '0000') WHERE number = 2", "its own row, or its link of the chain"),
        ("DELETE FROM discarded; INSERT INTO removals VALUES ('RUN4', 'RUN1', 1, '')", "run RUN4: removals"),
        ("UPDATE promoted SET run = 'RUN0'", "the state that the next run starts from"),
    ];
    for (statements, told) in hands {
        let copy = tempfile::tempdir().unwrap();
        let state = copy.path().join("pair");
        fs::create_dir(&state).unwrap();
        for entry in fs::read_dir(nights.state()).unwrap().flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("ledger.sqlite")) {
            fs::copy(entry.path(), state.join(entry.file_name())).unwrap();
        }
        let named = |text: &str| (0..5).fold(text.to_owned(), |text, night| text.replace(&format!("RUN{night}"), &run(night)));
        let ledger = Connection::open(state.join("ledger.sqlite")).unwrap();
        ledger.execute_batch("PRAGMA foreign_keys = off").unwrap();
        ledger.execute_batch(&named(statements)).unwrap();
        drop(ledger);
        let found = verified(&state, None);
        let told = named(told);
        assert!(found.altered.iter().any(|what| what.contains(&told)), "{statements}\n  wanted: {told}\n  told: {:#?}", found.altered);
    }
}

#[test]
fn a_chain_that_was_made_anew_does_not_have_the_head_that_was_told() {
    let nights = Nights::five();
    let told = nights.heads.last().unwrap();
    // The last run is taken out of the ledger as if it had never been.
    let ledger = Connection::open(nights.state().join("ledger.sqlite")).unwrap();
    let last = "(SELECT run FROM chain ORDER BY number DESC LIMIT 1)";
    for table in ["journal", "discarded", "links", "break_events"] {
        ledger.execute(&format!("DELETE FROM {table} WHERE run = {last}"), []).unwrap();
    }
    ledger
        .execute_batch(&format!(
            "PRAGMA foreign_keys = off; UPDATE promoted SET run = '20260303T010000Z'; DELETE FROM recipients; DELETE FROM mail;
             DELETE FROM runs WHERE run = {last}; DELETE FROM chain WHERE run NOT IN (SELECT run FROM runs)"
        ))
        .unwrap();
    drop(ledger);
    assert_eq!(nights.verified(None).altered, Vec::<String>::new(), "the chain alone cannot tell");
    assert_eq!(nights.verified(Some(told)).altered, [format!("no run has the head {told}: what the ledger tells is not the past that was told then")]);
    assert_eq!(nights.verified(Some(&nights.heads[3])).since_asked, 0);
    assert_eq!(nights.verified(Some("abc")).altered.len(), 1, "too short to mean anything");
}

#[test]
fn the_command_tells_it_by_its_exit_code_and_the_next_report_tells_it_too() {
    let mut nights = Nights::five();
    let told = |args: &[&str]| {
        let output = program(nights.root.path(), &[&["history", "pair", "--verify"], args].concat());
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = told(&["--head", &nights.heads[1]]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("5 runs from 20260302T010000Z to 20260306T010000Z, all as they were sealed"), "{text}");
    assert!(text.contains("that of run 20260303T010000Z; 3 runs since"), "{text}");
    assert_eq!(told(&["--head", "0123456789abcdef"]).0, 4);
    let ledger = Connection::open(nights.state().join("ledger.sqlite")).unwrap();
    ledger.execute("UPDATE runs SET sentence = 'all is well' WHERE run = '20260306T010000Z'", []).unwrap();
    drop(ledger);
    let (code, text) = told(&[]);
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("NOT as they were sealed") && text.contains("run 20260306T010000Z: its own row"), "{text}");
    let report = nights.run(5, Request::default());
    assert!(report.notes.iter().any(|note| note.contains("the ledger was altered by hand")), "{:?}", report.notes);
}

#[test]
fn a_clock_that_is_wrong_for_a_night_removes_nothing_and_is_told() {
    let mut nights = Nights::five();
    let kept = |nights: &Nights| {
        let mut names: Vec<_> = ["snapshots", "plans"]
            .iter()
            .flat_map(|folder| fs::read_dir(nights.state().join(folder)).unwrap().flatten().map(|entry| entry.file_name()))
            .collect();
        names.sort();
        let ledger = Connection::open(nights.state().join("ledger.sqlite")).unwrap();
        let journal: i64 = ledger.query_row("SELECT count(*) FROM journal", [], |row| row.get(0)).unwrap();
        (names, journal)
    };
    fs::write(nights.root.path().join("tieout.toml"), "ledger_days = 30\nsnapshots_days = 30\n").unwrap();
    let (before, journal) = kept(&nights);
    let told = |report: &Report| report.notes.iter().any(|note| note.contains("the clock shows"));
    assert!(!told(&nights.run(3650, Request::default())), "a long pause is no wrong clock");
    nights.run(3651, Request::default());
    assert!(told(&nights.run(-3650, Request::default())));
    nights.run(5, Request::default());
    nights.run(6, Request::default());
    assert!(nights.state().join("snapshots/20160304T010000Z").is_dir(), "the run of a wrong time is as old as those around it");
    let (after, still) = kept(&nights);
    assert!(before.iter().all(|name| after.contains(name)), "{before:?} {after:?}");
    assert_eq!(still, journal);
}

#[test]
fn what_is_kept_for_long_enough_goes_and_what_is_open_stays() {
    let mut nights = Nights::new();
    fs::write(nights.root.path().join("tieout.toml"), "ledger_days = 3\nsnapshots_days = 3\n").unwrap();
    nights.run(0, Request::default());
    // One conflict is decided by a rule; another waits for a person until night 7.
    nights.edit("sheet", "a,Ada,", "a,Ada Lovelace,");
    nights.edit("book", "a,Ada,", "a,A. Lovelace,");
    nights.edit("sheet", "b,Bob,", "b,Robert,one");
    nights.edit("book", "b,Bob,", "b,Bobby,other");
    for night in 1..7 {
        nights.run(night, Request::default());
        assert_eq!(nights.verified(Some(&nights.heads[0])).altered, Vec::<String>::new(), "night {night}");
    }
    let count = |nights: &Nights, table: &str| -> i64 {
        let ledger = Connection::open(nights.state().join("ledger.sqlite")).unwrap();
        ledger.query_row(&format!("SELECT count(*) FROM {table} WHERE run = '20260303T010000Z'"), [], |row| row.get(0)).unwrap()
    };
    assert_eq!(["journal", "discarded", "break_events"].map(|table| count(&nights, table)), [1, 1, 1], "only those of b are left");
    assert_eq!(nights.verified(None).removed_from, 3);
    let story = |nights: &Nights, key: &str| {
        let project = Project::find(Some(nights.root.path())).unwrap();
        let stored = Stored::open(&nights.state()).unwrap();
        let question = Question { key, field: None, run: None, runs_max: 20, reveal: false };
        explain::explain(&project.job("pair").unwrap(), stored.as_ref(), &question).unwrap()
    };
    let open = story(&nights, "b");
    assert_eq!(open.records[0].open[0].since.as_ref().unwrap().0, "20260303T010000Z");
    let first = open.records[0].story.last().unwrap();
    assert_eq!((first.writes[0].outcome.as_str(), first.breaks[0].event.as_str()), ("verified", "opened"));
    assert_eq!(open.notes.len(), 2, "what is gone is said: {:?}", open.notes);
    assert!(story(&nights, "a").records[0].story.is_empty());

    // Once it is closed, the rest goes, too; the chain still holds, and an old head is still found.
    nights.edit("book", "other", "one");
    for night in 7..12 {
        nights.run(night, Request::default());
        assert_eq!(nights.verified(Some(&nights.heads[1])).altered, Vec::<String>::new(), "night {night}");
    }
    assert_eq!(["journal", "discarded", "break_events"].map(|table| count(&nights, table)), [0, 0, 0]);
    // A hand that calls itself a removal is found.
    let ledger = Connection::open(nights.state().join("ledger.sqlite")).unwrap();
    ledger
        .execute_batch(
            "UPDATE runs SET knowledge = NULL, job_text = '' WHERE run = '20260312T010000Z';
             UPDATE chain SET kept = 0;
             INSERT INTO removals VALUES ('20260313T010000Z', '20260312T010000Z', 1, '')",
        )
        .unwrap();
    drop(ledger);
    let altered = nights.verified(None).altered;
    assert!(altered.iter().any(|what| what.starts_with("run 20260313T010000Z: removals")), "{altered:?}");
}

#[test]
fn a_run_that_was_cut_off_is_sealed_by_the_next_one() {
    let mut nights = Nights::new();
    nights.run(0, Request::default());
    let ledger = Connection::open(nights.state().join("ledger.sqlite")).unwrap();
    ledger
        .execute(
            "INSERT INTO runs (run, command, status, started, job_digest, job_text)
             SELECT '20260302T130000Z', 'run', 'running', '2026-03-02T13:00:00Z', job_digest, job_text FROM runs",
            [],
        )
        .unwrap();
    drop(ledger);
    let found = nights.verified(None);
    assert_eq!((found.runs, found.unsealed.len(), found.altered.len()), (1, 1, 0));
    nights.run(1, Request::default());
    let found = nights.verified(None);
    assert_eq!((found.runs, found.unsealed.len(), found.altered), (3, 0, Vec::new()));
}
