//! Cells of one sheet of a workbook (xlsx) changed and rows added in place: bytes in, bytes out.
//!
//! The one sheet part is streamed; only the cells and rows that are meant are changed in its text, and every other byte of it
//! stays. Every other entry of the zip file is copied raw, except what became wrong by the change.
//!
//! # Words
//! A workbook is a zip file of *parts*. A *used* row holds a value, or a formula that shows one.
//!
//! # What becomes wrong, and is mended
//! - Formulas that may depend on an edited cell, in whatever sheet, lose their computed value, and the workbook says that it
//!   wants to be computed when it is opened. Others keep theirs. A reader that does not compute sees an empty cell, never a
//!   wrong number.
//! - The calculation chain then goes, with its relation and content type; spreadsheets make it anew.
//! - Appended rows: the size of the sheet, the spans of rows, the filter of the sheet (with the hidden name that repeats its
//!   range), a table that ended above them, and conditional formats and validations of more than one row that ended there.
//! - In a table's computed columns an appended row gets the formula of the row above it, moved down.
//!
//! # What is refused
//! Nothing is ever half done: an edit that cannot be made rightly refuses the whole patch. Formulas, arrays and data tables
//! are not overwritten, nor cells that a merged cell hides, headers and totals of tables, pivot tables. A protected sheet and
//! a signed or encrypted workbook are not changed. Rows are not appended under a total.
//!
//! Rows are never removed. To take a row out, every reference below it would have to move: formulas of all sheets, names,
//! merged cells, validations, comments, drawings, charts, pivot tables, and formats of extensions that nobody can list. To
//! blank it instead would leave a hole that ends filters and tables for the people who use the sheet, and formulas that
//! count it.
//!
//! # What is left as it is
//! Values that charts and pivot tables remember (both are made anew by the spreadsheet), print areas, validations and formats
//! in extensions, formulas of other sheets that name a range which ended at the last row.
//!
//! # Design
//! - The style of a new cell is that of the cell it should be like, else that of the row above (appended rows, unless that row
//!   is a header), else that of its row or column. Cells that no edit names get the style of the row above too, so that its
//!   borders go on. Styles are never made: a date in a cell of general format is shown as its serial number.
//! - Rows are appended after the last used row; rows that are there but blank are used before new ones are made.
//! - A number is written as its decimal text. One that a workbook would not give back (it keeps binary doubles) is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

mod area;
mod container;
mod dependents;
mod formula;
mod markup;
mod package;
mod rewrite;
mod sheet;
mod survey;

pub(super) use sheet::is_constant;

use area::{Area, COLUMNS, ROWS, cell_name, column_name};
use container::Container;
use dependents::{Dependents, Names};
use markup::{Piece, Pieces, Splices, escaped, text};
use package::{Relation, Sheet, Table, Workbook, relations, relations_part};
use rewrite::{Content, Rewriter, Write, Writes};
use survey::{Referring, Survey};

/// A cell holds no longer text, counted in UTF-16 units.
pub const TEXT_UNITS_MAX: usize = 32_767;

/// An error names so many cells.
const SHOWN_MAX: usize = 10;

/// One cell to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellEdit {
    /// The row, from 0.
    pub row: u32,
    /// The column, from 0.
    pub column: u32,
    /// What the cell holds afterwards.
    pub value: CellValue,
    /// Row and column of the cell whose style the cell takes if it is new; a cell that exists keeps its own.
    pub like: Option<(u32, u32)>,
}

/// What a cell holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellValue {
    /// Nothing. The style stays.
    Empty,
    /// Text, exactly; text that begins with `=` is text.
    Text(String),
    /// A number, as decimal text: `-12.50`, `1E+3`.
    Number(String),
    /// True or false.
    Boolean(bool),
    /// A date or time: the serial number, as decimal text, in the workbook's own epoch.
    Serial(String),
    /// The error `#N/A`.
    Error,
}

/// What is done to one sheet.
#[derive(Clone, Copy, Debug)]
pub struct SheetEdits<'a> {
    /// The name of the sheet, exactly.
    pub sheet: &'a str,
    /// Cells to set; each cell once.
    pub cells: &'a [CellEdit],
    /// Rows to append after the last used row, each a list of edits whose row is ignored.
    pub appended: &'a [Vec<CellEdit>],
    /// Rows to delete, from 0. Refused if there are any: see the module.
    pub removed: &'a [u32],
}

