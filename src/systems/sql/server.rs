//! A table, a view or a query on a server: everything that PostgreSQL and MariaDB or MySQL have in common.
//!
//! Every cell travels as text: servers spell a cell themselves on the way out, and cast a text on the way in. So what is pulled, what a
//! write expects and what the server answers are spelled by one expression ([`Dialect::spelled`]), and are compared to the byte.
//!
//! # Words
//! A *session* is one connection, opened when the system is and opened again once it is lost. What is *lost* may have been in the
//! middle of something: before the commit was sent the server takes everything back by itself; after that nobody knows.
//!
//! # Design
//! - **Comparing.** A collation may ignore case, accents and trailing blanks, so each expectation is two: the plain comparison finds the
//!   row by an index, the comparison of its spelling as bytes decides.
//! - **Savepoints.** Each record is wholly written or not at all. Rows that are added with the same columns go in statements of many
//!   rows within one savepoint, and on PostgreSQL so do rows that are set or deleted; a statement that the server refuses is halved until
//!   the row at fault is alone. Rows that do not hold what is expected of them are not among those that such a statement returns: it is
//!   taken back, they are looked at one by one, and those between them are sent again. MariaDB and MySQL return no rows of an update, and
//!   a statement of many would have to find the type of every value for itself, so there each is set by one of its own.
//! - **Rounding.** Servers round a number to the decimals of its column without a word. Such a number is rejected before it is sent, and
//!   one that a binary float would change is taken back.
//! - **Constraints that are looked at when the transaction is committed** refuse the set as a whole: it is halved
//!   by [`batch`], as with SQLite.
//! - **A unique value that another row has** may be free once that row is written, so those changes are tried again at the end.
//!   What is left are swaps ([`swap::rings`]): their rows first take values that nobody has, and then each other's.

use std::collections::BTreeMap;
use std::path::PathBuf;

use polars::prelude::{StringChunkedBuilder, UInt8Chunked};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use super::{FOUND_COLUMNS, WANTED_MAX, lost_digits, names_nothing, place_of, requested, shown, significant, swap};
use crate::change::{Action, AddressPart, CellChange, Change, Outcome};
use crate::diagnostic::{Place, did_you_mean};
use crate::error::{Error, Remedy};
use crate::frame::{Evidence, NO_ROW, Pulled, Quarantined, seed_of_rows};
use crate::job::{DatabaseUrl, Permission, SqlSettings, table_parts};
use crate::systems::batch::{self, Answer, Rejections};
use crate::systems::encryption::{Pem, encryption_as};
use crate::systems::{Description, Look, Opening, System, Wanted, WriteSet, missing_columns};
use crate::value::{Raw, Storage};

/// Rows that are written by one statement.
const ROWS_AT_ONCE: usize = 500;

/// Values that one statement binds at most; both servers count them in 16 bits.
const BOUND_MAX: usize = 30_000;

/// So many rows are set by one statement where each tells case by case what it gets: the server tries one case after the other.
const ROWS_CASE_BY_CASE: usize = 100;

/// So many cases, of all columns, are in such a statement.
const CASES_MAX: usize = 400;

/// The savepoint of the change that is being made.
const SAVEPOINT: &str = "change_made";

/// Which SQL is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    PostgreSql,
    MySql,
}

/// What a column holds, as far as reading and writing it differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Text,
    Integer,
    /// An exact number with this many decimals; nothing where every digit is kept.
    Decimal(Option<u32>),
    /// A binary float of 32 bits, or of 64.
    Float {
        is_single: bool,
    },
    Boolean,
    Date,
    Datetime,
    /// A moment, spelled in UTC.
    Instant,
    /// Anything else that has a spelling and can be compared.
    Other,
    /// What has a spelling and no comparison: documents.
    Document,
    /// What is not read.
    Unreadable,
}

/// A column of what is read or written.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub name: String,
    /// Its type, in the server's words.
    pub declared: String,
    pub class: Class,
    /// What a text is cast to in order to be compared with it; empty where nothing is.
    pub cast: String,
    pub takes_null: bool,
    /// Whether the server fills it when a row is added without it.
    pub has_default: bool,
    /// Whether it counts up by itself, and the session tells where it stands.
    pub counts_up: bool,
}

/// What is known about a table or view.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// As statements name it.
    pub from: String,
    /// Those that the user may read.
    pub columns: Vec<Column>,
    /// Those that the user may not read, as far as the server names them.
    pub unreadable: Vec<String>,
    /// The columns of its primary key, in the key's order; none if the user may not read all of them.
    pub key: Vec<String>,
    /// Why it cannot be written, whoever asks: a view, an engine without transactions.
    pub unwritable: Option<String>,
    /// Whether rows of other tables refer to rows of this one.
    pub is_referred_to: bool,
}

impl Table {
    fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// What a failed call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection broke, or the server ended it.
    Lost,
    /// Nobody answers there just now.
    Unreachable,
    /// There is no such host.
    UnknownHost,
    /// The user or the password.
    Login,
    /// The encryption, or the certificate.
    Encryption,
    /// There is no such database.
    NoDatabase,
    /// The user may not.
    Forbidden,
    /// Nothing may be written here at all.
    ReadOnly,
    /// Another program is in the way.
    Busy,
    /// No room.
    Full,
    /// The data of a change.
    Refused,
    /// The data of a change: another row has a value that only one may have.
    Taken,
    /// The statement itself.
    Statement,
    /// Anything else.
    Other,
}

/// Why a call to a server failed, with the server's words, in which no password stands.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub fault: Fault,
    pub words: String,
    /// What helps, where that is known better than from the fault alone.
    pub hint: Option<&'static str>,
    /// Whether these are the server's own words.
    pub is_told: bool,
}

impl Failure {
    /// One that the server said nothing about.
    pub fn ours(fault: Fault, words: impl Into<String>) -> Failure {
        Failure { fault, words: words.into(), hint: None, is_told: false }
    }

    fn is_refusal(&self) -> bool {
        matches!(self.fault, Fault::Refused | Fault::Taken)
    }
}

/// What a statement gave.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub rows: Vec<Vec<Option<String>>>,
    /// How many rows it touched, where it delivers none.
    pub touched: u64,
    /// The number that the first row got, where rows count up.
    pub first_number: Option<u64>,
}

/// One row of a stream: a text, as bytes, for each cell.
pub(super) type Cells<'c> = &'c [Option<&'c [u8]>];

/// One connection.
pub(super) trait Session: Send {
    /// Runs a statement and gives everything that it delivers.
    fn run(&mut self, statement: &Statement) -> Result<Given, Failure>;
    /// Runs a statement that binds and delivers nothing.
    fn command(&mut self, text: &str) -> Result<(), Failure>;
    /// Hands on every row of a query. It binds nothing if `is_bulk`.
    fn stream(&mut self, statement: &Statement, is_bulk: bool, row: &mut dyn FnMut(Cells<'_>)) -> Result<(), Failure>;
    /// The columns of what stands after `FROM`.
    fn columns_of(&mut self, from: &str) -> Result<Vec<Column>, Failure>;
    /// A table or view by its name, in its parts; nothing if it is not there.
    fn table(&mut self, parts: &[String]) -> Result<Option<Table>, Failure>;
    /// The names of all tables and views.
    fn tables(&mut self) -> Result<Vec<String>, Failure>;
    /// Why this user may not write the table, and what helps; nothing if he may. Changes nothing.
    fn why_not_writable(&mut self, table: &Table, may: Rights) -> Result<Option<(String, String)>, Failure>;
    /// Begins to read one moment.
    fn begin_reading(&mut self) -> Result<(), Failure>;
    /// Begins to write.
    fn begin_writing(&mut self) -> Result<(), Failure>;
    /// Whether it was lost.
    fn is_lost(&self) -> bool;
}

/// What a job does with a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rights {
    pub create: bool,
    pub update: bool,
    pub delete: bool,
}

/// The files of an encrypted connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    /// The authorities that are trusted; the well-known ones if there is none.
    pub authorities: Option<PathBuf>,
    /// Our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl Files {
    /// How connections are encrypted.
    pub fn encryption(&self) -> Result<rustls::ClientConfig, Failure> {
        let identity = self.identity.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
        encryption_as(self.authorities.as_deref(), identity).map_err(|(file, why)| {
            let (name, hint) = match file {
                Pem::Authorities => ("sslrootcert", "`sslrootcert` names a file with `-----BEGIN CERTIFICATE-----` blocks, relative to the root"),
                Pem::Certificate => ("sslcert", "`sslcert` names a file with `-----BEGIN CERTIFICATE-----` blocks, relative to the root"),
                Pem::Key => ("sslkey", "`sslkey` names a file with one `-----BEGIN PRIVATE KEY-----` block, relative to the root"),
            };
            Failure { hint: Some(hint), ..Failure::ours(Fault::Encryption, format!("the file of `{name}` {why}")) }
        })
    }
}

/// Opens a session.
pub(super) type Connect = Box<dyn Fn() -> Result<Box<dyn Session>, Failure> + Send>;

// ── statements ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/// A statement that grows, with the values of its placeholders. A name never gets into it unquoted and a value never gets into it.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    dialect: Dialect,
    pub text: String,
    pub values: Vec<Option<String>>,
}

