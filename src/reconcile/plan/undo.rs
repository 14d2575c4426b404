//! The inverse of what a run wrote.
//!
//! Every write of a run that was verified is taken back where the system still holds what the run left there: the value that it
//! wrote, or what the system was read back to make of that.
//!
//! | what the run did | taken back | not if |
//! | --- | --- | --- |
//! | update | the old values, as they were spelled | one of them holds something else by now |
//! | update of a key | the former key | another record has it by now, wherever |
//! | create | the row is deleted | anything in it, also what the job does not read, is not as it was read back at once |
//! | delete | the row is made again | it is there |
//! | archive | the mark is what it was, and the row stands for its record again | another record has its key by now |
//!
//! What cannot be taken back, and what the job does not let be done, is *stale*, and listed with the reason. Nothing else is decided
//! in such a run: every record waits for the next one, so that no edit is taken in beside it.
//!
//! What was taken back is not simply written again: the field, or the create, is *held* as a break of its own kind until one of the
//! values changes or a person decides about it. The hold is kept as an answer is ([`super::super::answers`]).
//!
//! # Design
//! - The systems that were not written keep the values that they had agreed on as their bases, and the one that was written gets
//!   the old value as its base: nobody edited anything, so there is nothing that could be taken for a person's edit.
//! - What is held is known by the key of its record. Where a key is taken back, and nobody can tell whether it was, it is held by
//!   either of the two ([`super::super::taken_back`]).
//! - What a system makes of a value is known from its base, as long as the same value is the decided one.

use super::*;
use crate::change::{Hold, Settled, Undoes};
use crate::reconcile::approved::Stale;
use crate::reconcile::link::ArchivedRow;
use crate::reconcile::settle::row_hash;
use crate::reconcile::taken_back;

/// A change of the run that is to be undone.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The change.
    pub change: Change,
    /// What became of it; nothing if it was never sent.
    pub settled: Option<Settled>,
    /// Of a row that it created: the hash of everything that was read back of it, in hexadecimal.
    pub made: Option<String>,
}

/// What is to be undone.
#[derive(Clone, Debug)]
pub struct Undo {
    /// The run, and who wants it.
    pub undoes: Undoes,
    /// Its changes.
    pub changes: Vec<Sent>,
}

impl Undo {
    fn reason(&self) -> Reason {
        Reason::Undone { run: self.undoes.run.clone(), who: self.undoes.who.clone(), why: self.undoes.why.clone() }
    }
}

/// What nobody can take back because of another record.
const TAKEN: &str = "another record has its key by now, and one of the two would be taken for the other";

/// Plans the inverse changes alone, and gives those that cannot be made. Of the `answers` only those count that hold what an earlier
/// undo took back.
pub fn undo(job: &Job, state: &State, nows: &[Keyed], mut linked: Linked, undo: &Undo, answers: &Answers, header: PlanHeader) -> (Decisions, Vec<Stale>) {
    let all = 0..linked.records.len() as u32;
    for record in all.clone() {
        linked.held.entry(record).or_default();
    }
    let nobody = Answers::default();
    let mut decisions = plan(job, state, nows, linked, &nobody, header);
    decisions.treatments.extend(all.map(|record| (record, Treatment::Held)));
    let planner = Planner::new(job, state, nows, &decisions.linked, &nobody);
    let mut stale = Vec::new();
    let mut changes = Vec::new();
    let listed = |change: &Change, why: String| Stale { system: change.system.clone(), key: key_for_people(&change.key), action: change.action, why };
    for sent in &undo.changes {
        match planner.inverse(undo, sent) {
            Ok(inverse) => changes.push((&sent.change, inverse)),
            Err(why) => stale.push(listed(&sent.change, why)),
        }
    }
    let taken = planner.taken_keys(changes.iter().map(|(_, inverse)| inverse));
    let (taken, changes): (Vec<_>, Vec<_>) = changes.into_iter().partition(|(_, inverse)| taken.contains(&(inverse.record, inverse.row_key_after.clone())));
    stale.extend(taken.into_iter().map(|(change, _)| listed(change, TAKEN.to_owned())));
    let changes = ordered(job, changes.into_iter().map(|(_, inverse)| inverse).collect());
    let mut holds = planner.holds(undo, &changes);
    let earlier = planner.held_before(&Undone::of(answers, state, nows, &decisions.linked), &changes, &holds);
    holds.extend(earlier);
    decisions.plan.header.holds = holds;
    decisions.plan.header.undoes = Some(undo.undoes.clone());
    decisions.plan.changes = changes;
    taken_back::tell(job, &mut decisions, None);
    (decisions, stale)
}

