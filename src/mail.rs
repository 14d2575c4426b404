//! Delivers mail: to a mail server, or into the outbox folder, where a person or another program picks it up.
//!
//! Never composes anything: it takes the bytes of a message as they are. Never decides when to try again: it tells what the
//! server said of every recipient, and the queue decides.
//!
//! # Words
//! An answer of the server is *final* if it concerns this recipient or this message for good (`550 no such user`). All else
//! may become right: a server that is away, a password that is mended, a mailbox that is full today.
//!
//! # Design
//! Each recipient is asked for by itself, so that one that is refused does not stop the others. A conversation is held on a
//! thread of its own, which is abandoned when its time is over: name servers and trickling mail servers answer to no other
//! limit. A message whose end the server did not confirm may have arrived; it is delivered again under the same
//! `Message-ID`, so that what arrives twice can be told to be one: mail is delivered at least once.
//!
//! The password goes to the named server alone, after its certificate was found right, and a text of the server that
//! repeats it is shown without it.

use std::error::Error as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use lettre::Address;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS, Mechanism};
use lettre::transport::smtp::client::{Certificate, CertificateStore, SmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Auth, Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::{Category, Code, Detail, Response, Severity};

use crate::diagnostic::Place;
use crate::error::{Error, Remedy};
use crate::job::{Reference, Security, ServerSettings, is_loopback, resolve};

/// Answers of a server are shown up to this many characters.
const SAID_CHARACTERS_MAX: usize = 200;

/// A text of `[mail]` with its references resolved: `${env:NAME}` from the environment, `${file:path}` relative to the root.
///
/// # Errors
/// `GiveAccess` if a reference leads nowhere. The message shows the text as it is written.
pub fn resolved(written: &str, key: &str, root: &Path) -> Result<String, Error> {
    let read = |reference: Reference<'_>| match reference {
        Reference::Env(name) => std::env::var(name).map_err(|_| format!("the environment has no variable `{name}`")),
        Reference::File(path) => fs::read_to_string(root.join(path)).map_err(|_| format!("the file `{path}` cannot be read")),
    };
    resolve(written, &read).map_err(|why| {
        Error::new(Remedy::GiveAccess, Place::of(written), format!("a reference of `{key}` cannot be resolved"))
            .seen(why)
            .seen("no mail was sent")
            .hint("set the variable, or make the file, for the user that runs this")
    })
}

/// A message that is ready to be sent.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The sender, for the envelope.
    pub from: String,
    /// The recipients, for the envelope: whoever still waits for it.
    pub to: Vec<String>,
    /// The message, with its headers.
    pub message: Vec<u8>,
}

/// What a server did with a letter for one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It took it.
    Taken,
    /// It will never take it.
    Refused,
    /// It did not take it; it may the next time.
    Later,
}

/// What became of a letter for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The recipient, as it was given.
    pub to: String,
    /// What became of it.
    pub fate: Fate,
    /// The words of the server, or what went wrong, in one line.
    pub said: String,
}

/// Why a conversation ended before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What is wrong, in one line.
    pub what: String,
    /// What to do about it.
    pub hint: String,
}

impl Trouble {
    fn new(what: impl Into<String>, hint: impl Into<String>) -> Trouble {
        Trouble { what: what.into(), hint: hint.into() }
    }
}

/// What became of letters.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// By letter: an answer for every recipient; none where the time did not suffice to begin with it.
    pub answers: Vec<Vec<Answer>>,
    /// What was said, step by step, in words.
    pub steps: Vec<String>,
    /// Why it ended early, if it did.
    pub trouble: Option<Trouble>,
}

/// A mail server with its references resolved.
#[derive(Clone)]
pub struct Server {
    host: String,
    port: u16,
    security: Security,
    login: Option<(String, String)>,
    authorities: Option<Vec<Certificate>>,
    timeout: Duration,
}

/// Never the password.
impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.place(), self.security)
    }
}

enum Event {
    Step(String),
    Begun(usize),
    Answered(usize, Vec<Answer>),
    Over(Option<Trouble>),
}

