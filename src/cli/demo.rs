//! `tieout demo`.

use std::path::PathBuf;

use clap::Args;
use tieout::demo;
use tieout::error::Error;

use super::{Context, print};

/// Two nights of an example.
#[derive(Args)]
pub struct Demo {
    /// The example.
    #[arg(default_value = "customers")]
    name: String,
    /// The folder to make. It must not exist yet, or be empty.
    #[arg(long, value_name = "FOLDER", default_value = "tieout-demo")]
    into: PathBuf,
    /// Keep the API of `contacts-api` running after the nights, until the process is ended: to try the job by hand.
    #[arg(long)]
    stay: bool,
}

impl Demo {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Result<u8, Error> {
        let progress = |step: &str| context.progress(step);
        let shown = demo::show(&self.name, &self.into, &progress)?;
        print(&shown.text);
        if self.stay {
            loop {
                std::thread::park();
            }
        }
        Ok(u8::from(!shown.as_it_should))
    }
}
