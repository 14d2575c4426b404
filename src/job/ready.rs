//! The job checked and ready: indices instead of names, every default filled in, nothing left to look up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::http::HttpSettings;
use super::spelling::{PathStep, spell_path};
use crate::value::{Decimal, FieldType, Tolerance, Value};

/// One job, checked.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name, the file's stem.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Whether it writes.
    pub mode: Mode,
    /// The person or list that answers for it.
    pub contact: Option<String>,
    /// When it runs.
    pub schedule: Option<Schedule>,
    /// The key fields, as indices into `fields`. Never empty.
    pub key: Vec<usize>,
    /// The systems, in the order of the job file. At least two.
    pub systems: Vec<SystemSpec>,
    /// The fields, in the order of the job file.
    pub fields: Vec<Field>,
    /// What happens to several rows with one key.
    pub dedupe: Dedupe,
    /// What happens when a record is deleted in a system.
    pub deletes: Deletes,
    /// How often a write is tried before it waits for a person.
    pub attempts_max: u32,
    /// For how many seconds a run waits in all for what passes; 0 never.
    pub retry_for_s: u32,
    /// Control totals of the report.
    pub totals: Vec<Total>,
    /// How much a run may change of them.
    pub money: Vec<MoneyLimit>,
    /// Records that must always be there, as they are.
    pub canaries: Vec<Canary>,
    /// Rows, and fields of rows, that must not change.
    pub locks: Vec<Lock>,
    /// Who gets the report.
    pub report: ReportSpec,
    /// The job file.
    pub source: Source,
}

impl Job {
    /// The index of a system by its name.
    pub fn system(&self, name: &str) -> Option<usize> {
        self.systems.iter().position(|system| system.name == name)
    }

    /// The index of a field by its name.
    pub fn field(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// What the columns show of their spelling tonight, where the job file does not say: empty if it says everything.
    pub fn found_spelling(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        for field in &self.fields {
            for (system, column) in self.systems.iter().zip(&field.columns) {
                let Some(column) = column.as_ref().filter(|column| column.found != FoundMark::default()) else { continue };
                let mark = column.found.mark.map_or("none".to_owned(), String::from);
                words.push(format!("{} {} {mark}{}", system.name, column.name, if column.found.is_doubtful { " doubtful" } else { "" }));
            }
        }
        words.join("\n")
    }

    /// What the bases depend on, a line each by its word: when one of these changes, the differences that a run would find
    /// may come from the job file and not from an edit.
    pub fn terms(&self) -> BTreeMap<String, String> {
        let all: BTreeMap<String, u64> = self.systems.iter().map(|system| (system.name.clone(), 0)).collect();
        self.terms_among(&all)
    }

    /// [`Job::terms`] as they would be without the systems that are not among these.
    pub fn terms_among(&self, known: &BTreeMap<String, u64>) -> BTreeMap<String, String> {
        let mut terms = BTreeMap::new();
        let names = |indices: &[usize]| indices.iter().map(|i| self.fields[*i].name.clone()).collect::<Vec<_>>().join(", ");
        terms.insert("key".to_owned(), names(&self.key));
        let dedupe = match self.dedupe {
            Dedupe::Refuse => "refuse",
            Dedupe::Latest => "latest",
            Dedupe::MostComplete => "most-complete",
        };
        terms.insert("dedupe".to_owned(), dedupe.to_owned());
        let deletes = match &self.deletes {
            Deletes::Report => "report".to_owned(),
            Deletes::Propagate => "propagate".to_owned(),
            Deletes::Recreate => "recreate".to_owned(),
            Deletes::Archive { field, value } => format!("archive, {} = {value}", self.fields[*field].name),
        };
        terms.insert("deletes".to_owned(), deletes);
        let is_known = |system: &SystemSpec| known.contains_key(&system.name);
        for system in self.systems.iter().filter(|system| is_known(system)) {
            let mut term = format!("{} {}, {}", system.kind.word(), system.kind.place(), format!("{:?}", system.role).to_lowercase());
            if let Some(id) = &system.id {
                term.push_str(&format!(", id {id}"));
            }
            match &system.kind {
                Kind::Csv(csv) => term.push_str(&csv.extent()),
                Kind::Excel(excel) => term.push_str(&excel.extent()),
                Kind::Http(http) => term.push_str(&http.extent()),
                Kind::Json(json) => term.push_str(&json.extent()),
                Kind::Parquet(parquet) => term.push_str(&parquet.extent()),
                Kind::Sql(_) | Kind::Memory(_) => {}
            }
            for (column, values) in &system.only {
                term.push_str(&format!(", only {column} = {}", values.join(" or ")));
            }
            terms.insert(format!("system {}", system.name), term);
        }
        for field in &self.fields {
            let columns: Vec<String> = self
                .systems
                .iter()
                .zip(&field.columns)
                .filter(|(system, _)| is_known(system))
                .filter_map(|(system, column)| column.as_ref().map(|c| format!("{} = {}", system.name, c.spelling())))
                .collect();
            // A field of which only new systems have a column is new with them.
            if columns.is_empty() {
                continue;
            }
            let mut term = format!("{}, {}", field.field_type, columns.join(", "));
            if !field.clean.is_empty() {
                let rules: Vec<String> = field.clean.iter().filter_map(|rule| serde_json::to_string(rule).ok()).collect();
                term.push_str(&format!(", cleaned by {}", rules.join(", ").replace('"', "")));
            }
            term.push_str(&field.standards.spelling(&self.fields));
            terms.insert(format!("field {}", field.name), term);
        }
        terms
    }
}

/// The job file as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Its path relative to the root, as messages show it.
    pub path: String,
    /// Its text.
    pub text: String,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub digest: String,
}

