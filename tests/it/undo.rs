//! `tieout undo`, from outside: a plan that writes nothing, the changes with `--yes`, and the quiet nights after it.

use std::fs;
use std::path::Path;
use std::process::Output;

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
