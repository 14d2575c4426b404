//! The `http` kind against a real server over a socket: pages, limits, logins, writes, and whatever else APIs do to their callers.
//!
//! The server (`server`) plays what a test tells it and keeps what it was asked, so that a test can say which calls were made, and which
//! never.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tieout::change::Outcome;
use tieout::error::{Error, Remedy};
use tieout::frame::Pulled;
use tieout::job::{
    Gates, HttpAuth, HttpGet, HttpLimits, HttpList, HttpPage, HttpParameter, HttpSettings, HttpVersion, HttpWrite, JsonNull, Kind, May, PathStep, Role,
    SystemSpec, read_path,
};
use tieout::project::Project;
use tieout::report::Verdict;
use tieout::run::{self, Finished, Request, World};
use tieout::systems::{Opening, System, Wanted, WriteSet, open};

mod ahead;
mod answers;
mod login;

pub use crate::server::{Asked, Said, Server, form, said};
use crate::systems::{add, is_done, is_stale, part, remove, set};

// ── a well-behaved API ───────────────────────────────────────────────────────────────────────────────────────────────────

/// The records of an API, in its order.
pub type Records = Arc<Mutex<Vec<Json>>>;

/// An API with pages of two records by cursor, records by id, and a name that it does not take.
pub fn well_behaved(records: Records, refused: &'static str) -> Server {
    Server::start(move |asked| {
        let mut records = records.lock().unwrap();
        let id = asked.path.strip_prefix("/api/people/").map(|id| form(&format!("id={id}"))["id"].clone());
        let at = |records: &[Json], id: &str| records.iter().position(|record| record["id"].as_str() == Some(id));
        let sent = asked.json();
        if sent["name"].as_str() == Some(refused) {
            return said(422, json!({"message": "no snowmen"}).to_string());
        }
        let merge = |record: &mut Json| {
            for (key, value) in sent.as_object().into_iter().flatten() {
                record[key] = value.clone();
            }
            record.to_string()
        };
        match (asked.method.as_str(), id) {
            ("GET", None) => {
                let start = asked.query.get("after").map_or(0, |after| after.parse::<usize>().unwrap());
                let page: Vec<&Json> = records.iter().skip(start).take(2).collect();
                let next = (start + 2 < records.len()).then(|| (start + 2).to_string());
                said(200, json!({"items": page, "next": next, "total": records.len()}).to_string())
            }
            ("POST", None) => {
                let highest = records.iter().filter_map(|record| record["id"].as_str()?.parse::<u64>().ok()).max().unwrap_or(0);
                let mut record = json!({"id": (highest + 1).to_string(), "email": null, "name": null, "balance": null, "note": null});
                let text = merge(&mut record);
                records.push(record);
                said(201, text)
            }
            (method, Some(id)) => match (method, at(&records, &id)) {
                (_, None) => said(404, r#"{"message": "no such person"}"#),
                ("GET", Some(at)) => said(200, records[at].to_string()),
                ("PATCH", Some(at)) => said(200, merge(&mut records[at])),
                ("DELETE", Some(at)) => {
                    records.remove(at);
                    said(204, "")
                }
                _ => said(405, ""),
            },
            _ => said(405, ""),
        }
    })
}

pub fn path(text: &str) -> Vec<PathStep> {
    read_path(text).unwrap()
}

/// How a job file describes [`well_behaved`].
pub fn settings(address: &str) -> HttpSettings {
    let write = |method: &str, path: &str| Some(HttpWrite { method: method.to_owned(), path: path.to_owned(), ..HttpWrite::default() });
    HttpSettings {
        base_url: format!("{address}/api"),
        list: HttpList {
            method: "GET".to_owned(),
            path: "/people".to_owned(),
            records: vec!["items".to_owned()],
            page: HttpPage::Cursor(path("$.next"), HttpParameter::Query("after".to_owned())),
            pages_max: 1000,
            total: Some(path("$.total")),
            ..HttpList::default()
        },
        get: Some(HttpGet { path: "/people/{id}".to_owned(), record: Vec::new() }),
        create: write("POST", "/people"),
        update: write("PATCH", "/people/{id}"),
        delete: write("DELETE", "/people/{id}"),
        retry_for_s: 5,
        ..HttpSettings::default()
    }
}

/// An API that is only read, whose list is at `/people`.
fn listed(address: &str, page: HttpPage) -> HttpSettings {
    HttpSettings { list: HttpList { page, total: None, ..settings(address).list }, get: None, create: None, update: None, delete: None, ..settings(address) }
}

fn opened_at(root: &Path, settings: HttpSettings) -> Result<Box<dyn System>, Error> {
    let spec = SystemSpec {
        name: "crm".to_owned(),
        kind: Kind::Http(Box::new(settings)),
        role: Role::Peer,
        may: May::default(),
        only: Vec::new(),
        id: Some("id".to_owned()),
        edited_at: None,
        gates: Gates::default(),
    };
    let columns = ["id", "name"].map(str::to_owned).to_vec();
    open(Opening { root, job: "people", spec: &spec, columns, known: BTreeMap::new(), state: Some(&root.join("state")) })
}

fn opened(settings: HttpSettings) -> Box<dyn System> {
    opened_at(Path::new("/"), settings).unwrap()
}

fn pulled(settings: HttpSettings) -> Pulled {
    opened(settings).pull().and_then(Pulled::whole).unwrap()
}

fn trouble(settings: HttpSettings) -> Error {
    opened(settings).pull().unwrap_err()
}

fn ids(pulled: &Pulled) -> Vec<String> {
    (0..pulled.height() as u32).map(|row| pulled.raw("id", row).text.unwrap()).collect()
}

fn people(ids: impl IntoIterator<Item = usize>) -> Vec<Json> {
    ids.into_iter().map(|id| json!({"id": format!("p{id}"), "name": format!("Person {id}")})).collect()
}

fn page_of(records: &[Json]) -> Said {
    said(200, json!({"items": records}).to_string())
}

#[track_caller]
fn tells(error: &Error, words: &[&str]) {
    let told = error.to_string();
    for word in words {
        assert!(told.contains(word), "`{word}` is missing in:\n{told}");
    }
}

// ── pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn five_people_come_whole_by_every_way_to_the_next_page() {
    let number = |asked: &Asked, name: &str| asked.query.get(name).map_or(0, |value| value.parse::<usize>().unwrap());
    let slice = |start: usize| people(start.min(5)..(start + 2).min(5));
    let query = |name: &str| HttpParameter::Query(name.to_owned());
    let five = ["p0", "p1", "p2", "p3", "p4"];

    let server = Server::start(move |asked| page_of(&slice((number(asked, "page") - 1) * 2)));
    assert_eq!(ids(&pulled(listed(&server.address, HttpPage::Number(query("page"), 1)))), five);
    assert_eq!(server.count("GET"), 4, "a short page is not taken for the last one");

    let server = Server::start(move |asked| page_of(&slice(number(asked, "p") * 2)));
    assert_eq!(ids(&pulled(listed(&server.address, HttpPage::Number(query("p"), 0)))), five);

    let server = Server::start(move |asked| page_of(&slice(number(asked, "skip"))));
    assert_eq!(ids(&pulled(listed(&server.address, HttpPage::Offset(query("skip"))))), five);

    let server = Server::start(move |asked| {
        let start = asked.query.get("starting_after").map_or(0, |id| id[1..].parse::<usize>().unwrap() + 1);
        said(200, json!({"items": slice(start), "more": start + 2 < 5}).to_string())
    });
    let mut by_id = listed(&server.address, HttpPage::LastId(query("starting_after")));
    by_id.list.more = Some(path("$.more"));
    assert_eq!(ids(&pulled(by_id)), five);
    assert_eq!(server.count("GET"), 3, "what says that it is the last page is believed");

    for absolute in [false, true] {
        let base: Arc<Mutex<String>> = Arc::default();
        let host = Arc::clone(&base);
        let server = Server::start(move |asked| {
            let start = number(asked, "start");
            let host = if absolute { host.lock().unwrap().clone() } else { String::new() };
            let next = (start + 2 < 5).then(|| format!("{host}/api/people?start={}&kept=a%2Cb", start + 2));
            let reply = said(200, json!({"items": slice(start), "links": {"next": next}}).to_string());
            match next {
                Some(next) => reply.with("Link", format!("</x>; rel=\"first\", <{next}>; rel=\"next\"")),
                None => reply,
            }
        });
        base.lock().unwrap().clone_from(&server.address);
        assert_eq!(ids(&pulled(listed(&server.address, HttpPage::Next(path("$.links.next"))))), five);
        assert_eq!(ids(&pulled(listed(&server.address, HttpPage::Link))), five);
        assert_eq!(server.asked()[1].query["kept"], "a,b");
    }

    let server = Server::start(move |asked| {
        let start = asked.json()["variables"]["after"].as_str().map_or(0, |after| after.parse::<usize>().unwrap());
        let edges: Vec<Json> = slice(start).into_iter().map(|node| json!({ "node": node })).collect();
        let info = json!({"hasNextPage": start + 2 < 5, "endCursor": (start + 2).to_string()});
        said(200, json!({"data": {"people": {"edges": edges, "pageInfo": info}}}).to_string())
    });
    let mut graph = listed(&server.address, HttpPage::Cursor(path("$.data.people.pageInfo.endCursor"), HttpParameter::Body(path("$.variables.after"))));
    graph.list.method = "POST".to_owned();
    graph.list.body = Some(r#"{"query": "query($after: String) { people { id } }", "variables": {"after": null}}"#.to_owned());
    graph.list.records = ["data", "people", "edges"].map(str::to_owned).to_vec();
    graph.list.unwrap = path("node");
    graph.list.more = Some(path("$.data.people.pageInfo.hasNextPage"));
    assert_eq!(ids(&pulled(graph)), five);
    assert_eq!(server.asked()[0].json()["variables"]["after"], Json::Null);
}

#[test]
fn pages_that_go_round_in_a_circle_stop_the_run() {
    let by = |page: HttpPage| {
        let server = Server::start(|_| said(200, json!({"items": people(0..2), "next": "same"}).to_string()));
        trouble(listed(&server.address, page))
    };
    let query = || HttpParameter::Query("x".to_owned());
    for page in [HttpPage::Number(query(), 1), HttpPage::Offset(query()), HttpPage::LastId(query()), HttpPage::Cursor(path("next"), query())] {
        tells(&by(page), &["go round in a circle", "page 2", "nothing was read or written"]);
    }
    let server = Server::start(|asked| page_of(&people([asked.query["x"].parse().unwrap()])));
    let mut endless = listed(&server.address, HttpPage::Number(query(), 1));
    endless.list.pages_max = 7;
    tells(&trouble(endless), &["more than 7 pages", "pages_max"]);
}

#[test]
fn a_record_that_slipped_onto_a_later_page_is_taken_once_as_read_last() {
    let moving = |asked: &Asked| match asked.query["skip"].as_str() {
        "0" => page_of(&people([1, 2])),
        "2" => page_of(&[json!({"id": "p2", "name": "Edited"}), json!({"id": "p3", "name": "Person 3"})]),
        _ => page_of(&[]),
    };
    let by_offset = |address: &str| listed(address, HttpPage::Offset(HttpParameter::Query("skip".to_owned())));
    // What moved to a page that was read before is seen by nobody, so that the list is read anew.
    let server = Server::start(moving);
    tells(&trouble(by_offset(&server.address)), &["is edited while it is read", "it was read 3 times"]);
    let mut calls = 0;
    let server = Server::start(move |asked| {
        calls += 1;
        if calls <= 3 { moving(asked) } else { page_of(&if asked.query["skip"] == "0" { people([1, 2, 3]) } else { Vec::new() }) }
    });
    assert_eq!(ids(&pulled(by_offset(&server.address))), ["p1", "p2", "p3"]);
    // Where the API says how many there are, their number tells whether one is missing.
    let server = Server::start(move |asked| moving(asked).with("X-Total", "3"));
    let mut settings = by_offset(&server.address);
    settings.list.total_header = Some("X-Total".to_owned());
    let pulled = pulled(settings);
    assert_eq!(ids(&pulled), ["p1", "p2", "p3"]);
    assert_eq!(pulled.raw("name", 1).text.as_deref(), Some("Edited"));
    assert_eq!(pulled.evidence.rows_read, 3);
    assert!(pulled.evidence.notes.iter().any(|note| note.starts_with("1 record came on two pages")), "{:?}", pulled.evidence.notes);
    // Two on one page are two records with one id: a person must see them.
    let server = Server::start(|_| page_of(&people([1, 1])));
    assert_eq!(self::pulled(listed(&server.address, HttpPage::Single)).height(), 2);
}

#[test]
fn what_the_api_announces_is_told_and_a_lost_page_never_passes_for_whole() {
    let server = Server::start(|_| said(200, json!({"items": people(0..2), "meta": {"total": 5}}).to_string()).with("X-Total", "6"));
    let mut by_body = listed(&server.address, HttpPage::Single);
    by_body.list.total = Some(path("$.meta.total"));
    let evidence = pulled(by_body).evidence;
    assert_eq!((evidence.rows_read, evidence.rows_announced), (2, Some(5)));
    let mut by_header = listed(&server.address, HttpPage::Single);
    by_header.list.total_header = Some("X-Total".to_owned());
    assert_eq!(pulled(by_header).evidence.rows_announced, Some(6));
    let mut nowhere = listed(&server.address, HttpPage::Single);
    nowhere.list.total = Some(path("$.total"));
    tells(&trouble(nowhere), &["does not say how many records there are"]);
    let server = Server::start(|asked| {
        let items = if asked.query.get("page").is_some_and(|page| page == "2") { Vec::new() } else { people(0..2) };
        said(200, json!({"items": items, "more": true}).to_string())
    });
    let mut more = listed(&server.address, HttpPage::Number(HttpParameter::Query("page".to_owned()), 1));
    more.list.more = Some(path("$.more"));
    tells(&trouble(more), &["says that there are more pages, and page 2 is empty"]);
}

#[test]
fn numbers_keep_every_digit_and_null_is_not_the_empty_text() {
    let body = r#"{"items": [{"id": 12345678901234567890, "name": 0.10}, {"id": "b", "name": null}, {"id": "c"}, {"id": "d", "name": ""}, {"id": "e", "name": {"x": 1}}, 7]}"#;
    let server = Server::start(move |_| said(200, body));
    let pulled = pulled(listed(&server.address, HttpPage::Single));
    let names: Vec<Option<String>> = (0..5).map(|row| pulled.raw("name", row).text).collect();
    assert_eq!(pulled.raw("id", 0).text.as_deref(), Some("12345678901234567890"));
    assert_eq!(names[..4], [Some("0.10".to_owned()), None, None, Some(String::new())]);
    assert_eq!(pulled.faults["name"][0].0, 4);
    assert_eq!((pulled.refused.len(), pulled.refused[0].line, pulled.evidence.rows_read), (1, 6, 6));
}

// ── limits and failures ──────────────────────────────────────────────────────────────────────────────────────────────────

/// A server that plays these replies, and the last one for ever.
fn plays(replies: Vec<Said>) -> Server {
    let mut next = 0;
    Server::start(move |_| {
        next += 1;
        replies[(next - 1).min(replies.len() - 1)].clone()
    })
}

fn silent() -> Said {
    Said { is_silent: true, ..said(200, "") }
}

#[test]
fn what_passes_is_waited_for_page_by_page() {
    let fine = || page_of(&people(0..2));
    let date = "Wed, 21 Oct 2026 07:28:00 GMT";
    let busy = [
        said(429, "").with("Retry-After", "0"),
        said(503, "").with("Retry-After", "Wed, 21 Oct 2026 07:28:01 GMT").with("Date", date),
        said(429, "{}"),
        said(500, "oops"),
        silent(),
        Said { sent_max: Some(10), ..fine() },
        fine().with("X-RateLimit-Remaining", "0").with("X-RateLimit-Reset", "1"),
    ];
    for reply in busy {
        let told = format!("{} {:?}", reply.status, reply.headers);
        let server = plays(vec![reply, fine()]);
        let pulled = pulled(listed(&server.address, HttpPage::Single));
        assert_eq!(ids(&pulled), ["p0", "p1"], "{told}");
        if server.count("GET") == 2 {
            assert!(pulled.evidence.notes.iter().any(|note| note.starts_with("1 call was made again")), "{:?}", pulled.evidence.notes);
        }
    }
    let server = plays(vec![said(403, ""), fine()]);
    let mut bare = listed(&server.address, HttpPage::Single);
    assert_eq!(trouble(bare.clone()).remedy, Remedy::GiveAccess);
    let server = plays(vec![said(403, ""), fine()]);
    bare.base_url = format!("{}/api", server.address);
    bare.limits = HttpLimits { busy_if_empty: vec![403], ..HttpLimits::default() };
    assert_eq!(pulled(bare).height(), 2);
}

#[test]
fn a_wait_beyond_the_patience_of_the_run_is_an_error_and_not_a_wait() {
    let server = plays(vec![said(429, "").with("Retry-After", "3600")]);
    let error = trouble(listed(&server.address, HttpPage::Single));
    tells(&error, &["asks to wait 3600 seconds", "status 429", "1 request was made"]);
    assert_eq!((error.remedy, server.count("GET")), (Remedy::GiveAccess, 1));
    let server = plays(vec![said(429, "").with("Retry-After", "0").with("X-Rate-Limit-Problem", "day"), page_of(&people(0..1))]);
    let error = trouble(listed(&server.address, HttpPage::Single));
    tells(&error, &["lets no more calls through today", "run again tomorrow"]);
    assert_eq!((error.remedy, server.count("GET")), (Remedy::GiveAccess, 1), "a limit of the day is never waited for");
    let server = plays(vec![page_of(&people(0..1)).with("RateLimit-Remaining", "0").with("RateLimit-Reset", "7200")]);
    let error = trouble(listed(&server.address, HttpPage::Number(HttpParameter::Query("page".to_owned()), 1)));
    tells(&error, &["takes no more calls for 7"]);
    let server = Server::start(|asked| page_of(&people([asked.query["page"].parse().unwrap()])));
    let mut few = listed(&server.address, HttpPage::Number(HttpParameter::Query("page".to_owned()), 1));
    few.limits.calls_max = Some(3);
    tells(&trouble(few), &["has had its 3 calls of this run"]);
    assert_eq!(server.count("GET"), 3);
    let mut never = listed("http://127.0.0.1:9", HttpPage::Single);
    never.retry_for_s = 0;
    tells(&trouble(never), &["cannot be reached", "nobody listens there"]);
}

#[test]
fn a_slow_drip_and_a_body_without_end_are_cut() {
    let server = plays(vec![Said { drip: Some(Duration::from_millis(300)), ..page_of(&people(0..9)) }]);
    let mut slow = listed(&server.address, HttpPage::Single);
    (slow.retry_for_s, slow.limits.call_s) = (0, 1);
    tells(&trouble(slow), &["cannot be reached"]);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&vec![b' '; 3 * 1024 * 1024]).unwrap();
    let server = plays(vec![said(200, packed.finish().unwrap()).with("Content-Encoding", "gzip")]);
    let mut large = listed(&server.address, HttpPage::Single);
    large.limits.body_max_mb = 1;
    tells(&trouble(large), &["is larger than 1 megabytes"]);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(json!({"items": people(0..3)}).to_string().as_bytes()).unwrap();
    let server = plays(vec![said(200, packed.finish().unwrap()).with("Content-Encoding", "gzip")]);
    assert_eq!(pulled(listed(&server.address, HttpPage::Single)).height(), 3);
}

