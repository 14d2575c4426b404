//! A text file of rows that is never read as a whole: its rows are walked in blocks, and fetched again by their places.
//!
//! [`RowFile::scan`] walks over all rows once, in several threads, and hashes them; [`RowFile::fetch`] reads chosen rows again by
//! where they stand. What a row is, and where its cells are, is told by the walk of `rows.rs`, as in a pull.
//!
//! # Design
//! - Each thread takes the next block of the file and walks over it from the beginning of its first line, as if that were the
//!   beginning of a row. It was, if the walk over the block before ended just there; else the block is walked once more, from
//!   where that walk ended. Nothing of a block is handed on before that is known.
//! - A line end after an odd number of quotes is taken for one within a cell, because texts with line ends would mislead nearly every
//!   block. Where quotes stand for something else, that misleads: from the first time on, they are counted no more.
//! - Text is read as UTF-8 until a byte says that it is none. Then the file is spelled anew in UTF-8 into a nameless temporary
//!   file ([`RowFile::respelled`]), and everything begins once more.
//! - Where lines begin is noted once in some thousand bytes: enough to tell the line of any place, and little to keep.
//! - Whether the file changed meanwhile is looked at when all is done: places of another version would be those of other rows.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use encoding_rs::{DecoderResult, Encoding, UTF_8};

use super::rows::{Expected, Layout, Limits, NoLayout, Rows, Sight, Stopped, Why, after_line_end, is_odd, line_breaks, line_end_outside};
use super::text::{self, PIECE_GUESSED_BYTES};
use crate::diagnostic::Place;
use crate::disk;
use crate::error::{Error, Remedy};
use crate::reconcile::pairing::Hashed;
use crate::reconcile::rowwise::{Form, Room};
use crate::systems::shown;

/// What quotes cells.
const QUOTE: u8 = b'"';

/// How much of a file is walked at once.
const BLOCK_BYTES: u64 = 1 << 20;

/// How much is read beyond a block at first, for the row that ends beyond it.
const BEYOND_BYTES: usize = 1 << 17;

/// A cell may be as long as a document: it is not kept.
const LIMITS: Limits = Limits { bytes: 16 << 20, lines: u64::MAX };

/// No row is longer than this.
const BEYOND_BYTES_MAX: usize = 1 << 28;

/// How much of a file its layout is found in.
const HEAD_BYTES: u64 = 1 << 20;

/// The line is noted at a place, then again so many bytes later.
const NOTED_BYTES: u64 = 1 << 13;

/// What did not happen.
pub const NOTHING: &str = "nothing was compared";

/// What is known of how a file is spelled.
#[derive(Clone, Debug, Default)]
pub struct Pinned {
    /// The delimiter.
    pub delimiter: Option<u8>,
    /// The encoding.
    pub encoding: Option<&'static Encoding>,
    /// Columns that the file needs: they help to find the delimiter.
    pub needed: Vec<String>,
}

/// A file that is read in pieces.
#[derive(Debug)]
pub struct RowFile {
    file: File,
    path: PathBuf,
    /// The path as the operator wrote it.
    origin: String,
    /// What the file was when it was opened.
    stamp: Option<disk::Stamp>,
    /// Where the text begins, after a byte order mark.
    base: u64,
    length: u64,
    layout: Layout,
    encoding: &'static Encoding,
    /// The encoding in which the operator has it.
    spelled_in: &'static Encoding,
    /// Whether nobody says that it is in that encoding.
    is_guess: bool,
    /// Whether the first column is no column, but says where each row stands in the file that the operator knows.
    is_numbered: bool,
    /// Places of rows, ascending, and their lines.
    noted: Vec<(u64, u64)>,
    rows: u64,
    /// How much of it is walked at once, and how much is read beyond that at first.
    block_bytes: u64,
    beyond_bytes: usize,
}

/// A file of text in UTF-8.
struct Text {
    file: File,
    /// The encoding in which the operator has it.
    spelled_in: &'static Encoding,
    /// Where the text begins.
    base: u64,
    is_guess: bool,
    is_numbered: bool,
}

impl Text {
    fn of(file: File, spelled_in: &'static Encoding) -> Text {
        Text { file, spelled_in, base: 0, is_guess: false, is_numbered: false }
    }
}

/// What stops a scan.
#[derive(Debug)]
pub enum Halt {
    /// The file is not UTF-8, which it looked like: it is to be [respelled](RowFile::respelled) and scanned again.
    OtherEncoding,
    /// An error.
    Error(Box<Error>),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Halt {
        Halt::Error(Box::new(error))
    }
}

/// A row that cannot be read for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Where it stands.
    pub place: u64,
    /// The physical line.
    pub line: u64,
    /// How many cells it has; nothing if text follows a closing quote.
    pub cells: Option<u32>,
}

/// What a scan found besides the hashes.
#[derive(Clone, Debug, Default)]
pub struct Scanned {
    /// How many rows there are, those that cannot be read among them.
    pub rows: u64,
    /// Rows that cannot be read, in the order of the file.
    pub unreadable: Vec<Unreadable>,
}

