//! `tieout undo`, from outside: a plan that writes nothing, the changes with `--yes`, and the quiet nights after it.

use std::fs;
use std::path::Path;
use std::process::Output;

use rusqlite::Connection;

use crate::errors::tieout;

const JOB: &str = r#"name = "customers"
key = ["number"]

[systems.crm]
kind = "csv"
role = "peer"
path = "data/crm.csv"

[systems.shop]
kind = "csv"
role = "peer"
path = "data/shop.csv"

[fields.number]
type = "integer"
columns = { crm = "Number", shop = "No" }
merge = "review"

[fields.name]
type = "text"
columns = { crm = "Name", shop = "Name" }
merge = { priority = ["crm", "shop"] }

[fields.limit]
type = "decimal(2)"
columns = { crm = "Limit", shop = "Limit" }
merge = { priority = ["crm", "shop"] }

[totals]
limit = {}
"#;

/// A root after two nights: in the second one a name goes to the shop, and a new record.
fn nights() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for folder in ["jobs", "data"] {
        fs::create_dir(root.path().join(folder)).unwrap();
    }
    fs::write(root.path().join("jobs/customers.toml"), JOB).unwrap();
    fs::write(root.path().join("data/crm.csv"), "Number,Name,Limit\n7,Ada,10.00\n8,Bob,20.00\n").unwrap();
    fs::write(root.path().join("data/shop.csv"), "No,Name,Limit\n7,Ada,10.00\n8,Bob,20.00\n").unwrap();
    assert_eq!(run(root.path(), &["--first-contact"]), Some(0));
    fs::write(root.path().join("data/crm.csv"), "Number,Name,Limit\n7,Mistake,99.00\n8,Bob,20.00\n9,Eve,5.00\n").unwrap();
    assert_eq!(run(root.path(), &[]), Some(0));
    assert_eq!(shop(root.path()), "No,Name,Limit\n7,Mistake,99.00\n8,Bob,20.00\n9,Eve,5.00\n");
    root
}

fn run(root: &Path, args: &[&str]) -> Option<i32> {
    tieout(root, &[&["run", "customers", "--allow", "updates,all-changed,time-travel"], args].concat()).status.code()
}

