//! Workbooks made by LibreOffice, openpyxl and rust_xlsxwriter are patched, and read back by those and by calamine.
//!
//! A test that needs `soffice` or openpyxl says so on standard error and passes where they are missing.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use calamine::{Data, Reader, Xlsx};
use proptest::prelude::*;
use rust_xlsxwriter::{Format, Formula, Table, TableColumn, Workbook};
use tieout::systems::excel::patch::{CellEdit, CellValue, PatchError, Patched, SheetEdits, patch};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

fn set(row: u32, column: u32, value: CellValue) -> CellEdit {
    CellEdit { row, column, value, like: None }
}

fn text(said: &str) -> CellValue {
    CellValue::Text(said.to_owned())
}

fn number(said: &str) -> CellValue {
    CellValue::Number(said.to_owned())
}

fn patched(bytes: &[u8], sheet: &str, cells: &[CellEdit], appended: &[Vec<CellEdit>]) -> Result<Patched, PatchError> {
    patch(bytes, &SheetEdits { sheet, cells, appended, removed: &[] })
}

/// Name, date, flags, attributes and compressed bytes of every entry, in the order of the directory.
fn entries(bytes: &[u8]) -> Vec<(String, String, Vec<u8>)> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).expect("a zip file");
    (0..archive.len())
        .map(|index| {
            let mut entry = archive.by_index_raw(index).expect("an entry");
            let about =
                format!("{:?} {:?} {:?} {:?} {:?}", entry.last_modified(), entry.flags(), entry.compression(), entry.external_attributes(), entry.extra_data());
            let name = entry.name().expect("a name").into_owned();
            let mut raw = Vec::new();
            entry.read_to_end(&mut raw).expect("its bytes");
            (name, about, raw)
        })
        .collect()
}

/// Every entry but the named ones is the same to the byte, and in the same order; `gone` entries are left out.
fn assert_others_same(before: &[u8], after: &[u8], changed: &[&str], gone: &[&str]) {
    let (before, after) = (entries(before), entries(after));
    let kept: Vec<_> = before.iter().filter(|(name, _, _)| !gone.contains(&name.as_str())).collect();
    assert_eq!(kept.iter().map(|entry| &entry.0).collect::<Vec<_>>(), after.iter().map(|entry| &entry.0).collect::<Vec<_>>());
    for (before, after) in kept.into_iter().zip(&after) {
        assert_eq!(before != after, changed.contains(&after.0.as_str()), "{}", after.0);
    }
}

fn cell(bytes: &[u8], sheet: &str, row: u32, column: u32) -> Data {
    let mut book: Xlsx<_> = Xlsx::new(Cursor::new(bytes)).expect("calamine opens it");
    book.worksheet_range(sheet).expect("the sheet").get_value((row, column)).cloned().unwrap_or(Data::Empty)
}

/// Whether a program is there; says that a test is skipped if it is not.
pub fn is_there(program: &str, arguments: &[&str], test: &str) -> bool {
    let is_there = Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success());
    if !is_there {
        eprintln!("SKIPPED: {test}: `{program} {}` does not work here", arguments.join(" "));
    }
    is_there
}

pub fn has_openpyxl(test: &str) -> bool {
    is_there("python3", &["-c", "import openpyxl"], test)
}