/// The walk over one block.
#[derive(Default)]
struct Walked {
    /// Where it began and where the next row begins.
    span: (u64, u64),
    lines: u64,
    rows: u64,
    hashed: Vec<Hashed>,
    unreadable: Vec<Unreadable>,
    noted: Vec<(u64, u64)>,
}

/// How far the blocks are proved.
struct Proved {
    block: u64,
    /// Where the next row begins, and on which line.
    at: u64,
    line: u64,
    /// Up to which block quotes are counted, and whether it begins within them; nothing once that misled.
    quotes: Option<(u64, bool)>,
    scanned: Scanned,
    noted: Vec<(u64, u64)>,
    halt: Option<Halt>,
}

/// Where the first row of a block begins.
#[derive(Clone, Copy)]
enum Beginning<'b> {
    /// There.
    Known(u64),
    /// At its first line that is not within quotes. Whether the block is, is told to who shows its text.
    Guessed(&'b dyn Fn(&[u8]) -> bool),
}

/// What stops the walk over a block.
enum Stop {
    /// At a line, counted from that of the block's beginning.
    At(Stopped),
    CutOff {
        line: u64,
        cells: usize,
    },
    Nul {
        line: u64,
    },
    Encoding {
        line: u64,
        bytes: Vec<u8>,
    },
    Error(Box<Error>),
}

impl RowFile {
    /// Opens a file, and finds its layout at its beginning.
    ///
    /// # Errors
    /// `GiveAccess` if it is not there or cannot be read; `Look` if no header is found in it, or a name stands there twice.
    pub fn open(path: &Path, origin: &str, pinned: &Pinned) -> Result<RowFile, Error> {
        let (file, stamp) = open_file(path, origin)?;
        let length = file.metadata().map_err(|error| unreadable_file(origin, &error))?.len();
        let mut head = vec![0; usize::try_from(length.min(HEAD_BYTES)).unwrap_or_default()];
        let read = read_at(&file, &mut head, 0).map_err(|error| unreadable_file(origin, &error))?;
        head.truncate(read);
        let place = Place::of(origin);
        let spelled = text::spelled(&head, pinned.encoding, &place)?;
        let looks_other = !spelled.is_certain && std::str::from_utf8(&head).is_err_and(|error| error.error_len().is_some());
        if spelled.encoding != UTF_8 || looks_other {
            let encoding = if looks_other { guess(&file, origin)? } else { spelled.encoding };
            let text = transcoded(&file, encoding, spelled.skipped, origin)?;
            return RowFile::of(Text::of(text, encoding), path, origin, stamp, pinned);
        }
        let text = Text { base: spelled.skipped as u64, is_guess: !spelled.is_certain, ..Text::of(file, UTF_8) };
        RowFile::of(text, path, origin, stamp, pinned)
    }

    /// A nameless file that we spelled ourselves, in UTF-8 and with commas. The first column says where each row stands in the file
    /// at `path`.
    ///
    /// # Errors
    /// As [`RowFile::open`].
    pub fn numbered(file: File, path: &Path, origin: &str, stamp: Option<disk::Stamp>) -> Result<RowFile, Error> {
        let pinned = Pinned { delimiter: Some(b','), ..Pinned::default() };
        RowFile::of(Text { is_numbered: true, ..Text::of(file, UTF_8) }, path, origin, stamp, &pinned)
    }

    fn of(text: Text, path: &Path, origin: &str, stamp: Option<disk::Stamp>, pinned: &Pinned) -> Result<RowFile, Error> {
        let Text { file, spelled_in, base, is_guess, is_numbered } = text;
        let failed = |error: std::io::Error| unreadable_file(origin, &error);
        let length = file.metadata().map_err(failed)?.len();
        let mut head = vec![0; usize::try_from((length - base.min(length)).min(HEAD_BYTES)).unwrap_or_default()];
        let read = read_at(&file, &mut head, base).map_err(failed)?;
        head.truncate(read);
        let place = Place::of(origin);
        let text = match std::str::from_utf8(&head) {
            Ok(text) => text,
            Err(error) if error.error_len().is_none() => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default(),
            Err(error) => {
                let line = 1 + line_breaks(&head[..error.valid_up_to()]);
                return Err(text::malformed(place.line(line), UTF_8, &head[error.valid_up_to()..][..error.error_len().unwrap_or(1)]));
            }
        };
        if let Some(nul) = memchr::memchr(0, text.as_bytes()) {
            return Err(nul_error(&place, 1 + line_breaks(&head[..nul])));
        }
        let expected = Expected { pinned: pinned.delimiter, quote: QUOTE, header: 1, required: &pinned.needed, ..Expected::default() };
        let layout = Layout::find(text, &expected).map_err(|problem| no_layout(&place, &problem, length))?;
        let names = &layout.names[usize::from(is_numbered).min(layout.names.len())..];
        for (at, name) in names.iter().enumerate() {
            if names[..at].contains(name) {
                return Err(Error::new(Remedy::Look, place.line(layout.header_line), format!("the header has the column `{}` more than once", shown(name)))
                    .seen(NOTHING)
                    .hint("which of them is meant cannot be told: rename one of them in the file"));
            }
        }
        Ok(RowFile {
            file,
            path: path.to_owned(),
            origin: origin.to_owned(),
            stamp,
            base,
            length,
            layout,
            encoding: UTF_8,
            spelled_in,
            is_guess,
            is_numbered,
            noted: Vec::new(),
            rows: 0,
            block_bytes: BLOCK_BYTES,
            beyond_bytes: BEYOND_BYTES,
        })
    }

