//! From what a run knows to the [`Report`] that tells it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashSet;
use xxhash_rust::xxh3::Xxh3;

use super::{
    AmountRoll, BreakReport, CellReport, ChangeReport, ClearedBreak, ClearedHow, ConflictReport, JobChange, QuarantinedReport, Report, RollForward, SetAside,
    Stale, SystemReport, ToleratedReport, Verdict,
};
use crate::change::{Action, Break, BreakKind, Change, Settled, SystemValue, key_for_people};
use crate::diagnostic::Diagnostic;
use crate::error::Error;
use crate::frame::{Keyed, NO_ROW, Silence};
use crate::job::{Beside, Blank, Dedupe, Deletes, Field, FirstContact, Job, MergeRule, Mode, OnDrift, Permission, Role};
use crate::reconcile::answers::{self, Act, Answers, Owed};
use crate::reconcile::base::State;
use crate::reconcile::dedupe::{EQUAL_ROWS, SHARED_ID};
use crate::reconcile::left_alone;
use crate::reconcile::plan::Decisions;
use crate::reconcile::settle::{Fate, Settlement, open_after};
use crate::reconcile::totals;
use crate::report::{Difference, Identity, TotalReport};
use crate::value::{Decimal, FieldType, KEY_SEPARATOR};

/// A break that an earlier run saw first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// The run that saw it first.
    pub first_run: String,
    /// When that was.
    pub first_seen: jiff::Timestamp,
    /// The break as it was seen last.
    pub open: Break,
    /// What was at stake then, where that is known.
    pub amount: Option<Decimal>,
    /// The currency of the amount.
    pub currency: Option<String>,
}

/// What every report says, whatever became of the run.
#[derive(Clone, Debug)]
pub struct Heading<'a> {
    /// The job.
    pub job: &'a Job,
    /// The run.
    pub run: &'a str,
    /// The run before it that was promoted.
    pub previous_run: Option<&'a str>,
    /// When it started.
    pub started: jiff::Timestamp,
    /// The version of the program.
    pub version: &'a str,
    /// Whether only the plan was asked for.
    pub dry_run: bool,
    /// What a person should know, a sentence each.
    pub notes: Vec<String>,
    /// Gates that tripped and were allowed to pass, in words.
    pub allowed: Vec<String>,
    /// The job file before and now, if the bases depend on what changed.
    pub job_change: Option<JobChange>,
}

impl Heading<'_> {
    /// A report with nothing in it but the heading.
    pub fn report(&self, verdict: Verdict, exit_code: u8, sentence: String) -> Report {
        let job = self.job;
        Report {
            job: job.name.clone(),
            description: job.description.clone(),
            contact: job.contact.clone(),
            run: self.run.to_owned(),
            previous_run: self.previous_run.map(str::to_owned),
            started: self.started.to_string(),
            version: self.version.to_owned(),
            job_file: job.source.path.clone(),
            job_digest: job.source.digest.clone(),
            plan_digest: None,
            ledger_head: None,
            audit: job.mode == Mode::Audit,
            dry_run: self.dry_run,
            unsettled: false,
            verdict,
            exit_code,
            sentence,
            stopped_by: Vec::new(),
            allowed: self.allowed.clone(),
            notes: self.notes.clone(),
            systems: job
                .systems
                .iter()
                .map(|system| SystemReport {
                    name: system.name.clone(),
                    kind: system.kind.word().to_owned(),
                    role: format!("{:?}", system.role).to_lowercase(),
                    ..SystemReport::default()
                })
                .collect(),
            records: 0,
            changes: Vec::new(),
            conflicts: Vec::new(),
            drift: Vec::new(),
            tolerated: Vec::new(),
            breaks: Vec::new(),
            cleared: Vec::new(),
            roll_forward: None,
            quarantined: Vec::new(),
            duplicates: Vec::new(),
            stale: Vec::new(),
            links: Vec::new(),
            totals: Vec::new(),
            differences: Vec::new(),
            identities: Vec::new(),
            job_change: self.job_change.clone(),
            key: job.key.iter().map(|field| job.fields[*field].name.clone()).collect(),
            rules: rules(job),
            sensitive: job.fields.iter().filter(|f| f.sensitive).map(|f| f.name.clone()).collect(),
            currencies: BTreeMap::new(),
            units: job.fields.iter().filter_map(|f| Some((f.name.clone(), f.standards.counts.clone()?))).collect(),
            numeric: job.fields.iter().filter(|f| matches!(f.field_type, FieldType::Decimal(_) | FieldType::Integer)).map(|f| f.name.clone()).collect(),
        }
    }

    /// The day of the run, in UTC.
    pub fn today(&self) -> String {
        self.started.to_string()[..10].to_owned()
    }

    /// The report of a run that an error stopped. Open is what was open before.
    pub fn stopped(&self, error: &Error, earlier: &BTreeMap<String, Earlier>) -> Report {
        let first = error.diagnostics.first().map(|d| d.message.clone()).unwrap_or_default();
        let mut report = self.report(Verdict::Failed, error.remedy.exit_code(), format!("stopped before writing: {first}"));
        report.stopped_by = error.diagnostics.clone();
        report.breaks = earlier.values().map(|known| self.still_open(&known.open, Some(known), known.amount, known.currency.clone())).collect();
        report
    }

    /// A break as reports tell it, with what is at stake.
    fn still_open(&self, open: &Break, known: Option<&Earlier>, amount: Option<Decimal>, mut currency: Option<String>) -> BreakReport {
        let (job, today) = (self.job, self.started);
        let first_seen = known.map_or(today, |known| known.first_seen);
        // Of a whole record, the amount is that of the first control total.
        let amount_field = if concerns_whole_record(open) {
            total_of(job, open).map(|index| &job.fields[job.totals[index].field])
        } else {
            field_named(job, open.field.as_deref())
        };
        if let Some(field) = amount_field.filter(|_| currency.is_none()) {
            currency = only_currency(job, &field.name);
        }
        BreakReport {
            id: open.id(&job.name),
            unit: amount_field.and_then(|field| field.standards.counts.clone()),
            important: field_named(job, open.field.as_deref()).is_some_and(|field| field.important),
            first_run: known.map_or_else(|| self.run.to_owned(), |known| known.first_run.clone()),
            first_seen: first_seen.to_string()[..10].to_owned(),
            age_days: today.as_second().saturating_sub(first_seen.as_second()).max(0) / 86_400,
            amount,
            currency,
            repeats: false,
            set_aside: None,
            decisions: Vec::new(),
            open: Break { key: key_for_people(&open.key), ..open.clone() },
        }
    }
}

