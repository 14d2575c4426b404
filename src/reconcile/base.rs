//! What is carried from run to run: for each system a [`Base`], and beside them what is still owed.
//!
//! A base holds, per record, where the record is in the system and, per field, the value that was last read from the system
//! and took part in a decision. *No base* (the field was never seen there) and *null* (it was seen empty) are different.

use std::collections::BTreeMap;

use polars::prelude::*;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::change::{Action, LinkEvent, Reason, key_for_people};
use crate::frame::{FieldColumn, FieldColumnBuilder, gathered, positions};
use crate::job::Job;
use crate::value::{FieldType, Value};

/// How a record stands in a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Standing {
    /// It has been read there.
    Live = 0,
    /// We created it, and it has not been read back yet. Its values are what we sent: they become its base when the row shows
    /// just them, and are none otherwise.
    Awaited = 1,
    /// Its delete was agreed: a tombstone.
    Ended = 2,
    /// It was archived there: the row stays, the link is over.
    Archived = 3,
}

impl Standing {
    /// The standing that is stored as this number.
    pub fn from_u8(number: u8) -> Standing {
        match number {
            0 => Standing::Live,
            1 => Standing::Awaited,
            2 => Standing::Ended,
            _ => Standing::Archived,
        }
    }

    /// Whether the record is, as far as we know, in the system and in the job.
    pub fn is_linked(self) -> bool {
        matches!(self, Standing::Live | Standing::Awaited)
    }
}

/// The amounts of one control total as they were last read.
#[derive(Clone, Debug)]
pub struct BaseTotal {
    /// The amounts; null where the record was not in the sum.
    pub amounts: FieldColumn,
    /// The group of each, where the total is grouped.
    pub groups: StringChunked,
}

/// The base of one system. All columns have one row a record, in ascending order of `records`.
#[derive(Clone, Debug)]
pub struct Base {
    /// The record numbers, ascending.
    pub records: Vec<u64>,
    /// The native ids; null where the system has none or has not told it yet.
    pub ids: StringChunked,
    /// The canonical keys.
    pub keys: StringChunked,
    /// How each record stands.
    pub standings: Vec<Standing>,
    /// The edit time that was read back after our last write; null if the last edit was not ours.
    pub our_edits: Int64Chunked,
    /// When each record had been edited as it was last read, in microseconds since 1970-01-01T00:00Z; null where the system
    /// does not tell.
    pub edited_at: Int64Chunked,
    /// By the job's fields: the values, or nothing where the system does not carry the field.
    pub fields: Vec<Option<FieldColumn>>,
    /// By the job's fields: whether there is a base at all.
    pub seen: Vec<Option<BooleanChunked>>,
    /// By the job's totals: what was last read.
    pub totals: Vec<Option<BaseTotal>>,
}

impl Base {
    /// The column of the record numbers in [`Base::to_frame`].
    pub const RECORD_COLUMN: &str = "@record";

    /// The base of a system that was never read.
    pub fn empty(job: &Job, system: usize) -> Base {
        BaseBuilder::new(job, system, 0).finish()
    }

    /// How many records it knows.
    pub fn height(&self) -> usize {
        self.records.len()
    }

    /// The base value of a field; nothing if it was never seen.
    pub fn value(&self, field: usize, row: u32) -> Option<Value> {
        let seen = self.seen[field].as_ref()?.get(row as usize)?;
        seen.then(|| self.fields[field].as_ref().map_or(Value::Null, |column| column.value(row)))
    }

    /// Whether another base of the same job has a record just as this one has it: both do.
    pub fn has_the_same(&self, other: &Base, record: u64) -> bool {
        let (Ok(at), Ok(there)) = (self.records.binary_search(&record), other.records.binary_search(&record)) else { return false };
        let (row, other_row) = (at as u32, there as u32);
        let same_field = |(one, another): (&Option<FieldColumn>, &Option<FieldColumn>)| match (one, another) {
            (Some(one), Some(another)) => one.equal(row, another, other_row),
            (one, another) => one.is_none() && another.is_none(),
        };
        let same_seen = |(one, another): (&Option<BooleanChunked>, &Option<BooleanChunked>)| {
            one.as_ref().map(|seen| seen.get(at)) == another.as_ref().map(|seen| seen.get(there))
        };
        let same_total = |(one, another): (&Option<BaseTotal>, &Option<BaseTotal>)| match (one, another) {
            (Some(one), Some(another)) => one.amounts.equal(row, &another.amounts, other_row) && one.groups.get(at) == another.groups.get(there),
            (one, another) => one.is_none() && another.is_none(),
        };
        self.standings[at] == other.standings[there]
            && self.ids.get(at) == other.ids.get(there)
            && self.keys.get(at) == other.keys.get(there)
            && self.our_edits.get(at) == other.our_edits.get(there)
            && self.edited_at.get(at) == other.edited_at.get(there)
            && self.fields.iter().zip(&other.fields).all(same_field)
            && self.seen.iter().zip(&other.seen).all(same_seen)
            && self.totals.iter().zip(&other.totals).all(same_total)
    }

