//! Text: what always happens to a cell, null tokens, and the rules that a field adds.
//!
//! [`tidy`] is loss-free in meaning: NFC, no control characters, `\n` as the only line end, nothing invisible at either end
//! or before a line end. It never folds, never repairs and never touches what stands between visible characters.
//! [`Texts`] adds null tokens and the rules of the field.
//!
//! # Design
//! Nearly every cell is printable ASCII, or Latin letters, with nothing to do. [`is_plain`] finds that out in one pass over the
//! bytes without a branch for each; only the others are looked at character by character. A cell that is merely trimmed is borrowed, so that
//! padded columns do not allocate either.
//!
//! The rules of a field are repeated until the text no longer changes: one rule may make work for an earlier one (`ŉ` in
//! upper case is `ʼN`, whose apostrophe is then replaced), and cleaning twice must give what cleaning once gives.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc, is_nfc_quick};

use crate::job::{CleanRule, ColumnSpec, Field};
use crate::reconcile::clean::counts::{Counts, Rule, Unreadable};
use crate::reconcile::clean::identifier::{Identified, identify, is_plain_address};
use crate::reconcile::clean::memo::Became;

/// Whether a cell is of printable ASCII and Latin letters alone, and neither begins nor ends with a space: then [`tidy`] leaves
/// it as it is. The empty cell is plain.
///
/// In UTF-8 the letters U+00C0 to U+02FF begin with the bytes C3 to CB; all of them are composed, none is white space,
/// invisible or a control character.
pub(super) fn is_plain(cell: &str) -> bool {
    let bytes = cell.as_bytes();
    !has_space_at_ends(bytes) && words(bytes, |word| odd(word) == 0)
}

/// Whether a cell [is plain](is_plain), and certainly is none that [is flagged](flag).
pub(super) fn is_sound(cell: &str) -> bool {
    let bytes = cell.as_bytes();
    let mut may_be_latin = 0;
    let is_plain = !has_space_at_ends(bytes)
        && words(bytes, |word| {
            may_be_latin |= equal(word, SECOND_OF_A_TILDE);
            odd(word) == 0
        });
    is_plain && !may_be_shortened(bytes) && (may_be_latin == 0 || !cell.contains('Ã'))
}

fn has_space_at_ends(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b' ') || bytes.last() == Some(&b' ')
}

// Eight bytes are looked at together, in a word: what is found of a byte is found in its highest bit.
const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGHS: u64 = ONES << 7;

/// `Ã` is C3 83.
const SECOND_OF_A_TILDE: u8 = 0x83;

/// Whether all words of a text are so. The bytes of a word may come twice, in any order, and with `0`s among those of a short text.
fn words(bytes: &[u8], mut is_so: impl FnMut(u64) -> bool) -> bool {
    const BYTES: usize = 8;
    let (whole, rest) = bytes.as_chunks::<BYTES>();
    if rest.is_empty() || !whole.is_empty() {
        let last = bytes.last_chunk::<BYTES>().filter(|_| !rest.is_empty());
        return whole.iter().chain(last).all(|word| is_so(u64::from_le_bytes(*word)));
    }
    is_so(match (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        (Some(first), Some(last)) => u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32,
        // One to three bytes.
        _ => u64::from_le_bytes([rest[0], rest[rest.len() / 2], rest[rest.len() - 1], b'0', b'0', b'0', b'0', b'0']),
    })
}

/// Marks a word in which some byte is this one.
fn equal(word: u64, byte: u8) -> u64 {
    let zero_where_equal = word ^ (ONES * u64::from(byte));
    zero_where_equal.wrapping_sub(ONES) & !zero_where_equal & HIGHS
}

/// Marks a word in which some byte is in no plain text: control characters, and what begins others than Latin letters.
fn odd(word: u64) -> u64 {
    const BEFORE_LATIN: u8 = 0xc2;
    const BEYOND_LATIN: u64 = 0xcc;
    let below_space = word.wrapping_sub(ONES * u64::from(b' ')) & !word;
    let beyond = ((word & !HIGHS) + ONES * (0x100 - BEYOND_LATIN)) & word;
    ((below_space | beyond) & HIGHS) | equal(word, 0x7f) | equal(word, BEFORE_LATIN)
}

