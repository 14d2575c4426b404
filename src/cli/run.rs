//! `tieout run`, `tieout plan` and `tieout apply`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;
use tieout::diagnostic::{Place, did_you_mean};
use tieout::disk;
use tieout::error::{Error, Remedy};
use tieout::project::Project;
use tieout::reconcile::gates::{Allowed, Gate};
use tieout::report::{self, Verdict};
use tieout::run::{self, Approved, Finished, Request, World};

use super::{Context, print, print_error, print_json};

/// Run a job.
#[derive(Args)]
pub struct RunJob {
    /// The job's name, or the path of its file.
    job: String,
    /// Accept the plan of a first contact: of a job that never ran, or with a system that is new to it.
    #[arg(long)]
    first_contact: bool,
    /// Gates that this run may pass: empty, deletes, updates, all-changed, shrink, growth, complete, job, time-travel,
    /// money, canary; restored takes
    /// records in again that came back after their delete. `GATE:SYSTEM` limits it to one system.
    #[arg(long, value_name = "GATE[:SYSTEM],..", value_delimiter = ',')]
    allow: Vec<String>,
    /// Write a frozen field again: the key of a record, or `KEY.FIELD`.
    #[arg(long, value_name = "KEY[.FIELD]")]
    unfreeze: Vec<String>,
    /// Send a change again that was given up after too many tries: the key of a record, or `KEY.FIELD`.
    #[arg(long, value_name = "KEY[.FIELD]")]
    retry: Vec<String>,
    /// Look into every record, even where no row of it changed since the last run.
    #[arg(long)]
    every_record: bool,
}

/// Plan a job.
#[derive(Args)]
pub struct PlanJob {
    /// The job's name, or the path of its file.
    job: String,
    /// Gates that the plan may pass.
    #[arg(long, value_name = "GATE[:SYSTEM],..", value_delimiter = ',')]
    allow: Vec<String>,
    /// Plan to write a frozen field again: the key of a record, or `KEY.FIELD`.
    #[arg(long, value_name = "KEY[.FIELD]")]
    unfreeze: Vec<String>,
    /// Plan to send a change again that was given up: the key of a record, or `KEY.FIELD`.
    #[arg(long, value_name = "KEY[.FIELD]")]
    retry: Vec<String>,
    /// Exit with 1 if a run would write, or if a break is open.
    #[arg(long)]
    exit_code: bool,
    /// Write the plan to this file too, for `tieout apply`. It holds values in clear, and only its owner may read it.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if there is one.
    #[arg(long, requires = "output")]
    force: bool,
}

/// Apply a plan.
#[derive(Args)]
pub struct ApplyPlan {
    /// The file that `tieout plan JOB -o FILE` or `tieout undo RUN -o FILE` wrote.
    plan: PathBuf,
    /// Accept the plan of a first contact.
    #[arg(long)]
    first_contact: bool,
    /// Gates that this run may pass.
    #[arg(long, value_name = "GATE[:SYSTEM],..", value_delimiter = ',')]
    allow: Vec<String>,
}

impl RunJob {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Result<u8, Error> {
        let project = context.project()?;
        let (unfreeze, retry) = (self.unfreeze.clone(), self.retry.clone());
        let request = Request { first_contact: self.first_contact, every_record: self.every_record, unfreeze, retry, ..Request::default() };
        let finished = start(context, &project, &self.job, request, &self.allow)?;
        tell(context, &finished, &report::text::summary(&finished.report));
        Ok(finished.exit_code)
    }
}

impl PlanJob {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Result<u8, Error> {
        if let Some(file) = &self.output {
            check_output(file, self.force)?;
        }
        let project = context.project()?;
        let (unfreeze, retry) = (self.unfreeze.clone(), self.retry.clone());
        let finished = start(context, &project, &self.job, Request { plan_only: true, unfreeze, retry, ..Request::default() }, &self.allow)?;
        if let Some(file) = &self.output {
            write_plan(file, self.force, &finished)?;
        }
        tell(context, &finished, &report::text::render(&finished.report, 100));
        let report = &finished.report;
        Ok(match report.verdict {
            Verdict::Failed => report.exit_code,
            _ if finished.exit_code != report.exit_code => finished.exit_code,
            _ => u8::from(self.exit_code && (!report.changes.is_empty() || !report.breaks.is_empty())),
        })
    }
}

