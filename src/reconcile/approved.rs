//! Keeps a night to a plan that a person has looked at.
//!
//! An *approved* plan is one that was written to a file and comes back. Tonight is decided anew from tonight's rows; a change of
//! tonight is made only if the approved plan has the same one: the same system, record, action, address, and cells with the same
//! values before and after. An approved change that tonight has not is *stale*: it drops out, and is listed with the reason.
//! A change of tonight that was not approved is *withheld*: its record is held as a whole, so that no base of it moves and what
//! it is owed stays owed, and the next run plans it again.
//!
//! # Design
//! - A record is written wholly or not at all. Were it written in one system and held in another, a counter would add the same
//!   step again in the next run.
//! - A record whose key is also that of a withheld one is withheld too: a row that is not deleted tonight must not get a second
//!   one beside it.
//! - Withheld records go through the same door as records that are held for any other reason, so that everything that follows
//!   (bases, debts, totals, open breaks) knows them already.
//! - Reasons are not compared: a change that was sent once and was cut off is the same change with another reason.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};

use super::plan::Decisions;
use crate::change::{Action, Break, BreakKind, CellChange, Change, Plan, join_names, key_for_people};

/// An approved change that is not made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stale {
    /// The system that it would have written.
    pub system: String,
    /// The record's key, for people.
    pub key: String,
    /// What it would have done.
    pub action: Action,
    /// Why it is not made, in words, without a value of the record.
    pub why: String,
}

/// Tonight's decisions beside an approved plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The records that must be held, by their position in `linked.records`, each with what stays open of it.
    pub withheld: BTreeMap<u32, Vec<Break>>,
    /// By the position in the approved plan: its changes that are not made.
    pub stale: BTreeMap<usize, Stale>,
}

/// Compares tonight's changes with the approved ones.
///
/// Record numbers from `first_new` on were given to rows that no base knows: another row that appeared meanwhile may have taken
/// one, and such records are the same if their keys are.
pub fn compare(decisions: &Decisions, approved: &Plan, first_new: u64) -> Comparison {
    let tonight = &decisions.plan.changes;
    let is_same_record = |a: &Change, b: &Change| a.key == b.key && (a.record == b.record || (a.record >= first_new && b.record >= first_new));
    let mut by_row: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
    for (index, change) in approved.changes.iter().enumerate() {
        by_row.entry((&change.system, &change.key)).or_default().push(index);
    }
    let in_approved = |change: &Change| -> Vec<usize> {
        let found = by_row.get(&(change.system.as_str(), change.key.as_str()));
        found.into_iter().flatten().copied().filter(|index| is_same_record(&approved.changes[*index], change)).collect()
    };
    let mut partners: Vec<Option<usize>> = Vec::with_capacity(tonight.len());
    let mut is_made = vec![false; approved.changes.len()];
    for change in tonight {
        let partner = in_approved(change).into_iter().find(|index| !is_made[*index] && is_same_change(&approved.changes[*index], change));
        if let Some(index) = partner {
            is_made[index] = true;
        }
        partners.push(partner);
    }

    let unapproved: HashSet<u64> = tonight.iter().zip(&partners).filter(|(_, partner)| partner.is_none()).map(|(change, _)| change.record).collect();
    let records = with_shared_keys(tonight, unapproved.clone());
    let mut comparison = Comparison::default();
    let mut why_stale: HashMap<usize, String> = HashMap::new();
    for (change, partner) in tonight.iter().zip(&partners).filter(|(change, _)| records.contains(&change.record)) {
        let Ok(position) = decisions.linked.records.binary_search(&change.record) else { continue };
        let why = match partner {
            Some(index) => {
                is_made[*index] = false;
                let why = if unapproved.contains(&change.record) {
                    "another change that the record needs tonight is not in the plan, and a record is written wholly or not at all"
                } else {
                    "another record that has the same key is held"
                };
                why_stale.insert(*index, why.to_owned());
                format!("the {} is in the applied plan, and was not made: {why}", change.action)
            }
            None => match in_approved(change).into_iter().find(|index| !is_made[*index]) {
                Some(index) => {
                    let moved = what_moved(&approved.changes[index], change);
                    let why = format!("the applied plan has a {} that no longer fits: {moved}", approved.changes[index].action);
                    why_stale.insert(index, moved);
                    why
                }
                None => format!("the {} is not in the applied plan: what asks for it came later", change.action),
            },
        };
        comparison.withheld.entry(position as u32).or_default().push(Break {
            kind: BreakKind::Review,
            key: change.key.clone(),
            field: None,
            system: Some(change.system.clone()),
            values: Vec::new(),
            why,
            next_step: "make a new plan and apply it, or leave it to the next run".to_owned(),
        });
    }
    for (index, change) in approved.changes.iter().enumerate().filter(|(index, _)| !is_made[*index]) {
        let position = decisions.linked.records.binary_search(&change.record).ok().map(|position| position as u32);
        let is_left_alone =
            position.is_some_and(|at| decisions.linked.held.contains_key(&at) || decisions.linked.silent.iter().any(|silent| silent.contains_key(&at)));
        let why = why_stale.remove(&index).unwrap_or_else(|| {
            let why = if is_left_alone { "the record is left alone tonight" } else { "tonight's rows ask for no such change any more" };
            why.to_owned()
        });
        comparison.stale.insert(index, Stale { system: change.system.clone(), key: key_for_people(&change.key), action: change.action, why });
    }
    comparison
}

