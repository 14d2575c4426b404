//! The parts of an xlsx file that `calamine` does not tell of: which cells are formulas and errors, what is hidden, merged or
//! protected. And what sort of file a workbook is, before anything of it is unpacked.
//!
//! Read only, in one pass over the sheet's part. Nothing here believes the file: sizes and counts are bounded.

use std::io::{BufReader, Cursor, Read};

use calamine::Dimensions;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use zip::ZipArchive;

use super::patch::is_constant;

/// An unpacked workbook may have this many bytes.
const UNPACKED_BYTES_MAX: u64 = 4 << 30;
/// An archive of more parts than this is no workbook.
const PARTS_MAX: usize = 100_000;

/// How a workbook is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// xlsx and xlsm.
    Xlsx,
    /// The binary one in an archive.
    Xlsb,
    /// That of Excel 97.
    Xls,
    /// OpenDocument.
    Ods,
}

/// Why a file is no workbook that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoWorkbook {
    /// It is protected by a password.
    Password,
    /// It is something else, in words.
    Other(String),
    /// It is damaged, in the words of who tried to read it.
    Damaged(String),
    /// It would be too large, in words.
    TooLarge(String),
}

/// What sort of workbook these bytes are, by their content: names lie.
pub(super) fn format_of(bytes: &[u8]) -> Result<Format, NoWorkbook> {
    const COMPOUND_FILE: &[u8] = &[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1];
    if bytes.is_empty() {
        return Err(NoWorkbook::Other("the file is empty".to_owned()));
    }
    if bytes.starts_with(COMPOUND_FILE) {
        let name: Vec<u8> = "EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let is_encrypted = bytes.windows(name.len()).any(|window| window == name);
        return if is_encrypted { Err(NoWorkbook::Password) } else { Ok(Format::Xls) };
    }
    if !bytes.starts_with(b"PK") {
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(512)]).trim_start_matches(['\u{feff}', ' ', '\r', '\n', '\t']).to_ascii_lowercase();
        let is_web = ["<html", "<!doctype html", "<table"].iter().any(|word| start.starts_with(word));
        return Err(NoWorkbook::Other(match () {
            () if is_web => "it is a web page with the name of a workbook".to_owned(),
            () if start.starts_with("<?xml") => "it is an XML file with the name of a workbook".to_owned(),
            () if bytes[..bytes.len().min(4096)].iter().all(|byte| *byte >= 0x20 || matches!(byte, b'\t' | b'\r' | b'\n')) => {
                "it is a text file with the name of a workbook".to_owned()
            }
            () => "it does not begin as a workbook does".to_owned(),
        }));
    }
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| NoWorkbook::Damaged(error.to_string()))?;
    if archive.len() > PARTS_MAX {
        return Err(NoWorkbook::TooLarge(format!("it has {} parts", archive.len())));
    }
    let (mut unpacked, mut format) = (0_u64, None);
    for index in 0..archive.len() {
        let part = archive.by_index_raw(index).map_err(|error| NoWorkbook::Damaged(error.to_string()))?;
        if part.encrypted() {
            return Err(NoWorkbook::Password);
        }
        unpacked = unpacked.saturating_add(part.size());
        let name = part.name().map(|name| name.to_ascii_lowercase()).unwrap_or_default();
        match name.as_str() {
            "[content_types].xml" => format = format.or(Some(Format::Xlsx)),
            "xl/workbook.bin" => format = Some(Format::Xlsb),
            "content.xml" => format = format.or(Some(Format::Ods)),
            _ => {}
        }
    }
    if unpacked > UNPACKED_BYTES_MAX {
        return Err(NoWorkbook::TooLarge(format!("it would have {} MB when it is unpacked, at most {} MB are read", unpacked >> 20, UNPACKED_BYTES_MAX >> 20)));
    }
    format.ok_or_else(|| NoWorkbook::Other("it is an archive with the name of a workbook".to_owned()))
}

