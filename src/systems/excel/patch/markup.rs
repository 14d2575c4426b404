//! The text of a part as a sequence of marked-up pieces with their places, and changes to it as splices.
//!
//! Nothing is ever serialised again: a part is its former text with some spans replaced, so whatever no splice names stays as
//! it is, to the byte.

use std::borrow::Cow;
use std::ops::Range;

use quick_xml::Reader;
use quick_xml::escape::unescape;
use quick_xml::events::Event;

use super::PatchError;

/// The text of a part.
///
/// # Errors
/// The part is not UTF-8, says that it is something else, or has a document type (which could define entities).
pub(super) fn text<'a>(part: &str, bytes: &'a [u8]) -> Result<&'a str, PatchError> {
    let text = std::str::from_utf8(bytes).map_err(|_| PatchError::new(format!("part `{part}` of the workbook is not UTF-8")))?;
    let declaration = text.trim_start_matches('\u{feff}').strip_prefix("<?xml").and_then(|rest| rest.split("?>").next()).unwrap_or("");
    if let Some((_, encoding)) = declaration.split_once("encoding") {
        let name = encoding.trim_start().trim_start_matches('=').trim_start().trim_matches(['"', '\'']).split(['"', '\'']).next().unwrap_or("");
        let is_right = name.eq_ignore_ascii_case("utf-8") || (name.eq_ignore_ascii_case("us-ascii") && text.is_ascii());
        if !is_right {
            return Err(PatchError::new(format!("part `{part}` of the workbook says that it is `{name}`, not UTF-8")));
        }
    }
    Ok(text)
}

/// An opening or empty tag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag<'a> {
    /// From `<` to `>`.
    pub text: &'a str,
    /// Where it begins in the part.
    pub start: usize,
}

/// One attribute of a tag; places are those of the part.
#[derive(Clone, Debug)]
pub(super) struct Attribute<'a> {
    /// With its prefix.
    pub name: &'a str,
    /// As it is written, without the quotes.
    pub raw: &'a str,
    /// The place of what is between the quotes.
    pub value: Range<usize>,
    /// The place of the attribute with the white space before it.
    pub whole: Range<usize>,
}

impl<'a> Attribute<'a> {
    /// The value, with references resolved.
    pub fn said(&self) -> Cow<'a, str> {
        unescape(self.raw).unwrap_or(Cow::Borrowed(self.raw))
    }
}

impl<'a> Tag<'a> {
    /// The name with its prefix.
    pub fn name(&self) -> &'a str {
        let inner = &self.text[1..];
        inner.split(|c: char| c.is_ascii_whitespace() || c == '/' || c == '>').next().unwrap_or(inner)
    }

    /// The prefix with its colon, or nothing.
    pub fn prefix(&self) -> &'a str {
        let name = self.name();
        &name[..name.find(':').map_or(0, |at| at + 1)]
    }

    /// The name without its prefix.
    pub fn local(&self) -> &'a str {
        &self.name()[self.prefix().len()..]
    }

    /// Where it ends in the part.
    pub fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// Whether it is an element of its own: `<a/>`.
    pub fn is_alone(&self) -> bool {
        self.text.ends_with("/>")
    }

    /// Its attributes in their order.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        let (text, start) = (self.text, self.start);
        let bytes = text.as_bytes();
        let mut at = 1 + self.name().len();
        std::iter::from_fn(move || {
            let before = at;
            let skip = |mut at: usize| {
                while at < bytes.len() && bytes[at].is_ascii_whitespace() {
                    at += 1;
                }
                at
            };
            let name_start = skip(at);
            let name_end = name_start + text.get(name_start..)?.find(|c: char| c.is_ascii_whitespace() || "=/>".contains(c))?;
            let equals = skip(name_end);
            if name_end == name_start || bytes.get(equals) != Some(&b'=') {
                return None;
            }
            let quote_at = skip(equals + 1);
            let quote = *bytes.get(quote_at).filter(|quote| matches!(quote, b'"' | b'\''))?;
            let value_end = quote_at + 1 + text[quote_at + 1..].find(char::from(quote))?;
            at = value_end + 1;
            Some(Attribute {
                name: &text[name_start..name_end],
                raw: &text[quote_at + 1..value_end],
                value: start + quote_at + 1..start + value_end,
                whole: start + before..start + at,
            })
        })
    }

    /// The attribute of exactly this name.
    pub fn attribute(&self, name: &str) -> Option<Attribute<'a>> {
        self.attributes().find(|attribute| attribute.name == name)
    }

    /// The value of the attribute of exactly this name, with references resolved.
    pub fn said(&self, name: &str) -> Option<Cow<'a, str>> {
        self.attribute(name).map(|attribute| attribute.said())
    }

    /// Whether the attribute is there and says yes, as XML Schema writes it.
    pub fn says_yes(&self, name: &str) -> bool {
        self.attribute(name).is_some_and(|attribute| matches!(attribute.raw.trim(), "1" | "true"))
    }
}

