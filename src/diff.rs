//! Compares two files of any kind, record by record, without a job.
//!
//! The rows of A are hashed and kept as entries of 32 bytes, the rows of B are hashed and looked up ([`crate::reconcile::pairing`]);
//! neither file is ever held. What the hashes leave open is read again by its place, a piece at a time, and its values decide
//! ([`crate::reconcile::rowwise`]). A pair is taken for equal unseen only if its key hash and its row hash, 128 bits keyed by random
//! numbers of this run, both agree: two given rows that differ do so with a probability of 2^-128. With [`Request::every_value`] no pair is.
//!
//! Order: changed and removed records in the order of A, added ones in that of B; then rows whose key comes more than once,
//! grouped by key in the order of their first row; then rows that cannot be read, those of A first.
//!
//! # Design
//! - A key that comes twice in a file pairs with nothing: which of its rows is meant nobody can tell, so all are told and none is compared.
//! - Rows that cannot be read are a difference. They may be anything, so that nothing that lacks a partner because of them is proved
//!   to be removed or added; the summary says how many there are.
//! - Memory: 33 bytes for each row of A, 16 for each candidate, and pieces of some megabytes. The candidates take the place of the entries.

pub mod output;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use rayon::prelude::*;

use crate::diagnostic::{Diagnostic, Place};
use crate::error::{Error, Remedy};
use crate::reconcile::pairing::{Candidates, Crowded, Hashed, PARTS, Pair, Part, candidates};
use crate::reconcile::rowwise::{Asked, Columns, Comparison, Form, Misfit, SECRET_BYTES, Secret, Shared, Verdict};
use crate::report::comparison::{Change, Compared, Difference, FieldDifference, Findings};
use crate::systems::csv::places::{Fetched, Halt, NOTHING, Pinned, Reader, RowFile, Scanned, Unreadable};
use crate::systems::tables;

/// A file to compare.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// Where it is.
    pub path: PathBuf,
    /// How it is spelled, as far as somebody says.
    pub pinned: Pinned,
    /// The sheet, if it is a workbook; the only one, if not given.
    pub sheet: Option<String>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// The files A and B.
    pub sides: [Side; 2],
    /// The columns.
    pub asked: Asked,
    /// Whether the values of pairs are compared even where both hashes agree.
    pub every_value: bool,
    /// How many bits a hash has: 64, or fewer to see that nothing depends on them.
    pub hash_bits: u32,
}

/// Takes the differences, in their order.
pub trait Sink {
    /// Comes first.
    ///
    /// # Errors
    /// What stops the comparison.
    fn begin(&mut self, compared: &Compared) -> Result<(), Error>;

    /// Whether another difference is wanted. The others are only counted.
    fn wants_more(&self) -> bool;

    /// Takes one. Those that come when no more is wanted are to be passed over.
    ///
    /// # Errors
    /// What stops the comparison.
    fn take(&mut self, difference: Difference) -> Result<(), Error>;
}

/// How many rows of one thread wait for their part.
const WAITING_ROWS: usize = 512;

/// How many candidates are looked at by one thread at a time.
const PIECE_ROWS: usize = 2048;

/// No row.
const NONE: u64 = u64::MAX;

/// Compares the files. Nothing is told to the sink before both were read to their end without an error.
///
/// # Errors
/// `MendJob` if an option does not fit the files; `GiveAccess` and `Look` as reading each kind does.
pub fn compare(request: &Request, sink: &mut dyn Sink, progress: &dyn Fn(&str)) -> Result<Findings, Error> {
    let open = |number: usize| {
        let Side { path, pinned, sheet } = &request.sides[number];
        let key = request.asked.key.iter().map(|(a, b)| if number == 0 { a } else { b });
        let pinned = Pinned { needed: key.cloned().collect(), ..pinned.clone() };
        tables::open(path, &pinned, sheet.as_deref())
    };
    let mut tables = [open(0)?, open(1)?];
    loop {
        match joined(request, &mut tables, progress) {
            Err((number, Halt::OtherEncoding)) => tables[number] = tables[number].respelled(&request.sides[number].pinned)?,
            Err((_, Halt::Error(error))) => return Err(*error),
            Ok(joined) => {
                let findings = told(request, &tables, joined, sink)?;
                tables.iter().try_for_each(RowFile::prove_unchanged)?;
                return Ok(findings);
            }
        }
    }
}

/// Both files read once.
struct Joined {
    comparison: Comparison,
    scanned: [Scanned; 2],
    candidates: Candidates,
}

