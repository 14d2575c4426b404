//! The workbook and the page of all jobs as runs leave them, read by programs that are not ours: openpyxl and LibreOffice.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use calamine::{Data, Reader, Xlsx, open_workbook};
use tieout::demo;
use tieout::job::Settings;
use tieout::project::Project;
use tieout::report::{ClearedHow, Report, WhyDifferent};
use tieout::run::{self, Request, World};
use tieout::value::Decimal;

/// Whether a program can be started; says that a test is left out where it cannot.
fn has(program: &str, arguments: &[&str]) -> bool {
    let found = Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("SKIPPED: `{program} {}` does not run here", arguments.join(" "));
    }
    found
}

fn rows(book: &Path, sheet: &str) -> Vec<Vec<Data>> {
    let mut book: Xlsx<_> = open_workbook(book).unwrap();
    book.worksheet_range(sheet).unwrap().rows().map(<[Data]>::to_vec).collect()
}

/// The rows of a sheet below its header; none where the sheet says so.
fn listed(book: &Path, sheet: &str) -> Vec<Vec<Data>> {
    rows(book, sheet).into_iter().skip(1).filter(|row| row[0] != Data::String("none".to_owned())).collect()
}

fn sum(amounts: impl Iterator<Item = Decimal>) -> Decimal {
    amounts.fold(Decimal::ZERO, |sum, amount| sum.checked_add(amount).unwrap())
}

/// The open breaks of a night lead to those of the next, one by one and in money.
fn assert_rolls_forward(before: &Report, after: &Report) {
    let roll = after.roll_forward.as_ref().unwrap();
    let ids = |report: &Report| report.breaks.iter().map(|one| one.id.clone()).collect::<std::collections::BTreeSet<_>>();
    let (opening, closing) = (ids(before), ids(after));
    assert_eq!((roll.opening, roll.closing), (opening.len() as u64, closing.len() as u64));
    assert_eq!(roll.new, closing.difference(&opening).count() as u64);
    assert_eq!(roll.cleared_by_us + roll.cleared_at_source + roll.turned, opening.difference(&closing).count() as u64);
    let sums = |report: &Report| {
        let mut sums: BTreeMap<String, Decimal> = BTreeMap::new();
        for (amount, currency) in report.breaks.iter().filter_map(|one| report.stake(one)) {
            let sum = sums.entry(currency).or_insert(Decimal::ZERO);
            *sum = sum.checked_add(amount).unwrap();
        }
        sums
    };
    for one in &roll.amounts {
        assert_eq!(one.opening, sums(before).get(&one.currency).copied().unwrap_or(Decimal::ZERO), "{}", one.currency);
        assert_eq!(one.closing, sums(after).get(&one.currency).copied().unwrap_or(Decimal::ZERO), "{}", one.currency);
        let cleared = sum([one.cleared_by_us, one.cleared_at_source, one.turned].into_iter());
        assert_eq!(sum([one.opening, one.new, one.changed].into_iter()), sum([cleared, one.closing].into_iter()), "{}", one.currency);
    }
    for name in ["breaks", "open amounts"] {
        assert!(after.identities.iter().filter(|identity| identity.name == name).all(|identity| identity.holds));
    }
}

