//! The decimal mark of columns that declare none: the one that their cells show.
//!
//! Every cell of a number column is asked what it tells ([`Shape`]). Cells that agree decide the column; cells that have two
//! readings (`1.234`) decide nothing, and are read by what the others say. What was found is kept, and expected the next night.
//!
//! | the cells of tonight | no earlier run knows | an earlier run found a mark |
//! | --- | --- | --- |
//! | none tells | `.`, because there is nothing to read wrongly | the mark of before |
//! | only cells with two readings | those are set aside | the mark of before |
//! | all that tell agree | that mark | the same one; several that all show the other one stop the run |
//! | they disagree | the run stops | the mark of before; cells with the other, or with two readings, are set aside |
//!
//! Never: a mark by the majority, by the locale of a machine, or by what would make an amount plausible.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::diagnostic::{Diagnostic, Place};
use crate::error::{Error, Remedy};
use crate::frame::Pulled;
use crate::job::{Field, FoundMark, Job};
use crate::reconcile::clean::column::Cells;
use crate::reconcile::clean::counts::Counts;
use crate::reconcile::clean::number::{Shape, shape};
use crate::reconcile::clean::text::tidy;
use crate::value::{FieldType, Raw, Storage};

/// What stands before the name of a column in [`crate::frame::Evidence::found`].
const FOUND: &str = "decimal mark of ";

/// The decimal marks that the columns of one system show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    system: usize,
    /// By field.
    found: Vec<(usize, FoundMark)>,
}

impl Marks {
    /// Looks at every number column of a system that declares no mark. `known` is what earlier runs found.
    ///
    /// # Errors
    /// `Look` if the cells of a column disagree, or all disagree with earlier runs: of all columns at once.
    pub fn find(job: &Job, system: usize, pulled: &Pulled, known: &BTreeMap<String, String>) -> Result<Marks, Error> {
        let mut search = MarkSearch::new(job, system);
        search.look(pulled);
        search.decide(&pulled.evidence.origin, known)
    }

    /// Tells a job the marks: its columns are read and written with them from then on.
    pub fn tell(&self, job: &mut Job) {
        for (field, found) in &self.found {
            if let Some(column) = &mut job.fields[*field].columns[self.system] {
                column.found = *found;
            }
        }
    }

    /// Adds what the next run should know.
    pub fn keep(&self, job: &Job, found: &mut BTreeMap<String, String>) {
        for (field, mark) in &self.found {
            if let (Some(column), Some(mark)) = (&job.fields[*field].columns[self.system], mark.mark) {
                found.insert(format!("{FOUND}{}", column.name), mark.to_string());
            }
        }
    }
}

/// The search for the marks of the columns of one system, over rows that come a stretch at a time.
#[derive(Debug)]
pub struct MarkSearch<'a> {
    job: &'a Job,
    system: usize,
    columns: Vec<SearchedColumn<'a>>,
}

/// A number column that declares no mark.
#[derive(Debug)]
struct SearchedColumn<'a> {
    index: usize,
    field: &'a Field,
    name: &'a str,
    /// Nothing as long as no rows came that have the column.
    seen: Option<Seen>,
}

impl<'a> MarkSearch<'a> {
    /// A search that has seen nothing yet.
    pub fn new(job: &'a Job, system: usize) -> MarkSearch<'a> {
        let is_number = |field: &Field| matches!(field.field_type, FieldType::Integer | FieldType::Decimal(_));
        let undeclared = job.fields.iter().enumerate().filter(|(_, field)| is_number(field)).filter_map(|(index, field)| {
            let column = field.columns[system].as_ref().filter(|column| column.decimal.is_none())?;
            Some(SearchedColumn { index, field, name: &column.name, seen: None })
        });
        MarkSearch { job, system, columns: undeclared.collect() }
    }

    /// Whether one of these fields has a mark that is searched for.
    pub fn is_for_any(&self, fields: &[usize]) -> bool {
        self.columns.iter().any(|column| fields.contains(&column.index))
    }

    /// Looks at the next rows.
    pub fn look(&mut self, pulled: &Pulled) {
        if self.columns.is_empty() {
            return;
        }
        let outside = super::outside(&self.job.systems[self.system], pulled);
        self.columns.par_iter_mut().for_each(|column| {
            if let Some(cells) = Cells::of(pulled, column.name) {
                column.seen.get_or_insert_default().look(pulled, column.name, &Cells { outside: &outside, ..cells });
            }
        });
    }

    /// What all rows show. `origin` is where they came from, `known` what earlier runs found.
    ///
    /// # Errors
    /// As [`Marks::find`].
    pub fn decide(self, origin: &str, known: &BTreeMap<String, String>) -> Result<Marks, Error> {
        let (mut found, mut mistakes) = (Vec::new(), Vec::new());
        for SearchedColumn { index, field, name, seen } in &self.columns {
            let Some(seen) = seen else { continue };
            let known = known.get(&format!("{FOUND}{name}")).and_then(|mark| mark.chars().next());
            let words = Words { system: &self.job.systems[self.system].name, field, column: name };
            match seen.decide(known, Place::of(origin), &words) {
                Ok(mark) => found.push((*index, mark)),
                Err(mistake) => mistakes.push(*mistake),
            }
        }
        Error::of(Remedy::Look, mistakes).map_or(Ok(Marks { system: self.system, found }), Err)
    }
}

/// What the cells of a column show.
#[derive(Debug, Default)]
struct Seen {
    /// The first cell that shows a point, and how many do.
    point: Option<SeenCell>,
    points: u64,
    /// The first cell that shows a comma, and how many do.
    comma: Option<SeenCell>,
    commas: u64,
    /// Whether a cell has two readings.
    two_readings: bool,
}

/// A cell that tells.
#[derive(Debug)]
struct SeenCell {
    line: u64,
    raw: Raw,
}

/// What a message names.
struct Words<'a> {
    system: &'a str,
    field: &'a Field,
    column: &'a str,
}

