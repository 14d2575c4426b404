//! The examples, from their first night to the quiet one after the second: what the reports say, and what is on disk.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use calamine::{Data, Reader, Xlsx};
use rusqlite::Connection;
use tieout::demo::{self, Shown};
use tieout::error::Remedy;
use tieout::job::Settings;
use tieout::project::Project;
use tieout::report::{Verdict, WhyDifferent};
use tieout::run::{self, Request, World};

use crate::workbooks::{converted, has_openpyxl, is_there, python};

fn shown(name: &str, root: &Path) -> Shown {
    let shown = demo::show(name, &root.join("demo"), &|_| {}).unwrap();
    assert!(shown.as_it_should, "{}", shown.text);
    shown
}

/// The rows of a CSV file as the `csv` crate reads them, the header first. Not our reader.
fn csv_rows(bytes: &[u8], delimiter: u8) -> Vec<Vec<String>> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.trim_start_matches('\u{feff}').to_owned(),
        Err(_) => encoding_rs::WINDOWS_1252.decode(bytes).0.into_owned(),
    };
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(text.as_bytes());
    reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect()
}

fn original(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/demo").join(name)).unwrap()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/demo").join(name)
}

/// The cells of a sheet, from A1 on: `text ..` for texts, `date ..` for dates, numbers as they are. Read without our reader.
fn sheet(path: &Path, name: &str) -> Vec<Vec<String>> {
    let mut book: Xlsx<_> = calamine::open_workbook(path).unwrap();
    let range = book.worksheet_range(name).unwrap();
    let (rows, columns) = range.end().unwrap();
    let shown = |row: u32, column: u32| match range.get_value((row, column)) {
        None | Some(Data::Empty) => String::new(),
        Some(Data::String(text)) => format!("text {text}"),
        Some(Data::DateTime(moment)) => {
            let (year, month, day, ..) = moment.to_ymd_hms_milli();
            format!("date {year}-{month:02}-{day:02}")
        }
        Some(other) => other.to_string(),
    };
    (0..=rows).map(|row| (0..=columns).map(|column| shown(row, column)).collect()).collect()
}

/// A cell of the row that has this e-mail address in its third column.
fn cell_of<'a>(rows: &'a [Vec<String>], email: &str, column: usize) -> &'a str {
    &rows.iter().find(|row| row[2] == format!("text {email}")).unwrap()[column]
}

/// A database as the `.sql` text of an example makes it.
fn database(name: &str) -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(&String::from_utf8(original(name)).unwrap()).unwrap();
    connection
}

fn one_text(connection: &Connection, sql: &str) -> String {
    connection.query_row(sql, [], |row| row.get::<_, rusqlite::types::Value>(0)).map(|value| format!("{value:?}")).unwrap()
}

/// An amount in thousandths, from text as a person would read it. Not our reader.
fn thousandths(text: &str) -> Option<i128> {
    let text: String = text.chars().filter(|c| !c.is_whitespace() && *c != ',' && !c.is_ascii_uppercase()).collect();
    let (sign, digits) = match text.strip_prefix('(').and_then(|t| t.strip_suffix(')')).or_else(|| text.strip_prefix('-')) {
        Some(digits) => (-1, digits),
        None => (1, text.as_str()),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction: i128 = format!("{fraction:0<3}").parse().ok().filter(|_| fraction.len() <= 3)?;
    Some(sign * (whole.parse::<i128>().ok()? * 1000 + fraction))
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())).collect()
}

