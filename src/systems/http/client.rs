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
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::blocking::Client as Agent;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::ahead::Ahead;
use super::login::Login;
pub(super) use super::wire::{Call, Reply};
use super::wire::{Fault, SECRET_CHARS_MIN, Wire, in_order, spellings, whole};
use crate::diagnostic::Place;
use crate::error::{Error, Remedy};
use crate::job::{HttpAuth, HttpMeaning, HttpOperation, HttpResponse, HttpSettings, is_loopback, url_problem};
use crate::systems::encryption::encryption;
use crate::systems::json::read::find;
use crate::systems::json::scan::{Sort, unquoted};
use crate::systems::{Opening, resolved_telling};

/// So many redirects are followed.
const REDIRECTS_MAX: u32 = 5;

/// So many requests are made for one call.
const REQUESTS_MAX: u32 = 12;

/// The first wait where nobody says how long.
const WAIT_FIRST: Duration = Duration::from_millis(500);

/// The longest wait where nobody says how long.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// So many calls for each that may run are kept until they are needed.
const HELD_MAX: usize = 2;

/// A look at a record is good for so long.
const MOMENT: Duration = Duration::from_millis(150);

/// So many calls in a row come too late after their looks.
const LATE_MAX: u32 = 8;

/// Whether after this status nobody knows what was done: something between us and the API may have lost its answer.
pub(super) fn is_uncertain(status: u16) -> bool {
    matches!(status, 408 | 499 | 302 | 303) || (status >= 500 && !matches!(status, 501 | 505))
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

/// The client of one API.
#[derive(Debug)]
pub(super) struct Client {
    wire: Arc<Wire>,
    /// Where the token of the login comes from.
    login: Option<Box<Login>>,
    /// Further hosts to which the login may go.
    hosts: Vec<String>,
    /// The parameters of a listing.
    pub list_query: Vec<(String, String)>,
    /// The body of a listing.
    pub list_body: Option<String>,
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
    ahead: Ahead,
}

impl Deref for Client {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.wire
    }
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
        let wire = Wire {
            agent: agent(settings.limits.at_once as usize)?,
            agent_afresh: agent(0)?,
            written: settings.base_url.clone(),
            base: base.clone(),
            system: system.clone(),
            headers,
            query,
            hidden: secrets,
            limits: settings.limits.clone(),
        };
        Ok(Client {
            wire: Arc::new(wire),
            login,
            hosts: settings.hosts.clone(),
            list_query,
            list_body,
            responses: settings.responses.clone(),
            patience: Duration::from_secs(u64::from(settings.retry_for_s)),
            waited: Duration::ZERO,
            made: VecDeque::new(),
            not_before: None,
            late: 0,
            requests: 0,
            again: BTreeMap::new(),
            ahead: Ahead::default(),
        })
    }

    /// Begins a pull, a write or a reading back: it may wait anew.
    pub fn begin(&mut self) {
        self.waited = Duration::ZERO;
        self.again.clear();
        self.ahead.forget();
    }

    /// Forgets what was called before it was needed: whatever is called from now on is called anew.
    pub fn forget_ahead(&mut self) {
        self.ahead.forget();
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
        Arc::make_mut(&mut self.wire).hide(secret);
    }

    /// Sees to it that the token of the login goes with the next request; another one than before, if that was refused.
    fn log_in(&mut self, is_refused: bool) -> Result<(), Error> {
        let Some(login) = &mut self.login else { return Ok(()) };
        let (name, prefix) = login.header();
        let headers = &self.wire.headers;
        let place = headers.iter().position(|(there, _)| there.eq_ignore_ascii_case(&name));
        let before = place.and_then(|place| headers[place].1.strip_prefix(&prefix).map(str::to_owned));
        let token = login.token(before.as_deref().filter(|_| is_refused))?;
        let hidden = login.secrets().to_vec();
        if before.as_ref() == Some(&token) {
            return Ok(());
        }
        let header = (name, format!("{prefix}{token}"));
        let headers = &mut Arc::make_mut(&mut self.wire).headers;
        match place {
            Some(place) => headers[place] = header,
            None => headers.push(header),
        }
        hidden.iter().for_each(|secret| self.hide(secret));
        Ok(())
    }

    /// Makes a call, and makes it again for as long as the API is busy, or something passes and it is harmless.
    ///
    /// # Errors
    /// Nothing was done, or what may be done again without harm: the API cannot be reached, stays busy, or the budget of calls is spent.
    pub fn call(&mut self, call: &Call) -> Result<Ended, Error> {
        self.settle(call, None)
    }

    /// Makes a call that only reads, and meanwhile those that will come after it, as many at once as the limits allow. What they are is a guess:
    /// one that is never called is forgotten.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn call_with(&mut self, call: &Call, upcoming: Vec<Call>) -> Result<Ended, Error> {
        let at_once = self.limits.at_once as usize;
        if at_once < 2 {
            return self.call(call);
        }
        if !self.ahead.is_begun(call) {
            // What was guessed is not what is needed.
            self.ahead.forget();
            if self.ahead.running() >= at_once {
                return self.call(call);
            }
            self.log_in(false)?;
            let path = self.path_of(&call.url).to_owned();
            self.pace(&path)?;
            self.count();
            self.ahead.start(call, &self.wire);
        }
        let mut upcoming = upcoming.into_iter().peekable();
        loop {
            let mut free = Some(Duration::ZERO);
            while upcoming.peek().is_some() {
                free = self.free_in().filter(|_| self.ahead.running() < at_once && self.ahead.held() < at_once * HELD_MAX);
                if free != Some(Duration::ZERO) {
                    break;
                }
                let Some(next) = upcoming.next().filter(|next| !self.ahead.is_begun(next)) else { continue };
                self.log_in(false)?;
                self.count();
                self.ahead.start(&next, &self.wire);
            }
            if let Some((reply, wire)) = self.ahead.take(call) {
                return self.settle(call, Some((reply, wire)));
            }
            let wait = free.filter(|_| upcoming.peek().is_some());
            if let Some(headers) = self.ahead.receive(wait) {
                self.heed(&headers);
            }
        }
    }

    /// When the next request can be made; nothing if the budget of calls is spent.
    fn free_in(&self) -> Option<Duration> {
        if self.limits.calls_max.is_some_and(|most| self.requests >= u64::from(most)) {
            return None;
        }
        let now = Instant::now();
        let of_rate = self.limits.rate.and_then(|(calls, seconds)| {
            let first = self.made.front().filter(|_| self.made.len() >= calls as usize)?;
            Some((*first + Duration::from_secs(u64::from(seconds))).saturating_duration_since(now))
        });
        let told = self.not_before.map(|moment| moment.saturating_duration_since(now));
        Some(of_rate.unwrap_or_default().max(told.unwrap_or_default()))
    }

    /// Brings a call to its end; `first` is what its first request brought, where that was made ahead, and what it was made with.
    fn settle(&mut self, call: &Call, mut first: Option<(Result<Reply, Fault>, Arc<Wire>)>) -> Result<Ended, Error> {
        let (mut requests, mut is_renewed, mut may_be_done) = (0, false, false);
        loop {
            requests += 1;
            let was_ahead = first.is_some();
            let (first, wire) = first.take().unzip();
            let (what, at_least) = match self.request(call, first) {
                Err(Fault::Stop(error)) => return Err(error),
                Err(Fault::Late) => {
                    self.late += 1;
                    if self.late > LATE_MAX {
                        return Err(self
                            .error(Remedy::MendJob, self.path_of(&call.url), format!("system `{}` cannot be written just after it was looked at", self.system))
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
                    if !was_ahead {
                        self.heed(&reply.headers);
                    }
                    let reply = self.explained(call.operation, reply);
                    if call.looked.is_some() && !self.limits.busy.contains(&reply.status) {
                        self.late = 0;
                    }
                    // A token may end between two pages. Nothing was done, so that any call can be made again.
                    if reply.status == 401 && self.login.is_some() && !is_renewed {
                        // Another call may have renewed it meanwhile.
                        if wire.is_none_or(|wire| wire.headers == self.headers) {
                            is_renewed = true;
                            self.log_in(true)?;
                        }
                        continue;
                    }
                    if reply.means == Some(HttpMeaning::Stop) && !may_be_done {
                        let error = self
                            .error(Remedy::GiveAccess, self.path_of(&call.url), format!("system `{}` lets us do nothing more", self.system))
                            .seen(format!("the API answered with status {}", reply.said));
                        return Err(match self.words(&reply) {
                            Some(words) => error.seen(format!("it says: {words}")),
                            None => error,
                        }
                        .hint("its `responses` in the job file say that such an answer ends a run"));
                    }
                    if reply.status == 429 && reply.header("x-rate-limit-problem").is_some_and(|limit| limit.trim().eq_ignore_ascii_case("day")) {
                        return Err(self
                            .error(Remedy::GiveAccess, self.path_of(&call.url), format!("system `{}` lets no more calls through today", self.system))
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
                let error = client.error(Remedy::GiveAccess, client.path_of(&call.url), why);
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
    fn heed(&mut self, headers: &HeaderMap) {
        let number = |names: [&str; 3]| names.iter().find_map(|name| headers.get(*name)?.to_str().ok()?.split([',', ';']).next()?.trim().parse::<f64>().ok());
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

    fn request(&mut self, call: &Call, mut first: Option<Result<Reply, Fault>>) -> Result<Reply, Fault> {
        let mut url = call.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let reply = match first.take() {
                Some(reply) => reply?,
                None => {
                    self.log_in(false).map_err(Fault::Stop)?;
                    let path = self.path_of(&url).to_owned();
                    self.pace(&path).map_err(Fault::Stop)?;
                    if call.looked.is_some_and(|looked| looked.elapsed() > MOMENT) {
                        return Err(Fault::Late);
                    }
                    self.count();
                    self.exchange(call, &url)?
                }
            };
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
            // `false` and 0 are nothing, unless they are what is looked for.
            Some(there) if !response.is.is_empty() || !is_nothing(there) => there,
            _ => return false,
        },
    };
    let plain = if Sort::of(part) == Sort::Text { unquoted(part) } else { None };
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
