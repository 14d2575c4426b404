//! Sessions with PostgreSQL.
//!
//! A pull is one `COPY .. TO STDOUT` in a read-only transaction that sees one moment. Every parameter is bound as text and cast by the
//! statement; every cell is delivered as text. Dates are spelled in ISO 8601 and moments in UTC, whatever the server is set to.

use std::collections::HashMap;
use std::error::Error as _;
use std::io::BufRead;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use postgres::config::SslMode;
use postgres::types::{Kind, ToSql, Type};
use postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::server::{Cells, Class, Column, Connect, Failure, Fault, Files, Given, ROW, Rights, Session, Statement, Table};
use crate::job::DatabaseUrl;
use crate::systems::encryption::why_untrusted;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// So much of a copy is handed on at once.
const BLOCK_BYTES: usize = 256 * 1024;

/// So many blocks wait to be read.
const BLOCKS_AHEAD: usize = 16;

/// Statements that are kept prepared.
const PREPARED_MAX: usize = 100;

/// What every session is set to. A lock is waited for, but not all night.
const SETTINGS: &str = "SET client_encoding = 'UTF8'; SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'iso_8601'; \
    SET extra_float_digits = 1; SET lock_timeout = '30s'; SET idle_in_transaction_session_timeout = 0; SET standard_conforming_strings = on";

struct PostgresSession {
    client: Client,
    password: Option<String>,
    prepared: HashMap<String, postgres::Statement>,
}

/// How sessions with the server of a `url` are opened.
pub(super) fn connecting(url: DatabaseUrl, files: Files) -> Connect {
    Box::new(move || {
        let failed = |error: postgres::Error| failure(&error, url.password.as_deref());
        let mut config = Config::new();
        config.user(&url.user).dbname(&url.database).host(&url.host).connect_timeout(CONNECT_TIMEOUT).application_name("tieout");
        config.keepalives_idle(Duration::from_secs(60));
        if let Some(password) = &url.password {
            config.password(password);
        }
        let port = url.port.as_ref().map_or(Ok(url.engine.port()), |port| port.parse());
        config.port(port.map_err(|_| Failure::ours(Fault::UnknownHost, "its port is no number between 1 and 65535"))?);
        let client = if url.encrypts() {
            config.ssl_mode(SslMode::Require);
            config.connect(MakeRustlsConnect::new(files.encryption()?))
        } else {
            config.ssl_mode(SslMode::Disable);
            config.connect(NoTls)
        };
        let mut client = client.map_err(failed)?;
        client.batch_execute(SETTINGS).map_err(failed)?;
        Ok(Box::new(PostgresSession { client, password: url.password.clone(), prepared: HashMap::new() }))
    })
}

impl PostgresSession {
    fn failure(&self, error: &postgres::Error) -> Failure {
        failure(error, self.password.as_deref())
    }

    fn prepare(&mut self, text: &str, count: usize) -> Result<postgres::Statement, Failure> {
        if let Some(statement) = self.prepared.get(text) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare_typed(text, &vec![Type::TEXT; count]).map_err(|error| self.failure(&error))?;
        if self.prepared.len() >= PREPARED_MAX {
            self.prepared.clear();
        }
        self.prepared.insert(text.to_owned(), statement.clone());
        Ok(statement)
    }

    fn rows(&mut self, text: &str, values: &[Option<String>]) -> Result<Vec<Vec<Option<String>>>, Failure> {
        let statement = self.prepare(text, values.len())?;
        let parameters: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        let rows = self.client.query(&statement, &parameters).map_err(|error| self.failure(&error))?;
        let cell = |row: &postgres::Row, index: usize| row.try_get::<_, Option<String>>(index).map_err(|error| self.failure(&error));
        rows.iter().map(|row| (0..row.len()).map(|index| cell(row, index)).collect()).collect()
    }

    fn asked(&mut self, text: &str, values: &[&str]) -> Result<Vec<Vec<Option<String>>>, Failure> {
        let values: Vec<Option<String>> = values.iter().map(|value| Some((*value).to_owned())).collect();
        self.rows(text, &values)
    }

    /// Why no column of a table may be read, in the server's words; nothing if it has none.
    fn no_columns(&mut self, from: &str) -> Result<Option<Table>, Failure> {
        self.rows(&format!("SELECT * FROM {from} LIMIT 0"), &[])?;
        Ok(None)
    }

    fn is_true(&mut self, text: &str, values: &[&str]) -> Result<bool, Failure> {
        Ok(self.asked(text, values)?.first().and_then(|row| row.first()).is_some_and(|cell| cell.as_deref() == Some("true")))
    }

