//! The conformance suite of every kind of system, and the traps of each kind that a user would notice.
//!
//! A kind passes by one line: `conforms(&fixture)`. A fixture fills a real source, reads it without our code, and opens it as a
//! run would. A text that a system cannot tell from null is [`Fixture::null`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use polars::prelude::{Column, DataFrame, DataType, NamedFrom, ParquetCompression, ParquetReader, ParquetWriter, SerReader, Series};
use rusqlite::Connection;
use tempfile::TempDir;
use tieout::change::{Action, Address, AddressPart, CellChange, Change, Outcome, Reason};
use tieout::error::{Error, Remedy};
use tieout::frame::Pulled;
use tieout::job::{CsvSettings, ExcelSettings, FileSettings, Gates, JsonSettings, Kind, May, ParquetSettings, Permission, Role, SqlSettings, SystemSpec};
use tieout::systems::memory::{self, Call, Effect};
use tieout::systems::{Opening, System, Wanted, WriteSet, open};
use tieout::value::{Raw, Storage, Value};

mod servers;

// ── fixtures ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// What the source of a fixture holds. `note` is none of the job's business.
const COLUMNS: [&str; 5] = ["id", "email", "name", "balance", "note"];
const NEEDED: [&str; 4] = ["id", "email", "name", "balance"];

/// One row: a text or null for each of [`COLUMNS`].
type Texts = Vec<Option<String>>;

/// A source of a kind, seen from outside.
trait Fixture {
    /// How a job file names it.
    fn kind(&self) -> Kind;
    /// The folder that relative paths start from.
    fn root(&self) -> &Path;
    /// Makes the source anew with these rows.
    fn fill(&self, rows: &[Texts]);
    /// The rows of the source.
    fn rows(&self) -> Vec<Texts>;
    /// What a null looks like when it is pulled: null, or the empty text in systems that have no null.
    fn null(&self) -> Option<String> {
        None
    }
    /// Texts that it must carry unharmed.
    fn odd_texts(&self) -> Vec<&'static str> {
        ODD_TEXTS.to_vec()
    }
    /// Whether it refuses the name [`REFUSED`] for the record `refused`.
    fn refuses(&self) -> bool {
        true
    }
    /// Whether two rows may agree in everything.
    fn takes_repeats(&self) -> bool;
    /// Whether rows can be taken out of it.
    fn removes(&self) -> bool {
        true
    }
}

/// A snowman: no system of the suite that refuses anything takes it.
const REFUSED: &str = "\u{2603}";

const ODD_TEXTS: [&str; 14] = [
    "007",
    "=cmd|' /C calc'!A0",
    "@SUM(A1)",
    "+49 30 1234",
    "1.234,56",
    "O'Brien; DROP TABLE people;--",
    "say \"hi\", twice",
    "two\nlines",
    "two\r\nlines",
    "Müller-Lüdenscheidt ß",
    "e\u{301}té, 東京 🦀",
    " padded\u{a0}",
    "NULL",
    "tab\there;semicolon|bar",
];

fn spec(kind: Kind, id: Option<&str>) -> SystemSpec {
    SystemSpec {
        name: "crm".to_owned(),
        kind,
        role: Role::Peer,
        may: May::default(),
        only: Vec::new(),
        id: id.map(str::to_owned),
        edited_at: None,
        gates: Gates::default(),
    }
}

fn open_with(root: &Path, spec: &SystemSpec, columns: &[&str], known: BTreeMap<String, String>) -> Result<Box<dyn System>, Error> {
    let columns = columns.iter().map(|column| (*column).to_owned()).collect();
    open(Opening { root, job: "customers", spec, columns, known, state: None })
}

fn opened(fixture: &dyn Fixture) -> Box<dyn System> {
    open_with(fixture.root(), &spec(fixture.kind(), Some("id")), &NEEDED, BTreeMap::new()).unwrap()
}

struct MemoryFixture(memory::Handle);

impl MemoryFixture {
    fn new(name: &str) -> MemoryFixture {
        let handle = memory::table(name);
        handle.set_columns(&COLUMNS).set_id("id").set_unique(&["id"]).reject("refused", "no snowmen");
        MemoryFixture(handle)
    }
}

impl Fixture for MemoryFixture {
    fn kind(&self) -> Kind {
        let name = format!("{:?}", self.0);
        Kind::Memory(name.split('`').nth(1).unwrap().to_owned())
    }
    fn root(&self) -> &Path {
        Path::new("/")
    }
    fn fill(&self, rows: &[Texts]) {
        let named = |row: &Texts| COLUMNS.iter().map(|column| (*column).to_owned()).zip(row.iter().cloned()).collect();
        self.0.set_rows(rows.iter().map(named).collect());
    }
    fn rows(&self) -> Vec<Texts> {
        let texts = |row: &memory::Row| COLUMNS.iter().map(|column| row.get(*column).cloned().flatten()).collect();
        self.0.rows().iter().map(texts).collect()
    }
    fn takes_repeats(&self) -> bool {
        true
    }
}

struct SqliteFixture {
    folder: TempDir,
    has_key: bool,
}

impl SqliteFixture {
    fn new(has_key: bool) -> SqliteFixture {
        let folder = tempfile::tempdir().unwrap();
        let id = if has_key { "INTEGER PRIMARY KEY" } else { "TEXT DEFAULT '77'" };
        let check = format!("CHECK (name <> '{REFUSED}')");
        let table = format!("CREATE TABLE people (id {id}, email TEXT, name TEXT {check}, balance TEXT, note TEXT)");
        Connection::open(folder.path().join("people.db")).unwrap().execute_batch(&table).unwrap();
        SqliteFixture { folder, has_key }
    }
}

impl Fixture for SqliteFixture {
    fn kind(&self) -> Kind {
        Kind::Sql(SqlSettings { url: "sqlite:people.db".to_owned(), table: Some("people".to_owned()), query: None })
    }
    fn root(&self) -> &Path {
        self.folder.path()
    }
    fn fill(&self, rows: &[Texts]) {
        let connection = Connection::open(self.folder.path().join("people.db")).unwrap();
        connection.execute("DELETE FROM people", []).unwrap();
        for row in rows {
            connection.execute("INSERT INTO people VALUES (?, ?, ?, ?, ?)", rusqlite::params_from_iter(row)).unwrap();
        }
    }
    fn rows(&self) -> Vec<Texts> {
        let connection = Connection::open(self.folder.path().join("people.db")).unwrap();
        let mut statement = connection.prepare("SELECT CAST(id AS TEXT), email, name, balance, note FROM people ORDER BY rowid").unwrap();
        let rows = statement.query_map([], |row| (0..5).map(|index| row.get(index)).collect()).unwrap();
        rows.map(Result::unwrap).collect()
    }
    fn takes_repeats(&self) -> bool {
        !self.has_key
    }
}

struct HttpFixture {
    folder: TempDir,
    records: crate::http::Records,
    server: crate::http::Server,
    has_get: bool,
}

impl HttpFixture {
    fn new(has_get: bool) -> HttpFixture {
        let records: crate::http::Records = std::sync::Arc::default();
        let server = crate::http::well_behaved(std::sync::Arc::clone(&records), REFUSED);
        HttpFixture { folder: tempfile::tempdir().unwrap(), records, server, has_get }
    }
}

impl Fixture for HttpFixture {
    fn kind(&self) -> Kind {
        let mut settings = crate::http::settings(&self.server.address);
        if !self.has_get {
            settings.get = None;
        }
        Kind::Http(Box::new(settings))
    }
    fn root(&self) -> &Path {
        self.folder.path()
    }
    fn fill(&self, rows: &[Texts]) {
        let record =
            |row: &Texts| serde_json::Value::Object(COLUMNS.iter().map(|column| (*column).to_owned()).zip(row.iter().cloned().map(Into::into)).collect());
        *self.records.lock().unwrap() = rows.iter().map(record).collect();
    }
    fn rows(&self) -> Vec<Texts> {
        let texts = |record: &serde_json::Value| COLUMNS.iter().map(|column| record[column].as_str().map(str::to_owned)).collect();
        self.records.lock().unwrap().iter().map(texts).collect()
    }
    fn takes_repeats(&self) -> bool {
        false
    }
}

struct CsvFixture {
    folder: TempDir,
    encoding: &'static str,
}

impl CsvFixture {
    fn new(encoding: &'static str) -> CsvFixture {
        CsvFixture { folder: tempfile::tempdir().unwrap(), encoding }
    }
    fn path(&self) -> PathBuf {
        self.folder.path().join("people.csv")
    }
    fn encoding(&self) -> &'static encoding_rs::Encoding {
        encoding_rs::Encoding::for_label(self.encoding.as_bytes()).unwrap()
    }
}

impl Fixture for CsvFixture {
    fn kind(&self) -> Kind {
        let settings =
            CsvSettings { path: "people.csv".to_owned(), delimiter: Some(','), encoding: Some(self.encoding.to_owned()), header: 1, ..CsvSettings::default() };
        Kind::Csv(settings)
    }
    fn root(&self) -> &Path {
        self.folder.path()
    }
    fn fill(&self, rows: &[Texts]) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(COLUMNS).unwrap();
        for row in rows {
            writer.write_record(row.iter().map(|text| text.as_deref().unwrap_or_default())).unwrap();
        }
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let (bytes, _, unmappable) = self.encoding().encode(&text);
        assert!(!unmappable, "the fixture holds what its encoding can");
        std::fs::write(self.path(), bytes).unwrap();
    }
    fn rows(&self) -> Vec<Texts> {
        let bytes = std::fs::read(self.path()).unwrap();
        let text = self.encoding().decode(&bytes).0.into_owned();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let texts = |record: csv::StringRecord| record.iter().map(|text| Some(text.to_owned())).collect();
        reader.records().map(|record| texts(record.unwrap())).collect()
    }
    fn null(&self) -> Option<String> {
        Some(String::new())
    }
    fn odd_texts(&self) -> Vec<&'static str> {
        let fits = |text: &&str| !self.encoding().encode(text).2;
        ODD_TEXTS.into_iter().filter(fits).collect()
    }
    fn refuses(&self) -> bool {
        self.encoding != "utf-8"
    }
    fn takes_repeats(&self) -> bool {
        true
    }
}

struct ExcelFixture(TempDir);

impl ExcelFixture {
    fn path(&self) -> PathBuf {
        self.0.path().join("people.xlsx")
    }
}

