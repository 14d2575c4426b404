//! The report as a workbook: what a controller filters, sorts and signs off, and what an auditor keeps.
//!
//! A sheet a list, one thing a row, the header frozen, filters on, ready for paper. Numbers are numbers in the format of
//! their currency, days are days, and everything else is text: an id keeps its zeros, and a name that looks like a formula
//! stays a name. Totals are values, never formulas. The same report gives the same bytes.
//!
//! Nothing is rounded and nothing is dropped in silence. What a cell cannot hold exactly, a number of more than 15 digits or
//! a day before March 1900, stands there as text; a text that is too long for a cell is cut; rows beyond the last of a sheet
//! are left out. Each of these is counted on the first sheet, with the place of the whole list.
//!
//! # Design
//! The sheets are made from the report and not from the document that text and HTML share, because a cell needs the value
//! and its type, not its spelling.
//! Every list has its sheet, and an empty one says so, but for one: changes of a plan that were not made any more. Only a plan
//! that is applied can have them, so the sheet is there only if there are any.

use std::borrow::Cow;

use rust_xlsxwriter::{
    Color, DataValidation, DataValidationErrorStyle, DocProperties, ExcelDateTime, Format, FormatAlign, FormatBorder, FormatUnderline, IgnoreError, Note,
    Workbook, Worksheet, XlsxError,
};
use unicode_width::UnicodeWidthStr;

use super::document::{self, AGE_BUCKETS, Extent, Piece, age_bucket, kind_words};
use super::masked::masked;
use super::shown::{self, plural};
use super::{BreakReport, Report, Verdict};
use crate::change::{Action, Settled, SystemValue, key_for_people};
use crate::diagnostic::Place;
use crate::error::{Error, Remedy};
use crate::value::{Decimal, Value, date_of, datetime_of};

/// How many rows a sheet has, its header among them.
const SHEET_ROWS: u32 = 1_048_576;

/// How many UTF-16 units a cell holds.
const CELL_UNITS_MAX: usize = 32_767;

/// Numbers of more significant digits are rounded by spreadsheet programs.
const DIGITS_MAX: usize = 15;

/// The columns in which people decide, and what tells which report they had before them.
pub const DECISION_COLUMNS: [&str; 5] = ["Decision", "Reason", "Until", "Decided by", "Of run"];

/// The sheet that has them, and the column with the identities of the breaks.
pub const DECISION_SHEET: &str = "Needs you";
/// See [`DECISION_SHEET`].
pub const ID_COLUMN: &str = "Id";

/// No column is laid out wider than this many characters; longer texts are wrapped.
const WIDTH_MAX: usize = 48;

/// So many drop-downs at most: programs refuse a sheet with many more.
const DROP_DOWNS_MAX: usize = 20_000;

/// So many cells at most carry a note of their own; all of them are counted on the first sheet.
const NOTES_MAX: usize = 200;

/// The whole report as the bytes of an `.xlsx` file.
///
/// # Errors
/// `Look` if the workbook cannot be made; nothing that was settled depends on it.
pub fn render(report: &Report) -> Result<Vec<u8>, Error> {
    with_rows(report, SHEET_ROWS)
}

fn with_rows(report: &Report, rows_max: u32) -> Result<Vec<u8>, Error> {
    let report = &*masked(report);
    Book { report, styles: Styles::new(), rows_max, left_out: Vec::new(), as_text: 0, cut: 0, notes: 0 }.render().map_err(|failure| {
        Error::new(Remedy::Look, Place::of("report.xlsx"), "the workbook of the report cannot be made")
            .seen(failure.to_string())
            .seen("the run is settled, and its other reports are not touched")
            .hint("use `report.html` or `report.json` of the same run, and report the failure")
    })
}

/// How cells look.
struct Styles {
    head: Format,
    head_right: Format,
    title: Format,
    heading: Format,
    label: Format,
    text: Format,
    wrapped: Format,
    quiet: Format,
    good: Format,
    bad: Format,
    day: Format,
    moment: Format,
    count: Format,
    plain_number: Format,
    number_as_text: Format,
    decision: Format,
    blank_line: Format,
    removed: Format,
    added: Format,
    kept: Format,
    /// By the number of decimals.
    amounts: Vec<Format>,
}

impl Styles {
    fn new() -> Styles {
        let top = || Format::new().set_align(FormatAlign::Top);
        // A little away from a number that ends in the column before.
        let text = || top().set_num_format("@").set_align(FormatAlign::Left).set_indent(1);
        let head = || {
            Format::new()
                .set_bold()
                .set_indent(1)
                .set_background_color(Color::RGB(0x00E8_ECF1))
                .set_border_bottom(FormatBorder::Thin)
                .set_align(FormatAlign::Top)
        };
        let amounts = (0..=9)
            .map(|decimals| {
                let fraction = if decimals == 0 { String::new() } else { format!(".{}", "0".repeat(decimals)) };
                top().set_num_format(format!("#,##0{fraction}"))
            })
            .collect();
        Styles {
            head: head(),
            head_right: head().set_align(FormatAlign::Right).set_indent(0),
            title: Format::new().set_bold().set_font_size(16.0),
            heading: Format::new().set_bold().set_font_size(12.0),
            label: text().set_font_color(Color::RGB(0x0050_5B69)),
            text: text(),
            wrapped: text().set_text_wrap(),
            quiet: text().set_font_color(Color::RGB(0x005F_6B7A)).set_italic(),
            good: text().set_font_color(Color::RGB(0x0014_683A)),
            bad: text().set_font_color(Color::RGB(0x00A3_171B)).set_bold(),
            day: top().set_num_format("yyyy-mm-dd").set_align(FormatAlign::Left).set_indent(1),
            moment: top().set_num_format("yyyy-mm-dd hh:mm:ss").set_align(FormatAlign::Left).set_indent(1),
            count: top().set_num_format("#,##0"),
            plain_number: top().set_num_format("0"),
            number_as_text: top().set_num_format("@").set_align(FormatAlign::Right),
            decision: text().set_background_color(Color::RGB(0x00FF_F8E1)).set_border(FormatBorder::Hair),
            blank_line: text().set_border_bottom(FormatBorder::Thin),
            removed: Format::new().set_font_color(Color::RGB(0x00A3_171B)).set_font_strikethrough(),
            added: Format::new().set_font_color(Color::RGB(0x0014_683A)).set_underline(FormatUnderline::Single),
            kept: Format::new().set_font_color(Color::RGB(0)),
            amounts,
        }
    }

    fn amount(&self, decimals: u8) -> &Format {
        &self.amounts[usize::from(decimals).min(self.amounts.len() - 1)]
    }
}