/// What a sheet's part says beside the values of its cells. Rows and columns count from 0.
#[derive(Debug, Default)]
pub(super) struct Structure {
    /// The cells with a formula, in ascending order; not those whose formula is how LibreOffice saves a truth.
    pub formulas: Vec<(u32, u32)>,
    /// The cells with an error, in ascending order, and which it is.
    pub errors: Vec<(u32, u32, String)>,
    /// Hidden rows, ascending.
    pub hidden_rows: Vec<u32>,
    /// How many columns are hidden.
    pub hidden_columns: Vec<(u32, u32)>,
    /// Merged cells.
    pub merged: Vec<Dimensions>,
    /// Whether the sheet is protected against edits.
    pub is_protected: bool,
    /// Whether some formula has a result that is not zero.
    pub has_results: bool,
    /// Whether the program that wrote the workbook left all formulas to be calculated by whoever opens it.
    pub leaves_calculation: bool,
}

impl Structure {
    /// Reads the part of a sheet.
    pub fn of(bytes: &[u8], sheet: &str) -> Result<Structure, String> {
        let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
        let mut workbook = "xl/workbook.xml".to_owned();
        elements(&mut archive, "_rels/.rels", |element| {
            if attribute(element, "Type").is_some_and(|kind| kind.ends_with("/officeDocument")) {
                workbook = resolved("", &attribute(element, "Target").unwrap_or_default());
            }
        })?;
        let folder = workbook.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        let name = workbook.rsplit_once('/').map_or(workbook.as_str(), |(_, name)| name);
        let (mut id, mut structure) = (None, Structure::default());
        elements(&mut archive, &workbook, |element| match element.local_name().as_ref() {
            "sheet" if attribute(element, "name").as_deref() == Some(sheet) => {
                let ids = element.attributes().flatten().find(|attribute| attribute.key.local_name().as_ref() == "id");
                id = ids.and_then(|id| id.normalized_value(XmlVersion::Implicit1_0).ok().map(|id| id.into_owned()));
            }
            "calcPr" => structure.leaves_calculation = attribute(element, "fullCalcOnLoad").is_some_and(|on| is_true(&on)),
            _ => {}
        })?;
        let mut part = None;
        let relations = if folder.is_empty() { format!("_rels/{name}.rels") } else { format!("{folder}/_rels/{name}.rels") };
        elements(&mut archive, &relations, |element| {
            if id.is_some() && attribute(element, "Id") == id {
                part = attribute(element, "Target").map(|target| resolved(&folder, &target));
            }
        })?;
        let part = part.ok_or_else(|| format!("the sheet `{sheet}` has no part"))?;
        structure.read_sheet(&mut archive, &part)?;
        Ok(structure)
    }

