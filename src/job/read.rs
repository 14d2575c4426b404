//! Reads TOML into typed tables, and remembers where every key and value stands.
//!
//! A [`Page`] is one file with its mistakes. A table of the file is declared once, with [`table!`]: from that declaration
//! come the struct, the reading, the list of known keys and the JSON Schema, so that they cannot disagree. Reading never
//! stops at a mistake: what cannot be read is reported and left out, the rest goes on.
//!
//! It decides only what one value can tell by itself. What values mean together is the work of `check`.
//!
//! # Design
//! serde would report the first mistake only, and lose the places of the others. Entries of a table are put in the order
//! of their keys in the file, because TOML's own order depends on which of its headers comes first.

use std::ops::Range;

use serde_json::{Map as Json, Value as JsonValue, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Place, did_you_mean};

/// Bytes of a file, from the first to the one after the last.
pub(super) type Span = Range<usize>;

/// A value of a file, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct At<T> {
    pub value: T,
    pub span: Span,
}

impl<T> At<T> {
    pub(super) fn new(value: T, span: Span) -> At<T> {
        At { value, span }
    }
}

impl At<String> {
    pub(super) fn as_str(&self) -> &str {
        &self.value
    }
}

/// One file, with the mistakes found in it so far.
#[derive(Debug)]
pub(super) struct Page<'f> {
    path: &'f str,
    text: &'f str,
    mistakes: Vec<(usize, Diagnostic)>,
}

impl<'f> Page<'f> {
    pub(super) fn new(path: &'f str, text: &'f str) -> Page<'f> {
        Page { path, text, mistakes: Vec::new() }
    }

    /// The line and column of a byte. Columns count characters; a byte order mark is none.
    pub(super) fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset.min(self.text.len())).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before[line_start..].chars().filter(|character| *character != '\u{feff}').count() + 1;
        Place { origin: self.path.to_owned(), line: Some(line as u64), column: Some(column as u64) }
    }

    /// Notes a mistake; what is returned adds to it.
    pub(super) fn refuse(&mut self, span: &Span, message: impl Into<String>) -> Refusal<'_> {
        let diagnostic = Diagnostic::new(self.place(span.start), message);
        self.mistakes.push((span.start, diagnostic));
        Refusal { mistake: self.mistakes.last_mut().map(|(_, diagnostic)| diagnostic) }
    }

    pub(super) fn is_clean(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// How many mistakes have been noted.
    pub(super) fn mistakes(&self) -> usize {
        self.mistakes.len()
    }

    /// All mistakes, in the order of the file.
    pub(super) fn into_mistakes(mut self) -> Vec<Diagnostic> {
        self.mistakes.sort_by_key(|(offset, _)| *offset);
        self.mistakes.into_iter().map(|(_, diagnostic)| diagnostic).collect()
    }

    /// The file as a tree. Nothing if it is not TOML: what can be read past a mistake in the syntax would be guesswork.
    pub(super) fn parse(&mut self) -> Option<Spanned<DeValue<'f>>> {
        let (table, problems) = DeTable::parse_recoverable(self.text);
        let mut lines_seen = Vec::new();
        for problem in &problems {
            let span = problem.span().unwrap_or(0..0);
            let line = self.place(span.start).line;
            // One slip often makes the parser stumble again on the same line; the first mention says it.
            if !lines_seen.contains(&line) {
                lines_seen.push(line);
                let message = problem.message();
                if message == "duplicate key" {
                    let key = self.text.get(span.clone()).unwrap_or_default().to_owned();
                    self.refuse(&span, format!("`{key}` is given twice")).hint("keep one of the two");
                } else if message.contains("array") || message.contains("inline table") {
                    // Inside brackets that are not closed, every line to the end of the file looks wrong.
                    self.refuse(&span, format!("this is not TOML: {message}")).hint("is a comma, a `]` or a `}` missing?");
                    break;
                } else {
                    self.refuse(&span, format!("this is not TOML: {message}"));
                }
            }
        }
        problems.is_empty().then(|| Spanned::new(table.span(), DeValue::Table(table.into_inner())))
    }
}

/// A mistake that has just been noted.
pub(super) struct Refusal<'p> {
    mistake: Option<&'p mut Diagnostic>,
}

