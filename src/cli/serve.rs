//! `tieout serve`.

use std::io::Write;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use tieout::error::Error;
use tieout::serve::{self, Clock, Event, SystemClock};

use super::Context;

/// Run all jobs by their schedules until stopped.
///
/// Jobs without a schedule are not run, and a first contact is never accepted. SIGTERM or SIGINT: nothing more starts, a run
/// that has not written yet stops, one that writes goes to its end. A second one ends the process at once.
#[derive(Args)]
pub struct Serve {
    /// How events are written on standard error, one a line.
    #[arg(long, value_enum, default_value_t = Log::Text, value_name = "FORMAT")]
    log: Log,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Log {
    Text,
    Json,
}

impl Serve {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Result<u8, Error> {
        let project = context.project()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new()?);
        let log = |event: &Event| {
            let line = if self.log == Log::Json { event.json() } else { event.text() };
            // Where nobody reads any more, the runs still go on.
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        };
        serve::serve(project, &clock, &log)?;
        Ok(0)
    }
}
