//! `tieout schema`.

use clap::Args;
use tieout::error::Error;
use tieout::job::{preset, preset_names, schema};

use super::print;

/// What can be written into a job file.
#[derive(Args)]
pub struct Schema {
    /// Print the settings of this preset instead, to be copied below a `[systems.NAME]`; without a name, list the presets.
    #[arg(long, value_name = "NAME", num_args = 0..=1)]
    preset: Option<Option<String>>,
}

impl Schema {
    /// Runs the command.
    pub fn run(&self) -> Result<u8, Error> {
        match &self.preset {
            None => print(&schema()),
            Some(Some(name)) => print(preset(name)?),
            Some(None) => {
                for name in preset_names() {
                    let about = preset(name)?.lines().next().unwrap_or_default();
                    print(&format!("{name:<20} {}", about.trim_start_matches(['#', ' '])));
                }
            }
        }
        Ok(0)
    }
}
