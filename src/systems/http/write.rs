//! Changes, one call each.
//!
//! # Words
//! An *operation* is what the job file says about creating, updating or deleting. The *answer* of a write is the record as the API shows
//! it in its reply.
//!
//! # Design
//! - A record is read just before it is written, by its id or, without `get`, from one listing for the whole set; what no longer holds
//!   the values that the change expects is stale. Where a wait came between, it is read again.
//! - Nobody knows what became of an update or a delete whose connection broke, so it is read again: it was done, it can be sent once more,
//!   or somebody else was there. A create is only sent again with an idempotency key; without one its outcome is unknown.
//! - The key of a create is made of the job, the system, the record and its values: it is the same in the next run, so that a create of
//!   which nobody knows the outcome is not made twice.
//! - A status that says who we are is not accepted (401, 403) ends the set: every further change would meet it too.

use std::time::Instant;

use hashbrown::HashMap;

use super::batch::together;
use super::client::{Call, Ended, Reply, is_uncertain};
use super::pages::{Listing, with_id};
use super::wire::whole;
use super::{HttpApi, NOTHING};
use crate::change::{Action, AddressPart, CellChange, Change, Outcome, created_values};
use crate::error::{Error, Remedy};
use crate::job::{HttpBody, HttpOperation, HttpWrite, JsonNull, PathStep, read_path, template_place};
use crate::systems::WriteSet;
use crate::systems::batch::Rejections;
use crate::systems::json::edit::{number, with_values};
use crate::systems::json::read::{Cell, beginning, cell, find};
use crate::systems::json::scan::{Sort, Span, quoted, unquoted};
use crate::value::{FieldType, Raw, Storage, Value};

/// So often an update or a delete is sent whose connection breaks.
pub(super) const SENDS_MAX: u32 = 3;

/// The type of a body of JSON.
pub(super) const JSON: &str = "application/json";

/// The type of a body that is a form.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// A value of a body and where it stands in it.
type Placed = (Vec<PathStep>, String);

/// A value, and what is left of its path.
type Part<'p> = (&'p [PathStep], &'p str);

/// The records of the API while a set is written.
pub(super) struct Current {
    /// What was listed, where records cannot be read one by one.
    pub listing: Option<Listing>,
    /// By id the places in the listing.
    places: HashMap<String, Vec<usize>>,
}

/// What is known of a record before it is written.
pub(super) enum Seen {
    Record(String),
    Outcome(Outcome),
}

/// Where what a body holds comes from.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Source<'s> {
    /// The record as it is now; nothing for one that is created.
    pub record: Option<&'s str>,
    /// The name of an element of a batch.
    pub name: Option<&'s str>,
}

