//! What is read from the workbooks of `fixtures/systems`, and what may not be written.

use std::fs;
use std::path::Path;

use super::*;
use crate::job::{EditedAt, ExcelColumn, ExcelHeader, ExcelHeaderAt, Gates, Kind, May, Role, SystemSpec};
use crate::value::FieldType;

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
        let opening = Opening { root: &self.root, job: "demo", spec: &spec, columns: self.columns.clone(), known: self.known.clone() };
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

#[test]
fn explore() {
    use FieldType::*;
    for file in ["types.xlsx", "types.xls", "types.ods"] {
        let all = Try::fixture(file)
            .column("Nr", Text)
            .column("Name", Text)
            .column("Konto", Text)
            .with(|c| c.is_identifier = true)
            .column("Betrag", Decimal(2))
            .column("Seit", Date)
            .column("Uhr", Datetime)
            .column("Aktiv", Boolean)
            .column("Formel", Decimal(2))
            .column("Notiz", Text);
        println!("{file}\n{}\n{:?}", all.rows().join("\n"), all.pull().evidence);
    }
    let t = Try::fixture("types.xlsb").column("Nr", Text).column("Betrag", Decimal(2)).column("Seit", Date);
    println!("{}\n{:?}", t.rows().join("\n"), t.pull().evidence);
    let t = Try::fixture("1904.xlsx").column("id", Text).column("day", Date);
    println!("{}\n{:?}", t.rows().join("\n"), t.pull().evidence);
    println!("{:?}", Try::fixture("uncalculated.xlsx").column("id", Text).column("gross", Decimal(2)).error());
    for file in ["titles.xlsx", "titles.xls"] {
        let t = Try::fixture(file)
            .set(|s| {
                s.sheet = Some("Umsatz 2026".into());
                s.header = ExcelHeader { at: ExcelHeaderAt::Row(4), rows: 2 };
            })
            .column("Kunde / Nr", Text)
            .with(|c| c.is_key = true)
            .column("Betrag / EUR", Decimal(2))
            .column("Stand", Date);
        println!("{}\n{:?}", t.rows().join("\n"), t.pull().evidence);
    }
    let t = Try::fixture("new_errors.xlsx").column("id", Text).column("value", Decimal(2));
    println!("{}\n{:?}", t.rows().join("\n"), t.pull().evidence);
}
