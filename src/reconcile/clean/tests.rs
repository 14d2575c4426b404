//! Tables for each rule of cleaning, the laws, and how rows are parted.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::frame::Evidence;
use crate::job::{
    Beside, Blank, CleanRule, ColumnSpec, CsvSettings, Dedupe, Deletes, FirstContact, Gates, Kind, May, MergeRule, Mode, OnDrift, ReportSpec, ReportWhen, Role,
    Round, Source, Standards,
};
use crate::value::{Decimal, FieldType, Raw, Storage, Value, days_of};

const TOKENS: [&str; 6] = ["null", "n/a", "-", "—", "(blank)", "nan"];

fn field(name: &str, field_type: FieldType, column: ColumnSpec) -> Field {
    Field {
        name: name.to_owned(),
        field_type,
        columns: vec![Some(column)],
        clean: Vec::new(),
        null_tokens: TOKENS.iter().map(|token| (*token).to_owned()).collect(),
        owner: Vec::new(),
        merge: vec![MergeRule::Review],
        blank: Some(Blank::Propagate),
        tolerance: None,
        on_drift: OnDrift::Report,
        first_contact: FirstContact::Decide,
        standardise: false,
        round: None,
        sensitive: false,
        important: false,
        standards: Standards::default(),
    }
}

fn column(name: &str) -> ColumnSpec {
    ColumnSpec { name: name.to_owned(), ..ColumnSpec::default() }
}

fn dated(format: &str, timezone: Option<&str>) -> ColumnSpec {
    ColumnSpec { dates: vec![format.to_owned()], timezone: timezone.map(str::to_owned), ..column("c") }
}

fn job(fields: Vec<Field>, key: Vec<usize>) -> Job {
    let system = SystemSpec {
        name: "erp".to_owned(),
        kind: Kind::Csv(CsvSettings::default()),
        role: Role::Peer,
        may: May::default(),
        only: Vec::new(),
        id: None,
        edited_at: None,
        gates: Gates::default(),
    };
    Job {
        name: "invoices".to_owned(),
        description: None,
        mode: Mode::Sync,
        contact: None,
        schedule: None,
        key,
        systems: vec![system],
        fields,
        dedupe: Dedupe::Refuse,
        deletes: Deletes::Report,
        attempts_max: 5,
        retry_for_s: 60,
        totals: Vec::new(),
        money: Vec::new(),
        canaries: Vec::new(),
        locks: Vec::new(),
        report: ReportSpec { to: Vec::new(), to_action: Vec::new(), to_failed: Vec::new(), when: ReportWhen::Always },
        source: Source::default(),
    }
}

/// Columns by name, a cell a row; the first row stands on line 2.
fn pulled(columns: &[(&str, &[Option<&str>])]) -> Pulled {
    let height = columns.first().map_or(0, |(_, cells)| cells.len());
    let columns = columns.iter().map(|(name, cells)| ((*name).to_owned(), cells.iter().copied().collect::<StringChunked>(), None)).collect();
    let evidence = Evidence { origin: "data/erp.csv".to_owned(), rows_read: height as u64, found: BTreeMap::new(), ..Evidence::default() };
    Pulled::new(columns, (0..height as u64).map(|row| row + 2).collect(), vec![0; height], Vec::new(), evidence)
}

/// What one cell is read as: its canonical text, `null`, or `!` and the reason.
fn read_stored(field: &Field, cell: &str, storage: Storage) -> String {
    let column = field.columns[0].clone().unwrap_or_default();
    match Reader::new(field, &column).value(cell, storage, None) {
        Ok(Value::Null) => "null".to_owned(),
        Ok(value) => value.to_string(),
        Err(why) => format!("!{}", why.words(field, cell)),
    }
}

fn read(field: &Field, cell: &str) -> String {
    read_stored(field, cell, Storage::Text)
}

fn check(field: &Field, table: &[(&str, &str)]) {
    for (cell, expected) in table {
        assert_eq!(read(field, cell), *expected, "{cell:?} as {}", field.field_type);
    }
}

/// The counts of a column of one cell.
fn counted(field: &Field, cell: &str) -> String {
    let job = job(vec![field.clone(), super::tests::field("key", FieldType::Text, column("the key"))], vec![1]);
    let pulled = pulled(&[(&job.fields[0].columns[0].clone().unwrap_or_default().name, &[Some(cell)]), ("the key", &[Some("1")])]);
    let clean = clean(&job, 0, Arc::new(pulled));
    clean.counts.iter().map(|count| format!("{} {}", count.cells, count.rule)).collect::<Vec<_>>().join("; ")
}

#[test]
fn text_is_tidied_and_nothing_more() {
    let name = field("name", FieldType::Text, column("c"));
    check(
        &name,
        &[
            ("Müller", "Müller"),
            ("Mu\u{308}ller", "Müller"),
            ("  Straße \t", "Straße"),
            ("\u{a0}ACME\u{202f}", "ACME"),
            ("\u{feff}\u{200b}ACME\u{ad}\u{200e}\u{2069}", "ACME"),
            ("A\u{200b}B", "A\u{200b}B"),
            ("می\u{200c}خواهم\u{200d}", "می\u{200c}خواهم\u{200d}"),
            ("a\u{0}b\u{1f}c\u{7f}d\u{9d}", "abcd"),
            ("e\u{1}\u{301}", "é"),
            ("one\r\ntwo\rthree\n", "one\ntwo\nthree"),
            ("one \t\ntwo\u{a0}\n\nthree", "one\ntwo\n\nthree"),
            ("a\tb", "a\tb"),
            ("a  b", "a  b"),
            ("½ x² ™", "½ x² ™"),
            ("“quoted” – dash", "“quoted” – dash"),
            ("00042", "00042"),
            ("1234567890123456", "1234567890123456"),
            ("=cmd", "=cmd"),
            ("1.234,56", "1.234,56"),
        ],
    );
}

#[test]
fn null_is_the_empty_text_or_a_token_and_never_a_namibian() {
    let country = field("country", FieldType::Text, column("c"));
    check(
        &country,
        &[
            ("", "null"),
            (" \u{a0}\u{200b}", "null"),
            ("NULL", "null"),
            (" N/A ", "null"),
            ("-", "null"),
            ("—", "null"),
            ("(Blank)", "null"),
            ("NA", "NA"),
            ("0", "0"),
            ("0.00", "0.00"),
            ("1900-01-01", "1900-01-01"),
            ("--", "--"),
            ("None of these", "None of these"),
            ("false", "false"),
        ],
    );
    let spelled = field("country", FieldType::Text, ColumnSpec { blank_as: Some("Leer ".to_owned()), ..column("c") });
    check(&spelled, &[("LEER", "null"), ("leere", "leere")]);
    let amount = field("amount", FieldType::Decimal(2), column("c"));
    check(&amount, &[("", "null"), ("-", "null"), (" n/a", "null"), ("0", "0.00"), ("-0.00", "0.00")]);
    check(&field("paid", FieldType::Boolean, column("c")), &[("NaN", "null"), ("n", "false")]);
    check(&field("due", FieldType::Date, column("c")), &[("  ", "null"), ("null", "null")]);
}

#[test]
fn rules_of_a_field_are_applied_in_their_order() {
    let with = |rules: &[CleanRule]| Field { clean: rules.to_vec(), ..field("name", FieldType::Text, column("c")) };
    use CleanRule::{AsciiPunct, CollapseSpaces, Digits, Email, Lower, Upper};
    check(&with(&[CollapseSpaces]), &[("a \u{a0}\t b\nc", "a b c"), ("a b", "a b"), ("a\u{a0}b", "a b")]);
    check(&with(&[Upper]), &[("straße", "STRASSE"), ("ab-1", "AB-1"), ("AB", "AB")]);
    check(&with(&[Lower]), &[("MÜLLER", "müller"), ("ΟΔΟΣ", "οδος")]);
    check(&with(&[AsciiPunct]), &[("“a” – «b» ’c’", "\"a\" - \"b\" 'c'"), ("–", "null"), ("x\u{2212}1", "x-1")]);
    check(
        &with(&[Email]),
        &[
            ("MailTo:Jo@Example.COM", "Jo@example.com"),
            ("<jo@example.com>;", "jo@example.com"),
            (" <mailto:jo@example.com> .", "jo@example.com"),
            ("jo+tag@example.com", "jo+tag@example.com"),
            ("mailto:", "mailto:"),
        ],
    );
    check(&with(&[Digits]), &[("+49 (0)30/12-3", "49030123"), ("007", "007"), ("none", "null"), ("٠١２", "012")]);
    check(&with(&[Upper, AsciiPunct]), &[("ŉ", "'N")]);
    check(&with(&[AsciiPunct, Upper]), &[("ŉ", "'N")]);
    check(&with(&[Upper, Lower]), &[("aB", "ab")]);
}

#[test]
fn what_was_altered_is_counted_and_what_looks_damaged_is_left() {
    let name = Field { clean: vec![CleanRule::CollapseSpaces], ..field("name", FieldType::Text, column("c")) };
    let amount = field("amount", FieldType::Decimal(2), column("c"));
    for (field, cell, expected) in [
        (&name, "plain", ""),
        (&name, "Grüße", ""),
        (&name, " a", "1 white space trimmed"),
        (&name, "a\u{a0}", "1 no-break space removed"),
        (&name, "\u{200b}a", "1 invisible characters removed"),
        (&name, "a\r\nb", "1 line ends unified; 1 white space collapsed"),
        (&name, "a\u{7}b", "1 control characters removed"),
        (&name, "u\u{308}", "1 characters composed (NFC)"),
        (&name, "a  b", "1 white space collapsed"),
        (&name, "MÃ¼ller", "1 looks wrongly decoded, left as it is"),
        (&name, "StraÃŸe", "1 looks wrongly decoded, left as it is"),
        (&name, "itâ€™s", "1 looks wrongly decoded, left as it is"),
        (&name, "SÃO PAULO, Ã", ""),
        (&name, "M\u{fffd}ller", "1 holds a replacement character, left as it is"),
        (&name, "1.23457E+15", "1 looks like a number shortened by a spreadsheet, left as it is"),
        (&name, "5E+12 bolts", ""),
        (&amount, "1,234.50", "1 group separators removed"),
        (&amount, "(1.00)", "1 unusual minus sign understood"),
        (&amount, "EUR 1.00", "1 currency EUR removed"),
        (&amount, "-1.00", ""),
    ] {
        assert_eq!(counted(field, cell), expected, "{cell:?}");
    }
}

