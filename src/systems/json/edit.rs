//! Changes to the records of a JSON text: which of them can be made, and the text that they come to.
//!
//! Only values that change are written anew; indentation, the order of keys and the spelling of every other value stay. A value keeps its
//! sort where it can: a number stays a number, a truth a truth, an array an array; what was null, absent or is new becomes what most
//! values of its column are. A new record is spelled as the last one of the file, its keys in that order.
//!
//! # Design
//! - Several changes of one record in one set build on each other: the second must expect what the first wrote.
//! - An object on the way to a value is made where there is none. An array is only ever added to at its end, and nothing is taken out of
//!   one, because what stands behind it would be another element: there an empty value is always `null`.
//! - A number is written by the digits of the cell, so none is lost. A text becomes a number only where its column holds numbers, and only if
//!   it is spelled as JSON spells one: `007` does not become 7.
//! - A reason names columns, never what they hold: the value may be one that reports must mask.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use hashbrown::HashMap;

use super::read::{self, Cell, Elements, Rows, Wanted, find, items, members};
use super::scan::{Sort, Span, is_number, quoted, unquoted};
use crate::change::{Action, CellChange, Change, Outcome};
use crate::job::{JsonColumn, JsonNull, PathStep};
use crate::systems::batch::Rejections;
use crate::systems::file::addressed;
use crate::value::{FieldType, Storage, Value};

/// A text with its records, as it was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Document<'a> {
    pub text: &'a str,
    pub elements: &'a Elements,
    pub rows: &'a Rows,
    pub wanted: &'a [Wanted],
    pub columns: &'a [JsonColumn],
    pub null: JsonNull,
}

/// A text with all changes made that can be made.
#[derive(Debug)]
pub(super) struct Edited {
    /// The whole new text; nothing if no change of the set changes any byte.
    pub text: Option<String>,
    /// One outcome for each change, in their order.
    pub outcomes: Vec<Outcome>,
}

/// What is done at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Edit {
    Set(String),
    /// The key is left out.
    Remove,
}

/// An edit with the rest of the path to where it is made.
type Placed<'p> = (&'p [PathStep], Edit);

/// How the file spells what is new.
#[derive(Clone, Debug)]
struct Style {
    /// What stands between a key and its value.
    colon: String,
    /// What stands between items on one line.
    comma: &'static str,
    /// Whether everything that is not ASCII is escaped.
    is_ascii: bool,
}

/// How the items of a container are laid out.
#[derive(Clone, Debug)]
struct Layout {
    lead: String,
    between: String,
    tail: String,
}

/// What all changes together do.
#[derive(Debug, Default)]
struct Work {
    outcomes: Vec<Outcome>,
    /// Rows with their new text; nothing for a row that goes.
    touched: BTreeMap<usize, Option<String>>,
    created: Vec<String>,
}

impl<'a> Document<'a> {
    /// Makes the changes. After more rejected ones than `failures_max` the rest is skipped.
    pub fn edit(&self, changes: &[Change], failures_max: usize) -> Edited {
        let maker = Maker::new(self, changes);
        let mut work = Work::default();
        let mut rejections = Rejections::none(failures_max);
        for (number, change) in changes.iter().enumerate() {
            let outcome = rejections.stop().unwrap_or_else(|| {
                let made = match change.action {
                    Action::Create => maker.create(change, &mut work),
                    Action::Update | Action::Archive => maker.update(change, number, &mut work),
                    Action::Delete => maker.delete(change, number, &mut work),
                };
                made.err().unwrap_or(Outcome::Done { answer: Vec::new(), id: None })
            });
            rejections.count(&outcome);
            work.outcomes.push(outcome);
        }
        let text = self.written(&work);
        Edited { text: Some(text).filter(|text| text != self.text), outcomes: work.outcomes }
    }