    /// The same file, spelled anew in UTF-8 from the encoding that it most likely has.
    ///
    /// # Errors
    /// `Look` if it is no text in that encoding; `GiveAccess` if it cannot be read, or there is no room for the temporary file.
    pub fn respelled(&self, pinned: &Pinned) -> Result<RowFile, Error> {
        let encoding = guess(&self.file, &self.origin)?;
        let text = transcoded(&self.file, encoding, 0, &self.origin)?;
        RowFile::of(Text::of(text, encoding), &self.path, &self.origin, self.stamp, pinned)
    }

    /// The names of the columns, in the order of the file.
    pub fn names(&self) -> &[String] {
        &self.layout.names[usize::from(self.is_numbered)..]
    }

    /// Whether what is told as lines are rows of a file of another kind.
    pub fn is_numbered(&self) -> bool {
        self.is_numbered
    }

    /// The delimiter.
    pub fn delimiter(&self) -> u8 {
        self.layout.delimiter
    }

    /// The encoding that the operator has it in.
    pub fn encoding(&self) -> &'static str {
        self.spelled_in.name()
    }

    /// How many bytes of text there are.
    pub fn text_bytes(&self) -> u64 {
        self.length - self.base
    }

    /// How many rows there are, as far as its beginning tells.
    pub fn rows_estimated(&self) -> u64 {
        let mut head = vec![0; usize::try_from(self.text_bytes().min(HEAD_BYTES)).unwrap_or_default()];
        let read = read_at(&self.file, &mut head, self.base).unwrap_or_default();
        let lines = memchr::memchr_iter(b'\n', &head[..read]).count().max(memchr::memchr_iter(b'\r', &head[..read]).count()) as u64;
        // Rows shorter than that make do with growing.
        const ROW_BYTES_MIN: u64 = 16;
        (self.text_bytes() * (lines + 1) / (read as u64).max(1)).min(self.text_bytes() / ROW_BYTES_MIN) + 1
    }

    /// How many columns have names.
    pub fn width(&self) -> usize {
        self.names().len()
    }

    /// Walks over all rows with so many threads. `deliver` gets the number of the thread and the hashes of a block, blocks of one thread in the
    /// order of the file.
    ///
    /// # Errors
    /// [`Halt`]: what makes the file as a whole uncertain.
    pub fn scan(&mut self, form: &Form<'_>, threads: usize, deliver: &(dyn Fn(usize, &[Hashed]) + Sync)) -> Result<Scanned, Halt> {
        let body = self.base + self.layout.body as u64;
        let blocks = (self.length - body.min(self.length)).div_ceil(self.block_bytes);
        let proved =
            Proved { block: 0, at: body, line: self.layout.body_line, quotes: Some((0, false)), scanned: Scanned::default(), noted: Vec::new(), halt: None };
        let proved = Mutex::new(proved);
        let (turn, next) = (Condvar::new(), AtomicU64::new(0));
        let this: &RowFile = self;
        let work = |thread: usize| {
            let _alarm = Alarm { proved: &proved, turn: &turn, origin: &this.origin };
            let mut buffer = Vec::new();
            let mut room = Room::default();
            loop {
                let block = next.fetch_add(1, Ordering::Relaxed);
                if block >= blocks {
                    return;
                }
                let is_within = |text: &[u8]| {
                    let is_odd = is_odd(QUOTE, text);
                    let mut so_far = lock(&proved);
                    while so_far.quotes.is_some_and(|(next, _)| next != block) && so_far.halt.is_none() {
                        so_far = turn.wait(so_far).unwrap_or_else(PoisonError::into_inner);
                    }
                    let Some((next, is_within)) = &mut so_far.quotes else { return false };
                    let begins_within = std::mem::replace(is_within, *is_within ^ is_odd);
                    *next += 1;
                    turn.notify_all();
                    begins_within
                };
                let guess = this.walk(body, block, Beginning::Guessed(&is_within), form, &mut buffer, &mut room);
                let mut so_far = lock(&proved);
                if so_far.quotes.is_some_and(|(next, _)| next <= block) {
                    so_far.quotes = None;
                    turn.notify_all();
                }
                while so_far.block != block && so_far.halt.is_none() {
                    so_far = turn.wait(so_far).unwrap_or_else(PoisonError::into_inner);
                }
                if so_far.halt.is_some() {
                    return;
                }
                let walked = match guess {
                    Ok(walked) if walked.span.0 == so_far.at => Ok(walked),
                    Err((start, stop)) if start == so_far.at => Err(stop),
                    _ => {
                        so_far.quotes = None;
                        turn.notify_all();
                        this.walk(body, block, Beginning::Known(so_far.at), form, &mut buffer, &mut room).map_err(|(_, stop)| stop)
                    }
                };
                match walked {
                    Err(stop) => {
                        so_far.halt = Some(this.halt(stop, so_far.line));
                        turn.notify_all();
                        return;
                    }
                    Ok(walked) => {
                        let line = so_far.line;
                        so_far.noted.extend(walked.noted.iter().map(|(place, lines)| (*place, line + lines)));
                        let unreadable = walked.unreadable.iter().map(|row| Unreadable { line: line + row.line, ..*row });
                        so_far.scanned.unreadable.extend(unreadable);
                        so_far.scanned.rows += walked.rows;
                        (so_far.at, so_far.line, so_far.block) = (walked.span.1, line + walked.lines, block + 1);
                        turn.notify_all();
                        drop(so_far);
                        deliver(thread, &walked.hashed);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for thread in 1..threads {
                let work = &work;
                scope.spawn(move || work(thread));
            }
            work(0);
        });
        let proved = proved.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(halt) = proved.halt {
            return Err(halt);
        }
        (self.noted, self.rows) = (proved.noted, proved.scanned.rows);
        self.noted.shrink_to_fit();
        Ok(proved.scanned)
    }

    /// Walks over the rows that begin in a block.
    fn walk(&self, body: u64, block: u64, from: Beginning<'_>, form: &Form<'_>, buffer: &mut Vec<u8>, room: &mut Room) -> Result<Walked, (u64, Stop)> {
        let begin = body + block * self.block_bytes;
        let end = (begin + self.block_bytes).min(self.length);
        // The byte before it tells whether a line begins with the block.
        let low = match from {
            Beginning::Known(place) if place >= end => return Ok(Walked { span: (place, place), ..Walked::default() }),
            Beginning::Known(place) => place,
            Beginning::Guessed(_) => begin - u64::from(block > 0),
        };
        let mut begins_within = None;
        let mut beyond = self.beyond_bytes;
        loop {
            let wanted = usize::try_from((end - low).saturating_add(beyond as u64).min(self.length - low)).unwrap_or(usize::MAX);
            if buffer.len() < wanted {
                buffer.resize(wanted, 0);
            }
            let piece = &mut buffer[..wanted];
            let read = read_at(&self.file, piece, low).map_err(|error| (low, Stop::Error(Box::new(unreadable_file(&self.origin, &error)))))?;
            if read < wanted {
                return Err((low, Stop::Error(Box::new(still_written(&self.origin)))));
            }
            let is_end = low + wanted as u64 == self.length;
            let line_start = |near: u64| {
                let near = usize::try_from(near - low).unwrap_or(usize::MAX);
                memchr::memchr2(b'\r', b'\n', piece.get(near..)?).map(|at| after_line_end(piece, near + at))
            };
            let whole = || is_end.then_some(wanted);
            let start = match from {
                Beginning::Known(_) => Some(0),
                Beginning::Guessed(is_within) => {
                    let before = usize::from(block > 0);
                    let of_block = &piece[before..usize::try_from(end - low).unwrap_or(wanted).min(wanted)];
                    let mut is_within = *begins_within.get_or_insert_with(|| is_within(of_block)) ^ (block > 0 && piece[0] == QUOTE);
                    if block == 0 { Some(0) } else { line_end_outside(piece, 0, QUOTE, &mut is_within).map(|at| after_line_end(piece, at)).or_else(whole) }
                }
            };
            let until = if end == self.length { Some(wanted) } else { line_start(end - 1).or_else(whole) };
            if let (Some(start), Some(until)) = (start, until)
                && let Some(walked) = self.walk_piece(&buffer[..wanted], low, (start, until), is_end, form, room)
            {
                return walked.map_err(|stop| (low + start as u64, stop));
            }
            if beyond > BEYOND_BYTES_MAX {
                return Err((low, Stop::At(Stopped { line: 0, why: Why::Endless })));
            }
            beyond = beyond.saturating_mul(4);
        }
    }

    /// Walks over a piece of the file. Nothing if more of the file is needed.
    fn walk_piece(
        &self,
        piece: &[u8],
        low: u64,
        (start, until): (usize, usize),
        is_end: bool,
        form: &Form<'_>,
        room: &mut Room,
    ) -> Option<Result<Walked, Stop>> {
        // The piece may begin within a character, and end within one.
        let text = match simdutf8::compat::from_utf8(piece.get(start..)?) {
            Ok(text) => text,
            Err(error) => {
                let valid = start + error.valid_up_to();
                match error.error_len() {
                    None if !is_end => simdutf8::basic::from_utf8(&piece[start..valid]).ok()?,
                    length => {
                        let bytes = piece[valid..][..length.unwrap_or(piece.len() - valid)].to_vec();
                        return Some(Err(Stop::Encoding { line: line_breaks(&piece[start..valid]), bytes }));
                    }
                }
            }
        };
        let low = low + start as u64;
        let until = until.max(start) - start;
        if let Some(nul) = memchr::memchr(0, text.as_bytes()) {
            return Some(Err(Stop::Nul { line: line_breaks(&text.as_bytes()[..nul]) }));
        }
        let width = self.layout.names.len();
        let numbered = usize::from(self.is_numbered);
        let mut rows = self.layout.rows_between(text, (0, until), 0, LIMITS);
        let mut walked = Walked { hashed: Vec::with_capacity(until / 64), ..Walked::default() };
        let mut noted_until = 0;
        loop {
            let sight = match rows.advance_by_sight(width) {
                Ok(sight) => sight,
                // What is open at the end of the piece may be closed beyond it.
                Err(stopped) if stopped.why == Why::Unclosed && !is_end => return None,
                Err(stopped) => return Some(Err(Stop::At(stopped))),
            };
            if sight == Sight::End {
                break;
            }
            if rows.after >= text.len() && !is_end {
                return None;
            }
            walked.rows += 1;
            let place = low + rows.start as u64;
            if place >= noted_until {
                walked.noted.push((place, rows.line));
                noted_until = place + NOTED_BYTES;
            }
            match sight {
                Sight::Plain(row) if numbered == 0 => walked.hashed.push(form.of_plain(row, place, room)),
                Sight::Plain(row) => {
                    walked.hashed.push(form.of_plain(row.split_once(char::from(self.layout.delimiter)).map_or("", |(_, rest)| rest), place, room))
                }
                _ if rows.sound && rows.cells.len() == width => walked.hashed.push(form.of_cells(|column| rows.cell(column + numbered), place, room)),
                _ => {
                    let cells = rows.cells.len();
                    if rows.sound && cells < width && rows.line_end().is_empty() {
                        return Some(Err(Stop::CutOff { line: rows.line, cells }));
                    }
                    walked.unreadable.push(Unreadable { place, line: rows.line, cells: rows.sound.then(|| u32::try_from(cells).unwrap_or(u32::MAX)) });
                }
            }
        }
        walked.span = (low, low + rows.next().max(until) as u64);
        walked.lines = rows.next_line();
        Some(Ok(walked))
    }

    fn halt(&self, stop: Stop, line: u64) -> Halt {
        let place = |lines: u64| Place::of(&self.origin).line(line + lines);
        let look = |lines: u64, message: &str| Error::new(Remedy::Look, place(lines), message);
        let error = match stop {
            Stop::Error(error) => return Halt::Error(error),
            Stop::Encoding { .. } if self.is_guess => return Halt::OtherEncoding,
            Stop::Encoding { line, bytes } => text::malformed(place(line), self.encoding, &bytes),
            Stop::Nul { line: lines } => nul_error(&Place::of(&self.origin), line + lines),
            Stop::CutOff { line, cells } => look(line, "the file looks cut off")
                .seen(format!("its last row has no line end and {cells} of {} fields", self.layout.names.len()))
                .seen(NOTHING)
                .hint("export or copy the file again"),
            Stop::At(Stopped { line, why: Why::Unclosed }) => look(line, "a cell that begins on this line has an opening quote and no closing one")
                .seen(NOTHING)
                .hint("the file is cut off, or a quote is missing: look at that line and those after it, and export the file again"),
            Stop::At(Stopped { line, .. }) => look(line, "a cell that begins on this line does not end")
                .seen(format!("it is longer than {} MB: a quote is missing", LIMITS.bytes >> 20))
                .seen(NOTHING)
                .hint("look at that line and those after it, and export the file again"),
        };
        Halt::Error(Box::new(error))
    }

    /// Reads the rows at these places again; they may be in any order, and are read in the order of the file.
    ///
    /// # Errors
    /// `GiveAccess` if the file cannot be read, or is no longer as it was.
    pub fn fetch(&self, places: &[u64], with_lines: bool) -> Result<Fetched<'_>, Error> {
        let failed = |error: std::io::Error| unreadable_file(&self.origin, &error);
        let mut order: Vec<u32> = (0..places.len() as u32).collect();
        order.sort_unstable_by_key(|number| places[*number as usize]);
        let mut fetched = Fetched { of: self, text: Vec::new(), starts: vec![0; places.len()], lines: vec![0; if with_lines { places.len() } else { 0 }] };
        let mut length = usize::try_from(self.text_bytes() * 2 / self.rows.max(1)).unwrap_or(usize::MAX).clamp(128, 1 << 16) + 128;
        let mut buffer = Vec::new();
        if with_lines && !self.is_numbered {
            for number in &order {
                let place = places[*number as usize];
                let at = self.noted.partition_point(|(noted, _)| *noted <= place);
                let (noted, line) = at.checked_sub(1).map_or((self.base, 1), |at| self.noted[at]);
                buffer.resize(usize::try_from(place - noted).unwrap_or_default(), 0);
                read_at(&self.file, &mut buffer, noted).map_err(failed)?;
                // Before the row stands a line end, of which both halves are before it.
                fetched.lines[*number as usize] = line + line_breaks(&buffer);
            }
        }
        while !order.is_empty() {
            let from = fetched.text.len();
            let mut spans = Vec::with_capacity(order.len());
            for number in &order {
                let place = places[*number as usize];
                let wanted = usize::try_from(self.length.saturating_sub(place)).unwrap_or(usize::MAX).min(length);
                buffer.resize(wanted, 0);
                let read = read_at(&self.file, &mut buffer, place).map_err(failed)?;
                let valid = std::str::from_utf8(&buffer[..read]).map_or_else(|error| error.valid_up_to(), str::len);
                let start = fetched.text.len();
                fetched.text.extend_from_slice(&buffer[..valid]);
                let is_end = place + wanted as u64 >= self.length;
                fetched.text.push(b'\n');
                spans.push((start, start + valid, is_end));
            }
            let text = simdutf8::basic::from_utf8(&fetched.text).map_err(|_| still_written(&self.origin))?;
            let mut rows = self.layout.rows_between(text, (from, text.len()), 1, LIMITS);
            let mut rest = Vec::new();
            for (number, (start, end, is_end)) in order.iter().zip(spans) {
                let piece = &text.as_bytes()[start..end];
                let is_short = |length: usize| length + 1 < piece.len();
                let is_whole = match memchr::memchr3(b'"', b'\r', b'\n', piece) {
                    Some(at) if piece[at] != b'"' && is_short(at) => true,
                    _ => is_end || matches!(rows.go_to(start), Ok(true)) && rows.after < end,
                };
                if is_whole {
                    fetched.starts[*number as usize] = start;
                } else {
                    rest.push(*number);
                }
            }
            order = rest;
            length = length.saturating_mul(4);
        }
        Ok(fetched)
    }

    /// The physical line of a row that the operator knows, of which the walk stands on one of ours.
    fn number_of(&self, rows: &Rows<'_>) -> Option<u64> {
        if self.is_numbered && !rows.cells.is_empty() { rows.cell(0).parse().ok() } else { None }
    }

    /// Proves that the file is still the one that was opened.
    ///
    /// # Errors
    /// `GiveAccess` if somebody wrote it meanwhile.
    pub fn prove_unchanged(&self) -> Result<(), Error> {
        let now = disk::stamp(&self.path).ok().flatten();
        if now == self.stamp { Ok(()) } else { Err(still_written(&self.origin)) }
    }
}

