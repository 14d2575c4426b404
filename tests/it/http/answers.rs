//! Answers whose status alone would be misread, and logins by a call of the API itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use tieout::change::Outcome;
use tieout::error::Remedy;
use tieout::frame::Pulled;
use tieout::job::{HttpAuth, HttpFormat, HttpGet, HttpMeaning, HttpOperation, HttpPage, HttpParameter, HttpResponse, HttpSession, HttpSettings};
use tieout::systems::{Wanted, WriteSet};
use tieout::value::Raw;

use super::{
    Asked, Server, disturbed, form, ids, listed, names, opened, opened_at, page_of, path, people, plays, pulled, said, settings, tells, trouble, with_secret,
};
use crate::systems::{is_done, is_stale, part, set};

fn means(status: u16, means: HttpMeaning) -> HttpResponse {
    HttpResponse { status: vec![status], means, ..HttpResponse::default() }
}

fn by_number(address: &str) -> HttpSettings {
    listed(address, HttpPage::Number(HttpParameter::Query("page".to_owned()), 0))
}

#[test]
fn a_list_may_say_with_an_error_that_there_are_no_more_records() {
    let none = r#"{"error": {"code": 404, "message": "Not Found: no third parties found"}}"#;
    let paged = |count: usize| {
        Server::start(move |asked| match asked.query["page"].parse::<usize>().unwrap() {
            page if page * 2 < count => page_of(&people(page * 2..(page * 2 + 2).min(count))),
            _ => said(404, none),
        })
    };
    let gone = HttpResponse { calls: vec![HttpOperation::List], says: Some("no third parties".to_owned()), ..means(404, HttpMeaning::Gone) };
    for count in [0, 1, 4] {
        let server = paged(count);
        let settings = HttpSettings { responses: vec![gone.clone()], ..by_number(&server.address) };
        assert_eq!(pulled(settings).height(), count);
    }
    // Where nothing is said of it, it is what it looks like; and so is an answer in other words.
    let server = paged(4);
    tells(&trouble(by_number(&server.address)), &["status 404", "no third parties found"]);
    let other = Server::start(move |_| said(404, r#"{"error": "no such route"}"#));
    tells(&trouble(HttpSettings { responses: vec![gone], ..by_number(&other.address) }), &["status 404", "no such route"]);
}

#[test]
fn what_an_answer_means_is_told_by_its_status_a_path_and_words() {
    // Status 200 and an error that passes; then all is well.
    let busy =
        HttpResponse { path: Some(path("$.errors[0].extensions.code")), is: vec!["THROTTLED".to_owned()], means: HttpMeaning::Busy, ..HttpResponse::default() };
    let throttled = || said(200, r#"{"errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}]}"#);
    let server = plays(vec![throttled(), page_of(&people(0..2))]);
    let pulled = pulled(HttpSettings { responses: vec![busy], ..listed(&server.address, HttpPage::Single) });
    assert_eq!((pulled.height(), server.asked().len()), (2, 2));
    assert!(pulled.evidence.notes.iter().any(|note| note.contains("made again")), "{:?}", pulled.evidence.notes);

    // What ends a run is not tried again, and tells the words of the API.
    let stop = HttpResponse { says: Some("quota".to_owned()), ..means(429, HttpMeaning::Stop) };
    let server = plays(vec![said(429, r#"{"message": "Monthly QUOTA exceeded"}"#)]);
    let error = trouble(HttpSettings { responses: vec![stop.clone()], ..listed(&server.address, HttpPage::Single) });
    tells(&error, &["lets us do nothing more", "status 429", "Monthly QUOTA exceeded"]);
    assert_eq!((error.remedy, server.asked().len()), (Remedy::GiveAccess, 1));

    let outcome = |status: u16, body: &'static str, response: HttpResponse| {
        let (server, records) = disturbed(move |asked| (asked.method == "PATCH").then(|| said(status, body)));
        let mut system = opened(HttpSettings { responses: vec![response], ..settings(&server.address) });
        let pulled = system.pull().and_then(Pulled::whole).unwrap();
        let changes = [set(&pulled, 0, &[("name", Some("Anna"))]), set(&pulled, 1, &[("name", Some("Rob"))])];
        let result = system.write(WriteSet { changes: &changes, failures_max: 10, snapshot: None });
        assert_eq!(names(&records), ["Ann", "Bob"]);
        let sent = server.asked().iter().filter(|asked| asked.method == "PATCH").count();
        result.map(|outcomes| (outcomes, sent))
    };
    // A bad gateway that is known to be a refusal leaves no doubt; nor does a good status with a version that is too old.
    let (outcomes, sent) = outcome(500, r#"{"error": "amount is locked"}"#, means(500, HttpMeaning::Refused)).unwrap();
    assert_eq!((outcomes[0].clone(), sent), (Outcome::Rejected { reason: "status 500: amount is locked".to_owned() }, 2));
    let fault = r#"{"Fault": {"Error": [{"Message": "Stale Object Error", "code": "5010"}]}}"#;
    let old = HttpResponse { path: Some(path("$.Fault.Error[0].code")), is: vec!["5010".to_owned()], ..means(400, HttpMeaning::Stale) };
    let (outcomes, _) = outcome(400, fault, old.clone()).unwrap();
    assert!(is_stale(&outcomes[0]), "{outcomes:?}");
    // Another code of the same status is none of it.
    let (outcomes, _) = outcome(400, r#"{"Fault": {"Error": [{"Message": "Bad name", "code": "6000"}]}}"#, old).unwrap();
    assert!(matches!(&outcomes[0], Outcome::Rejected { reason } if reason.contains("Bad name")), "{outcomes:?}");
    let (outcomes, _) = outcome(304, "", means(304, HttpMeaning::Fine)).unwrap();
    assert!(is_done(&outcomes[0]), "what is said to be fine is read back by the run: {outcomes:?}");
    let failed = HttpResponse { path: Some(path("$.success")), is: vec!["false".to_owned()], means: HttpMeaning::Refused, ..HttpResponse::default() };
    let (outcomes, _) = outcome(200, r#"{"success": false, "message": "closed period"}"#, failed.clone()).unwrap();
    assert_eq!(outcomes[0], Outcome::Rejected { reason: "status 200: closed period".to_owned() });
    assert!(is_done(&outcome(200, r#"{"success": true}"#, failed).unwrap().0[0]));
    let code = HttpResponse { path: Some(path("$.error.code")), is: vec!["100".to_owned()], means: HttpMeaning::Stale, ..HttpResponse::default() };
    assert!(is_stale(&outcome(200, r#"{"error": {"code": 100}}"#, code).unwrap().0[0]));
    // Nothing more is sent after an answer that ends a run, and nothing was written.
    let error = outcome(429, r#"{"message": "quota"}"#, stop).unwrap_err();
    tells(&error, &["lets us do nothing more"]);
    // What a job file says about lists is not said about writes.
    let of_lists = HttpResponse { calls: vec![HttpOperation::List], ..means(422, HttpMeaning::Stop) };
    assert!(matches!(&outcome(422, "", of_lists).unwrap().0[0], Outcome::Rejected { .. }));
}

#[test]
fn a_record_may_be_found_by_a_search_for_its_id() {
    let filtered = |none: &'static str| {
        Server::start(move |asked| match asked.path.as_str() {
            "/api/people/p1" => said(200, r#"{"found": [{"id": "p1", "name": "Ann"}]}"#),
            "/api/people" => page_of(&people(0..3)),
            _ => said(200, none),
        })
    };
    for none in [r#"{"found": []}"#, r#"{"found": [ ]}"#, r#"{"found": [null]}"#] {
        let server = filtered(none);
        let mut settings = listed(&server.address, HttpPage::Single);
        settings.get = Some(HttpGet { path: "/people/{id}".to_owned(), record: path("$.found[0]") });
        let mut system = opened(settings);
        let wanted = Wanted { addresses: ["p1", "p2"].iter().map(|id| vec![part("id", Raw::text(*id))]).collect() };
        assert_eq!(ids(&system.read_back(&wanted).unwrap()), ["p1"], "{none}");
    }
    // An answer in which there is no such place is none that says so.
    let server = filtered(r#"{"message": "service degraded"}"#);
    let mut settings = listed(&server.address, HttpPage::Single);
    settings.get = Some(HttpGet { path: "/people/{id}".to_owned(), record: path("$.found[0]") });
    let wanted = Wanted { addresses: vec![vec![part("id", Raw::text("p2"))]] };
    tells(&opened(settings).read_back(&wanted).unwrap_err(), &["there is no record in an answer"]);
}

#[test]
fn a_list_may_be_lines_or_rows_and_packed() {
    let packed = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let of = |format: HttpFormat, body: Vec<u8>| {
        let server = plays(vec![said(200, body)]);
        let mut settings = listed(&server.address, HttpPage::Single);
        (settings.list.format, settings.list.records) = (format, Vec::new());
        let result = opened(settings).pull();
        assert_eq!(server.asked()[0].headers["accept"], "*/*");
        result
    };
    let names = |pulled: &Pulled| (0..pulled.height() as u32).map(|row| pulled.raw("name", row).text.unwrap_or("null".to_owned())).collect::<Vec<_>>();
    let lines = "{\"id\": \"1\", \"name\": \"Ann\"}\n\n{\"id\": \"2\", \"name\": null}\r\n";
    for body in [lines.as_bytes().to_vec(), packed(lines)] {
        let pulled = of(HttpFormat::Lines, body).unwrap();
        assert_eq!((ids(&pulled), names(&pulled)), (vec!["1".to_owned(), "2".to_owned()], vec!["Ann".to_owned(), "null".to_owned()]));
    }
    // A line that is no record is set aside with its text, and an answer that was cut is none.
    let pulled = of(HttpFormat::Lines, b"{\"id\": \"1\", \"name\": \"Ann\"}\n{\"id\": }\n{\"id\": \"3\", \"name\": \"Cid\"}\n".to_vec()).unwrap();
    assert_eq!((ids(&pulled), pulled.refused.len()), (vec!["1".to_owned(), "3".to_owned()], 1));
    assert_eq!((pulled.refused[0].line, pulled.refused[0].raw.as_deref()), (2, Some("{\"id\": }")));
    tells(&of(HttpFormat::Lines, lines.as_bytes()[..40].to_vec()).unwrap_err(), &["is no JSON", "ends within a value"]);
    assert_eq!(of(HttpFormat::Lines, Vec::new()).unwrap().height(), 0);

    let rows = "id;name\n1;\"Ann; the first\"\n2;\n3;\"two\nlines\"\n";
    for body in [rows.as_bytes().to_vec(), packed(rows)] {
        let pulled = of(HttpFormat::Csv(b';'), body).unwrap();
        assert_eq!(names(&pulled), ["Ann; the first", "null", "two\nlines"]);
    }
    assert_eq!(of(HttpFormat::Csv(b','), b"id,name\n".to_vec()).unwrap().height(), 0);
    for (body, words) in [
        ("id,name\n1,Ann\n2\n", "found record with 1 fields"),
        ("id,id\n1,2\n", "two columns are named"),
        ("", "it has no header"),
        ("<html>log in</html>", "answers with a web page"),
    ] {
        tells(&of(HttpFormat::Csv(b','), body.as_bytes().to_vec()).unwrap_err(), &[words]);
    }
    tells(&of(HttpFormat::Csv(b','), packed(rows)[..20].to_vec()).unwrap_err(), &["the packed answer cannot be read"]);
}

#[test]
fn a_range_of_the_content_tells_the_total() {
    let server = Server::start(|asked| {
        let start = asked.query["skip"].parse::<usize>().unwrap();
        said(206, json!({"items": people(start..(start + 2).min(5))}).to_string()).with("Content-Range", format!("{start}-{}/5", (start + 1).min(4)))
    });
    let mut settings = listed(&server.address, HttpPage::Offset(HttpParameter::Query("skip".to_owned())));
    settings.list.total_header = Some("content-range".to_owned());
    let pulled = pulled(settings);
    assert_eq!((pulled.height(), pulled.evidence.rows_announced, server.asked().len()), (5, Some(5), 3));
}

// ── sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

fn session() -> HttpSession {
    HttpSession {
        path: "/login".to_owned(),
        body: r#"{"user": {"email": "ann@example.com"}, "password": "${file:token}"}"#.to_owned(),
        token: Some(path("$.data.token")),
        header: "Authorization".to_owned(),
        prefix: "Bearer ".to_owned(),
        ..HttpSession::default()
    }
}

/// An API whose logins `login` answers; the second page of its list is refused until there was a second one.
fn with_sessions(
    login: impl Fn(&Asked, usize) -> super::Said + Send + 'static,
    sent: impl Fn(&Asked) -> Option<String> + Send + 'static,
) -> (Server, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let logins = Arc::clone(&count);
    let server = Server::start(move |asked| {
        if asked.path == "/api/login" {
            return login(asked, logins.fetch_add(1, Ordering::SeqCst) + 1);
        }
        match (sent(asked).as_deref(), asked.query["page"].as_str()) {
            (Some("t-1"), "0") | (Some("t-2"), "1") => page_of(&people(if asked.query["page"] == "0" { 0..2 } else { 2..4 })),
            (Some("t-2"), _) => page_of(&[]),
            _ => said(401, r#"{"message": "log in"}"#),
        }
    });
    (server, count)
}

#[test]
fn a_session_is_opened_by_a_call_and_again_when_it_ends() {
    let folder = with_secret();
    let bearer = |asked: &Asked| asked.headers.get("authorization")?.strip_prefix("Bearer ").map(str::to_owned);
    let (server, count) = with_sessions(|_, number| said(200, json!({"data": {"token": format!("t-{number}")}}).to_string()), bearer);
    let at = |session: HttpSession, address: &str| HttpSettings { auth: HttpAuth::Session(Box::new(session)), ..by_number(address) };
    let pulled = opened_at(folder.path(), at(session(), &server.address)).unwrap().pull().unwrap();
    assert_eq!((pulled.height(), count.load(Ordering::SeqCst)), (4, 2));
    let first = server.asked().remove(0);
    assert_eq!((first.method.as_str(), first.headers["content-type"].as_str()), ("POST", "application/json"));
    assert_eq!(first.json(), json!({"user": {"email": "ann@example.com"}, "password": "s3cr3t/token+x"}));

    // By a cookie, with a form.
    let cookie = |asked: &Asked| asked.headers.get("cookie")?.strip_prefix("sid=").map(str::to_owned);
    let (server, count) =
        with_sessions(|_, number| said(204, "").with("Set-Cookie", "lang=en; Path=/").with("Set-Cookie", format!("sid=t-{number}; HttpOnly")), cookie);
    let by_cookie = HttpSession {
        body: r#"{"usr": "ann", "pwd": "${file:token}"}"#.to_owned(),
        is_form: true,
        token: None,
        cookie: Some("sid".to_owned()),
        header: "Cookie".to_owned(),
        prefix: "sid=".to_owned(),
        ..session()
    };
    let pulled = opened_at(folder.path(), at(by_cookie, &server.address)).unwrap().pull().unwrap();
    assert_eq!((pulled.height(), count.load(Ordering::SeqCst)), (4, 2));
    let sent = form(&server.asked()[0].body);
    assert_eq!((sent["usr"].as_str(), sent["pwd"].as_str()), ("ann", "s3cr3t/token+x"));

    // Where the end of a session is told with a good status.
    let ended =
        HttpResponse { path: Some(path("$.error.data.name")), is: vec!["SessionExpired".to_owned()], means: HttpMeaning::Login, ..HttpResponse::default() };
    let given = Mutex::new(0);
    let server = Server::start(move |asked| {
        let mut given = given.lock().unwrap();
        if asked.path == "/api/login" {
            *given += 1;
            return said(200, json!({"data": {"token": format!("t-{given}")}}).to_string());
        }
        match asked.headers["authorization"].as_str() {
            "Bearer t-2" => page_of(&people(0..3)),
            _ => said(200, r#"{"error": {"code": 100, "data": {"name": "SessionExpired"}}}"#),
        }
    });
    let settings = HttpSettings { auth: HttpAuth::Session(Box::new(session())), responses: vec![ended], ..listed(&server.address, HttpPage::Single) };
    assert_eq!(opened_at(folder.path(), settings).unwrap().pull().unwrap().height(), 3);
}

#[test]
fn a_login_that_is_not_taken_is_told_and_never_shown() {
    let folder = with_secret();
    let answers: [(u16, &str, &str); 4] = [
        (403, r#"{"message": "wrong password s3cr3t/token+x"}"#, "does not accept our login"),
        (200, r#"{"data": {"jwt": "t0k3n-of-nobody"}}"#, "has no token at `$.data.token`"),
        (200, "<html>s3cr3t/token+x</html>", "has no token at `$.data.token`"),
        (200, r#"{"data": {"token": ""}}"#, "has no token at `$.data.token`"),
    ];
    for (status, body, words) in answers {
        let server = Server::start(move |asked| if asked.path == "/api/login" { said(status, body) } else { page_of(&people(0..1)) });
        let settings = HttpSettings { auth: HttpAuth::Session(Box::new(session())), ..listed(&server.address, HttpPage::Single) };
        let error = opened_at(folder.path(), settings).unwrap().pull().unwrap_err();
        tells(&error, &[words, &format!("status {status}")]);
        assert!(!error.to_string().contains("s3cr3t") && !error.to_string().contains("t0k3n"), "{error}");
        assert!(server.asked().iter().all(|asked| asked.path == "/api/login"), "nothing is read without a login");
    }
    // A session that is never accepted is opened once more, and no more.
    let server = Server::start(|asked| if asked.path == "/api/login" { said(200, r#"{"data": {"token": "t"}}"#) } else { said(401, "") });
    let settings = HttpSettings { auth: HttpAuth::Session(Box::new(session())), ..listed(&server.address, HttpPage::Single) };
    tells(&opened_at(folder.path(), settings).unwrap().pull().unwrap_err(), &["does not accept our login"]);
    assert_eq!(server.asked().len(), 4);
}