    /// The whole text with the work done.
    fn written(&self, work: &Work) -> String {
        let touched: HashMap<usize, &Option<String>> = work.touched.iter().map(|(row, new)| (self.rows.spans[*row].start, new)).collect();
        let new_of = |element: &Span| touched.get(&element.start).copied();
        if self.elements.has_lines {
            return self.written_lines(work, new_of);
        }
        let spans = &self.elements.spans;
        let pieces = spans.iter().map(|span| match new_of(span) {
            None => Piece::Kept(*span),
            Some(None) => Piece::Gone(*span),
            Some(Some(text)) => Piece::New(*span, text.clone()),
        });
        let layout = layout_of(self.text, self.elements.inside, spans.iter().copied()).unwrap_or_else(|| {
            // The first record of an empty array stands one step further in than the line of its bracket.
            let before = &self.text[..self.elements.inside.start];
            let line = before.rsplit('\n').next().unwrap_or_default();
            let indent: String = line.chars().take_while(|c| matches!(c, ' ' | '\t')).collect();
            let lead = format!("\n{indent}  ");
            Layout { between: format!(",{lead}"), lead, tail: format!("\n{indent}") }
        });
        let inside = container(self.text, self.elements.inside, pieces, &work.created, &layout);
        [&self.text[..self.elements.inside.start], &inside, &self.text[self.elements.inside.end..]].concat()
    }

    fn written_lines<'n>(&self, work: &Work, new_of: impl Fn(&Span) -> Option<&'n Option<String>>) -> String {
        let (text, mut written, mut from) = (self.text, String::with_capacity(self.text.len()), 0);
        for span in &self.elements.spans {
            match new_of(span) {
                None => {}
                Some(Some(new)) => {
                    written.push_str(&text[from..span.start]);
                    written.push_str(new);
                    from = span.end;
                }
                Some(None) => {
                    let line = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
                    written.push_str(&text[from..line.max(from)]);
                    from = text[span.end..].find('\n').map_or(text.len(), |at| span.end + at + 1);
                }
            }
        }
        written.push_str(&text[from..]);
        let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        for new in &work.created {
            if !written.is_empty() && !written.ends_with('\n') {
                written.push_str(line_end);
            }
            written.push_str(new);
            written.push_str(line_end);
        }
        let had_no_end = !text.is_empty() && !text.ends_with('\n');
        if had_no_end && !work.created.is_empty() {
            written.truncate(written.len() - line_end.len());
        }
        written
    }
}

/// Makes single changes.
struct Maker<'d, 'a> {
    document: &'d Document<'a>,
    wanted: HashMap<&'a str, usize>,
    /// For each change the rows at its address.
    at: Vec<Vec<usize>>,
    style: Style,
    /// The last record, as a pattern for new ones.
    pattern: Option<Span>,
}

impl<'d, 'a> Maker<'d, 'a> {
    fn new(document: &'d Document<'a>, changes: &[Change]) -> Maker<'d, 'a> {
        let wanted: HashMap<&str, usize> = document.wanted.iter().enumerate().map(|(index, wanted)| (wanted.name.as_str(), index)).collect();
        let at = addressed(
            changes,
            document.rows.spans.len(),
            |name| wanted.get(name).copied(),
            |part| part.raw.text.as_deref(),
            |column, row| document.rows.columns[column].texts.get(row).map(Cow::Borrowed),
        );
        let pattern = document.rows.spans.last().copied();
        let first = pattern.and_then(|record| members(document.text, record).ok()?.first().copied());
        let colon = first.map_or(": ", |member| &document.text[member.key.end..member.value.start]);
        let style = Style {
            colon: colon.to_owned(),
            comma: if colon.contains(' ') { ", " } else { "," },
            is_ascii: document.text.is_ascii() && document.text.contains("\\u"),
        };
        Maker { document, wanted, at, style, pattern }
    }

    fn column(&self, name: &str) -> Result<usize, Outcome> {
        self.wanted.get(name).copied().ok_or_else(|| Outcome::Rejected { reason: format!("the job does not read the column `{name}`") })
    }

