//! `tieout undo`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;
use tieout::change::Undoes;
use tieout::diagnostic::Place;
use tieout::error::{Error, Remedy};
use tieout::project::Project;
use tieout::reconcile::plan::Undo;
use tieout::report;
use tieout::review::Signature;
use tieout::run::Request;
use tieout::state::Stored;
use tieout::undo;

use super::review::signer;
use super::run::{check_output, start, tell, write_plan};
use super::{Context, print};

/// Take back what a run wrote: print the plan of the inverse changes, and with `--yes` make them.
///
/// A change is taken back where the value there is still the one that the run wrote; every other one is listed with the reason.
/// What was taken back is not written again until one of the values changes or a person decides about it.
#[derive(Args)]
pub struct UndoRun {
    /// The run: its id, `JOB/ID`, or `last` and `JOB/last` for the last one that was carried out.
    run: String,
    /// Make the changes.
    #[arg(long)]
    yes: bool,
    /// Why, in a sentence that is kept and told with it.
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// Who undoes it; by default the name of the login.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Gates that it may pass.
    #[arg(long, value_name = "GATE[:SYSTEM],..", value_delimiter = ',')]
    allow: Vec<String>,
    /// Write the plan of the inverse changes to this file too, for `tieout apply`. It holds values in clear, and only its owner may
    /// read it.
    #[arg(short, long, value_name = "FILE", conflicts_with = "yes")]
    output: Option<PathBuf>,
    /// Replace the file if there is one.
    #[arg(long, requires = "output")]
    force: bool,
}

/// What a plan undoes that comes back from its file.
pub fn of_plan(project: &Project, job: &str, undoes: &Undoes) -> Result<Undo, Error> {
    let job = project.job(job)?;
    let stored = stored(project, &job.name)?;
    undo::of_run(&job, &stored, &undoes.run, Signature { who: &undoes.who, why: undoes.why.as_deref(), at: &undoes.at })
}

fn stored(project: &Project, job: &str) -> Result<Stored, Error> {
    Stored::open(&project.state_folder(job))?.ok_or_else(|| {
        Error::new(Remedy::MendJob, Place::of(job), "the job has no state: nothing is known of its runs")
            .seen("nothing was written")
            .hint("put the job's state folder back from a backup; what a run wrote stands in its report")
    })
}

impl UndoRun {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Result<u8, Error> {
        if let Some(file) = &self.output {
            check_output(file, self.force)?;
        }
        let project = context.project()?;
        let folder = project.report_folder(&self.run)?;
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (job_name, mut run) = (folder.parent().map(name).unwrap_or_default(), name(&folder));
        let job = project.job(&job_name)?;
        let who = signer(self.by.as_deref())?;
        let stored = stored(&project, &job.name)?;
        // A run that was only planned, such as that of this command without `--yes`, is not the last one that wrote.
        if self.run == "last" || self.run.ends_with("/last") {
            run = stored.ledger.promoted()?.map_or(run, |promoted| promoted.run);
        }
        let at = Timestamp::now().to_string();
        let undo = undo::of_run(&job, &stored, &run, Signature { who: &who, why: self.why.as_deref(), at: &at })?;
        drop(stored);
        let request = Request { undo: Some(Arc::new(undo)), plan_only: !self.yes, ..Request::default() };
        let finished = start(context, &project, &job_name, request, &self.allow)?;
        if self.yes {
            tell(context, &finished, &report::text::summary(&finished.report));
            return Ok(finished.exit_code);
        }
        let is_stopped = !finished.report.stopped_by.is_empty();
        let takes_nothing_back = finished.report.changes.is_empty();
        if let Some(file) = self.output.as_ref().filter(|_| !takes_nothing_back) {
            write_plan(file, self.force, &finished)?;
        }
        tell(context, &finished, &report::text::render(&finished.report, 100));
        if !context.json && !is_stopped {
            print(&match (takes_nothing_back, &self.output) {
                (true, _) => "nothing was written, and nothing can be taken back: the report lists why".to_owned(),
                (false, None) => format!("nothing was written; take it back with `tieout undo {job_name}/{run} --yes`"),
                (false, Some(file)) => format!("nothing was written; take it back with `tieout apply {}`", file.display()),
            });
        }
        // A plan that was made is no failure, whatever is open; what could not be written down is one.
        let went_wrong = if finished.exit_code == finished.report.exit_code { 0 } else { finished.exit_code };
        Ok(match (is_stopped, takes_nothing_back) {
            (true, _) => finished.exit_code,
            (false, true) => went_wrong.max(1),
            (false, false) => went_wrong,
        })
    }
}
