//! Cells of a Parquet file as text, and texts as what a column keeps.
//!
//! Numbers are spelled by their digits, a binary float by the shortest that is it; dates and moments as ISO 8601, a moment with a zone
//! in UTC; bytes in lower-case hexadecimal.

use std::fmt::Write as _;

use super::frame::{Cell, Cells, Column, Kind};
use crate::value::{Raw, Storage, Value, date_of, days_of};

const NANOSECONDS: i128 = 1_000_000_000;

/// A cell as raw text; null for a nested one, which no field can hold.
pub(super) fn raw_of(column: &Column, cell: Option<&Cell>) -> Raw {
    let mut text = String::new();
    match cell.and_then(|cell| spell(column, cell, &mut text)) {
        Some(storage) => Raw { text: Some(text), storage },
        None => Raw::null(),
    }
}

/// Spells a cell behind what is there already, and says how it is stored; nothing for null.
pub(super) fn spell(column: &Column, cell: &Cell, text: &mut String) -> Option<Storage> {
    // Writing to a text cannot fail.
    Some(match (cell, &column.kind) {
        (Cell::Null, _) => return None,
        (Cell::Text(value), kind) => {
            text.push_str(value);
            if *kind == Kind::Bytes { Storage::Blob } else { Storage::Text }
        }
        (Cell::Boolean(truth), _) => {
            let _ = write!(text, "{truth}");
            Storage::Text
        }
        (Cell::Float(_), _) => {
            text.push_str(&cell_float(column, cell));
            Storage::Real
        }
        (Cell::Whole(units), Kind::Decimal { scale, .. }) => {
            push_decimal(*units, *scale, text);
            if *scale == 0 { Storage::Integer } else { Storage::Real }
        }
        (Cell::Whole(days), Kind::Date) => {
            push_date(*days, text);
            Storage::Date
        }
        (Cell::Whole(ticks), Kind::Moment { per_second, has_zone }) => {
            push_moment(*ticks, i128::from(*per_second), text);
            if *has_zone {
                text.push('Z');
            }
            Storage::Date
        }
        (Cell::Whole(number), _) => {
            let _ = write!(text, "{number}");
            Storage::Integer
        }
    })
}

/// Why a cell is no value of a field, though its column is.
pub(super) fn fault(column: &Column, cell: &Cell) -> Option<String> {
    match (cell, &column.kind) {
        (Cell::Float(number), _) if !number.is_finite() => Some("is no number".to_owned()),
        (Cell::Whole(days), Kind::Date) if i32::try_from(*days).ok().and_then(date_of).is_none() => Some("is a date that no calendar here has".to_owned()),
        (Cell::Whole(ticks), Kind::Moment { per_second, .. }) if timestamp(*ticks, i128::from(*per_second)).is_none() => {
            Some("is a moment that no calendar here has".to_owned())
        }
        _ => None,
    }
}

/// Whether the floats of a column have single precision.
pub(super) fn is_single(column: &Column) -> bool {
    matches!(column.cells, Cells::Float32(_))
}

fn cell_float(column: &Column, cell: &Cell) -> String {
    match cell {
        Cell::Float(number) => float_text(column, *number),
        _ => String::new(),
    }
}

/// The shortest decimal form of a float of a column.
pub(super) fn float_text(column: &Column, number: f64) -> String {
    if is_single(column) { (number as f32).to_string() } else { number.to_string() }
}

fn push_decimal(units: i128, scale: u8, text: &mut String) {
    let digits = units.unsigned_abs().to_string();
    let digits = format!("{digits:0>width$}", width = usize::from(scale) + 1);
    let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
    if units < 0 {
        text.push('-');
    }
    text.push_str(whole);
    if scale > 0 {
        text.push('.');
        text.push_str(fraction);
    }
}

fn push_date(days: i128, text: &mut String) {
    let _ = match i32::try_from(days).ok().and_then(date_of) {
        Some(date) => write!(text, "{date}"),
        None => write!(text, "day {days}"),
    };
}

