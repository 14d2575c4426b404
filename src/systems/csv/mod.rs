//! The `csv` kind: a text file of rows, read as a whole and replaced as a whole.
//!
//! How a file is spelled (encoding, delimiter) is pinned in the job file, or found at first contact, handed on as evidence and
//! expected from then on: a file that is spelled otherwise stops the run instead of becoming a thousand edits. Every cell
//! is text; an empty cell is the empty text, never null.
//!
//! A write changes the cells that it names and nothing else, and is one replacement of the file: either all changes that can
//! be made are made, or none. A text that looks like a formula is written as it is, because a sign before it would come back as an edit.
//!
//! # Design
//! - Rows that cannot be read for certain (too few or too many cells, text after a closing quote) are refused with their place,
//!   and stay in the file. What makes the *rest* of the file uncertain (a lost quote, a cut end) stops the run.
//! - Columns are found by the names in the header, verbatim. Columns that the job does not need are noted when they come
//!   or go. In a file without a header the number of columns is the only thing that tells that one was inserted, so there it stops the run.
//! - An encoding in which two spellings stand for one character (some East Asian ones) is only written if the whole file comes
//!   back from it to the byte.
//! - A file that was pulled a moment ago is held for the write; the write proves, to the byte, that it still is that file.
//! - A second set that was decided on the same snapshot is stale as a whole: the file is no longer what it was decided on.

mod edit;
mod long;
pub mod places;
mod rows;
mod sums;
mod text;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use encoding_rs::{Encoding, UTF_8};
use polars::prelude::{StringChunked, StringChunkedBuilder};
use rayon::prelude::*;

use crate::change::Outcome;
use crate::diagnostic::{Place, did_you_mean};
use crate::disk::{self, Hasher};
use crate::error::{Error, Remedy};
use crate::frame::{ControlSum, Evidence, Pulled, Quarantined, RawColumns, Unread, gathered, positions};
use crate::job::CsvSettings;
use crate::systems::file::{NOTHING, SourceFile};
use crate::systems::{Description, Opening, System, Wanted, WriteSet, changed_since_read, missing_columns, passing_if_gone, shown};

use self::edit::Edited;
use self::long::{Halt, LongText, Text, Unreadable, Walked, walk_over};
use self::rows::{Addresses, CELL_BYTES_MAX, CELL_LINES_MAX, Expected, Glance, Layout, NoLayout, Rows, Stopped, SumRule, TrailerRule, Why};
use self::sums::{Amount, Sum};
use self::text::Decoded;

/// Names of [`Evidence::found`].
const ENCODING: &str = "encoding";
const DELIMITER: &str = "delimiter";
const HEADER: &str = "header";

/// How many characters of a refused row are shown.
const RAW_CHARS_MAX: usize = 200;

/// How many lines a note names.
const LINES_TOLD_MAX: usize = 5;

/// A read-back of more addresses than this delivers all rows.
const ADDRESSES_MAX: usize = 1_000_000;

/// A CSV file.
#[derive(Debug)]
pub struct CsvFile {
    file: SourceFile,
    /// The name of the system.
    system: String,
    encoding: Option<&'static Encoding>,
    delimiter: Option<u8>,
    quote: u8,
    header: u64,
    /// The columns that the job needs, each once.
    required: Vec<String>,
    known: BTreeMap<String, String>,
    pads: bool,
    trailer: Option<TrailerRule>,
    /// The digest of the last pull.
    pulled_sha256: Option<String>,
    /// The file as it was pulled last, for a write soon after.
    held: Option<Held>,
    /// What the next write comes to, if it was worked out before.
    staged: Option<Staged>,
    /// A longer file is read in windows.
    held_bytes_max: usize,
}

/// What a write comes to.
#[derive(Debug)]
struct Staged {
    /// The numbers of its changes.
    numbers: Vec<u32>,
    /// What the file will hold; nothing if no change of the set changes any byte.
    new: Option<Vec<u8>>,
    outcomes: Vec<Outcome>,
}

/// A file as it was pulled.
#[derive(Debug)]
struct Held {
    /// When it was changed last.
    stamp: disk::Stamp,
    rows: Arc<LateRows>,
}

/// A longer file is never in memory as a whole, if it is UTF-8 and has no trailer.
const HELD_BYTES_MAX: usize = 256 << 20;

/// In so much of a long file its layout is found.
const HEAD_BYTES: usize = 1 << 20;

/// The byte order mark of UTF-8.
const UTF8_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// All cells of a file that is not longer are read at first contact while it is walked over.
const AT_ONCE_BYTES_MAX: u64 = 16 << 20;

impl CsvFile {
    /// Opens the file: its settings are checked and it is there. It is read by [`System::pull`].
    ///
    /// # Errors
    /// `MendJob` if the settings name an encoding, delimiter or quote that cannot be one, or a reference that cannot be
    /// resolved; `GiveAccess` if there is no such file.
    pub fn open(settings: &CsvSettings, opening: &Opening<'_>) -> Result<CsvFile, Error> {
        let name = &opening.spec.name;
        let mend = |message: String| Error::new(Remedy::MendJob, Place::of(opening.job), message).seen("nothing was read or written");
        let encoding = match &settings.encoding {
            None => None,
            Some(label) => match Encoding::for_label_no_replacement(label.as_bytes()) {
                Some(encoding) => Some(encoding),
                None => {
                    return Err(mend(format!("system `{name}`: there is no encoding `{label}`"))
                        .hint("common ones are `utf-8`, `windows-1252` and `utf-16le`; without `encoding` it is found"));
                }
            },
        };
        let single = |word: &str, character: Option<char>| match character.map(u8::try_from) {
            None => Ok(None),
            Some(Ok(byte)) if byte.is_ascii() && !matches!(byte, b'\r' | b'\n' | 0) => Ok(Some(byte)),
            Some(_) => Err(mend(format!("system `{name}`: the {word} must be one ASCII character, and no line end"))),
        };
        let delimiter = single("delimiter", settings.delimiter)?;
        let quote = single("quote", settings.quote)?.unwrap_or(b'"');
        if delimiter == Some(quote) {
            return Err(mend(format!("system `{name}`: the delimiter and the quote are the same character")));
        }
        let file = SourceFile::find(&settings.file(), opening)?;
        let mut seen = BTreeSet::new();
        let required = opening.columns.iter().filter(|column| seen.insert(column.as_str())).cloned().collect();
        let trailer = settings.trailer.as_ref().map(|trailer| TrailerRule {
            starts: trailer.starts.clone(),
            count_column: trailer.count_column.and_then(|column| usize::try_from(column).ok()?.checked_sub(1)),
            sums: trailer
                .sums
                .iter()
                .filter_map(|(of, column)| Some(SumRule { column: usize::try_from(*column).ok()?.checked_sub(1)?, of: of.clone() }))
                .collect(),
            mark: trailer.decimal.unwrap_or('.'),
        });
        Ok(CsvFile {
            file,
            system: name.clone(),
            encoding,
            delimiter,
            quote,
            header: settings.header,
            required,
            known: opening.known.clone(),
            pads: settings.pads_short_rows,
            trailer,
            pulled_sha256: None,
            held: None,
            staged: None,
            held_bytes_max: HELD_BYTES_MAX,
        })
    }

    fn place(&self) -> Place {
        self.file.place()
    }

