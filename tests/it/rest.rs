//! Records at rest: a world in which they are left alone goes the way of its twin in which every record is looked into.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use tieout::project::Project;
use tieout::report::Report;
use tieout::run::{self, Request, World};
use tieout::state::Stored;

const JOB: &str = r#"
name = "pair"
key = ["id"]

[systems.sheet]
kind = "csv"
role = "peer"
path = "data/sheet.csv"

[systems.book]
kind = "sql"
role = "peer"
url = "sqlite:data/book.db"
table = "book"
id = "number"

[systems.proof]
kind = "csv"
role = "witness"
path = "data/proof.csv"

[fields.id]
type = "text"
columns = { sheet = "id", book = "id", proof = "id" }
owner = "sheet"

[fields.name]
type = "text"
columns = { sheet = "name", book = "name" }
clean = ["collapse-spaces"]
merge = { priority = ["sheet", "book"] }

[fields.amount]
type = "decimal(2)"
columns = { sheet = "amount", book = "amount", proof = "amount" }
merge = "max"
tolerance = "0.05"

[fields.currency]
type = "text"
columns = { sheet = "currency", book = "currency" }
owner = "book"

[fields.stock]
type = "integer"
columns = { sheet = "stock", book = "stock" }
merge = "sum-of-changes"

[totals]
amount = { by = "currency" }

[deletes]
policy = "propagate"

[gates]
deletes = "off"
updates = "off"
shrink = "off"
growth = "off"
all-changed = "off"
"#;

/// A stream of numbers that is the same every time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

type Sheet = Vec<Vec<String>>;

const SNAPSHOTS_DAYS: i64 = 5;

struct Twin {
    root: tempfile::TempDir,
    every_record: bool,
}

impl Twin {
    fn new(every_record: bool, sheet: &Sheet) -> Twin {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("jobs")).unwrap();
        fs::create_dir(root.path().join("data")).unwrap();
        fs::write(root.path().join("jobs/pair.toml"), JOB).unwrap();
        // Old snapshots go, and those that later ones stand on do not.
        fs::write(root.path().join("tieout.toml"), format!("snapshots_days = {SNAPSHOTS_DAYS}\n")).unwrap();
        let twin = Twin { root, every_record };
        twin.write_sheet("sheet", sheet);
        twin.write_sheet("proof", sheet);
        let book = twin.book();
        book.execute_batch("CREATE TABLE book (number INTEGER PRIMARY KEY, id TEXT, name TEXT, amount TEXT, currency TEXT, stock INTEGER, note TEXT)").unwrap();
        twin
    }

    fn book(&self) -> Connection {
        Connection::open(self.root.path().join("data/book.db")).unwrap()
    }

    fn write_sheet(&self, name: &str, rows: &Sheet) {
        let lines: Vec<String> = rows.iter().map(|cells| cells.join(",")).collect();
        fs::write(self.root.path().join(format!("data/{name}.csv")), format!("{}\n", lines.join("\n"))).unwrap();
    }

    fn read_sheet(&self, name: &str) -> Sheet {
        let text = fs::read_to_string(self.root.path().join(format!("data/{name}.csv"))).unwrap();
        text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
    }

    fn run(&self, night: i64, request: Request) -> Report {
        let project = Project::find(Some(self.root.path())).unwrap();
        let job = project.job("pair").unwrap();
        let first: Timestamp = "2026-03-02T01:00:00Z".parse().unwrap();
        let clock = Cell::new(first.checked_add(SignedDuration::from_hours(24 * night)).unwrap());
        let now = || clock.replace(clock.get().checked_add(SignedDuration::from_secs(1)).unwrap());
        let world = World { root: &project.root, settings: &project.settings, now: &now, sleep: &|_| {}, progress: &|_| {}, cancelled: &|| false };
        let finished = run::run(&world, &job, &Request { every_record: self.every_record, ..request }).unwrap();
        assert!(finished.afterthoughts.is_empty(), "{:?}", finished.afterthoughts);
        finished.report
    }

    /// What the run tells, without what only says how much was looked into.
    fn told(&self, night: i64) -> String {
        let mut report = self.run(night, Request { first_contact: true, ..Request::default() });
        assert!(report.identities.iter().all(|identity| identity.holds), "{:?}", report.identities);
        for system in &mut report.systems {
            system.cleaning.clear();
        }
        // What a run leaves to the next is sealed, too, and the twins leave their bases in other folders.
        report.ledger_head = None;
        tieout::report::json::render(&report)
    }

    /// What the snapshots hold that are still kept, by run and system: the columns of each, row by row.
    fn snapshots(&self) -> BTreeMap<String, BTreeMap<String, Vec<Vec<String>>>> {
        let stored = Stored::open(&self.root.path().join("state/pair")).unwrap().unwrap();
        let runs = fs::read_dir(self.root.path().join("state/pair/snapshots")).unwrap().flatten();
        let of_run = |run: &str| {
            let of_system = |system: &str| {
                let frame = stored.snapshot(run, system).unwrap().unwrap();
                let cell = |column: &polars::prelude::Column, row: usize| column.get(row).unwrap().to_string();
                (0..frame.height()).map(|row| frame.columns().iter().map(|column| cell(column, row)).collect()).collect()
            };
            ["sheet", "book", "proof"].map(|system| (system.to_owned(), of_system(system))).into()
        };
        runs.map(|run| run.file_name().into_string().unwrap()).map(|run| (run.clone(), of_run(&run))).collect()
    }

    fn data(&self) -> BTreeMap<String, String> {
        let sheets = ["sheet", "proof"].map(|name| (name.to_owned(), fs::read_to_string(self.root.path().join(format!("data/{name}.csv"))).unwrap()));
        let book = self.book();
        let mut rows = book.prepare("SELECT number, id, name, amount, currency, stock, note FROM book ORDER BY number").unwrap();
        let text = |row: &rusqlite::Row<'_>| (0..7).map(|at| row.get_ref(at).map(|v| format!("{v:?}"))).collect::<Result<Vec<_>, _>>();
        let rows: Vec<String> = rows.query_map([], text).unwrap().map(|row| row.unwrap().join("|")).collect();
        sheets.into_iter().chain([("book".to_owned(), rows.join("\n"))]).collect()
    }
}

