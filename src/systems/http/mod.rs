//! The `http` kind: records behind an HTTP API that speaks JSON, declared in the job file without code.
//!
//! A snapshot is a listing read page by page (`pages`), every call of it goes through one `client` (who we are, how often, how
//! long, what is never shown), and a write is one call a record (`write`) or one for several (`batch`).
//!
//! A column is a path into a record, and a cell is what the `json` kind makes of it: a number by its digits, never through a binary
//! float; null and an absent key are null.
//!
//! # Design
//! - An API has no transaction. What makes a listing trustworthy is said about it in the job file: a total that it announces is
//!   compared with what came, a page that comes twice stops the run, and a record that slipped onto a later page while somebody
//!   edited is taken once, as it was read last, and told.
//! - A page is never taken for the last one because it is short: an API that gives fewer records a page than it is asked for would
//!   lose the rest. Pages by number and offset end with an empty one, with `more` or with `total`.
//! - All pages are kept as text, a record after the other, and become columns in one go: a record costs its bytes.
//! - Records are counted from 1 in the order of delivery: that is the line that messages tell.
//! - Before a record is written it is read and compared with what the change expects, so that an edit made since the pull is not
//!   overwritten. Between the two calls somebody may still edit it; only an API with a version (`If-Match`, a field) closes that gap.

mod ahead;
mod batch;
mod client;
mod login;
mod objects;
mod pages;
mod wire;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use polars::prelude::UInt8Chunked;

use crate::change::{Address, Outcome};
use crate::diagnostic::Place;
use crate::error::{Error, Remedy};
use crate::frame::{Evidence, Pulled, Quarantined};
use crate::job::{HttpSettings, JsonNull, PathStep, read_path};
use crate::systems::json::read::{self, Cell, Elements, NAMES_MAX, Rows, cell, find};
use crate::systems::json::scan::{Sort, Span};
use crate::systems::{Description, Look, Opening, System, Wanted, WriteSet, missing_columns, shown};
use crate::value::FieldType;

use self::client::{Client, Ended, Reply};
use self::pages::Listing;
use self::wire::whole;

/// Names of [`Evidence::found`].
const HEADER: &str = "header";
const SPARSE: &str = "columns that some records lack";

/// The hint of a call that the API refuses.
const CORRECT_CALL: &str = "look at its words, and correct the call in the job file";

/// What a message says when nothing was done.
const NOTHING: &str = "nothing was read or written";

/// The records behind an API.
#[derive(Debug)]
pub struct HttpApi {
    settings: HttpSettings,
    client: Client,
    /// The name of the system.
    system: String,
    /// The name of the job.
    job: String,
    /// Where the records are, as written.
    origin: String,
    /// The columns that the job needs, each once.
    required: Vec<read::Wanted>,
    /// The column with the native id, and its path.
    id: Option<(String, Vec<PathStep>)>,
    known: BTreeMap<String, String>,
    /// By id the version that a record had when it was pulled.
    versions: HashMap<String, String>,
    /// What most values of each required column are.
    habits: Vec<Option<Sort>>,
    /// The columns that every record had when it was pulled.
    everywhere: Vec<bool>,
    /// How many calls the last look at a record took.
    look_calls: u64,
    /// Whether a part of an object was written, and what stood beside it was there afterwards.
    merges_objects: bool,
    /// What must be said of what was written, beyond what became of each change.
    said_of_write: Vec<String>,
}

impl HttpApi {
    /// Opens the API: its references are resolved, and nothing is called.
    ///
    /// # Errors
    /// `MendJob` for a column that is no path or an address that cannot be called, `GiveAccess` for a reference that leads nowhere.
    pub fn open(settings: &HttpSettings, opening: &Opening<'_>) -> Result<HttpApi, Error> {
        let path_of = |name: &str| {
            read_path(name).map_err(|problem| {
                let message = format!("column `{}` of system `{}` {problem}", shown(name), opening.spec.name);
                Error::new(Remedy::MendJob, Place::of(opening.job), message).seen(NOTHING)
            })
        };
        let mut seen = BTreeSet::new();
        let mut required = Vec::new();
        for name in opening.columns.iter().filter(|column| seen.insert(column.as_str())) {
            let is_list = settings.columns.iter().any(|column| column.name == *name && column.field_type == FieldType::List);
            required.push(read::Wanted { name: name.clone(), path: path_of(name)?, is_list });
        }
        let id = opening.spec.id.as_ref().map(|id| Ok::<_, Error>((id.clone(), path_of(id)?))).transpose()?;
        Ok(HttpApi {
            client: Client::new(settings, opening)?,
            settings: settings.clone(),
            system: opening.spec.name.clone(),
            job: opening.job.to_owned(),
            origin: settings.place(),
            habits: vec![None; required.len()],
            everywhere: vec![false; required.len()],
            look_calls: 1,
            merges_objects: false,
            said_of_write: Vec::new(),
            required,
            id,
            known: opening.known.clone(),
            versions: HashMap::new(),
        })
    }

