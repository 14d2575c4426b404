//! `tieout review`, from outside: what a person sees, what she says, and what the nights after it make of it.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Output;

use serde_json::Value as Json;

use crate::errors::tieout;
use crate::workbooks::is_there;

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

[fields.limit]
type = "decimal(2)"
columns = { crm = "Limit", shop = "Limit" }
merge = "review"

[fields.iban]
type = "text"
columns = { crm = "Iban", shop = "Iban" }
merge = "review"
sensitive = true
"#;

fn write(root: &Path, crm: &str, shop: &str) {
    fs::write(root.join("data/crm.csv"), format!("Number,Limit,Iban\n{crm}")).unwrap();
    fs::write(root.join("data/shop.csv"), format!("No,Limit,Iban\n{shop}")).unwrap();
}

/// A root after two nights: in the second one a limit and an account wait for a person.
fn nights() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for folder in ["jobs", "data"] {
        fs::create_dir(root.path().join(folder)).unwrap();
    }
    fs::write(root.path().join("jobs/customers.toml"), JOB).unwrap();
    write(root.path(), "7,10.00,OLD-7\n8,20.00,OLD-8\n", "7,10.00,OLD-7\n8,20.00,OLD-8\n");
    assert_eq!(run(root.path(), &["--first-contact"]), Some(0));
    write(root.path(), "7,11.00,OLD-7\n8,20.00,SECRET-CRM\n", "7,12.00,OLD-7\n8,20.00,SECRET-SHOP\n");
    assert_eq!(run(root.path(), &[]), Some(1));
    root
}

fn run(root: &Path, args: &[&str]) -> Option<i32> {
    tieout(root, &[&["run", "customers", "--allow", "updates,all-changed"], args].concat()).status.code()
}

