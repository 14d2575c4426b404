//! Decisions as data: the [`Plan`], its changes with their reasons, and what became of them.
//!
//! A plan can be written down, read back, and applied by another process. It holds everything that settling needs, so that
//! a run that was killed can be settled from its plan and its journal alone.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::value::{KEY_SEPARATOR, Raw, Value};

/// The key of a record for people: its parts joined by ` / `.
pub fn key_for_people(key: &str) -> String {
    key.replace(KEY_SEPARATOR, " / ")
}

/// What is done to a record in a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The record is added.
    Create,
    /// Some of its fields are set.
    Update,
    /// The record is removed.
    Delete,
    /// A field is set that says that the record is no longer in use.
    Archive,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Create => "create",
            Action::Update => "update",
            Action::Delete => "delete",
            Action::Archive => "archive",
        })
    }
}

/// Which rule decided, kept with every change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The field's owner holds this value.
    OwnerWins {
        /// The owner.
        owner: String,
    },
    /// Only this system's value changed since its base.
    OnlyChange {
        /// The system.
        system: String,
    },
    /// All systems that changed it agree.
    SameChange {
        /// The systems.
        systems: Vec<String>,
    },
    /// Several systems changed it to different values, and a rule chose.
    Rule {
        /// The rule, in the words of the job file.
        rule: String,
        /// The system whose value was taken; nothing for a computed value.
        system: Option<String>,
    },
    /// The value of the one system that has any.
    Filled {
        /// The system.
        system: String,
    },
    /// An edit in a system that does not decide the field was put back.
    DriftRestored {
        /// The system that decides.
        decided_by: String,
    },
    /// Decided in an earlier run, and not taken by the system yet.
    Owed {
        /// Why it was decided then.
        decided: Box<Reason>,
        /// How often it has been sent before.
        attempts: u32,
    },
    /// The value is the same, its spelling is made the standard one.
    Standardised,
    /// The record exists elsewhere and never did here.
    NewRecord {
        /// Where it exists.
        system: String,
    },
    /// The record was deleted here while another system edited it.
    EditBeatsDelete {
        /// The system that edited it.
        system: String,
    },
    /// The record was deleted here, and the job says that it comes back.
    Recreated {
        /// What says so, in words.
        because: String,
    },
    /// The record was deleted elsewhere.
    DeletedIn {
        /// Where.
        system: String,
    },
    /// A created row must be within the job's filter.
    WithinFilter,
    /// A person decided.
    Person {
        /// Who.
        who: String,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
        /// The system that was chosen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        system: Option<String>,
    },
    /// What an earlier run had written is taken back.
    Undone {
        /// The run.
        run: String,
        /// Who undoes it.
        who: String,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// It waited for a person, who accepted it.
    Accepted {
        /// Who.
        who: String,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
        /// What had decided it.
        decided: Box<Reason>,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::OwnerWins { owner } => write!(f, "`{owner}` owns the field"),
            Reason::OnlyChange { system } => write!(f, "only `{system}` changed it"),
            Reason::SameChange { systems } => write!(f, "{} changed it to the same value", join_names(systems)),
            Reason::Rule { rule, system: Some(system) } => write!(f, "conflict: rule {rule} takes the value of `{system}`"),
            Reason::Rule { rule, system: None } => write!(f, "conflict: computed by rule {rule}"),
            Reason::Filled { system } => write!(f, "was empty, filled from `{system}`"),
            Reason::DriftRestored { decided_by } => write!(f, "drift: `{decided_by}` decides the field"),
            Reason::Owed { decided, attempts: 1 } => write!(f, "owed since an earlier run, sent once before: {decided}"),
            Reason::Owed { decided, attempts } => write!(f, "owed since an earlier run, sent {attempts} times before: {decided}"),
            Reason::Standardised => f.write_str("same value, standard spelling"),
            Reason::NewRecord { system } => write!(f, "new in `{system}`"),
            Reason::EditBeatsDelete { system } => write!(f, "deleted here, but edited in `{system}`: an edit beats a delete"),
            Reason::Recreated { because } => write!(f, "recreated: {because}"),
            Reason::DeletedIn { system } => write!(f, "deleted in `{system}`"),
            Reason::WithinFilter => f.write_str("keeps the new row within the job's filter"),
            Reason::Person { who, why, system } => {
                let side = system.as_ref().map(|system| format!("`{system}` is right, ")).unwrap_or_default();
                write!(f, "{side}decided by {who}{}", because(why.as_deref()))
            }
            Reason::Undone { run, who, why } => write!(f, "run {run} is undone by {who}{}", because(why.as_deref())),
            Reason::Accepted { who, why, decided } => write!(f, "{decided}; accepted by {who}{}", because(why.as_deref())),
        }
    }
}

