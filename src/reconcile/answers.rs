//! What people decided about open breaks, and what becomes of it in a run.
//!
//! A break that the core leaves open *asks*: an [`Ask`] says what it is about, what accepting it would do, and between which
//! systems can be chosen. A person's *answer* is about that break as it was then. A run takes the answers in as data and decides
//! under them, as far as everything is still as it was when they were given; the ledger keeps what became of each.
//!
//! | answer | what the next run does | until |
//! | --- | --- | --- |
//! | accept | what was proposed: the create, update or delete that waited, the suspected key change | it is verified; a value, or what is proposed, changes |
//! | choose | the value of that system is the decided one; of a deleted record, the one that is there comes back | it is decided |
//! | reject | nothing: the difference is accepted, and calls nobody. A suspected key change is none: these are two records | a value changes |
//! | snooze | nothing: the break stays and calls nobody | the day, or a value changes |
//! | unfreeze | the frozen field is written again | it is done |
//! | undo of a run | nothing: what was taken back is not written again by itself, and asks | a value changes, or another answer |
//!
//! An answer about values that changed since is *stale*, and so is an acceptance of something else than would be done now: it is not applied, that is told, and the break asks again. An answer to a
//! break that is gone is *over*.
//!
//! # Design
//! - An acceptance is about what was proposed as well: another rule in the job may propose another value for the same ones.
//! - What a break is about is told by a hash of what every system held ([`about_field`], [`about_record`]), witnesses aside. So an
//!   answer never overwrites an edit that came after it, whoever made it and wherever.
//! - Our own writes make no answer stale: what is asked in a run that writes is kept as it is after the writes, and an answer that
//!   waits goes on to be about what they made of it ([`Carrying`]). A run that was cut off carries them over what it had written.
//! - An answer is kept with the plan that uses it. It is done when what it asked for is verified, and stays until then: a run
//!   that is cut off neither loses it nor makes it twice.
//! - What was accepted and refused by the system is still accepted: it is sent again, and having been given up it waits with its
//!   acceptance until a person has it sent again, or until what it is about changes.
//! - A field that differs in several systems is a break in each of them. Which side is right is one question all the same, so a
//!   choice and any other answer about that field contradict ([`contradict`]): the later one is followed, and takes the place of the earlier.
//! - That a key was changed to one that another row has cannot be accepted: the two records would have one key, and wait for it.
//! - There is no clock here: the day is given.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::base::{FieldDebt, Open, State};
use super::link::Linked;
use super::settle::Fate;
pub use crate::change::{Act, Answer, Ask, Carried, Hold, WrittenIn};
use crate::change::{Break, BreakKind, PlanHeader, Settled, SystemValue, key_for_people};
use crate::frame::{Keyed, NO_ROW};
use crate::job::{Job, Role};
use crate::value::Value;

/// The answers that no run has made use of yet, and those that hold: at most one a break, and none that contradicts another.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    by_id: BTreeMap<String, Answer>,
    /// By key and field: the breaks whose answers choose a side, all of them the same, the oldest first.
    choices: BTreeMap<(String, String), Vec<String>>,
    /// Those that a later one contradicts.
    replaced: Vec<Answer>,
}

impl Answers {
    /// All of these, the oldest first. Of several to one break, the last one counts, and so of several about a field that cannot
    /// all be followed.
    pub fn new(answers: impl IntoIterator<Item = Answer>) -> Answers {
        let mut all = Answers::default();
        let mut ids: Vec<String> = Vec::new();
        for answer in answers {
            ids.push(answer.id.clone());
            all.by_id.insert(answer.id.clone(), answer);
        }
        let mut chosen: BTreeSet<(&str, &str)> = BTreeSet::new();
        for answer in all.by_id.values().filter(|answer| matches!(answer.act, Act::Choose { .. })) {
            chosen.extend(answer.to.field.as_deref().map(|field| (answer.to.key.as_str(), field)));
        }
        if chosen.is_empty() {
            return all;
        }
        let mut looked_at: BTreeSet<&str> = BTreeSet::new();
        let mut of_fields: BTreeMap<(String, String), Vec<&Answer>> = BTreeMap::new();
        let mut replaced: Vec<String> = Vec::new();
        for id in ids.iter().rev().filter(|id| looked_at.insert(id.as_str())) {
            let answer = &all.by_id[id];
            let Some(field) = answer.to.field.as_deref().filter(|field| chosen.contains(&(answer.to.key.as_str(), *field))) else { continue };
            let later = of_fields.entry((answer.to.key.clone(), field.to_owned())).or_default();
            if later.iter().any(|later| contradict(later, answer)) {
                replaced.push(id.clone());
            } else {
                later.push(answer);
            }
        }
        all.choices = of_fields
            .into_iter()
            .map(|(at, answers)| {
                let choices = answers.into_iter().rev().filter(|answer| matches!(answer.act, Act::Choose { .. }));
                (at, choices.map(|answer| answer.id.clone()).collect())
            })
            .collect();
        all.replaced = replaced.iter().filter_map(|id| all.by_id.remove(id)).collect();
        all
    }

