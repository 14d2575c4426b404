//! Cleaning: raw cells in, typed columns out; whatever cannot be read as a record is set aside with its reason.
//!
//! [`clean`] reads the columns of one snapshot as the fields of the job. [`spell`] is the way back, and [`canonical`] what is
//! left of a value that went there and back. The laws that hold between them: cleaning what [`spell`] wrote gives the value
//! that was spelled, and cleaning twice gives what cleaning once gives.
//!
//! A row is *good*, or it is set aside: *filtered*, where the system's `only` leaves it out, or *quarantined*, where a cell of a
//! carried field could not be read or a part of its key is empty. A filtered row is nobody's concern: its other cells are not
//! even looked at. Nothing is ever guessed, repaired or left out without being counted.
//!
//! Pure: no file, no clock, no environment. The time zones are those compiled in.
//!
//! # Design
//! Columns are cleaned side by side, each in one pass. Only when a row was set aside are the columns copied, without it;
//! on most nights the clean texts *are* the pulled ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use polars::prelude::*;
use rayon::prelude::*;

use crate::frame::{Clean, CleaningCount, FieldColumn, NO_ROW, Pulled, Quarantined, Silence, Silent};
use crate::job::{EditedAt, Field, Job, SystemSpec};
use crate::reconcile::clean::column::{Cells, Pass, Reader};
use crate::reconcile::clean::counts::{Counts, Rule, Unreadable};
use crate::reconcile::clean::moment::Moments;
use crate::value::{KEY_SEPARATOR, Value};

mod column;
mod counts;
mod form;
mod identifier;
mod marks;
mod memo;
mod moment;
mod number;
mod pattern;
mod phone;
mod spelling;
mod text;
mod untyped;

pub use form::{Accents, match_form};
pub use marks::{MarkSearch, Marks};
pub use spelling::{canonical, changes_beside, read_one, spell, spell_beside, spell_over, why_not_held, why_not_held_beside};
pub use untyped::Untyped;