/// All that a run knows when it ends.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The state that the run started from.
    pub before: &'a State,
    /// The systems' snapshots.
    pub nows: &'a [Keyed],
    /// What was decided.
    pub decisions: &'a Decisions,
    /// How many records nobody needed to look into: every system has each of them, unchanged.
    pub resting: u64,
    /// What became of it; nothing where nothing was written.
    pub settlement: Option<&'a Settlement>,
    /// The breaks that were open before.
    pub earlier: &'a BTreeMap<String, Earlier>,
    /// The control totals.
    pub totals: &'a [TotalReport],
    /// Why they differ; nothing where nothing was settled.
    pub differences: &'a [Difference],
    /// The arithmetic that was checked.
    pub identities: &'a [Identity],
    /// The digest of the plan.
    pub plan_digest: Option<&'a str>,
    /// Changes of a plan that was to be applied which are not made.
    pub stale: &'a [Stale],
    /// What people answered to breaks.
    pub answers: &'a Answers,
}

/// Everything that is still open after a run: of the decisions, of the writes, of rows that could not be read, and what was
/// open `earlier` about records that are left alone tonight. `before` is the state that the run started from.
pub fn breaks(
    job: &Job,
    before: &State,
    nows: &[Keyed],
    decisions: &Decisions,
    settlement: Option<&Settlement>,
    earlier: &BTreeMap<String, Earlier>,
) -> Vec<Break> {
    let mut breaks = told_together(decisions.breaks.iter().chain(settlement.into_iter().flat_map(|s| &s.breaks)));
    for (system, (spec, now)) in job.systems.iter().zip(nows).enumerate() {
        let identities = unkeyed_rows(job, system, now);
        let mut rows: BTreeSet<u64> = BTreeSet::new();
        for row in &now.clean.quarantined {
            // One break a row, however many of its cells are unreadable.
            if !rows.insert(row.line) {
                continue;
            }
            let what = row.column.as_ref().map_or_else(|| row.reason.clone(), |column| format!("column `{column}`: {}", row.reason));
            breaks.push(Break {
                kind: BreakKind::Quarantined,
                key: row.key.clone().or_else(|| identities.get(&row.line).cloned()).unwrap_or_default(),
                field: row.field.clone(),
                system: Some(spec.name.clone()),
                values: Vec::new(),
                why: match &row.id {
                    Some(id) if !now.clean.pulled.is_file() => format!("{}, id {id}: {what}", row.origin),
                    _ => format!("{}:{}: {what}", row.origin, row.line),
                },
                next_step: format!("mend the row in `{}`; until then its record is left alone", spec.name),
            });
        }
        for duplicate in now.duplicates.iter().filter(|d| d.survivor.is_none()) {
            let (what, next_step) = if duplicate.rule == SHARED_ID {
                (
                    "have one native id and different keys",
                    format!("give each of the rows in `{}` an id of its own; until then their records are left alone", spec.name),
                )
            } else if duplicate.rule == EQUAL_ROWS {
                (
                    "are equal, and may be one amount or several",
                    format!("leave one of the rows in `{}`, or give each a key of its own; until then their record is left alone", spec.name),
                )
            } else {
                ("have this key and differ", format!("leave one of the rows in `{}`; until then their record is left alone", spec.name))
            };
            breaks.push(Break {
                kind: BreakKind::Duplicate,
                key: duplicate.key.clone(),
                field: None,
                system: Some(spec.name.clone()),
                values: Vec::new(),
                why: format!("{} of `{}` {what}", duplicate.losers_for_people(usize::MAX), spec.name),
                next_step,
            });
        }
    }
    breaks.extend(left_alone::still_open(job, before, nows, decisions, earlier.values().map(|earlier| &earlier.open)));
    let mut breaks = sorted(breaks);
    // The same difference may be seen by a decision and by the write that failed to mend it.
    let mut seen = BTreeSet::new();
    breaks.retain(|b| seen.insert(b.id(&job.name)));
    breaks
}

