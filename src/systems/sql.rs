//! The `sql` kind: a table, a view or a query of a database. What is said here is about SQLite; `server` does the same for
//! PostgreSQL, MariaDB and MySQL.
//!
//! A pull is one consistent transaction. Each cell is delivered as its text with its storage class: integers as digits, reals
//! as their shortest decimal form, texts verbatim, blobs in lower-case hexadecimal, NULL as null. A set of changes is one
//! transaction with a savepoint a change; a row is only written while it still holds, to the byte and to the storage class,
//! what the change expects; what the database says the row holds then is the answer.
//!
//! Statements are built in `statement`; everything here that speaks to a database is SQLite's own.
//! It never creates a database, never writes through a view, and binds every value.
//!
//! # Design
//! - **Comparing.** SQLite converts a bound value to the affinity of the column it is compared with, compares 5 with 5.0, and
//!   lets a column ignore case. So each expectation is three: `c IS ?` finds the row by an index, `+c COLLATE BINARY IS ?`
//!   compares without conversions, `typeof(c) IS ?` compares the storage class.
//! - **Numbers.** New values are bound as text, and the column's affinity makes of them what it makes of anybody's. A binary
//!   float that this leaves is only accepted if its shortest decimal form is the number that was sent. A column without a type
//!   converts nothing: there a number that replaces a number is bound as one, because SQLite sorts any text above any number.
//! - **Conflict clauses.** A constraint may be declared `ON CONFLICT REPLACE`, by which an insert removes another row
//!   silently. Writes say `OR ABORT`, which comes before the declaration.
//! - **A trigger that rolls everything back** takes the changes before it along. They are made again, in a transaction of their
//!   own, and so are those after the one that it refused.
//! - **Deferred foreign keys** speak up at the commit only. Then the set is halved until the change at fault is alone; the
//!   halves are transactions of their own.
//! - **A unique value that another row has** may be free once that row is written, so those changes are tried again at the end.
//!   What is left are swaps, which `swap` makes.
//! - **A row is known** by its rowid, or by its primary key where the table has no rowid, so that the answer is that of the
//!   written row even if its key was changed.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use polars::prelude::{StringChunkedBuilder, UInt8Chunked};
use rusqlite::types::{Value as Bound, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::change::{Action, AddressPart, CellChange, Change, Outcome};
use crate::diagnostic::{Place, did_you_mean};
use crate::error::{Error, Remedy};
use crate::frame::{Evidence, NO_ROW, Pulled, Quarantined, seed_of_rows};
use crate::job::{DatabaseUrl, Engine, Permission, SqlSettings};
use crate::systems::batch::{self, Answer, Rejections};
use crate::systems::{Description, Opening, System, Wanted, WriteSet, missing_columns, resolved};
use crate::value::{Raw, Storage};

use statement::{Fragment, ROW, column_of_row, delete, insert, joined, quoted, select, update};

mod mysql;
mod postgres;
mod server;
mod statement;
mod swap;

/// How long a locked database is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A read-back of more values than this reads everything: SQLite binds at most 32,766 values in a statement.
const WANTED_MAX: usize = 30_000;

/// Texts of people in messages are cut after this many characters.
const SHOWN_MAX: usize = 80;

/// The evidence that tells the columns of the last run.
const FOUND_COLUMNS: &str = "columns";

/// Opens the database of a system.
///
/// # Errors
/// [`Remedy::MendJob`] for a `url` that names no database; those of [`SqlTable::open`], and the same for a server.
pub fn open(settings: &SqlSettings, opening: &Opening<'_>) -> Result<Box<dyn System>, Error> {
    let scheme = |url: &str| Engine::of_scheme(url.split_once(':').map_or("", |(scheme, _)| scheme));
    let refused = |(what, hint): (String, String)| {
        let message = format!("the `url` of system `{}` {what}", opening.spec.name);
        Error::new(Remedy::MendJob, Place::of(opening.spec.kind.place()), message).seen("nothing was read").hint(hint)
    };
    if scheme(&settings.url).is_some() {
        let url = DatabaseUrl::parse(&settings.url).map_err(refused)?.resolved(|part| resolved(part, opening))?;
        return Ok(Box::new(server::open(url, settings, opening)?));
    }
    let whole = resolved(&settings.url, opening)?;
    if scheme(&whole).is_some() {
        return Ok(Box::new(server::open(DatabaseUrl::parse(&whole).map_err(refused)?, settings, opening)?));
    }
    Ok(Box::new(SqlTable::open(settings, opening)?))
}

/// The columns that the job needs, each once.
fn requested(opening: &Opening<'_>) -> Vec<String> {
    let mut requested: Vec<String> = Vec::with_capacity(opening.columns.len());
    for column in &opening.columns {
        if !requested.contains(column) {
            requested.push(column.clone());
        }
    }
    requested
}

/// The error of a system that does not say what of its database is meant.
fn names_nothing(system: &str, origin: &str) -> Error {
    let message = format!("system `{system}` names neither a `table` nor a `query`");
    Error::new(Remedy::MendJob, Place::of(origin), message).seen("nothing was read").hint(r#"add `table = "..."`"#)
}

/// A table, a view or a query of a SQLite database.
#[derive(Debug)]
pub struct SqlTable {
    connection: Connection,
    system: String,
    origin: String,
    requested: Vec<String>,
    id: Option<String>,
    known: BTreeMap<String, String>,
    source: Source,
    table: Option<Table>,
    may_write: bool,
}

/// What is read.
#[derive(Debug)]
struct Source {
    /// What stands after `FROM`.
    from: String,
    /// Expressions that give its rows a stable order; none for a view or a query.
    order: Vec<String>,
    /// The declared type of each column; none for a query.
    types: BTreeMap<String, String>,
}

/// What is known about a table or view.
#[derive(Debug)]
struct Table {
    name: String,
    /// Whether it is an ordinary table, and not a view or a virtual table.
    is_ordinary: bool,
    columns: Vec<Column>,
    /// Expressions over the bare table that tell a row from every other; none if there are no such.
    identity: Vec<String>,
    /// The column that is another name of the rowid, and so gets a number by itself.
    rowid_column: Option<String>,
    /// Whether rows of any table refer to rows of this one.
    is_referred_to: bool,
}

#[derive(Debug)]
struct Column {
    name: String,
    declared: String,
    /// Whether the column converts nothing that is stored in it.
    is_untyped: bool,
    has_default: bool,
    takes_null: bool,
    /// The position in the primary key, from 1; 0 outside it.
    in_key: u32,
}

impl Table {
    fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    fn is_writable(&self) -> bool {
        self.is_ordinary && !self.identity.is_empty()
    }
}

impl SqlTable {
    /// The table that is written.
    fn writable(&self) -> Result<&Table, Error> {
        let refused = |message: String| Error::new(Remedy::MendJob, Place::of(&self.origin), message).seen("nothing was written");
        let table = match &self.table {
            Some(table) if table.is_writable() => table,
            Some(table) => return Err(refused(format!("`{}` cannot be written: it is not an ordinary table", table.name)).hint("name the table behind it")),
            None => return Err(refused(format!("system `{}` reads a query and names no table to write", self.system)).hint(r#"add `table = "..."`"#)),
        };
        if !self.may_write {
            return Err(refused(format!("system `{}` may not be written: its role or its `may` says so", self.system)));
        }
        Ok(table)
    }

    /// Opens the database of `url` and finds the table. Read-only unless the system may be written.
    ///
    /// # Errors
    /// [`Remedy::MendJob`] for a server that is not SQLite, or a table that is not there; [`Remedy::GiveAccess`] for a file that
    /// is missing, locked or not readable; [`Remedy::Look`] for a file that is no database or a damaged one.
    pub fn open(settings: &SqlSettings, opening: &Opening<'_>) -> Result<SqlTable, Error> {
        let system = opening.spec.name.clone();
        let origin = opening.spec.kind.place();
        let may = opening.spec.may;
        let may_write = opening.spec.role.is_written() && [may.create, may.update, may.delete].iter().any(|p| *p != Permission::Never);
        let connection = connect(&opening.root.join(sqlite_path(&super::resolved(&settings.url, opening)?, &system, &origin)?), may_write, &origin)?;

        let failed = |error: rusqlite::Error| database_error(&origin, &error, "nothing was read");
        let tables = tables(&connection).map_err(failed)?;
        let table = match &settings.table {
            None => None,
            Some(name) => match tables.iter().find(|listed| listed.name == *name) {
                Some(listed) => Some(describe_table(&connection, listed).map_err(failed)?),
                None => return Err(missing_table(&origin, &system, name, &tables)),
            },
        };
        let source = match (&settings.query, &table) {
            (Some(query), _) => {
                let query = query.trim_end().trim_end_matches(';');
                Source { from: format!("({query}\n)"), order: Vec::new(), types: BTreeMap::new() }
            }
            (None, Some(table)) => Source {
                from: quoted(&table.name),
                order: if table.is_ordinary { table.identity.iter().map(|expression| format!("{ROW}.{expression}")).collect() } else { Vec::new() },
                types: table.columns.iter().map(|column| (column.name.clone(), column.declared.clone())).collect(),
            },
            (None, None) => return Err(names_nothing(&system, &origin)),
        };
        let requested = requested(opening);
        let known = opening.known.clone();
        Ok(SqlTable { connection, system, origin, requested, id: opening.spec.id.clone(), known, source, table, may_write })
    }

    fn failed_read(&self, error: &rusqlite::Error) -> Error {
        database_error(&self.origin, error, "nothing was read")
    }

    fn require(&self, needed: &[String], there: &[String]) -> Result<(), Error> {
        missing_columns(&self.origin, &self.system, needed, there).map_or(Ok(()), Err)
    }

    fn names(&self) -> rusqlite::Result<Vec<String>> {
        let everything = select::<Bound>(&[format!("{ROW}.*")], &self.source.from, None, &[]);
        let statement = self.connection.prepare(&everything.text)?;
        Ok(statement.column_names().map(str::to_owned).collect())
    }

    /// All rows, or those that meet a condition, in one transaction. Only a full read counts what it should find.
    fn read(&self, condition: Option<Fragment<Bound>>) -> Result<Pulled, Error> {
        let failed = |error| self.failed_read(&error);
        let transaction = self.connection.unchecked_transaction().map_err(failed)?;
        let announced = match &condition {
            Some(_) => None,
            None => {
                let count = select::<Bound>(&["count(*)".to_owned()], &self.source.from, None, &[]);
                Some(transaction.query_row(&count.text, [], |row| row.get::<_, i64>(0)).map_err(failed)?.unsigned_abs())
            }
        };
        if announced.is_some_and(|rows| rows >= u64::from(NO_ROW)) {
            let message = format!("`{}` has more rows than one snapshot holds", self.system);
            return Err(Error::new(Remedy::Look, Place::of(&self.origin), message)
                .seen(format!("{} rows, at most {}", announced.unwrap_or_default(), NO_ROW - 1))
                .seen("nothing was read"));
        }
        let reading = select(&[format!("{ROW}.*")], &self.source.from, condition, &self.source.order);
        let mut statement = transaction.prepare(&reading.text).map_err(failed)?;
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        self.require(&self.requested, &names)?;
        let mut reader = RowReader::new(self, &names, usize::try_from(announced.unwrap_or_default()).unwrap_or_default());
        let mut rows = statement.query(rusqlite::params_from_iter(reading.values)).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            reader.read(row).map_err(failed)?;
        }
        let evidence = self.evidence(&names, reader.position, announced);
        Ok(reader.finish(evidence))
    }

    fn evidence(&self, names: &[String], rows_read: u64, rows_announced: Option<u64>) -> Evidence {
        let spelled: Vec<String> = names
            .iter()
            .map(|name| match self.source.types.get(name).map(String::as_str) {
                None | Some("") => name.clone(),
                Some(declared) => format!("{name} {declared}"),
            })
            .collect();
        let columns = spelled.join(", ");
        let mut notes = Vec::new();
        if let Some(before) = self.known.get(FOUND_COLUMNS).filter(|before| **before != columns) {
            notes.push(format!("the columns of `{}` changed: they were {before}, they are {columns}", self.system));
        }
        Evidence {
            origin: self.origin.clone(),
            sha256: None,
            rows_read,
            rows_announced,
            sums: Vec::new(),
            found: BTreeMap::from([(FOUND_COLUMNS.to_owned(), columns)]),
            notes,
        }
    }

    /// The rows that hold any of the wanted values in the columns of an address; nothing if that is better asked by reading
    /// everything. Finds too much rather than too little: each part of an address is looked for by itself, in every storage
    /// class that its text may have been stored in.
    fn wanted(&self, wanted: &Wanted) -> Option<Fragment<Bound>> {
        let mut shapes: BTreeMap<Vec<&str>, Vec<&[AddressPart]>> = BTreeMap::new();
        for address in &wanted.addresses {
            shapes.entry(address.iter().map(|part| part.column.as_str()).collect()).or_default().push(address);
        }
        let mut alternatives = Vec::new();
        let mut bound = 0;
        for (columns, addresses) in shapes {
            let mut parts = Vec::new();
            for (position, column) in columns.iter().enumerate() {
                let mut values = Vec::new();
                let mut with_null = false;
                for address in &addresses {
                    match &address[position].raw {
                        Raw { text: None, .. } => with_null = true,
                        raw => values.extend(spellings(raw)),
                    }
                }
                bound += values.len();
                if bound > WANTED_MAX {
                    return None;
                }
                let name = column_of_row(column);
                let marks = vec!["?"; values.len()].join(", ");
                let null = if with_null { format!(" OR {name} IS NULL") } else { String::new() };
                parts.push(Fragment { text: format!("({name} IN ({marks}){null})"), values });
            }
            if parts.is_empty() {
                return None;
            }
            alternatives.push(joined(parts, " AND "));
        }
        if alternatives.is_empty() {
            return Some(Fragment { text: "0".to_owned(), values: Vec::new() });
        }
        Some(joined(alternatives, " OR "))
    }
}

impl System for SqlTable {
    fn describe(&self) -> Description {
        let table = self.table.as_ref().filter(|table| table.is_writable());
        let fills_id = table
            .zip(self.id.as_ref())
            .is_some_and(|(table, id)| table.rowid_column.as_ref() == Some(id) || table.column(id).is_some_and(|column| column.has_default));
        Description { atomic: true, writable: table.is_some(), fills_id }
    }

    fn columns(&mut self) -> Result<Vec<String>, Error> {
        let names = self.names().map_err(|error| self.failed_read(&error))?;
        self.require(&self.requested, &names)?;
        Ok(names)
    }

    fn pull(&mut self) -> Result<Pulled, Error> {
        self.read(None)
    }

    fn prepare(&mut self) -> Result<(), Error> {
        self.writable()?;
        // A file that may not be written is opened for reading, silently.
        let is_read_only = self.connection.is_readonly("main").map_err(|error| database_error(&self.origin, &error, "nothing was written"))?;
        if is_read_only {
            return Err(Error::new(Remedy::GiveAccess, Place::of(&self.origin), "the database is read-only")
                .seen("nothing was written")
                .hint("allow the user that runs `tieout` to write it"));
        }
        // The write lock of the database is the proof: a read-only file, a full disk or another writer refuses it.
        self.connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK").map_err(|error| database_error(&self.origin, &error, "nothing was written"))
    }

    fn write(&mut self, set: WriteSet<'_>) -> Result<Vec<Outcome>, Error> {
        let writer = Writer { connection: &self.connection, table: self.writable()?, id: self.id.as_deref(), origin: &self.origin };
        batch::send(set.changes, set.failures_max, &mut |changes, rejections| writer.transaction(changes, rejections))
    }

    fn read_back(&mut self, wanted: &Wanted) -> Result<Pulled, Error> {
        let mut addressed: Vec<String> = wanted.addresses.iter().flatten().map(|part| part.column.clone()).collect();
        addressed.sort_unstable();
        addressed.dedup();
        if !addressed.is_empty() {
            self.require(&addressed, &self.names().map_err(|error| self.failed_read(&error))?)?;
        }
        self.read(self.wanted(wanted))
    }
}

/// Turns rows of a statement into columns, without a text of its own for any cell.
struct RowReader<'t> {
    table: &'t SqlTable,
    names: &'t [String],
    is_requested: Vec<bool>,
    id: Option<usize>,
    columns: Vec<ColumnReader>,
    position: u64,
    lines: Vec<u64>,
    hashes: Vec<u128>,
    refused: Vec<Quarantined>,
    row_bytes: Vec<u8>,
    /// The seed of the rows' hashes.
    seed: u64,
    spelling: String,
}

struct ColumnReader {
    index: usize,
    texts: StringChunkedBuilder,
    storage: Vec<u8>,
}

impl<'t> RowReader<'t> {
    fn new(table: &'t SqlTable, names: &'t [String], capacity: usize) -> RowReader<'t> {
        let index_of = |name: &String| names.iter().position(|there| there == name);
        let seed = seed_of_rows(names.iter().map(String::as_str));
        let columns: Vec<ColumnReader> = table
            .requested
            .iter()
            .filter_map(index_of)
            .map(|index| ColumnReader { index, texts: StringChunkedBuilder::new("".into(), capacity), storage: Vec::with_capacity(capacity) })
            .collect();
        let mut is_requested = vec![false; names.len()];
        for column in &columns {
            is_requested[column.index] = true;
        }
        RowReader {
            table,
            names,
            is_requested,
            id: table.id.as_ref().and_then(index_of),
            columns,
            position: 0,
            lines: Vec::with_capacity(capacity),
            hashes: Vec::with_capacity(capacity),
            refused: Vec::new(),
            row_bytes: Vec::new(),
            seed,
            spelling: String::new(),
        }
    }

    /// Takes one row. A row with an unreadable text in a requested column is set aside.
    fn read(&mut self, row: &rusqlite::Row<'_>) -> rusqlite::Result<()> {
        self.position += 1;
        self.row_bytes.clear();
        let mut unreadable = None;
        for index in 0..self.names.len() {
            let cell = row.get_ref(index)?;
            if let ValueRef::Text(text) = cell
                && unreadable.is_none()
                && self.is_requested[index]
                && std::str::from_utf8(text).is_err()
            {
                unreadable = Some(index);
            }
            add_cell(&mut self.row_bytes, cell);
        }
        if let Some(index) = unreadable {
            let id = match self.id {
                Some(id) if id != index => raw_of(row.get_ref(id)?).text,
                _ => None,
            };
            self.refused.push(Quarantined {
                origin: self.table.origin.clone(),
                line: self.position,
                column: Some(self.names[index].clone()),
                field: None,
                raw: raw_of(row.get_ref(index)?).text.map(|text| text.chars().take(200).collect()),
                reason: "the text is not valid UTF-8".to_owned(),
                key: None,
                id,
            });
            return Ok(());
        }
        for column in &mut self.columns {
            match spell(row.get_ref(column.index)?, &mut self.spelling) {
                Some((text, storage)) => {
                    column.texts.append_value(text);
                    column.storage.push(storage as u8);
                }
                None => {
                    column.texts.append_null();
                    column.storage.push(Storage::Text as u8);
                }
            }
        }
        self.lines.push(self.position);
        self.hashes.push(xxh3_128_with_seed(&self.row_bytes, self.seed));
        Ok(())
    }

    fn finish(self, evidence: Evidence) -> Pulled {
        let names = self.names;
        let columns = self.columns.into_iter().map(|column| {
            let storage = UInt8Chunked::from_vec("".into(), column.storage);
            (names[column.index].clone(), column.texts.finish(), Some(storage))
        });
        Pulled::new(columns.collect(), self.lines, self.hashes, self.refused, evidence)
    }
}

/// Adds a cell to the bytes that a row is hashed by: its storage class, its length and its content, so that no two different
/// rows have the same bytes.
fn add_cell(bytes: &mut Vec<u8>, cell: ValueRef<'_>) {
    let mut add_long = |class: u8, content: &[u8]| {
        bytes.push(class);
        bytes.extend_from_slice(&(content.len() as u64).to_le_bytes());
        bytes.extend_from_slice(content);
    };
    match cell {
        ValueRef::Null => bytes.push(0),
        ValueRef::Integer(number) => {
            bytes.push(1);
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        ValueRef::Real(number) => {
            bytes.push(2);
            bytes.extend_from_slice(&number.to_bits().to_le_bytes());
        }
        ValueRef::Text(text) => add_long(3, text),
        ValueRef::Blob(blob) => add_long(4, blob),
    }
}

/// A cell as text, with its storage class; nothing for NULL. `spelling` is where a text that the cell does not hold is spelled.
fn spell<'c>(cell: ValueRef<'c>, spelling: &'c mut String) -> Option<(&'c str, Storage)> {
    spelling.clear();
    let storage = match cell {
        ValueRef::Null => return None,
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => return Some((text, Storage::Text)),
            Err(_) => {
                spelling.push_str(&String::from_utf8_lossy(text));
                Storage::Text
            }
        },
        // Writing to a text cannot fail.
        ValueRef::Integer(number) => {
            let _ = write!(spelling, "{number}");
            Storage::Integer
        }
        ValueRef::Real(number) => {
            let _ = write!(spelling, "{number}");
            Storage::Real
        }
        ValueRef::Blob(blob) => {
            for byte in blob {
                let _ = write!(spelling, "{byte:02x}");
            }
            Storage::Blob
        }
    };
    Some((spelling, storage))
}

