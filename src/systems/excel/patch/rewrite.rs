//! The changes to the rows of a sheet part, as splices.
//!
//! # Design
//! New text is written into its cell (`inlineStr`), not into the table of shared strings: that table stays as it is, to the
//! byte, with its counts, and no reader needs it; spreadsheets move the text there when they save. Rich text that is
//! overwritten stays in that table, unused.
//! Empty elements keep an emptied cell in place: its style stays.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::iter::Peekable;
use std::ops::Range;
use std::vec::IntoIter;

use super::area::cell_name;
use super::dependents::Outdated;
use super::formula;
use super::markup::{Splices, Tag, escaped};
use super::sheet::{Cell, Visitor};
use super::{CellValue, PatchError};

/// What a cell gets.
#[derive(Clone, Debug)]
pub(super) enum Content<'e> {
    Value(&'e CellValue),
    /// A formula, unless the cell has something.
    Formula(String),
    /// Nothing but a style, if the cell is new.
    Style,
}

/// What is written to one cell.
#[derive(Clone, Debug)]
pub(super) struct Write<'e> {
    pub column: u32,
    pub content: Content<'e>,
    /// The style of the cell if it is new; none: that of its row or column.
    pub style: Option<String>,
}

/// What is written to each row, in the order of columns.
pub(super) type Writes<'e> = BTreeMap<u32, Vec<Write<'e>>>;

/// Finds the splices that make the changes.
pub(super) struct Rewriter<'a, 'e> {
    pub splices: Splices,
    /// Cells that would be overwritten and have a formula.
    pub formulas_hit: Vec<String>,
    /// Cells with a total in the rows where new rows should stand.
    pub totals_hit: Vec<String>,
    /// Whether the formula of a constant was replaced.
    pub constants_replaced: bool,
    text: &'a str,
    prefix: String,
    columns: &'e [(u32, u32, &'a str)],
    outdated: Option<&'e Outdated>,
    /// The first appended row, and the attributes of appended rows.
    appended: Option<(u32, String)>,
    rows: Peekable<std::collections::btree_map::IntoIter<u32, Vec<Write<'e>>>>,
    pending: Peekable<IntoIter<Write<'e>>>,
    row_style: Option<&'a str>,
}

