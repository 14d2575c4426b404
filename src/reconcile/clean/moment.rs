//! Dates, datetimes and instants: from a system's spelling to days or microseconds, and back.
//!
//! Without a declared format a column is read as ISO 8601:
//! ```text
//! date      2024-02-29, or a datetime at midnight without a zone
//! datetime  2024-02-29T13:05[:07[.123456]] without a zone; or a date, which is its midnight
//! instant   a datetime with an offset: Z, +01:00, +0100, +01; without one only where the column declares a time zone
//! ```
//! With declared formats the first that fits decides, and nothing else is read. Beside those of `strtime` there are `unix`
//! (seconds since 1970-01-01T00:00Z), `unix-ms` (milliseconds) and `ms-json` (`/Date(1709211907000+0000)/`, whose offset is
//! for show). A date is never shifted by a zone; where a system delivers moments, a date is read from them only in a zone
//! that is declared. A local time that a change of the clocks skips or repeats is refused, unless the column says which of
//! the two moments is meant.
//!
//! # Design
//! Formats are those of `jiff::fmt::strtime`. Where a format consists of nothing but numbers of fixed width and the text has
//! exactly that layout, it is read here, ten times as fast and with the same result; everything else is left to jiff, and
//! what jiff reads too kindly is refused:
//! - a year of fewer than four digits (`24` is not the year 24), and one outside 1 to 9999;
//! - digits that run together and may be parted in two ways (`%Y%m%d` in `2024115`);
//! - a time of day in a date.
//!
//! A year of two digits is read only where the column says in which centuries, and a day outside of these is not written so.
//! What is finer than a microsecond is cut off and counted: no value of ours could hold it.

use jiff::civil;
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::job::{ColumnSpec, Dst, EPOCH_FORMATS, has_short_year, year_of};
use crate::reconcile::clean::counts::{Counts, Rule, Unreadable};
use crate::value::{FieldType, Storage, Value, date_of, datetime_of, days_of};

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;
const NANOS_PER_MICRO: i32 = 1_000;
const ISO_DATE_BYTES: usize = 10;

/// A date with a time of day as it is spelled, and what the text says about its zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    /// Days since 1970-01-01.
    days: i32,
    /// Microseconds since midnight.
    micros: i64,
    /// Whether something finer was cut off.
    is_cut: bool,
    zone: Zone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zone {
    /// The text names none.
    Unsaid,
    /// East of Greenwich.
    Seconds(i32),
    /// The moment itself is known, microseconds since 1970-01-01T00:00Z; the date is not.
    Moment(i64),
}

impl Reading {
    fn local_micros(&self) -> i64 {
        i64::from(self.days) * MICROS_PER_DAY + self.micros
    }
}

/// How the dates and moments of one field are spelled in one column.
pub(super) struct Moments {
    /// The declared ones.
    formats: Vec<Format>,
    /// What a date without a declared format looks like, zeros in front of day and month left out or not.
    iso_date: Format,
    zone: Option<Result<TimeZone, String>>,
    /// How the same column is read where the system stores a date as such; nothing where that is no different.
    stored: Option<Box<Moments>>,
    dst: Dst,
}

impl Moments {
    /// These formats, and the zone of what names none.
    pub(super) fn new(formats: &[String], zone: Option<&str>) -> Moments {
        Moments::with(formats, zone, None, Dst::Reject)
    }

    /// How a column spells them.
    pub(super) fn of(column: &ColumnSpec) -> Moments {
        Moments::with(&column.dates, column.timezone.as_deref(), column.century_pivot, column.dst)
    }

    fn with(formats: &[String], zone: Option<&str>, century_pivot: Option<u8>, dst: Dst) -> Moments {
        let zone = zone.map(|name| TimeZone::get(name).map_err(|_| name.to_owned()));
        let stored = (!formats.is_empty())
            .then(|| Box::new(Moments { formats: Vec::new(), iso_date: Format::new("%Y-%m-%d", None), zone: zone.clone(), stored: None, dst }));
        let formats = formats.iter().map(|format| Format::new(format, century_pivot)).collect();
        Moments { formats, iso_date: Format::new("%Y-%m-%d", None), zone, stored, dst }
    }