    /// The records in these rows, in their order.
    pub fn take(&self, rows: &[u32]) -> Base {
        let picks = positions(rows);
        let each = |column: &FieldColumn| column.gather(&picks);
        Base {
            records: rows.iter().map(|row| self.records[*row as usize]).collect(),
            ids: gathered(&self.ids, &picks),
            keys: gathered(&self.keys, &picks),
            standings: rows.iter().map(|row| self.standings[*row as usize]).collect(),
            our_edits: gathered(&self.our_edits, &picks),
            edited_at: gathered(&self.edited_at, &picks),
            fields: self.fields.par_iter().map(|field| field.as_ref().map(each)).collect(),
            seen: self.seen.iter().map(|seen| seen.as_ref().map(|seen| gathered(seen, &picks))).collect(),
            totals: self
                .totals
                .iter()
                .map(|total| total.as_ref().map(|t| BaseTotal { amounts: each(&t.amounts), groups: gathered(&t.groups, &picks) }))
                .collect(),
        }
    }

    /// One base of the records of several, of which none has a record of another.
    pub fn of_parts(job: &Job, system: usize, mut parts: Vec<Base>) -> Base {
        parts.retain(|part| part.height() > 0);
        if parts.len() < 2 {
            return parts.pop().unwrap_or_else(|| Base::empty(job, system));
        }
        let stack = |of: &dyn Fn(&Base) -> Option<FieldColumn>| {
            let columns: Vec<FieldColumn> = parts.iter().filter_map(of).collect();
            let (first, below) = columns.split_first()?;
            Some(first.stacked(&below.iter().collect::<Vec<_>>()))
        };
        let texts = |of: fn(&Base) -> &StringChunked| match stack(&|base| Some(FieldColumn::Text(of(base).clone()))) {
            Some(FieldColumn::Text(texts)) => texts,
            _ => StringChunked::full_null(PlSmallStr::EMPTY, 0),
        };
        let times = |of: fn(&Base) -> &Int64Chunked| match stack(&|base| Some(FieldColumn::Integer(of(base).clone()))) {
            Some(FieldColumn::Integer(times)) => times,
            _ => Int64Chunked::full_null(PlSmallStr::EMPTY, 0),
        };
        let seen = |index: usize| match stack(&|base| base.seen[index].clone().map(FieldColumn::Boolean)) {
            Some(FieldColumn::Boolean(seen)) => Some(seen),
            _ => None,
        };
        let total = |index: usize| {
            let amounts = stack(&|base| base.totals[index].as_ref().map(|total| total.amounts.clone()))?;
            match stack(&|base| base.totals[index].as_ref().map(|total| FieldColumn::Text(total.groups.clone())))? {
                FieldColumn::Text(groups) => Some(BaseTotal { amounts, groups }),
                _ => None,
            }
        };
        let stacked = Base {
            records: parts.iter().flat_map(|part| &part.records).copied().collect(),
            ids: texts(|base| &base.ids),
            keys: texts(|base| &base.keys),
            standings: parts.iter().flat_map(|part| &part.standings).copied().collect(),
            our_edits: times(|base| &base.our_edits),
            edited_at: times(|base| &base.edited_at),
            fields: (0..job.fields.len()).map(|index| stack(&|base| base.fields[index].clone())).collect(),
            seen: (0..job.fields.len()).map(seen).collect(),
            totals: (0..job.totals.len()).map(total).collect(),
        };
        let mut order: Vec<u32> = (0..stacked.height() as u32).collect();
        order.sort_unstable_by_key(|row| stacked.records[*row as usize]);
        stacked.take(&order)
    }