    fn read_sheet(&mut self, archive: &mut ZipArchive<Cursor<&[u8]>>, part: &str) -> Result<(), String> {
        let mut reader = part_reader(archive, part)?;
        let mut buffer = Vec::new();
        let (mut row, mut column) = (0_u32, 0_u32);
        // The cell that is being read: where it is, whether it has an error, and the text of its value.
        let mut error: Option<String> = None;
        let (mut is_value, mut is_formula, mut in_formula) = (false, false, false);
        // As much of the text of a formula as tells whether it is one.
        let mut formula = String::new();
        loop {
            buffer.clear();
            match reader.read_event_into(&mut buffer).map_err(|error| error.to_string())? {
                Event::Start(element) => match element.local_name().as_ref() {
                    "row" => {
                        row = match attribute(&element, "r") {
                            Some(number) => number.parse::<u32>().ok().and_then(|number| number.checked_sub(1)).ok_or("a row has no number")?,
                            None => row,
                        };
                        if attribute(&element, "hidden").is_some_and(|hidden| is_true(&hidden)) {
                            self.hidden_rows.push(row);
                        }
                    }
                    "c" => {
                        if let Some(at) = attribute(&element, "r") {
                            (row, column) = cell_at(&at).ok_or_else(|| format!("`{at}` is no cell"))?;
                        }
                        error = attribute(&element, "t").filter(|sort| sort == "e").map(|_| String::new());
                    }
                    "f" => {
                        formula.clear();
                        in_formula = true;
                    }
                    "v" => is_value = true,
                    "col" if attribute(&element, "hidden").is_some_and(|hidden| is_true(&hidden)) => {
                        let number = |name| attribute(&element, name).and_then(|number| number.parse::<u32>().ok()).and_then(|number| number.checked_sub(1));
                        self.hidden_columns.extend(number("min").zip(number("max")));
                    }
                    "mergeCell" => {
                        let area = attribute(&element, "ref").unwrap_or_default();
                        let (start, end) = area.split_once(':').unwrap_or((&area, &area));
                        self.merged.extend(cell_at(start).zip(cell_at(end)).map(|(start, end)| Dimensions::new(start, end)));
                    }
                    "sheetProtection" => self.is_protected |= attribute(&element, "sheet").is_some_and(|on| is_true(&on)),
                    _ => {}
                },
                Event::Text(text) if in_formula && formula.len() < 16 => formula.push_str(&text),
                Event::Text(text) if is_value => {
                    self.has_results |= is_formula && text.parse::<f64>().ok() != Some(0.0);
                    if let Some(error) = &mut error {
                        error.push_str(&text.xml10_content());
                    }
                }
                Event::End(element) => match element.local_name().as_ref() {
                    "v" => is_value = false,
                    "f" => {
                        in_formula = false;
                        if !is_constant(&formula) {
                            self.formulas.push((row, column));
                            is_formula = true;
                        }
                    }
                    "c" => {
                        is_formula = false;
                        self.errors.extend(error.take().map(|error| (row, column, error)));
                        column += 1;
                    }
                    "row" => {
                        row += 1;
                        column = 0;
                    }
                    _ => {}
                },
                Event::Eof => break,
                _ => {}
            }
        }
        self.formulas.sort_unstable();
        self.errors.sort_unstable();
        Ok(())
    }

    /// Whether a cell has a formula.
    pub fn is_formula(&self, row: u32, column: u32) -> bool {
        self.formulas.binary_search(&(row, column)).is_ok()
    }

    /// The merged cells that a cell is part of.
    pub fn merged_at(&self, row: u32, column: u32) -> Option<&Dimensions> {
        self.merged.iter().find(|area| area.contains(row, column))
    }
}

type PartReader<'a> = Reader<BufReader<Box<dyn Read + 'a>>>;

fn part_reader<'a>(archive: &'a mut ZipArchive<Cursor<&[u8]>>, name: &str) -> Result<PartReader<'a>, String> {
    // Excel finds parts whatever their capitals.
    let found = (0..archive.len()).find(|index| {
        archive
            .by_index_raw(*index)
            .is_ok_and(|part| part.name().is_ok_and(|there| there.trim_start_matches('/').replace('\\', "/").eq_ignore_ascii_case(name)))
    });
    let index = found.ok_or_else(|| format!("the part `{name}` is missing"))?;
    let part = archive.by_index(index).map_err(|error| error.to_string())?;
    let mut reader = Reader::from_reader(BufReader::new(Box::new(part.take(UNPACKED_BYTES_MAX)) as Box<dyn Read>));
    reader.config_mut().expand_empty_elements = true;
    reader.config_mut().check_end_names = false;
    Ok(reader)
}

/// Calls `each` with every element of a part.
fn elements(archive: &mut ZipArchive<Cursor<&[u8]>>, name: &str, mut each: impl FnMut(&BytesStart<'_>)) -> Result<(), String> {
    let mut reader = part_reader(archive, name)?;
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer).map_err(|error| error.to_string())? {
            Event::Start(element) => each(&element),
            Event::Eof => return Ok(()),
            _ => {}
        }
    }
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = element.attributes().with_checks(false).flatten().find(|attribute| attribute.key.as_ref() == name)?;
    attribute.normalized_value(XmlVersion::Implicit1_0).ok().map(|value| value.into_owned())
}