    /// Reads the rows of a copy: a line each, tabs between cells. One thread takes what comes, another makes rows of it.
    fn copied(&mut self, statement: &str, row: &mut dyn FnMut(Cells<'_>)) -> Result<(), Failure> {
        let (client, password) = (&mut self.client, self.password.as_deref());
        let copy = format!("COPY ({statement}) TO STDOUT");
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(BLOCKS_AHEAD);
            let fetching = scope.spawn(move || fetch(client, &copy, password, &sender));
            let mut plain = Vec::new();
            for block in receiver {
                rows_of(&block, &mut plain, row);
            }
            fetching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Hands on what a copy delivers, in blocks of whole lines.
fn fetch(client: &mut Client, copy: &str, password: Option<&str>, blocks: &SyncSender<Vec<u8>>) -> Result<(), Failure> {
    let mut reader = client.copy_out(copy).map_err(|error| failure(&error, password))?;
    let broken = |error: &std::io::Error| match error.get_ref().and_then(|inner| inner.downcast_ref::<postgres::Error>()) {
        Some(inner) => failure(inner, password),
        None => Failure::ours(Fault::Lost, error.to_string()),
    };
    let mut block: Vec<u8> = Vec::with_capacity(BLOCK_BYTES);
    loop {
        let delivered = reader.fill_buf().map_err(|error| broken(&error))?;
        let (length, is_last) = (delivered.len(), delivered.is_empty());
        block.extend_from_slice(delivered);
        reader.consume(length);
        if is_last || block.len() >= BLOCK_BYTES {
            let end = if is_last { block.len() } else { memchr::memrchr(b'\n', &block).map_or(0, |at| at + 1) };
            if end == 0 && !is_last {
                continue;
            }
            let mut rest = Vec::with_capacity(BLOCK_BYTES);
            rest.extend_from_slice(&block[end..]);
            block.truncate(end);
            // Nobody takes blocks any more only where the taker panicked.
            if blocks.send(std::mem::replace(&mut block, rest)).is_err() || is_last {
                return Ok(());
            }
        }
    }
}

/// The rows of whole lines.
fn rows_of(block: &[u8], plain: &mut Vec<u8>, row: &mut dyn FnMut(Cells<'_>)) {
    let mut ranges = Vec::new();
    let mut cells: Vec<Option<&[u8]>> = Vec::new();
    let mut rest = block;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        if memchr::memchr(b'\\', line).is_none() {
            cells.clear();
            cells.extend(line.split(|byte| *byte == b'\t').map(Some));
            row(&cells);
        } else {
            unescape(line, plain, &mut ranges);
            let texts: Vec<Option<&[u8]>> = ranges.iter().map(|range| range.map(|(start, end)| &plain[start..end])).collect();
            row(&texts);
        }
    }
}

/// The cells of a line in the text format of `COPY`, as ranges of `plain`.
fn unescape(line: &[u8], plain: &mut Vec<u8>, cells: &mut Vec<Option<(usize, usize)>>) {
    plain.clear();
    cells.clear();
    for cell in line.split(|byte| *byte == b'\t') {
        if cell == b"\\N" {
            cells.push(None);
            continue;
        }
        let start = plain.len();
        let mut rest = cell;
        while let Some(at) = memchr::memchr(b'\\', rest) {
            plain.extend_from_slice(&rest[..at]);
            let (meant, after) = match rest.get(at + 1) {
                Some(b'b') => (8, at + 2),
                Some(b'f') => (12, at + 2),
                Some(b'n') => (b'\n', at + 2),
                Some(b'r') => (b'\r', at + 2),
                Some(b't') => (b'\t', at + 2),
                Some(b'v') => (11, at + 2),
                Some(other) => (*other, at + 2),
                None => (b'\\', at + 1),
            };
            plain.push(meant);
            rest = &rest[after..];
        }
        plain.extend_from_slice(rest);
        cells.push(Some((start, plain.len())));
    }
}

impl Session for PostgresSession {
    fn run(&mut self, statement: &Statement) -> Result<Given, Failure> {
        let rows = self.rows(&statement.text, &statement.values)?;
        Ok(Given { touched: rows.len() as u64, rows, first_number: None })
    }

    fn command(&mut self, text: &str) -> Result<(), Failure> {
        self.client.batch_execute(text).map_err(|error| self.failure(&error))
    }

    fn stream(&mut self, statement: &Statement, is_bulk: bool, row: &mut dyn FnMut(Cells<'_>)) -> Result<(), Failure> {
        if is_bulk && statement.values.is_empty() {
            return self.copied(&statement.text, row);
        }
        for cells in self.rows(&statement.text, &statement.values)? {
            let texts: Vec<Option<&[u8]>> = cells.iter().map(|cell| cell.as_ref().map(|text| text.as_bytes())).collect();
            row(&texts);
        }
        Ok(())
    }

    fn columns_of(&mut self, from: &str) -> Result<Vec<Column>, Failure> {
        let statement = self.client.prepare(&format!("SELECT {ROW}.* FROM {from} AS {ROW}")).map_err(|error| self.failure(&error))?;
        let column = |column: &postgres::Column| {
            let found = column.type_();
            let kind = match found.kind() {
                Kind::Enum(_) => "e",
                _ => "b",
            };
            let element = match found.kind() {
                Kind::Array(element) => Some(element.name()),
                _ => None,
            };
            let modifier = column.type_modifier();
            Column {
                name: column.name().to_owned(),
                declared: found.name().to_owned(),
                class: class_of(found.name(), kind, element, modifier),
                cast: super::statement::quoted(found.name()),
                takes_null: true,
                has_default: false,
                counts_up: false,
            }
        };
        Ok(statement.columns().iter().map(column).collect())
    }

    fn table(&mut self, parts: &[String]) -> Result<Option<Table>, Failure> {
        let quoted: Vec<String> = parts.iter().map(|part| super::statement::quoted(part)).collect();
        let from = quoted.join(".");
        let found = self.asked(
            "SELECT c.oid::text, c.relkind::text, c.relpersistence::text, \
             EXISTS (SELECT 1 FROM pg_catalog.pg_constraint f WHERE f.contype = 'f' AND f.confrelid = c.oid)::text \
             FROM pg_catalog.pg_class c WHERE c.oid = to_regclass($1::text) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
            &[&from],
        )?;
        let Some([Some(oid), Some(kind), _, referred]) = found.first().map(Vec::as_slice) else { return Ok(None) };
        let columns = self.asked(
            "WITH RECURSIVE base (asked, oid, typtype, next) AS (\
               SELECT t.oid, t.oid, t.typtype, t.typbasetype FROM pg_catalog.pg_type t \
                 WHERE t.oid IN (SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1::text::oid AND a.attnum > 0 AND NOT a.attisdropped) \
               UNION ALL \
               SELECT b.asked, t.oid, t.typtype, t.typbasetype FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.next WHERE b.typtype = 'd') \
             SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), t.typname::text, t.typtype::text, e.typname::text, \
               pg_catalog.format_type(t.oid, NULL), a.attnotnull::text, (a.atthasdef AND a.attgenerated = '' OR a.attidentity <> '')::text, \
               CASE WHEN d.typtype = 'd' THEN d.typtypmod ELSE a.atttypmod END::text, \
               array_position(i.indkey::int2[], a.attnum)::text, \
               pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT')::text \
             FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type d ON d.oid = a.atttypid \
             JOIN base b ON b.asked = a.atttypid AND b.typtype <> 'd' JOIN pg_catalog.pg_type t ON t.oid = b.oid \
             LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND t.typcategory = 'A' \
             LEFT JOIN pg_catalog.pg_index i ON i.indrelid = a.attrelid AND i.indisprimary \
             WHERE a.attrelid = $1::text::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            &[oid],
        )?;
        let mut key: Vec<(usize, String)> = Vec::new();
        let mut unreadable = Vec::new();
        let mut described = Vec::with_capacity(columns.len());
        for row in &columns {
            let text = |index: usize| row.get(index).and_then(Option::as_deref).unwrap_or_default();
            let (name, base) = (text(0).to_owned(), text(2));
            let position = text(9).parse::<usize>().ok();
            if let Some(position) = position {
                key.push((position, name.clone()));
            }
            if text(10) == "false" {
                unreadable.push(name);
                continue;
            }
            let class = class_of(base, text(3), Some(text(4)).filter(|element| !element.is_empty()), text(8).parse().unwrap_or(-1));
            let cast = if base == "bpchar" { "bpchar".to_owned() } else { text(5).to_owned() };
            described.push(Column {
                name,
                declared: text(1).to_owned(),
                class,
                cast,
                takes_null: text(6) != "true",
                has_default: text(7) == "true",
                counts_up: false,
            });
        }
        // Without any right it is what the server says when it is asked.
        if described.is_empty() {
            return self.no_columns(&from);
        }
        if key.iter().any(|(_, name)| unreadable.contains(name)) {
            key.clear();
        }
        key.sort_unstable();
        let unwritable = match kind.as_str() {
            "r" | "p" => None,
            "v" | "m" => Some("it is a view".to_owned()),
            _ => Some("it is a foreign table".to_owned()),
        };
        let is_referred_to = referred.as_deref() == Some("true");
        let key = key.into_iter().map(|(_, name)| name).collect();
        Ok(Some(Table { from, columns: described, unreadable, key, unwritable, is_referred_to }))
    }

    fn tables(&mut self) -> Result<Vec<String>, Failure> {
        let rows = self.asked(
            "SELECT CASE WHEN pg_catalog.pg_table_is_visible(c.oid) THEN c.relname::text ELSE n.nspname || '.' || c.relname END \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%' ORDER BY 1",
            &[],
        )?;
        Ok(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
    }

    fn why_not_writable(&mut self, table: &Table, may: Rights) -> Result<Option<(String, String)>, Failure> {
        if self.is_true("SELECT (pg_catalog.current_setting('transaction_read_only') = 'on')::text", &[])? {
            let message = "the database may only be read: the server is a copy, or is set so for this user".to_owned();
            return Ok(Some((message, "name the server that is written in `url`".to_owned())));
        }
        let from = table.from.as_str();
        let mut lacking = Vec::new();
        // Which columns are written is only known when they are: a right to any of them is enough here.
        for right in [("INSERT", may.create), ("UPDATE", may.update)].into_iter().filter_map(|(right, is_needed)| is_needed.then_some(right)) {
            if !self.is_true("SELECT pg_catalog.has_any_column_privilege($1::text, $2::text)::text", &[from, right])? {
                lacking.push(right.to_owned());
            }
        }
        if may.delete && !self.is_true("SELECT pg_catalog.has_table_privilege($1::text, 'DELETE')::text", &[from])? {
            lacking.push("DELETE".to_owned());
        }
        if lacking.is_empty() {
            return Ok(None);
        }
        let message = format!("the user may not write table {from}: it lacks the right to {}", lacking.join(", "));
        Ok(Some((message, "grant it, or forbid it in the job with `may = { .. = \"never\" }`".to_owned())))
    }

    fn begin_reading(&mut self) -> Result<(), Failure> {
        self.command("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    }

    fn begin_writing(&mut self) -> Result<(), Failure> {
        self.command("BEGIN ISOLATION LEVEL READ COMMITTED")
    }

    fn is_lost(&self) -> bool {
        self.client.is_closed()
    }
}

/// What a type holds; `element` is that of an array, `modifier` what stands in its brackets.
fn class_of(name: &str, kind: &str, element: Option<&str>, modifier: i32) -> Class {
    if let Some(element) = element {
        return match class_of(element, "b", None, -1) {
            Class::Unreadable => Class::Unreadable,
            Class::Document => Class::Document,
            _ => Class::Other,
        };
    }
    if kind == "e" {
        return Class::Other;
    }
    match name {
        "text" | "varchar" | "bpchar" | "citext" | "name" => Class::Text,
        "int2" | "int4" | "int8" | "oid" => Class::Integer,
        // The modifier is (precision << 16 | scale) + 4, with eleven bits of scale that may be negative.
        "numeric" => Class::Decimal((modifier >= 4).then(|| u32::try_from((((modifier - 4) & 0x7ff) ^ 1024) - 1024).unwrap_or(0))),
        "float4" => Class::Float { is_single: true },
        "float8" => Class::Float { is_single: false },
        "bool" => Class::Boolean,
        "date" => Class::Date,
        "timestamp" => Class::Datetime,
        "timestamptz" => Class::Instant,
        "uuid" | "jsonb" | "time" | "timetz" | "interval" | "inet" | "cidr" | "macaddr" | "macaddr8" => Class::Other,
        "json" | "xml" => Class::Document,
        _ => Class::Unreadable,
    }
}

/// What a failure is about, in the server's words and without the password.
fn failure(error: &postgres::Error, password: Option<&str>) -> Failure {
    if let Some((words, hint)) = why_untrusted(error) {
        return Failure { hint: Some(hint), ..Failure::ours(Fault::Encryption, words) };
    }
    let is_told = error.as_db_error().is_some();
    let (fault, words) = match error.as_db_error() {
        Some(told) => {
            let mut words = told.message().to_owned();
            if let Some(detail) = told.detail() {
                words.push_str(&format!(" ({detail})"));
            }
            // Row security has the code of a missing right, and is about one row alone.
            let is_about_a_row = told.routine() == Some("ExecWithCheckOptions");
            (if is_about_a_row { Fault::Refused } else { fault_of(told.code().code()) }, words)
        }
        None => {
            let mut words = error.to_string();
            let mut fault = if error.is_closed() { Fault::Lost } else { Fault::Other };
            let mut cause = error.source();
            if words.contains("TLS") {
                fault = Fault::Encryption;
                if cause.is_some_and(|cause| cause.to_string().contains("not support")) {
                    let hint = "let the server encrypt, or say `?sslmode=disable` where nobody can listen in between";
                    return Failure { hint: Some(hint), ..Failure::ours(fault, "the server offers no encryption") };
                }
            } else if words.contains("authentication") || words.contains("configuration") {
                fault = Fault::Login;
            } else if words.contains("communicating") || words.contains("timeout") {
                fault = Fault::Lost;
            }
            let is_connecting = words.contains("connecting");
            while let Some(inner) = cause {
                if let Some(io) = inner.downcast_ref::<std::io::Error>() {
                    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, NotFound, PermissionDenied, TimedOut};
                    fault = match io.kind() {
                        _ if fault == Fault::Encryption => fault,
                        ConnectionRefused | TimedOut | HostUnreachable | NetworkUnreachable | NotFound | PermissionDenied => Fault::Unreachable,
                        _ if is_connecting => Fault::UnknownHost,
                        _ => Fault::Lost,
                    };
                }
                words = format!("{words}: {inner}");
                cause = inner.source();
            }
            (fault, words)
        }
    };
    let words = match password {
        Some(password) if !password.is_empty() => words.replace(password, "…"),
        _ => words,
    };
    let wants_certificate = is_told && words.contains("requires a valid client certificate");
    let hint = wants_certificate.then_some("name the files of a certificate that the server takes, and of its key, with `?sslcert=` and `sslkey=`");
    Failure { fault, words, hint, is_told }
}

/// What an `SQLSTATE` is about.
fn fault_of(state: &str) -> Fault {
    match state {
        "23505" | "23P01" => Fault::Taken,
        "28000" | "28P01" => Fault::Login,
        "3D000" => Fault::NoDatabase,
        "25006" => Fault::ReadOnly,
        "40001" | "40P01" | "55P03" | "55006" | "57014" => Fault::Busy,
        "57P01" | "57P02" | "57P05" | "08000" | "08003" | "08006" => Fault::Lost,
        "57P03" | "53300" | "08001" | "08004" => Fault::Unreachable,
        "53100" | "53200" => Fault::Full,
        "42501" => Fault::Forbidden,
        "0A000" | "54000" | "428C9" => Fault::Refused,
        _ if ["21", "22", "23", "27", "2F", "38", "39", "44", "P0"].iter().any(|class| state.starts_with(class)) => Fault::Refused,
        _ if state.starts_with("42") || state.starts_with("3F") => Fault::Statement,
        _ => Fault::Other,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_copy_are_cells() {
        let (mut plain, mut cells) = (Vec::new(), Vec::new());
        unescape(b"1\t\\N\t\ta\\tb\\\\N\\n\t\\\\N", &mut plain, &mut cells);
        let texts: Vec<Option<&str>> = cells.iter().map(|cell| cell.map(|(start, end)| std::str::from_utf8(&plain[start..end]).unwrap())).collect();
        assert_eq!(texts, [Some("1"), None, Some(""), Some("a\tb\\N\n"), Some("\\N")]);
    }

    #[test]
    fn blocks_of_a_copy_are_rows() {
        let mut rows: Vec<Vec<Option<String>>> = Vec::new();
        let text = |cell: &Option<&[u8]>| cell.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        rows_of(b"1\tplain\n2\t\\N\n\t\n3\ta\\nb\n4\tlast", &mut Vec::new(), &mut |cells| rows.push(cells.iter().map(text).collect()));
        let told: Vec<Vec<Option<&str>>> = rows.iter().map(|row| row.iter().map(Option::as_deref).collect()).collect();
        let expected: [[Option<&str>; 2]; 5] =
            [[Some("1"), Some("plain")], [Some("2"), None], [Some(""), Some("")], [Some("3"), Some("a\nb")], [Some("4"), Some("last")]];
        assert_eq!(told, expected);
    }

    #[test]
    fn types_have_classes() {
        assert_eq!(class_of("numeric", "b", None, (10 << 16 | 2) + 4), Class::Decimal(Some(2)));
        assert_eq!(class_of("numeric", "b", None, -1), Class::Decimal(None));
        assert_eq!(class_of("bytea", "b", None, -1), Class::Unreadable);
        assert_eq!(class_of("_bytea", "b", Some("bytea"), -1), Class::Unreadable);
        assert_eq!(class_of("mood", "e", None, -1), Class::Other);
    }
}