    /// The base as one frame, to be stored.
    pub fn to_frame(&self, job: &Job) -> PolarsResult<DataFrame> {
        let mut columns: Vec<Column> = vec![
            UInt64Chunked::from_slice(Base::RECORD_COLUMN.into(), &self.records).into_series().into(),
            self.ids.clone().with_name("@id".into()).into_series().into(),
            self.keys.clone().with_name("@key".into()).into_series().into(),
            UInt8Chunked::from_iter_values("@standing".into(), self.standings.iter().map(|s| *s as u8)).into_series().into(),
            self.our_edits.clone().with_name("@our_edit".into()).into_series().into(),
            self.edited_at.clone().with_name("@edited_at".into()).into_series().into(),
        ];
        for (field, (values, seen)) in job.fields.iter().zip(self.fields.iter().zip(&self.seen)) {
            if let (Some(values), Some(seen)) = (values, seen) {
                columns.push(values.to_series(&format!("value:{}", field.name))?.into());
                columns.push(seen.clone().with_name(format!("seen:{}", field.name).into()).into_series().into());
            }
        }
        for (total, base) in job.totals.iter().zip(&self.totals) {
            if let Some(base) = base {
                let name = &job.fields[total.field].name;
                columns.push(base.amounts.to_series(&format!("total:{name}"))?.into());
                columns.push(base.groups.clone().with_name(format!("total-group:{name}").into()).into_series().into());
            }
        }
        DataFrame::new(self.records.len(), columns)
    }

    /// The base that [`Base::to_frame`] wrote. A field that the frame does not hold, or holds with another type, was never
    /// seen. Nothing if the frame is not a base at all.
    pub fn from_frame(job: &Job, system: usize, frame: &DataFrame) -> Option<Base> {
        let series = |name: &str| frame.column(name).ok().map(|c| c.as_materialized_series().rechunk());
        let height = frame.height();
        let mut base = Base::empty(job, system);
        base.records = series(Base::RECORD_COLUMN)?.u64().ok()?.into_no_null_iter().collect();
        base.ids = series("@id")?.str().ok()?.clone();
        base.keys = series("@key")?.str().ok()?.clone();
        base.standings = series("@standing")?.u8().ok()?.into_no_null_iter().map(Standing::from_u8).collect();
        base.our_edits = series("@our_edit")?.i64().ok()?.clone();
        let edited_at = series("@edited_at").and_then(|times| times.i64().ok().cloned());
        base.edited_at = edited_at.unwrap_or_else(|| Int64Chunked::full_null(PlSmallStr::EMPTY, height));
        for (index, field) in job.fields.iter().enumerate() {
            if !field.is_carried_by(system) {
                continue;
            }
            let values = series(&format!("value:{}", field.name)).and_then(|s| FieldColumn::from_series(&s, field.field_type));
            let seen = series(&format!("seen:{}", field.name)).and_then(|s| s.bool().ok().cloned());
            (base.fields[index], base.seen[index]) = match (values, seen) {
                (Some(values), Some(seen)) => (Some(values), Some(seen)),
                _ => (Some(nulls(field.field_type, height)), Some(BooleanChunked::full("".into(), false, height))),
            };
        }
        for (index, total) in job.totals.iter().enumerate() {
            let field = &job.fields[total.field];
            if !field.is_carried_by(system) {
                continue;
            }
            let amounts = series(&format!("total:{}", field.name)).and_then(|s| FieldColumn::from_series(&s, field.field_type));
            let groups = series(&format!("total-group:{}", field.name)).and_then(|s| s.str().ok().cloned());
            base.totals[index] = Some(match (amounts, groups) {
                (Some(amounts), Some(groups)) => BaseTotal { amounts, groups },
                _ => BaseTotal { amounts: nulls(field.field_type, height), groups: StringChunked::full_null("".into(), height) },
            });
        }
        (base.records.len() == height && base.standings.len() == height).then_some(base)
    }
}

fn nulls(field_type: FieldType, height: usize) -> FieldColumn {
    FieldColumn::from_values(field_type, std::iter::repeat_n(Value::Null, height))
}