/// Edits one sheet as people do: cells, rows, order.
fn edit_sheet(sheet: &mut Sheet, draw: &mut Draw, next: &mut u64) {
    for _ in 0..draw.below(4) {
        let at = 1 + draw.below(sheet.len() as u64 - 1) as usize;
        match draw.below(10) {
            0..=2 => sheet[at][1] = format!("Name  {}", draw.below(1000)),
            3 => sheet[at][2] = format!("{}.{:02}", draw.below(500), draw.below(100)),
            4 => sheet[at][4] = draw.below(90).to_string(),
            5 => sheet[at][5] = format!("note {}", draw.below(1000)),
            6 => drop(sheet.remove(at)),
            7 => {
                *next += 1;
                sheet.push(vec![format!("K{next}"), "New".into(), "1.00".into(), "EUR".into(), "1".into(), String::new()]);
            }
            8 => {
                let copy = sheet[at].clone();
                sheet.push(copy);
            }
            _ => sheet[at][2] = "not a number".into(),
        }
    }
    if draw.below(3) == 0 {
        let (a, b) = (1 + draw.below(sheet.len() as u64 - 1) as usize, 1 + draw.below(sheet.len() as u64 - 1) as usize);
        sheet.swap(a, b);
    }
}

#[test]
fn a_world_with_records_at_rest_goes_the_way_of_its_twin() {
    for seed in 1..=3 {
        let mut draw = Draw(seed * 0x9E37_79B9);
        let mut sheet: Sheet = vec![["id", "name", "amount", "currency", "stock", "note"].map(str::to_owned).to_vec()];
        for number in 0..240 {
            let cells =
                [format!("K{number}"), format!(" Name {number}"), format!("{number}.50"), ["EUR", "JPY"][number % 2].to_owned(), "5".to_owned(), String::new()];
            sheet.push(cells.to_vec());
        }
        let mut next = 1000;
        let twins = [Twin::new(false, &sheet), Twin::new(true, &sheet)];
        let (mut parts_seen, mut stood_on) = (0, 0);
        for night in 0..14 {
            let [resting, whole] = [twins[0].told(night), twins[1].told(night)];
            if resting != whole {
                let difference = similar::TextDiff::from_lines(&whole, &resting).unified_diff().context_radius(2).to_string();
                panic!("seed {seed}, night {night}: with records at rest the run tells something else\n{difference}");
            }
            assert_eq!(twins[0].data(), twins[1].data(), "seed {seed}, night {night}");
            parts_seen = parts_seen.max(parts(twins[0].root.path()));
            let [delta, whole] = [twins[0].snapshots(), twins[1].snapshots()];
            assert!(whole.len() as i64 >= (night + 1).min(SNAPSHOTS_DAYS), "seed {seed}, night {night}");
            for (run, snapshots) in whole {
                assert_eq!(delta[&run], snapshots, "seed {seed}, night {night}: the snapshots of run {run}");
            }
            stood_on += usize::from(delta_files(twins[0].root.path()) > 0);
            assert_eq!(delta_files(twins[1].root.path()), 0);
            // Every so often nobody edits anything.
            if night % 4 == 3 {
                continue;
            }
            let mut sheet = twins[0].read_sheet("sheet");
            edit_sheet(&mut sheet, &mut draw, &mut next);
            let proof_edits = draw.below(3) == 0;
            let (number, column) = (1 + draw.below(240), ["name", "stock", "amount", "note", "id"][draw.below(5) as usize]);
            let value = if column == "id" { format!("K{}", draw.below(240)) } else { draw.below(90).to_string() };
            for twin in &twins {
                twin.write_sheet("sheet", &sheet);
                if proof_edits {
                    twin.write_sheet("proof", &sheet);
                }
                twin.book().execute(&format!("UPDATE book SET {column} = ?1 WHERE number = ?2"), rusqlite::params![value, number as i64]).unwrap();
            }
        }
        assert!(parts_seen > 1, "no run left its bases on top of those of another");
        assert!(stood_on > 5, "few snapshots stand on those of another");
    }
}