    /// The same with these in the place of those to the same breaks.
    pub fn with(mut self, answers: impl IntoIterator<Item = Answer>) -> Answers {
        self.by_id.extend(answers.into_iter().map(|answer| (answer.id.clone(), answer)));
        self
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Whether one of them accepts what was proposed.
    pub fn accept_something(&self) -> bool {
        self.iter().any(|answer| answer.act == Act::Accept)
    }

    /// All of them, by the identity of their break.
    pub fn iter(&self) -> impl Iterator<Item = &Answer> {
        self.by_id.values()
    }

    /// The answer to this break, if it is about this. For an acceptance see [`Answers::accepting`].
    pub fn to(&self, id: &str, about: &str) -> Option<&Answer> {
        self.by_id.get(id).filter(|answer| answer.about == answer.as_given(about))
    }

    /// The answer that accepts what this break proposes, if it is about this and this was proposed.
    pub fn accepting(&self, id: &str, about: &str, proposal: Option<&str>, value: Option<&Value>) -> Option<&Answer> {
        let answer = self.by_id.get(id).filter(|answer| answer.act == Act::Accept)?;
        (answer.about == about_accepting(answer.as_given(about), proposal, value)).then_some(answer)
    }

    /// What this was before our own writes, for the answer to this break.
    pub fn as_given<'a>(&'a self, id: &str, about: &'a str) -> &'a str {
        self.by_id.get(id).map_or(about, |answer| answer.as_given(about))
    }

    /// Whether somebody answered this break, whatever it was about.
    pub fn has(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    /// What was taken back and is not written again by itself, if it is about this. It stays so while it is set aside.
    pub fn holds(&self, id: &str, about: &str) -> Option<&Answer> {
        self.by_id.get(id).filter(|answer| answer.holds_undone() && answer.is_about(about))
    }

    /// By the key of a record, the answers to what an undo took back of it.
    pub fn to_undone(&self) -> BTreeMap<&str, Vec<&Answer>> {
        let mut by_key: BTreeMap<&str, Vec<&Answer>> = BTreeMap::new();
        for answer in self.iter().filter(|answer| answer.to.kind == BreakKind::Undone) {
            by_key.entry(&answer.to.key).or_default().push(answer);
        }
        by_key
    }

    /// The system that was chosen for a field of a record, by the last answer that is about this.
    pub fn choice(&self, key: &str, field: &str, about: &str) -> Option<(&Answer, &str)> {
        self.choices(key, field, about).next_back()
    }

    /// All answers that choose this side of a field, if they are about this, the oldest first.
    pub fn choices(&self, key: &str, field: &str, about: &str) -> impl DoubleEndedIterator<Item = (&Answer, &str)> {
        let ids = if self.choices.is_empty() { None } else { self.choices.get(&(key.to_owned(), field.to_owned())) };
        let answers = ids.into_iter().flatten().filter_map(|id| self.by_id.get(id)).filter(move |answer| answer.about == answer.as_given(about));
        answers.filter_map(|answer| if let Act::Choose { system } = &answer.act { Some((answer, system.as_str())) } else { None })
    }

    /// Lets the frozen fields be written again of which a person said so. Gives the answers that were followed.
    pub fn unfreeze(&self, job: &Job, state: &mut State) -> Vec<u64> {
        let mut followed = Vec::new();
        let asked: BTreeMap<(&str, &str, &str), u64> = self
            .iter()
            .filter(|answer| answer.act == Act::Unfreeze)
            .filter_map(|answer| Some(((answer.to.key.as_str(), answer.to.field.as_deref()?, answer.to.system.as_deref()?), answer.number)))
            .collect();
        if asked.is_empty() {
            return followed;
        }
        let bases = &state.bases;
        state.open.flips.retain(|(record, field, system), flips| {
            let keys = bases.iter().filter_map(|base| base.keys.get(base.records.binary_search(record).ok()?));
            let number = keys.filter_map(|key| asked.get(&(key, field.as_str(), system.as_str()))).next();
            match number.filter(|_| flips.frozen && job.field(field).is_some()) {
                Some(number) => {
                    followed.push(*number);
                    false
                }
                None => true,
            }
        });
        followed
    }

    /// By the identity of an open break: the answer that sets it aside today.
    pub fn set_aside<'a>(&'a self, asks: &BTreeMap<String, Ask>, today: &str) -> BTreeMap<&'a str, &'a Answer> {
        let holds = |answer: &&Answer| {
            // Nobody could look at what asks nothing tonight, so it is as it was.
            let is_same = asks.get(&answer.id).is_none_or(|ask| answer.is_about(&ask.about));
            answer.sets_aside() && is_same && !answer.is_over(today)
        };
        self.iter().filter(holds).map(|answer| (answer.id.as_str(), answer)).collect()
    }
}

/// Whether two answers to different breaks cannot both be followed: a side that is chosen decides the whole field, in every system.
pub fn contradict(one: &Answer, other: &Answer) -> bool {
    let is_about_a_value = |answer: &Answer| !matches!(answer.act, Act::Unfreeze | Act::Undone { .. });
    let chooses = |answer: &Answer| matches!(answer.act, Act::Choose { .. });
    let of_one_field = one.id != other.id && one.to.key == other.to.key && one.to.field.is_some() && one.to.field == other.to.field;
    of_one_field && one.act != other.act && (chooses(one) || chooses(other)) && is_about_a_value(one) && is_about_a_value(other)
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Became {
    /// It was done.
    Applied,
    /// Not applied: what it was about changed since.
    Stale,
    /// Not needed: the break is gone.
    Over,
    /// The day came until which it was snoozed.
    Ended,
    /// A later answer took its place.
    Replaced,
    /// A person took it back.
    Forgotten,
}

impl Became {
    /// In one word, as the ledger has it.
    pub fn word(self) -> &'static str {
        match self {
            Became::Applied => "applied",
            Became::Stale => "stale",
            Became::Over => "over",
            Became::Ended => "ended",
            Became::Replaced => "replaced",
            Became::Forgotten => "forgotten",
        }
    }

    /// For a sentence about the answer.
    pub fn words(word: &str) -> &'static str {
        match word {
            "applied" => "applied",
            "stale" => "not applied, because what it is about changed since",
            "over" => "not applied, because the break is gone",
            "ended" => "over, its day has come",
            "replaced" => "replaced by a later decision",
            _ => "taken back",
        }
    }
}

