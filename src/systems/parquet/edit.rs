//! Changes to the rows of a Parquet file: which of them can be made, and the columns that they come to.
//!
//! Nothing is written here. A value must fit the type of its column exactly: a decimal too many, a text in a column of numbers, an empty
//! value in a column that takes none reject the change with the reason, and the others are made.
//!
//! # Design
//! - Several changes of one row in one set build on each other: the second must expect what the first wrote.
//! - A binary float is only written if its shortest decimal form is the number that was meant, of 15 digits at most.
//! - Nested columns are carried as they are, and no row can be added to them or taken out of them.
//! - A reason names columns, never what they hold: the value may be one that reports must mask.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use super::frame::{Cell, Column, Frame, Kind, Row};
use super::spell;
use crate::change::{Action, CellChange, Change, Outcome};
use crate::systems::batch::Rejections;
use crate::systems::file::addressed;
use crate::value::Value;

/// A binary float keeps so many decimal digits.
const FLOAT_DIGITS_MAX: usize = 15;

/// Columns with all changes made that can be made.
#[derive(Debug)]
pub(super) struct Edited {
    /// The new columns; nothing if no change of the set changes anything.
    pub frame: Option<Frame>,
    /// One outcome for each change, in their order.
    pub outcomes: Vec<Outcome>,
}

/// What all changes together do.
#[derive(Debug, Default)]
struct Work {
    touched: BTreeMap<usize, BTreeMap<usize, Cell>>,
    gone: BTreeSet<usize>,
    /// The cells of new rows, by column.
    created: Vec<BTreeMap<usize, Cell>>,
}

/// Makes the changes. After more rejected ones than `failures_max` the rest is skipped.
pub(super) fn edit(frame: &Frame, changes: &[Change], failures_max: usize) -> Edited {
    let columns: HashMap<&str, usize> = frame.columns.iter().enumerate().map(|(index, column)| (column.name.as_str(), index)).collect();
    let said = |column: usize, row: usize| {
        let column = &frame.columns[column];
        spell::raw_of(column, column.cells.get(row).as_ref()).text.map(Cow::Owned)
    };
    let at = addressed(changes, frame.height, |name| columns.get(name).copied(), |part| part.raw.text.as_deref(), said);
    let maker = Maker { frame, at, columns };
    let mut work = Work::default();
    let mut rejections = Rejections::none(failures_max);
    let mut outcomes = Vec::with_capacity(changes.len());
    for (number, change) in changes.iter().enumerate() {
        let outcome = rejections.stop().unwrap_or_else(|| {
            let made = match change.action {
                Action::Create => maker.create(change, &mut work),
                Action::Update | Action::Archive => maker.update(change, number, &mut work),
                Action::Delete => maker.delete(change, number, &mut work),
            };
            made.err().unwrap_or(Outcome::Done { answer: Vec::new(), id: None })
        });
        rejections.count(&outcome);
        outcomes.push(outcome);
    }
    let is_idle = work.touched.is_empty() && work.gone.is_empty() && work.created.is_empty();
    Edited { frame: (!is_idle).then(|| remade(frame, &work)), outcomes }
}

fn remade(frame: &Frame, work: &Work) -> Frame {
    let mut new = frame.clone();
    let null = Cell::Null;
    for (index, column) in new.columns.iter_mut().enumerate() {
        let has_other_rows = !work.gone.is_empty() || !work.created.is_empty();
        if !has_other_rows && !work.touched.values().any(|cells| cells.contains_key(&index)) {
            continue;
        }
        let old = (0..frame.height).filter(|row| !work.gone.contains(row)).map(|row| {
            let touched = work.touched.get(&row).and_then(|cells| cells.get(&index));
            touched.map_or(Row::Old(row), Row::New)
        });
        let created = work.created.iter().map(|cells| Row::New(cells.get(&index).unwrap_or(&null)));
        column.cells = column.cells.remade(old.chain(created));
    }
    new.height = frame.height - work.gone.len() + work.created.len();
    new
}

/// Makes single changes.
struct Maker<'f> {
    frame: &'f Frame,
    columns: HashMap<&'f str, usize>,
    /// For each change the rows at its address.
    at: Vec<Vec<usize>>,
}

impl<'f> Maker<'f> {
    fn column(&self, name: &str) -> Result<(usize, &'f Column), Outcome> {
        let index = self.columns.get(name).copied().ok_or_else(|| Outcome::Rejected { reason: format!("the file has no column `{name}`") })?;
        Ok((index, &self.frame.columns[index]))
    }

