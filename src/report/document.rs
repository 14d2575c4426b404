//! What a report says and in which order, before anybody lays it out: sections of lines, tables and lists.
//!
//! Every text that enters a [`Piece`] goes through [`shown::visible`] here, so that a renderer only has to escape what its
//! own format reserves. An [`Extent`] says how much is shown; rows beyond it are counted, never dropped in silence.
//!
//! # Design
//! Long texts are compared before they are shortened, so that a difference at their end is never cut off.

use std::collections::BTreeMap;

use similar::{ChangeTag, TextDiff};

use super::shown::{self, EMPTY, count, plural};
use super::{AmountRoll, BreakReport, ChangeReport, JobChange, Report, RollForward, SetAside, TotalReport, Verdict, severity};
use crate::change::{Action, Break, BreakKind, Settled, SystemValue, key_for_people};
use crate::diagnostic::Diagnostic;
use crate::value::{Decimal, Value};

/// A stretch of a line. The texts are visible already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Our own words; names stand in backticks.
    Words(String),
    /// What a system holds, or a key.
    Held(String),
    /// No value.
    Empty,
    /// Words that are gone from a long text.
    Removed(String),
    /// Words that are new in a long text.
    Added(String),
    /// Less important.
    Quiet(String),
    /// Holds, arrived.
    Good(String),
    /// Does not hold, did not arrive.
    Bad(String),
    /// A line for a person to write on.
    ToSign,
}

pub(super) type Line = Vec<Piece>;

fn words(text: impl AsRef<str>) -> Piece {
    Piece::Words(shown::visible(text.as_ref()).into_owned())
}

fn quiet(text: impl AsRef<str>) -> Piece {
    Piece::Quiet(shown::visible(text.as_ref()).into_owned())
}

/// A cell of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub line: Line,
    /// A number or an amount.
    pub right: bool,
    /// How many columns it takes.
    pub span: usize,
    /// The same as in the row above: the cell above reaches down here.
    pub above: bool,
}

fn cell(piece: Piece) -> Cell {
    line_cell(vec![piece])
}

fn line_cell(line: Line) -> Cell {
    Cell { line, right: false, span: 1, above: false }
}

fn number(text: String) -> Cell {
    Cell { line: vec![Piece::Held(text)], right: true, span: 1, above: false }
}

fn above() -> Cell {
    Cell { line: Vec::new(), right: false, span: 1, above: true }
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub heading: String,
    pub right: bool,
}

fn column(heading: &str) -> Column {
    Column { heading: shown::visible(heading).into_owned(), right: false }
}

fn number_column(heading: &str) -> Column {
    Column { heading: shown::visible(heading).into_owned(), right: true }
}

/// A table with a caption. The first cell of each row names the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub caption: String,
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Cell>>,
    /// Rows whose numbers are results: set apart.
    pub results: Vec<usize>,
}

impl Table {
    /// Puts the heading of each column that holds only numbers to their side.
    fn with_headings_over_numbers(mut self) -> Table {
        let mut rights: Vec<(bool, bool)> = vec![(false, true); self.columns.len()];
        for row in &self.rows {
            let mut at = 0;
            for cell in row {
                if cell.span == 1
                    && !cell.above
                    && let Some((any, all)) = rights.get_mut(at)
                {
                    *any |= cell.right;
                    *all &= cell.right;
                }
                at += cell.span;
            }
        }
        for (column, (any, all)) in self.columns.iter_mut().zip(rights) {
            column.right |= any && all;
        }
        self
    }
}

/// One thing that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Need {
    pub id: String,
    pub what: Line,
    pub age: String,
    pub amount: Option<String>,
    pub values: Line,
    pub why: Line,
    pub next: Line,
}

/// A line of a unified diff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Removed,
    Added,
    Place,
    Same,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// A sentence or two.
    Line(Line),
    /// What does not fit into the extent: `… 34 more in report.html`.
    More(String),
    /// A heading within a section.
    Heading(String),
    Table(Table),
    Needs(Vec<Need>),
    /// Names with what they stand for.
    Facts(Vec<(String, Line)>),
    List(Vec<Line>),
    Diff(Vec<(Side, String)>),
    Diagnostic(Diagnosed),
}

/// What stopped a run, made visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Diagnosed {
    pub place: String,
    pub message: Line,
    pub seen: Vec<Line>,
    pub hint: Option<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// Names the section in a link; unique.
    pub anchor: &'static str,
    pub title: String,
    /// How many things it lists.
    pub count: Option<u64>,
    pub blocks: Vec<Block>,
}

/// One of the four numbers at the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Figure {
    pub label: &'static str,
    pub number: String,
    pub note: String,
}

/// A whole report, ready to be laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Document {
    pub verdict: Verdict,
    pub job: String,
    pub run: String,
    pub started: String,
    pub version: String,
    pub description: Option<String>,
    pub contact: Option<String>,
    pub sentence: Line,
    pub figures: Vec<Figure>,
    /// What must be known before anything else: equations that do not hold, gates that were allowed, what did not happen.
    pub remarks: Vec<Line>,
    pub sections: Vec<Section>,
}

/// How much of a report is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// Rows of one list.
    pub rows_max: usize,
    /// Characters of one value.
    pub characters_max: usize,
    /// Only what belongs on the first screen.
    pub one_screen: bool,
    /// Whether a table may have sentences in its last column.
    pub wide: bool,
    /// Where the rest is.
    pub rest: &'static str,
}

/// What waits for a person is never longer than a person's attention.
const NEEDS_MAX: usize = 10;

/// The document of a report that is masked already.
pub(super) fn document(report: &Report, extent: Extent) -> Document {
    let page = Page { report, extent };
    let mut sections = vec![page.stopped_by(), page.needs(), page.totals(), page.counts(), page.breaks()];
    sections.extend([page.changes(), page.conflicts(), page.drift(), page.tolerance()]);
    sections.extend([page.quality(), page.failed_writes(), page.job_change()]);
    sections.extend([page.identities(), page.evidence(), page.rules(), page.sign_off()]);
    let mut sections: Vec<Section> = sections.into_iter().flatten().collect();
    if extent.one_screen {
        sections.retain(|section| matches!(section.anchor, "stopped" | "needs" | "totals" | "changes" | "failed"));
    }
    Document {
        verdict: report.verdict,
        job: shown::visible(&report.job).into_owned(),
        run: shown::visible(&report.run).into_owned(),
        started: shown::visible(&report.started).into_owned(),
        version: shown::visible(&report.version).into_owned(),
        description: report.description.as_deref().map(|text| shown::visible(text).into_owned()),
        contact: report.contact.as_deref().map(|text| shown::visible(text).into_owned()),
        sentence: vec![words(&report.sentence)],
        figures: figures(report),
        remarks: page.remarks(),
        sections,
    }
}

/// How many changes were planned, arrived, failed, and may have been written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Writes {
    pub planned: u64,
    pub arrived: u64,
    pub failed: u64,
    /// Written or possibly written.
    pub touched: u64,
    pub unknown: u64,
    pub deletes_sent: u64,
}

pub(super) fn writes(report: &Report) -> Writes {
    let mut writes = Writes::default();
    for change in &report.changes {
        writes.planned += 1;
        let Some(settled) = change.settled else { continue };
        writes.arrived += u64::from(shown::arrived(settled));
        writes.failed += u64::from(!shown::arrived(settled));
        let touched = !matches!(settled, Settled::Rejected | Settled::Stale | Settled::Skipped);
        writes.touched += u64::from(touched);
        writes.unknown += u64::from(settled == Settled::Unknown);
        writes.deletes_sent += u64::from(touched && change.action == Action::Delete);
    }
    writes
}

/// How many breaks were new in this run.
pub(super) fn breaks_new(report: &Report) -> u64 {
    report.breaks.iter().filter(|one| one.first_run == report.run).count() as u64
}