/// These breaks, in their order. Several fields of a record that a system refuses, or that are not sent to it any more, are one
/// break, which tells them all.
fn told_together<'b>(all: impl Iterator<Item = &'b Break>) -> Vec<Break> {
    let mut breaks: Vec<Break> = Vec::new();
    let mut writes: BTreeMap<(BreakKind, &str, Option<&str>), usize> = BTreeMap::new();
    for open in all {
        let is_write = matches!(open.kind, BreakKind::WriteRejected | BreakKind::WriteNotKept) && open.field.is_none();
        let first = if is_write { *writes.entry((open.kind, &open.key, open.system.as_deref())).or_insert(breaks.len()) } else { breaks.len() };
        let Some(other) = breaks.get_mut(first) else {
            breaks.push(open.clone());
            continue;
        };
        for (text, more) in [(&mut other.why, &open.why), (&mut other.next_step, &open.next_step)] {
            if !text.contains(more.as_str()) {
                text.push_str("; ");
                text.push_str(more);
            }
        }
        let new: Vec<SystemValue> = open.values.iter().filter(|value| !other.values.contains(value)).cloned().collect();
        other.values.extend(new);
    }
    breaks
}

/// By line: what stands for the key of a quarantined row that has no readable one. It comes from what the row holds in the
/// job's columns, so that the row stays the same one wherever it moves; of equal rows the second, third .. are numbered.
fn unkeyed_rows(job: &Job, system: usize, now: &Keyed) -> BTreeMap<u64, String> {
    let mut identities = BTreeMap::new();
    if !now.clean.silent.hides_a_key() {
        return identities;
    }
    let pulled = &now.clean.pulled;
    let silent = &now.clean.silent;
    let rows: BTreeMap<u64, u32> = silent
        .rows
        .iter()
        .zip(&silent.why)
        .filter(|(row, why)| **row != NO_ROW && **why == Silence::Quarantined)
        .map(|(row, _)| (pulled.line(*row), *row))
        .collect();
    let columns: Vec<&str> = job.fields.iter().filter_map(|field| field.columns[system].as_ref()).map(|column| column.name.as_str()).collect();
    let mut contents: BTreeMap<u64, u32> = BTreeMap::new();
    for row in now.clean.quarantined.iter().filter(|row| row.key.is_none()) {
        if identities.contains_key(&row.line) {
            continue;
        }
        let mut hasher = Xxh3::new();
        let mut add = |text: Option<&str>| {
            hasher.update(&[u8::from(text.is_some())]);
            hasher.update(text.unwrap_or_default().as_bytes());
            hasher.update(&[0]);
        };
        add(row.id.as_deref());
        match rows.get(&row.line) {
            Some(at) => columns.iter().for_each(|column| add(pulled.column(column).and_then(|cells| cells.get(*at as usize)))),
            None => add(row.raw.as_deref()),
        }
        let content = hasher.digest() >> 24;
        let number = contents.entry(content).and_modify(|number| *number += 1).or_insert(1);
        let name = format!("row {content:010x} without a key");
        identities.insert(row.line, if *number == 1 { name } else { format!("{name}, number {number}") });
    }
    identities
}

/// Breaks in the order in which they are told: by severity, then by key.
pub fn sorted(mut breaks: Vec<Break>) -> Vec<Break> {
    breaks.sort_by(|a, b| (super::severity(a.kind), &a.key, &a.field, &a.system).cmp(&(super::severity(b.kind), &b.key, &b.field, &b.system)));
    breaks
}

