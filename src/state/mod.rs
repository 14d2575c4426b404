//! What a job remembers between runs, in `state/<job>/`: the lock, the ledger, the bases, the snapshots and the plans.
//!
//! ```text
//! lock                                     who runs, and since when
//! ledger.sqlite                            runs, journal, breaks, people's decisions, discarded values, mail; sealed run by run
//! base/<run>/<system>.parquet, open.jsonl  what the next run compares with, and what is still owed
//! base/<run>/records.parquet               the records that the run looked into, where it left only those
//! base/<run>/written.parquet               the fields that the run wrote
//! base/<run>/rest.parquet                  the records at rest, with the hashes of their rows
//! base/<run>-adopted/<system>.parquet      what the run took over a stretch of records at a time
//! snapshots/<run>/..                       what each system held when it was pulled
//! plans/<run>.jsonl                        a header, then a decision or change a line
//! ```
//!
//! # Design
//! Nothing here is ever changed in place. A run writes a folder of its own, makes it durable, and is then promoted by one
//! transaction of the ledger; folders that no promoted run names go at the next start.
//!
//! A run that looked into few records writes the bases of those alone, on top of the folders of earlier runs ([`Bases`]). After
//! eight of them, or when they hold a quarter of all records, everything is written anew into one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use polars::prelude::*;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::change::{Change, Decision, Plan, PlanHeader};
use crate::diagnostic::Place;
use crate::disk;
use crate::error::{Error, Remedy};
use crate::frame::Pulled;
use crate::job::Job;
use crate::reconcile::base::{Base, Flips, Open, OpenField, OpenRecord, State, Written};
use crate::reconcile::rest::{Rest, Resting};

mod ledger;
mod parquet;
mod parts;
mod snapshots;
mod stored;

use self::parquet::{ParquetFile, read_columns, read_parquet, read_rows, write_parquet};

pub use ledger::{
    AnswerEvent, Bases, BreakEvent, DiscardedValue, Ending, HistoryLine, Interrupted, Knowledge, KnownBreak, Ledger, LinkOfRecord, LostMail, MailOfRun,
    MailState, NewMail, Promoted, Promotion, QueuedMail, RecipientOfMail, RestPlace, Retention, Retry, RunOfStory, SentChange, SnapshotPlace, Verification,
    WaitingMail,
};
pub use parts::StoredBases;
pub use snapshots::{Below, Kept, Saving, SnapshotFile};
pub use stored::{Held, Known, PlanOfRecords, Stored, keys_of};

/// The bases of so many records are written anew at once.
const RECORDS_AT_ONCE: usize = 1 << 18;

/// What stands behind the name of a run in that of the folder of the bases that it took over.
const ADOPTED: &str = "-adopted";

/// How many folders the bases of a run may be spread over.
const PARTS_MAX: usize = 8;

/// What a run leaves to the next.
#[derive(Clone, Copy)]
pub struct Leaving<'a> {
    /// The state of the records that it looked into.
    pub state: &'a State,
    /// Those records, ascending.
    pub looked_into: &'a [u64],
    /// The records that were at rest before it, and which of them it did not look into.
    pub rested: Option<(&'a Rest, &'a Resting)>,
    /// The records that are at rest after it.
    pub rest: &'a Rest,
    /// The bases of those that it took over a stretch at a time, if there are any.
    pub adopted: Option<&'a AdoptedBases>,
    /// How many snapshots its own stand on.
    pub snapshot_depth: u32,
}

/// The bases of records that were taken over, written a stretch of records at a time. Whoever drops it removes
/// them, unless it was told to keep them.
pub struct AdoptedBases {
    folder: PathBuf,
    files: Vec<ParquetFile>,
    is_kept: AtomicBool,
}

impl AdoptedBases {
    /// Adds the bases of further records, by system.
    ///
    /// # Errors
    /// `GiveAccess` if they cannot be written.
    pub fn add(&mut self, job: &Job, bases: &[Base]) -> Result<(), Error> {
        self.files.par_iter_mut().zip(bases).try_for_each(|(file, base)| file.add(&base.to_frame(job).map_err(|e| lost(&self.folder, &e.to_string()))?))
    }

