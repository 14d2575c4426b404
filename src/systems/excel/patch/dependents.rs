//! Which formulas may show something else after some cells were edited.
//!
//! # Design
//! Only those lose their computed value. A workbook in which every formula has lost it reads as empty for everybody who does
//! not compute (the next night's pull among them) until a person has opened and saved it; a formula that keeps the value of
//! yesterday is a wrong number that nobody sees. The answer may name a formula too many, never one too few: what is not
//! understood depends on everything, and when the search would take too long every formula counts.

use hashbrown::HashMap;

use super::area::{Area, COLUMNS, Corner};
use super::formula::{self, Formula, Reference};

/// After so many comparisons every formula that refers to anything counts as dependent.
const COMPARISONS_MAX: usize = 200_000_000;

/// An area that is looked up cell by cell has at most so many cells.
const CELLS_MAX: u64 = 4096;

/// What names mean in a workbook. Sheets are counted in the workbook's order.
#[derive(Debug, Default)]
pub(super) struct Names {
    sheets: HashMap<String, u32>,
    tables: HashMap<String, (u32, Area)>,
    defined: HashMap<String, Meaning>,
}

/// The cells that a defined name stands for; none: it cannot be said.
#[derive(Clone, Debug, Default)]
struct Meaning {
    areas: Vec<(u32, Area)>,
    is_anything: bool,
}

impl Names {
    /// `defined` are names with their scope and their formula; a name of several scopes means all of them.
    pub fn new(sheets: &[&str], tables: impl Iterator<Item = (String, u32, Area)>, defined: &[(String, Option<u32>, String)]) -> Names {
        let mut names = Names {
            sheets: sheets.iter().zip(0..).map(|(name, number)| (name.to_lowercase(), number)).collect(),
            tables: tables.map(|(name, sheet, area)| (name.to_lowercase(), (sheet, area))).collect(),
            defined: HashMap::new(),
        };
        let read: Vec<_> = defined.iter().map(|(name, scope, text)| (name.to_lowercase(), *scope, formula::read(text))).collect();
        // A name may stand for other names: a few rounds resolve them, a circle of names stays "anything".
        let known: HashMap<&str, ()> = read.iter().map(|(name, _, _)| (name.as_str(), ())).collect();
        for _ in 0..read.len().min(8) + 1 {
            let mut next: HashMap<String, Meaning> = HashMap::with_capacity(read.len());
            for (name, scope, formula) in &read {
                let meaning = next.entry(name.clone()).or_default();
                for reference in &formula.references {
                    match reference {
                        Reference::Cells { sheet, first, last, .. } => {
                            let sheet = sheet.as_ref().map_or(*scope, |sheet| names.sheets.get(&sheet.to_lowercase()).copied());
                            match (sheet, Area::between(*first, *last)) {
                                (Some(sheet), Some(area)) if first.is_fixed() && last.is_fixed() => meaning.areas.push((sheet, area)),
                                _ => meaning.is_anything = true,
                            }
                        }
                        Reference::Table { name, .. } => match names.tables.get(name) {
                            Some(table) => meaning.areas.push(*table),
                            None => meaning.is_anything = true,
                        },
                        Reference::Name(other) => match (names.tables.get(other), names.defined.get(other)) {
                            (Some(table), _) => meaning.areas.push(*table),
                            (None, Some(known)) => {
                                meaning.areas.extend_from_slice(&known.areas);
                                meaning.is_anything |= known.is_anything;
                            }
                            (None, None) => meaning.is_anything |= known.contains_key(other.as_str()),
                        },
                        Reference::Anything => meaning.is_anything = true,
                    }
                }
                meaning.areas.sort_unstable();
                meaning.areas.dedup();
            }
            names.defined = next;
        }
        names
    }

