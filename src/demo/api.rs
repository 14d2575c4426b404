//! A small API of its own over a table of a demonstration, on this machine alone, so that a job against an API can be tried without one.
//!
//! It behaves as APIs of customers do: a bearer token, pages by cursor with an announced total, one record by its id, creates with an
//! idempotency key, updates and deletes with `If-Match`, errors in words. It keeps no records: they are rows of the demonstration's database,
//! which people edit there. Nothing but [`start`] is known outside.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::types::{Value as Cell, ValueRef};
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Map, Value as Json, json};

/// What a caller has to show. It protects nothing: the API listens on this machine alone, and lives as long as the demonstration.
pub const TOKEN: &str = "demo-token-of-the-platform";

/// So many records are on a page.
const PAGE_RECORDS: usize = 100;

/// The longest head and the longest body that are heard.
const HEAD_BYTES_MAX: u64 = 1 << 16;
const BODY_BYTES_MAX: usize = 1 << 20;

/// A table that is served: its database, its name and the column with the id.
#[derive(Clone, Debug)]
pub struct Served {
    /// The file of the database.
    pub database: PathBuf,
    /// The table, which is also the last part of the path.
    pub table: &'static str,
    /// The column that identifies a row, a whole number that the database gives.
    pub id: &'static str,
}

/// A call as it was heard.
struct Asked {
    method: String,
    path: String,
    query: HashMap<String, String>,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

/// What is answered: a status, headers and a body.
struct Said {
    status: u16,
    etag: Option<String>,
    body: Option<Json>,
}

impl Said {
    fn of(status: u16, body: Json) -> Said {
        Said { status, etag: None, body: Some(body) }
    }

    fn refusal(status: u16, message: &str) -> Said {
        Said::of(status, json!({"message": message}))
    }
}

/// The answers to creates by their idempotency keys.
type Created = Mutex<HashMap<String, i64>>;

/// Starts to serve on a free port of this machine, and goes on until the process ends. Gives the address.
///
/// # Errors
/// No port can be had.
pub fn start(served: Served) -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("http://{}/api", listener.local_addr()?);
    let created: Arc<Created> = Arc::default();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (served, created) = (served.clone(), Arc::clone(&created));
            std::thread::spawn(move || converse(&stream, &served, &created));
        }
    });
    Ok(address)
}

/// Answers call after call until the caller closes the connection.
fn converse(stream: &TcpStream, served: &Served, created: &Created) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream.try_clone().ok()?;
    while let Some(asked) = hear(&mut reader) {
        let said = answer(&asked, served, created).unwrap_or_else(|failure| Said::refusal(500, &failure.to_string()));
        let body = said.body.map(|body| body.to_string()).unwrap_or_default();
        let etag = said.etag.map(|etag| format!("ETag: {etag}\r\n")).unwrap_or_default();
        let head = format!("HTTP/1.1 {} \r\nContent-Type: application/json\r\nContent-Length: {}\r\n{etag}\r\n", said.status, body.len());
        writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(body.as_bytes())).ok()?;
    }
    Some(())
}

/// The next call; nothing at the end of the connection, or if it is none.
fn hear(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let read = reader.by_ref().take(HEAD_BYTES_MAX.checked_sub(head.len() as u64)?).read_until(b'\n', &mut head).ok()?;
        if read == 0 {
            return None;
        }
    }
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(&head).ok()?;
    let headers: HashMap<String, String> =
        request.headers.iter().map(|header| (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned())).collect();
    let length = headers.get("content-length").map_or(Some(0), |length| length.parse::<usize>().ok()).filter(|length| *length <= BODY_BYTES_MAX)?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = request.path?.split_once('?').unwrap_or((request.path?, ""));
    let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    Some(Asked { method: request.method?.to_owned(), path: path.to_owned(), query, headers, body })
}

fn answer(asked: &Asked, served: &Served, created: &Created) -> rusqlite::Result<Said> {
    if asked.headers.get("authorization").map(String::as_str) != Some(&format!("Bearer {TOKEN}")) {
        return Ok(Said::refusal(401, "the token is not known"));
    }
    let Some(rest) = asked.path.strip_prefix("/api/").and_then(|path| path.strip_prefix(served.table)) else {
        return Ok(Said::refusal(404, "there is nothing here"));
    };
    let connection = open(&served.database)?;
    let id = match rest.strip_prefix('/') {
        None if rest.is_empty() => None,
        Some(id) => Some(id.parse::<i64>().ok()),
        None => return Ok(Said::refusal(404, "there is nothing here")),
    };
    let no_record = || Ok(Said::refusal(404, "there is no such record"));
    match (asked.method.as_str(), id) {
        ("GET", None) => page(&connection, served, asked),
        ("POST", None) => create(&connection, served, asked, created),
        (_, None | Some(None)) if asked.method == "GET" || id.is_some() => no_record(),
        (method, Some(Some(id))) => {
            let Some(there) = record(&connection, served, id)? else { return no_record() };
            let etag = etag(&there);
            if method != "GET" && asked.headers.get("if-match").is_some_and(|wanted| *wanted != etag) {
                return Ok(Said::refusal(412, "the record was changed meanwhile"));
            }
            match method {
                "GET" => Ok(Said { status: 200, etag: Some(etag), body: Some(there) }),
                "PATCH" => change(&connection, served, asked, &format!("UPDATE {} SET {{}} WHERE {} = {id}", served.table, served.id), Some(id)),
                "DELETE" => {
                    connection.execute(&format!("DELETE FROM {} WHERE {} = ?1", served.table, served.id), [id])?;
                    Ok(Said { status: 204, etag: None, body: None })
                }
                _ => Ok(Said::refusal(405, "records are read, changed and deleted here")),
            }
        }
        _ => Ok(Said::refusal(405, "records are listed and created here")),
    }
}

