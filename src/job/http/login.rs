//! Logins whose token is fetched from a server of tokens (OAuth 2): their tables, what is wrong with them, and the settings that are ready.
//!
//! # Words
//! A *token server* gives out an *access token*, which ends soon, for something that ends late or never: the secret of a client, a
//! *refresh token*, or a *signed claim* (JWT).

use super::{Checks, url_problem};
use crate::job::read::{At, Named, Word, closed, table};
use crate::job::spelling::{PathStep, has_literal_secret, has_reference};

/// Parameters that are put together here.
const OURS: [&str; 6] = ["grant_type", "client_id", "client_secret", "refresh_token", "assertion", "scope"];

table! {
    /// A login whose token is fetched from a token server, and fetched again when it ends (OAuth 2). With `refresh_token` it is renewed by that,
    /// with `jwt` by a signed claim, and otherwise by the id and the secret of the client alone.
    HttpOauth2Table {
        /// The whole address of the token server. Plain `http:` only to this machine.
        Required "token_url" token_url: String,
        /// The id of the client, as the API gave it out.
        Optional "client_id" client_id: String,
        /// The secret of the client, as a reference such as `${env:CRM_SECRET}`.
        Optional "client_secret" client_secret: String,
        /// How the id and the secret of the client are sent; `basic` if not given.
        Optional "client" client: HttpClientProof,
        /// The refresh token to begin with, as a reference such as `${file:secrets/crm}`. Where the token server gives out a new one with each
        /// renewal, that is kept in the state of the project, until another one stands where the reference leads.
        Optional "refresh_token" refresh_token: String,
        /// A claim signed with a private key (RS256), as service accounts of Google and Salesforce use it.
        Optional "jwt" jwt: HttpJwtTable,
        /// What the token is for, such as `contacts.read contacts.write`.
        Optional "scope" scope: String,
        /// Further parameters of the call to the token server, such as `audience`.
        Optional "params" params: Named<String>,
    }
}

table! {
    /// A claim signed with a private key (RS256).
    HttpJwtTable {
        /// The private key, as a reference such as `${file:secrets/key.pem}`: PEM, or the JSON key file of a Google service account, which says
        /// the issuer as well.
        Required "key" key: String,
        /// Who signs, such as the id of the client; that of the JSON key file if not given.
        Optional "issuer" issuer: String,
        /// On whose behalf; left out if not given.
        Optional "subject" subject: String,
        /// For whom the claim is meant; the token server if not given.
        Optional "audience" audience: String,
    }
}

table! {
    /// A login by a call of the API itself, which answers with a token or a cookie. It is made again where that is no longer accepted
    /// (status 401, or an answer that `responses` says to mean `login`).
    HttpSessionTable {
        /// The path of the call, added to `base_url`; it is a `POST`.
        Required "path" path: String,
        /// What is sent, as JSON, with references in its texts: `{"email": "${env:CRM_USER}", "password": "${env:CRM_PASSWORD}"}`.
        Required "body" body: String,
        /// Whether it is sent as a form; as JSON if not given.
        Optional "form" form: bool,
        /// Where in the answer the token is, such as `$.data.access_token`.
        Optional "token" token: String,
        /// The cookie of the answer that is sent with every call.
        Optional "cookie" cookie: String,
        /// The header that holds the token; `Authorization` if not given.
        Optional "header" header: String,
        /// What stands before the token there; `Bearer ` if neither this nor `header` is given.
        Optional "prefix" prefix: String,
    }
}

closed!(HttpOauth2Table, HttpJwtTable, HttpSessionTable);

/// How the id and the secret of a client are sent to its token server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpClientProof {
    /// By `Authorization: Basic`.
    #[default]
    Basic,
    /// In the body.
    Body,
}

impl Word for HttpClientProof {
    const WORDS: &'static [(&'static str, HttpClientProof, &'static str)] = &[
        ("basic", HttpClientProof::Basic, "as the user and the password of `Authorization: Basic`"),
        ("body", HttpClientProof::Body, "as `client_id` and `client_secret` in the body"),
    ];
}

/// A login whose token is fetched from a token server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpOauth2 {
    /// The token server, as written.
    pub token_url: String,
    /// The id of the client.
    pub client_id: Option<String>,
    /// The secret of the client.
    pub client_secret: Option<String>,
    /// How both are sent.
    pub client: HttpClientProof,
    /// What the token is fetched with.
    pub grant: HttpGrant,
    /// What the token is for.
    pub scope: Option<String>,
    /// Further parameters.
    pub params: Vec<(String, String)>,
}

/// What an access token is fetched with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HttpGrant {
    /// The id and the secret of the client.
    #[default]
    Client,
    /// A refresh token, as written: the one to begin with.
    Refresh(String),
    /// A signed claim.
    Jwt(HttpJwt),
}