/// A piece of a part.
#[derive(Clone, Debug)]
pub(super) enum Piece<'a> {
    /// `<a>`
    Open(Tag<'a>),
    /// `<a/>`
    Alone(Tag<'a>),
    /// `</a>`, with its place.
    Close(Range<usize>),
    /// Characters, with references resolved.
    Characters(Cow<'a, str>),
    /// A comment, a processing instruction, the declaration.
    Other,
}

/// The pieces of a part, one after the other.
pub(super) struct Pieces<'a> {
    part: &'a str,
    text: &'a str,
    reader: Reader<&'a [u8]>,
    skipped: usize,
    /// How many elements are open.
    pub depth: usize,
}

impl<'a> Pieces<'a> {
    pub fn new(part: &'a str, text: &'a str) -> Pieces<'a> {
        let body = text.strip_prefix('\u{feff}').unwrap_or(text);
        Pieces { part, text, reader: Reader::from_str(body), skipped: text.len() - body.len(), depth: 0 }
    }

    /// The next piece, nothing at the end.
    ///
    /// # Errors
    /// The part is not well-formed, or has a document type.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Piece<'a>>, PatchError> {
        let position = |reader: &Reader<&'a [u8]>, skipped: usize| usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX).saturating_add(skipped);
        let start = position(&self.reader, self.skipped);
        let event = self.reader.read_event().map_err(|why| self.broken(&why.to_string()))?;
        let span = start..position(&self.reader, self.skipped);
        let tag =
            || self.text.get(span.clone()).filter(|text| text.starts_with('<')).map(|text| Tag { text, start }).ok_or_else(|| self.broken("a tag is cut"));
        Ok(Some(match event {
            Event::Start(_) => {
                let tag = tag()?;
                self.depth += 1;
                Piece::Open(tag)
            }
            Event::Empty(_) => Piece::Alone(tag()?),
            Event::End(_) => {
                self.depth = self.depth.checked_sub(1).ok_or_else(|| self.broken("an element is closed that was never opened"))?;
                Piece::Close(span)
            }
            Event::Text(said) => match said.into_inner() {
                Cow::Borrowed(said) => Piece::Characters(Cow::Borrowed(said)),
                Cow::Owned(said) => Piece::Characters(Cow::Owned(said)),
            },
            Event::CData(said) => Piece::Characters(Cow::Owned(said.into_inner().into_owned())),
            Event::GeneralRef(_) => {
                let written = self.text.get(span).unwrap_or("");
                Piece::Characters(Cow::Owned(unescape(written).map_err(|why| self.broken(&why.to_string()))?.into_owned()))
            }
            Event::DocType(_) => return Err(PatchError::new(format!("part `{}` of the workbook has a document type", self.part))),
            Event::Eof if self.depth > 0 => return Err(self.broken("it ends too early")),
            Event::Eof => return Ok(None),
            Event::Comment(_) | Event::PI(_) | Event::Decl(_) => Piece::Other,
        }))
    }

    /// After an opening tag: the end of its element, place of the closing tag.
    pub fn skip(&mut self) -> Result<Range<usize>, PatchError> {
        let depth = self.depth;
        loop {
            match self.next()? {
                Some(Piece::Close(span)) if self.depth < depth => return Ok(span),
                Some(_) => {}
                None => return Err(self.broken("it ends too early")),
            }
        }
    }

    /// After an opening tag: all characters of its element, and the place of the closing tag.
    pub fn characters(&mut self) -> Result<(Cow<'a, str>, Range<usize>), PatchError> {
        let depth = self.depth;
        let mut said = Cow::Borrowed("");
        loop {
            match self.next()? {
                Some(Piece::Close(span)) if self.depth < depth => return Ok((said, span)),
                Some(Piece::Characters(more)) if said.is_empty() => said = more,
                Some(Piece::Characters(more)) => said.to_mut().push_str(&more),
                Some(_) => {}
                None => return Err(self.broken("it ends too early")),
            }
        }
    }

    fn broken(&self, why: &str) -> PatchError {
        PatchError::new(format!("part `{}` of the workbook is not well-formed", self.part)).saw(format!("at byte {}: {why}", self.reader.error_position()))
    }
}