#[test]
fn the_workbook_of_every_night_holds_what_its_report_says() {
    for name in demo::names() {
        let root = tempfile::tempdir().unwrap();
        let shown = demo::show(name, &root.path().join("demo"), &|_| {}).unwrap();
        for night in &shown.nights {
            assert!(night.afterthoughts.is_empty(), "{:?}", night.afterthoughts);
            let (report, book) = (&night.report, night.folder.join("report.xlsx"));
            assert_eq!(book.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            for (sheet, listed_rows) in [
                ("Needs you", report.breaks.len()),
                ("Breaks", report.breaks.len()),
                ("Cleared", report.cleared.len()),
                ("Changes", report.changes.iter().map(|change| change.cells.len().max(1)).sum()),
                ("Conflicts", report.conflicts.len()),
                ("Drift", report.drift.len()),
                ("Tolerance", report.tolerated.len()),
                ("Quarantine", report.quarantined.len()),
                ("Duplicates", report.duplicates.len()),
            ] {
                assert_eq!(listed(&book, sheet).len(), listed_rows, "{name} {} {sheet}", report.run);
            }
            let mail = std::fs::read_to_string(night.folder.join("mail.eml")).unwrap();
            assert!(mail.contains("multipart/mixed") && mail.contains("filename=\"report.xlsx\""));
            // Every cent that a tolerance accepts is in the list, and only those.
            for difference in &report.differences {
                let listed = report.tolerated.iter().filter(|one| {
                    let group = report.currencies.get(&(one.key.clone(), one.field.clone()));
                    one.field == difference.field && one.system == difference.system && group == difference.group.as_ref()
                });
                let accepted = difference.parts.iter().filter(|part| part.why == WhyDifferent::WithinTolerance);
                assert_eq!(sum(listed.clone().map(|one| one.apart.unwrap())), sum(accepted.clone().map(|part| part.amount)), "{name} {}", report.run);
                assert_eq!(listed.count() as u64, accepted.map(|part| part.records).sum::<u64>(), "{name} {}", report.run);
            }
        }
        let [first, second, again] = shown.nights.as_slice() else { panic!("three nights") };
        assert_rolls_forward(&first.report, &second.report);
        assert_rolls_forward(&second.report, &again.report);
        assert!(again.report.cleared.is_empty(), "{name}");
        // The record that waited to be created is one that no system wants now: it was cleared by nobody.
        let turned: Vec<&str> = second.report.cleared.iter().filter(|one| one.how == ClearedHow::Turned).map(|one| one.key.as_str()).collect();
        assert_eq!(turned, if *name == *"billing" { vec!["900001"] } else { vec![] });
    }
}

#[test]
fn two_demonstrations_give_the_same_workbooks() {
    let root = tempfile::tempdir().unwrap();
    let books = ["one", "two"].map(|part| {
        let shown = demo::show("billing", &root.path().join(part), &|_| {}).unwrap();
        shown.nights.iter().map(|night| std::fs::read(night.folder.join("report.xlsx")).unwrap()).collect::<Vec<_>>()
    });
    assert!(books[0] == books[1]);
}

#[test]
fn the_page_of_all_jobs_is_there_after_each_run() {
    let root = tempfile::tempdir().unwrap();
    let shown = demo::show("billing", &root.path().join("demo"), &|_| {}).unwrap();
    let reports = root.path().join("demo/reports");
    let page = std::fs::read_to_string(reports.join("index.html")).unwrap();
    assert_eq!(reports.join("index.html").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    for night in &shown.nights {
        assert!(page.contains(&format!("href=\"billing/{}/report.html\"", night.report.run)), "{page}");
        assert!(reports.join("billing").join(&night.report.run).join("report.html").is_file());
    }
    assert!(page.contains(&format!("{} open</text>", shown.nights[2].report.breaks.len())) && page.contains("<svg "), "{page}");
    let left: Vec<String> = std::fs::read_dir(&reports).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    assert!(left.iter().all(|name| ["billing", "outbox", "index.html", ".index.lock"].contains(&name.as_str())), "{left:?}");
    // A list of another job that nobody can read is no reason to lose the page.
    std::fs::create_dir(reports.join("broken")).unwrap();
    std::fs::write(reports.join("broken/runs.json"), "{").unwrap();
    let project = Project { root: root.path().join("demo"), settings: Settings::default() };
    let at: jiff::Timestamp = "2026-04-01T01:00:00Z".parse().unwrap();
    let world = World { root: &project.root, settings: &project.settings, now: &|| at, sleep: &|_| {}, progress: &|_| {}, cancelled: &|| false };
    let finished = run::run(&world, &project.job("billing").unwrap(), &Request::default()).unwrap();
    assert!(finished.afterthoughts.is_empty(), "{:?}", finished.afterthoughts);
    let page = std::fs::read_to_string(reports.join("index.html")).unwrap();
    assert!(page.contains("billing/20260401T010000Z/report.html") && page.contains("(1 of 1 job)") && !page.contains("broken"), "{page}");
}

#[test]
fn openpyxl_reads_text_as_text_and_numbers_as_numbers() {
    if !has("python3", &["-c", "import openpyxl"]) {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let shown = ["customers", "billing"].map(|name| demo::show(name, &root.path().join(name), &|_| {}).unwrap());
    let script = r#"
import sys, openpyxl
book = openpyxl.load_workbook(sys.argv[1])
formulas = [c.coordinate for s in book for row in s.iter_rows() for c in row if c.data_type == 'f']
assert not formulas, formulas
for sheet in book.worksheets[1:]:
    assert sheet.freeze_panes == 'A2', (sheet.title, sheet.freeze_panes)
    assert sheet.auto_filter.ref, sheet.title
    assert sheet.page_setup.orientation == 'landscape' and sheet.page_setup.fitToHeight == 0, sheet.title
    assert sheet.print_title_rows == '$1:$1', (sheet.title, sheet.print_title_rows)
needs = book['Needs you']
assert needs.data_validations.dataValidation, 'no drop-down'
last = [c.value for c in needs[1]].index('Decision') + 1
assert all(needs.cell(row, last).value is None for row in range(2, needs.max_row + 1)), 'a decision is made already'
for sheet in ('Breaks', 'Changes', 'Drift'):
    for column in book[sheet].iter_cols(min_row=1):
        if column[0].value in ('Id', 'Record'):
            assert all(isinstance(c.value, str) for c in column if c.value is not None), (sheet, column[0].value)
formats = {'JPY': '#,##0', 'EUR': '#,##0.00', 'KWD': '#,##0.000'}
for row in book['Breaks'].iter_rows(min_row=2):
    amount, currency = row[9], row[10]
    if amount.value is not None:
        assert isinstance(amount.value, (int, float)), amount.value
        assert amount.number_format == formats[currency.value], (currency.value, amount.number_format)
days = [row[5] for row in book['Breaks'].iter_rows(min_row=2)]
assert all(c.is_date for c in days), [c.value for c in days]
print(book.properties.created.isoformat())
"#;
    for night in shown.iter().flat_map(|shown| &shown.nights) {
        let output = Command::new("python3").args(["-c", script]).arg(night.folder.join("report.xlsx")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), night.report.started.trim_end_matches('Z'));
    }
}

#[test]
fn libreoffice_opens_and_prints_it() {
    if !has("soffice", &["--version"]) {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let shown = demo::show("billing", &root.path().join("demo"), &|_| {}).unwrap();
    let book = shown.nights[1].folder.join("report.xlsx");
    let profile = format!("-env:UserInstallation=file://{}", root.path().join("profile").display());
    let convert = |to: &str| {
        let output = Command::new("soffice").args(["--headless", &profile, "--convert-to", to, "--outdir"]).arg(root.path()).arg(&book).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    // Every sheet as a file of its own.
    convert("csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false,false,false,-1");
    let breaks = std::fs::read_to_string(root.path().join("report-Breaks.csv")).unwrap();
    assert!(breaks.contains("000351") && breaks.contains("8809.99"), "{breaks}");
    let summary = std::fs::read_to_string(root.path().join("report-Summary.csv")).unwrap();
    assert!(summary.contains("KWD") && summary.contains("0.003"), "each currency has its own number of decimals: {summary}");
    convert("pdf");
    assert!(std::fs::read(root.path().join("report.pdf")).unwrap().starts_with(b"%PDF"));
}