/// What stands in a cell.
enum Content<'a> {
    Blank,
    /// Our own words, and names: one line.
    Words(&'a str),
    /// A text, wrapped where it is long.
    Text(&'a str),
    /// A sentence of ours, whose marks around names mean nothing in a cell.
    Sentence(Cow<'a, str>),
    Owned(String),
    Quiet(&'a str),
    Good(&'a str),
    Bad(&'a str),
    Count(u64),
    Days(i64),
    /// An amount with the decimals of its currency.
    Amount(Decimal, Option<&'a str>),
    /// A value as a system holds it.
    Value(&'a Value),
    /// A day as `2026-03-31`.
    Day(&'a str),
    /// An instant as RFC 3339.
    Moment(&'a str),
    /// A text with words that are gone and words that are new.
    Compared(Vec<Piece>),
    /// Waits for a person.
    Decision,
}

impl<'a> Content<'a> {
    fn text_or_blank(text: Option<&'a str>) -> Content<'a> {
        text.map_or(Content::Blank, Content::Text)
    }

    fn key(key: &str) -> Content<'a> {
        Content::Owned(key_for_people(key))
    }

    fn settled(settled: Option<Settled>) -> Content<'a> {
        match settled {
            None => Content::Quiet("not sent"),
            Some(settled) if shown::arrived(settled) => Content::Good(settled_word(settled)),
            Some(settled) => Content::Bad(settled_word(settled)),
        }
    }
}

fn settled_word(settled: Settled) -> &'static str {
    match settled {
        Settled::Verified => "verified",
        Settled::Normalised => "normalised",
        Settled::Pending => "pending",
        Settled::Overwritten => "overwritten since",
        Settled::Rejected => "rejected",
        Settled::Stale => "stale",
        Settled::Unknown => "unknown",
        Settled::Skipped => "skipped",
    }
}

fn action_word(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Update => "update",
        Action::Delete => "delete",
        Action::Archive => "archive",
    }
}

/// A sentence without the marks around names. An odd number of them is no markup of ours: kept as it is.
fn unmarked(sentence: &str) -> String {
    if sentence.matches('`').count().is_multiple_of(2) { sentence.replace('`', "") } else { sentence.to_owned() }
}

/// The heading of a column; numbers stand to the right.
struct Heading {
    text: String,
    right: bool,
}

fn text(heading: &str) -> Heading {
    Heading { text: shown::visible(heading).into_owned(), right: false }
}

fn number(heading: &str) -> Heading {
    Heading { right: true, ..text(heading) }
}

/// One sheet while it is written, row by row.
struct Sheet {
    sheet: Worksheet,
    widths: Vec<usize>,
    /// The row that comes next.
    row: u32,
    /// How many lines it has.
    lines: usize,
}

impl Sheet {
    fn seen(&mut self, column: u16, width: usize) {
        let column = usize::from(column);
        if self.widths.len() <= column {
            self.widths.resize(column + 1, 0);
        }
        self.widths[column] = self.widths[column].max(width);
    }

    /// Makes room for a text that is wrapped. It breaks before words, so that its lines are not full.
    fn wrapped(&mut self, width: usize) {
        const LINE_CHARACTERS: usize = WIDTH_MAX - 8;
        self.lines = self.lines.max(width.div_ceil(LINE_CHARACTERS));
    }

    fn set_widths(&mut self) -> Result<(), XlsxError> {
        for (column, width) in self.widths.iter().enumerate() {
            let column = u16::try_from(column).unwrap_or(u16::MAX);
            // Room for the arrow of the filter.
            self.sheet.set_column_width(column, (width + 3).clamp(9, WIDTH_MAX) as f64)?;
        }
        Ok(())
    }
}

/// Rows of a list that found no place.
struct LeftOut {
    sheet: &'static str,
    rows: usize,
    shown: usize,
}

struct Book<'a> {
    report: &'a Report,
    styles: Styles,
    rows_max: u32,
    left_out: Vec<LeftOut>,
    as_text: u64,
    cut: u64,
    notes: usize,
}

impl<'a> Book<'a> {
    fn render(mut self) -> Result<Vec<u8>, XlsxError> {
        let report = self.report;
        let mut sheets = vec![self.needs()?, self.breaks()?, self.cleared()?, self.changes()?];
        if !report.stale.is_empty() {
            sheets.push(self.stale()?);
        }
        sheets.extend([self.conflicts()?, self.drift()?]);
        sheets.extend([self.tolerance()?, self.quarantine()?, self.duplicates()?, self.failed_writes()?, self.links()?]);
        sheets.extend([self.evidence()?, self.rules()?]);
        // The first sheet counts what the others could not hold.
        let summary = self.summary()?;
        let mut book = Workbook::new();
        let started = moment(&report.started).or_else(|| ExcelDateTime::from_ymd(1980, 1, 1).ok());
        let mut properties = DocProperties::new()
            .set_title(self.one_line(&format!("{} {} {}", report.verdict.word(), report.job, report.run)))
            .set_author(self.one_line(&format!("tieout {}", report.version)));
        if let Some(started) = started {
            properties = properties.set_creation_datetime(&started);
        }
        book.set_properties(&properties);
        book.push_worksheet(summary);
        sheets.into_iter().for_each(|sheet| book.push_worksheet(sheet));
        book.save_to_buffer()
    }

    fn one_line(&self, text: &str) -> String {
        shown::cut(&shown::visible(text), 200)
    }

    fn sheet(&self, name: &str) -> Result<Sheet, XlsxError> {
        let mut sheet = Worksheet::new();
        sheet.set_name(name)?;
        const A4: u8 = 9;
        sheet.set_landscape().set_paper_size(A4).set_print_fit_to_pages(1, 0).set_margins(0.4, 0.4, 0.6, 0.6, 0.3, 0.3);
        // An ampersand starts a code in a footer.
        let of = shown::cut(&format!("{} {}", shown::visible(&self.report.job), shown::visible(&self.report.run)), 100).replace('&', "&&");
        sheet.set_footer(format!("&L{of}&C&A&RPage &P of &N"));
        Ok(Sheet { sheet, widths: Vec::new(), row: 0, lines: 1 })
    }

    /// A sheet of one list: a header and a row for each of `rows`. `none` if there are none.
    /// Gives the first row of each that is shown.
    fn list<'r, T>(
        &mut self,
        name: &'static str,
        headings: &[Heading],
        rows: &'r [T],
        content: impl Fn(&'r T, &mut Vec<Vec<Content<'r>>>),
    ) -> Result<(Sheet, Vec<u32>), XlsxError> {
        let mut sheet = self.sheet(name)?;
        for (column, heading) in (0_u16..).zip(headings) {
            let style = if heading.right { &self.styles.head_right } else { &self.styles.head };
            sheet.sheet.write_string_with_format(0, column, &heading.text, style)?;
            sheet.seen(column, heading.text.width());
        }
        sheet.row = 1;
        let mut firsts = Vec::with_capacity(rows.len());
        let mut shown_rows = 0;
        for row in rows {
            let mut lines = Vec::new();
            content(row, &mut lines);
            if u64::from(sheet.row) + lines.len() as u64 > u64::from(self.rows_max) {
                break;
            }
            firsts.push(sheet.row);
            for line in lines {
                self.write_row(&mut sheet, line)?;
            }
            shown_rows += 1;
        }
        if shown_rows < rows.len() {
            self.left_out.push(LeftOut { sheet: name, rows: rows.len(), shown: shown_rows });
        }
        let last_column = u16::try_from(headings.len().saturating_sub(1)).unwrap_or(u16::MAX);
        if rows.is_empty() {
            self.write(&mut sheet, 0, Content::Quiet("none"))?;
            sheet.row += 1;
        }
        let last_row = sheet.row.saturating_sub(1).max(1);
        sheet.sheet.autofilter(0, 0, last_row, last_column)?;
        sheet.sheet.set_freeze_panes(1, 0)?;
        sheet.sheet.set_repeat_rows(0, 0)?;
        sheet.sheet.ignore_error_range(1, 0, last_row, last_column, IgnoreError::NumberStoredAsText)?;
        sheet.set_widths()?;
        Ok((sheet, firsts))
    }

    fn write_row(&mut self, sheet: &mut Sheet, cells: Vec<Content<'_>>) -> Result<(), XlsxError> {
        sheet.lines = 1;
        for (column, content) in (0_u16..).zip(cells) {
            self.write(sheet, column, content)?;
        }
        // Not every program fits the height of a row to what is in it.
        const LINE_POINTS: usize = 15;
        const POINTS_MAX: usize = 405;
        if sheet.lines > 1 {
            sheet.sheet.set_row_height(sheet.row, (sheet.lines * LINE_POINTS).min(POINTS_MAX) as f64)?;
        }
        sheet.row += 1;
        Ok(())
    }

    /// Writes a cell of the row that comes next.
    fn write(&mut self, sheet: &mut Sheet, column: u16, content: Content<'_>) -> Result<(), XlsxError> {
        let row = sheet.row;
        match content {
            Content::Blank => {}
            Content::Words(words) => self.write_text(sheet, column, words, |styles| &styles.text)?,
            Content::Sentence(sentence) => self.write_wrapped(sheet, column, &unmarked(&sentence))?,
            Content::Quiet(words) => self.write_text(sheet, column, words, |styles| &styles.quiet)?,
            Content::Good(words) => self.write_text(sheet, column, words, |styles| &styles.good)?,
            Content::Bad(words) => self.write_text(sheet, column, words, |styles| &styles.bad)?,
            Content::Text(text) => self.write_wrapped(sheet, column, text)?,
            Content::Owned(text) => self.write_wrapped(sheet, column, &text)?,
            Content::Count(count) => match u32::try_from(count) {
                Ok(count) => {
                    sheet.seen(column, shown::count(count.into()).width());
                    sheet.sheet.write_number_with_format(row, column, count, &self.styles.count)?;
                }
                Err(_) => self.write_number(sheet, column, Decimal { units: count.into(), scale: 0 })?,
            },
            Content::Days(days) => {
                let days = i32::try_from(days).unwrap_or(i32::MAX);
                sheet.sheet.write_number_with_format(row, column, days, &self.styles.plain_number)?;
            }
            Content::Amount(amount, currency) => self.write_number(sheet, column, amount.in_currency(currency))?,
            Content::Value(value) => self.write_value(sheet, column, value)?,
            Content::Day(text) => match text.parse::<jiff::civil::Date>().ok().and_then(day) {
                Some(day) => {
                    sheet.seen(column, 10);
                    sheet.sheet.write_datetime_with_format(row, column, &day, &self.styles.day)?;
                }
                None => self.write_wrapped(sheet, column, text)?,
            },
            Content::Moment(text) => match moment(text) {
                Some(moment) => {
                    sheet.seen(column, 19);
                    sheet.sheet.write_datetime_with_format(row, column, &moment, &self.styles.moment)?;
                }
                None => self.write_wrapped(sheet, column, text)?,
            },
            Content::Compared(line) => self.write_compared(sheet, column, &line)?,
            Content::Decision => {
                sheet.sheet.write_blank(row, column, &self.styles.decision)?;
            }
        }
        Ok(())
    }

    fn write_text(&mut self, sheet: &mut Sheet, column: u16, text: &str, style: fn(&Styles) -> &Format) -> Result<(), XlsxError> {
        let text = self.fitting(text);
        sheet.seen(column, text.width());
        sheet.sheet.write_string_with_format(sheet.row, column, text, style(&self.styles))?;
        Ok(())
    }

    fn write_wrapped(&mut self, sheet: &mut Sheet, column: u16, text: &str) -> Result<(), XlsxError> {
        let long = text.len() > WIDTH_MAX;
        if long {
            sheet.wrapped(text.width());
        }
        self.write_text(sheet, column, text, if long { |styles| &styles.wrapped } else { |styles| &styles.text })
    }

    /// The text as a cell can hold it: visible, and cut where it is too long.
    fn fitting(&mut self, text: &str) -> String {
        let text = shown::visible(text);
        if text.len() <= CELL_UNITS_MAX || text.chars().map(char::len_utf16).sum::<usize>() <= CELL_UNITS_MAX {
            return text.into_owned();
        }
        self.cut += 1;
        const ROOM_FOR_THE_REST: usize = 60;
        let mut units = 0;
        let characters = text.chars().take_while(|character| {
            units += character.len_utf16();
            units <= CELL_UNITS_MAX - ROOM_FOR_THE_REST
        });
        shown::cut(&text, characters.count())
    }

    /// A number with all its decimals: as a number where a spreadsheet keeps every digit, else as text.
    fn write_number(&mut self, sheet: &mut Sheet, column: u16, amount: Decimal) -> Result<(), XlsxError> {
        let exact = amount.to_string();
        let spelled = shown::decimal(amount);
        sheet.seen(column, spelled.width());
        let significant = exact.bytes().filter(u8::is_ascii_digit).map(char::from).collect::<String>();
        let significant = significant.trim_start_matches('0').trim_end_matches('0').len();
        match exact.parse::<f64>() {
            Ok(number) if significant <= DIGITS_MAX && usize::from(amount.scale) < self.styles.amounts.len() => {
                sheet.sheet.write_number_with_format(sheet.row, column, number, self.styles.amount(amount.scale))?;
            }
            _ => {
                self.as_text += 1;
                sheet.sheet.write_string_with_format(sheet.row, column, &exact, &self.styles.number_as_text)?;
                self.note(sheet, column, "As text: a spreadsheet keeps 15 digits of a number, and this one has more.")?;
            }
        }
        Ok(())
    }

    fn note(&mut self, sheet: &mut Sheet, column: u16, words: &str) -> Result<(), XlsxError> {
        if self.notes < NOTES_MAX {
            self.notes += 1;
            sheet.sheet.insert_note(sheet.row, column, &Note::new(words).add_author_prefix(false))?;
        }
        Ok(())
    }

    fn write_value(&mut self, sheet: &mut Sheet, column: u16, value: &Value) -> Result<(), XlsxError> {
        let row = sheet.row;
        match value {
            Value::Null => {}
            Value::Decimal(number) => self.write_number(sheet, column, shown::without_idle_zeros(*number))?,
            Value::Integer(integer) => {
                let digits = integer.to_string();
                sheet.seen(column, digits.len());
                if integer.unsigned_abs() < 10_u64.pow(DIGITS_MAX as u32) {
                    sheet.sheet.write_number_with_format(row, column, *integer as f64, &self.styles.plain_number)?;
                } else {
                    self.as_text += 1;
                    sheet.sheet.write_string_with_format(row, column, digits, &self.styles.number_as_text)?;
                    self.note(sheet, column, "As text: a spreadsheet keeps 15 digits of a number, and this one has more.")?;
                }
            }
            Value::Boolean(boolean) => {
                sheet.sheet.write_boolean_with_format(row, column, *boolean, &self.styles.day)?;
            }
            Value::Date(days) => match date_of(*days).and_then(day) {
                Some(day) => {
                    sheet.seen(column, 10);
                    sheet.sheet.write_datetime_with_format(row, column, &day, &self.styles.day)?;
                }
                None => self.write_wrapped(sheet, column, &value.to_string())?,
            },
            // An instant is shown in UTC; its text says so, which a cell of a spreadsheet cannot.
            Value::Instant(_) => self.write_wrapped(sheet, column, &value.to_string())?,
            Value::Datetime(micros) => match datetime_of(*micros).and_then(date_and_time) {
                Some(moment) => {
                    sheet.seen(column, 19);
                    sheet.sheet.write_datetime_with_format(row, column, &moment, &self.styles.moment)?;
                }
                None => self.write_wrapped(sheet, column, &value.to_string())?,
            },
            Value::Text(text) => self.write_wrapped(sheet, column, text)?,
            Value::List(items) => self.write_wrapped(sheet, column, &items.join("; "))?,
        }
        Ok(())
    }

    /// A long text with what is gone struck out and what is new underlined.
    fn write_compared(&mut self, sheet: &mut Sheet, column: u16, line: &[Piece]) -> Result<(), XlsxError> {
        let plain = document::plain(line);
        // The marks that stand in for the styles in a plain text are short: what fits with them fits without.
        if plain.chars().map(char::len_utf16).sum::<usize>() > CELL_UNITS_MAX {
            return self.write_wrapped(sheet, column, &plain);
        }
        let runs: Vec<(&Format, &str)> = line
            .iter()
            .filter_map(|piece| match piece {
                Piece::Removed(text) => Some((&self.styles.removed, text.as_str())),
                Piece::Added(text) => Some((&self.styles.added, text.as_str())),
                Piece::Held(text) | Piece::Words(text) | Piece::Quiet(text) | Piece::Good(text) | Piece::Bad(text) => Some((&self.styles.kept, text.as_str())),
                Piece::Empty | Piece::ToSign => None,
            })
            .filter(|(_, text)| !text.is_empty())
            .collect();
        sheet.seen(column, plain.width());
        sheet.wrapped(plain.width());
        if !runs.is_empty() {
            sheet.sheet.write_rich_string_with_format(sheet.row, column, &runs, &self.styles.wrapped)?;
        }
        Ok(())
    }

    /// The systems whose values stand in columns of their own: those of the job, then any other that a value names.
    fn value_columns<'v>(&self, values: impl Iterator<Item = &'v [SystemValue]>) -> Vec<String> {
        let mut names: Vec<String> = self.report.systems.iter().map(|system| system.name.clone()).collect();
        names.dedup();
        for held in values.flatten() {
            if !names.contains(&held.system) {
                names.push(held.system.clone());
            }
        }
        names
    }

    /// The heading of the column beside amounts.
    fn beside_amounts(&self) -> &'static str {
        if self.report.units.is_empty() { "Currency" } else { "Currency, unit" }
    }

    fn needs(&mut self) -> Result<Worksheet, XlsxError> {
        let report = self.report;
        let urgent: Vec<_> = document::most_urgent(report).into_iter().filter(|one| one.set_aside.is_none()).collect();
        let systems = self.value_columns(urgent.iter().map(|one| one.open.values.as_slice()));
        let mut headings = vec![
            text(ID_COLUMN),
            text("What"),
            text("Record"),
            text("Field"),
            text("System"),
            number("Days open"),
            number("Amount"),
            text(self.beside_amounts()),
        ];
        headings.extend(systems.iter().map(|name| text(&format!("Value in {name}"))));
        headings.extend([text("Why"), text("Next step")]);
        let decision_column = u16::try_from(headings.len()).unwrap_or(u16::MAX);
        headings.extend(DECISION_COLUMNS.map(text));
        let of_run = format!("{} {}", report.job, report.run);
        let (mut sheet, rows) = self.list(DECISION_SHEET, &headings, &urgent, |one, lines| {
            let mut line = break_cells(one);
            line.push(Content::Days(one.age_days));
            line.extend(stake_cells(report, one));
            line.extend(value_cells(&systems, &one.open.values));
            line.extend([Content::Sentence((&one.open.why).into()), Content::Sentence((&one.open.next_step).into())]);
            if !one.decisions.is_empty() {
                line.extend([Content::Decision, Content::Decision, Content::Decision, Content::Decision, Content::Owned(of_run.clone())]);
            }
            lines.push(line);
        })?;
        self.drop_downs(&mut sheet.sheet, decision_column, &urgent, &rows)?;
        sheet.row = 0;
        let words = format!(
            "Choose what is to be done, give a reason, the day for `snooze until`, and who decides. Save this file in the folder \
             reports/{}/decisions: the next run takes it from there, as far as nothing changed since.",
            report.job
        );
        let words = if urgent.iter().any(|one| !one.decisions.is_empty()) { words } else { "Nothing can be decided in this file.".to_owned() };
        sheet.sheet.insert_note(0, decision_column, &Note::new(words).add_author_prefix(false).set_width(260).set_height(140))?;
        Ok(sheet.sheet)
    }

    /// A list of decisions in each row; rows below each other with the same list share it.
    fn drop_downs(&self, sheet: &mut Worksheet, column: u16, breaks: &[&BreakReport], rows: &[u32]) -> Result<(), XlsxError> {
        let mut stretches: Vec<(u32, u32, Vec<String>)> = Vec::new();
        for (one, row) in breaks.iter().zip(rows) {
            let decisions = offered(one);
            match stretches.last_mut() {
                Some((_, last, same)) if *same == decisions && *last + 1 == *row => *last = *row,
                _ => stretches.push((*row, *row, decisions)),
            }
        }
        for (first, last, decisions) in stretches.into_iter().filter(|(_, _, decisions)| !decisions.is_empty()).take(DROP_DOWNS_MAX) {
            let list = DataValidation::new()
                .allow_list_strings(&decisions)?
                .ignore_blank(true)
                .set_error_style(DataValidationErrorStyle::Stop)
                .set_error_title("Not in the list")?
                .set_error_message("Choose one of the decisions that the list offers for this break.")?;
            sheet.add_data_validation(first, column, last, column, &list)?;
        }
        Ok(())
    }

    fn breaks(&mut self) -> Result<Worksheet, XlsxError> {
        let report = self.report;
        let systems = self.value_columns(report.breaks.iter().map(|one| one.open.values.as_slice()));
        let mut headings = vec![text("Id"), text("Kind"), text("Record"), text("Field"), text("System"), text("First seen"), text("First run")];
        headings.extend([number("Days open"), text("Age in days"), number("Amount"), text(self.beside_amounts())]);
        headings.extend(systems.iter().map(|name| text(&format!("Value in {name}"))));
        headings.extend([text("Why"), text("Next step")]);
        let breaks: Vec<&BreakReport> = report.breaks.iter().collect();
        let (sheet, _) = self.list("Breaks", &headings, &breaks, |one, lines| {
            let mut line = break_cells(one);
            line.extend([Content::Day(&one.first_seen), Content::Words(&one.first_run), Content::Days(one.age_days)]);
            line.push(Content::Words(AGE_BUCKETS[age_bucket(one.age_days)].0));
            line.extend(stake_cells(report, one));
            line.extend(value_cells(&systems, &one.open.values));
            line.extend([Content::Sentence((&one.open.why).into()), Content::Sentence((&one.open.next_step).into())]);
            lines.push(line);
        })?;
        Ok(sheet.sheet)
    }

    fn cleared(&mut self) -> Result<Worksheet, XlsxError> {
        let headings = [text("Id"), text("Kind"), text("Record"), text("Field"), text("First seen"), text("Cleared"), number("Amount"), text("Currency")];
        let (sheet, _) = self.list("Cleared", &headings, &self.report.cleared, |one, lines| {
            lines.push(vec![
                Content::Words(&one.id),
                Content::Words(&one.kind),
                Content::key(&one.key),
                Content::text_or_blank(one.field.as_deref()),
                Content::Day(&one.first_seen),
                Content::Words(one.how.words()),
                one.amount.map_or(Content::Blank, |amount| Content::Amount(amount, one.currency.as_deref())),
                Content::text_or_blank(one.currency.as_deref()),
            ]);
        })?;
        Ok(sheet.sheet)
    }

    fn changes(&mut self) -> Result<Worksheet, XlsxError> {
        let report = self.report;
        let mut headings = vec![text("System"), text("Record"), text("What"), text("Field"), text("Before"), text("After"), text("Word by word"), text("Why")];
        headings.extend([text("Outcome"), text("The system's words"), number("Sent before")]);
        let (sheet, _) = self.list("Changes", &headings, &report.changes, |change, lines| {
            let mut push = |field, before, after, compared, why: &super::Reason| {
                lines.push(vec![
                    Content::Words(&change.system),
                    Content::key(&change.key),
                    Content::Words(action_word(change.action)),
                    field,
                    before,
                    after,
                    compared,
                    Content::Sentence(shown::reason(why).into()),
                    Content::settled(change.settled),
                    Content::text_or_blank(change.detail.as_deref()),
                    Content::Count(change.attempts.into()),
                ]);
            };
            if change.cells.is_empty() {
                push(Content::Blank, Content::Blank, Content::Blank, Content::Blank, &change.reason);
            }
            for cell in &change.cells {
                // A number that identifies a record is no quantity.
                let identifies = report.key.contains(&cell.field);
                let value = |value| if identifies { Content::Owned(Value::to_string(value)) } else { Content::Value(value) };
                const WHOLE: Extent = Extent { rows_max: 1, characters_max: 10_000, one_screen: false, wide: true, rest: "report.json" };
                let compared = document::comparison(&cell.before, &cell.after, WHOLE).map_or(Content::Blank, Content::Compared);
                push(Content::Text(&cell.field), value(&cell.before), value(&cell.after), compared, &cell.reason);
            }
        })?;
        Ok(sheet.sheet)
    }

    fn stale(&mut self) -> Result<Worksheet, XlsxError> {
        let headings = [text("System"), text("Record"), text("Change"), text("Why it was not made")];
        let (sheet, _) = self.list("Stale changes", &headings, &self.report.stale, |one, lines| {
            lines.push(vec![Content::Words(&one.system), Content::key(&one.key), Content::Words(action_word(one.action)), Content::Text(&one.why)]);
        })?;
        Ok(sheet.sheet)
    }

    fn conflicts(&mut self) -> Result<Worksheet, XlsxError> {
        let systems = self.value_columns(self.report.conflicts.iter().map(|one| one.overridden.as_slice()));
        let mut headings = vec![text("Record"), text("Field"), text("Taken")];
        headings.extend(systems.iter().map(|name| text(&format!("Lost in {name}"))));
        headings.push(text("Rule"));
        let (sheet, _) = self.list("Conflicts", &headings, &self.report.conflicts, |one, lines| {
            let mut line = vec![Content::key(&one.key), Content::Text(&one.field), Content::Value(&one.decided)];
            line.extend(value_cells(&systems, &one.overridden));
            line.push(Content::Sentence(shown::reason(&one.reason).into()));
            lines.push(line);
        })?;
        Ok(sheet.sheet)
    }

    fn drift(&mut self) -> Result<Worksheet, XlsxError> {
        let outcomes = document::outcomes_by_cell(self.report);
        let headings = [text("System"), text("Record"), text("Field"), text("At the last run"), text("Found"), text("Decided"), text("Put back")];
        let (sheet, _) = self.list("Drift", &headings, &self.report.drift, |one, lines| {
            let put_back = match outcomes.get(&(one.system.as_str(), key_for_people(&one.key), one.field.as_str())) {
                _ if !one.restored => Content::Words("no, only reported"),
                Some(settled) => Content::settled(*settled),
                None => Content::Words("not yet"),
            };
            let values = [&one.base, &one.now, &one.decided].map(Content::Value);
            let mut line = vec![Content::Words(&one.system), Content::key(&one.key), Content::Text(&one.field)];
            line.extend(values);
            line.push(put_back);
            lines.push(line);
        })?;
        Ok(sheet.sheet)
    }

    fn tolerance(&mut self) -> Result<Worksheet, XlsxError> {
        let mut headings = vec![text("Field"), text("Record"), text("Currency"), text("System"), text("Value")];
        headings.extend([text("Compared with"), number("Apart")]);
        let (sheet, _) = self.list("Tolerance", &headings, &self.report.tolerated, |one, lines| {
            let group = self.report.currencies.get(&(one.key.clone(), one.field.clone())).map(String::as_str);
            let value = |value| match value {
                &Value::Decimal(amount) => Content::Amount(amount, group),
                value => Content::Value(value),
            };
            lines.push(vec![
                Content::Text(&one.field),
                Content::key(&one.key),
                Content::text_or_blank(group),
                Content::Words(&one.system),
                value(&one.value),
                value(&one.decided),
                one.apart.map_or(Content::Blank, |apart| Content::Amount(apart, group)),
            ]);
        })?;
        Ok(sheet.sheet)
    }

    fn quarantine(&mut self) -> Result<Worksheet, XlsxError> {
        let mut headings = vec![text("System"), text("File or table"), number("Line"), text("Column"), text("Field"), text("What stands there")];
        headings.extend([text("Why it could not be read"), text("Record"), text("Id")]);
        let (sheet, _) = self.list("Quarantine", &headings, &self.report.quarantined, |one, lines| {
            let row = &one.row;
            lines.push(vec![
                Content::Words(&one.system),
                Content::Text(&row.origin),
                Content::Count(row.line),
                row.column.as_deref().map_or(Content::Quiet("whole row"), Content::Text),
                Content::text_or_blank(row.field.as_deref()),
                Content::text_or_blank(row.raw.as_deref()),
                Content::Sentence((&row.reason).into()),
                row.key.as_deref().map_or(Content::Quiet("unknown"), Content::key),
                Content::text_or_blank(row.id.as_deref()),
            ]);
        })?;
        Ok(sheet.sheet)
    }

    fn duplicates(&mut self) -> Result<Worksheet, XlsxError> {
        let headings = [text("System"), text("Record"), number("Speaks: line"), number("Other rows"), text("Their lines"), text("Rule")];
        let (sheet, _) = self.list("Duplicates", &headings, &self.report.duplicates, |one, lines| {
            let others: Vec<String> = one.losers.iter().map(u64::to_string).collect();
            lines.push(vec![
                Content::Words(&one.system),
                Content::key(&one.key),
                one.survivor.map_or(Content::Quiet("none: all held"), Content::Count),
                Content::Count(one.losers.len() as u64),
                Content::Owned(others.join(", ")),
                Content::Text(&one.rule),
            ]);
        })?;
        Ok(sheet.sheet)
    }

    fn failed_writes(&mut self) -> Result<Worksheet, XlsxError> {
        let headings = [text("System"), text("Record"), text("What"), text("Fields"), text("Outcome"), text("The system's words"), number("Sent before")];
        let failed: Vec<&super::ChangeReport> = document::failed_and_retried(self.report).collect();
        let (sheet, _) = self.list("Failed writes", &headings, &failed, |change, lines| {
            let fields: Vec<&str> = change.cells.iter().map(|cell| cell.field.as_str()).collect();
            lines.push(vec![
                Content::Words(&change.system),
                Content::key(&change.key),
                Content::Words(action_word(change.action)),
                Content::Owned(fields.join(", ")),
                Content::settled(change.settled),
                Content::text_or_blank(change.detail.as_deref()),
                Content::Count(change.attempts.into()),
            ]);
        })?;
        Ok(sheet.sheet)
    }

    fn links(&mut self) -> Result<Worksheet, XlsxError> {
        let headings = [text("System"), text("Record"), text("What happened")];
        let notable: Vec<_> = self.report.links.iter().filter(|event| event.notable).collect();
        let (sheet, _) = self.list("Links", &headings, &notable, |event, lines| {
            lines.push(vec![Content::Words(&event.system), Content::key(&event.key), Content::Text(&event.event)]);
        })?;
        Ok(sheet.sheet)
    }

    fn evidence(&mut self) -> Result<Worksheet, XlsxError> {
        let report = self.report;
        let mut facts: Vec<(String, String, Fact)> = Vec::new();
        let mut add = |of: &str, what: &str, fact: Fact| facts.push((of.to_owned(), what.to_owned(), fact));
        for system in &report.systems {
            let Some(evidence) = &system.evidence else {
                add(&system.name, "Read", Fact::Text("not pulled".to_owned()));
                continue;
            };
            add(&system.name, "From", Fact::Text(evidence.origin.clone()));
            add(&system.name, "Rows received", Fact::Count(evidence.rows_read));
            add(&system.name, "Rows announced", evidence.rows_announced.map_or(Fact::Text("the source announces none".to_owned()), Fact::Count));
            for sum in &evidence.sums {
                add(&system.name, "Control sum announced", Fact::Text(format!("{}: {}", sum.column, sum.announced)));
                add(&system.name, "Control sum received", Fact::Text(format!("{}: {}", sum.column, sum.delivered)));
            }
            if let Some(digest) = &evidence.sha256 {
                add(&system.name, "SHA-256", Fact::Text(digest.clone()));
            }
            if let Some(newest) = &system.newest_edit {
                add(&system.name, "Newest edit (UTC)", Fact::Moment(newest.clone()));
            }
            if system.retries > 0 {
                add(&system.name, "Called again", Fact::Count(system.retries));
            }
            evidence.found.iter().for_each(|(name, found)| add(&system.name, name, Fact::Text(found.clone())));
            evidence.notes.iter().for_each(|note| add(&system.name, "Note", Fact::Text(note.clone())));
            for one in &system.cleaning {
                add(&system.name, &format!("Cleaned: {}, {}", one.field, one.rule), Fact::Count(one.cells));
            }
        }
        let run = "This run";
        add(run, "Run", Fact::Text(report.run.clone()));
        add(run, "Run before", Fact::Text(report.previous_run.clone().unwrap_or_else(|| "none: first contact".to_owned())));
        add(run, "Started (UTC)", Fact::Moment(report.started.clone()));
        add(run, "Version", Fact::Text(format!("tieout {}", report.version)));
        add(run, "Job file", Fact::Text(report.job_file.clone()));
        add(run, "SHA-256 of the job file", Fact::Text(report.job_digest.clone()));
        add(run, "SHA-256 of the plan", Fact::Text(report.plan_digest.clone().unwrap_or_else(|| "none was made".to_owned())));
        add(run, "Head of the ledger", Fact::Text(report.ledger_head.clone().unwrap_or_else(|| "not sealed".to_owned())));
        add(run, "Exit code", Fact::Count(report.exit_code.into()));
        let headings = [text("Of"), text("What"), text("Evidence")];
        let (sheet, _) = self.list("Evidence", &headings, &facts, |(of, what, fact), lines| {
            let fact = match fact {
                Fact::Text(text) => Content::Text(text),
                Fact::Count(count) => Content::Count(*count),
                Fact::Moment(text) => Content::Moment(text),
            };
            lines.push(vec![Content::Text(of), Content::Text(what), fact]);
        })?;
        Ok(sheet.sheet)
    }

    fn rules(&mut self) -> Result<Worksheet, XlsxError> {
        let report = self.report;
        let mut lines: Vec<(&str, String, RuleStyle)> = report.rules.iter().map(|rule| ("Rule as run", unmarked(rule), RuleStyle::Plain)).collect();
        if let Some(change) = &report.job_change {
            lines.extend(change.terms.iter().map(|term| ("The job file changed", unmarked(term), RuleStyle::Plain)));
            lines.extend(document::unified(change).into_iter().map(|(side, line)| {
                let line = shown::visible(&line).into_owned();
                let style = match side {
                    document::Side::Removed => RuleStyle::Removed,
                    document::Side::Added => RuleStyle::Added,
                    document::Side::Place => RuleStyle::Place,
                    document::Side::Same => RuleStyle::Plain,
                };
                ("The job file, line by line", line, style)
            }));
        }
        let (sheet, _) = self.list("Rules", &[text("What"), text("In words")], &lines, |(part, words, style), rows| {
            let content = match style {
                RuleStyle::Plain => Content::Owned(words.clone()),
                RuleStyle::Place => Content::Compared(vec![Piece::Quiet(words.clone())]),
                RuleStyle::Removed => Content::Compared(vec![Piece::Removed(words.clone())]),
                RuleStyle::Added => Content::Compared(vec![Piece::Added(words.clone())]),
            };
            rows.push(vec![Content::Owned((*part).to_owned()), content]);
        })?;
        Ok(sheet.sheet)
    }
}

/// A piece of evidence.
enum Fact {
    Text(String),
    Count(u64),
    Moment(String),
}

#[derive(Clone, Copy)]
enum RuleStyle {
    Plain,
    Place,
    Removed,
    Added,
}

/// Id, kind, record, field and system of a break.
fn break_cells(one: &BreakReport) -> Vec<Content<'_>> {
    let open = &one.open;
    vec![
        Content::Words(&one.id),
        if one.important { Content::Owned(format!("{}, important", kind_words(one))) } else { Content::Words(kind_words(one)) },
        Content::key(&open.key),
        Content::text_or_blank(open.field.as_deref()),
        Content::text_or_blank(open.system.as_deref()),
    ]
}

/// Amount of a break, and its currency or what else it counts.
fn stake_cells<'a>(report: &Report, one: &BreakReport) -> [Content<'a>; 2] {
    if let Some(unit) = &one.unit {
        let amount = one.at_stake().map_or(Content::Blank, |amount| Content::Amount(amount, None));
        return [amount, Content::Owned(unit.clone())];
    }
    let currency = report.currency_of(one);
    let amount = one.at_stake().map_or(Content::Blank, |amount| Content::Amount(amount.in_currency(currency.as_deref()), None));
    [amount, currency.filter(|_| one.at_stake().is_some()).map_or(Content::Blank, Content::Owned)]
}