impl Statement {
    pub fn new(dialect: Dialect, text: impl Into<String>) -> Statement {
        Statement { dialect, text: text.into(), values: Vec::new() }
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// A placeholder, which the value is bound to; the server takes it for a text.
    pub fn bind(&mut self, value: Option<String>) {
        self.values.push(value);
        self.placeholder(self.values.len());
    }

    fn placeholder(&mut self, number: usize) {
        match self.dialect {
            Dialect::PostgreSql => self.text.push_str(&format!("${number}::text")),
            Dialect::MySql => self.text.push('?'),
        }
    }

    /// A placeholder for a value that a column gets.
    fn bind_new(&mut self, column: &Column, value: Option<String>) {
        self.bind(value);
        // Texts are assigned as they are: a cast to a column's length would cut them without a word.
        if self.dialect == Dialect::PostgreSql && column.class != Class::Text {
            self.text.push_str(&format!("::{}", column.cast));
        }
    }

    fn list<T>(&mut self, items: impl IntoIterator<Item = T>, between: &str, mut one: impl FnMut(&mut Statement, T)) {
        for (position, item) in items.into_iter().enumerate() {
            if position > 0 {
                self.text.push_str(between);
            }
            one(self, item);
        }
    }

    /// That a column of the row holds exactly this.
    fn holds(&mut self, column: &Column, raw: &Raw) {
        let name = self.dialect.column(&column.name);
        let Some(text) = &raw.text else {
            self.push(&format!("{name} IS NULL"));
            return;
        };
        let spelled = self.dialect.spelled(column);
        match self.dialect {
            Dialect::PostgreSql => {
                self.push("(");
                if column.class != Class::Document {
                    self.push(&format!("{name} = "));
                    self.bind(Some(text.clone()));
                    self.push(&format!("::{} AND ", column.cast));
                    self.push(&format!("{spelled} COLLATE \"C\" = "));
                    self.placeholder(self.values.len());
                } else {
                    self.push(&format!("{spelled} COLLATE \"C\" = "));
                    self.bind(Some(text.clone()));
                }
                self.push(")");
            }
            Dialect::MySql => {
                self.push("(");
                match column.class {
                    Class::Document | Class::Unreadable => {}
                    Class::Float { is_single } => {
                        // A float of 32 bits is compared as the number of 64 bits that it is.
                        let number = if is_single { text.parse::<f32>().map(f64::from) } else { text.parse::<f64>() };
                        self.push(&format!("{name} = CAST("));
                        self.bind(Some(number.map_or_else(|_| text.clone(), |number| format!("{number:?}"))));
                        self.push(" AS DOUBLE))");
                        return;
                    }
                    _ => {
                        self.push(&format!("{name} = "));
                        self.bind_as(column, text);
                        self.push(" AND ");
                    }
                }
                self.push(&format!("CAST({spelled} AS BINARY) = CAST("));
                self.bind(Some(text.clone()));
                self.push(" AS BINARY))");
            }
        }
    }

    /// A placeholder that is compared with a column in the column's own type.
    fn bind_as(&mut self, column: &Column, text: &str) {
        match (self.dialect, column.class) {
            (Dialect::PostgreSql, _) => {
                self.bind(Some(text.to_owned()));
                self.push(&format!("::{}", column.cast));
            }
            (Dialect::MySql, Class::Integer | Class::Boolean | Class::Decimal(_)) => {
                self.push("CAST(");
                self.bind(Some(text.to_owned()));
                self.push(&format!(" AS {})", column.cast));
            }
            (Dialect::MySql, Class::Instant) => self.bind(Some(text.trim_end_matches('Z').to_owned())),
            (Dialect::MySql, _) => self.bind(Some(text.to_owned())),
        }
    }
}

/// The row that is read or written, in statements.
pub(super) const ROW: &str = "r";

impl Dialect {
    pub fn quoted(self, name: &str) -> String {
        match self {
            Dialect::PostgreSql => super::statement::quoted(name),
            Dialect::MySql => format!("`{}`", name.replace('`', "``")),
        }
    }

    fn column(self, name: &str) -> String {
        format!("{ROW}.{}", self.quoted(name))
    }

    /// A cell as text.
    pub fn spelled(self, column: &Column) -> String {
        let name = self.column(&column.name);
        match (self, column.class) {
            (Dialect::PostgreSql, _) => format!("{name}::text"),
            // A float is delivered as the number that it is, and spelled here: the server would cut its digits.
            (Dialect::MySql, Class::Float { .. }) => name,
            (Dialect::MySql, Class::Unreadable) => format!("HEX({name})"),
            (Dialect::MySql, Class::Instant) => format!("CONCAT(CONVERT({name} USING utf8mb4), 'Z')"),
            (Dialect::MySql, _) => format!("CONVERT({name} USING utf8mb4)"),
        }
    }
}

impl Class {
    /// How a cell of this class was stored.
    fn storage(self, text: &[u8]) -> Storage {
        match self {
            Class::Integer => Storage::Integer,
            Class::Decimal(_) | Class::Float { .. } if text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-') => Storage::Integer,
            Class::Decimal(_) | Class::Float { .. } => Storage::Real,
            Class::Date | Class::Datetime | Class::Instant => Storage::Date,
            Class::Text | Class::Boolean | Class::Other | Class::Document | Class::Unreadable => Storage::Text,
        }
    }

    fn raw(self, text: Option<String>) -> Raw {
        let storage = text.as_ref().map_or(Storage::Text, |text| self.storage(text.as_bytes()));
        Raw { text, storage }
    }
}

// ── the system ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/// A table, a view or a query on a server.
pub(super) struct ServerTable {
    dialect: Dialect,
    connect: Connect,
    session: Option<Box<dyn Session>>,
    system: String,
    origin: String,
    requested: Vec<String>,
    id: Option<String>,
    known: BTreeMap<String, String>,
    /// What stands after `FROM`.
    from: String,
    /// Its columns, in their order.
    columns: Vec<Column>,
    /// What gives its rows a stable order.
    order: Vec<String>,
    table: Option<Table>,
    rights: Rights,
    may_write: bool,
    /// Whether it is on another machine, and everybody in between can read along.
    is_open: bool,
}

impl ServerTable {
    /// Opens a session and finds the table.
    ///
    /// # Errors
    /// [`Remedy::MendJob`] for a table, a column or a database that is not there or cannot be read; [`Remedy::GiveAccess`] for a server
    /// that cannot be reached or does not let us in.
    pub fn open(dialect: Dialect, connect: Connect, settings: &SqlSettings, opening: &Opening<'_>) -> Result<ServerTable, Error> {
        let system = opening.spec.name.clone();
        let origin = opening.spec.kind.place();
        let may = opening.spec.may;
        let rights = Rights { create: may.create != Permission::Never, update: may.update != Permission::Never, delete: may.delete != Permission::Never };
        let may_write = opening.spec.role.is_written() && (rights.create || rights.update || rights.delete);
        let failed = |failure: Failure| server_error(&origin, &failure, "nothing was read");
        let mut session = connect().map_err(failed)?;
        let table = match &settings.table {
            None => None,
            Some(name) => {
                let parts = table_parts(name)
                    .map_err(|what| Error::new(Remedy::MendJob, Place::of(&origin), format!("the name of table `{name}` {what}")).seen("nothing was read"))?;
                match session.table(&parts).map_err(failed)? {
                    Some(table) => Some(table),
                    None => return Err(missing_table(&origin, &system, name, &session.tables().map_err(failed)?)),
                }
            }
        };
        let (from, columns, order) = match (&settings.query, &table) {
            (Some(query), _) => {
                let from = format!("({}\n)", query.trim_end().trim_end_matches(';'));
                let columns = session.columns_of(&from).map_err(failed)?;
                (from, columns, Vec::new())
            }
            (None, Some(table)) => (table.from.clone(), table.columns.clone(), table.key.iter().map(|name| dialect.column(name)).collect()),
            (None, None) => return Err(names_nothing(&system, &origin)),
        };
        let requested = requested(opening);
        let (id, known) = (opening.spec.id.clone(), opening.known.clone());
        Ok(ServerTable {
            dialect,
            connect,
            session: Some(session),
            system,
            origin,
            requested,
            id,
            known,
            from,
            columns,
            order,
            table,
            rights,
            may_write,
            is_open: false,
        })
    }

    /// The session; a new one if the last one was lost.
    fn session(&mut self) -> Result<&mut dyn Session, Failure> {
        if self.session.as_ref().is_none_or(|session| session.is_lost()) {
            self.session = None;
        }
        match self.session {
            Some(ref mut session) => Ok(session.as_mut()),
            ref mut none @ None => Ok(none.insert((self.connect)()?).as_mut()),
        }
    }

    /// The session with a transaction begun. One that was lost since it was used last is opened again.
    fn begun(&mut self, begin: fn(&mut dyn Session) -> Result<(), Failure>) -> Result<&mut dyn Session, Failure> {
        match begin(self.session()?) {
            Err(failure) if failure.fault == Fault::Lost => {
                self.session = None;
                begin(self.session()?)?;
            }
            other => other?,
        }
        self.session()
    }

    fn names(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.name.clone()).collect()
    }

    fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// That these columns are there and can be read.
    fn require(&self, needed: &[String]) -> Result<(), Error> {
        let forbidden = self.forbidden();
        if let Some(name) = needed.iter().find(|name| forbidden.contains(name) && self.column(name).is_none()) {
            let message = format!("the user may not read column `{name}` of system `{}`", self.system);
            return Err(Error::new(Remedy::GiveAccess, Place::of(&self.origin), message)
                .seen("nothing was read")
                .hint("grant the user the right to SELECT this column, or leave it out of the job"));
        }
        if let Some(error) = missing_columns(&self.origin, &self.system, needed, &self.names()) {
            return Err(match self.dialect {
                Dialect::PostgreSql => error,
                Dialect::MySql => error.seen("the server does not show a column that the user may not read"),
            });
        }
        let unreadable = needed.iter().filter_map(|name| self.column(name)).find(|column| column.class == Class::Unreadable);
        match unreadable {
            None => Ok(()),
            Some(column) => {
                let message = format!("column `{}` of system `{}` is of type `{}`, which is not read", column.name, self.system, column.declared);
                Err(Error::new(Remedy::MendJob, Place::of(&self.origin), message)
                    .seen("nothing was read")
                    .hint("leave the column out, or read a query that makes a text of it"))
            }
        }
    }

