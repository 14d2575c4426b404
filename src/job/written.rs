//! The job file as it is written: its tables, keys and words.
//!
//! Each table is declared once, with [`table!`]; the text above a key is what editors show for it. A value that can be
//! judged by itself (a word, a limit, a type) is read here; what values mean together is decided in `check`.
//!
//! To add a key: a line in its table. To add a kind of system: a table with its settings and an arm in [`System`].

use serde_json::{Value as JsonValue, json};
use toml::Spanned;
use toml::de::DeValue;

use super::http::{HttpBody, HttpTable};
use super::presets::{self, Merged, preset_names};
use super::read::{At, Named, Names, Page, Presence, Row, Rows, Table, Word, Written, closed, described, object_schema, prose, read_table, refuse_sort, table};
use super::ready::{Blank, CleanRule, Credit, Dedupe, Dst, FirstContact, JsonNull, Limit, Mode, OnDrift, Permission, ReportWhen, Role, Round, Unit};
use crate::value::{Decimal, FieldType, SCALE_MAX};

table! {
    /// A job: which systems, which fields and where they live in each, who owns each field, what happens in a conflict,
    /// what may never happen.
    JobTable {
        /// The name of the job: the file's name without `.toml`. Small letters, digits and `-`, a letter first.
        Required "name" name: String,
        /// What the job is for, in one sentence. It stands in every report.
        Optional "description" description: String,
        /// The fields that identify a record. Every system must carry each of them.
        Required "key" key: Vec<At<String>>,
        /// `sync` (default) writes changes; `audit` compares and reports, and never writes.
        Optional "mode" mode: Mode,
        /// The mail address of the person or list that answers for the job.
        Optional "contact" contact: String,
        /// How often a write is tried before it waits for a person; 5 if not given.
        Optional "attempts" attempts: u32,
        /// How writes are made.
        Optional "apply" apply: ApplyTable,
        /// What happens to differences at first contact, for fields that do not say it themselves.
        Optional "first_contact" first_contact: FirstContact,
        /// The IANA time zone in which a moment belongs to a day, for fields of type `date` whose system delivers moments.
        Optional "business_timezone" business_timezone: String,
        /// When the job runs.
        Optional "schedule" schedule: Schedule,
        /// The systems, by a name of your choice. Their order is the last tie-break of every rule.
        Required "systems" systems: Named<System>,
        /// The fields, by a name of your choice.
        Required "fields" fields: Named<Field>,
        /// What happens to several different rows of one system with one key.
        Optional "dedupe" dedupe: DedupeTable,
        /// What happens when a record is deleted in a system.
        Optional "deletes" deletes: DeletesTable,
        /// Limits that stop a run before its first write. A table with a system's name holds that system's own limits.
        Optional "gates" gates: GatesTable,
        /// Records that must always be there, as they are: where one is missing or different, something is wrong with the system, and
        /// the run stops.
        Optional "canaries" canaries: Vec<At<CanaryTable>>,
        /// Control totals of the report, by field.
        Optional "totals" totals: Named<TotalTable>,
        /// Who gets the report, and when.
        Optional "report" report: ReportTable,
    }
}

table! {
    /// How writes are made.
    ApplyTable {
        /// For how many seconds a run waits, in all, for what passes (a locked database, a file that somebody saves just now) before it
        /// gives up; 60 if not given. With 0 it never waits.
        Optional "retry_for_s" retry_for_s: u32,
    }
}

table! {
    /// When the job runs.
    Schedule {
        /// Five fields (minute, hour, day of month, month, weekday); six with seconds first.
        Required "cron" cron: String,
        /// The IANA time zone of the schedule, such as `Europe/London`.
        Optional "timezone" timezone: String,
        /// What happens to a run that was missed during downtime; `run-once` if not given.
        Optional "missed" missed: Missed,
    }
}

table! {
    /// What every system says, whatever its kind.
    SystemTable {
        /// What sort of system it is.
        Required "kind" kind: String,
        /// What the system decides, and whether it is written.
        Required "role" role: Role,
        /// The column with the native id, by which a record is addressed. The key is, without one.
        Optional "id" id: String,
        /// The column that tells when a record was edited: RFC 3339, or a table with its format.
        Optional "edited_at" edited_at: EditedAtWritten,
        /// The filter: only rows whose column holds one of the values are in scope.
        Optional "only" only: Named<Names>,
        /// Rows that we never change or take out: those of which one of these columns holds one of the values, whatever its capitals;
        /// `"*"` is any value. Posted invoices, closed periods.
        Optional "immutable_when" immutable_when: Named<Names>,
        /// Which changes are made in the system; all, if not given. Nothing is ever made in a source or witness.
        Optional "may" may: MayTable,
    }
}

table! {
    /// A text file of rows. What is not given is found at first contact and kept.
    CsvTable {
        /// The file, relative to the root. With `newest`, one `*` in its name stands for any text.
        Required "path" path: String,
        /// The one character between fields: `,` `;` `|` or a tab, written `"\t"`.
        Optional "delimiter" delimiter: String,
        /// The one character round a field; `"` if not given.
        Optional "quote" quote: String,
        /// The encoding, such as `utf-8` or `windows-1252`.
        Optional "encoding" encoding: String,
        /// The line of the header, counted from 1 (the default); 0 for a file without one, whose columns are called 1, 2, 3.
        Optional "header" header: u32,
        /// What happens to a new text that a spreadsheet would run as a formula; `reject` if not given.
        Optional "on_formula" on_formula: OnFormula,
        /// What tells that the file is complete; if not given, only that nobody writes it while it is read.
        Optional "ready" ready: FileReadyTable,
        /// What happens to a row with fewer cells than the header; `quarantine` if not given. A row with more is always set aside.
        Optional "ragged" ragged: Ragged,
        /// The last row of the file, which is no record. A file without it is cut off, and stops the run.
        Optional "trailer" trailer: CsvTrailerTable,
        /// How the date in the file's name is spelled, such as `%Y%m%d`: of the files that `path` stands for with its `*`, the
        /// newest by this date is read. Only for systems that are not written.
        Optional "newest" newest: String,
        /// How many former versions of the file are kept beside it; 1 if not given.
        Optional "backups" backups: u32,
        /// The file in a zip archive that is read; the only one there, if not given. A file whose name ends with `.gz` or `.zip` is
        /// unpacked, and never written.
        Optional "member" member: String,
    }
}

