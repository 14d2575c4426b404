//! The process is killed, for real, while it writes; then the job runs again. The end is that of a run that was never killed:
//! the same bytes in every file, the same rows in the database, nothing created twice, no own write taken for an edit.
//!
//! One run over two CSV files, a workbook and a SQLite database creates, updates and deletes in each of them, and adds up a
//! counter. It is killed at random moments, and with `strace` directly before its n-th call that changes something on the disk. A sample of
//! all n is tried; `TIEOUT_ALL=1` tries every one. Where `strace` cannot run, that part is skipped, loudly.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value as Json;

use crate::errors::{program, tieout};
use crate::scenarios::{dump_database, dump_workbook, name_of, sorted};

const JOB: &str = r#"name = "stock"
key = ["number"]

[systems.crm]
kind = "csv"
role = "peer"
path = "data/crm.csv"

[systems.books]
kind = "sql"
role = "peer"
url = "sqlite:data/books.db"
table = "articles"
id = "id"

[systems.shop]
kind = "csv"
role = "peer"
path = "data/shop.csv"

[systems.sheet]
kind = "excel"
role = "peer"
path = "data/sheet.xlsx"
sheet = "Stock"

[fields.number]
type = "text"
columns = { crm = "number", books = "number", shop = "number", sheet = "Number" }
owner = "crm"

[fields.name]
type = "text"
columns = { crm = "name", books = "name", shop = "name", sheet = "Name" }
merge = { priority = ["shop", "crm", "books", "sheet"] }

[fields.stock]
type = "integer"
columns = { crm = "stock", books = "stock", shop = "stock", sheet = "In stock" }
merge = "sum-of-changes"

[deletes]
policy = "propagate"

[gates]
updates = "off"
deletes = "off"
"#;

/// Calls that change something on a disk.
const CALLS: [&str; 10] = ["write", "pwrite64", "fsync", "fdatasync", "rename", "renameat", "renameat2", "ftruncate", "unlink", "unlinkat"];

/// One article: number, name, stock.
type Article = (u32, String, i64);

/// The workbook with these articles, and a column that is none of the job's business.
fn fill_sheet(path: &Path, rows: &[Article]) {
    let mut book = rust_xlsxwriter::Workbook::new();
    let sheet = book.add_worksheet().set_name("Stock").unwrap();
    for (column, title) in (0..).zip(["Number", "Name", "In stock", "Note"]) {
        sheet.write_string(0, column, title).unwrap();
    }
    for (row, (number, name, stock)) in (1..).zip(rows) {
        sheet.write_string(row, 0, format!("{number:04}")).unwrap();
        sheet.write_string(row, 1, name).unwrap();
        sheet.write_number(row, 2, *stock as f64).unwrap();
        sheet.write_string(row, 3, format!("seen in aisle {number}")).unwrap();
    }
    book.save(path).unwrap();
}

/// The call that opens a file. A run that is killed before it has done nothing else than if it is killed before the next call.
const OPEN: &str = "openat";

/// A root after its first night, with the edits of the day made.
fn prepare(root: &Path) {
    for folder in ["jobs", "data"] {
        fs::create_dir(root.join(folder)).unwrap();
    }
    fs::write(root.join("jobs/stock.toml"), JOB).unwrap();
    let rows: Vec<Article> = (1..=12).map(|n| (n, format!("Article {n}"), i64::from(n) * 10)).collect();
    let csv = |rows: &[Article]| -> String {
        let lines: String = rows.iter().map(|(n, name, stock)| format!("{n:04},{name},{stock}\n")).collect();
        format!("number,name,stock\n{lines}")
    };
    fs::write(root.join("data/crm.csv"), csv(&rows)).unwrap();
    fs::write(root.join("data/shop.csv"), csv(&rows)).unwrap();
    fill_sheet(&root.join("data/sheet.xlsx"), &rows);
    let books = Connection::open(root.join("data/books.db")).unwrap();
    books.execute_batch("CREATE TABLE articles (id INTEGER PRIMARY KEY, number TEXT UNIQUE, name TEXT, stock INTEGER)").unwrap();
    for (n, name, stock) in &rows {
        books.execute("INSERT INTO articles VALUES (?1, ?2, ?3, ?4)", (n, format!("{n:04}"), name, stock)).unwrap();
    }
    drop(books);
    assert_eq!(tieout(root, &["run", "stock", "--first-contact"]).status.code(), Some(0));

    let mut crm = rows.clone();
    crm[0].1 = "Renamed in the CRM".to_owned();
    crm[1].2 += 1;
    crm[2].1 = "In both: CRM".to_owned();
    crm.remove(11);
    crm.push((20, "New in the CRM".to_owned(), 5));
    let mut sheet = rows.clone();
    sheet[1].2 += 1;
    sheet[5].1 = "Renamed in the sheet".to_owned();
    // No row is ever taken out of a workbook: what goes elsewhere has gone here, too.
    sheet.truncate(9);
    sheet.push((23, "New in the sheet".to_owned(), 8));
    fill_sheet(&root.join("data/sheet.xlsx"), &sheet);
    let mut shop = rows;
    shop[1].2 += 1;
    shop[2].1 = "In both: shop".to_owned();
    shop[3].2 -= 7;
    shop.push((21, "New in the shop".to_owned(), 6));
    fs::write(root.join("data/crm.csv"), csv(&crm)).unwrap();
    fs::write(root.join("data/shop.csv"), csv(&shop)).unwrap();
    let books = Connection::open(root.join("data/books.db")).unwrap();
    books
        .execute_batch(
            "UPDATE articles SET stock = stock + 1 WHERE id = 2; UPDATE articles SET name = 'Renamed in the books' WHERE id = 5;
             DELETE FROM articles WHERE id = 11; INSERT INTO articles VALUES (30, '0022', 'New in the books', 7);",
        )
        .unwrap();
}

