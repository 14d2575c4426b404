//! Several calls at once: as many as the job file allows, and never another result than one after the other.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tieout::error::Remedy;
use tieout::job::{HttpAuth, HttpGet, HttpLimits, HttpOauth2, HttpPage, HttpParameter, HttpSettings};
use tieout::systems::Wanted;
use tieout::value::Raw;

use super::{Asked, Said, Server, ids, listed, opened, opened_at, page_of, path, people, pulled, said, tells, trouble, with_secret};
use crate::systems::part;

/// So long an answer takes, that calls meet.
const PAUSE: Duration = Duration::from_millis(60);

fn late(said: Said) -> Said {
    Said { pause: Some(PAUSE), ..said }
}

fn at_once(settings: HttpSettings, at_once: u32) -> HttpSettings {
    HttpSettings { limits: HttpLimits { at_once, ..settings.limits.clone() }, ..settings }
}

fn by_offset(address: &str) -> HttpSettings {
    listed(address, HttpPage::Offset(HttpParameter::Query("skip".to_owned())))
}

fn by_number(address: &str) -> HttpSettings {
    listed(address, HttpPage::Number(HttpParameter::Query("page".to_owned()), 1))
}

fn number(asked: &Asked, name: &str) -> usize {
    asked.query[name].parse().unwrap()
}

fn ids_of(count: usize) -> Vec<String> {
    (0..count).map(|id| format!("p{id}")).collect()
}

#[test]
fn pages_come_at_once_and_in_their_order() {
    let of_page = |number: usize, count: usize| people((number * 3).min(count)..(number * 3 + 3).min(count));
    // With a total no call is made that is not needed; the even pages are the slow ones.
    let server = Server::start(move |asked| {
        let page = number(asked, "page");
        let answer = late(said(200, json!({"items": of_page(page - 1, 29), "total": 29}).to_string()));
        Said { pause: Some(PAUSE * if page.is_multiple_of(2) { 3 } else { 1 }), ..answer }
    });
    let mut settings = at_once(by_number(&server.address), 4);
    settings.list.total = Some(path("$.total"));
    assert_eq!(ids(&pulled(settings)), ids_of(29));
    assert_eq!((server.asked().len(), server.most_at_once()), (10, 4));
    // Without one, at most three pages behind the end are asked for.
    for by_page in [true, false] {
        let server = Server::start(move |asked| {
            let page = if by_page { number(asked, "page") - 1 } else { number(asked, "skip") / 3 };
            late(page_of(&of_page(page, 30)))
        });
        let settings = at_once(if by_page { by_number(&server.address) } else { by_offset(&server.address) }, 4);
        assert_eq!(ids(&pulled(settings)), ids_of(30));
        assert!((11..=14).contains(&server.asked().len()), "{}", server.asked().len());
        assert_eq!(server.most_at_once(), 4);
    }
    // One after the other where nothing is said, and where the next page is known by the one before alone.
    let server = Server::start(move |asked| late(page_of(&of_page(number(asked, "page") - 1, 9))));
    assert_eq!((pulled(by_number(&server.address)).height(), server.most_at_once(), server.asked().len()), (9, 1, 4));
}

#[test]
fn a_wrong_guess_is_never_taken_for_a_page() {
    // Pages of different lengths, so that every guess of an offset is wrong; what stands at a wrong one is something else.
    let lengths = [3, 1, 2, 3, 1];
    let server = Server::start(move |asked| {
        let skip = number(asked, "skip");
        let mut start = 0;
        for length in lengths {
            if start == skip {
                return late(page_of(&people(start..start + length)));
            }
            start += length;
        }
        if skip == start { late(page_of(&[])) } else { late(page_of(&people([900 + skip]))) }
    });
    assert_eq!(ids(&pulled(at_once(by_offset(&server.address), 4))), ids_of(10));
    // A guess behind the end that is refused stops nothing, and a page that is refused does.
    let server = Server::start(|asked| match number(asked, "page") {
        page @ 1..=4 => late(page_of(&people(page * 2..page * 2 + 2))),
        5 => late(page_of(&[])),
        _ => late(said(404, "")),
    });
    assert_eq!(pulled(at_once(by_number(&server.address), 6)).height(), 8);
    let server = Server::start(|asked| if number(asked, "page") < 4 { late(page_of(&people([number(asked, "page")]))) } else { late(said(400, "")) });
    tells(&trouble(at_once(by_number(&server.address), 6)), &["status 400", "this was page 4"]);
}