#[test]
fn customers_go_as_they_should() {
    let root = tempfile::tempdir().unwrap();
    let shown = shown("customers", root.path());
    let [first, second, again] = shown.nights.as_slice() else { panic!("three nights") };
    assert_eq!(first.report.run, "20260330T010000Z");
    assert_eq!(second.report.run, "20260331T010000Z");
    assert_eq!(again.report.run, "20260331T010000Z-2");
    assert!(again.report.changes.is_empty());
    for night in &shown.nights {
        for file in ["report.html", "report.txt", "report.json", "plan.jsonl", "mail.eml"] {
            assert!(night.folder.join(file).metadata().unwrap().len() > 0 || file == "plan.jsonl", "{file}");
        }
        let mail = root.path().join(format!("demo/reports/outbox/customers-{}.eml", night.report.run));
        assert!(std::fs::read_to_string(mail).unwrap().contains("Subject: [ACTION"));
    }

    let data = root.path().join("demo/data");
    let crm = std::fs::read(data.join("crm.csv")).unwrap();
    let sales = sheet(&data.join("sales.xlsx"), "Kundenliste");
    let sales_before = sheet(&fixture("customers/sales.xlsx"), "Kundenliste");
    let invoicing = Connection::open(data.join("invoicing.db")).unwrap();

    // What nobody had a reason to touch is there to the byte, or as the very same cells: mark, line ends, columns outside the
    // job, prospects, the two Müllers, the name that looks like a formula, the broken row, both rows of a duplicate.
    assert!(crm.starts_with(b"\xef\xbb\xbfCRM ID,E-mail,") && crm.ends_with(b"\r\n"));
    let lines = |bytes: &[u8]| bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let crm_lines = lines(&crm);
    let kept = |before: &[u8], after: &[Vec<u8>], needle: &str| {
        let needle = needle.to_lowercase();
        let found: Vec<Vec<u8>> = lines(before).into_iter().filter(|line| String::from_utf8_lossy(line).to_lowercase().contains(&needle)).collect();
        assert!(!found.is_empty(), "{needle} is in the fixture");
        for line in found {
            assert!(after.contains(&line), "{needle}: {}", String::from_utf8_lossy(&line));
        }
    };
    for needle in ["prospect", "mueller-metallbau", "mueller-moebel", "=cmd", "brandt-holzbau", "schaltjahr-uhren", "Ring twice"] {
        kept(&original("customers/crm.csv"), &crm_lines, needle);
    }
    for needle in ["mueller-metallbau", "mueller-moebel", "=cmd", "siehe Vertrag", "schaltjahr-uhren", "tanaka-instruments"] {
        let is_it = |row: &&Vec<String>| row.iter().any(|cell| cell.contains(needle));
        let (before, after): (Vec<_>, Vec<_>) = (sales_before.iter().filter(is_it).collect(), sales.iter().filter(is_it).collect());
        assert!(!before.is_empty() && before == after, "{needle}");
    }
    let foreign = |rows: Vec<Vec<String>>, columns: &[usize]| -> Vec<Vec<String>> {
        rows.into_iter().map(|row| columns.iter().filter_map(|column| row.get(*column).cloned()).collect()).collect()
    };
    let after = foreign(csv_rows(&crm, b','), &[5, 11, 13]);
    let gone = ["rechnung@quandt-druck.example", "einkauf@koehler-holzbau.example"];
    let stays = |row: &&Vec<String>| !gone.contains(&row[1].as_str());
    let before: Vec<Vec<String>> = foreign(csv_rows(&original("customers/crm.csv"), b',').iter().filter(stays).cloned().collect(), &[5, 11, 13]);
    assert_eq!(before, after[..before.len()], "only the row that a person deleted is gone, and that whose delete was agreed");
    let (before, after) = (foreign(sales_before.clone(), &[9]), foreign(sales.clone(), &[9]));
    assert_eq!(before, after[..before.len()], "no row is ever taken out of a workbook");
    assert_eq!(sheet(&data.join("sales.xlsx"), "Hinweise"), sheet(&fixture("customers/sales.xlsx"), "Hinweise"));
    let untouched = "SELECT group_concat(customer_id || ':' || dunning_level) FROM (SELECT * FROM customers WHERE customer_id < 10231 ORDER BY customer_id)";
    assert_eq!(one_text(&invoicing, untouched), one_text(&database("customers/invoicing.sql"), untouched));

    // What the edits led to, read without any code of ours.
    let cell = |rows: &[Vec<String>], key: usize, name: &str, column: usize| -> String {
        let is_it = |cell: &String| cell.trim_start_matches("text ").trim().eq_ignore_ascii_case(name);
        let found: Vec<&Vec<String>> = rows.iter().filter(|row| row.get(key).is_some_and(is_it)).collect();
        assert_eq!(found.len(), 1, "{name}");
        found[0][column].clone()
    };
    let crm = csv_rows(&crm, b',');
    let of_invoicing = |column: &str, id: u32| one_text(&invoicing, &format!("SELECT {column} FROM customers WHERE customer_id = {id}"));
    assert_eq!(of_invoicing("phone", 10004), "Text(\"+49 415 5550001\")");
    assert_eq!(cell(&crm, 1, "office@lindqvist-marine.example", 2), "Lindqvist Marine Holding Ltd");
    assert_eq!(cell(&sales, 2, "rechnung@roessler-werkzeuge.example", 3), "text 15.000,00", "a text as it was, and grouped as it was");
    assert_eq!(cell(&crm, 1, "einkauf@doerfler-optik.example", 3), "+49 347 5550200");
    assert_eq!(cell(&sales, 2, "accounts@vandenberg-foods.example", 5), "text NL886130314B02", "a person decides");
    assert_eq!(of_invoicing("vat_id", 10008), "Text(\"NL886130341B01\")", "a person decides");
    assert_eq!(cell(&sales, 2, "info@haeberle-feinkost.example", 3), "5000");
    assert_eq!(cell(&sales, 2, "rechnung@quandt-druck.example", 3), "text 1.000,00", "a person deletes it");
    assert!(!crm.iter().any(|row| row[1].eq_ignore_ascii_case("einkauf@koehler-holzbau.example")));
    assert_eq!(of_invoicing("email", 10010), "Text(\"rechnung@quandt-druck.example\")", "waits for a person");
    assert_eq!(cell(&crm, 1, "kontor@uebersee-tee.example", 2), "Übersee Tee GmbH");
    assert_eq!(one_text(&invoicing, "SELECT credit_limit FROM customers WHERE email = 'kontor@uebersee-tee.example'"), "Integer(2500)");
    assert_eq!(cell(&crm, 1, "anna.weber@schmidt-gartenbau.example", 0), "4043796584937122", "the same row under its new key");
    assert_eq!(cell(&sales, 2, "anna.weber@schmidt-gartenbau.example", 0), "text 004249", "the same row under its new key");
    // Excel's own: a number of sixteen digits stays a text, a date a date, and what Excel made of a cell is the value it was.
    let rossi: Vec<&str> = [5, 6, 10].map(|column| cell_of(&sales, "rechnung@rossi-bootsbau.example", column)).into();
    assert_eq!(rossi, ["text DE275169888", "date 2020-11-28", "text 4031217740266912"]);
    let nakamura: Vec<&str> = [0, 3, 6].map(|column| cell_of(&sales, "Accounts@NAKAMURA-TOOLS.EXAMPLE", column)).into();
    assert_eq!(nakamura, ["4347", "987.65", "text 26.03.2017"], "nobody edited it, and nothing was written");
    assert_eq!(one_text(&invoicing, "SELECT customer_no FROM customers WHERE email = 'kontor@uebersee-tee.example'"), "Text(\"004901\")");
    assert_eq!(one_text(&invoicing, "SELECT customer_since FROM customers WHERE email = 'kontor@uebersee-tee.example'"), "Text(\"2026-03-30\")");
    assert_eq!(cell(&crm, 1, "info@dubois-textiles.example", 8), "no");
}