/// Whether two spaces stand side by side.
fn has_double_space(bytes: &[u8]) -> bool {
    const BYTES: usize = 8;
    const LOWS: u64 = !HIGHS;
    let is_double = |word: &[u8; BYTES]| {
        let zero_where_space = u64::from_le_bytes(*word) ^ (ONES * u64::from(b' '));
        // Exact in each byte, because the neighbour counts.
        let spaces = !(((zero_where_space & LOWS) + LOWS) | zero_where_space | LOWS);
        spaces & (spaces >> BYTES) != 0
    };
    let Some(last) = bytes.last_chunk::<BYTES>() else { return bytes.windows(2).any(|pair| pair == b"  ") };
    // Each word begins with the last byte of the one before.
    let mut rest = bytes;
    while let Some(word) = rest.first_chunk::<BYTES>() {
        if is_double(word) {
            return true;
        }
        rest = &rest[BYTES - 1..];
    }
    is_double(last)
}

/// What cannot be seen at the end of a text and means nothing there, white space apart. The joiners U+200C and U+200D are not
/// among it: Persian, Indic scripts and emoji need them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{feff}' | '\u{2060}' | '\u{ad}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn is_trimmed(c: char) -> bool {
    c.is_whitespace() || is_invisible(c)
}

fn is_dropped(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t' | '\r')
}

/// A cell without white space and invisible characters at its ends. What a filter compares.
pub(super) fn trim(cell: &str) -> &str {
    cell.trim_matches(is_trimmed)
}

const NO_BREAK_SPACE: char = '\u{a0}';

/// A cell without the spaces at its ends, of the two usual kinds.
pub(super) fn without_padding(cell: &str) -> &str {
    cell.trim_matches([' ', NO_BREAK_SPACE])
}

/// What always happens to text.
pub(super) fn tidy<'a>(cell: &'a str, counts: &mut Counts) -> Cow<'a, str> {
    if is_plain(cell) {
        return Cow::Borrowed(cell);
    }
    let bare = without_padding(cell);
    if is_plain(bare) {
        let start = bare.as_ptr() as usize - cell.as_ptr() as usize;
        for cut in [&cell[..start], &cell[start + bare.len()..]] {
            if cut.contains(' ') {
                counts.add(Rule::WhiteSpace);
            }
            if cut.contains(NO_BREAK_SPACE) {
                counts.add(Rule::NoBreakSpace);
            }
        }
        return Cow::Borrowed(bare);
    }
    let mut text = Cow::Borrowed(cell);
    if cell.chars().any(|c| c == '\r' || is_dropped(c)) {
        text = Cow::Owned(without_controls(cell, counts));
    }
    if !text.is_ascii() && !composed(&text) {
        counts.add(Rule::Composed);
        text = Cow::Owned(text.nfc().collect());
    }
    let kept = trim(&text);
    if kept.len() < text.len() {
        let start = kept.as_ptr() as usize - text.as_ptr() as usize;
        let end = start + kept.len();
        let cut = || text[..start].chars().chain(text[end..].chars());
        let is_no_break = |c| matches!(c, '\u{a0}' | '\u{202f}' | '\u{2007}');
        for (rule, found) in [
            (Rule::NoBreakSpace, cut().any(is_no_break)),
            (Rule::WhiteSpace, cut().any(|c| c.is_whitespace() && !is_no_break(c))),
            (Rule::Invisible, cut().any(is_invisible)),
        ] {
            if found {
                counts.add(rule);
            }
        }
        text = match text {
            Cow::Borrowed(whole) => Cow::Borrowed(&whole[start..end]),
            Cow::Owned(whole) => Cow::Owned(whole[start..end].to_owned()),
        };
    }
    if text.contains('\n') && text.split('\n').any(|line| line.ends_with(is_trimmed)) {
        counts.add(Rule::LineTails);
        let lines: Vec<&str> = text.split('\n').map(|line| line.trim_end_matches(is_trimmed)).collect();
        text = Cow::Owned(lines.join("\n"));
    }
    text
}

fn composed(text: &str) -> bool {
    match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => true,
        IsNormalized::No => false,
        IsNormalized::Maybe => is_nfc(text),
    }
}

/// `\n` for every CRLF and CR, and no other control characters but tabs.
fn without_controls(cell: &str, counts: &mut Counts) -> String {
    if cell.contains('\r') {
        counts.add(Rule::LineEnds);
    }
    if cell.contains(is_dropped) {
        counts.add(Rule::Control);
    }
    let mut text = String::with_capacity(cell.len());
    let mut chars = cell.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            '\r' => text.push('\n'),
            c if is_dropped(c) => {}
            c => text.push(c),
        }
    }
    text
}