impl Words<'_> {
    fn cell(&self, cell: Option<&SeenCell>) -> String {
        let Some(SeenCell { line, raw }) = cell else { return String::new() };
        match self.field.sensitive {
            true => format!("line {line}"),
            false => format!("line {line} holds `{raw}`"),
        }
    }
}

impl Seen {
    fn look(&mut self, pulled: &Pulled, column: &str, cells: &Cells<'_>) {
        let mut storage = cells.storage.map(|column| column.iter());
        for (row, cell) in cells.raw.iter().enumerate() {
            let is_text = storage.as_mut().and_then(Iterator::next).flatten().is_none_or(|storage| Storage::from_u8(storage) == Storage::Text);
            let Some(cell) = cell.filter(|_| is_text) else { continue };
            let told = match plain_shape(cell.as_bytes()) {
                Some(told) => told,
                None => shape(&tidy(cell, &mut Counts::new())),
            };
            if told == Shape::Silent || cells.outside.get(row).copied().unwrap_or(false) {
                continue;
            }
            let seen = || SeenCell { line: pulled.line(row as u32), raw: pulled.raw(column, row as u32) };
            match told {
                Shape::Mark('.') => {
                    self.point.get_or_insert_with(seen);
                    self.points += 1;
                }
                Shape::Mark(_) => {
                    self.comma.get_or_insert_with(seen);
                    self.commas += 1;
                }
                Shape::TwoReadings => self.two_readings = true,
                Shape::Silent => {}
            }
        }
    }

    fn decide(&self, known: Option<char>, place: Place, words: &Words<'_>) -> Result<FoundMark, Box<Diagnostic>> {
        let sure = |mark| Ok(FoundMark { mark, is_doubtful: false });
        let line = |cell: Option<&SeenCell>| cell.map_or(place.clone(), |cell| place.clone().line(cell.line));
        let (point, comma) = (self.point.as_ref(), self.comma.as_ref());
        let (column, system) = (words.column, words.system);
        match (self.points, self.commas, known) {
            (0, 0, known) => Ok(FoundMark { mark: known, is_doubtful: known.is_none() && self.two_readings }),
            (_, 0, None | Some('.')) => sure(Some('.')),
            (0, _, None | Some(',')) => sure(Some(',')),
            (_, _, None) => Err(Box::new(
                Diagnostic::new(
                    line([point, comma].into_iter().flatten().min_by_key(|cell| cell.line)),
                    format!("column `{column}` of `{system}` has two decimal marks"),
                )
                .seen(format!("{}, with the mark `.`", words.cell(point)))
                .seen(format!("{}, with the mark `,`", words.cell(comma)))
                .seen("nothing was written")
                .hint("say which is right with `decimal` in the job file; rows with the other one are then set aside"),
            )),
            (points, commas, Some(known)) => {
                let (agree, others, other, cell) = if known == '.' { (points, commas, ',', comma) } else { (commas, points, '.', point) };
                if agree == 0 && others > 1 {
                    return Err(Box::new(
                        Diagnostic::new(line(cell), format!("the decimal mark of column `{column}` of `{system}` is not the expected one"))
                            .seen(format!("earlier runs found `{known}`, now it is `{other}`: {}", words.cell(cell)))
                            .seen("nothing was written")
                            .hint("export the data as before; if the new mark is right, say so with `decimal` in the job file"),
                    ));
                }
                Ok(FoundMark { mark: Some(known), is_doubtful: true })
            }
        }
    }
}

/// The shape of a cell of digits with points and commas among them, grouped in threes if grouped at all; nothing if [`shape`]
/// must look closer.
pub(super) fn plain_shape(cell: &[u8]) -> Option<Shape> {
    const GROUP_DIGITS: usize = 3;
    let body = cell.strip_prefix(b"-").unwrap_or(cell);
    let are_digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    let Some(at) = memchr::memrchr2(b'.', b',', body) else { return are_digits(body).then_some(Shape::Silent) };
    let (whole, mark, decimals) = (&body[..at], char::from(body[at]), &body[at + 1..]);
    if whole.is_empty() || decimals.is_empty() || !are_digits(decimals) {
        return None;
    }
    let Some(first) = memchr::memchr2(b'.', b',', whole) else {
        let is_group = decimals.len() == GROUP_DIGITS && at <= GROUP_DIGITS && whole[0] != b'0';
        return are_digits(whole).then_some(if is_group { Shape::TwoReadings } else { Shape::Mark(mark) });
    };
    let separator = whole[first];
    let mut groups = whole[first + 1..].split(|byte| *byte == separator);
    let is_grouped = (1..=GROUP_DIGITS).contains(&first) && are_digits(&whole[..first]) && groups.all(|group| group.len() == GROUP_DIGITS && are_digits(group));
    match char::from(separator) {
        _ if !is_grouped => None,
        separator if separator != mark => Some(Shape::Mark(mark)),
        // What comes twice is between groups.
        _ if decimals.len() == GROUP_DIGITS => Some(Shape::Mark(if mark == '.' { ',' } else { '.' })),
        _ => None,
    }
}
