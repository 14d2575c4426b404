//! Limits that stop a run before the first write.
//!
//! Every gate looks at the whole plan; all that trip are told at once. A relative limit is a share of the system's base and
//! never trips at or below the floor. At first contact only the gates of completeness apply.

use std::collections::BTreeMap;

use super::base::{Standing, State};
use super::diff;
use super::plan::Decisions;
use crate::change::Action;
use crate::frame::Keyed;
use crate::job::{Job, Limit};
use crate::value::Decimal;

/// The least number of records that `all-changed` compares.
const ALL_CHANGED_MIN: u64 = 20;

/// What a gate is called on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    /// A system is empty while its base is not.
    Empty,
    /// Too many deletes.
    Deletes,
    /// Too many updates.
    Updates,
    /// One field changed in every record.
    AllChanged,
    /// Far fewer rows than at the last run.
    Shrink,
    /// Far more rows than at the last run.
    Growth,
    /// Fewer or more rows than the source announced.
    Complete,
    /// The job file changed in what the bases depend on.
    Job,
    /// A record came back after its delete was agreed. It stops no run; allowing it takes the record in again.
    Restored,
}

impl Gate {
    /// All gates that `--allow` knows.
    pub const ALL: [Gate; 9] =
        [Gate::Empty, Gate::Deletes, Gate::Updates, Gate::AllChanged, Gate::Shrink, Gate::Growth, Gate::Complete, Gate::Job, Gate::Restored];

    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Gate::Empty => "empty",
            Gate::Deletes => "deletes",
            Gate::Updates => "updates",
            Gate::AllChanged => "all-changed",
            Gate::Shrink => "shrink",
            Gate::Growth => "growth",
            Gate::Complete => "complete",
            Gate::Job => "job",
            Gate::Restored => "restored",
        }
    }
}

/// A gate that one run may pass, in all systems or in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The gate.
    pub gate: Gate,
    /// The system; nothing for all.
    pub system: Option<String>,
}

impl std::fmt::Display for Allowed {
    /// As it is given on the command line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.system {
            None => f.write_str(self.gate.word()),
            Some(system) => write!(f, "{}:{system}", self.gate.word()),
        }
    }
}

/// A gate that trips.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trip {
    /// The gate.
    pub gate: Gate,
    /// The system; nothing where the job itself is meant.
    pub system: Option<String>,
    /// Limit, counts and place, in words.
    pub message: String,
}

/// What the last run knew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastRun {
    /// Its id.
    pub run: String,
    /// Rows read, by system.
    pub rows_read: BTreeMap<String, u64>,
    /// [`Job::terms`] of its job file.
    pub terms: BTreeMap<String, String>,
}

/// All gates that trip, in the order in which they should be read: by system, then by gate. `resting` records are in every
/// system, unchanged, beside those of the state.
pub fn trips(job: &Job, state: &State, nows: &[Keyed], decisions: &Decisions, resting: u64, last: Option<&LastRun>) -> Vec<Trip> {
    let mut trips = Vec::new();
    for (system, spec) in job.systems.iter().enumerate() {
        let evidence = &nows[system].clean.pulled.evidence;
        let mut trip = |gate: Gate, message: String| trips.push(Trip { gate, system: Some(spec.name.clone()), message });
        if let Some(announced) = evidence.rows_announced.filter(|announced| *announced != evidence.rows_read) {
            trip(Gate::Complete, format!("`{}` announced {} and delivered {}", spec.name, rows(announced), rows(evidence.rows_read)));
        }
        for sum in evidence.sums.iter().filter(|sum| sum.announced != sum.delivered) {
            trip(Gate::Complete, format!("`{}` announced the sum {} of `{}` and delivered {}", spec.name, sum.announced, sum.column, sum.delivered));
        }
        let base = state.bases[system].standings.iter().filter(|s| **s == Standing::Live).count() as u64 + resting;
        let (Some(last), true) = (last, base > 0) else { continue };
        let gates = &spec.gates;
        if gates.empty && evidence.rows_read == 0 {
            trip(Gate::Empty, format!("`{}` is empty, the last run knew {} there", spec.name, records(base)));
            // An empty system trips every other gate too: one message says it all.
            continue;
        }
        let planned = |actions: &[Action]| decisions.plan.changes.iter().filter(|c| c.system == spec.name && actions.contains(&c.action)).count() as u64;
        let deletes = planned(&[Action::Delete, Action::Archive]);
        if let Some(limit) = exceeded(gates.deletes, deletes, base, gates.floor) {
            trip(
                Gate::Deletes,
                format!("{} of {} of `{}` would be deleted ({}, limit {limit})", count(deletes), records(base), spec.name, share(deletes, base)),
            );
        }
        let updates = planned(&[Action::Update]);
        if let Some(limit) = exceeded(gates.updates, updates, base, gates.floor) {
            trip(
                Gate::Updates,
                format!("{} of {} of `{}` would be updated ({}, limit {limit})", count(updates), records(base), spec.name, share(updates, base)),
            );
        }
        if gates.all_changed && resting == 0 {
            for (index, field) in job.fields.iter().enumerate() {
                let (now_rows, base_rows) = (&decisions.linked.now_rows[system], &decisions.linked.base_rows[system]);
                let changed = diff::all_changed(&nows[system], &state.bases[system], index, now_rows, base_rows);
                if let Some(compared) = changed.filter(|compared| *compared >= ALL_CHANGED_MIN) {
                    trip(
                        Gate::AllChanged,
                        format!("`{}` changed in every one of {} of `{}`: probably a new format or time zone", field.name, records(compared), spec.name),
                    );
                }
            }
        }
        if let Some(before) = last.rows_read.get(&spec.name).copied().filter(|before| *before > 0) {
            let now = evidence.rows_read;
            if now < before
                && let Some(limit) = exceeded(gates.shrink, before - now, before, gates.floor)
            {
                trip(
                    Gate::Shrink,
                    format!("`{}` returned {}, the last run read {} (-{}, limit {limit})", spec.name, rows(now), count(before), share(before - now, before)),
                );
            }
            let grown = match gates.growth {
                Limit::Times(_) => exceeded(gates.growth, now, before, gates.floor.max(before)),
                limit => exceeded(limit, now.saturating_sub(before), before, gates.floor),
            };
            if let Some(limit) = grown.filter(|_| now > before && now - before > gates.floor) {
                trip(Gate::Growth, format!("`{}` returned {}, the last run read {} (limit {limit})", spec.name, rows(now), count(before)));
            }
        }
    }
    if let Some(last) = last {
        // A system that is new to the job is no change of the others: accepting it is what a first contact is for.
        let changes = changed_terms(&last.terms, &job.terms_among(&last.rows_read));
        if !changes.is_empty() {
            trips.push(Trip { gate: Gate::Job, system: None, message: format!("the job file changed since the last run: {}", changes.join("; ")) });
        }
    }
    trips
}

