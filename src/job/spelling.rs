//! Small languages inside the strings of a job file: references, cron lines, date formats, mail addresses, URLs.
//!
//! Pure text: nothing here resolves a reference by itself, and no message repeats what may be a secret.

use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::{self, DateTime};
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::{Offset, TimeZone};

use crate::diagnostic::did_you_mean;
use crate::value::FieldType;

/// A reference in a string of a job file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference<'t> {
    /// `${env:NAME}`: a variable of the environment.
    Env(&'t str),
    /// `${file:path}`: the content of a file, relative to the root.
    File(&'t str),
}

/// A piece of a string: as it stands, or a reference.
enum Piece<'t> {
    Text(&'t str),
    Reference(Reference<'t>),
}

/// The pieces of a string, or what is wrong with a reference in it.
fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        let (inside, tail) = after.split_once('}').ok_or_else(|| "a reference is not closed with `}`".to_owned())?;
        let reference = match inside.split_once(':') {
            Some(("env", name)) => {
                let is_name =
                    |name: &str| name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                if !is_name(name) {
                    return Err(format!("`{name}` is not the name of an environment variable"));
                }
                Reference::Env(name)
            }
            Some(("file", path)) => {
                if path.trim().is_empty() {
                    return Err("a reference names no file".to_owned());
                }
                Reference::File(path)
            }
            _ => return Err("a reference is neither `${env:NAME}` nor `${file:path}`".to_owned()),
        };
        pieces.push(Piece::Reference(reference));
        rest = tail;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// A string with its references replaced by what `read` gives for them. A line end at the end of a file is dropped; what
/// was put in is not searched for references again.
///
/// # Errors
/// A reference that is not well formed, or the words of `read`. They never hold a value.
pub fn resolve(text: &str, read: &dyn Fn(Reference<'_>) -> Result<String, String>) -> Result<String, String> {
    let mut resolved = String::with_capacity(text.len());
    for piece in pieces(text)? {
        match piece {
            Piece::Text(text) => resolved.push_str(text),
            Piece::Reference(reference) => {
                let value = read(reference)?;
                resolved.push_str(match reference {
                    Reference::Env(_) => &value,
                    Reference::File(_) => value.trim_end_matches(['\r', '\n']),
                });
            }
        }
    }
    Ok(resolved)
}

/// What is wrong with the references of a string; nothing if they are well formed, or if there are none.
pub(super) fn reference_problem(text: &str) -> Option<String> {
    pieces(text).err()
}

/// Whether a string holds something that is meant as a reference.
pub(super) fn has_reference(text: &str) -> bool {
    text.contains("${env:") || text.contains("${file:")
}

/// One step of a path into a JSON value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathStep {
    /// To the value of a key of an object.
    Key(String),
    /// To an element of an array, counted from 0.
    Index(usize),
}

/// A path into a JSON value has no more steps than this.
const PATH_STEPS_MAX: usize = 32;

/// The steps of a path such as `properties.email`, `phones[0].number` or `["first.name"]`; `$.` before it may stand or not.
///
/// # Errors
/// What is wrong with it, in words that follow its name.
pub fn read_path(text: &str) -> Result<Vec<PathStep>, String> {
    let mut rest = text;
    if let Some(path) = text.strip_prefix('$')
        && (path.is_empty() || path.starts_with(['.', '[']))
    {
        rest = path.strip_prefix('.').unwrap_or(path);
    }
    let mut steps = Vec::new();
    let mut needs_key = !rest.is_empty() && !rest.starts_with('[');
    while !rest.is_empty() || needs_key {
        if needs_key {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (key, after) = rest.split_at(end);
            if key.is_empty() || key.contains([']', '"', '*']) {
                return Err("is no path: a name is missing between its points".to_owned());
            }
            steps.push(PathStep::Key(key.to_owned()));
            rest = after;
        } else {
            let inner = rest.strip_prefix('[').unwrap_or(rest);
            if inner.starts_with('"') {
                let mut values = serde_json::Deserializer::from_str(inner).into_iter::<String>();
                let Some(Ok(key)) = values.next() else { return Err("is no path: a quoted name in it does not end".to_owned()) };
                steps.push(PathStep::Key(key));
                rest = &inner[values.byte_offset()..];
            } else {
                let end = inner.find(|c: char| !c.is_ascii_digit()).unwrap_or(inner.len());
                let index = inner[..end].parse().map_err(|_| "is no path: in its brackets stands a number from 0, or a name in quotes".to_owned())?;
                steps.push(PathStep::Index(index));
                rest = &inner[end..];
            }
            rest = rest.strip_prefix(']').ok_or_else(|| "is no path: a bracket in it is not closed".to_owned())?;
        }
        needs_key = false;
        if let Some(after) = rest.strip_prefix('.') {
            (rest, needs_key) = (after, true);
        } else if !rest.is_empty() && !rest.starts_with('[') {
            return Err("is no path: after a bracket comes a point or another bracket".to_owned());
        }
    }
    if steps.len() > PATH_STEPS_MAX {
        return Err(format!("has {} steps, at most {PATH_STEPS_MAX} are possible", steps.len()));
    }
    Ok(steps)
}

/// A path as [`read_path`] reads it. `is_rooted` puts a point before a first name, as after `$`.
pub fn spell_path(steps: &[PathStep], is_rooted: bool) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            PathStep::Index(index) => path.push_str(&format!("[{index}]")),
            PathStep::Key(key) if key.is_empty() || key.contains(['.', '[', ']', '"', '$', '*']) => {
                path.push_str(&format!("[{}]", serde_json::Value::from(key.as_str())));
            }
            PathStep::Key(key) => {
                if is_rooted || !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
            }
        }
    }
    path
}