    /// The table that is written.
    fn writable(&self) -> Result<&Table, Error> {
        let refused = |message: String| Error::new(Remedy::MendJob, Place::of(&self.origin), message).seen("nothing was written");
        let table = match &self.table {
            Some(table) => match &table.unwritable {
                None => table,
                Some(why) => {
                    return Err(
                        refused(format!("{} cannot be written: {why}", table.from)).hint("name the table behind it, or make the system a source or a witness")
                    );
                }
            },
            None => return Err(refused(format!("system `{}` reads a query and names no table to write", self.system)).hint(r#"add `table = "..."`"#)),
        };
        if !self.may_write {
            return Err(refused(format!("system `{}` may not be written: its role or its `may` says so", self.system)));
        }
        Ok(table)
    }

    /// Reads all rows, or those that meet a condition, in one transaction. Only a full read counts what it should find.
    fn read(&mut self, condition: Option<Statement>) -> Result<Pulled, Error> {
        self.require(&self.requested)?;
        let origin = self.origin.clone();
        let result = self.read_within(condition);
        if let Some(session) = &mut self.session {
            // A session that does not answer any more is opened anew the next time.
            if session.command("ROLLBACK").is_err() {
                self.session = None;
            }
        }
        match result {
            Ok(pulled) => pulled,
            Err(failure) => Err(server_error(&origin, &failure, "nothing was read")),
        }
    }

    fn read_within(&mut self, condition: Option<Statement>) -> Result<Result<Pulled, Error>, Failure> {
        let dialect = self.dialect;
        let is_full = condition.is_none();
        let from = self.from.clone();
        let session = self.begun(|session| session.begin_reading())?;
        let announced = match is_full {
            false => None,
            true => {
                let given = session.run(&Statement::new(dialect, format!("SELECT CAST(count(*) AS {}) FROM {from} AS {ROW}", dialect.text_type())))?;
                given.rows.first().and_then(|row| row.first().cloned().flatten()).and_then(|count| count.parse::<u64>().ok())
            }
        };
        if announced.is_some_and(|rows| rows >= u64::from(NO_ROW)) {
            let message = format!("`{}` has more rows than one snapshot holds", self.system);
            return Ok(Err(Error::new(Remedy::Look, Place::of(&self.origin), message)
                .seen(format!("{} rows, at most {}", announced.unwrap_or_default(), NO_ROW - 1))
                .seen("nothing was read")));
        }
        let spelled: Vec<String> = self.columns.iter().map(|column| dialect.spelled(column)).collect();
        let mut statement = Statement::new(dialect, format!("SELECT {} FROM {from} AS {ROW}", spelled.join(", ")));
        if let Some(condition) = condition {
            statement.push(" WHERE ");
            statement.push(&condition.text);
            statement.values = condition.values;
        }
        if !self.order.is_empty() {
            statement.push(" ORDER BY ");
            statement.push(&self.order.join(", "));
        }
        let mut reader = RowReader::new(self, usize::try_from(announced.unwrap_or_default()).unwrap_or_default());
        let mut session = self.session.take();
        let streamed = match &mut session {
            Some(session) => session.stream(&statement, is_full, &mut |cells| reader.read(cells)),
            None => Err(Failure::ours(Fault::Lost, "the connection is closed")),
        };
        let finished = streamed.map(|()| {
            let evidence = self.evidence(reader.position, announced);
            reader.finish(evidence)
        });
        self.session = session;
        finished.map(Ok)
    }

    /// The columns that the user may not read.
    fn forbidden(&self) -> &[String] {
        self.table.as_ref().map_or(&[], |table| &table.unreadable)
    }

    fn evidence(&self, rows_read: u64, rows_announced: Option<u64>) -> Evidence {
        let spelled: Vec<String> = self.columns.iter().map(|column| format!("{} {}", column.name, column.declared)).collect();
        let columns = spelled.join(", ");
        let mut notes = Vec::new();
        if let Some(before) = self.known.get(FOUND_COLUMNS).filter(|before| **before != columns) {
            notes.push(format!("the columns of `{}` changed: they were {before}, they are {columns}", self.system));
        }
        if let [_, ..] = self.forbidden() {
            let names: Vec<String> = self.forbidden().iter().map(|name| format!("`{name}`")).collect();
            notes.push(format!("what the user of `{}` may not read was not looked at: {}", self.system, names.join(", ")));
        }
        if self.is_open {
            notes.push(format!("the connection to `{}` is not encrypted: whoever is in between can read and change what is sent", self.system));
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
    /// everything. Finds too much rather than too little: each part of an address is looked for by itself.
    fn wanted(&self, wanted: &Wanted) -> Option<Statement> {
        let mut shapes: BTreeMap<Vec<&str>, Vec<&[AddressPart]>> = BTreeMap::new();
        for address in &wanted.addresses {
            shapes.entry(address.iter().map(|part| part.column.as_str()).collect()).or_default().push(address);
        }
        let mut condition = Statement::new(self.dialect, "(1 = 0");
        for (names, addresses) in shapes {
            let columns: Option<Vec<&Column>> = names.iter().map(|name| self.column(name)).collect();
            let columns = columns.filter(|columns| !columns.is_empty())?;
            condition.push(" OR ");
            condition.list(columns.iter().enumerate(), " AND ", |condition, (position, column)| {
                let raws: Vec<&Raw> = addresses.iter().map(|address| &address[position].raw).collect();
                condition.any_of(column, &raws);
            });
            if condition.values.len() > WANTED_MAX {
                return None;
            }
        }
        condition.push(")");
        Some(condition)
    }
}

impl Dialect {
    fn text_type(self) -> &'static str {
        match self {
            Dialect::PostgreSql => "text",
            Dialect::MySql => "CHAR",
        }
    }
}

impl Statement {
    /// That a column of the row holds one of these, or perhaps something that is compared as equal.
    fn any_of(&mut self, column: &Column, raws: &[&Raw]) {
        let name = self.dialect.column(&column.name);
        let with_null = raws.iter().any(|raw| raw.text.is_none());
        let texts = raws.iter().filter_map(|raw| raw.text.as_deref());
        self.push("(");
        let mut count = 0;
        // A text that is no value of the column's type would be an error, and is in no row.
        let (left, is_typed): (String, bool) = match column.class {
            Class::Text => (name.clone(), true),
            Class::Integer => (name.clone(), true),
            Class::Other if column.is_uuid() => (name.clone(), true),
            _ if self.dialect == Dialect::MySql && matches!(column.class, Class::Float { .. }) => (name.clone(), true),
            _ => (self.dialect.spelled(column), false),
        };
        for text in texts {
            let text = match column.class {
                Class::Integer => match text.trim().parse::<i128>() {
                    Ok(number) if column.holds_integer(number) => number.to_string(),
                    _ => continue,
                },
                Class::Other if column.is_uuid() && !is_uuid(text) => continue,
                _ => text.to_owned(),
            };
            if self.dialect == Dialect::MySql
                && let Class::Float { is_single } = column.class
            {
                let Ok(number) = (if is_single { text.parse::<f32>().map(f64::from) } else { text.parse::<f64>() }) else { continue };
                self.push(if count > 0 { " OR " } else { "" });
                self.push(&format!("{left} = CAST("));
                self.bind(Some(format!("{number:?}")));
                self.push(" AS DOUBLE)");
                count += 1;
                continue;
            }
            self.push(&if count > 0 { ", ".to_owned() } else { format!("{left} IN (") });
            if is_typed {
                self.bind_as(column, &text)
            } else {
                self.bind(Some(text))
            }
            count += 1;
        }
        let is_list = !(self.dialect == Dialect::MySql && matches!(column.class, Class::Float { .. }));
        match (count, is_list) {
            (0, _) => self.push("1 = 0"),
            (_, true) => self.push(")"),
            (_, false) => {}
        }
        if with_null {
            self.push(&format!(" OR {name} IS NULL"));
        }
        self.push(")");
    }
}

/// Whether a text is spelled as servers spell a `uuid`.
fn is_uuid(text: &str) -> bool {
    let is_right = |(position, byte): (usize, u8)| if matches!(position, 8 | 13 | 18 | 23) { byte == b'-' } else { byte.is_ascii_hexdigit() };
    text.len() == 36 && text.bytes().enumerate().all(is_right)
}

impl Column {
    fn is_uuid(&self) -> bool {
        self.declared == "uuid"
    }

    /// Whether a whole number is within the bounds of the column's type.
    fn holds_integer(&self, number: i128) -> bool {
        let bounds = match (self.cast.as_str(), self.declared.as_str()) {
            ("smallint" | "\"int2\"", _) => i128::from(i16::MIN)..=i128::from(i16::MAX),
            ("integer" | "\"int4\"", _) => i128::from(i32::MIN)..=i128::from(i32::MAX),
            ("UNSIGNED", _) => 0..=i128::from(u64::MAX),
            _ => i128::from(i64::MIN)..=i128::from(i64::MAX),
        };
        bounds.contains(&number)
    }
}

impl System for ServerTable {
    fn describe(&self) -> Description {
        let table = self.table.as_ref().filter(|table| table.unwritable.is_none());
        let fills_id = table.zip(self.id.as_ref()).and_then(|(table, id)| table.column(id)).is_some_and(|column| match self.dialect {
            Dialect::PostgreSql => column.has_default,
            // What a default made is only told for numbers that count up.
            Dialect::MySql => column.counts_up,
        });
        Description { atomic: true, writable: table.is_some(), fills_id }
    }

    fn columns(&mut self) -> Result<Vec<String>, Error> {
        self.require(&self.requested)?;
        Ok(self.names())
    }

    fn pull(&mut self) -> Result<Pulled, Error> {
        self.read(None)
    }

    fn look(&mut self) -> Result<Look, Error> {
        let pulled = self.read(None)?.whole()?;
        let floats = self.names().into_iter().filter(|name| self.column(name).is_some_and(|column| matches!(column.class, Class::Float { .. }))).collect();
        Ok(Look { pulled, is_part: false, others: Vec::new(), floats })
    }

    fn prepare(&mut self) -> Result<(), Error> {
        let table = self.writable()?.clone();
        let (origin, rights) = (self.origin.clone(), self.rights);
        let failed = |failure: Failure| server_error(&origin, &failure, "nothing was written");
        let session = self.session().map_err(failed)?;
        let why = match session.why_not_writable(&table, rights) {
            Err(failure) if failure.fault == Fault::Lost => {
                self.session = None;
                self.session().map_err(failed)?.why_not_writable(&table, rights).map_err(failed)?
            }
            other => other.map_err(failed)?,
        };
        match why {
            None => Ok(()),
            Some((message, hint)) => Err(Error::new(Remedy::GiveAccess, Place::of(&self.origin), message).seen("nothing was written").hint(hint)),
        }
    }

    fn write(&mut self, set: WriteSet<'_>) -> Result<Vec<Outcome>, Error> {
        let table = self.writable()?.clone();
        let id = self.id.clone();
        batch::send(set.changes, set.failures_max, &mut |changes, rejections| {
            let (dialect, origin) = (self.dialect, self.origin.clone());
            let session = self.begun(|session| session.begin_writing()).map_err(|failure| server_error(&origin, &failure, "nothing was written"))?;
            let mut writer = Writer { dialect, session, table: &table, id: id.as_deref(), origin: &origin };
            writer.transaction(changes, rejections)
        })
    }

    fn read_back(&mut self, wanted: &Wanted) -> Result<Pulled, Error> {
        let mut addressed: Vec<String> = wanted.addresses.iter().flatten().map(|part| part.column.clone()).collect();
        addressed.sort_unstable();
        addressed.dedup();
        if let Some(error) = missing_columns(&self.origin, &self.system, &addressed, &self.names()) {
            return Err(error);
        }
        self.read(self.wanted(wanted))
    }
}

// ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Turns rows into columns, without a text of its own for any cell.
struct RowReader {
    origin: String,
    names: Vec<String>,
    classes: Vec<Class>,
    is_requested: Vec<bool>,
    id: Option<usize>,
    columns: Vec<(usize, StringChunkedBuilder, Vec<u8>)>,
    position: u64,
    lines: Vec<u64>,
    hashes: Vec<u128>,
    refused: Vec<Quarantined>,
    row_bytes: Vec<u8>,
    seed: u64,
}

impl RowReader {
    fn new(table: &ServerTable, capacity: usize) -> RowReader {
        let names = table.names();
        let index_of = |name: &String| names.iter().position(|there| there == name);
        let columns: Vec<(usize, StringChunkedBuilder, Vec<u8>)> = table
            .requested
            .iter()
            .filter_map(index_of)
            .map(|index| (index, StringChunkedBuilder::new("".into(), capacity), Vec::with_capacity(capacity)))
            .collect();
        let mut is_requested = vec![false; names.len()];
        columns.iter().for_each(|(index, _, _)| is_requested[*index] = true);
        RowReader {
            origin: table.origin.clone(),
            id: table.id.as_ref().and_then(index_of),
            seed: seed_of_rows(names.iter().map(String::as_str)),
            classes: table.columns.iter().map(|column| column.class).collect(),
            names,
            is_requested,
            columns,
            position: 0,
            lines: Vec::with_capacity(capacity),
            hashes: Vec::with_capacity(capacity),
            refused: Vec::new(),
            row_bytes: Vec::new(),
        }
    }

    /// Takes one row. A row with an unreadable cell in a requested column is set aside.
    fn read(&mut self, cells: Cells<'_>) {
        self.position += 1;
        self.row_bytes.clear();
        let mut unreadable = None;
        for (index, cell) in cells.iter().enumerate() {
            let Some(text) = cell else {
                self.row_bytes.push(0);
                continue;
            };
            self.row_bytes.push(1);
            self.row_bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            self.row_bytes.extend_from_slice(text);
            if unreadable.is_none() && self.is_requested[index] {
                unreadable = why_unreadable(self.classes[index], text).map(|why| (index, why));
            }
        }
        if let Some((index, why)) = unreadable {
            let text = |index: usize| cells[index].map(|text| String::from_utf8_lossy(text).chars().take(200).collect::<String>());
            self.refused.push(Quarantined {
                origin: self.origin.clone(),
                line: self.position,
                column: Some(self.names[index].clone()),
                field: None,
                raw: text(index),
                reason: why.to_owned(),
                key: None,
                id: self.id.filter(|id| *id != index).and_then(text),
            });
            return;
        }
        for (index, texts, storage) in &mut self.columns {
            match cells[*index].map(|bytes| (bytes, std::str::from_utf8(bytes))) {
                Some((bytes, Ok(text))) => {
                    texts.append_value(text);
                    storage.push(self.classes[*index].storage(bytes) as u8);
                }
                _ => {
                    texts.append_null();
                    storage.push(Storage::Text as u8);
                }
            }
        }
        self.lines.push(self.position);
        self.hashes.push(xxh3_128_with_seed(&self.row_bytes, self.seed));
    }

    fn finish(self, evidence: Evidence) -> Pulled {
        let names = self.names;
        let columns = self.columns.into_iter().map(|(index, texts, storage)| {
            let storage = UInt8Chunked::from_vec("".into(), storage);
            (names[index].clone(), texts.finish(), Some(storage))
        });
        Pulled::new(columns.collect(), self.lines, self.hashes, self.refused, evidence)
    }
}

/// Why a cell cannot be taken for what its column says it is.
fn why_unreadable(class: Class, text: &[u8]) -> Option<&'static str> {
    match class {
        Class::Date | Class::Datetime | Class::Instant if text.starts_with(b"0000-") || text.get(4..8) == Some(b"-00-") || text.get(7..10) == Some(b"-00") => {
            Some("the database holds a date that no calendar has")
        }
        Class::Text | Class::Other | Class::Document if std::str::from_utf8(text).is_err() => Some("the text is not valid UTF-8"),
        _ => None,
    }
}

// ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// What became of changes that were sent in one statement.
enum Together {
    /// All were made; one outcome for each.
    Whole(Vec<Outcome>),
    /// Those at these positions were not, and the others were; to be taken back.
    Without(Vec<usize>),
    /// Nothing certain; to be taken back.
    Apart,
}

/// What is sent with a statement for many rows.
const SENT: &str = "v";

/// Makes changes in a transaction that has begun.
struct Writer<'w> {
    dialect: Dialect,
    session: &'w mut dyn Session,
    table: &'w Table,
    id: Option<&'w str>,
    origin: &'w str,
}

impl Writer<'_> {
    /// Makes `changes` and commits. An error means that nothing was written.
    fn transaction(&mut self, changes: &[&Change], rejections: Rejections) -> Result<Answer, Error> {
        let mut outcomes = match self.attempt(changes, rejections) {
            Ok(outcomes) => outcomes,
            Err(failure) => {
                // The server takes back by itself what it was not told to commit.
                let _ = self.session.command("ROLLBACK");
                return Err(server_error(self.origin, &failure, "nothing was written"));
            }
        };
        let Err(failure) = self.session.command("COMMIT") else { return Ok(Answer::Each(outcomes)) };
        if failure.is_refusal() {
            let _ = self.session.command("ROLLBACK");
            return Ok(Answer::Refused(format!("the database refused to commit: {}", failure.words)));
        }
        if matches!(failure.fault, Fault::Busy | Fault::Full) {
            let _ = self.session.command("ROLLBACK");
            return Err(server_error(self.origin, &failure, "nothing was written"));
        }
        let reason = format!("the connection was lost while the changes were committed: {}", failure.words);
        for outcome in outcomes.iter_mut().filter(|outcome| matches!(outcome, Outcome::Done { .. })) {
            *outcome = Outcome::Unknown { reason: reason.clone() };
        }
        Ok(Answer::Each(outcomes))
    }

