//! What became of a plan, and the state that the next run starts from.
//!
//! Each system settles on its own. Where we wrote, its base is what was read back; where we did not, what was pulled. A
//! system that did not take a decided value is owed it. A field that waits for a person moves no base.
//!
//! | the system says | read back | status | base |
//! | --- | --- | --- | --- |
//! | done | the value | verified | what was read back |
//! | done | another, which its own answer to the write shows, or which the same write left before | normalised | what was read back |
//! | done | the old value, and no later edit time | pending, owed | the old value |
//! | done | anything else | overwritten since, owed | the old value, so that the edit counts as one |
//! | unknown | the value | verified | what was read back |
//! | unknown | anything else | unknown, owed | the old value |
//! | rejected, stale, skipped | | that, owed | what was pulled |
//! | done, a new row | no such row | pending; never made a second time | none, but what we sent is remembered as ours |
//!
//! # Design
//! - [`settle`] needs the plan, the outcomes and what was read back, and nothing else of the run: a run that was killed is
//!   settled by the next one with the same code. [`advance`] adds what only a whole run knows: the bases of all records that
//!   were not written.
//! - Some systems give the id of a row that is gone to the next one that is made. The record that lost its row then has no id
//!   there any more: the new row would otherwise be taken for its own, under another key.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashSet;
use polars::prelude::{BooleanChunked, ChunkFullNull, Int64Chunked, NewChunkedArray, StringChunked, StringChunkedBuilder};

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::base::{Base, BaseBuilder, BaseCell, BaseTotal, FieldDebt, Open, OpenField, OpenRecord, Standing, State, Written};
use super::clean;
use super::index::TextIndex;
use super::link::Linked;
use super::plan::{BaseMove, Decisions, Treatment};
use super::totals;
use crate::change::{Action, Break, BreakKind, CellChange, Change, Outcome, Plan, Reason, Settled, SystemValue, created_values};
use crate::frame::{Clean, FieldColumn, Keyed, NO_ROW, Pulled, Silence};
use crate::job::{Blank, Job, MergeRule, Role};
use crate::value::Value;

/// What is known of one system after the writes.
#[derive(Clone, Debug)]
pub struct ReadBack {
    /// At least the rows that were written.
    pub rows: Clean,
}

/// What became of one planned change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// In one word.
    pub settled: Settled,
    /// The system's words, or what was read back instead.
    pub detail: Option<String>,
    /// Of a row that was created: the hash of everything that was read back of it, in hexadecimal.
    pub made: Option<String>,
}

/// The new base of one record in one system, as far as a write decides it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// The native id, where the system has one and told it.
    pub id: Option<String>,
    /// The canonical key of the row.
    pub key: String,
    /// How the record stands.
    pub standing: Standing,
    /// The edit time read back after our write.
    pub our_edit: Option<i64>,
    /// By field: the new base; nothing for *never seen*.
    pub cells: BTreeMap<usize, Option<Value>>,
}

/// What became of a plan.
#[derive(Clone, Debug, Default)]
pub struct Settlement {
    /// By the number of the change.
    pub fates: BTreeMap<u32, Fate>,
    /// By system and record number.
    pub patches: BTreeMap<(usize, u64), Patch>,
    /// What is open of the plan's decisions: nothing where a field is settled.
    pub fields: BTreeMap<(u64, String), Option<OpenField>>,
    /// What is open of its creates and deletes: nothing where one is settled.
    pub records: BTreeMap<(u64, String), Option<OpenRecord>>,
    /// What is at odds because of a write.
    pub breaks: Vec<Break>,
}

