//! Bytes to text and back: which encoding a file is in, and what it can hold.
//!
//! A pinned encoding is taken at its word. Otherwise it is found, in this order: a byte order mark, strict UTF-8, the NUL
//! pattern of UTF-16, the guess of `chardetng`. Text that does not decode stops the run: a replacement character never gets
//! into a record.
//!
//! # Design
//! - A file of only ASCII characters agrees with every encoding that extends ASCII. It is called `US-ASCII`, so that the first
//!   `ü` of a later night is no contradiction, and a file that is known as something else stays that. UTF-16 does not extend
//!   it: that is another file. New text in such a file is written as UTF-8.
//! - Two nights with two guesses stop the run, even where both would decode: nobody but a person knows which is right, and
//!   the wrong one would look like edits.
//! - Labels are those of the WHATWG: `iso-8859-1` means windows-1252, as every program on the web reads it.

use std::borrow::Cow;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

use super::rows::line_breaks;
use crate::diagnostic::Place;
use crate::error::{Error, Remedy};

/// What a file of only ASCII characters is called.
pub(super) const ASCII: &str = "US-ASCII";

/// How much of a file the guess looks at, from the first character on that is not ASCII.
const GUESSED_BYTES_MAX: usize = 4 << 20;

/// A file as text.
#[derive(Debug)]
pub(super) struct Decoded<'b> {
    /// The text, without the byte order mark.
    pub text: Cow<'b, str>,
    /// The byte order mark; empty if there is none.
    pub bom: &'b [u8],
    /// The encoding that new text is written in.
    pub encoding: &'static Encoding,
    /// The name that is found again at the next run.
    pub name: String,
}

/// Decodes a whole file.
///
/// # Errors
/// `Look` if the bytes are not text in their encoding, contain NUL characters, or are in another encoding than `known`.
pub(super) fn decode<'b>(bytes: &'b [u8], pinned: Option<&'static Encoding>, known: Option<&str>, place: &Place) -> Result<Decoded<'b>, Error> {
    let marked = Encoding::for_bom(bytes);
    let bom_length = marked.map_or(0, |(_, length)| length);
    let (bom, body) = bytes.split_at(bom_length);
    let (encoding, name) = match (pinned, marked) {
        (Some(pinned), Some((marked, _))) if pinned != marked => {
            return Err(changed(place, pinned.name(), marked.name(), "the job file says"));
        }
        (Some(pinned), _) => (pinned, pinned.name()),
        (None, Some((marked, _))) => (marked, marked.name()),
        (None, None) => found(body, known),
    };
    if pinned.is_none()
        && let Some(known) = known
        && known != name
        && !(known == ASCII && encoding.is_ascii_compatible())
    {
        return Err(changed(place, known, name, "earlier runs found"));
    }
    let Some(text) = encoding.decode_without_bom_handling_and_without_replacement(body) else {
        let (line, malformed) = first_malformed(encoding, body);
        return Err(Error::new(Remedy::Look, place.clone().line(line), format!("the file is not text in the encoding {}", encoding.name()))
            .seen(format!("the bytes {malformed} do not stand for a character"))
            .seen("nothing was read or written")
            .hint("save the file again in the right encoding, or say which it is with `encoding` in the job file"));
    };
    if let Some(nul) = memchr::memchr(0, text.as_bytes()) {
        let line = 1 + line_breaks(&text.as_bytes()[..nul]);
        return Err(has_nul(place.clone().line(line)));
    }
    Ok(Decoded { text, bom, encoding, name: name.to_owned() })
}

/// The error of a file with a NUL character.
pub(super) fn has_nul(place: Place) -> Error {
    Error::new(Remedy::Look, place, "the file contains NUL characters: it is damaged, or no text file")
        .seen("nothing was read or written")
        .hint("export the file again")
}

/// How the bytes of a file that is not read as a whole become text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spelled {
    /// The encoding.
    pub encoding: &'static Encoding,
    /// How many bytes of a byte order mark come before the text.
    pub skipped: usize,
    /// Whether somebody says so, the mark or a person: otherwise it is only what the beginning looks like.
    pub is_certain: bool,
}