/// Rows that were read again, by the order in which they were asked for.
#[derive(Debug)]
pub struct Fetched<'f> {
    of: &'f RowFile,
    text: Vec<u8>,
    starts: Vec<usize>,
    lines: Vec<u64>,
}

impl Fetched<'_> {
    /// A walk over them.
    ///
    /// # Errors
    /// `GiveAccess` if the file is no longer as it was.
    pub fn reader(&self) -> Result<Reader<'_>, Error> {
        let text = simdutf8::basic::from_utf8(&self.text).map_err(|_| still_written(&self.of.origin))?;
        Ok(Reader { fetched: self, rows: self.of.layout.rows_between(text, (0, text.len()), 1, LIMITS) })
    }
}

/// A walk over rows that were read again.
pub struct Reader<'f> {
    fetched: &'f Fetched<'f>,
    rows: Rows<'f>,
}

impl Reader<'_> {
    /// Goes to one of the rows, by its number among those that were asked for.
    ///
    /// # Errors
    /// `GiveAccess` if the file is no longer as it was.
    pub fn go_to(&mut self, number: usize) -> Result<(), Error> {
        match self.rows.go_to(self.fetched.starts[number]) {
            Ok(true) => Ok(()),
            _ => Err(still_written(&self.fetched.of.origin)),
        }
    }

    /// What a column of the row says; the empty text if the row does not have it.
    pub fn cell(&self, column: usize) -> &str {
        let column = column + usize::from(self.fetched.of.is_numbered);
        if column < self.rows.cells.len() { self.rows.cell(column) } else { "" }
    }

    /// The row as it stands in the file, without its line end.
    pub fn raw(&self) -> &str {
        self.rows.raw()
    }

    /// The line of a row, or its number in a file of another kind; zero if lines were not asked for.
    pub fn line(&self, number: usize) -> u64 {
        self.fetched.of.number_of(&self.rows).or_else(|| self.fetched.lines.get(number).copied()).unwrap_or_default()
    }
}