    fn attempt(&mut self, changes: &[&Change], mut rejections: Rejections) -> Result<Vec<Outcome>, Failure> {
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(changes.len());
        // Those whose new value another row still has: it may give it up yet.
        let mut waiting: Vec<usize> = Vec::new();
        while outcomes.len() < changes.len() {
            let index = outcomes.len();
            let alike = self.alike(&changes[index..]);
            self.make_together(changes, index, alike, &mut rejections, &mut outcomes, &mut waiting)?;
            if !waiting.is_empty() && (rejections.stop().is_some() || outcomes.len() == changes.len()) {
                rejections.forgive(self.make_those_that_wait(changes, &mut waiting, &mut outcomes)?);
            }
        }
        Ok(outcomes)
    }

    /// How many of these changes, from the first on, can be made by one statement: rows that are added, set or deleted by the same columns.
    fn alike(&self, changes: &[&Change]) -> usize {
        let Some(first) = changes.first() else { return 1 };
        let is_one_by_one = match first.action {
            Action::Create => first.cells.is_empty(),
            Action::Update | Action::Archive | Action::Delete => !self.is_found_by_value(first),
        };
        if is_one_by_one {
            return 1;
        }
        let most = match (self.dialect, first.action) {
            (Dialect::MySql, Action::Update | Action::Archive | Action::Delete) => ROWS_CASE_BY_CASE.min(CASES_MAX / first.cells.len().max(1)),
            _ => ROWS_AT_ONCE.min(BOUND_MAX / (first.address.len() + 2 * first.cells.len()).max(1)),
        };
        let most = most.max(1);
        let is_alike = |change: &&&Change| {
            change.action == first.action
                && change.cells.len() == first.cells.len()
                && change.cells.iter().zip(&first.cells).all(|(a, b)| a.column == b.column && a.before_raw.is_some() == b.before_raw.is_some())
                && (first.action == Action::Create
                    || change.address.len() == first.address.len()
                        && change.address.iter().zip(&first.address).all(|(a, b)| a.column == b.column)
                        && self.is_found_by_value(change))
        };
        changes.iter().take(most).take_while(is_alike).count()
    }