    /// The reply to a call that only reads, or why there is none that can be used.
    fn fine(&self, ended: Ended, path: &str) -> Result<Reply, Error> {
        match ended {
            Ended::Reply(reply) if reply.is_fine() => Ok(reply),
            Ended::Reply(reply) => Err(self.refused(&reply, path)),
            Ended::Late => Err(self.client.error(Remedy::GiveAccess, path, format!("system `{}` was not asked", self.system)).seen(NOTHING)),
            // A call that reads is harmless, and is made again instead.
            Ended::Unknown(why) => Err(self.client.error(Remedy::GiveAccess, path, format!("system `{}` gave no answer", self.system)).seen(why).seen(NOTHING)),
        }
    }

    /// The error of a status that says no.
    fn refused(&self, reply: &Reply, path: &str) -> Error {
        let (remedy, message, hint) = match reply.status {
            401 => (
                Remedy::GiveAccess,
                format!("system `{}` does not accept our login", self.system),
                "look at what the references in its `auth` lead to, and whether it has ended",
            ),
            403 => {
                (Remedy::GiveAccess, format!("system `{}` does not let us in here", self.system), "the login needs the right to read and write these records")
            }
            404 | 410 => (Remedy::MendJob, format!("there is nothing at this address of system `{}`", self.system), "correct `base_url` or the `path`"),
            300..=399 => (Remedy::MendJob, format!("system `{}` has moved from this address", self.system), "correct `base_url` or the `path`"),
            500..=599 => (Remedy::GiveAccess, format!("system `{}` is out of order", self.system), "try again later"),
            _ => (Remedy::MendJob, format!("system `{}` refuses this call", self.system), CORRECT_CALL),
        };
        let error = self.client.error(remedy, path, message).seen(format!("the API answered with status {}", reply.said));
        match self.client.words(reply) {
            Some(words) => error.seen(format!("it says: {words}")),
            None => error,
        }
        .hint(hint)
    }

    /// Errors that stand in an answer that says it is fine.
    fn errors_in(&self, reply: &Reply, path: Option<&Vec<PathStep>>) -> Option<String> {
        let text = &reply.text;
        self.errors_at(text, whole(text)?, path?)
    }

    /// Errors that stand below a value of an answer.
    fn errors_at(&self, text: &str, value: Span, path: &[PathStep]) -> Option<String> {
        let there = find(text, value, path)?;
        let value = there.of(text);
        (!client::is_nothing(value)).then(|| wire::shortened(&self.client.redacted(&wire::said(text, there, 0).unwrap_or_else(|| value.to_owned()))))
    }

    /// The error of an answer that is no JSON.
    fn no_json(&self, reply: &Reply, path: &str, why: &str) -> Error {
        let text = reply.text.trim_start_matches('\u{feff}').trim_start();
        if text.starts_with('<') {
            return self
                .client
                .error(Remedy::GiveAccess, path, format!("system `{}` answers with a web page instead of records", self.system))
                .seen(self.client.words(reply).unwrap_or_default())
                .seen(NOTHING)
                .hint("a login page, or something between us and the API: look at `base_url` in a browser");
        }
        // A secret that is cut would no longer be found.
        let beginning: String = self.client.redacted(text).chars().take(80).collect();
        let error = self.client.error(Remedy::Look, path, format!("an answer of system `{}` is no JSON: {why}", self.system));
        let error = if text.is_empty() { error } else { error.seen(format!("it begins with `{}`", self.client.clean(&beginning))) };
        error.seen(NOTHING)
    }

    fn known_names(&self, what: &str) -> Vec<String> {
        self.known.get(what).and_then(|known| serde_json::from_str(known).ok()).unwrap_or_default()
    }