impl Server {
    /// The server that the settings name. Nothing is sent.
    ///
    /// # Errors
    /// A reference leads nowhere, the file of authorities cannot be read or holds none, or the connection would leave this
    /// machine unprotected.
    pub fn open(settings: &ServerSettings, root: &Path) -> Result<Server, Error> {
        let host = resolved(&settings.host, "mail.smtp", root)?.trim().to_owned();
        let place = || Place::of(format!("{}:{}", settings.host, settings.port));
        if settings.security == Security::Plain && !is_loopback(&host) {
            return Err(Error::new(Remedy::MendJob, place(), "the mail server is not this machine, and the connection would be unprotected")
                .seen("no mail was sent")
                .hint("set `security` under `[mail]` to `starttls` or `tls`"));
        }
        let login = match &settings.login {
            Some((user, password)) => Some((resolved(user, "mail.user", root)?, resolved(password, "mail.password", root)?)),
            None => None,
        };
        let authorities = match &settings.ca {
            Some(written) => Some(authorities(written, root)?),
            None => None,
        };
        Ok(Server { host, port: settings.port, security: settings.security, login, authorities, timeout: Duration::from_secs(u64::from(settings.timeout_s)) })
    }

    /// Host and port.
    pub fn place(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }

    /// The longest that a delivery takes.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Delivers letters in one conversation, which takes no longer than the timeout of the server, whatever it does.
    pub fn deliver(&self, letters: &[Letter]) -> Delivery {
        let (tell, told) = mpsc::channel();
        let abandoned = Arc::new(AtomicBool::new(false));
        let deadline = Instant::now() + self.timeout;
        let conversation = Conversation { server: self.clone(), tell, abandoned: Arc::clone(&abandoned), deadline };
        let ours = letters.to_vec();
        std::thread::spawn(move || {
            let trouble = conversation.hold(&ours).err();
            // Nobody listens any more if the time is over.
            let _ = conversation.tell.send(Event::Over(trouble));
        });
        let mut delivery = Delivery { answers: vec![Vec::new(); letters.len()], ..Delivery::default() };
        let mut begun = None;
        loop {
            match told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Step(step)) => delivery.steps.push(step),
                Ok(Event::Begun(index)) => begun = Some(index),
                Ok(Event::Answered(index, answers)) => delivery.answers[index] = answers,
                Ok(Event::Over(trouble)) => {
                    delivery.trouble = trouble;
                    break;
                }
                Err(RecvTimeoutError::Timeout) => {
                    abandoned.store(true, Ordering::SeqCst);
                    delivery.trouble = Some(self.too_slow());
                    break;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    delivery.trouble = Some(Trouble::new("the conversation with the mail server broke off", "try again with `tieout mail test`"));
                    break;
                }
            }
        }
        if let Some(trouble) = &delivery.trouble {
            // Who was not even begun with is not tried, unless there was no conversation at all.
            let concerned = begun.map_or(0..letters.len(), |index| index..index + 1);
            for index in concerned {
                if delivery.answers[index].is_empty() {
                    delivery.answers[index] = later(&letters[index].to, &trouble.what);
                }
            }
        }
        delivery
    }

    fn too_slow(&self) -> Trouble {
        let hint = match (self.security, self.port) {
            (Security::Starttls | Security::Plain, 465) => "port 465 usually speaks TLS from the first byte: set `security = \"tls\"`",
            _ => "try `tieout mail test`; a firewall may swallow the connection, or `timeout_s` is too short",
        };
        Trouble::new(format!("the mail server did not answer within {} s", self.timeout.as_secs()), hint)
    }

    /// One line in which nothing acts on a terminal or tells the password.
    fn shown(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.secrets() {
            text = text.replace(&secret, "…");
        }
        let line: String = text.chars().map(|c| if c.is_control() || is_unseen(c) { ' ' } else { c }).collect();
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.chars().count() <= SAID_CHARACTERS_MAX { line } else { line.chars().take(SAID_CHARACTERS_MAX - 1).chain(['…']).collect() }
    }

    /// The password, and the forms in which it is sent.
    fn secrets(&self) -> Vec<String> {
        let Some((user, password)) = &self.login else { return Vec::new() };
        let credentials = Credentials::new(user.clone(), password.clone());
        let asks = Code::new(Severity::PositiveIntermediate, Category::Unspecified3, Detail::Four);
        // `Password:` in base64.
        let challenge = Response::new(asks, vec!["UGFzc3dvcmQ6".to_owned()]);
        let plain = Auth::new(Mechanism::Plain, credentials.clone(), None).map(|command| command.to_string().trim_end().replace("AUTH PLAIN ", ""));
        let login = Auth::new_from_response(Mechanism::Login, credentials, &challenge).map(|command| command.to_string().trim_end().to_owned());
        [plain.ok(), login.ok(), Some(password.clone())].into_iter().flatten().filter(|secret| !secret.is_empty()).collect()
    }
}