/// Tells the others when a thread fails, so that nobody waits for its block.
struct Alarm<'s> {
    proved: &'s Mutex<Proved>,
    turn: &'s Condvar,
    origin: &'s str,
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(self.proved).halt.get_or_insert_with(|| still_written(self.origin).into());
            self.turn.notify_all();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens a file for reading.
///
/// # Errors
/// `GiveAccess` if it is a folder, is not there, or may not be read.
pub fn open_file(path: &Path, origin: &str) -> Result<(File, Option<disk::Stamp>), Error> {
    let refuse = |message: &str, hint: &str| Error::new(Remedy::GiveAccess, Place::of(origin), message).seen(NOTHING).hint(hint);
    if path.is_dir() {
        return Err(refuse("this is a folder, not a file", "name the file in it"));
    }
    if !path.exists() {
        return Err(refuse("there is no such file", "look whether the path is right and the drive is there"));
    }
    let failed = |error: std::io::Error| unreadable_file(origin, &error);
    let mut file = File::open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        // A pipe can be read once, and only from its beginning.
        let mut copy = disk::nameless()?;
        std::io::copy(&mut file, &mut copy).map_err(|error| disk::no_room_for_nameless(&error))?;
        return Ok((copy, None));
    }
    Ok((file, disk::stamp(path)?))
}

