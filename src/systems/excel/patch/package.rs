//! How the parts of a workbook hang together: relations, the list of sheets, defined names, tables.
//!
//! Names of namespaces are not compared: the strict and the transitional form of the format differ in them alone, so elements
//! are known by their local name and relations by the last word of their type.

use std::borrow::Cow;
use std::ops::Range;

use super::PatchError;
use super::area::Area;
use super::container::Container;
use super::markup::{Attribute, Piece, Pieces, Tag, text};

/// A relation of one part to another.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    pub id: String,
    /// The last word of its type: `worksheet`, `table`, `calcChain`.
    pub kind: String,
    /// The name of the part that it leads to.
    pub target: String,
    /// The place of its element.
    pub span: Range<usize>,
}

/// The name of the part that holds the relations of a part; of the whole file for "".
pub(super) fn relations_part(part: &str) -> String {
    let (folder, file) = part.rsplit_once('/').unwrap_or(("", part));
    if folder.is_empty() { format!("_rels/{file}.rels") } else { format!("{folder}/_rels/{file}.rels") }
}

/// The relations of a part, in their order; none if it has no part of relations.
pub(super) fn relations(container: &mut Container<'_>, part: &str) -> Result<Vec<Relation>, PatchError> {
    let name = relations_part(part);
    let Some(index) = container.find(&name) else { return Ok(Vec::new()) };
    let bytes = container.read(index)?;
    let text = text(&name, &bytes)?;
    let mut pieces = Pieces::new(&name, text);
    let mut found = Vec::new();
    while let Some(piece) = pieces.next()? {
        let (tag, end) = match piece {
            Piece::Open(tag) if tag.local() == "Relationship" => (tag, pieces.skip()?.end),
            Piece::Alone(tag) if tag.local() == "Relationship" => (tag, tag.end()),
            _ => continue,
        };
        if tag.said("TargetMode").is_some_and(|mode| mode == "External") {
            continue;
        }
        let said = |name: &str| tag.said(name).unwrap_or(Cow::Borrowed("")).into_owned();
        let kind = said("Type").rsplit('/').next().unwrap_or("").to_owned();
        let target = resolved(part, &said("Target"));
        let target = if container.find(&target).is_some() { target } else { percent_decoded(&target).unwrap_or(target) };
        found.push(Relation { id: said("Id"), kind, target, span: tag.start..end });
    }
    Ok(found)
}

/// The name of the part that a target means, seen from a part.
fn resolved(part: &str, target: &str) -> String {
    let target = target.replace('\\', "/");
    let target = target.split('#').next().unwrap_or("");
    let mut path: Vec<&str> = match target.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => part.split('/').rev().skip(1).collect::<Vec<_>>().into_iter().rev().collect(),
    };
    for step in target.split('/') {
        match step {
            "" | "." => {}
            ".." => drop(path.pop()),
            step => path.push(step),
        }
    }
    path.join("/")
}

fn percent_decoded(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).ok()
}

/// A sheet as the workbook lists it.
#[derive(Clone, Debug)]
pub(super) struct Sheet {
    pub name: String,
    /// The last word of the type of its relation: `worksheet`, `chartsheet`.
    pub kind: String,
    pub part: String,
}

/// A defined name.
#[derive(Clone, Debug)]
pub(super) struct DefinedName {
    pub name: String,
    /// The sheet that it is known in, counted from 0; nothing: in all.
    pub scope: Option<u32>,
    pub formula: String,
    /// The place of its formula.
    pub span: Range<usize>,
}

/// The workbook part.
#[derive(Debug)]
pub(super) struct Workbook<'a> {
    pub sheets: Vec<Sheet>,
    pub names: Vec<DefinedName>,
    /// The settings of computing.
    pub computing: Option<Tag<'a>>,
    /// Where those settings would stand.
    pub computing_at: usize,
    pub prefix: &'a str,
}

impl<'a> Workbook<'a> {
    /// Reads the workbook part.
    ///
    /// # Errors
    /// It is not well-formed or lists no sheets.
    pub fn read(part: &'a str, text: &'a str, relations: &[Relation]) -> Result<Workbook<'a>, PatchError> {
        let mut workbook = Workbook { sheets: Vec::new(), names: Vec::new(), computing: None, computing_at: 0, prefix: "" };
        let mut pieces = Pieces::new(part, text);
        let mut last_opened = "";
        while let Some(piece) = pieces.next()? {
            let (tag, is_open) = match piece {
                Piece::Open(tag) => (tag, true),
                Piece::Alone(tag) => (tag, false),
                Piece::Close(span) => {
                    if pieces.depth == 1 && ["sheets", "functionGroups", "externalReferences", "definedNames"].contains(&last_opened) {
                        workbook.computing_at = span.end;
                    }
                    continue;
                }
                _ => continue,
            };
            let depth = pieces.depth - usize::from(is_open);
            match (depth, tag.local()) {
                (0, "workbook") => workbook.prefix = tag.prefix(),
                (0, _) => return Err(PatchError::new(format!("part `{part}` is not that of a workbook"))),
                (1, name) => {
                    last_opened = name;
                    match name {
                        "calcPr" => workbook.computing = Some(tag),
                        "sheets" | "functionGroups" | "externalReferences" | "definedNames" if !is_open => workbook.computing_at = tag.end(),
                        _ => {}
                    }
                }
                (2, "sheet") => {
                    let id = tag.attributes().find(|attribute| attribute.name.ends_with(":id")).map(|id| id.said().into_owned()).unwrap_or_default();
                    let name = tag.said("name").unwrap_or_default().into_owned();
                    let relation = relations.iter().find(|relation| relation.id == id);
                    let (kind, part) = relation.map(|relation| (relation.kind.clone(), relation.target.clone())).unwrap_or_default();
                    workbook.sheets.push(Sheet { name, kind, part });
                }
                (2, "definedName") if is_open => {
                    let (formula, close) = pieces.characters()?;
                    let scope = tag.said("localSheetId").and_then(|scope| scope.parse().ok());
                    let name = tag.said("name").unwrap_or_default().into_owned();
                    workbook.names.push(DefinedName { name, scope, formula: formula.into_owned(), span: tag.end()..close.start });
                }
                _ => {}
            }
        }
        if workbook.computing_at == 0 {
            return Err(PatchError::new(format!("part `{part}` lists no sheets")));
        }
        Ok(workbook)
    }
}