/// What each of these systems holds; blank where it holds nothing.
fn value_cells<'a>(systems: &[String], values: &'a [SystemValue]) -> Vec<Content<'a>> {
    let held = |name: &String| values.iter().find(|held| held.system == *name);
    systems.iter().map(|name| held(name).map_or(Content::Blank, |held| Content::Value(&held.value))).collect()
}

/// What can be decided about a break, as far as the list of a cell has room for it.
fn offered(one: &BreakReport) -> Vec<String> {
    // A comma parts the entries of a list, and a list has room for so many characters.
    const LIST_UNITS_MAX: usize = 255;
    let mut offered: Vec<String> = one.decisions.iter().filter(|decision| !decision.contains([',', '"'])).cloned().collect();
    let length = |offered: &[String]| offered.iter().map(|decision| decision.encode_utf16().count() + 1).sum::<usize>();
    while length(&offered) > LIST_UNITS_MAX {
        let Some(longest) = (0..offered.len()).max_by_key(|at| offered[*at].len()) else { break };
        offered.remove(longest);
    }
    offered
}

/// A day that a spreadsheet counts as everybody does: those before March 1900 it does not.
fn day(date: jiff::civil::Date) -> Option<ExcelDateTime> {
    let year = u16::try_from(date.year()).ok()?;
    if date < jiff::civil::date(1900, 3, 1) {
        return None;
    }
    ExcelDateTime::from_ymd(year, u8::try_from(date.month()).ok()?, u8::try_from(date.day()).ok()?).ok()
}

