//! Which of several files is the newest, by the date in its name.
//!
//! Pure: names in, one of them out. The time of a file is never asked: a copy, a restore or an upload sets it anew.
//!
//! # Design
//! - A date is looked for anywhere in the name, and is none where a digit stands right before or after it. A format may have the
//!   characters round the date (`-%Y%m%d.`), where a name has more than one.
//! - Every name counts that fits the path. One without a date is no file to pass over: it may be tonight's, under a new name.

/// A date in a name: year, month, day, hour, minute, second. What the format does not have is the least possible.
pub(super) type NameDate = [u16; 6];

/// Why it cannot be told which file is the newest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unclear {
    /// A name has no date.
    NoDate(String),
    /// A name has several dates.
    SeveralDates(String),
    /// The newest date stands in several names.
    Twins(Vec<String>),
}

/// The name with the newest date, and the date; nothing if there are no names.
pub(super) fn newest(names: &[String], format: &str) -> Result<Option<(String, NameDate)>, Unclear> {
    let mut dated = Vec::with_capacity(names.len());
    for name in names {
        let mut dates = dates(name, format);
        dates.sort_unstable();
        dates.dedup();
        match dates.as_slice() {
            [date] => dated.push((*date, name)),
            [] => return Err(Unclear::NoDate(name.clone())),
            _ => return Err(Unclear::SeveralDates(name.clone())),
        }
    }
    dated.sort_unstable();
    let Some((date, name)) = dated.pop() else { return Ok(None) };
    let mut twins: Vec<String> = dated.iter().filter(|(other, _)| *other == date).map(|(_, twin)| (*twin).clone()).collect();
    if twins.is_empty() {
        return Ok(Some((name.clone(), date)));
    }
    twins.push(name.clone());
    Err(Unclear::Twins(twins))
}

/// A date as text, which sorts as dates do.
pub(super) fn spelled([year, month, day, hour, minute, second]: NameDate) -> String {
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// All dates in a name.
fn dates(name: &str, format: &str) -> Vec<NameDate> {
    let bytes = name.as_bytes();
    let is_digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let at = |start: usize| {
        let (date, end) = read(&bytes[start..], format)?;
        let end = start + end;
        let is_part_of_a_number = is_digit(Some(start)) && is_digit(start.checked_sub(1)) || is_digit(end.checked_sub(1)) && is_digit(Some(end));
        (!is_part_of_a_number).then_some(date)
    };
    (0..bytes.len()).filter_map(at).collect()
}

/// The date that a text begins with, and where it ends.
fn read(text: &[u8], format: &str) -> Option<(NameDate, usize)> {
    let mut date: NameDate = [0, 1, 1, 0, 0, 0];
    let mut at = 0;
    let mut wanted = format.bytes();
    while let Some(byte) = wanted.next() {
        if byte != b'%' {
            if text.get(at) != Some(&byte) {
                return None;
            }
            at += 1;
            continue;
        }
        let (part, width) = match wanted.next()? {
            b'Y' => (0, 4),
            b'm' => (1, 2),
            b'd' => (2, 2),
            b'H' => (3, 2),
            b'M' => (4, 2),
            b'S' => (5, 2),
            _ => return None,
        };
        let digits = text.get(at..at + width).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
        date[part] = digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
        at += width;
    }
    let small = |part: usize| i8::try_from(date[part]).ok();
    let day = jiff::civil::Date::new(i16::try_from(date[0]).ok()?, small(1)?, small(2)?);
    let time = jiff::civil::Time::new(small(3)?, small(4)?, small(5)?, 0);
    (day.is_ok() && time.is_ok()).then_some((date, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str], format: &str) -> Result<Option<String>, Unclear> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        newest(&names, format).map(|found| found.map(|(name, date)| format!("{name} {}", spelled(date))))
    }

    #[test]
    fn the_newest_is_told_by_the_date_in_the_name() {
        for (names, format, expected) in [
            (vec!["a-20260302.csv", "a-20260228.csv", "a-20251231.csv"], "%Y%m%d", "a-20260302.csv 2026-03-02T00:00:00"),
            // The day first: names do not sort as their dates do.
            (vec!["31.12.2025.csv", "01.01.2026.csv"], "%d.%m.%Y", "01.01.2026.csv 2026-01-01T00:00:00"),
            (vec!["a_2026-03.csv", "a_2026-11.csv"], "%Y-%m", "a_2026-11.csv 2026-11-01T00:00:00"),
            (vec!["a20260302T2359.csv", "a20260303T0001.csv"], "%Y%m%dT%H%M", "a20260303T0001.csv 2026-03-03T00:01:00"),
            // A customer number is no date, and neither is the thirtieth of February.
            (vec!["4711202603-20260302.csv"], "%Y%m%d", "4711202603-20260302.csv 2026-03-02T00:00:00"),
            (vec!["20260230-20260301.csv"], "%Y%m%d", "20260230-20260301.csv 2026-03-01T00:00:00"),
            // A leap day, and a month between two umlauts.
            (vec!["ä20240229ö.csv"], "%Y%m%d", "ä20240229ö.csv 2024-02-29T00:00:00"),
            (vec!["20260201-20260228.csv", "20260301-20260331.csv"], "-%Y%m%d.", "20260301-20260331.csv 2026-03-31T00:00:00"),
        ] {
            assert_eq!(found(&names, format), Ok(Some(expected.to_owned())), "{names:?}");
        }
        assert_eq!(found(&[], "%Y"), Ok(None));
    }

    #[test]
    fn what_cannot_be_told_is_named() {
        let twins = |names: &[&str]| Err(Unclear::Twins(names.iter().map(|name| (*name).to_owned()).collect()));
        assert_eq!(found(&["a-20260302.csv", "b-20260302.csv", "a-20260301.csv"], "%Y%m%d"), twins(&["a-20260302.csv", "b-20260302.csv"]));
        // Twins of an older night are nobody's business.
        assert!(found(&["a-20260302.csv", "a-20260301.csv", "b-20260301.csv"], "%Y%m%d").is_ok());
        assert_eq!(found(&["a-20260302.csv", "a-copy.csv"], "%Y%m%d"), Err(Unclear::NoDate("a-copy.csv".to_owned())));
        assert_eq!(found(&["a-120260302.csv"], "%Y%m%d"), Err(Unclear::NoDate("a-120260302.csv".to_owned())));
        assert_eq!(found(&["20260201-20260228.csv"], "%Y%m%d"), Err(Unclear::SeveralDates("20260201-20260228.csv".to_owned())));
    }
}
