//! Records at rest: nothing about them can be decided, so nothing of them is looked into again.
//!
//! A run leaves a record at rest if every system has it in exactly one row, nothing is open about it, every field is the same in
//! all systems that carry it, and it is no canary. It *stays* at rest in the next run if each of its rows is there again, the same in
//! everything the source holds, and no other row of that run claims its key or one of its native ids. Deciding such a record
//! again could only lead to what was decided before: nothing.
//!
//! Every row is still read and compared, every night. What is saved is everything after that: its cells are not cleaned, its
//! base is not read, its new base not written.
//!
//! # Design
//! - "The same" is told by 128 bits of a stable hash of the row ([`Pulled::hash`]): two different rows of one key do not meet in
//!   it in the lifetime of a system. Keys and native ids are hashed to 64 bits, because a false alarm only costs a second look.
//! - A record wakes as a whole: if one of its rows changed, all of them are looked into.
//! - Amounts of control totals are kept with the record, so that the totals of a night are sums over all records and not
//!   differences to the night before.

use std::collections::BTreeMap;

use hashbrown::hash_table::Entry;
use hashbrown::{HashSet, HashTable};
use polars::prelude::*;
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::base::{BaseTotal, Standing, State};
use super::canary::canary_keys;
use super::plan::Decisions;
use crate::frame::{Clean, FieldColumn, Keyed, NO_ROW, Pulled};
use crate::job::Job;
use crate::value::{Decimal, FieldType};

/// The records that a run leaves at rest. All columns have one row a record, in ascending order of `records`.
#[derive(Clone, Debug, Default)]
pub struct Rest {
    /// The record numbers, ascending.
    pub records: Vec<u64>,
    /// Hashes of the canonical keys.
    pub keys: Vec<u64>,
    /// By the job's systems.
    pub systems: Vec<RestIn>,
}

/// The rows of one system that are at rest.
#[derive(Clone, Debug, Default)]
pub struct RestIn {
    /// Hashes of the rows.
    pub rows: Vec<u128>,
    /// The numbers that the rows had in the snapshot of the run that left them at rest.
    pub places: Vec<u32>,
    /// Hashes of the native ids, where the system has ids.
    pub ids: Option<Vec<u64>>,
    /// By the job's totals: the amounts, where the system carries the field.
    pub totals: Vec<Option<BaseTotal>>,
}

/// The records that stay at rest tonight.
#[derive(Clone, Debug, Default)]
pub struct Resting {
    /// Their positions in [`Rest`], ascending.
    pub positions: Vec<u32>,
    /// By system, for each of them the row in [`Pulled`].
    rows: Vec<Vec<u32>>,
    /// Whether no run knew them before this one.
    are_new: bool,
}

/// How the rows of a snapshot are put together from those that are told and those of an earlier snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The first of the rows in the earlier snapshot; nothing if they are the next ones that are told.
    pub from: Option<u32>,
    /// How many rows there are.
    pub rows: u32,
    /// The line of the first one.
    pub line: u64,
}

/// What the records at rest add to a control total of one system, in one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestingSum {
    /// The sum; nothing if it does not fit.
    pub amount: Option<Decimal>,
    /// How many records are in it.
    pub records: u64,
    /// How many of them have no amount.
    pub without_amount: u64,
}

/// The sums of the records at rest.
#[derive(Clone, Debug, Default)]
pub struct RestingSums {
    /// How many records are at rest: each has a row in every system.
    pub records: u64,
    /// Whether no run knew them before this one.
    pub are_new: bool,
    /// By system, total and group.
    pub totals: BTreeMap<(usize, usize), BTreeMap<String, RestingSum>>,
}

impl Rest {
    /// No records of so many systems.
    pub(super) fn of_nothing(systems: usize) -> Rest {
        Rest { systems: vec![RestIn::default(); systems], ..Rest::default() }
    }

