//! The way of a mail: composed for a run, queued in the job's ledger, tried, tried again later, given up.
//!
//! A mail is queued together with the report, by the run that holds the lock of the job. It is tried when the run has given
//! the lock back, so that a server that hangs keeps nobody from the job; by every later run of the job; by `tieout mail`; and
//! by whoever runs the jobs on schedule. What comes of it changes neither the verdict nor the exit code of a run: it is told
//! on standard error, in the history, and in the report of the next run.
//!
//! # Design
//! A mail is delivered at least once. Between the answer of the server and the note of it in the ledger a program can be
//! killed; then the mail is sent again, with the same bytes and so the same `Message-ID`, by which mail programs and people
//! see that it is one. The other order would lose mails, and a lost mail looks like a quiet night.
//!
//! The wait before the next try grows fourfold up to six hours, and is a pure function of the try and of the mail: mails
//! that failed together do not come back together.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::diagnostic::Place;
use crate::disk;
use crate::error::{Error, Remedy};
use crate::job::{Job, Settings, Thread};
use crate::mail::{self, Answer, Fate, Letter, Server};
use crate::report::due::{self, Due, PastMail, Why};
use crate::report::mail::{Letterhead, compose, compose_test};
use crate::report::{Report, Verdict};
use crate::state::{JobState, Ledger, LostMail, MailState, NewMail, QueuedMail, RecipientOfMail, WaitingMail};

/// The letters of one conversation at most: their bytes are held in memory.
const LETTERS_MAX: usize = 20;
/// How many mails before a run are looked at to decide whether it is mailed.
const PAST_MAX: u32 = 1000;
/// The mails that a note or an error lists one by one.
const LISTED_MAX: usize = 3;
const FIRST_WAIT_S: i64 = 60;
const LONGEST_WAIT_S: i64 = 6 * 60 * 60;
const DAY_S: i64 = 24 * 60 * 60;
/// A claim outlives the longest conversation by this, so that a slow disk does not end it early.
const CLAIM_GRACE_S: i64 = 60;

/// From where mails are sent.
#[derive(Clone, Copy)]
pub struct Post<'a> {
    /// The root that relative paths start from.
    pub root: &'a Path,
    /// What all jobs share.
    pub settings: &'a Settings,
    /// The clock.
    pub now: &'a dyn Fn() -> Timestamp,
}

/// Which of the mails that wait are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those whose time has come, as many as fit into one conversation.
    Due,
    /// All, because a person asks for it.
    All,
}

/// A mail that was tried.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Tried {
    /// The job.
    pub job: String,
    /// The run that it is about.
    pub run: String,
    /// How often it has been tried by now.
    pub attempts: u32,
    /// What became of it, for each recipient that was tried.
    pub recipients: Vec<RecipientOfMail>,
    /// When it is tried again by itself, RFC 3339; nothing if nobody waits for it any more.
    pub next: Option<String>,
    /// What to do, where something went wrong that can be mended.
    pub hint: Option<String>,
}

impl Tried {
    /// Whether every recipient got it.
    pub fn arrived(&self) -> bool {
        self.recipients.iter().all(|recipient| matches!(recipient.state, MailState::Sent | MailState::Outbox))
    }
}

