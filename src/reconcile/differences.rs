//! Why two control totals differ: every cent between them belongs to a record, and every such record has a reason.
//!
//! ```text
//! differences   total[s] − total[reference] = only in s + set aside in the reference − only in the reference
//!                                             − set aside in s + within tolerance + apart + held in s − held in the reference
//! ```
//!
//! The totals are those of all rows that could be read, held ones among them: they belong to no record, and so to one side.
//! The reference is the first system of the job that carries the field. Groups (currencies) are never netted: a record that
//! is in two groups counts as one record here and another there. The sums are those that the run leaves behind.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::Serialize;

use super::base::{BaseTotal, State};
use super::plan::Decisions;
use super::totals::{Identity, TotalReport};
use crate::job::{Field, Job};
use crate::value::{Decimal, FieldType, Value};

/// Why an amount is in one control total and not in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The reference has no such record.
    OnlyHere,
    /// The reference has its row, which is held, filtered or quarantined.
    SetAsideInReference,
    /// The system has no such record.
    OnlyInReference,
    /// The system has its row, which is held, filtered or quarantined.
    SetAsideHere,
    /// Both have it, and differ by no more than the field's tolerance.
    WithinTolerance,
    /// Both have it, and differ by more.
    Apart,
    /// Rows of the system that are held and stand for no record.
    HeldHere,
    /// The same in the reference.
    HeldInReference,
}

/// What one reason contributes to a difference.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// The reason.
    pub why: Why,
    /// How many records it concerns; of those held, how many rows.
    pub records: u64,
    /// What they add to the total of the system, compared with that of the reference. It may be zero or negative.
    pub amount: Decimal,
}

/// Why the control total of a system differs from that of the reference, in one group.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// The field that is summed.
    pub field: String,
    /// The group: a currency; nothing where the total is not grouped.
    pub group: Option<String>,
    /// The system.
    pub system: String,
    /// The system that it is compared with.
    pub reference: String,
    /// The reasons, in the order of [`Why`]; those that concern no record are left out.
    pub parts: Vec<Part>,
}

/// The records of one system that are in the sum of a total, with their groups and amounts.
struct Side<'a> {
    records: &'a [u64],
    total: &'a BaseTotal,
}

impl<'a> Side<'a> {
    /// The next record that is in the sum, at or after `at`.
    fn next(&self, at: &mut usize, zero: Decimal) -> Option<(u64, &'a str, Decimal)> {
        while *at < self.records.len() {
            let row = *at;
            *at += 1;
            if let Some(group) = self.total.groups.get(row) {
                return Some((self.records[row], group, self.total.amounts.value(row as u32).as_decimal().unwrap_or(zero)));
            }
        }
        None
    }
}

/// Adds up reasons, group by group.
struct Reasons {
    by_group: BTreeMap<String, BTreeMap<Why, Part>>,
    zero: Decimal,
    overflowed: bool,
}

impl Reasons {
    fn add(&mut self, group: &str, why: Why, amount: Option<Decimal>) {
        if !self.by_group.contains_key(group) {
            self.by_group.insert(group.to_owned(), BTreeMap::new());
        }
        let Some(parts) = self.by_group.get_mut(group) else { return };
        let part = parts.entry(why).or_insert(Part { why, records: 0, amount: self.zero });
        part.records += 1;
        match amount.and_then(|amount| part.amount.checked_add(amount)) {
            Some(sum) => part.amount = sum,
            None => self.overflowed = true,
        }
    }
}

/// One side, and which records are there but silent.
type SideAndSilence<'a> = (&'a Side<'a>, &'a dyn Fn(u64) -> bool);

/// Walks through both sides by record, and gives a reason to every amount that is not the same on both.
fn reasons(field: &Field, (here, silent_here): SideAndSilence<'_>, (there, silent_there): SideAndSilence<'_>, zero: Decimal) -> Reasons {
    let mut reasons = Reasons { by_group: BTreeMap::new(), zero, overflowed: false };
    let (mut at_here, mut at_there) = (0, 0);
    let (mut next_here, mut next_there) = (here.next(&mut at_here, zero), there.next(&mut at_there, zero));
    loop {
        let order = match (&next_here, &next_there) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.0.cmp(&b.0),
        };
        match (order, next_here, next_there) {
            (Ordering::Equal, Some((_, group, amount)), Some((_, other_group, other))) if group == other_group && amount == other => {}
            (Ordering::Equal, Some((_, group, amount)), Some((_, other_group, other))) if group == other_group => {
                let why = if field.equivalent(&Value::Decimal(amount), &Value::Decimal(other)) { Why::WithinTolerance } else { Why::Apart };
                reasons.add(group, why, amount.checked_sub(other));
            }
            (Ordering::Equal, Some((_, group, amount)), Some((_, other_group, other))) => {
                reasons.add(group, Why::OnlyHere, Some(amount));
                reasons.add(other_group, Why::OnlyInReference, zero.checked_sub(other));
            }
            (Ordering::Less, Some((number, group, amount)), _) => {
                let why = if silent_there(number) { Why::SetAsideInReference } else { Why::OnlyHere };
                reasons.add(group, why, Some(amount));
            }
            (_, _, Some((number, group, amount))) => {
                let why = if silent_here(number) { Why::SetAsideHere } else { Why::OnlyInReference };
                reasons.add(group, why, zero.checked_sub(amount));
            }
            _ => {}
        }
        if order != Ordering::Greater {
            next_here = here.next(&mut at_here, zero);
        }
        if order != Ordering::Less {
            next_there = there.next(&mut at_there, zero);
        }
    }
    reasons
}