/// A login by a call of the API itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpSession {
    /// The path behind the base.
    pub path: String,
    /// What is sent, as JSON; references in its texts are as written.
    pub body: String,
    /// Whether it is sent as a form.
    pub is_form: bool,
    /// Where in the answer the token is; it is in the cookie otherwise.
    pub token: Option<Vec<PathStep>>,
    /// The cookie.
    pub cookie: Option<String>,
    /// The header that holds the token.
    pub header: String,
    /// What stands before the token there.
    pub prefix: String,
}

/// A claim signed with a private key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpJwt {
    /// The private key.
    pub key: String,
    /// Who signs.
    pub issuer: Option<String>,
    /// On whose behalf.
    pub subject: Option<String>,
    /// For whom it is meant.
    pub audience: Option<String>,
}

/// The name of a text that is a secret by its name and stands there itself.
fn secret_in(value: &serde_json::Value) -> Option<&str> {
    const NAMES: [&str; 5] = ["pass", "pwd", "secret", "token", "key"];
    match value {
        serde_json::Value::Object(members) => members.iter().find_map(|(name, value)| {
            let is_secret = NAMES.iter().any(|part| name.to_ascii_lowercase().contains(part));
            let is_written = value.as_str().is_some_and(|text| !text.is_empty() && !has_reference(text));
            if is_secret && is_written { Some(name.as_str()) } else { secret_in(value) }
        }),
        serde_json::Value::Array(items) => items.iter().find_map(secret_in),
        _ => None,
    }
}

impl Checks<'_, '_> {
    /// Checks a login by a token server.
    pub(super) fn oauth2(&mut self, oauth2: &At<HttpOauth2Table>) -> HttpOauth2 {
        let table = &oauth2.value;
        let key = format!("{}.auth.oauth2", self.key);
        if let Some(url) = &table.token_url {
            if has_literal_secret(url.as_str()) {
                self.page.refuse(&url.span, format!("a secret stands in `{key}.token_url`")).hint("secrets of the client belong into `client_secret`");
            } else if !url.value.starts_with("${")
                && let Some(problem) = url_problem(&url.value)
            {
                self.page.refuse(&url.span, format!("`{key}.token_url` {problem}")).hint("for example `https://login.example.com/oauth2/token`");
            }
        }
        let mut secret = |text: &Option<At<String>>, name: &str, example: &str| {
            let text = text.as_ref()?;
            if !has_reference(&text.value) {
                self.page
                    .refuse(&text.span, format!("a secret stands in `{key}.{name}`"))
                    .hint(format!("keep it elsewhere, and write `{example}` in its place"));
            }
            Some(text.value.clone())
        };
        let client_secret = secret(&table.client_secret, "client_secret", "${env:NAME}");
        let refresh_token = secret(&table.refresh_token, "refresh_token", "${file:secrets/NAME}");
        let jwt = table.jwt.as_ref().map(|jwt| HttpJwt {
            key: secret(&jwt.value.key, "jwt.key", "${file:secrets/NAME.pem}").unwrap_or_default(),
            issuer: jwt.value.issuer.as_ref().map(|issuer| issuer.value.clone()),
            subject: jwt.value.subject.as_ref().map(|subject| subject.value.clone()),
            audience: jwt.value.audience.as_ref().map(|audience| audience.value.clone()),
        });
        if let (Some(_), Some(jwt)) = (&refresh_token, &table.jwt) {
            self.page.refuse(&jwt.span, format!("`{key}` has both `refresh_token` and `jwt`")).hint("keep one of the two");
        }
        if let (Some(secret), None) = (&table.client_secret, &table.client_id) {
            self.page.refuse(&secret.span, format!("`{key}` has a `client_secret`, and no `client_id`"));
        }
        if jwt.is_none() && table.client_id.is_none() {
            self.page.refuse(&oauth2.span, format!("`{key}` has no `client_id`")).hint("the API gives out the id and the secret of a client");
        } else if jwt.is_none() && refresh_token.is_none() && client_secret.is_none() {
            self.page.refuse(&oauth2.span, format!("`{key}` has nothing to fetch a token with")).hint("give `client_secret`, `refresh_token` or `jwt`");
        }
        if let Some(client) = table.client.as_ref().filter(|_| client_secret.is_none()) {
            self.page.refuse(&client.span, format!("`{key}.client` says how the `client_secret` is sent, and there is none"));
        }
        let mut params = Vec::new();
        for (name, value) in table.params.iter().flat_map(|params| &params.value.0) {
            let Some(value) = value else { continue };
            if OURS.contains(&name.as_str()) {
                self.page.refuse(&name.span, format!("`{key}.params.{}` is put together from the other keys of `oauth2`", name.value));
            } else if has_literal_secret(&format!("?{}={value}", name.value)) {
                self.page
                    .refuse(&name.span, format!("a secret stands in `{key}.params.{}`", name.value))
                    .hint("keep it elsewhere, and write `${env:NAME}` in its place");
            }
            params.push((name.value.clone(), value.clone()));
        }
        HttpOauth2 {
            token_url: table.token_url.as_ref().map(|url| url.value.clone()).unwrap_or_default(),
            client_id: table.client_id.as_ref().map(|id| id.value.clone()),
            client_secret,
            client: table.client.as_ref().map_or(HttpClientProof::Basic, |client| client.value),
            grant: match (refresh_token, jwt) {
                (Some(token), _) => HttpGrant::Refresh(token),
                (None, Some(jwt)) => HttpGrant::Jwt(jwt),
                (None, None) => HttpGrant::Client,
            },
            scope: table.scope.as_ref().map(|scope| scope.value.clone()),
            params,
        }
    }

