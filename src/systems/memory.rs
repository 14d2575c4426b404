//! The twin in memory: a table that behaves as a system does, and can be made to misbehave. For tests; no job file can name it.
//!
//! [`table`] gives the [`Handle`] of a table by its name, process-wide, so that a test holds the other end of the system that a
//! run opens. Through the handle a test sets the columns and the rows, and says what goes wrong: calls that fail before, after
//! or in the midst of their effect, keys that are refused, values that are normalised, reads that lag, pulls that are cut short,
//! people who edit between two calls. Without any of it the twin passes the conformance suite.
//!
//! # Design
//! Rows are maps and every search is a scan: it is obvious rather than fast.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use polars::prelude::StringChunkedBuilder;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::change::{Action, Address, AddressPart, Change, Outcome};
use crate::diagnostic::Place;
use crate::error::{Error, Remedy};
use crate::frame::{Evidence, Pulled, seed_of_rows};
use crate::systems::batch::{self, Answer, Rejections};
use crate::systems::{Description, Opening, System, Wanted, WriteSet, missing_columns};
use crate::value::Raw;

static TABLES: LazyLock<Mutex<BTreeMap<String, Handle>>> = LazyLock::new(Mutex::default);

/// A test that panicked while it held a table has failed already; the others go on.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One row: its text in each column. A column that is not in the map is null.
pub type Row = BTreeMap<String, Option<String>>;

/// What a person does to the rows while nobody looks.
type Edit = Box<dyn FnOnce(&mut Vec<Row>) + Send>;

/// A call of a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// [`System::pull`].
    Pull,
    /// [`System::write`].
    Write,
    /// [`System::read_back`].
    ReadBack,
    /// A part of a write that is sent in one go. It is counted, and fails with its write only.
    Batch,
}

/// What a call that fails has done before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// Only this many of its changes, if it is a write.
    First(usize),
    /// Everything.
    Everything,
}

/// The table with this name; an empty one without columns if it is new.
pub fn table(name: &str) -> Handle {
    held(&TABLES).entry(name.to_owned()).or_insert_with(|| Handle { name: name.to_owned(), table: Arc::default() }).clone()
}

/// The test's end of a table. Clones are ends of the same table.
#[derive(Clone)]
pub struct Handle {
    name: String,
    table: Arc<Mutex<Table>>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table `{}` in memory", self.name)
    }
}

struct Table {
    columns: Vec<String>,
    rows: Vec<Row>,
    id: Option<String>,
    last_id: u64,
    unique: Vec<Vec<String>>,
    rejected: BTreeMap<String, String>,
    failures: Vec<(Call, usize, Effect)>,
    edits: VecDeque<(Call, Edit)>,
    calls: BTreeMap<Call, usize>,
    normalise: Option<fn(&str, &str) -> String>,
    compares: bool,
    atomic: bool,
    answers: bool,
    wholly: bool,
    rows_max: Option<usize>,
    lag: usize,
    old_rows: Option<(usize, Vec<Row>)>,
}

impl Default for Table {
    fn default() -> Table {
        Table {
            columns: Vec::new(),
            rows: Vec::new(),
            id: None,
            last_id: 0,
            unique: Vec::new(),
            rejected: BTreeMap::new(),
            failures: Vec::new(),
            edits: VecDeque::new(),
            calls: BTreeMap::new(),
            normalise: None,
            compares: true,
            atomic: true,
            answers: true,
            wholly: false,
            rows_max: None,
            lag: 0,
            old_rows: None,
        }
    }
}

impl Handle {
    /// Sets the columns, in their order.
    pub fn set_columns(&self, columns: &[&str]) -> &Handle {
        held(&self.table).columns = columns.iter().map(|column| (*column).to_owned()).collect();
        self
    }

    /// Names the column that gets the next number when a row is created without one.
    pub fn set_id(&self, column: &str) -> &Handle {
        held(&self.table).id = Some(column.to_owned());
        self
    }

