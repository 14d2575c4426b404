//! Text to rows: where each row and each cell stands, and how the file is laid out.
//!
//! [`Rows`] walks over the text row by row with `csv_core` and tells of every cell where it stands, verbatim, and what it
//! says. The pull and the write use the same walk, so that they can never disagree about what a cell is. [`Layout`] is what
//! a file needs to be walked: delimiter, quote, header and where the rows begin.
//!
//! # Design
//! - A line without a quote is a row, and is cut at its delimiters; only the others need the parser.
//! - Long texts are walked in several stretches at once, each from the beginning of a line, as if that were the beginning of a row.
//!   It was, if the walk before it ended just there; else the text is walked once more as a whole.
//! - Physical lines are counted here, one for each `\r\n`, `\n` or lone `\r`, because the parser's own count is off after
//!   CRLF and blank lines.
//! - A quoted cell with text after its closing quote (`"5" pipe"`) has no certain meaning, and is the mark of a lost quote that
//!   merged two rows. Such a row is never read as a record.
//! - A row without a quote says what stands there: its hash is that of its text, and a row with quotes whose cells say the same has
//!   the same. So most rows are known by their hash before anybody asks where their cells are ([`Rows::advance_at_a_glance`]).
//! - A row that is filled up gets its missing cells here, of no width and at its end, so that everything above sees one row of all
//!   columns; [`Rows::written`] tells how many of them the file has. Its hash is that of the row with empty cells.
//! - A trailer is found by the walk as well: it is the last row or the walk stops, and it is never given out as a row. A row
//!   below it is the mark of two files in one.
//! - A cell beyond its [`Limits`] is a lost quote that swallows the file: it stops the walk.

use std::ops::Range;

use csv_core::ReadFieldResult;
use hashbrown::HashMap;
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::sums::Amount;
use crate::change::Address;
use crate::frame::seed_of_rows;

/// How long a cell may be before it is a lost quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Its bytes, quotes included.
    pub bytes: usize,
    /// Its line breaks.
    pub lines: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes: CELL_BYTES_MAX, lines: CELL_LINES_MAX }
    }
}

/// The longest cell of a record, quotes included.
pub(super) const CELL_BYTES_MAX: usize = 64 * 1024;

/// The most line breaks in a cell of a record.
pub(super) const CELL_LINES_MAX: u64 = 100;

/// How many rows the search for a delimiter looks at, and how many bytes at most.
const SAMPLE_ROWS: usize = 100;
const SAMPLE_BYTES: usize = 256 * 1024;

/// The delimiters that are looked for, the likeliest first.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// How many line breaks there are: `\r\n`, `\n` and a lone `\r` count one each.
pub(super) fn line_breaks(text: &[u8]) -> u64 {
    if memchr::memchr(b'\r', text).is_none() {
        return memchr::memchr_iter(b'\n', text).count() as u64;
    }
    let breaks = text.iter().enumerate().filter(|(at, byte)| **byte == b'\n' || **byte == b'\r' && text.get(at + 1) != Some(&b'\n'));
    breaks.count() as u64
}

/// Why the walk over the rows stopped: nothing after this place can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stopped {
    /// The physical line of the cell or row at fault.
    pub line: u64,
    /// What is wrong with it.
    pub why: Why,
}

/// What stops a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The file ends within the quotes of a cell that begins here.
    Unclosed,
    /// A cell that begins here is too long to be one.
    Endless,
    /// The last row, which is here, is not the trailer.
    NoTrailer,
    /// A row stands here, below the trailer on that line.
    BelowTrailer(u64),
    /// The trailer, which is here, has no count where it should be.
    NoCount,
    /// The trailer, which is here, has no amount in this column, from 0, where it should have a sum.
    NoSum(usize),
}

/// How the trailer of a file is told from its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TrailerRule {
    /// What its first cell begins with.
    pub starts: String,
    /// The column, from 0, in which it says how many rows there are.
    pub count_column: Option<usize>,
    /// The sums that it announces.
    pub sums: Vec<SumRule>,
    /// The decimal mark of the sums, and of the amounts that they add up.
    pub mark: char,
}

/// A sum in the trailer of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SumRule {
    /// The column, from 0, in which the trailer says it.
    pub column: usize,
    /// The name of the column whose amounts it adds up.
    pub of: String,
}

/// The trailer of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    /// Where it begins.
    pub start: usize,
    /// How many rows it announces, where it does.
    pub count: Option<Count>,
    /// The sums that it announces, in the order of their rules.
    pub sums: Vec<AnnouncedSum>,
}

/// The cell of a trailer that says a sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AnnouncedSum {
    /// Where the cell stands, quotes included.
    pub span: Range<usize>,
    /// Whether it is quoted.
    pub quoted: bool,
    /// What it says.
    pub amount: Amount,
}

/// The cell of a trailer that says how many rows there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// Where the cell stands, quotes included.
    pub span: Range<usize>,
    /// What it says.
    pub said: String,
    /// Whether it is quoted.
    pub quoted: bool,
    /// The number.
    pub rows: u64,
}

impl Count {
    /// What the cell says of another number of rows: as wide as before, if the number fits.
    pub fn saying(&self, rows: u64) -> String {
        let digits = self.said.trim();
        self.said.replacen(digits, &format!("{rows:0width$}", width = digits.len()), 1)
    }
}

/// Where one cell stands in the text, quotes included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub start: usize,
    pub end: usize,
    /// Where what it says ends in the buffer of the row.
    said_end: usize,
}

/// What a glance at the next row tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Glance {
    /// There is none.
    End,
    /// It has the expected number of cells and no quotes; its [`Rows::hash`]. Where its cells stand was not looked at.
    Whole(u128),
    /// The walk stands on it as after [`Rows::advance`].
    Row,
}

/// What is seen of the next row before anybody asks where its cells are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight<'t> {
    /// There is none.
    End,
    /// It has the expected number of cells and no quotes; its text.
    Plain(&'t str),
    /// The walk stands on it as after [`Rows::advance`].
    Row,
}

