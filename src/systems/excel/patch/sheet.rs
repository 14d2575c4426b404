//! A walk over a sheet part: its rows and cells in their order, and the elements around them, each with its place.

use std::borrow::Cow;
use std::ops::Range;

use super::PatchError;
use super::area::{COLUMNS, ROWS, cell_name, cell_of};
use super::markup::{Piece, Pieces, Tag};

/// The formula of a cell.
#[derive(Clone, Debug)]
pub(super) struct CellFormula<'a> {
    pub tag: Tag<'a>,
    /// Empty for a cell that shares the formula of another.
    pub text: Cow<'a, str>,
}

/// A cell of a sheet part.
#[derive(Clone, Debug)]
pub(super) struct Cell<'a> {
    pub row: u32,
    pub column: u32,
    pub tag: Tag<'a>,
    /// The whole element.
    pub span: Range<usize>,
    pub formula: Option<CellFormula<'a>>,
    /// The elements of its value: `v` and `is`.
    pub values: Vec<Range<usize>>,
    /// Its other elements, its formula apart.
    pub others: Vec<Range<usize>>,
    /// It has a value that is not the empty text.
    pub is_filled: bool,
    /// Its value is written as the formula `TRUE()` or `FALSE()`, as LibreOffice saves truths: that is a value, not a formula.
    pub is_constant: bool,
}

/// Whether the formula of a cell is how LibreOffice saves a truth.
pub(in crate::systems::excel) fn is_constant(formula: &str) -> bool {
    let formula = formula.trim();
    formula.eq_ignore_ascii_case("TRUE()") || formula.eq_ignore_ascii_case("FALSE()")
}

