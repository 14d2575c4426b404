//! The `url` of a database: what it says, before anything in it is looked up.
//!
//! `sqlite:path`, or `postgres://user:password@host:port/database?sslmode=..`, and the same with `mysql:`. A password stands there as a
//! reference. Parts that hold a reference are taken as they are once it is resolved, so that no character of a password is ever
//! taken for punctuation; all other parts may be percent-encoded.
//!
//! # Design
//! **Encryption is whole or not there.** A connection to another machine is encrypted, and the server's certificate is checked by authority and
//! by name, whether `sslmode` says nothing, `require`, `verify-ca` or `verify-full`: what is encrypted to nobody in particular protects from
//! nobody in particular. Only `disable` does without. What would fall back to plain text (`allow`, `prefer`) is refused.

use super::settings::is_loopback;

/// Which server a `url` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// `postgres:` and `postgresql:`.
    PostgreSql,
    /// `mysql:` and `mariadb:`.
    MySql,
}

impl Engine {
    /// The engine of a scheme.
    pub fn of_scheme(scheme: &str) -> Option<Engine> {
        match scheme {
            "postgres" | "postgresql" => Some(Engine::PostgreSql),
            "mysql" | "mariadb" => Some(Engine::MySql),
            _ => None,
        }
    }

    /// The port of a server that says nothing else.
    pub fn port(self) -> u16 {
        match self {
            Engine::PostgreSql => 5432,
            Engine::MySql => 3306,
        }
    }
}

/// Where a database is, and how it is spoken to. Its words may still hold references.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseUrl {
    /// The server.
    pub engine: Engine,
    /// Who logs in.
    pub user: String,
    /// With what.
    pub password: Option<String>,
    /// A name, an address, or the path of a socket's folder (PostgreSQL) or of the socket (MySQL).
    pub host: String,
    /// The port, if it is given.
    pub port: Option<String>,
    /// The database.
    pub database: String,
    /// Whether the connection is encrypted and the server's certificate checked; nothing if the `url` does not say.
    pub is_encrypted: Option<bool>,
    /// A file with the certificates of the authorities that are trusted, instead of the well-known ones.
    pub authorities: Option<String>,
    /// The files of the certificate that this program shows the server, and of its key.
    pub identity: Option<(String, String)>,
}

/// Stands for a reference while the punctuation is looked for.
const HOLE: char = '\u{f8ff}';

