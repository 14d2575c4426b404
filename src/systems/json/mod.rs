//! The `json` kind: an array of objects, or an object a line, read as a whole and replaced as a whole.
//!
//! A column is a path into a record: `properties.email`, `phones[0].number`. A text is delivered as what it says, a number by its
//! digits as they stand (never through a binary float), true and false by their words; null and an absent key are null, and `""` is
//! the empty text. An array of texts is a value of a column that holds lists.
//!
//! A write changes the values that it names and nothing else (`edit`), and is one replacement of the file: either all changes that can be
//! made are made, or none.
//!
//! # Design
//! - What makes the whole text uncertain (no JSON, a cut end, no array where the records should be) stops the run. What is wrong with one
//!   record (no object, a key that stands twice, a line that is no JSON) sets that record aside, and it stays in the file.
//! - Keys may be absent, so a column is missing only if no record at all has it, and then only if every record of earlier runs had it:
//!   a column that some records lack may once be in none of them.
//! - Where several records stand on one line, they are known by their position instead of their line, and a note says so.
//! - The text is UTF-8, as the standard says; a mark at its beginning is kept.
//! - A second set that was decided on the same snapshot is stale as a whole: the file is no longer what it was decided on.

pub(in crate::systems) mod edit;
pub(in crate::systems) mod read;
pub(in crate::systems) mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use polars::prelude::UInt8Chunked;

use crate::change::Outcome;
use crate::diagnostic::Place;
use crate::disk;
use crate::error::{Error, Remedy};
use crate::frame::{Evidence, NO_ROW, Pulled, Quarantined};
use crate::job::{JsonColumn, JsonNull, JsonSettings, PathStep, read_path, spell_path};
use crate::systems::file::{NOTHING, SourceFile};
use crate::systems::{Description, Opening, System, Wanted, WriteSet, changed_since_read, missing_columns, shown};
use crate::value::FieldType;

use self::read::{Elements, NAMES_MAX, NoElements, Rows};
use self::scan::{Problem, Sort};

/// Names of [`Evidence::found`].
const HEADER: &str = "header";
const SPARSE: &str = "columns that some records lack";

/// How many names a message tells.
const NAMES_TOLD_MAX: usize = 60;

/// The mark that some programs put before UTF-8.
const MARK: &str = "\u{feff}";

/// The records of a JSON file.
#[derive(Debug)]
pub struct JsonFile {
    file: SourceFile,
    /// The name of the system.
    system: String,
    has_lines: bool,
    /// The keys that lead to the array.
    records: Vec<String>,
    /// The array as the job file spells it.
    records_path: String,
    null: JsonNull,
    columns: Vec<JsonColumn>,
    /// The columns that the job needs, each once.
    required: Vec<read::Wanted>,
    known: BTreeMap<String, String>,
    /// The digest of the last pull.
    pulled_sha256: Option<String>,
}

impl JsonFile {
    /// Opens the file: it is there. It is read by [`System::pull`].
    ///
    /// # Errors
    /// `MendJob` for a column that is no path, or a reference that cannot be resolved; `GiveAccess` if there is no such file.
    pub fn open(settings: &JsonSettings, opening: &Opening<'_>) -> Result<JsonFile, Error> {
        let mut seen = BTreeSet::new();
        let mut required = Vec::new();
        for name in opening.columns.iter().filter(|column| seen.insert(column.as_str())) {
            let path = read_path(name).map_err(|problem| {
                let message = format!("column `{}` of system `{}` {problem}", shown(name), opening.spec.name);
                Error::new(Remedy::MendJob, Place::of(opening.job), message).seen(NOTHING)
            })?;
            let is_list = settings.columns.iter().any(|column| column.name == *name && column.field_type == FieldType::List);
            required.push(read::Wanted { name: name.clone(), path, is_list });
        }
        Ok(JsonFile {
            file: SourceFile::find(&settings.file, opening)?,
            system: opening.spec.name.clone(),
            has_lines: settings.has_lines,
            records: settings.records.clone(),
            records_path: settings.records_path(),
            null: settings.null,
            columns: settings.columns.clone(),
            required,
            known: opening.known.clone(),
            pulled_sha256: None,
        })
    }

    fn elements(&self, text: &str) -> Result<Elements, Error> {
        let found = if self.has_lines { read::elements_of_lines(text) } else { read::elements_of_array(text, &self.records) };
        let elements = found.map_err(|why| self.no_elements(text, why))?;
        if elements.spans.len() >= NO_ROW as usize {
            return Err(Error::new(Remedy::Look, self.file.place(), "the file has more records than one snapshot holds").seen(NOTHING));
        }
        Ok(elements)
    }