/// Whether a job writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Changes are written.
    Sync,
    /// Differences are only reported.
    Audit,
}

/// When a job runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Five fields; six with seconds.
    pub cron: String,
    /// The IANA name of the time zone.
    pub timezone: String,
    /// Whether a missed run is made up for.
    pub run_missed_once: bool,
}

/// What a system may decide and whether it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Decides, is never written.
    Source,
    /// Is written, never decides.
    Target,
    /// Both.
    Peer,
    /// Is only compared.
    Witness,
}

impl Role {
    /// Whether a value of this system counts where a field has no owner.
    pub fn votes(self) -> bool {
        matches!(self, Role::Source | Role::Peer)
    }

    /// Whether the system is ever written.
    pub fn is_written(self) -> bool {
        matches!(self, Role::Target | Role::Peer)
    }
}

/// Whether a kind of change is made in a system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Permission {
    /// It is made.
    #[default]
    Apply,
    /// It waits for a person.
    Review,
    /// It is never made.
    Never,
}

/// Which changes are made in a system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct May {
    /// New records.
    pub create: Permission,
    /// Changed fields, archiving among them.
    pub update: Permission,
    /// Removed records.
    pub delete: Permission,
}

/// One system of a job.
#[derive(Clone, Debug)]
pub struct SystemSpec {
    /// Its name.
    pub name: String,
    /// What sort of system it is, with its settings.
    pub kind: Kind,
    /// What it may decide.
    pub role: Role,
    /// What may be done to it. For a source or witness, and in an audit, never anything.
    pub may: May,
    /// The filter: a row is in scope if each of these columns holds one of the values, trimmed.
    pub only: Vec<(String, Vec<String>)>,
    /// The column with the native id.
    pub id: Option<String>,
    /// The column that tells when a record was edited.
    pub edited_at: Option<EditedAt>,
    /// The limits of this system.
    pub gates: Gates,
}

/// The column that tells when a record was edited, and how it spells a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditedAt {
    /// The column.
    pub column: String,
    /// A `strtime` format; RFC 3339 without one.
    pub format: Option<String>,
    /// The IANA time zone of a format without an offset; UTC without one.
    pub timezone: Option<String>,
}

/// What sort of system, with its settings. References such as `${env:X}` are not resolved yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text file of rows.
    Csv(CsvSettings),
    /// A table on a sheet of a workbook.
    Excel(ExcelSettings),
    /// A table, a view or a query of a database.
    Sql(SqlSettings),
    /// Records behind an HTTP API.
    Http(Box<HttpSettings>),
    /// Records in a JSON file.
    Json(JsonSettings),
    /// A Parquet file.
    Parquet(ParquetSettings),
    /// A table in memory, for tests.
    Memory(String),
}