impl HttpApi {
    /// Makes the changes; one outcome for each.
    pub(super) fn write_all(&mut self, set: WriteSet<'_>) -> Result<Vec<Outcome>, Error> {
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(set.changes.len());
        let mut rejections = Rejections::none(set.failures_max);
        let mut current = Current { listing: None, places: HashMap::new() };
        let mut failure: Option<Error> = None;
        let mut replaced: Option<Error> = None;
        while let Some(change) = set.changes.get(outcomes.len()) {
            let rest = &set.changes[outcomes.len()..];
            let new = match (&failure, rejections.stop()) {
                (Some(error), _) => vec![Outcome::Skipped { reason: format!("it was not sent: {}", error.headline()) }],
                (None, Some(stopped)) => vec![stopped],
                (None, None) => {
                    let batch = self.operation(change.action).0.and_then(|operation| operation.batch.clone().map(|batch| (operation.clone(), batch)));
                    let made = match batch {
                        Some((operation, batch)) => {
                            let part = &rest[..together(rest, batch.size)];
                            self.make_together(part, &operation, &batch, rejections.left(), &mut current, &mut failure)
                        }
                        None => self.make(change, &mut current, &mut replaced).map(|outcome| vec![outcome]),
                    };
                    made.unwrap_or_else(|error| {
                        let outcome = Outcome::Skipped { reason: error.headline().to_owned() };
                        failure = Some(error);
                        vec![outcome]
                    })
                }
            };
            failure = failure.or_else(|| replaced.take());
            new.iter().for_each(|outcome| rejections.count(outcome));
            outcomes.extend(new);
        }
        let is_written = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Done { .. } | Outcome::Unknown { .. }));
        match failure {
            Some(error) if !is_written => Err(error),
            _ => Ok(outcomes),
        }
    }

    /// What the job file says about an action, and a word for it.
    fn operation(&self, action: Action) -> (Option<&HttpWrite>, &'static str) {
        match action {
            Action::Create => (self.settings.create.as_ref(), "created"),
            Action::Update => (self.settings.update.as_ref(), "updated"),
            Action::Archive => (self.settings.archive.as_ref().or(self.settings.update.as_ref()), "archived"),
            Action::Delete => (self.settings.delete.as_ref(), "deleted"),
        }
    }

    /// An error means that this change was not made; `replaced` is why no further one may be.
    fn make(&mut self, change: &Change, current: &mut Current, replaced: &mut Option<Error>) -> Result<Outcome, Error> {
        let (operation, what) = self.operation(change.action);
        let Some(operation) = operation.cloned() else {
            return Ok(Outcome::Rejected { reason: format!("the job file does not say how a record is {what}") });
        };
        if change.action == Action::Create {
            return self.create(change, &operation);
        }
        let compares = self.compares(operation.with.as_deref());
        let mut record = match self.look(change, current)? {
            Seen::Record(record) => record,
            Seen::Outcome(outcome) => return Ok(outcome),
        };
        // Whether a call may have arrived of which nobody knows the outcome, and why.
        let (mut send, mut was_sent, mut broke) = (0, false, String::new());
        loop {
            let looked = Instant::now();
            send += 1;
            if was_sent && change.action != Action::Delete && self.is_made(&record, change) {
                return Ok(Outcome::Done { answer: self.answer_of(&record, change), id: None });
            }
            if let Some(stale) = self.moved(&record, change) {
                // Nobody else can be told from us there.
                return Ok(if was_sent { Outcome::Unknown { reason: broke } } else { stale });
            }
            let Some(id) = self.id_of(&record) else { return Ok(Outcome::Rejected { reason: "the record has no id".to_owned() }) };
            let call = match self.call_of(change, &operation, &record, &id)? {
                Ok(call) => Call { looked: (!compares).then_some(looked), ..call },
                Err(outcome) => return Ok(outcome),
            };
            // What was written is no longer what was listed.
            current.listing = None;
            let ended = match self.client.call(&call) {
                Err(_) if was_sent => return Ok(Outcome::Unknown { reason: broke }),
                ended => ended?,
            };
            let why = match ended {
                Ended::Reply(reply) => {
                    let outcome = self.outcome(change, &operation, &reply)?;
                    if matches!(outcome, Outcome::Done { .. }) {
                        *replaced = self.replaced(change, &operation, &id, &record, &reply.text);
                        // Its version is one of ours now.
                        self.versions.remove(&id);
                    }
                    return Ok(outcome);
                }
                Ended::Late => {
                    send -= 1;
                    match self.look(change, current) {
                        Ok(Seen::Record(now)) => record = now,
                        Ok(Seen::Outcome(outcome)) if !was_sent => return Ok(outcome),
                        Err(error) if !was_sent => return Err(error),
                        // It is gone, as it should be.
                        Ok(Seen::Outcome(Outcome::Stale { .. })) if change.action == Action::Delete => {
                            return Ok(Outcome::Done { answer: Vec::new(), id: None });
                        }
                        Ok(Seen::Outcome(_)) | Err(_) => return Ok(Outcome::Unknown { reason: broke }),
                    }
                    continue;
                }
                Ended::Unknown(why) => why,
            };
            (was_sent, broke) = (true, why.clone());
            match self.look(change, current) {
                Ok(Seen::Record(now)) => {
                    if change.action != Action::Delete && self.is_made(&now, change) {
                        return Ok(Outcome::Done { answer: self.answer_of(&now, change), id: None });
                    }
                    if send >= SENDS_MAX || self.moved(&now, change).is_some() {
                        return Ok(Outcome::Unknown { reason: why });
                    }
                    record = now;
                }
                // It is gone, as it should be.
                Ok(Seen::Outcome(Outcome::Stale { .. })) if change.action == Action::Delete => return Ok(Outcome::Done { answer: Vec::new(), id: None }),
                Ok(Seen::Outcome(_)) | Err(_) => return Ok(Outcome::Unknown { reason: why }),
            }
        }
    }

    /// The record of a change as it is now, with the waiting for the rate done first: a write may follow at once.
    pub(super) fn look(&mut self, change: &Change, current: &mut Current) -> Result<Seen, Error> {
        if current.listing.is_none() || self.settings.get.is_some() {
            self.client.reserve(self.look_calls + 1);
        }
        let requests = self.client.requests;
        let seen = self.current(change, current)?;
        self.look_calls = (self.client.requests - requests).max(1);
        Ok(seen)
    }

    /// Whether the API itself refuses a call whose record was edited after the look.
    pub(super) fn compares(&self, template: Option<&str>) -> bool {
        let is_sent = |version: &crate::job::HttpVersion| version.header.is_some() || version.field.is_some();
        self.settings.version.as_ref().is_some_and(|version| is_sent(version) || template.is_some_and(|template| template.contains("\"{version}\"")))
    }

    /// The record of a change as it is now.
    pub(super) fn current(&mut self, change: &Change, current: &mut Current) -> Result<Seen, Error> {
        let gone = || Seen::Outcome(Outcome::Stale { reason: "the record is not there any more".to_owned() });
        let id = self.id_in(&change.address).map(str::to_owned).or_else(|| change.row_id.clone());
        if let (Some(id), true) = (&id, self.settings.get.is_some()) {
            return Ok(self.get(id, &[])?.map_or_else(gone, Seen::Record));
        }
        if current.listing.is_none() {
            let listing = self.list()?;
            current.places.clear();
            for (place, span) in listing.spans.iter().enumerate() {
                if let Some(id) = self.id_of(span.of(&listing.text)) {
                    current.places.entry(id).or_default().push(place);
                }
            }
            current.listing = Some(listing);
        }
        let Some(listing) = &current.listing else { return Ok(gone()) };
        let all = || (0..listing.spans.len()).collect::<Vec<usize>>();
        let places = match &id {
            Some(id) => current.places.get(id).cloned().unwrap_or_default(),
            None => all(),
        };
        let record_at = |place: usize| listing.spans[place].of(&listing.text);
        let is_at = |record: &str| change.address.iter().all(|part| self.text_at(record, &part.column).is_some_and(|now| now.text == part.raw.text));
        let mut there = places.into_iter().filter(|place| is_at(record_at(*place)));
        match (there.next(), there.next()) {
            (None, _) => Ok(gone()),
            (Some(place), None) => Ok(Seen::Record(record_at(place).to_owned())),
            (Some(_), Some(_)) => {
                Ok(Seen::Outcome(Outcome::Rejected { reason: "several records have this key; which of them is meant cannot be told".to_owned() }))
            }
        }
    }

    /// What stands in a column of a record; nothing for a column that was not asked for.
    pub(super) fn text_at(&self, record: &str, column: &str) -> Option<Raw> {
        let wanted = self.required.iter().find(|wanted| wanted.name == column)?;
        let there = find(record, Span { start: 0, end: record.len() }, &wanted.path).map(|span| span.of(record));
        Some(match there.map_or(Cell::Absent, |value| cell(value, wanted.is_list)) {
            Cell::Absent | Cell::Null => Raw::default(),
            Cell::Text(text, storage) => Raw { text: Some(text), storage },
            Cell::Fault(_) => Raw { text: there.map(|value| beginning(value).to_owned()), storage: Storage::Text },
        })
    }

    /// The outcome of a change whose record no longer holds what the change expects.
    pub(super) fn moved(&self, record: &str, change: &Change) -> Option<Outcome> {
        for change in &change.cells {
            let Some(before) = &change.before_raw else { continue };
            let Some(now) = self.text_at(record, &change.column) else {
                return Some(Outcome::Rejected { reason: format!("there is no column `{}`", change.column) });
            };
            if now.text != before.text || (now.text.is_some() && now.storage != before.storage) {
                return Some(Outcome::Stale { reason: format!("`{}` is no longer what was read there", change.column) });
            }
        }
        let (version, id) = (self.settings.version.as_ref()?, self.id_of(record)?);
        let there = find(record, Span { start: 0, end: record.len() }, &version.path)?;
        let Cell::Text(now, _) = cell(there.of(record), false) else { return None };
        // The version that was read belongs to the values that were decided on.
        let is_newer = self.versions.get(&id).is_some_and(|pulled| *pulled != now);
        is_newer.then(|| Outcome::Stale { reason: "the record has a newer version than was read".to_owned() })
    }

    pub(super) fn is_made(&self, record: &str, change: &Change) -> bool {
        change.cells.iter().all(|cell| self.text_at(record, &cell.column).is_some_and(|now| now.text == cell.after_raw.text))
    }

    fn create(&mut self, change: &Change, operation: &HttpWrite) -> Result<Outcome, Error> {
        let mut headers = Vec::new();
        if let Some(header) = &self.settings.idempotency {
            headers.push((header.clone(), self.key_of(&[change])));
        }
        let url = self.client.url(&operation.path)?;
        let body = match self.body(change, operation, operation.with.as_deref(), &Source::default()) {
            Ok(body) => body,
            Err(outcome) => return Ok(outcome),
        };
        let is_harmless = operation.upsert || !headers.is_empty();
        let method = operation.method.clone();
        let call = Call { operation: HttpOperation::Create, method, url, body, is_harmless, changes: true, headers, looked: None };
        match self.client.call(&call)? {
            Ended::Reply(reply) => self.outcome(change, operation, &reply),
            Ended::Unknown(reason) => Ok(Outcome::Unknown { reason }),
            Ended::Late => Ok(Outcome::Skipped { reason: "it was not sent".to_owned() }),
        }
    }

    /// By what the API knows a create that is made again: the same for the same record with the same values.
    pub(super) fn key_of(&self, changes: &[&Change]) -> String {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        for change in changes {
            for part in [self.job.as_str(), self.system.as_str(), &change.record.to_string(), &created_values(&change.cells)] {
                hasher.update(part.as_bytes());
                hasher.update(&[0]);
            }
        }
        format!("tieout-{:032x}", hasher.digest128())
    }

    /// The call of an update or a delete.
    pub(super) fn call_of(&self, change: &Change, operation: &HttpWrite, record: &str, id: &str) -> Result<Result<Call, Outcome>, Error> {
        let url = self.client.url(&with_id(&operation.path, id))?;
        let mut headers = Vec::new();
        if let Some(version) = &self.settings.version {
            let there = match self.version_of(record) {
                Ok(there) => there,
                Err(outcome) => return Ok(Err(outcome)),
            };
            if let (Some(header), Some(Cell::Text(text, _))) = (&version.header, there.map(|there| cell(there, false))) {
                headers.push((header.clone(), text));
            }
        }
        let body = match self.body(change, operation, operation.with.as_deref(), &Source { record: Some(record), name: None }) {
            Ok(body) => body,
            Err(outcome) => return Ok(Err(outcome)),
        };
        let method = operation.method.clone();
        Ok(Ok(Call { operation: operation_of(change.action), method, url, body, headers, is_harmless: false, changes: true, looked: None }))
    }

    /// The version of a record as it is spelled; nothing where records have none.
    fn version_of<'r>(&self, record: &'r str) -> Result<Option<&'r str>, Outcome> {
        let Some(version) = &self.settings.version else { return Ok(None) };
        let there = find(record, Span { start: 0, end: record.len() }, &version.path).map(|there| there.of(record));
        match there.filter(|there| *there != "null") {
            Some(there) => Ok(Some(there)),
            None => Err(Outcome::Rejected { reason: "the record has no version, and without one it could overwrite a newer one".to_owned() }),
        }
    }

    /// The type of a body and the body; nothing for a call without one.
    pub(super) fn body(
        &self,
        change: &Change,
        operation: &HttpWrite,
        template: Option<&str>,
        source: &Source<'_>,
    ) -> Result<Option<(&'static str, String)>, Outcome> {
        let rejected = |reason: String| Outcome::Rejected { reason };
        let (name, is_create) = match change.action {
            Action::Create => ("create", true),
            Action::Update => ("update", false),
            // Without a way of its own it is an update.
            Action::Archive => (if self.settings.archive.is_some() { "archive" } else { "update" }, false),
            Action::Delete => ("delete", false),
        };
        if operation.body == HttpBody::None {
            return Ok(None);
        }
        let mut placed = if operation.sends_no_fields(name) { Vec::new() } else { self.placed(change, operation, source.record)? };
        if let (Some(version), Some(record), false) = (&self.settings.version, source.record, operation.method == "DELETE" || is_create)
            && let (Some(field), Some(there)) = (&version.field, self.version_of(record)?)
        {
            placed.push((field.clone(), there.to_owned()));
        }
        if let (true, Some(record)) = (operation.whole, source.record) {
            placed = vec![(Vec::new(), with_values(record, &placed, &operation.without).map_err(rejected)?)];
        }
        let base = template.map(|template| self.filled(template, change, source)).transpose()?;
        match (base, placed.is_empty()) {
            (None, true) => Ok(None),
            (Some(base), true) => Ok(Some((JSON, base))),
            (None, false) if !operation.whole => body_of(operation, placed).map(Some).map_err(rejected),
            (base, false) => {
                let wrapped: Vec<Placed> = placed.into_iter().map(|(path, value)| (operation.wrap.iter().cloned().chain(path).collect(), value)).collect();
                Ok(Some((JSON, with_values(base.as_deref().unwrap_or("{}"), &wrapped, &[]).map_err(rejected)?)))
            }
        }
    }

    /// A template with everything in its places.
    fn filled(&self, template: &str, change: &Change, source: &Source<'_>) -> Result<String, Outcome> {
        let at = |path: &[PathStep]| {
            let record = source.record?;
            find(record, Span { start: 0, end: record.len() }, path).map(|there| there.of(record).to_owned())
        };
        let value_of = |place: &str| match place {
            "id" => self.id.as_ref().and_then(|(_, path)| at(path)),
            "version" => self.settings.version.as_ref().and_then(|version| at(&version.path)),
            "name" => source.name.map(|name| quoted(name, false)),
            column => {
                let changed = change.cells.iter().find(|cell| cell.column == column && change.action != Action::Delete);
                match (changed, self.required.iter().position(|wanted| wanted.name == column)) {
                    (Some(cell), Some(index)) => cell.after_raw.text.as_ref().map(|text| self.value_of(index, cell, text)),
                    (_, index) => at(&index.map(|index| self.required[index].path.clone()).or_else(|| read_path(column).ok())?),
                }
            }
        };
        let (mut filled, mut from) = (String::with_capacity(template.len()), 0);
        for text in texts(template) {
            let spelled = text.of(template);
            let unspelled = unquoted(spelled);
            let Some(place) = unspelled.as_deref().and_then(template_place) else { continue };
            let Some(value) = value_of(place).filter(|value| value != "null") else {
                return Err(Outcome::Rejected { reason: format!("the record has no `{place}`, and the call needs it") });
            };
            filled.push_str(&template[from..text.start]);
            filled.push_str(&value);
            from = text.end;
        }
        filled.push_str(&template[from..]);
        Ok(filled)
    }

    /// The values of a change, each where it stands in a record.
    fn placed(&self, change: &Change, operation: &HttpWrite, record: Option<&str>) -> Result<Vec<Placed>, Outcome> {
        let null = operation.null.unwrap_or(self.settings.null);
        let mut placed = Vec::with_capacity(change.cells.len());
        // By the way to an array what is written into it.
        let mut arrays: Vec<(Vec<PathStep>, Vec<Placed>)> = Vec::new();
        for cell in &change.cells {
            let refuse = |why: &str| Outcome::Rejected { reason: format!("`{}` {why}", cell.column) };
            let Some(index) = self.required.iter().position(|wanted| wanted.name == cell.column) else { return Err(refuse("is no column")) };
            let path = &self.required[index].path;
            let value = match &cell.after_raw.text {
                Some(text) => self.value_of(index, cell, text),
                None => match (null, change.action) {
                    (JsonNull::Null, _) => "null".to_owned(),
                    (JsonNull::Empty, _) => "\"\"".to_owned(),
                    (JsonNull::Omit, Action::Create) => continue,
                    (JsonNull::Omit, _) => return Err(refuse("cannot be cleared: the job file says that what is empty is left out")),
                },
            };
            let is_whole_object = operation.whole_objects && record.is_some() && path.len() > 1;
            let of_array = path.iter().position(|step| matches!(step, PathStep::Index(_)));
            match if is_whole_object { Some(1) } else { of_array } {
                None => placed.push((path.clone(), value)),
                Some(at) => {
                    let (array, rest) = path.split_at(at);
                    match arrays.iter_mut().find(|(there, _)| there == array) {
                        Some((_, values)) => values.push((rest.to_vec(), value)),
                        None => arrays.push((array.to_vec(), vec![(rest.to_vec(), value)])),
                    }
                }
            }
        }
        for (path, values) in arrays {
            // An array is sent as a whole: its other elements are those of this moment. So is what an API would replace.
            let there = record.and_then(|record| find(record, Span { start: 0, end: record.len() }, &path).map(|there| there.of(record)));
            let is_object = values.iter().all(|(rest, _)| matches!(rest.first(), Some(PathStep::Key(_))));
            let there = there.filter(|there| *there != "null").unwrap_or(if is_object { "{}" } else { "null" });
            let array = with_values(there, &values, &[]).map_err(|reason| Outcome::Rejected { reason })?;
            placed.push((path, array));
        }
        // A new record has what every other one has.
        if change.action == Action::Create && null != JsonNull::Omit {
            for (wanted, _) in self.required.iter().zip(&self.everywhere).filter(|(_, everywhere)| **everywhere) {
                let is_field = self.settings.columns.iter().any(|column| column.name == wanted.name);
                let is_id = self.id.as_ref().is_some_and(|(id, _)| *id == wanted.name);
                let is_given = placed.iter().any(|(given, _)| given.starts_with(&wanted.path) || wanted.path.starts_with(given));
                if is_field && !is_id && !is_given {
                    placed.push((wanted.path.clone(), if null == JsonNull::Empty { "\"\"" } else { "null" }.to_owned()));
                }
            }
        }
        Ok(placed)
    }

    /// A value as JSON: of the sort that was read there, else of that which most values of the column are, else of the field's own.
    fn value_of(&self, index: usize, cell: &CellChange, text: &str) -> String {
        let wanted = &self.required[index];
        let field_type = self.settings.columns.iter().find(|column| column.name == wanted.name).map(|column| column.field_type);
        let read = cell.before_raw.as_ref().filter(|raw| raw.text.is_some()).map(|raw| raw.storage);
        let sort = match (read, self.habits[index]) {
            (Some(Storage::Integer | Storage::Real), _) => Sort::Number,
            (_, Some(habit)) => habit,
            (_, None) => match field_type {
                Some(FieldType::Integer | FieldType::Decimal(_)) => Sort::Number,
                Some(FieldType::Boolean) => Sort::Boolean,
                Some(FieldType::List) => Sort::Array,
                _ => Sort::Text,
            },
        };
        let as_text = || quoted(text, false);
        match sort {
            Sort::Number => number(cell, text).unwrap_or_else(as_text),
            Sort::Boolean => match &cell.after {
                Value::Boolean(truth) => truth.to_string(),
                _ if matches!(text, "true" | "false") => text.to_owned(),
                _ => as_text(),
            },
            Sort::Array if wanted.is_list => match &cell.after {
                Value::List(texts) => serde_json::Value::from(texts.clone()).to_string(),
                _ => serde_json::from_str::<Vec<String>>(text).map_or_else(|_| as_text(), |texts| serde_json::Value::from(texts).to_string()),
            },
            _ => as_text(),
        }
    }

    /// What a reply says about a change. An error means that it was not made.
    pub(super) fn outcome(&self, change: &Change, operation: &HttpWrite, reply: &Reply) -> Result<Outcome, Error> {
        let is_create = change.action == Action::Create;
        Ok(match reply.status {
            200..=299 => {
                if let Some(words) = self.errors_in(reply, operation.errors.as_ref()) {
                    return Ok(Outcome::Rejected { reason: words });
                }
                let text = reply.text.strip_prefix('\u{feff}').unwrap_or(&reply.text);
                match whole(text) {
                    Some(value) => self.done(change, text, value, &operation.record, operation.id.as_deref()),
                    None => Outcome::Done { answer: Vec::new(), id: None },
                }
            }
            401 | 403 => return Err(self.refused(reply, &operation.path).seen(NOTHING)),
            404 | 405 | 300..=399 if is_create && !is_uncertain(reply.status) => return Err(self.not_taken(&operation.path, reply)),
            status => outcome_of(status, is_create, self.told(reply)),
        })
    }

    /// A status and the words of the API.
    pub(super) fn told(&self, reply: &Reply) -> String {
        let words = self.client.words(reply).map(|words| format!(": {words}")).unwrap_or_default();
        format!("status {}{words}", reply.said)
    }

    /// The error of an address that does not take a call.
    pub(super) fn not_taken(&self, path: &str, reply: &Reply) -> Error {
        self.client.error(Remedy::MendJob, path, format!("system `{}` does not take this call", self.system)).seen(self.told(reply))
    }

    /// A change that was made, with what an answer shows of its record.
    pub(super) fn done(&self, change: &Change, text: &str, answer: Span, record: &[PathStep], id: Option<&[PathStep]>) -> Outcome {
        let record = find(text, answer, record).map(|record| record.of(text)).filter(|record| Sort::of(record) == Sort::Object);
        let id = match (change.action, id) {
            (Action::Create, Some(path)) => find(text, answer, path).and_then(|id| match cell(id.of(text), false) {
                Cell::Text(id, _) => Some(id),
                _ => None,
            }),
            (Action::Create, None) => record.and_then(|record| self.id_of(record)),
            _ => None,
        };
        let answer = record.filter(|_| change.action != Action::Delete).map(|record| self.answer_of(record, change)).unwrap_or_default();
        Outcome::Done { answer, id }
    }

    /// What a record holds in the columns of a change, as far as it shows them.
    pub(super) fn answer_of(&self, record: &str, change: &Change) -> Vec<AddressPart> {
        let all = Span { start: 0, end: record.len() };
        let shows = |cell: &&CellChange| {
            let wanted = self.required.iter().find(|wanted| wanted.name == cell.column);
            wanted.is_some_and(|wanted| find(record, all, &wanted.path).is_some())
        };
        let part = |cell: &CellChange| Some(AddressPart { column: cell.column.clone(), raw: self.text_at(record, &cell.column)? });
        change.cells.iter().filter(shows).filter_map(part).collect()
    }
}