table! {
    /// A JSON file: an array of objects, or an object a line. The columns of fields are paths: `properties.email`,
    /// `phones[0].number`.
    JsonTable {
        /// The file, relative to the root. With `newest`, one `*` in its name stands for any text.
        Required "path" path: String,
        /// Where in the file the array of records is, such as `$.items`; the file is the array, if not given.
        Optional "records" records: String,
        /// Whether each line is a record by itself; if not given, it is where the name ends with `.ndjson` or `.jsonl`.
        Optional "lines" lines: bool,
        /// How an empty value is written; `null` if not given. What is empty already stays as it is.
        Optional "null" null: JsonNull,
        /// What tells that the file is complete; if not given, only that nobody writes it while it is read.
        Optional "ready" ready: FileReadyTable,
        /// How the date in the file's name is spelled, such as `%Y%m%d`: of the files that `path` stands for with its `*`, the
        /// newest by this date is read. Only for systems that are not written.
        Optional "newest" newest: String,
        /// How many former versions of the file are kept beside it; 1 if not given.
        Optional "backups" backups: u32,
        /// The file in a zip archive that is read; the only one there, if not given. A file whose name ends with `.gz` or `.zip` is
        /// unpacked, and never written.
        Optional "member" member: String,
    }
}

table! {
    /// A Parquet file.
    ParquetTable {
        /// The file, relative to the root. With `newest`, one `*` in its name stands for any text.
        Required "path" path: String,
        /// What tells that the file is complete; if not given, only that nobody writes it while it is read.
        Optional "ready" ready: FileReadyTable,
        /// How the date in the file's name is spelled, such as `%Y%m%d`: of the files that `path` stands for with its `*`, the
        /// newest by this date is read. Only for systems that are not written.
        Optional "newest" newest: String,
        /// How many former versions of the file are kept beside it; 1 if not given.
        Optional "backups" backups: u32,
    }
}

table! {
    /// What tells that a file is complete: one of the two.
    FileReadyTable {
        /// For how many seconds its size and its time must not have changed. A run waits so long at most.
        Optional "stable_s" stable_s: u32,
        /// A file, relative to the root, that is written when this one is complete; `{name}` in it stands for the name of this one.
        Optional "marker" marker: String,
    }
}

table! {
    /// The last row of a file, which is no record.
    CsvTrailerTable {
        /// What its first cell begins with.
        Required "starts" starts: String,
        /// The column, counted from 1, in which it says how many rows there are. Another number of rows stops the run.
        Optional "count_column" count_column: u32,
        /// The columns whose amounts it adds up, by the names in the header, each with the column of the trailer, counted from 1, in
        /// which it says their sum: `{ Amount = 3 }`. Another sum stops the run.
        Optional "sums" sums: Named<u32>,
        /// The decimal mark of these sums and amounts, `.` or `,`; that of the field in the summed column, if not given.
        Optional "decimal" decimal: String,
    }
}

table! {
    /// A table on one sheet of a workbook: xlsx and xlsm, and for reading also xls, xlsb and ods.
    ExcelTable {
        /// The workbook, relative to the root.
        Required "path" path: String,
        /// The name of the sheet. Only a workbook of one sheet needs none.
        Optional "sheet" sheet: String,
        /// The row of the header, counted from 1, or a table that tells how it is found; the first row that is not empty, if not given.
        Optional "header" header: ExcelHeaderWritten,
        /// Texts that end the table: the first row below the header whose first filled cell is one of them, and everything below
        /// that row, is left out.
        Optional "stop_at" stop_at: Names,
        /// Rows that are left out, such as totals: those whose column holds one of the values.
        Optional "drop_where" drop_where: Named<Names>,
        /// Errors of formulas that mean empty, such as `#N/A`. A row with any other error is quarantined.
        Optional "errors_as_null" errors_as_null: Vec<At<String>>,
    }
}

table! {
    /// Where the header of a table is.
    ExcelHeaderTable {
        /// The first row of the header, counted from 1.
        Optional "row" row: u32,
        /// Columns that the header names: it is the first row that has all of them.
        Optional "find" find: Names,
        /// How many rows the header has; 1 if not given. The names of several rows are joined: `Customer / Number`.
        Optional "rows" rows: u32,
    }
}

table! {
    /// A table, a view or a query of a database.
    SqlTable {
        /// The database: `sqlite:` and its path, relative to the root; `postgres://user:${env:PASSWORD}@host/database`, or the same with `mysql:`.
        Required "url" url: String,
        /// The table or view that is read, and written; on a server also `schema.table`.
        Optional "table" table: String,
        /// A query that is read instead of the table.
        Optional "query" query: String,
    }
}

table! {
    /// A table in memory, for tests.
    MemoryTable {
        /// Its name; that of the system, if not given.
        Optional "table" table: String,
    }
}

table! {
    /// When a record was edited.
    EditedAtTable {
        /// The column, which need not be a field.
        Required "name" name: String,
        /// How the column spells a moment, in `strftime` directives such as `%d.%m.%Y %H:%M`.
        Optional "format" format: String,
        /// The IANA time zone of a format without an offset; UTC if not given.
        Optional "timezone" timezone: String,
    }
}

table! {
    /// Which changes are made in a system.
    MayTable {
        /// New records.
        Optional "create" create: Permission,
        /// Changed fields.
        Optional "update" update: Permission,
        /// Removed records.
        Optional "delete" delete: Permission,
    }
}

/// One field: its keys, as far as they could be read.
#[derive(Clone, Debug, Default)]
pub(super) struct Field {
    pub keys: FieldTable,
    /// Whether all of it could be read. If not, a key that seems to be missing may be the one with the mistake.
    pub is_whole: bool,
}