fn raw_of(cell: ValueRef<'_>) -> Raw {
    match spell(cell, &mut String::new()) {
        Some((text, storage)) => Raw { text: Some(text.to_owned()), storage },
        None => Raw::null(),
    }
}

/// The value that a raw cell was read from.
fn bound(raw: &Raw) -> Bound {
    let Some(text) = &raw.text else { return Bound::Null };
    let parsed = match raw.storage {
        Storage::Text | Storage::Date => None,
        Storage::Integer => text.parse().ok().map(Bound::Integer),
        Storage::Real => text.parse().ok().map(Bound::Real),
        Storage::Blob => bytes_of_hex(text).map(Bound::Blob),
    };
    parsed.unwrap_or_else(|| Bound::Text(text.clone()))
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect()
}

/// Every value that may be stored where this text was written: the text, and the number that it spells.
fn spellings(raw: &Raw) -> Vec<Bound> {
    let Some(text) = &raw.text else { return Vec::new() };
    let mut values = vec![Bound::Text(text.clone())];
    if let Ok(number) = text.parse::<i64>() {
        values.push(Bound::Integer(number));
    } else if let Ok(number) = text.parse::<f64>()
        && significant(text).is_some()
    {
        values.push(Bound::Real(number));
    }
    if raw.storage == Storage::Blob {
        values.push(bound(raw));
    }
    values
}

