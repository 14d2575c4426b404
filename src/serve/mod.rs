//! Runs every job of a root by its schedule, for ever.
//!
//! # Words
//! A due time is *missed* if nobody could make its run when it came: the machine was off or asleep, `serve` was stopped, or
//! somebody else held the job's lock all the while. It is *overlapped* if it fell into the run before it, or into the wait
//! for a free place. A run that is *pending* is due and has not come to its end.
//!
//! # What holds
//! - One run of a job at a time, and no more side by side than `serve.parallel`; the earliest due first, then by name.
//! - No due time is lost: each has its run, or is told as missed or overlapped in the report of the next one. With
//!   `missed = "run-once"` one run makes up for all that were missed; with `"skip"` they are only told.
//! - A run that was cut off, or stopped on request, counts as missed.
//! - A lock that is held is tried again every minute until the next due time.
//! - A first contact is never accepted, and no gate is opened.
//! - A clock that goes back makes no run twice, up to an hour. If it goes back further, the schedule starts from the new time.
//! - Job files are read again when they change. What is wrong in one is told once, and what was last right goes on.
//! - Asked to stop, it starts nothing more. A run that has not written yet stops; one that writes goes to its end.
//!
//! # Design
//! One thread decides, in `Server::tick`: what it knows is in one place and needs no lock. Runs are on threads of their own
//! (Polars blocks) and come back as a [`Signal`]. Time comes only from the [`Clock`], which a test can be.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};

use jiff::{SignedDuration, Timestamp};

use crate::diagnostic::Place;
use crate::disk;
use crate::error::{Error, Remedy};
use crate::job::{Job, JobFile};
use crate::project::Project;
use crate::reconcile::gates;
use crate::run::{self, Finished, Request, World};
use crate::schedule::{COUNT_MAX, Due, Timetable};

mod clock;
mod event;
mod slots;
mod status;
mod watch;

pub use clock::{Clock, Signal, SystemClock};
pub use event::{Event, What};
pub use status::{JobStatus, LastRun, Scheduled, Status, status};

use event::told;
use slots::{Slot, Slots};
use watch::Watch;

/// A run that starts later than this after its due time was missed, and is made up for.
const LATE_MAX: SignedDuration = SignedDuration::from_secs(60);
/// How long to wait before a lock that was held is tried again.
const RETRY: SignedDuration = SignedDuration::from_secs(60);
/// A clock that goes back further than this has been wrong before.
const BACK_MAX: SignedDuration = SignedDuration::from_hours(1);
/// A clock that goes forward further than this between two looks is worth a line.
const FORWARD_MAX: SignedDuration = SignedDuration::from_mins(10);

/// The lock that one `serve` of a root holds.
const LOCK: &str = "serve.lock";

/// What is told of the folder of job files as a whole.
const JOBS: &str = "jobs";

/// A run that ended.
#[derive(Debug)]
pub struct Ended {
    job: String,
    result: Result<Finished, Error>,
}

