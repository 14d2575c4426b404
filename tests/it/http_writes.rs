//! Writes of the `http` kind beyond one call a record: batches, templates, whole records, arrays; against a real server over a socket.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value as Json, json};
use tieout::change::{Action, Change, Outcome};
use tieout::error::Remedy;
use tieout::frame::Pulled;
use tieout::job::{Gates, HttpBatch, HttpBody, HttpBy, HttpSettings, HttpVersion, HttpWrite, Kind, May, Role, SystemSpec};
use tieout::systems::{Opening, System, WriteSet, open};

use crate::http::{Asked, Records, Said, Server, path, said, settings, well_behaved};
use crate::systems::{add, is_done, is_stale, remove, set};

/// An API whose `/api/people/batch` is played by a test; everything else behaves.
fn batching(count: usize, mut batch: impl FnMut(&mut Vec<Json>, &Asked) -> Said + Send + 'static) -> (Server, Records) {
    let people = (1..=count).map(|id| json!({"id": id.to_string(), "email": format!("p{id}@example.com"), "name": format!("Person {id}"), "etag": "v1", "phones": [{"number": "1", "type": "home"}, {"number": "2", "type": "work"}]}));
    let records: Records = Arc::new(Mutex::new(people.collect()));
    let kept = Arc::clone(&records);
    let server = Server::start(move |asked| {
        let mut records = kept.lock().unwrap();
        if asked.path.starts_with("/api/people/batch") {
            return batch(&mut records, asked);
        }
        let id = asked.path.strip_prefix("/api/people/");
        let at = id.and_then(|id| records.iter().position(|record| record["id"].as_str() == Some(id)));
        match (asked.method.as_str(), id, at) {
            ("GET", None, _) => said(200, json!({"items": *records, "total": records.len()}).to_string()),
            ("GET", Some(_), Some(at)) => said(200, records[at].to_string()),
            ("PUT", Some(_), Some(at)) => {
                records[at] = asked.json();
                said(200, records[at].to_string())
            }
            ("POST" | "PATCH", ..) => said(200, "{}"),
            _ => said(404, ""),
        }
    });
    (server, records)
}

/// Sets what each element of `$.inputs` holds, and answers one element each; those named `refused` fail by themselves.
fn applied(records: &mut Vec<Json>, asked: &Asked, refused: &str) -> Vec<Json> {
    let mut answers = Vec::new();
    for input in asked.json()["inputs"].as_array().unwrap() {
        if input["name"] == refused {
            answers.push(json!({"id": input["id"], "errors": [{"message": "no snowmen"}]}));
        } else if input["id"].is_null() {
            let record = json!({"id": (records.len() + 1).to_string(), "name": input["name"], "email": input["email"]});
            records.push(record.clone());
            answers.push(record);
        } else {
            let record = records.iter_mut().find(|record| record["id"] == input["id"]).unwrap();
            record["name"] = input["name"].clone();
            answers.push(record.clone());
        }
    }
    answers
}

fn results(answers: &[Json]) -> Said {
    said(200, json!({ "results": answers }).to_string())
}

