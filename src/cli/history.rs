//! `tieout history`.

use clap::{Args, ValueEnum};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use tieout::diagnostic::Place;
use tieout::error::{Error, Remedy};
use tieout::project::{Project, by_time};
use tieout::state::{HistoryLine, JobState, MailOfRun, MailState, Verification};

use super::{Context, print, print_json};

/// List past runs, the newest first.
#[derive(Args)]
pub struct History {
    /// The job; all jobs of the root if none is named.
    job: Option<String>,
    /// Only runs that started then or later: a day, `2026-03-31`, in the time zone of the settings, or a moment, `2026-03-31T01:00:00Z`.
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Only runs that started then or earlier; a day counts to its end.
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Only runs that ended so.
    #[arg(long, value_name = "VERDICT,..", value_delimiter = ',', ignore_case = true)]
    verdict: Vec<Ending>,
    /// How many runs of each job.
    #[arg(long, alias = "most", default_value_t = 20, value_name = "N")]
    limit: usize,
    /// Look through the whole ledger: whether every run is still as it was sealed. Exit code 4 if not.
    #[arg(long, conflicts_with_all = ["since", "until", "verdict"])]
    verify: bool,
    /// A head that a report or mail told, or its beginning: the ledger must still have it.
    #[arg(long, requires = "verify", requires = "job", value_name = "HEAD")]
    head: Option<String>,
}

/// How a run ended, for a filter.
#[derive(Clone, Copy, ValueEnum)]
enum Ending {
    Ok,
    Synced,
    Action,
    Failed,
    Running,
    CutOff,
}

impl Ending {
    fn word(self) -> &'static str {
        match self {
            Ending::Ok => "OK",
            Ending::Synced => "SYNCED",
            Ending::Action => "ACTION",
            Ending::Failed => "FAILED",
            Ending::Running => "RUNNING",
            Ending::CutOff => "CUT OFF",
        }
    }
}

/// What a look through a chain found, for a terminal.
fn told(job: &str, found: &Verification) -> String {
    let mut lines = Vec::new();
    let runs = |number: usize| format!("{number} {}", if number == 1 { "run" } else { "runs" });
    match (&found.span, found.altered.is_empty()) {
        (None, _) => lines.push(format!("{job}: no run is sealed yet")),
        (Some((first, last)), true) => lines.push(format!("{job}: {} from {first} to {last}, all as they were sealed", runs(found.runs))),
        (Some((first, last)), false) => lines.push(format!("{job}: {} from {first} to {last}: NOT as they were sealed", runs(found.runs))),
    }
    lines.extend(found.altered.iter().map(|what| format!("  {what}")));
    if let Some(asked) = &found.asked {
        lines.push(format!("  the head that was asked for is that of run {asked}; {} since", runs(found.since_asked)));
    }
    if found.removed_from > 0 {
        lines.push(format!("  rows of {} were removed because they were kept for long enough", runs(found.removed_from)));
    }
    match found.answers_unsealed {
        0 => {}
        1 => lines.push("  1 decision of a person is not sealed yet: the next run seals it".to_owned()),
        more => lines.push(format!("  {more} decisions of people are not sealed yet: the next run seals them")),
    }
    if !found.unsealed.is_empty() {
        lines.push(format!("  not sealed, because they have not ended or were cut off: {}", found.unsealed.join(", ")));
    }
    lines.extend(found.head.iter().map(|head| format!("  head {head}")));
    lines.join("\n")
}

/// The first moment of what a person wrote, and the first after it: of a day its first midnight and the next one.
fn moments(project: &Project, option: &str, written: &str) -> Result<(Timestamp, Timestamp), Error> {
    if let Ok(moment) = written.parse::<Timestamp>() {
        return Ok((moment, moment.checked_add(1.nanosecond()).unwrap_or(moment)));
    }
    let zone = TimeZone::get(&project.settings.timezone).unwrap_or(TimeZone::UTC);
    let midnight = |day: Date| day.to_zoned(zone.clone()).ok().map(|start| start.timestamp());
    let day = written.parse::<Date>().ok().filter(|_| written.len() == 10);
    day.and_then(|day| Some((midnight(day)?, midnight(day.tomorrow().ok()?)?))).ok_or_else(|| {
        Error::new(Remedy::MendJob, Place::of(option), format!("`{written}` is neither a day nor a moment"))
            .hint("write a day as `2026-03-31`, a moment as `2026-03-31T01:00:00Z`")
    })
}

impl History {
    fn verify(&self, context: &Context, project: &Project, jobs: &[String]) -> Result<u8, Error> {
        let (mut documents, mut is_altered) = (Vec::new(), false);
        for job in jobs {
            let Some(ledger) = JobState::read_ledger(&project.state_folder(job))? else {
                if self.head.is_some() {
                    return Err(Error::new(Remedy::Look, Place::of(job.as_str()), "there is no ledger of the job, and a head of it was told")
                        .hint("look for its state folder"));
                }
                continue;
            };
            let found = ledger.verify(self.head.as_deref())?;
            is_altered |= !found.altered.is_empty();
            if context.json {
                documents.push(serde_json::json!({"job": job, "verification": found}));
            } else {
                print(&told(job, &found));
            }
        }
        if context.json {
            print_json(&documents);
        }
        Ok(if is_altered { Remedy::Look.exit_code() } else { 0 })
    }

    /// Runs the command.
    pub fn run(&self, context: &Context) -> Result<u8, Error> {
        let project = context.project()?;
        let jobs = match &self.job {
            Some(job) => vec![project.job(job)?.name],
            None => project.job_names(),
        };
        if self.verify {
            return self.verify(context, &project, &jobs);
        }
        let since = self.since.as_deref().map(|written| moments(&project, "--since", written)).transpose()?;
        let until = self.until.as_deref().map(|written| moments(&project, "--until", written)).transpose()?;
        let is_wanted = |line: &HistoryLine| {
            let is_within = line.started.parse::<Timestamp>().map_or(since.is_none() && until.is_none(), |started| {
                since.is_none_or(|(from, _)| started >= from) && until.is_none_or(|(_, end)| started < end)
            });
            is_within && (self.verdict.is_empty() || self.verdict.iter().any(|ending| ending.word() == line.word()))
        };
        let mut all: Vec<(String, HistoryLine, Option<MailOfRun>)> = Vec::new();
        for job in jobs {
            if let Some(ledger) = JobState::read_ledger(&project.state_folder(&job))? {
                let lines = ledger.history(self.limit, is_wanted)?;
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
            let is_filtered = since.is_some() || until.is_some() || !self.verdict.is_empty();
            print(if is_filtered { "no such runs" } else { "no runs yet" });
        }
        for (job, line, mail) in all {
            print(&format!("{job}/{}  {:<8} {:<5} {}", line.run, line.word(), line.command, line.sentence.as_deref().unwrap_or_default()));
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