/// Looks at every change of a plan: what the system said, what was read back.
///
/// `outcomes` are by the number of the change; a change without one was not tried. `atomic` tells by system whether a set
/// of changes is written wholly or not at all.
pub fn settle(job: &Job, open: &Open, plan: &Plan, outcomes: &BTreeMap<u32, Outcome>, read_back: &[Option<ReadBack>], atomic: &[bool]) -> Settlement {
    let mut settlement = Settlement::default();
    let mut debts: BTreeMap<(u64, String), BTreeMap<String, FieldDebt>> = BTreeMap::new();
    let revived = revived(plan);
    for (system, spec) in job.systems.iter().enumerate() {
        let seen = read_back[system].as_ref().map(SeenRows::of);
        for change in plan.changes.iter().filter(|change| change.system == spec.name) {
            let not_tried = Outcome::Skipped { reason: "the run stopped before it was sent".to_owned() };
            let outcome = outcomes.get(&change.number).unwrap_or(&not_tried);
            let revives = revived.contains(&change.number);
            let settler = Settler { job, open, system, change, outcome, seen: seen.as_ref(), atomic: atomic[system], revives };
            match change.action {
                Action::Update => settler.update(&mut settlement, &mut debts),
                Action::Create => settler.create(&mut settlement, &mut debts),
                Action::Delete | Action::Archive => settler.remove(&mut settlement),
            }
        }
    }
    for decision in &plan.decisions {
        let at = (decision.record, decision.field.clone());
        let earlier = open.fields.get(&at).filter(|earlier| earlier.value == decision.value);
        let mut debts = debts.remove(&at).unwrap_or_default();
        for system in &decision.unsent {
            let debt = earlier.and_then(|e| e.debts.get(system)).filter(|d| matches!(d, FieldDebt::Owed { .. })).cloned();
            let new = FieldDebt::Owed { attempts: 0, left: None, uncertain: false, why: "it may not be sent".to_owned() };
            debts.insert(system.clone(), debt.unwrap_or(new));
        }
        // What a system makes of the same value stays accepted; what one owes that is not there tonight stays owed.
        for (system, debt) in earlier.into_iter().flat_map(|e| &e.debts) {
            let seen = decision.seen.iter().find(|s| s.system == *system);
            let keeps = match (debt, seen) {
                (FieldDebt::Normalised { stored }, Some(seen)) => seen.value == *stored,
                (_, None) => true,
                _ => false,
            };
            if keeps && !debts.contains_key(system) {
                debts.insert(system.clone(), debt.clone());
            }
        }
        let still_open = (!debts.is_empty()).then(|| OpenField {
            value: decision.value.clone(),
            reason: earlier.map_or_else(|| decision.reason.clone(), |e| e.reason.clone()),
            from: earlier.map_or_else(|| decision.from.clone(), |e| e.from.clone()),
            debts,
        });
        settlement.fields.insert(at, still_open);
    }
    // What a system made of a value that was taken back there is not accepted any more.
    for change in plan.changes.iter().filter(|change| change.action == Action::Update && matches!(change.reason, Reason::Undone { .. })) {
        let is_done = settlement.fates.get(&change.number).is_some_and(|fate| matches!(fate.settled, Settled::Verified | Settled::Normalised));
        for field in change.cells.iter().filter(|_| is_done).filter_map(|cell| cell.field.clone()) {
            let at = (change.record, field);
            let now = settlement.fields.get(&at).cloned().unwrap_or_else(|| open.fields.get(&at).cloned());
            if let Some(mut now) = now.filter(|now| matches!(now.debts.get(&change.system), Some(FieldDebt::Normalised { .. }))) {
                now.debts.remove(&change.system);
                settlement.fields.insert(at, Some(now).filter(|now| !now.debts.is_empty()));
            }
        }
    }
    // What a new row makes of a value that stands everywhere else is behind no decision.
    for change in plan.changes.iter().filter(|change| change.action == Action::Create) {
        for cell in &change.cells {
            let Some(field) = &cell.field else { continue };
            let at = (change.record, field.clone());
            let Some(mut debts) = debts.remove(&at) else { continue };
            let earlier = open.fields.get(&at).filter(|earlier| earlier.value == cell.after);
            for (system, debt) in earlier.into_iter().flat_map(|e| &e.debts) {
                debts.entry(system.clone()).or_insert_with(|| debt.clone());
            }
            let (reason, from) = earlier.map_or_else(|| (change.reason.clone(), Vec::new()), |e| (e.reason.clone(), e.from.clone()));
            settlement.fields.insert(at, Some(OpenField { value: cell.after.clone(), reason, from, debts }));
        }
    }
    settlement
}

/// The changes of an undo that take an archive back: they are held as records are, and are updates all the same.
fn revived(plan: &Plan) -> BTreeSet<u32> {
    let of_records = plan.header.holds.iter().filter(|hold| hold.answer.to.field.is_none());
    let held: BTreeSet<u32> = of_records.flat_map(|hold| hold.changes.iter().copied()).collect();
    let updates = plan.changes.iter().filter(|change| change.action == Action::Update);
    if held.is_empty() { held } else { updates.map(|change| change.number).filter(|number| held.contains(number)).collect() }
}

/// The rows that were read back, by id and by key.
struct SeenRows<'a> {
    rows: &'a Clean,
    by_key: TextIndex<'a>,
    by_id: Option<TextIndex<'a>>,
    unreadable_keys: BTreeSet<&'a str>,
    unreadable_ids: BTreeSet<&'a str>,
}

impl<'a> SeenRows<'a> {
    fn of(read_back: &'a ReadBack) -> SeenRows<'a> {
        let rows = &read_back.rows;
        SeenRows {
            rows,
            by_key: TextIndex::build(&rows.keys).0,
            by_id: rows.ids.as_ref().map(|ids| TextIndex::build(ids).0),
            unreadable_keys: rows.silent.keys.iter().flatten().map(String::as_str).collect(),
            unreadable_ids: rows.silent.ids.iter().flatten().map(String::as_str).collect(),
        }
    }
}

/// One change, what the system said about it, and what was read back.
struct Settler<'a> {
    job: &'a Job,
    open: &'a Open,
    system: usize,
    change: &'a Change,
    outcome: &'a Outcome,
    seen: Option<&'a SeenRows<'a>>,
    atomic: bool,
    /// Whether it takes an archive back: then its row stands for the record again, with everything in it.
    revives: bool,
}

