//! What a run did and what is still open, as data, and what renders it: text, HTML, JSON, the workbook and the mail.
//!
//! Pure: the same [`Report`] always gives the same bytes. A report is complete before it is rendered; renderers decide
//! nothing but how much of it they show.
//!
//! Every renderer starts from the same masked copy, so that a value of a sensitive field cannot reach one of them. Text, HTML
//! and the mail then share one document of sections and tables; the renderers differ only in how they lay it out. Text that
//! came from a system is shown with its control characters and bidirectional controls spelled out, so that no cell can move
//! a cursor, turn a line around or start a header.
//!
//! # Design
//! Amounts stay [`Decimal`]s up to the character; nothing is rounded, and amounts of two currencies are never added up.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::change::{Action, Break, BreakKind, Drift, LinkEvent, Reason, Settled, SystemValue};
use crate::diagnostic::Diagnostic;
use crate::frame::{CleaningCount, Duplicate, Evidence, Quarantined};
use crate::value::{Decimal, Value};

pub use crate::reconcile::approved::Stale;
pub use crate::reconcile::differences::{Difference, Part as DifferencePart, Why as WhyDifferent};
pub use crate::reconcile::totals::{Identity, RowCounts, TotalReport};
pub use masked::{Secrets, mask_key};
pub use shown::{MASK, value as value_for_people, visible as visible_for_people};

pub mod assemble;
pub mod comparison;
pub mod comparison_files;
mod document;
pub mod due;
pub mod html;
pub mod index;
pub mod json;
pub mod mail;
mod masked;
mod shown;
pub mod text;
pub mod workbook;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

/// How a run ended, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// Nothing to do, and all ties out.
    Ok,
    /// Changes were made and verified.
    Synced,
    /// A person must look.
    Action,
    /// The run stopped.
    Failed,
}

impl Verdict {
    /// The word, as it stands in subjects and first lines.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "OK",
            Verdict::Synced => "SYNCED",
            Verdict::Action => "ACTION",
            Verdict::Failed => "FAILED",
        }
    }

    /// Whether a person must do something about it.
    pub fn is_problem(self) -> bool {
        matches!(self, Verdict::Action | Verdict::Failed)
    }

    /// The same of a verdict that is only known by its word.
    pub fn is_problem_word(word: &str) -> bool {
        [Verdict::Action, Verdict::Failed].iter().any(|verdict| verdict.word() == word)
    }

    /// A symbol that tells it apart without colour.
    pub fn symbol(self) -> &'static str {
        match self {
            Verdict::Ok => "✓",
            Verdict::Synced => "⇄",
            Verdict::Action => "!",
            Verdict::Failed => "✗",
        }
    }
}