    /// An error if rows cannot be added or taken out.
    fn permit_other_rows(&self) -> Result<(), Outcome> {
        match self.frame.nested().next() {
            None => Ok(()),
            Some(name) => {
                let reason = format!("the file has the column `{name}`, whose values are nested: rows can be changed in it, and not added or taken out");
                Err(Outcome::Rejected { reason })
            }
        }
    }

    fn rows_of(&self, change: &Change, number: usize, work: &Work) -> Result<Vec<usize>, Outcome> {
        for part in &change.address {
            self.column(&part.column)?;
        }
        let rows: Vec<usize> = self.at[number].iter().copied().filter(|row| !work.gone.contains(row)).collect();
        let Some(first) = rows.first() else {
            let columns: Vec<String> = change.address.iter().map(|part| format!("`{}`", part.column)).collect();
            return Err(Outcome::Stale { reason: format!("no row has the expected {} any more", columns.join(" and ")) });
        };
        // Rows that agree in everything are one row that stands there several times.
        let is_other = |row: &usize| self.frame.columns.iter().any(|column| column.cells.get(*row) != column.cells.get(*first));
        if rows.iter().any(is_other) {
            return Err(Outcome::Rejected { reason: format!("{} rows have this key; which of them is meant cannot be told", rows.len()) });
        }
        if rows.len() > 1 && self.frame.nested().next().is_some() {
            return Err(Outcome::Rejected { reason: format!("{} rows have this key, and whether they are the same cannot be told", rows.len()) });
        }
        Ok(rows)
    }

    /// An error if a cell is not what was read there, after the changes so far.
    fn expect(&self, row: usize, cell: &CellChange, work: &Work) -> Result<(), Outcome> {
        let (index, column) = self.column(&cell.column)?;
        let Some(before) = &cell.before_raw else { return Ok(()) };
        let now = match work.touched.get(&row).and_then(|cells| cells.get(&index)) {
            Some(cell) => Some(cell.clone()),
            None => column.cells.get(row),
        };
        if spell::raw_of(column, now.as_ref()) == *before {
            return Ok(());
        }
        Err(Outcome::Stale { reason: format!("`{}` is no longer what was read there", cell.column) })
    }

    fn update(&self, change: &Change, number: usize, work: &mut Work) -> Result<(), Outcome> {
        let rows = self.rows_of(change, number, work)?;
        let mut new = Vec::new();
        for cell in &change.cells {
            let (index, column) = self.column(&cell.column)?;
            for row in &rows {
                self.expect(*row, cell, work)?;
            }
            let value = fitted(column, cell).map_err(|why| Outcome::Rejected { reason: format!("`{}` {why}", cell.column) })?;
            new.push((index, value));
        }
        for row in rows {
            for (index, value) in &new {
                let is_there = !work.touched.contains_key(&row) && self.frame.columns[*index].cells.get(row).as_ref() == Some(value);
                if !is_there {
                    work.touched.entry(row).or_default().insert(*index, value.clone());
                }
            }
        }
        Ok(())
    }

    fn delete(&self, change: &Change, number: usize, work: &mut Work) -> Result<(), Outcome> {
        let rows = self.rows_of(change, number, work)?;
        for row in &rows {
            for cell in &change.cells {
                self.expect(*row, cell, work)?;
            }
        }
        self.permit_other_rows()?;
        work.gone.extend(rows);
        Ok(())
    }

    fn create(&self, change: &Change, work: &mut Work) -> Result<(), Outcome> {
        self.permit_other_rows()?;
        let mut cells = BTreeMap::new();
        for cell in &change.cells {
            let (index, column) = self.column(&cell.column)?;
            let value = fitted(column, cell).map_err(|why| Outcome::Rejected { reason: format!("`{}` {why}", cell.column) })?;
            cells.insert(index, value);
        }
        let lacks = |(index, column): &(usize, &Column)| !column.takes_null && !cells.contains_key(index);
        if let Some((_, column)) = self.frame.columns.iter().enumerate().find(lacks) {
            return Err(Outcome::Rejected { reason: format!("the column `{}` takes no empty values, and the new row has none for it", column.name) });
        }
        work.created.push(cells);
        Ok(())
    }
}

