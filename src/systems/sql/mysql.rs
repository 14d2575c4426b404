//! Sessions with MariaDB and MySQL.
//!
//! A pull is one streamed result in a read-only transaction that sees one moment. Values are bound; cells are delivered as text in UTF-8,
//! and floats as the numbers that they are. The mode of every session is strict, so that the server refuses what it would otherwise cut or
//! make zero without a word; moments are those of UTC.
//!
//! # Design
//! - **No `RETURNING`.** MySQL has none, and MariaDB none for updates. So rows that were written are asked for again within the
//!   transaction, by the address that they were found at, or by the key or number that they got.
//! - **Asking again locks** (`FOR UPDATE`): a plain read in a transaction shows what was there when it began.
//! - **Sets of rows**: neither server joins a list of values with a table in the same words, and neither says which rows a statement touched.
//!   So a set is told case by case, a hundred rows at a time, and taken for made only if as many rows were touched as meant, and each
//!   address has exactly one.
//! - **Authorities that are named** are trusted beside the well-known ones: the client adds them and cannot leave those out.
//! - **Affected rows** are those that were found, also where nothing changed in them.

use std::time::Duration;

use mysql::consts::{CapabilityFlags, ColumnFlags, ColumnType};
use mysql::prelude::Queryable;
use mysql::{ClientIdentity, Conn, DriverError, OptsBuilder, Params, SslOpts, Value};

use super::server::{Cells, Class, Column, Connect, Dialect, Failure, Fault, Files, Given, ROW, Rights, Session, Statement, Table};
use crate::job::DatabaseUrl;
use crate::systems::encryption::why_untrusted;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// What every session is set to. A lock is waited for, but not all night.
const SETTINGS: [&str; 5] = [
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
    "SET SESSION time_zone = '+00:00'",
    "SET NAMES utf8mb4",
    "SET SESSION innodb_lock_wait_timeout = 30",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
];

/// The number of the collation `binary`: bytes, and no text.
const BINARY: u16 = 63;

struct MySqlSession {
    connection: Conn,
    password: Option<String>,
    is_lost: bool,
}

/// How sessions with the server of a `url` are opened.
pub(super) fn connecting(url: DatabaseUrl, files: Files) -> Connect {
    Box::new(move || {
        let mut options = OptsBuilder::new()
            .user(Some(url.user.clone()))
            .pass(url.password.clone())
            .db_name(Some(url.database.clone()))
            .prefer_socket(false)
            .tcp_connect_timeout(Some(CONNECT_TIMEOUT))
            .tcp_keepalive_time_ms(Some(60_000))
            .additional_capabilities(CapabilityFlags::CLIENT_FOUND_ROWS)
            .init(SETTINGS.to_vec());
        if url.host.starts_with('/') {
            options = options.socket(Some(url.host.clone()));
        } else {
            let port = url.port.as_ref().map_or(Ok(url.engine.port()), |port| port.parse());
            let port = port.map_err(|_| Failure::ours(Fault::UnknownHost, "its port is no number between 1 and 65535"))?;
            options = options.ip_or_hostname(Some(url.host.clone())).tcp_port(port);
        }
        if url.encrypts() {
            // The client reads the files itself, and says little about what is wrong with them.
            files.encryption()?;
            let identity = files.identity.clone().map(|(certificate, key)| ClientIdentity::new(certificate, key));
            options = options.ssl_opts(SslOpts::default().with_root_cert_path(files.authorities.clone()).with_client_identity(identity));
        }
        let connection = Conn::new(options).map_err(|error| failure(&error, url.password.as_deref(), true))?;
        Ok(Box::new(MySqlSession { connection, password: url.password.clone(), is_lost: false }))
    })
}

/// A cell as text; nothing for NULL.
fn text_of(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(bytes),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        Value::UInt(number) => Some(number.to_string().into_bytes()),
        Value::Float(number) => Some(number.to_string().into_bytes()),
        Value::Double(number) => Some(number.to_string().into_bytes()),
        other => Some(other.as_sql(true).trim_matches('\'').as_bytes().to_vec()),
    }
}

impl MySqlSession {
    fn failed(&mut self, error: &mysql::Error) -> Failure {
        let failure = failure(error, self.password.as_deref(), false);
        self.is_lost |= failure.fault == Fault::Lost;
        failure
    }

