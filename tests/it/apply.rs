//! A plan is written to a file by `plan -o`, looked at, and applied later: exactly its changes are made, and only where the rows
//! are still as it saw them. What it does not hold waits for the next run, and nothing is lost or counted twice.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rusqlite::Connection;
use serde_json::Value as Json;

use crate::errors::{program, tieout};

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

[fields.number]
type = "text"
columns = { crm = "number", books = "number" }
merge = { priority = ["crm", "books"] }

[fields.name]
type = "text"
columns = { crm = "name", books = "name" }
merge = { priority = ["crm", "books"] }

[fields.stock]
type = "integer"
columns = { crm = "stock", books = "stock" }
merge = "sum-of-changes"

[deletes]
policy = "propagate"

[gates]
updates = "off"
deletes = 2

[totals]
stock = {}
"#;

/// A root after its first night: articles 0001 to 0009 in both systems, each with a stock of 10.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Root {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for part in ["jobs", "data"] {
            fs::create_dir(root.join(part)).unwrap();
        }
        fs::write(root.join("jobs/stock.toml"), JOB).unwrap();
        let lines: String = (1..=9).map(|n| format!("{n:04},Article {n},10\n")).collect();
        fs::write(root.join("data/crm.csv"), format!("number,name,stock\n{lines}")).unwrap();
        let books = Connection::open(root.join("data/books.db")).unwrap();
        books.execute_batch("CREATE TABLE articles (id INTEGER PRIMARY KEY, number TEXT UNIQUE, name TEXT, stock INTEGER)").unwrap();
        for n in 1..=9 {
            books.execute("INSERT INTO articles VALUES (?1, ?2, ?3, 10)", (n, format!("{n:04}"), format!("Article {n}"))).unwrap();
        }
        let root = Root(folder);
        root.expect(&["run", "stock", "--first-contact"], 0);
        root
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs a command with `--json` and gives its report.
    fn expect(&self, args: &[&str], code: i32) -> Json {
        let output = tieout(self.path(), &[args, &["--json"]].concat());
        let told = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {told}{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&told).unwrap()
    }

    /// Replaces text in the CSV file.
    fn crm(&self, from: &str, to: &str) {
        let path = self.path().join("data/crm.csv");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
    }

    fn books(&self, statements: &str) {
        Connection::open(self.path().join("data/books.db")).unwrap().execute_batch(statements).unwrap();
    }

    /// Every row of the database and of the file: `number,name,stock` a line, by number.
    fn rows(&self) -> [Vec<String>; 2] {
        let text = fs::read_to_string(self.path().join("data/crm.csv")).unwrap();
        let mut crm: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
        crm.sort();
        let books = Connection::open(self.path().join("data/books.db")).unwrap();
        let mut query = books.prepare("SELECT number || ',' || name || ',' || stock FROM articles ORDER BY number").unwrap();
        let books = query.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        [crm, books]
    }

    fn holds(&self, row: &str) -> [bool; 2] {
        self.rows().map(|rows| rows.iter().any(|one| one == row))
    }
}

fn count(report: &Json, part: &str) -> usize {
    report[part].as_array().unwrap().len()
}

/// A sentence a change: what it does where.
fn changes(report: &Json, part: &str) -> Vec<String> {
    let words = |change: &Json| ["action", "system", "key"].map(|word| change[word].as_str().unwrap().to_owned()).join(" ");
    report[part].as_array().unwrap().iter().map(words).collect()
}

/// Edits of every kind: a field, a counter on both sides, a new row on each side, a delete.
fn edit(root: &Root) {
    root.crm("0001,Article 1", "0001,Renamed in the CRM");
    root.crm("0002,Article 2,10", "0002,Article 2,11");
    root.books("UPDATE articles SET stock = 13 WHERE number = '0002'");
    root.crm("0009,Article 9,10\n", "0020,New in the CRM,5\n");
    root.books("INSERT INTO articles VALUES (30, '0021', 'New in the books', 6)");
}

#[test]
fn a_plan_is_applied_exactly() {
    let root = Root::new();
    edit(&root);
    let before = root.rows();
    let plan = root.expect(&["plan", "stock", "-o", "plan.jsonl"], 0);
    assert_eq!(root.rows(), before);
    let file = fs::metadata(root.path().join("plan.jsonl")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);

    let done = root.expect(&["apply", "plan.jsonl"], 0);
    assert_eq!(done["verdict"], "SYNCED", "{done}");
    assert_eq!(changes(&done, "changes"), changes(&plan, "changes"));
    assert_eq!((count(&done, "changes"), count(&done, "stale"), count(&done, "breaks")), (6, 0, 0));
    let [crm, books] = root.rows();
    assert_eq!(crm, books);
    assert_eq!(root.holds("0002,Article 2,14"), [true; 2]);
    assert!(!crm.iter().any(|row| row.starts_with("0009")));

    let history = root.expect(&["history", "stock"], 0);
    assert_eq!(history.to_string().matches("\"apply\"").count(), 1, "{history}");
    let quiet = root.expect(&["run", "stock"], 0);
    assert_eq!((quiet["verdict"].as_str(), count(&quiet, "changes")), (Some("OK"), 0), "{quiet}");
}