/// The open amounts by currency, of breaks whose amount and currency are known. Never netted, neither across currencies nor
/// within one: two breaks of opposite sign are two problems.
pub(super) fn open_amounts(report: &Report) -> BTreeMap<String, Decimal> {
    let mut sums: BTreeMap<String, Decimal> = BTreeMap::new();
    for one in &report.breaks {
        let Some((amount, currency)) = report.stake(one).filter(|(amount, _)| !amount.is_zero()) else { continue };
        let sum = sums.entry(currency).or_insert(Decimal::ZERO);
        *sum = sum.checked_add(amount).unwrap_or(*sum);
    }
    sums
}

/// The open amounts in one line; empty if there are none.
pub(super) fn open_line(report: &Report) -> String {
    let sums = open_amounts(report);
    let shown: Vec<String> = sums.iter().take(3).map(|(currency, sum)| shown::money(*sum, Some(currency))).collect();
    let more = sums.len().saturating_sub(3) as u64;
    if more > 0 { format!("{} and {}", shown.join(", "), plural(more, "more currency", "more currencies")) } else { shown.join(", ") }
}

/// The breaks in the order in which a person should look at them, last those that somebody set aside: those in fields that the job calls important, then by
/// severity, then amount, then age. Plain differences, a record that is missing among them, are of one severity here: what
/// they are worth tells them apart. Money comes before numbers that count something else.
pub(super) fn most_urgent(report: &Report) -> Vec<&BreakReport> {
    let class = |one: &BreakReport| match one.open.kind {
        BreakKind::Missing | BreakKind::Amount | BreakKind::Field => severity(BreakKind::Missing),
        other => severity(other),
    };
    let mut breaks: Vec<(&BreakReport, Option<Decimal>)> = report.breaks.iter().map(|one| (one, one.at_stake())).collect();
    breaks.sort_by(|(a, a_amount), (b, b_amount)| {
        (a.set_aside.is_some().cmp(&b.set_aside.is_some()))
            .then_with(|| b.important.cmp(&a.important))
            .then_with(|| class(a).cmp(&class(b)))
            .then_with(|| (b_amount.is_some() && b.unit.is_none()).cmp(&(a_amount.is_some() && a.unit.is_none())))
            .then_with(|| b_amount.cmp(a_amount))
            .then_with(|| severity(a.open.kind).cmp(&severity(b.open.kind)))
            .then_with(|| b.age_days.cmp(&a.age_days))
            .then_with(|| (&a.open.key, &a.open.field, &a.id).cmp(&(&b.open.key, &b.open.field, &b.id)))
    });
    breaks.into_iter().map(|(one, _)| one).collect()
}

/// What did not happen, a sentence each.
pub(super) fn not_done(report: &Report) -> Vec<String> {
    let writes = writes(report);
    let mut sentences = Vec::new();
    if report.dry_run {
        sentences.push("Dry run: nothing was written.".to_owned());
    } else if report.audit {
        sentences.push("Audit: nothing was written.".to_owned());
    } else if report.unsettled {
        sentences.push("Changes had been sent when it stopped: the next run finds out what became of them.".to_owned());
    } else if writes.touched == 0 {
        sentences.push("Nothing was written.".to_owned());
    } else if writes.deletes_sent == 0 {
        sentences.push("No deletes.".to_owned());
    }
    if writes.unknown > 0 {
        sentences.push(format!("Nobody knows whether {} arrived.", plural(writes.unknown, "write", "writes")));
    }
    sentences
}

/// `3 breaks`, with the amounts that are open.
fn figures(report: &Report) -> Vec<Figure> {
    let writes = writes(report);
    let open = report.breaks.len() as u64;
    let movement = shown::movement(breaks_new(report), report.cleared.len() as u64);
    let amounts = open_line(report);
    let changed = if report.dry_run || (writes.planned > 0 && report.changes.iter().all(|change| change.settled.is_none())) {
        Figure { label: "Would change", number: count(writes.planned), note: "not sent".to_owned() }
    } else if writes.planned == 0 {
        Figure { label: "Changed", number: "0".to_owned(), note: "none planned".to_owned() }
    } else {
        Figure { label: "Changed", number: count(writes.arrived), note: format!("of {} planned", count(writes.planned)) }
    };
    let systems = plural(report.systems.len() as u64, "system", "systems");
    let records = match report.was_compared() {
        true => Figure { label: "Records", number: count(report.records), note: format!("in {systems}") },
        false => Figure { label: "Records", number: "–".to_owned(), note: format!("{systems}, not compared") },
    };
    vec![
        records,
        changed,
        Figure { label: "Open breaks", number: count(open), note: if amounts.is_empty() { movement } else { format!("{movement} · {amounts}") } },
        Figure {
            label: "Failed writes",
            number: count(writes.failed),
            note: if writes.failed == 0 { "none".to_owned() } else { "each is an open break".to_owned() },
        },
    ]
}

/// Changes by action, in words: `2 creates, 38 updates`.
pub(super) fn actions<'a>(changes: impl Iterator<Item = &'a ChangeReport>) -> String {
    let mut counts: BTreeMap<Action, u64> = BTreeMap::new();
    for change in changes {
        *counts.entry(change.action).or_default() += 1;
    }
    let parts: Vec<String> = counts.iter().map(|(action, number)| plural(*number, &action.to_string(), &format!("{action}s"))).collect();
    parts.join(", ")
}

fn outcomes<'a>(changes: impl Iterator<Item = &'a ChangeReport>) -> String {
    let mut counts: BTreeMap<Settled, u64> = BTreeMap::new();
    let mut not_sent = 0;
    for change in changes {
        match change.settled {
            Some(settled) => *counts.entry(settled).or_default() += 1,
            None => not_sent += 1,
        }
    }
    let mut parts: Vec<String> = counts.iter().map(|(settled, number)| format!("{} {settled}", count(*number))).collect();
    if not_sent > 0 {
        parts.push(format!("{} not sent", count(not_sent)));
    }
    parts.join(", ")
}

/// The names of the systems that hold changes, in the order of the changes.
pub(super) fn systems_changed(report: &Report) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for system in &report.systems {
        if report.changes.iter().any(|change| change.system == system.name) {
            names.push(&system.name);
        }
    }
    // A change of a system that is not among the systems is still shown.
    for change in &report.changes {
        if names.last() != Some(&change.system.as_str()) && !names.contains(&change.system.as_str()) {
            names.push(&change.system);
        }
    }
    names
}

/// The groups of control totals: field and group, with the totals of its systems in the report's order.
pub(super) fn total_groups(report: &Report) -> Vec<(&str, Option<&str>, Vec<&TotalReport>)> {
    let mut groups: Vec<(&str, Option<&str>, Vec<&TotalReport>)> = Vec::new();
    let mut places: BTreeMap<(&str, Option<&str>), usize> = BTreeMap::new();
    for total in &report.totals {
        let name = (total.field.as_str(), total.group.as_deref());
        let place = *places.entry(name).or_insert_with(|| {
            groups.push((name.0, name.1, Vec::new()));
            groups.len() - 1
        });
        groups[place].2.push(total);
    }
    groups
}

/// What became of the change of a cell, by system, key for people, and field.
pub(super) fn outcomes_by_cell(report: &Report) -> BTreeMap<(&str, String, &str), Option<Settled>> {
    let mut outcomes = BTreeMap::new();
    for change in &report.changes {
        for one in &change.cells {
            outcomes.insert((change.system.as_str(), key_for_people(&change.key), one.field.as_str()), change.settled);
        }
    }
    outcomes
}

/// Changes that did not arrive, and those that did after they had been sent in vain before.
pub(super) fn failed_and_retried(report: &Report) -> impl Iterator<Item = &ChangeReport> {
    report.changes.iter().filter(|change| change.settled.is_some_and(|settled| !shown::arrived(settled) || change.attempts > 0))
}

