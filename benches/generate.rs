//! Makes two systems of records as CSV files: the same bytes for the same arguments, on every machine.
//!
//! ```sh
//! cargo run --example generate -- FOLDER [OPTIONS]
//! rustc -O --edition 2024 -o generate benches/generate.rs && ./generate FOLDER [OPTIONS]
//! ```
//!
//! Without `--job` it writes `a.csv` and `b.csv` for a comparison: B is A a *night* later. With it, it writes a folder in which
//! `tieout run bench` runs: `jobs/bench.toml`, `data/a.csv` and `data/b.csv`, at first of the same records. `--night N` then writes
//! `data/a.csv` alone, as its people leave it before the N-th night; `data/b.csv` stays as the run wrote it.
//!
//! | option | |
//! | --- | --- |
//! | `--rows N` | records at the start: 1,000,000 |
//! | `--shape NAME` | `ten` ordinary columns (default), `wide` (200), `long` (texts of 2,000 bytes, with quotes and line breaks), `three` (a key of three columns), `narrow` (two columns) |
//! | `--columns N` | columns of `wide` |
//! | `--width N` | bytes of a note or long text |
//! | `--changed SHARE` | of the records that a night changes, each in one cell: 0.01 |
//! | `--added SHARE`, `--deleted SHARE` | of the records that it adds and takes away: 0 |
//! | `--dirty SHARE` | of the cells that are spelled otherwise, and mean the same to the job: 0 |
//! | `--shuffled none\|a\|b\|both` | whose rows stand in no order: `b` |
//! | `--seed N` | another world: 1 |
//!
//! Prints one line of JSON for each file: its path, rows and bytes, and what its last night did.
//!
//! # Design
//! - Only the standard library, so that it builds in seconds, with or without the project.
//! - Nothing is held. Every cell is computed from the seed, its column, the number of its record and how often it was changed;
//!   which record stands in a row, and which ones a night touches, tells a permutation of the numbers (a Feistel network). Ten
//!   million rows take as much memory as ten.
//! - A changed cell always holds another value than the night before, and the shares are met to the row.

#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Identifies a record.
    Key,
    /// The three parts of a key.
    Company,
    /// The three parts of a key.
    Series,
    /// The three parts of a key.
    Document,
    /// A name of a person or firm.
    Name,
    /// A mail address of its own.
    Mail,
    /// One of 5,000 cities.
    City,
    /// Street and house.
    Street,
    /// Up to 99,999.99, with two decimals.
    Amount,
    /// Up to 9,999.
    Count,
    /// A day of 2026.
    Day,
    /// `true` or `false`.
    Flag,
    /// Text of the world's width.
    Note,
    /// Text of the world's width that needs quotes.
    Text,
}

impl Kind {
    fn is_key(self) -> bool {
        matches!(self, Kind::Key | Kind::Company | Kind::Series | Kind::Document)
    }

    /// How many values there are, where they are drawn.
    fn values(self) -> u64 {
        match self {
            Kind::Name => 1_000_000,
            Kind::City => 5_000,
            Kind::Street => 300,
            Kind::Amount => 10_000_000,
            Kind::Count => 10_000,
            Kind::Day => 336,
            Kind::Flag => 2,
            Kind::Note | Kind::Text => 100_000_000,
            Kind::Key | Kind::Company | Kind::Series | Kind::Document | Kind::Mail => u64::MAX,
        }
    }

    /// As the job file names it.
    fn field_type(self) -> &'static str {
        match self {
            Kind::Amount => "decimal(2)",
            Kind::Count => "integer",
            Kind::Day => "date",
            Kind::Flag => "boolean",
            _ => "text",
        }
    }

    /// How the job cleans it.
    fn clean(self) -> Option<&'static str> {
        match self {
            Kind::Name => Some("collapse-spaces"),
            Kind::Mail => Some("email"),
            Kind::City => Some("upper"),
            _ => None,
        }
    }
}

/// Which records there are.
#[derive(Clone, Debug)]
pub struct World {
    /// How many there are before the first night.
    pub rows: u64,
    /// The columns, keys first.
    pub columns: Vec<(String, Kind)>,
    /// Bytes of a [`Kind::Note`] or [`Kind::Text`], about.
    pub width: usize,
    /// How many of the first records a night changes.
    pub changed: u64,
    /// How many records a night adds.
    pub added: u64,
    /// How many of the first records a night takes away.
    pub deleted: u64,
    /// Of a million cells that can be spelled otherwise, so many are.
    pub dirty_ppm: u64,
    /// Tells this world from others.
    pub seed: u64,
}

