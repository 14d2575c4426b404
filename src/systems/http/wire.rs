//! One exchange with an API: what goes over the wire, what comes back, and what must never be shown.
//!
//! # Words
//! A *reply* is what the API said, whatever its status. A *fault* is that there is none that can be used.

use std::io::Read;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use flate2::read::MultiGzDecoder;
use reqwest::blocking::{Client as Agent, Response};
use reqwest::header::HeaderMap;
use url::Url;

use crate::diagnostic::Place;
use crate::error::{Error, Remedy};
use crate::job::{HttpLimits, HttpMeaning, HttpOperation};
use crate::systems::json::read::find;
use crate::systems::json::scan::{Scanner, Sort, Span, unquoted};
use crate::systems::shown;

/// So many characters of base64 tell a secret.
const BASE64_CHARS_MIN: usize = 6;

/// So many characters from the beginning of a secret tell it at the end of a text.
const CUT_CHARS_MIN: usize = 6;

/// A secret shorter than this is not looked for in texts: it would be found everywhere.
pub(super) const SECRET_CHARS_MIN: usize = 3;

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub operation: HttpOperation,
    pub method: String,
    pub url: Url,
    /// The type of the body, and the body.
    pub body: Option<(&'static str, String)>,
    pub headers: Vec<(String, String)>,
    pub is_harmless: bool,
    /// Whether it changes records. Then an answer that cannot be used says nothing of whether it was made.
    pub changes: bool,
    /// The moment of the look that it rests on; nothing if it rests on none, or if the API itself compares.
    pub looked: Option<Instant>,
}

/// What the API said.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// What it means, as a status.
    pub status: u16,
    /// The status that came.
    pub said: u16,
    /// What the job file says that it means.
    pub means: Option<HttpMeaning>,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// All headers of this name.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
    }

    pub fn is_fine(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why a request has no reply.
#[derive(Debug)]
pub(super) struct Broken {
    pub may_have_arrived: bool,
    pub why: String,
}

/// Why a request has no reply that can be used.
#[derive(Debug)]
pub(super) enum Fault {
    Broken(Broken),
    Stop(Error),
    Late,
}

/// What every call of an API has in common, and what none of its messages may show. Several threads may hold it.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    pub agent: Agent,
    /// Without connections that were used before.
    pub agent_afresh: Agent,
    pub base: Url,
    /// The base as the job file writes it.
    pub written: String,
    pub system: String,
    pub headers: Vec<(String, String)>,
    pub query: Option<(String, String)>,
    /// What is hidden, the longest first.
    pub hidden: Vec<String>,
    pub limits: HttpLimits,
}

impl Wire {
    /// Remembers a secret, so that no message shows it.
    pub fn hide(&mut self, secret: &str) {
        if secret.chars().count() < SECRET_CHARS_MIN {
            return;
        }
        self.hidden.extend(spellings(secret));
        in_order(&mut self.hidden);
    }

    /// What no message shows.
    pub fn secrets(&self) -> &[String] {
        &self.hidden
    }

    /// An error about a path, with the base as it is written.
    pub fn error(&self, remedy: Remedy, path: &str, message: String) -> Error {
        let place = if path.is_empty() { self.written.clone() } else { crate::job::joined(&self.written, path) };
        Error::new(remedy, Place::of(self.clean(&place)), message)
    }

    /// A text of the API as messages show it: without secrets, not too long.
    pub fn clean(&self, text: &str) -> String {
        shown(self.redacted(text).trim())
    }

    /// A text without secrets, in whatever form they stand there. A secret of which only the beginning is there, because somebody cut the
    /// text, is none that is shown either.
    pub fn redacted(&self, text: &str) -> String {
        hide(text, &self.hidden)
    }