#[test]
fn answers_that_are_no_records_are_told_for_what_they_are() {
    let of = |reply: Said, change: &dyn Fn(&mut HttpSettings)| {
        let server = plays(vec![reply]);
        let mut settings = listed(&server.address, HttpPage::Single);
        settings.retry_for_s = 0;
        change(&mut settings);
        trouble(settings)
    };
    let same = |_: &mut HttpSettings| {};
    tells(&of(said(200, "<!doctype html><html><title>Sign in</title>"), &same), &["a web page instead of records", "a web page: Sign in"]);
    tells(&of(said(200, "{\"items\": [{\"id\""), &same), &["is no JSON", "it ends within a value", "it begins with"]);
    tells(&of(said(200, ""), &same), &["is no JSON: it is empty"]);
    tells(&of(said(200, r#"{"people": []}"#), &same), &["there is no `$.items`", "keys there: `people`"]);
    tells(&of(said(200, r#"{"items": null}"#), &same), &["`$.items`", "is null, not the array of records"]);
    tells(&of(said(401, r#"{"error": {"message": "token expired"}}"#), &same), &["does not accept our login", "it says: token expired"]);
    tells(&of(said(404, ""), &same), &["there is nothing at this address"]);
    let errors = |settings: &mut HttpSettings| settings.list.errors = Some(path("$.errors"));
    let reply = r#"{"items": [], "errors": [{"message": "field `x` is not known"}]}"#;
    tells(&of(said(200, reply), &errors), &["answers with errors", "it says: field `x` is not known"]);
    let server = plays(vec![said(200, r#"{"items": [{"id": "a", "name": "b"}], "errors": []}"#)]);
    let mut none = listed(&server.address, HttpPage::Single);
    errors(&mut none);
    assert_eq!(pulled(none).height(), 1);
}

// ── secrets ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

fn with_secret() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "s3cr3t/token+x\n").unwrap();
    folder
}

#[test]
fn every_way_to_say_who_we_are() {
    let folder = with_secret();
    let reference = || "${file:token}".to_owned();
    let asked = |auth: HttpAuth| {
        let server = plays(vec![page_of(&people(0..1))]);
        let settings = HttpSettings { auth, headers: vec![("X-Version".to_owned(), "2026-01".to_owned())], ..listed(&server.address, HttpPage::Single) };
        opened_at(folder.path(), settings).unwrap().pull().unwrap();
        server.asked().remove(0)
    };
    let bearer = asked(HttpAuth::Bearer(reference()));
    assert_eq!((bearer.headers["authorization"].as_str(), bearer.headers["x-version"].as_str()), ("Bearer s3cr3t/token+x", "2026-01"));
    let basic = asked(HttpAuth::Basic { user: "ann".to_owned(), password: reference() });
    assert_eq!(basic.headers["authorization"], "Basic YW5uOnMzY3IzdC90b2tlbit4");
    assert_eq!(asked(HttpAuth::Header { name: "X-Key".to_owned(), key: reference() }).headers["x-key"], "s3cr3t/token+x");
    assert_eq!(asked(HttpAuth::Query { name: "key".to_owned(), key: reference() }).query["key"], "s3cr3t/token+x");
}

#[test]
fn a_secret_is_in_no_message_whatever_the_api_echoes() {
    let folder = with_secret();
    for auth in [HttpAuth::Bearer("${file:token}".to_owned()), HttpAuth::Query { name: "key".to_owned(), key: "${file:token}".to_owned() }] {
        for status in [400, 401, 200] {
            let echo = |asked: &Asked| {
                let seen = asked.headers.get("authorization").cloned().unwrap_or_else(|| format!("{} s3cr3t%2Ftoken%2Bx", asked.query["key"]));
                json!({ "message": format!("bad key {seen}") })
            };
            let server = Server::start(move |asked| said(status, echo(asked).to_string()));
            let settings = HttpSettings { auth: auth.clone(), ..listed(&server.address, HttpPage::Single) };
            let error = opened_at(folder.path(), settings).unwrap().pull().unwrap_err();
            assert!(!error.to_string().contains("s3cr3t"), "{error}");
            tells(&error, &["***"]);
        }
    }
}

#[test]
fn a_secret_is_hidden_in_every_spelling_and_where_it_is_cut() {
    let folder = with_secret();
    let echoes = [
        r#"{"message": "bad s3cr3t\\/token+x"}"#,
        r#"{"message": "bad s3cr3t%2ftoken%2bx"}"#,
        r#"{"message": "bad YW5uOnMzY3IzdC90b2tlbit4"}"#,
        r#"{"message": "bad czNjcjN0L3Rva2VuK3g="}"#,
        r#"{"message": "bad s3cr3t/tok..."}"#,
    ];
    for echo in echoes {
        let server = Server::start(move |_| said(400, echo));
        let settings = HttpSettings { auth: HttpAuth::Bearer("${file:token}".to_owned()), ..listed(&server.address, HttpPage::Single) };
        let error = opened_at(folder.path(), settings).unwrap().pull().unwrap_err();
        tells(&error, &["bad ", "***"]);
        let told = error.to_string().to_lowercase();
        assert!(!["s3cr", "token", "y3izdc90", "jnjzi", "jcjn0l3rv"].iter().any(|part| told.contains(part)), "{told}");
    }
    // A text that is no JSON is shown by its beginning, and the secret hangs over the end of that.
    let server = Server::start(|_| said(200, format!("{}s3cr3t/token+x", "-".repeat(73))));
    let settings = HttpSettings { auth: HttpAuth::Bearer("${file:token}".to_owned()), ..listed(&server.address, HttpPage::Single) };
    let error = opened_at(folder.path(), settings).unwrap().pull().unwrap_err();
    assert!(!error.to_string().contains("s3cr"), "{error}");
}

#[test]
fn a_login_never_goes_to_another_place() {
    let elsewhere = Server::start(|_| page_of(&people(0..1)));
    let other = elsewhere.address.clone();
    let redirecting =
        Server::start(move |asked| if asked.path == "/api/people" { said(302, "").with("Location", format!("{other}/api/people")) } else { said(404, "") });
    tells(&trouble(listed(&redirecting.address, HttpPage::Single)), &["was sent on to `http://127.0.0.1`", "never sent to another place"]);
    let other = elsewhere.address.clone();
    let leading = Server::start(move |_| said(200, json!({"items": people(0..1), "next": format!("{other}/x")}).to_string()));
    tells(&trouble(listed(&leading.address, HttpPage::Next(path("next")))), &["was sent on to"]);
    let other = elsewhere.address.replace("http:", "");
    let linking = Server::start(move |_| page_of(&people(0..1)).with("Link", format!("<{other}/x>; rel=next")));
    tells(&trouble(listed(&linking.address, HttpPage::Link)), &["was sent on to"]);
    assert!(elsewhere.asked().is_empty(), "nothing was ever asked there");
    // Within the place it is followed.
    let moved = Server::start(|asked| if asked.path == "/api/people" { said(307, "").with("Location", "/v2/people") } else { page_of(&people(0..2)) });
    assert_eq!(pulled(listed(&moved.address, HttpPage::Single)).height(), 2);
    let error = opened_at(Path::new("/"), listed("http://crm.example.com", HttpPage::Single)).err().unwrap();
    tells(&error, &["plain `http:`"]);
}

// ── writes ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

fn writes(system: &mut dyn System, changes: &[tieout::change::Change]) -> Vec<Outcome> {
    let outcomes = system.write(WriteSet { changes, failures_max: 10, snapshot: None }).unwrap();
    assert_eq!(outcomes.len(), changes.len());
    outcomes
}

/// A [`well_behaved`] API with two people, before which something stands that answers some calls by itself.
fn disturbed(disturb: impl FnMut(&Asked) -> Option<Said> + Send + 'static) -> (Server, Records) {
    let records: Records = Arc::new(Mutex::new(vec![
        json!({"id": "1", "name": "Ann", "etag": "v1", "note": "kept"}),
        json!({"id": "2", "name": "Bob", "etag": "v1", "note": "kept"}),
    ]));
    let behind = well_behaved(Arc::clone(&records), "\u{2603}");
    let mut disturb = disturb;
    let server = Server::start(move |asked| disturb(asked).unwrap_or_else(|| passed_on(&behind.address, asked)));
    (server, records)
}

/// What another server says to the same call.
fn passed_on(address: &str, asked: &Asked) -> Said {
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    let query: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&asked.query).finish();
    let head = format!("{} {}?{query} HTTP/1.1\r\nContent-Length: {}\r\n\r\n{}", asked.method, asked.path, asked.body.len(), asked.body);
    stream.write_all(head.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name == "Content-Length" {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    said(status, body)
}

fn names(records: &Records) -> Vec<String> {
    records.lock().unwrap().iter().map(|record| record["name"].as_str().unwrap_or("null").to_owned()).collect()
}

#[test]
fn only_what_changed_is_sent_and_the_version_with_it() {
    let (server, records) = disturbed(|asked| {
        let is_newer = asked.headers.get("if-match").is_some_and(|version| version != "v1");
        (asked.method == "PATCH" && is_newer).then(|| said(412, r#"{"message": "somebody was here"}"#))
    });
    let mut settings = settings(&server.address);
    settings.version = Some(HttpVersion { path: path("etag"), header: Some("If-Match".to_owned()), field: None });
    let mut system = opened(settings.clone());
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    assert!(is_done(&writes(&mut *system, &[set(&pulled, 0, &[("name", Some("Anna"))])])[0]));
    let patch = server.asked().into_iter().rfind(|asked| asked.method == "PATCH").unwrap();
    assert_eq!((patch.path.as_str(), patch.body.as_str(), patch.headers["if-match"].as_str()), ("/api/people/1", r#"{"name":"Anna"}"#, "v1"));
    assert_eq!(records.lock().unwrap()[0]["note"], "kept");
    // Somebody edits what the job does not look at: the version has moved, and so nothing is overwritten.
    records.lock().unwrap()[1]["etag"] = json!("v2");
    let outcomes = writes(&mut *system, &[set(&pulled, 1, &[("name", Some("Robert"))])]);
    assert!(is_stale(&outcomes[0]), "{outcomes:?}");
    assert_eq!(names(&records), ["Anna", "Bob"]);
    // In the body.
    settings.version = Some(HttpVersion { path: path("etag"), header: None, field: Some(path("meta.version")) });
    let mut system = opened(settings);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    assert!(is_done(&writes(&mut *system, &[set(&pulled, 1, &[("name", Some("Rob"))])])[0]));
    assert_eq!(server.asked().last().unwrap().body, r#"{"name":"Rob","meta":{"version":"v2"}}"#);
}

#[test]
fn a_status_decides_what_became_of_a_change() {
    let outcome = |status: u16, body: &'static str| {
        let (server, _) = disturbed(move |asked| (asked.method == "PATCH").then(|| said(status, body)));
        let mut system = opened(settings(&server.address));
        let pulled = system.pull().and_then(Pulled::whole).unwrap();
        let result = system.write(WriteSet { changes: &[set(&pulled, 0, &[("name", Some("Anna"))])], failures_max: 10, snapshot: None });
        result.map(|mut outcomes| outcomes.remove(0))
    };
    assert!(is_done(&outcome(204, "").unwrap()));
    assert!(is_stale(&outcome(409, "{}").unwrap()) && is_stale(&outcome(412, "").unwrap()) && is_stale(&outcome(404, "").unwrap()));
    match outcome(422, r#"{"errors": [{"detail": "name is too short"}]}"#).unwrap() {
        Outcome::Rejected { reason } => assert_eq!(reason, "status 422: name is too short"),
        other => panic!("{other:?}"),
    }
    assert_eq!(outcome(401, "").unwrap_err().remedy, Remedy::GiveAccess);
    assert!(matches!(outcome(500, "").unwrap(), Outcome::Unknown { .. }));
    let (server, records) = disturbed(|asked| (asked.method == "PATCH").then(|| said(200, r#"{"userErrors": [{"message": "taken"}]}"#)));
    let mut settings = settings(&server.address);
    settings.update.as_mut().unwrap().errors = Some(path("$.userErrors"));
    let mut system = opened(settings);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let outcomes = writes(&mut *system, &[set(&pulled, 0, &[("name", Some("Anna"))])]);
    assert_eq!(outcomes[0], Outcome::Rejected { reason: "taken".to_owned() });
    assert_eq!(names(&records), ["Ann", "Bob"]);
}

#[test]
fn a_connection_that_breaks_leaves_no_doubt_where_a_look_can_clear_it() {
    // The update arrives, its answer does not: it is found done, and not sent twice.
    let slot: Arc<Mutex<Option<Records>>> = Arc::default();
    let inner = Arc::clone(&slot);
    let (server, records) = disturbed(move |asked| {
        (asked.method == "PATCH").then(|| {
            inner.lock().unwrap().as_ref().unwrap().lock().unwrap()[0]["name"] = asked.json()["name"].clone();
            silent()
        })
    });
    *slot.lock().unwrap() = Some(Arc::clone(&records));
    let mut system = opened(settings(&server.address));
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    assert!(is_done(&writes(&mut *system, &[set(&pulled, 0, &[("name", Some("Anna"))])])[0]));
    assert_eq!((names(&records)[0].as_str(), server.count("PATCH")), ("Anna", 1));
    // It does not arrive: the record is as it was, and it is sent again.
    let mut first = true;
    let (server, records) = disturbed(move |asked| (asked.method == "PATCH" && std::mem::take(&mut first)).then(silent));
    let mut system = opened(settings(&server.address));
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    assert!(is_done(&writes(&mut *system, &[set(&pulled, 0, &[("name", Some("Anna"))])])[0]));
    assert_eq!((names(&records)[0].as_str(), server.count("PATCH")), ("Anna", 2));
    // A delete that arrived.
    let mut first = true;
    let (server, _) = disturbed(move |asked| match asked.method.as_str() {
        "DELETE" => Some(silent()),
        "GET" if asked.path.ends_with("/2") && !std::mem::take(&mut first) => Some(said(404, "")),
        _ => None,
    });
    let mut system = opened(settings(&server.address));
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let cells: Vec<_> = remove(&pulled, 1).cells.into_iter().filter(|cell| ["id", "name"].contains(&cell.column.as_str())).collect();
    assert!(is_done(&writes(&mut *system, &[tieout::change::Change { cells, ..remove(&pulled, 1) }])[0]));
}

#[test]
fn a_create_is_sent_again_only_with_a_key_that_the_api_knows_it_by() {
    let keys: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&keys);
    let (server, records) = disturbed(move |asked| {
        let mut keys = noted.lock().unwrap();
        (asked.method == "POST")
            .then(|| keys.push(asked.headers.get("idempotency-key").cloned().unwrap_or_default()))
            .filter(|()| keys.len() == 1)
            .map(|()| silent())
    });
    let dee = [add("dee", &[("name", Some("Dee"))])];
    let mut system = opened(settings(&server.address));
    let outcomes = writes(&mut *system, &dee);
    assert!(matches!(outcomes[0], Outcome::Unknown { .. }), "{outcomes:?}");
    assert_eq!(names(&records), ["Ann", "Bob"]);
    keys.lock().unwrap().clear();
    let with_key = || HttpSettings { idempotency: Some("Idempotency-Key".to_owned()), ..settings(&server.address) };
    let mut system = opened(with_key());
    let outcomes = writes(&mut *system, &dee);
    assert!(matches!(&outcomes[0], Outcome::Done { id: Some(id), .. } if id == "3"), "{outcomes:?}");
    assert_eq!(names(&records), ["Ann", "Bob", "Dee"]);
    writes(&mut *opened(with_key()), &dee);
    writes(&mut *opened(with_key()), &[add("dee", &[("name", Some("Other"))])]);
    let keys = keys.lock().unwrap();
    assert!(keys[0].starts_with("tieout-") && keys[0] == keys[1] && keys[1] == keys[2], "one record with its values has one key, in every run: {keys:?}");
    assert_ne!(keys[2], keys[3], "other values are another create");
}

#[test]
fn what_is_empty_is_sent_as_the_job_file_says() {
    let body = |null: JsonNull| {
        let (server, _) = disturbed(|_| None);
        let mut system = opened(HttpSettings { null, ..settings(&server.address) });
        let pulled = system.pull().and_then(Pulled::whole).unwrap();
        let outcome = writes(&mut *system, &[set(&pulled, 0, &[("name", None)])]).remove(0);
        let sent = server.asked().into_iter().rfind(|asked| asked.method == "PATCH").map(|asked| asked.body);
        (sent, outcome)
    };
    assert_eq!(body(JsonNull::Null).0.as_deref(), Some(r#"{"name":null}"#));
    assert_eq!(body(JsonNull::Empty).0.as_deref(), Some(r#"{"name":""}"#));
    let (sent, outcome) = body(JsonNull::Omit);
    assert!(sent.is_none() && matches!(outcome, Outcome::Rejected { .. }), "{outcome:?}");
}

#[test]
fn a_record_is_read_back_by_its_id_and_never_taken_for_another() {
    let (server, _) = disturbed(|_| None);
    let mut system = opened(settings(&server.address));
    let wanted = Wanted { addresses: vec![vec![part("id", tieout::value::Raw::text("2"))], vec![part("id", tieout::value::Raw::text("99"))]] };
    let back = system.read_back(&wanted).unwrap();
    assert_eq!((back.height(), back.raw("name", 0).text.as_deref()), (1, Some("Bob")));
    assert!(server.asked().iter().all(|asked| asked.path.starts_with("/api/people/")), "a list may lag behind: it is not asked");
    let (server, _) = disturbed(|asked| asked.path.ends_with("/2").then(|| said(200, r#"{"id": "1", "name": "Ann"}"#)));
    let error = opened(settings(&server.address)).read_back(&wanted).unwrap_err();
    tells(&error, &["was asked for one record and gave another"]);
}

// ── whole nights ─────────────────────────────────────────────────────────────────────────────────────────────────────────

const JOB: &str = r#"name = "people"
key = ["email"]

[systems.crm]
kind = "http"
role = "peer"
base_url = "ADDRESS/api"
auth = { bearer = "${file:token}" }
headers = { X-Version = "2026-01" }
list = { path = "/people", query = { sort = "id" }, records = "$.items", page = { cursor = "$.next", param = "after" }, total = "$.total" }
get = { path = "/people/{id}" }
create = { path = "/people" }
update = { path = "/people/{id}" }
idempotency = "Idempotency-Key"
limits = { rate = "1000/s", calls_max = 100 }
id = "id"

[systems.books]
kind = "csv"
role = "peer"
path = "data/books.csv"

[fields.email]
type = "text"
columns = { crm = "email", books = "email" }
merge = { priority = ["crm", "books"] }

[fields.name]
type = "text"
columns = { crm = "name", books = "name" }
merge = { priority = ["crm", "books"] }

[fields.balance]
type = "decimal(2)"
columns = { crm = "balance", books = "balance" }
owner = "books"
"#;

fn night(root: &Path, first_contact: bool) -> Finished {
    let project = Project::find(Some(root)).unwrap();
    let job = project.job("people").unwrap();
    let now = Timestamp::now;
    let world = World { root, settings: &project.settings, now: &now, sleep: &|_| {}, progress: &|_| {}, cancelled: &|| false };
    run::run(&world, &job, &Request { first_contact, ..Request::default() }).unwrap()
}

#[test]
fn a_file_and_an_api_agree_after_edits_on_both_sides() {
    let person = |id: &str, name: &str, balance: Json| json!({"id": id, "email": format!("{}@example.com", name.to_lowercase()), "name": name, "balance": balance, "note": "kept"});
    let records: Records = Arc::new(Mutex::new(vec![person("1", "Ann", json!(10.5)), person("2", "Bob", json!(20)), person("3", "Cem", Json::Null)]));
    let server = well_behaved(Arc::clone(&records), "\u{2603}");
    let folder = with_secret();
    let root = folder.path();
    for folder in ["jobs", "data"] {
        std::fs::create_dir(root.join(folder)).unwrap();
    }
    std::fs::write(root.join("jobs/people.toml"), JOB.replace("ADDRESS", &server.address)).unwrap();
    let books = root.join("data/books.csv");
    std::fs::write(&books, "email,name,balance\nann@example.com,Ann,10.50\nbob@example.com,Bob,20.00\ncem@example.com,Cem,\n").unwrap();

    let first = night(root, true);
    assert_eq!(first.report.verdict, Verdict::Ok, "{}", first.report.sentence);
    assert_eq!((server.count("POST"), server.count("PATCH")), (0, 0));

    records.lock().unwrap()[0]["name"] = json!("Ann Lovelace");
    records.lock().unwrap().push(person("7", "Dee", json!(1)));
    std::fs::write(
        &books,
        "email,name,balance\nann@example.com,Ann,10.50\nbob@example.com,Bob,30.25\ncem@example.com,Cem,12345678901.10\neve@example.com,\"Eve, née Ó\",0.10\n",
    )
    .unwrap();
    let second = night(root, false);
    assert_eq!((second.report.verdict, second.exit_code), (Verdict::Synced, 0), "{}", second.report.sentence);
    assert_eq!(
        std::fs::read_to_string(&books).unwrap(),
        "email,name,balance\nann@example.com,Ann Lovelace,10.50\nbob@example.com,Bob,30.25\ncem@example.com,Cem,12345678901.10\neve@example.com,\"Eve, née Ó\",0.10\ndee@example.com,Dee,1.00\n"
    );
    let sent: Vec<(String, String)> =
        server.asked().into_iter().filter(|asked| asked.method != "GET").map(|asked| (format!("{} {}", asked.method, asked.path), asked.body)).collect();
    assert!(sent.contains(&("PATCH /api/people/2".to_owned(), r#"{"balance":30.25}"#.to_owned())), "only what changed is sent: {sent:?}");
    assert!(sent.contains(&("PATCH /api/people/3".to_owned(), r#"{"balance":12345678901.10}"#.to_owned())), "{sent:?}");
    assert!(sent.iter().any(|(call, body)| call == "POST /api/people" && body.contains("Eve, née Ó")), "{sent:?}");
    assert_eq!(sent.len(), 3);
    assert!(server.asked().iter().all(|asked| asked.headers["authorization"] == "Bearer s3cr3t/token+x" && asked.headers["x-version"] == "2026-01"));
    assert!(records.lock().unwrap().iter().take(4).all(|record| record["note"] == "kept"), "what no field names stays as it is");

    let third = night(root, false);
    assert_eq!(third.report.verdict, Verdict::Ok, "{}", third.report.sentence);
    assert_eq!((server.count("POST"), server.count("PATCH")), (1, 2), "nothing is sent twice");
    for report in ["report.txt", "report.json", "report.html", "plan.jsonl"] {
        let text = std::fs::read_to_string(second.folder.join(report)).unwrap_or_default();
        assert!(!text.contains("s3cr3t"), "the token is in {report}");
    }
}

#[test]
fn who_tries_a_job_sees_the_first_page_and_what_all_pages_cost() {
    let records: Records = Arc::new(Mutex::new(
        people(1..=5)
            .into_iter()
            .map(|mut person| {
                person["balance"] = json!(1.5);
                person["nickname"] = json!("none\u{1b}[31m");
                person
            })
            .collect(),
    ));
    let server = well_behaved(Arc::clone(&records), "\u{2603}");
    let folder = with_secret();
    let root = folder.path();
    for folder in ["jobs", "data"] {
        std::fs::create_dir(root.join(folder)).unwrap();
    }
    let job = JOB.replace("ADDRESS", &server.address).replace("columns = { crm = \"balance\"", "sensitive = true\ncolumns = { crm = \"balance\"");
    std::fs::write(root.join("jobs/people.toml"), &job).unwrap();
    std::fs::write(root.join("data/books.csv"), "email,name,balance\nann@example.com,Ann,10.50\n").unwrap();
    let told = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_tieout")).current_dir(root).args(arguments).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text, errors) = told(&["check", "--connect", "people"]);
    assert_eq!((code, errors.as_str()), (0, ""), "{text}");
    assert_eq!(server.count("GET"), 1, "only the first page is read");
    for words in
        ["crm: the first 2 rows from", "email", "also there: nickname", "a full pull of 5 records is 3 calls, with 2 records a page", "books: 1 row from"]
    {
        assert!(text.contains(words), "`{words}` is not in\n{text}");
    }
    assert!(!text.contains("1.5") && !text.contains("10.50") && text.contains("•"), "a sensitive field is masked: {text}");
    assert!(!text.contains('\u{1b}') && !text.contains("s3cr3t"), "{text}");

    std::fs::write(root.join("jobs/people.toml"), job.replace("crm = \"balance\"", "crm = \"balanc\"")).unwrap();
    let (code, text, _) = told(&["check", "--connect", "people"]);
    assert_eq!(code, 0, "a record further down may have it");
    assert!(text.contains("column `balanc` is not in system `crm`: no record of the first page has it; did you mean `balance`?"), "{text}");
    records.lock().unwrap().truncate(2);
    let (code, _, errors) = told(&["check", "--connect", "people"]);
    assert_eq!(code, 2, "all pages are read, and none has it");
    assert!(errors.contains("did you mean `balance`?"), "{errors}");
}