/// The report of a run that came to its end, or to its plan.
pub fn report(heading: &Heading<'_>, facts: &Facts<'_>, breaks: &[Break]) -> Report {
    let job = heading.job;
    let mut report = heading.report(Verdict::Ok, 0, String::new());
    let Facts { before, nows, decisions, resting, settlement, earlier, totals, differences, identities, plan_digest, stale, answers } = *facts;
    let no_fates = BTreeMap::new();
    let fates: &BTreeMap<u32, Fate> = settlement.map_or(&no_fates, |s| &s.fates);

    report.plan_digest = plan_digest.map(str::to_owned);
    // A record that is in no system any more is only remembered.
    let is_somewhere = |record: &usize| decisions.linked.now_rows.iter().any(|rows| rows[*record] != NO_ROW);
    report.records = (0..decisions.linked.records.len()).filter(is_somewhere).count() as u64 + resting;
    for (index, (system, now)) in report.systems.iter_mut().zip(nows).enumerate() {
        system.evidence = Some(now.clean.pulled.evidence.clone());
        system.counts = totals::row_counts(job, index, now, decisions, resting);
        system.newest_edit = newest_edit(now);
        system.cleaning = now.clean.counts.clone();
        for change in decisions.plan.changes.iter().filter(|c| c.system == system.name) {
            *system.planned.entry(change.action).or_default() += 1;
            if let Some(fate) = fates.get(&change.number) {
                *system.settled.entry(fate.settled).or_default() += 1;
            }
        }
    }
    report.changes = decisions
        .plan
        .changes
        .iter()
        .map(|change| {
            let fate = fates.get(&change.number);
            ChangeReport {
                system: change.system.clone(),
                key: key_for_people(&change.key),
                action: change.action,
                reason: change.reason.clone(),
                cells: change
                    .cells
                    .iter()
                    .map(|cell| CellReport {
                        field: cell.field.clone().unwrap_or_else(|| cell.column.clone()),
                        before: cell.before.clone(),
                        after: cell.after.clone(),
                        reason: cell.reason.clone(),
                    })
                    .collect(),
                settled: fate.map(|f| f.settled),
                detail: fate.and_then(|f| f.detail.clone()),
                attempts: change.attempts,
            }
        })
        .collect();
    report.conflicts = decisions
        .conflicts
        .iter()
        .map(|conflict| ConflictReport {
            key: key_for_people(&conflict.key),
            field: conflict.field.clone(),
            decided: conflict.value.clone(),
            reason: conflict.reason.clone(),
            overridden: conflict.overridden.clone(),
        })
        .collect();
    report.drift = decisions.drift.clone();
    report.tolerated = tolerated(job, nows, decisions, before);
    let stakes = stakes(job, nows, decisions, breaks);
    report.totals = totals.to_vec();
    report.differences = differences.to_vec();
    for total in &mut report.totals {
        total.group = total.group.take().or_else(|| only_currency(job, &total.field));
    }
    for difference in &mut report.differences {
        difference.group = difference.group.take().or_else(|| only_currency(job, &difference.field));
    }
    let today = heading.today();
    let aside = answers.set_aside(&decisions.asks, &today);
    report.breaks = breaks
        .iter()
        .map(|open| {
            let whole = concerns_whole_record(open);
            let (record_amount, mut currency) = total_of(job, open).and_then(|total| stakes.get(&(open.key.as_str(), total)).cloned()).unwrap_or_default();
            let mut amount = record_amount.filter(|_| whole);
            let known = earlier.get(&open.id(&job.name));
            // A row that cannot be read tonight is still worth what it was worth when it was seen last.
            if let Some(known) = known.filter(|known| whole && amount.is_none() && known.amount.is_some()) {
                (amount, currency) = (known.amount, known.currency.clone());
            }
            let told = heading.still_open(open, known, amount, currency);
            let set_aside = aside.get(told.id.as_str()).map(|answer| SetAside {
                until: if let Act::Snooze { until } = &answer.act { Some(until.clone()) } else { None },
                who: answer.who.clone(),
                why: answer.why.clone(),
            });
            let mut told = BreakReport { set_aside, ..told };
            match &told.set_aside {
                Some(aside) => told.open.why.push_str(&format!("; {}", aside.words())),
                None => {
                    let words = decisions.asks.get(&told.id).map(answers::deciding).unwrap_or_default();
                    let words: Vec<String> = words
                        .iter()
                        .enumerate()
                        .map(|(at, word)| if at == 0 { format!("`tieout review {} {} {word}`", job.name, told.id) } else { format!("`{word}`") })
                        .collect();
                    if !words.is_empty() {
                        told.open.next_step.push_str(&format!("; or decide it: {}", words.join(" or ")));
                    }
                }
            }
            told
        })
        .collect();
    let linked = &decisions.linked;
    let key = |record: u64| Some(linked.key(linked.records.binary_search(&record).ok()? as u32, nows, &before.bases));
    let owed = if answers.accept_something() { Owed::of(&open_after(&before.open, settlement), key) } else { Owed::default() };
    let judged = answers::judge(job, answers, &decisions.plan.header, &decisions.asks, fates, breaks, &owed, &today);
    report.notes.extend(answers::notes(answers, &judged));
    report.currencies = currencies(job, nows, decisions, &report);
    // An amount of a whole record is not one of the field that the break names.
    for one in report.breaks.iter_mut().filter(|one| one.currency.is_none() && !concerns_whole_record(&one.open)) {
        let field = one.open.field.clone().unwrap_or_default();
        one.currency = report.currencies.get(&(one.open.key.clone(), field)).cloned();
    }
    tell_each_amount_once(&mut report.breaks);
    let still: BTreeSet<&str> = report.breaks.iter().map(|b| b.id.as_str()).collect();
    let arrived: Vec<&Change> =
        decisions.plan.changes.iter().filter(|change| fates.get(&change.number).is_some_and(|fate| has_arrived(fate.settled))).collect();
    let mended = Mended::by(&arrived);
    let still_at_odds: BTreeSet<(&str, Option<&str>)> = breaks.iter().map(|open| (open.key.as_str(), open.field.as_deref())).collect();
    report.cleared = earlier
        .iter()
        .filter(|(id, _)| !still.contains(id.as_str()))
        .map(|(id, known)| ClearedBreak {
            id: id.clone(),
            kind: known.open.kind.to_string(),
            key: key_for_people(&known.open.key),
            field: known.open.field.clone(),
            first_seen: known.first_seen.to_string()[..10].to_owned(),
            how: if still_at_odds.contains(&(known.open.key.as_str(), known.open.field.as_deref())) {
                ClearedHow::Turned
            } else if mended.mends(&known.open) {
                ClearedHow::ByUs
            } else {
                ClearedHow::AtSource
            },
            amount: known.amount,
            currency: known.currency.clone(),
        })
        .collect();
    for (system, (spec, now)) in job.systems.iter().zip(nows).enumerate() {
        let identities = unkeyed_rows(job, system, now);
        report.quarantined.extend(now.clean.quarantined.iter().map(|row| {
            let unkeyed = identities.get(&row.line).filter(|_| row.key.is_none()).cloned();
            let row = crate::frame::Quarantined { key: row.key.as_deref().map(key_for_people), ..row.clone() };
            QuarantinedReport { system: spec.name.clone(), unkeyed, row }
        }));
        report.duplicates.extend(now.duplicates.iter().cloned());
        if now.clean.silent.count(Silence::Quarantined) > 0 && now.clean.silent.hides_a_key() {
            report.notes.push(format!(
                "`{}` has rows without a readable key: nothing new was created there, and nothing that is missing there was taken for deleted",
                spec.name
            ));
        }
        report.notes.extend(now.clean.pulled.evidence.notes.iter().map(|note| format!("`{}`: {note}", spec.name)));
    }
    report.stale = stale.to_vec();
    report.links = decisions.linked.events.iter().chain(&decisions.events).filter(|event| event.notable).cloned().collect();
    report.identities = identities.to_vec();
    if settlement.is_some() {
        let (roll_forward, of_breaks) = roll_forward(&report, earlier);
        report.roll_forward = Some(roll_forward);
        report.identities.extend(of_breaks);
    }

    let changes = report.changes.len();
    let people =
        |count: usize, one: &str, many: &str| if count == 1 { format!("1 {one}") } else { format!("{} {many}", crate::reconcile::gates::count(count as u64)) };
    let mut open = match report.calling().count() {
        0 => "nothing is open".to_owned(),
        count => format!("{} open", people(count, "break is", "breaks are")),
    };
    let set_aside =
        |is_snoozed: bool| report.breaks.iter().filter(|one| one.set_aside.as_ref().is_some_and(|aside| aside.until.is_some() == is_snoozed)).count();
    for (count, words) in [(set_aside(true), "snoozed"), (set_aside(false), "accepted")] {
        match count {
            0 => {}
            1 => open.push_str(&format!(", 1 is {words}")),
            more => open.push_str(&format!(", {} are {words}", crate::reconcile::gates::count(more as u64))),
        }
    }
    let written = report.changes.iter().filter(|c| matches!(c.settled, Some(crate::change::Settled::Verified | crate::change::Settled::Normalised))).count();
    let done = match (heading.dry_run, job.mode, changes) {
        (true, _, 0) => "a run would change nothing".to_owned(),
        (true, _, count) => format!("a run would make {}; nothing was written", people(count, "change", "changes")),
        (false, Mode::Audit, _) => "compared, nothing is ever written".to_owned(),
        (false, Mode::Sync, 0) => "nothing to do".to_owned(),
        (false, Mode::Sync, count) if written == count => format!("{} made and verified", people(count, "change", "changes")),
        (false, Mode::Sync, count) => format!("{written} of {} made and verified", people(count, "change", "changes")),
    };
    let tolerated = match report.tolerated.len() {
        0 => String::new(),
        count => format!(", {} within tolerance", people(count, "difference is", "differences are")),
    };
    let stale = match stale.len() {
        0 => String::new(),
        count => format!(", {} of the plan {} stale", people(count, "change", "changes"), if count == 1 { "is" } else { "are" }),
    };
    report.sentence = format!("{done}, {open}{tolerated}{stale}");
    report.verdict = if report.calling().next().is_some() {
        Verdict::Action
    } else if changes > 0 && !heading.dry_run {
        Verdict::Synced
    } else {
        Verdict::Ok
    };
    report.exit_code = u8::from(report.verdict == Verdict::Action);
    report
}