impl Fixture for ExcelFixture {
    fn kind(&self) -> Kind {
        Kind::Excel(ExcelSettings { path: "people.xlsx".to_owned(), sheet: Some("People".to_owned()), ..ExcelSettings::default() })
    }
    fn root(&self) -> &Path {
        self.0.path()
    }
    fn fill(&self, rows: &[Texts]) {
        let mut book = rust_xlsxwriter::Workbook::new();
        let sheet = book.add_worksheet().set_name("People").unwrap();
        let header = COLUMNS.iter().map(|name| Some((*name).to_owned())).collect();
        for (row, texts) in (0..).zip([&header].into_iter().chain(rows)) {
            for (column, text) in (0..).zip(texts) {
                if let Some(text) = text.as_deref().filter(|text| !text.is_empty()) {
                    sheet.write_string(row, column, text).unwrap();
                }
            }
        }
        book.save(self.path()).unwrap();
    }
    fn rows(&self) -> Vec<Texts> {
        use calamine::Reader;
        let mut book: calamine::Xlsx<_> = calamine::open_workbook(self.path()).unwrap();
        let range = book.worksheet_range("People").unwrap();
        let end = range.end().unwrap().0;
        let text = |row, column| Some(range.get_value((row, column)).map_or_else(String::new, ToString::to_string));
        (1..=end).map(|row| (0..5).map(|column| text(row, column)).collect()).collect()
    }
    fn null(&self) -> Option<String> {
        Some(String::new())
    }
    fn refuses(&self) -> bool {
        false
    }
    fn takes_repeats(&self) -> bool {
        true
    }
    fn removes(&self) -> bool {
        false
    }
}

struct JsonFixture {
    folder: TempDir,
    has_lines: bool,
    /// The key of the array in an object round it.
    records: Option<&'static str>,
}

impl JsonFixture {
    fn new(has_lines: bool, records: Option<&'static str>) -> JsonFixture {
        JsonFixture { folder: tempfile::tempdir().unwrap(), has_lines, records }
    }
    fn path(&self) -> PathBuf {
        self.folder.path().join("people.json")
    }
}

impl Fixture for JsonFixture {
    fn kind(&self) -> Kind {
        let file = FileSettings { path: "people.json".to_owned(), ..FileSettings::default() };
        let records = self.records.iter().map(|key| (*key).to_owned()).collect();
        Kind::Json(JsonSettings { file, has_lines: self.has_lines, records, ..JsonSettings::default() })
    }
    fn root(&self) -> &Path {
        self.folder.path()
    }
    fn fill(&self, rows: &[Texts]) {
        let record =
            |row: &Texts| serde_json::Value::Object(COLUMNS.iter().map(|column| (*column).to_owned()).zip(row.iter().cloned().map(Into::into)).collect());
        let records: Vec<serde_json::Value> = rows.iter().map(record).collect();
        let text = match self.records {
            _ if self.has_lines => records.iter().map(|record| format!("{record}\n")).collect(),
            None => format!("{:#}\n", serde_json::Value::from(records)),
            Some(key) => format!("{:#}\n", serde_json::json!({ "count": records.len(), key: records, "next": null })),
        };
        std::fs::write(self.path(), text).unwrap();
    }
    fn rows(&self) -> Vec<Texts> {
        let text = std::fs::read_to_string(self.path()).unwrap();
        let records: Vec<serde_json::Value> = if self.has_lines {
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        } else {
            let whole: serde_json::Value = serde_json::from_str(&text).unwrap();
            self.records.map_or(&whole, |key| &whole[key]).as_array().unwrap().clone()
        };
        records.iter().map(|record| COLUMNS.iter().map(|column| record[column].as_str().map(str::to_owned)).collect()).collect()
    }
    fn refuses(&self) -> bool {
        false
    }
    fn takes_repeats(&self) -> bool {
        true
    }
}

struct ParquetFixture {
    folder: TempDir,
    compression: ParquetCompression,
}

impl ParquetFixture {
    fn new(compression: ParquetCompression) -> ParquetFixture {
        ParquetFixture { folder: tempfile::tempdir().unwrap(), compression }
    }
    fn path(&self) -> PathBuf {
        self.folder.path().join("people.parquet")
    }
}

impl Fixture for ParquetFixture {
    fn kind(&self) -> Kind {
        let file = FileSettings { path: "people.parquet".to_owned(), ..FileSettings::default() };
        Kind::Parquet(ParquetSettings { file })
    }
    fn root(&self) -> &Path {
        self.folder.path()
    }
    fn fill(&self, rows: &[Texts]) {
        let column = |(index, name): (usize, &&str)| {
            Series::new((*name).into(), rows.iter().map(|row| row[index].clone()).collect::<Vec<_>>()).cast(&DataType::String).unwrap()
        };
        let columns = COLUMNS.iter().enumerate().map(column).map(Column::from).collect();
        let mut frame = DataFrame::new(rows.len(), columns).unwrap();
        ParquetWriter::new(std::fs::File::create(self.path()).unwrap())
            .with_compression(self.compression)
            .with_row_group_size(Some(2))
            .finish(&mut frame)
            .unwrap();
    }
    fn rows(&self) -> Vec<Texts> {
        let frame = ParquetReader::new(std::fs::File::open(self.path()).unwrap()).finish().unwrap();
        let names: Vec<&str> = frame.get_column_names().into_iter().map(|name| name.as_str()).collect();
        assert_eq!(names, COLUMNS);
        let text = |column: &Column, row| column.str().unwrap().get(row).map(str::to_owned);
        (0..frame.height()).map(|row| frame.columns().iter().map(|column| text(column, row)).collect()).collect()
    }
    fn refuses(&self) -> bool {
        false
    }
    fn takes_repeats(&self) -> bool {
        true
    }
}

// ── words of the suite ───────────────────────────────────────────────────────────────────────────────────────────────────

fn texts(row: [Option<&str>; 5]) -> Texts {
    row.into_iter().map(|text| text.map(str::to_owned)).collect()
}

fn three_people() -> Vec<Texts> {
    vec![
        texts([Some("1"), Some("ann@example.com"), Some("Ann"), Some("10.00"), Some("keep me")]),
        texts([Some("2"), Some("bob@example.com"), Some("Bob"), Some("20.50"), Some("\"quoted\", kept")]),
        texts([Some("1234567890123456"), Some("cem@example.com"), Some("Cem"), None, Some("")]),
    ]
}

/// The model as the system shows it.
fn shown(fixture: &dyn Fixture, rows: &[Texts]) -> Vec<Texts> {
    rows.iter().map(|row| row.iter().map(|text| text.clone().or_else(|| fixture.null())).collect()).collect()
}

fn row_of(pulled: &Pulled, column: &str, text: &str) -> Option<u32> {
    (0..u32::try_from(pulled.height()).unwrap()).find(|row| pulled.raw(column, *row).text.as_deref() == Some(text))
}

fn person(pulled: &Pulled, name: &str) -> u32 {
    row_of(pulled, "name", name).unwrap_or_else(|| panic!("{name} was pulled"))
}

fn at(pulled: &Pulled, row: u32, columns: &[&str]) -> Address {
    columns.iter().map(|column| AddressPart { column: (*column).to_owned(), raw: pulled.raw(column, row) }).collect()
}

pub fn part(column: &str, raw: Raw) -> AddressPart {
    AddressPart { column: column.to_owned(), raw }
}

fn raw(text: Option<&str>) -> Raw {
    text.map_or_else(Raw::null, Raw::text)
}

fn change(action: Action, key: &str, address: Address, cells: Vec<(&str, Option<Raw>, Option<&str>)>) -> Change {
    let reason = Reason::OnlyChange { system: "erp".to_owned() };
    let cell = |(column, before_raw, after): (&str, Option<Raw>, Option<&str>)| CellChange {
        field: Some(column.to_owned()),
        column: column.to_owned(),
        before_raw,
        before: Value::Null,
        after: Value::Null,
        after_raw: raw(after),
        reason: reason.clone(),
    };
    let cells = cells.into_iter().map(cell).collect();
    Change {
        number: 1,
        system: "crm".to_owned(),
        record: 1,
        key: key.to_owned(),
        action,
        address,
        cells,
        reason: reason.clone(),
        attempts: 0,
        row_id: None,
        row_key_before: None,
        row_key_after: key.to_owned(),
        edited_at: None,
    }
}

/// Sets cells of a pulled row, found by its id, where it still holds what was pulled.
pub fn set(pulled: &Pulled, row: u32, cells: &[(&str, Option<&str>)]) -> Change {
    let cells = cells.iter().map(|(column, after)| (*column, Some(pulled.raw(column, row)), *after)).collect();
    change(Action::Update, "a key", at(pulled, row, &["id"]), cells)
}

pub fn remove(pulled: &Pulled, row: u32) -> Change {
    let cells = NEEDED.iter().map(|column| (*column, Some(pulled.raw(column, row)), None)).collect();
    change(Action::Delete, "a key", at(pulled, row, &["id"]), cells)
}

pub fn add(key: &str, cells: &[(&str, Option<&str>)]) -> Change {
    change(Action::Create, key, Vec::new(), cells.iter().map(|(column, after)| (*column, None, *after)).collect())
}

fn write(system: &mut dyn System, pulled: &Pulled, changes: &[Change]) -> Vec<Outcome> {
    let outcomes = system.write(WriteSet { changes, failures_max: 10, snapshot: pulled.evidence.sha256.as_deref() }).unwrap();
    assert_eq!(outcomes.len(), changes.len(), "one outcome for each change");
    outcomes
}

pub fn is_done(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Done { .. })
}

pub fn is_stale(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Stale { .. })
}

#[track_caller]
fn why_rejected(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Rejected { reason } => reason,
        other => panic!("not rejected: {other:?}"),
    }
}

#[track_caller]
fn answer_of(outcome: &Outcome) -> Vec<(String, Raw)> {
    match outcome {
        Outcome::Done { answer, .. } => answer.iter().map(|part| (part.column.clone(), part.raw.clone())).collect(),
        other => panic!("not done: {other:?}"),
    }
}