/// Reads until the buffer is full or the file ends; how many bytes were read.
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The encoding that a file which is not UTF-8 most likely has.
fn guess(file: &File, origin: &str) -> Result<&'static Encoding, Error> {
    let failed = |error: std::io::Error| unreadable_file(origin, &error);
    let mut piece = vec![0; PIECE_GUESSED_BYTES];
    let mut at = 0;
    loop {
        let read = read_at(file, &mut piece, at).map_err(failed)?;
        let seen = &piece[..read];
        match seen.iter().position(|byte| !byte.is_ascii()) {
            Some(first) => {
                let from = memchr::memrchr(b'\n', &seen[..first]).map_or(0, |line_end| line_end + 1);
                let read = read_at(file, &mut piece, at + from as u64).map_err(failed)?;
                return Ok(text::guessed(&piece[..read]));
            }
            None if read < piece.len() => return Ok(UTF_8),
            None => at += read as u64,
        }
    }
}

/// The text of a file in UTF-8, in a nameless file.
fn transcoded(mut file: &File, encoding: &'static Encoding, skipped: usize, origin: &str) -> Result<File, Error> {
    const PIECE: usize = 1 << 18;
    let failed = |error: std::io::Error| unreadable_file(origin, &error);
    let mut out = disk::nameless()?;
    let no_room = |error: std::io::Error| disk::no_room_for_nameless(&error);
    file.seek(SeekFrom::Start(skipped as u64)).map_err(failed)?;
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let (mut bytes, mut filled) = (vec![0; PIECE], 0);
    let mut text = vec![0; PIECE * 3];
    loop {
        let read = file.read(&mut bytes[filled..]).map_err(failed)?;
        let is_last = read == 0;
        filled += read;
        let mut done = 0;
        loop {
            let (result, read, written) = decoder.decode_to_utf8_without_replacement(&bytes[done..filled], &mut text, is_last);
            out.write_all(&text[..written]).map_err(no_room)?;
            let before = done;
            done += read;
            match result {
                DecoderResult::InputEmpty => break,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(length, after) => {
                    let end = done.saturating_sub(usize::from(after));
                    let from = end.saturating_sub(usize::from(length)).max(before.min(end));
                    return Err(text::malformed(Place::of(origin).line(lines_of(&out).map_err(failed)?), encoding, &bytes[from..end]));
                }
            }
        }
        if is_last {
            return Ok(out);
        }
        bytes.copy_within(done..filled, 0);
        filled -= done;
    }
}