fn field_named<'j>(job: &'j Job, name: Option<&str>) -> Option<&'j Field> {
    job.fields.iter().find(|field| Some(field.name.as_str()) == name)
}

/// The currency of all amounts of a field, where the job names one.
fn only_currency(job: &Job, field: &str) -> Option<String> {
    match &field_named(job, Some(field))?.standards.currency {
        Some(Beside::Constant(code)) => Some(code.clone()),
        _ => None,
    }
}

/// Of several breaks of one record about the same amount, such as a value that two systems lack, one adds it to what is open: the
/// one with the largest amount, of equal ones that with the smallest id, so that it is the same one every night.
pub(super) fn tell_each_amount_once(breaks: &mut [BreakReport]) {
    let mut order: Vec<usize> = (0..breaks.len()).filter(|at| breaks[*at].at_stake().is_some_and(|amount| !amount.is_zero())).collect();
    order.sort_by(|a, b| breaks[*b].at_stake().cmp(&breaks[*a].at_stake()).then_with(|| breaks[*a].id.cmp(&breaks[*b].id)));
    let mut told = BTreeSet::new();
    for at in order {
        let one = &mut breaks[at];
        let of = if concerns_whole_record(&one.open) { None } else { one.open.field.clone() };
        one.repeats = !told.insert((one.open.key.clone(), of));
    }
}

/// Whether a break is about a record as a whole, so that all of its amount is at stake.
fn concerns_whole_record(open: &Break) -> bool {
    match open.kind {
        BreakKind::Missing | BreakKind::Orphan | BreakKind::Duplicate | BreakKind::Quarantined | BreakKind::Restored => true,
        BreakKind::Review | BreakKind::WriteRejected | BreakKind::WriteNotKept | BreakKind::Undone => open.field.is_none(),
        BreakKind::Amount
        | BreakKind::Field
        | BreakKind::Conflict
        | BreakKind::Cleared
        | BreakKind::Drift
        | BreakKind::Locked
        | BreakKind::SuggestedLink
        | BreakKind::Frozen => false,
    }
}

/// The control total that says what a break is worth: that of its field, for a whole record the first. A record that a system
/// lacks is worth nothing there if the system has no such amounts.
fn total_of(job: &Job, open: &Break) -> Option<usize> {
    if open.kind == BreakKind::Missing
        && let Some(system) = job.systems.iter().position(|system| Some(&system.name) == open.system.as_ref())
        && job.totals.first().is_some_and(|total| job.fields[total.field].columns[system].is_none())
    {
        return None;
    }
    let of_field = |name: &str| job.totals.iter().position(|total| job.fields[total.field].name == name);
    if concerns_whole_record(open) { (!job.totals.is_empty()).then_some(0) } else { of_field(open.field.as_deref()?) }
}

/// An amount with its currency.
type Stake = (Option<Decimal>, Option<String>);