/// A walk over the rows of a text. After each [`Rows::advance`] it stands on one row.
pub(super) struct Rows<'t> {
    text: &'t str,
    reader: csv_core::Reader,
    /// Whether cells were read without the parser since it was last in use.
    is_reader_behind: bool,
    delimiter: u8,
    quote: u8,
    next: usize,
    next_line: u64,
    /// No row is read that begins here or after it.
    until: usize,
    /// How many cells a row has at least; missing ones are added.
    width_min: usize,
    /// The seed of the rows' hashes.
    seed: u64,
    limits: Limits,
    trailer_rule: Option<TrailerRule>,
    /// The trailer, once the walk has passed over it, and its line.
    trailer: Option<(Trailer, u64)>,
    /// What the cells of the row say, a delimiter between each two; more room than text.
    said: Vec<u8>,
    /// No quote stands before this place, from the row on.
    clear_until: usize,
    /// The cells of the row, added ones among them.
    pub cells: Vec<Cell>,
    /// How many of the cells the file has.
    pub written: usize,
    /// Where the row begins.
    pub start: usize,
    /// Where the row ends, its line end not included.
    pub end: usize,
    /// Where the row ends, its line end included.
    pub after: usize,
    /// The physical line on which the row begins.
    pub line: u64,
    /// Whether no quoted cell has text after its closing quote.
    pub sound: bool,
}

impl<'t> Rows<'t> {
    /// A walk from the byte `from` of the text, which is the beginning of the physical line `line`.
    pub fn new(text: &'t str, from: usize, line: u64, delimiter: u8, quote: u8) -> Rows<'t> {
        let mut reader = csv_core::ReaderBuilder::new().delimiter(delimiter).quote(quote).build();
        // The parser would take a byte order mark away from the beginning of what it reads first.
        reader.read_field(b"\n", &mut [0]);
        Rows {
            text,
            reader,
            is_reader_behind: false,
            delimiter,
            quote,
            next: from,
            next_line: line,
            until: text.len(),
            width_min: 0,
            seed: 0,
            limits: Limits::default(),
            trailer_rule: None,
            trailer: None,
            said: Vec::new(),
            clear_until: from,
            cells: Vec::new(),
            written: 0,
            start: from,
            end: from,
            after: from,
            line,
            sound: true,
        }
    }

    /// Goes to the next row; false at the end of the text, or of the stretch that is walked. Blank lines and the trailer are passed over.
    pub fn advance(&mut self) -> Result<bool, Stopped> {
        let line_before = self.line;
        let mut is_row = self.read_row()?;
        if let Some(rule) = &self.trailer_rule {
            if is_row && self.trailer.is_none() && self.cell(0).starts_with(&rule.starts) {
                self.trailer = Some((self.read_trailer(rule)?, self.line));
                is_row = self.read_row()?;
            }
            match &self.trailer {
                Some((_, line)) if is_row => return Err(Stopped { line: self.line, why: Why::BelowTrailer(*line) }),
                None if !is_row => return Err(Stopped { line: line_before, why: Why::NoTrailer }),
                _ => {}
            }
        }
        self.written = self.cells.len();
        if is_row && self.written < self.width_min {
            let said_end = self.cells.last().map_or(0, |cell| cell.said_end);
            let missing = self.width_min - self.written;
            self.make_room(said_end + missing);
            self.said[said_end..said_end + missing].fill(self.delimiter);
            self.cells.extend((1..=missing).map(|number| Cell { start: self.end, end: self.end, said_end: said_end + number }));
        }
        Ok(is_row)
    }

    /// Goes to the next row, of which `width` cells are expected. What it is said to be, [`Rows::advance`] would have found too.
    pub fn advance_at_a_glance(&mut self, width: usize) -> Result<Glance, Stopped> {
        Ok(match self.advance_by_sight(width)? {
            Sight::End => Glance::End,
            Sight::Plain(row) => Glance::Whole(xxh3_128_with_seed(row.as_bytes(), self.seed)),
            Sight::Row => Glance::Row,
        })
    }

    /// Goes to the next row, of which `width` cells are expected, and looks at no more of it than it must.
    pub fn advance_by_sight(&mut self, width: usize) -> Result<Sight<'t>, Stopped> {
        if self.trailer_rule.is_none() && self.pass_blank_lines() {
            let bytes = self.text.as_bytes();
            let rest = &bytes[self.start..];
            // A last row without a line end may be cut off.
            if let Some(length) = memchr::memchr2(b'\r', b'\n', rest)
                && length <= self.limits.bytes
                && self.is_clear(self.start + length)
                && memchr::memchr_iter(self.delimiter, &rest[..length]).count() + 1 == width
            {
                self.end = self.start + length;
                self.next = after_line_end(bytes, self.end);
                self.next_line += 1;
                self.after = self.next;
                return Ok(Sight::Plain(&self.text[self.start..self.end]));
            }
        }
        Ok(if self.advance()? { Sight::Row } else { Sight::End })
    }

    /// Where the next row begins, blank lines included.
    pub fn next(&self) -> usize {
        self.next
    }

    /// The physical line on which the next row begins, blank lines included.
    pub fn next_line(&self) -> u64 {
        self.next_line
    }

    /// Goes to the row that begins at this byte of the text. Its line is not told.
    pub fn go_to(&mut self, start: usize) -> Result<bool, Stopped> {
        if start < self.start {
            self.clear_until = start;
        }
        self.next = start;
        self.is_reader_behind = true;
        self.advance()
    }

    /// The trailer, once [`Rows::advance`] came to the end of the text.
    pub fn trailer(&self) -> Option<&Trailer> {
        self.trailer.as_ref().map(|(trailer, _)| trailer)
    }

    /// The trailer that the walk stands on.
    fn read_trailer(&self, rule: &TrailerRule) -> Result<Trailer, Stopped> {
        let count_of = |column: usize| {
            let cell = self.cells.get(column).filter(|_| self.sound)?;
            let said = self.cell(column);
            let digits = said.trim();
            let rows = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()?;
            Some(Count { span: cell.start..cell.end, said: said.to_owned(), quoted: self.is_quoted(column), rows })
        };
        let count = match rule.count_column {
            None => None,
            Some(column) => Some(count_of(column).ok_or(Stopped { line: self.line, why: Why::NoCount })?),
        };
        let sum_of = |rule_of: &SumRule| {
            let cell = self.cells.get(rule_of.column).filter(|_| self.sound && !self.cell(rule_of.column).trim().is_empty());
            let amount = cell.and_then(|_| Amount::read(self.cell(rule_of.column), rule.mark));
            let announced = cell.zip(amount).map(|(cell, amount)| AnnouncedSum { span: cell.start..cell.end, quoted: self.is_quoted(rule_of.column), amount });
            announced.ok_or(Stopped { line: self.line, why: Why::NoSum(rule_of.column) })
        };
        let sums = rule.sums.iter().map(sum_of).collect::<Result<_, _>>()?;
        Ok(Trailer { start: self.start, count, sums })
    }

