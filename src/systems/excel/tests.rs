//! What is read from the workbooks of `fixtures/systems`, and what may not be written.

use std::fs;
use std::path::Path;

use super::*;
use crate::change::{Action, AddressPart, CellChange, Change, Reason};
use crate::job::{EditedAt, ExcelColumn, ExcelHeader, ExcelHeaderAt, Gates, Kind, May, Role, SystemSpec};
use crate::value::{FieldType, Raw, Value};

/// A workbook and what a job asks of it.
struct Try {
    root: PathBuf,
    settings: ExcelSettings,
    columns: Vec<String>,
    known: BTreeMap<String, String>,
    id: Option<String>,
    edited_at: Option<EditedAt>,
}

impl Try {
    fn at(root: &Path, file: &str) -> Try {
        let settings = ExcelSettings { path: file.to_owned(), ..ExcelSettings::default() };
        Try { root: root.to_owned(), settings, columns: Vec::new(), known: BTreeMap::new(), id: None, edited_at: None }
    }

    fn fixture(file: &str) -> Try {
        Try::at(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/systems"), &format!("excel_{file}"))
    }

    fn column(mut self, name: &str, field_type: FieldType) -> Try {
        self.columns.push(name.to_owned());
        self.settings.columns.push(ExcelColumn {
            name: name.to_owned(),
            field_type,
            is_key: false,
            is_identifier: false,
            declares_dates: false,
            fixed_width: None,
            timezone: None,
        });
        self
    }

    /// Changes what the job says about the last column.
    fn with(mut self, change: impl FnOnce(&mut ExcelColumn)) -> Try {
        change(self.settings.columns.last_mut().unwrap());
        self
    }

    fn set(mut self, change: impl FnOnce(&mut ExcelSettings)) -> Try {
        change(&mut self.settings);
        self
    }

    fn open(&self) -> Result<ExcelSheet, Error> {
        let spec = SystemSpec {
            name: "sheet".into(),
            kind: Kind::Excel(self.settings.clone()),
            role: Role::Peer,
            may: May::default(),
            only: vec![],
            id: self.id.clone(),
            edited_at: self.edited_at.clone(),
            gates: Gates::default(),
        };
        let opening = Opening { root: &self.root, job: "demo", spec: &spec, columns: self.columns.clone(), known: self.known.clone(), state: None };
        ExcelSheet::open(&self.settings, &opening)
    }

    fn pull(&self) -> Pulled {
        self.open().unwrap().pull().unwrap()
    }

    /// A line a row: its row on the sheet, each cell with its storage class, and `!` with the reason for a fault.
    fn rows(&self) -> Vec<String> {
        let pulled = self.pull();
        let cell = |row: u32, name: &String| {
            let raw = pulled.raw(name, row);
            let fault = pulled.faults.get(name).into_iter().flatten().find(|(at, _)| *at == row);
            let class = match raw.storage as u8 {
                2 => "#",
                4 => "@",
                _ => "",
            };
            match fault {
                Some((_, why)) => format!("!{} {why}", raw.text.unwrap()),
                None => format!("{class}{}", raw.text.unwrap()),
            }
        };
        let line = |row| format!("{}: {}", pulled.line(row), self.columns.iter().map(|name| cell(row, name)).collect::<Vec<_>>().join(" | "));
        (0..u32::try_from(pulled.height()).unwrap()).map(line).collect()
    }

    fn error(&self) -> (Remedy, String) {
        let error = self.open().and_then(|mut sheet| sheet.pull()).expect_err("an error");
        (error.remedy, error.to_string())
    }
}

fn types(file: &str) -> Try {
    use FieldType::{Boolean, Date, Datetime, Decimal, Text};
    let table = Try::fixture(file).column("Nr", Text).column("Name", Text).column("Konto", Text).with(|column| column.is_identifier = true);
    table.column("Betrag", Decimal(2)).column("Seit", Date).column("Uhr", Datetime).column("Aktiv", Boolean).column("Formel", Decimal(2)).column("Notiz", Text)
}

const LONG: &str = "!123456789012346000 is a number of more than 15 digits: a workbook keeps no more, the others are lost";
const SHORTENED: &str = "!1.2E+15 is a long number that a spreadsheet shortened: its digits are lost";
const EARLY: &str = "!12 the serial number 12 is before 1 March 1900, where programs count days differently";

#[test]
fn every_sort_of_cell_is_read_as_it_is_shown() {
    assert_eq!(
        types("types.xlsx").rows(),
        [
            "2: #00042 | Müller | 0012 | #1234.5 | @2024-02-29 | @12:30:00 | TRUE | #2469 | ".to_owned(),
            format!("3: #00007 |   O'Brien  | {LONG} | #0.1 | @2024-02-29 | @2024-02-29T18:00:00 | FALSE | #0.3 | =1+1"),
            format!("4: #12345 |  | {SHORTENED} | 1.234,50 | @2024-02-29 | @26:30:00 |  | !#DIV/0! holds the error `#DIV/0!` | zwei\nZeilen"),
            format!("5: #00099 |  | x | #-0.5 | {EARLY} |  | ja | !#N/A holds the error `#N/A` | "),
        ]
    );
    let evidence = types("types.xlsx").pull().evidence;
    assert_eq!((evidence.origin.as_str(), evidence.rows_read, evidence.sha256.map(|sha256| sha256.len())), ("excel_types.xlsx!Kunden", 4, Some(64)));
    assert_eq!(
        evidence.notes,
        ["`Nr` (A): zeros that only the number format shows restored in 3 cells", "`Seit` (E): a time of day that the number format hides left out in 1 cell"]
    );
}

#[test]
fn older_and_open_formats_are_read_as_far_as_they_tell() {
    // Of these the number formats are not known: zeros that only a format shows are lost, and a hidden time of day is seen.
    let expected = |early: &str, yes: &str, no: &str| {
        [
            format!("2: #42 | Müller | 0012 | #1234.5 | @2024-02-29 | @12:30:00 | {yes} | #2469 | "),
            format!("3: #7 |   O'Brien  | {LONG} | #0.1 | @2024-02-29 | @2024-02-29T18:00:00 | {no} | #0.3 | =1+1"),
            format!("4: #12345 |  | {SHORTENED} | 1.234,50 | @2024-02-29T18:00:00 | @26:30:00 |  | !#DIV/0! holds the error `#DIV/0!` | zwei\nZeilen"),
            format!("5: #99 |  | x | #-0.5 | {early} |  | ja | !#N/A holds the error `#N/A` | "),
        ]
    };
    assert_eq!(types("types.xls").rows(), expected(EARLY, "TRUE", "FALSE"));
    assert_eq!(types("types.ods").rows(), expected("@1900-01-11", "#1", "#0"));
    let binary = Try::fixture("types.xlsb").column("Nr", FieldType::Text).column("Betrag", FieldType::Decimal(2)).column("Seit", FieldType::Date);
    assert_eq!(binary.rows(), ["2: 007 | #1234.5 | @2024-02-29", "3: 008 | #-0.5 | @2024-02-29T18:00:00"]);
}

#[test]
fn a_cell_is_what_the_job_takes_its_column_for() {
    let all_texts = Try::fixture("types.xlsx").column("Konto", FieldType::Text).column("Seit", FieldType::Text).column("Aktiv", FieldType::Text);
    assert_eq!(
        all_texts.rows(),
        [
            "2: 0012 | @2024-02-29 | TRUE".to_owned(),
            format!("3: {LONG} | #45351 | FALSE"),
            "4: 1.2E+15 | @2024-02-29 | ".to_owned(),
            format!("5: x | {EARLY} | ja"),
        ]
    );
    let moments = Try::fixture("types.xlsx").column("Seit", FieldType::Datetime).column("Nr", FieldType::Date);
    assert_eq!(
        moments.rows(),
        [
            "2: @2024-02-29 | !42 is a number, and none that means a day",
            "3: @2024-02-29 | !7 is a number, and none that means a day",
            "4: @2024-02-29T18:00:00 | @1933-10-18",
            &format!("5: {EARLY} | @1900-04-08"),
        ]
    );
    // Digits that the job declares to be a date are no serial number.
    let declared = Try::fixture("types.xlsx").column("Nr", FieldType::Date).with(|column| column.declares_dates = true);
    assert_eq!(declared.rows()[0], "2: #42");
    let null = Try::fixture("types.xlsx").column("Formel", FieldType::Decimal(2)).set(|settings| settings.errors_as_null = vec!["#n/a".into()]);
    assert_eq!(null.rows()[2..], ["4: !#DIV/0! holds the error `#DIV/0!`", "5: "]);
}

#[test]
fn lost_zeros_come_back_where_the_job_says_how_many_digits_there_are() {
    let table = Try::fixture("types.xls").column("Nr", FieldType::Text).with(|column| column.fixed_width = Some(5));
    assert_eq!(table.rows(), ["2: #00042", "3: #00007", "4: #12345", "5: #00099"]);
    assert_eq!(table.pull().evidence.notes, ["`Nr` (A): lost zeros restored by `fixed_width` in 3 cells"]);
}

#[test]
fn days_are_counted_from_the_year_that_the_workbook_says() {
    let table = Try::fixture("1904.xlsx").column("id", FieldType::Text).column("day", FieldType::Date);
    assert_eq!(table.rows(), ["2: a | @2024-02-29", "3: b | @2024-02-29", "4: c | @1904-01-01"]);
}

fn titles(file: &str) -> Try {
    let header = ExcelHeader { at: ExcelHeaderAt::Row(4), rows: 2 };
    let table = Try::fixture(file).set(|settings| (settings.sheet, settings.header) = (Some("Umsatz 2026".into()), header));
    table
        .column("Kunde / Nr", FieldType::Text)
        .with(|column| column.is_key = true)
        .column("Betrag / EUR", FieldType::Decimal(2))
        .column("Stand", FieldType::Date)
}

#[test]
fn a_table_is_found_among_titles_blank_rows_and_totals() {
    let rows = ["6: K1 | #10.5 | @2026-01-31", "7: K2 | #20.25 | @2026-02-28", "9: K3 | #30 | @2026-03-31"];
    let total =
        "11: ! looks like a total: its `Betrag / EUR` is the sum of the rows above; say with `drop_where` or `stop_at` how such rows are told | #60.75 | ";
    let all = [&rows[..], &[total, "12: gedruckt am 1.4.2026 |  | "]].concat();
    for file in ["titles.xlsx", "titles.xls"] {
        assert_eq!(titles(file).rows(), all, "{file}");
        assert!(titles(file).pull().evidence.notes.contains(&"2 rows between the others left out: blank".to_owned()));
        let found = titles(file).set(|settings| settings.header.at = ExcelHeaderAt::Find(vec!["Kunde / Nr".into(), "Stand".into()]));
        assert_eq!(found.rows(), all, "{file}");
        let stopped = titles(file).set(|settings| settings.stop_at = vec!["summe".into()]);
        assert_eq!(stopped.rows(), rows, "{file}");
        assert!(stopped.pull().evidence.notes.contains(&"the table ends above row 11 (`Summe`): 2 rows from there on left out by `stop_at`".to_owned()));
        let without = [("Kunde / Name".to_owned(), vec!["Summe".to_owned()]), ("Kunde / Nr".to_owned(), vec!["gedruckt am 1.4.2026".to_owned()])];
        assert_eq!(titles(file).set(|settings| settings.drop_where = without.to_vec()).rows(), rows, "{file}");
    }
    let notes = titles("titles.xlsx").pull().evidence.notes;
    assert!(notes.contains(&"1 row hidden or filtered out on the sheet, and read like the others".to_owned()), "{notes:?}");
    assert!(notes.contains(&"hidden columns, read like the others: `Betrag / USD` (E)".to_owned()), "{notes:?}");
    let hidden = Try::fixture("titles.xlsx").set(|settings| settings.sheet = Some("Rechnung".into())).pull().evidence.notes;
    assert_eq!(hidden, ["the sheet `Rechnung` is hidden"]);
    assert_eq!(titles("titles.xlsx").open().unwrap().columns().unwrap(), ["Kunde / Nr", "Kunde / Name", "Betrag / EUR", "Betrag / USD", "Stand"]);
}

#[test]
fn errors_of_newer_programs_are_cells_like_others() {
    let table = Try::fixture("new_errors.xlsx").column("id", FieldType::Text).column("value", FieldType::Decimal(2));
    assert_eq!(
        table.rows(),
        ["2: a | !#SPILL! holds the error `#SPILL!`", "3: b | #2", "4:  | !#REF! holds the error `#REF!`", "5: d | !#DIV/0! holds the error `#DIV/0!`"]
    );
}

#[test]
fn what_makes_the_table_uncertain_stops_the_run() {
    let uncalculated = || Try::fixture("uncalculated.xlsx").column("id", FieldType::Text).column("gross", FieldType::Decimal(2));
    let find = |name: &str| titles("titles.xlsx").set(|settings| settings.header.at = ExcelHeaderAt::Find(vec![name.into()]));
    for (table, remedy, start, part) in [
        (
            uncalculated(),
            Remedy::Look,
            "error: excel_uncalculated.xlsx!Sheet: the formulas of column `gross` were never calculated",
            "5 of 5 cells of column C",
        ),
        (titles("titles.xlsx").set(|s| s.sheet = None), Remedy::MendJob, "error: excel_titles.xlsx: the workbook has 2 sheets", "`Umsatz 2026`, `Rechnung`"),
        (
            titles("titles.xlsx").set(|s| s.sheet = Some("Umsatz 2025".into())),
            Remedy::MendJob,
            "error: excel_titles.xlsx: the workbook has no sheet `Umsatz 2025`",
            "did you mean `Umsatz 2026`?",
        ),
        (
            titles("titles.xlsx").set(|s| s.header = ExcelHeader::default()),
            Remedy::MendJob,
            "error: excel_titles.xlsx!Umsatz 2026:2: column `Kunde / Nr` is not in system `sheet`",
            "say with `header` where it is",
        ),
        (find("Konto"), Remedy::Look, "error: excel_titles.xlsx!Umsatz 2026: no row of the sheet has all of `Konto`", "row 2 holds: Umsätze je Kunde"),
        (
            titles("titles.xlsx").set(|s| s.header.at = ExcelHeaderAt::Row(40)),
            Remedy::Look,
            "error: excel_titles.xlsx!Umsatz 2026:40: there is no header on this row or below",
            "nothing was read or written",
        ),
        (Try::fixture("absent.xlsx"), Remedy::GiveAccess, "error: excel_absent.xlsx: there is no such file", "nothing was read or written"),
        (
            Try::at(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/systems"), "csv_bom.csv"),
            Remedy::Look,
            "error: csv_bom.csv: the file is no workbook",
            "it is a text file",
        ),
    ] {
        let (seen, message) = table.error();
        assert_eq!(seen, remedy, "{message}");
        assert!(message.starts_with(start) && message.contains(part), "{message}");
    }
    // What nobody insists on is left to the rows: a missing result is never empty.
    let mut sheet = uncalculated().open().unwrap();
    let back = sheet.read_back(&Wanted::default()).unwrap();
    assert_eq!((back.height(), back.faults["gross"].len()), (5, 5));
}

#[test]
fn hostile_files_are_errors_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/systems/excel_types.xlsx")).unwrap();
    let old = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/systems/excel_types.xls")).unwrap();
    for bytes in [&whole, &old] {
        for cut in (0..bytes.len()).step_by(97) {
            fs::write(folder.path().join("a.xlsx"), &bytes[..cut]).unwrap();
            // A cut file is an error, or what was cut off held no cell.
            let _ = Try::at(folder.path(), "a.xlsx").column("Nr", FieldType::Text).open().unwrap().pull();
            let mut broken = bytes.clone();
            broken[cut] ^= 0x5a;
            fs::write(folder.path().join("a.xlsx"), &broken).unwrap();
            let _ = Try::at(folder.path(), "a.xlsx").column("Nr", FieldType::Text).open().unwrap().pull();
        }
    }
}

#[test]
fn columns_that_come_and_go_are_noted() {
    let mut table = Try::fixture("1904.xlsx").column("id", FieldType::Text);
    table.known = BTreeMap::from([(HEADER.to_owned(), "[\"id\",\"Region\"]".to_owned()), (SHEET.to_owned(), "Old".to_owned())]);
    let notes = table.pull().evidence.notes;
    assert_eq!(
        notes,
        ["the sheet was `Old`, it is `Sheet` now", "columns new on the sheet, not used by the job: `day`", "columns no longer on the sheet: `Region`"]
    );
}

// ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

const FIELDS: [(&str, FieldType); 7] = [
    ("Nr", FieldType::Text),
    ("Name", FieldType::Text),
    ("Betrag", FieldType::Decimal(2)),
    ("Seit", FieldType::Date),
    ("Aktiv", FieldType::Boolean),
    ("Plz", FieldType::Text),
    ("Summe", FieldType::Decimal(2)),
];

/// Two rows of every sort of cell, in a folder of its own.
fn book() -> (tempfile::TempDir, Try) {
    use rust_xlsxwriter::{ExcelDateTime, Format, Formula, Workbook};
    let folder = tempfile::tempdir().unwrap();
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    let (zeros, money, day) = (Format::new().set_num_format("00000"), Format::new().set_num_format("#,##0.00"), Format::new().set_num_format("dd.mm.yyyy"));
    for (column, (name, _)) in (0..).zip(FIELDS) {
        sheet.write(0, column, name).unwrap();
    }
    for (row, number, name, amount, plz) in [(1, 42.0, "Ann", 10.5, "01234"), (2, 43.0, "Bob", 20.0, "10115")] {
        sheet.write_with_format(row, 0, number, &zeros).unwrap();
        sheet.write(row, 1, name).unwrap();
        sheet.write_with_format(row, 2, amount, &money).unwrap();
        sheet.write_with_format(row, 3, ExcelDateTime::from_ymd(2024, 2, 29).unwrap(), &day).unwrap();
        sheet.write(row, 4, row == 1).unwrap();
        sheet.write(row, 5, plz).unwrap();
        sheet.write(row, 6, Formula::new(format!("=C{}*2", row + 1)).set_result((amount * 2.0).to_string())).unwrap();
    }
    book.save(folder.path().join("book.xlsx")).unwrap();
    let table = FIELDS.into_iter().fold(Try::at(folder.path(), "book.xlsx"), |table, (name, field_type)| table.column(name, field_type));
    (folder, table)
}

fn cell(column: &str, before: Option<Raw>, after: Value, spelled: &str) -> CellChange {
    let after_raw = if spelled.is_empty() { Raw::null() } else { Raw::text(spelled) };
    CellChange { field: None, column: column.into(), before_raw: before, before: Value::Null, after, after_raw, reason: Reason::Standardised }
}

fn change(action: Action, address: Vec<AddressPart>, cells: Vec<CellChange>) -> Change {
    Change {
        number: 1,
        system: "sheet".into(),
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

/// Sets cells of a pulled row.
fn set(pulled: &Pulled, row: u32, cells: Vec<(&str, Value, &str)>) -> Change {
    let address = vec![AddressPart { column: "Nr".into(), raw: pulled.raw("Nr", row) }];
    let cells = cells.into_iter().map(|(column, after, spelled)| cell(column, Some(pulled.raw(column, row)), after, spelled)).collect();
    change(Action::Update, address, cells)
}

fn write(sheet: &mut ExcelSheet, changes: &[Change]) -> Vec<String> {
    let outcomes = sheet.write(WriteSet { changes, failures_max: 5, snapshot: None }).unwrap();
    let words = outcomes.into_iter().map(|outcome| match outcome {
        Outcome::Done { .. } => "done".to_owned(),
        Outcome::Rejected { reason } => format!("rejected: {reason}"),
        Outcome::Stale { reason } => format!("stale: {reason}"),
        Outcome::Skipped { reason } => format!("skipped: {reason}"),
        Outcome::Unknown { reason } => format!("unknown: {reason}"),
    });
    words.collect()
}

fn decimal(text: &str) -> Value {
    FieldType::Decimal(2).parse_canonical(text).unwrap()
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn date(text: &str) -> Value {
    FieldType::Date.parse_canonical(text).unwrap()
}

#[test]
fn a_cell_stays_what_it_is() {
    let (folder, table) = book();
    let mut sheet = table.open().unwrap();
    let pulled = sheet.pull().unwrap();
    assert_eq!(table.rows()[0], "2: #00042 | Ann | #10.5 | @2024-02-29 | TRUE | 01234 | #21");
    let cells = vec![
        ("Nr", text("00044"), "00044"),
        ("Name", text("=1+1"), "=1+1"),
        ("Betrag", decimal("1234.50"), "1.234,50"),
        ("Seit", date("2026-12-31"), "31.12.2026"),
        ("Aktiv", Value::Boolean(false), "nein"),
        ("Plz", text("00099"), "00099"),
    ];
    let created = [("Nr", text("00050")), ("Name", text("Cem")), ("Betrag", decimal("-0.05")), ("Seit", date("2025-01-02")), ("Plz", text("5"))];
    let created = created.into_iter().map(|(column, value)| cell(column, None, value.clone(), &value.to_string())).collect();
    let changes = [set(&pulled, 0, cells), change(Action::Create, Vec::new(), created)];
    assert_eq!(write(&mut sheet, &changes), ["done", "done"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the former file is kept beside it");
    let without_result = "! is a formula without a result: open the workbook in Excel or LibreOffice and save it";
    assert_eq!(
        table.rows(),
        [
            format!("2: #00044 | =1+1 | #1234.5 | @2026-12-31 | FALSE | 00099 | {without_result}"),
            "3: #00043 | Bob | #20 | @2024-02-29 | FALSE | 10115 | #40".to_owned(),
            "4: #00050 | Cem | #-0.05 | @2025-01-02 |  | 5 | ".to_owned(),
        ]
    );
    // The same set once more was decided on a file that is no longer there.
    assert_eq!(write(&mut sheet, &changes), ["stale: the file was changed since it was read"; 2]);
}

#[test]
fn what_cannot_be_written_is_told_and_the_rest_is_made() {
    let (_folder, table) = book();
    let mut sheet = table.open().unwrap();
    let pulled = sheet.pull().unwrap();
    let mut moved = set(&pulled, 1, vec![("Name", text("x"), "x")]);
    moved.cells[0].before_raw = Some(Raw::text("Bobby"));
    let mut gone = set(&pulled, 1, vec![("Name", text("x"), "x")]);
    gone.address[0].raw = Raw::text("99999");
    let removed = Change { action: Action::Delete, cells: Vec::new(), ..set(&pulled, 0, Vec::new()) };
    let changes = [
        set(&pulled, 0, vec![("Summe", decimal("1.00"), "1.00")]),
        set(&pulled, 0, vec![("Betrag", decimal("12345678901234567.89"), "12345678901234567.89")]),
        set(&pulled, 0, vec![("Name", text(&"x".repeat(32_768)), &"x".repeat(32_768))]),
        set(&pulled, 0, vec![("Seit", date("1899-12-31"), "31.12.1899")]),
        moved,
        gone,
        set(&pulled, 1, vec![("Name", text("Robert"), "Robert"), ("Betrag", Value::Null, "")]),
    ];
    let outcomes = write(&mut sheet, &changes);
    for (outcome, expected) in outcomes.iter().zip([
        "rejected: `Summe` (G2) is a formula, and no formula is ever replaced",
        "rejected: `Betrag` has more than 15 digits, which no number of a workbook keeps",
        "rejected: `Name` is longer than a cell of a workbook may be: 32767 characters",
        "rejected: `Seit` the serial number",
        "stale: `Name` (B3) is no longer what was read there",
        "stale: no row has the expected `Nr` any more",
        "done",
    ]) {
        assert!(outcome.starts_with(expected), "{outcome}");
    }
    let rows = table.rows();
    assert_eq!(rows[0], "2: #00042 | Ann | #10.5 | @2024-02-29 | TRUE | 01234 | #21");
    assert!(rows[1].starts_with("3: #00043 | Robert |  | @2024-02-29"), "{rows:?}");
    let mut again = table.open().unwrap();
    again.pull().unwrap();
    assert_eq!(write(&mut again, &[removed]), ["rejected: no row is ever taken out of a workbook: delete it by hand"]);
}

#[test]
fn a_workbook_that_somebody_has_open_is_left_alone() {
    for (file, content, by) in [
        (".~lock.book.xlsx#", b",ada,desk,23.11.2026 09:30,file:///home/ada;".as_slice(), "in LibreOffice by ada"),
        ("~$book.xlsx", b"\x0bAda Lovelace and more".as_slice(), "in Excel by Ada Lovelac"),
    ] {
        let (folder, table) = book();
        let before = fs::read(folder.path().join("book.xlsx")).unwrap();
        fs::write(folder.path().join(file), content).unwrap();
        let mut sheet = table.open().unwrap();
        let pulled = sheet.pull().unwrap();
        assert_eq!(pulled.evidence.notes[0], format!("the workbook is open {by}: what is not saved yet is not read"));
        let changes = [set(&pulled, 0, vec![("Name", text("x"), "x")])];
        let error = sheet.write(WriteSet { changes: &changes, failures_max: 5, snapshot: None }).unwrap_err();
        assert_eq!((error.remedy, error.headline(), error.passing.is_some()), (Remedy::GiveAccess, format!("the workbook is open {by}").as_str(), true));
        assert!(error.to_string().contains(&format!("close it, then run again; if it is not open, remove `{file}` beside it")), "{error}");
        assert_eq!(fs::read(folder.path().join("book.xlsx")).unwrap(), before);
        fs::remove_file(folder.path().join(file)).unwrap();
        assert_eq!(write(&mut sheet, &[set(&pulled, 0, vec![("Name", text("x"), "x")])]), ["done"]);
    }
}

#[test]
fn only_xlsx_is_written_whatever_a_file_is_called() {
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in [("excel_types.xls", "a.xlsx"), ("excel_types.ods", "a.ods")] {
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/systems").join(from), folder.path().join(to)).unwrap();
        let mut sheet = Try::at(folder.path(), to).column("Name", FieldType::Text).open().unwrap();
        sheet.pull().unwrap();
        let error = sheet.prepare().unwrap_err();
        assert_eq!((error.remedy, error.diagnostics[0].message.as_str()), (Remedy::MendJob, "this workbook can only be read"));
    }
    let (_folder, table) = book();
    let mut sheet = table.open().unwrap();
    sheet.pull().unwrap();
    sheet.prepare().unwrap();
    assert!(sheet.describe().writable);
}

#[test]
fn nothing_is_added_below_a_total() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/systems/excel_titles.xlsx"), folder.path().join("a.xlsx")).unwrap();
    let table = titles("titles.xlsx").set(|settings| (settings.path, settings.stop_at) = ("a.xlsx".into(), vec!["Summe".into()]));
    let table = Try { root: folder.path().to_owned(), ..table };
    let mut sheet = table.open().unwrap();
    sheet.pull().unwrap();
    let created = change(Action::Create, Vec::new(), vec![cell("Kunde / Nr", None, text("K4"), "K4")]);
    assert_eq!(write(&mut sheet, &[created]), ["rejected: a new row would stand below row 11, which is not part of the table: make room above it"]);
}

#[test]
fn the_first_row_that_finds_no_place_stands_for_all_later_ones() {
    let folder = tempfile::tempdir().unwrap();
    let mut book = rust_xlsxwriter::Workbook::new();
    let sheet = book.add_worksheet();
    for (column, name) in (0..).zip(["Nr", "Betrag"]) {
        sheet.write(0, column, name).unwrap();
    }
    for row in 1..4 {
        sheet.write(row, 0, format!("K{row}")).unwrap();
        sheet.write(row, 1, 5).unwrap();
    }
    // A total beside the last row of the table, under its own column.
    sheet.write(3, 3, rust_xlsxwriter::Formula::new("SUM(D1:D3)").set_result("0")).unwrap();
    book.save(folder.path().join("book.xlsx")).unwrap();
    let table = Try::at(folder.path(), "book.xlsx").column("Nr", FieldType::Text).column("Betrag", FieldType::Decimal(2));
    let mut sheet = table.open().unwrap();
    let pulled = sheet.pull().unwrap();
    let created = |nr: &str| change(Action::Create, Vec::new(), vec![cell("Nr", None, text(nr), nr)]);
    let changes = [created("K8"), set(&pulled, 0, vec![("Betrag", decimal("6.00"), "6.00")]), created("K9")];
    let why = "rejected: rows cannot be appended under a total; cells: D4";
    assert_eq!(write(&mut sheet, &changes), [why, "done", why]);
    assert_eq!(table.rows()[0], "2: K1 | #6");
}

/// A workbook whose one sheet has these rows, with its parts where the names say.
fn by_hand(folder: &Path, workbook: &str, rows: &str) {
    use std::io::Write as _;
    use zip::write::SimpleFileOptions;
    const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    const OFFICE: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let relation = |kind: &str, target: &str| {
        format!(
            "<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\"><Relationship Id=\"rId1\" Type=\"{OFFICE}/{kind}\" Target=\"{target}\"/></Relationships>"
        )
    };
    let (before, name) = workbook.rsplit_once('/').map_or((String::new(), workbook), |(folder, name)| (format!("{folder}/"), name));
    let parts = [
        ("[Content_Types].xml".to_owned(), "<Types/>".to_owned()),
        ("_rels/.rels".to_owned(), relation("officeDocument", workbook)),
        (
            workbook.to_owned(),
            format!("<workbook xmlns=\"{MAIN}\" xmlns:r=\"{OFFICE}\"><sheets><sheet name=\"Data\" sheetId=\"1\" r:id=\"rId1\"/></sheets></workbook>"),
        ),
        (format!("{before}_rels/{name}.rels"), relation("worksheet", "/data/sheet.xml")),
        ("data/sheet.xml".to_owned(), format!("<worksheet xmlns=\"{MAIN}\"><sheetData>{rows}</sheetData></worksheet>")),
    ];
    let mut writer = zip::ZipWriter::new(fs::File::create(folder.join("book.xlsx")).unwrap());
    for (name, text) in &parts {
        writer.start_file(name, SimpleFileOptions::default()).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn truths_and_dates_are_those_of_whatever_program_wrote_them() {
    let head = "<row r=\"1\"><c r=\"A1\" t=\"str\"><v>Nr</v></c><c r=\"B1\" t=\"str\"><v>Aktiv</v></c><c r=\"C1\" t=\"str\"><v>Seit</v></c></row>";
    // A truth as LibreOffice saves it, and a moment as some programs spell a day.
    let row = "<row r=\"2\"><c r=\"A2\" t=\"str\"><v>K1</v></c><c r=\"B2\" t=\"b\"><f aca=\"false\">TRUE()</f><v>1</v></c>\
               <c r=\"C2\" t=\"d\"><v>2024-02-29T00:00:00.000Z</v></c></row>";
    for workbook in ["xl/workbook.xml", "workbook.xml"] {
        let folder = tempfile::tempdir().unwrap();
        by_hand(folder.path(), workbook, &format!("{head}{row}"));
        let table = Try::at(folder.path(), "book.xlsx").column("Nr", FieldType::Text).column("Aktiv", FieldType::Boolean).column("Seit", FieldType::Date);
        assert_eq!(table.rows(), ["2: K1 | TRUE | @2024-02-29"]);
        let mut sheet = table.open().unwrap();
        let pulled = sheet.pull().unwrap();
        let changes = [set(&pulled, 0, vec![("Aktiv", Value::Boolean(false), "nein"), ("Seit", date("2024-03-01"), "2024-03-01")])];
        assert_eq!(write(&mut sheet, &changes), ["done"]);
        assert_eq!(table.rows(), ["2: K1 | FALSE | @2024-03-01"]);
    }
}

#[test]
fn a_parser_never_shows_how_it_is_built() {
    for (said, told) in [
        ("Expecting 'table-cell', found 'Text(BytesText { content: Borrowed(\"x\") })'", "Expecting 'table-cell'"),
        ("row 3 stands after row 4", "row 3 stands after row 4"),
        ("not found", "not found"),
    ] {
        assert_eq!(read::without_insides(said), told);
    }
}