impl Kind {
    /// The word of the job file.
    pub fn word(&self) -> &'static str {
        match self {
            Kind::Csv(_) => "csv",
            Kind::Excel(_) => "excel",
            Kind::Sql(_) => "sql",
            Kind::Http(_) => "http",
            Kind::Json(_) => "json",
            Kind::Parquet(_) => "parquet",
            Kind::Memory(_) => "memory",
        }
    }

    /// Where the records are, as written in the job file.
    pub fn place(&self) -> String {
        match self {
            Kind::Csv(csv) => csv.path.clone(),
            Kind::Excel(excel) => excel.place(),
            Kind::Sql(sql) => {
                let what = sql.query.clone().or_else(|| sql.table.clone()).unwrap_or_default();
                format!("{} {what}", sql.url)
            }
            Kind::Http(http) => http.place(),
            Kind::Json(json) => json.file.path.clone(),
            Kind::Parquet(parquet) => parquet.file.path.clone(),
            Kind::Memory(name) => name.clone(),
        }
    }
}

/// Where a CSV file is and how it is spelled. What is not given is found at first contact and kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CsvSettings {
    /// The file, relative to the root.
    pub path: String,
    /// What stands between fields; found among `,` `;` tab `|` if not given.
    pub delimiter: Option<char>,
    /// What stands round a field; `"` if not given.
    pub quote: Option<char>,
    /// The encoding's label; found if not given.
    pub encoding: Option<String>,
    /// The physical line of the header, from 1; 0 for a file without one, whose columns are called 1, 2, …
    pub header: u64,
    /// What tells that the file is complete.
    pub ready: Option<FileReady>,
    /// Whether rows with too few cells are filled up with empty ones; set aside if not.
    pub pads_short_rows: bool,
    /// The last row of the file, which is no record.
    pub trailer: Option<CsvTrailer>,
    /// How the date is spelled in the names of the files that `path` stands for with its `*`: the newest is read.
    pub newest: Option<String>,
    /// How many former versions of the file are kept; one if not given.
    pub backups: Option<u32>,
    /// The file in a zip archive that is read; the only one there, if not given.
    pub member: Option<String>,
}

impl CsvSettings {
    /// Where the file is, how it is packed and what tells that it is complete.
    pub fn file(&self) -> FileSettings {
        FileSettings { path: self.path.clone(), newest: self.newest.clone(), ready: self.ready.clone(), backups: self.backups, member: self.member.clone() }
    }

    /// What decides which rows there are, in one line; nothing where nothing is said.
    pub fn extent(&self) -> String {
        let mut said = String::new();
        if self.pads_short_rows {
            said.push_str(", short rows filled up");
        }
        if let Some(trailer) = &self.trailer {
            said.push_str(&format!(", trailer {}", trailer.starts));
            said.extend(trailer.count_column.map(|column| format!(" with the count in column {column}")));
            said.extend(trailer.sums.iter().map(|(of, column)| format!(" with the sum of {of} in column {column}")));
            said.extend(trailer.decimal.map(|mark| format!(" with the decimal mark {mark}")));
        }
        said.push_str(&self.file().extent());
        said
    }
}

/// Where a file is, how it is packed and what tells that it is complete: what all kinds of files share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSettings {
    /// The file, relative to the root.
    pub path: String,
    /// How the date is spelled in the names of the files that `path` stands for with its `*`: the newest is read.
    pub newest: Option<String>,
    /// What tells that the file is complete.
    pub ready: Option<FileReady>,
    /// How many former versions of the file are kept; one if not given.
    pub backups: Option<u32>,
    /// The file in a zip archive that is read; the only one there, if not given.
    pub member: Option<String>,
}

impl FileSettings {
    /// What decides which file is read, in one line; nothing where nothing is said.
    fn extent(&self) -> String {
        let mut said = String::new();
        said.extend(self.newest.as_ref().map(|format| format!(", the newest by {format}")));
        said.extend(self.member.as_ref().map(|member| format!(", member {member}")));
        said
    }
}

/// How a file is packed. A packed file is a delivery: it is read, and never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// `.gz`: the file itself, compressed.
    Gzip,
    /// `.zip`: an archive with the file in it.
    Zip,
}

