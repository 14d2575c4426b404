//! The records of a JSON text and their cells, each with its place.
//!
//! # Words
//! An *element* is a value that stands where a record should: in the array, or on a line. A *row* is an element that is an object and
//! can be read. A *column* is a path into a row; it is *absent* where an object on its way has no such key.
//!
//! # Design
//! - One walk over the whole text finds the elements and proves every byte of it; then stretches of them are read side by side.
//! - A row is hashed without the white space in it and without the order of its keys: a program that writes the same record anew in its
//!   own way has changed nothing.
//! - A key that stands twice in an object makes its row unreadable: programs differ in which of the two they take.
//! - Objects are looked into down to as many levels as a path can have; below that, and in arrays that no column leads into, nothing
//!   is named.

use std::borrow::Cow;

use hashbrown::{HashMap, HashSet};
use polars::prelude::{StringChunked, StringChunkedBuilder};
use rayon::prelude::*;
use xxhash_rust::xxh3::{xxh3_128, xxh3_128_with_seed};

use super::scan::{Problem, Scanner, Sort, Span, push_compact, unquoted};
use crate::frame::seed_of_rows;
use crate::job::{PathStep, spell_path};
use crate::value::Storage;

/// Objects are looked into down to this level.
const LEVELS_MAX: usize = 32;

/// More columns than this are keys that are values themselves, such as a price by its date: they are not told by name.
pub(in crate::systems) const NAMES_MAX: usize = 1000;

/// How many characters of an unreadable value are shown.
const RAW_CHARS_MAX: usize = 200;

/// So many rows are read by one thread.
const ROWS_AT_ONCE_MIN: usize = 4096;

/// A column that is asked for.
#[derive(Clone, Debug)]
pub(in crate::systems) struct Wanted {
    pub name: String,
    pub path: Vec<PathStep>,
    /// Whether an array of texts is a value.
    pub is_list: bool,
}

/// Where the elements of a text are.
#[derive(Debug)]
pub(in crate::systems) struct Elements {
    pub spans: Vec<Span>,
    /// Elements, or whole lines, that are no records, each with the reason.
    pub refused: Vec<(Span, String)>,
    /// What is between the brackets of the array; all of the text where lines are records.
    pub inside: Span,
    pub has_lines: bool,
}

/// Why the elements of a text cannot be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::systems) enum NoElements {
    Empty,
    Problem(Problem),
    /// Something stands behind the end of the value.
    Behind {
        at: usize,
        is_value: bool,
    },
    /// What should be the array is something else; the arrays that stand beside or below it.
    NoArray {
        at: usize,
        sort: Sort,
        arrays: Vec<String>,
    },
    /// An object on the way to the array has no such key; the keys that it has.
    NoKey {
        at: usize,
        key: String,
        keys: Vec<String>,
    },
    /// An object on the way to the array has the key twice.
    Twice {
        at: usize,
        key: String,
    },
    /// No line is a record.
    NoLine {
        at: usize,
    },
}

impl From<Problem> for NoElements {
    fn from(problem: Problem) -> NoElements {
        NoElements::Problem(problem)
    }
}

