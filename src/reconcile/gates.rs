//! Limits that stop a run before the first write.
//!
//! Every gate looks at the whole plan; all that trip are told at once. A relative limit is a share of the system's base and
//! never trips at or below the floor. At first contact only the gates of completeness apply.
//!
//! # Design
//! A person who takes an edit back makes the bytes of an older file again, and must not be stopped: that is how breaks are mended.
//! So an older file only trips if it would take more records back than the floor. A smaller one is told as a note.

use std::collections::BTreeMap;

use super::base::{Base, Standing, State};
use super::canary::{as_clean, canary_key};
use super::diff;
use super::index::TextIndex;
use super::link::Linked;
use super::plan::Decisions;
use super::totals;
use crate::change::{Action, key_for_people};
use crate::frame::{Keyed, NO_ROW};
use crate::job::{Beside, Canary, Job, Limit, MoneyLimit, MoneyMost};
use crate::value::{Decimal, FieldType};

/// The least number of records that `all-changed` compares.
const ALL_CHANGED_MIN: u64 = 20;
/// So far back an edit time may go: clocks are set. In microseconds.
const CLOCK_SLACK_MICROS: i64 = 120 * 1_000_000;
/// The hour that local times repeat.
const HOUR_MICROS: i64 = 3_600 * 1_000_000;

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
    /// A file that is an older one again, or a record whose edit time went back.
    TimeTravel,
    /// More of a control total would change than a run may change.
    Money,
    /// A record that must always be there is not, or not as it must be.
    Canary,
    /// A record came back after its delete was agreed. It stops no run; allowing it takes the record in again.
    Restored,
}