    /// The text of a row after the changes so far; nothing if it is gone.
    fn now<'w>(&'w self, row: usize, work: &'w Work) -> Option<&'w str> {
        match work.touched.get(&row) {
            Some(new) => new.as_deref(),
            None => Some(self.document.rows.spans[row].of(self.document.text)),
        }
    }

    /// The rows that a change addresses. Rows that agree in everything are one row that stands there several times: all of them.
    fn rows_of(&self, change: &Change, number: usize, work: &Work) -> Result<Vec<usize>, Outcome> {
        for part in &change.address {
            self.column(&part.column)?;
        }
        let rows: Vec<usize> = self.at[number].iter().copied().filter(|row| self.now(*row, work).is_some()).collect();
        let hashes = &self.document.rows.hashes;
        let Some(first) = rows.first() else {
            let columns: Vec<String> = change.address.iter().map(|part| format!("`{}`", part.column)).collect();
            return Err(Outcome::Stale { reason: format!("no record has the expected {} any more", columns.join(" and ")) });
        };
        if rows.iter().any(|row| hashes[*row] != hashes[*first]) {
            let reason = format!("{} records have this key; which of them is meant cannot be told", rows.len());
            return Err(Outcome::Rejected { reason });
        }
        Ok(rows)
    }

    /// What stands in a column of a record, which must be what was read there.
    fn expected<'r>(&self, record: &'r str, index: usize, cell: &CellChange) -> Result<Option<&'r str>, Outcome> {
        let wanted = &self.document.wanted[index];
        let there = find(record, Span { start: 0, end: record.len() }, &wanted.path).map(|span| span.of(record));
        let Some(before) = &cell.before_raw else { return Ok(there) };
        let (text, storage) = match there.map_or(Cell::Absent, |value| read::cell(value, wanted.is_list)) {
            Cell::Absent | Cell::Null => (None, Storage::Text),
            Cell::Text(text, storage) => (Some(text), storage),
            Cell::Fault(_) => (there.map(|value| read::beginning(value).to_owned()), Storage::Text),
        };
        if text == before.text && (text.is_none() || storage == before.storage) {
            return Ok(there);
        }
        Err(Outcome::Stale { reason: format!("`{}` is no longer what was read there", cell.column) })
    }

    fn update(&self, change: &Change, number: usize, work: &mut Work) -> Result<(), Outcome> {
        let mut new = Vec::new();
        for row in self.rows_of(change, number, work)? {
            let Some(record) = self.now(row, work) else { continue };
            let mut edits: Vec<Placed<'_>> = Vec::new();
            for cell in &change.cells {
                let index = self.column(&cell.column)?;
                let there = self.expected(record, index, cell)?;
                if let Some(edit) = self.decide(index, there, cell)? {
                    edits.push((&self.document.wanted[index].path, edit));
                }
            }
            if !edits.is_empty() {
                new.push((row, rewritten(record, &edits, &self.style).map_err(|reason| Outcome::Rejected { reason })?));
            }
        }
        work.touched.extend(new.into_iter().map(|(row, text)| (row, Some(text))));
        Ok(())
    }

    fn delete(&self, change: &Change, number: usize, work: &mut Work) -> Result<(), Outcome> {
        let rows = self.rows_of(change, number, work)?;
        for row in &rows {
            let Some(record) = self.now(*row, work) else { continue };
            for cell in &change.cells {
                self.expected(record, self.column(&cell.column)?, cell)?;
            }
        }
        work.touched.extend(rows.into_iter().map(|row| (row, None)));
        Ok(())
    }

    fn create(&self, change: &Change, work: &mut Work) -> Result<(), Outcome> {
        let mut edits: Vec<Placed<'_>> = Vec::new();
        for cell in &change.cells {
            let index = self.column(&cell.column)?;
            if let Some(edit @ Edit::Set(_)) = self.decide(index, None, cell)? {
                edits.push((&self.document.wanted[index].path, edit));
            }
        }
        // A field that every record has is there in a new one too.
        let is_empty_written = self.document.null != JsonNull::Omit;
        for column in self.document.columns.iter().filter(|_| is_empty_written) {
            let Ok(index) = self.column(&column.name) else { continue };
            let path = &self.document.wanted[index].path;
            let is_given = edits.iter().any(|(given, _)| given.starts_with(path) || path.starts_with(given));
            let is_everywhere = self.document.rows.columns[index].absent == 0 && !self.document.rows.spans.is_empty();
            if !is_given && is_everywhere && path.iter().all(|step| matches!(step, PathStep::Key(_))) {
                edits.push((path, Edit::Set(self.empty().to_owned())));
            }
        }
        let text = self.document.text;
        let pattern = self.pattern.and_then(|record| members(text, record).ok());
        let members = pattern.unwrap_or_default();
        let order = |edit: &Placed<'_>| {
            let Some(PathStep::Key(key)) = edit.0.first() else { return usize::MAX };
            members.iter().position(|member| unquoted(member.key.of(text)).is_some_and(|name| name == key.as_str())).unwrap_or(usize::MAX)
        };
        edits.sort_by_key(order);
        let inside = self.pattern.map(|record| Span { start: record.start + 1, end: record.end - 1 });
        let layout = inside.and_then(|inside| layout_of(text, inside, members.iter().map(|member| Span { start: member.key.start, end: member.value.end })));
        work.created.push(built(&edits, &self.style, layout.as_ref()).map_err(|reason| Outcome::Rejected { reason })?);
        Ok(())
    }

    fn empty(&self) -> &'static str {
        if self.document.null == JsonNull::Empty { "\"\"" } else { "null" }
    }

    /// What is done to a cell; nothing if it is what it shall be. `there` is what stands there now.
    fn decide(&self, index: usize, there: Option<&str>, cell: &CellChange) -> Result<Option<Edit>, Outcome> {
        let wanted = &self.document.wanted[index];
        let held = there.map_or(Sort::Null, Sort::of);
        let refuse = |why: &str| Outcome::Rejected { reason: format!("`{}` {why}", cell.column) };
        if held == Sort::Object {
            return Err(refuse("is an object, and a value cannot take its place"));
        }
        if held == Sort::Array && !wanted.is_list {
            return Err(refuse("is an array, and a value cannot take its place"));
        }
        let is_in_array = matches!(wanted.path.last(), Some(PathStep::Index(_)));
        let Some(text) = cell.after_raw.text.as_deref() else {
            return Ok(match (self.document.null, held) {
                (_, Sort::Null) => None,
                (JsonNull::Omit, _) if !is_in_array => Some(Edit::Remove),
                (_, Sort::Array) => Some(Edit::Set("[]".to_owned())),
                _ => Some(Edit::Set(self.empty().to_owned())),
            });
        };
        let field_type = self.document.columns.iter().find(|column| column.name == wanted.name).map(|column| column.field_type);
        let sort = match held {
            Sort::Null => self.document.rows.columns[index].habit().unwrap_or(match field_type {
                Some(FieldType::Integer | FieldType::Decimal(_)) => Sort::Number,
                Some(FieldType::Boolean) => Sort::Boolean,
                Some(FieldType::List) => Sort::Array,
                _ => Sort::Text,
            }),
            held => held,
        };
        let as_text = || quoted(text, self.style.is_ascii);
        let new = match sort {
            Sort::Number => number(cell, text).unwrap_or_else(as_text),
            Sort::Boolean => match (&cell.after, text) {
                (Value::Boolean(truth), _) => truth.to_string(),
                (_, "true" | "false") => text.to_owned(),
                _ => as_text(),
            },
            Sort::Array if wanted.is_list => match list(cell, text) {
                Some(texts) => self.array(&texts, there),
                None => as_text(),
            },
            _ => as_text(),
        };
        Ok(Some(Edit::Set(new)).filter(|_| there.is_none_or(|there| !is_same(there, cell, wanted))))
    }

    /// An array of texts, laid out as the one that it replaces.
    fn array(&self, texts: &[String], there: Option<&str>) -> String {
        let texts: Vec<String> = texts.iter().map(|text| quoted(text, self.style.is_ascii)).collect();
        let old = there.filter(|old| Sort::of(old) == Sort::Array);
        let layout = old.and_then(|old| {
            let items = items(old, Span { start: 0, end: old.len() }).ok()?;
            layout_of(old, Span { start: 1, end: old.len() - 1 }, items.into_iter())
        });
        let layout = layout.filter(|layout| layout.lead.contains('\n')).unwrap_or_else(|| self.style.in_line());
        layout.around('[', &texts, ']')
    }
}

