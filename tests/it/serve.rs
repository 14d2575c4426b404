//! `serve` and `status`: with a clock that the test moves, and as the real process.
//!
//! The moved clock stands still while a run is under way, unless a test wants them to overlap; what a test does to the files
//! happens between two looks at the clock. The runs are real.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use serde_json::Value as Json;
use tieout::error::Error;
use tieout::project::Project;
use tieout::report::Verdict;
use tieout::run::{self, Request, World};
use tieout::serve::{self, Clock, Event, Signal, What};

use crate::errors::{program, tieout};

/// What happens between two looks, and the time of the next; nothing to stop.
type Script = dyn FnMut(Timestamp) -> Option<Timestamp> + Send;

struct MovedClock {
    now: Mutex<Timestamp>,
    script: Mutex<Box<Script>>,
    /// Whether time goes on while a run is under way.
    overlaps: Arc<AtomicBool>,
    has_stopped: Mutex<bool>,
}

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }

    fn start(&self, _signals: Sender<Signal>) -> Result<(), Error> {
        Ok(())
    }

    fn receive(&self, signals: &Receiver<Signal>, running: usize) -> Signal {
        let mut has_stopped = self.has_stopped.lock().unwrap();
        if running > 0 && (!self.overlaps.load(Ordering::Relaxed) || *has_stopped) {
            return signals.recv().unwrap();
        }
        if let Ok(signal) = signals.try_recv() {
            return signal;
        }
        let now = self.now();
        match (self.script.lock().unwrap())(now) {
            Some(next) => {
                *self.now.lock().unwrap() = next;
                Signal::Tick
            }
            None => {
                *has_stopped = true;
                Signal::Stop
            }
        }
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn minutes(count: i64) -> SignedDuration {
    SignedDuration::from_mins(count)
}

/// Serves a root from one time on, as a script says. Gives what was told.
fn served(root: &Path, start: &str, script: impl FnMut(Timestamp) -> Option<Timestamp> + Send + 'static) -> Vec<Event> {
    served_over(root, start, Arc::default(), script)
}

/// The same; time goes on while runs are under way, as long as `overlaps` says so.
fn served_over(root: &Path, start: &str, overlaps: Arc<AtomicBool>, script: impl FnMut(Timestamp) -> Option<Timestamp> + Send + 'static) -> Vec<Event> {
    let project = Project::find(Some(root)).unwrap();
    let clock: Arc<dyn Clock> =
        Arc::new(MovedClock { now: Mutex::new(at(start)), script: Mutex::new(Box::new(script)), overlaps, has_stopped: Mutex::new(false) });
    let told = Mutex::new(Vec::new());
    serve::serve(project, &clock, &|event| told.lock().unwrap().push(event.clone())).unwrap();
    told.into_inner().unwrap()
}

/// A script that goes on by so much each time, until an end.
fn steps(step: SignedDuration, end: &str) -> impl FnMut(Timestamp) -> Option<Timestamp> + Send + 'static {
    let end = at(end);
    move |now| Some(now + step).filter(|next| *next <= end)
}

fn job(name: &str, cron: &str, more: &str) -> String {
    format!(
        r#"name = "{name}"
key = ["number"]
schedule = {{ cron = "{cron}"{more} }}

[systems.crm]
kind = "csv"
role = "peer"
path = "data/{name}-crm.csv"

[systems.shop]
kind = "csv"
role = "peer"
path = "data/{name}-shop.csv"

[fields.number]
type = "text"
columns = {{ crm = "Number", shop = "Number" }}
owner = "crm"

[fields.name]
type = "text"
columns = {{ crm = "Name", shop = "Name" }}
merge = {{ priority = ["crm", "shop"] }}

[report]
to = ["finance@example.com"]
when = "problems"
"#
    )
}

const ROWS: &str = "Number,Name\n0007,Müller\n0008,Meier\n";

fn write_job(root: &Path, name: &str, cron: &str, more: &str) {
    fs::write(root.join(format!("jobs/{name}.toml")), job(name, cron, more)).unwrap();
}

/// A root without jobs.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for folder in ["jobs", "data"] {
        fs::create_dir(root.path().join(folder)).unwrap();
    }
    root
}

/// Adds a job with its data.
fn add(root: &Path, name: &str, cron: &str, more: &str) {
    write_job(root, name, cron, more);
    for system in ["crm", "shop"] {
        fs::write(root.join(format!("data/{name}-{system}.csv")), ROWS).unwrap();
    }
}

/// Adds a job with its data, and has its first contact at that time.
fn add_known(root: &Path, name: &str, cron: &str, more: &str, first: &str) {
    add(root, name, cron, more);
    let verdict = run_at(root, name, first, &|| false, true).verdict;
    assert_eq!(verdict, Verdict::Ok);
}