/// Reads what a system delivered as records of the job.
///
/// The good rows keep their order. `silent` and `quarantined` begin with what the pull refused, then go by row; a row with
/// several bad cells has one entry in `silent` and one in `quarantined` for each cell, by the order of the fields. `counts`
/// are of all rows but the filtered ones.
pub fn clean(job: &Job, system: usize, pulled: Arc<Pulled>) -> Clean {
    let spec = &job.systems[system];
    let outside = outside(spec, &pulled);
    let carried = |index: usize| job.fields[index].columns[system].as_ref();

    let ((passes, ids), edit_times) = rayon::join(
        || {
            let needed = |field: &Field| field.standards.beside().filter(|other| carried(*other).is_some());
            let read = |index: usize, beside: Option<&StringChunked>| {
                let is_key = job.key.contains(&index);
                let reader = |column| {
                    let reader = Reader::new(&job.fields[index], column);
                    if is_key || spec.id.as_ref() == Some(&column.name) { reader.of_key() } else { reader }
                };
                carried(index).map(|column| match Cells::of(&pulled, &column.name) {
                    Some(cells) => reader(column).pass(&Cells { outside: &outside, reads_outside: is_key, beside, ..cells }),
                    None => not_delivered(&job.fields[index], pulled.height()),
                })
            };
            // What depends on another field of the same system is read after it.
            let (alone, beside_others): (Vec<usize>, Vec<usize>) = (0..job.fields.len()).partition(|index| needed(&job.fields[*index]).is_none());
            let mut passes: Vec<Option<Pass>> = job.fields.iter().map(|_| None).collect();
            for round in [alone, beside_others] {
                let read = |index: &usize| {
                    let beside = needed(&job.fields[*index]).and_then(|other| match &passes[other].as_ref()?.column {
                        FieldColumn::Text(texts) => Some(texts),
                        _ => None,
                    });
                    (*index, read(*index, beside))
                };
                let round: Vec<(usize, Option<Pass>)> = round.par_iter().with_max_len(1).map(read).collect();
                for (index, pass) in round {
                    passes[index] = pass;
                }
            }
            (passes, spec.id.as_deref().and_then(|column| Cells::of(&pulled, column)).map(|cells| ids(&cells)))
        },
        || spec.edited_at.as_ref().map(|edited| edited_at(edited, &pulled, &outside)),
    );

    let mut counts: Vec<CleaningCount> =
        job.fields.iter().zip(&passes).flat_map(|(field, pass)| pass.iter().flat_map(|pass| pass.counts.of(&field.name))).collect();
    let (edit_times, edit_times_unread) = edit_times.unzip();
    counts.extend(edit_times_unread.flatten());
    counts.sort();

    let mut unreadable = Vec::new();
    let mut fields = Vec::with_capacity(passes.len());
    for (index, pass) in passes.into_iter().enumerate() {
        fields.push(pass.map(|pass| {
            unreadable.extend(pass.unreadable.into_iter().map(|(row, why)| BadCell { row, field: Some(index), why: Some(why) }));
            pass.column
        }));
    }
    unreadable.extend(faulty_ids(job, system, &pulled, &outside));
    let keys = keys(job, &fields, pulled.height());
    let fillers = placeholders(job, &fields, &outside);
    let keys = without(keys, &fillers);
    unreadable.extend(fillers);
    unreadable.extend(empty_key_parts(job, &fields, &keys, &outside, &unreadable));
    unreadable.sort_by_key(|cell| (cell.row, cell.field));

    let of_row = |column: &StringChunked, row: u32| column.get(row as usize).map(str::to_owned);
    let id_of = |row: u32| ids.as_ref().and_then(|ids| of_row(ids, row));
    let mut silent = Silent::default();
    for refused in &pulled.refused {
        silent.push(NO_ROW, Silence::Quarantined, refused.key.clone(), refused.id.clone());
    }
    let mut quarantined = pulled.refused.clone();
    let mut good = Vec::new();
    let mut bad_cells = unreadable.iter().peekable();
    for row in 0..pulled.height() as u32 {
        if outside.get(row as usize).copied().unwrap_or(false) {
            silent.push(row, Silence::Filtered, of_row(&keys, row), id_of(row));
        } else if bad_cells.peek().is_some_and(|cell| cell.row == row) {
            let (key, id) = (of_row(&keys, row), id_of(row));
            silent.push(row, Silence::Quarantined, key.clone(), id.clone());
            while let Some(cell) = bad_cells.next_if(|cell| cell.row == row) {
                quarantined.push(cell.quarantined(job, system, &pulled, key.clone(), id.clone()));
            }
        } else {
            good.push(row);
        }
    }

    let is_whole = good.len() == pulled.height();
    let take_texts = |column: StringChunked| match is_whole {
        true => column,
        false => StringChunked::from_iter_options(PlSmallStr::EMPTY, good.iter().map(|row| column.get(*row as usize))),
    };
    let take_times = |column: Int64Chunked| match is_whole {
        true => column,
        false => good.iter().map(|row| column.get(*row as usize)).collect(),
    };
    let take_field = |column: Option<FieldColumn>| match is_whole {
        true => column,
        false => column.map(|column| column.take(&good)),
    };
    Clean {
        keys: take_texts(keys),
        ids: ids.map(take_texts),
        edited_at: edit_times.map(take_times),
        fields: fields.into_par_iter().map(take_field).collect(),
        rows: good,
        pulled,
        silent,
        quarantined,
        counts,
    }
}

/// The edit times of all rows that a system delivered, microseconds since 1970-01-01T00:00Z, and how many of them could not
/// be read: these are null, like the empty ones. Rows outside the filter (`outside`, empty where there is none) are null too.
///
/// Without a format an edit time is RFC 3339, and needs an offset unless a time zone is declared; a format without an offset
/// and a time zone is in UTC.
pub fn edited_at(spec: &EditedAt, pulled: &Pulled, outside: &[bool]) -> (Int64Chunked, Option<CleaningCount>) {
    let zone = spec.timezone.as_deref().or(spec.format.is_some().then_some("UTC"));
    let reader = Reader::of_edit_times(Moments::new(spec.format.as_slice(), zone));
    let Some(cells) = Cells::of(pulled, &spec.column) else {
        return (Int64Chunked::full_null(PlSmallStr::EMPTY, pulled.height()), None);
    };
    let pass = reader.pass(&Cells { outside, ..cells });
    let mut counts = Counts::new();
    for _ in &pass.unreadable {
        counts.add(Rule::EditTime);
        counts.keep();
    }
    let times = match pass.column {
        FieldColumn::Instant(times) => times,
        _ => Int64Chunked::full_null(PlSmallStr::EMPTY, pulled.height()),
    };
    (times, counts.of(&spec.column).pop())
}

