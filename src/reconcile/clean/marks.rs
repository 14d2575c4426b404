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
use crate::value::{FieldType, Storage};

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
        let outside = super::outside(&job.systems[system], pulled);
        let is_number = |field: &Field| matches!(field.field_type, FieldType::Integer | FieldType::Decimal(_));
        let undeclared: Vec<(usize, &Field)> = job.fields.iter().enumerate().filter(|(_, field)| is_number(field)).collect();
        let read = |(index, field): (usize, &Field)| {
            let column = field.columns[system].as_ref().filter(|column| column.decimal.is_none())?;
            let cells = Cells::of(pulled, &column.name)?;
            let known = known.get(&format!("{FOUND}{}", column.name)).and_then(|mark| mark.chars().next());
            let seen = Seen::of(&Cells { outside: &outside, ..cells });
            let place = Place::of(&pulled.evidence.origin);
            let words = Words { system: &job.systems[system].name, field, column: &column.name, pulled };
            Some(seen.decide(known, place, &words).map(|found| (index, found)))
        };
        let decided: Vec<Result<(usize, FoundMark), Box<Diagnostic>>> = undeclared.into_par_iter().filter_map(read).collect();
        let (mut found, mut mistakes) = (Vec::new(), Vec::new());
        for decided in decided {
            match decided {
                Ok(mark) => found.push(mark),
                Err(mistake) => mistakes.push(*mistake),
            }
        }
        Error::of(Remedy::Look, mistakes).map_or(Ok(Marks { system, found }), Err)
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

/// What the cells of a column show.
#[derive(Debug, Default)]
struct Seen {
    /// The first row that shows a point, and how many do.
    point: Option<u32>,
    points: u64,
    /// The first row that shows a comma, and how many do.
    comma: Option<u32>,
    commas: u64,
    /// Whether a cell has two readings.
    two_readings: bool,
}

/// What a message names.
struct Words<'a> {
    system: &'a str,
    field: &'a Field,
    column: &'a str,
    pulled: &'a Pulled,
}

impl Words<'_> {
    fn cell(&self, row: Option<u32>) -> String {
        let Some(row) = row else { return String::new() };
        let line = self.pulled.line(row);
        match self.field.sensitive {
            true => format!("line {line}"),
            false => format!("line {line} holds `{}`", self.pulled.raw(self.column, row)),
        }
    }
}

impl Seen {
    fn of(cells: &Cells<'_>) -> Seen {
        let mut seen = Seen::default();
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
            match told {
                Shape::Mark('.') => {
                    seen.point.get_or_insert(row as u32);
                    seen.points += 1;
                }
                Shape::Mark(_) => {
                    seen.comma.get_or_insert(row as u32);
                    seen.commas += 1;
                }
                Shape::TwoReadings => seen.two_readings = true,
                Shape::Silent => {}
            }
        }
        seen
    }

    fn decide(&self, known: Option<char>, place: Place, words: &Words<'_>) -> Result<FoundMark, Box<Diagnostic>> {
        let sure = |mark| Ok(FoundMark { mark, is_doubtful: false });
        let line = |row: Option<u32>| row.map_or(place.clone(), |row| place.clone().line(words.pulled.line(row)));
        let (column, system) = (words.column, words.system);
        match (self.points, self.commas, known) {
            (0, 0, known) => Ok(FoundMark { mark: known, is_doubtful: known.is_none() && self.two_readings }),
            (_, 0, None | Some('.')) => sure(Some('.')),
            (0, _, None | Some(',')) => sure(Some(',')),
            (_, _, None) => Err(Box::new(
                Diagnostic::new(line(self.point.min(self.comma)), format!("column `{column}` of `{system}` has two decimal marks"))
                    .seen(format!("{}, with the mark `.`", words.cell(self.point)))
                    .seen(format!("{}, with the mark `,`", words.cell(self.comma)))
                    .seen("nothing was written")
                    .hint("say which is right with `decimal` in the job file; rows with the other one are then set aside"),
            )),
            (points, commas, Some(known)) => {
                let (agree, others, other, row) = if known == '.' { (points, commas, ',', self.comma) } else { (commas, points, '.', self.point) };
                if agree == 0 && others > 1 {
                    return Err(Box::new(
                        Diagnostic::new(line(row), format!("the decimal mark of column `{column}` of `{system}` is not the expected one"))
                            .seen(format!("earlier runs found `{known}`, now it is `{other}`: {}", words.cell(row)))
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