#[test]
fn billing_goes_as_it_should_and_its_totals_are_those_of_the_files() {
    let root = tempfile::tempdir().unwrap();
    let shown = shown("billing", root.path());
    let data = root.path().join("demo/data");
    let [first, second, again] = shown.nights.as_slice() else { panic!("three nights") };
    assert!(again.report.changes.is_empty());

    // Opening and closing sums, recomputed from the files by other means. The repeated night shows what the second one left.
    let csv_sums = |bytes: &[u8], set_aside: &[&str]| {
        let mut sums: BTreeMap<String, (i128, u64)> = BTreeMap::new();
        for row in csv_rows(bytes, b',').into_iter().skip(1).filter(|row| row.len() == 9 && !set_aside.contains(&row[0].as_str())) {
            if let Some(amount) = thousandths(&row[5]) {
                let sum = sums.entry(row[4].clone()).or_default();
                *sum = (sum.0 + amount, sum.1 + 1);
            }
        }
        sums
    };
    let sql_sums = |connection: &Connection, set_aside: &[&str]| {
        let mut statement = connection.prepare("SELECT invoice_no, currency, amount FROM entries").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))).unwrap();
        let mut sums: BTreeMap<String, (i128, u64)> = BTreeMap::new();
        for (_, currency, amount) in rows.map(Result::unwrap).filter(|row| !set_aside.contains(&row.0.as_str())) {
            let sum = sums.entry(currency).or_default();
            *sum = (sum.0 + thousandths(&amount).unwrap(), sum.1 + 1);
        }
        sums
    };
    let invoices = std::fs::read(data.join("invoices.csv")).unwrap();
    let accounts = Connection::open(data.join("accounts.db")).unwrap();
    // Rows that cannot be read, or that a rule refuses, are in no sum of their own system. Their records keep what the other
    // system holds, unless they were never linked: those are held in all systems.
    let never_linked = ["000178", "900001"];
    let later_aside = ["000178", "000351", "000129"];
    let checks = [
        (first, "billing", csv_sums(&original("billing/invoices.csv"), &never_linked)),
        (first, "accounts", sql_sums(&database("billing/accounts.sql"), &never_linked)),
        (second, "billing", csv_sums(&invoices, &later_aside)),
        (again, "billing", csv_sums(&invoices, &later_aside)),
        (again, "accounts", sql_sums(&accounts, &never_linked)),
    ];
    for (night, system, sums) in &checks {
        assert_eq!(sums.keys().collect::<Vec<_>>(), ["EUR", "GBP", "JPY", "KWD"]);
        for (currency, (sum, records)) in sums {
            let total = night.report.totals.iter().find(|total| total.system == *system && total.group.as_deref() == Some(currency)).unwrap();
            assert_eq!((total.closing.units, total.closing.scale), (*sum, 3), "{} {system} {currency}", night.report.run);
            // What is counted is what the run leaves, and that can be counted here only where nothing was written.
            if night.report.run == again.report.run {
                assert_eq!(total.records, *records, "{system} {currency}");
            }
        }
    }
    // Every cent between the two sides has a name: what is within the tolerance is listed nowhere else.
    let of = |system: &str, currency: &str| checks.iter().rev().find(|(_, name, _)| *name == system).unwrap().2[currency].0;
    let [disappeared, unreadable, used_twice, within_tolerance] = [6_999_460, 8_809_990, 1_198_250, 3 * 10];
    assert_eq!(of("accounts", "EUR") - of("billing", "EUR"), disappeared + unreadable + used_twice + within_tolerance);
    assert_eq!(of("accounts", "GBP") - of("billing", "GBP"), 0);
    assert_eq!(of("accounts", "JPY") - of("billing", "JPY"), 0);
    assert_eq!(of("accounts", "KWD") - of("billing", "KWD"), 3);
    assert_eq!(again.report.verdict, Verdict::Action);
    let parts = |currency: &str| -> Vec<(WhyDifferent, u64, i128)> {
        let difference = second.report.differences.iter().find(|difference| difference.group.as_deref() == Some(currency)).unwrap();
        difference.parts.iter().map(|part| (part.why, part.records, part.amount.units)).collect()
    };
    assert_eq!(
        parts("EUR"),
        [
            (WhyDifferent::OnlyHere, 1, disappeared),
            (WhyDifferent::SetAsideInReference, 2, unreadable + used_twice),
            (WhyDifferent::WithinTolerance, 3, within_tolerance),
            (WhyDifferent::HeldHere, 1, 480_000),
            (WhyDifferent::HeldInReference, 2, -(used_twice + 640_000))
        ]
    );
    let held = vec![(WhyDifferent::HeldHere, 1, 3_603_913_000)];
    assert_eq!((parts("GBP"), parts("JPY"), parts("KWD")), (vec![], held, vec![(WhyDifferent::WithinTolerance, 1, 3)]));
    // With the rows that are held, the total of a system is the sum of its whole table.
    for (currency, (sum, _)) in sql_sums(&accounts, &[]) {
        let total = again.report.totals.iter().find(|total| total.system == "accounts" && total.group.as_ref() == Some(&currency)).unwrap();
        assert_eq!(total.with_held().unwrap().units, sum, "{currency}");
        assert!(!total.incomplete, "{currency}");
    }
    let incomplete: Vec<&str> =
        again.report.totals.iter().filter(|total| total.system == "billing" && total.incomplete).filter_map(|total| total.group.as_deref()).collect();
    assert_eq!(incomplete, ["EUR", "JPY"], "those of the two amounts that cannot be read");
    let open: Vec<(&str, i128)> = second.report.breaks.iter().map(|open| (open.open.key.as_str(), open.amount.unwrap().units)).collect();
    assert_eq!(open, [("000129", used_twice), ("000178", 3_603_913_000), ("000351", unreadable), ("000355", disappeared), ("900001", 480_000)]);

    // Columns of the accounts that the job does not name stay as they were.
    let foreign =
        "SELECT group_concat(entry_id || cost_centre) FROM (SELECT * FROM entries WHERE entry_id <= 70999 AND invoice_no <> '000126' ORDER BY entry_id)";
    assert_eq!(one_text(&accounts, foreign), one_text(&database("billing/accounts.sql"), foreign));
    assert_eq!(one_text(&accounts, "SELECT amount || ' ' || posted_by FROM entries WHERE invoice_no = '000360'"), "Text(\"4352.750 r.adler\")");
}

