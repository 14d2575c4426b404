//! JSON as text with places: where each value begins and ends, told without making anything of it.
//!
//! Every byte is looked at as RFC 8259 demands, and nothing is corrected. Values that nobody asked for are walked over, however deep
//! they are nested: what is open is kept in a list, never on the stack.

use std::borrow::Cow;

/// Where a value, a key or an element stands in the text: from its first byte up to the one after its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::systems) struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    /// What stands there.
    pub fn of(self, text: &str) -> &str {
        text.get(self.start..self.end).unwrap_or_default()
    }
}

/// Why a text is no JSON, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::systems) struct Problem {
    pub at: usize,
    /// In words that follow the place; nothing where the text just ends too early.
    pub why: Option<&'static str>,
}

/// What sort of value begins with a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::systems) enum Sort {
    Null,
    Boolean,
    Number,
    Text,
    Array,
    Object,
}

impl Sort {
    /// The sort of a value that was walked over.
    pub fn of(value: &str) -> Sort {
        match value.as_bytes().first() {
            Some(b'"') => Sort::Text,
            Some(b'{') => Sort::Object,
            Some(b'[') => Sort::Array,
            Some(b't' | b'f') => Sort::Boolean,
            Some(b'n') | None => Sort::Null,
            Some(_) => Sort::Number,
        }
    }

    /// As messages call it.
    pub fn words(self) -> &'static str {
        match self {
            Sort::Null => "null",
            Sort::Boolean => "true or false",
            Sort::Number => "a number",
            Sort::Text => "a text",
            Sort::Array => "an array",
            Sort::Object => "an object",
        }
    }
}

/// Walks over a text.
#[derive(Clone, Debug)]
pub(in crate::systems) struct Scanner<'t> {
    text: &'t str,
    pub at: usize,
    /// What closes the objects and arrays that are open, the innermost last.
    open: Vec<u8>,
}

impl<'t> Scanner<'t> {
    /// At a place of a text.
    pub fn new(text: &'t str, at: usize) -> Scanner<'t> {
        Scanner { text, at, open: Vec::new() }
    }

    /// The byte here; nothing at the end.
    pub fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn problem<T>(&self, why: &'static str) -> Result<T, Problem> {
        Err(Problem { at: self.at, why: (self.at < self.text.len()).then_some(why) })
    }

    /// Goes over white space.
    pub fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Goes over this byte, which must be here.
    pub fn expect(&mut self, byte: u8, why: &'static str) -> Result<(), Problem> {
        if self.peek() != Some(byte) {
            return self.problem(why);
        }
        self.at += 1;
        Ok(())
    }

    /// Goes over a comma or what closes a container; whether another item follows.
    pub fn goes_on(&mut self, close: u8) -> Result<bool, Problem> {
        self.space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.space();
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            _ => self.problem(if close == b'}' { "a comma or `}` is missing here" } else { "a comma or `]` is missing here" }),
        }
    }

    /// Goes over what opens a container; whether it has any item.
    pub fn enters(&mut self, close: u8) -> bool {
        self.at += 1;
        self.space();
        let has_items = self.peek() != Some(close);
        if !has_items {
            self.at += 1;
        }
        has_items
    }

    /// Goes over a key and its colon, up to the value.
    pub fn key(&mut self) -> Result<Span, Problem> {
        if self.peek() != Some(b'"') {
            return self.problem("the name of a key in quotes is missing here");
        }
        let key = self.string()?;
        self.space();
        self.expect(b':', "a colon is missing here")?;
        self.space();
        Ok(key)
    }

    /// Goes over a text with its quotes.
    fn string(&mut self) -> Result<Span, Problem> {
        let start = self.at;
        self.at += 1;
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                None => return Err(Problem { at: self.text.len(), why: None }),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Span { start, end: self.at });
                }
                Some(b'\\') => match bytes.get(self.at + 1) {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
                    Some(b'u') => {
                        let digits = &bytes[(self.at + 2).min(bytes.len())..(self.at + 6).min(bytes.len())];
                        if !digits.iter().all(u8::is_ascii_hexdigit) {
                            return self.problem("`\\u` needs four hexadecimal digits");
                        }
                        if digits.len() < 4 {
                            return Err(Problem { at: self.text.len(), why: None });
                        }
                        self.at += 6;
                    }
                    None => return Err(Problem { at: self.text.len(), why: None }),
                    Some(_) => return self.problem("after a `\\` in a text stands nothing that it could mean"),
                },
                Some(0..=0x1f) => return self.problem("a text has a line break or another control character, which must be written as `\\n` or the like"),
                Some(_) => self.at += 1,
            }
        }
    }

    fn number(&mut self) -> Result<(), Problem> {
        let length = number_length(&self.text.as_bytes()[self.at..]);
        match length {
            Some(length) => {
                self.at += length;
                match self.peek() {
                    Some(b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-' | b'a'..=b'd' | b'f'..=b'z' | b'A'..=b'D' | b'F'..=b'Z' | b'_') => {
                        self.problem("this is no number of JSON")
                    }
                    _ => Ok(()),
                }
            }
            None if self.text.as_bytes()[self.at..].iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E')) => {
                Err(Problem { at: self.text.len(), why: None })
            }
            None => self.problem("this is no number of JSON"),
        }
    }

    fn word(&mut self, word: &'static str) -> Result<(), Problem> {
        let rest = &self.text.as_bytes()[self.at..];
        if rest.starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(());
        }
        if word.as_bytes().starts_with(rest) {
            return Err(Problem { at: self.text.len(), why: None });
        }
        self.problem("this is no value of JSON")
    }

    /// Goes over a value, whatever is in it.
    pub fn value(&mut self) -> Result<Span, Problem> {
        let start = self.at;
        self.open.clear();
        'value: loop {
            match self.peek() {
                Some(b'{') => {
                    if self.enters(b'}') {
                        self.key()?;
                        self.open.push(b'}');
                        continue;
                    }
                }
                Some(b'[') => {
                    if self.enters(b']') {
                        self.open.push(b']');
                        continue;
                    }
                }
                Some(b'"') => {
                    self.string()?;
                }
                Some(b't') => self.word("true")?,
                Some(b'f') => self.word("false")?,
                Some(b'n') => self.word("null")?,
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b'a'..=b'z' | b'A'..=b'Z') => return self.problem("this is no value of JSON"),
                _ => return self.problem("a value is missing here"),
            }
            while let Some(close) = self.open.last().copied() {
                if self.goes_on(close)? {
                    if close == b'}' {
                        self.key()?;
                    }
                    continue 'value;
                }
                self.open.pop();
            }
            return Ok(Span { start, end: self.at });
        }
    }
}