fn joined(request: &Request, tables: &mut [RowFile; 2], progress: &dyn Fn(&str)) -> Result<Joined, (usize, Halt)> {
    let columns = Columns::find(&request.asked, tables[0].names(), tables[1].names()).map_err(|misfits| (0, misfit(&misfits, request, tables).into()))?;
    let comparison = Comparison::new(columns, &request.asked);
    let secret = Secret { bytes: [random_bytes(), random_bytes()], bits: request.hash_bits };
    let delimiters = [tables[0].delimiter(), tables[1].delimiter()];
    let room = usize::try_from(tables[0].rows_estimated()).unwrap_or_default() / PARTS;
    let parts: Vec<Mutex<Part>> = (0..PARTS).map(|_| Mutex::new(Part::with_room(room + room / 64))).collect();
    let mut scan = |number: usize| {
        progress(&format!("reading {}", request.sides[number].path.display()));
        let form = Form::new(&comparison, &secret, number == 1, tables[number].width(), delimiters);
        let hand_over = |part: usize, rows: &[Hashed]| {
            let mut part = lock(&parts[part]);
            if number == 0 { part.take(rows) } else { part.meet(rows) }
        };
        sorted_out(&mut tables[number], &form, &hand_over).map_err(|halt| (number, halt))
    };
    let of_a = scan(0)?;
    parts.par_iter().for_each(|part| lock(part).close());
    let of_b = scan(1)?;
    let parts = parts.into_iter().map(|part| part.into_inner().unwrap_or_else(PoisonError::into_inner)).collect();
    Ok(Joined { comparison, scanned: [of_a, of_b], candidates: candidates(parts, request.every_value) })
}

/// Hashes all rows of a table, and hands them over by their parts, many at once.
fn sorted_out(table: &mut RowFile, form: &Form<'_>, hand_over: &(dyn Fn(usize, &[Hashed]) + Sync)) -> Result<Scanned, Halt> {
    let threads = rayon::current_num_threads();
    let waiting: Vec<Mutex<Vec<Vec<Hashed>>>> = (0..threads).map(|_| Mutex::new(vec![Vec::new(); PARTS])).collect();
    let deliver = |thread: usize, rows: &[Hashed]| {
        let mut waiting = lock(&waiting[thread]);
        for row in rows {
            let number = row.part();
            let of_part = &mut waiting[number];
            of_part.push(*row);
            if of_part.len() >= WAITING_ROWS {
                hand_over(number, of_part);
                of_part.clear();
            }
        }
    };
    let scanned = table.scan(form, threads, &deliver)?;
    for waiting in &waiting {
        for (number, rows) in lock(waiting).iter().enumerate() {
            hand_over(number, rows);
        }
    }
    Ok(scanned)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn random_bytes() -> [u8; SECRET_BYTES] {
    let mut bytes = [0; SECRET_BYTES];
    for eight in bytes.chunks_exact_mut(8) {
        eight.copy_from_slice(&RandomState::new().build_hasher().finish().to_le_bytes());
    }
    bytes
}

/// The error of options that do not fit the files.
fn misfit(misfits: &[Misfit], request: &Request, tables: &[RowFile; 2]) -> Error {
    let name_of = |is_b: bool| request.sides[usize::from(is_b)].path.display().to_string();
    let columns = |is_b: bool| {
        let names: Vec<String> = tables[usize::from(is_b)].names().iter().map(|name| crate::report::visible_for_people(name).into_owned()).collect();
        format!("columns of {}: {}", name_of(is_b), names.join(", "))
    };
    let diagnostics = misfits.iter().map(|misfit| match misfit {
        Misfit::NoColumn { option, name, in_b, close } => {
            let is_either = matches!(*option, "--ignore" | "--only");
            let message = match (*option, in_b) {
                _ if is_either => format!("`{option}` names the column `{name}`, which neither file has"),
                ("--tolerance", _) => format!("`{option}` names the column `{name}`, which is not compared"),
                _ => format!("`{option}` names the column `{name}`, which is not there"),
            };
            let diagnostic = Diagnostic::new(Place::of(name_of(*in_b && !is_either)), message);
            let diagnostic = if is_either { diagnostic.seen(columns(false)).seen(columns(true)) } else { diagnostic.seen(columns(*in_b)) };
            let diagnostic = diagnostic.seen(NOTHING);
            match close {
                Some(close) => diagnostic.hint(format!("did you mean `{close}`?")),
                None if *option == "--key" => diagnostic.hint("if it has another name in B, write `--key NAME_IN_A=NAME_IN_B`"),
                None => diagnostic,
            }
        }
        Misfit::Twice { option, name } => {
            let message = match *option {
                "--ignore" | "--tolerance" => format!("`{option}` names the column `{name}`, which is part of the key"),
                _ => format!("`{option}` names the column `{name}` that is taken already"),
            };
            Diagnostic::new(Place::of("tieout diff"), message).seen(NOTHING).hint("name each column once")
        }
    });
    let diagnostics = diagnostics.collect();
    Error::of(Remedy::MendJob, diagnostics).unwrap_or_else(|| Error::new(Remedy::MendJob, Place::of("tieout diff"), "the options do not fit the files"))
}

/// A row whose key comes more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Doubled {
    /// Where the first row of its key stands, and whether that is only in B.
    first: (bool, u64),
    is_b: bool,
    place: u64,
}