/// Whether a string consists of references, and of nothing else.
pub(super) fn is_only_references(text: &str) -> bool {
    pieces(text).is_ok_and(|pieces| !pieces.is_empty() && pieces.iter().all(|piece| matches!(piece, Piece::Reference(_))))
}

/// Whether a URL holds a password, or another secret, that is not a reference.
pub(super) fn has_literal_secret(url: &str) -> bool {
    const SECRETS: &[&str] = &["password", "passwd", "pwd", "sslpassword", "token", "secret", "api_key", "apikey", "access_token"];
    // A reference becomes one character that no URL contains, so that what it holds cannot be taken for punctuation.
    let Ok(pieces) = pieces(url) else { return false };
    let url: String = pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => *text,
            Piece::Reference(_) => "\0",
        })
        .collect();
    let is_literal = |secret: &str| secret.chars().any(|character| character != '\0');
    let after_scheme = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?', '#']).next().unwrap_or_default();
    let in_authority = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')).is_some_and(|(_, password)| is_literal(password));
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let in_query = query
        .split(['&', ';', '#'])
        .filter_map(|pair| pair.split_once('='))
        .any(|(name, value)| SECRETS.contains(&name.to_ascii_lowercase().as_str()) && is_literal(value));
    in_authority || in_query
}

/// Reads a cron line of five fields, or of six with seconds first. Either of a day of month and a weekday is enough.
///
/// # Errors
/// What is wrong with it, in words that follow "is not a schedule": a field, or that it never comes.
pub fn read_cron(cron: &str) -> Result<Cron, String> {
    if let Some(problem) = cron_problem(cron) {
        return Err(problem);
    }
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
    let read = parser.parse(cron).map_err(|error| match error {
        CronError::InvalidPattern(why) | CronError::IllegalCharacters(why) | CronError::ComponentError(why) => {
            format!("it cannot be read ({})", why.trim_end_matches('.').to_lowercase())
        }
        other => format!("it cannot be read ({})", other.to_string().trim_end_matches('.').to_lowercase()),
    })?;
    // Every day of the calendar that there is comes within the forty years that hold each weekday on 29 February.
    let never = || "it never comes: no such day is in the calendar".to_owned();
    let first = read.find_next_occurrence(&civil::datetime(1999, 12, 31, 23, 59, 59, 0), false).map_err(|_| never())?;
    if first.year() > 2040 { Err(never()) } else { Ok(read) }
}