/// What became of the answers in a run that came to its end: those that go on are not in it.
///
/// `asks` are tonight's, `breaks` what is open after it, `fates` what became of its changes, by their number; `owed` is what systems
/// still owe after it. An acceptance outlives its break while what it accepted is owed, given up or not.
#[expect(clippy::too_many_arguments, reason = "all that tells what became of an answer, gathered once by the only caller")]
pub fn judge(
    job: &Job,
    answers: &Answers,
    header: &PlanHeader,
    asks: &BTreeMap<String, Ask>,
    fates: &BTreeMap<u32, Fate>,
    breaks: &[Break],
    owed: &Owed,
    today: &str,
) -> Vec<(u64, Became)> {
    if answers.is_empty() {
        return Vec::new();
    }
    let open: BTreeSet<String> = breaks.iter().map(|open| open.id(&job.name)).collect();
    let judged = answers.iter().filter_map(|answer| {
        let became = match header.answers.get(&answer.number) {
            Some(changes) if is_done(changes, fates) && !owed.is_behind(answer) => Became::Applied,
            // It was sent and did not arrive: what it was about tells whether it is sent again.
            Some(_) => return None,
            None if answer.is_over(today) && answer.to.kind != BreakKind::Undone => Became::Ended,
            None if !open.contains(&answer.id) && owed.is_behind(answer) => return None,
            None if !open.contains(&answer.id) => Became::Over,
            None if asks.get(&answer.id).is_some_and(|ask| !is_about_what_is_asked(answer, ask)) => Became::Stale,
            None => return None,
        };
        Some((answer.number, became))
    });
    judged.chain(answers.replaced.iter().map(|answer| (answer.number, Became::Replaced))).collect()
}

