//! Cells as text and back: how a number, a date or a truth of a workbook is spelled, and what a text becomes in a cell.
//!
//! A workbook stores binary floats and shows at most fifteen digits of them. A number is spelled as its shortest decimal form,
//! and one that only sixteen or seventeen digits can spell (`0.1 + 0.2`) as its fifteen digits: as every cell shows it,
//! whatever its format. A date is a number that only its format makes a date; it is spelled as ISO 8601.
//!
//! Pure: nothing here knows a file or a sheet.
//!
//! # Design
//! - Serial numbers 1 to 60 are refused: Excel counts a 29 February 1900 that never was, other programs do not, so
//!   nobody can say which day such a number means. The calendar that begins in 1904 has no such days.
//! - Moments are exact to the millisecond, as they are in Excel.
//! - Zeros that only the number format shows (`00000`) are part of an identifier. Other formats are for the eye: a currency or a
//!   per cent sign in one changes nothing.

use crate::value::{Value, date_of, datetime_of};

/// The serial number of 1970-01-01 in the calendar that begins in 1900.
const UNIX_1900: i64 = 25_569;
/// The same in the calendar that begins in 1904.
const UNIX_1904: i64 = 24_107;
/// The first serial number that every program takes for the same day: 1900-03-01.
const FIRST_1900: f64 = 61.0;
/// 9999-12-31 in the calendar that begins in 1900.
const LAST_1900: f64 = 2_958_466.0;
/// The days from one calendar to the other.
const BETWEEN_CALENDARS: f64 = 1_462.0;
/// A number without a date format is taken for a day up to 2199-12-31; what is larger is more likely something else.
const BARE_LAST_1900: f64 = 109_575.0;
/// How many significant digits a workbook shows of a number.
const DIGITS: usize = 15;
/// From here on a float no longer tells whole numbers of more than fifteen digits apart.
const TOO_LONG: f64 = 1e15;
const MILLIS_PER_DAY: i64 = 86_400_000;
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// What a number format shows of a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// The day.
    Day,
    /// The time of day.
    Time,
    /// Both.
    Both,
}

/// What matters of a number format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Format {
    /// What it shows of a moment; nothing for one that shows numbers.
    pub moment: Option<Shown>,
    /// The zeros and separators of a format that fills up with zeros, such as `00000` or `000-00-0000`.
    pub zeros: Option<String>,
}

impl Format {
    /// Reads the code of a number format. Only its first part counts, that of positive numbers.
    pub fn of(code: &str) -> Format {
        if code.eq_ignore_ascii_case("general") || code == "@" {
            return Format::default();
        }
        let (mut plain, mut is_elapsed) = (String::new(), false);
        let mut zeros = Some(String::new());
        let mut chars = code.chars();
        let literal = |zeros: &mut Option<String>, c: char| match c {
            '-' | ' ' | '/' => zeros.iter_mut().for_each(|zeros| zeros.push(c)),
            _ => *zeros = None,
        };
        while let Some(c) = chars.next() {
            match c {
                ';' => break,
                '"' => chars.by_ref().take_while(|c| *c != '"').for_each(|c| literal(&mut zeros, c)),
                '\\' => chars.next().into_iter().for_each(|c| literal(&mut zeros, c)),
                '_' | '*' => drop(chars.next()),
                '[' => {
                    let inside: String = chars.by_ref().take_while(|c| *c != ']').collect();
                    is_elapsed |= !inside.is_empty() && inside.chars().all(|c| matches!(c.to_ascii_lowercase(), 'h' | 'm' | 's'));
                }
                '0' => zeros.iter_mut().for_each(|zeros| zeros.push('0')),
                '-' | ' ' | '/' => {
                    literal(&mut zeros, c);
                    plain.push(c);
                }
                c => {
                    zeros = None;
                    plain.push(c.to_ascii_lowercase());
                }
            }
        }
        let zeros = zeros.map(|zeros| zeros.trim().to_owned()).filter(|zeros| zeros.matches('0').count() > 1);
        let has = |letters: &[char]| plain.contains(letters);
        let has_time = is_elapsed || has(&['h', 's']);
        let has_day = has(&['y', 'd']) || (plain.contains('m') && !has_time);
        let moment = match (has_day, has_time) {
            (true, true) => Some(Shown::Both),
            (true, false) => Some(Shown::Day),
            (false, true) => Some(Shown::Time),
            (false, false) => None,
        };
        Format { moment, zeros }
    }