fn open(database: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(database)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    Ok(connection)
}

/// The records behind a cursor, in the order of their ids.
fn page(connection: &Connection, served: &Served, asked: &Asked) -> rusqlite::Result<Said> {
    let after: i64 = asked.query.get("after").and_then(|after| after.parse().ok()).unwrap_or(i64::MIN);
    let sql = format!("SELECT * FROM {} WHERE {} > ?1 ORDER BY {} LIMIT {}", served.table, served.id, served.id, PAGE_RECORDS + 1);
    let mut statement = connection.prepare(&sql)?;
    let mut records: Vec<Json> = statement.query_map([after], as_record)?.collect::<rusqlite::Result<_>>()?;
    let has_more = records.len() > PAGE_RECORDS;
    records.truncate(PAGE_RECORDS);
    let next = records.last().filter(|_| has_more).map(|last| last[served.id].to_string());
    let total: i64 = connection.query_row(&format!("SELECT count(*) FROM {}", served.table), [], |row| row.get(0))?;
    Ok(Said::of(200, json!({"data": records, "next": next, "total": total})))
}

fn create(connection: &Connection, served: &Served, asked: &Asked, created: &Created) -> rusqlite::Result<Said> {
    let key = asked.headers.get("idempotency-key");
    let mut created = created.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(there) = key.and_then(|key| created.get(key)).and_then(|id| record(connection, served, *id).transpose()).transpose()? {
        return Ok(Said::of(200, there));
    }
    let said = change(connection, served, asked, &format!("INSERT INTO {} {{}}", served.table), None)?;
    if let (Some(key), true) = (key, said.status == 201) {
        created.insert(key.clone(), connection.last_insert_rowid());
    }
    Ok(said)
}

/// Makes a row or changes the one with this id by the members of the body. `{}` in the statement stands for them.
fn change(connection: &Connection, served: &Served, asked: &Asked, sql: &str, id: Option<i64>) -> rusqlite::Result<Said> {
    let Ok(Json::Object(members)) = serde_json::from_slice::<Json>(&asked.body) else {
        return Ok(Said::refusal(400, "the body is no JSON object"));
    };
    let columns: Vec<String> = {
        let statement = connection.prepare(&format!("SELECT * FROM {} LIMIT 0", served.table))?;
        statement.column_names().map(str::to_owned).collect()
    };
    if let Some(unknown) = members.keys().find(|name| !columns.contains(name) || **name == served.id) {
        return Ok(Said::refusal(422, &format!("`{unknown}` cannot be set")));
    }
    if members.is_empty() {
        return Ok(Said::refusal(422, "nothing is to be set"));
    }
    let values: Vec<Cell> = members.values().map(cell).collect();
    let names: Vec<String> = members.keys().map(|name| format!("\"{name}\"")).collect();
    let assigned = match id {
        Some(_) => names.iter().enumerate().map(|(index, name)| format!("{name} = ?{}", index + 1)).collect::<Vec<_>>().join(", "),
        None => format!("({}) VALUES ({})", names.join(", "), (1..=names.len()).map(|index| format!("?{index}")).collect::<Vec<_>>().join(", ")),
    };
    if let Err(failure) = connection.execute(&sql.replace("{}", &assigned), rusqlite::params_from_iter(values)) {
        return match &failure {
            rusqlite::Error::SqliteFailure(code, message) if code.code == rusqlite::ErrorCode::ConstraintViolation => {
                Ok(Said::refusal(422, message.as_deref().unwrap_or("the record breaks a rule")))
            }
            _ => Err(failure),
        };
    }
    let there = record(connection, served, id.unwrap_or_else(|| connection.last_insert_rowid()))?.unwrap_or_default();
    Ok(Said { status: if id.is_some() { 200 } else { 201 }, etag: Some(etag(&there)), body: Some(there) })
}

fn record(connection: &Connection, served: &Served, id: i64) -> rusqlite::Result<Option<Json>> {
    connection.query_row(&format!("SELECT * FROM {} WHERE {} = ?1", served.table, served.id), [id], as_record).optional()
}

/// A row as a record. Its `etag` says which version it is.
fn as_record(row: &rusqlite::Row<'_>) -> rusqlite::Result<Json> {
    let mut record = Map::new();
    for (index, name) in row.as_ref().column_names().enumerate() {
        let value = match row.get_ref(index)? {
            ValueRef::Null | ValueRef::Blob(_) => Json::Null,
            ValueRef::Integer(number) => number.into(),
            ValueRef::Real(number) => number.into(),
            ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
        };
        record.insert(name.to_owned(), value);
    }
    let record = Json::Object(record);
    let etag = etag(&record);
    let Json::Object(mut members) = record else { return Ok(Json::Null) };
    members.insert("etag".to_owned(), etag.into());
    Ok(Json::Object(members))
}

/// The version of a record: a hash of what it holds.
fn etag(record: &Json) -> String {
    match record.get("etag") {
        Some(Json::String(etag)) => etag.clone(),
        _ => format!("\"{:016x}\"", xxhash_rust::xxh3::xxh3_64(record.to_string().as_bytes())),
    }
}

fn cell(value: &Json) -> Cell {
    match value {
        Json::Null => Cell::Null,
        Json::String(text) => Cell::Text(text.clone()),
        Json::Number(number) => number.as_i64().map_or_else(|| Cell::Text(number.to_string()), Cell::Integer),
        other => Cell::Text(other.to_string()),
    }
}
