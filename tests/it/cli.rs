//! The commands, from outside: what they print, in words and as one JSON document, and how they exit.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value as Json;

use crate::errors::tieout;

const JOB: &str = r#"name = "customers"
description = "The CRM and the shop know the same customers."
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
type = "text"
columns = { crm = "Number", shop = "Number" }
owner = "crm"

[fields.name]
type = "text"
columns = { crm = "Name", shop = "Name" }
merge = { priority = ["crm", "shop"] }

[report]
to = ["finance@example.com"]
"#;

const CRM: &str = "Number,Name\n0007,Müller\n0008,Meier\n";

/// A root with one job whose systems agree.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for folder in ["jobs", "data"] {
        fs::create_dir(root.path().join(folder)).unwrap();
    }
    fs::write(root.path().join("jobs/customers.toml"), JOB).unwrap();
    fs::write(root.path().join("data/crm.csv"), CRM).unwrap();
    fs::write(root.path().join("data/shop.csv"), CRM).unwrap();
    root
}

/// The same after its first night, with one edit since.
fn edited_root() -> tempfile::TempDir {
    let root = root();
    assert_eq!(exit(&tieout(root.path(), &["run", "customers", "--first-contact"])), 0);
    fs::write(root.path().join("data/crm.csv"), CRM.replace("Meier", "Meyer")).unwrap();
    root
}

