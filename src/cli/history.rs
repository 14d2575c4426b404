//! `tieout history`.

use clap::Args;
use tieout::error::Error;
use tieout::project::by_time;
use tieout::state::{HistoryLine, JobState};

use super::{Context, print, print_json};

/// List past runs.
#[derive(Args)]
pub struct History {
    /// The job; all jobs of the root if none is named.
    job: Option<String>,
    /// How many runs of each job.
    #[arg(long, default_value_t = 20, value_name = "N")]
    most: u32,
}

impl History {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Result<u8, Error> {
        let project = context.project()?;
        let jobs = match &self.job {
            Some(job) => vec![project.job(job)?.name],
            None => project.job_names(),
        };
        let mut all: Vec<(String, HistoryLine)> = Vec::new();
        for job in jobs {
            if let Some(ledger) = JobState::read_ledger(&project.state_folder(&job))? {
                all.extend(ledger.history(self.most)?.into_iter().map(|line| (job.clone(), line)));
            }
        }
        all.sort_by_key(|(job, line)| (std::cmp::Reverse(by_time(&line.run)), job.clone()));
        if context.json {
            let documents: Vec<serde_json::Value> = all.iter().map(|(job, line)| serde_json::json!({"job": job, "run": line})).collect();
            print_json(&documents);
            return Ok(0);
        }
        if all.is_empty() {
            print("no runs yet");
        }
        for (job, line) in all {
            let verdict = line.verdict.unwrap_or_else(|| if line.status == "running" { "RUNNING".to_owned() } else { "CUT OFF".to_owned() });
            print(&format!("{job}/{}  {verdict:<8} {:<5} {}", line.run, line.command, line.sentence.unwrap_or_default()));
        }
        Ok(0)
    }
}