impl Settler<'_> {
    fn id_before(&self) -> Option<String> {
        self.change.row_id.clone()
    }

    /// The row as it was read back.
    fn row(&self) -> Option<u32> {
        let seen = self.seen?;
        let created = match self.outcome {
            Outcome::Done { id, .. } => id.clone(),
            _ => None,
        };
        if let (Some(by_id), Some(id)) = (&seen.by_id, created.or_else(|| self.id_before())) {
            return by_id.get(&id);
        }
        let before = self.change.row_key_before.as_deref();
        seen.by_key.get(&self.change.row_key_after).or_else(|| before.and_then(|key| seen.by_key.get(key)))
    }

    /// Whether the row is there and cannot be read.
    fn is_unreadable(&self) -> bool {
        self.seen.is_some_and(|seen| {
            self.id_before().is_some_and(|id| seen.unreadable_ids.contains(id.as_str())) || seen.unreadable_keys.contains(self.change.row_key_after.as_str())
        })
    }

    fn value(&self, field: usize, row: u32) -> Option<Value> {
        self.seen?.rows.fields[field].as_ref().map(|column| column.value(row))
    }

    fn field_of(&self, cell: &CellChange) -> Option<usize> {
        self.job.field(cell.field.as_deref()?)
    }

    fn is_kept(&self, field: usize, cell: &CellChange, now: &Value) -> bool {
        let spec = &self.job.fields[field];
        let target = spec.columns[self.system].as_ref().map(|column| clean::canonical(spec, column, &cell.after));
        spec.equivalent(now, &cell.after) || target.is_some_and(|target| spec.equivalent(now, &target))
    }

    /// What the system's own answer to the write shows in a column, read as the field's value.
    fn answers(&self, field: usize, cell: &CellChange, now: &Value) -> bool {
        let Outcome::Done { answer, .. } = self.outcome else { return false };
        let Some(part) = answer.iter().find(|part| part.column == cell.column) else { return false };
        let spec = &self.job.fields[field];
        spec.columns[self.system].as_ref().and_then(|column| clean::read_one(spec, column, &part.raw)).is_some_and(|value| value == *now)
    }

    fn is_edited_later(&self, row: u32) -> bool {
        let Some(seen) = self.seen else { return false };
        let now = seen.rows.edited_at.as_ref().and_then(|times| times.get(row as usize));
        matches!((now, self.change.edited_at), (Some(now), Some(before)) if now > before)
    }

    fn patch(&self, row: Option<u32>, standing: Standing) -> Patch {
        let text = |column: Option<&polars::prelude::StringChunked>| row.and_then(|row| column.and_then(|c| c.get(row as usize)).map(str::to_owned));
        let seen = self.seen.map(|seen| seen.rows);
        let created = match self.outcome {
            Outcome::Done { id, .. } => id.clone(),
            _ => None,
        };
        Patch {
            id: text(seen.and_then(|rows| rows.ids.as_ref())).or(created).or_else(|| self.id_before()),
            key: text(seen.map(|rows| &rows.keys)).or_else(|| self.change.row_key_before.clone()).unwrap_or_else(|| self.change.row_key_after.clone()),
            standing,
            our_edit: seen.and_then(|rows| rows.edited_at.as_ref()).zip(row).and_then(|(times, row)| times.get(row as usize)),
            cells: BTreeMap::new(),
        }
    }

    /// The hash of the row that was created, as it was read back.
    fn made(&self) -> Option<String> {
        let is_ours = self.change.action == Action::Create && matches!(self.outcome, Outcome::Done { .. });
        let rows = self.seen?.rows;
        let row = self.row().filter(|_| is_ours)?;
        Some(row_hash(&rows.pulled, rows.rows[row as usize]))
    }

    fn is_undo(&self) -> bool {
        matches!(self.change.reason, Reason::Undone { .. })
    }

    fn finish(&self, settlement: &mut Settlement, settled: Settled, detail: Option<String>) {
        // What an undo could not take back is not sent again: it is told with what it took back.
        let kind = match settled {
            Settled::Verified | Settled::Normalised => None,
            _ if self.is_undo() => None,
            Settled::Rejected | Settled::Stale | Settled::Skipped => Some(BreakKind::WriteRejected),
            Settled::Pending | Settled::Overwritten | Settled::Unknown => Some(BreakKind::WriteNotKept),
        };
        let Some(kind) = kind else {
            settlement.fates.insert(self.change.number, Fate { settled, detail, made: self.made() });
            return;
        };
        let (change, what) = (self.change, words_of(settled));
        let why = format!("the {} {what}{}", change.action, detail.as_ref().map(|d| format!(": {d}")).unwrap_or_default());
        let next_step = match settled {
            Settled::Rejected => format!("mend what the reason names, in the record or in `{}`; it is sent again every run", change.system),
            _ => "nothing yet: it is sent again by the next run".to_owned(),
        };
        settlement.breaks.push(Break {
            kind,
            key: change.key.clone(),
            // The write is at odds, whichever cells it has tonight: so the break stays the same one.
            field: None,
            system: Some(change.system.clone()),
            values: change
                .cells
                .iter()
                .take(1)
                .filter(|_| change.action == Action::Update)
                .map(|c| SystemValue { system: change.system.clone(), value: c.before.clone() })
                .collect(),
            why,
            next_step,
        });
        settlement.fates.insert(change.number, Fate { settled, detail, made: self.made() });
    }

    fn update(&self, settlement: &mut Settlement, debts: &mut BTreeMap<(u64, String), BTreeMap<String, FieldDebt>>) {
        let row = self.row();
        let said = match self.outcome {
            Outcome::Rejected { reason } => Some((Settled::Rejected, reason)),
            Outcome::Stale { reason } => Some((Settled::Stale, reason)),
            Outcome::Skipped { reason } => Some((Settled::Skipped, reason)),
            Outcome::Unknown { .. } | Outcome::Done { .. } => None,
        };
        let written = said.is_none();
        let mut patch = self.patch(if written { row } else { None }, Standing::Live);
        if !written {
            patch.our_edit = None;
        }
        let mut worst = Settled::Verified;
        let mut detail: Option<String> = None;
        for cell in &self.change.cells {
            let Some(field) = self.field_of(cell) else { continue };
            let name = &self.job.fields[field].name;
            let at = (self.change.record, name.clone());
            let earlier = self.open.fields.get(&at).filter(|open| open.value == cell.after).and_then(|open| open.debts.get(&self.change.system));
            let (attempts, left_before) = match earlier {
                Some(FieldDebt::Owed { attempts, left, .. }) => (*attempts, left.clone()),
                _ => (0, None),
            };
            let now = row.and_then(|row| self.value(field, row));
            let (settled, why) = match (&said, self.outcome, &now) {
                (Some((settled, reason)), _, _) => (*settled, (*reason).clone()),
                (None, _, Some(now)) if self.is_kept(field, cell, now) => (Settled::Verified, String::new()),
                (None, Outcome::Unknown { reason }, _) => (Settled::Unknown, reason.clone()),
                (None, _, None) if self.is_unreadable() => (Settled::Overwritten, "the row cannot be read any more".to_owned()),
                (None, _, None) => (Settled::Overwritten, "the row is not there any more".to_owned()),
                (None, _, Some(now)) if self.answers(field, cell, now) || left_before.as_ref() == Some(now) => {
                    (Settled::Normalised, format!("`{name}`: `{}` is kept as `{now}`", cell.after))
                }
                (None, _, Some(now)) if *now == cell.before && !row.is_some_and(|row| self.is_edited_later(row)) => {
                    (Settled::Pending, format!("`{name}` still shows `{now}`"))
                }
                (None, _, Some(now)) => (Settled::Overwritten, format!("`{name}` shows `{now}` instead of `{}`", cell.after)),
            };
            let base = match settled {
                Settled::Verified | Settled::Normalised => now.clone().unwrap_or_else(|| cell.before.clone()),
                _ => cell.before.clone(),
            };
            patch.cells.insert(field, Some(base));
            let debt = match settled {
                Settled::Verified => None,
                Settled::Normalised => now.clone().map(|stored| FieldDebt::Normalised { stored }),
                _ => Some(FieldDebt::Owed {
                    attempts: attempts + u32::from(!matches!(settled, Settled::Stale | Settled::Skipped)),
                    left: now.clone().filter(|_| written),
                    uncertain: matches!(settled, Settled::Overwritten | Settled::Unknown | Settled::Pending),
                    why: if why.is_empty() { settled.to_string() } else { why.clone() },
                }),
            };
            if let Some(debt) = debt {
                debts.entry(at).or_default().insert(self.change.system.clone(), debt);
            }
            if settled != Settled::Verified && (worst == Settled::Verified || settled > worst) {
                worst = settled;
                detail = Some(why).filter(|w| !w.is_empty());
            }
        }
        let is_done = matches!(worst, Settled::Verified | Settled::Normalised);
        if let (true, true, Some(row)) = (self.revives, is_done, row) {
            for field in (0..self.job.fields.len()).filter(|field| self.job.fields[*field].is_carried_by(self.system)) {
                patch.cells.entry(field).or_insert_with(|| self.value(field, row));
            }
        }
        // A row that is still archived, or may be, stands for nothing yet.
        if !self.revives || is_done {
            settlement.patches.insert((self.system, self.change.record), patch);
        }
        self.finish(settlement, worst, detail);
    }

    fn owe_record(&self, settlement: &mut Settlement, settled: Settled, why: &str) {
        if self.is_undo() {
            return self.finish(settlement, settled, Some(why.to_owned()));
        }
        let attempts = self.change.attempts + u32::from(!matches!(settled, Settled::Stale | Settled::Skipped));
        let sent = (self.change.action == Action::Create).then(|| created_values(&self.change.cells));
        let open = OpenRecord { action: self.change.action, reason: self.change.reason.clone(), attempts, sent, why: why.to_owned() };
        settlement.records.insert((self.change.record, self.change.system.clone()), Some(open));
        self.finish(settlement, settled, Some(why.to_owned()));
    }

    /// A row that we made and that does not show yet: what we sent stands for what it holds, until it is read.
    fn awaited(&self) -> Patch {
        let mut patch = self.patch(None, Standing::Awaited);
        for cell in &self.change.cells {
            let Some(field) = self.field_of(cell) else { continue };
            let spec = &self.job.fields[field];
            let Some(column) = &spec.columns[self.system] else { continue };
            patch.cells.insert(field, Some(clean::canonical(spec, column, &cell.after)));
        }
        patch
    }

    fn create(&self, settlement: &mut Settlement, debts: &mut BTreeMap<(u64, String), BTreeMap<String, FieldDebt>>) {
        let row = self.row();
        let at = (self.change.record, self.change.system.clone());
        match (self.outcome, row) {
            (Outcome::Rejected { reason }, _) => return self.owe_record(settlement, Settled::Rejected, reason),
            (Outcome::Stale { reason }, _) => return self.owe_record(settlement, Settled::Stale, reason),
            (Outcome::Skipped { reason }, _) => return self.owe_record(settlement, Settled::Skipped, reason),
            (Outcome::Unknown { reason }, None) => {
                // An atomic system that does not show it has not made it. Any other may show it later.
                if !self.atomic {
                    settlement.patches.insert((self.system, self.change.record), self.awaited());
                }
                return self.owe_record(settlement, Settled::Unknown, reason);
            }
            (Outcome::Done { .. }, None) => {
                settlement.patches.insert((self.system, self.change.record), self.awaited());
                let why = if self.seen.is_some() { "the new row is not there yet" } else { "the new row could not be read back" };
                return self.owe_record(settlement, Settled::Pending, why);
            }
            (Outcome::Unknown { .. } | Outcome::Done { .. }, Some(_)) => {}
        }
        let Some(row) = row else { return };
        let mut patch = self.patch(Some(row), Standing::Live);
        let mut worst = Settled::Verified;
        let mut detail = None;
        for (index, field) in self.job.fields.iter().enumerate() {
            if !field.is_carried_by(self.system) {
                continue;
            }
            let now = self.value(index, row);
            let Some(cell) = self.change.cells.iter().find(|cell| cell.field.as_ref() == Some(&field.name)) else {
                patch.cells.insert(index, now);
                continue;
            };
            let Some(now) = now else { continue };
            let mut owes = |debt: FieldDebt| {
                debts.entry((self.change.record, field.name.clone())).or_default().insert(self.change.system.clone(), debt);
            };
            if self.is_kept(index, cell, &now) {
                patch.cells.insert(index, Some(now));
            } else if self.answers(index, cell, &now) {
                worst = worst.max(Settled::Normalised);
                detail.get_or_insert(format!("`{}`: `{}` is kept as `{now}`", field.name, cell.after));
                owes(FieldDebt::Normalised { stored: now.clone() });
                patch.cells.insert(index, Some(now));
            } else {
                // Somebody was there before us, whose value has never been decided on; or the system makes this of ours,
                // which shows when it does so again.
                let why = format!("`{}` shows `{now}` instead of `{}`", field.name, cell.after);
                if !self.is_undo() {
                    owes(FieldDebt::Owed { attempts: 1, left: Some(now), uncertain: true, why: why.clone() });
                }
                worst = Settled::Overwritten;
                detail = Some(why);
                patch.cells.insert(index, None);
            }
        }
        settlement.patches.insert((self.system, self.change.record), patch);
        settlement.records.insert(at, None);
        self.finish(settlement, worst, detail);
    }

    fn remove(&self, settlement: &mut Settlement) {
        let at = (self.change.record, self.change.system.clone());
        let row = self.row();
        let archived = self.change.action == Action::Archive;
        let gone = if archived && self.is_unreadable() {
            // The filter leaves archived rows out.
            self.seen.is_some_and(|seen| !seen.rows.silent.why.contains(&Silence::Quarantined))
        } else if archived {
            let cell = self.change.cells.first();
            cell.is_some_and(|cell| {
                let field = self.field_of(cell);
                field.zip(row).and_then(|(field, row)| self.value(field, row).map(|now| self.is_kept(field, cell, &now))).unwrap_or(false)
            })
        } else {
            self.seen.is_some() && row.is_none() && !self.is_unreadable()
        };
        match self.outcome {
            Outcome::Rejected { reason } => self.owe_record(settlement, Settled::Rejected, reason),
            Outcome::Stale { reason } => self.owe_record(settlement, Settled::Stale, reason),
            Outcome::Skipped { reason } => self.owe_record(settlement, Settled::Skipped, reason),
            Outcome::Done { .. } | Outcome::Unknown { .. } if gone => {
                let standing = if archived { Standing::Archived } else { Standing::Ended };
                settlement.patches.insert((self.system, self.change.record), self.patch(row, standing));
                settlement.records.insert(at, None);
                self.finish(settlement, Settled::Verified, None);
            }
            Outcome::Done { .. } => self.owe_record(settlement, Settled::Pending, "the row still shows as it was"),
            Outcome::Unknown { reason } => self.owe_record(settlement, Settled::Unknown, reason),
        }
    }
}

