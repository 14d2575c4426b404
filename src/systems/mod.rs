//! Systems behind one trait, and the one registry of their kinds.
//!
//! A system does three things: it says what it can do, it delivers a full snapshot, and it takes a set of changes with one
//! outcome for each. Nothing above this module knows a kind by name.
//!
//! # Contract
//! Every kind passes the conformance suite in `tests/it/systems.rs`.
//! - `pull` delivers every row, or an error. It never delivers less than the source holds. Its order is the source's.
//! - `write` gives exactly one outcome for each change, in the order of the changes. After an error nothing was written, or
//!   the outcome of every change is unknown, as the error's remedy says.
//! - A row is only written if it still holds what the change expects; otherwise it is [`Outcome::Stale`].
//! - Whatever a change does not name stays as it is, to the byte.
//! - An error that is [passing](method@Error::passing) means that nothing was done: the same call is made again after a while.
//! - `read_back` delivers at least the rows that hold one of the wanted ids or key texts, as `pull` would.

use std::collections::BTreeMap;
use std::path::Path;

use crate::change::{Address, Change, Outcome};
use crate::diagnostic::{Diagnostic, Place, did_you_mean};
use crate::disk::Replaced;
use crate::error::{Error, Remedy};
use crate::frame::Pulled;
use crate::job::{Kind, Reference, SystemSpec};

mod batch;
pub mod csv;
mod encryption;
pub mod excel;
mod file;
pub mod http;
pub mod json;
pub mod memory;
pub mod parquet;
pub mod sql;
pub mod tables;

/// What a system can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// A set of changes is written wholly or not at all when the process dies.
    pub atomic: bool,
    /// Whether it can be written.
    pub writable: bool,
    /// A created row gets its native id from the system, so that a create needs none.
    pub fills_id: bool,
}

/// A set of changes for one system.
#[derive(Clone, Copy, Debug)]
pub struct WriteSet<'a> {
    /// The changes, in the order in which they are made.
    pub changes: &'a [Change],
    /// After more rejected changes than this the rest is skipped.
    pub failures_max: usize,
    /// The SHA-256 of the snapshot that the changes were decided on, where it has one.
    pub snapshot: Option<&'a str>,
}

/// What a read-back should deliver.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Rows at any of these addresses.
    pub addresses: Vec<Address>,
}

/// What a first look at a system shows.
#[derive(Clone, Debug)]
pub struct Look {
    /// Rows, and notes about what all of them would cost.
    pub pulled: Pulled,
    /// Whether there are more.
    pub is_part: bool,
    /// Columns that are there and that the job does not read, as far as they were seen.
    pub others: Vec<String>,
    /// Columns whose numbers are stored in binary, so that hundredths are near misses.
    pub floats: Vec<String>,
}

/// One place that holds records.
pub trait System: Send {
    /// What it can do. Opens nothing.
    fn describe(&self) -> Description;

    /// The names of all columns of the source, in its order.
    fn columns(&mut self) -> Result<Vec<String>, Error>;

    /// A full snapshot.
    fn pull(&mut self) -> Result<Pulled, Error>;

    /// What a person sees who tries a job: all rows where that costs little, else the first ones.
    ///
    /// # Errors
    /// As [`System::pull`].
    fn look(&mut self) -> Result<Look, Error> {
        let pulled = self.pull()?.whole()?;
        Ok(Look { pulled, is_part: false, others: Vec::new(), floats: Vec::new() })
    }