fn timestamp(ticks: i128, per_second: i128) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_nanosecond(ticks.checked_mul(NANOSECONDS / per_second)?).ok()
}

fn push_moment(ticks: i128, per_second: i128, text: &mut String) {
    let _ = match timestamp(ticks, per_second) {
        Some(timestamp) => write!(text, "{}", jiff::tz::TimeZone::UTC.to_datetime(timestamp)),
        None => write!(text, "tick {ticks}"),
    };
}

/// The units of a plain number of so many decimals; nothing if it has more of them, or is too large.
pub(super) fn units_of(text: &str, scale: u8) -> Option<i128> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let (kept, rest) = fraction.as_bytes().split_at(fraction.len().min(usize::from(scale)));
    if rest.iter().any(|digit| *digit != b'0') {
        return None;
    }
    let zeros = std::iter::repeat_n(&b'0', usize::from(scale) - kept.len());
    whole
        .as_bytes()
        .iter()
        .chain(kept)
        .chain(zeros)
        .try_fold(0_i128, |units, digit| units.checked_mul(10)?.checked_add(sign * i128::from(digit.wrapping_sub(b'0'))))
}

/// The days of a date since 1970-01-01.
pub(super) fn date(value: &Value, text: &str) -> Option<i32> {
    match value {
        Value::Date(days) => Some(*days),
        _ => text.trim().parse().ok().map(days_of),
    }
}

/// The nanoseconds of a moment since 1970-01-01T00:00, in UTC if it has a zone.
pub(super) fn nanoseconds(value: &Value, text: &str, has_zone: bool) -> Option<i128> {
    match (value, has_zone) {
        (Value::Instant(micros), true) | (Value::Datetime(micros), false) => return Some(i128::from(*micros) * 1_000),
        (Value::Date(days), false) => return Some(i128::from(*days) * 86_400 * NANOSECONDS),
        _ => {}
    }
    if has_zone {
        return text.trim().parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_nanosecond);
    }
    // A zone that a text names would silently be dropped.
    if text.trim().parse::<jiff::Timestamp>().is_ok() {
        return None;
    }
    let local: jiff::civil::DateTime = text.trim().parse().ok()?;
    jiff::tz::TimeZone::UTC.to_timestamp(local).ok().map(jiff::Timestamp::as_nanosecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_exact_or_refused() {
        for (text, scale, expected) in [
            ("12.30", 2, Some(1230)),
            ("-0.05", 2, Some(-5)),
            ("12.300", 2, Some(1230)),
            ("12.301", 2, None),
            ("7", 3, Some(7000)),
            ("7", 38, None),
            ("0.1", 37, Some(10_i128.pow(36))),
        ] {
            assert_eq!(units_of(text, scale), expected, "{text}");
        }
        for (units, scale, expected) in [(1230, 2, "12.30"), (-5, 2, "-0.05"), (7, 0, "7"), (0, 2, "0.00"), (-1230, 2, "-12.30")] {
            let mut text = String::new();
            push_decimal(units, scale, &mut text);
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn moments_are_iso() {
        for (ticks, per_second, expected) in [
            (0, 1, "1970-01-01T00:00:00"),
            (-1, 1_000, "1969-12-31T23:59:59.999"),
            (1_772_366_400_123_456, 1_000_000, "2026-03-01T12:00:00.123456"),
            (1_772_366_400_000_000_001, 1_000_000_000, "2026-03-01T12:00:00.000000001"),
        ] {
            let mut text = String::new();
            push_moment(ticks, per_second, &mut text);
            assert_eq!(text, expected);
            assert_eq!(nanoseconds(&Value::Null, expected, false), Some(ticks * NANOSECONDS / per_second));
        }
        assert_eq!(nanoseconds(&Value::Null, "2026-03-01T12:00:00+01:00", false), None);
        assert_eq!(nanoseconds(&Value::Null, "2026-03-01T12:00:00", true), None);
        assert_eq!(date(&Value::Null, "2026-02-30"), None);
    }
}