/// The elements of an array to which these keys lead.
pub(in crate::systems) fn elements_of_array(text: &str, records: &[String]) -> Result<Elements, NoElements> {
    let mut scanner = Scanner::new(text, 0);
    scanner.space();
    if scanner.peek().is_none() {
        return Err(NoElements::Empty);
    }
    // The whole is proved before anything is taken out of it.
    let start = scanner.at;
    let mut spans = Vec::new();
    let mut value = if records.is_empty() && scanner.peek() == Some(b'[') {
        walk_items(&mut scanner, &mut spans)?;
        Span { start, end: scanner.at }
    } else {
        scanner.value()?
    };
    scanner.space();
    if let Some(byte) = scanner.peek() {
        return Err(NoElements::Behind { at: scanner.at, is_value: byte == b'{' });
    }
    for key in records {
        if Sort::of(value.of(text)) != Sort::Object {
            return Err(NoElements::NoArray { at: value.start, sort: Sort::of(value.of(text)), arrays: Vec::new() });
        }
        let members = members(text, value)?;
        let mut there = members.iter().filter(|member| unquoted(member.key.of(text)).is_some_and(|name| name == key.as_str()));
        match (there.next(), there.next()) {
            (Some(member), None) => value = member.value,
            (Some(_), Some(second)) => return Err(NoElements::Twice { at: second.key.start, key: key.clone() }),
            (None, _) => {
                let keys = members.iter().filter_map(|member| Some(unquoted(member.key.of(text))?.into_owned())).collect();
                return Err(NoElements::NoKey { at: value.start, key: key.clone(), keys });
            }
        }
    }
    let sort = Sort::of(value.of(text));
    if sort != Sort::Array {
        let mut arrays = Vec::new();
        if sort == Sort::Object {
            for member in members(text, value)? {
                if Sort::of(member.value.of(text)) == Sort::Array
                    && let Some(name) = unquoted(member.key.of(text))
                {
                    arrays.push(name.into_owned());
                }
            }
        }
        return Err(NoElements::NoArray { at: value.start, sort, arrays });
    }
    if !records.is_empty() {
        walk_items(&mut Scanner::new(text, value.start), &mut spans)?;
    }
    let is_none = |element: &&Span| Sort::of(element.of(text)) != Sort::Object;
    let why = |element: &Span| (*element, format!("is {}, and a record is an object", Sort::of(element.of(text)).words()));
    let refused = spans.iter().filter(is_none).map(why).collect();
    Ok(Elements { spans, refused, inside: Span { start: value.start + 1, end: value.end - 1 }, has_lines: false })
}

/// The elements of a text in which each line is one.
pub(in crate::systems) fn elements_of_lines(text: &str) -> Result<Elements, NoElements> {
    let (mut spans, mut refused) = (Vec::new(), Vec::new());
    let mut start = 0;
    let mut first = None;
    while start < text.len() {
        let end = memchr::memchr(b'\n', &text.as_bytes()[start..]).map_or(text.len(), |at| start + at);
        let line = Span { start, end };
        start = end + 1;
        let content = line.of(text);
        if content.trim().is_empty() {
            continue;
        }
        let from = line.start + (content.len() - content.trim_start().len());
        first.get_or_insert(from);
        let mut scanner = Scanner::new(&text[..end], from);
        let whole = Span { start: from, end: line.start + content.trim_end().len() };
        match scanner.value() {
            Ok(value) if value == whole => {
                let sort = Sort::of(value.of(text));
                if sort != Sort::Object {
                    refused.push((value, format!("is {}, and a record is an object", sort.words())));
                }
                spans.push(value);
            }
            // A last line without an end is one that somebody has not finished, or that was lost on the way.
            Err(problem @ Problem { why: None, .. }) if end == text.len() => return Err(NoElements::Problem(problem)),
            Ok(_) => refused.push((whole, "has something behind its end".to_owned())),
            Err(Problem { why: None, .. }) => refused.push((whole, "ends too early".to_owned())),
            Err(Problem { why: Some(why), at }) => {
                let column = text[line.start..at].chars().count() + 1;
                refused.push((whole, format!("is no JSON: at column {column} {why}")));
            }
        }
    }
    if let Some(at) = first.filter(|_| spans.iter().all(|span| Sort::of(span.of(text)) != Sort::Object)) {
        return Err(NoElements::NoLine { at });
    }
    Ok(Elements { spans, refused, inside: Span { start: 0, end: text.len() }, has_lines: true })
}

/// A key of an object with its value.
#[derive(Clone, Copy, Debug)]
pub(in crate::systems) struct Member {
    pub key: Span,
    pub value: Span,
}