    /// Makes them durable.
    ///
    /// # Errors
    /// `GiveAccess` if they cannot be written to their end.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.files.drain(..).try_for_each(ParquetFile::finish)?;
        disk::sync_folder(&self.folder)
    }

    /// Leaves them there: a run is about to be promoted with them. If it is not, they go at the next start.
    pub fn keep(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }

    /// What the folder is called.
    fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

impl Drop for AdoptedBases {
    fn drop(&mut self) {
        if !self.is_kept.load(Ordering::Relaxed) {
            // What stays goes at the next start.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

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
    Flips { record: u64, field: String, system: String, flips: Flips },
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

    /// The folder of all bases.
    pub fn bases(&self) -> PathBuf {
        self.folder.join("base")
    }

    /// Begins to write the snapshots of a run, and to make them durable, while the run goes on.
    pub fn start_saving(&self, run: &str, below: Option<Below>, kept: Vec<Kept>) -> Saving {
        Saving::start(self.folder.join("snapshots").join(run), below, kept)
    }

    /// The snapshot of a system in a run, to be written a stretch of rows at a time.
    ///
    /// # Errors
    /// `GiveAccess` if the folder cannot be made.
    pub fn begin_snapshot(&self, run: &str, system: &str) -> Result<SnapshotFile, Error> {
        SnapshotFile::begin(&self.folder.join("snapshots").join(run), system)
    }

    /// Makes the snapshots of a run durable that were written a stretch of rows at a time.
    ///
    /// # Errors
    /// `GiveAccess` if the folder cannot be synchronised.
    pub fn finish_snapshots(&self, run: &str) -> Result<Saving, Error> {
        disk::sync_folder(&self.folder.join("snapshots").join(run))?;
        Ok(Saving::done())
    }

    /// The bases of records that a run takes over, to be written a stretch of records at a time.
    ///
    /// # Errors
    /// `GiveAccess` if the folder cannot be made.
    pub fn begin_adopted(&self, job: &Job, run: &str) -> Result<AdoptedBases, Error> {
        let folder = self.folder.join("base").join(format!("{run}{ADOPTED}"));
        disk::create_dir_private(&folder)?;
        let file = |name: &str| ParquetFile::new(folder.join(format!("{name}.parquet")), ParquetCompression::Lz4Raw);
        let files = job.systems.iter().map(|system| file(&system.name)).collect();
        Ok(AdoptedBases { files, folder, is_kept: AtomicBool::new(false) })
    }

    /// The snapshots on which those of tonight can stand: of the run that left the records at rest, if they are there.
    pub fn snapshots_below(&self, job: &Job, promoted: &Promoted) -> Option<Below> {
        let rest = promoted.knowledge.bases.rest.as_ref()?;
        let depth = rest.snapshot_depth.filter(|depth| *depth < snapshots::DEPTH_MAX)?;
        let are_there = snapshots::are_there(&self.folder.join("snapshots"), &rest.run, job.systems.iter().map(|system| system.name.as_str()));
        are_there.then(|| Below { run: rest.run.clone(), depth })
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
        plan_of(&contents.bytes).map_err(|what| lost(&path, &what))
    }

    /// Writes what a run leaves and makes it durable. It counts only once the run is promoted with the place that this gives.
    ///
    /// # Errors
    /// `GiveAccess` if it cannot be written, `Look` if what earlier runs left cannot be read.
    pub fn save(&self, job: &Job, run: &str, promoted: Option<&Promoted>, leaving: &Leaving<'_>) -> Result<Bases, Error> {
        let folder = self.folder.join("base").join(run);
        disk::create_dir_private(&folder)?;
        let save_part = || {
            save_bases(&folder, job, &leaving.state.bases)?;
            let records = UInt64Chunked::from_slice("record".into(), leaving.looked_into).into_series().into();
            let path = folder.join("records.parquet");
            let frame = DataFrame::new(leaving.looked_into.len(), vec![records]).map_err(|e| lost(&path, &e.to_string()))?;
            write_parquet(&path, &frame)
        };
        let below = promoted.zip(leaving.rested).filter(|(_, (_, resting))| !resting.positions.is_empty());
        let bases = match below {
            _ if let Some(adopted) = leaving.adopted => {
                let (part, rest) = rayon::join(save_part, || save_rest(&folder, job, run, leaving));
                part?;
                Bases { parts: vec![adopted.name(), run.to_owned()], on_top: leaving.looked_into.len() as u64, rest: Some(rest?) }
            }
            Some((promoted, _)) if leaving.looked_into.is_empty() => {
                Bases { parts: promoted.parts().into_iter().map(str::to_owned).collect(), ..promoted.knowledge.bases.clone() }
            }
            Some((promoted, (_, resting))) => {
                let on_top = promoted.knowledge.bases.on_top + leaving.looked_into.len() as u64;
                let parts = promoted.parts();
                if parts.len() < PARTS_MAX && on_top < resting.positions.len() as u64 / 4 {
                    let (part, rest) = rayon::join(save_part, || save_rest(&folder, job, run, leaving));
                    part?;
                    let parts = parts.into_iter().chain([run]).map(str::to_owned).collect();
                    Bases { parts, on_top, rest: Some(rest?) }
                } else {
                    self.save_whole(&folder, job, promoted, leaving)?;
                    Bases { parts: vec![run.to_owned()], on_top: 0, rest: Some(save_rest(&folder, job, run, leaving)?) }
                }
            }
            None => {
                let (saved, rest) = rayon::join(|| save_bases(&folder, job, &leaving.state.bases), || save_rest(&folder, job, run, leaving));
                saved?;
                Bases { parts: vec![run.to_owned()], on_top: 0, rest: Some(rest?) }
            }
        };
        let mut bytes = Vec::new();
        for ((record, field), open) in &leaving.state.open.fields {
            push_line(&mut bytes, &OpenLine::Field { record: *record, field: field.clone(), open: open.clone() });
        }
        for ((record, system), open) in &leaving.state.open.records {
            push_line(&mut bytes, &OpenLine::Record { record: *record, system: system.clone(), open: open.clone() });
        }
        for ((record, field, system), flips) in &leaving.state.open.flips {
            push_line(&mut bytes, &OpenLine::Flips { record: *record, field: field.clone(), system: system.clone(), flips: flips.clone() });
        }
        disk::write_new(&folder.join("open.jsonl"), &bytes)?;
        let path = folder.join(WRITTEN_FILE);
        if let Some(frame) = leaving.state.written.to_frame(job).map_err(|e| lost(&path, &e.to_string()))? {
            write_parquet(&path, &frame)?;
        }
        disk::sync_folder(&folder)?;
        disk::sync_folder(&self.folder.join("base"))?;
        Ok(bases)
    }

    /// Writes the bases of all records into one folder, those of some records at a time: what the last promoted run left, and above
    /// that what this one leaves.
    fn save_whole(&self, folder: &Path, job: &Job, promoted: &Promoted, leaving: &Leaving<'_>) -> Result<(), Error> {
        let stored = StoredBases::open(&self.folder.join("base"), job, promoted)?;
        let next_record = promoted.knowledge.next_record.max(leaving.state.next_record) as usize;
        let mut is_of_tonight = vec![false; next_record];
        leaving.looked_into.iter().filter_map(|record| usize::try_from(*record).ok()).for_each(|record| {
            if let Some(is_of_tonight) = is_of_tonight.get_mut(record) {
                *is_of_tonight = true;
            }
        });
        (0..job.systems.len()).into_par_iter().try_for_each(|system| {
            let path = folder.join(format!("{}.parquet", job.systems[system].name));
            let mut file = ParquetFile::new(path.clone(), ParquetCompression::Lz4Raw);
            let of_tonight = &leaving.state.bases[system];
            for first in (0..next_record.max(1)).step_by(RECORDS_AT_ONCE) {
                let records = first as u64..(first + RECORDS_AT_ONCE) as u64;
                let below = stored.read(job, system, |record| records.contains(&record) && is_of_tonight.get(record as usize) != Some(&true))?;
                let at = |record: u64| of_tonight.records.partition_point(|known| *known < record) as u32;
                let above = of_tonight.take(&(at(records.start)..at(records.end)).collect::<Vec<u32>>());
                let base = Base::of_parts(job, system, vec![below, above]);
                if base.height() > 0 || first == 0 {
                    file.add(&base.to_frame(job).map_err(|e| lost(&path, &e.to_string()))?)?;
                }
            }
            file.finish()
        })
    }

    /// Removes bases that no promoted run needs, and snapshots and plans of runs before `oldest`, a run id. `run` is that of tonight.
    pub fn tidy(&self, promoted: Option<&Promoted>, oldest: &str, run: &str) -> Result<(), Error> {
        let names = |part: &str| -> Vec<(String, PathBuf)> {
            let entries = fs::read_dir(self.folder.join(part)).into_iter().flatten().flatten();
            entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect()
        };
        let gone = |path: &Path| match if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) } {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            done => done,
        };
        let mut needed: Vec<&str> = promoted.map(Promoted::parts).unwrap_or_default();
        if let Some(promoted) = promoted {
            needed.push(&promoted.run);
            needed.extend(promoted.knowledge.bases.rest.iter().map(|place| place.run.as_str()));
        }
        for (name, path) in names("base") {
            if !needed.contains(&name.as_str()) {
                gone(&path).map_err(|e| Error::new(Remedy::GiveAccess, Place::of(path.display().to_string()), format!("cannot be removed: {e}")))?;
            }
        }
        // A run that began at a time that cannot be is as old as those around it.
        let since = self.ledger.runs_since(oldest, run)?;
        let is_young = |name: &str| name >= oldest || since.contains(name.strip_suffix(".jsonl").unwrap_or(name));
        // A snapshot is kept for as long as one that stands on it, and one that those of tonight may stand on.
        let all = self.folder.join("snapshots");
        let kept = names("snapshots").into_iter().map(|(name, _)| name).filter(|name| is_young(name));
        let kept = snapshots::with_those_below(&all, kept.chain(needed.iter().map(|run| (*run).to_owned())));
        let old_snapshots = names("snapshots").into_iter().filter(|(name, _)| !kept.contains(name));
        for (name, path) in old_snapshots.chain(names("plans")) {
            if !is_young(&name) && !promoted.is_some_and(|promoted| name.starts_with(&promoted.run)) {
                gone(&path).map_err(|e| Error::new(Remedy::GiveAccess, Place::of(path.display().to_string()), format!("cannot be removed: {e}")))?;
            }
        }
        Ok(())
    }
}