/// The sort of call that makes changes of this sort.
pub(super) fn operation_of(action: Action) -> HttpOperation {
    match action {
        Action::Create => HttpOperation::Create,
        Action::Update => HttpOperation::Update,
        Action::Archive => HttpOperation::Archive,
        Action::Delete => HttpOperation::Delete,
    }
}

/// What a status other than of success says about a change.
pub(super) fn outcome_of(status: u16, is_create: bool, reason: String) -> Outcome {
    match status {
        404 | 410 if !is_create => Outcome::Stale { reason: "the record is not there any more".to_owned() },
        409 | 412 if !is_create => Outcome::Stale { reason },
        status if is_uncertain(status) => Outcome::Unknown { reason },
        _ => Outcome::Rejected { reason },
    }
}

/// The texts of a JSON text, with their quotes. Keys are among them.
fn texts(text: &str) -> Vec<Span> {
    let bytes = text.as_bytes();
    let (mut spans, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        if bytes[at] != b'"' {
            at += 1;
            continue;
        }
        let start = at;
        at += 1;
        while at < bytes.len() && bytes[at] != b'"' {
            at += if bytes[at] == b'\\' { 2 } else { 1 };
        }
        at = (at + 1).min(bytes.len());
        spans.push(Span { start, end: at });
    }
    spans
}

