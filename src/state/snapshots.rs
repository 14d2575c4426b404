//! Snapshots: every row that a system delivered, kept for as long as the operator says.
//!
//! ```text
//! snapshots/<run>/<system>.parquet          the rows that are told here: all of them, or those that an earlier snapshot has not
//! snapshots/<run>/<system>.pieces.parquet   how the whole is put together from these and the snapshot below; not there for a whole one
//! snapshots/<run>/below                     the run whose snapshots these stand on
//! ```
//!
//! # Design
//! Most rows of a night are those of the night before. They are told once, and the snapshots of the next nights stand on that one,
//! each on the last; after [`DEPTH_MAX`] of them everything is told anew. Which rows are the same is known by the records at
//! rest, so that nothing is compared for it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use polars::prelude::*;

use super::lost;
use super::parquet::{ParquetFile, read_parquet, write_parquet};
use crate::diagnostic::Place;
use crate::disk;
use crate::error::{Error, Remedy};
use crate::frame::Pulled;
use crate::reconcile::rest::Piece;

/// How many snapshots stand on a whole one, one on the other.
pub(super) const DEPTH_MAX: u32 = 14;

/// So many rows are written at once.
const STRETCH_ROWS: usize = 1 << 18;

/// The file with the name of the run below.
const BELOW_FILE: &str = "below";

/// What of one system is to be saved.
#[derive(Debug)]
pub struct Kept {
    /// The system.
    pub system: String,
    /// The rows that are told: all of the snapshot, or those that the one below has not.
    pub told: Arc<Pulled>,
    /// How the whole is put together; nothing if it is told.
    pub pieces: Vec<Piece>,
}

/// The snapshots of an earlier run, on which those of tonight can stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Below {
    /// The run.
    pub run: String,
    /// How many snapshots its own stand on.
    pub depth: u32,
}

/// Snapshots that are being written. Whoever drops it waits for the end, so that no half-written file outlives its run.
#[derive(Debug)]
pub struct Saving(Option<JoinHandle<Result<(), Error>>>);

impl Saving {
    /// Begins to write the snapshots of a run, and to make them durable, while the run goes on.
    pub(super) fn start(folder: PathBuf, below: Option<Below>, kept: Vec<Kept>) -> Saving {
        Saving(Some(std::thread::spawn(move || save(&folder, below.as_ref(), &kept))))
    }

    /// Snapshots that are durable already.
    pub(super) fn done() -> Saving {
        Saving(None)
    }

    /// Waits until the snapshots are durable.
    ///
    /// # Errors
    /// `GiveAccess` if they cannot be written.
    pub fn finish(mut self) -> Result<(), Error> {
        self.0.take().map_or(Ok(()), wait_for)
    }
}

impl Drop for Saving {
    fn drop(&mut self) {
        // Whoever does not ask for the result stops for another reason, and that one is told.
        let _ = self.0.take().map(wait_for);
    }
}

/// The whole snapshot of a system, written a stretch of rows at a time.
pub struct SnapshotFile {
    path: PathBuf,
    file: ParquetFile,
}

impl SnapshotFile {
    /// The snapshot of a system in a folder, which is made if it is not there.
    pub(super) fn begin(folder: &Path, system: &str) -> Result<SnapshotFile, Error> {
        disk::create_dir_private(folder)?;
        let path = told_file(folder, system);
        Ok(SnapshotFile { file: ParquetFile::new(path.clone(), ParquetCompression::Lz4Raw), path })
    }

