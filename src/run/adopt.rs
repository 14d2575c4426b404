//! The shell of a night that looks into all of much data: rows are read, cleaned and decided a stretch at a time, and what there is
//! nothing to decide about goes straight to the disk.
//!
//! What a stretch leaves in memory is a few numbers a row. Cells stay there only of the records that [`crate::reconcile::adopt`]
//! cannot take over: those are decided together, as in every other night.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;

use super::{Awake, Night, gather};
use crate::error::Error;
use crate::frame::{CleaningCount, Pulled};
use crate::job::Job;
use crate::reconcile::adopt::{self, Register, adopt, alone, alone_and_known, keys_alone};
use crate::reconcile::base::{Open, State};
use crate::reconcile::clean::{MarkSearch, Marks, clean};
use crate::reconcile::rest::{Rest, Resting};
use crate::state::{self, Promoted, StoredBases};
use crate::state::{AdoptedBases, SnapshotFile};

/// So many rows of a system are looked into at once.
pub(super) const STRETCH_ROWS: usize = 1 << 17;

/// What a run took over.
pub(super) struct TakenOver {
    /// The bases of the records; they go again unless the run is promoted with them.
    pub(super) bases: AdoptedBases,
    /// The first record number that was not given.
    pub(super) next_record: u64,
}

/// What the first walk over the rows of a system finds.
struct Walked<'a> {
    marks: MarkSearch<'a>,
    register: Register,
}

/// The records that may be taken over, and the state that the last promoted run left of them.
struct Candidates<'a> {
    /// By system, for each of them its row.
    rows: Vec<Vec<u32>>,
    /// What is known of them; nothing at first contact.
    known: Option<Known<'a>>,
}

struct Known<'a> {
    records: Vec<u64>,
    stored: StoredBases,
    open: Open,
    promoted: &'a Promoted,
}