    /// How a cell of this storage class is read: declared formats are about text alone.
    pub(super) fn stored_as(&self, storage: Storage) -> &Moments {
        self.stored.as_deref().filter(|_| storage == Storage::Date).unwrap_or(self)
    }

    /// The days of a date spelled plainly; nothing if [`Moments::date`] must look closer.
    pub(super) fn plain_date(&self, cell: &str) -> Option<i32> {
        let reading = match self.formats.first() {
            Some(format) => format.fixed_width(cell.as_bytes())?,
            None => {
                let (days, rest) = iso_date(cell.as_bytes())?;
                return rest.is_empty().then_some(days);
            }
        };
        (reading.micros == 0).then_some(reading.days)
    }

    /// Days since 1970-01-01 of a tidy text that is not null.
    pub(super) fn date(&self, text: &str, counts: &mut Counts) -> Result<i32, Unreadable> {
        let reading = self.reading(text, FieldType::Date)?;
        if reading.zone != Zone::Unsaid {
            return self.business_date(&reading, counts);
        }
        if reading.micros != 0 || reading.is_cut {
            return Err(Unreadable::But("has a time of day, and a date has none".to_owned()));
        }
        Ok(reading.days)
    }

    /// The day to which a moment belongs in the declared zone.
    fn business_date(&self, reading: &Reading, counts: &mut Counts) -> Result<i32, Unreadable> {
        let micros = match reading.zone {
            Zone::Moment(micros) => micros,
            Zone::Seconds(east) => reading.local_micros() - i64::from(east) * MICROS_PER_SECOND,
            Zone::Unsaid => return Ok(reading.days),
        };
        let zone = match &self.zone {
            Some(Ok(zone)) => zone,
            Some(Err(name)) => return Err(Unreadable::But(format!("cannot be placed: time zone `{name}` is not known"))),
            None => return Err(Unreadable::But("names a time zone, and a date has none".to_owned())),
        };
        let timestamp = jiff::Timestamp::from_microsecond(micros).ok().filter(|_| value_of_instant(micros).is_some());
        let timestamp = timestamp.ok_or_else(|| Unreadable::But("is outside the years 1 to 9999".to_owned()))?;
        counts.add(Rule::BusinessDate);
        Ok(days_of(zone.to_datetime(timestamp).date()))
    }

    /// Microseconds since 1970-01-01T00:00, no zone, of a tidy text that is not null.
    pub(super) fn datetime(&self, text: &str, counts: &mut Counts) -> Result<i64, Unreadable> {
        let reading = self.reading(text, FieldType::Datetime)?;
        if reading.zone != Zone::Unsaid {
            return Err(Unreadable::But("names a time zone, and a datetime has none".to_owned()));
        }
        if reading.is_cut {
            counts.add(Rule::Cut);
        }
        Ok(reading.local_micros())
    }

    /// Microseconds since 1970-01-01T00:00Z of a tidy text that is not null.
    pub(super) fn instant(&self, text: &str, counts: &mut Counts) -> Result<i64, Unreadable> {
        let reading = self.reading(text, FieldType::Instant)?;
        let micros = match (reading.zone, &self.zone) {
            (Zone::Moment(micros), _) => micros,
            (Zone::Seconds(east), _) => reading.local_micros() - i64::from(east) * MICROS_PER_SECOND,
            (Zone::Unsaid, Some(Ok(zone))) => in_zone(&reading, zone, self.dst, counts)?,
            (Zone::Unsaid, Some(Err(name))) => return Err(Unreadable::But(format!("cannot be placed: time zone `{name}` is not known"))),
            (Zone::Unsaid, None) => return Err(Unreadable::But("has no offset, and the column declares no time zone".to_owned())),
        };
        if value_of_instant(micros).is_none() {
            return Err(Unreadable::But("is outside the years 1 to 9999".to_owned()));
        }
        if reading.is_cut {
            counts.add(Rule::Cut);
        }
        Ok(micros)
    }