fn is_about_what_is_asked(answer: &Answer, ask: &Ask) -> bool {
    let asked = Ask { about: answer.as_given(&ask.about).to_owned(), ..ask.clone() };
    answer.is_about(&ask.about) || about(&answer.act, &asked) == answer.about
}

/// What systems still owe after a run, whether it is sent again by itself or was given up.
#[derive(Clone, Debug, Default)]
pub struct Owed {
    /// By key, field and system.
    fields: BTreeSet<(String, String, String)>,
    /// By key: the systems that owe a create, delete or archive.
    records: BTreeMap<String, BTreeSet<String>>,
}

impl Owed {
    /// What is owed. `key` gives the key of a record by its number.
    pub fn of<'k>(open: &Open, key: impl Fn(u64) -> Option<&'k str>) -> Owed {
        let mut owed = Owed::default();
        for ((record, field), debts) in &open.fields {
            let systems = debts.debts.iter().filter(|(_, debt)| matches!(debt, FieldDebt::Owed { .. })).map(|(system, _)| system);
            owed.fields.extend(systems.filter_map(|system| Some((key(*record)?.to_owned(), field.clone(), system.clone()))));
        }
        for (record, system) in open.records.keys() {
            if let Some(key) = key(*record) {
                owed.records.entry(key.to_owned()).or_default().insert(system.clone());
            }
        }
        owed
    }

    /// Whether this is an acceptance of what is still owed.
    fn is_behind(&self, answer: &Answer) -> bool {
        let of_system = |system: &String| match &answer.to.field {
            Some(field) => self.fields.contains(&(answer.to.key.clone(), field.clone(), system.clone())),
            None => self.records.get(&answer.to.key).is_some_and(|systems| systems.contains(system)),
        };
        // A delete that is reported is told of the system that lost the record, and owed by those that have it.
        let reported = || answer.to.kind == BreakKind::Missing && self.records.contains_key(&answer.to.key);
        answer.act == Act::Accept && (answer.to.system.as_ref().is_some_and(of_system) || reported())
    }
}

/// By the values of a row in one system what they are on the other side of our own writes; nothing where the row is not.
pub type OtherSide<'a> = dyn Fn(usize, u32, Option<RowValues>) -> Option<RowValues> + 'a;

/// By field the values of a row; nothing for a field that the system does not carry.
pub type RowValues = Vec<Option<Value>>;

/// What the breaks of tonight's records are about, on this side of our own writes and on the other.
pub struct Carrying<'a> {
    /// The job.
    pub job: &'a Job,
    /// Tonight's rows.
    pub nows: &'a [Keyed],
    /// Which row is which record.
    pub linked: &'a Linked,
    /// By the identity of a break that a create waits in: the values that would be written.
    pub of_creates: &'a BTreeMap<String, Vec<Option<Value>>>,
    /// The other side.
    pub other: &'a OtherSide<'a>,
}

