//! Changes to the text of a file: which of them can be made, and the text with them made.
//!
//! Pure: text in, text out. Cells that no change names stay verbatim with their quotes, and so does everything that is no row:
//! blank lines, lines above the header, rows that could not be read, a missing line end at the end of the file.
//!
//! # Design
//! - A changed cell is quoted if it must be, or if it was. A new row is quoted as the last row is, column by column.
//! - A row that is shorter than the header stays as short as it is, until a cell is filled that it lacks: then it is widened, up
//!   to that cell.
//! - New rows stand above the trailer, and the number of rows that it announces goes with those that come and go; a sum that it
//!   announces goes with the amounts that come, go and change. Nothing else of it changes.
//! - Several changes of one row in one set build on each other: the second must expect what the first wrote.
//! - A cell that the next pull would stop at (too long, too many lines, a NUL) is refused here.
//! - A reason names columns and lines, never what a cell holds: the cell may be one that reports must mask.

use std::ops::Range;

use encoding_rs::Encoding;
use hashbrown::HashMap;

use super::long::{Halt, Text, Unreadable, Walked, walk_over};
use super::rows::{Addresses, CELL_BYTES_MAX, CELL_LINES_MAX, Layout, Rows, Stopped, Trailer, line_breaks};
use super::sums::{Amount, Sum};
use super::text::first_unholdable;
use crate::change::{Action, CellChange, Change, Outcome};
use crate::systems::batch::Rejections;

/// How much of a file is looked at to see how its last row is quoted.
const LAST_ROW_BYTES_MAX: usize = 1 << 24;

/// What changes come to.
#[derive(Debug)]
pub(super) struct Edited {
    /// What stands instead of what in the text, ascending; nothing if the text stays as it is.
    pub edits: Vec<Edit>,
    /// One outcome for each change, in their order.
    pub outcomes: Vec<Outcome>,
}

/// A place of a text, and what shall stand there.
pub(super) type Edit = (Range<usize>, String);

/// The text with these edits made.
pub(super) fn with_edits(text: &str, edits: &[Edit]) -> String {
    let mut edited = String::with_capacity(text.len() + edits.iter().map(|(_, spelled)| spelled.len()).sum::<usize>());
    let mut at = 0;
    for (span, spelled) in edits {
        edited.push_str(&text[at..span.start]);
        edited.push_str(spelled);
        at = span.end;
    }
    edited.push_str(&text[at..]);
    edited
}

/// Tells how the changes are made in the text of a file. After more rejected changes than `failures_max` the rest is skipped. `seen` is told all
/// bytes of a long text, in their order.
pub(super) fn edit(
    text: Text<'_>,
    layout: &Layout,
    encoding: &'static Encoding,
    changes: &[Change],
    failures_max: usize,
    seen: &mut (dyn FnMut(&[u8]) + Send),
) -> Result<Edited, Halt<Stopped>> {
    let file = File::read(text, layout, encoding, changes, seen)?;
    let mut work = Work { touched: HashMap::new(), created: String::new(), rows_created: 0, sums_created: vec![Sum::ZERO; file.summed.len()] };
    let mut rejections = Rejections::none(failures_max);
    let mut outcomes = Vec::with_capacity(changes.len());
    for (number, change) in changes.iter().enumerate() {
        let outcome = if let Some(stopped) = rejections.stop() {
            stopped
        } else {
            let made = match change.action {
                Action::Create => file.create(change, &mut work),
                Action::Update | Action::Archive => file.update(change, number, &mut work),
                Action::Delete => file.delete(change, number, &mut work),
            };
            made.err().unwrap_or(Outcome::Done { answer: Vec::new(), id: None })
        };
        rejections.count(&outcome);
        outcomes.push(outcome);
    }
    let is_changed = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Done { .. }));
    Ok(Edited { edits: if is_changed { file.edits(work).map_err(Halt::Text)? } else { Vec::new() }, outcomes })
}

/// One row that a change addresses.
#[derive(Clone, Debug)]
struct Found {
    line: u64,
    span: Range<usize>,
    /// How many of the cells the file has.
    written: usize,
    cells: Vec<FoundCell>,
}

#[derive(Clone, Debug)]
struct FoundCell {
    span: Range<usize>,
    said: String,
    quoted: bool,
}

/// What the set does to one row.
#[derive(Debug, Default)]
struct Touched {
    deleted: bool,
    /// What stands in a cell now, by column.
    said: HashMap<usize, String>,
}

/// What all changes together do.
#[derive(Debug)]
struct Work {
    /// By the row's number in [`File::rows`].
    touched: HashMap<usize, Touched>,
    /// New rows, each but the first after a line end.
    created: String,
    rows_created: u64,
    /// By the sums of the trailer: what the new rows add.
    sums_created: Vec<Sum>,
}

/// What a stretch of the file has for the changes.
struct Stretch {
    /// The addressed rows, in the order of the file.
    rows: Vec<Found>,
    /// The numbers of changes, and for each one of these rows.
    at: Vec<(usize, usize)>,
    /// Where the last whole row begins, and its line.
    last: Option<(usize, u64)>,
    line_end: Option<String>,
    trailer: Option<Trailer>,
}

