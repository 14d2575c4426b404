//! What must be known of a sheet before it is changed, and what its formulas refer to.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use hashbrown::HashMap;

use super::PatchError;
use super::area::Area;
use super::dependents::Dependents;
use super::formula::{self, Formula, Reference};
use super::markup::Tag;
use super::sheet::{Cell, CellFormula, Visitor};

/// The last row that holds something.
#[derive(Clone, Debug)]
pub(super) struct LastRow<'a> {
    pub row: u32,
    pub tag: Tag<'a>,
    /// The style of each of its cells, as it is written.
    pub styles: Vec<(u32, &'a str)>,
    formulas: Vec<(u32, CellFormula<'a>)>,
}

/// A range of a sheet and the place where it is written.
pub(super) type Placed = (Range<usize>, Area);

/// What a sheet is like.
#[derive(Debug, Default)]
pub(super) struct Survey<'a> {
    pub last: Option<LastRow<'a>>,
    /// The first row that holds something.
    pub first_used: Option<u32>,
    pub is_protected: bool,
    pub dimension: Option<Placed>,
    pub filter: Option<Placed>,
    /// The lists of ranges of conditional formats and validations: their place and what is written there.
    pub rules: Vec<(Range<usize>, &'a str)>,
    pub merged: Vec<Area>,
    /// What array formulas and data tables fill.
    pub filled: Vec<Area>,
    /// First and last column, and the style of their cells.
    pub columns: Vec<(u32, u32, &'a str)>,
    /// The style of each wanted cell that is there.
    pub styles: BTreeMap<(u32, u32), &'a str>,
    /// The formulas that other cells share: text and place.
    shared: HashMap<&'a str, (Cow<'a, str>, u32, u32)>,
    wanted: BTreeSet<(u32, u32)>,
    current_styles: Vec<(u32, &'a str)>,
    current_formulas: Vec<(u32, CellFormula<'a>)>,
    is_used: bool,
}

impl<'a> Survey<'a> {
    /// A survey that also finds out the styles of some cells.
    pub fn new(wanted: BTreeSet<(u32, u32)>) -> Survey<'a> {
        Survey { wanted, ..Survey::default() }
    }

    /// The formulas of the last row that are no array formulas, as they would be written out in that row.
    pub fn last_formulas(&self) -> Vec<(u32, String)> {
        let Some(last) = &self.last else { return Vec::new() };
        let written = |(column, formula): &(u32, CellFormula<'a>)| {
            let kind = formula.tag.said("t").unwrap_or_default();
            if kind == "array" || kind == "dataTable" {
                return None;
            }
            if !formula.text.is_empty() {
                return Some((*column, formula.text.clone().into_owned()));
            }
            let (text, row, first_column) = self.shared.get(formula.tag.attribute("si")?.raw)?;
            let text = formula::translated(text, i64::from(last.row) - i64::from(*row), i64::from(*column) - i64::from(*first_column))?;
            Some((*column, text))
        };
        last.formulas.iter().filter_map(written).collect()
    }
}

impl<'a> Visitor<'a> for Survey<'a> {
    fn around(&mut self, parent: &str, tag: &Tag<'a>) -> Result<(), PatchError> {
        let placed = |name: &str| tag.attribute(name).and_then(|attribute| Some((attribute.value, Area::parse(attribute.raw)?)));
        match (parent, tag.local()) {
            ("", "dimension") => self.dimension = placed("ref"),
            ("", "autoFilter") => self.filter = placed("ref"),
            ("", "sheetProtection") => self.is_protected |= tag.says_yes("sheet"),
            ("", "conditionalFormatting") | ("dataValidations", "dataValidation") => {
                self.rules.extend(tag.attribute("sqref").map(|attribute| (attribute.value, attribute.raw)));
            }
            ("mergeCells", "mergeCell") => self.merged.extend(placed("ref").map(|(_, area)| area)),
            ("cols", "col") => {
                let number = |name: &str| tag.attribute(name).and_then(|attribute| attribute.raw.trim().parse::<u32>().ok()).and_then(|n| n.checked_sub(1));
                if let (Some(first), Some(last), Some(style)) = (number("min"), number("max"), tag.attribute("style")) {
                    self.columns.push((first, last, style.raw));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn row(&mut self, _row: u32, _tag: &Tag<'a>) -> Result<(), PatchError> {
        self.current_styles.clear();
        self.current_formulas.clear();
        self.is_used = false;
        Ok(())
    }

    fn cell(&mut self, cell: &Cell<'a>) -> Result<(), PatchError> {
        let style = cell.tag.attribute("s").map_or("0", |attribute| attribute.raw);
        if self.wanted.contains(&(cell.row, cell.column)) {
            self.styles.insert((cell.row, cell.column), style);
        }
        self.current_styles.push((cell.column, style));
        self.is_used |= cell.is_filled;
        if let Some(formula) = &cell.formula {
            let kind = formula.tag.said("t").unwrap_or_default();
            match kind.as_ref() {
                "array" | "dataTable" => self.filled.extend(formula.tag.said("ref").and_then(|area| Area::parse(&area))),
                "shared" if !formula.text.is_empty() => {
                    if let Some(index) = formula.tag.attribute("si") {
                        self.shared.insert(index.raw, (formula.text.clone(), cell.row, cell.column));
                    }
                }
                _ => {}
            }
            self.current_formulas.push((cell.column, formula.clone()));
        }
        Ok(())
    }

    fn row_end(&mut self, row: u32, tag: &Tag<'a>, _close: Range<usize>) -> Result<(), PatchError> {
        if self.is_used {
            self.first_used.get_or_insert(row);
            let last = self.last.get_or_insert_with(|| LastRow { row, tag: *tag, styles: Vec::new(), formulas: Vec::new() });
            last.row = row;
            last.tag = *tag;
            std::mem::swap(&mut last.styles, &mut self.current_styles);
            std::mem::swap(&mut last.formulas, &mut self.current_formulas);
        }
        Ok(())
    }

    fn rows_end(&mut self, _tag: &Tag<'a>, _close: Range<usize>) -> Result<(), PatchError> {
        Ok(())
    }
}

/// Tells what the formulas of one sheet refer to.
#[derive(Debug)]
pub(super) struct Referring<'d, 'a> {
    pub sheet: u32,
    pub dependents: &'d mut Dependents,
    shared: HashMap<&'a str, (Formula, u32, u32)>,
}

impl<'d, 'a> Referring<'d, 'a> {
    pub fn new(sheet: u32, dependents: &'d mut Dependents) -> Referring<'d, 'a> {
        Referring { sheet, dependents, shared: HashMap::new() }
    }
}

impl<'a> Visitor<'a> for Referring<'_, 'a> {
    fn around(&mut self, _parent: &str, _tag: &Tag<'a>) -> Result<(), PatchError> {
        Ok(())
    }

    fn row(&mut self, _row: u32, _tag: &Tag<'a>) -> Result<(), PatchError> {
        Ok(())
    }

    fn cell(&mut self, cell: &Cell<'a>) -> Result<(), PatchError> {
        let Some(written) = &cell.formula else { return Ok(()) };
        let place = (cell.row, cell.column);
        let own = Area::cell(cell.row, cell.column);
        let anything = || Formula { references: vec![Reference::Anything], resizes: false };
        let area = || written.tag.said("ref").and_then(|area| Area::parse(&area)).unwrap_or(own);
        match written.tag.said("t").unwrap_or_default().as_ref() {
            "array" => self.dependents.add(self.sheet, place, area(), &formula::read(&written.text), (0, 0)),
            "dataTable" => self.dependents.add(self.sheet, place, area(), &anything(), (0, 0)),
            "shared" => {
                let index = written.tag.attribute("si").map_or("", |attribute| attribute.raw);
                if !written.text.is_empty() {
                    let formula = formula::read(&written.text);
                    self.dependents.add(self.sheet, place, own, &formula, (0, 0));
                    self.shared.insert(index, (formula, cell.row, cell.column));
                } else if let Some((formula, row, column)) = self.shared.get(index) {
                    let by = (i64::from(cell.row) - i64::from(*row), i64::from(cell.column) - i64::from(*column));
                    self.dependents.add(self.sheet, place, own, formula, by);
                } else {
                    self.dependents.add(self.sheet, place, own, &anything(), (0, 0));
                }
            }
            _ => self.dependents.add(self.sheet, place, own, &formula::read(&written.text), (0, 0)),
        }
        Ok(())
    }

    fn row_end(&mut self, _row: u32, _tag: &Tag<'a>, _close: Range<usize>) -> Result<(), PatchError> {
        Ok(())
    }

    fn rows_end(&mut self, _tag: &Tag<'a>, _close: Range<usize>) -> Result<(), PatchError> {
        Ok(())
    }
}
