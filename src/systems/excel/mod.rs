//! The `excel` kind: a table on one sheet of a workbook, read as a whole and changed in place.
//!
//! xlsx, xlsm, xls, xlsb and ods are read; what a file is, is told by its content. xlsx and xlsm are written: only the cells that
//! change and the rows that are added, every other byte of every other part stays (`patch`). A write is one replacement of the
//! file: either all changes that can be made are made, or none.
//!
//! A cell is delivered as its text: texts verbatim, numbers as decimals, dates as ISO 8601, an empty cell as the empty text, never
//! null. What a cell holds that is no value at all (an error, a formula that was never calculated, a number that lost digits)
//! is a fault of its row, told with its place on the sheet.
//!
//! # Design
//! - A workbook that somebody has open is not written: whoever saves later would undo it, or be told that they cannot save.
//! - Columns are found by the names in the header, verbatim. Columns that the job does not need are noted when they come or go.
//! - No row is ever taken out: formulas, names, charts and comments that refer to the rows below would no longer be right.
//! - After a write, formulas that depend on it have no result until somebody opens the workbook. A column of them that the job reads
//!   makes its rows wait until then; one that it does not read is nobody's business.
//! - A truth that LibreOffice saved stands in the file as the formula `TRUE()` or `FALSE()`: it is a value like any other.
//! - A protected sheet takes no change at all, so it is told before anything is written anywhere, and not change by change.
//! - A second set that was decided on the same snapshot is stale as a whole: the file is no longer what it was decided on.

mod edit;
mod parts;
pub mod patch;
mod read;
mod spell;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use polars::prelude::{StringChunked, UInt8Chunked};

use crate::change::Outcome;
use crate::diagnostic::Place;
use crate::disk::{self, Contents};
use crate::error::{Error, Remedy};
use crate::frame::{Evidence, Pulled};
use crate::job::ExcelSettings;
use crate::systems::{
    Description, Opening, System, Wanted, WriteSet, changed_since_read, error_as_written, no_file, outcomes_of_replacing, passing_if_gone, resolved, shown,
};

use self::read::{NOTHING, Reading, Request};

/// Names of [`Evidence::found`].
const HEADER: &str = "header";
const SHEET: &str = "sheet";

/// A workbook of more bytes than this is not read.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// A table on a sheet.
#[derive(Debug)]
pub struct ExcelSheet {
    path: PathBuf,
    /// The path as the operator wrote it.
    origin: String,
    request: Request,
    known: BTreeMap<String, String>,
    /// The digest of the last pull.
    pulled_sha256: Option<String>,
    /// The sort of workbook that was pulled.
    pulled_format: Option<parts::Format>,
    /// The name of the sheet that was pulled, if it is protected.
    pulled_protected: Option<String>,
}

impl ExcelSheet {
    /// Opens the workbook: it is there. It is read by [`System::pull`].
    ///
    /// # Errors
    /// `MendJob` for a reference that cannot be resolved; `GiveAccess` if there is no such file.
    pub fn open(settings: &ExcelSettings, opening: &Opening<'_>) -> Result<ExcelSheet, Error> {
        let spec = opening.spec;
        let path = opening.root.join(resolved(&settings.path, opening)?);
        if !path.is_file() {
            return Err(no_file(&path, &settings.path, &spec.name));
        }
        let mut seen = BTreeSet::new();
        let columns = opening.columns.iter().filter(|column| seen.insert(column.as_str())).map(|name| {
            let column = settings.columns.iter().find(|column| column.name == *name);
            let is_edit_time = spec.edited_at.as_ref().is_some_and(|edited| edited.column == *name);
            read::Wanted::new(name, column, spec.id.as_ref() == Some(name), is_edit_time)
        });
        let request = Request {
            origin: settings.path.clone(),
            system: spec.name.clone(),
            sheet: settings.sheet.clone(),
            header: settings.header.clone(),
            stop_at: settings.stop_at.clone(),
            drop_where: settings.drop_where.clone(),
            errors_as_null: settings.errors_as_null.clone(),
            columns: columns.collect(),
            insists_on_results: true,
        };
        Ok(ExcelSheet {
            path,
            origin: settings.path.clone(),
            request,
            known: opening.known.clone(),
            pulled_sha256: None,
            pulled_format: None,
            pulled_protected: None,
        })
    }

