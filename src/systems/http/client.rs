//! Calls of one API: who we are, how often, how long, and what must never be shown.
//!
//! # Words
//! A *call* is one exchange that is meant; it may need several *requests*, because an API that is busy is asked again. A call is
//! *harmless* if making it twice does what making it once does. A *reply* is what the API said, whatever its status.
//!
//! # Design
//! - Nothing leaves this machine but to the scheme, host and port of `base_url`: the login goes with every request, so a redirect or a
//!   next page elsewhere is an error and never followed.
//! - What passes is waited for here, request by request, and not by pulling everything again: a long listing that is told to wait on
//!   its last page would never end. All waiting of one pull or write comes out of one budget; pacing by `rate` is none of it.
//! - A request that cannot be repeated without harm never goes over a connection that was used before: one that the API has just
//!   closed would leave nobody knowing whether it arrived.
//! - Whoever edits a record between a look at it and its write loses that edit, unless the API compares. So all waiting for the rate, for a
//!   token or for a busy API is done before the look: a call that rests on a look which is older than a moment is not sent.
//! - The library answers for the bytes of HTTP alone. Redirects, packing and statuses are looked at here. It is synchronous, as
//!   everything that calls it.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use flate2::read::MultiGzDecoder;
use reqwest::blocking::{Client as Agent, Response};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::login::Login;
use crate::diagnostic::Place;
use crate::error::{Error, Remedy};
use crate::job::{HttpAuth, HttpLimits, HttpMeaning, HttpOperation, HttpResponse, HttpSettings, is_loopback, url_problem};
use crate::systems::encryption::encryption;
use crate::systems::json::read::find;
use crate::systems::json::scan::{Scanner, Sort, Span, unquoted};
use crate::systems::{Opening, resolved_telling, shown};

/// So many redirects are followed.
const REDIRECTS_MAX: u32 = 5;

/// So many requests are made for one call.
const REQUESTS_MAX: u32 = 12;

/// The first wait where nobody says how long.
const WAIT_FIRST: Duration = Duration::from_millis(500);

/// The longest wait where nobody says how long.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// So many characters of base64 tell a secret.
const BASE64_CHARS_MIN: usize = 6;

/// So many characters from the beginning of a secret tell it at the end of a text.
const CUT_CHARS_MIN: usize = 6;

/// A look at a record is good for so long.
const MOMENT: Duration = Duration::from_millis(150);

/// So many calls in a row come too late after their looks.
const LATE_MAX: u32 = 8;

/// A secret shorter than this is not looked for in texts: it would be found everywhere.
const SECRET_CHARS_MIN: usize = 3;

/// Whether after this status nobody knows what was done: something between us and the API may have lost its answer.
pub(super) fn is_uncertain(status: u16) -> bool {
    matches!(status, 408 | 499 | 302 | 303) || (status >= 500 && !matches!(status, 501 | 505))
}

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
    headers: HeaderMap,
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

/// What became of a call.
#[derive(Debug)]
pub(super) enum Ended {
    Reply(Reply),
    /// It was sent, or part of it, and nobody knows whether it was done.
    Unknown(String),
    /// It was not sent: since the look that it rests on more than a moment has gone by.
    Late,
}

/// Why a request has no reply.
struct Broken {
    may_have_arrived: bool,
    why: String,
}

/// Why a request has no reply that can be used.
enum Fault {
    Broken(Broken),
    Stop(Error),
    Late,
}

/// The client of one API.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    /// Without connections that were used before.
    agent_afresh: Agent,
    base: Url,
    /// The base as the job file writes it.
    written: String,
    pub system: String,
    headers: Vec<(String, String)>,
    query: Option<(String, String)>,
    /// Where the token of the login comes from.
    login: Option<Box<Login>>,
    /// Further hosts to which the login may go.
    hosts: Vec<String>,
    /// The parameters of a listing.
    pub list_query: Vec<(String, String)>,
    /// The body of a listing.
    pub list_body: Option<String>,
    secrets: Vec<String>,
    limits: HttpLimits,
    responses: Vec<HttpResponse>,
    /// For how long one pull or write waits in all.
    patience: Duration,
    waited: Duration,
    /// When the last requests were made, as many as the rate allows.
    made: VecDeque<Instant>,
    not_before: Option<Instant>,
    /// How many calls in a row came too late after their looks.
    late: u32,
    pub requests: u64,
    /// By what was said how often a request was made again.
    again: BTreeMap<String, u64>,
}