fn later(to: &[String], said: &str) -> Vec<Answer> {
    to.iter().map(|to| Answer { to: to.clone(), fate: Fate::Later, said: said.to_owned() }).collect()
}

/// Marks that turn text around or have no shape.
fn is_unseen(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The certificates of a PEM file.
fn authorities(written: &str, root: &Path) -> Result<Vec<Certificate>, Error> {
    let path = resolved(written, "mail.ca", root)?;
    let wrong = |message: String| {
        Error::new(Remedy::GiveAccess, Place::of(written), message)
            .seen("no mail was sent")
            .hint("`ca` under `[mail]` names a file with `-----BEGIN CERTIFICATE-----` blocks, relative to the root")
    };
    let pem = fs::read(root.join(&path)).map_err(|failure| {
        let what = if failure.kind() == io::ErrorKind::NotFound { "is not there" } else { "cannot be read" };
        wrong(format!("the file of mail authorities {what}"))
    })?;
    // A part of a file that is no certificate is an error of its own below; a file without any would trust nobody.
    if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
        return Err(wrong("the file of mail authorities holds no certificate".to_owned()));
    }
    let certificate = Certificate::from_pem(&pem).map_err(|_| wrong("the file of mail authorities is damaged".to_owned()))?;
    let all = vec![certificate];
    tls("localhost", Some(&all)).map_err(|_| wrong("the file of mail authorities holds what is no certificate of an authority".to_owned()))?;
    Ok(all)
}

fn tls(host: &str, authorities: Option<&[Certificate]>) -> Result<TlsParameters, SmtpError> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(authorities) = authorities {
        builder = builder.certificate_store(CertificateStore::None);
        for authority in authorities {
            builder = builder.add_root_certificate(authority.clone());
        }
    }
    builder.build()
}

/// One conversation, on its own thread.
struct Conversation {
    server: Server,
    tell: Sender<Event>,
    abandoned: Arc<AtomicBool>,
    deadline: Instant,
}

impl Conversation {
    fn hold(&self, letters: &[Letter]) -> Result<(), Trouble> {
        let mut connection = self.connect()?;
        for (index, letter) in letters.iter().enumerate() {
            self.still_wanted()?;
            self.event(Event::Begun(index));
            let (answers, broken) = self.post(&mut connection, letter)?;
            self.event(Event::Answered(index, answers));
            if let Some(trouble) = broken {
                return Err(trouble);
            }
        }
        // It has said that it took them: what it says to the goodbye changes nothing.
        let _ = connection.quit();
        Ok(())
    }

    fn event(&self, event: Event) {
        // Nobody listens any more if the time is over.
        let _ = self.tell.send(event);
    }

    fn step(&self, step: impl Into<String>) {
        self.event(Event::Step(step.into()));
    }

    /// Nothing more is begun once nobody waits for it.
    fn still_wanted(&self) -> Result<(), Trouble> {
        if self.abandoned.load(Ordering::SeqCst) { Err(self.server.too_slow()) } else { Ok(()) }
    }