/// A day and time that a spreadsheet holds to its last digit, which is a millisecond.
fn date_and_time(moment: jiff::civil::DateTime) -> Option<ExcelDateTime> {
    let nanoseconds = moment.subsec_nanosecond();
    if nanoseconds % 1_000_000 != 0 {
        return None;
    }
    let [hour, minute, second] = [moment.hour(), moment.minute(), moment.second()].map(|part| u8::try_from(part).unwrap_or(0));
    day(moment.date())?.and_hms_milli(hour.into(), minute, second, u16::try_from(nanoseconds / 1_000_000).unwrap_or(0)).ok()
}

/// An instant as RFC 3339, as its day and time in UTC.
fn moment(text: &str) -> Option<ExcelDateTime> {
    let instant: jiff::Timestamp = text.parse().ok()?;
    date_and_time(jiff::tz::TimeZone::UTC.to_datetime(instant))
}

/// The first sheet: verdict, figures, totals, arithmetic, and what the other sheets hold.
impl<'a> Book<'a> {
    fn summary(&mut self) -> Result<Worksheet, XlsxError> {
        let report = self.report;
        let mut sheet = self.sheet("Summary")?;
        let title = self.one_line(&format!("{} {}  {}", report.verdict.symbol(), report.verdict.word(), report.job));
        let colour = match report.verdict {
            Verdict::Ok => 0x0014_683A,
            Verdict::Synced => 0x0014_568C,
            Verdict::Action => 0x008A_4B00,
            Verdict::Failed => 0x00A3_171B,
        };
        sheet.sheet.write_string_with_format(0, 0, title, &self.styles.title.clone().set_font_color(Color::RGB(colour)))?;
        sheet.row = 1;
        sheet.sheet.set_freeze_panes(1, 0)?;
        self.spread(&mut sheet, &report.sentence)?;
        sheet.row += 1;
        self.facts(&mut sheet)?;
        self.totals(&mut sheet)?;
        self.movement(&mut sheet)?;
        self.counts(&mut sheet)?;
        self.arithmetic(&mut sheet)?;
        self.contents(&mut sheet)?;
        self.sign_off(&mut sheet)?;
        sheet.set_widths()?;
        Ok(sheet.sheet)
    }