    fn no_elements(&self, text: &str, why: NoElements) -> Error {
        let stop = |remedy: Remedy, at: usize, message: String| Error::new(remedy, place_in(&self.file, text, at), message);
        let say = |records: &str| format!("say so in system `{}`: `records = \"{records}\"`", self.system);
        let error = match why {
            NoElements::Empty => Error::new(Remedy::Look, self.file.place(), "the file is empty").hint("export it again: not even an array is there"),
            NoElements::Problem(problem) => return no_json(&self.file, text, problem),
            NoElements::Behind { at, is_value: true } => stop(Remedy::MendJob, at, "another value stands behind the first one".to_owned())
                .hint(format!("if each line is a record, say so in system `{}`: `lines = true`", self.system)),
            NoElements::Behind { at, is_value: false } => {
                stop(Remedy::Look, at, "something stands behind the end of the value".to_owned()).hint("export or copy the file again")
            }
            NoElements::NoArray { at, sort, arrays } => {
                let error = stop(Remedy::MendJob, at, format!("`{}` is {}, not the array of records", self.records_path, sort.words()));
                let inside = |name: &String| spell_path(&self.records.iter().chain([name]).map(|key| PathStep::Key(key.clone())).collect::<Vec<_>>(), true);
                match arrays.as_slice() {
                    [] if sort == Sort::Object && self.records.is_empty() => {
                        error.seen("there is no array in it").hint(format!("if each line is a record, say so in system `{}`: `lines = true`", self.system))
                    }
                    [] => error.hint(format!("correct `records` of system `{}`", self.system)),
                    [only] => error.hint(say(&format!("${}", inside(only)))),
                    several => {
                        error.seen(format!("arrays in it: {}", told(several))).hint(say(&format!("${}", several.first().map(inside).unwrap_or_default())))
                    }
                }
            }
            NoElements::NoKey { at, key, keys } => {
                stop(Remedy::MendJob, at, format!("there is no `{}` in the file: `{}` is missing", self.records_path, shown(&key)))
                    .seen(format!("keys there: {}", told(&keys)))
                    .hint(format!("correct `records` of system `{}`, or export the file again", self.system))
            }
            NoElements::Twice { at, key } => stop(Remedy::Look, at, format!("the key `{}` stands twice here", shown(&key)))
                .hint("which of them is meant cannot be told: export the file again"),
            NoElements::NoLine { at } => stop(Remedy::MendJob, at, "no line of the file is a record by itself".to_owned())
                .hint(format!("if the file is one array, say so in system `{}`: `lines = false`", self.system)),
        };
        error.seen(NOTHING)
    }

    /// The error of columns that no record has; nothing if they are only not there tonight.
    fn missing(&self, rows: &Rows) -> Result<(), Error> {
        if rows.spans.is_empty() {
            return Ok(());
        }
        let (known, sparse) = (self.known_names(HEADER), self.known_names(SPARSE));
        let may_lack = |name: &String| sparse.contains(name) || (self.null == JsonNull::Omit && known.contains(name));
        let is_missing = |(wanted, column): (&read::Wanted, &read::Column)| {
            let is_nowhere = column.absent as usize == rows.spans.len();
            (is_nowhere && !may_lack(&wanted.name)).then(|| wanted.name.clone())
        };
        let missing: Vec<String> = self.required.iter().zip(&rows.columns).filter_map(is_missing).collect();
        let there: Vec<String> = rows.names.iter().take(NAMES_TOLD_MAX).map(|name| shown(name)).collect();
        match missing_columns(self.file.origin(), &self.system, &missing, &there) {
            None => Ok(()),
            Some(mut error) => {
                error.diagnostics.iter_mut().for_each(|diagnostic| diagnostic.seen.extend(["no record has it".to_owned(), NOTHING.to_owned()]));
                Err(error)
            }
        }
    }

    fn known_names(&self, what: &str) -> Vec<String> {
        self.known.get(what).and_then(|known| serde_json::from_str(known).ok()).unwrap_or_default()
    }

    /// What a run finds out about the columns and expects of the next one, and what a person should know of it.
    fn found(&self, rows: &Rows) -> (BTreeMap<String, String>, Vec<String>) {
        let mut notes = Vec::new();
        let mut found: BTreeMap<String, String> = self.file.found().into_iter().collect();
        let mut sparse = self.known_names(SPARSE);
        let lacking = self.required.iter().zip(&rows.columns).filter(|(_, column)| column.absent > 0).map(|(wanted, _)| &wanted.name);
        sparse.extend(lacking.cloned());
        sparse.sort();
        sparse.dedup();
        found.insert(SPARSE.to_owned(), serde_json::Value::from(sparse).to_string());
        if rows.names.len() <= NAMES_MAX {
            let mut names = self.known_names(HEADER);
            let known: BTreeSet<String> = names.iter().cloned().collect();
            let required =
                self.required.iter().zip(&rows.columns).filter(|(_, column)| (column.absent as usize) < rows.spans.len()).map(|(wanted, _)| &wanted.name);
            let mut new: Vec<String> = rows.names.iter().chain(required).filter(|name| !known.contains(*name)).cloned().collect();
            let mut seen = BTreeSet::new();
            new.retain(|name| seen.insert(name.clone()));
            let unused: Vec<String> = new.iter().filter(|name| !self.required.iter().any(|wanted| wanted.name == **name)).cloned().collect();
            if !known.is_empty() && !unused.is_empty() {
                notes.push(format!("columns new in the file, not used by the job: {}", told(&unused)));
            }
            names.extend(new);
            if names.len() <= NAMES_MAX {
                found.insert(HEADER.to_owned(), serde_json::Value::from(names).to_string());
            }
        }
        (found, notes)
    }

