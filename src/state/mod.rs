//! What a job remembers between runs, in `state/<job>/`: the lock, the ledger, the bases, the snapshots and the plans.
//!
//! ```text
//! lock                                     who runs, and since when
//! ledger.sqlite                            runs, journal, breaks, discarded values, mail
//! base/<run>/<system>.parquet, open.jsonl  what the next run compares with, and what is still owed
//! snapshots/<run>/<system>.parquet         what each system held when it was pulled
//! plans/<run>.jsonl                        a header, then a decision or change a line
//! ```
//!
//! # Design
//! Nothing here is ever changed in place. A run writes a folder of its own, makes it durable, and is then promoted by one
//! transaction of the ledger; folders that no promoted run names go at the next start.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use polars::prelude::*;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use serde::{Deserialize, Serialize};

use crate::change::{Change, Decision, Plan, PlanHeader};
use crate::diagnostic::Place;
use crate::disk;
use crate::error::{Error, Remedy};
use crate::frame::Pulled;
use crate::job::Job;
use crate::reconcile::base::{Base, Open, OpenField, OpenRecord, State};

mod ledger;

pub use ledger::{
    HistoryLine, Interrupted, Knowledge, KnownBreak, Ledger, LostMail, MailOfRun, MailState, NewMail, Promoted, Promotion, QueuedMail, RecipientOfMail,
    WaitingMail,
};

/// The state of one job on the disk.
#[derive(Debug)]
pub struct JobState {
    folder: PathBuf,
    /// The ledger.
    pub ledger: Ledger,
    _lock: disk::Lock,
}

/// One line of the file of what is still open.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OpenLine {
    Field { record: u64, field: String, open: OpenField },
    Record { record: u64, system: String, open: OpenRecord },
}

/// One line of a plan file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PlanLine {
    Plan(PlanHeader),
    Decision(Decision),
    Change(Change),
}

impl JobState {
    /// Takes the job's lock, opens its ledger and clears away what an interrupted run left behind.
    ///
    /// # Errors
    /// `Wait` if another run holds the lock, `Look` if the ledger is damaged, `GiveAccess` if the folder cannot be used.
    pub fn open(folder: &Path, holder: &str) -> Result<JobState, Error> {
        disk::create_dir_private(folder)?;
        for part in ["base", "snapshots", "plans"] {
            disk::create_dir_private(&folder.join(part))?;
        }
        let lock = disk::lock(&folder.join("lock"), holder)?;
        let ledger = Ledger::open(&folder.join("ledger.sqlite"))?;
        Ok(JobState { folder: folder.to_owned(), ledger, _lock: lock })
    }

    /// The ledger of a job for reading, without its lock; nothing if the job never ran.
    pub fn read_ledger(folder: &Path) -> Result<Option<Ledger>, Error> {
        Ledger::read(&folder.join("ledger.sqlite"))
    }

    /// The ledger of a job for its mails, without its lock; nothing if the job never ran.
    pub fn mail_ledger(folder: &Path) -> Result<Option<Ledger>, Error> {
        Ledger::of_mails(&folder.join("ledger.sqlite"))
    }

    /// The folder of a run's bases.
    pub fn bases_of(&self, run: &str) -> PathBuf {
        self.folder.join("base").join(run)
    }

    /// Begins to write the snapshots of a run, and to make them durable, while the run goes on.
    pub fn start_saving(&self, run: &str, pulled: Vec<(String, Arc<Pulled>)>) -> Saving {
        let folder = self.folder.join("snapshots").join(run);
        Saving(Some(std::thread::spawn(move || save_snapshots(&folder, &pulled))))
    }

    /// Writes the plan of a run and makes it durable. Gives its SHA-256.
    pub fn save_plan(&self, run: &str, plan: &Plan) -> Result<String, Error> {
        let bytes = plan_bytes(plan);
        disk::write_new(&self.folder.join("plans").join(format!("{run}.jsonl")), &bytes)?;
        Ok(disk::digest(&bytes))
    }

