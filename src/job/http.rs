//! What a job file says about a system behind an HTTP API: its tables, what is wrong with them, and the settings that are ready.
//!
//! # Words
//! An *operation* is one sort of call: to list, to get one record, to create, update or delete one. A *page* is one answer to a
//! listing. A path that begins with `$` leads into the body of an answer; where a name of a parameter can stand, it leads into the
//! body that is sent.
//!
//! Nothing is resolved here: references stay as they are written.

mod batch;
mod login;
mod response;

use url::Url;

use self::batch::Places;
pub use self::batch::{HttpBatch, HttpBy, template_place};
pub use self::login::{HttpClientProof, HttpGrant, HttpJwt, HttpOauth2, HttpSession};
use self::login::{HttpOauth2Table, HttpSessionTable};
use self::response::HttpResponseTable;
pub use self::response::{HttpMeaning, HttpOperation, HttpResponse};
use super::read::{At, Named, Names, Page, Span, Word, closed, table};
use super::ready::{JsonColumn, JsonNull, Mode, Role};
use super::settings::is_loopback;
use super::spelling::{PathStep, has_literal_secret, has_reference, read_path};

/// More calls than this in one window are no limit.
const RATE_CALLS_MAX: u32 = 1_000_000;

/// More calls at once than this are an attack.
const AT_ONCE_MAX: u32 = 64;

/// A call that may take longer than this is a mistake.
const SECONDS_MAX: u32 = 3600;

/// A larger body than this is a mistake.
const BODY_MEGABYTES_MAX: u32 = 4096;

table! {
    /// Records behind an HTTP API. The columns of fields are paths into a record: `properties.email`, `phones[0].number`.
    HttpTable {
        /// Where the API is; the paths of the calls are added to it. Plain `http:` only to this machine.
        Required "base_url" base_url: String,
        /// How we say who we are; nothing is said if not given.
        Optional "auth" auth: HttpAuthTable,
        /// Headers of every call, such as the version of the API.
        Optional "headers" headers: Named<String>,
        /// A file, relative to the root, with the certificates of the authorities that are trusted instead of the usual ones.
        Optional "ca" ca: String,
        /// Further hosts, besides that of `base_url`, to which the API may send us on: our login goes there as well.
        Optional "hosts" hosts: Vec<At<String>>,
        /// How all records are read.
        Required "list" list: HttpListTable,
        /// How one record is read by its id; the whole list is read instead, if not given.
        Optional "get" get: HttpGetTable,
        /// How a record is added.
        Optional "create" create: HttpWriteTable,
        /// How fields of a record are changed.
        Optional "update" update: HttpWriteTable,
        /// How a record is removed.
        Optional "delete" delete: HttpWriteTable,
        /// How a record is marked as no longer in use, with `policy = "archive"` under `[deletes]`; by an update of the field, if not given.
        Optional "archive" archive: HttpWriteTable,
        /// What tells the version of a record, so that a newer one is never overwritten.
        Optional "version" version: HttpVersionTable,
        /// The header with the key of a new record, by which the API knows a call that is made again, such as `Idempotency-Key`.
        Optional "idempotency" idempotency: String,
        /// How an empty value is sent; `null` if not given.
        Optional "null" null: JsonNull,
        /// How much is asked of the API, and how long it is waited for.
        Optional "limits" limits: HttpLimitsTable,
        /// What certain answers mean, where their status says something else. The first that fits counts.
        Optional "responses" responses: Vec<At<HttpResponseTable>>,
    }
}

table! {
    /// How we say who we are: one of the ways. Secrets are references, such as `${env:CRM_TOKEN}`.
    HttpAuthTable {
        /// The token of `Authorization: Bearer`.
        Optional "bearer" bearer: String,
        /// The user and the password of `Authorization: Basic`.
        Optional "basic" basic: HttpBasicTable,
        /// The header that holds `key`.
        Optional "header" header: String,
        /// The parameter of the address that holds `key`.
        Optional "query" query: String,
        /// The cookie that holds `key`.
        Optional "cookie" cookie: String,
        /// The key for `header`, `query` or `cookie`.
        Optional "key" key: String,
        /// A token that is fetched from a token server, and fetched again when it ends (OAuth 2).
        Optional "oauth2" oauth2: HttpOauth2Table,
        /// A login by a call of the API itself, which answers with a token or a cookie.
        Optional "session" session: HttpSessionTable,
    }
}

table! {
    /// A user and a password.
    HttpBasicTable {
        /// The user; with some APIs it is the key itself.
        Required "user" user: String,
        /// The password; empty if not given.
        Optional "password" password: String,
    }
}

table! {
    /// How all records are read.
    HttpListTable {
        /// `GET` (default) or `POST`.
        Optional "method" method: String,
        /// The path, added to `base_url`.
        Required "path" path: String,
        /// Parameters of the address.
        Optional "query" query: Named<String>,
        /// The body, as JSON.
        Optional "body" body: String,
        /// How records are written in an answer; `json` if not given.
        Optional "format" format: HttpFormat,
        /// Where in an answer the array of records is, such as `$.items`; the answer is the array, if not given.
        Optional "records" records: String,
        /// Where in an element of the array the record is, such as `node`; the element is the record, if not given.
        Optional "unwrap" unwrap: String,
        /// How one page leads to the next; there is one page, if not given.
        Optional "page" page: HttpPageTable,
        /// Where in an answer it stands how many records there are in all. Another number stops the run.
        Optional "total" total: String,
        /// The header that says how many records there are in all.
        Optional "total_header" total_header: String,
        /// Where errors stand in an answer that says it is fine, such as `$.errors`.
        Optional "errors" errors: String,
    }
}

table! {
    /// How one page leads to the next: one of the ways. A name that begins with `$` is a path into the body that is sent.
    HttpPageTable {
        /// The parameter that holds the number of the page.
        Optional "number" number: String,
        /// The number of the first page; 1 if not given.
        Optional "first" first: u32,
        /// The parameter that holds how many records are left out.
        Optional "offset" offset: String,
        /// Where in an answer the cursor of the next page is.
        Optional "cursor" cursor: String,
        /// The parameter that holds the cursor.
        Optional "param" param: String,
        /// The parameter that holds the id of the last record of the page before.
        Optional "last_id" last_id: String,
        /// Where in an answer the address of the next page is.
        Optional "next" next: String,
        /// Whether the address of the next page is in the header `Link`.
        Optional "link" link: bool,
        /// Where in an answer it stands whether there are more pages: `true` or `false`.
        Optional "more" more: String,
        /// More pages than this stop the run; 10000 if not given.
        Optional "pages_max" pages_max: u32,
    }
}

