//! The way back: how a system spells a clean value, and what becomes of a value when a system has to hold it.

use crate::job::{Beside, ColumnSpec, Field};
use crate::reconcile::clean::column::Reader;
use crate::reconcile::clean::identifier::flaw;
use crate::reconcile::clean::moment::Moments;
use crate::reconcile::clean::number::Numbers;
use crate::reconcile::clean::text::is_plain;
use crate::value::{FieldType, Raw, Storage, Value};

/// How a column spells a value: with its decimal mark, its first date format, its time zone, its words for true and false,
/// its list separator; a null as `blank_as`, or as the system's own null.
///
/// Cleaning the spelling gives the value back, unless the column cannot hold it: see [`canonical`]. A list one of whose items
/// would be read differently is spelled as a JSON array, which every column of lists is read from. A local time that the
/// column's zone has twice is spelled with its offset where no format forbids it.
///
/// `beside` is what the row holds of the field on which the value depends ([`crate::job::Standards::beside`]): an amount in
/// minor units cannot be spelled without its currency. Nothing where there is none.
pub fn spell_beside(field: &Field, column: &ColumnSpec, beside: Option<&str>, value: &Value) -> Raw {
    match value {
        Value::Null => null(column),
        Value::List(items) if items.is_empty() => null(column),
        Value::Text(text) => Raw::text(text.clone()),
        Value::Integer(_) => Raw::text(value.to_string()),
        Value::Decimal(decimal) => {
            let scaled = match field.field_type {
                FieldType::Decimal(scale) => decimal.rescale(scale).unwrap_or(*decimal),
                _ => *decimal,
            };
            Raw::text(Numbers::new(field, column).spell(scaled, beside).unwrap_or_else(|| scaled.to_string()))
        }
        Value::Boolean(truth) => Raw::text(match &column.booleans {
            Some((yes, no)) => if *truth { yes } else { no }.clone(),
            None => truth.to_string(),
        }),
        Value::Date(_) | Value::Instant(_) | Value::Datetime(_) => Raw::text(Moments::of(column).spell(value)),
        Value::List(items) => {
            let plain = items.join(column.separator.as_deref().filter(|separator| !separator.is_empty()).unwrap_or(";"));
            let is_understood = Reader::new(field, column).value(&plain, Storage::Text, beside).is_ok_and(|read| read == *value);
            Raw::text(if is_understood { plain } else { value.to_string() })
        }
    }
}

/// As [`spell_beside`], for a cell that is rewritten: a number whose old text has group separators gets the same ones. `1.234,50` becomes
/// `2.345,60`, and `12,34,567` becomes `23,45,678`.
pub fn spell_over(field: &Field, column: &ColumnSpec, beside: Option<&str>, value: &Value, old: &Raw) -> Raw {
    let plain = spell_beside(field, column, beside, value);
    let (Some(text), Some(before)) = (&plain.text, &old.text) else { return plain };
    if !matches!(value, Value::Decimal(_) | Value::Integer(_)) || old.storage != Storage::Text {
        return plain;
    }
    let mark = column.decimal.or(column.found.mark).unwrap_or('.');
    let Some(groups) = Groups::of(before, mark) else { return plain };
    let grouped = Raw::text(groups.put_into(text, mark));
    // The old text may have been no number, or grouped in a way that is only read by luck.
    let is_understood = read_one(field, column, old).is_some() && read_one(field, column, &grouped) == read_one(field, column, &plain);
    if is_understood { grouped } else { plain }
}

/// How the digits of a number are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Groups {
    separator: char,
    /// Digits of the groups before the last, which always has three.
    length: usize,
}

impl Groups {
    /// The grouping of a text; nothing where it has none.
    fn of(text: &str, mark: char) -> Option<Groups> {
        let whole = text.split(mark).next().unwrap_or_default();
        let digits: Vec<(usize, char)> = whole.char_indices().filter(|(_, c)| c.is_ascii_digit()).collect();
        let (first, last) = (digits.first()?.0, digits.last()?.0);
        let body = &whole[first..=last];
        let separator = body.chars().find(|c| !c.is_ascii_digit())?;
        let parts: Vec<&str> = body.split(separator).collect();
        let length = parts.iter().rev().nth(1).filter(|_| parts.len() > 2).map_or(3, |part| part.len());
        matches!(length, 2 | 3).then_some(Groups { separator, length })
    }

    /// A plainly spelled number with these groups.
    fn put_into(self, plain: &str, mark: char) -> String {
        let (whole, fraction) = plain.find(mark).map_or((plain, ""), |at| plain.split_at(at));
        let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
        let mut text = String::with_capacity(plain.len() + digits.len());
        text.push_str(sign);
        for (place, digit) in digits.chars().enumerate() {
            let behind = digits.len() - place;
            if place > 0 && behind >= 3 && (behind - 3).is_multiple_of(self.length) {
                text.push(self.separator);
            }
            text.push(digit);
        }
        text + fraction
    }
}

/// [`spell_beside`] for a value that depends on no other field.
pub fn spell(field: &Field, column: &ColumnSpec, value: &Value) -> Raw {
    spell_beside(field, column, None, value)
}

fn null(column: &ColumnSpec) -> Raw {
    column.blank_as.clone().map_or_else(Raw::null, Raw::text)
}

