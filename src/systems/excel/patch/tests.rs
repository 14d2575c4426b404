//! Workbooks made by hand, part by part, and what a patch makes of their text.
#![allow(clippy::unwrap_used)]

use std::io::{Cursor, Read, Write as _};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use super::*;

const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
const OFFICE: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";

/// A workbook of parts.
struct Book {
    parts: Vec<(String, String)>,
}

impl Book {
    /// A workbook with the sheets `Data` and `Other`, both with this markup between the tags of their root.
    fn new(data: &str, other: &str) -> Book {
        let sheet = |inner: &str| {
            format!("<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\r\n<worksheet xmlns=\"{MAIN}\" xmlns:r=\"{OFFICE}\">{inner}</worksheet>")
        };
        let relation = |id: &str, kind: &str, target: &str| format!("<Relationship Id=\"{id}\" Type=\"{OFFICE}/{kind}\" Target=\"{target}\"/>");
        let relations = |inner: &str| format!("<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\">{inner}</Relationships>");
        let parts = [
            (
                "[Content_Types].xml",
                "<Types><Override PartName=\"/xl/calcChain.xml\" ContentType=\"chain\"/><Override PartName=\"/xl/workbook.xml\" ContentType=\"book\"></Override></Types>".to_owned(),
            ),
            ("_rels/.rels", relations(&relation("rId1", "officeDocument", "xl/workbook.xml"))),
            (
                "xl/workbook.xml",
                format!(
                    "<workbook xmlns=\"{MAIN}\" xmlns:r=\"{OFFICE}\"><sheets><sheet name=\"Data\" sheetId=\"7\" r:id=\"rId1\"/><sheet name=\"Other\" sheetId=\"3\" r:id=\"rId2\"/>\
                     </sheets><definedNames><definedName name=\"_xlnm._FilterDatabase\" localSheetId=\"0\" hidden=\"1\">Data!$A$1:$B$3</definedName></definedNames></workbook>"
                ),
            ),
            (
                "xl/_rels/workbook.xml.rels",
                relations(&[relation("rId1", "worksheet", "/xl/worksheets/sheet1.xml"), relation("rId2", "worksheet", "worksheets/sheet2.xml"), relation("rId3", "calcChain", "calcChain.xml")].concat()),
            ),
            ("xl/worksheets/sheet1.xml", sheet(data)),
            ("xl/worksheets/sheet2.xml", sheet(other)),
            ("xl/calcChain.xml", "<calcChain><c r=\"B1\" i=\"1\"/></calcChain>".to_owned()),
        ];
        Book { parts: parts.into_iter().map(|(name, text)| (name.to_owned(), text)).collect() }
    }

    /// The same with tables on the sheet `Data`.
    fn with_tables(mut self, tables: &[&str]) -> Book {
        let mut relations = String::new();
        for (number, table) in tables.iter().enumerate() {
            relations.push_str(&format!("<Relationship Id=\"rId{number}\" Type=\"{OFFICE}/table\" Target=\"../tables/table{number}.xml\"/>"));
            self.parts.push((format!("xl/tables/table{number}.xml"), (*table).to_owned()));
        }
        self.parts.push(("xl/worksheets/_rels/sheet1.xml.rels".to_owned(), format!("<Relationships>{relations}</Relationships>")));
        self
    }