/// What a cell must hold: the same bytes in the same storage class, whatever the column's affinity and collation.
fn holds(column: &str, raw: &Raw) -> Fragment<Bound> {
    let name = column_of_row(column);
    let value = bound(raw);
    let class = match value {
        Bound::Null => "null",
        Bound::Integer(_) => "integer",
        Bound::Real(_) => "real",
        Bound::Text(_) => "text",
        Bound::Blob(_) => "blob",
    };
    Fragment {
        text: format!("{name} IS ? AND +{name} COLLATE BINARY IS ? AND typeof({name}) IS ?"),
        values: vec![value.clone(), value, Bound::Text(class.to_owned())],
    }
}

/// The sign, the significant digits and the exponent of the last of them; nothing if the text is not a decimal number.
fn significant(text: &str) -> Option<(bool, String, i64)> {
    let text = text.trim();
    let (negative, text) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.len() + fraction.len() == 0 || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let trimmed = digits.trim_end_matches('0');
    if trimmed.is_empty() {
        return Some((false, String::new(), 0));
    }
    let dropped = i64::try_from(digits.len() - trimmed.len()).ok()?;
    let exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(dropped)?;
    Some((negative, trimmed.to_owned(), exponent))
}

/// Whether a number was sent and the number that is stored is only the nearest one that a binary float could hold. A number
/// further away is what a trigger made of it.
fn lost_digits(sent: &str, stored: &Raw) -> bool {
    let (Storage::Integer | Storage::Real, Some(kept)) = (stored.storage, &stored.text) else { return false };
    let Some(sent_number) = significant(sent) else { return false };
    match significant(kept) {
        None => true,
        Some(kept_number) if kept_number == sent_number => false,
        Some(_) => match (sent.trim().parse::<f64>(), kept.parse::<f64>()) {
            (Ok(sent), Ok(kept)) => (sent - kept).abs() <= sent.abs() * 1e-15,
            _ => true,
        },
    }
}