    /// The records at these positions, which ascend.
    pub(super) fn take(&self, positions: &[u32]) -> Rest {
        if positions.len() == self.records.len() {
            return self.clone();
        }
        let pick = |of: &[u64]| positions.iter().map(|at| of[*at as usize]).collect::<Vec<u64>>();
        let systems = self.systems.iter().map(|rest| RestIn {
            rows: positions.iter().map(|at| rest.rows[*at as usize]).collect(),
            places: positions.iter().map(|at| rest.places[*at as usize]).collect(),
            ids: rest.ids.as_deref().map(pick),
            totals: rest
                .totals
                .iter()
                .map(|total| {
                    let total = total.as_ref()?;
                    let FieldColumn::Text(groups) = FieldColumn::Text(total.groups.clone()).take(positions) else { return None };
                    Some(BaseTotal { amounts: total.amounts.take(positions), groups })
                })
                .collect(),
        });
        Rest { systems: systems.collect(), records: pick(&self.records), keys: pick(&self.keys) }
    }

    /// The records of all of these, which ascend from one to the next.
    pub fn joined(job: &Job, parts: Vec<Rest>) -> Rest {
        let mut whole = Rest::of_nothing(job.systems.len());
        let mut totals: Vec<Vec<Vec<BaseTotal>>> = vec![vec![Vec::new(); job.totals.len()]; job.systems.len()];
        for part in parts {
            whole.records.extend(part.records);
            whole.keys.extend(part.keys);
            for ((system, part), totals) in whole.systems.iter_mut().zip(part.systems).zip(&mut totals) {
                system.rows.extend(part.rows);
                system.places.extend(part.places);
                if let Some(ids) = part.ids {
                    system.ids.get_or_insert_default().extend(ids);
                }
                totals.iter_mut().zip(part.totals).for_each(|(of_all, total)| of_all.extend(total));
            }
        }
        for (system, totals) in whole.systems.iter_mut().zip(totals) {
            system.totals = totals.into_iter().map(stacked).collect();
        }
        whole
    }

    /// The records whose rows are all there again, each once.
    pub fn found_in(&self, pulled: &[Pulled]) -> Resting {
        let found: Vec<Vec<u32>> = self.systems.par_iter().zip(pulled).map(|(rest, pulled)| rows_again(rest, pulled)).collect();
        let positions: Vec<u32> = (0..self.records.len() as u32).filter(|position| found.iter().all(|rows| rows[*position as usize] < AGAIN)).collect();
        let rows = found.into_iter().map(|rows| positions.iter().map(|position| rows[*position as usize]).collect()).collect();
        Resting { positions, rows, are_new: false }
    }

    /// Wakes the records whose key or native id a row claims that is looked into. Tells whether there were any.
    pub fn wake_claimed(&self, resting: &mut Resting, cleaned: &[Clean]) -> bool {
        let mut keys: HashSet<u64> = HashSet::new();
        for clean in cleaned {
            keys.extend(clean.keys.iter().flatten().map(|key| xxh3_64(key.as_bytes())));
            keys.extend(clean.silent.keys.iter().flatten().map(|key| xxh3_64(key.as_bytes())));
        }
        let ids: Vec<HashSet<u64>> = cleaned
            .iter()
            .map(|clean| {
                let good = clean.ids.iter().flat_map(|ids| ids.iter().flatten());
                good.chain(clean.silent.ids.iter().flatten().map(String::as_str)).map(|id| xxh3_64(id.as_bytes())).collect()
            })
            .collect();
        let is_claimed = |position: u32| {
            let at = position as usize;
            let by_id = |(rest, ids): (&RestIn, &HashSet<u64>)| rest.ids.as_ref().is_some_and(|known| !ids.is_empty() && ids.contains(&known[at]));
            keys.contains(&self.keys[at]) || self.systems.iter().zip(&ids).any(by_id)
        };
        let stays: Vec<bool> = resting.positions.par_iter().map(|position| !is_claimed(*position)).collect();
        if stays.iter().all(|stays| *stays) {
            return false;
        }
        let kept = |list: &[u32]| list.iter().zip(&stays).filter(|(_, stays)| **stays).map(|(one, _)| *one).collect::<Vec<u32>>();
        resting.rows = resting.rows.iter().map(|rows| kept(rows)).collect();
        resting.positions = kept(&resting.positions);
        true
    }

