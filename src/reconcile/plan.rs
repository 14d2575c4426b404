//! From links and values to a plan: existence first, then every field, then the changes of each system.
//!
//! Existence, per record and system:
//!
//! | in the system | linked | what it means | scenario |
//! | --- | --- | --- | --- |
//! | yes, elsewhere not | never | new: created elsewhere where allowed; waits while one of its fields is held | `create` |
//! | gone, edited by another voter | yes | an edit beats a delete: recreated | `edit_beats_delete` |
//! | gone, untouched elsewhere | yes | deleted: report, propagate, archive or recreate | `delete_report` … |
//! | gone, an open decision on the record | yes | the delete waits for it | `delete_joins_decision` |
//! | nowhere | yes | the link ends | `both_gone` |
//! | silent | either | nothing is created, changed or deleted for the record anywhere | `quarantined_is_silent` |
//! | gone from a target | yes | drift: created again | `target_delete_is_drift` |
//! | only in targets | never | an orphan: listed | `orphan` |
//! | its key is on an archived row | either | held: no second row is made, and a person is asked | `archived_and_created_again` |
//! | there, and locked by `immutable_when` | yes | no change of ours is made in it: a break | `immutable_rows`, `immutable_field` |
//! | there, and a field of it frozen | yes | that field is not written there: a break | `frozen` |
//! | not there, and its create was undone | never | a break, until a value changes or a person decides | `undo` |
//! | gone, untouched elsewhere, and a person said what is right | yes | deleted elsewhere, or created again | `review_reported_delete` |
//! | its create or delete waits for a person, who accepted it | either | done, with who and why | `review_permissions` |
//! | a field of it conflicts, and a person chose a side | yes | that value goes to all | `review_choose` |
//! | archived | lives on elsewhere | a break, until the archive is taken back | `archived_and_kept_elsewhere` |
//!
//! An absence counts only where the record was read in that system since it was linked, and where no row with an unreadable
//! key could be it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::answers::{self, Act, Answer, Answers, Ask};
use super::base::{FLIP_RUNS, FLIPS_MAX, FieldDebt, Flips, Open, OpenField, Standing, State};
use super::clean;
use super::diff;
use super::link::{self, Linked};
use super::merge::{self, Case, Decided, Ruling, Voice};
use crate::change::{
    Action, Address, AddressPart, Break, BreakKind, CellChange, Change, Decision, Drift, LinkEvent, Plan, PlanHeader, Reason, SystemValue, created_values,
    key_for_people,
};
use crate::frame::{Keyed, NO_ROW, Silence};
use crate::job::{Blank, ColumnSpec, Deletes, Field, Job, Lock, LockWhen, MergeRule, Mode, OnDrift, Permission, Role};
use crate::value::{FieldType, KEY_SEPARATOR, Raw, Value};

mod undo;

pub use undo::{Sent, Undo, undo};

/// What happens to a field's bases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseMove {
    /// They stay: the field waits.
    Stay,
    /// They become what was read, or read back.
    Move,
}

/// What happens to a record's bases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// All of them stay. A record that was never linked stays unlinked.
    Held,
    /// Field by field.
    Fields(Vec<BaseMove>),
    /// The record is gone everywhere: its links end.
    Ends,
}

/// All decisions of one run.
#[derive(Clone, Debug)]
pub struct Decisions {
    /// What is to be written, and what was decided behind it.
    pub plan: Plan,
    /// Which row is which record.
    pub linked: Linked,
    /// What stays open whatever becomes of the writes.
    pub breaks: Vec<Break>,
    /// Edits in systems that do not decide.
    pub drift: Vec<Drift>,
    /// Decisions in which a rule chose between voters.
    pub conflicts: Vec<Decision>,
    /// Differences that the job accepts.
    pub tolerated: Vec<Tolerated>,
    /// By position in `linked.records`, for all records that are not quiet.
    pub treatments: BTreeMap<u32, Treatment>,
    /// What happened to links beyond `linked.events`.
    pub events: Vec<LinkEvent>,
    /// By record number and system: records that are owed to a system which deleted or refused them, and are not sent to it
    /// tonight.
    pub comes_back: BTreeMap<(u64, String), Reason>,
    /// By record, field and system: what is known after tonight of fields that are changed again whenever we have written them;
    /// nothing where it is over.
    pub flips: BTreeMap<(u64, String, String), Option<Flips>>,
    /// By the identity of a break: what it asks a person. Breaks that were not looked into tonight ask nothing.
    pub asks: BTreeMap<String, Ask>,
    /// By the identity of a break of a record: its position in `linked.records`, and the field.
    pub asked: BTreeMap<String, (u32, Option<usize>)>,
    /// By the identity of a break that a create waits in: the values that would be written.
    pub of_creates: BTreeMap<String, Vec<Option<Value>>>,
}

/// A value that differs from the decided one, or in an audit from that of the first system, by no more than the tolerance of
/// its field: nothing is written, and it stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tolerated {
    /// The position of the record in `linked.records`.
    pub record: u32,
    /// The field.
    pub field: usize,
    /// The system.
    pub system: usize,
    /// What it holds.
    pub value: Value,
    /// What it is compared with.
    pub decided: Value,
}

/// Decides every record, under what people answered to breaks.
pub fn plan(job: &Job, state: &State, nows: &[Keyed], linked: Linked, answers: &Answers, header: PlanHeader) -> Decisions {
    let mut restless = diff::restless(job, state, nows, &linked);
    let undone = undo::Undone::of(answers, state, nows, &linked);
    restless.extend(undone.records());
    restless.sort_unstable();
    restless.dedup();
    let mut planner = Planner::new(job, state, nows, &linked, answers);
    let mut treatments = BTreeMap::new();
    for record in restless {
        let told = planner.breaks.len();
        let treatment = planner.record(record);
        planner.still_undone(&undone, record, told);
        planner.ask(record, told);
        treatments.insert(record, treatment);
    }
    planner.gone_and_undone(&undone);
    let Planner { changes, mut breaks, drift, decisions, conflicts, tolerated, events, comes_back, flips, asks, asked, of_creates, followed, .. } = planner;
    let changes = ordered(job, changes);
    breaks.sort_by(|a, b| (a.kind, &a.key, &a.field, &a.system).cmp(&(b.kind, &b.key, &b.field, &b.system)));
    let mut header = PlanHeader { next_record: linked.next_record, ..header };
    header.answers.extend(with_changes(followed, &changes));
    Decisions {
        plan: Plan { header, changes, decisions },
        breaks,
        drift,
        conflicts,
        tolerated,
        treatments,
        events,
        linked,
        comes_back,
        flips,
        asks,
        asked,
        of_creates,
    }
}

/// The changes in the order in which they are made, numbered.
fn ordered(job: &Job, mut changes: Vec<Change>) -> Vec<Change> {
    // What must be released comes before what may take it over: deletes first, creates last.
    let rank = |action: Action| match action {
        Action::Delete => 0,
        Action::Archive => 1,
        Action::Update => 2,
        Action::Create => 3,
    };
    let position = |change: &Change| job.system(&change.system).unwrap_or(usize::MAX);
    changes.sort_by(|a, b| (position(a), rank(a.action), &a.key, a.record).cmp(&(position(b), rank(b.action), &b.key, b.record)));
    let mut changes = release_first(changes);
    for (index, change) in changes.iter_mut().enumerate() {
        change.number = index as u32 + 1;
    }
    changes
}

/// The answers that were followed, each with the numbers of the changes that it led to. One that was to lead to changes and led
/// to none was not followed.
fn with_changes(followed: BTreeMap<u64, Vec<(u64, String)>>, changes: &[Change]) -> BTreeMap<u64, Vec<u32>> {
    if followed.is_empty() {
        return BTreeMap::new();
    }
    let mut numbers: HashMap<(u64, &str), u32> = HashMap::new();
    for change in changes {
        numbers.insert((change.record, &change.system), change.number);
    }
    let led_to =
        |places: &[(u64, String)]| places.iter().filter_map(|(record, system)| numbers.get(&(*record, system.as_str())).copied()).collect::<Vec<u32>>();
    followed
        .into_iter()
        .map(|(answer, places)| (answer, led_to(&places), places.is_empty()))
        .filter(|(_, led, alone)| *alone || !led.is_empty())
        .map(|(answer, led, _)| (answer, led))
        .collect()
}

/// The keys of a system's rows that are silent and told by their key, those that came back among them. Rows outside the filter
/// are not told.
fn told_keys<'a>(now: &'a Keyed, system: &str, loose: &'a [Break]) -> HashSet<&'a str> {
    let silent = &now.clean.silent;
    let keys = silent.keys.iter().zip(&silent.why).filter(|(_, why)| **why != Silence::Filtered).filter_map(|(key, _)| key.as_deref());
    keys.chain(loose.iter().filter(|open| open.system.as_deref() == Some(system)).map(|open| open.key.as_str())).collect()
}

/// Puts an update that gives up a value before the one that takes it over, which a unique column asks for. All else keeps its
/// order, and so does a swap: no order helps it, and whether it can be made is for the system to say.
fn release_first(changes: Vec<Change>) -> Vec<Change> {
    // A value that several rows give up is in no unique column.
    let mut released: HashMap<(&str, &str, &Value), Option<usize>> = HashMap::new();
    let updates = |change: &Change| change.action == Action::Update;
    for (index, change) in changes.iter().enumerate().filter(|(_, change)| updates(change)) {
        for cell in change.cells.iter().filter(|cell| !cell.before.is_null()) {
            released.entry((&change.system, &cell.column, &cell.before)).and_modify(|only| *only = None).or_insert(Some(index));
        }
    }
    let waits_for = |index: usize| {
        let change: &Change = &changes[index];
        let cells = change.cells.iter().filter(|cell| updates(change) && cell.after != cell.before);
        cells.filter_map(|cell| released.get(&(change.system.as_str(), cell.column.as_str(), &cell.after)).copied().flatten()).collect::<Vec<usize>>()
    };
    let mut order: Vec<usize> = Vec::with_capacity(changes.len());
    let mut begun = vec![false; changes.len()];
    for first in 0..changes.len() {
        let mut path: Vec<(usize, Vec<usize>)> = Vec::new();
        if !begun[first] {
            begun[first] = true;
            path.push((first, waits_for(first)));
        }
        while let Some((index, waits)) = path.last_mut() {
            match waits.pop() {
                Some(other) if begun[other] => {}
                Some(other) => {
                    begun[other] = true;
                    path.push((other, waits_for(other)));
                }
                None => {
                    order.push(*index);
                    path.pop();
                }
            }
        }
    }
    let mut changes: Vec<Option<Change>> = changes.into_iter().map(Some).collect();
    order.into_iter().filter_map(|index| changes[index].take()).collect()
}

/// Where a record is tonight, as far as one system goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// There, in this row of the snapshot.
    Here(u32),
    /// It was there and is gone.
    Gone,
    /// Not there, but that proves nothing.
    Unproven,
    /// Never there, or there no more by agreement.
    Never,
    /// Archived there.
    Archived,
}