/// What a file came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows below the header.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Rows in which the last night changed a cell.
    pub changed: u64,
    /// Rows that it added.
    pub added: u64,
    /// Rows that it took away.
    pub deleted: u64,
}

/// The columns of a shape and its usual width of texts; nothing if there is no such shape.
pub fn shape(name: &str, wide: usize) -> Option<(Vec<(String, Kind)>, usize)> {
    let named = |columns: &[(&str, Kind)]| columns.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect::<Vec<_>>();
    let id = ("id", Kind::Key);
    Some(match name {
        "ten" => {
            let others = [("name", Kind::Name), ("email", Kind::Mail), ("city", Kind::City), ("street", Kind::Street), ("amount", Kind::Amount)];
            let last = [("count", Kind::Count), ("day", Kind::Day), ("active", Kind::Flag), ("note", Kind::Note)];
            (named(&[&[id], &others[..], &last[..]].concat()), 13)
        }
        "wide" => {
            const KINDS: [Kind; 8] = [Kind::Name, Kind::City, Kind::Amount, Kind::Count, Kind::Day, Kind::Flag, Kind::Note, Kind::Street];
            let others = (1..wide).map(|number| (format!("f{number:03}"), KINDS[number % KINDS.len()]));
            ([("id".to_owned(), Kind::Key)].into_iter().chain(others).collect(), 13)
        }
        "long" => (named(&[id, ("title", Kind::Name), ("text", Kind::Text), ("day", Kind::Day)]), 2_000),
        "three" => {
            let key = [("company", Kind::Company), ("series", Kind::Series), ("document", Kind::Document)];
            let others = [("name", Kind::Name), ("amount", Kind::Amount), ("day", Kind::Day), ("city", Kind::City), ("note", Kind::Note)];
            (named(&[&key[..], &others[..]].concat()), 13)
        }
        "narrow" => (named(&[id, ("amount", Kind::Amount)]), 13),
        _ => return None,
    })
}