/// Runs a Python program with arguments; what it prints.
pub fn python(program: &str, arguments: &[&Path]) -> String {
    let output = Command::new("python3").arg("-c").arg(program).args(arguments).env("PYTHONIOENCODING", "utf-8").output().expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Converts a file with LibreOffice into the same folder.
pub fn converted(folder: &Path, file: &str, to: &str) -> PathBuf {
    let profile = format!("-env:UserInstallation=file://{}", folder.join("profile").display());
    let output = Command::new("soffice")
        .arg("--headless")
        .arg(profile)
        .args(["--infilter=CSV:44,34,76,1"].iter().filter(|_| file.ends_with("csv")))
        .args(["--convert-to", to, "--outdir"])
        .arg(folder)
        .arg(folder.join(file))
        .output();
    let output = output.expect("soffice runs");
    let extension = to.split(':').next().unwrap_or(to);
    let made = folder.join(file).with_extension(extension);
    assert!(made.exists(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    made
}

/// A workbook with whatever openpyxl can make.
const RICH: &str = r##"
import sys, openpyxl, datetime
from openpyxl.styles import Font, PatternFill, Border, Side
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.formatting.rule import CellIsRule, ColorScaleRule
from openpyxl.comments import Comment
from openpyxl.chart import BarChart, Reference
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet.table import Table, TableStyleInfo
wb = openpyxl.Workbook()
ws = wb.active
ws.title = "Kunden & Co"
ws.append(["id", "name", "amount", "due", "gross"])
for i in range(2, 12):
    ws.append([f"{i:05d}", f"Müller {i}", i * 10.25, datetime.date(2026, 2, i), f"=C{i}*1.19"])
    ws.cell(i, 4).number_format = "dd.mm.yyyy"
    ws.cell(i, 1).number_format = "@"
    ws.cell(i, 2).font = Font(bold=True, color="FF0000")
    ws.cell(i, 3).border = Border(bottom=Side(style="thin"))
ws["G1"] = "=SUM(C2:C11)"
ws["G2"] = "=NOW()"
ws["G3"] = "=Rate*2"
ws["H5"].fill = PatternFill("solid", fgColor="FFFF00")
ws.merge_cells("J1:K3"); ws["J1"] = "merged"
dv = DataValidation(type="list", formula1='"a,b"', allow_blank=True); ws.add_data_validation(dv); dv.add("B2:B11")
ws.conditional_formatting.add("C2:C11", CellIsRule(operator="greaterThan", formula=["50"], font=Font(color="00FF00")))
ws.conditional_formatting.add("C2:C11", ColorScaleRule(start_type="min", start_color="AA0000", end_type="max", end_color="00AA00"))
ws["B3"].comment = Comment("look here", "me")
ws.row_dimensions[5].hidden = True
ws.column_dimensions["F"].hidden = True
ws.freeze_panes = "B2"
ws.auto_filter.ref = "A1:E11"
ws.print_title_rows = "1:1"; ws.print_area = "A1:E11"; ws.page_setup.orientation = "landscape"
ws["M1"].hyperlink = "https://example.com/?a=1&b=2"
other = wb.create_sheet("Other")
other["A1"] = "='Kunden & Co'!C3+1"
other["A2"] = "=1+1"
other["B1"] = 0.5
chart = BarChart(); chart.add_data(Reference(ws, min_col=3, min_row=1, max_row=11), titles_from_data=True); other.add_chart(chart, "D4")
wb.defined_names["Rate"] = DefinedName("Rate", attr_text="Other!$B$1")
third = wb.create_sheet("Table")
third.append(["k", "v"])
for i in range(5): third.append([i, i * i])
t = Table(displayName="T1", ref="A1:B6"); t.tableStyleInfo = TableStyleInfo(name="TableStyleMedium9", showRowStripes=True); third.add_table(t)
hidden = wb.create_sheet("Hidden"); hidden.sheet_state = "hidden"; hidden["A1"] = "secret"
wb.save(sys.argv[1])
"##;

/// Everything that openpyxl says about a workbook but the values of the cells of one sheet, one thing a line.
const ABOUT: &str = r##"
import sys, openpyxl
wb = openpyxl.load_workbook(sys.argv[1])
for ws in wb.worksheets:
    print(ws.title, ws.sheet_state, ws.freeze_panes, ws.auto_filter.ref, sorted(map(str, ws.merged_cells.ranges)), ws.print_area, ws.print_title_rows, ws.page_setup.orientation)
    print(sorted((k, d.hidden) for k, d in ws.row_dimensions.items() if d.hidden), sorted((k, d.hidden, d.width) for k, d in ws.column_dimensions.items()))
    print([(str(d.sqref), d.type, d.formula1) for d in ws.data_validations.dataValidation])
    print(sorted((str(r.sqref), rule.type) for r in ws.conditional_formatting for rule in r.rules))
    print(len(ws._charts), [(t.name, t.ref) for t in ws.tables.values()])
    for row in ws.iter_rows():
        for c in row:
            if c.has_style or c.comment or c.hyperlink: print(c.coordinate, c.number_format, c.font.b, c.fill.fgColor.rgb, c.border.bottom.style, c.comment and c.comment.text, c.hyperlink and c.hyperlink.target)
print(sorted((k, v.attr_text) for k, v in wb.defined_names.items()))
"##;

/// The values of the cells of one sheet.
const VALUES: &str = r##"
import sys, openpyxl
ws = openpyxl.load_workbook(sys.argv[1])[open(sys.argv[2], encoding="utf-8").read()]
for row in ws.iter_rows():
    for c in row:
        if c.value is not None: print(c.coordinate, c.data_type, ascii(c.value))
"##;

#[test]
fn a_workbook_of_openpyxl_keeps_everything_else() {
    if !has_openpyxl("a_workbook_of_openpyxl_keeps_everything_else") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (file, after, name) = (folder.path().join("rich.xlsx"), folder.path().join("after.xlsx"), folder.path().join("sheet"));
    python(RICH, &[&file]);
    fs::write(&name, "Kunden & Co").expect("written");
    let before = fs::read(&file).expect("a workbook");
    let cells = [
        set(2, 2, number("99.95")),
        set(2, 1, text("Ärger & <Söhne>\nzwei")),
        set(4, 7, text("=1+1")),
        set(5, 3, CellValue::Serial("46100".to_owned())),
        set(6, 1, CellValue::Empty),
    ];
    let made = patched(&before, "Kunden & Co", &cells, &[]).expect("it can be patched").bytes;
    fs::write(&after, &made).expect("written");
    assert_others_same(&before, &made, &["xl/worksheets/sheet1.xml"], &[]);
    assert_eq!(python(ABOUT, &[&file]), python(ABOUT, &[&after]));
    let (old, new) = (python(VALUES, &[&file, &name]), python(VALUES, &[&after, &name]));
    let changed: Vec<&str> = new.lines().filter(|line| !old.lines().any(|other| other == *line)).collect();
    assert_eq!(changed, [r"B3 s '\xc4rger & <S\xf6hne>\nzwei'", "C3 n 99.95", "H5 s '=1+1'", "D6 d datetime.datetime(2026, 3, 19, 0, 0)"]);
    assert_eq!(new.lines().count(), old.lines().count(), "one came, one went");
    assert_eq!(cell(&made, "Kunden & Co", 4, 7), Data::String("=1+1".to_owned()));

    let row = vec![set(0, 0, text("00099")), set(0, 2, number("1.10")), CellEdit { like: Some((10, 3)), ..set(0, 3, CellValue::Serial("46100".to_owned())) }];
    let grown = patched(&before, "Kunden & Co", &[], &[row]).expect("it can grow");
    assert_eq!(grown.first_appended_row, Some(11));
    fs::write(&after, &grown.bytes).expect("written");
    let about = python(ABOUT, &[&after]);
    for line in ["('B2:B12', 'list'", "('C2:C12', 'cellIs')", "A12 @ False", "C12 General False 00000000 thin", "D12 dd.mm.yyyy", "A1:E12"] {
        assert!(about.contains(line), "{line} in {about}");
    }
    assert_others_same(&before, &grown.bytes, &["xl/worksheets/sheet1.xml", "xl/workbook.xml"], &[]);
}

#[test]
fn a_table_of_openpyxl_grows() {
    if !has_openpyxl("a_table_of_openpyxl_grows") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rich.xlsx");
    python(RICH, &[&file]);
    let before = fs::read(&file).expect("a workbook");
    let made = patched(&before, "Table", &[], &[vec![set(0, 0, number("9")), set(0, 1, number("81"))]]).expect("it can grow").bytes;
    assert_others_same(&before, &made, &["xl/worksheets/sheet3.xml", "xl/tables/table1.xml"], &[]);
    fs::write(&file, &made).expect("written");
    assert!(python(ABOUT, &[&file]).contains("('T1', 'A1:B7')"));
}

/// A workbook with computed values, as a spreadsheet saves it.
fn computed() -> Vec<u8> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet().set_name("Data").expect("a name");
    sheet.write_row(0, 0, ["qty", "price", "total", "note"]).expect("written");
    for (row, (quantity, price)) in [(2.0, 1.5), (3.0, 2.25), (4.0, 10.0)].into_iter().enumerate() {
        let row = row as u32 + 1;
        sheet.write(row, 0, quantity).expect("written");
        sheet.write_with_format(row, 1, price, &Format::new().set_num_format("#,##0.00")).expect("written");
        sheet.write_formula(row, 2, Formula::new(format!("=A{}*B{}", row + 1, row + 1)).set_result((quantity * price).to_string())).expect("written");
    }
    let sheet = book.add_worksheet().set_name("Summary").expect("a name");
    sheet.write_formula(0, 0, Formula::new("=SUM(Data!C2:C4)").set_result("49.75")).expect("written");
    sheet.write_formula(1, 0, Formula::new("=Data!C4").set_result("40")).expect("written");
    let sheet = book.add_worksheet().set_name("Tables").expect("a name");
    let table = Table::new()
        .set_name("Sales")
        .set_columns(&[TableColumn::new().set_header("qty"), TableColumn::new().set_header("twice").set_formula("=Sales[[#This Row],[qty]]*2")]);
    sheet.write(1, 0, 1).and_then(|sheet| sheet.write(2, 0, 2)).expect("written");
    sheet.add_table(0, 0, 2, 1, &table).expect("a table");
    for (row, twice) in [(1, "2"), (2, "4")] {
        sheet.write_formula(row, 1, Formula::new("=Sales[[#This Row],[qty]]*2").set_result(twice)).expect("written");
    }
    sheet.write_formula(0, 4, Formula::new("=SUM(Sales[twice])").set_result("6")).expect("written");
    book.save_to_buffer().expect("saved")
}

#[test]
fn no_reader_sees_a_computed_value_of_yesterday() {
    let before = computed();
    let made = patched(&before, "Data", &[set(2, 0, number("5"))], &[]).expect("patched").bytes;
    assert_eq!(cell(&made, "Data", 1, 2), Data::Float(3.0), "another row keeps its value");
    assert_eq!(cell(&made, "Data", 2, 2), Data::Empty);
    assert_eq!(cell(&made, "Summary", 0, 0), Data::Empty);
    assert_eq!(cell(&made, "Summary", 1, 0), Data::Float(40.0));
    assert_others_same(&before, &made, &["xl/worksheets/sheet1.xml", "xl/worksheets/sheet2.xml"], &[]);
}

#[test]
fn libreoffice_computes_what_depends() {
    if !is_there("soffice", &["--version"], "libreoffice_computes_what_depends") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let rows = [vec![set(0, 0, number("7"))]];
    let grown = patched(&computed(), "Tables", &[], &rows).expect("grown").bytes;
    let made = patched(&grown, "Data", &[set(2, 0, number("5")), set(3, 3, text("  =1+1 ä\n\"q\""))], &[]).expect("patched").bytes;
    fs::write(folder.path().join("made.xlsx"), made).expect("written");
    let every_sheet = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false,false,false,-1";
    let output = Command::new("soffice")
        .arg("--headless")
        .arg(format!("-env:UserInstallation=file://{}", folder.path().join("profile").display()))
        .args(["--convert-to", every_sheet, "--outdir"])
        .arg(folder.path())
        .arg(folder.path().join("made.xlsx"))
        .output()
        .expect("soffice runs");
    let read = |sheet: &str| fs::read_to_string(folder.path().join(format!("made-{sheet}.csv"))).unwrap_or_else(|why| panic!("{why} {output:?}"));
    assert_eq!(read("Data"), "qty,price,total,note\n2,1.5,3,\n5,2.25,11.25,\n4,10,40,\"  =1+1 ä\n\"\"q\"\"\"\n");
    assert_eq!(read("Summary"), "54.25\n40\n");
    assert_eq!(read("Tables"), "qty,twice,,,20\n1,2,,,\n2,4,,,\n7,14,,,\n");
}

#[test]
fn a_workbook_of_libreoffice_is_patched() {
    if !is_there("soffice", &["--version"], "a_workbook_of_libreoffice_is_patched") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("made.csv"), "id,name,amount\n1,Müller,1.50\n2,Weiß,2.50\n,,=C2+C3\n").expect("written");
    let before = fs::read(converted(folder.path(), "made.csv", "xlsx")).expect("a workbook");
    let made = patched(&before, "made", &[set(1, 1, text("Ä😀")), set(1, 2, number("7.25")), set(2, 3, CellValue::Boolean(true))], &[]).expect("patched").bytes;
    assert_others_same(&before, &made, &["xl/worksheets/sheet1.xml", "xl/workbook.xml"], &[]);
    fs::write(folder.path().join("again.xlsx"), &made).expect("written");
    let csv = fs::read_to_string(converted(folder.path(), "again.xlsx", "csv:Text - txt - csv (StarCalc):44,34,76,1")).expect("a file");
    assert_eq!(csv, "\"id\",\"name\",\"amount\",\n1,\"Ä😀\",7.25,\n2,\"Weiß\",2.5,TRUE\n,,9.75,\n");
    assert!(patched(&before, "made", &[], &[vec![set(0, 0, number("3"))]]).is_ok(), "a sum of two cells is not taken for a total");
}

#[test]
fn truths_that_libreoffice_saved_are_overwritten() {
    if !is_there("soffice", &["--version"], "truths_that_libreoffice_saved_are_overwritten") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut book = Workbook::new();
    let sheet = book.add_worksheet().set_name("Data").expect("a name");
    for (row, truth) in (0..).zip([true, false, true]) {
        sheet.write(row, 0, truth).expect("written");
    }
    sheet.write(0, 1, Formula::new("COUNTIF(A1:A3,TRUE)")).expect("written");
    book.save(folder.path().join("made.xlsx")).expect("saved");
    converted(folder.path(), "made.xlsx", "ods");
    let before = fs::read(converted(folder.path(), "made.ods", "xlsx")).expect("a workbook");
    let part = String::from_utf8(parts(&before).into_iter().find(|(name, _)| name == "xl/worksheets/sheet1.xml").expect("a sheet").1).expect("text");
    assert!(part.contains("TRUE()"), "LibreOffice saves truths as formulas: {part}");
    let made = patched(&before, "Data", &[set(0, 0, CellValue::Boolean(false)), set(1, 0, CellValue::Boolean(true))], &[]).expect("patched").bytes;
    assert_eq!((cell(&made, "Data", 0, 0), cell(&made, "Data", 1, 0), cell(&made, "Data", 2, 0)), (Data::Bool(false), Data::Bool(true), Data::Bool(true)));
    let refused = patched(&before, "Data", &[set(0, 1, number("1"))], &[]).expect_err("a formula");
    assert!(refused.to_string().contains("a formula would be overwritten; cells: B1"), "{refused}");
    fs::write(folder.path().join("again.xlsx"), &made).expect("written");
    let csv = fs::read_to_string(converted(folder.path(), "again.xlsx", "csv:Text - txt - csv (StarCalc):44,34,76,1")).expect("a file");
    assert_eq!(csv, "FALSE,2\nTRUE,\nTRUE,\n");
}

/// Texts that do not survive careless hands.
const TRAPS: [&str; 16] = [
    "",
    " ",
    "  leading",
    "trailing \t",
    "two\nlines\n",
    "\r\ncarriage\r",
    "=1+1",
    "+49 30 1234",
    "_x0041_",
    "_x005F_x0041_",
    "_x0041\r",
    "a&b<c>d\"e'f",
    "]]>",
    "😀 ß İ \u{301}",
    "\u{1}\u{1f}\u{7f}\u{fffe}",
    "00042",
];

#[test]
fn every_text_comes_back() {
    let before = computed();
    let cells: Vec<CellEdit> = TRAPS.iter().zip(10..).map(|(trap, row)| set(row, 5, text(trap))).collect();
    let made = patched(&before, "Data", &cells, &[]).expect("patched").bytes;
    for (trap, row) in TRAPS.iter().zip(10..) {
        assert_eq!(cell(&made, "Data", row, 5), Data::String((*trap).to_owned()));
    }
}

/// The parts of a workbook, zipped in some way.
fn zipped(parts: &[(String, Vec<u8>)], options: SimpleFileOptions) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in parts {
        writer.start_file(name, options).expect("started");
        writer.write_all(content).expect("written");
    }
    writer.set_comment("a comment").expect("a comment");
    writer.finish().expect("finished").into_inner()
}