    /// Whether a change's row is found by values that are compared, which the change leaves as they are; and it does something.
    fn is_found_by_value(&self, change: &Change) -> bool {
        let is_column = |name: &str| self.table.column(name).is_some_and(|column| column.class != Class::Unreadable);
        let is_compared = |part: &AddressPart| {
            part.raw.text.is_some()
                && self.table.column(&part.column).is_some_and(|column| !matches!(column.class, Class::Document | Class::Unreadable))
                && (change.action == Action::Delete || change.cells.iter().all(|cell| cell.column != part.column))
        };
        !change.address.is_empty()
            && change.address.iter().all(is_compared)
            && change.cells.iter().all(|cell| is_column(&cell.column))
            && (change.action == Action::Delete || !change.cells.is_empty())
    }

    /// Sets or deletes rows by one statement, each only if it still holds what its change expects. Wholly, or told which rows are left.
    /// `values` are what is sent for each cell of each change.
    fn set_together(&mut self, changes: &[&Change], values: Vec<Vec<Option<String>>>) -> Result<Together, Failure> {
        let (dialect, table, first) = (self.dialect, self.table, changes[0]);
        let is_delete = first.action == Action::Delete;
        let mut left = Vec::new();
        let of = |name: &str| table.column(name).ok_or_else(|| Failure::ours(Fault::Refused, format!("there is no column `{name}`")));
        let address: Vec<&Column> = first.address.iter().map(|part| of(&part.column)).collect::<Result<_, _>>()?;
        let cells: Vec<&Column> = first.cells.iter().map(|cell| of(&cell.column)).collect::<Result<_, _>>()?;
        // The columns of what is sent: its number, `a`ddress, what was `b`efore, and what is `c`hanged.
        let mut names = vec!["n".to_owned()];
        names.extend((0..address.len()).map(|index| format!("a{index}")));
        let expected: Vec<usize> = (0..cells.len()).filter(|index| first.cells[*index].before_raw.is_some()).collect();
        names.extend(expected.iter().map(|index| format!("b{index}")));
        if !is_delete {
            names.extend((0..cells.len()).map(|index| format!("c{index}")));
        }
        let mut statement = Statement::new(dialect, "");
        match is_delete {
            true => statement.push(&format!("DELETE FROM {} AS {ROW} USING (VALUES ", table.from)),
            false => {
                statement.push(&format!("UPDATE {} AS {ROW} SET ", table.from));
                statement.list(cells.iter().enumerate(), ", ", |statement, (index, column)| {
                    let cast = if column.class == Class::Text { String::new() } else { format!("::{}", column.cast) };
                    statement.push(&format!("{} = {SENT}.c{index}{cast}", dialect.quoted(&column.name)));
                });
                statement.push(" FROM (VALUES ");
            }
        }
        statement.list(changes.iter().zip(values).enumerate(), ", ", |statement, (number, (change, new))| {
            statement.push(&format!("({number}"));
            let before = expected.iter().map(|index| change.cells[*index].before_raw.as_ref().and_then(|raw| raw.text.clone()));
            for value in change.address.iter().map(|part| part.raw.text.clone()).chain(before).chain(new) {
                statement.push(", ");
                statement.bind(value);
            }
            statement.push(")");
        });
        statement.push(&format!(") AS {SENT} ({}) WHERE ", names.join(", ")));
        let spelled = |column: &Column| format!("{} COLLATE \"C\"", dialect.spelled(column));
        let mut conditions: Vec<String> = Vec::new();
        for (index, column) in address.iter().enumerate() {
            conditions.push(format!("{} = {SENT}.a{index}::{}", dialect.column(&column.name), column.cast));
            conditions.push(format!("{} = {SENT}.a{index}", spelled(column)));
        }
        conditions.extend(expected.iter().map(|index| format!("{} IS NOT DISTINCT FROM {SENT}.b{index}", spelled(cells[*index]))));
        statement.push(&conditions.join(" AND "));
        let told = if is_delete { String::new() } else { format!(", {}", self.told(first).join(", ")) };
        statement.push(&format!(" RETURNING {SENT}.n::text{told}"));
        let given = self.session.run(&statement)?;
        let mut rows: Vec<Option<Vec<Option<String>>>> = vec![None; changes.len()];
        for mut row in given.rows {
            let number = if row.is_empty() { None } else { row.remove(0) }.and_then(|number| number.parse::<usize>().ok());
            match number.and_then(|number| rows.get_mut(number)) {
                Some(place @ None) => *place = Some(row),
                // Two rows are at one address.
                _ => return Ok(Together::Apart),
            }
        }
        let mut outcomes = Vec::with_capacity(changes.len());
        for (position, (change, row)) in changes.iter().zip(rows).enumerate() {
            match row.map(|row| if is_delete { Outcome::Done { answer: Vec::new(), id: None } } else { self.outcome(change, row) }) {
                Some(done @ Outcome::Done { .. }) => outcomes.push(done),
                _ => left.push(position),
            }
        }
        Ok(if left.is_empty() { Together::Whole(outcomes) } else { Together::Without(left) })
    }

    /// What is sent for each cell of each change, or which changes cannot be sent as they are. Of a delete nothing is sent.
    fn new_values_of_all(&self, changes: &[&Change]) -> Result<Vec<Vec<Option<String>>>, Vec<usize>> {
        let (mut values, mut left) = (Vec::with_capacity(changes.len()), Vec::new());
        for (position, change) in changes.iter().enumerate() {
            match if change.action == Action::Delete { Ok(Vec::new()) } else { self.new_values(change) } {
                Ok(new) => values.push(new),
                Err(_) => left.push(position),
            }
        }
        if left.is_empty() { Ok(values) } else { Err(left) }
    }

    /// Sets or deletes rows by one statement of a server that joins no list of values with a table: what a row gets is told case by case.
    /// The statement says how many rows it touched; that this is one for each change shows a look at their addresses, which locks them.
    fn set_case_by_case(&mut self, changes: &[&Change], values: &[Vec<Option<String>>]) -> Result<Together, Failure> {
        let (dialect, table, first) = (self.dialect, self.table, changes[0]);
        let is_delete = first.action == Action::Delete;
        if is_delete && self.rows_at(changes, &[])?.is_none() {
            return Ok(Together::Apart);
        }
        let mut statement = match is_delete {
            true => Statement::new(dialect, format!("DELETE {ROW} FROM {} AS {ROW}", table.from)),
            false => Statement::new(dialect, format!("UPDATE {} AS {ROW} SET ", table.from)),
        };
        let cells = first.cells.iter().filter(|_| !is_delete).enumerate().filter_map(|(index, cell)| Some((index, table.column(&cell.column)?)));
        statement.list(cells, ", ", |statement, (index, column)| {
            statement.push(&format!("{} = CASE", dialect.column(&column.name)));
            for (change, new) in changes.iter().zip(values) {
                statement.push(" WHEN ");
                self.at(statement, change);
                statement.push(" THEN ");
                statement.bind_new(column, new[index].clone());
            }
            statement.push(" END");
        });
        statement.push(" WHERE ");
        statement.list(changes, " OR ", |statement, change| {
            statement.push("(");
            self.expect(statement, change);
            statement.push(")");
        });
        if self.session.run(&statement)?.touched != changes.len() as u64 {
            return Ok(Together::Apart);
        }
        if is_delete {
            return Ok(Together::Whole(vec![Outcome::Done { answer: Vec::new(), id: None }; changes.len()]));
        }
        let Some(rows) = self.rows_at(changes, &self.told(first))? else { return Ok(Together::Apart) };
        let outcomes: Vec<Outcome> = changes.iter().zip(rows).map(|(change, row)| self.outcome(change, row)).collect();
        let is_left = |(position, outcome): (usize, &Outcome)| (!matches!(outcome, Outcome::Done { .. })).then_some(position);
        let left: Vec<usize> = outcomes.iter().enumerate().filter_map(is_left).collect();
        Ok(if left.is_empty() { Together::Whole(outcomes) } else { Together::Without(left) })
    }

    /// The rows at the addresses of changes, which are locked: what the server tells of each. Nothing if not exactly one is at each.
    fn rows_at(&mut self, changes: &[&Change], told: &[String]) -> Result<Option<Vec<Vec<Option<String>>>>, Failure> {
        let (dialect, table) = (self.dialect, self.table);
        let address: Vec<&Column> = changes[0].address.iter().filter_map(|part| table.column(&part.column)).collect();
        let asked: Vec<String> = address.iter().map(|column| dialect.spelled(column)).chain(told.iter().cloned()).collect();
        let mut statement = Statement::new(dialect, format!("SELECT {} FROM {} AS {ROW} WHERE ", asked.join(", "), table.from));
        statement.list(changes, " OR ", |statement, change| {
            statement.push("(");
            self.at(statement, change);
            statement.push(")");
        });
        statement.push(" FOR UPDATE");
        let mut by_address: BTreeMap<Vec<Option<String>>, Vec<Option<String>>> = BTreeMap::new();
        for mut row in self.session.run(&statement)?.rows {
            let told = row.split_off(address.len());
            let place = address.iter().zip(row).map(|(column, cell)| column.class.raw(cell).text).collect();
            if by_address.insert(place, told).is_some() {
                return Ok(None);
            }
        }
        let place_of = |change: &&Change| change.address.iter().map(|part| part.raw.text.clone()).collect::<Vec<Option<String>>>();
        Ok(changes.iter().map(|change| by_address.remove(&place_of(change))).collect())
    }