/// What is bound for a new value: the text, or in a column without a type, where a number stood, the same number.
fn new_value(column: &Column, before: Option<&Raw>, after: &Raw) -> Bound {
    // SQLite has no truth values: columns declared for them, or for numbers, hold 1 and 0.
    let declared = column.declared.to_ascii_uppercase();
    if declared.contains("BOOL") || declared.contains("INT") {
        match after.text.as_deref() {
            Some("true") => return Bound::Integer(1),
            Some("false") => return Bound::Integer(0),
            _ => {}
        }
    }
    let replaces_number = before.is_some_and(|raw| raw.text.is_some() && matches!(raw.storage, Storage::Integer | Storage::Real));
    if let (Some(text), Storage::Text, true, true) = (&after.text, after.storage, column.is_untyped, replaces_number)
        && let Some(number) = significant(text)
    {
        if let Some(whole) = text.parse::<i64>().ok().filter(|whole| significant(&whole.to_string()).as_ref() == Some(&number)) {
            return Bound::Integer(whole);
        }
        if let Some(real) = text.parse::<f64>().ok().filter(|real| significant(&real.to_string()).as_ref() == Some(&number)) {
            return Bound::Real(real);
        }
    }
    bound(after)
}

/// What must still be so for a row to be written.
fn expected(change: &Change) -> Vec<Fragment<Bound>> {
    let address = change.address.iter().map(|part| holds(&part.column, &part.raw));
    let cells = change.cells.iter().filter_map(|cell| cell.before_raw.as_ref().map(|raw| holds(&cell.column, raw)));
    address.chain(cells).collect()
}

/// Makes changes in transactions.
struct Writer<'w> {
    connection: &'w Connection,
    table: &'w Table,
    id: Option<&'w str>,
    origin: &'w str,
}

/// Why a transaction cannot go on.
enum Broken {
    /// The change at this position took the whole transaction along when it was refused.
    By(usize, String),
    /// The database failed.
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for Broken {
    fn from(error: rusqlite::Error) -> Broken {
        Broken::Database(error)
    }
}

impl<'w> Writer<'w> {
    /// Makes `changes` in one transaction. An error means that nothing was written.
    fn transaction(&self, changes: &[&Change], rejections: Rejections) -> Result<Answer, Error> {
        let attempt = match self.connection.execute_batch("BEGIN IMMEDIATE") {
            Ok(()) => self.attempt(changes, rejections),
            Err(error) => Err(Broken::Database(error)),
        };
        let mut outcomes = match attempt {
            Ok(outcomes) => outcomes,
            Err(broken) => {
                self.roll_back();
                return match broken {
                    Broken::By(position, reason) => Ok(Answer::RefusedFor(position, reason)),
                    Broken::Database(error) => Err(database_error(self.origin, &error, "nothing was written")),
                };
            }
        };
        let Err(error) = self.connection.execute_batch("COMMIT") else { return Ok(Answer::Each(outcomes)) };
        let is_undone = self.roll_back() && is_undone_with(&error);
        let reason = format!("the database refused to commit: {}", words(&error));
        if is_undone {
            return match code_of(&error) {
                Some(ErrorCode::ConstraintViolation) => Ok(Answer::Refused(reason)),
                _ => Err(database_error(self.origin, &error, "nothing was written")),
            };
        }
        for outcome in outcomes.iter_mut().filter(|outcome| matches!(outcome, Outcome::Done { .. })) {
            *outcome = Outcome::Unknown { reason: reason.clone() };
        }
        Ok(Answer::Each(outcomes))
    }