#[test]
fn the_budget_the_rate_and_a_busy_api_are_heeded() {
    let answer = |asked: &Asked| late(page_of(&people((number(asked, "page") - 1) * 2..if number(asked, "page") > 5 { 0 } else { number(asked, "page") * 2 })));
    // Guesses never spend what is needed.
    for (calls_max, is_enough) in [(6, true), (5, false)] {
        let server = Server::start(move |asked| answer(asked));
        let mut settings = at_once(by_number(&server.address), 4);
        settings.limits.calls_max = Some(calls_max);
        match opened(settings).pull() {
            Ok(pulled) => assert_eq!((pulled.height(), is_enough), (10, true)),
            Err(error) => {
                tells(&error, &["has had its 5 calls"]);
                assert!(!is_enough);
            }
        }
        assert!(server.asked().len() <= calls_max as usize);
    }
    // Never more in a second than the rate says.
    let moments = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&moments);
    let server = Server::start(move |asked| {
        noted.lock().unwrap().push(std::time::Instant::now());
        answer(asked)
    });
    let mut settings = at_once(by_number(&server.address), 4);
    settings.limits.rate = Some((3, 1));
    assert_eq!(pulled(settings).height(), 10);
    let moments = moments.lock().unwrap();
    let apart = moments.windows(4).map(|window| window[3] - window[0]).min().unwrap();
    assert!(apart > Duration::from_millis(850), "four calls within {apart:?}");
    // A page that was called ahead and met a busy API is called again.
    let mut busy = 2;
    let server = Server::start(move |asked| {
        if number(asked, "page") == 3 && busy > 0 {
            busy -= 1;
            return late(said(429, "").with("Retry-After", "0"));
        }
        answer(asked)
    });
    let pulled = pulled(at_once(by_number(&server.address), 4));
    assert_eq!(ids(&pulled), ids_of(10));
    assert!(pulled.evidence.notes.iter().any(|note| note.starts_with("2 calls were made again")), "{:?}", pulled.evidence.notes);
}

#[test]
fn a_token_that_ends_under_several_calls_is_renewed_once() {
    let folder = with_secret();
    let (given, ended) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(false)));
    let count = Arc::clone(&given);
    let server = Server::start(move |asked| {
        if asked.path == "/token" {
            let mut given = count.lock().unwrap();
            *given += 1;
            return said(200, json!({"access_token": format!("token-{given}")}).to_string());
        }
        let page = number(asked, "page");
        let mut ended = ended.lock().unwrap();
        *ended |= page >= 3;
        if *ended && asked.headers["authorization"] == "Bearer token-1" {
            return late(said(401, ""));
        }
        late(page_of(&people((page - 1) * 2..if page > 6 { 0 } else { page * 2 })))
    });
    let oauth2 = HttpOauth2 {
        token_url: format!("{}/token", server.address),
        client_id: Some("tieout".to_owned()),
        client_secret: Some("${file:token}".to_owned()),
        ..HttpOauth2::default()
    };
    let settings = HttpSettings { auth: HttpAuth::Oauth2(Box::new(oauth2)), ..at_once(by_number(&server.address), 4) };
    assert_eq!(opened_at(folder.path(), settings).unwrap().pull().unwrap().height(), 12);
    assert_eq!(*given.lock().unwrap(), 2);
}

#[test]
fn records_are_read_back_at_once() {
    let server = Server::start(|asked| match asked.path.strip_prefix("/api/people/p").and_then(|id| id.parse::<usize>().ok()) {
        Some(7) => late(said(404, "")),
        Some(id) => late(said(200, people([id])[0].to_string())),
        None => page_of(&people(0..10)),
    });
    let mut settings = at_once(listed(&server.address, HttpPage::Single), 3);
    settings.get = Some(HttpGet { path: "/people/{id}".to_owned(), record: Vec::new() });
    let wanted = Wanted { addresses: (0..10).map(|id| vec![part("id", Raw::text(format!("p{id}")))]).collect() };
    let back = opened(settings.clone()).read_back(&wanted).unwrap();
    assert_eq!(back.height(), 9);
    assert_eq!((server.asked().len(), server.most_at_once()), (10, 3));
    // One that is out of order for long ends it, and says so.
    let broken =
        Server::start(
            |asked| if asked.path.ends_with("p5") { said(500, "") } else { late(said(200, people([asked.path[13..].parse().unwrap()])[0].to_string())) },
        );
    settings.base_url = format!("{}/api", broken.address);
    settings.retry_for_s = 0;
    let error = opened(settings).read_back(&wanted).unwrap_err();
    assert_eq!(error.remedy, Remedy::GiveAccess);
    tells(&error, &["people/p5", "status 500"]);
}
