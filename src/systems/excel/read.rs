//! A sheet of a workbook as a table: its header found, its rows as text with their storage class, and everything that a
//! person should know about it.
//!
//! Words: the *header* is one row or several above each other, the *rows* stand below it. A row is *blank* if all its cells are
//! empty; blank rows are dropped and counted. A *fault* is a cell that holds no value: an error, a number that lost digits, a
//! formula that nobody calculated.
//!
//! # Design
//! - What a cell is depends on the job and never on its neighbours: a number in a column of dates is a day, in a column of
//!   texts an identifier with the zeros that its format shows.
//! - xlsx and xlsb are read cell by cell, because the area that a hostile file claims may be larger than any memory. xls has at
//!   most 65,536 rows of 256 columns, and the reader of ods bounds itself.
//! - Other people's parsers meet other people's files here: they run on a thread of their own, where a panic is caught and a
//!   time limit holds.
//! - A formula whose result is missing was never calculated, or depends on a cell that was written since. A missing result is
//!   never read as empty: the row waits. A zero says so only where no formula of the sheet has another result and the program
//!   that wrote the workbook left the calculation to others. Nearly a whole column of such cells stops the run.
//! - The row of a total has no key, or the word for it as one, and the sum of the rows above as its amount. It is quarantined until
//!   the job says how such rows are told.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use calamine::{Data, DataRef, Dimensions, Ods, Reader, Sheet, SheetType, SheetVisible, Xls, Xlsb, Xlsx, XlsxError};
use polars::prelude::{StringChunked, StringChunkedBuilder};

use super::parts::{self, NoWorkbook, Structure, letters};
use super::spell::{self, Shown};
use crate::diagnostic::{Place, did_you_mean};
use crate::error::{Error, Remedy};
use crate::frame::{NO_ROW, seed_of_rows};
use crate::job::{ExcelColumn, ExcelHeader, ExcelHeaderAt};
use crate::systems::missing_columns;
use crate::value::{Decimal, FieldType, Storage};

/// A header is looked for in this many rows.
const HEADER_ROWS_SEARCHED: u32 = 1_000;
/// Reading one workbook may take this long.
const READ_TIME_MAX: Duration = Duration::from_secs(15 * 60);
/// The stack of the thread that reads.
const STACK_BYTES: usize = 32 << 20;
/// From this share of its cells on, in per cent, a column of formulas without results stops the run.
const UNCALCULATED_PERCENT: usize = 90;
/// Words for a total that stand where a key should.
const TOTAL_WORDS: &[&str] = &["total", "totals", "grand total", "sum", "summe", "gesamt", "gesamtsumme", "totaal", "totale", "suma", "somme"];
/// How a fault of this sort is told.
pub(super) const NOTHING: &str = "nothing was read or written";

/// What is asked of a workbook.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// The workbook as the operator wrote it, for messages.
    pub origin: String,
    /// The name of the system, for messages.
    pub system: String,
    /// The name of the sheet; the only one, if not given.
    pub sheet: Option<String>,
    pub header: ExcelHeader,
    pub stop_at: Vec<String>,
    pub drop_where: Vec<(String, Vec<String>)>,
    pub errors_as_null: Vec<String>,
    /// The columns that are delivered, each once, and what the job says about them.
    pub columns: Vec<Wanted>,
    /// Whether a column of formulas that nobody calculated is an error.
    pub insists_on_results: bool,
}

/// One column that is delivered.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub name: String,
    pub reads: Reads,
    pub is_key: bool,
    pub fixed_width: Option<usize>,
    /// The IANA time zone of moments.
    pub timezone: Option<String>,
}

/// How the cells of a column are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// As texts, with the zeros that their number formats show.
    Text,
    /// As identifiers: texts of which every digit counts.
    Identifier,
    /// As numbers.
    Number,
    /// As truths.
    Boolean,
    /// As days, or as moments. `declared`: the job says how text spells them.
    Moment { has_time: bool, declared: bool },
}

impl Wanted {
    /// A column of the job; `column` is what its fields say about it.
    pub fn new(name: &str, column: Option<&ExcelColumn>, is_id: bool, is_edit_time: bool) -> Wanted {
        let reads = match column.map(|column| (column.field_type, column)) {
            None if is_edit_time => Reads::Moment { has_time: true, declared: false },
            None if is_id => Reads::Identifier,
            None => Reads::Text,
            Some((FieldType::Text, column)) if column.is_identifier || is_id => Reads::Identifier,
            Some((FieldType::Text | FieldType::List, _)) => Reads::Text,
            Some((FieldType::Integer | FieldType::Decimal(_), _)) => Reads::Number,
            Some((FieldType::Boolean, _)) => Reads::Boolean,
            Some((FieldType::Date, column)) => Reads::Moment { has_time: false, declared: column.declares_dates },
            Some((FieldType::Instant | FieldType::Datetime, column)) => Reads::Moment { has_time: true, declared: column.declares_dates },
        };
        let fixed_width = column.and_then(|column| column.fixed_width).and_then(|width| usize::try_from(width).ok());
        Wanted {
            name: name.to_owned(),
            reads,
            is_key: column.is_some_and(|column| column.is_key),
            fixed_width,
            timezone: column.and_then(|column| column.timezone.clone()),
        }
    }
}

/// What a cell holds, for whoever writes another value into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Nothing.
    Nothing,
    /// Text.
    Text,
    /// A number.
    Number,
    /// A number that its format makes a date or a moment.
    Moment,
    /// True or false.
    Boolean,
    /// An error, or something that cannot be read.
    Fault,
}

/// One column as it was read.
#[derive(Debug)]
pub(super) struct Column {
    pub name: String,
    /// Where it is on the sheet, from 0.
    pub at: u32,
    pub wanted: Wanted,
    /// One text a row, empty for an empty cell.
    pub texts: StringChunked,
    pub storage: Vec<u8>,
    pub held: Vec<Held>,
    /// The style of each cell, an index into [`Reading::styles`].
    pub style: Vec<u32>,
    pub faults: Vec<(u32, String)>,
}