fn because(why: Option<&str>) -> String {
    why.map(|why| format!(": {why}")).unwrap_or_default()
}

/// Names in backticks, joined for a sentence: `a`, `b` and `c`.
pub fn join_names(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => format!("`{one}`"),
        [most @ .., last] => format!("{} and `{last}`", most.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")),
    }
}

/// One part of the address of a row: a column of the system and what it held when it was pulled.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AddressPart {
    /// The source's column.
    pub column: String,
    /// What it holds in the addressed row, verbatim.
    pub raw: Raw,
}

/// How a system finds a row: its native id, or its key as it was read. Never empty, save for a create.
pub type Address = Vec<AddressPart>;

/// One cell of a change: what stood there, and what shall.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellChange {
    /// The field; nothing for a column outside the job that a new row needs.
    pub field: Option<String>,
    /// The source's column.
    pub column: String,
    /// What was read there, verbatim. Nothing in a create.
    pub before_raw: Option<Raw>,
    /// The clean value that was read there. Null in a create.
    pub before: Value,
    /// The clean value that shall stand there.
    pub after: Value,
    /// How the system spells it. For a deleted row, null.
    pub after_raw: Raw,
    /// Why.
    pub reason: Reason,
}

/// A hash of the values that a create gives a new row: equal for equal values, in whatever order they are given.
pub fn created_values(cells: &[CellChange]) -> String {
    let mut values: Vec<(&str, String)> = cells.iter().map(|cell| (cell.column.as_str(), format!("{:?}", cell.after_raw))).collect();
    values.sort_unstable();
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    for part in values.iter().flat_map(|(column, value)| [*column, value.as_str()]) {
        hasher.update(part.as_bytes());
        hasher.update(&[0]);
    }
    format!("{:032x}", hasher.digest128())
}

/// One change of one record in one system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its number in the plan, from 1.
    pub number: u32,
    /// The system that is written.
    pub system: String,
    /// The record's number in the job.
    pub record: u64,
    /// The record's canonical key, for people.
    pub key: String,
    /// What is done.
    pub action: Action,
    /// Where; empty for a create.
    pub address: Address,
    /// The row's native id as it was read; nothing for a create, or where the system has none.
    pub row_id: Option<String>,
    /// The canonical key that the row had in this system when it was pulled; nothing for a create.
    pub row_key_before: Option<String>,
    /// The canonical key that the row has in this system once the change is made.
    pub row_key_after: String,
    /// Create: every column that gets a value. Update and archive: the columns that change. Delete: every mapped column
    /// with what it held.
    pub cells: Vec<CellChange>,
    /// Why the record is created, deleted or archived. For an update, the reason of its first cell.
    pub reason: Reason,
    /// How often this change has been sent in earlier runs.
    pub attempts: u32,
    /// When the row had been edited last as it was pulled, in microseconds since 1970-01-01T00:00Z, where the system tells.
    pub edited_at: Option<i64>,
}