/// The hash of everything that a source holds in a row, in hexadecimal.
pub(super) fn row_hash(pulled: &Pulled, row: u32) -> String {
    format!("{:032x}", pulled.hash(row))
}

/// What became of a change, in a sentence of which the change is the subject.
pub(super) fn words_of(settled: Settled) -> &'static str {
    match settled {
        Settled::Verified => "was made",
        Settled::Normalised => "was made, and another spelling of it is kept",
        Settled::Rejected => "was refused",
        Settled::Stale => "found the row moved since it was read, and was not made",
        Settled::Skipped => "was not tried",
        Settled::Pending => "was made and does not show yet",
        Settled::Overwritten => "was made, and something else was read back",
        Settled::Unknown => "may or may not have been made",
    }
}

fn merge_open(open: &mut Open, settlement: &Settlement) {
    for (at, field) in &settlement.fields {
        match field {
            Some(field) => open.fields.insert(at.clone(), field.clone()),
            None => open.fields.remove(at),
        };
    }
    for (at, record) in &settlement.records {
        match record {
            Some(record) => open.records.insert(at.clone(), record.clone()),
            None => open.records.remove(at),
        };
    }
}

/// What is open after a plan was settled; as it was, where nothing was written.
pub fn open_after(before: &Open, settlement: Option<&Settlement>) -> Open {
    let mut open = before.clone();
    if let Some(settlement) = settlement {
        merge_open(&mut open, settlement);
    }
    open
}

