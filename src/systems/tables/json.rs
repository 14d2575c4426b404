//! JSON files as tables of text: one array of objects, or objects one after the other, as in a line each.
//!
//! A member of an object within an object is the column `outer.inner`. An array is its own text. A number is spelled with the digits that
//! it has, without zeros behind its decimals.
//!
//! # Design
//! - A file is read twice: for the names of all columns, then for the rows. One record at a time is held.
//! - Numbers are never made ones: an amount of thirty digits comes out with thirty.
//! - Twice the same name in one object has no meaning, and stops the comparison.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use super::Spelling;
use crate::diagnostic::Place;
use crate::error::{Error, Remedy};
use crate::systems::csv::places::{NOTHING, unreadable_file};

/// Objects are this deep at most.
const DEPTH_MAX: usize = 64;

/// Why a text is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bad {
    at: usize,
    why: String,
}

/// Spells all records of a file.
///
/// # Errors
/// `Look` if it is no JSON of objects; `GiveAccess` if it cannot be read.
pub(super) fn spell(file: &File, origin: &str, spelling: &mut Spelling) -> Result<(), Error> {
    let mut names: Vec<String> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    each_record(file, origin, &mut |members| {
        for (name, _) in members {
            if !places.contains_key(&name) {
                places.insert(name.clone(), names.len());
                names.push(name);
            }
        }
        Ok(())
    })?;
    if names.is_empty() {
        return Err(Error::new(Remedy::Look, Place::of(origin), "there is no record in the file")
            .seen(NOTHING)
            .hint("a record is an object with members: export the file again"));
    }
    spelling.header(names.iter().map(String::as_str))?;
    let mut number = 0;
    each_record(file, origin, &mut |members| {
        let mut cells = vec![String::new(); names.len()];
        for (name, said) in members {
            if let Some(place) = places.get(&name) {
                cells[*place] = said;
            }
        }
        number += 1;
        spelling.row(number, cells.iter().map(String::as_str))
    })
}

/// Calls `take` with the members of each record, in the order of the file.
fn each_record(mut file: &File, origin: &str, take: &mut dyn FnMut(Vec<(String, String)>) -> Result<(), Error>) -> Result<(), Error> {
    let failed = |error: std::io::Error| unreadable_file(origin, &error);
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut record: Vec<u8> = Vec::new();
    let (mut line, mut line_of_record) = (1, 1);
    let (mut depth, mut in_text, mut is_escaped, mut in_array, mut is_over) = (0_usize, false, false, None, false);
    let bad = |line: u64, why: &str| {
        Error::new(Remedy::Look, Place::of(origin).line(line), "the file cannot be read as records")
            .seen(why)
            .seen(NOTHING)
            .hint("a file of records is one array of objects, or one object a line")
    };
    let mut at = 0_u64;
    for byte in BufReader::with_capacity(1 << 18, file).bytes() {
        let byte = byte.map_err(failed)?;
        at += 1;
        if at <= 3 && byte == [0xef, 0xbb, 0xbf][at as usize - 1] && record.is_empty() {
            continue;
        }
        line += u64::from(byte == b'\n');
        if depth == 0 {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {}
                b'[' if in_array.is_none() => in_array = Some(true),
                b',' if in_array == Some(true) && !is_over => {}
                b']' if in_array == Some(true) && !is_over => is_over = true,
                b'{' if !is_over => {
                    in_array.get_or_insert(false);
                    (depth, line_of_record) = (1, line);
                    record.push(byte);
                }
                _ => return Err(bad(line, "where a record should begin stands something else")),
            }
            continue;
        }
        record.push(byte);
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => depth += 1,
            b'}' | b']' if !in_text => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let text = std::str::from_utf8(&record).map_err(|_| bad(line_of_record, "it is not text in UTF-8"))?;
            let members = members_of(text).map_err(|problem| {
                bad(line_of_record + text.as_bytes()[..problem.at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() as u64, &problem.why)
            })?;
            take(members)?;
            record.clear();
        }
    }
    if depth > 0 || in_array == Some(true) && !is_over {
        return Err(bad(line, "it ends within a record or array: it looks cut off"));
    }
    Ok(())
}