/// What the records of breaks are worth, by key and control total: the amount with its group, from the first system whose row
/// of the record can be read.
fn stakes<'b>(job: &Job, nows: &[Keyed], decisions: &Decisions, breaks: &'b [Break]) -> BTreeMap<(&'b str, usize), Stake> {
    let mut stakes = BTreeMap::new();
    for (index, total) in job.totals.iter().enumerate() {
        let wanted: BTreeSet<&str> = breaks.iter().filter(|open| total_of(job, open) == Some(index)).map(|open| open.key.as_str()).collect();
        if wanted.is_empty() {
            continue;
        }
        for (system, now) in nows.iter().enumerate() {
            let Some(column) = &now.clean.fields[total.field] else { continue };
            for (record, row) in decisions.linked.now_rows[system].iter().enumerate().filter(|(_, row)| **row != NO_ROW) {
                let Some(key) = now.clean.keys.get(*row as usize).and_then(|key| wanted.get(key)) else { continue };
                let Some(amount) = column.value(*row).as_decimal() else { continue };
                stakes.entry((*key, index)).or_insert_with(|| {
                    let group = totals::group(job, total, system, record as u32, nows, &decisions.linked);
                    (Some(amount), total.by.map(|_| group))
                });
            }
        }
    }
    stakes
}

/// The differences that the job accepts, with the keys and names of people.
fn tolerated(job: &Job, nows: &[Keyed], decisions: &Decisions, before: &State) -> Vec<ToleratedReport> {
    let told = decisions.tolerated.iter().map(|one| ToleratedReport {
        key: key_for_people(decisions.linked.key(one.record, nows, &before.bases)),
        field: job.fields[one.field].name.clone(),
        system: job.systems[one.system].name.clone(),
        value: one.value.clone(),
        decided: one.decided.clone(),
        apart: one.value.as_decimal().zip(one.decided.as_decimal()).and_then(|(value, decided)| value.checked_sub(decided)),
    });
    let mut told: Vec<ToleratedReport> = told.collect();
    told.sort_by(|a, b| (&a.key, &a.field, &a.system).cmp(&(&b.key, &b.field, &b.system)));
    told
}

/// The currencies of the amounts that a report shows, by key for people and field: of fields whose currency the job names, and
/// of those that a control total groups, as far as their records show a group.
fn currencies(job: &Job, nows: &[Keyed], decisions: &Decisions, report: &Report) -> BTreeMap<(String, String), String> {
    let mut currencies = BTreeMap::new();
    let linked = &decisions.linked;
    let by_total = job.totals.iter().filter(|total| total.by.is_some()).map(|total| (&job.fields[total.field].name, Some(total)));
    let is_grouped = |name: &str| job.totals.iter().any(|total| total.by.is_some() && job.fields[total.field].name == name);
    let by_name = job.fields.iter().filter(|field| !is_grouped(&field.name) && only_currency(job, &field.name).is_some()).map(|field| (&field.name, None));
    for (field, total) in by_total.chain(by_name) {
        let changed = report.changes.iter().filter(|change| change.cells.iter().any(|cell| cell.field == *field)).map(|change| &change.key);
        let conflicts = report.conflicts.iter().filter(|one| one.field == *field).map(|one| &one.key);
        let drift = report.drift.iter().filter(|one| one.field == *field).map(|one| &one.key);
        let tolerated = report.tolerated.iter().filter(|one| one.field == *field).map(|one| &one.key);
        let open = report.breaks.iter().filter(|one| one.open.field.as_ref() == Some(field)).map(|one| &one.open.key);
        let wanted: HashSet<&str> = changed.chain(conflicts).chain(drift).chain(tolerated).chain(open).map(String::as_str).collect();
        if wanted.is_empty() {
            continue;
        }
        let Some(total) = total else {
            let code = only_currency(job, field).unwrap_or_default();
            currencies.extend(wanted.into_iter().map(|key| ((key.to_owned(), field.clone()), code.clone())));
            continue;
        };
        for (system, now) in nows.iter().enumerate() {
            for (record, row) in linked.now_rows[system].iter().enumerate().filter(|(_, row)| **row != NO_ROW) {
                let Some(key) = now.clean.keys.get(*row as usize) else { continue };
                let key = if key.contains(KEY_SEPARATOR) { Cow::Owned(key_for_people(key)) } else { Cow::Borrowed(key) };
                if wanted.contains(&*key) {
                    let group = totals::group(job, total, system, record as u32, nows, linked);
                    if !group.is_empty() {
                        currencies.entry((key.into_owned(), field.clone())).or_insert(group);
                    }
                }
            }
        }
    }
    currencies
}

fn has_arrived(settled: Settled) -> bool {
    matches!(settled, Settled::Verified | Settled::Normalised)
}

/// The newest edit time among the records of a snapshot.
fn newest_edit(now: &Keyed) -> Option<String> {
    let newest = now.clean.edited_at.as_ref()?.iter().flatten().max()?;
    jiff::Timestamp::from_microsecond(newest).ok().map(|instant| instant.to_string())
}

/// What verified writes of this run can have mended, by canonical key.
struct Mended<'c> {
    records: BTreeSet<&'c str>,
    whole_records: BTreeSet<&'c str>,
    fields: BTreeSet<(&'c str, &'c str)>,
}