impl DatabaseUrl {
    /// Reads a `url` whose scheme is that of a server.
    ///
    /// # Errors
    /// What is wrong, and a hint. Neither repeats a part of it that may be secret.
    pub fn parse(url: &str) -> Result<DatabaseUrl, (String, String)> {
        let wrong = |what: &str, hint: &str| (what.to_owned(), hint.to_owned());
        const EXAMPLE: &str = "for example `postgres://app:${env:DB_PASSWORD}@db.example.com/books`";
        let (url, references) = with_holes(url);
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("has no `//` after its scheme", EXAMPLE))?;
        let engine = Engine::of_scheme(scheme).ok_or_else(|| wrong("does not say which database it is", EXAMPLE))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
        let (host, port) = match place.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            Some((address, after)) => (address, after.strip_prefix(':')),
            None => place.rsplit_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        // The references are put back in their order: part by part, in the order of the `url`.
        let mut references = references.into_iter();
        let mut part = |text: &str| fill(text, &mut references);
        let user = part(user)?;
        let password = password.map(&mut part).transpose()?;
        let mut host = part(host)?;
        let port = port.filter(|port| !port.is_empty()).map(&mut part).transpose()?;
        let database = part(database)?;
        let (mut is_encrypted, mut authorities, mut certificate, mut key) = (None, None, None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = part(value)?;
            match name {
                "sslmode" | "ssl-mode" => {
                    is_encrypted = Some(match value.to_ascii_lowercase().replace('_', "-").as_str() {
                        "disable" | "disabled" => false,
                        "require" | "required" | "verify-ca" | "verify-full" | "verify-identity" => true,
                        _ => {
                            return Err(wrong(
                                "has an `sslmode` that is neither `disable` nor `verify-full`",
                                "what falls back to plain text silently is not offered",
                            ));
                        }
                    });
                }
                "sslrootcert" | "ssl-ca" => authorities = Some(value),
                "sslcert" | "ssl-cert" => certificate = Some(value),
                "sslkey" | "ssl-key" => key = Some(value),
                "host" | "socket" => host = value,
                _ => {
                    let what = format!("has a parameter that is not known: `{}`", name.replace(HOLE, "${..}"));
                    return Err((what, "known: `sslmode`, `sslrootcert`, `sslcert`, `sslkey`, and `host` for the folder of a socket".to_owned()));
                }
            }
        }
        if user.is_empty() {
            return Err(wrong("names no user", EXAMPLE));
        }
        if host.is_empty() {
            return Err(wrong("names no host", EXAMPLE));
        }
        if database.is_empty() || database.contains('/') {
            return Err(wrong("names no database", EXAMPLE));
        }
        if port.as_ref().is_some_and(|port| !port.contains("${") && !port.parse::<u16>().is_ok_and(|port| port > 0)) {
            return Err(wrong("has a port that is not between 1 and 65535", EXAMPLE));
        }
        let identity = match (certificate, key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            _ => return Err(wrong("names only one of `sslcert` and `sslkey`", "a certificate is shown with its key, and neither is of use alone")),
        };
        if is_encrypted == Some(false) && (authorities.is_some() || identity.is_some()) {
            return Err(wrong("names certificates, and an `sslmode` that uses none", "leave one of the two out"));
        }
        // A certificate is named for a connection that is encrypted, also where nothing else would ask for it.
        let is_encrypted = is_encrypted.or_else(|| (authorities.is_some() || identity.is_some()).then_some(true));
        Ok(DatabaseUrl { engine, user, password, host, port, database, is_encrypted, authorities, identity })
    }

    /// The same with every part handed to `resolve`.
    ///
    /// # Errors
    /// Those of `resolve`.
    pub fn resolved<E>(self, resolve: impl Fn(&str) -> Result<String, E>) -> Result<DatabaseUrl, E> {
        let maybe = |part: Option<String>| part.map(|part| resolve(&part)).transpose();
        Ok(DatabaseUrl {
            engine: self.engine,
            user: resolve(&self.user)?,
            password: maybe(self.password)?,
            host: resolve(&self.host)?,
            port: maybe(self.port)?,
            database: resolve(&self.database)?,
            is_encrypted: self.is_encrypted,
            authorities: maybe(self.authorities)?,
            identity: self.identity.map(|(certificate, key)| Ok((resolve(&certificate)?, resolve(&key)?))).transpose()?,
        })
    }

    /// Whether the server is on this machine.
    pub fn is_local(&self) -> bool {
        self.host.starts_with('/') || is_loopback(&self.host)
    }

    /// Whether what is sent is encrypted.
    pub fn encrypts(&self) -> bool {
        self.is_encrypted.unwrap_or(!self.is_local())
    }

    /// Where the database is, so that two spellings of one place are equal: who logs in and how is left out.
    pub fn place(&self) -> String {
        let scheme = match self.engine {
            Engine::PostgreSql => "postgres",
            Engine::MySql => "mysql",
        };
        let port = self.port.clone().unwrap_or_else(|| self.engine.port().to_string());
        format!("{scheme}://{}:{port}/{}", self.host.to_ascii_lowercase(), self.database)
    }
}

/// A text with each reference as [`HOLE`], and the references as they are written, in their order.
fn with_holes(url: &str) -> (String, Vec<String>) {
    let (mut text, mut references, mut rest) = (String::with_capacity(url.len()), Vec::new(), url);
    while let Some((before, after)) = rest.split_once("${") {
        let Some((inside, tail)) = after.split_once('}') else { break };
        text.push_str(before);
        text.push(HOLE);
        references.push(format!("${{{inside}}}"));
        rest = tail;
    }
    text.push_str(rest);
    (text, references)
}

/// A part of the `url` with its references back in it, or else with its percent-encoding undone.
fn fill(part: &str, references: &mut impl Iterator<Item = String>) -> Result<String, (String, String)> {
    if part.contains(HOLE) {
        let fill = |c: char| if c == HOLE { references.next().unwrap_or_default() } else { c.to_string() };
        return Ok(part.chars().map(fill).collect());
    }
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok()).unwrap_or_default();
                bytes.push(nibble(*high) << 4 | nibble(*low));
                rest = after;
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).map_err(|_| ("is no text once its percent signs are undone".to_owned(), "write `%25` for a percent sign".to_owned()))
}