fn batch(by: HttpBy) -> HttpBatch {
    HttpBatch {
        size: 3,
        method: "POST".to_owned(),
        path: "/people/batch".to_owned(),
        items: path("$.inputs"),
        item: Some(r#"{"id": "{id}"}"#.to_owned()),
        answers: vec![path("$.results")],
        by,
        errors: Some(path("errors")),
        ..HttpBatch::default()
    }
}

fn batched(server: &Server, how: HttpBatch) -> HttpSettings {
    let mut settings = HttpSettings { retry_for_s: 0, ..settings(&server.address) };
    let of_create = HttpBatch { item: None, by: if how.by == HttpBy::Id { HttpBy::Place } else { how.by.clone() }, ..how.clone() };
    settings.create.as_mut().unwrap().batch = Some(of_create);
    settings.delete.as_mut().unwrap().batch = Some(how.clone());
    settings.update.as_mut().unwrap().batch = Some(how);
    settings
}

fn opened_with(settings: HttpSettings, columns: &[&str]) -> Box<dyn System> {
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
    let columns = columns.iter().map(|column| (*column).to_owned()).collect();
    open(Opening { root: Path::new("/"), job: "people", spec: &spec, columns, known: BTreeMap::new(), state: None }).unwrap()
}

fn opened(settings: HttpSettings) -> Box<dyn System> {
    opened_with(settings, &["id", "name", "email"])
}

fn pull(system: &mut dyn System) -> Pulled {
    system.pull().and_then(Pulled::whole).unwrap()
}

fn write(system: &mut dyn System, changes: &[Change]) -> Vec<Outcome> {
    let outcomes = system.write(WriteSet { changes, failures_max: 10, snapshot: None }).unwrap();
    assert_eq!(outcomes.len(), changes.len());
    outcomes
}

/// A new name for each of these rows.
fn renamed(pulled: &Pulled, rows: &[u32]) -> Vec<Change> {
    rows.iter().map(|row| Change { record: u64::from(*row) + 1, ..set(pulled, *row, &[("name", Some(&format!("New {}", row + 1)))]) }).collect()
}

fn created(names: &[&str]) -> Vec<Change> {
    let email = |name: &str| format!("{name}@example.com");
    let one = |(at, name): (usize, &&str)| Change { record: 100 + at as u64, ..add(name, &[("name", Some(name)), ("email", Some(&email(name)))]) };
    names.iter().enumerate().map(one).collect()
}

fn names(records: &Records) -> Vec<String> {
    records.lock().unwrap().iter().map(|record| record["name"].as_str().unwrap_or("null").to_owned()).collect()
}

fn batches(server: &Server) -> Vec<Json> {
    server.asked().iter().filter(|asked| asked.path == "/api/people/batch").map(Asked::json).collect()
}

fn is_unknown(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Unknown { .. })
}

fn reason(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Done { .. } => "done",
        Outcome::Rejected { reason } | Outcome::Stale { reason } | Outcome::Unknown { reason } | Outcome::Skipped { reason } => reason,
    }
}

// ── batches ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn seven_updates_are_three_calls_and_each_has_its_own_outcome() {
    let (server, records) = batching(7, |records, asked| results(&applied(records, asked, "New 5")));
    let mut system = opened(batched(&server, batch(HttpBy::Place)));
    let pulled = pull(&mut *system);
    records.lock().unwrap()[1]["name"] = json!("Somebody was here");
    let outcomes = write(&mut *system, &renamed(&pulled, &[0, 1, 2, 3, 4, 5, 6]));
    let done: Vec<bool> = outcomes.iter().map(is_done).collect();
    assert_eq!(done, [true, false, true, true, false, true, true], "{outcomes:?}");
    assert!(is_stale(&outcomes[1]), "an edit since the pull is not overwritten");
    assert_eq!(reason(&outcomes[4]), "no snowmen");
    assert_eq!(names(&records), ["New 1", "Somebody was here", "New 3", "New 4", "Person 5", "New 6", "New 7"]);
    let calls = batches(&server);
    assert_eq!(calls[0], json!({"inputs": [{"id": "1", "name": "New 1"}, {"id": "3", "name": "New 3"}]}));
    assert_eq!(calls.last().unwrap()["inputs"].as_array().unwrap().len(), 1);
    assert_eq!(server.count("PATCH"), 0, "none goes alone");
}