    fn reading(&self, text: &str, field_type: FieldType) -> Result<Reading, Unreadable> {
        let read = match self.formats.is_empty() {
            true => iso(text.as_bytes()).or_else(|| self.iso_date.read(text).filter(|_| field_type == FieldType::Date)),
            false => self.formats.iter().find_map(|format| format.read(text)),
        };
        read.ok_or_else(|| self.why_not(text, field_type))
    }

    /// Why a text is no date or moment: a day that the calendar does not have, or another layout.
    fn why_not(&self, text: &str, field_type: FieldType) -> Unreadable {
        let impossible = match self.formats.is_empty() {
            true => self.iso_date.impossible(text).or_else(|| self.iso_date.impossible(text.get(..ISO_DATE_BYTES)?)),
            false => self.formats.iter().find_map(|format| format.impossible(text)),
        };
        if let Some(impossible) = impossible {
            return Unreadable::But(impossible);
        }
        let article = if field_type == FieldType::Instant { "an" } else { "a" };
        let layout = match self.formats.as_slice() {
            [] => match field_type {
                FieldType::Date => "like `2024-02-29`".to_owned(),
                FieldType::Instant if self.zone.is_none() => "like `2024-02-29T13:05:07Z`".to_owned(),
                _ => "like `2024-02-29T13:05:07`".to_owned(),
            },
            [one] => format!("in the format `{}`", one.text),
            several => format!("in one of the formats {}", several.iter().map(|format| format!("`{}`", format.text)).collect::<Vec<_>>().join(", ")),
        };
        Unreadable::IsNot(format!("{article} {field_type} {layout}"))
    }

    /// How the column spells a date or moment; its canonical text where its first format cannot.
    pub(super) fn spell(&self, value: &Value) -> String {
        self.spelled(value).unwrap_or_else(|| value.to_string())
    }

    fn spelled(&self, value: &Value) -> Option<String> {
        let first = self.formats.first();
        let epoch = first.and_then(|format| format.epoch);
        let format = first.map(|format| format.text.as_str());
        let is_in_centuries = |year: i16| first.is_none_or(|format| format.holds_year(year));
        match value {
            Value::Date(days) => match (epoch, &self.zone) {
                (Some(epoch), Some(Ok(zone))) => {
                    let start = zone.to_ambiguous_timestamp(date_of(*days)?.at(0, 0, 0, 0)).compatible().ok()?;
                    Some(epoch.spell(start.as_microsecond()))
                }
                (Some(_), _) => None,
                (None, _) => strtime::format(format?, date_of(*days).filter(|date| is_in_centuries(date.year()))?).ok(),
            },
            Value::Datetime(micros) => strtime::format(format?, datetime_of(*micros).filter(|at| is_in_centuries(at.year()))?).ok(),
            Value::Instant(micros) => {
                if let Some(epoch) = epoch {
                    return Some(epoch.spell(*micros));
                }
                let timestamp = jiff::Timestamp::from_microsecond(*micros).ok()?;
                match (format, &self.zone) {
                    (Some(_), Some(Ok(zone))) if !is_in_centuries(zone.to_datetime(timestamp).year()) => None,
                    (Some(format), Some(Ok(zone))) => {
                        let text = strtime::format(format, &timestamp.to_zoned(zone.clone())).ok()?;
                        // A local time that the column takes for the other one of two moments does not stand for this one.
                        let is_other = |read: i64| {
                            let local = |micros| jiff::Timestamp::from_microsecond(micros).map(|at| zone.to_datetime(at));
                            read != *micros && local(read).is_ok_and(|read| local(*micros).is_ok_and(|own| read == own))
                        };
                        let is_wrong = self.dst != Dst::Reject && self.instant(&text, &mut Counts::new()).is_ok_and(is_other);
                        (!is_wrong).then_some(text)
                    }
                    (Some(format), _) => strtime::format(format, &timestamp.to_zoned(TimeZone::UTC)).ok(),
                    (None, Some(Ok(zone))) => {
                        // A local time that stands for two moments needs its offset.
                        let local = zone.to_datetime(timestamp);
                        let is_unique = matches!(zone.to_ambiguous_timestamp(local).offset(), AmbiguousOffset::Unambiguous { .. });
                        is_unique.then(|| local.to_string())
                    }
                    (None, _) => None,
                }
            }
            _ => None,
        }
    }
}