/// The texts that mean null in one column: the empty one, the field's tokens, and how the system spells a null.
pub(super) struct NullTokens {
    /// Those of ASCII. No other text becomes one of them in lower case.
    ascii: Vec<String>,
    /// The others, in lower case.
    others: Vec<String>,
    /// No text of more bytes than this is one of the others.
    others_bytes_max: usize,
    /// Whether some token may begin with this byte.
    may_begin: [bool; 256],
}

impl NullTokens {
    /// The tokens of a field in a column.
    pub(super) fn new(field: &Field, column: &ColumnSpec) -> NullTokens {
        let blank_as = column.blank_as.as_deref().map(|blank| tidy(blank, &mut Counts::new()).to_lowercase());
        NullTokens::of(field.null_tokens.iter().cloned().chain(blank_as))
    }

    /// These tokens, in lower case.
    pub(super) fn of(tokens: impl IntoIterator<Item = String>) -> NullTokens {
        /// A letter may be longer in upper case, but never so much longer.
        const GROWTH_MAX: usize = 3;
        let (ascii, others): (Vec<String>, Vec<String>) = tokens.into_iter().filter(|token| !token.is_empty()).partition(|token| token.is_ascii());
        let mut may_begin = [false; 256];
        may_begin[128..].fill(!others.is_empty());
        for first in ascii.iter().chain(&others).filter_map(|token| token.bytes().next()) {
            may_begin[usize::from(first)] = true;
            may_begin[usize::from(first.to_ascii_uppercase())] = true;
        }
        let others_bytes_max = others.iter().map(|token| token.len() * GROWTH_MAX).max().unwrap_or(0);
        NullTokens { ascii, others, others_bytes_max, may_begin }
    }

    /// Whether a text may be null, seen only by its first byte; a text for which this is false is none.
    pub(super) fn may_be(&self, text: &str) -> bool {
        text.bytes().next().is_none_or(|first| self.may_begin[usize::from(first)])
    }

    /// Whether a tidy text means null.
    pub(super) fn is_null(&self, text: &str, counts: &mut Counts) -> bool {
        if text.is_empty() {
            return true;
        }
        let is_token = self.may_be(text)
            && if text.is_ascii() {
                self.ascii.iter().any(|token| token.eq_ignore_ascii_case(text))
            } else {
                text.len() <= self.others_bytes_max && self.others.contains(&text.to_lowercase())
            };
        if is_token {
            counts.add(Rule::NullToken);
        }
        is_token
    }
}

/// How the texts of one field are cleaned.
pub(super) struct Texts<'a> {
    /// The field's own rules.
    pub(super) rules: &'a [CleanRule],
    /// Whether every digit counts: a text that a spreadsheet shortened is then no value at all.
    pub(super) keeps_digits: bool,
}

impl<'a> Texts<'a> {
    /// The texts of a field.
    pub(super) fn of(field: &'a Field) -> Texts<'a> {
        let counts_digits = |rule: &CleanRule| matches!(rule, CleanRule::Digits | CleanRule::Phone | CleanRule::Iban | CleanRule::VatId);
        Texts { rules: &field.clean, keeps_digits: field.clean.iter().any(counts_digits) }
    }
}

impl Texts<'_> {
    /// Why a cell is no value: its digits are lost.
    pub(super) fn fault(&self, cell: &str) -> Option<Unreadable> {
        (self.keeps_digits && is_shortened(cell)).then(|| Unreadable::But(SHORTENED.to_owned()))
    }

    /// Whether the rules certainly leave a plain text as it is.
    pub(super) fn leaves(&self, plain: &str) -> bool {
        self.rules.is_empty() || self.rules.iter().all(|rule| leaves(*rule, plain))
    }