    fn connect(&self) -> Result<SmtpConnection, Trouble> {
        let server = &self.server;
        let hello = ClientId::default();
        let parameters = tls(&server.host, server.authorities.as_deref()).map_err(|error| self.trouble(&error))?;
        let at_once = (server.security == Security::Tls).then_some(&parameters);
        let left = self.deadline.saturating_duration_since(Instant::now());
        let mut connection =
            SmtpConnection::connect((server.host.as_str(), server.port), Some(left), &hello, at_once, None).map_err(|error| self.trouble(&error))?;
        self.step(format!("connected to {}", server.place()));
        if server.security == Security::Starttls {
            if !connection.can_starttls() {
                let _ = connection.quit();
                return Err(Trouble::new(
                    "the mail server offers no encryption (STARTTLS)",
                    "ask for the port that does, often 587, or 465 with `security = \"tls\"`; nothing is sent in clear",
                ));
            }
            self.still_wanted()?;
            connection.starttls(&parameters, &hello).map_err(|error| self.trouble(&error))?;
        }
        self.step(match server.security {
            Security::Plain => "not encrypted: it is this machine".to_owned(),
            Security::Starttls | Security::Tls => format!("encrypted, and its certificate is right for `{}`", server.host),
        });
        if let Some((user, password)) = &server.login {
            self.still_wanted()?;
            let credentials = Credentials::new(user.clone(), password.clone());
            let known = DEFAULT_MECHANISMS.iter().any(|mechanism| connection.server_info().supports_auth_mechanism(*mechanism));
            if !known {
                let _ = connection.quit();
                return Err(Trouble::new(
                    "the mail server offers no way to sign in that this program knows (PLAIN, LOGIN)",
                    "leave out `user` and `password` if it needs none, or ask for another port",
                ));
            }
            connection.auth(DEFAULT_MECHANISMS, &credentials).map_err(|error| match error.status() {
                Some(code) => Trouble::new(
                    format!("the mail server did not accept the user and the password: {}", self.said(code, &error)),
                    "check `user` under `[mail]` and where `password` leads to; some providers want a password made for programs",
                ),
                None => self.trouble(&error),
            })?;
            self.step(format!("signed in as `{user}`"));
        }
        Ok(connection)
    }

