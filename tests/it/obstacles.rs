//! What stands in the way of a write for a while is waited for, and what stays in the way holds up nothing else.
//!
//! The clock is the test's: nobody sleeps. What is in the way is real: a workbook that somebody has open, a file that a program
//! removes before it saves it anew.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;
use tieout::change::Settled;
use tieout::project::Project;
use tieout::report::{Report, Verdict};
use tieout::run::{self, Finished, Request, World};

const JOB: &str = r#"name = "people"
key = ["number"]

[systems.crm]
kind = "csv"
role = "peer"
path = "data/crm.csv"

[systems.sheet]
kind = "excel"
role = "peer"
path = "data/sheet.xlsx"

[systems.shop]
kind = "csv"
role = "peer"
path = "data/shop.csv"

[fields.number]
type = "text"
columns = { crm = "number", sheet = "number", shop = "number" }
merge = { priority = ["crm", "sheet", "shop"] }

[fields.name]
type = "text"
columns = { crm = "name", sheet = "name", shop = "name" }
merge = { priority = ["crm", "sheet", "shop"] }
"#;

/// A root whose systems agree, and then one edit in the CRM and one in the shop.
fn prepare(settings: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for folder in ["jobs", "data"] {
        fs::create_dir(root.path().join(folder)).unwrap();
    }
    fs::write(root.path().join("jobs/people.toml"), JOB).unwrap();
    fs::write(root.path().join("tieout.toml"), settings).unwrap();
    let csv = |first: &str, second: &str| format!("number,name\n1,{first}\n2,{second}\n");
    for file in ["crm.csv", "shop.csv"] {
        fs::write(root.path().join("data").join(file), csv("Ada", "Bob")).unwrap();
    }
    let mut book = rust_xlsxwriter::Workbook::new();
    let sheet = book.add_worksheet();
    for (row, cells) in (0..).zip([["number", "name"], ["1", "Ada"], ["2", "Bob"]]) {
        for (column, cell) in (0..).zip(cells) {
            sheet.write_string(row, column, cell).unwrap();
        }
    }
    book.save(root.path().join("data/sheet.xlsx")).unwrap();
    let first = night(root.path(), true, &|_| {}, &|_| {});
    assert_eq!(first.report.verdict, Verdict::Ok, "{}", first.report.sentence);
    fs::write(root.path().join("data/crm.csv"), csv("Ada Lovelace", "Bob")).unwrap();
    fs::write(root.path().join("data/shop.csv"), csv("Ada", "Robert")).unwrap();
    root
}

/// One run. `step` is told each step, `sleep` each wait.
fn night(root: &Path, first_contact: bool, step: &dyn Fn(&str), sleep: &dyn Fn(Duration)) -> Finished {
    let project = Project::find(Some(root)).unwrap();
    let job = project.job("people").unwrap();
    let now = Timestamp::now;
    let world = World { root, settings: &project.settings, now: &now, sleep, progress: step, cancelled: &|| false };
    run::run(&world, &job, &Request { first_contact, ..Request::default() }).unwrap()
}

fn retries_of(report: &Report, name: &str) -> u64 {
    report.systems.iter().find(|system| system.name == name).unwrap().retries
}

fn settled(report: &Report, name: &str) -> Vec<Settled> {
    report.changes.iter().filter(|change| change.system == name).filter_map(|change| change.settled).collect()
}