fn in_zone(reading: &Reading, zone: &TimeZone, dst: Dst, counts: &mut Counts) -> Result<i64, Unreadable> {
    let nowhere = || Unreadable::But("is outside the years 1 to 9999".to_owned());
    let local = datetime_of(reading.local_micros()).ok_or_else(nowhere)?;
    let ambiguous = zone.to_ambiguous_timestamp(local);
    let name = zone.iana_name().unwrap_or("UTC");
    let (date, time) = (local.date(), local.strftime("%H:%M"));
    let micros = |timestamp: Result<jiff::Timestamp, jiff::Error>| timestamp.map(|timestamp| timestamp.as_microsecond()).map_err(|_| nowhere());
    match ambiguous.offset() {
        AmbiguousOffset::Gap { .. } | AmbiguousOffset::Fold { .. } if dst != Dst::Reject => {
            counts.add(Rule::DoubtfulTime);
            micros(if dst == Dst::Earlier { ambiguous.earlier() } else { ambiguous.later() })
        }
        AmbiguousOffset::Unambiguous { .. } => ambiguous.unambiguous().map(|timestamp| timestamp.as_microsecond()).map_err(|_| nowhere()),
        AmbiguousOffset::Gap { .. } => Err(Unreadable::But(format!("{time} on {date} does not exist in `{name}`: the clocks are put forward"))),
        AmbiguousOffset::Fold { .. } => Err(Unreadable::But(format!("{time} on {date} happens twice in `{name}`: the clocks are put back"))),
    }
}

/// The instant, if it is within the years that we read.
fn value_of_instant(micros: i64) -> Option<civil::DateTime> {
    datetime_of(micros).filter(|datetime| (1..=9999).contains(&datetime.year()))
}