#[test]
fn a_record_that_was_edited_since_is_stale_and_the_others_are_done() {
    let root = Root::new();
    edit(&root);
    root.crm("0003,Article 3", "0003,From the CRM");
    root.expect(&["plan", "stock", "-o", "plan.jsonl"], 0);
    // The counter moves on in the books, so that both writes of it are other ones; and somebody edits the row to be renamed.
    root.books("UPDATE articles SET stock = 14 WHERE number = '0002'; UPDATE articles SET name = 'Edited in the books' WHERE number = '0001'");
    // The books get the very value that the plan would have written.
    root.books("UPDATE articles SET name = 'From the CRM' WHERE number = '0003'");

    let done = root.expect(&["apply", "plan.jsonl"], 1);
    assert_eq!(changes(&done, "changes"), ["create crm 0021", "delete books 0009", "create books 0020"]);
    assert_eq!(changes(&done, "stale"), ["update crm 0002", "update books 0001", "update books 0002", "update books 0003"]);
    assert_eq!(done["stale"][1]["why"], "the row was edited since: `name`");
    assert_eq!(count(&done, "breaks"), 3, "{done}");
    assert!(done["sentence"].as_str().unwrap().contains("4 changes of the plan are stale"), "{}", done["sentence"]);
    assert!(done["identities"].as_array().unwrap().iter().all(|identity| identity["holds"] == true), "{done}");
    assert_eq!([root.holds("0002,Article 2,11"), root.holds("0002,Article 2,14")], [[true, false], [false, true]]);
    assert_eq!([root.holds("0001,Renamed in the CRM,10"), root.holds("0001,Edited in the books,10")], [[true, false], [false, true]]);

    // The next run does what waited: the conflict is seen with both edits, the counter adds up each step once.
    let next = root.expect(&["run", "stock"], 0);
    assert_eq!((next["verdict"].as_str(), count(&next, "conflicts"), count(&next, "cleared")), (Some("SYNCED"), 1, 3), "{next}");
    assert_eq!(root.holds("0002,Article 2,15"), [true; 2]);
    assert_eq!(root.holds("0001,Renamed in the CRM,10"), [true; 2]);
    assert_eq!(root.expect(&["run", "stock"], 0)["verdict"], "OK");
}

#[test]
fn what_came_after_the_plan_is_left_to_the_next_run() {
    let root = Root::new();
    root.crm("0001,Article 1", "0001,Renamed in the CRM");
    root.crm("0009,Article 9,10\n", "0009,Article 9,10\n0020,New in the CRM,5\n");
    root.expect(&["plan", "stock", "-o", "plan.jsonl"], 0);
    // A new row with a lower key, on a lower line: it takes the record number that the plan gave to the other one.
    root.crm("0001,Renamed in the CRM", "0000,Newer in the CRM,4\n0001,Renamed in the CRM");
    root.crm("0004,Article 4,10", "0004,Article 4,12");
    root.books("DELETE FROM articles WHERE number = '0005'; UPDATE articles SET name = 'Later in the books' WHERE number = '0006'");

    let done = root.expect(&["apply", "plan.jsonl"], 1);
    assert_eq!(changes(&done, "changes"), ["update books 0001", "create books 0020"]);
    assert_eq!((count(&done, "stale"), count(&done, "breaks")), (0, 4), "{done}");
    assert!(done["breaks"].as_array().unwrap().iter().all(|one| one["kind"] == "review"), "{done}");
    assert!(done["identities"].as_array().unwrap().iter().all(|identity| identity["holds"] == true), "{done}");
    assert_eq!(root.holds("0005,Article 5,10"), [true, false]);

    let next = root.expect(&["run", "stock"], 0);
    assert_eq!(changes(&next, "changes"), ["delete crm 0005", "update crm 0006", "update books 0004", "create books 0000"]);
    assert_eq!(next["roll_forward"]["cleared_by_us"], 4, "{next}");
    let [crm, books] = root.rows();
    assert_eq!(crm, books);
    assert_eq!(root.expect(&["run", "stock"], 0)["verdict"], "OK");
}