impl Stretch {
    fn read(rows: &mut Rows<'_>, layout: &Layout, addresses: &Addresses) -> Result<Stretch, Stopped> {
        let mut stretch = Stretch { rows: Vec::new(), at: Vec::new(), last: None, line_end: None, trailer: None };
        let mut key = Vec::new();
        while rows.advance()? {
            if !rows.line_end().is_empty() && stretch.line_end.as_deref() != Some(rows.line_end()) {
                stretch.line_end = Some(rows.line_end().to_owned());
            }
            if !rows.sound || rows.cells.len() != layout.names.len() {
                continue;
            }
            stretch.last = Some((rows.start, rows.line));
            let next = stretch.rows.len();
            let mut is_wanted = false;
            addresses.at(rows, &mut key, |number| {
                is_wanted = true;
                stretch.at.push((number, next));
            });
            if is_wanted {
                stretch.rows.push(Found::here(rows));
            }
        }
        stretch.trailer = rows.trailer().cloned();
        Ok(stretch)
    }
}

/// The file as the changes find it.
struct File<'a> {
    text: Text<'a>,
    layout: &'a Layout,
    encoding: &'static Encoding,
    /// The addressed rows, in the order of the file.
    rows: Vec<Found>,
    /// For each change the rows at its address.
    at: Vec<Vec<usize>>,
    /// Whether a new row quotes each column.
    quoted: Vec<bool>,
    /// The line end of a new row.
    line_end: String,
    trailer: Option<Trailer>,
    /// By the sums of the trailer: the column that each adds up.
    summed: Vec<usize>,
}

impl<'a> File<'a> {
    fn read(
        text: Text<'a>,
        layout: &'a Layout,
        encoding: &'static Encoding,
        changes: &[Change],
        seen: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<File<'a>, Halt<Stopped>> {
        let mut addresses = Addresses::default();
        for (number, change) in changes.iter().enumerate() {
            if change.action != Action::Create {
                addresses.want(layout, &change.address, number);
            }
        }
        let mut file = File {
            text,
            layout,
            encoding,
            rows: Vec::new(),
            at: vec![Vec::new(); changes.len()],
            quoted: Vec::new(),
            line_end: layout.line_end.clone(),
            trailer: None,
            summed: layout.trailer.iter().flat_map(|rule| &rule.sums).filter_map(|sum| layout.column(&sum.of)).collect(),
        };
        let stretches = walk_over(layout, text, rayon::current_num_threads(), seen, |rows| Stretch::read(rows, layout, &addresses))?;
        let mut last = None;
        for Walked { lines, bytes, made: stretch } in stretches {
            let first = file.rows.len();
            file.rows.extend(stretch.rows.into_iter().map(|found| found.below(lines, bytes)));
            for (number, row) in stretch.at {
                file.at[number].push(first + row);
            }
            file.line_end = stretch.line_end.unwrap_or(file.line_end);
            last = stretch.last.map(|(start, line)| (bytes + start, line + lines)).or(last);
            file.trailer = stretch.trailer;
        }
        file.quoted = match last {
            None => layout.quoted.clone(),
            Some((start, line)) => {
                let piece = text.bytes(start..start.saturating_add(LAST_ROW_BYTES_MAX)).map_err(Halt::Text)?;
                let valid = std::str::from_utf8(&piece).or_else(|error| std::str::from_utf8(&piece[..error.valid_up_to()])).unwrap_or_default();
                let mut rows = Rows::new(valid, 0, line, layout.delimiter, layout.quote);
                rows.advance().map_err(Halt::Walk)?;
                let is_habit = |index| rows.is_quoted(index) && !file.needs_quotes(rows.cell(index));
                let habits = (0..rows.cells.len()).map(is_habit);
                // The cells that a short row lacks have no habit.
                habits.chain(std::iter::repeat(false)).take(layout.names.len()).collect()
            }
        };
        Ok(file)
    }

    /// The row that a change addresses. Rows that agree in every cell are one row that stands there several times: all of
    /// them.
    fn rows_of(&self, change: &Change, number: usize) -> Result<Vec<usize>, Outcome> {
        if let Some(part) = change.address.iter().find(|part| self.layout.column(&part.column).is_none()) {
            return Err(self.no_column(&part.column));
        }
        match self.at[number].as_slice() {
            [row] => Ok(vec![*row]),
            [] => {
                let columns: Vec<String> = change.address.iter().map(|part| format!("`{}`", part.column)).collect();
                Err(Outcome::Stale { reason: format!("no row has the expected {} any more", columns.join(" and ")) })
            }
            [first, others @ ..] if others.iter().all(|row| self.repeats(*first, *row)) => Ok(self.at[number].clone()),
            several => {
                let lines: Vec<String> = several.iter().take(10).map(|row| self.rows[*row].line.to_string()).collect();
                let reason = format!("{} rows have this key: lines {}; which of them is meant cannot be told", several.len(), lines.join(", "));
                Err(Outcome::Rejected { reason })
            }
        }
    }

    fn repeats(&self, one: usize, other: usize) -> bool {
        let said = |row: usize| self.rows[row].cells.iter().map(|cell| &cell.said);
        said(one).eq(said(other))
    }

    /// What a cell holds now, after the changes so far. An error if the row is gone or the cell is not what was read there.
    fn expect(&self, row: usize, cell: &CellChange, work: &Work) -> Result<(), Outcome> {
        let Found { line, cells, .. } = &self.rows[row];
        let column = self.layout.column(&cell.column).ok_or_else(|| self.no_column(&cell.column))?;
        let touched = work.touched.get(&row);
        let now = touched.and_then(|touched| touched.said.get(&column)).unwrap_or(&cells[column].said);
        match &cell.before_raw {
            Some(before) if before.text.as_deref().unwrap_or_default() != now => {
                Err(Outcome::Stale { reason: format!("`{}` on line {line} is no longer what was read there", cell.column) })
            }
            _ => Ok(()),
        }
    }

