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
//! - Where the job asks for it, a file is only read when it is complete: nobody has written it for a while, or its marker is
//!   there. In a system that is never written, a marker older than the file is that of an earlier delivery; elsewhere our own
//!   write makes the file the newer of the two. What is read back after a write waits for nothing.
//! - Of several dated files the newest is read, and never one that is older than that of the last run: the records would go back in
//!   time, and every edit since would look like one more.
//! - An encoding in which two spellings stand for one character (some East Asian ones) is only written if the whole file comes
//!   back from it to the byte.
//! - A file that was pulled a moment ago is held for the write; the write proves, to the byte, that it still is that file.
//! - A second set that was decided on the same snapshot is stale as a whole: the file is no longer what it was decided on.

mod edit;
mod names;
pub mod places;
mod rows;
mod sums;
mod text;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use encoding_rs::Encoding;
use polars::prelude::{StringChunked, StringChunkedBuilder};
use rayon::prelude::*;

use crate::change::Outcome;
use crate::diagnostic::{Place, did_you_mean};
use crate::disk::{self, Contents};
use crate::error::{Error, Remedy};
use crate::frame::{ControlSum, Evidence, Pulled, Quarantined, RawColumns, Unread};
use crate::job::{CsvReady, CsvSettings, Role};
use crate::systems::{
    Description, Opening, System, Wanted, WriteSet, changed_since_read, error_as_written, missing_columns, no_file, outcomes_of_replacing, passing_if_gone,
    resolved, shown,
};

use self::names::Unclear;
use self::rows::{Addresses, CELL_BYTES_MAX, CELL_LINES_MAX, Expected, Glance, Layout, NoLayout, Rows, Stopped, SumRule, TrailerRule, Why};
use self::sums::{Amount, Sum};
use self::text::Decoded;

/// Names of [`Evidence::found`].
const ENCODING: &str = "encoding";
const DELIMITER: &str = "delimiter";
const HEADER: &str = "header";
const NAME_DATE: &str = "date in the name";

/// How many characters of a refused row are shown.
const RAW_CHARS_MAX: usize = 200;

/// How many lines a note names.
const LINES_TOLD_MAX: usize = 5;

/// A read-back of more addresses than this delivers all rows.
const ADDRESSES_MAX: usize = 100_000;