/// For each row whether the system's filter leaves it out; nothing at all if it leaves out none.
fn outside(spec: &SystemSpec, pulled: &Pulled) -> Vec<bool> {
    let mut outside = vec![false; if spec.only.is_empty() { 0 } else { pulled.height() }];
    for (column, values) in &spec.only {
        let is_listed = |cell: Option<&str>| {
            let cell = text::trim(cell.unwrap_or_default());
            values.iter().any(|value| value == cell)
        };
        match pulled.column(column) {
            Some(cells) => outside.iter_mut().zip(cells.iter()).for_each(|(outside, cell)| *outside |= !is_listed(cell)),
            None => outside.fill(true),
        }
    }
    if outside.contains(&true) { outside } else { Vec::new() }
}

/// A column that was not delivered, which is not an empty one.
fn not_delivered(field: &Field, height: usize) -> Pass {
    Pass {
        column: FieldColumn::from_values(field.field_type, (0..height).map(|_| Value::Null)),
        counts: Counts::new(),
        unreadable: (0..height as u32).map(|row| (row, Unreadable::But("was not delivered".to_owned()))).collect(),
    }
}

/// The native ids of all rows, tidy; null where there is none.
fn ids(cells: &Cells<'_>) -> StringChunked {
    match Reader::of_ids().pass(cells).column {
        FieldColumn::Text(ids) => ids,
        _ => cells.raw.clone(),
    }
}

/// The canonical keys of all rows; null where a part is null or could not be read.
fn keys(job: &Job, fields: &[Option<FieldColumn>], height: usize) -> StringChunked {
    let parts: Option<Vec<&FieldColumn>> = job.key.iter().map(|field| fields[*field].as_ref()).collect();
    match parts.as_deref() {
        None => StringChunked::full_null(PlSmallStr::EMPTY, height),
        Some([FieldColumn::Text(only)]) => only.clone(),
        Some(parts) => {
            let mut keys = StringChunkedBuilder::new(PlSmallStr::EMPTY, height);
            let mut key = String::new();
            for row in 0..height as u32 {
                if parts.iter().any(|part| part.is_null(row)) {
                    keys.append_null();
                    continue;
                }
                key.clear();
                for (number, part) in parts.iter().enumerate() {
                    if number > 0 {
                        key.push(KEY_SEPARATOR);
                    }
                    match part {
                        FieldColumn::Text(texts) => key.push_str(texts.get(row as usize).unwrap_or_default()),
                        part => key.push_str(&part.value(row).to_string()),
                    }
                }
                keys.append_value(&key);
            }
            keys.finish()
        }
    }
}

/// A cell because of which a row is quarantined.
struct BadCell {
    row: u32,
    /// Nothing for the native id, where no field holds it.
    field: Option<usize>,
    /// Nothing for an empty part of a key.
    why: Option<Unreadable>,
}

impl BadCell {
    fn quarantined(&self, job: &Job, system: usize, pulled: &Pulled, key: Option<String>, id: Option<String>) -> Quarantined {
        let field = self.field.map(|field| &job.fields[field]);
        let column = match field {
            Some(field) => field.columns[system].as_ref().map(|column| column.name.as_str()),
            None => job.systems[system].id.as_deref(),
        };
        let raw = column.and_then(|column| pulled.raw(column, self.row).text);
        let mut reason = match (&self.why, field) {
            (Some(why), Some(field)) => why.words(field, text::trim(raw.as_deref().unwrap_or_default())),
            (Some(Unreadable::But(why) | Unreadable::IsNot(why)), None) => why.clone(),
            (None, field) => format!("key field `{}` is empty", field.map_or("", |field| &field.name)),
        };
        if let Some(cells) = column.and_then(|column| pulled.cell_names.get(column)) {
            reason.push_str(&format!(" ({cells}{})", pulled.line(self.row)));
        }
        Quarantined {
            origin: pulled.evidence.origin.clone(),
            line: pulled.line(self.row),
            column: column.map(str::to_owned),
            field: field.map(|field| field.name.clone()),
            raw,
            reason,
            key,
            id,
        }
    }
}