#[test]
fn inventory_goes_as_it_should_and_no_piece_is_sold_twice() {
    let root = tempfile::tempdir().unwrap();
    let shown = shown("inventory", root.path());
    for night in &shown.nights {
        let text = std::fs::read_to_string(night.folder.join("report.txt")).unwrap();
        assert!(text.contains(" pieces") && !text.contains("EUR"), "what is at stake are pieces, also where a price cannot be read");
    }
    let data = root.path().join("demo/data");
    let rows = csv_rows(&std::fs::read(data.join("storefront.csv")).unwrap(), b';');
    let warehouse = Connection::open(data.join("warehouse.db")).unwrap();
    let of_warehouse = |sku: &str| -> (i64, String, String) {
        let sql = "SELECT on_hand, list_price, place FROM stock WHERE sku = ?1";
        warehouse.query_row(sql, [sku], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, Option<String>>(2)?.unwrap_or_default()))).unwrap()
    };
    let mut of_storefront = BTreeMap::new();
    for row in &rows[1..] {
        let price = row[2].replace(['.', '\u{a0}', '\u{202f}'], "").replace(',', ".");
        let there = of_warehouse(&row[0]);
        assert_eq!((row[3].parse::<i64>().unwrap(), price, row[4].to_uppercase()), (there.0, there.1, there.2.to_uppercase()), "{}", row[0]);
        of_storefront.insert(row[0].clone(), there.0);
    }
    let expected = [("000441", 12 - 2 - 3), ("000448", 25 - 1 - 1), ("000455", 9 - 4 + 20), ("000357", 12), ("000791", 92), ("002101", 0), ("002108", 40)];
    for (sku, pieces) in expected {
        assert_eq!(of_storefront.get(sku), Some(&pieces), "{sku}");
    }
    // Columns outside the job.
    let pictures = |rows: &[Vec<String>]| -> Vec<String> { rows.iter().take(30).map(|row| format!("{}{}", row[6], row[7])).collect() };
    assert_eq!(pictures(&rows), pictures(&csv_rows(&original("inventory/storefront.csv"), b';')));
    let suppliers = "SELECT group_concat(supplier || supplier_no || reorder_below) FROM (SELECT * FROM stock WHERE stock_id <= 9220 AND supplier IS NOT NULL ORDER BY stock_id)";
    assert_eq!(one_text(&warehouse, suppliers), one_text(&database("inventory/warehouse.sql"), suppliers));
}