impl Post<'_> {
    /// Now, in seconds since 1970.
    fn seconds(&self) -> i64 {
        (self.now)().as_second()
    }

    fn state_folder(&self, job: &str) -> PathBuf {
        self.root.join(&self.settings.state).join(job)
    }

    fn outbox(&self) -> PathBuf {
        self.root.join(&self.settings.reports).join("outbox")
    }

    /// Where mails go, as the settings say it.
    pub fn place(&self) -> String {
        match &self.settings.mail.server {
            Some(server) => format!("{}:{}", server.host, server.port),
            None => self.outbox().display().to_string(),
        }
    }

    /// All jobs that ever ran here, whether or not their files are still there: their mails are sent all the same.
    pub fn jobs(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.join(&self.settings.state)).into_iter().flatten().flatten();
        let mut jobs: Vec<String> =
            entries.filter(|entry| entry.path().join("ledger.sqlite").is_file()).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        jobs.sort();
        jobs
    }

    /// The mails of a job that somebody waits for.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn waiting(&self, job: &str) -> Result<Vec<WaitingMail>, Error> {
        match JobState::mail_ledger(&self.state_folder(job))? {
            Some(ledger) => ledger.waiting_mails(),
            None => Ok(Vec::new()),
        }
    }

    /// Queues the mail of a run, if one is due and there is somebody to get it, and lays it into the run's `folder`. A mail
    /// that cannot be composed is queued as given up, so that the next report tells it.
    ///
    /// # Errors
    /// The mail cannot be composed, or the ledger cannot be written.
    pub fn queue(&self, ledger: &Ledger, job: &Job, report: &Report, workbook: Option<&[u8]>, folder: &Path, missed_runs: bool) -> Result<(), Error> {
        let past: Vec<PastMail> = ledger.queued_mails(PAST_MAX)?.iter().filter_map(past_mail).collect();
        let now = (self.now)();
        let missed = missed_runs.then(|| Due { why: Why::MissedRuns, after: past.last().copied() });
        let Some(due) = due::due(job.report.when, report, now, &past).or(missed) else { return Ok(()) };
        let to = due::recipients(&job.report, report.verdict, past.last().map(|mail| mail.verdict));
        if to.is_empty() {
            return Ok(());
        }
        let mut mail = NewMail {
            run: &report.run,
            verdict: report.verdict.word(),
            exit_code: report.exit_code,
            why: due.why.word(),
            sender: "",
            to: &to,
            message: &[],
            now: now.as_second(),
        };
        match self.composed(report, workbook, due, &to) {
            Ok(composed) => {
                (mail.sender, mail.to, mail.message) = (&composed.sender, &composed.to, &composed.message);
                let kept = disk::write_new(&folder.join("mail.eml"), &composed.message);
                ledger.queue_mail(mail)?;
                kept
            }
            Err(error) => {
                ledger.queue_mail(mail)?;
                if let Some(queued) = ledger.waiting_mails()?.iter().find(|queued| queued.run == report.run) {
                    let said = summary(&error);
                    let lost: Vec<RecipientOfMail> =
                        to.iter().map(|to| RecipientOfMail { address: to.clone(), state: MailState::GivenUp, said: Some(said.clone()) }).collect();
                    ledger.mail_tried(queued.number, &lost, mail.now, mail.now)?;
                }
                Err(error)
            }
        }
    }

    fn composed(&self, report: &Report, workbook: Option<&[u8]>, due: Due, to: &[String]) -> Result<Composed, Error> {
        let settings = &self.settings.mail;
        let sender = mail::resolved(&settings.from, "mail.from", self.root)?;
        let reply_to = settings.reply_to.as_ref().map(|reply_to| mail::resolved(reply_to, "mail.reply_to", self.root)).transpose()?;
        let to: Vec<String> = to.iter().map(|to| mail::resolved(to, "report.to", self.root)).collect::<Result<_, _>>()?;
        let letterhead = Letterhead { from: &sender, to: &to, reply_to: reply_to.as_deref(), due, by_month: settings.thread == Thread::Month };
        let message = compose(report, &letterhead, workbook)?;
        Ok(Composed { sender, to, message })
    }

    /// Tries the mails of a job that wait: all in one conversation with the server, or several if a person asks for all.
    /// One conversation takes no longer than the timeout of the server. A mail that somebody else is sending is left to them.
    ///
    /// Gives what was tried. That something could not be sent is no error.
    ///
    /// # Errors
    /// The ledger cannot be read or written.
    pub fn deliver_due(&self, job: &str, which: Which) -> Result<Vec<Tried>, Error> {
        let Some(ledger) = JobState::mail_ledger(&self.state_folder(job))? else { return Ok(Vec::new()) };
        let now = self.seconds();
        let mut waiting = ledger.waiting_mails()?;
        waiting.retain(|mail| which == Which::All || mail.next <= now);
        let mut tried = Vec::new();
        for mails in waiting.chunks(LETTERS_MAX) {
            let of_these = self.deliver(&ledger, job, mails)?;
            // A server that is in trouble now is in trouble for the others, too.
            let go_on = which == Which::All && of_these.len() == mails.len() && of_these.iter().all(|mail| mail.hint.is_none());
            tried.extend(of_these);
            if !go_on {
                break;
            }
        }
        Ok(tried)
    }

    fn deliver(&self, ledger: &Ledger, job: &str, mails: &[WaitingMail]) -> Result<Vec<Tried>, Error> {
        let now = self.seconds();
        let timeout = self.settings.mail.server.as_ref().map_or(0, |server| i64::from(server.timeout_s));
        let mut claimed: Vec<(&WaitingMail, Letter)> = Vec::with_capacity(mails.len());
        for mail in mails {
            if let Some(message) = ledger.claim_mail(mail.number, now, now + timeout + CLAIM_GRACE_S)? {
                claimed.push((mail, Letter { from: mail.sender.clone(), to: mail.to.clone(), message }));
            }
        }
        let letters: Vec<Letter> = claimed.iter().map(|(_, letter)| letter.clone()).collect();
        let (answers, hint) = if letters.is_empty() { (Vec::new(), None) } else { self.hand_over(job, &claimed, &letters) };
        let mut tried = Vec::new();
        for ((mail, _), answers) in claimed.iter().zip(answers) {
            if answers.is_empty() {
                ledger.release_mail(mail.number)?;
                continue;
            }
            let now = self.seconds();
            let attempts = mail.attempts + 1;
            let is_old = now - mail.queued >= i64::from(self.settings.mail.give_up_days) * DAY_S;
            let recipients: Vec<RecipientOfMail> = answers
                .into_iter()
                .map(|answer| RecipientOfMail {
                    state: match answer.fate {
                        Fate::Taken if self.settings.mail.server.is_none() => MailState::Outbox,
                        Fate::Taken => MailState::Sent,
                        Fate::Refused => MailState::Refused,
                        Fate::Later if is_old => MailState::GivenUp,
                        Fate::Later => MailState::Waiting,
                    },
                    address: answer.to,
                    said: Some(answer.said),
                })
                .collect();
            let next = now + wait_s(attempts, seed(job, &mail.run));
            ledger.mail_tried(mail.number, &recipients, now, next)?;
            let waits = recipients.iter().any(|recipient| recipient.state == MailState::Waiting);
            tried.push(Tried {
                job: job.to_owned(),
                run: mail.run.clone(),
                attempts,
                next: waits.then(|| Timestamp::from_second(next).unwrap_or_default().to_string()),
                hint: hint.clone().filter(|_| recipients.iter().any(|recipient| recipient.state != MailState::Sent)),
                recipients,
            });
        }
        Ok(tried)
    }

    /// By letter, an answer for every recipient; none where the letter was not tried.
    fn hand_over(&self, job: &str, claimed: &[(&WaitingMail, Letter)], letters: &[Letter]) -> (Vec<Vec<Answer>>, Option<String>) {
        let all_later = |error: &Error| {
            let said = summary(error);
            let of_letter = |letter: &Letter| letter.to.iter().map(|to| Answer { to: to.clone(), fate: Fate::Later, said: said.clone() }).collect();
            (letters.iter().map(of_letter).collect(), error.diagnostics.first().and_then(|d| d.hint.clone()))
        };
        let Some(settings) = &self.settings.mail.server else {
            let mut hint = None;
            let into_outbox = |(mail, letter): &(&WaitingMail, Letter)| {
                let put = mail::deliver_to_outbox(&self.outbox(), &format!("{job}-{}", mail.run), &letter.message);
                let (fate, said) = match &put {
                    Ok(_) => (Fate::Taken, "in the outbox".to_owned()),
                    Err(error) => {
                        hint = error.diagnostics.first().and_then(|d| d.hint.clone());
                        (Fate::Later, summary(error))
                    }
                };
                letter.to.iter().map(|to| Answer { to: to.clone(), fate, said: said.clone() }).collect()
            };
            let answers = claimed.iter().map(into_outbox).collect();
            return (answers, hint);
        };
        match Server::open(settings, self.root) {
            Ok(server) => {
                let delivery = server.deliver(letters);
                (delivery.answers, delivery.trouble.map(|trouble| trouble.hint))
            }
            Err(error) => all_later(&error),
        }
    }

    /// Sends one message that says that mail works, and gives what was said on the way, a line each.
    ///
    /// # Errors
    /// Whatever keeps it from any of its recipients.
    pub fn test(&self, to: &[String]) -> Result<Vec<String>, Error> {
        let settings = &self.settings.mail;
        let from = mail::resolved(&settings.from, "mail.from", self.root)?;
        let now = (self.now)();
        let message = compose_test(&from, to, now)?;
        let Some(server) = &settings.server else {
            let path = mail::deliver_to_outbox(&self.outbox(), &format!("test-{}", now.strftime("%Y%m%dT%H%M%SZ")), &message)?;
            return Ok(vec![
                "no mail server is named: mails are put into the outbox, for another program to send".to_owned(),
                format!("the message: {}", path.display()),
            ]);
        };
        let place = || Place::of(self.place());
        let delivery = Server::open(server, self.root)?.deliver(&[Letter { from, to: to.to_vec(), message }]);
        let mut error = match delivery.trouble {
            Some(trouble) => Error::new(Remedy::GiveAccess, place(), trouble.what).hint(trouble.hint),
            None if delivery.answers.iter().flatten().all(|answer| answer.fate == Fate::Taken) => return Ok(delivery.steps),
            None => Error::new(Remedy::GiveAccess, place(), "the mail server did not take the message for everybody").hint("its answers say why"),
        };
        for step in delivery.steps {
            error = error.seen(step);
        }
        let taken = delivery.answers.iter().flatten().any(|answer| answer.fate == Fate::Taken);
        Err(error.seen(if taken { "the others will get the message" } else { "no mail was sent" }))
    }
}

