//! The match form of a text: folded so far that what people take for the same looks the same.
//!
//! For suggestions only. It is never written, never a key, and never decides that two records are one: `½` and `1⁄2` have
//! one form, and so have a name and its misprint in capitals.
//!
//! The law: a text and its clean text have one form, and the form of a form is itself.
//!
//! # Design
//! NFKC and full case folding each make work for the other (`ͅ` folds to a letter that composes), so that both are repeated
//! until nothing changes.

use caseless::Caseless;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// What the match form folds beyond what it always does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accents {
    /// `ü` stays `ü`.
    Keep,
    /// `ü` is `u`.
    Drop,
    /// `ü` is `ue`, as German is written without umlauts; other accents are dropped.
    German,
}

/// The match form of a text: NFKC, full case folding (`ß` is `ss`), one kind of quote and dash, nothing invisible, one space
/// for every run of white space.
pub fn match_form(text: &str, accents: Accents) -> String {
    /// Two rounds are enough for every character there is; the bound only makes the end certain.
    const ROUNDS_MAX: usize = 4;
    if text.is_ascii() {
        return spaced(&text.to_ascii_lowercase());
    }
    let mut form = text.to_owned();
    for _ in 0..ROUNDS_MAX {
        let next = fold(&form, accents);
        if next == form {
            break;
        }
        form = next;
    }
    form
}

fn fold(text: &str, accents: Accents) -> String {
    let folded = text.nfd().default_case_fold().nfkc().default_case_fold().nfkc();
    let plain: String = folded.filter(|c| !is_invisible(*c)).map(plain_mark).collect();
    let plain = match accents {
        Accents::Keep => plain,
        Accents::Drop => without_accents(&plain),
        Accents::German => {
            let spelled: String = plain
                .chars()
                .flat_map(|c| match c {
                    'ä' => ['a', 'e'],
                    'ö' => ['o', 'e'],
                    'ü' => ['u', 'e'],
                    other => [other, '\0'],
                })
                .filter(|c| *c != '\0')
                .collect();
            without_accents(&spelled)
        }
    };
    spaced(&plain)
}

fn without_accents(text: &str) -> String {
    text.nfd().filter(|c| !is_combining_mark(*c)).nfc().collect()
}

/// One space for every run of white space, none at the ends; control characters dropped, as cleaning does.
fn spaced(text: &str) -> String {
    let is_dropped = |c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\r');
    let mut form = String::with_capacity(text.len());
    for word in text.split(|c: char| c.is_whitespace() && !is_dropped(c)) {
        let visible = word.chars().filter(|c| !is_dropped(*c));
        let at = form.len();
        if at > 0 {
            form.push(' ');
        }
        let before = form.len();
        form.extend(visible);
        if form.len() == before {
            form.truncate(at);
        }
    }
    form
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{feff}' | '\u{2060}' | '\u{ad}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// One kind of quote, apostrophe and dash.
fn plain_mark(c: char) -> char {
    match c {
        '“' | '”' | '„' | '«' | '»' | '‟' => '"',
        '‘' | '’' | '‚' | '‛' | '′' | 'ʼ' => '\'',
        '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' => '-',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_take_for_the_same_has_one_form() {
        for (text, form) in [
            ("ACME  GmbH", "acme gmbh"),
            ("Straße", "strasse"),
            ("STRASSE", "strasse"),
            ("İstanbul", "i̇stanbul"),
            ("Ｍüller", "müller"),
            ("Mu\u{308}ller\u{a0}", "müller"),
            ("O’Brien", "o'brien"),
            ("A–B\nC", "a-b c"),
            ("x² ½ ™", "x2 1⁄2 tm"),
            ("\u{200b}a\u{200d}b\u{feff}", "ab"),
            ("ΟΔΟΣ", "οδοσ"),
            ("οδος", "οδοσ"),
            ("", ""),
        ] {
            assert_eq!(match_form(text, Accents::Keep), form, "{text:?}");
        }
        assert_eq!(match_form("Müller-Lüdenscheidt, Ångström", Accents::Drop), "muller-ludenscheidt, angstrom");
        assert_eq!(match_form("Müller, Café", Accents::German), "mueller, cafe");
        assert_eq!(match_form("MUELLER, CAFE", Accents::German), "mueller, cafe");
    }
}
