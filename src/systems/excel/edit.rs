//! Changes to the rows of a sheet: which of them can be made, and the cells that they come to.
//!
//! Nothing is written here. A cell keeps what it is: a number stays a number and a date a date, with their formats; a text stays
//! text, so that leading zeros and what looks like a formula survive. An empty cell, and one of a new row, becomes what most
//! cells of its column are.
//!
//! # Design
//! - Several changes of one row in one set build on each other: the second must expect what the first wrote.
//! - A formula is never replaced, and nothing is written where nobody sees it (inside merged cells) or where the sheet forbids it.
//! - A new row stands below all others. Where the job left out a row below the table, a total, there is no place for it.
//! - Whoever patches the workbook may refuse a whole set because of one change. The change is found by halving, rejected with the
//!   reason, and the others are made without it. What is wrong with the workbook itself rejects all changes at once, and the first
//!   row that cannot be added rejects the later ones: a thousand changes are never tried one by one on a large file.
//! - A reason names columns and cells, never what a cell holds: the cell may be one that reports must mask.

use std::borrow::Cow;
use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::parts::letters;
use super::patch::{CellEdit, CellValue, Concern, PatchError, Patched, SheetEdits};
use super::read::{Column, Held, Reading};
use super::spell;
use crate::change::{Action, CellChange, Change, Outcome};
use crate::systems::batch::Rejections;
use crate::systems::file::addressed;
use crate::value::{Storage, Value};

/// Excel cuts longer texts, counted in UTF-16.
const TEXT_UNITS_MAX: usize = 32_767;

/// A workbook with all changes made that can be made.
#[derive(Debug)]
pub(super) struct Edited {
    /// The whole new workbook; nothing if no change could be made.
    pub bytes: Option<Vec<u8>>,
    /// One outcome for each change, in their order.
    pub outcomes: Vec<Outcome>,
}

/// Makes the changes in a workbook that was read. After more rejected changes than `failures_max` the rest is skipped.
pub(super) fn edit(reading: &Reading, changes: &[Change], failures_max: usize, patch: impl Fn(&SheetEdits<'_>) -> Result<Patched, PatchError>) -> Edited {
    let sheet = Sheet::new(reading, changes);
    let mut refused = BTreeMap::new();
    loop {
        let work = sheet.make(changes, failures_max, &refused);
        if work.is_idle() {
            return Edited { bytes: None, outcomes: work.outcomes };
        }
        let attempt = |work: &Work| work.with_edits(&sheet, &patch);
        let error = match attempt(&work) {
            Ok(patched) => return Edited { bytes: Some(patched.bytes), outcomes: work.outcomes },
            Err(error) => error,
        };
        // The shortest beginning of the set that is refused ends with the change at fault.
        if error.concerns == Concern::Workbook {
            let why = words(&error);
            refused.extend((0..changes.len()).filter(|number| !refused.contains_key(number)).map(|number| (number, why.clone())).collect::<Vec<_>>());
            continue;
        }
        let (mut fine, mut bad, mut why) = (0, changes.len(), error);
        while bad - fine > 1 {
            let middle = fine + (bad - fine) / 2;
            let part = sheet.make(&changes[..middle], failures_max, &refused);
            match if part.is_idle() { None } else { attempt(&part).err() } {
                Some(error) => (bad, why) = (middle, error),
                None => fine = middle,
            }
        }
        refused.insert(bad - 1, words(&why));
        if why.concerns == Concern::Appending {
            // Every later row would stand still further below.
            let later = (bad..changes.len()).filter(|number| changes[*number].action == Action::Create && !refused.contains_key(number));
            refused.extend(later.map(|number| (number, words(&why))).collect::<Vec<_>>());
        }
    }
}

fn words(error: &PatchError) -> String {
    std::iter::once(error.message.as_str()).chain(error.seen.iter().map(String::as_str)).collect::<Vec<_>>().join("; ")
}

/// A sheet as the changes find it.
struct Sheet<'a> {
    reading: &'a Reading,
    columns: HashMap<&'a str, usize>,
    /// For each change the rows at its address.
    at: Vec<Vec<usize>>,
    habits: Vec<Habit>,
}

/// What the cells of a column mostly are.
#[derive(Clone, Copy, Debug)]
struct Habit {
    held: Held,
    /// The last row whose cell is such a one, among the rows that were read.
    at: Option<usize>,
}