/// The state after a run that was killed: only what its plan wrote has moved.
pub fn settle_interrupted(job: &Job, state: &State, plan: &Plan, settlement: &Settlement) -> State {
    let mut open = state.open.clone();
    merge_open(&mut open, settlement);
    let mut seen: BTreeMap<(u64, usize), Vec<(usize, Value)>> = BTreeMap::new();
    for decision in &plan.decisions {
        let Some(field) = job.field(&decision.field) else { continue };
        for value in &decision.seen {
            if let Some(system) = job.system(&value.system) {
                seen.entry((decision.record, system)).or_default().push((field, value.value.clone()));
            }
        }
    }
    let bases = (0..job.systems.len())
        .map(|system| {
            let base = &state.bases[system];
            let mut builder = BaseBuilder::new(job, system, base.height());
            let patched: BTreeSet<u64> = settlement.patches.keys().filter(|(s, _)| *s == system).map(|(_, record)| *record).collect();
            let given = ids_given(settlement, system);
            let mut rows: Vec<(u64, u32)> = base.records.iter().enumerate().map(|(row, record)| (*record, row as u32)).collect();
            rows.extend(patched.iter().filter(|record| base.records.binary_search(record).is_err()).map(|record| (*record, NO_ROW)));
            rows.sort_unstable();
            for (record, row) in rows {
                let patch = settlement.patches.get(&(system, record));
                push_identity(&mut builder, base, row, record, patch, &given);
                for field in 0..job.fields.len() {
                    let decided = seen.get(&(record, system)).and_then(|cells| cells.iter().find(|(f, _)| *f == field)).map(|(_, value)| value);
                    match (patch.and_then(|p| p.cells.get(&field)), decided) {
                        (Some(Some(value)), _) => builder.push_field(field, BaseCell::Value(value)),
                        (None, Some(value)) if !stays_within(job, field, base, row, value) => builder.push_field(field, BaseCell::Value(value)),
                        (Some(None), _) => builder.push_field(field, BaseCell::None),
                        (None, _) => push_old(&mut builder, base, field, row),
                    }
                }
                for (index, _) in job.totals.iter().enumerate() {
                    let old = base.totals[index].as_ref().filter(|_| row != NO_ROW);
                    let old = old.and_then(|total| total.groups.get(row as usize).map(|group| (BaseCell::From(&total.amounts, row), group)));
                    builder.push_total(index, old);
                }
            }
            builder.finish()
        })
        .collect();
    // What this run wrote is what the next one finds changed, and so is what the run before had written.
    let written = Written::of(state.written.iter().chain(written(job, plan, settlement)));
    State { bases, open, written, next_record: state.next_record.max(plan.header.next_record) }
}

