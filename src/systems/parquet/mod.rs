//! The `parquet` kind: a Parquet file, read as a whole and replaced as a whole.
//!
//! A cell is delivered as its text (`spell`): whole numbers and decimals exactly, binary floats by their shortest decimal form, dates and
//! moments as ISO 8601, true and false by their words; null is null. Columns are found by their names, verbatim. What no field can hold
//! (lists, structs, times of day) is carried along when the file is written, and refused by name where a job asks for it.
//!
//! A write keeps the schema (the order of columns, their types, which of them take null), the compression of each column and what programs
//! noted beside it. It is one replacement of the file: either all changes that can be made are made, or none.
//!
//! # Design
//! - Before a file is replaced, the new one is decoded and compared with what it should hold, cell by cell: a fault of whatever encodes
//!   it never reaches the disk.
//! - A row is hashed by all of its flat cells. Nested columns are not looked into, and a note says so.
//! - Whatever a damaged file makes the decoder do, it never ends the run of another system: a panic in it is an error of the file.
//! - A second set that was decided on the same snapshot is stale as a whole: the file is no longer what it was decided on.

mod edit;
mod frame;
mod spell;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use polars::prelude::{StringChunkedBuilder, UInt8Chunked};
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::change::Outcome;
use crate::disk;
use crate::error::{Error, Remedy};
use crate::frame::{Evidence, NO_ROW, Pulled, RawColumns, seed_of_rows};
use crate::job::ParquetSettings;
use crate::systems::file::{NOTHING, SourceFile};
use crate::systems::{Description, Opening, System, Wanted, WriteSet, changed_since_read, missing_columns, shown};
use crate::value::Storage;

use self::frame::{Cells, Column, Frame, Kind, Undecodable};

/// The name of [`Evidence::found`].
const HEADER: &str = "header";

/// A Parquet file.
#[derive(Debug)]
pub struct ParquetFile {
    file: SourceFile,
    /// The name of the system.
    system: String,
    /// The columns that the job needs, each once.
    required: Vec<String>,
    known: BTreeMap<String, String>,
    /// The digest of the last pull.
    pulled_sha256: Option<String>,
}

impl ParquetFile {
    /// Opens the file: it is there. It is read by [`System::pull`].
    ///
    /// # Errors
    /// `MendJob` for a reference that cannot be resolved; `GiveAccess` if there is no such file.
    pub fn open(settings: &ParquetSettings, opening: &Opening<'_>) -> Result<ParquetFile, Error> {
        let mut seen = BTreeSet::new();
        Ok(ParquetFile {
            file: SourceFile::find(&settings.file, opening)?,
            system: opening.spec.name.clone(),
            required: opening.columns.iter().filter(|column| seen.insert(column.as_str())).cloned().collect(),
            known: opening.known.clone(),
            pulled_sha256: None,
        })
    }

    /// The columns that the job needs must be there, and of a type that a field can hold.
    fn require<'c>(&self, there: impl Iterator<Item = (&'c str, &'c Kind)> + Clone) -> Result<(), Error> {
        let names: Vec<String> = there.clone().map(|(name, _)| name.to_owned()).collect();
        if let Some(mut error) = missing_columns(self.file.origin(), &self.system, &self.required, &names) {
            error.diagnostics.iter_mut().for_each(|diagnostic| diagnostic.seen.push(NOTHING.to_owned()));
            return Err(error);
        }
        for (name, kind) in there {
            if let (Kind::Other(what), true) = (kind, self.required.iter().any(|required| required == name)) {
                return Err(Error::new(
                    Remedy::MendJob,
                    self.file.place(),
                    format!("column `{}` of system `{}` holds {what}, which no field can hold", shown(name), self.system),
                )
                .seen(NOTHING)
                .hint("leave the column out of the job, or write it with a simple type"));
            }
        }
        Ok(())
    }

    fn notes_on(&self, names: &[String]) -> Vec<String> {
        let Some(known) = self.known.get(HEADER).and_then(|known| serde_json::from_str::<Vec<String>>(known).ok()) else { return Vec::new() };
        let only_in = |these: &[String], others: &[String]| -> Vec<String> {
            let others: BTreeSet<&String> = others.iter().collect();
            these.iter().filter(|name| !others.contains(name)).map(|name| format!("`{}`", shown(name))).collect()
        };
        let notes = [(only_in(names, &known), "new in the file, not used by the job"), (only_in(&known, names), "no longer in the file")];
        notes.into_iter().filter(|(names, _)| !names.is_empty()).map(|(names, what)| format!("columns {what}: {}", names.join(", "))).collect()
    }

    fn snapshot(&self) -> Result<Pulled, Error> {
        let mut notes = self.file.recover()?;
        let bytes = self.file.read()?;
        let (sha256, frame) = rayon::join(|| disk::digest(&bytes), || decode(&self.file, &bytes));
        let frame = frame?;
        drop(bytes);
        self.require(frame.columns.iter().map(|column| (column.name.as_str(), &column.kind)))?;
        let names: Vec<String> = frame.columns.iter().map(|column| column.name.clone()).collect();
        notes.extend(self.notes_on(&names));
        let wanted: Vec<&Column> = self.required.iter().filter_map(|name| frame.columns.iter().find(|column| column.name == *name)).collect();
        let mut pulled = pulled_of(&self.file, &frame, &wanted, notes)?;
        pulled.evidence.sha256 = Some(sha256);
        pulled.evidence.found = self.file.found().into_iter().collect();
        pulled.evidence.found.insert(HEADER.to_owned(), serde_json::Value::from(names).to_string());
        Ok(pulled)
    }
}