impl Carrying<'_> {
    /// What a break of this record is about on both sides: what it is tonight, and on the other one. `field` is nothing for a break
    /// of the whole record.
    fn both(&self, of_create: Option<&Vec<Option<Value>>>, record: u32, field: Option<usize>) -> (String, String) {
        let row = |system: usize| {
            let row = self.linked.now_rows[system][record as usize];
            (row != NO_ROW).then(|| self.nows[system].clean.fields.iter().map(|column| column.as_ref().map(|column| column.value(row))).collect::<RowValues>())
        };
        let here: Vec<Option<RowValues>> = (0..self.nows.len()).map(row).collect();
        let there: Vec<Option<RowValues>> = here.iter().cloned().enumerate().map(|(system, row)| (self.other)(system, record, row)).collect();
        let about = |rows: &[Option<RowValues>]| match (field, of_create) {
            (Some(field), _) => {
                let held = self.job.systems.iter().zip(rows).filter_map(|(spec, row)| Some((spec, row.as_ref()?[field].clone()?)));
                let held: Vec<SystemValue> = held.map(|(spec, value)| SystemValue { system: spec.name.clone(), value }).collect();
                about_field(self.job, &held)
            }
            (None, values) => {
                let mut hasher = Xxh3::new();
                add_rows(&mut hasher, self.job, |system| rows[system].clone(), |system| self.linked.silent[system].contains_key(&record));
                let about = format!("{:032x}", hasher.digest128());
                values.map_or(about.clone(), |values| about_create(&about, values.iter().cloned()))
            }
        };
        (about(&here), about(&there))
    }

    /// What is asked tonight, as it is on the other side.
    pub fn asks(
        &self,
        asks: &BTreeMap<String, Ask>,
        asked: &BTreeMap<String, (u32, Option<usize>)>,
        is_written: impl Fn(u32) -> bool,
    ) -> BTreeMap<String, Ask> {
        let mut asks = asks.clone();
        for (id, (record, field)) in asked.iter().filter(|(_, (record, _))| is_written(*record)) {
            let (here, there) = self.both(self.of_creates.get(id), *record, *field);
            if let Some(ask) = asks.get_mut(id).filter(|ask| ask.about == here) {
                ask.about = there;
            }
        }
        asks
    }

    /// The answers about these records as they are from now on, as far as they change. `records` gives them by their key;
    /// `is_after` says that the other side is what the writes make, and else that it is what they were made of.
    pub fn answers(&self, answers: &Answers, records: &BTreeMap<String, u32>, is_after: bool) -> Vec<Answer> {
        let carry = |answer: &Answer| {
            let record = *records.get(&answer.to.key)?;
            let is_held = matches!(answer.to.kind, BreakKind::SuggestedLink | BreakKind::Undone) || matches!(answer.act, Act::Undone { .. });
            let field = match &answer.to.field {
                Some(field) => Some(self.job.field(field)?),
                None => None,
            };
            // What would be created is looked at anew where that is accepted: what carries over is the record.
            let of_create = self.of_creates.get(&answer.id).filter(|_| answer.act != Act::Accept);
            let (here, there) = self.both(of_create, record, field);
            let (from, to) = if is_after { (here, there) } else { (there, here) };
            let carried = Carried { from: answer.as_given(&from).to_owned(), to };
            (!is_held && carried.from != carried.to && answer.carried.as_ref() != Some(&carried)).then(|| Answer { carried: Some(carried), ..answer.clone() })
        };
        answers.iter().filter_map(carry).collect()
    }
}

/// The answers that a plan made use of and that are done.
pub fn done(header: &PlanHeader, fates: &BTreeMap<u32, Fate>) -> Vec<u64> {
    header.answers.iter().filter(|(_, changes)| is_done(changes, fates)).map(|(number, _)| *number).collect()
}

fn is_done(changes: &[u32], fates: &BTreeMap<u32, Fate>) -> bool {
    changes.iter().all(|change| fates.get(change).is_some_and(|fate| matches!(fate.settled, Settled::Verified | Settled::Normalised)))
}

/// What the reader of a report must hear of answers: those that were not applied although somebody waits for it.
pub fn notes(answers: &Answers, judged: &[(u64, Became)]) -> Vec<String> {
    let told = answers.iter().chain(&answers.replaced).filter_map(|answer| {
        let (_, became) = judged.iter().find(|(number, _)| *number == answer.number)?;
        let what = match &answer.to.field {
            Some(field) => format!("`{field}` of `{}`", key_for_people(&answer.to.key)),
            None => format!("`{}`", key_for_people(&answer.to.key)),
        };
        let decision = format!("the decision of {} about {what} ({})", answer.who, answer.act);
        match became {
            _ if matches!(answer.act, Act::Undone { .. }) => None,
            Became::Stale if answer.sets_aside() => Some(format!("{decision} is over: what it is about changed since, so it is asked again")),
            Became::Stale => Some(format!("{decision} was not applied: what it is about changed since, so it is asked again")),
            Became::Over if !answer.sets_aside() => Some(format!("{decision} was not applied: the break is gone")),
            Became::Ended => Some(format!("{decision} is over: its day has come")),
            Became::Replaced => Some(format!("{decision} was not applied: a later decision took its place")),
            Became::Applied | Became::Over | Became::Forgotten => None,
        }
    });
    told.collect()
}

/// What the break of a suspected key change proposes.
pub const TAKE_THE_NEW_ROW: &str = "take the new row for this record, with its key changed";

/// The words that decide what a break asks, as they are typed.
pub fn deciding(ask: &Ask) -> Vec<String> {
    let accept = ask.proposal.iter().map(|_| "--accept".to_owned());
    accept.chain(ask.sides.iter().map(|side| format!("--choose {side}"))).collect()
}

