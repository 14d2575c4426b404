//! What is stored of one job, to look into without its lock: which records it knows, what their bases hold, what is open of
//! them, and what the kept plans say.
//!
//! Never writes. A run may promote a new state meanwhile and clear the old one away: then the look is taken again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use hashbrown::HashSet;
use polars::prelude::DataFrame;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{Ledger, PlanLine, Promoted, load_open, looked_into, lost, plan_of, read_base, read_columns, snapshots};
use crate::change::{Change, Decision, Plan};
use crate::error::Error;
use crate::job::Job;
use crate::reconcile::base::{Base, Open, Standing};

/// How often a look is taken again because a run changed what was looked at.
const LOOKS_MAX: usize = 5;

/// What is stored of one job.
#[derive(Debug)]
pub struct Stored {
    folder: PathBuf,
    /// The ledger.
    pub ledger: Ledger,
}

/// A row of the bases by which a record may be meant.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The system, as an index into the job's.
    pub system: usize,
    /// The record.
    pub record: u64,
    /// Its native id there.
    pub id: Option<&'a str>,
    /// Its canonical key there.
    pub key: &'a str,
    /// How it stands there.
    pub standing: Standing,
}

/// What the state holds of some records.
#[derive(Clone, Debug)]
pub struct Held {
    /// The run that left it.
    pub run: String,
    /// By the job's systems: the bases of these records alone.
    pub bases: Vec<Base>,
    /// What is open of them.
    pub open: Open,
}

/// What a kept plan says of some records.
#[derive(Clone, Debug, Default)]
pub struct PlanOfRecords {
    /// What was decided.
    pub decisions: Vec<Decision>,
    /// What was to be changed.
    pub changes: Vec<Change>,
    /// Whether it is, to the byte, the one that the ledger knows.
    pub is_as_saved: bool,
    /// How many lines about them could not be read.
    pub unreadable: usize,
}

impl Stored {
    /// What is stored in a job's folder; nothing if the job never ran.
    ///
    /// # Errors
    /// `Look` if the ledger is damaged, `GiveAccess` if it cannot be opened.
    pub fn open(folder: &Path) -> Result<Option<Stored>, Error> {
        Ok(Ledger::read(&folder.join("ledger.sqlite"))?.map(|ledger| Stored { folder: folder.to_owned(), ledger }))
    }

    /// Looks at the state that the last promoted run left; nothing if none was. If that run is no longer the last one when
    /// the look fails, its files may be gone because of that, and it is taken again.
    fn look<T>(&self, at: impl Fn(&Promoted) -> Result<T, Error>) -> Result<Option<T>, Error> {
        let mut looks = 0;
        loop {
            let Some(promoted) = self.ledger.promoted()? else { return Ok(None) };
            looks += 1;
            match at(&promoted) {
                Err(error) if looks == LOOKS_MAX || self.ledger.promoted()?.is_some_and(|now| now.run == promoted.run) => return Err(error),
                Err(_) => {}
                Ok(found) => return Ok(Some(found)),
            }
        }
    }