    fn update(&self, change: &Change, number: usize, work: &mut Work) -> Result<(), Outcome> {
        let rows = self.present_rows(change, number, work)?;
        let mut said = Vec::with_capacity(change.cells.len());
        for cell in &change.cells {
            for row in &rows {
                self.expect(*row, cell, work)?;
            }
            let column = self.layout.column(&cell.column).ok_or_else(|| self.no_column(&cell.column))?;
            said.push((column, self.accept(cell)?));
        }
        for row in rows {
            work.touched.entry(row).or_default().said.extend(said.iter().cloned());
        }
        Ok(())
    }

    fn delete(&self, change: &Change, number: usize, work: &mut Work) -> Result<(), Outcome> {
        let rows = self.present_rows(change, number, work)?;
        for (row, cell) in rows.iter().flat_map(|row| change.cells.iter().map(move |cell| (row, cell))) {
            self.expect(*row, cell, work)?;
        }
        for row in rows {
            work.touched.entry(row).or_default().deleted = true;
        }
        Ok(())
    }

    fn present_rows(&self, change: &Change, number: usize, work: &Work) -> Result<Vec<usize>, Outcome> {
        let rows = self.rows_of(change, number)?;
        let deleted = rows.iter().find(|row| work.touched.get(*row).is_some_and(|touched| touched.deleted));
        match deleted {
            Some(row) => Err(Outcome::Stale { reason: format!("the row on line {} was deleted by a change before this one", self.rows[*row].line) }),
            None => Ok(rows),
        }
    }

    fn create(&self, change: &Change, work: &mut Work) -> Result<(), Outcome> {
        let mut said = vec![""; self.layout.names.len()];
        let mut texts = Vec::with_capacity(change.cells.len());
        for cell in &change.cells {
            let column = self.layout.column(&cell.column).ok_or_else(|| self.no_column(&cell.column))?;
            texts.push((column, self.accept(cell)?));
        }
        for (column, text) in &texts {
            said[*column] = text;
        }
        for (sum, column) in work.sums_created.iter_mut().zip(&self.summed) {
            *sum = sum.plus(self.amount(said[*column]));
        }
        if work.rows_created > 0 {
            work.created.push_str(&self.line_end);
        }
        work.rows_created += 1;
        for (column, text) in said.into_iter().enumerate() {
            if column > 0 {
                work.created.push(char::from(self.layout.delimiter));
            }
            self.spell(&mut work.created, text, self.quoted[column]);
        }
        Ok(())
    }

    /// The text that a cell shall hold, if the file can hold it.
    fn accept(&self, cell: &CellChange) -> Result<String, Outcome> {
        let text = cell.after_raw.text.as_deref().unwrap_or_default();
        let refuse = |why: String| Err(Outcome::Rejected { reason: format!("`{}` {why}", cell.column) });
        if let Some(character) = first_unholdable(self.encoding, text) {
            let (number, name) = (u32::from(character), self.encoding.name());
            return refuse(format!("has the character `{character}` (U+{number:04X}), which the file's encoding {name} cannot hold"));
        }
        if text.contains('\0') {
            return refuse("has a NUL character, which no text file can hold".to_owned());
        }
        let is_first = self.layout.names.first().is_some_and(|first| *first == cell.column);
        if is_first && self.layout.trailer.as_ref().is_some_and(|rule| text.starts_with(&rule.starts)) {
            return refuse("would make the row look like the trailer of the file".to_owned());
        }
        let is_summed = self.layout.column(&cell.column).is_some_and(|column| self.summed.contains(&column));
        if is_summed && Amount::read(text, self.mark()).is_none() {
            return refuse("is summed by the trailer of the file, and would be no amount".to_owned());
        }
        let mut spelled = String::new();
        self.spell(&mut spelled, text, true);
        if spelled.len() > CELL_BYTES_MAX || line_breaks(spelled.as_bytes()) > CELL_LINES_MAX {
            return refuse(format!("is longer than a cell of a CSV file may be: {CELL_BYTES_MAX} bytes, {CELL_LINES_MAX} line breaks"));
        }
        Ok(text.to_owned())
    }

    /// The decimal mark of the amounts that the trailer sums.
    fn mark(&self) -> char {
        self.layout.trailer.as_ref().map_or('.', |rule| rule.mark)
    }

    /// What a cell adds to a sum. The pull stopped at a cell that is no amount, and none is written.
    fn amount(&self, said: &str) -> Sum {
        Amount::read(said, self.mark()).map_or(Sum::ZERO, |amount| amount.sum)
    }

    fn no_column(&self, column: &str) -> Outcome {
        Outcome::Rejected { reason: format!("the file has no column `{column}`") }
    }

    /// Whether a text means something else without quotes. The only cell of a row is quoted when it is empty, because the row
    /// would be a blank line.
    fn needs_quotes(&self, text: &str) -> bool {
        let special = [self.layout.delimiter, self.layout.quote, b'\r', b'\n'];
        text.bytes().any(|byte| special.contains(&byte)) || text.is_empty() && self.layout.names.len() == 1
    }

    fn spell(&self, into: &mut String, text: &str, quoted: bool) {
        if !quoted && !self.needs_quotes(text) {
            into.push_str(text);
            return;
        }
        let quote = char::from(self.layout.quote);
        into.push(quote);
        for character in text.chars() {
            if character == quote {
                into.push(quote);
            }
            into.push(character);
        }
        into.push(quote);
    }

