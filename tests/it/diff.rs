//! `tieout diff`: two files of any kind against a slow oracle, and through the program.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use tieout::diff::{Request, Side, Sink, compare};
use tieout::error::Error;
use tieout::reconcile::rowwise::Asked;
use tieout::report::comparison::{Change, Compared, Difference, Findings};

use crate::errors::tieout;

#[derive(Default)]
struct All {
    compared: Compared,
    differences: Vec<Difference>,
}

impl Sink for All {
    fn begin(&mut self, compared: &Compared) -> Result<(), Error> {
        self.compared = compared.clone();
        Ok(())
    }

    fn wants_more(&self) -> bool {
        true
    }

    fn take(&mut self, difference: Difference) -> Result<(), Error> {
        self.differences.push(difference);
        Ok(())
    }
}

/// A difference as a line: what it is, its lines, its key, what differs.
fn told(difference: &Difference) -> String {
    let line = |line: Option<u64>| line.map_or_else(|| "-".to_owned(), |line| line.to_string());
    let fields: Vec<String> = difference.fields.iter().map(|field| format!("{}:{:?}>{:?}", field.field, field.old, field.new)).collect();
    format!("{:?} {} {} {:?} {}", difference.change, line(difference.lines[0]), line(difference.lines[1]), difference.key, fields.join(" "))
}

/// A table as it is written: its rows with their cells, and how each cell is quoted.
#[derive(Clone, Debug)]
struct Model {
    rows: Vec<Vec<String>>,
    quoted: Vec<bool>,
    delimiter: char,
    line_end: &'static str,
    order: Vec<usize>,
}

const COLUMNS: [&str; 4] = ["id", "x", "part", "y"];

impl Model {
    /// The text, and the line on which each row begins.
    fn text(&self) -> (String, Vec<u64>) {
        let mut text: Vec<&str> = self.order.iter().map(|column| COLUMNS[*column]).collect();
        let mut text = format!("{}{}", std::mem::take(&mut text).join(&self.delimiter.to_string()), self.line_end);
        let (mut line, mut lines) = (2, Vec::new());
        for (number, row) in self.rows.iter().enumerate() {
            lines.push(line);
            let cells = self.order.iter().map(|column| {
                let cell = &row[*column];
                let is_quoted = self.quoted[(number * 4 + column) % self.quoted.len()] || cell.contains(['"', '\n', ',', ';']);
                if is_quoted { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.clone() }
            });
            text.push_str(&cells.collect::<Vec<_>>().join(&self.delimiter.to_string()));
            text.push_str(self.line_end);
            line += 1 + row.iter().map(|cell| cell.matches('\n').count() as u64).sum::<u64>();
        }
        (text, lines)
    }
}

fn models() -> impl Strategy<Value = [Model; 2]> {
    let cell = "[ab]{0,2}|[a\",;\n]{1,3}";
    let row = (("[1-6]", "[pq]"), (cell, cell)).prop_map(|((id, part), (x, y))| vec![id, x, part, y]);
    let rows = || prop::collection::vec(row.clone(), 0..12);
    let how = || {
        (
            prop::collection::vec(any::<bool>(), 1..9),
            prop::sample::select(vec![',', ';']),
            prop::sample::select(vec!["\n", "\r\n"]),
            Just(vec![0, 1, 2, 3]).prop_shuffle(),
        )
    };
    // Many rows of B are rows of A.
    (rows(), rows(), prop::collection::vec(any::<prop::sample::Index>(), 0..12), how(), how()).prop_map(|(a, mut b, kept, how_a, how_b)| {
        if !a.is_empty() {
            b.extend(kept.iter().map(|index| index.get(&a).clone()));
        }
        [(a, how_a), (b, how_b)].map(|(rows, (quoted, delimiter, line_end, order))| Model { rows, quoted, delimiter, line_end, order })
    })
}