/// How many bytes of the number that a text begins with; nothing if it begins with none.
fn number_length(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| text[from.min(text.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = usize::from(text.first() == Some(&b'-'));
    match text.get(at) {
        Some(b'0') => at += 1,
        Some(b'1'..=b'9') => at += digits(at),
        _ => return None,
    }
    if text.get(at) == Some(&b'.') {
        let decimals = digits(at + 1);
        if decimals == 0 {
            return None;
        }
        at += 1 + decimals;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at + 1 + sign);
        if exponent == 0 {
            return None;
        }
        at += 1 + sign + exponent;
    }
    Some(at)
}

/// Whether a text is spelled as JSON spells a number.
pub(in crate::systems) fn is_number(text: &str) -> bool {
    number_length(text.as_bytes()) == Some(text.len())
}

/// What a text in quotes says; nothing if it has half of a character.
pub(in crate::systems) fn unquoted(quoted: &str) -> Option<Cow<'_, str>> {
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(quoted).ok().map(Cow::Owned)
}

/// A text in quotes, with nothing escaped that need not be. `is_ascii` escapes whatever is not ASCII.
pub(in crate::systems) fn quoted(text: &str, is_ascii: bool) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    if !is_ascii || quoted.is_ascii() {
        return quoted;
    }
    let mut escaped = String::with_capacity(quoted.len());
    for character in quoted.chars() {
        if character.is_ascii() {
            escaped.push(character);
        } else {
            let mut units = [0; 2];
            character.encode_utf16(&mut units).iter().for_each(|unit| escaped.push_str(&format!("\\u{unit:04x}")));
        }
    }
    escaped
}

/// Adds a value without the white space between its parts.
pub(in crate::systems) fn push_compact(value: &str, compact: &mut Vec<u8>) {
    let bytes = value.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => at += 1,
            b'"' => {
                let start = at;
                at += 1;
                while let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[at..]) {
                    at += found;
                    if bytes[at] == b'"' {
                        break;
                    }
                    at = (at + 2).min(bytes.len());
                }
                at = (at + 1).min(bytes.len());
                compact.extend_from_slice(&bytes[start..at]);
            }
            other => {
                compact.push(*other);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(text: &str) -> Result<usize, Option<&'static str>> {
        Scanner::new(text, 0).value().map(|span| span.end).map_err(|problem| problem.why)
    }

    #[test]
    fn values_are_walked_over_as_the_standard_says() {
        for text in [
            "null",
            "true",
            "false",
            "0",
            "-0",
            "12.50",
            "1e3",
            "-1.5E+10",
            "12345678901234567890.123456789",
            r#""""#,
            r#""a\"b\\\/\u00e9\n""#,
            r#""ü 🦀""#,
            "[]",
            "{}",
            "[1, [2], {}]",
            "{ \"a\" : [ { \"b\" : null } ] , \"c\":{} }",
        ] {
            assert_eq!(scanned(text), Ok(text.len()), "{text}");
            assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text}");
            // Whatever is cut off looks cut off, and not wrong.
            for length in 0..text.len() {
                let Some(cut) = text.get(..length) else { continue };
                if serde_json::from_str::<serde_json::Value>(cut).is_err() {
                    assert_eq!(scanned(cut), Err(None), "{cut}");
                }
            }
        }
        for text in [
            "NaN",
            "Infinity",
            "-Infinity",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "nul!",
            "'a'",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\" 1}",
            "[1 2]",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"a\nb\"",
            "1a",
        ] {
            assert!(scanned(text).is_err_and(|why| why.is_some() || matches!(text, "1." | "1e")), "{text}");
        }
    }

    #[test]
    fn a_hundred_thousand_brackets_are_no_danger() {
        let depth = 100_000;
        let deep = format!("{}1{}", "[{\"a\":".repeat(depth), "}]".repeat(depth));
        assert_eq!(scanned(&deep), Ok(deep.len()));
        assert_eq!(scanned(&deep[..deep.len() - 1]), Err(None));
    }

    #[test]
    fn texts_lose_and_get_their_quotes() {
        assert_eq!(unquoted(r#""a\u00fcb\n""#).as_deref(), Some("aüb\n"));
        assert_eq!(unquoted(r#""\ud83e\udd80""#).as_deref(), Some("🦀"));
        assert_eq!(unquoted(r#""\ud83e""#), None);
        assert_eq!(quoted("ü\"🦀\u{1}", false), "\"ü\\\"🦀\\u0001\"");
        assert_eq!(quoted("ü🦀", true), r#""\u00fc\ud83e\udd80""#);
        let mut compact = Vec::new();
        push_compact("{ \"a b\" : [ 1 ,\n\"x\\\" y\" ] }", &mut compact);
        assert_eq!(compact, br#"{"a b":[1,"x\" y"]}"#);
    }
}