    /// What the records that stay at rest add to the control totals.
    pub fn sums(&self, job: &Job, resting: &Resting) -> RestingSums {
        let mut sums = RestingSums { records: resting.positions.len() as u64, are_new: resting.are_new, totals: BTreeMap::new() };
        for (system, rest) in self.systems.iter().enumerate() {
            for (index, total) in rest.totals.iter().enumerate() {
                let Some(total) = total else { continue };
                let scale = if let FieldType::Decimal(scale) = job.fields[job.totals[index].field].field_type { scale } else { 0 };
                let mut groups: BTreeMap<String, RestingSum> = BTreeMap::new();
                for position in &resting.positions {
                    let Some(group) = total.groups.get(*position as usize) else { continue };
                    if !groups.contains_key(group) {
                        let nothing = RestingSum { amount: Some(Decimal { units: 0, scale }), records: 0, without_amount: 0 };
                        groups.insert(group.to_owned(), nothing);
                    }
                    let Some(sum) = groups.get_mut(group) else { continue };
                    sum.records += 1;
                    match total.amounts.value(*position).as_decimal() {
                        Some(amount) => sum.amount = sum.amount.and_then(|sum| sum.checked_add(amount)),
                        None => sum.without_amount += 1,
                    }
                }
                sums.totals.insert((system, index), groups);
            }
        }
        sums
    }

    /// The records that are at rest after a run: those that stayed so, and those of which it saw nothing to decide.
    ///
    /// `after` is the state of the records that were looked into, as the run leaves it.
    pub fn after(&self, job: &Job, resting: &Resting, nows: &[Keyed], decisions: &Decisions, after: &State) -> Rest {
        let fresh = quiet(job, nows, decisions, after);
        let order = merged(&self.records, &resting.positions, &fresh.records);
        // A position in what was at rest, or below it one of the fresh.
        let old = self.records.len() as u32;
        let pick =
            |of_old: &[u64], of_new: &[u64]| order.iter().map(|at| if *at < old { of_old[*at as usize] } else { of_new[(*at - old) as usize] }).collect();
        let systems = fresh.systems.iter().enumerate().map(|(system, fresh)| {
            // Without anything at rest there are no columns of it either.
            let known = self.systems.get(system);
            let empty = RestIn::default();
            let known = known.unwrap_or(&empty);
            let rows = order.iter().map(|at| if *at < old { known.rows[*at as usize] } else { fresh.rows[(*at - old) as usize] }).collect();
            // Those that stay have the place that they were found in tonight.
            let mut found = resting.rows.get(system).into_iter().flatten();
            let places = order.iter().map(|at| if *at < old { found.next().copied().unwrap_or(NO_ROW) } else { fresh.places[(*at - old) as usize] });
            let places = places.collect();
            let ids = fresh.ids.as_ref().map(|ids| pick(known.ids.as_deref().unwrap_or_default(), ids));
            let totals = fresh.totals.iter().enumerate().map(|(index, fresh)| {
                let fresh = fresh.as_ref()?;
                let Some(Some(known)) = known.totals.get(index) else { return Some(fresh.clone()) };
                let groups = FieldColumn::Text(known.groups.clone()).stacked(&[&FieldColumn::Text(fresh.groups.clone())]).take(&order);
                let FieldColumn::Text(groups) = groups else { return None };
                Some(BaseTotal { amounts: known.amounts.stacked(&[&fresh.amounts]).take(&order), groups })
            });
            RestIn { rows, places, ids, totals: totals.collect() }
        });
        Rest { systems: systems.collect(), records: pick(&self.records, &fresh.records), keys: pick(&self.keys, &fresh.keys) }
    }

    /// How the snapshot of a system is put together from its rows that are awake, and the snapshot of the run that left these records at rest.
    pub fn pieces(&self, resting: &Resting, system: usize, pulled: &Pulled) -> Vec<Piece> {
        let mut froms = vec![NO_ROW; pulled.height()];
        if let (Some(rows), Some(rest)) = (resting.rows.get(system), self.systems.get(system)) {
            rows.iter().zip(&resting.positions).for_each(|(row, position)| froms[*row as usize] = rest.places[*position as usize]);
        }
        let mut pieces: Vec<Piece> = Vec::new();
        let mut next_line = 0;
        for (row, from) in froms.into_iter().enumerate() {
            let from = (from != NO_ROW).then_some(from);
            let line = pulled.line(row as u32);
            match pieces.last_mut() {
                // Rows that are told have their lines beside them.
                Some(piece) if from.is_none() && piece.from.is_none() => piece.rows += 1,
                Some(piece) if line == next_line && from.is_some() && piece.from.map(|first| first + piece.rows) == from => piece.rows += 1,
                _ => pieces.push(Piece { from, rows: 1, line }),
            }
            next_line = line + 1;
        }
        pieces
    }