/// The slow way: every row by its key.
fn expected([a, b]: &[Model; 2], ignores: bool) -> (Vec<String>, u64) {
    let lines = [a.text().1, b.text().1];
    let key = |row: &[String]| vec![row[0].clone(), row[2].clone()];
    let mut by_key: BTreeMap<Vec<String>, [Vec<usize>; 2]> = BTreeMap::new();
    for (side, model) in [a, b].into_iter().enumerate() {
        for (number, row) in model.rows.iter().enumerate() {
            by_key.entry(key(row)).or_default()[side].push(number);
        }
    }
    // The order of A's columns is that of the fields.
    let fields: Vec<usize> = a.order.iter().copied().filter(|column| *column == 3 || *column == 1 && !ignores).collect();
    let alone = |row: &[String], is_b: bool| {
        let said = |(number, column): (usize, &usize)| {
            let said = Some(&row[*column]);
            let none: Option<&String> = None;
            if is_b { format!("{number}:{none:?}>{said:?}") } else { format!("{number}:{said:?}>{none:?}") }
        };
        fields.iter().enumerate().map(said).collect::<Vec<_>>().join(" ")
    };
    let (mut of_a, mut of_b, mut doubled, mut same) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for (key, [in_a, in_b]) in &by_key {
        match (in_a.as_slice(), in_b.as_slice()) {
            ([one], [other]) => {
                let (row, new) = (&a.rows[*one], &b.rows[*other]);
                let differing: Vec<String> = fields
                    .iter()
                    .enumerate()
                    .filter(|(_, column)| row[**column] != new[**column])
                    .map(|(number, column)| format!("{number}:{:?}>{:?}", Some(&row[*column]), Some(&new[*column])))
                    .collect();
                if differing.is_empty() {
                    same += 1;
                } else {
                    of_a.push((*one, format!("Changed {} {} {key:?} {}", lines[0][*one], lines[1][*other], differing.join(" "))));
                }
            }
            ([one], []) => of_a.push((*one, format!("Removed {} - {key:?} {}", lines[0][*one], alone(&a.rows[*one], false)))),
            ([], [other]) => of_b.push((*other, format!("Added - {} {key:?} {}", lines[1][*other], alone(&b.rows[*other], true)))),
            _ => {
                let first = (in_a.is_empty(), in_a.first().or(in_b.first()).copied());
                doubled.extend(
                    in_a.iter()
                        .map(|number| ((first, false, *number), format!("Duplicate {} - {key:?} {}", lines[0][*number], alone(&a.rows[*number], false)))),
                );
                doubled.extend(
                    in_b.iter().map(|number| ((first, true, *number), format!("Duplicate - {} {key:?} {}", lines[1][*number], alone(&b.rows[*number], true)))),
                );
            }
        }
    }
    of_a.sort();
    of_b.sort();
    doubled.sort();
    let told = of_a.into_iter().chain(of_b).map(|(_, told)| told).chain(doubled.into_iter().map(|(_, told)| told));
    (told.collect(), same)
}

fn compared(folder: &Path, request: &Request) -> (All, Findings) {
    let mut all = All::default();
    let sides = request.sides.clone().map(|side| Side { path: folder.join(&side.path), ..side });
    let findings = compare(&Request { sides, ..request.clone() }, &mut all, &|_| {}).unwrap_or_else(|error| panic!("{error}"));
    (all, findings)
}

