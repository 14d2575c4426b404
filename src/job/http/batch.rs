//! What a job file says about bodies that hold more than fields, and about several records in one call.
//!
//! # Words
//! A *template* is JSON as text. A text in it that is one pair of braces and a name, such as `"{id}"`, is a *place*: what it names is put there,
//! spelled as the API itself spells it.

use serde_json::Value as JsonValue;

use super::super::read::{At, Span};
use super::super::spelling::{PathStep, read_path};
use super::{Checks, HttpBatchTable, HttpBody, HttpWrite, HttpWriteTable};

/// A call with more records than this is a mistake.
const SIZE_MAX: u32 = 10_000;

/// By what an element of an answer belongs to a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HttpBy {
    /// Both have the same order.
    #[default]
    Place,
    /// By the id.
    Id,
    /// By a name of our own.
    Name,
    /// By the value of this column.
    Column(String),
    /// The status is good for all.
    All,
}

/// How several records are written with one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpBatch {
    /// The most records of one call.
    pub size: usize,
    /// The method.
    pub method: String,
    /// The path behind the base.
    pub path: String,
    /// Where in the body the array is.
    pub items: Vec<PathStep>,
    /// The template of the body round the array.
    pub with: Option<String>,
    /// The template of an element.
    pub item: Option<String>,
    /// Where in the answer the arrays are that say what became of each.
    pub answers: Vec<Vec<PathStep>>,
    /// By what an element of an answer belongs to a record.
    pub by: HttpBy,
    /// Where in an element of an answer that stands.
    pub at: Option<Vec<PathStep>>,
    /// Where in an element of an answer the record is.
    pub record: Vec<PathStep>,
    /// Where in an element of an answer the id of a new record is.
    pub id: Option<Vec<PathStep>>,
    /// Where in an element of an answer its errors are.
    pub errors: Option<Vec<PathStep>>,
    /// Where in an element of an answer its status is.
    pub status: Option<Vec<PathStep>>,
    /// Where the array of those that failed is, and where in an element of it stands what it belongs by.
    pub failures: Option<(Vec<PathStep>, Vec<PathStep>)>,
    /// Whether a refused call has done nothing.
    pub atomic: bool,
}

/// The name in a text that is a place of a template; nothing if it is none.
pub fn template_place(text: &str) -> Option<&str> {
    let name = text.strip_prefix('{')?.strip_suffix('}')?;
    (!name.is_empty() && !name.contains(['{', '}']) && !name.contains(char::is_whitespace)).then_some(name)
}