impl Client {
    /// A client that has called nobody yet.
    ///
    /// # Errors
    /// `GiveAccess` for a reference that leads nowhere or certificates that cannot be read, `MendJob` for an address that cannot be called.
    pub fn new(settings: &HttpSettings, opening: &Opening<'_>) -> Result<Client, Error> {
        let secrets = RefCell::new(Vec::new());
        let resolve = |written: &str| {
            resolved_telling(written, opening, &|value| {
                if value.chars().count() >= SECRET_CHARS_MIN {
                    secrets.borrow_mut().push(value.to_owned());
                }
            })
        };
        let system = opening.spec.name.clone();
        let nothing_done = "nothing was read or written";
        // What an address refers to is no secret, and without it no message could say where.
        let address = crate::systems::resolved(&settings.base_url, opening)?;
        if let Some(problem) = url_problem(&address) {
            return Err(Error::new(Remedy::MendJob, Place::of(&settings.base_url), format!("`base_url` of system `{system}` {problem}"))
                .seen(nothing_done)
                .hint("for example `https://crm.example.com/api`"));
        }
        let base = Url::parse(&address)
            .map_err(|_| Error::new(Remedy::MendJob, Place::of(&settings.base_url), format!("`base_url` of system `{system}` is no address")))?;
        let mut headers = Vec::new();
        for (name, value) in &settings.headers {
            headers.push((name.clone(), resolve(value)?));
        }
        let (mut query, mut login) = (None, None);
        match &settings.auth {
            HttpAuth::None => {}
            HttpAuth::Bearer(token) => headers.push(("Authorization".to_owned(), format!("Bearer {}", resolve(token)?))),
            HttpAuth::Basic { user, password } => {
                let login = STANDARD.encode(format!("{}:{}", resolve(user)?, resolve(password)?));
                headers.push(("Authorization".to_owned(), format!("Basic {login}")));
                secrets.borrow_mut().push(login);
            }
            HttpAuth::Header { name, key } => headers.push((name.clone(), resolve(key)?)),
            HttpAuth::Query { name, key } => query = Some((name.clone(), resolve(key)?)),
            HttpAuth::Cookie { name, key } => headers.push(("Cookie".to_owned(), format!("{name}={}", resolve(key)?))),
            HttpAuth::Oauth2(oauth2) => login = Some(Box::new(Login::new(oauth2, settings, opening, &resolve)?)),
            HttpAuth::Session(session) => login = Some(Box::new(Login::of_session(session, settings, opening, &resolve)?)),
        }
        let mut list_query = Vec::new();
        for (name, value) in &settings.list.query {
            list_query.push((name.clone(), resolve(value)?));
        }
        let list_body = settings.list.body.as_deref().map(&resolve).transpose()?;
        let bad = headers.iter().find(|(name, value)| HeaderName::try_from(name.as_str()).is_err() || HeaderValue::try_from(value.as_str()).is_err());
        if let Some((name, _)) = bad {
            return Err(Error::new(
                Remedy::GiveAccess,
                Place::of(&settings.base_url),
                format!("the value of header `{name}` of system `{system}` cannot be sent"),
            )
            .seen("a line end or another control character is in it")
            .seen(nothing_done)
            .hint("look at what its reference leads to"));
        }
        let mut secrets = secrets.into_inner();
        secrets = secrets.iter().flat_map(|secret| spellings(secret)).collect();
        in_order(&mut secrets);
        let authorities = settings.ca.as_deref().map(|written| crate::systems::resolved(written, opening)).transpose()?;
        let encryption = encryption(authorities.map(|path| opening.root.join(path)).as_deref()).map_err(|why| {
            Error::new(
                Remedy::GiveAccess,
                Place::of(settings.ca.as_deref().unwrap_or(&settings.base_url)),
                format!("the file of authorities of system `{system}` {why}"),
            )
            .seen(nothing_done)
            .hint("`ca` names a file with `-----BEGIN CERTIFICATE-----` blocks, relative to the root")
        })?;
        let agent = |idle_max: usize| {
            let mut builder = Agent::builder()
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .user_agent(concat!("tieout/", env!("CARGO_PKG_VERSION")))
                .pool_max_idle_per_host(idle_max)
                .tls_backend_preconfigured(encryption.clone())
                .connect_timeout(Duration::from_secs(u64::from(settings.limits.connect_s)))
                // Of a part: until the headers of an answer, then for each piece of its body.
                .timeout(Duration::from_secs(u64::from(settings.limits.read_s.min(settings.limits.call_s))));
            if is_loopback(base.host_str().unwrap_or_default().trim_matches(['[', ']'])) {
                builder = builder.no_proxy();
            }
            builder.build().map_err(|failure| {
                Error::new(Remedy::Look, Place::of(&settings.base_url), format!("system `{system}` cannot be called from here"))
                    .seen(failure.to_string())
                    .seen(nothing_done)
            })
        };
        Ok(Client {
            agent: agent(4)?,
            agent_afresh: agent(0)?,
            written: settings.base_url.clone(),
            base: base.clone(),
            system,
            headers,
            query,
            login,
            hosts: settings.hosts.clone(),
            list_query,
            list_body,
            secrets,
            limits: settings.limits.clone(),
            responses: settings.responses.clone(),
            patience: Duration::from_secs(u64::from(settings.retry_for_s)),
            waited: Duration::ZERO,
            made: VecDeque::new(),
            not_before: None,
            late: 0,
            requests: 0,
            again: BTreeMap::new(),
        })
    }