/// The reasons for all differences between the control totals, and the third identity: they explain them to the last unit.
///
/// `after` is the state that the run leaves, `reports` the control totals with what was written. Gives one difference for
/// each system but the reference, in each group; without parts where the totals agree record by record.
pub fn differences(job: &Job, decisions: &Decisions, after: &State, reports: &[TotalReport]) -> (Vec<Difference>, Vec<Identity>) {
    let (mut differences, mut identities) = (Vec::new(), Vec::new());
    let side = |system: usize, index: usize| {
        let base = &after.bases[system];
        base.totals[index].as_ref().map(|total| Side { records: &base.records, total })
    };
    for (index, total) in job.totals.iter().enumerate() {
        let field = &job.fields[total.field];
        let scale = if let FieldType::Decimal(scale) = field.field_type { scale } else { 0 };
        let zero = Decimal { units: 0, scale };
        let mut carriers = (0..job.systems.len()).filter(|system| side(*system, index).is_some());
        let Some(reference) = carriers.next() else { continue };
        for system in carriers {
            let (Some(here), Some(there)) = (side(system, index), side(reference, index)) else { continue };
            let linked = &decisions.linked;
            let is_silent = |system: usize, number: u64| {
                let record = linked.records.binary_search(&number).ok().and_then(|record| u32::try_from(record).ok());
                record.is_some_and(|record| linked.silent[system].contains_key(&record))
            };
            let mut reasons = reasons(field, (&here, &|number| is_silent(system, number)), (&there, &|number| is_silent(reference, number)), zero);
            let names = [&job.systems[system].name, &job.systems[reference].name];
            let report_of = |name: &str, group: &str| {
                let is_it = |report: &&TotalReport| report.field == field.name && report.system == name && report.group.as_deref().unwrap_or("") == group;
                reports.iter().find(is_it)
            };
            let sum_of = |name: &str, group: &str| report_of(name, group).map_or(Some(zero), TotalReport::with_held);
            let of_field = |report: &&TotalReport| report.field == field.name && names.contains(&&report.system);
            for report in reports.iter().filter(of_field) {
                let group = report.group.as_deref().unwrap_or("");
                if !reasons.by_group.contains_key(group) {
                    reasons.by_group.insert(group.to_owned(), BTreeMap::new());
                }
            }
            for (group, parts) in std::mem::take(&mut reasons.by_group) {
                let mut parts: Vec<Part> = parts.into_values().collect();
                for (name, why) in [(names[0], Why::HeldHere), (names[1], Why::HeldInReference)] {
                    let Some(report) = report_of(name, &group).filter(|report| report.held_records > 0) else { continue };
                    let amount = if why == Why::HeldHere { Some(report.held) } else { zero.checked_sub(report.held) };
                    reasons.overflowed |= amount.is_none();
                    parts.push(Part { why, records: report.held_records, amount: amount.unwrap_or(zero) });
                }
                let apart = sum_of(names[0], &group).zip(sum_of(names[1], &group)).and_then(|(here, there)| here.checked_sub(there));
                let explained = parts.iter().try_fold(zero, |sum, part| sum.checked_add(part.amount));
                let words: Vec<String> =
                    parts.iter().map(|part| format!("{} {}", part.amount.in_currency(Some(&group)), part.why.words(names[0], names[1]))).collect();
                let in_group = if group.is_empty() { String::new() } else { format!(" in {group}") };
                identities.push(Identity {
                    name: "differences".to_owned(),
                    of: format!("`{}` of `{}` to `{}`{in_group}", field.name, names[0], names[1]),
                    equation: format!(
                        "{} apart = {}",
                        apart.map_or_else(|| "too far".to_owned(), |apart| apart.in_currency(Some(&group)).to_string()),
                        if words.is_empty() { "0".to_owned() } else { words.join(" + ") }
                    ),
                    holds: !reasons.overflowed && apart.is_some() && apart == explained,
                });
                differences.push(Difference {
                    field: field.name.clone(),
                    group: total.by.is_some().then_some(group),
                    system: names[0].clone(),
                    reference: names[1].clone(),
                    parts,
                });
            }
        }
    }
    (differences, identities)
}

