//! What a comparison of two files found, and how people are told.
//!
//! Text from the files is shown with its control characters spelled out. Nothing here decides anything.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::shown::{count, cut, plural, visible};
use super::text::Colour;

/// What became of a record between A and B.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Both have it, with other values.
    Changed,
    /// Only A has it.
    Removed,
    /// Only B has it.
    Added,
    /// A row whose key comes more than once in a file: not compared.
    Duplicate,
    /// A row that cannot be read: not compared.
    Unreadable,
}

impl Change {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Change::Changed => "changed",
            Change::Removed => "removed",
            Change::Added => "added",
            Change::Duplicate => "duplicate",
            Change::Unreadable => "unreadable",
        }
    }
}

/// A field of a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDifference {
    /// Its number in [`Compared::fields`].
    pub field: u32,
    /// What A says, if it has the record.
    pub old: Option<String>,
    /// What B says, if it has the record.
    pub new: Option<String>,
}

/// A row or pair of rows that is a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What it is.
    pub change: Change,
    /// The lines in A and B, where they have it.
    pub lines: [Option<u64>; 2],
    /// The key; empty for a row that cannot be read.
    pub key: Vec<String>,
    /// The fields that differ; all of a row that has no partner.
    pub fields: Vec<FieldDifference>,
    /// Why a row cannot be read, and how it begins.
    pub unread: Option<(String, String)>,
}

/// What was compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// The files, as the operator wrote them.
    pub files: [String; 2],
    /// The columns of the key.
    pub key: Vec<String>,
    /// The others, as A calls them.
    pub fields: Vec<String>,
    /// The same, as B calls them.
    pub fields_b: Vec<String>,
    /// Columns that only A has.
    pub only_a: Vec<String>,
    /// Columns that only B has.
    pub only_b: Vec<String>,
    /// Whether lines are numbers of rows, because the file has no lines.
    pub lines_are_rows: [bool; 2],
}

/// What was found, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// How many rows A and B have.
    pub rows: [u64; 2],
    /// Records that both have, with equal values.
    pub same: u64,
    /// Records that both have, with other values.
    pub changed: u64,
    /// Records that only A has.
    pub removed: u64,
    /// Records that only B has.
    pub added: u64,
    /// Rows of A and of B whose key comes more than once in one of them.
    pub doubled: [u64; 2],
    /// How many keys those have.
    pub doubled_keys: u64,
    /// Rows of A and of B that cannot be read.
    pub unreadable: [u64; 2],
    /// How often each field differs in changed records.
    pub by_field: Vec<u64>,
}

impl Findings {
    /// Whether there is no difference. Columns that only one file has are none.
    pub fn are_none(&self) -> bool {
        self.differences() == 0
    }

    /// How many differences there are: records, and rows that could not be compared.
    pub fn differences(&self) -> u64 {
        self.changed + self.removed + self.added + self.doubled.iter().sum::<u64>() + self.unreadable.iter().sum::<u64>()
    }
}

impl Compared {
    /// The headings of a table with a row for each difference, no two the same: what it is, its lines, the key, which fields differ,
    /// each field in A and in B, and why a row cannot be read.
    pub fn headings(&self) -> Vec<String> {
        let mut headings: Vec<String> = ["change", "line_a", "line_b"].map(str::to_owned).to_vec();
        headings.extend(self.key.iter().cloned());
        headings.push("fields".to_owned());
        headings.extend(self.fields.iter().flat_map(|name| [format!("{name} (A)"), format!("{name} (B)")]));
        headings.push("note".to_owned());
        let mut seen = std::collections::BTreeSet::new();
        for heading in &mut headings {
            while !seen.insert(heading.clone()) {
                heading.push('_');
            }
        }
        headings
    }

    /// The row of a difference under the [headings](Compared::headings). Nothing is not the empty text: there is no such cell.
    pub fn row<'d>(&'d self, difference: &'d Difference) -> Vec<Option<Cow<'d, str>>> {
        let line = |side: usize| difference.lines[side].map(|line| Cow::Owned(line.to_string()));
        let mut row = vec![Some(Cow::Borrowed(difference.change.word())), line(0), line(1)];
        row.extend((0..self.key.len()).map(|part| difference.key.get(part).map(|part| Cow::Borrowed(part.as_str()))));
        let names: Vec<&str> = difference.fields.iter().map(|field| self.fields[field.field as usize].as_str()).collect();
        row.push((difference.change == Change::Changed).then(|| Cow::Owned(names.join(", "))));
        let first = row.len();
        row.resize(first + self.fields.len() * 2 + 1, None);
        for field in &difference.fields {
            let at = first + field.field as usize * 2;
            row[at] = field.old.as_deref().map(Cow::Borrowed);
            row[at + 1] = field.new.as_deref().map(Cow::Borrowed);
        }
        let note = difference.unread.as_ref().map(|(why, raw)| Cow::Owned(format!("{why}: {raw}")));
        row.pop();
        row.push(note);
        row
    }