    /// Begins a pull, a write or a reading back: it may wait anew.
    pub fn begin(&mut self) {
        self.waited = Duration::ZERO;
        self.again.clear();
    }

    /// What was met since it began, a sentence each.
    pub fn notes(&self) -> Vec<String> {
        let told = |(what, count): (&String, &u64)| format!("{count} {} made again: {what}", if *count == 1 { "call was" } else { "calls were" });
        self.again.iter().map(told).chain(self.login.iter().flat_map(|login| login.notes())).collect()
    }

    /// The address of a path behind the base.
    ///
    /// # Errors
    /// `MendJob` if it leads elsewhere.
    pub fn url(&self, path: &str) -> Result<Url, Error> {
        // An address without its points would be another one.
        if path.split(['/', '?']).any(|step| matches!(step, "." | ".." | "%2E" | "%2E%2E")) {
            return Err(self.error(Remedy::Look, path, "an id of points cannot stand in an address".to_owned()));
        }
        let joined = crate::job::joined(self.base.as_str(), path);
        let url = Url::parse(&joined).map_err(|_| self.error(Remedy::MendJob, path, "this is no address".to_owned()))?;
        self.same_origin(url, path)
    }

    /// The address that the API names as that of the next page, relative to the one that it was named by.
    ///
    /// # Errors
    /// `Look` if it is at another host: the login would go there.
    pub fn follow(&self, from: &Url, next: &str) -> Result<Url, Error> {
        let mut url =
            from.join(next).map_err(|_| self.error(Remedy::Look, from.path(), "the address of the next page is none".to_owned()).seen(self.clean(next)))?;
        url.set_fragment(None);
        if let Some((name, _)) = &self.query {
            // It is added to every request.
            let kept: Vec<(String, String)> =
                url.query_pairs().filter(|(key, _)| key != name).map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
            url.set_query(None);
            if !kept.is_empty() {
                url.query_pairs_mut().extend_pairs(kept);
            }
        }
        self.same_origin(url, from.path())
    }

    fn same_origin(&self, url: Url, shown_path: &str) -> Result<Url, Error> {
        let origin = |url: &Url| (url.scheme().to_owned(), url.host_str().unwrap_or_default().to_owned(), url.port_or_known_default());
        let is_ours = origin(&url) == origin(&self.base) || self.is_further_host(&url);
        if is_ours && url.username().is_empty() && url.password().is_none() {
            return Ok(url);
        }
        let place = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
        let message = format!("system `{}` was sent on to `{}`", self.system, self.clean(&place));
        Err(self
            .error(Remedy::Look, shown_path, message)
            .seen("our login goes with every call, and is never sent to another place")
            .hint("if the API has moved, correct `base_url`; if that place belongs to it, name it in `hosts`"))
    }

    fn is_further_host(&self, url: &Url) -> bool {
        let Some(host) = url.host_str().filter(|_| url_problem(url.as_str()).is_none()) else { return false };
        self.hosts.iter().any(|further| match url.port() {
            Some(port) => *further == format!("{host}:{port}"),
            None => further == host,
        })
    }

    /// Remembers a secret, so that no message shows it.
    pub fn hide(&mut self, secret: &str) {
        if secret.chars().count() < SECRET_CHARS_MIN {
            return;
        }
        self.secrets.extend(spellings(secret));
        in_order(&mut self.secrets);
    }