/// The workbook with its changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patched {
    /// The whole new file.
    pub bytes: Vec<u8>,
    /// Where the first appended row stands, from 0; nothing if none was appended.
    pub first_appended_row: Option<u32>,
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchError {
    /// What is wrong, lower case, names in backticks.
    pub message: String,
    /// What was seen, a line each. Cells are named, what they hold is not shown.
    pub seen: Vec<String>,
    /// What would have to be left out for the rest to be done.
    pub concerns: Concern,
}

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// The workbook: no edit of it can be made.
    Workbook,
    /// Some cells or values of the edits.
    Cells,
    /// The appended rows, or the last ones of them.
    Appending,
}

impl PatchError {
    fn new(message: impl Into<String>) -> PatchError {
        PatchError { message: message.into(), seen: Vec::new(), concerns: Concern::Workbook }
    }

    fn saw(mut self, seen: impl Into<String>) -> PatchError {
        self.seen.push(seen.into());
        self
    }

    fn about(mut self, concerns: Concern) -> PatchError {
        self.concerns = concerns;
        self
    }
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.seen.iter().try_for_each(|seen| write!(f, "; {seen}"))
    }
}

impl std::error::Error for PatchError {}

/// The workbook with the edits made. The same input gives the same output; without edits it is the input.
///
/// # Errors
/// The bytes are no readable xlsx file, the sheet is not there, or an edit cannot be made rightly; then nothing is changed.
pub fn patch(workbook: &[u8], edits: &SheetEdits<'_>) -> Result<Patched, PatchError> {
    check(edits).map_err(|error| error.about(Concern::Cells))?;
    let mut container = Container::open(workbook)?;
    let parts = Parts::find(&mut container)?;
    let workbook_bytes = container.read(parts.workbook_index)?;
    let workbook_text = text(&parts.workbook, &workbook_bytes)?;
    let book = Workbook::read(&parts.workbook, workbook_text, &parts.relations)?;
    let number = find_sheet(&book.sheets, edits.sheet)?;
    if edits.cells.is_empty() && edits.appended.is_empty() {
        return Ok(Patched { bytes: workbook.to_vec(), first_appended_row: None });
    }
    let mut sheets = SheetParts::read(&mut container, &book.sheets)?;
    let target = sheets.of(number)?;
    let target_bytes = std::mem::take(&mut sheets.list[target].content);
    let target_name = sheets.list[target].part.clone();
    let target_text = text(&target_name, &target_bytes)?;

    let wanted = edits.cells.iter().chain(edits.appended.iter().flatten()).filter_map(|edit| edit.like).collect();
    let mut survey = Survey::new(wanted);
    sheet::walk(&target_name, target_text, &mut survey)?;
    if survey.is_protected {
        return Err(PatchError::new(format!("sheet `{}` is protected", edits.sheet)));
    }
    let mut tables = sheets.tables.clone();
    let own_tables = tables.get_mut(&target).map_or(&mut [][..], |tables| tables.as_mut_slice());
    let before: Vec<Table> = own_tables.to_vec();
    let place = Place::of(&survey, edits).map_err(|error| error.about(Concern::Appending))?;
    if let Some(place) = &place {
        grow_tables(own_tables, place, edits).map_err(|error| error.about(Concern::Appending))?;
    }
    let mut writes = writes(&survey, edits, place.as_ref(), &before)?;
    let computed = fill_computed(&mut writes, &survey, own_tables, place.as_ref()).map_err(|error| error.about(Concern::Appending))?;
    refuse_forbidden(&writes, &survey, &before, &sheets.pivots(&mut container, target)?)?;

    let sheet_number = |list_index: usize| sheets.list[list_index].number;
    let names = names(&book, tables.iter().flat_map(|(sheet, tables)| tables.iter().map(move |table| (table.name.clone(), sheet_number(*sheet), table.area))));
    let mut dependents = Dependents::new(names);
    for (index, part) in sheets.list.iter().enumerate() {
        let content = if index == target { target_text } else { text(&part.part, &part.content)? };
        if content.contains("<f") || content.contains(":f") {
            sheet::walk(&part.part, content, &mut Referring::new(part.number, &mut dependents))?;
        }
    }
    let edited: Vec<(u32, u32, u32)> = writes
        .iter()
        .flat_map(|(row, writes)| writes.iter().filter(|write| !matches!(write.content, Content::Style)).map(|write| (number, *row, write.column)))
        .collect();
    let outdated = dependents.outdated(&edited);

    let mut replaced: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    let mut dropped = BTreeSet::new();
    let extent = writes.iter().flat_map(|(row, writes)| {
        writes.iter().filter(|write| !matches!(write.content, Content::Value(CellValue::Empty))).map(|write| Area::cell(*row, write.column))
    });
    let extent = extent.reduce(|all, cell| all.with(&cell));
    let row_attributes = place.as_ref().map(|place| (place.first, place.row_attributes(&survey)));
    let mut rewriter = Rewriter::new(target_text, writes, &survey.columns, outdated.get(&number), row_attributes);
    sheet::walk(&target_name, target_text, &mut rewriter)?;
    refuse_cells("a formula would be overwritten", &rewriter.formulas_hit)?;
    refuse_cells("rows cannot be appended where a total stands", &rewriter.totals_hit).map_err(|error| error.about(Concern::Appending))?;
    let constants_replaced = rewriter.constants_replaced;
    let mut splices = rewriter.splices;
    let new_filter = mend_ranges(&mut splices, &survey, extent, place.as_ref());
    if let Some(made) = splices.apply(target_text) {
        replaced.insert(sheets.list[target].index, made.into_bytes());
    }
    for (index, part) in sheets.list.iter().enumerate().filter(|(index, _)| *index != target) {
        let Some(outdated) = outdated.get(&part.number).filter(|outdated| !outdated.is_empty()) else { continue };
        let content = text(&part.part, &part.content)?;
        let mut rewriter = Rewriter::new(content, Writes::new(), &[], Some(outdated), None);
        sheet::walk(&part.part, content, &mut rewriter)?;
        if let Some(made) = rewriter.splices.apply(content) {
            replaced.insert(sheets.list[index].index, made.into_bytes());
        }
    }
    let own_tables = tables.get(&target).map_or(&[][..], |tables| tables.as_slice());
    for (before, after) in before.iter().zip(own_tables) {
        mend_table(&mut container, before, after, place.as_ref(), &mut replaced)?;
    }
    let mut workbook_splices = Splices::default();
    if let (Some(new), Some((_, old))) = (new_filter, &survey.filter) {
        mend_filter_name(&mut workbook_splices, &book, number, old, &new);
    }
    let is_outdated = computed || outdated.values().any(|outdated| !outdated.is_empty());
    if is_outdated {
        want_computing(&mut workbook_splices, &book);
    }
    // The chain may name a cell that was a formula, and a spreadsheet calls the file damaged if it does.
    if is_outdated || constants_replaced {
        drop_chain(&mut container, &parts, &mut replaced, &mut dropped)?;
    }
    if let Some(made) = workbook_splices.apply(workbook_text) {
        replaced.insert(parts.workbook_index, made.into_bytes());
    }
    Ok(Patched { bytes: container.rewrite(&replaced, &dropped)?, first_appended_row: place.map(|place| place.first) })
}

