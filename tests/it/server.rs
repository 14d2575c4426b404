//! A real HTTP server over a socket, for tests: it plays what a test tells it and keeps what it was asked.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value as Json;

/// What the server was asked.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub method: String,
    /// The path without its parameters.
    pub path: String,
    pub query: BTreeMap<String, String>,
    /// By name in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Asked {
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or(Json::Null)
    }
}

/// What the server says.
#[derive(Clone, Debug)]
pub struct Said {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// How much of the body is sent before the connection is closed; all of it if nothing is said.
    pub sent_max: Option<usize>,
    /// Whether the connection is closed without a word.
    pub is_silent: bool,
    /// The pause after each byte of the body.
    pub drip: Option<Duration>,
    /// The pause before the first byte of the answer.
    pub pause: Option<Duration>,
}

pub fn said(status: u16, body: impl Into<Vec<u8>>) -> Said {
    let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    Said { status, headers, body: body.into(), sent_max: None, is_silent: false, drip: None, pause: None }
}

impl Said {
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Said {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

type Player = Box<dyn FnMut(&Asked) -> Said + Send>;

/// A server on a port of its own.
pub struct Server {
    pub address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// How many calls are being answered, and how many were at most.
    at_once: Arc<(AtomicUsize, AtomicUsize)>,
}

impl Server {
    pub fn start(player: impl FnMut(&Asked) -> Said + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let player: Arc<Mutex<Player>> = Arc::new(Mutex::new(Box::new(player)));
        let notes = Arc::clone(&asked);
        let at_once: Arc<(AtomicUsize, AtomicUsize)> = Arc::default();
        let counts = Arc::clone(&at_once);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (player, notes, counts) = (Arc::clone(&player), Arc::clone(&notes), Arc::clone(&counts));
                std::thread::spawn(move || converse(&stream, &player, &notes, &counts));
            }
        });
        Server { address, asked, at_once }
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How many calls were answered at once, at most.
    pub fn most_at_once(&self) -> usize {
        self.at_once.1.load(Ordering::SeqCst)
    }

    pub fn count(&self, method: &str) -> usize {
        self.asked().iter().filter(|asked| asked.method == method).count()
    }
}

fn converse(stream: &TcpStream, player: &Mutex<Player>, notes: &Mutex<Vec<Asked>>, (now, most): &(AtomicUsize, AtomicUsize)) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(asked) = hear(&mut reader) {
        notes.lock().unwrap().push(asked.clone());
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let said = (player.lock().unwrap())(&asked);
        said.pause.iter().for_each(|pause| std::thread::sleep(*pause));
        now.fetch_sub(1, Ordering::SeqCst);
        if !speak(stream, &said) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

fn hear(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut body = Vec::new();
    if let Some(length) = headers.get("content-length").and_then(|length| length.parse().ok()) {
        body.resize(length, 0);
        reader.read_exact(&mut body).ok()?;
    } else if headers.get("transfer-encoding").is_some_and(|encoding| encoding == "chunked") {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).ok()?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Some(Asked { method, path: path.to_owned(), query: form(query), headers, body: String::from_utf8(body).ok()? })
}

/// Whether the connection stays.
fn speak(mut stream: &TcpStream, said: &Said) -> bool {
    if said.is_silent {
        return false;
    }
    let mut head = format!("HTTP/1.1 {} Said\r\nContent-Length: {}\r\n", said.status, said.body.len());
    for (name, value) in &said.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    let body = &said.body[..said.sent_max.unwrap_or(said.body.len()).min(said.body.len())];
    if stream.write_all(head.as_bytes()).is_err() {
        return false;
    }
    match said.drip {
        None => stream.write_all(body).is_ok() && body.len() == said.body.len(),
        Some(pause) => body.iter().all(|byte| {
            std::thread::sleep(pause);
            stream.write_all(&[*byte]).is_ok()
        }),
    }
}

/// Names and values of an address or a form.
pub fn form(text: &str) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}
