//! `tieout status`.

use clap::Args;
use jiff::Timestamp;
use tieout::error::Error;
use tieout::serve;

use super::{Context, print, print_json};

/// One line a job: its last run, what is open, when it is due. Exit code 1 if a job needs a person.
#[derive(Args)]
pub struct ShowStatus {}

impl ShowStatus {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Result<u8, Error> {
        let status = serve::status(&context.project()?, Timestamp::now())?;
        if context.json {
            print_json(&status);
        } else {
            print(&status.text());
        }
        Ok(u8::from(status.needs_a_person()))
    }
}