// ── the suite ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// What every kind of system does.
fn conforms(fixture: &dyn Fixture) {
    delivers_every_row_verbatim(fixture);
    tells_rows_apart_by_their_hash(fixture);
    asks_for_columns_that_are_not_there(fixture);
    changes_only_what_is_named(fixture);
    writes_every_text_as_it_is(fixture);
    sets_and_clears(fixture);
    leaves_a_row_that_moved(fixture);
    leaves_a_row_that_is_gone(fixture);
    makes_a_set_only_once(fixture);
    adds_rows(fixture);
    removes_rows(fixture);
    goes_on_after_a_refusal(fixture);
    stops_after_too_many_refusals(fixture);
    finds_a_row_after_its_key_changed(fixture);
    takes_an_empty_set(fixture);
}

fn delivers_every_row_verbatim(fixture: &dyn Fixture) {
    let mut rows = three_people();
    for (position, odd) in fixture.odd_texts().into_iter().enumerate() {
        let id = (2_000_000_000_000_000_u64 + position as u64).to_string();
        rows.push(texts([Some(&id), Some(odd), Some(odd), Some(""), Some(odd)]));
    }
    fixture.fill(&rows);
    let mut system = opened(fixture);
    assert_eq!(system.columns().unwrap(), COLUMNS);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    assert_eq!(pulled.height(), rows.len());
    assert_eq!(pulled.evidence.rows_read, rows.len() as u64);
    assert!(pulled.evidence.rows_announced.is_none_or(|announced| announced == rows.len() as u64));
    assert!(!pulled.evidence.origin.is_empty());
    assert!(pulled.refused.is_empty());
    assert!(pulled.column("note").is_none(), "a column that nobody asked for is not delivered");
    for (row, expected) in (0..).zip(shown(fixture, &rows)) {
        let delivered: Texts = NEEDED.iter().map(|column| pulled.raw(column, row).text).collect();
        assert_eq!(delivered, expected[..4], "row {row}");
        assert!(row == 0 || pulled.line(row) > pulled.line(row - 1), "lines ascend");
    }
    fixture.fill(&[]);
    assert_eq!(opened(fixture).pull().unwrap().height(), 0);
}

fn tells_rows_apart_by_their_hash(fixture: &dyn Fixture) {
    let mut rows = three_people();
    fixture.fill(&rows);
    let before = opened(fixture).pull().unwrap();
    assert_eq!(before.hash(1), opened(fixture).pull().unwrap().hash(1), "the same row has the same hash in every pull");
    rows[0][4] = Some("edited by somebody else".to_owned());
    rows[2][2] = Some("Ce".to_owned());
    rows[2][3] = Some("m".to_owned());
    fixture.fill(&rows);
    let after = opened(fixture).pull().unwrap();
    assert_ne!(before.hash(0), after.hash(0), "a column that nobody asked for is part of the row");
    assert_eq!(before.hash(1), after.hash(1));
    assert_ne!(before.hash(2), after.hash(2), "no text runs into the next");
    if fixture.takes_repeats() {
        fixture.fill(&[rows[1].clone(), rows[0].clone(), rows[1].clone()]);
        let pulled = opened(fixture).pull().and_then(Pulled::whole).unwrap();
        assert_eq!(pulled.height(), 3, "repeats are delivered");
        assert_eq!(pulled.hash(0), pulled.hash(2));
        assert_ne!(pulled.hash(0), pulled.hash(1));
    }
}

fn asks_for_columns_that_are_not_there(fixture: &dyn Fixture) {
    fixture.fill(&three_people());
    let spec = spec(fixture.kind(), Some("id"));
    let asked = open_with(fixture.root(), &spec, &["id", "emial"], BTreeMap::new()).and_then(|mut system| system.columns());
    let error = asked.unwrap_err();
    assert_eq!(error.remedy, Remedy::MendJob);
    let told = error.to_string();
    for words in ["`emial`", "`crm`", "id, email, name, balance, note", "did you mean `email`?"] {
        assert!(told.contains(words), "{told}");
    }
}

fn changes_only_what_is_named(fixture: &dyn Fixture) {
    let mut rows = three_people();
    fixture.fill(&rows);
    let mut system = opened(fixture);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let bob = person(&pulled, "Bob");
    let outcomes = write(&mut *system, &pulled, &[set(&pulled, bob, &[("name", Some("Robert")), ("balance", Some("0.10"))])]);
    assert!(is_done(&outcomes[0]), "{outcomes:?}");
    for (column, now) in answer_of(&outcomes[0]) {
        let expected = if column == "name" { "Robert" } else { "0.10" };
        assert_eq!(now.text.as_deref(), Some(expected), "the answer for `{column}`");
    }
    rows[1][2] = Some("Robert".to_owned());
    rows[1][3] = Some("0.10".to_owned());
    assert_eq!(fixture.rows(), shown(fixture, &rows));
    let again = system.pull().and_then(Pulled::whole).unwrap();
    assert_eq!(again.raw("name", bob).text.as_deref(), Some("Robert"), "the next pull shows what was written");
    assert_eq!((again.height(), again.hash(0)), (3, pulled.hash(0)));
}

fn writes_every_text_as_it_is(fixture: &dyn Fixture) {
    let odd = fixture.odd_texts();
    let ids: Vec<String> = (0..odd.len()).map(|position| (position + 1).to_string()).collect();
    let rows: Vec<Texts> = ids.iter().map(|id| texts([Some(id), Some(id), Some("?"), Some("?"), Some("note")])).collect();
    fixture.fill(&rows);
    let mut system = opened(fixture);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let changes: Vec<Change> = (0..).zip(&odd).map(|(row, odd)| set(&pulled, row, &[("name", Some(odd)), ("balance", Some(odd))])).collect();
    let outcomes = write(&mut *system, &pulled, &changes);
    assert!(outcomes.iter().all(is_done), "{outcomes:?}");
    for (row, odd) in fixture.rows().iter().zip(&odd) {
        assert_eq!((row[2].as_deref(), row[3].as_deref(), row[4].as_deref()), (Some(*odd), Some(*odd), Some("note")));
    }
    let again = system.pull().and_then(Pulled::whole).unwrap();
    let changes: Vec<Change> = (0..).zip(&odd).map(|(row, _)| set(&again, row, &[("name", Some("back"))])).collect();
    assert!(write(&mut *system, &again, &changes).iter().all(is_done), "an odd text is found as it was pulled");
}

fn sets_and_clears(fixture: &dyn Fixture) {
    let mut rows = three_people();
    fixture.fill(&rows);
    let mut system = opened(fixture);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let (ann, cem) = (person(&pulled, "Ann"), person(&pulled, "Cem"));
    let changes = [set(&pulled, ann, &[("balance", None)]), set(&pulled, cem, &[("balance", Some("1"))])];
    let outcomes = write(&mut *system, &pulled, &changes);
    assert!(outcomes.iter().all(is_done), "{outcomes:?}");
    rows[0][3] = None;
    rows[2][3] = Some("1".to_owned());
    assert_eq!(fixture.rows(), shown(fixture, &rows));
}

fn leaves_a_row_that_moved(fixture: &dyn Fixture) {
    let mut rows = three_people();
    fixture.fill(&rows);
    let mut system = opened(fixture);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    rows[1][2] = Some("Bobby".to_owned());
    fixture.fill(&rows);
    let outcomes = write(&mut *system, &pulled, &[set(&pulled, 1, &[("name", Some("Robert")), ("balance", Some("1"))])]);
    assert!(is_stale(&outcomes[0]), "{outcomes:?}");
    assert_eq!(fixture.rows(), shown(fixture, &rows), "somebody's edit is kept, and the row is wholly old");
    let outcomes = write(&mut *system, &pulled, &[remove(&pulled, 1)]);
    assert!(is_stale(&outcomes[0]), "{outcomes:?}");
    assert_eq!(fixture.rows(), shown(fixture, &rows), "an edited row is not removed");
}

fn leaves_a_row_that_is_gone(fixture: &dyn Fixture) {
    let mut rows = three_people();
    fixture.fill(&rows);
    let mut system = opened(fixture);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    rows.remove(1);
    fixture.fill(&rows);
    let outcomes = write(&mut *system, &pulled, &[set(&pulled, 1, &[("name", Some("Robert"))]), remove(&pulled, 1)]);
    assert!(outcomes.iter().all(is_stale), "{outcomes:?}");
    assert_eq!(fixture.rows(), shown(fixture, &rows));
}

fn makes_a_set_only_once(fixture: &dyn Fixture) {
    fixture.fill(&three_people());
    let mut system = opened(fixture);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let mut changes = vec![set(&pulled, 0, &[("balance", Some("11.00"))])];
    if fixture.removes() {
        changes.push(remove(&pulled, 1));
    }
    assert!(write(&mut *system, &pulled, &changes).iter().all(is_done));
    let after = fixture.rows();
    assert!(write(&mut *system, &pulled, &changes).iter().all(is_stale));
    assert_eq!(fixture.rows(), after);
}

fn adds_rows(fixture: &dyn Fixture) {
    let mut rows = three_people();
    fixture.fill(&rows);
    let mut system = opened(fixture);
    let fills_id = system.describe().fills_id;
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let mut cells = vec![("email", Some("dee@example.com")), ("name", Some("=Dee, \"D\"")), ("balance", Some("007"))];
    if !fills_id {
        cells.push(("id", Some("0042")));
    }
    let outcomes = write(&mut *system, &pulled, &[add("dee@example.com", &cells)]);
    let Outcome::Done { id, .. } = &outcomes[0] else { panic!("{outcomes:?}") };
    let now = fixture.rows();
    assert_eq!(now.len(), 4);
    let id = match (fills_id, id) {
        (true, Some(id)) => id.clone(),
        (false, _) => "0042".to_owned(),
        (true, None) => panic!("the system gives the id: it says which"),
    };
    rows.push(texts([Some(&id), Some("dee@example.com"), Some("=Dee, \"D\""), Some("007"), None]));
    assert_eq!(now, shown(fixture, &rows));
    let wanted = Wanted { addresses: vec![vec![part("id", Raw::text(id.clone()))]] };
    let back = system.read_back(&wanted).unwrap();
    let row = row_of(&back, "id", &id).expect("a created row is found by its id as text");
    assert_eq!(back.raw("balance", row).text.as_deref(), Some("007"));
}