table! {
    /// How one record is read by its id.
    HttpGetTable {
        /// The path with `{id}` in it, added to `base_url`.
        Required "path" path: String,
        /// Where in the answer the record is; the answer is the record, if not given.
        Optional "record" record: String,
    }
}

table! {
    /// How a record is created, updated, archived or deleted.
    HttpWriteTable {
        /// `POST`, `PUT`, `PATCH` or `DELETE`; what is usual, if not given.
        Optional "method" method: String,
        /// The path, added to `base_url`; `{id}` in it stands for the id of the record.
        Required "path" path: String,
        /// How the body is written; `json` if not given.
        Optional "body" body: HttpBody,
        /// Where in the body the fields are put, such as `contact`; they are the body, if not given.
        Optional "wrap" wrap: String,
        /// What stands in the body besides the fields, as JSON, such as `{"sparse": true, "Id": "{id}"}`. `"{id}"` in it is the id of the record,
        /// `"{version}"` its version, `"{email}"` what the column `email` holds.
        Optional "with" with: String,
        /// Whether the whole record is sent, as it is now with what changes: for APIs that clear what is left out. It needs `get`.
        Optional "whole" whole: bool,
        /// Whether an object of which a field is a part is sent with all that is in it now: for APIs that replace it, where others merge.
        Optional "whole_objects" whole_objects: bool,
        /// With `whole`: what of the record is not sent, such as `created_at`.
        Optional "without" without: Names,
        /// With `create`: whether the API updates the record that has this key already, instead of making a second one (an upsert). Then a
        /// call of which nobody knows what became is made again.
        Optional "upsert" upsert: bool,
        /// How several records are written with one call; each has a call of its own, if not given.
        Optional "batch" batch: HttpBatchTable,
        /// Where in the answer the record is, as it is now; the answer is the record, if not given.
        Optional "record" record: String,
        /// Where in the answer to a create the id of the new record is; where it is in every record, if not given.
        Optional "id" id: String,
        /// Where errors stand in an answer that says it is fine.
        Optional "errors" errors: String,
        /// How an empty value is sent here; as `null` of the system says, if not given.
        Optional "null" null: JsonNull,
    }
}

table! {
    /// How several records are written with one call. The calls hold records in the order of the changes.
    HttpBatchTable {
        /// The most records of one call.
        Required "size" size: u32,
        /// `POST`, `PUT`, `PATCH` or `DELETE`; `POST` if not given.
        Optional "method" method: String,
        /// The path, added to `base_url`; that of the operation if not given.
        Optional "path" path: String,
        /// Where in the body the array of records is put, such as `$.inputs`; the body is the array, if not given.
        Optional "items" items: String,
        /// The body round the array, as JSON: what stands in it besides the array.
        Optional "with" with: String,
        /// What stands in an element besides the fields, as JSON, such as `{"id": "{id}"}`. `"{id}"` in it is the id of the record, `"{version}"` its
        /// version, `"{name}"` a name of our own for the element, `"{email}"` what the column `email` holds. That of the operation if not given.
        Optional "item" item: String,
        /// Where in the answer the array is that says what became of each; the answer is the array, if not given. Several arrays are read
        /// one after the other.
        Optional "answers" answers: Names,
        /// By what an element of the answer belongs to a record: `place` (default; both have the same order), `id`, `name` (the place
        /// `{name}`), or a column whose value is in both, such as `email`. `all`: the answer says nothing about single records, and a good status
        /// is good for all.
        Optional "by" by: String,
        /// Where in an element of the answer stands what it belongs by; where it is in a record, if not given.
        Optional "at" at: String,
        /// Where in an element of the answer the record is, as it is now; the element is the record, if not given.
        Optional "record" record: String,
        /// Where in an element of the answer the id of a new record is; where it is in every record, if not given.
        Optional "id" id: String,
        /// Where in an element of the answer its errors stand, such as `errors`. An element without errors was done.
        Optional "errors" errors: String,
        /// Where in an element of the answer its status stands, as a number such as 404.
        Optional "status" status: String,
        /// A further array of the answer with those that failed.
        Optional "failures" failures: HttpFailuresTable,
        /// Whether an API that refuses a call has done nothing of it. Then the call is halved until what is at fault is alone. If not given,
        /// some of it may have been done, and that is looked at record by record.
        Optional "atomic" atomic: bool,
    }
}

table! {
    /// A further array of an answer with those that failed.
    HttpFailuresTable {
        /// Where in the answer the array is, such as `$.errors`.
        Required "path" path: String,
        /// Where in an element of it stands what it belongs by, such as `context.ids`: a text, or an array of them.
        Required "at" at: String,
    }
}

table! {
    /// What tells the version of a record.
    HttpVersionTable {
        /// Where in a record its version is, such as `etag`.
        Required "path" path: String,
        /// The header that holds it in a write, such as `If-Match`.
        Optional "header" header: String,
        /// Where it stands in the body of a write.
        Optional "field" field: String,
    }
}

table! {
    /// How much is asked of the API, and how long it is waited for.
    HttpLimitsTable {
        /// The most calls in a time, such as `10/s`, `60/min`, `1000/h` or `5000/day`.
        Optional "rate" rate: String,
        /// How many calls that read are under way at once, where the next ones are known: pages by number or offset, and records by
        /// their id. 1 if not given.
        Optional "at_once" at_once: u32,
        /// The most calls of one run; with one more it stops.
        Optional "calls_max" calls_max: u32,
        /// Statuses that mean that the API is busy, and the call is made again; 429 and 503 if not given.
        Optional "busy" busy: Vec<At<u32>>,
        /// Statuses that mean so where nothing else is in the answer, such as 403.
        Optional "busy_if_empty" busy_if_empty: Vec<At<u32>>,
        /// For how many seconds a connection is waited for; 10 if not given.
        Optional "connect_s" connect_s: u32,
        /// For how many seconds the next part of an answer is waited for; 30 if not given.
        Optional "read_s" read_s: u32,
        /// For how many seconds one call may take in all; 120 if not given.
        Optional "call_s" call_s: u32,
        /// The largest answer in megabytes, unpacked; 64 if not given.
        Optional "body_max_mb" body_max_mb: u32,
    }
}