/// The members of an object, in its order.
pub(in crate::systems) fn members(text: &str, object: Span) -> Result<Vec<Member>, Problem> {
    let mut scanner = Scanner::new(text, object.start);
    let mut members = Vec::new();
    if scanner.enters(b'}') {
        loop {
            let key = scanner.key()?;
            members.push(Member { key, value: scanner.value()? });
            if !scanner.goes_on(b'}')? {
                break;
            }
        }
    }
    Ok(members)
}

/// The items of an array, in its order.
pub(in crate::systems) fn items(text: &str, array: Span) -> Result<Vec<Span>, Problem> {
    let mut items = Vec::new();
    walk_items(&mut Scanner::new(text, array.start), &mut items)?;
    Ok(items)
}

/// Goes over an array, and notes its items.
fn walk_items(scanner: &mut Scanner<'_>, items: &mut Vec<Span>) -> Result<(), Problem> {
    if scanner.enters(b']') {
        loop {
            items.push(scanner.value()?);
            if !scanner.goes_on(b']')? {
                break;
            }
        }
    }
    Ok(())
}

/// What stands at a path; nothing where it is absent.
pub(in crate::systems) fn find(text: &str, record: Span, path: &[PathStep]) -> Option<Span> {
    let mut value = record;
    for step in path {
        value = match (step, Sort::of(value.of(text))) {
            (PathStep::Key(key), Sort::Object) => {
                members(text, value).ok()?.into_iter().find(|member| unquoted(member.key.of(text)).is_some_and(|name| name == key.as_str()))?.value
            }
            (PathStep::Index(index), Sort::Array) => *items(text, value).ok()?.get(*index)?,
            _ => return None,
        };
    }
    Some(value)
}

/// A cell as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::systems) enum Cell {
    Absent,
    Null,
    Text(String, Storage),
    /// It is no value of a column.
    Fault(String),
}

/// What a value is as a cell.
pub(in crate::systems) fn cell(value: &str, is_list: bool) -> Cell {
    match Sort::of(value) {
        Sort::Null => Cell::Null,
        Sort::Boolean => Cell::Text(value.to_owned(), Storage::Text),
        Sort::Number => {
            let is_whole = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
            Cell::Text(value.to_owned(), if is_whole { Storage::Integer } else { Storage::Real })
        }
        Sort::Text => match unquoted(value) {
            Some(text) => Cell::Text(text.into_owned(), Storage::Text),
            None => Cell::Fault("has half of a character, as `\\ud83e` without another one".to_owned()),
        },
        Sort::Object => Cell::Fault("is an object, not a value: name what is in it, as `address.city`".to_owned()),
        Sort::Array if !is_list => Cell::Fault("is an array: name an element of it, as `phones[0]`, or let the field be a `list`".to_owned()),
        Sort::Array => {
            let items = items(value, Span { start: 0, end: value.len() }).unwrap_or_default();
            let text = |item: Span| match cell(item.of(value), false) {
                Cell::Text(text, _) => Some(text),
                Cell::Null | Cell::Absent => Some(String::new()),
                Cell::Fault(_) => None,
            };
            match items.into_iter().map(text).collect::<Option<Vec<String>>>() {
                Some(texts) => Cell::Text(serde_json::Value::from(texts).to_string(), Storage::Text),
                None => Cell::Fault("is an array of more than texts".to_owned()),
            }
        }
    }
}

/// One column of all rows.
#[derive(Debug, Default)]
pub(in crate::systems) struct Column {
    pub texts: StringChunked,
    pub storage: Vec<u8>,
    pub faults: Vec<(u32, String)>,
    /// How many cells are of each [`Sort`].
    pub sorts: [u64; 6],
    pub absent: u64,
}

impl Column {
    /// What most cells are that are neither null nor absent; nothing if there are none.
    pub fn habit(&self) -> Option<Sort> {
        let sorts = [Sort::Text, Sort::Number, Sort::Boolean, Sort::Array, Sort::Object];
        sorts.into_iter().rev().max_by_key(|sort| self.sorts[*sort as usize]).filter(|sort| self.sorts[*sort as usize] > 0)
    }
}