    /// What all changes together come to.
    fn edits(&self, mut work: Work) -> Result<Vec<Edit>, Unreadable> {
        let mut edits: Vec<Edit> = Vec::new();
        let mut rows_deleted = 0;
        for (row, touched) in &work.touched {
            let Found { span, cells, written, .. } = &self.rows[*row];
            if touched.deleted {
                edits.push((span.clone(), String::new()));
                rows_deleted += 1;
                continue;
            }
            for (column, said) in touched.said.iter().filter(|(column, _)| *column < written) {
                let FoundCell { span, said: before, quoted } = &cells[*column];
                if said != before {
                    let mut spelled = String::new();
                    self.spell(&mut spelled, said, *quoted);
                    edits.push((span.clone(), spelled));
                }
            }
            edits.extend(self.widen(&self.rows[*row], touched));
        }
        if let Some(trailer) = &self.trailer {
            for ((announced, column), created) in trailer.sums.iter().zip(&self.summed).zip(&work.sums_created) {
                let sum = announced.amount.sum.plus(*created).plus(self.added(*column, &work));
                // A sum that does not fit any more is left as it is: the next pull will not take it for true.
                if let Some(said) = announced.amount.spelling(sum, self.mark()).filter(|_| sum != announced.amount.sum) {
                    let mut spelled = String::new();
                    self.spell(&mut spelled, &said, announced.quoted);
                    edits.push((announced.span.clone(), spelled));
                }
            }
            if work.rows_created > 0 {
                let mut created = std::mem::take(&mut work.created);
                created.push_str(&self.line_end);
                edits.push((trailer.start..trailer.start, created));
            }
            if let Some(count) = &trailer.count
                && work.rows_created != rows_deleted
            {
                let mut spelled = String::new();
                self.spell(&mut spelled, &count.saying((count.rows + work.rows_created).saturating_sub(rows_deleted)), count.quoted);
                edits.push((count.span.clone(), spelled));
            }
        }
        // A row is widened where its last cell ends, which is where an empty one is filled: those two keep their order.
        edits.sort_by_key(|(span, _)| span.start);
        if !work.created.is_empty() {
            let is_line_end = |byte: u8| matches!(byte, b'\r' | b'\n');
            let mut created = String::new();
            if self.last_byte(&edits)?.is_some_and(|last| !is_line_end(last)) {
                created.push_str(&self.line_end);
            }
            created.push_str(&work.created);
            if self.last_byte(&[])?.is_some_and(is_line_end) {
                created.push_str(&self.line_end);
            }
            edits.push((self.text.length()..self.text.length(), created));
        }
        Ok(edits)
    }

    /// The last byte of the text with these edits made; nothing if it is empty.
    fn last_byte(&self, edits: &[Edit]) -> Result<Option<u8>, Unreadable> {
        let mut end = self.text.length();
        for (span, spelled) in edits.iter().rev() {
            if span.end < end {
                break;
            }
            if let Some(last) = spelled.bytes().last() {
                return Ok(Some(last));
            }
            end = span.start;
        }
        Ok(self.text.bytes(end.saturating_sub(1)..end)?.last().copied())
    }
}

impl File<'_> {
    /// What the changes of rows that stood there add to the sum of a column.
    fn added(&self, column: usize, work: &Work) -> Sum {
        work.touched.iter().fold(Sum::ZERO, |added, (row, touched)| {
            let before = self.amount(&self.rows[*row].cells[column].said);
            let after = match touched.said.get(&column) {
                _ if touched.deleted => Sum::ZERO,
                Some(said) => self.amount(said),
                None => before,
            };
            added.plus(after).minus(before)
        })
    }

    /// The cells that a row lacks, up to the last that is filled, and where they go; nothing if none is.
    fn widen(&self, row: &Found, touched: &Touched) -> Option<(Range<usize>, String)> {
        let said = |column: usize| touched.said.get(&column).map_or("", String::as_str);
        let last = (row.written..row.cells.len()).rfind(|column| !said(*column).is_empty())?;
        let mut spelled = String::new();
        for column in row.written..=last {
            spelled.push(char::from(self.layout.delimiter));
            self.spell(&mut spelled, said(column), false);
        }
        let end = row.cells[last].span.end;
        Some((end..end, spelled))
    }
}

impl Found {
    /// The same row, in a text that has so many lines and bytes above this one.
    fn below(self, lines: u64, bytes: usize) -> Found {
        let moved = |span: Range<usize>| span.start + bytes..span.end + bytes;
        let cells = self.cells.into_iter().map(|cell| FoundCell { span: moved(cell.span), ..cell }).collect();
        Found { line: self.line + lines, span: moved(self.span), cells, ..self }
    }

    fn here(rows: &Rows<'_>) -> Found {
        let cell =
            |index: usize| FoundCell { span: rows.cells[index].start..rows.cells[index].end, said: rows.cell(index).to_owned(), quoted: rows.is_quoted(index) };
        Found { line: rows.line, span: rows.start..rows.after, written: rows.written, cells: (0..rows.cells.len()).map(cell).collect() }
    }
}

#[cfg(test)]
mod tests {
    use encoding_rs::{UTF_8, WINDOWS_1252};
    use proptest::prelude::*;

    use super::super::long::LongText;
    use super::super::rows::{Expected, SumRule, TrailerRule};
    use super::*;
    use crate::change::{AddressPart, Reason};
    use crate::value::{Raw, Value};

    fn layout(text: &str) -> Layout {
        let expected = Expected { quote: b'"', header: 1, pinned: Some(if text.contains(';') { b';' } else { b',' }), ..Expected::default() };
        Layout::find(text, &expected).expect("a header")
    }

    fn cell(column: &str, before: Option<&str>, after: &str) -> CellChange {
        CellChange {
            field: None,
            column: column.to_owned(),
            before_raw: before.map(Raw::text),
            before: Value::Null,
            after: Value::Null,
            after_raw: Raw::text(after),
            reason: Reason::Standardised,
        }
    }