/// What the ledger says of calls that were made again.
fn journal(root: &Path) -> Vec<String> {
    let ledger = Connection::open(root.join("state/people/ledger.sqlite")).unwrap();
    let mut statement = ledger.prepare("SELECT system || ' ' || call || ' ' || tries || ': ' || reason FROM retries ORDER BY rowid").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_workbook_that_is_closed_in_time_is_written() {
    let root = prepare("");
    let lock = root.path().join("data/~$sheet.xlsx");
    fs::write(&lock, b"\x03Ada").unwrap();
    let waits = RefCell::new(Vec::new());
    let finished = night(root.path(), false, &|_| {}, &|wait| {
        waits.borrow_mut().push(wait);
        if waits.borrow().len() == 3 {
            fs::remove_file(&lock).unwrap();
        }
    });
    let report = &finished.report;
    assert_eq!((report.verdict, finished.exit_code), (Verdict::Synced, 0), "{}", report.sentence);
    assert_eq!((retries_of(report, "sheet"), retries_of(report, "crm")), (3, 0));
    let why = "the workbook is open in Excel by Ada";
    assert_eq!(journal(root.path()), [format!("sheet write 1: {why}"), format!("sheet write 2: {why}"), format!("sheet write 3: {why}")]);
    let waits = waits.into_inner();
    assert!(waits.windows(2).all(|two| two[1] > two[0]), "each wait is longer: {waits:?}");
    let text = fs::read_to_string(finished.folder.join("report.txt")).unwrap();
    assert!(text.contains("Called again") && text.contains("3 times"), "{text}");
}

#[test]
fn a_workbook_that_stays_open_is_owed_and_the_other_systems_are_written() {
    let root = prepare("");
    let lock = root.path().join("data/~$sheet.xlsx");
    fs::write(&lock, b"\x03Ada").unwrap();
    let waited = RefCell::new(Duration::ZERO);
    let finished = night(root.path(), false, &|_| {}, &|wait| *waited.borrow_mut() += wait);
    let report = &finished.report;
    assert_eq!(waited.into_inner(), Duration::from_secs(60), "no longer than the run's patience");
    assert_eq!((report.verdict, finished.exit_code), (Verdict::Failed, 3), "{}", report.sentence);
    assert!(report.sentence.ends_with("; nothing was written to `sheet`: the workbook is open in Excel by Ada"), "{}", report.sentence);
    assert!(report.stopped_by[0].to_string().contains("with 60 s of waiting"), "{}", report.stopped_by[0]);
    assert_eq!((settled(report, "sheet"), settled(report, "crm")), (vec![Settled::Skipped; 2], vec![Settled::Verified]));
    assert_eq!(report.breaks.len(), 2, "what was not written is open");
    fs::remove_file(&lock).unwrap();
    let next = night(root.path(), false, &|_| {}, &|_| panic!("nothing is in the way"));
    assert_eq!((next.report.verdict, settled(&next.report, "sheet")), (Verdict::Synced, vec![Settled::Verified; 2]), "{}", next.report.sentence);
    assert!(next.report.changes.iter().all(|change| change.attempts == 0), "what was not sent is no attempt");
    assert_eq!(night(root.path(), false, &|_| {}, &|_| {}).report.verdict, Verdict::Ok);
}

#[test]
fn nothing_is_waited_for_where_the_job_has_no_patience() {
    let root = prepare("[defaults]\napply = { retry_for_s = 0 }\n");
    fs::write(root.path().join("data/~$sheet.xlsx"), b"\x03Ada").unwrap();
    let finished = night(root.path(), false, &|_| {}, &|wait| panic!("it waits for {wait:?}"));
    assert_eq!((finished.exit_code, retries_of(&finished.report, "sheet")), (3, 0));
    assert!(journal(root.path()).is_empty());
}

#[test]
fn a_file_that_is_gone_for_a_moment_is_written_when_it_is_back_as_it_was_and_left_alone_otherwise() {
    for (saved, written) in [("number,name\n1,Ada\n2,Robert\n", true), ("number,name\n1,Ada L\n2,Robert\n", false)] {
        let root = prepare("");
        let (file, aside) = (root.path().join("data/shop.csv"), root.path().join("data/shop.bak"));
        let step = |step: &str| {
            if step.starts_with("apply:") && step.ends_with("shop") {
                fs::rename(&file, &aside).unwrap();
            }
        };
        let finished = night(root.path(), false, &step, &|_| fs::write(&file, saved).unwrap());
        assert_eq!(retries_of(&finished.report, "shop"), 1);
        let (verdict, fate) = if written { (Verdict::Synced, Settled::Verified) } else { (Verdict::Action, Settled::Stale) };
        assert_eq!((finished.report.verdict, settled(&finished.report, "shop")), (verdict, vec![fate]), "{}", finished.report.sentence);
        if !written {
            assert_eq!(fs::read_to_string(&file).unwrap(), saved, "somebody's save stays");
        }
    }
}