/// All rows of a text.
#[derive(Debug, Default)]
pub(in crate::systems) struct Rows {
    /// The wanted columns, in their order.
    pub columns: Vec<Column>,
    pub spans: Vec<Span>,
    pub hashes: Vec<u128>,
    pub refused: Vec<(Span, String)>,
    /// The names of all columns, in the order in which they first stand; no more than [`NAMES_MAX`] and one.
    pub names: Vec<String>,
}

/// Reads the rows among these elements.
pub(in crate::systems) fn rows(text: &str, elements: &Elements, wanted: &[Wanted]) -> Rows {
    let refused: HashSet<usize> = elements.refused.iter().map(|(span, _)| span.start).collect();
    let tree = Tree::of(wanted);
    let length = elements.spans.len().div_ceil(rayon::current_num_threads()).max(ROWS_AT_ONCE_MIN);
    let read = |spans: &[Span]| {
        let mut stretch = Stretch::new(text, wanted, &tree);
        spans.iter().filter(|span| !refused.contains(&span.start)).for_each(|span| stretch.row(*span));
        stretch.finish()
    };
    let stretches: Vec<Rows> = elements.spans.par_chunks(length).map(read).collect();
    let mut stretches = stretches.into_iter();
    let mut all = stretches.next().unwrap_or_else(|| Stretch::new(text, wanted, &tree).finish());
    for stretch in stretches {
        let height = all.spans.len() as u32;
        for (column, more) in all.columns.iter_mut().zip(stretch.columns) {
            // Refused only beyond 2^32 rows, and no file holds as many.
            let _ = column.texts.append(&more.texts);
            column.storage.extend(more.storage);
            column.faults.extend(more.faults.into_iter().map(|(row, why)| (row + height, why)));
            column.sorts.iter_mut().zip(more.sorts).for_each(|(sum, count)| *sum += count);
            column.absent += more.absent;
        }
        all.spans.extend(stretch.spans);
        all.hashes.extend(stretch.hashes);
        all.refused.extend(stretch.refused);
        for name in stretch.names {
            if all.names.len() <= NAMES_MAX && !all.names.contains(&name) {
                all.names.push(name);
            }
        }
    }
    all.refused.extend(elements.refused.iter().cloned());
    all.refused.sort_by_key(|(span, _)| span.start);
    all
}

/// The beginning of an unreadable value.
pub(in crate::systems) fn beginning(value: &str) -> &str {
    value.char_indices().nth(RAW_CHARS_MAX).map_or(value, |(at, _)| &value[..at])
}

/// The wanted paths, as a tree of their steps. The first node is the record.
#[derive(Debug)]
struct Tree {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    keys: HashMap<String, usize>,
    indices: Vec<(usize, usize)>,
    /// The columns that end here.
    columns: Vec<usize>,
}

impl Tree {
    fn of(wanted: &[Wanted]) -> Tree {
        let mut nodes = vec![Node::default()];
        for (number, column) in wanted.iter().enumerate() {
            let mut at = 0;
            for step in &column.path {
                let new = nodes.len();
                let next = match step {
                    PathStep::Key(key) => *nodes[at].keys.entry(key.clone()).or_insert(new),
                    PathStep::Index(index) => match nodes[at].indices.iter().find(|(there, _)| there == index) {
                        Some((_, next)) => *next,
                        None => {
                            nodes[at].indices.push((*index, new));
                            new
                        }
                    },
                };
                if next == new {
                    nodes.push(Node::default());
                }
                at = next;
            }
            nodes[at].columns.push(number);
        }
        Tree { nodes }
    }
}