    /// What the API says about a failure, in its own words; nothing if it says nothing.
    pub fn words(&self, reply: &Reply) -> Option<String> {
        let text = reply.text.trim();
        if text.is_empty() {
            return None;
        }
        if text.starts_with('<') {
            let lower = text.to_ascii_lowercase();
            let title = lower.find("<title>").and_then(|at| text.get(at + 7..)).and_then(|rest| rest.split('<').next()).map(str::trim);
            return Some(match title.filter(|title| !title.is_empty()) {
                Some(title) => format!("a web page: {}", self.clean(title)),
                None => "a web page".to_owned(),
            });
        }
        let words = whole(text).and_then(|span| said(text, span, 0));
        Some(self.redacted(&words.unwrap_or_else(|| text.to_owned()))).map(|words| shortened(&words))
    }

    /// The path of an address behind the base.
    pub fn path_of<'u>(&self, url: &'u Url) -> &'u str {
        url.path().trim_start_matches(self.base.path().trim_end_matches('/'))
    }

    /// Sends a call to `url` and takes what comes back.
    pub fn exchange(&self, call: &Call, url: &Url) -> Result<Reply, Fault> {
        let path = self.path_of(url);
        let mut url = url.clone();
        if let Some((name, key)) = &self.query {
            url.query_pairs_mut().append_pair(name, key);
        }
        let agent = if call.is_harmless { &self.agent } else { &self.agent_afresh };
        let unsendable = || Fault::Stop(self.error(Remedy::MendJob, path, format!("a call of system `{}` cannot be put together", self.system)));
        let method = reqwest::Method::from_bytes(call.method.as_bytes()).map_err(|_| unsendable())?;
        let mut builder = agent.request(method, url);
        let own = |name: &str| self.headers.iter().chain(&call.headers).any(|(own, _)| own.eq_ignore_ascii_case(name));
        for (name, value) in [("accept", "application/json"), ("accept-encoding", "gzip")] {
            if !own(name) {
                builder = builder.header(name, value);
            }
        }
        for (name, value) in self.headers.iter().chain(&call.headers) {
            builder = builder.header(name.as_str(), value.as_str());
        }
        if let Some((kind, body)) = &call.body {
            if !own("content-type") {
                builder = builder.header("content-type", *kind);
            }
            builder = builder.body(body.clone());
        }
        let request = builder.build().map_err(|_| unsendable())?;
        let begun = Instant::now();
        let response = agent.execute(request).map_err(|failure| Fault::Broken(self.broken(&failure)))?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let most = u64::from(self.limits.body_max_mb) * 1024 * 1024;
        let is_packed = headers.get("content-encoding").is_some_and(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"gzip"));
        let mut bytes = Vec::new();
        let reader = Timed { response, until: begun + Duration::from_secs(u64::from(self.limits.call_s)), read_s: self.limits.read_s };
        let read = if is_packed { MultiGzDecoder::new(reader).take(most + 1).read_to_end(&mut bytes) } else { reader.take(most + 1).read_to_end(&mut bytes) };
        if let Err(failure) = read {
            // The status is known, and what was done is done.
            let why = match failure.kind() {
                std::io::ErrorKind::TimedOut if begun.elapsed() >= Duration::from_secs(u64::from(self.limits.call_s)) => {
                    format!("the call took longer than {} seconds", self.limits.call_s)
                }
                std::io::ErrorKind::TimedOut => format!("nothing more was said for {} seconds", self.limits.read_s),
                _ => format!("the answer ended too early: {}", self.clean(&innermost(&failure))),
            };
            return Err(Fault::Broken(Broken { may_have_arrived: true, why }));
        }
        // A download that is packed in itself, whatever its headers say.
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut unpacked = Vec::new();
            if let Err(failure) = MultiGzDecoder::new(bytes.as_slice()).take(most + 1).read_to_end(&mut unpacked) {
                return Err(Fault::Broken(Broken {
                    may_have_arrived: true,
                    why: format!("the packed answer cannot be read: {}", self.clean(&innermost(&failure))),
                }));
            }
            bytes = unpacked;
        }
        if bytes.len() as u64 > most && call.changes {
            let why = format!("the answer is larger than {} megabytes", self.limits.body_max_mb);
            return Err(Fault::Broken(Broken { may_have_arrived: true, why }));
        }
        if bytes.len() as u64 > most {
            return Err(Fault::Stop(
                self.error(Remedy::MendJob, path, format!("an answer of system `{}` is larger than {} megabytes", self.system, self.limits.body_max_mb))
                    .hint("ask for smaller pages, or raise `body_max_mb` under its `limits`"),
            ));
        }
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(_) if !(200..300).contains(&status) => String::new(),
            Err(_) => {
                let why = "the answer is not in the encoding `UTF-8`".to_owned();
                return Err(if call.is_harmless && call.method == "GET" {
                    Fault::Stop(self.error(Remedy::Look, path, why).seen("JSON is always UTF-8"))
                } else {
                    Fault::Broken(Broken { may_have_arrived: true, why })
                });
            }
        };
        Ok(Reply { status, said: status, means: None, headers, text })
    }

    fn broken(&self, failure: &reqwest::Error) -> Broken {
        let connecting = |why: String| Broken { may_have_arrived: false, why };
        if !failure.is_connect() {
            let why = match failure.is_timeout() {
                true => format!("nothing more was said for {} seconds", self.limits.read_s.min(self.limits.call_s)),
                false => format!("the connection broke: {}", self.clean(&innermost(failure))),
            };
            return Broken { may_have_arrived: true, why };
        }
        if failure.is_timeout() {
            return connecting(format!("no connection within {} seconds", self.limits.connect_s));
        }
        if failure.is_dns() {
            return connecting(format!("the host `{}` is not known", self.base.host_str().unwrap_or_default()));
        }
        if let Some(tls) = causes(failure).find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
            return connecting(format!("no protected connection: {}", self.clean(&tls.to_string())));
        }
        let is_refused = |cause: &(dyn std::error::Error + 'static)| {
            cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused)
        };
        connecting(match causes(failure).any(is_refused) {
            true => "the connection is refused: nobody listens there".to_owned(),
            false => format!("no connection could be made: {}", self.clean(&innermost(failure))),
        })
    }
}