/// What is wrong with a field of a cron line.
fn cron_problem(cron: &str) -> Option<String> {
    const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    struct Part {
        name: &'static str,
        least: u32,
        most: u32,
        words: &'static [&'static str],
        is_day: bool,
    }
    let part = |name, least, most| Part { name, least, most, words: &[], is_day: false };
    let parts = [
        part("second", 0, 59),
        part("minute", 0, 59),
        part("hour", 0, 23),
        Part { is_day: true, ..part("day of month", 1, 31) },
        Part { words: MONTHS, ..part("month", 1, 12) },
        Part { words: DAYS, is_day: true, ..part("weekday", 0, 7) },
    ];
    let fields: Vec<&str> = cron.split_whitespace().collect();
    let parts = match fields.len() {
        5 => &parts[1..],
        6 => &parts[..],
        count => return Some(format!("it has {count} fields; five are needed, or six with seconds first")),
    };
    let number = |part: &Part, text: &str| {
        let word = part.words.iter().position(|word| word.eq_ignore_ascii_case(text)).and_then(|i| u32::try_from(i).ok());
        let first_word = if part.words.len() == 12 { 1 } else { 0 };
        let number = if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None };
        word.map(|word| word + first_word).or(number).filter(|number| (part.least..=part.most).contains(number))
    };
    // A step needs a range, and a list needs no `*`.
    let is_item = |part: &Part, item: &str, is_alone: bool| {
        let (range, step) = item.split_once('/').map_or((item, None), |(range, step)| (range, Some(step)));
        let step_is_right = step.is_none_or(|step| step.parse::<u32>().is_ok_and(|step| step > 0 && step <= part.most));
        let special = |text: &str| {
            let upper = text.to_ascii_uppercase();
            part.is_day
                && (upper == "?"
                    || upper == "L"
                    || upper == "LW"
                    || upper.strip_suffix(['L', 'W']).is_some_and(|day| number(part, day).is_some())
                    || upper.split_once('#').is_some_and(|(day, week)| number(part, day).is_some() && matches!(week, "1" | "2" | "3" | "4" | "5" | "L")))
        };
        let range_is_right = match range.split_once('-') {
            Some((from, to)) => matches!((number(part, from), number(part, to)), (Some(from), Some(to)) if from <= to),
            None if range == "*" => is_alone || step.is_some(),
            None => step.is_none() && (number(part, range).is_some() || special(range)),
        };
        step_is_right && range_is_right
    };
    let is_right = |part: &Part, field: &str| field.split(',').all(|item| is_item(part, item, !field.contains(',')));
    parts.iter().zip(&fields).find(|(part, field)| !is_right(part, field)).map(|(part, field)| {
        format!("`{field}` is not right for the {}: it takes {} to {}, `*`, a range `1-5`, a list `1,3` or a step `*/2`", part.name, part.least, part.most)
    })
}

/// Whether this is the IANA name of a time zone.
pub(super) fn is_timezone(name: &str) -> bool {
    !name.is_empty() && TimeZone::get(name).is_ok()
}

/// The IANA name that was most likely meant.
pub(super) fn timezone_meant(written: &str) -> Option<String> {
    let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    let spaced = written.trim().replace(' ', "_");
    let city = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let cities: Vec<String> = names.iter().map(|name| city(name)).collect();
    let of_city = |meant: &str| names.iter().find(|name| name.contains('/') && city(name).eq_ignore_ascii_case(meant));
    of_city(&spaced)
        .map(String::as_str)
        .or_else(|| did_you_mean(&spaced, names.iter().map(String::as_str)))
        .or_else(|| did_you_mean(&spaced, cities.iter().map(String::as_str)).and_then(of_city).map(String::as_str))
        .map(str::to_owned)
}

/// Names of formats that count from 1970-01-01T00:00Z: in seconds, in milliseconds, and in milliseconds as `/Date(..)/`.
pub const EPOCH_FORMATS: [&str; 3] = ["unix", "unix-ms", "ms-json"];

