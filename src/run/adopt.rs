//! The shell of a first contact with much data: rows are read, cleaned and decided a stretch at a time, and what agrees everywhere
//! goes straight to the disk.
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
use crate::reconcile::adopt::{self, Register, adopt, alone, keys_alone};
use crate::reconcile::clean::{MarkSearch, Marks, clean};
use crate::reconcile::rest::{Rest, Resting};
use crate::state::{AdoptedBases, SnapshotFile};

/// So many rows of a system are looked into at once.
pub(super) const STRETCH_ROWS: usize = 1 << 17;

/// What a run took over at first contact.
pub(super) struct FirstSight {
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

impl Night<'_> {
    /// Takes over what agrees everywhere; nothing if that is not worth while, or this is no first contact.
    pub(super) fn adopt(&mut self, pulled: &[Pulled]) -> Result<Option<Awake>, Error> {
        let stretch_rows = self.request.stretch_rows.unwrap_or(STRETCH_ROWS);
        let is_first = self.promoted.is_none() && self.cut_off_runs == 0 && self.request.undo.is_none() && !self.request.every_record;
        let is_much = pulled.iter().all(|pulled| pulled.height() > stretch_rows);
        if !is_first || !is_much || !self.state.ledger.answers()?.is_empty() {
            return Ok(None);
        }
        let registers = self.register(pulled, stretch_rows)?;
        let of_records = alone(&registers);
        drop(registers);

        let mut bases = self.state.begin_adopted(&self.job, self.id)?;
        let (mut rests, mut next_record) = (Vec::new(), 1);
        let mut counts: Vec<Vec<CleaningCount>> = vec![Vec::new(); pulled.len()];
        let height = of_records.first().map_or(0, Vec::len);
        for first in (0..height).step_by(stretch_rows) {
            let stretch = first..(first + stretch_rows).min(height);
            let rows = pulled.par_iter().zip(&of_records).map(|(pulled, rows)| pulled.take(&rows[stretch.clone()]));
            let adopted = adopt(&self.job, rows.collect::<Result<_, Error>>()?, next_record)?;
            bases.add(&self.job, &adopted.bases)?;
            counts.iter_mut().zip(&adopted.counts).for_each(|(counts, more)| *counts = adopt::with(counts, more));
            next_record = adopted.next_record;
            rests.push(adopted.rest);
        }
        bases.finish()?;
        let rest = Rest::joined(&self.job, rests);
        let resting = Resting::all_new(&rest);

        let rows = super::awake_rows(pulled, &resting)?;
        let marks = self.marks.clone();
        let mut cleaned = self.clean(rows, &marks);
        cleaned.iter_mut().zip(counts).for_each(|(clean, counts)| clean.counts = adopt::with(&clean.counts, &counts));
        self.first_sight = Some(FirstSight { bases, next_record });
        let snapshots = if self.request.plan_only { None } else { Some(self.state.finish_snapshots(self.id)?) };
        Ok(Some(Awake { rest, resting, cleaned, snapshots }))
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
        let marks: Vec<Marks> = gather(searches.into_iter().zip(pulled).map(|(search, pulled)| search.decide(&pulled.evidence.origin, &none)))?;
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

fn enter(register: &mut Register, keys: &Job, system: usize, rows: Pulled) {
    register.enter(&clean(keys, system, Arc::new(rows)));
}