impl Written for Field {
    fn read(value: &Spanned<DeValue<'_>>, name: &str, page: &mut Page<'_>) -> Option<Field> {
        let mistakes = page.mistakes();
        let keys = read_table(value, name, page)?;
        Some(Field { keys, is_whole: page.mistakes() == mistakes })
    }

    fn schema() -> JsonValue {
        FieldTable::schema()
    }
}

table! {
    /// A named, typed value of a record.
    FieldTable {
        /// What it holds.
        Required "type" field_type: FieldType,
        /// Where it lives in each system. A system that is not named does not carry the field.
        Required "columns" columns: Named<Column>,
        /// Cleaning beyond what always happens, in the order in which it is done.
        Optional "clean" clean: Vec<At<CleanRule>>,
        /// Texts that mean empty, instead of the usual ones. The empty text always does.
        Optional "null_tokens" null_tokens: Vec<At<String>>,
        /// The system that is the source of truth, or several: the first in which the record exists.
        Optional "owner" owner: Names,
        /// What decides when several systems changed the field to different values.
        Optional "merge" merge: Rule,
        /// The rule to fall to where `merge` cannot decide; `review` if not given.
        Optional "then" then: Rule,
        /// What a change to empty means. If not given: ignored in a new record, held where there was a value.
        Optional "blank" blank: Blank,
        /// How far two values may be apart and still agree: `"0.01"`, `"1%"`, or `"2d"` for dates.
        Optional "tolerance" tolerance: String,
        /// What happens to an edit in a system that does not decide the field.
        Optional "on_drift" on_drift: OnDrift,
        /// What happens to differences at first contact.
        Optional "first_contact" first_contact: FirstContact,
        /// Whether a value is also written where only its spelling differs.
        Optional "standardise" standardise: bool,
        /// How decimals beyond those of the type are rounded; a row that has them is quarantined, if not given.
        Optional "round" round: Round,
        /// Whether reports mask its values.
        Optional "sensitive" sensitive: bool,
        /// Whether a difference in it is told before all others, whatever the others are worth: bank details, tax numbers, consent.
        Optional "important" important: bool,
        /// What its numbers count, where they are no money: `pieces`, `days`. Reports say it behind them.
        Optional "counts" counts: String,
        /// The currency of the amounts: a code such as `EUR`, or `{ field = ".." }`. No amount has more decimals than its currency.
        Optional "currency" currency: BesideWritten,
        /// The country of phone numbers and VAT ids that do not name theirs: two letters such as `GB`, or `{ field = ".." }`.
        Optional "region" region: BesideWritten,
        /// Whether an identifier that is not valid is never written.
        Optional "must_be_valid" must_be_valid: bool,
        /// Where it stays as it is: in rows of which one of these fields holds one of the values, whatever their capitals; `"*"` is
        /// any value.
        Optional "immutable_when" immutable_when: Named<Scalars>,
        /// Texts that fill a key and identify nothing, such as `00000`: a row with one is set aside.
        Optional "placeholders" placeholders: Vec<At<String>>,
    }
}

table! {
    /// Where a field lives in one system, and how the system spells it.
    ColumnTable {
        /// The column, verbatim; for json and http a path such as `properties.email`.
        Required "name" name: String,
        /// The decimal mark, `.` or `,`.
        Optional "decimal" decimal: String,
        /// How dates and moments are spelled, in `strftime` directives such as `%d.%m.%Y`, or `unix`, `unix-ms`, `ms-json`. The
        /// first is the one that is written.
        Optional "dates" dates: Names,
        /// The IANA time zone of moments without an offset; for a date, the zone in which a moment belongs to its day.
        Optional "timezone" timezone: String,
        /// How an empty value is written.
        Optional "blank_as" blank_as: String,
        /// How true and false are written, such as `["yes", "no"]`.
        Optional "booleans" booleans: Vec<At<String>>,
        /// What stands between the items of a list; `;` if not given.
        Optional "separator" separator: String,
        /// How many digits an identifier has that a workbook holds as a number: the zeros that it lost come back.
        Optional "fixed_width" fixed_width: u32,
        /// What a number counts, where it is a share: `percent`, `permille` or `fraction`; `%` or `‰` if it always has the sign.
        Optional "unit" unit: Unit,
        /// Whether amounts are whole numbers of the smallest unit of the field's `currency`, such as cents.
        Optional "minor_units" minor_units: bool,
        /// The sign of an amount with `CR` after it; `DR` is the other one.
        Optional "credit" credit: Credit,
        /// Two-digit years below this number are 20.., the others 19..
        Optional "century_pivot" century_pivot: u32,
        /// What a local time means that a change of the clocks skips or repeats; `reject` if not given.
        Optional "dst" dst: Dst,
    }
}

table! {
    /// What happens to several different rows of one system with one key.
    DedupeTable {
        /// Which row speaks for the record; `refuse` if not given.
        Optional "keep" keep: Dedupe,
    }
}

table! {
    /// What happens when a record is deleted in a system.
    DeletesTable {
        /// What happens; `report` if not given.
        Optional "policy" policy: DeletesWord,
        /// With `policy = "archive"`: the field that is set, and its value.
        Optional "archive" archive: ArchiveTable,
    }
}

table! {
    /// The field that is set instead of deleting a record.
    ArchiveTable {
        /// The field.
        Required "field" field: String,
        /// Its value.
        Required "value" value: Scalar,
    }
}

table! {
    /// Limits that stop a run before its first write.
    LimitsTable {
        /// Whether an empty system stops the run when it was not empty before; `stop` if not given.
        Optional "empty" empty: Switch,
        /// The most records that may be deleted; `"2%"` if not given.
        Optional "deletes" deletes: Limit,
        /// The most records that may be updated; `"30%"` if not given.
        Optional "updates" updates: Limit,
        /// Whether a field that changed in every record stops the run; `stop` if not given.
        Optional "all-changed" all_changed: Switch,
        /// How many rows fewer than at the last run are accepted; `"10%"` if not given.
        Optional "shrink" shrink: Limit,
        /// How many rows more than at the last run are accepted; `"3x"` if not given.
        Optional "growth" growth: Limit,
        /// Whether a file that is an older one again, or a record whose edit time went back, stops the run; `stop` if not given.
        Optional "time-travel" time_travel: Switch,
        /// A relative limit never stops a run at or below this many records; 5 if not given.
        Optional "floor" floor: u32,
    }
}