    /// Runs a statement and hands on its rows; how many it touched and the first number that it gave.
    fn executed(&mut self, text: &str, values: &[Option<String>], row: &mut dyn FnMut(Vec<Option<Vec<u8>>>)) -> Result<(u64, Option<u64>), Failure> {
        let run = |connection: &mut Conn, row: &mut dyn FnMut(Vec<Option<Vec<u8>>>)| -> mysql::Result<(u64, Option<u64>)> {
            let bound = |value: &Option<String>| value.as_ref().map_or(Value::NULL, |text| Value::Bytes(text.clone().into_bytes()));
            let parameters = if values.is_empty() { Params::Empty } else { Params::Positional(values.iter().map(bound).collect()) };
            let mut result = connection.exec_iter(text, parameters)?;
            let (touched, number) = (result.affected_rows(), result.last_insert_id());
            for found in result.by_ref() {
                row(found?.unwrap().into_iter().map(text_of).collect());
            }
            Ok((touched, number))
        };
        run(&mut self.connection, row).map_err(|error| self.failed(&error))
    }

    fn rows(&mut self, text: &str, values: &[Option<String>]) -> Result<Given, Failure> {
        let mut rows = Vec::new();
        let spelled = |cell: Option<Vec<u8>>| cell.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let (touched, first_number) = self.executed(text, values, &mut |row| rows.push(row.into_iter().map(spelled).collect()))?;
        Ok(Given { rows, touched, first_number: first_number.filter(|number| *number > 0) })
    }

    fn asked(&mut self, text: &str, values: &[Option<&str>]) -> Result<Vec<Vec<Option<String>>>, Failure> {
        let values: Vec<Option<String>> = values.iter().map(|value| value.map(str::to_owned)).collect();
        Ok(self.rows(text, &values)?.rows)
    }

    /// Why the user may not run a statement, without running it.
    fn forbidden(&mut self, statement: &str) -> Result<Option<String>, Failure> {
        match self.connection.query_drop(format!("EXPLAIN {statement}")) {
            Ok(()) => Ok(None),
            Err(error) => match self.failed(&error) {
                failure if failure.fault == Fault::Forbidden => Ok(Some(failure.words)),
                failure if matches!(failure.fault, Fault::Lost | Fault::ReadOnly) => Err(failure),
                // What else is wrong with the statement says nothing about rights.
                _ => Ok(None),
            },
        }
    }
}

impl Session for MySqlSession {
    fn run(&mut self, statement: &Statement) -> Result<Given, Failure> {
        self.rows(&statement.text, &statement.values)
    }

    fn command(&mut self, text: &str) -> Result<(), Failure> {
        self.connection.query_drop(text).map_err(|error| self.failed(&error))
    }