/// Whether a date format is one of [`EPOCH_FORMATS`].
pub(super) fn is_epoch_format(format: &str) -> bool {
    EPOCH_FORMATS.contains(&format)
}

/// Whether a date format has a year of two digits.
pub fn has_short_year(format: &str) -> bool {
    let mut letters = format.bytes();
    while let Some(letter) = letters.next() {
        // Padding and width may stand between the sign and its letter.
        if letter == b'%' && letters.find(|letter| letter.is_ascii_alphabetic() || *letter == b'%').is_some_and(|letter| matches!(letter, b'y' | b'D')) {
            return true;
        }
    }
    false
}

/// The year that two digits mean: in the century of 2000 below the pivot, else in that of 1900.
pub fn year_of(two_digits: u32, century_pivot: u8) -> u32 {
    if two_digits < u32::from(century_pivot) { 2000 + two_digits } else { 1900 + two_digits }
}

/// What is wrong with a date format for fields of a type: it must give back what it wrote. Years of two digits are those of
/// `century_pivot`.
///
/// A moment may be spelled without its time of day, as a day; a day may not lack anything.
pub(super) fn format_problem(format: &str, field_type: FieldType, century_pivot: Option<u8>) -> Option<String> {
    if format.trim().is_empty() {
        return Some("it is empty".to_owned());
    }
    if is_epoch_format(format) {
        return (field_type == FieldType::Datetime).then(|| "it spells a moment, and a datetime has no zone".to_owned());
    }
    // The two years of these samples are told apart by two digits as well, in the way that the format's library reads them.
    let early = if century_pivot.is_some() { civil::datetime(1981, 11, 3, 13, 45, 0, 0) } else { civil::datetime(1931, 11, 3, 13, 45, 0, 0) };
    // Two days of two centuries, one of them a leap day, in the afternoon: every directive that is too weak for its job
    // (`%y`, `%I` without `%p`, `%d` without `%m`) gives something else back.
    let samples = [civil::datetime(2024, 2, 29, 13, 45, 0, 0), early];
    for sample in samples {
        let Ok(written) = write(format, sample, field_type) else {
            return Some("it cannot be written".to_owned());
        };
        let back = match BrokenDownTime::parse(format, &written).map_err(|_| ()).and_then(|parts| read_back(&parts, field_type)) {
            Ok(back) => back,
            Err(()) => return Some(format!("`{written}` cannot be read back with it")),
        };
        let midnight = sample.date().at(0, 0, 0, 0);
        let is_day_only = || back == midnight && write(format, midnight, field_type).is_ok_and(|text| text == written);
        let is_back = if field_type == FieldType::Date { back.date() == sample.date() } else { back == sample || is_day_only() };
        if !is_back {
            return Some(match field_type {
                FieldType::Date => format!("it reads `{written}`, which it writes for {}, as {}", sample.date(), back.date()),
                _ => format!("it reads `{written}`, which it writes for {sample}, as {back}"),
            });
        }
    }
    None
}

fn write(format: &str, sample: DateTime, field_type: FieldType) -> Result<String, ()> {
    let parts = match field_type {
        FieldType::Date => BrokenDownTime::from(sample.date()),
        FieldType::Instant => match sample.to_zoned(TimeZone::UTC) {
            Ok(zoned) => BrokenDownTime::from(&zoned),
            Err(_) => return Err(()),
        },
        _ => BrokenDownTime::from(sample),
    };
    parts.to_string(format).map_err(|_| ())
}

fn read_back(parts: &BrokenDownTime, field_type: FieldType) -> Result<DateTime, ()> {
    match field_type {
        FieldType::Date => parts.to_date().map(|date| date.at(0, 0, 0, 0)).map_err(|_| ()),
        FieldType::Instant if parts.timestamp().is_some() || parts.offset().is_some() => {
            parts.to_timestamp().map(|timestamp| Offset::UTC.to_datetime(timestamp)).map_err(|_| ())
        }
        _ => parts.to_datetime().map_err(|_| ()),
    }
}