/// One cell of a base that is being built.
#[derive(Clone, Copy, Debug)]
pub enum BaseCell<'a> {
    /// Never seen.
    None,
    /// This value.
    Value(&'a Value),
    /// The value in this row of a column.
    From(&'a FieldColumn, u32),
}

/// Builds a [`Base`] record by record, in ascending order of their numbers.
pub struct BaseBuilder {
    records: Vec<u64>,
    ids: StringChunkedBuilder,
    keys: StringChunkedBuilder,
    standings: Vec<Standing>,
    our_edits: Vec<Option<i64>>,
    edited_at: Vec<Option<i64>>,
    fields: Vec<Option<(FieldColumnBuilder, Vec<bool>)>>,
    totals: Vec<Option<(FieldColumnBuilder, StringChunkedBuilder)>>,
}

impl BaseBuilder {
    /// An empty base of a system, with room for `capacity` records.
    pub fn new(job: &Job, system: usize, capacity: usize) -> BaseBuilder {
        let text = || StringChunkedBuilder::new("".into(), capacity);
        BaseBuilder {
            records: Vec::with_capacity(capacity),
            ids: text(),
            keys: text(),
            standings: Vec::with_capacity(capacity),
            our_edits: Vec::with_capacity(capacity),
            edited_at: Vec::with_capacity(capacity),
            fields: job
                .fields
                .iter()
                .map(|field| field.is_carried_by(system).then(|| (FieldColumnBuilder::new(field.field_type, capacity), Vec::with_capacity(capacity))))
                .collect(),
            totals: job
                .totals
                .iter()
                .map(|total| {
                    let field = &job.fields[total.field];
                    field.is_carried_by(system).then(|| (FieldColumnBuilder::new(field.field_type, capacity), text()))
                })
                .collect(),
        }
    }

    /// Adds a record. Its fields and totals follow with [`BaseBuilder::push_field`] and [`BaseBuilder::push_total`], one of
    /// each that the system carries.
    pub fn push_record(&mut self, record: u64, id: Option<&str>, key: &str, standing: Standing, our_edit: Option<i64>) {
        self.records.push(record);
        self.ids.append_option(id);
        self.keys.append_value(key);
        self.standings.push(standing);
        self.our_edits.push(our_edit);
        self.edited_at.push(None);
    }

    /// Says when the record that was added last had been edited; nobody knows, otherwise.
    pub fn set_edited_at(&mut self, edited_at: Option<i64>) {
        if let Some(last) = self.edited_at.last_mut() {
            *last = edited_at;
        }
    }

    /// Adds the cell of a field.
    pub fn push_field(&mut self, field: usize, cell: BaseCell<'_>) {
        if let Some((values, seen)) = &mut self.fields[field] {
            match cell {
                BaseCell::None => values.push(&Value::Null),
                BaseCell::Value(value) => values.push(value),
                BaseCell::From(column, row) => values.push_from(column, row),
            }
            seen.push(!matches!(cell, BaseCell::None));
        }
    }

    /// Adds the amount of a total with its group; nothing where the record is not in the sum.
    pub fn push_total(&mut self, total: usize, amount: Option<(BaseCell<'_>, &str)>) {
        if let Some((amounts, groups)) = &mut self.totals[total] {
            match amount {
                Some((BaseCell::From(column, row), _)) => amounts.push_from(column, row),
                Some((BaseCell::Value(value), _)) => amounts.push(value),
                Some((BaseCell::None, _)) | None => amounts.push(&Value::Null),
            }
            groups.append_option(amount.map(|(_, group)| group));
        }
    }

    /// The finished base.
    pub fn finish(self) -> Base {
        let mut base = Base {
            records: self.records,
            ids: self.ids.finish(),
            keys: self.keys.finish(),
            standings: self.standings,
            our_edits: self.our_edits.into_iter().collect(),
            edited_at: self.edited_at.into_iter().collect(),
            fields: Vec::new(),
            seen: Vec::new(),
            totals: Vec::new(),
        };
        for field in self.fields {
            let (values, seen) = match field {
                Some((values, seen)) => (Some(values.finish()), Some(BooleanChunked::from_slice("".into(), &seen))),
                None => (None, None),
            };
            base.fields.push(values);
            base.seen.push(seen);
        }
        base.totals = self.totals.into_iter().map(|t| t.map(|(amounts, groups)| BaseTotal { amounts: amounts.finish(), groups: groups.finish() })).collect();
        base
    }
}

/// What one system still has to do with a decided field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FieldDebt {
    /// It has not taken the value yet: sent every run.
    Owed {
        /// How often it has been sent.
        attempts: u32,
        /// What the last write left there, if it was not the value that was sent.
        left: Option<Value>,
        /// Whether the last write may have arrived and been edited since: then nobody can tell what an edit adds to.
        uncertain: bool,
        /// What happened, in words.
        why: String,
    },
    /// It makes this of the value and keeps it so: an accepted difference.
    Normalised {
        /// What it stores.
        stored: Value,
    },
}

/// A decided field that some system does not simply hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenField {
    /// The decided value.
    pub value: Value,
    /// Why it was decided.
    pub reason: Reason,
    /// The systems whose value it is.
    pub from: Vec<String>,
    /// By system: what it still has to do, or what it makes of the value.
    pub debts: BTreeMap<String, FieldDebt>,
}