fn removes_rows(fixture: &dyn Fixture) {
    let mut rows = three_people();
    fixture.fill(&rows);
    let mut system = opened(fixture);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let outcomes = write(&mut *system, &pulled, &[remove(&pulled, 2), remove(&pulled, 0)]);
    if !fixture.removes() {
        assert!(outcomes.iter().all(|outcome| !why_rejected(outcome).is_empty()), "{outcomes:?}");
        assert_eq!(fixture.rows(), shown(fixture, &rows));
        return;
    }
    assert!(outcomes.iter().all(is_done), "{outcomes:?}");
    let wanted = Wanted { addresses: vec![at(&pulled, 0, &["id"])] };
    assert_eq!(row_of(&system.read_back(&wanted).unwrap(), "name", "Ann"), None);
    rows.remove(2);
    rows.remove(0);
    assert_eq!(fixture.rows(), shown(fixture, &rows));
}

fn goes_on_after_a_refusal(fixture: &dyn Fixture) {
    if !fixture.refuses() {
        return;
    }
    let mut rows = three_people();
    fixture.fill(&rows);
    let mut system = opened(fixture);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let mut refused = set(&pulled, 1, &[("balance", Some("5")), ("name", Some(REFUSED))]);
    refused.key = "refused".to_owned();
    let gone = change(Action::Update, "a key", vec![part("id", Raw::text("999"))], vec![("name", Some(Raw::text("x")), Some("y"))]);
    let changes = [set(&pulled, 0, &[("name", Some("Anna"))]), refused, gone, remove(&pulled, 2)];
    let outcomes = write(&mut *system, &pulled, &changes);
    assert!(is_done(&outcomes[0]), "{outcomes:?}");
    assert!(!why_rejected(&outcomes[1]).is_empty());
    assert!(is_stale(&outcomes[2]), "{outcomes:?}");
    assert!(is_done(&outcomes[3]), "{outcomes:?}");
    rows[0][2] = Some("Anna".to_owned());
    rows.remove(2);
    assert_eq!(fixture.rows(), shown(fixture, &rows), "a refused change leaves its row wholly old");
}

fn stops_after_too_many_refusals(fixture: &dyn Fixture) {
    if !fixture.refuses() {
        return;
    }
    let mut rows = three_people();
    fixture.fill(&rows);
    let mut system = opened(fixture);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let refused = || Change { key: "refused".to_owned(), ..set(&pulled, 1, &[("name", Some(REFUSED))]) };
    let good = |row, name| set(&pulled, row, &[("name", Some(name))]);
    let changes = [refused(), good(0, "Anna"), refused(), good(2, "Cemal")];
    let set = WriteSet { changes: &changes, failures_max: 1, snapshot: pulled.evidence.sha256.as_deref() };
    let outcomes = system.write(set).unwrap();
    assert!(is_done(&outcomes[1]), "{outcomes:?}");
    assert!(matches!(outcomes[3], Outcome::Skipped { .. }), "{outcomes:?}");
    rows[0][2] = Some("Anna".to_owned());
    assert_eq!(fixture.rows(), shown(fixture, &rows));
}

fn finds_a_row_after_its_key_changed(fixture: &dyn Fixture) {
    fixture.fill(&three_people());
    let mut system = opened(fixture);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let cells = vec![("email", Some(pulled.raw("email", 0)), Some("ann.new@example.com"))];
    let renamed = change(Action::Update, "ann", at(&pulled, 0, &["email"]), cells);
    assert!(is_done(&write(&mut *system, &pulled, &[renamed])[0]));
    let by_key = Wanted { addresses: vec![vec![part("email", Raw::text("ann.new@example.com"))], vec![part("email", Raw::text("nobody"))]] };
    let by_id = Wanted { addresses: vec![at(&pulled, 0, &["id"]), vec![part("email", Raw::text("ann.new@example.com"))]] };
    let by_both = Wanted { addresses: vec![vec![part("email", Raw::text("ann.new@example.com")), part("name", Raw::text("Ann"))]] };
    for wanted in [by_key, by_id, by_both] {
        let back = system.read_back(&wanted).unwrap();
        let row = row_of(&back, "email", "ann.new@example.com").expect("the row is read back");
        let whole = system.pull().unwrap();
        assert_eq!(back.hash(row), whole.hash(0), "a row is read back as it is pulled");
        let times = (0..back.height() as u32).filter(|row| back.raw("name", *row).text.as_deref() == Some("Ann")).count();
        assert_eq!(times, 1, "a row is read back once, however often it is wanted");
    }
}

fn takes_an_empty_set(fixture: &dyn Fixture) {
    fixture.fill(&three_people());
    let mut system = opened(fixture);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    assert_eq!(write(&mut *system, &pulled, &[]), []);
    assert_eq!(fixture.rows(), shown(fixture, &three_people()));
    assert!(system.read_back(&Wanted::default()).is_ok());
}

#[test]
fn memory_conforms() {
    conforms(&MemoryFixture::new("conforms"));
}

#[test]
fn sqlite_conforms() {
    conforms(&SqliteFixture::new(true));
}

#[test]
fn sqlite_without_a_key_conforms() {
    conforms(&SqliteFixture::new(false));
}

#[test]
fn excel_conforms() {
    conforms(&ExcelFixture(tempfile::tempdir().unwrap()));
}

#[test]
fn csv_conforms() {
    conforms(&CsvFixture::new("utf-8"));
    conforms(&CsvFixture::new("windows-1252"));
}

#[test]
fn json_conforms() {
    conforms(&JsonFixture::new(false, None));
    conforms(&JsonFixture::new(false, Some("items")));
    conforms(&JsonFixture::new(true, None));
}

#[test]
fn http_conforms() {
    conforms(&HttpFixture::new(true));
    conforms(&HttpFixture::new(false));
}

#[test]
fn parquet_conforms() {
    for compression in [
        ParquetCompression::Uncompressed,
        ParquetCompression::Snappy,
        ParquetCompression::Zstd(None),
        ParquetCompression::Gzip(None),
        ParquetCompression::Brotli(None),
        ParquetCompression::Lz4Raw,
    ] {
        conforms(&ParquetFixture::new(compression));
    }
}

// ── the twin's faults ────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn the_twin_fails_at_the_nth_call_before_in_or_after_the_effect() {
    let fixture = MemoryFixture::new("fails");
    fixture.fill(&three_people());
    let mut system = opened(&fixture);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    fixture.0.fail(Call::Pull, 2, Effect::Nothing).fail(Call::Write, 1, Effect::Nothing);
    fixture.0.fail(Call::Write, 2, Effect::First(1)).fail(Call::Write, 3, Effect::Everything).fail(Call::ReadBack, 1, Effect::Nothing);
    assert!(system.pull().is_ok());
    assert!(system.pull().is_err());
    assert!(system.pull().is_ok());
    let changes = [set(&pulled, 0, &[("name", Some("Anna"))]), set(&pulled, 1, &[("name", Some("Robert"))])];
    let whole = WriteSet { changes: &changes, failures_max: 5, snapshot: None };
    let names = || fixture.rows().into_iter().map(|row| row[2].clone().unwrap()).collect::<Vec<_>>();
    assert_eq!(system.write(whole).unwrap_err().remedy, Remedy::GiveAccess);
    assert_eq!(names(), ["Ann", "Bob", "Cem"]);
    assert_eq!(system.write(whole).unwrap_err().remedy, Remedy::Look);
    assert_eq!(names(), ["Anna", "Bob", "Cem"]);
    assert!(system.write(WriteSet { changes: &changes[1..], ..whole }).is_err());
    assert_eq!(names(), ["Anna", "Robert", "Cem"]);
    assert!(system.read_back(&Wanted::default()).is_err());
    assert_eq!((fixture.0.calls(Call::Write), fixture.0.calls(Call::Pull)), (3, 4));
}

#[test]
fn the_twin_normalises_lags_is_edited_cut_short_and_repeats() {
    let fixture = MemoryFixture::new("misbehaves");
    fixture.fill(&three_people());
    let mut system = opened(&fixture);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    fixture.0.normalise(|column, text| if column == "name" { text.to_uppercase() } else { text.to_owned() }).lag(1);
    let outcomes = write(&mut *system, &pulled, &[set(&pulled, 0, &[("name", Some("Anna"))])]);
    assert_eq!(answer_of(&outcomes[0]), [("name".to_owned(), Raw::text("ANNA"))]);
    assert_eq!(system.pull().unwrap().raw("name", 0), Raw::text("Ann"), "the first read lags");
    assert_eq!(system.pull().unwrap().raw("name", 0), Raw::text("ANNA"));

    fixture.0.edit_before(Call::Write, |rows| rows[1].insert("name".to_owned(), Some("Bobby".to_owned())).map_or((), drop));
    let robert = [set(&pulled, 1, &[("name", Some("Robert"))])];
    assert!(is_stale(&write(&mut *system, &pulled, &robert)[0]));
    fixture.0.set_compares(false).set_answers(false);
    assert_eq!(answer_of(&write(&mut *system, &pulled, &robert)[0]), []);
    assert_eq!(fixture.rows()[1][2].as_deref(), Some("ROBERT"));

    fixture.0.set_rows_max(Some(2));
    let cut = system.pull().unwrap();
    assert_eq!((cut.height(), cut.evidence.rows_read, cut.evidence.rows_announced), (2, 2, Some(3)));
    fixture.0.set_rows_max(None).repeat_row(0);
    let repeated = system.pull().unwrap();
    assert_eq!((repeated.height(), repeated.hash(3)), (4, repeated.hash(0)));
    assert!(why_rejected(&write(&mut *system, &repeated, &[set(&repeated, 0, &[("name", Some("x"))])])[0]).contains("2 rows"));
}

#[test]
fn the_twin_keeps_unique_values_apart() {
    let fixture = MemoryFixture::new("unique");
    fixture.0.set_unique(&["email"]);
    fixture.fill(&three_people());
    let mut system = opened(&fixture);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let changes = [set(&pulled, 0, &[("email", Some("bob@example.com"))]), add("x", &[("email", Some("bob@example.com"))]), add("y", &[])];
    let outcomes = write(&mut *system, &pulled, &changes);
    assert!(why_rejected(&outcomes[0]).contains("bob@example.com"));
    assert!(why_rejected(&outcomes[1]).contains("bob@example.com"));
    assert!(is_done(&outcomes[2]), "nulls are not compared");
}

// ── SQLite ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// A database file as any program makes it.
struct Database {
    folder: TempDir,
}

