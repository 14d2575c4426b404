use std::fs;
use std::io::Write;
use std::path::PathBuf;

use super::*;
use crate::change::{Action, Address, AddressPart, CellChange, Change, Reason};
use crate::job::{FileSettings, Gates, Kind, May, Role, SystemSpec};
use crate::value::{Decimal, Raw, Storage, Value};

/// A JSON file in a folder of its own.
struct Try {
    folder: tempfile::TempDir,
    settings: JsonSettings,
    columns: Vec<String>,
    known: BTreeMap<String, String>,
}

impl Try {
    fn of(text: &str, columns: &[&str]) -> Try {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.json"), text).unwrap();
        let settings = JsonSettings { file: FileSettings { path: "a.json".into(), ..FileSettings::default() }, ..JsonSettings::default() };
        Try { folder, settings, columns: columns.iter().map(|c| (*c).to_owned()).collect(), known: BTreeMap::new() }
    }

    fn lines(mut self) -> Try {
        self.settings.has_lines = true;
        self
    }

    fn field(mut self, name: &str, field_type: FieldType) -> Try {
        self.settings.columns.push(JsonColumn { name: name.to_owned(), field_type });
        self
    }

    fn null(mut self, null: JsonNull) -> Try {
        self.settings.null = null;
        self
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("a.json")
    }

    fn open(&self) -> JsonFile {
        let spec = SystemSpec {
            name: "api".into(),
            kind: Kind::Json(self.settings.clone()),
            role: Role::Peer,
            may: May::default(),
            only: vec![],
            id: None,
            edited_at: None,
            gates: Gates::default(),
        };
        let opening = Opening { root: self.folder.path(), job: "demo", spec: &spec, columns: self.columns.clone(), known: self.known.clone(), state: None };
        JsonFile::open(&self.settings, &opening).unwrap()
    }

    fn pull(&self) -> Pulled {
        self.open().pull().unwrap()
    }

    fn error(&self) -> String {
        self.open().pull().expect_err("an error").to_string()
    }

    fn rows(&self) -> Vec<String> {
        let pulled = self.pull();
        let cell = |row, name: &String| pulled.raw(name, row).text.unwrap_or_else(|| "∅".to_owned());
        (0..pulled.height() as u32)
            .map(|row| format!("{}: {}", pulled.line(row), self.columns.iter().map(|name| cell(row, name)).collect::<Vec<_>>().join("|")))
            .collect()
    }

    /// The outcomes of changes, made on what was pulled, and the text then.
    fn write(&self, changes: impl FnOnce(&Pulled) -> Vec<Change>) -> (Vec<Outcome>, String) {
        let mut system = self.open();
        let pulled = system.pull().unwrap();
        let changes = changes(&pulled);
        let outcomes = system.write(WriteSet { changes: &changes, failures_max: 5, snapshot: pulled.evidence.sha256.as_deref() }).unwrap();
        let text = fs::read_to_string(self.path()).unwrap();
        let _: Vec<serde_json::Value> = match self.settings.has_lines {
            true => text.lines().filter(|line| !line.trim().is_empty()).filter_map(|line| serde_json::from_str(line).ok()).collect(),
            false => vec![serde_json::from_str(text.trim_start_matches(MARK)).expect(&text)],
        };
        (outcomes, text)
    }
}

fn cell(pulled: &Pulled, row: u32, column: &str, after: Value, text: Option<&str>) -> CellChange {
    CellChange {
        field: None,
        column: column.into(),
        before_raw: Some(pulled.raw(column, row)),
        before: Value::Null,
        after,
        after_raw: text.map_or_else(Raw::null, Raw::text),
        reason: Reason::Standardised,
    }
}

fn text_cell(pulled: &Pulled, row: u32, column: &str, text: &str) -> CellChange {
    cell(pulled, row, column, Value::Text(text.to_owned()), Some(text))
}

fn decimal(text: &str) -> Value {
    Value::Decimal(Decimal::parse(text, 2).unwrap())
}

fn change(action: Action, address: Address, cells: Vec<CellChange>) -> Change {
    Change {
        number: 1,
        system: "api".into(),
        record: 1,
        key: "k".into(),
        action,
        address,
        cells,
        reason: Reason::Standardised,
        attempts: 0,
        row_id: None,
        row_key_before: None,
        row_key_after: "k".into(),
        edited_at: None,
    }
}

fn at(pulled: &Pulled, row: u32) -> Address {
    vec![AddressPart { column: "id".into(), raw: pulled.raw("id", row) }]
}