    /// Some of the records as one frame, to be stored.
    pub fn to_frame(&self, job: &Job, records: std::ops::Range<usize>) -> PolarsResult<DataFrame> {
        let whole = |name: String, numbers: Vec<u64>| Column::from(UInt64Chunked::from_vec(name.into(), numbers).into_series());
        let part = |numbers: &[u64]| numbers[records.clone()].to_vec();
        let mut columns = vec![whole("record".to_owned(), part(&self.records)), whole("key".to_owned(), part(&self.keys))];
        for (spec, rest) in job.systems.iter().zip(&self.systems) {
            let (name, rows) = (&spec.name, &rest.rows[records.clone()]);
            columns.push(whole(format!("{name}:row"), rows.iter().map(|hash| *hash as u64).collect()));
            columns.push(whole(format!("{name}:row-high"), rows.iter().map(|hash| (*hash >> 64) as u64).collect()));
            columns.push(UInt32Chunked::from_slice(format!("{name}:place").into(), &rest.places[records.clone()]).into_series().into());
            columns.extend(rest.ids.as_ref().map(|ids| whole(format!("{name}:id"), part(ids))));
            for (total, kept) in job.totals.iter().zip(&rest.totals) {
                let Some(kept) = kept else { continue };
                let field = &job.fields[total.field].name;
                let (first, length) = (records.start as i64, records.len());
                columns.push(kept.amounts.to_series(&format!("{name}:total:{field}"))?.slice(first, length).into());
                columns.push(kept.groups.slice(first, length).with_name(format!("{name}:total-group:{field}").into()).into_series().into());
            }
        }
        DataFrame::new(records.len(), columns)
    }

    /// What [`Rest::to_frame`] wrote, a column at a time; nothing if these are not the columns of this job.
    pub fn from_columns(job: &Job, mut column: impl FnMut(&str) -> Option<Series>) -> Option<Rest> {
        fn whole(series: &Series) -> Option<Vec<u64>> {
            Some(series.u64().ok()?.into_no_null_iter().collect())
        }
        let mut rest = Rest { records: whole(&column("record")?)?, keys: whole(&column("key")?)?, systems: Vec::new() };
        for (system, spec) in job.systems.iter().enumerate() {
            let name = &spec.name;
            let low = column(&format!("{name}:row"))?;
            let mut rows: Vec<u128> = low.u64().ok()?.into_no_null_iter().map(u128::from).collect();
            drop(low);
            let high = column(&format!("{name}:row-high"))?;
            rows.iter_mut().zip(high.u64().ok()?.into_no_null_iter()).for_each(|(row, high)| *row |= u128::from(high) << 64);
            drop(high);
            let places = column(&format!("{name}:place"))?.u32().ok()?.into_no_null_iter().collect();
            let ids = if spec.id.is_some() { Some(whole(&column(&format!("{name}:id"))?)?) } else { None };
            let mut totals = Vec::with_capacity(job.totals.len());
            for total in &job.totals {
                let field = &job.fields[total.field];
                if !field.is_carried_by(system) {
                    totals.push(None);
                    continue;
                }
                let amounts = FieldColumn::from_series(&column(&format!("{name}:total:{}", field.name))?.rechunk(), field.field_type)?;
                let groups = column(&format!("{name}:total-group:{}", field.name))?.rechunk().str().ok()?.clone();
                totals.push(Some(BaseTotal { amounts, groups }));
            }
            rest.systems.push(RestIn { rows, places, ids, totals });
        }
        Some(rest)
    }
}