impl Gate {
    /// All gates that `--allow` knows.
    pub const ALL: [Gate; 12] = [
        Gate::Empty,
        Gate::Deletes,
        Gate::Updates,
        Gate::AllChanged,
        Gate::Shrink,
        Gate::Growth,
        Gate::Complete,
        Gate::Job,
        Gate::TimeTravel,
        Gate::Money,
        Gate::Canary,
        Gate::Restored,
    ];

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
            Gate::TimeTravel => "time-travel",
            Gate::Money => "money",
            Gate::Canary => "canary",
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
    /// By system whose file is, to the byte, an older one than it had and than the run left: the run that knew it last.
    pub older_files: BTreeMap<String, String>,
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
            let (announced, delivered) = (amount(&sum.announced), amount(&sum.delivered));
            trip(Gate::Complete, format!("`{}` announced the sum {announced} of `{}` and delivered {delivered}", spec.name, sum.column));
        }
        if last.is_some_and(|last| last.rows_read.contains_key(&spec.name)) {
            let over = job.money.iter().flat_map(|limit| money(job, limit, system, nows, decisions));
            over.for_each(|message| trip(Gate::Money, message));
        }
        let base = state.bases[system].standings.iter().filter(|s| **s == Standing::Live).count() as u64 + resting;
        let (Some(last), true) = (last, base > 0) else { continue };
        let gates = &spec.gates;
        if gates.empty && evidence.rows_read == 0 {
            trip(Gate::Empty, format!("`{}` is empty, the last run knew {} there", spec.name, records(base)));
            // An empty system trips every other gate too: one message says it all.
            continue;
        }
        sick_canaries(job, system, &nows[system]).into_iter().for_each(|message| trip(Gate::Canary, message));
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
        if gates.time_travel {
            if let Some(run) = last.older_files.get(&spec.name) {
                let differ = differing(&nows[system], &state.bases[system], &decisions.linked, system);
                if differ > gates.floor {
                    let what = format!("`{}` is, to the byte, the file of run {run}, and later runs read another", spec.name);
                    trip(Gate::TimeTravel, format!("{what}: {} would go back to it (limit {})", records(differ), gates.floor));
                }
            }
            if let Some(message) = edited_back(job, system, &nows[system], &state.bases[system], &decisions.linked) {
                trip(Gate::TimeTravel, message);
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

/// What is wrong with the canaries of a system, a sentence each.
fn sick_canaries(job: &Job, system: usize, now: &Keyed) -> Vec<String> {
    let canaries: Vec<&Canary> = job.canaries.iter().filter(|canary| canary.systems.contains(&system)).collect();
    if canaries.is_empty() {
        return Vec::new();
    }
    let (name, rows_by_key) = (&job.systems[system].name, TextIndex::build(&now.clean.keys).0);
    let mut sick = Vec::new();
    for canary in canaries {
        let key = canary_key(job, canary);
        let shown = if job.key.iter().any(|field| job.fields[*field].sensitive) { "•••".to_owned() } else { key_for_people(&key) };
        let Some(row) = rows_by_key.get(&key) else {
            let silent = &now.clean.silent;
            let why = silent.keys.iter().zip(&silent.why).find(|(silent, _)| silent.as_ref() == Some(&key)).map(|(_, why)| *why);
            let read = now.clean.pulled.evidence.rows_read;
            sick.push(match why {
                Some(why) => format!("record `{shown}` must be in `{name}`, and is {why} there"),
                None => format!("record `{shown}` must be in `{name}`, and is in none of its {}", rows(read)),
            });
            continue;
        };
        for (field, expected) in &canary.expect {
            let (spec, Some(column)) = (&job.fields[*field], &now.clean.fields[*field]) else { continue };
            let (expected, value) = (as_clean(spec, expected), column.value(row));
            if spec.equivalent(&value, &expected) {
                continue;
            }
            sick.push(match (spec.sensitive, value.is_null()) {
                (true, _) => format!("`{}` of record `{shown}` in `{name}` is not what it must be", spec.name),
                (false, true) => format!("`{}` of record `{shown}` in `{name}` must be `{expected}`, and is empty", spec.name),
                (false, false) => format!("`{}` of record `{shown}` in `{name}` must be `{expected}`, and is `{value}`", spec.name),
            });
        }
    }
    sick
}

/// What a run would do to the amounts of one group, without signs. Nothing for what does not fit into 128 bits.
#[derive(Clone, Copy)]
struct Moved {
    created: Option<Decimal>,
    changed: Option<Decimal>,
    removed: Option<Decimal>,
}

/// The groups of a control total of which a run would change more in a system than it may, a sentence each.
///
/// Signs do not count: what goes up here and down there would else be no change at all.
fn money(job: &Job, limit: &MoneyLimit, system: usize, nows: &[Keyed], decisions: &Decisions) -> Vec<String> {
    let (total, spec) = (&job.totals[limit.total], &job.systems[system]);
    let field = &job.fields[total.field];
    let Some(column) = &nows[system].clean.fields[total.field] else { return Vec::new() };
    let zero = Decimal { units: 0, scale: if let FieldType::Decimal(scale) = field.field_type { scale } else { 0 } };
    let linked = &decisions.linked;
    let by = total.by.map(|by| &job.fields[by].name);
    let mut groups: BTreeMap<String, Moved> = BTreeMap::new();
    for change in decisions.plan.changes.iter().filter(|change| change.system == spec.name) {
        let Ok(record) = linked.records.binary_search(&change.record) else { continue };
        let row = linked.now_rows[system][record];
        let cell = |name: Option<&String>| change.cells.iter().find(|cell| cell.field.is_some() && cell.field.as_ref() == name);
        let amount = cell(Some(&field.name));
        let stands = || if row == NO_ROW { zero } else { column.value(row).as_decimal().unwrap_or(zero) };
        let before = amount.map_or_else(stands, |cell| cell.before.as_decimal().unwrap_or(zero));
        let after = amount.map_or_else(stands, |cell| cell.after.as_decimal().unwrap_or(zero));
        let group = totals::group(job, total, system, record as u32, nows, linked);
        let group_after = cell(by).map_or_else(|| group.clone(), |cell| cell.after.to_string());
        let none = Moved { created: Some(zero), changed: Some(zero), removed: Some(zero) };
        let mut add = |group: String, to: fn(&mut Moved) -> &mut Option<Decimal>, amount: Option<Decimal>| {
            let sum = to(groups.entry(group).or_insert(none));
            *sum = sum.zip(amount).and_then(|(sum, amount)| sum.checked_add(amount.abs()));
        };
        match change.action {
            Action::Create => add(group_after, |moved| &mut moved.created, Some(after)),
            Action::Delete | Action::Archive => add(group, |moved| &mut moved.removed, Some(before)),
            Action::Update if group == group_after => add(group, |moved| &mut moved.changed, after.checked_sub(before)),
            Action::Update => {
                add(group, |moved| &mut moved.changed, Some(before));
                add(group_after, |moved| &mut moved.changed, Some(after));
            }
        }
    }
    let mut over = Vec::new();
    for (group, moved) in groups {
        let most = match &limit.most {
            MoneyMost::EachGroup(most) => Some(*most),
            MoneyMost::OfGroup(groups) => groups.get(&group).copied(),
        };
        let sum = [moved.created, moved.changed, moved.removed].into_iter().try_fold(zero, |sum, part| sum.checked_add(part?));
        if sum.is_some_and(|sum| sum <= most.unwrap_or(zero)) {
            continue;
        }
        let code = match (&total.by, &field.standards.currency) {
            (Some(_), _) if !group.is_empty() => Some(group.as_str()),
            (None, Some(Beside::Constant(code))) => Some(code.as_str()),
            _ => None,
        };
        let shown = |amount: Option<Decimal>| match amount {
            Some(amount) if !field.sensitive => amount.in_currency(code).to_string(),
            Some(_) => "•••".to_owned(),
            None => "more than can be counted".to_owned(),
        };
        let of_group = match (code, total.by) {
            (Some(code), _) => format!(" {code}"),
            (None, Some(_)) => " without a group".to_owned(),
            (None, None) => String::new(),
        };
        let limit = most.map_or_else(|| "the job file gives it no limit".to_owned(), |most| format!("limit {}", most.in_currency(code)));
        over.push(format!(
            "`{}` of `{}` would change by {}{of_group} in sum ({limit}): {} created, {} changed, {} removed",
            field.name,
            spec.name,
            shown(sum),
            shown(moved.created),
            shown(moved.changed),
            shown(moved.removed)
        ));
    }
    over
}

/// How many records of a system are not as the last run left them: other values, new, gone.
fn differing(now: &Keyed, base: &Base, linked: &Linked, system: usize) -> u64 {
    let rows = || linked.now_rows[system].iter().zip(&linked.base_rows[system]);
    let was_there = |base_row: u32| base_row != NO_ROW && base.standings[base_row as usize] == Standing::Live;
    let mut differs: Vec<bool> = rows().map(|(row, base_row)| (*row != NO_ROW) != was_there(*base_row)).collect();
    for (values, (bases, seen)) in now.clean.fields.iter().zip(base.fields.iter().zip(&base.seen)) {
        let (Some(values), Some(bases), Some(seen)) = (values, bases, seen) else { continue };
        for (differs, (row, base_row)) in differs.iter_mut().zip(rows()) {
            let compares = !*differs && *row != NO_ROW && *base_row != NO_ROW && seen.get(*base_row as usize) == Some(true);
            *differs = *differs || compares && !values.equal(*row, bases, *base_row);
        }
    }
    differs.iter().filter(|differs| **differs).count() as u64
}

/// How many records of a system, and which of them first, were edited earlier than the last run read; nothing if none was.
///
/// Clocks are set, and a system that tells local times repeats an hour once a year: so much is no travel.
fn edited_back(job: &Job, system: usize, now: &Keyed, base: &Base, linked: &Linked) -> Option<String> {
    let (times, spec) = (now.clean.edited_at.as_ref()?, job.systems[system].edited_at.as_ref()?);
    let is_local = spec.timezone.is_some() && spec.format.as_deref().is_some_and(|format| !["%z", "%:z", "%s"].iter().any(|code| format.contains(code)));
    let slack = CLOCK_SLACK_MICROS + if is_local { HOUR_MICROS } else { 0 };
    let mut back = 0_u64;
    let mut first: Option<(u32, i64, i64)> = None;
    for (row, base_row) in linked.now_rows[system].iter().zip(&linked.base_rows[system]) {
        if *row == NO_ROW || *base_row == NO_ROW {
            continue;
        }
        let (Some(now), Some(before)) = (times.get(*row as usize), base.edited_at.get(*base_row as usize)) else { continue };
        if now < before.saturating_sub(slack) {
            back += 1;
            first.get_or_insert((*row, now, before));
        }
    }
    let (row, at, before) = first?;
    let name = match job.key.iter().any(|field| job.fields[*field].sensitive) {
        true => format!("in line {}", now.line(row)),
        false => format!("`{}`", key_for_people(now.clean.keys.get(row as usize).unwrap_or_default())),
    };
    let time = |micros: i64| jiff::Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |time| time.to_string());
    let which = if back == 1 { name } else { format!("the first of them {name}") };
    Some(format!(
        "{} of `{}` {} edited earlier than the last run read, {which}: {} after {}",
        records(back),
        job.systems[system].name,
        if back == 1 { "was" } else { "were" },
        time(at),
        time(before)
    ))
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
    with_thousands(&number.to_string())
}

/// A number as text, `-1234.5`, with separated thousands; words stay as they are.
fn amount(text: &str) -> String {
    let (sign, number) = text.strip_prefix('-').map_or(("", text), |number| ("-", number));
    let (whole, decimals) = number.split_at(number.find('.').unwrap_or(number.len()));
    match whole.bytes().all(|byte| byte.is_ascii_digit()) {
        true => format!("{sign}{}{decimals}", with_thousands(whole)),
        false => text.to_owned(),
    }
}

fn with_thousands(digits: &str) -> String {
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
    fn a_sum_is_told_with_separated_thousands() {
        for (sum, told) in [("0", "0"), ("999.5", "999.5"), ("-1349.05", "-1,349.05"), ("12345678901234567890.123", "12,345,678,901,234,567,890.123")] {
            assert_eq!(amount(sum), told);
        }
        assert_eq!(amount("more than can be told"), "more than can be told");
    }

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