    /// Goes to the beginning of the next row; false if there is none.
    fn pass_blank_lines(&mut self) -> bool {
        let bytes = self.text.as_bytes();
        while self.next < self.until && matches!(bytes[self.next], b'\r' | b'\n') {
            self.next = after_line_end(bytes, self.next);
            self.next_line += 1;
        }
        (self.start, self.line, self.sound) = (self.next, self.next_line, true);
        self.cells.clear();
        self.next < self.until
    }

    fn read_row(&mut self) -> Result<bool, Stopped> {
        if !self.pass_blank_lines() {
            return Ok(false);
        }
        let bytes = self.text.as_bytes();
        if self.read_plain()? {
            return Ok(true);
        }
        let mut said_start = 0;
        loop {
            let start = self.next;
            let (end, written, at_end, record_end) = match self.read_sound_cell(said_start) {
                Some((end, written)) => {
                    self.is_reader_behind = true;
                    self.next = if end < bytes.len() { end + 1 } else { end };
                    (end, written, end == bytes.len(), bytes.get(end) != Some(&self.delimiter))
                }
                None => self.parse_cell(said_start)?,
            };
            if end - start > self.limits.bytes {
                return Err(Stopped { line: self.next_line, why: Why::Endless });
            }
            if bytes.get(start) == Some(&self.quote) {
                let breaks = line_breaks(&bytes[start..end]);
                if breaks > self.limits.lines {
                    return Err(Stopped { line: self.next_line, why: Why::Endless });
                }
                self.next_line += breaks;
            }
            let said_end = said_start + written;
            self.said[said_end] = self.delimiter;
            said_start = said_end + 1;
            self.cells.push(Cell { start, end, said_end });
            if record_end {
                self.end = end;
                if !at_end {
                    self.next = after_line_end(bytes, end);
                    self.next_line += 1;
                }
                self.after = self.next;
                return Ok(true);
            }
        }
    }

    /// Reads the cell that begins here if it is written as cells should be: what it says is put to `said_start`. Gives where it ends, and
    /// how much it says. Of all others nothing is told: the parser has to say what they are.
    fn read_sound_cell(&mut self, said_start: usize) -> Option<(usize, usize)> {
        let bytes = self.text.as_bytes();
        let start = self.next;
        if bytes.get(start) != Some(&self.quote) {
            let length = memchr::memchr3(self.delimiter, b'\r', b'\n', &bytes[start..]).unwrap_or(bytes.len() - start);
            self.make_room(said_start + length + 1);
            self.said[said_start..said_start + length].copy_from_slice(&bytes[start..start + length]);
            return Some((start + length, length));
        }
        let (mut from, mut written) = (start + 1, 0);
        loop {
            // Up to the next quote, which is said if it stands there twice.
            let quote = from + memchr::memchr(self.quote, &bytes[from..])?;
            let is_doubled = bytes.get(quote + 1) == Some(&self.quote);
            let until = quote + usize::from(is_doubled);
            let length = until - from;
            self.make_room(said_start + written + length + 1);
            self.said[said_start + written..][..length].copy_from_slice(&bytes[from..until]);
            written += length;
            if !is_doubled {
                let is_closed = bytes.get(quote + 1).is_none_or(|next| *next == self.delimiter || matches!(next, b'\r' | b'\n'));
                return is_closed.then_some((quote + 1, written));
            }
            if written > self.limits.bytes {
                return None;
            }
            from = quote + 2;
        }
    }

    /// Has the cell that begins here read by the parser. Gives where it ends, how much it says, and whether the text or the row ends with it.
    fn parse_cell(&mut self, said_start: usize) -> Result<(usize, usize, bool, bool), Stopped> {
        let bytes = self.text.as_bytes();
        let start = self.next;
        if std::mem::take(&mut self.is_reader_behind) {
            self.reader.reset();
            self.reader.read_field(if self.cells.is_empty() { b"\n" } else { std::slice::from_ref(&self.delimiter) }, &mut [0]);
        }
        self.make_room(said_start + CELL_BYTES_MAX + 1);
        let (mut result, mut read, mut written) = self.reader.read_field(&bytes[start..], &mut self.said[said_start..]);
        while result == ReadFieldResult::OutputFull && written <= self.limits.bytes {
            self.make_room(self.said.len() * 2);
            let (more, read_more, written_more) = self.reader.read_field(&bytes[start + read..], &mut self.said[said_start + written..]);
            (result, read, written) = (more, read + read_more, written + written_more);
        }
        let room = &mut self.said[said_start..];
        // A text that ends in a delimiter has one more cell, of which nothing is left to read.
        let at_end = start == bytes.len() || result == ReadFieldResult::InputEmpty;
        if result == ReadFieldResult::InputEmpty {
            (result, _, _) = self.reader.read_field(&[], &mut room[written..]);
        }
        let ReadFieldResult::Field { record_end } = result else {
            return Err(Stopped { line: self.next_line, why: Why::Endless });
        };
        self.next = start + read;
        let end = if at_end { self.next } else { self.next - 1 };
        let raw = &bytes[start..end];
        if raw.first() == Some(&self.quote) && raw.len() <= self.limits.bytes {
            let said = &room[..written];
            let doubled = said.iter().filter(|byte| **byte == self.quote).count();
            if raw.last() != Some(&self.quote) || raw.len() != said.len() + doubled + 2 {
                self.sound = false;
                if at_end && !is_closed(raw, self.quote) {
                    return Err(Stopped { line: self.next_line, why: Why::Unclosed });
                }
            }
        }
        Ok((end, written, at_end, record_end))
    }

    /// Reads the row that begins here if no quote is in its line: then it ends with its line, and its cells say what stands there.
    fn read_plain(&mut self) -> Result<bool, Stopped> {
        let bytes = self.text.as_bytes();
        let rest = &bytes[self.start..];
        let (mut from, mut length, mut longest) = (0, rest.len(), 0);
        for end in memchr::memchr3_iter(self.delimiter, b'\r', b'\n', rest).chain(std::iter::once(rest.len())) {
            self.cells.push(Cell { start: self.start + from, end: self.start + end, said_end: end });
            longest = longest.max(end - from);
            from = end + 1;
            if rest.get(end) != Some(&self.delimiter) {
                length = end;
                break;
            }
        }
        if !self.is_clear(self.start + length) {
            self.cells.clear();
            return Ok(false);
        }
        if longest > self.limits.bytes {
            return Err(Stopped { line: self.next_line, why: Why::Endless });
        }
        self.make_room(length + 1);
        self.said[..length].copy_from_slice(&rest[..length]);
        self.said[length] = self.delimiter;
        self.end = self.start + length;
        self.next = self.end;
        if self.end < bytes.len() {
            self.next = after_line_end(bytes, self.end);
            self.next_line += 1;
        }
        self.after = self.next;
        Ok(true)
    }