    fn decode<'b>(&self, bytes: &'b [u8]) -> Result<Decoded<'b>, Error> {
        text::decode(bytes, self.encoding, self.known.get(ENCODING).map(String::as_str), &self.place())
    }

    /// The columns that an earlier run found.
    fn known_header(&self) -> Option<Vec<String>> {
        serde_json::from_str(self.known.get(HEADER)?).ok()
    }

    fn layout(&self, text: &str) -> Result<Layout, Error> {
        let known_delimiter = self.known.get(DELIMITER).and_then(|known| known.bytes().next());
        let expected = Expected {
            pinned: self.delimiter,
            known: known_delimiter,
            quote: self.quote,
            header: self.header,
            required: &self.required,
            width: self.known_header().map(|names| names.len()),
            pads: self.pads,
            trailer: self.trailer.as_ref(),
        };
        Layout::find(text, &expected).map_err(|problem| match problem {
            NoLayout::Empty { lines: 0 } => {
                Error::new(Remedy::Look, self.place(), "the file is empty").seen(NOTHING).hint("export it again: not even a header is there")
            }
            NoLayout::Empty { lines } => Error::new(Remedy::Look, self.place(), format!("there is no header on line {} or below", self.header.max(1)))
                .seen(format!("the file has {lines} lines"))
                .seen(NOTHING)
                .hint("export the file again, or say with `header` on which line its header is"),
            NoLayout::Header { line } => Error::new(Remedy::Look, self.place().line(line), "the header cannot be read: its quotes are not in order")
                .seen(NOTHING)
                .hint("export the file again, or say with `header` on which line its header is"),
            NoLayout::Delimiter { expected, pinned, seen } => {
                let who = if pinned { "the job file says" } else { "earlier runs found" };
                Error::new(Remedy::Look, self.place(), "the delimiter of the file is not the expected one")
                    .seen(format!("{who} {}, now it is {}", shown_delimiter(expected), shown_delimiter(seen)))
                    .seen(NOTHING)
                    .hint("export the file as before; if the new one is right, say so with `delimiter` in the job file")
            }
        })
    }

    /// The required columns with their places in the header.
    fn required_columns(&self, layout: &Layout) -> Result<Vec<usize>, Error> {
        let (mut columns, mut missing) = (Vec::with_capacity(self.required.len()), Vec::new());
        for name in &self.required {
            let mut at = layout.names.iter().enumerate().filter(|(_, known)| *known == name).map(|(index, _)| index);
            match (at.next(), at.next()) {
                (Some(column), None) => columns.push(column),
                (Some(_), Some(_)) => {
                    let place = self.place().line(layout.header_line);
                    return Err(Error::new(Remedy::Look, place, format!("the header has the column `{}` more than once", shown(name)))
                        .seen(NOTHING)
                        .hint("which of them is meant cannot be told: rename one of them in the file"));
                }
                (None, _) => missing.push(name.clone()),
            }
        }
        let there: Vec<String> = layout.names.iter().map(|name| shown(name)).collect();
        match missing_columns(self.file.origin(), &self.system, &missing, &there) {
            None => Ok(columns),
            Some(mut error) => {
                for (diagnostic, name) in error.diagnostics.iter_mut().zip(&missing) {
                    diagnostic.place.line = Some(layout.header_line);
                    diagnostic.seen.push(NOTHING.to_owned());
                    diagnostic.hint = self.renamed(name, layout).or(diagnostic.hint.take());
                }
                Err(error)
            }
        }
    }

    /// The column that a missing one of an earlier run is most likely called now.
    fn renamed(&self, missing: &str, layout: &Layout) -> Option<String> {
        let known = self.known_header().filter(|_| self.header > 0)?;
        let is_new = |name: &&String| !known.contains(name);
        let before = known.iter().position(|name| name == missing)?;
        if let Some(name) = layout.names.get(before).filter(is_new) {
            return Some(format!("did you mean `{}`? it stands where `{}` stood", shown(name), shown(missing)));
        }
        let new: Vec<&String> = layout.names.iter().filter(is_new).collect();
        let gone = known.iter().filter(|name| !layout.names.contains(name)).count();
        match new.as_slice() {
            [name] if gone == 1 => Some(format!("did you mean `{}`? no other column of the file is new", shown(name))),
            _ => None,
        }
    }

    /// Compares the header with that of an earlier run.
    fn header_notes(&self, layout: &Layout) -> Result<Vec<String>, Error> {
        let Some(known) = self.known_header() else { return Ok(Vec::new()) };
        if self.header == 0 && known.len() != layout.names.len() {
            return Err(Error::new(Remedy::Look, self.place().line(layout.header_line), "the file has another number of columns than before")
                .seen(format!("earlier runs found {}, now there are {}", known.len(), layout.names.len()))
                .seen(NOTHING)
                .hint("without a header nobody can tell which column is which: export the file as before"));
        }
        let only_in = |these: &[String], others: &[String]| -> Vec<String> {
            let others: BTreeSet<&String> = others.iter().collect();
            these.iter().filter(|name| !others.contains(name)).map(|name| format!("`{}`", shown(name))).collect()
        };
        let mut notes = Vec::new();
        for (names, what) in
            [(only_in(&layout.names, &known), "new in the file, not used by the job"), (only_in(&known, &layout.names), "no longer in the file")]
        {
            if !names.is_empty() {
                notes.push(format!("columns {what}: {}", names.join(", ")));
            }
        }
        Ok(notes)
    }

    fn stopped(&self, stopped: Stopped) -> Error {
        let stop = |message: &str| Error::new(Remedy::Look, self.place().line(stopped.line), message);
        let starts = self.trailer.as_ref().map_or("", |rule| rule.starts.as_str());
        let error = match stopped.why {
            Why::Unclosed => stop("a cell that begins on this line has an opening quote and no closing one"),
            Why::Endless => stop("a cell that begins on this line does not end")
                .seen(format!("it is longer than {CELL_BYTES_MAX} bytes or has more than {CELL_LINES_MAX} line breaks: a quote is missing")),
            Why::NoTrailer => {
                return stop("the file looks cut off: its last row is not the trailer")
                    .seen(format!("the trailer begins with `{}`, and the last row does not", shown(starts)))
                    .seen(NOTHING)
                    .hint("export or copy the file again");
            }
            Why::BelowTrailer(trailer) => {
                return stop("a row stands below the trailer of the file")
                    .seen(format!("the row on line {trailer} begins with `{}`", shown(starts)))
                    .seen(NOTHING)
                    .hint("look whether the file is two files in one; if that row is a record, let `trailer.starts` hold more of the trailer");
            }
            Why::NoCount => {
                return stop("the trailer of the file does not say how many rows there are")
                    .seen("`trailer.count_column` names a cell that is no whole number, or is not there")
                    .seen(NOTHING)
                    .hint("export the file again, or name the right column in the job file");
            }
            Why::NoSum(column) => {
                let of = self.trailer.iter().flat_map(|rule| &rule.sums).find(|sum| sum.column == column).map_or("", |sum| sum.of.as_str());
                return stop(&format!("the trailer of the file does not say the sum of `{}`", shown(of)))
                    .seen(format!("its column {} is no amount with the decimal mark `{}`, or is not there", column + 1, self.mark()))
                    .seen(NOTHING)
                    .hint("export the file again, or say the right column in `trailer.sums`, and the mark in `trailer.decimal`");
            }
        };
        error.seen(NOTHING).hint("look at that line and those after it, and export the file again")
    }

    /// The decimal mark of the sums of the trailer.
    fn mark(&self) -> char {
        self.trailer.as_ref().map_or('.', |rule| rule.mark)
    }

    /// The columns whose amounts the trailer adds up, with their places in the header and a sum of nothing.
    fn summed_columns(&self, layout: &Layout) -> Result<Vec<(usize, Sum)>, Error> {
        let rules = self.trailer.iter().flat_map(|rule| &rule.sums);
        let place = |rule: &SumRule| {
            layout.column(&rule.of).map(|column| (column, Sum::ZERO)).ok_or_else(|| {
                let there: Vec<String> = layout.names.iter().map(|name| shown(name)).collect();
                let message = format!("the trailer of the file sums `{}`, and there is no such column", shown(&rule.of));
                let error = Error::new(Remedy::MendJob, self.place().line(layout.header_line), message);
                let error = error.seen(format!("columns of `{}`: {}", self.system, there.join(", "))).seen(NOTHING);
                match did_you_mean(&rule.of, layout.names.iter().map(String::as_str)) {
                    Some(close) => error.hint(format!("did you mean `{}`?", shown(close))),
                    None => error.hint("name the column in `trailer.sums` as the header does"),
                }
            })
        };
        rules.map(place).collect()
    }

    /// Adds the amounts of a row. A row that is set aside adds those that can be read: what its others are nobody knows, and the
    /// sum will not hold unless they are nothing.
    fn add_amounts(&self, rows: &Rows<'_>, is_record: bool, sums: &mut [(usize, Sum)]) -> Result<(), Error> {
        for (number, (column, sum)) in sums.iter_mut().enumerate() {
            match rows.cells.get(*column).and_then(|_| Amount::read(rows.cell(*column), self.mark())) {
                Some(amount) => *sum = sum.plus(amount.sum),
                None if !is_record => {}
                None => {
                    let of = self.trailer.iter().flat_map(|rule| &rule.sums).nth(number).map_or("", |rule| rule.of.as_str());
                    let message = format!("the trailer of the file sums `{}`, and a cell of it is no amount", shown(of));
                    return Err(Error::new(Remedy::Look, self.place().line(rows.line), message)
                        .seen(format!("an amount has digits and the decimal mark `{}`, at most a sign and separators in threes", self.mark()))
                        .seen(NOTHING)
                        .hint("correct that cell or export the file again; if the mark is another one, say so with `trailer.decimal`"));
                }
            }
        }
        Ok(())
    }

    /// The rows of the file: all, or at least those at the wanted addresses.
    fn parse(&mut self, which: &WhichRows<'_>, notes: Vec<String>) -> Result<Pulled, Error> {
        if let Some(long) = self.open_long()?
            && let Some(pulled) = self.parse_long(long, which, &notes)?
        {
            return Ok(pulled);
        }
        let stamp = self.file.stamp()?;
        let bytes = self.file.read()?;
        let (sha256, read) = rayon::join(|| disk::digest(&bytes), || self.rows(&bytes, which, notes));
        let (mut read, encoding, decoded) = read?;
        read.evidence.sha256 = Some(sha256);
        if !read.is_late {
            return Ok(read.pulled(self));
        }
        let (is_itself, text) = match decoded {
            // What was decoded without another spelling is text as it is.
            None => (true, String::from_utf8(bytes).unwrap_or_default()),
            Some(text) => (false, text),
        };
        let skipped = if is_itself { read.skipped } else { 0 };
        let is_short = text.len() <= self.held_bytes_max;
        let late = LateRows {
            text: LateText::Whole { text, skipped },
            encoding,
            name: read.evidence.found.get(ENCODING).cloned().unwrap_or_default(),
            columns: self.required.iter().cloned().zip(read.columns.iter().copied()).collect(),
            starts: std::mem::take(&mut read.all.starts),
            layout: read.layout.clone(),
            file: self.file.clone(),
        };
        let rows = Arc::new(late);
        self.held = stamp.filter(|_| is_itself && is_short).map(|stamp| Held { stamp, rows: Arc::clone(&rows) });
        Ok(Pulled::unread(rows, read.all.lines, read.all.hashes, read.all.refused, read.evidence))
    }

    /// The file, if it is too long to be held and can be read in windows.
    fn open_long(&self) -> Result<Option<LongText>, Error> {
        let may_be = |name: &str| name == UTF_8.name() || name == text::ASCII;
        let is_utf8 = self.encoding.is_none_or(|pinned| pinned == UTF_8) && self.known.get(ENCODING).is_none_or(|known| may_be(known));
        if self.trailer.is_some() || !is_utf8 || self.file.is_packed() {
            return Ok(None);
        }
        let skipped = |head: &[u8]| match Encoding::for_bom(head) {
            None => Some(0),
            Some((marked, length)) => (marked == UTF_8).then_some(length),
        };
        LongText::open(self.file.path(), self.held_bytes_max, skipped).map_err(|error| self.file.unreadable(&error))
    }

    fn unreadable(&self, why: Unreadable) -> Error {
        match why {
            Unreadable::Disk(error) => self.file.unreadable(&error),
            Unreadable::Changing | Unreadable::OtherEncoding => self.file.still_changing(),
            Unreadable::Nul(line) => text::has_nul(self.place().line(line)),
            Unreadable::Endless(line) => self.stopped(Stopped { line, why: Why::Endless }),
        }
    }

    /// What is wrong with a file that somebody writes is no matter: it is still being written.
    fn if_unchanged(&self, long: &LongText, error: Error) -> Error {
        long.prove_unchanged().map_or_else(|why| self.unreadable(why), |()| error)
    }

    /// Reads a long file in windows; nothing if it turns out to be no UTF-8.
    fn parse_long(&self, long: LongText, which: &WhichRows<'_>, notes: &[String]) -> Result<Option<Pulled>, Error> {
        let is_told = self.encoding.is_some() || self.known.contains_key(ENCODING) || long.skipped > 0;
        let head = match long.head(HEAD_BYTES) {
            Err(Unreadable::OtherEncoding) => return Ok(None),
            // UTF-16 of ASCII characters is UTF-8 with NULs as well.
            Err(Unreadable::Nul(_)) if !is_told => return Ok(None),
            head => head.map_err(|why| self.if_unchanged(&long, self.unreadable(why)))?,
        };
        let layout = self.layout(&head).map_err(|error| self.if_unchanged(&long, error))?;
        let (mut hasher, mut is_ascii) = (Hasher::new(), long.skipped == 0);
        if long.skipped > 0 {
            hasher.add(&UTF8_MARK);
        }
        let mut seen = |bytes: &[u8]| {
            hasher.add(bytes);
            is_ascii = is_ascii && bytes.is_ascii();
        };
        let read = match self.rows_of(Text::Long(&long), layout, which, notes.to_vec(), &mut seen) {
            Err(Halt::Text(Unreadable::OtherEncoding)) => return Ok(None),
            Err(Halt::Text(why)) => return Err(self.if_unchanged(&long, self.unreadable(why))),
            Err(Halt::Walk(error)) => return Err(self.if_unchanged(&long, error)),
            Ok(read) => read,
        };
        long.prove_unchanged().map_err(|why| self.unreadable(why))?;
        let is_known_as_utf8 = self.encoding.is_some() || self.known.get(ENCODING).is_some_and(|known| known == UTF_8.name());
        let name = if is_ascii && !is_known_as_utf8 { text::ASCII } else { UTF_8.name() };
        let mut read = read;
        read.evidence.sha256 = Some(hasher.hexadecimal());
        read.evidence.found.insert(ENCODING.to_owned(), name.to_owned());
        if !read.is_late {
            return Ok(Some(read.pulled(self)));
        }
        let late = LateRows {
            text: LateText::Long(long),
            encoding: UTF_8,
            name: name.to_owned(),
            columns: self.required.iter().cloned().zip(read.columns.iter().copied()).collect(),
            starts: std::mem::take(&mut read.all.starts),
            layout: read.layout.clone(),
            file: self.file.clone(),
        };
        Ok(Some(Pulled::unread(Arc::new(late), read.all.lines, read.all.hashes, read.all.refused, read.evidence)))
    }

    /// The rows of a file that is at hand; with its encoding, and its text where that is not the bytes as they are.
    fn rows(&self, bytes: &[u8], which: &WhichRows<'_>, notes: Vec<String>) -> Result<(Read, &'static Encoding, Option<String>), Error> {
        let decoded = self.decode(bytes)?;
        let layout = self.layout(&decoded.text)?;
        let mut read = self.rows_of(Text::Whole(&decoded.text), layout, which, notes, &mut |_| {}).map_err(|halt| match halt {
            Halt::Walk(error) => error,
            Halt::Text(why) => self.unreadable(why),
        })?;
        read.skipped = decoded.bom.len();
        read.evidence.found.insert(ENCODING.to_owned(), decoded.name);
        let text = match decoded.text {
            Cow::Borrowed(_) => None,
            Cow::Owned(text) => Some(text),
        };
        Ok((read, decoded.encoding, text))
    }

    /// The rows of a text, with what there is to tell of it but for its encoding and digest.
    fn rows_of(
        &self,
        text: Text<'_>,
        layout: Layout,
        which: &WhichRows<'_>,
        mut notes: Vec<String>,
        seen: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<Read, Halt<Error>> {
        let columns = self.required_columns(&layout).map_err(Halt::Walk)?;
        notes.extend(self.header_notes(&layout).map_err(Halt::Walk)?);

        let summed = self.summed_columns(&layout).map_err(Halt::Walk)?;
        let (mut addresses, mut is_late) = (None, false);
        // All systems are pulled at once, and one alone is read back.
        let mut stretches = rayon::current_num_threads();
        match which {
            WhichRows::All => stretches /= 2,
            WhichRows::AllLate => (stretches, is_late) = (stretches / 2, true),
            WhichRows::At(wanted) => {
                let addresses = addresses.insert(Addresses::default());
                for (number, address) in wanted.addresses.iter().enumerate() {
                    addresses.want(&layout, address, number);
                }
            }
            WhichRows::AllBack => {}
        }
        let reading = Reading { layout: &layout, columns: &columns, summed: &summed, addresses: addresses.as_ref(), is_late };
        let stretches = walk_over(&layout, text, stretches, seen, |rows| self.stretch(rows, &reading))?;
        let mut all = Stretch::joined(stretches);

        if all.rows_padded > 0 {
            let (are, line) = if all.rows_padded == 1 { ("row is", "line") } else { ("rows are", "lines") };
            let lines: Vec<String> = all.lines_padded.iter().take(LINES_TOLD_MAX).map(u64::to_string).collect();
            let more = if all.rows_padded > lines.len() as u64 { ", .." } else { "" };
            notes.push(format!("{} {are} shorter than the header and filled up with empty cells: {line} {}{more}", all.rows_padded, lines.join(", ")));
        }
        let mut found = BTreeMap::from([
            (DELIMITER.to_owned(), char::from(layout.delimiter).to_string()),
            (HEADER.to_owned(), serde_json::to_string(&layout.names).unwrap_or_default()),
        ]);
        found.extend(self.file.found());
        let evidence = Evidence {
            origin: self.file.origin().to_owned(),
            sha256: None,
            rows_read: all.rows_read,
            rows_announced: all.rows_announced,
            sums: std::mem::take(&mut all.sums),
            found,
            notes,
        };
        Ok(Read { all, evidence, layout, columns, is_late, skipped: 0 })
    }

    /// The rows of one stretch of the file. An error tells what makes the file as a whole uncertain.
    fn stretch(&self, rows: &mut Rows<'_>, reading: &Reading<'_>) -> Result<Stretch, Error> {
        let built = if reading.is_late { &[][..] } else { &self.required };
        let mut builders: Vec<StringChunkedBuilder> = built.iter().map(|name| StringChunkedBuilder::new(name.as_str().into(), 0)).collect();
        let mut stretch = Stretch::default();
        let width = reading.layout.names.len();
        let mut key = Vec::new();
        let mut sums = reading.summed.to_vec();
        loop {
            let glance =
                if reading.is_late { rows.advance_at_a_glance(width) } else { rows.advance().map(|is_row| if is_row { Glance::Row } else { Glance::End }) };
            match glance.map_err(|problem| self.stopped(problem))? {
                Glance::End => break,
                Glance::Row => {}
                Glance::Whole(hash) => {
                    stretch.rows_read += 1;
                    stretch.lines.push(rows.line);
                    stretch.hashes.push(hash);
                    stretch.starts.push(rows.start as u64);
                    continue;
                }
            }
            stretch.rows_read += 1;
            let cells = rows.written;
            self.add_amounts(rows, rows.sound && rows.cells.len() == width, &mut sums)?;
            if cells < width && rows.line_end().is_empty() {
                return Err(Error::new(Remedy::Look, self.place().line(rows.line), "the file looks cut off")
                    .seen(format!("its last row has no line end and {cells} of {width} fields"))
                    .seen(NOTHING)
                    .hint("export or copy the file again"));
            }
            if rows.cells.len() != width {
                stretch.refused.push(self.refuse(rows, format!("has {cells} {}, the header has {width}", if cells == 1 { "field" } else { "fields" })));
                continue;
            }
            if !rows.sound {
                stretch.refused.push(self.refuse(rows, "has text after a closing quote: a quote is missing or not doubled".to_owned()));
                continue;
            }
            if cells < width {
                stretch.rows_padded += 1;
                if stretch.lines_padded.len() < LINES_TOLD_MAX {
                    stretch.lines_padded.push(rows.line);
                }
            }
            if let Some(addresses) = reading.addresses {
                let mut is_wanted = false;
                addresses.at(rows, &mut key, |_| is_wanted = true);
                if !is_wanted {
                    continue;
                }
            }
            if reading.is_late {
                stretch.starts.push(rows.start as u64);
            }
            for (builder, column) in builders.iter_mut().zip(reading.columns) {
                builder.append_value(rows.cell(*column));
            }
            stretch.lines.push(rows.line);
            stretch.hashes.push(rows.hash());
        }
        stretch.columns = builders.into_iter().map(StringChunkedBuilder::finish).collect();
        stretch.rows_announced = rows.trailer().and_then(|trailer| Some(trailer.count.as_ref()?.rows));
        let sum_rules = self.trailer.iter().flat_map(|rule| &rule.sums);
        let announced = rows.trailer().into_iter().flat_map(|trailer| &trailer.sums);
        let sums = sum_rules.zip(announced).zip(&sums).map(|((rule, announced), (_, delivered))| ControlSum {
            column: rule.of.clone(),
            announced: announced.amount.sum.shown(),
            delivered: delivered.shown(),
        });
        stretch.sums = sums.collect();
        Ok(stretch)
    }

    /// The bytes of the file with the changes made, and what becomes of each; no bytes if none of them changes any.
    fn edited(&self, bytes: &[u8], set: &WriteSet<'_>) -> Result<(Option<Vec<u8>>, Vec<Outcome>), Error> {
        let decoded = self.decode(bytes)?;
        let layout = self.layout(&decoded.text)?;
        if !text::comes_back(&decoded, bytes) {
            let name = decoded.encoding.name();
            let reason = format!("the file cannot be written back in {name} without changing other bytes of it");
            return Ok((None, vec![Outcome::Rejected { reason }; set.changes.len()]));
        }
        self.edited_text(decoded, &layout, set)
    }

    fn edited_text(&self, decoded: Decoded<'_>, layout: &Layout, set: &WriteSet<'_>) -> Result<(Option<Vec<u8>>, Vec<Outcome>), Error> {
        let edited = self.edits(Text::Whole(&decoded.text), layout, decoded.encoding, set, &mut |_| {})?;
        if edited.edits.is_empty() {
            return Ok((None, edited.outcomes));
        }
        let text = edit::with_edits(&decoded.text, &edited.edits);
        Ok((Some(text::encode_whole(decoded.encoding, decoded.bom, text)), edited.outcomes))
    }

    fn edits(
        &self,
        text: Text<'_>,
        layout: &Layout,
        encoding: &'static Encoding,
        set: &WriteSet<'_>,
        seen: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<Edited, Error> {
        edit::edit(text, layout, encoding, set.changes, set.failures_max, seen).map_err(|halt| match halt {
            Halt::Walk(problem) => self.stopped(problem),
            Halt::Text(why) => self.unreadable(why),
        })
    }

    /// Makes the changes in a file that is too long to be held: it is written anew piece by piece.
    fn write_long(&self, long: &LongText, set: &WriteSet<'_>) -> Result<Vec<Outcome>, Error> {
        let edited = long.head(HEAD_BYTES).map_err(|why| self.unreadable(why)).and_then(|head| {
            let layout = self.layout(&head)?;
            self.edits(Text::Long(long), &layout, UTF_8, set, &mut |_| {})
        });
        let expected = set.snapshot.or(self.pulled_sha256.as_deref());
        let is_replaced = edited.as_ref().is_ok_and(|edited| !edited.edits.is_empty());
        let sha256 = match expected {
            // The file is read once more for its new version, which is not made of another one than this.
            Some(sha256) if is_replaced => sha256.to_owned(),
            _ => self.file.digest()?,
        };
        // What is no longer the file that was read is stale, whatever is wrong with it.
        if let Some(stale) = changed_since_read(set, self.pulled_sha256.as_deref(), &sha256) {
            return Ok(stale);
        }
        let edited = edited?;
        if edited.edits.is_empty() {
            return Ok(edited.outcomes);
        }
        let place = |at: usize| (at + long.skipped) as u64;
        let patches = edited.edits.into_iter().map(|(span, spelled)| disk::Patch { span: place(span.start)..place(span.end), bytes: spelled.into_bytes() });
        let patches: Vec<disk::Patch> = patches.collect();
        self.file.replace_by(disk::Content::Patched { of: long.file(), patches: &patches }, disk::Expected { bytes: None, sha256: &sha256 }, edited.outcomes)
    }

    /// Makes the changes in the text of the file as it was pulled. Nothing if it is not held, another one is meant, or the file
    /// cannot be written as it stands.
    fn worked_out(&self, set: &WriteSet<'_>) -> Option<Staged> {
        let Held { rows, .. } = self.held.as_ref()?;
        let (sha256, (text, skipped)) = (self.pulled_sha256.as_ref()?, rows.whole_text()?);
        let (bom, body) = text.split_at(skipped);
        let decoded = Decoded { text: Cow::Borrowed(body), bom: bom.as_bytes(), encoding: rows.encoding, name: rows.name.clone() };
        if set.snapshot.is_some_and(|snapshot| snapshot != sha256) || !text::comes_back(&decoded, text.as_bytes()) {
            return None;
        }
        let (new, outcomes) = self.edited_text(decoded, &rows.layout, set).ok()?;
        Some(Staged { numbers: set.changes.iter().map(|change| change.number).collect(), new, outcomes })
    }

    /// Writes the file as it was pulled with the changes made, which it still is as far as its stamp tells: whether it is to the
    /// byte is looked at before it is replaced, and after. Nothing if that cannot be done.
    fn write_held(&mut self, set: &WriteSet<'_>) -> Result<Option<Vec<Outcome>>, Error> {
        let is_of_set = |staged: &Staged| set.changes.iter().map(|change| &change.number).eq(&staged.numbers);
        let staged = self.staged.take().filter(is_of_set).or_else(|| self.worked_out(set));
        let (Some(Held { stamp, rows }), Some(Staged { new, outcomes, .. })) = (self.held.take(), staged) else { return Ok(None) };
        if self.file.stamp()? != Some(stamp) {
            return Ok(None);
        }
        match (new, &self.pulled_sha256, rows.whole_text()) {
            (None, ..) => Ok(Some(outcomes)),
            (Some(new), Some(sha256), Some((text, _))) => {
                let outcomes = self.file.replace(text.as_bytes(), sha256, &new, outcomes).map(Some);
                // Giving two files of memory back takes a while, and nobody waits for it.
                rayon::spawn(move || drop((new, rows)));
                outcomes
            }
            _ => Ok(None),
        }
    }

    fn refuse(&self, rows: &Rows<'_>, reason: String) -> Quarantined {
        let raw = rows.raw();
        let end = raw.char_indices().nth(RAW_CHARS_MAX).map_or(raw.len(), |(at, _)| at);
        Quarantined {
            origin: self.file.origin().to_owned(),
            line: rows.line,
            column: None,
            field: None,
            raw: Some(raw[..end].to_owned()),
            reason,
            key: None,
            id: None,
        }
    }
}

/// What was read of a stretch of the file.
#[derive(Debug, Default)]
struct Stretch {
    columns: Vec<StringChunked>,
    lines: Vec<u64>,
    hashes: Vec<u128>,
    /// Where the rows begin, if their cells are read later.
    starts: Vec<u64>,
    refused: Vec<Quarantined>,
    rows_read: u64,
    rows_padded: u64,
    /// The first of the lines that were filled up.
    lines_padded: Vec<u64>,
    rows_announced: Option<u64>,
    /// Only where there is a trailer; then the stretch is the whole.
    sums: Vec<ControlSum>,
}

/// What the rows of a file are read for.
struct Reading<'a> {
    layout: &'a Layout,
    /// The places of the required columns.
    columns: &'a [usize],
    /// The columns whose amounts the trailer adds up, with a sum of nothing.
    summed: &'a [(usize, Sum)],
    /// The wanted rows; nothing if all are.
    addresses: Option<&'a Addresses>,
    /// Whether their cells are read later.
    is_late: bool,
}

