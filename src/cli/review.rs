//! `tieout review`.

use clap::Args;
use jiff::Timestamp;
use jiff::civil::Date;
use tieout::decisions;
use tieout::diagnostic::Place;
use tieout::error::{Error, Remedy};
use tieout::job::Job;
use tieout::project::Project;
use tieout::reconcile::answers::Act;
use tieout::review::{self, Say, Signature};
use tieout::state::JobState;

use super::{Context, print, print_json};

/// List the breaks that wait for a person, or decide about them; the next run applies it.
///
/// Nothing is written to any system here. A decision counts for the values that it was made about: where one of them changed since,
/// it is not applied, and asked again.
#[derive(Args)]
pub struct ReviewJob {
    /// The job's name, or the path of its file.
    job: String,
    /// The breaks, by their ids or the beginning of these. Without a decision they are only shown.
    ids: Vec<String>,
    #[command(flatten)]
    word: Word,
    /// Why, in a sentence that is kept and told with the decision.
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// Who decides; by default the name of the login.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Show the values of sensitive fields too.
    #[arg(long)]
    reveal: bool,
}

/// At most one of them.
#[derive(Args)]
#[group(multiple = false)]
struct Word {
    /// Do what was proposed.
    #[arg(long)]
    accept: bool,
    /// Do not do it: the difference is accepted until one of its values changes.
    #[arg(long)]
    reject: bool,
    /// This system is right: its value is taken; of a deleted record, what is there comes back.
    #[arg(long, value_name = "SYSTEM")]
    choose: Option<String>,
    /// It calls nobody until this day, as `2026-12-31`.
    #[arg(long, value_name = "DAY")]
    snooze: Option<String>,
    /// Write a frozen field again.
    #[arg(long)]
    unfreeze: bool,
    /// Take back what was decided and no run has applied yet.
    #[arg(long)]
    forget: bool,
}

impl Word {
    /// What is said; nothing if the breaks are only to be listed.
    fn say(&self, today: Date) -> Result<Option<Say>, Error> {
        let act = match self {
            Word { accept: true, .. } => Act::Accept,
            Word { reject: true, .. } => Act::Reject,
            Word { unfreeze: true, .. } => Act::Unfreeze,
            Word { choose: Some(system), .. } => Act::Choose { system: system.clone() },
            Word { snooze: Some(day), .. } => Act::Snooze { until: day_after(day, today)?.to_string() },
            Word { forget: true, .. } => return Ok(Some(Say::Forget)),
            _ => return Ok(None),
        };
        Ok(Some(Say::Decide(act)))
    }
}

/// The day that somebody wrote, if it is still to come.
fn day_after(written: &str, today: Date) -> Result<Date, Error> {
    decisions::day_to_come(written, today).map_err(|wrong| {
        let hint = if wrong.ends_with("already") { "name the day on which it is to be asked again" } else { "write it as `2026-12-31`" };
        Error::new(Remedy::MendJob, Place::of("--snooze"), wrong).seen("nothing was kept").hint(hint)
    })
}

impl ReviewJob {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Result<u8, Error> {
        let project = context.project()?;
        let job = project.job(&self.job)?;
        let now = Timestamp::now();
        match self.word.say(now.to_zoned(jiff::tz::TimeZone::UTC).date())? {
            None => self.list(context, &project, &job, now),
            Some(say) => self.decide(context, &project, &job, &say, now),
        }
    }

    fn list(&self, context: &Context, project: &Project, job: &Job, now: Timestamp) -> Result<u8, Error> {
        let ledger = JobState::read_ledger(&project.state_folder(&job.name))?;
        let review = review::review(job, ledger.as_ref(), &self.ids, now, self.reveal)?;
        if context.json {
            print_json(&review);
        } else {
            print(&review.text());
        }
        Ok(0)
    }

    fn decide(&self, context: &Context, project: &Project, job: &Job, say: &Say, now: Timestamp) -> Result<u8, Error> {
        if self.ids.is_empty() {
            return Err(Error::new(Remedy::MendJob, Place::of(&job.name), "no break is named to decide about")
                .seen("nothing was kept")
                .hint(format!("`tieout review {}` lists them with their ids", job.name)));
        }
        let who = signer(self.by.as_deref())?;
        let folder = project.state_folder(&job.name);
        if JobState::read_ledger(&folder)?.is_none() {
            return Err(Error::new(Remedy::MendJob, Place::of(&job.name), "the job never ran: nothing waits for a decision")
                .hint(format!("run it with `tieout run {}`", job.name)));
        }
        let state = JobState::open(&folder, &format!("process {} since {now}, which decides", std::process::id()))?;
        let at = now.to_string();
        let kept = review::decide(job, &state.ledger, &self.ids, say, Signature { who: &who, why: self.why.as_deref(), at: &at })?;
        if context.json {
            print_json(&serde_json::json!({"job": job.name, "kept": kept}));
        } else {
            print(&kept.join("\n"));
        }
        Ok(0)
    }
}

/// Who decides: who is named, else the login.
pub fn signer(by: Option<&str>) -> Result<String, Error> {
    let who = by.map(str::to_owned).or_else(login).map(|who| who.trim().to_owned()).filter(|who| !who.is_empty());
    who.ok_or_else(|| {
        Error::new(Remedy::MendJob, Place::of("--by"), "nobody knows who decides: the login has no name")
            .seen("nothing was kept")
            .hint("name yourself with `--by NAME`")
    })
}

/// The name of the login, as the shell sees it.
fn login() -> Option<String> {
    ["LOGNAME", "USER", "USERNAME"].into_iter().filter_map(|name| std::env::var(name).ok()).find(|name| !name.trim().is_empty())
}