    /// No two rows may have the same texts in these columns. Rows with a null among them are exempt.
    pub fn set_unique(&self, columns: &[&str]) -> &Handle {
        held(&self.table).unique.push(columns.iter().map(|column| (*column).to_owned()).collect());
        self
    }

    /// All rows, in their order.
    pub fn rows(&self) -> Vec<Row> {
        held(&self.table).rows.clone()
    }

    /// Replaces all rows.
    pub fn set_rows(&self, rows: Vec<Row>) -> &Handle {
        held(&self.table).rows = rows;
        self
    }

    /// Replaces all rows by these texts, in the order of the columns.
    pub fn set_texts(&self, rows: &[&[Option<&str>]]) -> &Handle {
        let mut table = held(&self.table);
        let row_of = |texts: &&[Option<&str>]| table.columns.iter().cloned().zip(texts.iter().map(|text| text.map(str::to_owned))).collect();
        table.rows = rows.iter().map(row_of).collect();
        drop(table);
        self
    }

    /// Changes the rows, as a person would.
    pub fn edit(&self, edit: impl FnOnce(&mut Vec<Row>)) -> &Handle {
        edit(&mut held(&self.table).rows);
        self
    }

    /// Changes the rows when the next call of this kind begins. Several wait their turn, one a call. The table is held
    /// meanwhile: the edit works on the rows that it is given, and not through a handle.
    pub fn edit_before(&self, call: Call, edit: impl FnOnce(&mut Vec<Row>) + Send + 'static) -> &Handle {
        held(&self.table).edits.push_back((call, Box::new(edit)));
        self
    }

    /// Adds a second copy of the row at a position, counted from 0, at the end.
    pub fn repeat_row(&self, position: usize) -> &Handle {
        let mut table = held(&self.table);
        let copy = table.rows.get(position).cloned();
        table.rows.extend(copy);
        drop(table);
        self
    }

    /// The `nth` call of this kind from now on fails, counted from 1, after this effect.
    pub fn fail(&self, call: Call, nth: usize, effect: Effect) -> &Handle {
        let mut table = held(&self.table);
        let made = table.calls.get(&call).copied().unwrap_or_default();
        table.failures.push((call, made + nth, effect));
        drop(table);
        self
    }

    /// Refuses every change of the record with this canonical key.
    pub fn reject(&self, key: &str, reason: &str) -> &Handle {
        held(&self.table).rejected.insert(key.to_owned(), reason.to_owned());
        self
    }

    /// Takes every change again.
    pub fn reject_nothing(&self) -> &Handle {
        held(&self.table).rejected.clear();
        self
    }

    /// What is stored for a text that is written to a column.
    pub fn normalise(&self, stored: fn(column: &str, text: &str) -> String) -> &Handle {
        held(&self.table).normalise = Some(stored);
        self
    }

    /// The reads after the next write, this many, still show what was there before it.
    pub fn lag(&self, reads: usize) -> &Handle {
        held(&self.table).lag = reads;
        self
    }

    /// Whether the next read shows what was there before a write.
    pub fn is_lagging(&self) -> bool {
        held(&self.table).old_rows.as_ref().is_some_and(|(reads, _)| *reads > 0)
    }

    /// Whether a write asks if a cell still holds what it held when it was pulled. It does unless told otherwise.
    pub fn set_compares(&self, compares: bool) -> &Handle {
        held(&self.table).compares = compares;
        self
    }

    /// Whether it says of itself that it is written wholly or not at all, and shows what was written. It does unless told
    /// otherwise.
    pub fn set_atomic(&self, atomic: bool) -> &Handle {
        held(&self.table).atomic = atomic;
        self
    }

    /// Whether a write tells what the row holds now. It does unless told otherwise.
    pub fn set_answers(&self, answers: bool) -> &Handle {
        held(&self.table).answers = answers;
        self
    }