    /// Posts one letter: an answer for each recipient, and what broke the connection, if it broke.
    fn post(&self, connection: &mut SmtpConnection, letter: &Letter) -> Result<(Vec<Answer>, Option<Trouble>), Trouble> {
        let refused = |trouble: &Trouble| later(&letter.to, &trouble.what);
        let Ok(from) = address_of(&letter.from) else {
            return Ok((later(&letter.to, &format!("the sender is no mail address: `{}`", self.server.shown(&letter.from))), None));
        };
        let speaks_utf8 = connection.server_info().supports_feature(Extension::SmtpUtfEight);
        if !is_ascii(&from) && !speaks_utf8 {
            return Ok((later(&letter.to, "the mail server takes no sender with letters beyond ASCII (SMTPUTF8)"), None));
        }
        let recipients: Vec<(String, Result<Address, ()>)> = letter.to.iter().map(|to| (to.clone(), address_of(to))).collect();
        let foreign = std::iter::once(&from).chain(recipients.iter().flat_map(|(_, address)| address)).any(|address| !is_ascii(address));
        let mut options = Vec::new();
        if foreign && speaks_utf8 {
            options.push(MailParameter::SmtpUtfEight);
        }
        if !letter.message.is_ascii() && connection.server_info().supports_feature(Extension::EightBitMime) {
            options.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        match connection.command(Mail::new(Some(from.clone()), options)) {
            Ok(_) => self.step(format!("from {from}: accepted")),
            Err(error) => {
                let trouble = match error.status() {
                    // The sender or the sign-in can be mended in the settings, so that it is worth another try.
                    Some(code) => Trouble::new(
                        format!("the mail server did not accept the sender {from}: {}", self.said(code, &error)),
                        "check `from` under `[mail]`, and whether the server wants `user` and `password`",
                    ),
                    None => self.trouble(&error),
                };
                return Ok((refused(&trouble), Some(trouble)));
            }
        }
        let mut answers: Vec<Answer> = Vec::with_capacity(recipients.len());
        for (to, address) in recipients {
            let (fate, said) = match address {
                Err(()) => (Fate::Refused, "it is no mail address".to_owned()),
                Ok(address) if !is_ascii(&address) && !speaks_utf8 => {
                    (Fate::Refused, "the mail server takes no address with letters beyond ASCII (SMTPUTF8)".to_owned())
                }
                Ok(address) => match connection.command(Rcpt::new(address, Vec::new())) {
                    Ok(response) => (Fate::Taken, self.server.shown(&format!("{} {}", response.code(), response.first_line().unwrap_or_default()))),
                    Err(error) => match error.status() {
                        Some(code) => (fate_of(code), self.said(code, &error)),
                        None => {
                            let trouble = self.trouble(&error);
                            return Ok((refused(&trouble), Some(trouble)));
                        }
                    },
                },
            };
            let word = match fate {
                Fate::Taken => "accepted",
                Fate::Refused => "refused",
                Fate::Later => "not now",
            };
            self.step(format!("to {}: {word} ({said})", self.server.shown(&to)));
            answers.push(Answer { to, fate, said });
        }
        if answers.iter().all(|answer| answer.fate != Fate::Taken) {
            // Forgets the sender, so that the next letter can begin.
            let broken = connection.command(Reset).err().filter(|error| error.status().is_none());
            return Ok((answers, broken.map(|error| self.trouble(&error))));
        }
        self.still_wanted()?;
        let end = connection.command(Data).and_then(|_| connection.message(&with_line_ends(&letter.message)));
        let (fate, said, broken) = match end {
            Ok(response) => {
                let said = self.server.shown(&format!("{} {}", response.code(), response.first_line().unwrap_or_default()));
                self.step(format!("the message: taken ({said})"));
                (Fate::Taken, said, None)
            }
            Err(error) => match error.status() {
                Some(code) => {
                    let said = self.said(code, &error);
                    self.step(format!("the message: {} ({said})", if fate_of(code) == Fate::Refused { "refused" } else { "not now" }));
                    (fate_of(code), said, None)
                }
                None => {
                    let trouble = self.trouble(&error);
                    (Fate::Later, format!("{}; whether it took the message is not known", trouble.what), Some(trouble))
                }
            },
        };
        for answer in answers.iter_mut().filter(|answer| answer.fate == Fate::Taken) {
            (answer.fate, answer.said) = (fate, said.clone());
        }
        Ok((answers, broken))
    }

    fn said(&self, code: Code, error: &SmtpError) -> String {
        let text = error.source().map(ToString::to_string).unwrap_or_default();
        self.server.shown(&format!("{code} {text}"))
    }

    /// What is wrong with a connection, in words.
    fn trouble(&self, error: &SmtpError) -> Trouble {
        let server = &self.server;
        if let Some(code) = error.status() {
            return Trouble::new(format!("the mail server turned us away: {}", self.said(code, error)), "try again later, or ask who runs it");
        }
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(failure) = cause.downcast_ref::<io::Error>() {
                return self.trouble_of(failure);
            }
            if let Some(failure) = cause.downcast_ref::<rustls::Error>() {
                return tls_trouble(failure, server);
            }
            source = cause.source();
        }
        let text = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        if error.is_response() && text == "incomplete response" {
            return Trouble::new("the mail server closed the connection", "try again later, or ask who runs it");
        }
        if error.is_response() {
            return Trouble::new(
                "what answers there does not speak SMTP",
                "check `smtp`, `port` and `security` under `[mail]`: port 465 usually goes with `tls`, 587 with `starttls`",
            );
        }
        if text == "could not resolve to any address" {
            return unknown_host(server);
        }
        Trouble::new(server.shown(&text), "try `tieout mail test`")
    }

    fn trouble_of(&self, failure: &io::Error) -> Trouble {
        let server = &self.server;
        if let Some(tls) = failure.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return tls_trouble(tls, server);
        }
        match failure.kind() {
            io::ErrorKind::ConnectionRefused => {
                Trouble::new("no mail server listens there: the connection was refused", "check `smtp` and `port` under `[mail]`")
            }
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => server.too_slow(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                Trouble::new("the mail server cut the connection", "try again later, or ask who runs it")
            }
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => {
                Trouble::new("the mail server cannot be reached from here", "check the network, and `smtp` under `[mail]`")
            }
            // Also what is no text at all.
            io::ErrorKind::InvalidData => Trouble::new(
                "what answers there does not speak SMTP",
                "check `smtp`, `port` and `security` under `[mail]`: port 465 usually goes with `tls`, 587 with `starttls`",
            ),
            _ if failure.to_string().contains("lookup address") => unknown_host(server),
            _ => Trouble::new(server.shown(&failure.to_string()), "try `tieout mail test`"),
        }
    }
}

/// Forgets the letter that was begun.
struct Reset;

impl std::fmt::Display for Reset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RSET\r\n")
    }
}