impl Checks<'_, '_> {
    /// A template. Its places are looked at.
    pub(super) fn template(&mut self, text: Option<&At<String>>, key: &str, places: Places) -> Option<String> {
        let text = text?;
        let key = format!("{}.{key}", self.key);
        if text.value.contains("${") {
            self.page.refuse(&text.span, format!("`{key}` has a reference, and is sent as it stands")).hint("secrets belong into `auth` or `headers`");
            return None;
        }
        let read: JsonValue = match serde_json::from_str(&text.value) {
            Ok(read) => read,
            Err(error) => {
                self.page.refuse(&text.span, format!("`{key}` is no JSON")).seen(format!("at its line {}, column {}", error.line(), error.column()));
                return None;
            }
        };
        let is_place = places.is_value && read.as_str().and_then(template_place).is_some();
        if !read.is_object() && !is_place {
            self.page.refuse(&text.span, format!("`{key}` is no object: there is no place for the rest of it")).hint(r#"for example `{"id": "{id}"}`"#);
            return None;
        }
        let mut names = Vec::new();
        places_of(&read, &mut names);
        for name in names {
            let problem = match name.as_str() {
                "id" if places.has_id => continue,
                "id" => "and a record that is created has no id yet",
                "version" if places.has_version => continue,
                "version" => "and nothing says where a record has its version: `version` is missing, or the record is new",
                "name" if places.has_name => continue,
                "fields" => "and fields need none: they are put in at `wrap`",
                _ if !places.has_columns => "and there is no one record",
                column => match read_path(column) {
                    Ok(_) => continue,
                    Err(_) => "which is no column",
                },
            };
            self.page
                .refuse(&text.span, format!("`{key}` has the place `{{{name}}}`, {problem}"))
                .hint("possible are `{id}`, `{version}`, `{name}` in a batch, and columns");
        }
        Some(text.value.clone())
    }

    /// The batch of an operation.
    pub(super) fn batch(&mut self, table: &HttpWriteTable, write: &HttpWrite, key: &str, has_version: Option<bool>) -> Option<HttpBatch> {
        let batch = table.batch.as_ref()?;
        let (span, batch): (&Span, &HttpBatchTable) = (&batch.span, &batch.value);
        let (is_create, is_delete) = (key == "create", write.sends_no_fields(key));
        let key = format!("{key}.batch");
        let name = format!("{}.{key}", self.key);
        if let Some(size) = batch.size.as_ref().filter(|size| !(1..=SIZE_MAX).contains(&size.value)) {
            self.page.refuse(&size.span, format!("`{name}.size` must lie between 1 and {SIZE_MAX}, not {}", size.value));
        }
        if write.body == HttpBody::Form {
            self.page.refuse(span, format!("`{name}` needs a body of JSON, and it is a form")).hint("leave `batch` out: records are then written one by one");
        }
        if has_version == Some(true) && !is_create {
            self.page
                .refuse(span, format!("`{name}` holds several records, and the version of one is sent in a header"))
                .hint("leave `batch` out, or send the version in the body: `version = { path = \"..\", field = \"..\" }`");
        }
        let path = match &batch.path {
            Some(_) => self.call_path(batch.path.as_ref(), &key, false),
            None => {
                if write.path.contains('{') {
                    self.page
                        .refuse(span, format!("`{name}` has no `path`, and that of the operation leads to one record"))
                        .hint("for example `path = \"/contacts/batch/update\"`");
                }
                write.path.clone()
            }
        };
        let places = Places { has_id: !is_create, has_version: has_version.is_some() && !is_create, has_name: true, has_columns: true, is_value: is_delete };
        let item = match &batch.item {
            Some(_) => self.template(batch.item.as_ref(), &format!("{key}.item"), places),
            None => write.with.clone(),
        };
        let mut there = Vec::new();
        if let Some(read) = item.as_ref().and_then(|item| serde_json::from_str(item).ok()) {
            places_of(&read, &mut there);
        }
        if !is_create && !there.iter().any(|place| place != "version" && place != "name") && (batch.item.is_none() || item.is_some()) {
            let at = batch.item.as_ref().map_or(span, |item| &item.span);
            self.page.refuse(at, format!("an element of `{name}` does not say which record is meant")).hint(r#"for example `item = '{"id": "{id}"}'`"#);
        }
        let by = self.by(batch, &key, is_create, there.iter().any(|place| place == "name"));
        let failures = batch.failures.as_ref().map(|failures| {
            let (path, at) = (failures.value.path.as_ref(), failures.value.at.as_ref());
            if matches!(by, HttpBy::Place | HttpBy::All) {
                self.page
                    .refuse(&failures.span, format!("`{name}.failures` belong to records by something, and `{name}.by` says by nothing"))
                    .hint("for example `by = \"id\"`");
            }
            (self.path(path, &format!("{key}.failures.path")).unwrap_or_default(), self.path(at, &format!("{key}.failures.at")).unwrap_or_default())
        });
        let mut answers = Vec::new();
        for path in batch.answers.iter().flat_map(|answers| &answers.value.0) {
            answers.extend(self.path(Some(path), &format!("{key}.answers")));
        }
        if let Some(several) = batch.answers.as_ref().filter(|answers| answers.value.0.len() > 1 && by == HttpBy::Place) {
            self.page
                .refuse(&several.span, format!("`{name}.answers` names several arrays, and the places in them say nothing"))
                .hint("say by what an answer belongs to a record: `by = \"id\"`");
        }
        if answers.is_empty() {
            answers.push(Vec::new());
        }
        Some(HttpBatch {
            size: batch.size.as_ref().map_or(1, |size| size.value as usize),
            method: self.method(batch.method.as_ref(), &key, "POST", &["POST", "PUT", "PATCH", "DELETE"]),
            path,
            items: self.path(batch.items.as_ref(), &format!("{key}.items")).unwrap_or_default(),
            with: self.envelope(batch, &key),
            item,
            answers,
            at: self.path(batch.at.as_ref(), &format!("{key}.at")),
            record: self.path(batch.record.as_ref(), &format!("{key}.record")).unwrap_or_default(),
            id: self.path(batch.id.as_ref().filter(|_| is_create), &format!("{key}.id")),
            errors: self.path(batch.errors.as_ref(), &format!("{key}.errors")),
            status: self.path(batch.status.as_ref(), &format!("{key}.status")),
            failures,
            atomic: batch.atomic.as_ref().is_some_and(|atomic| atomic.value),
            by,
        })
    }

    fn envelope(&mut self, batch: &HttpBatchTable, key: &str) -> Option<String> {
        let with = self.template(batch.with.as_ref(), &format!("{key}.with"), Places::default());
        if let Some(written) = batch.with.as_ref().filter(|_| batch.items.is_none()) {
            self.page
                .refuse(&written.span, format!("`{}.{key}.with` stands round the array, and nothing says where in it the array is", self.key))
                .hint("for example `items = \"$.records\"`");
        }
        with
    }

    fn by(&mut self, batch: &HttpBatchTable, key: &str, is_create: bool, has_name: bool) -> HttpBy {
        let name = format!("{}.{key}", self.key);
        let written = batch.by.as_ref();
        let by = match written.map(At::as_str) {
            None | Some("place") => HttpBy::Place,
            Some("id") => HttpBy::Id,
            Some("name") => HttpBy::Name,
            Some("all") => HttpBy::All,
            Some(column) => HttpBy::Column(column.to_owned()),
        };
        let span = written.map(|written| written.span.clone()).unwrap_or_default();
        match &by {
            HttpBy::Id if is_create => {
                self.page.refuse(&span, format!("`{name}.by` cannot be `id`: a new record has none yet")).hint("`place`, `name`, or a column such as `email`");
            }
            HttpBy::Name if !has_name => {
                self.page
                    .refuse(&span, format!("`{name}.by` is `name`, and no element has the place `{{name}}`"))
                    .hint(r#"for example `item = '{"bId": "{name}"}'`"#);
            }
            HttpBy::Name if batch.at.is_none() => {
                self.page.refuse(&span, format!("`{name}.by` is `name`, and nothing says where in an answer it stands")).hint("for example `at = \"bId\"`");
            }
            HttpBy::Column(_) => {
                self.path(written, &format!("{key}.by"));
            }
            HttpBy::Place | HttpBy::Id | HttpBy::Name | HttpBy::All => {}
        }
        if let Some(at) = batch.at.as_ref().filter(|_| matches!(by, HttpBy::Place | HttpBy::All)) {
            self.page.refuse(&at.span, format!("`{name}.at` is for answers that belong by something")).hint("for example `by = \"id\"`, or leave `at` out");
        }
        if let Some(id) = batch.id.as_ref().filter(|_| !is_create) {
            self.page.refuse(&id.span, format!("`{name}.id` is for `create`"));
        }
        by
    }
}

/// Which places a template may have.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Places {
    pub has_id: bool,
    pub has_version: bool,
    pub has_name: bool,
    pub has_columns: bool,
    /// Whether the template may be nothing but a place.
    pub is_value: bool,
}

/// The places of a template.
fn places_of(value: &JsonValue, names: &mut Vec<String>) {
    match value {
        JsonValue::String(text) => names.extend(template_place(text).map(str::to_owned)),
        JsonValue::Array(items) => items.iter().for_each(|item| places_of(item, names)),
        JsonValue::Object(members) => members.values().for_each(|value| places_of(value, names)),
        JsonValue::Null | JsonValue::Bool(_) | JsonValue::Number(_) => {}
    }
}
