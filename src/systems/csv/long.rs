//! The text of a file: at hand as a whole, or left on the disk and read in windows.
//!
//! A short file is held as it was read. Of a long one only a window is in memory while its rows are walked over, and single rows
//! are read again by where they stand. Both are walked by the same [`Rows`], so that a file has the same rows whichever way it
//! is read.
//!
//! # Design
//! - A window ends at the beginning of a line, as if that were the beginning of a row. If the walk ends elsewhere, the next
//!   window begins there. A row that reaches the end of what was read is read again with more below it.
//! - The file stays open: whoever puts another one in its place does not change what is read here. Whoever writes into it does, so
//!   that a row which is read again is compared with the hash that it had ([`LongText::rows_again`]).
//! - Only UTF-8 is read in windows. Other encodings are decoded as a whole.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::rows::{Layout, Rows, WalkedWindow, line_breaks};

/// How much of a file is walked over at once.
const WINDOW_BYTES: usize = 32 << 20;

/// How much is read below a window at first, for a row that ends there.
const BELOW_BYTES: usize = 1 << 18;

/// No row is longer than this.
const ROW_BYTES_MAX: usize = 1 << 28;

/// Rows that stand no farther apart are read at once.
const GAP_BYTES_MAX: u64 = 1 << 14;

/// So much is read at once of rows that stand close together.
const PIECE_BYTES_MAX: u64 = 8 << 20;

/// A long file, open.
#[derive(Debug)]
pub(super) struct LongText {
    file: File,
    /// How many bytes stand before the text: a byte order mark.
    pub skipped: usize,
    /// How many bytes the text has.
    pub length: usize,
    changed: (i64, i64, u64),
    window: usize,
}

/// Why a text cannot be read.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// The disk says so.
    Disk(io::Error),
    /// Somebody writes the file.
    Changing,
    /// It is not UTF-8.
    OtherEncoding,
    /// There is a NUL character on this line.
    Nul(u64),
    /// The row that begins on this line is longer than any row.
    Endless(u64),
}

/// What ends a walk over a text.
#[derive(Debug)]
pub(super) enum Halt<E> {
    /// The walk itself.
    Walk(E),
    /// The text cannot be read.
    Text(Unreadable),
}