    /// A whole number with the zeros and separators that the format shows; nothing for other numbers and formats.
    pub fn with_zeros(&self, value: f64) -> Option<String> {
        let pattern = self.zeros.as_deref()?;
        let digits = whole(value)?;
        let places = pattern.matches('0').count();
        let digits = format!("{digits:0>places$}");
        let (surplus, digits) = digits.split_at(digits.len() - places);
        let mut digits = digits.chars();
        let mut text = String::with_capacity(pattern.len() + surplus.len());
        for c in pattern.chars() {
            if c != '0' {
                text.push(c);
                continue;
            }
            if digits.as_str().len() == places {
                text.push_str(surplus);
            }
            text.extend(digits.next());
        }
        Some(text)
    }
}

/// The digits of a whole number that is not negative and not too long; nothing for any other.
pub(super) fn whole(value: f64) -> Option<String> {
    ((0.0..TOO_LONG).contains(&value) && value.fract() == 0.0).then(|| format!("{}", value.abs()))
}

/// Whether a number has so many digits before its mark that a workbook has lost some.
pub(super) fn lost_digits(value: f64) -> bool {
    value.is_nan() || value.abs() >= TOO_LONG
}

/// A number as its shortest decimal form of at most fifteen significant digits, without an exponent.
pub(super) fn number_text(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let shortest = format!("{value}");
    let significant = shortest.trim_start_matches('-').replace('.', "");
    if significant.trim_matches('0').len() <= DIGITS {
        return shortest;
    }
    let rounded: f64 = format!("{value:.precision$e}", precision = DIGITS - 1).parse().unwrap_or(value);
    format!("{rounded}")
}

/// Whether a cell that holds a number would show this decimal text again.
pub(super) fn is_number_exactly(decimal: &str) -> bool {
    let Ok(value) = decimal.parse::<f64>() else { return false };
    let plain = |text: &str| {
        let (sign, digits) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
        let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
        let digits = digits.trim_start_matches('0');
        let digits = if digits.is_empty() {
            "0".to_owned()
        } else if digits.starts_with('.') {
            format!("0{digits}")
        } else {
            digits.to_owned()
        };
        if digits == "0" { digits } else { format!("{sign}{digits}") }
    };
    !lost_digits(value) && plain(decimal) == number_text(value)
}

/// A moment that a cell with a date format holds, in ISO 8601. `wants_time` asks for a time of day that the format hides.
///
/// A format that shows only the time of day gives that, unless the number has a day and a moment is wanted.
///
/// # Errors
/// Why the number means no certain day.
pub(super) fn moment_text(serial: f64, is_1904: bool, shown: Option<Shown>, wants_time: bool) -> Result<String, String> {
    let first = if is_1904 { 0.0 } else { FIRST_1900 };
    let last = if is_1904 { LAST_1900 - BETWEEN_CALENDARS } else { LAST_1900 };
    let is_time =
        shown == Some(Shown::Time) && (!wants_time || serial < 1.0) || (serial < 1.0 && !(is_1904 && matches!(shown, Some(Shown::Day | Shown::Both))));
    if serial < 0.0 || serial >= last || serial.is_nan() {
        return Err(format!("the serial number {} is no day that a workbook has", number_text(serial)));
    }
    if is_time && !(serial == 0.0 && shown == Some(Shown::Day)) {
        return Ok(time_text(millis_of_day(serial).1));
    }
    if serial < first {
        return Err(format!("the serial number {} is before 1 March 1900, where programs count days differently", number_text(serial)));
    }
    let (carried, millis) = millis_of_day(serial);
    // The number is below three millions.
    let days = serial.floor() as i64 + carried - if is_1904 { UNIX_1904 } else { UNIX_1900 };
    let Some(day) = i32::try_from(days).ok().and_then(date_of) else { return Err("the number is no day".to_owned()) };
    let hides_time = shown == Some(Shown::Day) && !wants_time;
    let is_day = hides_time || (millis == 0 && shown != Some(Shown::Both));
    Ok(if is_day { day.to_string() } else { format!("{day}T{}", time_text(millis)) })
}