/// A table as it was read.
#[derive(Debug)]
pub(super) struct Reading {
    pub format: parts::Format,
    pub sheet: String,
    pub is_1904: bool,
    /// The names of the header, from the left.
    pub names: Vec<String>,
    /// The columns that were asked for.
    pub columns: Vec<Column>,
    /// The row of the sheet of each row, from 1.
    pub lines: Vec<u64>,
    pub hashes: Vec<u128>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// The first row below the last one of the table that holds anything, from 1.
    pub below: Option<u64>,
    /// The number formats, by style.
    pub styles: Vec<spell::Format>,
    /// Formulas, merged cells, protection; nothing known of formats that are not written.
    pub structure: Structure,
}

impl Request {
    fn place(&self) -> Place {
        Place::of(&self.origin)
    }

    fn damaged(&self, why: impl std::fmt::Display) -> Error {
        Error::new(Remedy::Look, self.place(), "the workbook cannot be read: it is damaged")
            .seen(format!("the reader says: {}", without_insides(&why.to_string())))
            .seen(NOTHING)
            .hint("open it in Excel or LibreOffice, save it again, and look whether all of it is there")
    }

    fn no_workbook(&self, problem: NoWorkbook) -> Error {
        match problem {
            NoWorkbook::Password => Error::new(Remedy::GiveAccess, self.place(), "the workbook is protected by a password")
                .seen(NOTHING)
                .hint("save it without a password for opening: access is better given by the folder"),
            NoWorkbook::Other(why) => Error::new(Remedy::Look, self.place(), "the file is no workbook")
                .seen(why)
                .seen(NOTHING)
                .hint("export it again as .xlsx, or mend `path` or `kind`"),
            NoWorkbook::Damaged(why) => self.damaged(why),
            NoWorkbook::TooLarge(why) => Error::new(Remedy::Look, self.place(), "the workbook is larger than any that is read")
                .seen(why)
                .seen(NOTHING)
                .hint("look whether it is the right workbook; if it is, export it with fewer sheets or rows"),
        }
    }
}

/// What a parser says, up to where it shows how it is built.
pub(super) fn without_insides(why: &str) -> &str {
    let end = ["Text(", "Start(", "End(", "Empty(", "Bytes", " { "].iter().filter_map(|word| why.find(word)).min().unwrap_or(why.len());
    let said = why[..end].trim_end_matches([' ', '\'', '"', '`', ',', ':', '(']);
    if end < why.len() { said.trim_end_matches("found").trim_end_matches([' ', ',']) } else { why }
}

/// Reads a sheet, on a thread of its own.
pub(super) fn read(bytes: Arc<Vec<u8>>, request: Request) -> Result<Reading, Error> {
    let (sender, receiver) = mpsc::channel();
    let asked = request.clone();
    let work = move || {
        let read = catch_unwind(AssertUnwindSafe(|| read_here(&bytes, &request)));
        // Nobody listens any more after the time limit.
        let _ = sender.send(read);
    };
    let thread = std::thread::Builder::new().name("workbook".to_owned()).stack_size(STACK_BYTES).spawn(work);
    if let Err(error) = thread {
        return Err(Error::new(Remedy::GiveAccess, asked.place(), "there are no means to read the workbook").seen(error.to_string()).seen(NOTHING));
    }
    match receiver.recv_timeout(READ_TIME_MAX) {
        Ok(Ok(read)) => read,
        Ok(Err(_)) | Err(mpsc::RecvTimeoutError::Disconnected) => Err(asked.damaged("it makes the reader fail")),
        Err(mpsc::RecvTimeoutError::Timeout) => Err(asked.damaged(format!("it takes longer than {} minutes", READ_TIME_MAX.as_secs() / 60))),
    }
}

fn read_here(bytes: &[u8], request: &Request) -> Result<Reading, Error> {
    match parts::format_of(bytes).map_err(|problem| request.no_workbook(problem))? {
        parts::Format::Xlsx => read_xlsx(bytes, request),
        parts::Format::Xlsb => read_xlsb(bytes, request),
        parts::Format::Xls => {
            let book: Xls<_> = Xls::new(Cursor::new(bytes)).map_err(|error| match error {
                calamine::XlsError::Password => request.no_workbook(NoWorkbook::Password),
                other => request.damaged(other),
            })?;
            let is_1904 = book.has_1904_epoch();
            let merged = |book: &Xls<_>, sheet: &str| book.merge_cells_by_sheet_name(sheet).unwrap_or_default();
            read_whole(book, parts::Format::Xls, is_1904, merged, request)
        }
        parts::Format::Ods => {
            let book: Ods<_> = Ods::new(Cursor::new(bytes)).map_err(|error| match error {
                calamine::OdsError::Password => request.no_workbook(NoWorkbook::Password),
                other => request.damaged(other),
            })?;
            read_whole(book, parts::Format::Ods, false, |_, _| Vec::new(), request)
        }
    }
}

/// One cell as a parser delivers it.
#[derive(Clone, Debug)]
struct Cell<'c> {
    column: u32,
    value: DataRef<'c>,
    /// The words of an error that the parser does not know.
    error: Option<&'c str>,
    style: u32,
}

fn read_xlsx(bytes: &[u8], request: &Request) -> Result<Reading, Error> {
    let mut book: Xlsx<_> = Xlsx::new(Cursor::new(bytes)).map_err(|error| match error {
        XlsxError::Password => request.no_workbook(NoWorkbook::Password),
        other => request.damaged(other),
    })?;
    let (sheet, notes) = choose(book.sheets_metadata(), request)?;
    let structure = Structure::of(bytes, &sheet).map_err(|why| request.damaged(why))?;
    let is_1904 = book.has_1904_epoch();
    let mut cells = book.worksheet_cells_reader(&sheet).map_err(|error| request.damaged(error))?;
    let format_of = |style: &calamine::Style| style.number_format.as_ref().map(|format| spell::Format::of(&format.format_code)).unwrap_or_default();
    let styles: Vec<spell::Format> = cells.styles().iter().map(format_of).collect();
    let errors = structure.errors.clone();
    let mut errors = errors.iter().peekable();
    let mut table = Table::new(parts::Format::Xlsx, sheet, is_1904, styles, structure, notes, request);
    let (mut row, mut line): (u32, Vec<Cell<'_>>) = (0, Vec::new());
    loop {
        let next = match cells.next_cell_with_style_id() {
            Ok(next) => next,
            // An error that the parser has no name for. Where it is and what it is called is known from the structure.
            Err(XlsxError::CellError(_)) => continue,
            Err(error) => return Err(request.damaged(error)),
        };
        let at = next.as_ref().map(|(cell, _)| cell.get_position());
        if at.is_none_or(|(next_row, _)| next_row != row) {
            let end = at.map_or(u32::MAX, |(next_row, _)| next_row);
            if end < row {
                return Err(request.damaged(format!("row {} stands after row {}", end + 1, row + 1)));
            }
            // Rows that hold nothing but errors come between.
            loop {
                while let Some((_, column, error)) = errors.next_if(|(error_row, ..)| *error_row == row) {
                    line.retain(|cell| cell.column != *column);
                    line.push(Cell { column: *column, value: DataRef::Empty, error: Some(error), style: 0 });
                }
                table.row(row, &mut line)?;
                line.clear();
                match errors.peek() {
                    Some((error_row, ..)) if *error_row > row && *error_row < end => row = *error_row,
                    _ => break,
                }
            }
            row = end;
        }
        match next {
            Some((cell, style)) => {
                let column = cell.get_position().1;
                line.push(Cell { column, value: value_of(&cell), error: None, style: u32::try_from(style).unwrap_or_default() });
            }
            None => return table.finish(),
        }
    }
}

fn value_of<'c>(cell: &calamine::Cell<DataRef<'c>>) -> DataRef<'c> {
    cell.get_value().clone()
}