/// Whether this is a mail address, alone or as `Name <address>`.
pub(super) fn is_mail_address(text: &str) -> bool {
    text.trim() == text && text.parse::<lettre::message::Mailbox>().is_ok()
}

/// What is wrong with the spelling of a date in the name of a file; nothing if it can be ordered by time.
pub(super) fn name_date_problem(format: &str) -> Option<String> {
    let mut parts = Vec::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        match (character, characters.as_str().chars().next()) {
            ('%', Some(directive @ ('Y' | 'm' | 'd' | 'H' | 'M' | 'S'))) => {
                parts.push(directive);
                characters.next();
            }
            ('%', Some(other)) => return Some(format!("it has `%{other}`")),
            ('%', None) => return Some("it ends with `%`".to_owned()),
            ('/' | '*', _) => return Some(format!("no name has a `{character}`")),
            _ => {}
        }
    }
    let whole = ['Y', 'm', 'd', 'H', 'M', 'S'];
    if let Some(twice) = parts.iter().enumerate().find(|(at, part)| parts[..*at].contains(part)).map(|(_, part)| part) {
        return Some(format!("it has `%{twice}` twice"));
    }
    let gap = whole.iter().take(parts.len()).find(|part| !parts.contains(part));
    gap.map_or_else(|| parts.is_empty().then(|| "it has no date".to_owned()), |gap| Some(format!("it has no `%{gap}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_people_write_them() {
        let key = |key: &str| PathStep::Key(key.to_owned());
        for (text, steps) in [
            ("email", vec![key("email")]),
            ("$.email", vec![key("email")]),
            ("E-Mail (private)", vec![key("E-Mail (private)")]),
            ("$", vec![]),
            ("properties.email", vec![key("properties"), key("email")]),
            ("phones[0].number", vec![key("phones"), PathStep::Index(0), key("number")]),
            (r#"["first.name"].x"#, vec![key("first.name"), key("x")]),
            (r#"$["a\"b"][1][2]"#, vec![key("a\"b"), PathStep::Index(1), PathStep::Index(2)]),
            ("$price", vec![key("$price")]),
        ] {
            assert_eq!(read_path(text), Ok(steps.clone()), "{text}");
            assert_eq!(read_path(&spell_path(&steps, false)), Ok(steps), "{text}");
        }
        for text in ["a..b", ".a", "a.", "a[", "a[x]", "a[0", "a[0]b", "a[-1]", "items[*].x", r#"["a]"#, "a]"] {
            assert!(read_path(text).is_err(), "{text}");
        }
        assert!(read_path(&["a"; 33].join(".")).is_err());
    }

    #[test]
    fn references_are_replaced_once_and_file_ends_are_dropped() {
        let read = |reference: Reference<'_>| match reference {
            Reference::Env("USER") => Ok("ada".to_owned()),
            Reference::Env("TRICK") => Ok("${env:USER}".to_owned()),
            Reference::File("secrets/pw") => Ok("p:w\r\n".to_owned()),
            Reference::Env(name) => Err(format!("`{name}` is not set")),
            Reference::File(path) => Err(format!("`{path}` is not there")),
        };
        for (text, expected) in [
            ("plain $5 {x}", Ok("plain $5 {x}")),
            ("db://${env:USER}:${file:secrets/pw}@host", Ok("db://ada:p:w@host")),
            ("${env:TRICK}", Ok("${env:USER}")),
            ("${env:NONE}", Err("`NONE` is not set")),
            ("${env:USER", Err("a reference is not closed with `}`")),
            ("${env:1A}", Err("`1A` is not the name of an environment variable")),
            ("${file: }", Err("a reference names no file")),
            ("${USER}", Err("a reference is neither `${env:NAME}` nor `${file:path}`")),
        ] {
            assert_eq!(resolve(text, &read), expected.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn secrets_in_urls_are_seen() {
        for (url, expected) in [
            ("postgres://app:hunter2@db/books", true),
            ("postgres://app:${env:PW}@db/books", false),
            ("postgres://app:${file:a/b@c}@db/books", false),
            ("postgres://app:x${env:PW}@db/books", true),
            ("postgres://app@db/books", false),
            ("postgres://db:5432/books?password=hunter2", true),
            ("postgres://db:5432/books?password=${env:PW}&user=a", false),
            ("sqlite:data/a@b:c.db", false),
            ("https://host:8080/path@x", false),
        ] {
            assert_eq!(has_literal_secret(url), expected, "{url}");
        }
    }

    #[test]
    fn a_schedule_that_never_comes_is_none() {
        for cron in ["0 2 29 2 *", "0 2 * * 1#5", "0 2 31 1,3 *", "0 2 30 2 1", "0 0 31 12 ?"] {
            assert!(read_cron(cron).is_ok(), "{cron}: {:?}", read_cron(cron).err());
        }
        for cron in ["0 2 30 2 *", "0 2 31 4,6,9,11 *", "0 2 * * L", "*,5 2 * * *", "0/15 * * * *", "0 2 * * 15W", "0 2 1#2 * *"] {
            assert!(read_cron(cron).is_err(), "{cron}");
        }
    }

    #[test]
    fn cron_lines_are_judged_field_by_field() {
        for cron in ["0 2 * * 1-5", "*/15 * * * *", "0 0 2 1 jan,JUL *", "30 6 L * *", "0 9 * * mon#1", "0 2 ? * SUN", "0 2 15W * *", "5-59/10 0 * * 7"] {
            assert_eq!(cron_problem(cron), None, "{cron}");
        }
        for cron in [
            "",
            "0 2 * *",
            "0 2 * * * * *",
            "60 2 * * *",
            "0 24 * * *",
            "0 2 0 * *",
            "0 2 * 13 *",
            "0 2 * * 8",
            "5-1 * * * *",
            "*/0 * * * *",
            "a * * * *",
            "1, * * * *",
            "@daily",
        ] {
            assert!(cron_problem(cron).is_some(), "{cron}");
        }
    }

    #[test]
    fn formats_must_give_back_what_they_wrote() {
        for (format, field_type, is_right) in [
            ("%d.%m.%Y", FieldType::Date, true),
            ("%Y-%m-%d", FieldType::Date, true),
            ("%d %B %Y", FieldType::Date, true),
            ("%d.%m.%y", FieldType::Date, false),
            ("%d.%m", FieldType::Date, false),
            ("%d.%m.%Y %H:%M", FieldType::Date, false),
            ("DD.MM.YYYY", FieldType::Date, false),
            ("%Q-%!", FieldType::Date, false),
            ("", FieldType::Date, false),
            ("%d.%m.%Y %H:%M", FieldType::Datetime, true),
            ("%d.%m.%Y", FieldType::Datetime, true),
            ("%d.%m.%Y %I:%M", FieldType::Datetime, false),
            ("%d.%m.%Y %I:%M %p", FieldType::Datetime, true),
            ("%Y-%m-%dT%H:%M:%S%z", FieldType::Instant, true),
            ("%Y-%m-%d %H:%M:%S", FieldType::Instant, true),
            ("%s", FieldType::Instant, true),
            ("%H:%M", FieldType::Instant, false),
        ] {
            let problem = format_problem(format, field_type, None);
            assert_eq!(problem.is_none(), is_right, "{format} for {field_type}: {problem:?}");
        }
    }

    #[test]
    fn time_zones_and_addresses() {
        assert!(is_timezone("Europe/London") && is_timezone("UTC"));
        assert!(!is_timezone("Europe/Londres") && !is_timezone(""));
        assert_eq!(timezone_meant("london").as_deref(), Some("Europe/London"));
        assert_eq!(timezone_meant("Londn").as_deref(), Some("Europe/London"));
        assert_eq!(timezone_meant("new york").as_deref(), Some("America/New_York"));
        assert_eq!(timezone_meant("Europe/Lodnon").as_deref(), Some("Europe/London"));
        assert!(is_mail_address("finance@example.com") && is_mail_address("Ada <ada@example.com>"));
        assert!(!is_mail_address("finance") && !is_mail_address("a@b\r\nBcc: x@y") && !is_mail_address(" a@example.com"));
    }
}