/// What is being told.
struct Telling<'t> {
    tables: &'t [RowFile; 2],
    comparison: &'t Comparison,
    findings: Findings,
    sink: &'t mut dyn Sink,
}

/// What was found in a piece of the candidates.
#[derive(Default)]
struct Piece {
    same: u64,
    removed: u64,
    changed: u64,
    by_field: Vec<u64>,
    strangers: Vec<u64>,
    differences: Vec<Difference>,
}

fn told(request: &Request, tables: &[RowFile; 2], joined: Joined, sink: &mut dyn Sink) -> Result<Findings, Error> {
    let Joined { comparison, scanned: [of_a, of_b], candidates } = joined;
    let Candidates { alike, mut pairs, mut only_a, mut only_b, crowded } = candidates;
    let mut doubled = resolved(tables, &comparison, &crowded, &mut pairs, &mut only_a, &mut only_b)?;
    drop(crowded);
    let names = |columns: &[Shared], is_b: bool| columns.iter().map(|column| if is_b { &column.name_b } else { &column.name }.clone()).collect();
    let columns = &comparison.columns;
    let compared = Compared {
        files: [request.sides[0].path.display().to_string(), request.sides[1].path.display().to_string()],
        key: names(&columns.key, false),
        fields: names(&columns.fields, false),
        fields_b: names(&columns.fields, true),
        only_a: columns.only_a.clone(),
        only_b: columns.only_b.clone(),
        lines_are_rows: [tables[0].is_numbered(), tables[1].is_numbered()],
    };
    sink.begin(&compared)?;
    let mut findings = Findings { rows: [of_a.rows, of_b.rows], by_field: vec![0; columns.fields.len()], ..Findings::default() };
    findings.same = if request.every_value { 0 } else { alike };
    findings.unreadable = [of_a.unreadable.len() as u64, of_b.unreadable.len() as u64];
    let mut telling = Telling { tables, comparison: &comparison, findings, sink };

    only_a.par_sort_unstable();
    pairs.par_sort_unstable();
    let strangers = telling.pairs_and_removed(&pairs, &only_a)?;
    drop(pairs);
    only_b.extend(strangers);
    only_b.par_sort_unstable();
    telling.added(&only_b)?;
    doubled.par_sort_unstable();
    telling.doubled(&doubled)?;
    telling.unreadable(&of_a.unreadable, false)?;
    telling.unreadable(&of_b.unreadable, true)?;
    Ok(telling.findings)
}

/// What becomes of rows with crowded key hashes, by their keys: a row that is alone with its key in its file is a candidate as others are.
fn resolved(
    tables: &[RowFile; 2],
    comparison: &Comparison,
    crowded: &[Crowded],
    pairs: &mut Vec<Pair>,
    only_a: &mut Vec<u64>,
    only_b: &mut Vec<u64>,
) -> Result<Vec<Doubled>, Error> {
    const CHUNK_ROWS: usize = 1 << 14;
    let mut doubled = Vec::new();
    let mut by_key: HashMap<Vec<u8>, [Vec<u64>; 2]> = HashMap::new();
    let mut hash = None;
    let mut settle = |by_key: &mut HashMap<Vec<u8>, [Vec<u64>; 2]>| {
        for (_, [of_a, of_b]) in by_key.drain() {
            match (of_a.as_slice(), of_b.as_slice()) {
                ([a], [b]) => pairs.push(Pair { a: *a, b: *b }),
                ([a], []) => only_a.push(*a),
                ([], [b]) => only_b.push(*b),
                _ => {
                    let first = of_a.iter().min().map_or_else(|| (true, of_b.iter().copied().min().unwrap_or_default()), |first| (false, *first));
                    doubled.extend(of_a.iter().map(|place| Doubled { first, is_b: false, place: *place }));
                    doubled.extend(of_b.iter().map(|place| Doubled { first, is_b: true, place: *place }));
                }
            }
        }
    };
    for chunk in crowded.chunks(CHUNK_ROWS) {
        let places = |is_b: bool| chunk.iter().filter(|row| row.is_b == is_b).map(|row| row.place).collect::<Vec<_>>();
        let (of_a, of_b) = rayon::join(|| tables[0].fetch(&places(false), false), || tables[1].fetch(&places(true), false));
        let fetched = [of_a?, of_b?];
        let mut readers = [fetched[0].reader()?, fetched[1].reader()?];
        let mut numbers = [0, 0];
        for row in chunk {
            if hash.replace(row.key) != Some(row.key) {
                settle(&mut by_key);
            }
            let side = usize::from(row.is_b);
            readers[side].go_to(numbers[side])?;
            numbers[side] += 1;
            let mut key = Vec::new();
            for column in &comparison.columns.key {
                key.extend_from_slice(comparison.key_form(readers[side].cell(if row.is_b { column.b } else { column.a })).as_bytes());
                key.push(0);
            }
            by_key.entry(key).or_default()[side].push(row.place);
        }
    }
    settle(&mut by_key);
    Ok(doubled)
}