impl Resting {
    /// All of these records, in the rows in which they were found. They may be records that no run knew before.
    pub fn all(rest: &Rest, are_new: bool) -> Resting {
        let rows = rest.systems.iter().map(|system| system.places.clone()).collect();
        Resting { positions: (0..rest.records.len() as u32).collect(), rows, are_new }
    }

    /// By system, the rows that must be looked into, ascending.
    pub fn awake_rows(&self, pulled: &[Pulled]) -> Vec<Vec<u32>> {
        let awake = |(system, pulled): (usize, &Pulled)| {
            let mut rests = vec![false; pulled.height()];
            for row in self.rows.get(system).into_iter().flatten() {
                rests[*row as usize] = true;
            }
            (0..pulled.height() as u32).filter(|row| !rests[*row as usize]).collect()
        };
        pulled.par_iter().enumerate().map(awake).collect()
    }
}

/// A row that is there more than once, and one that is not there at all: both are above every row number.
const AGAIN: u32 = NO_ROW - 1;

/// For each of these rows where it is tonight: [`NO_ROW`] if nowhere, [`AGAIN`] if in several places, or if two records have it.
///
/// Most rows stand where they stood. So only the others are looked for, and it is asked of those that were found if one of these is
/// the same.
fn rows_again(rest: &RestIn, pulled: &Pulled) -> Vec<u32> {
    let height = pulled.height() as u32;
    let mut found = vec![NO_ROW; rest.rows.len()];
    let mut is_found = vec![false; height as usize];
    for ((found, hash), place) in found.iter_mut().zip(&rest.rows).zip(&rest.places) {
        if *place < height && pulled.hash(*place) == *hash && !is_found[*place as usize] {
            *found = *place;
            is_found[*place as usize] = true;
        }
    }
    let lost: Vec<u32> = (0..rest.rows.len() as u32).filter(|position| found[*position as usize] == NO_ROW).collect();
    let others: Vec<u32> = (0..height).filter(|row| !is_found[*row as usize]).collect();
    if lost.is_empty() && others.is_empty() {
        return found;
    }
    let mut seen: HashTable<Seen> = HashTable::with_capacity(lost.len() + others.len());
    let short = |hash: u128| hash as u64;
    for position in &lost {
        let hash = rest.rows[*position as usize];
        match seen.entry(short(hash), |other| other.hash == hash, |other| short(other.hash)) {
            Entry::Occupied(mut other) => other.get_mut().is_several = true,
            Entry::Vacant(place) => drop(place.insert(Seen { hash, is_known: true, row: NO_ROW, is_several: false })),
        }
    }
    for row in others {
        let hash = pulled.hash(row);
        match seen.entry(short(hash), |other| other.hash == hash, |other| short(other.hash)) {
            Entry::Occupied(mut other) => match other.get_mut() {
                other if other.is_known && other.row == NO_ROW => other.row = row,
                other => other.is_several = true,
            },
            Entry::Vacant(place) => drop(place.insert(Seen { hash, is_known: false, row, is_several: false })),
        }
    }
    for (found, hash) in found.iter_mut().zip(&rest.rows).filter(|(found, _)| **found != NO_ROW) {
        if let Some(other) = seen.find_mut(short(*hash), |other| other.hash == *hash) {
            (*found, other.is_several) = (AGAIN, true);
        }
    }
    for position in lost {
        let hash = rest.rows[position as usize];
        let other = seen.find(short(hash), |other| other.hash == hash);
        found[position as usize] = other.map_or(NO_ROW, |other| if other.is_several { AGAIN } else { other.row });
    }
    found
}

/// A row that does not stand where it stood, or that a record lacks there.
struct Seen {
    hash: u128,
    /// Whether a record had it.
    is_known: bool,
    /// Where it is tonight, if it is.
    row: u32,
    /// Whether it is there, or known, more than once.
    is_several: bool,
}

/// The ascending records at these positions merged with others: positions, those of the others counted on from the end of the
/// first.
fn merged(records: &[u64], positions: &[u32], others: &[u64]) -> Vec<u32> {
    let mut order = Vec::with_capacity(positions.len() + others.len());
    let mut next = 0;
    for position in positions {
        while next < others.len() && others[next] < records[*position as usize] {
            order.push((records.len() + next) as u32);
            next += 1;
        }
        order.push(*position);
    }
    order.extend((next..others.len()).map(|other| (records.len() + other) as u32));
    order
}

