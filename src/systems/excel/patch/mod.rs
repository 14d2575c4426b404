//! A workbook with some cells of one sheet changed, and everything else as it was: bytes in, bytes out.

/// One cell to set. `row` and `column` count from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellEdit {
    /// The row; ignored in a row that is appended.
    pub row: u32,
    /// The column.
    pub column: u32,
    /// What it shall hold.
    pub value: CellValue,
    /// The cell whose style a new cell takes.
    pub like: Option<(u32, u32)>,
}

/// What a cell shall hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellValue {
    /// Nothing; the style stays.
    Empty,
    /// A text, whatever it looks like.
    Text(String),
    /// A number, by its decimal text.
    Number(String),
    /// True or false.
    Boolean(bool),
    /// A date or moment by its serial number in the workbook's own epoch.
    Serial(String),
    /// An error.
    Error,
}

/// What is changed on one sheet.
#[derive(Clone, Copy, Debug)]
pub struct SheetEdits<'a> {
    /// The name of the sheet.
    pub sheet: &'a str,
    /// Cells that are set.
    pub cells: &'a [CellEdit],
    /// Rows that are added after the last used row, a list of cells each.
    pub appended: &'a [Vec<CellEdit>],
    /// Rows that are deleted, counted from 0.
    pub removed: &'a [u32],
}

/// A changed workbook.
#[derive(Clone, Debug)]
pub struct Patched {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The first row of those that were added, counted from 0.
    pub first_appended_row: Option<u32>,
}

/// Why a workbook cannot be changed as asked. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchError {
    /// What is in the way.
    pub message: String,
    /// What was seen, a line each.
    pub seen: Vec<String>,
}

/// The bytes of the workbook with these edits, everything else as it was.
///
/// # Errors
/// Always: this version cannot write workbooks.
pub fn patch(_workbook: &[u8], _edits: &SheetEdits<'_>) -> Result<Patched, PatchError> {
    Err(PatchError { message: "workbooks cannot be written by this version".to_owned(), seen: Vec::new() })
}
