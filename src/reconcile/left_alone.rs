//! What stays open of records that are left alone tonight.
//!
//! A record is *left alone* while a row of it is quarantined or refused as a duplicate, while it is held as a whole, or while a
//! row without a readable key may be its own. Nothing about it is decided then: no field is compared, nothing that it is owed is
//! sent. So no break about it can have been cleared, and each stays open, as old as it is. A record that the job's filter leaves
//! out is out of scope instead, and so are its breaks.
//!
//! The same holds for a value that a system is owed while its field waits for a person: it is not sent, and still owed.
//!
//! Breaks that are seen whatever is decided are not carried along, because tonight's rows tell them or clear them: quarantined
//! rows, duplicates, suggested key changes, restored rows, orphans.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashSet;

use super::base::{FieldDebt, OpenField, State};
use super::link::Linked;
use super::plan::Decisions;
use crate::change::{Action, Break, BreakKind};
use crate::frame::{Keyed, NO_ROW, Silence};
use crate::job::{Job, Mode, Role};

/// What is added to the reason of a break that nobody could look at.
const NOT_DECIDED: &str = "; nothing was decided or sent tonight";

/// The breaks among `earlier` that stay open because their record is left alone, in their order.
///
/// `before` is the state that the run started from, `earlier` what was open then.
pub fn still_open<'b>(job: &Job, before: &State, nows: &[Keyed], decisions: &Decisions, earlier: impl Iterator<Item = &'b Break>) -> Vec<Break> {
    let linked = &decisions.linked;
    let earlier: Vec<&Break> = earlier.filter(|open| needs_a_decision(open.kind)).collect();
    let wanted: BTreeSet<&str> = earlier.iter().map(|open| open.key.as_str()).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let mut extents: BTreeMap<u32, Extent> = BTreeMap::new();
    for (record, fields) in owed_and_undecided(before, decisions) {
        extents.insert(record, Extent::OwedFields(fields));
    }
    extents.extend(left_alone(job, before, nows, linked).into_iter().map(|record| (record, Extent::Whole)));
    // A record is known by the key that it has, and by each that it had: a break was told by one of them.
    let mut records: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    for record in extents.keys() {
        for (system, now) in nows.iter().enumerate() {
            let (row, base_row) = (linked.now_rows[system][*record as usize], linked.base_rows[system][*record as usize]);
            let now = if row == NO_ROW { None } else { now.clean.keys.get(row as usize) };
            let base = if base_row == NO_ROW { None } else { before.bases[system].keys.get(base_row as usize) };
            for key in now.into_iter().chain(base).filter(|key| wanted.contains(key)) {
                records.entry(key).or_default().insert(*record);
            }
        }
    }
    let stays = |open: &&Break| {
        let of_key = records.get(open.key.as_str());
        of_key.is_some_and(|records| records.iter().any(|record| may_stand(job, before, linked, (*record, &extents[record]), open)))
    };
    earlier
        .into_iter()
        .filter(stays)
        .map(|open| {
            let why = if open.why.ends_with(NOT_DECIDED) { open.why.clone() } else { format!("{}{NOT_DECIDED}", open.why) };
            Break { why, ..open.clone() }
        })
        .collect()
}

/// Whether a break of this kind can only be cleared by a decision on its record.
fn needs_a_decision(kind: BreakKind) -> bool {
    match kind {
        BreakKind::Missing
        | BreakKind::Amount
        | BreakKind::Field
        | BreakKind::Conflict
        | BreakKind::Cleared
        | BreakKind::Drift
        | BreakKind::WriteRejected
        | BreakKind::WriteNotKept
        | BreakKind::Locked
        | BreakKind::Frozen
        | BreakKind::Undone
        | BreakKind::Review => true,
        BreakKind::Duplicate | BreakKind::Quarantined | BreakKind::Orphan | BreakKind::SuggestedLink | BreakKind::Restored => false,
    }
}

/// What of a record nobody decided on tonight.
enum Extent<'a> {
    /// All of it.
    Whole,
    /// These fields, which some system is owed.
    OwedFields(Vec<&'a OpenField>),
}

/// The records with fields that a system is owed and that were not decided tonight.
fn owed_and_undecided<'s>(before: &'s State, decisions: &Decisions) -> BTreeMap<u32, Vec<&'s OpenField>> {
    let mut undecided: BTreeMap<u32, Vec<&OpenField>> = BTreeMap::new();
    if before.open.fields.is_empty() {
        return undecided;
    }
    let decided: HashSet<(u64, &str)> = decisions.plan.decisions.iter().map(|decision| (decision.record, decision.field.as_str())).collect();
    // What is deleted or archived tonight is owed nothing else.
    let changes = decisions.plan.changes.iter().filter(|change| matches!(change.action, Action::Delete | Action::Archive));
    let removed: HashSet<u64> = changes.map(|change| change.record).collect();
    for ((number, _), open) in before.open.fields.iter().filter(|((number, field), _)| !decided.contains(&(*number, field.as_str()))) {
        if removed.contains(number) {
            continue;
        }
        if let Ok(record) = decisions.linked.records.binary_search(number) {
            undecided.entry(record as u32).or_default().push(open);
        }
    }
    undecided
}

/// The records that are left alone, ascending.
fn left_alone(job: &Job, before: &State, nows: &[Keyed], linked: &Linked) -> BTreeSet<u32> {
    let mut records: BTreeSet<u32> = linked.held.keys().copied().collect();
    for (system, now) in nows.iter().enumerate().filter(|(system, _)| job.systems[*system].role != Role::Witness) {
        records.extend(linked.silent[system].iter().filter(|(_, why)| **why != Silence::Filtered).map(|(record, _)| *record));
        if job.mode == Mode::Sync && now.clean.silent.hides_a_key() {
            let rows = linked.now_rows[system].iter().zip(0_u32..);
            let hidden = rows.filter(|(row, record)| **row == NO_ROW && linked.standing(system, *record, &before.bases).is_some_and(|s| s.is_linked()));
            records.extend(hidden.map(|(_, record)| record));
        }
    }
    records
}

/// Whether what tonight's rows show of a record still allows a break about it.
fn may_stand(job: &Job, before: &State, linked: &Linked, (record, extent): (u32, &Extent<'_>), open: &Break) -> bool {
    if open.field.as_ref().is_some_and(|field| job.field(field).is_none()) {
        return false;
    }
    let Some(name) = &open.system else { return matches!(extent, Extent::Whole) };
    let Some(system) = job.system(name) else { return false };
    let is_here = linked.now_rows[system][record as usize] != NO_ROW || linked.silent[system].contains_key(&record);
    let is_owed = |field: &OpenField| matches!(field.debts.get(name), Some(FieldDebt::Owed { .. }));
    match (open.kind, extent) {
        (BreakKind::WriteRejected | BreakKind::WriteNotKept, Extent::OwedFields(fields)) => is_here && fields.iter().any(|field| is_owed(field)),
        (_, Extent::OwedFields(_)) => false,
        (BreakKind::WriteRejected | BreakKind::WriteNotKept, Extent::Whole) => {
            let number = linked.records[record as usize];
            let mut of_record = before.open.fields.range((number, String::new())..(number + 1, String::new()));
            let debt = before.open.records.get(&(number, name.clone()));
            (is_here && of_record.any(|(_, field)| is_owed(field))) || debt.is_some_and(|debt| (debt.action == Action::Create) != is_here)
        }
        (BreakKind::Missing, Extent::Whole) => !is_here,
        (_, Extent::Whole) => true,
    }
}