    /// Adds rows below those before.
    ///
    /// # Errors
    /// `GiveAccess` if they cannot be written.
    pub fn add(&mut self, rows: &Pulled) -> Result<(), Error> {
        self.file.add(&rows.to_frame().map_err(|e| lost(&self.path, &e.to_string()))?)
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// `GiveAccess` if it cannot be written to its end.
    pub fn finish(self) -> Result<(), Error> {
        self.file.finish()
    }
}

fn wait_for(thread: JoinHandle<Result<(), Error>>) -> Result<(), Error> {
    let died = |_| {
        Err(Error::new(Remedy::Look, Place::of("snapshots"), "saving the snapshots failed in a way that this program does not know")
            .seen("nothing was written to any system"))
    };
    thread.join().unwrap_or_else(died)
}

fn told_file(folder: &Path, system: &str) -> PathBuf {
    folder.join(format!("{system}.parquet"))
}

fn pieces_file(folder: &Path, system: &str) -> PathBuf {
    folder.join(format!("{system}.pieces.parquet"))
}

fn save(folder: &Path, below: Option<&Below>, kept: &[Kept]) -> Result<(), Error> {
    disk::create_dir_private(folder)?;
    // First: what stands on another must never look whole.
    if let Some(below) = below {
        disk::write_new(&folder.join(BELOW_FILE), below.run.as_bytes())?;
    }
    for Kept { system, told, pieces } in kept {
        let mut file = SnapshotFile::begin(folder, system)?;
        told.stretches(STRETCH_ROWS).try_for_each(|rows| file.add(&rows?))?;
        file.finish()?;
        if below.is_some() {
            let path = pieces_file(folder, system);
            let frame = frame_of(pieces).map_err(|e| lost(&path, &e.to_string()))?;
            write_parquet(&path, &frame)?;
        }
    }
    disk::sync_folder(folder)
}

fn frame_of(pieces: &[Piece]) -> PolarsResult<DataFrame> {
    let from: UInt32Chunked = pieces.iter().map(|piece| piece.from).collect();
    let rows: UInt32Chunked = pieces.iter().map(|piece| Some(piece.rows)).collect();
    let lines: UInt64Chunked = pieces.iter().map(|piece| Some(piece.line)).collect();
    let named = |series: Series, name: &str| Column::from(series.with_name(name.into()));
    DataFrame::new(pieces.len(), vec![named(from.into_series(), "from"), named(rows.into_series(), "rows"), named(lines.into_series(), "line")])
}

fn pieces_of(frame: &DataFrame) -> Option<Vec<Piece>> {
    let series = |name: &str| frame.column(name).ok().map(|column| column.as_materialized_series().clone());
    let (from, rows, lines) = (series("from")?, series("rows")?, series("line")?);
    let (from, rows, lines) = (from.u32().ok()?, rows.u32().ok()?, lines.u64().ok()?);
    (0..frame.height()).map(|at| Some(Piece { from: from.get(at), rows: rows.get(at)?, line: lines.get(at)? })).collect()
}

/// The run on which the snapshots in a folder stand; nothing if they are whole.
fn below_of(folder: &Path) -> Option<String> {
    fs::read_to_string(folder.join(BELOW_FILE)).ok().map(|run| run.trim().to_owned())
}

/// Whether the snapshots of a run are there, for all of these systems.
pub(super) fn are_there<'s>(all: &Path, run: &str, mut systems: impl Iterator<Item = &'s str>) -> bool {
    systems.all(|system| told_file(&all.join(run), system).is_file())
}

/// These runs, and those whose snapshots theirs stand on.
pub(super) fn with_those_below(all: &Path, runs: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    let mut needed = BTreeSet::new();
    for run in runs {
        let mut next = Some(run);
        while let Some(run) = next {
            next = below_of(&all.join(&run)).filter(|below| !needed.contains(below));
            needed.insert(run);
        }
    }
    needed
}

/// The snapshot of a system in a run: the line of each row, its cells as text (`raw:` and the name of the column) and, where the
/// system has them, their storage classes. Nothing if it is no longer kept.
///
/// # Errors
/// `Look` if a file of it, or of one that it stands on, is missing or damaged.
pub(super) fn read(all: &Path, run: &str, system: &str) -> Result<Option<DataFrame>, Error> {
    let folder = all.join(run);
    if !told_file(&folder, system).exists() {
        return Ok(None);
    }
    let told = parquet(&told_file(&folder, system))?;
    let Some(run_below) = below_of(&folder) else { return Ok(Some(told)) };
    let path = pieces_file(&folder, system);
    let pieces = pieces_of(&parquet(&path)?).ok_or_else(|| damaged(&path, "it does not tell how a snapshot is put together"))?;
    let below =
        read(all, &run_below, system)?.ok_or_else(|| damaged(&told_file(&all.join(&run_below), system), "it is gone, and a later snapshot stands on it"))?;
    let joined = joined(&told, &below, &pieces).map_err(|e| damaged(&path, &e.to_string()))?;
    Ok(Some(joined))
}

fn parquet(path: &Path) -> Result<DataFrame, Error> {
    read_parquet(path)
        .map_err(|error| damaged(path, error.diagnostics.first().and_then(|first| first.seen.first()).map_or("it cannot be read", String::as_str)))
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::new(Remedy::Look, Place::of(path.display().to_string()), "the snapshot is damaged")
        .seen(what)
        .hint("put the file back from a backup; no run reads it, and what this one did stands in its report and the ledger")
}