impl Packing {
    /// What the end of a file's name says, whatever its capitals; nothing for a file that is not packed.
    pub fn of(path: &str) -> Option<Packing> {
        let ending = path.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
        match ending.as_deref() {
            Some("gz") => Some(Packing::Gzip),
            Some("zip") => Some(Packing::Zip),
            _ => None,
        }
    }
}

/// Where records are in a JSON file, and how what is empty is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JsonSettings {
    /// The file.
    pub file: FileSettings,
    /// Whether each line of the file is a record by itself.
    pub has_lines: bool,
    /// The keys that lead from the top of the file to the array of records; none if the top is the array.
    pub records: Vec<String>,
    /// How an empty value is written.
    pub null: JsonNull,
    /// The columns that the job's fields have in the system.
    pub columns: Vec<JsonColumn>,
}

impl JsonSettings {
    /// The array of records as the job file spells it.
    pub fn records_path(&self) -> String {
        let step = |key: &String| PathStep::Key(key.clone());
        format!("${}", spell_path(&self.records.iter().map(step).collect::<Vec<_>>(), true))
    }

    /// What decides which records there are, in one line; nothing where nothing is said.
    pub fn extent(&self) -> String {
        let mut said = String::new();
        if self.has_lines {
            said.push_str(", a record a line");
        }
        if !self.records.is_empty() {
            said.push_str(&format!(", records {}", self.records_path()));
        }
        said.push_str(&self.file.extent());
        said
    }
}

/// How an empty value is written into a JSON file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsonNull {
    /// As `null`.
    #[default]
    Null,
    /// Its key is left out.
    Omit,
    /// As `""`.
    Empty,
}

/// What the job says about one column of a JSON file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonColumn {
    /// The column: a path.
    pub name: String,
    /// What the field holds.
    pub field_type: FieldType,
}

/// Where records are in a Parquet file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParquetSettings {
    /// The file.
    pub file: FileSettings,
}

impl ParquetSettings {
    /// What decides which rows there are, in one line; nothing where nothing is said.
    pub fn extent(&self) -> String {
        self.file.extent()
    }
}

/// What tells that a file is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileReady {
    /// Its size and its time have not changed for so many seconds.
    Stable(u32),
    /// There is a file of this name, relative to the root; `{name}` in it stands for the name of the file that is read.
    Marker(String),
}

/// The last row of a CSV file, which is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvTrailer {
    /// What its first cell begins with.
    pub starts: String,
    /// The column, from 1, in which it says how many rows there are.
    pub count_column: Option<u32>,
    /// The columns whose amounts it adds up, each with the column, from 1, in which it says their sum.
    pub sums: Vec<(String, u32)>,
    /// The decimal mark of these sums and amounts; `.` if not given.
    pub decimal: Option<char>,
}

/// Where a table is in a workbook, and what of it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExcelSettings {
    /// The workbook, relative to the root.
    pub path: String,
    /// The name of the sheet; the only one of the workbook, if not given.
    pub sheet: Option<String>,
    /// Where the header is.
    pub header: ExcelHeader,
    /// The first row whose first filled cell is one of these texts ends the table, and is not part of it.
    pub stop_at: Vec<String>,
    /// A row is left out if one of these columns holds one of its values, trimmed.
    pub drop_where: Vec<(String, Vec<String>)>,
    /// The errors of formulas that mean empty.
    pub errors_as_null: Vec<String>,
    /// What the job's fields say about the columns of the sheet.
    pub columns: Vec<ExcelColumn>,
}

impl ExcelSettings {
    /// The workbook with its sheet, as people write it: `data/customers.xlsx!Customers`.
    pub fn place(&self) -> String {
        match &self.sheet {
            Some(sheet) => format!("{}!{sheet}", self.path),
            None => self.path.clone(),
        }
    }

    /// What decides which rows and names there are, in one line; nothing where nothing is said.
    pub fn extent(&self) -> String {
        let mut said = String::new();
        match &self.header.at {
            ExcelHeaderAt::First => {}
            ExcelHeaderAt::Row(row) => said.push_str(&format!(", header {row}")),
            ExcelHeaderAt::Find(names) => said.push_str(&format!(", header with {}", names.join(" and "))),
        }
        if self.header.rows > 1 {
            said.push_str(&format!(", header of {} rows", self.header.rows));
        }
        if !self.stop_at.is_empty() {
            said.push_str(&format!(", stops at {}", self.stop_at.join(" or ")));
        }
        for (column, values) in &self.drop_where {
            said.push_str(&format!(", without {column} = {}", values.join(" or ")));
        }
        if !self.errors_as_null.is_empty() {
            said.push_str(&format!(", {} is empty", self.errors_as_null.join(" and ")));
        }
        said
    }
}