impl Refusal<'_> {
    pub(super) fn seen(mut self, line: impl Into<String>) -> Self {
        if let Some(mistake) = &mut self.mistake {
            mistake.seen.push(line.into());
        }
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Some(mistake) = &mut self.mistake {
            mistake.hint = Some(hint.into());
        }
        self
    }

    /// Lists what could have been written, and names what was most likely meant.
    pub(super) fn known<'c>(self, what: &str, written: &str, candidates: impl IntoIterator<Item = &'c str>) -> Self {
        let candidates: Vec<&str> = candidates.into_iter().collect();
        let list: Vec<String> = candidates.iter().map(|candidate| format!("`{candidate}`")).collect();
        let said = self.seen(format!("{what}: {}", if list.is_empty() { "none".to_owned() } else { list.join(", ") }));
        match did_you_mean(written, candidates) {
            Some(meant) => said.hint(format!("did you mean `{meant}`?")),
            None => said,
        }
    }
}

/// What a value of a file can be read as.
pub(super) trait Written: Sized {
    /// The value; nothing after a mistake, which is then on the page. `name` is the dotted name of its key, for messages.
    fn read(value: &Spanned<DeValue<'_>>, name: &str, page: &mut Page<'_>) -> Option<Self>;

    /// What an editor should know about it, as JSON Schema.
    fn schema() -> JsonValue;
}

/// Says that a value is of the wrong sort.
pub(super) fn refuse_sort(value: &Spanned<DeValue<'_>>, name: &str, expected: &str, page: &mut Page<'_>) {
    let seen = match value.get_ref() {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    let written = match value.get_ref() {
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Datetime(date) => Some(date.to_string()),
        DeValue::Boolean(_) | DeValue::String(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    };
    let said = page.refuse(&value.span(), format!("`{name}` must be {expected}, not {seen}"));
    match written {
        Some(written) if matches!(expected, "text" | "text or a table" | "text or a list of texts") => said.hint(format!("put it in quotes: `\"{written}\"`")),
        _ => said,
    };
}

impl Written for String {
    fn read(value: &Spanned<DeValue<'_>>, name: &str, page: &mut Page<'_>) -> Option<String> {
        let text = value.get_ref().as_str().map(str::to_owned);
        if text.is_none() {
            refuse_sort(value, name, "text", page);
        }
        text
    }

    fn schema() -> JsonValue {
        json!({ "type": "string" })
    }
}

impl Written for bool {
    fn read(value: &Spanned<DeValue<'_>>, name: &str, page: &mut Page<'_>) -> Option<bool> {
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            refuse_sort(value, name, "true or false", page);
        }
        boolean
    }

    fn schema() -> JsonValue {
        json!({ "type": "boolean" })
    }
}

impl Written for u32 {
    fn read(value: &Spanned<DeValue<'_>>, name: &str, page: &mut Page<'_>) -> Option<u32> {
        let DeValue::Integer(number) = value.get_ref() else {
            refuse_sort(value, name, "a whole number", page);
            return None;
        };
        let read = u32::from_str_radix(number.as_str(), number.radix()).ok();
        if read.is_none() {
            page.refuse(&value.span(), format!("`{name}` must lie between 0 and {}", u32::MAX)).seen(format!("found {number}"));
        }
        read
    }

    fn schema() -> JsonValue {
        json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX })
    }
}

impl<T: Written> Written for Vec<At<T>> {
    fn read(value: &Spanned<DeValue<'_>>, name: &str, page: &mut Page<'_>) -> Option<Vec<At<T>>> {
        let DeValue::Array(items) = value.get_ref() else {
            refuse_sort(value, name, "a list", page);
            return None;
        };
        let read: Vec<Option<At<T>>> = items.iter().map(|item| T::read(item, name, page).map(|read| At::new(read, item.span()))).collect();
        read.into_iter().collect()
    }

    fn schema() -> JsonValue {
        json!({ "type": "array", "items": T::schema() })
    }
}

/// One text, or a list of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(pub Vec<At<String>>);

impl Written for Names {
    fn read(value: &Spanned<DeValue<'_>>, name: &str, page: &mut Page<'_>) -> Option<Names> {
        match value.get_ref() {
            DeValue::String(text) => Some(Names(vec![At::new(text.to_string(), value.span())])),
            DeValue::Array(_) => Vec::read(value, name, page).map(Names),
            _ => {
                refuse_sort(value, name, "text or a list of texts", page);
                None
            }
        }
    }

