//! A table as Airtable has it: cells under `fields`, empty ones without a key, read by a cursor that ends.

use serde_json::{Map, Value as Json, json};

use super::{Animal, Asked, Keeper, Person, Root, Said, both_hold, said, text};

const PAGE: usize = 2;

#[derive(Default)]
pub struct Airtable {
    records: Vec<Json>,
    made: usize,
}

fn refuse(status: u16, kind: &str, message: &str) -> Said {
    said(status, json!({"error": {"type": kind, "message": message}}).to_string())
}

impl Airtable {
    fn with(people: &[Person]) -> Airtable {
        let mut animal = Airtable::default();
        for (email, name, phone) in people {
            let mut record = animal.blank();
            Airtable::put(&mut record, &json!({"Email": email, "Full name": name, "Phone": phone, "Note": "kept"})).unwrap();
            animal.records.push(record);
        }
        animal
    }

    fn blank(&mut self) -> Json {
        self.made += 1;
        json!({"id": format!("rec{:04}", self.made), "createdTime": "2026-01-01T00:00:00.000Z", "fields": {}})
    }

    fn put(record: &mut Json, fields: &Json) -> Result<(), Said> {
        let held = record["fields"].as_object_mut().unwrap();
        for (name, value) in fields.as_object().unwrap_or(&Map::new()) {
            if !["Email", "Full name", "Phone", "Note"].contains(&name.as_str()) {
                return Err(refuse(422, "UNKNOWN_FIELD_NAME", &format!("Unknown field name: \"{name}\"")));
            }
            match value {
                Json::Null => drop(held.remove(name)),
                Json::String(text) if text.is_empty() => drop(held.remove(name)),
                value => drop(held.insert(name.clone(), value.clone())),
            }
        }
        Ok(())
    }
}

impl Animal for Airtable {
    fn answer(&mut self, asked: &Asked) -> Said {
        let Some(rest) = asked.path.strip_prefix("/v0/appZoo/People") else { return refuse(404, "NOT_FOUND", "no such table") };
        let id = rest.trim_start_matches('/');
        let at = self.records.iter().position(|record| record["id"] == *id);
        match (asked.method.as_str(), id, at) {
            ("GET", "", _) if rest.is_empty() => {
                let start: usize = asked.query.get("offset").map_or(0, |offset| offset.trim_start_matches("itr/").parse().unwrap());
                let page: Vec<&Json> = self.records.iter().skip(start).take(PAGE).collect();
                let mut body = json!({ "records": page });
                if start + PAGE < self.records.len() {
                    body["offset"] = format!("itr/{}", start + PAGE).into();
                }
                said(200, body.to_string())
            }
            ("POST", "", _) if rest.is_empty() => {
                let mut record = self.blank();
                if let Err(refusal) = Airtable::put(&mut record, &asked.json()["fields"]) {
                    return refusal;
                }
                self.records.push(record.clone());
                said(200, record.to_string())
            }
            ("GET", _, Some(at)) => said(200, self.records[at].to_string()),
            ("PATCH", _, Some(at)) => match Airtable::put(&mut self.records[at], &asked.json()["fields"]) {
                Ok(()) => said(200, self.records[at].to_string()),
                Err(refusal) => refusal,
            },
            ("DELETE", _, Some(at)) => {
                self.records.remove(at);
                said(200, json!({"id": id, "deleted": true}).to_string())
            }
            _ => refuse(404, "NOT_FOUND", "nothing here"),
        }
    }

    fn records(&mut self) -> &mut Vec<Json> {
        &mut self.records
    }

    fn person(&self, record: &Json) -> Person {
        let fields = &record["fields"];
        (fields["Email"].as_str().unwrap_or_default().to_owned(), text(&fields["Full name"]), text(&fields["Phone"]))
    }
}

#[test]
fn nights_between_airtable_and_a_file() {
    let people = super::six();
    let keeper = Keeper::of(Airtable::with(&people));
    let job = "kind = \"http\"\npreset = \"airtable.table\"\nrole = \"peer\"\nbase_url = \"ADDRESS/v0/appZoo/People\"\nlimits = { rate = \"1000/s\" }\n";
    let root = Root::new(&keeper, job, ["fields.Email", "fields.Full name", "fields.Phone"]);
    root.write_books(&people);
    root.night(&["--first-contact"]).is("OK", 0);
    super::a_day_of_edits(&keeper, &root, |records| {
        records.push(
            json!({"id": "rec9000", "createdTime": "2026-01-02T00:00:00.000Z", "fields": {"Email": "fay@example.com", "Full name": "Fay", "Note": "kept"}}),
        );
        records[0]["fields"]["Full name"] = "Ann Lovelace".into();
        records[1]["fields"].as_object_mut().unwrap().remove("Phone");
        records.retain(|record| record["fields"]["Email"] != "eve@example.com");
    });

    // The cursor ends while the list is read: the night stops, nothing is touched, and the next one begins anew.
    let (before, books, bases) = (keeper.people(), root.books(), root.bases());
    keeper.disturb(|asked, _| asked.query.contains_key("offset").then(|| refuse(422, "LIST_RECORDS_ITERATOR_NOT_AVAILABLE", "The cursor has ended")));
    let night = root.night(&[]);
    assert_eq!((night.verdict.as_str(), night.code), ("FAILED", 3), "{}", night.told);
    assert!(night.told.contains("The cursor has ended"), "{}", night.told);
    assert_eq!((keeper.people(), root.books(), root.bases()), (before, books, bases));

    // Too many calls: whoever asks again before the rest is over is sent away again.
    let mut rest: Option<std::time::Instant> = None;
    let mut is_first = true;
    keeper.disturb(move |asked, _| {
        let busy = || refuse(429, "RATE_LIMIT_REACHED", "Rate limit exceeded. Please wait 30 seconds before making another request.");
        if asked.method == "PATCH" && std::mem::take(&mut is_first) {
            rest = Some(std::time::Instant::now() + std::time::Duration::from_secs(1));
        }
        rest.filter(|until| std::time::Instant::now() < *until).map(|_| busy().with("Retry-After", "1"))
    });
    let calls = keeper.calls();
    root.night(&[]).is("SYNCED", 0);
    keeper.calm();
    both_hold(&keeper, &root, &super::six_later());
    let sent = keeper.writes_since(calls);
    assert!(sent.iter().any(|asked| asked.method == "PATCH" && asked.body == r#"{"fields":{"Phone":null}}"#), "{sent:?}");
    assert_eq!(sent.len(), 5, "one of them twice: {sent:?}");
    super::a_quiet_night_and_one_with_a_conflict(&keeper, &root, |records| {
        let ann = records.iter_mut().find(|record| record["fields"]["Email"] == "ann@example.com").unwrap();
        (ann["fields"]["Full name"], ann["fields"]["Phone"]) = ("Ada".into(), "111".into());
    });
}