impl<'c> Mended<'c> {
    fn by(arrived: &[&'c Change]) -> Mended<'c> {
        let mut mended = Mended { records: BTreeSet::new(), whole_records: BTreeSet::new(), fields: BTreeSet::new() };
        for change in arrived {
            mended.records.insert(&change.key);
            if change.action != Action::Update {
                mended.whole_records.insert(&change.key);
            }
            mended.fields.extend(change.cells.iter().filter_map(|cell| Some((change.key.as_str(), cell.field.as_deref()?))));
        }
        mended
    }

    fn mends(&self, open: &Break) -> bool {
        // Rows that cannot be read, and rows that share a key, are only ever mended by people.
        if matches!(open.kind, BreakKind::Quarantined | BreakKind::Duplicate | BreakKind::SuggestedLink) {
            return false;
        }
        match &open.field {
            Some(field) => self.fields.contains(&(open.key.as_str(), field.as_str())) || self.whole_records.contains(open.key.as_str()),
            None => self.records.contains(open.key.as_str()),
        }
    }
}

/// How the open breaks moved, and the fourth identity: for their number, and for the amount in each currency.
fn roll_forward(report: &Report, earlier: &BTreeMap<String, Earlier>) -> (RollForward, Vec<Identity>) {
    let cleared = |how: ClearedHow| report.cleared.iter().filter(|one| one.how == how).count() as u64;
    let new = |one: &&BreakReport| !earlier.contains_key(&one.id);
    let mut roll = RollForward {
        opening: earlier.len() as u64,
        new: report.breaks.iter().filter(new).count() as u64,
        cleared_by_us: cleared(ClearedHow::ByUs),
        cleared_at_source: cleared(ClearedHow::AtSource),
        turned: cleared(ClearedHow::Turned),
        closing: report.breaks.len() as u64,
        amounts: Vec::new(),
    };
    let mut identities = vec![Identity {
        name: "breaks".to_owned(),
        of: "all kinds".to_owned(),
        equation: format!(
            "{} opening + {} new - {} cleared by us - {} cleared at the source - {} of another kind now = {} closing",
            roll.opening, roll.new, roll.cleared_by_us, roll.cleared_at_source, roll.turned, roll.closing
        ),
        holds: roll.opening + roll.new == roll.cleared_by_us + roll.cleared_at_source + roll.turned + roll.closing,
    }];
    let mut sums: BTreeMap<String, AmountRoll> = BTreeMap::new();
    let mut overflowed: BTreeSet<String> = BTreeSet::new();
    let mut add = |currency: &str, part: fn(&mut AmountRoll) -> &mut Decimal, amount: Decimal| {
        let zero = Decimal::ZERO;
        let row = sums.entry(currency.to_owned()).or_insert_with(|| AmountRoll {
            currency: currency.to_owned(),
            opening: zero,
            new: zero,
            changed: zero,
            cleared_by_us: zero,
            cleared_at_source: zero,
            turned: zero,
            closing: zero,
        });
        let sum = part(row);
        match sum.checked_add(amount) {
            Some(added) => *sum = added,
            None => {
                overflowed.insert(currency.to_owned());
            }
        }
    };
    let minus = |amount: Decimal| Decimal { units: amount.units.checked_neg().unwrap_or(i128::MAX), scale: amount.scale };
    let stake = |amount: Option<Decimal>, currency: Option<&String>| amount.zip(currency.cloned());
    for known in earlier.values() {
        if let Some((amount, currency)) = stake(known.amount, known.currency.as_ref()) {
            add(&currency, |row| &mut row.opening, amount);
        }
    }
    for one in &report.breaks {
        let now = report.stake(one);
        if let Some((amount, currency)) = &now {
            add(currency, |row| &mut row.closing, *amount);
        }
        match earlier.get(&one.id) {
            None => {
                if let Some((amount, currency)) = &now {
                    add(currency, |row| &mut row.new, *amount);
                }
            }
            Some(known) => {
                let before = stake(known.amount, known.currency.as_ref());
                if before != now {
                    if let Some((amount, currency)) = &before {
                        add(currency, |row| &mut row.changed, minus(*amount));
                    }
                    if let Some((amount, currency)) = &now {
                        add(currency, |row| &mut row.changed, *amount);
                    }
                }
            }
        }
    }
    for one in &report.cleared {
        let Some((amount, currency)) = stake(one.amount, one.currency.as_ref()) else { continue };
        match one.how {
            ClearedHow::ByUs => add(&currency, |row| &mut row.cleared_by_us, amount),
            ClearedHow::AtSource => add(&currency, |row| &mut row.cleared_at_source, amount),
            ClearedHow::Turned => add(&currency, |row| &mut row.turned, amount),
        }
    }
    for row in sums.values() {
        let parts = [row.new, row.changed, minus(row.cleared_by_us), minus(row.cleared_at_source), minus(row.turned)];
        let expected = parts.into_iter().try_fold(row.opening, Decimal::checked_add);
        let shown = |amount: Decimal| amount.in_currency(Some(&row.currency));
        identities.push(Identity {
            name: "open amounts".to_owned(),
            of: row.currency.clone(),
            equation: format!(
                "{} opening + {} new + {} changed - {} cleared by us - {} cleared at the source - {} of another kind now = {} closing",
                shown(row.opening),
                shown(row.new),
                shown(row.changed),
                shown(row.cleared_by_us),
                shown(row.cleared_at_source),
                shown(row.turned),
                shown(row.closing)
            ),
            holds: !overflowed.contains(&row.currency) && expected == Some(row.closing),
        });
    }
    roll.amounts = sums.into_values().collect();
    (roll, identities)
}

/// Turns a finished report into that of a run which something stopped before the first write, or kept from a part of its writes.
pub fn stop_with(report: &mut Report, exit_code: u8, verdict: Verdict, sentence: String, diagnostics: Vec<Diagnostic>) {
    report.exit_code = exit_code;
    report.verdict = verdict;
    report.sentence = sentence;
    report.stopped_by = diagnostics;
}

/// Turns the report of a run that an error stopped into that of one which had begun to write by then.
pub fn stop_while_writing(report: &mut Report, error: &Error) {
    report.unsettled = true;
    report.sentence = format!("stopped after it had begun to write: {}; the next run finds out what was written", error.headline());
    for diagnostic in &mut report.stopped_by {
        // That was said of one file, and is read as being said of all.
        diagnostic.seen.retain(|line| !line.starts_with("nothing was"));
    }
    if let Some(last) = report.stopped_by.last_mut() {
        last.seen.push("what had been sent by then is found out and settled by the next run".to_owned());
    }
}

/// What the job file says, in plain words, a sentence each.
fn rules(job: &Job) -> Vec<String> {
    let name = |system: usize| format!("`{}`", job.systems[system].name);
    let names = |systems: &[usize]| systems.iter().map(|s| name(*s)).collect::<Vec<_>>().join(", ");
    let key: Vec<String> = job.key.iter().map(|field| format!("`{}`", job.fields[*field].name)).collect();
    let mut rules = vec![format!("A record is identified by {}.", key.join(" and "))];
    for system in &job.systems {
        let what = match system.role {
            _ if job.mode == Mode::Audit => "is compared, and never written",
            Role::Source => "decides, and is never written",
            Role::Target => "is written, and decides nothing: its edits are drift",
            Role::Peer => "decides and is written",
            Role::Witness => "is only compared",
        };
        let mut rule = format!("`{}` {what}", system.name);
        for (action, permission) in [("created", system.may.create), ("updated", system.may.update), ("deleted", system.may.delete)] {
            if system.role.is_written() && permission != Permission::Apply && job.mode == Mode::Sync {
                rule.push_str(&match permission {
                    Permission::Never => format!("; records are never {action} there"),
                    _ => format!("; records are {action} there only by a person"),
                });
            }
        }
        for (column, values) in &system.only {
            rule.push_str(&format!("; only rows whose `{column}` is {} are in scope", values.join(" or ")));
        }
        rules.push(format!("{rule}."));
    }
    rules.extend(job.fields.iter().map(|field| field_rule(job, field, &names)));
    rules.push(
        match job.dedupe {
            Dedupe::Refuse => "Several different rows with one key: their record is left alone in every system.",
            Dedupe::Latest => "Several different rows with one key: the one edited last speaks, the others stay where they are.",
            Dedupe::MostComplete => "Several different rows with one key: the one with the fewest empty fields speaks, the others stay where they are.",
        }
        .to_owned(),
    );
    rules.push(match &job.deletes {
        Deletes::Report => "A record deleted in one system is reported, and deleted nowhere else.".to_owned(),
        Deletes::Propagate => "A record deleted in one system is deleted in the others, unless it was edited there.".to_owned(),
        Deletes::Archive { field, value } => format!("A record deleted in one system gets `{}` = `{value}` in the others.", job.fields[*field].name),
        Deletes::Recreate => "A record deleted in one system is created there again.".to_owned(),
    });
    rules
}

fn field_rule(job: &Job, field: &Field, names: &dyn Fn(&[usize]) -> String) -> String {
    let mut rule = format!("`{}` ({}): ", field.name, field.field_type);
    let words: Vec<String> = field
        .merge
        .iter()
        .map(|merge| match merge {
            MergeRule::Priority(order) => format!("the first of {}", names(order)),
            MergeRule::Latest => "the newest edit".to_owned(),
            MergeRule::Max => "the largest value".to_owned(),
            MergeRule::Min => "the smallest value".to_owned(),
            MergeRule::Longest => "the longest text".to_owned(),
            MergeRule::Union => "all items of all lists".to_owned(),
            MergeRule::SumOfChanges => "the sum of all changes".to_owned(),
            MergeRule::MostRestrictive(order) => format!("the first of {}", order.iter().map(|v| format!("`{v}`")).collect::<Vec<_>>().join(", ")),
            MergeRule::Review => "a person decides".to_owned(),
        })
        .collect();
    if job.mode == Mode::Audit {
        rule.push_str("compared");
    } else if field.owner.is_empty() {
        rule.push_str(&format!("an edit goes to all; where several differ: {}", words.join(", else ")));
    } else {
        match field.owner.as_slice() {
            [_] => rule.push_str(&format!("owned by {}", names(&field.owner))),
            several => rule.push_str(&format!("owned by the first of {} in which the record is", names(several))),
        }
    }
    if let Some(tolerance) = field.tolerance {
        use crate::value::Tolerance;
        let within = match tolerance {
            Tolerance::Absolute(most) => most.to_string(),
            Tolerance::Percent(most) => format!("{most} %"),
            Tolerance::Span(micros) => format!("{} s", micros / 1_000_000),
        };
        rule.push_str(&format!("; differences up to {within} are accepted"));
    }
    match field.blank {
        Some(Blank::Ignore) => rule.push_str("; an empty value is no edit"),
        Some(Blank::Propagate) => rule.push_str("; an empty value is a value like any other"),
        Some(Blank::Conflict) | None => {}
    }
    if field.on_drift == OnDrift::Report && job.mode == Mode::Sync {
        rule.push_str("; drift is only reported");
    }
    if field.important {
        rule.push_str("; its differences are told before all others");
    }
    match field.first_contact {
        FirstContact::Decide => {}
        FirstContact::FillBlanks => rule.push_str("; at first contact only empty values are filled"),
        FirstContact::Review => rule.push_str("; at first contact every difference waits"),
    }
    format!("{rule}.")
}