    fn change(action: Action, address: &[(&str, &str)], cells: Vec<CellChange>) -> Change {
        let part = |(column, raw): &(&str, &str)| AddressPart { column: (*column).to_owned(), raw: Raw::text(*raw) };
        Change {
            number: 1,
            system: "sheet".into(),
            record: 1,
            key: "k".into(),
            action,
            address: address.iter().map(part).collect(),
            cells,
            reason: Reason::Standardised,
            attempts: 0,
            row_id: None,
            row_key_before: (action != Action::Create).then(|| "k".to_owned()),
            row_key_after: "k".into(),
            edited_at: None,
        }
    }

    fn update(id: &str, column: &str, before: &str, after: &str) -> Change {
        change(Action::Update, &[("id", id)], vec![cell(column, Some(before), after)])
    }

    fn delete(id: &str) -> Change {
        change(Action::Delete, &[("id", id)], vec![])
    }

    fn create(cells: &[(&str, &str)]) -> Change {
        change(Action::Create, &[], cells.iter().map(|(column, after)| cell(column, None, after)).collect())
    }

    fn done(text: &str, changes: &[Change]) -> String {
        let done = edited(text, &layout(text), UTF_8, changes, 5);
        assert!(done.1.iter().all(|outcome| matches!(outcome, Outcome::Done { .. })), "{:?}", done.1);
        done.0.unwrap_or_else(|| text.to_owned())
    }

    /// The text after changes, if there are any, and what became of each.
    fn edited(text: &str, layout: &Layout, encoding: &'static Encoding, changes: &[Change], failures_max: usize) -> (Option<String>, Vec<Outcome>) {
        let edited = edit(Text::Whole(text), layout, encoding, changes, failures_max, &mut |_| {}).expect("rows");
        ((!edited.edits.is_empty()).then(|| with_edits(text, &edited.edits)), edited.outcomes)
    }

    fn reason(text: &str, change: Change) -> String {
        let (text, outcomes) = edited(text, &layout(text), WINDOWS_1252, &[change], 5);
        assert_eq!(text, None);
        match &outcomes[0] {
            Outcome::Stale { reason } => format!("stale: {reason}"),
            Outcome::Rejected { reason } => format!("rejected: {reason}"),
            other => panic!("{other:?}"),
        }
    }

    /// The text after changes to a file of short rows that ends with a trailer.
    fn done_above_a_trailer(text: &str, changes: &[Change]) -> Result<String, Vec<Outcome>> {
        let sum = SumRule { column: 2, of: "amount".to_owned() };
        let trailer = TrailerRule { starts: "T".to_owned(), count_column: Some(1), sums: if text.contains(",amount") { vec![sum] } else { vec![] }, mark: '.' };
        let expected = Expected { quote: b'"', header: 1, pinned: Some(b','), pads: true, trailer: Some(&trailer), ..Expected::default() };
        let (text, outcomes) = edited(text, &Layout::find(text, &expected).expect("a header"), UTF_8, changes, 5);
        text.ok_or(outcomes)
    }

    #[test]
    fn a_short_row_is_widened_only_up_to_the_cell_that_is_filled() {
        let text = "id,a,b,c\n1,x\n2,\n3\n4,x,y,z\nT,4\n";
        for (changes, expected) in [
            (vec![update("1", "a", "x", "u")], "id,a,b,c\n1,u\n2,\n3\n4,x,y,z\nT,4\n"),
            (vec![update("1", "b", "", "u")], "id,a,b,c\n1,x,u\n2,\n3\n4,x,y,z\nT,4\n"),
            // An empty last cell is filled, and the row widened, at one place of the text.
            (vec![update("2", "c", "", "u,v"), update("2", "a", "", "t")], "id,a,b,c\n1,x\n2,t,,\"u,v\"\n3\n4,x,y,z\nT,4\n"),
            // What is filled and emptied again by one set leaves the row as it was.
            (vec![update("3", "b", "", "u"), update("3", "b", "u", ""), update("1", "a", "x", "u")], "id,a,b,c\n1,u\n2,\n3\n4,x,y,z\nT,4\n"),
            (vec![delete("3")], "id,a,b,c\n1,x\n2,\n4,x,y,z\nT,3\n"),
        ] {
            assert_eq!(done_above_a_trailer(text, &changes).as_deref(), Ok(expected), "{changes:?}");
        }
    }

    #[test]
    fn a_sum_in_the_trailer_goes_with_the_amounts() {
        let text = "id,amount\n1,10.00\n2,-2.5\n3,\nT,3,\"007.50\",x\n";
        let new = |id: &str, amount: &str| create(&[("id", id), ("amount", amount)]);
        for (changes, expected) in [
            (vec![update("1", "amount", "10.00", "10.05")], "id,amount\n1,10.05\n2,-2.5\n3,\nT,3,\"007.55\",x\n"),
            (vec![update("3", "amount", "", "0.125")], "id,amount\n1,10.00\n2,-2.5\n3,0.125\nT,3,\"007.625\",x\n"),
            (vec![delete("2"), new("4", "1"), new("5", "")], "id,amount\n1,10.00\n3,\n4,1\n5,\nT,4,\"011.00\",x\n"),
            (vec![update("1", "amount", "10.00", "99"), delete("1")], "id,amount\n2,-2.5\n3,\nT,2,\"-002.50\",x\n"),
            (
                vec![update("1", "amount", "10.00", "9"), update("1", "amount", "9", "10.00"), update("2", "id", "2", "7")],
                "id,amount\n1,10.00\n7,-2.5\n3,\nT,3,\"007.50\",x\n",
            ),
        ] {
            assert_eq!(done_above_a_trailer(text, &changes).as_deref(), Ok(expected), "{changes:?}");
        }
        let refused = done_above_a_trailer(text, &[update("1", "amount", "10.00", "n/a")]).expect_err("refused");
        assert!(matches!(&refused[0], Outcome::Rejected { reason } if reason.contains("`amount`") && reason.contains("no amount")), "{refused:?}");
    }