/// Runs the jobs of a root by their schedules until it is asked to stop and no run is under way any more.
///
/// # Errors
/// `Wait` if another `serve` has this root, `MendJob` if there is no folder of job files, `Look` if what is known of past
/// schedules is damaged, `GiveAccess` if the state folder cannot be used. Nothing later ends it.
pub fn serve(project: Project, clock: &Arc<dyn Clock>, log: &dyn Fn(&Event)) -> Result<(), Error> {
    let state = project.root.join(&project.settings.state);
    project.job_paths()?;
    disk::create_dir_private(&state)?;
    let holder = format!("process {} since {}", std::process::id(), clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"));
    let _lock = disk::lock(&state.join(LOCK), &holder).map_err(|error| if error.remedy == Remedy::Wait { second(&project, &error) } else { error })?;
    let slots = Slots::read(&state)?;
    let (sender, signals) = channel();
    let mut server = Server {
        project: Arc::new(project),
        clock: Arc::clone(clock),
        log,
        signals: sender.clone(),
        slots,
        jobs: BTreeMap::new(),
        running: BTreeMap::new(),
        broken: BTreeMap::new(),
        watch: Watch::default(),
        has_begun: false,
        is_unsaved: true,
        cannot_save: false,
        should_stop: Arc::default(),
        looked: clock.now(),
    };
    server.begin();
    clock.start(sender)?;
    server.tick();
    loop {
        match clock.receive(&signals, server.running.len()) {
            Signal::Tick => server.tick(),
            Signal::Ended(ended) => server.ended(*ended),
            Signal::Stop => server.stop(),
        }
        if server.is_stopping() && server.running.is_empty() {
            server.tell(What::Stopped, None, "stopped");
            return Ok(());
        }
    }
}

fn second(project: &Project, held: &Error) -> Error {
    let root = if project.root.as_os_str().is_empty() { ".".to_owned() } else { project.root.display().to_string() };
    let holder = held.diagnostics.iter().flat_map(|d| &d.seen).find(|line| line.starts_with("held by")).cloned().unwrap_or_default();
    Error::new(Remedy::Wait, Place::of(root), "another `tieout serve` runs the jobs of this root")
        .seen(holder)
        .seen("no run was started")
        .hint("one is enough: stop that one first if it should be this one")
}

/// A job with its schedule.
struct Served {
    job: Arc<Job>,
    timetable: Timetable,
    run_missed_once: bool,
    /// Not before this: its lock was held.
    retry_at: Option<Timestamp>,
    /// The due time for which it was told that the lock is held.
    held: Option<Timestamp>,
    /// Since when there is no such file. An editor may take it away for an instant.
    gone_since: Option<Timestamp>,
}

/// A run that is under way.
struct Running {
    /// The due times that its report tells as overlapped.
    told: Option<Due>,
}

struct Server<'a> {
    project: Arc<Project>,
    clock: Arc<dyn Clock>,
    log: &'a dyn Fn(&Event),
    signals: Sender<Signal>,
    slots: Slots,
    jobs: BTreeMap<String, Served>,
    running: BTreeMap<String, Running>,
    /// What was told of files that cannot be used, by the file.
    broken: BTreeMap<String, String>,
    watch: Watch,
    /// Whether the files were read for the first time.
    has_begun: bool,
    /// Whether the slots have changed since they were saved.
    is_unsaved: bool,
    /// Whether it was told that they cannot be saved.
    cannot_save: bool,
    should_stop: Arc<AtomicBool>,
    /// When the schedules were looked at last.
    looked: Timestamp,
}

