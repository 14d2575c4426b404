//! Compares two tables of text: which column of one is which of the other, what a row is hashed as, and in which fields two rows differ.
//!
//! A [`Comparison`] is what is asked, held against the headers of both tables. A [`Form`] makes of a row of one table the two hashes by
//! which [`super::pairing`] finds its partner: rows that are the same have the same hashes in both tables, whatever their columns'
//! order, delimiters and quotes. [`Comparison::compare`] looks at the values.
//!
//! # Design
//! - A row without quotes whose compared columns stand side by side is hashed as it stands in its file. Cells are gathered only where
//!   columns are left out or stand elsewhere.
//! - The cells of a hashed row are joined by the delimiter if both tables have the same one. A row in which a cell holds the delimiter, which it can only
//!   within quotes, is joined by NUL, which no cell holds. So no two rows that differ are hashed as the same text.
//! - The key is part of the row that is hashed: a pair that is alike agrees in 128 bits of its own text.
//! - A field with a tolerance is hashed by its form as the others are. What is not equal is a candidate, and its values decide: so tolerances
//!   are exact, and a row costs nothing more where they are not needed.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64_with_secret;

use super::clean::Untyped;
use super::pairing::Hashed;
use crate::diagnostic::did_you_mean;
use crate::value::{Decimal, Tolerance, Value, days_of, micros_of};

/// How many random bytes key the hashes: for those of keys, and for those of rows.
pub const SECRET_BYTES: usize = 192;

/// Joins cells where the delimiters cannot.
const NO_CELL: u8 = 0;

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The columns of the key, each as A calls it and as B does.
    pub key: Vec<(String, String)>,
    /// Other columns with another name in B.
    pub renamed: Vec<(String, String)>,
    /// Columns that are not compared.
    pub ignored: Vec<String>,
    /// The only columns that are compared; all, if none is named.
    pub only: Vec<String>,
    /// How far the values of a column may be apart.
    pub tolerances: Vec<(String, Tolerance)>,
    /// Whether spellings of one value are the same.
    pub clean: bool,
    /// The mark before decimals, `.` or `,`.
    pub mark: char,
}

/// A column that both tables have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// What A calls it.
    pub name: String,
    /// What B calls it.
    pub name_b: String,
    /// Its place in A.
    pub a: usize,
    /// Its place in B.
    pub b: usize,
    /// How far its values may be apart.
    pub tolerance: Option<Tolerance>,
}

/// Why two tables cannot be compared as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// A table does not have a column that an option names.
    NoColumn {
        /// The option.
        option: &'static str,
        /// The name.
        name: String,
        /// Whether B lacks it.
        in_b: bool,
        /// A name that may have been meant.
        close: Option<String>,
    },
    /// An option names a column that is part of the key, or names it twice.
    Twice {
        /// The option.
        option: &'static str,
        /// The name.
        name: String,
    },
}

/// How two tables are compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// The columns of the key, in the order in which they were asked for.
    pub key: Vec<Shared>,
    /// The others that are compared, in the order of A.
    pub fields: Vec<Shared>,
    /// Columns that only A has, and that are not left out on purpose.
    pub only_a: Vec<String>,
    /// The same of B.
    pub only_b: Vec<String>,
}