/// The name of a table in its parts: `sales.customers`, where quotes (`"` or `` ` ``) keep a point inside a name.
///
/// # Errors
/// What is wrong with it.
pub fn table_parts(name: &str) -> Result<Vec<String>, String> {
    let (mut parts, mut rest) = (Vec::new(), name);
    loop {
        let part;
        match rest.chars().next() {
            Some(quote @ ('"' | '`')) => {
                let (mut inside, mut characters) = (String::new(), rest.char_indices().skip(1).peekable());
                let end = loop {
                    match characters.next() {
                        None => return Err("has a quote that is not closed".to_owned()),
                        Some((_, c)) if c == quote && characters.peek().is_some_and(|(_, next)| *next == quote) => {
                            inside.push(quote);
                            characters.next();
                        }
                        Some((at, c)) if c == quote => break at + 1,
                        Some((_, c)) => inside.push(c),
                    }
                };
                (part, rest) = (inside, &rest[end..]);
            }
            _ => {
                let end = rest.find('.').unwrap_or(rest.len());
                part = rest[..end].to_owned();
                rest = &rest[end..];
            }
        }
        if part.is_empty() {
            return Err("has an empty part".to_owned());
        }
        parts.push(part);
        match rest.strip_prefix('.') {
            Some(after) => rest = after,
            None if rest.is_empty() => return if parts.len() <= 2 { Ok(parts) } else { Err("has more parts than a schema and a table".to_owned()) },
            None => return Err("goes on after a closing quote".to_owned()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_punctuation() {
        let url = DatabaseUrl::parse("postgres://app%40x:${env:PW}@db.example.com:6432/my%20books?sslmode=verify-full&sslrootcert=ca.pem").unwrap();
        let url = url.resolved(|part| Ok::<_, ()>(part.replace("${env:PW}", "p@ss/w?rd%41"))).unwrap();
        assert_eq!((url.user.as_str(), url.password.as_deref(), url.host.as_str()), ("app@x", Some("p@ss/w?rd%41"), "db.example.com"));
        assert_eq!((url.port.as_deref(), url.database.as_str(), url.authorities.as_deref()), (Some("6432"), "my books", Some("ca.pem")));
        assert_eq!(url.is_encrypted, Some(true));
        assert_eq!(url.place(), "postgres://db.example.com:6432/my books");
    }

    #[test]
    fn connections_to_elsewhere_are_encrypted() {
        let parsed = |url: &str| DatabaseUrl::parse(url).unwrap();
        assert!(parsed("postgres://app@db/books").encrypts() && parsed("postgres://app@db/books?sslmode=require").encrypts());
        assert!(!parsed("postgres://app@db/books?sslmode=disable").encrypts() && !parsed("postgres://app@localhost/books").encrypts());
        let shown = parsed("mysql://app@localhost/books?ssl-ca=ca.pem&ssl-cert=me.pem&ssl-key=keys/me.key");
        assert!(shown.encrypts(), "whoever names certificates wants them used");
        assert_eq!(shown.identity, Some(("me.pem".to_owned(), "keys/me.key".to_owned())));
    }

    #[test]
    fn hosts_sockets_and_addresses() {
        assert!(DatabaseUrl::parse("mysql://app@[::1]:3307/books").unwrap().is_local());
        assert!(DatabaseUrl::parse("postgres://app@/books?host=/run/postgresql").unwrap().is_local());
        assert!(!DatabaseUrl::parse("mariadb://app@db/books").unwrap().is_local());
        assert_eq!(DatabaseUrl::parse("mariadb://a@DB/books").unwrap().place(), DatabaseUrl::parse("mysql://b:${env:P}@db:3306/books").unwrap().place());
    }

    #[test]
    fn what_is_missing_is_said_without_a_secret() {
        for (url, what) in [
            ("postgres:books", "has no `//`"),
            ("postgres://db/books", "names no user"),
            ("postgres://app@/books", "names no host"),
            ("postgres://app@db", "names no database"),
            ("postgres://app@db/", "names no database"),
            ("postgres://app@db:70000/books", "port"),
            ("postgres://app@db/books?sslmode=prefer", "`sslmode`"),
            ("mysql://app@db/books?charset=latin1", "`charset`"),
            ("mysql://app@db/books?ssl-cert=me.pem", "only one of"),
            ("postgres://app@db/books?sslkey=${env:KEY}", "only one of"),
            ("postgres://app@db/books?sslmode=disable&sslrootcert=ca.pem", "uses none"),
        ] {
            let (told, _) = DatabaseUrl::parse(url).unwrap_err();
            assert!(told.contains(what), "{url}: {told}");
        }
    }

    #[test]
    fn tables_have_a_schema_and_quotes() {
        assert_eq!(table_parts("customers").unwrap(), ["customers"]);
        assert_eq!(table_parts("sales.customers").unwrap(), ["sales", "customers"]);
        assert_eq!(table_parts(r#""Odd.Schema"."a ""b""""#).unwrap(), ["Odd.Schema", "a \"b\""]);
        assert_eq!(table_parts("`a.b`").unwrap(), ["a.b"]);
        for wrong in ["", "a.", ".a", "\"a", "\"a\"b", "a.b.c"] {
            assert!(table_parts(wrong).is_err(), "{wrong}");
        }
    }
}
