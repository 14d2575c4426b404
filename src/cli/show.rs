//! `tieout show`.

use clap::Args;
use tieout::diagnostic::Place;
use tieout::error::{Error, Remedy};

use super::{Context, print};

/// Show a run's report.
#[derive(Args)]
pub struct Show {
    /// The run: its id, `JOB/ID`, `last` or `JOB/last`.
    run: String,
}

impl Show {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Result<u8, Error> {
        let folder = context.project()?.report_folder(&self.run)?;
        let path = folder.join(if context.json { "report.json" } else { "report.txt" });
        let text = std::fs::read_to_string(&path)
            .map_err(|e| Error::new(Remedy::GiveAccess, Place::of(path.display().to_string()), format!("cannot be read: {e}")))?;
        print(&text);
        Ok(0)
    }
}