impl Columns {
    /// Finds the columns of a comparison in two headers, neither of which has a name twice.
    ///
    /// # Errors
    /// Everything that does not fit.
    pub fn find(asked: &Asked, names_a: &[String], names_b: &[String]) -> Result<Columns, Vec<Misfit>> {
        let mut misfits = Vec::new();
        let at = |names: &[String], name: &str| names.iter().position(|known| known == name);
        let mut place = |option: &'static str, name: &str, in_b: bool| {
            let names = if in_b { names_b } else { names_a };
            let found = at(names, name);
            if found.is_none() {
                let close = did_you_mean(name, names.iter().map(String::as_str)).map(str::to_owned);
                misfits.push(Misfit::NoColumn { option, name: name.to_owned(), in_b, close });
            }
            found
        };
        let mut columns = Columns::default();
        let (mut taken_a, mut taken_b) = (BTreeSet::new(), BTreeSet::new());
        let mut twice = Vec::new();
        for (name, name_b) in &asked.key {
            if let (Some(a), Some(b)) = (place("--key", name, false), place("--key", name_b, true)) {
                if !taken_a.insert(a) || !taken_b.insert(b) {
                    twice.push(Misfit::Twice { option: "--key", name: name.clone() });
                }
                columns.key.push(Shared { name: name.clone(), name_b: name_b.clone(), a, b, tolerance: None });
            }
        }
        let mut renamed = Vec::new();
        for (name, name_b) in &asked.renamed {
            if let (Some(a), Some(b)) = (place("--rename", name, false), place("--rename", name_b, true)) {
                if !taken_a.insert(a) || !taken_b.insert(b) {
                    twice.push(Misfit::Twice { option: "--rename", name: name.clone() });
                }
                renamed.push((a, b));
            }
        }
        let either = |option: &'static str, name: &String, misfits: &mut Vec<Misfit>| {
            if at(names_a, name).is_none() && at(names_b, name).is_none() {
                let close = did_you_mean(name, names_a.iter().chain(names_b).map(String::as_str)).map(str::to_owned);
                misfits.push(Misfit::NoColumn { option, name: name.clone(), in_b: false, close });
            }
        };
        let is_key = |name: &String| columns.key.iter().any(|shared| shared.name == *name || shared.name_b == *name);
        for (option, names) in [("--ignore", &asked.ignored), ("--only", &asked.only)] {
            names.iter().for_each(|name| either(option, name, &mut misfits));
        }
        for name in asked.ignored.iter().filter(|name| is_key(name)) {
            twice.push(Misfit::Twice { option: "--ignore", name: name.clone() });
        }
        let is_asked = |name: &String| !asked.ignored.contains(name) && (asked.only.is_empty() || asked.only.contains(name));
        let mut fields = Vec::new();
        for (a, name) in names_a.iter().enumerate() {
            let b = match renamed.iter().find(|(renamed, _)| *renamed == a) {
                Some((_, b)) => Some(*b),
                None if taken_a.contains(&a) => continue,
                None => at(names_b, name).filter(|b| !taken_b.contains(b)),
            };
            match b {
                Some(b) if is_asked(name) && is_asked_b(asked, name, &names_b[b]) => {
                    let tolerance = asked.tolerances.iter().find(|(of, _)| of == name).map(|(_, tolerance)| *tolerance);
                    fields.push(Shared { name: name.clone(), name_b: names_b[b].clone(), a, b, tolerance });
                }
                None if is_asked(name) => columns.only_a.push(name.clone()),
                _ => {}
            }
            taken_b.extend(b);
        }
        let alone = names_b.iter().enumerate().filter(|(b, name)| !taken_b.contains(b) && is_asked(name));
        columns.only_b = alone.map(|(_, name)| name.clone()).collect();
        for (name, _) in &asked.tolerances {
            if is_key(name) {
                twice.push(Misfit::Twice { option: "--tolerance", name: name.clone() });
            } else if !fields.iter().any(|field| field.name == *name) {
                let close = did_you_mean(name, fields.iter().map(|field| field.name.as_str())).map(str::to_owned);
                misfits.push(Misfit::NoColumn { option: "--tolerance", name: name.clone(), in_b: at(names_a, name).is_some(), close });
            }
        }
        columns.fields = fields;
        misfits.extend(twice);
        if misfits.is_empty() { Ok(columns) } else { Err(misfits) }
    }
}

/// Whether a renamed column is left out by its name in B.
fn is_asked_b(asked: &Asked, name: &str, name_b: &str) -> bool {
    name == name_b || !asked.ignored.iter().any(|ignored| ignored == name_b)
}

/// The secret of the hashes.
#[derive(Clone, Debug)]
pub struct Secret {
    /// Random bytes, one lot for keys and one for rows.
    pub bytes: [[u8; SECRET_BYTES]; 2],
    /// How many bits a hash has, at most 64: few make hashes collide, and everything is decided by values.
    pub bits: u32,
}

impl Secret {
    fn of_key(&self, key: &[u8]) -> u64 {
        self.cut(xxh3_64_with_secret(key, &self.bytes[0]))
    }

    fn of_row(&self, row: &[u8]) -> u64 {
        self.cut(xxh3_64_with_secret(row, &self.bytes[1]))
    }

