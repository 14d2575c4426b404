//! Any file as a table of text, to be compared with another. Which kind it is says its ending.
//!
//! A CSV file is read where it is. Every other kind is spelled as one, in UTF-8 and with the number of each row in a column before
//! the others, into a nameless temporary file: so it is read in pieces as they are, and its size is no matter.
//!
//! What a kind delivers is its [`Spelling`]: the names of its columns, then rows of cells. A number is spelled as short as it exactly can be,
//! a date or moment as ISO 8601 has it, and what is missing is the empty text.

mod json;
mod parquet;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::disk;
use crate::error::Error;
use crate::systems::csv::places::{Pinned, RowFile, open_file};
use crate::systems::excel;

/// Opens a file.
///
/// # Errors
/// `GiveAccess` if it is not there or cannot be read; `Look` if it is not what its ending says, or a name stands twice in its header.
pub fn open(path: &Path, pinned: &Pinned, sheet: Option<&str>) -> Result<RowFile, Error> {
    let origin = path.display().to_string();
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let spell: &dyn Fn(File, &mut Spelling) -> Result<(), Error> = match ending.as_str() {
        "xlsx" | "xlsm" | "xls" | "xlsb" | "ods" => &|_, spelling| {
            let table = excel::table_of(path, &origin, sheet)?;
            spelling.header(table.columns.iter().map(|(name, _)| name.as_str()))?;
            let columns: Vec<_> = table.columns.iter().map(|(_, texts)| texts).collect();
            for (row, line) in table.lines.iter().enumerate() {
                spelling.row(*line, columns.iter().map(|texts| texts.get(row).unwrap_or_default()))?;
            }
            Ok(())
        },
        "parquet" => &|file, spelling| parquet::spell(file, &origin, spelling),
        "json" | "ndjson" | "jsonl" => &|file, spelling| json::spell(&file, &origin, spelling),
        _ => return RowFile::open(path, &origin, pinned),
    };
    let (file, stamp) = open_file(path, &origin)?;
    let mut spelling = Spelling::begin()?;
    spell(file, &mut spelling)?;
    RowFile::numbered(spelling.end()?, path, &origin, stamp)
}

/// A table while it is spelled as CSV.
pub struct Spelling {
    out: BufWriter<File>,
    line: Vec<u8>,
}

impl Spelling {
    fn begin() -> Result<Spelling, Error> {
        Ok(Spelling { out: BufWriter::with_capacity(1 << 18, disk::nameless()?), line: Vec::new() })
    }

    /// Takes the names of the columns: once, and before the rows.
    ///
    /// # Errors
    /// `GiveAccess` if there is no room for them.
    pub fn header<'c>(&mut self, names: impl IntoIterator<Item = &'c str>) -> Result<(), Error> {
        self.put("#", names)
    }

    /// Takes a row, of which people know the number.
    ///
    /// # Errors
    /// `GiveAccess` if there is no room for it.
    pub fn row<'c>(&mut self, number: u64, cells: impl IntoIterator<Item = &'c str>) -> Result<(), Error> {
        self.put(&number.to_string(), cells)
    }

    fn put<'c>(&mut self, first: &str, cells: impl IntoIterator<Item = &'c str>) -> Result<(), Error> {
        self.line.clear();
        self.line.extend_from_slice(first.as_bytes());
        for cell in cells {
            self.line.push(b',');
            push_cell(&mut self.line, cell);
        }
        self.line.push(b'\n');
        self.out.write_all(&self.line).map_err(|error| disk::no_room_for_nameless(&error))
    }

    fn end(self) -> Result<File, Error> {
        self.out.into_inner().map_err(|error| disk::no_room_for_nameless(error.error()))
    }
}

/// Adds a cell, in quotes if it needs them. A NUL cannot stand in one, and is told from nothing by the character for it.
fn push_cell(line: &mut Vec<u8>, cell: &str) {
    let needs_quotes = cell.bytes().any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n' | 0));
    if !needs_quotes {
        line.extend_from_slice(cell.as_bytes());
        return;
    }
    line.push(b'"');
    for byte in cell.bytes() {
        match byte {
            b'"' => line.extend_from_slice(b"\"\""),
            0 => line.extend_from_slice("\u{2400}".as_bytes()),
            other => line.push(other),
        }
    }
    line.push(b'"');
}
