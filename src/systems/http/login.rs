//! Tokens of a token server (OAuth 2): fetched when they are needed, renewed when they end, and kept where that must outlive the process.
//!
//! # Words
//! An *access token* goes with the calls of an API and ends soon. A *refresh token* fetches the next one; many token servers give out another
//! refresh token each time and forget the former one (*rotation*). A *kept login* is the file with the newest of both.
//!
//! It never sends a secret of the login anywhere but to the token server, and never shows one.
//!
//! # Design
//! - A kept login is durable before its access token goes with a call: whatever ends the process then, the next one goes on with it. Before
//!   the token server is asked, the same file is written with a note that a renewal has begun. That proves that there is room for what
//!   comes, and says after a cut in between why the login may be lost. Nothing can close that gap from here; most token servers take the
//!   former token for a while more, and it is what the next run sends.
//! - Kept logins lie beside the jobs and not in the folder of one: two jobs that name the same refresh token would otherwise take it from
//!   each other. A file is found by what the job file says, so two systems share it as well; whoever renews holds its lock.
//! - A kept login is bound to the token that it began with: another one where the reference leads is a new login, and wins.
//! - A refresh token that was refused is not sent again, nor is a former one tried in its place: token servers take that for a theft, and
//!   end all logins of the user.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use url::Url;

use super::client::{Call, Client, Ended, Reply};
use super::wire::whole;
use super::write::{FORM, JSON};
use crate::diagnostic::Place;
use crate::disk;
use crate::error::{Error, Remedy};
use crate::job::{HttpClientProof, HttpGrant, HttpLimits, HttpOauth2, HttpOperation, HttpSession, HttpSettings, PathStep, spell_path, url_problem};
use crate::systems::Opening;
use crate::systems::json::read::{Cell, cell, find};

/// The folder with kept logins, in that of all state. No job has such a name.
const FOLDER: &str = ".logins";

/// A token is taken for ended so many seconds before it is, and never before nine tenths of its time.
const MARGIN_S: i64 = 60;

/// For how many seconds a signed claim holds; some token servers take no longer ones.
const CLAIM_S: i64 = 180;

/// What is asked every so often while somebody else renews.
const LOOK: Duration = Duration::from_millis(50);

/// A login by a token server.
#[derive(Debug)]
pub(super) struct Login {
    server: Client,
    url: Url,
    /// The parameters of the call that do not change.
    form: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    grant: Grant,
    access: Option<Access>,
    /// The header that the token goes in, and what stands before it there.
    header: (String, String),
    call_s: u32,
}

#[derive(Debug)]
enum Grant {
    Client,
    Refresh {
        /// The token that the job file leads to.
        first: String,
        /// How the job file writes it.
        written: String,
        /// The kept login.
        path: PathBuf,
        /// The digest of what the kept login began with.
        from: String,
        /// The digest of what its access token is for.
        purpose: String,
    },
    Jwt {
        key: Box<RsaKeyPair>,
        header: Json,
        claim: Json,
    },
    Session(Session),
}