    /// Reads the plan of a run back, and checks that it is the one that the ledger knows.
    pub fn load_plan(&self, run: &str, digest: &str) -> Result<Plan, Error> {
        let path = self.folder.join("plans").join(format!("{run}.jsonl"));
        if !path.exists() {
            return Err(lost(&path, "it is gone, and a run that was cut off cannot be settled without it"));
        }
        let contents = disk::read(&path)?;
        if contents.sha256 != digest {
            return Err(lost(&path, "its digest is not the one in the ledger"));
        }
        let text = String::from_utf8(contents.bytes).map_err(|e| lost(&path, &e.to_string()))?;
        let mut plan = Plan::default();
        for line in text.lines() {
            match serde_json::from_str(line).map_err(|e| lost(&path, &e.to_string()))? {
                PlanLine::Plan(header) => plan.header = header,
                PlanLine::Decision(decision) => plan.decisions.push(decision),
                PlanLine::Change(change) => plan.changes.push(change),
            }
        }
        Ok(plan)
    }

    /// Writes the bases of a run and makes them durable. They count only once the run is promoted.
    pub fn save(&self, job: &Job, run: &str, state: &State) -> Result<(), Error> {
        let folder = self.folder.join("base").join(run);
        disk::create_dir_private(&folder)?;
        state.bases.par_iter().zip(&job.systems).try_for_each(|(base, system)| {
            let path = folder.join(format!("{}.parquet", system.name));
            let mut frame = base.to_frame(job).map_err(|e| lost(&path, &e.to_string()))?;
            write_parquet(&path, &mut frame)
        })?;
        let mut bytes = Vec::new();
        for ((record, field), open) in &state.open.fields {
            push_line(&mut bytes, &OpenLine::Field { record: *record, field: field.clone(), open: open.clone() });
        }
        for ((record, system), open) in &state.open.records {
            push_line(&mut bytes, &OpenLine::Record { record: *record, system: system.clone(), open: open.clone() });
        }
        disk::write_new(&folder.join("open.jsonl"), &bytes)?;
        disk::sync_folder(&folder)?;
        disk::sync_folder(&self.folder.join("base"))
    }

    /// Removes bases that no promoted run needs, and snapshots and plans older than `oldest`, a run id.
    pub fn tidy(&self, promoted: Option<&str>, oldest: &str) -> Result<(), Error> {
        let names = |part: &str| -> Vec<(String, PathBuf)> {
            let entries = fs::read_dir(self.folder.join(part)).into_iter().flatten().flatten();
            entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect()
        };
        let gone = |path: &Path| if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        for (name, path) in names("base") {
            if Some(name.as_str()) != promoted {
                gone(&path).map_err(|e| Error::new(Remedy::GiveAccess, Place::of(path.display().to_string()), format!("cannot be removed: {e}")))?;
            }
        }
        for (name, path) in names("snapshots").into_iter().chain(names("plans")) {
            if name.as_str() < oldest && !promoted.is_some_and(|run| name.starts_with(run)) {
                gone(&path).map_err(|e| Error::new(Remedy::GiveAccess, Place::of(path.display().to_string()), format!("cannot be removed: {e}")))?;
            }
        }
        Ok(())
    }
}

/// The state that a promoted run left in the folder of its bases.
///
/// # Errors
/// `Look` if a file of it is missing or damaged.
pub fn load(folder: &Path, job: &Job, promoted: &Promoted) -> Result<State, Error> {
    let mut bases = Vec::with_capacity(job.systems.len());
    for (index, system) in job.systems.iter().enumerate() {
        let path = folder.join(format!("{}.parquet", system.name));
        if !path.exists() {
            bases.push(Base::empty(job, index));
            continue;
        }
        let frame = read_parquet(&path)?;
        bases.push(Base::from_frame(job, index, &frame).ok_or_else(|| lost(&path, "it is not a base"))?);
    }
    let path = folder.join("open.jsonl");
    let mut open = Open::default();
    for line in read_lines(&path)? {
        match serde_json::from_str(&line).map_err(|e| lost(&path, &e.to_string()))? {
            OpenLine::Field { record, field, open: body } => {
                open.fields.insert((record, field), body);
            }
            OpenLine::Record { record, system, open: body } => {
                open.records.insert((record, system), body);
            }
        }
    }
    Ok(State { bases, open, next_record: promoted.knowledge.next_record })
}

/// Snapshots that are being written. Whoever drops it waits for the end, so that no half-written file outlives its run.
#[derive(Debug)]
pub struct Saving(Option<JoinHandle<Result<(), Error>>>);

impl Saving {
    /// Waits until the snapshots are durable.
    ///
    /// # Errors
    /// `GiveAccess` if they cannot be written.
    pub fn finish(mut self) -> Result<(), Error> {
        self.0.take().map_or(Ok(()), wait_for)
    }
}