/// The words that fit a break, as they are typed; `--snooze` always does.
pub fn fitting(open: &Break, ask: Option<&Ask>) -> Vec<String> {
    let mut words = ask.map(deciding).unwrap_or_default();
    if open.kind == BreakKind::Frozen {
        words.push("--unfreeze".to_owned());
    }
    if may_be_rejected(open, ask) {
        words.push("--reject".to_owned());
    }
    words.push("--snooze DAY".to_owned());
    words
}

/// Why an answer does not fit a break, in words; nothing if it does.
pub fn misfit(open: &Break, ask: Option<&Ask>, act: &Act) -> Option<String> {
    let sides = || ask.map(|ask| ask.sides.as_slice()).unwrap_or_default();
    match act {
        Act::Snooze { .. } => None,
        Act::Unfreeze if open.kind == BreakKind::Frozen => None,
        Act::Unfreeze | Act::Undone { .. } => Some("nothing is frozen here".to_owned()),
        Act::Accept if ask.is_some_and(|ask| ask.proposal.is_some()) => None,
        Act::Choose { system } if sides().contains(system) => None,
        Act::Reject if may_be_rejected(open, ask) => None,
        Act::Accept if ask.is_some_and(|ask| ask.barred.is_some()) => ask.and_then(|ask| ask.barred.clone()),
        Act::Accept if !sides().is_empty() => Some("no value is proposed: a system must be chosen".to_owned()),
        Act::Choose { system } if !sides().is_empty() => Some(format!("`{system}` is none of the systems between which can be chosen")),
        Act::Accept | Act::Choose { .. } | Act::Reject => Some(
            match open.kind {
                BreakKind::Quarantined => "a decision cannot make the row readable: it must be mended where it stands",
                BreakKind::Duplicate => "which row is meant can only be told where they stand: a decision writes none of them away",
                BreakKind::WriteRejected | BreakKind::WriteNotKept => "it is decided already, and sent again by every run until the system takes it",
                BreakKind::Restored => "a row that came back is deleted again where it stands, or accepted with `tieout run --allow restored`",
                BreakKind::Locked => "a decision cannot write what must not be written",
                BreakKind::Frozen => "the field is frozen, and not written until it is let go",
                _ if matches!(act, Act::Choose { .. }) => "there are no two sides between which could be chosen",
                _ if *act == Act::Accept => "nothing is proposed that could be done",
                _ => "it cannot be left as it is",
            }
            .to_owned(),
        ),
    }
}

fn may_be_rejected(open: &Break, ask: Option<&Ask>) -> bool {
    match open.kind {
        BreakKind::SuggestedLink => ask.is_some_and(|ask| ask.proposal.is_some() || ask.barred.is_some()),
        kind => can_be_accepted_as_it_is(kind) && ask.is_some(),
    }
}

/// Whether a difference of this kind may stay by a person's word. Not what cannot be read or told apart, nor what was decided.
fn can_be_accepted_as_it_is(kind: BreakKind) -> bool {
    match kind {
        BreakKind::Missing
        | BreakKind::Amount
        | BreakKind::Field
        | BreakKind::Conflict
        | BreakKind::Cleared
        | BreakKind::Drift
        | BreakKind::Orphan
        | BreakKind::Locked
        | BreakKind::Review
        | BreakKind::SuggestedLink
        | BreakKind::Undone
        | BreakKind::Frozen => true,
        BreakKind::Duplicate | BreakKind::Quarantined | BreakKind::WriteRejected | BreakKind::WriteNotKept | BreakKind::Restored => false,
    }
}

/// What an answer to a break is about: of an acceptance, what was proposed too.
pub fn about(act: &Act, ask: &Ask) -> String {
    match act {
        Act::Accept => about_accepting(&ask.about, ask.proposal.as_deref(), ask.value.as_ref()),
        _ => ask.about.clone(),
    }
}

fn about_accepting(about: &str, proposal: Option<&str>, value: Option<&Value>) -> String {
    let mut hasher = Xxh3::new();
    add(&mut hasher, about);
    add(&mut hasher, &format!("{proposal:?}"));
    // A value that was kept with what a break asks must hash as it did before.
    add(&mut hasher, &value.and_then(|value| serde_json::to_string(value).ok()).unwrap_or_default());
    format!("{:032x}", hasher.digest128())
}

/// What the create of a record in a system is about that waits for a person: the record as it is elsewhere, and by field the value
/// that would be written; nothing where a person is to decide it, or did.
pub fn about_create(record: &str, values: impl Iterator<Item = Option<Value>>) -> String {
    let mut hasher = Xxh3::new();
    add(&mut hasher, record);
    values.for_each(|value| add(&mut hasher, &format!("{value:?}")));
    format!("{:032x}", hasher.digest128())
}