    /// All records. Only a pull insists on the columns that it needs.
    fn snapshot(&self, is_pull: bool) -> Result<Pulled, Error> {
        let mut notes = self.file.recover()?;
        let bytes = self.file.read()?;
        let (sha256, read) = rayon::join(
            || disk::digest(&bytes),
            || {
                let text = text_of(&self.file, &bytes)?;
                let elements = self.elements(text)?;
                let rows = read::rows(text, &elements, &self.required);
                Ok::<_, Error>((text, elements, rows))
            },
        );
        let (text, elements, rows) = read?;
        if is_pull {
            self.missing(&rows)?;
        }
        let (found, more) = self.found(&rows);
        notes.extend(more);
        let mut pulled = pulled_of(&self.file, text, &elements, &self.required, rows, notes);
        pulled.evidence.sha256 = Some(sha256);
        pulled.evidence.found = found;
        Ok(pulled)
    }
}

/// Names for a message, not too many.
fn told(names: &[String]) -> String {
    let told: Vec<String> = names.iter().take(NAMES_TOLD_MAX).map(|name| format!("`{}`", shown(name))).collect();
    format!("{}{}", told.join(", "), if names.len() > told.len() { ", .." } else { "" })
}

/// A place in a text, by line and column.
fn place_in(file: &SourceFile, text: &str, at: usize) -> Place {
    let before = text.get(..at).unwrap_or(text);
    let line = memchr::memchr_iter(b'\n', before.as_bytes()).count() as u64 + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() as u64 + 1;
    Place { column: Some(column), ..file.place().line(line) }
}

fn no_json(file: &SourceFile, text: &str, problem: Problem) -> Error {
    match problem.why {
        None => Error::new(Remedy::Look, place_in(file, text, text.trim_end().len()), "the file looks cut off")
            .seen("it ends within a value")
            .seen(NOTHING)
            .hint("export or copy the file again"),
        Some(why) => Error::new(Remedy::Look, place_in(file, text, problem.at), format!("the file is no JSON: {why}"))
            .seen(NOTHING)
            .hint("look at that place, and export the file again"),
    }
}

/// The text of a file, without the mark before it.
fn text_of<'b>(file: &SourceFile, bytes: &'b [u8]) -> Result<&'b str, Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix(MARK).unwrap_or(text)),
        Err(error) => {
            let line = memchr::memchr_iter(b'\n', &bytes[..error.valid_up_to()]).count() as u64 + 1;
            Err(Error::new(Remedy::Look, file.place().line(line), "the file is not in the encoding `UTF-8`")
                .seen("a byte on this line is no character in it")
                .seen(NOTHING)
                .hint("JSON is always UTF-8: export the file again"))
        }
    }
}

/// A frame of these rows, with their lines.
fn pulled_of(file: &SourceFile, text: &str, elements: &Elements, wanted: &[read::Wanted], rows: Rows, mut notes: Vec<String>) -> Pulled {
    let mut starts: Vec<usize> = elements.spans.iter().chain(rows.refused.iter().map(|(span, _)| span)).map(|span| span.start).collect();
    starts.sort_unstable();
    starts.dedup();
    let mut lines = Vec::with_capacity(starts.len());
    let (mut line, mut from) = (1, 0);
    for start in &starts {
        line += memchr::memchr_iter(b'\n', &text.as_bytes()[from..*start]).count() as u64;
        from = *start;
        lines.push(line);
    }
    if lines.windows(2).any(|pair| pair[0] == pair[1]) {
        notes.push("several records stand on one line: they are counted, and each line that is told is the number of a record".to_owned());
        lines = (1..=starts.len() as u64).collect();
    }
    let line_of = |start: usize| starts.binary_search(&start).map_or(0, |at| lines[at]);
    let refused = rows.refused.iter().map(|(span, reason)| Quarantined {
        origin: file.origin().to_owned(),
        line: line_of(span.start),
        column: None,
        field: None,
        raw: Some(read::beginning(span.of(text)).to_owned()),
        reason: reason.clone(),
        key: None,
        id: None,
    });
    let refused: Vec<Quarantined> = refused.collect();
    let lines = rows.spans.iter().map(|span| line_of(span.start)).collect();
    let evidence = Evidence { origin: file.origin().to_owned(), rows_read: (rows.spans.len() + refused.len()) as u64, notes, ..Evidence::default() };
    let (mut columns, mut faults) = (Vec::with_capacity(wanted.len()), BTreeMap::new());
    for (wanted, column) in wanted.iter().zip(rows.columns) {
        if !column.faults.is_empty() {
            faults.insert(wanted.name.clone(), column.faults);
        }
        columns.push((wanted.name.clone(), column.texts, Some(UInt8Chunked::from_vec("".into(), column.storage))));
    }
    let mut pulled = Pulled::new(columns, lines, rows.hashes, refused, evidence);
    pulled.faults = faults;
    pulled
}

