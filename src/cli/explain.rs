//! `tieout explain`.

use clap::Args;
use tieout::error::Error;
use tieout::explain::{self, Question};
use tieout::project::Project;
use tieout::state::Stored;

use super::{Context, print, print_json};

/// Explain a record: what each system held, what is open, and what every run decided, wrote and found.
///
/// It reads only what is stored, and needs no lock. Exit code 0 if it could answer, 2 if there is no such record.
#[derive(Args)]
pub struct Explain {
    /// The job's name, or the path of its file.
    job: String,
    /// The record: its key in any spelling that is cleaned to it, the parts of a key separated by `|` or written as
    /// `field=value`; or a native id, as `SYSTEM:ID` for that of one system alone.
    #[arg(allow_hyphen_values = true)]
    key: String,
    /// Only this field.
    field: Option<String>,
    /// Only this run.
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// How many runs that touched it are told, the newest first.
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: usize,
    /// Show the values of sensitive fields too.
    #[arg(long)]
    reveal: bool,
}

impl Explain {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Result<u8, Error> {
        let question = Question { key: &self.key, field: self.field.as_deref(), run: self.run.as_deref(), runs_max: self.limit, reveal: self.reveal };
        explain_in(context, &context.project()?, &self.job, &question)
    }
}

/// Answers a question about a record of a job.
pub fn explain_in(context: &Context, project: &Project, job: &str, question: &Question<'_>) -> Result<u8, Error> {
    let job = project.job(job)?;
    let stored = Stored::open(&project.state_folder(&job.name))?;
    let explanation = explain::explain(&job, stored.as_ref(), question)?;
    if context.json {
        print_json(&explanation);
    } else {
        print(&explanation.text());
    }
    Ok(0)
}
