//! Control totals and the arithmetic that every report shows.
//!
//! Amounts are exact decimals from the source's text to the report, and groups (currencies) are never netted. Each equation
//! is checked with figures that were counted in different places, so that a row that got lost between steps is found.
//!
//! ```text
//! rows    rows read[s] = compared + repeats collapsed + held + filtered + quarantined
//! writes  planned = verified + normalised + pending + overwritten since + rejected + stale + unknown + skipped
//! totals  opening[s] + appeared − vanished ± changed − set aside + returned = closing[s]
//! after   closing[s] ± our verified writes = the sum of what the next run compares with
//! ```

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};

use super::base::{Standing, State};
use super::clean;
use super::index::TextIndex;
use super::link::Linked;
use super::plan::{Decisions, Treatment};
use super::rest::RestingSums;
use super::settle::{Fate, Settlement};
use crate::change::Settled;
use crate::frame::{FieldColumn, Keyed, NO_ROW, Quarantined, Silence};
use crate::job::{Job, Total};
use crate::value::{Decimal, FieldType, KEY_SEPARATOR, Value};

/// One closing total as the next run will open with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// The field.
    pub field: String,
    /// The system.
    pub system: String,
    /// The group; empty where the total is not grouped.
    pub group: String,
    /// The sum.
    pub sum: Decimal,
}

/// The group of a record in a total: the text of its grouping field in this system, else in the first that has it. Empty
/// where the total is not grouped, or the group is null.
pub fn group(job: &Job, total: &Total, system: usize, record: u32, nows: &[Keyed], linked: &Linked) -> String {
    let Some(by) = total.by else { return String::new() };
    let systems = std::iter::once(system).chain(0..job.systems.len());
    let found = systems.into_iter().find_map(|s| {
        let row = linked.now_rows[s][record as usize];
        let column = nows[s].clean.fields[by].as_ref().filter(|_| row != NO_ROW)?;
        Some(column.value(row).to_string())
    });
    found.unwrap_or_default()
}

/// What became of every row of a system's snapshot, with those of `resting` records among the compared.
pub fn row_counts(job: &Job, system: usize, now: &Keyed, decisions: &Decisions, resting: u64) -> RowCounts {
    let linked = &decisions.linked;
    let mut compared = resting;
    let mut held_new = 0;
    for (record, row) in (0_u32..).zip(&linked.now_rows[system]) {
        match (*row == NO_ROW, is_held_new(record, decisions)) {
            (true, _) => {}
            (false, true) => held_new += 1,
            (false, false) => compared += 1,
        }
    }
    let returned_after_end = linked.loose.iter().filter(|b| b.system.as_deref() == Some(&job.systems[system].name)).count() as u64;
    let silent = &now.clean.silent;
    RowCounts {
        read: now.clean.pulled.evidence.rows_read,
        compared,
        repeats: now.repeats_collapsed,
        held: now.losers + silent.count(Silence::Duplicate) + held_new + returned_after_end + linked.archived_rows(system),
        filtered: silent.count(Silence::Filtered),
        quarantined: silent.count(Silence::Quarantined),
    }
}

/// The first identity: every row that was read is somewhere.
pub fn rows_identity(system: &str, counts: &RowCounts) -> Identity {
    let sum = counts.compared + counts.repeats + counts.held + counts.filtered + counts.quarantined;
    Identity {
        name: "rows".to_owned(),
        of: system.to_owned(),
        equation: format!(
            "{} read = {} compared + {} repeats collapsed + {} held + {} filtered + {} quarantined",
            counts.read, counts.compared, counts.repeats, counts.held, counts.filtered, counts.quarantined
        ),
        holds: counts.read == sum,
    }
}

/// The fifth identity: every planned write came to an end.
pub fn writes_identity(planned: u64, fates: &BTreeMap<u32, Fate>) -> Identity {
    let all =
        [Settled::Verified, Settled::Normalised, Settled::Pending, Settled::Overwritten, Settled::Rejected, Settled::Stale, Settled::Unknown, Settled::Skipped];
    let count = |settled: Settled| fates.values().filter(|fate| fate.settled == settled).count() as u64;
    let parts: Vec<String> = all.iter().map(|settled| format!("{} {settled}", count(*settled))).collect();
    let sum: u64 = all.iter().map(|settled| count(*settled)).sum();
    Identity { name: "writes".to_owned(), of: "all systems".to_owned(), equation: format!("{planned} planned = {}", parts.join(" + ")), holds: planned == sum }
}

