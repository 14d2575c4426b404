//! Amounts of a file that announces a control sum: read exactly, added up, and spelled as the one before.
//!
//! An amount is digits with at most one decimal mark, a minus or plus before it or a minus after it, and between its thousands one
//! separator, in threes. Nothing is nothing, as an empty cell is. Anything else is no amount: a sum over it could not be proved.

use crate::value::Decimal;

/// How many decimals are added up: no field has more.
const SCALE: u8 = 9;

/// A sum of amounts, exact. Nothing if it does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sum(Option<i128>);

impl Sum {
    pub const ZERO: Sum = Sum(Some(0));

    pub fn plus(self, other: Sum) -> Sum {
        Sum(self.0.zip(other.0).and_then(|(one, other)| one.checked_add(other)))
    }

    pub fn minus(self, other: Sum) -> Sum {
        Sum(self.0.zip(other.0).and_then(|(one, other)| one.checked_sub(other)))
    }

    /// The number with the decimals that it needs and a point before them.
    pub fn shown(self) -> String {
        self.0.map_or_else(|| "more than can be told".to_owned(), |units| plain(units, 0))
    }
}

/// `-12.5`, with at least so many decimals.
fn plain(units: i128, decimals_min: usize) -> String {
    let text = Decimal { units, scale: SCALE }.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let needed = fraction.trim_end_matches('0').len().max(decimals_min);
    if needed == 0 { whole.to_owned() } else { format!("{whole}.{:0<needed$}", &fraction[..needed.min(fraction.len())]) }
}

/// An amount as it is spelled in a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Amount {
    pub sum: Sum,
    /// How many decimals it shows.
    decimals: usize,
    /// How many digits stand before the mark, where zeros fill them up.
    filled: usize,
    separator: Option<char>,
    has_plus: bool,
    /// Whether its minus stands behind it.
    is_trailing: bool,
}

impl Amount {
    /// The amount that a cell says; nothing if it says none. `mark` stands before the decimals.
    pub fn read(cell: &str, mark: char) -> Option<Amount> {
        let text = cell.trim();
        let nothing = Amount { sum: Sum::ZERO, decimals: 0, filled: 0, separator: None, has_plus: false, is_trailing: false };
        if text.is_empty() {
            return Some(nothing);
        }
        let (before, body) = text.strip_prefix(['-', '+']).map_or((None, text), |body| (text.chars().next(), body));
        let (is_trailing, body) = body.strip_suffix('-').map_or((false, body), |body| (true, body));
        if is_trailing && before.is_some() {
            return None;
        }
        let (whole, fraction) = body.split_once(mark).map_or((body, None), |(whole, fraction)| (whole, Some(fraction)));
        let separator = whole.chars().find(|c| !c.is_ascii_digit());
        let digits = match separator {
            None => whole.to_owned(),
            Some(separator) => {
                let groups: Vec<&str> = whole.split(separator).collect();
                let is_grouped = (1..=3).contains(&groups[0].len()) && groups[1..].iter().all(|group| group.len() == 3);
                if separator == mark || !matches!(separator, '.' | ',' | ' ' | '\u{a0}' | '\u{202f}' | '\'' | '’') || !is_grouped {
                    return None;
                }
                groups.concat()
            }
        };
        if fraction.is_some_and(str::is_empty) {
            return None;
        }
        let is_minus = is_trailing || before == Some('-');
        let spelled = format!("{}{digits}.{}", if is_minus { "-" } else { "" }, fraction.unwrap_or("0"));
        let number = Decimal::parse(&spelled, SCALE).ok()?;
        Some(Amount {
            sum: Sum(Some(number.units)),
            decimals: fraction.map_or(0, str::len),
            filled: if digits.len() > 1 && digits.starts_with('0') { digits.len() } else { 0 },
            separator,
            has_plus: before == Some('+'),
            is_trailing,
        })
    }

    /// Another sum, spelled in the same way; nothing if it does not fit.
    pub fn spelling(&self, sum: Sum, mark: char) -> Option<String> {
        let units = sum.0.filter(|units| Decimal { units: *units, scale: SCALE }.in_range())?;
        let text = plain(units.checked_abs()?, self.decimals);
        let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, fraction)| (whole, Some(fraction)));
        let whole = format!("{whole:0>width$}", width = self.filled);
        let mut spelled = String::with_capacity(text.len() * 2);
        match (units < 0, self.has_plus) {
            (true, _) if !self.is_trailing => spelled.push('-'),
            (false, true) => spelled.push('+'),
            _ => {}
        }
        for (at, digit) in whole.chars().enumerate() {
            if let Some(separator) = self.separator.filter(|_| at > 0 && (whole.len() - at).is_multiple_of(3)) {
                spelled.push(separator);
            }
            spelled.push(digit);
        }
        if let Some(fraction) = fraction {
            spelled.push(mark);
            spelled.push_str(fraction);
        }
        if units < 0 && self.is_trailing {
            spelled.push('-');
        }
        Some(spelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_and_nothing_else_is_one() {
        for (cell, mark, shown) in [
            ("99.50", '.', Some("99.5")),
            ("", '.', Some("0")),
            (" 7 ", '.', Some("7")),
            ("-0.10", '.', Some("-0.1")),
            ("1.234,56", ',', Some("1234.56")),
            ("1 234 567,8-", ',', Some("-1234567.8")),
            ("+0000012", '.', Some("12")),
            ("0.1", '.', Some("0.1")),
            ("0.000000001", '.', Some("0.000000001")),
            ("0.0000000001", '.', None),
            ("0.5000000000", '.', Some("0.5")),
            ("1.234", ',', Some("1234")),
            ("1,234.5", ',', None),
            ("1,23", '.', None),
            ("12.", '.', None),
            (".5", '.', None),
            ("-5-", '.', None),
            ("n/a", '.', None),
            ("1e3", '.', None),
            ("€ 5", '.', None),
            ("99999999999999999999999999999", '.', None),
        ] {
            assert_eq!(Amount::read(cell, mark).map(|amount| amount.sum.shown()).as_deref(), shown, "{cell:?}");
        }
    }

    #[test]
    fn another_sum_is_spelled_as_the_one_before() {
        for (cell, mark, added, expected) in [
            ("99.50", '.', "0.50", "100.00"),
            ("99.5", '.', "0.25", "99.75"),
            ("0000099.50", '.', "1000", "0001099.50"),
            ("99", '.', "1", "100"),
            ("1.999,99", ',', "0,01", "2.000,00"),
            ("999,00", ',', "1,00", "1000,00"),
            ("5.00", '.', "-7.5", "-2.50"),
            ("5,00-", ',', "3", "2,00-"),
            ("5,00-", ',', "7", "2,00"),
            ("+5.00", '.', "1", "+6.00"),
            ("", '.', "3.10", "3.1"),
        ] {
            let (amount, added) = (Amount::read(cell, mark).expect("an amount"), Amount::read(added, mark).expect("an amount"));
            assert_eq!(amount.spelling(amount.sum.plus(added.sum), mark).as_deref(), Some(expected), "{cell:?}");
        }
        let most = Amount::read("9999999999999999999999999999", '.').expect("an amount");
        assert_eq!(most.spelling(most.sum.plus(most.sum), '.'), None);
    }
}