#[test]
fn contacts_go_as_they_should_and_nobody_who_said_no_is_subscribed_anywhere() {
    let root = tempfile::tempdir().unwrap();
    let shown = shown("contacts", root.path());
    let data = root.path().join("demo/data");
    let platform = Connection::open(data.join("platform.db")).unwrap();
    let mut statement = platform.prepare("SELECT lower(email), status FROM subscribers").unwrap();
    let of_platform: BTreeMap<String, String> = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
    let crm = csv_rows(&std::fs::read(data.join("crm.csv")).unwrap(), b',');
    let (mut compared, mut only_here) = (0, Vec::new());
    for row in &crm[1..] {
        let address = row[3].trim().trim_start_matches("<mailto:").trim_end_matches('>').to_lowercase();
        match of_platform.get(&address) {
            Some(status) if address != "joerg.weiss@inbox.example" => assert_eq!(&row[6].to_lowercase(), status, "{address}"),
            Some(status) => assert_eq!((row[6].as_str(), status.as_str()), ("", "subscribed"), "a person decides"),
            None => only_here.push(address.clone()),
        }
        compared += 1;
    }
    assert_eq!((compared, only_here), (225, vec!["elodie.weiss@inbox.example".to_owned()]));
    let said_no = ["bjoern.mueller@post.example", "priya.mueller@inbox.example", "noor.mueller@post.example", "ivo.mueller@mail.example"];
    assert!(said_no.iter().all(|address| of_platform[*address] == "unsubscribed"));
    assert!(!of_platform.contains_key("bjoern.weiss@mail.example"), "who asked to be forgotten is forgotten");

    // Consent is told before all else, with a next step that leads to a decision. Names and numbers of people are in no report.
    let open = &shown.nights[1].report.breaks;
    let consent = open.iter().find(|one| one.open.field.as_deref() == Some("consent")).unwrap();
    assert!(consent.important);
    let by_hand = "find out which of `unsubscribed`, `pending`, `subscribed` is right, and put it into `consent` in every system";
    let by_review = format!("; or decide it: `tieout review contacts {} --choose crm` or `--choose platform`", consent.id);
    assert_eq!(consent.open.next_step, format!("{by_hand}{by_review}"));
    for file in ["report.txt", "report.html", "report.json"] {
        let text = std::fs::read_to_string(shown.nights[1].folder.join(file)).unwrap();
        assert!(text.contains("joerg.weiss@inbox.example") && !text.contains("Groß-Weiß") && !text.contains("Siobh"), "{file}");
    }
}