/// A date or moment that a cell spells in ISO 8601, as [`moment_text`] spells those that are numbers, and whether a time of day
/// that the format hides was left out. Cells have no time zone: the `Z` that some programs write means nothing. What is no such
/// moment stays as it is.
pub(super) fn iso_moment_text(written: &str, shown: Option<Shown>, wants_time: bool) -> (String, bool) {
    let written = written.trim();
    let local = written.strip_suffix(['Z', 'z']).unwrap_or(written);
    let has_offset = |time: &str| time.contains(['+', '-', '[']);
    let is_local = local.split_once(['T', 't']).is_some_and(|(_, time)| !has_offset(time));
    let moment = if is_local { local.parse::<jiff::civil::DateTime>().ok() } else { None };
    let Some(moment) = moment else { return (local.to_owned(), false) };
    let is_midnight = moment.time() == jiff::civil::Time::midnight();
    let hides_time = shown == Some(Shown::Day) && !wants_time && !is_midnight;
    if hides_time || (is_midnight && shown != Some(Shown::Both)) {
        return (moment.date().to_string(), hides_time);
    }
    (moment.to_string(), false)
}

/// A number without a date format in a column of dates: the moment that it means; nothing if it can mean none.
pub(super) fn bare_moment_text(serial: f64, is_1904: bool) -> Option<String> {
    let since_1900 = if is_1904 { serial + BETWEEN_CALENDARS } else { serial };
    let is_likely = (FIRST_1900..BARE_LAST_1900).contains(&since_1900) && serial >= 0.0;
    if !is_likely {
        return None;
    }
    moment_text(serial, is_1904, (is_1904 && serial < 1.0).then_some(Shown::Day), true).ok()
}

/// Hours, minutes and seconds of a duration.
pub(super) fn duration_text(serial: f64) -> String {
    let sign = if serial < 0.0 { "-" } else { "" };
    // A duration is a few thousand days at most; more saturates.
    let millis = (serial.abs() * MILLIS_PER_DAY as f64).round() as i64;
    let (hours, rest) = (millis / 3_600_000, millis % 3_600_000);
    let time = time_text(rest);
    format!("{sign}{hours:02}{}", &time[2..])
}

/// The whole days that rounding to the millisecond adds, and the milliseconds since midnight.
fn millis_of_day(serial: f64) -> (i64, i64) {
    let millis = ((serial - serial.floor()) * MILLIS_PER_DAY as f64).round() as i64;
    (millis / MILLIS_PER_DAY, millis % MILLIS_PER_DAY)
}

fn time_text(millis: i64) -> String {
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match millis {
        0 => format!("{hours:02}:{minutes:02}:{seconds:02}"),
        _ => format!("{hours:02}:{minutes:02}:{seconds:02}.{millis:03}"),
    }
}