/// The native ids that hold no value, or only what a spreadsheet left of it, and are no field's: without its id a row cannot be addressed.
fn faulty_ids(job: &Job, system: usize, pulled: &Pulled, outside: &[bool]) -> Vec<BadCell> {
    let Some(id) = &job.systems[system].id else { return Vec::new() };
    if job.fields.iter().any(|field| field.columns[system].as_ref().is_some_and(|column| column.name == *id)) {
        return Vec::new();
    }
    let is_inside = |row: &u32| !outside.get(*row as usize).copied().unwrap_or(false);
    let faults = pulled.faults.get(id).into_iter().flatten().map(|(row, why)| (*row, why.as_str()));
    let cells = pulled.column(id).into_iter().flat_map(|column| column.iter());
    let shortened = cells.enumerate().filter(|(_, cell)| cell.is_some_and(text::is_shortened)).map(|(row, _)| (row as u32, text::SHORTENED));
    let mut faulty: BTreeMap<u32, &str> = shortened.collect();
    faulty.extend(faults);
    faulty.into_iter().filter(|(row, _)| is_inside(row)).map(|(row, why)| BadCell { row, field: None, why: Some(Unreadable::But(why.to_owned())) }).collect()
}

/// The parts of keys within the filter that fill a field and identify nothing.
fn placeholders(job: &Job, fields: &[Option<FieldColumn>], outside: &[bool]) -> Vec<BadCell> {
    let mut found = Vec::new();
    for (index, field) in job.key.iter().map(|index| (*index, &job.fields[*index])).filter(|(_, field)| !field.standards.placeholders.is_empty()) {
        let Some(column) = &fields[index] else { continue };
        let is_placeholder = |text: &str| field.standards.placeholders.iter().any(|placeholder| *placeholder == text.to_lowercase());
        for row in (0..column.len() as u32).filter(|row| !outside.get(*row as usize).copied().unwrap_or(false)) {
            let is_one = match column {
                FieldColumn::Text(texts) => texts.get(row as usize).is_some_and(is_placeholder),
                column => !column.is_null(row) && is_placeholder(&column.value(row).to_string()),
            };
            if is_one {
                let why = Unreadable::But("is a placeholder: it identifies no record".to_owned());
                found.push(BadCell { row, field: Some(index), why: Some(why) });
            }
        }
    }
    found
}

/// The keys, null in the rows of these cells.
fn without(keys: StringChunked, cells: &[BadCell]) -> StringChunked {
    if cells.is_empty() {
        return keys;
    }
    let rows: hashbrown::HashSet<u32> = cells.iter().map(|cell| cell.row).collect();
    let kept = keys.iter().enumerate().map(|(row, key)| key.filter(|_| !rows.contains(&(row as u32))));
    StringChunked::from_iter_options(PlSmallStr::EMPTY, kept)
}

/// The null parts of keys within the filter, apart from those that could not be read.
fn empty_key_parts(job: &Job, fields: &[Option<FieldColumn>], keys: &StringChunked, outside: &[bool], unreadable: &[BadCell]) -> Vec<BadCell> {
    if keys.null_count() == 0 {
        return Vec::new();
    }
    let unread: hashbrown::HashSet<(u32, usize)> =
        unreadable.iter().filter(|cell| cell.field.is_some_and(|field| job.key.contains(&field))).filter_map(|cell| Some((cell.row, cell.field?))).collect();
    let mut empty = Vec::new();
    for (row, key) in keys.iter().enumerate() {
        if key.is_some() || outside.get(row).copied().unwrap_or(false) {
            continue;
        }
        let row = row as u32;
        let parts = job.key.iter().filter(|field| fields[**field].as_ref().is_none_or(|part| part.is_null(row)));
        empty.extend(parts.filter(|field| !unread.contains(&(row, **field))).map(|field| BadCell { row, field: Some(*field), why: None }));
    }
    empty
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod tests_of_identifiers;