    /// The table of a name; without a name the one that a cell is in.
    fn table(&self, name: &str, sheet: u32, cell: (u32, u32)) -> Option<&(u32, Area)> {
        match name {
            "" => self.tables.values().find(|(of, area)| *of == sheet && area.contains(cell.0, cell.1)),
            name => self.tables.get(name),
        }
    }
}

/// A formula and the cells that it fills.
#[derive(Clone, Copy, Debug)]
struct Node {
    sheet: u32,
    area: Area,
}

/// All formulas of a workbook and what they refer to.
#[derive(Debug)]
pub(super) struct Dependents {
    names: Names,
    nodes: Vec<Node>,
    /// References to one cell: the cell, as one number, and the formula.
    cells: Vec<(u64, u32)>,
    /// References to several cells.
    areas: Vec<(u32, Area, u32)>,
    /// Formulas of which it cannot be said what they refer to.
    anything: Vec<u32>,
}

/// The cells of one sheet whose formulas may show something else now.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Outdated {
    /// Cells with a formula, in the order of rows and columns.
    cells: Vec<(u32, u32)>,
    /// What array formulas and data tables fill.
    areas: Vec<Area>,
}

impl Outdated {
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.areas.is_empty()
    }

    pub fn contains(&self, row: u32, column: u32) -> bool {
        self.cells.binary_search(&(row, column)).is_ok() || self.areas.iter().any(|area| area.contains(row, column))
    }
}

impl Dependents {
    pub fn new(names: Names) -> Dependents {
        Dependents { names, nodes: Vec::new(), cells: Vec::new(), areas: Vec::new(), anything: Vec::new() }
    }

    /// Adds a formula that stands at `cell` of a sheet and fills `area`. What it refers to is written as it would be in
    /// another cell, so far above and to the left.
    pub fn add(&mut self, sheet: u32, cell: (u32, u32), area: Area, formula: &Formula, (down, right): (i64, i64)) {
        let node = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.nodes.push(Node { sheet, area });
        let mut found: Vec<(u32, Area)> = Vec::with_capacity(formula.references.len());
        let mut is_anything = false;
        for reference in &formula.references {
            match reference {
                Reference::Cells { sheet: named, first, last, .. } => {
                    let sheet = named.as_ref().map_or(Some(sheet), |named| self.names.sheets.get(&named.to_lowercase()).copied());
                    let shifted = |corner: &Corner| corner.shifted(down, right);
                    match (sheet, shifted(first).zip(shifted(last)).and_then(|(first, last)| Area::between(first, last))) {
                        (Some(sheet), Some(area)) => found.push((sheet, area)),
                        _ => is_anything = true,
                    }
                }
                Reference::Table { name, is_this_row } => match self.names.table(name, sheet, cell) {
                    Some((table_sheet, area)) if *is_this_row => found.push((*table_sheet, Area { top: cell.0, bottom: cell.0, ..*area })),
                    Some(table) => found.push(*table),
                    None => is_anything = true,
                },
                Reference::Name(name) => {
                    found.extend(self.names.tables.get(name));
                    if let Some(meaning) = self.names.defined.get(name) {
                        found.extend_from_slice(&meaning.areas);
                        is_anything |= meaning.is_anything;
                    }
                }
                Reference::Anything => is_anything = true,
            }
        }
        if formula.resizes {
            let rows = found.iter().map(|(_, area)| area.bottom - area.top).max().unwrap_or(0);
            let columns = found.iter().map(|(_, area)| area.right - area.left).max().unwrap_or(0);
            for (_, area) in &mut found {
                area.bottom = area.bottom.max(area.top.saturating_add(rows));
                area.right = area.right.max(area.left.saturating_add(columns));
            }
        }
        if is_anything {
            self.anything.push(node);
            return;
        }
        for (sheet, area) in found {
            if (area.top, area.left) == (area.bottom, area.right) {
                self.cells.push((one_number(sheet, area.top, area.left), node));
            } else {
                self.areas.push((sheet, area, node));
            }
        }
    }

