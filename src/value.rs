//! The kinds of value that a field can have, and their canonical text.
//!
//! A [`Value`] is always *clean*: it is what we would store. Money and quantities are [`Decimal`]s, whole numbers of
//! `10^-scale`; binary floating point never holds one. Reading a system's spelling of a value is the work of
//! `reconcile::clean`; this module only knows the canonical spelling, which is the same for every system.
//!
//! # Design
//! The canonical text is total: `FieldType::parse_canonical(&value.to_string())` gives the value back. It is what keys are
//! joined from, what plans and ledgers hold and what the report shows.

use std::fmt;

use jiff::civil;
use serde::{Deserialize, Serialize};

/// Separates the parts of a key of several fields in its canonical text. No clean text contains it, because cleaning
/// drops control characters.
pub const KEY_SEPARATOR: char = '\u{1f}';

/// The largest number of decimals that a field may declare.
pub const SCALE_MAX: u8 = 9;

/// Every decimal is smaller than this in absolute value.
const DECIMAL_BOUND: i128 = 10_i128.pow(28);

/// What a field holds, as the job file declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FieldType {
    /// Unicode text in NFC.
    Text,
    /// A whole number within 64 bits.
    Integer,
    /// An exact number with this many decimals, at most [`SCALE_MAX`].
    Decimal(u8),
    /// True or false.
    Boolean,
    /// A day of the Gregorian calendar. Never shifted by a time zone.
    Date,
    /// A moment in time, to the microsecond, in UTC.
    Instant,
    /// A date and a time of day without a zone, to the microsecond.
    Datetime,
    /// An ordered list of texts.
    List,
}

impl FieldType {
    /// Reads the canonical text of a value of this type; nothing if `text` is not one.
    pub fn parse_canonical(self, text: &str) -> Option<Value> {
        Some(match self {
            FieldType::Text => Value::Text(text.to_owned()),
            FieldType::Integer => Value::Integer(text.parse().ok()?),
            FieldType::Decimal(scale) => Value::Decimal(Decimal::parse(text, scale).ok()?),
            FieldType::Boolean => Value::Boolean(match text {
                "true" => true,
                "false" => false,
                _ => return None,
            }),
            FieldType::Date => Value::Date(days_of(text.parse().ok()?)),
            FieldType::Instant => Value::Instant(text.parse::<jiff::Timestamp>().ok()?.as_microsecond()),
            FieldType::Datetime => Value::Datetime(micros_of(text.parse().ok()?)),
            FieldType::List => Value::List(serde_json::from_str(text).ok()?),
        })
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldType::Text => f.write_str("text"),
            FieldType::Integer => f.write_str("integer"),
            FieldType::Decimal(scale) => write!(f, "decimal({scale})"),
            FieldType::Boolean => f.write_str("boolean"),
            FieldType::Date => f.write_str("date"),
            FieldType::Instant => f.write_str("instant"),
            FieldType::Datetime => f.write_str("datetime"),
            FieldType::List => f.write_str("list"),
        }
    }
}

/// The days from 1970-01-01 to `date`.
pub fn days_of(date: civil::Date) -> i32 {
    civil::date(1970, 1, 1).until(date).map_or(0, |span| span.get_days())
}

/// The day that is `days` after 1970-01-01; nothing outside the years -9999 to 9999.
pub fn date_of(days: i32) -> Option<civil::Date> {
    let span = jiff::Span::new().try_days(days).ok()?;
    civil::date(1970, 1, 1).checked_add(span).ok()
}

/// The microseconds from 1970-01-01T00:00 to `datetime`, no zone involved.
pub fn micros_of(datetime: civil::DateTime) -> i64 {
    jiff::tz::TimeZone::UTC.to_timestamp(datetime).map_or(0, |t| t.as_microsecond())
}

/// The date and time of day that is `micros` microseconds after 1970-01-01T00:00, no zone involved.
pub fn datetime_of(micros: i64) -> Option<civil::DateTime> {
    let timestamp = jiff::Timestamp::from_microsecond(micros).ok()?;
    Some(jiff::tz::TimeZone::UTC.to_datetime(timestamp))
}