/// What became of the rows of a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCounts {
    /// Rows that the source delivered.
    pub read: u64,
    /// Rows that speak for a record.
    pub compared: u64,
    /// Identical rows that collapsed into another.
    pub repeats: u64,
    /// Rows held because of a duplicate.
    pub held: u64,
    /// Rows outside the job's filter.
    pub filtered: u64,
    /// Rows that could not be read.
    pub quarantined: u64,
}

/// One control total of one system, in one group. All amounts have the field's decimals.
#[derive(Clone, Debug, Serialize)]
pub struct TotalReport {
    /// The field that is summed.
    pub field: String,
    /// The group: a currency; nothing where the total is not grouped.
    pub group: Option<String>,
    /// The system.
    pub system: String,
    /// The sum at the last run; nothing at first contact.
    pub opening: Option<Decimal>,
    /// Records that appeared.
    pub appeared: Decimal,
    /// Records that vanished.
    pub vanished: Decimal,
    /// Records whose amount changed: the sum of the differences.
    pub changed: Decimal,
    /// Records that were set aside tonight: held, filtered, quarantined.
    pub set_aside: Decimal,
    /// Records that had been set aside and are back.
    pub returned: Decimal,
    /// The sum tonight, as it was read.
    pub closing: Decimal,
    /// What our verified writes added.
    pub written: Decimal,
    /// The sum after our writes, from what was read back.
    pub after: Decimal,
    /// Records in the sum that the run leaves; in that which was read, where nothing was settled.
    pub records: u64,
    /// Records whose amount is empty.
    pub without_amount: u64,
    /// Amounts of rows that are held and stand for no record, in none of these sums: orphans, duplicates, rows whose partner
    /// cannot be read, rows that stay although their record ended.
    pub held: Decimal,
    /// How many rows those are.
    pub held_records: u64,
    /// Whether rows are missing from the sum because their amount could not be read, and they may be of this group.
    pub incomplete: bool,
}

/// One equation that was checked.
#[derive(Clone, Debug, Serialize)]
pub struct Identity {
    /// Its name: `rows`, `writes`, `totals`.
    pub name: String,
    /// What it was checked for: a system, a total.
    pub of: String,
    /// The equation with its numbers.
    pub equation: String,
    /// Whether it holds.
    pub holds: bool,
}

#[derive(Clone, Copy, Debug)]
struct Movement {
    appeared: Decimal,
    vanished: Decimal,
    changed: Decimal,
    set_aside: Decimal,
    returned: Decimal,
    closing: Decimal,
    records: u64,
    without_amount: u64,
    held: Decimal,
    held_records: u64,
}

/// Adds, or remembers that the sum left 128 bits.
struct Adder {
    overflowed: bool,
}

impl Adder {
    fn add(&mut self, to: &mut Decimal, amount: Decimal) {
        match to.checked_add(amount) {
            Some(sum) => *to = sum,
            None => self.overflowed = true,
        }
    }
}

