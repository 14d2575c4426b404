//! Much data: the records of which there is nothing to decide are taken over a stretch at a time.
//!
//! At first contact no record has a base, and nearly all of them only need one: every system has the record once, and all say the
//! same. In the night after the job file changed every record is to be looked into, and nearly all are as they were. Such a record is
//! decided by its own rows alone, so that it does not matter which others are decided beside it. So the
//! rows are read twice: once to enter the keys and native ids of all of them in a [`Register`], and once more, the rows of some
//! records at a time, to decide those ([`adopt`]) and to let their cells go again. What is left are the records that
//! differ, that some system lacks, or that cannot be told apart, and these are decided together.
//!
//! # Design
//! - Who is alone is told by 64 bits of a hash of the key. Two keys that meet in it only cost a second look: they look like one
//!   key on two rows, which is left to the rest. Whether rows belong to one record is decided by the keys themselves.
//! - The records of a stretch go through the very steps of a night: what is adopted is what a night would have left at rest.
//! - A record that has a base is taken over only if the base stays as it is: what moves one is told, totalled and gated with all.

use hashbrown::HashSet;
use rayon::prelude::*;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

use super::answers::Answers;
use super::base::{Base, Standing, State};
use super::clean::clean;
use super::dedupe::dedupe;
use super::link::link;
use super::plan::plan;
use super::rest::{Rest, quiet};
use super::settle::{Settlement, advance};
use crate::change::PlanHeader;
use crate::error::Error;
use crate::frame::{Clean, CleaningCount, Pulled};
use crate::job::Job;

/// Stands for a row that speaks for no record.
const NO_KEY: u64 = 0;

/// The keys and native ids of the rows of one system.
#[derive(Clone, Debug, Default)]
pub struct Register {
    /// For each row the hash of its key.
    keys: Vec<u64>,
    /// For each row the hash of its native id, where the system has ids.
    ids: Vec<u64>,
    /// Hashes of the keys that rows claim which speak for no record.
    silent_keys: HashSet<u64>,
    /// The same of native ids.
    silent_ids: HashSet<u64>,
}

impl Register {
    /// Enters the rows of the next stretch. Of its fields only those of the key need to be there.
    pub fn enter(&mut self, stretch: &Clean) {
        let first = self.keys.len();
        let height = stretch.pulled.height();
        self.keys.resize(first + height, NO_KEY);
        for (row, key) in stretch.rows.iter().zip(stretch.keys.iter()) {
            self.keys[first + *row as usize] = key.map_or(NO_KEY, |key| xxh3_64(key.as_bytes()).max(1));
        }
        if let Some(ids) = &stretch.ids {
            self.ids.resize(first + height, NO_KEY);
            for (row, id) in stretch.rows.iter().zip(ids.iter()) {
                self.ids[first + *row as usize] = id.map_or(NO_KEY, |id| xxh3_64(id.as_bytes()).max(1));
            }
        }
        self.silent_keys.extend(stretch.silent.keys.iter().flatten().map(|key| xxh3_64(key.as_bytes()).max(1)));
        self.silent_ids.extend(stretch.silent.ids.iter().flatten().map(|id| xxh3_64(id.as_bytes()).max(1)));
    }

    /// The rows that alone have their key and their native id, by the hash of the key.
    fn alone(&self, silent_keys: &HashSet<u64>) -> Vec<(u64, u32)> {
        let has_other_id = others(&self.ids, &self.silent_ids);
        let mut rows: Vec<(u64, u32)> = (0..).zip(&self.keys).filter(|(_, key)| **key != NO_KEY).map(|(row, key)| (*key, row)).collect();
        rows.par_sort_unstable();
        let several: Vec<bool> = (0..rows.len())
            .map(|at| {
                let same = |other: Option<&(u64, u32)>| other.is_some_and(|other| other.0 == rows[at].0);
                same(rows.get(at + 1)) || at > 0 && same(rows.get(at - 1))
            })
            .collect();
        let mut is_several = several.into_iter();
        rows.retain(|(key, row)| {
            let is_alone = !is_several.next().unwrap_or(true) && !silent_keys.contains(key);
            is_alone && !has_other_id.get(*row as usize).copied().unwrap_or(false)
        });
        rows
    }
}

/// For each of these hashes whether another one is the same, or it is among those that are silent.
fn others(hashes: &[u64], silent: &HashSet<u64>) -> Vec<bool> {
    let mut sorted: Vec<(u64, u32)> = (0..).zip(hashes).filter(|(_, hash)| **hash != NO_KEY).map(|(row, hash)| (*hash, row)).collect();
    sorted.par_sort_unstable();
    let mut found = vec![false; hashes.len()];
    for pair in sorted.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        found[pair[0].1 as usize] = true;
        found[pair[1].1 as usize] = true;
    }
    if !silent.is_empty() {
        sorted.iter().filter(|(hash, _)| silent.contains(hash)).for_each(|(_, row)| found[*row as usize] = true);
    }
    found
}