/// Which rows of the file are read.
enum WhichRows<'a> {
    /// All, while other systems are read as well.
    All,
    /// The same; their cells are read when somebody asks for them.
    AllLate,
    /// All, and no other system meanwhile.
    AllBack,
    /// At least those at these addresses.
    At(&'a Wanted),
}

/// What was read of a file.
struct Read {
    all: Stretch,
    evidence: Evidence,
    layout: Layout,
    /// The places of the required columns.
    columns: Vec<usize>,
    /// Whether the cells are read later.
    is_late: bool,
    /// How many bytes stand before the text.
    skipped: usize,
}

impl Read {
    /// The rows with their cells.
    fn pulled(self, file: &CsvFile) -> Pulled {
        let columns = file.required.iter().cloned().zip(self.all.columns).map(|(name, column)| (name, column, None)).collect();
        Pulled::new(columns, self.all.lines, self.all.hashes, self.all.refused, self.evidence)
    }
}

/// A file of which every row was walked over, and whose cells are read when somebody asks for them.
#[derive(Debug)]
struct LateRows {
    text: LateText,
    encoding: &'static Encoding,
    /// What the encoding is called.
    name: String,
    layout: Layout,
    /// The required columns, with their places in the header.
    columns: Vec<(String, usize)>,
    /// Where each row begins.
    starts: Vec<u64>,
    file: SourceFile,
}