    /// Whether it takes a set of changes as a whole or refuses it as a whole, without saying which change it minds. It looks at each
    /// by itself unless told otherwise.
    pub fn set_wholly(&self, wholly: bool) -> &Handle {
        held(&self.table).wholly = wholly;
        self
    }

    /// Cuts a pull after this many rows, as a lost page does. The number announced is that of all rows.
    pub fn set_rows_max(&self, rows_max: Option<usize>) -> &Handle {
        held(&self.table).rows_max = rows_max;
        self
    }

    /// How many calls of this kind there were.
    pub fn calls(&self, call: Call) -> usize {
        held(&self.table).calls.get(&call).copied().unwrap_or_default()
    }
}

/// The system's end of a table.
#[derive(Debug)]
pub struct MemoryTable {
    handle: Handle,
    system: String,
    requested: Vec<String>,
}

impl MemoryTable {
    /// Opens the table with this name.
    ///
    /// # Errors
    /// None; a column that is missing is found when the columns are asked for.
    pub fn open(name: &str, opening: &Opening<'_>) -> Result<MemoryTable, Error> {
        let mut requested: Vec<String> = Vec::with_capacity(opening.columns.len());
        for column in &opening.columns {
            if !requested.contains(column) {
                requested.push(column.clone());
            }
        }
        Ok(MemoryTable { handle: table(name), system: opening.spec.name.clone(), requested })
    }

    /// Begins a call: counts it, lets a person edit, and tells how it fails.
    fn begin(&self, call: Call) -> Option<Effect> {
        let mut table = held(&self.handle.table);
        let waiting = table.edits.iter().position(|(before, _)| *before == call);
        if let Some((_, edit)) = waiting.and_then(|position| table.edits.remove(position)) {
            edit(&mut table.rows);
        }
        let count = table.calls.entry(call).or_default();
        *count += 1;
        let count = *count;
        table.failures.iter().find(|(failing, nth, _)| *failing == call && *nth == count).map(|(_, _, effect)| *effect)
    }

    fn broken(&self, effect: Effect) -> Error {
        let (remedy, seen) = match effect {
            Effect::Nothing => (Remedy::GiveAccess, "nothing was written"),
            Effect::First(_) | Effect::Everything => (Remedy::Look, "nobody knows what was written"),
        };
        Error::new(remedy, Place::of(&self.handle.name), "the connection broke").seen(seen).hint("run again")
    }

    fn read(&self, addresses: Option<&[Address]>) -> Result<Pulled, Error> {
        let mut table = held(&self.handle.table);
        missing_columns(&self.handle.name, &self.system, &self.requested, &table.columns).map_or(Ok(()), Err)?;
        let rows = table.shown_rows();
        let announced = rows.len();
        let wanted = |row: &Row| addresses.is_none_or(|addresses| addresses.iter().any(|address| is_at(row, address)));
        let rows_max = if addresses.is_some() { None } else { table.rows_max };
        let shown: Vec<(usize, &Row)> = rows.iter().enumerate().take(rows_max.unwrap_or(announced)).filter(|(_, row)| wanted(row)).collect();
        let mut columns = Vec::with_capacity(self.requested.len());
        for name in &self.requested {
            let mut texts = StringChunkedBuilder::new("".into(), shown.len());
            shown.iter().for_each(|(_, row)| texts.append_option(text_in(row, name)));
            columns.push((name.clone(), texts.finish(), None));
        }
        let lines = shown.iter().map(|(position, _)| *position as u64 + 1).collect();
        let hashes = shown.iter().map(|(_, row)| hash_of(&table.columns, row)).collect();
        let evidence = Evidence {
            origin: self.handle.name.clone(),
            rows_read: shown.len() as u64,
            rows_announced: addresses.is_none().then_some(announced as u64),
            ..Evidence::default()
        };
        Ok(Pulled::new(columns, lines, hashes, Vec::new(), evidence))
    }
}