/// What stands in the cells of one row now, by column: as it is read, and as it is written.
type Touched = BTreeMap<usize, (String, Storage, CellValue)>;

/// What all changes together do.
#[derive(Debug, Default)]
struct Work {
    outcomes: Vec<Outcome>,
    touched: BTreeMap<usize, Touched>,
    created: Vec<Vec<(usize, CellValue)>>,
}

impl Work {
    fn is_idle(&self) -> bool {
        self.touched.is_empty() && self.created.is_empty()
    }

    /// Calls `f` with the work as edits of the sheet.
    fn with_edits<T>(&self, sheet: &Sheet<'_>, f: impl FnOnce(&SheetEdits<'_>) -> T) -> T {
        let reading = sheet.reading;
        let row_of = |row: usize| u32::try_from(reading.lines[row].saturating_sub(1)).unwrap_or(u32::MAX);
        let edit = |row: u32, column: usize, value: &CellValue| {
            let at = reading.columns[column].at;
            let like = sheet.habits[column].at.or_else(|| reading.lines.len().checked_sub(1)).map(|row| (row_of(row), at));
            CellEdit { row, column: at, value: value.clone(), like }
        };
        let touched = self.touched.iter().flat_map(|(row, cells)| cells.iter().map(move |(column, (_, _, value))| (*row, *column, value)));
        let cells: Vec<CellEdit> = touched.map(|(row, column, value)| edit(row_of(row), column, value)).collect();
        let appended: Vec<Vec<CellEdit>> = self.created.iter().map(|cells| cells.iter().map(|(column, value)| edit(0, *column, value)).collect()).collect();
        f(&SheetEdits { sheet: &reading.sheet, cells: &cells, appended: &appended, removed: &[] })
    }
}

