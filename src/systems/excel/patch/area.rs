//! Cells and rectangles of cells, counted from 0, and their names: `B2`, `A1:D10`.

use std::fmt;

/// Rows and columns that a sheet has.
pub(super) const ROWS: u32 = 1 << 20;
pub(super) const COLUMNS: u32 = 1 << 14;

/// A rectangle of cells; all four bounds belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Area {
    pub top: u32,
    pub left: u32,
    pub bottom: u32,
    pub right: u32,
}

impl Area {
    pub fn cell(row: u32, column: u32) -> Area {
        Area { top: row, left: column, bottom: row, right: column }
    }

    /// `A1` or `A1:D10`, with or without `$`; also `A:D` and `1:10`.
    pub fn parse(text: &str) -> Option<Area> {
        let (first, last) = text.split_once(':').unwrap_or((text, text));
        let (first, last) = (Corner::parse(first)?, Corner::parse(last)?);
        let is_cell = first.row.is_some() && first.column.is_some();
        if !text.contains(':') && !is_cell {
            return None;
        }
        Area::between(first, last)
    }

    /// The rectangle that two corners span; whole rows or columns if both leave the other out.
    pub fn between(first: Corner, last: Corner) -> Option<Area> {
        let side = |first: Option<Bound>, last: Option<Bound>, all: u32| match (first, last) {
            (Some(first), Some(last)) => Some((first.at.min(last.at), first.at.max(last.at))),
            (None, None) => Some((0, all - 1)),
            _ => None,
        };
        let (top, bottom) = side(first.row, last.row, ROWS)?;
        let (left, right) = side(first.column, last.column, COLUMNS)?;
        Some(Area { top, left, bottom, right })
    }

    pub fn meets(&self, other: &Area) -> bool {
        self.top <= other.bottom && other.top <= self.bottom && self.left <= other.right && other.left <= self.right
    }

    pub fn contains(&self, row: u32, column: u32) -> bool {
        self.meets(&Area::cell(row, column))
    }

    pub fn with(&self, other: &Area) -> Area {
        Area { top: self.top.min(other.top), left: self.left.min(other.left), bottom: self.bottom.max(other.bottom), right: self.right.max(other.right) }
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = cell_name(self.top, self.left);
        if (self.top, self.left) == (self.bottom, self.right) { f.write_str(&first) } else { write!(f, "{first}:{}", cell_name(self.bottom, self.right)) }
    }
}

/// A row or column of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub at: u32,
    /// Written with `$`: it stays when the formula is copied.
    pub is_fixed: bool,
}

/// One corner of a reference; without a row it is a whole column, without a column a whole row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Corner {
    pub row: Option<Bound>,
    pub column: Option<Bound>,
}

impl Corner {
    /// `A1`, `$A$1`, `A`, `$7`.
    pub fn parse(text: &str) -> Option<Corner> {
        let (is_fixed, rest) = dollar(text);
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (letters, rest) = rest.split_at(letters);
        let (row_is_fixed, digits) = if letters.is_empty() { (is_fixed, rest) } else { dollar(rest) };
        let column = match letters {
            "" => None,
            _ => Some(Bound { at: column_of(letters)?, is_fixed }),
        };
        let row = match digits {
            "" if row_is_fixed || letters.is_empty() => return None,
            "" => None,
            _ if digits.len() > 7 || !digits.bytes().all(|b| b.is_ascii_digit()) => return None,
            _ => Some(Bound { at: digits.parse::<u32>().ok()?.checked_sub(1).filter(|row| *row < ROWS)?, is_fixed: row_is_fixed }),
        };
        Some(Corner { row, column })
    }

    /// The same corner as a copy of its formula so many rows further down and columns further right has it; nothing if that
    /// is outside of the sheet.
    pub fn shifted(&self, down: i64, right: i64) -> Option<Corner> {
        let moved = |bound: Option<Bound>, by: i64, all: u32| match bound {
            Some(bound) if !bound.is_fixed => {
                let at = u32::try_from(i64::from(bound.at) + by).ok().filter(|at| *at < all)?;
                Some(Some(Bound { at, ..bound }))
            }
            bound => Some(bound),
        };
        Some(Corner { row: moved(self.row, down, ROWS)?, column: moved(self.column, right, COLUMNS)? })
    }

    /// Whether it means the same wherever its formula stands.
    pub fn is_fixed(&self) -> bool {
        self.row.is_none_or(|bound| bound.is_fixed) && self.column.is_none_or(|bound| bound.is_fixed)
    }
}

impl fmt::Display for Corner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dollar = |bound: Bound| if bound.is_fixed { "$" } else { "" };
        if let Some(column) = self.column {
            write!(f, "{}{}", dollar(column), column_name(column.at))?;
        }
        if let Some(row) = self.row {
            write!(f, "{}{}", dollar(row), row.at + 1)?;
        }
        Ok(())
    }
}

fn dollar(text: &str) -> (bool, &str) {
    text.strip_prefix('$').map_or((false, text), |rest| (true, rest))
}

fn column_of(letters: &str) -> Option<u32> {
    if letters.len() > 3 {
        return None;
    }
    let number = letters.bytes().fold(0u32, |number, letter| number * 26 + u32::from(letter.to_ascii_uppercase() - b'A') + 1);
    number.checked_sub(1).filter(|column| *column < COLUMNS)
}

/// `A` for 0, `AA` for 26.
pub(super) fn column_name(column: u32) -> String {
    let mut letters = Vec::new();
    let mut rest = column + 1;
    while rest > 0 {
        letters.push(char::from(b'A' + ((rest - 1) % 26) as u8));
        rest = (rest - 1) / 26;
    }
    letters.iter().rev().collect()
}

/// `B2` for row 1, column 1.
pub(super) fn cell_name(row: u32, column: u32) -> String {
    format!("{}{}", column_name(column), row + 1)
}

/// The row and column of a cell's name.
pub(super) fn cell_of(name: &str) -> Option<(u32, u32)> {
    let corner = Corner::parse(name)?;
    Some((corner.row?.at, corner.column?.at))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for (row, column, name) in [(0, 0, "A1"), (9, 25, "Z10"), (0, 26, "AA1"), (ROWS - 1, COLUMNS - 1, "XFD1048576"), (4, 701, "ZZ5"), (4, 702, "AAA5")] {
            assert_eq!(cell_name(row, column), name);
            assert_eq!(cell_of(name), Some((row, column)));
        }
        for wrong in ["", "A", "1", "A0", "XFE1", "A1048577", "A1B", "A-1", "$", "A$", "ÄA1", "A01234567"] {
            assert_eq!(cell_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn areas_are_read_whole_columns_too() {
        assert_eq!(Area::parse("B2:A1").unwrap().to_string(), "A1:B2");
        assert_eq!(Area::parse("$C$3").unwrap().to_string(), "C3");
        assert_eq!(Area::parse("A:B"), Some(Area { top: 0, left: 0, bottom: ROWS - 1, right: 1 }));
        assert_eq!(Area::parse("2:3"), Some(Area { top: 1, left: 0, bottom: 2, right: COLUMNS - 1 }));
        assert_eq!(Area::parse("A:3"), None);
        assert_eq!(Area::parse("A"), None);
    }
}