impl Server<'_> {
    fn tell(&self, event: What, job: Option<&str>, message: impl Into<String>) {
        let at = self.clock.now();
        (self.log)(&Event { at, event, job: job.map(str::to_owned), run: None, verdict: None, message: message.into() });
    }

    fn is_stopping(&self) -> bool {
        self.should_stop.load(Ordering::Acquire)
    }

    /// Reads the jobs, and finds what was missed since the last stop.
    fn begin(&mut self) {
        let now = self.clock.now();
        self.read_files(true);
        self.slots.jobs.retain(|name, _| self.jobs.contains_key(name) || self.broken.keys().any(|path| is_file_of(path, name)));
        let names: Vec<String> = self.jobs.keys().cloned().collect();
        for name in &names {
            let (Some(served), Some(slot)) = (self.jobs.get(name), self.slots.jobs.get_mut(name)) else { continue };
            // A run that was under way or waited when the last `serve` ended.
            if let Some(pending) = slot.pending
                && now.duration_since(pending.last) > LATE_MAX
            {
                slot.miss(pending);
                slot.pending = served.run_missed_once.then(|| Due::at(pending.last));
                let missed = slot.missed.unwrap_or(pending);
                let what = missed_sentence(&missed, &served.timetable, served.run_missed_once);
                self.tell(What::Missed, Some(name), what);
            }
        }
        self.has_begun = true;
        let count = self.jobs.len();
        let (jobs, parallel) = (if count == 1 { "job" } else { "jobs" }, self.project.settings.serve_parallel);
        self.tell(What::Serving, None, format!("process {} serves {count} {jobs}, {parallel} at a time", std::process::id()));
        for (name, served) in &self.jobs {
            self.tell(What::Read, Some(name), next_sentence(&served.timetable, now));
        }
        self.save();
    }

    /// Looks at everything once: the clock, what is due, the files, what can start.
    fn tick(&mut self) {
        let now = self.clock.now();
        if self.is_stopping() {
            return;
        }
        self.look_at_the_clock(now);
        let names: Vec<String> = self.jobs.keys().cloned().collect();
        for name in &names {
            self.find_due(name, now);
        }
        self.read_files(self.will_start(now));
        self.forget_gone(now);
        self.save();
        self.start_due(now);
    }

    fn look_at_the_clock(&mut self, now: Timestamp) {
        let went = now.duration_since(self.looked);
        if went > FORWARD_MAX {
            self.tell(What::Clock, None, format!("{} went by without a look at the schedules: the machine slept, or the clock was set", span(went)));
        }
        if went < SignedDuration::from_secs(-1) {
            self.tell(What::Clock, None, format!("the clock was set back by {}", span(went.abs())));
        }
        self.looked = now;
        for (name, slot) in &mut self.slots.jobs {
            if slot.handled.duration_since(now) > BACK_MAX {
                slot.handled = now;
                self.is_unsaved = true;
                (self.log)(&Event {
                    at: now,
                    event: What::Clock,
                    job: Some(name.clone()),
                    run: None,
                    verdict: None,
                    message: "the schedule starts again from this time".to_owned(),
                });
            }
        }
        for served in self.jobs.values_mut() {
            served.retry_at = served.retry_at.map(|retry| retry.min(now.saturating_add(RETRY).unwrap_or(retry)));
        }
    }

    /// Deals with the due times of a job up to now.
    fn find_due(&mut self, name: &str, now: Timestamp) {
        let (Some(served), Some(slot)) = (self.jobs.get_mut(name), self.slots.jobs.get_mut(name)) else { return };
        let timetable = &served.timetable;
        let Some(all) = timetable.due(slot.handled, now) else { return };
        let edge = now.saturating_sub(LATE_MAX).unwrap_or(now).clamp(slot.handled, now);
        let (late, punctual) = (timetable.due(slot.handled, edge), timetable.due(edge, now));
        slot.handled = now;
        self.is_unsaved = true;
        if self.running.contains_key(name) {
            let is_first = slot.overlapped.is_none();
            slot.overlap(all);
            // One line a run is enough.
            let message = is_first.then(|| format!("due at {} while its last run is still under way: not made twice", timetable.shown(all.first)));
            if let Some(message) = message {
                self.tell(What::Overlapped, Some(name), message);
            }
            return;
        }
        // What waits for its turn gives way to what is due now.
        if let Some(pending) = slot.pending.take() {
            let makes_up = slot.missed.is_some_and(|missed| missed.last >= pending.last);
            match served.retry_at.take() {
                Some(_) => slot.miss(pending),
                None if makes_up => {}
                None => slot.overlap(pending),
            }
        }
        if let Some(late) = late {
            slot.miss(late);
        }
        slot.pending = match (punctual, late) {
            (Some(punctual), _) => Some(Due::at(punctual.last)),
            (None, Some(late)) if served.run_missed_once => Some(Due::at(late.last)),
            (None, _) => None,
        };
        let missed = slot.missed.filter(|_| late.is_some()).map(|missed| missed_sentence(&missed, timetable, served.run_missed_once));
        if let Some(missed) = missed {
            self.tell(What::Missed, Some(name), missed);
        }
    }

    fn can_start(&self, name: &str, now: Timestamp) -> bool {
        let is_pending = self.slots.jobs.get(name).is_some_and(|slot| slot.pending.is_some());
        let may = self.jobs.get(name).is_some_and(|served| served.gone_since.is_none() && served.retry_at.is_none_or(|retry| retry <= now));
        is_pending && may && !self.running.contains_key(name)
    }

    /// Whether a run is about to start: it works with its file as it is then.
    fn will_start(&self, now: Timestamp) -> bool {
        self.running.len() < self.project.settings.serve_parallel && self.jobs.keys().any(|name| self.can_start(name, now))
    }

    /// Starts what is due, as far as there are free places.
    fn start_due(&mut self, now: Timestamp) {
        let mut waiting: Vec<(Timestamp, String)> = self
            .jobs
            .keys()
            .filter(|name| self.can_start(name, now))
            .filter_map(|name| Some((self.slots.jobs.get(name)?.pending?.last, name.clone())))
            .collect();
        waiting.sort();
        for (_, name) in waiting {
            if self.is_stopping() || self.running.len() >= self.project.settings.serve_parallel {
                return;
            }
            self.start(&name);
        }
    }

    fn start(&mut self, name: &str) {
        // A run would find the same; this way nothing is begun that cannot go on.
        if let Ok(Some(holder)) = disk::lock_holder(&self.project.state_folder(name).join("lock")) {
            return self.hold(name, &format!("another run holds the lock: {holder}"));
        }
        let (Some(served), Some(slot)) = (self.jobs.get_mut(name), self.slots.jobs.get_mut(name)) else { return };
        let Some(pending) = slot.pending else { return };
        let timetable = &served.timetable;
        served.retry_at = None;
        let overlapped = slot.overlapped.take();
        let mut notes: Vec<String> = slot.missed.iter().map(|missed| missed_sentence(missed, timetable, served.run_missed_once)).collect();
        notes.extend(overlapped.iter().map(|due| overlapped_sentence(due, timetable)));
        let request = Request { notes, must_mail: slot.missed.is_some(), ..Request::default() };
        let message = format!("a run begins, due at {}", timetable.shown(pending.last));
        let (project, job, clock) = (Arc::clone(&self.project), Arc::clone(&served.job), Arc::clone(&self.clock));
        let (signals, should_stop) = (self.signals.clone(), Arc::clone(&self.should_stop));
        let name = name.to_owned();
        self.tell(What::Began, Some(&name), message);
        self.running.insert(name.clone(), Running { told: overlapped });
        let in_thread = name.clone();
        let thread = std::thread::Builder::new().name(format!("run {name}")).spawn(move || {
            let made = std::panic::catch_unwind(AssertUnwindSafe(|| make(&project, &job, &request, &*clock, &should_stop)));
            let result = made.unwrap_or_else(|_| {
                Err(Error::new(Remedy::Look, Place::of(&in_thread), "the run ended in a way that this program does not know")
                    .seen("what it had written by then is settled by the next run")
                    .hint("please report it"))
            });
            // Whoever no longer receives has ended, and this process with it.
            let _ = signals.send(Signal::Ended(Box::new(Ended { job: in_thread, result })));
        });
        if let Err(error) = thread {
            let error = Error::new(Remedy::GiveAccess, Place::of(&name), "no thread can be made for the run").seen(error.to_string());
            self.ended(Ended { job: name, result: Err(error) });
        }
    }

    /// Takes in what became of a run.
    fn ended(&mut self, ended: Ended) {
        let now = self.clock.now();
        let Ended { job: name, result } = ended;
        let Some(running) = self.running.remove(&name) else { return };
        self.tell_end(&name, &result);
        self.is_unsaved = true;
        // A job whose file is gone is forgotten with all that was known of it.
        if let Some(slot) = self.slots.jobs.get_mut(&name) {
            match result {
                Ok(finished) if !finished.was_cancelled => {
                    slot.pending = None;
                    slot.missed = None;
                    slot.problem = None;
                }
                // It is still due: the next `serve` makes up for it.
                Ok(_) => restore(slot, &running),
                Err(error) if error.remedy == Remedy::Wait => {
                    restore(slot, &running);
                    self.hold(&name, &told(&error));
                }
                Err(error) => {
                    restore(slot, &running);
                    if let Some(pending) = slot.pending.take() {
                        slot.miss(pending);
                    }
                    slot.problem = Some(told(&error));
                }
            }
        }
        self.save();
        if self.is_stopping() {
            return;
        }
        if self.will_start(now) {
            self.read_files(true);
            self.start_due(now);
        }
    }

    fn tell_end(&self, name: &str, result: &Result<Finished, Error>) {
        let finished = match result {
            // That is told when it has to wait.
            Err(error) if error.remedy == Remedy::Wait => return,
            Err(error) => {
                self.tell(What::Problem, Some(name), format!("no run was made: {}", told(error)));
                return;
            }
            Ok(finished) => finished,
        };
        let report = &finished.report;
        (self.log)(&Event {
            at: self.clock.now(),
            event: What::Ended,
            job: Some(name.to_owned()),
            run: Some(report.run.clone()),
            verdict: Some(report.verdict.word()),
            message: format!("run {}: {}: {}", report.run, report.verdict.word(), report.sentence),
        });
        for error in &finished.afterthoughts {
            self.tell(What::Problem, Some(name), told(error));
        }
    }

    /// Has a job wait for whoever holds its lock. It is told once a due time.
    fn hold(&mut self, name: &str, why: &str) {
        let now = self.clock.now();
        let pending = self.slots.jobs.get(name).and_then(|slot| slot.pending).map(|pending| pending.last);
        let Some(served) = self.jobs.get_mut(name) else { return };
        served.retry_at = now.checked_add(RETRY).ok();
        let is_told = served.held == pending;
        served.held = pending;
        if !is_told {
            self.tell(What::Held, Some(name), format!("{why}; the run is tried again every minute until the next is due"));
        }
    }

    fn stop(&mut self) {
        self.should_stop.store(true, Ordering::Release);
        let names: Vec<&str> = self.running.keys().map(String::as_str).collect();
        let message = match names.as_slice() {
            [] => "asked to stop; no run is under way".to_owned(),
            names => {
                format!("asked to stop; under way: {}. What has not written yet stops, what writes goes to its end; ask again to end at once", names.join(", "))
            }
        };
        self.tell(What::Stopping, None, message);
    }

    /// Makes durable what has changed. What cannot be saved is told once, and tried again at every look.
    fn save(&mut self) {
        if !self.is_unsaved {
            return;
        }
        match self.slots.save() {
            Ok(()) => (self.is_unsaved, self.cannot_save) = (false, false),
            Err(error) => {
                if !std::mem::replace(&mut self.cannot_save, true) {
                    self.tell(What::Problem, None, format!("what is due goes on, but would not be known after a stop: {}", told(&error)));
                }
            }
        }
    }

    // ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Reads the settings and the job files if they may have changed.
    fn read_files(&mut self, thorough: bool) {
        let mut wrong: BTreeMap<String, String> = BTreeMap::new();
        match self.watch.look(&self.project, thorough) {
            Ok(false) => {
                if self.broken.remove(JOBS).is_some() {
                    self.tell(What::Mended, None, format!("{JOBS}: nothing is wrong any more"));
                }
                return;
            }
            Ok(true) => {}
            Err(error) => {
                // Without the folder nothing is known of its files: everything goes on as it is.
                wrong.insert(JOBS.to_owned(), told(&error));
                self.tell_broken(&wrong);
                self.broken.extend(wrong);
                return;
            }
        }
        let settings = self.project.settings_path();
        match self.project.read_again() {
            Ok(read) => self.take_settings(read, &settings, &mut wrong),
            Err(error) => drop(wrong.insert(shown_below(&self.project, &settings), told(&error))),
        }
        let project = Arc::clone(&self.project);
        let mut files: Vec<JobFile> = Vec::new();
        let paths = project.job_paths().unwrap_or_default();
        for path in &paths {
            match project.job_file(path) {
                Ok(file) => files.push(file),
                Err(error) => drop(wrong.insert(shown_below(&project, path), told(&error))),
            }
        }
        let mut right = BTreeMap::new();
        for (file, checked) in files.iter().zip(project.check_each(&files)) {
            match checked {
                Ok(job) => drop(right.insert(job.name.clone(), job)),
                Err(error) => drop(wrong.insert(file.path.clone(), told(&error))),
            }
        }
        let now = self.clock.now();
        let gone: Vec<String> =
            self.jobs.keys().filter(|name| !right.contains_key(*name) && !wrong.keys().any(|path| is_file_of(path, name))).cloned().collect();
        for name in gone {
            if let Some(served) = self.jobs.get_mut(&name) {
                served.gone_since = served.gone_since.or(Some(now));
            }
        }
        for job in right.into_values() {
            self.take_job(job, &mut wrong, now);
        }
        self.tell_broken(&wrong);
        for path in self.broken.keys().filter(|path| !wrong.contains_key(*path)) {
            // A file that is gone is told as that.
            if project.root.join(path).exists() || *path == shown_below(&project, &settings) {
                self.tell(What::Mended, None, format!("{path}: nothing is wrong any more"));
            }
        }
        self.broken = wrong;
    }

    /// Takes settings that were read again. Where the state is does not change under a running `serve`: its lock is there.
    fn take_settings(&mut self, mut read: Project, path: &Path, wrong: &mut BTreeMap<String, String>) {
        let state = &self.project.settings.state;
        if read.settings.state != *state {
            let message = format!("`state` is `{}` now: `serve` goes on with `{state}` until it is started again", read.settings.state);
            wrong.insert(shown_below(&self.project, path), message);
            read.settings.state.clone_from(state);
        }
        self.project = Arc::new(read);
    }

    /// Takes a job that is right.
    fn take_job(&mut self, job: Job, wrong: &mut BTreeMap<String, String>, now: Timestamp) {
        let name = job.name.clone();
        let Some(schedule) = job.schedule.clone() else {
            if self.jobs.remove(&name).is_some() {
                self.slots.jobs.remove(&name);
                self.is_unsaved = true;
                self.tell(What::Removed, Some(&name), "its file names no schedule any more: it is not run");
            }
            return;
        };
        let timetable = match Timetable::of(&schedule) {
            Ok(timetable) => timetable,
            Err(error) => return drop(wrong.insert(job.source.path.clone(), told(&error))),
        };
        let slot = self.slots.jobs.entry(name.clone()).or_insert_with(|| {
            self.is_unsaved = true;
            Slot::new(&schedule, now)
        });
        if (slot.cron.as_str(), slot.timezone.as_str()) != (schedule.cron.as_str(), schedule.timezone.as_str()) {
            // What was due until now was due by the schedule as it was.
            let before = crate::job::Schedule { cron: slot.cron.clone(), timezone: slot.timezone.clone(), ..schedule.clone() };
            let due = Timetable::of(&before).ok().and_then(|before| before.due(slot.handled, now));
            if let Some(due) = due {
                if let Some(pending) = slot.pending {
                    slot.miss(pending);
                }
                slot.miss(due);
                slot.pending = schedule.run_missed_once.then(|| Due::at(due.last));
            }
            slot.handled = slot.handled.max(now);
            self.is_unsaved = true;
            slot.cron.clone_from(&schedule.cron);
            slot.timezone.clone_from(&schedule.timezone);
        }
        let known = self.jobs.get(&name);
        let is_new = known.is_none();
        let is_same = known.is_some_and(|served| served.job.source.digest == job.source.digest);
        let (retry_at, held) = known.map_or((None, None), |served| (served.retry_at, served.held));
        let served = Served { job: Arc::new(job), timetable, run_missed_once: schedule.run_missed_once, retry_at, held, gone_since: None };
        // What is read at the start is told once all of it is.
        if !is_same && self.has_begun {
            let what = if is_new { "a new job" } else { "its file was changed" };
            self.tell(What::Read, Some(&name), format!("{what}: {}", next_sentence(&served.timetable, now)));
        }
        self.jobs.insert(name, served);
    }

    /// Forgets jobs whose files have been gone for longer than an editor needs.
    fn forget_gone(&mut self, now: Timestamp) {
        let is_gone = |served: &Served| served.gone_since.is_some_and(|since| now.duration_since(since).abs() > LATE_MAX);
        let gone: Vec<String> = self.jobs.iter().filter(|(_, served)| is_gone(served)).map(|(name, _)| name.clone()).collect();
        for name in &gone {
            self.jobs.remove(name);
            self.slots.jobs.remove(name);
            self.is_unsaved = true;
            self.tell(What::Removed, Some(name), "its file is gone: it is not run any more");
        }
    }

    /// Tells each file that cannot be used, once.
    fn tell_broken(&self, wrong: &BTreeMap<String, String>) {
        for (_, message) in wrong.iter().filter(|(path, message)| self.broken.get(*path) != Some(message)) {
            self.tell(What::Broken, None, format!("{message}; what was last right in it goes on"));
        }
    }
}