/// A text that is walked over.
#[derive(Clone, Copy, Debug)]
pub(super) enum Text<'t> {
    /// All of it.
    Whole(&'t str),
    /// One that is read in windows.
    Long(&'t LongText),
}

/// What was made of one stretch of a text.
#[derive(Clone, Debug)]
pub(super) struct Walked<T> {
    /// What is to be added to the lines of its rows.
    pub lines: u64,
    /// What is to be added to the places of its rows.
    pub bytes: usize,
    /// What was made.
    pub made: T,
}

/// Walks over the rows of a text in several stretches at once, and gives what `walk` makes of each, in the order of the text. `walk`
/// goes to the end of the walk that it gets. `seen` is told all bytes of a long text, in their order.
pub(super) fn walk_over<T: Send, E: Send>(
    layout: &Layout,
    text: Text<'_>,
    stretches: usize,
    seen: &mut (dyn FnMut(&[u8]) + Send),
    walk: impl Fn(&mut Rows<'_>) -> Result<T, E> + Sync,
) -> Result<Vec<Walked<T>>, Halt<E>> {
    match text {
        Text::Whole(text) => {
            let walked = layout.walks(text, stretches, walk).map_err(Halt::Walk)?;
            Ok(walked.into_iter().map(|(lines, made)| Walked { lines, bytes: 0, made }).collect())
        }
        Text::Long(long) => long.walk_over(layout, stretches, seen, walk),
    }
}

impl Text<'_> {
    /// The bytes of this span, or less where the text ends.
    pub fn bytes(&self, span: Range<usize>) -> Result<Vec<u8>, Unreadable> {
        match self {
            Text::Whole(text) => Ok(text.as_bytes()[span.start.min(text.len())..span.end.min(text.len())].to_vec()),
            Text::Long(long) => long.read(span.start, span.len()),
        }
    }

    /// How many bytes it has.
    pub fn length(&self) -> usize {
        match self {
            Text::Whole(text) => text.len(),
            Text::Long(long) => long.length,
        }
    }
}

impl LongText {
    /// Opens a file if it is longer than this, and is text as it stands, as far as its beginning tells; nothing else.
    pub fn open(path: &Path, longer_than: usize, skipped: impl Fn(&[u8]) -> Option<usize>) -> io::Result<Option<LongText>> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        let bytes = usize::try_from(meta.len()).unwrap_or(usize::MAX);
        if bytes <= longer_than || !meta.is_file() {
            return Ok(None);
        }
        let mut head = vec![0; 4];
        let read = file.read_at(&mut head, 0)?;
        let Some(skipped) = skipped(&head[..read]) else { return Ok(None) };
        let window = WINDOW_BYTES.min(longer_than.max(1));
        Ok(Some(LongText { file, skipped, length: bytes - skipped, changed: (meta.mtime(), meta.mtime_nsec(), meta.len()), window }))
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Proves that nobody wrote into the file since it was opened.
    pub fn prove_unchanged(&self) -> Result<(), Unreadable> {
        let meta = self.file.metadata().map_err(Unreadable::Disk)?;
        if (meta.mtime(), meta.mtime_nsec(), meta.len()) == self.changed { Ok(()) } else { Err(Unreadable::Changing) }
    }

    /// So many bytes of the text from there on, or less where it ends.
    pub fn read(&self, from: usize, bytes: usize) -> Result<Vec<u8>, Unreadable> {
        let mut buffer = Vec::new();
        self.read_into(&mut buffer, from, bytes)?;
        Ok(buffer)
    }

    fn read_into(&self, buffer: &mut Vec<u8>, from: usize, bytes: usize) -> Result<(), Unreadable> {
        buffer.resize(bytes.min(self.length.saturating_sub(from)), 0);
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], (self.skipped + from + filled) as u64) {
                // It is shorter than it was when it was opened.
                Ok(0) => return Err(Unreadable::Changing),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Unreadable::Disk(error)),
            }
        }
        Ok(())
    }

    /// The beginning of the text, up to the end of a line.
    pub fn head(&self, bytes: usize) -> Result<String, Unreadable> {
        let mut head = self.read(0, bytes)?;
        if head.len() < self.length {
            let end = memchr::memrchr2(b'\r', b'\n', &head[..head.len().saturating_sub(1)]).map_or(head.len(), |at| at + 1);
            head.truncate(end);
        }
        let text = String::from_utf8(head).map_err(|_| Unreadable::OtherEncoding)?;
        match memchr::memchr(0, text.as_bytes()) {
            Some(nul) => Err(Unreadable::Nul(1 + line_breaks(&text.as_bytes()[..nul]))),
            None => Ok(text),
        }
    }

    fn walk_over<T: Send, E: Send>(
        &self,
        layout: &Layout,
        stretches: usize,
        seen: &mut (dyn FnMut(&[u8]) + Send),
        walk: impl Fn(&mut Rows<'_>) -> Result<T, E> + Sync,
    ) -> Result<Vec<Walked<T>>, Halt<E>> {
        let mut walked = Vec::new();
        let (mut from, mut line) = (layout.body, layout.body_line);
        let mut above = self.read(0, from).map_err(Halt::Text)?;
        let mut buffer = Vec::new();
        while from < self.length {
            let mut below = BELOW_BYTES;
            let WalkedWindow { walked: made, next, next_line } = loop {
                self.read_into(&mut buffer, from, self.window + below).map_err(Halt::Text)?;
                let is_last = from + buffer.len() >= self.length;
                let text = match simdutf8::compat::from_utf8(&buffer) {
                    Ok(text) => text,
                    Err(error) if error.error_len().is_none() && !is_last => simdutf8::basic::from_utf8(&buffer[..error.valid_up_to()]).unwrap_or_default(),
                    Err(_) => return Err(Halt::Text(Unreadable::OtherEncoding)),
                };
                if let Some(nul) = memchr::memchr(0, text.as_bytes()) {
                    return Err(Halt::Text(Unreadable::Nul(line + line_breaks(&text.as_bytes()[..nul]))));
                }
                let until = if is_last { text.len() } else { line_start(text.as_bytes(), self.window) };
                let window = || layout.walk_window(text, (line, until), stretches, &walk);
                // What was walked over before is told meanwhile.
                let told = std::mem::take(&mut above);
                let ((), walked) = rayon::join(|| seen(&told), window);
                match walked {
                    // A row that is not seen to its end.
                    Ok(seen) if !is_last && seen.next >= text.len() && below < ROW_BYTES_MAX => below = below.saturating_mul(16),
                    Err(_) if !is_last && below < ROW_BYTES_MAX => below = below.saturating_mul(16),
                    Ok(seen) if !is_last && seen.next >= text.len() => return Err(Halt::Text(Unreadable::Endless(seen.next_line))),
                    Err(error) => return Err(Halt::Walk(error)),
                    Ok(walked) => break walked,
                }
            };
            walked.extend(made.into_iter().map(|(lines, made)| Walked { lines, bytes: from, made }));
            buffer.truncate(next);
            std::mem::swap(&mut above, &mut buffer);
            (from, line) = (from + next, next_line);
        }
        seen(&above);
        Ok(walked)
    }

    /// Goes through rows by where they begin: `found` is told the number of each among `starts`, and the walk that stands on it. They
    /// may be in any order, and are come to in the order of the file. `until` tells where a row ends at the latest.
    pub fn rows_again(&self, layout: &Layout, starts: &[Range<u64>], mut found: impl FnMut(usize, &mut Rows<'_>) -> bool) -> Result<(), Unreadable> {
        let mut order: Vec<u32> = (0..starts.len() as u32).collect();
        if !starts.is_sorted_by_key(|span| span.start) {
            order.sort_unstable_by_key(|number| starts[*number as usize].start);
        }
        let mut buffer = Vec::new();
        let mut rest = order.as_slice();
        while let Some(first) = rest.first() {
            let from = starts[*first as usize].start;
            let mut end = starts[*first as usize].end;
            let near = |number: &&u32, end: u64| {
                let span = &starts[**number as usize];
                span.start <= end + GAP_BYTES_MAX && span.end - from <= PIECE_BYTES_MAX
            };
            let mut together = 1;
            while let Some(number) = rest.get(together).filter(|number| near(number, end)) {
                end = end.max(starts[*number as usize].end);
                together += 1;
            }
            let (piece, others) = rest.split_at(together);
            self.read_into(&mut buffer, from as usize, (end - from) as usize)?;
            let text = simdutf8::basic::from_utf8(&buffer).map_err(|_| Unreadable::Changing)?;
            let mut rows = layout.rows_alone(text);
            for number in piece {
                let is_there = rows.go_to((starts[*number as usize].start - from) as usize);
                if is_there != Ok(true) || !found(*number as usize, &mut rows) {
                    return Err(Unreadable::Changing);
                }
            }
            rest = others;
        }
        Ok(())
    }
}

/// Where the line begins that is the first to begin at or after a place, or the end of the text. A line end of which the second half may
/// not have been read is none.
fn line_start(bytes: &[u8], near: usize) -> usize {
    let near = near.min(bytes.len());
    let Some(end) = memchr::memchr2(b'\r', b'\n', &bytes[near..]) else { return bytes.len() };
    match (bytes[near + end], bytes.get(near + end + 1)) {
        (b'\n', _) => near + end + 1,
        (_, Some(b'\n')) => near + end + 2,
        (_, Some(_)) => near + end + 1,
        (_, None) => bytes.len(),
    }
}
