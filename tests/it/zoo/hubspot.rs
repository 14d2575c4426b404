//! Contacts as HubSpot has them: under `properties`, only those that are asked for, read by cursor; the empty text clears.

use serde_json::{Value as Json, json};

use super::{Animal, Asked, Keeper, Person, Root, Said, both_hold, said, text};

const PAGE: usize = 2;
const KNOWN: [&str; 5] = ["email", "firstname", "lastname", "phone", "company"];

#[derive(Default)]
pub struct HubSpot {
    records: Vec<Json>,
    made: usize,
}

fn refuse(status: u16, category: &str, message: &str) -> Said {
    said(status, json!({"status": "error", "message": message, "category": category, "correlationId": "aeb5f871"}).to_string())
}

impl HubSpot {
    fn with(people: &[Person]) -> HubSpot {
        let mut animal = HubSpot::default();
        for (email, name, phone) in people {
            let record = animal.blank();
            animal.records.push(record);
            let properties = &mut animal.records.last_mut().unwrap()["properties"];
            (properties["email"], properties["firstname"], properties["phone"]) = (json!(email), json!(name), json!(phone));
        }
        animal
    }

    fn blank(&mut self) -> Json {
        self.made += 1;
        let properties = json!({"email": null, "firstname": null, "lastname": null, "phone": null, "company": "kept"});
        json!({"id": (500 + self.made).to_string(), "properties": properties, "createdAt": "2026-01-01T00:00:00.000Z", "archived": false})
    }

    /// A record with the properties that are asked for.
    fn shown(record: &Json, asked: &Asked) -> Json {
        let mut shown = record.clone();
        let wanted = asked.query.get("properties").map_or("email,firstname,lastname", String::as_str);
        shown["properties"].as_object_mut().unwrap().retain(|name, _| wanted.split(',').any(|wanted| wanted == name));
        shown
    }

    fn put(&self, record: &mut Json, asked: &Asked) -> Result<(), Said> {
        for (name, value) in asked.json()["properties"].as_object().into_iter().flatten() {
            let Some(value) = value.as_str() else { return Err(refuse(400, "VALIDATION_ERROR", "Invalid input JSON: a property is a text")) };
            if !KNOWN.contains(&name.as_str()) {
                return Err(refuse(400, "VALIDATION_ERROR", &format!("Property values were not valid: \"{name}\" does not exist")));
            }
            let is_taken = |other: &Json| other["id"] != record["id"] && other["properties"]["email"] == *value;
            if name == "email" && self.records.iter().any(is_taken) {
                return Err(refuse(409, "CONFLICT", "Contact already exists"));
            }
            record["properties"][name] = if value.is_empty() { Json::Null } else { json!(value) };
        }
        Ok(())
    }
}

impl Animal for HubSpot {
    fn answer(&mut self, asked: &Asked) -> Said {
        let Some(rest) = asked.path.strip_prefix("/crm/v3/objects/contacts") else { return refuse(404, "OBJECT_NOT_FOUND", "no such object") };
        let id = rest.trim_start_matches('/');
        let at = self.records.iter().position(|record| record["id"] == *id);
        match (asked.method.as_str(), id, at) {
            ("GET", "", _) => {
                let start = asked.query.get("after").map_or(0, |after| after.parse().unwrap());
                let results: Vec<Json> = self.records.iter().skip(start).take(PAGE).map(|record| HubSpot::shown(record, asked)).collect();
                let next = start + results.len();
                let mut body = json!({ "results": results });
                if next < self.records.len() {
                    body["paging"] = json!({"next": {"after": next.to_string(), "link": "https://api.hubapi.com/elsewhere"}});
                }
                said(200, body.to_string())
            }
            ("POST", "", _) => {
                let mut record = self.blank();
                if let Err(refusal) = self.put(&mut record, asked) {
                    return refusal;
                }
                self.records.push(record.clone());
                said(201, record.to_string())
            }
            (_, _, None) => refuse(404, "OBJECT_NOT_FOUND", "resource not found"),
            ("GET", _, Some(at)) => said(200, HubSpot::shown(&self.records[at], asked).to_string()),
            ("PATCH", _, Some(at)) => {
                let mut record = self.records[at].clone();
                if let Err(refusal) = self.put(&mut record, asked) {
                    return refusal;
                }
                self.records[at] = record.clone();
                said(200, record.to_string())
            }
            ("DELETE", _, Some(at)) => {
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
        let properties = &record["properties"];
        (properties["email"].as_str().unwrap_or_default().to_owned(), text(&properties["firstname"]), text(&properties["phone"]))
    }
}

#[test]
fn nights_between_hubspot_and_a_file() {
    let people = super::six();
    let keeper = Keeper::of(HubSpot::with(&people));
    let job = "kind = \"http\"\npreset = \"hubspot.contacts\"\nrole = \"peer\"\nbase_url = \"ADDRESS\"\nlimits = { rate = \"1000/s\" }\n";
    let root = Root::new(&keeper, job, ["properties.email", "properties.firstname", "properties.phone"]);
    root.write_books(&people);
    root.night(&["--first-contact"]).is("OK", 0);
    let enter = |records: &mut Vec<Json>| {
        let mut fay = records[0].clone();
        fay["id"] = "900".into();
        (fay["properties"]["email"], fay["properties"]["firstname"], fay["properties"]["phone"]) = ("fay@example.com".into(), "Fay".into(), Json::Null);
        records.push(fay);
        records[0]["properties"]["firstname"] = "Ann Lovelace".into();
        records[1]["properties"]["phone"] = Json::Null;
        // Somebody is gone.
        records.retain(|record| record["properties"]["email"] != "eve@example.com");
    };
    super::a_day_of_edits(&keeper, &root, enter);
    let calls = keeper.calls();
    root.night(&[]).is("SYNCED", 0);
    both_hold(&keeper, &root, &super::six_later());
    let sent = keeper.writes_since(calls);
    assert!(sent.iter().any(|asked| asked.method == "PATCH" && asked.body == r#"{"properties":{"phone":""}}"#), "the empty text clears: {sent:?}");
    assert!(sent.iter().any(|asked| asked.method == "POST" && asked.body == r#"{"properties":{"email":"gus@example.com","firstname":"Gus"}}"#), "{sent:?}");
    assert_eq!(sent.len(), 4, "{sent:?}");
    assert!(keeper.records().iter().all(|record| record["properties"]["company"] == "kept"));
    super::a_quiet_night_and_one_with_a_conflict(&keeper, &root, |records| {
        let ann = records.iter_mut().find(|record| record["properties"]["email"] == "ann@example.com").unwrap();
        (ann["properties"]["firstname"], ann["properties"]["phone"]) = ("Ada".into(), "111".into());
    });
}