    fn stream(&mut self, statement: &Statement, _: bool, row: &mut dyn FnMut(Cells<'_>)) -> Result<(), Failure> {
        self.executed(&statement.text, &statement.values, &mut |cells| {
            let texts: Vec<Option<&[u8]>> = cells.iter().map(Option::as_deref).collect();
            row(&texts);
        })?;
        Ok(())
    }

    fn columns_of(&mut self, from: &str) -> Result<Vec<Column>, Failure> {
        let prepared = self.connection.prep(format!("SELECT {ROW}.* FROM {from} AS {ROW}"));
        let statement = prepared.map_err(|error| self.failed(&error))?;
        let column = |column: &mysql::Column| {
            let (class, declared) = class_of_result(column);
            Column {
                name: column.name_str().into_owned(),
                declared: declared.to_owned(),
                class,
                cast: cast_of(class, column.flags().contains(ColumnFlags::UNSIGNED_FLAG), 65, u32::from(column.decimals())),
                takes_null: true,
                has_default: false,
                counts_up: false,
            }
        };
        Ok(statement.columns().iter().map(column).collect())
    }

    fn table(&mut self, parts: &[String]) -> Result<Option<Table>, Failure> {
        let (schema, name) = match parts {
            [schema, name] => (Some(schema.as_str()), name.as_str()),
            _ => (None, parts.first().map_or("", String::as_str)),
        };
        let found = self.asked(
            "SELECT CAST(t.TABLE_SCHEMA AS CHAR), CAST(t.TABLE_TYPE AS CHAR), CAST(t.ENGINE AS CHAR), CAST(e.TRANSACTIONS AS CHAR) \
             FROM information_schema.TABLES t LEFT JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE \
             WHERE t.TABLE_SCHEMA = COALESCE(?, DATABASE()) AND CAST(t.TABLE_NAME AS BINARY) = CAST(? AS BINARY)",
            &[schema, Some(name)],
        )?;
        let Some([Some(schema), Some(kind), engine, transactions]) = found.first().map(Vec::as_slice) else { return Ok(None) };
        let place = [Some(schema.as_str()), Some(name)];
        let rows = self.asked(
            "SELECT CAST(COLUMN_NAME AS CHAR), CAST(COLUMN_TYPE AS CHAR), CAST(DATA_TYPE AS CHAR), CAST(NUMERIC_PRECISION AS CHAR), \
             CAST(NUMERIC_SCALE AS CHAR), CAST(IS_NULLABLE AS CHAR), CAST(COLUMN_DEFAULT IS NOT NULL AS CHAR), CAST(EXTRA AS CHAR), \
             CAST(PRIVILEGES AS CHAR) \
             FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION",
            &place,
        )?;
        let key = self.asked(
            "SELECT CAST(COLUMN_NAME AS CHAR) FROM information_schema.STATISTICS \
             WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND INDEX_NAME = 'PRIMARY' ORDER BY SEQ_IN_INDEX",
            &place,
        )?;
        let key: Vec<String> = key.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
        let referring =
            self.asked("SELECT '1' FROM information_schema.KEY_COLUMN_USAGE WHERE REFERENCED_TABLE_SCHEMA = ? AND REFERENCED_TABLE_NAME = ? LIMIT 1", &place)?;
        // Views of the server itself name no rights.
        let may_read = |row: &Vec<Option<String>>| {
            row.get(8).and_then(Option::as_deref).is_none_or(|may| may.is_empty() || may.split(',').any(|right| right.trim() == "select"))
        };
        let (readable, unreadable): (Vec<_>, Vec<_>) = rows.iter().partition(|row| may_read(row));
        let unreadable: Vec<String> = unreadable.into_iter().filter_map(|row| row.first().cloned().flatten()).collect();
        let key = if key.iter().any(|name| unreadable.contains(name)) { Vec::new() } else { key };
        let columns = readable.into_iter().map(|row| {
            let text = |index: usize| row.get(index).and_then(Option::as_deref).unwrap_or_default();
            let (name, declared, data_type) = (text(0).to_owned(), text(1).to_owned(), text(2).to_ascii_lowercase());
            let scale: u32 = text(4).parse().unwrap_or(0);
            let class = class_of_type(&data_type, scale);
            let counts_up = text(7).contains("auto_increment");
            Column {
                cast: cast_of(class, declared.contains("unsigned"), text(3).parse().unwrap_or(65), scale),
                class,
                takes_null: text(5) == "YES",
                has_default: counts_up || text(6) == "1" && text(6) != "NULL",
                counts_up,
                name,
                declared,
            }
        });
        let unwritable = match (kind.as_str(), transactions.as_deref()) {
            (kind, _) if kind.contains("VIEW") => Some("it is a view".to_owned()),
            (_, Some("YES")) => None,
            _ => Some(format!("its engine `{}` has no transactions, so a write that fails would be half done", engine.as_deref().unwrap_or("?"))),
        };
        let from = parts.iter().map(|part| Dialect::MySql.quoted(part)).collect::<Vec<_>>().join(".");
        Ok(Some(Table { from, columns: columns.collect(), unreadable, key, unwritable, is_referred_to: !referring.is_empty() }))
    }

    fn tables(&mut self) -> Result<Vec<String>, Failure> {
        let rows = self.asked("SELECT CAST(TABLE_NAME AS CHAR) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() ORDER BY 1", &[])?;
        Ok(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
    }

    fn why_not_writable(&mut self, table: &Table, may: Rights) -> Result<Option<(String, String)>, Failure> {
        let read_only = self.asked("SELECT CAST(@@global.read_only AS CHAR)", &[])?;
        if read_only.first().and_then(|row| row.first()).is_some_and(|cell| !matches!(cell.as_deref(), None | Some("0" | "OFF"))) {
            let message = "the database may only be read: the server is a copy, or is set so".to_owned();
            return Ok(Some((message, "name the server that is written in `url`".to_owned())));
        }
        let from = &table.from;
        let names: Vec<String> = table.columns.iter().map(|column| Dialect::MySql.quoted(&column.name)).collect();
        let mut lacking = Vec::new();
        // Which columns are written is only known when they are: a right to any of them is enough here.
        let updates: Vec<String> = names.iter().map(|name| format!("UPDATE {from} SET {name} = {name} WHERE 1 = 0")).collect();
        let inserts: Vec<String> = names.iter().map(|name| format!("INSERT INTO {from} ({name}) SELECT NULL FROM DUAL WHERE 1 = 0")).collect();
        let deletes = vec![format!("DELETE {ROW} FROM {from} AS {ROW} WHERE 1 = 0")];
        for (is_needed, statements) in [(may.update, updates), (may.create, inserts), (may.delete, deletes)] {
            let mut why = None;
            for statement in statements.iter().filter(|_| is_needed) {
                why = self.forbidden(statement)?;
                if why.is_none() {
                    break;
                }
            }
            lacking.extend(why);
        }
        if lacking.is_empty() {
            return Ok(None);
        }
        let message = format!("the user may not write table {from}: {}", lacking.join("; "));
        Ok(Some((message, "grant it, or forbid it in the job with `may = { .. = \"never\" }`".to_owned())))
    }

    fn begin_reading(&mut self) -> Result<(), Failure> {
        self.command("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
    }

    fn begin_writing(&mut self) -> Result<(), Failure> {
        self.command("START TRANSACTION READ WRITE")
    }

    fn is_lost(&self) -> bool {
        self.is_lost
    }
}

/// What a declared type holds.
fn class_of_type(data_type: &str, scale: u32) -> Class {
    match data_type {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => Class::Integer,
        "decimal" => Class::Decimal(Some(scale)),
        "float" => Class::Float { is_single: true },
        "double" => Class::Float { is_single: false },
        "date" => Class::Date,
        "datetime" => Class::Datetime,
        "timestamp" => Class::Instant,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => Class::Text,
        "enum" | "set" | "time" | "uuid" | "inet4" | "inet6" => Class::Other,
        "json" => Class::Document,
        _ => Class::Unreadable,
    }
}

/// What a column of a result holds, and the name of its type.
fn class_of_result(column: &mysql::Column) -> (Class, &'static str) {
    use ColumnType::{
        MYSQL_TYPE_BIT, MYSQL_TYPE_DATE, MYSQL_TYPE_DATETIME, MYSQL_TYPE_DATETIME2, MYSQL_TYPE_DECIMAL, MYSQL_TYPE_DOUBLE, MYSQL_TYPE_FLOAT,
        MYSQL_TYPE_GEOMETRY, MYSQL_TYPE_INT24, MYSQL_TYPE_JSON, MYSQL_TYPE_LONG, MYSQL_TYPE_LONGLONG, MYSQL_TYPE_NEWDATE, MYSQL_TYPE_NEWDECIMAL,
        MYSQL_TYPE_NULL, MYSQL_TYPE_SHORT, MYSQL_TYPE_TIME, MYSQL_TYPE_TIME2, MYSQL_TYPE_TIMESTAMP, MYSQL_TYPE_TIMESTAMP2, MYSQL_TYPE_TINY, MYSQL_TYPE_YEAR,
    };
    let flags = column.flags();
    match column.column_type() {
        MYSQL_TYPE_TINY | MYSQL_TYPE_SHORT | MYSQL_TYPE_LONG | MYSQL_TYPE_LONGLONG | MYSQL_TYPE_INT24 | MYSQL_TYPE_YEAR => (Class::Integer, "int"),
        MYSQL_TYPE_DECIMAL | MYSQL_TYPE_NEWDECIMAL => (Class::Decimal(Some(u32::from(column.decimals()))), "decimal"),
        MYSQL_TYPE_FLOAT => (Class::Float { is_single: true }, "float"),
        MYSQL_TYPE_DOUBLE => (Class::Float { is_single: false }, "double"),
        MYSQL_TYPE_DATE | MYSQL_TYPE_NEWDATE => (Class::Date, "date"),
        MYSQL_TYPE_DATETIME | MYSQL_TYPE_DATETIME2 => (Class::Datetime, "datetime"),
        MYSQL_TYPE_TIMESTAMP | MYSQL_TYPE_TIMESTAMP2 => (Class::Instant, "timestamp"),
        MYSQL_TYPE_TIME | MYSQL_TYPE_TIME2 => (Class::Other, "time"),
        MYSQL_TYPE_JSON => (Class::Document, "json"),
        MYSQL_TYPE_BIT => (Class::Unreadable, "bit"),
        MYSQL_TYPE_GEOMETRY => (Class::Unreadable, "geometry"),
        MYSQL_TYPE_NULL => (Class::Text, "null"),
        _ if flags.intersects(ColumnFlags::ENUM_FLAG | ColumnFlags::SET_FLAG) => (Class::Other, "enum"),
        _ if column.character_set() == BINARY => (Class::Unreadable, "binary"),
        _ => (Class::Text, "text"),
    }
}

/// What a text is cast to in order to be compared with numbers.
fn cast_of(class: Class, is_unsigned: bool, precision: u32, scale: u32) -> String {
    match class {
        Class::Integer if is_unsigned => "UNSIGNED".to_owned(),
        Class::Integer | Class::Boolean => "SIGNED".to_owned(),
        Class::Decimal(_) => format!("DECIMAL({},{})", precision.clamp(1, 65), scale.min(precision)),
        _ => String::new(),
    }
}

/// What a failure is about, in the server's words and without the password.
fn failure(error: &mysql::Error, password: Option<&str>, is_connecting: bool) -> Failure {
    let untrusted = match error {
        mysql::Error::TlsError(mysql::error::tls::TlsError::Tls(error)) => why_untrusted(error),
        mysql::Error::IoError(error) => why_untrusted(error),
        mysql::Error::CodecError(error) => why_untrusted(error),
        _ => None,
    };
    if let Some((words, hint)) = untrusted {
        return Failure { hint: Some(hint), ..Failure::ours(Fault::Encryption, words) };
    }
    if matches!(error, mysql::Error::DriverError(DriverError::TlsNotSupported)) {
        let hint = "let the server encrypt, or say `?sslmode=disable` where nobody can listen in between";
        return Failure { hint: Some(hint), ..Failure::ours(Fault::Encryption, "the server offers no encryption") };
    }
    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, NotFound, PermissionDenied, TimedOut};
    let unreachable =
        |kind: std::io::ErrorKind| matches!(kind, ConnectionRefused | TimedOut | HostUnreachable | NetworkUnreachable | NotFound | PermissionDenied);
    let (fault, words) = match error {
        mysql::Error::MySqlError(told) => (fault_of(told.code, &told.state), told.message.clone()),
        mysql::Error::IoError(error) if is_connecting && unreachable(error.kind()) => (Fault::Unreachable, error.to_string()),
        mysql::Error::IoError(error) if is_connecting && error.to_string().contains("lookup") => (Fault::UnknownHost, error.to_string()),
        mysql::Error::IoError(error) => (Fault::Lost, error.to_string()),
        mysql::Error::CodecError(error) => (Fault::Lost, error.to_string()),
        mysql::Error::TlsError(error) => (Fault::Encryption, error.to_string()),
        mysql::Error::DriverError(error) => {
            let fault = match error {
                DriverError::ConnectTimeout | DriverError::Timeout => Fault::Unreachable,
                DriverError::CouldNotConnect(Some((_, words, _))) if words.contains("lookup") => Fault::UnknownHost,
                DriverError::CouldNotConnect(Some((_, _, kind))) if unreachable(*kind) => Fault::Unreachable,
                DriverError::CouldNotConnect(_) => Fault::UnknownHost,
                DriverError::TlsNotSupported => Fault::Encryption,
                DriverError::UnknownAuthPlugin(_) | DriverError::OldMysqlPasswordDisabled | DriverError::CleartextPluginDisabled => Fault::Login,
                DriverError::PacketOutOfSync | DriverError::UnexpectedPacket => Fault::Lost,
                DriverError::PacketTooLarge => Fault::Refused,
                _ => Fault::Other,
            };
            let words = match error {
                DriverError::CouldNotConnect(Some((address, words, _))) => format!("{address}: {words}"),
                other => other.to_string(),
            };
            (fault, words)
        }
        other => (Fault::Other, other.to_string()),
    };
    let words = match password {
        Some(password) if !password.is_empty() => words.replace(password, "…"),
        _ => words,
    };
    Failure { fault, words, hint: None, is_told: matches!(error, mysql::Error::MySqlError(_)) }
}

/// What an error's number, or else its `SQLSTATE`, is about.
fn fault_of(code: u16, state: &str) -> Fault {
    match code {
        1062 | 1169 | 1586 | 1859 => Fault::Taken,
        1045 | 1130 | 1698 | 1251 | 1275 | 3118 | 3955 | 4151 => Fault::Login,
        1044 | 1142 | 1143 | 1227 | 1370 => Fault::Forbidden,
        1049 => Fault::NoDatabase,
        1290 | 1792 | 1836 => Fault::ReadOnly,
        1205 | 1213 | 1317 | 1020 | 3024 | 1969 | 3572 => Fault::Busy,
        1053 | 1077 | 1079 | 1152 | 1158..=1161 | 1184 | 1927 | 2006 | 2013 => Fault::Lost,
        1040 | 1203 | 1226 | 3159 => Fault::Unreachable,
        1021 | 1037 | 1038 | 1041 | 1114 => Fault::Full,
        1048 | 1264..=1267 | 1270 | 1271 | 1292 | 1364 | 1366 | 1369 | 1406 | 1411 | 1442 | 1644 | 1690 | 1906 | 3105 | 3140 | 3819 | 4025 => Fault::Refused,
        _ if ["21", "22", "23", "44", "45"].iter().any(|class| state.starts_with(class)) => Fault::Refused,
        _ if state.starts_with("42") => Fault::Statement,
        _ => Fault::Other,
    }
}