/// The text that rows stand in.
#[derive(Debug)]
enum LateText {
    /// It is held.
    Whole {
        text: String,
        /// How many bytes of it stand before the first row's text.
        skipped: usize,
    },
    /// It is read again.
    Long(LongText),
}

impl LateRows {
    /// The text of the whole file, and how many bytes of it stand before what the rows are in; nothing if it is not held.
    fn whole_text(&self) -> Option<(&str, usize)> {
        match &self.text {
            LateText::Whole { text, skipped } => Some((text, *skipped)),
            LateText::Long(_) => None,
        }
    }

    /// The cells of these rows. Of a long text they come in the order of the file.
    fn columns_of(&self, rows: &[u32], hashes: &[u128]) -> Result<Vec<StringChunked>, Error> {
        let mut builders: Vec<StringChunkedBuilder> =
            self.columns.iter().map(|(name, _)| StringChunkedBuilder::new(name.as_str().into(), rows.len())).collect();
        match &self.text {
            LateText::Whole { text, skipped } => {
                let mut walk = self.layout.rows_alone(text.get(*skipped..).unwrap_or_default());
                for row in rows {
                    if walk.go_to(self.starts[*row as usize] as usize) != Ok(true) {
                        return Err(self.file.still_changing());
                    }
                    for (builder, (_, column)) in builders.iter_mut().zip(&self.columns) {
                        builder.append_value(walk.cell(*column));
                    }
                }
            }
            LateText::Long(long) => {
                let end = |row: u32| self.starts.get(row as usize + 1).map_or(long.length as u64, |next| *next);
                let spans: Vec<std::ops::Range<u64>> = rows.iter().map(|row| self.starts[*row as usize]..end(*row)).collect();
                let again = long.rows_again(&self.layout, &spans, |number, walk| {
                    if walk.cells.len() != self.layout.names.len() || walk.hash() != hashes[rows[number] as usize] {
                        return false;
                    }
                    for (builder, (_, column)) in builders.iter_mut().zip(&self.columns) {
                        builder.append_value(walk.cell(*column));
                    }
                    true
                });
                again.map_err(|why| match why {
                    Unreadable::Disk(error) => self.file.unreadable(&error),
                    _ => self.file.still_changing(),
                })?;
            }
        }
        Ok(builders.into_iter().map(StringChunkedBuilder::finish).collect())
    }
}