/// A table of a sheet.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub part: String,
    pub name: String,
    pub area: Area,
    pub header_rows: u32,
    pub totals_rows: u32,
    /// The formula of each column that has one; whether it is an array formula.
    pub computed: Vec<Option<(String, bool)>>,
    /// The place of the value of `ref`.
    pub span: Range<usize>,
    /// The place of the value of `ref` of its filter, and that value.
    pub filter: Option<(Range<usize>, Area)>,
    /// The place of the value that says that the only row of data is a blank one to type into.
    pub blank_row: Option<Range<usize>>,
}

impl Table {
    /// Reads a table part.
    ///
    /// # Errors
    /// It is not well-formed or has no area.
    pub fn read(part: &str, content: &[u8]) -> Result<Table, PatchError> {
        let text = text(part, content)?;
        let mut pieces = Pieces::new(part, text);
        let mut table: Option<Table> = None;
        while let Some(piece) = pieces.next()? {
            let (tag, is_open) = match piece {
                Piece::Open(tag) => (tag, true),
                Piece::Alone(tag) => (tag, false),
                _ => continue,
            };
            let depth = pieces.depth - usize::from(is_open);
            let area = |tag: &Tag<'_>| tag.attribute("ref").and_then(|attribute: Attribute<'_>| Some((attribute.value, Area::parse(attribute.raw)?)));
            match (depth, tag.local(), &mut table) {
                (0, "table", _) => {
                    let number = |name: &str, default: u32| tag.said(name).and_then(|value| value.trim().parse().ok()).unwrap_or(default);
                    let (span, area) = area(&tag).ok_or_else(|| PatchError::new(format!("table part `{part}` has no area")))?;
                    let name = tag.said("displayName").or_else(|| tag.said("name")).unwrap_or_default().into_owned();
                    let blank_row = tag.attribute("insertRow").filter(|_| tag.says_yes("insertRow")).map(|attribute| attribute.value);
                    table = Some(Table {
                        part: part.to_owned(),
                        name,
                        area,
                        header_rows: number("headerRowCount", 1),
                        totals_rows: number("totalsRowCount", 0),
                        computed: Vec::new(),
                        span,
                        filter: None,
                        blank_row,
                    });
                }
                (1, "autoFilter", Some(table)) => table.filter = area(&tag),
                (2, "tableColumn", Some(table)) => table.computed.push(None),
                (3, "calculatedColumnFormula", Some(table)) if is_open => {
                    let is_array = tag.says_yes("array");
                    let (formula, _) = pieces.characters()?;
                    if let Some(last) = table.computed.last_mut() {
                        *last = Some((formula.into_owned(), is_array));
                    }
                }
                _ => {}
            }
        }
        table.ok_or_else(|| PatchError::new(format!("part `{part}` is not that of a table")))
    }

    /// Its rows of data.
    pub fn data(&self) -> Area {
        Area { top: self.area.top + self.header_rows, bottom: self.area.bottom.saturating_sub(self.totals_rows), ..self.area }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn targets_are_relative_absolute_or_odd() {
        for (part, target, expected) in [
            ("xl/workbook.xml", "worksheets/sheet1.xml", "xl/worksheets/sheet1.xml"),
            ("xl/workbook.xml", "/xl/worksheets/sheet1.xml", "xl/worksheets/sheet1.xml"),
            ("xl/worksheets/sheet1.xml", "../tables/table1.xml", "xl/tables/table1.xml"),
            ("", "xl/workbook.xml", "xl/workbook.xml"),
            ("", "./xl\\workbook.xml", "xl/workbook.xml"),
            ("workbook.xml", "../sheet.xml", "sheet.xml"),
        ] {
            assert_eq!(resolved(part, target), expected);
        }
        assert_eq!(relations_part("xl/workbook.xml"), "xl/_rels/workbook.xml.rels");
        assert_eq!(relations_part(""), "_rels/.rels");
        assert_eq!(percent_decoded("a%20b%zz").unwrap(), "a b%zz");
    }
}