/// Decodes a file, whatever is in it.
fn decode(file: &SourceFile, bytes: &[u8]) -> Result<Frame, Error> {
    let decoded = catch_unwind(AssertUnwindSafe(|| Frame::decode(bytes))).unwrap_or(Err(Undecodable::Damaged));
    decoded.map_err(|why| undecodable(file, why))
}

fn undecodable(file: &SourceFile, why: Undecodable) -> Error {
    let error = match why {
        Undecodable::Damaged => Error::new(Remedy::Look, file.place(), "the file is no Parquet file, or a damaged one").hint("export or copy the file again"),
        Undecodable::Twice(name) => Error::new(Remedy::Look, file.place(), format!("the file has the column `{}` more than once", shown(&name)))
            .hint("which of them is meant cannot be told: rename one of them where the file is made"),
        Undecodable::Column(name) => Error::new(Remedy::Look, file.place(), format!("the column `{}` cannot be read", shown(&name)))
            .seen("it is damaged, encrypted, or of a type that is not understood")
            .hint("export the file again, without the column or with a simple type"),
    };
    error.seen(NOTHING)
}

/// A frame of the rows, with the wanted columns as text.
fn pulled_of(file: &SourceFile, frame: &Frame, wanted: &[&Column], mut notes: Vec<String>) -> Result<Pulled, Error> {
    if frame.height >= NO_ROW as usize {
        return Err(Error::new(Remedy::Look, file.place(), "the file has more rows than one snapshot holds").seen(NOTHING));
    }
    let nested: Vec<String> = frame.nested().map(|name| format!("`{}`", shown(name))).collect();
    if !nested.is_empty() {
        notes.push(format!("columns whose values are nested are not looked into: {}", nested.join(", ")));
    }
    let texts = |column: &&Column| {
        let mut texts = StringChunkedBuilder::new(column.name.as_str().into(), frame.height);
        let (mut storage, mut faults, mut text) = (Vec::with_capacity(frame.height), Vec::new(), String::new());
        for row in 0..frame.height {
            // Texts are by far the most cells, and need no spelling.
            if let Cells::Text(cells) = &column.cells {
                texts.append_option(cells.get(row));
                storage.push(Storage::Text as u8);
                continue;
            }
            text.clear();
            let cell = column.cells.get(row);
            let stored = cell.as_ref().and_then(|cell| spell::spell(column, cell, &mut text));
            texts.append_option(stored.map(|_| text.as_str()));
            storage.push(stored.unwrap_or(Storage::Text) as u8);
            if let Some(why) = cell.and_then(|cell| spell::fault(column, &cell)) {
                faults.push((row as u32, why));
            }
        }
        (column.name.clone(), texts.finish(), storage, faults)
    };
    let (columns, hashes) = rayon::join(|| wanted.par_iter().map(texts).collect::<Vec<_>>(), || hashes_of(frame));
    let mut faults = BTreeMap::new();
    let mut raw: RawColumns = Vec::with_capacity(columns.len());
    for (name, texts, storage, of_column) in columns {
        if !of_column.is_empty() {
            faults.insert(name.clone(), of_column);
        }
        raw.push((name, texts, Some(UInt8Chunked::from_vec("".into(), storage))));
    }
    let height = frame.height as u64;
    let evidence = Evidence { origin: file.origin().to_owned(), rows_read: height, rows_announced: Some(height), notes, ..Evidence::default() };
    let mut pulled = Pulled::new(raw, (1..=height).collect(), hashes, Vec::new(), evidence);
    pulled.faults = faults;
    Ok(pulled)
}

