//! Customers as Stripe has them: the newest first, forms as bodies, keys by which a create that is made again is known.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::{Animal, Asked, Keeper, Person, Root, Said, both_hold, cut, person, said, text};
use crate::server::form;

/// Records a page at most, whatever is asked for.
const PAGE: usize = 2;

#[derive(Default)]
pub struct Stripe {
    records: Vec<Json>,
    made: usize,
    /// By key the body of a create and what was said to it.
    keys: BTreeMap<String, (String, Said)>,
}

fn refuse(status: u16, kind: &str, message: &str) -> Said {
    said(status, json!({"error": {"type": kind, "message": message}}).to_string())
}

impl Stripe {
    /// Somebody is entered by hand.
    pub fn enter(&mut self, who: &Person) {
        let record = self.blank();
        self.records.insert(0, record);
        let (email, name, phone) = who;
        self.records[0]["email"] = json!(email);
        self.records[0]["name"] = json!(name);
        self.records[0]["phone"] = json!(phone);
    }

    pub fn with(people: &[Person]) -> Stripe {
        let mut stripe = Stripe::default();
        people.iter().for_each(|who| stripe.enter(who));
        stripe
    }

    fn blank(&mut self) -> Json {
        self.made += 1;
        json!({
            "id": format!("cus_{:04}", self.made), "object": "customer", "email": null, "name": null, "phone": null, "balance": 0,
            "address": null, "metadata": {"seen": "kept"}, "created": 1_700_000_000 + self.made,
        })
    }

    /// Puts a form into a record.
    fn put(record: &mut Json, body: &str, is_create: bool) -> Result<(), Said> {
        for (name, value) in form(body) {
            if value.is_empty() && is_create {
                return Err(refuse(400, "invalid_request_error", &format!("You passed an empty string for '{name}'.")));
            }
            let (top, inner) = name.split_once('[').map_or((name.as_str(), None), |(top, rest)| (top, Some(rest.trim_end_matches(']'))));
            let value = if value.is_empty() { Json::Null } else { json!(value) };
            match (top, inner) {
                ("email" | "name" | "phone", None) => record[top] = value,
                ("metadata", Some(key)) => {
                    let metadata = record["metadata"].as_object_mut().unwrap();
                    match value {
                        Json::Null => drop(metadata.remove(key)),
                        value => drop(metadata.insert(key.to_owned(), value)),
                    }
                }
                ("address", Some(key)) => {
                    if record["address"].is_null() {
                        record["address"] = Json::Object(Map::new());
                    }
                    record["address"][key] = value;
                }
                _ => return Err(refuse(400, "invalid_request_error", &format!("Received unknown parameter: {name}"))),
            }
        }
        Ok(())
    }

    fn create(&mut self, asked: &Asked) -> Said {
        let key = asked.headers.get("idempotency-key").cloned();
        if let Some((body, reply)) = key.as_ref().and_then(|key| self.keys.get(key)) {
            return if *body == asked.body {
                reply.clone().with("Idempotent-Replayed", "true")
            } else {
                refuse(400, "idempotency_error", "Keys for idempotent requests can only be used with the same parameters they were first used with.")
            };
        }
        let mut record = self.blank();
        if let Err(refusal) = Stripe::put(&mut record, &asked.body, true) {
            return refusal;
        }
        let reply = said(200, record.to_string());
        self.records.insert(0, record);
        if let Some(key) = key {
            self.keys.insert(key, (asked.body.clone(), reply.clone()));
        }
        reply
    }
}

impl Animal for Stripe {
    fn answer(&mut self, asked: &Asked) -> Said {
        if !asked.headers.contains_key("stripe-version") {
            return refuse(400, "invalid_request_error", "no version");
        }
        if asked.method == "POST" && asked.headers.get("content-type").map(String::as_str) != Some("application/x-www-form-urlencoded") {
            return refuse(400, "invalid_request_error", "Check that your POST content type is application/x-www-form-urlencoded.");
        }
        let at = |records: &[Json], id: &str| records.iter().position(|record| record["id"] == *id);
        let unknown = |id: &str| refuse(404, "invalid_request_error", &format!("No such customer: '{id}'"));
        match (asked.method.as_str(), asked.path.strip_prefix("/v1/customers").map(|rest| rest.trim_start_matches('/'))) {
            ("GET", Some("")) => {
                let start = match asked.query.get("starting_after") {
                    None => 0,
                    Some(id) => match at(&self.records, id) {
                        Some(at) => at + 1,
                        None => return unknown(id),
                    },
                };
                let size = asked.query.get("limit").map_or(10, |limit| limit.parse().unwrap()).min(PAGE);
                let page: Vec<&Json> = self.records.iter().skip(start).take(size).collect();
                said(200, json!({"object": "list", "data": page, "has_more": start + page.len() < self.records.len(), "url": "/v1/customers"}).to_string())
            }
            ("POST", Some("")) => self.create(asked),
            ("GET", Some(id)) => at(&self.records, id).map_or_else(|| unknown(id), |at| said(200, self.records[at].to_string())),
            ("POST", Some(id)) => {
                let Some(at) = at(&self.records, id) else { return unknown(id) };
                let mut record = self.records[at].clone();
                if let Err(refusal) = Stripe::put(&mut record, &asked.body, false) {
                    return refusal;
                }
                self.records[at] = record.clone();
                said(200, record.to_string())
            }
            _ => refuse(404, "invalid_request_error", "Unrecognized request URL"),
        }
    }

