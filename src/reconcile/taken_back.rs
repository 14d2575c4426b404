//! What became of an undo: what is held of it, and how that is told.
//!
//! A plan that takes a run back names the fields and records that are to be held ([`Hold`]). Whether they are what they were meant
//! to be is known only when every write is settled: one system may have taken its change and another refused it. So the hold is
//! made here, from what became of the changes:
//!
//! | the change | the system is taken to hold | the break says |
//! | --- | --- | --- |
//! | verified, normalised | what was read back | it was taken back |
//! | rejected, stale, skipped | what it held before | it was not taken back there, and why |
//! | anything else | either of the two, and what was read back | that nobody knows |
//!
//! What was not taken back is not sent again. It is held like the rest, so that it stays open until somebody changes a value or
//! decides about it.
//!
//! # Design
//! - A hold is about what the systems hold after the run. Where that is not known it is about each of the possible states: so a
//!   write that shows late is not taken for a person's edit.
//! - An undo of which nothing was sent never was: nothing is held.
//! - A record whose key was taken back is known by that key from then on, and so is what is held of it. Where nobody knows which key
//!   it has, it is held by each of the possible ones; the holds that turn out to mean nobody are over by themselves.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::answers;
use super::link::how_to_take_back;
use super::plan::Decisions;
use super::settle::{Settlement, words_of};
use crate::change::{Act, Action, Answer, Ask, Break, BreakKind, Change, Hold, Plan, Settled, SystemValue, join_names};
use crate::job::Job;
use crate::value::Value;

/// By field of the job the values of a row; nothing where the row is not there.
type Row = Option<Vec<Option<Value>>>;

/// The answers that hold what a plan took back: none, if nothing of it was sent.
pub fn held(job: &Job, plan: &Plan, settlement: &Settlement) -> Vec<Answer> {
    let was_sent = |change: &Change| settlement.fates.get(&change.number).is_some_and(|fate| fate.settled != Settled::Skipped);
    if !plan.changes.iter().any(was_sent) {
        return Vec::new();
    }
    taken_back(job, plan, Some(settlement)).into_iter().flat_map(|(answers, _)| answers).collect()
}

/// Has the decisions of an undo tell what it takes back: as it is planned, or with a settlement as it came about.
pub fn tell(job: &Job, decisions: &mut Decisions, settlement: Option<&Settlement>) {
    decisions.breaks.retain(|open| open.kind != BreakKind::Undone);
    for (answers, ask) in taken_back(job, &decisions.plan, settlement) {
        if let Some(likely) = answers.into_iter().next() {
            decisions.asks.insert(likely.id.clone(), ask);
            decisions.breaks.push(likely.to);
        }
    }
}

/// The answers of each hold, one for each key that its record may have, the likeliest first.
fn taken_back(job: &Job, plan: &Plan, settlement: Option<&Settlement>) -> Vec<(Vec<Answer>, Ask)> {
    let mut changes: HashMap<u64, Vec<&Change>> = HashMap::new();
    if !plan.header.holds.is_empty() {
        plan.changes.iter().for_each(|change| changes.entry(change.record).or_default().push(change));
    }
    let of_hold = |hold: &Hold| Holding { job, hold, changes: changes.get(&hold.record).map_or(&[][..], Vec::as_slice), settlement }.answer();
    plan.header.holds.iter().filter_map(of_hold).collect()
}

/// One hold, and the changes of its record.
struct Holding<'a> {
    job: &'a Job,
    hold: &'a Hold,
    changes: &'a [&'a Change],
    settlement: Option<&'a Settlement>,
}