/// What a system says about one change that it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "outcome")]
pub enum Outcome {
    /// Written and committed.
    Done {
        /// What the system itself says the row holds now, column by column, where it says anything. This comes from the
        /// system's own answer within the write, so that nobody else can have edited it in between.
        #[serde(default)]
        answer: Vec<AddressPart>,
        /// The native id of a created row, where the system gives one.
        #[serde(default)]
        id: Option<String>,
    },
    /// The system refused it.
    Rejected {
        /// The system's words.
        reason: String,
    },
    /// The row is not what it was when it was pulled: not written.
    Stale {
        /// What was seen.
        reason: String,
    },
    /// Nobody knows whether it was written.
    Unknown {
        /// What happened.
        reason: String,
    },
    /// Not tried.
    Skipped {
        /// Why.
        reason: String,
    },
}

/// What became of a planned change, after reading back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Settled {
    /// Read back as written.
    Verified,
    /// Written, and the system made something of it that it keeps.
    Normalised,
    /// Written, and the system still shows the old value.
    Pending,
    /// Written, and somebody edited it before it was read back.
    Overwritten,
    /// Refused by the system.
    Rejected,
    /// Not written: the row had moved since the pull.
    Stale,
    /// Nobody knows.
    Unknown,
    /// Not tried.
    Skipped,
}

impl Settled {
    /// What became of a change, by the word that it is told with.
    pub fn of_word(word: &str) -> Option<Settled> {
        use Settled::{Normalised, Overwritten, Pending, Rejected, Skipped, Stale, Unknown, Verified};
        [Verified, Normalised, Pending, Overwritten, Rejected, Stale, Unknown, Skipped].into_iter().find(|settled| settled.to_string() == word)
    }
}

impl fmt::Display for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Settled::Verified => "verified",
            Settled::Normalised => "normalised",
            Settled::Pending => "pending",
            Settled::Overwritten => "overwritten since",
            Settled::Rejected => "rejected",
            Settled::Stale => "stale",
            Settled::Unknown => "unknown",
            Settled::Skipped => "skipped",
        })
    }
}

/// One system's value in a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemValue {
    /// The system.
    pub system: String,
    /// Its clean value.
    pub value: Value,
}

/// One field of one record that was decided, with everything that settling it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The record's number in the job.
    pub record: u64,
    /// The record's canonical key, for people.
    pub key: String,
    /// The field.
    pub field: String,
    /// The value that was decided.
    pub value: Value,
    /// Why.
    pub reason: Reason,
    /// The systems whose value it is: they vote for it as long as another is owed it.
    pub from: Vec<String>,
    /// What each system that carries the field held when it was pulled.
    pub seen: Vec<SystemValue>,
    /// Values that lost, with the systems that hold them: in a conflict, by drift, under an owner.
    pub overridden: Vec<SystemValue>,
    /// Systems that lack the value and are not sent it: the job forbids it, or it was refused too often.
    pub unsent: Vec<String>,
}

/// What kind of difference is still there after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BreakKind {
    /// A record that a system should have and has not.
    Missing,
    /// Values of a numeric field differ.
    Amount,
    /// Values of another field differ.
    Field,
    /// Several systems changed a field and a person must decide.
    Conflict,
    /// A value was cleared where it was not empty before.
    Cleared,
    /// A system that does not decide a field holds another value, and the job only reports it.
    Drift,
    /// Several different rows of a system have one key, or a new key is taken.
    Duplicate,
    /// A row that could not be read.
    Quarantined,
    /// A record that only systems without a vote hold.
    Orphan,
    /// A write was refused, not tried, or found its row moved.
    WriteRejected,
    /// A write was made and does not show, or shows as something else.
    WriteNotKept,
    /// A value that may not be written where it should be.
    Locked,
    /// A change that a person must allow.
    Review,
    /// A key change that is only suspected.
    SuggestedLink,
    /// A record that came back after its delete was agreed.
    Restored,
    /// A field that a system changes again whenever we have written it, and that is not written there any more.
    Frozen,
    /// What a run had written and a person took back: it is not written again by itself.
    Undone,
}

impl fmt::Display for BreakKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BreakKind::Missing => "missing in a system",
            BreakKind::Amount => "amount",
            BreakKind::Field => "field",
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
        })
    }
}