fn run_at(root: &Path, name: &str, now: &str, cancelled: &dyn Fn() -> bool, first_contact: bool) -> tieout::report::Report {
    let project = Project::find(Some(root)).unwrap();
    let job = project.job(name).unwrap();
    let now = || at(now);
    let world = World { root: &project.root, settings: &project.settings, now: &now, sleep: &|_| {}, progress: &|_| {}, cancelled };
    run::run(&world, &job, &Request { first_contact, ..Request::default() }).unwrap().report
}

fn of<'e>(events: &'e [Event], what: What, job: &str) -> Vec<&'e Event> {
    events.iter().filter(|event| event.event == what && event.job.as_deref() == Some(job)).collect()
}

fn messages(events: &[Event], what: What) -> Vec<String> {
    events.iter().filter(|event| event.event == what).map(|event| event.text()[21..].to_owned()).collect()
}

/// The reports of a job by the ids of their runs.
fn reports(root: &Path, job: &str) -> Vec<(String, Json)> {
    let Ok(entries) = fs::read_dir(root.join("reports").join(job)) else { return Vec::new() };
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
        .iter()
        .filter_map(|folder| {
            Some((folder.file_name()?.to_string_lossy().into_owned(), serde_json::from_slice(&fs::read(folder.join("report.json")).ok()?).ok()?))
        })
        .collect()
}