/// By the days that a break is open: what a bucket is called, and its last day.
pub(super) const AGE_BUCKETS: [(&str, i64); 7] = [("0–1", 1), ("2–7", 7), ("8–30", 30), ("31–60", 60), ("61–90", 90), ("91–180", 180), ("over 180", i64::MAX)];

/// The bucket of an age, as its place in [`AGE_BUCKETS`].
pub(super) fn age_bucket(days: i64) -> usize {
    AGE_BUCKETS.iter().position(|(_, last)| days <= *last).unwrap_or(AGE_BUCKETS.len() - 1)
}

/// The open breaks by age: how many, and what is at stake in each currency.
pub(super) struct Ageing {
    pub counts: [u64; AGE_BUCKETS.len()],
    pub amounts: BTreeMap<String, [Decimal; AGE_BUCKETS.len()]>,
}

pub(super) fn ageing(report: &Report) -> Ageing {
    let mut ageing = Ageing { counts: [0; AGE_BUCKETS.len()], amounts: BTreeMap::new() };
    for one in &report.breaks {
        let bucket = age_bucket(one.age_days);
        ageing.counts[bucket] += 1;
        if let Some((amount, currency)) = report.stake(one).filter(|(amount, _)| !amount.is_zero()) {
            let sum = &mut ageing.amounts.entry(currency).or_insert([Decimal::ZERO; AGE_BUCKETS.len()])[bucket];
            *sum = sum.checked_add(amount).unwrap_or(*sum);
        }
    }
    ageing
}

/// Who signs a report.
pub(super) const SIGNATURES: [&str; 3] = ["Prepared", "Reviewed", "Approved"];

/// The job file before and now as a unified diff.
pub(super) fn unified(change: &JobChange) -> Vec<(Side, String)> {
    let diff = TextDiff::from_lines(change.before.as_str(), change.after.as_str());
    let unified = diff.unified_diff().context_radius(3).header("the run before", "now").to_string();
    let sided = unified.lines().enumerate().map(|(place, line)| {
        let side = match line.chars().next() {
            _ if place < 2 => Side::Place,
            Some('-') => Side::Removed,
            Some('+') => Side::Added,
            Some('@') => Side::Place,
            _ => Side::Same,
        };
        (side, line.to_owned())
    });
    sided.collect()
}

/// What must be known before anything else, of a report that is masked already.
pub(super) fn remarks(report: &Report, extent: Extent) -> Vec<Line> {
    Page { report, extent }.remarks()
}

/// The texts of one field before and after in one line, word by word; nothing where one of them is no long text, or where
/// they have too little in common to be compared.
pub(super) fn comparison(before: &Value, after: &Value, extent: Extent) -> Option<Line> {
    const LONG_CHARACTERS_MIN: usize = 40;
    const COMPARED_BYTES_MAX: usize = 40_000;
    const CONTEXT_CHARACTERS: usize = 60;
    const COMMON_RATIO_MIN: f32 = 0.3;
    let (Value::Text(before), Value::Text(after)) = (before, after) else { return None };
    let long = before.chars().count().max(after.chars().count()) >= LONG_CHARACTERS_MIN;
    if !long || before.len().max(after.len()) > COMPARED_BYTES_MAX {
        return None;
    }
    let diff = TextDiff::from_words(before.as_str(), after.as_str());
    if diff.ratio() < COMMON_RATIO_MIN {
        return None;
    }
    let mut runs: Vec<(ChangeTag, String)> = Vec::new();
    for change in diff.iter_all_changes() {
        match runs.last_mut() {
            Some((tag, text)) if *tag == change.tag() => text.push_str(change.value()),
            _ => runs.push((change.tag(), change.value().to_owned())),
        }
    }
    let last = runs.len().saturating_sub(1);
    let line = runs.iter().enumerate().map(|(place, (tag, text))| match tag {
        ChangeTag::Delete => Piece::Removed(shown::cut(&shown::visible(text), extent.characters_max)),
        ChangeTag::Insert => Piece::Added(shown::cut(&shown::visible(text), extent.characters_max)),
        ChangeTag::Equal => {
            let characters = text.chars().count();
            if characters <= 2 * CONTEXT_CHARACTERS + 10 {
                return Piece::Held(shown::visible(text).into_owned());
            }
            let head: String = if place == 0 { String::new() } else { text.chars().take(CONTEXT_CHARACTERS).collect() };
            let tail: String = if place == last { String::new() } else { text.chars().skip(characters - CONTEXT_CHARACTERS).collect() };
            Piece::Held(format!("{}…{}", shown::visible(&head), shown::visible(&tail)))
        }
    });
    Some(line.collect())
}

struct Page<'a> {
    report: &'a Report,
    extent: Extent,
}