    /// Sees to it that the token of the login goes with the next request; another one than before, if that was refused.
    fn log_in(&mut self, is_refused: bool) -> Result<(), Error> {
        let Some(login) = &mut self.login else { return Ok(()) };
        let (name, prefix) = login.header();
        let place = self.headers.iter().position(|(there, _)| there.eq_ignore_ascii_case(&name));
        let before = place.and_then(|place| self.headers[place].1.strip_prefix(&prefix).map(str::to_owned));
        let token = login.token(before.as_deref().filter(|_| is_refused))?;
        let hidden = login.secrets().to_vec();
        if before.as_ref() == Some(&token) {
            return Ok(());
        }
        let header = (name, format!("{prefix}{token}"));
        match place {
            Some(place) => self.headers[place] = header,
            None => self.headers.push(header),
        }
        hidden.iter().for_each(|secret| self.hide(secret));
        Ok(())
    }

    /// What no message shows.
    pub fn secrets(&self) -> &[String] {
        &self.secrets
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
        hide(text, &self.secrets)
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

    /// Makes a call, and makes it again for as long as the API is busy, or something passes and it is harmless.
    ///
    /// # Errors
    /// Nothing was done, or what may be done again without harm: the API cannot be reached, stays busy, or the budget of calls is spent.
    pub fn call(&mut self, call: &Call) -> Result<Ended, Error> {
        let (mut requests, mut is_renewed, mut may_be_done) = (0, false, false);
        loop {
            requests += 1;
            let (what, at_least) = match self.request(call) {
                Err(Fault::Stop(error)) => return Err(error),
                Err(Fault::Late) => {
                    self.late += 1;
                    if self.late > LATE_MAX {
                        return Err(self
                            .error(Remedy::MendJob, path_of(self, call), format!("system `{}` cannot be written just after it was looked at", self.system))
                            .seen("before each write it makes us wait, and what somebody edits meanwhile would be overwritten")
                            .hint("give `version`, or let `rate` under its `limits` count more calls over a longer time, such as `60/min` in place of `1/s`"));
                    }
                    return Ok(Ended::Late);
                }
                Err(Fault::Broken(broken)) => {
                    if broken.may_have_arrived && !call.is_harmless {
                        return Ok(Ended::Unknown(broken.why));
                    }
                    may_be_done |= broken.may_have_arrived;
                    (broken.why, None)
                }
                Ok(reply) => {
                    self.heed(&reply);
                    let reply = self.explained(call.operation, reply);
                    if call.looked.is_some() && !self.limits.busy.contains(&reply.status) {
                        self.late = 0;
                    }
                    // A token may end between two pages. Nothing was done, so that any call can be made again.
                    if reply.status == 401 && self.login.is_some() && !is_renewed {
                        is_renewed = true;
                        self.log_in(true)?;
                        continue;
                    }
                    if reply.means == Some(HttpMeaning::Stop) && !may_be_done {
                        let error = self
                            .error(Remedy::GiveAccess, path_of(self, call), format!("system `{}` lets us do nothing more", self.system))
                            .seen(format!("the API answered with status {}", reply.said));
                        return Err(match self.words(&reply) {
                            Some(words) => error.seen(format!("it says: {words}")),
                            None => error,
                        }
                        .hint("its `responses` in the job file say that such an answer ends a run"));
                    }
                    if reply.status == 429 && reply.header("x-rate-limit-problem").is_some_and(|limit| limit.trim().eq_ignore_ascii_case("day")) {
                        return Err(self
                            .error(Remedy::GiveAccess, path_of(self, call), format!("system `{}` lets no more calls through today", self.system))
                            .seen("the API answered with status 429, `X-Rate-Limit-Problem: day`")
                            .hint("run again tomorrow, or ask for more records a page; `check --connect` tells how many calls a full pull is"));
                    }
                    let is_told_busy = reply.means == Some(HttpMeaning::Busy);
                    let is_bare = reply.means.is_none() && reply.text.trim().is_empty() && self.limits.busy_if_empty.contains(&reply.status);
                    // 503 without a word about when may come from something in between, after the API has done it.
                    let is_clear = call.is_harmless || reply.status != 503 || retry_after(&reply).is_some();
                    let is_busy = is_told_busy || (is_clear && (is_bare || self.limits.busy.contains(&reply.status)));
                    let is_tried_again = is_busy || (call.is_harmless && reply.status >= 400 && is_uncertain(reply.status));
                    if !is_tried_again {
                        // An answer to a repetition says nothing of what became of the first one.
                        if call.changes && (is_uncertain(reply.status) || (may_be_done && !reply.is_fine())) {
                            let words = self.words(&reply).map(|words| format!(": {words}")).unwrap_or_default();
                            return Ok(Ended::Unknown(format!("the API answered with status {}{words}", reply.said)));
                        }
                        return Ok(Ended::Reply(reply));
                    }
                    may_be_done |= !is_busy;
                    (format!("the API answered with status {}", reply.said), retry_after(&reply))
                }
            };
            let give_up = |client: &Client, why: String| {
                let error = client.error(Remedy::GiveAccess, path_of(client, call), why);
                error.seen(what.clone()).seen(format!(
                    "{} {} made, with {:.0} s of waiting",
                    requests,
                    if requests == 1 { "request was" } else { "requests were" },
                    client.waited.as_secs_f64()
                ))
            };
            let wait = at_least.unwrap_or_else(|| back_off(requests));
            if requests >= REQUESTS_MAX || self.waited + wait > self.patience {
                let message = match at_least {
                    Some(wait) => format!("system `{}` asks to wait {} seconds", self.system, wait.as_secs()),
                    None => format!("system `{}` cannot be reached", self.system),
                };
                return Err(give_up(self, message).hint("try again later; `retry_for_s` under `[apply]` says for how long a run waits"));
            }
            *self.again.entry(what).or_default() += 1;
            self.waited += wait;
            std::thread::sleep(wait);
        }
    }

    /// A reply with the status that means what the job file says of it.
    fn explained(&self, operation: HttpOperation, mut reply: Reply) -> Reply {
        reply.means = self.responses.iter().find(|response| is_meant(response, operation, &reply)).map(|response| response.means);
        reply.status = match reply.means {
            Some(HttpMeaning::Fine) => 200,
            Some(HttpMeaning::Busy) => 429,
            Some(HttpMeaning::Refused) => 422,
            Some(HttpMeaning::Stale) => 412,
            Some(HttpMeaning::Gone) => 404,
            Some(HttpMeaning::Login) => 401,
            Some(HttpMeaning::Stop) => 403,
            None => reply.status,
        };
        reply
    }

    /// What the headers say about when the next request may be made.
    fn heed(&mut self, reply: &Reply) {
        let number = |names: [&str; 3]| names.iter().find_map(|name| reply.header(name)?.split([',', ';']).next()?.trim().parse::<f64>().ok());
        let left = number(["x-ratelimit-remaining", "ratelimit-remaining", "x-rate-limit-remaining"]);
        let reset = number(["x-ratelimit-reset", "ratelimit-reset", "x-rate-limit-reset"]);
        if let (Some(left), Some(reset)) = (left, reset)
            && left < 1.0
            && reset.is_finite()
        {
            // A large number is a moment, a small one a time from now.
            let seconds = if reset > 1e9 { reset - SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() } else { reset };
            self.not_before = Some(Instant::now() + Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0)));
        }
    }

    /// Waits until so many calls can be made one after the other without a wait, as far as the rate lets that many.
    pub fn reserve(&mut self, calls: u64) {
        let Some((most, seconds)) = self.limits.rate else { return };
        let wanted = usize::try_from(calls).unwrap_or(usize::MAX).clamp(1, (most as usize).max(1));
        let taken = (self.made.len() + wanted).checked_sub(most as usize + 1).and_then(|index| self.made.get(index));
        if let Some(made) = taken {
            std::thread::sleep((*made + Duration::from_secs(u64::from(seconds))).saturating_duration_since(Instant::now()));
        }
    }

    /// Waits for the next request.
    fn pace(&mut self, path: &str) -> Result<(), Error> {
        if let Some(most) = self.limits.calls_max
            && self.requests >= u64::from(most)
        {
            return Err(self
                .error(Remedy::GiveAccess, path, format!("system `{}` has had its {most} calls of this run", self.system))
                .hint("raise `calls_max` under its `limits`, or ask for larger pages"));
        }
        if let Some(free) = self.not_before.take() {
            let wait = free.saturating_duration_since(Instant::now());
            if self.waited + wait > self.patience {
                return Err(self
                    .error(Remedy::GiveAccess, path, format!("system `{}` takes no more calls for {} seconds", self.system, wait.as_secs()))
                    .hint("try again later; `retry_for_s` under `[apply]` says for how long a run waits"));
            }
            self.waited += wait;
            std::thread::sleep(wait);
        }
        if let Some((calls, seconds)) = self.limits.rate {
            let window = Duration::from_secs(u64::from(seconds));
            if self.made.len() >= calls as usize
                && let Some(first) = self.made.front()
            {
                std::thread::sleep((*first + window).saturating_duration_since(Instant::now()));
            }
        }
        Ok(())
    }

    /// Counts a request that is made now.
    fn count(&mut self) {
        if let Some((calls, _)) = self.limits.rate {
            if self.made.len() >= calls as usize {
                self.made.pop_front();
            }
            self.made.push_back(Instant::now());
        }
        self.requests += 1;
    }

    fn request(&mut self, call: &Call) -> Result<Reply, Fault> {
        let mut url = call.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let path = url.path().trim_start_matches(self.base.path().trim_end_matches('/')).to_owned();
            self.log_in(false).map_err(Fault::Stop)?;
            self.pace(&path).map_err(Fault::Stop)?;
            if call.looked.is_some_and(|looked| looked.elapsed() > MOMENT) {
                return Err(Fault::Late);
            }
            self.count();
            let reply = self.exchange(call, &url, &path)?;
            let leads_on = matches!(reply.status, 301 | 302 | 307 | 308) && (call.method == "GET" || matches!(reply.status, 307 | 308));
            match reply.header("location").filter(|_| leads_on) {
                Some(location) => url = self.follow(&url, location).map_err(Fault::Stop)?,
                None => return Ok(reply),
            }
        }
        Err(Fault::Stop(
            self.error(Remedy::Look, call.url.path(), format!("system `{}` sends on and on", self.system))
                .seen(format!("{REDIRECTS_MAX} redirects were followed")),
        ))
    }

    fn exchange(&self, call: &Call, url: &Url, path: &str) -> Result<Reply, Fault> {
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
fn spellings(secret: &str) -> Vec<String> {
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
fn in_order(secrets: &mut Vec<String>) {
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

/// The path of a call behind the base.
fn path_of<'c>(client: &Client, call: &'c Call) -> &'c str {
    call.url.path().trim_start_matches(client.base.path().trim_end_matches('/'))
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

/// Whether a reply is one that the job file says something about.
fn is_meant(response: &HttpResponse, operation: HttpOperation, reply: &Reply) -> bool {
    let text = reply.text.strip_prefix('\u{feff}').unwrap_or(&reply.text);
    if operation == HttpOperation::Login
        || !(response.calls.is_empty() || response.calls.contains(&operation))
        || !(response.status.is_empty() || response.status.contains(&reply.said))
    {
        return false;
    }
    let part = match &response.path {
        None => text,
        Some(path) => match whole(text).and_then(|value| find(text, value, path)).map(|there| there.of(text)) {
            Some(there) if !is_nothing(there) => there,
            _ => return false,
        },
    };
    let plain = unquoted(part);
    let plain = plain.as_deref().unwrap_or(part);
    let is_one = response.is.is_empty() || response.is.iter().any(|wanted| wanted == plain);
    is_one && response.says.as_ref().is_none_or(|words| plain.to_lowercase().contains(&words.to_lowercase()))
}

/// Whether a value says that there is nothing.
pub(super) fn is_nothing(value: &str) -> bool {
    matches!(value, "null" | "false" | "\"\"" | "0") || value.trim_matches(['[', ']', '{', '}', ' ', '\n', '\r', '\t']).is_empty()
}

/// How long an API asks to be left alone: seconds, or a moment by its own clock.
fn retry_after(reply: &Reply) -> Option<Duration> {
    let said = reply.header("retry-after")?.trim();
    if let Ok(seconds) = said.parse::<f64>() {
        return Some(Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0)));
    }
    let moment = |text: &str| jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp());
    let now = reply.header("date").and_then(moment).or_else(|| jiff::Timestamp::try_from(SystemTime::now()).ok())?;
    Some(Duration::from_secs(u64::try_from(moment(said)?.as_second() - now.as_second()).unwrap_or(0).min(86_400)))
}

/// How long to wait before the next request where nobody says: longer each time, and never quite as long as others do.
fn back_off(requests: u32) -> Duration {
    let doubled = WAIT_FIRST.saturating_mul(1 << requests.saturating_sub(1).min(10)).min(WAIT_MAX);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    doubled.mul_f64(0.5 + f64::from(nanos % 1000) / 2000.0)
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