fn parts(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).expect("a zip file");
    (0..archive.len())
        .map(|index| {
            let mut entry = archive.by_index(index).expect("an entry");
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("its content");
            (entry.name().expect("a name").into_owned(), content)
        })
        .collect()
}

#[test]
fn every_kind_of_zip_file_is_copied_raw_or_refused() {
    let parts = parts(&computed());
    let plain = SimpleFileOptions::default();
    let streamed = {
        let mut writer = ZipWriter::new_stream(Vec::new());
        for (name, content) in &parts {
            writer.start_file(name, plain).expect("started");
            writer.write_all(content).expect("written");
        }
        writer.finish().expect("finished").into_inner()
    };
    let mut with_odd_name = parts.clone();
    with_odd_name.push(("xl/media/größe.bin".to_owned(), vec![1, 2, 3]));
    let stored = zipped(&parts, plain.compression_method(CompressionMethod::Stored));
    let odd = zipped(&with_odd_name, plain);
    for (what, before) in [
        ("streamed", &streamed),
        ("zip64", &zipped(&parts, plain.large_file(true))),
        ("stored", &stored),
        ("odd name", &odd),
        ("plain", &zipped(&parts, plain)),
    ] {
        let made = patched(before, "Data", &[set(1, 3, text("x"))], &[]).unwrap_or_else(|why| panic!("{what}: {why}")).bytes;
        assert_others_same(before, &made, &["xl/worksheets/sheet1.xml"], &[]);
        assert_eq!(cell(&made, "Data", 1, 3), Data::String("x".to_owned()), "{what}");
        assert_eq!(patched(before, "Data", &[set(1, 3, text("x"))], &[]).expect("patched").bytes, made, "{what}: the same again");
        assert_eq!(patched(&made, "Data", &[set(1, 3, text("x"))], &[]).expect("patched").bytes, made, "{what}: nothing to do");
    }
    let plain = zipped(&parts, plain);
    let mut legacy_name = odd.clone();
    let (utf8, legacy) = ("größe".as_bytes(), b"gr\x94\xe1e..".as_slice());
    for at in (0..legacy_name.len() - utf8.len()).rev().filter(|at| legacy_name[*at..].starts_with(utf8)).collect::<Vec<_>>() {
        legacy_name[at..at + utf8.len()].copy_from_slice(legacy);
        let (flags, start) = if legacy_name[at - 55..].starts_with(b"PK\x01\x02") { (8, at - 55) } else { (6, at - 39) };
        legacy_name[start + flags + 1] &= !8;
    }
    let made = patched(&legacy_name, "Data", &[set(1, 3, text("x"))], &[]).expect("patched").bytes;
    assert_others_same(&legacy_name, &made, &["xl/worksheets/sheet1.xml"], &[]);
    assert!(made.windows(legacy.len()).filter(|bytes| *bytes == legacy).count() == 2);

    let refused = |bytes: &[u8]| patched(bytes, "Data", &[set(1, 3, text("x"))], &[]).expect_err("refused").to_string();
    let mut encrypted = plain.clone();
    let record = encrypted.windows(4).position(|bytes| bytes == b"PK\x01\x02").expect("a directory");
    encrypted[record + 8] |= 1;
    encrypted[6] |= 1;
    assert!(refused(&encrypted).contains("is encrypted"), "{}", refused(&encrypted));
    let mut twice = parts.clone();
    twice.push(("XL/workbook.xml".to_owned(), Vec::new()));
    assert!(refused(&zipped(&twice, SimpleFileOptions::default())).contains("two entries are called"));
    assert!(refused(&[b"junk".as_slice(), &plain].concat()).contains("before its content"));
    assert!(!refused(&[plain.as_slice(), b"junk"].concat()).is_empty());
    assert!(!refused(&plain[..plain.len() / 2]).is_empty());
    assert!(refused(b"id,name\n1,x\n").contains("zip"));
    assert!(refused(&[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1, 0, 0]).contains("password"));
    let mut signed = parts.clone();
    signed.push(("_xmlsignatures/sig1.xml".to_owned(), Vec::new()));
    assert!(refused(&zipped(&signed, SimpleFileOptions::default())).contains("signed"));
    let mut bomb = plain.clone();
    let record = bomb.windows(24).rposition(|bytes| bytes == b"xl/worksheets/sheet1.xml").expect("its record") - 46;
    bomb[record + 24..record + 28].copy_from_slice(&0xf000_0000u32.to_le_bytes());
    assert!(refused(&bomb).contains("decompress to more than"), "{}", refused(&bomb));
    bomb[record + 24..record + 28].copy_from_slice(&10u32.to_le_bytes());
    assert!(refused(&bomb).contains("cannot be read"), "{}", refused(&bomb));
    let mut damaged = plain.clone();
    let at = damaged.windows(19).position(|bytes| bytes == b"worksheets/sheet1.x").expect("the sheet") + 60;
    damaged[at] ^= 0xff;
    assert!(refused(&damaged).contains("cannot be read"), "{}", refused(&damaged));
}