impl System for MemoryTable {
    fn describe(&self) -> Description {
        let table = held(&self.handle.table);
        Description { atomic: table.atomic, writable: true, fills_id: table.id.is_some() }
    }

    fn columns(&mut self) -> Result<Vec<String>, Error> {
        let columns = held(&self.handle.table).columns.clone();
        missing_columns(&self.handle.name, &self.system, &self.requested, &columns).map_or(Ok(columns), Err)
    }

    fn pull(&mut self) -> Result<Pulled, Error> {
        if let Some(effect) = self.begin(Call::Pull) {
            return Err(self.broken(effect));
        }
        self.read(None)
    }

    fn write(&mut self, set: WriteSet<'_>) -> Result<Vec<Outcome>, Error> {
        let failing = self.begin(Call::Write);
        let made = match failing {
            Some(Effect::Nothing) => return Err(self.broken(Effect::Nothing)),
            Some(Effect::First(count)) => &set.changes[..count.min(set.changes.len())],
            Some(Effect::Everything) | None => set.changes,
        };
        let mut table = held(&self.handle.table);
        if table.lag > 0 {
            table.old_rows = Some((std::mem::take(&mut table.lag), table.rows.clone()));
        }
        let outcomes = batch::send(made, set.failures_max, &mut |changes, rejections| {
            *table.calls.entry(Call::Batch).or_default() += 1;
            Ok(table.make_all(changes, rejections))
        })?;
        match failing {
            Some(effect) => Err(self.broken(effect)),
            None => Ok(outcomes),
        }
    }

    fn read_back(&mut self, wanted: &Wanted) -> Result<Pulled, Error> {
        if let Some(effect) = self.begin(Call::ReadBack) {
            return Err(self.broken(effect));
        }
        self.read(Some(&wanted.addresses))
    }
}

impl Table {
    /// The rows that a read shows now: old ones while it lags.
    fn shown_rows(&mut self) -> Vec<Row> {
        match self.old_rows.take() {
            Some((reads, rows)) if reads > 0 => {
                self.old_rows = Some((reads - 1, rows.clone()));
                rows
            }
            _ => self.rows.clone(),
        }
    }

    /// Makes changes one by one; or all of them or none, where it takes a set as a whole.
    fn make_all(&mut self, changes: &[&Change], mut rejections: Rejections) -> Answer {
        let before = self.wholly.then(|| (self.rows.clone(), self.last_id));
        let mut outcomes = Vec::with_capacity(changes.len());
        for change in changes {
            let outcome = rejections.stop().unwrap_or_else(|| self.make(change));
            rejections.count(&outcome);
            if let (Some((rows, last_id)), Outcome::Rejected { reason }) = (&before, &outcome) {
                (self.rows, self.last_id) = (rows.clone(), *last_id);
                return Answer::Refused(reason.clone());
            }
            outcomes.push(outcome);
        }
        Answer::Each(outcomes)
    }

    fn make(&mut self, change: &Change) -> Outcome {
        if let Some(reason) = self.rejected.get(&change.key) {
            return Outcome::Rejected { reason: reason.clone() };
        }
        let named = change.address.iter().map(|part| &part.column).chain(change.cells.iter().map(|cell| &cell.column));
        if let Some(unknown) = named.into_iter().find(|name| !self.columns.contains(name)) {
            return Outcome::Rejected { reason: format!("there is no column `{unknown}`") };
        }
        if change.action == Action::Create {
            return self.create(change);
        }
        let at: Vec<usize> = (0..self.rows.len()).filter(|row| !change.address.is_empty() && is_at(&self.rows[*row], &change.address)).collect();
        let row = match at.as_slice() {
            [row] => *row,
            [] => return Outcome::Stale { reason: "there is no such row any more".to_owned() },
            several => return Outcome::Rejected { reason: format!("the address matches {} rows", several.len()) },
        };
        for cell in &change.cells {
            let now = text_in(&self.rows[row], &cell.column);
            if let Some(before) = &cell.before_raw
                && self.compares
                && before.text.as_deref() != now
            {
                let reason = format!("`{}` holds {}, when it was pulled it held {before}", cell.column, now.unwrap_or("null"));
                return Outcome::Stale { reason };
            }
        }
        if change.action == Action::Delete {
            self.rows.remove(row);
            return Outcome::Done { answer: Vec::new(), id: None };
        }
        let mut new = self.rows[row].clone();
        self.set_cells(&mut new, change);
        if let Some(reason) = self.taken(&new, Some(row)) {
            return Outcome::Rejected { reason };
        }
        let answer = self.answer(&new, change);
        self.rows[row] = new;
        Outcome::Done { answer, id: None }
    }