/// Spreads a number over all of them: the last step of SplitMix64.
fn spread(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn mixed(seed: u64, of: u64) -> u64 {
    spread(seed.wrapping_add(of.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// The numbers below a bound in another order, each once.
#[derive(Clone, Copy, Debug)]
struct Permutation {
    bound: u64,
    half_bits: u32,
    seed: u64,
}

impl Permutation {
    fn new(bound: u64, seed: u64) -> Permutation {
        let bits = u64::BITS - bound.saturating_sub(1).leading_zeros();
        Permutation { bound, half_bits: bits.div_ceil(2).max(1), seed: spread(seed) }
    }

    fn at(self, place: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let mut number = place;
        // A number beyond the bound is permuted again until it is below: the way back leads the same way, so none is hit twice.
        loop {
            let (mut left, mut right) = (number >> self.half_bits, number & mask);
            for round in 0..4 {
                (left, right) = (right, left ^ (mixed(self.seed.wrapping_add(round), right) & mask));
            }
            number = (left << self.half_bits) | right;
            if number < self.bound {
                return number;
            }
        }
    }
}

/// What the nights up to one did to a record.
struct Fate {
    /// The night that took it away.
    deleted: Option<u64>,
    /// By night the column that it changed.
    changes: Vec<(u64, usize)>,
}

impl World {
    /// Writes the file as it is after a night, 0 for before the first one, with its rows in key order or in none.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self, file: &Path, night: u64, is_shuffled: bool) -> Result<Written, Box<dyn Error>> {
        const BUFFER: usize = 1 << 20;
        let salt = spread(file.file_name().unwrap_or_default().as_encoded_bytes().iter().fold(self.seed, |salt, byte| mixed(salt, u64::from(*byte))));
        let mut to = File::create(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let mut out: Vec<u8> = Vec::with_capacity(BUFFER + (self.width + 64) * self.columns.len());
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| name.as_str()).collect();
        writeln!(out, "{}", names.join(","))?;
        let keys = self.columns.iter().filter(|(_, kind)| kind.is_key()).count();
        let all = self.rows + night * self.added;
        let order = Permutation::new(all, mixed(salt, 0));
        let touched: Vec<Permutation> = (1..=night).map(|night| Permutation::new(self.rows, mixed(self.seed, night))).collect();
        let mut written = Written::default();
        for place in 0..all {
            let number = if is_shuffled { order.at(place) } else { place };
            let fate = self.fate(number, &touched, keys);
            if let Some(gone) = fate.deleted {
                written.deleted += u64::from(gone == night);
                continue;
            }
            written.rows += 1;
            written.added += u64::from(night > 0 && number >= all - self.added);
            written.changed += u64::from(fate.changes.last().is_some_and(|(of, _)| *of == night));
            for column in 0..self.columns.len() {
                let changes = fate.changes.iter().filter(|(_, changed)| *changed == column).count() as u64;
                let is_dirty = self.dirty_ppm > 0 && mixed(mixed(salt, number), column as u64) % 1_000_000 < self.dirty_ppm;
                self.cell(&mut out, column, number, changes, is_dirty)?;
                out.push(if column + 1 == self.columns.len() { b'\n' } else { b',' });
            }
            if out.len() >= BUFFER {
                written.bytes += out.len() as u64;
                to.write_all(&out)?;
                out.clear();
            }
        }
        written.bytes += out.len() as u64;
        to.write_all(&out)?;
        Ok(written)
    }

    fn fate(&self, number: u64, touched: &[Permutation], keys: usize) -> Fate {
        let mut fate = Fate { deleted: None, changes: Vec::new() };
        if number >= self.rows {
            return fate;
        }
        for (night, touched) in (1..).zip(touched) {
            let lot = touched.at(number);
            if lot < self.changed && self.columns.len() > keys {
                let column = mixed(touched.seed, number) % (self.columns.len() - keys) as u64;
                fate.changes.push((night, keys + column as usize));
            } else if (self.changed..self.changed + self.deleted).contains(&lot) {
                fate.deleted = Some(night);
                break;
            }
        }
        fate
    }

    fn cell(&self, out: &mut Vec<u8>, column: usize, number: u64, changes: u64, is_dirty: bool) -> std::io::Result<()> {
        const SERIES: u64 = 12;
        const COMPANIES: u64 = 97;
        let kind = self.columns[column].1;
        let drawn = mixed(mixed(self.seed, 0x00c0_1000 + column as u64), number);
        // One further with each change, so that it never is what it was.
        let value = (drawn % kind.values()).wrapping_add(changes) % kind.values();
        match kind {
            Kind::Key => write!(out, "C{number:09}"),
            Kind::Company => write!(out, "{:04}", number % COMPANIES),
            Kind::Series => write!(out, "S{:02}", number / COMPANIES % SERIES),
            Kind::Document => write!(out, "{:07}", number / (COMPANIES * SERIES)),
            Kind::Name if is_dirty => write!(out, "Customer  {value} "),
            Kind::Name => write!(out, "Customer {value}"),
            Kind::Mail => {
                write!(out, "c{number}")?;
                if changes > 0 {
                    write!(out, ".{changes}")?;
                }
                out.write_all(if is_dirty { b"@Example.COM" } else { b"@example.com" })
            }
            Kind::City => write!(out, "{} {value}", if is_dirty { "City" } else { "CITY" }),
            Kind::Street => write!(out, "{value} Long Street"),
            Kind::Amount => write!(out, "{}.{:02}", value / 100, value % 100),
            Kind::Count => write!(out, "{value}"),
            Kind::Day => write!(out, "2026-{:02}-{:02}", value / 28 + 1, value % 28 + 1),
            Kind::Flag => write!(out, "{}", value == 1),
            Kind::Note => {
                let end = out.len() + self.width;
                write!(out, "note {value:08}")?;
                words(out, end, drawn, false)
            }
            Kind::Text => {
                let end = out.len() + self.width;
                write!(out, "\"Case {value:08}, as told:")?;
                words(out, end, drawn, true)?;
                out.write_all(b"\"")
            }
        }
    }
}

/// Adds words up to a length; between them, where they stand in quotes, what needs quotes.
fn words(out: &mut Vec<u8>, end: usize, mut drawn: u64, is_quoted: bool) -> std::io::Result<()> {
    const WORDS: [&str; 16] =
        ["letter", "Müller", "paid", "the", "second", "of", "naïve", "customer", "account", "on", "hold", "until", "Zoë", "calls", "again", "in"];
    while out.len() < end {
        drawn = spread(drawn.wrapping_add(1));
        let between = match drawn % 64 {
            0 if is_quoted => "\n",
            1 if is_quoted => ", ",
            2 if is_quoted => " \"\"so\"\" ",
            _ => " ",
        };
        write!(out, "{between}{}", WORDS[(drawn >> 32) as usize % WORDS.len()])?;
    }
    Ok(())
}

/// The job file of a world: two peers, of which A wins, over `data/a.csv` and `data/b.csv`.
pub fn job_file(world: &World) -> String {
    let keys: Vec<String> = world.columns.iter().filter(|(_, kind)| kind.is_key()).map(|(name, _)| format!("{name:?}")).collect();
    let mut text = format!("name = \"bench\"\nkey = [{}]\n", keys.join(", "));
    for system in ["a", "b"] {
        text += &format!("\n[systems.{system}]\nkind = \"csv\"\nrole = \"peer\"\npath = \"data/{system}.csv\"\n");
    }
    for (name, kind) in &world.columns {
        text += &format!("\n[fields.{name}]\ntype = \"{}\"\ncolumns = {{ a = \"{name}\", b = \"{name}\" }}\n", kind.field_type());
        if let Some(rule) = kind.clean() {
            text += &format!("clean = [\"{rule}\"]\n");
        }
        text += "merge = { priority = [\"a\", \"b\"] }\n";
    }
    text
}

/// What is asked on the command line.
#[derive(Debug)]
struct Asked {
    folder: PathBuf,
    world: World,
    shuffled: (bool, bool),
    is_job: bool,
    night: u64,
}

fn asked(arguments: impl Iterator<Item = String>) -> Result<Asked, Box<dyn Error>> {
    let mut arguments = arguments;
    let (mut folder, mut name, mut wide, mut width) = (None, "ten".to_owned(), 200, None);
    let (mut rows, mut shares, mut seed) = (1_000_000, [0.01, 0.0, 0.0, 0.0], 1);
    let (mut shuffled, mut is_job, mut night) = ((false, true), false, 0);
    while let Some(argument) = arguments.next() {
        if argument == "--job" {
            is_job = true;
            continue;
        }
        if !argument.starts_with("--") {
            folder = Some(PathBuf::from(argument));
            continue;
        }
        let value = arguments.next().ok_or_else(|| format!("`{argument}` needs a value"))?;
        let number = || value.replace('_', "").parse::<u64>().map_err(|_| format!("`{argument} {value}`: this is no number"));
        let share = || match value.parse::<f64>() {
            Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
            _ => Err(format!("`{argument} {value}`: a share is a number from 0 to 1")),
        };
        match argument.as_str() {
            "--rows" => rows = number()?,
            "--shape" => name.clone_from(&value),
            "--columns" => wide = number()? as usize,
            "--width" => width = Some(number()? as usize),
            "--changed" => shares[0] = share()?,
            "--added" => shares[1] = share()?,
            "--deleted" => shares[2] = share()?,
            "--dirty" => shares[3] = share()?,
            "--seed" => seed = number()?,
            "--night" => night = number()?,
            "--shuffled" => {
                shuffled = match value.as_str() {
                    "none" => (false, false),
                    "a" => (true, false),
                    "b" => (false, true),
                    "both" => (true, true),
                    _ => return Err(format!("`--shuffled {value}`: it is `none`, `a`, `b` or `both`").into()),
                }
            }
            _ => return Err(format!("there is no option `{argument}`").into()),
        }
    }
    let (columns, usual) = shape(&name, wide).ok_or_else(|| format!("there is no shape `{name}`: `ten`, `wide`, `long`, `three`, `narrow`"))?;
    let of_rows = |share: f64| (rows as f64 * share).round() as u64;
    let [changed, added, deleted] = [of_rows(shares[0]), of_rows(shares[1]), of_rows(shares[2])];
    if changed + deleted > rows {
        return Err("a night cannot change and take away more records than there are".into());
    }
    let dirty_ppm = (shares[3] * 1e6).round() as u64;
    let world = World { rows, columns, width: width.unwrap_or(usual), changed, added, deleted, dirty_ppm, seed };
    Ok(Asked { folder: folder.ok_or("say which folder the files go into")?, world, shuffled, is_job, night })
}

fn tell(file: &Path, written: Written) {
    let Written { rows, bytes, changed, added, deleted } = written;
    println!(
        "{{\"file\": {:?}, \"rows\": {rows}, \"bytes\": {bytes}, \"changed\": {changed}, \"added\": {added}, \"deleted\": {deleted}}}",
        file.display().to_string()
    );
}

fn main() -> Result<(), Box<dyn Error>> {
    let Asked { folder, world, shuffled, is_job, night } = asked(std::env::args().skip(1))?;
    let data = if is_job { folder.join("data") } else { folder.clone() };
    fs::create_dir_all(&data)?;
    if is_job && night == 0 {
        fs::create_dir_all(folder.join("jobs"))?;
        fs::write(folder.join("jobs/bench.toml"), job_file(&world))?;
    }
    let (a, b) = (data.join("a.csv"), data.join("b.csv"));
    tell(&a, world.write(&a, night, shuffled.0)?);
    match (is_job, night) {
        (false, _) => tell(&b, world.write(&b, night + 1, shuffled.1)?),
        (true, 0) => tell(&b, world.write(&b, 0, shuffled.1)?),
        (true, _) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn world(name: &str, rows: u64) -> World {
        let (columns, width) = shape(name, 20).unwrap();
        World { rows, columns, width, changed: rows / 10, added: rows / 20, deleted: rows / 25, dirty_ppm: 0, seed: 7 }
    }

    fn text(world: &World, name: &str, night: u64, is_shuffled: bool) -> (String, Written) {
        let folder = std::env::temp_dir().join(format!("tieout-generate-{}-{:?}", std::process::id(), std::thread::current().id()));
        fs::create_dir_all(&folder).unwrap();
        let written = world.write(&folder.join(name), night, is_shuffled).unwrap();
        let text = fs::read_to_string(folder.join(name)).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(written.bytes, text.len() as u64);
        (text, written)
    }

    /// By key the rest of the row, of a file without quotes.
    fn records(text: &str, keys: usize) -> BTreeMap<String, String> {
        let row = |line: &str| {
            let at = line.match_indices(',').nth(keys - 1).unwrap().0;
            (line[..at].to_owned(), line[at + 1..].to_owned())
        };
        text.lines().skip(1).map(row).collect()
    }

    #[test]
    fn a_permutation_gives_every_number_once() {
        for bound in [1, 2, 3, 5, 64, 65, 1000] {
            let permutation = Permutation::new(bound, 3);
            let all: BTreeSet<u64> = (0..bound).map(|place| permutation.at(place)).collect();
            assert_eq!(all, (0..bound).collect(), "{bound}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
        let one = world("ten", 500);
        assert_eq!(text(&one, "b.csv", 1, true), text(&one, "b.csv", 1, true));
        assert_ne!(text(&one, "b.csv", 1, true).0, text(&World { seed: 8, ..one }, "b.csv", 1, true).0);
    }

    #[test]
    fn a_night_changes_adds_and_deletes_as_many_records_as_it_says() {
        for (name, keys) in [("ten", 1), ("wide", 1), ("three", 3), ("narrow", 1)] {
            let world = world(name, 1000);
            for night in 1..4 {
                let (before, _) = text(&world, "a.csv", night - 1, false);
                let (after, written) = text(&world, "b.csv", night, true);
                let (before, after) = (records(&before, keys), records(&after, keys));
                let found = Written {
                    rows: after.len() as u64,
                    bytes: written.bytes,
                    changed: after.iter().filter(|(key, row)| before.get(*key).is_some_and(|was| was != *row)).count() as u64,
                    added: after.keys().filter(|key| !before.contains_key(*key)).count() as u64,
                    deleted: before.keys().filter(|key| !after.contains_key(*key)).count() as u64,
                };
                assert_eq!(found, written, "{name}, night {night}");
                if night == 1 {
                    assert_eq!((found.rows, found.changed, found.added, found.deleted), (1010, 100, 50, 40), "{name}");
                }
            }
        }
    }

    #[test]
    fn only_a_shuffled_file_is_out_of_order() {
        let world = world("ten", 300);
        let keys = |is_shuffled| text(&world, "a.csv", 0, is_shuffled).0.lines().skip(1).map(|line| line[..10].to_owned()).collect::<Vec<_>>();
        assert!(keys(false).is_sorted());
        assert!(!keys(true).is_sorted());
    }

    #[test]
    fn a_dirty_cell_is_spelled_otherwise_and_means_the_same() {
        let clean = world("ten", 300);
        let (was, _) = text(&clean, "a.csv", 0, false);
        let (is, _) = text(&World { dirty_ppm: 200_000, ..clean }, "a.csv", 0, false);
        assert_ne!(was, is);
        let cleaned = is.replace("Customer  ", "Customer ").replace(" ,", ",").replace("@Example.COM", "@example.com").replace("City", "CITY");
        assert_eq!(was, cleaned);
    }

    #[test]
    fn a_long_text_is_as_wide_as_asked() {
        let world = World { width: 400, ..world("long", 50) };
        let (text, written) = text(&world, "a.csv", 0, false);
        assert_eq!(written.rows, 50);
        assert!(text.contains("\"\"so\"\"") && text.lines().count() > 51, "quotes and line breaks are in it");
        assert!((400 * 50..500 * 50).contains(&text.len()), "{}", text.len());
    }
}