impl Telling<'_> {
    /// Tells of changed and removed records, in the order of A. Gives the places of rows of B that turned out to have no partner.
    fn pairs_and_removed(&mut self, pairs: &[Pair], only_a: &[u64]) -> Result<Vec<u64>, Error> {
        let window_rows = PIECE_ROWS * rayon::current_num_threads() * 2;
        let (mut next_pair, mut next_alone) = (0, 0);
        let mut strangers = Vec::new();
        let mut window: Vec<Pair> = Vec::with_capacity(window_rows);
        loop {
            window.clear();
            while window.len() < window_rows {
                match (pairs.get(next_pair), only_a.get(next_alone)) {
                    (Some(pair), alone) if alone.is_none_or(|alone| pair.a < *alone) => {
                        window.push(*pair);
                        next_pair += 1;
                    }
                    (_, Some(alone)) => {
                        window.push(Pair { a: *alone, b: NONE });
                        next_alone += 1;
                    }
                    _ => break,
                }
            }
            if window.is_empty() {
                return Ok(strangers);
            }
            let is_told = self.sink.wants_more();
            let (tables, comparison) = (self.tables, self.comparison);
            let pieces: Vec<Result<Piece, Error>> = window.par_chunks(PIECE_ROWS).map(|pairs| looked_at(tables, comparison, pairs, is_told)).collect();
            for piece in pieces {
                let piece = piece?;
                self.findings.same += piece.same;
                self.findings.changed += piece.changed;
                self.findings.removed += piece.removed;
                self.findings.by_field.iter_mut().zip(&piece.by_field).for_each(|(all, more)| *all += more);
                strangers.extend(piece.strangers);
                piece.differences.into_iter().try_for_each(|difference| self.sink.take(difference))?;
            }
        }
    }

    fn added(&mut self, only_b: &[u64]) -> Result<(), Error> {
        self.findings.added = only_b.len() as u64;
        for places in only_b.chunks(PIECE_ROWS) {
            if !self.sink.wants_more() {
                return Ok(());
            }
            let fetched = self.tables[1].fetch(places, true)?;
            let mut reader = fetched.reader()?;
            for number in 0..places.len() {
                reader.go_to(number)?;
                self.sink.take(alone(self.comparison, &reader, number, true, Change::Added))?;
            }
        }
        Ok(())
    }

    fn doubled(&mut self, doubled: &[Doubled]) -> Result<(), Error> {
        for group in doubled.chunk_by(|one, next| one.first == next.first) {
            self.findings.doubled_keys += 1;
            for row in group {
                self.findings.doubled[usize::from(row.is_b)] += 1;
            }
        }
        for chunk in doubled.chunks(PIECE_ROWS) {
            if !self.sink.wants_more() {
                return Ok(());
            }
            let fetch = |is_b: bool| {
                let places: Vec<u64> = chunk.iter().filter(|row| row.is_b == is_b).map(|row| row.place).collect();
                self.tables[usize::from(is_b)].fetch(&places, true)
            };
            let fetched = [fetch(false)?, fetch(true)?];
            let mut readers = [fetched[0].reader()?, fetched[1].reader()?];
            let mut numbers = [0, 0];
            for row in chunk {
                let side = usize::from(row.is_b);
                let number = numbers[side];
                numbers[side] += 1;
                readers[side].go_to(number)?;
                self.sink.take(alone(self.comparison, &readers[side], number, row.is_b, Change::Duplicate))?;
            }
        }
        Ok(())
    }

    fn unreadable(&mut self, rows: &[Unreadable], is_b: bool) -> Result<(), Error> {
        const RAW_CHARACTERS_MAX: usize = 200;
        let table = &self.tables[usize::from(is_b)];
        for chunk in rows.chunks(PIECE_ROWS) {
            if !self.sink.wants_more() {
                return Ok(());
            }
            let places: Vec<u64> = chunk.iter().map(|row| row.place).collect();
            let fetched = table.fetch(&places, false)?;
            let mut reader = fetched.reader()?;
            for (number, row) in chunk.iter().enumerate() {
                reader.go_to(number)?;
                let why = match row.cells {
                    Some(cells) => format!("has {cells} {}, the header has {}", if cells == 1 { "field" } else { "fields" }, table.width()),
                    None => "has text after a closing quote: a quote is missing or not doubled".to_owned(),
                };
                let lines = if is_b { [None, Some(row.line)] } else { [Some(row.line), None] };
                let raw: String = reader.raw().chars().take(RAW_CHARACTERS_MAX).collect();
                self.sink.take(Difference { change: Change::Unreadable, lines, key: Vec::new(), fields: Vec::new(), unread: Some((why, raw)) })?;
            }
        }
        Ok(())
    }
}