/// The name of the file of the fields that a run wrote. It is not there if there are none.
const WRITTEN_FILE: &str = "written.parquet";

/// The name of the file of the records at rest.
const REST_FILE: &str = "rest.parquet";

/// The records that the last promoted run left at rest; nothing if they were left by another job file or another version of
/// the program, for then every record is to be looked into.
/// `root` is the folder of all bases.
///
/// # Errors
/// `Look` if the file is missing or damaged.
pub fn load_rest(root: &Path, job: &Job, promoted: &Promoted) -> Result<Option<Rest>, Error> {
    let Some(place) = promoted.knowledge.bases.rest.as_ref().filter(|place| place.snapshot_depth.is_some()) else { return Ok(None) };
    if place.job_digest != job.source.digest || place.version != env!("CARGO_PKG_VERSION") {
        return Ok(None);
    }
    let path = root.join(&place.run).join(REST_FILE);
    // A column at a time: all of them twice would be much of what a run needs.
    let mut problem = None;
    let read = |name: &str| match read_columns(&path, &[name]) {
        Ok(frame) => frame.column(name).ok().map(|column| column.as_materialized_series().clone()),
        Err(error) => {
            problem = Some(error);
            None
        }
    };
    let rest = Rest::from_columns(job, read);
    match problem {
        Some(error) => Err(error),
        None => rest.map(Some).ok_or_else(|| lost(&path, "it does not hold records at rest")),
    }
}