    #[test]
    fn new_rows_stand_above_the_trailer_whose_count_goes_with_them() {
        let new = |id: &str| create(&[("id", id), ("a", "x")]);
        for (text, changes, expected) in [
            ("id,a\r\n1,x\r\nT, 01 ,9.50\r\n", vec![new("2"), new("3")], "id,a\r\n1,x\r\n2,x\r\n3,x\r\nT, 03 ,9.50\r\n"),
            ("id,a\n1,x\n\"T\",\"9\"", vec![new("2")], "id,a\n1,x\n2,x\n\"T\",\"10\""),
            ("id,a\n1,x\nT,1\n", vec![new("2"), delete("1")], "id,a\n2,x\nT,1\n"),
            ("id,a\nT,0\n", vec![new("2")], "id,a\n2,x\nT,1\n"),
        ] {
            assert_eq!(done_above_a_trailer(text, &changes).as_deref(), Ok(expected), "{text:?}");
        }
        // A record that looks like the trailer would end the file for whoever reads it.
        let refused = done_above_a_trailer("id,a\n1,x\nT,1\n", &[new("Tom")]).expect_err("refused");
        assert!(matches!(&refused[0], Outcome::Rejected { reason } if reason.contains("`id`") && reason.contains("trailer")), "{refused:?}");
    }

    #[test]
    fn only_the_changed_cells_change() {
        for (text, changes, expected) in [
            // Quotes that were not needed stay, in changed and in other cells.
            (
                "id,\"name\",x\n\"1\",\"a\",\"y\"\n2,b,z\n",
                vec![update("1", "name", "a", "c"), update("2", "name", "b", "c")],
                "id,\"name\",x\n\"1\",\"c\",\"y\"\n2,c,z\n",
            ),
            // Quotes that are needed come.
            ("id,name\n1,a\n", vec![update("1", "name", "a", "x,y")], "id,name\n1,\"x,y\"\n"),
            ("id,name\n1,a\n", vec![update("1", "name", "a", "5\" pipe\nlong")], "id,name\n1,\"5\"\" pipe\nlong\"\n"),
            ("id;name\n1;a\n", vec![update("1", "name", "a", "x,y")], "id;name\n1;x,y\n"),
            // What looks like a formula is written as it is.
            ("id,name\n1,a\n", vec![update("1", "name", "a", "=1+1")], "id,name\n1,=1+1\n"),
            // Mixed line ends, blank lines, a ragged row, no line end at the end.
            ("id,name\r\n\r\n1,a\n2,b,!\r\n\n3,c", vec![update("3", "name", "c", "d"), update("1", "name", "a", "")], "id,name\r\n\r\n1,\n2,b,!\r\n\n3,d"),
            // A value that spans lines, and a row after it.
            ("id,name\n1,\"a\r\nb\"\n2,c\n", vec![update("1", "name", "a\r\nb", "a"), update("2", "id", "2", "4")], "id,name\n1,\"a\"\n4,c\n"),
            // Nothing but the same, even where we would spell it otherwise.
            ("id,name\n1,5\" pipe\n", vec![update("1", "name", "5\" pipe", "5\" pipe")], "id,name\n1,5\" pipe\n"),
            ("id,name\n\"1\",\"a\"\n", vec![update("1", "name", "a", "a")], "id,name\n\"1\",\"a\"\n"),
            // The second change builds on the first.
            ("id,name\n1,a\n", vec![update("1", "name", "a", "b"), update("1", "name", "b", "c")], "id,name\n1,c\n"),
            // A swap of keys.
            ("id,name\n1,a\n2,b\n", vec![update("1", "id", "1", "2"), update("2", "id", "2", "1")], "id,name\n2,a\n1,b\n"),
        ] {
            assert_eq!(done(text, &changes), expected, "{text:?}");
        }
    }

    #[test]
    fn deleted_rows_go_with_their_line_end() {
        for (text, ids, expected) in [
            ("id,n\n1,a\n2,b\n3,c\n", vec!["2"], "id,n\n1,a\n3,c\n"),
            ("id,n\r\n1,a\r\n2,b", vec!["2"], "id,n\r\n1,a\r\n"),
            ("id,n\n1,a\n\n2,b\n", vec!["1", "2"], "id,n\n\n"),
            ("id,n\n1,\"a\nb\"\n2,b\n", vec!["1"], "id,n\n2,b\n"),
        ] {
            let changes: Vec<Change> = ids.into_iter().map(delete).collect();
            assert_eq!(done(text, &changes), expected, "{text:?}");
        }
    }

    #[test]
    fn new_rows_follow_the_style_of_the_last() {
        let new = || create(&[("n", "x"), ("id", "9")]);
        for (text, changes, expected) in [
            ("id,n\n1,a\n", vec![new()], "id,n\n1,a\n9,x\n"),
            ("id,n\n1,a", vec![new(), new()], "id,n\n1,a\n9,x\n9,x"),
            ("id,n\r\n1,a\n2,b\r\n", vec![new()], "id,n\r\n1,a\n2,b\r\n9,x\r\n"),
            ("id,n\r\n1,a", vec![new()], "id,n\r\n1,a\r\n9,x"),
            ("id,n", vec![new()], "id,n\n9,x"),
            ("\"id\";\"n\"\r\n", vec![new()], "\"id\";\"n\"\r\n\"9\";\"x\"\r\n"),
            // Quoted by habit in one column; quoted by need in the other is no habit.
            ("id,n,more\n1,\"a\",\"b,c\"\n", vec![new()], "id,n,more\n1,\"a\",\"b,c\"\n9,\"x\",\n"),
            ("id,n\n1,a", vec![delete("1"), new()], "id,n\n9,x"),
            ("id,n\n1,a\n", vec![delete("1"), new()], "id,n\n9,x\n"),
        ] {
            assert_eq!(done(text, &changes), expected, "{text:?}");
        }
        // The only cell of a row would be a blank line.
        assert_eq!(done("id\n1\n", &[create(&[("id", "")]), update("1", "id", "1", "")]), "id\n\"\"\n\"\"\n");
    }