#[test]
fn migration_goes_as_it_should_and_both_hold_the_same_customers() {
    let root = tempfile::tempdir().unwrap();
    let shown = shown("migration", root.path());
    let data = root.path().join("demo/data");
    let (before, after) = (sheet(&fixture("migration/workbook.xlsx"), "Kunden"), sheet(&data.join("workbook.xlsx"), "Kunden"));

    // Every customer of the workbook is in the database once, with the same values, and the other way round.
    let number = |cell: &str| format!("{:0>6}", cell.trim_start_matches("text "));
    let amount = |cell: &str| match cell.strip_prefix("text ") {
        Some(german) => thousandths(&german.replace('.', "").replace(',', ".").replace(" €", "")),
        None => thousandths(cell),
    };
    let first_day: jiff::civil::Date = "1904-01-01".parse().unwrap();
    let day = |cell: &str| match (cell.strip_prefix("date "), cell.strip_prefix("text ")) {
        (Some(day), _) => day.to_owned(),
        (None, Some(german)) => german.split('.').rev().collect::<Vec<_>>().join("-"),
        (None, None) => (first_day + jiff::Span::new().days(cell.parse::<i64>().unwrap())).to_string(),
    };
    let text = |cell: &str| cell.trim_start_matches("text").split_whitespace().collect::<Vec<_>>().join(" ");
    let customers: Vec<&Vec<String>> = after[4..].iter().filter(|row| row[0] != "text Zwischensumme").collect();
    let of_workbook: BTreeMap<String, [String; 5]> = customers
        .iter()
        .map(|row| (number(&row[0]), [text(&row[1]), amount(&row[2]).map_or(String::new(), |it| it.to_string()), day(&row[4]), text(&row[5]), text(&row[6])]))
        .collect();
    assert_eq!((customers.len(), of_workbook.len()), (96, 96), "nobody stands there twice");
    let database_after = Connection::open(data.join("database.db")).unwrap();
    let mut statement = database_after.prepare("SELECT customer_no, name, credit_limit, since, town, ifnull(other_no, '') FROM customers").unwrap();
    let rows = statement.query_map([], |row| {
        let limit: String = row.get(2)?;
        Ok((row.get::<_, String>(0)?, [row.get(1)?, thousandths(&limit).unwrap().to_string(), row.get(3)?, row.get(4)?, row.get(5)?]))
    });
    let of_database: BTreeMap<String, [String; 5]> = rows.unwrap().map(Result::unwrap).collect();
    let differ: Vec<&str> = of_workbook.iter().filter(|(number, values)| of_database.get(*number) != Some(values)).map(|(number, _)| number.as_str()).collect();
    assert_eq!(differ, ["002206", "002213"], "one is deleted in the database, of one the limit is #N/A");
    assert_eq!(of_database.len(), 95);
    let sum: i128 = of_database.values().map(|values| values[1].parse::<i128>().unwrap()).sum();
    let total = shown.nights[2].report.totals.iter().find(|total| total.system == "database").unwrap();
    assert_eq!((total.closing.units * 10, total.group.as_deref()), (sum, Some("EUR")));

    // Cells stay what they are: numbers, texts, dates with and without their format; and so do title, header and formulas.
    let changed: Vec<(usize, usize)> = (0..before.len())
        .flat_map(|row| (0..7).map(move |column| (row, column)))
        .filter(|(row, column)| before[*row][*column] != after[*row][*column])
        .collect();
    let formula_results = |cell: &&(usize, usize)| cell.1 == 3 || [(1, 2), (64, 2)].contains(*cell);
    let values: Vec<&(usize, usize)> = changed.iter().filter(|cell| !formula_results(cell)).collect();
    assert_eq!(values, [&(7, 2), &(11, 4), &(12, 4), &(13, 5), &(14, 6), &(16, 1), &(20, 2), &(29, 1)], "what people edited, and what we wrote");
    assert_eq!((after[12][4].as_str(), after[14][6].as_str()), ("text 29.02.2004", "text 4959389149582033"));
    assert_eq!((after[100][4].as_str(), after[100][2].as_str(), after[100][0].as_str()), ("date 2026-03-30", "12500", "text 002955"));
    let formulas = |path: PathBuf| {
        let mut book: Xlsx<_> = calamine::open_workbook(path).unwrap();
        book.worksheet_formula("Kunden").unwrap().used_cells().map(|(row, column, formula)| (row, column, formula.clone())).collect::<Vec<_>>()
    };
    assert_eq!(formulas(fixture("migration/workbook.xlsx")), formulas(data.join("workbook.xlsx")));
    let entered_by = "SELECT group_concat(entered_by) FROM (SELECT * FROM customers WHERE customer_id <= 542 AND customer_no <> '002206' ORDER BY customer_id)";
    assert_eq!(one_text(&database_after, entered_by), one_text(&database("migration/database.sql"), entered_by), "a column outside the job");
}