impl Page<'_> {
    fn text(&self, text: &str) -> String {
        shown::cut(&shown::visible(text), self.extent.characters_max)
    }

    fn held(&self, value: &Value) -> Piece {
        if value.is_null() { Piece::Empty } else { Piece::Held(self.text(&shown::value(value))) }
    }

    fn key(&self, key: &str) -> Piece {
        Piece::Held(self.text(&key_for_people(key)))
    }

    fn is_numeric(&self, field: &str, value: &Value) -> bool {
        matches!(value, Value::Decimal(_) | Value::Integer(_)) || (value.is_null() && self.report.numeric.iter().any(|name| name == field))
    }

    /// What a record holds in a field: an amount with the decimals of its currency.
    fn held_in(&self, key: &str, field: &str, value: &Value) -> Piece {
        match (value, self.report.currencies.get(&(key.to_owned(), field.to_owned()))) {
            (Value::Decimal(amount), Some(currency)) => Piece::Held(shown::amount(*amount, Some(currency))),
            _ => self.held(value),
        }
    }

    fn value_cell(&self, key: &str, field: &str, value: &Value) -> Cell {
        Cell { right: self.is_numeric(field, value), ..cell(self.held_in(key, field, value)) }
    }

    fn values(&self, key: &str, field: &str, values: &[SystemValue]) -> Line {
        let mut line = Line::new();
        for (place, held) in values.iter().enumerate() {
            if place > 0 {
                line.push(quiet("  ·  "));
            }
            line.push(quiet(format!("{} ", held.system)));
            line.push(self.held_in(key, field, &held.value));
        }
        line
    }

    fn values_of(&self, open: &Break) -> Line {
        self.values(&open.key, open.field.as_deref().unwrap_or_default(), &open.values)
    }

    /// The line that says how many of `all` are not shown.
    fn more(&self, all: usize, shown: usize) -> Option<Block> {
        (all > shown).then(|| Block::More(format!("… {} more in {}", shown::count_of(all - shown), self.extent.rest)))
    }

    /// A table of at most as many rows as fit, then how many more there are.
    fn table<T>(&self, caption: &str, columns: Vec<Column>, all: &[T], row: impl Fn(&T) -> Vec<Cell>) -> Vec<Block> {
        let rows: Vec<Vec<Cell>> = all.iter().take(self.extent.rows_max).map(row).collect();
        let shown = rows.len();
        let table = Table { caption: shown::visible(caption).into_owned(), columns, rows, results: Vec::new() };
        std::iter::once(Block::Table(table.with_headings_over_numbers())).chain(self.more(all.len(), shown)).collect()
    }

    fn remarks(&self) -> Vec<Line> {
        let report = self.report;
        let mut remarks: Vec<Line> = Vec::new();
        for identity in report.identities.iter().filter(|identity| !identity.holds).take(self.extent.rows_max.min(10)) {
            remarks.push(vec![
                Piece::Bad("Does not tie out".to_owned()),
                words(format!(": {} of {}: ", identity.name, identity.of)),
                Piece::Held(self.text(&identity.equation)),
            ]);
        }
        let mut incomplete: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for total in report.totals.iter().filter(|total| total.incomplete) {
            incomplete.entry((&total.field, &total.system)).or_default().push(total.group.as_deref().unwrap_or_default());
        }
        for ((field, system), groups) in incomplete.into_iter().take(5) {
            let all = report.totals.iter().filter(|total| total.field == field && total.system == system).count();
            let some = format!(" in {}", groups.iter().map(|group| if group.is_empty() { "no currency" } else { group }).collect::<Vec<_>>().join(", "));
            let of = if groups.len() == all { String::new() } else { self.text(&some) };
            remarks.push(vec![words(format!(
                "The totals of `{field}` in `{system}`{of} are incomplete: rows whose amount could not be read are missing from them."
            ))]);
        }
        remarks.extend(
            report
                .allowed
                .iter()
                .take(self.extent.rows_max)
                .map(|gate| vec![Piece::Bad("Allowed to pass".to_owned()), words(format!(": {}", self.text(gate)))]),
        );
        let not_done = not_done(report);
        if !not_done.is_empty() {
            remarks.push(vec![words(not_done.join(" "))]);
        }
        remarks.extend(report.notes.iter().take(self.extent.rows_max).map(|note| vec![words(self.text(note))]));
        remarks
    }

    fn diagnosed(&self, diagnostic: &Diagnostic) -> Diagnosed {
        Diagnosed {
            place: self.text(&diagnostic.place.to_string()),
            message: vec![words(self.text(&diagnostic.message))],
            seen: diagnostic.seen.iter().take(self.extent.rows_max.max(4)).map(|line| vec![words(self.text(line))]).collect(),
            hint: diagnostic.hint.as_deref().map(|hint| vec![words(self.text(hint))]),
        }
    }

    fn stopped_by(&self) -> Option<Section> {
        let all = &self.report.stopped_by;
        let shown = all.len().min(self.extent.rows_max);
        let blocks: Vec<Block> = all.iter().take(shown).map(|one| Block::Diagnostic(self.diagnosed(one))).chain(self.more(all.len(), shown)).collect();
        section("stopped", "What stopped the run", None, blocks)
    }

    fn break_subject(&self, open: &Break) -> Line {
        let mut line = vec![self.key(&open.key)];
        if let Some(field) = &open.field {
            line.push(words(format!(", {field}")));
        }
        if let Some(system) = &open.system {
            line.push(quiet(format!(" in {system}")));
        }
        line
    }

    fn break_amount(&self, one: &BreakReport) -> Option<String> {
        let amount = one.at_stake()?;
        Some(match &one.unit {
            Some(unit) => format!("{} {}", shown::decimal(shown::without_idle_zeros(amount)), self.text(unit)),
            None => shown::money(amount, self.report.currency_of(one).as_deref()),
        })
    }

    fn age(&self, one: &BreakReport) -> String {
        if one.first_run == self.report.run { "new".to_owned() } else { shown::days(one.age_days) }
    }

    fn needs(&self) -> Option<Section> {
        let urgent: Vec<&BreakReport> = most_urgent(self.report).into_iter().filter(|one| one.set_aside.is_none()).collect();
        let needs: Vec<Need> = urgent
            .iter()
            .take(NEEDS_MAX)
            .map(|one| {
                let mut what = vec![words(capitalised(kind_words(one))), quiet(if one.important { " · important · " } else { " · " })];
                what.extend(self.break_subject(&one.open));
                Need {
                    id: self.text(&one.id),
                    what,
                    age: self.age(one),
                    amount: self.break_amount(one),
                    values: self.values_of(&one.open),
                    why: vec![words(self.text(&one.open.why))],
                    next: vec![words(self.text(&one.open.next_step))],
                }
            })
            .collect();
        let shown = needs.len();
        let mut blocks = if needs.is_empty() { Vec::new() } else { vec![Block::Needs(needs)] };
        if urgent.len() > shown {
            let rest = if self.extent.one_screen { self.extent.rest } else { "the list of open breaks" };
            blocks.push(Block::More(format!("… {} more in {rest}", shown::count_of(urgent.len() - shown))));
        }
        section("needs", "Needs you", Some(urgent.len() as u64), blocks)
    }

    fn totals(&self) -> Option<Section> {
        let groups = total_groups(self.report);
        let mut blocks = Vec::new();
        let groups_max = (self.extent.rows_max / 2).clamp(1, 200);
        for (field, group, totals) in groups.iter().take(groups_max) {
            blocks.push(Block::Table(self.total_table(field, *group, totals)));
        }
        blocks.extend(self.more(groups.len(), groups.len().min(groups_max)));
        section("totals", "Control totals", None, blocks)
    }

    fn total_table(&self, field: &str, group: Option<&str>, totals: &[&TotalReport]) -> Table {
        let caption = match (group, self.report.units.get(field)) {
            (Some(group), Some(unit)) => format!("{field}, {}, in {}", self.text(group), self.text(unit)),
            (Some(group), None) => format!("{field}, {}", self.text(group)),
            (None, Some(unit)) => format!("{field}, in {}", self.text(unit)),
            (None, None) => field.to_owned(),
        };
        let mut columns = vec![column("")];
        columns.extend(totals.iter().map(|total| number_column(&total.system)));
        let mut rows: Vec<Vec<Cell>> = Vec::new();
        let mut results = Vec::new();
        type Amount = fn(&TotalReport) -> Option<Decimal>;
        let movement: [(&str, Amount); 9] = [
            ("Opening", |total| total.opening),
            ("+ appeared", |total| Some(total.appeared)),
            ("− vanished", |total| Some(total.vanished)),
            ("± changed", |total| Some(total.changed)),
            ("− set aside tonight", |total| Some(total.set_aside)),
            ("+ returned", |total| Some(total.returned)),
            ("Read tonight", |total| Some(total.closing)),
            ("± our writes", |total| Some(total.written)),
            ("Closing", |total| Some(total.after)),
        ];
        for (place, (label, amount)) in movement.iter().enumerate() {
            let amounts: Vec<Option<Decimal>> = totals.iter().map(|total| amount(total)).collect();
            let is_read = place == movement.len() - 3;
            let moves = !(place == 0 || is_read || place == movement.len() - 1);
            if is_read && totals.iter().all(|total| total.written.is_zero()) {
                continue;
            }
            if moves && amounts.iter().flatten().all(|amount| amount.is_zero()) {
                continue;
            }
            if !moves {
                results.push(rows.len());
            }
            let mut row = vec![cell(words(label))];
            row.extend(amounts.iter().map(|amount| match amount {
                Some(amount) => number(shown::amount(*amount, group)),
                None => Cell { right: true, ..cell(quiet("first contact")) },
            }));
            rows.push(row);
        }
        let any_held = totals.iter().any(|total| total.held_records > 0);
        if any_held {
            let mut row = vec![cell(words("+ held, of no record"))];
            row.extend(totals.iter().map(|total| match total.held_records {
                0 => number(shown::amount(total.held, group)),
                _ => Cell { right: true, ..cell(Piece::Bad(shown::amount(total.held, group))) },
            }));
            rows.push(row);
            results.push(rows.len());
            let mut row = vec![cell(words("Closing with them"))];
            row.extend(totals.iter().map(|total| number(total.with_held().map_or_else(|| "too large".to_owned(), |sum| shown::amount(sum, group)))));
            rows.push(row);
        }
        if let [reference, others @ ..] = totals
            && !others.is_empty()
        {
            let mut row = vec![cell(words(format!("Difference to `{}`", reference.system))), Cell { right: true, ..cell(quiet("–")) }];
            let apart = |total: &TotalReport| total.with_held()?.checked_sub(reference.with_held()?);
            row.extend(others.iter().map(|total| match apart(total) {
                Some(apart) if apart.is_zero() => Cell { right: true, ..cell(Piece::Good(shown::amount(apart, group))) },
                Some(apart) => Cell { right: true, ..cell(Piece::Bad(shown::amount(apart, group))) },
                None => Cell { right: true, ..cell(Piece::Bad("too large".to_owned())) },
            }));
            rows.push(row);
            rows.extend(self.reasons(field, group, &reference.system, others));
        }
        let mut row = vec![cell(words("Records"))];
        row.extend(totals.iter().map(|total| number(count(total.records))));
        rows.push(row);
        if !self.extent.one_screen && totals.iter().any(|total| total.without_amount > 0) {
            let mut row = vec![cell(words("of them without an amount"))];
            row.extend(totals.iter().map(|total| number(count(total.without_amount))));
            rows.push(row);
        }
        if any_held {
            let mut row = vec![cell(words("Rows held, of no record"))];
            row.extend(totals.iter().map(|total| number(count(total.held_records))));
            rows.push(row);
        }
        if totals.iter().any(|total| total.incomplete) {
            let mut row = vec![cell(words("Complete"))];
            row.extend(totals.iter().map(|total| {
                let piece = if total.incomplete { Piece::Bad("no".to_owned()) } else { words("yes") };
                Cell { right: true, ..cell(piece) }
            }));
            rows.push(row);
        }
        Table { caption: shown::visible(&caption).into_owned(), columns, rows, results }
    }

    /// Why the totals differ from that of the reference: a row for each reason and system.
    fn reasons(&self, field: &str, group: Option<&str>, reference: &str, others: &[&TotalReport]) -> Vec<Vec<Cell>> {
        let of_group = self.report.differences.iter().filter(|d| d.field == field && d.group.as_deref() == group && d.reference == reference);
        let mut rows = Vec::new();
        for difference in of_group {
            for part in &difference.parts {
                let why = part.why.words(&difference.system, &difference.reference);
                let (one, many) = if part.why.is_held() { ("row", "rows") } else { ("record", "records") };
                let mut row = vec![cell(words(format!("of it {why}, {}", plural(part.records, one, many)))), cell(words(String::new()))];
                row.extend(others.iter().map(|total| {
                    let amount = if total.system == difference.system { shown::amount(part.amount, group) } else { String::new() };
                    number(amount)
                }));
                rows.push(row);
            }
        }
        rows
    }

    fn counts(&self) -> Option<Section> {
        let systems = &self.report.systems;
        if systems.is_empty() {
            return None;
        }
        let columns = vec![
            column("System"),
            column("Kind, role"),
            number_column("Read"),
            number_column("Compared"),
            number_column("Repeats"),
            number_column("Held"),
            number_column("Filtered"),
            number_column("Quarantined"),
        ];
        let blocks = self.table("Rows of each system by what became of them", columns, systems, |system| {
            let counts = system.counts;
            let mut row = vec![cell(words(&system.name)), cell(quiet(format!("{}, {}", system.kind, system.role)))];
            if system.evidence.is_none() && counts == super::RowCounts::default() {
                row.push(Cell { span: 6, ..cell(quiet("not pulled")) });
                return row;
            }
            let numbers = [counts.read, counts.compared, counts.repeats, counts.held, counts.filtered, counts.quarantined];
            row.extend(numbers.iter().map(|rows| number(count(*rows))));
            row
        });
        section("counts", "Counts", None, blocks)
    }

    fn breaks(&self) -> Option<Section> {
        let report = self.report;
        let open = report.breaks.len() as u64;
        let cleared = report.cleared.len() as u64;
        let new = breaks_new(report);
        if open + cleared == 0 {
            return section("breaks", "Breaks", Some(0), vec![Block::Line(vec![words("No break is open.")])]);
        }
        let mut blocks = match &report.roll_forward {
            Some(roll) => vec![Block::Table(self.roll_forward(roll))],
            None => vec![Block::Facts(vec![
                ("Opening".to_owned(), vec![Piece::Held(count(open - new + cleared))]),
                ("New".to_owned(), vec![Piece::Held(format!("+{}", count(new)))]),
                ("Cleared".to_owned(), vec![Piece::Held(format!("−{}", count(cleared)))]),
                ("Closing".to_owned(), vec![Piece::Held(count(open))]),
            ])],
        };
        if open > 0 {
            blocks.push(Block::Table(self.ageing()));
            let mut columns = vec![column("Id"), column("Break"), column("Record"), column("Values"), number_column("Age"), number_column("Amount")];
            if self.extent.wide {
                columns.push(column("Why and what next"));
            }
            let urgent = most_urgent(report);
            blocks.extend(self.table("Open breaks", columns, &urgent, |one| {
                let open = &one.open;
                let mut row = vec![
                    cell(words(self.text(&one.id))),
                    cell(words(kind_words(one))),
                    line_cell(self.break_subject(open)),
                    line_cell(self.values_of(open)),
                    number(self.age(one)),
                    self.break_amount(one).map_or_else(|| Cell { right: true, ..cell(quiet("–")) }, number),
                ];
                if self.extent.wide {
                    row.push(line_cell(vec![words(self.text(&open.why)), quiet(" — next: "), words(self.text(&open.next_step))]));
                }
                row
            }));
        }
        let aside: Vec<&BreakReport> = report.breaks.iter().filter(|one| one.set_aside.is_some()).collect();
        if !aside.is_empty() {
            let columns = vec![column("Id"), column("Record"), column("Decision")];
            blocks.extend(self.table("Set aside by a person", columns, &aside, |one| {
                let decision = one.set_aside.as_ref().map(SetAside::words).unwrap_or_default();
                vec![cell(words(self.text(&one.id))), line_cell(self.break_subject(&one.open)), cell(words(self.text(&decision)))]
            }));
        }
        if cleared > 0 {
            let mut columns = vec![column("Id"), column("Break"), column("Record"), column("Field"), column("First seen"), column("Cleared")];
            columns.push(number_column("Amount"));
            let caption = match &report.job_change {
                Some(_) => "Cleared since the last run; the job file changed, so that a break may be gone because of that",
                None => "Cleared since the last run",
            };
            blocks.extend(self.table(caption, columns, &report.cleared, |one| {
                vec![
                    cell(words(self.text(&one.id))),
                    cell(words(self.text(&one.kind))),
                    cell(self.key(&one.key)),
                    cell(words(one.field.as_deref().unwrap_or("–"))),
                    cell(words(&one.first_seen)),
                    cell(words(one.how.words())),
                    match one.amount {
                        Some(amount) => number(shown::money(amount, one.currency.as_deref())),
                        None => Cell { right: true, ..cell(quiet("–")) },
                    },
                ]
            }));
        }
        section("breaks", "Breaks and ageing", Some(open), blocks)
    }

    /// The open breaks from the last run to this one: their number, and what is at stake in each currency.
    fn roll_forward(&self, roll: &RollForward) -> Table {
        let amounts = &roll.amounts[..roll.amounts.len().min(self.extent.rows_max)];
        let mut columns = vec![column(""), number_column("Breaks")];
        columns.extend(amounts.iter().map(|one| number_column(&one.currency)));
        type Amount = fn(&AmountRoll) -> Decimal;
        let movement: [(&str, Option<u64>, Amount); 7] = [
            ("Opening", Some(roll.opening), |one| one.opening),
            ("+ new", Some(roll.new), |one| one.new),
            ("± changed", None, |one| one.changed),
            ("− cleared by us", Some(roll.cleared_by_us), |one| one.cleared_by_us),
            ("− cleared at the source", Some(roll.cleared_at_source), |one| one.cleared_at_source),
            ("− another kind now", Some(roll.turned), |one| one.turned),
            ("Closing", Some(roll.closing), |one| one.closing),
        ];
        let last = movement.len() - 1;
        let (mut rows, mut results) = (Vec::new(), Vec::new());
        for (place, (label, breaks, amount)) in movement.into_iter().enumerate() {
            let rare = matches!(place, 2 | 5) && breaks.unwrap_or(0) == 0;
            if rare && amounts.iter().all(|one| amount(one).is_zero()) {
                continue;
            }
            if place == 0 || place == last {
                results.push(rows.len());
            }
            let mut row = vec![cell(words(label)), breaks.map_or_else(|| Cell { right: true, ..cell(quiet("–")) }, |breaks| number(count(breaks)))];
            row.extend(amounts.iter().map(|one| number(shown::amount(amount(one), Some(&one.currency)))));
            rows.push(row);
        }
        Table { caption: "Open breaks, from the last run to this one".to_owned(), columns, rows, results }
    }

    fn ageing(&self) -> Table {
        let ageing = ageing(self.report);
        let mut columns = vec![column("Days open")];
        columns.extend(AGE_BUCKETS.iter().map(|(label, _)| number_column(label)));
        let mut row = vec![cell(words("Breaks"))];
        row.extend(ageing.counts.iter().map(|number_open| number(count(*number_open))));
        let mut rows = vec![row];
        for (currency, amounts) in ageing.amounts.iter().take(self.extent.rows_max) {
            let mut row = vec![cell(words(currency))];
            row.extend(amounts.iter().map(|amount| match amount.is_zero() {
                true => Cell { right: true, ..cell(quiet("–")) },
                false => number(shown::amount(*amount, Some(currency))),
            }));
            rows.push(row);
        }
        Table { caption: "Open breaks by age".to_owned(), columns, rows, results: Vec::new() }
    }

    fn changes(&self) -> Option<Section> {
        let report = self.report;
        let sent = report.changes.iter().any(|change| change.settled.is_some());
        let title = if sent || report.changes.is_empty() { "What was changed" } else { "What would be changed" };
        let mut blocks = Vec::new();
        let systems = systems_changed(report);
        for name in systems.iter().copied().take(self.extent.rows_max) {
            let changes: Vec<&ChangeReport> = report.changes.iter().filter(|change| change.system == name).collect();
            blocks.push(Block::Heading(shown::visible(name).into_owned()));
            let all = || changes.iter().copied();
            blocks.push(Block::Line(vec![words(format!("{}: {}; {}.", plural(changes.len() as u64, "change", "changes"), actions(all()), outcomes(all())))]));
            let mut columns = vec![column("Record"), column("What"), column("Field"), column("Before"), column("After"), column("Why")];
            if self.extent.one_screen {
                columns.remove(1);
            }
            let mut rows: Vec<Vec<Cell>> = Vec::new();
            let mut shown = 0;
            for change in &changes {
                let cells = self.change_rows(change);
                if !rows.is_empty() && rows.len() + cells.len() > self.extent.rows_max {
                    break;
                }
                rows.extend(cells);
                shown += 1;
            }
            let caption = format!("{} in {name}", if sent { "Changes" } else { "Planned changes" });
            let table = Table { caption: shown::visible(&caption).into_owned(), columns, rows, results: Vec::new() };
            blocks.push(Block::Table(table.with_headings_over_numbers()));
            blocks.extend(self.more(changes.len(), shown));
        }
        if let Some(more) = systems.len().checked_sub(self.extent.rows_max).filter(|more| *more > 0) {
            blocks.push(Block::More(format!("… {} in {}", plural(more as u64, "more system", "more systems"), self.extent.rest)));
        }
        if !report.stale.is_empty() {
            let columns = vec![column("System"), column("Record"), column("Change"), column("Why it was not made")];
            blocks.extend(self.table("Stale changes of the plan", columns, &report.stale, |one| {
                vec![cell(words(&one.system)), cell(self.key(&one.key)), cell(words(one.action.to_string())), cell(words(self.text(&one.why)))]
            }));
        }
        let notable: Vec<_> = report.links.iter().filter(|event| event.notable).collect();
        if !notable.is_empty() {
            let columns = vec![column("System"), column("Record"), column("What happened")];
            blocks.extend(
                self.table("Links", columns, &notable, |event| {
                    vec![cell(words(&event.system)), cell(self.key(&event.key)), cell(words(self.text(&event.event)))]
                }),
            );
        }
        section("changes", title, Some(report.changes.len() as u64), blocks)
    }

    /// The rows of one change: one for a record that comes or goes, else one a field.
    fn change_rows(&self, change: &ChangeReport) -> Vec<Vec<Cell>> {
        let mut what = vec![words(change.action.to_string())];
        match change.settled {
            Some(Settled::Normalised) => what.push(quiet(", normalised")),
            Some(settled) if shown::arrived(settled) => {}
            Some(settled) => {
                what.push(words(", "));
                what.push(Piece::Bad(settled.to_string()));
            }
            None => {}
        }
        let whole_record = matches!(change.action, Action::Create | Action::Delete);
        let mut rows: Vec<Vec<Cell>> = Vec::new();
        if whole_record {
            let mut line = vec![quiet(if change.action == Action::Create { "new record: " } else { "removed: " })];
            for (place, one) in change.cells.iter().enumerate() {
                if place > 0 {
                    line.push(quiet("; "));
                }
                line.push(quiet(format!("{} = ", one.field)));
                line.push(self.held_in(&change.key, &one.field, if change.action == Action::Create { &one.after } else { &one.before }));
            }
            rows.push(vec![
                cell(self.key(&change.key)),
                line_cell(what),
                Cell { span: 3, ..line_cell(line) },
                line_cell(self.with_detail(shown::reason(&change.reason), change)),
            ]);
        } else {
            for (place, one) in change.cells.iter().enumerate() {
                let mut row = if place == 0 { vec![cell(self.key(&change.key)), line_cell(what.clone())] } else { vec![above(), above()] };
                row.push(cell(words(&one.field)));
                match comparison(&one.before, &one.after, self.extent) {
                    Some(line) => row.push(Cell { span: 2, ..line_cell(line) }),
                    None => {
                        row.push(self.value_cell(&change.key, &one.field, &one.before));
                        row.push(self.value_cell(&change.key, &one.field, &one.after));
                    }
                }
                let why = shown::reason(&one.reason);
                row.push(if place == 0 { line_cell(self.with_detail(why, change)) } else { cell(words(self.text(&why))) });
                rows.push(row);
            }
            if rows.is_empty() {
                let why = line_cell(self.with_detail(shown::reason(&change.reason), change));
                rows.push(vec![cell(self.key(&change.key)), line_cell(what), Cell { span: 3, ..cell(quiet("–")) }, why]);
            }
        }
        if self.extent.one_screen {
            rows.iter_mut().for_each(|row| {
                row.remove(1);
            });
        }
        rows
    }

    /// Why, with what became of the change where no column of its own says it.
    fn with_detail(&self, why: String, change: &ChangeReport) -> Line {
        let mut line = Line::new();
        if self.extent.one_screen
            && let Some(settled) = change.settled.filter(|settled| !shown::arrived(*settled))
        {
            line.extend([Piece::Bad(settled.to_string()), words("; ")]);
        }
        line.push(words(self.text(&why)));
        if change.settled == Some(Settled::Normalised)
            && let Some(detail) = &change.detail
        {
            line.push(words(format!(" ({})", self.text(detail))));
        }
        line
    }

    fn conflicts(&self) -> Option<Section> {
        let columns = vec![column("Record"), column("Field"), column("Taken"), column("Lost"), column("Rule")];
        let all = &self.report.conflicts;
        if all.is_empty() {
            return None;
        }
        let blocks = self.table("Conflicts that a rule decided, with the values that lost", columns, all, |one| {
            vec![
                cell(self.key(&one.key)),
                cell(words(&one.field)),
                self.value_cell(&one.key, &one.field, &one.decided),
                line_cell(self.values(&one.key, &one.field, &one.overridden)),
                cell(words(self.text(&shown::reason(&one.reason)))),
            ]
        });
        section("conflicts", "Conflicts", Some(all.len() as u64), blocks)
    }

    fn drift(&self) -> Option<Section> {
        let all = &self.report.drift;
        if all.is_empty() {
            return None;
        }
        let outcomes = outcomes_by_cell(self.report);
        let columns =
            vec![column("Record"), column("System"), column("Field"), column("At the last run"), column("Found"), column("Decided"), column("Put back")];
        let blocks = self.table("Edits in systems that do not decide the field", columns, all, |one| {
            vec![
                cell(self.key(&one.key)),
                cell(words(&one.system)),
                cell(words(&one.field)),
                self.value_cell(&one.key, &one.field, &one.base),
                self.value_cell(&one.key, &one.field, &one.now),
                self.value_cell(&one.key, &one.field, &one.decided),
                cell(match outcomes.get(&(one.system.as_str(), key_for_people(&one.key), one.field.as_str())) {
                    _ if !one.restored => words("no, only reported"),
                    Some(Some(settled)) if shown::arrived(*settled) => words("yes"),
                    Some(Some(settled)) => Piece::Bad(settled.to_string()),
                    _ => words("not yet"),
                }),
            ]
        });
        section("drift", "Drift", Some(all.len() as u64), blocks)
    }

    fn tolerance(&self) -> Option<Section> {
        let report = self.report;
        let proposed: Vec<_> = report
            .differences
            .iter()
            .flat_map(|difference| difference.parts.iter().map(move |part| (difference, part)))
            .filter(|(_, part)| part.why == super::WhyDifferent::WithinTolerance)
            .collect();
        if report.tolerated.is_empty() && proposed.is_empty() {
            return None;
        }
        let mut blocks = vec![Block::Line(vec![words(
            "These values differ by no more than the tolerance of their field: they are no breaks, and nothing is written because of them.",
        )])];
        if !proposed.is_empty() {
            let columns =
                vec![column("Field"), column("Currency"), column("System"), column("Compared with"), number_column("Records"), number_column("To write off")];
            blocks.extend(self.table("Proposed write-offs: what would make the control totals equal", columns, &proposed, |(difference, part)| {
                let group = difference.group.as_deref();
                vec![
                    cell(words(&difference.field)),
                    group.map_or_else(|| cell(quiet("–")), |group| cell(words(self.text(group)))),
                    cell(words(&difference.system)),
                    cell(words(&difference.reference)),
                    number(count(part.records)),
                    number(shown::amount(part.amount, group)),
                ]
            }));
        }
        if !report.tolerated.is_empty() {
            let columns =
                vec![column("Record"), column("System"), column("Field"), number_column("Holds"), number_column("Compared with"), number_column("Apart")];
            blocks.extend(self.table("Differences that the job accepts: nothing is written, and they stay", columns, &report.tolerated, |one| {
                let apart = one.apart.map(Value::Decimal);
                vec![
                    cell(self.key(&one.key)),
                    cell(words(&one.system)),
                    cell(words(&one.field)),
                    self.value_cell(&one.key, &one.field, &one.value),
                    self.value_cell(&one.key, &one.field, &one.decided),
                    apart.map_or_else(|| Cell { right: true, ..cell(quiet("–")) }, |apart| self.value_cell(&one.key, &one.field, &apart)),
                ]
            }));
        }
        section("tolerance", "Tolerance and proposed write-offs", Some(report.tolerated.len() as u64), blocks)
    }

    fn quality(&self) -> Option<Section> {
        let report = self.report;
        let mut blocks = Vec::new();
        if !report.quarantined.is_empty() {
            let columns = vec![
                column("Where"),
                number_column("Line"),
                column("Column"),
                column("What stands there"),
                column("Why it could not be read"),
                column("Record"),
            ];
            blocks.extend(self.table("Quarantined rows: left alone, and their records too", columns, &report.quarantined, |one| {
                let row = &one.row;
                vec![
                    line_cell(vec![words(&one.system), quiet(format!(" {}", self.text(&row.origin)))]),
                    number(count(row.line)),
                    cell(row.column.as_deref().map_or_else(|| quiet("whole row"), |name| words(self.text(name)))),
                    cell(row.raw.as_deref().map_or(Piece::Empty, |raw| Piece::Held(self.text(raw)))),
                    cell(words(self.text(&row.reason))),
                    cell(row.key.as_deref().or(one.unkeyed.as_deref()).map_or_else(|| quiet("unknown"), |key| self.key(key))),
                ]
            }));
        }
        if !report.duplicates.is_empty() {
            let columns = vec![column("Record"), column("System"), number_column("Survivor"), column("Other rows"), column("Rule")];
            blocks.extend(self.table("Duplicates: several different rows with one key", columns, &report.duplicates, |one| {
                vec![
                    cell(self.key(&one.key)),
                    cell(words(&one.system)),
                    number(one.survivor_for_people().map_or_else(|| "none: all held".to_owned(), |name| self.text(&name))),
                    cell(words(self.text(&one.losers_for_people(20)))),
                    cell(words(self.text(&one.rule))),
                ]
            }));
        }
        let cleaning: Vec<_> = report.systems.iter().flat_map(|system| system.cleaning.iter().map(move |count| (system, count))).collect();
        if !cleaning.is_empty() {
            let columns = vec![column("System"), column("Field"), column("What cleaning did"), number_column("Cells")];
            blocks.extend(self.table("Cleaning", columns, &cleaning, |(system, one)| {
                vec![cell(words(&system.name)), cell(words(&one.field)), cell(words(self.text(&one.rule))), number(count(one.cells))]
            }));
        }
        section("quality", "Data quality", None, blocks)
    }

    fn failed_writes(&self) -> Option<Section> {
        let (retried, failed): (Vec<&ChangeReport>, Vec<&ChangeReport>) =
            failed_and_retried(self.report).partition(|change| change.settled.is_some_and(shown::arrived));
        let sent_before = |change: &ChangeReport| if change.attempts == 0 { number("never".to_owned()) } else { number(shown::times(change.attempts)) };
        let mut blocks = Vec::new();
        if !failed.is_empty() {
            let columns =
                vec![column("Record"), column("System"), column("What"), column("Outcome"), column("The system's words"), number_column("Sent before")];
            blocks.extend(self.table("Writes that did not arrive: each is owed and sent again", columns, &failed, |change| {
                vec![
                    cell(self.key(&change.key)),
                    cell(words(&change.system)),
                    cell(words(change.action.to_string())),
                    cell(Piece::Bad(change.settled.map(|settled| settled.to_string()).unwrap_or_default())),
                    cell(change.detail.as_deref().map_or_else(|| quiet("–"), |detail| words(self.text(detail)))),
                    sent_before(change),
                ]
            }));
        }
        if !retried.is_empty() {
            let columns = vec![column("Record"), column("System"), column("What"), number_column("Sent before")];
            blocks.extend(self.table("Sent again, and arrived", columns, &retried, |change| {
                vec![cell(self.key(&change.key)), cell(words(&change.system)), cell(words(change.action.to_string())), sent_before(change)]
            }));
        }
        section("failed", if retried.is_empty() { "Failed writes" } else { "Failed and retried writes" }, Some(failed.len() as u64), blocks)
    }

    fn job_change(&self) -> Option<Section> {
        let change = self.report.job_change.as_ref()?;
        let mut blocks = vec![Block::List(change.terms.iter().take(self.extent.rows_max).map(|term| vec![words(self.text(term))]).collect())];
        let lines = unified(change);
        let shown = lines.len().min(self.extent.rows_max.max(100));
        let sided = lines.iter().take(shown).map(|(side, line)| (*side, self.text(line)));
        blocks.push(Block::Diff(sided.collect()));
        blocks.extend(self.more(lines.len(), shown));
        section("job", "The job file changed", None, blocks)
    }

    fn evidence(&self) -> Option<Section> {
        let report = self.report;
        let mut blocks = Vec::new();
        for system in &report.systems {
            let Some(evidence) = &system.evidence else { continue };
            blocks.push(Block::Heading(shown::visible(&system.name).into_owned()));
            let mut facts = vec![("From".to_owned(), vec![Piece::Held(self.text(&evidence.origin))])];
            let announced = match evidence.rows_announced {
                Some(rows) if rows == evidence.rows_read => format!("{}, as announced", plural(evidence.rows_read, "row", "rows")),
                Some(rows) => format!("{}, announced {}", plural(evidence.rows_read, "row", "rows"), count(rows)),
                None => format!("{}, the source announces none", plural(evidence.rows_read, "row", "rows")),
            };
            facts.push(("Received".to_owned(), vec![words(announced)]));
            for sum in &evidence.sums {
                let (column, delivered, announced) = (self.text(&sum.column), self.text(&sum.delivered), self.text(&sum.announced));
                let told = if delivered == announced {
                    format!("{column}: {delivered}, as announced")
                } else {
                    format!("{column}: {delivered}, announced {announced}")
                };
                facts.push(("Control sum".to_owned(), vec![Piece::Held(told)]));
            }
            if let Some(digest) = &evidence.sha256 {
                facts.push(("SHA-256".to_owned(), vec![Piece::Held(self.text(digest))]));
            }
            if let Some(newest) = &system.newest_edit {
                facts.push(("Newest edit".to_owned(), vec![Piece::Held(self.text(newest))]));
            }
            if system.retries > 0 {
                facts.push((
                    "Called again".to_owned(),
                    vec![words(format!("{}, because something was in the way for a while", shown::times(u32::try_from(system.retries).unwrap_or(u32::MAX))))],
                ));
            }
            facts.extend(evidence.found.iter().map(|(name, found)| (shown::visible(&capitalised(name)).into_owned(), vec![Piece::Held(self.text(found))])));
            facts.extend(evidence.notes.iter().map(|note| ("Note".to_owned(), vec![words(self.text(note))])));
            blocks.push(Block::Facts(facts));
        }
        blocks.push(Block::Heading("This run".to_owned()));
        let digest = |digest: Option<&str>| vec![digest.map_or_else(|| quiet("none was made"), |digest| Piece::Held(self.text(digest)))];
        blocks.push(Block::Facts(vec![
            ("Run".to_owned(), vec![Piece::Held(self.text(&report.run))]),
            ("Run before".to_owned(), vec![report.previous_run.as_deref().map_or_else(|| quiet("none: first contact"), |run| Piece::Held(self.text(run)))]),
            ("Started".to_owned(), vec![Piece::Held(self.text(&report.started))]),
            ("Version".to_owned(), vec![words(format!("tieout {}", report.version))]),
            ("Job file".to_owned(), vec![Piece::Held(self.text(&report.job_file))]),
            ("Its SHA-256".to_owned(), digest(Some(&report.job_digest))),
            ("The plan's SHA-256".to_owned(), digest(report.plan_digest.as_deref())),
            ("Head of the ledger".to_owned(), vec![report.ledger_head.as_deref().map_or_else(|| quiet("not sealed"), |head| Piece::Held(self.text(head)))]),
            ("Exit code".to_owned(), vec![Piece::Held(report.exit_code.to_string())]),
        ]));
        section("evidence", "Evidence", None, blocks)
    }

    fn rules(&self) -> Option<Section> {
        let all = &self.report.rules;
        if all.is_empty() {
            return None;
        }
        let shown = all.len().min(self.extent.rows_max);
        let mut blocks = vec![Block::List(all.iter().take(shown).map(|rule| vec![words(self.text(rule))]).collect())];
        blocks.extend(self.more(all.len(), shown));
        section("rules", "Rules as run", None, blocks)
    }

    fn identities(&self) -> Option<Section> {
        let all = &self.report.identities;
        if all.is_empty() {
            return None;
        }
        let columns = vec![column("Equation"), column("Of"), column("With its numbers"), column("Holds")];
        let blocks = self.table("The arithmetic that was checked", columns, all, |identity| {
            let holds = if identity.holds { Piece::Good("✓ yes".to_owned()) } else { Piece::Bad("✗ no".to_owned()) };
            vec![cell(words(&identity.name)), cell(words(self.text(&identity.of))), cell(Piece::Held(self.text(&identity.equation))), cell(holds)]
        });
        section("identities", "Arithmetic", None, blocks)
    }

    /// Lines for the people who sign, below what they sign.
    fn sign_off(&self) -> Option<Section> {
        let report = self.report;
        let held = report.identities.iter().filter(|identity| identity.holds).count() as u64;
        let open = report.breaks.len() as u64;
        let amounts = open_line(report);
        let mut open_words = if open == 0 { "no break is open".to_owned() } else { plural(open, "open break", "open breaks") };
        if !amounts.is_empty() {
            open_words.push_str(&format!(", {amounts}"));
        }
        let all = report.identities.len() as u64;
        let arithmetic = if held == all { format!("all {} equations hold", count(all)) } else { format!("{} of {} equations hold", count(held), count(all)) };
        let facts = vec![
            ("Run".to_owned(), vec![Piece::Held(self.text(&report.run))]),
            ("Verdict".to_owned(), vec![words(report.verdict.word())]),
            ("Left open".to_owned(), vec![words(open_words)]),
            ("Arithmetic".to_owned(), vec![words(arithmetic)]),
        ];
        let columns = vec![column(""), column("Name"), column("Date"), column("Signature")];
        let to_sign = || cell(Piece::ToSign);
        let rows = SIGNATURES.iter().map(|role| vec![cell(words(role)), to_sign(), to_sign(), to_sign()]).collect();
        let table = Table { caption: "Seen and accepted".to_owned(), columns, rows, results: Vec::new() };
        section("signoff", "Sign-off", None, vec![Block::Facts(facts), Block::Table(table)])
    }
}