/// The line on which a text ends.
fn lines_of(text: &File) -> std::io::Result<u64> {
    let mut piece = vec![0; 1 << 16];
    let (mut at, mut lines, mut is_after_return) = (0, 1, false);
    loop {
        let read = read_at(text, &mut piece, at)?;
        let seen = &piece[..read];
        // A line end whose halves were read apart is one.
        lines += line_breaks(seen) - u64::from(is_after_return && seen.first() == Some(&b'\n'));
        is_after_return = seen.last() == Some(&b'\r');
        at += read as u64;
        if read < piece.len() {
            return Ok(lines);
        }
    }
}

/// The error of a file that cannot be read.
pub fn unreadable_file(origin: &str, error: &std::io::Error) -> Error {
    let message = match error.kind() {
        std::io::ErrorKind::PermissionDenied => "the file cannot be read: access is denied".to_owned(),
        _ => format!("the file cannot be read: {error}"),
    };
    Error::new(Remedy::GiveAccess, Place::of(origin), message).seen(NOTHING).hint("give the user that runs `tieout` access to the file and its folder")
}

/// The error of a file that somebody writes.
pub fn still_written(origin: &str) -> Error {
    Error::new(Remedy::GiveAccess, Place::of(origin), "somebody writes the file while it is read")
        .seen("what was found is not certain")
        .hint("try again when the file is complete")
}

fn nul_error(place: &Place, line: u64) -> Error {
    Error::new(Remedy::Look, place.clone().line(line), "the file contains NUL characters: it is damaged, or no text file")
        .seen(NOTHING)
        .hint("export the file again")
}