/// The native ids of the rows that were written in a system.
fn ids_given(settlement: &Settlement, system: usize) -> HashSet<&str> {
    let patches = settlement.patches.range((system, 0)..=(system, u64::MAX));
    patches.filter(|(_, patch)| patch.standing.is_linked()).filter_map(|(_, patch)| patch.id.as_deref()).collect()
}

/// Whether the id of a row that was not written was given to another one.
fn is_given_again(base: &Base, row: u32, given: &HashSet<&str>) -> bool {
    let id = || base.ids.get(row as usize);
    !given.is_empty() && row != NO_ROW && base.standings[row as usize].is_linked() && id().is_some_and(|id| given.contains(id))
}

fn push_identity(builder: &mut BaseBuilder, base: &Base, row: u32, record: u64, patch: Option<&Patch>, given: &HashSet<&str>) {
    let edited_before = if row == NO_ROW { None } else { base.edited_at.get(row as usize) };
    match patch {
        Some(patch) => {
            let earlier = if row == NO_ROW { None } else { base.our_edits.get(row as usize) };
            builder.push_record(record, patch.id.as_deref(), &patch.key, patch.standing, patch.our_edit.or(earlier));
        }
        None => {
            let at = row as usize;
            let id = base.ids.get(at).filter(|_| !is_given_again(base, row, given));
            builder.push_record(record, id, base.keys.get(at).unwrap_or_default(), base.standings[at], base.our_edits.get(at));
        }
    }
    builder.set_edited_at(patch.and_then(|patch| patch.our_edit).or(edited_before));
}

fn push_old(builder: &mut BaseBuilder, base: &Base, field: usize, row: u32) {
    let cell = match (&base.fields[field], &base.seen[field]) {
        (Some(values), Some(seen)) if row != NO_ROW && seen.get(row as usize) == Some(true) => BaseCell::From(values, row),
        _ => BaseCell::None,
    };
    builder.push_field(field, cell);
}

/// The state after a whole run.
pub fn advance(job: &Job, state: &State, nows: &[Keyed], decisions: &Decisions, settlement: &Settlement) -> State {
    let linked = &decisions.linked;
    let mut treatments: Vec<Option<&Treatment>> = vec![None; linked.records.len()];
    for (record, treatment) in &decisions.treatments {
        treatments[*record as usize] = Some(treatment);
    }
    let ended = ended_records(job, state, nows, decisions, settlement);
    let systems = (0..job.systems.len()).into_par_iter();
    let bases = systems.map(|system| advance_system(job, system, state, nows, linked, &treatments, settlement, &ended)).collect();
    let mut open = state.open.clone();
    merge_open(&mut open, settlement);
    for record in &ended {
        let number = linked.records[*record as usize];
        open.fields.retain(|(r, _), _| *r != number);
        open.records.retain(|(r, _), _| *r != number);
    }
    // A create or delete that is no longer asked for is no longer owed.
    let asked: BTreeSet<(u64, &str)> = decisions.plan.changes.iter().map(|c| (c.record, c.system.as_str())).collect();
    for (at, reason) in &decisions.comes_back {
        let waits = || OpenRecord { action: Action::Create, reason: reason.clone(), attempts: 0, sent: None, why: "it may not be created there".to_owned() };
        open.records.entry(at.clone()).or_insert_with(waits);
    }
    open.records.retain(|(record, system), debt| {
        let at = linked.records.binary_search(record).ok().zip(job.system(system));
        let here = at.is_some_and(|(r, s)| linked.now_rows[s][r] != NO_ROW || linked.silent[s].contains_key(&(r as u32)));
        let held = at.is_some_and(|(r, _)| treatments[r] == Some(&Treatment::Held));
        let asked = asked.contains(&(*record, system.as_str())) || held;
        match debt.action {
            Action::Create => !here && (asked || debt.attempts >= job.attempts_max || decisions.comes_back.contains_key(&(*record, system.clone()))),
            _ => here && asked,
        }
    });
    // Where nobody could tell tonight, a run goes by.
    let untold = open.flips.into_iter().filter(|(at, _)| !decisions.flips.contains_key(at)).map(|(at, flips)| (at, flips.next(None)));
    open.flips = untold.chain(decisions.flips.iter().filter_map(|(at, flips)| Some((at.clone(), flips.clone()?)))).collect();
    open.flips.retain(|(record, field, system), flips| {
        let lives = linked.records.binary_search(record).is_ok_and(|record| !ended.contains(&(record as u32)));
        lives && !flips.is_over() && job.field(field).is_some() && job.system(system).is_some()
    });
    State { bases, open, written: Written::of(written(job, &decisions.plan, settlement)), next_record: linked.next_record }
}

/// The fields of rows that a plan wrote, as far as the writes were made or may have been.
fn written<'a>(job: &'a Job, plan: &'a Plan, settlement: &'a Settlement) -> impl Iterator<Item = (u64, usize, usize)> + 'a {
    let was_sent = |change: &&Change| {
        let fate = settlement.fates.get(&change.number);
        fate.is_some_and(|fate| !matches!(fate.settled, Settled::Rejected | Settled::Stale | Settled::Skipped))
    };
    let updates = plan.changes.iter().filter(|change| change.action == Action::Update).filter(was_sent);
    updates.flat_map(move |change| {
        let system = job.system(&change.system);
        change.cells.iter().filter_map(move |cell| Some((change.record, system?, job.field(cell.field.as_ref()?)?)))
    })
}

