//! Numbers: from a system's spelling to an exact number of units, or a reason why not.
//!
//! Words: the *mark* stands before the decimals, one for each column; *group separators* stand between thousands.
//!
//! ```text
//! spelled   = number with at most one sign and at most one currency round it, spaces between them allowed
//! sign      = "-" or U+2212 or "+" before or after, or parentheses round it (minus)
//! currency  = one of € $ £ ¥, or three capital letters
//! number    = digits-with-groups [ mark digits ]
//! groups    = one separator throughout, of , . ' ’ space U+00A0 U+202F, and never the mark;
//!             one to three digits, then threes (1,234,567); or twos and a last three (12,34,567)
//! ```
//!
//! What a system stores as a number has the mark `.` whatever the column declares, and may have an exponent. Text may not.
//! Never: a binary float, a guess at the mark, a per cent sign.
//!
//! # Design
//! - `1,23` where the mark is `.` is refused: it is far more often a decimal comma than a hundred and twenty-three.
//!   `0,123` is refused too; no group begins with a zero.
//! - `CR` and `DR` are refused. A bank's credit is its customer's money in, a ledger's credit is a minus, and a job cannot say
//!   which of the two a column means: a sign that is guessed is worse than a row that waits.
//! - A currency is taken off and counted by its name. What an amount is worth is for the field that carries the currency.

use crate::job::{ColumnSpec, Field, Round};
use crate::reconcile::clean::counts::{Counts, Rule, Unreadable};
use crate::value::{Decimal, DecimalProblem, Excess, FieldType, Storage};

/// How the numbers of one field are read in one column.
pub(super) struct Numbers {
    mark: char,
    /// The mark, if it is ASCII; else a byte that no text holds.
    mark_byte: u8,
    scale: u8,
    round: Option<Round>,
    is_integer: bool,
}

/// A text of at most this many bytes cannot overflow 64 bits.
const PLAIN_BYTES_MAX: usize = 18;

impl Numbers {
    /// The numbers of a field in a column.
    pub(super) fn new(field: &Field, column: &ColumnSpec) -> Numbers {
        const NO_BYTE: u8 = 0xff;
        let mark = column.decimal.unwrap_or('.');
        let (scale, is_integer) = match field.field_type {
            FieldType::Decimal(scale) => (scale, false),
            _ => (0, true),
        };
        let mark_byte = u8::try_from(mark).ok().filter(u8::is_ascii).unwrap_or(NO_BYTE);
        Numbers { mark, mark_byte, scale, round: field.round, is_integer }
    }