fn read_xlsb(bytes: &[u8], request: &Request) -> Result<Reading, Error> {
    let mut book: Xlsb<_> = Xlsb::new(Cursor::new(bytes)).map_err(|error| match error {
        calamine::XlsbError::Password => request.no_workbook(NoWorkbook::Password),
        other => request.damaged(other),
    })?;
    let (sheet, notes) = choose(book.sheets_metadata(), request)?;
    let is_1904 = book.has_1904_epoch();
    // A formula that cannot be spelled is no reason not to read its value.
    let structure = book.worksheet_formula(&sheet).map(|formulas| structure_of(&formulas)).unwrap_or_default();
    let mut cells = book.worksheet_cells_reader(&sheet).map_err(|error| request.damaged(error))?;
    let mut table = Table::new(parts::Format::Xlsb, sheet, is_1904, Vec::new(), structure, notes, request);
    let (mut row, mut line): (u32, Vec<Cell<'_>>) = (0, Vec::new());
    loop {
        let next = cells.next_cell().map_err(|error| request.damaged(error))?;
        let at = next.as_ref().map(calamine::Cell::get_position);
        if at.is_none_or(|(next_row, _)| next_row != row) {
            if let Some((next_row, _)) = at.filter(|(next_row, _)| *next_row < row) {
                return Err(request.damaged(format!("row {} stands after row {}", next_row + 1, row + 1)));
            }
            table.row(row, &mut line)?;
            line.clear();
            row = at.map_or(row, |(next_row, _)| next_row);
        }
        match next {
            Some(cell) => line.push(Cell { column: cell.get_position().1, value: value_of(&cell), error: None, style: 0 }),
            None => return table.finish(),
        }
    }
}

/// Reads a workbook of a sort that is parsed as a whole.
fn read_whole<'b, B: Reader<Cursor<&'b [u8]>>>(
    mut book: B,
    format: parts::Format,
    is_1904: bool,
    merged: impl Fn(&B, &str) -> Vec<Dimensions>,
    request: &Request,
) -> Result<Reading, Error>
where
    B::Error: std::fmt::Display,
{
    let (sheet, notes) = choose(book.sheets_metadata(), request)?;
    let range = book.worksheet_range(&sheet).map_err(|error| request.damaged(error))?;
    let mut structure = book.worksheet_formula(&sheet).map(|formulas| structure_of(&formulas)).unwrap_or_default();
    structure.merged = merged(&book, &sheet);
    let mut table = Table::new(format, sheet, is_1904, Vec::new(), structure, notes, request);
    let (first_row, first_column) = range.start().unwrap_or_default();
    let mut line = Vec::new();
    for (row, cells) in (first_row..).zip(range.rows()) {
        line.clear();
        line.extend((first_column..).zip(cells).filter(|(_, value)| **value != Data::Empty).map(|(column, value)| Cell {
            column,
            value: borrowed(value),
            error: None,
            style: 0,
        }));
        table.row(row, &mut line)?;
    }
    table.finish()
}

fn borrowed(value: &Data) -> DataRef<'_> {
    match value {
        Data::Int(value) => DataRef::Int(*value),
        Data::Float(value) => DataRef::Float(*value),
        Data::String(text) => DataRef::SharedString(text),
        Data::Bool(value) => DataRef::Bool(*value),
        Data::DateTime(value) => DataRef::DateTime(*value),
        Data::DateTimeIso(text) => DataRef::DateTimeIso(text.clone()),
        Data::DurationIso(text) => DataRef::DurationIso(text.clone()),
        Data::Error(error) => DataRef::Error(error.clone()),
        Data::Empty => DataRef::Empty,
    }
}

fn structure_of(formulas: &calamine::Range<String>) -> Structure {
    let (first_row, first_column) = formulas.start().unwrap_or_default();
    let mut cells: Vec<(u32, u32)> = Vec::new();
    for (row, line) in (first_row..).zip(formulas.rows()) {
        cells.extend((first_column..).zip(line).filter(|(_, formula)| !formula.is_empty()).map(|(column, _)| (row, column)));
    }
    Structure { formulas: cells, ..Structure::default() }
}

/// The sheet that is meant, and what is to be said about it.
fn choose(sheets: &[Sheet], request: &Request) -> Result<(String, Vec<String>), Error> {
    let tables: Vec<&Sheet> = sheets.iter().filter(|sheet| sheet.typ == SheetType::WorkSheet).collect();
    let names = tables.iter().map(|sheet| format!("`{}`", sheet.name)).collect::<Vec<_>>().join(", ");
    let sheet = match &request.sheet {
        None => match tables.as_slice() {
            [only] => *only,
            [] => {
                return Err(Error::new(Remedy::Look, request.place(), "the workbook has no sheet with cells")
                    .seen(NOTHING)
                    .hint("look whether it is the right workbook, and export it again"));
            }
            _ => {
                return Err(Error::new(Remedy::MendJob, request.place(), format!("the workbook has {} sheets, and the job names none", tables.len()))
                    .seen(format!("sheets: {names}"))
                    .seen(NOTHING)
                    .hint(format!("add `sheet = \"{}\"` to system `{}`", tables[0].name, request.system)));
            }
        },
        Some(wanted) => match tables.iter().find(|sheet| sheet.name == *wanted) {
            Some(sheet) => *sheet,
            None => {
                let error = Error::new(Remedy::MendJob, request.place(), format!("the workbook has no sheet `{wanted}`"))
                    .seen(format!("sheets: {names}"))
                    .seen(NOTHING);
                return Err(match did_you_mean(wanted, tables.iter().map(|sheet| sheet.name.as_str())) {
                    Some(close) => error.hint(format!("did you mean `{close}`?")),
                    None => error,
                });
            }
        },
    };
    let is_hidden = sheet.visible != SheetVisible::Visible;
    Ok((sheet.name.clone(), is_hidden.then(|| format!("the sheet `{}` is hidden", sheet.name)).into_iter().collect()))
}