    /// Whether no quote stands in the row that ends there. Looks ahead of it, so that most rows need no look of their own.
    fn is_clear(&mut self, end: usize) -> bool {
        const AHEAD: usize = 1 << 14;
        if end > self.clear_until {
            let ahead = &self.text.as_bytes()[self.start..self.text.len().min(end + AHEAD)];
            self.clear_until = self.start + memchr::memchr(self.quote, ahead).unwrap_or(ahead.len());
        }
        end <= self.clear_until
    }

    /// Makes what the cells say so long at least.
    fn make_room(&mut self, length: usize) {
        if self.said.len() < length {
            self.said.resize(length.next_power_of_two(), 0);
        }
    }

    /// What a cell of the row says, its quotes taken away.
    pub fn cell(&self, index: usize) -> &str {
        let Cell { start, end, said_end } = self.cells[index];
        let said_start = if index == 0 { 0 } else { self.cells[index - 1].said_end + 1 };
        match (end - start) - (said_end - said_start) {
            0 => &self.text[start..end],
            2 if self.sound => &self.text[start + 1..end - 1],
            // The parser only takes ASCII characters away, so that what is left is text.
            _ => simdutf8::basic::from_utf8(&self.said[said_start..said_end]).unwrap_or_default(),
        }
    }

    /// Whether a cell of the row is quoted.
    pub fn is_quoted(&self, index: usize) -> bool {
        let Cell { start, end, .. } = self.cells[index];
        self.text.as_bytes()[start..end].first() == Some(&self.quote)
    }

    /// The row verbatim, without its line end.
    pub fn raw(&self) -> &'t str {
        &self.text[self.start..self.end]
    }

    /// The line end of the row; empty at the end of a text that lacks one.
    pub fn line_end(&self) -> &'t str {
        &self.text[self.end..self.after]
    }

    /// A hash of what all cells of the row say, which tells `a,b` and `ab,` apart.
    pub fn hash(&self) -> u128 {
        let said = &self.said[..self.cells.last().map_or(0, |cell| cell.said_end)];
        if memchr::memchr_iter(self.delimiter, said).count() + 1 == self.cells.len() {
            return xxh3_128_with_seed(said, self.seed);
        }
        // A cell says a delimiter, and no row without quotes is the same: where the cells end is hashed too.
        let ends = self.cells.iter().flat_map(|cell| (cell.said_end as u64).to_le_bytes());
        xxh3_128_with_seed(&said.iter().copied().chain(ends).collect::<Vec<u8>>(), self.seed.wrapping_add(1))
    }
}

/// Where the line goes on after the line end at `at`.
pub(super) fn after_line_end(bytes: &[u8], at: usize) -> usize {
    if bytes[at] == b'\r' && bytes.get(at + 1) == Some(&b'\n') { at + 2 } else { at + 1 }
}

/// Whether the quotes that a raw cell begins with are closed.
fn is_closed(raw: &[u8], quote: u8) -> bool {
    let mut at = 1;
    while let Some(found) = raw[at..].iter().position(|byte| *byte == quote) {
        if raw.get(at + found + 1) != Some(&quote) {
            return true;
        }
        at += found + 2;
    }
    false
}

/// What the job file, or an earlier run, says about the layout of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected<'a> {
    /// The delimiter of the job file.
    pub pinned: Option<u8>,
    /// The delimiter that earlier runs found.
    pub known: Option<u8>,
    /// The quote.
    pub quote: u8,
    /// The physical line of the header, from 1; 0 for a file without one.
    pub header: u64,
    /// The columns that the job needs.
    pub required: &'a [String],
    /// How many columns earlier runs found.
    pub width: Option<usize>,
    /// Whether rows that are too short are filled up.
    pub pads: bool,
    /// How the trailer is told.
    pub trailer: Option<&'a TrailerRule>,
}

/// How a file is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub delimiter: u8,
    pub quote: u8,
    /// The names of all columns, in the order of the file.
    pub names: Vec<String>,
    /// Which of the header's cells are quoted; none are in a file without one.
    pub quoted: Vec<bool>,
    /// The physical line of the header, or of the first row.
    pub header_line: u64,
    /// Where the rows begin.
    pub body: usize,
    /// The physical line on which they begin.
    pub body_line: u64,
    /// The line end of the header, or of the lines above it; `\n` if there is none to go by.
    pub line_end: String,
    /// Whether rows that are too short are filled up.
    pub pads: bool,
    /// How the trailer is told from the rows; nothing in a file without one.
    pub trailer: Option<TrailerRule>,
}

/// Why no layout was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoLayout {
    /// There is no row where the header should be.
    Empty { lines: u64 },
    /// The header has text after a closing quote, or an endless cell.
    Header { line: u64 },
    /// The file has another delimiter than the expected one.
    Delimiter { expected: u8, pinned: bool, seen: u8 },
}