    fn place(&self) -> Place {
        Place::of(&self.origin)
    }

    /// An error of the disk, with the file as the operator wrote it.
    fn as_written(&self, error: Error) -> Error {
        error_as_written(error, &self.origin)
    }

    fn contents(&self) -> Result<Contents, Error> {
        if let Ok(metadata) = self.path.metadata()
            && metadata.len() > FILE_BYTES_MAX
        {
            return Err(Error::new(Remedy::Look, self.place(), "the workbook is larger than any that is read")
                .seen(format!("it has {} MB, at most {} MB are read", metadata.len() >> 20, FILE_BYTES_MAX >> 20))
                .seen(NOTHING)
                .hint("look whether it is the right workbook; if it is, export it with fewer sheets or rows"));
        }
        disk::read(&self.path).map_err(|error| self.as_written(error))
    }

    /// Compares the header with that of an earlier run.
    fn notes_on(&self, reading: &Reading) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(before) = self.known.get(SHEET).filter(|before| **before != reading.sheet) {
            notes.push(format!("the sheet was `{}`, it is `{}` now", shown(before), shown(&reading.sheet)));
        }
        let Some(known) = self.known.get(HEADER).and_then(|known| serde_json::from_str::<Vec<String>>(known).ok()) else { return notes };
        let only_in = |these: &[String], others: &[String]| -> Vec<String> {
            let others: BTreeSet<&String> = others.iter().collect();
            these.iter().filter(|name| !others.contains(name)).map(|name| format!("`{}`", shown(name))).collect()
        };
        for (names, what) in
            [(only_in(&reading.names, &known), "new on the sheet, not used by the job"), (only_in(&known, &reading.names), "no longer on the sheet")]
        {
            if !names.is_empty() {
                notes.push(format!("columns {what}: {}", names.join(", ")));
            }
        }
        notes
    }

    /// All rows of the table, and what a later write must know of the workbook.
    fn snapshot(&self, insists_on_results: bool) -> Result<Snapshot, Error> {
        let mut notes = disk::recover(&self.path).map_err(|error| self.as_written(error))?;
        let contents = self.contents()?;
        let request = Request { insists_on_results, ..self.request.clone() };
        let reading = read::read(Arc::new(contents.bytes), request)?;
        if let Some(who) = self.open_elsewhere() {
            notes.push(format!("the workbook is open{}: what is not saved yet is not read", who.by));
        }
        notes.extend(self.notes_on(&reading));
        notes.extend(reading.notes);
        let found = BTreeMap::from([(HEADER.to_owned(), serde_json::to_string(&reading.names).unwrap_or_default()), (SHEET.to_owned(), reading.sheet.clone())]);
        let origin = format!("{}!{}", self.origin, reading.sheet);
        let evidence =
            Evidence { origin, sha256: Some(contents.sha256), rows_read: reading.lines.len() as u64, rows_announced: None, sums: Vec::new(), found, notes };
        let (mut columns, mut faults, mut cell_names) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        for column in reading.columns {
            cell_names.insert(column.name.clone(), format!("{}!{}", reading.sheet, parts::letters(column.at)));
            if !column.faults.is_empty() {
                faults.insert(column.name.clone(), column.faults);
            }
            columns.push((column.name, column.texts, Some(UInt8Chunked::from_vec("".into(), column.storage))));
        }
        let mut pulled = Pulled::new(columns, reading.lines, reading.hashes, Vec::new(), evidence);
        pulled.faults = faults;
        pulled.cell_names = cell_names;
        let protected = reading.structure.is_protected.then_some(reading.sheet);
        Ok(Snapshot { pulled, format: reading.format, protected })
    }

    /// The file by which Excel or LibreOffice says that it has the workbook open, and who says so.
    fn open_elsewhere(&self) -> Option<OpenElsewhere> {
        let real = self.path.canonicalize().ok()?;
        let (folder, name) = (real.parent()?, real.file_name()?.to_string_lossy().into_owned());
        let candidates = [(format!("~${name}"), "Excel"), (format!(".~lock.{name}#"), "LibreOffice")];
        candidates.into_iter().find_map(|(file, program)| {
            let path = folder.join(&file);
            path.exists().then(|| {
                let holder = std::fs::read(&path).ok().and_then(|bytes| holder_of(&bytes, program));
                let by = holder.map_or_else(|| format!(" in {program}"), |holder| format!(" in {program} by {}", shown(&holder)));
                OpenElsewhere { file, by }
            })
        })
    }
}