/// Where the header of a table is, and how many rows it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExcelHeader {
    /// Where.
    pub at: ExcelHeaderAt,
    /// How many rows, at least 1. The names of several rows are joined.
    pub rows: u32,
}

impl Default for ExcelHeader {
    fn default() -> ExcelHeader {
        ExcelHeader { at: ExcelHeaderAt::First, rows: 1 }
    }
}

/// Where the header of a table is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExcelHeaderAt {
    /// It begins with the first row that is not empty.
    First,
    /// It begins with this row, counted from 1.
    Row(u32),
    /// It ends with the first row by which all these columns are named.
    Find(Vec<String>),
}

/// What the job says about one column of a sheet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExcelColumn {
    /// The column, verbatim.
    pub name: String,
    /// What the field holds.
    pub field_type: FieldType,
    /// Whether the field is part of the key.
    pub is_key: bool,
    /// Whether the cells are identifiers, of which every digit counts: keys, and texts of digits.
    pub is_identifier: bool,
    /// Whether the job says how the column spells dates.
    pub declares_dates: bool,
    /// How many digits an identifier has that was stored as a number.
    pub fixed_width: Option<u32>,
    /// The IANA time zone of moments.
    pub timezone: Option<String>,
}

/// Where records are in a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SqlSettings {
    /// `sqlite:path`, relative to the root, or the address of a server ([`super::DatabaseUrl`]).
    pub url: String,
    /// The table or view that is read and, unless `query` is given for reading, written.
    pub table: Option<String>,
    /// A query that is read instead of the table.
    pub query: Option<String>,
}

/// One field of a job.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub field_type: FieldType,
    /// Where it lives in each system, by the systems' order; nothing where a system does not carry it.
    pub columns: Vec<Option<ColumnSpec>>,
    /// Cleaning beyond what always happens, in the order in which it is done.
    pub clean: Vec<CleanRule>,
    /// Texts that mean null, beside the empty one; lower case.
    pub null_tokens: Vec<String>,
    /// The owners, as indices into the systems: the first in which the record exists.
    pub owner: Vec<usize>,
    /// The rules of a conflict, each with the next as its fall-back. The last is always [`MergeRule::Review`].
    pub merge: Vec<MergeRule>,
    /// What a change to null means; nothing for the default.
    pub blank: Option<Blank>,
    /// How far two values may be apart.
    pub tolerance: Option<Tolerance>,
    /// What happens to an edit in a system that does not decide the field.
    pub on_drift: OnDrift,
    /// What happens to differences at first contact.
    pub first_contact: FirstContact,
    /// Whether a value is also written where only its spelling differs.
    pub standardise: bool,
    /// How excess decimals are rounded; quarantined without a rule.
    pub round: Option<Round>,
    /// Whether reports mask its values.
    pub sensitive: bool,
    /// Whether a difference in it is told before all others.
    pub important: bool,
    /// What its values are held against beyond their type.
    pub standards: Standards,
}

/// What the values of a field are held against beyond their type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standards {
    /// The currency of amounts: it says how many decimals they may have, and what a minor unit is.
    pub currency: Option<Beside>,
    /// What numbers count that are no money: `pieces`.
    pub counts: Option<String>,
    /// The country of phone numbers and VAT ids that do not name theirs.
    pub region: Option<Beside>,
    /// Whether a text that is no valid identifier is never written.
    pub must_be_valid: bool,
    /// Texts that fill a key field and identify nothing; lower case.
    pub placeholders: Vec<String>,
}

impl Standards {
    /// The field of the same record that is needed to read a value, if there is one. At most one is.
    pub fn beside(&self) -> Option<usize> {
        [&self.currency, &self.region].into_iter().find_map(|beside| match beside {
            Some(Beside::Field(field)) => Some(*field),
            _ => None,
        })
    }