/// A CSV file.
#[derive(Debug)]
pub struct CsvFile {
    path: PathBuf,
    /// The path as the operator wrote it.
    origin: String,
    /// The name of the system.
    system: String,
    encoding: Option<&'static Encoding>,
    delimiter: Option<u8>,
    quote: u8,
    header: u64,
    /// The columns that the job needs, each once.
    required: Vec<String>,
    known: BTreeMap<String, String>,
    ready: Ready,
    pads: bool,
    trailer: Option<TrailerRule>,
    /// The date in the name of the file, where that is how it was chosen.
    name_date: Option<String>,
    backups: u32,
    /// The digest of the last pull.
    pulled_sha256: Option<String>,
    /// The file as it was pulled last, for a write soon after.
    held: Option<Held>,
    /// What the next write comes to, if it was worked out before.
    staged: Option<Staged>,
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

/// A longer file is read again for a write, so that it does not stay in memory for as long as a run decides.
const HELD_BYTES_MAX: usize = 256 << 20;

/// What tells that the file is complete.
#[derive(Debug)]
enum Ready {
    /// Nothing does.
    Always,
    /// It has not changed for so many seconds.
    Still(u32),
    /// There is a marker.
    Marked {
        path: PathBuf,
        /// As the operator wrote it.
        written: String,
        /// Whether a marker that is older than the file is none.
        must_be_newer: bool,
    },
}

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
        let mut path = opening.root.join(resolved(&settings.path, opening)?);
        let (mut origin, mut name_date) = (settings.path.clone(), None);
        if let Some(format) = &settings.newest {
            let (file, date) = newest_file(&path, &settings.path, format, opening)?;
            origin = settings.path.rsplit_once('/').map_or_else(|| file.clone(), |(folder, _)| format!("{folder}/{file}"));
            path.set_file_name(file);
            name_date = Some(date);
        }
        if !path.is_file() {
            return Err(no_file(&path, &settings.path, name));
        }
        let mut seen = BTreeSet::new();
        let required = opening.columns.iter().filter(|column| seen.insert(column.as_str())).cloned().collect();
        let ready = match &settings.ready {
            None => Ready::Always,
            Some(CsvReady::Stable(seconds)) => Ready::Still(*seconds),
            Some(CsvReady::Marker(marker)) => {
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                let written = marker.replace("{name}", &file);
                let path = opening.root.join(resolved(&written, opening)?);
                let must_be_newer = matches!(opening.spec.role, Role::Source | Role::Witness);
                Ready::Marked { path, written, must_be_newer }
            }
        };
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
            path,
            origin,
            system: name.clone(),
            encoding,
            delimiter,
            quote,
            header: settings.header,
            required,
            known: opening.known.clone(),
            ready,
            pads: settings.pads_short_rows,
            trailer,
            name_date,
            backups: settings.backups.unwrap_or(1),
            pulled_sha256: None,
            held: None,
            staged: None,
        })
    }

    fn place(&self) -> Place {
        Place::of(&self.origin)
    }

    /// An error of the disk, with the file as the operator wrote it.
    fn as_written(&self, error: Error) -> Error {
        error_as_written(error, &self.origin)
    }

    fn read(&self) -> Result<Contents, Error> {
        disk::read(&self.path).map_err(|error| self.as_written(error))
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
        match missing_columns(&self.origin, &self.system, &missing, &there) {
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
    fn parse(&mut self, rows: &WhichRows<'_>, notes: Vec<String>) -> Result<Pulled, Error> {
        let stamp = disk::stamp(&self.path).map_err(|error| self.as_written(error))?;
        let bytes = disk::read_bytes(&self.path).map_err(|error| self.as_written(error))?;
        let (sha256, read) = rayon::join(|| disk::digest(&bytes), || self.rows(&bytes, rows, notes));
        let (all, mut evidence, late) = read?;
        evidence.sha256 = Some(sha256);
        Ok(match late {
            Some(late) => {
                let is_itself = late.text.is_none();
                let rows = Arc::new(late.of(bytes));
                let is_short = rows.text.as_ref().is_some_and(|text| text.len() <= HELD_BYTES_MAX);
                self.held = stamp.filter(|_| is_itself && is_short).map(|stamp| Held { stamp, rows: Arc::clone(&rows) });
                Pulled::unread(rows, all.lines, all.hashes, all.refused, evidence)
            }
            None => {
                let columns = self.required.iter().cloned().zip(all.columns).map(|(name, column)| (name, column, None)).collect();
                Pulled::new(columns, all.lines, all.hashes, all.refused, evidence)
            }
        })
    }

    fn rows(&self, bytes: &[u8], which: &WhichRows<'_>, mut notes: Vec<String>) -> Result<(Stretch, Evidence, Option<LateRows>), Error> {
        let decoded = self.decode(bytes)?;
        let layout = self.layout(&decoded.text)?;
        let columns = self.required_columns(&layout)?;
        notes.extend(self.header_notes(&layout)?);

        let summed = self.summed_columns(&layout)?;
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
        let stretches = layout.walks(&decoded.text, stretches, |rows| self.stretch(rows, &reading))?;
        let mut all = Stretch::joined(stretches);

        if all.rows_padded > 0 {
            let (are, line) = if all.rows_padded == 1 { ("row is", "line") } else { ("rows are", "lines") };
            let lines: Vec<String> = all.lines_padded.iter().take(LINES_TOLD_MAX).map(u64::to_string).collect();
            let more = if all.rows_padded > lines.len() as u64 { ", .." } else { "" };
            notes.push(format!("{} {are} shorter than the header and filled up with empty cells: {line} {}{more}", all.rows_padded, lines.join(", ")));
        }
        let mut found = BTreeMap::from([
            (ENCODING.to_owned(), decoded.name.clone()),
            (DELIMITER.to_owned(), char::from(layout.delimiter).to_string()),
            (HEADER.to_owned(), serde_json::to_string(&layout.names).unwrap_or_default()),
        ]);
        found.extend(self.name_date.iter().map(|date| (NAME_DATE.to_owned(), date.clone())));
        let evidence = Evidence {
            origin: self.origin.clone(),
            sha256: None,
            rows_read: all.rows_read,
            rows_announced: all.rows_announced,
            sums: std::mem::take(&mut all.sums),
            found,
            notes,
        };
        let late = is_late.then(|| LateRows {
            skipped: decoded.bom.len(),
            encoding: decoded.encoding,
            name: decoded.name,
            text: match decoded.text {
                Cow::Borrowed(_) => None,
                Cow::Owned(text) => Some(text),
            },
            columns: self.required.iter().cloned().zip(columns).collect(),
            starts: std::mem::take(&mut all.starts),
            layout,
        });
        Ok((all, evidence, late))
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
        let edited = edit::edit(&decoded.text, layout, decoded.encoding, set.changes, set.failures_max).map_err(|problem| self.stopped(problem))?;
        let text = edited.text.filter(|text| *text != decoded.text);
        Ok((text.map(|text| text::encode_whole(decoded.encoding, decoded.bom, text)), edited.outcomes))
    }

    /// Makes the changes in the text of the file as it was pulled. Nothing if it is not held, another one is meant, or the file
    /// cannot be written as it stands.
    fn worked_out(&self, set: &WriteSet<'_>) -> Option<Staged> {
        let Held { rows, .. } = self.held.as_ref()?;
        let (sha256, text) = (self.pulled_sha256.as_ref()?, rows.text.as_ref()?);
        let (bom, body) = text.split_at(rows.skipped);
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
        if disk::stamp(&self.path).map_err(|error| self.as_written(error))? != Some(stamp) {
            return Ok(None);
        }
        match (new, &self.pulled_sha256, &rows.text) {
            (None, ..) => Ok(Some(outcomes)),
            (Some(new), Some(sha256), Some(text)) => {
                let outcomes = self.replace(text.as_bytes(), sha256, &new, outcomes).map(Some);
                // Giving two files of memory back takes a while, and nobody waits for it.
                rayon::spawn(move || drop((new, rows)));
                outcomes
            }
            _ => Ok(None),
        }
    }

    fn replace(&self, bytes: &[u8], sha256: &str, new: &[u8], outcomes: Vec<Outcome>) -> Result<Vec<Outcome>, Error> {
        let expected = disk::Expected { bytes, sha256 };
        let replaced = disk::replace_keeping(&self.path, new, expected, self.backups).map_err(|error| self.as_written(error))?;
        Ok(outcomes_of_replacing(replaced, outcomes))
    }

    fn recover(&self) -> Result<Vec<String>, Error> {
        disk::recover(&self.path).map_err(|error| self.as_written(error))
    }

    /// Waits until the file is complete. Gives the stamp that it must still have when it is read.
    fn wait_until_ready(&self) -> Result<Option<disk::Stamp>, Error> {
        let stamp = |path: &Path| disk::stamp(path).map_err(|error| self.as_written(error));
        let stop = |message: String| Error::new(Remedy::GiveAccess, self.place(), message);
        match &self.ready {
            Ready::Always => Ok(None),
            Ready::Still(seconds) => disk::wait_until_still(&self.path, *seconds).map(Some).map_err(|error| self.as_written(error)),
            Ready::Marked { path, written, must_be_newer } => {
                let file = stamp(&self.path)?;
                let Some(marker) = stamp(path)? else {
                    return Err(stop(format!("the file is not complete: its marker `{written}` is not there"))
                        .seen(NOTHING)
                        .hint("whoever delivers the file makes the marker at the end: look what became of the delivery, then run again"));
                };
                if *must_be_newer && file.is_some_and(|file| marker.is_older_than(&file)) {
                    return Err(stop(format!("the file is not complete: its marker `{written}` is older than the file"))
                        .seen("it is the marker of an earlier delivery")
                        .seen(NOTHING)
                        .hint("whoever delivers the file makes the marker anew at the end: look what became of the delivery, then run again"));
                }
                Ok(file)
            }
        }
    }

    fn refuse(&self, rows: &Rows<'_>, reason: String) -> Quarantined {
        let raw = rows.raw();
        let end = raw.char_indices().nth(RAW_CHARS_MAX).map_or(raw.len(), |(at, _)| at);
        Quarantined { origin: self.origin.clone(), line: rows.line, column: None, field: None, raw: Some(raw[..end].to_owned()), reason, key: None, id: None }
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

/// A file of which every row was walked over, and whose cells are read when somebody asks for them.
#[derive(Debug)]
struct LateRows {
    /// The text, where it is not that of the bytes as they are, or they are no longer needed.
    text: Option<String>,
    /// How many bytes stand before the text.
    skipped: usize,
    encoding: &'static Encoding,
    /// What the encoding is called.
    name: String,
    layout: Layout,
    /// The required columns, with their places in the header.
    columns: Vec<(String, usize)>,
    /// Where each row begins.
    starts: Vec<u64>,
}

impl LateRows {
    /// The rows of a file of these bytes.
    fn of(self, bytes: Vec<u8>) -> LateRows {
        match self.text {
            Some(_) => LateRows { skipped: 0, ..self },
            // What was decoded without another spelling is text as it is.
            None => LateRows { text: String::from_utf8(bytes).ok(), ..self },
        }
    }

    fn columns_of(&self, text: &str, rows: &[u32]) -> Vec<StringChunked> {
        let mut builders: Vec<StringChunkedBuilder> =
            self.columns.iter().map(|(name, _)| StringChunkedBuilder::new(name.as_str().into(), rows.len())).collect();
        let mut walk = self.layout.rows_alone(text);
        for row in rows {
            let is_there = walk.go_to(self.starts[*row as usize] as usize) == Ok(true);
            debug_assert!(is_there, "the row was walked over before");
            for (builder, (_, column)) in builders.iter_mut().zip(&self.columns) {
                builder.append_option(is_there.then(|| walk.cell(*column)));
            }
        }
        builders.into_iter().map(StringChunkedBuilder::finish).collect()
    }
}

impl Unread for LateRows {
    fn read(&self, rows: &[u32]) -> RawColumns {
        let text = self.text.as_deref().and_then(|text| text.get(self.skipped..)).unwrap_or_default();
        let length = rows.len().div_ceil(rayon::current_num_threads()).max(ROWS_AT_ONCE_MIN);
        let parts: Vec<Vec<StringChunked>> = rows.par_chunks(length).map(|rows| self.columns_of(text, rows)).collect();
        let mut parts = parts.into_iter();
        let mut whole = parts.next().unwrap_or_else(|| self.columns_of(text, &[]));
        append_all(&mut whole, parts);
        self.columns.iter().zip(whole).map(|((name, _), column)| (name.clone(), column, None)).collect()
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
    /// All stretches of a file as one, each with the number that is to be added to its lines.
    fn joined(stretches: Vec<(u64, Stretch)>) -> Stretch {
        let mut stretches = stretches.into_iter().map(|(lines, mut stretch)| {
            let all = stretch.lines.iter_mut().chain(&mut stretch.lines_padded).chain(stretch.refused.iter_mut().map(|refused| &mut refused.line));
            all.for_each(|line| *line += lines);
            stretch
        });
        let Some(mut whole) = stretches.next() else { return Stretch::default() };
        let mut columns = Vec::new();
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

const NOTHING: &str = "nothing was read or written";

/// The newest of the files that a path with one `*` in its name stands for, and the date in its name.
fn newest_file(path: &Path, written: &str, format: &str, opening: &Opening<'_>) -> Result<(String, String), Error> {
    let system = &opening.spec.name;
    let stop = |remedy: Remedy, message: String| Error::new(remedy, Place::of(written), message).seen(format!("system `{system}` reads the newest"));
    let pattern = path.file_name().unwrap_or_default().to_string_lossy();
    let (before, after) = pattern.split_once('*').unwrap_or((&pattern, ""));
    let listed = disk::files(path.parent().unwrap_or(opening.root)).map_err(|mut error| {
        error.diagnostics.iter_mut().for_each(|diagnostic| diagnostic.place.origin = written.to_owned());
        error.seen(NOTHING)
    })?;
    let fits = |name: &String| {
        let is_hidden = name.starts_with('.') && !before.starts_with('.');
        !is_hidden && name.strip_prefix(before).is_some_and(|rest| rest.ends_with(after))
    };
    let fitting: Vec<String> = listed.into_iter().filter(fits).collect();
    let (name, date) = match names::newest(&fitting, format) {
        Ok(Some(newest)) => newest,
        Ok(None) => {
            return Err(stop(Remedy::GiveAccess, "there is no such file".to_owned())
                .seen(NOTHING)
                .hint("look whether the path is right, relative to the folder of `jobs/`, and the files are delivered"));
        }
        Err(Unclear::NoDate(name)) => {
            return Err(stop(Remedy::Look, format!("`{}` has no date in its name", shown(&name)))
                .seen(format!("the date is spelled `{format}`"))
                .seen(NOTHING)
                .hint("whether it is the newest cannot be told: rename it, or move it to another folder"));
        }
        Err(Unclear::SeveralDates(name)) => {
            return Err(stop(Remedy::MendJob, format!("`{}` has several dates in its name", shown(&name)))
                .seen(format!("the date is spelled `{format}`"))
                .seen(NOTHING)
                .hint(format!("say with `newest` what stands beside the right one, such as `-{format}.`")));
        }
        Err(Unclear::Twins(names)) => {
            let names: Vec<String> = names.iter().map(|name| format!("`{}`", shown(name))).collect();
            return Err(stop(Remedy::Look, format!("several files have the newest date: {}", names.join(", ")))
                .seen(NOTHING)
                .hint("which of them is meant cannot be told: move the others to another folder"));
        }
    };
    let date = names::spelled(date);
    if let Some(known) = opening.known.get(NAME_DATE).filter(|known| date < **known) {
        return Err(stop(Remedy::Look, format!("the newest file, `{}`, is older than the one that the last run read", shown(&name)))
            .seen(format!("the date in its name is {date}, that of the last run was {known}"))
            .seen(NOTHING)
            .hint("look where the newer file went; if this one is right, name it in `path`, without `newest`, for one run"));
    }
    Ok((name, date))
}

impl System for CsvFile {
    fn describe(&self) -> Description {
        Description { atomic: true, writable: true, fills_id: false }
    }

    fn columns(&mut self) -> Result<Vec<String>, Error> {
        let contents = self.read()?;
        let decoded = self.decode(&contents.bytes)?;
        let layout = self.layout(&decoded.text)?;
        self.required_columns(&layout)?;
        Ok(layout.names)
    }

    fn pull(&mut self) -> Result<Pulled, Error> {
        let notes = self.recover()?;
        let stamp = self.wait_until_ready()?;
        // A night after others looks into few of the rows that it reads.
        let pulled = self.parse(&if self.known.is_empty() { WhichRows::All } else { WhichRows::AllLate }, notes)?;
        if stamp.is_some() && disk::stamp(&self.path).map_err(|error| self.as_written(error))? != stamp {
            return Err(self.as_written(disk::still_written(&self.path)));
        }
        self.pulled_sha256.clone_from(&pulled.evidence.sha256);
        // What is read back after a write is spelled as what was pulled, whatever the written cells look like.
        self.known.clone_from(&pulled.evidence.found);
        Ok(pulled)
    }

    /// The file must still be what was pulled; otherwise every change is stale. An error after which the file may have been
    /// replaced has the remedy `Look`, and says so.
    fn prepare(&mut self) -> Result<(), Error> {
        disk::prove_replaceable(&self.path).map_err(|error| self.as_written(error))
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
        let bytes = disk::read_bytes(&self.path).map_err(|error| passing_if_gone(self.as_written(error), &self.path))?;
        let (sha256, edited) = rayon::join(|| disk::digest(&bytes), || self.edited(&bytes, &set));
        if let Some(stale) = changed_since_read(&set, self.pulled_sha256.as_deref(), &sha256) {
            return Ok(stale);
        }
        let (new, outcomes) = edited?;
        let Some(new) = new else { return Ok(outcomes) };
        self.replace(&bytes, &sha256, &new, outcomes)
    }

    fn read_back(&mut self, wanted: &Wanted) -> Result<Pulled, Error> {
        let notes = self.recover()?;
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
            let opening = Opening { root: &self.root, job: "demo", spec: &spec, columns: self.columns.clone(), known: self.known.clone() };
            CsvFile::open(&self.settings, &opening)
        }

        fn pull(&self) -> Result<Pulled, Error> {
            self.open()?.pull()
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
            let expected = rows(&at_once.take(&some), &file.columns);
            assert_eq!(rows(&file.pull().unwrap().take(&some), &file.columns), expected, "{trap}");
            assert_eq!(rows(&later.take(&some), &file.columns), expected, "{trap}");
            assert_eq!(some.iter().enumerate().map(|(at, _)| later.take(&some).place(at as u32)).collect::<Vec<_>>(), some, "{trap}");
        }
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
            let pulled = system.pull().unwrap();
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