    fn records(&mut self) -> &mut Vec<Json> {
        &mut self.records
    }

    fn person(&self, record: &Json) -> Person {
        (record["email"].as_str().unwrap_or_default().to_owned(), text(&record["name"]), text(&record["phone"]))
    }
}

pub const JOB: &str = "kind = \"http\"\npreset = \"stripe.customers\"\nrole = \"peer\"\nbase_url = \"ADDRESS/v1\"\nlimits = { rate = \"1000/s\" }\n";

fn five() -> Vec<Person> {
    vec![
        person("ann@example.com", "Ann", "+44 20 1"),
        person("bob@example.com", "Bob", "+44 20 2"),
        person("cem@example.com", "Cem", ""),
        person("dee@example.com", "Dee", "+44 20 4"),
        person("eve@example.com", "Eve, née Ó", "+44 20 5"),
    ]
}

#[test]
fn nights_between_stripe_and_a_file() {
    let keeper = Keeper::of(Stripe::with(&five()));
    let root = Root::new(&keeper, JOB, ["email", "name", "phone"]);
    root.write_books(&five());
    let checked = root.tieout(&["check"]);
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));

    root.night(&["--first-contact"]).is("OK", 0);
    assert!(keeper.writes_since(0).is_empty());

    // A day of edits: renamed and cleared on either side, and somebody new on either.
    keeper.edit(|records| {
        let at = |email: &str| records.iter().position(|record| record["email"] == *email).unwrap();
        let (ann, bob) = (at("ann@example.com"), at("bob@example.com"));
        records[ann]["name"] = "Ann Lovelace".into();
        records[bob]["phone"] = Json::Null;
        let mut fay = records[0].clone();
        fay["id"] = "cus_9000".into();
        (fay["email"], fay["name"], fay["phone"]) = ("fay@example.com".into(), "Fay".into(), Json::Null);
        records.insert(0, fay);
    });
    root.edit_books(|people| {
        people[2].2 = Some("+90 1".to_owned());
        people[3].2 = None;
        people.push(person("gus@example.com", "Gus & Söhne", ""));
    });
    let calls = keeper.calls();
    root.night(&[]).is("SYNCED", 0);
    let expected = [
        person("ann@example.com", "Ann Lovelace", "+44 20 1"),
        person("bob@example.com", "Bob", ""),
        person("cem@example.com", "Cem", "+90 1"),
        person("dee@example.com", "Dee", ""),
        person("eve@example.com", "Eve, née Ó", "+44 20 5"),
        person("fay@example.com", "Fay", ""),
        person("gus@example.com", "Gus & Söhne", ""),
    ];
    both_hold(&keeper, &root, &expected);
    let sent: Vec<(String, String)> = keeper.writes_since(calls).into_iter().map(|asked| (asked.path, asked.body)).collect();
    assert_eq!(sent.len(), 3, "{sent:?}");
    assert!(sent.contains(&("/v1/customers/cus_0004".to_owned(), "phone=".to_owned())), "an empty value clears: {sent:?}");
    assert!(sent.contains(&("/v1/customers/cus_0003".to_owned(), "phone=%2B90+1".to_owned())), "{sent:?}");
    assert!(keeper.records().iter().all(|record| record["metadata"]["seen"] == "kept"), "what no field names stays as it is");

    let calls = keeper.calls();
    root.night(&[]).is("OK", 0);
    assert!(keeper.writes_since(calls).is_empty(), "nothing is written twice");

    // Both edit the same name: the API goes first. Both edit one phone: the file does.
    keeper.edit(|records| {
        let ann = records.iter_mut().find(|record| record["email"] == "ann@example.com").unwrap();
        (ann["name"], ann["phone"]) = ("Ada".into(), "1".into());
    });
    root.edit_books(|people| people[0] = person("ann@example.com", "Anna", "2"));
    root.night(&[]).is("SYNCED", 0);
    let mut expected = expected.to_vec();
    expected[0] = person("ann@example.com", "Ada", "2");
    both_hold(&keeper, &root, &expected);
    root.night(&[]).is("OK", 0);
    root.keeps_the_secret();
}

#[test]
fn a_create_whose_answer_is_lost_is_sent_again_with_its_key_and_made_once() {
    let keeper = Keeper::of(Stripe::with(&five()));
    let root = Root::new(&keeper, JOB, ["email", "name", "phone"]);
    root.write_books(&five());
    root.night(&["--first-contact"]).is("OK", 0);
    root.edit_books(|people| people.push(person("gus@example.com", "Gus", "")));
    let mut is_first = true;
    keeper.disturb(move |asked, animal| {
        (asked.method == "POST" && std::mem::take(&mut is_first)).then(|| {
            animal.answer(asked);
            cut()
        })
    });
    root.night(&[]).is("SYNCED", 0);
    let mut expected = five();
    expected.push(person("gus@example.com", "Gus", ""));
    both_hold(&keeper, &root, &expected);
    let keys: Vec<String> = keeper.writes_since(0).iter().map(|asked| asked.headers["idempotency-key"].clone()).collect();
    assert!(keys.len() == 2 && keys[0] == keys[1], "{keys:?}");
    root.keeps_the_secret();
}