/// Days since 1970-01-01 of a day of the Gregorian calendar; nothing if there is no such day, or its year is not in 1 to 9999.
fn days_from(year: u32, month: u32, day: u32) -> Option<i32> {
    if !(1..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    // Years that begin in March put the leap day last.
    let year = i64::from(year) - i64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    i32::try_from(era * 146_097 + day_of_era - 719_468).ok()
}

fn days_in_month(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn micros_from(hour: u32, minute: u32, second: u32) -> Option<i64> {
    (hour < 24 && minute < 60 && second < 60).then(|| i64::from(hour * 3600 + minute * 60 + second) * MICROS_PER_SECOND)
}

/// A number of exactly `width` digits at the start, and what follows it.
fn digits(bytes: &[u8], width: usize) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_at_checked(width)?;
    let mut value = 0;
    for byte in number {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u32::from(digit);
    }
    Some((value, rest))
}

/// `2024-02-29` at the start, and what follows it.
fn iso_date(bytes: &[u8]) -> Option<(i32, &[u8])> {
    let (year, rest) = digits(bytes, 4)?;
    let (month, rest) = digits(rest.strip_prefix(b"-")?, 2)?;
    let (day, rest) = digits(rest.strip_prefix(b"-")?, 2)?;
    Some((days_from(year, month, day)?, rest))
}

/// The whole text as an ISO date, datetime or instant.
fn iso(bytes: &[u8]) -> Option<Reading> {
    let (days, rest) = iso_date(bytes)?;
    if rest.is_empty() {
        return Some(Reading { days, micros: 0, is_cut: false, zone: Zone::Unsaid });
    }
    let [b'T' | b't' | b' ', rest @ ..] = rest else { return None };
    let (hour, rest) = digits(rest, 2)?;
    let (minute, mut rest) = digits(rest.strip_prefix(b":")?, 2)?;
    let (mut second, mut micros, mut is_cut) = (0, 0, false);
    if let Some(seconds) = rest.strip_prefix(b":") {
        (second, rest) = digits(seconds, 2)?;
        if let [b'.' | b',', fraction @ ..] = rest {
            let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (fraction, after) = fraction.split_at(length);
            if fraction.is_empty() {
                return None;
            }
            for digit in fraction.iter().chain(std::iter::repeat(&b'0')).take(6) {
                micros = micros * 10 + i64::from(digit - b'0');
            }
            is_cut = fraction.iter().skip(6).any(|digit| *digit != b'0');
            rest = after;
        }
    }
    let micros = micros + micros_from(hour, minute, second)?;
    Some(Reading { days, micros, is_cut, zone: iso_offset(rest)? })
}

fn iso_offset(bytes: &[u8]) -> Option<Zone> {
    let (sign, rest) = match bytes.strip_prefix(b" ").unwrap_or(bytes) {
        [] if bytes.is_empty() => return Some(Zone::Unsaid),
        [b'Z' | b'z'] => return Some(Zone::Seconds(0)),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, rest) = digits(rest, 2)?;
    let minutes = match rest {
        [] => 0,
        _ => {
            let (minutes, rest) = digits(rest.strip_prefix(b":").unwrap_or(rest), 2)?;
            rest.is_empty().then_some(minutes)?
        }
    };
    let seconds = i32::try_from(hours * 3600 + minutes * 60).ok()?;
    (hours < 24 && minutes < 60).then_some(Zone::Seconds(sign * seconds))
}

/// One `strtime` format.
struct Format {
    text: String,
    /// The format as a row of numbers of fixed width and what stands between them, where it is no more than that.
    pieces: Option<Vec<Piece>>,
    /// Whether two numbers stand side by side, so that only their full width tells where one ends.
    runs_together: bool,
    /// What it counts, where it is no `strtime` format.
    epoch: Option<Epoch>,
    /// Where it has a year of two digits: those below are 20.., the others 19..
    century_pivot: Option<u8>,
}

/// A count from 1970-01-01T00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Epoch {
    Seconds,
    Millis,
    /// Milliseconds within `/Date(..)/`.
    MillisJson,
}

impl Epoch {
    fn of(format: &str) -> Option<Epoch> {
        let at = EPOCH_FORMATS.iter().position(|known| *known == format)?;
        [Epoch::Seconds, Epoch::Millis, Epoch::MillisJson].get(at).copied()
    }