    /// Makes `count` changes from `first` on, in halves where they are refused together.
    fn make_together(
        &mut self,
        changes: &[&Change],
        first: usize,
        count: usize,
        rejections: &mut Rejections,
        outcomes: &mut Vec<Outcome>,
        waiting: &mut Vec<usize>,
    ) -> Result<(), Failure> {
        if let Some(stopped) = rejections.stop() {
            outcomes.extend(std::iter::repeat_n(stopped, count));
            return Ok(());
        }
        if count == 1 {
            let (outcome, is_taken) = self.make_within_savepoint(changes[first])?;
            rejections.count(&outcome);
            outcomes.push(outcome);
            if is_taken {
                waiting.push(first);
            }
            return Ok(());
        }
        self.session.command(&format!("SAVEPOINT {SAVEPOINT}"))?;
        let part = &changes[first..first + count];
        let made = match (self.new_values_of_all(part), part[0].action) {
            (Err(left), _) => Ok(Together::Without(left)),
            (Ok(values), Action::Create) => self.add(part, values),
            (Ok(values), _) if self.dialect == Dialect::MySql => self.set_case_by_case(part, &values),
            (Ok(values), _) => self.set_together(part, values),
        };
        match made {
            Err(failure) if !failure.is_refusal() => Err(failure),
            Ok(Together::Whole(made)) => {
                self.release()?;
                outcomes.extend(made);
                Ok(())
            }
            Ok(Together::Without(left)) => {
                self.take_back()?;
                // Each of those alone, and what lies between them together; all in their order.
                let mut next = 0;
                for position in left {
                    if position > next {
                        self.make_together(changes, first + next, position - next, rejections, outcomes, waiting)?;
                    }
                    self.make_together(changes, first + position, 1, rejections, outcomes, waiting)?;
                    next = position + 1;
                }
                if next < count { self.make_together(changes, first + next, count - next, rejections, outcomes, waiting) } else { Ok(()) }
            }
            Ok(Together::Apart) | Err(_) => {
                self.take_back()?;
                let half = count / 2;
                self.make_together(changes, first, half, rejections, outcomes, waiting)?;
                self.make_together(changes, first + half, count - half, rejections, outcomes, waiting)
            }
        }
    }

    fn release(&mut self) -> Result<(), Failure> {
        self.session.command(&format!("RELEASE SAVEPOINT {SAVEPOINT}"))
    }

    fn take_back(&mut self) -> Result<(), Failure> {
        self.session.command(&format!("ROLLBACK TO SAVEPOINT {SAVEPOINT}"))?;
        self.release()
    }

    /// Adds rows with the same columns by one statement. Nothing certain if in the answer the rows cannot be told apart. `values` are what
    /// is sent for each cell of each change.
    fn add(&mut self, changes: &[&Change], values: Vec<Vec<Option<String>>>) -> Result<Together, Failure> {
        let Some(answers) = self.insert(changes, values)? else { return Ok(Together::Apart) };
        let outcomes: Vec<Outcome> = changes.iter().zip(answers).map(|(change, row)| self.outcome(change, row)).collect();
        let is_certain = |(change, outcome): (&&Change, &Outcome)| match outcome {
            Outcome::Done { answer, .. } => change.cells.iter().zip(answer).all(|(cell, part)| self.is_kept(cell, part)),
            _ => false,
        };
        Ok(if changes.iter().zip(&outcomes).all(is_certain) { Together::Whole(outcomes) } else { Together::Apart })
    }

    /// Whether an answer shows what was sent, as far as that is spelled in one way alone.
    fn is_kept(&self, cell: &CellChange, part: &AddressPart) -> bool {
        match self.table.column(&cell.column).map(|column| column.class) {
            Some(Class::Text) => cell.after_raw.text.as_deref().map(str::trim_end) == part.raw.text.as_deref().map(str::trim_end),
            Some(Class::Integer | Class::Decimal(_)) => match (&cell.after_raw.text, &part.raw.text) {
                (Some(sent), Some(kept)) => sent == kept || significant(sent) == significant(kept),
                (sent, kept) => sent.is_none() == kept.is_none(),
            },
            _ => true,
        }
    }

    /// Adds rows; what the server holds of each then: the cells of the change, and the id where it is asked for. Nothing if it does not
    /// tell about each.
    fn insert(&mut self, changes: &[&Change], rows: Vec<Vec<Option<String>>>) -> Result<Option<Vec<Vec<Option<String>>>>, Failure> {
        let (dialect, table, count) = (self.dialect, self.table, rows.len());
        let Some(first) = changes.first() else { return Ok(None) };
        let columns: Vec<&Column> = first.cells.iter().filter_map(|cell| table.column(&cell.column)).collect();
        let mut statement = Statement::new(dialect, format!("INSERT INTO {}", table.from));
        if dialect == Dialect::PostgreSql {
            statement.push(&format!(" AS {ROW}"));
        }
        if columns.is_empty() && dialect == Dialect::PostgreSql {
            statement.push(" DEFAULT VALUES");
        } else {
            statement.push(" (");
            statement.list(&columns, ", ", |statement, column| statement.push(&dialect.quoted(&column.name)));
            statement.push(") VALUES ");
            statement.list(rows, ", ", |statement, row| {
                statement.push("(");
                statement.list(columns.iter().zip(row), ", ", |statement, (column, value)| statement.bind_new(column, value));
                statement.push(")");
            });
        }
        let told = self.told(first);
        match dialect {
            Dialect::PostgreSql => {
                statement.push(" RETURNING ");
                statement.push(&told.join(", "));
                let given = self.session.run(&statement)?;
                Ok((given.rows.len() == count).then_some(given.rows))
            }
            Dialect::MySql => {
                let given = self.session.run(&statement)?;
                if given.touched != count as u64 {
                    return Ok(None);
                }
                self.rows_added(changes, given.first_number, &told)
            }
        }
    }

    /// What was added, where the server does not answer an insert with its rows: found again by the key that was sent, or by the numbers
    /// that the rows got. One row that cannot be found again is answered with nothing.
    fn rows_added(&mut self, changes: &[&Change], first_number: Option<u64>, told: &[String]) -> Result<Option<Vec<Vec<Option<String>>>>, Failure> {
        let (dialect, table) = (self.dialect, self.table);
        let untold = || Ok(Some(vec![Vec::new(); changes.len()]));
        let [key] = table.key.as_slice() else { return untold() };
        let Some(key) = table.column(key) else { return untold() };
        let sent: Option<Vec<Raw>> = changes
            .iter()
            .map(|change| change.cells.iter().find(|cell| cell.column == key.name).map(|cell| cell.after_raw.clone()).filter(|raw| raw.text.is_some()))
            .collect();
        let keys: Vec<Raw> = match (sent, first_number) {
            (Some(sent), _) => sent,
            (None, Some(first)) if key.counts_up => {
                // Rows of one statement get numbers in their order, this far apart; what was sent is compared with each of them.
                let given = self.session.run(&Statement::new(dialect, "SELECT CAST(@@auto_increment_increment AS CHAR)"))?;
                let apart = given.rows.first().and_then(|row| row.first()?.as_ref()?.parse::<u64>().ok()).unwrap_or(1);
                (0..changes.len() as u64).map(|position| Raw::text((first + position * apart).to_string())).collect()
            }
            _ => return untold(),
        };
        let mut statement = Statement::new(dialect, format!("SELECT {}, {} FROM {} AS {ROW} WHERE ", dialect.spelled(key), told.join(", "), table.from));
        statement.any_of(key, &keys.iter().collect::<Vec<_>>());
        let given = self.session.run(&statement)?;
        let mut by_key: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
        for mut row in given.rows {
            let found = row.remove(0).unwrap_or_default();
            by_key.insert(found, row);
        }
        let found: Option<Vec<Vec<Option<String>>>> = keys.iter().map(|raw| by_key.remove(raw.text.as_deref().unwrap_or_default())).collect();
        Ok(found.or_else(|| (changes.len() == 1).then(|| vec![Vec::new()])))
    }

    /// What a write asks the server to tell of a row: its cells of the change, and for a create the id.
    fn told(&self, change: &Change) -> Vec<String> {
        let id = self.id.filter(|_| change.action == Action::Create);
        let names = change.cells.iter().map(|cell| cell.column.as_str()).chain(id);
        let told: Vec<String> = names.filter_map(|name| self.table.column(name)).map(|column| self.dialect.spelled(column)).collect();
        if told.is_empty() { vec!["'1'".to_owned()] } else { told }
    }