impl Planner<'_> {
    /// The change that takes another one back; else why it cannot be made, in words without a value.
    fn inverse(&self, undo: &Undo, sent: &Sent) -> Result<Change, String> {
        let change = &sent.change;
        let name = &change.system;
        match sent.settled {
            Some(Settled::Verified | Settled::Normalised) => {}
            Some(other) => return Err(format!("nothing is taken back that was not verified: it was {other}")),
            None => return Err("it was never sent".to_owned()),
        }
        let system = self.job.system(name).ok_or("the job has no such system any more")?;
        let spec = &self.job.systems[system];
        if !spec.role.is_written() {
            return Err(format!("the job does not write `{name}` any more"));
        }
        let record = self.linked.records.binary_search(&change.record).map_err(|_| "the record is not known any more")? as u32;
        if self.linked.silent[system].contains_key(&record) {
            return Err(format!("its row in `{name}` cannot be read, or told from another one, tonight"));
        }
        let mut row = self.linked.now_rows[system][record as usize];
        let reason = undo.reason();
        let (action, cells) = match change.action {
            Action::Archive => {
                if row != NO_ROW {
                    return Err("it is there again, in another row than the archived one".to_owned());
                }
                row = match self.linked.archived[system].get(&record) {
                    Some(ArchivedRow::Read(row)) => *row,
                    Some(ArchivedRow::Silent(_)) => {
                        return Err(format!("its archived row is none of those that the job reads: {}", link::how_to_take_back(self.job, system)));
                    }
                    None => return Err("its archived row is not there any more, or is archived no more".to_owned()),
                };
                if spec.may.update == Permission::Never {
                    return Err(format!("the job never updates `{name}`"));
                }
                (Action::Update, self.cells_back(system, row, change, false, &reason)?)
            }
            Action::Delete if row != NO_ROW => return Err("it is there again".to_owned()),
            Action::Delete if spec.may.create == Permission::Never => return Err(format!("the job never creates records in `{name}`")),
            Action::Delete => (Action::Create, self.cells_again(system, change, &reason)?),
            Action::Create | Action::Update if row == NO_ROW => return Err("the row is not there any more".to_owned()),
            Action::Create if spec.may.delete == Permission::Never => return Err(format!("the job never deletes records in `{name}`")),
            Action::Update if spec.may.update == Permission::Never => return Err(format!("the job never updates `{name}`")),
            Action::Create => (Action::Delete, self.cells_of_made(system, row, sent, &reason)?),
            Action::Update => (Action::Update, self.cells_back(system, row, change, false, &reason)?),
        };
        let is_new = action == Action::Create;
        let key_before = (!is_new).then(|| self.row_key(system, row));
        let key_after = match action {
            Action::Update => self.row_key_with(system, row, &cells),
            _ => key_before.clone().unwrap_or_else(|| change.row_key_before.clone().unwrap_or_else(|| change.key.clone())),
        };
        if cells.iter().any(|cell| action == Action::Update && cell.after.is_null() && self.is_of_key(cell)) {
            return Err("its former key is not known in full".to_owned());
        }
        Ok(Change {
            number: 0,
            system: name.clone(),
            record: change.record,
            key: if is_new { change.key.clone() } else { self.linked.key(record, self.nows, &self.state.bases).to_owned() },
            action,
            address: if is_new { Address::new() } else { self.address(system, row) },
            row_id: if is_new { None } else { self.row_id(system, row) },
            row_key_after: key_after,
            row_key_before: key_before,
            cells,
            reason,
            attempts: 0,
            edited_at: if is_new { None } else { self.edited_at(system, row) },
        })
    }

    /// The cells of a row that was created, of which nothing may have been edited since: neither what the run wrote nor any other
    /// cell, be it of the job or not.
    fn cells_of_made(&self, system: usize, row: u32, sent: &Sent, reason: &Reason) -> Result<Vec<CellChange>, String> {
        let now = &self.nows[system].clean;
        let is_as_made = sent.made.as_ref().is_some_and(|made| *made == row_hash(&now.pulled, now.rows[row as usize]));
        let mut cells = self.cells_back(system, row, &sent.change, is_as_made, reason)?;
        if sent.made.is_none() {
            return Err("nobody knows whether its row was edited since it was made: it could not be read back at once".to_owned());
        }
        if !is_as_made {
            return Err("its row holds something else by now than when it was made".to_owned());
        }
        for (index, field) in self.job.fields.iter().enumerate() {
            let Some(column) = field.columns[system].as_ref().filter(|_| !cells.iter().any(|cell| cell.field.as_ref() == Some(&field.name))) else {
                continue;
            };
            cells.push(CellChange {
                field: Some(field.name.clone()),
                column: column.name.clone(),
                before_raw: Some(self.nows[system].raw(&column.name, row)),
                before: now.fields[index].as_ref().map_or(Value::Null, |values| values.value(row)),
                after: Value::Null,
                after_raw: Raw::null(),
                reason: reason.clone(),
            });
        }
        Ok(cells)
    }

    fn is_of_key(&self, cell: &CellChange) -> bool {
        cell.field.as_deref().and_then(|name| self.job.field(name)).is_some_and(|field| self.job.key.contains(&field))
    }

    /// The records and the keys that these changes would give them, as far as another record has such a key.
    fn taken_keys<'c>(&self, changes: impl Iterator<Item = &'c Change>) -> HashSet<(u64, String)> {
        let is_given = |change: &&Change| {
            let revived = || self.archived_row(change).is_some();
            change.action == Action::Update && (change.row_key_before.as_ref() != Some(&change.row_key_after) || revived())
        };
        let mut wanted: HashMap<&str, HashSet<u64>> = HashMap::new();
        for change in changes.filter(is_given) {
            wanted.entry(&change.row_key_after).or_default().insert(change.record);
        }
        let mut taken = HashSet::new();
        if wanted.is_empty() {
            return taken;
        }
        for (system, now) in self.nows.iter().enumerate() {
            let mut records: Vec<Option<u64>> = vec![None; now.height()];
            let read =
                self.linked.archived[system].iter().filter_map(|(record, row)| if let ArchivedRow::Read(row) = row { Some((*record, *row)) } else { None });
            for (record, row) in (0_u32..).zip(self.linked.now_rows[system].iter().copied()).chain(read).filter(|(_, row)| *row != NO_ROW) {
                records[row as usize] = Some(self.linked.records[record as usize]);
            }
            let rows = now.clean.keys.iter().zip(records);
            // Whose row it is that is not read nobody can tell, and a row beside one that is read is another one.
            let silent = now.clean.silent.keys.iter().map(|key| (key.as_deref(), None));
            for (key, holder) in rows.chain(silent) {
                let Some((key, records)) = key.and_then(|key| wanted.get_key_value(key)) else { continue };
                taken.extend(records.iter().filter(|record| holder != Some(**record)).map(|record| (*record, (*key).to_owned())));
            }
        }
        taken
    }

    /// The archived row that a change of an undo makes stand for its record again; nothing for any other change.
    fn archived_row(&self, change: &Change) -> Option<u32> {
        let record = self.linked.records.binary_search(&change.record).ok()? as u32;
        let system = self.job.system(&change.system)?;
        match self.linked.archived[system].get(&record)? {
            ArchivedRow::Read(row) if change.action == Action::Update && self.linked.now_rows[system][record as usize] == NO_ROW => Some(*row),
            _ => None,
        }
    }

    /// Whether a system holds what it was read back to make of a value that was written, and that is still the decided one.
    fn is_made_of(&self, change: &Change, field: usize, cell: &CellChange, now: &Value) -> bool {
        let open = self.state.open.fields.get(&(change.record, self.job.fields[field].name.clone())).filter(|open| open.value == cell.after);
        let debt = open.and_then(|open| open.debts.get(&change.system));
        matches!(debt, Some(FieldDebt::Normalised { stored }) if stored == now)
    }

    /// The cells of a row that was created or updated, as they were before. All of them must still hold what was left there, which
    /// the caller knows of a row that `is_as_left`.
    fn cells_back(&self, system: usize, row: u32, change: &Change, is_as_left: bool, reason: &Reason) -> Result<Vec<CellChange>, String> {
        let name = &change.system;
        if change.action == Action::Create
            && let Some(because) = self.locked(system, row, None)
        {
            return Err(format!("the row must not change: {because}"));
        }
        let mut cells = Vec::new();
        for cell in &change.cells {
            let Some(field_name) = &cell.field else { continue };
            let field = self.job.field(field_name).ok_or_else(|| format!("the job has no field `{field_name}` any more"))?;
            let spec = &self.job.fields[field];
            let column = spec.columns[system].as_ref().ok_or_else(|| format!("the job does not carry `{field_name}` in `{name}` any more"))?;
            let now = self.nows[system].clean.fields[field].as_ref().map_or(Value::Null, |values| values.value(row));
            let is_ours =
                || spec.equivalent(&now, &cell.after) || now == clean::canonical(spec, column, &cell.after) || self.is_made_of(change, field, cell, &now);
            if !is_as_left && !is_ours() {
                return Err(format!("`{field_name}` holds another value by now"));
            }
            if let Some(because) = self.locked(system, row, Some(field)) {
                return Err(format!("`{field_name}` must not change: {because}"));
            }
            let (after, after_raw) = match (&cell.before_raw, change.action) {
                (Some(raw), Action::Update | Action::Archive) => (cell.before.clone(), raw.clone()),
                _ => (Value::Null, Raw::null()),
            };
            cells.push(CellChange {
                field: cell.field.clone(),
                column: column.name.clone(),
                before_raw: Some(self.nows[system].raw(&column.name, row)),
                before: now,
                after,
                after_raw,
                reason: reason.clone(),
            });
        }
        if cells.is_empty() { Err("the job carries none of its fields any more".to_owned()) } else { Ok(cells) }
    }

    /// The cells of a row that was deleted.
    fn cells_again(&self, system: usize, change: &Change, reason: &Reason) -> Result<Vec<CellChange>, String> {
        let mut cells = Vec::new();
        for cell in change.cells.iter().filter(|cell| !cell.before.is_null()) {
            let (Some(field_name), Some(raw)) = (&cell.field, &cell.before_raw) else { continue };
            let field = self.job.field(field_name).ok_or_else(|| format!("the job has no field `{field_name}` any more"))?;
            let Some(column) = &self.job.fields[field].columns[system] else { continue };
            cells.push(CellChange {
                field: cell.field.clone(),
                column: column.name.clone(),
                before_raw: None,
                before: Value::Null,
                after: cell.before.clone(),
                after_raw: raw.clone(),
                reason: reason.clone(),
            });
        }
        for (column, values) in &self.job.systems[system].only {
            if let (false, Some(first)) = (cells.iter().any(|cell| cell.column == *column), values.first()) {
                cells.push(CellChange {
                    field: None,
                    column: column.clone(),
                    before_raw: None,
                    before: Value::Null,
                    after: Value::Text(first.clone()),
                    after_raw: Raw::text(first.clone()),
                    reason: Reason::WithinFilter,
                });
            }
        }
        let has = |field: &usize| cells.iter().any(|cell| cell.field.as_ref() == Some(&self.job.fields[*field].name));
        if self.job.key.iter().all(has) { Ok(cells) } else { Err("its key is not known in full any more".to_owned()) }
    }

    /// What is held of these changes, each field and record once.
    fn holds(&self, undo: &Undo, changes: &[Change]) -> Vec<Hold> {
        let mut fields: BTreeMap<(u32, usize), Vec<u32>> = BTreeMap::new();
        let mut records: BTreeMap<(u32, usize), Vec<u32>> = BTreeMap::new();
        let creates = changes.iter().filter(|change| change.action == Action::Create || self.archived_row(change).is_some());
        let made: HashSet<(u64, &str)> = creates.map(|change| (change.record, change.system.as_str())).collect();
        for change in changes {
            let Ok(record) = self.linked.records.binary_search(&change.record) else { continue };
            let (record, Some(system)) = (record as u32, self.job.system(&change.system)) else { continue };
            let is_revived = self.archived_row(change).is_some();
            if change.action == Action::Update && !is_revived {
                let written = change.cells.iter().filter_map(|cell| self.job.field(cell.field.as_deref()?));
                written.for_each(|field| fields.entry((record, field)).or_default().push(change.number));
                continue;
            }
            records.entry((record, system)).or_default().push(change.number);
            // A row that is deleted is not made again there; one that is made again is not made elsewhere.
            if change.action == Action::Create || is_revived {
                for other in 0..self.job.systems.len() {
                    let is_made = made.contains(&(change.record, self.job.systems[other].name.as_str()));
                    let is_there = self.linked.now_rows[other][record as usize] != NO_ROW || self.linked.archived[other].contains_key(&record);
                    if !is_made && self.job.systems[other].role.is_written() && !is_there {
                        records.entry((record, other)).or_default().push(change.number);
                    }
                }
            }
        }
        let of_records = records.into_iter().map(|((record, system), numbers)| self.hold(undo, record, None, Some(system), numbers));
        let of_fields = fields.into_iter().map(|((record, field), numbers)| self.hold(undo, record, Some(field), None, numbers));
        of_records.chain(of_fields).map(|hold| self.with_what_comes_back(hold, changes)).collect()
    }

    /// The hold with what it needs to be told where a key or an archived row of its record is taken back.
    fn with_what_comes_back(&self, mut hold: Hold, changes: &[Change]) -> Hold {
        let Ok(record) = self.linked.records.binary_search(&hold.record) else { return hold };
        let mut keys_move = false;
        for change in changes.iter().filter(|change| change.record == hold.record && change.action == Action::Update) {
            let revived = self.archived_row(change);
            keys_move |= revived.is_some() || change.row_key_before.as_ref() != Some(&change.row_key_after);
            if let (Some(row), Some(system)) = (revived, self.job.system(&change.system)) {
                let columns = self.nows[system].clean.fields.iter().zip(&self.job.fields);
                let values = columns.filter_map(|(column, field)| Some((field.name.clone(), column.as_ref()?.value(row))));
                hold.archived.insert(change.system.clone(), values.collect());
            }
        }
        if keys_move {
            let rows = (0..self.job.systems.len()).map(|system| (system, self.linked.now_rows[system][record]));
            hold.keys = Some(rows.filter(|(_, row)| *row != NO_ROW).map(|(system, row)| (self.name(system), self.row_key(system, row))).collect());
        }
        hold
    }

    /// What earlier undos hold of the records of these changes: it stays held, of what they leave.
    fn held_before(&self, undone: &Undone<'_>, changes: &[Change], holds: &[Hold]) -> Vec<Hold> {
        let touched: HashSet<u64> = changes.iter().map(|change| change.record).collect();
        let new: HashSet<&str> = holds.iter().map(|hold| hold.answer.id.as_str()).collect();
        let mut earlier = Vec::new();
        for (record, answers) in undone.by_record.iter().filter(|(record, _)| touched.contains(&self.linked.records[**record as usize])) {
            for answer in answers.iter().filter(|answer| answer.holds_undone() && !new.contains(answer.id.as_str())) {
                let (field, sides, about) = match answer.to.field.as_deref().map(|name| self.job.field(name)) {
                    None => (None, Vec::new(), self.about_elsewhere(*record)),
                    Some(None) => continue,
                    Some(Some(field)) => {
                        let voices = self.voices_now(*record, field);
                        (Some(field), self.sides_of_field(field, &voices, None), answers::about_field(self.job, &self.seen(&voices)))
                    }
                };
                if answer.is_about(&about) {
                    let hold = Hold {
                        answer: Answer { number: 0, ..(*answer).clone() },
                        ask: Ask { sides, ..Ask::default() },
                        changes: Vec::new(),
                        record: self.linked.records[*record as usize],
                        before: self.before(*record, field),
                        archived: BTreeMap::new(),
                        keys: None,
                    };
                    earlier.push(self.with_what_comes_back(hold, changes));
                }
            }
        }
        earlier
    }

    fn voices_now(&self, record: u32, field: usize) -> Vec<Voice> {
        let presence: Vec<Presence> = (0..self.job.systems.len()).map(|system| self.presence(system, record)).collect();
        self.voices(record, field, &presence, &[])
    }

    /// By system where a record is: what it holds, by field. Of a field, its value alone.
    fn before(&self, record: u32, field: Option<usize>) -> BTreeMap<String, Vec<(String, Value)>> {
        let named = |values: Vec<Option<Value>>| {
            let values = values.into_iter().enumerate().filter(|(index, _)| field.is_none_or(|field| field == *index));
            values.filter_map(|(index, value)| Some((self.job.fields[index].name.clone(), value?))).collect::<Vec<_>>()
        };
        (0..self.job.systems.len()).filter_map(|system| Some((self.name(system), named(self.row_values(record, system)?)))).collect()
    }

    fn hold(&self, undo: &Undo, record: u32, field: Option<usize>, system: Option<usize>, changes: Vec<u32>) -> Hold {
        let open = Break {
            kind: BreakKind::Undone,
            key: self.linked.key(record, self.nows, &self.state.bases).to_owned(),
            field: field.map(|field| self.job.fields[field].name.clone()),
            system: system.map(|system| self.name(system)),
            values: Vec::new(),
            why: String::new(),
            next_step: String::new(),
        };
        let sides = field.map(|field| self.sides_of_field(field, &self.voices_now(record, field), None));
        Hold {
            answer: Answer {
                number: 0,
                id: open.id(&self.job.name),
                to: open,
                about: String::new(),
                or_about: Vec::new(),
                carried: None,
                act: Act::Undone { run: undo.undoes.run.clone() },
                who: undo.undoes.who.clone(),
                why: undo.undoes.why.clone(),
                at: undo.undoes.at.clone(),
                written: None,
            },
            ask: Ask { sides: sides.unwrap_or_default(), ..Ask::default() },
            changes,
            record: self.linked.records[record as usize],
            before: self.before(record, field),
            archived: BTreeMap::new(),
            keys: None,
        }
    }

    /// Tells what an undo could not take back of a record, and what else is held of it, where nothing tonight told it yet. `told` is
    /// where the breaks of the record begin.
    pub(super) fn still_undone(&mut self, undone: &Undone<'_>, record: u32, told: usize) {
        let Some(answers) = undone.by_record.get(&record) else { return };
        let known: Vec<String> = self.breaks[told..].iter().map(|open| open.id(&self.job.name)).collect();
        let about = self.about_elsewhere(record);
        for answer in answers.iter().filter(|answer| answer.to.field.is_none() && answer.holds_undone() && !known.contains(&answer.id)) {
            if answer.is_about(&about) {
                self.breaks.push(answer.to.clone());
            }
        }
    }

    /// Tells what an undo could not make again of records that are in no system.
    pub(super) fn gone_and_undone(&mut self, undone: &Undone<'_>) {
        let about = answers::about_elsewhere(self.job, |_| None);
        for answer in undone.gone.iter().filter(|answer| answer.to.field.is_none() && answer.holds_undone() && answer.is_about(&about)) {
            self.asks.insert(answer.id.clone(), Ask { about: about.clone(), ..Ask::default() });
            self.breaks.push(answer.to.clone());
        }
    }
}

/// The answers to what undos took back, by the record.
pub(super) struct Undone<'a> {
    by_record: BTreeMap<u32, Vec<&'a Answer>>,
    /// Those to records that nobody knows any more.
    gone: Vec<&'a Answer>,
}

impl<'a> Undone<'a> {
    pub(super) fn of(answers: &'a Answers, state: &State, nows: &[Keyed], linked: &Linked) -> Undone<'a> {
        let by_key = answers.to_undone();
        let mut by_record = BTreeMap::new();
        let mut known: HashSet<&str> = HashSet::new();
        if !by_key.is_empty() {
            for record in 0..linked.records.len() as u32 {
                if let Some((key, answers)) = by_key.get_key_value(linked.key(record, nows, &state.bases)) {
                    by_record.insert(record, answers.clone());
                    known.insert(*key);
                }
            }
        }
        let gone = by_key.into_iter().filter(|(key, _)| !known.contains(key)).flat_map(|(_, answers)| answers).collect();
        Undone { by_record, gone }
    }

    /// The records, ascending: each is looked into, whether or not anything of it changed.
    pub(super) fn records(&self) -> impl Iterator<Item = u32> {
        self.by_record.keys().copied()
    }
}