table! {
    /// A record that must always be there, as it is.
    CanaryTable {
        /// Its key: one value for each key field, in their order.
        Required "key" key: Scalars,
        /// The fields that must hold these values.
        Optional "expect" expect: Named<Scalar>,
        /// The systems in which it must be; all of them, if not given.
        Optional "systems" systems: Names,
    }
}

table! {
    /// One control total.
    TotalTable {
        /// The field whose values group the sums, such as a currency.
        Optional "by" by: String,
        /// The most that one run may change in a system: the sum of what it creates, changes and removes there, without signs. One
        /// amount for each group, or a table with an amount for every group that may change.
        Optional "change_max" change_max: AmountsWritten,
    }
}

table! {
    /// Who gets the report, and when.
    ReportTable {
        /// The mail addresses that get every mail.
        Optional "to" to: Vec<At<String>>,
        /// Who gets it too when a person must look, and how it ended.
        Optional "to_action" to_action: Vec<At<String>>,
        /// Who gets it too when the run failed, and how it ended.
        Optional "to_failed" to_failed: Vec<At<String>>,
        /// Which runs are mailed; `always` if not given.
        Optional "when" when: ReportWhen,
    }
}

closed!(
    JobTable,
    ApplyTable,
    Schedule,
    EditedAtTable,
    MayTable,
    FieldTable,
    ColumnTable,
    DedupeTable,
    DeletesTable,
    ArchiveTable,
    LimitsTable,
    TotalTable,
    CanaryTable,
    ReportTable,
    FileReadyTable,
    CsvTrailerTable,
    ExcelHeaderTable
);

/// What happens to a run that was missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    RunOnce,
    Skip,
}

/// The words of `deletes.policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeletesWord {
    Report,
    Propagate,
    Archive,
    Recreate,
}

/// What happens to a new text that a spreadsheet would run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnFormula {
    Reject,
    Allow,
}

/// What happens to a row with too few cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ragged {
    Quarantine,
    Pad,
}

/// Whether a gate without a number is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    Stop,
    Off,
}

macro_rules! words {
    ($($of:ty { $($word:literal => $meaning:expr, $about:literal;)* })*) => {$(
        impl Word for $of {
            const WORDS: &'static [(&'static str, Self, &'static str)] = &[$(($word, $meaning, $about)),*];
        }
    )*};
}

words! {
    Mode {
        "sync" => Mode::Sync, "Changes are written.";
        "audit" => Mode::Audit, "Differences are only reported.";
    }
    Missed {
        "run-once" => Missed::RunOnce, "After downtime it is made up for once.";
        "skip" => Missed::Skip, "The next run is the one that is due next.";
    }
    Role {
        "source" => Role::Source, "Decides, and is never written.";
        "target" => Role::Target, "Is written, and never decides: its edits are drift.";
        "peer" => Role::Peer, "Decides, and is written.";
        "witness" => Role::Witness, "Is only compared.";
    }
    Permission {
        "apply" => Permission::Apply, "The change is made.";
        "review" => Permission::Review, "The change waits for a person.";
        "never" => Permission::Never, "The change is never made.";
    }
    CleanRule {
        "collapse-spaces" => CleanRule::CollapseSpaces, "Runs of white space become one space.";
        "upper" => CleanRule::Upper, "Upper case.";
        "lower" => CleanRule::Lower, "Lower case.";
        "ascii-punct" => CleanRule::AsciiPunct, "Typographic quotes and dashes become plain ones.";
        "collapse-in-lines" => CleanRule::CollapseInLines, "Runs of white space within a line become one space; lines are kept.";
        "email" => CleanRule::Email, "A mail address: without `mailto:` and angle brackets, its domain in lower case and ASCII.";
        "digits" => CleanRule::Digits, "Only digits are kept, leading zeros among them.";
        "phone" => CleanRule::Phone, "A phone number in E.164, such as `+442079460958`, and its extension.";
        "country" => CleanRule::Country, "The two letters of a country, from its name or any of its codes.";
        "currency" => CleanRule::Currency, "The three letters of a currency.";
        "iban" => CleanRule::Iban, "A bank account number: upper case, without spaces.";
        "vat-id" => CleanRule::VatId, "A VAT id: upper case, without spaces and points, its country first.";
    }
    Unit {
        "fraction" => Unit::Fraction, "A bare number is the share itself.";
        "percent" => Unit::Percent, "A bare number is per cent.";
        "permille" => Unit::Permille, "A bare number is per mille.";
        "%" => Unit::PercentSign, "Per cent, always with the sign.";
        "‰" => Unit::PermilleSign, "Per mille, always with the sign.";
    }
    Credit {
        "plus" => Credit::Plus, "`CR` is a plus and `DR` a minus.";
        "minus" => Credit::Minus, "`CR` is a minus and `DR` a plus.";
    }
    Dst {
        "reject" => Dst::Reject, "It cannot be read, and its row is set aside.";
        "earlier" => Dst::Earlier, "The earlier of the two moments.";
        "later" => Dst::Later, "The later of the two moments.";
    }
    Blank {
        "ignore" => Blank::Ignore, "It is no edit, and is filled again.";
        "propagate" => Blank::Propagate, "It is a value like any other.";
        "conflict" => Blank::Conflict, "It waits for a person.";
    }
    OnDrift {
        "overwrite" => OnDrift::Overwrite, "The decided value is written back, and both are listed.";
        "report" => OnDrift::Report, "It is only listed.";
    }
    FirstContact {
        "decide" => FirstContact::Decide, "The owner or the rule decides, and empty values are filled.";
        "fill-blanks" => FirstContact::FillBlanks, "Empty values are filled; other differences wait for a person.";
        "review" => FirstContact::Review, "Every difference waits for a person.";
    }
    Round {
        "half-up" => Round::HalfUp, "Half is rounded away from zero.";
        "half-even" => Round::HalfEven, "Half is rounded to the even neighbour.";
    }
    Dedupe {
        "refuse" => Dedupe::Refuse, "The record is held in every system.";
        "latest" => Dedupe::Latest, "The row that was edited last.";
        "most-complete" => Dedupe::MostComplete, "The row with the fewest empty values.";
    }
    DeletesWord {
        "report" => DeletesWord::Report, "It is reported.";
        "propagate" => DeletesWord::Propagate, "It is deleted everywhere.";
        "archive" => DeletesWord::Archive, "A field is set everywhere else.";
        "recreate" => DeletesWord::Recreate, "It is created again.";
    }
    OnFormula {
        "reject" => OnFormula::Reject, "It is held: nothing that begins with `=` or `@` is written.";
        "allow" => OnFormula::Allow, "It is written as it is.";
    }
    Ragged {
        "quarantine" => Ragged::Quarantine, "It is set aside, and stays in the file.";
        "pad" => Ragged::Pad, "The cells that it lacks are empty. It stays as short as it is until one of them is filled.";
    }
    HttpBody {
        "json" => HttpBody::Json, "As JSON.";
        "form" => HttpBody::Form, "As a form: names and values, `address[city]` for what is inside.";
        "none" => HttpBody::None, "There is none: the address says everything.";
    }
    JsonNull {
        "null" => JsonNull::Null, "As `null`.";
        "omit" => JsonNull::Omit, "Its key is left out.";
        "empty" => JsonNull::Empty, "As `\"\"`.";
    }
    Switch {
        "stop" => Switch::Stop, "It stops the run.";
        "off" => Switch::Off, "It never stops a run.";
    }
    ReportWhen {
        "always" => ReportWhen::Always, "Every run.";
        "changes" => ReportWhen::Changes, "Runs that changed something or have a problem, and the run that ends it.";
        "problems" => ReportWhen::Problems, "Problems once, with reminders on days 1, 3, 7 and then weekly, their end, and a weekly sign of life.";
    }
}