closed!(
    HttpAuthTable,
    HttpBasicTable,
    HttpListTable,
    HttpPageTable,
    HttpGetTable,
    HttpWriteTable,
    HttpBatchTable,
    HttpFailuresTable,
    HttpVersionTable,
    HttpLimitsTable
);

/// An API and how it is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpSettings {
    /// Where it is, as written.
    pub base_url: String,
    /// A file with the certificates of authorities.
    pub ca: Option<String>,
    /// Further hosts to which the login may go, in lower case; one with a port means that port.
    pub hosts: Vec<String>,
    /// How we say who we are.
    pub auth: HttpAuth,
    /// Headers of every call.
    pub headers: Vec<(String, String)>,
    /// How all records are read.
    pub list: HttpList,
    /// How one record is read by its id.
    pub get: Option<HttpGet>,
    /// How a record is added.
    pub create: Option<HttpWrite>,
    /// How fields of a record are changed.
    pub update: Option<HttpWrite>,
    /// How a record is removed.
    pub delete: Option<HttpWrite>,
    /// How a record is marked as no longer in use.
    pub archive: Option<HttpWrite>,
    /// What tells the version of a record.
    pub version: Option<HttpVersion>,
    /// The header with the key of a new record.
    pub idempotency: Option<String>,
    /// How an empty value is sent.
    pub null: JsonNull,
    /// How much is asked of it.
    pub limits: HttpLimits,
    /// What certain answers mean; the first that fits counts.
    pub responses: Vec<HttpResponse>,
    /// For how many seconds one pull or write waits in all for what passes.
    pub retry_for_s: u32,
    /// The columns that the job's fields have in the system.
    pub columns: Vec<JsonColumn>,
}

impl HttpSettings {
    /// Where the records are, as written.
    pub fn place(&self) -> String {
        joined(&self.base_url, &self.list.path)
    }

    /// What decides which records there are, in one line; nothing where nothing is said.
    pub fn extent(&self) -> String {
        let mut said = String::new();
        for (name, value) in &self.list.query {
            said.push_str(&format!(", {name} = {value}"));
        }
        said.extend(self.list.body.as_ref().map(|body| format!(", body {body}")));
        if !self.list.records.is_empty() {
            said.push_str(&format!(", records $.{}", self.list.records.join(".")));
        }
        said
    }
}

/// An address and a path behind it, with one slash between them; the address alone where there is no path.
pub fn joined(base: &str, path: &str) -> String {
    if path.is_empty() {
        return base.trim_end_matches('/').to_owned();
    }
    format!("{}/{}", base.trim_end_matches('/'), path.trim_start_matches('/'))
}

/// How we say who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HttpAuth {
    /// Nothing is said.
    #[default]
    None,
    /// `Authorization: Bearer` with this token.
    Bearer(String),
    /// `Authorization: Basic`.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A key in a header.
    Header {
        /// The header.
        name: String,
        /// The key.
        key: String,
    },
    /// A key in a parameter of the address.
    Query {
        /// The parameter.
        name: String,
        /// The key.
        key: String,
    },
    /// A key in a cookie.
    Cookie {
        /// The cookie.
        name: String,
        /// The key.
        key: String,
    },
    /// A token that is fetched from a token server.
    Oauth2(Box<HttpOauth2>),
    /// A token or a cookie that the API itself gives out.
    Session(Box<HttpSession>),
}

/// How all records are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpList {
    /// The method.
    pub method: String,
    /// The path behind the base.
    pub path: String,
    /// Parameters of the address.
    pub query: Vec<(String, String)>,
    /// The body, as JSON.
    pub body: Option<String>,
    /// How records are written in an answer.
    pub format: HttpFormat,
    /// The keys that lead from the top of an answer to the array of records.
    pub records: Vec<String>,
    /// What leads from an element of the array to the record.
    pub unwrap: Vec<PathStep>,
    /// How one page leads to the next.
    pub page: HttpPage,
    /// Where it stands whether there are more pages.
    pub more: Option<Vec<PathStep>>,
    /// More pages than this are a mistake.
    pub pages_max: u32,
    /// Where it stands how many records there are.
    pub total: Option<Vec<PathStep>>,
    /// The header that says how many records there are.
    pub total_header: Option<String>,
    /// Where errors stand in an answer that says it is fine.
    pub errors: Option<Vec<PathStep>>,
}

/// How records are written in an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpFormat {
    /// An array in JSON.
    #[default]
    Json,
    /// A record in JSON on each line.
    Lines,
    /// Rows under a header, with this between the cells.
    Csv(u8),
}

impl Word for HttpFormat {
    const WORDS: &'static [(&'static str, HttpFormat, &'static str)] = &[
        ("json", HttpFormat::Json, "an array in JSON"),
        ("ndjson", HttpFormat::Lines, "a record in JSON on each line"),
        ("csv", HttpFormat::Csv(b','), "rows under a header, with commas between the cells"),
        ("csv;", HttpFormat::Csv(b';'), "the same with semicolons"),
        ("tsv", HttpFormat::Csv(b'\t'), "the same with tabs"),
    ];
}

/// Where a parameter of a call stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpParameter {
    /// In the address, by this name.
    Query(String),
    /// In the body, at this path.
    Body(Vec<PathStep>),
}

/// How one page leads to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HttpPage {
    /// There is one page.
    #[default]
    Single,
    /// By its number.
    Number(HttpParameter, u32),
    /// By how many records come before it.
    Offset(HttpParameter),
    /// By a cursor at this path of the answer before.
    Cursor(Vec<PathStep>, HttpParameter),
    /// By the id of the last record before it.
    LastId(HttpParameter),
    /// By its address at this path of the answer before.
    Next(Vec<PathStep>),
    /// By its address in the header `Link` of the answer before.
    Link,
}