/// The serial number of a date or a local moment.
///
/// # Errors
/// Why no cell can hold it: a day before March 1900, something finer than a millisecond.
pub(super) fn serial_of(value: &Value, is_1904: bool) -> Result<String, String> {
    let unix = if is_1904 { UNIX_1904 } else { UNIX_1900 };
    let (days, micros) = match value {
        Value::Date(days) => (i64::from(*days), 0),
        Value::Datetime(micros) => (micros.div_euclid(MICROS_PER_DAY), micros.rem_euclid(MICROS_PER_DAY)),
        _ => return Err("is no date".to_owned()),
    };
    // Both are far below 2^53.
    let serial = (days + unix) as f64 + micros as f64 / MICROS_PER_DAY as f64;
    let text = number_text(serial);
    let expected = match value {
        Value::Datetime(micros) => datetime_of(*micros).map(|datetime| datetime.to_string()),
        _ => i32::try_from(days).ok().and_then(date_of).map(|date| date.to_string()),
    };
    let shown = if matches!(value, Value::Datetime(_)) { Shown::Both } else { Shown::Day };
    let back = moment_text(text.parse().unwrap_or(f64::NAN), is_1904, Some(shown), true)?;
    // The spelling of jiff leaves out nothing but a fraction of zero.
    if expected.as_deref() == Some(back.as_str()) { Ok(text) } else { Err("is finer than a millisecond, which no workbook holds".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spelled_with_the_digits_that_a_cell_shows() {
        for (value, text) in [
            (42.0, "42"),
            (-0.0, "0"),
            (1234.5, "1234.5"),
            (0.1 + 0.2, "0.3"),
            (1_234.560_000_000_000_2, "1234.56"),
            (-19.99, "-19.99"),
            (1e-7, "0.0000001"),
            (123_456_789_012_345.0, "123456789012345"),
            (99_999_999_999_999.98, "100000000000000"),
            (1e21, "1000000000000000000000"),
            (0.123_456_789_012_345, "0.123456789012345"),
            (100.0, "100"),
        ] {
            assert_eq!(number_text(value), text);
        }
        assert!(lost_digits(1e15) && lost_digits(-1.234_567_890_123_456_8e18) && lost_digits(f64::NAN) && !lost_digits(999_999_999_999_999.0));
    }

    #[test]
    fn a_number_that_a_cell_cannot_hold_is_told_from_one_that_it_can() {
        for (decimal, exactly) in [
            ("12.30", true),
            ("-0.05", true),
            ("0", true),
            ("-0.00", true),
            ("007", true),
            ("99999999999999.99", false),
            ("9999999999999.99", true),
            ("123456789.123456789", false),
            ("1000000000000000", false),
            ("abc", false),
        ] {
            assert_eq!(is_number_exactly(decimal), exactly, "{decimal}");
        }
    }

    #[test]
    fn formats_tell_days_times_and_zeros() {
        for (code, moment, zeros) in [
            ("General", None, None),
            ("@", None, None),
            ("0", None, None),
            ("00000", None, Some("00000")),
            ("000\\-00\\-0000", None, Some("000-00-0000")),
            ("00000\"-\"0000;@", None, Some("00000-0000")),
            ("[$-407]00000", None, Some("00000")),
            ("0.00", None, None),
            ("#,##0.00 [$€-407]", None, None),
            ("\"K-\"00000", None, None),
            ("0.00E+00", None, None),
            ("dd.mm.yyyy", Some(Shown::Day), None),
            ("[$-F800]dddd, mmmm dd, yyyy", Some(Shown::Day), None),
            ("mmm-yy", Some(Shown::Day), None),
            ("h:mm AM/PM", Some(Shown::Time), None),
            ("[h]:mm:ss", Some(Shown::Time), None),
            ("m/d/yy h:mm", Some(Shown::Both), None),
            ("yyyy\\-mm\\-dd\\Thh:mm:ss", Some(Shown::Both), None),
        ] {
            let format = Format::of(code);
            assert_eq!((format.moment, format.zeros.as_deref()), (moment, zeros), "{code}");
        }
    }

    #[test]
    fn zeros_of_the_format_are_part_of_an_identifier() {
        for (code, value, text) in [
            ("00000", 42.0, Some("00042")),
            ("00000", 1_234_567.0, Some("1234567")),
            ("000-00-0000", 78_051_120.0, Some("078-05-1120")),
            ("00000-0000", 12_345_678_901.0, Some("1234567-8901")),
            ("00000", 4.5, None),
            ("00000", -1.0, None),
            ("General", 42.0, None),
        ] {
            assert_eq!(Format::of(code).with_zeros(value).as_deref(), text, "{code} {value}");
        }
    }

    #[test]
    fn serial_numbers_are_days_of_their_calendar() {
        let day = |serial, is_1904| moment_text(serial, is_1904, Some(Shown::Day), false);
        for (serial, is_1904, text) in [
            (61.0, false, "1900-03-01"),
            (45_351.0, false, "2024-02-29"),
            (43_889.0, true, "2024-02-29"),
            (0.0, true, "1904-01-01"),
            (2_958_465.0, false, "9999-12-31"),
            (45_351.7, false, "2024-02-29"),
        ] {
            assert_eq!(day(serial, is_1904).as_deref(), Ok(text), "{serial}");
        }
        for (serial, is_1904) in [(0.0, false), (1.0, false), (60.0, false), (-1.0, true), (2_958_466.0, false), (2_957_004.0, true), (f64::NAN, false)] {
            assert!(day(serial, is_1904).is_err(), "{serial}");
        }
        for (serial, shown, wants_time, text) in [
            (45_351.520_833_333_336, Some(Shown::Both), false, "2024-02-29T12:30:00"),
            (45_351.520_833_333_3, None, false, "2024-02-29T12:30:00"),
            (45_351.0, Some(Shown::Both), false, "2024-02-29T00:00:00"),
            (45_351.0, None, false, "2024-02-29"),
            (45_351.75, Some(Shown::Day), true, "2024-02-29T18:00:00"),
            (45_351.75, Some(Shown::Time), false, "18:00:00"),
            (45_351.75, Some(Shown::Time), true, "2024-02-29T18:00:00"),
            (0.75, None, true, "18:00:00"),
            (0.75, Some(Shown::Both), true, "18:00:00"),
            (45_350.999_999_999_9, None, true, "2024-02-29"),
            (45_351.000_011_585_648, None, true, "2024-02-29T00:00:01.001"),
        ] {
            assert_eq!(moment_text(serial, false, shown, wants_time).as_deref(), Ok(text), "{serial} {shown:?}");
        }
    }

    #[test]
    fn moments_spelled_out_are_those_that_numbers_mean() {
        for (written, shown, wants_time, expected) in [
            ("2024-02-29", Some(Shown::Day), true, ("2024-02-29", false)),
            ("2024-02-29T00:00:00.000Z", Some(Shown::Day), false, ("2024-02-29", false)),
            ("2024-02-29T00:00:00Z", Some(Shown::Both), true, ("2024-02-29T00:00:00", false)),
            ("2024-02-29T18:30:00.000Z", Some(Shown::Both), true, ("2024-02-29T18:30:00", false)),
            ("2024-02-29T18:30:00.250", None, false, ("2024-02-29T18:30:00.25", false)),
            ("2024-02-29T18:30:00", Some(Shown::Day), false, ("2024-02-29", true)),
            ("2024-02-29T18:30:00", Some(Shown::Day), true, ("2024-02-29T18:30:00", false)),
            ("2024-02-29T18:30:00+01:00", Some(Shown::Day), false, ("2024-02-29T18:30:00+01:00", false)),
            ("2024-02-30T00:00:00", Some(Shown::Day), false, ("2024-02-30T00:00:00", false)),
            ("18:30:00", Some(Shown::Time), false, ("18:30:00", false)),
        ] {
            let (moment, hides_time) = iso_moment_text(written, shown, wants_time);
            assert_eq!((moment.as_str(), hides_time), expected, "{written}");
        }
    }

    #[test]
    fn a_bare_number_is_a_day_only_where_it_is_likely_one() {
        for (serial, is_1904, text) in [
            (45_351.0, false, Some("2024-02-29")),
            (45_351.5, false, Some("2024-02-29T12:00:00")),
            (109_574.0, false, Some("2199-12-31")),
            (61.0, false, Some("1900-03-01")),
            (60.0, false, None),
            (109_575.0, false, None),
            (20_240_229.0, false, None),
            (-5.0, false, None),
            (0.0, true, Some("1904-01-01")),
            (43_889.0, true, Some("2024-02-29")),
        ] {
            assert_eq!(bare_moment_text(serial, is_1904).as_deref(), text, "{serial}");
        }
    }

    #[test]
    fn days_and_moments_come_back_from_their_serial_numbers() {
        let micros = |text: &str| Value::Datetime(crate::value::micros_of(text.parse().expect("a datetime")));
        let days = |text: &str| Value::Date(crate::value::days_of(text.parse().expect("a date")));
        assert_eq!(serial_of(&days("2024-02-29"), false).as_deref(), Ok("45351"));
        assert_eq!(serial_of(&days("2024-02-29"), true).as_deref(), Ok("43889"));
        assert_eq!(serial_of(&micros("2024-02-29T12:30:00"), false).as_deref(), Ok("45351.5208333333"));
        assert_eq!(serial_of(&micros("2024-02-29T00:00:01.001"), false).as_deref(), Ok("45351.0000115856"));
        assert!(serial_of(&micros("2024-02-29T00:00:01.000001"), false).is_err());
        assert!(serial_of(&days("1900-02-28"), false).is_err());
        assert!(serial_of(&days("1903-12-31"), true).is_err());
    }

    #[test]
    fn durations_are_hours_minutes_and_seconds() {
        for (serial, text) in [(1.104_166_666_666_67, "26:30:00"), (0.5, "12:00:00"), (-0.25, "-06:00:00"), (100.0, "2400:00:00")] {
            assert_eq!(duration_text(serial), text);
        }
    }
}