/// These records, and all others of which a changed row has, or gets, a key that a row of them has or gets.
fn with_shared_keys(changes: &[Change], mut records: HashSet<u64>) -> HashSet<u64> {
    if records.is_empty() {
        return records;
    }
    loop {
        let keys: HashSet<&str> = changes.iter().filter(|change| records.contains(&change.record)).flat_map(keys_of).flatten().collect();
        let shares = |change: &&Change| !records.contains(&change.record) && keys_of(change).into_iter().flatten().any(|key| keys.contains(key));
        let more: Vec<u64> = changes.iter().filter(shares).map(|change| change.record).collect();
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}

/// The keys that a changed record and its row have, had or get.
fn keys_of(change: &Change) -> [Option<&str>; 3] {
    [Some(&change.key), change.row_key_before.as_deref(), Some(&change.row_key_after)]
}

fn is_same_change(a: &Change, b: &Change) -> bool {
    let is_same_cell = |(a, b): (&CellChange, &CellChange)| {
        a.field == b.field && a.column == b.column && a.before_raw == b.before_raw && a.before == b.before && a.after == b.after && a.after_raw == b.after_raw
    };
    a.action == b.action
        && a.address == b.address
        && a.row_id == b.row_id
        && a.row_key_before == b.row_key_before
        && a.row_key_after == b.row_key_after
        && a.cells.len() == b.cells.len()
        && a.cells.iter().zip(&b.cells).all(is_same_cell)
}

/// What of a row or of its decision is not as it was when the plan was made, by the names of the fields alone: the values may
/// be sensitive.
fn what_moved(approved: &Change, tonight: &Change) -> String {
    if approved.action != tonight.action {
        return format!("tonight's rows ask for a {} instead", tonight.action);
    }
    if approved.address != tonight.address || approved.row_id != tonight.row_id || approved.row_key_before != tonight.row_key_before {
        return "the row has another id or key".to_owned();
    }
    let mut now: BTreeSet<String> = BTreeSet::new();
    let mut decided: BTreeSet<String> = BTreeSet::new();
    let name = |cell: &CellChange| cell.field.clone().unwrap_or_else(|| cell.column.clone());
    let find = |cells: &[CellChange], column: &str| cells.iter().find(|cell| cell.column == column).cloned();
    for cell in &approved.cells {
        match find(&tonight.cells, &cell.column) {
            Some(other) if other.before_raw != cell.before_raw || other.before != cell.before => now.insert(name(cell)),
            Some(other) if other.after != cell.after || other.after_raw != cell.after_raw => decided.insert(name(cell)),
            Some(_) => false,
            None => decided.insert(name(cell)),
        };
    }
    decided.extend(tonight.cells.iter().filter(|cell| find(&approved.cells, &cell.column).is_none()).map(name));
    let names = |names: BTreeSet<String>| join_names(&names.into_iter().collect::<Vec<_>>());
    match (now.is_empty(), decided.is_empty()) {
        (false, true) => format!("the row was edited since: {}", names(now)),
        (false, false) => format!("the row was edited since: {}; and another value is decided for {}", names(now), names(decided)),
        (true, false) => format!("another value is decided since for {}", names(decided)),
        (true, true) => "the row is another one".to_owned(),
    }
}