impl Unread for LateRows {
    fn read(&self, rows: &[u32], hashes: &[u128]) -> Result<RawColumns, Error> {
        // What is read from the disk is read in its order, and put into the one that was asked for.
        let is_mixed = matches!(self.text, LateText::Long(_)) && !rows.is_sorted();
        let mut order: Vec<u32> = (0..rows.len() as u32).collect();
        if is_mixed {
            order.sort_unstable_by_key(|at| rows[*at as usize]);
        }
        let in_order: Cow<'_, [u32]> = if is_mixed { order.iter().map(|at| rows[*at as usize]).collect() } else { Cow::Borrowed(rows) };
        let length = rows.len().div_ceil(rayon::current_num_threads()).max(ROWS_AT_ONCE_MIN);
        let parts = in_order.par_chunks(length).map(|rows| self.columns_of(rows, hashes)).collect::<Result<Vec<_>, Error>>()?;
        let mut parts = parts.into_iter();
        let mut whole = match parts.next() {
            Some(first) => first,
            None => self.columns_of(&[], hashes)?,
        };
        append_all(&mut whole, parts);
        if is_mixed {
            let mut place = vec![0; order.len()];
            (0..).zip(&order).for_each(|(at, wanted)| place[*wanted as usize] = at);
            let picks = positions(&place);
            whole.par_iter_mut().for_each(|column| *column = gathered(column, &picks));
        }
        Ok(self.columns.iter().zip(whole).map(|((name, _), column)| (name.clone(), column, None)).collect())
    }
}

/// So many rows are read by one thread.
const ROWS_AT_ONCE_MIN: usize = 4096;

/// Puts the columns of further stretches below those of the first.
fn append_all(whole: &mut [StringChunked], stretches: impl Iterator<Item = Vec<StringChunked>>) {
    let mut below: Vec<Vec<StringChunked>> = vec![Vec::new(); whole.len()];
    for stretch in stretches {
        below.iter_mut().zip(stretch).for_each(|(below, column)| below.push(column));
    }
    whole.par_iter_mut().zip(below).for_each(|(column, below)| {
        for more in &below {
            // Refused only beyond 2^32 rows, and no file holds as many.
            let _ = column.append(more);
        }
        *column = column.rechunk().into_owned();
    });
}

impl Stretch {
    /// All stretches of a file as one.
    fn joined(stretches: Vec<Walked<Stretch>>) -> Stretch {
        let rows = stretches.iter().map(|walked| walked.made.lines.len()).sum::<usize>();
        let mut stretches = stretches.into_iter().map(|Walked { lines, bytes, made: mut stretch }| {
            stretch.starts.iter_mut().for_each(|start| *start += bytes as u64);
            let all = stretch.lines.iter_mut().chain(&mut stretch.lines_padded).chain(stretch.refused.iter_mut().map(|refused| &mut refused.line));
            all.for_each(|line| *line += lines);
            stretch
        });
        let Some(mut whole) = stretches.next() else { return Stretch::default() };
        let mut columns = Vec::new();
        // Exactly: of many rows a vector that grows by itself takes up to twice the room.
        whole.lines.reserve_exact(rows.saturating_sub(whole.lines.len()));
        whole.hashes.reserve_exact(rows.saturating_sub(whole.hashes.len()));
        whole.starts.reserve_exact(rows.saturating_sub(whole.starts.len()));
        for stretch in stretches {
            columns.push(stretch.columns);
            whole.lines.extend(stretch.lines);
            whole.hashes.extend(stretch.hashes);
            whole.starts.extend(stretch.starts);
            whole.refused.extend(stretch.refused);
            whole.rows_read += stretch.rows_read;
            whole.rows_padded += stretch.rows_padded;
            whole.lines_padded.extend(stretch.lines_padded);
            whole.rows_announced = stretch.rows_announced;
            whole.sums = stretch.sums;
        }
        append_all(&mut whole.columns, columns.into_iter());
        whole
    }
}

impl System for CsvFile {
    fn describe(&self) -> Description {
        Description { atomic: true, writable: self.file.is_writable(), fills_id: false }
    }

    fn columns(&mut self) -> Result<Vec<String>, Error> {
        if let Some(long) = self.open_long()?
            && let Ok(head) = long.head(HEAD_BYTES)
        {
            let layout = self.layout(&head)?;
            self.required_columns(&layout)?;
            return Ok(layout.names);
        }
        let bytes = self.file.read()?;
        let decoded = self.decode(&bytes)?;
        let layout = self.layout(&decoded.text)?;
        self.required_columns(&layout)?;
        Ok(layout.names)
    }

    fn pull(&mut self) -> Result<Pulled, Error> {
        let notes = self.file.recover()?;
        let stamp = self.file.wait_until_ready()?;
        // A night after others looks into few of the rows that it reads, and the first one looks into those of a long file one after the other.
        let is_long = self.file.stamp()?.is_some_and(|file| file.length() > AT_ONCE_BYTES_MAX);
        let pulled = self.parse(&if self.known.is_empty() && !is_long { WhichRows::All } else { WhichRows::AllLate }, notes)?;
        self.file.prove_still(stamp)?;
        self.pulled_sha256.clone_from(&pulled.evidence.sha256);
        // What is read back after a write is spelled as what was pulled, whatever the written cells look like.
        self.known.clone_from(&pulled.evidence.found);
        Ok(pulled)
    }