#[test]
fn decimals_with_a_point() {
    check(
        &field("amount", FieldType::Decimal(2), column("c")),
        &[
            ("12.30", "12.30"),
            ("12.3", "12.30"),
            ("12", "12.00"),
            ("0012", "12.00"),
            ("-12.30", "-12.30"),
            ("+12.30", "12.30"),
            ("12.30-", "-12.30"),
            ("\u{2212}12.30", "-12.30"),
            ("(12.30)", "-12.30"),
            ("( 12.30 )", "-12.30"),
            ("-0.00", "0.00"),
            ("12.3000", "12.30"),
            ("1,234.50", "1234.50"),
            ("1,234,567", "1234567.00"),
            ("12,34,567.89", "1234567.89"),
            ("1,00,000", "100000.00"),
            ("1'234'567.5", "1234567.50"),
            ("1’234.5", "1234.50"),
            ("1\u{a0}234\u{a0}567", "1234567.00"),
            ("1 234.5", "1234.50"),
            ("$ 12.30", "12.30"),
            ("-$12.30", "-12.30"),
            ("$-12.30", "-12.30"),
            ("($12.30)", "-12.30"),
            ("12.30 EUR", "12.30"),
            ("USD1,234.50-", "-1234.50"),
            ("9999999999999999999999999999.99", "9999999999999999999999999999.99"),
            ("1,23", "!`1,23` is not a decimal number with the decimal mark `.`"),
            ("0,123", "!`0,123` is not a decimal number with the decimal mark `.`"),
            ("1.234,56", "!`1.234,56` is not a decimal number with the decimal mark `.`"),
            ("1.234.567", "!`1.234.567` is not a decimal number with the decimal mark `.`"),
            ("1234,567", "!`1234,567` is not a decimal number with the decimal mark `.`"),
            ("1,234'567", "!`1,234'567` is not a decimal number"),
            ("12,3x", "!`12,3x` is not a decimal number"),
            ("1e3", "!`1e3` is not a decimal number"),
            ("1_000", "!`1_000` is not a decimal number"),
            (".5", "!`.5` is not a decimal number with the decimal mark `.`"),
            ("5.", "!`5.` is not a decimal number with the decimal mark `.`"),
            ("12 %", "!has a `%`, and the column declares no `unit`"),
            ("-12-", "!`-12-` is not a decimal number"),
            ("(-12)", "!`(-12)` is not a decimal number"),
            ("EUR 12 USD", "!`EUR 12 USD` is not a decimal number"),
            ("EUR", "!`EUR` is not a decimal number"),
            ("12.30 CR", "!says `CR` or `DR`, which is a plus in one system and a minus in another"),
            ("inf", "!`inf` is not a decimal number"),
            ("12.345", "!has 3 decimals, the field declares 2"),
            ("12.3450", "!has 3 decimals, the field declares 2"),
            ("10000000000000000000000000000", "!is 10^28 or more in absolute value"),
        ],
    );
}

#[test]
fn decimals_with_a_comma() {
    check(
        &field("amount", FieldType::Decimal(2), ColumnSpec { decimal: Some(','), ..column("c") }),
        &[
            ("1.234,56", "1234.56"),
            ("1\u{a0}234,56", "1234.56"),
            ("1\u{202f}234,56 €", "1234.56"),
            ("12,3", "12.30"),
            ("-12,30", "-12.30"),
            ("1.234", "1234.00"),
            ("1.23", "!`1.23` is not a decimal number with the decimal mark `,`"),
            ("1,234.56", "!`1,234.56` is not a decimal number with the decimal mark `,`"),
        ],
    );
}

#[test]
fn stored_numbers_have_a_point_and_may_have_an_exponent() {
    let amount = field("amount", FieldType::Decimal(2), ColumnSpec { decimal: Some(','), ..column("c") });
    let rounded = Field { round: Some(Round::HalfUp), ..amount.clone() };
    let count = field("count", FieldType::Integer, column("c"));
    for (field, cell, storage, expected) in [
        (&amount, "12.3", Storage::Real, "12.30"),
        (&amount, "1234", Storage::Integer, "1234.00"),
        (&amount, "1e3", Storage::Real, "1000.00"),
        (&amount, "1.5E+2", Storage::Real, "150.00"),
        (&amount, "-12.5e-1", Storage::Real, "-1.25"),
        (&amount, "1e-7", Storage::Real, "!has 7 decimals, the field declares 2"),
        (&amount, "1e300", Storage::Real, "!is 10^28 or more in absolute value"),
        (&amount, "0.30000000000000004", Storage::Real, "!has 17 decimals, the field declares 2"),
        (&rounded, "0.30000000000000004", Storage::Real, "0.30"),
        (&amount, "inf", Storage::Real, "!`inf` is not a decimal number"),
        (&amount, "1e99999999999", Storage::Real, "!`1e99999999999` is not a decimal number"),
        (&count, "12.0", Storage::Real, "12"),
        (&count, "9007199254740993", Storage::Integer, "9007199254740993"),
    ] {
        assert_eq!(read_stored(field, cell, storage), expected, "{cell}");
    }
    assert_eq!(read_stored(&field("paid", FieldType::Boolean, column("c")), "1.0", Storage::Real), "true");
}

#[test]
fn decimals_are_rounded_only_where_the_field_says_so() {
    let up = Field { round: Some(Round::HalfUp), ..field("amount", FieldType::Decimal(2), column("c")) };
    check(&up, &[("1.245", "1.25"), ("-1.245", "-1.25"), ("1.2449", "1.24"), ("-0.005", "-0.01"), ("-0.004", "0.00"), ("0.999", "1.00")]);
    let even = Field { round: Some(Round::HalfEven), ..up };
    check(&even, &[("1.245", "1.24"), ("1.235", "1.24"), ("1.24501", "1.25"), ("-0.005", "0.00"), ("-0.015", "-0.02")]);
    check(&even, &[("9999999999999999999999999999.999", "!is 10^28 or more in absolute value")]);
}