impl Night<'_> {
    /// Takes over what there is nothing to decide about; nothing if that is not worth while.
    pub(super) fn adopt(&mut self, pulled: &[Pulled], may_rest: bool) -> Result<Option<Awake>, Error> {
        let stretch_rows = self.request.stretch_rows.unwrap_or(STRETCH_ROWS);
        let is_much = pulled.iter().all(|pulled| pulled.height() > stretch_rows);
        if !may_rest || !is_much || self.request.undo.is_some() || !self.state.ledger.answers()?.is_empty() {
            return Ok(None);
        }
        let registers = self.register(pulled, stretch_rows)?;
        let promoted = self.promoted.clone();
        let candidates = self.candidates(registers, promoted.as_ref())?;

        let mut bases = self.state.begin_adopted(&self.job, self.id)?;
        let mut rests = Vec::new();
        let mut next_record = promoted.as_ref().map_or(State::first_contact(&self.job).next_record, |promoted| promoted.knowledge.next_record);
        let mut counts: Vec<Vec<CleaningCount>> = vec![Vec::new(); pulled.len()];
        let height = candidates.rows.first().map_or(0, Vec::len);
        for first in (0..height).step_by(stretch_rows) {
            let stretch = first..(first + stretch_rows).min(height);
            let rows = pulled.par_iter().zip(&candidates.rows).map(|(pulled, rows)| pulled.take(&rows[stretch.clone()]));
            let rows = rows.collect::<Result<_, Error>>()?;
            let before = match &candidates.known {
                None => State { next_record, ..State::first_contact(&self.job) },
                Some(known) => known.state(&self.job, &known.records[stretch])?,
            };
            let adopted = adopt(&self.job, rows, &before)?;
            bases.add(&self.job, &adopted.bases)?;
            counts.iter_mut().zip(&adopted.counts).for_each(|(counts, more)| *counts = adopt::with(counts, more));
            if candidates.known.is_none() {
                next_record = adopted.next_record;
            }
            rests.push(adopted.rest);
        }
        let rest = Rest::joined(&self.job, rests);
        if rest.records.is_empty() {
            bases.add(&self.job, &State::first_contact(&self.job).bases)?;
        }
        bases.finish()?;
        let resting = Resting::all(&rest, promoted.is_none());

        let rows = super::awake_rows(pulled, &resting)?;
        let marks = self.marks.clone();
        let mut cleaned = self.clean(rows, &marks);
        cleaned.iter_mut().zip(counts).for_each(|(clean, counts)| clean.counts = adopt::with(&clean.counts, &counts));
        self.taken_over = Some(TakenOver { bases, next_record });
        let snapshots = if self.request.plan_only { None } else { Some(self.state.finish_snapshots(self.id)?) };
        Ok(Some(Awake { rest, resting, cleaned, snapshots }))
    }

    fn candidates<'p>(&self, registers: Vec<Register>, promoted: Option<&'p Promoted>) -> Result<Candidates<'p>, Error> {
        let Some(promoted) = promoted else { return Ok(Candidates { rows: alone(&registers), known: None }) };
        let root = self.state.bases();
        let stored = StoredBases::open(&root, &self.job, promoted)?;
        let whereabouts = (0..self.job.systems.len()).into_par_iter().map(|system| stored.whereabouts(system)).collect::<Result<Vec<_>, Error>>()?;
        let by_id: Vec<bool> = self.job.systems.iter().map(|system| system.id.is_some()).collect();
        let (records, rows) = alone_and_known(&registers, &whereabouts, &by_id);
        Ok(Candidates { rows, known: Some(Known { records, stored, open: state::open_of(&root, promoted)?, promoted }) })
    }

    /// Walks over all rows once: their snapshots are written, the spelling of their columns is learnt, their keys are entered.
    fn register(&mut self, pulled: &[Pulled], stretch_rows: usize) -> Result<Vec<Register>, Error> {
        let job = self.job.clone();
        // A key that is spelled as its column shows is read when all of that was seen.
        let is_late = (0..pulled.len()).any(|system| MarkSearch::new(&job, system).is_for_any(&job.key));
        // A plan that is only asked for leaves no snapshots.
        let kept = job.systems.iter().filter(|_| !self.request.plan_only).map(|spec| self.state.begin_snapshot(self.id, &spec.name));
        let mut snapshots: Vec<Option<SnapshotFile>> = gather(kept)?.into_iter().map(Some).collect();
        snapshots.resize_with(pulled.len(), || None);
        let walked = pulled.par_iter().zip(snapshots).enumerate().map(|(system, (pulled, mut snapshot))| {
            let (keys, mut marks, mut register) = (keys_alone(&job), MarkSearch::new(&job, system), Register::default());
            pulled.stretches(stretch_rows).try_for_each(|rows| {
                let rows = rows?;
                marks.look(&rows);
                snapshot.iter_mut().try_for_each(|file| file.add(&rows))?;
                if !is_late {
                    enter(&mut register, &keys, system, rows);
                }
                Ok(())
            })?;
            snapshot.map_or(Ok(()), SnapshotFile::finish)?;
            Ok(Walked { marks, register })
        });
        let walked = gather(walked.collect::<Vec<Result<Walked<'_>, Error>>>())?;
        let (searches, mut registers): (Vec<MarkSearch<'_>>, Vec<Register>) = walked.into_iter().map(|walked| (walked.marks, walked.register)).unzip();
        let none = BTreeMap::new();
        let found = self.promoted.as_ref().map(|promoted| &promoted.knowledge.found);
        let known = |system: usize| found.and_then(|found| found.get(&job.systems[system].name)).unwrap_or(&none);
        let marks: Vec<Marks> =
            gather(searches.into_iter().zip(pulled).enumerate().map(|(system, (search, pulled))| search.decide(&pulled.evidence.origin, known(system))))?;
        marks.iter().for_each(|marks| marks.tell(&mut self.job));
        self.marks = marks;
        if is_late {
            let keys = keys_alone(&self.job);
            registers.par_iter_mut().zip(pulled).enumerate().try_for_each(|(system, (register, pulled))| {
                pulled.stretches(stretch_rows).try_for_each(|rows| {
                    enter(register, &keys, system, rows?);
                    Ok::<(), Error>(())
                })
            })?;
        }
        Ok(registers)
    }
}

impl Known<'_> {
    /// The state of these records, as it was left.
    fn state(&self, job: &Job, records: &[u64]) -> Result<State, Error> {
        let (first, last) = (records.first().copied().unwrap_or(0), records.last().copied().unwrap_or(0));
        let is_wanted = |record: u64| (first..=last).contains(&record) && records.binary_search(&record).is_ok();
        let bases = (0..job.systems.len()).into_par_iter().map(|system| self.stored.read(job, system, is_wanted)).collect::<Result<_, Error>>()?;
        let next_record = self.promoted.knowledge.next_record;
        Ok(State { bases, open: self.open.clone(), next_record, ..State::first_contact(job) })
    }
}

fn enter(register: &mut Register, keys: &Job, system: usize, rows: Pulled) {
    register.enter(&clean(keys, system, Arc::new(rows)));
}