fn is_true(text: &str) -> bool {
    matches!(text.trim(), "1" | "true" | "on")
}

/// The name of a part that a relationship of a part in `folder` points to.
fn resolved(folder: &str, target: &str) -> String {
    if let Some(absolute) = target.strip_prefix('/') {
        return absolute.to_owned();
    }
    let mut steps: Vec<&str> = folder.split('/').filter(|step| !step.is_empty()).collect();
    for step in target.split('/') {
        match step {
            "" | "." => {}
            ".." => drop(steps.pop()),
            step => steps.push(step),
        }
    }
    steps.join("/")
}

/// The row and column of `B17`, or `$B$17`.
fn cell_at(text: &str) -> Option<(u32, u32)> {
    let text = text.replace('$', "");
    let digits = text.find(|c: char| c.is_ascii_digit())?;
    let (letters, number) = text.split_at(digits);
    if letters.is_empty() || letters.len() > 3 || !letters.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    let column = letters.bytes().fold(0_u32, |column, byte| column * 26 + u32::from(byte.to_ascii_uppercase() - b'A') + 1);
    Some((number.parse::<u32>().ok()?.checked_sub(1)?, column - 1))
}

/// The letters of a column that counts from 0.
pub(super) fn letters(column: u32) -> String {
    let (mut letters, mut rest) = (Vec::new(), column + 1);
    while rest > 0 {
        let digit = u8::try_from((rest - 1) % 26).unwrap_or_default();
        letters.push(char::from(b'A' + digit));
        rest = (rest - 1) / 26;
    }
    letters.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_letters_and_cells_have_places() {
        for (column, name) in [(0, "A"), (25, "Z"), (26, "AA"), (701, "ZZ"), (702, "AAA"), (16_383, "XFD")] {
            assert_eq!(letters(column), name);
            assert_eq!(cell_at(&format!("{name}17")), Some((16, column)));
        }
        assert_eq!(cell_at("$B$1"), Some((0, 1)));
        for text in ["", "B", "17", "B0", "ABCD1", "1B", "B1x"] {
            assert_eq!(cell_at(text), None, "{text}");
        }
    }

    #[test]
    fn targets_are_relative_to_their_part() {
        for (folder, target, part) in [
            ("xl", "worksheets/sheet1.xml", "xl/worksheets/sheet1.xml"),
            ("xl", "/xl/worksheets/sheet1.xml", "xl/worksheets/sheet1.xml"),
            ("xl/a", "../b.xml", "xl/b.xml"),
            ("", "xl/workbook.xml", "xl/workbook.xml"),
        ] {
            assert_eq!(resolved(folder, target), part);
        }
    }

    #[test]
    fn what_is_no_workbook_is_told_by_its_content() {
        let why = |bytes: &[u8]| match format_of(bytes) {
            Err(NoWorkbook::Other(why)) => why,
            other => format!("{other:?}"),
        };
        assert_eq!(why(b""), "the file is empty");
        assert_eq!(why(b"<html><table><tr><td>1"), "it is a web page with the name of a workbook");
        assert_eq!(why(b"id;name\r\n1;Ann\r\n"), "it is a text file with the name of a workbook");
        assert_eq!(why(b"\x00\x01\x02"), "it does not begin as a workbook does");
        assert!(matches!(format_of(b"PK\x03\x04 and nothing more"), Err(NoWorkbook::Damaged(_))));
        let mut encrypted = vec![0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1, 0, 0];
        assert_eq!(format_of(&encrypted), Ok(Format::Xls));
        encrypted.extend("EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes));
        assert_eq!(format_of(&encrypted), Err(NoWorkbook::Password));
    }
}