    /// A sentence that may run over the cells beside it.
    fn spread(&mut self, sheet: &mut Sheet, words: &str) -> Result<(), XlsxError> {
        let words = self.fitting(&unmarked(words));
        sheet.sheet.write_string_with_format(sheet.row, 0, words, &self.styles.text)?;
        sheet.row += 1;
        Ok(())
    }

    fn heading(&mut self, sheet: &mut Sheet, words: &str) -> Result<(), XlsxError> {
        sheet.row += 1;
        sheet.sheet.write_string_with_format(sheet.row, 0, words, &self.styles.heading)?;
        sheet.row += 1;
        Ok(())
    }

    fn header(&mut self, sheet: &mut Sheet, headings: &[Heading]) -> Result<(), XlsxError> {
        for (column, heading) in (0_u16..).zip(headings) {
            let style = if heading.right { &self.styles.head_right } else { &self.styles.head };
            sheet.sheet.write_string_with_format(sheet.row, column, &heading.text, style)?;
            sheet.seen(column, heading.text.width());
        }
        sheet.row += 1;
        Ok(())
    }

    fn facts(&mut self, sheet: &mut Sheet) -> Result<(), XlsxError> {
        let report = self.report;
        let writes = document::writes(report);
        let open_amounts = document::open_line(report);
        let facts = [
            ("Job", Content::Words(&report.job)),
            ("What it is for", Content::text_or_blank(report.description.as_deref())),
            ("Contact", Content::text_or_blank(report.contact.as_deref())),
            ("Run", Content::Words(&report.run)),
            ("Run before", Content::text_or_blank(report.previous_run.as_deref())),
            ("Started (UTC)", Content::Moment(&report.started)),
            ("Records", if report.was_compared() { Content::Count(report.records) } else { Content::Quiet("not compared") }),
            ("Changes planned", Content::Count(writes.planned)),
            ("Changes verified", Content::Count(writes.arrived)),
            ("Failed writes", Content::Count(writes.failed)),
            ("Open breaks", Content::Count(report.breaks.len() as u64)),
            ("Open amounts", if open_amounts.is_empty() { Content::Quiet("none") } else { Content::Owned(open_amounts) }),
        ];
        let stale = (!report.stale.is_empty()).then_some(("Stale changes of the plan", Content::Count(report.stale.len() as u64)));
        for (name, content) in facts.into_iter().chain(stale) {
            sheet.sheet.write_string_with_format(sheet.row, 0, name, &self.styles.label)?;
            sheet.seen(0, name.width());
            // Long facts run over the empty cells beside them.
            match content {
                Content::Words(text) | Content::Text(text) => {
                    let text = self.fitting(text);
                    sheet.sheet.write_string_with_format(sheet.row, 1, text, &self.styles.text)?;
                }
                Content::Owned(text) => {
                    sheet.sheet.write_string_with_format(sheet.row, 1, text, &self.styles.text)?;
                }
                content => self.write(sheet, 1, content)?,
            }
            sheet.row += 1;
        }
        const REST: Extent = Extent { rows_max: 50, characters_max: 2_000, one_screen: false, wide: true, rest: "report.json" };
        let remarks = document::remarks(report, REST);
        if !remarks.is_empty() {
            self.heading(sheet, "To be known first")?;
            for remark in remarks {
                self.spread(sheet, &document::plain(&remark))?;
            }
        }
        for diagnostic in report.stopped_by.iter().take(50) {
            self.heading(sheet, "What stopped the run")?;
            self.spread(sheet, &format!("{}: {}", diagnostic.place, diagnostic.message))?;
            for seen in diagnostic.seen.iter().take(50) {
                self.spread(sheet, seen)?;
            }
            if let Some(hint) = &diagnostic.hint {
                self.spread(sheet, &format!("hint: {hint}"))?;
            }
        }
        Ok(())
    }