/// One system: what every system says, and the settings of its kind.
#[derive(Clone, Debug, Default)]
pub(super) struct System {
    pub common: SystemTable,
    /// Nothing if the kind is missing, unknown or not supported: that is on the page.
    pub settings: Option<Settings>,
    /// Whether all of it could be read. If not, a key that seems to be missing may be the one with the mistake.
    pub is_whole: bool,
}

/// The settings of a system by its kind.
#[derive(Clone, Debug)]
pub(super) enum Settings {
    Csv(Box<CsvTable>),
    Excel(ExcelTable),
    Sql(SqlTable),
    Http(Box<HttpTable>),
    Json(JsonTable),
    Parquet(ParquetTable),
    Memory(MemoryTable),
}

/// The keys of kind `http`: those of its table, and the one that names a preset.
const HTTP_KEYS: &[&str] = &{
    let mut keys = [presets::KEY; HttpTable::KEYS.len() + 1];
    let mut index = 0;
    while index < HttpTable::KEYS.len() {
        keys[index + 1] = HttpTable::KEYS[index];
        index += 1;
    }
    keys
};

/// The kinds that this version supports, each with the keys of its own.
const KINDS: &[(&str, &[&str])] = &[
    ("csv", CsvTable::KEYS),
    ("excel", ExcelTable::KEYS),
    ("sql", SqlTable::KEYS),
    ("http", HTTP_KEYS),
    ("json", JsonTable::KEYS),
    ("parquet", ParquetTable::KEYS),
];

impl Written for System {
    fn read(value: &Spanned<DeValue<'_>>, name: &str, page: &mut Page<'_>) -> Option<System> {
        let mistakes = page.mistakes();
        let is_http = value.get_ref().as_table().and_then(|table| table.get("kind")?.get_ref().as_str()) == Some("http");
        let merged = if is_http { presets::merged(value, name, page) } else { Merged::Plain };
        let value = if let Merged::Table(merged) = &merged { merged } else { value };
        let mut rows = Rows::of(value, name, page)?;
        let common = SystemTable::take(&mut rows, page);
        let without_settings = |common| Some(System { common, settings: None, is_whole: false });
        let Some(kind) = common.kind.clone().filter(|_| !matches!(merged, Merged::Unknown)) else { return without_settings(common) };
        let settings = match kind.as_str() {
            "csv" => Settings::Csv(Box::new(CsvTable::take(&mut rows, page))),
            "excel" => Settings::Excel(ExcelTable::take(&mut rows, page)),
            "sql" => Settings::Sql(SqlTable::take(&mut rows, page)),
            "http" => Settings::Http(Box::new(HttpTable::take(&mut rows, page))),
            "json" => Settings::Json(JsonTable::take(&mut rows, page)),
            "parquet" => Settings::Parquet(ParquetTable::take(&mut rows, page)),
            "memory" => Settings::Memory(MemoryTable::take(&mut rows, page)),
            unknown => {
                let words = KINDS.iter().map(|(word, _)| *word);
                page.refuse(&kind.span, format!("`{name}.kind` cannot be `{unknown}`")).known("kinds", unknown, words);
                return without_settings(common);
            }
        };
        let own = KINDS.iter().find(|(word, _)| *word == kind.value).map_or(MemoryTable::KEYS, |(_, keys)| keys);
        let known: Vec<&str> = SystemTable::KEYS.iter().chain(own).copied().collect();
        for row in rows.left() {
            refuse_system_key(row, name, &kind.value, &known, page);
        }
        Some(System { common, settings: Some(settings), is_whole: page.mistakes() == mistakes })
    }