    /// The formulas that may show something else after these cells were edited, by sheet.
    pub fn outdated(mut self, edited: &[(u32, u32, u32)]) -> HashMap<u32, Outdated> {
        if edited.is_empty() {
            return HashMap::new();
        }
        self.cells.sort_unstable();
        self.areas.sort_unstable();
        let is_outdated = self.search(edited);
        let mut by_sheet: HashMap<u32, Outdated> = HashMap::new();
        for (node, _) in self.nodes.iter().zip(&is_outdated).filter(|(_, is)| **is) {
            let outdated = by_sheet.entry(node.sheet).or_default();
            if (node.area.top, node.area.left) == (node.area.bottom, node.area.right) {
                outdated.cells.push((node.area.top, node.area.left));
            } else {
                outdated.areas.push(node.area);
            }
        }
        for outdated in by_sheet.values_mut() {
            outdated.cells.sort_unstable();
        }
        by_sheet
    }

    fn search(&self, edited: &[(u32, u32, u32)]) -> Vec<bool> {
        let mut is_outdated = vec![false; self.nodes.len()];
        let mut queue: Vec<(u32, Area)> = edited.iter().map(|(sheet, row, column)| (*sheet, Area::cell(*row, *column))).collect();
        for node in &self.anything {
            is_outdated[*node as usize] = true;
            queue.push((self.nodes[*node as usize].sheet, self.nodes[*node as usize].area));
        }
        // Areas that were not met yet, by sheet; each with where its formulas begin among all areas.
        let mut left: HashMap<u32, Vec<(Area, usize)>> = HashMap::new();
        for (at, (sheet, area, _)) in self.areas.iter().enumerate() {
            if at == 0 || (self.areas[at - 1].0, self.areas[at - 1].1) != (*sheet, *area) {
                left.entry(*sheet).or_default().push((*area, at));
            }
        }
        let mut comparisons = 0usize;
        let mut met: Vec<u32> = Vec::new();
        while let Some((sheet, area)) = queue.pop() {
            let size = u64::from(area.bottom - area.top + 1) * u64::from(area.right - area.left + 1);
            if size <= CELLS_MAX {
                for row in area.top..=area.bottom {
                    for column in area.left..=area.right {
                        let wanted = one_number(sheet, row, column);
                        let first = self.cells.partition_point(|(cell, _)| *cell < wanted);
                        met.extend(self.cells[first..].iter().take_while(|(cell, _)| *cell == wanted).map(|(_, node)| *node));
                    }
                }
            } else {
                comparisons += self.cells.len();
                met.extend(self.cells.iter().filter(|(cell, _)| lies_in(*cell, sheet, &area)).map(|(_, node)| *node));
            }
            if let Some(left) = left.get_mut(&sheet) {
                comparisons += left.len();
                left.retain(|(other, at)| {
                    let meets = other.meets(&area);
                    if meets {
                        met.extend(self.areas[*at..].iter().take_while(|(s, o, _)| (*s, *o) == (sheet, *other)).map(|(_, _, node)| *node));
                    }
                    !meets
                });
            }
            for node in met.drain(..) {
                if !std::mem::replace(&mut is_outdated[node as usize], true) {
                    queue.push((self.nodes[node as usize].sheet, self.nodes[node as usize].area));
                }
            }
            if comparisons > COMPARISONS_MAX {
                for node in self.cells.iter().map(|(_, node)| node).chain(self.areas.iter().map(|(_, _, node)| node)) {
                    is_outdated[*node as usize] = true;
                }
                break;
            }
        }
        is_outdated
    }
}

fn one_number(sheet: u32, row: u32, column: u32) -> u64 {
    u64::from(sheet) << 34 | u64::from(row) << 14 | u64::from(column)
}