impl<'a, 'e> Rewriter<'a, 'e> {
    pub fn new(
        text: &'a str,
        writes: Writes<'e>,
        columns: &'e [(u32, u32, &'a str)],
        outdated: Option<&'e Outdated>,
        appended: Option<(u32, String)>,
    ) -> Rewriter<'a, 'e> {
        Rewriter {
            splices: Splices::default(),
            formulas_hit: Vec::new(),
            totals_hit: Vec::new(),
            constants_replaced: false,
            text,
            prefix: String::new(),
            columns,
            outdated,
            appended,
            rows: writes.into_iter().peekable(),
            pending: Vec::new().into_iter().peekable(),
            row_style: None,
        }
    }

    /// The style of a new cell; `0` is none.
    fn style(&self, write: &Write<'e>) -> String {
        let column_style = || self.columns.iter().find(|(first, last, _)| (*first..=*last).contains(&write.column)).map(|(_, _, style)| *style);
        match &write.style {
            Some(style) => style.clone(),
            None => self.row_style.or_else(column_style).unwrap_or("0").to_owned(),
        }
    }

    fn new_cell(&self, row: u32, write: &Write<'e>) -> String {
        let style = self.style(write);
        let has_style = style != "0" && !style.is_empty();
        let (kind, content) = match &write.content {
            Content::Value(value) => content(&self.prefix, value),
            Content::Formula(formula) => ("", formula_element(&self.prefix, formula)),
            Content::Style => ("", String::new()),
        };
        let is_emptied = matches!(write.content, Content::Value(CellValue::Empty));
        if content.is_empty() && (!has_style || (is_emptied && write.style.is_none())) {
            return String::new();
        }
        let prefix = &self.prefix;
        let mut cell = format!("<{prefix}c r=\"{}\"", cell_name(row, write.column));
        if has_style {
            let _ = write!(cell, " s=\"{style}\"");
        }
        finish(&mut cell, prefix, kind, &content);
        cell
    }

    /// The cells that come before a column of the current row.
    fn new_cells(&mut self, row: u32, before: Option<u32>) -> String {
        let mut cells = String::new();
        while let Some(write) = self.pending.next_if(|write| before.is_none_or(|column| write.column < column)) {
            cells.push_str(&self.new_cell(row, &write));
        }
        cells
    }

    /// The rows that come before a row.
    fn new_rows(&mut self, before: Option<u32>) -> String {
        let mut rows = String::new();
        self.row_style = None;
        while let Some((row, writes)) = self.rows.next_if(|(row, _)| before.is_none_or(|before| *row < before)) {
            let cells: String = writes.iter().map(|write| self.new_cell(row, write)).collect();
            if cells.is_empty() {
                continue;
            }
            let prefix = &self.prefix;
            let attributes = self.appended.as_ref().filter(|(first, _)| row >= *first).map_or("", |(_, attributes)| attributes);
            let _ = write!(rows, "<{prefix}row r=\"{}\"{attributes}>{cells}</{prefix}row>", row + 1);
        }
        rows
    }

    /// Puts text at the end of an element: before its closing tag, or into it if it had none.
    fn put_inside(&mut self, tag: &Tag<'a>, close: Range<usize>, text: String) {
        if text.is_empty() {
            return;
        }
        if tag.is_alone() {
            self.splices.replace(tag.end() - 2..tag.end(), format!(">{text}</{}>", tag.name()));
        } else {
            self.splices.insert(close.start, text);
        }
    }

    fn overwrite(&mut self, cell: &Cell<'a>, write: &Write<'e>) {
        let (kind, content) = match &write.content {
            Content::Style => return,
            Content::Formula(_) if cell.formula.is_some() || cell.is_filled => return,
            Content::Formula(formula) => ("", formula_element(&self.prefix, formula)),
            Content::Value(CellValue::Empty) if cell.formula.is_none() && cell.values.is_empty() => return,
            Content::Value(value) => content(&self.prefix, value),
        };
        if cell.formula.is_some() {
            self.formulas_hit.push(cell_name(cell.row, cell.column));
            return;
        }
        self.constants_replaced |= cell.is_constant;
        let mut made = self.tag_without(&cell.tag, &["t", "vm", "cm"]);
        let others: String = cell.others.iter().map(|span| &self.text[span.clone()]).collect();
        finish_named(&mut made, cell.tag.name(), kind, &format!("{content}{others}"));
        self.splices.replace(cell.span.clone(), made);
    }

    /// The opening of a tag with all attributes but some, without its `>`.
    fn tag_without(&self, tag: &Tag<'a>, left_out: &[&str]) -> String {
        let mut made = format!("<{}", tag.name());
        for attribute in tag.attributes().filter(|attribute| !left_out.contains(&attribute.name)) {
            made.push_str(&self.text[attribute.whole]);
        }
        made
    }

    /// Takes the computed value of a formula away: the empty text is one too, an empty element without a type is none.
    fn forget(&mut self, cell: &Cell<'a>) {
        if !cell.is_filled && (cell.values.is_empty() || cell.tag.attribute("t").is_none()) {
            return;
        }
        for attribute in cell.tag.attributes().filter(|attribute| attribute.name == "t") {
            self.splices.replace(attribute.whole, "");
        }
        for value in &cell.values {
            self.splices.replace(value.clone(), "");
        }
    }
}

impl<'a> Visitor<'a> for Rewriter<'a, '_> {
    fn around(&mut self, _parent: &str, _tag: &Tag<'a>) -> Result<(), PatchError> {
        Ok(())
    }

    fn row(&mut self, row: u32, tag: &Tag<'a>) -> Result<(), PatchError> {
        tag.prefix().clone_into(&mut self.prefix);
        let before = self.new_rows(Some(row));
        if !before.is_empty() {
            self.splices.insert(tag.start, before);
        }
        self.row_style = tag.attribute("s").filter(|_| tag.says_yes("customFormat")).map(|attribute| attribute.raw);
        let writes = self.rows.next_if(|(next, _)| *next == row).map(|(_, writes)| writes).unwrap_or_default();
        if let (Some(first), Some(last), Some(spans)) = (writes.first(), writes.last(), tag.attribute("spans"))
            && let Some(wider) = wider_spans(spans.raw, first.column, last.column)
        {
            self.splices.replace(spans.value, wider);
        }
        self.pending = writes.into_iter().peekable();
        Ok(())
    }

    fn cell(&mut self, cell: &Cell<'a>) -> Result<(), PatchError> {
        let before = self.new_cells(cell.row, Some(cell.column));
        if !before.is_empty() {
            self.splices.insert(cell.span.start, before);
        }
        if let (Some((first, _)), Some(formula)) = (&self.appended, &cell.formula)
            && cell.row >= *first
            && formula::is_total(&formula.text, cell.row, cell.column)
        {
            self.totals_hit.push(cell_name(cell.row, cell.column));
        }
        if let Some(write) = self.pending.next_if(|write| write.column == cell.column) {
            self.overwrite(cell, &write);
        }
        if self.outdated.is_some_and(|outdated| outdated.contains(cell.row, cell.column)) {
            self.forget(cell);
        }
        Ok(())
    }