#[test]
fn other_programs_open_the_workbooks_that_a_night_wrote() {
    let root = tempfile::tempdir().unwrap();
    for (name, file, sheet) in [("migration", "workbook.xlsx", "Kunden"), ("customers", "sales.xlsx", "Kundenliste")] {
        let folder = root.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        shown(name, &folder);
        let written = folder.join("demo/data").join(file);
        if has_openpyxl("other_programs_open_the_workbooks_that_a_night_wrote") {
            let program = r#"
import sys, openpyxl
for path in sys.argv[1:]:
    book = openpyxl.load_workbook(path)
    sheet = book.worksheets[0]
    print(book.epoch, book.sheetnames, sorted(map(str, sheet.merged_cells.ranges)), sheet.freeze_panes, [r for r, d in sheet.row_dimensions.items() if d.hidden])
    print(sorted((k, d.width) for k, d in sheet.column_dimensions.items()), [(c.coordinate, c.number_format) for row in sheet["A1:K40"] for c in row])
"#;
            let told = python(program, &[&fixture(name).join(file), &written]);
            let lines: Vec<&str> = told.lines().collect();
            assert_eq!((lines[0], lines[1]), (lines[2], lines[3]), "{name}");
            assert_eq!(lines[0].starts_with("1904"), name == "migration", "{}", lines[0]);
        }
        if is_there("soffice", &["--version"], "other_programs_open_the_workbooks_that_a_night_wrote") {
            std::fs::copy(&written, folder.join(file)).unwrap();
            let text = std::fs::read(converted(&folder, file, "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true")).unwrap();
            let rows = csv_rows(&text, b',');
            let of = |number: &str| rows.iter().find(|row| row[0] == number).unwrap_or_else(|| panic!("{sheet}: no {number}")).join("|");
            match name {
                "migration" => {
                    assert!(of("002122").starts_with("002122|Kowalski Holzbau GmbH|4,500.00|5,355.00|"), "computed when it is opened: {}", of("002122"));
                    assert!(of("002955").starts_with("002955|Groß & Klein Spedition GmbH|12,500.00||30."), "{}", of("002955"));
                }
                _ => assert!(of("004329").contains("|4074864703304718"), "sixteen digits: {}", of("004329")),
            }
        }
    }
}

#[test]
fn the_workbooks_are_those_that_their_scripts_make() {
    if !has_openpyxl("the_workbooks_are_those_that_their_scripts_make") {
        return;
    }
    for (name, made) in [("migration", ["workbook.xlsx", "database.sql"].as_slice()), ("customers", &["sales.xlsx"])] {
        let root = tempfile::tempdir().unwrap();
        for (file, bytes) in files(&fixture(name)) {
            std::fs::write(root.path().join(file), bytes).unwrap();
        }
        let script = root.path().join("make.py");
        let program = "import runpy, sys; runpy.run_path(sys.argv[1])";
        made.iter().for_each(|file| std::fs::remove_file(root.path().join(file)).unwrap());
        python(program, &[&script]);
        for file in made {
            let (anew, kept) = (root.path().join(file), fixture(name).join(file));
            if file.ends_with(".sql") {
                assert_eq!(std::fs::read(anew).unwrap(), std::fs::read(kept).unwrap());
            } else {
                let sheets = calamine::open_workbook::<Xlsx<_>, _>(&kept).unwrap().sheet_names();
                assert!(sheets.iter().all(|name| sheet(&anew, name) == sheet(&kept, name)) && sheets.len() == 2, "{name}/{file}");
            }
        }
    }
}

#[test]
fn drift_is_told_with_its_age_and_nothing_is_written() {
    let root = tempfile::tempdir().unwrap();
    let shown = shown("drift", root.path());
    let data = root.path().join("demo/data");
    for night in &shown.nights {
        assert!(night.report.changes.is_empty());
        assert_eq!(night.report.verdict, Verdict::Action);
    }
    assert_eq!(std::fs::read(data.join("register.csv")).unwrap(), original("drift/register.csv"));
    // Of purchasing, exactly the lines that people edited are others.
    let lines = |bytes: &[u8]| bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (before, after) = (lines(&original("drift/purchasing.csv")), lines(&std::fs::read(data.join("purchasing.csv")).unwrap()));
    assert_eq!(after.iter().filter(|line| !before.contains(line)).count(), 5);
    let breaks = &shown.nights[1].report.breaks;
    let text = std::fs::read_to_string(shown.nights[1].folder.join("report.txt")).unwrap();
    let (needs, _) = text.split_once("Control totals").unwrap();
    assert!(needs.find("0001130, iban").unwrap() < needs.find("EUR 24,000.00").unwrap(), "a changed account comes before every amount");
    assert!(text.contains("  30 days") && !text.contains("EUR 30"), "days are no money");
    let worth: i128 = breaks.iter().filter(|one| one.currency.as_deref() == Some("EUR")).map(|one| one.amount.map_or(90_000, |amount| amount.units)).sum();
    assert_eq!(worth, 2_250_000 + 2_400_000 + 2_000_000 + 1_550_000 + 250_000 + 90_000, "what the register lacks has no amount there");
    let ages = |key: &str| breaks.iter().filter(|open| open.open.key == key).map(|open| open.age_days).collect::<Vec<_>>();
    assert_eq!((ages("0001160"), ages("0001130"), ages("0001280")), (vec![1], vec![0], vec![1, 1]));
}