/// The state that a promoted run left, without the records of `rest` that are `resting`. `root` is the folder of all bases.
///
/// # Errors
/// `Look` if a file of it is missing or damaged.
pub fn load(root: &Path, job: &Job, promoted: &Promoted, rested: Option<(&Rest, &Resting)>) -> Result<State, Error> {
    let skipped = rested.into_iter().flat_map(|(rest, resting)| resting.positions.iter().map(|position| rest.records[*position as usize]));
    let bases = load_bases(root, job, promoted, skipped)?;
    let open = load_open(&root.join(&promoted.run), |_| true)?;
    let path = root.join(&promoted.run).join(WRITTEN_FILE);
    let written = if path.exists() {
        Written::from_frame(job, &read_parquet(&path)?).ok_or_else(|| lost(&path, "it does not hold what a run wrote"))?
    } else {
        Written::default()
    };
    Ok(State { bases, open, written, next_record: promoted.knowledge.next_record })
}

/// The bases that a promoted run left, without these records.
fn load_bases(root: &Path, job: &Job, promoted: &Promoted, skipped: impl Iterator<Item = u64>) -> Result<Vec<Base>, Error> {
    let mut is_skipped = vec![false; promoted.knowledge.next_record as usize];
    // A record that got its number since is in none of them.
    for record in skipped {
        if let Some(skipped) = is_skipped.get_mut(record as usize) {
            *skipped = true;
        }
    }
    let stored = StoredBases::open(root, job, promoted)?;
    let is_wanted = |record: u64| !is_skipped.get(record as usize).copied().unwrap_or(false);
    (0..job.systems.len()).into_par_iter().map(|system| stored.read(job, system, is_wanted)).collect()
}