impl Database {
    fn new(sql: &str) -> Database {
        let database = Database { folder: tempfile::tempdir().unwrap() };
        database.run(sql);
        database
    }
    fn path(&self) -> PathBuf {
        self.folder.path().join("some books.db")
    }
    fn run(&self, sql: &str) {
        Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
    }
    /// Every cell of a query as SQLite spells it in a literal, so that storage classes are seen.
    fn rows(&self, query: &str) -> Vec<String> {
        let connection = Connection::open(self.path()).unwrap();
        let mut statement = connection.prepare(query).unwrap();
        let width = statement.column_count();
        let cell = |row: &rusqlite::Row<'_>, index| format!("{:?}", row.get::<_, rusqlite::types::Value>(index).unwrap());
        let rows = statement.query_map([], |row| Ok((0..width).map(|index| cell(row, index)).collect::<Vec<_>>().join(" "))).unwrap();
        rows.map(Result::unwrap).collect()
    }
    fn settings(&self, table: &str) -> SqlSettings {
        SqlSettings { url: "sqlite:some books.db".to_owned(), table: Some(table.to_owned()), query: None }
    }
    fn try_open(&self, settings: SqlSettings, id: Option<&str>, columns: &[&str]) -> Result<Box<dyn System>, Error> {
        open_with(self.folder.path(), &spec(Kind::Sql(settings), id), columns, BTreeMap::new())
    }
    fn open(&self, table: &str, id: Option<&str>, columns: &[&str]) -> Box<dyn System> {
        self.try_open(self.settings(table), id, columns).unwrap()
    }
}

fn typed(text: &str, storage: Storage) -> Raw {
    Raw { text: Some(text.to_owned()), storage }
}

#[test]
fn sqlite_delivers_storage_classes() {
    let database = Database::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v);
         INSERT INTO t (v) VALUES (NULL), (42), (-9223372036854775808), (12.3), (1e300), (5.0), ('007'), (''), (x'00ff'), (9e999), (1e-300);",
    );
    let pulled = database.open("t", Some("id"), &["v", "v", "id"]).pull().unwrap();
    let huge = format!("1{}", "0".repeat(300));
    let tiny = format!("0.{}1", "0".repeat(299));
    let expected = [
        Raw::null(),
        typed("42", Storage::Integer),
        typed("-9223372036854775808", Storage::Integer),
        typed("12.3", Storage::Real),
        typed(&huge, Storage::Real),
        typed("5", Storage::Real),
        Raw::text("007"),
        Raw::text(""),
        typed("00ff", Storage::Blob),
        typed("inf", Storage::Real),
        typed(&tiny, Storage::Real),
    ];
    for (row, expected) in (0..).zip(&expected) {
        assert_eq!(pulled.raw("v", row), *expected);
    }
    assert_eq!(pulled.evidence.rows_announced, Some(11));
    assert_eq!(pulled.evidence.found["columns"], "id INTEGER, v");
    assert_eq!(pulled.evidence.origin, "sqlite:some books.db t");

    let mut system = database.open("t", Some("id"), &["id", "v"]);
    let changes: Vec<Change> = (0..11).map(|row| set(&pulled, row, &[("v", Some("new"))])).collect();
    assert!(
        system.write(WriteSet { changes: &changes, failures_max: 0, snapshot: None }).unwrap().iter().all(is_done),
        "every storage class is found again as it was pulled"
    );
    let by_value = Database::new("CREATE TABLE t (v); INSERT INTO t VALUES (42), (x'00ff'), (1e300), (NULL);");
    let mut system = by_value.open("t", None, &["v"]);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    for row in 0..4 {
        let back = system.read_back(&Wanted { addresses: vec![at(&pulled, row, &["v"])] }).unwrap();
        assert_eq!((back.height(), back.hash(0)), (1, pulled.hash(row)));
    }
}

#[test]
fn sqlite_keeps_every_cent_or_says_no() {
    let database = Database::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, amount DECIMAL(10,2), ratio REAL, code INTEGER);
         INSERT INTO t VALUES (1, '1.10', 0.5, 7), (2, 5, 5, 7);",
    );
    let mut system = database.open("t", Some("id"), &["id", "amount", "ratio", "code"]);
    for (column, sent, kept) in [
        ("amount", "12345678901234567.89", None),
        ("amount", "0.12345678901234567890", None),
        ("amount", "12.30", Some(typed("12.3", Storage::Real))),
        ("amount", "-0.05", Some(typed("-0.05", Storage::Real))),
        ("amount", "12.00", Some(typed("12", Storage::Integer))),
        ("amount", "9007199254740993", Some(typed("9007199254740993", Storage::Integer))),
        ("amount", "9223372036854775809", None),
        ("amount", "9999999999999.99", Some(typed("9999999999999.99", Storage::Real))),
        ("amount", "99999999999999.99", None),
        ("ratio", "9007199254740993", None),
        ("ratio", "7", Some(typed("7", Storage::Real))),
        ("ratio", "1e400", None),
        ("code", "007", Some(typed("7", Storage::Integer))),
        ("code", "12345678901234567890", None),
        ("code", "A7", Some(Raw::text("A7"))),
    ] {
        let before = database.rows("SELECT * FROM t");
        let pulled = system.pull().and_then(Pulled::whole).unwrap();
        let outcome = &write(&mut *system, &pulled, &[set(&pulled, 0, &[(column, Some(sent))])])[0];
        match kept {
            Some(kept) => assert_eq!(answer_of(outcome), [(column.to_owned(), kept)], "{sent} in `{column}`"),
            None => {
                let told = why_rejected(outcome);
                assert!(told.contains(&format!("`{column}` stores binary floats and cannot hold {sent}")), "{told}");
                assert_eq!(database.rows("SELECT * FROM t"), before, "{sent} in `{column}`");
            }
        }
    }
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let lost = add("k", &[("amount", Some("12345678901234567.89"))]);
    assert!(why_rejected(&write(&mut *system, &pulled, &[lost])[0]).contains("binary floats"));
    assert_eq!(system.pull().unwrap().height(), 2, "the row that could not be kept whole was not added");
}

#[test]
fn sqlite_compares_bytes_and_storage_classes() {
    let database = Database::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v, name TEXT COLLATE NOCASE);
         INSERT INTO t VALUES (1, 5, 'Müller'), (2, '5', 'SMITH'), (3, 5.0, NULL);",
    );
    let mut system = database.open("t", Some("id"), &["id", "v", "name"]);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let expecting = |row, column, before: Raw| change(Action::Update, "k", at(&pulled, row, &["id"]), vec![(column, Some(before), Some("9"))]);
    for stale in [
        expecting(0, "v", Raw::text("5")),
        expecting(0, "v", typed("5", Storage::Real)),
        expecting(1, "v", typed("5", Storage::Integer)),
        expecting(2, "v", typed("5", Storage::Integer)),
        expecting(2, "v", Raw::null()),
        expecting(1, "name", Raw::text("Smith")),
        expecting(2, "name", Raw::text("")),
    ] {
        let outcomes = write(&mut *system, &pulled, &[stale]);
        let Outcome::Stale { reason } = &outcomes[0] else { panic!("{outcomes:?}") };
        assert!(reason.contains("holds"), "{reason}");
    }
    let by_key = change(Action::Update, "k", vec![part("name", Raw::text("smith"))], vec![("v", None, Some("9"))]);
    let outcomes = write(&mut *system, &pulled, &[by_key]);
    assert_eq!(outcomes, [Outcome::Stale { reason: "there is no row with `name` `smith` any more".to_owned() }]);
    let outcomes = write(&mut *system, &pulled, &[expecting(1, "name", Raw::text("SMITH")), expecting(2, "name", Raw::null())]);
    assert!(outcomes.iter().all(is_done), "{outcomes:?}");
}

#[test]
fn sqlite_says_what_it_saw_in_a_row_that_moved() {
    let database = Database::new("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT); INSERT INTO t VALUES (1, 'x', 'y');");
    let mut system = database.open("t", Some("id"), &["id", "a", "b"]);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    database.run("UPDATE t SET a = NULL");
    let outcomes = write(&mut *system, &pulled, &[set(&pulled, 0, &[("a", Some("1")), ("b", Some("2"))])]);
    assert_eq!(outcomes, [Outcome::Stale { reason: "`a` holds null, when it was pulled it held `x`".to_owned() }]);
}

#[test]
fn sqlite_keeps_numbers_numbers_in_a_column_without_a_type() {
    let database = Database::new("CREATE TABLE t (id INTEGER PRIMARY KEY, v, w BLOB); INSERT INTO t VALUES (1, 5, 2.5), (2, 'five', x'01');");
    let mut system = database.open("t", Some("id"), &["id", "v", "w"]);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let changes = [set(&pulled, 0, &[("v", Some("12.50")), ("w", Some("3"))]), set(&pulled, 1, &[("v", Some("6"))])];
    assert!(write(&mut *system, &pulled, &changes).iter().all(is_done));
    assert_eq!(database.rows("SELECT v, w FROM t"), ["Real(12.5) Integer(3)", "Text(\"6\") Blob([1])"]);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let changes = [set(&pulled, 0, &[("v", Some("12345678901234567.89")), ("w", Some("n/a"))])];
    assert!(write(&mut *system, &pulled, &changes).iter().all(is_done));
    assert_eq!(database.rows("SELECT v, w FROM t WHERE id = 1"), ["Text(\"12345678901234567.89\") Text(\"n/a\")"], "no digit is lost");
}