/// One clean value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Value {
    /// Carried, and empty.
    Null,
    /// Unicode text in NFC.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// An exact number.
    Decimal(Decimal),
    /// True or false.
    Boolean(bool),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970-01-01T00:00Z.
    Instant(i64),
    /// Microseconds since 1970-01-01T00:00, no zone.
    Datetime(i64),
    /// Texts in order.
    List(Vec<String>),
}

impl Value {
    /// Whether the value is null: carried by its system, and empty.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The value as an exact number, if it is a decimal or an integer.
    pub fn as_decimal(&self) -> Option<Decimal> {
        match self {
            Value::Decimal(decimal) => Some(*decimal),
            Value::Integer(integer) => Some(Decimal { units: i128::from(*integer), scale: 0 }),
            _ => None,
        }
    }
}

/// The canonical text. Null is the empty text here; who must tell the two apart asks [`Value::is_null`].
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => Ok(()),
            Value::Text(text) => f.write_str(text),
            Value::Integer(integer) => write!(f, "{integer}"),
            Value::Decimal(decimal) => write!(f, "{decimal}"),
            Value::Boolean(boolean) => write!(f, "{boolean}"),
            Value::Date(days) => match date_of(*days) {
                Some(date) => write!(f, "{date}"),
                None => write!(f, "day {days}"),
            },
            Value::Instant(micros) => match jiff::Timestamp::from_microsecond(*micros) {
                Ok(timestamp) => write!(f, "{timestamp}"),
                Err(_) => write!(f, "instant {micros}"),
            },
            Value::Datetime(micros) => match datetime_of(*micros) {
                Some(datetime) => write!(f, "{datetime}"),
                None => write!(f, "datetime {micros}"),
            },
            Value::List(items) => f.write_str(&serde_json::to_string(items).unwrap_or_default()),
        }
    }
}

/// An exact decimal number: `units × 10^-scale`.
///
/// Equality and order are those of the number, so that 1.1 and 1.10 are equal.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    /// The number in units of `10^-scale`.
    pub units: i128,
    /// How many decimals `units` counts.
    pub scale: u8,
}

/// Why a text is not a decimal of the declared scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecimalProblem {
    /// Not `-?digits(.digits)?`.
    Syntax,
    /// More decimals than declared, and they are not zero.
    Scale,
    /// At or above 10^28 in absolute value.
    Range,
}

impl Decimal {
    /// Zero, with no decimals.
    pub const ZERO: Decimal = Decimal { units: 0, scale: 0 };

    /// Reads `-?digits(.digits)?` exactly, as a number with `scale` decimals. Excess decimals that are zero are dropped.
    pub fn parse(text: &str, scale: u8) -> Result<Decimal, DecimalProblem> {
        let (decimal, excess) = Decimal::parse_excess(text, scale)?;
        if excess.is_zero() { Ok(decimal) } else { Err(DecimalProblem::Scale) }
    }