/// Whether what stands there already is what a cell shall be.
fn is_same(there: &str, cell: &CellChange, wanted: &Wanted) -> bool {
    match read::cell(there, wanted.is_list) {
        Cell::Text(text, _) => Some(&text) == cell.after_raw.text.as_ref(),
        _ => false,
    }
}

/// A cell as a number; nothing if it is not spelled as one.
pub(in crate::systems) fn number(cell: &CellChange, text: &str) -> Option<String> {
    match &cell.after {
        Value::Integer(_) | Value::Decimal(_) => {
            let with_point = || Some(text.replacen(',', ".", 1)).filter(|_| !text.contains('.'));
            Some(text.to_owned()).filter(|text| is_number(text)).or_else(|| with_point().filter(|text| is_number(text)))
        }
        Value::Boolean(truth) if !is_number(text) => Some(if *truth { "1" } else { "0" }.to_owned()),
        // A text that others would read as another number stays a text.
        _ => Some(text.to_owned()).filter(|text| is_number(text) && !text.contains(['e', 'E'])),
    }
}

/// The texts of a list; nothing if the cell is none.
fn list(cell: &CellChange, text: &str) -> Option<Vec<String>> {
    match &cell.after {
        Value::List(texts) => Some(texts.clone()),
        _ => serde_json::from_str(text).ok(),
    }
}

