//! An API without a vendor, which announces how many records it holds, and everything that such APIs do to their callers.
//!
//! Each trap is a whole night, and a second one without it: whatever the first one ended with, nothing is lost, doubled or cleared.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{Animal, Asked, Disturbance, Keeper, Night, Person, Root, Said, both_hold, cut, person, said, text, try_all};

const PAGE: usize = 2;

#[derive(Default)]
pub struct Plain {
    records: Vec<Json>,
    made: usize,
    /// By key what was said to a create.
    keys: BTreeMap<String, Said>,
}

impl Plain {
    pub fn with(people: &[Person]) -> Plain {
        let mut plain = Plain::default();
        for who in people {
            let record = plain.blank(who);
            plain.records.push(record);
        }
        plain
    }

    fn blank(&mut self, (email, name, phone): &Person) -> Json {
        self.made += 1;
        json!({"id": format!("p{}", self.made), "email": email, "name": name, "phone": phone, "note": "kept"})
    }
}

impl Animal for Plain {
    fn answer(&mut self, asked: &Asked) -> Said {
        let unknown = || said(404, r#"{"message": "nobody of this id"}"#);
        let id = asked.path.strip_prefix("/api/people/").map(str::to_owned);
        let at = id.as_ref().map(|id| self.records.iter().position(|record| record["id"] == *id.as_str()));
        match (asked.method.as_str(), at) {
            ("GET", None) => {
                let start = asked.query["skip"].parse().unwrap();
                let page: Vec<&Json> = self.records.iter().skip(start).take(PAGE).collect();
                said(200, json!({"items": page, "total": self.records.len()}).to_string())
            }
            ("POST", None) => {
                let key = asked.headers.get("idempotency-key").cloned();
                if let Some(reply) = key.as_ref().and_then(|key| self.keys.get(key)) {
                    return reply.clone();
                }
                let mut record = self.blank(&person("", "", ""));
                merge(&mut record, &asked.json());
                let reply = said(201, record.to_string());
                self.records.push(record);
                self.keys.extend(key.map(|key| (key, reply.clone())));
                reply
            }
            (_, Some(None)) => unknown(),
            ("GET", Some(Some(at))) => said(200, self.records[at].to_string()),
            ("PATCH", Some(Some(at))) => {
                merge(&mut self.records[at], &asked.json());
                said(200, self.records[at].to_string())
            }
            ("DELETE", Some(Some(at))) => {
                self.records.remove(at);
                said(204, "")
            }
            _ => said(405, ""),
        }
    }

    fn records(&mut self) -> &mut Vec<Json> {
        &mut self.records
    }

    fn person(&self, record: &Json) -> Person {
        (record["email"].as_str().unwrap_or_default().to_owned(), text(&record["name"]), text(&record["phone"]))
    }
}

fn merge(record: &mut Json, sent: &Json) {
    for (key, value) in sent.as_object().into_iter().flatten() {
        record[key] = value.clone();
    }
}

const JOB: &str = r#"kind = "http"
role = "peer"
base_url = "${env:ZOO_URL}/api"
auth = { bearer = "${env:ZOO_TOKEN}" }
id = "id"
list = { path = "/people", records = "$.items", page = { offset = "skip" }, total = "$.total", errors = "$.errors" }
get = { path = "/people/{id}" }
create = { path = "/people", errors = "$.errors" }
update = { path = "/people/{id}", errors = "$.errors" }
delete = { path = "/people/{id}" }
limits = { rate = "1000/s", busy_if_empty = [403], call_s = 1, body_max_mb = 1 }
"#;

fn before() -> Vec<Person> {
    vec![
        person("ann@example.com", "Ann", "1"),
        person("bob@example.com", "Bob", "2"),
        person("cem@example.com", "Cem", "3"),
        person("dee@example.com", "Dee", "4"),
        person("eve@example.com", "Eve", "5"),
        person("flo@example.com", "Flo", "6"),
    ]
}

fn after() -> Vec<Person> {
    vec![
        person("ann@example.com", "Ann Lovelace", "1"),
        person("bob@example.com", "Bob", ""),
        person("cem@example.com", "Cem", "33"),
        person("dee@example.com", "Dee", ""),
        person("gus@example.com", "Gus", "7"),
        person("hal@example.com", "Hal", ""),
        person("ida@example.com", "Ida", "9"),
    ]
}

/// A root after its first night, with the day's edits in the file.
struct Template(Root, Vec<Json>);

impl Template {
    fn new(job: &str, retry_for_s: u32) -> Template {
        let keeper = Keeper::of(Plain::with(&before()));
        let root = Root::new(&keeper, job, ["email", "name", "phone"]);
        let job = root.path().join("jobs/people.toml");
        std::fs::write(&job, format!("{}\n[apply]\nretry_for_s = {retry_for_s}\n", std::fs::read_to_string(&job).unwrap())).unwrap();
        root.write_books(&before());
        root.night_at(&keeper, &["--first-contact"]).is("OK", 0);
        // In the file: somebody's phone changes, another's is cleared, two are new, and two are gone.
        root.edit_books(|people| {
            people[2].2 = Some("33".to_owned());
            people[3].2 = None;
            people.retain(|who| !["eve@example.com", "flo@example.com"].contains(&who.0.as_str()));
            people.push(person("hal@example.com", "Hal", ""));
            people.push(person("ida@example.com", "Ida", "9"));
        });
        // In the API: somebody is renamed, another's phone is cleared, and one is new.
        keeper.edit(|records| {
            records[0]["name"] = "Ann Lovelace".into();
            records[1]["phone"] = Json::Null;
            records.push(json!({"id": "p90", "email": "gus@example.com", "name": "Gus", "phone": "7", "note": "kept"}));
        });
        Template(root, keeper.records())
    }