/// A table that grows row by row.
struct Table<'r> {
    request: &'r Request,
    format: parts::Format,
    sheet: String,
    is_1904: bool,
    styles: Vec<spell::Format>,
    structure: Structure,
    notes: Vec<String>,
    header: Option<Header>,
    /// The texts of cells above and in the header, until it is found.
    above: BTreeMap<(u32, u32), String>,
    first_filled: Option<u32>,
    columns: Vec<Growing>,
    /// For each rule of `drop_where` its column, its values, and how many rows it dropped.
    drops: Vec<(u32, &'r [String], u64)>,
    lines: Vec<u64>,
    hashes: Vec<u128>,
    blank_rows: u64,
    /// The last row that was not blank.
    last_filled: u32,
    /// The row at which the table ended, and how many rows with anything in them it had and were below.
    stopped: Option<(u64, String, u64)>,
    below: Option<u64>,
    row_bytes: Vec<u8>,
    /// The seed of the rows' hashes.
    seed: u64,
    spelling: String,
    /// Whether some formula of the sheet has a result that is not zero.
    has_results: bool,
}

struct Header {
    /// The last row of the header.
    bottom: u32,
    names: Vec<(u32, String)>,
}

/// A column that grows.
struct Growing {
    at: u32,
    wanted: Wanted,
    texts: StringChunkedBuilder,
    storage: Vec<u8>,
    held: Vec<Held>,
    style: Vec<u32>,
    faults: Vec<(u32, String)>,
    zeros_restored: u64,
    widths_restored: u64,
    hidden_times: u64,
    /// How many cells are formulas without a result, and how many have zero for one.
    without_result: usize,
    with_zero: usize,
    /// By number of digits, how many cells hold such a number: to tell lost zeros.
    lengths: BTreeMap<usize, u64>,
}

/// One cell, understood.
struct Understood {
    storage: Storage,
    held: Held,
    fault: Option<String>,
}