    /// The units of a plainly spelled number, `-?digits(mark digits)?`; nothing if [`Numbers::read`] must look closer.
    pub(super) fn plain(&self, cell: &str, storage: Storage) -> Option<i128> {
        let mark = if storage == Storage::Text { self.mark_byte } else { b'.' };
        let bytes = cell.as_bytes();
        let (negative, digits) = match bytes {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, bytes),
        };
        if digits.is_empty() || digits.len() > PLAIN_BYTES_MAX {
            return None;
        }
        let mut units: u64 = 0;
        let mut mark_at = None;
        for (at, byte) in digits.iter().enumerate() {
            let digit = byte.wrapping_sub(b'0');
            if digit < 10 {
                units = units * 10 + u64::from(digit);
            } else if *byte == mark && mark_at.is_none() && at > 0 {
                mark_at = Some(at);
            } else {
                return None;
            }
        }
        let decimals = mark_at.map_or(0, |at| digits.len() - at - 1);
        if (mark_at.is_some() && decimals == 0) || decimals > usize::from(self.scale) {
            return None;
        }
        let missing = u32::from(self.scale) - u32::try_from(decimals).ok()?;
        let units = i128::from(units) * 10_i128.pow(missing);
        Some(if negative { -units } else { units })
    }

    /// The units of a tidy text that is not null.
    pub(super) fn read(&self, text: &str, storage: Storage, counts: &mut Counts) -> Result<i128, Unreadable> {
        let plain = match storage {
            Storage::Text => self.plain_text(text, counts)?,
            _ => with_exponent_spelled_out(text).ok_or_else(|| self.is_not())?,
        };
        let (decimal, excess) = Decimal::parse_excess(&plain, self.scale).map_err(|problem| match problem {
            DecimalProblem::Range => self.out_of_range(),
            DecimalProblem::Syntax | DecimalProblem::Scale => self.is_not(),
        })?;
        let mut units = decimal.units;
        if !excess.is_zero() {
            let Some(round) = self.round else {
                let decimals = plain.split_once('.').map_or(0, |(_, fraction)| fraction.trim_end_matches('0').len());
                let plural = if decimals == 1 { "" } else { "s" };
                return Err(Unreadable::But(match self.is_integer {
                    true => format!("has {decimals} decimal{plural}, an integer has none"),
                    false => format!("has {decimals} decimal{plural}, the field declares {}", self.scale),
                }));
            };
            let away = match round {
                Round::HalfUp => matches!(excess, Excess::Half | Excess::AboveHalf),
                Round::HalfEven => excess == Excess::AboveHalf || (excess == Excess::Half && units % 2 != 0),
            };
            // The sign is the text's: what was cut off may leave a zero.
            units += i128::from(away) * if plain.starts_with('-') { -1 } else { 1 };
            counts.add(Rule::Rounded);
        }
        if !(Decimal { units, scale: self.scale }).in_range() {
            return Err(self.out_of_range());
        }
        Ok(units)
    }

    /// The units as a number of 64 bits.
    pub(super) fn integer(&self, units: i128) -> Result<i64, Unreadable> {
        i64::try_from(units).map_err(|_| self.out_of_range())
    }

    fn kind(&self) -> &'static str {
        if self.is_integer { "a whole number" } else { "a decimal number" }
    }

    fn is_not(&self) -> Unreadable {
        Unreadable::IsNot(self.kind().to_owned())
    }

    /// As [`Numbers::is_not`], naming the mark where the text might be a number with another one.
    fn is_not_with_mark(&self, text: &str) -> Unreadable {
        let could_be = text.contains([',', '.']) && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b',' | b'.'));
        if could_be { Unreadable::IsNot(format!("{} with the decimal mark `{}`", self.kind(), self.mark)) } else { self.is_not() }
    }

    fn out_of_range(&self) -> Unreadable {
        Unreadable::But(if self.is_integer { "does not fit 64 bits" } else { "is 10^28 or more in absolute value" }.to_owned())
    }

    /// `-?digits(.digits)?` for a spelled number.
    fn plain_text(&self, text: &str, counts: &mut Counts) -> Result<String, Unreadable> {
        let mut body = text;
        let (mut sign, mut currency) = (None, None);
        loop {
            let before = body;
            if sign.is_none() {
                (body, sign) = take_sign(body);
            }
            if currency.is_none() {
                (body, currency) = take_currency(body);
            }
            body = body.trim();
            if body.len() == before.len() {
                break;
            }
        }
        if body.ends_with("CR") || body.ends_with("DR") {
            return Err(Unreadable::But("says `CR` or `DR`, which is a plus in one system and a minus in another".to_owned()));
        }
        let (whole, fraction) = match body.split_once(self.mark) {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (body, None),
        };
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let (mut plain, grouped) = match self.without_groups(whole) {
            Some(digits) if fraction.is_none_or(is_digits) => digits,
            _ => return Err(self.is_not_with_mark(body)),
        };
        if let Some(fraction) = fraction {
            plain.push('.');
            plain.push_str(fraction);
        }
        if grouped {
            counts.add(Rule::Groups);
        }
        if let Some(currency) = currency {
            counts.add_currency(currency);
        }
        if let Some(sign) = sign {
            if sign.is_unusual {
                counts.add(Rule::Minus);
            }
            if sign.is_minus {
                plain.insert(0, '-');
            }
        }
        Ok(plain)
    }

    /// The digits of the whole part, and whether there were groups; nothing if it is no number, or grouped wrongly.
    fn without_groups(&self, whole: &str) -> Option<(String, bool)> {
        const GROUP_DIGITS: usize = 3;
        let mut digits = String::with_capacity(whole.len() + 1);
        let mut separator = None;
        // The lengths of the finished groups, as far as they matter: the first, then whether all others had two or three digits.
        let (mut first, mut all_twos, mut all_threes) = (0, true, true);
        let mut length = 0;
        for c in whole.chars() {
            if c.is_ascii_digit() {
                digits.push(c);
                length += 1;
                continue;
            }
            let is_separator = matches!(c, ',' | '.' | ' ' | '\u{a0}' | '\u{202f}' | '\'' | '’') && c != self.mark;
            if !is_separator || length == 0 || *separator.get_or_insert(c) != c {
                return None;
            }
            if first == 0 {
                first = length;
            } else {
                all_twos &= length == GROUP_DIGITS - 1;
                all_threes &= length == GROUP_DIGITS;
            }
            length = 0;
        }
        if separator.is_none() {
            return (length > 0).then_some((digits, false));
        }
        let starts_well = !digits.starts_with('0') && first <= if all_threes { GROUP_DIGITS } else { GROUP_DIGITS - 1 };
        (length == GROUP_DIGITS && starts_well && (all_threes || all_twos)).then_some((digits, true))
    }
}