impl Holding<'_> {
    fn settled(&self, change: &Change) -> Settled {
        let fate = |settlement: &Settlement| settlement.fates.get(&change.number).map_or(Settled::Skipped, |fate| fate.settled);
        self.settlement.map_or(Settled::Verified, fate)
    }

    /// The answer with what its break asks; nothing where there is nothing to be held.
    fn answer(&self) -> Option<(Vec<Answer>, Ask)> {
        let Hold { answer, ask, .. } = self.hold;
        let mut answer = answer.clone();
        let mut ask = ask.clone();
        let open = &mut answer.to;
        // What an earlier undo holds keeps its words.
        if !self.hold.changes.is_empty() {
            (open.why, open.next_step) = self.words()?;
        }
        let states = self.states();
        let mut abouts: Vec<String> = Vec::new();
        for state in &states {
            let about = match open.field {
                Some(_) => answers::about_field(self.job, &self.values(state)),
                None => answers::about_elsewhere(self.job, |system| state[system].clone()),
            };
            if !abouts.contains(&about) {
                abouts.push(about);
            }
        }
        let likely = states.first()?;
        open.values = self.values(likely);
        let is_there = |name: &str| self.job.system(name).is_some_and(|system| likely[system].is_some());
        // What an earlier undo kept out of a system and this one made there again is not held there any more.
        let was_there = |name: &str| self.hold.before.contains_key(name);
        if self.hold.changes.is_empty() && open.system.as_deref().is_some_and(|name| is_there(name) && !was_there(name)) {
            return None;
        }
        ask.sides.retain(|side| is_there(side));
        if let Some(system) = open.system.as_deref() {
            ask.proposal = (!is_there(system) && likely.iter().any(Option::is_some)).then(|| format!("add it to `{system}`"));
        }
        let mut abouts = abouts.into_iter();
        answer.about = abouts.next()?;
        answer.or_about = abouts.collect();
        ask.about.clone_from(&answer.about);
        let known_by = |key: String| {
            let to = Break { key, ..answer.to.clone() };
            Answer { id: to.id(&self.job.name), to, ..answer.clone() }
        };
        let answers = self.keys().into_iter().map(known_by).collect();
        Some((answers, ask))
    }

    /// The keys by which the record may be known after the run, the likeliest first: that of the first system that has it.
    fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = Vec::new();
        for spec in self.hold.keys.iter().flat_map(|_| &self.job.systems) {
            let before = self.hold.keys.as_ref().and_then(|keys| keys.get(&spec.name)).cloned();
            let change = self.changes.iter().find(|change| change.system == spec.name);
            let after = change.filter(|change| change.action != Action::Delete).map(|change| change.row_key_after.clone());
            let possible = match change.map(|change| self.settled(change)) {
                Some(settled) if is_done(settled) => vec![after],
                Some(settled) if !is_not_made(settled) => vec![before, after],
                _ => vec![before],
            };
            let is_there = possible.iter().all(Option::is_some);
            for key in possible.into_iter().flatten() {
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
            if is_there {
                break;
            }
        }
        if keys.is_empty() {
            keys.push(self.hold.answer.to.key.clone());
        }
        keys
    }

    /// Why it is open and what a person can do; nothing where there is nothing to be held.
    fn words(&self) -> Option<(String, String)> {
        let answer = &self.hold.answer;
        let open = &answer.to;
        let Act::Undone { run } = &answer.act else { return None };
        let taken: Vec<(&Change, Settled)> =
            self.changes.iter().filter(|change| self.hold.changes.contains(&change.number)).map(|change| (*change, self.settled(change))).collect();
        let (what, by_hand) = match (&open.field, &open.system) {
            (Some(field), _) => {
                let systems: Vec<String> = taken.iter().map(|(change, _)| change.system.clone()).collect();
                (format!("written it in {}", join_names(&systems)), format!("set `{field}` to the right value in one of the systems"))
            }
            (None, system) => {
                let system = system.as_deref().unwrap_or_default();
                let own = taken.iter().find(|(change, _)| change.system == system);
                match own.map(|(change, settled)| (change.action, *settled)) {
                    Some((Action::Delete, settled)) if is_done(settled) => {
                        ("created it there".to_owned(), format!("add it to `{system}` by hand, or delete it in every system"))
                    }
                    Some((Action::Delete, _)) => ("created it there".to_owned(), format!("delete it in `{system}` by hand")),
                    // It is there again.
                    Some((_, settled)) if is_done(settled) => return None,
                    Some((Action::Update, _)) => {
                        let by_hand = self.job.system(system).map(|system| how_to_take_back(self.job, system)).unwrap_or_default();
                        ("archived it there".to_owned(), by_hand)
                    }
                    Some(_) => ("deleted it there".to_owned(), format!("add it to `{system}` by hand")),
                    // Nothing was made again elsewhere.
                    None if taken.iter().all(|(_, settled)| is_not_made(*settled)) => return None,
                    None => {
                        let is_archived = taken.iter().all(|(change, _)| change.action == Action::Update);
                        let verb = if is_archived { "archived" } else { "deleted" };
                        (format!("{verb} it elsewhere"), format!("add it to `{system}` by hand, or delete it in every system"))
                    }
                }
            }
        };
        let because = answer.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let took_back = if taken.iter().all(|(_, settled)| is_not_made(*settled)) { "would have taken back" } else { "took back" };
        let failed = taken.iter().filter(|(_, settled)| !is_done(*settled));
        let not: String = failed.clone().map(|(change, settled)| format!("; the {} in `{}` {}", change.action, change.system, words_of(*settled))).collect();
        let why = format!("run {run} had {what}, which {} {took_back}{because}{not}", answer.who);
        let again = if failed.count() > 0 { format!(", or undo run {run} once more") } else { String::new() };
        let next_step = match open.field {
            Some(_) => format!("{by_hand}: that is decided anew{again}"),
            None => format!("{by_hand}{again}; a change of the record decides it anew"),
        };
        Some((why, next_step))
    }

    /// What each system holds of the field in one state.
    fn values(&self, state: &[Row]) -> Vec<SystemValue> {
        let Some(field) = self.hold.answer.to.field.as_deref().and_then(|name| self.job.field(name)) else { return Vec::new() };
        let held = self.job.systems.iter().zip(state).filter_map(|(spec, row)| Some((spec, row.as_ref()?[field].clone()?)));
        held.map(|(spec, value)| SystemValue { system: spec.name.clone(), value }).collect()
    }

    /// What the systems may hold of the record after the run, the likeliest first.
    fn states(&self) -> Vec<Vec<Row>> {
        let mut states: Vec<Vec<Row>> = vec![Vec::new()];
        for system in 0..self.job.systems.len() {
            let rows = self.rows(system);
            let with = |state: Vec<Row>| rows.iter().map(move |row| state.iter().chain([row]).cloned().collect::<Vec<Row>>());
            states = states.into_iter().flat_map(with).collect();
        }
        states
    }

    /// What one system may hold of it.
    fn rows(&self, system: usize) -> Vec<Row> {
        let before = self.before(system);
        let Some(change) = self.changes.iter().find(|change| change.system == self.job.systems[system].name) else { return vec![before] };
        let settled = self.settled(change);
        if is_not_made(settled) {
            return vec![before];
        }
        let archived = self.row_of(&self.hold.archived, system);
        let after = self.after(system, change, before.as_ref().or(archived.as_ref()));
        let read = self.read_back(system, change, after.as_ref());
        if is_done(settled) {
            return vec![read];
        }
        let mut rows = vec![before];
        for row in [after, read] {
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        rows
    }

    fn before(&self, system: usize) -> Row {
        self.row_of(&self.hold.before, system)
    }

    fn row_of(&self, rows: &BTreeMap<String, Vec<(String, Value)>>, system: usize) -> Row {
        let values = rows.get(&self.job.systems[system].name)?;
        let mut row = vec![None; self.job.fields.len()];
        for (name, value) in values {
            if let Some(field) = self.job.field(name) {
                row[field] = Some(value.clone());
            }
        }
        Some(row)
    }

    fn after(&self, system: usize, change: &Change, before: Option<&Vec<Option<Value>>>) -> Row {
        if change.action == Action::Delete {
            return None;
        }
        let empty = || self.job.fields.iter().map(|field| field.is_carried_by(system).then_some(Value::Null)).collect();
        let mut row: Vec<Option<Value>> = before.cloned().unwrap_or_else(empty);
        for cell in &change.cells {
            if let Some(field) = cell.field.as_deref().and_then(|name| self.job.field(name)) {
                row[field] = Some(cell.after.clone());
            }
        }
        Some(row)
    }

    fn read_back(&self, system: usize, change: &Change, after: Option<&Vec<Option<Value>>>) -> Row {
        let mut row = after?.clone();
        let patched = self.settlement.and_then(|settlement| settlement.patches.get(&(system, change.record))).map(|patch| &patch.cells);
        for (field, value) in patched.into_iter().flatten() {
            if let Some(value) = value {
                row[*field] = Some(value.clone());
            }
        }
        Some(row)
    }
}

fn is_done(settled: Settled) -> bool {
    matches!(settled, Settled::Verified | Settled::Normalised)
}

fn is_not_made(settled: Settled) -> bool {
    matches!(settled, Settled::Rejected | Settled::Stale | Settled::Skipped)
}