    /// Checks a login by a call of the API itself.
    pub(super) fn session(&mut self, session: &At<HttpSessionTable>) -> HttpSession {
        let table = &session.value;
        let key = format!("{}.auth.session", self.key);
        if let Some(body) = &table.body {
            match serde_json::from_str::<serde_json::Value>(&body.value) {
                Err(error) => {
                    let place = format!("at its line {}, column {}", error.line(), error.column());
                    self.page.refuse(&body.span, format!("`{key}.body` is no JSON")).seen(place);
                }
                Ok(value) => {
                    if let Some(name) = secret_in(&value) {
                        self.page
                            .refuse(&body.span, format!("a secret stands in `{key}.body`: `{name}`"))
                            .hint("keep it elsewhere, and write `${env:NAME}` in its place");
                    }
                    let is_flat = value.as_object().is_some_and(|members| members.values().all(|value| !value.is_object() && !value.is_array()));
                    if let Some(form) = table.form.as_ref().filter(|form| form.value && !is_flat) {
                        self.page.refuse(&form.span, format!("`{key}.form` needs a `body` that is an object of texts and numbers"));
                    }
                }
            }
        }
        if table.token.is_some() == table.cookie.is_some() {
            let problem = if table.token.is_some() { "has both `token` and `cookie`" } else { "has neither `token` nor `cookie`" };
            self.page.refuse(&session.span, format!("`{key}` {problem}")).hint("for example `token = \"$.access_token\"`");
        }
        for (name, sent) in [("header", &table.header), ("prefix", &table.prefix)] {
            if let Some(sent) = sent.as_ref().filter(|_| table.cookie.is_some()) {
                self.page.refuse(&sent.span, format!("`{key}.{name}` is for a `token`, and a cookie has its own header"));
            }
        }
        for (name, written) in [("header", &table.header), ("cookie", &table.cookie)] {
            if let Some(written) = written {
                self.header_name(&written.value, &written.span, &format!("auth.session.{name}"));
            }
        }
        let cookie = table.cookie.as_ref().map(|cookie| cookie.value.clone());
        let (header, prefix) = match (&cookie, &table.header) {
            (Some(cookie), _) => ("Cookie".to_owned(), format!("{cookie}=")),
            (None, Some(header)) => (header.value.clone(), String::new()),
            (None, None) => ("Authorization".to_owned(), "Bearer ".to_owned()),
        };
        HttpSession {
            path: self.call_path(table.path.as_ref(), "auth.session", false),
            body: table.body.as_ref().map(|body| body.value.clone()).unwrap_or_default(),
            is_form: table.form.as_ref().is_some_and(|form| form.value),
            token: self.path(table.token.as_ref(), "auth.session.token"),
            cookie,
            header,
            prefix: table.prefix.as_ref().map_or(prefix, |prefix| prefix.value.clone()),
        }
    }

    /// Checks the further hosts to which the login may go.
    pub(super) fn hosts(&mut self, hosts: Option<&At<Vec<At<String>>>>) -> Vec<String> {
        let mut read = Vec::new();
        for host in hosts.into_iter().flat_map(|hosts| &hosts.value) {
            let is_host = url::Url::parse(&format!("https://{}/", host.value))
                .is_ok_and(|url| url.path() == "/" && url.username().is_empty() && url.query().is_none() && url.fragment().is_none())
                && !host.value.contains('/');
            if !is_host || host.value.contains('*') {
                self.page
                    .refuse(&host.span, format!("`{}.hosts` has `{}`, which is not the name of one host", self.key, host.value))
                    .hint("for example `files.crm.example.com`");
            }
            read.push(host.value.to_ascii_lowercase());
        }
        read
    }
}