/// What differs between two sets of terms, a sentence each.
pub fn changed_terms(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let mut changes: Vec<String> = before
        .iter()
        .filter_map(|(word, old)| match after.get(word) {
            None => Some(format!("{word} is gone")),
            Some(new) if new != old => Some(format!("{word} was `{old}`, is `{new}`")),
            Some(_) => None,
        })
        .collect();
    changes.extend(after.keys().filter(|word| !before.contains_key(*word)).map(|word| format!("{word} is new")));
    changes
}

/// The limit in words, if `affected` of `base` is more than it allows.
fn exceeded(limit: Limit, affected: u64, base: u64, floor: u64) -> Option<String> {
    let whole = |n: u64| Decimal { units: i128::from(n), scale: 0 };
    let over = |factor: Decimal, of: u64, per: u64| {
        // affected / of > factor / per, in whole numbers
        let left = i128::from(affected) * i128::from(per) * 10_i128.pow(u32::from(factor.scale));
        left > factor.units.saturating_mul(i128::from(of))
    };
    match limit {
        Limit::Off => None,
        Limit::Count(most) => (affected > most).then(|| count(most)),
        Limit::Percent(most) => (affected > floor && over(most, base, 100)).then(|| format!("{most} %")),
        Limit::Times(most) => (whole(affected) > whole(floor) && over(most, base, 1)).then(|| format!("{most} times")),
    }
}

/// A share in whole per cent.
fn share(part: u64, whole: u64) -> String {
    format!("{} %", (u128::from(part) * 100 + u128::from(whole) / 2) / u128::from(whole.max(1)))
}

/// A number with separated thousands.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn rows(number: u64) -> String {
    format!("{} {}", count(number), if number == 1 { "row" } else { "rows" })
}

fn records(number: u64) -> String {
    format!("{} {}", count(number), if number == 1 { "record" } else { "records" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_trip_above_never_at() {
        let percent = Limit::Percent(Decimal { units: 2, scale: 0 });
        for (limit, affected, base, floor, trips) in [
            (percent, 20, 1_000, 5, false),
            (percent, 21, 1_000, 5, true),
            (percent, 5, 10, 5, false),
            (percent, 6, 10, 5, true),
            (Limit::Count(3), 3, 1_000_000, 5, false),
            (Limit::Count(3), 4, 1_000_000, 5, true),
            (Limit::Count(0), 1, 10, 5, true),
            (Limit::Off, 10, 10, 0, false),
            (Limit::Times(Decimal { units: 3, scale: 0 }), 30, 10, 5, false),
            (Limit::Times(Decimal { units: 3, scale: 0 }), 31, 10, 5, true),
            (Limit::Percent(Decimal { units: 25, scale: 1 }), 25, 1_000, 5, false),
            (Limit::Percent(Decimal { units: 25, scale: 1 }), 26, 1_000, 5, true),
        ] {
            assert_eq!(exceeded(limit, affected, base, floor).is_some(), trips, "{affected} of {base} against {limit:?}");
        }
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!([count(7), count(1_030), count(1_234_567)], ["7", "1,030", "1,234,567"]);
        assert_eq!(share(412, 1_030), "40 %");
    }
}
