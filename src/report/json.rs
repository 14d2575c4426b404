//! The whole report as JSON, for machines.
//!
//! Its values are those of the report; fields that are sensitive are masked. Characters that could move a terminal's cursor
//! or turn its text around are written as `\u` escapes, which every reader of JSON undoes: the document may be printed.

use std::fmt::Write as _;

use super::{Report, masked::masked, shown};

/// The report as an indented JSON object with a newline at its end. The order of its members never changes.
pub fn render(report: &Report) -> String {
    let report = masked(report);
    // Every map of a report has text or unit-variant keys, so that serialising it cannot fail.
    let json = serde_json::to_string_pretty(report.as_ref()).unwrap_or_else(|failure| format!("{{\"error\": {:?}}}", failure.to_string()));
    let mut text = String::with_capacity(json.len() + 1);
    for character in json.chars() {
        // A line feed between members is layout; within a text it is already escaped.
        if character != '\n' && shown::is_hidden(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(character);
        }
    }
    text.push('\n');
    text
}