/// How a file is spelled, as far as its beginning tells.
///
/// # Errors
/// `Look` if its mark is that of another encoding than the one that is pinned.
pub(super) fn spelled(head: &[u8], pinned: Option<&'static Encoding>, place: &Place) -> Result<Spelled, Error> {
    let found_as = |encoding, is_certain| Spelled { encoding, skipped: 0, is_certain };
    Ok(match (pinned, Encoding::for_bom(head)) {
        (Some(pinned), Some((marked, _))) if pinned != marked => {
            return Err(Error::new(Remedy::Look, place.clone(), "the encoding of the file is not the expected one")
                .seen(format!("`--encoding` says {}, its byte order mark {}", pinned.name(), marked.name()))
                .seen("nothing was compared")
                .hint("leave `--encoding` out: the mark is believed"));
        }
        (_, Some((encoding, skipped))) => Spelled { encoding, skipped, is_certain: true },
        (Some(pinned), None) => found_as(pinned, true),
        (None, None) if memchr::memchr(0, head).is_some() => match utf16_by_nuls(&head[..head.len() & !1]) {
            Some(wide) => found_as(wide, true),
            None => found_as(UTF_8, false),
        },
        (None, None) => found_as(UTF_8, false),
    })
}

/// The guess at an encoding that is not UTF-8, from a piece of a file that begins near its first character that is not ASCII.
pub(super) fn guessed(piece: &[u8]) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(piece, false);
    detector.guess(None, Utf8Detection::Deny)
}

/// How much of a file [`guessed`] should see.
pub(super) const PIECE_GUESSED_BYTES: usize = GUESSED_BYTES_MAX;

/// The error of bytes that are no text in their encoding.
pub(super) fn malformed(place: Place, encoding: &'static Encoding, bytes: &[u8]) -> Error {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    Error::new(Remedy::Look, place, format!("the file is not text in the encoding {}", encoding.name()))
        .seen(format!("the bytes {} do not stand for a character", bytes.join(" ")))
        .seen("nothing was compared")
        .hint("save the file again in the right encoding, or say which it is with `--encoding`")
}

/// The bytes of a text. Characters that the encoding cannot hold must have been refused before.
pub(super) fn encode<'t>(encoding: &'static Encoding, text: &'t str) -> Cow<'t, [u8]> {
    if encoding == UTF_16LE {
        Cow::Owned(text.encode_utf16().flat_map(u16::to_le_bytes).collect())
    } else if encoding == UTF_16BE {
        Cow::Owned(text.encode_utf16().flat_map(u16::to_be_bytes).collect())
    } else {
        encoding.encode(text).0
    }
}

/// Whether the encoding gives back, to the byte, the file that was decoded.
pub(super) fn comes_back(decoded: &Decoded<'_>, file: &[u8]) -> bool {
    // What UTF-8 decodes without another spelling is the text itself.
    let is_itself = decoded.encoding == UTF_8 && matches!(decoded.text, Cow::Borrowed(_));
    is_itself || *encode(decoded.encoding, &decoded.text) == file[decoded.bom.len()..]
}

/// The bytes of a whole file: a byte order mark, if there is one, and its text.
pub(super) fn encode_whole(encoding: &'static Encoding, bom: &[u8], text: String) -> Vec<u8> {
    match encode(encoding, &text) {
        Cow::Borrowed(_) if bom.is_empty() => text.into_bytes(),
        bytes => [bom, &*bytes].concat(),
    }
}

/// The first character that would not come back from the encoding as it is.
pub(super) fn first_unholdable(encoding: &'static Encoding, text: &str) -> Option<char> {
    let comes_back = |text: &str| {
        let (bytes, _, unmappable) = encoding.encode(text);
        !unmappable && encoding.decode_without_bom_handling_and_without_replacement(&bytes).is_some_and(|back| back == text)
    };
    if encoding.output_encoding() == UTF_8 || text.is_ascii() && encoding.is_ascii_compatible() || comes_back(text) {
        return None;
    }
    let mut buffer = [0; 4];
    text.chars().find(|character| !comes_back(character.encode_utf8(&mut buffer)))
}

