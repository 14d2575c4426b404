//! What `serve` remembers of each job between two starts, in `state/schedule.json`: up to when due times are dealt with, which
//! run is not through yet, what was missed and not told yet.
//!
//! Written in one step and durably whenever something was due; read by `status`. Losing it loses no record: runs that were
//! missed before cannot be told any more, that is all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::diagnostic::Place;
use crate::disk;
use crate::error::{Error, Remedy};
use crate::job::Schedule;
use crate::schedule::{Due, rfc3339};

const VERSION: u32 = 1;

/// What is remembered of one job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The expression that `handled` was reached with.
    pub cron: String,
    /// Its time zone.
    pub timezone: String,
    /// Every due time up to here is dealt with, or stands in one of the fields below.
    #[serde(with = "rfc3339")]
    pub handled: Timestamp,
    /// The due time whose run has not come to its end: it waits, is under way, or was cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Due>,
    /// Due times without a run that no report has told yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<Due>,
    /// Due times that fell into a run, or into the wait for one, and that no report has told yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlapped: Option<Due>,
    /// Why the last run that was due left no report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Slot {
    /// The slot of a job that is new: nothing before now was due.
    pub fn new(schedule: &Schedule, now: Timestamp) -> Slot {
        Slot { cron: schedule.cron.clone(), timezone: schedule.timezone.clone(), handled: now, pending: None, missed: None, overlapped: None, problem: None }
    }

    /// Adds due times that had no run. Those that are counted already are not counted twice.
    pub fn miss(&mut self, due: Due) {
        self.missed = match self.missed {
            Some(missed) if missed.last >= due.last => Some(missed),
            missed => Some(due.and(missed)),
        };
    }

    /// Adds due times that fell into a run.
    pub fn overlap(&mut self, due: Due) {
        self.overlapped = Some(due.and(self.overlapped));
    }
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    jobs: BTreeMap<String, Slot>,
}

/// The slots of all jobs, and the file that keeps them.
#[derive(Debug)]
pub struct Slots {
    path: PathBuf,
    /// By the name of the job.
    pub jobs: BTreeMap<String, Slot>,
}

impl Slots {
    /// Reads the slots of a state folder; none if there are none yet.
    ///
    /// # Errors
    /// `Look` if the file is damaged or of a newer version, `GiveAccess` if it cannot be read.
    pub fn read(state: &Path) -> Result<Slots, Error> {
        let path = state.join("schedule.json");
        if !path.exists() {
            return Ok(Slots { path, jobs: BTreeMap::new() });
        }
        let bytes = disk::read(&path)?.bytes;
        let document: Document = serde_json::from_slice(&bytes).map_err(|error| {
            Error::new(Remedy::Look, Place::of(path.display().to_string()), "what is known of past schedules is damaged")
                .seen(error.to_string())
                .seen("no run was started")
                .hint("remove the file: no record is lost, but runs that were missed until now cannot be told")
        })?;
        if document.version != VERSION {
            return Err(Error::new(
                Remedy::Look,
                Place::of(path.display().to_string()),
                format!("the schedule's state has version {}, this program knows {VERSION}", document.version),
            )
            .seen("no run was started")
            .hint("use the program that wrote it, or a newer one"));
        }
        Ok(Slots { path, jobs: document.jobs })
    }

    /// Makes the slots durable.
    ///
    /// # Errors
    /// `GiveAccess` if the file cannot be written; then it is as it was.
    pub fn save(&self) -> Result<(), Error> {
        let document = Document { version: VERSION, jobs: self.jobs.clone() };
        let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
        text.push('\n');
        disk::publish(&self.path, text.as_bytes())
    }
}