impl Style {
    fn in_line(&self) -> Layout {
        Layout { lead: String::new(), between: self.comma.to_owned(), tail: String::new() }
    }
}

impl Layout {
    fn around(&self, open: char, items: &[String], close: char) -> String {
        if items.is_empty() {
            return format!("{open}{close}");
        }
        format!("{open}{}{}{}{close}", self.lead, items.join(&self.between), self.tail)
    }

    /// How what stands in such a container is laid out: one step further in, or on one line.
    fn within(&self) -> Option<Layout> {
        let indent = self.lead.rsplit_once('\n')?.1;
        let step = indent.strip_prefix(self.tail.rsplit_once('\n')?.1)?;
        Some(Layout { lead: format!("{}{step}", self.lead), between: format!("{}{step}", self.between), tail: self.lead.clone() })
    }
}

/// How the items of a container are laid out; nothing if there are none.
fn layout_of(text: &str, inside: Span, mut items: impl Iterator<Item = Span>) -> Option<Layout> {
    let first = items.next()?;
    let lead = text[inside.start..first.start].to_owned();
    let second = items.next();
    let last = items.last().or(second).unwrap_or(first);
    let between = match second {
        Some(second) => text[first.end..second.start].to_owned(),
        None if lead.is_empty() => ", ".to_owned(),
        None => format!(",{lead}"),
    };
    Some(Layout { lead, between, tail: text[last.end..inside.end].to_owned() })
}

/// An item of a container, and what becomes of it.
enum Piece {
    Kept(Span),
    New(Span, String),
    Gone(Span),
}