/// The value as a column can hold it: what is read after it was spelled there. Mostly the value itself; a coarser one where
/// the date format leaves out the seconds, null where its spelling means null there.
///
/// A value that the column cannot hold at all is given back as it is; [`why_not_held`] says that and why.
pub fn canonical(field: &Field, column: &ColumnSpec, value: &Value) -> Value {
    if is_held_exactly(field, column, value) {
        return value.clone();
    }
    // An amount in minor units is held as it is, or not at all.
    if column.minor_units {
        return value.clone();
    }
    read_back(field, column, None, value).unwrap_or_else(|_| value.clone())
}

/// Why a column cannot hold a value: its spelling could not be read again, like a local time that happens twice. Nothing if
/// it can, if only as its [`canonical`] form. An identifier that must be valid and is not, and a text that a spreadsheet would
/// run, are held by no column that is to be written. `beside` is as in [`spell_beside`].
pub fn why_not_held_beside(field: &Field, column: &ColumnSpec, beside: Option<&str>, value: &Value) -> Option<String> {
    refusal(field, column, beside, value).or_else(|| {
        if is_held_exactly(field, column, value) {
            return None;
        }
        match read_back(field, column, beside, value) {
            Ok(back) if column.minor_units && back != *value => Some("its currency has no such minor units".to_owned()),
            Ok(_) => None,
            Err(why) => Some(why),
        }
    })
}

/// [`why_not_held_beside`] for a value that depends on no other field.
pub fn why_not_held(field: &Field, column: &ColumnSpec, value: &Value) -> Option<String> {
    why_not_held_beside(field, column, None, value)
}

/// Why a value that could be spelled is not written.
fn refusal(field: &Field, column: &ColumnSpec, beside: Option<&str>, value: &Value) -> Option<String> {
    let texts: &[String] = match value {
        Value::Text(text) => std::slice::from_ref(text),
        Value::List(items) => items,
        _ => return None,
    };
    if column.refuses_formulas {
        let spelled = spell(field, column, value).text.unwrap_or_default();
        if let Some(sign) = spelled.chars().next().filter(|sign| matches!(sign, '=' | '@')) {
            return Some(format!("it begins with `{sign}`, which a spreadsheet runs as a formula"));
        }
    }
    if !field.standards.must_be_valid {
        return None;
    }
    let region = match &field.standards.region {
        Some(Beside::Constant(region)) => Some(region.as_str()),
        Some(Beside::Field(_)) => beside,
        None => None,
    };
    let rule = field.clean.iter().find(|rule| rule.is_identifier())?;
    texts.iter().find_map(|text| flaw(*rule, text, region)).map(|why| format!("{why}, and the field must be valid"))
}

/// Whether a value that a row holds means another one once this text stands beside it: an amount in minor units, whose
/// currency gets another number of decimals.
pub fn changes_beside(field: &Field, column: &ColumnSpec, from: Option<&str>, to: Option<&str>) -> bool {
    column.minor_units && Numbers::new(field, column).changes_with(from, to)
}

/// The value that one raw cell holds; nothing if it cannot be read as the field.
pub fn read_one(field: &Field, column: &ColumnSpec, raw: &Raw) -> Option<Value> {
    match &raw.text {
        None => Some(Value::Null),
        Some(text) => Reader::new(field, column).value(text, raw.storage, None).ok(),
    }
}

fn read_back(field: &Field, column: &ColumnSpec, beside: Option<&str>, value: &Value) -> Result<Value, String> {
    match spell_beside(field, column, beside, value).text {
        None => Ok(Value::Null),
        Some(text) => Reader::new(field, column).value(&text, Storage::Text, beside).map_err(|why| why.words(field, &text)),
    }
}

/// Whether a column certainly holds a value as it is: seen without spelling it, in the cases that most columns are.
fn is_held_exactly(field: &Field, column: &ColumnSpec, value: &Value) -> bool {
    if column.blank_as.is_some() {
        return value.is_null();
    }
    // Every number, date and moment has a digit.
    let tokens_have_digits = || field.null_tokens.iter().any(|token| token.bytes().any(|byte| byte.is_ascii_digit()));
    let is_token = |text: &str| field.null_tokens.iter().any(|token| token.eq_ignore_ascii_case(text));
    match (field.field_type, value) {
        (_, Value::Null) => true,
        (FieldType::Text, Value::Text(text)) => field.clean.is_empty() && text.is_ascii() && !text.is_empty() && is_plain(text) && !is_token(text),
        (FieldType::Integer, Value::Integer(_)) => !tokens_have_digits(),
        (FieldType::Decimal(scale), Value::Decimal(decimal)) => {
            decimal.scale == scale && decimal.in_range() && !tokens_have_digits() && Numbers::new(field, column).is_exact()
        }
        (FieldType::Boolean, Value::Boolean(_)) => column.booleans.is_none() && !is_token("true") && !is_token("false"),
        (FieldType::Date, Value::Date(_)) if column.dates.is_empty() => !tokens_have_digits(),
        (FieldType::Date, Value::Date(_)) | (FieldType::Datetime, Value::Datetime(_)) | (FieldType::Instant, Value::Instant(_)) => {
            column.dates.is_empty() && column.timezone.is_none() && !tokens_have_digits()
        }
        _ => false,
    }
}