/// A create, recreate, delete or archive that a system has not taken yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRecord {
    /// What was asked of it.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// How often it has been sent.
    pub attempts: u32,
    /// A hash of the values that a create was sent with: other values are another attempt. Nothing where none was sent.
    #[serde(default)]
    pub sent: Option<String>,
    /// What happened, in words.
    pub why: String,
}

/// How many runs are looked back on for fields that are changed again whenever we have written them.
pub const FLIP_RUNS: u32 = 5;

/// In so many of [`FLIP_RUNS`] a field is frozen.
pub const FLIPS_MAX: u32 = 3;

/// A field that somebody changed in a system in the run after we had written it there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flips {
    /// One bit a run, the last run lowest: whether it was changed.
    pub runs: u8,
    /// Whether it is not written there any more.
    pub frozen: bool,
    /// What we had written, and what it was changed to, the last time at the end; as many as runs are looked back on.
    pub seen: Vec<(Value, Value)>,
}

impl Flips {
    /// The same, one run later: with what we had written and what was found, if it was changed again.
    pub fn next(mut self, changed: Option<(Value, Value)>) -> Flips {
        self.runs = (self.runs << 1 | u8::from(changed.is_some())) & ((1 << FLIP_RUNS) - 1);
        self.seen.extend(changed);
        let old = self.seen.len().saturating_sub(FLIP_RUNS as usize);
        self.seen.drain(..old);
        self.frozen |= self.runs.count_ones() >= FLIPS_MAX;
        self
    }

    /// Whether there is nothing to remember.
    pub fn is_over(&self) -> bool {
        self.runs == 0 && !self.frozen
    }
}

/// The fields that a run wrote in rows that were there: record, system and field, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written(Vec<(u64, u16, u16)>);

impl Written {
    /// All of these.
    pub fn of(fields: impl IntoIterator<Item = (u64, usize, usize)>) -> Written {
        let small = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
        let mut all: Vec<(u64, u16, u16)> = fields.into_iter().map(|(record, system, field)| (record, small(system), small(field))).collect();
        all.sort_unstable();
        all.dedup();
        Written(all)
    }

    /// Whether a field of a record was written in a system.
    pub fn has(&self, record: u64, system: usize, field: usize) -> bool {
        let (Ok(system), Ok(field)) = (u16::try_from(system), u16::try_from(field)) else { return false };
        self.0.binary_search(&(record, system, field)).is_ok()
    }

    /// Record, system and field of each.
    pub fn iter(&self) -> impl Iterator<Item = (u64, usize, usize)> + '_ {
        self.0.iter().map(|(record, system, field)| (*record, usize::from(*system), usize::from(*field)))
    }

    /// All of it as one frame, to be stored; nothing if there is nothing.
    pub fn to_frame(&self, job: &Job) -> PolarsResult<Option<DataFrame>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let names = |name: &str, of: &dyn Fn((usize, usize)) -> String| -> Column {
            StringChunked::from_iter_values(name.into(), self.iter().map(|(_, system, field)| of((system, field)))).into_series().into()
        };
        let columns = vec![
            UInt64Chunked::from_iter_values(Base::RECORD_COLUMN.into(), self.iter().map(|(record, ..)| record)).into_series().into(),
            names("system", &|(system, _)| job.systems[system].name.clone()),
            names("field", &|(_, field)| job.fields[field].name.clone()),
        ];
        DataFrame::new(self.0.len(), columns).map(Some)
    }

    /// What [`Written::to_frame`] wrote, as far as the job still has its systems and fields; nothing if the frame is no such one.
    pub fn from_frame(job: &Job, frame: &DataFrame) -> Option<Written> {
        let series = |name: &str| frame.column(name).ok().map(|column| column.as_materialized_series().rechunk());
        let (records, systems, fields) = (series(Base::RECORD_COLUMN)?, series("system")?, series("field")?);
        let rows = records.u64().ok()?.iter().zip(systems.str().ok()?.iter()).zip(fields.str().ok()?.iter());
        Some(Written::of(rows.filter_map(|((record, system), field)| Some((record?, job.system(system?)?, job.field(field?)?)))))
    }
}