    /// A difference as a JSON object.
    pub fn json(&self, difference: &Difference) -> Value {
        let mut object = Map::new();
        object.insert("change".to_owned(), json!(difference.change));
        for (name, line) in [("line_a", difference.lines[0]), ("line_b", difference.lines[1])] {
            if let Some(line) = line {
                object.insert(name.to_owned(), json!(line));
            }
        }
        if let Some((why, raw)) = &difference.unread {
            object.insert("why".to_owned(), json!(why));
            object.insert("text".to_owned(), json!(raw));
            return Value::Object(object);
        }
        let key: Map<String, Value> = self.key.iter().zip(&difference.key).map(|(name, said)| (name.clone(), json!(said))).collect();
        object.insert("key".to_owned(), Value::Object(key));
        let fields = difference.fields.iter().map(|field| {
            let sides = [("old", &field.old), ("new", &field.new)].into_iter();
            let sides: Map<String, Value> = sides.filter_map(|(side, said)| Some((side.to_owned(), json!(said.as_ref()?)))).collect();
            (self.fields[field.field as usize].clone(), Value::Object(sides))
        });
        object.insert("fields".to_owned(), Value::Object(fields.collect()));
        Value::Object(object)
    }

    /// The whole as one JSON document, with the differences that are shown.
    pub fn document(&self, findings: &Findings, shown: &[Difference]) -> Value {
        let by_field = self.fields.iter().zip(&findings.by_field).filter(|(_, times)| **times > 0);
        let by_field: Map<String, Value> = by_field.map(|(name, times)| (name.clone(), json!(times))).collect();
        let differences: Vec<Value> = shown.iter().map(|difference| self.json(difference)).collect();
        json!({
            "a": self.files[0], "b": self.files[1], "key": self.key, "equal": findings.are_none(),
            "rows": {"a": findings.rows[0], "b": findings.rows[1]},
            "same": findings.same, "changed": findings.changed, "removed": findings.removed, "added": findings.added,
            "duplicates": {"keys": findings.doubled_keys, "rows_a": findings.doubled[0], "rows_b": findings.doubled[1]},
            "unreadable": {"a": findings.unreadable[0], "b": findings.unreadable[1]},
            "changed_fields": by_field, "columns_only_in_a": self.only_a, "columns_only_in_b": self.only_b,
            "differences": differences, "more": findings.differences() - shown.len() as u64,
        })
    }

    /// The whole for a terminal: what was found in numbers, then the differences that are shown. `rest` says where the others are.
    pub fn text(&self, findings: &Findings, shown: &[Difference], colour: Colour, rest: &str) -> String {
        let mut text = String::new();
        for line in self.head(findings) {
            text.push_str(&line);
            text.push('\n');
        }
        let paint = |text: &str, code: &str| if colour == Colour::Ansi { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() };
        let mut above: Option<&Difference> = None;
        for difference in shown {
            let (mark, code) = match difference.change {
                Change::Changed => ("~", "33"),
                Change::Removed => ("-", "31"),
                Change::Added => ("+", "32"),
                Change::Duplicate => ("=", "35"),
                Change::Unreadable => ("?", "35"),
            };
            let key = self.key_text(difference);
            let is_same_key =
                difference.change == Change::Duplicate && above.is_some_and(|above| above.change == Change::Duplicate && above.key == difference.key);
            if !is_same_key {
                let word = if difference.change == Change::Duplicate { " more than once" } else { "" };
                let line = match difference.change {
                    Change::Duplicate => String::new(),
                    _ => format!("  {}", self.places(difference)),
                };
                text.push_str(&format!("\n{}{line}\n", paint(format!("{mark} {key}{word}").trim_end(), code)));
            }
            match &difference.unread {
                Some((why, raw)) => text.push_str(&format!("    {why}\n    {}\n", visible(&cut(raw, CELL_CHARACTERS_MAX)))),
                None if difference.change == Change::Changed => {
                    for field in &difference.fields {
                        let (old, new) = (told(field.old.as_deref()), told(field.new.as_deref()));
                        text.push_str(&format!("    {}: {} → {}\n", visible(&self.fields[field.field as usize]), paint(&old, "31"), paint(&new, "32")));
                    }
                }
                None => {
                    let place = if difference.change == Change::Duplicate { format!("{}: ", self.places(difference)) } else { String::new() };
                    let line = cut(&self.all_fields(difference), LINE_CHARACTERS_MAX);
                    if !(place.is_empty() && line.is_empty()) {
                        text.push_str(&format!("    {place}{line}\n"));
                    }
                }
            }
            above = Some(difference);
        }
        let more = findings.differences() - shown.len() as u64;
        if more > 0 {
            text.push_str(&format!("\n{} more {}{rest}\n", count(more), if more == 1 { "difference" } else { "differences" }));
        }
        text
    }

