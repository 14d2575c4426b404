//! A comparison of two files for people: as one page, and as a workbook.
//!
//! Every text of the files is escaped by the page's writer, and is text in the workbook, whatever it looks like.

use rust_xlsxwriter::{Color, Format, FormatAlign, Workbook, XlsxError};

use super::comparison::{Change, Compared, Difference, Findings, told};
use super::html::{PAGE_STYLE, Skin, Writer};
use super::shown::{count, visible};

/// A page shows this many differences.
pub const PAGE_ROWS_MAX: usize = 5_000;

/// A workbook has room for this many cells of differences.
pub const WORKBOOK_CELLS_MAX: usize = 2_000_000;

/// A cell of a workbook holds this many UTF-16 units.
const CELL_UNITS_MAX: usize = 32_767;

/// A sheet has this many columns.
const COLUMNS_MAX: usize = 16_384;

fn more(findings: &Findings, shown: &[Difference]) -> Option<String> {
    let more = findings.differences().saturating_sub(shown.len() as u64);
    (more > 0).then(|| format!("{} more are not shown here: write a file that ends in .csv, .jsonl or .parquet to have all.", count(more)))
}

/// One HTML file without scripts and without links to the outside.
pub fn page(compared: &Compared, findings: &Findings, shown: &[Difference]) -> String {
    let mut out = Writer::new(Skin::Page);
    out.raw("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    out.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">");
    out.raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">");
    out.raw("<meta name=\"referrer\" content=\"no-referrer\"><title>");
    out.text(&format!("{} → {}", visible(&compared.files[0]), visible(&compared.files[1])));
    out.raw("</title><style>");
    out.raw(PAGE_STYLE);
    out.raw("</style></head>\n<body><main><header>");
    out.element("h1", "", &format!("{} → {}", visible(&compared.files[0]), visible(&compared.files[1])));
    for line in compared.head(findings) {
        out.element("p", "", line.trim_start());
    }
    out.raw("</header>");
    if !shown.is_empty() {
        out.raw("<section><div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Differences\"><table class=\"list\"><caption>Differences</caption><thead><tr>");
        for heading in ["Key", "What", "Where", "Field", "A", "B"] {
            out.open_with("th", "", &[("scope", "col")]);
            out.text(heading);
            out.close("th");
        }
        out.raw("</tr></thead><tbody>");
        for difference in shown {
            rows(&mut out, compared, difference);
        }
        out.raw("</tbody></table></div>");
        if let Some(more) = more(findings, shown) {
            out.element("p", "more", &more);
        }
        out.raw("</section>");
    }
    out.raw("</main></body></html>\n");
    out.html
}

/// The rows of one difference: one for each field that differs.
fn rows(out: &mut Writer, compared: &Compared, difference: &Difference) {
    let key: Vec<String> = difference.key.iter().map(|part| told(Some(part))).collect();
    let cell = |out: &mut Writer, class: &'static str, label: &str, text: &str| {
        out.open_with("td", "", &[("data-label", label)]);
        out.element(
            if class == "gone" {
                "del"
            } else if class == "new" {
                "ins"
            } else {
                "div"
            },
            class,
            text,
        );
        out.close("td");
    };
    let lead = |out: &mut Writer| {
        out.raw("<tr>");
        out.open_with("th", "", &[("scope", "row")]);
        out.element("div", "", &key.join(", "));
        out.close("th");
        cell(out, "", "What", difference.change.word());
        cell(out, "quiet", "Where", &compared.places(difference));
    };
    if difference.change == Change::Changed {
        for field in &difference.fields {
            lead(out);
            cell(out, "", "Field", &visible(&compared.fields[field.field as usize]));
            cell(out, "gone", "A", &told(field.old.as_deref()));
            cell(out, "new", "B", &told(field.new.as_deref()));
            out.raw("</tr>");
        }
        return;
    }
    lead(out);
    let all = match &difference.unread {
        Some((why, raw)) => format!("{why}: {}", visible(raw)),
        None => compared.all_fields(difference),
    };
    cell(out, "", "Field", "");
    let is_in_a = difference.lines[0].is_some();
    cell(out, "", "A", if is_in_a { &all } else { "" });
    cell(out, "", "B", if is_in_a { "" } else { &all });
    out.raw("</tr>");
}

/// The bytes of an `.xlsx` file: what was found, and a row for each difference.
///
/// # Errors
/// Why it cannot be made.
pub fn workbook(compared: &Compared, findings: &Findings, shown: &[Difference]) -> Result<Vec<u8>, String> {
    let headings = compared.headings();
    if headings.len() > COLUMNS_MAX {
        return Err(format!("it would have {} columns, a sheet has at most {COLUMNS_MAX}", headings.len()));
    }
    book(compared, findings, shown, &headings).map_err(|error| error.to_string())
}

