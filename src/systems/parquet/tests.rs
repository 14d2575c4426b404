use std::fs;
use std::path::PathBuf;

use super::*;
use crate::change::{Action, AddressPart, CellChange, Change, Reason};
use crate::job::{FileSettings, Gates, Kind as JobKind, May, Role, SystemSpec};
use crate::value::{Raw, Value, days_of, micros_of};

/// A copy of a fixture in a folder of its own.
struct Try {
    folder: tempfile::TempDir,
    columns: Vec<String>,
}

impl Try {
    fn of(fixture: &str, columns: &[&str]) -> Try {
        let folder = tempfile::tempdir().unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/systems").join(fixture);
        fs::copy(from, folder.path().join("a.parquet")).unwrap();
        Try { folder, columns: columns.iter().map(|column| (*column).to_owned()).collect() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("a.parquet")
    }

    fn open(&self) -> ParquetFile {
        let settings = ParquetSettings { file: FileSettings { path: "a.parquet".into(), ..FileSettings::default() } };
        let spec = SystemSpec {
            name: "lake".into(),
            kind: JobKind::Parquet(settings.clone()),
            role: Role::Peer,
            may: May::default(),
            only: vec![],
            id: None,
            edited_at: None,
            gates: Gates::default(),
        };
        let opening = Opening { root: self.folder.path(), job: "demo", spec: &spec, columns: self.columns.clone(), known: BTreeMap::new(), state: None };
        ParquetFile::open(&settings, &opening).unwrap()
    }

    /// The cells of a column, with `∅` for null.
    fn cells(&self, column: &str) -> Vec<String> {
        let pulled = self.open().pull().unwrap();
        (0..pulled.height() as u32).map(|row| pulled.raw(column, row).text.unwrap_or_else(|| "∅".to_owned())).collect()
    }

    fn write(&self, changes: impl FnOnce(&Pulled) -> Vec<Change>) -> Vec<String> {
        let mut system = self.open();
        let pulled = system.pull().unwrap();
        let changes = changes(&pulled);
        let outcomes = system.write(WriteSet { changes: &changes, failures_max: 50, snapshot: pulled.evidence.sha256.as_deref() }).unwrap();
        let word = |outcome: Outcome| match outcome {
            Outcome::Done { .. } => "done".to_owned(),
            Outcome::Rejected { reason } | Outcome::Stale { reason } | Outcome::Unknown { reason } | Outcome::Skipped { reason } => reason,
        };
        outcomes.into_iter().map(word).collect()
    }
}

fn change(action: Action, address: Vec<AddressPart>, cells: Vec<CellChange>) -> Change {
    Change {
        number: 1,
        system: "lake".into(),
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

fn cell(column: &str, before: Option<Raw>, after: Value, text: Option<&str>) -> CellChange {
    let after_raw = text.map_or_else(Raw::null, Raw::text);
    CellChange { field: None, column: column.into(), before_raw: before, before: Value::Null, after, after_raw, reason: Reason::Standardised }
}

fn at(pulled: &Pulled, row: u32) -> Vec<AddressPart> {
    vec![AddressPart { column: "id".into(), raw: pulled.raw("id", row) }]
}

fn set(pulled: &Pulled, row: u32, column: &str, after: Value, text: Option<&str>) -> Change {
    change(Action::Update, at(pulled, row), vec![cell(column, Some(pulled.raw(column, row)), after, text)])
}

const ALL: [&str; 17] =
    ["id", "text", "small", "short", "count", "byte", "large", "amount", "wide", "rate", "single", "active", "day", "local", "moment", "berlin", "sort"];

#[test]
fn every_type_is_read_exactly() {
    let file = Try::of("parquet_types.parquet", &ALL);
    for (column, expected) in [
        ("id", ["1", "2", "3"]),
        ("text", ["007", "Müller\n", "∅"]),
        ("small", ["-128", "127", "∅"]),
        ("short", ["-32768", "32767", "∅"]),
        ("count", ["0", "65535", "∅"]),
        ("byte", ["0", "255", "∅"]),
        ("large", ["0", "18446744073709551615", "∅"]),
        ("amount", ["12.30", "-0.05", "∅"]),
        ("wide", ["12345678901234567890.1234", "0.0001", "∅"]),
        ("rate", ["0.1", "NaN", "∅"]),
        ("single", ["0.1", "16777216", "∅"]),
        ("active", ["true", "false", "∅"]),
        ("day", ["2024-02-29", "1969-12-31", "∅"]),
        ("local", ["2026-03-01T12:00:00.123", "1969-12-31T23:59:00", "∅"]),
        ("moment", ["2026-03-01T12:00:00.123456Z", "2026-07-01T00:00:00Z", "∅"]),
        ("berlin", ["2026-03-01T11:00:00Z", "2026-06-30T22:00:00Z", "∅"]),
        ("sort", ["a", "b", "∅"]),
    ] {
        assert_eq!(file.cells(column), expected, "{column}");
    }
    let pulled = file.open().pull().unwrap();
    assert_eq!(pulled.faults, BTreeMap::from([("rate".to_owned(), vec![(1, "is no number".to_owned())])]));
    assert_eq!((pulled.evidence.rows_announced, pulled.line(2)), (Some(3), 3));
    let (names, whole) = columns_of_file(&file.path()).unwrap();
    assert_eq!(names[..17], ALL);
    assert_eq!(names[17..], ["bytes"]);
    assert_eq!(whole.raw("bytes", 0), Raw { text: Some("00ff".into()), storage: Storage::Blob });
    assert_eq!(whole.evidence.notes, ["columns left out, because no field can hold what they hold: `time`"]);
}

#[test]
fn what_no_field_can_hold_is_refused_by_name() {
    for (fixture, column, told) in [
        ("parquet_types.parquet", "time", "column `time` of system `lake` holds times of day, which no field can hold"),
        ("parquet_nested.parquet", "tags", "column `tags` of system `lake` holds lists or structs, which no field can hold"),
        ("parquet_nested.parquet", "nmae", "column `nmae` is not in system `lake`"),
    ] {
        let file = Try::of(fixture, &["id", column]);
        assert!(file.open().pull().unwrap_err().to_string().contains(told));
        assert!(file.open().columns().unwrap_err().to_string().contains(told));
    }
}

#[test]
fn values_that_fit_are_written_and_all_else_stays() {
    let file = Try::of("parquet_types.parquet", &ALL);
    let before = Frame::decode(&fs::read(file.path()).unwrap()).unwrap();
    let day = days_of("2026-03-01".parse().unwrap());
    let moment = micros_of("2026-03-01T08:00:00.5".parse().unwrap());
    let decimal = |text: &str| Value::Decimal(crate::value::Decimal::parse(text, 2).unwrap());
    let text = |text: &str| Value::Text(text.to_owned());
    let new = [
        ("text", text("=x"), Some("=x"), "=x"),
        ("small", Value::Integer(-5), Some("-5"), "-5"),
        ("count", Value::Integer(65535), Some("65535"), "65535"),
        ("large", text("18446744073709551614"), Some("18446744073709551614"), "18446744073709551614"),
        ("amount", decimal("-99999999.99"), Some("-99999999,99"), "-99999999.99"),
        ("wide", decimal("1.50"), Some("1.50"), "1.5000"),
        ("rate", decimal("12.30"), Some("12.30"), "12.3"),
        ("single", decimal("0.25"), Some("0.25"), "0.25"),
        ("active", Value::Boolean(true), Some("yes"), "true"),
        ("day", Value::Date(day), Some("01.03.2026"), "2026-03-01"),
        ("local", Value::Datetime(moment), Some("x"), "2026-03-01T08:00:00.5"),
        ("moment", Value::Instant(moment), Some("x"), "2026-03-01T08:00:00.5Z"),
        ("berlin", Value::Instant(moment), Some("x"), "2026-03-01T08:00:00.5Z"),
        ("sort", text("new"), Some("new"), "new"),
    ];
    let outcomes = file.write(|pulled| {
        let mut changes: Vec<Change> = new.iter().map(|(column, after, text, _)| set(pulled, 2, column, after.clone(), *text)).collect();
        changes.push(set(pulled, 0, "amount", Value::Null, None));
        changes
    });
    assert!(outcomes.iter().all(|outcome| outcome == "done"), "{outcomes:?}");
    for (column, _, _, read) in &new {
        assert_eq!(file.cells(column)[2], *read, "{column}");
    }
    assert_eq!(file.cells("amount")[..2], ["∅", "-0.05"]);
    let after = Frame::decode(&fs::read(file.path()).unwrap()).unwrap();
    assert_eq!(before.schema_text(), after.schema_text(), "the schema, compression and notes stay");
    for (old, new) in before.columns.iter().zip(&after.columns).filter(|(old, _)| matches!(old.name.as_str(), "id" | "short" | "byte" | "bytes" | "time")) {
        let cells = |column: &Column| (0..3).map(|row| column.cells.get(row)).collect::<Vec<_>>();
        assert_eq!(cells(old), cells(new), "{}", old.name);
    }
}

#[test]
fn values_that_do_not_fit_reject_one_change_each() {
    let file = Try::of("parquet_types.parquet", &ALL);
    let outcomes = file.write(|pulled| {
        let decimal = |text: &str| Value::Decimal(crate::value::Decimal::parse(text, 3).unwrap());
        let text = |column, text: &str| set(pulled, 0, column, Value::Text(text.to_owned()), Some(text));
        vec![
            set(pulled, 0, "small", Value::Integer(128), Some("128")),
            set(pulled, 0, "count", Value::Integer(-1), Some("-1")),
            text("short", "007"),
            set(pulled, 0, "amount", decimal("1.234"), Some("1.234")),
            set(pulled, 0, "amount", decimal("100000000"), Some("100000000")),
            set(pulled, 0, "rate", decimal("1234567890123456.7"), Some("1234567890123456.7")),
            set(pulled, 0, "single", decimal("16777217"), Some("16777217")),
            text("active", "maybe"),
            text("day", "2026-02-30"),
            set(pulled, 0, "local", Value::Datetime(1), Some("x")),
            text("local", "2026-03-01T12:00:00Z"),
            set(pulled, 0, "text", Value::Text("x".into()), Some("x")),
        ]
    });
    assert_eq!(
        outcomes,
        [
            "`small` holds whole numbers from -128 to 127, and the value does not fit",
            "`count` holds whole numbers from 0 to 65535, and the value does not fit",
            "`short` holds whole numbers from -32768 to 32767, and the value does not fit",
            "`amount` holds numbers of 10 digits, 2 of them decimals, and the value does not fit",
            "`amount` holds numbers of 10 digits, 2 of them decimals, and the value does not fit",
            "`rate` holds binary floats, which keep 15 digits, and the value has more",
            "`single` holds binary floats, which do not keep all digits of the value",
            "`active` holds true or false, and nothing else fits",
            "`day` holds dates, and the value is none",
            "`local` keeps less of a second than the value has",
            "`local` holds dates with a time of day, and the value is none",
            "done",
        ]
    );
    assert_eq!(file.cells("text"), ["x", "Müller\n", "∅"]);
}

#[test]
fn rows_are_added_and_taken_out() {
    let file = Try::of("parquet_types.parquet", &["id", "text", "day"]);
    let outcomes = file.write(|pulled| {
        let mut gone = change(Action::Delete, at(pulled, 1), vec![]);
        gone.cells = vec![cell("text", Some(pulled.raw("text", 1)), Value::Null, None)];
        let cells = vec![cell("id", None, Value::Integer(9), Some("9")), cell("text", None, Value::Text("new".into()), Some("new"))];
        vec![gone.clone(), gone, change(Action::Create, vec![], cells)]
    });
    assert_eq!(outcomes, ["done", "no row has the expected `id` any more", "done"]);
    assert_eq!(file.cells("id"), ["1", "3", "9"]);
    assert_eq!(file.cells("text"), ["007", "∅", "new"]);
    assert_eq!(file.cells("day"), ["2024-02-29", "∅", "∅"]);
}

#[test]
fn nested_columns_are_carried_along() {
    let file = Try::of("parquet_nested.parquet", &["id", "name"]);
    assert_eq!(file.open().pull().unwrap().evidence.notes, ["columns whose values are nested are not looked into: `tags`, `address`"]);
    let before = Frame::decode(&fs::read(file.path()).unwrap()).unwrap();
    let outcomes = file.write(|pulled| {
        vec![
            set(pulled, 1, "name", Value::Text("Robert".into()), Some("Robert")),
            change(Action::Delete, at(pulled, 0), vec![]),
            change(Action::Create, vec![], vec![cell("id", None, Value::Integer(9), Some("9"))]),
        ]
    });
    assert_eq!(outcomes[0], "done");
    assert!(outcomes[1..].iter().all(|outcome| outcome.contains("`tags`, whose values are nested")), "{outcomes:?}");
    assert_eq!(file.cells("name"), ["Ann", "Robert", "∅"]);
    let after = Frame::decode(&fs::read(file.path()).unwrap()).unwrap();
    assert_eq!(before.schema_text(), after.schema_text());
    let nested = |frame: &Frame| frame.columns[2..].iter().map(|column| format!("{:?}", column.cells)).collect::<Vec<_>>();
    assert_eq!(nested(&before), nested(&after));
}

#[test]
fn a_damaged_file_is_an_error_and_nothing_else() {
    let file = Try::of("parquet_types.parquet", &["id", "text"]);
    let whole = fs::read(file.path()).unwrap();
    let told = |bytes: &[u8]| {
        fs::write(file.path(), bytes).unwrap();
        file.open().pull().map(|pulled| pulled.height()).map_err(|error| error.to_string())
    };
    for cut in [0, 3, 12, whole.len() / 2, whole.len() - 1] {
        assert!(told(&whole[..cut]).unwrap_err().contains("the file is no Parquet file, or a damaged one"), "{cut} bytes");
    }
    assert!(told(b"id,name\n1,Ann\n").is_err());
    // A flipped byte is told, or changes no more than values.
    for at in (0..whole.len()).step_by(17) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        let _ = told(&damaged);
    }
}