/// Refuses what is wrong whatever the workbook holds.
fn check(edits: &SheetEdits<'_>) -> Result<(), PatchError> {
    if let Some(row) = edits.removed.first() {
        return Err(PatchError::new(format!("rows of sheet `{}` cannot be deleted: whatever refers to the rows below would no longer be right", edits.sheet))
            .saw(format!("{} rows to delete, the first is row {}", edits.removed.len(), u64::from(*row) + 1)));
    }
    let mut seen = BTreeSet::new();
    for edit in edits.cells {
        if edit.row >= ROWS || edit.column >= COLUMNS {
            return Err(PatchError::new("a cell lies outside of the sheet").saw(format!(
                "row {}, column {}",
                u64::from(edit.row) + 1,
                u64::from(edit.column) + 1
            )));
        }
        let name = cell_name(edit.row, edit.column);
        check_value(&edit.value, &format!("cell `{name}`"))?;
        if !seen.insert((edit.row, edit.column)) {
            return Err(PatchError::new(format!("cell `{name}` is set twice")));
        }
    }
    for (number, row) in edits.appended.iter().enumerate() {
        let mut seen = BTreeSet::new();
        for edit in row {
            if edit.column >= COLUMNS {
                return Err(PatchError::new("a cell lies outside of the sheet").saw(format!("column {}", u64::from(edit.column) + 1)));
            }
            let name = format!("column `{}` of appended row {}", column_name(edit.column), number + 1);
            check_value(&edit.value, &name)?;
            if !seen.insert(edit.column) {
                return Err(PatchError::new(format!("{name} is set twice")));
            }
        }
    }
    Ok(())
}