    fn schema() -> JsonValue {
        json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }] })
    }
}

/// A table whose keys are names that the file chooses, in the order of the file. A value that could not be read keeps its
/// name, so that nobody calls the name unknown.
#[derive(Clone, Debug)]
pub(super) struct Named<T>(pub Vec<(At<String>, Option<T>)>);

impl<T> Default for Named<T> {
    fn default() -> Named<T> {
        Named(Vec::new())
    }
}

impl<T> Named<T> {
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

impl<T: Written> Written for Named<T> {
    fn read(value: &Spanned<DeValue<'_>>, name: &str, page: &mut Page<'_>) -> Option<Named<T>> {
        let rows = Rows::of(value, name, page)?;
        let mut read = Vec::new();
        for row in &rows.rows {
            let inner = T::read(row.value, &rows.dotted(row.key), page);
            read.push((At::new(row.key.to_owned(), row.span.clone()), inner));
        }
        Some(Named(read))
    }

    fn schema() -> JsonValue {
        json!({ "type": "object", "additionalProperties": T::schema() })
    }
}

/// A closed set of words, each with what it means.
pub(super) trait Word: Copy + 'static {
    const WORDS: &'static [(&'static str, Self, &'static str)];
}

impl<T: Word> Written for T {
    fn read(value: &Spanned<DeValue<'_>>, name: &str, page: &mut Page<'_>) -> Option<T> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Boolean(boolean) => boolean.to_string(),
            _ => {
                refuse_sort(value, name, "one of its words", page);
                return None;
            }
        };
        let read = T::WORDS.iter().find(|(word, ..)| *word == text).map(|(_, meaning, _)| *meaning);
        if read.is_none() {
            let words = T::WORDS.iter().map(|(word, ..)| *word);
            page.refuse(&value.span(), format!("`{name}` cannot be `{text}`")).known("possible", &text, words);
        }
        read
    }

    fn schema() -> JsonValue {
        let words: Vec<JsonValue> = T::WORDS.iter().map(|(word, _, about)| json!({ "const": word, "description": about })).collect();
        json!({ "oneOf": words })
    }
}

/// Whether a key of a table must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Required,
    Optional,
}

/// One entry of a table.
pub(super) struct Row<'t> {
    pub key: &'t str,
    pub span: Span,
    pub value: &'t Spanned<DeValue<'t>>,
    taken: bool,
}

/// A table that is being taken apart, key by key.
pub(super) struct Rows<'t> {
    name: String,
    span: Span,
    pub rows: Vec<Row<'t>>,
}

impl<'t> Rows<'t> {
    /// The entries of a table in the order of the file; nothing, and a mistake, if it is none.
    pub(super) fn of<'i: 't>(value: &'t Spanned<DeValue<'i>>, name: &str, page: &mut Page<'_>) -> Option<Rows<'t>> {
        let DeValue::Table(table) = value.get_ref() else {
            refuse_sort(value, name, "a table", page);
            return None;
        };
        let mut rows: Vec<Row<'t>> = table.iter().map(|(key, value)| Row { key: key.get_ref().as_ref(), span: key.span(), value, taken: false }).collect();
        rows.sort_by_key(|row| row.span.start);
        Some(Rows { name: name.to_owned(), span: value.span(), rows })
    }

    /// The dotted name of a key of this table.
    pub(super) fn dotted(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// Reads the value of a key, if it is there. A required key that is not is a mistake.
    pub(super) fn take<T: Written>(&mut self, key: &str, presence: Presence, page: &mut Page<'_>) -> Option<At<T>> {
        let name = self.dotted(key);
        match self.rows.iter_mut().find(|row| row.key == key) {
            Some(row) => {
                row.taken = true;
                T::read(row.value, &name, page).map(|value| At::new(value, row.value.span()))
            }
            None => {
                if presence == Presence::Required {
                    let what = if self.name.is_empty() { "the file".to_owned() } else { format!("`{}`", self.name) };
                    page.refuse(&self.span, format!("{what} has no `{key}`"));
                }
                None
            }
        }
    }

    /// The entries that nobody has taken.
    pub(super) fn left(&self) -> impl Iterator<Item = &Row<'t>> {
        self.rows.iter().filter(|row| !row.taken)
    }

    /// Refuses every entry that nobody has taken.
    pub(super) fn refuse_left(&self, known: &[&str], page: &mut Page<'_>) {
        for row in self.left() {
            let place = if self.name.is_empty() { String::new() } else { format!(" in `{}`", self.name) };
            page.refuse(&row.span, format!("unknown key `{}`{place}", row.key)).known("keys", row.key, known.iter().copied());
        }
    }
}

/// A table with a fixed set of keys; [`table!`] declares one.
pub(super) trait Table: Sized {
    const KEYS: &'static [&'static str];
    const ABOUT: &'static [&'static str];

    /// Takes the keys that it knows.
    fn take(rows: &mut Rows<'_>, page: &mut Page<'_>) -> Self;

    /// Each key with its schema, and whether it is required.
    fn properties() -> Vec<(&'static str, Presence, JsonValue)>;
}