#[test]
fn a_night_of_another_day_changes_nothing_either() {
    for name in demo::names() {
        let root = tempfile::tempdir().unwrap();
        let shown = shown(name, root.path());
        let folder = root.path().join("demo");
        let before = files(&folder.join("data"));
        let project = Project { root: folder.clone(), settings: Settings::default() };
        let job = project.job(name).unwrap();
        let at: jiff::Timestamp = "2026-04-01T01:00:00Z".parse().unwrap();
        let finished = run::run(
            &World { root: &folder, settings: &project.settings, now: &|| at, sleep: &|_| {}, progress: &|_| {}, cancelled: &|| false },
            &job,
            &Request::default(),
        )
        .unwrap();
        assert!(finished.report.changes.is_empty() && finished.report.drift.is_empty() && finished.report.conflicts.is_empty(), "{name}");
        assert_eq!(finished.report.breaks.len(), shown.nights[2].report.breaks.len(), "{name}");
        assert!(finished.report.breaks.iter().all(|open| open.age_days >= 1), "{name}: nothing is new");
        assert_eq!(files(&folder.join("data")), before, "{name}");
    }
}

#[test]
fn a_platform_behind_an_api_ends_as_the_same_platform_that_is_a_database() {
    let root = tempfile::tempdir().unwrap();
    let (here, there) = (root.path().join("here"), root.path().join("there"));
    shown("contacts", &here);
    let by_api = shown("contacts-api", &there);
    let rows = |root: &Path| {
        let connection = Connection::open(root.join("demo/data/platform.db")).unwrap();
        let mut statement = connection.prepare("SELECT * FROM subscribers ORDER BY email").unwrap();
        let row = |row: &rusqlite::Row<'_>| (0..9).map(|column| row.get::<_, rusqlite::types::Value>(column)).collect::<rusqlite::Result<Vec<_>>>();
        statement.query_map([], row).unwrap().collect::<rusqlite::Result<Vec<_>>>().unwrap()
    };
    assert_eq!(rows(&there), rows(&here));
    assert_eq!(std::fs::read(there.join("demo/data/crm.csv")).unwrap(), std::fs::read(here.join("demo/data/crm.csv")).unwrap());
    let token = std::fs::read_to_string(there.join("demo/data/platform.token")).unwrap();
    for night in &by_api.nights {
        for (name, bytes) in files(&night.folder) {
            assert!(!String::from_utf8_lossy(&bytes).contains(&token), "the token is in {name}");
        }
    }
    // What the API shows to who asks it by hand.
    let address = std::fs::read_to_string(there.join("demo/data/platform.url")).unwrap();
    let ask = |path: &str, token: &str| {
        let mut stream = std::net::TcpStream::connect(address.trim_start_matches("http://").trim_end_matches("/api")).unwrap();
        write!(stream, "GET /api/{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut told = String::new();
        stream.read_to_string(&mut told).unwrap();
        let (head, body) = told.split_once("\r\n\r\n").unwrap();
        (head.split_whitespace().nth(1).unwrap().to_owned(), body.to_owned())
    };
    assert_eq!(ask("subscribers", "wrong").0, "401");
    assert_eq!(ask("subscribers/1", &token).0, "404");
    let page: serde_json::Value = serde_json::from_str(&ask("subscribers?after=60001", &token).1).unwrap();
    assert_eq!((page["data"].as_array().unwrap().len(), page["data"][0]["subscriber_id"].as_i64()), (100, Some(60_002)));
}

#[test]
fn two_demonstrations_give_the_same_reports() {
    for name in demo::names() {
        let root = tempfile::tempdir().unwrap();
        let reports = ["one", "two"].map(|part| {
            let shown = shown(name, &root.path().join(part));
            shown.nights.iter().map(|night| std::fs::read(night.folder.join("report.html")).unwrap()).collect::<Vec<_>>()
        });
        assert!(reports[0] == reports[1], "{name}");
    }
}

#[test]
fn a_folder_with_anything_in_it_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("mine.txt"), "mine").unwrap();
    let error = demo::show("customers", root.path(), &|_| {}).unwrap_err();
    assert_eq!(error.remedy, Remedy::MendJob);
    assert!(error.to_string().contains("the folder is not empty") && error.to_string().contains("--into"), "{error}");
    let error = demo::show("customers", &root.path().join("mine.txt"), &|_| {}).unwrap_err();
    assert!(error.to_string().contains("there is a file of that name"), "{error}");
    assert_eq!(files(root.path()), BTreeMap::from([("mine.txt".to_owned(), b"mine".to_vec())]));
    let error = demo::show("custmers", &root.path().join("fresh"), &|_| {}).unwrap_err();
    assert!(error.to_string().contains("did you mean `customers`?"), "{error}");
    assert!(!root.path().join("fresh").exists());
}