/// Everything that is told about one run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The job.
    pub job: String,
    /// What the job is for.
    pub description: Option<String>,
    /// Who answers for the job.
    pub contact: Option<String>,
    /// The run.
    pub run: String,
    /// The run before it that was promoted; nothing at first contact.
    pub previous_run: Option<String>,
    /// The start, RFC 3339 in UTC.
    pub started: String,
    /// The version of tieout.
    pub version: String,
    /// The job file's path, as messages show it.
    pub job_file: String,
    /// The SHA-256 of the job file.
    pub job_digest: String,
    /// The SHA-256 of the plan; nothing if the run stopped before one was made.
    pub plan_digest: Option<String>,
    /// The head of the ledger's chain of hashes after this run; nothing until the run is sealed.
    pub ledger_head: Option<String>,
    /// Whether the job only compares.
    pub audit: bool,
    /// Whether nothing was written because the plan was only asked for.
    pub dry_run: bool,
    /// Whether it stopped after it had begun to write: what became of its writes is found out by the next run.
    pub unsettled: bool,
    /// How it ended.
    pub verdict: Verdict,
    /// The process's exit code.
    pub exit_code: u8,
    /// How it ended, in one sentence.
    pub sentence: String,
    /// What stopped the run, if something did.
    pub stopped_by: Vec<Diagnostic>,
    /// Gates that tripped and were allowed to pass, in words.
    pub allowed: Vec<String>,
    /// What else a person should know, a sentence each.
    pub notes: Vec<String>,
    /// The systems, in the job's order.
    pub systems: Vec<SystemReport>,
    /// The key fields, in the job's order: a key is masked where one of them is sensitive.
    pub key: Vec<String>,
    /// How many records the job knows.
    pub records: u64,
    /// The changes, by system and key. In a dry run, or after a gate, what would have been done.
    pub changes: Vec<ChangeReport>,
    /// Conflicts that a rule decided.
    pub conflicts: Vec<ConflictReport>,
    /// Edits in systems that do not decide the field.
    pub drift: Vec<Drift>,
    /// Differences within the tolerance of their field, which are accepted and stay.
    pub tolerated: Vec<ToleratedReport>,
    /// What is still open, by severity, then key.
    pub breaks: Vec<BreakReport>,
    /// Breaks of the run before that are gone.
    pub cleared: Vec<ClearedBreak>,
    /// How the open breaks moved since the last run; nothing where the run did not come to its end.
    pub roll_forward: Option<RollForward>,
    /// Rows that could not be read, by system.
    pub quarantined: Vec<QuarantinedReport>,
    /// Keys that stand on several rows.
    pub duplicates: Vec<Duplicate>,
    /// Changes of the plan that was to be applied which were not made. Nothing in a run that decides for itself.
    pub stale: Vec<Stale>,
    /// What happened to links, notable events only.
    pub links: Vec<LinkEvent>,
    /// Control totals.
    pub totals: Vec<TotalReport>,
    /// Why they differ; nothing where nothing was settled.
    pub differences: Vec<Difference>,
    /// The arithmetic that was checked.
    pub identities: Vec<Identity>,
    /// The job file of the run before and this one's, where they differ and bases depend on it.
    pub job_change: Option<JobChange>,
    /// What the job's rules say, a sentence each.
    pub rules: Vec<String>,
    /// Fields whose values are masked.
    pub sensitive: Vec<String>,
    /// The currencies of amounts, by key for people and field, where a control total groups the field.
    #[serde(skip)]
    pub currencies: BTreeMap<(String, String), String>,
    /// What fields count whose numbers are no money, by field.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub units: BTreeMap<String, String>,
    /// Types of the fields, for alignment.
    pub numeric: Vec<String>,
}

impl Report {
    /// The breaks that call for somebody: those that nobody set aside.
    pub fn calling(&self) -> impl Iterator<Item = &BreakReport> {
        self.breaks.iter().filter(|one| one.set_aside.is_none())
    }

    /// Whether a person must do something about it.
    pub fn has_problem(&self) -> bool {
        self.verdict.is_problem()
    }
}

/// One system in a report.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SystemReport {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Its role.
    pub role: String,
    /// Where its snapshot came from. Nothing if it was not pulled.
    pub evidence: Option<Evidence>,
    /// The newest edit time among the records read, RFC 3339 in UTC, where the system tells edit times.
    pub newest_edit: Option<String>,
    /// Rows by what became of them.
    pub counts: RowCounts,
    /// What cleaning altered.
    pub cleaning: Vec<CleaningCount>,
    /// Changes planned, by action.
    pub planned: BTreeMap<Action, u64>,
    /// Changes by what became of them.
    pub settled: BTreeMap<Settled, u64>,
    /// How often it was called again because something was in the way that passes.
    pub retries: u64,
}

/// One change in a report.
#[derive(Clone, Debug, Serialize)]
pub struct ChangeReport {
    /// The system.
    pub system: String,
    /// The record's key, for people.
    pub key: String,
    /// What was done.
    pub action: Action,
    /// Why, for the record as a whole.
    pub reason: Reason,
    /// The cells.
    pub cells: Vec<CellReport>,
    /// What became of it; nothing where it was not sent.
    pub settled: Option<Settled>,
    /// The system's own words, or what was read back instead.
    pub detail: Option<String>,
    /// How often it had been sent before.
    pub attempts: u32,
}