/// The forms in which a secret may be echoed: as it is, within JSON, within an address, packed as base64.
pub(super) fn spellings(secret: &str) -> Vec<String> {
    let plain = secret.trim();
    let json = serde_json::Value::from(plain).to_string();
    let json = json[1..json.len() - 1].to_owned();
    // Not everybody writes the same characters of JSON out.
    let solidus = json.replace('/', "\\/");
    let units = |text: &str, is_plain: &dyn Fn(char) -> bool| {
        text.encode_utf16().fold(String::new(), |mut out, unit| {
            match char::from_u32(u32::from(unit)).filter(|c| is_plain(*c)) {
                Some(c) => out.push(c),
                None => out.push_str(&format!("\\u{unit:04x}")),
            }
            out
        })
    };
    let html_safe = units(plain, &|c| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '&' | '\'' | '"' | '\\' | '+' | '=' | '/'));
    let ascii = units(plain, &|c| (c.is_ascii_graphic() || c == ' ') && !matches!(c, '"' | '\\'));
    let form: String = url::form_urlencoded::byte_serialize(plain.as_bytes()).collect();
    let percent = plain.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' | b'.' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out
    });
    let lower = |text: &str| {
        let mut left = 0;
        let one = |c: char| {
            left = if c == '%' { 3 } else { i32::max(left - 1, 0) };
            if left > 0 { c.to_ascii_lowercase() } else { c }
        };
        text.chars().map(one).collect::<String>()
    };
    let (form_lower, percent_lower) = (lower(&form), lower(&percent));
    let mut all = vec![secret.to_owned(), plain.to_owned(), json, solidus, html_safe, ascii, form, percent, form_lower, percent_lower];
    // Within a longer text base64 begins at one of three places; what hangs over its ends depends on the neighbours.
    for shift in 0..3 {
        let packed = STANDARD_NO_PAD.encode([vec![0; shift], plain.as_bytes().to_vec()].concat());
        let first = [0, 2, 3][shift];
        let whole = (shift + plain.len()) * 8 / 6;
        let inner = packed.get(first..whole).unwrap_or_default().to_owned();
        if inner.len() >= BASE64_CHARS_MIN {
            all.push(inner.replace('+', "-").replace('/', "_"));
            all.push(inner.replace('/', "\\/"));
            all.push(inner.replace('+', "%2B").replace('/', "%2F"));
            all.push(inner);
        }
    }
    all.retain(|one| one.chars().count() >= SECRET_CHARS_MIN);
    all
}