/// What stands inside a container whose items become these, with more of them at the end.
fn container(text: &str, inside: Span, pieces: impl Iterator<Item = Piece>, added: &[String], layout: &Layout) -> String {
    let mut written = String::with_capacity(inside.end - inside.start);
    let (mut from, mut is_first, mut had_any) = (inside.start, true, false);
    let mut lead: Option<Range<usize>> = None;
    for piece in pieces {
        let (span, new) = match &piece {
            Piece::Kept(span) => (*span, Some(span.of(text))),
            Piece::New(span, new) => (*span, Some(new.as_str())),
            Piece::Gone(span) => (*span, None),
        };
        had_any = true;
        let gap = from..span.start;
        let lead = lead.get_or_insert_with(|| gap.clone()).clone();
        if let Some(new) = new {
            // The first that stays stands where the first of all stood.
            written.push_str(&text[if is_first { lead } else { gap }]);
            written.push_str(new);
            is_first = false;
        }
        from = span.end;
    }
    for new in added {
        written.push_str(if is_first { &layout.lead } else { &layout.between });
        written.push_str(new);
        is_first = false;
    }
    if !is_first {
        written.push_str(if had_any { &text[from..inside.end] } else { &layout.tail });
    }
    written
}

/// A JSON text with values put in at these paths, each JSON itself, and without what stands at those `without`. Objects on the way are made where
/// there are none; everything else stays as it is spelled.
///
/// # Errors
/// Why it cannot be done, in words.
pub(in crate::systems) fn with_values(text: &str, values: &[(Vec<PathStep>, String)], without: &[Vec<PathStep>]) -> Result<String, String> {
    let style = Style { colon: ":".to_owned(), comma: ",", is_ascii: false };
    let removed = without.iter().map(|path| (path.as_slice(), Edit::Remove));
    // What is sent is sent, even below what is left out.
    let removed = removed.filter(|(path, _)| !values.iter().any(|(given, _)| given.starts_with(path)));
    let edits: Vec<Placed<'_>> = values.iter().map(|(path, value)| (path.as_slice(), Edit::Set(value.clone()))).chain(removed).collect();
    rewritten(text, &edits, &style)
}