    #[test]
    fn rows_that_agree_in_every_cell_are_written_together() {
        let text = "id,name\n1,a\n2,b\n\"1\",a\n";
        assert_eq!(done(text, &[update("1", "name", "a", "x")]), "id,name\n1,x\n2,b\n\"1\",x\n");
        assert_eq!(done(text, &[delete("1")]), "id,name\n2,b\n");
    }

    #[test]
    fn a_row_that_is_not_what_was_read_is_stale() {
        let text = "id,name\n1,a\n2,b\n2,c\n3,d,ragged\n4,e\n";
        for (change, expected) in [
            (update("9", "name", "a", "x"), "stale: no row has the expected `id` any more"),
            (update("2", "name", "b", "x"), "rejected: 2 rows have this key: lines 3, 4; which of them is meant cannot be told"),
            (update("3", "name", "d", "x"), "stale: no row has the expected `id` any more"),
            (update("1", "name", "A", "x"), "stale: `name` on line 2 is no longer what was read there"),
            (change(Action::Delete, &[("id", "4")], vec![cell("name", Some("f"), "")]), "stale: `name` on line 6 is no longer what was read there"),
            (update("1", "nome", "a", "x"), "rejected: the file has no column `nome`"),
            (change(Action::Update, &[("ID", "1")], vec![]), "rejected: the file has no column `ID`"),
            (create(&[("id", "5"), ("colour", "red")]), "rejected: the file has no column `colour`"),
            (update("1", "name", "a", "Łódź"), "rejected: `name` has the character `Ł` (U+0141), which the file's encoding windows-1252 cannot hold"),
            (update("1", "name", "a", "x\0"), "rejected: `name` has a NUL character, which no text file can hold"),
            (update("1", "name", "a", &"\n".repeat(101)), "rejected: `name` is longer than a cell of a CSV file may be: 65536 bytes, 100 line breaks"),
        ] {
            assert_eq!(reason(text, change), expected);
        }
    }

    #[test]
    fn one_change_that_fails_stops_no_other_until_there_are_too_many() {
        let text = "id,name\n1,a\n2,b\n";
        let bad = || update("1", "name", "a", "Ł");
        let changes = [bad(), update("2", "name", "b", "c"), bad(), bad(), delete("1")];
        let changed = edited(text, &layout(text), WINDOWS_1252, &changes, 1);
        assert_eq!(changed.0.as_deref(), Some("id,name\n1,a\n2,c\n"));
        let words: Vec<&str> = changed
            .1
            .iter()
            .map(|outcome| match outcome {
                Outcome::Done { .. } => "done",
                Outcome::Rejected { .. } => "rejected",
                Outcome::Skipped { .. } => "skipped",
                _ => "other",
            })
            .collect();
        assert_eq!(words, ["rejected", "done", "rejected", "skipped", "skipped"]);
        let twice = edited(text, &layout(text), UTF_8, &[delete("1"), delete("1")], 5);
        assert!(matches!(twice.1[1], Outcome::Stale { .. }));
    }

    fn rows_of(text: &str, layout: &Layout) -> Vec<Vec<String>> {
        let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(layout.delimiter).from_reader(&text.as_bytes()[layout.body..]);
        reader.records().map(|row| row.expect("text").iter().map(str::to_owned).collect()).collect()
    }

    /// One row of a random file: its cells as they are spelled, and its line end.
    fn spelled_row(width: std::ops::Range<usize>) -> impl Strategy<Value = String> {
        let plain = "[a-c ü=€.]{0,4}";
        let quoted = "[a-c,;ü\r\n]{0,4}(\"\")?[a ]?".prop_map(|said| format!("\"{said}\""));
        let cell = prop_oneof![3 => plain.prop_map(|s| s), 2 => quoted];
        let ends = prop_oneof![Just("\n"), Just("\r\n"), Just("\r"), Just("\n\n"), Just("\r\n\r\n")];
        (proptest::collection::vec(cell, width), ends).prop_map(|(cells, end)| format!("{}{end}", cells.join(",")))
    }

    #[derive(Clone, Debug)]
    enum Step {
        Update(usize, usize, String),
        Delete(usize),
        Create(Vec<String>),
    }