impl Layout {
    /// Finds out how a text is laid out.
    ///
    /// A delimiter of an earlier run is kept as long as the header still has all required columns with it. Otherwise one is looked
    /// for, and must be the same.
    pub fn find(text: &str, expected: &Expected<'_>) -> Result<Layout, NoLayout> {
        let declared = separator_line(text);
        let (from, line) = match (expected.header, &declared) {
            (0 | 1, None) => (0, 1),
            (0 | 1, Some((_, after))) => (*after, 2),
            (header, _) => skip_lines(text, header - 1),
        };
        let delimiter = match (expected.pinned, declared, expected.known) {
            (Some(pinned), Some((declared, _)), _) if pinned != declared => {
                return Err(NoLayout::Delimiter { expected: pinned, pinned: true, seen: declared });
            }
            (Some(pinned), ..) => pinned,
            (None, Some((declared, _)), Some(known)) if known != declared => {
                return Err(NoLayout::Delimiter { expected: known, pinned: false, seen: declared });
            }
            (None, Some((declared, _)), _) => declared,
            (None, None, Some(known)) if Trial::of(text, from, line, known, expected).is_some_and(|trial| trial.fits(expected)) => known,
            (None, None, known) => {
                let trials = DELIMITERS.iter().filter_map(|delimiter| Trial::of(text, from, line, *delimiter, expected));
                // `max_by_key` takes the last of equals: the likeliest delimiter comes last.
                let best = trials.filter(|trial| trial.width > 1).collect::<Vec<_>>().into_iter().rev().max_by_key(|trial| trial.score());
                match (best, known) {
                    (Some(best), Some(known)) if best.delimiter != known => {
                        return Err(NoLayout::Delimiter { expected: known, pinned: false, seen: best.delimiter });
                    }
                    (Some(best), _) => best.delimiter,
                    (None, known) => known.unwrap_or(DELIMITERS[0]),
                }
            }
        };
        let quote = expected.quote;
        let mut rows = Rows::new(text, from, line, delimiter, quote);
        match rows.advance() {
            Ok(true) if rows.sound => {}
            Ok(true) => return Err(NoLayout::Header { line: rows.line }),
            Ok(false) => return Err(NoLayout::Empty { lines: line_breaks(text.as_bytes()) }),
            Err(swallowed) => return Err(NoLayout::Header { line: swallowed.line }),
        }
        let width = rows.cells.len();
        let line_end = if rows.line_end().is_empty() { first_line_end(text) } else { rows.line_end() }.to_owned();
        let header_line = rows.line;
        let (pads, trailer) = (expected.pads, expected.trailer.cloned());
        Ok(if expected.header == 0 {
            let names = (1..=width).map(|number| number.to_string()).collect();
            Layout { delimiter, quote, names, quoted: vec![false; width], header_line, body: from, body_line: line, line_end, pads, trailer }
        } else {
            let names = (0..width).map(|index| rows.cell(index).to_owned()).collect();
            let quoted = (0..width).map(|index| rows.is_quoted(index)).collect();
            Layout { delimiter, quote, names, quoted, header_line, body: rows.next, body_line: rows.next_line, line_end, pads, trailer }
        })
    }

    /// The first column with this name.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// A walk over the rows.
    pub fn rows<'t>(&self, text: &'t str) -> Rows<'t> {
        let mut rows = Rows::new(text, self.body, self.body_line, self.delimiter, self.quote);
        rows.width_min = if self.pads { self.names.len() } else { 0 };
        rows.seed = seed_of_rows(self.names.iter().map(String::as_str));
        rows.trailer_rule.clone_from(&self.trailer);
        rows
    }

    /// A walk that only goes to rows whose beginnings are known: none of them is the trailer.
    pub fn rows_alone<'t>(&self, text: &'t str) -> Rows<'t> {
        Rows { trailer_rule: None, ..self.rows(text) }
    }

    /// A walk over a piece of the text: over the rows that begin at `from` or after it, and before `until`. Lines are counted from `line`.
    pub fn rows_between<'t>(&self, piece: &'t str, (from, until): (usize, usize), line: u64, limits: Limits) -> Rows<'t> {
        Rows { until, limits, ..Rows::new(piece, from, line, self.delimiter, self.quote) }
    }

    /// Walks over the rows of up to `stretches` stretches of the text at once. Gives what `walk` makes of each, in the order of
    /// the text, with the number that is to be added to the lines of its rows. `walk` goes to the end of the walk that it gets.
    pub fn walks<'t, T: Send, E: Send>(
        &self,
        text: &'t str,
        stretches: usize,
        walk: impl Fn(&mut Rows<'t>) -> Result<T, E> + Sync,
    ) -> Result<Vec<(u64, T)>, E> {
        self.walks_between(text, &line_starts(text, self.body, self.quote, stretches, STRETCH_BYTES_MIN), walk)
    }

    /// The walks of the stretches between these beginnings of lines.
    fn walks_between<'t, T: Send, E: Send>(
        &self,
        text: &'t str,
        cuts: &[usize],
        walk: impl Fn(&mut Rows<'t>) -> Result<T, E> + Sync,
    ) -> Result<Vec<(u64, T)>, E> {
        self.walk_spans(text, (self.body, self.body_line, text.len()), if self.trailer.is_some() { &[] } else { cuts }, walk).map(|window| window.walked)
    }

    /// Walks over a window of a text: the rows that begin before `until`, the first one on this line. Gives what [`Layout::walks`] does, and where
    /// the walk ended, with the line that begins there. There is no trailer.
    pub fn walk_window<'t, T: Send, E: Send>(
        &self,
        text: &'t str,
        (line, until): (u64, usize),
        stretches: usize,
        walk: impl Fn(&mut Rows<'t>) -> Result<T, E> + Sync,
    ) -> Result<WalkedWindow<T>, E> {
        self.walk_spans(text, (0, line, until), &line_starts(&text[..until], 0, self.quote, stretches, STRETCH_BYTES_MIN), walk)
    }

    fn walk_spans<'t, T: Send, E: Send>(
        &self,
        text: &'t str,
        (from, line, until): (usize, u64, usize),
        cuts: &[usize],
        walk: impl Fn(&mut Rows<'t>) -> Result<T, E> + Sync,
    ) -> Result<WalkedWindow<T>, E> {
        let rows_of = |from: usize, line: u64, until: usize| {
            let mut rows = self.rows(text);
            (rows.next, rows.clear_until, rows.next_line, rows.until) = (from, from, line, until);
            rows
        };
        let whole = || {
            let mut rows = rows_of(from, line, until);
            let made = walk(&mut rows)?;
            Ok(WalkedWindow { walked: vec![(0, made)], next: rows.next, next_line: rows.next_line })
        };
        if cuts.is_empty() {
            return whole();
        }
        let starts = std::iter::once(from).chain(cuts.iter().copied());
        let spans: Vec<(usize, usize)> = starts.zip(cuts.iter().copied().chain([until])).collect();
        let of_span = |(start, end): (usize, usize)| {
            let mut rows = rows_of(start, if start > from { 0 } else { line }, end);
            let made = walk(&mut rows).ok()?;
            // A row that began before the cut and ends after it: the next stretch began in the middle of a cell.
            (rows.next == end || end == until).then_some((rows.next, rows.next_line, made))
        };
        let walked: Vec<Option<(usize, u64, T)>> = spans.into_par_iter().map(of_span).collect();
        let (mut line, mut next) = (0, from);
        let of_all: Option<Vec<(u64, T)>> = walked
            .into_iter()
            .map(|walked| {
                let (after, lines, made) = walked?;
                let before = line;
                line += lines;
                next = after;
                Some((before, made))
            })
            .collect();
        // What stops a walk, and where, is told by one that sees the text in its order.
        of_all.map_or_else(whole, |walked| Ok(WalkedWindow { walked, next, next_line: line }))
    }
}