/// Reads rows one after the other.
struct Stretch<'a> {
    text: &'a str,
    wanted: &'a [Wanted],
    tree: &'a Tree,
    texts: Vec<StringChunkedBuilder>,
    rows: Rows,
    seed: u64,
    /// What stands in the columns of the row that is read.
    found: Vec<Option<Span>>,
    /// Hashes of the keys of the objects that are open.
    keys: Vec<u128>,
    /// Hashes of the paths that have a name.
    named: HashSet<u128>,
    /// The keys that lead to where the row is read, each with a hash of the path up to it.
    path: Vec<(Cow<'a, str>, u128)>,
    /// How many arrays the row is read in.
    in_arrays: usize,
    compact: Vec<u8>,
}

/// Why a row cannot be read.
enum Unreadable {
    Twice(String),
    Problem,
}

impl From<Problem> for Unreadable {
    fn from(_: Problem) -> Unreadable {
        Unreadable::Problem
    }
}

impl<'a> Stretch<'a> {
    fn new(text: &'a str, wanted: &'a [Wanted], tree: &'a Tree) -> Stretch<'a> {
        let columns = wanted.iter().map(|_| Column::default()).collect();
        Stretch {
            text,
            wanted,
            tree,
            texts: wanted.iter().map(|column| StringChunkedBuilder::new(column.name.as_str().into(), 0)).collect(),
            rows: Rows { columns, ..Rows::default() },
            // The names of the columns are in what is hashed.
            seed: seed_of_rows([]),
            found: vec![None; wanted.len()],
            keys: Vec::new(),
            named: HashSet::new(),
            path: Vec::new(),
            in_arrays: 0,
            compact: Vec::new(),
        }
    }

    fn row(&mut self, span: Span) {
        self.found.iter_mut().for_each(|found| *found = None);
        self.keys.clear();
        self.path.clear();
        self.in_arrays = 0;
        let mut scanner = Scanner::new(self.text, span.start);
        let mut hash = 0;
        if let Err(why) = self.object(&mut scanner, Some(0), 0, Some(&mut hash)) {
            let reason = match why {
                Unreadable::Twice(key) => format!("has the key `{}` twice", crate::systems::shown(&key)),
                Unreadable::Problem => "cannot be read".to_owned(),
            };
            self.rows.refused.push((span, reason));
            return;
        }
        let row = self.rows.spans.len() as u32;
        for (number, found) in self.found.iter().enumerate() {
            let column = &mut self.rows.columns[number];
            let value = found.map(|found| found.of(self.text));
            match value {
                Some(value) => column.sorts[Sort::of(value) as usize] += 1,
                None => column.absent += 1,
            }
            // Most texts have nothing escaped in them, and are not copied twice.
            let plain = value.filter(|value| Sort::of(value) == Sort::Text).and_then(unquoted);
            let (text, storage) = match (&plain, value) {
                (Some(text), _) => (Some(text.as_ref()), Storage::Text),
                (None, None) => (None, Storage::Text),
                (None, Some(value)) => match cell(value, self.wanted[number].is_list) {
                    Cell::Null | Cell::Absent => (None, Storage::Text),
                    Cell::Text(text, storage) => {
                        self.texts[number].append_value(&text);
                        column.storage.push(storage as u8);
                        continue;
                    }
                    Cell::Fault(why) => {
                        column.faults.push((row, why));
                        (Some(beginning(value)), Storage::Text)
                    }
                },
            };
            self.texts[number].append_option(text);
            column.storage.push(storage as u8);
        }
        self.rows.spans.push(span);
        self.rows.hashes.push(hash);
    }

    /// Reads an object of the row. `node` is where the wanted paths stand here; `hash` gets the sum of its members' hashes.
    fn object(&mut self, scanner: &mut Scanner<'a>, node: Option<usize>, level: usize, mut hash: Option<&mut u128>) -> Result<(), Unreadable> {
        let text = self.text;
        let (of_keys, object) = (self.keys.len(), scanner.at);
        if !scanner.enters(b'}') {
            return Ok(());
        }
        loop {
            let key = scanner.key()?;
            let name = unquoted(key.of(text)).ok_or(Unreadable::Problem)?;
            let of_name = xxh3_128(name.as_bytes());
            self.keys.push(of_name);
            let child = node.and_then(|node| self.tree.nodes[node].keys.get(name.as_ref())).copied();
            let of_parent = self.path.last().map_or(0, |(_, hash)| *hash);
            self.path.push((name, of_parent.rotate_left(17).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(of_name)));
            let start = scanner.at;
            self.value(scanner, child, level + 1)?;
            if let Some(hash) = hash.as_deref_mut() {
                self.compact.clear();
                push_compact(&text[key.start..key.end], &mut self.compact);
                self.compact.push(b':');
                push_compact(&text[start..scanner.at], &mut self.compact);
                *hash = hash.wrapping_add(xxh3_128_with_seed(&self.compact, self.seed));
            }
            self.path.pop();
            if !scanner.goes_on(b'}')? {
                break;
            }
        }
        let keys = &mut self.keys[of_keys..];
        keys.sort_unstable();
        if let Some(twice) = keys.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]) {
            let named = self.path_to(Span { start: object, end: scanner.at }, twice);
            return Err(Unreadable::Twice(named));
        }
        self.keys.truncate(of_keys);
        Ok(())
    }

    /// The path of the key with this hash in an object.
    fn path_to(&self, object: Span, hash: u128) -> String {
        let name = members(self.text, object).unwrap_or_default().into_iter().find_map(|member| {
            let name = unquoted(member.key.of(self.text))?;
            (xxh3_128(name.as_bytes()) == hash).then_some(name)
        });
        let keys = self.path.iter().map(|(key, _)| key).chain(&name);
        spell_path(&keys.map(|key| PathStep::Key(key.to_string())).collect::<Vec<_>>(), false)
    }

    fn value(&mut self, scanner: &mut Scanner<'a>, node: Option<usize>, level: usize) -> Result<(), Unreadable> {
        let start = scanner.at;
        match scanner.peek() {
            Some(b'{') if level < LEVELS_MAX => {
                self.object(scanner, node, level, None)?;
                if scanner.at - start <= 2 {
                    self.name();
                }
            }
            Some(b'[') if node.is_some_and(|node| !self.tree.nodes[node].indices.is_empty()) => {
                self.name();
                self.in_arrays += 1;
                if scanner.enters(b']') {
                    for index in 0.. {
                        let there = node.and_then(|node| self.tree.nodes[node].indices.iter().find(|(at, _)| *at == index)).map(|(_, next)| *next);
                        match there {
                            Some(next) => {
                                self.value(scanner, Some(next), level + 1)?;
                            }
                            None => {
                                scanner.value()?;
                            }
                        }
                        if !scanner.goes_on(b']')? {
                            break;
                        }
                    }
                }
                self.in_arrays -= 1;
            }
            _ => {
                scanner.value()?;
                self.name();
            }
        }
        for column in node.map(|node| self.tree.nodes[node].columns.as_slice()).unwrap_or_default() {
            self.found[*column] = Some(Span { start, end: scanner.at });
        }
        Ok(())
    }

    /// Remembers the path that the row is read at, if it is a new one.
    fn name(&mut self) {
        let Some((_, hash)) = self.path.last().filter(|_| self.in_arrays == 0 && self.rows.names.len() <= NAMES_MAX) else { return };
        if self.named.insert(*hash) {
            let steps: Vec<PathStep> = self.path.iter().map(|(key, _)| PathStep::Key(key.to_string())).collect();
            self.rows.names.push(spell_path(&steps, false));
        }
    }

    fn finish(mut self) -> Rows {
        for (column, texts) in self.rows.columns.iter_mut().zip(self.texts) {
            column.texts = texts.finish();
        }
        self.rows
    }
}
