//! Differences as a file: CSV, a JSON object a line, Parquet, a page or a workbook. What it is says its ending.
//!
//! A file is written beside its place and put there when all of it is durable. CSV, JSON and Parquet hold all differences and are
//! written as they come; a page and a workbook are for people, hold as many as people look at, and say how many more there are.
//! A text that looks like a formula is written as it is into text files; in a workbook it is text.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use polars::prelude::*;

use super::Sink;
use crate::diagnostic::Place;
use crate::disk::Draft;
use crate::error::{Error, Remedy};
use crate::report::comparison::{Compared, Difference, Findings};
use crate::report::comparison_files::{PAGE_ROWS_MAX, WORKBOOK_CELLS_MAX, page, workbook};

/// So many rows of a Parquet file are written at once.
const GROUP_ROWS: usize = 1 << 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Csv,
    Lines,
    Parquet,
    Page,
    Workbook,
}

/// A file of differences that is being written.
pub struct Output {
    path: PathBuf,
    replaces: bool,
    format: Format,
    compared: Compared,
    /// Once there is something to write.
    written: Option<(Draft, File, Writer)>,
}

enum Writer {
    Csv(Box<::csv::Writer<BufWriter<File>>>),
    Lines(BufWriter<File>),
    Parquet(Box<Groups>),
    Kept { out: BufWriter<File>, differences: Vec<Difference>, most: usize },
}

/// A Parquet file, and the rows that wait for the next group.
struct Groups {
    writer: BatchedWriter<BufWriter<File>>,
    headings: Vec<String>,
    lines: [Vec<Option<u64>>; 2],
    texts: Vec<Vec<Option<String>>>,
}

impl Output {
    /// A file that is to be written when both others were read.
    ///
    /// # Errors
    /// `MendJob` if its ending says no format, if it is one of the files that are compared, or there is such a file that is not to be replaced.
    pub fn new(path: &Path, replaces: bool, compared: &[&Path]) -> Result<Output, Error> {
        let refuse = |message: &str, hint: &str| {
            Error::new(Remedy::MendJob, Place::of(path.display().to_string()), message).seen("nothing was read or written").hint(hint)
        };
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        let format = match ending.as_str() {
            "csv" => Format::Csv,
            "jsonl" | "ndjson" => Format::Lines,
            "parquet" => Format::Parquet,
            "html" => Format::Page,
            "xlsx" => Format::Workbook,
            _ => return Err(refuse("the ending of the file says no format of differences", "name a file that ends in .csv, .jsonl, .parquet, .html or .xlsx")),
        };
        if path.is_dir() {
            return Err(refuse("the differences cannot be written: this is a folder", "name a file"));
        }
        if path.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
            return Err(refuse("the differences cannot be written: the folder is not there", "make the folder, or name another file"));
        }
        let is_one = |other: &&Path| path.canonicalize().ok().zip(other.canonicalize().ok()).is_some_and(|(one, other)| one == other);
        if compared.iter().any(is_one) {
            return Err(refuse("the differences cannot be written: this is one of the files that are compared", "name another file"));
        }
        if path.exists() && !replaces {
            return Err(refuse("the differences are not written: there is such a file already", "name another file, or replace this one with `--force`"));
        }
        Ok(Output { path: path.to_owned(), replaces, format, compared: Compared::default(), written: None })
    }

    /// Ends the file and puts it in its place.
    ///
    /// # Errors
    /// `GiveAccess` if it cannot be written; then no part of it is left.
    pub fn end(mut self, findings: &Findings) -> Result<(), Error> {
        let Some((draft, file, writer)) = self.written.take() else { return Ok(()) };
        let failed = |error: std::io::Error| draft.failed(&error);
        match writer {
            Writer::Csv(mut writer) => writer.flush().map_err(failed)?,
            Writer::Lines(mut out) => out.flush().map_err(failed)?,
            Writer::Parquet(mut groups) => {
                groups.write(&draft)?;
                groups.writer.finish().map_err(|error| draft.failed(&std::io::Error::other(error.to_string())))?;
            }
            Writer::Kept { mut out, differences, .. } => {
                let bytes = match self.format {
                    Format::Workbook => workbook(&self.compared, findings, &differences).map_err(|why| {
                        Error::new(Remedy::Look, Place::of(self.path.display().to_string()), "the workbook cannot be made")
                            .seen(why)
                            .hint("write a file that ends in .csv or .jsonl")
                    })?,
                    _ => page(&self.compared, findings, &differences).into_bytes(),
                };
                out.write_all(&bytes).and_then(|()| out.flush()).map_err(failed)?;
            }
        }
        draft.keep(&file, self.replaces)
    }
}

