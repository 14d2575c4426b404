//! Cells of which no job says what they hold: what any of its spellings has in common.
//!
//! Two cells with one form say the same. The form is only compared and never written.
//!
//! - Text is tidied as that of a job is ([`super::text::tidy`]), and a null token is the empty text.
//! - A number is one if it is spelled with digits and a decimal mark alone, with a minus before it if need be, and with points or
//!   commas between its thousands: `1,234.50` is `1234.5`. Nothing with a leading zero is one, because `007` is somebody's
//!   number and not seven; nor is what has more than nine decimals, a plus or a currency.

use std::borrow::Cow;

use crate::job::NULL_TOKENS;
use crate::reconcile::clean::counts::Counts;
use crate::reconcile::clean::number::Numbers;
use crate::reconcile::clean::text::{NullTokens, is_plain, tidy};
use crate::value::{Decimal, SCALE_MAX, Storage};

/// What is needed to find the form of a cell.
pub struct Untyped {
    tokens: NullTokens,
    numbers: Numbers,
    mark: char,
}

impl Untyped {
    /// Cells whose numbers have this decimal mark, `.` or `,`.
    pub fn new(mark: char) -> Untyped {
        Untyped { tokens: NullTokens::of(NULL_TOKENS.iter().map(|token| (*token).to_owned())), numbers: Numbers::untyped(mark), mark }
    }

    /// The form of a cell that identifies a record: a number is what it is spelled.
    pub fn key<'c>(&self, cell: &'c str) -> Cow<'c, str> {
        if is_plain(cell) && !self.tokens.may_be(cell) {
            return Cow::Borrowed(cell);
        }
        let mut counts = Counts::new();
        let text = tidy(cell, &mut counts);
        if self.tokens.is_null(&text, &mut counts) { Cow::Borrowed("") } else { text }
    }

    /// The form of another cell.
    pub fn form<'c>(&self, cell: &'c str) -> Cow<'c, str> {
        let text = self.key(cell);
        if self.is_short(&text) {
            return text;
        }
        match self.number(&text) {
            Some(number) if *text != *number => Cow::Owned(number),
            _ => text,
        }
    }

    /// Whether a tidy text says no number, or one that is as short as it can be, as can be seen at a glance.
    fn is_short(&self, text: &str) -> bool {
        let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
        let are_digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
        let is_whole = |part: &[u8]| are_digits(part) && (part.len() == 1 && part != b"0" || part.len() > 1 && part[0] != b'0');
        match memchr::memchr(b'.', digits) {
            _ if !digits.first().is_some_and(u8::is_ascii_digit) => true,
            None => is_whole(digits) || text == "0",
            Some(at) => {
                let (whole, decimals) = (&digits[..at], &digits[at + 1..]);
                let is_shortest = are_digits(decimals) && !decimals.is_empty() && decimals.last() != Some(&b'0');
                self.mark == '.' && (whole == b"0" || is_whole(whole)) && is_shortest
            }
        }
    }

    /// The number that a tidy text says, as short as it can be spelled.
    fn number(&self, text: &str) -> Option<String> {
        let number = self.decimal(text)?.to_string();
        Some(if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.').to_owned() } else { number })
            .map(|number| if number == "-0" { "0".to_owned() } else { number })
    }

    /// The number that a tidy text says.
    pub fn decimal(&self, text: &str) -> Option<Decimal> {
        let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
        let (first, second) = (digits.first()?, digits.get(1));
        if !first.is_ascii_digit() || *first == b'0' && second.is_some_and(u8::is_ascii_digit) {
            return None;
        }
        let units = self.numbers.plain(text, Storage::Text).or_else(|| self.numbers.grouped(text, Storage::Text))?;
        Some(Decimal { units, scale: SCALE_MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_value_have_one_form() {
        for (cell, mark, form) in [
            (" Müller\u{a0}", '.', "Müller"),
            ("N/A", '.', ""),
            ("  ", '.', ""),
            ("-", '.', ""),
            ("12.50", '.', "12.5"),
            ("1,234.50", '.', "1234.5"),
            ("1.234,50", ',', "1234.5"),
            ("12,50", '.', "12,50"),
            ("-0.0", '.', "0"),
            ("100", '.', "100"),
            ("007", '.', "007"),
            ("0.70", '.', "0.7"),
            ("+49", '.', "+49"),
            ("€ 5", '.', "€ 5"),
            ("4111111111111111", '.', "4111111111111111"),
            ("12345678901234567890123", '.', "12345678901234567890123"),
            ("0.1234567891", '.', "0.1234567891"),
            ("1e3", '.', "1e3"),
            ("1.", '.', "1."),
        ] {
            let untyped = Untyped::new(mark);
            assert_eq!(untyped.form(cell), form, "{cell:?}");
            // What is seen at a glance is what a closer look finds.
            let text = untyped.key(cell);
            assert!(!untyped.is_short(&text) || untyped.number(&text).is_none_or(|number| number == *text), "{cell:?}");
        }
        assert_eq!(Untyped::new('.').key("12.50"), "12.50");
    }
}