/// Records that are over: gone everywhere before the run, or deleted or archived by it wherever they still were.
/// A system in which it may be without showing tonight is one of those.
fn ended_records(job: &Job, state: &State, nows: &[Keyed], decisions: &Decisions, settlement: &Settlement) -> BTreeSet<u32> {
    let linked = &decisions.linked;
    let unproven: Vec<bool> = nows.iter().map(|now| now.clean.silent.hides_a_key()).collect();
    let mut ended: BTreeSet<u32> = decisions.treatments.iter().filter(|(_, t)| **t == Treatment::Ends).map(|(record, _)| *record).collect();
    for change in decisions.plan.changes.iter().filter(|c| matches!(c.action, Action::Delete | Action::Archive)) {
        let Ok(record) = linked.records.binary_search(&change.record) else { continue };
        let over = (0..job.systems.len()).filter(|s| job.systems[*s].role != Role::Witness).all(|system| {
            let may_be = match linked.standing(system, record as u32, &state.bases) {
                Some(Standing::Awaited) => true,
                Some(Standing::Live) => unproven[system],
                _ => false,
            };
            let there = may_be || linked.now_rows[system][record] != NO_ROW || linked.silent[system].contains_key(&(record as u32));
            !there || settlement.patches.get(&(system, change.record)).is_some_and(|patch| !patch.standing.is_linked())
        });
        if over {
            ended.insert(record as u32);
        }
    }
    ended
}

/// Where the rows of a new base come from: the snapshot, the old base below it, the values of patches below that.
///
/// Every column of the new base is picked out of that stack in one go, and texts are shared, not copied.
struct Stack<'a> {
    base: &'a Base,
    now: &'a Keyed,
}

impl Stack<'_> {
    fn of_now(&self, row: u32) -> u32 {
        row
    }

    fn of_base(&self, row: u32) -> u32 {
        if row == NO_ROW { NO_ROW } else { self.now.height() as u32 + row }
    }

    fn of_patch(&self, number: usize) -> u32 {
        (self.now.height() + self.base.height() + number) as u32
    }

    fn texts(&self, now: Option<&StringChunked>, base: &StringChunked, patched: StringChunked, picks: &[u32]) -> StringChunked {
        let top = now.cloned().unwrap_or_else(|| StringChunked::full_null("".into(), self.now.height()));
        let stack = FieldColumn::Text(top).stacked(&[&FieldColumn::Text(base.clone()), &FieldColumn::Text(patched)]);
        match stack.take(picks) {
            FieldColumn::Text(texts) => texts,
            _ => StringChunked::full_null("".into(), picks.len()),
        }
    }
}

/// One record of a new base.
struct Next<'a> {
    record: u32,
    row: u32,
    base_row: u32,
    patch: Option<&'a Patch>,
    treatment: Option<&'a Treatment>,
    is_over: bool,
    moves: bool,
}