/// What a promoted run left open. `root` is the folder of all bases.
///
/// # Errors
/// `Look` if the file is missing or damaged.
pub fn open_of(root: &Path, promoted: &Promoted) -> Result<Open, Error> {
    load_open(&root.join(&promoted.run), |_| true)
}

/// What a run left open of these records. `folder` is that of the run's bases.
fn load_open(folder: &Path, is_wanted: impl Fn(u64) -> bool) -> Result<Open, Error> {
    let path = folder.join("open.jsonl");
    let mut open = Open::default();
    for line in read_lines(&path)? {
        match serde_json::from_str(&line).map_err(|e| lost(&path, &e.to_string()))? {
            OpenLine::Field { record, field, open: body } if is_wanted(record) => {
                open.fields.insert((record, field), body);
            }
            OpenLine::Record { record, system, open: body } if is_wanted(record) => {
                open.records.insert((record, system), body);
            }
            OpenLine::Flips { record, field, system, flips } if is_wanted(record) => {
                open.flips.insert((record, field, system), flips);
            }
            OpenLine::Field { .. } | OpenLine::Record { .. } | OpenLine::Flips { .. } => {}
        }
    }
    Ok(open)
}

/// The records that a run looked into, which left only those in its folder: older folders do not speak for them.
fn looked_into(folder: &Path) -> Result<Vec<u64>, Error> {
    let path = folder.join("records.parquet");
    let frame = read_parquet(&path)?;
    let records = frame.column("record").ok().and_then(|column| column.as_materialized_series().u64().ok().cloned());
    Ok(records.ok_or_else(|| lost(&path, "it does not hold the records that a run looked into"))?.into_no_null_iter().collect())
}