    /// The file must still be what was pulled; otherwise every change is stale. An error after which the file may have been
    /// replaced has the remedy `Look`, and says so.
    fn prepare(&mut self) -> Result<(), Error> {
        self.file.prove_replaceable()
    }

    fn stage(&mut self, set: WriteSet<'_>) {
        self.staged = self.worked_out(&set);
    }

    fn write(&mut self, set: WriteSet<'_>) -> Result<Vec<Outcome>, Error> {
        if set.changes.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(outcomes) = self.write_held(&set)? {
            return Ok(outcomes);
        }
        if let Some(long) = self.open_long().map_err(|error| passing_if_gone(error, self.file.path()))? {
            return self.write_long(&long, &set);
        }
        let bytes = self.file.read_to_write()?;
        let (sha256, edited) = rayon::join(|| disk::digest(&bytes), || self.edited(&bytes, &set));
        if let Some(stale) = changed_since_read(&set, self.pulled_sha256.as_deref(), &sha256) {
            return Ok(stale);
        }
        let (new, outcomes) = edited?;
        let Some(new) = new else { return Ok(outcomes) };
        self.file.replace(&bytes, &sha256, &new, outcomes)
    }

    fn read_back(&mut self, wanted: &Wanted) -> Result<Pulled, Error> {
        let notes = self.file.recover()?;
        self.parse(&if wanted.addresses.len() <= ADDRESSES_MAX { WhichRows::At(wanted) } else { WhichRows::AllBack }, notes)
    }
}