    fn row_end(&mut self, row: u32, tag: &Tag<'a>, close: Range<usize>) -> Result<(), PatchError> {
        let cells = self.new_cells(row, None);
        self.put_inside(tag, close, cells);
        Ok(())
    }

    fn rows_end(&mut self, tag: &Tag<'a>, close: Range<usize>) -> Result<(), PatchError> {
        tag.prefix().clone_into(&mut self.prefix);
        let rows = self.new_rows(None);
        self.put_inside(tag, close, rows);
        Ok(())
    }
}

/// The spans of a row made wide enough for some columns; nothing if they are.
fn wider_spans(spans: &str, first: u32, last: u32) -> Option<String> {
    let (mut low, mut high) = (first + 1, last + 1);
    let mut is_within = false;
    for span in spans.split_ascii_whitespace() {
        let (from, to) = span.split_once(':')?;
        let (from, to) = (from.parse::<u32>().ok()?, to.parse::<u32>().ok()?);
        is_within |= from <= first + 1 && last < to;
        low = low.min(from);
        high = high.max(to);
    }
    (!is_within).then(|| format!("{low}:{high}"))
}

fn finish(cell: &mut String, prefix: &str, kind: &str, content: &str) {
    finish_named(cell, &format!("{prefix}c"), kind, content);
}

fn finish_named(cell: &mut String, name: &str, kind: &str, content: &str) {
    if !kind.is_empty() {
        let _ = write!(cell, " t=\"{kind}\"");
    }
    if content.is_empty() {
        cell.push_str("/>");
    } else {
        let _ = write!(cell, ">{content}</{name}>");
    }
}

fn formula_element(prefix: &str, formula: &str) -> String {
    format!("<{prefix}f>{}</{prefix}f>", escaped(formula))
}

/// The type of a cell and the elements that hold its value.
fn content(prefix: &str, value: &CellValue) -> (&'static str, String) {
    let v = |said: &str| format!("<{prefix}v>{said}</{prefix}v>");
    match value {
        CellValue::Empty => ("", String::new()),
        CellValue::Number(number) | CellValue::Serial(number) => ("", v(number)),
        CellValue::Boolean(is) => ("b", v(if *is { "1" } else { "0" })),
        CellValue::Error => ("e", v("#N/A")),
        CellValue::Text(text) => {
            let text = inline_text(text);
            ("inlineStr", format!("<{prefix}is><{prefix}t xml:space=\"preserve\">{text}</{prefix}t></{prefix}is>"))
        }
    }
}

/// Text as it stands in a cell: markup escaped; what XML cannot hold, or would change, as `_xHHHH_`; and text that looks like
/// that escaped too.
fn inline_text(text: &str) -> String {
    let mut made = String::with_capacity(text.len() + 8);
    for (at, c) in text.char_indices() {
        match c {
            '&' => made.push_str("&amp;"),
            '<' => made.push_str("&lt;"),
            '>' => made.push_str("&gt;"),
            '\t' | '\n' => made.push(c),
            c if is_unholdable(c) => {
                let _ = write!(made, "_x{:04X}_", u32::from(c));
            }
            '_' if looks_escaped(&text[at..]) => made.push_str("_x005F_"),
            c => made.push(c),
        }
    }
    made
}

fn is_unholdable(c: char) -> bool {
    matches!(c, '\0'..='\x08' | '\x0b'..='\x1f' | '\u{fffe}' | '\u{ffff}')
}

/// Whether a reader would take the beginning of the text for an escape, once what follows it is escaped too.
fn looks_escaped(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 7
        && bytes[1].eq_ignore_ascii_case(&b'x')
        && bytes[2..6].iter().all(u8::is_ascii_hexdigit)
        && text[6..].starts_with(|c| c == '_' || is_unholdable(c))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn text_is_escaped_so_that_it_comes_back() {
        for (text, expected) in [
            ("=1+1", "=1+1"),
            (" a & <b> ", " a &amp; &lt;b&gt; "),
            ("a\r\nb\tc", "a_x000D_\nb\tc"),
            ("_x0041_", "_x005F_x0041_"),
            ("_x0041", "_x0041"),
            ("_x_x0041_", "_x_x005F_x0041_"),
            ("_x0041\r", "_x005F_x0041_x000D_"),
            ("\u{1}\u{fffe}", "_x0001__xFFFE_"),
            ("😀\u{a0}", "😀\u{a0}"),
        ] {
            assert_eq!(inline_text(text), expected);
        }
    }

    #[test]
    fn spans_grow_only_when_they_must() {
        assert_eq!(wider_spans("1:3", 0, 2), None);
        assert_eq!(wider_spans("1:3", 1, 4).unwrap(), "1:5");
        assert_eq!(wider_spans("1:3 6:9", 3, 4).unwrap(), "1:9");
        assert_eq!(wider_spans("x", 3, 4), None);
    }
}