#[test]
fn sqlite_writes_no_row_twice() {
    let database = Database::new("CREATE TABLE t (email TEXT, n TEXT); INSERT INTO t VALUES ('a', '1'), ('a', '1'), ('b', '1');");
    let mut system = database.open("t", None, &["email", "n"]);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let cells = || vec![("n", Some(Raw::text("1")), Some("2"))];
    let changes = [
        change(Action::Update, "a", at(&pulled, 0, &["email"]), cells()),
        change(Action::Delete, "a", at(&pulled, 0, &["email"]), cells()),
        change(Action::Update, "?", Vec::new(), cells()),
        change(Action::Delete, "?", Vec::new(), cells()),
        change(Action::Update, "b", at(&pulled, 2, &["email"]), Vec::new()),
        change(Action::Archive, "b", at(&pulled, 2, &["email"]), cells()),
    ];
    let outcomes = write(&mut *system, &pulled, &changes);
    assert_eq!(why_rejected(&outcomes[0]), "`email` `a` matches 2 rows");
    assert_eq!(why_rejected(&outcomes[1]), "`email` `a` matches 2 rows");
    for outcome in &outcomes[2..5] {
        why_rejected(outcome);
    }
    assert!(is_done(&outcomes[5]));
    assert_eq!(database.rows("SELECT email, n FROM t").join(";"), r#"Text("a") Text("1");Text("a") Text("1");Text("b") Text("2")"#);
}

#[test]
fn sqlite_takes_any_name() {
    let database = Database::new(
        r#"CREATE TABLE "or""der; DROP" ("select" TEXT, "a""b" TEXT, "rowid" TEXT, "from where" TEXT, [group] TEXT PRIMARY KEY);
           INSERT INTO "or""der; DROP" VALUES ('s', 'ab', 'r', 'f', 'g');"#,
    );
    let columns = ["select", "a\"b", "rowid", "from where", "group"];
    let mut system = database.open("or\"der; DROP", Some("group"), &columns);
    assert_eq!(system.columns().unwrap(), columns);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let cells = columns[..4].iter().map(|column| (*column, Some(pulled.raw(column, 0)), Some("new"))).collect();
    let changes =
        [change(Action::Update, "g", at(&pulled, 0, &["group"]), cells), add("h", &[("group", Some("h")), ("a\"b", Some("x")), ("rowid", Some("y"))])];
    let outcomes = write(&mut *system, &pulled, &changes);
    assert_eq!(answer_of(&outcomes[0])[2], ("rowid".to_owned(), Raw::text("new")));
    assert!(matches!(&outcomes[1], Outcome::Done { id: Some(id), .. } if id == "h"), "{outcomes:?}");
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let back = system.read_back(&Wanted { addresses: vec![at(&pulled, 0, &columns)] }).unwrap();
    assert_eq!((back.height(), back.hash(0)), (1, pulled.hash(0)));
    let unknown = change(Action::Update, "g", at(&pulled, 0, &["group"]), vec![("Select", None, Some("x"))]);
    assert!(why_rejected(&write(&mut *system, &pulled, &[unknown])[0]).contains("no column `Select`"));
}

#[test]
fn sqlite_tables_without_rowid_change_their_key() {
    let database = Database::new(
        "CREATE TABLE t (year INTEGER, nr TEXT COLLATE NOCASE, v TEXT, PRIMARY KEY (nr, year)) WITHOUT ROWID;
         INSERT INTO t VALUES (2026, 'B1', 'x'), (2026, 'a1', 'y');",
    );
    let mut system = database.open("t", None, &["year", "nr", "v"]);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    assert_eq!((pulled.raw("nr", 0), pulled.line(1)), (Raw::text("a1"), 2), "in the order of the primary key");
    let key = ["year", "nr"];
    let renamed = change(Action::Update, "k", at(&pulled, 0, &key), vec![("nr", Some(pulled.raw("nr", 0)), Some("C1")), ("v", None, Some("z"))]);
    let taken = change(Action::Update, "k", at(&pulled, 1, &key), vec![("nr", Some(pulled.raw("nr", 1)), Some("c1"))]);
    let removed = change(Action::Delete, "k", at(&pulled, 1, &key), vec![("v", Some(Raw::text("x")), None)]);
    let outcomes = write(&mut *system, &pulled, &[renamed, taken, removed, add("k", &[("year", Some("2027")), ("nr", Some("D"))])]);
    assert_eq!(answer_of(&outcomes[0])[1], ("v".to_owned(), Raw::text("z")), "the answer is that of the renamed row");
    assert_eq!(why_rejected(&outcomes[1]), "UNIQUE constraint failed: t.nr, t.year");
    assert!(is_done(&outcomes[2]) && is_done(&outcomes[3]), "{outcomes:?}");
    assert_eq!(database.rows("SELECT * FROM t"), [r#"Integer(2026) Text("C1") Text("z")"#, r#"Integer(2027) Text("D") Null"#]);
}

#[test]
fn sqlite_never_replaces_another_row() {
    let database = Database::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, email TEXT UNIQUE ON CONFLICT REPLACE, n TEXT NOT NULL ON CONFLICT IGNORE);
         INSERT INTO t VALUES (1, 'a', '1'), (2, 'b', '2');",
    );
    let mut system = database.open("t", Some("id"), &["id", "email", "n"]);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let changes = [add("b", &[("email", Some("b")), ("n", Some("3"))]), set(&pulled, 0, &[("email", Some("b"))]), set(&pulled, 0, &[("n", None)])];
    for outcome in write(&mut *system, &pulled, &changes) {
        assert!(why_rejected(&outcome).contains("constraint failed"), "{outcome:?}");
    }
    assert_eq!(system.pull().unwrap().hash(1), pulled.hash(1));
    assert_eq!(system.pull().unwrap().height(), 2);
}

#[test]
fn sqlite_triggers_have_the_last_word() {
    let database = Database::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, seen TEXT);
         CREATE TABLE log (what TEXT);
         INSERT INTO t VALUES (1, 'a', NULL), (2, 'b', NULL), (3, 'c', NULL), (4, 'd', NULL), (5, 'e', NULL);
         CREATE TRIGGER shorten AFTER UPDATE OF v ON t WHEN length(NEW.v) > 3 BEGIN UPDATE t SET v = substr(NEW.v, 1, 3) WHERE id = NEW.id; END;
         CREATE TRIGGER note_it BEFORE UPDATE ON t BEGIN INSERT INTO log VALUES (NEW.v); END;
         CREATE TRIGGER say_no BEFORE UPDATE ON t WHEN NEW.v = 'no' BEGIN SELECT RAISE(ABORT, 'the period is closed'); END;
         CREATE TRIGGER say_no_to_all BEFORE UPDATE ON t WHEN NEW.v = 'all' BEGIN SELECT RAISE(ROLLBACK, 'everything back'); END;
         CREATE TRIGGER half BEFORE UPDATE ON t WHEN NEW.v = 'half' BEGIN SELECT RAISE(FAIL, 'half done'); END;
         CREATE TRIGGER shrug BEFORE UPDATE ON t WHEN NEW.v = 'hm' BEGIN SELECT RAISE(IGNORE); END;
         CREATE TRIGGER keep BEFORE DELETE ON t BEGIN SELECT RAISE(IGNORE); END;
         CREATE TRIGGER no_new BEFORE INSERT ON t BEGIN SELECT RAISE(IGNORE); END;",
    );
    let mut system = database.open("t", Some("id"), &["id", "v"]);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let to = |row, text| set(&pulled, row, &[("v", Some(text))]);
    let delete = change(Action::Delete, "k", at(&pulled, 4, &["id"]), vec![("v", Some(Raw::text("e")), None)]);
    let changes = [to(0, "abcdef"), to(1, "no"), to(2, "all"), to(1, "half"), to(3, "hm"), delete, add("k", &[("v", Some("x"))]), to(4, "xyz")];
    let outcomes = write(&mut *system, &pulled, &changes);
    assert_eq!(answer_of(&outcomes[0]), [("v".to_owned(), Raw::text("abc"))], "the database's own answer, after its triggers");
    assert_eq!(why_rejected(&outcomes[1]), "the period is closed");
    assert_eq!(why_rejected(&outcomes[2]), "everything back");
    assert_eq!(why_rejected(&outcomes[3]), "half done");
    for ignored in &outcomes[4..7] {
        assert!(why_rejected(ignored).contains("trigger ignored"), "{ignored:?}");
    }
    assert!(is_done(&outcomes[7]), "a trigger that rolls everything back only stops its own change");
    let values = r#"Text("abc");Text("b");Text("c");Text("d");Text("xyz")"#;
    assert_eq!(database.rows("SELECT v FROM t").join(";"), values);
    assert_eq!(database.rows("SELECT what FROM log WHERE what IN ('no', 'all', 'half', 'hm')"), Vec::<String>::new());
}

#[test]
fn sqlite_foreign_keys_hold_also_where_they_wait_for_the_commit() {
    let database = Database::new(
        "CREATE TABLE parent (id INTEGER PRIMARY KEY);
         CREATE TABLE t (id INTEGER PRIMARY KEY, at_once INTEGER REFERENCES parent(id), later INTEGER REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED);
         INSERT INTO parent VALUES (1), (2);
         INSERT INTO t VALUES (1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 1), (5, 1, 1);",
    );
    let mut system = database.open("t", Some("id"), &["id", "at_once", "later"]);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let to = |row, column, text| set(&pulled, row, &[(column, Some(text))]);
    let changes = [to(0, "later", "2"), to(1, "at_once", "99"), to(2, "later", "99"), to(3, "later", "2"), to(4, "at_once", "2")];
    let outcomes = write(&mut *system, &pulled, &changes);
    assert_eq!(outcomes.iter().map(is_done).collect::<Vec<_>>(), [true, false, false, true, true], "{outcomes:?}");
    assert!(why_rejected(&outcomes[1]).contains("FOREIGN KEY constraint failed"));
    assert!(why_rejected(&outcomes[2]).contains("FOREIGN KEY constraint failed"));
    assert_eq!(database.rows("SELECT at_once, later FROM t").join(";").replace("Integer", ""), "(1) (2);(1) (1);(1) (1);(1) (2);(2) (1)");
    let outcomes = write(&mut *system, &pulled, &[to(2, "later", "99")]);
    assert!(why_rejected(&outcomes[0]).contains("FOREIGN KEY constraint failed"));
}

#[test]
fn one_bad_change_of_a_set_that_is_refused_as_a_whole_is_found_by_halves() {
    let fixture = MemoryFixture::new("systems-wholly");
    let people: Vec<Texts> = (1..=200).map(|n| texts([Some(&n.to_string()), Some(&format!("{n}@example.com")), Some("old"), None, None])).collect();
    fixture.fill(&people);
    fixture.0.set_wholly(true).reject("77", "no seventy-sevens").reject("78", "nor this one");
    let mut system = opened(&fixture);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let changes: Vec<Change> = (0..200).map(|row| Change { key: (row + 1).to_string(), ..set(&pulled, row, &[("name", Some("new"))]) }).collect();
    let outcomes = write(&mut *system, &pulled, &changes);
    assert_eq!(outcomes.iter().filter(|outcome| is_done(outcome)).count(), 198);
    assert_eq!((why_rejected(&outcomes[76]), why_rejected(&outcomes[77])), ("no seventy-sevens", "nor this one"));
    assert_eq!(fixture.rows().iter().filter(|row| row[2].as_deref() == Some("new")).count(), 198);
    assert!(fixture.0.calls(Call::Batch) <= 36, "{} calls for two bad of two hundred", fixture.0.calls(Call::Batch));
}

