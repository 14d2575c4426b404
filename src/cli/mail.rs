//! `tieout mail`.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use tieout::delivery::{self, Post, Which};
use tieout::diagnostic::Place;
use tieout::error::{Error, Remedy};
use tieout::state::MailState;

use super::{Context, print, print_json};

/// Send the mails that wait.
#[derive(Args)]
pub struct Mail {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// List the mails that wait, and send nothing.
    List,
    /// Send one message that says that mail works, and tell what the server says.
    Test {
        /// Whom to send it to; by default those who get the reports of jobs that do not say.
        #[arg(long, value_name = "ADDRESS")]
        to: Vec<String>,
    },
}

impl Mail {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Result<u8, Error> {
        let project = context.project()?;
        let now = Timestamp::now;
        let post = Post { root: &project.root, settings: &project.settings, now: &now };
        match &self.what {
            Some(What::Test { to }) => test(context, &post, if to.is_empty() { &project.settings.report.to } else { to }),
            Some(What::List) => list(context, &post),
            None => send(context, &post),
        }
    }
}

fn test(context: &Context, post: &Post<'_>, to: &[String]) -> Result<u8, Error> {
    if to.is_empty() {
        return Err(Error::new(Remedy::MendJob, Place::of("tieout mail test"), "it is not said whom to send it to")
            .seen("no mail was sent")
            .hint("name somebody with `--to you@example.com`, or `to` under `[defaults.report]` in tieout.toml"));
    }
    let steps = post.test(to)?;
    if context.json {
        print_json(&serde_json::json!({"place": post.place(), "to": to, "steps": steps}));
    } else {
        steps.iter().for_each(|step| print(step));
        if post.settings.mail.server.is_some() {
            print("mail works: see whether the message has come to the mailbox, and not to the spam");
        }
    }
    Ok(0)
}

fn list(context: &Context, post: &Post<'_>) -> Result<u8, Error> {
    let mut told = Vec::new();
    for job in post.jobs() {
        for mail in post.waiting(&job)? {
            let at = |seconds: i64| Timestamp::from_second(seconds).unwrap_or_default().to_string();
            let said = mail.said.as_deref().map(|said| format!(", the last time: {said}")).unwrap_or_default();
            if !context.json {
                print(&format!(
                    "{job}/{}  to {}: tried {}, queued {}, next {}{said}",
                    mail.run,
                    mail.to.join(", "),
                    times(mail.attempts),
                    at(mail.queued),
                    at(mail.next)
                ));
            }
            told.push(serde_json::json!({
                "job": job, "run": mail.run, "to": mail.to, "attempts": mail.attempts, "queued": at(mail.queued), "next": at(mail.next), "said": mail.said
            }));
        }
    }
    if context.json {
        print_json(&told);
    } else if told.is_empty() {
        print(none_waits(post));
    }
    Ok(0)
}

fn send(context: &Context, post: &Post<'_>) -> Result<u8, Error> {
    let mut tried = Vec::new();
    for job in post.jobs() {
        tried.extend(post.deliver_due(&job, Which::All)?);
    }
    if context.json {
        print_json(&tried);
        return Ok(if tried.iter().all(delivery::Tried::arrived) { 0 } else { Remedy::GiveAccess.exit_code() });
    }
    for mail in &tried {
        for recipient in &mail.recipients {
            let what = match recipient.state {
                MailState::Sent => "sent",
                MailState::Outbox => "put into the outbox",
                MailState::Refused => "refused for good",
                MailState::GivenUp => "given up",
                MailState::Waiting => "not yet",
            };
            let said = recipient.said.as_deref().unwrap_or_default();
            print(&format!("{}/{}  to {}: {what} ({said})", mail.job, mail.run, recipient.address));
        }
    }
    if tried.is_empty() {
        print(none_waits(post));
    }
    delivery::problem(&post.place(), &tried).map_or(Ok(0), Err)
}

fn none_waits(post: &Post<'_>) -> &'static str {
    match post.settings.mail.server {
        Some(_) => "no mail waits",
        None => "no mail waits: without a mail server in tieout.toml each is put as a file into the folder `outbox` of the reports",
    }
}

fn times(attempts: u32) -> String {
    match attempts {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        more => format!("{more} times"),
    }
}