/// How one record is read by its id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpGet {
    /// The path behind the base.
    pub path: String,
    /// Where in the answer the record is.
    pub record: Vec<PathStep>,
}

/// How a body is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpBody {
    /// As JSON.
    #[default]
    Json,
    /// As a form.
    Form,
    /// There is none: the address says everything.
    None,
}

/// How a record is created, updated, archived or deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpWrite {
    /// The method.
    pub method: String,
    /// The path behind the base.
    pub path: String,
    /// How the body is written.
    pub body: HttpBody,
    /// What the fields are put into.
    pub wrap: Vec<PathStep>,
    /// The template of what stands in the body besides the fields.
    pub with: Option<String>,
    /// Whether the whole record is sent.
    pub whole: bool,
    /// Whether objects are sent with all that is in them.
    pub whole_objects: bool,
    /// What of the whole record is not sent.
    pub without: Vec<Vec<PathStep>>,
    /// Whether a create updates the record that has its key already.
    pub upsert: bool,
    /// How several records are written with one call.
    pub batch: Option<HttpBatch>,
    /// Where in the answer the record is.
    pub record: Vec<PathStep>,
    /// Where in the answer the id of a new record is.
    pub id: Option<Vec<PathStep>>,
    /// Where errors stand in an answer that says it is fine.
    pub errors: Option<Vec<PathStep>>,
    /// How an empty value is sent here, where that differs from the rest.
    pub null: Option<JsonNull>,
}

impl HttpWrite {
    /// Whether the body of the operation of this name holds no fields.
    pub fn sends_no_fields(&self, key: &str) -> bool {
        key == "delete" || self.body == HttpBody::None || (key == "archive" && self.method == "DELETE")
    }
}

/// What tells the version of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpVersion {
    /// Where in a record it is.
    pub path: Vec<PathStep>,
    /// The header that holds it in a write.
    pub header: Option<String>,
    /// Where it stands in the body of a write.
    pub field: Option<Vec<PathStep>>,
}

/// How much is asked of an API, and how long it is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// The most calls in so many seconds.
    pub rate: Option<(u32, u32)>,
    /// How many calls that read are under way at once.
    pub at_once: u32,
    /// The most calls of one run.
    pub calls_max: Option<u32>,
    /// Statuses that mean that the API is busy.
    pub busy: Vec<u16>,
    /// Statuses that mean so where the answer is empty.
    pub busy_if_empty: Vec<u16>,
    /// For how many seconds a connection is waited for.
    pub connect_s: u32,
    /// For how many seconds the next part of an answer is waited for.
    pub read_s: u32,
    /// For how many seconds one call may take.
    pub call_s: u32,
    /// The largest answer in megabytes.
    pub body_max_mb: u32,
}

impl Default for HttpLimits {
    fn default() -> HttpLimits {
        HttpLimits {
            rate: None,
            at_once: 1,
            calls_max: None,
            busy: vec![429, 503],
            busy_if_empty: Vec::new(),
            connect_s: 10,
            read_s: 30,
            call_s: 120,
            body_max_mb: 64,
        }
    }
}

/// What the checks of one system share.
struct Checks<'c, 'f> {
    /// `systems.NAME`.
    key: String,
    page: &'c mut Page<'f>,
    has_id: bool,
    has_get: bool,
    /// Whether records have a version; if so, whether it is sent in a header.
    has_version: Option<bool>,
}

/// Checks the settings of an API. Nothing if it has no address or no list.
pub(super) fn check_http(
    name: &At<String>,
    table: &HttpTable,
    id: Option<&At<String>>,
    role: Option<Role>,
    mode: Mode,
    page: &mut Page<'_>,
) -> Option<HttpSettings> {
    let has_version = table.version.as_ref().map(|version| version.value.header.is_some());
    let mut checks = Checks { key: format!("systems.{}", name.value), page, has_id: id.is_some(), has_get: table.get.is_some(), has_version };
    if let Some(base_url) = &table.base_url {
        checks.base_url(base_url);
    }
    let auth = table.auth.as_ref().map_or(HttpAuth::None, |auth| checks.auth(auth));
    let headers = checks.headers(table.headers.as_ref());
    let hosts = checks.hosts(table.hosts.as_ref());
    let list = table.list.as_ref().map(|list| checks.list(list));
    let get = table.get.as_ref().map(|get| HttpGet {
        path: checks.call_path(get.value.path.as_ref(), "get", true),
        record: checks.path(get.value.record.as_ref(), "get.record").unwrap_or_default(),
    });
    let create = table.create.as_ref().map(|write| checks.write(write, "create", "POST"));
    let update = table.update.as_ref().map(|write| checks.write(write, "update", "PATCH"));
    let delete = table.delete.as_ref().map(|write| checks.write(write, "delete", "DELETE"));
    let archive = table.archive.as_ref().map(|write| checks.write(write, "archive", "PATCH"));
    let version = table.version.as_ref().map(|version| checks.version(version));
    if let Some(header) = &table.idempotency {
        checks.header_name(&header.value, &header.span, "idempotency");
    }
    if let Some(get) = table.get.as_ref().filter(|_| id.is_none()) {
        checks.page.refuse(&get.span, format!("`{}.get` reads a record by its id, and the system has no `id`", checks.key)).hint("for example `id = \"id\"`");
    }
    let is_written = mode == Mode::Sync && role.is_some_and(Role::is_written);
    if is_written && create.is_none() && update.is_none() && delete.is_none() && archive.is_none() {
        checks
            .page
            .refuse(&name.span, format!("system `{}` is written, and has neither `create`, `update` nor `delete`", name.value))
            .hint("say how, for example `update = { method = \"PATCH\", path = \"/contacts/{id}\" }`, or make the system a source or a witness");
    }
    let limits = table.limits.as_ref().map_or_else(HttpLimits::default, |limits| checks.limits(&limits.value));
    let responses = table.responses.iter().flat_map(|responses| &responses.value).map(|response| checks.response(response)).collect();
    let is_overwritten = is_written && version.is_none() && (update.is_some() || delete.is_some() || archive.is_some());
    if let (true, Some((1, _)), Some(rate)) = (is_overwritten, limits.rate, table.limits.as_ref().and_then(|limits| limits.value.rate.as_ref())) {
        let message = format!("`{}.limits.rate` lets one call through at a time: between the look at a record and its write somebody may edit it", checks.key);
        checks.page.refuse(&rate.span, message).hint("count more calls over a longer time, such as `60/min` in place of `1/s`, or give `version`");
    }
    Some(HttpSettings {
        base_url: table.base_url.as_ref()?.value.clone(),
        ca: table.ca.as_ref().map(|ca| ca.value.clone()),
        hosts,
        auth,
        headers,
        list: list?,
        get,
        create,
        update,
        delete,
        archive,
        version,
        idempotency: table.idempotency.as_ref().map(|header| header.value.clone()),
        null: table.null.as_ref().map_or(JsonNull::Null, |null| null.value),
        limits,
        responses,
        retry_for_s: 0,
        columns: Vec::new(),
    })
}