/// A value with edits made in it. At most one edit is made at each place.
fn rewritten(value: &str, edits: &[Placed<'_>], style: &Style) -> Result<String, String> {
    if let Some((_, Edit::Set(new))) = edits.iter().find(|(path, _)| path.is_empty()) {
        return Ok(new.clone());
    }
    let whole = Span { start: 0, end: value.len() };
    let inside = Span { start: 1, end: value.len().saturating_sub(1) };
    let damaged = |_| "the record cannot be read".to_owned();
    let mut groups = grouped(edits);
    let sort = Sort::of(value);
    let (mut pieces, mut spans) = (Vec::new(), Vec::new());
    match sort {
        Sort::Null => return built(edits, style, None),
        Sort::Object => {
            for member in members(value, whole).map_err(damaged)? {
                let span = Span { start: member.key.start, end: member.value.end };
                spans.push(span);
                let name = unquoted(member.key.of(value)).unwrap_or_default();
                let at = groups.iter().position(|(step, _)| matches!(step, PathStep::Key(key) if *key == name));
                pieces.push(match at.map(|at| groups.remove(at).1) {
                    None => Piece::Kept(span),
                    Some(edits) if edits.iter().any(|(path, edit)| path.is_empty() && *edit == Edit::Remove) => Piece::Gone(span),
                    Some(edits) => {
                        let before = &value[member.key.start..member.value.start];
                        Piece::New(span, format!("{before}{}", rewritten(member.value.of(value), &edits, style)?))
                    }
                });
            }
        }
        Sort::Array => {
            for (index, item) in items(value, whole).map_err(damaged)?.into_iter().enumerate() {
                spans.push(item);
                let at = groups.iter().position(|(step, _)| **step == PathStep::Index(index));
                pieces.push(match at.map(|at| groups.remove(at).1) {
                    None => Piece::Kept(item),
                    Some(edits) => Piece::New(item, rewritten(item.of(value), &edits, style)?),
                });
            }
        }
        other => return Err(format!("`{}` is {}, so nothing can be written below it", step_name(edits), other.words())),
    }
    let mut added = Vec::new();
    groups.sort_by_key(|(step, _)| if let PathStep::Index(index) = step { *index } else { 0 });
    for (step, edits) in groups {
        let edits: Vec<Placed<'_>> = edits.into_iter().filter(|(_, edit)| *edit != Edit::Remove).collect();
        if edits.is_empty() {
            continue;
        }
        let new = rewritten("null", &edits, style)?;
        match (sort, step) {
            (Sort::Object, PathStep::Key(key)) => added.push(format!("{}{}{new}", quoted(key, style.is_ascii), style.colon)),
            (Sort::Array, PathStep::Index(index)) if *index == pieces.len() + added.len() => added.push(new),
            (Sort::Array, PathStep::Index(index)) => {
                return Err(format!("an array has only {} elements, so its element {index} cannot be written", pieces.len()));
            }
            (_, PathStep::Key(key)) => return Err(format!("`{key}` would be a key of an array")),
            (_, PathStep::Index(_)) => return Err("an object has no elements".to_owned()),
        }
    }
    let layout = layout_of(value, inside, spans.into_iter()).unwrap_or_else(|| style.in_line());
    let inner = container(value, inside, pieces.into_iter(), &added, &layout);
    Ok(format!("{}{inner}{}", &value[..1], &value[value.len() - 1..]))
}

/// The first step of an edit, for messages.
fn step_name(edits: &[Placed<'_>]) -> String {
    edits.first().map(|(path, _)| crate::job::spell_path(path, false)).unwrap_or_default()
}

/// A new value of these edits, all of which set something.
fn built(edits: &[Placed<'_>], style: &Style, layout: Option<&Layout>) -> Result<String, String> {
    if let Some((_, Edit::Set(new))) = edits.iter().find(|(path, _)| path.is_empty()) {
        return Ok(new.clone());
    }
    let within = layout.and_then(Layout::within);
    let mut groups = grouped(edits);
    let (mut parts, mut is_array) = (Vec::new(), false);
    groups.sort_by_key(|(step, _)| if let PathStep::Index(index) = step { *index } else { 0 });
    for (step, edits) in groups {
        let edits: Vec<Placed<'_>> = edits.into_iter().filter(|(_, edit)| *edit != Edit::Remove).collect();
        if edits.is_empty() {
            continue;
        }
        let new = built(&edits, style, within.as_ref())?;
        match step {
            PathStep::Key(key) => parts.push(format!("{}{}{new}", quoted(key, style.is_ascii), style.colon)),
            PathStep::Index(index) if *index == parts.len() => {
                is_array = true;
                parts.push(new);
            }
            PathStep::Index(index) => return Err(format!("a new array has no element {index}: those before it are missing")),
        }
    }
    let layout = layout.cloned().unwrap_or_else(|| style.in_line());
    Ok(if is_array { layout.around('[', &parts, ']') } else { layout.around('{', &parts, '}') })
}

/// Edits by the first step of their paths, in the order in which these first stand.
fn grouped<'p>(edits: &[Placed<'p>]) -> Vec<(&'p PathStep, Vec<Placed<'p>>)> {
    let mut groups: Vec<(&PathStep, Vec<Placed<'_>>)> = Vec::new();
    for (path, edit) in edits {
        let Some((step, rest)) = path.split_first() else { continue };
        match groups.iter_mut().find(|(there, _)| *there == step) {
            Some((_, group)) => group.push((rest, edit.clone())),
            None => groups.push((step, vec![(rest, edit.clone())])),
        }
    }
    groups
}