/// The rows that seem to be the only ones of their record in their system, of the records that every system has: by system, the
/// rows of each record at the same place, in the order in which the first system has them.
pub fn alone(registers: &[Register]) -> Vec<Vec<u32>> {
    let silent: HashSet<u64> = registers.iter().flat_map(|register| &register.silent_keys).copied().collect();
    let mut found: Vec<Vec<(u64, u32)>> = registers.iter().map(|register| register.alone(&silent)).collect();
    let Some((first, others)) = found.split_first_mut() else { return Vec::new() };
    let mut rows: Vec<Vec<u32>> = vec![Vec::with_capacity(first.len()); 1 + others.len()];
    let mut at = vec![0_usize; others.len()];
    for (key, row) in first.iter() {
        let mut is_everywhere = true;
        for (other, at) in others.iter().zip(&mut at) {
            while other.get(*at).is_some_and(|(known, _)| known < key) {
                *at += 1;
            }
            is_everywhere &= other.get(*at).is_some_and(|(known, _)| known == key);
        }
        if is_everywhere {
            rows[0].push(*row);
            others.iter().zip(&at).zip(&mut rows[1..]).for_each(|((other, at), rows)| rows.push(other[*at].1));
        }
    }
    drop(found);
    let mut order: Vec<u32> = (0..rows[0].len() as u32).collect();
    order.par_sort_unstable_by_key(|at| rows[0][*at as usize]);
    rows.into_par_iter().map(|rows| order.iter().map(|at| rows[*at as usize]).collect()).collect()
}

/// Where the records of a system are, as a run left them, without their values.
#[derive(Clone, Debug, Default)]
pub struct Whereabouts {
    records: Vec<u64>,
    /// Hashes of the keys.
    keys: Vec<u64>,
    /// Hashes of the native ids.
    ids: Vec<u64>,
    /// Whether the record is there.
    live: Vec<bool>,
}

impl Whereabouts {
    /// Adds a record.
    pub fn push(&mut self, record: u64, id: Option<&str>, key: &str, standing: Standing) {
        self.records.push(record);
        self.keys.push(xxh3_64(key.as_bytes()).max(1));
        self.ids.push(id.map_or(NO_KEY, |id| xxh3_64(id.as_bytes()).max(1)));
        self.live.push(standing == Standing::Live);
    }
}

/// As [`alone`], of records that are known: those that are in every system where they were, under the key that they had. `by_id` says of
/// each system whether its rows are known by their native ids. The records ascend.
pub fn alone_and_known(registers: &[Register], whereabouts: &[Whereabouts], by_id: &[bool]) -> (Vec<u64>, Vec<Vec<u32>>) {
    let silent: HashSet<u64> = registers.iter().flat_map(|register| &register.silent_keys).copied().collect();
    let of_system = |system: usize| {
        let (register, known) = (&registers[system], &whereabouts[system]);
        let names = if by_id[system] { &known.ids } else { &known.keys };
        let mut names: Vec<(u64, u32)> = (0..).zip(names).filter(|(_, name)| **name != NO_KEY).map(|(at, name)| (*name, at)).collect();
        names.par_sort_unstable();
        let is_one = |at: usize| names.get(at + 1).is_none_or(|next| next.0 != names[at].0) && (at == 0 || names[at - 1].0 != names[at].0);
        let mut rows: Vec<(u64, u64, u32)> = register
            .alone(&silent)
            .into_iter()
            .map(|(key, row)| {
                let id = register.ids.get(row as usize).copied().unwrap_or(NO_KEY);
                (if by_id[system] { id } else { key }, key, row)
            })
            .filter(|(name, ..)| *name != NO_KEY)
            .collect();
        rows.par_sort_unstable();
        let (mut at, mut found) = (0, Vec::new());
        for (name, key, row) in rows {
            while names.get(at).is_some_and(|(known, _)| *known < name) {
                at += 1;
            }
            let Some((_, place)) = names.get(at).filter(|(known, _)| *known == name && is_one(at)) else { continue };
            let place = *place as usize;
            if known.live[place] && known.keys[place] == key {
                found.push((known.records[place], key, row));
            }
        }
        found.par_sort_unstable();
        found
    };
    let found: Vec<Vec<(u64, u64, u32)>> = (0..registers.len()).into_par_iter().map(of_system).collect();
    let Some((first, others)) = found.split_first() else { return (Vec::new(), Vec::new()) };
    let (mut records, mut rows) = (Vec::new(), vec![Vec::new(); registers.len()]);
    let mut at = vec![0_usize; others.len()];
    for (record, key, row) in first {
        let mut is_everywhere = true;
        for (other, at) in others.iter().zip(&mut at) {
            while other.get(*at).is_some_and(|(known, ..)| known < record) {
                *at += 1;
            }
            is_everywhere &= other.get(*at).is_some_and(|(known, of_key, _)| known == record && of_key == key);
        }
        if is_everywhere {
            records.push(*record);
            rows[0].push(*row);
            others.iter().zip(&at).zip(&mut rows[1..]).for_each(|((other, at), rows)| rows.push(other[*at].2));
        }
    }
    (records, rows)
}