/// A file for a plan that is in the way is told before anything is read.
pub fn check_output(file: &Path, force: bool) -> Result<(), Error> {
    let shown = Place::of(file.display().to_string());
    if file.is_dir() {
        return Err(Error::new(Remedy::MendJob, shown, "the plan cannot be written: this is a folder").seen("nothing was read or written").hint("name a file"));
    }
    if file.exists() && !force {
        return Err(Error::new(Remedy::MendJob, shown, "the plan is not written: there is such a file already")
            .seen("nothing was read or written")
            .hint("name another file, or replace this one with `--force`"));
    }
    Ok(())
}

/// Writes the plan of a run that was asked for it, where it came to one.
pub fn write_plan(file: &Path, force: bool, finished: &Finished) -> Result<(), Error> {
    match &finished.plan {
        Some(plan) if force => disk::publish(file, plan),
        Some(plan) => disk::write_new(file, plan),
        None => Ok(()),
    }
}

impl ApplyPlan {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Result<u8, Error> {
        let project = context.project()?;
        let approved = Approved::read(&self.plan)?;
        let job = approved.job().to_owned();
        let undo = approved.undoes().map(|undoes| super::undo::of_plan(&project, &job, undoes)).transpose()?;
        let request = Request { first_contact: self.first_contact, approved: Some(Arc::new(approved)), undo: undo.map(Arc::new), ..Request::default() };
        let finished = start(context, &project, &job, request, &self.allow)?;
        tell(context, &finished, &report::text::summary(&finished.report));
        Ok(finished.exit_code)
    }
}

/// Runs a job as it is asked for.
pub fn start(context: &Context, project: &Project, job: &str, request: Request, allow: &[String]) -> Result<Finished, Error> {
    let job = project.job(job)?;
    let names: Vec<&str> = job.systems.iter().map(|s| s.name.as_str()).collect();
    let allowed = allow.iter().map(|word| read_allowed(word, &names)).collect::<Result<_, _>>()?;
    let now = Timestamp::now;
    let progress = |step: &str| context.progress(step);
    let world = World { root: &project.root, settings: &project.settings, now: &now, sleep: &std::thread::sleep, progress: &progress, cancelled: &|| false };
    run::run(&world, &job, &Request { allowed, ..request })
}

fn read_allowed(word: &str, systems: &[&str]) -> Result<Allowed, Error> {
    let (gate, system) = match word.split_once(':') {
        Some((gate, system)) => (gate, Some(system)),
        None => (word, None),
    };
    let words: Vec<&str> = Gate::ALL.iter().map(|gate| gate.word()).collect();
    let wrong = |what: &str, written: &str, known: &[&str]| {
        let error = Error::new(Remedy::MendJob, Place::of("--allow"), format!("there is no {what} `{written}`")).seen(format!("known: {}", known.join(", ")));
        match did_you_mean(written, known.iter().copied()) {
            Some(close) => error.hint(format!("did you mean `{close}`?")),
            None => error.hint("nothing was read or written"),
        }
    };
    let known = Gate::ALL.into_iter().find(|known| known.word() == gate.trim()).ok_or_else(|| wrong("gate", gate, &words))?;
    if let Some(system) = system.filter(|system| !systems.contains(system)) {
        return Err(wrong("system", system, systems));
    }
    Ok(Allowed { gate: known, system: system.map(str::to_owned) })
}

/// Tells how a run ended, and where its report is.
pub fn tell(context: &Context, finished: &Finished, text: &str) {
    for error in &finished.afterthoughts {
        print_error(&error.to_string());
    }
    if context.json {
        print_json(&finished.report);
        return;
    }
    print(text);
    let stopped_by: Vec<String> = finished.report.stopped_by.iter().map(ToString::to_string).collect();
    if !stopped_by.is_empty() {
        print_error(&stopped_by.join("\n\n"));
    }
    print(&format!("report: {}", finished.folder.join("report.html").display()));
}