#[test]
fn integers() {
    check(
        &field("stock", FieldType::Integer, column("c")),
        &[
            ("42", "42"),
            ("-042", "-42"),
            ("1,234", "1234"),
            ("12.00", "12"),
            ("9223372036854775807", "9223372036854775807"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("9223372036854775808", "!does not fit 64 bits"),
            ("1.5", "!has 1 decimal, an integer has none"),
            ("1,5", "!`1,5` is not a whole number with the decimal mark `.`"),
            ("4.9E+11", "!is a long number that a spreadsheet shortened: its digits are lost"),
            ("twelve", "!`twelve` is not a whole number"),
        ],
    );
}

#[test]
fn booleans() {
    check(
        &field("active", FieldType::Boolean, column("c")),
        &[
            ("TRUE", "true"),
            ("Yes", "true"),
            ("y", "true"),
            ("T", "true"),
            ("1", "true"),
            (" no ", "false"),
            ("0", "false"),
            ("ja", "!`ja` is not true or false"),
        ],
    );
    let german = ColumnSpec { booleans: Some(("Ja".to_owned(), "Nein".to_owned())), ..column("c") };
    check(&field("active", FieldType::Boolean, german), &[("JA", "true"), ("nein", "false"), ("true", "true")]);
    let odd = ColumnSpec { booleans: Some(("0".to_owned(), "1".to_owned())), ..column("c") };
    check(&field("closed", FieldType::Boolean, odd), &[("0", "true"), ("1", "false")]);
    let umlaut = ColumnSpec { booleans: Some(("Gültig".to_owned(), "Ungültig".to_owned())), ..column("c") };
    check(&field("valid", FieldType::Boolean, umlaut), &[("GÜLTIG", "true"), ("ungültig", "false")]);
}

#[test]
fn dates_in_iso_and_in_declared_formats() {
    check(
        &field("due", FieldType::Date, column("c")),
        &[
            ("2024-02-29", "2024-02-29"),
            (" 2024-2-9 ", "2024-02-09"),
            ("2024-02-29T00:00:00", "2024-02-29"),
            ("2024-02-29 00:00:00.000", "2024-02-29"),
            ("0001-01-01", "0001-01-01"),
            ("9999-12-31", "9999-12-31"),
            ("2023-02-29", "!day 29 does not exist in February 2023"),
            ("2024-02-30", "!day 30 does not exist in February 2024"),
            ("1900-02-29", "!day 29 does not exist in February 1900"),
            ("2024-02-30 00:00:00", "!day 30 does not exist in February 2024"),
            ("2024-13-01", "!month 13 does not exist"),
            ("0000-00-00", "!there is no year 0"),
            ("24-02-29", "!`24-02-29` is not a date like `2024-02-29`"),
            ("2024-02-29 13:05:00", "!has a time of day, and a date has none"),
            ("2024-02-29T00:00:00Z", "!names a time zone, and a date has none"),
            ("29.02.2024", "!`29.02.2024` is not a date like `2024-02-29`"),
            ("45351", "!`45351` is not a date like `2024-02-29`"),
            ("2024-02-29x", "!`2024-02-29x` is not a date like `2024-02-29`"),
        ],
    );
    check(
        &field("due", FieldType::Date, dated("%d.%m.%Y", None)),
        &[
            ("29.02.2024", "2024-02-29"),
            ("1.2.2024", "2024-02-01"),
            ("30.02.2024", "!day 30 does not exist in February 2024"),
            ("31.4.2024", "!day 31 does not exist in April 2024"),
            ("2024-02-29", "!`2024-02-29` is not a date in the format `%d.%m.%Y`"),
            ("01.02.24", "!`01.02.24` is not a date in the format `%d.%m.%Y`"),
            ("01.02.20245", "!`01.02.20245` is not a date in the format `%d.%m.%Y`"),
        ],
    );
    check(&field("due", FieldType::Date, dated("%Y%m%d", None)), &[("20240229", "2024-02-29"), ("2024115", "!`2024115` is not a date in the format `%Y%m%d`")]);
    check(&field("due", FieldType::Date, dated("%-d.%-m.%Y", None)), &[("1.2.2024", "2024-02-01"), ("01.02.2024", "2024-02-01")]);
    check(&field("due", FieldType::Date, dated("%d%b%Y", None)), &[("29Feb2024", "2024-02-29"), ("1Feb2024", "2024-02-01")]);
    check(&field("due", FieldType::Date, dated("%j%Y", None)), &[("0602024", "2024-02-29"), ("602024", "!`602024` is not a date in the format `%j%Y`")]);
    check(&field("due", FieldType::Date, dated("%d %B %Y", None)), &[("29 February 2024", "2024-02-29")]);
    let two = ColumnSpec { dates: vec!["%d/%m/%Y".to_owned(), "%Y-%m-%d".to_owned()], ..column("c") };
    check(
        &field("due", FieldType::Date, two),
        &[("03/04/2024", "2024-04-03"), ("2024-04-03", "2024-04-03"), ("x", "!`x` is not a date in one of the formats `%d/%m/%Y`, `%Y-%m-%d`")],
    );
}

#[test]
fn instants_know_their_offset_or_their_zone() {
    check(
        &field("at", FieldType::Instant, column("c")),
        &[
            ("2024-02-29T13:05:07Z", "2024-02-29T13:05:07Z"),
            ("2024-02-29T13:05:07.25+01:00", "2024-02-29T12:05:07.25Z"),
            ("2024-02-29 13:05:07+0000", "2024-02-29T13:05:07Z"),
            ("2024-02-29 13:05-05", "2024-02-29T18:05:00Z"),
            ("1969-12-31t23:59:59.9999999z", "1969-12-31T23:59:59.999999Z"),
            ("2024-02-29T13:05:07", "!has no offset, and the column declares no time zone"),
            ("2024-02-30T13:05:07Z", "!day 30 does not exist in February 2024"),
            ("2024-02-29T25:05:07Z", "!`2024-02-29T25:05:07Z` is not an instant like `2024-02-29T13:05:07Z`"),
            ("1709211907", "!`1709211907` is not an instant like `2024-02-29T13:05:07Z`"),
        ],
    );
    let berlin = || ColumnSpec { timezone: Some("Europe/Berlin".to_owned()), ..column("c") };
    check(
        &field("at", FieldType::Instant, berlin()),
        &[
            ("2026-03-29 01:59:59", "2026-03-29T00:59:59Z"),
            ("2026-03-29 02:30", "!02:30 on 2026-03-29 does not exist in `Europe/Berlin`: the clocks are put forward"),
            ("2026-10-25 02:30", "!02:30 on 2026-10-25 happens twice in `Europe/Berlin`: the clocks are put back"),
            ("2026-10-25 02:30+02:00", "2026-10-25T00:30:00Z"),
        ],
    );
    check(
        &field("at", FieldType::Instant, dated("%d.%m.%Y %H:%M", Some("Europe/Berlin"))),
        &[
            ("01.07.2026 12:00", "2026-07-01T10:00:00Z"),
            ("29.03.2026 02:30", "!02:30 on 2026-03-29 does not exist in `Europe/Berlin`: the clocks are put forward"),
        ],
    );
    check(
        &field("at", FieldType::Instant, dated("%s", None)),
        &[("1709211907", "2024-02-29T13:05:07Z"), ("1709211907.5", "!`1709211907.5` is not an instant in the format `%s`")],
    );
    check(
        &field("at", FieldType::Instant, dated("%Y-%m-%dT%H:%M:%S%z", None)),
        &[("2024-02-29T13:05:07+0100", "2024-02-29T12:05:07Z"), ("2024-2-29T3:05:07-0000", "2024-02-29T03:05:07Z")],
    );
    let nowhere = ColumnSpec { timezone: Some("Europe/Atlantis".to_owned()), ..column("c") };
    check(&field("at", FieldType::Instant, nowhere), &[("2024-02-29T13:05", "!cannot be placed: time zone `Europe/Atlantis` is not known")]);
    assert_eq!(counted(&field("at", FieldType::Instant, column("c")), "2024-02-29T13:05:07.1234567Z"), "1 cut to the microsecond");
}

#[test]
fn datetimes_have_no_zone() {
    check(
        &field("at", FieldType::Datetime, column("c")),
        &[
            ("2024-02-29T13:05:07", "2024-02-29T13:05:07"),
            ("2024-02-29 13:05", "2024-02-29T13:05:00"),
            ("2024-02-29", "2024-02-29T00:00:00"),
            ("2026-03-29 02:30", "2026-03-29T02:30:00"),
            ("2024-02-29 13:05Z", "!names a time zone, and a datetime has none"),
            ("2024-02-29 24:00", "!`2024-02-29 24:00` is not a datetime like `2024-02-29T13:05:07`"),
        ],
    );
    check(&field("at", FieldType::Datetime, dated("%d.%m.%Y %H:%M:%S", None)), &[("29.02.2024 13:05:60", "!no clock shows that time of day")]);
    check(
        &field("at", FieldType::Datetime, dated("%d.%m.%Y %H:%M:%S%.f", None)),
        &[
            ("29.02.2024 13:05:07.5", "2024-02-29T13:05:07.5"),
            ("29.02.2024 13:05:07.500", "2024-02-29T13:05:07.5"),
            ("29.02.2024 13:05:07", "2024-02-29T13:05:07"),
            ("1.2.2024 3:05:07.50", "2024-02-01T03:05:07.5"),
        ],
    );
}

#[test]
fn lists() {
    check(
        &field("tags", FieldType::List, column("c")),
        &[
            ("a; b ;;c", r#"["a","b","c"]"#),
            ("one", r#"["one"]"#),
            (r#"["a;b", 1, true, null, " c "]"#, r#"["a;b","1","true","c"]"#),
            ("[draft]", r#"["[draft]"]"#),
            (r#"[["a"]]"#, r#"["[[\"a\"]]"]"#),
            (";;", "null"),
            ("[]", "null"),
            ("n/a", "null"),
        ],
    );
    let spaced = ColumnSpec { separator: Some(", ".to_owned()), ..column("c") };
    check(&field("tags", FieldType::List, spaced), &[("a,b, c", r#"["a","b","c"]"#)]);
    let lines = ColumnSpec { separator: Some("\n".to_owned()), ..column("c") };
    check(&field("tags", FieldType::List, lines), &[("a x\r\nb", r#"["a x","b"]"#)]);
}

#[test]
fn a_masked_field_does_not_show_in_the_reason() {
    let born = Field { sensitive: true, ..field("born", FieldType::Date, column("c")) };
    check(&born, &[("1970-02-30", "!the value cannot be read as date")]);
}

#[test]
fn rows_are_parted_into_good_filtered_and_quarantined() {
    let mut job = job(
        vec![
            field("nr", FieldType::Text, column("Nr")),
            field("amount", FieldType::Decimal(2), column("Amount")),
            field("due", FieldType::Date, column("Due")),
        ],
        vec![0],
    );
    job.systems[0].only = vec![("Status".to_owned(), vec!["open".to_owned(), "due".to_owned()])];
    job.systems[0].id = Some("Id".to_owned());
    job.systems[0].edited_at = Some(EditedAt { column: "Edited".to_owned(), format: None, timezone: None });
    let mut pulled = pulled(&[
        ("Nr", &[Some("A1"), Some("A2"), Some(" "), Some(" A4"), Some("A5"), None]),
        ("Amount", &[Some("1.00"), Some("x"), Some("3.00"), Some("?!"), Some("5,5"), Some("6")]),
        ("Due", &[Some("2024-02-29"), Some("2024-02-30"), None, Some("never"), None, Some("2024-01-01")]),
        ("Status", &[Some(" open\u{a0}"), Some("due"), Some("open"), Some("closed"), Some("Open"), None]),
        ("Id", &[Some("1"), Some("2"), Some("3"), Some("4"), Some("5"), None]),
        ("Edited", &[Some("yesterday"), None, Some("2024-01-01T00:00:00Z"), Some("?"), None, None]),
    ]);
    pulled.refused = vec![Quarantined {
        origin: "data/erp.csv".to_owned(),
        line: 9,
        column: None,
        field: None,
        raw: Some("A9;1".to_owned()),
        reason: "has 2 fields, the header has 3".to_owned(),
        key: None,
        id: None,
    }];
    let clean = clean(&job, 0, Arc::new(pulled));

    assert_eq!(clean.rows, [0]);
    assert_eq!(clean.keys.iter().collect::<Vec<_>>(), [Some("A1")]);
    assert_eq!(clean.ids.as_ref().map(|ids| ids.iter().collect::<Vec<_>>()), Some(vec![Some("1")]));
    assert_eq!(clean.edited_at.as_ref().map(|times| times.iter().collect::<Vec<_>>()), Some(vec![None]));
    assert_eq!(clean.fields[1].as_ref().map(|amounts| amounts.value(0).to_string()).as_deref(), Some("1.00"));
    let silent: Vec<_> = (0..clean.silent.rows.len())
        .map(|i| (clean.silent.rows[i], clean.silent.why[i], clean.silent.keys[i].as_deref(), clean.silent.ids[i].as_deref()))
        .collect();
    assert_eq!(
        silent,
        [
            (NO_ROW, Silence::Quarantined, None, None),
            (1, Silence::Quarantined, Some("A2"), Some("2")),
            (2, Silence::Quarantined, None, Some("3")),
            (3, Silence::Filtered, Some("A4"), Some("4")),
            (4, Silence::Filtered, Some("A5"), Some("5")),
            (5, Silence::Filtered, None, None),
        ]
    );
    assert!(clean.silent.hides_a_key());
    let reasons: Vec<_> = clean.quarantined.iter().map(|q| (q.line, q.column.as_deref(), q.raw.as_deref(), q.reason.as_str(), q.key.as_deref())).collect();
    assert_eq!(
        reasons,
        [
            (9, None, Some("A9;1"), "has 2 fields, the header has 3", None),
            (3, Some("Amount"), Some("x"), "`x` is not a decimal number", Some("A2")),
            (3, Some("Due"), Some("2024-02-30"), "day 30 does not exist in February 2024", Some("A2")),
            (4, Some("Nr"), Some(" "), "key field `nr` is empty", None),
        ]
    );
    let counts: Vec<_> = clean.counts.iter().map(|c| (c.field.as_str(), c.rule.as_str(), c.cells)).collect();
    assert_eq!(counts, [("Edited", "edit time could not be read", 1), ("nr", "white space trimmed", 1)]);
}

#[test]
fn keys_of_several_fields_join_their_canonical_texts() {
    let job = job(
        vec![
            field("nr", FieldType::Text, column("Nr")),
            field("day", FieldType::Date, dated("%d.%m.%Y", None)),
            field("line", FieldType::Integer, column("Line")),
        ],
        vec![2, 0, 1],
    );
    let pulled = pulled(&[
        ("Nr", &[Some("007"), Some("8"), None]),
        ("c", &[Some("29.02.2024"), Some("?"), Some("01.01.2024")]),
        ("Line", &[Some("1,000"), Some("2"), Some("n/a")]),
    ]);
    let clean = clean(&job, 0, Arc::new(pulled));
    assert_eq!(clean.keys.iter().collect::<Vec<_>>(), [Some("1000\u{1f}007\u{1f}2024-02-29")]);
    let reasons: Vec<_> = clean.quarantined.iter().map(|q| q.reason.as_str()).collect();
    assert_eq!(reasons, ["`?` is not a date in the format `%d.%m.%Y`", "key field `nr` is empty", "key field `line` is empty"]);
}

#[test]
fn texts_that_need_no_cleaning_are_shared_with_the_snapshot() {
    let job = job(vec![field("name", FieldType::Text, column("c"))], vec![0]);
    let shared = |cells: &[Option<&str>]| {
        let pulled = Arc::new(pulled(&[("c", cells)]));
        let clean = clean(&job, 0, Arc::clone(&pulled));
        let address = |column: &StringChunked| column.get(0).map(str::as_ptr);
        let Some(FieldColumn::Text(names)) = &clean.fields[0] else { panic!("a text column") };
        (address(names) == pulled.column("c").and_then(address), names.iter().map(|name| name.map(str::to_owned)).collect::<Vec<_>>())
    };
    let long = "Donaudampfschifffahrtsgesellschaft mbH";
    assert!(shared(&[Some(long), Some("ß"), Some("b")]).0);
    assert!(!shared(&[Some(long), Some("b ")]).0);
}

#[test]
fn nulls_and_alterations_fall_where_they_belong() {
    let job = job(vec![field("nr", FieldType::Integer, column("nr")), field("name", FieldType::Text, column("c"))], vec![0]);
    let names = |cells: &[Option<&str>]| {
        let numbers: Vec<String> = (0..cells.len()).map(|n| n.to_string()).collect();
        let numbers: Vec<Option<&str>> = numbers.iter().map(|n| Some(n.as_str())).collect();
        let clean = clean(&job, 0, Arc::new(pulled(&[("nr", &numbers), ("c", cells)])));
        let Some(FieldColumn::Text(names)) = &clean.fields[1] else { panic!("a text column") };
        assert_eq!(names.null_count(), names.iter().filter(Option::is_none).count());
        names.iter().map(|name| name.unwrap_or("null").to_owned()).collect::<Vec<_>>()
    };
    let long = "Donaudampfschifffahrtsgesellschaft mbH";
    assert_eq!(names(&[Some(""), Some(long), None, Some("N/A"), Some("x")]), ["null", long, "null", "null", "x"]);
    assert_eq!(names(&[Some("-"), None, Some(long), Some(" y"), None, Some("null"), Some("z")]), ["null", "null", long, "y", "null", "null", "z"]);
}

#[test]
fn bytes_are_no_text_and_a_column_that_was_not_delivered_is_not_empty() {
    let job = job(vec![field("nr", FieldType::Text, column("nr")), field("note", FieldType::Text, column("note"))], vec![0]);
    let cells: StringChunked = [Some("1"), Some("ff00")].into_iter().collect();
    let storage: UInt8Chunked = [Some(0), Some(3)].into_iter().collect();
    let pulled = Pulled::new(vec![("nr".to_owned(), cells, Some(storage))], vec![1, 2], vec![0, 0], Vec::new(), Evidence::default());
    let clean = clean(&job, 0, Arc::new(pulled));
    assert!(clean.rows.is_empty());
    let reasons: Vec<_> = clean.quarantined.iter().map(|q| (q.line, q.reason.as_str(), q.key.as_deref())).collect();
    assert_eq!(reasons, [(1, "was not delivered", Some("1")), (2, "holds bytes", None), (2, "was not delivered", None)]);
}

#[test]
fn edit_times_with_a_format_are_in_utc_unless_a_zone_is_declared() {
    let pulled = pulled(&[("e", &[Some("01.07.2026 12:00"), Some("2026-07-01T12:00:00"), Some(""), None])]);
    let times = |format: Option<&str>, zone: Option<&str>| {
        let spec = EditedAt { column: "e".to_owned(), format: format.map(str::to_owned), timezone: zone.map(str::to_owned) };
        let (times, count) = edited_at(&spec, &pulled, &[]);
        let times: Vec<String> = times.iter().flatten().map(|micros| Value::Instant(micros).to_string()).collect();
        (times.join(" "), count.map_or(0, |count| count.cells))
    };
    assert_eq!(times(Some("%d.%m.%Y %H:%M"), None), ("2026-07-01T12:00:00Z".to_owned(), 1));
    assert_eq!(times(Some("%d.%m.%Y %H:%M"), Some("Europe/London")), ("2026-07-01T11:00:00Z".to_owned(), 1));
    assert_eq!(times(None, None), (String::new(), 2));
    assert_eq!(times(None, Some("Europe/Berlin")), ("2026-07-01T10:00:00Z".to_owned(), 1));
}

#[test]
fn a_number_that_is_rewritten_keeps_its_group_separators() {
    let german = || ColumnSpec { decimal: Some(','), ..column("c") };
    let amount = |text: &str| Decimal::parse(text, 2).map_or(Value::Null, Value::Decimal);
    for (column, old, new, expected) in [
        (german(), "1.234,50", "2345.60", "2.345,60"),
        (german(), "1.234,50", "999.99", "999,99"),
        (german(), "1.234,50", "-1234567.00", "-1.234.567,00"),
        (german(), "1234,50", "2345.60", "2345,60"),
        (german(), "234,50", "2345.60", "2345,60"),
        (german(), "1\u{202f}234,50 €", "2345.60", "2\u{202f}345,60"),
        (german(), "kaputt 1.2", "2345.60", "2345,60"),
        (column("c"), "12,34,567.00", "7654321.00", "76,54,321.00"),
        (column("c"), "1,234.50", "7654321.00", "7,654,321.00"),
        (column("c"), "1'234.50", "7654321.00", "7'654'321.00"),
        (column("c"), "", "7654321.00", "7654321.00"),
    ] {
        let field = field("f", FieldType::Decimal(2), column.clone());
        assert_eq!(spell_over(&field, &column, None, &amount(new), &Raw::text(old)), Raw::text(expected), "{old}");
    }
    let stored = Raw { text: Some("1234.5".to_owned()), storage: Storage::Real };
    let field = field("f", FieldType::Decimal(2), column("c"));
    assert_eq!(spell_over(&field, &column("c"), None, &amount("2345.60"), &stored), Raw::text("2345.60"));
    assert_eq!(spell_over(&field, &column("c"), None, &Value::Null, &Raw::text("1,234.50")), Raw::null());
}

#[test]
fn values_are_spelled_as_the_column_spells_them() {
    let decimal = |text: &str| Value::Decimal(Decimal::parse(text, 2).expect(text));
    let date = Value::Date(days_of(jiff::civil::date(2024, 2, 29)));
    let instant = Value::Instant("2026-07-01T10:00:00Z".parse::<jiff::Timestamp>().expect("an instant").as_microsecond());
    let list = |items: &[&str]| Value::List(items.iter().map(|item| (*item).to_owned()).collect());
    let german = ColumnSpec { decimal: Some(','), ..column("c") };
    let ja = ColumnSpec { booleans: Some(("Ja".to_owned(), "Nein".to_owned())), ..column("c") };
    let berlin = ColumnSpec { timezone: Some("Europe/Berlin".to_owned()), ..column("c") };
    for (field_type, column, value, expected) in [
        (FieldType::Decimal(2), german, decimal("-1234.50"), "-1234,50"),
        (FieldType::Boolean, ja, Value::Boolean(false), "Nein"),
        (FieldType::Date, dated("%d.%m.%Y", None), date.clone(), "29.02.2024"),
        (FieldType::Date, column("c"), date, "2024-02-29"),
        (FieldType::Instant, column("c"), instant.clone(), "2026-07-01T10:00:00Z"),
        (FieldType::Instant, berlin, instant.clone(), "2026-07-01T12:00:00"),
        (FieldType::Instant, dated("%d.%m.%Y %H:%M", Some("Europe/Berlin")), instant.clone(), "01.07.2026 12:00"),
        (FieldType::Instant, dated("%s", None), instant, "1782900000"),
        (FieldType::List, column("c"), list(&["a", "b"]), "a;b"),
        (FieldType::List, column("c"), list(&["a;b", "c"]), r#"["a;b","c"]"#),
        (FieldType::List, column("c"), list(&["null"]), r#"["null"]"#),
        (FieldType::List, column("c"), list(&["[1]"]), r#"["[1]"]"#),
        (FieldType::Text, ColumnSpec { blank_as: Some("leer".to_owned()), ..column("c") }, Value::Null, "leer"),
    ] {
        let field = field("f", field_type, column.clone());
        assert_eq!(spell(&field, &column, &value), Raw::text(expected));
        assert_eq!(canonical(&field, &column, &value), value);
        assert_eq!(why_not_held(&field, &column, &value), None);
    }
    assert_eq!(spell(&field("f", FieldType::Text, column("c")), &column("c"), &Value::Null), Raw::null());
}

#[test]
fn a_value_that_a_column_cannot_hold_becomes_what_it_can_hold_or_is_refused() {
    let instant = |text: &str| Value::Instant(text.parse::<jiff::Timestamp>().expect(text).as_microsecond());
    let minutes = dated("%d.%m.%Y %H:%M", Some("Europe/Berlin"));
    let at = field("at", FieldType::Instant, minutes.clone());
    assert_eq!(canonical(&at, &minutes, &instant("2026-07-01T10:00:59.5Z")), instant("2026-07-01T10:00:00Z"));
    let twice = instant("2026-10-25T00:30:00Z");
    assert_eq!(canonical(&at, &minutes, &twice), twice);
    assert_eq!(why_not_held(&at, &minutes, &twice).as_deref(), Some("02:30 on 2026-10-25 happens twice in `Europe/Berlin`: the clocks are put back"));

    let berlin = ColumnSpec { timezone: Some("Europe/Berlin".to_owned()), ..column("c") };
    let at = field("at", FieldType::Instant, berlin.clone());
    assert_eq!(canonical(&at, &berlin, &twice), twice);
    assert_eq!(why_not_held(&at, &berlin, &twice), None);

    let blank = ColumnSpec { blank_as: Some("none".to_owned()), ..column("c") };
    let name = field("name", FieldType::Text, blank.clone());
    assert_eq!(canonical(&name, &blank, &Value::Text("None".to_owned())), Value::Null);

    let zero_is_null = Field { null_tokens: vec!["0".to_owned()], ..field("stock", FieldType::Integer, column("c")) };
    assert_eq!(canonical(&zero_is_null, &column("c"), &Value::Integer(0)), Value::Null);
    assert_eq!(canonical(&zero_is_null, &column("c"), &Value::Integer(10)), Value::Integer(10));

    // A value that no system ever held, such as one that a job file names, is cleaned like any other.
    let upper = Field { clean: vec![CleanRule::Upper], ..field("status", FieldType::Text, column("c")) };
    assert_eq!(canonical(&upper, &column("c"), &Value::Text("inactive".to_owned())), Value::Text("INACTIVE".to_owned()));
    assert_eq!(canonical(&name, &column("c"), &Value::Text("n/A".to_owned())), Value::Null);
}

#[test]
fn the_cells_of_a_column_decide_its_mark() {
    let amounts = |cells: &[&str], known: Option<&str>| {
        let mut job = job(vec![field("amount", FieldType::Decimal(3), column("c"))], vec![]);
        let cells: Vec<Option<&str>> = cells.iter().map(|cell| Some(*cell)).collect();
        let pulled = pulled(&[("c", &cells)]);
        let known = known.map(|mark| ("decimal mark of c".to_owned(), mark.to_owned())).into_iter().collect();
        let marks = match Marks::find(&job, 0, &pulled, &known) {
            Ok(marks) => marks,
            Err(error) => return error.to_string().lines().next().unwrap_or_default().to_owned(),
        };
        marks.tell(&mut job);
        let mut found = BTreeMap::new();
        marks.keep(&job, &mut found);
        let clean = clean(&job, 0, Arc::new(pulled));
        let read = clean.fields[0].as_ref().map(|column| (0..column.len() as u32).map(|row| column.value(row).to_string()).collect::<Vec<_>>());
        format!("{} {} {}", found.values().cloned().collect::<String>(), read.unwrap_or_default().join(" "), clean.quarantined.len())
    };
    for (cells, known, expected) in [
        (&["1,5", "1.234"][..], None, ", 1.500 1234.000 0"),
        (&["1.5", "1,234"], None, ". 1.500 1234.000 0"),
        (&["1.234,56"], None, ", 1234.560 0"),
        (&["1.234.567", "1.234"], None, ", 1234567.000 1234.000 0"),
        (&["1 234,567"], None, ", 1234.567 0"),
        (&["0.123", "1.234"], None, ". 0.123 1.234 0"),
        (&["1234.567"], None, ". 1234.567 0"),
        (&["12", "-", "13"], None, " 12.000  13.000 0"),
        (&["1.234", "12"], None, " 12.000 1"),
        (&["1,234"], Some("."), ". 1234.000 0"),
        (&["1.234"], Some("."), ". 1.234 0"),
        (&["EUR 1,50-", "(1.234)"], None, ", -1.500 -1234.000 0"),
        (&["x", "1..2"], None, "  2"),
        (&["1,5", "1.5"], None, "error: data/erp.csv:2: column `c` of `erp` has two decimal marks"),
        (&["1,5", "1.5", "1.234", "1,234", "7"], Some("."), ". 1.500 7.000 3"),
        (&["1,5", "2,5"], Some("."), "error: data/erp.csv:2: the decimal mark of column `c` of `erp` is not the expected one"),
    ] {
        assert_eq!(amounts(cells, known), expected, "{cells:?} with {known:?}");
    }
    // What a database stores as a number tells nothing.
    let job = job(vec![field("amount", FieldType::Decimal(3), column("c"))], vec![]);
    let cells: StringChunked = [Some("1.5"), Some("1,5")].into_iter().collect();
    let storage: UInt8Chunked = [Some(2), Some(0)].into_iter().collect();
    let pulled = Pulled::new(vec![("c".to_owned(), cells, Some(storage))], vec![1, 2], vec![0, 0], Vec::new(), Evidence::default());
    let marks = Marks::find(&job, 0, &pulled, &BTreeMap::new()).expect("one mark");
    let mut found = BTreeMap::new();
    marks.keep(&job, &mut found);
    assert_eq!(found.values().collect::<Vec<_>>(), [","]);
}

#[test]
fn a_doubtful_cell_says_what_it_may_be() {
    let doubtful = ColumnSpec { found: crate::job::FoundMark { mark: None, is_doubtful: true }, ..column("c") };
    check(
        &field("amount", FieldType::Decimal(3), doubtful.clone()),
        &[("1,234", "!may be 1.234 or 1234: nothing tells the decimal mark of the column, declare it with `decimal`"), ("12", "12.000"), ("1.5", "1.500")],
    );
    // What we would write must be readable the next night.
    let amount = field("amount", FieldType::Decimal(3), doubtful.clone());
    let value = |text: &str| Value::Decimal(Decimal::parse(text, 3).expect(text));
    assert!(why_not_held(&amount, &doubtful, &value("1.234")).is_some());
    assert_eq!(why_not_held(&amount, &doubtful, &value("0.500")), None);
}

#[test]
fn amounts_with_everything_round_them() {
    let bank = ColumnSpec { credit: Some(crate::job::Credit::Plus), ..column("c") };
    check(
        &field("amount", FieldType::Decimal(2), bank),
        &[
            ("12.30 CR", "12.30"),
            ("12.30 Dr.", "-12.30"),
            ("1,234.50DR", "-1234.50"),
            ("EUR 5 CR", "5.00"),
            ("5", "5.00"),
            ("-5 CR", "!has a sign, and says `CR` or `DR`"),
            ("12 IDR", "12.00"),
            ("CR", "!`CR` is not a decimal number"),
        ],
    );
    let ledger = ColumnSpec { credit: Some(crate::job::Credit::Minus), ..column("c") };
    check(&field("amount", FieldType::Decimal(2), ledger), &[("12.30 CR", "-12.30"), ("12.30 DR", "12.30")]);
    check(
        &field("amount", FieldType::Decimal(2), column("c")),
        &[
            ("₹ 1,00,000.50", "100000.50"),
            ("12.30 kr.", "12.30"),
            ("zł 12", "12.00"),
            ("R$ 5.00", "5.00"),
            ("12 PCS", "!`12 PCS` is not a decimal number"),
            ("12 CR", "!says `CR` or `DR`, which is a plus in one system and a minus in another"),
        ],
    );
    assert_eq!(
        counted(&field("amount", FieldType::Decimal(2), ColumnSpec { credit: Some(crate::job::Credit::Plus), ..column("c") }), "5 CR"),
        "1 `CR` or `DR` understood"
    );
}

#[test]
fn shares_have_a_declared_unit() {
    use crate::job::Unit;
    let with = |unit| field("rate", FieldType::Decimal(4), ColumnSpec { unit: Some(unit), ..column("c") });
    check(
        &with(Unit::Percent),
        &[("12.5", "0.1250"), ("12.5 %", "0.1250"), ("5 ‰", "0.0050"), ("-3", "-0.0300"), ("0.001", "!has 5 decimals, the field declares 4")],
    );
    check(&with(Unit::Fraction), &[("0.125", "0.1250"), ("12.5%", "0.1250"), ("1", "1.0000")]);
    check(&with(Unit::Permille), &[("12.5", "0.0125")]);
    check(&with(Unit::PercentSign), &[("12.5 %", "0.1250"), ("12.5", "!has no `%`, and every other cell of the column should have one")]);
    for (unit, value, spelled) in [
        (Unit::Percent, "0.1250", "12.50"),
        (Unit::PercentSign, "-0.0005", "-0.05%"),
        (Unit::Permille, "1.0000", "1000.0"),
        (Unit::Fraction, "0.1250", "0.1250"),
    ] {
        let field = with(unit);
        let value = Value::Decimal(Decimal::parse(value, 4).expect(value));
        let column = field.columns[0].clone().expect("a column");
        assert_eq!(spell(&field, &column, &value), Raw::text(spelled));
        assert_eq!((canonical(&field, &column, &value), why_not_held(&field, &column, &value)), (value, None));
    }
}

#[test]
fn a_currency_says_how_many_decimals_there_are() {
    use crate::job::Beside;
    let money = |scale, currency: &str| {
        let standards = Standards { currency: Some(Beside::Constant(currency.to_owned())), ..Standards::default() };
        Field { standards, ..field("amount", FieldType::Decimal(scale), column("c")) }
    };
    check(
        &money(3, "EUR"),
        &[
            ("1.23", "1.230"),
            ("1.230", "1.230"),
            ("1.234", "!has 3 decimals, EUR has 2"),
            ("EUR 1.23", "1.230"),
            ("€1", "1.000"),
            ("$ 1", "1.000"),
            ("USD 1", "!names the currency USD, and the amount is in EUR"),
            ("US$ 1", "!names the currency US$, and the amount is in EUR"),
        ],
    );
    check(&money(2, "JPY"), &[("100", "100.00"), ("100.00", "100.00"), ("100.50", "!has 1 decimal, JPY has 0")]);
    check(&money(3, "KWD"), &[("1.234", "1.234")]);
    check(&Field { round: Some(Round::HalfUp), ..money(3, "EUR") }, &[("1.235", "1.240"), ("-1.235", "-1.240")]);

    let minor = |currency: &str| {
        let column = ColumnSpec { minor_units: true, ..column("c") };
        Field { columns: vec![Some(column)], ..money(3, currency) }
    };
    check(&minor("EUR"), &[("1234", "12.340"), ("5", "0.050"), ("-5", "-0.050"), ("0", "0.000"), ("1,234", "12.340"), ("12.5", "!has a part of a minor unit")]);
    check(&minor("JPY"), &[("1234", "1234.000")]);
    check(&minor("KWD"), &[("1234", "1.234")]);
    let value = |text: &str| Value::Decimal(Decimal::parse(text, 3).expect(text));
    for (currency, amount, spelled) in [("EUR", "12.340", "1234"), ("JPY", "12.000", "12"), ("KWD", "-1.234", "-1234")] {
        let field = minor(currency);
        let column = field.columns[0].clone().expect("a column");
        assert_eq!(spell(&field, &column, &value(amount)), Raw::text(spelled));
        assert_eq!(why_not_held(&field, &column, &value(amount)), None);
    }
    let yen = minor("JPY");
    assert!(why_not_held(&yen, yen.columns[0].as_ref().expect("a column"), &value("12.500")).is_some());
}

#[test]
fn an_amount_is_read_with_the_currency_of_its_row() {
    use crate::job::Beside;
    let standards = Standards { currency: Some(Beside::Field(1)), ..Standards::default() };
    let cents = ColumnSpec { minor_units: true, ..column("cents") };
    let job = job(
        vec![
            Field { standards: standards.clone(), ..field("amount", FieldType::Decimal(3), column("amount")) },
            Field { clean: vec![CleanRule::Currency], ..field("currency", FieldType::Text, column("currency")) },
            Field { standards, ..field("cents", FieldType::Decimal(3), cents.clone()) },
            field("nr", FieldType::Text, column("nr")),
        ],
        vec![3],
    );
    let pulled = pulled(&[
        ("nr", &[Some("1"), Some("2"), Some("3"), Some("4")]),
        ("amount", &[Some("1.50"), Some("150"), Some("1.5"), Some("1.234")]),
        ("currency", &[Some("eur"), Some("JPY"), Some("jpy"), None]),
        ("cents", &[Some("150"), Some("150"), Some("2"), Some("2")]),
    ]);
    let clean = clean(&job, 0, Arc::new(pulled));
    let values = |index: usize| clean.fields[index].as_ref().map(|c| (0..c.len() as u32).map(|row| c.value(row).to_string()).collect::<Vec<_>>());
    assert_eq!((values(0), values(2)), (Some(vec!["1.500".to_owned(), "150.000".to_owned()]), Some(vec!["1.500".to_owned(), "150.000".to_owned()])));
    let reasons: Vec<_> = clean.quarantined.iter().map(|q| (q.line, q.reason.as_str())).collect();
    assert_eq!(reasons, [(4, "has 1 decimal, JPY has 0"), (5, "is an amount in minor units, and its record names no currency")]);
    let field = &job.fields[2];
    let amount = Value::Decimal(Decimal::parse("12.000", 3).expect("a number"));
    assert_eq!(spell_beside(field, &cents, Some("JPY"), &amount), Raw::text("12"));
    assert_eq!(spell_beside(field, &cents, Some("USD"), &amount), Raw::text("1200"));
    assert!(why_not_held_beside(field, &cents, None, &amount).is_some());
    assert!(changes_beside(field, &cents, Some("USD"), Some("JPY")) && !changes_beside(field, &cents, Some("USD"), Some("EUR")));
}

#[test]
fn two_digit_years_need_their_century() {
    let pivot = |format: &str| ColumnSpec { century_pivot: Some(50), ..dated(format, None) };
    check(
        &field("due", FieldType::Date, pivot("%d.%m.%y")),
        &[
            ("01.02.49", "2049-02-01"),
            ("01.02.50", "1950-02-01"),
            ("1.2.00", "2000-02-01"),
            ("29.02.00", "2000-02-29"),
            ("29.02.51", "!day 29 does not exist in February 1951"),
            ("01.02.2049", "!`01.02.2049` is not a date in the format `%d.%m.%y`"),
        ],
    );
    check(&field("due", FieldType::Date, pivot("%d-%b-%y")), &[("01-Feb-69", "1969-02-01"), ("01-Feb-49", "2049-02-01")]);
    let column = pivot("%d.%m.%y");
    let due = field("due", FieldType::Date, column.clone());
    let day = |year: i16| Value::Date(days_of(jiff::civil::date(year, 11, 3)));
    assert_eq!(spell(&due, &column, &day(2031)), Raw::text("03.11.31"));
    assert_eq!(why_not_held(&due, &column, &day(2031)), None);
    assert!(why_not_held(&due, &column, &day(1931)).is_some(), "1931 would come back as 2031");
}

#[test]
fn moments_that_are_counted() {
    let at = |format: &str| field("at", FieldType::Instant, dated(format, None));
    check(
        &at("unix"),
        &[
            ("1709211907", "2024-02-29T13:05:07Z"),
            ("-1", "1969-12-31T23:59:59Z"),
            ("1709211907.0", "2024-02-29T13:05:07Z"),
            ("1709211907000", "!`1709211907000` is not an instant in the format `unix`"),
            ("2024-02-29", "!`2024-02-29` is not an instant in the format `unix`"),
        ],
    );
    check(&at("unix-ms"), &[("1709211907123", "2024-02-29T13:05:07.123Z"), ("+5", "!`+5` is not an instant in the format `unix-ms`")]);
    check(
        &at("ms-json"),
        &[
            ("/Date(1439434356790+0000)/", "2015-08-13T02:52:36.79Z"),
            ("/Date(1439434356790)/", "2015-08-13T02:52:36.79Z"),
            ("\\/Date(-1+0100)\\/", "1969-12-31T23:59:59.999Z"),
            ("/Date(x)/", "!`/Date(x)/` is not an instant in the format `ms-json`"),
        ],
    );
    let instant = |text: &str| Value::Instant(text.parse::<jiff::Timestamp>().expect(text).as_microsecond());
    for (format, spelled) in [("unix", "1709211907"), ("unix-ms", "1709211907000"), ("ms-json", "/Date(1709211907000+0000)/")] {
        let column = dated(format, None);
        assert_eq!(spell(&at(format), &column, &instant("2024-02-29T13:05:07Z")), Raw::text(spelled));
    }
    assert_eq!(canonical(&at("unix"), &dated("unix", None), &instant("2024-02-29T13:05:07.9Z")), instant("2024-02-29T13:05:07Z"));
}

#[test]
fn a_moment_belongs_to_a_day_in_a_declared_zone_only() {
    let day = |format: Option<&str>, zone: &str| {
        let dates = format.map(str::to_owned).into_iter().collect();
        field("due", FieldType::Date, ColumnSpec { dates, timezone: Some(zone.to_owned()), ..column("c") })
    };
    check(
        &day(None, "Europe/Berlin"),
        &[
            ("2024-02-29T23:30:00Z", "2024-03-01"),
            ("2024-02-29T23:30:00+01:00", "2024-02-29"),
            ("2024-02-29", "2024-02-29"),
            ("2024-02-29T13:00:00", "!has a time of day, and a date has none"),
        ],
    );
    check(&day(None, "America/New_York"), &[("2024-03-01T04:59:59Z", "2024-02-29")]);
    check(&day(Some("unix-ms"), "UTC"), &[("1709164800000", "2024-02-29")]);
    assert_eq!(counted(&day(None, "UTC"), "2024-02-29T23:30:00Z"), "1 moment read as its day in the declared zone");
    for zone in ["UTC", "Europe/Berlin", "America/New_York"] {
        let field = day(Some("unix-ms"), zone);
        let column = field.columns[0].clone().expect("a column");
        let value = Value::Date(days_of(jiff::civil::date(2024, 3, 31)));
        assert_eq!((canonical(&field, &column, &value), why_not_held(&field, &column, &value)), (value, None), "{zone}");
    }
}

#[test]
fn a_doubtful_local_time_is_placed_where_the_column_says_so() {
    use crate::job::Dst;
    let at = |dst| ColumnSpec { dst, ..dated("%d.%m.%Y %H:%M", Some("Europe/Berlin")) };
    for (dst, gap, fold) in [(Dst::Earlier, "2026-03-29T00:30:00Z", "2026-10-25T00:30:00Z"), (Dst::Later, "2026-03-29T01:30:00Z", "2026-10-25T01:30:00Z")] {
        let column = at(dst);
        let field = field("at", FieldType::Instant, column.clone());
        check(&field, &[("29.03.2026 02:30", gap), ("25.10.2026 02:30", fold)]);
        assert_eq!(
            counted(&Field { columns: vec![Some(column.clone())], ..field.clone() }, "25.10.2026 02:30"),
            "1 local time of a change of the clocks placed"
        );
        let instant = |text: &str| Value::Instant(text.parse::<jiff::Timestamp>().expect(text).as_microsecond());
        let other = if dst == Dst::Earlier { "2026-10-25T01:30:00Z" } else { "2026-10-25T00:30:00Z" };
        assert_eq!(why_not_held(&field, &column, &instant(fold)), None);
        assert!(why_not_held(&field, &column, &instant(other)).is_some(), "an hour off is another moment");
    }
}

#[test]
fn an_identifier_that_a_spreadsheet_shortened_is_no_value() {
    let lost = "is a long number that a spreadsheet shortened: its digits are lost";
    for (rule, cell, is_lost) in [
        (CleanRule::Phone, "4.42079E+11", true),
        (CleanRule::Digits, " 4,9E+11\u{a0}", true),
        (CleanRule::Iban, "3E+12", true),
        (CleanRule::VatId, "1.36696E+08", true),
        (CleanRule::Upper, "4.9E+11", false),
        (CleanRule::Digits, "4.9E+11 pieces", false),
        (CleanRule::Digits, "4E11", false),
    ] {
        let code = Field { clean: vec![rule], ..field("code", FieldType::Text, column("c")) };
        let column = column("c");
        assert_eq!(Reader::new(&code, &column).value(cell, Storage::Text, None).is_err(), is_lost, "{cell:?} by {rule:?}");
    }
    // A key and a native id are identifiers whatever the job says of them, and are told as what they are.
    let mut job = job(vec![field("number", FieldType::Text, column("nr")), field("name", FieldType::Text, column("name"))], vec![0]);
    job.systems[0].id = Some("id".to_owned());
    let cells: [(&str, &[Option<&str>]); 3] = [
        ("nr", &[Some("1.2E+15"), Some("2"), Some("3"), Some("4")]),
        ("name", &[Some("a"), Some("b"), Some("1.2E+15"), Some("d")]),
        ("id", &[Some("8"), Some("9.9E+18"), Some("10"), Some("11")]),
    ];
    let clean = clean(&job, 0, Arc::new(pulled(&cells)));
    assert_eq!(clean.rows, [2, 3]);
    let told: Vec<_> = clean.quarantined.iter().map(|one| (one.line, one.column.as_deref(), one.reason.as_str(), one.key.as_deref())).collect();
    assert_eq!(told, [(2, Some("nr"), lost, None), (3, Some("id"), lost, Some("2"))]);
    // The name is only counted.
    assert_eq!(clean.counts.iter().map(|count| (count.field.as_str(), count.cells)).collect::<Vec<_>>(), [("name", 1)]);
}

#[test]
fn a_cell_is_counted_once_a_rule_and_only_if_it_was_read() {
    let emails = Field { clean: vec![CleanRule::Email, CleanRule::Lower], ..field("emails", FieldType::List, column("c")) };
    assert_eq!(counted(&emails, "Anna@Example.com; BERT@EXAMPLE.COM; c@example.com"), "1 e-mail address tidied; 1 turned into lower case");
    assert_eq!(counted(&emails, "[\"a@example.com\\u00a0\", \"b@example.com\\u00a0\"]"), "1 no-break space removed");
    let shouted = Field { clean: vec![CleanRule::Upper, CleanRule::Lower, CleanRule::Upper], ..field("name", FieldType::Text, column("c")) };
    assert_eq!(counted(&shouted, "abc"), "1 turned into lower case; 1 turned into upper case");
    let amount = field("amount", FieldType::Decimal(2), ColumnSpec { decimal: Some('.'), ..column("c") });
    assert_eq!(counted(&amount, "1,234.50\u{a0}"), "1 group separators removed; 1 no-break space removed");
    assert_eq!(counted(&amount, "EUR 1,234.50"), "1 currency EUR removed; 1 group separators removed");
    // A row that is set aside was not altered.
    assert_eq!(counted(&amount, "EUR 1,234.567\u{a0}"), "");
}

#[test]
fn a_long_column_is_counted_and_read_as_its_cells_are() {
    const ROWS: usize = 10_000;
    let cells: Vec<(String, String)> = (0..ROWS)
        .map(|row| {
            let phone = ["020 7946 0018", "+442079460018", "n/a", "+44 (0)20 7946 0018 ", "12", "0170 1234567", "020 7946 0018 x5", ""][row % 8];
            let country = ["GB", "Germany", "", "UK", "FR"][row % 5];
            (phone.replace("0018", &format!("0{:03}", row % 1000)), country.to_owned())
        })
        .collect();
    let phone = Field {
        clean: vec![CleanRule::Phone],
        standards: Standards { region: Some(Beside::Field(0)), ..Standards::default() },
        ..field("phone", FieldType::Text, column("p"))
    };
    let country = Field { clean: vec![CleanRule::Country], ..field("country", FieldType::Text, column("n")) };
    let key = field("key", FieldType::Integer, column("k"));
    let job = job(vec![country, phone.clone(), key], vec![2]);
    let of = |rows: std::ops::Range<usize>| {
        let keys: Vec<String> = rows.clone().map(|row| row.to_string()).collect();
        let columns: [(&str, Vec<Option<&str>>); 3] = [
            ("n", rows.clone().map(|row| Some(cells[row].1.as_str())).collect()),
            ("p", rows.clone().map(|row| Some(cells[row].0.as_str())).collect()),
            ("k", keys.iter().map(|key| Some(key.as_str())).collect()),
        ];
        let columns: Vec<(&str, &[Option<&str>])> = columns.iter().map(|(name, cells)| (*name, cells.as_slice())).collect();
        clean(&job, 0, Arc::new(pulled(&columns)))
    };
    let whole = of(0..ROWS);
    let mut sums: BTreeMap<(String, String), u64> = BTreeMap::new();
    for start in (0..ROWS).step_by(1_000) {
        let part = of(start..start + 1_000);
        for row in (0..1_000).step_by(7) {
            for field in 0..2 {
                let value = |clean: &Clean, row: usize| clean.fields[field].as_ref().map(|column| column.value(row as u32));
                assert_eq!(value(&part, row), value(&whole, start + row), "{:?}", cells[start + row]);
            }
        }
        for count in part.counts {
            *sums.entry((count.field, count.rule)).or_default() += count.cells;
        }
    }
    let told: BTreeMap<(String, String), u64> = whole.counts.into_iter().map(|count| ((count.field, count.rule), count.cells)).collect();
    assert_eq!(told, sums);
    assert!(told.len() >= 4, "{told:?}");
}

#[test]
fn a_placeholder_identifies_nothing() {
    let standards = Standards { placeholders: vec!["00000".to_owned(), "n.a.".to_owned()], ..Standards::default() };
    let job = job(vec![Field { standards, ..field("nr", FieldType::Text, column("nr")) }], vec![0]);
    let clean = clean(&job, 0, Arc::new(pulled(&[("nr", &[Some("00000"), Some("00001"), Some("N.A.")])])));
    assert_eq!(clean.keys.iter().collect::<Vec<_>>(), [Some("00001")]);
    let seen: Vec<_> = clean.quarantined.iter().map(|q| (q.line, q.reason.as_str(), q.key.as_deref())).collect();
    assert_eq!(seen, [(2, "is a placeholder: it identifies no record", None), (4, "is a placeholder: it identifies no record", None)]);
}

#[test]
fn what_must_not_be_written_is_held() {
    let strict = Standards { must_be_valid: true, ..Standards::default() };
    let iban = Field { clean: vec![CleanRule::Iban], standards: strict, ..field("iban", FieldType::Text, column("c")) };
    let text = |text: &str| Value::Text(text.to_owned());
    assert_eq!(why_not_held(&iban, &column("c"), &text("DE89370400440532013000")), None);
    assert_eq!(why_not_held(&iban, &column("c"), &text("DE89")).as_deref(), Some("it is no valid IBAN, and the field must be valid"));
    assert_eq!(why_not_held(&iban, &column("c"), &Value::Null), None);

    let sheet = ColumnSpec { refuses_formulas: true, ..column("c") };
    let name = field("name", FieldType::Text, sheet.clone());
    for (value, is_held) in [("=1+1", true), ("@SUM(A1)", true), ("-5", false), ("+49 30 123", false), ("a=b", false), ("\u{200b}x", false)] {
        assert_eq!(why_not_held(&name, &sheet, &text(value)).is_some(), is_held, "{value}");
    }
    assert_eq!(why_not_held(&field("name", FieldType::Text, column("c")), &column("c"), &text("=1+1")), None);
}

#[test]
fn lines_are_kept_where_they_mean_something() {
    let address = Field { clean: vec![CleanRule::CollapseInLines], ..field("address", FieldType::Text, column("c")) };
    check(&address, &[("1  Long\tStreet\r\nLondon \u{a0} W1", "1 Long Street\nLondon W1"), ("a b\n\nc", "a b\n\nc")]);
}

/// Text with everything in it that cleaning looks at.
fn any_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[a-zA-Z0-9 ;,.\\-+@<>\\[\\]\"']{0,6}",
        1 => proptest::sample::select(vec![
            "\u{a0}", "\u{200b}", "\u{feff}", "\u{ad}", "\u{202e}", "\u{200d}", "\r\n", "\r", "\n", "\t", "\u{0}", "\u{85}", "\u{9d}", "u\u{308}", "\u{301}", "ß", "İ", "ŉ", "ﬁ",
            "Σ", "ΐ", "—", "−", "’", "„", "mailto:", "<", ">", "null", "N/A", "Ã¼", "\u{fffd}", "\u{212a}", "٣", "\u{2000}", "각", "\u{1100}\u{1161}", "\u{345}", "ͅα",
        ]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

fn any_rules() -> impl Strategy<Value = Vec<CleanRule>> {
    proptest::collection::vec(proptest::sample::select(every_rule()), 0..4)
}

fn every_rule() -> Vec<CleanRule> {
    use CleanRule::{AsciiPunct, CollapseInLines, CollapseSpaces, Country, Currency, Digits, Email, Iban, Lower, Phone, Upper, VatId};
    vec![CollapseSpaces, CollapseInLines, Upper, Lower, AsciiPunct, Email, Digits, Country, Currency, Iban, Phone, VatId]
}

/// Numbers, shares, amounts, dates and moments as people and systems write them.
fn any_written() -> impl Strategy<Value = String> {
    let number = "[-+(]?(EUR |€|\\$)?[0-9]{1,3}([.,' ][0-9]{3}){0,2}([.,][0-9]{1,4})?(E[+-][0-9]{1,2})?( ?(%|‰|CR|DR|Dr|-|\\)|€| USD|JPY))?";
    let date = "[0-9]{1,2}[.][0-9]{1,2}[.]([0-9]{2}|[0-9]{4})|20[0-9]{2}-[01][0-9]-[0-3][0-9]([T ][0-2][0-9]:[0-5][0-9](:[0-5][0-9]([.][0-9]{1,9})?)?(Z|[+-]0[0-9]:?00)?)?";
    let counted = "-?[0-9]{1,13}|/Date\\([0-9]{6,13}([+]0100)?\\)/";
    let word = proptest::sample::select(vec!["ja", "Nein", "true", "F", "0", "1", "n/a", "-", "", " yes "]).prop_map(str::to_owned);
    prop_oneof![4 => number, 3 => date, 1 => counted, 1 => word]
}

/// A field of any type but text, and a column of any spelling that a job may declare for it.
fn any_spelled_column() -> impl Strategy<Value = (Field, ColumnSpec)> {
    use crate::job::{Beside, Credit, Dst, Unit};
    let types =
        vec![FieldType::Integer, FieldType::Decimal(2), FieldType::Decimal(6), FieldType::Boolean, FieldType::Date, FieldType::Instant, FieldType::Datetime];
    let units = vec![None, Some(Unit::Percent), Some(Unit::Permille), Some(Unit::PercentSign), Some(Unit::PermilleSign), Some(Unit::Fraction)];
    let formats =
        vec![vec![], vec!["%d.%m.%Y"], vec!["%d.%m.%y", "%d.%m.%Y"], vec!["unix"], vec!["unix-ms"], vec!["ms-json"], vec!["%d.%m.%Y", "%Y-%m-%dT%H:%M:%S%.f"]];
    let money = proptest::sample::select(vec![(None, false), (Some("EUR"), false), (Some("JPY"), true), (Some("KWD"), true), (Some("EUR"), true)]);
    let numbers = (
        proptest::sample::select(vec![None, Some('.'), Some(',')]),
        proptest::sample::select(units),
        money,
        proptest::sample::select(vec![None, Some(Credit::Plus), Some(Credit::Minus)]),
    );
    let moments = (
        proptest::sample::select(formats),
        proptest::sample::select(vec![None, Some("Europe/Berlin")]),
        proptest::sample::select(vec![Dst::Reject, Dst::Earlier, Dst::Later]),
    );
    let round = proptest::sample::select(vec![None, Some(Round::HalfUp), Some(Round::HalfEven)]);
    (proptest::sample::select(types), numbers, moments, round, any::<bool>()).prop_map(
        |(field_type, (decimal, unit, (currency, minor_units), credit), (dates, zone, dst), round, german)| {
            let is_decimal = matches!(field_type, FieldType::Decimal(_));
            let column = ColumnSpec {
                decimal,
                unit: unit.filter(|_| is_decimal && !minor_units),
                minor_units: minor_units && is_decimal,
                credit,
                dates: dates.into_iter().map(str::to_owned).collect(),
                timezone: zone.map(str::to_owned),
                century_pivot: Some(50),
                dst,
                booleans: german.then(|| ("Ja".to_owned(), "Nein".to_owned())),
                ..column("c")
            };
            let currency = currency.filter(|_| is_decimal).map(|code| Beside::Constant(code.to_owned()));
            (Field { round, standards: Standards { currency, ..Standards::default() }, ..field("f", field_type, column.clone()) }, column)
        },
    )
}

/// A column that spells all values of a type to the microsecond.
fn any_column(field_type: FieldType) -> impl Strategy<Value = ColumnSpec> {
    let dates = proptest::sample::select(match field_type {
        FieldType::Date => vec!["", "%d.%m.%Y", "%Y%m%d", "%B %d, %Y"],
        _ => vec!["", "%d.%m.%Y %H:%M:%S%.f", "%Y%m%dT%H%M%S.%6f", "%B %d, %Y at %H:%M:%S%.6f"],
    });
    let separator = proptest::sample::select(vec![None, Some("|"), Some(", "), Some("\n"), Some(" "), Some("\u{1e}")]);
    (proptest::sample::select(vec![None, Some('.'), Some(',')]), dates, separator, any::<bool>(), any::<bool>()).prop_map(
        |(decimal, dates, separator, zoned, german)| ColumnSpec {
            name: "c".to_owned(),
            decimal,
            dates: if dates.is_empty() { Vec::new() } else { vec![dates.to_owned()] },
            timezone: (zoned || !dates.is_empty()).then(|| "Asia/Kolkata".to_owned()),
            blank_as: german.then(|| "(leer)".to_owned()),
            booleans: german.then(|| ("Ja".to_owned(), "Nein".to_owned())),
            separator: separator.map(str::to_owned),
            ..ColumnSpec::default()
        },
    )
}

/// A clean value of each type, within the years that every format spells.
fn any_value() -> impl Strategy<Value = (FieldType, Value)> {
    const MICROS_PER_DAY: i64 = 86_400_000_000;
    let years = -700_000_i64 * MICROS_PER_DAY..2_900_000 * MICROS_PER_DAY;
    let clean_text = |text: String| text::tidy(&text, &mut Counts::new()).into_owned();
    let decimal = (0_u8..=9, any::<i64>(), 0_u32..9)
        .prop_map(|(scale, units, power)| (FieldType::Decimal(scale), Value::Decimal(Decimal { units: i128::from(units) * 10_i128.pow(power), scale })));
    prop_oneof![
        any_text().prop_map(move |text| (FieldType::Text, Value::Text(clean_text(text)))),
        any::<i64>().prop_map(|n| (FieldType::Integer, Value::Integer(n))),
        decimal,
        any::<bool>().prop_map(|b| (FieldType::Boolean, Value::Boolean(b))),
        (-700_000..2_900_000).prop_map(|days| (FieldType::Date, Value::Date(days))),
        years.clone().prop_map(|micros| (FieldType::Instant, Value::Instant(micros))),
        years.prop_map(|micros| (FieldType::Datetime, Value::Datetime(micros))),
        proptest::collection::vec(any_text().prop_map(clean_text), 0..4).prop_map(|items| (FieldType::List, Value::List(items))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// A column in one pass, with what it remembers and sees at a glance, is its cells one by one.
    #[test]
    fn a_column_is_its_cells(cells in proptest::collection::vec(any_text(), 1..8), order in proptest::collection::vec(0_usize..8, 1..40), rules in any_rules()) {
        let spec = column("c");
        let field = Field { clean: rules, ..field("f", FieldType::Text, spec.clone()) };
        let reader = Reader::new(&field, &spec);
        let cells: Vec<&str> = order.iter().map(|place| cells[place % cells.len()].as_str()).collect();
        let pass = |cells: &[&str]| {
            let raw = StringChunked::from_iter_options("c".into(), cells.iter().map(|cell| Some(*cell)));
            reader.pass(&Cells { raw: &raw, storage: None, outside: &[], reads_outside: false, faults: &[], beside: None })
        };
        let whole = pass(&cells);
        let mut counts = Counts::new();
        for (row, cell) in cells.iter().enumerate() {
            let alone = pass(&[cell]);
            counts.join(&alone.counts);
            let unread = |pass: &Pass, row: u32| pass.unreadable.iter().find(|(bad, _)| *bad == row).map(|(_, why)| why.clone());
            match reader.value(cell, Storage::Text, None) {
                Ok(value) => {
                    prop_assert_eq!(&whole.column.value(row as u32), &value, "{:?}", cell);
                    prop_assert_eq!(&alone.column.value(0), &value, "{:?}", cell);
                    prop_assert_eq!(unread(&whole, row as u32), None);
                }
                Err(why) => prop_assert_eq!((unread(&whole, row as u32), unread(&alone, 0)), (Some(why.clone()), Some(why))),
            }
        }
        prop_assert_eq!(whole.counts.of("f"), counts.of("f"));
    }

    #[test]
    fn cleaning_twice_is_cleaning_once(text in any_text(), rules in any_rules()) {
        let name = Field { clean: rules, ..field("name", FieldType::Text, column("c")) };
        let column = column("c");
        let reader = Reader::new(&name, &column);
        let once = reader.value(&text, Storage::Text, None).expect("text is read");
        if let Value::Text(text) = &once {
            prop_assert_eq!(reader.value(text, Storage::Text, None).expect("text is read"), once);
        }
    }

    #[test]
    fn every_rule_by_itself_leaves_what_it_made(text in any_text(), written in any_written(), region in proptest::sample::select(vec![None, Some("GB"), Some("Germany")])) {
        for (rule, text) in every_rule().into_iter().flat_map(|rule| [(rule, &text), (rule, &written)]) {
            for field_type in [FieldType::Text, FieldType::List] {
                let field = Field { clean: vec![rule], ..field("name", field_type, column("c")) };
                let column = column("c");
                let reader = Reader::new(&field, &column);
                let Ok(once) = reader.value(text, Storage::Text, region) else { continue };
                if let Some(spelled) = spell(&field, &column, &once).text {
                    prop_assert_eq!(reader.value(&spelled, Storage::Text, region), Ok(once), "{:?} of {:?}", rule, text);
                }
            }
        }
    }

    #[test]
    fn what_was_read_is_read_again_from_its_spelling(written in any_written(), (field, column) in any_spelled_column()) {
        let reader = Reader::new(&field, &column);
        if let Ok(once) = reader.value(&written, Storage::Text, None) {
            let again = spell(&field, &column, &once).text.map_or(Ok(Value::Null), |text| reader.value(&text, Storage::Text, None));
            // What a column cannot hold is never written there.
            if why_not_held(&field, &column, &once).is_none() {
                let held = canonical(&field, &column, &once);
                prop_assert_eq!(again.as_ref(), Ok(&held), "{:?}", written);
                let twice = spell(&field, &column, &held).text.map_or(Ok(Value::Null), |text| reader.value(&text, Storage::Text, None));
                prop_assert_eq!(twice, Ok(held));
            }
        }
    }

    #[test]
    fn cleaning_a_spelling_gives_the_value_back(((field_type, value), column) in any_value().prop_flat_map(|(t, value)| (Just((t, value)), any_column(t)))) {
        let field = field("f", field_type, column.clone());
        let reader = Reader::new(&field, &column);
        let read = |value: &Value| match spell(&field, &column, value).text {
            None => Ok(Value::Null),
            Some(text) => reader.value(&text, Storage::Text, None),
        };
        // Texts and lists may hold what is no clean value here: what is read first is one.
        let value = match read(&value) {
            Ok(clean) if matches!(value, Value::Text(_) | Value::List(_)) => clean,
            _ => value,
        };
        prop_assert_eq!(read(&value), Ok(value.clone()));
        prop_assert_eq!(canonical(&field, &column, &value), value.clone());
        prop_assert_eq!(why_not_held(&field, &column, &value), None);
    }

    #[test]
    fn a_column_reads_what_its_cells_read(cells in proptest::collection::vec(proptest::option::of(any_text()), 1..20), rules in any_rules()) {
        let name = Field { clean: rules, ..field("name", FieldType::Text, column("c")) };
        let column = column("c");
        let reader = Reader::new(&name, &column);
        let raw: StringChunked = cells.iter().map(Option::as_deref).collect();
        let pass = reader.pass(&Cells { raw: &raw, storage: None, outside: &[], reads_outside: false, faults: &[], beside: None });
        for (row, cell) in cells.iter().enumerate() {
            let expected = cell.as_deref().map_or(Value::Null, |cell| reader.value(cell, Storage::Text, None).expect("text is always read"));
            prop_assert_eq!(pass.column.value(row as u32), expected);
        }
    }

    #[test]
    fn grouped_numbers_are_read_as_the_grammar_reads_them(text in "-?[0-9]{1,4}([.,][0-9]{2,3}){0,4}[.,]?[0-9]{0,4}", comma in any::<bool>(), scale in 0_u8..=4) {
        let column = ColumnSpec { decimal: Some(if comma { ',' } else { '.' }), ..column("c") };
        let numbers = number::Numbers::new(&field("amount", FieldType::Decimal(scale), column.clone()), &column);
        if let Some(units) = numbers.grouped(&text, Storage::Text) {
            let mut counts = Counts::new();
            prop_assert_eq!(Ok(units), numbers.read(&text, Storage::Text, None, &mut counts));
            counts.keep();
            prop_assert_eq!(counts.of("amount").len(), 1);
        }
        if let Some(shape) = marks::plain_shape(text.as_bytes()) {
            prop_assert_eq!(shape, number::shape(&text), "{}", text);
        }
    }

    #[test]
    fn plain_numbers_are_read_as_the_grammar_reads_them(text in "-?[0-9]{0,12}[.,]?[0-9]{0,6}", scale in 0_u8..=9) {
        let column = column("c");
        let amount = field("amount", FieldType::Decimal(scale), column.clone());
        let numbers = number::Numbers::new(&amount, &column);
        if let Some(units) = numbers.plain(&text, Storage::Text) {
            prop_assert_eq!(Ok(units), numbers.read(&text, Storage::Text, None, &mut Counts::new()));
        }
    }

    #[test]
    fn a_text_and_its_clean_text_have_one_match_form(text in any_text()) {
        let name = field("name", FieldType::Text, column("c"));
        let column = column("c");
        let clean = match Reader::new(&name, &column).value(&text, Storage::Text, None) {
            Ok(Value::Text(clean)) => clean,
            _ => return Ok(()),
        };
        for accents in [Accents::Keep, Accents::Drop, Accents::German] {
            let form = match_form(&text, accents);
            prop_assert_eq!(&match_form(&clean, accents), &form);
            prop_assert_eq!(&match_form(&form, accents), &form);
        }
    }

    #[test]
    fn dates_agree_with_the_calendar(days in -719_162..2_932_897_i32) {
        let column = column("c");
        let due = field("due", FieldType::Date, column.clone());
        prop_assert_eq!(Reader::new(&due, &column).value(&Value::Date(days).to_string(), Storage::Text, None), Ok(Value::Date(days)));
    }
}

#[test]
fn a_long_column_is_cleaned_in_stretches_as_in_one() {
    const ROWS: usize = 3 * (1 << 16) + 7;
    let numbers = ["030 123456", "+44 20 7946 0958", "nothing", "", "n/a", "(0)1 / 5055", "4.9E+11", "+49 30 123456"];
    let countries = ["de", "Deutschland", "GB", "AT", "", "nowhere"];
    let keys: Vec<String> = (0..ROWS).map(|row| row.to_string()).collect();
    let cells = |of: &[&'static str]| -> Vec<Option<&'static str>> { (0..ROWS).map(|row| (row % 97 != 0).then(|| of[row % of.len()])).collect() };
    let kinds: Vec<Option<&str>> = (0..ROWS).map(|row| Some(if row % 13 == 0 { "lead" } else { "customer" })).collect();
    let keys: Vec<Option<&str>> = keys.iter().map(|key| Some(key.as_str())).collect();
    let snapshot = Arc::new(pulled(&[("nr", &keys), ("tel", &cells(&numbers)), ("land", &cells(&countries)), ("kind", &kinds)]));

    let mut phone = field("phone", FieldType::Text, column("tel"));
    phone.clean = vec![CleanRule::Phone];
    phone.standards.region = Some(Beside::Field(2));
    let mut country = field("country", FieldType::Text, column("land"));
    country.clean = vec![CleanRule::Country];
    let mut job = job(vec![field("nr", FieldType::Text, column("nr")), phone, country], vec![0]);
    job.systems[0].only = vec![("kind".to_owned(), vec!["customer".to_owned()])];

    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| clean(&job, 0, Arc::clone(&snapshot)))
    };
    let (one, three) = (with_threads(1), with_threads(3));
    assert!(one.quarantined.len() > 1_000 && one.counts.len() > 4 && one.rows.len() < ROWS);
    assert_eq!(one.rows, three.rows);
    assert_eq!(one.counts, three.counts);
    assert_eq!(one.quarantined, three.quarantined);
    for (one, three) in one.fields.iter().zip(&three.fields) {
        match (one, three) {
            (Some(FieldColumn::Text(one)), Some(FieldColumn::Text(three))) => assert!(!one.not_equal_missing(three).any()),
            other => panic!("{other:?}"),
        }
    }
}
