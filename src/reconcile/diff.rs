//! Which records are worth a look.
//!
//! A record is *quiet* when every system has it, nothing is open about it, and every field is the same in all systems that
//! carry it: then nothing can be planned for it, whoever changed what. All others are looked at one by one. The comparison
//! runs over columns, field by field, and makes no value of a quiet cell.

use super::base::{Base, State};
use super::link::Linked;
use crate::frame::{Keyed, NO_ROW};
use crate::job::{Job, MergeRule};

/// The records that are not quiet, ascending.
pub fn restless(job: &Job, state: &State, nows: &[Keyed], linked: &Linked) -> Vec<u32> {
    let height = linked.records.len();
    let mut restless = vec![false; height];
    for (system, rows) in linked.now_rows.iter().enumerate() {
        for (record, row) in rows.iter().enumerate() {
            restless[record] |= *row == NO_ROW;
        }
        for record in linked.silent[system].keys() {
            restless[*record as usize] = true;
        }
    }
    for record in linked.held.keys() {
        restless[*record as usize] = true;
    }
    let open = state.open.fields.keys().map(|(record, _)| record).chain(state.open.records.keys().map(|(record, _)| record));
    for number in open.chain(state.open.flips.keys().map(|(record, ..)| record)) {
        if let Ok(record) = linked.records.binary_search(number) {
            restless[record] = true;
        }
    }
    for (index, field) in job.fields.iter().enumerate() {
        let carriers: Vec<usize> = (0..nows.len()).filter(|s| field.is_carried_by(*s)).collect();
        let Some((first, others)) = carriers.split_first() else { continue };
        let aligned = |system: usize| {
            let column = nows[system].clean.fields[index].as_ref()?;
            let rows = &linked.now_rows[system];
            let in_order = rows.len() == column.len() && rows.iter().enumerate().all(|(record, row)| *row == record as u32);
            Some(if in_order { column.clone() } else { column.take(rows) })
        };
        let Some(reference) = aligned(*first) else { continue };
        for other in others {
            let Some(column) = aligned(*other) else { continue };
            for (record, differs) in reference.differs(&column).iter().enumerate() {
                restless[record] |= differs != Some(false);
            }
        }
        if field.merge.first() == Some(&MergeRule::SumOfChanges) && field.owner.is_empty() {
            // Equal edits of a counter add up: equal values of voters do not make it quiet.
            for system in carriers.iter().filter(|system| job.systems[**system].role.votes()) {
                mark_changed(&nows[*system], &state.bases[*system], index, &linked.now_rows[*system], &linked.base_rows[*system], &mut restless);
            }
        }
        if field.standardise {
            for system in &carriers {
                mark_other_spellings(job, *system, &nows[*system], index, &linked.now_rows[*system], &mut restless);
            }
        }
    }
    // What ended everywhere, and is not there, is over.
    (0..height as u32)
        .filter(|record| restless[*record as usize])
        .filter(|record| {
            let gone = linked.now_rows.iter().all(|rows| rows[*record as usize] == NO_ROW) && linked.silent.iter().all(|s| !s.contains_key(record));
            let ended = (0..nows.len()).all(|system| linked.standing(system, *record, &state.bases).is_none_or(|standing| !standing.is_linked()));
            !(gone && ended)
        })
        .collect()
}

fn mark_changed(now: &Keyed, base: &Base, field: usize, now_rows: &[u32], base_rows: &[u32], restless: &mut [bool]) {
    let (Some(values), Some(bases), Some(seen)) = (&now.clean.fields[field], &base.fields[field], &base.seen[field]) else { return };
    for (record, (row, base_row)) in now_rows.iter().zip(base_rows).enumerate() {
        if *row != NO_ROW && *base_row != NO_ROW && seen.get(*base_row as usize) == Some(true) && !values.equal(*row, bases, *base_row) {
            restless[record] = true;
        }
    }
}

fn mark_other_spellings(job: &Job, system: usize, now: &Keyed, field: usize, now_rows: &[u32], restless: &mut [bool]) {
    let spec = &job.fields[field];
    let (Some(column), Some(values)) = (&spec.columns[system], &now.clean.fields[field]) else { return };
    for (record, row) in now_rows.iter().enumerate() {
        if *row != NO_ROW && super::clean::spell(spec, column, &values.value(*row)).text != now.raw(&column.name, *row).text {
            restless[record] = true;
        }
    }
}

/// Whether a field changed in every one of the records that can be compared, and how many those are. Stops at the first
/// record in which it did not.
pub fn all_changed(now: &Keyed, base: &Base, field: usize, now_rows: &[u32], base_rows: &[u32]) -> Option<u64> {
    let (values, bases, seen) = (now.clean.fields[field].as_ref()?, base.fields[field].as_ref()?, base.seen[field].as_ref()?);
    let mut compared = 0;
    for (row, base_row) in now_rows.iter().zip(base_rows) {
        if *row == NO_ROW || *base_row == NO_ROW || seen.get(*base_row as usize) != Some(true) {
            continue;
        }
        if values.equal(*row, bases, *base_row) {
            return None;
        }
        compared += 1;
    }
    Some(compared)
}