struct Composed {
    sender: String,
    to: Vec<String>,
    message: Vec<u8>,
}

/// What a person should know about the mails before this run, a sentence each, and those that are told by it for good.
///
/// # Errors
/// The ledger cannot be read.
pub fn notes(ledger: &Ledger) -> Result<(Vec<String>, Vec<LostMail>), Error> {
    let mut notes = Vec::new();
    let lost = ledger.lost_mails()?;
    if !lost.is_empty() {
        let listed = lost.iter().map(|lost| {
            let why = if lost.state == MailState::Refused { "refused" } else { "given up" };
            format!("of run {} to {} ({why}: {})", lost.run, lost.address, lost.said.as_deref().unwrap_or("no reason is known"))
        });
        let mails = if lost.len() == 1 { "1 mail".to_owned() } else { format!("{} mails", lost.len()) };
        notes.push(format!("{mails} could not be sent: {}", listing(listed, lost.len())));
    }
    let waiting = ledger.waiting_mails()?;
    if !waiting.is_empty() {
        let listed = waiting.iter().map(|mail| {
            let said = mail.said.as_ref().map(|said| format!(", the last time: {said}")).unwrap_or_default();
            let times = if mail.attempts == 1 { "once".to_owned() } else { format!("{} times", mail.attempts) };
            format!("of run {} to {}, tried {times}{said}", mail.run, mail.to.join(", "))
        });
        let mails = if waiting.len() == 1 { "1 mail waits".to_owned() } else { format!("{} mails wait", waiting.len()) };
        notes.push(format!("{mails} to be sent: {}", listing(listed, waiting.len())));
    }
    Ok((notes, lost))
}