    fn replacing(mut self, from: &str, to: &str) -> Book {
        assert!(self.parts.iter().any(|(_, text)| text.contains(from)), "{from}");
        for (_, text) in &mut self.parts {
            *text = text.replace(from, to);
        }
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (at, (name, text)) in self.parts.iter().enumerate() {
            let method = if at % 2 == 0 { CompressionMethod::Deflated } else { CompressionMethod::Stored };
            let date = DateTime::from_date_and_time(2019, 3, 1 + at as u8, 4, 5, 6).unwrap();
            writer.start_file(name, SimpleFileOptions::default().compression_method(method).last_modified_time(date)).unwrap();
            writer.write_all(text.as_bytes()).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }
}

fn part(bytes: &[u8], name: &str) -> String {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut text = String::new();
    archive.by_name(name).unwrap().read_to_string(&mut text).unwrap();
    text
}

/// The markup between the tags of the root of a sheet.
fn inner(bytes: &[u8], number: u32) -> String {
    let text = part(bytes, &format!("xl/worksheets/sheet{number}.xml"));
    let start = text.find("relationships\">").unwrap() + "relationships\">".len();
    text[start..].strip_suffix("</worksheet>").unwrap().to_owned()
}

fn set(cell: &str, value: CellValue) -> CellEdit {
    let (row, column) = area::cell_of(cell).unwrap();
    CellEdit { row, column, value, like: None }
}

fn said(text: &str) -> CellValue {
    CellValue::Text(text.to_owned())
}

fn number(text: &str) -> CellValue {
    CellValue::Number(text.to_owned())
}

fn data<'a>(cells: &'a [CellEdit], appended: &'a [Vec<CellEdit>]) -> SheetEdits<'a> {
    SheetEdits { sheet: "Data", cells, appended, removed: &[] }
}

/// What the rows of the sheet `Data` become.
fn edited(sheet: &str, cells: &[CellEdit], appended: &[Vec<CellEdit>]) -> String {
    let bytes = Book::new(sheet, "<sheetData/>").bytes();
    let patched = patch(&bytes, &data(cells, appended)).unwrap_or_else(|why| panic!("{why}"));
    let again = patch(&patched.bytes, &data(cells, &[])).unwrap();
    assert_eq!(inner(&again.bytes, 1), inner(&patched.bytes, 1), "a second time changes nothing");
    inner(&patched.bytes, 1)
}

fn refused(sheet: &str, cells: &[CellEdit], appended: &[Vec<CellEdit>]) -> String {
    patch(&Book::new(sheet, "<sheetData/>").bytes(), &data(cells, appended)).unwrap_err().to_string()
}

#[test]
fn a_cell_is_set_and_every_other_byte_stays() {
    let ab = "<sheetPr/><dimension ref=\"A1:B2\"/>\n<sheetData>\n <row r=\"1\" spans=\"1:2\" x:y=\"&amp;\"><c r=\"A1\" t=\"s\"><v>0</v></c><!-- c --><c s='3' r='B1'/></row>\n <row r=\"2\"/>\
              </sheetData><extLst><ext><c r=\"A1\"><v>9</v></c></ext></extLst>";
    for (cell, value, from, to) in [
        ("A1", said("x"), "<c r=\"A1\" t=\"s\"><v>0</v></c><!", "<c r=\"A1\" t=\"inlineStr\"><is><t xml:space=\"preserve\">x</t></is></c><!"),
        ("A1", number("-1.50"), "<c r=\"A1\" t=\"s\"><v>0</v></c><!", "<c r=\"A1\"><v>-1.50</v></c><!"),
        ("A1", CellValue::Empty, "<c r=\"A1\" t=\"s\"><v>0</v></c><!", "<c r=\"A1\"/><!"),
        ("B1", CellValue::Boolean(true), "<c s='3' r='B1'/>", "<c s='3' r='B1' t=\"b\"><v>1</v></c>"),
        ("B1", CellValue::Error, "<c s='3' r='B1'/>", "<c s='3' r='B1' t=\"e\"><v>#N/A</v></c>"),
        ("B2", CellValue::Serial("45000".to_owned()), "<row r=\"2\"/>", "<row r=\"2\"><c r=\"B2\"><v>45000</v></c></row>"),
        ("B1", CellValue::Empty, "", ""),
        ("C9", CellValue::Empty, "", ""),
    ] {
        assert_eq!(edited(ab, &[set(cell, value)], &[]), ab.replacen(from, to, 1), "{cell}");
    }
    let wider = edited(ab, &[set("D1", number("1"))], &[]);
    let expected = ab.replace("spans=\"1:2\"", "spans=\"1:4\"").replace("A1:B2", "A1:D2").replace("r='B1'/></row>", "r='B1'/><c r=\"D1\"><v>1</v></c></row>");
    assert_eq!(wider, expected);
    let deeper = edited(ab, &[set("A4", number("1")), set("B3", number("2"))], &[]);
    let rows = "<row r=\"3\"><c r=\"B3\"><v>2</v></c></row><row r=\"4\"><c r=\"A4\"><v>1</v></c></row></sheetData>";
    assert_eq!(deeper, ab.replace("A1:B2", "A1:B4").replace("</sheetData>", rows));
}

#[test]
fn cells_and_rows_without_places_are_counted() {
    let sheet = "<sheetData><row><c><v>1</v></c><c r=\"D1\"><v>4</v></c><c><v>5</v></c></row><row r=\"5\"><c/></row><row><c/><c><v>2</v></c></row></sheetData>";
    let after =
        edited(sheet, &[set("E1", number("50")), set("B1", number("20")), set("F1", number("60")), set("B6", number("9")), set("B2", number("7"))], &[]);
    assert_eq!(
        after,
        "<sheetData><row><c><v>1</v></c><c r=\"B1\"><v>20</v></c><c r=\"D1\"><v>4</v></c><c><v>50</v></c><c r=\"F1\"><v>60</v></c></row>\
         <row r=\"2\"><c r=\"B2\"><v>7</v></c></row><row r=\"5\"><c/></row><row><c/><c><v>9</v></c></row></sheetData>"
    );
}

#[test]
fn a_sheet_with_prefixes_gets_cells_with_prefixes() {
    let book = Book::new("<sheetData><row r=\"1\"><c r=\"A1\"/></row></sheetData>", "<sheetData/>");
    let book = book.replacing("<sheetData><row r=\"1\"><c r=\"A1\"/></row></sheetData>", "<x:sheetData><x:row r=\"1\"><x:c r=\"A1\"/></x:row></x:sheetData>");
    let book =
        book.replacing("<worksheet xmlns=", "<x:worksheet xmlns:x=").replacing("</worksheet>", "</x:worksheet>").replacing("<sheetData/>", "<x:sheetData/>");
    let patched = patch(&book.bytes(), &data(&[set("A1", said("a")), set("B1", number("1"))], &[])).unwrap();
    let text = part(&patched.bytes, "xl/worksheets/sheet1.xml");
    let row = "<x:row r=\"1\"><x:c r=\"A1\" t=\"inlineStr\"><x:is><x:t xml:space=\"preserve\">a</x:t></x:is></x:c><x:c r=\"B1\"><x:v>1</x:v></x:c></x:row>";
    assert!(text.contains(row), "{text}");
}

#[test]
fn rich_values_lose_what_belonged_to_the_old_value() {
    let sheet = "<sheetData><row r=\"1\"><c r=\"A1\" s=\"2\" t=\"e\" vm=\"1\" ph=\"1\"><v>#VALUE!</v><extLst><ext/></extLst></c></row></sheetData>";
    let after = edited(sheet, &[set("A1", number("1"))], &[]);
    assert_eq!(after, "<sheetData><row r=\"1\"><c r=\"A1\" s=\"2\" ph=\"1\"><v>1</v><extLst><ext/></extLst></c></row></sheetData>");
}

#[test]
fn a_new_cell_takes_the_style_it_should() {
    let sheet = "<cols><col min=\"2\" max=\"3\" style=\"5\"/></cols><sheetData><row r=\"1\"><c r=\"A1\" s=\"7\"/><c r=\"E1\"/></row><row r=\"2\" s=\"6\" customFormat=\"1\"/><row r=\"3\" s=\"6\"/></sheetData>";
    let like = |cell: &str, like: &str| CellEdit { like: area::cell_of(like), ..set(cell, number("1")) };
    let after = edited(
        sheet,
        &[
            set("B1", number("1")),
            set("B2", number("1")),
            set("B3", number("1")),
            like("C3", "A1"),
            like("C2", "E1"),
            set("D3", number("1")),
            like("B9", "Z99"),
        ],
        &[],
    );
    for cell in
        ["<c r=\"B1\" s=\"5\">", "<c r=\"B2\" s=\"6\">", "<c r=\"B3\" s=\"5\">", "<c r=\"C3\" s=\"7\">", "<c r=\"C2\">", "<c r=\"D3\">", "<c r=\"B9\" s=\"5\">"]
    {
        assert!(after.contains(cell), "{cell} in {after}");
    }
}

#[test]
fn what_is_not_free_is_refused() {
    let one = |cell: &str| [set(cell, number("1"))];
    let rows = "<row r=\"1\"><c r=\"A1\"><f>B1</f><v>1</v></c><c r=\"B1\"/></row><row r=\"2\"><c r=\"A2\"><f t=\"array\" ref=\"A2:A4\">B1:B3</f></c></row><row r=\"3\"><c r=\"A3\"><v>1</v></c></row>";
    let sheet = format!("<sheetData>{rows}</sheetData><mergeCells count=\"1\"><mergeCell ref=\"C1:D2\"/></mergeCells>");
    assert!(refused(&sheet, &one("A1"), &[]).contains("a formula would be overwritten; cells: A1"));
    assert!(refused(&sheet, &[set("A1", CellValue::Empty)], &[]).contains("a formula"));
    assert!(refused(&sheet, &one("A3"), &[]).contains("array formula"));
    assert!(refused(&sheet, &one("D2"), &[]).contains("merged cell; cells: D2"));
    assert!(edited(&sheet, &one("C1"), &[]).contains("<c r=\"C1\"><v>1</v></c>"));
    assert!(refused("<sheetData/><sheetProtection sheet=\"1\"/>", &one("A1"), &[]).contains("sheet `Data` is protected"));
    assert!(edited("<sheetData/><sheetProtection sheet=\"0\"/>", &one("A1"), &[]).contains("A1"));
    let many: Vec<_> = (0..15).map(|column| CellEdit { row: 0, column, value: number("1"), like: None }).collect();
    let formulas: String = (0..15).map(|column| format!("<c r=\"{}\"><f>1</f></c>", cell_name(0, column))).collect();
    assert!(refused(&format!("<sheetData><row r=\"1\">{formulas}</row></sheetData>"), &many, &[]).contains("J1 and 5 more"));
    for broken in [
        "<row r=\"2\"/><row r=\"1\"/>",
        "<row r=\"1\"/><row r=\"1\"/>",
        "<row r=\"1\"><c r=\"B1\"/><c r=\"A1\"/></row>",
        "<row r=\"1\"><c r=\"B2\"/></row>",
        "<row r=\"x\"/>",
    ] {
        assert!(!refused(&format!("<sheetData>{broken}</sheetData>"), &one("A1"), &[]).is_empty());
    }
    let removed = SheetEdits { removed: &[4], ..data(&[], &[]) };
    let why = patch(&Book::new("<sheetData/>", "<sheetData/>").bytes(), &removed).unwrap_err();
    assert!(why.to_string().contains("cannot be deleted") && why.to_string().contains("row 5"), "{why}");
    let missing = SheetEdits { sheet: "data", ..data(&[], &[]) };
    let why = patch(&Book::new("<sheetData/>", "<sheetData/>").bytes(), &missing).unwrap_err();
    assert_eq!(why.to_string(), "the workbook has no sheet `data`; sheets: Data, Other");
}

#[test]
fn values_that_a_workbook_cannot_hold_are_refused() {
    let sheet = "<sheetData/>";
    for wrong in ["", "1,5", "1.", ".5", "+1", "1e", "0x10", "NaN", "inf", "--1", "1 ", "1e99999", "1e400", "123456789012345678", "0.1234567890123456789"] {
        assert!(!refused(sheet, &[set("A1", number(wrong))], &[]).is_empty(), "{wrong}");
    }
    for right in [
        "0",
        "-0.00",
        "00012.340",
        "90071992547405.0e-3",
        "123456789012345",
        "0.1",
        "1e-7",
        "1E+20",
        "999999999999.99",
        "-1.7976931348623157e308",
        "100000000000000000000",
    ] {
        assert!(edited(sheet, &[set("A1", number(right))], &[]).contains(&format!("<v>{right}</v>")), "{right}");
    }
    let longest = "é".repeat(TEXT_UNITS_MAX);
    assert!(edited(sheet, &[set("A1", said(&longest))], &[]).contains(&longest));
    assert!(refused(sheet, &[set("A1", said(&format!("{}😀", "x".repeat(TEXT_UNITS_MAX - 1))))], &[]).contains("32768 characters"));
    assert!(refused(sheet, &[set("A1", number("1")), set("A1", number("1"))], &[]).contains("cell `A1` is set twice"));
    let outside = CellEdit { row: ROWS, column: 0, value: number("1"), like: None };
    assert!(refused(sheet, &[outside], &[]).contains("outside"));
}

const CHAIN: &str =
    "<sheetData><row r=\"1\"><c r=\"A1\"><v>1</v></c><c r=\"B1\" t=\"str\"><f>A1&amp;\"\"</f><v>1</v></c><c r=\"C1\"><f>D1</f><v>5</v></c></row></sheetData>";

#[test]
fn values_of_dependent_formulas_go_and_others_stay() {
    let other = "<sheetData><row r=\"1\"><c r=\"A1\" s=\"1\"><f>SUM(Data!A:A)</f><v>1</v></c><c r=\"B1\"><f>2+2</f><v>4</v></c></row></sheetData>";
    let bytes = Book::new(CHAIN, other).bytes();
    let patched = patch(&bytes, &data(&[set("A1", number("2"))], &[])).unwrap().bytes;
    assert_eq!(
        inner(&patched, 1),
        CHAIN.replace("<c r=\"A1\"><v>1<", "<c r=\"A1\"><v>2<").replace("<c r=\"B1\" t=\"str\"", "<c r=\"B1\"").replace("</f><v>1</v>", "</f>")
    );
    assert_eq!(inner(&patched, 2), other.replace("</f><v>1</v>", "</f>"));
    assert!(part(&patched, "xl/workbook.xml").contains("</definedNames><calcPr fullCalcOnLoad=\"1\"/></workbook>"));
    assert!(!part(&patched, "[Content_Types].xml").contains("calcChain"));
    assert!(part(&patched, "[Content_Types].xml").contains("workbook"));
    assert!(!part(&patched, "xl/_rels/workbook.xml.rels").contains("calcChain"));
    let names: Vec<String> = ZipArchive::new(Cursor::new(&patched)).unwrap().file_names().map(|name| name.unwrap().into_owned()).collect();
    assert_eq!(names.len(), 6);
    assert_eq!(names[0], "[Content_Types].xml");

    let untouched = patch(&bytes, &data(&[set("E1", number("2"))], &[])).unwrap().bytes;
    assert!(inner(&untouched, 1).contains("<f>D1</f><v>5</v>"));
    assert!(inner(&untouched, 2).contains("</f><v>1</v>"));
    assert!(part(&untouched, "xl/calcChain.xml").contains("calcChain"), "nothing that was computed is wrong");
}

#[test]
fn the_settings_of_computing_are_kept() {
    for (before, after) in [
        ("<calcPr calcId=\"1\"/>", "<calcPr fullCalcOnLoad=\"1\" calcId=\"1\"/>"),
        ("<calcPr fullCalcOnLoad=\"0\" calcId=\"1\"></calcPr>", "<calcPr fullCalcOnLoad=\"1\" calcId=\"1\"></calcPr>"),
        ("<calcPr fullCalcOnLoad='true'/>", "<calcPr fullCalcOnLoad='true'/>"),
    ] {
        let bytes = Book::new(CHAIN, "<sheetData/>").replacing("</workbook>", &format!("{before}<x/></workbook>")).bytes();
        let patched = patch(&bytes, &data(&[set("A1", number("2"))], &[])).unwrap().bytes;
        assert!(part(&patched, "xl/workbook.xml").ends_with(&format!("{after}<x/></workbook>")));
    }
}

#[test]
fn shared_formulas_and_arrays_lose_their_values_cell_by_cell() {
    let sheet = "<sheetData><row r=\"1\"><c r=\"A1\"><v>1</v></c><c r=\"B1\"><f t=\"shared\" ref=\"B1:B2\" si=\"0\">A1*2</f><v>2</v></c></row>\
                 <row r=\"2\"><c r=\"A2\"><v>1</v></c><c r=\"B2\"><f t=\"shared\" si=\"0\"/><v>2</v></c></row>\
                 <row r=\"3\"><c r=\"C3\"><f t=\"array\" ref=\"C3:C4\">B1:B2</f><v>2</v></c></row><row r=\"4\"><c r=\"C4\"><v>2</v></c></row></sheetData>";
    let after = edited(sheet, &[set("A2", number("3"))], &[]);
    assert!(after.contains("si=\"0\">A1*2</f><v>2</v>"), "{after}");
    assert!(after.contains("<f t=\"shared\" si=\"0\"/></c>"), "{after}");
    assert!(after.contains("B1:B2</f></c></row><row r=\"4\"><c r=\"C4\"></c>"), "{after}");
}

fn row(values: &[(u32, CellValue)]) -> Vec<CellEdit> {
    values.iter().map(|(column, value)| CellEdit { row: 999, column: *column, value: value.clone(), like: None }).collect()
}

#[test]
fn rows_are_appended_like_the_row_above() {
    let sheet = "<dimension ref=\"A1:C3\"/><sheetData><row r=\"1\"><c r=\"A1\" s=\"9\"><v>0</v></c></row><row r=\"2\"><c r=\"A2\"><v>0</v></c></row>\
                 <row r=\"3\" spans=\"1:3\" ht=\"20\" customHeight=\"1\" hidden=\"1\"><c r=\"A3\" s=\"1\"><v>1</v></c><c r=\"B3\"><v>2</v></c><c r=\"C3\" s=\"4\"/></row>\
                 <row r=\"4\"><c r=\"B4\" s=\"8\"/></row></sheetData><autoFilter ref=\"A1:B3\"/>\
                 <conditionalFormatting sqref=\"A1:A3 C3 A2:B3\"><cfRule/></conditionalFormatting><dataValidations><dataValidation sqref=\"D2:D3\"/></dataValidations>";
    let bytes = Book::new(sheet, "<sheetData/>").bytes();
    let rows = [row(&[(0, said("x")), (1, number("2"))]), row(&[(1, number("3"))])];
    let patched = patch(&bytes, &data(&[], &rows)).unwrap();
    assert_eq!(patched.first_appended_row, Some(3));
    let after = inner(&patched.bytes, 1);
    let new = "<row r=\"4\"><c r=\"A4\" s=\"1\" t=\"inlineStr\"><is><t xml:space=\"preserve\">x</t></is></c><c r=\"B4\" s=\"8\"><v>2</v></c><c r=\"C4\" s=\"4\"/></row>\
               <row r=\"5\" ht=\"20\" customHeight=\"1\"><c r=\"A5\" s=\"1\"/><c r=\"B5\"><v>3</v></c><c r=\"C5\" s=\"4\"/></row></sheetData><autoFilter ref=\"A1:B5\"/>\
               <conditionalFormatting sqref=\"A1:A5 C3 A2:B5\"><cfRule/></conditionalFormatting><dataValidations><dataValidation sqref=\"D2:D3\"/></dataValidations>";
    assert!(after.ends_with(new), "{after}");
    assert!(after.starts_with("<dimension ref=\"A1:C5\"/>"));
    assert!(part(&patched.bytes, "xl/workbook.xml").contains(">Data!$A$1:$B$5<"));
    assert!(part(&patched.bytes, "xl/calcChain.xml").contains("calcChain"));
}

#[test]
fn under_a_header_rows_have_no_style_of_it() {
    let sheet = "<sheetData><row r=\"1\" s=\"9\" customFormat=\"1\"><c r=\"A1\" s=\"9\"><v>0</v></c><c r=\"B1\" s=\"9\"/></row></sheetData>";
    let after = edited(sheet, &[], &[row(&[(0, number("1"))])]);
    assert!(after.ends_with("<row r=\"2\"><c r=\"A2\"><v>1</v></c></row></sheetData>"), "{after}");
    let bytes = Book::new("<sheetData/>", "<sheetData/>").bytes();
    let patched = patch(&bytes, &data(&[], &[row(&[(1, number("1"))])])).unwrap();
    assert_eq!(
        (patched.first_appended_row, inner(&patched.bytes, 1).as_str()),
        (Some(0), "<sheetData><row r=\"1\"><c r=\"B1\"><v>1</v></c></row></sheetData>")
    );
}

#[test]
fn rows_do_not_go_under_a_total_and_blank_prepared_rows_are_used() {
    let total = "<sheetData><row r=\"1\"><c r=\"A1\"><v>1</v></c></row><row r=\"2\"><c r=\"A2\"><v>2</v></c></row><row r=\"3\"><c r=\"A3\"><f>SUM(A1:A2)</f><v>3</v></c></row></sheetData>";
    assert!(refused(total, &[], &[row(&[(0, number("1"))])]).contains("under a total; cells: A3"));
    assert!(refused(&total.replace("<v>3</v>", ""), &[], &[row(&[(1, number("1"))])]).contains("where a total stands; cells: A3"));
    let prepared = "<sheetData><row r=\"1\"><c r=\"A1\"><v>1</v></c></row><row r=\"2\"><c r=\"A2\"><v>1</v></c><c r=\"B2\" t=\"str\"><f>IF(A2=\"\",\"\",A2)</f><v>1</v></c></row>\
                    <row r=\"3\"><c r=\"A3\" s=\"2\"/><c r=\"B3\" t=\"str\"><f>IF(A3=\"\",\"\",A3)</f><v></v></c></row></sheetData>";
    let after = edited(prepared, &[], &[row(&[(0, number("7"))])]);
    assert!(after.contains("<c r=\"A3\" s=\"2\"><v>7</v></c><c r=\"B3\"><f>IF(A3=\"\",\"\",A3)</f></c></row></sheetData>"), "{after}");
}

const TABLE_ROWS: &str = "<sheetData><row r=\"1\"><c r=\"A1\"><v>0</v></c></row><row r=\"2\"><c r=\"A2\" s=\"1\"><v>1</v></c><c r=\"B2\"><v>2</v></c><c r=\"C2\" s=\"3\"><f>A2*B2</f><v>2</v></c></row>\
                          <row r=\"3\"><c r=\"A3\" s=\"1\"><v>1</v></c><c r=\"B3\"><v>2</v></c><c r=\"C3\" s=\"3\"><f>A3*B3</f><v>2</v></c></row></sheetData>";

fn table(area: &str, attributes: &str, computed: &str) -> String {
    format!(
        "<table xmlns=\"{MAIN}\" id=\"1\" name=\"T\" displayName=\"T\" ref=\"{area}\" {attributes}><autoFilter ref=\"{area}\"/><tableColumns count=\"3\"><tableColumn id=\"1\" name=\"a\"/>\
         <tableColumn id=\"2\" name=\"b\"/><tableColumn id=\"3\" name=\"c\">{computed}</tableColumn></tableColumns></table>"
    )
}

#[test]
fn a_table_takes_the_new_rows_in_and_computes_them() {
    let computed = "<calculatedColumnFormula>A2*B2</calculatedColumnFormula>";
    let made = table("A1:C3", "", computed);
    let other = "<sheetData><row r=\"1\"><c r=\"A1\"><f>SUM(T[c])</f><v>4</v></c></row></sheetData>";
    let bytes = Book::new(TABLE_ROWS, other).with_tables(&[&made]).bytes();
    let rows = [row(&[(0, number("5")), (1, number("6"))]), row(&[(0, number("7"))])];
    let patched = patch(&bytes, &data(&[], &rows)).unwrap().bytes;
    assert_eq!(part(&patched, "xl/tables/table0.xml"), made.replace("A1:C3", "A1:C5"));
    let after = inner(&patched, 1);
    assert!(
        after.contains(
            "<c r=\"C4\" s=\"3\"><f>A4*B4</f></c></row><row r=\"5\"><c r=\"A5\" s=\"1\"><v>7</v></c><c r=\"C5\" s=\"3\"><f>A5*B5</f></c></row></sheetData>"
        ),
        "{after}"
    );
    assert!(after.contains("<f>A3*B3</f><v>2</v>"));
    assert!(inner(&patched, 2).contains("<f>SUM(T[c])</f></c>"), "it sums the new rows too");
    assert!(part(&patched, "xl/workbook.xml").contains("fullCalcOnLoad"));
}

#[test]
fn a_table_that_cannot_grow_rightly_is_left_alone() {
    let one = [row(&[(0, number("5"))])];
    let attempt = |rows: &str, tables: &[&str], appended: &[Vec<CellEdit>]| {
        let outcome = patch(&Book::new(rows, "<sheetData/>").with_tables(tables).bytes(), &data(&[], appended));
        outcome.map(|patched| part(&patched.bytes, "xl/tables/table0.xml")).map_err(|why| why.to_string())
    };
    let totals = table("A1:C3", "totalsRowCount=\"1\"", "");
    assert!(attempt(TABLE_ROWS, &[&totals], &one).unwrap_err().contains("row of totals"));
    let below = table("A5:C6", "", "").replace("\"T\"", "\"U\"");
    let two = [one[0].clone(), one[0].clone()];
    assert!(attempt(TABLE_ROWS, &[&table("A1:C3", "", ""), &below], &two).unwrap_err().contains("table `U` stands below"));
    let array = table("A1:C3", "", "<calculatedColumnFormula array=\"1\">A2*B2</calculatedColumnFormula>");
    assert!(attempt(TABLE_ROWS, &[&array], &one).unwrap_err().contains("cannot be continued"));
    let above = table("A1:C2", "", "");
    let like = [vec![CellEdit { like: Some((1, 0)), ..one[0][0].clone() }]];
    assert!(attempt(TABLE_ROWS, &[&above], &like).unwrap_err().contains("rows below it are used"));
    assert_eq!(attempt(TABLE_ROWS, &[&above], &one).unwrap(), above);
    let elsewhere = table("A1:C3", "", "").replace("A1:C3", "F1:H3");
    assert_eq!(attempt(TABLE_ROWS, &[&elsewhere], &one).unwrap(), elsewhere);
    let blank = "<sheetData><row r=\"1\"><c r=\"A1\"><v>0</v></c></row></sheetData>";
    let empty = table("A1:C2", "insertRow=\"1\"", "<calculatedColumnFormula>T[[#This Row],[a]]*2</calculatedColumnFormula>");
    assert_eq!(attempt(blank, &[&empty], &one).unwrap(), empty.replace("insertRow=\"1\"", "insertRow=\"0\""));
    let header = patch(&Book::new(TABLE_ROWS, "<sheetData/>").with_tables(&[&table("A1:C3", "", "")]).bytes(), &data(&[set("A1", said("x"))], &[]));
    assert!(header.unwrap_err().to_string().contains("header or totals of a table"));
}

#[test]
fn without_edits_the_file_is_the_same() {
    let bytes = Book::new(CHAIN, "<sheetData/>").bytes();
    assert_eq!(patch(&bytes, &data(&[], &[])).unwrap(), Patched { bytes: bytes.clone(), first_appended_row: None });
    assert_eq!(patch(&bytes, &data(&[set("Z9", CellValue::Empty)], &[])).unwrap().bytes, bytes);
}

#[test]
fn a_truth_that_is_saved_as_a_formula_is_a_value() {
    let sheet = "<sheetData><row r=\"1\"><c r=\"A1\" s=\"2\" t=\"b\"><f aca=\"false\">TRUE()</f><v>1</v></c><c r=\"B1\" t=\"b\"><f>NOT(FALSE())</f><v>1</v></c>\
                 <c r=\"C1\" t=\"b\"><f>false()</f><v>0</v></c></row></sheetData>";
    let bytes = Book::new(sheet, "<sheetData/>").bytes();
    let patched = patch(&bytes, &data(&[set("A1", CellValue::Boolean(false)), set("C1", CellValue::Empty)], &[])).unwrap().bytes;
    let expected = sheet.replace("<f aca=\"false\">TRUE()</f><v>1</v>", "<v>0</v>").replace("<c r=\"C1\" t=\"b\"><f>false()</f><v>0</v></c>", "<c r=\"C1\"/>");
    assert_eq!(inner(&patched, 1), expected);
    let has_chain = |bytes: &[u8]| ZipArchive::new(Cursor::new(bytes)).unwrap().file_names().any(|name| name.unwrap().contains("calcChain"));
    assert!(has_chain(&bytes) && !has_chain(&patched), "the chain may name the cell, which is no formula any more");
    assert!(!part(&patched, "xl/workbook.xml").contains("fullCalcOnLoad"), "nothing is to be computed");
    assert!(refused(sheet, &[set("B1", CellValue::Boolean(false))], &[]).contains("a formula would be overwritten; cells: B1"));
}

#[test]
fn folders_of_a_zip_file_may_be_separated_as_windows_does() {
    let mut book = Book::new("<sheetData/>", "<sheetData/>");
    for (name, _) in &mut book.parts {
        *name = name.replace('/', "\\");
    }
    let patched = patch(&book.bytes(), &data(&[set("A1", number("1"))], &[])).unwrap().bytes;
    let text = part(&patched, "xl\\worksheets\\sheet1.xml");
    assert!(text.contains("<c r=\"A1\"><v>1</v></c>"), "{text}");
}

#[test]
fn a_refusal_tells_what_would_have_to_be_left_out() {
    let concerns = |sheet: &str, edits: &[CellEdit], appended: &[Vec<CellEdit>]| {
        patch(&Book::new(sheet, "<sheetData/>").bytes(), &data(edits, appended)).unwrap_err().concerns
    };
    let total = "<sheetData><row r=\"1\"><c r=\"A1\"><v>1</v></c></row><row r=\"2\"><c r=\"A2\"><v>1</v></c></row>\
                 <row r=\"3\"><c r=\"A3\"><f>SUM(A1:A2)</f><v>2</v></c></row></sheetData>";
    assert_eq!(concerns(total, &[], &[row(&[(0, number("1"))])]), Concern::Appending);
    assert_eq!(concerns(total, &[set("A3", number("1"))], &[]), Concern::Cells);
    assert_eq!(concerns(total, &[set("A1", number("x"))], &[]), Concern::Cells);
    assert_eq!(concerns("<sheetData/><sheetProtection sheet=\"1\"/>", &[set("A1", number("1"))], &[]), Concern::Workbook);
}