fn shop(root: &Path) -> String {
    fs::read_to_string(root.join("data/shop.csv")).unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn without_yes_it_is_a_plan_and_nothing_is_written() {
    let root = nights();
    let told = tieout(root.path(), &["undo", "last", "--by", "anna", "--why", "a wrong import"]);
    assert_eq!(told.status.code(), Some(0), "{told:?}");
    let text = out(&told);
    assert!(text.contains("2 of its 2 changes can be taken back") && text.contains("is undone by anna: a wrong import"), "{text}");
    assert!(text.contains("--yes`"), "{text}");
    assert_eq!(shop(root.path()), "No,Name,Limit\n7,Mistake,99.00\n8,Bob,20.00\n9,Eve,5.00\n");
    assert_eq!(run(root.path(), &[]), Some(0), "a plan holds nothing");
}

#[test]
fn what_is_taken_back_stays_so_until_a_value_changes_or_a_person_decides() {
    let root = nights();
    let allow = ["--allow", "deletes,updates,all-changed"];
    let told = tieout(root.path(), &[&["undo", "customers/last", "--yes", "--by", "anna", "--why", "a wrong import"][..], &allow].concat());
    assert_eq!(told.status.code(), Some(1), "what is held waits for a person: {told:?}");
    assert_eq!(shop(root.path()), "No,Name,Limit\n7,Ada,10.00\n8,Bob,20.00\n");
    let before = shop(root.path());
    for _ in 0..2 {
        assert_eq!(run(root.path(), &[]), Some(1));
        assert_eq!(shop(root.path()), before);
    }
    let listed = out(&tieout(root.path(), &["review", "customers"]));
    assert!(
        listed.contains("undone: 7 name") && listed.contains("--choose crm | --choose shop") && listed.contains("which anna took back: a wrong import"),
        "{listed}"
    );
    assert!(listed.contains("undone: 9 in shop") && listed.contains("proposed: add it to `shop`"), "{listed}");
    let story = out(&tieout(root.path(), &["explain", "customers", "7"]));
    assert!(story.contains("is undone by anna: a wrong import"), "{story}");

    // An edit decides anew; a decision decides, too.
    fs::write(root.path().join("data/crm.csv"), "Number,Name,Limit\n7,Ada King,11.00\n8,Bob,20.00\n9,Eve,5.00\n").unwrap();
    let ids = tieout(root.path(), &["review", "customers", "--json"]);
    let ids: serde_json::Value = serde_json::from_slice(&ids.stdout).unwrap();
    let of_create = ids["open"].as_array().unwrap().iter().find(|one| one["key"] == "9").unwrap()["id"].as_str().unwrap().to_owned();
    assert_eq!(tieout(root.path(), &["review", "customers", &of_create, "--accept", "--by", "bea"]).status.code(), Some(0));
    assert_eq!(run(root.path(), &[]), Some(0));
    assert_eq!(shop(root.path()), "No,Name,Limit\n7,Ada King,11.00\n8,Bob,20.00\n9,Eve,5.00\n");
    assert_eq!(tieout(root.path(), &["history", "customers", "--verify"]).status.code(), Some(0));
}

/// What a run wrote is at rest after a quiet night, and is looked into all the same.
#[test]
fn a_run_is_undone_after_quiet_nights() {
    let root = nights();
    let history = tieout(root.path(), &["history", "customers", "--limit", "1", "--json"]);
    let history: serde_json::Value = serde_json::from_slice(&history.stdout).unwrap();
    let id = history.as_array().and_then(|runs| runs[0]["run"]["run"].as_str()).unwrap().to_owned();
    for _ in 0..2 {
        assert_eq!(run(root.path(), &[]), Some(0));
    }
    let name = format!("customers/{id}");
    let told = tieout(root.path(), &["undo", &name, "--yes", "--by", "anna", "--allow", "deletes,updates,all-changed"]);
    assert!(out(&told).contains("2 of its 2 changes can be taken back"), "{told:?}");
    assert_eq!(shop(root.path()), "No,Name,Limit\n7,Ada,10.00\n8,Bob,20.00\n");
}

#[test]
fn what_moved_since_is_listed_and_left() {
    let root = nights();
    fs::write(root.path().join("data/shop.csv"), "No,Name,Limit\n7,Countess,99.00\n8,Bob,20.00\n9,Eve,5.00\n").unwrap();
    let told = tieout(root.path(), &["undo", "last", "--yes", "--by", "anna", "--allow", "deletes,updates,all-changed"]);
    assert!(out(&told).contains("1 of its 2 changes can be taken back"), "{told:?}");
    assert_eq!(shop(root.path()), "No,Name,Limit\n7,Countess,99.00\n8,Bob,20.00\n");
    let report = out(&tieout(root.path(), &["show", "last"]));
    assert!(report.contains("`name` holds another value by now"), "{report}");
    // The edit was not taken in beside the undo, and is none of it.
    assert_eq!(run(root.path(), &[]), Some(1));
    assert!(fs::read_to_string(root.path().join("data/crm.csv")).unwrap().contains("7,Countess"));
}

#[test]
fn a_run_that_wrote_nothing_or_whose_plan_is_gone_is_refused() {
    let root = nights();
    for plan in fs::read_dir(root.path().join("state/customers/plans")).unwrap() {
        fs::remove_file(plan.unwrap().path()).unwrap();
    }
    let told = tieout(root.path(), &["undo", "last", "--by", "anna"]);
    assert!(told.status.code() == Some(2) && String::from_utf8_lossy(&told.stderr).contains("no longer kept"), "{told:?}");
}

#[test]
fn the_plan_of_an_undo_is_saved_and_applied_as_far_as_it_still_fits() {
    let root = nights();
    let allow = ["--allow", "deletes,updates,all-changed"];
    let plan =
        |args: &[&str]| tieout(root.path(), &[&["undo", "customers/last", "--by", "anna", "--why", "a wrong import", "-o", "undo.jsonl"], args].concat());
    let told = plan(&[]);
    assert!(told.status.code() == Some(0) && out(&told).contains("take it back with `tieout apply undo.jsonl`"), "{told:?}");
    assert_eq!(plan(&[]).status.code(), Some(2), "there is such a file");
    assert_eq!(plan(&["--yes"]).status.code(), Some(2), "made at once, it needs no file");
    assert_eq!(plan(&["--force"]).status.code(), Some(0));
    assert_eq!(shop(root.path()), "No,Name,Limit\n7,Mistake,99.00\n8,Bob,20.00\n9,Eve,5.00\n");

    // What was edited since is left; nothing else is decided beside it.
    fs::write(root.path().join("data/shop.csv"), "No,Name,Limit\n7,Mistake,99.00\n8,Bert,20.00\n9,Eva,5.00\n").unwrap();
    let told = tieout(root.path(), &[&["apply", "undo.jsonl"][..], &allow].concat());
    assert!(told.status.code() == Some(1) && out(&told).contains("1 of its 2 changes can be taken back"), "{told:?}");
    assert_eq!(shop(root.path()), "No,Name,Limit\n7,Ada,10.00\n8,Bert,20.00\n9,Eva,5.00\n");
    let listed = out(&tieout(root.path(), &["review", "customers"]));
    assert!(listed.contains("undone: 7 name") && listed.contains("which anna took back: a wrong import"), "{listed}");
    assert_eq!(run(root.path(), &[]), Some(1));
    assert_eq!(shop(root.path()), "No,Name,Limit\n7,Ada,10.00\n8,Bert,20.00\n9,Eva,5.00\n");
    // It is done once.
    let told = tieout(root.path(), &[&["apply", "undo.jsonl"][..], &allow].concat());
    assert!(told.status.code() == Some(4) && String::from_utf8_lossy(&told.stderr).contains("the plan is out of date"), "{told:?}");
}

const THREE: &str = r#"name = "people"
key = ["number"]

[systems.crm]
kind = "csv"
role = "peer"
path = "data/crm.csv"

[systems.shop]
kind = "csv"
role = "peer"
path = "data/shop.csv"

[systems.books]
kind = "sql"
role = "peer"
url = "sqlite:data/books.db"
table = "people"

[fields.number]
type = "text"
columns = { crm = "number", shop = "number", books = "number" }
merge = { priority = ["crm", "shop"] }

[fields.name]
type = "text"
blank = "ignore"
columns = { crm = "name", shop = "name", books = "name" }
merge = { priority = ["crm", "shop"] }

[fields.note]
type = "text"
columns = { books = "note" }

[deletes]
policy = "propagate"

[gates]
deletes = "off"
shrink = "off"
updates = "off"
time-travel = "off"
all-changed = "off"
"#;

/// Three systems, of which the last can be made to refuse. It has a column of the job that nobody else has, and a foreign one.
struct Three(tempfile::TempDir);

impl Three {
    /// After first contact, with Ada and Bob in all of them.
    fn new() -> Three {
        let root = Three(tempfile::tempdir().unwrap());
        for folder in ["jobs", "data"] {
            fs::create_dir(root.0.path().join(folder)).unwrap();
        }
        fs::write(root.0.path().join("jobs/people.toml"), THREE).unwrap();
        root.crm("1,Ada\n2,Bob\n");
        fs::write(root.0.path().join("data/shop.csv"), "number,name\n1,Ada\n2,Bob\n").unwrap();
        root.books("CREATE TABLE people (number TEXT PRIMARY KEY, name TEXT, note TEXT, desk TEXT DEFAULT 'none')");
        root.books("INSERT INTO people (number, name) VALUES ('1', 'Ada'), ('2', 'Bob')");
        assert_eq!(root.run(&["--first-contact"]).0, 0);
        root
    }

    fn crm(&self, rows: &str) {
        fs::write(self.0.path().join("data/crm.csv"), format!("number,name\n{rows}")).unwrap();
    }

    fn books(&self, statements: &str) {
        Connection::open(self.0.path().join("data/books.db")).unwrap().execute_batch(statements).unwrap();
    }

    /// From here on the database refuses every write of this kind.
    fn refuse(&self, what: &str) {
        self.books(&format!("CREATE TRIGGER refusing BEFORE {what} ON people BEGIN SELECT raise(ABORT, 'the month is closed'); END"));
    }

    /// What shop and books hold, a record each, by number.
    fn held(&self) -> (String, String) {
        let shop = fs::read_to_string(self.0.path().join("data/shop.csv")).unwrap();
        let mut shop: Vec<&str> = shop.lines().skip(1).collect();
        shop.sort_unstable();
        let books = Connection::open(self.0.path().join("data/books.db")).unwrap();
        let mut query = books.prepare("SELECT number || ',' || coalesce(name, '') FROM people ORDER BY number").unwrap();
        let books: Vec<String> = query.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        (shop.join(" "), books.join(" "))
    }

    fn tieout(&self, args: &[&str]) -> (i32, String) {
        let output = tieout(self.0.path(), args);
        (output.status.code().unwrap(), out(&output) + &String::from_utf8_lossy(&output.stderr))
    }

    fn run(&self, args: &[&str]) -> (i32, String) {
        self.tieout(&[&["run", "people"], args].concat())
    }

    fn undo(&self, run: &str) -> (i32, String) {
        self.tieout(&["undo", &format!("people/{run}"), "--yes", "--by", "anna"])
    }

    fn last(&self) -> String {
        let history = self.tieout(&["history", "people", "--limit", "1", "--json"]).1;
        let history: serde_json::Value = serde_json::from_str(&history).unwrap();
        history[0]["run"]["run"].as_str().unwrap().to_owned()
    }

    fn review(&self) -> String {
        self.tieout(&["review", "people"]).1
    }

    fn id(&self, key: &str, system: Option<&str>) -> String {
        let review: serde_json::Value = serde_json::from_str(&self.tieout(&["review", "people", "--json"]).1).unwrap();
        let open = review["open"].as_array().unwrap();
        let one = open.iter().find(|one| one["key"] == key && one["system"].as_str() == system);
        one.unwrap_or_else(|| panic!("{review}"))["id"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_create_that_one_system_takes_back_and_another_does_not_is_made_nowhere_again() {
    let root = Three::new();
    root.crm("1,Ada\n2,Bob\n9,New\n");
    assert_eq!(root.run(&[]).0, 0);
    let run = root.last();
    root.refuse("DELETE");
    assert_eq!(root.undo("last").0, 1);
    let half = ("1,Ada 2,Bob".to_owned(), "1,Ada 2,Bob 9,New".to_owned());
    assert_eq!(root.held(), half);
    for _ in 0..3 {
        assert_eq!(root.run(&[]).0, 1);
        assert_eq!(root.held(), half, "nothing is made again");
        let open = root.review();
        assert!(open.contains("undone: 9 in shop") && open.contains("proposed: add it to `shop`"), "{open}");
        assert!(open.contains("undone: 9 in books") && open.contains("the delete in `books` was refused") && !open.contains("sent again"), "{open}");
    }
    // Once more, now that it is let be: then all of it is taken back, and held.
    root.books("DROP TRIGGER refusing");
    assert_eq!(root.undo(&run).0, 1);
    for _ in 0..2 {
        assert_eq!(root.held(), ("1,Ada 2,Bob".to_owned(), "1,Ada 2,Bob".to_owned()));
        let open = root.review();
        assert!(!open.contains("refused") && open.contains("undone: 9 in books"), "{open}");
        assert_eq!(root.run(&[]).0, 1);
    }
}

#[test]
fn a_field_that_one_system_takes_back_and_another_does_not_is_written_nowhere_again() {
    let root = Three::new();
    root.books("UPDATE people SET name = NULL WHERE number = '1'");
    fs::write(root.0.path().join("data/shop.csv"), "number,name\n1,\n2,Bob\n").unwrap();
    // An empty cell says nothing, and is filled by the next edit.
    root.crm("1,Adele\n2,Bob\n");
    assert_eq!(root.run(&[]).0, 0);
    assert_eq!(root.held(), ("1,Adele 2,Bob".to_owned(), "1,Adele 2,Bob".to_owned()));
    root.refuse("UPDATE");
    assert_eq!(root.undo("last").0, 1);
    let half = ("1, 2,Bob".to_owned(), "1,Adele 2,Bob".to_owned());
    for _ in 0..3 {
        assert_eq!(root.held(), half);
        let open = root.review();
        assert!(open.contains("undone: 1 name") && open.contains("the update in `books` was refused"), "{open}");
        assert_eq!(root.run(&[]).0, 1);
    }
    // An edit decides it anew.
    root.books("DROP TRIGGER refusing");
    root.crm("1,Adela\n2,Bob\n");
    assert_eq!(root.run(&[]).0, 0);
    assert_eq!(root.held(), ("1,Adela 2,Bob".to_owned(), "1,Adela 2,Bob".to_owned()));
}

#[test]
fn what_no_system_lets_be_taken_back_stays_open_until_somebody_decides() {
    let root = Three::new();
    root.crm("1,Adele\n");
    assert_eq!(root.run(&[]).0, 0);
    root.refuse("UPDATE");
    root.books("CREATE TRIGGER full BEFORE INSERT ON people BEGIN SELECT raise(ABORT, 'full'); END");
    fs::write(root.0.path().join("data/shop.csv"), "number,name\n1,Adele\n").unwrap();
    let run = root.last();
    let told = root.undo("last");
    assert_eq!(told.0, 1, "{}", told.1);
    assert_eq!(root.held(), ("1,Ada 2,Bob".to_owned(), "1,Adele".to_owned()));
    // Nobody but books is left with it.
    root.crm("1,Adele\n");
    for _ in 0..2 {
        assert_eq!(root.run(&[]).0, 1);
        let open = root.review();
        assert!(open.contains("undone: 1 name") && open.contains("undone: 2 in books") && open.contains("the create in `books` was refused"), "{open}");
        assert!(open.contains(&format!("undo run {run} once more")) && !open.contains("sent again"), "{open}");
    }
    for id in [root.id("1", None), root.id("2", Some("books")), root.id("2", Some("crm"))] {
        let told = root.tieout(&["review", "people", &id, "--reject", "--by", "bea"]);
        assert_eq!(told.0, 0, "{}", told.1);
    }
    let told = root.run(&[]);
    assert_eq!(told.0, 0, "{}", told.1);
    assert_eq!(root.held(), ("1,Ada 2,Bob".to_owned(), "1,Adele".to_owned()));
}

#[test]
fn a_row_that_nobody_has_and_that_is_not_made_again_stays_open() {
    let root = Three::new();
    root.crm("1,Ada\n");
    fs::write(root.0.path().join("data/shop.csv"), "number,name\n1,Ada\n").unwrap();
    assert_eq!(root.run(&[]).0, 0);
    assert_eq!(root.held().1, "1,Ada");
    root.refuse("INSERT");
    assert_eq!(root.undo("last").0, 1);
    for _ in 0..3 {
        let told = root.run(&[]);
        assert_eq!(told.0, 1, "{}", told.1);
        let open = root.review();
        assert!(open.contains("undone: 2 in books") && !open.contains("undone: 2 in crm"), "{open}");
    }
    root.tieout(&["review", "people", &root.id("2", Some("books")), "--reject", "--by", "bea"]);
    assert_eq!(root.run(&[]).0, 0);
}

#[test]
fn a_created_row_is_not_deleted_once_any_cell_of_it_was_edited() {
    for (edit, is_deleted) in [("note = note", true), ("note = 'owes us 900'", false), ("desk = 'Vera'", false), ("name = 'Newt'", false)] {
        let root = Three::new();
        root.crm("1,Ada\n2,Bob\n9,New\n");
        assert_eq!(root.run(&[]).0, 0);
        root.books(&format!("UPDATE people SET {edit} WHERE number = '9'"));
        let told = root.undo("last");
        assert_eq!(told.0, 1, "{}", told.1);
        let (shop, books) = root.held();
        assert_eq!((shop.contains('9'), books.contains('9')), (false, !is_deleted), "{edit}");
        let report = root.tieout(&["show", "people/last"]).1;
        assert_eq!(report.contains("1 of its 2 changes can be taken back"), !is_deleted, "{report}");
    }
}

#[test]
fn a_record_that_was_written_here_and_made_there_is_held_in_both() {
    let root = Three::new();
    root.books("DELETE FROM people WHERE number = '1'");
    root.crm("1,Adele\n2,Bob\n");
    assert_eq!(root.run(&[]).0, 0);
    assert_eq!(root.held(), ("1,Adele 2,Bob".to_owned(), "1,Adele 2,Bob".to_owned()), "an edit beats a delete");
    assert_eq!(root.undo("last").0, 1);
    for _ in 0..3 {
        assert_eq!(root.held(), ("1,Ada 2,Bob".to_owned(), "2,Bob".to_owned()));
        let open = root.review();
        assert!(open.contains("undone: 1 name") && open.contains("undone: 1 in books"), "{open}");
        assert_eq!(root.run(&[]).0, 1);
    }
}

#[test]
fn a_decision_about_what_was_taken_back_can_be_taken_back_and_the_hold_cannot() {
    let root = Three::new();
    root.crm("1,Adele\n2,Bob\n9,New\n");
    assert_eq!(root.run(&[]).0, 0);
    assert_eq!(root.undo("last").0, 1);
    let held = ("1,Ada 2,Bob".to_owned(), "1,Ada 2,Bob".to_owned());
    assert_eq!(root.held(), held);
    for (key, system) in [("9", Some("shop")), ("1", None)] {
        let id = root.id(key, system);
        let told = root.tieout(&["review", "people", &id, "--forget", "--by", "bea"]);
        assert!(told.0 == 2 && told.1.contains("there is no decision about it"), "{}", told.1);
        for words in [&["--snooze", "2999-01-01"][..], &["--reject"]] {
            let said = |words: &[&str]| root.tieout(&[&["review", "people", &id, "--by", "bea"], words].concat());
            assert_eq!(said(words).0, 0);
            assert_eq!(root.run(&[]).0, 1);
            assert_eq!(said(&["--forget"]).0, 0);
            for _ in 0..2 {
                let told = root.run(&[]);
                assert_eq!(told.0, 1);
                assert!(!told.1.contains("nobody edited"), "{}", told.1);
                assert_eq!(root.held(), held, "{key} {words:?}");
            }
        }
    }
    assert_eq!(root.tieout(&["history", "people", "--verify"]).0, 0);
}

#[test]
fn what_cannot_be_taken_back_or_written_down_shows_in_the_exit_code() {
    let root = Three::new();
    root.crm("1,Adele\n2,Bob\n");
    assert_eq!(root.run(&[]).0, 0);
    let run = root.last();
    for rows in ["1,Adela\n2,Bob\n", "1,Adele\n2,Bob\n"] {
        root.crm(rows);
        fs::write(root.0.path().join("data/shop.csv"), "number,name\n1,Zoe\n2,Bob\n").unwrap();
        root.books("UPDATE people SET name = 'Zoe' WHERE number = '1'");
        let told = root.tieout(&["undo", &format!("people/{run}"), "--by", "anna"]);
        assert!(told.0 == 1 && told.1.contains("nothing can be taken back") && !told.1.contains("--yes`"), "{}", told.1);
        let told = root.undo(&run);
        assert!(told.0 == 1 && told.1.contains("2 changes of the plan are stale"), "{}", told.1);
    }
    let index = root.0.path().join("reports/index.html");
    fs::remove_file(&index).unwrap();
    fs::create_dir(&index).unwrap();
    assert_eq!(root.undo(&run).0, 3, "the report could not be written");
}

/// A key that is taken back in some systems and not in another is held by the key that the record has from then on.
#[test]
fn a_key_that_one_system_takes_back_and_another_does_not_is_written_nowhere_again() {
    for refused in [false, true] {
        let root = Three::new();
        fs::write(root.0.path().join("data/shop.csv"), "number,name\n1,Ada\n2,Bob\n").unwrap();
        // A key that changed everywhere but in one system is no new record.
        root.crm("11,Ada\n2,Bob\n");
        assert_eq!(root.run(&[]).0, 1, "whether it is the same record is asked");
        assert_eq!(root.tieout(&["review", "people", &root.id("1", Some("crm")), "--accept", "--by", "bea"]).0, 0);
        let told = root.run(&[]);
        assert_eq!(told.0, 0, "{}", told.1);
        assert_eq!(root.held(), ("11,Ada 2,Bob".to_owned(), "11,Ada 2,Bob".to_owned()));
        if refused {
            root.refuse("UPDATE");
        }
        assert_eq!(root.undo("last").0, 1);
        let held = ("1,Ada 2,Bob".to_owned(), format!("{},Ada 2,Bob", if refused { "11" } else { "1" }));
        for _ in 0..3 {
            let mut now = root.held();
            let mut books: Vec<&str> = now.1.split(' ').collect();
            books.sort_unstable();
            now.1 = books.join(" ");
            assert_eq!(now, held);
            let open = root.review();
            assert!(open.contains("undone: 11 number") && open.contains("the update in `books` was refused") == refused, "{open}");
            assert_eq!(root.run(&[]).0, 1);
        }
        let story = root.tieout(&["explain", "people", "11"]).1;
        assert!(story.contains("is undone by anna"), "{story}");
    }
}

/// An archive that the system does not let be taken back stays one, and is told.
#[test]
fn an_archive_that_is_not_taken_back_stays_open() {
    let root = Three::new();
    let job = THREE.replace("policy = \"propagate\"", "policy = \"archive\"\narchive = { field = \"note\", value = \"gone\" }");
    fs::write(root.0.path().join("jobs/people.toml"), job).unwrap();
    fs::write(root.0.path().join("data/shop.csv"), "number,name\n1,Ada\n").unwrap();
    root.crm("1,Ada\n");
    let told = root.run(&["--allow", "job"]);
    assert_eq!(told.0, 0, "{}", told.1);
    let note = || {
        let books = Connection::open(root.0.path().join("data/books.db")).unwrap();
        books.query_row("SELECT note FROM people WHERE number = '2'", [], |row| row.get::<_, Option<String>>(0)).unwrap()
    };
    assert_eq!(note().as_deref(), Some("gone"));
    let run = root.last();
    root.refuse("UPDATE");
    assert_eq!(root.undo("last").0, 1);
    for _ in 0..2 {
        assert_eq!(note().as_deref(), Some("gone"));
        let open = root.review();
        assert!(open.contains("undone: 2 in books") && open.contains("archived it there") && open.contains("the update in `books` was refused"), "{open}");
        assert_eq!(root.run(&[]).0, 1);
    }
    root.books("DROP TRIGGER refusing");
    assert_eq!(root.undo(&run).0, 1);
    for _ in 0..3 {
        assert_eq!(note(), None);
        let open = root.review();
        assert!(open.contains("undone: 2 in crm") && open.contains("undone: 2 in shop") && !open.contains("undone: 2 in books"), "{open}");
        let told = root.run(&[]);
        assert_eq!(told.0, 1, "{}", told.1);
        assert_eq!(root.held(), ("1,Ada".to_owned(), "1,Ada 2,Bob".to_owned()));
    }
    let story = root.tieout(&["explain", "people", "2"]).1;
    assert!(story.contains("is undone by anna"), "{story}");
}