fn request(key: &[&str]) -> Request {
    let key = key.iter().map(|name| ((*name).to_owned(), (*name).to_owned())).collect();
    let sides = ["a.csv", "b.csv"].map(|path| Side { path: path.into(), ..Side::default() });
    Request { sides, asked: Asked { key, mark: '.', ..Asked::default() }, every_value: false, hash_bits: 64 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// What is told is what the slow way finds, in its order and with its lines: whatever quotes, line ends, delimiters and columns'
    /// order the files have, and even if nearly all hashes collide.
    #[test]
    fn what_is_told_is_what_the_slow_way_finds(models in models(), weak in prop::sample::select(vec![1_u32, 4, 64]), every_value: bool, ignores: bool) {
        let folder = tempfile::tempdir().unwrap();
        for (name, model) in ["a.csv", "b.csv"].iter().zip(&models) {
            fs::write(folder.path().join(name), model.text().0).unwrap();
        }
        let mut request = Request { every_value: every_value || weak < 64, hash_bits: weak, ..request(&["id", "part"]) };
        for (side, model) in request.sides.iter_mut().zip(&models) {
            side.pinned.delimiter = Some(model.delimiter as u8);
        }
        if ignores {
            request.asked.ignored = vec!["x".to_owned()];
        }
        let (all, findings) = compared(folder.path(), &request);
        let told: Vec<String> = all.differences.iter().map(told).collect();
        let (expected, same) = expected(&models, ignores);
        prop_assert_eq!(&told, &expected);
        prop_assert_eq!(findings.same, same);
        let count = |change: Change| all.differences.iter().filter(|difference| difference.change == change).count() as u64;
        prop_assert_eq!(
            [findings.changed, findings.removed, findings.added, findings.doubled.iter().sum()],
            [Change::Changed, Change::Removed, Change::Added, Change::Duplicate].map(count)
        );
        prop_assert_eq!(findings.rows, models.each_ref().map(|model| model.rows.len() as u64));
    }
}

/// Files, the arguments after them, and what is told with its exit code.
fn through(files: &[(&str, &[u8])], args: &[&str]) -> (String, String, i32) {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    let output = tieout(folder.path(), &[&["diff"], names.as_slice(), args].concat());
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap(), output.status.code().unwrap_or(-1))
}

const A: &[u8] = "id,name,amount\n1,Müller,10.00\n2,Weiß,5\n3,Ortiz,7.50\n4,Lee,1\n4,Lee,2\n".as_bytes();
const B: &[u8] = "id,name,amount\n3,Ortiz,7.5\n1,Mueller,10.00\n5,\"O\nK\",1\n4,Lee,1\n6,x\n".as_bytes();

#[test]
fn a_person_sees_what_changed() {
    let (told, _, code) = through(&[("a.csv", A), ("b.csv", B)], &["--key", "id", "--exit-code"]);
    let expected = "\
a.csv → b.csv by id: 2 changed, 1 removed, 1 added, 0 the same
  1 key comes more than once: 2 rows of A and 1 row of B are not compared
  1 row of b.csv cannot be read and is not compared
  changed fields: name 1, amount 1

~ id 1  line 2 → 3
    name: Müller → Mueller

- id 2  A line 3
    name: Weiß, amount: 5

~ id 3  line 4 → 2
    amount: 7.50 → 7.5

+ id 5  B line 4
    name: O⏎K, amount: 1

= id 4 more than once
    A line 5: name: Lee, amount: 1
    A line 6: name: Lee, amount: 2
    B line 6: name: Lee, amount: 1

?  B line 7
    has 2 fields, the header has 3
    6,x
";
    assert_eq!(told, expected);
    assert_eq!(code, 1);
    let (told, _, code) = through(&[("a.csv", A), ("b.csv", B)], &["--key", "id", "--limit", "1"]);
    assert!(
        told.ends_with("~ id 1  line 2 → 3\n    name: Müller → Mueller\n\n7 more differences: see them with `--limit`, or all in a file with `-o`\n"),
        "{told}"
    );
    assert_eq!(code, 0);
}