    fn totals(&mut self, sheet: &mut Sheet) -> Result<(), XlsxError> {
        let report = self.report;
        if report.totals.is_empty() {
            return Ok(());
        }
        self.heading(sheet, "Control totals")?;
        let mut headings = vec![text("Field"), text(self.beside_amounts()), text("System"), number("Opening"), number("+ appeared"), number("− vanished")];
        headings.extend([number("± changed"), number("− set aside tonight"), number("+ returned"), number("Read tonight"), number("± our writes")]);
        headings.push(number("Closing"));
        let any_held = report.totals.iter().any(|total| total.held_records > 0);
        if any_held {
            headings.extend([number("+ held, of no record"), number("Closing with them")]);
        }
        headings.extend([number("Difference"), text("Compared with"), number("Records")]);
        if any_held {
            headings.push(number("Rows held, of no record"));
        }
        headings.push(text("Complete"));
        self.header(sheet, &headings)?;
        for (field, group, totals) in document::total_groups(report) {
            for total in &totals {
                let reference = totals[0];
                let is_compared = total.system != reference.system;
                let apart = total.with_held().zip(reference.with_held()).and_then(|(ours, theirs)| ours.checked_sub(theirs)).filter(|_| is_compared);
                let amount = |amount: Decimal| Content::Amount(amount, group);
                let or_too_large = |sum: Option<Decimal>| sum.map_or(Content::Bad("too large"), amount);
                let mut row = vec![
                    Content::Text(field),
                    Content::text_or_blank(group.or(report.units.get(field).map(String::as_str))),
                    Content::Words(&total.system),
                    total.opening.map_or(Content::Quiet("first contact"), amount),
                    amount(total.appeared),
                    amount(total.vanished),
                    amount(total.changed),
                    amount(total.set_aside),
                    amount(total.returned),
                    amount(total.closing),
                    amount(total.written),
                    amount(total.after),
                ];
                if any_held {
                    row.extend([amount(total.held), or_too_large(total.with_held())]);
                }
                row.push(if is_compared { or_too_large(apart) } else { Content::Blank });
                row.push(if is_compared { Content::Words(&reference.system) } else { Content::Blank });
                row.push(Content::Count(total.records));
                if any_held {
                    row.push(Content::Count(total.held_records));
                }
                row.push(if total.incomplete { Content::Bad("no") } else { Content::Good("yes") });
                self.write_row(sheet, row)?;
            }
        }
        if report.differences.iter().any(|difference| !difference.parts.is_empty()) {
            self.heading(sheet, "Why they differ")?;
            self.header(sheet, &[text("Field"), text("Currency"), text("System"), number("Amount"), number("Records"), text("Why")])?;
            for difference in &report.differences {
                for part in &difference.parts {
                    let group = difference.group.as_deref();
                    let why = part.why.words(&difference.system, &difference.reference);
                    let row = vec![
                        Content::Text(&difference.field),
                        Content::text_or_blank(group),
                        Content::Words(&difference.system),
                        Content::Amount(part.amount, group),
                        Content::Count(part.records),
                    ];
                    for (column, content) in (0_u16..).zip(row) {
                        self.write(sheet, column, content)?;
                    }
                    // Runs over the cells beside it.
                    let why = self.fitting(&unmarked(&why));
                    sheet.sheet.write_string_with_format(sheet.row, 5, why, &self.styles.text)?;
                    sheet.row += 1;
                }
            }
        }
        Ok(())
    }

    fn movement(&mut self, sheet: &mut Sheet) -> Result<(), XlsxError> {
        let report = self.report;
        if let Some(roll) = &report.roll_forward {
            self.heading(sheet, "Open breaks: opening to closing")?;
            let mut headings = vec![text("Of"), number("Opening"), number("+ new"), number("± changed"), number("− cleared by us")];
            headings.extend([number("− cleared at the source"), number("− another kind now"), number("Closing")]);
            self.header(sheet, &headings)?;
            let row = vec![
                Content::Words("breaks"),
                Content::Count(roll.opening),
                Content::Count(roll.new),
                Content::Blank,
                Content::Count(roll.cleared_by_us),
                Content::Count(roll.cleared_at_source),
                Content::Count(roll.turned),
                Content::Count(roll.closing),
            ];
            self.write_row(sheet, row)?;
            for one in &roll.amounts {
                let mut row = vec![Content::Words(&one.currency)];
                let amounts = [one.opening, one.new, one.changed, one.cleared_by_us, one.cleared_at_source, one.turned, one.closing];
                row.extend(amounts.map(|amount| Content::Amount(amount, Some(&one.currency))));
                self.write_row(sheet, row)?;
            }
        }
        if !report.breaks.is_empty() {
            self.heading(sheet, "Open breaks by age in days")?;
            let mut headings = vec![text("Of")];
            headings.extend(AGE_BUCKETS.iter().map(|(label, _)| number(label)));
            self.header(sheet, &headings)?;
            let ageing = document::ageing(report);
            let mut row = vec![Content::Words("breaks")];
            row.extend(ageing.counts.iter().map(|count| Content::Count(*count)));
            self.write_row(sheet, row)?;
            for (currency, amounts) in &ageing.amounts {
                let mut row = vec![Content::Words(currency)];
                row.extend(amounts.iter().map(|amount| Content::Amount(*amount, Some(currency))));
                self.write_row(sheet, row)?;
            }
        }
        Ok(())
    }

    fn counts(&mut self, sheet: &mut Sheet) -> Result<(), XlsxError> {
        self.heading(sheet, "Rows by what became of them")?;
        let mut headings = vec![text("System"), text("Kind"), text("Role"), number("Read"), number("Compared"), number("Repeats"), number("Held")];
        headings.extend([number("Filtered"), number("Quarantined")]);
        self.header(sheet, &headings)?;
        for system in &self.report.systems {
            let counts = system.counts;
            let mut row = vec![Content::Words(&system.name), Content::Words(&system.kind), Content::Words(&system.role)];
            if system.evidence.is_none() {
                row.push(Content::Quiet("not pulled"));
            } else {
                row.extend([counts.read, counts.compared, counts.repeats, counts.held, counts.filtered, counts.quarantined].map(Content::Count));
            }
            self.write_row(sheet, row)?;
        }
        Ok(())
    }

    fn arithmetic(&mut self, sheet: &mut Sheet) -> Result<(), XlsxError> {
        if self.report.identities.is_empty() {
            return Ok(());
        }
        self.heading(sheet, "Arithmetic that was checked")?;
        self.header(sheet, &[text("Equation"), text("Holds"), text("Of, with its numbers")])?;
        for identity in &self.report.identities {
            let words = self.fitting(&identity.name);
            sheet.sheet.write_string_with_format(sheet.row, 0, words, &self.styles.text)?;
            self.write(sheet, 1, if identity.holds { Content::Good("✓ yes") } else { Content::Bad("✗ no") })?;
            let of = format!("{}: {}", identity.of, identity.equation);
            let of = self.fitting(&unmarked(&of));
            sheet.sheet.write_string_with_format(sheet.row, 2, of, &self.styles.text)?;
            sheet.row += 1;
        }
        Ok(())
    }

    fn contents(&mut self, sheet: &mut Sheet) -> Result<(), XlsxError> {
        let mut notes: Vec<String> = self
            .left_out
            .iter()
            .map(|one| {
                let (shown_rows, all) = (shown::count_of(one.shown), shown::count_of(one.rows));
                format!("Sheet {}: the first {shown_rows} of {all} are shown, a sheet has no more rows. All of them are in report.json.", one.sheet)
            })
            .collect();
        if self.cut > 0 {
            notes.push(format!("{} cut: a cell holds 32,767 characters. The whole texts are in report.json.", plural(self.cut, "text is", "texts are")));
        }
        if self.as_text > 0 {
            let numbers = plural(self.as_text, "number stands as text", "numbers stand as text");
            notes.push(format!("{numbers}: a spreadsheet keeps 15 digits, and would round the rest away."));
        }
        if !notes.is_empty() {
            self.heading(sheet, "What this workbook cannot hold")?;
            for note in notes {
                self.spread(sheet, &note)?;
            }
        }
        Ok(())
    }