    fn cut(&self, hash: u64) -> u64 {
        hash & (u64::MAX << (u64::BITS - self.bits.clamp(1, u64::BITS)))
    }
}

/// Two tables, and how they are compared.
pub struct Comparison {
    /// The columns.
    pub columns: Columns,
    /// Nothing if cells are compared as they are.
    cleaning: Option<Untyped>,
    /// Reads the values of fields with a tolerance.
    numbers: Untyped,
}

/// What two rows are to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Their keys differ: they only had one hash.
    Strangers,
    /// Nothing that is compared differs.
    Same,
    /// These fields differ, by their numbers in [`Columns::fields`].
    Differ(Vec<u32>),
}

impl Comparison {
    /// A comparison of these columns.
    pub fn new(columns: Columns, asked: &Asked) -> Comparison {
        Comparison { columns, cleaning: asked.clean.then(|| Untyped::new(asked.mark)), numbers: Untyped::new(asked.mark) }
    }

    /// What a cell of the key is compared as.
    pub fn key_form<'c>(&self, cell: &'c str) -> Cow<'c, str> {
        self.cleaning.as_ref().map_or(Cow::Borrowed(cell), |cleaning| cleaning.key(cell))
    }

    fn form<'c>(&self, cell: &'c str) -> Cow<'c, str> {
        self.cleaning.as_ref().map_or(Cow::Borrowed(cell), |cleaning| cleaning.form(cell))
    }

    /// Whether the keys of two rows are the same. `a` and `b` tell what a column of each row says.
    pub fn have_one_key<'c>(&self, a: impl Fn(usize) -> &'c str, b: impl Fn(usize) -> &'c str) -> bool {
        self.columns.key.iter().all(|column| {
            let (a, b) = (a(column.a), b(column.b));
            a == b || self.cleaning.is_some() && self.key_form(a) == self.key_form(b)
        })
    }

    /// Compares two rows. `a` and `b` tell what a column of each row says.
    pub fn compare<'c>(&self, a: impl Fn(usize) -> &'c str, b: impl Fn(usize) -> &'c str) -> Verdict {
        if !self.have_one_key(&a, &b) {
            return Verdict::Strangers;
        }
        let differs = |field: &Shared| !self.are_same(field, a(field.a), b(field.b));
        let differing: Vec<u32> = (0..).zip(&self.columns.fields).filter(|(_, field)| differs(field)).map(|(number, _)| number).collect();
        if differing.is_empty() { Verdict::Same } else { Verdict::Differ(differing) }
    }

    fn are_same(&self, field: &Shared, a: &str, b: &str) -> bool {
        if a == b || self.cleaning.is_some() && self.form(a) == self.form(b) {
            return true;
        }
        let Some(tolerance) = &field.tolerance else { return false };
        match tolerance {
            Tolerance::Absolute(_) | Tolerance::Percent(_) => {
                let number = |cell: &str| self.numbers.decimal(cell.trim()).map(narrowed).map(Value::Decimal);
                number(a).zip(number(b)).is_some_and(|(a, b)| tolerance.covers(&a, &b))
            }
            Tolerance::Span(_) => moment(a.trim()).zip(moment(b.trim())).is_some_and(|(a, b)| tolerance.covers(&a, &b)),
        }
    }
}

/// The same number with no more decimals than it needs, so that products with it fit.
fn narrowed(number: Decimal) -> Decimal {
    (0..number.scale).find_map(|scale| number.rescale(scale)).unwrap_or(number)
}

/// The day or moment that a cell says in the form of ISO 8601.
fn moment(cell: &str) -> Option<Value> {
    if let Some(date) = (cell.len() == 10).then(|| cell.parse::<jiff::civil::Date>().ok()).flatten() {
        return Some(Value::Date(days_of(date)));
    }
    if let Ok(instant) = cell.parse::<jiff::Timestamp>() {
        return Some(Value::Instant(instant.as_microsecond()));
    }
    cell.parse::<jiff::civil::DateTime>().ok().map(|moment| Value::Datetime(micros_of(moment)))
}

