//! How texts, numbers, counts and values of a report are spelled for people.
//!
//! Never decides what is shown, only how. Nothing is rounded: every digit of an amount is there.

use std::borrow::Cow;

use crate::change::{Reason, Settled};
use crate::value::{Decimal, Value};

/// What stands in the place of a value that is masked.
pub const MASK: &str = "•••";

/// What stands in the place of a null.
pub(super) const EMPTY: &str = "(empty)";

/// Whether a character has no shape of its own, or acts on the text around it: controls, bidirectional controls, line
/// separators, invisible fillers and tags. Joiners are not among them, because several scripts are spelled with them.
pub(super) fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// The text with every hidden character made visible: `⏎` and `⇥` for line feed and tab, `[U+202E]` for the others.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' => safe.push('⏎'),
            '\t' => safe.push('⇥'),
            hidden if is_hidden(hidden) => safe.push_str(&format!("[U+{:04X}]", u32::from(hidden))),
            other => safe.push(other),
        }
    }
    Cow::Owned(safe)
}

/// The text, cut to at most `characters_max` characters, with the number of those that are left out.
pub(super) fn cut(text: &str, characters_max: usize) -> String {
    match text.char_indices().nth(characters_max) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}… (+{})", &text[..at], plural(text[at..].chars().count() as u64, "character", "characters")),
    }
}

/// A whole number with thousands separators.
pub(super) fn count(number: u64) -> String {
    with_thousands(&number.to_string())
}

/// The same for a length.
pub(super) fn count_of(number: usize) -> String {
    with_thousands(&number.to_string())
}

/// `1 record`, `2 records`, `8,412 records`.
pub(super) fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// An exact number with thousands separators and all its decimals.
pub(super) fn decimal(number: Decimal) -> String {
    let text = number.to_string();
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
    match digits.split_once('.') {
        Some((whole, fraction)) => format!("{sign}{}.{fraction}", with_thousands(whole)),
        None => format!("{sign}{}", with_thousands(digits)),
    }
}

fn with_thousands(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The number without zeros beyond the second decimal: a field of several currencies has the decimals of the finest.
pub(super) fn without_idle_zeros(number: Decimal) -> Decimal {
    (2..number.scale).find_map(|scale| number.rescale(scale)).unwrap_or(number)
}

/// An amount with the decimals of its currency; where that would lose a digit, with the field's own.
pub(super) fn amount(number: Decimal, currency: Option<&str>) -> String {
    decimal(number.in_currency(currency))
}

/// An amount behind its currency: `EUR 1,240.50`.
pub(super) fn money(number: Decimal, currency: Option<&str>) -> String {
    match currency {
        Some(code) => format!("{} {}", visible(code), amount(number, Some(code))),
        None => decimal(number),
    }
}

/// A value for people: a null is `(empty)`, a number has thousands separators. Whole numbers have none, because many of them
/// are ids; zeros beyond the second decimal are left out.
pub fn value(value: &Value) -> String {
    match value {
        Value::Null => EMPTY.to_owned(),
        Value::Decimal(number) => decimal(without_idle_zeros(*number)),
        Value::List(items) => items.join("; "),
        other => other.to_string(),
    }
}

/// A sign before a movement: `+3`, `−5`.
pub(super) fn movement(more: u64, fewer: u64) -> String {
    format!("+{}, −{}", count(more), count(fewer))
}

/// A number of days.
pub(super) fn days(number: i64) -> String {
    plural(u64::try_from(number).unwrap_or(0), "day", "days")
}

/// `once`, `twice`, `3 times`.
pub(super) fn times(number: u32) -> String {
    match number {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    }
}

/// A reason in words.
pub(super) fn reason(reason: &Reason) -> String {
    match reason {
        Reason::Owed { decided, attempts: 0 } => format!("owed since an earlier run: {}", self::reason(decided)),
        Reason::Owed { decided, attempts } => format!("owed since an earlier run, sent {} before: {}", times(*attempts), self::reason(decided)),
        other => other.to_string(),
    }
}

/// Whether a change that ended so is in the system as it was planned.
pub(super) fn arrived(settled: Settled) -> bool {
    matches!(settled, Settled::Verified | Settled::Normalised)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_every_digit() {
        let decimals = |units, scale| Decimal { units, scale };
        for (number, currency, text) in [
            (decimals(120_455_110, 2), Some("EUR"), "EUR 1,204,551.10"),
            (decimals(-5, 2), Some("EUR"), "EUR -0.05"),
            (decimals(-123_456, 2), None, "-1,234.56"),
            (decimals(120_000, 2), Some("JPY"), "JPY 1,200"),
            (decimals(120_050, 2), Some("JPY"), "JPY 1,200.50"),
            (decimals(150, 2), Some("KWD"), "KWD 1.500"),
            (decimals(1_500_250, 3), Some("EUR"), "EUR 1,500.25"),
            (decimals(1_500_255, 3), Some("EUR"), "EUR 1,500.255"),
            (decimals(1_500_250, 3), Some("North"), "North 1,500.250"),
            (decimals(999, 0), None, "999"),
            (decimals(1_000, 0), None, "1,000"),
        ] {
            assert_eq!(money(number, currency), text);
        }
        assert_eq!(count(1_234_567), "1,234,567");
    }

    #[test]
    fn a_value_has_no_zeros_that_say_nothing() {
        for (units, scale, text) in
            [(11_634_910, 3, "11,634.91"), (1_225_508_000, 3, "1,225,508.00"), (4_794_407, 3, "4,794.407"), (50, 1, "5.0"), (500, 2, "5.00")]
        {
            assert_eq!(value(&Value::Decimal(Decimal { units, scale })), text);
        }
    }

    #[test]
    fn hidden_characters_are_spelled_out() {
        assert_eq!(visible("a\u{1b}[2Jb"), "a[U+001B][2Jb");
        assert_eq!(visible("evil\u{202e}fdp.exe"), "evil[U+202E]fdp.exe");
        assert_eq!(visible("two\nlines\tand \u{9b}31m"), "two⏎lines⇥and [U+009B]31m");
        assert_eq!(visible("Müller, שלום"), "Müller, שלום");
    }

    #[test]
    fn a_cut_text_says_how_much_is_missing() {
        assert_eq!(cut("Müller", 6), "Müller");
        assert_eq!(cut("Müllers", 6), "Müller… (+1 character)");
    }

    #[test]
    fn an_owed_change_counts_in_words() {
        let decided = Box::new(Reason::OwnerWins { owner: "erp".into() });
        let owed = |attempts| Reason::Owed { decided: decided.clone(), attempts };
        assert_eq!(reason(&owed(1)), "owed since an earlier run, sent once before: `erp` owns the field");
        assert_eq!(reason(&owed(3)), "owed since an earlier run, sent 3 times before: `erp` owns the field");
    }
}