    /// The error of columns that no record has; nothing if they are only not there tonight.
    fn missing(&self, rows: &Rows) -> Result<(), Error> {
        if rows.spans.is_empty() {
            return Ok(());
        }
        let (known, sparse) = (self.known_names(HEADER), self.known_names(SPARSE));
        let may_lack = |name: &String| sparse.contains(name) || (self.settings.null == JsonNull::Omit && known.contains(name));
        let is_missing = |(wanted, column): (&read::Wanted, &read::Column)| {
            (column.absent as usize == rows.spans.len() && !may_lack(&wanted.name)).then(|| wanted.name.clone())
        };
        let missing: Vec<String> = self.required.iter().zip(&rows.columns).filter_map(is_missing).collect();
        let there: Vec<String> = rows.names.iter().take(60).map(|name| shown(name)).collect();
        match missing_columns(&self.origin, &self.system, &missing, &there) {
            None => Ok(()),
            Some(mut error) => {
                error.diagnostics.iter_mut().for_each(|diagnostic| diagnostic.seen.extend(["no record has it".to_owned(), NOTHING.to_owned()]));
                Err(error)
            }
        }
    }

    fn found(&self, rows: &Rows) -> BTreeMap<String, String> {
        let mut sparse = self.known_names(SPARSE);
        sparse.extend(self.required.iter().zip(&rows.columns).filter(|(_, column)| column.absent > 0).map(|(wanted, _)| wanted.name.clone()));
        sparse.sort();
        sparse.dedup();
        let mut found = BTreeMap::from([(SPARSE.to_owned(), serde_json::Value::from(sparse).to_string())]);
        let mut names = self.known_names(HEADER);
        let required =
            self.required.iter().zip(&rows.columns).filter(|(_, column)| (column.absent as usize) < rows.spans.len()).map(|(wanted, _)| &wanted.name);
        let mut seen: BTreeSet<String> = names.iter().cloned().collect();
        let new: Vec<String> = rows.names.iter().chain(required).filter(|name| seen.insert((*name).clone())).cloned().collect();
        names.extend(new);
        if names.len() <= NAMES_MAX {
            found.insert(HEADER.to_owned(), serde_json::Value::from(names).to_string());
        }
        found
    }

    /// The rows of a listing.
    fn rows(&self, listing: &Listing) -> Rows {
        let elements =
            Elements { spans: listing.spans.clone(), refused: listing.refused.clone(), inside: Span { start: 0, end: listing.text.len() }, has_lines: true };
        read::rows(&listing.text, &elements, &self.required)
    }

    /// A frame of these rows.
    fn pulled_of(&self, listing: &Listing, rows: Rows, notes: Vec<String>) -> Pulled {
        let mut starts: Vec<usize> = listing.spans.iter().chain(rows.refused.iter().map(|(span, _)| span)).map(|span| span.start).collect();
        starts.sort_unstable();
        starts.dedup();
        let number_of = |start: usize| starts.binary_search(&start).map_or(0, |at| at as u64 + 1);
        let quarantined = |(span, reason): &(Span, String)| Quarantined {
            origin: self.origin.clone(),
            line: number_of(span.start),
            column: None,
            field: None,
            raw: Some(read::beginning(&self.client.redacted(span.of(&listing.text))).to_owned()),
            reason: reason.clone(),
            key: None,
            id: None,
        };
        let refused: Vec<Quarantined> = rows.refused.iter().map(quarantined).collect();
        let evidence = Evidence {
            origin: self.origin.clone(),
            rows_read: (rows.spans.len() + refused.len()) as u64,
            rows_announced: listing.total,
            notes,
            ..Evidence::default()
        };
        let lines = rows.spans.iter().map(|span| number_of(span.start)).collect();
        let (mut columns, mut faults) = (Vec::with_capacity(self.required.len()), BTreeMap::new());
        for (wanted, column) in self.required.iter().zip(rows.columns) {
            if !column.faults.is_empty() {
                faults.insert(wanted.name.clone(), column.faults);
            }
            columns.push((wanted.name.clone(), column.texts, Some(UInt8Chunked::from_vec("".into(), column.storage))));
        }
        let mut pulled = Pulled::new(columns, lines, rows.hashes, refused, evidence);
        pulled.faults = faults;
        pulled
    }

    /// The id of a record as text.
    fn id_of(&self, record: &str) -> Option<String> {
        let (_, path) = self.id.as_ref()?;
        let there = find(record, Span { start: 0, end: record.len() }, path)?;
        match cell(there.of(record), false) {
            Cell::Text(text, _) => Some(text),
            Cell::Absent | Cell::Null | Cell::Fault(_) => None,
        }
    }