impl Checks<'_, '_> {
    fn base_url(&mut self, url: &At<String>) {
        let key = format!("{}.base_url", self.key);
        if has_literal_secret(url.as_str()) {
            self.page.refuse(&url.span, format!("a secret stands in `{key}`")).hint("give it in `auth`, as a reference such as `${env:NAME}`");
        } else if url.value.starts_with("${") {
        } else if url.value.contains(['?', '#']) {
            self.page.refuse(&url.span, format!("`{key}` has parameters, and paths are added to it")).hint("put parameters into `list.query`");
        } else if let Some(problem) = url_problem(&url.value) {
            self.page.refuse(&url.span, format!("`{key}` {problem}")).hint("for example `https://crm.example.com/api`");
        }
    }

    fn auth(&mut self, auth: &At<HttpAuthTable>) -> HttpAuth {
        let table = &auth.value;
        let key = format!("{}.auth", self.key);
        let ways = [
            table.bearer.is_some(),
            table.basic.is_some(),
            table.header.is_some(),
            table.query.is_some(),
            table.cookie.is_some(),
            table.oauth2.is_some(),
            table.session.is_some(),
        ];
        if ways.iter().filter(|way| **way).count() != 1 {
            let problem = if ways.contains(&true) { "has several ways" } else { "has no way" };
            self.page
                .refuse(&auth.span, format!("`{key}` {problem} to say who we are"))
                .hint("give one of `bearer`, `basic`, `header`, `query`, `cookie`, `oauth2` and `session`");
            return HttpAuth::None;
        }
        if let Some(oauth2) = &table.oauth2 {
            return HttpAuth::Oauth2(Box::new(self.oauth2(oauth2)));
        }
        if let Some(session) = &table.session {
            return HttpAuth::Session(Box::new(self.session(session)));
        }
        let mut secret = |text: &At<String>, name: &str| {
            if !text.value.is_empty() && !has_reference(&text.value) {
                self.page
                    .refuse(&text.span, format!("a secret stands in `{key}.{name}`"))
                    .hint("put it into the environment, and write `${env:NAME}` in its place");
            }
            text.value.clone()
        };
        if let Some(bearer) = &table.bearer {
            return HttpAuth::Bearer(secret(bearer, "bearer"));
        }
        if let Some(basic) = &table.basic {
            let (user, password) = (basic.value.user.as_ref(), basic.value.password.as_ref());
            let password = password.map(|password| secret(password, "basic.password")).unwrap_or_default();
            if let Some(user) = user.filter(|_| password.is_empty()) {
                secret(user, "basic.user");
            }
            return HttpAuth::Basic { user: user.map(|user| user.value.clone()).unwrap_or_default(), password };
        }
        let value = table.key.as_ref().map(|value| secret(value, "key")).unwrap_or_default();
        if table.key.is_none() {
            self.page.refuse(&auth.span, format!("`{key}` has no `key`")).hint("for example `{ header = \"X-Api-Key\", key = \"${env:CRM_KEY}\" }`");
        }
        match (&table.header, &table.cookie, &table.query) {
            (Some(header), ..) => {
                self.header_name(&header.value, &header.span, "auth.header");
                HttpAuth::Header { name: header.value.clone(), key: value }
            }
            (None, Some(cookie), _) => {
                self.header_name(&cookie.value, &cookie.span, "auth.cookie");
                HttpAuth::Cookie { name: cookie.value.clone(), key: value }
            }
            (None, None, query) => HttpAuth::Query { name: query.as_ref().map(|query| query.value.clone()).unwrap_or_default(), key: value },
        }
    }

    fn headers(&mut self, headers: Option<&At<Named<String>>>) -> Vec<(String, String)> {
        let mut read = Vec::new();
        for (name, value) in headers.into_iter().flat_map(|headers| &headers.value.0) {
            let Some(value) = value else { continue };
            self.header_name(&name.value, &name.span, "headers");
            let is_secret = ["authorization", "token", "key", "secret", "cookie"].iter().any(|word| name.value.to_ascii_lowercase().contains(word));
            if is_secret && !has_reference(value) {
                self.page
                    .refuse(&name.span, format!("a secret stands in `{}.headers.{}`", self.key, name.value))
                    .hint("put it into the environment, and write `${env:NAME}` in its place");
            }
            if value.contains(['\r', '\n']) {
                self.page.refuse(&name.span, format!("`{}.headers.{}` has more than one line", self.key, name.value));
            }
            read.push((name.value.clone(), value.clone()));
        }
        read
    }