    /// Leaves no transaction open; whether one was rolled back here or had been by SQLite.
    fn roll_back(&self) -> bool {
        self.connection.is_autocommit() || self.connection.execute_batch("ROLLBACK").is_ok()
    }

    fn attempt(&self, changes: &[&Change], mut rejections: Rejections) -> Result<Vec<Outcome>, Broken> {
        let mut statements = Statements { connection: self.connection, by_text: HashMap::new() };
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(changes.len());
        // Those whose new value another row still has: it may give it up yet.
        let mut waiting: Vec<usize> = Vec::new();
        for (index, change) in changes.iter().enumerate() {
            if let Some(stopped) = rejections.stop() {
                outcomes.push(stopped);
                continue;
            }
            let (outcome, is_taken) = self.make_within_savepoint(index, change, &mut statements)?;
            rejections.count(&outcome);
            outcomes.push(outcome);
            if is_taken {
                waiting.push(index);
            }
            if !waiting.is_empty() && (rejections.stop().is_some() || index + 1 == changes.len()) {
                rejections.forgive(self.make_those_that_wait(changes, &mut waiting, &mut outcomes, &mut statements)?);
            }
        }
        Ok(outcomes)
    }

    /// Tries those again whose new value another row had: by now it may have given it up, or it waits for this one in turn. Gives
    /// how many of them are no longer rejected; those that are go on waiting.
    fn make_those_that_wait(
        &self,
        changes: &[&Change],
        waiting: &mut Vec<usize>,
        outcomes: &mut [Outcome],
        statements: &mut Statements<'w>,
    ) -> Result<usize, Broken> {
        let first = waiting.clone();
        loop {
            let before = waiting.len();
            let mut still = Vec::with_capacity(before);
            for index in waiting.drain(..) {
                match self.make_within_savepoint(index, changes[index], statements)?.0 {
                    done @ Outcome::Done { .. } => outcomes[index] = done,
                    _ => still.push(index),
                }
            }
            *waiting = still;
            if waiting.len() == before || waiting.is_empty() {
                break;
            }
        }
        for ring in swap::rings(changes, waiting) {
            let members: Vec<(usize, &Change)> = ring.iter().map(|index| (*index, changes[*index])).collect();
            for (index, outcome) in ring.iter().zip(self.swap(&members, statements)?) {
                outcomes[*index] = outcome;
            }
        }
        let is_rejected = |index: &usize| matches!(outcomes[*index], Outcome::Rejected { .. });
        waiting.retain(is_rejected);
        Ok(first.iter().filter(|index| !is_rejected(index)).count())
    }

    /// The outcome of a change, and whether it was refused because another row has a value that only one may have.
    fn make_within_savepoint(&self, index: usize, change: &Change, statements: &mut Statements<'w>) -> Result<(Outcome, bool), Broken> {
        statements.rows("SAVEPOINT change_made", &[])?;
        let made = self.make(change, statements);
        if self.connection.is_autocommit() {
            return Err(match made {
                Err(error) if !is_refusal(&error) => Broken::Database(error),
                Err(error) => Broken::By(index, words(&error)),
                Ok(_) => Broken::By(index, "the database rolled the transaction back".to_owned()),
            });
        }
        let (outcome, is_taken) = match made {
            Err(error) if !is_refusal(&error) => return Err(Broken::Database(error)),
            Err(error) => (Outcome::Rejected { reason: words(&error) }, is_taken(&error)),
            Ok(outcome) => (outcome, false),
        };
        if !matches!(outcome, Outcome::Done { .. }) {
            statements.rows("ROLLBACK TO change_made", &[])?;
        }
        statements.rows("RELEASE change_made", &[])?;
        Ok((outcome, is_taken))
    }

    fn make(&self, change: &Change, statements: &mut Statements<'w>) -> rusqlite::Result<Outcome> {
        let rejected = |reason: String| Ok(Outcome::Rejected { reason });
        let named = change.address.iter().map(|part| &part.column).chain(change.cells.iter().map(|cell| &cell.column));
        if let Some(unknown) = named.into_iter().find(|name| self.table.column(name).is_none()) {
            return rejected(format!("table `{}` has no column `{unknown}`", self.table.name));
        }
        let identity = &self.table.identity;
        let name = &self.table.name;
        let statement = match change.action {
            Action::Create => insert("INSERT OR ABORT", name, self.new_values(change), identity),
            _ if change.address.is_empty() => return rejected("the change does not say which row it is for".to_owned()),
            Action::Delete => delete(name, expected(change), identity),
            Action::Update | Action::Archive if change.cells.is_empty() => return rejected("the change sets nothing".to_owned()),
            Action::Update | Action::Archive => update("UPDATE OR ABORT", name, self.new_values(change), expected(change), identity),
        };
        let written = statements.rows(&statement.text, &statement.values)?;
        match (change.action, written.as_slice()) {
            (Action::Create, []) => rejected("the database left the row out: a trigger ignored it".to_owned()),
            (_, []) => self.explain(change, statements),
            (Action::Delete, [_]) => Ok(Outcome::Done { answer: Vec::new(), id: None }),
            (_, [row]) => self.answer(change, row, statements),
            (_, rows) => rejected(format!("{} matches {} rows", place_of(change), rows.len())),
        }
    }