fn listing(all: impl Iterator<Item = String>, count: usize) -> String {
    let mut listed: Vec<String> = all.take(LISTED_MAX).collect();
    if count > LISTED_MAX {
        listed.push(format!("and {} more", count - LISTED_MAX));
    }
    listed.join("; ")
}

/// What the operator is told of mails that did not arrive; nothing if all did.
pub fn problem(place: &str, tried: &[Tried]) -> Option<Error> {
    let failed: Vec<&Tried> = tried.iter().filter(|mail| !mail.arrived()).collect();
    let first = failed.first()?;
    let message = match failed.len() {
        1 => format!("the mail of run {} has not been sent to everybody", first.run),
        more => format!("{more} mails have not been sent to everybody"),
    };
    let mut error = Error::new(Remedy::GiveAccess, Place::of(place), message);
    for mail in failed.iter().take(LISTED_MAX) {
        for recipient in mail.recipients.iter().filter(|recipient| !matches!(recipient.state, MailState::Sent | MailState::Outbox)) {
            let what = match recipient.state {
                MailState::Refused => "refused for good",
                MailState::GivenUp => "given up",
                _ => "not yet",
            };
            error = error.seen(format!("{} to {}: {what}: {}", mail.run, recipient.address, recipient.said.as_deref().unwrap_or_default()));
        }
    }
    if failed.len() > LISTED_MAX {
        error = error.seen(format!("and {} more", failed.len() - LISTED_MAX));
    }
    if failed.iter().any(|mail| mail.next.is_some()) {
        error = error.seen("the report is on disk, and the mail is kept: it is tried again by the next run and by `tieout mail`");
    }
    let hint = failed.iter().find_map(|mail| mail.hint.clone());
    Some(error.hint(hint.unwrap_or_else(|| "the answers of the mail server say why".to_owned())))
}