    /// Microseconds since 1970-01-01T00:00Z.
    fn read(self, text: &str) -> Option<i64> {
        let (digits, micros_each) = match self {
            // A database that keeps floats shows `1709211907.0`.
            Epoch::Seconds => (text.strip_suffix(".0").unwrap_or(text), MICROS_PER_SECOND),
            Epoch::Millis => (text.strip_suffix(".0").unwrap_or(text), MICROS_PER_SECOND / 1000),
            Epoch::MillisJson => {
                let inside = text.strip_prefix("\\/Date(").and_then(|rest| rest.strip_suffix(")\\/"));
                let inside = inside.or_else(|| text.strip_prefix("/Date(").and_then(|rest| rest.strip_suffix(")/")))?;
                let (millis, offset) = inside.rfind(['+', '-']).filter(|at| *at > 0).map_or((inside, ""), |at| inside.split_at(at));
                let is_offset = offset.is_empty() || (offset.len() == 5 && offset[1..].bytes().all(|byte| byte.is_ascii_digit()));
                (is_offset.then_some(millis)?, MICROS_PER_SECOND / 1000)
            }
        };
        let bare = digits.strip_prefix('-').unwrap_or(digits);
        let is_number = !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_digit());
        let micros = digits.parse::<i64>().ok().filter(|_| is_number)?.checked_mul(micros_each)?;
        value_of_instant(micros).map(|_| micros)
    }

    /// The count, what is finer cut off.
    fn spell(self, micros: i64) -> String {
        let millis = micros.div_euclid(MICROS_PER_SECOND / 1000);
        match self {
            Epoch::Seconds => micros.div_euclid(MICROS_PER_SECOND).to_string(),
            Epoch::Millis => millis.to_string(),
            Epoch::MillisJson => format!("/Date({millis}+0000)/"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Year,
    /// Two digits.
    ShortYear,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    Literal(u8),
}

impl Piece {
    fn width(self) -> usize {
        match self {
            Piece::Literal(_) => 1,
            Piece::Year => 4,
            _ => 2,
        }
    }
}

/// The numbers of a date and time of day, unchecked.
#[derive(Clone, Copy, Default)]
struct Numbers {
    year: u32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
}

impl Format {
    fn new(text: &str, century_pivot: Option<u8>) -> Format {
        let epoch = Epoch::of(text);
        let century_pivot = century_pivot.filter(|_| has_short_year(text));
        let pieces = if epoch.is_some() { None } else { pieces_of(text, century_pivot.is_some()) };
        Format { text: text.to_owned(), pieces, runs_together: runs_together(text), epoch, century_pivot }
    }

    /// Whether a year can be told from others by what the format spells of it.
    fn holds_year(&self, year: i16) -> bool {
        let Some(pivot) = self.century_pivot else { return true };
        u32::try_from(year).is_ok_and(|year| year_of(year % 100, pivot) == year)
    }

    /// The numbers of a text with the layout of the format; `least` digits are enough for each but the year.
    fn numbers(&self, bytes: &[u8], least: usize) -> Option<Numbers> {
        let mut numbers = Numbers::default();
        let mut rest = bytes;
        for piece in self.pieces.as_ref()? {
            if let Piece::Literal(literal) = piece {
                rest = rest.strip_prefix(std::slice::from_ref(literal))?;
                continue;
            }
            let mut width = piece.width();
            if width > least && !matches!(piece, Piece::Year | Piece::ShortYear) {
                width = rest.iter().take(width).take_while(|byte| byte.is_ascii_digit()).count().max(least);
            }
            let (number, after) = digits(rest, width)?;
            rest = after;
            match piece {
                Piece::Year => numbers.year = number,
                Piece::ShortYear => numbers.year = year_of(number, self.century_pivot.unwrap_or(0)),
                Piece::Month => numbers.month = number,
                Piece::Day => numbers.day = number,
                Piece::Hour => numbers.hour = number,
                Piece::Minute => numbers.minute = number,
                Piece::Second => numbers.second = number,
                Piece::Literal(_) => {}
            }
        }
        rest.is_empty().then_some(numbers)
    }

    /// What a text says that has exactly the layout of the format.
    fn fixed_width(&self, bytes: &[u8]) -> Option<Reading> {
        const FULL_WIDTH: usize = 2;
        let numbers = self.numbers(bytes, FULL_WIDTH)?;
        Some(Reading {
            days: days_from(numbers.year, numbers.month, numbers.day)?,
            micros: micros_from(numbers.hour, numbers.minute, numbers.second)?,
            is_cut: false,
            zone: Zone::Unsaid,
        })
    }

    /// What a text of this format says.
    fn read(&self, text: &str) -> Option<Reading> {
        if let Some(epoch) = self.epoch {
            let micros = epoch.read(text)?;
            return Some(Reading { days: 0, micros: 0, is_cut: false, zone: Zone::Moment(micros) });
        }
        self.fixed_width(text.as_bytes()).or_else(|| self.read_kindly(text))
    }

    fn read_kindly(&self, text: &str) -> Option<Reading> {
        // jiff takes a second 60 for 59.
        if self.impossible(text).is_some() {
            return None;
        }
        let parsed = BrokenDownTime::parse(&self.text, text).ok()?;
        if let Some(timestamp) = parsed.timestamp() {
            return Some(Reading { days: 0, micros: 0, is_cut: false, zone: Zone::Moment(timestamp.as_microsecond()) });
        }
        let mut local = parsed.to_datetime().ok()?;
        if let Some(pivot) = self.century_pivot {
            let year = year_of(u32::try_from(local.year()).ok()? % 100, pivot);
            let date = civil::Date::new(i16::try_from(year).ok()?, local.month(), local.day()).ok()?;
            local = date.to_datetime(local.time());
        }
        let is_cut = local.subsec_nanosecond() % NANOS_PER_MICRO != 0;
        let zone = match (parsed.iana_time_zone(), parsed.offset()) {
            (Some(_), _) => {
                let nanos = parsed.to_zoned().ok()?.timestamp().as_nanosecond();
                Zone::Moment(i64::try_from(nanos.div_euclid(i128::from(NANOS_PER_MICRO))).ok()?)
            }
            (None, Some(offset)) => Zone::Seconds(offset.seconds()),
            (None, None) => Zone::Unsaid,
        };
        let is_doubtful = (self.runs_together && self.century_pivot.is_none()) || local.year() < 1000;
        if local.year() < 1 || (is_doubtful && parsed.to_string(&self.text).ok().as_deref() != Some(text)) {
            return None;
        }
        let seconds = i64::from(local.hour()) * 3600 + i64::from(local.minute()) * 60 + i64::from(local.second());
        let micros = seconds * MICROS_PER_SECOND + i64::from(local.subsec_nanosecond() / NANOS_PER_MICRO);
        let days = days_of(local.date());
        Some(Reading { days, micros, is_cut, zone })
    }

    /// What the calendar or the clock does not have, in a text that has the layout of the format.
    fn impossible(&self, text: &str) -> Option<String> {
        const MONTHS: [&str; 12] = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
        let Numbers { year, month, day, hour, minute, second } = self.numbers(text.as_bytes(), 1)?;
        let name = usize::try_from(month).ok().and_then(|month| MONTHS.get(month.wrapping_sub(1)));
        Some(match name {
            _ if year == 0 => "there is no year 0".to_owned(),
            None => format!("month {month} does not exist"),
            Some(name) if day == 0 || day > days_in_month(year, month) => format!("day {day} does not exist in {name} {year}"),
            _ if micros_from(hour, minute, second).is_none() => "no clock shows that time of day".to_owned(),
            _ => return None,
        })
    }
}

/// Whether two numbers of a format stand side by side.
fn runs_together(format: &str) -> bool {
    const NUMBERS: &[u8] = b"CDFGHIMNRSTUVWYdefgjklmsuwy";
    let mut after_number = false;
    let mut bytes = format.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            after_number = false;
            continue;
        }
        // Padding and width may stand before the letter; a dot, as in `%.f`, parts the numbers.
        let mut has_dot = false;
        let letter = bytes.find(|byte| {
            has_dot |= *byte == b'.';
            byte.is_ascii_alphabetic() || *byte == b'%'
        });
        let is_number = letter.is_some_and(|letter| NUMBERS.contains(&letter));
        if after_number && is_number && !has_dot {
            return true;
        }
        after_number = is_number;
    }
    false
}

/// The pieces of a format that holds year, month and day, and nothing but numbers of fixed width.
fn pieces_of(format: &str, has_pivot: bool) -> Option<Vec<Piece>> {
    let format = format.replace("%F", "%Y-%m-%d").replace("%T", "%H:%M:%S").replace("%R", "%H:%M");
    let mut pieces = Vec::new();
    let mut bytes = format.bytes();
    while let Some(byte) = bytes.next() {
        pieces.push(match byte {
            b'%' => match bytes.next()? {
                b'Y' => Piece::Year,
                b'y' if has_pivot => Piece::ShortYear,
                b'm' => Piece::Month,
                b'd' => Piece::Day,
                b'H' => Piece::Hour,
                b'M' => Piece::Minute,
                b'S' => Piece::Second,
                _ => return None,
            },
            literal => Piece::Literal(literal),
        });
    }
    let has_year = pieces.contains(&Piece::Year) != pieces.contains(&Piece::ShortYear);
    (has_year && pieces.contains(&Piece::Month) && pieces.contains(&Piece::Day)).then_some(pieces)
}