fn copy_root(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let status = Command::new("cp").arg("-a").arg(from.join(".")).arg(to.path()).status().unwrap();
    assert!(status.success());
    to
}

/// Every data file, databases and workbooks as text.
fn data(root: &Path) -> BTreeMap<String, String> {
    // A journal that SQLite could not finish goes when the database is opened.
    let is_data = |path: &PathBuf| !name_of(path).contains(".tieout-backup") && !name_of(path).ends_with("-journal");
    let files = sorted(&root.join("data")).into_iter().filter(is_data);
    files
        .map(|path| {
            let text = match name_of(&path) {
                name if name.ends_with(".db") => dump_database(&path).unwrap(),
                name if name.ends_with(".xlsx") => dump_workbook(&path).unwrap(),
                _ => String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned(),
            };
            (name_of(&path), text)
        })
        .collect()
}

fn run(root: &Path) -> Json {
    let output = tieout(root, &["run", "stock", "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| Json::String(String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn list(report: &Json, part: &str) -> Vec<String> {
    report[part].as_array().map(|items| items.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

/// What a run that nobody disturbs ends with.
struct Clean {
    template: tempfile::TempDir,
    data: BTreeMap<String, String>,
    conflicts: Vec<String>,
}

impl Clean {
    fn new() -> Clean {
        let template = tempfile::tempdir().unwrap();
        prepare(template.path());
        let root = copy_root(template.path());
        let report = run(root.path());
        assert_eq!(report["verdict"], "SYNCED", "{}", report["breaks"]);
        let data = data(root.path());
        assert!(data["crm.csv"].contains("0002,Article 2,24\n"), "four added one each: {}", data["crm.csv"]);
        assert!(!data["crm.csv"].contains("0011") && !data["shop.csv"].contains("0012"), "deletes are propagated");
        assert!(!data["books.db"].contains("0010") && data["books.db"].contains("Renamed in the sheet"), "the workbook decides too: {}", data["books.db"]);
        assert!(data["sheet.xlsx"].contains("Renamed in the books") && !data["sheet.xlsx"].contains("0011"), "{}", data["sheet.xlsx"]);
        let quiet = run(root.path());
        assert_eq!(quiet["verdict"], "OK", "{quiet}");
        Clean { template, data, conflicts: list(&report, "conflicts") }
    }

    /// Runs until nothing is left to do; gives what differs from the clean run.
    fn recover(&self, root: &Path) -> Vec<String> {
        let mut told = Vec::new();
        let first = run(root);
        if first["verdict"] != "SYNCED" && first["verdict"] != "OK" {
            told.push(format!(
                "the run after it ends with {}: {}, {:?}, {:?}",
                first["verdict"],
                first["sentence"],
                list(&first, "stopped_by"),
                list(&first, "breaks")
            ));
        }
        let foreign = list(&first, "conflicts").into_iter().filter(|conflict| !self.conflicts.contains(conflict));
        told.extend(foreign.map(|conflict| format!("a conflict that the clean run lacks: {conflict}")));
        let drift = list(&first, "drift");
        told.extend(drift.into_iter().map(|drift| format!("our own write is taken for drift: {drift}")));
        let now = data(root);
        for (file, text) in &self.data {
            if now.get(file) != Some(text) {
                told.push(format!("{file} differs:\n{}", now.get(file).map_or("it is gone", String::as_str)));
            }
        }
        told.extend(now.keys().filter(|file| !self.data.contains_key(*file)).map(|file| format!("{file} was left behind")));
        let quiet = run(root);
        if quiet["verdict"] != "OK" || !list(&quiet, "changes").is_empty() {
            told.push(format!("the second run after it ends with {}: {:?}, {:?}", quiet["verdict"], list(&quiet, "changes"), list(&quiet, "breaks")));
        }
        if data(root) != now {
            told.push("the second run after it changed something".to_owned());
        }
        told
    }
}

/// Tries every case on two threads, as long as there is time; gives what failed, and how many cases were tried.
fn try_all<C: Sync + std::fmt::Debug>(cases: &[C], patience: Duration, each: impl Fn(&C) -> Vec<String> + Sync) -> (Vec<String>, usize) {
    let (next, tried, begun) = (AtomicUsize::new(0), AtomicUsize::new(0), Instant::now());
    let work = || {
        let mut failures = Vec::new();
        while begun.elapsed() < patience
            && let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed))
        {
            tried.fetch_add(1, Ordering::Relaxed);
            let told = each(case);
            if !told.is_empty() {
                failures.push(format!("== killed at {case:?}\n{}", told.join("\n")));
            }
        }
        failures
    };
    let failures = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    (failures, tried.into_inner())
}

fn patience(seconds: u64) -> Duration {
    if std::env::var_os("TIEOUT_ALL").is_some() { Duration::MAX } else { Duration::from_secs(seconds) }
}

/// A place in a run: the n-th time that its first thread, which is the one that writes, makes a call.
#[derive(Clone, Debug)]
struct Place {
    call: String,
    n: usize,
}

/// `strace` with a run under it; nothing if there is no `strace`.
fn under_strace(root: &Path, arguments: &[&str]) -> Option<Output> {
    Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(root.join("strace.log"))
        .args(["-e", &format!("trace={OPEN},{}", CALLS.join(","))])
        .args(arguments)
        .arg(program())
        .args(["run", "stock", "--json"])
        .current_dir(root)
        .output()
        .ok()
}

/// Kills a run directly before a place; whether it came there.
fn kill_before(root: &Path, place: &Place) -> bool {
    let inject = format!("inject={}:signal=KILL:when={}", place.call, place.n);
    under_strace(root, &["-e", &inject]).is_some_and(|output| !output.status.success() && output.stdout.is_empty())
}

/// All places of a run at which it changes something, in their order; nothing if `strace` cannot run here.
fn places(template: &Path) -> Option<Vec<Place>> {
    Some(places_and_opens(template)?.into_iter().filter(|place| place.call != OPEN).collect())
}

/// The same, and those at which it opens a file of the root.
fn places_and_opens(template: &Path) -> Option<Vec<Place>> {
    let root = copy_root(template);
    let output = under_strace(root.path(), &[])?;
    let text = fs::read_to_string(root.path().join("strace.log")).ok()?;
    let first = text.split_whitespace().next()?.to_owned();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut places = Vec::new();
    for line in text.lines() {
        let mut words = line.splitn(2, ' ');
        let (Some(thread), Some(call)) = (words.next(), words.next()) else { continue };
        let Some((call, _)) = call.trim_start().split_once('(').filter(|_| thread == first) else { continue };
        if let Some(call) = CALLS.iter().chain([&OPEN]).find(|known| **known == call) {
            let n = counts.entry((*call).to_owned()).or_default();
            *n += 1;
            if *call != OPEN || ["/state/", "/data/", "/reports/"].iter().any(|folder| line.contains(folder)) {
                places.push(Place { call: (*call).to_owned(), n: *n });
            }
        }
    }
    // The last ones print the report, when everything is done.
    places.truncate(places.len().saturating_sub(2));
    (output.status.success() && places.len() > 20).then_some(places)
}

/// Some of the places, evenly.
fn spread<C: Clone>(all: &[C], wanted: usize) -> Vec<C> {
    if all.len() <= wanted {
        return all.to_vec();
    }
    (0..wanted).map(|index| all[index * (all.len() - 1) / (wanted - 1)].clone()).collect()
}

#[test]
fn killed_before_any_write_a_run_is_finished_by_the_next() {
    let clean = Clean::new();
    let Some(places) = places(clean.template.path()) else {
        eprintln!("SKIPPED crash: strace cannot run here");
        return;
    };
    let sample = if std::env::var_os("TIEOUT_ALL").is_some() { places.clone() } else { spread(&places, 48) };
    let (failures, tried) = try_all(&sample, patience(40), |place| {
        let root = copy_root(clean.template.path());
        let killed = kill_before(root.path(), place);
        let mut told = clean.recover(root.path());
        if !killed {
            told.push("the run did not come to this place".to_owned());
        }
        told
    });
    eprintln!("{tried} of {} places were tried", places.len());
    assert!(failures.is_empty(), "{} of {tried} differ\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn killed_twice_in_a_row_a_run_is_finished_by_the_next() {
    let clean = Clean::new();
    let Some(places) = places(clean.template.path()) else {
        eprintln!("SKIPPED crash: strace cannot run here");
        return;
    };
    // Before the first write a run that is killed leaves nothing to settle: the pairs are of the part after it.
    let writing = spread(&places[places.len() / 3..], if std::env::var_os("TIEOUT_ALL").is_some() { 14 } else { 5 });
    let pairs: Vec<(Place, Place)> = writing.iter().flat_map(|first| writing.iter().map(|second| (first.clone(), second.clone()))).collect();
    let (failures, tried) = try_all(&pairs, patience(30), |(first, second)| {
        let root = copy_root(clean.template.path());
        kill_before(root.path(), first);
        kill_before(root.path(), second);
        clean.recover(root.path())
    });
    eprintln!("{tried} pairs of places were tried");
    assert!(failures.is_empty(), "{} of {tried} differ\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn killed_at_a_random_moment_a_run_is_finished_by_the_next() {
    let clean = Clean::new();
    let begun = Instant::now();
    run(copy_root(clean.template.path()).path());
    let whole = begun.elapsed();
    let moments: Vec<Duration> = (0..16_u32).map(|i| whole.mul_f64(f64::from(i) / 15.0)).collect();
    let (failures, tried) = try_all(&moments, patience(20), |moment| {
        let root = copy_root(clean.template.path());
        let program: PathBuf = program();
        let mut child =
            Command::new(program).args(["run", "stock", "--json"]).current_dir(root.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(*moment);
        child.kill().unwrap();
        child.wait().unwrap();
        clean.recover(root.path())
    });
    eprintln!("{tried} moments were tried");
    assert!(failures.is_empty(), "{} of {tried} differ\n{}", failures.len(), failures.join("\n"));
}

/// How a call fails: this time only, or from this time on.
#[derive(Clone, Copy, Debug)]
enum Lasts {
    Once,
    ToTheEnd,
}

/// Runs while a call fails: a full disk for what writes, no permission for what opens, renames and removes. Gives the exit code, and
/// what was told.
fn run_failing(root: &Path, place: &Place, lasts: Lasts) -> (Option<i32>, String) {
    let is_of_names = place.call == OPEN || place.call.starts_with("rename") || place.call.starts_with("unlink");
    let error = if is_of_names { "EACCES" } else { "ENOSPC" };
    let when = if matches!(lasts, Lasts::Once) { format!("{}", place.n) } else { format!("{}+", place.n) };
    let inject = format!("inject={}:error={error}:when={when}", place.call);
    let Some(output) = under_strace(root, &["-e", &inject]) else { return (None, "strace did not run".to_owned()) };
    let report: Json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), format!("{} {}", report["sentence"], String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn a_full_disk_or_a_lost_permission_at_any_call_loses_nothing() {
    let clean = Clean::new();
    let Some(places) = places_and_opens(clean.template.path()) else {
        eprintln!("SKIPPED crash: strace cannot run here");
        return;
    };
    let all: Vec<(Place, Lasts)> = places.into_iter().flat_map(|place| [(place.clone(), Lasts::Once), (place, Lasts::ToTheEnd)]).collect();
    let sample = if std::env::var_os("TIEOUT_ALL").is_some() { all.clone() } else { spread(&all, 48) };
    let (failures, tried) = try_all(&sample, patience(40), |(place, lasts)| {
        let root = copy_root(clean.template.path());
        let start = data(root.path());
        let (code, said) = run_failing(root.path(), place, *lasts);
        let after = data(root.path());
        let is_done = after == clean.data;
        // What was begun beside a file and cannot be removed is nobody's data.
        let is_written = start.iter().any(|(file, text)| after.get(file) != Some(text));
        let mut told = clean.recover(root.path());
        match code {
            // A failure that does no harm, such as that of a lock's content, is none.
            Some(0) if is_done => {}
            Some(3) if said.contains("stopped before writing") && is_written => told.push(format!("it says that nothing was written: {said}")),
            Some(3) => {}
            _ => told.push(format!("it ended with {code:?}, {}: {said}", if is_done { "everything was written" } else { "not everything was written" })),
        }
        told
    });
    eprintln!("{tried} of {} failures were tried", all.len());
    assert!(failures.is_empty(), "{} of {tried} differ\n{}", failures.len(), failures.join("\n"));
}