    /// All of it that decides how a cell is read, in words; empty if nothing does.
    fn spelling(&self, fields: &[Field]) -> String {
        let place = |beside: &Beside| match beside {
            Beside::Constant(constant) => constant.clone(),
            Beside::Field(field) => format!("as in {}", fields[*field].name),
        };
        let mut words = String::new();
        for (what, beside) in [("currency", &self.currency), ("region", &self.region)] {
            words.extend(beside.as_ref().map(|beside| format!(", {what} {}", place(beside))));
        }
        if !self.placeholders.is_empty() {
            words.push_str(&format!(", placeholders {}", self.placeholders.join(" ")));
        }
        words
    }
}

/// Something that is the same for all records, or stands in another field of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beside {
    /// This, in every record.
    Constant(String),
    /// What this text field holds.
    Field(usize),
}

impl Field {
    /// Whether two values need no write between them.
    pub fn equivalent(&self, a: &Value, b: &Value) -> bool {
        a == b || self.tolerance.is_some_and(|tolerance| tolerance.covers(a, b))
    }

    /// Whether a system carries the field.
    pub fn is_carried_by(&self, system: usize) -> bool {
        self.columns[system].is_some()
    }
}

/// Where a field lives in one system and how the system spells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnSpec {
    /// The column, verbatim.
    pub name: String,
    /// The decimal mark; `.` if not given.
    pub decimal: Option<char>,
    /// `strtime` formats of dates and moments; ISO if empty. The first is the one we write.
    pub dates: Vec<String>,
    /// The IANA time zone of moments without an offset.
    pub timezone: Option<String>,
    /// How a null is written; empty text if not given, or the system's own null where it has one.
    pub blank_as: Option<String>,
    /// How true and false are written; `true` and `false` if not given.
    pub booleans: Option<(String, String)>,
    /// What stands between the items of a list; `;` if not given.
    pub separator: Option<String>,
    /// How many digits an identifier has that a workbook holds as a number; as many as it has, if not given.
    pub fixed_width: Option<u32>,
    /// The decimal mark that the cells themselves show, where none is declared. Never in a job as it was checked: a run adds
    /// what it found.
    pub found: FoundMark,
    /// What a bare number counts, and whether it has a sign; whole units if not given.
    pub unit: Option<Unit>,
    /// Whether amounts are whole numbers of the currency's smallest unit.
    pub minor_units: bool,
    /// The sign of an amount with `CR` after it; `DR` is the other. Both are refused if not given.
    pub credit: Option<Credit>,
    /// Two-digit years below this are in the century of 2000, the others in that of 1900; two digits are no year if not given.
    pub century_pivot: Option<u8>,
    /// What a local time means that the clocks skip or repeat; refused if not given.
    pub dst: Dst,
    /// Whether a text that a spreadsheet would run as a formula is never written.
    pub refuses_formulas: bool,
}

/// The decimal mark that the cells of a column show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoundMark {
    /// The mark; nothing if no cell shows one.
    pub mark: Option<char>,
    /// Whether a cell such as `1.234`, which has two readings, cannot be read: nothing tells which is meant, or the cells disagree.
    pub is_doubtful: bool,
}

/// What a number in a column counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Whole units; a number with a sign is taken at its word.
    Fraction,
    /// Hundredths, written without a sign.
    Percent,
    /// Thousandths, written without a sign.
    Permille,
    /// Hundredths, always with the sign.
    PercentSign,
    /// Thousandths, always with the sign.
    PermilleSign,
}

impl Unit {
    /// The word of the job file.
    pub fn word(self) -> &'static str {
        match self {
            Unit::Fraction => "fraction",
            Unit::Percent => "percent",
            Unit::Permille => "permille",
            Unit::PercentSign => "%",
            Unit::PermilleSign => "‰",
        }
    }
}

/// The sign of an amount with `CR` after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credit {
    /// `CR` is a plus, `DR` a minus: a bank's statement.
    Plus,
    /// `CR` is a minus, `DR` a plus: a ledger of expenses.
    Minus,
}

/// What a local time means that the clocks skip or repeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dst {
    /// Nothing: it cannot be read.
    #[default]
    Reject,
    /// The earlier of the two moments.
    Earlier,
    /// The later of the two moments.
    Later,
}