    /// What was found in numbers, a sentence a line.
    pub fn head(&self, findings: &Findings) -> Vec<String> {
        let [a, b] = self.files.each_ref().map(|file| visible(file));
        let key: Vec<Cow<'_, str>> = self.key.iter().map(|name| visible(name)).collect();
        let mut parts = Vec::new();
        for (number, word) in [(findings.changed, "changed"), (findings.removed, "removed"), (findings.added, "added")] {
            if number > 0 {
                parts.push(format!("{} {word}", count(number)));
            }
        }
        parts.push(format!("{} the same", count(findings.same)));
        let mut lines = vec![format!("{a} → {b} by {}: {}", key.join(", "), parts.join(", "))];
        if findings.doubled_keys > 0 {
            let rows = |side: usize| plural(findings.doubled[side], "row", "rows");
            let keys = plural(findings.doubled_keys, "key comes", "keys come");
            lines.push(format!("  {keys} more than once: {} of A and {} of B are not compared", rows(0), rows(1)));
        }
        for (side, file) in [&a, &b].into_iter().enumerate() {
            if findings.unreadable[side] > 0 {
                let rows = plural(findings.unreadable[side], "row", "rows");
                lines.push(format!("  {rows} of {file} cannot be read and {} not compared", if findings.unreadable[side] == 1 { "is" } else { "are" }));
            }
        }
        for (file, only) in [(&a, &self.only_a), (&b, &self.only_b)] {
            if !only.is_empty() {
                let names: Vec<Cow<'_, str>> = only.iter().map(|name| visible(name)).collect();
                lines.push(format!("  only {file} has, and not compared: {}", names.join(", ")));
            }
        }
        let mut fields: Vec<(u64, &String)> = findings.by_field.iter().copied().zip(&self.fields).filter(|(times, _)| *times > 0).collect();
        fields.sort_by_key(|(times, _)| std::cmp::Reverse(*times));
        if !fields.is_empty() {
            const FIELDS_MAX: usize = 8;
            let more = fields.len().saturating_sub(FIELDS_MAX);
            let mut told: Vec<String> = fields.iter().take(FIELDS_MAX).map(|(times, name)| format!("{} {}", visible(name), count(*times))).collect();
            if more > 0 {
                told.push(format!("and {more} more fields"));
            }
            lines.push(format!("  changed fields: {}", told.join(", ")));
        }
        lines
    }

    fn key_text(&self, difference: &Difference) -> String {
        let parts: Vec<String> = self.key.iter().zip(&difference.key).map(|(name, said)| format!("{} {}", visible(name), told(Some(said)))).collect();
        parts.join(", ")
    }

    /// `line 18 → 22`, or the one that there is.
    pub(super) fn places(&self, difference: &Difference) -> String {
        let word = |side: usize| if self.lines_are_rows[side] { "row" } else { "line" };
        match difference.lines {
            [Some(a), Some(b)] if self.lines_are_rows[0] == self.lines_are_rows[1] => format!("{} {a} → {b}", word(0)),
            [Some(a), Some(b)] => format!("{} {a} → {} {b}", word(0), word(1)),
            [Some(a), None] => format!("A {} {a}", word(0)),
            [None, Some(b)] => format!("B {} {b}", word(1)),
            [None, None] => String::new(),
        }
    }

    /// The fields of a row without a partner, those that are not empty.
    pub(super) fn all_fields(&self, difference: &Difference) -> String {
        let said = difference.fields.iter().filter_map(|field| Some((field, field.old.as_deref().or(field.new.as_deref())?)));
        let parts: Vec<String> = said
            .filter(|(_, said)| !said.is_empty())
            .map(|(field, said)| format!("{}: {}", visible(&self.fields[field.field as usize]), visible(&cut(said, CELL_CHARACTERS_MAX))))
            .collect();
        parts.join(", ")
    }
}

/// No more of a cell is shown in a terminal.
const CELL_CHARACTERS_MAX: usize = 400;

/// No more of a row without a partner.
const LINE_CHARACTERS_MAX: usize = 1_000;

/// A cell for people: what has spaces at its ends stands in quotes.
pub(super) fn told(said: Option<&str>) -> String {
    match said {
        None | Some("") => super::shown::EMPTY.to_owned(),
        Some(said) if said.trim() != said => format!("\"{}\"", visible(&cut(said, CELL_CHARACTERS_MAX))),
        Some(said) => visible(&cut(said, CELL_CHARACTERS_MAX)).into_owned(),
    }
}