impl Sink for Output {
    fn begin(&mut self, compared: &Compared) -> Result<(), Error> {
        self.compared = compared.clone();
        let (draft, file) = Draft::begin(&self.path)?;
        let failed = |error: std::io::Error| draft.failed(&error);
        let out = BufWriter::with_capacity(1 << 18, file.try_clone().map_err(failed)?);
        let headings = compared.headings();
        let kept = |out, most| Writer::Kept { out, differences: Vec::new(), most };
        let writer = match self.format {
            Format::Csv => {
                let mut writer = ::csv::Writer::from_writer(out);
                writer.write_record(&headings).map_err(|error| failed(error.into()))?;
                Writer::Csv(Box::new(writer))
            }
            Format::Lines => Writer::Lines(out),
            Format::Parquet => {
                let types = headings
                    .iter()
                    .enumerate()
                    .map(|(at, name)| Field::new(name.as_str().into(), if at == 1 || at == 2 { DataType::UInt64 } else { DataType::String }));
                let writer = ParquetWriter::new(out).with_compression(ParquetCompression::Lz4Raw).batched(&Schema::from_iter(types));
                let writer = writer.map_err(|error| failed(std::io::Error::other(error.to_string())))?;
                let texts = vec![Vec::new(); headings.len() - 2];
                Writer::Parquet(Box::new(Groups { writer, headings, lines: [Vec::new(), Vec::new()], texts }))
            }
            Format::Page => kept(out, PAGE_ROWS_MAX),
            Format::Workbook => kept(out, WORKBOOK_CELLS_MAX / headings.len()),
        };
        self.written = Some((draft, file, writer));
        Ok(())
    }

    fn wants_more(&self) -> bool {
        match &self.written {
            Some((.., Writer::Kept { differences, most, .. })) => differences.len() < *most,
            written => written.is_some(),
        }
    }

    fn take(&mut self, difference: Difference) -> Result<(), Error> {
        let Some((draft, _, writer)) = &mut self.written else { return Ok(()) };
        match writer {
            Writer::Csv(writer) => {
                let row = self.compared.row(&difference);
                writer.write_record(row.iter().map(|cell| cell.as_deref().unwrap_or_default())).map_err(|error| draft.failed(&error.into()))?;
            }
            Writer::Lines(out) => {
                let line = self.compared.json(&difference).to_string();
                out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")).map_err(|error| draft.failed(&error))?;
            }
            Writer::Parquet(groups) => {
                let mut row = self.compared.row(&difference).into_iter();
                groups.texts[0].push(row.next().flatten().map(|cell| cell.into_owned()));
                for (lines, line) in groups.lines.iter_mut().zip(difference.lines) {
                    lines.push(line);
                }
                for (texts, cell) in groups.texts[1..].iter_mut().zip(row.skip(2)) {
                    texts.push(cell.map(|cell| cell.into_owned()));
                }
                if groups.texts[0].len() >= GROUP_ROWS {
                    groups.write(draft)?;
                }
            }
            Writer::Kept { differences, most, .. } if differences.len() < *most => differences.push(difference),
            Writer::Kept { .. } => {}
        }
        Ok(())
    }
}

impl Groups {
    fn write(&mut self, draft: &Draft) -> Result<(), Error> {
        let height = self.texts[0].len();
        let mut texts = self.texts.iter_mut().map(std::mem::take);
        let mut lines = self.lines.iter_mut().map(std::mem::take);
        let columns = self.headings.iter().enumerate().filter_map(|(at, name)| {
            let name: PlSmallStr = name.as_str().into();
            Some(match at {
                1 | 2 => UInt64Chunked::from_iter_options(name, lines.next()?.into_iter()).into_series(),
                _ => StringChunked::from_iter_options(name, texts.next()?.into_iter()).into_series(),
            })
        });
        let columns: Vec<Column> = columns.map(Column::from).collect();
        let written = DataFrame::new(height, columns).and_then(|frame| if height == 0 { Ok(()) } else { self.writer.write_batch(&frame) });
        written.map_err(|error| draft.failed(&std::io::Error::other(error.to_string())))
    }
}