struct Snapshot {
    pulled: Pulled,
    format: parts::Format,
    /// The name of the sheet, if it is protected.
    protected: Option<String>,
}

struct OpenElsewhere {
    /// The name of the file that says so.
    file: String,
    /// ` in Excel by Ada`.
    by: String,
}

/// The name of a person in the file that marks a workbook as open.
fn holder_of(bytes: &[u8], program: &str) -> Option<String> {
    let name = if program == "Excel" {
        // A length, then that many bytes of the name.
        let (length, rest) = bytes.split_first()?;
        String::from_utf8_lossy(rest.get(..usize::from(*length))?).into_owned()
    } else {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let mut parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.next()?.to_owned()
    };
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// All of a sheet as text.
#[derive(Debug)]
pub struct SheetTable {
    /// The columns from the left, with a text a row.
    pub columns: Vec<(String, StringChunked)>,
    /// The row of the sheet of each row, from 1.
    pub lines: Vec<u64>,
}

/// Reads all columns of a sheet as text, for a comparison.
///
/// # Errors
/// As pulling does; `Look` if a cell holds a formula that nobody calculated, or the header has a name twice.
pub fn table_of(path: &Path, origin: &str, sheet: Option<&str>) -> Result<SheetTable, Error> {
    if let Ok(metadata) = path.metadata()
        && metadata.len() > FILE_BYTES_MAX
    {
        return Err(Error::new(Remedy::Look, Place::of(origin), "the workbook is larger than any that is read").seen(NOTHING));
    }
    let bytes = Arc::new(disk::read_bytes(path).map_err(|error| error_as_written(error, origin))?);
    let request = |names: &[String]| Request {
        origin: origin.to_owned(),
        system: origin.to_owned(),
        sheet: sheet.map(str::to_owned),
        header: Default::default(),
        stop_at: Vec::new(),
        drop_where: Vec::new(),
        errors_as_null: Vec::new(),
        columns: names.iter().map(|name| read::Wanted::new(name, None, false, false)).collect(),
        insists_on_results: true,
    };
    let names = read::read(Arc::clone(&bytes), request(&[]))?.names;
    for (at, name) in names.iter().enumerate() {
        if names[..at].contains(name) {
            return Err(Error::new(Remedy::Look, Place::of(origin), format!("the header has the column `{}` more than once", shown(name)))
                .seen("nothing was compared")
                .hint("which of them is meant cannot be told: rename one of them on the sheet"));
        }
    }
    let reading = read::read(bytes, request(&names))?;
    for column in &reading.columns {
        for (row, why) in &column.faults {
            if column.texts.get(*row as usize).is_none_or(str::is_empty) {
                let cell = format!("{}{}", parts::letters(column.at), reading.lines.get(*row as usize).copied().unwrap_or_default());
                return Err(Error::new(Remedy::Look, Place::of(origin), format!("the cell {cell} of sheet `{}` {why}", shown(&reading.sheet)))
                    .seen("nothing was compared")
                    .hint("open the workbook, let it calculate, and save it"));
            }
        }
    }
    Ok(SheetTable { columns: reading.columns.into_iter().map(|column| (column.name, column.texts)).collect(), lines: reading.lines })
}

impl System for ExcelSheet {
    fn describe(&self) -> Description {
        let ending = self.path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
        Description { atomic: true, writable: matches!(ending.as_deref(), Some("xlsx" | "xlsm")), fills_id: false }
    }

    fn columns(&mut self) -> Result<Vec<String>, Error> {
        let contents = self.contents()?;
        let request = Request { insists_on_results: false, ..self.request.clone() };
        Ok(read::read(Arc::new(contents.bytes), request)?.names)
    }

    fn pull(&mut self) -> Result<Pulled, Error> {
        let snapshot = self.snapshot(true)?;
        self.pulled_sha256.clone_from(&snapshot.pulled.evidence.sha256);
        self.pulled_format = Some(snapshot.format);
        self.pulled_protected = snapshot.protected;
        Ok(snapshot.pulled)
    }

    fn prepare(&mut self) -> Result<(), Error> {
        let format = match self.pulled_format {
            Some(format) => Ok(format),
            None => parts::format_of(&self.contents()?.bytes),
        };
        if format != Ok(parts::Format::Xlsx) || !self.describe().writable {
            return Err(Error::new(Remedy::MendJob, self.place(), "this workbook can only be read")
                .seen("written are .xlsx and .xlsm, and what is in the file must be what its name says")
                .seen("nothing was written")
                .hint(format!("save it as .xlsx, or make system `{}` a source or a witness", self.request.system)));
        }
        if let Some(sheet) = &self.pulled_protected {
            return Err(Error::new(
                Remedy::GiveAccess,
                Place::of(format!("{}!{sheet}", self.origin)),
                "the sheet is protected, so nothing can be written to it",
            )
            .seen("nothing was written")
            .hint(format!("take the protection off (`Review`, `Unprotect Sheet`), or make system `{}` a source or a witness", self.request.system)));
        }
        disk::prove_replaceable(&self.path).map_err(|error| self.as_written(error))
    }

    /// The file must still be what was pulled, or every change is stale; nobody may have it open. An error after which the file may
    /// have been replaced has the remedy `Look`, and says so.
    fn write(&mut self, set: WriteSet<'_>) -> Result<Vec<Outcome>, Error> {
        if set.changes.is_empty() {
            return Ok(Vec::new());
        }
        let all = |outcome: Outcome| vec![outcome; set.changes.len()];
        let contents = self.contents().map_err(|error| passing_if_gone(error, &self.path))?;
        if let Some(stale) = changed_since_read(&set, self.pulled_sha256.as_deref(), &contents.sha256) {
            return Ok(stale);
        }
        if let Some(who) = self.open_elsewhere() {
            return Err(Error::new(Remedy::GiveAccess, self.place(), format!("the workbook is open{}", who.by))
                .seen("nothing was written to it")
                .hint(format!("close it, then run again; if it is not open, remove `{}` beside it", who.file))
                .passing());
        }
        let bytes = Arc::new(contents.bytes);
        let reading = read::read(Arc::clone(&bytes), Request { insists_on_results: false, ..self.request.clone() })?;
        if reading.format != parts::Format::Xlsx {
            return Ok(all(Outcome::Rejected { reason: "only xlsx and xlsm workbooks can be written".to_owned() }));
        }
        let edited = edit::edit(&reading, set.changes, set.failures_max, |edits| patch::patch(&bytes, edits));
        let Some(new) = edited.bytes.filter(|new| *new != *bytes) else { return Ok(edited.outcomes) };
        let replaced =
            disk::replace(&self.path, &new, disk::Expected { bytes: Some(&bytes), sha256: &contents.sha256 }).map_err(|error| self.as_written(error))?;
        Ok(outcomes_of_replacing(replaced, edited.outcomes))
    }

    /// Delivers all rows: to find some of them, all must be read.
    fn read_back(&mut self, _wanted: &Wanted) -> Result<Pulled, Error> {
        Ok(self.snapshot(false)?.pulled)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