/// The records of a base that are wanted.
fn read_base(path: &Path, job: &Job, system: usize, is_wanted: impl Fn(u64) -> bool) -> Result<Base, Error> {
    let frame = read_rows(path, Base::RECORD_COLUMN, is_wanted)?;
    frame.map_or_else(|| Ok(Base::empty(job, system)), |frame| Base::from_frame(job, system, &frame).ok_or_else(|| lost(path, "it is not a base")))
}

fn save_bases(folder: &Path, job: &Job, bases: &[Base]) -> Result<(), Error> {
    bases.par_iter().zip(&job.systems).try_for_each(|(base, system)| {
        let path = folder.join(format!("{}.parquet", system.name));
        let frame = base.to_frame(job).map_err(|e| lost(&path, &e.to_string()))?;
        write_parquet(&path, &frame)
    })
}

/// Writes the records at rest.
fn save_rest(folder: &Path, job: &Job, run: &str, leaving: &Leaving<'_>) -> Result<RestPlace, Error> {
    let path = folder.join(REST_FILE);
    // Hashes cannot be made smaller.
    let mut file = ParquetFile::new(path.clone(), ParquetCompression::Uncompressed);
    let records = leaving.rest.records.len();
    for first in (0..records.max(1)).step_by(RECORDS_AT_ONCE) {
        let frame = leaving.rest.to_frame(job, first..(first + RECORDS_AT_ONCE).min(records));
        file.add(&frame.map_err(|e| lost(&path, &e.to_string()))?)?;
    }
    file.finish()?;
    Ok(RestPlace {
        run: run.to_owned(),
        job_digest: job.source.digest.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        spelling: job.found_spelling(),
        snapshot_depth: Some(leaving.snapshot_depth),
    })
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

/// The plan that [`plan_bytes`] wrote; else what is wrong with it, in words.
fn plan_of(bytes: &[u8]) -> Result<Plan, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let mut plan = Plan::default();
    for (number, line) in (1..).zip(text.lines()) {
        match serde_json::from_str(line).map_err(|e| format!("line {number}, column {}: it is cut off, or not as tieout writes it", e.column()))? {
            PlanLine::Plan(header) => plan.header = header,
            PlanLine::Decision(decision) => plan.decisions.push(decision),
            PlanLine::Change(change) => plan.changes.push(change),
        }
    }
    Ok(plan)
}

/// A plan that was written to a file, with the SHA-256 of the file.
///
/// # Errors
/// `GiveAccess` if it cannot be read, `Look` if it is no plan or damaged, `MendJob` if another version of the program wrote it.
pub fn read_plan(path: &Path) -> Result<(Plan, String), Error> {
    let shown = || Place::of(path.display().to_string());
    let contents = disk::read(path)?;
    // Another version may write other lines: only its header is looked into.
    let first: Option<serde_json::Value> = contents.bytes.split(|byte| *byte == b'\n').next().and_then(|line| serde_json::from_slice(line).ok());
    let header = first.as_ref().and_then(|line| line.get("plan")).and_then(|header| header.as_object());
    let Some(header) = header else {
        return Err(Error::new(Remedy::Look, shown(), "this is no plan")
            .seen("its first line is not the head of one")
            .seen("nothing was written")
            .hint("make one with `tieout plan JOB -o FILE`"));
    };
    let version = header.get("version").and_then(|version| version.as_str()).unwrap_or_default();
    if version != env!("CARGO_PKG_VERSION") {
        let version = if version.is_empty() { "an earlier version".to_owned() } else { format!("version {version}") };
        return Err(Error::new(Remedy::MendJob, shown(), format!("the plan was made by {version} of tieout, this is {}", env!("CARGO_PKG_VERSION")))
            .seen("nothing was written")
            .hint("make a new plan with `tieout plan JOB -o FILE`"));
    }
    match plan_of(&contents.bytes) {
        Ok(plan) => Ok((plan, contents.sha256)),
        Err(what) => Err(Error::new(Remedy::Look, shown(), "the plan is damaged")
            .seen(what)
            .seen("nothing was written")
            .hint("make a new plan with `tieout plan JOB -o FILE`")),
    }
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