    fn header_name(&mut self, header: &str, span: &Span, key: &str) {
        if header.is_empty() || !header.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            self.page.refuse(span, format!("`{}` in `{}.{key}` is not the name of a header", header.escape_debug(), self.key)).hint("for example `X-Api-Key`");
        }
    }

    /// A path into JSON.
    fn path(&mut self, text: Option<&At<String>>, key: &str) -> Option<Vec<PathStep>> {
        let text = text?;
        match read_path(text.as_str().trim()) {
            Ok(steps) => Some(steps),
            Err(problem) => {
                self.page
                    .refuse(&text.span, format!("`{}.{key}` {problem}", self.key))
                    .seen(format!("found `{}`", text.value))
                    .hint("for example `$.paging.next`");
                None
            }
        }
    }

    /// A path behind the base.
    fn call_path(&mut self, path: Option<&At<String>>, key: &str, needs_id: bool) -> String {
        let Some(path) = path else { return String::new() };
        let key = format!("{}.{key}.path", self.key);
        if path.value.contains("://") || path.value.starts_with("//") {
            self.page.refuse(&path.span, format!("`{key}` is a whole address, and is added to `base_url`")).hint("for example `/contacts`");
        } else if has_literal_secret(path.as_str()) {
            self.page.refuse(&path.span, format!("a secret stands in `{key}`")).hint("give it in `auth`, as a reference such as `${env:NAME}`");
        }
        let mut rest = path.value.as_str();
        let mut has_id = false;
        // The brace of a reference is none of a place.
        while let Some((before, after)) = rest.split_once('{') {
            let (inside, tail) = after.split_once('}').unwrap_or((after, ""));
            if !before.ends_with('$') {
                if inside != "id" {
                    self.page.refuse(&path.span, format!("`{key}` has `{{{inside}}}`, and only `{{id}}` can stand there"));
                }
                has_id = true;
            }
            rest = tail;
        }
        if needs_id && !has_id {
            self.page.refuse(&path.span, format!("`{key}` has no `{{id}}`: which record is meant?")).hint("for example `/contacts/{id}`");
        } else if !needs_id && has_id {
            self.page.refuse(&path.span, format!("`{key}` has `{{id}}`, and there is no one record"));
        }
        path.value.clone()
    }

    fn method(&mut self, method: Option<&At<String>>, key: &str, usual: &str, known: &[&str]) -> String {
        let Some(method) = method else { return usual.to_owned() };
        if !known.contains(&method.as_str()) {
            self.page.refuse(&method.span, format!("`{}.{key}.method` cannot be `{}`", self.key, method.value)).known(
                "methods",
                &method.value.to_ascii_uppercase(),
                known.iter().copied(),
            );
        }
        method.value.clone()
    }

    fn list(&mut self, list: &At<HttpListTable>) -> HttpList {
        let table = &list.value;
        let method = self.method(table.method.as_ref(), "list", "GET", &["GET", "POST"]);
        let path = self.call_path(table.path.as_ref(), "list", false);
        let mut query = Vec::new();
        for (name, value) in table.query.iter().flat_map(|query| &query.value.0) {
            let Some(value) = value else { continue };
            if has_literal_secret(&format!("?{}={value}", name.value)) {
                self.page
                    .refuse(&name.span, format!("a secret stands in `{}.list.query.{}`", self.key, name.value))
                    .hint("give it in `auth`, as a reference such as `${env:NAME}`");
            }
            query.push((name.value.clone(), value.clone()));
        }
        if let Some(body) = &table.body {
            if method == "GET" {
                self.page.refuse(&body.span, format!("`{}.list.body` is for method `POST`", self.key)).hint("say `method = \"POST\"`");
            } else if !has_reference(&body.value)
                && let Err(error) = serde_json::from_str::<serde_json::Value>(&body.value)
            {
                self.page.refuse(&body.span, format!("`{}.list.body` is no JSON", self.key)).seen(format!(
                    "at its line {}, column {}",
                    error.line(),
                    error.column()
                ));
            }
        }
        let mut records = Vec::new();
        for step in self.path(table.records.as_ref(), "list.records").unwrap_or_default() {
            match (step, &table.records) {
                (PathStep::Key(key), _) => records.push(key),
                (PathStep::Index(_), Some(at)) => {
                    self.page
                        .refuse(&at.span, format!("`{}.list.records` goes through an array, and the records are one array", self.key))
                        .hint("for example `records = \"$.items\"`");
                }
                (PathStep::Index(_), None) => {}
            }
        }
        if let (Some(_), Some(header)) = (&table.total, &table.total_header) {
            self.page.refuse(&header.span, format!("`{}.list` has both `total` and `total_header`", self.key)).hint("keep one of the two");
        }
        let has_body = table.body.is_some();
        let (page, more, pages_max) = table.page.as_ref().map_or((HttpPage::Single, None, 10_000), |page| self.paging(page, has_body));
        let format = table.format.as_ref().map(|format| format.value).unwrap_or_default();
        if format != HttpFormat::Json {
            let of_page = table.page.as_ref().map(|page| &page.value);
            let within = [
                ("records", &table.records),
                ("unwrap", &table.unwrap),
                ("total", &table.total),
                ("errors", &table.errors),
                ("page.cursor", of_page.map_or(&None, |page| &page.cursor)),
                ("page.next", of_page.map_or(&None, |page| &page.next)),
                ("page.more", of_page.map_or(&None, |page| &page.more)),
            ];
            for (name, written) in within {
                if let Some(written) = written {
                    self.page
                        .refuse(&written.span, format!("`{}.list.{name}` leads into an answer, and with this `format` there is nothing but records", self.key));
                }
            }
        }
        HttpList {
            method,
            path,
            query,
            format,
            body: table.body.as_ref().map(|body| body.value.clone()),
            records,
            unwrap: self.path(table.unwrap.as_ref(), "list.unwrap").unwrap_or_default(),
            page,
            more,
            pages_max,
            total: self.path(table.total.as_ref(), "list.total"),
            total_header: table.total_header.as_ref().map(|header| header.value.clone()),
            errors: self.path(table.errors.as_ref(), "list.errors"),
        }
    }

    fn parameter(&mut self, name: &At<String>, key: &str, has_body: bool) -> HttpParameter {
        if !name.value.starts_with('$') {
            if name.value.is_empty() {
                self.page.refuse(&name.span, format!("`{}.list.page.{key}` is empty", self.key));
            }
            return HttpParameter::Query(name.value.clone());
        }
        let path = self.path(Some(name), &format!("list.page.{key}")).unwrap_or_default();
        if !has_body {
            self.page.refuse(&name.span, format!("`{}.list.page.{key}` leads into the body, and `list` has no `body`", self.key));
        }
        HttpParameter::Body(path)
    }

    fn paging(&mut self, page: &At<HttpPageTable>, has_body: bool) -> (HttpPage, Option<Vec<PathStep>>, u32) {
        const WAYS: &str = "`number`, `offset`, `cursor`, `last_id`, `next` and `link`";
        let table = &page.value;
        let key = format!("{}.list.page", self.key);
        let ways = [
            table.number.is_some(),
            table.offset.is_some(),
            table.cursor.is_some(),
            table.last_id.is_some(),
            table.next.is_some(),
            table.link.as_ref().is_some_and(|link| link.value),
        ];
        if ways.iter().filter(|way| **way).count() != 1 {
            let problem = if ways.contains(&true) { "has several ways" } else { "has no way" };
            self.page.refuse(&page.span, format!("`{key}` {problem} to the next page")).hint(format!("give one of {WAYS}"));
        }
        if let Some(first) = table.first.as_ref().filter(|_| table.number.is_none()) {
            self.page.refuse(&first.span, format!("`{key}.first` is for pages with a `number`"));
        }
        if let Some(param) = table.param.as_ref().filter(|_| table.cursor.is_none()) {
            self.page.refuse(&param.span, format!("`{key}.param` is for pages with a `cursor`"));
        }
        let pages_max = table.pages_max.as_ref().map_or(10_000, |most| most.value);
        if let Some(most) = table.pages_max.as_ref().filter(|most| most.value == 0) {
            self.page.refuse(&most.span, format!("`{key}.pages_max` is 0: nothing would be read"));
        }
        let more = self.path(table.more.as_ref(), "list.page.more");
        let style = if let Some(number) = &table.number {
            HttpPage::Number(self.parameter(number, "number", has_body), table.first.as_ref().map_or(1, |first| first.value))
        } else if let Some(offset) = &table.offset {
            HttpPage::Offset(self.parameter(offset, "offset", has_body))
        } else if let Some(cursor) = &table.cursor {
            let path = self.path(Some(cursor), "list.page.cursor").unwrap_or_default();
            let param = table.param.as_ref().map(|param| self.parameter(param, "param", has_body));
            if param.is_none() {
                self.page.refuse(&cursor.span, format!("`{key}` has a `cursor`, and does not say where it is sent")).hint("for example `param = \"after\"`");
            }
            HttpPage::Cursor(path, param.unwrap_or(HttpParameter::Query(String::new())))
        } else if let Some(last_id) = &table.last_id {
            if !self.has_id {
                self.page.refuse(&last_id.span, format!("`{key}.last_id` needs the `id` of the system")).hint("for example `id = \"id\"`");
            }
            HttpPage::LastId(self.parameter(last_id, "last_id", has_body))
        } else if let Some(next) = &table.next {
            HttpPage::Next(self.path(Some(next), "list.page.next").unwrap_or_default())
        } else {
            HttpPage::Link
        };
        (style, more, pages_max)
    }

    fn write(&mut self, write: &At<HttpWriteTable>, key: &str, usual: &str) -> HttpWrite {
        let table = &write.value;
        let is_create = key == "create";
        if !is_create && !self.has_id {
            self.page
                .refuse(&write.span, format!("`{}.{key}` addresses a record by its id, and the system has no `id`", self.key))
                .hint("for example `id = \"id\"`");
        }
        if let Some(id) = table.id.as_ref().filter(|_| !is_create) {
            self.page.refuse(&id.span, format!("`{}.{key}.id` is for `create`", self.key));
        }
        if let Some(whole) = table.whole_objects.as_ref().filter(|whole| whole.value && (is_create || key == "delete")) {
            self.page.refuse(&whole.span, format!("`{}.{key}.whole_objects` is for operations that send fields of a record that is there", self.key));
        }
        if let Some(upsert) = table.upsert.as_ref().filter(|upsert| upsert.value && !is_create) {
            self.page.refuse(&upsert.span, format!("`{}.{key}.upsert` is for `create`", self.key));
        }
        let method = self.method(table.method.as_ref(), key, usual, &["POST", "PUT", "PATCH", "DELETE"]);
        // What is addressed by the body alone needs no id in its path.
        let has_id_in_body = table.with.as_ref().is_some_and(|with| with.value.contains("\"{")) || table.batch.is_some();
        let needs_id = !is_create && (!has_id_in_body || table.path.as_ref().is_some_and(|path| path.value.contains("{id}")));
        let path = self.call_path(table.path.as_ref(), key, needs_id);
        let mut write = HttpWrite {
            method,
            path,
            body: table.body.as_ref().map_or(HttpBody::Json, |body| body.value),
            wrap: self.path(table.wrap.as_ref(), &format!("{key}.wrap")).unwrap_or_default(),
            record: self.path(table.record.as_ref(), &format!("{key}.record")).unwrap_or_default(),
            id: self.path(table.id.as_ref(), &format!("{key}.id")),
            errors: self.path(table.errors.as_ref(), &format!("{key}.errors")),
            null: table.null.as_ref().map(|null| null.value),
            upsert: table.upsert.as_ref().is_some_and(|upsert| upsert.value),
            whole_objects: table.whole_objects.as_ref().is_some_and(|whole| whole.value),
            ..HttpWrite::default()
        };
        let places = Places { has_id: !is_create, has_version: self.has_version.is_some() && !is_create, has_columns: true, ..Places::default() };
        write.with = self.template(table.with.as_ref(), &format!("{key}.with"), places);
        if let Some(with) = table.with.as_ref().filter(|_| write.body != HttpBody::Json) {
            self.page.refuse(&with.span, format!("`{}.{key}.with` is JSON, and the body is none", self.key)).hint("leave `body` out");
        }
        self.whole(table, &mut write, key);
        write.batch = self.batch(table, &write, key, self.has_version);
        write
    }

    /// Whether the whole record is sent.
    fn whole(&mut self, table: &HttpWriteTable, write: &mut HttpWrite, key: &str) {
        let whole = table.whole.as_ref().filter(|whole| whole.value);
        write.whole = whole.is_some();
        for path in table.without.iter().flat_map(|without| &without.value.0) {
            write.without.extend(self.path(Some(path), &format!("{key}.without")));
        }
        if let Some(without) = table.without.as_ref().filter(|_| whole.is_none()) {
            self.page.refuse(&without.span, format!("`{}.{key}.without` is for operations that send the whole record", self.key)).hint("say `whole = true`");
        }
        let Some(whole) = whole else { return };
        let name = format!("{}.{key}.whole", self.key);
        if key == "create" || write.sends_no_fields(key) {
            self.page.refuse(&whole.span, format!("`{name}` is for operations that send fields of a record that is there"));
        } else if !self.has_get {
            self.page
                .refuse(&whole.span, format!("`{name}` needs `get`: a list may show only a part of a record, and the rest would be cleared"))
                .hint("for example `get = { path = \"/contacts/{id}\" }`");
        } else if write.body == HttpBody::Form {
            self.page.refuse(&whole.span, format!("`{name}` needs a body of JSON, and it is a form"));
        } else if table.with.is_some() && write.wrap.is_empty() {
            self.page.refuse(&whole.span, format!("`{name}` and `with` are both the body")).hint("say with `wrap` where in the body the record is put");
        }
    }

    fn version(&mut self, version: &At<HttpVersionTable>) -> HttpVersion {
        let table = &version.value;
        if table.header.is_none() == table.field.is_none() {
            let problem = if table.header.is_some() { "is sent twice" } else { "is sent nowhere" };
            self.page.refuse(&version.span, format!("`{}.version` {problem}", self.key)).hint("give either `header`, such as `If-Match`, or `field`");
        }
        if let Some(header) = &table.header {
            self.header_name(&header.value, &header.span, "version.header");
        }
        HttpVersion {
            path: self.path(table.path.as_ref(), "version.path").unwrap_or_default(),
            header: table.header.as_ref().map(|header| header.value.clone()),
            field: self.path(table.field.as_ref(), "version.field"),
        }
    }

    /// Statuses from `least` on.
    fn statuses(&mut self, written: Option<&At<Vec<At<u32>>>>, key: &str, least: u16) -> Option<Vec<u16>> {
        let mut read = Vec::new();
        for status in &written?.value {
            match u16::try_from(status.value).ok().filter(|status| (least..600).contains(status)) {
                Some(status) => read.push(status),
                None => {
                    self.page.refuse(&status.span, format!("`{}.{key}` has {}, and a status lies between {least} and 599", self.key, status.value));
                }
            }
        }
        Some(read)
    }

    fn limits(&mut self, table: &HttpLimitsTable) -> HttpLimits {
        let usual = HttpLimits::default();
        let mut number = |written: &Option<At<u32>>, key: &str, usual: u32, most: u32| {
            let Some(written) = written else { return usual };
            if !(1..=most).contains(&written.value) {
                self.page.refuse(&written.span, format!("`{}.limits.{key}` must lie between 1 and {most}, not {}", self.key, written.value));
            }
            written.value
        };
        let at_once = number(&table.at_once, "at_once", usual.at_once, AT_ONCE_MAX);
        let connect_s = number(&table.connect_s, "connect_s", usual.connect_s, SECONDS_MAX);
        let read_s = number(&table.read_s, "read_s", usual.read_s, SECONDS_MAX);
        let call_s = number(&table.call_s, "call_s", usual.call_s, SECONDS_MAX);
        let body_max_mb = number(&table.body_max_mb, "body_max_mb", usual.body_max_mb, BODY_MEGABYTES_MAX);
        let calls_max = table.calls_max.as_ref().map(|_| number(&table.calls_max, "calls_max", 1, u32::MAX));
        let busy = self.statuses(table.busy.as_ref(), "limits.busy", 400).unwrap_or(usual.busy);
        let busy_if_empty = self.statuses(table.busy_if_empty.as_ref(), "limits.busy_if_empty", 400).unwrap_or_default();
        let rate = table.rate.as_ref().and_then(|rate| {
            let read = rate_of(&rate.value);
            if read.is_none() {
                self.page
                    .refuse(&rate.span, format!("`{}.limits.rate` cannot be `{}`", self.key, rate.value))
                    .hint("for example `10/s`, `60/min`, `1000/h` or `5000/day`");
            }
            read
        });
        HttpLimits { rate, at_once, calls_max, busy, busy_if_empty, connect_s, read_s, call_s, body_max_mb }
    }
}