impl<'a> Sheet<'a> {
    fn new(reading: &'a Reading, changes: &[Change]) -> Sheet<'a> {
        let columns: HashMap<&str, usize> = reading.columns.iter().enumerate().map(|(index, column)| (column.name.as_str(), index)).collect();
        // Nothing and an empty text are one in a sheet.
        let at = addressed(
            changes,
            reading.lines.len(),
            |name| columns.get(name).copied(),
            |part| Some(part.raw.text.as_deref().unwrap_or_default()),
            |column, row| Some(Cow::Borrowed(reading.columns[column].texts.get(row).unwrap_or_default())),
        );
        let habits = reading.columns.iter().map(habit).collect();
        Sheet { reading, columns, at, habits }
    }

    fn make(&self, changes: &[Change], failures_max: usize, refused: &BTreeMap<usize, String>) -> Work {
        let mut work = Work::default();
        let mut rejections = Rejections::none(failures_max);
        for (number, change) in changes.iter().enumerate() {
            let outcome = if let Some(stopped) = rejections.stop() {
                stopped
            } else if let Some(reason) = refused.get(&number) {
                Outcome::Rejected { reason: reason.clone() }
            } else {
                let made = match change.action {
                    Action::Create => self.create(change, &mut work),
                    Action::Update | Action::Archive => self.update(change, number, &mut work),
                    Action::Delete => self.delete(change, number, &work),
                };
                made.err().unwrap_or(Outcome::Done { answer: Vec::new(), id: None })
            };
            rejections.count(&outcome);
            work.outcomes.push(outcome);
        }
        work
    }

    fn column(&self, name: &str) -> Result<usize, Outcome> {
        self.columns.get(name).copied().ok_or_else(|| Outcome::Rejected { reason: format!("the sheet has no column `{name}`") })
    }

    fn cell_name(&self, column: usize, row: usize) -> String {
        format!("{}{}", letters(self.reading.columns[column].at), self.reading.lines[row])
    }

    /// The rows that a change addresses. Rows that agree in every cell are one row that stands there several times: all of them.
    fn rows_of(&self, change: &Change, number: usize) -> Result<Vec<usize>, Outcome> {
        for part in &change.address {
            self.column(&part.column)?;
        }
        let rows = self.at[number].clone();
        let (Some(first), others) = (rows.first(), rows.iter().skip(1)) else {
            let columns: Vec<String> = change.address.iter().map(|part| format!("`{}`", part.column)).collect();
            return Err(Outcome::Stale { reason: format!("no row has the expected {} any more", columns.join(" and ")) });
        };
        if others.clone().any(|row| self.reading.hashes[*row] != self.reading.hashes[*first]) {
            let lines: Vec<String> = rows.iter().take(10).map(|row| self.reading.lines[*row].to_string()).collect();
            let reason = format!("{} rows have this key: rows {}; which of them is meant cannot be told", rows.len(), lines.join(", "));
            return Err(Outcome::Rejected { reason });
        }
        Ok(rows)
    }

    /// An error if a cell is not what was read there, after the changes so far.
    fn expect(&self, row: usize, cell: &CellChange, work: &Work) -> Result<(), Outcome> {
        let index = self.column(&cell.column)?;
        let Some(before) = &cell.before_raw else { return Ok(()) };
        let column = &self.reading.columns[index];
        let now = match work.touched.get(&row).and_then(|touched| touched.get(&index)) {
            Some((text, storage, _)) => (text.as_str(), *storage),
            None => (column.texts.get(row).unwrap_or_default(), Storage::from_u8(column.storage[row])),
        };
        let expected = before.text.as_deref().unwrap_or_default();
        if expected == now.0 && (expected.is_empty() || before.storage == now.1) {
            return Ok(());
        }
        Err(Outcome::Stale { reason: format!("`{}` ({}) is no longer what was read there", cell.column, self.cell_name(index, row)) })
    }

    fn update(&self, change: &Change, number: usize, work: &mut Work) -> Result<(), Outcome> {
        let rows = self.rows_of(change, number)?;
        let mut sets = Vec::new();
        for cell in &change.cells {
            let index = self.column(&cell.column)?;
            for row in &rows {
                self.expect(*row, cell, work)?;
                self.permit(index, *row)?;
                let column = &self.reading.columns[index];
                sets.push((*row, index, self.decide(index, column.held[*row], column.style[*row], cell)?));
            }
        }
        for (row, index, set) in sets {
            work.touched.entry(row).or_default().insert(index, set);
        }
        Ok(())
    }

    /// Whatever refers to the rows below would no longer be right: formulas, names, charts, comments.
    fn delete(&self, change: &Change, number: usize, work: &Work) -> Result<(), Outcome> {
        for row in self.rows_of(change, number)? {
            for cell in &change.cells {
                self.expect(row, cell, work)?;
            }
        }
        Err(Outcome::Rejected { reason: "no row is ever taken out of a workbook: delete it by hand".to_owned() })
    }

    fn create(&self, change: &Change, work: &mut Work) -> Result<(), Outcome> {
        self.permit_any()?;
        if let Some(row) = self.reading.below {
            return Err(Outcome::Rejected { reason: format!("a new row would stand below row {row}, which is not part of the table: make room above it") });
        }
        let mut cells = Vec::with_capacity(change.cells.len());
        for cell in &change.cells {
            let index = self.column(&cell.column)?;
            let style = self.habits[index].at.map_or(0, |row| self.reading.columns[index].style[row]);
            let (_, _, value) = self.decide(index, Held::Nothing, style, cell)?;
            if value != CellValue::Empty {
                cells.push((index, value));
            }
        }
        if cells.is_empty() {
            return Err(Outcome::Rejected { reason: "a new row would be blank".to_owned() });
        }
        work.created.push(cells);
        Ok(())
    }

    fn permit_any(&self) -> Result<(), Outcome> {
        if self.reading.structure.is_protected {
            return Err(Outcome::Rejected { reason: format!("the sheet `{}` is protected", self.reading.sheet) });
        }
        Ok(())
    }

    /// Whether a cell of a row may be set at all.
    fn permit(&self, index: usize, row: usize) -> Result<(), Outcome> {
        self.permit_any()?;
        let column = &self.reading.columns[index];
        let (at, name) = (column.at, self.cell_name(index, row));
        let Ok(sheet_row) = u32::try_from(self.reading.lines[row].saturating_sub(1)) else {
            return Err(Outcome::Rejected { reason: "the row is beyond the end of every sheet".to_owned() });
        };
        if self.reading.structure.is_formula(sheet_row, at) {
            return Err(Outcome::Rejected { reason: format!("`{}` ({name}) is a formula, and no formula is ever replaced", column.name) });
        }
        if self.reading.structure.merged_at(sheet_row, at).is_some_and(|area| area.start != (sheet_row, at)) {
            return Err(Outcome::Rejected { reason: format!("`{}` ({name}) is covered by merged cells", column.name) });
        }
        Ok(())
    }

    /// What a cell becomes: as it will be read, and as it is written.
    fn decide(&self, index: usize, held: Held, style: u32, cell: &CellChange) -> Result<(String, Storage, CellValue), Outcome> {
        let column = &self.reading.columns[index];
        let refuse = |why: &str| Outcome::Rejected { reason: format!("`{}` {why}", cell.column) };
        let text = cell.after_raw.text.as_deref().unwrap_or_default();
        let as_text = || (text.to_owned(), Storage::Text, CellValue::Text(text.to_owned()));
        if text.is_empty() {
            return Ok((String::new(), Storage::Text, CellValue::Empty));
        }
        if text.encode_utf16().count() > TEXT_UNITS_MAX {
            return Err(refuse(&format!("is longer than a cell of a workbook may be: {TEXT_UNITS_MAX} characters")));
        }
        let plain = spell::Format::default();
        let format = self.reading.styles.get(style as usize).unwrap_or(&plain);
        let held = match held {
            Held::Nothing | Held::Fault if format.moment.is_some() => Held::Moment,
            Held::Nothing | Held::Fault => self.habits[index].held,
            held => held,
        };
        Ok(match (&cell.after, held) {
            (Value::Integer(_) | Value::Decimal(_), Held::Number | Held::Nothing) => {
                let decimal = cell.after.to_string();
                if !spell::is_number_exactly(&decimal) {
                    return Err(refuse("has more than 15 digits, which no number of a workbook keeps"));
                }
                let read = decimal.parse().map(spell::number_text).unwrap_or_default();
                (read, Storage::Real, CellValue::Number(decimal))
            }
            (Value::Date(_) | Value::Datetime(_) | Value::Instant(_), Held::Moment | Held::Number) => {
                let Some(local) = local_moment(&cell.after, column.wanted.timezone.as_deref()) else { return Ok(as_text()) };
                let local = local.map_err(|why| refuse(&why))?;
                let serial = spell::serial_of(&local, self.reading.is_1904).map_err(|why| refuse(&why))?;
                (text.to_owned(), Storage::Date, CellValue::Serial(serial))
            }
            (Value::Boolean(truth), Held::Boolean) => (if *truth { "TRUE" } else { "FALSE" }.to_owned(), Storage::Text, CellValue::Boolean(*truth)),
            (Value::Boolean(truth), Held::Number) => {
                let number = if *truth { "1" } else { "0" };
                (number.to_owned(), Storage::Real, CellValue::Number(number.to_owned()))
            }
            (Value::Text(_), Held::Number) if column.wanted.fixed_width.is_none() => match number_shown_as(text, format) {
                Some(number) => (text.to_owned(), Storage::Real, CellValue::Number(number)),
                None => as_text(),
            },
            _ => as_text(),
        })
    }
}

/// The number that a cell of this format shows as exactly this text; nothing if there is none.
fn number_shown_as(text: &str, format: &spell::Format) -> Option<String> {
    let digits: String = text.chars().filter(|c| !matches!(c, '-' | ' ' | '/') || format.zeros.is_none()).collect();
    let value: f64 = digits.parse().ok().filter(|value: &f64| !spell::lost_digits(*value))?;
    let shown = match &format.zeros {
        Some(_) => format.with_zeros(value)?,
        None => spell::number_text(value),
    };
    (shown == text).then(|| spell::number_text(value))
}

/// A date or moment as the clocks of the column's zone show it; nothing for an instant of a column without one.
fn local_moment(value: &Value, timezone: Option<&str>) -> Option<Result<Value, String>> {
    let Value::Instant(micros) = value else { return Some(Ok(value.clone())) };
    let zone = jiff::tz::TimeZone::get(timezone?).ok()?;
    let timestamp = jiff::Timestamp::from_microsecond(*micros).ok()?;
    let local = zone.to_datetime(timestamp);
    if zone.to_ambiguous_timestamp(local).is_ambiguous() {
        return Some(Err(format!("is a time that happens twice in `{}`, which no cell can tell", timezone.unwrap_or_default())));
    }
    Some(Ok(Value::Datetime(crate::value::micros_of(local))))
}

/// What most cells of a column are.
fn habit(column: &Column) -> Habit {
    let sorts = [Held::Text, Held::Number, Held::Moment, Held::Boolean];
    let count = |held: Held| column.held.iter().filter(|there| **there == held).count();
    let most = sorts.into_iter().rev().max_by_key(|held| count(*held)).filter(|held| count(*held) > 0);
    let held = most.unwrap_or(Held::Nothing);
    Habit { held, at: most.and_then(|most| column.held.iter().rposition(|there| *there == most)) }
}