/// What a break of a field is about: what each system held, witnesses aside.
pub fn about_field(job: &Job, values: &[SystemValue]) -> String {
    let mut hasher = Xxh3::new();
    for held in values.iter().filter(|held| job.system(&held.system).is_some_and(|system| job.systems[system].role != Role::Witness)) {
        add(&mut hasher, &held.system);
        add(&mut hasher, &format!("{:?}", held.value));
    }
    format!("{:032x}", hasher.digest128())
}

/// What a break of a whole record is about: where it is, and every value of it, witnesses aside.
pub fn about_record(job: &Job, nows: &[Keyed], linked: &Linked, record: u32) -> String {
    let mut hasher = Xxh3::new();
    add_record(&mut hasher, job, nows, linked, record);
    format!("{:032x}", hasher.digest128())
}

/// What a suspected key change is about: the record that lost its row, and the row that is new.
pub fn about_suggestion(job: &Job, nows: &[Keyed], linked: &Linked, old: u32, new: u32) -> String {
    let mut hasher = Xxh3::new();
    add_record(&mut hasher, job, nows, linked, old);
    add_record(&mut hasher, job, nows, linked, new);
    format!("{:032x}", hasher.digest128())
}

/// What a record that is not made in some system is about: every value of it where it is, witnesses aside. `rows` gives by system
/// the values of its row by field; nothing where it is not.
pub fn about_elsewhere(job: &Job, rows: impl Fn(usize) -> Option<Vec<Option<Value>>>) -> String {
    let mut hasher = Xxh3::new();
    for (system, spec) in job.systems.iter().enumerate().filter(|(_, spec)| spec.role != Role::Witness) {
        let Some(values) = rows(system) else { continue };
        add(&mut hasher, &spec.name);
        values.iter().for_each(|value| add(&mut hasher, &format!("{value:?}")));
    }
    format!("{:032x}", hasher.digest128())
}

fn add_record(hasher: &mut Xxh3, job: &Job, nows: &[Keyed], linked: &Linked, record: u32) {
    let values = |system: usize| {
        let row = linked.now_rows[system][record as usize];
        (row != NO_ROW).then(|| nows[system].clean.fields.iter().map(|column| column.as_ref().map(|column| column.value(row))).collect())
    };
    add_rows(hasher, job, values, |system| linked.silent[system].contains_key(&record));
}

fn add_rows(hasher: &mut Xxh3, job: &Job, values: impl Fn(usize) -> Option<RowValues>, is_silent: impl Fn(usize) -> bool) {
    for (system, spec) in job.systems.iter().enumerate().filter(|(_, spec)| spec.role != Role::Witness) {
        add(hasher, &spec.name);
        match values(system) {
            None => add(hasher, if is_silent(system) { "silent" } else { "absent" }),
            Some(values) => values.iter().for_each(|value| add(hasher, &format!("{value:?}"))),
        }
    }
}

fn add(hasher: &mut Xxh3, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(number: u64, id: &str, system: &str) -> Answer {
        let to = Break {
            kind: BreakKind::Amount,
            key: "7".to_owned(),
            field: Some("limit".to_owned()),
            system: Some(id.to_owned()),
            values: Vec::new(),
            why: String::new(),
            next_step: String::new(),
        };
        let act = Act::Choose { system: system.to_owned() };
        Answer {
            number,
            id: id.to_owned(),
            to,
            about: "a".to_owned(),
            or_about: Vec::new(),
            carried: None,
            act,
            who: "anna".to_owned(),
            why: None,
            at: String::new(),
            written: None,
        }
    }

    /// The identity of a break says nothing of when it was answered.
    #[test]
    fn the_last_choice_of_a_field_counts_whatever_its_break_is_called() {
        for (first, last) in [("shop", "books"), ("books", "shop")] {
            let answers = Answers::new([choice(1, first, first), choice(2, last, last), choice(3, "all", last)]);
            assert_eq!(answers.choice("7", "limit", "a").map(|(answer, system)| (answer.number, system)), Some((3, last)));
            assert_eq!(answers.choices("7", "limit", "a").map(|(answer, _)| answer.number).collect::<Vec<u64>>(), [2, 3]);
            assert!(!answers.has(first) && answers.has(last));
        }
    }
}
