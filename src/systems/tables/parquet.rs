//! Parquet files as tables of text.

use std::fs::File;

use polars::prelude::*;

use super::Spelling;
use crate::diagnostic::Place;
use crate::error::{Error, Remedy};
use crate::systems::csv::places::NOTHING;

/// Spells all rows of a file, one group of them after the other.
///
/// # Errors
/// `Look` if it is damaged, or has a column whose values are no cells.
pub(super) fn spell(file: File, origin: &str, spelling: &mut Spelling) -> Result<(), Error> {
    let damaged = |error: PolarsError| {
        let said = error.to_string();
        Error::new(Remedy::Look, Place::of(origin), "the file cannot be read: it is damaged, or no Parquet file")
            .seen(format!("the reader says: {}", said.lines().next().unwrap_or_default()))
            .seen(NOTHING)
            .hint("write it again")
    };
    let copy = || file.try_clone().map_err(|error| damaged(error.into()));
    let mut reader = ParquetReader::new(copy()?);
    let groups: Vec<usize> = reader.get_metadata().map_err(damaged)?.row_groups.iter().map(|group| group.num_rows()).collect();
    let names: Vec<String> = reader.schema().map_err(damaged)?.iter_names().map(|name| name.to_string()).collect();
    spelling.header(names.iter().map(String::as_str))?;
    let mut from = 0;
    for rows in groups {
        let frame = ParquetReader::new(copy()?).with_slice(Some((from, rows))).finish().map_err(damaged)?;
        let columns: Vec<Vec<String>> = frame.columns().iter().map(|column| texts(column, origin)).collect::<Result<_, _>>()?;
        for row in 0..frame.height() {
            spelling.row((from + row + 1) as u64, columns.iter().map(|column| column[row].as_str()))?;
        }
        from += rows;
    }
    Ok(())
}

fn texts(column: &Column, origin: &str) -> Result<Vec<String>, Error> {
    let series = column.as_materialized_series();
    series
        .iter()
        .map(|value| {
            text(&value).ok_or_else(|| {
                Error::new(Remedy::Look, Place::of(origin), format!("the values of column `{}` are no cells", column.name()))
                    .seen(format!("it holds {}", column.dtype()))
                    .seen(NOTHING)
                    .hint("write it as text or as several columns")
            })
        })
        .collect()
}

/// What a value says. Nothing if it is none that a cell can hold.
fn text(value: &AnyValue<'_>) -> Option<String> {
    Some(match value {
        AnyValue::Null => String::new(),
        AnyValue::String(text) => (*text).to_owned(),
        AnyValue::StringOwned(text) => text.to_string(),
        AnyValue::Boolean(truth) => truth.to_string(),
        AnyValue::UInt8(number) => number.to_string(),
        AnyValue::UInt16(number) => number.to_string(),
        AnyValue::UInt32(number) => number.to_string(),
        AnyValue::UInt64(number) => number.to_string(),
        AnyValue::UInt128(number) => number.to_string(),
        AnyValue::Int8(number) => number.to_string(),
        AnyValue::Int16(number) => number.to_string(),
        AnyValue::Int32(number) => number.to_string(),
        AnyValue::Int64(number) => number.to_string(),
        AnyValue::Int128(number) => number.to_string(),
        AnyValue::Float32(number) => number.to_string(),
        AnyValue::Float64(number) => number.to_string(),
        AnyValue::Decimal(units, _, scale) => decimal(*units, *scale),
        AnyValue::Date(days) => crate::value::date_of(*days)?.to_string(),
        AnyValue::Datetime(units, unit, zone) => moment(*units, *unit, zone.is_some())?,
        AnyValue::DatetimeOwned(units, unit, zone) => moment(*units, *unit, zone.is_some())?,
        AnyValue::Binary(bytes) => crate::disk::hexadecimal(bytes),
        AnyValue::BinaryOwned(bytes) => crate::disk::hexadecimal(bytes),
        AnyValue::List(items) => {
            let items: Option<Vec<String>> = items.iter().map(|item| text(&item)).collect();
            serde_json::to_string(&items?).ok()?
        }
        _ => return None,
    })
}

/// An exact number without zeros behind its decimals.
fn decimal(units: i128, scale: usize) -> String {
    let digits = format!("{:0>width$}", units.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let fraction = fraction.trim_end_matches('0');
    let sign = if units < 0 { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// A moment in ISO 8601, in UTC if it has a zone.
fn moment(units: i64, unit: TimeUnit, has_zone: bool) -> Option<String> {
    let timestamp = match unit {
        TimeUnit::Nanoseconds => jiff::Timestamp::from_nanosecond(i128::from(units)),
        TimeUnit::Microseconds => jiff::Timestamp::from_microsecond(units),
        TimeUnit::Milliseconds => jiff::Timestamp::from_millisecond(units),
    };
    let timestamp = timestamp.ok()?;
    Some(if has_zone { timestamp.to_string() } else { jiff::tz::TimeZone::UTC.to_datetime(timestamp).to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        for (units, scale, expected) in [(1250, 2, "12.5"), (-1200, 2, "-12"), (5, 3, "0.005"), (0, 2, "0"), (7, 0, "7")] {
            assert_eq!(decimal(units, scale), expected);
        }
        assert_eq!(moment(1_500_000, TimeUnit::Microseconds, true).as_deref(), Some("1970-01-01T00:00:01.5Z"));
        assert_eq!(moment(0, TimeUnit::Milliseconds, false).as_deref(), Some("1970-01-01T00:00:00"));
    }
}