/// What was made of a window of a text.
pub(super) struct WalkedWindow<T> {
    /// What was made of each stretch, with the number that is to be added to the lines of its rows.
    pub walked: Vec<(u64, T)>,
    /// Where the walk ended.
    pub next: usize,
    /// The line that begins there.
    pub next_line: u64,
}

/// A stretch of a text is at least so long.
const STRETCH_BYTES_MIN: usize = 1 << 20;

/// Where a text is cut into stretches of about one length: each the beginning of a line, ascending. A line end after an odd number of
/// quotes is taken for one within a cell.
fn line_starts(text: &str, body: usize, quote: u8, stretches: usize, length_min: usize) -> Vec<usize> {
    let bytes = text.as_bytes();
    let length = ((bytes.len() - body) / stretches.max(1)).max(length_min);
    let mut starts: Vec<usize> = Vec::new();
    let (mut counted_until, mut is_within) = (body, false);
    for near in (1..stretches).map(|number| body + number * length) {
        let Some(between) = bytes.get(counted_until.min(near)..near) else { break };
        is_within ^= is_odd(quote, between);
        let Some(end) = line_end_outside(bytes, near, quote, &mut is_within) else { break };
        let start = after_line_end(bytes, end);
        counted_until = end;
        if start < bytes.len() && starts.last().is_none_or(|last| *last < start) {
            starts.push(start);
        }
    }
    starts
}

/// Whether there is an odd number of quotes in it.
pub(super) fn is_odd(quote: u8, text: &[u8]) -> bool {
    memchr::memchr_iter(quote, text).count() % 2 == 1
}

/// The first line end from this place on that is not within quotes, if `is_within` says whether the place is; afterwards it says it of that line end.
pub(super) fn line_end_outside(text: &[u8], from: usize, quote: u8, is_within: &mut bool) -> Option<usize> {
    let mut from = from;
    loop {
        let end = from + memchr::memchr2(b'\r', b'\n', text.get(from..)?)?;
        *is_within ^= is_odd(quote, &text[from..end]);
        if !*is_within {
            return Some(end);
        }
        from = end + 1;
    }
}

/// Excel's first line `sep=;`: the delimiter and where the next line begins.
fn separator_line(text: &str) -> Option<(u8, usize)> {
    let bytes = text.as_bytes();
    let (word, rest) = bytes.split_at_checked(4)?;
    let [delimiter, line_end @ ..] = rest else { return None };
    let is_line = word.eq_ignore_ascii_case(b"sep=") && delimiter.is_ascii() && !matches!(delimiter, b'\r' | b'\n' | b'"');
    match line_end.first() {
        Some(b'\r' | b'\n') if is_line => Some((*delimiter, after_line_end(bytes, 5))),
        _ => None,
    }
}

/// The first line end of a text, `\n` if it has none.
fn first_line_end(text: &str) -> &str {
    match text.bytes().position(|byte| matches!(byte, b'\r' | b'\n')) {
        Some(at) => &text[at..after_line_end(text.as_bytes(), at)],
        None => "\n",
    }
}

/// Where the physical line after `count` lines begins, and its number; the end of a text that is shorter.
fn skip_lines(text: &str, count: u64) -> (usize, u64) {
    let bytes = text.as_bytes();
    let (mut at, mut line) = (0, 1);
    while line <= count && at < bytes.len() {
        match bytes[at..].iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            Some(found) => at = after_line_end(bytes, at + found),
            None => at = bytes.len(),
        }
        line += 1;
    }
    (at, line)
}

/// The first rows of a text, read with one delimiter.
#[derive(Clone, Copy, Debug)]
struct Trial {
    delimiter: u8,
    width: usize,
    required_found: usize,
    /// Rows as wide as the first, in a thousand.
    even: usize,
}

impl Trial {
    fn of(text: &str, from: usize, line: u64, delimiter: u8, expected: &Expected<'_>) -> Option<Trial> {
        let cut = text.floor_char_boundary(from.saturating_add(SAMPLE_BYTES));
        let is_cut = cut < text.len();
        let mut rows = Rows::new(&text[..cut], from, line, delimiter, expected.quote);
        if !matches!(rows.advance(), Ok(true)) {
            return None;
        }
        let width = rows.cells.len();
        let is_there = |name: &&String| match expected.header {
            0 => name.parse().is_ok_and(|number: usize| (1..=width).contains(&number)),
            _ => (0..width).any(|index| rows.cell(index) == name.as_str()),
        };
        let required_found = expected.required.iter().filter(is_there).count();
        let (mut seen, mut even): (usize, usize) = (0, 0);
        while seen < SAMPLE_ROWS && matches!(rows.advance(), Ok(true)) {
            if is_cut && rows.after == cut {
                break;
            }
            seen += 1;
            even += usize::from(rows.sound && rows.cells.len() == width);
        }
        Some(Trial { delimiter, width, required_found, even: (even * 1000).checked_div(seen).unwrap_or(1000) })
    }

    fn score(&self) -> (usize, usize, usize) {
        (self.required_found, self.even, self.width)
    }

    fn fits(&self, expected: &Expected<'_>) -> bool {
        let has_width = expected.header != 0 || expected.width.is_none_or(|width| width == self.width);
        self.required_found == expected.required.len() && has_width
    }
}

/// Wanted addresses, found in one walk over the rows.
///
/// # Design
/// The index is over what is wanted, not over the file: its size is that of the changes.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    groups: Vec<AddressGroup>,
}

/// The addresses over the same columns.
#[derive(Debug)]
struct AddressGroup {
    columns: Vec<usize>,
    /// By what the columns hold, the numbers of those who want that row.
    wanted: HashMap<Vec<u8>, Vec<usize>>,
}

impl Addresses {
    /// Adds one address. False if it names a column that the file does not have, or none at all: it will not be found.
    pub fn want(&mut self, layout: &Layout, address: &Address, number: usize) -> bool {
        let columns: Option<Vec<usize>> = address.iter().map(|part| layout.column(&part.column)).collect();
        let Some(columns) = columns.filter(|columns| !columns.is_empty()) else { return false };
        let mut key = Vec::new();
        for part in address {
            push_part(&mut key, part.raw.text.as_deref().unwrap_or_default());
        }
        let group = match self.groups.iter().position(|group| group.columns == columns) {
            Some(group) => group,
            None => {
                self.groups.push(AddressGroup { columns, wanted: HashMap::new() });
                self.groups.len() - 1
            }
        };
        self.groups[group].wanted.entry(key).or_default().push(number);
        true
    }