    /// Whether reading a cell takes so long that several stretches of a column are worth reading at once.
    pub(super) fn is_dear(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule, CleanRule::Phone | CleanRule::Iban | CleanRule::VatId))
    }

    /// Whether the same cell is worth remembering.
    pub(super) fn reads_identifiers(&self) -> bool {
        self.rules.iter().any(|rule| rule.is_identifier())
    }

    /// Adds what the only rule makes of a [sound](is_sound) cell that it does not leave, and gives what that counts as; nothing if
    /// [`Texts::read`] must look closer. Whether it means null is not looked at.
    pub(super) fn respell(&self, sound: &str, spelled: &mut String) -> Option<Rule> {
        let [rule] = self.rules else { return None };
        match rule {
            CleanRule::CollapseSpaces | CleanRule::CollapseInLines => {
                let mut before = b'x';
                let mut from = 0;
                for (at, byte) in sound.bytes().enumerate() {
                    if byte == b' ' && before == b' ' {
                        spelled.push_str(&sound[from..at]);
                        from = at + 1;
                    }
                    before = byte;
                }
                spelled.push_str(&sound[from..]);
            }
            CleanRule::Upper if sound.is_ascii() => {
                spelled.push_str(sound);
                spelled.make_ascii_uppercase();
            }
            CleanRule::Lower if sound.is_ascii() => {
                spelled.push_str(sound);
                spelled.make_ascii_lowercase();
            }
            CleanRule::Email => {
                let at = memchr::memchr(b'@', sound.as_bytes())?;
                spelled.push_str(sound);
                spelled[at..].make_ascii_lowercase();
                is_plain_address(spelled).then_some(())?;
            }
            _ => return None,
        }
        Some(counted_as(*rule))
    }

    /// What becomes of a cell.
    pub(super) fn became(&self, cell: &str, region: Option<&str>, null: &NullTokens, counts: &mut Counts) -> Became {
        match self.read(cell, region, null, counts) {
            None => Became::Null,
            Some(text) if text == cell => Became::Same,
            Some(text) => Became::Other(text.into()),
        }
    }

    /// The clean text of a cell; nothing if it is null.
    pub(super) fn read<'a>(&self, cell: &'a str, region: Option<&str>, null: &NullTokens, counts: &mut Counts) -> Option<Cow<'a, str>> {
        flag(cell, counts);
        let text = tidy(cell, counts);
        if null.is_null(&text, counts) {
            return None;
        }
        let text = self.apply(text, region, counts);
        // A rule may leave nothing, or a token: no digits at all, a dash that was a typographic one.
        (self.rules.is_empty() || !null.is_null(&text, counts)).then_some(text)
    }

    /// A tidy text after the field's own rules. `region` is the country of its record, where the field needs one.
    pub(super) fn apply<'a>(&self, mut text: Cow<'a, str>, region: Option<&str>, counts: &mut Counts) -> Cow<'a, str> {
        /// No chain of rules is known that needs more than three rounds; the bound only makes the end certain.
        const ROUNDS_MAX: usize = 8;
        if self.rules.is_empty() {
            return text;
        }
        // An identifier alone is done after one round, and by far the dearest rule.
        let rounds = if matches!(self.rules, [only] if only.is_identifier()) { 1 } else { ROUNDS_MAX };
        for round in 0..rounds {
            let mut is_done = true;
            for rule in self.rules {
                let now = if rule.is_identifier() {
                    if text.is_empty() {
                        continue;
                    }
                    let Identified { text: now, remark } = identify(*rule, &text, region);
                    if let Some(remark) = remark.filter(|_| round == 0) {
                        counts.add(remark);
                    }
                    match now {
                        Cow::Borrowed(_) => None,
                        Cow::Owned(now) => Some(now),
                    }
                } else {
                    apply(*rule, &text)
                };
                if let Some(now) = now {
                    // Later rounds tidy up after the first, and are not counted again.
                    if round == 0 {
                        counts.add(counted_as(*rule));
                    }
                    is_done = false;
                    text = Cow::Owned(match tidy(&now, &mut Counts::new()) {
                        Cow::Borrowed(whole) if whole.len() == now.len() => now,
                        tidied => tidied.into_owned(),
                    });
                }
            }
            if is_done || (is_plain(&text) && self.leaves(&text)) {
                break;
            }
        }
        text
    }
}

/// Whether a rule certainly leaves a plain text as it is.
fn leaves(rule: CleanRule, plain: &str) -> bool {
    let bytes = plain.as_bytes();
    match rule {
        // The only white space of a plain text is the space.
        CleanRule::CollapseSpaces | CleanRule::CollapseInLines => !has_double_space(bytes),
        CleanRule::Upper => bytes.iter().all(|byte| byte.is_ascii() && !byte.is_ascii_lowercase()),
        CleanRule::Lower => bytes.iter().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()),
        CleanRule::AsciiPunct => plain.is_ascii(),
        CleanRule::Digits => bytes.iter().all(u8::is_ascii_digit),
        CleanRule::Email => is_plain_address(plain),
        CleanRule::Phone | CleanRule::Country | CleanRule::Currency | CleanRule::Iban | CleanRule::VatId => false,
    }
}