fn lies_in(cell: u64, sheet: u32, area: &Area) -> bool {
    let (row, column) = ((cell >> 14) as u32 & 0xf_ffff, cell as u32 & (COLUMNS - 1));
    cell >> 34 == u64::from(sheet) && area.contains(row, column)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::area::{cell_name, cell_of};
    use super::*;

    /// Formulas of the sheets `S` and `Other S`, and which of them an edit of cells of `S` outdates.
    fn outdated(formulas: &[(u32, &str, &str)], edited: &[&str]) -> String {
        let table = ("Sales".to_owned(), 0, Area::parse("H1:J5").unwrap());
        let defined = [
            ("rate".to_owned(), None, "S!$A$1".to_owned()),
            ("local".to_owned(), Some(0), "$A$1:$A$9".to_owned()),
            ("moving".to_owned(), None, "S!A1".to_owned()),
            ("second".to_owned(), None, "rate*2".to_owned()),
            ("circle".to_owned(), None, "circle+1".to_owned()),
        ];
        let mut dependents = Dependents::new(Names::new(&["S", "Other S"], std::iter::once(table), &defined));
        for (sheet, cell, text) in formulas {
            let (row, column) = cell_of(cell).unwrap();
            dependents.add(*sheet, (row, column), Area::cell(row, column), &formula::read(text), (0, 0));
        }
        let edited: Vec<_> = edited.iter().map(|cell| cell_of(cell).unwrap()).map(|(row, column)| (0, row, column)).collect();
        let found = dependents.outdated(&edited);
        let mut sheets: Vec<_> = found.into_iter().collect();
        sheets.sort_by_key(|(sheet, _)| *sheet);
        let shown = sheets.iter().flat_map(|(sheet, found)| found.cells.iter().map(move |(row, column)| format!("{sheet}:{}", cell_name(*row, *column))));
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_depends_is_found_and_nothing_else() {
        for (formulas, edited, expected) in [
            (vec![(0, "B1", "A1"), (0, "C1", "B1*2"), (1, "A1", "S!C1"), (0, "D1", "A2")], vec!["A1"], "0:B1 0:C1 1:A1"),
            (vec![(0, "B1", "SUM(A1:A9)"), (0, "B2", "SUM(A10:A19)")], vec!["A9"], "0:B1"),
            (vec![(0, "B1", "SUM(A:A)"), (1, "B2", "SUM(A:A)")], vec!["A9"], "0:B1"),
            (
                vec![(1, "B1", "rate"), (1, "B2", "SUM(local)"), (1, "B3", "moving"), (1, "B4", "second"), (1, "B5", "nothing")],
                vec!["A1"],
                "1:B1 1:B2 1:B3 1:B4",
            ),
            (vec![(1, "B1", "rate"), (1, "B3", "moving"), (1, "B5", "circle")], vec!["Z99"], "1:B3 1:B5"),
            (
                vec![
                    (0, "J2", "Sales[[#This Row],[a]]"),
                    (0, "J3", "Sales[[#This Row],[a]]"),
                    (1, "A1", "SUM(Sales[a])"),
                    (0, "J4", "[@a]"),
                    (1, "B1", "[@a]"),
                ],
                vec!["H3"],
                "0:J3 1:A1 1:B1",
            ),
            (vec![(0, "B1", "INDIRECT(\"A1\")"), (0, "B2", "NOW()"), (0, "B3", "unknown[x]")], vec!["Q1"], "0:B1 0:B3"),
            (vec![(0, "D1", "SUMIF(A1:A9,1,B1)"), (0, "D2", "SUM(A1:A9,B1)")], vec!["B7"], "0:D1"),
            (vec![(0, "D1", "[1]S!A1"), (0, "D2", "'other s'!A1"), (0, "D3", "missing!A1")], vec!["A1"], "0:D3"),
            (vec![(0, "B3", "B2+A3"), (0, "B2", "B1+A2"), (0, "B1", "A1")], vec!["A2"], "0:B2 0:B3"),
        ] {
            assert_eq!(outdated(&formulas, &edited), expected, "{formulas:?}");
        }
    }
}