/// The encoding of bytes without a byte order mark, and its name.
fn found(body: &[u8], known: Option<&str>) -> (&'static Encoding, &'static str) {
    let has_nul = memchr::memchr(0, body).is_some();
    if body.is_ascii() && !has_nul {
        // An encoding that is already known and agrees is kept.
        let kept = known.filter(|known| *known != ASCII).and_then(|known| Encoding::for_label(known.as_bytes()));
        return kept.filter(|kept| kept.is_ascii_compatible()).map_or((UTF_8, ASCII), |kept| (kept, kept.name()));
    }
    // UTF-16 of ASCII characters is UTF-8 with NULs as well.
    let wide = if has_nul { utf16_by_nuls(body) } else { None };
    let encoding = if let Some(wide) = wide {
        wide
    } else if simdutf8::basic::from_utf8(body).is_ok() {
        UTF_8
    } else {
        let first = body.iter().position(|byte| !byte.is_ascii()).unwrap_or(0);
        let from = body[..first].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let sample = &body[from..body.len().min(from.saturating_add(GUESSED_BYTES_MAX))];
        let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
        detector.feed(sample, from + sample.len() == body.len());
        detector.guess(None, Utf8Detection::Deny)
    };
    (encoding, encoding.name())
}

/// UTF-16 without a byte order mark: delimiters, digits and line ends have a NUL in one half, always the same.
fn utf16_by_nuls(body: &[u8]) -> Option<&'static Encoding> {
    let (pairs, []) = body.as_chunks::<2>() else { return None };
    let is_clear = |nul_half: usize| {
        let nuls = pairs.iter().filter(|pair| pair[nul_half] == 0).count();
        let others = pairs.iter().filter(|pair| pair[1 - nul_half] == 0).count();
        let has_line_end = pairs.iter().any(|pair| pair[nul_half] == 0 && matches!(pair[1 - nul_half], b'\r' | b'\n'));
        let enough = if has_line_end { pairs.len().div_ceil(16) } else { pairs.len().div_ceil(2) };
        nuls >= enough && others <= nuls / 16
    };
    if is_clear(1) {
        Some(UTF_16LE)
    } else if is_clear(0) {
        Some(UTF_16BE)
    } else {
        None
    }
}

fn changed(place: &Place, expected: &str, seen: &str, who: &str) -> Error {
    Error::new(Remedy::Look, place.clone(), "the encoding of the file is not the expected one")
        .seen(format!("{who} {expected}, now it is {seen}"))
        .seen("nothing was read or written")
        .hint(format!("if {seen} is right, say so with `encoding = \"{seen}\"` in the job file; else export the file as before"))
}

/// The physical line of the first bytes that do not decode, and those bytes in hexadecimal.
fn first_malformed(encoding: &'static Encoding, body: &[u8]) -> (u64, String) {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut text = String::with_capacity(decoder.max_utf8_buffer_length_without_replacement(body.len()).unwrap_or(body.len()));
    let (result, read) = decoder.decode_to_string_without_replacement(body, &mut text, true);
    let bytes = match result {
        DecoderResult::Malformed(length, after) => {
            let end = read.saturating_sub(usize::from(after));
            &body[end.saturating_sub(usize::from(length))..end]
        }
        DecoderResult::InputEmpty | DecoderResult::OutputFull => &[],
    };
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    (1 + line_breaks(text.as_bytes()), bytes.join(" "))
}

#[cfg(test)]
mod tests {
    use encoding_rs::{SHIFT_JIS, WINDOWS_1252};

    use super::*;

    fn look(bytes: &[u8], known: Option<&str>) -> Result<(String, String), String> {
        decode(bytes, None, known, &Place::of("a.csv")).map(|d| (d.name, d.text.into_owned())).map_err(|e| e.to_string())
    }