fn book(compared: &Compared, findings: &Findings, shown: &[Difference], headings: &[String]) -> Result<Vec<u8>, XlsxError> {
    let text = || Format::new().set_num_format("@").set_align(FormatAlign::Top);
    let (plain, head) = (text(), text().set_bold().set_background_color(Color::RGB(0x00E8_ECF1)));
    let (gone, new) = (text().set_font_color(Color::RGB(0x00A3_171B)), text().set_font_color(Color::RGB(0x0014_683A)));
    let number = Format::new().set_num_format("0").set_align(FormatAlign::Top);
    let mut book = Workbook::new();
    let sheet = book.add_worksheet().set_name("Summary")?;
    sheet.set_column_width(0, 100)?;
    for (row, line) in (0..).zip(compared.head(findings).into_iter().chain(more(findings, shown))) {
        sheet.write_string_with_format(row, 0, fitting(line.trim_start()), &plain)?;
    }
    let sheet = book.add_worksheet().set_name("Differences")?;
    for (column, heading) in (0..).zip(headings) {
        sheet.write_string_with_format(0, column, fitting(&visible(heading)), &head)?;
    }
    // Between the names of the fields and the note, A and B take turns.
    let first = 4 + compared.key.len();
    for (row, difference) in (1..).zip(shown) {
        for (column, cell) in (0_u16..).zip(compared.row(difference)) {
            let Some(cell) = cell else { continue };
            let at = usize::from(column);
            let line = if at == 1 || at == 2 { difference.lines[at - 1] } else { None };
            if let Some(line) = line {
                sheet.write_number_with_format(row, column, line as f64, &number)?;
                continue;
            }
            let format = match at.checked_sub(first) {
                Some(place) if at + 1 < headings.len() => [&gone, &new][place % 2],
                _ => &plain,
            };
            sheet.write_string_with_format(row, column, fitting(&cell), format)?;
        }
    }
    sheet.set_freeze_panes(1, 0)?;
    let (rows, columns) = (u32::try_from(shown.len()).unwrap_or(u32::MAX), u16::try_from(headings.len()).unwrap_or(u16::MAX));
    sheet.autofilter(0, 0, rows, columns.saturating_sub(1))?;
    book.save_to_buffer()
}

/// A text as far as a cell holds it.
fn fitting(text: &str) -> String {
    if text.len() <= CELL_UNITS_MAX || text.encode_utf16().count() <= CELL_UNITS_MAX {
        return text.to_owned();
    }
    let mut units = 0;
    let kept = text.chars().take_while(|character| {
        units += character.len_utf16();
        units < CELL_UNITS_MAX
    });
    let kept: String = kept.collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::comparison::FieldDifference;

    fn found() -> (Compared, Findings, Vec<Difference>) {
        let compared = Compared {
            files: ["a<b>.csv".to_owned(), "b.csv".to_owned()],
            key: vec!["change".to_owned()],
            fields: vec!["=name".to_owned()],
            fields_b: vec!["name".to_owned()],
            ..Compared::default()
        };
        let field = |old: Option<&str>, new: Option<&str>| vec![FieldDifference { field: 0, old: old.map(str::to_owned), new: new.map(str::to_owned) }];
        let difference = |change, lines, fields| Difference { change, lines, key: vec!["=1+1".to_owned()], fields, unread: None };
        let differences = vec![
            difference(Change::Changed, [Some(2), Some(3)], field(Some("<script>alert('x')</script>"), Some("=cmd|' /C calc'!A0"))),
            difference(Change::Added, [None, Some(4)], field(None, Some("\u{202e}gnp"))),
        ];
        (compared, Findings { changed: 1, added: 2, by_field: vec![1], ..Findings::default() }, differences)
    }

    #[test]
    fn no_text_becomes_markup() {
        let (compared, findings, differences) = found();
        let page = page(&compared, &findings, &differences);
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;alert(&#39;x&#39;)") && page.contains("[U+202E]gnp"), "{page}");
        assert!(page.contains("a&lt;b&gt;.csv") && page.contains("1 more are not shown here"), "{page}");
    }

    #[test]
    fn headings_are_no_two_the_same_and_rows_stand_under_them() {
        let (compared, _, differences) = found();
        assert_eq!(compared.headings(), ["change", "line_a", "line_b", "change_", "fields", "=name (A)", "=name (B)", "note"]);
        let cells =
            |row: usize| compared.row(&differences[row]).into_iter().map(|cell| cell.map_or("none".to_owned(), |cell| cell.into_owned())).collect::<Vec<_>>();
        assert_eq!(cells(0), ["changed", "2", "3", "=1+1", "=name", "<script>alert('x')</script>", "=cmd|' /C calc'!A0", "none"]);
        assert_eq!(cells(1), ["added", "none", "4", "=1+1", "none", "none", "\u{202e}gnp", "none"]);
    }

    #[test]
    fn texts_of_a_workbook_are_no_formulas() {
        use calamine::Reader;
        let (compared, findings, mut differences) = found();
        differences[1].fields[0].new = Some("😀".repeat(40_000));
        let bytes = workbook(&compared, &findings, &differences).expect("a workbook");
        let mut book: calamine::Xlsx<_> = calamine::Xlsx::new(std::io::Cursor::new(bytes)).expect("a workbook");
        let sheet = book.worksheet_range("Differences").expect("a sheet");
        assert_eq!(sheet.get_value((1, 6)).map(ToString::to_string).as_deref(), Some("=cmd|' /C calc'!A0"));
        assert_eq!(sheet.get_value((1, 1)), Some(&calamine::Data::Float(2.0)));
        assert!(book.worksheet_formula("Differences").expect("formulas").is_empty());
    }
}