    /// Calls `found` with the number of each address that the row has. The row must have all columns of the layout. `key` is room
    /// that is used again for each row.
    pub fn at(&self, rows: &Rows<'_>, key: &mut Vec<u8>, mut found: impl FnMut(usize)) {
        for AddressGroup { columns, wanted } in &self.groups {
            key.clear();
            for column in columns {
                push_part(key, rows.cell(*column));
            }
            for number in wanted.get(key.as_slice()).into_iter().flatten() {
                found(*number);
            }
        }
    }
}

/// Adds one part of a key such that no two lists of parts give one key.
fn push_part(key: &mut Vec<u8>, text: &str) {
    key.extend_from_slice(&(text.len() as u64).to_le_bytes());
    key.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn walk(text: &str) -> Result<Vec<(u64, Vec<String>)>, Stopped> {
        let mut rows = Rows::new(text, 0, 1, b',', b'"');
        let mut all = Vec::new();
        while rows.advance()? {
            all.push((rows.line, (0..rows.cells.len()).map(|index| rows.cell(index).to_owned()).collect()));
        }
        Ok(all)
    }

    #[test]
    fn every_row_knows_its_physical_line() {
        for (text, lines) in [
            ("a,b\nc,d\n", vec![1, 2]),
            ("a,b\r\nc,d\r\n\r\ne,f", vec![1, 2, 4]),
            ("\n\na,b\n\n\nc,d", vec![3, 6]),
            ("a,\"x\r\ny\"\r\nb,c\r\n", vec![1, 3]),
            ("a,\"x\ny\nz\"\rb,c\r\nd,e\n", vec![1, 4, 5]),
            ("", vec![]),
            ("\r\n\r\n", vec![]),
        ] {
            let seen: Vec<u64> = walk(text).expect("rows").into_iter().map(|(line, _)| line).collect();
            assert_eq!(seen, lines, "{text:?}");
        }
    }

    #[test]
    fn cells_say_what_stands_between_their_quotes() {
        let text = "\"a\",\"b\"\"c\",,\"\", d ,5\" pipe,\"\"\"\",\"Müller, Hans\"";
        let cells = walk(text).expect("rows").remove(0).1;
        assert_eq!(cells, ["a", "b\"c", "", "", " d ", "5\" pipe", "\"", "Müller, Hans"]);
    }

    #[test]
    fn text_after_a_closing_quote_is_not_sound() {
        for (text, sound) in [
            ("\"a\",b", true),
            ("\"a\"b,c", false),
            ("\"5\" pipe\",b", false),
            ("\"a\"\"\",b", true),
            ("\"\",b", true),
            ("a\"b\",c", true),
            ("\"a\" ,b", false),
            ("1,\"x\n2,\"y\"\n", false),
        ] {
            let mut rows = Rows::new(text, 0, 1, b',', b'"');
            assert_eq!(rows.advance().map(|_| rows.sound), Ok(sound), "{text:?}");
        }
    }

    #[test]
    fn a_lost_quote_stops_where_the_cell_begins() {
        let swallowed = |text: &str| walk(text).expect_err("swallowed");
        assert_eq!(swallowed("a,b\n1,2\n3,\"x\n4,y\n"), Stopped { line: 3, why: Why::Unclosed });
        assert_eq!(swallowed("a,\"b\"\""), Stopped { line: 1, why: Why::Unclosed });
        assert_eq!(swallowed("a,b\n1,\""), Stopped { line: 2, why: Why::Unclosed });
        let many_lines = format!("a,b\n1,\"{}\"\n", "\n".repeat(101));
        assert_eq!(swallowed(&many_lines), Stopped { line: 2, why: Why::Endless });
        let long = format!("a,b\n\n1,\"x\ny\",\"{}", "z".repeat(CELL_BYTES_MAX + 9));
        assert_eq!(swallowed(&long), Stopped { line: 4, why: Why::Endless });
        let longest = format!("a,{}\n", "z".repeat(CELL_BYTES_MAX));
        assert!(walk(&longest).is_ok());
        let too_long = format!("a,{}\n", "z".repeat(CELL_BYTES_MAX + 1));
        assert!(walk(&too_long).is_err());
    }

    #[test]
    fn the_hash_knows_where_cells_end() {
        let hash = |text: &str| {
            let mut rows = Rows::new(text, 0, 1, b',', b'"');
            assert_eq!(rows.advance(), Ok(true));
            rows.hash()
        };
        assert_ne!(hash("a,b"), hash("ab,"));
        assert_ne!(hash("a,b"), hash("a,b,"));
        assert_ne!(hash("\"a,b\",c"), hash("a,\"b,c\""));
        assert_ne!(hash("\"a,b\",c"), hash("a,b,c"));
        assert_eq!(hash("a,b\r\n"), hash("\"a\",\"b\""));
    }

    fn layout(text: &str, expected: Expected<'_>) -> Result<Layout, NoLayout> {
        Layout::find(text, &Expected { quote: b'"', ..expected })
    }

    #[test]
    fn the_delimiter_is_found_by_even_rows() {
        let required = ["Betrag".to_owned()];
        for (text, delimiter) in [
            ("a,b\n1,2\n", b','),
            ("Name;Betrag\nMüller, Hans;1,50\nMeier, Eva;2,00\n", b';'),
            ("a\tb\n1\t2,5\n", b'\t'),
            ("a|b\n1|\"x;y,z\"\n", b'|'),
            ("a;b\n\"1;5\";\"x\ny\"\n", b';'),
            ("name\nMüller\nMeier\n", b','),
            ("a;b\n", b';'),
        ] {
            assert_eq!(layout(text, Expected { header: 1, ..Expected::default() }).map(|l| l.delimiter), Ok(delimiter), "{text:?}");
        }
        // The header of two columns under both delimiters: the required one decides.
        let text = "Betrag;Name, Vorname\n1,5;x\n2,5;y\n";
        assert_eq!(layout(text, Expected { header: 1, required: &required, ..Expected::default() }).map(|l| l.delimiter), Ok(b';'));
    }

    #[test]
    fn a_delimiter_that_flips_stops() {
        let required = ["a".to_owned(), "b".to_owned()];
        let known = |known| Expected { header: 1, known: Some(known), required: &required, ..Expected::default() };
        assert_eq!(layout("a;b\n1;2\n", known(b',')), Err(NoLayout::Delimiter { expected: b',', pinned: false, seen: b';' }));
        assert_eq!(layout("a;b\n1;2,3\n2;3,4\n", known(b';')).map(|l| l.delimiter), Ok(b';'));
        assert_eq!(layout("sep=;\na;b\n", known(b',')), Err(NoLayout::Delimiter { expected: b',', pinned: false, seen: b';' }));
        let pinned = Expected { header: 1, pinned: Some(b','), ..Expected::default() };
        assert_eq!(layout("sep=;\na;b\n", pinned), Err(NoLayout::Delimiter { expected: b',', pinned: true, seen: b';' }));
    }

    #[test]
    fn the_header_is_where_the_job_says() {
        let names = |text: &str, header| layout(text, Expected { header, ..Expected::default() }).map(|l| (l.names.join("+"), l.header_line, l.body_line));
        let found = |names: &str, header_line, body_line| Ok((names.to_owned(), header_line, body_line));
        assert_eq!(names("a,b\n1,2\n", 1), found("a+b", 1, 2));
        assert_eq!(names("\r\na,b\r\n1,2\r\n", 1), found("a+b", 2, 3));
        assert_eq!(names("Report, of \"today\n\nid,name\n1,2\n", 3), found("id+name", 3, 4));
        assert_eq!(names("sep=;\r\na;b\r\n1;2\r\n", 1), found("a+b", 2, 3));
        assert_eq!(names("sep=;\r\na;b\r\n1;2\r\n", 2), found("a+b", 2, 3));
        assert_eq!(names("SEP=\t\na,b\tc\n", 0), found("1+2", 2, 2));
        assert_eq!(names("x,y,z\n", 0), found("1+2+3", 1, 1));
        assert_eq!(names("\"a\nb\",c\n1,2\n", 1), found("a\nb+c", 1, 3));
        assert_eq!(names("", 1), Err(NoLayout::Empty { lines: 0 }));
        assert_eq!(names("\n\n", 1), Err(NoLayout::Empty { lines: 2 }));
        assert_eq!(names("a,b\n1,2\n", 9), Err(NoLayout::Empty { lines: 2 }));
        assert_eq!(names("\"a\"x,b\n1,2\n", 1), Err(NoLayout::Header { line: 1 }));
    }

    proptest! {
        /// The spans and what they say, against the `csv` crate, on files full of quotes and line ends.
        #[test]
        fn the_walk_agrees_with_the_csv_crate(text in "[ab,\"\r\n;ü]{0,60}") {
            let Ok(walked) = walk(&text) else { return Ok(()) };
            let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
            let read: Vec<Vec<String>> = reader.records().map(|row| row.expect("text").iter().map(str::to_owned).collect()).collect();
            let cells: Vec<Vec<String>> = walked.into_iter().map(|(_, cells)| cells).collect();
            prop_assert_eq!(cells, read);
        }

        /// What a glance tells is what the walk finds, and a row that is gone to is the one that the walk came to.
        #[test]
        fn a_glance_tells_what_the_walk_finds(text in "[ab,\"\r\n]{0,60}", width in 1..4_usize, backwards: bool) {
            let (mut glances, mut walk) = (Rows::new(&text, 0, 1, b',', b'"'), Rows::new(&text, 0, 1, b',', b'"'));
            let mut passed = Vec::new();
            loop {
                let glance = glances.advance_at_a_glance(width);
                let found = walk.advance();
                match (glance, found) {
                    (Ok(Glance::End), Ok(false)) => break,
                    (Ok(Glance::Whole(hash)), Ok(true)) => {
                        prop_assert!(walk.sound && walk.cells.len() == width);
                        prop_assert_eq!(hash, walk.hash());
                    }
                    (Ok(Glance::Row), Ok(true)) => prop_assert_eq!(&glances.cells, &walk.cells),
                    (Err(glance), Err(found)) => {
                        prop_assert_eq!(glance, found);
                        break;
                    }
                    (glance, found) => prop_assert!(false, "{:?} is not {:?}", glance, found),
                }
                prop_assert_eq!((glances.line, glances.start, glances.end, glances.after), (walk.line, walk.start, walk.end, walk.after));
                passed.push((walk.start, walk.hash(), walk.sound, walk.cells.clone()));
            }
            if backwards {
                passed.reverse();
            }
            for (start, hash, sound, cells) in passed {
                prop_assert_eq!(glances.go_to(start), Ok(true));
                prop_assert_eq!((glances.start, glances.hash(), glances.sound, &glances.cells), (start, hash, sound, &cells));
            }
        }

        /// Walks of stretches that are cut at any beginning of a line, within cells too, are one walk over the whole.
        #[test]
        fn stretches_are_walked_as_the_whole_is(text in "[ab,\"\r\n]{0,60}", stretches in 1..8_usize) {
            let text = format!("id,b\n{text}");
            let layout = Layout::find(&text, &Expected { pinned: Some(b','), quote: b'"', header: 1, ..Expected::default() }).expect("a header");
            let rows_of = |rows: &mut Rows<'_>| {
                let mut all = Vec::new();
                while rows.advance()? {
                    all.push((rows.line, rows.start, rows.raw().to_owned(), rows.hash()));
                }
                Ok::<_, Stopped>(all)
            };
            let cuts = line_starts(&text, layout.body, layout.quote, stretches, 1);
            let joined = layout.walks_between(&text, &cuts, rows_of).map(|walked| {
                let shifted = walked.into_iter().flat_map(|(lines, rows)| rows.into_iter().map(move |(line, at, raw, hash)| (line + lines, at, raw, hash)));
                shifted.collect::<Vec<_>>()
            });
            prop_assert_eq!(joined, rows_of(&mut layout.rows(&text)));
        }

        /// The rows, the line ends and the blank lines together are the whole text.
        #[test]
        fn the_spans_cover_the_text(text in "[ab,\"\r\n]{0,60}") {
            let mut rows = Rows::new(&text, 0, 1, b',', b'"');
            let mut at = 0;
            while let Ok(true) = rows.advance() {
                prop_assert!(text[at..rows.start].bytes().all(|byte| byte == b'\r' || byte == b'\n'));
                prop_assert_eq!(rows.line, 1 + line_breaks(&text.as_bytes()[..rows.start]));
                prop_assert_eq!(rows.cells.first().map(|cell| cell.start), Some(rows.start));
                for pair in rows.cells.windows(2) {
                    prop_assert_eq!(&text[pair[0].end..pair[1].start], ",");
                }
                prop_assert_eq!(rows.cells.last().map(|cell| cell.end), Some(rows.end));
                at = rows.after;
            }
        }
    }
}