/// How the rows of one table are hashed.
pub struct Form<'c> {
    comparison: &'c Comparison,
    secret: &'c Secret,
    delimiter: u8,
    width: usize,
    /// The columns of the key.
    key: Vec<usize>,
    /// The compared columns, those of the key among them, in the order of A; whether each is one of the key.
    columns: Vec<(usize, bool)>,
    /// The same, as stretches of columns that stand side by side.
    runs: Vec<Range<usize>>,
    joint: u8,
}

/// Room that is used again for each row.
#[derive(Debug, Default)]
pub struct Room {
    ends: Vec<usize>,
    key: Vec<u8>,
    row: Vec<u8>,
}

impl<'c> Form<'c> {
    /// The form of the rows of A, or of B, which have so many columns. `delimiters` are those of A and B.
    pub fn new(comparison: &'c Comparison, secret: &'c Secret, is_b: bool, width: usize, delimiters: [u8; 2]) -> Form<'c> {
        let Columns { key, fields, .. } = &comparison.columns;
        let here = |column: &Shared| if is_b { column.b } else { column.a };
        let mut ordered: Vec<(&Shared, bool)> = key.iter().map(|column| (column, true)).chain(fields.iter().map(|column| (column, false))).collect();
        ordered.sort_by_key(|(column, _)| column.a);
        let columns: Vec<(usize, bool)> = ordered.iter().map(|(column, is_key)| (here(column), *is_key)).collect();
        let joint = if delimiters[0] == delimiters[1] { delimiters[0] } else { NO_CELL };
        let mut runs: Vec<Range<usize>> = Vec::new();
        for (column, _) in &columns {
            match runs.last_mut() {
                Some(run) if run.end == *column && joint != NO_CELL => run.end += 1,
                _ => runs.push(*column..column + 1),
            }
        }
        Form { comparison, secret, delimiter: delimiters[usize::from(is_b)], width, key: key.iter().map(here).collect(), columns, runs, joint }
    }

    /// The hashes of a row without quotes, which has as many cells as there are columns.
    pub fn of_plain(&self, row: &str, place: u64, room: &mut Room) -> Hashed {
        let bytes = row.as_bytes();
        if self.comparison.cleaning.is_none() && self.runs.len() == 1 && self.runs[0].len() == self.width {
            if let [column] = self.key.as_slice() {
                let key = nth_cell(bytes, self.delimiter, *column);
                return Hashed { key: self.secret.of_key(key), row: self.secret.of_row(bytes), place };
            }
            self.find_ends(bytes, room);
            self.gather_key(bytes, room);
            return Hashed { key: self.secret.of_key(&room.key), row: self.secret.of_row(bytes), place };
        }
        self.find_ends(bytes, room);
        if self.comparison.cleaning.is_some() {
            let ends = std::mem::take(&mut room.ends);
            let hashed = self.of_cells(|column| row.get(start_of(&ends, column)..ends[column]).unwrap_or_default(), place, room);
            room.ends = ends;
            return hashed;
        }
        self.gather_key(bytes, room);
        let key = self.secret.of_key(&room.key);
        let stretch = |run: &Range<usize>| &bytes[start_of(&room.ends, run.start)..room.ends[run.end - 1]];
        if let [run] = self.runs.as_slice() {
            return Hashed { key, row: self.secret.of_row(stretch(run)), place };
        }
        room.row.clear();
        for (number, run) in self.runs.iter().enumerate() {
            if number > 0 {
                room.row.push(self.joint);
            }
            room.row.extend_from_slice(&bytes[start_of(&room.ends, run.start)..room.ends[run.end - 1]]);
        }
        Hashed { key, row: self.secret.of_row(&room.row), place }
    }

    /// The hashes of any row, of which `cell` tells what a column says.
    pub fn of_cells<'r>(&self, cell: impl Fn(usize) -> &'r str, place: u64, room: &mut Room) -> Hashed {
        let (comparison, joint) = (self.comparison, self.joint);
        room.key.clear();
        for (number, column) in self.key.iter().enumerate() {
            if number > 0 {
                room.key.push(NO_CELL);
            }
            room.key.extend_from_slice(comparison.key_form(cell(*column)).as_bytes());
        }
        let gather = |row: &mut Vec<u8>, joint: u8| {
            row.clear();
            for (number, (column, is_key)) in self.columns.iter().enumerate() {
                if number > 0 {
                    row.push(joint);
                }
                let cell = cell(*column);
                let form = if *is_key { comparison.key_form(cell) } else { comparison.form(cell) };
                row.extend_from_slice(form.as_bytes());
            }
        };
        gather(&mut room.row, joint);
        if joint != NO_CELL && memchr::memchr_iter(joint, &room.row).count() + 1 != self.columns.len() {
            gather(&mut room.row, NO_CELL);
        }
        Hashed { key: self.secret.of_key(&room.key), row: self.secret.of_row(&room.row), place }
    }

    /// The hash of the key that these cells say, as [`Form::of_cells`] finds it.
    fn gather_key(&self, row: &[u8], room: &mut Room) {
        room.key.clear();
        for (number, column) in self.key.iter().enumerate() {
            if number > 0 {
                room.key.push(NO_CELL);
            }
            room.key.extend_from_slice(&row[start_of(&room.ends, *column)..room.ends[*column]]);
        }
    }

    fn find_ends(&self, row: &[u8], room: &mut Room) {
        room.ends.clear();
        room.ends.extend(memchr::memchr_iter(self.delimiter, row));
        room.ends.push(row.len());
    }
}