/// A difference that is still there after the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Break {
    /// What kind of difference.
    pub kind: BreakKind,
    /// The record's canonical key, or what stands for it: a row without a readable key is known by what it holds.
    pub key: String,
    /// The field; nothing where the whole record is meant.
    pub field: Option<String>,
    /// The system that is at odds with the others.
    pub system: Option<String>,
    /// What each system holds.
    pub values: Vec<SystemValue>,
    /// Why it is still there, in words.
    pub why: String,
    /// The exact next step for a person.
    pub next_step: String,
}

/// An edit in a system that does not decide the field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// The system that was edited.
    pub system: String,
    /// The record's canonical key.
    pub key: String,
    /// The field.
    pub field: String,
    /// What it held at the last run.
    pub base: Value,
    /// What it holds.
    pub now: Value,
    /// The decided value.
    pub decided: Value,
    /// Whether it is put back.
    pub restored: bool,
}

/// Something that happened to the link between a record and a row of a system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkEvent {
    /// The system.
    pub system: String,
    /// The record's number in the job.
    pub record: u64,
    /// The record's canonical key.
    pub key: String,
    /// What happened, in words: linked by key, renumbered from 7 to 12, ended.
    pub event: String,
    /// Whether a person should hear of it: renumbered rows, ended links. A first link is routine.
    pub notable: bool,
}

/// What a person decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// What was proposed is done.
    Accept,
    /// It is not done, and the difference is accepted.
    Reject,
    /// This system is right.
    Choose {
        /// The system.
        system: String,
    },
    /// It calls nobody until this day.
    Snooze {
        /// The day on which it calls again, as `2026-12-31`.
        until: String,
    },
    /// The frozen field is written again.
    Unfreeze,
    /// What a run had written was taken back, and is not written again by itself.
    Undone {
        /// The run.
        run: String,
    },
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::Accept => f.write_str("accept"),
            Act::Reject => f.write_str("reject"),
            Act::Choose { system } => write!(f, "choose {system}"),
            Act::Snooze { until } => write!(f, "snooze until {until}"),
            Act::Unfreeze => f.write_str("unfreeze"),
            Act::Undone { run } => write!(f, "undo of run {run}"),
        }
    }
}

/// What a break asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// A hash of what it is about. Another one: something changed since.
    pub about: String,
    /// What accepting it does, in words without a value; nothing where nothing is proposed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposal: Option<String>,
    /// The value that accepting it writes, where it is about a field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// The systems between which can be chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sides: Vec<String>,
    /// Why what would be proposed cannot be done, so that nothing is proposed, and it can only be said that it is not so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub barred: Option<String>,
}

/// A person's answer to a break.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Its number in the ledger.
    #[serde(skip)]
    pub number: u64,
    /// The identity of the break.
    pub id: String,
    /// The break as it was when it was answered.
    pub to: Break,
    /// What it was about: as in its [`Ask`], and if it accepts, with what was proposed.
    pub about: String,
    /// Of an undo: what else it may be about, where nobody knows what the systems hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub or_about: Vec<String>,
    /// What our own writes made of what it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried: Option<Carried>,
    /// What was decided.
    pub act: Act,
    /// Who decided.
    pub who: String,
    /// Why.
    pub why: Option<String>,
    /// When, RFC 3339.
    pub at: String,
    /// The row of a workbook that it was written in; nothing if it was typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<WrittenIn>,
}

/// Where a decision stands in a workbook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenIn {
    /// The name of the file.
    pub file: String,
    /// Its row on the sheet, as the workbook counts.
    pub row: u64,
    /// The SHA-256 of the file.
    pub sha256: String,
}

/// Something that an answer is about, before and after our own writes: they make no decision stale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// As it is after them.
    pub to: String,
    /// As it was when it was answered.
    pub from: String,
}

impl Answer {
    /// What this was before our own writes, if the answer was carried over them.
    pub fn as_given<'a>(&'a self, about: &'a str) -> &'a str {
        self.carried.as_ref().filter(|carried| carried.to == about).map_or(about, |carried| carried.from.as_str())
    }