struct Planner<'a> {
    job: &'a Job,
    state: &'a State,
    nows: &'a [Keyed],
    linked: &'a Linked,
    unproven: Vec<bool>,
    /// By system: the keys of its rows that are silent and told by their key.
    told_keys: Vec<HashSet<&'a str>>,
    breaks: Vec<Break>,
    drift: Vec<Drift>,
    decisions: Vec<Decision>,
    conflicts: Vec<Decision>,
    tolerated: Vec<Tolerated>,
    changes: Vec<Change>,
    events: Vec<LinkEvent>,
    comes_back: BTreeMap<(u64, String), Reason>,
    flips: BTreeMap<(u64, String, String), Option<Flips>>,
    answers: &'a Answers,
    asks: BTreeMap<String, Ask>,
    asked: BTreeMap<String, (u32, Option<usize>)>,
    of_creates: BTreeMap<String, Vec<Option<Value>>>,
    /// By the identity of a break: what the create is about that waits there.
    about_creates: BTreeMap<String, String>,
    /// By the number of an answer: where it leads to a change; nowhere, if deciding is all that it asked for.
    followed: BTreeMap<u64, Vec<(u64, String)>>,
}

/// What a person decided of a record that was deleted somewhere.
enum OfDelete<'a> {
    /// The delete is right.
    Goes(&'a Answer),
    /// It comes back.
    ComesBack(&'a Answer),
}

impl<'a> Planner<'a> {
    fn new(job: &'a Job, state: &'a State, nows: &'a [Keyed], linked: &'a Linked, answers: &'a Answers) -> Planner<'a> {
        let followed = linked.answered.iter().filter(|(_, record)| !linked.held.contains_key(record));
        Planner {
            job,
            state,
            nows,
            linked,
            unproven: nows.iter().map(|now| now.clean.silent.hides_a_key()).collect(),
            told_keys: job.systems.iter().zip(nows).map(|(spec, now)| told_keys(now, &spec.name, &linked.loose)).collect(),
            breaks: linked.loose.clone(),
            drift: Vec::new(),
            decisions: Vec::new(),
            conflicts: Vec::new(),
            tolerated: Vec::new(),
            changes: Vec::new(),
            events: Vec::new(),
            comes_back: BTreeMap::new(),
            flips: BTreeMap::new(),
            answers,
            asks: BTreeMap::new(),
            asked: BTreeMap::new(),
            of_creates: BTreeMap::new(),
            about_creates: BTreeMap::new(),
            followed: followed.map(|(number, _)| (*number, Vec::new())).collect(),
        }
    }

    /// Notes what the breaks of a record ask that were told from `from` on.
    fn ask(&mut self, record: u32, from: usize) {
        let mut of_record: Option<String> = None;
        for open in &self.breaks[from..] {
            let id = open.id(&self.job.name);
            let about = match &open.field {
                None if self.about_creates.contains_key(&id) => self.about_creates[&id].clone(),
                Some(_) => answers::about_field(self.job, &open.values),
                None if open.kind == BreakKind::Undone => self.about_elsewhere(record),
                None => of_record.get_or_insert_with(|| self.about_record(record)).clone(),
            };
            self.asked.insert(id.clone(), (record, open.field.as_deref().and_then(|field| self.job.field(field))));
            let ask = self.asks.entry(id).or_default();
            ask.about = about;
            if open.kind == BreakKind::SuggestedLink && self.linked.suggested.contains_key(&record) {
                ask.barred = self.linked.barred.get(&record).cloned();
                ask.proposal = ask.barred.is_none().then(|| answers::TAKE_THE_NEW_ROW.to_owned());
            }
        }
    }

    /// What breaks of a whole record are about.
    fn about_record(&self, record: u32) -> String {
        match self.linked.suggested.get(&record) {
            Some(new) => answers::about_suggestion(self.job, self.nows, self.linked, record, *new),
            None => answers::about_record(self.job, self.nows, self.linked, record),
        }
    }

    /// What the break of a record is about that is not made in some system.
    fn about_elsewhere(&self, record: u32) -> String {
        answers::about_elsewhere(self.job, |system| self.row_values(record, system))
    }

    /// By field the values of a record in a system; nothing where it is not.
    fn row_values(&self, record: u32, system: usize) -> Option<Vec<Option<Value>>> {
        let row = self.linked.now_rows[system][record as usize];
        (row != NO_ROW).then(|| self.nows[system].clean.fields.iter().map(|column| column.as_ref().map(|column| column.value(row))).collect())
    }

    /// The identity of a break.
    fn identity(&self, kind: BreakKind, key: &str, field: Option<usize>, system: Option<usize>) -> String {
        let (field, system) = (field.map(|field| self.job.fields[field].name.clone()), system.map(|system| self.name(system)));
        Break { kind, key: key.to_owned(), field, system, values: Vec::new(), why: String::new(), next_step: String::new() }.id(&self.job.name)
    }

    /// What a break proposes, and between which systems can be chosen.
    fn offer(&mut self, id: String, proposal: Option<String>, value: Option<&Value>, sides: Vec<String>) {
        let ask = self.asks.entry(id).or_default();
        (ask.proposal, ask.value, ask.sides) = (proposal, value.cloned(), sides);
    }

    /// What a person answered to a break of a whole record, if the record is still as it was then.
    fn answer_of_record(&self, record: u32, id: &str) -> Option<&'a Answer> {
        let answers = self.answers;
        if !answers.has(id) {
            return None;
        }
        answers.to(id, &self.about_record(record))
    }

    /// The answer that accepts what the break of a whole record proposes, if the record is still as it was then.
    fn accepted_record(&self, record: u32, id: &str, proposal: &str) -> Option<&'a Answer> {
        let answers = self.answers;
        if !answers.has(id) {
            return None;
        }
        answers.accepting(id, &self.about_record(record), Some(proposal), None)
    }

    /// The answer that accepts that a record is deleted or archived in a system.
    fn accepted_removal(&self, record: u32, key: &str, system: usize) -> Option<&'a Answer> {
        let id = self.identity(BreakKind::Review, key, None, Some(system));
        self.accepted_record(record, &id, &self.removal_in(system))
    }

    /// What is proposed where the removal of a record waits.
    fn removal_in(&self, system: usize) -> String {
        let verb = if matches!(self.job.deletes, Deletes::Archive { .. }) { "archive" } else { "delete" };
        format!("{verb} it in `{}`", self.name(system))
    }

    /// The values that the create of a record in a system is about.
    fn values_of_create(&self, record: u32, system: usize, rulings: &[(Vec<Voice>, Ruling)]) -> Vec<Option<Value>> {
        let carried = (0..self.job.fields.len()).filter(|field| self.job.fields[*field].is_carried_by(system));
        let value = |field: usize| match &rulings[field].1 {
            Ruling::Value(decided) if matches!(decided.reason, Reason::Person { .. }) => None,
            Ruling::Value(decided) => Some(decided.value.clone()),
            Ruling::Held { .. } => None,
            Ruling::NoVoter => self.last_known(record, field),
        };
        carried.map(value).collect()
    }

    /// The answer that accepts that the decided value of a field is written into a system, if all values are still as they were then.
    fn accepted_field(&self, kind: BreakKind, key: &str, (field, system): (usize, usize), seen: &[SystemValue], value: &Value) -> Option<&'a Answer> {
        let answers = self.answers;
        if answers.is_empty() {
            return None;
        }
        let id = self.identity(kind, key, Some(field), Some(system));
        if !answers.has(&id) {
            return None;
        }
        answers.accepting(&id, &answers::about_field(self.job, seen), self.write_that_is_possible(field, system).as_deref(), Some(value))
    }

    /// What a person decided of a record that was deleted in some of the systems, and that nobody edited since.
    fn decided_delete(&self, record: u32, key: &str, gone: &[usize], here: &[usize]) -> Option<OfDelete<'a>> {
        if self.answers.is_empty() {
            return None;
        }
        let missing = gone.iter().map(|system| (BreakKind::Missing, *system));
        let waiting = here.iter().map(|system| (BreakKind::Review, *system));
        missing.chain(waiting).find_map(|(kind, system)| {
            let id = self.identity(kind, key, None, Some(system));
            if let Some(answer) = self.answer_of_record(record, &id).filter(|answer| matches!(answer.act, Act::Choose { .. })) {
                return Some(OfDelete::ComesBack(answer));
            }
            let goes = if kind == BreakKind::Missing { self.delete_that_is_possible(here) } else { None };
            self.accepted_record(record, &id, &goes?).map(OfDelete::Goes)
        })
    }

    /// The systems that a record can come back from, if every system that lost it may get it.
    fn sides_of_delete(&self, gone: &[usize], here: &[usize]) -> Vec<String> {
        let may_get = |system: &usize| self.job.systems[*system].role.is_written() && self.job.systems[*system].may.create != Permission::Never;
        if gone.iter().all(may_get) { here.iter().filter(|s| self.job.systems[**s].role.votes()).map(|s| self.name(*s)).collect() } else { Vec::new() }
    }

    /// Notes that an answer leads to a change of a record in a system.
    fn follow(&mut self, answer: &Answer, record: u32, system: usize) {
        let place = (self.linked.records[record as usize], self.name(system));
        self.followed.entry(answer.number).or_default().push(place);
    }

    fn record(&mut self, record: u32) -> Treatment {
        if let Some(breaks) = self.linked.held.get(&record) {
            for open in breaks {
                let also = if open.kind == BreakKind::SuggestedLink { self.other_keys(record, open) } else { String::new() };
                self.breaks.push(Break { why: format!("{}{also}", open.why), ..open.clone() });
            }
            return Treatment::Held;
        }
        let role = |system: usize| self.job.systems[system].role;
        let systems: Vec<usize> = (0..self.job.systems.len()).collect();
        let silent: Vec<usize> = systems.iter().copied().filter(|s| role(*s) != Role::Witness && self.linked.silent[*s].contains_key(&record)).collect();
        if !silent.is_empty() {
            silent.iter().for_each(|system| self.silenced(record, *system));
            return Treatment::Held;
        }
        let key = self.linked.key(record, self.nows, &self.state.bases).to_owned();
        let presence: Vec<Presence> = systems.iter().map(|s| self.presence(*s, record)).collect();
        let here: Vec<usize> = systems.iter().copied().filter(|s| matches!(presence[*s], Presence::Here(_)) && role(*s) != Role::Witness).collect();
        let at = |wanted: Presence| -> Vec<usize> { systems.iter().copied().filter(|s| presence[*s] == wanted && role(*s) != Role::Witness).collect() };
        let gone = at(Presence::Gone);
        let unproven = at(Presence::Unproven);

        if here.is_empty() {
            return self.nowhere(record, &key, &presence, &unproven);
        }
        if self.job.mode == Mode::Audit {
            return self.audit(record, &key, &presence);
        }
        // A row that could not be read may be this record's: it is there, but silent.
        let hidden: Vec<usize> = unproven.iter().copied().filter(|s| self.unproven[*s] && self.was_linked(*s, record)).collect();
        if !hidden.is_empty() {
            for system in hidden {
                self.unproven(&key, system);
            }
            return Treatment::Held;
        }
        if !here.iter().any(|s| role(*s).votes()) {
            let voters_gone = gone.iter().any(|s| role(*s).votes());
            if !voters_gone {
                let names: Vec<String> = here.iter().map(|s| self.name(*s)).collect();
                let doubtful: Vec<usize> = unproven.iter().copied().filter(|s| role(*s).votes()).collect();
                let (kind, why, next_step) = if doubtful.iter().any(|s| self.unproven[*s]) {
                    (
                        BreakKind::Missing,
                        format!("{} may have it: a row there could not be read, and may be this one", self.names_for_people(&doubtful)),
                        "mend the unreadable row; until then the record is left alone".to_owned(),
                    )
                } else if !doubtful.is_empty() {
                    (
                        BreakKind::Missing,
                        format!("we created it in {}, and it does not show there yet", self.names_for_people(&doubtful)),
                        "look again after the next run".to_owned(),
                    )
                } else {
                    (
                        BreakKind::Orphan,
                        format!("only {} holds it, and no system that decides whether a record exists", crate::change::join_names(&names)),
                        format!("delete it there, or add it to a system that decides: {}", self.voters_for_people()),
                    )
                };
                self.push_break(kind, &key, None, names.first().cloned(), Vec::new(), why, next_step);
                return Treatment::Held;
            }
        }

        // The delete, if there is one that counts.
        let deleted_in = gone.iter().copied().find(|s| role(*s).votes());
        let edited_by = here.iter().copied().filter(|s| role(*s).votes()).find(|s| self.is_edited(record, *s));
        // An edit that beat a delete stays the stronger one until the row is there again, however old it is by then.
        let owed_back: BTreeMap<usize, Reason> = gone.iter().filter_map(|s| Some((*s, self.owed_recreate(record, *s)?))).collect();
        let decided = deleted_in.filter(|_| edited_by.is_none() && owed_back.is_empty()).and_then(|_| self.decided_delete(record, &key, &gone, &here));
        let asked_back = matches!(decided, Some(OfDelete::ComesBack(_)));
        let comes_back = deleted_in.is_none() || edited_by.is_some() || !owed_back.is_empty() || asked_back || self.job.deletes == Deletes::Recreate;
        // A system that gets the record back has no say in what it gets, though it may own fields.
        let forgotten: &[usize] = if comes_back { &gone } else { &[] };
        let rulings = self.rulings(record, &key, &presence, forgotten);
        let any_held = rulings.iter().any(|(_, ruling)| matches!(ruling, Ruling::Held { .. }));
        let mut recreate: BTreeMap<usize, Reason> = BTreeMap::new();
        let mut creates_wait = false;
        if let Some(first_gone) = deleted_in {
            if let Some(editor) = edited_by {
                for system in &gone {
                    recreate.insert(*system, Reason::EditBeatsDelete { system: self.name(editor) });
                }
            } else if !owed_back.is_empty() {
                recreate = owed_back;
            } else if let Some(OfDelete::ComesBack(answer)) = decided {
                self.followed.entry(answer.number).or_default();
                let side = if let Act::Choose { system } = &answer.act { Some(system.clone()) } else { None };
                for system in &gone {
                    recreate.insert(*system, Reason::Person { who: answer.who.clone(), why: answer.why.clone(), system: side.clone() });
                }
            } else if any_held {
                creates_wait = true;
                self.missing(
                    &key,
                    first_gone,
                    "it was deleted there, and a decision on the record is open: the delete waits for it".to_owned(),
                    "settle the open decision first".to_owned(),
                );
            } else if matches!(self.job.deletes, Deletes::Propagate | Deletes::Archive { .. }) && self.is_undecided(record, &rulings) {
                let why = "it was deleted there before its values had ever been agreed on: the delete waits".to_owned();
                let next_step = format!("delete it in {} too, or add it to `{}` again", self.names_for_people(&here), self.name(first_gone));
                self.missing(&key, first_gone, why, next_step);
                return Treatment::Held;
            } else {
                if matches!(self.job.deletes, Deletes::Propagate | Deletes::Archive { .. }) {
                    unproven.iter().for_each(|system| self.unproven(&key, *system));
                }
                match &self.job.deletes {
                    Deletes::Report => {
                        if let Some(OfDelete::Goes(answer)) = decided {
                            return self.propagate_delete(record, &key, first_gone, &presence, &here, Some(answer));
                        }
                        creates_wait = true;
                        let goes = self.delete_that_is_possible(&here);
                        let sides = self.sides_of_delete(&gone, &here);
                        for system in &gone {
                            self.offer(self.identity(BreakKind::Missing, &key, None, Some(*system)), goes.clone(), None, sides.clone());
                            self.missing(
                                &key,
                                *system,
                                "it was deleted there, and the job only reports deletes".to_owned(),
                                format!("delete it in {} too, or add it to `{}` again", self.names_for_people(&here), self.name(*system)),
                            );
                        }
                    }
                    Deletes::Propagate => return self.propagate_delete(record, &key, first_gone, &presence, &here, None),
                    Deletes::Archive { field, value } => return self.archive(record, &key, first_gone, (*field, value), &presence, &here),
                    Deletes::Recreate => {
                        for system in &gone {
                            recreate.insert(*system, Reason::Recreated { because: "the job recreates deleted records".to_owned() });
                        }
                    }
                }
            }
        } else {
            for system in &gone {
                recreate.insert(*system, Reason::Recreated { because: format!("`{}` does not decide whether a record exists", self.name(*system)) });
            }
        }

        let moves = self.fields(record, &key, &presence, &rulings);
        let origin = here.iter().copied().find(|s| role(*s).votes()).unwrap_or(here[0]);
        for system in systems {
            match presence[system] {
                Presence::Gone | Presence::Never if role(system) == Role::Witness => {
                    if self.linked.silent[system].contains_key(&record) {
                        self.silenced(record, system);
                        continue;
                    }
                    self.missing(&key, system, "the witness does not have it".to_owned(), format!("find out why `{}` lacks it", self.name(system)));
                }
                Presence::Gone if recreate.contains_key(&system) => {
                    let reason = recreate[&system].clone();
                    if !self.create(record, &key, system, reason.clone(), &rulings, &presence) {
                        // It stays decided: by the next run the edit that beats the delete is no edit any more.
                        let name = self.name(system);
                        self.comes_back.insert((self.linked.records[record as usize], name), reason);
                    }
                }
                Presence::Never if !creates_wait => {
                    let again = self.linked.standing(system, record, &self.state.bases).is_some();
                    let reason = if again {
                        Reason::Recreated { because: format!("it lives on in `{}`", self.name(origin)) }
                    } else {
                        Reason::NewRecord { system: self.name(origin) }
                    };
                    let at = (self.linked.records[record as usize], self.name(system));
                    // What a system was sent and refused, it is still owed.
                    if !self.create(record, &key, system, reason.clone(), &rulings, &presence) && self.state.open.records.contains_key(&at) {
                        self.comes_back.insert(at, reason);
                    }
                }
                Presence::Unproven if role(system) != Role::Witness => self.unproven(&key, system),
                Presence::Archived if comes_back && role(system) != Role::Witness => {
                    let (name, alive) = (self.name(system), self.name(origin));
                    let why = format!("it lives on in `{alive}`, and is archived in `{name}`");
                    let next_step = format!("{}, or delete it in `{alive}` again", link::how_to_take_back(self.job, system));
                    self.push_break(BreakKind::Restored, &key, None, Some(name), Vec::new(), why, next_step);
                }
                _ => {}
            }
        }
        Treatment::Fields(moves)
    }

    fn name(&self, system: usize) -> String {
        self.job.systems[system].name.clone()
    }

    fn names_for_people(&self, systems: &[usize]) -> String {
        crate::change::join_names(&systems.iter().map(|s| self.name(*s)).collect::<Vec<_>>())
    }

    fn voters_for_people(&self) -> String {
        let voters: Vec<usize> = (0..self.job.systems.len()).filter(|s| self.job.systems[*s].role.votes()).collect();
        self.names_for_people(&voters)
    }

    #[expect(clippy::too_many_arguments, reason = "a break has this many parts, and each has another type or meaning")]
    fn push_break(
        &mut self,
        kind: BreakKind,
        key: &str,
        field: Option<usize>,
        system: Option<String>,
        values: Vec<SystemValue>,
        why: String,
        next_step: String,
    ) {
        let field = field.map(|f| self.job.fields[f].name.clone());
        self.breaks.push(Break { kind, key: key.to_owned(), field, system, values, why, next_step });
    }

    fn missing(&mut self, key: &str, system: usize, why: String, next_step: String) {
        let name = self.name(system);
        self.push_break(BreakKind::Missing, key, None, Some(name), Vec::new(), why, next_step);
    }

    /// What a break about a record does not say yet: the keys that the record has in other systems.
    fn other_keys(&self, record: u32, open: &Break) -> String {
        let rows = self.linked.now_rows.iter().enumerate().map(|(system, rows)| (system, rows[record as usize]));
        let keys: BTreeSet<String> = rows.filter(|(_, row)| *row != NO_ROW).map(|(system, row)| self.row_key(system, row)).collect();
        let untold: Vec<String> =
            keys.iter().filter(|key| **key != open.key).map(|key| key_for_people(key)).filter(|key| !open.why.contains(&format!("`{key}`"))).collect();
        if untold.is_empty() { String::new() } else { format!("; in other systems its key is {}", crate::change::join_names(&untold)) }
    }

    /// A record that is left alone because its row in a system is silent. Such a row is told by the key that stands in it: where
    /// that is another one, or none, the record is told here.
    fn silenced(&mut self, record: u32, system: usize) {
        let key = self.linked.key(record, self.nows, &self.state.bases).to_owned();
        let name = self.name(system);
        let silence = self.linked.silent[system].get(&record).copied();
        if self.told_keys[system].contains(key.as_str()) {
            // It may have a good row there too, whose key it had before.
            let row = self.linked.now_rows[system][record as usize];
            let own = (row != NO_ROW).then(|| self.row_key(system, row)).filter(|own| *own != key);
            if let (Some(own), Some(Silence::Duplicate | Silence::Quarantined)) = (own, silence) {
                let elsewhere = key_for_people(&key);
                let why = format!("its key is `{elsewhere}` elsewhere, which a row in `{name}` has that is left alone; until then so is this record");
                self.push_break(BreakKind::Duplicate, &own, None, Some(name.clone()), Vec::new(), why, format!("mend the row `{elsewhere}` in `{name}`"));
            }
            return;
        }
        let alone = if self.job.systems[system].role == Role::Witness { "" } else { ", and until then it is left alone everywhere" };
        let (kind, why, next_step) = match silence {
            Some(Silence::Duplicate) => (
                BreakKind::Duplicate,
                format!("its row in `{name}` cannot be told from another one there{alone}"),
                format!("give each of these rows in `{name}` a key and an id of its own"),
            ),
            Some(Silence::Quarantined) => (BreakKind::Quarantined, format!("its row in `{name}` cannot be read{alone}"), format!("mend the row in `{name}`")),
            Some(Silence::Filtered) | None => return,
        };
        self.push_break(kind, &key, None, Some(name), Vec::new(), why, next_step);
    }

    /// A record that a system does not show tonight, which proves nothing.
    fn unproven(&mut self, key: &str, system: usize) {
        if self.unproven[system] {
            let why = "it is not among the rows that could be read there; one that could not may be it".to_owned();
            self.missing(key, system, why, "mend the unreadable rows".to_owned());
        } else {
            let name = self.name(system);
            let why = "we created it there, and it does not show yet".to_owned();
            let next_step = format!("look into `{name}` if it stays away: nothing is created a second time");
            self.push_break(BreakKind::WriteNotKept, key, None, Some(name), Vec::new(), why, next_step);
        }
    }

    fn presence(&self, system: usize, record: u32) -> Presence {
        let row = self.linked.now_rows[system][record as usize];
        if row != NO_ROW {
            return Presence::Here(row);
        }
        match self.linked.standing(system, record, &self.state.bases) {
            Some(Standing::Live) if !self.unproven[system] => Presence::Gone,
            Some(Standing::Live | Standing::Awaited) => Presence::Unproven,
            Some(Standing::Archived) if self.linked.archived[system].contains_key(&record) => Presence::Archived,
            Some(Standing::Ended | Standing::Archived) | None if self.unproven[system] => Presence::Unproven,
            Some(Standing::Ended | Standing::Archived) | None => Presence::Never,
        }
    }

    /// No system that counts has the record.
    fn nowhere(&mut self, record: u32, key: &str, presence: &[Presence], unproven: &[usize]) -> Treatment {
        let witness = presence.iter().position(|p| matches!(p, Presence::Here(_)));
        if !unproven.is_empty() && record < self.linked.known as u32 && presence.iter().enumerate().any(|(s, _)| self.was_linked(s, record)) {
            let linked: Vec<usize> = unproven.iter().copied().filter(|s| self.was_linked(*s, record)).collect();
            for system in linked {
                self.missing(
                    key,
                    system,
                    "it does not show there, and that proves nothing tonight".to_owned(),
                    "mend the unreadable rows, or look again after the next run".to_owned(),
                );
            }
            return Treatment::Held;
        }
        if let Some(witness) = witness {
            let name = self.name(witness);
            let all: Vec<usize> = (0..self.job.systems.len()).filter(|s| self.job.systems[*s].role != Role::Witness).collect();
            let why = format!("only the witness `{name}` has it");
            let next_step = format!("find out why {} lacks it", self.names_for_people(&all));
            self.push_break(BreakKind::Orphan, key, None, Some(name), Vec::new(), why, next_step);
        }
        let linked_before = (0..self.job.systems.len()).any(|s| self.was_linked(s, record));
        if !linked_before {
            return Treatment::Held;
        }
        self.events.push(LinkEvent {
            system: self
                .names_for_people(
                    &(0..self.job.systems.len()).filter(|s| self.was_linked(*s, record) && self.job.systems[*s].role != Role::Witness).collect::<Vec<_>>(),
                )
                .replace('`', ""),
            record: self.linked.records[record as usize],
            key: key_for_people(key),
            event: "gone from every system: the link ends".to_owned(),
            notable: true,
        });
        Treatment::Ends
    }

    fn was_linked(&self, system: usize, record: u32) -> bool {
        self.linked.standing(system, record, &self.state.bases).is_some_and(Standing::is_linked)
    }

    fn voices(&self, record: u32, field: usize, presence: &[Presence], forgotten: &[usize]) -> Vec<Voice> {
        let open = self.open_field(record, field);
        (0..self.job.systems.len())
            .filter(|system| self.job.fields[field].is_carried_by(*system))
            .map(|system| {
                let base_row = self.linked.base_rows[system][record as usize];
                let base = &self.state.bases[system];
                let now = match presence[system] {
                    Presence::Here(row) => self.nows[system].clean.fields[field].as_ref().map(|column| column.value(row)),
                    _ => None,
                };
                let edited_at = match presence[system] {
                    Presence::Here(row) => self.nows[system].clean.edited_at.as_ref().and_then(|times| times.get(row as usize)),
                    _ => None,
                };
                let ours = if base_row == NO_ROW { None } else { base.our_edits.get(base_row as usize) };
                let known = base_row != NO_ROW && !forgotten.contains(&system);
                let held = if known { base.value(field, base_row) } else { None };
                // What we sent to a row that never showed is no base unless the row shows just that.
                let awaited = known && base.standings[base_row as usize] == Standing::Awaited;
                let held = held.filter(|held| !awaited || now.as_ref() == Some(held));
                Voice {
                    system,
                    now,
                    base: held,
                    linked: known && self.was_linked(system, record),
                    edited_at: edited_at.filter(|at| ours.is_none_or(|ours| *at > ours)),
                    debt: open.and_then(|open| open.debts.get(&self.job.systems[system].name)).cloned(),
                }
            })
            .collect()
    }

    fn open_field(&self, record: u32, field: usize) -> Option<&OpenField> {
        let open: &Open = &self.state.open;
        if open.fields.is_empty() {
            return None;
        }
        open.fields.get(&(self.linked.records[record as usize], self.job.fields[field].name.clone()))
    }

    /// The voices on each field and the ruling that they lead to.
    fn rulings(&self, record: u32, key: &str, presence: &[Presence], forgotten: &[usize]) -> Vec<(Vec<Voice>, Ruling)> {
        (0..self.job.fields.len())
            .map(|index| {
                let voices = self.voices(record, index, presence, forgotten);
                let field = &self.job.fields[index];
                let case = Case { job: self.job, field, voices: &voices, open: self.open_field(record, index) };
                let ruling = match self.chosen(key, case).or_else(|| self.undone(key, index, &voices)).unwrap_or_else(|| merge::decide(case)) {
                    Ruling::Value(decided) if self.job.key.contains(&index) && decided.value.is_null() => Ruling::Held {
                        kind: BreakKind::Cleared,
                        why: "a key field must not become empty".to_owned(),
                        next_step: format!("put a value back into `{}`", field.name),
                    },
                    other => other,
                };
                (voices, ruling)
            })
            .collect()
    }

    /// What each system holds of a field.
    fn seen(&self, voices: &[Voice]) -> Vec<SystemValue> {
        voices.iter().filter_map(|v| v.now.clone().map(|value| SystemValue { system: self.name(v.system), value })).collect()
    }

    /// The value of the system that a person chose for a field, if all values are still as they were then.
    fn chosen(&self, key: &str, case: Case<'_>) -> Option<Ruling> {
        if self.answers.is_empty() {
            return None;
        }
        let about = answers::about_field(self.job, &self.seen(case.voices));
        let (answer, system) = self.answers.choice(key, &case.field.name, &about)?;
        let side = case.voices.iter().find(|voice| self.job.systems[voice.system].name == system && case.may_decide(voice.system))?;
        let value = side.now.clone()?;
        let decides = |voice: &&Voice| self.job.systems[voice.system].role.votes();
        let from = case.voices.iter().filter(decides).filter(|v| v.now.as_ref() == Some(&value)).map(|v| v.system).collect();
        let lost = case.voices.iter().filter(decides).filter_map(|v| Some((v.system, v.now.clone()?)));
        let overridden = lost.filter(|(_, now)| !now.is_null() && !case.field.equivalent(now, &value)).collect();
        let reason = Reason::Person { who: answer.who.clone(), why: answer.why.clone(), system: Some(system.to_owned()) };
        Some(Ruling::Value(Decided { value, reason, from, overridden, conflict: true, active: true }))
    }

    /// A field that a person took back what a run had written in waits, if all values are still as they were then.
    fn undone(&self, key: &str, index: usize, voices: &[Voice]) -> Option<Ruling> {
        if self.answers.is_empty() {
            return None;
        }
        let about = answers::about_field(self.job, &self.seen(voices));
        let held = self.answers.holds(&self.identity(BreakKind::Undone, key, Some(index), None), &about)?;
        Some(Ruling::Held { kind: BreakKind::Undone, why: held.to.why.clone(), next_step: held.to.next_step.clone() })
    }

    /// The systems between which a person can choose for a field: its owner alone, else those that vote.
    fn sides_of_field(&self, index: usize, voices: &[Voice], open: Option<&OpenField>) -> Vec<String> {
        let case = Case { job: self.job, field: &self.job.fields[index], voices, open };
        let is_key = self.job.key.contains(&index);
        let can = |voice: &&Voice| voice.now.as_ref().is_some_and(|now| !(is_key && now.is_null())) && case.may_decide(voice.system);
        voices.iter().filter(can).map(|voice| self.name(voice.system)).collect()
    }

    /// Whether somebody edited the record in a system since its base.
    fn is_edited(&self, record: u32, system: usize) -> bool {
        let (row, base_row) = (self.linked.now_rows[system][record as usize], self.linked.base_rows[system][record as usize]);
        if row == NO_ROW || base_row == NO_ROW {
            return false;
        }
        let now = &self.nows[system].clean;
        (0..self.job.fields.len()).any(|field| {
            let Some(column) = &now.fields[field] else { return false };
            let Some(base) = self.state.bases[system].value(field, base_row) else { return false };
            let value = column.value(row);
            let received = self.open_field(record, field).is_some_and(|open| open.value == value && open.debts.contains_key(&self.job.systems[system].name));
            let blank_ignored = value.is_null() && self.job.fields[field].blank == Some(Blank::Ignore);
            value != base && !received && !blank_ignored
        })
    }

    /// Writes what each field's ruling asks for, and lists what stays different.
    fn fields(&mut self, record: u32, key: &str, presence: &[Presence], rulings: &[(Vec<Voice>, Ruling)]) -> Vec<BaseMove> {
        let mut cells: BTreeMap<usize, (Vec<CellChange>, u32)> = BTreeMap::new();
        let mut moves = vec![BaseMove::Stay; self.job.fields.len()];
        // What depends on another field is spelled for what the row will hold of that one, so that one comes first.
        let mut order: Vec<usize> = (0..rulings.len()).collect();
        order.sort_by_key(|index| self.job.fields[*index].standards.beside().is_some());
        for index in order {
            let (voices, ruling) = &rulings[index];
            self.count_flips(record, index, voices, ruling);
            let seen = self.seen(voices);
            match ruling {
                Ruling::NoVoter => {}
                Ruling::Held { kind, why, next_step } => {
                    let sides = self.sides_of_field(index, voices, self.open_field(record, index));
                    self.offer(self.identity(*kind, key, Some(index), None), None, None, sides);
                    self.push_break(*kind, key, Some(index), None, seen, why.clone(), next_step.clone());
                }
                Ruling::Value(decided) => {
                    moves[index] = BaseMove::Move;
                    if decided.active && matches!(decided.reason, Reason::Person { .. }) {
                        let answers = self.answers;
                        let about = answers::about_field(self.job, &seen);
                        self.followed.extend(answers.choices(key, &self.job.fields[index].name, &about).map(|(answer, _)| (answer.number, Vec::new())));
                    }
                    self.field(record, key, index, decided, voices, seen, presence, &mut cells);
                }
            }
        }
        for (system, (mut cells, attempts)) in cells {
            let Presence::Here(row) = presence[system] else { continue };
            cells.sort_by_key(|cell| cell.field.as_deref().and_then(|field| self.job.field(field)));
            let reason = cells[0].reason.clone();
            self.changes.push(Change {
                number: 0,
                system: self.name(system),
                record: self.linked.records[record as usize],
                key: key.to_owned(),
                action: Action::Update,
                address: self.address(system, row),
                row_id: self.row_id(system, row),
                row_key_before: Some(self.row_key(system, row)),
                row_key_after: self.row_key_with(system, row, &cells),
                cells,
                reason,
                attempts,
                edited_at: self.edited_at(system, row),
            });
        }
        moves
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one decision, gathered once by the only caller")]
    fn field(
        &mut self,
        record: u32,
        key: &str,
        index: usize,
        decided: &Decided,
        voices: &[Voice],
        seen: Vec<SystemValue>,
        presence: &[Presence],
        cells: &mut BTreeMap<usize, (Vec<CellChange>, u32)>,
    ) {
        let job = self.job;
        let field = &job.fields[index];
        let open = self.open_field(record, index).cloned();
        let same_decision = open.as_ref().filter(|open| open.value == decided.value);
        let case = Case { job, field, voices, open: open.as_ref() };
        let mut written = false;
        let mut unsent: Vec<usize> = Vec::new();
        let mut overridden = decided.overridden.clone();
        for voice in voices {
            let spec = &job.systems[voice.system];
            let (Presence::Here(row), Some(now)) = (presence[voice.system], &voice.now) else {
                // Should its record come back as it was, it still has to take what was decided meanwhile.
                if decided.active && spec.role.is_written() && self.was_linked(voice.system, record) {
                    unsent.push(voice.system);
                }
                continue;
            };
            let Some(column) = &field.columns[voice.system] else { continue };
            let locked = self.locked(voice.system, row, Some(index));
            let frozen = self.frozen(record, index, voice.system);
            let stays = locked.is_some() || frozen.is_some();
            let (beside_now, beside) = self.beside(index, voice.system, row, cells.get(&voice.system).map(|(cells, _)| cells.as_slice()));
            let target = clean::canonical(field, column, &decided.value);
            let holds = voice.holds(field, open.as_ref(), &target)
                || voice.holds(field, open.as_ref(), &decided.value)
                || self.is_as_fine_as(field, &decided.from, now, &decided.value);
            // The same digits mean another amount once the currency beside them is another.
            let is_moved = spec.role.is_written() && clean::changes_beside(field, column, beside_now.as_deref(), beside.as_deref());
            let respell = is_moved
                || holds
                    && field.standardise
                    && spec.role.is_written()
                    && clean::spell_beside(field, column, beside.as_deref(), now).text != self.nows[voice.system].raw(&column.name, row).text;
            if holds && (!respell || stays) {
                self.tolerate(record, index, voice.system, now, if *now == target { &target } else { &decided.value });
                continue;
            }
            let values = || seen.clone();
            let accepts = |planner: &Planner<'a>, kind: BreakKind| planner.accepted_field(kind, key, (index, voice.system), &seen, &decided.value);
            let mut accepted: Option<&Answer> = None;
            let is_voter = case.votes(voice.system);
            if spec.role == Role::Witness {
                let why = format!("the witness `{}` holds another value", spec.name);
                self.push_break(
                    difference(field.field_type),
                    key,
                    Some(index),
                    Some(spec.name.clone()),
                    values(),
                    why,
                    format!("find out which is right, and mend `{}`", spec.name),
                );
                continue;
            }
            let edited = voice.is_changed(open.as_ref()) || voice.is_unseen();
            let owed = match (&voice.debt, same_decision) {
                (Some(FieldDebt::Owed { attempts, .. }), Some(_)) => Some(*attempts),
                _ => None,
            };
            let drifted = !is_voter && edited && !holds;
            let blank_ignored = is_voter && now.is_null() && !decided.value.is_null() && (voice.is_unseen() || field.blank == Some(Blank::Ignore));
            if blank_ignored && (spec.role == Role::Source || field.owner.contains(&voice.system)) {
                let why = format!("it is empty in `{}`, which decides it, and the job ignores empty values", spec.name);
                self.push_break(
                    BreakKind::Cleared,
                    key,
                    Some(index),
                    Some(spec.name.clone()),
                    values(),
                    why,
                    format!("put a value back into `{}` of `{}`", field.name, spec.name),
                );
                continue;
            }
            if drifted {
                accepted = accepts(self, BreakKind::Drift);
                let may = spec.role.is_written() && spec.may.update == Permission::Apply && !stays;
                let restored = (field.on_drift == OnDrift::Overwrite || accepted.is_some()) && may;
                if voice.base.is_some() || !decided.active {
                    self.drift.push(Drift {
                        system: spec.name.clone(),
                        key: key_for_people(key),
                        field: field.name.clone(),
                        base: voice.base.clone().unwrap_or(Value::Null),
                        now: now.clone(),
                        decided: decided.value.clone(),
                        restored,
                    });
                }
                // An empty cell that no decision has seen is no value that could be lost.
                let is_lost = !(now.is_null() && voice.is_unseen());
                if is_lost && !overridden.iter().any(|(system, _)| *system == voice.system) {
                    overridden.push((voice.system, now.clone()));
                }
                if field.on_drift == OnDrift::Report && accepted.is_none() {
                    self.offer_write(BreakKind::Drift, key, index, voice.system, &decided.value, Vec::new());
                    let why = format!("`{}` was edited and does not decide the field; the job only reports that", spec.name);
                    self.push_break(
                        BreakKind::Drift,
                        key,
                        Some(index),
                        Some(spec.name.clone()),
                        values(),
                        why,
                        format!("mend `{}` in `{}`, or change it in {}", field.name, spec.name, self.names_for_people(&decided.from)),
                    );
                    continue;
                }
            }
            if spec.role == Role::Source {
                let why = format!("`{}` is a source and is never written", spec.name);
                self.push_break(
                    BreakKind::Locked,
                    key,
                    Some(index),
                    Some(spec.name.clone()),
                    values(),
                    why,
                    format!("mend `{}` in `{}`", field.name, spec.name),
                );
                continue;
            }
            // Drift that an earlier run reported is still the same drift, as old as it is.
            let reported = !is_voter && field.on_drift == OnDrift::Report;
            let stands_apart = !decided.active && !drifted && owed.is_none() && !blank_ignored && !respell;
            if stands_apart {
                accepted = accepts(self, if reported { BreakKind::Drift } else { difference(field.field_type) });
            }
            if stands_apart && accepted.is_none() {
                let (kind, why) = if reported {
                    (BreakKind::Drift, format!("`{}` was edited and does not decide the field; the job only reports that", spec.name))
                } else {
                    (difference(field.field_type), "the systems differ although nobody edited them since the last run".to_owned())
                };
                let sides = if reported { Vec::new() } else { self.sides_of_field(index, voices, open.as_ref()) };
                self.offer_write(kind, key, index, voice.system, &decided.value, sides);
                self.push_break(
                    kind,
                    key,
                    Some(index),
                    Some(spec.name.clone()),
                    values(),
                    why,
                    format!("set `{}` to the right value in one of them", field.name),
                );
                continue;
            }
            if spec.may.update == Permission::Review {
                accepted = accepted.or_else(|| accepts(self, BreakKind::Review));
            }
            // What is sent again was accepted as what it was then: by now it is an old decision, and no difference or drift.
            if owed.is_some() {
                accepted = accepted.or_else(|| [BreakKind::Drift, difference(field.field_type)].into_iter().find_map(|kind| accepts(self, kind)));
            }
            match spec.may.update {
                Permission::Apply => {}
                Permission::Review if accepted.is_some() => {}
                Permission::Review | Permission::Never => {
                    if spec.may.update == Permission::Review {
                        self.offer_write(BreakKind::Review, key, index, voice.system, &decided.value, Vec::new());
                    }
                    let (kind, why) = if spec.may.update == Permission::Never {
                        (BreakKind::Locked, format!("the job never updates `{}`", spec.name))
                    } else {
                        (BreakKind::Review, format!("updates of `{}` wait for a person", spec.name))
                    };
                    self.push_break(
                        kind,
                        key,
                        Some(index),
                        Some(spec.name.clone()),
                        values(),
                        why,
                        format!("set `{}` to `{}` in `{}`", field.name, decided.value, spec.name),
                    );
                    unsent.push(voice.system);
                    continue;
                }
            }
            if let Some(because) = locked {
                let why = format!("the row in `{}` must not change: {because}", spec.name);
                let next_step = format!("set `{}` to `{}` in `{}` by hand if that is right, or take the edit back", field.name, decided.value, spec.name);
                self.push_break(BreakKind::Locked, key, Some(index), Some(spec.name.clone()), values(), why, next_step);
                unsent.push(voice.system);
                continue;
            }
            if let Some(why) = frozen {
                let name = &spec.name;
                let next_step = format!(
                    "find out what changes it in `{name}`, then set it to the same value in every system, or let it be written again with `tieout run {} --unfreeze '{}.{}'`",
                    job.name,
                    key_for_people(key),
                    field.name
                );
                self.push_break(BreakKind::Frozen, key, Some(index), Some(name.clone()), values(), why, next_step);
                unsent.push(voice.system);
                continue;
            }
            if let Some(attempts) = owed.filter(|attempts| *attempts >= job.attempts_max) {
                let last = match &voice.debt {
                    Some(FieldDebt::Owed { why, .. }) => format!("; the last answer: {why}"),
                    _ => String::new(),
                };
                let why = format!("`{}` was sent {} without success and is not sent any more{last}", field.name, times(attempts));
                let again = self.how_to_send_again(key, Some(&field.name));
                self.push_break(
                    BreakKind::WriteRejected,
                    key,
                    None,
                    Some(spec.name.clone()),
                    values(),
                    why,
                    format!("set `{}` to `{}` in `{}` by hand, or change the value{again}", field.name, decided.value, spec.name),
                );
                unsent.push(voice.system);
                continue;
            }
            if let Some(why) = clean::why_not_held_beside(field, column, beside.as_deref(), &decided.value) {
                let why = format!("`{}` cannot hold `{}`: {why}", spec.name, decided.value);
                let unguarded = ColumnSpec { refuses_formulas: false, ..column.clone() };
                let from = decided.from.first().map(|system| format!(" in `{}`", self.name(*system))).unwrap_or_default();
                let next_step = match clean::why_not_held_beside(field, &unguarded, beside.as_deref(), &decided.value) {
                    None => format!("change it{from}, or let `{}` hold such texts with `on_formula = \"allow\"`", spec.name),
                    Some(_) => format!("give `{}` a value{from} that `{}` can hold, or change how the job spells the column", field.name, spec.name),
                };
                self.push_break(BreakKind::Locked, key, Some(index), Some(spec.name.clone()), values(), why, next_step);
                unsent.push(voice.system);
                continue;
            }
            let reason = match owed {
                Some(attempts) if attempts > 0 => {
                    let decided = Box::new(same_decision.map_or_else(|| decided.reason.clone(), |open| open.reason.clone()));
                    Reason::Owed { decided, attempts }
                }
                _ if respell => Reason::Standardised,
                _ if drifted && !decided.active => Reason::DriftRestored { decided_by: decided.from.first().map(|s| self.name(*s)).unwrap_or_default() },
                _ if blank_ignored => Reason::Filled { system: decided.from.first().map(|s| self.name(*s)).unwrap_or_default() },
                _ => decided.reason.clone(),
            };
            let reason = accepted_by(accepted, reason);
            if let Some(answer) = accepted {
                self.follow(answer, record, voice.system);
            }
            written = true;
            let before_raw = self.nows[voice.system].raw(&column.name, row);
            let entry = cells.entry(voice.system).or_default();
            entry.1 = entry.1.max(owed.unwrap_or(0));
            entry.0.push(CellChange {
                field: Some(field.name.clone()),
                column: column.name.clone(),
                before: now.clone(),
                after: decided.value.clone(),
                after_raw: if field.standardise {
                    clean::spell_beside(field, column, beside.as_deref(), &decided.value)
                } else {
                    clean::spell_over(field, column, beside.as_deref(), &decided.value, &before_raw)
                },
                before_raw: Some(before_raw),
                reason,
            });
        }
        if written || decided.conflict || open.is_some() || !unsent.is_empty() || !overridden.is_empty() {
            let decision = Decision {
                record: self.linked.records[record as usize],
                key: key.to_owned(),
                field: field.name.clone(),
                value: decided.value.clone(),
                reason: decided.reason.clone(),
                from: decided.from.iter().map(|s| self.name(*s)).collect(),
                seen,
                overridden: overridden.into_iter().map(|(system, value)| SystemValue { system: self.name(system), value }).collect(),
                unsent: unsent.into_iter().map(|s| self.name(s)).collect(),
            };
            if decided.conflict {
                self.conflicts.push(decision.clone());
            }
            self.decisions.push(decision);
        }
    }

    /// Offers that the decided value is written into a system, where the job lets it be.
    fn offer_write(&mut self, kind: BreakKind, key: &str, field: usize, system: usize, value: &Value, sides: Vec<String>) {
        let proposal = self.write_that_is_possible(field, system);
        let value = proposal.is_some().then_some(value);
        self.offer(self.identity(kind, key, Some(field), Some(system)), proposal, value, sides);
    }

    /// What writing a field into a system would do; nothing where the job does not let it be.
    fn write_that_is_possible(&self, field: usize, system: usize) -> Option<String> {
        let spec = &self.job.systems[system];
        let may = self.job.mode == Mode::Sync && spec.role.is_written() && spec.may.update != Permission::Never;
        may.then(|| format!("set `{}` in `{}`", self.job.fields[field].name, spec.name))
    }

    /// Notes a value that is not the decided one and within the field's tolerance of it.
    fn tolerate(&mut self, record: u32, field: usize, system: usize, value: &Value, decided: &Value) {
        if value != decided && self.job.fields[field].tolerance.is_some_and(|tolerance| tolerance.covers(decided, value)) {
            self.tolerated.push(Tolerated { record, field, system, value: value.clone(), decided: decided.clone() });
        }
    }

    /// What stands in a row beside a field, where the field depends on another one: tonight, and after these cells are written.
    fn beside(&self, field: usize, system: usize, row: u32, cells: Option<&[CellChange]>) -> (Option<String>, Option<String>) {
        let Some(other) = self.job.fields[field].standards.beside() else { return (None, None) };
        let now = self.nows[system].clean.fields[other].as_ref().map(|column| column.value(row)).filter(|value| !value.is_null());
        let name = self.job.fields[other].name.as_str();
        let written = cells.and_then(|cells| cells.iter().find(|cell| cell.field.as_deref() == Some(name)));
        let after = written.map(|cell| cell.after.clone()).or_else(|| now.clone());
        (now.map(|value| value.to_string()), after.filter(|value| !value.is_null()).map(|value| value.to_string()))
    }

    /// Whether a moment is the decided one as far as the systems that decided it can tell: one of minutes has no say in seconds.
    fn is_as_fine_as(&self, field: &Field, from: &[usize], now: &Value, decided: &Value) -> bool {
        let is_moment = matches!(field.field_type, FieldType::Instant | FieldType::Datetime);
        let tells = |system: &usize| field.columns[*system].as_ref().is_some_and(|column| clean::canonical(field, column, now) == *decided);
        is_moment && !now.is_null() && !from.is_empty() && from.iter().all(tells)
    }

    /// Notes in which systems a field was changed again after the run before had written it there. Once all systems agree, nothing is
    /// frozen any more.
    ///
    /// A counter is changed everywhere and written everywhere, every night: that is what it is for.
    fn count_flips(&mut self, record: u32, index: usize, voices: &[Voice], ruling: &Ruling) {
        let (field, number) = (&self.job.fields[index], self.linked.records[record as usize]);
        let knows_none = self.state.open.flips.is_empty();
        if knows_none && !voices.iter().any(|voice| self.state.written.has(number, voice.system, index)) {
            return;
        }
        let adds = field.owner.is_empty() && field.merge.first() == Some(&MergeRule::SumOfChanges);
        let open = self.open_field(record, index);
        let counted = |voice: &&Voice| self.job.systems[voice.system].role != Role::Witness;
        let agree = || {
            let mut values = voices.iter().filter(counted).filter_map(|voice| voice.now.as_ref());
            values.next().is_some_and(|first| values.all(|value| value == first)) && matches!(ruling, Ruling::Value(_))
        };
        let mut flips = Vec::new();
        for voice in voices.iter().filter(counted) {
            let changed = !adds && voice.is_changed(open) && self.state.written.has(number, voice.system, index);
            if !changed && knows_none {
                continue;
            }
            let at = (number, field.name.clone(), self.name(voice.system));
            let earlier = self.state.open.flips.get(&at);
            if !changed && earlier.is_none() {
                continue;
            }
            let found = voice.base.clone().zip(voice.now.clone()).filter(|_| changed);
            let next = earlier.cloned().unwrap_or_default().next(found);
            flips.push((at, Some(next).filter(|next| !(next.is_over() || next.frozen && agree()))));
        }
        self.flips.extend(flips);
    }

    /// Why a field is not written in a system any more; nothing if it is.
    fn frozen(&self, record: u32, index: usize, system: usize) -> Option<String> {
        if self.flips.is_empty() {
            return None;
        }
        let field = &self.job.fields[index];
        let at = (self.linked.records[record as usize], field.name.clone(), self.name(system));
        let flips = self.flips.get(&at)?.as_ref().filter(|flips| flips.frozen)?;
        let name = &self.job.systems[system].name;
        let decided_by = match (field.owner.as_slice(), field.merge.first()) {
            ([], Some(rule)) => format!("rule {} decides it", rule.word()),
            ([], None) => "nothing else decides it".to_owned(),
            (owners, _) => format!("{} owns it", self.names_for_people(owners)),
        };
        let seen: Vec<String> = flips.seen.iter().rev().take(FLIPS_MAX as usize).rev().map(|(wrote, found)| format!("`{wrote}` became `{found}`")).collect();
        // Values that no system holds any more are known to nobody who could mask them.
        let seen = if field.sensitive { String::new() } else { format!(": {}", seen.join(", ")) };
        Some(format!("`{name}` changed it in {FLIPS_MAX} of {FLIP_RUNS} runs after we had written it, so it is not written there any more{seen}; {decided_by}"))
    }

    /// Why a field of a row must not change, or without a field why nothing of the row may; nothing if it may.
    fn locked(&self, system: usize, row: u32, field: Option<usize>) -> Option<String> {
        // An amount means another one once the field beside it changes, so that one stays with it.
        let is_meant = |lock: &&Lock| match (lock.field, field) {
            (Some(locked), Some(field)) => locked == field || self.job.fields[locked].standards.beside() == Some(field),
            _ => true,
        };
        let now = &self.nows[system];
        // What is sensitive in another field of the record is not told here.
        let told =
            |name: &str, is_sensitive: bool, value: &str| if is_sensitive { format!("because of its `{name}`") } else { format!("its `{name}` is `{value}`") };
        self.job.locks.iter().filter(|lock| lock.system == system).filter(is_meant).find_map(|lock| match &lock.when {
            LockWhen::Column { name, holds } => {
                let raw = now.raw(name, row).text?;
                let cell = raw.trim();
                let locks = holds.as_ref().map_or(!cell.is_empty(), |values| values.contains(&cell.to_lowercase()));
                let of_column = |field: &&Field| field.columns[system].as_ref().is_some_and(|column| column.name == *name);
                locks.then(|| told(name, self.job.fields.iter().filter(of_column).any(|field| field.sensitive), cell))
            }
            LockWhen::Field { field, holds } => {
                let value = now.clean.fields[*field].as_ref()?.value(row);
                let equal = |held: &Value| match (held, &value) {
                    (Value::Text(held), Value::Text(value)) => held.to_lowercase() == value.to_lowercase(),
                    _ => *held == value,
                };
                let locks = holds.as_ref().map_or(!value.is_null(), |values| values.iter().any(equal));
                let spec = &self.job.fields[*field];
                locks.then(|| told(&spec.name, spec.sensitive, &value.to_string()))
            }
        })
    }

    /// How a system finds a row that is to be changed, and what tells that the row may be: a row that was locked since it was read
    /// is not found.
    fn address(&self, system: usize, row: u32) -> Address {
        let mut address = self.place(system, row);
        for lock in self.job.locks.iter().filter(|lock| lock.system == system) {
            let column = match &lock.when {
                LockWhen::Column { name, .. } => Some(name),
                LockWhen::Field { field, .. } => self.job.fields[*field].columns[system].as_ref().map(|column| &column.name),
            };
            if let Some(column) = column.filter(|column| !address.iter().any(|part| part.column == **column)) {
                address.push(AddressPart { column: column.clone(), raw: self.nows[system].raw(column, row) });
            }
        }
        address
    }

    /// How a system finds the row: its native id, else its key as it stands there.
    fn place(&self, system: usize, row: u32) -> Address {
        let part = |column: &str| AddressPart { column: column.to_owned(), raw: self.nows[system].raw(column, row) };
        let now = &self.nows[system];
        match &self.job.systems[system].id {
            Some(id) => vec![part(id)],
            // Other rows have this key too: everything that is known of the row tells it from them.
            None if now.crowded.contains(&now.clean.rows[row as usize]) => {
                self.job.fields.iter().filter_map(|field| field.columns[system].as_ref()).map(|column| part(&column.name)).collect()
            }
            None => self.job.key.iter().filter_map(|field| self.job.fields[*field].columns[system].as_ref()).map(|column| part(&column.name)).collect(),
        }
    }

    /// Whether only one of the systems that vote on a field still holds a value, and no decision has seen it: deleting it would lose
    /// an edit.
    fn is_undecided(&self, record: u32, rulings: &[(Vec<Voice>, Ruling)]) -> bool {
        rulings.iter().any(|(voices, _)| {
            let mut here = voices.iter().filter(|voice| voice.now.as_ref().is_some_and(|now| !now.is_null()) && self.job.systems[voice.system].role.votes());
            let (first, second) = (here.next(), here.next());
            second.is_none() && first.is_some_and(|v| v.is_unseen() && self.was_linked(v.system, record))
        })
    }

    /// What a field held when it was last read: where it was decided, else anywhere.
    fn last_known(&self, record: u32, field: usize) -> Option<Value> {
        let systems = || 0..self.job.systems.len();
        let base = |system: usize| {
            let row = self.linked.base_rows[system][record as usize];
            if row == NO_ROW { None } else { self.state.bases[system].value(field, row) }
        };
        systems().filter(|s| self.job.systems[*s].role.votes()).find_map(base).or_else(|| systems().find_map(base))
    }

    /// Why a system still has to take a record back that was deleted there; nothing if it has not to.
    fn owed_recreate(&self, record: u32, system: usize) -> Option<Reason> {
        let at = (self.linked.records[record as usize], self.name(system));
        self.state.open.records.get(&at).filter(|open| open.action == Action::Create).map(|open| open.reason.clone())
    }

    fn row_id(&self, system: usize, row: u32) -> Option<String> {
        self.nows[system].clean.ids.as_ref().and_then(|ids| ids.get(row as usize)).map(str::to_owned)
    }

    fn edited_at(&self, system: usize, row: u32) -> Option<i64> {
        self.nows[system].clean.edited_at.as_ref().and_then(|times| times.get(row as usize))
    }

    fn row_key(&self, system: usize, row: u32) -> String {
        self.nows[system].clean.keys.get(row as usize).unwrap_or_default().to_owned()
    }

    /// The canonical key of a row after these cells are written.
    fn row_key_with(&self, system: usize, row: u32, cells: &[CellChange]) -> String {
        let parts: Vec<String> = self
            .job
            .key
            .iter()
            .map(|field| {
                let written = cells.iter().find(|cell| cell.field.as_deref() == Some(&self.job.fields[*field].name));
                let now = || self.nows[system].clean.fields[*field].as_ref().map_or(Value::Null, |column| column.value(row));
                written.map_or_else(now, |cell| cell.after.clone()).to_string()
            })
            .collect();
        parts.join(&KEY_SEPARATOR.to_string())
    }

    /// Plans to create the record in a system. If it must not be, a break says why, and the answer is no.
    fn create(&mut self, record: u32, key: &str, system: usize, reason: Reason, rulings: &[(Vec<Voice>, Ruling)], presence: &[Presence]) -> bool {
        let spec = &self.job.systems[system];
        let name = spec.name.clone();
        if spec.role == Role::Witness {
            return false;
        }
        if spec.role == Role::Source {
            self.missing(key, system, format!("`{name}` is a source and is never written"), format!("add it to `{name}`, or delete it elsewhere"));
            return false;
        }
        let mut accepted: Option<&Answer> = None;
        let undone = self.identity(BreakKind::Undone, key, None, Some(system));
        if self.answers.has(&undone) {
            let (answers, about) = (self.answers, self.about_elsewhere(record));
            if let Some(held) = answers.holds(&undone, &about) {
                self.offer(undone, Some(format!("add it to `{name}`")), None, Vec::new());
                let (why, next_step) = (held.to.why.clone(), held.to.next_step.clone());
                self.push_break(BreakKind::Undone, key, None, Some(name), Vec::new(), why, next_step);
                return false;
            }
            accepted = answers.accepting(&undone, &about, Some(&format!("add it to `{name}`")), None);
        }
        match spec.may.create {
            Permission::Apply => {}
            Permission::Never => {
                self.missing(key, system, format!("the job never creates records in `{name}`"), format!("add it to `{name}` by hand"));
                return false;
            }
            Permission::Review if accepted.is_some() || matches!(reason, Reason::Person { .. }) => {}
            Permission::Review => {
                let id = self.identity(BreakKind::Review, key, None, Some(system));
                let values = self.values_of_create(record, system, rulings);
                let (answers, proposal, seen) = (self.answers, format!("add it to `{name}`"), self.about_record(record));
                let about = |record: &str| answers::about_create(record, values.iter().cloned());
                accepted = answers.accepting(&id, &about(answers.as_given(&id, &seen)), Some(&proposal), None);
                if accepted.is_none() {
                    let about = about(&seen);
                    self.of_creates.insert(id.clone(), values);
                    self.about_creates.insert(id.clone(), about);
                    self.offer(id, Some(proposal), None, Vec::new());
                    self.push_break(
                        BreakKind::Review,
                        key,
                        None,
                        Some(name.clone()),
                        Vec::new(),
                        format!("new records of `{name}` wait for a person"),
                        format!("add it to `{name}` by hand"),
                    );
                    return false;
                }
            }
        }
        let reason = accepted_by(accepted, reason);
        let number = self.linked.records[record as usize];
        let mut cells = Vec::new();
        for (index, field) in self.job.fields.iter().enumerate() {
            let Some(column) = &field.columns[system] else { continue };
            let value = match &rulings[index].1 {
                Ruling::Held { .. } => {
                    let waits = format!("its create waits for the open decision on `{}`", field.name);
                    let next_step = "settle the open decision first".to_owned();
                    // What was refused before stays that break, as old as it is.
                    match self.state.open.records.get(&(number, name.clone())).filter(|debt| debt.attempts > 0) {
                        Some(debt) => {
                            let why = format!("{waits}; it was sent before without success, last: {}", debt.why);
                            self.push_break(BreakKind::WriteRejected, key, None, Some(name), Vec::new(), why, next_step);
                        }
                        None => self.missing(key, system, waits, next_step),
                    }
                    return false;
                }
                Ruling::Value(decided) => decided.value.clone(),
                Ruling::NoVoter => match self.last_known(record, index) {
                    Some(value) => value,
                    None => continue,
                },
            };
            let carried_elsewhere = (0..presence.len()).any(|s| s != system && matches!(presence[s], Presence::Here(_)) && field.is_carried_by(s));
            if !carried_elsewhere && value.is_null() {
                continue;
            }
            let beside = field.standards.beside().and_then(|other| match &rulings[other].1 {
                Ruling::Value(decided) => Some(decided.value.to_string()),
                Ruling::Held { .. } | Ruling::NoVoter => self.last_known(record, other).map(|value| value.to_string()),
            });
            if let Some(why) = clean::why_not_held_beside(field, column, beside.as_deref(), &value) {
                self.missing(
                    key,
                    system,
                    format!("`{name}` cannot hold `{}` = `{value}`: {why}", field.name),
                    format!("give `{}` a value that `{name}` can hold", field.name),
                );
                return false;
            }
            cells.push(CellChange {
                field: Some(field.name.clone()),
                column: column.name.clone(),
                before_raw: None,
                before: Value::Null,
                after_raw: clean::spell_beside(field, column, beside.as_deref(), &value),
                after: value,
                reason: reason.clone(),
            });
        }
        for (column, values) in &spec.only {
            let mapped = cells.iter().any(|cell: &CellChange| cell.column == *column);
            if let (false, Some(first)) = (mapped, values.first()) {
                cells.push(CellChange {
                    field: None,
                    column: column.clone(),
                    before_raw: None,
                    before: Value::Null,
                    after: Value::Text(first.clone()),
                    after_raw: Raw::text(first.clone()),
                    reason: Reason::WithinFilter,
                });
            } else if mapped && !cells.iter().any(|cell| cell.column == *column && cell.after_raw.text.as_ref().is_some_and(|text| values.contains(text))) {
                self.missing(
                    key,
                    system,
                    format!("the job's filter on `{column}` would not show it there"),
                    format!("nothing, if it does not belong into `{name}`"),
                );
                return false;
            }
        }
        let key_is_whole = self.job.key.iter().all(|k| cells.iter().any(|c| c.field.as_deref() == Some(&self.job.fields[*k].name) && !c.after.is_null()));
        if !key_is_whole {
            self.missing(key, system, "its key is not known in full".to_owned(), "fill in the key".to_owned());
            return false;
        }
        let debt = self.state.open.records.get(&(number, name.clone()));
        // A create with other values is another one: its attempts start again.
        let debt = debt.filter(|debt| debt.sent.as_ref().is_none_or(|sent| *sent == created_values(&cells)));
        let attempts = debt.map_or(0, |d| d.attempts);
        if let Some(debt) = debt.filter(|d| d.attempts >= self.job.attempts_max) {
            self.push_break(
                BreakKind::WriteRejected,
                key,
                None,
                Some(name.clone()),
                Vec::new(),
                format!("its create was sent {} without success and is not sent any more; the last answer: {}", times(debt.attempts), debt.why),
                format!("add it to `{name}` by hand, or mend the record{}", self.how_to_send_again(key, None)),
            );
            return false;
        }
        let parts: Vec<String> = self
            .job
            .key
            .iter()
            .filter_map(|k| cells.iter().find(|c| c.field.as_deref() == Some(&self.job.fields[*k].name)).map(|c| c.after.to_string()))
            .collect();
        let row_key = parts.join(&KEY_SEPARATOR.to_string());
        if let Some(answer) = accepted {
            self.follow(answer, record, system);
        }
        self.changes.push(Change {
            number: 0,
            system: name,
            record: number,
            key: row_key.clone(),
            action: Action::Create,
            address: Address::new(),
            row_id: None,
            row_key_before: None,
            row_key_after: row_key,
            cells,
            reason,
            attempts,
            edited_at: None,
        });
        true
    }

    /// What deleting a record everywhere would do; nothing where some system keeps it.
    fn delete_that_is_possible(&self, here: &[usize]) -> Option<String> {
        let may = |system: &usize| self.job.systems[*system].role.is_written() && self.job.systems[*system].may.delete != Permission::Never;
        here.iter().all(may).then(|| format!("delete it in {} too", self.names_for_people(here)))
    }

    /// Whether a record may be deleted or archived in a system. If not, a break says why. `gone` and `here` tell where it is not
    /// and where it is.
    fn may_remove(&mut self, record: u32, key: &str, (system, permission): (usize, Permission), deleted_in: usize, presence: &[Presence]) -> bool {
        let (name, origin) = (self.name(system), self.name(deleted_in));
        let source = self.job.systems[system].role == Role::Source;
        if !source && permission == Permission::Review {
            let id = self.identity(BreakKind::Review, key, None, Some(system));
            if let Some(answer) = self.accepted_removal(record, key, system) {
                self.follow(answer, record, system);
                return true;
            }
            let counted = |wanted: fn(&Presence) -> bool| -> Vec<usize> {
                (0..presence.len()).filter(|s| wanted(&presence[*s]) && self.job.systems[*s].role != Role::Witness).collect()
            };
            let (gone, here) = (counted(|at| *at == Presence::Gone), counted(|at| matches!(at, Presence::Here(_))));
            let sides = self.sides_of_delete(&gone, &here);
            self.offer(id, Some(self.removal_in(system)), None, sides);
        }
        let why = match (source, permission) {
            (true, _) => format!("deleted in `{origin}`, but `{name}` is a source and still has it"),
            (false, Permission::Never) if matches!(self.job.deletes, Deletes::Archive { .. }) => {
                format!("deleted in `{origin}`, but no record is ever changed in `{name}`")
            }
            (false, Permission::Never) => format!("deleted in `{origin}`, but no record is ever deleted in `{name}`"),
            (false, Permission::Review) => format!("deleted in `{origin}`; deletes in `{name}` wait for a person"),
            (false, Permission::Apply) => return true,
        };
        let waits = !source && permission == Permission::Review;
        let (kind, at_odds) = if waits { (BreakKind::Review, name.clone()) } else { (BreakKind::Missing, origin.clone()) };
        self.push_break(kind, key, None, Some(at_odds), Vec::new(), why, format!("delete it in `{name}`, or add it to `{origin}` again"));
        false
    }

    /// Whether nothing locks the row that is to be deleted, or the field of it that is to be set. If something does, a break says so.
    fn may_go(&mut self, key: &str, system: usize, presence: &[Presence], field: Option<usize>, deleted_in: usize) -> bool {
        let Presence::Here(row) = presence[system] else { return true };
        let Some(because) = self.locked(system, row, field).filter(|_| self.job.systems[system].role.is_written()) else { return true };
        let (name, origin) = (self.name(system), self.name(deleted_in));
        let why = format!("deleted in `{origin}`, but the row in `{name}` must not change: {because}");
        self.push_break(
            BreakKind::Missing,
            key,
            None,
            Some(origin.clone()),
            Vec::new(),
            why,
            format!("add it to `{origin}` again, or delete it in `{name}` by hand"),
        );
        false
    }

    fn propagate_delete(&mut self, record: u32, key: &str, deleted_in: usize, presence: &[Presence], here: &[usize], accepted: Option<&Answer>) -> Treatment {
        // While a source has it, the record exists: deleting it elsewhere would only bring it back.
        let sources: Vec<usize> = here.iter().copied().filter(|s| self.job.systems[*s].role == Role::Source).collect();
        if let Some(source) = sources.first() {
            self.may_remove(record, key, (*source, Permission::Never), deleted_in, presence);
            return Treatment::Held;
        }
        for system in here {
            let mut permission = self.job.systems[*system].may.delete;
            if let Some(answer) = accepted {
                self.follow(answer, record, *system);
                permission = if permission == Permission::Review { Permission::Apply } else { permission };
            }
            if self.may_go(key, *system, presence, None, deleted_in) && self.may_remove(record, key, (*system, permission), deleted_in, presence) {
                self.remove(record, key, *system, deleted_in, presence, accepted);
            }
        }
        Treatment::Held
    }

    /// How often the removal of a record was sent before. Nothing if that is often enough: a break says so.
    fn attempts_left(&mut self, record: u64, key: &str, system: &str, action: Action) -> Option<u32> {
        let Some(debt) = self.state.open.records.get(&(record, system.to_owned())) else { return Some(0) };
        if debt.attempts < self.job.attempts_max {
            return Some(debt.attempts);
        }
        let why = format!("its {action} was sent {} without success and is not sent any more; the last answer: {}", times(debt.attempts), debt.why);
        let next_step = format!("{action} it in `{system}` by hand{}", self.how_to_send_again(key, None));
        self.push_break(BreakKind::WriteRejected, key, None, Some(system.to_owned()), Vec::new(), why, next_step);
        None
    }

    /// What a person says to have a change sent again that was given up.
    fn how_to_send_again(&self, key: &str, field: Option<&str>) -> String {
        let field = field.map_or_else(String::new, |field| format!(".{field}"));
        format!(", or have it sent again with `tieout run {} --retry '{}{field}'`", self.job.name, key_for_people(key))
    }

    fn remove(&mut self, record: u32, key: &str, system: usize, deleted_in: usize, presence: &[Presence], accepted: Option<&Answer>) {
        let Presence::Here(row) = presence[system] else { return };
        let name = self.name(system);
        let number = self.linked.records[record as usize];
        let Some(attempts) = self.attempts_left(number, key, &name, Action::Delete) else { return };
        let accepted = accepted.or_else(|| self.accepted_removal(record, key, system));
        let reason = accepted_by(accepted, Reason::DeletedIn { system: self.name(deleted_in) });
        let cells = self
            .job
            .fields
            .iter()
            .enumerate()
            .filter_map(|(index, field)| {
                let column = field.columns[system].as_ref()?;
                Some(CellChange {
                    field: Some(field.name.clone()),
                    column: column.name.clone(),
                    before_raw: Some(self.nows[system].raw(&column.name, row)),
                    before: self.nows[system].clean.fields[index].as_ref().map_or(Value::Null, |c| c.value(row)),
                    after: Value::Null,
                    after_raw: Raw::null(),
                    reason: reason.clone(),
                })
            })
            .collect();
        self.changes.push(Change {
            number: 0,
            system: name,
            record: number,
            key: key.to_owned(),
            action: Action::Delete,
            address: self.address(system, row),
            row_id: self.row_id(system, row),
            row_key_before: Some(self.row_key(system, row)),
            row_key_after: self.row_key(system, row),
            cells,
            reason,
            attempts,
            edited_at: self.edited_at(system, row),
        });
    }

    fn archive(&mut self, record: u32, key: &str, deleted_in: usize, mark: (usize, &Value), presence: &[Presence], here: &[usize]) -> Treatment {
        let (index, value) = mark;
        let field = &self.job.fields[index];
        for system in here {
            let Presence::Here(row) = presence[*system] else { continue };
            let Some(column) = field.columns[*system].clone() else {
                let (name, origin) = (self.name(*system), self.name(deleted_in));
                self.missing(
                    key,
                    deleted_in,
                    format!("deleted in `{origin}`, but `{name}` has no column for `{}` to archive it", field.name),
                    format!("delete it in `{name}`, or add it to `{origin}` again"),
                );
                continue;
            };
            let permission = self.job.systems[*system].may.update;
            if !self.may_go(key, *system, presence, Some(index), deleted_in) || !self.may_remove(record, key, (*system, permission), deleted_in, presence) {
                continue;
            }
            let reason = accepted_by(self.accepted_removal(record, key, *system), Reason::DeletedIn { system: self.name(deleted_in) });
            let number = self.linked.records[record as usize];
            let name = self.name(*system);
            let Some(attempts) = self.attempts_left(number, key, &name, Action::Archive) else { continue };
            self.changes.push(Change {
                number: 0,
                system: name,
                record: number,
                key: key.to_owned(),
                action: Action::Archive,
                address: self.address(*system, row),
                row_id: self.row_id(*system, row),
                row_key_before: Some(self.row_key(*system, row)),
                row_key_after: self.row_key(*system, row),
                cells: vec![CellChange {
                    field: Some(field.name.clone()),
                    column: column.name.clone(),
                    before_raw: Some(self.nows[*system].raw(&column.name, row)),
                    before: self.nows[*system].clean.fields[index].as_ref().map_or(Value::Null, |c| c.value(row)),
                    after: value.clone(),
                    after_raw: clean::spell(field, &column, value),
                    reason: reason.clone(),
                }],
                reason,
                attempts,
                edited_at: self.edited_at(*system, row),
            });
        }
        Treatment::Held
    }

    /// Compares without deciding: every difference is a break, and every base moves.
    fn audit(&mut self, record: u32, key: &str, presence: &[Presence]) -> Treatment {
        for (system, at) in presence.iter().enumerate() {
            match at {
                Presence::Gone => {
                    self.missing(key, system, "it was there at an earlier run and is gone".to_owned(), format!("find out why `{}` lacks it", self.name(system)))
                }
                Presence::Never => self.missing(key, system, "it was never there".to_owned(), format!("find out why `{}` lacks it", self.name(system))),
                Presence::Unproven => {
                    self.missing(key, system, "it is not among the rows that could be read there".to_owned(), "mend the unreadable rows".to_owned())
                }
                Presence::Here(_) | Presence::Archived => {}
            }
        }
        for index in 0..self.job.fields.len() {
            let field = &self.job.fields[index];
            let voices = self.voices(record, index, presence, &[]);
            let present: Vec<&Voice> = voices.iter().filter(|v| v.now.is_some()).collect();
            let Some(reference) = present.iter().find(|v| field.owner.contains(&v.system)).or(present.first()) else { continue };
            let reference_value = reference.now.clone().unwrap_or(Value::Null);
            if present.iter().all(|v| v.now.as_ref().is_some_and(|now| field.equivalent(now, &reference_value))) {
                for (system, now) in present.iter().filter_map(|v| Some((v.system, v.now.as_ref()?))) {
                    self.tolerate(record, index, system, now, &reference_value);
                }
                continue;
            }
            let edited: Vec<usize> = present.iter().filter(|v| v.is_changed(None)).map(|v| v.system).collect();
            let why = if edited.is_empty() {
                "the systems differ".to_owned()
            } else {
                format!("the systems differ; since the last run {} changed", self.names_for_people(&edited))
            };
            let values = present.iter().filter_map(|v| v.now.clone().map(|value| SystemValue { system: self.name(v.system), value })).collect();
            self.push_break(difference(field.field_type), key, Some(index), None, values, why, format!("find out which value of `{}` is right", field.name));
        }
        Treatment::Fields(vec![BaseMove::Move; self.job.fields.len()])
    }
}

fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// The reason of a change that a person accepted; as it is where nobody had to.
fn accepted_by(answer: Option<&Answer>, reason: Reason) -> Reason {
    match answer {
        Some(answer) => Reason::Accepted { who: answer.who.clone(), why: answer.why.clone(), decided: Box::new(reason) },
        None => reason,
    }
}

fn difference(field_type: FieldType) -> BreakKind {
    match field_type {
        FieldType::Decimal(_) | FieldType::Integer => BreakKind::Amount,
        _ => BreakKind::Field,
    }
}
