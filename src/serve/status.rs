//! How all jobs of a root are: read from their ledgers, locks and schedules, changing nothing.
//!
//! It works beside a running `serve`, and as well where cron starts the runs: a job is overdue if its schedule asked for a run
//! more than a minute ago and none began since.

use jiff::Timestamp;
use serde::Serialize;

use super::event::told;
use super::slots::{Slot, Slots};
use super::{LATE_MAX, LOCK, counted, span, when};
use crate::disk;
use crate::error::Error;
use crate::job::{Job, JobFile, Mode};
use crate::project::Project;
use crate::reconcile::gates;
use crate::schedule::{Due, Timetable, rfc3339};
use crate::state::JobState;

/// How all jobs are.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// When this was read.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
    /// Who serves this root and since when; nothing if nobody does.
    pub serve: Option<String>,
    /// The jobs, by the names of their files.
    pub jobs: Vec<JobStatus>,
}

/// How one job is.
#[derive(Clone, Debug, Serialize)]
pub struct JobStatus {
    /// Its name.
    pub job: String,
    /// Its file.
    pub file: String,
    /// What is wrong with its file.
    pub broken: Option<String>,
    /// When it is due; nothing if it has no schedule.
    pub schedule: Option<Scheduled>,
    /// Its last run; nothing if it never ran.
    pub last: Option<LastRun>,
    /// How many breaks are open.
    pub breaks_open: u64,
    /// Who runs it now, and since when.
    pub running: Option<String>,
    /// Why a person is needed, a reason each; empty if nobody is.
    pub needs: Vec<String>,
}

/// The schedule of a job.
#[derive(Clone, Debug, Serialize)]
pub struct Scheduled {
    /// The cron line.
    pub cron: String,
    /// Its time zone.
    pub timezone: String,
    /// The next due time, RFC 3339 in UTC.
    pub next: Option<String>,
    /// The same as the clock on the wall shows it.
    pub next_local: Option<String>,
    /// Due times without a run, that no report has told yet.
    pub missed: Option<Due>,
    /// Whether a run should have begun.
    pub is_overdue: bool,
}

/// The last run of a job.
#[derive(Clone, Debug, Serialize)]
pub struct LastRun {
    /// Its id.
    pub run: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// How it ended; nothing if it is under way or was cut off.
    pub verdict: Option<String>,
    /// How it ended, in a sentence.
    pub sentence: Option<String>,
}

/// Reads how all jobs of a root are.
///
/// # Errors
/// `MendJob` if there is no folder of job files, and what makes the state of schedules unreadable. What is wrong with one job
/// stands in its line.
pub fn status(project: &Project, now: Timestamp) -> Result<Status, Error> {
    let state = project.root.join(&project.settings.state);
    let serve = disk::lock_holder(&state.join(LOCK))?;
    let slots = Slots::read(&state)?;
    let mut files: Vec<JobFile> = Vec::new();
    let mut jobs = Vec::new();
    for path in project.job_paths()? {
        match project.job_file(&path) {
            Ok(file) => files.push(file),
            Err(error) => jobs.push(Glance::of(project, &super::shown_below(project, &path)).broken(&error)),
        }
    }
    for (file, checked) in files.iter().zip(project.check_each(&files)) {
        let glance = Glance::of(project, &file.path);
        jobs.push(match checked {
            Ok(job) => glance.right(&job, slots.jobs.get(&job.name), serve.is_some(), now),
            Err(error) => glance.broken(&error),
        });
    }
    jobs.sort_by(|a, b| a.job.cmp(&b.job));
    Ok(Status { at: now, serve, jobs })
}

/// What can be told of a job whatever its file says.
struct Glance {
    status: JobStatus,
    is_first_contact: bool,
}

impl Glance {
    fn of(project: &Project, file: &str) -> Glance {
        let name = std::path::Path::new(file).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = project.state_folder(&name);
        let mut needs = Vec::new();
        let running = disk::lock_holder(&folder.join("lock")).unwrap_or_else(|error| {
            needs.push(told(&error));
            None
        });
        let mut status = JobStatus { job: name, file: file.to_owned(), broken: None, schedule: None, last: None, breaks_open: 0, running, needs: Vec::new() };
        let is_first_contact = match look(&folder) {
            Ok(Some((last, breaks_open, is_first_contact))) => {
                (status.last, status.breaks_open) = (last, breaks_open);
                is_first_contact
            }
            Ok(None) => true,
            Err(error) => {
                needs.push(told(&error));
                false
            }
        };
        match (&status.last, &status.running) {
            (Some(LastRun { verdict: Some(verdict), .. }), _) if matches!(verdict.as_str(), "ACTION" | "FAILED") => {
                needs.push("its last report asks for a person".to_owned());
            }
            (Some(LastRun { verdict: None, .. }), None) => needs.push("its last run was cut off: the next one settles it".to_owned()),
            _ => {}
        }
        status.needs = needs;
        Glance { status, is_first_contact }
    }

    fn broken(self, error: &Error) -> JobStatus {
        let mut status = self.status;
        status.broken = Some(told(error));
        status.needs.insert(0, "its file is broken".to_owned());
        status
    }