/// One cell of a change in a report.
#[derive(Clone, Debug, Serialize)]
pub struct CellReport {
    /// The field, or the column where it is none of the job's.
    pub field: String,
    /// What stood there.
    pub before: Value,
    /// What shall stand there.
    pub after: Value,
    /// Why.
    pub reason: Reason,
}

/// A conflict that a rule decided.
#[derive(Clone, Debug, Serialize)]
pub struct ConflictReport {
    /// The record's key, for people.
    pub key: String,
    /// The field.
    pub field: String,
    /// The value taken.
    pub decided: Value,
    /// The rule.
    pub reason: Reason,
    /// The values that lost.
    pub overridden: Vec<SystemValue>,
}

/// A difference within the tolerance of its field.
#[derive(Clone, Debug, Serialize)]
pub struct ToleratedReport {
    /// The record's key, for people.
    pub key: String,
    /// The field.
    pub field: String,
    /// The system.
    pub system: String,
    /// What it holds.
    pub value: Value,
    /// What it is compared with: the decided value.
    pub decided: Value,
    /// The first less the second, where both are numbers.
    pub apart: Option<Decimal>,
}

/// A break with its identity and age.
#[derive(Clone, Debug, Serialize)]
pub struct BreakReport {
    /// A short hash that stays the same as long as the break is open.
    pub id: String,
    /// The run that saw it first.
    pub first_run: String,
    /// The day it was first seen, in UTC.
    pub first_seen: String,
    /// Whole days since then.
    pub age_days: i64,
    /// What is at stake: how far the systems are apart, or the whole amount of a record that one of them lacks. Nothing
    /// where no amount is concerned or none could be read.
    pub amount: Option<Decimal>,
    /// The currency of the amount.
    pub currency: Option<String>,
    /// What the amount counts, where it is no money: `pieces`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Whether the job says that its field is told before all others.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub important: bool,
    /// Whether another break tells the same amount of the same record: then it is shown here, and added up there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub repeats: bool,
    /// What a person decided, if it calls nobody because of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_aside: Option<SetAside>,
    /// What can be decided about it, in the words that the workbook offers; nothing where the run did not come to keep it.
    #[serde(skip)]
    pub decisions: Vec<String>,
    /// The break.
    #[serde(flatten)]
    pub open: Break,
}

/// Why an open break calls nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetAside {
    /// The day on which it calls again; nothing if the difference is accepted until a value changes.
    pub until: Option<String>,
    /// Who decided so.
    pub who: String,
    /// Why.
    pub why: Option<String>,
}

impl SetAside {
    /// In words: `snoozed until 2026-12-31 by anna: the bank is asked`.
    pub fn words(&self) -> String {
        let what = match &self.until {
            Some(until) => format!("snoozed until {until}"),
            None => "accepted as a difference".to_owned(),
        };
        let why = self.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        format!("{what} by {}{why}", self.who)
    }
}

impl BreakReport {
    /// The amount at stake, never negative; where it is not given, the distance between the smallest and the largest number
    /// among the values.
    pub fn at_stake(&self) -> Option<Decimal> {
        if let Some(amount) = self.amount {
            return Some(amount.abs());
        }
        let numbers: Vec<Decimal> = self.open.values.iter().filter_map(|held| held.value.as_decimal()).collect();
        if numbers.len() < 2 {
            return None;
        }
        numbers.iter().max()?.checked_sub(*numbers.iter().min()?)
    }
}

impl Report {
    /// Whether the systems were compared: a run that was stopped while it read knows of no records.
    pub fn was_compared(&self) -> bool {
        self.systems.iter().any(|system| system.evidence.is_some())
    }

    /// The currency of a break: its own, else the only group of the control total of its field. What counts something else has
    /// none.
    pub fn currency_of(&self, one: &BreakReport) -> Option<String> {
        if one.unit.is_some() {
            return None;
        }
        if one.currency.is_some() {
            return one.currency.clone();
        }
        let field = one.open.field.as_deref()?;
        let mut groups = self.totals.iter().filter(|total| total.field == field).map(|total| total.group.as_deref());
        let first = groups.next()??;
        groups.all(|group| group == Some(first)).then(|| first.to_owned())
    }

