//! Frames in Parquet files: written whole and durable, read whole or by chosen rows.
//!
//! # Design
//! Polars reads whole columns, or stretches of them. The rows that a night looks into are few and stand everywhere, so here the
//! pages are decoded with a mask of the wanted rows: the others never become values.

use std::fs::File;
use std::io::Cursor;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use polars::io::parquet::write::BatchedWriter;
use polars::prelude::*;
use polars_parquet::read::{BasicDecompressor, Filter, PageReader, column_iter_to_arrays, infer_schema, read_metadata};
use rayon::prelude::*;

use super::lost;
use crate::diagnostic::Place;
use crate::error::{Error, Remedy};

/// How many rows of a stored frame can be read without the others.
const STRETCH_ROWS: usize = 1 << 18;

/// Reads a whole frame.
///
/// # Errors
/// `Look` if the file is missing or damaged.
pub(super) fn read_parquet(path: &Path) -> Result<DataFrame, Error> {
    let file = File::open(path).map_err(|e| lost(path, &e.to_string()))?;
    ParquetReader::new(file).finish().map_err(|e| lost(path, &e.to_string()))
}

/// Reads some columns of a frame.
///
/// # Errors
/// As [`read_parquet`], and `Look` if a column is missing.
pub(super) fn read_columns(path: &Path, columns: &[&str]) -> Result<DataFrame, Error> {
    let file = File::open(path).map_err(|e| lost(path, &e.to_string()))?;
    let columns = columns.iter().map(|column| (*column).to_owned()).collect();
    ParquetReader::new(file).with_columns(Some(columns)).finish().map_err(|e| lost(path, &e.to_string()))
}

/// A stored frame of which rows are read by the numbers in one of its columns.
pub(super) struct Numbered {
    path: PathBuf,
    numbers: Vec<u64>,
}

impl Numbered {
    /// The frame in a file, with the numbers in the column `by`.
    ///
    /// # Errors
    /// `Look` if the file is missing, damaged, or has no such column of whole numbers.
    pub(super) fn open(path: &Path, by: &str) -> Result<Numbered, Error> {
        let numbers = read_columns(path, &[by])?;
        let numbers = numbers.column(by).ok().and_then(|column| column.as_materialized_series().u64().ok().cloned());
        let numbers = numbers.ok_or_else(|| lost(path, &format!("it has no column `{by}`")))?;
        Ok(Numbered { path: path.to_owned(), numbers: numbers.into_no_null_iter().collect() })
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The numbers of all rows.
    pub(super) fn numbers(&self) -> &[u64] {
        &self.numbers
    }

    /// The rows whose number is wanted, in their order; nothing if there are none.
    ///
    /// # Errors
    /// `Look` if the file is damaged.
    pub(super) fn rows(&self, is_wanted: impl Fn(u64) -> bool) -> Result<Option<DataFrame>, Error> {
        let wanted: Vec<bool> = self.numbers.iter().map(|number| is_wanted(*number)).collect();
        match wanted.iter().filter(|wanted| **wanted).count() {
            0 => Ok(None),
            all if all == wanted.len() => read_parquet(&self.path).map(Some),
            _ => {
                let mut file = File::open(&self.path).map_err(|e| lost(&self.path, &e.to_string()))?;
                masked(&mut file, &wanted).map(Some).map_err(|e| lost(&self.path, &e.to_string()))
            }
        }
    }
}

/// Reads the rows of which the number in the column `by` is wanted, in their order; nothing if there are none.
///
/// # Errors
/// `Look` if the file is missing, damaged, or has no such column of whole numbers.
pub(super) fn read_rows(path: &Path, by: &str, is_wanted: impl Fn(u64) -> bool) -> Result<Option<DataFrame>, Error> {
    Numbered::open(path, by)?.rows(is_wanted)
}

/// The rows of a file with a `true` in the mask, of which there is at least one.
fn masked(file: &mut File, mask: &[bool]) -> PolarsResult<DataFrame> {
    let metadata = read_metadata(file)?;
    let schema = infer_schema(&metadata)?;
    let (mut groups, mut from) = (Vec::new(), 0);
    for group in &metadata.row_groups {
        let of_group = mask.get(from..from + group.num_rows()).unwrap_or_default();
        from += group.num_rows();
        if of_group.contains(&true) {
            groups.push((group, BooleanChunked::from_slice(PlSmallStr::EMPTY, of_group)));
        }
    }
    let file: &File = file;
    let read = |field: &ArrowField| {
        let mut arrays = Vec::with_capacity(groups.len());
        for (group, mask) in &groups {
            let (mut pages, mut types) = (Vec::new(), Vec::new());
            for column in group.columns_under_root_iter(&field.name).into_iter().flatten() {
                let range = column.byte_range();
                let mut bytes = vec![0; (range.end - range.start) as usize];
                file.read_exact_at(&mut bytes, range.start)?;
                pages.push(BasicDecompressor::new(PageReader::new(Cursor::new(bytes.into()), column, vec![], usize::MAX), vec![]));
                types.push(&column.descriptor().descriptor.primitive_type);
            }
            let filter = mask.downcast_iter().next().map(|mask| Filter::new_masked(mask.values().clone()));
            arrays.extend(column_iter_to_arrays(pages, types, field.clone(), filter)?.0);
        }
        Series::try_from((field, arrays)).map(Column::from)
    };
    let fields: Vec<&ArrowField> = schema.iter_values().collect();
    let columns = fields.into_par_iter().map(read).collect::<PolarsResult<Vec<Column>>>()?;
    DataFrame::new(mask.iter().filter(|wanted| **wanted).count(), columns)
}

/// A file that is written a stretch of rows at a time. Dropped before its end, it goes again.
pub(super) struct ParquetFile {
    path: PathBuf,
    compression: ParquetCompression,
    /// Nothing as long as no rows came.
    writer: Option<(File, BatchedWriter<File>)>,
}

impl ParquetFile {
    /// A file that is made when the first rows come.
    pub(super) fn new(path: PathBuf, compression: ParquetCompression) -> ParquetFile {
        ParquetFile { path, compression, writer: None }
    }