    /// A copy with an API of its own.
    fn copy(&self) -> (Root, Keeper) {
        let folder = tempfile::tempdir().unwrap();
        copy(self.0.path(), folder.path());
        let keeper = Keeper::of(Plain { records: self.1.clone(), made: 100, ..Plain::default() });
        (Root { folder }, keeper)
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

struct Trap {
    name: &'static str,
    verdict: &'static str,
    code: i32,
    /// Words of the report.
    words: &'static [&'static str],
    disturb: fn() -> Disturbance,
}

fn is_list(asked: &Asked) -> bool {
    asked.method == "GET" && asked.path == "/api/people"
}

fn is_page(asked: &Asked, skip: &str) -> bool {
    is_list(asked) && asked.query["skip"] == skip
}

/// The n-th page of a night that is listed with this start is answered so, once.
fn once(skip: &'static str, reply: fn() -> Said) -> Disturbance {
    let mut is_first = true;
    Box::new(move |asked, _| (is_page(asked, skip) && std::mem::take(&mut is_first)).then(reply))
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

const TRAPS: &[Trap] = &[
    Trap { name: "four pages and an end", verdict: "SYNCED", code: 0, words: &[], disturb: || Box::new(|_, _| None) },
    Trap {
        name: "an empty list",
        verdict: "FAILED",
        code: 4,
        words: &["`api` is empty, the last run knew 6 records there"],
        disturb: || Box::new(|asked, _| is_list(asked).then(|| said(200, r#"{"items": [], "total": 0}"#))),
    },
    Trap {
        name: "a lost page",
        verdict: "FAILED",
        code: 4,
        words: &["announced"],
        disturb: || Box::new(|asked, _| is_page(asked, "4").then(|| said(200, r#"{"items": [], "total": 7}"#))),
    },
    Trap {
        name: "a parameter that is ignored, so that pages go round",
        verdict: "FAILED",
        code: 2,
        words: &["go round in a circle"],
        disturb: || {
            Box::new(|asked, animal| {
                is_list(asked).then(|| {
                    let mut first = asked.clone();
                    first.query.insert("skip".to_owned(), "0".to_owned());
                    animal.answer(&first)
                })
            })
        },
    },
    Trap {
        name: "429 with seconds",
        verdict: "SYNCED",
        code: 0,
        words: &["1 call was made again: the API answered with status 429"],
        disturb: || once("2", || said(429, "").with("Retry-After", "1")),
    },
    Trap {
        name: "429 with a date",
        verdict: "SYNCED",
        code: 0,
        words: &["made again: the API answered with status 429"],
        disturb: || once("2", || said(429, "").with("Retry-After", "Wed, 21 Oct 2026 07:28:01 GMT").with("Date", "Wed, 21 Oct 2026 07:28:00 GMT")),
    },
    Trap {
        name: "429 without a word",
        verdict: "SYNCED",
        code: 0,
        words: &["made again: the API answered with status 429"],
        disturb: || once("2", || said(429, "")),
    },
    Trap {
        name: "429 for the rest of the day",
        verdict: "FAILED",
        code: 3,
        words: &["lets no more calls through today", "run again tomorrow"],
        disturb: || Box::new(|asked, _| is_list(asked).then(|| said(429, "").with("Retry-After", "40000").with("X-Rate-Limit-Problem", "day"))),
    },
    Trap {
        name: "a bare 403 that means busy",
        verdict: "SYNCED",
        code: 0,
        words: &["made again: the API answered with status 403"],
        disturb: || once("2", || said(403, "")),
    },
    Trap {
        name: "a login that ends between two pages",
        verdict: "FAILED",
        code: 3,
        words: &["does not accept our login", "token expired"],
        disturb: || Box::new(|asked, _| (!is_page(asked, "0")).then(|| said(401, r#"{"message": "token expired"}"#))),
    },
    Trap {
        name: "a login that ends between two writes",
        verdict: "ACTION",
        code: 1,
        words: &["does not accept our login"],
        disturb: || {
            let mut writes = 0;
            Box::new(move |asked, _| {
                writes += usize::from(asked.method != "GET");
                (writes > 1).then(|| said(401, r#"{"message": "token expired"}"#))
            })
        },
    },
    Trap {
        name: "a list that says it is fine and has errors",
        verdict: "FAILED",
        code: 3,
        words: &["answers with errors", "it says: query too wide"],
        disturb: || Box::new(|asked, _| is_list(asked).then(|| said(200, r#"{"items": [], "total": 0, "errors": [{"message": "query too wide"}]}"#))),
    },
    Trap {
        name: "writes that say they are fine and have errors",
        verdict: "ACTION",
        code: 1,
        words: &["name is taken"],
        disturb: || Box::new(|asked, _| ["POST", "PATCH"].contains(&asked.method.as_str()).then(|| said(200, r#"{"errors": [{"message": "name is taken"}]}"#))),
    },
    Trap {
        name: "one record that is refused",
        verdict: "ACTION",
        code: 1,
        words: &["status 422: no such area code"],
        disturb: || Box::new(|asked, _| asked.body.contains("\"33\"").then(|| said(422, r#"{"message": "no such area code"}"#))),
    },
    Trap {
        name: "a list that lags behind what was written",
        verdict: "SYNCED",
        code: 0,
        words: &[],
        disturb: || {
            let mut lagging: Option<Plain> = None;
            Box::new(move |asked, animal| {
                if asked.method != "GET" && lagging.is_none() {
                    lagging = Some(Plain { records: animal.records().clone(), ..Plain::default() });
                }
                lagging.as_mut().filter(|_| is_list(asked)).map(|lagging| lagging.answer(asked))
            })
        },
    },
    Trap {
        name: "a slow drip",
        verdict: "FAILED",
        code: 3,
        words: &["cannot be reached", "the call took longer than 1 seconds"],
        disturb: || Box::new(|asked, animal| is_list(asked).then(|| Said { drip: Some(Duration::from_millis(40)), ..animal.answer(asked) })),
    },
    Trap {
        name: "a connection that is cut in the answer to a create",
        verdict: "SYNCED",
        code: 0,
        words: &[],
        disturb: || {
            Box::new(|asked, animal| {
                (asked.method == "POST" && asked.body.contains("Hal")).then(|| {
                    animal.answer(asked);
                    cut()
                })
            })
        },
    },
    Trap {
        name: "a connection that is cut before a create is done",
        verdict: "ACTION",
        code: 1,
        words: &["hal@example.com"],
        disturb: || Box::new(|asked, _| (asked.method == "POST" && asked.body.contains("Hal")).then(cut)),
    },
    Trap {
        name: "answers that are packed",
        verdict: "SYNCED",
        code: 0,
        words: &[],
        disturb: || {
            Box::new(|asked, animal| {
                let reply = animal.answer(asked);
                Some(Said { body: packed(&reply.body), ..reply.with("Content-Encoding", "gzip") })
            })
        },
    },
    Trap {
        name: "a body that is huge when it is unpacked",
        verdict: "FAILED",
        code: 2,
        words: &["is larger than 1 megabytes"],
        disturb: || Box::new(|asked, _| is_list(asked).then(|| said(200, packed(&vec![b' '; 3 << 20])).with("Content-Encoding", "gzip"))),
    },
    Trap {
        name: "an answer that ends in the middle of its JSON",
        verdict: "FAILED",
        code: 4,
        words: &["is no JSON", "it ends within a value"],
        disturb: || Box::new(|asked, _| is_page(asked, "2").then(|| said(200, r#"{"items": [{"id": "p1", "na"#))),
    },
    Trap {
        name: "a web page",
        verdict: "FAILED",
        code: 3,
        words: &["a web page instead of records", "Maintenance tonight"],
        disturb: || Box::new(|asked, _| is_page(asked, "2").then(|| said(200, "<html><title>Maintenance tonight</title>"))),
    },
    Trap {
        name: "500 for longer than the patience",
        verdict: "FAILED",
        code: 3,
        words: &["cannot be reached", "status 500"],
        disturb: || Box::new(|_, _| Some(said(500, "oops"))),
    },
    Trap {
        name: "a search that leads no further than its first records",
        verdict: "FAILED",
        code: 3,
        words: &["refuses this call", "beyond the first 10000", "this was page 3; the 2 pages before it came"],
        disturb: || Box::new(|asked, _| is_page(asked, "4").then(|| said(400, r#"{"message": "cannot page beyond the first 10000 results"}"#))),
    },
    Trap {
        name: "an insert while pages are read",
        verdict: "FAILED",
        code: 4,
        words: &["announced"],
        disturb: || {
            let mut is_first = true;
            Box::new(move |asked, animal| {
                if is_page(asked, "2") && std::mem::take(&mut is_first) {
                    animal.records().insert(0, json!({"id": "p91", "email": "zoe@example.com", "name": "Zoe", "phone": "8", "note": "kept"}));
                }
                None
            })
        },
    },
    Trap {
        name: "an API that writes phones in its own way",
        verdict: "SYNCED",
        code: 0,
        words: &[],
        disturb: || {
            Box::new(|asked, animal| {
                (asked.method == "PATCH").then(|| {
                    let phone = asked.json()["phone"].as_str().map(|phone| format!("+90-{phone}"));
                    animal.answer(&Asked { body: json!({ "phone": phone }).to_string(), ..asked.clone() })
                })
            })
        },
    },
];

/// Falls into a trap and comes out of it; gives everything that is not as it should be.
fn fall(template: &Template, trap: &Trap) -> Vec<String> {
    let (root, keeper) = template.copy();
    let mut wrong = Vec::new();
    let mut say = |is_wrong: bool, what: String| {
        if is_wrong {
            wrong.push(what);
        }
    };
    let (records, books, bases) = (keeper.people(), root.books(), root.bases());
    assert!(!bases.is_empty());
    keeper.disturb((trap.disturb)());
    let night = root.night_at(&keeper, &[]);
    say((night.verdict.as_str(), night.code) != (trap.verdict, trap.code), format!("it ends with {} and {}: {}", night.verdict, night.code, night.told));
    let text = night.report.to_string();
    for word in trap.words {
        say(!text.contains(word), format!("`{word}` is not told: {}", night.told));
    }
    let has_new = keeper.people().iter().any(|who| who.0 == "zoe@example.com");
    if trap.verdict == "FAILED" {
        let kept: Vec<Person> = keeper.people().into_iter().filter(|who| who.0 != "zoe@example.com").collect();
        say(kept != records, "the API was written".to_owned());
        say(root.books() != books, "the file was written".to_owned());
        say(root.bases() != bases, "the bases were touched".to_owned());
    }
    keeper.calm();
    let second = root.night_at(&keeper, &[]);
    if trap.name == "a connection that is cut before a create is done" {
        // Nobody knows whether it was made, and without a key it is never sent again: a person looks, and enters it.
        say(second.verdict != "ACTION" || !second.told.contains("nothing is created a second time"), format!("the night after it: {}", second.told));
        keeper.edit(|records| records.push(json!({"id": "p92", "email": "hal@example.com", "name": "Hal", "phone": null, "note": "kept"})));
        root.night_at(&keeper, &[]);
    } else {
        say(!["OK", "SYNCED"].contains(&second.verdict.as_str()), format!("the night after it ends with {}", second.told));
    }
    let mut expected = after();
    if has_new {
        expected.push(person("zoe@example.com", "Zoe", "8"));
    }
    let mut in_the_api = expected.clone();
    if trap.name.contains("its own way") {
        // What the API made of a value is remembered as that value, and is no edit.
        in_the_api[2].2 = Some("+90-33".to_owned());
    }
    say(keeper.people() != in_the_api, format!("the API holds {:?}", keeper.people()));
    say(root.books() != expected, format!("the file holds {:?}", root.books()));
    say(!keeper.records().iter().all(|record| record["note"] == "kept" || record["note"].is_null()), "what no field names was changed".to_owned());
    let calls = keeper.calls();
    let third = root.night_at(&keeper, &[]);
    say(third.verdict != "OK" || !keeper.writes_since(calls).is_empty(), format!("the third night finds something to do: {}", third.told));
    root.keeps_the_secret();
    wrong
}

#[test]
fn every_trap_ends_as_its_line_says_and_the_night_after_it_is_whole() {
    let template = Template::new(JOB, 3);
    let chosen: Vec<&Trap> = TRAPS.iter().filter(|trap| std::env::var("TIEOUT_TRAP").map_or(true, |part| trap.name.contains(&part))).collect();
    let failures = try_all(&chosen, |trap| {
        let wrong = fall(&template, trap);
        (!wrong.is_empty()).then(|| format!("== {}\n{}", trap.name, wrong.join("\n")))
    });
    assert!(failures.is_empty(), "{} of {} traps\n\n{}", failures.len(), chosen.len(), failures.join("\n\n"));
}

// ── the server dies ──────────────────────────────────────────────────────────────────────────────────────────────────────

/// Where and how the server dies.
#[derive(Clone, Copy, Debug)]
struct Death {
    /// The call of the night, from 0.
    at: usize,
    /// Whether that call is still done.
    is_done: bool,
    /// Whether it is dead for the rest of the night.
    lasts: bool,
}

fn die(keeper: &Keeper, death: Death) {
    let mut calls = 0;
    keeper.disturb(move |asked, animal| {
        calls += 1;
        let number = calls - 1;
        if number == death.at {
            if death.is_done {
                animal.answer(asked);
            }
            return Some(cut());
        }
        (death.lasts && number > death.at).then(cut)
    });
}

fn recovers(template: &Template, death: Death) -> Option<String> {
    let (root, keeper) = template.copy();
    die(&keeper, death);
    let hit: Night = root.night_at(&keeper, &[]);
    keeper.calm();
    let second = root.night_at(&keeper, &[]);
    let mut wrong = Vec::new();
    if !["OK", "SYNCED"].contains(&second.verdict.as_str()) {
        wrong.push(format!("the night after it ends with {}", second.told));
    }
    if keeper.people() != after() || root.books() != after() {
        wrong.push(format!("the API holds {:?}\nthe file holds {:?}", keeper.people(), root.books()));
    }
    (!wrong.is_empty()).then(|| format!("== {death:?}\nthat night: {} {}\n{}", hit.verdict, hit.sentence, wrong.join("\n")))
}

#[test]
fn whenever_the_server_dies_the_next_night_makes_both_sides_equal() {
    let template = Template::new(&format!("{JOB}idempotency = \"Idempotency-Key\"\n"), 1);
    let (root, keeper) = template.copy();
    root.night_at(&keeper, &[]).is("SYNCED", 0);
    both_hold(&keeper, &root, &after());
    let calls = keeper.calls();
    assert!(calls > 15, "{calls}");
    let mut deaths = Vec::new();
    for at in 0..calls {
        for (is_done, lasts) in [(false, false), (true, false), (false, true), (true, true)] {
            deaths.push(Death { at, is_done, lasts });
        }
    }
    if std::env::var_os("TIEOUT_ALL").is_none() {
        // Every call that writes in all four ways, the others in turn.
        let writing: Vec<bool> = keeper.server.asked().iter().map(|asked| asked.method != "GET").collect();
        deaths = deaths.into_iter().enumerate().filter(|(index, death)| writing[death.at] || index % 5 == 0).map(|(_, death)| death).collect();
    }
    let failures = try_all(&deaths, |death| recovers(&template, *death));
    eprintln!("{} deaths in {calls} calls", deaths.len());
    assert!(failures.is_empty(), "{} of {} deaths\n\n{}", failures.len(), deaths.len(), failures.join("\n\n"));
}