fn start_of(ends: &[usize], column: usize) -> usize {
    if column == 0 { 0 } else { ends[column - 1] + 1 }
}

/// A cell of a row without quotes that has it.
fn nth_cell(row: &[u8], delimiter: u8, column: usize) -> &[u8] {
    let mut rest = row;
    for _ in 0..column {
        rest = memchr::memchr(delimiter, rest).map_or(&[], |at| &rest[at + 1..]);
    }
    memchr::memchr(delimiter, rest).map_or(rest, |at| &rest[..at])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn asked(key: &str) -> Asked {
        Asked { key: names(key).into_iter().map(|name| (name.clone(), name)).collect(), mark: '.', ..Asked::default() }
    }

    fn pairs(text: &str) -> Vec<(String, String)> {
        names(text).iter().filter_map(|pair| pair.split_once('=')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
    }

    #[test]
    fn columns_are_found_by_name() {
        let find = |asked: &Asked, b: &str| {
            let columns = Columns::find(asked, &names("id name city"), &names(b)).map_err(|misfits| format!("{misfits:?}"))?;
            let told = |columns: &[Shared]| columns.iter().map(|column| format!("{}:{}", column.a, column.b)).collect::<Vec<_>>().join(" ");
            Ok::<_, String>(format!("{} | {} | {} | {}", told(&columns.key), told(&columns.fields), columns.only_a.join(" "), columns.only_b.join(" ")))
        };
        for (asked, b, expected) in [
            (asked("id"), "id name city", "0:0 | 1:1 2:2 |  | "),
            (asked("id"), "city id name", "0:1 | 1:2 2:0 |  | "),
            (asked("id"), "id name town", "0:0 | 1:1 | city | town"),
            (Asked { renamed: pairs("city=town"), ..asked("id") }, "id name town", "0:0 | 1:1 2:2 |  | "),
            (Asked { key: pairs("id=nr"), ..asked("") }, "nr name city", "0:0 | 1:1 2:2 |  | "),
            (Asked { ignored: names("city"), ..asked("id") }, "id name", "0:0 | 1:1 |  | "),
            (Asked { only: names("city"), ..asked("id") }, "id name city", "0:0 | 2:2 |  | "),
            (asked("name id"), "id name city", "1:1 0:0 | 2:2 |  | "),
            // A column that was renamed to the name of another is not compared with that.
            (Asked { renamed: pairs("name=city"), ..asked("id") }, "id city", "0:0 | 1:1 | city | "),
        ] {
            assert_eq!(find(&asked, b).as_deref(), Ok(expected), "{asked:?} {b}");
        }
        for (asked, told) in [
            (asked("nr"), "NoColumn"),
            (asked("id id"), "Twice"),
            (Asked { ignored: names("id"), ..asked("id") }, "Twice"),
            (Asked { ignored: names("nmae"), ..asked("id") }, "Some(\"name\")"),
            (Asked { only: names("x"), ..asked("id") }, "NoColumn"),
        ] {
            let misfit = find(&asked, "id name city").expect_err("a misfit");
            assert!(misfit.contains(told), "{misfit}");
        }
    }

    #[test]
    fn values_decide() {
        let tolerances = |text: &str| pairs(text).into_iter().map(|(name, how)| (name, crate::job::tolerance_of(&how).expect("a tolerance"))).collect();
        let cent = || Asked { tolerances: tolerances("v=0.01"), ..asked("id") };
        let clean = || Asked { clean: true, ..asked("id") };
        for (asked, a, b, same) in [
            (asked("id"), "1", "1", true),
            (asked("id"), "1", "1.0", false),
            (clean(), "1", " 1.0", true),
            (clean(), "007", "7", false),
            (clean(), "N/A", "", true),
            (cent(), "1.23", "1.24", true),
            (cent(), "1.23", "1.25", false),
            (cent(), "1.23", "", false),
            (cent(), "1,234.5", "1234.50", true),
            (cent(), "x", "y", false),
            (Asked { mark: ',', ..cent() }, "1.234,50", "1234,51", true),
            (Asked { tolerances: tolerances("v=1%"), ..asked("id") }, "100", "101", true),
            (Asked { tolerances: tolerances("v=1%"), ..asked("id") }, "100", "102", false),
            (Asked { tolerances: tolerances("v=1%"), ..asked("id") }, "123456789012345.25", "123456789012345.26", true),
            (Asked { tolerances: tolerances("v=2d"), ..asked("id") }, "2026-02-27", "2026-03-01", true),
            (Asked { tolerances: tolerances("v=2d"), ..asked("id") }, "2026-02-27", "2026-03-02", false),
            (Asked { tolerances: tolerances("v=90s"), ..asked("id") }, "2026-02-27T10:00:00Z", "2026-02-27T11:01:30+01:00", true),
        ] {
            let columns = Columns::find(&asked, &names("id v"), &names("id v")).expect("columns");
            let verdict = Comparison::new(columns, &asked).compare(|column| ["k", a][column], |column| ["k", b][column]);
            assert_eq!(verdict, if same { Verdict::Same } else { Verdict::Differ(vec![0]) }, "{a} {b} {asked:?}");
        }
    }

    proptest! {
        /// Rows have one hash in both tables, plain or not, exactly if what is compared of them is the same.
        #[test]
        fn rows_that_say_the_same_have_one_hash(
            a in prop::collection::vec("[x,;]{0,2}", 4), b in prop::collection::vec("[x,;]{0,2}", 4), same in prop::collection::vec(any::<bool>(), 4),
            order in Just(vec![0, 1, 2, 3]).prop_shuffle(), other_delimiter: bool, ignores: bool,
        ) {
            let b: Vec<String> = a.iter().zip(b).zip(same).map(|((a, b), same)| if same { a.clone() } else { b }).collect();
            let header = names("p q r s");
            let shuffled = |row: &[String]| order.iter().map(|at: &usize| row[*at].clone()).collect::<Vec<_>>();
            let asked = Asked { ignored: if ignores { names("q") } else { Vec::new() }, ..asked("r p") };
            let comparison = Comparison::new(Columns::find(&asked, &header, &shuffled(&header)).expect("columns"), &asked);
            let secret = Secret { bytes: [[7; SECRET_BYTES], [9; SECRET_BYTES]], bits: 64 };
            let delimiters = [b',', if other_delimiter { b';' } else { b',' }];
            let mut room = Room::default();
            let mut hash = |row: &[String], is_b: bool| {
                let form = Form::new(&comparison, &secret, is_b, 4, delimiters);
                let by_cells = form.of_cells(|column| row[column].as_str(), 5, &mut room);
                let delimiter = char::from(delimiters[usize::from(is_b)]);
                if !row.iter().any(|cell| cell.contains(delimiter)) {
                    assert_eq!(form.of_plain(&row.join(&delimiter.to_string()), 5, &mut room), by_cells);
                }
                by_cells
            };
            let (hash_a, hash_b) = (hash(&a, false), hash(&shuffled(&b), true));
            prop_assert_eq!(hash_a.key == hash_b.key, a[2] == b[2] && a[0] == b[0]);
            prop_assert_eq!(hash_a.row == hash_b.row, (0..4).all(|at| a[at] == b[at] || ignores && at == 1));
        }
    }
}