fn joined(told: &DataFrame, below: &DataFrame, pieces: &[Piece]) -> PolarsResult<DataFrame> {
    const LINE: &str = "line";
    let told_lines = told.column(LINE)?.as_materialized_series().u64()?.rechunk();
    let (mut next_told, first_below) = (0, told.height() as IdxSize);
    let (mut rows, mut lines): (Vec<IdxSize>, Vec<Option<u64>>) = (Vec::new(), Vec::new());
    for piece in pieces {
        match piece.from {
            Some(from) => {
                rows.extend((0..piece.rows).map(|at| first_below + from + at));
                lines.extend((0..u64::from(piece.rows)).map(|at| Some(piece.line + at)));
            }
            None => {
                rows.extend((0..piece.rows).map(|at| next_told + at));
                lines.extend((0..piece.rows).map(|at| told_lines.get((next_told + at) as usize)));
                next_told += piece.rows;
            }
        }
    }
    let mut whole = told.vstack(below)?.take(&IdxCa::from_vec(PlSmallStr::EMPTY, rows))?;
    let lines: UInt64Chunked = lines.into_iter().collect();
    whole.replace(LINE, Column::from(lines.into_series().with_name(LINE.into())))?;
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Evidence;
    use crate::reconcile::rest::{Rest, RestIn};

    /// Rows of one column, each with its line; a row is known by its text.
    fn pulled(rows: &[(u64, &str)]) -> Pulled {
        let texts: StringChunked = rows.iter().map(|(_, text)| Some(*text)).collect();
        let hashes = rows.iter().map(|(_, text)| xxhash_rust::xxh3::xxh3_128(text.as_bytes())).collect();
        let lines = rows.iter().map(|(line, _)| *line).collect();
        Pulled::new(vec![("text".to_owned(), texts, None)], lines, hashes, Vec::new(), Evidence::default())
    }

    fn rows(frame: &DataFrame) -> Vec<(u64, String)> {
        let lines = frame.column("line").expect("lines").as_materialized_series().u64().expect("numbers").clone();
        let texts = frame.column("raw:text").expect("texts").as_materialized_series().str().expect("text").clone();
        lines.into_no_null_iter().zip(texts.iter().map(|text| text.unwrap_or_default().to_owned())).collect()
    }

    #[test]
    fn a_snapshot_that_stands_on_others_reads_as_it_was_pulled() {
        let folder = tempfile::tempdir().expect("a folder");
        let all = folder.path();
        let nights: [&[(u64, &str)]; 5] = [
            &[(2, "a"), (3, "b"), (4, "c"), (5, "d"), (6, "e")],
            &[(2, "a"), (3, "B"), (4, "c"), (6, "d"), (7, "e"), (8, "f")],
            // Another order, and one row is there twice.
            &[(2, "f"), (3, "e"), (4, "a"), (5, "c"), (6, "c"), (7, "d")],
            &[],
            &[(2, "z"), (3, "a")],
        ];
        let mut below: Option<(Below, Rest)> = None;
        for (night, rows_of_night) in nights.iter().enumerate() {
            let now = pulled(rows_of_night);
            let run = format!("run-{night}");
            let kept = match &below {
                None => vec![Kept { system: "s".to_owned(), told: Arc::new(now.clone()), pieces: Vec::new() }],
                Some((_, rest)) => {
                    let resting = rest.found_in(std::slice::from_ref(&now));
                    let told = now.take(&resting.awake_rows(std::slice::from_ref(&now))[0]);
                    vec![Kept { system: "s".to_owned(), told: Arc::new(told.expect("read")), pieces: rest.pieces(&resting, 0, &now) }]
                }
            };
            save(&all.join(&run), below.as_ref().map(|(below, _)| below), &kept).expect("saved");
            // Every second night leaves no records at rest of its own: the next stands on the one before.
            if night % 2 == 0 || below.is_none() {
                let height = now.height() as u32;
                let rows = (0..height).map(|row| now.hash(row)).collect();
                let here = RestIn { rows, places: (0..height).collect(), ids: None, totals: Vec::new() };
                let rest = Rest { records: (0..u64::from(height)).collect(), keys: (0..u64::from(height)).collect(), systems: vec![here] };
                below = Some((Below { run, depth: 0 }, rest));
            }
        }
        for (night, expected) in nights.iter().enumerate() {
            let read = read(all, &format!("run-{night}"), "s").expect("read").expect("kept");
            assert_eq!(rows(&read), expected.iter().map(|(line, text)| (*line, (*text).to_owned())).collect::<Vec<_>>(), "night {night}");
        }
        assert_eq!(with_those_below(all, ["run-3".to_owned()]).into_iter().collect::<Vec<_>>(), ["run-0", "run-2", "run-3"]);
        assert!(read(all, "run-9", "s").expect("read").is_none());
        fs::remove_file(all.join("run-0/s.parquet")).expect("removed");
        let error = read(all, "run-1", "s").expect_err("lost");
        assert_eq!(error.remedy, Remedy::Look);
        assert!(error.to_string().contains("a later snapshot stands on it"), "{error}");
    }
}