/// The first message of an error with what was seen, in one line.
fn summary(error: &Error) -> String {
    let Some(first) = error.diagnostics.first() else { return String::new() };
    first.seen.first().map_or_else(|| first.message.clone(), |seen| format!("{}: {seen}", first.message))
}

fn past_mail(mail: &QueuedMail) -> Option<PastMail> {
    let verdict = [Verdict::Ok, Verdict::Synced, Verdict::Action, Verdict::Failed].into_iter().find(|verdict| verdict.word() == mail.verdict)?;
    Some(PastMail { at: Timestamp::from_second(mail.queued).ok()?, verdict, exit_code: mail.exit_code, why: Why::of_word(&mail.why).unwrap_or(Why::Always) })
}

fn seed(job: &str, run: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(format!("{job}/{run}").as_bytes())
}

/// The seconds from a try, counted from 1, to the next: 1, 4, 16, 64, 256 minutes, then 6 hours, each up to a quarter
/// shorter or longer by the seed.
fn wait_s(attempt: u32, seed: u64) -> i64 {
    let exponent = attempt.saturating_sub(1).min(10);
    let wait = FIRST_WAIT_S.saturating_mul(4_i64.saturating_pow(exponent)).min(LONGEST_WAIT_S);
    let chance = xxhash_rust::xxh3::xxh3_64_with_seed(&attempt.to_le_bytes(), seed) % 1000;
    let per_mille = 750 + i64::try_from(chance).unwrap_or(0) / 2;
    wait * per_mille / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_and_mails_that_fail_together_do_not_come_back_together() {
        for seed in 0..200 {
            let waits: Vec<i64> = (1..=12).map(|attempt| wait_s(attempt, seed)).collect();
            for (wait, middle) in waits.iter().zip([60, 240, 960, 3840, 15360, 21600, 21600]) {
                assert!((middle * 3 / 4..=middle * 5 / 4).contains(wait), "{waits:?}");
            }
            assert!(waits.iter().all(|wait| *wait <= LONGEST_WAIT_S * 5 / 4));
            assert_eq!(waits, (1..=12).map(|attempt| wait_s(attempt, seed)).collect::<Vec<_>>());
        }
        let firsts: std::collections::BTreeSet<i64> = (0..50).map(|night| wait_s(1, seed("customers", &format!("202603{night:02}T010000Z")))).collect();
        assert!(firsts.len() > 15, "{firsts:?}");
        assert!(wait_s(u32::MAX, 7) > 0 && wait_s(0, 7) > 0);
    }

    #[test]
    fn a_listing_is_short() {
        let all = |count: usize| listing((0..count).map(|n| n.to_string()), count);
        assert_eq!((all(1).as_str(), all(3).as_str(), all(5).as_str()), ("0", "0; 1; 2", "0; 1; 2; and 2 more"));
    }
}
