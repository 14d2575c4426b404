//! `tieout explain`, from outside: the story of one record over several nights.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value as Json;

use crate::errors::tieout;

const JOB: &str = r#"name = "customers"
key = ["number", "branch"]

[systems.crm]
kind = "csv"
role = "peer"
path = "data/crm.csv"
id = "Id"
may = { create = "never" }

[systems.shop]
kind = "csv"
role = "peer"
path = "data/shop.csv"

[fields.number]
type = "integer"
columns = { crm = "Number", shop = "No" }
owner = "crm"

[fields.branch]
type = "text"
columns = { crm = "Branch", shop = "Branch" }
clean = ["upper"]
owner = "crm"

[fields.name]
type = "text"
columns = { crm = "Name", shop = "Name" }
merge = { priority = ["crm", "shop"] }

[fields.iban]
type = "text"
columns = { crm = "Iban", shop = "Iban" }
owner = "crm"
sensitive = true

[fields.limit]
type = "decimal(2)"
columns = { crm = "Limit", shop = "Limit" }
merge = "review"
"#;

const CRM: &str = "Id,Number,Branch,Name,Iban,Limit\nc1,7,N,Müller,SECRET-OLD-1,10.00\nc2,8,N,Meier,SECRET-8,20.00\nc3,9,S,=cmd,SECRET-9,30.00\n";
const SHOP: &str = "No,Branch,Name,Iban,Limit\n7,n,Müller,SECRET-OLD-1,10.00\n8,N,Meier,SECRET-8,20.00\n9,S,=cmd,SECRET-9,30.00\n";

/// A root after three nights: both edit a name and the CRM an account, a quiet one, both edit a limit.
fn nights() -> tempfile::TempDir {
    nights_of(JOB)
}