impl ColumnSpec {
    /// All of it in one line, as a person would say it.
    pub fn spelling(&self) -> String {
        let mut more: Vec<String> = Vec::new();
        more.extend(self.decimal.map(|mark| format!("decimal {mark}")));
        more.extend((!self.dates.is_empty()).then(|| format!("dates {}", self.dates.join(" or "))));
        more.extend(self.timezone.as_ref().map(|zone| format!("in {zone}")));
        more.extend(self.blank_as.as_ref().map(|blank| format!("empty is {blank}")));
        more.extend(self.booleans.as_ref().map(|(yes, no)| format!("true is {yes}, false is {no}")));
        more.extend(self.separator.as_ref().map(|separator| format!("items end with {separator}")));
        more.extend(self.fixed_width.map(|width| format!("{width} digits")));
        more.extend(self.unit.map(|unit| format!("unit {}", unit.word())));
        more.extend(self.minor_units.then(|| "in minor units".to_owned()));
        more.extend(self.credit.map(|credit| if credit == Credit::Plus { "credit is plus" } else { "credit is minus" }.to_owned()));
        more.extend(self.century_pivot.map(|pivot| format!("years below {pivot} are 20..")));
        more.extend(match self.dst {
            Dst::Reject => None,
            Dst::Earlier => Some("a doubtful time is the earlier".to_owned()),
            Dst::Later => Some("a doubtful time is the later".to_owned()),
        });
        if more.is_empty() { self.name.clone() } else { format!("{} ({})", self.name, more.join("; ")) }
    }
}

/// Cleaning beyond what always happens (NFC, trim, control characters, null tokens).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CleanRule {
    /// Runs of white space become one space.
    CollapseSpaces,
    /// Upper case.
    Upper,
    /// Lower case.
    Lower,
    /// Typographic quotes and dashes become ASCII ones.
    AsciiPunct,
    /// Runs of white space within a line become one space; lines are kept.
    CollapseInLines,
    /// An e-mail address: without `mailto:` and angle brackets, the domain in lower case and ASCII.
    Email,
    /// Only digits are kept, leading zeros among them.
    Digits,
    /// A phone number: E.164, with its extension.
    Phone,
    /// A country: the two letters of ISO 3166.
    Country,
    /// A currency: the three letters of ISO 4217.
    Currency,
    /// An international bank account number: upper case, without spaces.
    Iban,
    /// A VAT id: upper case, without spaces and points, its country first.
    VatId,
}

impl CleanRule {
    /// Whether it reads an identifier, which is valid or not.
    pub fn is_identifier(self) -> bool {
        matches!(self, CleanRule::Email | CleanRule::Phone | CleanRule::Country | CleanRule::Currency | CleanRule::Iban | CleanRule::VatId)
    }
}

/// What decides a conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MergeRule {
    /// The newest edit.
    Latest,
    /// The first of these systems among the contenders.
    Priority(Vec<usize>),
    /// The largest value.
    Max,
    /// The smallest value.
    Min,
    /// The longest text.
    Longest,
    /// All items of all lists, sorted.
    Union,
    /// The last decided value and all differences since.
    SumOfChanges,
    /// The first of these values that a contender holds.
    MostRestrictive(Vec<Value>),
    /// A person decides.
    Review,
}

impl MergeRule {
    /// The rule in the words of the job file.
    pub fn word(&self) -> &'static str {
        match self {
            MergeRule::Latest => "latest",
            MergeRule::Priority(_) => "priority",
            MergeRule::Max => "max",
            MergeRule::Min => "min",
            MergeRule::Longest => "longest",
            MergeRule::Union => "union",
            MergeRule::SumOfChanges => "sum-of-changes",
            MergeRule::MostRestrictive(_) => "most-restrictive",
            MergeRule::Review => "review",
        }
    }
}

/// What a change to null means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Blank {
    /// It is no edit, and is filled again.
    Ignore,
    /// An ordinary value.
    Propagate,
    /// It waits for a person.
    Conflict,
}

/// What happens to an edit in a system that does not decide the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnDrift {
    /// The decided value is written back.
    Overwrite,
    /// It is only reported.
    Report,
}