/// The same cells under other names are other values, in files and tables alike.
#[test]
fn a_header_that_changes_places_wakes_every_record() {
    let mut sheet: Sheet = vec![["id", "name", "amount", "currency", "stock", "note"].map(str::to_owned).to_vec()];
    sheet.extend((0..30).map(|number| [format!("K{number}"), "N".into(), "5.00".into(), "EUR".into(), "5".into(), String::new()].to_vec()));
    let twins = [Twin::new(false, &sheet), Twin::new(true, &sheet)];
    for night in 0..2 {
        assert_eq!(twins[0].told(night), twins[1].told(night));
    }
    for twin in &twins {
        twin.write_sheet("sheet", &{
            let mut swapped = twin.read_sheet("sheet");
            swapped[0].swap(2, 4);
            swapped[3][2] = "7".into();
            swapped
        });
        twin.book().execute_batch("ALTER TABLE book RENAME COLUMN name TO other; ALTER TABLE book RENAME COLUMN currency TO name; ALTER TABLE book RENAME COLUMN other TO currency;").unwrap();
    }
    let [resting, whole] = [twins[0].told(2), twins[1].told(2)];
    assert_eq!(resting, whole);
    assert!(whole.contains("\"stock\""), "the new names are read: {whole}");
    assert_eq!(twins[0].data(), twins[1].data());
}

/// How many folders of bases hold only what their run looked into.
fn parts(root: &Path) -> usize {
    let folders = fs::read_dir(root.join("state/pair/base")).unwrap().flatten();
    folders.filter(|folder| folder.path().join("records.parquet").exists()).count()
}

/// How many snapshots stand on others.
fn delta_files(root: &Path) -> usize {
    fs::read_dir(root.join("state/pair/snapshots")).unwrap().flatten().filter(|folder| folder.path().join("below").exists()).count()
}