#[test]
fn a_debt_of_a_withheld_record_stays_owed() {
    let root = Root::new();
    root.books("CREATE TRIGGER refuses BEFORE UPDATE ON articles WHEN new.name = 'Refused' BEGIN SELECT RAISE(ABORT, 'not this name'); END");
    root.crm("0001,Article 1", "0001,Refused");
    let refused = root.expect(&["run", "stock"], 1);
    let [id] = refused["breaks"].as_array().unwrap().as_slice() else { panic!("{refused}") };
    let id = id["id"].clone();
    root.crm("0002,Article 2", "0002,Renamed");
    root.expect(&["plan", "stock", "-o", "plan.jsonl"], 0);
    // The owed write gets a second cell, so that it is not the planned one.
    root.crm("0001,Refused,10", "0001,Refused,11");
    let done = root.expect(&["apply", "plan.jsonl"], 1);
    assert_eq!(changes(&done, "changes"), ["update books 0002"]);
    assert_eq!(changes(&done, "stale"), ["update books 0001"]);
    assert!(done["breaks"].as_array().unwrap().iter().any(|one| one["id"] == id), "{done}");

    root.books("DROP TRIGGER refuses");
    let next = root.expect(&["run", "stock"], 0);
    assert_eq!(next["verdict"], "SYNCED", "{next}");
    assert_eq!(root.holds("0001,Refused,11"), [true; 2]);
}

#[test]
fn a_plan_is_applied_once() {
    let root = Root::new();
    edit(&root);
    root.expect(&["plan", "stock", "-o", "plan.jsonl"], 0);
    root.expect(&["apply", "plan.jsonl"], 0);
    let rows = root.rows();
    // Somebody puts back what the plan had changed: a second time it must not be changed again.
    root.crm("0001,Renamed in the CRM", "0001,Article 1");
    root.books("UPDATE articles SET name = 'Article 1' WHERE number = '0001'");
    let put_back = root.rows();
    assert_ne!(rows, put_back);
    let refused = root.expect(&["apply", "plan.jsonl"], 4);
    assert!(refused["error"]["message"].as_str().unwrap().contains("out of date"), "{refused}");
    assert_eq!(root.rows(), put_back);
}

#[test]
fn the_gates_are_asked_again() {
    let root = Root::new();
    for n in 5..=9 {
        root.books(&format!("DELETE FROM articles WHERE number = '000{n}'"));
    }
    let before = root.rows();
    root.expect(&["plan", "stock", "-o", "plan.jsonl"], 4);
    root.expect(&["apply", "plan.jsonl"], 4);
    assert_eq!(root.rows(), before);
    // Three of them come back: what is left is within the limit.
    root.books("INSERT INTO articles VALUES (5, '0005', 'Article 5', 10), (6, '0006', 'Article 6', 10), (7, '0007', 'Article 7', 10)");
    root.expect(&["plan", "stock", "-o", "plan.jsonl", "--force"], 0);
    let done = root.expect(&["apply", "plan.jsonl"], 0);
    assert_eq!(changes(&done, "changes"), ["delete crm 0008", "delete crm 0009"]);
}

#[test]
fn a_first_contact_is_accepted_by_its_flag_alone() {
    let root = Root::new();
    fs::remove_dir_all(root.path().join("state")).unwrap();
    root.crm("0009,Article 9,10\n", "0009,Article 9,10\n0020,New in the CRM,5\n");
    root.expect(&["plan", "stock", "-o", "plan.jsonl"], 0);
    let waits = root.expect(&["apply", "plan.jsonl"], 1);
    assert!(waits["stopped_by"].to_string().contains("tieout apply plan.jsonl --first-contact"), "{waits}");
    assert_eq!(root.holds("0020,New in the CRM,5"), [true, false]);
    let done = root.expect(&["apply", "plan.jsonl", "--first-contact"], 0);
    assert_eq!(changes(&done, "changes"), ["create books 0020"]);
    assert_eq!(root.expect(&["run", "stock"], 0)["verdict"], "OK");
}

#[test]
fn killed_before_any_write_an_apply_is_finished_by_the_next_run() {
    let calls = ["pwrite64", "rename", "renameat2", "fdatasync", "fsync"];
    let wanted = Root::new();
    edit(&wanted);
    wanted.expect(&["run", "stock"], 0);
    let wanted = wanted.rows();
    let mut killed = 0;
    for (call, n) in calls.into_iter().flat_map(|call| [2, 9, 17, 25].map(|n| (call, n))) {
        let root = Root::new();
        edit(&root);
        root.expect(&["plan", "stock", "-o", "plan.jsonl"], 0);
        let inject = format!("inject={call}:signal=KILL:when={n}");
        let mut strace = Command::new("strace");
        let under = strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=none", "-e", &inject]).arg(program()).args(["apply", "plan.jsonl"]);
        let Ok(status) = under.current_dir(root.path()).stdout(Stdio::null()).stderr(Stdio::null()).status() else {
            eprintln!("SKIPPED apply: strace cannot run here");
            return;
        };
        killed += usize::from(!status.success());
        // Half of them are asked for the same plan again, which may make what is left of it and nothing else.
        if n % 2 == 0 {
            tieout(root.path(), &["apply", "plan.jsonl"]);
        }
        root.expect(&["run", "stock"], 0);
        assert_eq!(root.rows(), wanted, "killed before {call} number {n}");
        assert_eq!(root.expect(&["run", "stock"], 0)["verdict"], "OK", "killed before {call} number {n}");
    }
    eprintln!("{killed} were killed");
}