#[test]
fn sqlite_finds_the_rows_that_only_the_commit_minds() {
    let database = Database::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, boss INTEGER REFERENCES t(id) DEFERRABLE INITIALLY DEFERRED);
         WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < 300) INSERT INTO t SELECT n, 'a', 1 FROM i;",
    );
    let mut system = database.open("t", Some("id"), &["id", "v", "boss"]);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let boss = |row: u32| if row == 41 || row == 250 { "9999" } else { "2" };
    let mut changes: Vec<Change> = (0..300).map(|row| set(&pulled, row, &[("boss", Some(boss(row)))])).collect();
    // A row that comes first refers to one that comes last, and another half is at fault.
    changes.insert(0, add("1001", &[("id", Some("1001")), ("boss", Some("1002"))]));
    changes.push(add("1002", &[("id", Some("1002")), ("boss", Some("1"))]));
    let outcomes = system.write(WriteSet { changes: &changes, failures_max: 60, snapshot: None }).unwrap();
    let bad: Vec<usize> = (0..outcomes.len()).filter(|index| !is_done(&outcomes[*index])).collect();
    assert_eq!(bad, [42, 251], "{:?}", bad.iter().map(|index| &outcomes[*index]).collect::<Vec<_>>());
    assert_eq!(why_rejected(&outcomes[42]), "the database refused to commit: FOREIGN KEY constraint failed");
    assert_eq!(database.rows("SELECT count(*) FROM t WHERE boss = 2"), ["Integer(298)"]);
    assert_eq!(database.rows("SELECT boss FROM t WHERE id > 1000"), ["Integer(1002)", "Integer(1)"]);
}

#[test]
fn sqlite_goes_on_after_triggers_that_roll_everything_back() {
    let database = Database::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT);
         WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < 100) INSERT INTO t SELECT n, 'a' FROM i;
         CREATE TRIGGER closed BEFORE UPDATE ON t WHEN old.id % 40 = 0 BEGIN SELECT raise(ROLLBACK, 'closed'); END;",
    );
    let mut system = database.open("t", Some("id"), &["id", "v"]);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let changes: Vec<Change> = (0..100).map(|row| set(&pulled, row, &[("v", Some("b"))])).collect();
    let outcomes = write(&mut *system, &pulled, &changes);
    let bad: Vec<usize> = (0..100).filter(|index| !is_done(&outcomes[*index])).collect();
    assert_eq!((bad.as_slice(), why_rejected(&outcomes[39])), (&[39, 79][..], "closed"));
    assert_eq!(database.rows("SELECT count(*) FROM t WHERE v = 'b'"), ["Integer(98)"]);
}

/// The rows of `t` after these texts were written to `v` of its rows, and the outcomes in one letter each.
fn after_moving(database: &Database, texts: &[(u32, &str)]) -> (String, String) {
    let mut system = database.open("t", Some("id"), &["id", "v"]);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let changes: Vec<Change> = texts.iter().map(|(row, text)| set(&pulled, *row, &[("v", Some(text))])).collect();
    let outcomes = write(&mut *system, &pulled, &changes);
    let letter = |outcome: &Outcome| {
        if is_done(outcome) {
            'd'
        } else if is_stale(outcome) {
            't'
        } else {
            'r'
        }
    };
    let rows = database.rows("SELECT v FROM t ORDER BY id").join("").replace("Text(\"", "").replace("\")", "");
    (rows, outcomes.iter().map(letter).collect())
}

#[test]
fn sqlite_moves_unique_values_along_chains_and_round_rings() {
    let table = |column: &str| {
        Database::new(&format!("CREATE TABLE t (id INTEGER PRIMARY KEY, v {column}); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd');"))
    };
    for column in ["TEXT UNIQUE", "TEXT NOT NULL UNIQUE", "TEXT UNIQUE COLLATE NOCASE"] {
        // In any order of sending: a chain whose end is free, a swap, a ring of three beside a row that is not in it.
        assert_eq!(after_moving(&table(column), &[(0, "b"), (1, "c"), (2, "d"), (3, "e")]), ("bcde".to_owned(), "dddd".to_owned()), "{column}");
        assert_eq!(after_moving(&table(column), &[(3, "e"), (2, "d"), (0, "b"), (1, "c")]), ("bcde".to_owned(), "dddd".to_owned()), "{column}");
        assert_eq!(after_moving(&table(column), &[(0, "b"), (1, "a")]), ("bacd".to_owned(), "dd".to_owned()), "{column}");
        assert_eq!(after_moving(&table(column), &[(1, "c"), (2, "a"), (0, "b"), (3, "x")]), ("bcax".to_owned(), "dddd".to_owned()), "{column}");
        // A row outside wants a value that a ring keeps: only that one is refused.
        assert_eq!(after_moving(&table(column), &[(0, "b"), (1, "a"), (3, "a")]), ("bacd".to_owned(), "ddr".to_owned()), "{column}");
        assert_eq!(after_moving(&table(column), &[(0, "b"), (1, "a"), (3, "c")]), ("bacd".to_owned(), "ddr".to_owned()), "{column}");
    }
    let database = table("TEXT UNIQUE");
    database.run("CREATE TABLE keep (t TEXT); CREATE TRIGGER told AFTER UPDATE ON t BEGIN INSERT INTO keep VALUES (new.v); END;");
    assert_eq!(after_moving(&database, &[(0, "b"), (1, "a")]).1, "dd");
}

#[test]
fn sqlite_swaps_within_an_index_of_several_columns() {
    let database = Database::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, list TEXT, v TEXT, UNIQUE (list, v));
         INSERT INTO t VALUES (1, 'x', 'a'), (2, 'x', 'b'), (3, 'y', 'a'), (4, 'y', 'b'), (5, 'z', 'a');",
    );
    assert_eq!(after_moving(&database, &[(0, "b"), (1, "a"), (2, "b"), (3, "a")]), ("babaa".to_owned(), "dddd".to_owned()));
    // Many pairs at once, and more of them than failures are borne.
    let database = Database::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT UNIQUE);
         WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < 400) INSERT INTO t SELECT n, 'v' || n FROM i;",
    );
    let mut system = database.open("t", Some("id"), &["id", "v"]);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let other = |row: u32| if row.is_multiple_of(2) { row + 2 } else { row };
    let changes: Vec<Change> = (0..400).map(|row| set(&pulled, row, &[("v", Some(&format!("v{}", other(row))))])).collect();
    let outcomes = write(&mut *system, &pulled, &changes);
    assert!(outcomes.iter().all(is_done), "{:?}", outcomes.iter().find(|outcome| !is_done(outcome)));
    assert_eq!(database.rows("SELECT count(*) FROM t WHERE v = 'v' || CASE id % 2 WHEN 1 THEN id + 1 ELSE id - 1 END"), ["Integer(400)"]);
}

#[test]
fn sqlite_leaves_a_swap_to_a_person_that_it_cannot_make() {
    let database = Database::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT NOT NULL UNIQUE CHECK (length(v) = 1)); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd');",
    );
    let mut system = database.open("t", Some("id"), &["id", "v"]);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    let changes = [set(&pulled, 0, &[("v", Some("b"))]), set(&pulled, 1, &[("v", Some("a"))]), set(&pulled, 2, &[("v", Some("x"))])];
    let outcomes = write(&mut *system, &pulled, &changes);
    let why = "its new value is that of another row, which waits for this one's in turn: a swap of 2 rows, which the database refuses as well: \
               CHECK constraint failed: length(v) = 1; give one of them another value first";
    assert_eq!((why_rejected(&outcomes[0]), why_rejected(&outcomes[1]), is_done(&outcomes[2])), (why, why, true));
    // One of the two moved: the other keeps what it has, and nothing temporary is left.
    database.run("CREATE TABLE u (id INTEGER PRIMARY KEY, v TEXT UNIQUE, w TEXT); INSERT INTO u VALUES (1, 'a', 'k'), (2, 'b', 'k');");
    let mut system = database.open("u", Some("id"), &["id", "v", "w"]);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    database.run("UPDATE u SET w = 'edited' WHERE id = 2");
    let changes = [set(&pulled, 0, &[("v", Some("b"))]), set(&pulled, 1, &[("v", Some("a")), ("w", Some("l"))])];
    let outcomes = write(&mut *system, &pulled, &changes);
    assert!(is_stale(&outcomes[1]) && !is_done(&outcomes[0]), "{outcomes:?}");
    assert_eq!(database.rows("SELECT v, w FROM u").join(";").replace("Text", ""), r#"("a") ("k");("b") ("edited")"#);
}

#[test]
fn rows_that_refer_to_swapped_rows_follow_them() {
    let database = Database::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT UNIQUE); INSERT INTO t VALUES (1, 'a'), (2, 'b');
         CREATE TABLE child (n INTEGER, v TEXT REFERENCES t(v) ON UPDATE CASCADE); INSERT INTO child VALUES (1, 'a'), (2, 'b');",
    );
    assert_eq!(after_moving(&database, &[(0, "b"), (1, "a")]), ("ba".to_owned(), "dd".to_owned()));
    assert_eq!(database.rows("SELECT n, v FROM child ORDER BY n").join(";").replace("Integer", "").replace("Text", ""), r#"(1) ("b");(2) ("a")"#);
}

#[test]
fn sqlite_ids_come_from_where_the_table_takes_them() {
    for (columns, fills, id) in [
        ("id INTEGER PRIMARY KEY, v TEXT", true, Some("1")),
        ("id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT", true, Some("1")),
        ("v TEXT, id TEXT PRIMARY KEY DEFAULT (upper('ab'))", true, Some("AB")),
        ("id INTEGER PRIMARY KEY DESC, v TEXT", false, None),
        ("id INT PRIMARY KEY, v TEXT", false, None),
        ("id TEXT, v TEXT", false, None),
    ] {
        let database = Database::new(&format!("CREATE TABLE t ({columns});"));
        let mut system = database.open("t", Some("id"), &["id", "v"]);
        assert_eq!(system.describe().fills_id, fills, "{columns}");
        let pulled = system.pull().and_then(Pulled::whole).unwrap();
        let outcomes = write(&mut *system, &pulled, &[add("k", &[("v", Some("x"))])]);
        assert!(matches!(&outcomes[0], Outcome::Done { id: given, .. } if given.as_deref() == id), "{columns}: {outcomes:?}");
    }
    let strict = Database::new("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, twice INTEGER AS (n * 2)) STRICT; INSERT INTO t (n) VALUES (1);");
    let mut system = strict.open("t", Some("id"), &["id", "n", "twice"]);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    assert_eq!(pulled.raw("twice", 0), typed("2", Storage::Integer));
    let changes = [set(&pulled, 0, &[("n", Some("many"))]), set(&pulled, 0, &[("twice", Some("4"))]), set(&pulled, 0, &[("n", Some("3"))]), add("k", &[])];
    let outcomes = write(&mut *system, &pulled, &changes);
    assert!(why_rejected(&outcomes[0]).contains("cannot store TEXT value in INTEGER column"), "{outcomes:?}");
    assert!(why_rejected(&outcomes[1]).contains("generated column"), "{outcomes:?}");
    assert!(is_done(&outcomes[2]) && is_done(&outcomes[3]));
}