/// The longest first: one may be the beginning of another.
pub(super) fn in_order(secrets: &mut Vec<String>) {
    secrets.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    secrets.dedup();
}

/// A text without these secrets, nor the beginning of one at the end of the text.
fn hide(text: &str, secrets: &[String]) -> String {
    let mut clean = text.to_owned();
    for secret in secrets {
        if clean.contains(secret.as_str()) {
            clean = clean.replace(secret.as_str(), "***");
        }
    }
    let end = clean.trim_end_matches(['\u{2026}', '.', '"', '\'', '`', '}', ']', ')', ' ']).len();
    let beginning = |secret: &String| {
        let least = (secret.len() / 2).clamp(SECRET_CHARS_MIN, CUT_CHARS_MIN);
        (least..secret.len()).rev().filter(|length| secret.is_char_boundary(*length)).find(|length| clean[..end].ends_with(&secret[..*length]))
    };
    if let Some(length) = secrets.iter().filter_map(beginning).max() {
        clean.replace_range(end - length..end, "***");
    }
    clean
}

/// The body of an answer, read until a moment.
struct Timed {
    response: Response,
    until: Instant,
    read_s: u32,
}

impl Read for Timed {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if Instant::now() >= self.until {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        let asked = Instant::now();
        self.response.read(into).map_err(|failure| {
            let is_late = asked.elapsed() >= Duration::from_secs(u64::from(self.read_s)) || Instant::now() >= self.until;
            if is_late { std::io::ErrorKind::TimedOut.into() } else { failure }
        })
    }
}

/// An error and what caused it, the outermost first. What an error of the disk or the network wraps is among them.
fn causes<'e>(error: &'e (dyn std::error::Error + 'static)) -> impl Iterator<Item = &'e (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(wrapped) => Some(wrapped as &(dyn std::error::Error + 'static)),
        None => error.source(),
    })
}

/// The words of what caused an error in the end.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

/// Where the one value of a text stands; nothing if it is no JSON.
pub(super) fn whole(text: &str) -> Option<Span> {
    let mut scanner = Scanner::new(text, 0);
    scanner.space();
    let span = scanner.value().ok()?;
    scanner.space();
    scanner.peek().is_none().then_some(span)
}

/// What a value says about a failure: the text that stands where such texts usually do.
pub(super) fn said(text: &str, value: Span, level: u32) -> Option<String> {
    const KEYS: [&str; 12] =
        ["message", "detail", "error_description", "error", "errors", "title", "reason", "description", "Message", "Error", "Detail", "userErrors"];
    match Sort::of(value.of(text)) {
        Sort::Text => unquoted(value.of(text)).map(|said| said.trim().to_owned()).filter(|said| !said.is_empty()),
        Sort::Array if level < 4 => crate::systems::json::read::items(text, value).ok()?.into_iter().find_map(|item| said(text, item, level + 1)),
        Sort::Object if level < 4 => KEYS.iter().find_map(|key| said(text, find(text, value, &[crate::job::PathStep::Key((*key).to_owned())])?, level + 1)),
        _ => None,
    }
}

/// Words of an API, not too long, on one line.
pub(super) fn shortened(words: &str) -> String {
    const WORDS_MAX: usize = 300;
    let line: String = words.chars().take(WORDS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if words.chars().nth(WORDS_MAX).is_some() { format!("{line}…") } else { line }
}