/// The hash of each row: of its flat cells, under the names of their columns.
fn hashes_of(frame: &Frame) -> Vec<u128> {
    let seed = seed_of_rows(frame.columns.iter().map(|column| column.name.as_str()));
    let flat: Vec<&Column> = frame.columns.iter().filter(|column| !matches!(column.cells, Cells::Nested(_))).collect();
    let hash = |(bytes, text): &mut (Vec<u8>, String), row: usize| {
        bytes.clear();
        for column in &flat {
            text.clear();
            let spelled = match &column.cells {
                Cells::Text(cells) => cells.get(row).map(|text| (Storage::Text, text)),
                cells => cells.get(row).and_then(|cell| spell::spell(column, &cell, text)).map(|storage| (storage, text.as_str())),
            };
            match spelled {
                None => bytes.push(u8::MAX),
                Some((storage, text)) => {
                    bytes.push(storage as u8);
                    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
                    bytes.extend_from_slice(text.as_bytes());
                }
            }
        }
        xxh3_128_with_seed(bytes, seed)
    };
    (0..frame.height).into_par_iter().map_init(|| (Vec::new(), String::new()), hash).collect()
}

/// All columns of a Parquet file as text, for whoever has no job: their names in the order of the file, and the rows.
///
/// `path` is also what messages show. A column that no field can hold (lists, structs, times of day) is left out, and a note names it.
///
/// # Errors
/// As a pull: `GiveAccess` for a file that cannot be read, `Look` for one that is damaged.
pub fn columns_of_file(path: &Path) -> Result<(Vec<String>, Pulled), Error> {
    let file = SourceFile::alone(path);
    let bytes = file.read()?;
    let frame = decode(&file, &bytes)?;
    let (wanted, others): (Vec<&Column>, Vec<&Column>) = frame.columns.iter().partition(|column| !matches!(column.kind, Kind::Other(_)));
    let mut notes = Vec::new();
    if !others.is_empty() {
        let names: Vec<String> = others.iter().map(|column| format!("`{}`", shown(&column.name))).collect();
        notes.push(format!("columns left out, because no field can hold what they hold: {}", names.join(", ")));
    }
    let mut pulled = pulled_of(&file, &frame, &wanted, notes)?;
    pulled.evidence.sha256 = Some(disk::digest(&bytes));
    Ok((wanted.iter().map(|column| column.name.clone()).collect(), pulled))
}

impl System for ParquetFile {
    fn describe(&self) -> Description {
        Description { atomic: true, writable: self.file.is_writable(), fills_id: false }
    }

    fn columns(&mut self) -> Result<Vec<String>, Error> {
        let bytes = self.file.read()?;
        let columns = catch_unwind(AssertUnwindSafe(|| frame::columns_of(&bytes))).unwrap_or(Err(Undecodable::Damaged));
        let (_, columns) = columns.map_err(|why| undecodable(&self.file, why))?;
        self.require(columns.iter().map(|column| (column.name.as_str(), &column.kind)))?;
        Ok(columns.into_iter().map(|column| column.name).collect())
    }

    fn pull(&mut self) -> Result<Pulled, Error> {
        let stamp = self.file.wait_until_ready()?;
        let pulled = self.snapshot()?;
        self.file.prove_still(stamp)?;
        self.pulled_sha256.clone_from(&pulled.evidence.sha256);
        self.known.clone_from(&pulled.evidence.found);
        Ok(pulled)
    }

    fn prepare(&mut self) -> Result<(), Error> {
        self.file.prove_replaceable()
    }

    /// The file must still be what was pulled; otherwise every change is stale. An error after which the file may have been
    /// replaced has the remedy `Look`, and says so.
    fn write(&mut self, set: WriteSet<'_>) -> Result<Vec<Outcome>, Error> {
        if set.changes.is_empty() {
            return Ok(Vec::new());
        }
        let bytes = self.file.read_to_write()?;
        let sha256 = disk::digest(&bytes);
        if let Some(stale) = changed_since_read(&set, self.pulled_sha256.as_deref(), &sha256) {
            return Ok(stale);
        }
        let frame = decode(&self.file, &bytes)?;
        let edited = edit::edit(&frame, set.changes, set.failures_max);
        let Some(new) = edited.frame else { return Ok(edited.outcomes) };
        let encoded = catch_unwind(AssertUnwindSafe(|| new.encode().ok().filter(|bytes| Frame::decode(bytes).is_ok_and(|written| written.is_same(&new)))));
        let Ok(Some(encoded)) = encoded else {
            let reason = "the file cannot be written anew such that it holds what it held: one of its columns is of a special type".to_owned();
            let rejected = |outcome| if matches!(outcome, Outcome::Done { .. }) { Outcome::Rejected { reason: reason.clone() } } else { outcome };
            return Ok(edited.outcomes.into_iter().map(rejected).collect());
        };
        self.file.replace(&bytes, &sha256, &encoded, edited.outcomes)
    }

    /// Delivers all rows: to find some of them, all must be read.
    fn read_back(&mut self, _wanted: &Wanted) -> Result<Pulled, Error> {
        self.snapshot()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