fn check_value(value: &CellValue, place: &str) -> Result<(), PatchError> {
    match value {
        CellValue::Text(text) => {
            let units = text.encode_utf16().count();
            if units > TEXT_UNITS_MAX {
                return Err(
                    PatchError::new(format!("the text for {place} is too long for a cell")).saw(format!("{units} characters, a cell holds {TEXT_UNITS_MAX}"))
                );
            }
        }
        CellValue::Number(number) | CellValue::Serial(number) => {
            let Some(digits) = significant(number) else {
                return Err(PatchError::new(format!("what should go to {place} is not a decimal number")));
            };
            let kept = number.parse::<f64>().ok().filter(|kept| kept.is_finite()).and_then(|kept| significant(&format!("{kept:e}")));
            if kept.as_ref() != Some(&digits) {
                return Err(PatchError::new(format!("the number for {place} has more digits than a workbook keeps"))
                    .saw(format!("{} significant digits", digits.1.len())));
            }
        }
        CellValue::Empty | CellValue::Boolean(_) | CellValue::Error => {}
    }
    Ok(())
}

/// A decimal number as its sign, its digits without zeros at either end, and the power of ten of the first; nothing if the text
/// is not such a number.
fn significant(text: &str) -> Option<(bool, String, i64)> {
    let (is_negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if digits.is_empty() || digits.len() > 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            (mantissa, exponent.parse::<i64>().ok()?)
        }
        None => (rest, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (mantissa, ""),
    };
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let all = format!("{whole}{fraction}");
    let leading = all.len() - all.trim_start_matches('0').len();
    let digits = all.trim_matches('0').to_owned();
    if digits.is_empty() {
        return Some((false, digits, 0));
    }
    let power = whole.len() as i64 - leading as i64 + exponent;
    Some((is_negative, digits, power))
}

/// An error that names cells, if there are any.
fn refuse_cells(message: &str, cells: &[String]) -> Result<(), PatchError> {
    if cells.is_empty() {
        return Ok(());
    }
    let mut shown = cells.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    if cells.len() > SHOWN_MAX {
        shown.push_str(&format!(" and {} more", cells.len() - SHOWN_MAX));
    }
    Err(PatchError::new(message).saw(format!("cells: {shown}")).about(Concern::Cells))
}

/// The parts that every workbook has.
struct Parts {
    workbook: String,
    workbook_index: usize,
    relations: Vec<Relation>,
}

impl Parts {
    fn find(container: &mut Container<'_>) -> Result<Parts, PatchError> {
        let roots = relations(container, "")?;
        if roots.iter().any(|relation| relation.kind == "origin") || container.names().any(|name| name.to_ascii_lowercase().starts_with("_xmlsignatures/")) {
            return Err(PatchError::new("the workbook is digitally signed: a change would break the signature"));
        }
        let missing = || PatchError::new("the file is not a workbook of kind xlsx").saw("it has no workbook part");
        let workbook = roots.iter().find(|relation| relation.kind == "officeDocument").ok_or_else(missing)?.target.clone();
        if workbook.to_ascii_lowercase().ends_with(".bin") {
            return Err(PatchError::new("the workbook is of kind xlsb, which cannot be changed in place"));
        }
        let workbook_index = container.find(&workbook).ok_or_else(missing)?;
        let relations = relations(container, &workbook)?;
        Ok(Parts { workbook, workbook_index, relations })
    }
}

fn find_sheet(sheets: &[Sheet], wanted: &str) -> Result<u32, PatchError> {
    let names = || format!("sheets: {}", sheets.iter().map(|sheet| sheet.name.as_str()).collect::<Vec<_>>().join(", "));
    let number = sheets.iter().position(|sheet| sheet.name == wanted);
    let number = number.ok_or_else(|| PatchError::new(format!("the workbook has no sheet `{wanted}`")).saw(names()))?;
    if sheets[number].kind != "worksheet" {
        return Err(PatchError::new(format!("sheet `{wanted}` has no cells")).saw(format!("it is a `{}`", sheets[number].kind)));
    }
    u32::try_from(number).map_err(|_| PatchError::new("the workbook has too many sheets"))
}

/// The part of one worksheet.
struct SheetPart {
    /// Which of the workbook's sheets it is.
    number: u32,
    part: String,
    index: usize,
    content: Vec<u8>,
    relations: Vec<Relation>,
}