/// All columns of a JSON file as text, for whoever has no job: their names in the order in which they first stand, and the rows.
///
/// `path` is also what messages show. Each line is a record where the name ends with `.ndjson` or `.jsonl`; else the file is an array, or
/// an object with one array in it. Arrays of texts are lists. A packed file is unpacked.
///
/// # Errors
/// As a pull: `GiveAccess` for a file that cannot be read, `Look` or `MendJob` for one that is no such JSON.
pub fn columns_of_file(path: &Path) -> Result<(Vec<String>, Pulled), Error> {
    let file = SourceFile::alone(path);
    let bytes = file.read()?;
    let text = text_of(&file, &bytes)?;
    let name = path.to_string_lossy().to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let mut json = JsonFile {
        file,
        system: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        has_lines: [".ndjson", ".jsonl"].iter().any(|ending| name.ends_with(ending)),
        records: Vec::new(),
        records_path: "$".to_owned(),
        null: JsonNull::Null,
        columns: Vec::new(),
        required: Vec::new(),
        known: BTreeMap::new(),
        pulled_sha256: None,
    };
    if !json.has_lines
        && let Err(NoElements::NoArray { arrays, .. }) = read::elements_of_array(text, &[])
        && let [only] = arrays.as_slice()
    {
        json.records = vec![only.clone()];
    }
    let elements = json.elements(text)?;
    let names = read::rows(text, &elements, &[]).names;
    if names.len() > NAMES_MAX {
        return Err(Error::new(Remedy::Look, json.file.place(), format!("the records have more than {NAMES_MAX} different columns"))
            .seen(NOTHING)
            .hint("keys that are values themselves cannot be columns: name those that are meant in a job"));
    }
    let path_of = |name: &String| read_path(name).unwrap_or_else(|_| vec![PathStep::Key(name.clone())]);
    let wanted: Vec<read::Wanted> = names.iter().map(|name| read::Wanted { name: name.clone(), path: path_of(name), is_list: true }).collect();
    let rows = read::rows(text, &elements, &wanted);
    let mut pulled = pulled_of(&json.file, text, &elements, &wanted, rows, Vec::new());
    pulled.evidence.sha256 = Some(disk::digest(&bytes));
    Ok((names, pulled))
}

impl System for JsonFile {
    fn describe(&self) -> Description {
        Description { atomic: true, writable: self.file.is_writable(), fills_id: false }
    }

    fn columns(&mut self) -> Result<Vec<String>, Error> {
        let bytes = self.file.read()?;
        let text = text_of(&self.file, &bytes)?;
        let rows = read::rows(text, &self.elements(text)?, &self.required);
        self.missing(&rows)?;
        let mut names = rows.names;
        // What a path leads to through an array has no name of its own.
        for wanted in &self.required {
            if !names.contains(&wanted.name) {
                names.push(wanted.name.clone());
            }
        }
        Ok(names)
    }

    fn pull(&mut self) -> Result<Pulled, Error> {
        let stamp = self.file.wait_until_ready()?;
        let pulled = self.snapshot(true)?;
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
        let text = text_of(&self.file, &bytes)?;
        let elements = self.elements(text)?;
        let rows = read::rows(text, &elements, &self.required);
        let document = edit::Document { text, elements: &elements, rows: &rows, wanted: &self.required, columns: &self.columns, null: self.null };
        let edited = document.edit(set.changes, set.failures_max);
        let Some(new) = edited.text else { return Ok(edited.outcomes) };
        let mark = if text.len() < bytes.len() { MARK } else { "" };
        self.file.replace(&bytes, &sha256, [mark, &new].concat().as_bytes(), edited.outcomes)
    }

    /// Delivers all rows: to find some of them, all must be read.
    fn read_back(&mut self, _wanted: &Wanted) -> Result<Pulled, Error> {
        self.snapshot(false)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