    fn create(&mut self, change: &Change) -> Outcome {
        let mut new = Row::new();
        self.set_cells(&mut new, change);
        let id_column = self.id.clone();
        let id = id_column.map(|column| {
            let highest = self.rows.iter().filter_map(|row| text_in(row, &column)?.parse().ok()).max().unwrap_or_default();
            let next = self.last_id.max(highest) + 1;
            let id = text_in(&new, &column).map_or_else(|| next.to_string(), str::to_owned);
            new.insert(column, Some(id.clone()));
            id
        });
        if let Some(reason) = self.taken(&new, None) {
            return Outcome::Rejected { reason };
        }
        if let Some(number) = id.as_ref().and_then(|id| id.parse().ok()) {
            self.last_id = self.last_id.max(number);
        }
        let answer = self.answer(&new, change);
        self.rows.push(new);
        Outcome::Done { answer, id }
    }

    fn set_cells(&self, row: &mut Row, change: &Change) {
        for cell in &change.cells {
            let text = cell.after_raw.text.as_ref().map(|text| match self.normalise {
                Some(stored) => stored(&cell.column, text),
                None => text.clone(),
            });
            row.insert(cell.column.clone(), text);
        }
    }

    fn answer(&self, row: &Row, change: &Change) -> Vec<AddressPart> {
        if !self.answers {
            return Vec::new();
        }
        let part = |column: &String| AddressPart { column: column.clone(), raw: Raw { text: text_in(row, column).map(str::to_owned), ..Raw::default() } };
        change.cells.iter().map(|cell| part(&cell.column)).collect()
    }

    /// Which unique value another row has already.
    fn taken(&self, new: &Row, at: Option<usize>) -> Option<String> {
        for columns in &self.unique {
            let texts = |row: &Row| columns.iter().map(|column| text_in(row, column).map(str::to_owned)).collect::<Option<Vec<_>>>();
            let Some(wanted) = texts(new) else { continue };
            let others = self.rows.iter().enumerate().filter(|(row, _)| Some(*row) != at);
            if others.into_iter().any(|(_, row)| texts(row).as_ref() == Some(&wanted)) {
                return Some(format!("another row has {} = {}", columns.join(", "), wanted.join(", ")));
            }
        }
        None
    }
}

fn text_in<'r>(row: &'r Row, column: &str) -> Option<&'r str> {
    row.get(column)?.as_deref()
}

fn is_at(row: &Row, address: &[AddressPart]) -> bool {
    address.iter().all(|part| text_in(row, &part.column) == part.raw.text.as_deref())
}

/// A hash of a whole row, null apart from the empty text, and no text running into the next.
fn hash_of(columns: &[String], row: &Row) -> u128 {
    let mut bytes = Vec::new();
    for column in columns {
        match text_in(row, column) {
            None => bytes.push(0),
            Some(text) => {
                bytes.push(1);
                bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
        }
    }
    xxh3_128_with_seed(&bytes, seed_of_rows(columns.iter().map(String::as_str)))
}