fn no_layout(place: &Place, problem: &NoLayout, length: u64) -> Error {
    match problem {
        NoLayout::Empty { .. } if length == 0 => {
            Error::new(Remedy::Look, place.clone(), "the file is empty").seen(NOTHING).hint("export it again: not even a header is there")
        }
        NoLayout::Empty { lines } => Error::new(Remedy::Look, place.clone(), "there is no header in the file")
            .seen(format!("it has {lines} blank lines"))
            .seen(NOTHING)
            .hint("export the file again"),
        NoLayout::Header { line } => Error::new(Remedy::Look, place.clone().line(*line), "the header cannot be read: its quotes are not in order")
            .seen(NOTHING)
            .hint("export the file again"),
        NoLayout::Delimiter { expected, seen, .. } => Error::new(Remedy::Look, place.clone(), "the delimiter of the file is not the expected one")
            .seen(format!(
                "`--delimiter` says `{}`, the first line of the file `{}`",
                char::from(*expected).escape_default(),
                char::from(*seen).escape_default()
            ))
            .seen(NOTHING)
            .hint("leave `--delimiter` out: that line is believed"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::reconcile::rowwise::{Asked, Columns, Comparison, SECRET_BYTES, Secret};

    fn opened(folder: &Path, bytes: &[u8]) -> Result<RowFile, Error> {
        let path = folder.join("a.csv");
        std::fs::write(&path, bytes).expect("written");
        RowFile::open(&path, "a.csv", &Pinned { delimiter: Some(b','), ..Pinned::default() })
    }

    type All = Result<(Vec<Hashed>, Vec<Unreadable>, u64), String>;

    fn scanned(file: &mut RowFile, threads: usize) -> All {
        let asked = Asked { key: vec![("id".to_owned(), "id".to_owned())], mark: '.', ..Asked::default() };
        let comparison = Comparison::new(Columns::find(&asked, file.names(), file.names()).expect("columns"), &asked);
        let secret = Secret { bytes: [[3; SECRET_BYTES], [5; SECRET_BYTES]], bits: 64 };
        let form = Form::new(&comparison, &secret, false, file.width(), [b',', b',']);
        let all = Mutex::new(Vec::new());
        let scanned = file.scan(&form, threads, &|_, rows| lock(&all).extend_from_slice(rows)).map_err(|halt| match halt {
            Halt::Error(error) => error.to_string(),
            Halt::OtherEncoding => "other encoding".to_owned(),
        })?;
        let mut all = all.into_inner().expect("all");
        all.sort_unstable_by_key(|row| row.place);
        Ok((all, scanned.unreadable, scanned.rows))
    }

    proptest! {
        /// Blocks of any size, walked by several threads, tell what one walk over the whole does; and rows are fetched as they are.
        #[test]
        fn blocks_are_walked_as_the_whole_is(body in "([ab,\"\r\nü]|a{100}){0,80}", block in 1..40_u64, beyond in 1..9_usize, threads in 1..4_usize) {
            let folder = tempfile::tempdir().expect("a folder");
            let text = format!("id,b\n{body}");
            let mut whole = opened(folder.path(), text.as_bytes()).expect("a header");
            let expected = scanned(&mut whole, 1);
            let mut cut = opened(folder.path(), text.as_bytes()).expect("a header");
            (cut.block_bytes, cut.beyond_bytes) = (block, beyond);
            let found = scanned(&mut cut, threads);
            prop_assert_eq!(&found, &expected);
            let Ok((rows, unreadable, _)) = found else { return Ok(()) };
            let mut known = BTreeMap::new();
            let mut walk = whole.layout.rows(&text);
            while walk.advance().expect("rows") {
                known.insert(walk.start as u64, (walk.line, walk.raw().to_owned(), walk.cell(0).to_owned()));
            }
            let places: Vec<u64> = rows.iter().map(|row| row.place).chain(unreadable.iter().map(|row| row.place)).rev().collect();
            prop_assert_eq!(places.len(), known.len());
            let fetched = cut.fetch(&places, true).expect("fetched");
            let mut reader = fetched.reader().expect("a reader");
            for (number, place) in places.iter().enumerate() {
                reader.go_to(number).expect("a row");
                prop_assert_eq!(&(reader.line(number), reader.raw().to_owned(), reader.cell(0).to_owned()), &known[place]);
            }
        }
    }

    #[test]
    fn what_makes_a_file_uncertain_stops_the_scan() {
        let folder = tempfile::tempdir().expect("a folder");
        for (bytes, expected) in [
            (&b"id,b\n1,2\n2,\"x\n3,4\n"[..], Some("a.csv:3: a cell that begins on this line has an opening quote")),
            (b"id,b\n1,2\n2", Some("a.csv:3: the file looks cut off")),
            (b"id,b\n1,2\n2,\0\n", Some("a.csv:3: the file contains NUL")),
            (b"", Some("a.csv: the file is empty")),
            (b"\n\n", Some("a.csv: there is no header")),
            (b"id,id\n", Some("a.csv:1: the header has the column `id` more than once")),
            (b"id,b\n1,2\n\n2,3", None),
            (b"id,b", None),
        ] {
            let told = opened(folder.path(), bytes).map_err(|error| error.to_string()).and_then(|mut file| scanned(&mut file, 2)).err();
            match expected {
                Some(expected) => assert!(told.as_deref().unwrap_or_default().starts_with(&format!("error: {expected}")), "{told:?}"),
                None => assert_eq!(told, None),
            }
        }
    }

    #[test]
    fn a_cell_may_be_a_document() {
        let folder = tempfile::tempdir().expect("a folder");
        let long = "x\n".repeat(1 << 19);
        let mut file = opened(folder.path(), format!("id,b\n1,\"{long}\"\n2,\"{long}\"\n3,y\n").as_bytes()).expect("a header");
        let (rows, ..) = scanned(&mut file, 2).expect("rows");
        let places: Vec<u64> = rows.iter().map(|row| row.place).collect();
        assert_eq!(places.len(), 3);
        let fetched = file.fetch(&places, true).expect("fetched");
        let mut reader = fetched.reader().expect("a reader");
        reader.go_to(1).expect("a row");
        assert_eq!((reader.cell(1), reader.line(1)), (long.as_str(), 3 + (1 << 19)));
    }
}