    /// The id in an address; nothing where the record is addressed otherwise.
    fn id_in<'a>(&self, address: &'a Address) -> Option<&'a str> {
        let (column, _) = self.id.as_ref()?;
        address.iter().find(|part| part.column == *column)?.raw.text.as_deref()
    }

    /// Remembers the versions of records.
    fn note_versions<'t>(&mut self, records: impl Iterator<Item = &'t str>) {
        let Some(version) = self.settings.version.clone() else { return };
        for record in records {
            let there = find(record, Span { start: 0, end: record.len() }, &version.path);
            if let (Some(id), Some(there)) = (self.id_of(record), there)
                && let Cell::Text(text, _) = cell(there.of(record), false)
            {
                self.versions.insert(id, text);
            }
        }
    }
}

impl System for HttpApi {
    fn describe(&self) -> Description {
        let writes = [&self.settings.create, &self.settings.update, &self.settings.delete, &self.settings.archive];
        Description { atomic: false, writable: writes.iter().any(|write| write.is_some()), fills_id: self.settings.create.is_some() && self.id.is_some() }
    }

    fn columns(&mut self) -> Result<Vec<String>, Error> {
        self.client.begin();
        let listing = self.list()?;
        let rows = self.rows(&listing);
        self.missing(&rows)?;
        let mut names = rows.names;
        for wanted in &self.required {
            if !names.contains(&wanted.name) {
                names.push(wanted.name.clone());
            }
        }
        Ok(names)
    }

    /// The first page.
    fn look(&mut self) -> Result<Look, Error> {
        self.client.begin();
        let listing = self.first_page()?;
        let rows = self.rows(&listing);
        let mut notes = listing.notes.clone();
        match self.missing(&rows) {
            Ok(()) => {}
            // A record further down may have it.
            Err(error) if listing.has_more => notes.extend(error.diagnostics.into_iter().map(|diagnostic| {
                let hint = diagnostic.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                format!("{}: no record of the first page has it{hint}", diagnostic.message)
            })),
            Err(error) => return Err(error),
        }
        let others = rows.names.iter().filter(|name| !self.required.iter().any(|wanted| wanted.name == **name)).cloned().collect();
        notes.extend(self.client.notes());
        Ok(Look { pulled: self.pulled_of(&listing, rows, notes), is_part: listing.has_more, others, floats: Vec::new() })
    }

    fn pull(&mut self) -> Result<Pulled, Error> {
        self.client.begin();
        let listing = self.list()?;
        let rows = self.rows(&listing);
        self.missing(&rows)?;
        self.habits = rows.columns.iter().map(read::Column::habit).collect();
        self.everywhere = rows.columns.iter().map(|column| column.absent == 0 && !rows.spans.is_empty()).collect();
        self.versions.clear();
        self.note_versions(listing.spans.iter().map(|span| span.of(&listing.text)));
        let found = self.found(&rows);
        let mut notes = listing.notes.clone();
        notes.extend(self.client.notes());
        self.known.clone_from(&found);
        let mut pulled = self.pulled_of(&listing, rows, notes);
        pulled.evidence.found = found;
        Ok(pulled)
    }

    /// One call a change, in their order. An error means that nothing was written.
    fn write(&mut self, set: WriteSet<'_>) -> Result<Vec<Outcome>, Error> {
        self.client.begin();
        self.write_all(set)
    }

    fn said_of_write(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said_of_write)
    }

    /// Each record by its id where that can be asked for; else the whole list.
    fn read_back(&mut self, wanted: &Wanted) -> Result<Pulled, Error> {
        self.client.begin();
        let ids: Option<BTreeSet<String>> = wanted.addresses.iter().map(|address| self.id_in(address).map(str::to_owned)).collect();
        let listing = match ids.filter(|_| self.settings.get.is_some()) {
            Some(ids) => {
                let mut listing = Listing::default();
                let ids: Vec<String> = ids.into_iter().collect();
                for (index, id) in ids.iter().enumerate() {
                    if let Some(record) = self.get(id, &ids[index + 1..])? {
                        listing.add(&record);
                    }
                }
                listing
            }
            None => self.list()?,
        };
        let rows = self.rows(&listing);
        Ok(self.pulled_of(&listing, rows, self.client.notes()))
    }
}