    fn sign_off(&mut self, sheet: &mut Sheet) -> Result<(), XlsxError> {
        self.heading(sheet, "Sign-off")?;
        self.header(sheet, &[text(""), text("Name"), text(""), text("Date"), text("Signature"), text("")])?;
        for role in document::SIGNATURES {
            sheet.sheet.write_string_with_format(sheet.row, 0, role, &self.styles.label)?;
            for column in 1..6 {
                sheet.sheet.write_blank(sheet.row, column, &self.styles.blank_line)?;
            }
            sheet.sheet.set_row_height(sheet.row, 28)?;
            sheet.row += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use calamine::{Data, Reader, Xlsx};

    use super::super::sample::{HOSTILE, cell, cents, held, hostile, quiet, rich, stopped, text};
    use super::*;

    /// A sheet by its header: for every row, what stands below each heading.
    struct Read {
        headings: Vec<String>,
        rows: Vec<Vec<Data>>,
    }

    impl Read {
        fn column(&self, heading: &str) -> usize {
            self.headings.iter().position(|other| other == heading).unwrap_or_else(|| panic!("no column {heading} in {:?}", self.headings))
        }

        fn cells(&self, heading: &str) -> Vec<&Data> {
            let column = self.column(heading);
            self.rows.iter().map(|row| &row[column]).collect()
        }

        /// The row with this text in a column.
        fn row(&self, heading: &str, text: &str) -> &[Data] {
            let column = self.column(heading);
            self.rows.iter().find(|row| row[column] == Data::String(text.to_owned())).unwrap_or_else(|| panic!("no {text} in {heading}"))
        }
    }

    fn open(bytes: &[u8]) -> Xlsx<Cursor<&[u8]>> {
        Xlsx::new(Cursor::new(bytes)).expect("opens")
    }

    fn sheet(bytes: &[u8], name: &str) -> Read {
        let range = open(bytes).worksheet_range(name).expect("a sheet");
        // The range begins at the first cell that holds anything, which is the header.
        let mut rows = range.rows().map(<[Data]>::to_vec);
        let headings = rows.next().expect("a header").iter().map(ToString::to_string).collect();
        Read { headings, rows: rows.collect() }
    }

    fn all_texts(bytes: &[u8]) -> Vec<String> {
        let mut book = open(bytes);
        let names = book.sheet_names();
        names.iter().flat_map(|name| book.worksheet_range(name).expect("a sheet").used_cells().map(|cell| cell.2.to_string()).collect::<Vec<_>>()).collect()
    }

    fn part(bytes: &[u8], name: &str) -> String {
        use std::io::Read;
        let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).expect("an archive");
        let mut text = String::new();
        archive.by_name(name).expect("a part").read_to_string(&mut text).expect("is text");
        text
    }

    #[test]
    fn every_list_has_its_sheet_and_an_empty_one_says_none() {
        let expected = [
            "Summary",
            "Needs you",
            "Breaks",
            "Cleared",
            "Changes",
            "Conflicts",
            "Drift",
            "Tolerance",
            "Quarantine",
            "Duplicates",
            "Failed writes",
            "Links",
            "Evidence",
            "Rules",
        ];
        for report in [rich(), quiet(), stopped(), hostile()] {
            let mut names = open(&render(&report).expect("renders")).sheet_names();
            let has_stale = names.iter().position(|name| name == "Stale changes").map(|at| names.remove(at)).is_some();
            assert_eq!(has_stale, !report.stale.is_empty(), "only an applied plan has changes that are stale");
            assert_eq!(names, expected);
        }
        let bytes = render(&quiet()).expect("renders");
        for name in &expected[1..12] {
            let sheet = sheet(&bytes, name);
            assert_eq!((sheet.rows.len(), sheet.rows[0][0].to_string().as_str()), (1, "none"), "{name}");
        }
    }

    #[test]
    fn changes_of_a_plan_that_were_not_made_are_listed_with_the_reason() {
        let mut report = rich();
        report.stale[0].why = "=1+1".to_owned();
        let bytes = render(&report).expect("renders");
        let names = open(&bytes).sheet_names();
        assert_eq!(names.iter().position(|name| name == "Stale changes"), names.iter().position(|name| name == "Changes").map(|at| at + 1));
        let stale = sheet(&bytes, "Stale changes");
        let words: Vec<String> = ["System", "Record", "Change", "Why it was not made"].map(|heading| stale.cells(heading)[0].to_string()).into();
        assert_eq!(words, ["invoicing", "ada@example.com", "update", "=1+1"]);
        assert_eq!(stale.rows.len(), 1);
        let summary = all_texts(&bytes).join("\n");
        assert!(summary.contains("Stale changes of the plan\n1"), "{summary}");
    }

    #[test]
    fn amounts_are_numbers_in_the_format_of_their_currency() {
        let mut report = rich();
        for (place, (currency, amount)) in [("JPY", "1200.00"), ("KWD", "1.50"), ("JPY", "0.50"), ("EUR", "9999999999999.99")].into_iter().enumerate() {
            report.breaks[place].amount = Some(cents(amount));
            report.breaks[place].currency = Some(currency.to_owned());
        }
        report.breaks[4].amount = Some(cents("99999999999999.99"));
        report.breaks[4].currency = Some("EUR".to_owned());
        let bytes = render(&report).expect("renders");
        let breaks = sheet(&bytes, "Breaks");
        let amounts: Vec<String> = breaks.cells("Amount").iter().take(5).map(|cell| format!("{cell:?}")).collect();
        assert_eq!(amounts, ["Float(1200.0)", "Float(1.5)", "Float(0.5)", "Float(9999999999999.99)", "String(\"99999999999999.99\")"]);
        let styles = part(&bytes, "xl/styles.xml");
        for format in ["\"#,##0\"", "\"#,##0.00\"", "\"#,##0.000\"", "\"yyyy-mm-dd\""] {
            // The first two have numbers of their own in the format and no text.
            assert!(format.len() < 9 || format == "\"#,##0.00\"" || styles.contains(&format!("formatCode={format}")), "{format}: {styles}");
        }
        let summary = all_texts(&bytes).join("\n");
        assert!(summary.contains("3 numbers stand as text: a spreadsheet keeps 15 digits"), "{summary}");
        assert!(part(&bytes, "xl/comments1.xml").contains("15 digits") || part(&bytes, "xl/comments2.xml").contains("15 digits"));
    }

    #[test]
    fn nothing_is_rounded() {
        for (units, scale, number) in [
            (123_456_789_012_345, 2, true),
            (1_234_567_890_123_456, 2, false),
            (-999_999_999_999_999, 9, true),
            (100_000_000_000_000_000_000, 0, true),
            (100_000_000_000_000_000_001, 0, false),
            (12_345_678_901_234_500, 4, true),
            (0, 2, true),
            (i128::MAX, 0, false),
        ] {
            let mut report = quiet();
            let value = Value::Decimal(Decimal { units, scale });
            let one = ConflictOf { value: value.clone() };
            report.conflicts = vec![one.report()];
            let bytes = render(&report).expect("renders");
            match &sheet(&bytes, "Conflicts").cells("Taken")[0] {
                Data::Float(read) => {
                    assert!(number, "{value}");
                    // Fifteen digits of what was read are those of the amount.
                    let spelled = format!("{read:.*}", usize::from(scale));
                    assert_eq!(Decimal::parse(&spelled, scale).expect("a number"), Decimal { units, scale }, "{value}");
                }
                Data::String(read) => assert_eq!((read.as_str(), number), (Decimal { units, scale }.to_string().as_str(), false)),
                other => panic!("{other:?}"),
            }
        }
    }

    struct ConflictOf {
        value: Value,
    }

    impl ConflictOf {
        fn report(&self) -> super::super::ConflictReport {
            super::super::ConflictReport {
                key: "000123".to_owned(),
                field: "amount".to_owned(),
                decided: self.value.clone(),
                reason: super::super::Reason::OwnerWins { owner: "crm".to_owned() },
                overridden: vec![held("sheet", self.value.clone()), held("elsewhere", Value::Null)],
            }
        }
    }

    #[test]
    fn days_are_days_and_what_a_spreadsheet_would_bend_is_text() {
        let days = |year, month, day| Value::Date(crate::value::days_of(jiff::civil::date(year, month, day)));
        let moment = |micros: i64| Value::Datetime(1_774_918_800_000_000 + micros);
        for (value, shown) in [
            (days(2024, 2, 29), "date 45351"),
            (days(1900, 3, 1), "date 61"),
            (days(1900, 2, 28), "1900-02-28"),
            (days(1899, 12, 31), "1899-12-31"),
            (days(-44, 3, 15), "-000044-03-15"),
            (moment(0), "date 46112.041666666664"),
            (moment(1), "2026-03-31T01:00:00.000001"),
            (Value::Instant(1_774_918_800_000_000), "2026-03-31T01:00:00Z"),
            (Value::Integer(7), "number 7"),
            (Value::Integer(4_043_796_584_937_122), "4043796584937122"),
            (Value::Boolean(false), "boolean false"),
            (text("007"), "007"),
            (text("1.234,56"), "1.234,56"),
            (text("=SUM(A1:A9)"), "=SUM(A1:A9)"),
            (text("2026-03-31"), "2026-03-31"),
            (text("_x0041_"), "_x0041_"),
            (text("TRUE"), "TRUE"),
            (Value::List(vec!["a".to_owned(), "b".to_owned()]), "a; b"),
        ] {
            let mut report = quiet();
            report.conflicts = vec![ConflictOf { value: value.clone() }.report()];
            let sheet = sheet(&render(&report).expect("renders"), "Conflicts");
            let read = |data: &Data| match data {
                Data::DateTime(date) => format!("date {}", date.as_f64()),
                Data::Float(number) => format!("number {number}"),
                Data::Bool(boolean) => format!("boolean {boolean}"),
                Data::String(text) => text.clone(),
                other => panic!("{other:?}"),
            };
            assert_eq!(read(sheet.cells("Taken")[0]), shown, "{value:?}");
            assert_eq!(read(sheet.cells("Lost in sheet")[0]), shown, "{value:?}");
            assert_eq!(sheet.cells("Lost in elsewhere"), [&Data::Empty]);
            assert_eq!(sheet.cells("Record"), [&Data::String("000123".to_owned())]);
        }
    }

    #[test]
    fn every_change_has_a_row_for_each_field_with_rule_and_outcome() {
        let mut report = rich();
        report.changes[4].cells.push(cell("email", Value::Integer(12), Value::Integer(13), super::super::Reason::Standardised));
        let bytes = render(&report).expect("renders");
        let changes = sheet(&bytes, "Changes");
        assert_eq!(changes.rows.len(), report.changes.iter().map(|change| change.cells.len()).sum::<usize>());
        let row = changes.row("Field", "notes");
        let at = |heading: &str| row[changes.column(heading)].to_string();
        assert!(at("Before").starts_with("Net 30 days") && at("After").starts_with("Net 14 days"));
        assert!(at("Word by word").starts_with("Net 3014 days from"), "{}", at("Word by word"));
        assert_eq!((at("Why").as_str(), at("Outcome").as_str()), ("conflict: rule latest takes the value of crm", "verified"));
        let strings = part(&bytes, "xl/sharedStrings.xml");
        assert!(strings.contains("<strike/>") && strings.contains("<u/>"), "words that are gone are struck out, new ones underlined");
        let rejected = changes.row("Outcome", "rejected");
        assert_eq!(rejected[changes.column("The system's words")].to_string(), "CHECK constraint failed: credit_limit <= 3000");
        assert_eq!(rejected[changes.column("Sent before")], Data::Float(2.0));
        assert_eq!(rejected[changes.column("After")], Data::Float(3240.5));
        let key = changes.row("Field", "email");
        assert!(matches!(key[changes.column("Before")], Data::Empty) || matches!(key[changes.column("Before")], Data::String(_)), "a key is no quantity");
    }

    #[test]
    fn what_can_be_decided_is_offered_beside_each_break() {
        let bytes = render(&rich()).expect("renders");
        let needs = sheet(&bytes, "Needs you");
        assert_eq!(needs.rows.len(), 14);
        assert_eq!(needs.headings[needs.headings.len() - 5..], DECISION_COLUMNS);
        assert_eq!(needs.rows[0][needs.column("Next step")].to_string(), "tieout review customers --break b3f2a1");
        assert_eq!(needs.rows[0].get(needs.column("Of run")).map(ToString::to_string).unwrap_or_default(), "", "what no run keeps cannot be decided");
        assert!(!part(&bytes, "xl/worksheets/sheet2.xml").contains("<dataValidation "));
        let mut report = rich();
        let words = ["choose crm", "choose invoicing", "reject", "snooze until"].map(str::to_owned);
        report.breaks.iter_mut().for_each(|one| one.decisions = words.to_vec());
        let bytes = render(&report).expect("renders");
        let needs = sheet(&bytes, "Needs you");
        assert_eq!(needs.rows[0][needs.column("Of run")].to_string(), format!("{} {}", report.job, report.run));
        let xml = part(&bytes, "xl/worksheets/sheet2.xml");
        assert!(xml.contains("choose crm,choose invoicing,reject,snooze until"), "{xml}");
        assert!(xml.contains("<dataValidation type=\"list\""), "{xml}");
        let many = (0..90).map(|number| format!("choose system-number-{number}")).chain(["choose a,b".to_owned(), "reject".to_owned()]);
        let offered = offered(&BreakReport { decisions: many.collect(), ..report.breaks[0].clone() });
        assert!(offered.join(",").len() <= 255 && offered.contains(&"reject".to_owned()) && !offered.iter().any(|one| one.contains("a,b")), "{offered:?}");
    }

    #[test]
    fn a_sheet_that_is_full_says_where_the_rest_is() {
        let mut report = rich();
        let one = report.changes[3].clone();
        report.changes = (0..50).map(|number| super::super::ChangeReport { key: format!("key{number:05}"), ..one.clone() }).collect();
        let bytes = with_rows(&report, 21).expect("renders");
        assert_eq!(sheet(&bytes, "Changes").rows.len(), 20);
        let shown = all_texts(&bytes).join("\n");
        assert!(shown.contains("Sheet Changes: the first 20 of 50 are shown, a sheet has no more rows. All of them are in report.json."), "{shown}");
        assert!(!shown.contains("Sheet Breaks"), "{shown}");
    }

    #[test]
    fn a_text_too_long_for_a_cell_is_cut_and_counted() {
        let mut report = quiet();
        // Each of these takes two UTF-16 units, and a cell holds 32,767 of those.
        report.conflicts = vec![ConflictOf { value: text(&"𝔐".repeat(16_384)) }.report(), ConflictOf { value: text(&"a".repeat(32_767)) }.report()];
        let bytes = render(&report).expect("renders");
        let taken = sheet(&bytes, "Conflicts");
        let taken: Vec<String> = taken.cells("Taken").iter().map(|cell| cell.to_string()).collect();
        assert!(taken[0].ends_with("… (+31 characters)"), "{}", &taken[0][taken[0].len() - 40..]);
        assert_eq!(taken[1].len(), 32_767);
        assert!(all_texts(&bytes).iter().any(|text| text == "2 texts are cut: a cell holds 32,767 characters. The whole texts are in report.json."));
    }

    #[test]
    fn no_text_becomes_a_formula_or_hides_anything() {
        let bytes = render(&hostile()).expect("renders");
        let mut archive = zip::ZipArchive::new(Cursor::new(&bytes)).expect("an archive");
        for at in 0..archive.len() {
            let name = archive.by_index(at).expect("a part").name().expect("a name").into_owned();
            let xml = part(&bytes, &name);
            assert!(!xml.contains("<f>") && !xml.contains("<script") && !xml.contains("hyperlink "), "{name}");
            assert!(!name.contains("externalLink") && !name.contains("vba"), "{name}");
        }
        for text in all_texts(&bytes) {
            let hidden = text.chars().find(|c| shown::is_hidden(*c));
            assert_eq!(hidden, None, "{text}");
        }
        let breaks = sheet(&bytes, "Breaks");
        assert_eq!(breaks.cells("Why")[0].to_string(), shown::visible(HOSTILE), "shown, not dropped");
    }

    #[test]
    fn sensitive_fields_are_masked() {
        let mut report = rich();
        report.sensitive = vec!["credit_limit".to_owned(), "phone".to_owned(), "email".to_owned()];
        let bytes = render(&report).expect("renders");
        let mut book = open(&bytes);
        for name in book.sheet_names() {
            for (row, column, data) in book.worksheet_range(&name).expect("a sheet").used_cells() {
                let shown = data.to_string();
                for secret in ["3240.5", "102500.5", "98000", "1240.5", "901820", "7946", "1.2O0,00", "1211491.6", "800.01", "12.5", "@example"] {
                    assert!(!shown.contains(secret) || shown.contains("Finance <finance@example.com>"), "{name} {row}:{column} shows {secret}: {shown}");
                }
            }
        }
    }

    #[test]
    fn the_same_report_gives_the_same_bytes_dated_by_its_run() {
        for report in [rich(), quiet(), hostile()] {
            assert!(render(&report).expect("renders") == render(&report.clone()).expect("renders"));
        }
        let core = part(&render(&rich()).expect("renders"), "docProps/core.xml");
        assert_eq!(core.matches("2026-03-31T01:00:00Z").count(), 2, "{core}");
    }

    #[test]
    fn every_list_is_ready_for_filters_and_paper() {
        let bytes = render(&rich()).expect("renders");
        for number in 2..=15 {
            let xml = part(&bytes, &format!("xl/worksheets/sheet{number}.xml"));
            for must in ["<autoFilter ", "state=\"frozen\"", "orientation=\"landscape\"", "fitToHeight=\"0\"", "<cols>", "numberStoredAsText=\"1\""] {
                assert!(xml.contains(must), "sheet {number} has no {must}");
            }
        }
        let book = part(&bytes, "xl/workbook.xml");
        assert_eq!(book.matches("_xlnm.Print_Titles").count(), 14, "{book}");
    }

    #[test]
    fn the_first_sheet_ties_out() {
        let mut report = rich();
        report.job = "R&D".to_owned();
        let bytes = render(&report).expect("renders");
        let mut book = open(&bytes);
        let range = book.worksheet_range("Summary").expect("a sheet");
        let rows: Vec<Vec<String>> = range.rows().map(|row| row.iter().map(ToString::to_string).collect()).collect();
        let find = |first: &str, third: &str| rows.iter().find(|row| row[0] == first && row[2] == third).unwrap_or_else(|| panic!("no {first}"));
        assert!(rows[0][0].starts_with("! ACTION  R&D"));
        let sheet_total = rows.iter().find(|row| row[..3] == ["credit_limit", "EUR", "sheet"]).expect("a total");
        assert_eq!(sheet_total[11..14], ["1210251.1", "-1240.5", "crm"]);
        assert_eq!(
            find("breaks", "2")[1..],
            ["13", "2", "", "1", "0", "0", "14"].map(str::to_owned)[..].iter().cloned().chain(vec![String::new(); rows[0].len() - 8]).collect::<Vec<_>>()[..]
        );
        assert!(rows.iter().any(|row| row[0] == "EUR" && row[1] == "1253" && row[4] == "12.5" && row[7] == "1240.5"));
        assert!(rows.iter().any(|row| row[0] == "Approved"));
        assert!(part(&bytes, "xl/worksheets/sheet1.xml").contains("R&amp;&amp;D"), "an ampersand stays one on paper");
    }
}