impl Why {
    /// Whether it counts rows that stand for no record.
    pub fn is_held(self) -> bool {
        matches!(self, Why::HeldHere | Why::HeldInReference)
    }

    /// The reason in words, for a system and its reference.
    pub fn words(self, system: &str, reference: &str) -> String {
        match self {
            Why::OnlyHere => format!("only in `{system}`"),
            Why::SetAsideInReference => format!("set aside in `{reference}`"),
            Why::OnlyInReference => format!("only in `{reference}`"),
            Why::SetAsideHere => format!("set aside in `{system}`"),
            Why::WithinTolerance => "within the tolerance".to_owned(),
            Why::Apart => "with another amount".to_owned(),
            Why::HeldHere => format!("held in `{system}`"),
            Why::HeldInReference => format!("held in `{reference}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use polars::prelude::{Int128Chunked, StringChunked};

    use super::*;
    use crate::frame::FieldColumn;
    use crate::job::{FirstContact, OnDrift};
    use crate::value::Tolerance;

    fn cents(units: i128) -> Decimal {
        Decimal { units, scale: 2 }
    }

    fn total(rows: &[(u64, Option<&str>, Option<i128>)]) -> (Vec<u64>, BaseTotal) {
        let amounts = FieldColumn::Decimal(rows.iter().map(|row| row.2).collect::<Int128Chunked>(), 2);
        let groups = rows.iter().map(|row| row.1).collect::<StringChunked>();
        (rows.iter().map(|row| row.0).collect(), BaseTotal { amounts, groups })
    }

    fn amount() -> Field {
        Field {
            name: "amount".to_owned(),
            field_type: FieldType::Decimal(2),
            columns: Vec::new(),
            clean: Vec::new(),
            null_tokens: Vec::new(),
            owner: vec![0],
            merge: Vec::new(),
            blank: None,
            tolerance: Some(Tolerance::Absolute(cents(1))),
            on_drift: OnDrift::Overwrite,
            first_contact: FirstContact::Decide,
            standardise: false,
            round: None,
            sensitive: false,
            important: false,
            standards: crate::job::Standards::default(),
        }
    }

    #[test]
    fn every_cent_between_two_totals_has_one_reason() {
        let here = total(&[
            (1, Some("EUR"), Some(1000)), // the same
            (2, Some("EUR"), Some(2001)), // a cent more
            (3, Some("EUR"), Some(3500)), // five more
            (4, Some("EUR"), Some(4000)), // not there
            (6, Some("EUR"), Some(6000)), // set aside there
            (8, Some("GBP"), Some(8000)), // in another currency there
            (9, None, None),              // in no sum here: set aside
            (10, Some("EUR"), None),      // without an amount here
        ]);
        let there = total(&[
            (1, Some("EUR"), Some(1000)),
            (2, Some("EUR"), Some(2000)),
            (3, Some("EUR"), Some(3000)),
            (5, Some("EUR"), Some(5000)), // not here
            (8, Some("EUR"), Some(8000)),
            (9, Some("EUR"), Some(900)),
            (10, Some("EUR"), Some(70)),
        ]);
        let (here, there) = (Side { records: &here.0, total: &here.1 }, Side { records: &there.0, total: &there.1 });
        let found = reasons(&amount(), (&here, &|number| number == 9), (&there, &|number| number == 6), cents(0));
        let told = |group: &str| -> Vec<(Why, u64, i128)> { found.by_group[group].values().map(|part| (part.why, part.records, part.amount.units)).collect() };
        assert_eq!(
            told("EUR"),
            [
                (Why::OnlyHere, 1, 4000),
                (Why::SetAsideInReference, 1, 6000),
                (Why::OnlyInReference, 2, -13_000),
                (Why::SetAsideHere, 1, -900),
                (Why::WithinTolerance, 1, 1),
                (Why::Apart, 2, 430),
            ]
        );
        assert_eq!(told("GBP"), [(Why::OnlyHere, 1, 8000)]);
        // 165.01 here, 199.70 there: the reasons are all that is between them.
        let sum: i128 = found.by_group["EUR"].values().map(|part| part.amount.units).sum();
        assert_eq!(sum, (1000 + 2001 + 3500 + 4000 + 6000) - (1000 + 2000 + 3000 + 5000 + 8000 + 900 + 70));
        assert!(!found.overflowed);
    }

    #[test]
    fn a_sum_that_cannot_be_told_is_not_explained() {
        let most = (1, Some("EUR"), Some(i128::MAX));
        let (here, there) = (total(&[most, (2, Some("EUR"), Some(1))]), total(&[]));
        let (here, there) = (Side { records: &here.0, total: &here.1 }, Side { records: &there.0, total: &there.1 });
        assert!(reasons(&amount(), (&here, &|_| false), (&there, &|_| false), cents(0)).overflowed);
    }
}