fn nights_of(job: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for folder in ["jobs", "data"] {
        fs::create_dir(root.path().join(folder)).unwrap();
    }
    fs::write(root.path().join("jobs/customers.toml"), job).unwrap();
    let night = |crm: &str, shop: &str| {
        fs::write(root.path().join("data/crm.csv"), crm).unwrap();
        fs::write(root.path().join("data/shop.csv"), shop).unwrap();
        let output = tieout(root.path(), &["run", "customers", "--first-contact", "--allow", "deletes,updates,all-changed,shrink"]);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    };
    night(CRM, SHOP);
    let crm = CRM.replace("Müller", "Mueller").replace("OLD-1", "NEW-1");
    night(&crm, &SHOP.replace("Müller", "Miller"));
    let shop = fs::read_to_string(root.path().join("data/shop.csv")).unwrap();
    night(&crm, &shop);
    night(&crm.replace("10.00", "11.00"), &shop.replace("10.00", "12.00"));
    root
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn explained(root: &Path, args: &[&str]) -> Json {
    let output = tieout(root, &[&["explain", "customers", "--json"], args].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_record_is_found_by_every_spelling_of_its_key_and_by_its_id() {
    let root = nights();
    let all = explained(root.path(), &["7|N"]);
    for asked in ["7 | n", " 007|N", "number=7|branch=n", "branch=N|number=7", "c1", "crm:c1"] {
        assert_eq!(explained(root.path(), &[asked]), all, "{asked}");
    }
    assert_eq!(all["records"][0]["key"], "7 / N");
    assert_eq!(all["records"][0]["systems"][0]["id"], "c1");
}

#[test]
fn the_story_tells_who_won_who_lost_and_what_became_of_it() {
    let root = nights();
    let answer = explained(root.path(), &["7|N", "name"]);
    let record = &answer["records"][0];
    let held = |system: usize| &record["systems"][system]["values"];
    assert_eq!(held(0), held(1), "both hold what was decided");
    assert_eq!(held(0)[0]["value"]["text"], "Mueller");
    assert_eq!(record["open"], Json::Array(Vec::new()), "the open limit is another field");
    let story = record["story"].as_array().unwrap();
    assert_eq!(story.len(), 1, "the quiet night and the one about the limit are not told: {story:#?}");
    let decision = &story[0]["decisions"][0];
    assert_eq!((&decision["value"]["text"], &decision["won"][0]), (&Json::from("Mueller"), &Json::from("crm")));
    assert_eq!(decision["lost"][0], serde_json::json!({"system": "shop", "value": {"text": "Miller"}}));
    assert!(decision["rule"].as_str().unwrap().contains("priority"), "{decision}");
    let write = &story[0]["writes"][0];
    assert_eq!((&write["system"], &write["outcome"]), (&Json::from("shop"), &Json::from("verified")));
    assert_eq!((&write["cells"][0]["before"]["text"], &write["cells"][0]["after"]["text"]), (&Json::from("Miller"), &Json::from("Mueller")));
}

#[test]
fn one_run_can_be_asked_what_it_did_to_a_record() {
    let root = nights();
    let story = explained(root.path(), &["7|N"])["records"][0]["story"].clone();
    let run = story[1]["run"].as_str().unwrap();
    let of_run = tieout(root.path(), &["show", run, "--record", "7|n", "--json"]);
    let of_run: Json = serde_json::from_slice(&of_run.stdout).unwrap();
    assert_eq!(of_run["records"][0]["story"], Json::Array(vec![story[1].clone()]));
}

#[test]
fn what_is_open_is_told_with_its_beginning_and_the_next_step() {
    let root = nights();
    let answer = explained(root.path(), &["7|N", "limit"]);
    let record = &answer["records"][0];
    let open = &record["open"][0];
    assert_eq!((&open["what"], &open["field"]), (&Json::from("conflict"), &Json::from("limit")));
    assert_eq!(open["since"][0], record["story"][0]["run"]);
    assert!(!open["next_step"].as_str().unwrap().is_empty());
    assert_eq!(record["story"][0]["breaks"][0]["event"], "opened");
    assert_eq!(record["systems"][0]["values"][0]["value"], record["systems"][1]["values"][0]["value"], "a field that waits moves no base");
    // A person decides, and the end of it is told too.
    let shop = fs::read_to_string(root.path().join("data/shop.csv")).unwrap();
    fs::write(root.path().join("data/shop.csv"), shop.replace("12.00", "11.00")).unwrap();
    assert_eq!(tieout(root.path(), &["run", "customers"]).status.code(), Some(0));
    let answer = explained(root.path(), &["7|N", "limit"]);
    assert_eq!(answer["records"][0]["open"], Json::Array(Vec::new()));
    assert_eq!(answer["records"][0]["story"][0]["breaks"][0]["event"], "cleared");
    let one = explained(root.path(), &["7|N", "limit", "--limit", "1"]);
    assert_eq!(one["records"][0]["story"].as_array().unwrap().len(), 1);
    assert_eq!(one["records"][0]["older_runs"], 1);
}

#[test]
fn sensitive_values_are_masked_unless_they_are_asked_for() {
    let root = nights();
    for args in [&["explain", "customers", "7|N"][..], &["explain", "customers", "7|N", "--json"]] {
        let told = out(&tieout(root.path(), args));
        assert!(!told.contains("SECRET") && told.contains("•••"), "{told}");
        let told = out(&tieout(root.path(), &[args, &["--reveal"]].concat()));
        assert!(told.contains("SECRET-OLD-1") && told.contains("SECRET-NEW-1") && !told.contains("•••"), "{told}");
    }
}

#[test]
fn a_sensitive_key_is_neither_told_nor_hinted_at() {
    let job = JOB.replace("clean = [\"upper\"]\nowner = \"crm\"", "clean = [\"upper\"]\nowner = \"crm\"\nsensitive = true");
    let root = nights_of(&job);
    for file in ["crm", "shop"] {
        let path = root.path().join(format!("data/{file}.csv"));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, if file == "crm" { text.replace("c2,8,N", "c2,8,NORTHEAST") } else { text }).unwrap();
    }
    let run = tieout(root.path(), &["run", "customers", "--allow", "deletes,updates,all-changed,job"]);
    assert!(matches!(run.status.code(), Some(0 | 1)), "{run:?}");
    for args in [&["explain", "customers", "c2"][..], &["explain", "customers", "c2", "--json"]] {
        let told = out(&tieout(root.path(), args));
        assert!(told.contains("8 / •••") && !told.to_uppercase().contains("NORTHEAST"), "{told}");
        assert!(out(&tieout(root.path(), &[args, &["--reveal"]].concat())).contains("8 / NORTHEAST"));
    }
    let unknown = tieout(root.path(), &["explain", "customers", "8|NORTHEST"]);
    let told = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(unknown.status.code() == Some(2) && !told.contains("NORTHEAST"), "{told}");
}

#[test]
fn plans_that_are_no_longer_kept_are_said_and_the_ledger_still_tells() {
    let root = nights();
    let plans = root.path().join("state/customers/plans");
    for plan in fs::read_dir(&plans).unwrap() {
        fs::remove_file(plan.unwrap().path()).unwrap();
    }
    let answer = explained(root.path(), &["7|N", "name"]);
    assert!(answer["notes"][0].as_str().unwrap().contains("the plans of all runs are gone"), "{answer}");
    let run = &answer["records"][0]["story"][0];
    assert_eq!(run["lost"][0]["value"]["text"], "Miller");
    assert_eq!((&run["writes"][0]["outcome"], &run["writes"][0]["cells"]), (&Json::from("verified"), &Json::Array(Vec::new())));
}

#[test]
fn a_record_without_its_rows_is_found_by_its_former_key() {
    let root = nights();
    // Its key changes in the CRM, which its id follows.
    for file in ["crm", "shop"] {
        let path = root.path().join(format!("data/{file}.csv"));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, if file == "crm" { text.replace("c2,8,N", "c2,88,N") } else { text }).unwrap();
    }
    let run = tieout(root.path(), &["run", "customers", "--allow", "deletes,updates,all-changed"]);
    assert!(matches!(run.status.code(), Some(0 | 1)), "{run:?}");
    let now = explained(root.path(), &["88|N"]);
    assert_eq!(now["records"][0]["key"], "88 / N");
    let former = explained(root.path(), &["8|N"]);
    assert_eq!(former["records"][0]["record"], now["records"][0]["record"]);
    assert_eq!(now["records"][0]["story"][0]["links"][0], "`crm`: its key was `8 / N` and is now `88 / N`");
}

#[test]
fn nothing_is_written_and_a_running_job_is_no_obstacle() {
    let root = nights();
    let lock = tieout::disk::lock(&root.path().join("state/customers/lock"), "a test").unwrap();
    let answer = explained(root.path(), &["9|S"]);
    assert_eq!(answer["records"][0]["systems"][0]["values"][2]["value"]["text"], "=cmd");
    drop(lock);
    let text = out(&tieout(root.path(), &["explain", "customers", "9|S"]));
    assert!(text.starts_with("customers: record 3, key \"9 / S\"\n"), "{text}");
    assert!(text.contains("Nothing is open"), "{text}");
}