    fn wide(text: &str, big: bool, bom: bool) -> Vec<u8> {
        let units = bom.then_some(0xfeff).into_iter().chain(text.encode_utf16());
        units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    }

    #[test]
    fn the_encoding_is_found() {
        let text = "Name;Betrag\r\nMüller;12,50\r\nStraße;7\r\n";
        let western = "Name;Betrag\r\nM\u{fc}ller;12,50 \u{20ac}\r\nStra\u{df}e;7\r\n";
        let cases: Vec<(Vec<u8>, &str, &str)> = vec![
            (text.as_bytes().to_vec(), "UTF-8", text),
            ([b"\xEF\xBB\xBF", text.as_bytes()].concat(), "UTF-8", text),
            (wide(text, false, true), "UTF-16LE", text),
            (wide(text, true, true), "UTF-16BE", text),
            (wide(text, false, false), "UTF-16LE", text),
            (wide(text, true, false), "UTF-16BE", text),
            (wide("код;имя\n1;Мария\n2;Пётр\n", false, false), "UTF-16LE", "код;имя\n1;Мария\n2;Пётр\n"),
            (WINDOWS_1252.encode(western).0.into_owned(), "windows-1252", western),
            (b"a;b\n1;2\n".to_vec(), "US-ASCII", "a;b\n1;2\n"),
        ];
        for (bytes, name, text) in cases {
            assert_eq!(look(&bytes, None), Ok((name.to_owned(), text.to_owned())), "{bytes:?}");
        }
    }

    #[test]
    fn an_encoding_that_flips_stops_and_ascii_never_flips() {
        let utf8 = "a\nMüller\n".as_bytes();
        let western = b"a\nM\xfcller\n";
        let name = |bytes: &[u8], known: &str| look(bytes, Some(known)).map(|(name, _)| name);
        assert_eq!(name(b"a\n1\n", "windows-1252").as_deref(), Ok("windows-1252"));
        assert_eq!(name(b"a\n1\n", "UTF-8").as_deref(), Ok("UTF-8"));
        assert_eq!(name(utf8, "US-ASCII").as_deref(), Ok("UTF-8"));
        assert_eq!(name(western, "US-ASCII").as_deref(), Ok("windows-1252"));
        let error = name(utf8, "windows-1252").expect_err("flipped");
        assert!(error.contains("earlier runs found windows-1252, now it is UTF-8"), "{error}");
        assert!(name(western, "UTF-8").is_err());
        assert!(name(b"a\n1\n", "UTF-16LE").is_err());
        assert!(name(b"\xFF\xFEa\0\n\x001\0\n\0", "US-ASCII").is_err());
    }

    #[test]
    fn bytes_that_do_not_decode_are_named_with_their_line() {
        let error = decode(b"a\r\nb\r\nM\xfcller\n", Some(UTF_8), None, &Place::of("a.csv")).expect_err("not UTF-8").to_string();
        assert!(error.starts_with("error: a.csv:3: ") && error.contains("the bytes FC"), "{error}");
        let error = decode(b"\xEF\xBB\xBFa\n", Some(WINDOWS_1252), None, &Place::of("a.csv")).expect_err("a mark of another").to_string();
        assert!(error.contains("the job file says windows-1252, now it is UTF-8"), "{error}");
        let error = look(b"a\nb\0c\n", None).expect_err("a NUL");
        assert!(error.starts_with("error: a.csv:2: ") && error.contains("NUL"), "{error}");
    }

    #[test]
    fn characters_that_would_not_come_back_are_named() {
        for (encoding, text, expected) in [
            (WINDOWS_1252, "Müller €", None),
            (WINDOWS_1252, "Łódź", Some('Ł')),
            (UTF_8, "Łódź 😀", None),
            (UTF_16LE, "Łódź 😀", None),
            // Encoded as a backslash, which is another character.
            (SHIFT_JIS, "100¥", Some('¥')),
        ] {
            assert_eq!(first_unholdable(encoding, text), expected, "{text} in {}", encoding.name());
        }
    }
}