fn exit(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The one document on standard output.
fn document(output: &Output) -> Json {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", out(output)))
}

fn data(root: &Path) -> Vec<String> {
    ["crm", "shop"].iter().map(|name| fs::read_to_string(root.join(format!("data/{name}.csv"))).unwrap()).collect()
}

#[test]
fn a_first_contact_waits_until_it_is_accepted() {
    let root = root();
    fs::write(root.path().join("data/shop.csv"), "Number,Name\n0007,Mueller\n").unwrap();
    let before = data(root.path());
    let stopped = tieout(root.path(), &["run", "customers"]);
    assert_eq!(exit(&stopped), 1);
    assert!(String::from_utf8_lossy(&stopped.stderr).contains("--first-contact"), "{stopped:?}");
    assert_eq!(data(root.path()), before);
    let accepted = tieout(root.path(), &["run", "customers", "--first-contact"]);
    assert_eq!(exit(&accepted), 0, "{}", out(&accepted));
    assert_eq!(data(root.path()), [CRM, CRM]);
    assert_eq!(exit(&tieout(root.path(), &["run", "customers"])), 0);
}

#[test]
fn a_plan_changes_nothing_and_is_the_plan_of_the_next_run() {
    let root = edited_root();
    let before = data(root.path());
    let planned = tieout(root.path(), &["plan", "customers", "--json"]);
    assert_eq!(exit(&planned), 0);
    assert_eq!(exit(&tieout(root.path(), &["plan", "customers", "--exit-code"])), 1, "a run would write");
    assert_eq!(data(root.path()), before);

    let run = tieout(root.path(), &["run", "customers", "--json"]);
    assert_eq!(exit(&run), 0);
    let (planned, run) = (document(&planned), document(&run));
    let changes = |report: &Json| -> Vec<Json> {
        let mut changes = report["changes"].as_array().unwrap().clone();
        changes.iter_mut().for_each(|change| change["settled"] = Json::Null);
        changes
    };
    assert_eq!(changes(&planned).len(), 1);
    assert_eq!(changes(&planned), changes(&run));
    assert_eq!((&planned["dry_run"], &run["dry_run"]), (&Json::Bool(true), &Json::Bool(false)));
    assert_eq!(run["changes"][0]["settled"], "verified");
    assert_eq!(exit(&tieout(root.path(), &["plan", "customers", "--exit-code"])), 0, "nothing is left to do");
    assert_eq!(data(root.path())[1], CRM.replace("Meier", "Meyer"));
}

#[test]
fn a_report_as_json_is_one_document_with_its_parts() {
    let root = edited_root();
    let run = tieout(root.path(), &["--json", "run", "customers"]);
    let report = document(&run);
    for part in ["job", "run", "verdict", "exit_code", "sentence", "systems", "changes", "conflicts", "drift", "breaks", "identities", "plan_digest"] {
        assert!(report.get(part).is_some(), "the report has no `{part}`");
    }
    assert_eq!((&report["verdict"], &report["exit_code"]), (&Json::from("SYNCED"), &Json::from(0)));
    assert!(report["identities"].as_array().unwrap().iter().all(|identity| identity["holds"] == true));
    assert!(run.stderr.is_empty(), "nothing but the document is told: {}", String::from_utf8_lossy(&run.stderr));
    let folder = root.path().join("reports/customers").join(report["run"].as_str().unwrap());
    for file in ["report.html", "report.txt", "report.json", "plan.jsonl", "mail.eml"] {
        assert!(folder.join(file).is_file(), "no {file}");
    }
    assert_eq!(serde_json::from_slice::<Json>(&fs::read(folder.join("report.json")).unwrap()).unwrap(), report);
}

#[test]
fn errors_as_json_are_one_document_too() {
    let root = root();
    let missing = tieout(root.path(), &["run", "custmers", "--json"]);
    assert_eq!(exit(&missing), 2);
    assert!(missing.stderr.is_empty());
    let told = document(&missing);
    assert_eq!(told["error"]["kind"], "mend-job");
    assert_eq!(told["error"]["hint"], "did you mean `customers`?");
    assert_eq!(told["error"]["place"]["origin"], "jobs/custmers.toml");

    fs::write(root.path().join("jobs/customers.toml"), JOB.replace("owner", "ownr").replace("role", "rle")).unwrap();
    let mistakes = tieout(root.path(), &["check", "--json"]);
    assert_eq!(exit(&mistakes), 2);
    let told = document(&mistakes);
    assert!(told["errors"].as_array().unwrap().len() >= 3, "all mistakes at once: {told}");
    assert_eq!(told["error"], told["errors"][0]);
}

#[test]
fn check_reads_job_files_and_with_connect_the_systems() {
    let root = root();
    let checked = tieout(root.path(), &["check"]);
    assert_eq!((exit(&checked), out(&checked).as_str()), (0, "jobs/customers.toml: fine: 2 systems, 2 fields\n"));
    fs::remove_file(root.path().join("data/shop.csv")).unwrap();
    assert_eq!(exit(&tieout(root.path(), &["check", "customers"])), 0, "no system is opened");
    assert_eq!(exit(&tieout(root.path(), &["check", "--connect"])), 3);
    fs::write(root.path().join("data/shop.csv"), CRM).unwrap();
    let connected = tieout(root.path(), &["check", "--connect", "--json"]);
    assert_eq!(exit(&connected), 0);
    let told = document(&connected);
    assert_eq!(told[0]["connected"][1]["rows"], 2);
    assert_eq!(data(root.path()), [CRM, CRM]);
    assert!(!root.path().join("state").exists(), "a check leaves nothing behind");
}

#[test]
fn history_is_filtered_by_time_and_verdict() {
    let root = edited_root();
    assert_eq!(exit(&tieout(root.path(), &["plan", "customers"])), 0);
    assert_eq!(exit(&tieout(root.path(), &["run", "customers"])), 0);
    let ledger = rusqlite::Connection::open(root.path().join("state/customers/ledger.sqlite")).unwrap();
    for (row, started) in [(1, "2026-03-28T23:30:00Z"), (2, "2026-03-29T22:30:00.5Z"), (3, "2026-03-30T21:59:59Z")] {
        ledger.execute("UPDATE runs SET started = ?1 WHERE rowid = ?2", rusqlite::params![started, row]).unwrap();
    }
    drop(ledger);
    // The clocks of Berlin go forward in the night to 29 March: that day has 23 hours.
    fs::write(root.path().join("tieout.toml"), "[defaults]\ntimezone = \"Europe/Berlin\"\n").unwrap();
    let started = |args: &[&str]| -> Vec<String> {
        let told = document(&tieout(root.path(), &[&["history", "customers", "--json"], args].concat()));
        told.as_array().unwrap().iter().map(|line| line["run"]["started"].as_str().unwrap()[..10].to_owned()).collect()
    };
    let all = ["2026-03-30", "2026-03-29", "2026-03-28"];
    assert_eq!(started(&[]), all);
    assert_eq!(started(&["--since", "2026-03-30"]), all[..2]);
    assert_eq!(started(&["--until", "2026-03-29"]), all[2..]);
    assert_eq!(started(&["--since", "2026-03-29", "--until", "2026-03-29"]), all[2..]);
    assert_eq!(started(&["--since", "2026-03-29T22:30:00.5Z", "--until", "2026-03-30T21:59:59Z"]), all[..2]);
    assert_eq!(started(&["--verdict", "ok,synced", "--limit", "2"]).len(), 2);
    assert_eq!(started(&["--verdict", "FAILED"]).len(), 0);
    assert_eq!(out(&tieout(root.path(), &["history", "--verdict", "failed"])), "no such runs\n");
}

#[test]
fn history_and_show_tell_past_runs() {
    let root = edited_root();
    assert_eq!(out(&tieout(root.path(), &["history", "customers"])).lines().count(), 1);
    tieout(root.path(), &["plan", "customers"]);
    tieout(root.path(), &["run", "customers"]);
    let history = out(&tieout(root.path(), &["history"]));
    let lines: Vec<&str> = history.lines().collect();
    assert_eq!(lines.len(), 3, "{history}");
    assert!(lines[0].contains("SYNCED") && lines[1].contains(" plan ") && lines[2].contains("OK"), "the newest first: {history}");
    let told = document(&tieout(root.path(), &["history", "--json", "--most", "1"]));
    assert_eq!((told.as_array().unwrap().len(), &told[0]["job"], &told[0]["run"]["verdict"]), (1, &Json::from("customers"), &Json::from("SYNCED")));

    let last = out(&tieout(root.path(), &["show", "last"]));
    assert!(last.contains("SYNCED") && last.contains("Meyer"), "{last}");
    let id = told[0]["run"]["run"].as_str().unwrap();
    assert_eq!(out(&tieout(root.path(), &["show", &format!("customers/{id}")])), last);
    assert_eq!(document(&tieout(root.path(), &["show", "customers/last", "--json"]))["run"], id);
    assert_eq!(exit(&tieout(root.path(), &["show", "yesterday"])), 2);
}

#[test]
fn the_schema_is_json_and_knows_the_keys() {
    let root = tempfile::tempdir().unwrap();
    let schema = tieout(root.path(), &["schema"]);
    assert_eq!(exit(&schema), 0);
    let text = out(&schema);
    let schema = document(&schema);
    for key in ["name", "key", "mode", "schedule", "systems", "fields", "dedupe", "deletes", "gates", "totals", "report"] {
        assert!(schema["properties"].get(key).is_some(), "no key `{key}`");
    }
    for word in ["first_contact", "on_drift", "sum-of-changes", "most-restrictive", "witness", "edited_at", "tolerance", "all-changed"] {
        assert!(text.contains(&format!("\"{word}\"")), "no word `{word}`");
    }
}

#[test]
fn a_gate_exits_with_4_and_lets_pass_what_is_allowed() {
    let root = edited_root();
    fs::write(root.path().join("data/crm.csv"), "Number,Name\n").unwrap();
    let before = data(root.path());
    assert_eq!(exit(&tieout(root.path(), &["run", "customers"])), 4);
    assert_eq!(exit(&tieout(root.path(), &["plan", "customers"])), 4, "a plan stops at the same gates");
    assert_eq!(data(root.path()), before);
    assert_eq!(exit(&tieout(root.path(), &["run", "customers", "--allow", "empty"])), 1, "two reported deletes are open");
    let shown = document(&tieout(root.path(), &["show", "last", "--json"]));
    assert_eq!(shown["allowed"].as_array().unwrap().len(), 1);
}

#[test]
fn the_root_is_found_from_below_and_by_name() {
    let root = edited_root();
    let below = root.path().join("data/deeper");
    fs::create_dir(&below).unwrap();
    assert_eq!(exit(&tieout(&below, &["check"])), 0);
    let elsewhere = tempfile::tempdir().unwrap();
    assert_eq!(exit(&tieout(elsewhere.path(), &["check"])), 2);
    let named = tieout(elsewhere.path(), &["run", "customers", "--root", &root.path().display().to_string()]);
    assert_eq!(exit(&named), 0, "{named:?}");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    let by_path = tieout(root.path(), &["run", "jobs/customers.toml"]);
    assert_eq!(exit(&by_path), 0, "{by_path:?}");
}

#[test]
fn arguments_that_do_not_exist_are_told_with_2() {
    let root = root();
    for args in [&["rum", "customers"][..], &["run"], &["run", "customers", "--frist-contact"], &["run", "customers", "--allow", "everything"]] {
        assert_eq!(exit(&tieout(root.path(), args)), 2, "{args:?}");
    }
    let help = tieout(root.path(), &["--help"]);
    assert_eq!(exit(&help), 0);
    assert!(out(&help).contains("Exit codes"));
}

#[test]
fn a_hostile_cell_does_not_reach_the_terminal() {
    let root = edited_root();
    fs::write(root.path().join("data/crm.csv"), "Number,Name\n0007,\u{1b}[2J\u{202e}evil\n0008,Meier\n").unwrap();
    let run = tieout(root.path(), &["run", "customers"]);
    let shown = tieout(root.path(), &["show", "last"]);
    for text in [out(&run), out(&shown)] {
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
    }
}

#[test]
fn who_only_hears_of_problems_hears_of_the_recovery_once() {
    let root = root();
    fs::write(root.path().join("jobs/customers.toml"), format!("{JOB}when = \"problems\"\n")).unwrap();
    let mails = || fs::read_dir(root.path().join("reports/outbox")).map_or(0, Iterator::count);
    let run = |rows: &str| {
        fs::write(root.path().join("data/crm.csv"), rows).unwrap();
        exit(&tieout(root.path(), &["run", "customers", "--first-contact"]))
    };
    assert_eq!((run(CRM), mails()), (0, 1), "the first sign of life");
    assert_eq!((run(&format!("{CRM}0008,Meyer\n")), mails()), (1, 2), "a problem");
    exit(&tieout(root.path(), &["plan", "customers"]));
    assert_eq!((run(CRM), mails()), (0, 3), "the recovery");
    assert_eq!((run(CRM), mails()), (0, 3), "quiet again");
    // Runs of one second have names that do not sort by time.
    let sent = crate::scenarios::sorted(&root.path().join("reports/outbox"));
    let recoveries = sent.iter().filter(|mail| fs::read_to_string(mail).unwrap().contains("Subject: [OK] customers: recovered"));
    assert_eq!(recoveries.count(), 1);
}

#[test]
fn a_job_file_is_found_from_here_and_from_the_root() {
    let root = root();
    let elsewhere = tempfile::tempdir().unwrap();
    let named = root.path().to_string_lossy().into_owned();
    let whole = root.path().join("jobs/customers.toml").to_string_lossy().into_owned();
    for path in ["jobs/customers.toml", "./jobs/../jobs/customers.toml", &whole] {
        let planned = tieout(elsewhere.path(), &["--root", &named, "plan", path]);
        assert_eq!(exit(&planned), 0, "{path}: {}", String::from_utf8_lossy(&planned.stderr));
    }
    assert_eq!(exit(&tieout(root.path(), &["plan", "./jobs/customers.toml"])), 0);
    // What is here comes first.
    fs::create_dir(elsewhere.path().join("jobs")).unwrap();
    fs::write(elsewhere.path().join("jobs/customers.toml"), "name = 5").unwrap();
    assert_eq!(exit(&tieout(elsewhere.path(), &["--root", &named, "plan", "jobs/customers.toml"])), 2);
}

/// Days, moments and amounts that each system spells in its own way; edits around the night in which clocks go back.
const PLACES: &str = r#"name = "places"
key = ["number"]
business_timezone = "Europe/Berlin"

[systems.crm]
kind = "csv"
role = "peer"
path = "data/crm.csv"
edited_at = { name = "Edited", format = "%d.%m.%Y %H:%M", timezone = "Europe/London" }

[systems.shop]
kind = "csv"
role = "peer"
path = "data/shop.csv"
edited_at = "edited"

[fields.number]
type = "text"
columns = { crm = "Number", shop = "number" }
merge = { priority = ["crm", "shop"] }

[fields.name]
type = "text"
columns = { crm = "Name", shop = "name" }
merge = "latest"

[fields.due]
type = "date"
columns = { crm = { name = "Due", dates = ["%d.%m.%Y"] }, shop = { name = "due", timezone = "Europe/Berlin" } }
merge = { priority = ["shop", "crm"] }

[fields.seen]
type = "instant"
columns = { crm = { name = "Seen", dates = ["%d.%m.%Y %H:%M"], timezone = "Europe/London" }, shop = "seen" }
merge = { priority = ["crm", "shop"] }

[fields.amount]
type = "decimal(2)"
columns = { crm = { name = "Amount", decimal = "," }, shop = "amount" }
merge = { priority = ["crm", "shop"] }
"#;

/// The zone, the language and the clock of the machine are none of a plan's business: what a run does is the same everywhere.
#[test]
fn a_plan_is_the_same_wherever_it_is_made() {
    let nights = |zone: &str, locale: &str| -> (String, Vec<String>) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        for folder in ["jobs", "data"] {
            fs::create_dir(path.join(folder)).unwrap();
        }
        fs::write(path.join("jobs/places.toml"), PLACES).unwrap();
        let write = |crm: &str, shop: &str| {
            fs::write(path.join("data/crm.csv"), format!("Number,Name,Due,Seen,Amount,Edited\n{crm}")).unwrap();
            fs::write(path.join("data/shop.csv"), format!("number,name,due,seen,amount,edited\n{shop}")).unwrap();
        };
        let ask = |args: &[&str]| {
            let mut command = Command::new(crate::errors::program());
            command.args(args).current_dir(path).env("TZ", zone).env("LC_ALL", locale).env("LANG", locale).env_remove("RUST_BACKTRACE");
            command.output().unwrap()
        };
        // 23:30 UTC on the last of October is the first of November in Berlin.
        write(
            "I1,Istanbul,01.11.2026,25.10.2026 00:30,\"1,50\",24.10.2026 12:00\n",
            "I1,Istanbul,2026-10-31T23:30:00Z,2026-10-24T23:30:00Z,1.50,2026-10-24T11:00:00Z\n",
        );
        let first = ask(&["run", "places", "--first-contact"]);
        assert_eq!(exit(&first), 0, "{}{}", out(&first), String::from_utf8_lossy(&first.stderr));
        // In London it is 02:30 in crm, an hour and a half after the clocks went back; the shop's edit is a quarter of an hour older.
        write(
            "I1,Izmir,01.11.2026,25.10.2026 02:30,\"2,50\",25.10.2026 02:30\nı2,Ünal,02.11.2026,29.03.2026 02:30,\"3,00\",25.10.2026 02:30\n",
            "I1,Ankara,2026-11-02T23:30:00Z,2026-10-24T23:30:00Z,1.50,2026-10-25T02:15:00Z\n",
        );
        let planned = ask(&["plan", "places"]);
        assert_eq!(exit(&planned), 0, "{}{}", out(&planned), String::from_utf8_lossy(&planned.stderr));
        let runs = fs::read_dir(path.join("reports/places")).unwrap().map(|entry| entry.unwrap().path().join("plan.jsonl"));
        let plan = runs.filter(|plan| plan.is_file()).max().map(|plan| fs::read_to_string(plan).unwrap()).unwrap();
        let (_, plan) = plan.split_once('\n').unwrap();
        let run = ask(&["run", "places"]);
        assert_eq!(exit(&run), 0, "{}{}", out(&run), String::from_utf8_lossy(&run.stderr));
        (plan.to_owned(), data(path))
    };
    let here = nights("UTC", "C");
    assert_eq!(
        here.1,
        [
            "Number,Name,Due,Seen,Amount,Edited\nI1,Izmir,03.11.2026,25.10.2026 02:30,\"2,50\",25.10.2026 02:30\nı2,Ünal,02.11.2026,29.03.2026 02:30,\"3,00\",25.10.2026 02:30\n",
            "number,name,due,seen,amount,edited\nI1,Izmir,2026-11-02T23:30:00Z,2026-10-25T02:30:00Z,2.50,2026-10-25T02:15:00Z\nı2,Ünal,2026-11-02,2026-03-29T01:30:00Z,3.00,\n",
        ]
    );
    for (zone, locale) in
        [("Europe/London", "en_GB.UTF-8"), ("America/New_York", "tr_TR.UTF-8"), ("Pacific/Kiritimati", "de_DE.UTF-8"), ("Nowhere/AtAll", "xx_XX")]
    {
        assert_eq!(nights(zone, locale), here, "{zone}, {locale}");
    }
}

#[test]
fn outside_of_any_root_every_command_says_where_it_looked() {
    let folder = tempfile::tempdir().unwrap();
    for command in [&["check"][..], &["status"], &["run", "customers"], &["show", "last"]] {
        let output = tieout(folder.path(), command);
        let here = folder.path().canonicalize().unwrap().display().to_string();
        assert_eq!(String::from_utf8_lossy(&output.stderr).replace(&here, "HERE"), NO_ROOT, "{command:?}");
        assert_eq!(output.status.code(), Some(2));
    }
}

const NO_ROOT: &str = "\
error: HERE: no `jobs/` and no `tieout.toml` here or in any folder above
hint: go to the folder that holds `jobs/`, name it with `--root`, or make an example with `tieout demo`
";