/// Spans of a text to be replaced. They never overlap; of several at one place the first given comes first.
#[derive(Debug, Default)]
pub(super) struct Splices {
    list: Vec<(Range<usize>, String)>,
}

impl Splices {
    pub fn replace(&mut self, span: Range<usize>, with: impl Into<String>) {
        self.list.push((span, with.into()));
    }

    pub fn insert(&mut self, at: usize, text: impl Into<String>) {
        self.replace(at..at, text);
    }

    /// The text with all spans replaced; nothing if there are none.
    pub fn apply(mut self, text: &str) -> Option<String> {
        if self.list.is_empty() {
            return None;
        }
        self.list.sort_by_key(|(span, _)| (span.start, span.end));
        let added: usize = self.list.iter().map(|(_, with)| with.len()).sum();
        let mut made = String::with_capacity(text.len() + added);
        let mut at = 0;
        for (span, with) in &self.list {
            made.push_str(&text[at..span.start]);
            made.push_str(with);
            at = span.end;
        }
        made.push_str(&text[at..]);
        Some(made)
    }
}

/// Characters as they stand in an attribute or an element.
pub(super) fn escaped(said: &str) -> Cow<'_, str> {
    quick_xml::escape::escape(said)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_piece_knows_its_place() {
        let text = "\u{feff}<?xml version=\"1.0\"?>\n<a x='1' y = \"&lt;2>\"><!-- <b> --><b/>é&amp;z<![CDATA[<q>]]></a >";
        let mut pieces = Pieces::new("p", text);
        let mut seen = Vec::new();
        while let Some(piece) = pieces.next().unwrap() {
            match piece {
                Piece::Open(tag) | Piece::Alone(tag) => {
                    assert_eq!(&text[tag.start..tag.end()], tag.text);
                    for attribute in tag.attributes() {
                        assert_eq!(&text[attribute.value.clone()], attribute.raw);
                        seen.push(format!("{}={}", attribute.name, attribute.said()));
                        seen.push(text[attribute.whole].to_owned());
                    }
                    seen.push(tag.text.to_owned());
                }
                Piece::Close(span) => seen.push(text[span].to_owned()),
                Piece::Characters(said) => seen.push(said.trim().to_owned()),
                Piece::Other => {}
            }
        }
        seen.retain(|s| !s.is_empty());
        assert_eq!(seen, ["x=1", " x='1'", "y=<2>", " y = \"&lt;2>\"", "<a x='1' y = \"&lt;2>\">", "<b/>", "é", "&", "z", "<q>", "</a >"]);
    }

    #[test]
    fn broken_parts_are_errors() {
        for text in ["<a>", "<a></b>", "<!DOCTYPE a [<!ENTITY x \"y\">]><a/>", "<a>&nope;</a>", "<a", "</a>"] {
            let mut pieces = Pieces::new("p", text);
            let outcome = std::iter::repeat_with(|| pieces.next()).find(|piece| !matches!(piece, Ok(Some(_))));
            assert!(matches!(outcome, Some(Err(_))), "{text}");
        }
    }

    #[test]
    fn another_encoding_is_refused() {
        assert!(text("p", b"<?xml version=\"1.0\" encoding='ISO-8859-1'?><a/>").is_err());
        assert!(text("p", b"\xff\xfe<\0").is_err());
        assert!(text("p", b"<?xml version=\"1.0\" encoding=\"utf-8\" standalone=\"yes\"?><a/>").is_ok());
    }
}