fn section(anchor: &'static str, title: &str, count: Option<u64>, blocks: Vec<Block>) -> Option<Section> {
    (!blocks.is_empty()).then(|| Section { anchor, title: title.to_owned(), count, blocks })
}

/// What kind of break, as a person would say it.
pub(super) fn kind_words(one: &BreakReport) -> &'static str {
    match one.open.kind {
        BreakKind::Amount if one.unit.is_some() => "numbers differ",
        BreakKind::Missing => "missing in a system",
        BreakKind::Amount => "amounts differ",
        BreakKind::Field => "values differ",
        BreakKind::Conflict => "conflict",
        BreakKind::Cleared => "cleared against a value",
        BreakKind::Drift => "drift",
        BreakKind::Duplicate => "duplicate",
        BreakKind::Quarantined => "quarantined",
        BreakKind::Orphan => "orphan",
        BreakKind::WriteRejected => "write rejected",
        BreakKind::WriteNotKept => "write not kept",
        BreakKind::Locked => "not writable",
        BreakKind::Review => "waits for approval",
        BreakKind::SuggestedLink => "suggested key change",
        BreakKind::Restored => "restored",
        BreakKind::Frozen => "frozen",
        BreakKind::Undone => "undone",
    }
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// How long a line to write on is in plain text.
pub(super) const TO_SIGN_CHARACTERS: usize = 18;

/// A line without marks, for places that have none.
pub(super) fn plain(line: &[Piece]) -> String {
    line.iter()
        .map(|piece| match piece {
            Piece::Words(text) | Piece::Held(text) | Piece::Quiet(text) | Piece::Good(text) | Piece::Bad(text) => text.clone(),
            Piece::Empty => EMPTY.to_owned(),
            Piece::ToSign => "_".repeat(TO_SIGN_CHARACTERS),
            Piece::Removed(text) => format!("[-{text}-]"),
            Piece::Added(text) => format!("{{+{text}+}}"),
        })
        .collect()
}