/// The control totals of every system and group, each with its movement since the last run, and the seventh identity.
///
/// `resting` is what the records add that nobody needs to look into. `opening` is what the last run closed with. It is nothing at first contact, for a system or a total that is new.
pub fn totals(
    job: &Job,
    state: &State,
    nows: &[Keyed],
    decisions: &Decisions,
    resting: &RestingSums,
    opening: &[Closing],
) -> (Vec<TotalReport>, Vec<Identity>) {
    let (mut reports, mut identities) = (Vec::new(), Vec::new());
    for (index, total) in job.totals.iter().enumerate() {
        let field = &job.fields[total.field];
        let scale = match field.field_type {
            FieldType::Decimal(scale) => scale,
            _ => 0,
        };
        let zero = Decimal { units: 0, scale };
        for (system, spec) in job.systems.iter().enumerate() {
            let Some(column) = &nows[system].clean.fields[total.field] else { continue };
            let mut adder = Adder { overflowed: false };
            let still = Movement {
                appeared: zero,
                vanished: zero,
                changed: zero,
                set_aside: zero,
                returned: zero,
                closing: zero,
                records: 0,
                without_amount: 0,
                held: zero,
                held_records: 0,
            };
            let mut groups: BTreeMap<String, Movement> = BTreeMap::new();
            let base = &state.bases[system];
            let base_total = base.totals[index].as_ref();
            let linked = &decisions.linked;
            let amount = |column: &FieldColumn, row: u32| column.value(row).as_decimal();
            for record in 0..linked.records.len() as u32 {
                let (row, base_row) = (linked.now_rows[system][record as usize], linked.base_rows[system][record as usize]);
                let held_new = is_held_new(record, decisions);
                let before = if base_row == NO_ROW {
                    None
                } else {
                    base_total.and_then(|t| t.groups.get(base_row as usize).map(|g| (g, amount(&t.amounts, base_row).unwrap_or(zero))))
                };
                let now = if row == NO_ROW || held_new { None } else { Some((group(job, total, system, record, nows, linked), amount(column, row))) };
                match (before, now) {
                    (None, None) => {}
                    (Some((old_group, old)), None) => {
                        let movement = groups.entry(old_group.to_owned()).or_insert(still);
                        let silent = linked.silent[system].contains_key(&record);
                        adder.add(if silent { &mut movement.set_aside } else { &mut movement.vanished }, old);
                    }
                    (before, Some((new_group, new))) => {
                        let amount_now = new.unwrap_or(zero);
                        let came_back =
                            base_row != NO_ROW && base.standings[base_row as usize] == Standing::Live && base_total.is_some() && !opening.is_empty();
                        if let Some((old_group, old)) = before.filter(|(old_group, _)| *old_group != new_group) {
                            adder.add(&mut groups.entry(old_group.to_owned()).or_insert(still).vanished, old);
                        }
                        let movement = groups.entry(new_group.clone()).or_insert(still);
                        match before {
                            Some((old_group, old)) if old_group == new_group => match amount_now.checked_sub(old) {
                                Some(difference) => adder.add(&mut movement.changed, difference),
                                None => adder.overflowed = true,
                            },
                            None if came_back => adder.add(&mut movement.returned, amount_now),
                            _ => adder.add(&mut movement.appeared, amount_now),
                        }
                        adder.add(&mut movement.closing, amount_now);
                        movement.records += 1;
                        movement.without_amount += u64::from(new.is_none());
                    }
                }
            }
            for (group, sum) in resting.totals.get(&(system, index)).into_iter().flatten() {
                let movement = groups.entry(group.clone()).or_insert(still);
                match sum.amount {
                    Some(amount) => {
                        adder.add(&mut movement.closing, amount);
                        if resting.are_new {
                            adder.add(&mut movement.appeared, amount);
                        }
                    }
                    None => adder.overflowed = true,
                }
                movement.records += sum.records;
                movement.without_amount += sum.without_amount;
            }
            for (group, held) in held_rows(job, total, system, nows, decisions) {
                let movement = groups.entry(group).or_insert(still);
                adder.add(&mut movement.held, held.unwrap_or(zero));
                movement.held_records += 1;
            }
            let of_system = |closing: &&Closing| closing.system == spec.name && closing.field == field.name;
            let known = opening.iter().any(|closing| of_system(&closing));
            for closing in opening.iter().filter(of_system) {
                groups.entry(closing.group.clone()).or_insert(still);
            }
            for (group, movement) in groups {
                let opened = opening.iter().find(|closing| of_system(closing) && closing.group == group).map(|closing| closing.sum);
                let opened = opened.or(known.then_some(zero));
                let expected = [movement.appeared, movement.changed, movement.returned]
                    .into_iter()
                    .try_fold(opened.unwrap_or(zero), Decimal::checked_add)
                    .and_then(|sum| sum.checked_sub(movement.vanished))
                    .and_then(|sum| sum.checked_sub(movement.set_aside));
                let shown = |amount: Decimal| amount.in_currency(Some(&group));
                let name =
                    if group.is_empty() { format!("`{}` of `{}`", field.name, spec.name) } else { format!("`{}` of `{}` in {group}", field.name, spec.name) };
                identities.push(Identity {
                    name: "totals".to_owned(),
                    of: name,
                    equation: format!(
                        "{} opening + {} appeared - {} vanished + {} changed - {} set aside + {} returned = {} closing",
                        shown(opened.unwrap_or(zero)),
                        shown(movement.appeared),
                        shown(movement.vanished),
                        shown(movement.changed),
                        shown(movement.set_aside),
                        shown(movement.returned),
                        shown(movement.closing)
                    ),
                    holds: !adder.overflowed && expected == Some(movement.closing),
                });
                reports.push(TotalReport {
                    field: field.name.clone(),
                    group: total.by.is_some().then_some(group),
                    system: spec.name.clone(),
                    opening: opened,
                    appeared: movement.appeared,
                    vanished: movement.vanished,
                    changed: movement.changed,
                    set_aside: movement.set_aside,
                    returned: movement.returned,
                    closing: movement.closing,
                    written: zero,
                    after: movement.closing,
                    records: movement.records,
                    without_amount: movement.without_amount,
                    held: movement.held,
                    held_records: movement.held_records,
                    incomplete: false,
                });
            }
        }
    }
    complete_groups(job, nows, &mut reports);
    (reports, identities)
}