/// The members of an object with their texts, those of objects within it among them.
fn members_of(text: &str) -> Result<Vec<(String, String)>, Bad> {
    let mut parser = Parser { text, at: 0 };
    let mut members = Vec::new();
    parser.object("", &mut members, 0)?;
    let mut seen = std::collections::BTreeSet::new();
    match members.iter().find(|(name, _)| !seen.insert(name.as_str())) {
        Some((name, _)) => Err(Bad { at: 0, why: format!("a record has the member `{}` more than once", crate::systems::shown(name)) }),
        None => Ok(members),
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl Parser<'_> {
    fn bad<T>(&self, why: &str) -> Result<T, Bad> {
        Err(Bad { at: self.at, why: why.to_owned() })
    }

    fn next(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
        self.text.as_bytes().get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Result<(), Bad> {
        if self.next() != Some(byte) {
            return self.bad(&format!("a `{}` is missing", char::from(byte)));
        }
        self.at += 1;
        Ok(())
    }

    fn object(&mut self, before: &str, members: &mut Vec<(String, String)>, depth: usize) -> Result<(), Bad> {
        if depth > DEPTH_MAX {
            return self.bad("its objects are too deep");
        }
        self.expect(b'{')?;
        if self.next() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let name = format!("{before}{}", self.string()?);
            self.expect(b':')?;
            if self.next() == Some(b'{') {
                self.object(&format!("{name}."), members, depth + 1)?;
            } else {
                let said = self.value(depth)?;
                members.push((name, said));
            }
            match self.next() {
                Some(b',') => self.at += 1,
                _ => return self.expect(b'}'),
            }
        }
    }

    /// What a value that is no object says.
    fn value(&mut self, depth: usize) -> Result<String, Bad> {
        match self.next() {
            Some(b'"') => self.string(),
            Some(b'[') => {
                let from = self.at;
                self.skip(depth)?;
                // Proved to be JSON by another reader: an array is only told as it stands.
                let compact = serde_json::from_str::<serde_json::Value>(&self.text[from..self.at]).map(|value| value.to_string());
                compact.or_else(|_| self.bad("an array is not in order"))
            }
            _ => {
                let rest = &self.text[self.at..];
                let length = rest.bytes().take_while(|byte| !matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n')).count();
                let word = &rest[..length];
                let said = match word {
                    "null" => String::new(),
                    "true" | "false" => word.to_owned(),
                    _ => match number(word) {
                        Some(number) => number,
                        None => return self.bad("a value is no JSON"),
                    },
                };
                self.at += length;
                Ok(said)
            }
        }
    }

    /// Goes to the end of an array.
    fn skip(&mut self, depth: usize) -> Result<(), Bad> {
        let (mut open, mut in_text, mut is_escaped) = (depth, false, false);
        for (at, byte) in self.text.bytes().enumerate().skip(self.at) {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if in_text => is_escaped = true,
                b'"' => in_text = !in_text,
                b'[' | b'{' if !in_text => open += 1,
                b']' | b'}' if !in_text => open -= 1,
                _ => {}
            }
            if open > depth + DEPTH_MAX {
                return self.bad("its arrays are too deep");
            }
            if open == depth && !in_text {
                self.at = at + 1;
                return Ok(());
            }
        }
        self.bad("an array does not end")
    }

    fn string(&mut self) -> Result<String, Bad> {
        if self.next() != Some(b'"') {
            return self.bad("a name or text is missing");
        }
        let bytes = self.text.as_bytes();
        let mut end = self.at + 1;
        while bytes.get(end).is_some_and(|byte| *byte != b'"') {
            end += 1 + usize::from(bytes[end] == b'\\');
        }
        let Some(raw) = self.text.get(self.at..=end) else { return self.bad("a text does not end") };
        let Ok(text) = serde_json::from_str(raw) else { return self.bad("a text is not in order") };
        self.at = end + 1;
        Ok(text)
    }
}

/// A number with no more decimals than it needs; nothing if the word is no number.
fn number(word: &str) -> Option<String> {
    serde_json::from_str::<serde_json::Number>(word).ok()?;
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'));
    let short = if is_plain && word.contains('.') { word.trim_end_matches('0').trim_end_matches('.') } else { word };
    Some(if short == "-0" { "0".to_owned() } else { short.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_columns() {
        let members = |text: &str| {
            let members = members_of(text).map_err(|bad| bad.why)?;
            Ok::<_, String>(members.into_iter().map(|(name, said)| format!("{name}={said}")).collect::<Vec<_>>().join(" "))
        };
        for (text, expected) in [
            (r#"{"a": 1.50, "b": "x\u00fc\n", "c": null, "d": true}"#, "a=1.5 b=xü\n c= d=true"),
            (r#"{"a": {"b": {"c": "deep"}}, "e": {}}"#, "a.b.c=deep"),
            (r#"{"a": [1, {"b": 2}]}"#, r#"a=[1,{"b":2}]"#),
            (r#"{"a": 123456789012345678901234567890.10, "b": -0.0, "c": 100}"#, "a=123456789012345678901234567890.1 b=0 c=100"),
            ("{}", ""),
        ] {
            assert_eq!(members(text).as_deref(), Ok(expected), "{text}");
        }
        for text in [r#"{"a": 1, "a": 2}"#, r#"{"a": 01}"#, r#"{"a" 1}"#, r#"{"a": nul}"#, r#"{"a": "\x"}"#, r#"{"a": [1}"#, r#"{"a": 1"#] {
            assert!(members(text).is_err(), "{text}");
        }
        assert!(members(&format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200))).is_err());
    }
}