/// All worksheets, and their tables by their place in the list.
struct SheetParts {
    list: Vec<SheetPart>,
    tables: BTreeMap<usize, Vec<Table>>,
}

impl SheetParts {
    fn read(container: &mut Container<'_>, sheets: &[Sheet]) -> Result<SheetParts, PatchError> {
        let mut parts = SheetParts { list: Vec::new(), tables: BTreeMap::new() };
        for (sheet, number) in sheets.iter().zip(0..).filter(|(sheet, _)| sheet.kind == "worksheet") {
            let missing = |part: &str| PatchError::new(format!("part `{part}` of the workbook is missing"));
            let index = container.find(&sheet.part).ok_or_else(|| missing(&sheet.part))?;
            let relations = relations(container, &sheet.part)?;
            for relation in relations.iter().filter(|relation| relation.kind == "table") {
                let content = container.find(&relation.target).ok_or_else(|| missing(&relation.target))?;
                let content = container.read(content)?;
                parts.tables.entry(parts.list.len()).or_default().push(Table::read(&relation.target, &content)?);
            }
            let content = container.read(index)?;
            parts.list.push(SheetPart { number, part: sheet.part.clone(), index, content, relations });
        }
        Ok(parts)
    }

    fn of(&self, number: u32) -> Result<usize, PatchError> {
        self.list.iter().position(|part| part.number == number).ok_or_else(|| PatchError::new("the sheet has no part"))
    }

    /// What the pivot tables of a sheet fill.
    fn pivots(&self, container: &mut Container<'_>, sheet: usize) -> Result<Vec<Area>, PatchError> {
        let mut areas = Vec::new();
        for relation in self.list[sheet].relations.iter().filter(|relation| relation.kind == "pivotTable") {
            let Some(index) = container.find(&relation.target) else { continue };
            let content = container.read(index)?;
            let mut pieces = Pieces::new(&relation.target, text(&relation.target, &content)?);
            while let Some(piece) = pieces.next()? {
                if let Piece::Open(tag) | Piece::Alone(tag) = piece
                    && tag.local() == "location"
                {
                    areas.extend(tag.said("ref").and_then(|area| Area::parse(&area)));
                }
            }
        }
        Ok(areas)
    }
}

/// Where rows are appended.
struct Place {
    first: u32,
    last: u32,
    /// The last used row; none: the sheet is empty.
    above: Option<u32>,
    /// First and last column of what is appended.
    columns: (u32, u32),
    /// The row above is one of data, so that its style goes on.
    is_like_above: bool,
}

impl Place {
    fn of(survey: &Survey<'_>, edits: &SheetEdits<'_>) -> Result<Option<Place>, PatchError> {
        let columns = || edits.appended.iter().flatten().map(|edit| edit.column);
        let (Some(left), Some(right)) = (columns().min(), columns().max()) else {
            return match edits.appended {
                [] => Ok(None),
                _ => Err(PatchError::new("a row without cells cannot be appended")),
            };
        };
        if edits.appended.iter().any(|row| row.iter().all(|edit| edit.value == CellValue::Empty)) {
            return Err(PatchError::new("a row without values cannot be appended"));
        }
        let edited = edits.cells.iter().filter(|edit| edit.value != CellValue::Empty).map(|edit| edit.row).max();
        let used = survey.last.as_ref().map(|last| last.row);
        let first = used.max(edited).map_or(0, |row| row + 1);
        let last = u32::try_from(edits.appended.len()).ok().and_then(|count| first.checked_add(count - 1)).filter(|last| *last < ROWS);
        let last =
            last.ok_or_else(|| PatchError::new("the sheet has no room for the appended rows").saw(format!("{} rows after row {first}", edits.appended.len())))?;
        if let Some(above) = used {
            let totals: Vec<String> = survey
                .last_formulas()
                .iter()
                .filter(|(column, text)| formula::is_total(text, above, *column))
                .map(|(column, _)| cell_name(above, *column))
                .collect();
            refuse_cells("rows cannot be appended under a total", &totals)?;
        }
        let is_header = survey.first_used == used || survey.filter.as_ref().is_some_and(|(_, filter)| Some(filter.top) == used);
        Ok(Some(Place { first, last, above: used, columns: (left, right), is_like_above: used.is_some() && !is_header }))
    }