    /// Who and why, for a sentence: `anna: the customer moved`.
    pub fn by(&self) -> String {
        match &self.why {
            Some(why) => format!("{}: {why}", self.who),
            None => self.who.clone(),
        }
    }

    /// Whether it is about this.
    pub fn is_about(&self, about: &str) -> bool {
        let about = self.as_given(about);
        self.about == about || self.or_about.iter().any(|other| other == about)
    }

    /// Whether what an undo took back stays so by it.
    pub fn holds_undone(&self) -> bool {
        self.to.kind == BreakKind::Undone && (self.sets_aside() || matches!(self.act, Act::Undone { .. }))
    }

    /// Whether the break stays, and only calls nobody. Of a suspected key change, rejecting it decides it.
    pub fn sets_aside(&self) -> bool {
        match self.act {
            Act::Reject => self.to.kind != BreakKind::SuggestedLink,
            Act::Snooze { .. } => true,
            Act::Accept | Act::Choose { .. } | Act::Unfreeze | Act::Undone { .. } => false,
        }
    }

    /// Whether the day of its snooze has come.
    pub fn is_over(&self, today: &str) -> bool {
        matches!(&self.act, Act::Snooze { until } if until.as_str() <= today)
    }
}

/// What a plan takes back and is held afterwards ([`crate::reconcile::taken_back`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The answer. What it is about, and the words of its break, depend on what becomes of the changes.
    pub answer: Answer,
    /// What the break asks.
    pub ask: Ask,
    /// The numbers of the changes that it takes back; none, if an earlier undo did.
    pub changes: Vec<u32>,
    /// The record's number in the job.
    pub record: u64,
    /// By system where the record is: what it held before, by field. Of a field, its value alone.
    pub before: BTreeMap<String, Vec<(String, Value)>>,
    /// The same of rows that were archived, and stand for the record again once that is taken back.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub archived: BTreeMap<String, Vec<(String, Value)>>,
    /// By system where the record is: its key before, if it may have another one afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<BTreeMap<String, String>>,
}

/// What a plan undoes, and who wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undoes {
    /// The run.
    pub run: String,
    /// Who undoes it.
    pub who: String,
    /// Why.
    pub why: Option<String>,
    /// When that was decided, RFC 3339.
    pub at: String,
}

/// What a plan is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanHeader {
    /// The job.
    pub job: String,
    /// The run that made it.
    pub run: String,
    /// The run whose bases it was decided against; nothing at first contact.
    pub base_run: Option<String>,
    /// The digest of the job file.
    pub job_digest: String,
    /// The digest of each system's snapshot, where it has one.
    pub snapshots: BTreeMap<String, String>,
    /// The first record number that is still free.
    pub next_record: u64,
    /// The version of the program that made it.
    #[serde(default)]
    pub version: String,
    /// By the number of a person's answer that the plan follows: the changes that it led to. Without one it is followed by
    /// deciding alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub answers: BTreeMap<u64, Vec<u32>>,
    /// What it takes back of an earlier run, which is held afterwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<Hold>,
    /// What it undoes; nothing where it is the plan of a night.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<Undoes>,
}

/// What is done to each system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What the plan is about.
    pub header: PlanHeader,
    /// The changes, by system in the job's order, then by key.
    pub changes: Vec<Change>,
    /// Every decided field behind them, by record and field.
    pub decisions: Vec<Decision>,
}

impl Break {
    /// The identity that a break keeps as long as it is open: a short hash of job, kind, key, field and system.
    pub fn id(&self, job: &str) -> String {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        let parts = [job, &format!("{:?}", self.kind), &self.key, self.field.as_deref().unwrap_or(""), self.system.as_deref().unwrap_or("")];
        for part in parts {
            hasher.update(part.as_bytes());
            hasher.update(&[0]);
        }
        format!("{:016x}", hasher.digest())[..10].to_owned()
    }
}