    /// Reads `-?digits(.digits)?` as a number with `scale` decimals, cut towards zero, and tells what was cut off.
    pub fn parse_excess(text: &str, scale: u8) -> Result<(Decimal, Excess), DecimalProblem> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !is_digits(whole) || !is_digits(fraction) {
            return Err(DecimalProblem::Syntax);
        }
        let mut units: i128 = 0;
        let kept = fraction.bytes().chain(std::iter::repeat(b'0')).take(usize::from(scale));
        for digit in whole.bytes().chain(kept) {
            units = units.checked_mul(10).and_then(|u| u.checked_add(i128::from(digit - b'0'))).ok_or(DecimalProblem::Range)?;
        }
        let rest = fraction.as_bytes().get(usize::from(scale)..).unwrap_or_default();
        let excess = match rest.iter().position(|digit| *digit != b'0') {
            None => Excess::Zero,
            Some(first) => {
                let beyond_first = rest[1..].iter().any(|digit| *digit != b'0');
                match (first, rest[0], beyond_first) {
                    (0, b'5', false) => Excess::Half,
                    (0, b'5'..=b'9', _) => Excess::AboveHalf,
                    _ => Excess::BelowHalf,
                }
            }
        };
        let decimal = Decimal { units: if negative { -units } else { units }, scale };
        decimal.in_range().then_some((decimal, excess)).ok_or(DecimalProblem::Range)
    }

    /// Whether the absolute value is below 10^28, the bound that every field keeps.
    pub fn in_range(self) -> bool {
        DECIMAL_BOUND.checked_mul(10_i128.pow(u32::from(self.scale.min(SCALE_MAX)))).is_none_or(|bound| self.units.abs() < bound)
    }

    /// The same number with `scale` decimals; nothing if digits would be lost or it would not fit.
    pub fn rescale(self, scale: u8) -> Option<Decimal> {
        let units = if scale >= self.scale {
            self.units.checked_mul(10_i128.checked_pow(u32::from(scale - self.scale))?)?
        } else {
            let divisor = 10_i128.checked_pow(u32::from(self.scale - scale))?;
            if self.units % divisor != 0 {
                return None;
            }
            self.units / divisor
        };
        Some(Decimal { units, scale })
    }

    /// The sum, with the finer of the two scales; nothing if it does not fit 128 bits.
    pub fn checked_add(self, other: Decimal) -> Option<Decimal> {
        let scale = self.scale.max(other.scale);
        let units = self.rescale(scale)?.units.checked_add(other.rescale(scale)?.units)?;
        Some(Decimal { units, scale })
    }

    /// The difference, with the finer of the two scales; nothing if it does not fit 128 bits.
    pub fn checked_sub(self, other: Decimal) -> Option<Decimal> {
        self.checked_add(Decimal { units: other.units.checked_neg()?, scale: other.scale })
    }

    /// The same number with the decimals of a currency; unchanged where that would lose a digit, or the code is no currency's.
    pub fn in_currency(self, code: Option<&str>) -> Decimal {
        code.and_then(currency_decimals).and_then(|scale| self.rescale(scale)).unwrap_or(self)
    }

    /// The absolute value.
    pub fn abs(self) -> Decimal {
        Decimal { units: self.units.abs(), scale: self.scale }
    }

    /// Whether the number is zero.
    pub fn is_zero(self) -> bool {
        self.units == 0
    }
}

/// How many decimals a currency has, after ISO 4217: two, with these exceptions. Nothing for a text that is no currency's code.
fn currency_decimals(code: &str) -> Option<u8> {
    Some(match code {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "UYI" | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        "CLF" | "UYW" => 4,
        code if code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase()) => 2,
        _ => return None,
    })
}

/// What [`Decimal::parse_excess`] cut off, compared with half a unit of the last decimal kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// Nothing, or only zeros.
    Zero,
    /// Less than half a unit.
    BelowHalf,
    /// Exactly half a unit.
    Half,
    /// More than half a unit.
    AboveHalf,
}

impl Excess {
    /// Whether nothing but zeros was cut off.
    pub fn is_zero(self) -> bool {
        self == Excess::Zero
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Decimal {}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let scale = self.scale.max(other.scale);
        match (self.rescale(scale), other.rescale(scale)) {
            (Some(a), Some(b)) => a.units.cmp(&b.units),
            // Only a number beyond the range of every field gets here: its sign and magnitude decide.
            (None, _) => self.units.cmp(&0),
            (_, None) => 0.cmp(&other.units),
        }
    }
}

impl std::hash::Hash for Decimal {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let mut lowest = *self;
        while lowest.scale > 0 && lowest.units % 10 == 0 {
            lowest = Decimal { units: lowest.units / 10, scale: lowest.scale - 1 };
        }
        lowest.units.hash(state);
        lowest.scale.hash(state);
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.units < 0 { "-" } else { "" };
        let digits = self.units.unsigned_abs().to_string();
        let scale = usize::from(self.scale);
        if scale == 0 {
            return write!(f, "{sign}{digits}");
        }
        let digits = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

impl Serialize for Decimal {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let scale = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let scale = u8::try_from(scale).map_err(|_| serde::de::Error::custom("too many decimals"))?;
        Decimal::parse(&text, scale).map_err(|_| serde::de::Error::custom("not a decimal number"))
    }
}