impl Drop for Saving {
    fn drop(&mut self) {
        // Whoever does not ask for the result stops for another reason, and that one is told.
        let _ = self.0.take().map(wait_for);
    }
}

fn wait_for(thread: JoinHandle<Result<(), Error>>) -> Result<(), Error> {
    let died = |_| {
        Err(Error::new(Remedy::Look, Place::of("snapshots"), "saving the snapshots failed in a way that this program does not know")
            .seen("nothing was written to any system"))
    };
    thread.join().unwrap_or_else(died)
}

fn save_snapshots(folder: &Path, pulled: &[(String, Arc<Pulled>)]) -> Result<(), Error> {
    disk::create_dir_private(folder)?;
    for (system, pulled) in pulled {
        let path = folder.join(format!("{system}.parquet"));
        let mut frame = pulled.to_frame().map_err(|e| lost(&path, &e.to_string()))?;
        write_parquet(&path, &mut frame)?;
    }
    disk::sync_folder(folder)
}

/// The plan as it is stored and hashed: a header, the decisions, the changes; a JSON document a line.
pub fn plan_bytes(plan: &Plan) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_line(&mut bytes, &PlanLine::Plan(plan.header.clone()));
    for decision in &plan.decisions {
        push_line(&mut bytes, &PlanLine::Decision(decision.clone()));
    }
    for change in &plan.changes {
        push_line(&mut bytes, &PlanLine::Change(change.clone()));
    }
    bytes
}

fn push_line(bytes: &mut Vec<u8>, line: &impl Serialize) {
    // Writing plain data into memory has nothing that can fail.
    let _ = serde_json::to_writer(&mut *bytes, line);
    bytes.push(b'\n');
}

fn lost(path: &Path, seen: &str) -> Error {
    Error::new(Remedy::Look, Place::of(path.display().to_string()), "the state is damaged")
        .seen(seen.to_owned())
        .seen("nothing was written")
        .hint("put the job's state folder back from a backup; without one, move it away: the next run is a first contact and deletes nothing")
}

fn read_lines(path: &Path) -> Result<Vec<String>, Error> {
    let file = File::open(path).map_err(|e| lost(path, &e.to_string()))?;
    BufReader::new(file).lines().collect::<Result<_, _>>().map_err(|e| lost(path, &e.to_string()))
}

fn read_parquet(path: &Path) -> Result<DataFrame, Error> {
    let file = File::open(path).map_err(|e| lost(path, &e.to_string()))?;
    ParquetReader::new(file).finish().map_err(|e| lost(path, &e.to_string()))
}

fn write_parquet(path: &Path, frame: &mut DataFrame) -> Result<(), Error> {
    use std::os::unix::fs::OpenOptionsExt;
    let refuse = |what: String| {
        Error::new(Remedy::GiveAccess, Place::of(path.display().to_string()), "the state cannot be written")
            .seen(what)
            .hint("make room or give access, then run again: nothing is lost")
    };
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(|e| refuse(e.to_string()))?;
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    ParquetWriter::new(&mut writer)
        .with_compression(ParquetCompression::Lz4Raw)
        .with_statistics(StatisticsOptions::empty())
        .finish(frame)
        .map_err(|e| refuse(e.to_string()))?;
    writer.flush().map_err(|e| refuse(e.to_string()))?;
    let file = writer.into_inner().map_err(|e| refuse(e.to_string()))?;
    file.sync_all().map_err(|e| refuse(e.to_string()))
}

/// Run ids by time: the start in UTC, then `-2`, `-3` where it is taken: by a run of the ledger, or by a report that outlived
/// a lost state folder.
pub fn free_run_id(ledger: &Ledger, reports: &Path, start: &str) -> Result<String, Error> {
    let mut id = start.to_owned();
    let mut next = 2;
    while ledger.knows(&id)? || reports.join(&id).exists() {
        id = format!("{start}-{next}");
        next += 1;
    }
    Ok(id)
}

/// Snapshot digests by system, for the plan's header.
pub fn snapshot_digests<'a>(pulled: impl IntoIterator<Item = (&'a str, &'a Pulled)>) -> BTreeMap<String, String> {
    pulled.into_iter().filter_map(|(system, pulled)| Some((system.to_owned(), pulled.evidence.sha256.clone()?))).collect()
}