fn counted_as(rule: CleanRule) -> Rule {
    match rule {
        CleanRule::CollapseSpaces => Rule::CollapseSpaces,
        CleanRule::Upper => Rule::Upper,
        CleanRule::Lower => Rule::Lower,
        CleanRule::AsciiPunct => Rule::AsciiPunct,
        CleanRule::CollapseInLines => Rule::CollapseInLines,
        CleanRule::Email => Rule::Email,
        CleanRule::Phone => Rule::Phone,
        CleanRule::Country => Rule::Country,
        CleanRule::Currency => Rule::Currency,
        CleanRule::Iban => Rule::Iban,
        CleanRule::VatId => Rule::VatId,
        CleanRule::Digits => Rule::Digits,
    }
}

/// The text after one rule; nothing if the rule leaves it as it is.
fn apply(rule: CleanRule, text: &str) -> Option<String> {
    let now = match rule {
        CleanRule::CollapseSpaces => {
            let mut before = 'x';
            let stays = |c: char| {
                let stays = !c.is_whitespace() || (c == ' ' && before != ' ');
                before = c;
                stays
            };
            if text.chars().all(stays) {
                return None;
            }
            text.split_whitespace().collect::<Vec<&str>>().join(" ")
        }
        CleanRule::Upper => {
            if text.is_ascii() && !text.bytes().any(|b| b.is_ascii_lowercase()) {
                return None;
            }
            text.to_uppercase()
        }
        CleanRule::Lower => lower(text)?,
        CleanRule::AsciiPunct => {
            if text.is_ascii() {
                return None;
            }
            text.chars().map(ascii_punct).collect()
        }
        CleanRule::CollapseInLines => {
            let mut before = 'x';
            let stays = |c: char| {
                let stays = !c.is_whitespace() || c == '\n' || (c == ' ' && before != ' ');
                before = c;
                stays
            };
            if text.chars().all(stays) {
                return None;
            }
            let lines: Vec<String> = text.split('\n').map(|line| line.split_whitespace().collect::<Vec<&str>>().join(" ")).collect();
            lines.join("\n")
        }
        CleanRule::Email | CleanRule::Phone | CleanRule::Country | CleanRule::Currency | CleanRule::Iban | CleanRule::VatId => return None,
        CleanRule::Digits => {
            if text.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            text.chars().filter_map(digit).collect()
        }
    };
    // In upper or lower case a text may no longer be composed, and is not new if composing undoes the change.
    let now = if now.is_ascii() { now } else { now.nfc().collect() };
    (now != text).then_some(now)
}

fn lower(text: &str) -> Option<String> {
    (!text.is_ascii() || text.bytes().any(|b| b.is_ascii_uppercase())).then(|| text.to_lowercase())
}

fn ascii_punct(c: char) -> char {
    match c {
        '“' | '”' | '„' | '«' | '»' => '"',
        '‘' | '’' | '‚' | '′' | 'ʼ' => '\'',
        '‐' | '‑' | '‒' | '–' | '—' | '−' => '-',
        other => other,
    }
}

/// The ASCII digit that a character stands for: Arabic-Indic and full-width digits are digits too.
fn digit(c: char) -> Option<char> {
    let zero = match c {
        '0'..='9' => return Some(c),
        '\u{660}'..='\u{669}' => 0x660,
        '\u{6f0}'..='\u{6f9}' => 0x6f0,
        '\u{ff10}'..='\u{ff19}' => 0xff10,
        _ => return None,
    };
    char::from_digit(u32::from(c) - zero, 10)
}

/// Whether a cell may be a [number that a spreadsheet shortened](is_shortened_number), seen only by its exponent.
fn may_be_shortened(bytes: &[u8]) -> bool {
    let has_exponent = |digits: usize| bytes.len().checked_sub(digits + 2).is_some_and(|at| bytes[at] == b'E' && bytes[at + 1] == b'+');
    bytes.first().is_some_and(u8::is_ascii_digit) && (has_exponent(2) || has_exponent(3))
}