/// Looks at pairs, and at rows of A without a partner.
fn looked_at(tables: &[RowFile; 2], comparison: &Comparison, pairs: &[Pair], is_told: bool) -> Result<Piece, Error> {
    let of_a: Vec<u64> = pairs.iter().map(|pair| pair.a).collect();
    let of_b: Vec<u64> = pairs.iter().map(|pair| pair.b).filter(|place| *place != NONE).collect();
    let fetched: [Fetched<'_>; 2] = [tables[0].fetch(&of_a, is_told)?, tables[1].fetch(&of_b, is_told)?];
    let (mut a, mut b) = (fetched[0].reader()?, fetched[1].reader()?);
    let mut piece = Piece { by_field: vec![0; comparison.columns.fields.len()], ..Piece::default() };
    let mut number_b = 0;
    for (number_a, pair) in pairs.iter().enumerate() {
        if is_told || pair.b != NONE {
            a.go_to(number_a)?;
        }
        let verdict = if pair.b == NONE {
            Verdict::Strangers
        } else {
            b.go_to(number_b)?;
            number_b += 1;
            comparison.compare(|column| a.cell(column), |column| b.cell(column))
        };
        match verdict {
            Verdict::Same => piece.same += 1,
            Verdict::Strangers => {
                piece.removed += 1;
                piece.strangers.extend((pair.b != NONE).then_some(pair.b));
                if is_told {
                    piece.differences.push(alone(comparison, &a, number_a, false, Change::Removed));
                }
            }
            Verdict::Differ(fields) => {
                piece.changed += 1;
                fields.iter().for_each(|field| piece.by_field[*field as usize] += 1);
                if is_told {
                    let of_field = |field: &u32| {
                        let column = &comparison.columns.fields[*field as usize];
                        FieldDifference { field: *field, old: Some(a.cell(column.a).to_owned()), new: Some(b.cell(column.b).to_owned()) }
                    };
                    let lines = [Some(a.line(number_a)), Some(b.line(number_b - 1))];
                    let fields = fields.iter().map(of_field).collect();
                    piece.differences.push(Difference { change: Change::Changed, lines, key: key_of(comparison, &a, false), fields, unread: None });
                }
            }
        }
    }
    Ok(piece)
}

fn key_of(comparison: &Comparison, row: &Reader<'_>, is_b: bool) -> Vec<String> {
    comparison.columns.key.iter().map(|column| row.cell(if is_b { column.b } else { column.a }).to_owned()).collect()
}

/// A row without a partner, all that is compared of it.
fn alone(comparison: &Comparison, row: &Reader<'_>, number: usize, is_b: bool, change: Change) -> Difference {
    let line = Some(row.line(number));
    let fields = (0..).zip(&comparison.columns.fields).map(|(field, column)| {
        let said = Some(row.cell(if is_b { column.b } else { column.a }).to_owned());
        if is_b { FieldDifference { field, old: None, new: said } } else { FieldDifference { field, old: said, new: None } }
    });
    let lines = if is_b { [None, line] } else { [line, None] };
    Difference { change, lines, key: key_of(comparison, row, is_b), fields: fields.collect(), unread: None }
}