    /// What is made of every row of the bases for which `of` makes something: in no order, and from several threads. Of a
    /// record that was deleted everywhere its tombstones are asked about, too.
    ///
    /// # Errors
    /// `Look` if a file of the state is missing or damaged.
    pub fn known<T: Send>(&self, job: &Job, of: impl Fn(Known<'_>) -> Option<T> + Sync) -> Result<Vec<T>, Error> {
        let found = self.look(|promoted| {
            let mut found = Vec::new();
            self.each_part(promoted, |folder, shadowed| {
                for system in 0..job.systems.len() {
                    let path = folder.join(format!("{}.parquet", job.systems[system].name));
                    if !path.exists() {
                        continue;
                    }
                    let frame = read_columns(&path, &[Base::RECORD_COLUMN, "@id", "@key", "@standing"])?;
                    let columns = || {
                        let series = |name: &str| frame.column(name).ok().map(|column| column.as_materialized_series().clone());
                        let records = series(Base::RECORD_COLUMN)?.u64().ok()?.clone();
                        Some((records, series("@id")?.str().ok()?.clone(), series("@key")?.str().ok()?.clone(), series("@standing")?.u8().ok()?.clone()))
                    };
                    let (records, ids, keys, standings) = columns().ok_or_else(|| lost(&path, "it is not a base"))?;
                    let (records, ids, keys, standings) = (records.rechunk(), ids.rechunk(), keys.rechunk(), standings.rechunk());
                    let made = (0..frame.height()).into_par_iter().filter_map(|row| {
                        let record = records.get(row).filter(|record| !shadowed.contains(record))?;
                        let standing = Standing::from_u8(standings.get(row)?);
                        of(Known { system, record, id: ids.get(row), key: keys.get(row)?, standing })
                    });
                    found.extend(made.collect::<Vec<T>>());
                }
                Ok(())
            })?;
            Ok(found)
        })?;
        Ok(found.unwrap_or_default())
    }

    /// What the state holds of these records; nothing if the job has no state yet.
    ///
    /// # Errors
    /// `Look` if a file of the state is missing or damaged.
    pub fn held(&self, job: &Job, wanted: &BTreeSet<u64>) -> Result<Option<Held>, Error> {
        self.look(|promoted| {
            let mut parts: Vec<Vec<Base>> = vec![Vec::new(); job.systems.len()];
            self.each_part(promoted, |folder, shadowed| {
                for (system, parts) in parts.iter_mut().enumerate() {
                    let path = folder.join(format!("{}.parquet", job.systems[system].name));
                    if path.exists() {
                        parts.push(read_base(&path, job, system, |record| wanted.contains(&record) && !shadowed.contains(&record))?);
                    }
                }
                Ok(())
            })?;
            let open = load_open(&self.folder.join("base").join(&promoted.run), |record| wanted.contains(&record))?;
            let bases = parts.into_iter().enumerate().map(|(system, parts)| Base::of_parts(job, system, parts)).collect();
            Ok(Held { run: promoted.run.clone(), bases, open })
        })
    }

    /// Visits the folders over which the bases are spread, the newest first, each with the records that newer ones looked
    /// into: these are not to be read there.
    fn each_part(&self, promoted: &Promoted, mut visit: impl FnMut(&Path, &HashSet<u64>) -> Result<(), Error>) -> Result<(), Error> {
        let mut shadowed = HashSet::new();
        for (number, part) in promoted.parts().iter().enumerate().rev() {
            let folder = self.folder.join("base").join(part);
            visit(&folder, &shadowed)?;
            if number > 0 {
                shadowed.extend(looked_into(&folder)?);
            }
        }
        Ok(())
    }

    /// What a system held when a run pulled it; nothing if it is no longer kept. The line of each row, its cells as text (`raw:` and
    /// the name of the column) and, where the system tells them, their storage classes (`storage:`).
    ///
    /// # Errors
    /// `Look` if a file of it is missing or damaged.
    pub fn snapshot(&self, run: &str, system: &str) -> Result<Option<DataFrame>, Error> {
        snapshots::read(&self.folder.join("snapshots"), run, system)
    }

    /// What the plan of a run says of these records; nothing if it is no longer kept. `digest` is the one in the ledger.
    ///
    /// # Errors
    /// `Look` if it cannot be read.
    pub fn plan_of_records(&self, run: &str, digest: &str, wanted: &BTreeSet<u64>) -> Result<Option<PlanOfRecords>, Error> {
        let path = self.folder.join("plans").join(format!("{run}.jsonl"));
        let Ok(file) = File::open(&path) else { return Ok(None) };
        // A line about another record is not parsed: there may be millions of them.
        let marks: Vec<String> = wanted.iter().map(|record| format!("\"record\":{record},")).collect();
        let finders: Vec<memchr::memmem::Finder<'_>> = marks.iter().map(memchr::memmem::Finder::new).collect();
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let (mut sha256, mut line, mut plan) = (Sha256::new(), Vec::new(), PlanOfRecords::default());
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line).map_err(|e| lost(&path, &e.to_string()))? == 0 {
                break;
            }
            sha256.update(&line);
            if !finders.iter().any(|finder| finder.find(&line).is_some()) {
                continue;
            }
            match serde_json::from_slice(&line) {
                Ok(PlanLine::Decision(decision)) if wanted.contains(&decision.record) => plan.decisions.push(decision),
                Ok(PlanLine::Change(change)) if wanted.contains(&change.record) => plan.changes.push(change),
                Ok(_) => {}
                Err(_) => plan.unreadable += 1,
            }
        }
        plan.is_as_saved = crate::disk::hexadecimal(&sha256.finalize()) == digest;
        Ok(Some(plan))
    }

    /// The plan of a run as it was saved; nothing if it is no longer kept. `digest` is the one in the ledger.
    ///
    /// # Errors
    /// `Look` if it is not the one that the ledger knows, or cannot be read.
    pub fn plan(&self, run: &str, digest: &str) -> Result<Option<Plan>, Error> {
        let path = self.folder.join("plans").join(format!("{run}.jsonl"));
        if !path.exists() {
            return Ok(None);
        }
        let contents = crate::disk::read(&path)?;
        if contents.sha256 != digest {
            return Err(lost(&path, "its digest is not the one in the ledger"));
        }
        plan_of(&contents.bytes).map(Some).map_err(|what| lost(&path, &what))
    }

    /// The runs whose plans are kept, ascending.
    pub fn kept_plans(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.folder.join("plans")).into_iter().flatten().flatten();
        entries.filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".jsonl")?.to_owned())).collect()
    }
}

/// The keys under which records stand in the systems, by record.
pub fn keys_of(held: &Held) -> BTreeMap<u64, BTreeSet<String>> {
    let mut keys: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for base in &held.bases {
        for (record, key) in base.records.iter().zip(base.keys.iter()) {
            keys.entry(*record).or_default().extend(key.map(str::to_owned));
        }
    }
    keys
}