fn shown_delimiter(delimiter: u8) -> String {
    match delimiter {
        b'\t' => "a tab".to_owned(),
        other => format!("`{}`", char::from(other)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::change::{Action, AddressPart, CellChange, Change, Reason};
    use crate::job::{Gates, Kind, May, Role, SystemSpec};
    use crate::value::{Raw, Value};

    fn spec(settings: CsvSettings) -> SystemSpec {
        SystemSpec {
            name: "sheet".into(),
            kind: Kind::Csv(settings),
            role: Role::Peer,
            may: May::default(),
            only: vec![],
            id: None,
            edited_at: None,
            gates: Gates::default(),
        }
    }

    struct Try {
        root: PathBuf,
        settings: CsvSettings,
        columns: Vec<String>,
        known: BTreeMap<String, String>,
    }

    impl Try {
        fn at(root: &Path, file: &str, columns: &[&str]) -> Try {
            let settings = CsvSettings { path: file.into(), header: 1, ..CsvSettings::default() };
            Try { root: root.to_owned(), settings, columns: columns.iter().map(|c| (*c).to_owned()).collect(), known: BTreeMap::new() }
        }

        fn fixture(trap: &str, columns: &[&str]) -> Try {
            Try::at(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/systems"), &format!("csv_{trap}.csv"), columns)
        }

        fn header(mut self, line: u64) -> Try {
            self.settings.header = line;
            self
        }

        fn knows(mut self, name: &str, value: &str) -> Try {
            self.known.insert(name.into(), value.into());
            self
        }

        fn open(&self) -> Result<CsvFile, Error> {
            let spec = spec(self.settings.clone());
            let opening = Opening { root: &self.root, job: "demo", spec: &spec, columns: self.columns.clone(), known: self.known.clone(), state: None };
            CsvFile::open(&self.settings, &opening)
        }

        fn pull(&self) -> Result<Pulled, Error> {
            self.open()?.pull()?.whole()
        }

        fn rows(&self) -> Vec<(u64, String)> {
            let pulled = self.pull().unwrap();
            rows(&pulled, &self.columns)
        }

        fn error(&self) -> (Remedy, String) {
            let error = self.pull().expect_err("an error");
            (error.remedy, error.to_string())
        }
    }

    fn rows(pulled: &Pulled, columns: &[String]) -> Vec<(u64, String)> {
        let cell = |row, name: &String| pulled.raw(name, row).text.expect("never null");
        let row = |row| (pulled.line(row), columns.iter().map(|name| cell(row, name)).collect::<Vec<_>>().join("|"));
        (0..u32::try_from(pulled.height()).unwrap()).map(row).collect()
    }

    fn pairs<const N: usize>(rows: [(u64, &str); N]) -> Vec<(u64, String)> {
        rows.into_iter().map(|(line, text)| (line, text.to_owned())).collect()
    }

    #[test]
    fn every_spelling_of_one_table_is_read_alike() {
        let cells = ["007|Müller|1.234,56", "008|Straße; Süd|-5,00 €"];
        for (trap, header, encoding, first_line) in [
            ("bom", 1, "UTF-8", 2),
            ("utf16_bom", 1, "UTF-16LE", 2),
            ("utf16_no_bom", 1, "UTF-16BE", 2),
            ("windows_1252", 1, "windows-1252", 2),
            ("separator_line", 1, "UTF-8", 3),
            ("preamble", 3, "UTF-8", 4),
        ] {
            let file = Try::fixture(trap, &["id", "Name", "Betrag"]).header(header);
            assert_eq!(file.rows(), pairs([(first_line, cells[0]), (first_line + 1, cells[1])]), "{trap}");
            let evidence = file.pull().unwrap().evidence;
            let found: Vec<&str> = evidence.found.values().map(String::as_str).collect();
            assert_eq!(found, [";", encoding, "[\"id\",\"Name\",\"Betrag\"]"], "{trap}");
            assert_eq!((evidence.rows_read, evidence.sha256.map(|s| s.len())), (2, Some(64)));
        }
    }

    #[test]
    fn rows_have_their_physical_lines() {
        let quoted = Try::fixture("quoted_line_ends", &["id", "note", "amount"]);
        assert_eq!(quoted.rows(), pairs([(2, "1|first\r\nsecond|10.00"), (5, "2|he said \"no\"|-0.50"), (6, "3||")]));
        let mixed = Try::fixture("mixed_line_ends", &["note", "id"]);
        assert_eq!(mixed.rows(), pairs([(2, "a|1"), (3, "b|2"), (4, "c|3")]));
        assert_eq!(Try::fixture("no_header", &["2"]).header(0).rows(), pairs([(1, "Smith"), (2, "Lee")]));
        assert_eq!(Try::fixture("header_only", &["id"]).rows(), pairs([]));
    }

    #[test]
    fn cells_that_are_read_later_are_the_same() {
        for trap in ["bom", "utf16_bom", "utf16_no_bom", "windows_1252", "separator_line", "quoted_line_ends", "mixed_line_ends", "ragged_rows", "lost_quote"] {
            let mut file = Try::fixture(trap, &[]);
            file.columns = file.open().unwrap().columns().unwrap();
            let at_once = file.pull().unwrap();
            file.known = at_once.evidence.found.clone();
            let later = file.pull().unwrap();
            assert_eq!(rows(&later, &file.columns), rows(&at_once, &file.columns), "{trap}");
            assert_eq!((&later.refused, &later.evidence), (&at_once.refused, &at_once.evidence), "{trap}");
            let hashes = |pulled: &Pulled| (0..pulled.height() as u32).map(|row| pulled.hash(row)).collect::<Vec<_>>();
            assert_eq!(hashes(&later), hashes(&at_once), "{trap}");
            // Some rows, in another order, before any cell was read and after.
            let some: Vec<u32> = (0..at_once.height() as u32).rev().step_by(2).collect();
            let expected = rows(&at_once.take(&some).unwrap(), &file.columns);
            assert_eq!(rows(&file.open().unwrap().pull().unwrap().take(&some).unwrap(), &file.columns), expected, "{trap}");
            let taken = later.take(&some).unwrap();
            assert_eq!(rows(&taken, &file.columns), expected, "{trap}");
            assert_eq!(some.iter().enumerate().map(|(at, _)| taken.place(at as u32)).collect::<Vec<_>>(), some, "{trap}");
        }
    }

    #[test]
    fn a_file_that_is_read_in_windows_is_the_same() {
        let traps: Vec<String> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/systems"))
            .unwrap()
            .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_prefix("csv_")?.strip_suffix(".csv")?.to_owned()))
            .collect();
        assert!(traps.len() > 10);
        for trap in traps {
            let mut file = Try::fixture(&trap, &[]);
            file.columns = file.open().unwrap().columns().unwrap_or_default();
            file.columns.sort();
            file.columns.dedup();
            let at_once = file.pull();
            for (window, known) in [(1, false), (3, true), (17, false), (40, true)] {
                if known && let Ok(at_once) = &at_once {
                    file.known = at_once.evidence.found.clone();
                }
                let mut opened = file.open().unwrap();
                opened.held_bytes_max = window;
                let in_windows = opened.pull().and_then(Pulled::whole);
                file.known.clear();
                match (&at_once, in_windows) {
                    (Ok(at_once), Ok(in_windows)) => {
                        assert_eq!(rows(&in_windows, &file.columns), rows(at_once, &file.columns), "{trap}");
                        assert_eq!((&in_windows.refused, &in_windows.evidence), (&at_once.refused, &at_once.evidence), "{trap}");
                        let hashes = |pulled: &Pulled| (0..pulled.height() as u32).map(|row| pulled.hash(row)).collect::<Vec<_>>();
                        assert_eq!(hashes(&in_windows), hashes(at_once), "{trap}");
                    }
                    (Err(at_once), Err(in_windows)) => assert_eq!(in_windows.to_string(), at_once.to_string(), "{trap}"),
                    (at_once, in_windows) => panic!("{trap}: {in_windows:?} is not {at_once:?}"),
                }
            }
        }
    }

    #[test]
    fn a_long_file_that_is_written_while_a_run_reads_it_again_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        let content = format!("id,name\n{}", (0..100).map(|row| format!("{row},name {row}\n")).collect::<String>());
        fs::write(&path, &content).unwrap();
        let mut file = Try::at(folder.path(), "a.csv", &["id", "name"]);
        file.known = file.pull().unwrap().evidence.found;
        let mut opened = file.open().unwrap();
        opened.held_bytes_max = 64;
        let pulled = opened.pull().unwrap();
        assert_eq!(rows(&pulled.take(&[99, 3, 50]).unwrap(), &file.columns), pairs([(101, "99|name 99"), (5, "3|name 3"), (52, "50|name 50")]));
        // Another file in its place changes nothing; who writes into it does.
        fs::rename(&path, folder.path().join("old.csv")).unwrap();
        fs::write(&path, content.replace("name 3\n", "name x\n")).unwrap();
        assert_eq!(rows(&pulled.take(&[3]).unwrap(), &file.columns), pairs([(5, "3|name 3")]));
        fs::write(folder.path().join("old.csv"), content.replace("name 3\n", "name x\n")).unwrap();
        let error = pulled.take(&[3]).expect_err("changed");
        assert!(error.to_string().contains("somebody writes the file while it is read"), "{error}");
        assert!(pulled.take(&[4]).is_ok());
    }

    #[test]
    fn a_long_file_is_written_piece_by_piece() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        let content = format!("\u{feff}id,name\r\n{}", (0..100).map(|row| format!("{row},\"name, {row}\"\r\n")).collect::<String>());
        fs::write(&path, &content).unwrap();
        let file = Try::at(folder.path(), "a.csv", &["id", "name"]);
        let mut opened = file.open().unwrap();
        opened.held_bytes_max = 64;
        let pulled = opened.pull().unwrap();
        let sha256 = pulled.evidence.sha256.clone();
        assert_eq!(sha256.as_deref(), Some(&*disk::digest(content.as_bytes())));
        let changes = [
            change(Action::Update, Some("3"), vec![cell("name", Some("name, 3"), "new")]),
            change(Action::Create, None, vec![cell("id", None, "100"), cell("name", None, "last")]),
        ];
        let outcomes = opened.write(WriteSet { changes: &changes, failures_max: 5, snapshot: sha256.as_deref() }).unwrap();
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done { .. })), "{outcomes:?}");
        let written = fs::read_to_string(&path).unwrap();
        assert_eq!(written, format!("{}100,last\r\n", content.replace("\"name, 3\"", "\"new\"")));
        assert_eq!(fs::read_to_string(folder.path().join("a.csv.tieout-backup")).unwrap(), content);
        // What was decided on the former file is stale.
        let outcomes = opened.write(WriteSet { changes: &changes, failures_max: 5, snapshot: sha256.as_deref() }).unwrap();
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Stale { .. })), "{outcomes:?}");
        let wanted = Wanted { addresses: vec![changes[0].address.clone()] };
        assert_eq!(rows(&opened.read_back(&wanted).unwrap(), &file.columns), pairs([(5, "3|new")]));
    }

    #[test]
    fn rows_that_cannot_be_read_for_certain_are_refused_with_both_counts() {
        let file = Try::fixture("ragged_rows", &["id"]);
        let pulled = file.pull().unwrap();
        assert_eq!(rows(&pulled, &file.columns), pairs([(2, "1"), (6, "4")]));
        let refused: Vec<(u64, &str, &str)> = pulled.refused.iter().map(|q| (q.line, q.raw.as_deref().unwrap(), q.reason.as_str())).collect();
        assert_eq!(refused, [(3, "2,Smith, John,20.00", "has 4 fields, the header has 3"), (5, "3,Lee", "has 2 fields, the header has 3")]);
        assert_eq!(pulled.evidence.rows_read, 4);
        // A lost quote that another quote ends merges two rows into one that looks right.
        let lost = Try::fixture("lost_quote", &["id"]).pull().unwrap();
        assert_eq!(rows(&lost, &["id".to_owned()]), pairs([(4, "3")]));
        assert_eq!((lost.refused[0].line, lost.refused[0].raw.as_deref()), (2, Some("1,\"Smith\n2,\"Lee\"")));
        assert!(lost.refused[0].reason.contains("after a closing quote"));
    }

    #[test]
    fn a_long_refused_row_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.csv"), format!("id,name\n1,{},\n", "ü".repeat(300))).unwrap();
        let pulled = Try::at(folder.path(), "a.csv", &["id"]).pull().unwrap();
        assert_eq!(pulled.refused[0].raw.as_deref().map(|raw| raw.chars().count()), Some(RAW_CHARS_MAX));
    }

    #[test]
    fn what_makes_the_rest_of_the_file_uncertain_stops_the_run() {
        for (trap, columns, remedy, start, part) in [
            ("cut_off", vec!["id"], Remedy::Look, "error: csv_cut_off.csv:4: the file looks cut off", "2 of 3 fields"),
            ("unclosed_quote", vec!["id"], Remedy::Look, "error: csv_unclosed_quote.csv:3: ", "no closing one"),
            ("nul", vec!["id"], Remedy::Look, "error: csv_nul.csv:3: ", "NUL"),
            ("empty", vec!["id"], Remedy::Look, "error: csv_empty.csv: the file is empty", "not even a header"),
            ("two_same_columns", vec!["id", "amount"], Remedy::Look, "error: csv_two_same_columns.csv:1: ", "`amount` more than once"),
            ("bom", vec!["id", "name", "Summe"], Remedy::MendJob, "error: csv_bom.csv:1: column `name` is not in system `sheet`", "did you mean `Name`?"),
            ("absent", vec![], Remedy::GiveAccess, "error: csv_absent.csv: there is no such file", "nothing was read or written"),
        ] {
            let (seen, message) = Try::fixture(trap, &columns).error();
            assert_eq!(seen, remedy, "{message}");
            assert!(message.starts_with(start) && message.contains(part), "{message}");
        }
        // All missing columns at once, with those that there are.
        let (_, message) = Try::fixture("bom", &["Nam", "Summe"]).error();
        assert_eq!(message.matches("columns of `sheet`: id, Name, Betrag").count(), 2);
        // A doubled column that the job does not need is nobody's business.
        assert_eq!(Try::fixture("two_same_columns", &["id"]).rows(), pairs([(2, "1")]));
    }

    #[test]
    fn a_file_that_is_spelled_otherwise_than_before_stops_the_run() {
        let file = || Try::fixture("bom", &["id"]);
        for (known, expected) in
            [(("delimiter", ","), "earlier runs found `,`, now it is `;`"), (("encoding", "windows-1252"), "earlier runs found windows-1252, now it is UTF-8")]
        {
            let (remedy, message) = file().knows(known.0, known.1).error();
            assert_eq!(remedy, Remedy::Look);
            assert!(message.contains(expected), "{message}");
        }
        // What is pinned is the operator's word, whatever was found before.
        let mut pinned = file().knows("delimiter", ",").knows("encoding", "windows-1252");
        pinned.settings.delimiter = Some(';');
        pinned.settings.encoding = Some("utf-8".into());
        assert_eq!(pinned.rows().len(), 2);
        let (_, message) = Try::fixture("no_header", &["1"]).header(0).knows("header", "[\"1\",\"2\",\"3\"]").error();
        assert!(message.contains("earlier runs found 3, now there are 2"), "{message}");
    }

    #[test]
    fn columns_that_come_and_go_are_noted() {
        let notes = Try::fixture("bom", &["id"]).knows("header", "[\"id\",\"Name\",\"Region\"]").pull().unwrap().evidence.notes;
        assert_eq!(notes, ["columns new in the file, not used by the job: `Betrag`", "columns no longer in the file: `Region`"]);
        let all = Try::fixture("bom", &[]).open().unwrap().columns().unwrap();
        assert_eq!(all, ["id", "Name", "Betrag"]);
    }

    #[test]
    fn settings_that_cannot_be_meant_are_refused() {
        let with = |change: fn(&mut CsvSettings)| {
            let mut file = Try::fixture("bom", &[]);
            change(&mut file.settings);
            file.open().expect_err("refused").to_string()
        };
        assert!(with(|s| s.encoding = Some("latin-7".into())).contains("there is no encoding `latin-7`"));
        assert!(with(|s| s.delimiter = Some('→')).contains("the delimiter must be one ASCII character"));
        assert!(with(|s| s.delimiter = Some('"')).contains("the same character"));
        assert!(with(|s| s.path = "${env:TIEOUT_NO_SUCH_VARIABLE}/a.csv".into()).contains("no variable `TIEOUT_NO_SUCH_VARIABLE`"));
    }

    fn cell(column: &str, before: Option<&str>, after: &str) -> CellChange {
        CellChange {
            field: None,
            column: column.into(),
            before_raw: before.map(Raw::text),
            before: Value::Null,
            after: Value::Null,
            after_raw: Raw::text(after),
            reason: Reason::Standardised,
        }
    }

    fn at(id: &str) -> Vec<AddressPart> {
        vec![AddressPart { column: "id".into(), raw: Raw::text(id) }]
    }

    fn change(action: Action, id: Option<&str>, cells: Vec<CellChange>) -> Change {
        Change {
            number: 1,
            system: "sheet".into(),
            record: 1,
            key: "k".into(),
            action,
            address: id.map(at).unwrap_or_default(),
            cells,
            reason: Reason::Standardised,
            attempts: 0,
            row_id: None,
            row_key_before: id.map(str::to_owned),
            row_key_after: "k".into(),
            edited_at: None,
        }
    }

    fn words(outcomes: &[Outcome]) -> Vec<&'static str> {
        let word = |outcome: &Outcome| match outcome {
            Outcome::Done { .. } => "done",
            Outcome::Rejected { .. } => "rejected",
            Outcome::Stale { .. } => "stale",
            Outcome::Unknown { .. } => "unknown",
            Outcome::Skipped { .. } => "skipped",
        };
        outcomes.iter().map(word).collect()
    }

    /// A copy of a fixture in a folder of its own.
    fn copied(trap: &str) -> (tempfile::TempDir, Try) {
        let folder = tempfile::tempdir().unwrap();
        let file = Try::fixture(trap, &["id", "Name", "Betrag"]);
        fs::copy(file.root.join(&file.settings.path), folder.path().join("sheet.csv")).unwrap();
        let file = Try::at(folder.path(), "sheet.csv", &["id", "Name", "Betrag"]);
        (folder, file)
    }

    #[test]
    fn a_write_keeps_the_encoding_the_mark_and_every_other_byte() {
        let text = "id;Name;Betrag\r\n007;Müller;1.234,56\r\n008;\"Straße; Süd\";-5,00 €\r\n";
        let expected = "id;Name;Betrag\r\n007;=Maier;1.234,56\r\n009;Weiß;\r\n";
        let traps = ["bom", "utf16_bom", "utf16_no_bom", "windows_1252", "separator_line"];
        for (trap, is_later_night) in traps.into_iter().flat_map(|trap| [(trap, false), (trap, true)]) {
            let (folder, mut file) = copied(trap);
            if is_later_night {
                file.known = file.pull().unwrap().evidence.found;
            }
            let path = folder.path().join("sheet.csv");
            let before = fs::read(&path).unwrap();
            let mut system = file.open().unwrap();
            let pulled = system.pull().and_then(Pulled::whole).unwrap();
            let changes = [
                change(Action::Update, Some("007"), vec![cell("Name", Some("Müller"), "=Maier")]),
                change(Action::Delete, Some("008"), vec![cell("Betrag", Some("-5,00 €"), "")]),
                change(Action::Create, None, vec![cell("id", None, "009"), cell("Name", None, "Weiß")]),
            ];
            let set = WriteSet { changes: &changes, failures_max: 5, snapshot: pulled.evidence.sha256.as_deref() };
            assert_eq!(words(&system.write(set).unwrap()), ["done", "done", "done"], "{trap}");
            // What stands before the text: a mark, a separator line.
            let head = match trap {
                "bom" => 3,
                "utf16_bom" => 2,
                "separator_line" => 7,
                _ => 0,
            };
            let spelled = |text: &str| -> Vec<u8> {
                let body = match trap {
                    "utf16_bom" => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
                    "utf16_no_bom" => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
                    "windows_1252" => encoding_rs::WINDOWS_1252.encode(text).0.into_owned(),
                    _ => text.as_bytes().to_vec(),
                };
                [&before[..head], &body].concat()
            };
            assert_eq!(before, spelled(text), "{trap}");
            assert_eq!(fs::read(&path).unwrap(), spelled(expected), "{trap}");
            assert_eq!(fs::read(folder.path().join("sheet.csv.tieout-backup")).unwrap(), before);

            let read_back = system.read_back(&Wanted { addresses: vec![at("007"), at("008"), at("009")] }).unwrap();
            let seen: Vec<String> = rows(&read_back, &file.columns).into_iter().map(|(_, text)| text).collect();
            assert_eq!(seen, ["007|=Maier|1.234,56", "009|Weiß|"], "{trap}");
            // The same set once more was decided on a file that is no longer there.
            assert_eq!(words(&system.write(set).unwrap()), ["stale", "stale", "stale"]);
            assert_eq!(words(&system.write(WriteSet { snapshot: None, ..set }).unwrap()), ["stale", "stale", "stale"]);
            assert_eq!(fs::read(&path).unwrap(), spelled(expected));
        }
    }

    #[test]
    fn a_save_between_pull_and_write_makes_everything_stale() {
        let (folder, mut file) = copied("bom");
        let path = folder.path().join("sheet.csv");
        // The last save is as long as the file was, and says that it is as old.
        for (is_later_night, is_disguised) in [(false, false), (true, false), (true, true)] {
            if is_later_night {
                file.known = file.pull().unwrap().evidence.found;
            }
            let mut system = file.open().unwrap();
            let sha256 = system.pull().unwrap().evidence.sha256;
            let mut saved = fs::read(&path).unwrap();
            let modified = fs::metadata(&path).unwrap().modified().unwrap();
            if is_disguised {
                let at = saved.len() - 3;
                saved[at] = b'7';
            } else {
                saved.extend_from_slice(b"009;Typed;1,00\r\n");
            }
            fs::write(&path, &saved).unwrap();
            if is_disguised {
                fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
            }
            let changes = [change(Action::Update, Some("007"), vec![cell("Name", Some("Müller"), "x")])];
            let outcomes = system.write(WriteSet { changes: &changes, failures_max: 5, snapshot: sha256.as_deref() }).unwrap();
            assert_eq!(words(&outcomes), ["stale"]);
            assert_eq!(fs::read(&path).unwrap(), saved);
        }
    }

    #[test]
    fn a_character_that_the_encoding_lacks_rejects_one_change() {
        let (folder, file) = copied("windows_1252");
        let mut system = file.open().unwrap();
        system.pull().unwrap();
        let changes = [
            change(Action::Update, Some("007"), vec![cell("Name", Some("Müller"), "Łódź")]),
            change(Action::Update, Some("008"), vec![cell("Betrag", Some("-5,00 €"), "5,00 €")]),
        ];
        let outcomes = system.write(WriteSet { changes: &changes, failures_max: 5, snapshot: None }).unwrap();
        assert_eq!(words(&outcomes), ["rejected", "done"]);
        assert!(matches!(&outcomes[0], Outcome::Rejected { reason } if reason.contains("`Ł`")));
        let written = fs::read(folder.path().join("sheet.csv")).unwrap();
        assert!(written.ends_with(b";5,00 \x80\r\n"));
    }

    #[test]
    fn a_write_that_changes_nothing_leaves_the_file_alone() {
        let (folder, file) = copied("bom");
        let mut system = file.open().unwrap();
        system.pull().unwrap();
        let changes = [change(Action::Update, Some("007"), vec![cell("Name", Some("Müller"), "Müller")])];
        assert_eq!(words(&system.write(WriteSet { changes: &changes, failures_max: 5, snapshot: None }).unwrap()), ["done"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_whose_bytes_would_not_come_back_is_not_written() {
        // In Shift_JIS both 81 CA and EE F9 are the same character; only the first comes back.
        let folder = tempfile::tempdir().unwrap();
        let bytes = b"id,name\n1,\xee\xf9\n2,b\n";
        fs::write(folder.path().join("a.csv"), bytes).unwrap();
        let mut file = Try::at(folder.path(), "a.csv", &["id", "name"]);
        file.settings.encoding = Some("shift_jis".into());
        let mut system = file.open().unwrap();
        assert_eq!(system.pull().unwrap().height(), 2);
        let changes = [change(Action::Update, Some("2"), vec![cell("name", Some("b"), "c")])];
        assert_eq!(words(&system.write(WriteSet { changes: &changes, failures_max: 5, snapshot: None }).unwrap()), ["rejected"]);
        assert_eq!(fs::read(folder.path().join("a.csv")).unwrap(), bytes);
    }

    #[test]
    fn a_save_that_an_interrupted_write_displaced_is_what_is_pulled() {
        let (folder, file) = copied("windows_1252");
        let path = folder.path().join("sheet.csv");
        let written = disk::digest(&fs::read(&path).unwrap());
        let leftover = format!(".sheet.csv.tieout-swap-{}-{}", &disk::digest(b"as it was pulled")[..16], &written[..16]);
        fs::write(folder.path().join(leftover), "id;Name;Betrag\r\n1;Saved;2\r\n").unwrap();
        let pulled = file.pull().unwrap();
        assert_eq!(rows(&pulled, &file.columns), pairs([(2, "1|Saved|2")]));
        assert_eq!(pulled.evidence.notes.len(), 1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