    /// Adds rows, which have the columns of those before.
    ///
    /// # Errors
    /// `GiveAccess` if they cannot be written.
    pub(super) fn add(&mut self, frame: &DataFrame) -> Result<(), Error> {
        let writer = match &mut self.writer {
            Some((_, writer)) => writer,
            none => {
                let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&self.path).map_err(|e| refused(&self.path, &e))?;
                let again = file.try_clone().map_err(|e| refused(&self.path, &e))?;
                let writer = ParquetWriter::new(file)
                    .with_compression(self.compression)
                    .with_statistics(StatisticsOptions::empty())
                    .batched(frame.schema())
                    .map_err(|e| refused(&self.path, &e))?;
                &mut none.insert((again, writer)).1
            }
        };
        let stretches = (0..frame.height().max(1)).step_by(STRETCH_ROWS);
        stretches.into_iter().try_for_each(|first| writer.write_batch(&frame.slice(first as i64, STRETCH_ROWS))).map_err(|e| refused(&self.path, &e))
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// `GiveAccess` if it cannot be written to its end.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        let Some((file, writer)) = self.writer.take() else { return Ok(()) };
        let finished = self.end(&file, &writer);
        if finished.is_err() {
            self.writer = Some((file, writer));
        }
        finished
    }

    fn end(&self, file: &File, writer: &BatchedWriter<File>) -> Result<(), Error> {
        writer.finish().map_err(|e| refused(&self.path, &e))?;
        file.sync_all().map_err(|e| refused(&self.path, &e))
    }
}

impl Drop for ParquetFile {
    fn drop(&mut self) {
        // A file without its end is none.
        if self.writer.take().is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn refused(path: &Path, what: &dyn std::fmt::Display) -> Error {
    Error::new(Remedy::GiveAccess, Place::of(path.display().to_string()), "the state cannot be written")
        .seen(what.to_string())
        .hint("make room or give access, then run again: nothing is lost")
}

/// Writes a frame, compressed, and makes it durable.
///
/// # Errors
/// `GiveAccess` if it cannot be written.
pub(super) fn write_parquet(path: &Path, frame: &DataFrame) -> Result<(), Error> {
    let mut file = ParquetFile::new(path.to_owned(), ParquetCompression::Lz4Raw);
    file.add(frame)?;
    file.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Several stretches, every type that a base has, nulls among them.
    fn frame(rows: usize) -> DataFrame {
        let numbers = UInt64Chunked::from_iter_values("number".into(), (0..rows as u64).map(|row| row * 2));
        let texts: StringChunked = (0..rows).map(|row| (row % 7 != 0).then(|| format!("text {row} that is longer than twelve bytes"))).collect();
        let few: StringChunked = (0..rows).map(|row| Some(["a", "b", "c"][row % 3])).collect();
        let amounts: Int128Chunked = (0..rows).map(|row| (row % 5 != 0).then_some(row as i128 - 500)).collect();
        let flags: BooleanChunked = (0..rows).map(|row| (row % 11 != 0).then_some(row % 2 == 0)).collect();
        let days: Int32Chunked = (0..rows).map(|row| (row % 3 != 0).then_some(row as i32)).collect();
        let moments: Int64Chunked = (0..rows).map(|row| Some(row as i64)).collect();
        let columns = vec![
            numbers.into_series(),
            texts.with_name("text".into()).into_series(),
            few.with_name("few".into()).into_series(),
            amounts.into_decimal(38, 2).expect("decimals").into_series().with_name("amount".into()),
            flags.with_name("flag".into()).into_series(),
            days.into_date().into_series().with_name("day".into()),
            moments.into_datetime(TimeUnit::Microseconds, Some(polars::prelude::TimeZone::UTC)).into_series().with_name("moment".into()),
        ];
        DataFrame::new(rows, columns.into_iter().map(Column::from).collect()).expect("a frame")
    }

    #[test]
    fn chosen_rows_are_those_of_the_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let rows = STRETCH_ROWS * 2 + 1000;
        let path = folder.path().join("frame.parquet");
        write_parquet(&path, &frame(rows)).expect("written");
        let whole = read_parquet(&path).expect("read");
        assert!(whole.equals_missing(&frame(rows)));
        let all = rows as u64 * 2;
        for (name, chosen) in [
            ("a few everywhere", (0..all).step_by(9998).collect::<Vec<_>>()),
            ("one", vec![all - 2]),
            ("a run in the second stretch", (STRETCH_ROWS as u64 * 2 + 10..STRETCH_ROWS as u64 * 2 + 4000).collect()),
            ("nearly all", (0..all - 2).collect()),
            ("all", (0..all).collect()),
        ] {
            let positions: Vec<IdxSize> = chosen.iter().filter(|number| *number % 2 == 0).map(|number| (number / 2) as IdxSize).collect();
            let expected = whole.take(&IdxCa::from_vec(PlSmallStr::EMPTY, positions)).expect("rows");
            let chosen: std::collections::HashSet<u64> = chosen.into_iter().collect();
            let read = read_rows(&path, "number", |number| chosen.contains(&number)).expect("read").expect("rows");
            assert_eq!(read.schema(), expected.schema(), "{name}");
            assert!(read.equals_missing(&expected), "{name}");
        }
        assert!(read_rows(&path, "number", |_| false).expect("read").is_none());
        assert!(read_rows(&path, "text", |_| true).is_err());
    }
}