#[test]
fn answers_in_another_order_belong_by_id_by_name_or_by_a_column() {
    let reversed = |records: &mut Vec<Json>, asked: &Asked| {
        let mut answers = applied(records, asked, "New 2");
        for (answer, input) in answers.iter_mut().zip(asked.json()["inputs"].as_array().unwrap()) {
            answer["bId"] = input["bId"].clone();
            answer["mail"] = json!(format!("p{}@example.com", input["id"].as_str().unwrap_or_default()));
        }
        answers.reverse();
        results(&answers)
    };
    let named = HttpBatch { item: Some(r#"{"bId": "{name}", "id": "{id}", "sparse": true}"#.to_owned()), at: Some(path("bId")), ..batch(HttpBy::Name) };
    let by_column = HttpBatch { at: Some(path("mail")), ..batch(HttpBy::Column("email".to_owned())) };
    for how in [batch(HttpBy::Id), named, by_column] {
        let (server, records) = batching(3, reversed);
        let mut system = opened(batched(&server, how.clone()));
        let pulled = pull(&mut *system);
        let outcomes = write(&mut *system, &renamed(&pulled, &[0, 1, 2]));
        assert!(is_done(&outcomes[0]) && is_done(&outcomes[2]), "{how:?}: {outcomes:?}");
        assert_eq!((reason(&outcomes[1]), names(&records)[2].as_str()), ("no snowmen", "New 3"));
    }
    // By place the same answers would be those of others.
    let (server, _) = batching(3, reversed);
    let mut system = opened(batched(&server, HttpBatch { errors: None, ..batch(HttpBy::Place) }));
    let pulled = pull(&mut *system);
    let outcomes = write(&mut *system, &renamed(&pulled, &[0, 1, 2]));
    assert!(outcomes.iter().all(is_unknown), "{outcomes:?}");
    assert!(reason(&outcomes[0]).contains("shows another record"), "{outcomes:?}");
}

#[test]
fn an_answer_that_lacks_one_has_one_twice_or_an_unknown_one_is_never_done() {
    let answered = |how: HttpBatch, spoil: fn(&mut Vec<Json>)| {
        let (server, _) = batching(3, move |records, asked| {
            let mut answers = applied(records, asked, "\u{2603}");
            spoil(&mut answers);
            results(&answers)
        });
        let mut system = opened(batched(&server, how));
        let pulled = pull(&mut *system);
        let outcomes = write(&mut *system, &renamed(&pulled, &[0, 1, 2]));
        outcomes.iter().map(is_unknown).collect::<Vec<bool>>()
    };
    let lacks = |answers: &mut Vec<Json>| drop(answers.remove(1));
    let twice = |answers: &mut Vec<Json>| answers.push(answers[1].clone());
    let unknown = |answers: &mut Vec<Json>| answers[1]["id"] = json!("99");
    let nameless = |answers: &mut Vec<Json>| answers[1]["id"] = Json::Null;
    assert_eq!(answered(batch(HttpBy::Id), lacks), [false, true, false]);
    assert_eq!(answered(batch(HttpBy::Id), twice), [false, true, false]);
    assert_eq!(answered(batch(HttpBy::Id), unknown), [true, true, true]);
    assert_eq!(answered(batch(HttpBy::Id), nameless), [true, true, true]);
    assert_eq!(answered(batch(HttpBy::Place), lacks), [true, true, true]);
    assert_eq!(answered(batch(HttpBy::Place), twice), [true, true, true]);
    let empty = HttpBatch { answers: vec![path("$.nothing")], ..batch(HttpBy::Place) };
    assert_eq!(answered(empty, |_| {}), [true, true, true]);
}

#[test]
fn a_207_tells_those_that_failed_in_an_array_of_their_own() {
    let (server, records) = batching(3, |records, asked| {
        let (failed, done): (Vec<Json>, Vec<Json>) = applied(records, asked, "New 2").into_iter().partition(|answer| answer["errors"].is_array());
        let failures: Vec<Json> = failed.iter().map(|one| json!({"status": "error", "message": "name is taken", "context": {"ids": [one["id"]]}})).collect();
        said(207, json!({"results": done, "errors": failures}).to_string())
    });
    let how = HttpBatch { failures: Some((path("$.errors"), path("context.ids"))), errors: None, ..batch(HttpBy::Id) };
    let mut system = opened(batched(&server, how));
    let pulled = pull(&mut *system);
    let outcomes = write(&mut *system, &renamed(&pulled, &[0, 1, 2]));
    assert!(is_done(&outcomes[0]) && is_done(&outcomes[2]), "{outcomes:?}");
    assert_eq!(outcomes[1], Outcome::Rejected { reason: "name is taken".to_owned() });
    assert_eq!(names(&records), ["New 1", "Person 2", "New 3"]);
}

#[test]
fn a_status_of_an_element_is_read_as_that_of_a_call() {
    let (server, _) = batching(4, |_, asked| {
        let of = |input: &Json| match input["id"].as_str() {
            Some("1") => json!({"id": "1", "status": 200}),
            Some("2") => json!({"id": "2", "status": 404}),
            Some("3") => json!({"id": "3", "status": 503, "message": "busy"}),
            _ => json!({"id": "4"}),
        };
        let answers: Vec<Json> = asked.json()["inputs"].as_array().unwrap().iter().map(of).collect();
        results(&answers)
    });
    let mut system = opened(batched(&server, HttpBatch { size: 4, status: Some(path("status")), ..batch(HttpBy::Id) }));
    let pulled = pull(&mut *system);
    let outcomes = write(&mut *system, &renamed(&pulled, &[0, 1, 2, 3]));
    assert!(is_done(&outcomes[0]) && is_stale(&outcomes[1]) && is_unknown(&outcomes[2]) && is_unknown(&outcomes[3]), "{outcomes:?}");
}

#[test]
fn the_poison_record_of_a_refused_batch_is_found_and_all_others_are_written() {
    let refusing = |records: &mut Vec<Json>, asked: &Asked| {
        let is_poisoned = asked.json()["inputs"].as_array().unwrap().iter().any(|input| input["name"] == "New 6");
        if is_poisoned { said(422, r#"{"message": "no snowmen"}"#) } else { results(&applied(records, asked, "\u{2603}")) }
    };
    // Whether the API says that a refused call does nothing, or not: an update can be looked at.
    for atomic in [true, false] {
        let (server, records) = batching(8, refusing);
        let mut system = opened(batched(&server, HttpBatch { size: 8, atomic, ..batch(HttpBy::Id) }));
        let pulled = pull(&mut *system);
        let outcomes = write(&mut *system, &renamed(&pulled, &[0, 1, 2, 3, 4, 5, 6, 7]));
        let done: Vec<bool> = outcomes.iter().map(is_done).collect();
        assert_eq!(done, [true, true, true, true, true, false, true, true], "{outcomes:?}");
        assert_eq!(reason(&outcomes[5]), "status 422: no snowmen");
        assert_eq!(names(&records)[5], "Person 6");
        assert!(batches(&server).len() <= 8, "halves, not one by one: {}", batches(&server).len());
    }
}

#[test]
fn a_batch_that_was_refused_after_half_of_it_was_done_is_looked_at_and_nothing_is_made_twice() {
    let half = |records: &mut Vec<Json>, asked: &Asked| {
        let inputs = asked.json()["inputs"].as_array().unwrap().clone();
        if inputs.len() == 1 && inputs[0]["name"] != "poison" && inputs[0]["name"] != "New 2" {
            return results(&applied(records, asked, "\u{2603}"));
        }
        let first = Asked { body: json!({"inputs": [inputs[0]]}).to_string(), ..asked.clone() };
        if inputs[0]["name"] != "New 2" {
            applied(records, &first, "poison");
        }
        said(400, r#"{"message": "the second is bad"}"#)
    };
    let (server, records) = batching(3, half);
    let mut system = opened(batched(&server, batch(HttpBy::Id)));
    let pulled = pull(&mut *system);
    let outcomes = write(&mut *system, &renamed(&pulled, &[0, 1, 2]));
    assert!(is_done(&outcomes[0]) && is_done(&outcomes[2]), "{outcomes:?}");
    assert_eq!((reason(&outcomes[1]), names(&records)), ("status 400: the second is bad", vec!["New 1".to_owned(), "Person 2".to_owned(), "New 3".to_owned()]));
    let first: Vec<Json> = batches(&server).iter().flat_map(|call| call["inputs"].as_array().unwrap().clone()).filter(|input| input["id"] == "1").collect();
    assert_eq!(first.len(), 1, "what was done is not sent again");
    // Creates cannot be looked at: none is made a second time.
    let (server, records) = batching(1, half);
    let mut system = opened(batched(&server, batch(HttpBy::Id)));
    pull(&mut *system);
    let outcomes = write(&mut *system, &created(&["Ann", "poison", "Cem"]));
    assert!(outcomes.iter().all(is_unknown), "{outcomes:?}");
    assert_eq!((names(&records).len(), batches(&server).len()), (2, 1));
}

#[test]
fn a_batch_that_breaks_on_the_wire_is_asked_for_and_creates_are_never_made_twice() {
    let silent = || Said { is_silent: true, ..said(200, "") };
    // It arrived, and its answer did not.
    let (server, records) = batching(3, move |records, asked| {
        applied(records, asked, "\u{2603}");
        silent()
    });
    let mut system = opened(batched(&server, batch(HttpBy::Id)));
    let pulled = pull(&mut *system);
    let outcomes = write(&mut *system, &renamed(&pulled, &[0, 1, 2]));
    assert!(outcomes.iter().all(is_done), "{outcomes:?}");
    assert_eq!(batches(&server).len(), 1);
    let outcomes = write(&mut *system, &created(&["Ann", "Bob"]));
    assert!(outcomes.iter().all(is_unknown), "{outcomes:?}");
    assert_eq!((names(&records).len(), batches(&server).len()), (5, 2));
    // It did not arrive: it is as it was, and is sent again.
    let mut first = true;
    let (server, records) =
        batching(2, move |records, asked| if std::mem::take(&mut first) { silent() } else { results(&applied(records, asked, "\u{2603}")) });
    let mut system = opened(batched(&server, batch(HttpBy::Id)));
    let pulled = pull(&mut *system);
    assert!(write(&mut *system, &renamed(&pulled, &[0, 1])).iter().all(is_done));
    assert_eq!((names(&records)[1].as_str(), batches(&server).len()), ("New 2", 2));
    // With a key that the API knows the call by, a create is sent again under the same key.
    let keys: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&keys);
    let (server, records) = batching(0, move |records, asked| {
        let mut keys = noted.lock().unwrap();
        keys.push(asked.headers["idempotency-key"].clone());
        if keys.len() == 1 { silent() } else { results(&applied(records, asked, "\u{2603}")) }
    });
    let with_key = HttpSettings { idempotency: Some("Idempotency-Key".to_owned()), retry_for_s: 5, ..batched(&server, batch(HttpBy::Place)) };
    let outcomes = write(&mut *opened(with_key), &created(&["Ann", "Bob"]));
    assert!(matches!(&outcomes[1], Outcome::Done { id: Some(id), .. } if id == "2"), "{outcomes:?}");
    let keys = keys.lock().unwrap();
    assert!(keys.len() == 2 && keys[0] == keys[1] && names(&records).len() == 2, "{keys:?}");
}

#[test]
fn two_new_records_never_share_an_id_and_two_changes_of_one_record_never_a_call() {
    let (server, _) = batching(0, |_, _| results(&[json!({"id": "7"}), json!({"id": "7"}), json!({"id": "8"})]));
    let outcomes = write(&mut *opened(batched(&server, batch(HttpBy::Place))), &created(&["Ann", "Bob", "Cem"]));
    assert!(is_unknown(&outcomes[0]) && is_unknown(&outcomes[1]) && is_done(&outcomes[2]), "{outcomes:?}");
    let (server, records) = batching(2, |records, asked| results(&applied(records, asked, "\u{2603}")));
    let mut system = opened(batched(&server, batch(HttpBy::Id)));
    let pulled = pull(&mut *system);
    let mut changes = renamed(&pulled, &[0, 1, 0]);
    changes[2].cells[0].after_raw.text = Some("Newest".to_owned());
    changes[2].cells[0].before_raw.as_mut().unwrap().text = Some("New 1".to_owned());
    assert!(write(&mut *system, &changes).iter().all(is_done));
    assert_eq!((names(&records)[0].as_str(), batches(&server).len()), ("Newest", 2));
}

#[test]
fn deletes_may_be_nothing_but_ids_and_a_good_status_may_be_all_that_is_said() {
    let (server, records) = batching(4, |records, asked| {
        let ids = asked.json()["delete"].as_array().unwrap().clone();
        records.retain(|record| !ids.contains(&record["id"]));
        said(204, "")
    });
    let how = HttpBatch { items: path("$.delete"), item: Some("\"{id}\"".to_owned()), with: Some(r#"{"force": true}"#.to_owned()), ..batch(HttpBy::All) };
    let mut system = opened(batched(&server, how));
    let pulled = pull(&mut *system);
    let cells = |change: Change| change.cells.into_iter().filter(|cell| ["id", "name", "email"].contains(&cell.column.as_str())).collect();
    let changes: Vec<Change> = (0..2).map(|row| Change { record: u64::from(row), cells: cells(remove(&pulled, row)), ..remove(&pulled, row) }).collect();
    assert!(write(&mut *system, &changes).iter().all(is_done));
    assert_eq!((names(&records).len(), &batches(&server)[0]), (2, &json!({"force": true, "delete": ["1", "2"]})));
}

#[test]
fn a_login_that_is_not_accepted_ends_a_set_and_after_too_many_rejections_nothing_more_is_sent() {
    let (server, _) = batching(3, |_, _| said(401, ""));
    let mut system = opened(batched(&server, batch(HttpBy::Id)));
    let pulled = pull(&mut *system);
    let error = system.write(WriteSet { changes: &renamed(&pulled, &[0, 1, 2]), failures_max: 10, snapshot: None }).unwrap_err();
    assert_eq!((error.remedy, batches(&server).len()), (Remedy::GiveAccess, 1));
    let mut calls = 0;
    let (server, _) = batching(6, move |records, asked| {
        calls += 1;
        if calls > 1 { said(403, "") } else { results(&applied(records, asked, "\u{2603}")) }
    });
    let mut system = opened(batched(&server, batch(HttpBy::Id)));
    let pulled = pull(&mut *system);
    let outcomes = write(&mut *system, &renamed(&pulled, &[0, 1, 2, 3, 4, 5]));
    assert!(outcomes[..3].iter().all(is_done) && outcomes[3..].iter().all(|outcome| matches!(outcome, Outcome::Skipped { .. })), "{outcomes:?}");
    let (server, _) = batching(9, |_, asked| {
        let failed = |input: &Json| json!({"id": input["id"], "errors": ["no"]});
        results(&asked.json()["inputs"].as_array().unwrap().iter().map(failed).collect::<Vec<Json>>())
    });
    let mut system = opened(batched(&server, batch(HttpBy::Id)));
    let pulled = pull(&mut *system);
    let changes = renamed(&pulled, &[0, 1, 2, 3, 4, 5, 6, 7, 8]);
    let outcomes = system.write(WriteSet { changes: &changes, failures_max: 3, snapshot: None }).unwrap();
    assert!(matches!(outcomes[8], Outcome::Skipped { .. }) && batches(&server).len() == 2, "{outcomes:?}");
}

#[test]
fn the_version_of_each_record_stands_in_its_element() {
    let (server, _) = batching(2, |records, asked| results(&applied(records, asked, "\u{2603}")));
    let mut settings = batched(&server, batch(HttpBy::Id));
    settings.version = Some(HttpVersion { path: path("etag"), header: None, field: Some(path("SyncToken")) });
    let mut system = opened(settings);
    let pulled = pull(&mut *system);
    write(&mut *system, &renamed(&pulled, &[0, 1]));
    assert_eq!(batches(&server)[0]["inputs"][1], json!({"id": "2", "name": "New 2", "SyncToken": "v1"}));
}

// ── bodies ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// The last call that wrote.
fn written(server: &Server) -> Asked {
    server.asked().into_iter().rfind(|asked| asked.method != "GET").unwrap()
}

#[test]
fn a_body_holds_what_its_template_says_and_the_fields_where_they_belong() {
    let (server, _) = batching(1, |_, _| said(500, ""));
    let mut how = settings(&server.address);
    how.version = Some(HttpVersion { path: path("etag"), header: None, field: None });
    let update = how.update.as_mut().unwrap();
    update.method = "POST".to_owned();
    update.path = "/people".to_owned();
    update.wrap = path("variables.input");
    update.with = Some(r#"{"query": "mutation {a {b}}", "n": 1.10, "variables": {"who": "{email}", "v": "{version}", "input": {"id": "{id}"}}}"#.to_owned());
    let mut system = opened(how);
    let pulled = pull(&mut *system);
    write(&mut *system, &renamed(&pulled, &[0]));
    assert_eq!(
        written(&server).body,
        r#"{"query": "mutation {a {b}}", "n": 1.10, "variables": {"who": "p1@example.com", "v": "v1", "input": {"id": "1", "name":"New 1"}}}"#,
        "numbers keep their digits, and braces in a query are no places"
    );
}

#[test]
fn a_whole_record_is_read_afresh_and_keeps_what_no_field_names() {
    let (server, records) = batching(2, |_, _| said(500, ""));
    let mut how = settings(&server.address);
    let update = how.update.as_mut().unwrap();
    (update.method, update.whole, update.without) = ("PUT".to_owned(), true, vec![path("etag")]);
    let mut system = opened(how);
    let pulled = pull(&mut *system);
    // Somebody edits what the job does not look at, and somebody else what it writes.
    records.lock().unwrap()[0]["note"] = json!("new since");
    records.lock().unwrap()[1]["name"] = json!("Somebody was here");
    let outcomes = write(&mut *system, &renamed(&pulled, &[0, 1]));
    assert!(is_done(&outcomes[0]) && is_stale(&outcomes[1]), "{outcomes:?}");
    let sent = written(&server).json();
    assert_eq!((&sent["name"], &sent["note"], &sent["phones"][1]["number"]), (&json!("New 1"), &json!("new since"), &json!("2")));
    assert!(sent.get("etag").is_none() && server.count("PUT") == 1);
}

#[test]
fn an_element_of_an_array_is_written_with_the_whole_array_as_it_is_now() {
    let (server, records) = batching(1, |_, _| said(500, ""));
    let mut system = opened_with(settings(&server.address), &["id", "name", "phones[0].number"]);
    let pulled = pull(&mut *system);
    records.lock().unwrap()[0]["phones"][1]["number"] = json!("3");
    assert!(is_done(&write(&mut *system, &[set(&pulled, 0, &[("phones[0].number", Some("9"))])])[0]));
    assert_eq!(written(&server).json(), json!({"phones": [{"number": "9", "type": "home"}, {"number": "3", "type": "work"}]}));
    // What stands behind the end of it cannot be reached.
    let mut system = opened_with(settings(&server.address), &["id", "name", "phones[0].number", "phones[5].number"]);
    let far = Change {
        cells: vec![tieout::change::CellChange {
            before_raw: None,
            column: "phones[5].number".to_owned(),
            ..set(&pulled, 0, &[("name", Some("9"))]).cells.remove(0)
        }],
        ..set(&pulled, 0, &[])
    };
    assert!(reason(&write(&mut *system, &[far])[0]).contains("has only 2 elements"));
}

#[test]
fn archiving_has_a_call_of_its_own_and_may_need_no_body() {
    let (server, _) = batching(1, |_, _| said(500, ""));
    let mut how = settings(&server.address);
    how.archive = Some(HttpWrite { method: "POST".to_owned(), path: "/people/{id}/archive".to_owned(), body: HttpBody::None, ..HttpWrite::default() });
    let mut system = opened(how);
    let pulled = pull(&mut *system);
    let change = Change { action: Action::Archive, ..set(&pulled, 0, &[("name", Some("gone"))]) };
    assert!(is_done(&write(&mut *system, &[change])[0]));
    let asked = written(&server);
    assert_eq!((asked.path.as_str(), asked.body.as_str()), ("/api/people/1/archive", ""));
}

#[test]
fn an_upsert_whose_connection_breaks_is_sent_again() {
    let mut first = true;
    let (server, records) =
        batching(
            0,
            move |records, asked| {
                if std::mem::take(&mut first) { Said { is_silent: true, ..said(200, "") } } else { results(&applied(records, asked, "\u{2603}")) }
            },
        );
    let mut how = HttpSettings { retry_for_s: 5, ..batched(&server, batch(HttpBy::Place)) };
    how.create.as_mut().unwrap().upsert = true;
    let outcomes = write(&mut *opened(how), &created(&["Ann", "Bob"]));
    assert!(outcomes.iter().all(is_done), "{outcomes:?}");
    assert_eq!((names(&records).len(), batches(&server).len()), (2, 2));
}

// ── looks and waits ──────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn what_somebody_edits_while_a_busy_api_makes_us_wait_is_never_overwritten() {
    for in_batch in [false, true] {
        let mut first = true;
        let busy = move |records: &mut Vec<Json>| {
            std::mem::take(&mut first).then(|| {
                records[0]["name"] = json!("Somebody was here");
                said(429, "").with("Retry-After", "1")
            })
        };
        let (server, records) = match in_batch {
            true => {
                let mut busy = busy;
                batching(1, move |records, asked| busy(records).unwrap_or_else(|| results(&applied(records, asked, "\u{2603}"))))
            }
            false => {
                let records: Records = Arc::new(Mutex::new(vec![json!({"id": "1", "name": "Person 1", "email": "p1@example.com"})]));
                let (kept, mut busy) = (Arc::clone(&records), busy);
                let server = Server::start(move |asked| {
                    let mut records = kept.lock().unwrap();
                    match (asked.method.as_str(), asked.path.as_str()) {
                        ("GET", "/api/people") => said(200, json!({"items": *records, "total": 1}).to_string()),
                        ("GET", _) => said(200, records[0].to_string()),
                        _ => busy(&mut records).unwrap_or_else(|| {
                            records[0]["name"] = asked.json()["name"].clone();
                            said(200, records[0].to_string())
                        }),
                    }
                });
                (server, records)
            }
        };
        let how = HttpSettings { retry_for_s: 9, version: None, ..if in_batch { batched(&server, batch(HttpBy::Id)) } else { settings(&server.address) } };
        let mut system = opened(HttpSettings { retry_for_s: 9, ..how });
        let pulled = pull(&mut *system);
        let outcomes = write(&mut *system, &renamed(&pulled, &[0]));
        assert!(is_stale(&outcomes[0]), "{in_batch}: {outcomes:?}");
        assert_eq!(names(&records), ["Somebody was here"]);
    }
}

#[test]
fn what_stands_beside_a_field_is_never_lost_with_an_api_that_replaces_objects() {
    let person = |id: &str, zip: &str| json!({"id": id, "name": format!("P{id}"), "address": {"city": "Bern", "zip": zip, "geo": {"lat": 1.5}}, "phone": null});
    let at = |records: &Records, id: usize| records.lock().unwrap()[id]["address"].clone();
    let moved = |pulled: &Pulled, row: u32, city: &str| set(pulled, row, &[("address.city", Some(city))]);
    let start = || {
        let records: Records = Arc::new(Mutex::new(vec![person("1", "3000"), person("2", "4000"), person("3", "5000")]));
        (well_behaved(Arc::clone(&records), "\u{2603}"), records)
    };
    let columns = ["id", "name", "address.city"];

    // The first such record is set back as a whole, and no further one is written.
    let (server, records) = start();
    let mut system = opened_with(settings(&server.address), &columns);
    let pulled = pull(&mut *system);
    let outcomes = write(&mut *system, &[moved(&pulled, 0, "Chur"), moved(&pulled, 1, "Basel"), set(&pulled, 2, &[("name", Some("Cid"))])]);
    assert!(is_done(&outcomes[0]), "{outcomes:?}");
    assert_eq!(at(&records, 0), json!({"city": "Chur", "zip": "3000", "geo": {"lat": 1.5}}));
    for outcome in &outcomes[1..] {
        assert!(matches!(outcome, Outcome::Skipped { reason } if reason.contains("replaces `address` when a part of it is written")), "{outcomes:?}");
    }
    let said_of_write = system.said_of_write();
    assert_eq!(said_of_write.len(), 1);
    for words in ["replaces `address`", "`address.zip` of record 1 was gone, and was set back", "no further record", "whole_objects = true"] {
        assert!(said_of_write[0].contains(words), "{said_of_write:?}");
    }
    assert_eq!((at(&records, 1), names(&records)), (person("2", "4000")["address"].clone(), vec!["P1".to_owned(), "P2".to_owned(), "P3".to_owned()]));

    // With the whole object nothing is lost, whatever stands in it at that moment.
    let (server, records) = start();
    let mut whole = settings(&server.address);
    whole.update.as_mut().unwrap().whole_objects = true;
    let mut system = opened_with(whole, &columns);
    let pulled = pull(&mut *system);
    records.lock().unwrap()[1]["address"]["zip"] = json!("4001");
    let outcomes = write(&mut *system, &[moved(&pulled, 0, "Chur"), moved(&pulled, 1, "Basel")]);
    assert!(outcomes.iter().all(is_done), "{outcomes:?}");
    assert_eq!(at(&records, 0), json!({"city": "Chur", "zip": "3000", "geo": {"lat": 1.5}}));
    assert_eq!(at(&records, 1), json!({"city": "Basel", "zip": "4001", "geo": {"lat": 1.5}}));

    // An API that merges is asked once, even where it answers with nothing.
    let records: Records = Arc::new(Mutex::new(vec![person("1", "3000"), person("2", "4000")]));
    let behind = Arc::clone(&records);
    let server = Server::start(move |asked| {
        let mut records = behind.lock().unwrap();
        match (asked.method.as_str(), asked.path.strip_prefix("/api/people/").and_then(|id| id.parse::<usize>().ok())) {
            ("GET", Some(id)) => said(200, records[id - 1].to_string()),
            ("PATCH", Some(id)) => {
                records[id - 1]["address"]["city"] = asked.json()["address"]["city"].clone();
                said(204, "")
            }
            _ => said(200, json!({"items": *records, "total": 2}).to_string()),
        }
    });
    let mut system = opened_with(settings(&server.address), &columns);
    let pulled = pull(&mut *system);
    let outcomes = write(&mut *system, &[moved(&pulled, 0, "Chur"), moved(&pulled, 1, "Basel")]);
    assert!(outcomes.iter().all(is_done), "{outcomes:?}");
    let calls: Vec<String> = server.asked().iter().skip(1).map(|asked| format!("{} {}", asked.method, &asked.path[12..])).collect();
    assert_eq!(calls, ["GET 1", "PATCH 1", "GET 1", "GET 2", "PATCH 2"]);
}