/// What a walk meets, in the order of the part.
pub(super) trait Visitor<'a> {
    /// An element outside of the rows: a child of the sheet (`parent` is empty) or a child of one of those.
    fn around(&mut self, parent: &str, tag: &Tag<'a>) -> Result<(), PatchError>;
    /// A row begins.
    fn row(&mut self, row: u32, tag: &Tag<'a>) -> Result<(), PatchError>;
    /// A cell.
    fn cell(&mut self, cell: &Cell<'a>) -> Result<(), PatchError>;
    /// A row ends: the place of its closing tag, or of the whole row if it has none.
    fn row_end(&mut self, row: u32, tag: &Tag<'a>, close: Range<usize>) -> Result<(), PatchError>;
    /// The rows end: the place of the closing tag, or of the whole element if it has none.
    fn rows_end(&mut self, tag: &Tag<'a>, close: Range<usize>) -> Result<(), PatchError>;
}

/// Walks over a sheet part.
///
/// # Errors
/// It is not well-formed, is not a worksheet, or its rows or cells are not in order; whatever the visitor refuses.
pub(super) fn walk<'a>(part: &'a str, text: &'a str, visitor: &mut impl Visitor<'a>) -> Result<(), PatchError> {
    let mut pieces = Pieces::new(part, text);
    let root = loop {
        match pieces.next()? {
            Some(Piece::Open(tag)) => break tag,
            Some(Piece::Alone(_)) | None => return Err(PatchError::new(format!("part `{part}` is not that of a worksheet"))),
            Some(_) => {}
        }
    };
    if root.local() != "worksheet" {
        return Err(PatchError::new(format!("part `{part}` is not that of a worksheet")).saw(format!("it is a `{}`", root.local())));
    }
    let mut parent: Option<Tag<'a>> = None;
    let mut has_rows = false;
    while let Some(piece) = pieces.next()? {
        let (tag, is_open) = match piece {
            Piece::Open(tag) => (tag, true),
            Piece::Alone(tag) => (tag, false),
            _ => continue,
        };
        let is_ours = tag.prefix() == root.prefix();
        match pieces.depth - usize::from(is_open) {
            1 if is_ours && tag.local() == "sheetData" => {
                if std::mem::replace(&mut has_rows, true) {
                    return Err(PatchError::new(format!("part `{part}` has two blocks of rows")));
                }
                let close = if is_open { rows(part, &mut pieces, root.prefix(), visitor)? } else { tag.start..tag.end() };
                visitor.rows_end(&tag, close)?;
            }
            1 => {
                parent = is_open.then_some(tag);
                if is_ours {
                    visitor.around("", &tag)?;
                }
            }
            2 if is_ours && parent.is_some_and(|parent| parent.prefix() == root.prefix()) => {
                visitor.around(parent.map_or("", |parent| parent.local()), &tag)?;
            }
            _ => {}
        }
    }
    if has_rows { Ok(()) } else { Err(PatchError::new(format!("part `{part}` has no block of rows"))) }
}

fn is(tag: &Tag<'_>, prefix: &str, local: &str) -> bool {
    tag.prefix() == prefix && tag.local() == local
}

fn rows<'a>(part: &'a str, pieces: &mut Pieces<'a>, prefix: &str, visitor: &mut impl Visitor<'a>) -> Result<Range<usize>, PatchError> {
    let depth = pieces.depth;
    let mut next_row = 0u32;
    loop {
        let (tag, is_open) = match pieces.next()? {
            Some(Piece::Open(tag)) => (tag, true),
            Some(Piece::Alone(tag)) => (tag, false),
            Some(Piece::Close(span)) if pieces.depth < depth => return Ok(span),
            Some(_) => continue,
            None => return Err(PatchError::new(format!("part `{part}` ends too early"))),
        };
        if !is(&tag, prefix, "row") {
            if is_open {
                pieces.skip()?;
            }
            continue;
        }
        let row = match tag.attribute("r") {
            None => next_row,
            Some(attribute) => {
                let number = attribute.raw.trim().parse::<u32>().ok().and_then(|number| number.checked_sub(1));
                number.ok_or_else(|| PatchError::new(format!("part `{part}` has a row without a right number")).saw(tag.text))?
            }
        };
        if row < next_row || row >= ROWS {
            return Err(PatchError::new(format!("the rows of part `{part}` are not in order")).saw(format!("row {} comes after row {next_row}", row + 1)));
        }
        next_row = row + 1;
        visitor.row(row, &tag)?;
        let close = if is_open { cells(part, pieces, prefix, row, visitor)? } else { tag.start..tag.end() };
        visitor.row_end(row, &tag, close)?;
    }
}

fn cells<'a>(part: &'a str, pieces: &mut Pieces<'a>, prefix: &str, row: u32, visitor: &mut impl Visitor<'a>) -> Result<Range<usize>, PatchError> {
    let depth = pieces.depth;
    let mut next_column = 0u32;
    loop {
        let (tag, is_open) = match pieces.next()? {
            Some(Piece::Open(tag)) => (tag, true),
            Some(Piece::Alone(tag)) => (tag, false),
            Some(Piece::Close(span)) if pieces.depth < depth => return Ok(span),
            Some(_) => continue,
            None => return Err(PatchError::new(format!("part `{part}` ends too early"))),
        };
        if !is(&tag, prefix, "c") {
            if is_open {
                pieces.skip()?;
            }
            continue;
        }
        let column = match tag.attribute("r") {
            None => next_column,
            Some(attribute) => match cell_of(attribute.raw.trim()) {
                Some((own_row, column)) if own_row == row => column,
                _ => return Err(PatchError::new(format!("part `{part}` has a cell in row {} that says it is elsewhere", row + 1)).saw(tag.text)),
            },
        };
        if column < next_column || column >= COLUMNS {
            return Err(
                PatchError::new(format!("the cells of part `{part}` are not in order")).saw(format!("at `{}`", cell_name(row, column.min(COLUMNS - 1))))
            );
        }
        next_column = column + 1;
        let mut cell =
            Cell { row, column, tag, span: tag.start..tag.end(), formula: None, values: Vec::new(), others: Vec::new(), is_filled: false, is_constant: false };
        if is_open {
            cell.span.end = content(part, pieces, prefix, &mut cell)?.end;
        }
        visitor.cell(&cell)?;
    }
}

fn content<'a>(part: &'a str, pieces: &mut Pieces<'a>, prefix: &str, cell: &mut Cell<'a>) -> Result<Range<usize>, PatchError> {
    let depth = pieces.depth;
    loop {
        let (tag, is_open) = match pieces.next()? {
            Some(Piece::Open(tag)) => (tag, true),
            Some(Piece::Alone(tag)) => (tag, false),
            Some(Piece::Close(span)) if pieces.depth < depth => return Ok(span),
            Some(_) => continue,
            None => return Err(PatchError::new(format!("part `{part}` ends too early"))),
        };
        let is_ours = tag.prefix() == prefix;
        match tag.local() {
            "f" if is_ours => {
                let (text, end) = if is_open { pieces.characters().map(|(text, close)| (text, close.end))? } else { (Cow::Borrowed(""), tag.end()) };
                if is_constant(&text) && tag.said("t").is_none_or(|kind| kind == "normal") {
                    cell.is_constant = true;
                    cell.values.push(tag.start..end);
                } else {
                    cell.formula = Some(CellFormula { tag, text });
                }
            }
            "v" | "is" if is_ours => {
                let mut end = tag.end();
                if is_open {
                    let (said, close) = pieces.characters()?;
                    cell.is_filled |= !said.is_empty();
                    end = close.end;
                }
                cell.values.push(tag.start..end);
            }
            _ => {
                let end = if is_open { pieces.skip()?.end } else { tag.end() };
                cell.others.push(tag.start..end);
            }
        }
    }
}