/// One run, as `serve` makes it.
fn make(project: &Project, job: &Job, request: &Request, clock: &dyn Clock, should_stop: &AtomicBool) -> Result<Finished, Error> {
    let now = || clock.now();
    let cancelled = || should_stop.load(Ordering::Acquire);
    let world = World { root: &project.root, settings: &project.settings, now: &now, sleep: &std::thread::sleep, progress: &|_| {}, cancelled: &cancelled };
    run::run(&world, job, request)
}

/// What a run would have told as overlapped is told by the next.
fn restore(slot: &mut Slot, running: &Running) {
    slot.overlapped = running.told.map(|told| told.and(slot.overlapped)).or(slot.overlapped);
}

/// Whether a job file has this path: files are called as their jobs.
fn is_file_of(path: &str, job: &str) -> bool {
    Path::new(path).file_stem().is_some_and(|stem| stem == job)
}

/// A path as messages show it: from the root.
fn shown_below(project: &Project, path: &Path) -> String {
    path.strip_prefix(&project.root).unwrap_or(path).display().to_string()
}

fn counted(due: &Due) -> String {
    match due.count {
        1 => "1 scheduled run".to_owned(),
        COUNT_MAX => format!("{} scheduled runs or more", gates::count(COUNT_MAX)),
        count => format!("{} scheduled runs", gates::count(count)),
    }
}

fn when(due: &Due, timetable: &Timetable) -> String {
    if due.count == 1 {
        format!("at {}", timetable.shown(due.last))
    } else {
        format!("between {} and {}", timetable.shown(due.first), timetable.shown(due.last))
    }
}

/// What a person is told of runs that were missed.
fn missed_sentence(due: &Due, timetable: &Timetable, run_missed_once: bool) -> String {
    let (was, them) = if due.count == 1 { ("was", "it") } else { ("were", "them") };
    let what = if run_missed_once { "one run makes up for" } else { "by the job file nothing makes up for" };
    format!("{} {was} missed {}; {what} {them}", counted(due), when(due, timetable))
}

fn overlapped_sentence(due: &Due, timetable: &Timetable) -> String {
    format!("{} fell into the run before or into the wait for it, and had no run of their own: {}", counted(due), when(due, timetable))
}

fn next_sentence(timetable: &Timetable, now: Timestamp) -> String {
    match timetable.next(now) {
        Some(next) => format!("next due at {}", timetable.shown(next)),
        None => "never due again".to_owned(),
    }
}

/// A length of time in its largest unit: `3 days`, `1 hour`.
fn span(length: SignedDuration) -> String {
    let seconds = length.as_secs().abs();
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}