#[test]
fn equal_files_are_equal_however_they_are_spelled() {
    let wide: Vec<u8> = [0xff, 0xfe].into_iter().chain("nr;amount;name\r\n2;5;Weiß\r\n1;10.00;Müller\r\n".encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let a = "id,name,amount\n1,Müller,10.00\n\"2\",\"Weiß\",5\n".as_bytes();
    for (b, args) in [
        (wide.as_slice(), &["--key", "id=nr"][..]),
        (b"id\tamount\tname\n2\t5\tWei\xdf\n1\t10.00\tM\xfcller\n", &["--key", "id"]),
        ("\u{feff}name;amount;id\n Weiß ;5.0;2\nMüller;10;1".as_bytes(), &["--key", "id", "--clean"]),
        ("id,titel,amount\n1,Müller,10.01\n2,Weiß,4.99\n".as_bytes(), &["--key", "id", "--rename", "name=titel", "--tolerance", "amount=0.01"]),
        ("id,name,amount,new\n1,M,10.00,x\n2,W,5,y\n".as_bytes(), &["--key", "id", "--only", "amount"]),
        ("id,name,amount\n1,M,10.00\n2,W,5\n".as_bytes(), &["--key", "id", "--ignore", "name", "--every-value"]),
        (br#"[{"id": 2, "name": "Wei\u00df", "amount": 5}, {"id": 1, "name": "M\u00fcller", "amount": 10.00}]"#, &["--key", "id", "--clean"]),
    ] {
        let name = if b.starts_with(b"[") { "b.json" } else { "b.csv" };
        let (told, error, code) = through(&[("a.csv", a), (name, b)], &[args, &["--exit-code"]].concat());
        assert_eq!(code, 0, "{args:?}\n{told}{error}");
    }
}

#[test]
fn a_program_reads_one_document() {
    let (told, _, code) = through(&[("a.csv", A), ("b.csv", B)], &["--key", "id", "--json", "--limit", "2"]);
    let document: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &document["changed"], &document["more"], &document["duplicates"]["keys"]), (0, &2.into(), &6.into(), &1.into()));
    assert_eq!(document["differences"][0]["fields"]["name"]["new"], "Mueller");
    assert_eq!(document["differences"][1]["line_a"], 3);
}