/// The type of a body, and the body.
fn body_of(operation: &HttpWrite, placed: Vec<Placed>) -> Result<(&'static str, String), String> {
    let placed: Vec<Placed> = placed.into_iter().map(|(path, value)| (operation.wrap.iter().cloned().chain(path).collect(), value)).collect();
    match operation.body {
        HttpBody::Json => {
            let parts: Vec<Part<'_>> = placed.iter().map(|(path, value)| (path.as_slice(), value.as_str())).collect();
            Ok((JSON, object(&parts)?))
        }
        HttpBody::None => Err("there is no body for it".to_owned()),
        HttpBody::Form => {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            for (path, value) in &placed {
                let mut keys = path.iter().map(|step| match step {
                    PathStep::Key(key) => key.clone(),
                    PathStep::Index(index) => index.to_string(),
                });
                let first = keys.next().unwrap_or_default();
                let name = keys.fold(first, |name, key| format!("{name}[{key}]"));
                match serde_json::from_str::<serde_json::Value>(value) {
                    Ok(serde_json::Value::String(text)) => {
                        form.append_pair(&name, &text);
                    }
                    Ok(serde_json::Value::Null) => {
                        form.append_pair(&name, "");
                    }
                    Ok(serde_json::Value::Array(items)) => {
                        for item in items {
                            form.append_pair(&format!("{name}[]"), item.as_str().unwrap_or_default());
                        }
                    }
                    // A number by its digits.
                    _ => {
                        form.append_pair(&name, value);
                    }
                }
            }
            Ok((FORM, form.finish()))
        }
    }
}