/// A value as its column keeps it; if it does not fit, why not.
fn fitted(column: &Column, change: &CellChange) -> Result<Cell, String> {
    let Some(text) = change.after_raw.text.as_deref() else {
        return if column.takes_null { Ok(Cell::Null) } else { Err("takes no empty values".to_owned()) };
    };
    match &column.kind {
        Kind::Text => Ok(Cell::Text(text.to_owned())),
        Kind::Boolean => match (&change.after, text.trim().to_ascii_lowercase().as_str()) {
            (Value::Boolean(truth), _) => Ok(Cell::Boolean(*truth)),
            (_, "true") => Ok(Cell::Boolean(true)),
            (_, "false") => Ok(Cell::Boolean(false)),
            _ => Err("holds true or false, and nothing else fits".to_owned()),
        },
        Kind::Integer(least, most) => {
            let does_not_fit = || format!("holds whole numbers from {least} to {most}, and the value does not fit");
            let whole = units(change, text, 0).ok_or_else(does_not_fit)?;
            if (*least..=*most).contains(&whole) { Ok(Cell::Whole(whole)) } else { Err(does_not_fit()) }
        }
        Kind::Decimal { digits, scale } => {
            let does_not_fit = || format!("holds numbers of {digits} digits, {scale} of them decimals, and the value does not fit");
            let units = units(change, text, *scale).ok_or_else(does_not_fit)?;
            let limit = 10_i128.checked_pow(u32::from(*digits)).unwrap_or(i128::MAX);
            if units.unsigned_abs() < limit.unsigned_abs() { Ok(Cell::Whole(units)) } else { Err(does_not_fit()) }
        }
        Kind::Float => {
            let plain = plain_number(change, text).ok_or_else(|| "holds numbers, and the value is none".to_owned())?;
            let digits = plain.bytes().filter(u8::is_ascii_digit).skip_while(|digit| *digit == b'0').count();
            if digits > FLOAT_DIGITS_MAX {
                return Err(format!("holds binary floats, which keep {FLOAT_DIGITS_MAX} digits, and the value has more"));
            }
            let float: f64 = plain.parse().map_err(|_| "holds numbers, and the value is none".to_owned())?;
            let kept = if spell::is_single(column) { f64::from(float as f32) } else { float };
            let read = spell::float_text(column, kept);
            let same = |text: &str| {
                let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
                (whole.to_owned(), fraction.trim_end_matches('0').to_owned())
            };
            if same(&read) == same(&plain) { Ok(Cell::Float(kept)) } else { Err("holds binary floats, which do not keep all digits of the value".to_owned()) }
        }
        Kind::Date => spell::date(&change.after, text).map(|days| Cell::Whole(days.into())).ok_or_else(|| "holds dates, and the value is none".to_owned()),
        Kind::Moment { per_second, has_zone } => {
            let nanoseconds = spell::nanoseconds(&change.after, text, *has_zone).ok_or_else(|| {
                let what = if *has_zone { "moments with their zone" } else { "dates with a time of day" };
                format!("holds {what}, and the value is none")
            })?;
            let tick = 1_000_000_000 / i128::from(*per_second);
            if nanoseconds % tick != 0 {
                return Err("keeps less of a second than the value has".to_owned());
            }
            i64::try_from(nanoseconds / tick).map(|ticks| Cell::Whole(ticks.into())).map_err(|_| "does not reach as far as the value".to_owned())
        }
        Kind::Bytes => Err("holds bytes, which are never written".to_owned()),
        Kind::Other(what) => Err(format!("holds {what}, which are never written")),
    }
}

/// A number without separators and with a point; nothing if the text is none.
fn plain_number(change: &CellChange, text: &str) -> Option<String> {
    let text = text.trim();
    let is_plain = |text: &str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        all_digits(whole) && all_digits(fraction)
    };
    if is_plain(text) {
        return Some(text.to_owned());
    }
    let with_point = text.replacen(',', ".", 1);
    if matches!(change.after, Value::Decimal(_) | Value::Integer(_)) && !text.contains('.') && is_plain(&with_point) {
        return Some(with_point);
    }
    match &change.after {
        Value::Boolean(truth) => Some(if *truth { "1" } else { "0" }.to_owned()),
        _ => None,
    }
}

/// The units of a number of so many decimals; nothing if it is none, or has more of them.
fn units(change: &CellChange, text: &str, scale: u8) -> Option<i128> {
    let plain = plain_number(change, text)?;
    // What a text says and a number does not keep, such as zeros before it, would come back as an edit.
    if matches!(change.after, Value::Text(_)) {
        let digits = plain.strip_prefix('-').unwrap_or(&plain);
        if digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.") {
            return None;
        }
    }
    spell::units_of(&plain, scale)
}