fn open(root: &Path) -> Vec<Json> {
    let output = tieout(root, &["review", "customers", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice::<Json>(&output.stdout).unwrap()["open"].as_array().unwrap().clone()
}

/// The id of the one break of a field.
fn id_of(root: &Path, field: &str) -> String {
    open(root).iter().find(|one| one["field"] == field).unwrap()["id"].as_str().unwrap().to_owned()
}

fn say(root: &Path, args: &[&str]) -> Output {
    tieout(root, &[&["review", "customers"], args].concat())
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn data(root: &Path) -> [String; 2] {
    ["crm", "shop"].map(|name| fs::read_to_string(root.join(format!("data/{name}.csv"))).unwrap())
}

/// A file of the last report.
fn of_last_report(root: &Path, name: &str) -> Vec<u8> {
    let folders = fs::read_dir(root.join("reports/customers")).unwrap().map(|entry| entry.unwrap());
    let mut runs: Vec<String> = folders.filter(|entry| entry.path().join(name).is_file()).map(|entry| entry.file_name().into_string().unwrap()).collect();
    runs.sort_by_key(|run| tieout::project::by_time(run));
    fs::read(root.join("reports/customers").join(runs.last().unwrap()).join(name)).unwrap()
}

fn last_workbook(root: &Path) -> Vec<u8> {
    of_last_report(root, "report.xlsx")
}

/// The workbook with these texts in the cells of decisions beside a break: `[decision, reason, until, who]`.
fn decided(book: &[u8], id: &str, texts: [&str; 4]) -> Vec<u8> {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(book)).unwrap();
    let mut written = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let shared = {
        let mut text = String::new();
        archive.by_name("xl/sharedStrings.xml").unwrap().read_to_string(&mut text).unwrap();
        text.split("<si>").skip(1).map(str::to_owned).collect::<Vec<String>>()
    };
    for at in 0..archive.len() {
        let name = archive.by_index(at).unwrap().name().unwrap().into_owned();
        let mut bytes = Vec::new();
        archive.by_index(at).unwrap().read_to_end(&mut bytes).unwrap();
        if name == "xl/worksheets/sheet2.xml" {
            let sheet = String::from_utf8(bytes).unwrap();
            let rows: Vec<String> = sheet
                .split_inclusive("</row>")
                .map(|row| {
                    let of_id = shared.iter().position(|one| one.contains(&format!(">{id}<"))).unwrap();
                    if !row.contains(&format!("<v>{of_id}</v>")) {
                        return row.to_owned();
                    }
                    let blanks: Vec<&str> = row
                        .split_inclusive("/>")
                        .filter_map(|part| part.rfind("<c ").map(|from| &part[from..]))
                        .filter(|cell| !cell.contains("</c>") && !cell.contains("<v>"))
                        .collect();
                    assert_eq!(blanks.len(), 4, "{row}");
                    blanks.iter().zip(texts).filter(|(_, text)| !text.is_empty()).fold(row.to_owned(), |row, (cell, text)| {
                        row.replace(cell, &cell.replace("/>", &format!(" t=\"inlineStr\"><is><t>{text}</t></is></c>")))
                    })
                })
                .collect();
            bytes = rows.concat().into_bytes();
        }
        written.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        written.write_all(&bytes).unwrap();
    }
    written.finish().unwrap().into_inner()
}

fn put_back(root: &Path, name: &str, book: &[u8]) {
    assert!(root.join("reports/customers/decisions").is_dir(), "the folder is there for whoever decides");
    fs::write(root.join("reports/customers/decisions").join(name), book).unwrap();
}

fn waiting(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join("reports/customers/decisions")).unwrap().map(|entry| entry.unwrap());
    entries.filter(|entry| entry.path().is_file()).map(|entry| entry.file_name().into_string().unwrap()).collect()
}

fn last_report(root: &Path) -> Json {
    serde_json::from_slice(&of_last_report(root, "report.json")).unwrap()
}

fn notes(root: &Path) -> String {
    last_report(root)["notes"].as_array().unwrap().iter().map(|note| format!("{}\n", note.as_str().unwrap())).collect()
}

#[test]
fn what_is_decided_in_the_workbook_is_planned_made_once_and_put_away() {
    let root = nights();
    let id = id_of(root.path(), "limit");
    put_back(root.path(), "anna.xlsx", &decided(&last_workbook(root.path()), &id, ["Choose CRM", "she called", "", "anna"]));
    let before = data(root.path());
    for _ in 0..2 {
        let plan = out(&tieout(root.path(), &["plan", "customers", "--json"]));
        let plan: Json = serde_json::from_str(&plan).unwrap();
        assert_eq!(plan["changes"][0]["cells"][0]["reason"]["person"], serde_json::json!({"who": "anna", "why": "she called", "system": "crm"}), "{plan:#}");
        assert_eq!((waiting(root.path()), data(root.path())), (vec!["anna.xlsx".to_owned()], before.clone()), "a plan takes nothing");
    }
    assert_eq!(run(root.path(), &[]), Some(1), "the account still waits");
    assert!(data(root.path())[1].contains("7,11.00"), "{:?}", data(root.path()));
    assert!(notes(root.path()).contains("1 decision of anna taken from `decisions/anna.xlsx`"), "{}", notes(root.path()));
    assert!(waiting(root.path()).is_empty());
    let taken: Vec<String> =
        fs::read_dir(root.path().join("reports/customers/decisions/taken")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(taken.len() == 1 && taken[0].ends_with("-anna.xlsx"), "{taken:?}");
    let story = out(&tieout(root.path(), &["explain", "customers", "7"]));
    assert!(story.contains("`crm` is right, decided by anna: she called") && story.contains("choose crm, decided by anna"), "{story}");

    // The same file again, as a run that was killed would have left it.
    fs::rename(root.path().join("reports/customers/decisions/taken").join(&taken[0]), root.path().join("reports/customers/decisions/anna.xlsx")).unwrap();
    assert_eq!(run(root.path(), &[]), Some(1));
    assert!(notes(root.path()).contains("`decisions/anna.xlsx` was taken before"), "{}", notes(root.path()));
    assert!(waiting(root.path()).is_empty());
    assert_eq!(tieout(root.path(), &["history", "customers", "--verify"]).status.code(), Some(0));
}

#[test]
fn a_plan_that_was_made_with_decisions_of_a_workbook_is_applied_with_them() {
    let root = nights();
    let id = id_of(root.path(), "limit");
    put_back(root.path(), "anna.xlsx", &decided(&last_workbook(root.path()), &id, ["choose shop", "", "", "anna"]));
    let plan = root.path().join("the.plan");
    let output = tieout(root.path(), &["plan", "customers", "--allow", "updates,all-changed", "-o", plan.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = tieout(root.path(), &["apply", plan.to_str().unwrap()]);
    assert!(data(root.path())[0].contains("7,12.00"), "{:?} {output:?}", data(root.path()));
    assert!(waiting(root.path()).is_empty());
}

#[test]
fn a_row_that_cannot_be_followed_is_told_and_the_others_are_taken() {
    let root = nights();
    let (limit, iban) = (id_of(root.path(), "limit"), id_of(root.path(), "iban"));
    let book = last_workbook(root.path());
    let refused = |name: &str, book: &[u8], expected: &str| {
        put_back(root.path(), name, book);
        let before = data(root.path());
        assert_eq!(run(root.path(), &[]), Some(1));
        assert!(notes(root.path()).contains(expected), "{name}: {}", notes(root.path()));
        assert_eq!(data(root.path()), before, "{name}");
        assert!(out(&say(root.path(), &[])).contains("2 breaks to decide"), "{name}");
    };
    refused("nobody.xlsx", &decided(&book, &limit, ["reject", "", "", ""]), "nobody is named in `Decided by`; it was not taken");
    refused(
        "word.xlsx",
        &decided(&book, &limit, ["do it", "", "", "anna"]),
        "`do it` is no decision; what fits: choose crm, choose shop, reject, snooze 7 days",
    );
    refused("fits.xlsx", &decided(&book, &limit, ["accept", "", "", "anna"]), "`accept` does not fit the break");
    refused("side.xlsx", &decided(&book, &limit, ["choose billing", "", "", "anna"]), "`billing` is none of the systems");
    refused("reason.xlsx", &decided(&book, &limit, ["", "because", "", "anna"]), "there is a reason or a day, and no decision");
    refused("day.xlsx", &decided(&book, &limit, ["snooze until", "", "2001-01-01", "anna"]), "the day `2001-01-01` has come already");
    refused("none.xlsx", &decided(&book, &limit, ["snooze until", "", "", "anna"]), "no day is given until which it is to be snoozed");
    refused("both.xlsx", &decided(&book, &limit, ["reject", "", "2999-01-01", "anna"]), "the day in `Until` is for `snooze until` alone");
    refused("blank.xlsx", &book, "`decisions/blank.xlsx` decides nothing");
    assert!(waiting(root.path()).is_empty(), "what was read is put away: {:?}", waiting(root.path()));
    // What cannot be read stays where it is, and is told every night.
    for (name, bytes, expected) in [
        ("half.xlsx", &book[..book.len() / 2], "`decisions/half.xlsx` was not taken"),
        ("notes.txt", &b"accept all"[..], "`decisions/notes.txt` is no workbook"),
    ] {
        refused(name, bytes, expected);
        refused(name, bytes, expected);
        assert_eq!(waiting(root.path()), [name]);
        fs::remove_file(root.path().join("reports/customers/decisions").join(name)).unwrap();
    }
    // Somebody still has it open.
    fs::write(root.path().join("reports/customers/decisions/.~lock.open.xlsx#"), "anna").unwrap();
    refused("open.xlsx", &decided(&book, &limit, ["reject", "", "", "anna"]), "`decisions/open.xlsx` is open in a program: its decisions wait");
    fs::remove_file(root.path().join("reports/customers/decisions/.~lock.open.xlsx#")).unwrap();
    fs::remove_file(root.path().join("reports/customers/decisions/open.xlsx")).unwrap();

    // One row is wrong, one is right, and it is days old: the break is still what it was.
    let both = decided(&decided(&book, &limit, ["reject", "rounding", "", "anna"]), &iban, ["nonsense", "", "", "anna"]);
    put_back(root.path(), "both.xlsx", &both);
    assert_eq!(run(root.path(), &[]), Some(1));
    assert!(notes(root.path()).contains("1 decision of anna taken") && notes(root.path()).contains("`nonsense` is no decision"), "{}", notes(root.path()));
    assert!(out(&say(root.path(), &[])).contains("decided: reject by anna"), "{}", out(&say(root.path(), &[])));

    // What it is about changed since that report.
    write(root.path(), "7,11.00,OLD-7\n8,20.00,SECRET-CRM\n", "7,12.00,OLD-7\n8,20.00,THIRD\n");
    run(root.path(), &[]);
    let before = data(root.path());
    put_back(root.path(), "old.xlsx", &decided(&book, &iban, ["choose crm", "", "", "anna"]));
    run(root.path(), &[]);
    assert!(notes(root.path()).contains("is about changed since the report: decide it in a newer one"), "{}", notes(root.path()));
    assert_eq!(data(root.path()), before);
    // A file of another job, and a row whose id somebody changed.
    let renamed = last_report(root.path())["run"].as_str().unwrap().to_owned();
    let current = last_workbook(root.path());
    let other = replaced(&decided(&current, &iban, ["choose crm", "", "", "anna"]), &format!("customers {renamed}"), "billing 20260101T000000Z");
    put_back(root.path(), "other.xlsx", &other);
    run(root.path(), &[]);
    assert!(notes(root.path()).contains("it is of the job `billing`, and this is `customers`"), "{}", notes(root.path()));
    let altered = replaced(&decided(&current, &iban, ["choose crm", "", "", "anna"]), &iban, "abcdef012345");
    put_back(root.path(), "altered.xlsx", &altered);
    run(root.path(), &[]);
    assert!(notes(root.path()).contains("the break `abcdef012345` is not open"), "{}", notes(root.path()));
    assert_eq!(data(root.path()), before);
    // A decision that was made later in another way stays.
    put_back(root.path(), "early.xlsx", &decided(&current, &iban, ["choose crm", "", "", "anna"]));
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(say(root.path(), &[&iban, "--reject", "--by", "ben"]).status.code(), Some(0));
    run(root.path(), &[]);
    assert!(notes(root.path()).contains("ben decided the break"), "{}", notes(root.path()));
    assert_eq!(data(root.path()), before);
}

/// The workbook with another text in place of one.
fn replaced(book: &[u8], old: &str, new: &str) -> Vec<u8> {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(book)).unwrap();
    let mut written = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for at in 0..archive.len() {
        let mut part = archive.by_index(at).unwrap();
        let (name, mut bytes) = (part.name().unwrap().into_owned(), Vec::new());
        part.read_to_end(&mut bytes).unwrap();
        if name.ends_with("sharedStrings.xml") {
            bytes = String::from_utf8(bytes).unwrap().replace(old, new).into_bytes();
        }
        written.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        written.write_all(&bytes).unwrap();
    }
    written.finish().unwrap().into_inner()
}

#[test]
fn a_workbook_that_libreoffice_saved_is_taken_in_both_of_its_formats() {
    if !is_there("soffice", &["--version"], "a_workbook_that_libreoffice_saved_is_taken_in_both_of_its_formats") {
        return;
    }
    for ending in ["xlsx", "ods"] {
        let root = nights();
        let (limit, iban) = (id_of(root.path(), "limit"), id_of(root.path(), "iban"));
        let book = decided(&last_workbook(root.path()), &limit, ["choose crm", "", "", "Anna Ö."]);
        let desk = tempfile::tempdir().unwrap();
        fs::write(desk.path().join("book.xlsx"), decided(&book, &iban, ["snooze until", "the bank is asked", "2999-12-31", "Anna Ö."])).unwrap();
        let profile = format!("-env:UserInstallation=file://{}", desk.path().join("profile").display());
        let saved = std::process::Command::new("soffice")
            .args(["--headless", &profile, "--convert-to", ending, "--outdir"])
            .arg(desk.path().join("saved"))
            .arg(desk.path().join("book.xlsx"))
            .output()
            .unwrap();
        let saved = fs::read(desk.path().join(format!("saved/book.{ending}"))).unwrap_or_else(|error| panic!("{error}: {saved:?}"));
        put_back(root.path(), &format!("book.{ending}"), &saved);
        assert_eq!(run(root.path(), &[]), Some(0), "{ending}: {}", notes(root.path()));
        assert!(notes(root.path()).contains("2 decisions of Anna Ö. taken"), "{}", notes(root.path()));
        assert!(data(root.path())[1].contains("7,11.00"), "{ending}: {:?}", data(root.path()));
        assert!(
            out(&say(root.path(), &[])).contains("snoozed until 2999-12-31 by Anna Ö.: the bank is asked")
                || out(&say(root.path(), &[])).contains("snooze until 2999-12-31")
        );
    }
}

#[test]
fn the_list_tells_every_side_the_words_that_fit_and_no_secret() {
    let root = nights();
    let listed = out(&say(root.path(), &[]));
    assert!(listed.starts_with("customers: 2 breaks to decide\n"), "{listed}");
    assert!(listed.contains("crm: 11.00") && listed.contains("shop: 12.00") && listed.contains("--choose crm | --choose shop | --reject | --snooze DAY"));
    assert!(!listed.contains("SECRET") && listed.contains("•••") && listed.contains("`--reveal` shows them: iban"), "{listed}");
    assert!(out(&say(root.path(), &["--reveal"])).contains("SECRET-CRM"));
    let id = id_of(root.path(), "limit");
    let one = out(&say(root.path(), &[&id[..4]]));
    assert!(one.contains("7 limit") && !one.contains("8 iban"), "an id shows its break alone: {one}");
}

#[test]
fn a_choice_is_planned_and_made_once_and_told_with_who_and_why() {
    let root = nights();
    let id = id_of(root.path(), "limit");
    let kept = say(root.path(), &[&id, "--choose", "crm", "--by", "anna", "--why", "she called"]);
    assert_eq!((kept.status.code(), out(&kept)), (Some(0), format!("{id} 7 limit: the next run takes `crm` for right\n")));
    let listed = out(&say(root.path(), &[]));
    assert!(listed.contains("1 decided for the next run") && listed.contains("decided: choose crm by anna on"), "{listed}");

    // The plan uses it and does not use it up: twice the same.
    let before = data(root.path());
    for _ in 0..2 {
        let plan = out(&tieout(root.path(), &["plan", "customers", "--json"]));
        let plan: Json = serde_json::from_str(&plan).unwrap();
        assert_eq!(plan["changes"][0]["cells"][0]["reason"]["person"], serde_json::json!({"who": "anna", "why": "she called", "system": "crm"}), "{plan:#}");
    }
    assert_eq!(data(root.path()), before);
    assert_eq!(run(root.path(), &[]), Some(1), "the account still waits");
    assert!(data(root.path())[1].contains("7,11.00"), "{:?}", data(root.path()));
    let told = out(&tieout(root.path(), &["show", "last"]));
    assert!(told.contains("decided by anna: she called"), "{told}");
    let story = out(&tieout(root.path(), &["explain", "customers", "7"]));
    assert!(story.contains("`crm` is right, decided by anna: she called") && story.contains("choose crm, decided by anna"), "{story}");

    // A later edit in the other system is an edit like any other: the decision is used up.
    let shop = data(root.path())[1].replace("7,11.00", "7,99.00");
    fs::write(root.path().join("data/shop.csv"), shop).unwrap();
    run(root.path(), &[]);
    assert!(data(root.path())[0].contains("7,99.00"), "{:?}", data(root.path()));
    assert_eq!(tieout(root.path(), &["history", "customers", "--verify"]).status.code(), Some(0));
}

#[test]
fn a_decision_is_sealed_with_the_next_run_and_cannot_be_altered_after_it() {
    let root = nights();
    let id = id_of(root.path(), "limit");
    say(root.path(), &[&id, "--snooze", "2999-01-01", "--by", "anna"]);
    let verified = tieout(root.path(), &["history", "customers", "--verify"]);
    assert!(out(&verified).contains("1 decision of a person is not sealed yet"), "{verified:?}");
    run(root.path(), &[]);
    assert_eq!(tieout(root.path(), &["history", "customers", "--verify"]).status.code(), Some(0));
    let ledger = root.path().join("state/customers/ledger.sqlite");
    for alteration in [
        "UPDATE answers SET body = replace(body, 'anna', 'bea')",
        "DELETE FROM answers",
        "UPDATE answers SET run = ''",
        "INSERT INTO answer_events (run, answer, event, body) SELECT run, 1, 'applied', '{\"at\":\"\"}' FROM answers",
    ] {
        let copy = tempfile::tempdir().unwrap();
        assert!(std::process::Command::new("cp").arg("-a").arg(root.path().join(".")).arg(copy.path()).status().unwrap().success());
        rusqlite::Connection::open(copy.path().join("state/customers/ledger.sqlite")).unwrap().execute_batch(alteration).unwrap();
        let verified = tieout(copy.path(), &["history", "customers", "--verify"]);
        assert_eq!(verified.status.code(), Some(4), "{alteration}: {verified:?}");
    }
    assert!(ledger.exists());
}

#[test]
fn what_is_set_aside_calls_nobody_and_is_told_apart() {
    let root = nights();
    let (limit, iban) = (id_of(root.path(), "limit"), id_of(root.path(), "iban"));
    assert_eq!(say(root.path(), &[&limit, &iban, "--reject", "--by", "anna", "--why", "SECRET-CRM is his, SECRET-SHOP hers"]).status.code(), Some(0));
    assert_eq!(run(root.path(), &[]), Some(0), "nothing calls for a person");
    let told = out(&tieout(root.path(), &["show", "last"]));
    assert!(told.contains("2 are accepted") && told.contains("accepted as a difference by anna"), "{told}");
    let folder = tieout(root.path(), &["show", "last", "--json"]);
    assert!(!told.contains("SECRET") && !out(&folder).contains("SECRET"), "what is masked is masked in the reason too");
    assert!(out(&say(root.path(), &[])).starts_with("customers: 0 breaks to decide, 0 decided for the next run, 2 set aside"));
    // Taken back, they call again.
    assert_eq!(say(root.path(), &[&limit, "--forget", "--by", "bea"]).status.code(), Some(0));
    assert_eq!(run(root.path(), &[]), Some(1));
    assert_eq!(data(root.path())[0].lines().count(), 3);
}

#[test]
fn a_mistake_in_one_of_several_keeps_nothing() {
    let root = nights();
    let (limit, iban) = (id_of(root.path(), "limit"), id_of(root.path(), "iban"));
    let refused = say(root.path(), &[&limit, &iban, "ffffffff", "--choose", "crm", "--by", "anna"]);
    assert_eq!(refused.status.code(), Some(2));
    let refused = say(root.path(), &[&limit, &iban, "--choose", "erp", "--by", "anna"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && told.contains("--choose crm, --choose shop, --reject"), "{told}");
    assert!(open(root.path()).iter().all(|one| one["decided"].is_null()));
    // A run that holds the lock is waited for; looking is always possible.
    let lock = tieout::disk::lock(&root.path().join("state/customers/lock"), "a test").unwrap();
    assert_eq!(say(root.path(), &[&limit, "--reject", "--by", "anna"]).status.code(), Some(5));
    assert_eq!(say(root.path(), &[]).status.code(), Some(0));
    drop(lock);
    let nobody = std::process::Command::new(crate::errors::program())
        .args(["review", "customers", &limit, "--reject"])
        .current_dir(root.path())
        .env_clear()
        .output()
        .unwrap();
    assert!(nobody.status.code() == Some(2) && String::from_utf8_lossy(&nobody.stderr).contains("nobody knows who decides"), "{nobody:?}");
}

#[test]
fn a_run_that_a_gate_stops_keeps_the_decision_for_the_next() {
    let root = nights();
    let id = id_of(root.path(), "limit");
    say(root.path(), &[&id, "--choose", "shop", "--by", "anna"]);
    let [crm, _] = data(root.path());
    fs::write(root.path().join("data/crm.csv"), "Number,Limit,Iban\n").unwrap();
    assert_eq!(run(root.path(), &[]), Some(4), "the CRM is empty");
    fs::write(root.path().join("data/crm.csv"), crm).unwrap();
    run(root.path(), &[]);
    assert!(data(root.path())[0].contains("7,12.00"), "{:?}", data(root.path()));
}

const THREE: &str = r#"name = "customers"
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
kind = "csv"
role = "peer"
path = "data/books.csv"

[fields.number]
type = "integer"
columns = { crm = "Number", shop = "No", books = "No" }
merge = "review"

[fields.limit]
type = "decimal(2)"
columns = { crm = "Limit", shop = "Limit", books = "Limit" }
merge = { priority = ["crm", "shop", "books"] }
tolerance = "5.00"
"#;

const PRIORITY: &str = r#"merge = { priority = ["crm", "shop", "books"] }"#;

fn limits(root: &Path, system: &str) -> Vec<String> {
    let file = fs::read_to_string(root.join(format!("data/{system}.csv"))).unwrap();
    file.lines().skip(1).map(|line| line.split_once(',').unwrap().1.to_owned()).collect()
}

/// A root where the limits of eight customers differ in three systems, and nobody edited them: two breaks a customer.
fn eight_that_differ() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for folder in ["jobs", "data"] {
        fs::create_dir(root.path().join(folder)).unwrap();
    }
    fs::write(root.path().join("jobs/customers.toml"), THREE).unwrap();
    for (system, key, limit) in [("crm", "Number", "100.00"), ("shop", "No", "101.00"), ("books", "No", "102.00")] {
        let rows: String = (1..=8).map(|number| format!("{number},{limit}\n")).collect();
        fs::write(root.path().join(format!("data/{system}.csv")), format!("{key},Limit\n{rows}")).unwrap();
    }
    assert_eq!(run(root.path(), &["--first-contact"]), Some(0));
    fs::write(root.path().join("jobs/customers.toml"), THREE.replace("tolerance = \"5.00\"\n", "")).unwrap();
    run(root.path(), &["--allow", "job"]);
    assert_eq!(open(root.path()).len(), 16);
    root
}

/// The ids of the breaks of a system, by the key of their records.
fn ids_in(root: &Path, system: &str) -> Vec<String> {
    let all = open(root);
    let mut ids: Vec<(String, String)> =
        all.iter().filter(|one| one["system"] == system).map(|one| (one["key"].as_str().unwrap().to_owned(), one["id"].as_str().unwrap().to_owned())).collect();
    ids.sort();
    ids.into_iter().map(|(_, id)| id).collect()
}

#[test]
fn of_two_decisions_about_one_field_the_later_one_counts_wherever_it_was_said() {
    let root = eight_that_differ();
    let (shop, books) = (ids_in(root.path(), "shop"), ids_in(root.path(), "books"));
    for (in_shop, in_books) in shop.iter().zip(&books) {
        say(root.path(), &[in_shop, "--choose", "shop", "--by", "anna"]);
        let told = out(&say(root.path(), &[in_books, "--choose", "books", "--by", "bea"]));
        assert!(told.contains("the next run takes `books` for right, instead of `choose shop` by anna"), "{told}");
    }
    let listed = out(&say(root.path(), &[]));
    assert!(listed.contains("8 decided for the next run") && !listed.contains("by anna"), "what is replaced waits for nothing: {listed}");
    assert_eq!(run(root.path(), &[]), Some(0));
    for system in ["crm", "shop", "books"] {
        assert_eq!(limits(root.path(), system), ["102.00"; 8], "{system}");
    }
    let told = out(&tieout(root.path(), &["show", "last"]));
    assert!(!told.contains("the break is gone"), "{told}");
    let story = out(&tieout(root.path(), &["explain", "customers", "7"]));
    assert!(story.contains("choose shop, decided by anna on") && story.contains(": replaced by a later decision"), "{story}");
    assert_eq!(tieout(root.path(), &["history", "customers", "--verify"]).status.code(), Some(0));
}

#[test]
fn a_choice_and_another_word_about_the_same_field_are_no_two_decisions() {
    let root = eight_that_differ();
    let (shop, books) = (ids_in(root.path(), "shop"), ids_in(root.path(), "books"));
    // The same side, said of both breaks; and what was chosen first is left as it is, or done otherwise, by what is said later.
    say(root.path(), &[&shop[0], &books[0], "--choose", "books", "--by", "anna"]);
    for (later, word) in [(1, "--reject"), (2, "--accept")] {
        say(root.path(), &[&shop[later], "--choose", "books", "--by", "anna"]);
        say(root.path(), &[&books[later], word, "--by", "bea"]);
    }
    say(root.path(), &[&books[3], "--reject", "--by", "anna"]);
    say(root.path(), &[&shop[3], "--choose", "shop", "--by", "bea"]);
    run(root.path(), &[]);
    assert_eq!(limits(root.path(), "crm")[..4], ["102.00", "100.00", "100.00", "101.00"]);
    assert_eq!(limits(root.path(), "shop")[..4], ["102.00", "101.00", "101.00", "101.00"]);
    assert_eq!(limits(root.path(), "books")[..4], ["102.00", "102.00", "100.00", "101.00"]);
    let told = out(&tieout(root.path(), &["show", "last"]));
    assert!(!told.contains("was not applied"), "{told}");
}

const BOOKS: &str = r#"name = "customers"
key = ["number"]
attempts = 2

[systems.crm]
kind = "csv"
role = "peer"
path = "data/crm.csv"

[systems.books]
kind = "sql"
role = "peer"
url = "sqlite:data/books.db"
table = "people"
may = { update = "review", create = "review" }

[fields.number]
type = "integer"
columns = { crm = "Number", books = "number" }
merge = "review"

[fields.name]
type = "text"
columns = { crm = "Name", books = "name" }
merge = { priority = ["crm", "books"] }

[deletes]
policy = "report"

[gates]
deletes = "off"
shrink = "off"
time-travel = "off"
"#;

fn people(root: &Path) -> String {
    let books = rusqlite::Connection::open(root.join("data/books.db")).unwrap();
    let mut statement = books.prepare("SELECT number, name FROM people ORDER BY number").unwrap();
    let rows = statement.query_map([], |row| Ok(format!("{} {}", row.get::<_, i64>(0)?, row.get::<_, String>(1)?))).unwrap();
    rows.collect::<Result<Vec<String>, _>>().unwrap().join(", ")
}

fn in_books(root: &Path, statements: &str) {
    rusqlite::Connection::open(root.join("data/books.db")).unwrap().execute_batch(statements).unwrap();
}

#[test]
fn what_was_accepted_and_given_up_is_sent_again_under_the_same_acceptance() {
    let root = tempfile::tempdir().unwrap();
    for folder in ["jobs", "data"] {
        fs::create_dir(root.path().join(folder)).unwrap();
    }
    let root = root.path();
    fs::write(root.join("jobs/customers.toml"), BOOKS).unwrap();
    fs::write(root.join("data/crm.csv"), "Number,Name\n1,Ada\n2,Bob\n3,Cid\n4,Dan\n").unwrap();
    in_books(root, "CREATE TABLE people (number INTEGER PRIMARY KEY, name TEXT); INSERT INTO people VALUES (1, 'Ada'), (2, 'Bob'), (3, 'Cid'), (4, 'Dan');");
    assert_eq!(run(root, &["--first-contact"]), Some(0));
    // An update, a delete that is only reported, a create; and an update that will be another one.
    fs::write(root.join("data/crm.csv"), "Number,Name\n1,Adele\n3,Cid\n4,Daniel\n6,Fay\n").unwrap();
    assert_eq!(run(root, &[]), Some(1));
    let ids: Vec<String> = open(root).iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 4);
    let said: Vec<&str> = ids.iter().map(String::as_str).chain(["--accept", "--by", "anna", "--why", "as agreed"]).collect();
    assert_eq!(say(root, &said).status.code(), Some(0));
    for (name, what) in [("u", "UPDATE"), ("d", "DELETE"), ("i", "INSERT")] {
        in_books(root, &format!("CREATE TRIGGER {name} BEFORE {what} ON people BEGIN SELECT RAISE(ABORT, 'the year is closed'); END;"));
    }
    for night in 1..=4 {
        run(root, &[]);
        let told = out(&tieout(root, &["show", "last"]));
        assert!(!told.contains("was not applied"), "night {night}: {told}");
        assert_eq!(told.contains("is not sent any more"), night > 2, "night {night}: {told}");
    }
    assert_eq!(people(root), "1 Ada, 2 Bob, 3 Cid, 4 Dan");

    in_books(root, "DROP TRIGGER u; DROP TRIGGER d; DROP TRIGGER i;");
    let crm = fs::read_to_string(root.join("data/crm.csv")).unwrap();
    fs::write(root.join("data/crm.csv"), crm.replace("Daniel", "Danny")).unwrap();
    run(root, &["--retry", "1", "--retry", "2", "--retry", "4", "--retry", "6"]);
    assert_eq!(people(root), "1 Adele, 3 Cid, 4 Dan, 6 Fay", "what was accepted is done, and nothing else");
    let told = out(&tieout(root, &["show", "last"]));
    assert!(told.contains("the decision of anna about `name` of `4` (accept) was not applied"), "{told}");
    let left = open(root);
    assert!(left.len() == 1 && left[0]["key"] == "4" && left[0]["proposed"] == serde_json::json!({"text": "Danny"}), "{left:?}");
    for key in ["1", "2", "6"] {
        let story = out(&tieout(root, &["explain", "customers", key]));
        assert!(story.contains("accept, decided by anna") && story.contains(": applied"), "{story}");
    }
}

#[test]
fn a_difference_that_was_accepted_and_refused_is_applied_when_it_is_made() {
    let root = tempfile::tempdir().unwrap();
    for folder in ["jobs", "data"] {
        fs::create_dir(root.path().join(folder)).unwrap();
    }
    let root = root.path();
    let job = BOOKS
        .replace("may = { update = \"review\", create = \"review\" }\n", "")
        .replace("merge = { priority = [\"crm\", \"books\"] }", "owner = \"crm\"\non_drift = \"report\"");
    fs::write(root.join("jobs/customers.toml"), job).unwrap();
    fs::write(root.join("data/crm.csv"), "Number,Name\n1,Ada\n2,Bob\n").unwrap();
    in_books(root, "CREATE TABLE people (number INTEGER PRIMARY KEY, name TEXT); INSERT INTO people VALUES (1, 'Ada'), (2, 'Bob');");
    assert_eq!(run(root, &["--first-contact"]), Some(0));
    in_books(root, "UPDATE people SET name = 'Ida' WHERE number = 1;");
    run(root, &[]);
    let id = id_of(root, "name");
    assert_eq!(say(root, &[&id, "--accept", "--by", "anna"]).status.code(), Some(0));
    in_books(root, "CREATE TRIGGER u BEFORE UPDATE ON people BEGIN SELECT RAISE(ABORT, 'the year is closed'); END;");
    run(root, &[]);
    in_books(root, "DROP TRIGGER u;");
    assert_eq!(run(root, &[]), Some(0));
    assert_eq!(people(root), "1 Ada, 2 Bob");
    let story = out(&tieout(root, &["explain", "customers", "1"]));
    assert!(story.contains("accept, decided by anna") && story.contains(": applied"), "{story}");
}

#[test]
fn another_proposal_than_the_accepted_one_is_asked_again() {
    let root = eight_that_differ();
    let root = root.path();
    let job = fs::read_to_string(root.join("jobs/customers.toml")).unwrap();
    let owned_by = |system: &str| job.replace(PRIORITY, &format!("owner = \"{system}\""));
    fs::write(root.join("jobs/customers.toml"), owned_by("crm")).unwrap();
    run(root, &["--allow", "job"]);
    let shop = ids_in(root, "shop");
    let told = out(&say(root, &[&shop[0], "--accept", "--by", "anna"]));
    assert!(told.contains("the next run will set `limit` in `shop`"), "{told}");
    // Nobody edits a value; the job takes another system for right.
    fs::write(root.join("jobs/customers.toml"), owned_by("books")).unwrap();
    run(root, &["--allow", "job"]);
    assert_eq!(limits(root, "shop")[0], "101.00", "102.00 was never shown to anybody");
    let told = out(&tieout(root, &["show", "last"]));
    assert!(told.contains("(accept) was not applied: what it is about changed since"), "{told}");
    let again = open(root);
    let asked = again.iter().find(|one| one["id"] == shop[0].as_str()).unwrap();
    assert!(asked["decided"].is_null() && asked["proposed"] == serde_json::json!({"decimal": "102.00"}), "{asked}");
    say(root, &[&shop[0], "--accept", "--by", "anna"]);
    run(root, &[]);
    assert_eq!(limits(root, "shop")[..2], ["102.00", "101.00"]);
}

#[test]
fn a_record_that_would_be_made_of_other_values_than_the_accepted_ones_is_asked_again() {
    let root = tempfile::tempdir().unwrap();
    for folder in ["jobs", "data"] {
        fs::create_dir(root.path().join(folder)).unwrap();
    }
    let root = root.path();
    let job = THREE.replace("path = \"data/books.csv\"\n", "path = \"data/books.csv\"\nmay = { create = \"review\" }\n");
    let owned_by = |system: &str| job.replace(PRIORITY, &format!("owner = \"{system}\""));
    fs::write(root.join("jobs/customers.toml"), owned_by("crm")).unwrap();
    for (system, key, new) in [("crm", "Number", "9,100.00\n"), ("shop", "No", "9,101.00\n"), ("books", "No", "")] {
        fs::write(root.join(format!("data/{system}.csv")), format!("{key},Limit\n1,100.00\n2,100.00\n3,100.00\n{new}")).unwrap();
    }
    run(root, &["--first-contact"]);
    let ids = ids_in(root, "books");
    assert_eq!(say(root, &[&ids[0], "--accept", "--by", "anna"]).status.code(), Some(0));
    fs::write(root.join("jobs/customers.toml"), owned_by("shop")).unwrap();
    run(root, &["--allow", "job"]);
    assert_eq!(limits(root, "books").len(), 3, "a record of 101.00 was never accepted");
    assert_eq!(say(root, &[&ids_in(root, "books")[0], "--accept", "--by", "anna"]).status.code(), Some(0));
    run(root, &[]);
    assert_eq!(limits(root, "books")[3..], ["101.00"]);
}