/// An object of these values, in their order.
fn object(placed: &[Part<'_>]) -> Result<String, String> {
    let mut groups: Vec<(&str, Vec<Part<'_>>)> = Vec::new();
    for (path, value) in placed {
        let Some((PathStep::Key(key), rest)) = path.split_first() else { return Err("a value has no place of its own in the body".to_owned()) };
        match groups.iter_mut().find(|(there, _)| there == key) {
            Some((_, group)) => group.push((rest, value)),
            None => groups.push((key, vec![(rest, value)])),
        }
    }
    let mut members = Vec::with_capacity(groups.len());
    for (key, group) in groups {
        let value = match group.as_slice() {
            [([], value)] => (*value).to_owned(),
            group => object(group)?,
        };
        members.push(format!("{}:{value}", quoted(key, false)));
    }
    Ok(format!("{{{}}}", members.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::read_path;

    fn placed(values: &[(&str, &str)]) -> Vec<Placed> {
        values.iter().map(|(path, value)| (read_path(path).unwrap_or_default(), (*value).to_owned())).collect()
    }

    #[test]
    fn bodies_keep_every_digit() {
        let values = [("properties.email", "\"a@example.com\""), ("credit", "12345678901234567.10"), ("properties.phone", "null")];
        let wrapped = HttpWrite { wrap: vec![PathStep::Key("contact".to_owned())], ..HttpWrite::default() };
        assert_eq!(
            body_of(&wrapped, placed(&values)),
            Ok(("application/json", r#"{"contact":{"properties":{"email":"a@example.com","phone":null},"credit":12345678901234567.10}}"#.to_owned()))
        );
        let form = HttpWrite { body: HttpBody::Form, ..HttpWrite::default() };
        assert_eq!(
            body_of(&form, placed(&values)).map(|(_, body)| body),
            Ok("properties%5Bemail%5D=a%40example.com&credit=12345678901234567.10&properties%5Bphone%5D=".to_owned())
        );
        assert!(body_of(&HttpWrite::default(), placed(&[("a", "1"), ("a.b", "2")])).is_err(), "a value cannot be an object as well");
    }
}