    /// What a range that ends at the last used row becomes.
    fn grown(&self, area: &Area) -> Option<Area> {
        let touches = area.left <= self.columns.1 && self.columns.0 <= area.right;
        let ends_here = self.above.is_some_and(|above| (above..self.last).contains(&area.bottom)) && area.bottom + 1 >= self.first;
        (touches && ends_here).then_some(Area { bottom: self.last, ..*area })
    }

    /// The attributes of appended rows: the format and height of the row above.
    fn row_attributes(&self, survey: &Survey<'_>) -> String {
        let Some(last) = survey.last.as_ref().filter(|_| self.is_like_above) else { return String::new() };
        let kept = last.tag.attributes().filter(|attribute| ["s", "customFormat", "ht", "customHeight"].contains(&attribute.name));
        kept.map(|attribute| format!(" {}=\"{}\"", attribute.name, attribute.raw)).collect()
    }
}

/// Lets the tables that end above the appended rows take them in.
fn grow_tables(tables: &mut [Table], place: &Place, edits: &SheetEdits<'_>) -> Result<(), PatchError> {
    for at in 0..tables.len() {
        if let Some(area) = place.grown(&tables[at].area) {
            if tables[at].totals_rows > 0 {
                return Err(PatchError::new(format!("rows cannot be appended to table `{}`: it ends with a row of totals", tables[at].name)));
            }
            if let Some(other) = tables.iter().enumerate().find(|(other, table)| *other != at && table.area.meets(&area)) {
                return Err(PatchError::new(format!("table `{}` cannot grow: table `{}` stands below it", tables[at].name, other.1.name)));
            }
            tables[at].area = area;
        }
    }
    for (row, edit) in edits.appended.iter().zip(place.first..).flat_map(|(row, number)| row.iter().map(move |edit| (number, edit))) {
        let Some((like_row, like_column)) = edit.like else { continue };
        if let Some(table) = tables.iter().find(|table| table.data().contains(like_row, like_column) && table.data().contains(like_row, edit.column))
            && !table.data().contains(row, edit.column)
        {
            return Err(PatchError::new(format!("rows cannot be appended to table `{}`: rows below it are used", table.name)).saw(format!(
                "the table is `{}`, the first free row is {}",
                table.area,
                place.first + 1
            )));
        }
    }
    Ok(())
}

/// What is written to which cell: the edits, and the style of the row above for the other cells of appended rows.
fn writes<'e>(survey: &Survey<'_>, edits: &SheetEdits<'e>, place: Option<&Place>, tables: &[Table]) -> Result<Writes<'e>, PatchError> {
    let mut writes = Writes::new();
    let style_like = |edit: &CellEdit| edit.like.and_then(|like| survey.styles.get(&like)).map(|style| (*style).to_owned());
    for edit in edits.cells {
        writes.entry(edit.row).or_default().push(Write { column: edit.column, content: Content::Value(&edit.value), style: style_like(edit) });
    }
    if let Some(place) = place {
        let is_header = |row: u32| tables.iter().any(|table| row >= table.area.top && row < table.area.top + table.header_rows);
        let above = survey.last.as_ref().filter(|last| place.is_like_above && !is_header(last.row));
        for (edits, row) in edits.appended.iter().zip(place.first..) {
            let row_writes = writes.entry(row).or_default();
            let mut styles: BTreeMap<u32, &str> = above.map(|last| last.styles.iter().copied().collect()).unwrap_or_default();
            for edit in edits {
                let above = styles.remove(&edit.column).map(str::to_owned);
                row_writes.push(Write { column: edit.column, content: Content::Value(&edit.value), style: style_like(edit).or(above) });
            }
            let others = styles.into_iter().filter(|(_, style)| *style != "0");
            row_writes.extend(others.map(|(column, style)| Write { column, content: Content::Style, style: Some(style.to_owned()) }));
        }
    }
    for row in writes.values_mut() {
        row.sort_by_key(|write| write.column);
    }
    Ok(writes)
}

