//! `tieout history`.

use clap::Args;
use tieout::error::Error;
use tieout::project::by_time;
use tieout::state::{HistoryLine, JobState, MailOfRun, MailState};

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
        let mut all: Vec<(String, HistoryLine, Option<MailOfRun>)> = Vec::new();
        for job in jobs {
            if let Some(ledger) = JobState::read_ledger(&project.state_folder(&job))? {
                let lines = ledger.history(self.most)?;
                let oldest = lines.iter().map(|line| line.run.as_str()).min().unwrap_or_default();
                let mut mails = ledger.mails_since(oldest)?;
                all.extend(lines.into_iter().map(|line| {
                    let mail = mails.iter().position(|mail| mail.run == line.run).map(|at| mails.swap_remove(at));
                    (job.clone(), line, mail)
                }));
            }
        }
        all.sort_by_key(|(job, line, _)| (std::cmp::Reverse(by_time(&line.run)), job.clone()));
        if context.json {
            let documents: Vec<serde_json::Value> = all.iter().map(|(job, line, mail)| serde_json::json!({"job": job, "run": line, "mail": mail})).collect();
            print_json(&documents);
            return Ok(0);
        }
        if all.is_empty() {
            print("no runs yet");
        }
        for (job, line, mail) in all {
            let verdict = line.verdict.unwrap_or_else(|| if line.status == "running" { "RUNNING".to_owned() } else { "CUT OFF".to_owned() });
            print(&format!("{job}/{}  {verdict:<8} {:<5} {}", line.run, line.command, line.sentence.unwrap_or_default()));
            for recipient in mail.into_iter().flat_map(|mail| mail.recipients) {
                let what = match recipient.state {
                    MailState::Sent | MailState::Outbox => continue,
                    MailState::Waiting => "waits to be sent",
                    MailState::Refused => "was refused",
                    MailState::GivenUp => "was given up",
                };
                let said = recipient.said.map(|said| format!(": {said}")).unwrap_or_default();
                print(&format!("  the mail to {} {what}{said}", recipient.address));
            }
        }
        Ok(0)
    }
}