    /// Tries those again whose new value another row had: by now it may have given it up, or it waits for this one in turn. Gives
    /// how many of them are no longer rejected.
    fn make_those_that_wait(&mut self, changes: &[&Change], waiting: &mut Vec<usize>, outcomes: &mut [Outcome]) -> Result<usize, Failure> {
        let first = waiting.clone();
        loop {
            let before = waiting.len();
            let mut still = Vec::with_capacity(before);
            for index in waiting.drain(..) {
                match self.make_within_savepoint(changes[index])?.0 {
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
            let members: Vec<&Change> = ring.iter().map(|index| changes[*index]).collect();
            for (index, outcome) in ring.iter().zip(self.swap(&members)?) {
                outcomes[*index] = outcome;
            }
        }
        let is_rejected = |index: &usize| matches!(outcomes[*index], Outcome::Rejected { .. });
        waiting.retain(is_rejected);
        Ok(first.iter().filter(|index| !is_rejected(index)).count())
    }

    /// The outcome of a change, and whether it was refused because another row has a value that only one may have.
    fn make_within_savepoint(&mut self, change: &Change) -> Result<(Outcome, bool), Failure> {
        self.session.command(&format!("SAVEPOINT {SAVEPOINT}"))?;
        let (outcome, is_taken) = match self.make(change) {
            Err(failure) if !failure.is_refusal() => return Err(failure),
            Err(failure) => (Outcome::Rejected { reason: failure.words }, failure.fault == Fault::Taken),
            Ok(outcome) => (outcome, false),
        };
        match outcome {
            Outcome::Done { .. } => self.release()?,
            _ => self.take_back()?,
        }
        Ok((outcome, is_taken))
    }

    fn make(&mut self, change: &Change) -> Result<Outcome, Failure> {
        let rejected = |reason: String| Ok(Outcome::Rejected { reason });
        let named = change.address.iter().map(|part| &part.column).chain(change.cells.iter().map(|cell| &cell.column));
        if let Some(unknown) = named.into_iter().find(|name| self.table.column(name).is_none()) {
            return rejected(format!("table {} has no column `{unknown}`", self.table.from));
        }
        match change.action {
            Action::Create => {
                let values = match self.new_values(change) {
                    Ok(values) => values,
                    Err(reason) => return rejected(reason),
                };
                match self.insert(&[change], vec![values])? {
                    Some(mut rows) => Ok(self.outcome(change, rows.pop().unwrap_or_default())),
                    None => rejected("the database left the row out: a trigger or a rule ignored it".to_owned()),
                }
            }
            _ if change.address.is_empty() => rejected("the change does not say which row it is for".to_owned()),
            Action::Update | Action::Archive if change.cells.is_empty() => rejected("the change sets nothing".to_owned()),
            Action::Delete => {
                let mut statement = Statement::new(
                    self.dialect,
                    match self.dialect {
                        Dialect::PostgreSql => format!("DELETE FROM {} AS {ROW} WHERE ", self.table.from),
                        Dialect::MySql => format!("DELETE {ROW} FROM {} AS {ROW} WHERE ", self.table.from),
                    },
                );
                self.expect(&mut statement, change);
                if self.dialect == Dialect::PostgreSql {
                    statement.push(" RETURNING '1'");
                }
                let given = self.session.run(&statement)?;
                match given.touched.max(given.rows.len() as u64) {
                    0 => self.explain(change),
                    1 => Ok(Outcome::Done { answer: Vec::new(), id: None }),
                    many => rejected(format!("{} matches {many} rows", place_of(change))),
                }
            }
            Action::Update | Action::Archive => {
                let values = match self.new_values(change) {
                    Ok(values) => values,
                    Err(reason) => return rejected(reason),
                };
                let (touched, row) = self.update(change, values)?;
                match touched {
                    0 => self.explain(change),
                    1 => Ok(self.outcome(change, row)),
                    many => rejected(format!("{} matches {many} rows", place_of(change))),
                }
            }
        }
    }

    /// Sets the cells of a row that still holds what the change expects: how many rows were set, and what the server holds of one then.
    fn update(&mut self, change: &Change, values: Vec<Option<String>>) -> Result<(u64, Vec<Option<String>>), Failure> {
        let (dialect, table) = (self.dialect, self.table);
        let mut statement = Statement::new(dialect, format!("UPDATE {} AS {ROW} SET ", table.from));
        self.assign(&mut statement, change.cells.iter().zip(values));
        statement.push(" WHERE ");
        self.expect(&mut statement, change);
        let told = self.told(change);
        match dialect {
            Dialect::PostgreSql => {
                statement.push(" RETURNING ");
                statement.push(&told.join(", "));
                let mut given = self.session.run(&statement)?;
                Ok((given.rows.len() as u64, given.rows.pop().unwrap_or_default()))
            }
            Dialect::MySql => {
                let given = self.session.run(&statement)?;
                let is_moved = change.address.iter().any(|part| change.cells.iter().any(|cell| cell.column == part.column));
                if given.touched != 1 || is_moved {
                    return Ok((given.touched, Vec::new()));
                }
                let mut asking = Statement::new(dialect, format!("SELECT {} FROM {} AS {ROW} WHERE ", told.join(", "), table.from));
                self.at(&mut asking, change);
                asking.push(" FOR UPDATE");
                let mut rows = self.session.run(&asking)?.rows;
                Ok((1, if rows.len() == 1 { rows.pop().unwrap_or_default() } else { Vec::new() }))
            }
        }
    }

    fn assign<'c>(&self, statement: &mut Statement, cells: impl Iterator<Item = (&'c CellChange, Option<String>)>) {
        let dialect = self.dialect;
        let known = cells.filter_map(|(cell, value)| self.table.column(&cell.column).map(|column| (column, value)));
        statement.list(known, ", ", |statement, (column, value)| {
            let name = if dialect == Dialect::MySql { dialect.column(&column.name) } else { dialect.quoted(&column.name) };
            statement.push(&format!("{name} = "));
            statement.bind_new(column, value);
        });
    }

    /// That the row is at the change's address.
    fn at(&self, statement: &mut Statement, change: &Change) {
        let parts = change.address.iter().filter_map(|part| self.table.column(&part.column).map(|column| (column, &part.raw)));
        statement.list(parts, " AND ", |statement, (column, raw)| statement.holds(column, raw));
    }

    /// That the row is at the change's address and holds what the change expects.
    fn expect(&self, statement: &mut Statement, change: &Change) {
        self.at(statement, change);
        for (column, raw) in change.cells.iter().filter_map(|cell| self.table.column(&cell.column).zip(cell.before_raw.as_ref())) {
            statement.push(" AND ");
            statement.holds(column, raw);
        }
    }

    /// What is sent for each cell of a change, or why one of them cannot be.
    fn new_values(&self, change: &Change) -> Result<Vec<Option<String>>, String> {
        change
            .cells
            .iter()
            .map(|cell| match self.table.column(&cell.column) {
                None => Err(format!("table {} has no column `{}`", self.table.from, cell.column)),
                Some(column) => cell.after_raw.text.as_deref().map(|text| new_value(self.dialect, column, text)).transpose(),
            })
            .collect()
    }

    /// What became of a change whose row the server shows.
    fn outcome(&self, change: &Change, row: Vec<Option<String>>) -> Outcome {
        let mut row = row.into_iter();
        let mut answer = Vec::with_capacity(change.cells.len());
        for cell in &change.cells {
            let (Some(column), Some(text)) = (self.table.column(&cell.column), row.next()) else { break };
            let raw = column.class.raw(text);
            if let (Class::Float { is_single }, Some(sent)) = (column.class, &cell.after_raw.text)
                && (lost_digits(sent, &raw) || is_single && is_cut_to_single(sent, &raw))
            {
                let reason = format!("column `{}` stores binary floats and cannot hold {sent}: it would keep {raw}", cell.column);
                return Outcome::Rejected { reason };
            }
            answer.push(AddressPart { column: cell.column.clone(), raw });
        }
        let has_id = change.action == Action::Create && self.id.is_some_and(|id| self.table.column(id).is_some());
        let id = if has_id { row.next().flatten() } else { None };
        Outcome::Done { answer, id }
    }

    /// Why no row was written although the database refused nothing.
    fn explain(&mut self, change: &Change) -> Result<Outcome, Failure> {
        let expected: Vec<(&Column, &Raw)> = change.cells.iter().filter_map(|cell| self.table.column(&cell.column).zip(cell.before_raw.as_ref())).collect();
        let mut told: Vec<String> = expected.iter().map(|(column, _)| self.dialect.spelled(column)).collect();
        told.push("'1'".to_owned());
        let mut statement = Statement::new(self.dialect, format!("SELECT {} FROM {} AS {ROW} WHERE ", told.join(", "), self.table.from));
        self.at(&mut statement, change);
        if self.dialect == Dialect::MySql {
            // A plain read shows what was there when the transaction began.
            statement.push(" FOR UPDATE");
        }
        let given = self.session.run(&statement)?;
        let Some(row) = given.rows.into_iter().next() else {
            return Ok(Outcome::Stale { reason: format!("there is no row with {} any more", place_of(change)) });
        };
        let moved: Vec<String> = expected
            .iter()
            .zip(row)
            .map(|((column, before), now)| (column, before, column.class.raw(now)))
            .filter(|(_, before, now)| before.text != now.text)
            .map(|(column, before, now)| format!("`{}` holds {}, when it was pulled it held {}", column.name, shown(&now), shown(before)))
            .collect();
        if moved.is_empty() {
            return Ok(Outcome::Rejected { reason: "the database left the row as it was: a trigger or a rule ignored the change".to_owned() });
        }
        Ok(Outcome::Stale { reason: moved.join("; ") })
    }

    /// Makes the changes of a ring together, or none of them; one outcome for each.
    fn swap(&mut self, ring: &[&Change]) -> Result<Vec<Outcome>, Failure> {
        let many = ring.len();
        let swap = format!("its new value is that of another row, which waits for this one's in turn: a swap of {many} rows");
        self.session.command(&format!("SAVEPOINT {SAVEPOINT}"))?;
        let failed = match self.swap_within(ring) {
            Ok(Ok(outcomes)) => {
                self.release()?;
                return Ok(outcomes);
            }
            Ok(Err((position, outcome))) => {
                let reason = format!("{swap}, and one of the others was not taken");
                let mut outcomes = vec![Outcome::Skipped { reason }; many];
                outcomes[position] = outcome;
                outcomes
            }
            Err(failure) if failure.is_refusal() => {
                let reason = format!("{swap}, which the database refuses as well: {}; give one of them another value first", failure.words);
                vec![Outcome::Rejected { reason }; many]
            }
            Err(failure) => return Err(failure),
        };
        self.take_back()?;
        Ok(failed)
    }