/// What is still open of earlier decisions. Sparse: most records have nothing here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// By record and field name.
    pub fields: BTreeMap<(u64, String), OpenField>,
    /// By record and system name.
    pub records: BTreeMap<(u64, String), OpenRecord>,
    /// By record, field and system name: fields that were changed again after we had written them.
    pub flips: BTreeMap<(u64, String, String), Flips>,
}

/// Everything that one run leaves to the next.
#[derive(Clone, Debug)]
pub struct State {
    /// By the job's systems.
    pub bases: Vec<Base>,
    /// What is still open.
    pub open: Open,
    /// What the run wrote.
    pub written: Written,
    /// The first record number that was never given.
    pub next_record: u64,
}

impl State {
    /// The state of a job that never ran.
    pub fn first_contact(job: &Job) -> State {
        State {
            bases: (0..job.systems.len()).map(|system| Base::empty(job, system)).collect(),
            open: Open::default(),
            written: Written::default(),
            next_record: 1,
        }
    }

    /// The rows whose key is another one in `after`, by system and record: each with the former key, and the new one in words. And
    /// those that lost their native id to a new row.
    pub fn key_changes(&self, job: &Job, after: &State) -> Vec<LinkEvent> {
        let mut changes = Vec::new();
        for ((spec, before), after) in job.systems.iter().zip(&self.bases).zip(&after.bases) {
            // Both are ascending.
            let mut row = 0;
            for ((record, key), id) in after.records.iter().zip(after.keys.iter()).zip(after.ids.iter()) {
                while before.records.get(row).is_some_and(|known| known < record) {
                    row += 1;
                }
                if before.records.get(row) != Some(record) {
                    continue;
                }
                if let (Some(former), Some(key)) = (before.keys.get(row), key)
                    && former != key
                {
                    let event = format!("its key was `{}` and is now `{}`", key_for_people(former), key_for_people(key));
                    changes.push(LinkEvent { system: spec.name.clone(), record: *record, key: former.to_owned(), event, notable: false });
                }
                if let (Some(key), Some(former), None) = (key, before.ids.get(row), id) {
                    let event = format!("its row is gone, and its id {former} was given to a new row");
                    changes.push(LinkEvent { system: spec.name.clone(), record: *record, key: key.to_owned(), event, notable: false });
                }
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_flips_in_five_runs_freeze_and_stay() {
        for (runs, frozen, over) in [
            ("xx", false, false),
            ("xxx", true, false),
            ("x.x.x", true, false),
            ("x..x.x", false, false),
            ("xx...x", false, false),
            ("xx....", false, false),
            ("xx.....", false, true),
            ("xxx.........", true, false),
        ] {
            let flip = |run: char| (run == 'x').then_some((Value::Integer(1), Value::Integer(2)));
            let flips = runs.chars().fold(Flips::default(), |flips, run| flips.next(flip(run)));
            assert_eq!((flips.frozen, flips.is_over()), (frozen, over), "{runs}");
        }
        let many = (0..9).fold(Flips::default(), |flips, run| flips.next(Some((Value::Integer(run), Value::Null))));
        assert_eq!(many.seen.iter().map(|(wrote, _)| wrote.clone()).collect::<Vec<_>>(), (4..9).map(Value::Integer).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_written_is_found_again() {
        let written = Written::of([(7, 1, 0), (3, 0, 2), (7, 1, 0)]);
        assert!(written.has(7, 1, 0) && written.has(3, 0, 2));
        assert!(!written.has(7, 0, 0) && !written.has(7, 1, 1) && !written.has(4, 0, 2));
        assert_eq!(written.iter().count(), 2);
    }
}