#[expect(clippy::too_many_arguments, reason = "the whole of a run meets here, once")]
fn advance_system(
    job: &Job,
    system: usize,
    state: &State,
    nows: &[Keyed],
    linked: &Linked,
    treatments: &[Option<&Treatment>],
    settlement: &Settlement,
    ended: &BTreeSet<u32>,
) -> Base {
    let stack = Stack { base: &state.bases[system], now: &nows[system] };
    let Stack { base, now } = stack;
    let is_witness = job.systems[system].role == Role::Witness;
    let mut next: Vec<Next<'_>> = Vec::with_capacity(linked.records.len());
    let mut patches = settlement.patches.range((system, 0)..=(system, u64::MAX)).map(|((_, number), patch)| (*number, patch)).peekable();
    for (index, number) in linked.records.iter().enumerate() {
        let record = index as u32;
        let (row, base_row) = (linked.now_rows[system][index], linked.base_rows[system][index]);
        let patch = patches.next_if(|(patched, _)| patched == number).map(|(_, patch)| patch);
        let treatment = treatments[index];
        let is_over = !ended.is_empty() && ended.contains(&record);
        // A held row that no base knows yet stays unlinked, so that it can still find its record.
        let moves = row != NO_ROW && !matches!(treatment, Some(Treatment::Held)) && !is_over;
        // A witness keeps its row of a record that is over: it stays in the witness's sums until the row goes.
        let stays_in_sums = is_witness && row != NO_ROW;
        let unknown_and_over = is_over && base_row == NO_ROW && patch.is_none_or(|p| p.standing.is_linked());
        if (moves || base_row != NO_ROW || patch.is_some() || stays_in_sums && is_over) && (!unknown_and_over || stays_in_sums) {
            next.push(Next { record, row, base_row, patch, treatment, is_over, moves });
        }
    }

    let mut patched_ids: Vec<Option<&str>> = Vec::new();
    let mut patched_keys: Vec<Option<&str>> = Vec::new();
    let mut identity: Vec<u32> = Vec::with_capacity(next.len());
    let mut standings = Vec::with_capacity(next.len());
    let mut our_edits: Vec<Option<i64>> = Vec::with_capacity(next.len());
    let mut edited_at: Vec<Option<i64>> = Vec::with_capacity(next.len());
    let given = ids_given(settlement, system);
    for one in &next {
        let time = |times: Option<&Int64Chunked>, row: u32| times.filter(|_| row != NO_ROW).and_then(|times| times.get(row as usize));
        // Also of a record that waits: when it was edited is what was read, and no decision.
        let read = one.patch.and_then(|patch| patch.our_edit).or_else(|| time(now.clean.edited_at.as_ref(), one.row));
        edited_at.push(read.or_else(|| time(Some(&base.edited_at), one.base_row)));
        let earlier_edit = if one.base_row == NO_ROW { None } else { base.our_edits.get(one.base_row as usize) };
        let (pick, standing, edit) = match one.patch {
            Some(patch) if !(one.is_over && patch.standing.is_linked()) => {
                patched_ids.push(patch.id.as_deref());
                patched_keys.push(Some(&patch.key));
                (stack.of_patch(patched_keys.len() - 1), patch.standing, patch.our_edit.or(earlier_edit))
            }
            _ if one.is_over && one.base_row == NO_ROW => (stack.of_now(one.row), Standing::Ended, None),
            // What an earlier run archived stays archived: its row is there, and does not come back.
            _ if one.is_over && base.standings[one.base_row as usize] == Standing::Archived => (stack.of_base(one.base_row), Standing::Archived, earlier_edit),
            _ if one.is_over => (stack.of_base(one.base_row), Standing::Ended, None),
            _ if one.moves => (stack.of_now(one.row), Standing::Live, earlier_edit),
            _ if one.row == NO_ROW && is_given_again(base, one.base_row, &given) => {
                patched_ids.push(None);
                patched_keys.push(base.keys.get(one.base_row as usize));
                (stack.of_patch(patched_keys.len() - 1), base.standings[one.base_row as usize], earlier_edit)
            }
            _ => (stack.of_base(one.base_row), base.standings[one.base_row as usize], earlier_edit),
        };
        identity.push(pick);
        standings.push(standing);
        our_edits.push(edit);
    }
    let texts = |texts: Vec<Option<&str>>| StringChunked::from_iter_options("".into(), texts.into_iter());
    let ids = stack.texts(now.clean.ids.as_ref(), &base.ids, texts(patched_ids), &identity);
    let keys = stack.texts(Some(&now.clean.keys), &base.keys, texts(patched_keys), &identity);

    let mut fields = Vec::with_capacity(job.fields.len());
    let mut seen = Vec::with_capacity(job.fields.len());
    for (field, spec) in job.fields.iter().enumerate() {
        let (Some(column), Some(old), Some(old_seen)) = (&now.clean.fields[field], &base.fields[field], &base.seen[field]) else {
            fields.push(None);
            seen.push(None);
            continue;
        };
        let mut values: Vec<Value> = Vec::new();
        let mut picks: Vec<u32> = Vec::with_capacity(next.len());
        let mut is_seen: Vec<bool> = Vec::with_capacity(next.len());
        for one in &next {
            // What we sent to a row that shows only now was never read, unless it shows just that.
            let was_awaited = one.moves && one.base_row != NO_ROW && base.standings[one.base_row as usize] == Standing::Awaited;
            let sent = if was_awaited { base.value(field, one.base_row) } else { None };
            let is_base = one.base_row != NO_ROW && sent.is_none_or(|sent| sent == column.value(one.row));
            let base_row = if is_base { one.base_row } else { NO_ROW };
            let field_moves = one.moves
                && match one.treatment {
                    None => true,
                    Some(Treatment::Fields(fields)) => fields[field] == BaseMove::Move && !stays_within(job, field, base, base_row, &column.value(one.row)),
                    Some(Treatment::Held | Treatment::Ends) => false,
                };
            let (pick, seen) = match one.patch.and_then(|patch| patch.cells.get(&field)) {
                Some(Some(value)) => {
                    values.push(value.clone());
                    (stack.of_patch(values.len() - 1), true)
                }
                Some(None) => (NO_ROW, false),
                None if one.is_over => (NO_ROW, false),
                None if field_moves => (stack.of_now(one.row), true),
                None => (stack.of_base(base_row), base_row != NO_ROW && old_seen.get(base_row as usize) == Some(true)),
            };
            picks.push(pick);
            is_seen.push(seen);
        }
        let below = FieldColumn::from_values(spec.field_type, values);
        fields.push(Some(column.stacked(&[old, &below]).take(&picks)));
        seen.push(Some(BooleanChunked::from_slice("".into(), &is_seen)));
    }

    let totals = job.totals.iter().enumerate().map(|(index, total)| {
        let (Some(column), Some(_)) = (&now.clean.fields[total.field], &base.totals[index]) else { return None };
        let mut values: Vec<Value> = Vec::new();
        let mut picks: Vec<u32> = Vec::with_capacity(next.len());
        let mut groups = StringChunkedBuilder::new("".into(), next.len());
        for one in &next {
            let there = (!one.is_over || is_witness) && one.patch.map_or(one.row != NO_ROW, |patch| patch.standing == Standing::Live);
            let written = |field: usize| one.patch.and_then(|patch| patch.cells.get(&field)).and_then(Option::as_ref);
            picks.push(match written(total.field) {
                _ if !there => NO_ROW,
                Some(value) => {
                    values.push(value.clone());
                    stack.of_patch(values.len() - 1)
                }
                None => one.row,
            });
            match total.by.and_then(written) {
                _ if !there => groups.append_null(),
                Some(group) => groups.append_value(group.to_string()),
                None => groups.append_value(totals::group(job, total, system, one.record, nows, linked)),
            }
        }
        let old = base.totals[index].as_ref().map(|total| &total.amounts)?;
        let below = FieldColumn::from_values(column.field_type(), values);
        Some(BaseTotal { amounts: column.stacked(&[old, &below]).take(&picks), groups: groups.finish() })
    });
    Base {
        totals: totals.collect(),
        records: next.iter().map(|one| linked.records[one.record as usize]).collect(),
        ids,
        keys,
        standings,
        our_edits: our_edits.into_iter().collect(),
        edited_at: edited_at.into_iter().collect(),
        fields,
        seen,
    }
}

/// A base stays where it is within tolerance, so that creep adds up until it is seen; and a null that is no edit is no base.
fn stays_within(job: &Job, field: usize, base: &Base, base_row: u32, now: &Value) -> bool {
    let spec = &job.fields[field];
    let base = if base_row == NO_ROW { None } else { base.value(field, base_row) };
    match base {
        None => now.is_null() && spec.blank.is_none_or(|blank| blank == Blank::Ignore),
        Some(base) => {
            let ignored = now.is_null() && !base.is_null() && spec.blank == Some(Blank::Ignore);
            let counts = spec.merge.first() == Some(&MergeRule::SumOfChanges);
            ignored || (!counts && base != *now && spec.tolerance.is_some_and(|tolerance| tolerance.covers(&base, now)))
        }
    }
}