/// The job as far as it is needed to read the keys of a system.
pub fn keys_alone(job: &Job) -> Job {
    let mut job = job.clone();
    let mut needed = job.key.clone();
    let mut next = 0;
    while let Some(field) = needed.get(next).copied() {
        needed.extend(job.fields[field].standards.beside().filter(|beside| !needed.contains(beside)));
        next += 1;
    }
    for (index, field) in job.fields.iter_mut().enumerate().filter(|(index, _)| !needed.contains(index)) {
        debug_assert!(!job.key.contains(&index), "a key field is needed");
        field.columns.iter_mut().for_each(|column| *column = None);
    }
    for system in &mut job.systems {
        system.edited_at = None;
    }
    job
}

/// Records that were taken over.
#[derive(Clone, Debug)]
pub struct Adopted {
    /// They are at rest.
    pub rest: Rest,
    /// By system: their bases.
    pub bases: Vec<Base>,
    /// By system: what cleaning altered in their rows.
    pub counts: Vec<Vec<CleaningCount>>,
    /// The first record number that was not given.
    pub next_record: u64,
}

/// Takes over the records of these rows, by system, of which there is nothing to decide. The rows are all rows of their records,
/// and no other row claims a key or native id of them. `before` holds no other records; those that have a base are only taken over if that
/// stays as it is.
///
/// # Errors
/// As [`Pulled::take`], if their cells were not read.
pub fn adopt(job: &Job, rows: Vec<Pulled>, before: &State) -> Result<Adopted, Error> {
    let nows: Vec<_> = rows
        .into_par_iter()
        .enumerate()
        .map(|(system, rows)| clean(job, system, Arc::new(rows)))
        .collect::<Vec<Clean>>()
        .into_iter()
        .enumerate()
        .map(|(system, clean)| dedupe(job, system, clean, &before.bases[system]))
        .collect();
    let (answers, unsettled) = (Answers::default(), Settlement::default());
    let decisions = plan(job, before, &nows, link(job, before, &nows, &answers, false), &answers, PlanHeader::default());
    let after = advance(job, before, &nows, &decisions, &unsettled);
    // Whatever is told of a link is told when all are decided together.
    let is_told = !decisions.linked.events.is_empty() || !decisions.events.is_empty();
    let rest = if is_told { Rest::of_nothing(job.systems.len()) } else { quiet(job, &nows, &decisions, &after) };
    let rest = match before.bases.iter().any(|base| base.height() > 0) {
        false => rest,
        true => {
            let stays = |record: u64| before.bases.iter().zip(&after.bases).all(|(before, after)| before.has_the_same(after, record));
            let kept = (0..rest.records.len() as u32).filter(|at| stays(rest.records[*at as usize]));
            rest.take(&kept.collect::<Vec<u32>>())
        }
    };
    let bases = after.bases.par_iter().map(|base| {
        let rows: Vec<u32> = rest.records.iter().filter_map(|record| base.records.binary_search(record).ok()).map(|row| row as u32).collect();
        base.take(&rows)
    });
    let bases = bases.collect();
    let counts = nows.iter().enumerate().map(|(system, now)| {
        let pulled = &now.clean.pulled;
        let mut is_left = vec![true; pulled.height()];
        let places: HashSet<u32> = rest.systems[system].places.iter().copied().collect();
        (0..pulled.height() as u32).filter(|row| places.contains(&pulled.place(*row))).for_each(|row| is_left[row as usize] = false);
        let left: Vec<u32> = (0..pulled.height() as u32).filter(|row| is_left[*row as usize]).collect();
        match left.is_empty() {
            true => Ok(now.clean.counts.clone()),
            false => Ok(without(&now.clean.counts, &clean(job, system, Arc::new(pulled.take(&left)?)).counts)),
        }
    });
    let counts = counts.collect::<Result<_, Error>>()?;
    Ok(Adopted { counts, rest, bases, next_record: after.next_record })
}

/// These counts without those.
fn without(counts: &[CleaningCount], others: &[CleaningCount]) -> Vec<CleaningCount> {
    let of_others = |count: &CleaningCount| others.iter().find(|other| other.field == count.field && other.rule == count.rule).map_or(0, |other| other.cells);
    let left = counts.iter().map(|count| CleaningCount { cells: count.cells - of_others(count).min(count.cells), ..count.clone() });
    left.filter(|count| count.cells > 0).collect()
}

/// The sum of counts.
pub fn with(counts: &[CleaningCount], others: &[CleaningCount]) -> Vec<CleaningCount> {
    let mut all: Vec<CleaningCount> = counts.to_vec();
    for other in others {
        match all.iter_mut().find(|count| count.field == other.field && count.rule == other.rule) {
            Some(count) => count.cells += other.cells,
            None => all.push(other.clone()),
        }
    }
    all.sort();
    all
}