/// The rows of a table of differences, without what differs between formats.
#[test]
fn differences_are_written_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.csv"), A).unwrap();
    fs::write(folder.path().join("b.csv"), B).unwrap();
    for format in ["csv", "jsonl", "parquet", "html", "xlsx"] {
        let file = format!("out.{format}");
        let output = tieout(folder.path(), &["diff", "a.csv", "b.csv", "--key", "id", "--limit", "0", "-o", &file]);
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""), "{format}");
        assert!(String::from_utf8_lossy(&output.stdout).ends_with(&format!("8 more differences: all are in {file}\n")), "{output:?}");
        let again = tieout(folder.path(), &["diff", "a.csv", "b.csv", "--key", "id", "-o", &file]);
        assert_eq!(again.status.code(), Some(2), "an existing file is not replaced");
        assert_eq!(tieout(folder.path(), &["diff", "a.csv", "b.csv", "--key", "id", "-o", &file, "--force"]).status.code(), Some(0));
    }
    let read = |file: &str| fs::read_to_string(folder.path().join(file)).unwrap();
    let expected = "\
change,line_a,line_b,id,fields,name (A),name (B),amount (A),amount (B),note
changed,2,3,1,name,Müller,Mueller,,,
removed,3,,2,,Weiß,,5,,
changed,4,2,3,amount,,,7.50,7.5,
added,,4,5,,,\"O
K\",,1,
duplicate,5,,4,,Lee,,1,,
duplicate,6,,4,,Lee,,2,,
duplicate,,6,4,,,Lee,,1,
unreadable,,7,,,,,,,\"has 2 fields, the header has 3: 6,x\"
";
    assert_eq!(read("out.csv"), expected);
    let lines: Vec<serde_json::Value> = read("out.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 8);
    assert_eq!(
        lines[0],
        serde_json::json!({"change": "changed", "line_a": 2, "line_b": 3, "key": {"id": "1"}, "fields": {"name": {"old": "Müller", "new": "Mueller"}}})
    );
    let page = read("out.html");
    assert!(page.contains("Mueller") && !page.contains("<script"), "{page}");
    assert!(fs::read_dir(folder.path()).unwrap().count() == 7, "nothing else is left");
    // The formats are read back by the program itself: a row of differences is a record of change, lines and key.
    for (one, other) in [("out.csv", "out.parquet"), ("out.parquet", "out.xlsx")] {
        let mut args = vec!["diff", one, other, "--key", "change,line_a,line_b", "--exit-code"];
        if other == "out.xlsx" {
            args.extend(["--sheet", "Differences"]);
        }
        let output = tieout(folder.path(), &args);
        assert_eq!(output.status.code(), Some(0), "{one} {other}\n{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
}

/// Kinds may differ: a record is the same if its cells say the same.
#[test]
fn kinds_are_compared_by_their_text() {
    let a = "id,name,day,amount\n1,\"O\nK\",2026-03-31,12.5\n2,Weiß,,-3\n".as_bytes();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.csv"), a).unwrap();
    let mut book = rust_xlsxwriter::Workbook::new();
    let sheet = book.add_worksheet();
    for (column, name) in ["id", "name", "day", "amount"].iter().enumerate() {
        sheet.write_string(0, column as u16, *name).unwrap();
    }
    let day = rust_xlsxwriter::Format::new().set_num_format("yyyy-mm-dd");
    sheet.write_number(1, 0, 2).unwrap();
    sheet.write_string(1, 1, "Weiß").unwrap();
    sheet.write_number(1, 3, -3).unwrap();
    sheet.write_number(2, 0, 1).unwrap();
    sheet.write_string(2, 1, "O\nK").unwrap();
    sheet.write_datetime_with_format(2, 2, rust_xlsxwriter::ExcelDateTime::from_ymd(2026, 3, 31).unwrap(), &day).unwrap();
    sheet.write_number(2, 3, 12.5).unwrap();
    book.save(folder.path().join("b.xlsx")).unwrap();
    fs::write(
        folder.path().join("c.jsonl"),
        "{\"id\": 1, \"name\": \"O\\nK\", \"day\": \"2026-03-31\", \"amount\": 12.50}\n\n{\"id\":2,\"name\":\"Wei\\u00df\",\"day\":null,\"amount\":-3}\n",
    )
    .unwrap();
    for (one, other) in [("a.csv", "b.xlsx"), ("b.xlsx", "c.jsonl"), ("c.jsonl", "a.csv")] {
        let output = tieout(folder.path(), &["diff", one, other, "--key", "id", "--exit-code"]);
        let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!((output.status.code(), told), (Some(0), format!("{one} → {other} by id: 2 the same\n")), "{one} {other}");
    }
    fs::write(folder.path().join("d.csv"), "id,name,day,amount\n1,OK,2026-03-31,12.5\n").unwrap();
    let output = tieout(folder.path(), &["diff", "b.xlsx", "d.csv", "--key", "id"]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("- id 2  A row 2\n") && told.contains("~ id 1  row 3 → line 2\n    name: O⏎K → OK\n"), "{told}");
}

/// Blocks of the file meet within quoted line ends, and text that is not UTF-8 begins late.
#[test]
fn long_files_are_walked_in_blocks_and_turn_out_to_be_of_another_encoding() {
    let folder = tempfile::tempdir().unwrap();
    let (mut a, mut b) = (b"id,text\n".to_vec(), b"id,text\n".to_vec());
    for number in 0..60_000 {
        a.extend(format!("{number},\"a note\n{number},\"\"of\"\" two lines\n\"\n").bytes());
    }
    for number in (0..60_000).rev() {
        let said = if number == 7 { "the note" } else { "a note" };
        b.extend(format!("{number},\"{said}\n{number},\"\"of\"\" two lines\n\"\n").bytes());
    }
    a.extend(b"u,f\xfcr\n");
    b.extend("u,für\n".bytes());
    fs::write(folder.path().join("a.csv"), &a).unwrap();
    fs::write(folder.path().join("b.csv"), &b).unwrap();
    let output = tieout(folder.path(), &["diff", "a.csv", "b.csv", "--key", "id"]);
    let told = String::from_utf8_lossy(&output.stdout);
    let line_a = 2 + 7 * 3;
    let line_b = 2 + (59_999 - 7) * 3;
    let expected = format!(
        "a.csv → b.csv by id: 1 changed, 60,000 the same\n  changed fields: text 1\n\n~ id 7  line {line_a} → {line_b}\n    text: \"a note⏎7,\"of\" two lines⏎\" → \"the note⏎7,\"of\" two lines⏎\"\n"
    );
    assert_eq!(told, expected);
}