#[test]
fn sqlite_views_and_queries_are_read_and_tables_written() {
    let database = Database::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, old INTEGER); INSERT INTO t VALUES (1, 'a', 0), (2, 'b', 1), (3, 'c', 0);
         CREATE VIEW current AS SELECT id, v FROM t WHERE NOT old;
         CREATE VIRTUAL TABLE words USING fts5(v); INSERT INTO words VALUES ('x');",
    );
    let mut view = database.open("current", Some("id"), &["id", "v"]);
    assert!(!view.describe().writable && !view.describe().fills_id);
    let pulled = view.pull().unwrap();
    assert_eq!((pulled.height(), pulled.raw("v", 1)), (2, Raw::text("c")));
    assert_eq!(view.read_back(&Wanted { addresses: vec![at(&pulled, 1, &["id"])] }).unwrap().raw("v", 0), Raw::text("c"));
    let changes = [set(&pulled, 0, &[("v", Some("x"))])];
    let error = view.write(WriteSet { changes: &changes, failures_max: 0, snapshot: None }).unwrap_err();
    assert!(error.to_string().contains("`current` cannot be written") && error.to_string().contains("nothing was written"));

    assert!(!database.open("words", None, &["v"]).describe().writable);
    assert_eq!(database.open("words", None, &["v"]).pull().unwrap().height(), 1);

    let query = Some("SELECT id, v || '!' AS loud, v FROM t WHERE id > 1 -- only the rest\n;".to_owned());
    let both = SqlSettings { query: query.clone(), ..database.settings("t") };
    let mut system = database.try_open(both, Some("id"), &["id", "loud", "v"]).unwrap();
    assert!(system.describe().writable);
    let pulled = system.pull().and_then(Pulled::whole).unwrap();
    assert_eq!((pulled.height(), pulled.raw("loud", 0)), (2, Raw::text("b!")));
    assert!(is_done(&write(&mut *system, &pulled, &[set(&pulled, 0, &[("v", Some("B"))])])[0]));
    assert_eq!(system.read_back(&Wanted { addresses: vec![at(&pulled, 0, &["id"])] }).unwrap().raw("loud", 0), Raw::text("B!"));

    let alone = SqlSettings { table: None, query, ..database.settings("t") };
    let mut system = database.try_open(alone, Some("id"), &["id", "loud"]).unwrap();
    assert!(!system.describe().writable);
    assert_eq!(system.pull().unwrap().height(), 2);
    assert!(system.write(WriteSet { changes: &changes, failures_max: 0, snapshot: None }).is_err());

    for (query, told) in [("SELECT a FROM nowhere", "no such table: nowhere"), ("DELETE FROM t RETURNING id, v", "syntax error")] {
        let settings = SqlSettings { table: None, query: Some(query.to_owned()), ..database.settings("t") };
        let error = database.try_open(settings, None, &[]).and_then(|mut system| system.pull()).unwrap_err();
        assert_eq!(error.remedy, Remedy::MendJob);
        assert!(error.to_string().contains(told), "{error}");
    }
    assert_eq!(database.rows("SELECT count(*) FROM t"), ["Integer(3)"]);
}

#[test]
fn sqlite_sets_unreadable_text_aside() {
    let database = Database::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, note TEXT);
         INSERT INTO t VALUES (1, 'good', CAST(x'ff' AS TEXT)), (2, CAST(x'4dfc' AS TEXT), ''), (3, 'good', '');",
    );
    let pulled = database.open("t", Some("id"), &["id", "v"]).pull().unwrap();
    assert_eq!((pulled.height(), pulled.evidence.rows_read, pulled.evidence.rows_announced), (2, 3, Some(3)));
    assert_eq!((pulled.line(0), pulled.line(1)), (1, 3));
    let [refused] = pulled.refused.as_slice() else { panic!("one row is refused: {:?}", pulled.refused) };
    assert_eq!((refused.line, refused.column.as_deref(), refused.id.as_deref()), (2, Some("v"), Some("2")));
    assert_eq!((refused.raw.as_deref(), refused.reason.as_str()), (Some("M\u{fffd}"), "the text is not valid UTF-8"));
}

#[test]
fn sqlite_notes_changed_columns() {
    let database = Database::new("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)");
    let spec = spec(Kind::Sql(database.settings("t")), Some("id"));
    let found = database.open("t", Some("id"), &["id"]).pull().unwrap().evidence.found;
    let open_again = || open_with(database.folder.path(), &spec, &["id", "v"], found.clone()).unwrap();
    assert_eq!(open_again().pull().unwrap().evidence.notes, Vec::<String>::new());
    database.run("ALTER TABLE t ADD COLUMN phone TEXT");
    let notes = open_again().pull().unwrap().evidence.notes;
    assert_eq!(notes, ["the columns of `crm` changed: they were id INTEGER, v TEXT, they are id INTEGER, v TEXT, phone TEXT"]);
}

#[test]
fn sqlite_reads_back_many_rows_and_unindexed_keys() {
    let database = Database::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, email TEXT, n INTEGER);
         WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < 40000)
         INSERT INTO t SELECT n, n || '@example.com', n % 7 FROM i;",
    );
    let mut system = database.open("t", Some("id"), &["id", "email"]);
    let wanted = |count: usize| Wanted { addresses: (1..=count).map(|n| vec![part("email", Raw::text(format!("{n}@example.com")))]).collect() };
    assert_eq!(system.read_back(&wanted(0)).unwrap().height(), 0);
    assert_eq!(system.read_back(&wanted(20_000)).unwrap().height(), 20_000);
    assert_eq!(system.read_back(&wanted(35_000)).unwrap().height(), 40_000, "so many that everything is read");
    let ids = Wanted { addresses: vec![vec![part("id", Raw::text("7"))], vec![part("id", typed("8", Storage::Integer)), part("email", Raw::null())]] };
    let back = system.read_back(&ids).unwrap();
    assert_eq!((back.height(), back.raw("id", 0)), (1, typed("7", Storage::Integer)));
    let unknown = Wanted { addresses: vec![vec![part("emial", Raw::text("7"))]] };
    assert!(system.read_back(&unknown).unwrap_err().to_string().contains("did you mean `email`?"));
}

#[test]
fn sqlite_says_what_is_wrong_with_a_database() {
    let database = Database::new("CREATE TABLE customers (id INTEGER PRIMARY KEY); CREATE TABLE invoices (id INTEGER PRIMARY KEY);");
    std::fs::write(database.folder.path().join("text.db"), "id,name\n".repeat(200)).unwrap();
    std::fs::write(database.folder.path().join("empty.db"), "").unwrap();
    let mut torn = std::fs::read(database.path()).unwrap();
    torn[100..4096].fill(0xee);
    std::fs::write(database.folder.path().join("torn.db"), torn).unwrap();
    for (url, table, remedy, told) in [
        ("sqlite:some books.db", "custmers", Remedy::MendJob, "tables of `crm`: customers, invoices\nhint: did you mean `customers`?"),
        ("sqlite:some books.db", "Customers", Remedy::MendJob, "did you mean `customers`?"),
        ("sqlite:empty.db", "customers", Remedy::MendJob, "the database has no tables"),
        ("sqlite:missing.db", "customers", Remedy::GiveAccess, "the database file does not exist"),
        ("sqlite:.", "customers", Remedy::GiveAccess, "is a folder"),
        ("sqlite:text.db", "customers", Remedy::Look, "the file is not a SQLite database"),
        ("sqlite:torn.db", "customers", Remedy::Look, "damaged"),
        ("sqlite:", "customers", Remedy::MendJob, "names no file"),
        ("some books.db", "customers", Remedy::MendJob, "does not begin with `sqlite:`"),
        ("postgres://ada:secret@example.com", "customers", Remedy::MendJob, "names no database"),
        ("mysql://:secret@example.com/books", "customers", Remedy::MendJob, "names no user"),
    ] {
        let settings = SqlSettings { url: url.to_owned(), ..database.settings(table) };
        let error = match database.try_open(settings, None, &[]) {
            Ok(_) => panic!("{url} was opened"),
            Err(error) => error,
        };
        assert_eq!(error.remedy, remedy, "{url}: {error}");
        assert!(error.to_string().contains(told), "{url}: {error}");
        assert!(!error.diagnostics[0].message.contains("secret"), "{error}");
    }
    assert!(!database.folder.path().join("missing.db").exists(), "a database is never created");
    let absolute = SqlSettings { url: format!("sqlite://{}", database.path().display()), ..database.settings("customers") };
    assert!(database.try_open(absolute, None, &["id"]).unwrap().pull().is_ok());
    let neither = SqlSettings { table: None, ..database.settings("") };
    assert!(database.try_open(neither, None, &[]).is_err());
}

#[test]
fn sqlite_never_writes_what_may_not_be_written() {
    let database = Database::new("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'a');");
    let never = May { create: Permission::Never, update: Permission::Never, delete: Permission::Never };
    for (role, may) in [(Role::Source, May::default()), (Role::Witness, May::default()), (Role::Peer, never)] {
        let spec = SystemSpec { role, may, ..spec(Kind::Sql(database.settings("t")), Some("id")) };
        let mut system = open_with(database.folder.path(), &spec, &["id", "v"], BTreeMap::new()).unwrap();
        let pulled = system.pull().and_then(Pulled::whole).unwrap();
        let changes = [set(&pulled, 0, &[("v", Some("b"))])];
        let error = system.write(WriteSet { changes: &changes, failures_max: 0, snapshot: None }).unwrap_err();
        assert_eq!(error.remedy, Remedy::MendJob);
        assert_eq!(database.rows("SELECT v FROM t"), [r#"Text("a")"#]);
    }
}