/// A login by a call of the API itself.
#[derive(Debug)]
struct Session {
    path: String,
    body: (&'static str, String),
    /// Where the token is.
    token: Option<Vec<PathStep>>,
    /// The cookie that it is otherwise in.
    cookie: String,
}

#[derive(Clone, Debug)]
struct Access {
    token: String,
    /// In seconds since 1970; it holds until it is refused, if nobody says.
    until: Option<i64>,
}

/// What is in a kept login.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    from: String,
    refresh_token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    access_token: Option<String>,
    #[serde(default)]
    purpose: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
    /// Since when a renewal is under way, of which nobody knows the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    begun: Option<String>,
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

fn is_over(until: Option<i64>) -> bool {
    until.is_some_and(|until| until <= now())
}

/// The digest of several texts, none of which can be taken for part of another.
fn digest_of(texts: &[&str]) -> String {
    disk::digest(Json::from(texts).to_string().as_bytes())
}

impl Login {
    /// A login that has asked for nothing yet. `resolve` gives a setting with its references replaced, and remembers that as a secret.
    ///
    /// # Errors
    /// `GiveAccess` for a key that is none or a reference that leads nowhere, `MendJob` for an address that cannot be called.
    pub fn new(oauth2: &HttpOauth2, settings: &HttpSettings, opening: &Opening<'_>, resolve: &dyn Fn(&str) -> Result<String, Error>) -> Result<Login, Error> {
        let system = &opening.spec.name;
        let address = crate::systems::resolved(&oauth2.token_url, opening)?;
        let refuse = |problem: &str| {
            Error::new(Remedy::MendJob, Place::of(&oauth2.token_url), format!("`token_url` of system `{system}` {problem}"))
                .seen(super::NOTHING)
                .hint("for example `https://login.example.com/oauth2/token`")
        };
        if let Some(problem) = url_problem(&address) {
            return Err(refuse(problem));
        }
        let url = Url::parse(&address).map_err(|_| refuse("is no address"))?;
        let of_server = HttpSettings {
            base_url: oauth2.token_url.clone(),
            ca: settings.ca.clone(),
            limits: HttpLimits { rate: None, calls_max: None, ..settings.limits.clone() },
            retry_for_s: settings.retry_for_s,
            ..HttpSettings::default()
        };
        let mut server = Client::new(&of_server, opening)?;
        let mut secret = |written: &str| {
            let value = resolve(written)?;
            if written != value {
                server.hide(&value);
            }
            Ok::<_, Error>(value)
        };
        let (mut form, mut headers, mut basic) = (Vec::new(), Vec::new(), None);
        let id = oauth2.client_id.as_deref().map(&mut secret).transpose()?;
        let client_secret = oauth2.client_secret.as_deref().map(&mut secret).transpose()?;
        match (&id, client_secret) {
            (Some(id), Some(key)) if oauth2.client == HttpClientProof::Basic => {
                let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let login = STANDARD.encode(format!("{}:{}", encoded(id), encoded(&key)));
                basic = Some(login.clone());
                headers.push(("Authorization".to_owned(), format!("Basic {login}")));
            }
            (Some(id), key) => {
                form.push(("client_id".to_owned(), id.clone()));
                form.extend(key.map(|key| ("client_secret".to_owned(), key)));
            }
            (None, _) => {}
        }
        form.extend(oauth2.scope.as_deref().map(|scope| ("scope".to_owned(), scope.to_owned())));
        for (name, value) in &oauth2.params {
            form.push((name.clone(), secret(value)?));
        }
        let grant = match &oauth2.grant {
            HttpGrant::Client => Grant::Client,
            HttpGrant::Refresh(written) => {
                let first = secret(written)?.trim().to_owned();
                let Some(state) = opening.state else {
                    return Err(Error::new(
                        Remedy::MendJob,
                        Place::of(written),
                        format!("system `{system}` has a refresh token, and there is no state to keep it in"),
                    )
                    .seen(super::NOTHING));
                };
                let name = digest_of(&[&oauth2.token_url, oauth2.client_id.as_deref().unwrap_or_default(), written]);
                let purpose = digest_of(&form.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]).collect::<Vec<_>>());
                let from = digest_of(&[url.as_str(), id.as_deref().unwrap_or_default(), &first]);
                Grant::Refresh { path: state.join(FOLDER).join(format!("{}.json", &name[..24])), first, written: written.clone(), from, purpose }
            }
            HttpGrant::Jwt(jwt) => {
                let key = secret(&jwt.key)?;
                let unusable = |why: &str| {
                    Error::new(Remedy::GiveAccess, Place::of(&jwt.key), format!("the private key of system `{system}` {why}"))
                        .seen(super::NOTHING)
                        .hint("an RSA key that begins with `-----BEGIN PRIVATE KEY-----`, or the JSON key file of a service account")
                };
                let (mut pem, mut issuer, mut number) = (key.clone(), None, None);
                if key.trim_start().starts_with('{') {
                    let account: Json = serde_json::from_str(&key).map_err(|_| unusable("is a JSON key file that cannot be read"))?;
                    let text = |name: &str| account[name].as_str().map(str::to_owned);
                    pem = text("private_key").ok_or_else(|| unusable("stands in a JSON key file without `private_key`"))?;
                    server.hide(&pem);
                    (issuer, number) = (text("client_email"), text("private_key_id"));
                }
                let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| unusable("is none"))?;
                let pair = match &key {
                    PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
                    other => RsaKeyPair::from_der(other.secret_der()),
                };
                let pair = pair.map_err(|_| unusable("is no RSA key of 2048 to 4096 bits"))?;
                let resolve_plain = |written: &Option<String>| written.as_deref().map(|written| crate::systems::resolved(written, opening)).transpose();
                let issuer = resolve_plain(&jwt.issuer)?.or(issuer).or(id).ok_or_else(|| unusable("does not say who signs").hint("give `issuer` in `jwt`"))?;
                let mut header = json!({"alg": "RS256", "typ": "JWT"});
                if let Some(number) = number {
                    header["kid"] = number.into();
                }
                let audience = resolve_plain(&jwt.audience)?.unwrap_or_else(|| address.clone());
                let mut claim = json!({"iss": issuer, "aud": audience});
                if let Some(subject) = resolve_plain(&jwt.subject)? {
                    claim["sub"] = subject.into();
                }
                if let Some(scope) = &oauth2.scope {
                    claim["scope"] = scope.as_str().into();
                }
                Grant::Jwt { key: Box::new(pair), header, claim }
            }
        };
        basic.iter().for_each(|login: &String| server.hide(login));
        let header = ("Authorization".to_owned(), "Bearer ".to_owned());
        Ok(Login { server, url, form, headers, grant, access: None, header, call_s: settings.limits.call_s })
    }

    /// A login by a call of the API itself that has asked for nothing yet. `resolve` as in [`Login::new`].
    ///
    /// # Errors
    /// `GiveAccess` for a reference that leads nowhere, `MendJob` for an address that cannot be called or a body that is none.
    pub fn of_session(
        session: &HttpSession,
        settings: &HttpSettings,
        opening: &Opening<'_>,
        resolve: &dyn Fn(&str) -> Result<String, Error>,
    ) -> Result<Login, Error> {
        let of_server = HttpSettings {
            base_url: settings.base_url.clone(),
            ca: settings.ca.clone(),
            headers: settings.headers.clone(),
            limits: HttpLimits { rate: None, calls_max: None, ..settings.limits.clone() },
            retry_for_s: settings.retry_for_s,
            ..HttpSettings::default()
        };
        let mut server = Client::new(&of_server, opening)?;
        let url = server.url(&session.path)?;
        let unusable = |why: String| server.error(Remedy::MendJob, &session.path, format!("the body of a login at system `{}` {why}", server.system));
        let mut body: Json = serde_json::from_str(&session.body).map_err(|error| unusable(format!("is no JSON: {error}")))?;
        let mut secrets = Vec::new();
        resolve_texts(&mut body, &mut |written| {
            let value = resolve(written)?;
            if written != value {
                secrets.push(value.clone());
            }
            Ok(value)
        })?;
        let body = if session.is_form {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            for (name, value) in body.as_object().into_iter().flatten() {
                form.append_pair(name, &value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            }
            (FORM, form.finish())
        } else {
            (JSON, body.to_string())
        };
        secrets.iter().for_each(|secret| server.hide(secret));
        let grant = Session { path: session.path.clone(), body, token: session.token.clone(), cookie: session.cookie.clone().unwrap_or_default() };
        Ok(Login {
            server,
            url,
            form: Vec::new(),
            headers: Vec::new(),
            grant: Grant::Session(grant),
            access: None,
            header: (session.header.clone(), session.prefix.clone()),
            call_s: settings.limits.call_s,
        })
    }

    /// The header that the token goes in, and what stands before it there.
    pub fn header(&self) -> (String, String) {
        self.header.clone()
    }

    /// The token to call with. One that was `refused` is never given again.
    ///
    /// # Errors
    /// There is none: the token server cannot be reached or does not accept us, or somebody else renews for too long.
    pub fn token(&mut self, refused: Option<&str>) -> Result<String, Error> {
        if let Some(access) = self.access.as_ref().filter(|access| !is_over(access.until) && refused != Some(access.token.as_str())) {
            return Ok(access.token.clone());
        }
        self.server.begin();
        let access = match &self.grant {
            Grant::Client => self.fetch(&[("grant_type", "client_credentials")], None).map_err(|failed| failed.error)?.0,
            Grant::Jwt { key, header, claim } => {
                let mut claim = claim.clone();
                claim["iat"] = now().into();
                claim["exp"] = (now() + CLAIM_S).into();
                let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claim.to_string()));
                let mut signature = vec![0; key.public().modulus_len()];
                if key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).is_err() {
                    return Err(self.server.error(Remedy::Look, "", format!("a claim of system `{}` cannot be signed", self.server.system)));
                }
                let assertion = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
                self.server.hide(&assertion);
                let own = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", assertion.as_str())];
                self.fetch(&own, None).map_err(|failed| failed.error)?.0
            }
            Grant::Refresh { .. } => self.renew(refused)?,
            Grant::Session(_) => self.open_session()?,
        };
        let token = access.token.clone();
        self.access = Some(access);
        Ok(token)
    }

    /// What no message about the API may show, whatever it echoes.
    pub fn secrets(&self) -> &[String] {
        self.server.secrets()
    }

    /// What was met at the token server, a sentence each.
    pub fn notes(&self) -> Vec<String> {
        self.server.notes().into_iter().map(|note| format!("token server: {note}")).collect()
    }

    /// Fetches an access token by the newest refresh token, and keeps what comes.
    fn renew(&mut self, refused: Option<&str>) -> Result<Access, Error> {
        let Grant::Refresh { first, written, path, from, purpose } = &self.grant else { return self.nothing() };
        let (first, written, path, from, purpose) = (first.clone(), written.clone(), path.clone(), from.clone(), purpose.clone());
        disk::create_dir_private(path.parent().unwrap_or(Path::new("")))?;
        let _held = self.lock(&path)?;
        let kept = self.kept(&path, &written)?.filter(|kept| kept.from == from);
        for secret in kept.iter().flat_map(|kept| [Some(&kept.refresh_token), kept.access_token.as_ref()]).flatten() {
            self.server.hide(secret);
        }
        if let Some(Kept { access_token: Some(token), until, purpose: theirs, .. }) = &kept
            && *theirs == purpose
            && !is_over(*until)
            && refused != Some(token.as_str())
        {
            return Ok(Access { token: token.clone(), until: *until });
        }
        let kept = kept.unwrap_or(Kept { from, refresh_token: first, ..Kept::default() });
        let begun = jiff::Timestamp::try_from(SystemTime::now()).map(|moment| moment.to_string()).unwrap_or_default();
        let under_way = Kept { access_token: None, until: None, purpose: purpose.clone(), begun: Some(begun), ..kept.clone() };
        self.keep(&path, &under_way)?;
        let refresh_token = kept.refresh_token.clone();
        match self.fetch(&[("grant_type", "refresh_token"), ("refresh_token", &refresh_token)], Some((&written, &kept))) {
            Ok((access, next)) => {
                let kept = Kept {
                    refresh_token: next.unwrap_or(refresh_token),
                    access_token: Some(access.token.clone()),
                    until: access.until,
                    begun: None,
                    ..under_way
                };
                self.keep(&path, &kept)?;
                Ok(access)
            }
            Err(Failed { error, is_answered }) => {
                if is_answered {
                    // It was not renewed, and that is known.
                    self.keep(&path, &Kept { access_token: None, until: None, ..kept })?;
                }
                Err(error)
            }
        }
    }

    /// Logs in by a call of the API itself.
    fn open_session(&mut self) -> Result<Access, Error> {
        let Grant::Session(session) = &self.grant else { return self.nothing() };
        let call = self.call(session.body.clone());
        let reply = match self.server.call(&call)? {
            Ended::Reply(reply) => reply,
            Ended::Unknown(why) => {
                let message = format!("system `{}` gave no answer to our login", self.server.system);
                return Err(self.server.error(Remedy::GiveAccess, &session.path, message).seen(why).seen(super::NOTHING));
            }
            Ended::Late => return self.nothing(),
        };
        let token = match &session.token {
            Some(path) => whole(&reply.text).and_then(|value| find(&reply.text, value, path)).and_then(|there| match cell(there.of(&reply.text), false) {
                Cell::Text(token, _) => Some(token),
                Cell::Absent | Cell::Null | Cell::Fault(_) => None,
            }),
            None => reply.headers("set-cookie").find_map(|cookie| {
                let (name, value) = cookie.split(';').next()?.split_once('=')?;
                (name.trim() == session.cookie).then(|| value.trim().to_owned())
            }),
        };
        if let Some(token) = token.filter(|token| reply.is_fine() && is_sendable(token)) {
            self.server.hide(&token);
            return Ok(Access { token, until: None });
        }
        let error = |message: String| {
            let error = self.server.error(Remedy::GiveAccess, &session.path, message).seen(format!("the API answered with status {}", reply.said));
            // An answer that is fine may hold a token where nobody looks for it.
            match self.server.words(&reply).filter(|_| !reply.is_fine()) {
                Some(words) => error.seen(format!("it says: {words}")),
                None => error,
            }
            .seen(super::NOTHING)
        };
        let system = &self.server.system;
        Err(match (reply.is_fine(), &session.token) {
            (false, _) => {
                error(format!("system `{system}` does not accept our login")).hint("look at what the references in `session.body` lead to, and at its `path`")
            }
            (true, Some(path)) => error(format!("the answer to our login at system `{system}` has no token at `${}`", spell_path(path, true)))
                .hint("correct `token` of its `session`, or look at what the references in its `body` lead to"),
            (true, None) => error(format!("the answer to our login at system `{system}` sets no cookie `{}`", session.cookie))
                .hint("correct `cookie` of its `session`, or look at what the references in its `body` lead to"),
        })
    }

    /// The call that asks for a token.
    fn call(&self, body: (&'static str, String)) -> Call {
        Call {
            operation: HttpOperation::Login,
            method: "POST".to_owned(),
            url: self.url.clone(),
            body: Some(body),
            headers: self.headers.clone(),
            is_harmless: true,
            changes: false,
            looked: None,
        }
    }

    fn nothing(&self) -> Result<Access, Error> {
        Err(self.server.error(Remedy::Look, "", format!("system `{}` has no refresh token", self.server.system)))
    }

    /// Waits for whoever renews the same login.
    fn lock(&self, path: &Path) -> Result<disk::Lock, Error> {
        let until = Instant::now() + Duration::from_secs(u64::from(self.call_s) + 5);
        loop {
            match disk::lock(&path.with_extension("lock"), &format!("process {}", std::process::id())) {
                Err(error) if error.remedy == Remedy::Wait && Instant::now() < until => std::thread::sleep(LOOK),
                Err(error) if error.remedy == Remedy::Wait => {
                    return Err(self
                        .server
                        .error(Remedy::Wait, "", format!("the login of system `{}` is renewed by another process, which does not end", self.server.system))
                        .seen(super::NOTHING)
                        .hint("wait for that process to end, then run again"));
                }
                taken => return taken,
            }
        }
    }

    fn kept(&self, path: &Path, written: &str) -> Result<Option<Kept>, Error> {
        if !path.exists() {
            return Ok(None);
        }
        let bytes = disk::read_bytes(path)?;
        serde_json::from_slice(&bytes).map(Some).map_err(|_| {
            Error::new(Remedy::GiveAccess, Place::of(path.display().to_string()), format!("the kept login of system `{}` cannot be read", self.server.system))
                .seen(super::NOTHING)
                .hint(format!("log in to the API again, put the new refresh token where `{written}` leads, and remove this file"))
        })
    }

    fn keep(&self, path: &Path, kept: &Kept) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(kept).unwrap_or_default();
        disk::publish(path, &text).map_err(|error| error.seen(format!("the login of system `{}` is kept there", self.server.system)).seen(super::NOTHING))
    }

    /// Asks the token server: an access token, and the refresh token that comes with it.
    fn fetch(&mut self, own: &[(&str, &str)], refresh: Option<(&str, &Kept)>) -> Result<(Access, Option<String>), Failed> {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(own).extend_pairs(&self.form);
        let call = self.call((FORM, form.finish()));
        let unanswered = |error: Error| Failed { error, is_answered: false };
        let reply = match self.server.call(&call).map_err(unanswered)? {
            Ended::Reply(reply) => reply,
            Ended::Late => {
                return Err(unanswered(self.server.error(
                    Remedy::GiveAccess,
                    "",
                    format!("the token server of system `{}` was not asked", self.server.system),
                )));
            }
            Ended::Unknown(why) => {
                let error = self.server.error(Remedy::GiveAccess, "", format!("the token server of system `{}` gave no answer", self.server.system));
                return Err(unanswered(error.seen(why).seen(super::NOTHING)));
            }
        };
        let answer: Json = serde_json::from_str(&reply.text).unwrap_or(Json::Null);
        let token = answer["access_token"].as_str().filter(|token| reply.is_fine() && is_sendable(token));
        let Some(token) = token else {
            return Err(Failed { error: self.refused(&reply, &answer, refresh), is_answered: true });
        };
        self.server.hide(token);
        let next = answer["refresh_token"].as_str().filter(|next| !next.is_empty()).map(str::to_owned);
        next.iter().for_each(|next| self.server.hide(next));
        let lasts = match &answer["expires_in"] {
            Json::String(text) => text.trim().parse::<f64>().ok(),
            other => other.as_f64(),
        };
        let until = lasts.map(|lasts| lasts.clamp(0.0, 1e9) as i64).map(|lasts| now() + lasts - MARGIN_S.min(lasts / 10));
        Ok((Access { token: token.to_owned(), until }, next))
    }

    fn refused(&self, reply: &Reply, answer: &Json, refresh: Option<(&str, &Kept)>) -> Error {
        let system = &self.server.system;
        let code = answer["error"].as_str().unwrap_or_default();
        let error = |message: String| {
            let error = self.server.error(Remedy::GiveAccess, "", message);
            let error = match (code, reply.is_fine()) {
                ("", true) => error.seen("there is no `access_token` in its answer"),
                ("", false) => error.seen(format!("the token server answered with status {}", reply.status)),
                (code, _) => error.seen(format!("the token server answered with status {}: `{}`", reply.status, self.server.clean(code))),
            };
            // An answer that is fine may hold a token where nobody looks for it.
            let words = self.server.words(reply).filter(|words| words != code && (!reply.is_fine() || !code.is_empty()));
            match words {
                Some(words) => error.seen(format!("it says: {words}")),
                None => error,
            }
        };
        match (code, refresh) {
            ("invalid_grant", Some((written, kept))) => {
                let mut error = error(format!("our login at system `{system}` has ended"));
                if let Some(begun) = &kept.begun {
                    error = error.seen(format!("a renewal began at {begun} and was cut off: the token that came with it is lost"));
                }
                error
                    .seen(super::NOTHING)
                    .hint(format!("log in to the API again, and put the new refresh token where `{written}` leads: it is taken from there"))
            }
            ("invalid_grant", None) => error(format!("the token server of system `{system}` does not accept what we sign"))
                .seen(super::NOTHING)
                .hint("look at `jwt`: the key, its issuer and subject, and the clock of this machine"),
            ("invalid_client" | "unauthorized_client", _) => error(format!("the token server of system `{system}` does not know us"))
                .seen(super::NOTHING)
                .hint("look at what `client_id` and `client_secret` lead to, and whether `client` is right"),
            ("invalid_scope", _) => error(format!("the token server of system `{system}` gives no token for this `scope`"))
                .seen(super::NOTHING)
                .hint("correct `scope`, or grant it to the client"),
            _ => error(format!("the token server of system `{system}` gives us no token")).seen(super::NOTHING).hint("look at `oauth2` of its `auth`"),
        }
    }
}

/// Why no token came.
struct Failed {
    error: Error,
    /// Whether the token server said no, so that nothing was renewed.
    is_answered: bool,
}

/// Replaces the references in every text of a value.
fn resolve_texts(value: &mut Json, resolve: &mut dyn FnMut(&str) -> Result<String, Error>) -> Result<(), Error> {
    match value {
        Json::String(text) => *text = resolve(text)?,
        Json::Array(items) => items.iter_mut().try_for_each(|item| resolve_texts(item, resolve))?,
        Json::Object(members) => members.values_mut().try_for_each(|member| resolve_texts(member, resolve))?,
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
    Ok(())
}

/// Whether a token can stand in a header.
fn is_sendable(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
}