/// Whether a record that no base knows is held: its rows belong to no record yet.
fn is_held_new(record: u32, decisions: &Decisions) -> bool {
    record as usize >= decisions.linked.known && matches!(decisions.treatments.get(&record), Some(Treatment::Held))
}

/// The rows of a system that could be read and are in no sum, each with its group and amount: those of records that are held
/// before they were ever known, orphans among them; duplicates; rows that are there although their record ended. They are the
/// rows that [`RowCounts::held`] counts.
fn held_rows(job: &Job, total: &Total, system: usize, nows: &[Keyed], decisions: &Decisions) -> Vec<(String, Option<Decimal>)> {
    let (linked, now) = (&decisions.linked, &nows[system]);
    let Some(column) = &now.clean.fields[total.field] else { return Vec::new() };
    let mut held: Vec<(String, Option<Decimal>)> = Vec::new();
    for (record, row) in (0_u32..).zip(&linked.now_rows[system]).skip(linked.known) {
        if *row != NO_ROW && is_held_new(record, decisions) {
            held.push((group(job, total, system, record, nows, linked), column.value(*row).as_decimal()));
        }
    }

    let silent = &now.clean.silent;
    let mut raw_rows: Vec<u32> =
        silent.rows.iter().zip(&silent.why).filter(|(row, why)| **row != NO_ROW && **why == Silence::Duplicate).map(|(row, _)| *row).collect();
    if now.losers > 0 {
        let lost: HashSet<u64> = now.duplicates.iter().filter(|d| d.survivor.is_some()).flat_map(|d| d.losers.iter().copied()).collect();
        raw_rows.extend((0..now.clean.pulled.height() as u32).filter(|row| lost.contains(&now.clean.pulled.line(*row))));
    }
    if linked.archived_rows(system) > 0 || !linked.loose.is_empty() {
        let mut is_linked = vec![false; now.height()];
        linked.now_rows[system].iter().filter(|row| **row != NO_ROW).for_each(|row| is_linked[*row as usize] = true);
        raw_rows.extend(is_linked.iter().zip(&now.clean.rows).filter(|(is_linked, _)| !**is_linked).map(|(_, row)| *row));
    }
    let raw = RawRows::new(job, total, system, nows);
    held.extend(raw_rows.into_iter().map(|row| (raw.group(row).unwrap_or_default(), raw.value(total.field, row).and_then(|amount| amount.as_decimal()))));
    held
}

/// Rows of a snapshot that stand for no record, read cell by cell.
struct RawRows<'a> {
    job: &'a Job,
    total: &'a Total,
    system: usize,
    nows: &'a [Keyed],
    /// The groups and keys of the systems that carry the group: made for the first row that asks for them.
    others: OnceCell<Vec<(&'a FieldColumn, TextIndex<'a>)>>,
}