    fn new_values<'c>(&self, change: &'c Change) -> Vec<(&'c str, Bound)> {
        let of_cell = |cell: &'c CellChange| {
            let column = self.table.column(&cell.column)?;
            Some((cell.column.as_str(), new_value(column, cell.before_raw.as_ref(), &cell.after_raw)))
        };
        change.cells.iter().filter_map(of_cell).collect()
    }

    /// What the database says about a row that was just written.
    fn answer(&self, change: &Change, identity: &[Bound], statements: &mut Statements<'w>) -> rusqlite::Result<Outcome> {
        let id = self.id.filter(|id| change.action == Action::Create && self.table.column(id).is_some());
        let columns: Vec<String> = change.cells.iter().map(|cell| cell.column.as_str()).chain(id).map(column_of_row).collect();
        if columns.is_empty() {
            return Ok(Outcome::Done { answer: Vec::new(), id: None });
        }
        let same_row = self
            .table
            .identity
            .iter()
            .zip(identity)
            .map(|(expression, value)| Fragment { text: format!("{ROW}.{expression} IS ?"), values: vec![value.clone()] });
        let statement = select(&columns, &quoted(&self.table.name), Some(joined(same_row.collect(), " AND ")), &[]);
        let rows = statements.rows(&statement.text, &statement.values)?;
        let Some(row) = rows.first() else { return Ok(Outcome::Done { answer: Vec::new(), id: None }) };
        let mut answer = Vec::with_capacity(change.cells.len());
        for (cell, value) in change.cells.iter().zip(row) {
            let raw = raw_of(value.into());
            if let Some(sent) = &cell.after_raw.text
                && cell.after_raw.storage != Storage::Blob
                && lost_digits(sent, &raw)
            {
                let reason = format!("column `{}` stores binary floats and cannot hold {sent}: it would keep {raw}", cell.column);
                return Ok(Outcome::Rejected { reason });
            }
            answer.push(AddressPart { column: cell.column.clone(), raw });
        }
        let id = id.and_then(|_| row.last()).and_then(|value| raw_of(value.into()).text);
        Ok(Outcome::Done { answer, id })
    }

    /// Why no row was written although the database refused nothing.
    fn explain(&self, change: &Change, statements: &mut Statements<'w>) -> rusqlite::Result<Outcome> {
        let address = change.address.iter().map(|part| holds(&part.column, &part.raw)).collect();
        let expected: Vec<(&str, &Raw)> = change.cells.iter().filter_map(|cell| Some((cell.column.as_str(), cell.before_raw.as_ref()?))).collect();
        let mut columns: Vec<String> = expected.iter().map(|(column, _)| column_of_row(column)).collect();
        columns.push("1".to_owned());
        let statement = select(&columns, &quoted(&self.table.name), Some(joined(address, " AND ")), &[]);
        let rows = statements.rows(&statement.text, &statement.values)?;
        let Some(row) = rows.first() else {
            return Ok(Outcome::Stale { reason: format!("there is no row with {} any more", place_of(change)) });
        };
        let moved: Vec<String> = expected
            .iter()
            .zip(row)
            .map(|((column, before), now)| (column, before, raw_of(now.into())))
            .filter(|(_, before, now)| **before != now)
            .map(|(column, before, now)| format!("`{column}` holds {}, when it was pulled it held {}", shown(&now), shown(before)))
            .collect();
        if moved.is_empty() {
            return Ok(Outcome::Rejected { reason: "the database left the row as it was: a trigger ignored the change".to_owned() });
        }
        Ok(Outcome::Stale { reason: moved.join("; ") })
    }
}

/// The statements of one transaction, each prepared once.
struct Statements<'c> {
    connection: &'c Connection,
    by_text: HashMap<String, rusqlite::Statement<'c>>,
}

impl Statements<'_> {
    /// Runs a statement to its end and gives all rows that it delivers.
    fn rows(&mut self, text: &str, values: &[Bound]) -> rusqlite::Result<Vec<Vec<Bound>>> {
        if !self.by_text.contains_key(text) {
            let statement = self.connection.prepare(text)?;
            self.by_text.insert(text.to_owned(), statement);
        }
        let Some(statement) = self.by_text.get_mut(text) else { return Ok(Vec::new()) };
        let width = statement.column_count();
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        let mut delivered = Vec::new();
        while let Some(row) = rows.next()? {
            let cells = (0..width).map(|index| row.get_ref(index).map(owned));
            delivered.push(cells.collect::<rusqlite::Result<Vec<Bound>>>()?);
        }
        Ok(delivered)
    }
}

fn owned(cell: ValueRef<'_>) -> Bound {
    match cell {
        ValueRef::Null => Bound::Null,
        ValueRef::Integer(number) => Bound::Integer(number),
        ValueRef::Real(number) => Bound::Real(number),
        ValueRef::Text(text) => Bound::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(blob) => Bound::Blob(blob.to_vec()),
    }
}

fn shown(raw: &Raw) -> String {
    match &raw.text {
        None => "null".to_owned(),
        Some(text) if text.chars().count() > SHOWN_MAX => format!("`{}…`", text.chars().take(SHOWN_MAX).collect::<String>()),
        Some(text) => format!("`{text}`"),
    }
}

fn place_of(change: &Change) -> String {
    let parts: Vec<String> = change.address.iter().map(|part| format!("`{}` {}", part.column, shown(&part.raw))).collect();
    parts.join(" and ")
}

/// SQLite's own words, without the statement.
fn words(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    }
}

fn code_of(error: &rusqlite::Error) -> Option<ErrorCode> {
    match error {
        rusqlite::Error::SqlInputError { error, .. } | rusqlite::Error::SqliteFailure(error, _) => Some(error.code),
        _ => None,
    }
}

/// Whether an error is about one change, and not about the database.
fn is_refusal(error: &rusqlite::Error) -> bool {
    use ErrorCode::{AuthorizationForStatementDenied, ConstraintViolation, TooBig, TypeMismatch, Unknown};
    match code_of(error) {
        Some(code) => matches!(code, ConstraintViolation | TypeMismatch | TooBig | Unknown | AuthorizationForStatementDenied),
        None => true,
    }
}

/// Whether a change was refused because another row has a value that only one may have.
fn is_taken(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_ROWID, SQLITE_CONSTRAINT_UNIQUE};
    let extended = error.sqlite_error().map_or(0, |error| error.extended_code);
    [SQLITE_CONSTRAINT_UNIQUE, SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_ROWID].contains(&extended)
}

/// Whether a commit that failed like this, and was rolled back, is undone. A disk that failed may turn out to have kept it: then the
/// next snapshot shows the value that is owed, and it has arrived.
fn is_undone_with(error: &rusqlite::Error) -> bool {
    use ErrorCode::{ConstraintViolation, DatabaseBusy, DatabaseLocked, DiskFull, OutOfMemory, ReadOnly, SystemIoFailure};
    matches!(code_of(error), Some(ConstraintViolation | DatabaseBusy | DatabaseLocked | DiskFull | OutOfMemory | ReadOnly | SystemIoFailure))
}

/// The path of a `sqlite:` address, as it is written there.
fn sqlite_path<'u>(url: &'u str, system: &str, origin: &str) -> Result<&'u Path, Error> {
    let refused = |message: String| Error::new(Remedy::MendJob, Place::of(origin), message).seen("nothing was read");
    let (scheme, path) = url.split_once(':').unwrap_or(("", url));
    match scheme {
        "sqlite" => {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(refused(format!("the `url` of system `{system}` names no file")).hint("write `sqlite:data/name.db`"));
            }
            Ok(Path::new(path))
        }
        // The address may hold a password: it is not repeated.
        _ => Err(refused(format!("the `url` of system `{system}` does not begin with `sqlite:`, `postgres:` or `mysql:`")).hint("write `sqlite:data/name.db`")),
    }
}

fn connect(path: &Path, may_write: bool, origin: &str) -> Result<Connection, Error> {
    let refused = |message: &str| {
        let error = Error::new(Remedy::GiveAccess, Place::of(origin), message);
        // What a reference holds is nobody's business but the program's.
        let error = if origin.contains("${") { error } else { error.seen(format!("file: {}", path.display())) };
        error.seen("nothing was read")
    };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(refused("the database file does not exist").hint("a database is never created: put the file there, or mend `url`"));
        }
        Err(error) => return Err(refused("the database file cannot be reached").seen(error.to_string())),
        Ok(metadata) if metadata.is_dir() => return Err(refused("the database file is a folder").hint("mend `url`")),
        Ok(_) => {}
    }
    let access = if may_write { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
    let failed = |error: rusqlite::Error| database_error(origin, &error, "nothing was read");
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
    Ok(connection)
}

