//! `tieout check`.

use clap::Args;
use tieout::error::Error;
use tieout::run;

use super::{Context, print, print_json};

/// Check job files.
#[derive(Args)]
pub struct Check {
    /// The jobs; all of the root if none is named.
    jobs: Vec<String>,
    /// Open each system too, and compare its columns with the job.
    #[arg(long)]
    connect: bool,
}

impl Check {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Result<u8, Error> {
        let (project, jobs) = context.project_and_jobs(&self.jobs)?;
        let mut told = Vec::new();
        for job in &jobs {
            let connected = if self.connect { Some(run::connect(&project.root, &project.root.join(&project.settings.state), job)?) } else { None };
            told.push((job, connected));
        }
        if context.json {
            let documents: Vec<serde_json::Value> = told
                .iter()
                .map(|(job, connected)| serde_json::json!({"job": job.name, "file": job.source.path, "systems": job.systems.len(), "fields": job.fields.len(), "connected": connected}))
                .collect();
            print_json(&documents);
            return Ok(0);
        }
        for (job, connected) in told {
            print(&format!("{}: fine: {} systems, {} fields", job.source.path, job.systems.len(), job.fields.len()));
            for system in connected.into_iter().flatten() {
                print(&format!("  {}: {} rows from {}", system.name, tieout::reconcile::gates::count(system.rows), system.place));
                for note in system.notes {
                    print(&format!("    {note}"));
                }
            }
        }
        Ok(0)
    }
}