/// How far two values of a field may be apart and still count as equivalent. Bounds are inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tolerance {
    /// At most this far apart.
    Absolute(Decimal),
    /// At most this many per cent of the larger absolute value apart.
    Percent(Decimal),
    /// At most this many microseconds apart: dates, instants and datetimes.
    Span(i64),
}

impl Tolerance {
    /// Whether `a` and `b` are no further apart than this. Values of other kinds, and nulls, are only equivalent when equal.
    pub fn covers(&self, a: &Value, b: &Value) -> bool {
        const MICROS_PER_DAY: i64 = 86_400_000_000;
        if a == b {
            return true;
        }
        match self {
            Tolerance::Absolute(most) => match (a.as_decimal(), b.as_decimal()) {
                (Some(a), Some(b)) => a.checked_sub(b).is_some_and(|apart| apart.abs() <= *most),
                _ => false,
            },
            Tolerance::Percent(most) => match (a.as_decimal(), b.as_decimal()) {
                (Some(a), Some(b)) => {
                    let Some(apart) = a.checked_sub(b).map(Decimal::abs) else { return false };
                    let larger = a.abs().max(b.abs());
                    // apart <= larger * most / 100, in whole numbers
                    let left = apart.units.checked_mul(100).and_then(|u| u.checked_mul(10_i128.pow(u32::from(most.scale))));
                    let right = larger.rescale(apart.scale).and_then(|l| l.units.checked_mul(most.units));
                    matches!((left, right), (Some(left), Some(right)) if left <= right)
                }
                _ => false,
            },
            Tolerance::Span(most) => {
                let apart = match (a, b) {
                    (Value::Date(a), Value::Date(b)) => i64::from(*a).abs_diff(i64::from(*b)).checked_mul(MICROS_PER_DAY.unsigned_abs()),
                    (Value::Instant(a), Value::Instant(b)) | (Value::Datetime(a), Value::Datetime(b)) => Some(a.abs_diff(*b)),
                    _ => None,
                };
                apart.is_some_and(|apart| apart <= most.unsigned_abs())
            }
        }
    }
}

/// How a system stores a raw value. Text files know only text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Storage {
    /// Characters, as delivered.
    #[default]
    Text = 0,
    /// A whole number.
    Integer = 1,
    /// A binary float, spelled with its shortest decimal form.
    Real = 2,
    /// Bytes, spelled in hexadecimal.
    Blob = 3,
    /// A date or a moment, spelled as ISO 8601 whatever the column declares.
    Date = 4,
}

impl Storage {
    /// The storage class with this number, as frames hold it.
    pub fn from_u8(number: u8) -> Storage {
        match number {
            1 => Storage::Integer,
            2 => Storage::Real,
            3 => Storage::Blob,
            4 => Storage::Date,
            _ => Storage::Text,
        }
    }
}

/// A value as a system holds it: its verbatim text and its storage class, or null.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
pub struct Raw {
    /// The text, verbatim; nothing where the system holds null.
    pub text: Option<String>,
    /// How the system stores it.
    #[serde(default)]
    pub storage: Storage,
}

impl Raw {
    /// A raw text.
    pub fn text(text: impl Into<String>) -> Raw {
        Raw { text: Some(text.into()), storage: Storage::Text }
    }