    fn schema() -> JsonValue {
        let kind = |word: &'static str, about: &[&str], own: Vec<(&'static str, Presence, JsonValue)>| {
            let mut properties = SystemTable::properties();
            properties[0].2 = json!({ "description": "What sort of system it is.", "const": word });
            properties.extend(own);
            object_schema(&prose(about), properties)
        };
        json!({
            "oneOf": [
                kind("csv", CsvTable::ABOUT, CsvTable::properties()),
                kind("excel", ExcelTable::ABOUT, ExcelTable::properties()),
                kind("sql", SqlTable::ABOUT, SqlTable::properties()),
                kind("http", HttpTable::ABOUT, HttpTable::properties()),
                with_preset(kind("http", HttpTable::ABOUT, HttpTable::properties())),
                kind("json", JsonTable::ABOUT, JsonTable::properties()),
                kind("parquet", ParquetTable::ABOUT, ParquetTable::properties()),
            ]
        })
    }
}

/// The schema of a system of kind `http` that names a preset: it need not say anything else.
fn with_preset(mut schema: JsonValue) -> JsonValue {
    fn without_duties(schema: &mut JsonValue) {
        match schema {
            JsonValue::Object(keys) => {
                keys.remove("required");
                keys.values_mut().for_each(without_duties);
            }
            JsonValue::Array(items) => items.iter_mut().for_each(without_duties),
            _ => {}
        }
    }
    without_duties(&mut schema);
    let names: Vec<JsonValue> = preset_names().map(|name| json!({ "const": name })).collect();
    let about = "The settings of an API that is known here; what stands beside it goes before them, key by key. `tieout schema --preset NAME` prints them.";
    schema["properties"][presets::KEY] = json!({ "description": about, "oneOf": names });
    schema["required"] = json!(["kind", "role", presets::KEY]);
    schema
}

fn refuse_system_key(row: &Row<'_>, name: &str, kind: &str, known: &[&str], page: &mut Page<'_>) {
    let of_another = KINDS.iter().find(|(_, keys)| keys.contains(&row.key)).map(|(word, _)| *word);
    match of_another {
        Some(other) => {
            let own: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
            page.refuse(&row.span, format!("`{}` is a key of kind `{other}`, and `{name}` is of kind `{kind}`", row.key))
                .seen(format!("keys: {}", own.join(", ")));
        }
        None => {
            page.refuse(&row.span, format!("unknown key `{}` in `{name}`", row.key)).known("keys", row.key, known.iter().copied());
        }
    }
}

impl Written for FieldType {
    fn read(value: &Spanned<DeValue<'_>>, name: &str, page: &mut Page<'_>) -> Option<FieldType> {
        const WORDS: &[&str] = &["text", "integer", "decimal(2)", "boolean", "date", "instant", "datetime", "list"];
        let text = String::read(value, name, page)?;
        let scale = text.strip_prefix("decimal").map(|rest| rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).map(str::trim));
        Some(match (text.as_str(), scale) {
            ("text", _) => FieldType::Text,
            ("integer", _) => FieldType::Integer,
            ("boolean", _) => FieldType::Boolean,
            ("date", _) => FieldType::Date,
            ("instant", _) => FieldType::Instant,
            ("datetime", _) => FieldType::Datetime,
            ("list", _) => FieldType::List,
            (_, Some(Some(digits))) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                match digits.parse::<u8>().ok().filter(|scale| *scale <= SCALE_MAX) {
                    Some(scale) => FieldType::Decimal(scale),
                    None => {
                        page.refuse(&value.span(), format!("`{name}` has {digits} decimals, at most {SCALE_MAX} are possible"));
                        return None;
                    }
                }
            }
            (_, Some(_)) => {
                page.refuse(&value.span(), format!("`{name}` does not say how many decimals: `{text}`")).hint("write `decimal(2)` for amounts in cents");
                return None;
            }
            _ => {
                page.refuse(&value.span(), format!("`{name}` cannot be `{text}`")).known("types", &text, WORDS.iter().copied());
                return None;
            }
        })
    }

    fn schema() -> JsonValue {
        json!({
            "anyOf": [
                { "const": "text", "description": "Unicode text." },
                { "const": "integer", "description": "A whole number within 64 bits." },
                { "type": "string", "pattern": "^decimal\\([0-9]\\)$", "description": "An exact number with that many decimals, such as decimal(2). Money is always one." },
                { "const": "boolean", "description": "True or false." },
                { "const": "date", "description": "A day, never shifted by a time zone." },
                { "const": "instant", "description": "A moment in time." },
                { "const": "datetime", "description": "A date and a time of day without a zone." },
                { "const": "list", "description": "An ordered list of texts." }
            ]
        })
    }
}

/// A column: its name, or the long form.
#[derive(Clone, Debug, Default)]
pub(super) struct Column(pub ColumnTable);

impl Written for Column {
    fn read(value: &Spanned<DeValue<'_>>, name: &str, page: &mut Page<'_>) -> Option<Column> {
        match value.get_ref() {
            DeValue::String(text) => Some(Column(ColumnTable { name: Some(At::new(text.to_string(), value.span())), ..ColumnTable::default() })),
            DeValue::Table(_) => read_table(value, name, page).map(Column),
            _ => {
                refuse_sort(value, name, "text or a table", page);
                None
            }
        }
    }

    fn schema() -> JsonValue {
        json!({ "anyOf": [{ "type": "string", "description": "The column, verbatim." }, ColumnTable::schema()] })
    }
}

/// The header of a sheet: its row, or the long form.
#[derive(Clone, Debug, Default)]
pub(super) struct ExcelHeaderWritten(pub ExcelHeaderTable);

impl Written for ExcelHeaderWritten {
    fn read(value: &Spanned<DeValue<'_>>, name: &str, page: &mut Page<'_>) -> Option<ExcelHeaderWritten> {
        match value.get_ref() {
            DeValue::Integer(_) => {
                let row = At::new(u32::read(value, name, page)?, value.span());
                Some(ExcelHeaderWritten(ExcelHeaderTable { row: Some(row), ..ExcelHeaderTable::default() }))
            }
            DeValue::Table(_) => read_table(value, name, page).map(ExcelHeaderWritten),
            _ => {
                refuse_sort(value, name, "a row number or a table", page);
                None
            }
        }
    }