fn set(pulled: &Pulled, row: u32, cells: Vec<CellChange>) -> Change {
    change(Action::Update, at(pulled, row), cells)
}

fn gone(pulled: &Pulled, row: u32) -> Change {
    change(Action::Delete, at(pulled, row), vec![])
}

fn new(cells: &[(&str, Value, &str)]) -> Change {
    let cell = |(column, after, text): &(&str, Value, &str)| CellChange {
        field: None,
        column: (*column).into(),
        before_raw: None,
        before: Value::Null,
        after: after.clone(),
        after_raw: Raw::text(*text),
        reason: Reason::Standardised,
    };
    change(Action::Create, vec![], cells.iter().map(cell).collect())
}

fn done(outcomes: &[Outcome]) {
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done { .. })), "{outcomes:?}");
}

const NESTED: &str = r#"[
  {
    "id": 7,
    "properties": { "email": "ann@example.com", "city": null },
    "phones": [ { "number": "+49 1" }, { "number": "+49 2" } ],
    "tags": ["a", "b"],
    "amount": 1234567890123456789.10,
    "active": true
  },
  {
    "id": 8,
    "properties": { "city": "" },
    "phones": [],
    "amount": 1.5E+2,
    "active": false
  }
]
"#;

const PATHS: [&str; 7] = ["id", "properties.email", "properties.city", "phones[1].number", "tags", "amount", "active"];

