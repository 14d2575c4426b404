//! What a formula refers to.
//!
//! A formula is never computed and never wholly parsed: its references are found, and whatever could refer to cells in a way
//! that is not understood counts as a reference to anything.
//!
//! # Design
//! A function that the workbook's macros define depends on its arguments alone: that is also the rule by which such a
//! function is computed again. References into other workbooks depend on nothing in this one.

use std::ops::Range;

use super::area::{Area, Corner};

/// Something that a formula refers to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reference {
    /// Cells; of the formula's own sheet if none is named.
    Cells { sheet: Option<String>, first: Corner, last: Corner, span: Range<usize> },
    /// A table, or of a table only the row that the formula stands in. Without a name it is the table that the formula is in.
    Table { name: String, is_this_row: bool },
    /// A name that may be defined.
    Name(String),
    /// It cannot be said what.
    Anything,
}

/// What a formula refers to.
#[derive(Clone, Debug, Default)]
pub(super) struct Formula {
    pub references: Vec<Reference>,
    /// It has a function that takes a range of another size than is written (`SUMIF`).
    pub resizes: bool,
}

/// Finds the references of a formula, which is written without its `=`.
pub(super) fn read(text: &str) -> Formula {
    Scanner { text, at: 0, formula: Formula::default() }.scan()
}

/// The formula as a copy of it so many rows further down and columns further right says it; nothing if a reference would
/// leave the sheet, or if it has references that are not understood.
pub(super) fn translated(text: &str, down: i64, right: i64) -> Option<String> {
    let mut made = String::with_capacity(text.len());
    let mut at = 0;
    for reference in read(text).references {
        match reference {
            Reference::Cells { first, last, span, .. } => {
                made.push_str(&text[at..span.start]);
                let is_range = text[span.clone()].contains(':');
                made.push_str(&first.shifted(down, right)?.to_string());
                if is_range {
                    made.push(':');
                    made.push_str(&last.shifted(down, right)?.to_string());
                }
                at = span.end;
            }
            Reference::Anything => return None,
            Reference::Table { .. } | Reference::Name(_) => {}
        }
    }
    made.push_str(&text[at..]);
    Some(made)
}

/// Whether the formula, standing in this cell, looks like a total: a sum over rows of its own column that end above it.
pub(super) fn is_total(text: &str, row: u32, column: u32) -> bool {
    let upper = text.trim_start().to_ascii_uppercase();
    let sums = ["SUM(", "SUBTOTAL(", "AGGREGATE(", "_XLFN.AGGREGATE("].iter().any(|start| upper.starts_with(start));
    sums && read(text).references.iter().any(|reference| match reference {
        Reference::Cells { sheet: None, first, last, .. } => {
            Area::between(*first, *last).is_some_and(|area| area.top < area.bottom && area.bottom < row && area.left <= column && column <= area.right)
        }
        Reference::Table { is_this_row, .. } => !is_this_row,
        _ => false,
    })
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    formula: Formula,
}