    fn right(self, job: &Job, slot: Option<&Slot>, is_served: bool, now: Timestamp) -> JobStatus {
        let Glance { mut status, is_first_contact } = self;
        if is_first_contact && job.mode == Mode::Sync && status.running.is_none() {
            status.needs.push(format!("its first contact waits for `tieout run {} --first-contact`", job.name));
        }
        let Some(schedule) = &job.schedule else { return status };
        let Ok(timetable) = Timetable::of(schedule) else { return status };
        let began = status.last.as_ref().and_then(|last| last.started.parse::<Timestamp>().ok());
        let known = slot.map(|slot| slot.handled);
        let late = now.saturating_sub(LATE_MAX).unwrap_or(now);
        let unhandled = began.max(known).and_then(|since| timetable.due(since, late));
        let waits = slot.and_then(|slot| slot.pending).filter(|pending| pending.last < late && began.is_none_or(|began| began < pending.last));
        let is_overdue = status.running.is_none() && (unhandled.is_some() || waits.is_some() && !is_served);
        let mut missed = slot.and_then(|slot| slot.missed);
        for more in [waits.filter(|_| !is_served && status.running.is_none()), unhandled].into_iter().flatten() {
            missed = match missed {
                Some(missed) if missed.last >= more.last => Some(missed),
                missed => Some(more.and(missed)),
            };
        }
        if is_overdue {
            let first = [waits, unhandled].into_iter().flatten().map(|due| due.first).min();
            let since = first.map(|first| format!(" since {}", timetable.shown(first))).unwrap_or_default();
            status.needs.push(format!("it is overdue{since}"));
        }
        if let Some(problem) = slot.and_then(|slot| slot.problem.as_ref()) {
            status.needs.push(format!("no run was made when it was due: {problem}"));
        }
        let next = timetable.next(now);
        status.schedule = Some(Scheduled {
            cron: schedule.cron.clone(),
            timezone: schedule.timezone.clone(),
            next: next.map(|next| next.to_string()),
            next_local: next.map(|next| timetable.shown(next)),
            missed,
            is_overdue,
        });
        status
    }
}

/// The last run, the open breaks, and whether no run was promoted yet; nothing if there is no ledger.
fn look(folder: &std::path::Path) -> Result<Option<(Option<LastRun>, u64, bool)>, Error> {
    let Some(ledger) = JobState::read_ledger(folder)? else { return Ok(None) };
    let last = ledger.last_run()?.map(|line| LastRun { run: line.run, started: line.started, verdict: line.verdict, sentence: line.sentence });
    Ok(Some((last, ledger.breaks_open()?, ledger.promoted()?.is_none())))
}

impl Status {
    /// Whether a job needs a person, is broken or overdue.
    pub fn needs_a_person(&self) -> bool {
        self.jobs.iter().any(|job| !job.needs.is_empty())
    }

    /// One line a job, and one for `serve`.
    pub fn text(&self) -> String {
        let width = self.jobs.iter().map(|job| job.job.chars().count()).max().unwrap_or(0);
        let mut lines = Vec::new();
        lines.push(match &self.serve {
            Some(holder) => format!("serve: {holder}"),
            None => "serve: not running".to_owned(),
        });
        lines.extend(self.jobs.iter().map(|job| format!("{:<width$}  {}", job.job, job.line(self.at))));
        if self.jobs.is_empty() {
            lines.push("there is no job".to_owned());
        }
        let mut text = lines.join("\n");
        text.push('\n');
        text
    }
}

impl JobStatus {
    fn line(&self, now: Timestamp) -> String {
        let mut parts = Vec::new();
        let age = |since: &str| since.parse::<Timestamp>().map(|since| format!(" {} ago", span(now.duration_since(since)))).unwrap_or_default();
        parts.push(match &self.last {
            None => "never ran".to_owned(),
            Some(last) => {
                let word = match (&last.verdict, &self.running) {
                    (Some(verdict), _) => verdict.as_str(),
                    (None, Some(_)) => "began",
                    (None, None) => "CUT OFF",
                };
                format!("{word}{}", age(&last.started))
            }
        });
        match self.breaks_open {
            0 => {}
            1 => parts.push("1 break open".to_owned()),
            many => parts.push(format!("{} breaks open", gates::count(many))),
        }
        if let Some(holder) = &self.running {
            parts.push(format!("running now: {holder}"));
        }
        if let Some(broken) = &self.broken {
            parts.push(format!("BROKEN: {broken}"));
        }
        match &self.schedule {
            Some(scheduled) => {
                let next = scheduled.next_local.as_ref().map_or_else(|| "never due again".to_owned(), |next| format!("next at {next}"));
                parts.push(format!("{next} (`{}`)", scheduled.cron));
                if let Some(missed) = &scheduled.missed
                    && let Ok(timetable) =
                        Timetable::of(&crate::job::Schedule { cron: scheduled.cron.clone(), timezone: scheduled.timezone.clone(), run_missed_once: true })
                {
                    parts.push(format!("missed: {} {}", counted(missed), when(missed, &timetable)));
                }
            }
            None if self.broken.is_none() => parts.push("no schedule".to_owned()),
            None => {}
        }
        // What the verdict and the broken file say already is not said again.
        let said = ["its file is broken", "its last report asks for a person"];
        parts.extend(self.needs.iter().filter(|need| !said.contains(&need.as_str())).cloned());
        parts.join(" · ")
    }
}