#[test]
fn cells_are_read_by_their_paths_and_to_the_last_digit() {
    let file = Try::of(NESTED, &PATHS).field("tags", FieldType::List);
    assert_eq!(file.rows(), [r#"2: 7|ann@example.com|∅|+49 2|["a","b"]|1234567890123456789.10|true"#, "10: 8|∅||∅|∅|1.5E+2|false",]);
    let pulled = file.pull();
    assert_eq!(pulled.raw("id", 0).storage, Storage::Integer);
    assert_eq!(pulled.raw("amount", 0).storage, Storage::Real);
    assert_eq!(pulled.raw("active", 0).storage, Storage::Text);
    assert_eq!(file.open().columns().unwrap(), ["id", "properties.email", "properties.city", "phones", "tags", "amount", "active", "phones[1].number"]);
}

#[test]
fn a_mark_escapes_and_quoted_names_are_read() {
    let text = "\u{feff}[{\"id\":\"\\u00fc\\ud83e\\udd80\",\"first.name\":\"O\\\"Neil\\n\",\"\\u0062\":\"c\"}]";
    let file = Try::of(text, &["id", r#"["first.name"]"#, "$.b"]);
    assert_eq!(file.rows(), ["1: ü🦀|O\"Neil\n|c"]);
    let (outcomes, written) = file.write(|pulled| vec![set(pulled, 0, vec![text_cell(pulled, 0, "$.b", "ä")])]);
    done(&outcomes);
    // The file spells everything in ASCII, mark apart.
    assert_eq!(written, text.replace("\"c\"", "\"\\u00e4\""));
}

#[test]
fn a_record_that_cannot_be_read_is_set_aside_with_its_line() {
    let text =
        "[\n{\"id\":1},\n{\"id\":2,\"id\":3},\n[4],\n{\"id\":5,\"a\":{\"b\":1,\"b\":2}},\nnull,\n{\"id\":{\"x\":1}},\n{\"id\":[1]},\n{\"id\":\"\\ud83e\"}]";
    let pulled = Try::of(text, &["id"]).pull();
    let refused: Vec<String> = pulled.refused.iter().map(|refused| format!("{}: {}", refused.line, refused.reason)).collect();
    assert_eq!(
        refused,
        ["3: has the key `id` twice", "4: is an array, and a record is an object", "5: has the key `a.b` twice", "6: is null, and a record is an object"]
    );
    assert_eq!((pulled.height(), pulled.evidence.rows_read), (4, 8));
    let faults: Vec<(u32, &str)> = pulled.faults["id"].iter().map(|(row, why)| (*row, why.split(':').next().unwrap())).collect();
    assert_eq!(faults, [(1, "is an object, not a value"), (2, "is an array"), (3, "has half of a character, as `\\ud83e` without another one")]);
}

#[test]
fn lines_are_records_by_themselves() {
    let text = "{\"id\":1}\r\n\r\n{\"id\":2,}\r\n{\"id\":3} x\r\n 4\r\n{\"id\"\r\n{\"id\":5}";
    let file = Try::of(text, &["id"]).lines();
    assert_eq!(file.rows(), ["1: 1", "7: 5"]);
    let refused: Vec<String> = file.pull().refused.iter().map(|refused| format!("{}: {}", refused.line, refused.reason)).collect();
    assert_eq!(
        refused,
        [
            "3: is no JSON: at column 9 the name of a key in quotes is missing here",
            "4: has something behind its end",
            "5: is a number, and a record is an object",
            "6: ends too early"
        ]
    );
    let (outcomes, written) = file.write(|pulled| {
        vec![gone(pulled, 0), set(pulled, 1, vec![cell(pulled, 1, "id", Value::Integer(6), Some("6"))]), new(&[("id", Value::Integer(7), "7")])]
    });
    done(&outcomes);
    assert_eq!(written, "\r\n{\"id\":2,}\r\n{\"id\":3} x\r\n 4\r\n{\"id\"\r\n{\"id\":6}\r\n{\"id\":7}");
    assert_eq!(Try::of("", &["id"]).lines().pull().height(), 0);
    let (outcomes, written) =
        Try::of("", &["id", "name"]).lines().write(|_| vec![new(&[("id", Value::Integer(7), "7")]), new(&[("name", Value::Text("a".into()), "a")])]);
    done(&outcomes);
    assert_eq!(written, "{\"id\": \"7\"}\n{\"name\": \"a\"}\n");
}

#[test]
fn what_makes_the_whole_uncertain_stops() {
    for (text, told) in [
        ("", "the file is empty"),
        ("  \n", "the file is empty"),
        ("[\n {\"id\": 1},\n {\"id\": 2", "a.json:3:10: the file looks cut off"),
        ("[\n {\"id\": 1}\n {\"id\": 2}\n]", "a.json:3:2: the file is no JSON: a comma or `]` is missing here"),
        ("[{\"id\": NaN}]", "a.json:1:9: the file is no JSON: this is no value of JSON"),
        ("[{\"id\": 1}]\n]", "a.json:2:1: something stands behind the end of the value"),
        ("{\"id\": 1}\n{\"id\": 2}\n", "`lines = true`"),
        ("{\"id\": 1}", "`$` is an object, not the array of records"),
        ("{\"count\": 1, \"items\": [{\"id\": 1}]}", "`records = \"$.items\"`"),
        ("7", "`$` is a number, not the array of records"),
        ("[{\"name\": 1}]", "column `id` is not in system `api`"),
    ] {
        let error = Try::of(text, &["id"]).error();
        assert!(error.contains(told), "{text}: {error}");
        assert!(error.contains("nothing was read or written"), "{error}");
    }
    let wrapped = |text: &str| {
        let mut file = Try::of(text, &["id"]);
        file.settings.records = vec!["data".into(), "items".into()];
        file
    };
    assert_eq!(wrapped("{\"data\": {\"items\": [{\"id\": 1}]}}").rows(), ["1: 1"]);
    assert!(wrapped("{\"data\": {\"Items\": []}}").error().contains("there is no `$.data.items` in the file: `items` is missing"));
    assert!(wrapped("{\"data\": {\"items\": [], \"items\": []}}").error().contains("the key `items` stands twice here"));
    assert!(wrapped("{\"data\": []}").error().contains("`$.data.items` is an array"));
    let mut latin = Try::of("", &["id"]);
    fs::write(latin.path(), b"[\n{\"id\": \"M\xfcller\"}]").unwrap();
    assert!(latin.error().contains("a.json:2: the file is not in the encoding `UTF-8`"));
    latin.settings.has_lines = true;
    assert!(Try::of("[\n1\n]", &["id"]).lines().error().contains("no line of the file is a record by itself"));
    assert!(Try::of("{\"id\": 1}\n{\"id\":", &["id"]).lines().error().contains("the file looks cut off"));
}

#[test]
fn values_below_a_hundred_thousand_brackets_are_left_alone() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let text = format!("[{{\"id\": 1, \"x\": {deep}, \"y\": {objects}}}]");
    let file = Try::of(&text, &["id"]);
    let (outcomes, written) = {
        let mut system = file.open();
        let pulled = system.pull().unwrap();
        let changes = [set(&pulled, 0, vec![cell(&pulled, 0, "id", Value::Integer(2), Some("2"))])];
        let outcomes = system.write(WriteSet { changes: &changes, failures_max: 5, snapshot: None }).unwrap();
        (outcomes, fs::read_to_string(file.path()).unwrap())
    };
    done(&outcomes);
    assert_eq!(written, text.replacen("\"id\": 1", "\"id\": 2", 1));
}

#[test]
fn only_what_changes_is_written_and_keeps_its_sort() {
    let file = Try::of(NESTED, &PATHS).field("tags", FieldType::List).field("amount", FieldType::Decimal(2)).field("active", FieldType::Boolean);
    let (outcomes, written) = file.write(|pulled| {
        vec![
            set(
                pulled,
                0,
                vec![
                    text_cell(pulled, 0, "properties.email", "ann\"x@example.com"),
                    text_cell(pulled, 0, "phones[1].number", "007"),
                    cell(pulled, 0, "tags", Value::List(vec!["a".into(), "ü".into()]), Some("a;ü")),
                    cell(pulled, 0, "amount", decimal("12.30"), Some("12,30")),
                    cell(pulled, 0, "active", Value::Boolean(false), Some("no")),
                ],
            ),
            set(
                pulled,
                1,
                vec![
                    text_cell(pulled, 1, "properties.email", "bob@example.com"),
                    cell(pulled, 1, "tags", Value::List(vec!["c".into()]), Some("c")),
                    cell(pulled, 1, "amount", Value::Null, None),
                ],
            ),
        ]
    });
    done(&outcomes);
    let expected = NESTED
        .replace("\"ann@example.com\"", r#""ann\"x@example.com""#)
        .replace("\"+49 2\"", "\"007\"")
        .replace(r#"["a", "b"]"#, r#"["a", "ü"]"#)
        .replace("1234567890123456789.10", "12.30")
        .replace("\"active\": true", "\"active\": false")
        .replace("{ \"city\": \"\" }", "{ \"city\": \"\", \"email\": \"bob@example.com\" }")
        .replace("1.5E+2", "null")
        .replace("\"active\": false\n  }\n]", "\"active\": false,\n    \"tags\": [\"c\"]\n  }\n]");
    assert_eq!(written, expected);
}

#[test]
fn a_value_is_emptied_as_the_job_says() {
    let text = r#"[{"id": 1, "name": "Ann", "a": {"b": "x"}, "l": ["q", "r"]}, {"id": 2, "name": null}]"#;
    let clear = |null: JsonNull| {
        let file = Try::of(text, &["id", "name", "a.b", "l[0]"]).null(null);
        let (outcomes, written) = file.write(|pulled| {
            let nothing = |row, column| cell(pulled, row, column, Value::Null, None);
            vec![set(pulled, 0, vec![nothing(0, "name"), nothing(0, "a.b"), nothing(0, "l[0]")]), set(pulled, 1, vec![nothing(1, "name"), nothing(1, "a.b")])]
        });
        done(&outcomes);
        written
    };
    assert_eq!(clear(JsonNull::Null), r#"[{"id": 1, "name": null, "a": {"b": null}, "l": [null, "r"]}, {"id": 2, "name": null}]"#);
    assert_eq!(clear(JsonNull::Omit), r#"[{"id": 1, "a": {}, "l": [null, "r"]}, {"id": 2, "name": null}]"#);
    assert_eq!(clear(JsonNull::Empty), r#"[{"id": 1, "name": "", "a": {"b": ""}, "l": ["", "r"]}, {"id": 2, "name": null}]"#);
}

#[test]
fn new_records_are_spelled_as_the_last_one() {
    let person = |id: i64, email: &'static str| {
        vec![("properties.email", Value::Text(email.into()), email), ("id", Value::Integer(id), if id == 9 { "9" } else { "10" })]
    };
    let columns = &["id", "properties.email", "name"];
    for (text, expected) in [
        ("[]", "[\n  {\"properties\": {\"email\": \"x\"}, \"id\": 9},\n  {\"properties\": {\"email\": \"y\"}, \"id\": 10}\n]"),
        (
            "{\n    \"items\": [ ],\n    \"n\": 1\n}",
            "{\n    \"items\": [\n      {\"properties\": {\"email\": \"x\"}, \"id\": 9},\n      {\"properties\": {\"email\": \"y\"}, \"id\": 10}\n    ],\n    \"n\": 1\n}",
        ),
        (
            "[{\"id\":1,\"properties\":{\"email\":\"a\"},\"name\":null}]",
            "[{\"id\":1,\"properties\":{\"email\":\"a\"},\"name\":null}, {\"id\":9,\"properties\":{\"email\":\"x\"},\"name\":null}, {\"id\":10,\"properties\":{\"email\":\"y\"},\"name\":null}]",
        ),
        (
            "[\n\t{\n\t\t\"id\": 1,\n\t\t\"properties\": {\n\t\t\t\"email\": \"a\"\n\t\t}\n\t}\n]",
            "[\n\t{\n\t\t\"id\": 1,\n\t\t\"properties\": {\n\t\t\t\"email\": \"a\"\n\t\t}\n\t},\n\t{\n\t\t\"id\": 9,\n\t\t\"properties\": {\n\t\t\t\"email\": \"x\"\n\t\t}\n\t},\n\t{\n\t\t\"id\": 10,\n\t\t\"properties\": {\n\t\t\t\"email\": \"y\"\n\t\t}\n\t}\n]",
        ),
    ] {
        let columns = if text.contains("name") { &columns[..] } else { &columns[..2] };
        let mut file = Try::of(text, columns).field("id", FieldType::Integer).field("name", FieldType::Text);
        if text.starts_with('{') {
            file.settings.records = vec!["items".into()];
        }
        let (outcomes, written) = file.write(|_| vec![new(&person(9, "x")), new(&person(10, "y"))]);
        done(&outcomes);
        assert_eq!(written, expected);
    }
}

#[test]
fn records_are_taken_out_and_the_rest_stays() {
    let text = "[\n  {\"id\": 1},\n  {\"id\": 2},   \n  7,\n  {\"id\": 3}\n]\n";
    for (rows, expected) in [
        (vec![0], "[\n  {\"id\": 2},   \n  7,\n  {\"id\": 3}\n]\n"),
        (vec![2], "[\n  {\"id\": 1},\n  {\"id\": 2},   \n  7\n]\n"),
        (vec![0, 1, 2], "[\n  7\n]\n"),
    ] {
        let (outcomes, written) = Try::of(text, &["id"]).write(|pulled| rows.iter().map(|row| gone(pulled, *row)).collect());
        done(&outcomes);
        assert_eq!(written, expected);
    }
    let (outcomes, written) = Try::of("[ {\"id\": 1} ]", &["id"]).write(|pulled| vec![gone(pulled, 0)]);
    done(&outcomes);
    assert_eq!(written, "[]");
    let (outcomes, written) = Try::of("[ {\"id\": 1} ]", &["id"]).write(|pulled| vec![gone(pulled, 0), new(&[("id", Value::Integer(2), "2")])]);
    done(&outcomes);
    assert_eq!(written, "[ {\"id\": 2} ]");
}

#[test]
fn what_has_no_place_is_rejected_and_the_rest_is_written() {
    let text = r#"[{"id": 1, "a": "text", "p": []}, {"id": 2, "a": {"b": 1}, "p": [{"n": 1}]}]"#;
    let file = Try::of(text, &["id", "a.b", "p[0].n", "p[2].n", "a"]);
    let file = Try { known: BTreeMap::from([(SPARSE.to_owned(), "[\"p[2].n\"]".to_owned())]), ..file };
    let (outcomes, written) = file.write(|pulled| {
        let one = |column| set(pulled, 0, vec![text_cell(pulled, 0, column, "x")]);
        vec![one("a.b"), one("p[2].n"), one("p[0].n"), set(pulled, 1, vec![text_cell(pulled, 1, "a", "y")])]
    });
    let words: Vec<&str> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Rejected { reason } => reason.as_str(),
            Outcome::Done { .. } => "done",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        words,
        [
            "`b` is a text, so nothing can be written below it",
            "an array has only 0 elements, so its element 2 cannot be written",
            "done",
            "`a` is an object, and a value cannot take its place"
        ]
    );
    assert_eq!(written, text.replace("\"p\": []", "\"p\": [{\"n\": \"x\"}]"));
}

#[test]
fn changes_of_one_record_build_on_each_other() {
    let text = r#"[{"id":1,"a":"x"},{"id":1,"a":"x"},{"id":2,"a":"y"},{"a":"z","id":2}]"#;
    let (outcomes, written) = Try::of(text, &["id", "a"]).write(|pulled| {
        let mut second = set(pulled, 0, vec![text_cell(pulled, 0, "a", "z")]);
        second.cells[0].before_raw = Some(Raw::text("w"));
        vec![set(pulled, 0, vec![text_cell(pulled, 0, "a", "w")]), second.clone(), second, set(pulled, 2, vec![text_cell(pulled, 2, "a", "q")])]
    });
    assert!(matches!(&outcomes[..2], [Outcome::Done { .. }, Outcome::Done { .. }]), "{outcomes:?}");
    assert!(matches!(&outcomes[2], Outcome::Stale { .. }));
    assert!(matches!(&outcomes[3], Outcome::Rejected { reason } if reason.contains("2 records")));
    // Repeats are one record that stands there several times.
    assert_eq!(written, text.replace("\"x\"", "\"z\""));
}

#[test]
fn a_record_is_the_same_in_whatever_way_it_is_written() {
    let hash = |text: &str| Try::of(text, &["id"]).pull().hash(0);
    let plain = hash(r#"[{"id":1,"a":{"b":"x y"},"c":[1,2]}]"#);
    assert_eq!(hash("[ {\n \"c\" : [ 1 , 2 ], \"a\" : { \"b\" : \"x y\" }, \"id\" : 1 } ]"), plain);
    for other in [
        r#"[{"id":1,"a":{"b":"xy"},"c":[1,2]}]"#,
        r#"[{"id":1,"a":{"b":"x y"},"c":[2,1]}]"#,
        r#"[{"id":"1","a":{"b":"x y"},"c":[1,2]}]"#,
        r#"[{"id":1,"a":{"b":"x y"},"d":[1,2]}]"#,
    ] {
        assert_ne!(hash(other), plain, "{other}");
    }
}

#[test]
fn a_column_that_some_records_lacked_may_be_in_none() {
    let mut file = Try::of(r#"[{"id": 1, "name": "a", "fax": 1}, {"id": 2, "name": "b"}]"#, &["id", "name", "fax"]);
    file.known = file.pull().evidence.found;
    fs::write(file.path(), r#"[{"id": 1, "name": "a", "mobile": 5}]"#).unwrap();
    let pulled = file.pull();
    assert_eq!(pulled.evidence.notes, ["columns new in the file, not used by the job: `mobile`"]);
    file.known = pulled.evidence.found;
    assert!(file.pull().evidence.notes.is_empty());
    fs::write(file.path(), r#"[{"id": 1, "fullname": "a"}]"#).unwrap();
    assert!(file.error().contains("column `name` is not in system `api`"));
    file.settings.null = JsonNull::Omit;
    assert_eq!(file.rows(), ["1: 1|∅|∅"]);
    fs::write(file.path(), "[]").unwrap();
    assert_eq!(file.pull().height(), 0);
}

#[test]
fn records_on_one_line_are_counted() {
    let pulled = Try::of("[{\"id\":1},2,{\"id\":3}]", &["id"]).pull();
    assert_eq!((pulled.line(0), pulled.refused[0].line, pulled.line(1)), (1, 2, 3));
    assert_eq!(pulled.evidence.notes.len(), 1);
}

#[test]
fn thousands_of_records_are_read_in_stretches() {
    let records: Vec<String> =
        (0..20_000).map(|id| format!("{{\"id\": {id}, \"name\": {}}}", if id == 15_000 { "[]".into() } else { format!("\"n{id}\"") })).collect();
    let file = Try::of(&format!("[\n{}\n]", records.join(",\n")), &["name", "id"]);
    let pulled = file.pull();
    assert_eq!(pulled.height(), 20_000);
    assert_eq!(pulled.raw("name", 19_999), Raw::text("n19999"));
    assert_eq!(pulled.line(19_999), 20_001);
    assert_eq!(pulled.faults["name"][0].0, 15_000);
}

#[test]
fn a_packed_file_is_read_and_never_written() {
    let mut file = Try::of("", &["id"]);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(b"[{\"id\": 1}]").unwrap();
    fs::write(file.folder.path().join("b.json.gz"), packed.finish().unwrap()).unwrap();
    file.settings.file.path = "b.json.gz".into();
    assert_eq!(file.rows(), ["1: 1"]);
    let mut system = file.open();
    assert!(!system.describe().writable);
    assert!(system.prepare().expect_err("an error").to_string().contains("a packed file is only read"));
}

#[test]
fn a_file_is_read_without_a_job() {
    let file = Try::of(NESTED, &[]);
    let (names, pulled) = columns_of_file(&file.path()).unwrap();
    assert_eq!(names, ["id", "properties.email", "properties.city", "phones", "tags", "amount", "active"]);
    assert_eq!(pulled.raw("tags", 0), Raw::text(r#"["a","b"]"#));
    assert_eq!(pulled.faults["phones"].len(), 1, "an array of objects is no value");
    fs::write(file.path(), "{\"meta\": 1, \"rows\": [{\"a\": 1}]}").unwrap();
    assert_eq!(columns_of_file(&file.path()).unwrap().0, ["a"]);
}