/// An entry of the database's list of tables.
struct Listed {
    name: String,
    is_ordinary: bool,
    has_rowid: bool,
    is_strict: bool,
}

fn tables(connection: &Connection) -> rusqlite::Result<Vec<Listed>> {
    let mut statement = connection.prepare(
        "SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = 'main' AND type <> 'shadow' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
    )?;
    let rows = statement.query_map([], |row| {
        let is_ordinary = row.get::<_, String>(1)? == "table";
        let without_rowid: bool = row.get(2)?;
        Ok(Listed { name: row.get(0)?, is_ordinary, has_rowid: is_ordinary && !without_rowid, is_strict: row.get(3)? })
    })?;
    rows.collect()
}

fn describe_table(connection: &Connection, listed: &Listed) -> rusqlite::Result<Table> {
    let mut statement = connection.prepare("SELECT name, type, dflt_value IS NOT NULL, pk, \"notnull\" FROM pragma_table_xinfo(?) WHERE hidden <> 1")?;
    let columns = statement.query_map([&listed.name], |row| {
        let declared: String = row.get(1)?;
        let is_untyped = converts_nothing(&declared, listed.is_strict);
        let (in_key, refuses_null): (u32, bool) = (row.get(3)?, row.get(4)?);
        Ok(Column { name: row.get(0)?, declared, is_untyped, has_default: row.get(2)?, takes_null: !refuses_null && in_key == 0, in_key })
    })?;
    let columns: Vec<Column> = columns.collect::<rusqlite::Result<_>>()?;

    let mut key: Vec<&Column> = columns.iter().filter(|column| column.in_key > 0).collect();
    key.sort_by_key(|column| column.in_key);
    // A primary key of one INTEGER column is another name of the rowid, unless it is declared DESC: only then it has an index.
    let key_has_index = connection.query_row("SELECT 1 FROM pragma_index_list(?) WHERE origin = 'pk'", [&listed.name], |_| Ok(())).optional()?.is_some();
    let rowid_column = match key.as_slice() {
        [only] if listed.has_rowid && !key_has_index && only.declared.eq_ignore_ascii_case("integer") => Some(only.name.clone()),
        _ => None,
    };
    // A column may take the name of the rowid; the rowid then answers to another.
    let free_name = ["rowid", "_rowid_", "oid"].into_iter().find(|name| columns.iter().all(|column| !column.name.eq_ignore_ascii_case(name)));
    let identity = match (listed.has_rowid, free_name) {
        (true, Some(name)) => vec![name.to_owned()],
        _ => key.iter().map(|column| quoted(&column.name)).collect(),
    };
    let referring = "SELECT 1 FROM pragma_table_list AS l, pragma_foreign_key_list(l.name) AS f WHERE l.schema = 'main' AND f.\"table\" = ? COLLATE NOCASE";
    let is_referred_to = connection.query_row(referring, [&listed.name], |_| Ok(())).optional()?.is_some();
    Ok(Table { name: listed.name.clone(), is_ordinary: listed.is_ordinary, identity, rowid_column, is_referred_to, columns })
}

/// Whether a column of a declared type stores everything as it is bound: the rules of SQLite for `BLOB` affinity, and `ANY` in
/// a strict table.
fn converts_nothing(declared: &str, is_strict: bool) -> bool {
    let declared = declared.to_ascii_uppercase();
    if is_strict {
        return declared == "ANY";
    }
    declared.is_empty() || declared.contains("BLOB") && !["INT", "CHAR", "CLOB", "TEXT"].iter().any(|word| declared.contains(word))
}

fn missing_table(origin: &str, system: &str, name: &str, tables: &[Listed]) -> Error {
    let there: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    let error = Error::new(Remedy::MendJob, Place::of(origin), format!("table `{name}` is not in the database of system `{system}`"));
    let error = match there.as_slice() {
        [] => error.seen("the database has no tables"),
        _ => error.seen(format!("tables of `{system}`: {}", there.join(", "))),
    };
    match did_you_mean(name, there) {
        Some(close) => error.hint(format!("did you mean `{close}`?")),
        None => error,
    }
}