/// Puts the formulas of computed columns of tables into appended rows. Whether there were any.
fn fill_computed(writes: &mut Writes<'_>, survey: &Survey<'_>, tables: &[Table], place: Option<&Place>) -> Result<bool, PatchError> {
    let Some(place) = place else { return Ok(false) };
    let above: BTreeMap<u32, String> = survey.last_formulas().into_iter().collect();
    let mut is_any = false;
    for table in tables {
        let data = table.data();
        for (computed, column) in table.computed.iter().zip(table.area.left..) {
            let Some((written, is_array)) = computed else { continue };
            for row in (place.first..=place.last).filter(|row| data.contains(*row, column)) {
                let row_writes = writes.entry(row).or_default();
                let at = row_writes.partition_point(|write| write.column < column);
                let is_there = row_writes.get(at).filter(|write| write.column == column);
                if is_there.is_some_and(|write| !matches!(write.content, Content::Style)) {
                    continue;
                }
                let from_above = survey.last.as_ref().zip(above.get(&column)).filter(|(last, _)| data.contains(last.row, column));
                let from_above = from_above.and_then(|(last, text)| formula::translated(text, i64::from(row) - i64::from(last.row), 0));
                let is_same_everywhere = formula::translated(written, 1, 0).is_some_and(|moved| moved == *written);
                let text = from_above.or_else(|| is_same_everywhere.then(|| written.clone())).filter(|_| !is_array);
                let text = text.ok_or_else(|| {
                    PatchError::new(format!(
                        "rows cannot be appended to table `{}`: the formula of its column `{}` cannot be continued",
                        table.name,
                        column_name(column)
                    ))
                })?;
                is_any = true;
                match is_there {
                    Some(_) => row_writes[at].content = Content::Formula(text),
                    None => row_writes.insert(at, Write { column, content: Content::Formula(text), style: None }),
                }
            }
        }
    }
    Ok(is_any)
}

/// Refuses edits of cells that are not free to be set.
fn refuse_forbidden(writes: &Writes<'_>, survey: &Survey<'_>, tables: &[Table], pivots: &[Area]) -> Result<(), PatchError> {
    let set =
        || writes.iter().flat_map(|(row, writes)| writes.iter().filter(|write| matches!(write.content, Content::Value(_))).map(|write| (*row, write.column)));
    let within = |is_forbidden: &dyn Fn(u32, u32) -> bool| {
        set().filter(|(row, column)| is_forbidden(*row, *column)).map(|(row, column)| cell_name(row, column)).collect::<Vec<_>>()
    };
    if !survey.merged.is_empty() {
        let hidden = within(&|row, column| survey.merged.iter().any(|area| area.contains(row, column) && (area.top, area.left) != (row, column)));
        refuse_cells("cells are hidden by a merged cell", &hidden)?;
    }
    let filled = within(&|row, column| survey.filled.iter().any(|area| area.contains(row, column)));
    refuse_cells("an array formula or data table would be overwritten", &filled)?;
    let pivoted = within(&|row, column| pivots.iter().any(|area| area.contains(row, column)));
    refuse_cells("a pivot table would be overwritten", &pivoted)?;
    let edges = within(&|row, column| tables.iter().any(|table| table.area.contains(row, column) && !table.data().contains(row, column)));
    refuse_cells("the header or totals of a table would be overwritten", &edges)
}

fn names(book: &Workbook<'_>, tables: impl Iterator<Item = (String, u32, Area)>) -> Names {
    let sheets: Vec<&str> = book.sheets.iter().map(|sheet| sheet.name.as_str()).collect();
    let defined: Vec<_> = book.names.iter().map(|name| (name.name.clone(), name.scope, name.formula.clone())).collect();
    Names::new(&sheets, tables, &defined)
}

/// Lets the ranges that the sheet part says take in what is new; gives the new range of the filter, if it grew.
fn mend_ranges(splices: &mut Splices, survey: &Survey<'_>, extent: Option<Area>, place: Option<&Place>) -> Option<Area> {
    if let (Some((span, area)), Some(extent)) = (&survey.dimension, extent)
        && area.with(&extent) != *area
    {
        splices.replace(span.clone(), area.with(&extent).to_string());
    }
    let place = place?;
    for (span, said) in &survey.rules {
        let grown = |token: &str| {
            let area = Area::parse(token).filter(|area| area.top < area.bottom && place.above == Some(area.bottom))?;
            place.grown(&area)
        };
        let made: Vec<String> = said.split_ascii_whitespace().map(|token| grown(token).map_or_else(|| token.to_owned(), |area| area.to_string())).collect();
        if said.split_ascii_whitespace().any(|token| grown(token).is_some()) {
            splices.replace(span.clone(), made.join(" "));
        }
    }
    let (span, area) = survey.filter.as_ref()?;
    let new = place.grown(area)?;
    splices.replace(span.clone(), new.to_string());
    Some(new)
}