/// Reads a table of which every key must be known.
pub(super) fn read_table<T: Table>(value: &Spanned<DeValue<'_>>, name: &str, page: &mut Page<'_>) -> Option<T> {
    let mut rows = Rows::of(value, name, page)?;
    let table = T::take(&mut rows, page);
    rows.refuse_left(T::KEYS, page);
    Some(table)
}

/// Lines of documentation as one text.
pub(super) fn prose(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// The schema of an object with these properties and no others.
pub(super) fn object_schema(about: &str, properties: Vec<(&'static str, Presence, JsonValue)>) -> JsonValue {
    let required: Vec<&str> = properties.iter().filter(|(_, presence, _)| *presence == Presence::Required).map(|(key, ..)| *key).collect();
    let mut schema = Json::new();
    schema.insert("description".to_owned(), json!(about));
    schema.insert("type".to_owned(), json!("object"));
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    schema.insert("properties".to_owned(), JsonValue::Object(properties.into_iter().map(|(key, _, schema)| (key.to_owned(), schema)).collect()));
    schema.insert("additionalProperties".to_owned(), json!(false));
    JsonValue::Object(schema)
}

/// A schema with the description of the key that holds it, which says more than that of the type.
pub(super) fn described(schema: JsonValue, about: &str) -> JsonValue {
    let JsonValue::Object(inner) = schema else { return schema };
    let mut outer = Json::new();
    outer.insert("description".to_owned(), json!(about));
    outer.extend(inner.into_iter().filter(|(key, _)| key != "description"));
    JsonValue::Object(outer)
}

/// Declares a table of the file: a struct of optional values with their places, how it is read, and its schema.
macro_rules! table {
    ($(#[doc = $about:literal])* $name:ident { $($(#[doc = $doc:literal])* $presence:ident $key:literal $field:ident: $kind:ty,)* }) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, Default)]
        pub(in crate::job) struct $name {
            $($(#[doc = $doc])* pub $field: Option<$crate::job::read::At<$kind>>,)*
        }

        impl $crate::job::read::Table for $name {
            const KEYS: &'static [&'static str] = &[$($key),*];
            const ABOUT: &'static [&'static str] = &[$($about),*];

            fn take(rows: &mut $crate::job::read::Rows<'_>, page: &mut $crate::job::read::Page<'_>) -> $name {
                $name { $($field: rows.take($key, $crate::job::read::Presence::$presence, page),)* }
            }

            fn properties() -> Vec<(&'static str, $crate::job::read::Presence, serde_json::Value)> {
                vec![$((
                    $key,
                    $crate::job::read::Presence::$presence,
                    $crate::job::read::described(<$kind as $crate::job::read::Written>::schema(), &$crate::job::read::prose(&[$($doc),*])),
                )),*]
            }
        }
    };
}
pub(super) use table;

/// Makes a [`table!`] readable as a value in which every key must be known.
macro_rules! closed {
    ($($name:ident),*) => {$(
        impl $crate::job::read::Written for $name {
            fn read(value: &toml::Spanned<toml::de::DeValue<'_>>, name: &str, page: &mut $crate::job::read::Page<'_>) -> Option<$name> {
                $crate::job::read::read_table(value, name, page)
            }

            fn schema() -> serde_json::Value {
                use $crate::job::read::Table;
                $crate::job::read::object_schema(&$crate::job::read::prose($name::ABOUT), $name::properties())
            }
        }
    )*};
}
pub(super) use closed;