/// What happens to differences at first contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FirstContact {
    /// Owner, else rule, nulls filled, else review.
    Decide,
    /// Only nulls are filled; other differences wait.
    FillBlanks,
    /// Every difference waits.
    Review,
}

/// How excess decimals are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Round {
    /// Half away from zero.
    HalfUp,
    /// Half to the even neighbour.
    HalfEven,
}

/// What happens to several different rows with one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dedupe {
    /// Their record is held in every system.
    Refuse,
    /// The row edited last speaks.
    Latest,
    /// The row with the fewest nulls speaks.
    MostComplete,
}

/// What happens when a record is deleted in a system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletes {
    /// It is reported.
    Report,
    /// It is deleted everywhere.
    Propagate,
    /// A field is set everywhere else.
    Archive {
        /// The field.
        field: usize,
        /// Its value.
        value: Value,
    },
    /// It is created again.
    Recreate,
}

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Never trips.
    Off,
    /// Trips above this many records.
    Count(u64),
    /// Trips above this many per cent of the base, and above the floor.
    Percent(Decimal),
    /// Trips above this many times the base, and above the floor.
    Times(Decimal),
}

/// The limits of one system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gates {
    /// Whether an empty system stops the run when its base is not empty.
    pub empty: bool,
    /// Deleted records.
    pub deletes: Limit,
    /// Updated records.
    pub updates: Limit,
    /// Whether a field that changed in every record stops the run.
    pub all_changed: bool,
    /// Rows fewer than at the last run.
    pub shrink: Limit,
    /// Rows more than at the last run.
    pub growth: Limit,
    /// Whether a file that is an older one again, or a record whose edit time went back, stops the run.
    pub time_travel: bool,
    /// A relative gate never trips at or below this many records.
    pub floor: u64,
}

impl Default for Gates {
    fn default() -> Gates {
        let whole = |units| Decimal { units, scale: 0 };
        Gates {
            empty: true,
            deletes: Limit::Percent(whole(2)),
            updates: Limit::Percent(whole(30)),
            all_changed: true,
            shrink: Limit::Percent(whole(10)),
            growth: Limit::Times(whole(3)),
            time_travel: true,
            floor: 5,
        }
    }
}

/// One control total of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// The field that is summed.
    pub field: usize,
    /// The field whose values group the sums: a currency.
    pub by: Option<usize>,
}

/// A record that must always be there, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// Its key, a value for each key field.
    pub key: Vec<Value>,
    /// The systems in which it must be.
    pub systems: Vec<usize>,
    /// What fields of it must hold.
    pub expect: Vec<(usize, Value)>,
}

/// What must not change in a row of a system while a cell of that row holds one of some values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The system.
    pub system: usize,
    /// The one field that stays as it is; nothing for the whole row.
    pub field: Option<usize>,
    /// When.
    pub when: LockWhen,
}

/// The cell that tells whether a lock holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockWhen {
    /// A column of the source.
    Column {
        /// The column.
        name: String,
        /// What it holds, trimmed and in lower case; nothing for anything that is not empty.
        holds: Option<Vec<String>>,
    },
    /// A field.
    Field {
        /// The field.
        field: usize,
        /// What it holds; nothing for anything that is not empty.
        holds: Option<Vec<Value>>,
    },
}

/// How much one run may change of a control total in each system: the sum, without signs, of what it creates, changes and removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoneyLimit {
    /// The total, as an index into the job's.
    pub total: usize,
    /// The most, in the decimals of the field.
    pub most: MoneyMost,
}

/// The most that a run may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MoneyMost {
    /// So much in each group.
    EachGroup(Decimal),
    /// By group. One that is not here may not change at all.
    OfGroup(BTreeMap<String, Decimal>),
}

/// Who gets the report, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportSpec {
    /// The recipients of every mail. Addresses may hold references.
    pub to: Vec<String>,
    /// Who is told too when a person must look.
    pub to_action: Vec<String>,
    /// Who is told too when a run failed.
    pub to_failed: Vec<String>,
    /// Which runs are mailed.
    pub when: ReportWhen,
}

/// Which runs are mailed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportWhen {
    /// Every run.
    Always,
    /// Runs that changed something or have a problem.
    Changes,
    /// Runs with a problem nobody knows of yet, reminders, the run that ends it, and a weekly sign of life.
    Problems,
}