impl<'a> RawRows<'a> {
    fn new(job: &'a Job, total: &'a Total, system: usize, nows: &'a [Keyed]) -> RawRows<'a> {
        RawRows { job, total, system, nows, others: OnceCell::new() }
    }

    /// What a row holds in a field; nothing where that cannot be read, or the system does not carry the field.
    fn value(&self, field: usize, row: u32) -> Option<Value> {
        let spec = &self.job.fields[field];
        let column = spec.columns[self.system].as_ref()?;
        clean::read_one(spec, column, &self.nows[self.system].clean.pulled.raw(&column.name, row))
    }

    /// The group of a row; nothing where it cannot be told.
    fn group(&self, row: u32) -> Option<String> {
        let Some(by) = self.total.by else { return Some(String::new()) };
        if self.job.fields[by].is_carried_by(self.system) {
            return self.value(by, row).map(|group| group.to_string());
        }
        let key: Option<Vec<String>> =
            self.job.key.iter().map(|field| self.value(*field, row).filter(|part| !part.is_null()).map(|part| part.to_string())).collect();
        self.group_of_key(&key?.join(&KEY_SEPARATOR.to_string()))
    }

    /// The group that the first other system shows for a key.
    fn group_of_key(&self, key: &str) -> Option<String> {
        let by = self.total.by?;
        let others = self.others.get_or_init(|| {
            let carriers = self.nows.iter().filter_map(|now| Some((now.clean.fields[by].as_ref()?, &now.clean.keys)));
            carriers.map(|(column, keys)| (column, TextIndex::build(keys).0)).collect()
        });
        others.iter().find_map(|(column, rows)| Some(column.value(rows.get(key)?).to_string()))
    }
}

/// In which groups of a system amounts could not be read.
struct Unread {
    /// In any: a row could not be read at all, or not its group.
    all: bool,
    groups: BTreeSet<String>,
}

fn unread_amounts(job: &Job, total: &Total, system: usize, nows: &[Keyed]) -> Unread {
    let mut unread = Unread { all: false, groups: BTreeSet::new() };
    let clean = &nows[system].clean;
    let name = &job.fields[total.field].name;
    let bad: Vec<&Quarantined> = clean.quarantined.iter().filter(|q| q.column.is_none() || q.field.as_ref() == Some(name)).collect();
    if bad.is_empty() {
        return unread;
    }
    let silent = clean.silent.rows.iter().zip(&clean.silent.why).filter(|(row, why)| **row != NO_ROW && **why == Silence::Quarantined);
    let rows: HashMap<u64, u32> = silent.map(|(row, _)| (clean.pulled.line(*row), *row)).collect();
    let raw = RawRows::new(job, total, system, nows);
    for cell in bad {
        match rows.get(&cell.line).filter(|_| cell.column.is_some()).and_then(|row| raw.group(*row)) {
            Some(group) => {
                unread.groups.insert(group);
            }
            None => unread.all = true,
        }
        if unread.all {
            break;
        }
    }
    unread
}

/// Adds what was written to the totals, and checks it against the state that the run leaves (`after`, and what is `resting`).
/// Gives what the next run opens with.
pub fn after_writes(
    job: &Job,
    nows: &[Keyed],
    decisions: &Decisions,
    settlement: &Settlement,
    after: &State,
    resting: &RestingSums,
    reports: &mut Vec<TotalReport>,
) -> (Vec<Identity>, Vec<Closing>) {
    let (mut identities, mut closings) = (Vec::new(), Vec::new());
    let linked = &decisions.linked;
    for (index, total) in job.totals.iter().enumerate() {
        let field = &job.fields[total.field];
        let scale = if let FieldType::Decimal(scale) = field.field_type { scale } else { 0 };
        let zero = Decimal { units: 0, scale };
        for (system, spec) in job.systems.iter().enumerate() {
            let (Some(column), Some(base)) = (&nows[system].clean.fields[total.field], &after.bases[system].totals[index]) else { continue };
            let mut adder = Adder { overflowed: false };
            // What the patches of this run changed, group by group.
            let mut written: BTreeMap<String, Decimal> = BTreeMap::new();
            for ((_, number), patch) in settlement.patches.range((system, 0)..=(system, u64::MAX)) {
                let Ok(record) = linked.records.binary_search(number) else { continue };
                let row = linked.now_rows[system][record];
                let group_before = group(job, total, system, record as u32, nows, linked);
                let before = if row == NO_ROW { None } else { column.value(row).as_decimal() };
                if let Some(units) = before.map(|amount| amount.units) {
                    adder.add(written.entry(group_before.clone()).or_insert(zero), Decimal { units: -units, scale });
                }
                if patch.standing != Standing::Live {
                    continue;
                }
                let cell = |field: usize| patch.cells.get(&field).and_then(Option::as_ref);
                let group_after = total.by.and_then(cell).map_or(group_before, ToString::to_string);
                let amount = cell(total.field).map_or(before, crate::value::Value::as_decimal);
                adder.add(written.entry(group_after).or_insert(zero), amount.and_then(|amount| amount.rescale(scale)).unwrap_or(zero));
            }
            let mut sums: BTreeMap<String, Decimal> = BTreeMap::new();
            let mut records: BTreeMap<String, u64> = BTreeMap::new();
            for (group, sum) in resting.totals.get(&(system, index)).into_iter().flatten() {
                match sum.amount {
                    Some(amount) => adder.add(sums.entry(group.clone()).or_insert(zero), amount),
                    None => adder.overflowed = true,
                }
                *records.entry(group.clone()).or_default() += sum.records;
            }
            for row in 0..after.bases[system].height() as u32 {
                if let Some(group) = base.groups.get(row as usize) {
                    let amount = base.amounts.value(row).as_decimal().unwrap_or(zero);
                    match sums.get_mut(group) {
                        Some(sum) => adder.add(sum, amount),
                        None => {
                            sums.insert(group.to_owned(), amount);
                        }
                    }
                    match records.get_mut(group) {
                        Some(number) => *number += 1,
                        None => {
                            records.insert(group.to_owned(), 1);
                        }
                    }
                }
            }
            let is_group =
                |report: &TotalReport, group: &str| report.field == field.name && report.system == spec.name && report.group.as_deref().unwrap_or("") == group;
            let groups: BTreeSet<String> = sums.keys().chain(written.keys()).cloned().collect();
            for group in &groups {
                if !reports.iter().any(|report| is_group(report, group)) {
                    let place = reports.iter().rposition(|report| report.field == field.name && report.system == spec.name).map_or(reports.len(), |at| at + 1);
                    reports.insert(place, TotalReport::empty(field.name.clone(), total.by.map(|_| group.clone()), spec.name.clone(), zero));
                }
            }
            for report in reports.iter_mut().filter(|report| report.field == field.name && report.system == spec.name) {
                let group = report.group.clone().unwrap_or_default();
                report.written = written.get(&group).copied().unwrap_or(zero);
                report.after = sums.get(&group).copied().unwrap_or(zero);
                report.records = records.get(&group).copied().unwrap_or(0);
                let shown = |amount: Decimal| amount.in_currency(Some(&group));
                identities.push(Identity {
                    name: "after".to_owned(),
                    of: name_of(&field.name, &spec.name, &group),
                    equation: format!("{} closing + {} written = {} after", shown(report.closing), shown(report.written), shown(report.after)),
                    holds: !adder.overflowed && report.closing.checked_add(report.written) == Some(report.after),
                });
                closings.push(Closing { field: field.name.clone(), system: spec.name.clone(), group, sum: report.after });
            }
        }
    }
    complete_groups(job, nows, reports);
    (identities, closings)
}

impl TotalReport {
    /// The sum after our writes with the rows that are held: all that the system holds of the job, as far as it could be read.
    /// Nothing where that leaves 128 bits.
    pub fn with_held(&self) -> Option<Decimal> {
        self.after.checked_add(self.held)
    }