impl<'r> Table<'r> {
    fn new(
        format: parts::Format,
        sheet: String,
        is_1904: bool,
        styles: Vec<spell::Format>,
        structure: Structure,
        notes: Vec<String>,
        request: &'r Request,
    ) -> Table<'r> {
        Table {
            request,
            format,
            sheet,
            is_1904,
            styles,
            structure,
            notes,
            header: None,
            above: BTreeMap::new(),
            first_filled: None,
            columns: Vec::new(),
            drops: Vec::new(),
            lines: Vec::new(),
            hashes: Vec::new(),
            blank_rows: 0,
            last_filled: 0,
            stopped: None,
            below: None,
            row_bytes: Vec::new(),
            seed: 0,
            spelling: String::new(),
            has_results: false,
        }
    }

    fn place(&self) -> Place {
        Place::of(format!("{}!{}", self.request.origin, self.sheet))
    }

    fn nothing(&self, remedy: Remedy, place: Place, message: impl Into<String>) -> Error {
        Error::new(remedy, place, message).seen(NOTHING)
    }

    /// Takes the next row. Rows ascend; those that hold nothing may be left out.
    fn row(&mut self, row: u32, cells: &mut Vec<Cell<'_>>) -> Result<(), Error> {
        cells.sort_by_key(|cell| cell.column);
        if let Some(pair) = cells.windows(2).find(|pair| pair[0].column == pair[1].column) {
            return Err(self.request.damaged(format!("the cell {}{} is there twice", letters(pair[0].column), row + 1)));
        }
        let is_blank = cells.iter().all(|cell| cell.error.is_none() && is_blank(&cell.value));
        if self.header.is_none() {
            return self.look_for_header(row, cells, is_blank);
        }
        if is_blank {
            return Ok(());
        }
        // Blank rows may be there, or simply not.
        let blank_rows = u64::from(row.saturating_sub(self.last_filled).saturating_sub(1));
        self.last_filled = row;
        if let Some((_, _, rows)) = &mut self.stopped {
            *rows += 1;
            return Ok(());
        }
        let line = u64::from(row) + 1;
        if let Some(word) = self.ends_at(cells) {
            self.stopped = Some((line, word, 1));
            self.below = self.below.or(Some(line));
            return Ok(());
        }
        let texts: Vec<bool> = self
            .drops
            .iter()
            .map(|(column, values, _)| cells.iter().any(|c| c.column == *column && values.iter().any(|value| value == plain_text(c).trim())))
            .collect();
        if let Some(rule) = texts.iter().position(|drops| *drops) {
            self.drops[rule].2 += 1;
            self.below = self.below.or(Some(line));
            return Ok(());
        }
        self.blank_rows += blank_rows;
        self.below = None;
        self.take(row, cells)
    }

    /// The text of the first filled cell, if it ends the table.
    fn ends_at(&self, cells: &[Cell<'_>]) -> Option<String> {
        if self.request.stop_at.is_empty() {
            return None;
        }
        let first = cells.iter().find(|cell| cell.error.is_some() || !is_blank(&cell.value)).map(plain_text)?.trim().to_owned();
        self.request.stop_at.iter().any(|word| word.to_lowercase() == first.to_lowercase()).then_some(first)
    }

    fn look_for_header(&mut self, row: u32, cells: &[Cell<'_>], is_blank: bool) -> Result<(), Error> {
        let rows = self.request.header.rows.max(1);
        let first = match &self.request.header.at {
            ExcelHeaderAt::Row(first) => Some(first.saturating_sub(1)),
            ExcelHeaderAt::First => self.first_filled.or((!is_blank).then_some(row)),
            ExcelHeaderAt::Find(_) => None,
        };
        if !is_blank {
            self.first_filled.get_or_insert(row);
        }
        if let Some(first) = first {
            let bottom = first.saturating_add(rows - 1);
            if row < bottom || (row == bottom && is_blank) {
                self.keep_above(row, cells);
                return Ok(());
            }
            if row == bottom {
                self.keep_above(row, cells);
            }
            self.begin(first, bottom)?;
            return if row == bottom { Ok(()) } else { self.row(row, &mut cells.to_vec()) };
        }
        self.keep_above(row, cells);
        if let ExcelHeaderAt::Find(wanted) = &self.request.header.at {
            let first = row.saturating_sub(rows - 1);
            let names = self.names(first, row);
            if wanted.iter().all(|name| names.iter().any(|(_, there)| there.trim() == name.trim())) {
                return self.begin(first, row);
            }
            if row >= HEADER_ROWS_SEARCHED {
                return Err(self.no_header());
            }
        }
        Ok(())
    }

    fn no_header(&self) -> Error {
        match &self.request.header.at {
            ExcelHeaderAt::Find(wanted) => {
                let wanted = wanted.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                let mut error = Error::new(Remedy::Look, self.place(), format!("no row of the sheet has all of {wanted}"));
                if let Some(first) = self.first_filled {
                    let names: Vec<String> = self.names(first, first).into_iter().map(|(_, name)| name).collect();
                    error = error.seen(format!("row {} holds: {}", first + 1, super::shown(&names.join(", "))));
                }
                error.seen(NOTHING).hint("look whether the header was renamed, or mend `header`")
            }
            ExcelHeaderAt::Row(row) if self.first_filled.is_some() => self
                .nothing(Remedy::Look, self.place().line(u64::from(*row)), "there is no header on this row or below")
                .hint("say with `header` on which row the header is"),
            _ => self.nothing(Remedy::Look, self.place(), "the sheet is empty").hint("export it again: not even a header is there"),
        }
    }

    fn keep_above(&mut self, row: u32, cells: &[Cell<'_>]) {
        for cell in cells {
            let text = plain_text(cell);
            if !text.trim().is_empty() {
                self.above.insert((row, cell.column), text);
            }
        }
    }

    /// The names of the columns by these rows of the header. A merged cell names everything that it covers.
    fn names(&self, first: u32, bottom: u32) -> Vec<(u32, String)> {
        let mut columns: BTreeSet<u32> = self.above.keys().filter(|(row, _)| (first..=bottom).contains(row)).map(|(_, column)| *column).collect();
        let reaches = |area: &&Dimensions| area.start.0 <= bottom && area.end.0 >= first && self.above.contains_key(&area.start);
        for area in self.structure.merged.iter().filter(reaches) {
            // What is merged to the end of the sheet is a decoration.
            if area.end.1 - area.start.1 < 1_000 {
                columns.extend(area.start.1..=area.end.1);
            }
        }
        let mut names = Vec::new();
        for column in columns {
            let mut parts: Vec<&str> = Vec::new();
            let mut last = None;
            for row in first..=bottom {
                let at = self.structure.merged_at(row, column).map_or((row, column), |area| area.start);
                if let Some(text) = self.above.get(&at).filter(|_| last != Some(at)) {
                    parts.push(text);
                }
                last = Some(at);
            }
            // One row is taken verbatim; several are joined tidily.
            let name = match parts.as_slice() {
                [one] => (*one).to_owned(),
                several => several.iter().map(|part| part.trim()).collect::<Vec<_>>().join(" / "),
            };
            if !name.is_empty() {
                names.push((column, name));
            }
        }
        names
    }

    /// The header is known: finds the columns that are asked for.
    fn begin(&mut self, first: u32, bottom: u32) -> Result<(), Error> {
        let names = self.names(first, bottom);
        if names.is_empty() {
            return Err(self.no_header());
        }
        let line = u64::from(bottom) + 1;
        let asked = self.request.columns.iter().map(|wanted| &wanted.name).chain(self.request.drop_where.iter().map(|(name, _)| name));
        let mut missing = Vec::new();
        for name in asked {
            let mut at = names.iter().filter(|(_, there)| there == name);
            match (at.next(), at.next()) {
                (Some(_), None) => {}
                (Some((one, _)), Some((other, _))) => {
                    return Err(Error::new(
                        Remedy::Look,
                        self.place().line(line),
                        format!("the header has the column `{}` more than once", super::shown(name)),
                    )
                    .seen(format!("in {}{line} and {}{line}", letters(*one), letters(*other)))
                    .seen(NOTHING)
                    .hint("which of them is meant cannot be told: rename one of them in the sheet"));
                }
                (None, _) if missing.contains(name) => {}
                (None, _) => missing.push(name.clone()),
            }
        }
        let there: Vec<String> = names.iter().map(|(_, name)| super::shown(name)).collect();
        if let Some(mut error) = missing_columns(&self.place().origin, &self.request.system, &missing, &there) {
            for diagnostic in &mut error.diagnostics {
                diagnostic.place.line = Some(line);
                diagnostic.seen.push(NOTHING.to_owned());
                if diagnostic.hint.is_none() {
                    diagnostic.hint = Some("if this row is not the header, say with `header` where it is".to_owned());
                }
            }
            return Err(error);
        }
        let at = |name: &str| names.iter().find(|(_, there)| there == name).map_or(0, |(column, _)| *column);
        self.columns = self.request.columns.iter().map(|wanted| Growing::new(at(&wanted.name), wanted.clone())).collect();
        self.drops = self.request.drop_where.iter().map(|(name, values)| (at(name), values.as_slice(), 0)).collect();
        self.last_filled = bottom;
        self.seed = seed_of_rows(names.iter().map(|(_, name)| name.as_str()));
        self.header = Some(Header { bottom, names });
        self.above.clear();
        Ok(())
    }

    /// Takes a row of the table.
    fn take(&mut self, row: u32, cells: &[Cell<'_>]) -> Result<(), Error> {
        let number = self.lines.len() as u32;
        if number == NO_ROW - 1 {
            return Err(self.request.no_workbook(NoWorkbook::TooLarge("it has more rows than one snapshot holds".to_owned())));
        }
        self.row_bytes.clear();
        for cell in cells {
            add_cell(&mut self.row_bytes, cell);
        }
        self.hashes.push(xxhash_rust::xxh3::xxh3_128_with_seed(&self.row_bytes, self.seed));
        self.lines.push(u64::from(row) + 1);
        let plain = spell::Format::default();
        for column in &mut self.columns {
            let cell = cells.binary_search_by_key(&column.at, |cell| cell.column).ok().map(|index| &cells[index]);
            let Some(cell) = cell else {
                column.push("", 0, Understood { storage: Storage::Text, held: Held::Nothing, fault: None }, number);
                continue;
            };
            let format = self.styles.get(cell.style as usize).unwrap_or(&plain);
            let is_formula = self.structure.is_formula(row, column.at);
            self.spelling.clear();
            // In ods an error is the text of a formula.
            let told = if is_formula && self.format == parts::Format::Ods { error_word(&cell.value) } else { None };
            let with_error = told.map(|word| Cell { error: Some(word), ..cell.clone() });
            let cell = with_error.as_ref().unwrap_or(cell);
            let mut understood = column.understand(cell, format, self.is_1904, &self.request.errors_as_null, &mut self.spelling);
            if is_formula {
                match &cell.value {
                    DataRef::Empty if cell.error.is_none() => {
                        column.without_result += 1;
                        understood.fault = Some("is a formula without a result: open the workbook in Excel or LibreOffice and save it".to_owned());
                    }
                    DataRef::Float(0.0) | DataRef::Int(0) => column.with_zero += 1,
                    _ => self.has_results = true,
                }
            }
            column.push(&self.spelling, cell.style, understood, number);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Reading, Error> {
        if self.header.is_none() {
            // A header whose last row holds nothing ends with the sheet.
            let first = match &self.request.header.at {
                ExcelHeaderAt::Row(first) => Some(first.saturating_sub(1)),
                ExcelHeaderAt::First => self.first_filled,
                ExcelHeaderAt::Find(_) => None,
            };
            match first {
                Some(first) => self.begin(first, first.saturating_add(self.request.header.rows.max(1) - 1))?,
                None => return Err(self.no_header()),
            }
        }
        if self.request.insists_on_results {
            self.refuse_uncalculated()?;
        }
        self.note();
        let mut columns: Vec<Column> = self.columns.into_iter().map(Growing::finish).collect();
        flag_totals(&mut columns, self.lines.len());
        let names = self.header.map(|header| header.names).unwrap_or_default();
        Ok(Reading {
            format: self.format,
            sheet: self.sheet,
            is_1904: self.is_1904,
            names: names.into_iter().map(|(_, name)| name).collect(),
            columns,
            lines: self.lines,
            hashes: self.hashes,
            notes: self.notes,
            below: self.below,
            styles: self.styles,
            structure: self.structure,
        })
    }

    fn refuse_uncalculated(&self) -> Result<(), Error> {
        // A workbook that somebody calculated has some result that is not zero, and does not ask to be calculated.
        let has_results = self.has_results || self.structure.has_results;
        let suspects_zeros = !has_results && (self.structure.leaves_calculation || self.format != parts::Format::Xlsx);
        for column in &self.columns {
            let uncalculated = column.without_result + if suspects_zeros { column.with_zero } else { 0 };
            if uncalculated > 0 && uncalculated * 100 >= self.lines.len() * UNCALCULATED_PERCENT {
                let message = format!("the formulas of column `{}` were never calculated", super::shown(&column.wanted.name));
                return Err(Error::new(Remedy::Look, self.place(), message)
                    .seen(format!("{uncalculated} of {} cells of column {} are formulas without a result", self.lines.len(), letters(column.at)))
                    .seen(NOTHING)
                    .hint("a program wrote the workbook and left the calculation to others: open it in Excel or LibreOffice and save it"));
            }
        }
        Ok(())
    }

    fn note(&mut self) {
        let Some(header) = &self.header else { return };
        let rows = |count: u64| if count == 1 { "1 row".to_owned() } else { format!("{count} rows") };
        let cells = |count: u64| if count == 1 { "1 cell".to_owned() } else { format!("{count} cells") };
        let mut notes = Vec::new();
        if self.blank_rows > 0 {
            notes.push(format!("{} between the others left out: blank", rows(self.blank_rows)));
        }
        for ((column, _, count), (name, _)) in self.drops.iter().zip(&self.request.drop_where).filter(|((.., count), _)| *count > 0) {
            notes.push(format!("{} left out by `drop_where` on `{}` (column {})", rows(*count), super::shown(name), letters(*column)));
        }
        if let Some((line, word, count)) = &self.stopped {
            notes.push(format!("the table ends above row {line} (`{}`): {} from there on left out by `stop_at`", super::shown(word), rows(*count)));
        }
        let last = self.lines.last().copied().unwrap_or_default();
        let hidden = self.structure.hidden_rows.iter().filter(|row| **row > header.bottom && u64::from(**row) < last).count() as u64;
        if hidden > 0 {
            notes.push(format!("{} hidden or filtered out on the sheet, and read like the others", rows(hidden)));
        }
        let is_hidden = |column: &&(u32, String)| self.structure.hidden_columns.iter().any(|(first, last)| (first..=last).contains(&&column.0));
        let hidden: Vec<String> =
            header.names.iter().filter(is_hidden).map(|(column, name)| format!("`{}` ({})", super::shown(name), letters(*column))).collect();
        if !hidden.is_empty() {
            notes.push(format!("hidden columns, read like the others: {}", hidden.join(", ")));
        }
        let merged = self.structure.merged.iter().filter(|area| area.end.0 > header.bottom && u64::from(area.start.0) < last && area.len() > 1).count() as u64;
        if merged > 0 {
            notes.push(format!("{} of the rows merged: only the first cell of each area holds its value", cells(merged).replace("cell", "area")));
        }
        for column in &self.columns {
            let name = format!("`{}` ({})", super::shown(&column.wanted.name), letters(column.at));
            if column.zeros_restored > 0 {
                notes.push(format!("{name}: zeros that only the number format shows restored in {}", cells(column.zeros_restored)));
            }
            if column.widths_restored > 0 {
                notes.push(format!("{name}: lost zeros restored by `fixed_width` in {}", cells(column.widths_restored)));
            }
            if column.hidden_times > 0 {
                notes.push(format!("{name}: a time of day that the number format hides left out in {}", cells(column.hidden_times)));
            }
            if let [(short, few), (long, many)] = column.lengths.iter().collect::<Vec<_>>().as_slice()
                && **long == **short + 1
                && **long > 3
                && few < many
            {
                notes.push(format!(
                    "{name}: {} with {short} digits among {} with {long}: were zeros lost? `fixed_width = {long}` restores them",
                    cells(**few),
                    cells(**many)
                ));
            }
        }
        self.notes.extend(notes);
    }
}

impl Growing {
    fn new(at: u32, wanted: Wanted) -> Growing {
        Growing {
            at,
            texts: StringChunkedBuilder::new(wanted.name.as_str().into(), 0),
            wanted,
            storage: Vec::new(),
            held: Vec::new(),
            style: Vec::new(),
            faults: Vec::new(),
            zeros_restored: 0,
            widths_restored: 0,
            hidden_times: 0,
            without_result: 0,
            with_zero: 0,
            lengths: BTreeMap::new(),
        }
    }

    fn push(&mut self, text: &str, style: u32, understood: Understood, row: u32) {
        self.texts.append_value(text);
        self.storage.push(understood.storage as u8);
        self.held.push(if understood.fault.is_some() { Held::Fault } else { understood.held });
        self.style.push(style);
        self.faults.extend(understood.fault.map(|why| (row, why)));
    }

    fn finish(self) -> Column {
        Column {
            name: self.wanted.name.clone(),
            at: self.at,
            wanted: self.wanted,
            texts: self.texts.finish(),
            storage: self.storage,
            held: self.held,
            style: self.style,
            faults: self.faults,
        }
    }

    /// Spells a cell as the job understands its column.
    fn understand(&mut self, cell: &Cell<'_>, format: &spell::Format, is_1904: bool, errors_as_null: &[String], spelling: &mut String) -> Understood {
        let text = |held| Understood { storage: Storage::Text, held, fault: None };
        let error = |word: &str, spelling: &mut String| {
            if errors_as_null.iter().any(|null| null.eq_ignore_ascii_case(word)) {
                return text(Held::Fault);
            }
            spelling.push_str(word);
            Understood { fault: Some(format!("holds the error `{word}`")), ..text(Held::Fault) }
        };
        if let Some(word) = cell.error {
            return error(word, spelling);
        }
        match &cell.value {
            DataRef::Empty => text(Held::Nothing),
            DataRef::String(value) => self.understand_text(value, spelling),
            DataRef::SharedString(value) => self.understand_text(value, spelling),
            DataRef::Bool(value) => {
                spelling.push_str(if *value { "TRUE" } else { "FALSE" });
                text(Held::Boolean)
            }
            DataRef::Error(value) => error(&value.to_string(), spelling),
            // What a whole number of 32 bits is as a float is exact.
            DataRef::Int(value) => self.understand_number(*value as f64, format, is_1904, spelling),
            DataRef::Float(value) => self.understand_number(*value, format, is_1904, spelling),
            DataRef::DateTime(value) if value.is_duration() => {
                spelling.push_str(&spell::duration_text(value.as_f64()));
                Understood { storage: Storage::Date, ..text(Held::Moment) }
            }
            DataRef::DateTime(value) => {
                let (serial, shown) = (value.as_f64(), format.moment);
                let wants_time = matches!(self.wanted.reads, Reads::Moment { has_time: true, .. });
                if shown == Some(Shown::Day) && !wants_time && serial.fract() != 0.0 {
                    self.hidden_times += 1;
                }
                match spell::moment_text(serial, is_1904, shown, wants_time) {
                    Ok(moment) => {
                        spelling.push_str(&moment);
                        Understood { storage: Storage::Date, ..text(Held::Moment) }
                    }
                    Err(why) => {
                        spelling.push_str(&spell::number_text(serial));
                        Understood { storage: Storage::Real, held: Held::Fault, fault: Some(why) }
                    }
                }
            }
            DataRef::DateTimeIso(value) => {
                let wants_time = matches!(self.wanted.reads, Reads::Moment { has_time: true, .. });
                let (moment, hides_time) = spell::iso_moment_text(value, format.moment, wants_time);
                self.hidden_times += u64::from(hides_time);
                spelling.push_str(&moment);
                Understood { storage: Storage::Date, ..text(Held::Moment) }
            }
            DataRef::DurationIso(value) => {
                spelling.push_str(&iso_duration(value).unwrap_or_else(|| value.clone()));
                Understood { storage: Storage::Date, ..text(Held::Moment) }
            }
        }
    }

    fn understand_text(&self, value: &str, spelling: &mut String) -> Understood {
        spelling.push_str(value);
        let held = if value.is_empty() { Held::Nothing } else { Held::Text };
        let is_shortened = self.wanted.reads == Reads::Identifier && is_shortened_number(value.trim());
        let fault = is_shortened.then(|| "is a long number that a spreadsheet shortened: its digits are lost".to_owned());
        Understood { storage: Storage::Text, held, fault }
    }

    fn understand_number(&mut self, value: f64, format: &spell::Format, is_1904: bool, spelling: &mut String) -> Understood {
        let number = Understood { storage: Storage::Real, held: Held::Number, fault: None };
        if let Reads::Moment { declared, .. } = self.wanted.reads {
            if let Some(moment) = spell::bare_moment_text(value, is_1904) {
                spelling.push_str(&moment);
                return Understood { storage: Storage::Date, ..number };
            }
            spelling.push_str(&spell::number_text(value));
            // A declared format may be one of digits alone.
            let fault = (!declared).then(|| "is a number, and none that means a day".to_owned());
            return Understood { fault, ..number };
        }
        if spell::lost_digits(value) {
            spelling.push_str(&spell::number_text(value));
            return Understood { fault: Some("is a number of more than 15 digits: a workbook keeps no more, the others are lost".to_owned()), ..number };
        }
        if matches!(self.wanted.reads, Reads::Text | Reads::Identifier) {
            if let Some(width) = self.wanted.fixed_width
                && let Some(digits) = spell::whole(value)
            {
                self.widths_restored += u64::from(digits.len() < width);
                spelling.push_str(&"0".repeat(width.saturating_sub(digits.len())));
                spelling.push_str(&digits);
                return number;
            }
            if let Some(padded) = format.with_zeros(value) {
                self.zeros_restored += u64::from(spell::whole(value).is_none_or(|digits| digits != padded));
                spelling.push_str(&padded);
                return number;
            }
            if let Some(digits) = spell::whole(value) {
                *self.lengths.entry(digits.len()).or_default() += 1;
            }
        }
        spelling.push_str(&spell::number_text(value));
        number
    }
}

/// Rows that look like the total of those above them: without a key, or with a word for a total in its place.
fn flag_totals(columns: &mut [Column], rows: usize) {
    let keys: Vec<usize> = (0..columns.len()).filter(|index| columns[*index].wanted.is_key).collect();
    let amounts: Vec<usize> = (0..columns.len()).filter(|index| columns[*index].wanted.reads == Reads::Number).collect();
    if keys.is_empty() || amounts.is_empty() {
        return;
    }
    let texts: Vec<StringChunked> = columns.iter().map(|column| column.texts.clone()).collect();
    let cell = |column: usize, row: usize| texts[column].get(row).unwrap_or_default().trim();
    let has_no_key = |row: usize| keys.iter().all(|key| cell(*key, row).is_empty());
    let has_word = |row: usize| keys.iter().any(|key| TOTAL_WORDS.contains(&cell(*key, row).trim_end_matches(':').to_lowercase().as_str()));
    let suspects: Vec<usize> = (0..rows).filter(|row| has_no_key(*row) || has_word(*row)).collect();
    let Some(last) = suspects.last().copied() else { return };
    let units = |column: usize, row: usize| Decimal::parse(cell(column, row), 9).ok().map(|decimal| decimal.units);
    let mut suspects = suspects.into_iter().peekable();
    let mut sums = vec![(0_i128, 0_usize); amounts.len()];
    let mut found = Vec::new();
    for row in 0..=last {
        if suspects.next_if_eq(&row).is_none() {
            for (sum, column) in sums.iter_mut().zip(&amounts) {
                if let Some(units) = units(*column, row) {
                    *sum = (sum.0.saturating_add(units), sum.1 + 1);
                }
            }
            continue;
        }
        let is_total = |(sum, column): (&(i128, usize), &usize)| sum.1 > 1 && sum.0 != 0 && units(*column, row) == Some(sum.0);
        if let Some(at) = sums.iter().zip(&amounts).position(is_total) {
            found.push((row as u32, columns[amounts[at]].name.clone()));
        }
    }
    let key = &mut columns[keys[0]];
    for (row, amount) in found {
        let why = format!("looks like a total: its `{amount}` is the sum of the rows above; say with `drop_where` or `stop_at` how such rows are told");
        match key.faults.binary_search_by_key(&row, |(row, _)| *row) {
            Ok(at) => key.faults[at].1 = why,
            Err(at) => key.faults.insert(at, (row, why)),
        }
    }
}

/// `1.23E+15`: what a spreadsheet makes of a long identifier, written down as text.
fn is_shortened_number(text: &str) -> bool {
    let Some((mantissa, exponent)) = text.split_once(['E', 'e']) else { return false };
    let Some(exponent) = exponent.strip_prefix('+') else { return false };
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once(['.', ',']).unwrap_or((mantissa, "0"));
    whole.len() == 1 && is_digits(whole) && is_digits(fraction) && is_digits(exponent)
}

/// The word of an error that a text is: `#DIV/0!`, and `Err:502` of LibreOffice.
fn error_word<'c>(value: &'c DataRef<'_>) -> Option<&'c str> {
    let text = match value {
        DataRef::String(text) => text.as_str(),
        DataRef::SharedString(text) => text,
        _ => return None,
    };
    let is_code = text.starts_with('#') && text.len() > 2 && text.bytes().skip(1).all(|byte| byte.is_ascii_uppercase() || b"/?!0_".contains(&byte));
    let is_number = text.strip_prefix("Err:").is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    (is_code || is_number).then_some(text)
}

/// `PT26H30M00S` as hours, minutes and seconds.
fn iso_duration(text: &str) -> Option<String> {
    let span: jiff::Span = text.parse().ok()?;
    let seconds = span.total(jiff::Unit::Second).ok()?;
    Some(spell::duration_text(seconds / 86_400.0))
}

fn is_blank(value: &DataRef<'_>) -> bool {
    match value {
        DataRef::Empty => true,
        DataRef::String(text) => text.trim().is_empty(),
        DataRef::SharedString(text) => text.trim().is_empty(),
        _ => false,
    }
}

/// A cell of a header, or one that a rule of the job looks at.
fn plain_text(cell: &Cell<'_>) -> String {
    if let Some(error) = cell.error {
        return error.to_owned();
    }
    match &cell.value {
        DataRef::String(text) => text.clone(),
        DataRef::SharedString(text) => (*text).to_owned(),
        DataRef::Float(number) => spell::number_text(*number),
        DataRef::Int(number) => number.to_string(),
        DataRef::Bool(truth) => if *truth { "TRUE" } else { "FALSE" }.to_owned(),
        DataRef::DateTime(moment) => spell::moment_text(moment.as_f64(), false, None, true).unwrap_or_else(|_| spell::number_text(moment.as_f64())),
        DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => text.clone(),
        DataRef::Error(error) => error.to_string(),
        DataRef::Empty => String::new(),
    }
}

/// Adds a cell to the bytes that a row is hashed by: where it is, of what sort, and its content, so that no two different rows
/// have the same bytes. Empty cells are not there.
fn add_cell(bytes: &mut Vec<u8>, cell: &Cell<'_>) {
    let mut add = |class: u8, content: &[u8]| {
        bytes.extend_from_slice(&cell.column.to_le_bytes());
        bytes.push(class);
        bytes.extend_from_slice(&(content.len() as u64).to_le_bytes());
        bytes.extend_from_slice(content);
    };
    if let Some(error) = cell.error {
        return add(5, error.as_bytes());
    }
    match &cell.value {
        DataRef::Empty => {}
        DataRef::String(text) if text.is_empty() => {}
        DataRef::SharedString("") => {}
        DataRef::String(text) => add(1, text.as_bytes()),
        DataRef::SharedString(text) => add(1, text.as_bytes()),
        DataRef::Float(number) => add(2, &number.to_bits().to_le_bytes()),
        DataRef::Int(number) => add(2, &(*number as f64).to_bits().to_le_bytes()),
        DataRef::DateTime(moment) => add(3, &moment.as_f64().to_bits().to_le_bytes()),
        DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => add(3, text.as_bytes()),
        DataRef::Bool(truth) => add(4, &[u8::from(*truth)]),
        DataRef::Error(error) => add(5, error.to_string().as_bytes()),
    }
}