    /// Parks what the others wait for, row by row, and then writes what was wanted.
    fn swap_within(&mut self, ring: &[&Change]) -> Result<Result<Vec<Outcome>, (usize, Outcome)>, Failure> {
        let wanted: Vec<(&str, String)> = ring
            .iter()
            .flat_map(|change| &change.cells)
            .filter_map(|cell| Some((cell.column.as_str(), cell.after_raw.text.as_ref()?.to_lowercase())))
            .collect();
        let mut parked: Vec<Change> = Vec::with_capacity(ring.len());
        for (position, change) in ring.iter().enumerate() {
            let is_waited_for = |cell: &&CellChange| {
                let before = cell.before_raw.as_ref().and_then(|raw| raw.text.as_ref()).map(|text| text.to_lowercase());
                before.is_some_and(|before| wanted.iter().any(|(column, text)| *column == cell.column && *text == before))
            };
            let mut parking = (*change).clone();
            parking.cells = change.cells.iter().filter(is_waited_for).cloned().collect();
            for cell in &mut parking.cells {
                cell.after_raw = self.temporary(change, cell, position);
            }
            let values = parking.cells.iter().map(|cell| cell.after_raw.text.clone()).collect();
            // The parking expects all that the change does, and the second step the parked values in their place.
            let mut expecting = parking.clone();
            expecting.address.extend(
                change
                    .cells
                    .iter()
                    .filter(|cell| !parking.cells.iter().any(|parked| parked.column == cell.column))
                    .filter_map(|cell| Some(AddressPart { column: cell.column.clone(), raw: cell.before_raw.clone()? })),
            );
            match self.update(&expecting, values)?.0 {
                1 => {}
                0 => return Ok(Err((position, self.explain(change)?))),
                rows => return Ok(Err((position, Outcome::Rejected { reason: format!("{} matches {rows} rows", place_of(change)) }))),
            }
            let mut taking = (*change).clone();
            let now = |column: &str| parking.cells.iter().find(|cell| cell.column == column).map(|cell| cell.after_raw.clone());
            for cell in &mut taking.cells {
                cell.before_raw = now(&cell.column).or(cell.before_raw.take());
            }
            for part in &mut taking.address {
                if let Some(raw) = now(&part.column) {
                    part.raw = raw;
                }
            }
            parked.push(taking);
        }
        let mut outcomes = Vec::with_capacity(ring.len());
        for (position, taking) in parked.iter().enumerate() {
            let outcome = self.make(taking)?;
            if !matches!(outcome, Outcome::Done { .. }) {
                return Ok(Err((position, outcome)));
            }
            outcomes.push(outcome);
        }
        Ok(Ok(outcomes))
    }

    /// A value for the time between: one that no other row has.
    fn temporary(&self, change: &Change, cell: &CellChange, position: usize) -> Raw {
        let Some(column) = self.table.column(&cell.column) else { return Raw::null() };
        let is_in_address = change.address.iter().any(|part| part.column == cell.column);
        if column.takes_null && !self.table.is_referred_to && !is_in_address {
            return Raw::null();
        }
        let text = match column.class {
            Class::Integer => match column.cast.as_str() {
                "smallint" => (i64::from(i16::MIN) + i64::try_from(position).unwrap_or_default()).to_string(),
                "integer" | "SIGNED" => (i64::from(i32::MIN) + i64::try_from(position).unwrap_or_default()).to_string(),
                "UNSIGNED" => (i64::from(i32::MAX) - i64::try_from(position).unwrap_or_default()).to_string(),
                _ => (i64::MIN + i64::try_from(position).unwrap_or_default()).to_string(),
            },
            _ => format!("~{position:x}-{:08x}", xxh3_64(change.key.as_bytes()) >> 32),
        };
        column.class.raw(Some(text))
    }
}

/// Whether a number was sent and what is stored is only the nearest one that a float of 32 bits could hold.
fn is_cut_to_single(sent: &str, stored: &Raw) -> bool {
    let kept = stored.text.as_deref().unwrap_or_default();
    let is_nearest = matches!((sent.trim().parse::<f32>(), kept.parse::<f32>()), (Ok(sent), Ok(kept)) if sent == kept);
    is_nearest && significant(sent) != significant(kept)
}

/// What is sent for a new value, or why it cannot be: the column would round it, or take it for something else.
fn new_value(dialect: Dialect, column: &Column, text: &str) -> Result<String, String> {
    let kept = |text: &str| Ok(text.to_owned());
    match column.class {
        Class::Integer => match text {
            "true" => kept("1"),
            "false" => kept("0"),
            _ => match text.split_once('.') {
                Some((whole, zeros)) if !whole.is_empty() && zeros.bytes().all(|byte| byte == b'0') => kept(whole),
                Some(_) if significant(text).is_some() => {
                    Err(format!("column `{}` is of type `{}` and holds whole numbers, not {text}", column.name, column.declared))
                }
                _ => kept(text),
            },
        },
        Class::Decimal(Some(scale)) => match significant(text) {
            Some((_, _, exponent)) if exponent < -i64::from(scale) => {
                Err(format!("column `{}` is of type `{}` and would round {text}", column.name, column.declared))
            }
            _ => kept(text),
        },
        Class::Boolean if dialect == Dialect::MySql => kept(match text {
            "true" => "1",
            "false" => "0",
            other => other,
        }),
        Class::Date | Class::Datetime | Class::Instant => {
            let is_iso = text.len() >= 10 && text.bytes().take(4).all(|byte| byte.is_ascii_digit()) && text.as_bytes()[4] == b'-';
            if !is_iso {
                return Err(format!(
                    "column `{}` is of type `{}` and takes dates in the order year, month, day, not {text}: leave `dates` out of the column's settings",
                    column.name, column.declared
                ));
            }
            match (dialect, column.class) {
                (Dialect::MySql, Class::Instant) => match text.parse::<jiff::Timestamp>() {
                    Ok(moment) => Ok(jiff::tz::TimeZone::UTC.to_datetime(moment).to_string().replace('T', " ")),
                    Err(_) => kept(text),
                },
                (Dialect::PostgreSql, Class::Instant) if text.parse::<jiff::Timestamp>().is_err() => {
                    Err(format!("column `{}` is of type `{}`, and {text} does not say in which time zone it is", column.name, column.declared))
                }
                (Dialect::PostgreSql, Class::Datetime) if text.parse::<jiff::Timestamp>().is_ok() => {
                    Err(format!("column `{}` is of type `{}`, which would drop the time zone of {text}", column.name, column.declared))
                }
                _ => kept(text),
            }
        }
        _ => kept(text),
    }
}

// ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

fn missing_table(origin: &str, system: &str, name: &str, tables: &[String]) -> Error {
    const SHOWN_TABLES_MAX: usize = 50;
    let error =
        Error::new(Remedy::MendJob, Place::of(origin), format!("table `{name}` is not in the database of system `{system}`, or its user may not see it"));
    let error = match tables {
        [] => error.seen("the database has no tables that the user may see"),
        _ => {
            let more = if tables.len() > SHOWN_TABLES_MAX { format!(" and {} more", tables.len() - SHOWN_TABLES_MAX) } else { String::new() };
            error.seen(format!("tables of `{system}`: {}{more}", tables[..tables.len().min(SHOWN_TABLES_MAX)].join(", ")))
        }
    };
    match did_you_mean(name, tables.iter().map(String::as_str)) {
        Some(close) => error.hint(format!("did you mean `{close}`?")),
        None => error,
    }
}

/// What stops a run when a server fails. `kept` says what did not happen.
fn server_error(origin: &str, failure: &Failure, kept: &str) -> Error {
    let (remedy, message, hint) = match failure.fault {
        Fault::Lost => (Remedy::GiveAccess, "the connection to the database was lost", "look whether the server was restarted, then run again"),
        Fault::Unreachable => (Remedy::GiveAccess, "the database server does not answer", "look whether it runs, and whether host and port in `url` are right"),
        Fault::UnknownHost => (Remedy::GiveAccess, "the host of the database is not known", "look whether the host in `url` is right"),
        Fault::Login => (
            Remedy::GiveAccess,
            "the database server does not let the user in",
            "look after user and password in `url`, and whether the user may log in from here",
        ),
        Fault::Encryption => (
            Remedy::GiveAccess,
            "there is no trusted encrypted connection to the database server",
            "name the file of its authority with `?sslrootcert=`, or the host that its certificate is for",
        ),
        Fault::NoDatabase => (Remedy::MendJob, "the database is not on the server, or the user may not see it", "mend `url`"),
        Fault::Forbidden => (Remedy::GiveAccess, "the user may not do this in the database", "grant the user what is named above"),
        Fault::ReadOnly => (Remedy::GiveAccess, "the database may only be read: the server is a copy, or set so", "name the server that is written"),
        Fault::Busy => (Remedy::GiveAccess, "another program is in the way in the database", "look for a program that holds locks, or run again later"),
        Fault::Full => (Remedy::GiveAccess, "the database server has no room", "make room on the server, then run again"),
        Fault::Statement => (Remedy::MendJob, "the database does not understand what it was asked", "mend `table` or `query`"),
        Fault::Refused | Fault::Taken => (Remedy::MendJob, "the database cannot make the query's rows", "mend `query`, or the row that it stumbles over"),
        Fault::Other => (Remedy::Look, "the database failed", "look after the database, then run again"),
    };
    let seen = if failure.is_told { format!("the database says: {}", failure.words) } else { failure.words.clone() };
    let told = Error::new(remedy, Place::of(origin), message).seen(seen).seen(kept).hint(failure.hint.unwrap_or(hint));
    // Nothing was done: whatever was begun is taken back by the server.
    if matches!(failure.fault, Fault::Lost | Fault::Unreachable | Fault::Busy) { told.passing() } else { told }
}

/// Opens the server of a `url`.
///
/// # Errors
/// As [`ServerTable::open`], and [`Remedy::MendJob`] for a `url` that cannot be read.
pub(super) fn open(url: DatabaseUrl, settings: &SqlSettings, opening: &Opening<'_>) -> Result<ServerTable, Error> {
    let path = |path: &String| opening.root.join(path);
    let files =
        Files { authorities: url.authorities.as_ref().map(path), identity: url.identity.as_ref().map(|(certificate, key)| (path(certificate), path(key))) };
    let is_open = !url.encrypts() && !url.is_local();
    let mut table = match url.engine {
        crate::job::Engine::PostgreSql => ServerTable::open(Dialect::PostgreSql, super::postgres::connecting(url, files), settings, opening)?,
        crate::job::Engine::MySql => ServerTable::open(Dialect::MySql, super::mysql::connecting(url, files), settings, opening)?,
    };
    table.is_open = is_open;
    Ok(table)
}