    fn schema() -> JsonValue {
        json!({ "anyOf": [{ "type": "integer", "minimum": 1, "description": "The row, counted from 1." }, ExcelHeaderTable::schema()] })
    }
}

/// An edit time: its column, or the long form.
#[derive(Clone, Debug, Default)]
pub(super) struct EditedAtWritten(pub EditedAtTable);

impl Written for EditedAtWritten {
    fn read(value: &Spanned<DeValue<'_>>, name: &str, page: &mut Page<'_>) -> Option<EditedAtWritten> {
        match value.get_ref() {
            DeValue::String(text) => Some(EditedAtWritten(EditedAtTable { name: Some(At::new(text.to_string(), value.span())), ..EditedAtTable::default() })),
            DeValue::Table(_) => read_table(value, name, page).map(EditedAtWritten),
            _ => {
                refuse_sort(value, name, "text or a table", page);
                None
            }
        }
    }

    fn schema() -> JsonValue {
        json!({ "anyOf": [{ "type": "string", "description": "The column, verbatim." }, EditedAtTable::schema()] })
    }
}

table! {
    /// The field of the same record that holds it.
    BesideTable {
        /// The field.
        Required "field" field: String,
    }
}

/// Something that is the same in all records, or stands in another field.
#[derive(Clone, Debug)]
pub(super) enum BesideWritten {
    Constant(String),
    Field(At<String>),
}

impl Written for BesideWritten {
    fn read(value: &Spanned<DeValue<'_>>, name: &str, page: &mut Page<'_>) -> Option<BesideWritten> {
        match value.get_ref() {
            DeValue::String(text) => Some(BesideWritten::Constant(text.to_string())),
            DeValue::Table(_) => read_table::<BesideTable>(value, name, page)?.field.map(BesideWritten::Field),
            _ => {
                refuse_sort(value, name, "text or a table", page);
                None
            }
        }
    }

    fn schema() -> JsonValue {
        json!({ "anyOf": [{ "type": "string" }, object_schema(&prose(BesideTable::ABOUT), BesideTable::properties())] })
    }
}

/// An amount, in text so that it is exact.
#[derive(Clone, Debug, Default)]
pub(super) struct AmountWritten(pub String);

impl Written for AmountWritten {
    fn read(value: &Spanned<DeValue<'_>>, name: &str, page: &mut Page<'_>) -> Option<AmountWritten> {
        match value.get_ref() {
            DeValue::String(text) => Some(AmountWritten(text.trim().to_owned())),
            DeValue::Integer(number) if number.radix() == 10 => Some(AmountWritten(number.as_str().to_owned())),
            _ => {
                refuse_sort(value, name, "text", page);
                None
            }
        }
    }

    fn schema() -> JsonValue {
        json!({ "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?$" }] })
    }
}

/// One amount for all groups, or one for each.
#[derive(Clone, Debug)]
pub(super) enum AmountsWritten {
    Each(AmountWritten),
    Of(Vec<(At<String>, At<AmountWritten>)>),
}

impl Written for AmountsWritten {
    fn read(value: &Spanned<DeValue<'_>>, name: &str, page: &mut Page<'_>) -> Option<AmountsWritten> {
        if !value.get_ref().is_table() {
            return AmountWritten::read(value, name, page).map(AmountsWritten::Each);
        }
        let rows = Rows::of(value, name, page)?;
        let amounts: Vec<_> = rows
            .rows
            .iter()
            .map(|row| {
                let amount = AmountWritten::read(row.value, &rows.dotted(row.key), page)?;
                Some((At::new(row.key.to_owned(), row.span.clone()), At::new(amount, row.value.span())))
            })
            .collect();
        amounts.into_iter().collect::<Option<Vec<_>>>().map(AmountsWritten::Of)
    }

    fn schema() -> JsonValue {
        json!({ "anyOf": [AmountWritten::schema(), { "type": "object", "additionalProperties": AmountWritten::schema() }] })
    }
}

/// A value in its canonical text: TOML's own spelling of a number, a truth or a date is that of every field.
#[derive(Clone, Debug, Default)]
pub(super) struct Scalar(pub String);

impl Written for Scalar {
    fn read(value: &Spanned<DeValue<'_>>, name: &str, page: &mut Page<'_>) -> Option<Scalar> {
        Some(Scalar(match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
            DeValue::Boolean(boolean) => boolean.to_string(),
            DeValue::Float(number) => number.as_str().to_owned(),
            DeValue::Datetime(date) => date.to_string(),
            _ => {
                refuse_sort(value, name, "one value", page);
                return None;
            }
        }))
    }

    fn schema() -> JsonValue {
        json!({ "type": ["string", "number", "boolean"] })
    }
}

/// One value, or a list of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Scalars(pub Vec<At<Scalar>>);

impl Written for Scalars {
    fn read(value: &Spanned<DeValue<'_>>, name: &str, page: &mut Page<'_>) -> Option<Scalars> {
        match value.get_ref() {
            DeValue::Array(_) => Vec::read(value, name, page).map(Scalars),
            _ => Scalar::read(value, name, page).map(|one| Scalars(vec![At::new(one, value.span())])),
        }
    }

    fn schema() -> JsonValue {
        json!({ "anyOf": [Scalar::schema(), { "type": "array", "items": Scalar::schema(), "minItems": 1 }] })
    }
}

/// A rule of `merge` or `then`.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    Latest,
    Priority(Vec<At<String>>),
    Max,
    Min,
    Longest,
    Union,
    SumOfChanges,
    MostRestrictive(Vec<At<Scalar>>),
    Review,
}

/// The rules that are one word.
const RULES: &[(&str, Rule, &str)] = &[
    ("latest", Rule::Latest, "The newest edit. Every system that decides needs `edited_at`."),
    ("max", Rule::Max, "The largest value."),
    ("min", Rule::Min, "The smallest value."),
    ("longest", Rule::Longest, "The longest text."),
    ("union", Rule::Union, "All items of all lists."),
    ("sum-of-changes", Rule::SumOfChanges, "For counters: the last decided value and all differences since."),
    ("review", Rule::Review, "A person decides."),
];