/// Writes a table's new area.
fn mend_table(
    container: &mut Container<'_>,
    before: &Table,
    after: &Table,
    place: Option<&Place>,
    replaced: &mut BTreeMap<usize, Vec<u8>>,
) -> Result<(), PatchError> {
    let mut splices = Splices::default();
    if before.area != after.area {
        splices.replace(before.span.clone(), after.area.to_string());
        if let Some((span, filter)) = &before.filter {
            splices.replace(span.clone(), Area { bottom: after.area.bottom, ..*filter }.to_string());
        }
    }
    let takes_rows =
        place.is_some_and(|place| (place.first..=place.last).any(|row| (place.columns.0..=place.columns.1).any(|column| after.data().contains(row, column))));
    if let Some(span) = before.blank_row.as_ref().filter(|_| takes_rows) {
        splices.replace(span.clone(), "0");
    }
    let Some(index) = container.find(&before.part) else { return Ok(()) };
    let content = container.read(index)?;
    if let Some(made) = splices.apply(text(&before.part, &content)?) {
        replaced.insert(index, made.into_bytes());
    }
    Ok(())
}

/// The hidden name that repeats the range of a sheet's filter follows it.
fn mend_filter_name(splices: &mut Splices, book: &Workbook<'_>, sheet: u32, old: &Area, new: &Area) {
    for name in book.names.iter().filter(|name| name.scope == Some(sheet) && name.name.eq_ignore_ascii_case("_xlnm._FilterDatabase")) {
        let read = formula::read(&name.formula);
        let [formula::Reference::Cells { first, last, span, .. }] = read.references.as_slice() else { continue };
        if Area::between(*first, *last) == Some(*old) {
            let cell = |row: u32, column: u32| format!("${}${}", column_name(column), row + 1);
            let range = format!("{}:{}", cell(new.top, new.left), cell(new.bottom, new.right));
            let made = format!("{}{range}{}", &name.formula[..span.start], &name.formula[span.end..]);
            splices.replace(name.span.clone(), escaped(&made));
        }
    }
}

/// Says in the workbook that everything is to be computed when it is opened.
fn want_computing(splices: &mut Splices, book: &Workbook<'_>) {
    match book.computing {
        Some(tag) => match tag.attribute("fullCalcOnLoad") {
            Some(_) if tag.says_yes("fullCalcOnLoad") => {}
            Some(attribute) => splices.replace(attribute.value, "1"),
            None => splices.insert(tag.start + 1 + tag.name().len(), " fullCalcOnLoad=\"1\""),
        },
        None => splices.insert(book.computing_at, format!("<{}calcPr fullCalcOnLoad=\"1\"/>", book.prefix)),
    }
}

/// Leaves the calculation chain out, with its relation and its content type.
fn drop_chain(container: &mut Container<'_>, parts: &Parts, replaced: &mut BTreeMap<usize, Vec<u8>>, dropped: &mut BTreeSet<usize>) -> Result<(), PatchError> {
    let Some(relation) = parts.relations.iter().find(|relation| relation.kind == "calcChain") else { return Ok(()) };
    let Some(chain) = container.find(&relation.target) else { return Ok(()) };
    let chain_name = format!("/{}", container.name(chain));
    dropped.insert(chain);
    if let Some(index) = container.find(&relations_part(&parts.workbook)) {
        let content = container.read(index)?;
        let mut splices = Splices::default();
        splices.replace(relation.span.clone(), "");
        if let Some(made) = splices.apply(text(container.name(index), &content)?) {
            replaced.insert(index, made.into_bytes());
        }
    }
    if let Some(index) = container.find("[Content_Types].xml") {
        let content = container.read(index)?;
        let types = text("[Content_Types].xml", &content)?;
        let mut splices = Splices::default();
        let mut pieces = Pieces::new("[Content_Types].xml", types);
        while let Some(piece) = pieces.next()? {
            let (tag, end) = match piece {
                Piece::Open(tag) if tag.local() == "Override" => (tag, pieces.skip()?.end),
                Piece::Alone(tag) => (tag, tag.end()),
                _ => continue,
            };
            if tag.local() == "Override" && tag.said("PartName").is_some_and(|part| part.eq_ignore_ascii_case(&chain_name)) {
                splices.replace(tag.start..end, "");
            }
        }
        if let Some(made) = splices.apply(types) {
            replaced.insert(index, made.into_bytes());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