fn unknown_host(server: &Server) -> Trouble {
    Trouble::new(format!("the name `{}` leads to no machine", server.shown(&server.host)), "check `smtp` under `[mail]`, and the name servers of this machine")
}

fn tls_trouble(error: &rustls::Error, server: &Server) -> Trouble {
    use rustls::CertificateError as Wrong;
    let host = &server.host;
    match error {
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            Wrong::Expired | Wrong::ExpiredContext { .. } => {
                Trouble::new("the certificate of the mail server has expired", "ask who runs it to renew it, and check the clock of this machine")
            }
            Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => {
                Trouble::new("the certificate of the mail server is not valid yet", "check the clock of this machine")
            }
            Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => {
                let names = match wrong {
                    Wrong::NotValidForNameContext { presented, .. } if !presented.is_empty() => format!(", but for {}", server.shown(&presented.join(", "))),
                    _ => String::new(),
                };
                Trouble::new(format!("the certificate of the mail server is not for `{host}`{names}"), "name the server in `smtp` as its certificate does")
            }
            // Another authority of the same name.
            Wrong::UnknownIssuer | Wrong::BadSignature => Trouble::new(
                "the certificate of the mail server is signed by nobody that is trusted here",
                "for a private authority, name the file with its certificate in `ca` under `[mail]`",
            ),
            other => Trouble::new(format!("the certificate of the mail server is not right: {}", server.shown(&other.to_string())), "ask who runs it"),
        },
        rustls::Error::InvalidMessage(_) => {
            Trouble::new("what answers there does not speak TLS", "is it a port for `security = \"starttls\"`, usually 587? `tls` usually goes with 465")
        }
        other => Trouble::new(format!("no encrypted connection could be made: {}", server.shown(&other.to_string())), "ask who runs the mail server"),
    }
}

fn fate_of(code: Code) -> Fate {
    if code.severity == Severity::PermanentNegativeCompletion { Fate::Refused } else { Fate::Later }
}

fn is_ascii(address: &Address) -> bool {
    AsRef::<str>::as_ref(address).is_ascii()
}

/// The address alone, for the envelope.
fn address_of(written: &str) -> Result<Address, ()> {
    written.trim().parse::<lettre::message::Mailbox>().map(|mailbox| mailbox.email).map_err(|_| ())
}

/// The message with every line end as a server expects it: a lone one could be read as the end of the message.
fn with_line_ends(message: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(message.len() + message.len() / 64);
    let mut bytes = message.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' => {
                bytes.next_if_eq(&b'\n');
                whole.extend_from_slice(b"\r\n");
            }
            b'\n' => whole.extend_from_slice(b"\r\n"),
            other => whole.push(other),
        }
    }
    whole
}

/// Puts a message as `NAME.eml` into `folder`, which is made if it is not there, and gives its path. When it returns, the
/// message is on disk, readable by its owner alone. A message that is there under the same name is replaced as a whole.
///
/// Characters of `name` other than letters, digits, `-`, `_` and `.` become `_`, so that it always stays within `folder`.
///
/// # Errors
/// The folder or the file cannot be written.
pub fn deliver_to_outbox(folder: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, Error> {
    let stem = file_stem(name);
    let path = folder.join(format!("{stem}.eml"));
    deliver(folder, &stem, &path, bytes).map_err(|failure| {
        Error::new(Remedy::GiveAccess, Place::of(path.display().to_string()), "the mail cannot be put into the outbox")
            .seen(failure.to_string())
            .seen("no mail was delivered; the report itself is not touched")
            .hint("make the folder writable, or free some space")
    })?;
    Ok(path)
}

fn deliver(folder: &Path, stem: &str, path: &Path, bytes: &[u8]) -> io::Result<()> {
    make_folder(folder)?;
    let unfinished = folder.join(format!(".{stem}.{}.part", std::process::id()));
    let written = write_new(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, path));
    if let Err(failure) = written {
        // What was begun is of no use to anybody; the first failure is the one to tell.
        let _ = fs::remove_file(&unfinished);
        return Err(failure);
    }
    File::open(folder)?.sync_all()
}

fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(failure) if failure.kind() != io::ErrorKind::NotFound => return Err(failure),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn file_stem(name: &str) -> String {
    let name = name.strip_suffix(".eml").unwrap_or(name);
    let stem: String = name.chars().take(150).map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' }).collect();
    let stem = stem.trim_start_matches('.');
    if stem.is_empty() { "mail".to_owned() } else { stem.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn server(login: Option<(&str, &str)>) -> Server {
        let login = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
        Server { host: "smtp.example.com".into(), port: 587, security: Security::Starttls, login, authorities: None, timeout: Duration::from_secs(30) }
    }

    #[test]
    fn the_words_of_a_server_never_tell_the_password_and_never_act() {
        let server = server(Some(("finance", "hunter2!")));
        for (said, shown) in [
            ("535 bad password hunter2! for finance", "535 bad password … for finance"),
            ("500 what is AGZpbmFuY2UAaHVudGVyMiE= and aHVudGVyMiE=", "500 what is … and …"),
            ("550 \u{1b}[2Jgone\r\n\u{202e}away", "550 [2Jgone away"),
        ] {
            assert_eq!(server.shown(said), shown);
        }
        assert_eq!(server.shown(&"x".repeat(5000)).chars().count(), SAID_CHARACTERS_MAX);
        assert!(!format!("{server:?}").contains("hunter2"));
    }

    #[test]
    fn line_ends_are_those_of_mail() {
        for (written, sent) in
            [("a\nb", "a\r\nb"), ("a\r\nb\r\n", "a\r\nb\r\n"), ("a\rb", "a\r\nb"), ("\n.\n", "\r\n.\r\n"), ("a\n\r\nb", "a\r\n\r\nb"), ("", "")]
        {
            assert_eq!(with_line_ends(written.as_bytes()), sent.as_bytes(), "{written:?}");
        }
    }

    #[test]
    fn an_unprotected_server_elsewhere_is_refused_whatever_a_reference_holds() {
        let root = tempfile::tempdir().expect("a folder");
        fs::write(root.path().join("host"), "mail.example.com\n").expect("writes");
        let settings = ServerSettings { host: "${file:host}".into(), port: 25, security: Security::Plain, login: None, ca: None, timeout_s: 5 };
        let error = Server::open(&settings, root.path()).expect_err("is elsewhere");
        assert!(error.to_string().contains("unprotected") && !error.to_string().contains("mail.example.com"), "{error}");
        fs::write(root.path().join("host"), "127.0.0.1\n").expect("writes");
        assert_eq!(Server::open(&settings, root.path()).expect("is here").place(), "127.0.0.1:25");
        assert_eq!(Server::open(&ServerSettings { host: "::1".into(), ..settings }, root.path()).expect("is here").place(), "[::1]:25");
    }

    #[test]
    fn a_mail_is_kept_whole_and_private() {
        let root = tempfile::tempdir().expect("a folder");
        let outbox = root.path().join("reports/outbox");
        let path = deliver_to_outbox(&outbox, "customers-20260331T010000Z", b"first").expect("delivers");
        assert_eq!(path, outbox.join("customers-20260331T010000Z.eml"));
        assert_eq!(fs::read(&path).expect("reads"), b"first");
        assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o600);
        deliver_to_outbox(&outbox, "customers-20260331T010000Z.eml", b"again").expect("delivers");
        assert_eq!(fs::read(&path).expect("reads"), b"again");
        assert_eq!(fs::read_dir(&outbox).expect("lists").count(), 1, "nothing else is left there");
    }

    #[test]
    fn a_name_never_leaves_the_folder() {
        let root = tempfile::tempdir().expect("a folder");
        let outbox = root.path().join("outbox");
        for name in ["../../etc/passwd", "..", "/root/x", "a\nb", ""] {
            let path = deliver_to_outbox(&outbox, name, b"x").expect("delivers");
            assert_eq!(path.parent(), Some(outbox.as_path()), "{name:?}");
        }
    }

    #[test]
    fn a_folder_that_is_a_file_is_told_with_its_path() {
        let root = tempfile::tempdir().expect("a folder");
        let blocked = root.path().join("outbox");
        fs::write(&blocked, b"").expect("writes");
        let error = deliver_to_outbox(&blocked, "a", b"x").expect_err("no folder");
        assert_eq!(error.remedy, Remedy::GiveAccess);
        assert!(error.to_string().contains("no mail was delivered"), "{error}");
    }
}