fn notes(report: &Json) -> Vec<String> {
    report["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap().to_owned()).collect()
}

fn mails(root: &Path) -> usize {
    fs::read_dir(root.join("reports/outbox")).map_or(0, |entries| entries.count())
}

fn slot(root: &Path, job: &str) -> Json {
    let document: Json = serde_json::from_slice(&fs::read(root.join("state/schedule.json")).unwrap()).unwrap();
    document["jobs"][job].clone()
}

#[test]
fn a_month_of_nights_has_a_run_each_also_when_clocks_change() {
    let root = root();
    // London leaves out 01:30 on 29 March; Berlin 02:30.
    add_known(root.path(), "london", "30 1 * * *", ", timezone = \"Europe/London\"", "2026-03-14T12:00:00Z");
    add_known(root.path(), "berlin", "30 2 * * 1-5", ", timezone = \"Europe/Berlin\"", "2026-03-14T12:00:00Z");
    let data = root.path().join("data");
    let end = at("2026-04-14T12:00:00Z");
    let events = served(root.path(), "2026-03-14T12:10:00Z", move |now| {
        // Every third day somebody edits one side, so that some nights have something to do.
        let day = now.as_second() / 86_400;
        if now.as_second() % 86_400 == 15 * 3_600 && day % 3 == 0 {
            fs::write(data.join("london-crm.csv"), ROWS.replace("Meier", &format!("Meier {day}"))).unwrap();
        }
        Some(now + minutes(10)).filter(|next| *next <= end)
    });
    let began: Vec<String> = of(&events, What::Began, "london").iter().map(|event| event.at.to_string()).collect();
    assert_eq!(began.len(), 31, "{began:?}");
    assert!(began.contains(&"2026-03-28T01:30:00Z".to_owned()) && began.contains(&"2026-03-29T01:00:00Z".to_owned()), "{began:?}");
    assert!(began.contains(&"2026-03-30T00:30:00Z".to_owned()), "{began:?}");
    let berlin: Vec<String> = of(&events, What::Began, "berlin").iter().map(|event| event.at.to_string()).collect();
    assert_eq!(berlin.len(), 22, "weekdays: {berlin:?}");
    assert!(berlin.contains(&"2026-03-27T01:30:00Z".to_owned()) && berlin.contains(&"2026-03-30T00:30:00Z".to_owned()), "{berlin:?}");
    for what in [What::Missed, What::Overlapped, What::Problem, What::Held, What::Broken, What::Clock] {
        assert_eq!(messages(&events, what), Vec::<String>::new());
    }
    // Never two of one job: begin and end take turns.
    let turns: Vec<What> =
        events.iter().filter(|e| e.job.as_deref() == Some("london") && matches!(e.event, What::Began | What::Ended)).map(|e| e.event).collect();
    assert!(turns.chunks(2).all(|turn| turn == [What::Began, What::Ended]), "{turns:?}");
    let verdicts: Vec<&str> = of(&events, What::Ended, "london").iter().filter_map(|event| event.verdict).collect();
    assert_eq!(verdicts.iter().filter(|verdict| **verdict == "SYNCED").count(), 11, "{verdicts:?}");
    assert_eq!(verdicts.iter().filter(|verdict| **verdict == "OK").count(), 20, "{verdicts:?}");
    assert_eq!(fs::read(root.path().join("data/london-crm.csv")).unwrap(), fs::read(root.path().join("data/london-shop.csv")).unwrap());
    assert_eq!(reports(root.path(), "london").len(), 32);
}

#[test]
fn what_was_missed_is_made_up_for_once_or_told() {
    let root = root();
    add_known(root.path(), "once", "0 2 * * *", "", "2026-06-01T12:00:00Z");
    add_known(root.path(), "skip", "0 3 * * *", ", missed = \"skip\"", "2026-06-01T12:00:00Z");
    served(root.path(), "2026-06-01T12:00:30Z", steps(minutes(30), "2026-06-02T12:00:00Z"));
    let before = mails(root.path());
    // The machine is off for three nights.
    let events = served(root.path(), "2026-06-05T12:00:10Z", steps(minutes(10), "2026-06-06T12:00:00Z"));
    let at_start = "2026-06-05T12:00:10Z";
    let began: Vec<String> = of(&events, What::Began, "once").iter().map(|event| event.at.to_string()).collect();
    assert_eq!(began[0], at_start);
    assert_eq!(began.len(), 2, "one run makes up for three, and the next night has its own: {began:?}");
    let began: Vec<String> = of(&events, What::Began, "skip").iter().map(|event| event.at.to_string()).collect();
    assert_eq!(began.len(), 1, "{began:?}");
    assert!(began[0].starts_with("2026-06-06T03:00"), "{began:?}");
    let (_, once) = &reports(root.path(), "once")[2];
    let sentence = "3 scheduled runs were missed between 2026-06-03 02:00 UTC and 2026-06-05 02:00 UTC; one run makes up for them";
    assert!(notes(once).contains(&sentence.to_owned()), "{:?}", notes(once));
    let (_, skip) = &reports(root.path(), "skip")[2];
    let sentence = "3 scheduled runs were missed between 2026-06-03 03:00 UTC and 2026-06-05 03:00 UTC; by the job file nothing makes up for them";
    assert!(notes(skip).contains(&sentence.to_owned()), "{:?}", notes(skip));
    // Both tell it by mail, though nothing else was wrong; and only once.
    assert_eq!(mails(root.path()), before + 2);
    assert!(reports(root.path(), "once")[3].1["notes"].as_array().unwrap().iter().all(|note| !note.as_str().unwrap().contains("missed")));
    assert_eq!(messages(&events, What::Missed).len(), 2);
}

#[test]
fn a_clock_that_jumps_loses_no_night_and_makes_none_twice() {
    let root = root();
    add_known(root.path(), "nights", "0 2 * * *", "", "2026-06-01T00:00:00Z");
    let mut plan = vec![
        "2026-06-01T02:00:00Z", // a night
        "2026-06-01T01:30:00Z", // back by half an hour: the night is not made again
        "2026-06-01T02:00:00Z",
        "2026-06-01T02:10:00Z",
        "2026-06-04T05:00:00Z", // three nights asleep
        "2026-06-05T02:00:20Z", // a night
        "2026-06-02T01:00:00Z", // back by days: the time before was wrong
        "2026-06-02T02:00:00Z", // a night
    ]
    .into_iter();
    let events = served(root.path(), "2026-06-01T01:59:00Z", move |_| plan.next().map(at));
    let began: Vec<String> = of(&events, What::Began, "nights").iter().map(|event| event.at.to_string()).collect();
    assert_eq!(began, ["2026-06-01T02:00:00Z", "2026-06-04T05:00:00Z", "2026-06-05T02:00:20Z", "2026-06-02T02:00:00Z"]);
    let missed = messages(&events, What::Missed);
    assert_eq!(missed, ["nights: 3 scheduled runs were missed between 2026-06-02 02:00 UTC and 2026-06-04 02:00 UTC; one run makes up for them"]);
    assert!(messages(&events, What::Clock).iter().any(|message| message.contains("set back by 3 days")), "{events:?}");
}

#[test]
fn a_due_time_within_a_run_is_noted_and_not_made_twice() {
    let root = root();
    add_known(root.path(), "slow", "* * * * *", "", "2026-06-01T00:00:00Z");
    let text = job("slow", "* * * * *", "").replace(
        "kind = \"csv\"\nrole = \"peer\"\npath = \"data/slow-shop.csv\"",
        "kind = \"sql\"\nrole = \"peer\"\nurl = \"sqlite:data/slow.db\"\ntable = \"shop\"",
    );
    fs::write(root.path().join("jobs/slow.toml"), text).unwrap();
    let database = root.path().join("data/slow.db");
    Connection::open(&database)
        .unwrap()
        .execute_batch("CREATE TABLE shop (Number TEXT PRIMARY KEY, Name TEXT); INSERT INTO shop VALUES ('0007', 'Müller')")
        .unwrap();
    fs::remove_dir_all(root.path().join("state")).unwrap();
    assert_eq!(run_at(root.path(), "slow", "2026-06-01T00:00:00Z", &|| false, true).verdict, Verdict::Synced);
    let holds = Connection::open(&database).unwrap();
    holds.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let overlaps = Arc::new(AtomicBool::new(true));
    let until_released = Arc::clone(&overlaps);
    let mut looks = 0;
    let events = served_over(root.path(), "2026-06-01T00:00:30Z", overlaps, move |now| {
        looks += 1;
        if looks == 5 {
            holds.execute_batch("ROLLBACK").unwrap();
            until_released.store(false, Ordering::Relaxed);
        }
        (looks <= 7).then(|| now + minutes(1))
    });
    assert_eq!(messages(&events, What::Overlapped).len(), 1, "{events:?}");
    let reports = reports(root.path(), "slow");
    let told: Vec<String> = reports.iter().flat_map(|(_, report)| notes(report)).filter(|note| note.contains("fell into")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("4 scheduled runs fell into the run before") && told[0].ends_with("between 2026-06-01 00:02 UTC and 2026-06-01 00:05 UTC"),
        "{told:?}"
    );
    // The runs never overlap: as many begin as end, in turns.
    let turns: Vec<What> = events.iter().filter(|e| matches!(e.event, What::Began | What::Ended)).map(|e| e.event).collect();
    assert!(turns.chunks(2).all(|turn| turn == [What::Began, What::Ended]), "{turns:?}");
}

#[test]
fn jobs_take_turns_and_the_earliest_due_goes_first() {
    for parallel in [1, 2] {
        let root = root();
        for (name, cron) in [("a", "0 2 * * *"), ("b", "0 2 * * *"), ("c", "59 1 * * *")] {
            add_known(root.path(), name, cron, "", "2026-06-01T00:00:00Z");
        }
        fs::write(root.path().join("tieout.toml"), format!("[serve]\nparallel = {parallel}\n")).unwrap();
        let mut plan = vec!["2026-06-01T02:00:30Z", "2026-06-01T02:01:00Z"].into_iter();
        let events = served(root.path(), "2026-06-01T01:00:00Z", move |_| plan.next().map(at));
        let mut under_way = 0_i32;
        let mut most = 0;
        for event in &events {
            under_way += i32::from(event.event == What::Began) - i32::from(event.event == What::Ended);
            most = most.max(under_way);
        }
        assert_eq!(most, parallel);
        let began: Vec<&str> = events.iter().filter(|event| event.event == What::Began).filter_map(|event| event.job.as_deref()).collect();
        // What is late by more than a minute is missed, and still made up for.
        assert_eq!(began, ["c", "a", "b"], "parallel {parallel}");
    }
}

#[test]
fn job_files_are_read_again_and_a_broken_one_is_told_once() {
    let root = root();
    add_known(root.path(), "kept", "*/5 * * * *", "", "2026-06-01T00:00:00Z");
    add_known(root.path(), "moved", "0 2 * * *", "", "2026-06-01T00:00:00Z");
    let path = root.path().to_owned();
    let mut second = 0;
    let events = served(root.path(), "2026-06-01T00:00:00Z", move |now| {
        second += 1;
        match second {
            10 => add(&path, "late", "0 2 * * *", ""),
            20 => write_job(&path, "moved", "10 0 * * *", ""),
            30 => fs::write(path.join("jobs/kept.toml"), "name = \"kept\"\nkye = 1\n").unwrap(),
            40 => fs::write(path.join("jobs/late.toml"), b"\xff\xfe").unwrap(),
            330 => write_job(&path, "kept", "*/5 * * * *", ""),
            // An editor takes the file away for an instant.
            340 => fs::rename(path.join("jobs/kept.toml"), path.join("jobs/kept.toml~")).unwrap(),
            350 => fs::rename(path.join("jobs/kept.toml~"), path.join("jobs/kept.toml")).unwrap(),
            400 => fs::remove_file(path.join("jobs/late.toml")).unwrap(),
            // Of the same size and time: only the content tells, and it is read before a run.
            550 => {
                let file = path.join("jobs/moved.toml");
                let time = fs::metadata(&file).unwrap().modified().unwrap();
                write_job(&path, "moved", "12 0 * * *", "");
                fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
            }
            _ => {}
        }
        (second <= 900).then(|| now + SignedDuration::from_secs(1))
    });
    let began = |job: &str| -> Vec<String> { of(&events, What::Began, job).iter().map(|event| event.at.strftime("%H:%M:%S").to_string()).collect() };
    assert_eq!(began("kept"), ["00:05:00", "00:10:00", "00:15:00"], "the last good file goes on: {events:#?}");
    assert_eq!(began("moved"), ["00:10:00", "00:12:00"]);
    let broken = messages(&events, What::Broken);
    assert_eq!(broken.len(), 2, "{broken:#?}");
    assert!(broken[0].starts_with("jobs/kept.toml:2:1: unknown key `kye`") || broken[0].contains("kye"), "{broken:?}");
    assert!(broken[1].contains("late.toml") && broken[1].contains("UTF-8"), "{broken:?}");
    let read = messages(&events, What::Read);
    assert!(read.iter().any(|line| line == "late: a new job: next due at 2026-06-01 02:00 UTC"), "{read:#?}");
    assert!(read.iter().any(|line| line == "moved: its file was changed: next due at 2026-06-01 00:10 UTC"), "{read:#?}");
    assert_eq!(messages(&events, What::Mended), ["jobs/kept.toml: nothing is wrong any more"]);
    assert_eq!(messages(&events, What::Removed), ["late: its file is gone: it is not run any more"]);
    assert_eq!(messages(&events, What::Missed), Vec::<String>::new());
}

#[test]
fn a_job_that_is_new_and_settings_that_change_are_kept_at_once() {
    let root = root();
    add_known(root.path(), "first", "0 2 * * *", "", "2026-06-01T00:00:00Z");
    let path = root.path().to_owned();
    let mut second = 0;
    let events = served(root.path(), "2026-06-01T00:00:00Z", move |now| {
        second += 1;
        match second {
            3 => add(&path, "new", "0 2 * * *", ""),
            8 => fs::write(path.join("tieout.toml"), "[serve]\nparallel = 0\n").unwrap(),
            12 => fs::write(path.join("tieout.toml"), "state = \"elsewhere\"\n[serve]\nparallel = 2\n").unwrap(),
            16 => fs::write(path.join("tieout.toml"), "[serve]\nparallel = 2\n").unwrap(),
            20 => fs::rename(path.join("jobs"), path.join("away")).unwrap(),
            24 => fs::rename(path.join("away"), path.join("jobs")).unwrap(),
            _ => {}
        }
        (second <= 30).then(|| now + SignedDuration::from_secs(1))
    });
    let broken = messages(&events, What::Broken);
    assert_eq!(broken.len(), 3, "{broken:#?}");
    assert!(broken[0].starts_with("tieout.toml:2:12: `serve.parallel` must lie between 1 and 16"), "{broken:?}");
    assert!(broken[1].starts_with("`state` is `elsewhere` now: `serve` goes on with `state`"), "{broken:?}");
    assert!(broken[2].contains("jobs: there is no such folder"), "{broken:?}");
    let mended = messages(&events, What::Mended);
    assert_eq!(mended, ["tieout.toml: nothing is wrong any more", "jobs: nothing is wrong any more"]);
    assert_eq!(messages(&events, What::Removed), Vec::<String>::new());
    // The machine goes off before the first night of the new job: that night is not forgotten.
    let events = served(root.path(), "2026-06-01T09:00:00Z", |_| None);
    assert!(messages(&events, What::Missed).iter().any(|line| line.starts_with("new: 1 scheduled run was missed at 2026-06-01 02:00 UTC")), "{events:#?}");
}

#[test]
fn a_schedule_that_changes_while_nobody_serves_still_owes_what_it_promised() {
    let root = root();
    add_known(root.path(), "nights", "0 2 * * *", "", "2026-06-01T00:00:00Z");
    served(root.path(), "2026-06-01T01:00:00Z", steps(minutes(30), "2026-06-01T03:00:00Z"));
    write_job(root.path(), "nights", "0 4 1 * *", "");
    let events = served(root.path(), "2026-06-03T12:00:00Z", steps(minutes(30), "2026-06-03T13:00:00Z"));
    assert_eq!(of(&events, What::Began, "nights").len(), 1);
    let reports = reports(root.path(), "nights");
    let told = notes(&reports.last().unwrap().1);
    assert!(told.iter().any(|note| note.starts_with("2 scheduled runs were missed between 2026-06-02 02:00 UTC")), "{told:?}");
}

#[test]
fn a_lock_that_is_held_is_tried_again_until_the_next_due_time() {
    let root = root();
    add_known(root.path(), "nights", "0 * * * *", "", "2026-06-01T00:30:00Z");
    let lock = root.path().join("state/nights/lock");
    let mut holders = Vec::new();
    let mut minute = 0;
    let events = served(root.path(), "2026-06-01T00:59:00Z", move |now| {
        minute += 1;
        match minute {
            1 => holders.push(tieout::disk::lock(&lock, "a person").unwrap()),
            4 => holders.clear(),
            // All of the second hour, and into the third.
            20 => holders.push(tieout::disk::lock(&lock, "a person").unwrap()),
            125 => holders.clear(),
            _ => {}
        }
        (minute <= 130).then(|| now + minutes(1))
    });
    let ended: Vec<String> = of(&events, What::Ended, "nights").iter().map(|event| event.at.strftime("%H:%M").to_string()).collect();
    assert_eq!(ended, ["01:03", "03:04"], "{events:#?}");
    assert_eq!(of(&events, What::Held, "nights").len(), 3, "once a due time: {events:#?}");
    assert!(of(&events, What::Held, "nights")[0].message.contains("another run holds the lock: a person"));
    let reports = reports(root.path(), "nights");
    let told = notes(&reports.last().unwrap().1);
    assert!(told.contains(&"1 scheduled run was missed at 2026-06-01 02:00 UTC; one run makes up for it".to_owned()), "{told:?}");
}

#[test]
fn a_first_contact_is_never_accepted() {
    let root = root();
    add(root.path(), "new", "0 2 * * *", "");
    fs::write(root.path().join("data/new-shop.csv"), "Number,Name\n").unwrap();
    let events = served(root.path(), "2026-06-01T01:59:00Z", steps(minutes(1), "2026-06-01T02:05:00Z"));
    assert_eq!(of(&events, What::Ended, "new")[0].verdict, Some("ACTION"));
    assert_eq!(fs::read_to_string(root.path().join("data/new-shop.csv")).unwrap(), "Number,Name\n");
}

#[test]
fn a_run_without_a_report_is_a_problem_until_one_is_made() {
    let root = root();
    add_known(root.path(), "nights", "0 2 * * *", "", "2026-06-01T00:00:00Z");
    let ledger = root.path().join("state/nights/ledger.sqlite");
    let good = fs::read(&ledger).unwrap();
    fs::write(&ledger, b"not a database, not a database, not a database").unwrap();
    let events = served(root.path(), "2026-06-01T01:59:00Z", steps(minutes(1), "2026-06-01T02:05:00Z"));
    assert!(messages(&events, What::Problem)[0].starts_with("nights: no run was made: "), "{events:?}");
    assert!(slot(root.path(), "nights")["problem"].as_str().unwrap().contains("the ledger is damaged"));
    let shown = tieout(root.path(), &["status"]);
    assert_eq!(shown.status.code(), Some(1));
    for name in ["ledger.sqlite-wal", "ledger.sqlite-shm"] {
        let _ = fs::remove_file(root.path().join("state/nights").join(name));
    }
    fs::write(&ledger, good).unwrap();
    let events = served(root.path(), "2026-06-02T01:59:00Z", steps(minutes(1), "2026-06-02T02:05:00Z"));
    assert_eq!(of(&events, What::Ended, "nights").len(), 1);
    let told = notes(&reports(root.path(), "nights").last().unwrap().1);
    assert!(told.iter().any(|note| note.starts_with("1 scheduled run was missed at 2026-06-01 02:00 UTC")), "{told:?}");
    assert_eq!(slot(root.path(), "nights")["problem"], Json::Null);
}

#[test]
fn a_run_that_is_asked_to_stop_has_written_nothing() {
    for ask in 0.. {
        let root = root();
        add_known(root.path(), "nights", "0 2 * * *", "", "2026-06-01T00:00:00Z");
        fs::write(root.path().join("data/nights-crm.csv"), ROWS.replace("Meier", "Meyer")).unwrap();
        let asked = std::cell::Cell::new(0);
        let cancelled = || asked.replace(asked.get() + 1) >= ask;
        let report = run_at(root.path(), "nights", "2026-06-02T00:00:00Z", &cancelled, false);
        if report.verdict == Verdict::Synced {
            assert!(ask >= 4, "it is asked before and after the pull, and before the first write");
            break;
        }
        assert_eq!((report.verdict, report.exit_code), (Verdict::Failed, 3));
        assert_eq!(report.sentence, "stopped on request before writing; nothing was written");
        assert_eq!(fs::read_to_string(root.path().join("data/nights-shop.csv")).unwrap(), ROWS);
        let after = run_at(root.path(), "nights", "2026-06-03T00:00:00Z", &|| false, false);
        assert_eq!((after.verdict, after.changes.len()), (Verdict::Synced, 1), "stopped when asked for the {ask}. time");
    }
}

// ── the real process ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/// A `serve` of its own, ended with the test.
struct Process {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Process {
    fn start(root: &Path, args: &[&str]) -> Process {
        let mut child = Command::new(program()).arg("serve").args(args).current_dir(root).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = std::sync::mpsc::channel();
        let errors = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || errors.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        Process { child, lines, seen: Vec::new() }
    }

    /// Waits for a line that says this.
    fn wait_for(&mut self, part: &str) -> String {
        let patience = Instant::now();
        while patience.elapsed() < Duration::from_secs(120) {
            if let Ok(line) = self.lines.recv_timeout(Duration::from_millis(200)) {
                self.seen.push(line.clone());
                if line.contains(part) {
                    return line;
                }
            }
        }
        panic!("no line says `{part}`: {:#?}", self.seen);
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// The exit code, and everything it said.
    fn end(mut self) -> (Option<i32>, Vec<String>) {
        let patience = Instant::now();
        let code = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code();
            }
            assert!(patience.elapsed() < Duration::from_secs(120), "it does not end: {:#?}", self.seen);
            std::thread::sleep(Duration::from_millis(50));
        };
        while let Ok(line) = self.lines.recv_timeout(Duration::from_millis(500)) {
            self.seen.push(line);
        }
        let mut out = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        assert_eq!(out, "", "everything is told on standard error");
        (code, std::mem::take(&mut self.seen))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn accept(root: &Path, job: &str) {
    let output = tieout(root, &["run", job, "--first-contact"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

fn json(root: &Path, args: &[&str]) -> (Option<i32>, Json) {
    let output = tieout(root, &[args, &["--json"]].concat());
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}")))
}

#[test]
fn the_process_serves_reads_again_and_stops() {
    let root = root();
    add(root.path(), "ticks", "* * * * * *", "");
    accept(root.path(), "ticks");
    let mut process = Process::start(root.path(), &[]);
    process.wait_for("serves 1 job, 1 at a time");
    process.wait_for("ticks: run ");
    process.wait_for("ticks: run ");
    let (code, history) = json(root.path(), &["history"]);
    assert_eq!(code, Some(0));
    assert!(history.as_array().unwrap().len() >= 3, "{history}");

    let (code, status) = json(root.path(), &["status"]);
    assert_eq!(code, Some(0), "{status}");
    assert!(status["serve"].as_str().unwrap().starts_with(&format!("process {} since", process.child.id())), "{status}");
    assert_eq!(status["jobs"][0]["schedule"]["cron"], "* * * * * *");

    let second = tieout(root.path(), &["serve"]);
    assert_eq!(second.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&second.stderr).contains(&format!("held by process {} since", process.child.id())), "{second:?}");

    // An edit is carried over by the next run.
    fs::write(root.path().join("data/ticks-crm.csv"), ROWS.replace("Meier", "Meyer")).unwrap();
    process.wait_for("SYNCED");
    assert!(fs::read_to_string(root.path().join("data/ticks-shop.csv")).unwrap().contains("Meyer"));

    // A broken file is told, and what was right goes on.
    let good = job("ticks", "* * * * * *", "");
    fs::write(root.path().join("jobs/ticks.toml"), good.replace("role = \"peer\"", "role = \"pear\"")).unwrap();
    process.wait_for("jobs/ticks.toml:7:8: ");
    process.wait_for("ticks: run ");
    let (code, status) = json(root.path(), &["status"]);
    assert_eq!(code, Some(1));
    assert!(status["jobs"][0]["broken"].as_str().unwrap().starts_with("jobs/ticks.toml:7:8"), "{status}");
    fs::write(root.path().join("jobs/ticks.toml"), job("ticks", "0 0 2 * * *", "")).unwrap();
    process.wait_for("nothing is wrong any more");
    // Nothing is due any more: the last run comes to its end.
    std::thread::sleep(Duration::from_secs(1));
    let patience = Instant::now();
    while slot(root.path(), "ticks")["pending"].is_object() && patience.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(100));
    }
    process.signal("-TERM");
    let (code, seen) = process.end();
    assert_eq!(code, Some(0), "{seen:#?}");
    assert!(seen.last().unwrap().ends_with(" stopped"), "{seen:#?}");
    let (code, status) = json(root.path(), &["status"]);
    assert_eq!((code, &status["serve"]), (Some(0), &Json::Null), "{status}");
}

#[test]
fn a_process_that_is_asked_to_stop_within_a_run_writes_nothing_and_owes_the_run() {
    let root = root();
    add(root.path(), "slow", "* * * * * *", "");
    let text = job("slow", "* * * * * *", ", missed = \"run-once\"").replace(
        "kind = \"csv\"\nrole = \"peer\"\npath = \"data/slow-shop.csv\"",
        "kind = \"sql\"\nrole = \"peer\"\nurl = \"sqlite:data/slow.db\"\ntable = \"shop\"",
    );
    fs::write(root.path().join("jobs/slow.toml"), text).unwrap();
    let database = root.path().join("data/slow.db");
    let holder = Connection::open(&database).unwrap();
    holder.execute_batch("CREATE TABLE shop (Number TEXT PRIMARY KEY, Name TEXT); INSERT INTO shop VALUES ('0007', 'Müller')").unwrap();
    accept(root.path(), "slow");
    fs::write(root.path().join("data/slow-crm.csv"), ROWS.replace("Meier", "Meyer")).unwrap();
    // A program keeps the database for itself: the run waits in its pull.
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let mut process = Process::start(root.path(), &["--log", "json"]);
    process.wait_for("\"event\":\"began\"");
    let runner = format!("process {} since", process.child.id());
    let patience = Instant::now();
    loop {
        let (code, status) = json(root.path(), &["status"]);
        if status["jobs"][0]["running"].as_str().is_some_and(|running| running.starts_with(&runner)) {
            assert_eq!(code, Some(0), "a run that is under way needs nobody: {status}");
            break;
        }
        assert!(patience.elapsed() < Duration::from_secs(60), "{status}");
    }
    process.signal("-TERM");
    process.wait_for("\"event\":\"stopping\"");
    holder.execute_batch("ROLLBACK").unwrap();
    let (code, seen) = process.end();
    assert_eq!(code, Some(0), "{seen:#?}");
    assert!(seen.iter().all(|line| serde_json::from_str::<Json>(line).is_ok_and(|event| event["at"].is_string())), "{seen:#?}");
    let (id, report) = reports(root.path(), "slow").pop().unwrap();
    assert_eq!(report["sentence"], "stopped on request before writing; nothing was written", "{id}");
    let names: String = holder.query_row("SELECT group_concat(Name) FROM shop", [], |row| row.get(0)).unwrap();
    assert!(!names.contains("Meyer"), "{names}");
    assert!(slot(root.path(), "slow")["pending"].is_object(), "the run is still owed");

    // A second request ends the process at once, even within a run; the next one goes on from there.
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let mut process = Process::start(root.path(), &[]);
    process.wait_for("a run begins");
    process.signal("-INT");
    process.wait_for("asked to stop");
    process.signal("-INT");
    let (code, _) = process.end();
    assert_eq!(code, Some(130));
    holder.execute_batch("ROLLBACK").unwrap();
    let after = tieout(root.path(), &["run", "slow"]);
    assert_eq!(after.status.code(), Some(0), "{after:?}");
    let names: String = holder.query_row("SELECT group_concat(Name) FROM shop", [], |row| row.get(0)).unwrap();
    assert!(names.contains("Meyer"), "{names}");
}

#[test]
fn status_tells_each_job_in_a_line() {
    let root = root();
    add(root.path(), "fine", "0 2 * * *", ", timezone = \"Europe/London\"");
    accept(root.path(), "fine");
    let shown = tieout(root.path(), &["status"]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(shown.status.code(), Some(0), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "serve: not running");
    assert!(lines[1].starts_with("fine  OK ") && lines[1].contains(" ago · next at ") && lines[1].ends_with(" 02:00 Europe/London (`0 2 * * *`)"), "{text}");

    add(root.path(), "new", "0 2 * * *", "");
    fs::write(root.path().join("jobs/plain.toml"), job("plain", "0 2 * * *", "").replace("schedule = ", "# ")).unwrap();
    fs::write(root.path().join("jobs/wrong.toml"), job("wrong", "0 2 31 2 *", "")).unwrap();
    let shown = tieout(root.path(), &["status"]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(shown.status.code(), Some(1), "{text}");
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}")).to_owned();
    assert!(line("new").contains("never ran") && line("new").contains("`tieout run new --first-contact`"), "{text}");
    assert!(line("plain").contains("no schedule"), "{text}");
    assert!(line("wrong").contains("BROKEN: jobs/wrong.toml:3:21: `0 2 31 2 *` is not a schedule: it never comes"), "{text}");
}

#[test]
fn status_knows_what_is_overdue_with_and_without_a_serve() {
    let root = root();
    add_known(root.path(), "nights", "0 2 * * *", "", "2026-06-01T00:00:00Z");
    let project = Project::find(Some(root.path())).unwrap();
    let at_time = |now: &str| serve::status(&project, at(now)).unwrap().jobs.remove(0);
    // By the last run alone, as where cron starts the runs.
    assert!(at_time("2026-06-01T02:00:30Z").needs.is_empty(), "a run may take a minute to begin");
    let late = at_time("2026-06-03T12:00:00Z");
    assert_eq!(late.needs, ["it is overdue since 2026-06-01 02:00 UTC"]);
    assert_eq!(late.schedule.unwrap().missed.unwrap().count, 3);
    run_at(root.path(), "nights", "2026-06-03T12:00:00Z", &|| false, false);
    assert!(at_time("2026-06-03T12:00:30Z").needs.is_empty());
    // By what `serve` dealt with: a night that was skipped is told, and is not overdue.
    write_job(root.path(), "nights", "0 2 * * *", ", missed = \"skip\"");
    served(root.path(), "2026-06-04T01:00:00Z", {
        let mut plan = vec!["2026-06-04T02:30:00Z"].into_iter();
        move |_| plan.next().map(at)
    });
    let skipped = at_time("2026-06-04T03:00:00Z");
    assert_eq!((skipped.needs, skipped.schedule.unwrap().missed.unwrap().count), (Vec::<String>::new(), 1));
    assert_eq!(at_time("2026-06-05T03:00:00Z").needs, ["it is overdue since 2026-06-05 02:00 UTC"]);
}