/// What stops a run when the database fails. `kept` says what did not happen.
fn database_error(origin: &str, error: &rusqlite::Error, kept: &str) -> Error {
    use ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, FileLockingProtocolFailed, NotADatabase, OutOfMemory, PermissionDenied, ReadOnly,
        SystemIoFailure,
    };
    // Only whoever may write can undo what another program left half written.
    const READONLY_RECOVERY: i32 = 264;
    const READONLY_CANTINIT: i32 = 1288;
    const READONLY_ROLLBACK: i32 = 776;
    let extended = error.sqlite_extended_error_code().unwrap_or_default();
    let (remedy, message, hint) = match code_of(error) {
        Some(DatabaseBusy | DatabaseLocked | FileLockingProtocolFailed) => (
            Remedy::GiveAccess,
            format!("the database is locked by another program, also after {} seconds", BUSY_TIMEOUT.as_secs()),
            "close the program that holds it, or run again later",
        ),
        Some(NotADatabase) => (Remedy::Look, "the file is not a SQLite database".to_owned(), "look whether `url` names the right file"),
        Some(DatabaseCorrupt) => (Remedy::Look, "the database is damaged".to_owned(), "run `PRAGMA integrity_check` on it, or restore a backup"),
        Some(ReadOnly) if [READONLY_RECOVERY, READONLY_CANTINIT, READONLY_ROLLBACK].contains(&extended) => (
            Remedy::Look,
            "another program left a write half done, and the database is opened for reading only".to_owned(),
            "open it once with the program that writes it",
        ),
        Some(ReadOnly) => (Remedy::GiveAccess, "the database file may not be written".to_owned(), "give write access to the file and its folder"),
        Some(CannotOpen | PermissionDenied) => (Remedy::GiveAccess, "the database file cannot be opened".to_owned(), "give access to the file and its folder"),
        Some(DiskFull) => (Remedy::GiveAccess, "the disk is full".to_owned(), "make room and run again"),
        Some(SystemIoFailure | OutOfMemory) => {
            (Remedy::GiveAccess, "the database could not be read or written".to_owned(), "look after the disk and run again")
        }
        Some(ErrorCode::Unknown) | None => (Remedy::MendJob, "the database does not understand what it was asked".to_owned(), "mend `table` or `query`"),
        Some(_) => (Remedy::Look, "the database failed".to_owned(), "look after the database, then run again"),
    };
    let told = Error::new(remedy, Place::of(origin), message).seen(format!("the database says: {}", words(error))).seen(kept).hint(hint);
    // Whoever says that nothing was done knows it, and a lock goes.
    if matches!(code_of(error), Some(DatabaseBusy | DatabaseLocked | FileLockingProtocolFailed)) { told.passing() } else { told }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::change::Reason;
    use crate::job::{Gates, Kind, May, Role, SystemSpec};
    use crate::value::Value;

    /// A table of three rows, opened by us and by somebody else. Nobody waits for a lock.
    fn opened_twice(folder: &Path, journal: &str) -> (SqlTable, Connection) {
        let other = Connection::open(folder.join("t.db")).unwrap();
        other.pragma_update(None, "journal_mode", journal).unwrap();
        other.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c');").unwrap();
        let settings = SqlSettings { url: "sqlite:t.db".to_owned(), table: Some("t".to_owned()), query: None };
        let spec = SystemSpec {
            name: "books".to_owned(),
            kind: Kind::Sql(settings.clone()),
            role: Role::Peer,
            may: May::default(),
            only: Vec::new(),
            id: Some("id".to_owned()),
            edited_at: None,
            gates: Gates::default(),
        };
        let columns = vec!["id".to_owned(), "v".to_owned()];
        let table = SqlTable::open(&settings, &Opening { root: folder, job: "j", spec: &spec, columns, known: BTreeMap::new(), state: None }).unwrap();
        for connection in [&table.connection, &other] {
            connection.busy_timeout(Duration::from_millis(20)).unwrap();
        }
        (table, other)
    }

    fn set(id: &str, before: &str, after: &str) -> Change {
        let cell = CellChange {
            field: None,
            column: "v".to_owned(),
            before_raw: Some(Raw::text(before)),
            before: Value::Null,
            after: Value::Null,
            after_raw: Raw::text(after),
            reason: Reason::Standardised,
        };
        Change {
            number: 1,
            system: "books".to_owned(),
            record: 1,
            key: id.to_owned(),
            action: Action::Update,
            address: vec![AddressPart { column: "id".to_owned(), raw: Raw { text: Some(id.to_owned()), storage: Storage::Integer } }],
            cells: vec![cell],
            reason: Reason::Standardised,
            attempts: 0,
            row_id: None,
            row_key_before: None,
            row_key_after: id.to_owned(),
            edited_at: None,
        }
    }

    fn values(connection: &Connection) -> Vec<String> {
        let mut statement = connection.prepare("SELECT v FROM t ORDER BY id").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn a_locked_database_is_an_error_and_nothing_happens() {
        let folder = tempfile::tempdir().unwrap();
        let (mut table, other) = opened_twice(folder.path(), "delete");
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let changes = [set("1", "a", "x")];
        let set = WriteSet { changes: &changes, failures_max: 0, snapshot: None };
        for error in [table.pull().unwrap_err(), table.write(set).unwrap_err()] {
            assert_eq!(error.remedy, Remedy::GiveAccess);
            assert!(error.to_string().contains("the database is locked by another program"), "{error}");
            assert!(error.passing.is_some(), "a lock goes");
        }
        other.execute_batch("COMMIT").unwrap();
        assert_eq!(values(&other), ["a", "b", "c"]);
        assert!(matches!(table.write(set).unwrap()[0], Outcome::Done { .. }));
    }

    #[test]
    fn a_commit_that_is_refused_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (mut table, other) = opened_twice(folder.path(), "delete");
        let mut reading = other.prepare("SELECT v FROM t").unwrap();
        let mut rows = reading.query([]).unwrap();
        rows.next().unwrap();
        let changes = [set("1", "a", "x"), set("2", "not b", "y"), set("3", "c", "z")];
        let set = WriteSet { changes: &changes, failures_max: 0, snapshot: None };
        // A lock is no fault of any change.
        let error = table.write(set).unwrap_err();
        assert_eq!(error.remedy, Remedy::GiveAccess);
        assert!(error.to_string().contains("the database is locked by another program") && error.to_string().contains("nothing was written"), "{error}");
        drop(rows);
        assert_eq!(values(&other), ["a", "b", "c"]);
        assert!(matches!(table.write(set).unwrap()[2], Outcome::Done { .. }), "the next write is not held up");
    }

    #[test]
    fn a_full_disk_undoes_the_whole_set() {
        for journal in ["delete", "wal"] {
            let folder = tempfile::tempdir().unwrap();
            let (mut table, other) = opened_twice(folder.path(), journal);
            let pages: i64 = table.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
            table.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
            let changes = [set("1", "a", "x"), set("2", "b", &"long ".repeat(10_000)), set("3", "c", "z")];
            let error = table.write(WriteSet { changes: &changes, failures_max: 5, snapshot: None }).unwrap_err();
            assert_eq!(error.remedy, Remedy::GiveAccess);
            assert!(error.to_string().contains("the disk is full") && error.to_string().contains("nothing was written"), "{error}");
            assert_eq!(values(&other), ["a", "b", "c"], "{journal}");
            assert_eq!(table.pull().unwrap().height(), 3);
        }
    }

    #[test]
    fn a_pull_sees_one_moment() {
        let folder = tempfile::tempdir().unwrap();
        let (mut table, other) = opened_twice(folder.path(), "wal");
        other.pragma_update(None, "synchronous", "off").unwrap();
        let writing = std::thread::spawn(move || {
            for _ in 0..3_000 {
                other.execute_batch("INSERT INTO t (v) VALUES ('new'), ('new')").unwrap();
            }
        });
        while !writing.is_finished() {
            let pulled = table.pull().unwrap();
            assert_eq!(Some(pulled.evidence.rows_read), pulled.evidence.rows_announced);
            assert_eq!(pulled.height() % 2, 1, "three rows, and pairs that are added at once");
        }
        writing.join().unwrap();
        assert_eq!(table.pull().unwrap().height(), 6_003);
    }

    #[test]
    fn numbers_are_compared_digit_by_digit() {
        for (a, b, same) in [
            ("12.30", "12.3", true),
            ("-0.05", "-5e-2", true),
            ("0", "-0.00", true),
            ("1e3", "1000", true),
            (" 7", "7", true),
            ("9007199254740993", "9007199254740992", false),
            ("1", "-1", false),
            ("10", "1", false),
        ] {
            assert_eq!(significant(a) == significant(b), same, "{a} and {b}");
        }
        for text in ["", "-", ".", "1,5", "0x1f", "inf", "NaN", "1e", "1_000", "٣"] {
            assert_eq!(significant(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_number_that_a_trigger_rounds_is_not_a_lost_digit() {
        let real = |text: &str| Raw { text: Some(text.to_owned()), storage: Storage::Real };
        assert!(!lost_digits("12.345", &real("12.35")));
        assert!(!lost_digits("12.30", &real("12.3")));
        assert!(!lost_digits("12345678901234567.89", &Raw::text("12345678901234567.89")));
        assert!(lost_digits("99999999999999.99", &real("99999999999999.98")));
        assert!(lost_digits("1e400", &real("inf")));
    }

    #[test]
    fn raw_cells_are_bound_as_they_were_read() {
        for cell in [
            ValueRef::Null,
            ValueRef::Integer(i64::MIN),
            ValueRef::Real(0.1 + 0.2),
            ValueRef::Real(1e300),
            ValueRef::Real(f64::MIN_POSITIVE),
            ValueRef::Real(f64::NEG_INFINITY),
            ValueRef::Text(b"x'00'"),
            ValueRef::Blob(&[0, 255, 16]),
            ValueRef::Blob(&[]),
        ] {
            assert_eq!(ValueRef::from(&bound(&raw_of(cell))), cell);
        }
    }
}