    /// The system's null.
    pub fn null() -> Raw {
        Raw::default()
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.as_deref().unwrap_or("null"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str, scale: u8) -> Decimal {
        Decimal::parse(text, scale).expect(text)
    }

    #[test]
    fn decimals_are_read_exactly_or_refused() {
        for (text, scale, expected) in [
            ("12.30", 2, Ok(1230)),
            ("12.3", 2, Ok(1230)),
            ("-0.00", 2, Ok(0)),
            ("12.300", 2, Ok(1230)),
            ("12.301", 2, Err(DecimalProblem::Scale)),
            ("9999999999999999999999999999", 0, Ok(9_999_999_999_999_999_999_999_999_999)),
            ("10000000000000000000000000000", 0, Err(DecimalProblem::Range)),
            ("9999999999999999999999999999.99", 9, Ok(9_999_999_999_999_999_999_999_999_999_990_000_000)),
            ("1e3", 2, Err(DecimalProblem::Syntax)),
            ("1_000", 2, Err(DecimalProblem::Syntax)),
            ("+1", 2, Err(DecimalProblem::Syntax)),
            (".5", 2, Err(DecimalProblem::Syntax)),
            ("5.", 2, Err(DecimalProblem::Syntax)),
            ("", 2, Err(DecimalProblem::Syntax)),
            ("-", 2, Err(DecimalProblem::Syntax)),
        ] {
            assert_eq!(Decimal::parse(text, scale).map(|d| d.units), expected, "{text:?} with {scale} decimals");
        }
    }

    #[test]
    fn decimals_show_every_declared_digit() {
        for (units, scale, text) in [(1230, 2, "12.30"), (-5, 2, "-0.05"), (0, 3, "0.000"), (-1230, 0, "-1230")] {
            assert_eq!(Decimal { units, scale }.to_string(), text);
        }
    }

    #[test]
    fn excess_digits_are_weighed_against_half() {
        for (text, units, excess) in [
            ("1.2449", 124, Excess::BelowHalf),
            ("1.245", 124, Excess::Half),
            ("1.2450", 124, Excess::Half),
            ("1.24501", 124, Excess::AboveHalf),
            ("1.2405", 124, Excess::BelowHalf),
            ("1.2400", 124, Excess::Zero),
        ] {
            let (decimal, seen) = Decimal::parse_excess(text, 2).expect(text);
            assert_eq!((decimal.units, seen), (units, excess), "{text}");
        }
    }

    #[test]
    fn tolerance_is_inclusive() {
        let value = |text: &str| Value::Decimal(decimal(text, 2));
        let cent = Tolerance::Absolute(decimal("0.01", 2));
        assert!(cent.covers(&value("10.00"), &value("10.01")));
        assert!(!cent.covers(&value("10.00"), &value("10.02")));
        let one_percent = Tolerance::Percent(decimal("1", 0));
        assert!(one_percent.covers(&value("100.00"), &value("99.00")));
        assert!(!one_percent.covers(&value("100.00"), &value("98.99")));
        let two_days = Tolerance::Span(2 * 86_400_000_000);
        assert!(two_days.covers(&Value::Date(10), &Value::Date(12)));
        assert!(!two_days.covers(&Value::Date(10), &Value::Date(13)));
        assert!(!cent.covers(&Value::Null, &value("0.00")));
    }

    #[test]
    fn canonical_text_gives_the_value_back() {
        let cases = [
            (FieldType::Text, Value::Text("Müller, \"x\"".into())),
            (FieldType::Integer, Value::Integer(-42)),
            (FieldType::Decimal(2), Value::Decimal(decimal("-0.05", 2))),
            (FieldType::Boolean, Value::Boolean(true)),
            (FieldType::Date, Value::Date(days_of(civil::date(2024, 2, 29)))),
            (FieldType::Instant, Value::Instant(1_700_000_000_123_456)),
            (FieldType::Datetime, Value::Datetime(-1_000_000)),
            (FieldType::List, Value::List(vec!["a".into(), "b,\"c\"".into()])),
        ];
        for (field_type, value) in cases {
            assert_eq!(field_type.parse_canonical(&value.to_string()), Some(value.clone()));
            let json = serde_json::to_string(&value).expect("serialises");
            assert_eq!(serde_json::from_str::<Value>(&json).expect("parses"), value);
        }
    }
}