table! {
    /// A rule with a list.
    RuleTable {
        /// Systems: the first of them among those that changed the field.
        Optional "priority" priority: Vec<At<String>>,
        /// Values: the first of them that a system holds. For consent: of a value that is not among them a person is asked.
        Optional "most-restrictive" most_restrictive: Vec<At<Scalar>>,
    }
}

impl Written for Rule {
    fn read(value: &Spanned<DeValue<'_>>, name: &str, page: &mut Page<'_>) -> Option<Rule> {
        match value.get_ref() {
            DeValue::String(text) => {
                let text: &str = text.as_ref();
                if let Some((_, rule, _)) = RULES.iter().find(|(word, ..)| *word == text) {
                    return Some(rule.clone());
                }
                match text {
                    "priority" => page
                        .refuse(&value.span(), format!("`{name}` needs the systems of `priority`"))
                        .hint("name them: `{ priority = [\"first\", \"second\"] }`"),
                    "most-restrictive" => page
                        .refuse(&value.span(), format!("`{name}` needs the values of `most-restrictive`"))
                        .hint("name them, the strictest first: `{ most-restrictive = [\"no\", \"yes\"] }`"),
                    _ => {
                        let words = RULES.iter().map(|(word, ..)| *word).chain(RuleTable::KEYS.iter().copied());
                        page.refuse(&value.span(), format!("`{name}` cannot be `{text}`")).known("rules", text, words)
                    }
                };
                None
            }
            DeValue::Table(_) => {
                let mut rows = Rows::of(value, name, page)?;
                let count = rows.rows.len();
                let rule = RuleTable::take(&mut rows, page);
                rows.refuse_left(RuleTable::KEYS, page);
                match (rule.priority, rule.most_restrictive) {
                    (Some(systems), None) if count == 1 => Some(Rule::Priority(systems.value)),
                    (None, Some(values)) if count == 1 => Some(Rule::MostRestrictive(values.value)),
                    (Some(_), Some(_)) => {
                        page.refuse(&value.span(), format!("`{name}` has two rules")).hint("give the second one as `then`");
                        None
                    }
                    _ => {
                        if count == 0 {
                            page.refuse(&value.span(), format!("`{name}` has no rule")).hint("for example `{ priority = [\"first\", \"second\"] }`");
                        }
                        None
                    }
                }
            }
            _ => {
                refuse_sort(value, name, "text or a table", page);
                None
            }
        }
    }

    fn schema() -> JsonValue {
        let mut rules: Vec<JsonValue> = RULES.iter().map(|(word, _, about)| json!({ "const": word, "description": about })).collect();
        rules.extend(
            RuleTable::properties()
                .into_iter()
                .map(|(key, _, schema)| json!({ "type": "object", "required": [key], "properties": { key: schema }, "additionalProperties": false })),
        );
        json!({ "anyOf": rules })
    }
}

impl Written for Limit {
    fn read(value: &Spanned<DeValue<'_>>, name: &str, page: &mut Page<'_>) -> Option<Limit> {
        let limit = match value.get_ref() {
            DeValue::String(text) => limit_of(text.trim()),
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok().map(Limit::Count),
            _ => None,
        };
        let is_growth = name.ends_with(".growth");
        let limit = limit.filter(|limit| is_growth || !matches!(limit, Limit::Times(_)));
        if limit.is_none() {
            let times = if is_growth { ", `\"3x\"` for three times as many" } else { "" };
            page.refuse(&value.span(), format!("`{name}` is not a limit")).hint(format!("write `\"2%\"` for per cent, `50` for a count{times}, or `\"off\"`"));
        }
        limit
    }

    fn schema() -> JsonValue {
        json!({ "anyOf": [{ "type": "integer", "minimum": 0 }, { "const": "off" }, { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)? ?[%x]?$" }] })
    }
}

fn limit_of(text: &str) -> Option<Limit> {
    if text == "off" {
        return Some(Limit::Off);
    }
    match text.strip_suffix('%') {
        Some(number) => unsigned(number.trim_end()).map(Limit::Percent),
        None => match text.strip_suffix(['x', '×']) {
            Some(number) => unsigned(number.trim_end()).map(Limit::Times),
            None => text.parse().ok().map(Limit::Count),
        },
    }
}

/// An exact number that is not negative.
pub(super) fn unsigned(text: &str) -> Option<Decimal> {
    let scale = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let scale = u8::try_from(scale).ok().filter(|scale| *scale <= SCALE_MAX)?;
    Decimal::parse(text, scale).ok().filter(|_| !text.starts_with('-'))
}

/// The limits of the job, and those of single systems.
#[derive(Clone, Debug, Default)]
pub(super) struct GatesTable {
    pub all: LimitsTable,
    pub systems: Vec<(At<String>, LimitsTable)>,
}

impl Written for GatesTable {
    fn read(value: &Spanned<DeValue<'_>>, name: &str, page: &mut Page<'_>) -> Option<GatesTable> {
        let mut rows = Rows::of(value, name, page)?;
        let mut systems = Vec::new();
        // A table is a system's, whatever it is called: no limit is written as one.
        rows.rows.retain(|row| {
            let is_system = row.value.get_ref().is_table();
            if is_system && let Some(limits) = read_table(row.value, &format!("{name}.{}", row.key), page) {
                systems.push((At::new(row.key.to_owned(), row.span.clone()), limits));
            }
            !is_system
        });
        let all = LimitsTable::take(&mut rows, page);
        rows.refuse_left(LimitsTable::KEYS, page);
        Some(GatesTable { all, systems })
    }

    fn schema() -> JsonValue {
        let mut schema = object_schema(&prose(LimitsTable::ABOUT), LimitsTable::properties());
        schema["additionalProperties"] = described(LimitsTable::schema(), "The limits of one system.");
        schema
    }
}