/// One total of the records of several; nothing if there are none.
fn stacked(totals: Vec<BaseTotal>) -> Option<BaseTotal> {
    let (first, below) = totals.split_first()?;
    let amounts = first.amounts.stacked(&below.iter().map(|total| &total.amounts).collect::<Vec<_>>());
    let groups: Vec<FieldColumn> = below.iter().map(|total| FieldColumn::Text(total.groups.clone())).collect();
    match FieldColumn::Text(first.groups.clone()).stacked(&groups.iter().collect::<Vec<_>>()) {
        FieldColumn::Text(groups) => Some(BaseTotal { amounts, groups }),
        _ => None,
    }
}

/// The records that were looked into and of which there was nothing to decide.
pub(super) fn quiet(job: &Job, nows: &[Keyed], decisions: &Decisions, after: &State) -> Rest {
    let linked = &decisions.linked;
    let mut base_rows: Vec<Vec<u32>> = vec![Vec::new(); nows.len()];
    let mut at = vec![0_usize; nows.len()];
    let mut chosen: Vec<u32> = Vec::new();
    let mut rows = vec![NO_ROW; nows.len()];
    for (record, number) in linked.records.iter().enumerate() {
        let mut is_quiet = !decisions.treatments.contains_key(&(record as u32));
        for (system, now) in nows.iter().enumerate() {
            let base = &after.bases[system];
            while base.records.get(at[system]).is_some_and(|known| known < number) {
                at[system] += 1;
            }
            let is_live = base.records.get(at[system]) == Some(number) && base.standings[at[system]] == Standing::Live;
            let row = linked.now_rows[system][record];
            is_quiet = is_quiet && is_live && row != NO_ROW && !now.crowded.contains(&now.clean.rows[row as usize]);
            rows[system] = at[system] as u32;
        }
        if is_quiet {
            chosen.push(record as u32);
            base_rows.iter_mut().zip(&rows).for_each(|(list, row)| list.push(*row));
        }
    }
    // The key is the same in all systems.
    let key_of = |record: &u32| nows[0].clean.keys.get(linked.now_rows[0][*record as usize] as usize);
    let canaries = canary_keys(job);
    if !canaries.is_empty() {
        let stays: Vec<bool> = chosen.iter().map(|record| !key_of(record).is_some_and(|key| canaries.contains(key))).collect();
        let kept = |list: &[u32]| list.iter().zip(&stays).filter(|(_, stays)| **stays).map(|(one, _)| *one).collect::<Vec<u32>>();
        base_rows = base_rows.iter().map(|rows| kept(rows)).collect();
        chosen = kept(&chosen);
    }
    let hash = |text: Option<&str>| xxh3_64(text.unwrap_or_default().as_bytes());
    let systems = nows.iter().enumerate().map(|(system, now)| {
        let row_of = |record: &u32| linked.now_rows[system][*record as usize];
        let base = &after.bases[system];
        RestIn {
            rows: chosen.iter().map(|record| now.clean.pulled.hash(now.clean.rows[row_of(record) as usize])).collect(),
            places: chosen.iter().map(|record| now.clean.pulled.place(now.clean.rows[row_of(record) as usize])).collect(),
            ids: now.clean.ids.as_ref().map(|ids| chosen.iter().map(|record| hash(ids.get(row_of(record) as usize))).collect()),
            totals: (0..job.totals.len())
                .map(|index| {
                    let total = base.totals[index].as_ref()?;
                    let FieldColumn::Text(groups) = FieldColumn::Text(total.groups.clone()).take(&base_rows[system]) else { return None };
                    Some(BaseTotal { amounts: total.amounts.take(&base_rows[system]), groups })
                })
                .collect(),
        }
    });
    let systems: Vec<RestIn> = systems.collect();
    Rest {
        records: chosen.iter().map(|record| linked.records[*record as usize]).collect(),
        keys: chosen.iter().map(|record| hash(key_of(record))).collect(),
        systems,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Evidence;

    fn pulled(hashes: &[u128]) -> Pulled {
        Pulled::new(Vec::new(), (1..=hashes.len() as u64).collect(), hashes.to_vec(), Vec::new(), Evidence::default())
    }

    fn rest(systems: &[&[u128]]) -> Rest {
        let count = systems[0].len() as u64;
        let of_system = |rows: &&[u128]| RestIn { rows: rows.to_vec(), places: (0..rows.len() as u32).collect(), ids: None, totals: Vec::new() };
        Rest { records: (1..=count).collect(), keys: (100..100 + count).collect(), systems: systems.iter().map(of_system).collect() }
    }

    #[test]
    fn a_record_stays_at_rest_if_each_of_its_rows_is_there_once() {
        let known = rest(&[&[1, 2, 3, 4, 5], &[11, 12, 13, 14, 15]]);
        // The second changed in one system, the third stands there twice in the other, the fourth is gone; the order is another.
        let both = [pulled(&[5, 9, 3, 1]), pulled(&[11, 13, 13, 12, 14, 15, 77])];
        let resting = known.found_in(&both);
        assert_eq!(resting.positions, [0, 4]);
        assert_eq!(resting.awake_rows(&both), [vec![1, 2], vec![1, 2, 3, 4, 6]]);
    }

    #[test]
    fn a_snapshot_is_put_together_from_the_last_one_and_what_is_new() {
        let known = rest(&[&[1, 2, 3, 4, 5]]);
        let pieces = |hashes: &[u128], lines: &[u64]| {
            let now = Pulled::new(Vec::new(), lines.to_vec(), hashes.to_vec(), Vec::new(), Evidence::default());
            let pieces = known.pieces(&known.found_in(std::slice::from_ref(&now)), 0, &now);
            pieces.into_iter().map(|piece| (piece.from, piece.rows, piece.line)).collect::<Vec<_>>()
        };
        assert_eq!(pieces(&[1, 2, 3, 4, 5], &[2, 3, 4, 5, 6]), [(Some(0), 5, 2)]);
        // The third changed and one stands below it; a cell of the fourth has a line break now and then, so that a line is passed over.
        assert_eq!(pieces(&[1, 2, 9, 8, 4, 5], &[2, 3, 4, 5, 6, 8]), [(Some(0), 2, 2), (None, 2, 4), (Some(3), 1, 6), (Some(4), 1, 8)]);
        assert_eq!(pieces(&[5, 1, 2], &[2, 3, 4]), [(Some(4), 1, 2), (Some(0), 2, 3)]);
        assert_eq!(pieces(&[], &[]), []);
        assert_eq!(pieces(&[7, 7], &[2, 3]), [(None, 2, 2)]);
    }

    #[test]
    fn a_row_that_stands_where_it_stood_and_elsewhere_too_is_not_told_apart() {
        let found = |known: &[u128], tonight: &[u128]| rest(&[known]).found_in(&[pulled(tonight)]).positions;
        assert_eq!(found(&[1, 2, 3], &[1, 2, 3, 2]), [0, 2]);
        assert_eq!(found(&[1, 2, 3], &[2, 1, 3, 2]), [0, 2]);
        assert_eq!(found(&[1, 2, 3], &[4, 4, 2, 3, 1]), [0, 1, 2]);
        assert_eq!(found(&[7, 7, 1], &[7, 7, 1]), [0, 1, 2], "each where it stood");
        assert_eq!(found(&[7, 7, 1], &[1, 7, 7]), [2]);
        assert_eq!(found(&[1, 2], &[]), [] as [u32; 0]);
    }

    #[test]
    fn two_hashes_that_begin_alike_are_two_rows() {
        let other = 1 | 1 << 100;
        let known = rest(&[&[1, other]]);
        assert_eq!(known.found_in(&[pulled(&[other])]).positions, [1]);
        // One and the same row of two records tells neither.
        assert_eq!(rest(&[&[7, 7]]).found_in(&[pulled(&[7])]).positions, [] as [u32; 0]);
    }

    #[test]
    fn what_is_merged_ascends_by_record() {
        assert_eq!(merged(&[2, 4, 6, 8], &[0, 2, 3], &[1, 5, 9]), [4, 0, 5, 2, 3, 6]);
        assert_eq!(merged(&[], &[], &[3]), [0]);
    }
}