    fn step() -> impl Strategy<Value = Step> {
        let said = || "[a-c,\"\r\n ü]{0,5}";
        prop_oneof![
            4 => (0..20usize, 1..3usize, said()).prop_map(|(row, column, said)| Step::Update(row, column, said)),
            1 => (0..20usize).prop_map(Step::Delete),
            1 => proptest::collection::vec(said(), 3).prop_map(Step::Create),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]

        /// parse(edit(text)) = edit(parse(text)), and every byte outside the changed cells and rows is kept in its order.
        #[test]
        fn editing_the_text_is_editing_the_rows(
            rows in proptest::collection::vec(prop_oneof![6 => spelled_row(3..4), 1 => spelled_row(1..3)], 0..12),
            steps in proptest::collection::vec(step(), 0..6),
            trim in any::<bool>(),
            window in 1..64_usize,
        ) {
            // The first column is a number, so that rows can be addressed.
            let mut text = "id,\"b\",c\r\n".to_owned();
            for (number, row) in rows.iter().enumerate() {
                let rest = row.split_once(',').map_or(row.as_str(), |(first, rest)| if first.starts_with('"') { row } else { rest });
                text.push_str(&format!("{number},{rest}"));
            }
            if trim {
                text.truncate(text.trim_end_matches(['\r', '\n']).len());
            }
            let layout = layout_of_three(&text);
            let before = rows_of(&text, &layout);
            let mut expected = before.clone();
            let mut gone = Vec::new();
            let mut changes = Vec::new();
            let mut new = Vec::new();
            let names = ["id", "b", "c"];
            for step in steps {
                match step {
                    Step::Update(row, column, said) => {
                        let Some(cells) = expected.get_mut(row).filter(|cells| cells.len() == 3 && !gone.contains(&row)) else { continue };
                        if before.iter().filter(|other| other.len() == 3 && other[0] == before[row][0]).count() != 1 { continue }
                        changes.push(update(&before[row][0], names[column], &cells[column], &said));
                        cells[column] = said;
                    }
                    Step::Delete(row) => {
                        if expected.get(row).is_none_or(|cells| cells.len() != 3) || gone.contains(&row) { continue }
                        if before.iter().filter(|other| other.len() == 3 && other[0] == before[row][0]).count() != 1 { continue }
                        changes.push(delete(&before[row][0]));
                        gone.push(row);
                    }
                    Step::Create(said) => {
                        changes.push(create(&[("c", &said[2]), ("id", &said[0]), ("b", &said[1])]));
                        new.push(said);
                    }
                }
            }
            // The same comes of a file that is read in windows, and all bytes of it are told once.
            let at_once = edit(Text::Whole(&text), &layout, UTF_8, &changes, 0, &mut |_| {});
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), &text).expect("written");
            let long = LongText::open(file.path(), window.min(text.len() - 1), |_| Some(0)).expect("opened").expect("long");
            let mut told = Vec::new();
            let in_windows = edit(Text::Long(&long), &layout, UTF_8, &changes, 0, &mut |bytes| told.extend_from_slice(bytes));
            match (&at_once, &in_windows) {
                (Ok(at_once), Ok(in_windows)) => {
                    prop_assert_eq!(&in_windows.edits, &at_once.edits);
                    prop_assert_eq!(&in_windows.outcomes, &at_once.outcomes);
                    prop_assert_eq!(String::from_utf8(told).expect("text"), &*text);
                }
                (Err(Halt::Walk(at_once)), Err(Halt::Walk(in_windows))) => prop_assert_eq!(in_windows, at_once),
                (at_once, in_windows) => prop_assert!(false, "{:?} is not {:?}", in_windows, at_once),
            }
            // A lone quote somewhere may make the file one that is never edited.
            let Ok(edited) = at_once else { return Ok(()) };
            let sound = { let mut rows = layout.rows(&text); let mut all = true; while let Ok(true) = rows.advance() { all &= rows.sound; } all };
            prop_assume!(sound);
            for outcome in &edited.outcomes {
                prop_assert!(matches!(outcome, Outcome::Done { .. }), "{:?}", outcome);
            }
            let after = with_edits(&text, &edited.edits);
            let mut expected: Vec<Vec<String>> = expected.into_iter().enumerate().filter(|(row, _)| !gone.contains(row)).map(|(_, cells)| cells).collect();
            expected.extend(new.iter().cloned());
            prop_assert_eq!(rows_of(&after, &layout), expected);
            // Rows that no change names stand there to the byte, line end and blank lines included.
            let kept = untouched_pieces(&text, &layout, &changes);
            let mut rest = after.as_str();
            for piece in kept {
                let at = rest.find(piece);
                prop_assert!(at.is_some(), "{:?} is not in {:?}", piece, after);
                rest = &rest[at.unwrap_or(0) + piece.len()..];
            }
            if changes.iter().all(|change| change.action == Action::Update) {
                prop_assert_eq!(outside_of_changed_cells(&after, &layout, &before), outside_of_changed_cells(&text, &layout, &before));
            }
        }
    }

    fn layout_of_three(text: &str) -> Layout {
        let expected = Expected { quote: b'"', header: 1, pinned: Some(b','), ..Expected::default() };
        Layout::find(text, &expected).expect("a header")
    }

    /// The rows that no change addresses, with their line ends.
    fn untouched_pieces<'t>(text: &'t str, layout: &Layout, changes: &[Change]) -> Vec<&'t str> {
        let mut rows = layout.rows(text);
        let mut pieces = vec![&text[..layout.body]];
        while let Ok(true) = rows.advance() {
            let is_named = changes.iter().any(|change| change.address.iter().any(|part| part.raw.text.as_deref() == Some(rows.cell(0))));
            if !is_named {
                pieces.push(&text[rows.start..rows.after]);
            }
        }
        pieces
    }

    /// The text without the cells that differ from `before`, in either text: what is between them must be equal.
    fn outside_of_changed_cells(text: &str, layout: &Layout, before: &[Vec<String>]) -> String {
        let mut rows = layout.rows(text);
        let (mut outside, mut at, mut number) = (String::new(), 0, 0);
        while let Ok(true) = rows.advance() {
            for (index, cell) in rows.cells.iter().enumerate() {
                // Columns 1 and 2 are the ones that updates name.
                if index > 0 && before[number].len() == 3 {
                    outside.push_str(&text[at..cell.start]);
                    at = cell.end;
                }
            }
            number += 1;
        }
        outside.push_str(&text[at..]);
        outside
    }
}
