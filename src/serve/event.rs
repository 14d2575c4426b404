//! What `serve` tells while it runs: one line an event.

use jiff::Timestamp;
use serde::Serialize;

use crate::error::Error;
use crate::schedule::rfc3339;

/// What sort of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// It started, and serves these jobs.
    Serving,
    /// A job file was read: at the start, new or changed.
    Read,
    /// A job file is gone, or no longer names a schedule.
    Removed,
    /// A file cannot be used; what was last right in it is kept.
    Broken,
    /// A file that could not be used is right again.
    Mended,
    /// Runs were due while nobody could make them.
    Missed,
    /// A run was due while the one before it was still under way, or still waited for its turn.
    Overlapped,
    /// A run began.
    Began,
    /// A run ended.
    Ended,
    /// A run has to wait: somebody else runs the job.
    Held,
    /// A run could not be made, or something around it failed.
    Problem,
    /// The clock was set.
    Clock,
    /// It was asked to stop.
    Stopping,
    /// It ended.
    Stopped,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
    /// What.
    pub event: What,
    /// The job, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The run, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The verdict of a run that ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<&'static str>,
    /// It, in a sentence.
    pub message: String,
}

impl Event {
    /// The event as one line for people.
    pub fn text(&self) -> String {
        let job = self.job.as_ref().map(|job| format!("{job}: ")).unwrap_or_default();
        one_line(&format!("{} {job}{}", self.at.strftime("%Y-%m-%dT%H:%M:%SZ"), self.message))
    }

    /// The event as one line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// An error in one line: each place with its message, what was seen and the hint.
pub fn told(error: &Error) -> String {
    let of_each = error.diagnostics.iter().map(|d| {
        let seen: String = d.seen.iter().map(|line| format!("; {line}")).collect();
        let hint = d.hint.as_ref().map(|hint| format!("; hint: {hint}")).unwrap_or_default();
        format!("{}: {}{seen}{hint}", d.place, d.message)
    });
    one_line(&of_each.collect::<Vec<_>>().join(" | "))
}

/// What comes from a file must not end a line or move a cursor.
fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}