    /// What is at stake in a break, never negative, with its currency; nothing where one of them is not known, or where another
    /// break tells it already.
    pub fn stake(&self, one: &BreakReport) -> Option<(Decimal, String)> {
        if one.repeats { None } else { one.at_stake().zip(self.currency_of(one)) }
    }
}

/// The place of a kind of break in the order of severity: 0 is the most severe.
///
/// First what we wrote and did not arrive, then what only a person can decide, then what cannot be read, then plain
/// differences, last what waits for an approval.
pub fn severity(kind: BreakKind) -> u8 {
    match kind {
        BreakKind::WriteNotKept => 0,
        BreakKind::WriteRejected => 1,
        BreakKind::Conflict => 2,
        BreakKind::Cleared => 3,
        BreakKind::Frozen | BreakKind::Undone => 4,
        BreakKind::Duplicate => 5,
        BreakKind::Quarantined => 6,
        BreakKind::Restored => 7,
        BreakKind::Missing => 8,
        BreakKind::Amount => 9,
        BreakKind::Field => 10,
        BreakKind::Drift => 11,
        BreakKind::Orphan => 12,
        BreakKind::Review => 13,
        BreakKind::SuggestedLink => 14,
        BreakKind::Locked => 15,
    }
}

/// How a break came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClearedHow {
    /// A write of this run, verified.
    ByUs,
    /// When the systems were read, it was gone.
    AtSource,
    /// It goes on as a break of another kind.
    Turned,
}

impl ClearedHow {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            ClearedHow::ByUs => "by us",
            ClearedHow::AtSource => "at the source",
            ClearedHow::Turned => "goes on as another kind of break",
        }
    }
}

/// How the open breaks moved since the last run. Each number is counted in its own way, so that the sums can be checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RollForward {
    /// Open after the last run.
    pub opening: u64,
    /// Open for the first time.
    pub new: u64,
    /// Gone by a write of this run.
    pub cleared_by_us: u64,
    /// Gone when the systems were read.
    pub cleared_at_source: u64,
    /// Open as a break of another kind, which is among the new ones.
    pub turned: u64,
    /// Open after this run.
    pub closing: u64,
    /// The same in money, by currency: of the breaks whose amount and currency are known. Never netted.
    pub amounts: Vec<AmountRoll>,
}

/// How the amount at stake in one currency moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AmountRoll {
    /// The currency.
    pub currency: String,
    /// At stake after the last run.
    pub opening: Decimal,
    /// Of new breaks.
    pub new: Decimal,
    /// Of breaks that stay, and whose amount is another.
    pub changed: Decimal,
    /// Of breaks that a write of this run cleared.
    pub cleared_by_us: Decimal,
    /// Of breaks that were gone when the systems were read.
    pub cleared_at_source: Decimal,
    /// Of breaks that go on as another kind.
    pub turned: Decimal,
    /// At stake after this run.
    pub closing: Decimal,
}

/// A break that is gone.
#[derive(Clone, Debug, Serialize)]
pub struct ClearedBreak {
    /// Its short hash.
    pub id: String,
    /// What kind of difference it was, in words.
    pub kind: String,
    /// The record's key, for people.
    pub key: String,
    /// The field.
    pub field: Option<String>,
    /// The day it was first seen.
    pub first_seen: String,
    /// What cleared it.
    pub how: ClearedHow,
    /// What was at stake when it was seen last, where that is known.
    pub amount: Option<Decimal>,
    /// The currency of the amount.
    pub currency: Option<String>,
}

/// A quarantined row in a report.
#[derive(Clone, Debug, Serialize)]
pub struct QuarantinedReport {
    /// The system.
    pub system: String,
    /// What stands for its key in its break, if it has no readable one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unkeyed: Option<String>,
    /// Where and why.
    #[serde(flatten)]
    pub row: Quarantined,
}

/// The job file before and now.
#[derive(Clone, Debug, Serialize)]
pub struct JobChange {
    /// What changed, a sentence each.
    pub terms: Vec<String>,
    /// The text of the job file at the run before.
    pub before: String,
    /// Its text now.
    pub after: String,
}