/// Counts what looks damaged. Nobody can tell what stood there before, so that it is left as it is.
fn flag(cell: &str, counts: &mut Counts) {
    let bytes = cell.as_bytes();
    if bytes.is_ascii() {
        if is_shortened_number(bytes) {
            counts.add(Rule::Scientific);
        }
        return;
    }
    if cell.contains(char::REPLACEMENT_CHARACTER) {
        counts.add(Rule::Replacement);
    }
    let mut before = ' ';
    let wrongly_decoded = cell.chars().any(|c| {
        let found = match before {
            // The two bytes of a Latin letter, each read as a character of its own, in Latin-1 or Windows-1252.
            'Ã' => matches!(c, '\u{80}'..='\u{bf}' | '„' | '–' | 'Ÿ' | 'œ' | '‰'),
            'Â' => matches!(c, '\u{80}'..='\u{bf}'),
            'â' => c == '€',
            _ => false,
        };
        before = c;
        found
    });
    if wrongly_decoded {
        counts.add(Rule::WronglyDecoded);
    }
}

/// What is wrong with a number that a spreadsheet shortened.
pub(super) const SHORTENED: &str = "is a long number that a spreadsheet shortened: its digits are lost";

/// Whether a cell holds what a spreadsheet makes of a long number.
pub(super) fn is_shortened(cell: &str) -> bool {
    is_shortened_number(trim(cell).as_bytes())
}

/// `1.23457E+15`: what a spreadsheet makes of a long number.
fn is_shortened_number(bytes: &[u8]) -> bool {
    let [b'0'..=b'9', rest @ ..] = bytes else { return false };
    let Some(exponent) = rest.len().checked_sub(4).into_iter().chain(rest.len().checked_sub(5)).find(|at| rest[*at..].starts_with(b"E+")) else {
        return false;
    };
    let (mantissa, exponent) = (&rest[..exponent], &rest[exponent + 2..]);
    let is_mantissa = mantissa.is_empty() || (matches!(mantissa[0], b'.' | b',') && mantissa.len() > 1 && mantissa[1..].iter().all(u8::is_ascii_digit));
    is_mantissa && exponent.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_cell() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            4 => "[ -~]{0,12}",
            1 => proptest::sample::select(vec![" ", "  ", "\u{a0}", "\u{7f}", "\u{1f}", "\u{80}", "ü", "Ã", "Â", "Ÿ", "ă", "ʯ", "\u{300}", "€", "é", "E+15", "1.2E+11", "@", "\t", "\u{200b}"])
                .prop_map(str::to_owned),
        ];
        proptest::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// What is found of eight bytes at once is what is found of each.
        #[test]
        fn a_look_at_words_is_a_look_at_characters(cell in any_cell()) {
            let is_usual = |c: char| matches!(c, ' '..='~' | '\u{c0}'..='\u{2ff}');
            let plain = cell.chars().all(is_usual) && !cell.starts_with(' ') && !cell.ends_with(' ');
            prop_assert_eq!(is_plain(&cell), plain, "{:?}", cell);
            prop_assert_eq!(has_double_space(cell.as_bytes()), cell.contains("  "), "{:?}", cell);
            if plain {
                let mut counts = Counts::new();
                prop_assert_eq!(tidy(&cell, &mut counts), Cow::Borrowed(cell.as_str()));
                flag(&cell, &mut counts);
                prop_assert!(!is_sound(&cell) || counts.touched() == Counts::new().touched(), "{:?}", cell);
                prop_assert!(is_sound(&cell) || cell.contains('Ã') || cell.contains("E+"), "{:?}", cell);
            }
        }

        #[test]
        fn a_text_respelled_at_a_glance_is_what_the_rule_makes_of_it(
            cell in prop_oneof![any_cell(), "[a-z.]{1,6}@[A-Za-z.-]{1,9}[.][a-zA-Z]{2,3}", "mailto:[a-z]{1,3}@[A-Z]{1,3}.de"],
        ) {
            use CleanRule::{AsciiPunct, CollapseInLines, CollapseSpaces, Digits, Email, Lower, Upper};
            for rule in [AsciiPunct, CollapseInLines, CollapseSpaces, Digits, Email, Lower, Upper] {
                let rules = [rule];
                let texts = Texts { rules: &rules, keeps_digits: false };
                let mut spelled = String::new();
                if !cell.is_empty() && is_sound(&cell) && !texts.leaves(&cell) && let Some(counted) = texts.respell(&cell, &mut spelled) {
                    let (mut once, mut read) = (Counts::new(), Counts::new());
                    once.add(counted);
                    let text = texts.read(&cell, None, &NullTokens::of([]), &mut read);
                    prop_assert_eq!(text.as_deref(), Some(spelled.as_str()), "{:?} by {:?}", cell, rule);
                    prop_assert_eq!(read.touched(), once.touched(), "{:?} by {:?}", cell, rule);
                }
            }
        }
    }
}