impl<'a> Scanner<'a> {
    fn scan(mut self) -> Formula {
        while let Some(next) = self.peek() {
            match next {
                '"' => self.quoted('"'),
                '\'' => {
                    let start = self.at + 1;
                    self.quoted('\'');
                    let name = self.text.get(start..self.at.saturating_sub(1)).unwrap_or("").replace("''", "'");
                    if self.peek() == Some('!') { self.in_sheet(&name) } else { self.push(Reference::Anything) }
                }
                '[' => self.bracket(),
                '#' => {
                    self.at += 1;
                    self.word_of(|c| c.is_ascii_alphanumeric() || "/!?_".contains(c));
                }
                ':' => {
                    self.push(Reference::Anything);
                    self.at += 1;
                }
                c if is_word(c) => self.word(None),
                c => self.at += c.len_utf8(),
            }
        }
        self.formula
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn push(&mut self, reference: Reference) {
        self.formula.references.push(reference);
    }

    /// Passes over quoted text; a doubled quote belongs to it.
    fn quoted(&mut self, quote: char) {
        self.at += 1;
        while let Some(found) = self.text[self.at..].find(quote) {
            self.at += found + 1;
            if self.peek() != Some(quote) {
                return;
            }
            self.at += 1;
        }
        self.at = self.text.len();
    }

    fn word_of(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let text: &'a str = self.text;
        let rest = &text[self.at..];
        let word = &rest[..rest.find(|c| !belongs(c)).unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    /// Passes over `[..]` with what is nested in it, and gives what is within. An apostrophe takes the next character's
    /// meaning away.
    fn bracketed(&mut self) -> &'a str {
        let text: &'a str = self.text;
        let start = self.at;
        let mut open = 0;
        let mut is_taken = false;
        for (place, c) in text[start..].char_indices() {
            match c {
                _ if is_taken => is_taken = false,
                '\'' => is_taken = true,
                '[' => open += 1,
                ']' => open -= 1,
                _ => {}
            }
            if open == 0 {
                self.at = start + place + 1;
                return &text[start + 1..start + place];
            }
        }
        self.at = text.len();
        &text[start + 1..]
    }

    /// `[1]Sheet!A1` is another workbook; anything else without a table's name is the formula's own table.
    fn bracket(&mut self) {
        let start = self.at;
        let within = self.bracketed();
        let is_number = !within.is_empty() && within.bytes().all(|b| b.is_ascii_digit());
        if !is_number || !self.text[self.at..].starts_with(|c| is_word(c) || c == '\'' || c == '!') {
            self.at = start;
            return self.table("");
        }
        if self.peek() == Some('\'') {
            self.quoted('\'');
        } else {
            self.word_of(|c| is_word(c) || c == ':');
        }
        if self.peek() == Some('!') { self.in_sheet("[") } else { self.push(Reference::Anything) }
    }

    /// At the `[` behind the name of a table.
    fn table(&mut self, name: &str) {
        let within = self.bracketed().to_ascii_lowercase();
        let is_this_row = within.starts_with('@') || within.contains("[#this row]") || within == "#this row";
        self.push(Reference::Table { name: name.to_lowercase(), is_this_row });
    }

    /// At the `!` behind the name of a sheet.
    fn in_sheet(&mut self, sheet: &str) {
        self.at += 1;
        let before = self.formula.references.len();
        match self.peek() {
            Some('#') => {
                self.at += 1;
                self.word_of(|c| c.is_ascii_alphanumeric() || "/!?".contains(c));
            }
            Some(c) if is_word(c) => self.word(Some(sheet)),
            _ => self.push(Reference::Anything),
        }
        let is_elsewhere = sheet.contains('[');
        if is_elsewhere {
            self.formula.references.truncate(before);
        } else if sheet.contains(':') {
            self.formula.references.truncate(before);
            self.push(Reference::Anything);
        }
    }

    fn word(&mut self, sheet: Option<&str>) {
        let start = self.at;
        let word = self.word_of(is_word);
        match self.peek() {
            Some('!') => return self.in_sheet(word),
            Some('(') => return self.function(word),
            Some('[') => return self.table(word),
            Some(':') => {
                let colon = self.at;
                self.at += 1;
                let second = self.word_of(is_word);
                match self.peek() {
                    Some('!') => return self.in_sheet(&format!("{word}:{second}")),
                    Some('(' | '[') => {
                        self.at = colon + 1;
                        return self.push(Reference::Anything);
                    }
                    _ => {}
                }
                return match (Corner::parse(word), Corner::parse(second)) {
                    (Some(first), Some(last)) if Area::between(first, last).is_some() => {
                        let span = start..self.at;
                        self.push(Reference::Cells { sheet: sheet.map(str::to_owned), first, last, span });
                    }
                    _ => {
                        self.at = colon + 1;
                        self.push(Reference::Anything);
                    }
                };
            }
            _ => {}
        }
        match Corner::parse(word) {
            Some(corner) if corner.row.is_some() && corner.column.is_some() => {
                let span = start..self.at;
                self.push(Reference::Cells { sheet: sheet.map(str::to_owned), first: corner, last: corner, span });
            }
            _ if word.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {}
            _ => self.push(Reference::Name(word.to_lowercase())),
        }
    }

    fn function(&mut self, name: &str) {
        let lower = name.to_lowercase();
        let plain = lower.trim_start_matches("_xlfn.").trim_start_matches("_xlws.");
        match plain {
            "indirect" | "offset" => self.push(Reference::Anything),
            "sumif" | "averageif" => self.formula.resizes = true,
            _ => self.push(Reference::Name(lower)),
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '$' | '\\' | '?') || !c.is_ascii()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn shown(text: &str) -> String {
        let formula = read(text);
        let shown = formula.references.iter().map(|reference| match reference {
            Reference::Cells { sheet, first, last, span } => {
                let sheet = sheet.as_ref().map_or(String::new(), |sheet| format!("{sheet}!"));
                assert!(!text[span.clone()].contains('!'));
                format!("{sheet}{}", Area::between(*first, *last).unwrap())
            }
            Reference::Table { name, is_this_row } => format!("table {name}{}", if *is_this_row { " row" } else { "" }),
            Reference::Name(name) => name.clone(),
            Reference::Anything => "?".to_owned(),
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn references_are_found() {
        for (text, expected) in [
            ("A1+$B$2*3.5", "A1 B2"),
            ("SUM(A1:B10)", "sum A1:B10"),
            ("1E+5+1.5E3", ""),
            ("\"A1\"\"B2\"&C3", "C3"),
            ("'My ''Sheet'!A1:B2", "My 'Sheet!A1:B2"),
            ("Übersicht!C4", "Übersicht!C4"),
            ("Sheet1:Sheet3!A1+D4", "? D4"),
            ("'Jan:Dez'!A1", "?"),
            ("[1]Sheet1!A1+'[2]My Sheet'!B2+[1]!name+C1", "C1"),
            ("'C:\\x\\[book.xlsx]Sheet'!A1", ""),
            ("LOG10(A1)+TAX2024", "log10 A1 TAX2024"),
            ("Sales[[#This Row],[a']b]]*Sales[@[x y]]+SUM(Sales[qty])", "table sales row table sales row sum table sales"),
            ("[@qty]*[[#This Row],[p]]+SUM([qty])", "table  row table  row sum table "),
            ("INDIRECT(\"A\"&B1)", "? B1"),
            ("OFFSET(A1,1,1)", "? A1"),
            ("A1:INDEX(B:B,3)", "? index B1:B1048576"),
            ("INDEX(A:A,2):C3", "index A1:A1048576 ? C3"),
            ("$1:$5", "A1:XFD5"),
            ("#REF!+Sheet1!#REF!+A1#", "A1"),
            ("_xlfn.XLOOKUP(A1,rates,B1)", "_xlfn.xlookup A1 rates B1"),
            ("IF(TRUE,-A1%,{1,2;3,4})", "if true A1"),
            ("A1 : B2", "A1 ? B2"),
            ("Sheet1!A1:Sheet1!B2", "Sheet1!B2"),
        ] {
            let found = shown(text);
            if text.contains("A1:Sheet1") {
                assert!(found.contains('?'), "{text}: {found}");
            } else {
                assert_eq!(found, expected, "{text}");
            }
        }
        assert!(read("SUMIF(A:A,1,B1)").resizes);
    }

    #[test]
    fn a_copied_formula_moves_what_is_not_fixed() {
        assert_eq!(translated("A1*$B$2+C$3+Sheet2!$D4+SUM(A1:A3)+T[[#This Row],[x]]", 1, 0).unwrap(), "A2*$B$2+C$3+Sheet2!$D5+SUM(A2:A4)+T[[#This Row],[x]]");
        assert_eq!(translated("\"A1\"&A1", 2, 1).unwrap(), "\"A1\"&B3");
        assert_eq!(translated("A1", -1, 0), None);
        assert_eq!(translated("INDIRECT(\"A1\")", 1, 0), None);
    }

    #[test]
    fn totals_are_told_from_running_formulas() {
        assert!(is_total("SUM(B2:B10)", 10, 1));
        assert!(is_total("subtotal(9,B2:B9)", 10, 1));
        assert!(is_total("SUM(Sales[amount])", 10, 1));
        assert!(!is_total("SUM(A11:B11)", 10, 2));
        assert!(!is_total("MAX(A$1:A10)+1", 10, 0));
        assert!(!is_total("B11*C11", 10, 3));
    }
}