#[test]
fn the_strict_form_of_the_format_is_patched() {
    let strict = parts(&computed()).into_iter().map(|(name, content)| {
        let said = String::from_utf8(content).expect("UTF-8");
        let said = said.replace("http://schemas.openxmlformats.org/spreadsheetml/2006/main", "http://purl.oclc.org/ooxml/spreadsheetml/main");
        (
            name,
            said.replace("http://schemas.openxmlformats.org/officeDocument/2006/relationships", "http://purl.oclc.org/ooxml/officeDocument/relationships")
                .into_bytes(),
        )
    });
    let before = zipped(&strict.collect::<Vec<_>>(), SimpleFileOptions::default());
    let made = patched(&before, "Data", &[set(1, 3, text("x"))], &[]).expect("patched").bytes;
    assert_others_same(&before, &made, &["xl/worksheets/sheet1.xml"], &[]);
    let sheet = parts(&made).into_iter().find(|(name, _)| name.ends_with("sheet1.xml")).expect("the sheet").1;
    assert!(String::from_utf8(sheet).expect("UTF-8").contains("<c r=\"D2\" t=\"inlineStr\"><is><t xml:space=\"preserve\">x</t></is></c>"));
}

fn any_value() -> impl Strategy<Value = CellValue> {
    prop_oneof![
        Just(CellValue::Empty),
        "[ -~äß😀\n\r\t_x0-9]{1,12}".prop_map(CellValue::Text),
        (-999_999_999i64..999_999_999, 0usize..4).prop_map(|(units, scale)| {
            let digits = format!("{:0>width$}", units.unsigned_abs(), width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            let sign = if units < 0 { "-" } else { "" };
            CellValue::Number(if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
        }),
        any::<bool>().prop_map(CellValue::Boolean),
        Just(CellValue::Error),
    ]
}

fn as_read(value: &CellValue) -> Data {
    match value {
        CellValue::Empty => Data::Empty,
        CellValue::Text(said) => Data::String(said.clone()),
        CellValue::Number(said) | CellValue::Serial(said) => Data::Float(said.parse().expect("a number")),
        CellValue::Boolean(is) => Data::Bool(*is),
        CellValue::Error => Data::Error(calamine::CellErrorType::NA),
    }
}

fn grid(bytes: &[u8]) -> Vec<Vec<Data>> {
    let mut book: Xlsx<_> = Xlsx::new(Cursor::new(bytes)).expect("calamine opens it");
    let range = book.worksheet_range("Sheet1").expect("the sheet");
    (0..12).map(|row| (0..8).map(|column| range.get_value((row, column)).cloned().unwrap_or(Data::Empty)).collect()).collect()
}

fn edits(cells: &std::collections::BTreeMap<(u32, u32), CellValue>) -> Vec<CellEdit> {
    cells.iter().map(|((row, column), value)| set(*row, *column, value.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_cells_are_set_exactly(
        first in proptest::collection::btree_map((0u32..12, 0u32..8), any_value(), 0..40),
        second in proptest::collection::btree_map((0u32..12, 0u32..8), any_value(), 1..30),
        rows in proptest::collection::vec(proptest::collection::btree_map(0u32..8, any_value().prop_filter("a value", |value| *value != CellValue::Empty), 1..6), 0..4),
    ) {
        let mut book = Workbook::new();
        book.add_worksheet();
        let empty = book.save_to_buffer().expect("saved");
        let start = patched(&empty, "Sheet1", &edits(&first), &[]).expect("patched").bytes;
        let mut expected = vec![vec![Data::Empty; 8]; 12];
        for ((row, column), value) in &first {
            expected[*row as usize][*column as usize] = as_read(value);
        }
        prop_assert_eq!(grid(&start), expected.clone());

        let once = patched(&start, "Sheet1", &edits(&second), &[]).expect("patched").bytes;
        let before = expected.clone();
        for ((row, column), value) in &second {
            expected[*row as usize][*column as usize] = as_read(value);
        }
        prop_assert_eq!(grid(&once), expected);
        prop_assert_eq!(&patched(&once, "Sheet1", &edits(&second), &[]).expect("patched").bytes, &once);

        let back: std::collections::BTreeMap<_, _> = second.keys().map(|place| (*place, first.get(place).cloned().unwrap_or(CellValue::Empty))).collect();
        let back = patched(&once, "Sheet1", &edits(&back), &[]).expect("patched").bytes;
        prop_assert_eq!(grid(&back), before.clone());

        let appended: Vec<Vec<CellEdit>> = rows.iter().map(|row| row.iter().map(|(column, value)| set(0, *column, value.clone())).collect()).collect();
        let grown = patched(&start, "Sheet1", &[], &appended).expect("appended");
        prop_assert_eq!(grown.first_appended_row.is_some(), !rows.is_empty());
        if let Some(top) = grown.first_appended_row {
            let mut book: Xlsx<_> = Xlsx::new(Cursor::new(&grown.bytes)).expect("calamine opens it");
            let range = book.worksheet_range("Sheet1").expect("the sheet");
            for (row, at) in rows.iter().zip(top..) {
                for column in 0..8 {
                    let wanted = row.get(&column).map_or(Data::Empty, as_read);
                    prop_assert_eq!(range.get_value((at, column)).cloned().unwrap_or(Data::Empty), wanted);
                }
            }
        }
    }
}