    fn empty(field: String, group: Option<String>, system: String, zero: Decimal) -> TotalReport {
        TotalReport {
            field,
            group,
            system,
            opening: Some(zero),
            appeared: zero,
            vanished: zero,
            changed: zero,
            set_aside: zero,
            returned: zero,
            closing: zero,
            written: zero,
            after: zero,
            records: 0,
            without_amount: 0,
            held: zero,
            held_records: 0,
            incomplete: false,
        }
    }
}

/// A group that one system has is told of every system that carries the field, so that no difference goes without its line;
/// and the sums are marked from which amounts are missing that could not be read.
fn complete_groups(job: &Job, nows: &[Keyed], reports: &mut Vec<TotalReport>) {
    for total in &job.totals {
        let field = &job.fields[total.field];
        let carriers: Vec<usize> = (0..job.systems.len()).filter(|system| field.is_carried_by(*system)).collect();
        let unread: Vec<Unread> = carriers.iter().map(|system| unread_amounts(job, total, *system, nows)).collect();
        let named = |group: &str| total.by.is_some().then(|| group.to_owned());
        let told = reports.iter().filter(|r| r.field == field.name).map(|r| r.group.clone());
        let groups: BTreeSet<Option<String>> = told.chain(unread.iter().flat_map(|u| &u.groups).map(|group| named(group))).collect();
        let zero = Decimal { units: 0, scale: if let FieldType::Decimal(scale) = field.field_type { scale } else { 0 } };
        for (system, unread) in carriers.iter().zip(&unread) {
            let name = &job.systems[*system].name;
            for group in &groups {
                let incomplete = unread.all || unread.groups.contains(group.as_deref().unwrap_or_default());
                match reports.iter_mut().find(|r| r.field == field.name && r.system == *name && r.group == *group) {
                    Some(report) => report.incomplete = incomplete,
                    None => reports.push(TotalReport { incomplete, ..TotalReport::empty(field.name.clone(), group.clone(), name.clone(), zero) }),
                }
            }
        }
    }
    let place = |report: &TotalReport| (job.field(&report.field), job.system(&report.system));
    reports.sort_by(|a, b| (place(a), &a.group).cmp(&(place(b), &b.group)));
}

fn name_of(field: &str, system: &str, group: &str) -> String {
    if group.is_empty() { format!("`{field}` of `{system}`") } else { format!("`{field}` of `{system}` in {group}") }
}
