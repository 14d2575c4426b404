//! `tieout show`.

use std::path::Path;

use clap::Args;
use tieout::diagnostic::Place;
use tieout::error::{Error, Remedy};
use tieout::explain::Question;

use super::explain::explain_in;
use super::{Context, print};

/// Show a run's report.
#[derive(Args)]
pub struct Show {
    /// The run: its id, `JOB/ID`, `last` or `JOB/last`.
    run: String,
    /// Only what the run did to this record, by its key or id, as `tieout explain` tells it.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    record: Option<String>,
    /// With `--record`: show the values of sensitive fields too.
    #[arg(long, requires = "record")]
    reveal: bool,
}

impl Show {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Result<u8, Error> {
        let project = context.project()?;
        let folder = project.report_folder(&self.run)?;
        if let Some(record) = &self.record {
            let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let (job, run) = (folder.parent().map(name).unwrap_or_default(), name(&folder));
            let question = Question { key: record, field: None, run: Some(&run), runs_max: 1, reveal: self.reveal };
            return explain_in(context, &project, &job, &question);
        }
        let path = folder.join(if context.json { "report.json" } else { "report.txt" });
        let text = std::fs::read_to_string(&path)
            .map_err(|e| Error::new(Remedy::GiveAccess, Place::of(path.display().to_string()), format!("cannot be read: {e}")))?;
        print(&text);
        Ok(0)
    }
}