/// How many calls in how many seconds.
fn rate_of(text: &str) -> Option<(u32, u32)> {
    let (calls, time) = text.split_once('/')?;
    let calls = calls.trim().parse().ok().filter(|calls| (1..=RATE_CALLS_MAX).contains(calls))?;
    let seconds = match time.trim() {
        "s" => 1,
        "min" => 60,
        "h" => 3600,
        "day" => 86_400,
        _ => return None,
    };
    Some((calls, seconds))
}

/// What is wrong with the address of an API, in words that follow its name; nothing if it can be called.
pub fn url_problem(text: &str) -> Option<&'static str> {
    let Ok(url) = Url::parse(text) else { return Some("is no address") };
    let host = url.host_str().unwrap_or_default();
    match url.scheme() {
        _ if host.is_empty() => Some("names no host"),
        _ if !url.username().is_empty() || url.password().is_some() => Some("has a user in it, which belongs into `auth`"),
        "https" => None,
        "http" if is_loopback(host.trim_start_matches('[').trim_end_matches(']')) => None,
        "http" => Some("is plain `http:`, which anybody on the way can read and change: it is for this machine only"),
        _ => Some("is neither `https:` nor `http:`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_addresses() {
        assert_eq!(rate_of("60/min"), Some((60, 60)));
        assert_eq!(rate_of("5000 / day"), Some((5000, 86_400)));
        for wrong in ["0/s", "60", "60/minute", "/s", "-1/s"] {
            assert_eq!(rate_of(wrong), None, "{wrong}");
        }
        for fine in ["https://crm.example.com/api", "http://127.0.0.1:8080", "http://localhost/x", "http://[::1]:80/"] {
            assert_eq!(url_problem(fine), None, "{fine}");
        }
        for wrong in ["crm.example.com", "http://crm.example.com", "http://127.0.0.1.evil.com", "ftp://crm.example.com", "https://user:pass@crm.example.com"] {
            assert!(url_problem(wrong).is_some(), "{wrong}");
        }
    }

    #[test]
    fn one_slash_joins() {
        assert_eq!(joined("https://a.example/api/", "/contacts"), "https://a.example/api/contacts");
        assert_eq!(joined("https://a.example", "contacts"), "https://a.example/contacts");
        assert_eq!(joined("https://a.example/base/table", ""), "https://a.example/base/table");
    }
}