    /// Proves, without changing anything, that it can be written: asked before the first write to any system.
    ///
    /// # Errors
    /// No permission, a full disk, a lock that somebody else holds.
    fn prepare(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Told of the set that [`System::write`] will be asked to make next, while it is journalled: what takes time and changes
    /// nothing may be done already. The set is known again by the numbers of its changes.
    fn stage(&mut self, set: WriteSet<'_>) {
        let _ = set;
    }

    /// Makes the changes; one outcome for each, in their order.
    fn write(&mut self, set: WriteSet<'_>) -> Result<Vec<Outcome>, Error>;

    /// What must be said of the last [`System::write`], beyond what became of each change: sentences for the report, each told once.
    fn said_of_write(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// The rows at the wanted addresses, after a write. May deliver more.
    fn read_back(&mut self, wanted: &Wanted) -> Result<Pulled, Error>;
}

/// What is needed to open a system.
#[derive(Clone, Debug)]
pub struct Opening<'a> {
    /// The root that relative paths start from.
    pub root: &'a Path,
    /// The name of the job, for messages.
    pub job: &'a str,
    /// The system.
    pub spec: &'a SystemSpec,
    /// The columns of the source that the job needs: fields, id, edit time and filter.
    pub columns: Vec<String>,
    /// What the last run found out about the source ([`crate::frame::Evidence::found`]); empty at first contact. A source
    /// that no longer agrees with it stops the run.
    pub known: BTreeMap<String, String>,
    /// The folder with the state of all jobs, for what must outlive the process: a login that is renewed. Nothing is kept without it.
    pub state: Option<&'a Path>,
}

/// A path that is no file: what is there instead.
fn no_file(path: &Path, written: &str, system: &str) -> Error {
    let (message, hint) = if path.is_dir() {
        ("this is a folder, not a file", "name the file in it, relative to the folder of `jobs/`")
    } else {
        ("there is no such file", "look whether the path is right, relative to the folder of `jobs/`, and the drive is there")
    };
    Error::new(Remedy::GiveAccess, Place::of(written), message).seen(format!("system `{system}` reads it")).seen("nothing was read or written").hint(hint)
}

/// The error of a source that lacks columns which the job names; nothing if it has them all. Names are compared verbatim.
fn missing_columns(origin: &str, system: &str, needed: &[String], there: &[String]) -> Option<Error> {
    let missing = needed.iter().filter(|column| !there.contains(column));
    let diagnostics = missing.map(|column| {
        let message = format!("column `{column}` is not in system `{system}`");
        let diagnostic = Diagnostic::new(Place::of(origin), message).seen(format!("columns of `{system}`: {}", there.join(", ")));
        match did_you_mean(column, there.iter().map(String::as_str)) {
            Some(close) => diagnostic.hint(format!("did you mean `{close}`?")),
            None => diagnostic,
        }
    });
    Error::of(Remedy::MendJob, diagnostics.collect())
}

/// A setting with its references resolved: `${env:NAME}` from the environment, `${file:path}` relative to the root.
///
/// # Errors
/// `GiveAccess` if a reference leads nowhere. The message shows the setting as it is written.
fn resolved(written: &str, opening: &Opening<'_>) -> Result<String, Error> {
    resolved_telling(written, opening, &|_| {})
}

/// The same, telling what each reference led to: what must never be shown.
fn resolved_telling(written: &str, opening: &Opening<'_>, tell: &dyn Fn(&str)) -> Result<String, Error> {
    let read = |reference: Reference<'_>| {
        let value = match reference {
            Reference::Env(name) => std::env::var(name).map_err(|_| format!("the environment has no variable `{name}`")),
            Reference::File(path) => std::fs::read_to_string(opening.root.join(path)).map_err(|_| format!("the file `{path}` cannot be read")),
        }?;
        tell(value.trim_end_matches(['\r', '\n']));
        Ok(value)
    };
    crate::job::resolve(written, &read).map_err(|why| {
        Error::new(Remedy::GiveAccess, Place::of(written), format!("a reference of system `{}` cannot be resolved", opening.spec.name))
            .seen(why)
            .seen("nothing was read or written")
            .hint("set the variable, or make the file, for the user that runs this")
    })
}

/// An error of the disk, with the file as the operator wrote it.
fn error_as_written(mut error: Error, origin: &str) -> Error {
    for diagnostic in &mut error.diagnostics {
        origin.clone_into(&mut diagnostic.place.origin);
    }
    error
}

/// An error of a file that was there when it was pulled: a program that saves it by removing it first has it back in a moment.
fn passing_if_gone(error: Error, path: &Path) -> Error {
    if path.exists() { error } else { error.passing() }
}

/// The outcomes of changes to a file that is no longer what they were decided on; nothing if it still is. `pulled` is the digest of
/// the last pull, for changes that do not say what they were decided on.
fn changed_since_read(set: &WriteSet<'_>, pulled: Option<&str>, now: &str) -> Option<Vec<Outcome>> {
    let expected = set.snapshot.or(pulled)?;
    (expected != now).then(|| vec![Outcome::Stale { reason: "the file was changed since it was read".to_owned() }; set.changes.len()])
}

/// What became of changes by the replacing of their file: if somebody saved it meanwhile, those that were made are stale.
fn outcomes_of_replacing(replaced: Replaced, outcomes: Vec<Outcome>) -> Vec<Outcome> {
    let Replaced::Stale { kept, .. } = replaced else { return outcomes };
    let kept = kept.and_then(|kept| Some(format!("; an older save is kept beside it as `{}`", kept.file_name()?.to_string_lossy())));
    let reason = format!("the file was changed while it was written, and is as somebody saved it{}", kept.unwrap_or_default());
    let stale = |outcome| match outcome {
        Outcome::Done { .. } => Outcome::Stale { reason: reason.clone() },
        other => other,
    };
    outcomes.into_iter().map(stale).collect()
}

/// Text from a file as messages show it: control characters spelled out, not too long.
fn shown(text: &str) -> String {
    const SHOWN_MAX: usize = 80;
    let mut shown: String = text.chars().take(SHOWN_MAX).map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// Opens a system by its kind. References in its settings are resolved here.
///
/// # Errors
/// A reference that cannot be resolved, a file or database that cannot be opened.
pub fn open(opening: Opening<'_>) -> Result<Box<dyn System>, Error> {
    Ok(match &opening.spec.kind {
        Kind::Csv(settings) => Box::new(csv::CsvFile::open(settings, &opening)?),
        Kind::Excel(settings) => Box::new(excel::ExcelSheet::open(settings, &opening)?),
        Kind::Sql(settings) => sql::open(settings, &opening)?,
        Kind::Http(settings) => Box::new(http::HttpApi::open(settings, &opening)?),
        Kind::Json(settings) => Box::new(json::JsonFile::open(settings, &opening)?),
        Kind::Parquet(settings) => Box::new(parquet::ParquetFile::open(settings, &opening)?),
        Kind::Memory(name) => Box::new(memory::MemoryTable::open(name, &opening)?),
    })
}