struct Sign {
    is_minus: bool,
    /// Any but a hyphen or a plus before the number.
    is_unusual: bool,
}

/// The text without one sign, and the sign.
fn take_sign(text: &str) -> (&str, Option<Sign>) {
    if let Some(rest) = text.strip_prefix('-') {
        return (rest, Some(Sign { is_minus: true, is_unusual: false }));
    }
    if let Some(rest) = text.strip_prefix('+').or_else(|| text.strip_suffix('+')) {
        return (rest, Some(Sign { is_minus: false, is_unusual: false }));
    }
    let unusual = text.strip_suffix('-').or_else(|| text.strip_prefix('−')).or_else(|| text.strip_suffix('−'));
    match unusual.or_else(|| text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'))) {
        Some(rest) => (rest, Some(Sign { is_minus: true, is_unusual: true })),
        None => (text, None),
    }
}

/// The text without one currency, and the currency.
fn take_currency(text: &str) -> (&str, Option<&str>) {
    const CODE_BYTES: usize = 3;
    let is_code = |part: &&str| part.bytes().all(|b| b.is_ascii_uppercase());
    let is_symbol = |c: char| matches!(c, '€' | '$' | '£' | '¥');
    let at_start = match text.chars().next() {
        Some(c) if is_symbol(c) => Some(c.len_utf8()),
        _ => text.get(..CODE_BYTES).filter(is_code).map(str::len),
    };
    if let Some(length) = at_start.filter(|length| *length < text.len()) {
        let (currency, rest) = text.split_at(length);
        return (rest, Some(currency));
    }
    let at_end = match text.chars().next_back() {
        Some(c) if is_symbol(c) => Some(c.len_utf8()),
        _ => text.len().checked_sub(CODE_BYTES).and_then(|start| text.get(start..)).filter(is_code).map(str::len),
    };
    if let Some(length) = at_end.filter(|length| *length < text.len()) {
        let (rest, currency) = text.split_at(text.len() - length);
        return (rest, Some(currency));
    }
    (text, None)
}

/// A stored number with its exponent worked into the digits: `1.5e-7` is `0.00000015`. Nothing for infinities, and for what
/// no float can be.
fn with_exponent_spelled_out(text: &str) -> Option<String> {
    const EXPONENT_MAX: i32 = 400;
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        return Some(text.to_owned());
    };
    let exponent: i32 = exponent.parse().ok().filter(|exponent: &i32| exponent.abs() <= EXPONENT_MAX)?;
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let mark_at = i32::try_from(whole.len()).ok()? + exponent;
    let length = i32::try_from(digits.len()).ok()?;
    let zeros = |count: i32| "0".repeat(count.unsigned_abs() as usize);
    Some(if mark_at <= 0 {
        format!("{sign}0.{}{digits}", zeros(mark_at))
    } else if mark_at >= length {
        format!("{sign}{digits}{}", zeros(mark_at - length))
    } else {
        let (whole, fraction) = digits.split_at(usize::try_from(mark_at).ok()?);
        format!("{sign}{whole}.{fraction}")
    })
}
