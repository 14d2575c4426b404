//! One column: a [`Reader`] knows how one field is spelled in one column, and reads a cell, or all of them in one pass.
//!
//! # Design
//! A pass walks the raw Polars column once and fills a typed column; it makes no text and no [`Value`] of a cell that needs no
//! cleaning. A text column in which nothing changes *is* the raw column, shared; where cells only became null, the
//! texts are shared and only the nulls are new.
//!
//! Nearly every cell can be read at a glance: it is plainly spelled, or what became of it was seen a few rows before. Such a
//! cell goes straight into the column; only the others pass through what can fail, repair and explain.

use std::borrow::Cow;
use std::rc::Rc;

use polars::prelude::*;
use rayon::prelude::*;

use crate::frame::{FieldColumn, Pulled};
use crate::job::{Beside, CleanRule, ColumnSpec, Field};
use crate::reconcile::clean::counts::{Counts, Rule, Touched, Unreadable};
use crate::reconcile::clean::memo::{Became, Memo};
use crate::reconcile::clean::moment::Moments;
use crate::reconcile::clean::number::Numbers;
use crate::reconcile::clean::phone::{E164, Plans, Read};
use crate::reconcile::clean::text::{NullTokens, Texts, is_sound, tidy, without_padding};
use crate::value::{Decimal, FieldType, Storage, Value};

/// A stretch of a column that is cleaned beside others has at least so many rows.
const STRETCH_ROWS_MIN: usize = 1 << 16;

/// What stands between the items of a list where a column does not say.
const SEPARATOR: &str = ";";

/// How one field is read from one column.
pub(super) struct Reader<'a> {
    null: NullTokens,
    /// The country of all records, where the field declares one.
    region: Option<&'a str>,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Text(Texts<'a>),
    Integer(Numbers),
    Decimal(Numbers, u8),
    Boolean(Booleans),
    Date(Moments),
    Instant(Moments),
    Datetime(Moments),
    List(Lists<'a>),
}

/// How true and false are spelled in a column, in lower case, beside the usual words.
struct Booleans {
    declared: Option<(String, String)>,
}

/// How lists are spelled in a column.
struct Lists<'a> {
    separator: &'a str,
    texts: Texts<'a>,
}

/// The cells of one column of a snapshot, and what is to become of them.
pub(super) struct Cells<'a> {
    /// The raw column.
    pub(super) raw: &'a StringChunked,
    /// The storage classes, where the system tells them apart.
    pub(super) storage: Option<&'a UInt8Chunked>,
    /// Rows that the job's filter leaves out; no rows at all if it leaves out none.
    pub(super) outside: &'a [bool],
    /// Whether the cells of rows outside are read all the same. They are never counted, and never at fault.
    pub(super) reads_outside: bool,
    /// The cells that hold no value, by row, and why.
    pub(super) faults: &'a [(u32, String)],
    /// What stands in the same rows of the field that the values depend on, where there is one.
    pub(super) beside: Option<&'a StringChunked>,
}

/// What a pass over a column gives.
pub(super) struct Pass {
    /// The values; null where a cell could not be read. Rows outside the filter may hold anything unless they were read.
    pub(super) column: FieldColumn,
    /// What was done to the cells.
    pub(super) counts: Counts,
    /// The cells that could not be read, by row.
    pub(super) unreadable: Vec<(u32, Unreadable)>,
}

/// What a cell of a text column is.
#[derive(Clone)]
enum TextCell<'a> {
    Null,
    Same(&'a str),
    /// What is left of it when its ends are cut.
    Part(&'a str),
    Other(Rc<str>),
    Phone(E164),
}

impl<'a> Cells<'a> {
    /// All cells of a column of the source.
    pub(super) fn of(pulled: &'a Pulled, name: &str) -> Option<Cells<'a>> {
        Some(Cells {
            raw: pulled.column(name)?,
            storage: pulled.storage(name),
            outside: &[],
            reads_outside: false,
            faults: pulled.faults.get(name).map_or(&[], Vec::as_slice),
            beside: None,
        })
    }

    /// One pass over all cells, by passes over several stretches of them at once where that is worth while.
    fn in_stretches(&self, pass: impl Fn(&Cells<'_>) -> Pass + Sync) -> Pass {
        let height = self.raw.len();
        let stretches = rayon::current_num_threads().min(height / STRETCH_ROWS_MIN);
        // The rows of faults are those of the whole column.
        if stretches < 2 || !self.faults.is_empty() {
            return pass(self);
        }
        let length = height.div_ceil(stretches);
        let passes: Vec<(usize, Pass)> = (0..stretches)
            .into_par_iter()
            .map(|number| {
                let (from, rows) = (number * length, length.min(height - number * length));
                let raw = self.raw.slice(from as i64, rows);
                let storage = self.storage.map(|column| column.slice(from as i64, rows));
                let beside = self.beside.map(|column| column.slice(from as i64, rows));
                let outside = if self.outside.is_empty() { &[] } else { &self.outside[from..from + rows] };
                (from, pass(&Cells { raw: &raw, storage: storage.as_ref(), outside, beside: beside.as_ref(), ..*self }))
            })
            .collect();
        let (mut counts, mut unreadable, mut columns) = (Counts::new(), Vec::new(), Vec::new());
        for (from, pass) in passes {
            counts.join(&pass.counts);
            unreadable.extend(pass.unreadable.into_iter().map(|(row, why)| (row + from as u32, why)));
            columns.push(pass.column);
        }
        let below: Vec<&FieldColumn> = columns.iter().skip(1).collect();
        Pass { column: columns[0].stacked(&below), counts, unreadable }
    }

    /// Reads each cell in turn and takes the value; nothing for a null, for a cell that could not be read, and outside.
    ///
    /// `glance` takes the value of a text that can be read at a glance, and says whether it did; the others are `read`. What is
    /// taken and counted is the same.
    fn each<S, T>(
        &self,
        taken: &mut S,
        glance: impl Fn(&mut S, usize, &'a str, Option<&'a str>, &mut Counts) -> bool,
        read: impl Fn(&mut S, &'a str, Storage, Option<&'a str>, &mut Counts) -> Result<Option<T>, Unreadable>,
        take: impl Fn(&mut S, usize, Option<T>),
    ) -> (Counts, Vec<(u32, Unreadable)>) {
        let (mut counts, mut uncounted) = (Counts::new(), Counts::new());
        let mut unreadable = Vec::new();
        let mut beside = self.beside.map(|column| column.iter());
        // Nearly every column is of text alone, all of which is wanted.
        if self.storage.is_none() && self.faults.is_empty() && self.outside.is_empty() {
            let cells = self.raw.downcast_iter().flat_map(|chunk| chunk.iter());
            for (row, cell) in cells.enumerate() {
                let beside = beside.as_mut().and_then(Iterator::next).flatten();
                let Some(cell) = cell else {
                    take(taken, row, None);
                    continue;
                };
                if glance(taken, row, cell, beside, &mut counts) {
                    counts.keep();
                } else {
                    let value = settled(read(taken, cell, Storage::Text, beside, &mut counts), row, &mut counts, &mut unreadable);
                    take(taken, row, value);
                }
            }
            return (counts, unreadable);
        }
        let mut storage = self.storage.map(|column| column.iter());
        let mut faults = self.faults.iter().peekable();
        for (row, cell) in self.raw.iter().enumerate() {
            let beside = beside.as_mut().and_then(Iterator::next).flatten();
            let storage = storage.as_mut().and_then(Iterator::next).flatten().map_or(Storage::Text, Storage::from_u8);
            let fault = faults.next_if(|(faulty, _)| *faulty as usize == row);
            let is_outside = self.outside.get(row).copied().unwrap_or(false);
            let value = match cell {
                _ if fault.is_some() => {
                    unreadable.extend(fault.filter(|_| !is_outside).map(|(row, why)| (*row, Unreadable::But(why.clone()))));
                    None
                }
                Some(cell) if is_outside => if self.reads_outside { read(taken, cell, storage, beside, &mut uncounted) } else { Ok(None) }.unwrap_or(None),
                Some(cell) if storage == Storage::Text && glance(taken, row, cell, beside, &mut counts) => {
                    counts.keep();
                    continue;
                }
                Some(cell) => {
                    let is_bytes = storage == Storage::Blob;
                    let value = if is_bytes { Err(Unreadable::But("holds bytes".to_owned())) } else { read(taken, cell, storage, beside, &mut counts) };
                    settled(value, row, &mut counts, &mut unreadable)
                }
                None => None,
            };
            take(taken, row, value);
        }
        (counts, unreadable)
    }
}

/// What came of a cell: what was done to it counts if it was read, else it is told why not.
fn settled<T>(value: Result<Option<T>, Unreadable>, row: usize, counts: &mut Counts, unreadable: &mut Vec<(u32, Unreadable)>) -> Option<T> {
    match value {
        Ok(value) => {
            counts.keep();
            value
        }
        Err(why) => {
            counts.forget();
            unreadable.push((row as u32, why));
            None
        }
    }
}

impl<'a> Reader<'a> {
    /// The reader of a field in a column.
    pub(super) fn new(field: &'a Field, column: &'a ColumnSpec) -> Reader<'a> {
        let moments = || Moments::of(column);
        let kind = match field.field_type {
            FieldType::Text => Kind::Text(Texts::of(field)),
            FieldType::Integer => Kind::Integer(Numbers::new(field, column)),
            FieldType::Decimal(scale) => Kind::Decimal(Numbers::new(field, column), scale),
            FieldType::Boolean => Kind::Boolean(Booleans { declared: column.booleans.as_ref().map(|(yes, no)| (declared(yes), declared(no))) }),
            FieldType::Date => Kind::Date(moments()),
            FieldType::Instant => Kind::Instant(moments()),
            FieldType::Datetime => Kind::Datetime(moments()),
            FieldType::List => {
                let separator = column.separator.as_deref().filter(|separator| !separator.is_empty()).unwrap_or(SEPARATOR);
                Kind::List(Lists { separator, texts: Texts::of(field) })
            }
        };
        let region = match &field.standards.region {
            Some(Beside::Constant(region)) => Some(region.as_str()),
            _ => None,
        };
        Reader { null: NullTokens::new(field, column), region, kind }
    }

    /// The same reader for a field by which records are told apart or addressed, of which every digit counts.
    pub(super) fn of_key(mut self) -> Reader<'a> {
        if let Kind::Text(texts) = &mut self.kind {
            texts.keeps_digits = true;
        }
        self
    }

    /// The reader of native ids: text that is tidied and nothing more.
    pub(super) fn of_ids() -> Reader<'a> {
        Reader { null: NullTokens::of([]), region: None, kind: Kind::Text(Texts { rules: &[], keeps_digits: false }) }
    }

    /// The reader of edit times.
    pub(super) fn of_edit_times(moments: Moments) -> Reader<'a> {
        Reader { null: NullTokens::of([]), region: None, kind: Kind::Instant(moments) }
    }

    /// Reads all cells.
    pub(super) fn pass(&self, cells: &Cells<'_>) -> Pass {
        let height = cells.raw.len();
        let no_name = || PlSmallStr::EMPTY;
        let (column, (counts, unreadable)) = match &self.kind {
            Kind::Text(texts) if texts.is_dear() => return cells.in_stretches(|stretch| self.text_pass(texts, stretch)),
            Kind::Text(texts) => return self.text_pass(texts, cells),
            Kind::Integer(numbers) => {
                let mut values = PrimitiveChunkedBuilder::<Int64Type>::new(no_name(), height);
                let seen = cells.each(
                    &mut values,
                    |values, _, cell, _, counts| {
                        let units = self.units_at_a_glance(numbers, cell, Storage::Text, counts).and_then(|units| i64::try_from(units).ok());
                        units.map(|units| values.append_value(units)).is_some()
                    },
                    |_, cell, storage, beside, counts| self.integer(numbers, cell, storage, beside, counts),
                    |values, _, value| values.append_option(value),
                );
                (FieldColumn::Integer(values.finish()), seen)
            }
            Kind::Decimal(numbers, scale) => {
                let mut values = PrimitiveChunkedBuilder::<Int128Type>::new(no_name(), height);
                let seen = cells.each(
                    &mut values,
                    |values, _, cell, _, counts| {
                        let units = self.units_at_a_glance(numbers, cell, Storage::Text, counts);
                        units.map(|units| values.append_value(units)).is_some()
                    },
                    |_, cell, storage, beside, counts| self.units(numbers, cell, storage, beside, counts),
                    |values, _, value| values.append_option(value),
                );
                (FieldColumn::Decimal(values.finish(), *scale), seen)
            }
            Kind::Boolean(booleans) => {
                let mut values = BooleanChunkedBuilder::new(no_name(), height);
                let seen = cells.each(
                    &mut values,
                    |values, _, cell, _, _| {
                        let said = if self.null.may_be(cell) { None } else { booleans.as_declared(cell) };
                        said.map(|said| values.append_value(said)).is_some()
                    },
                    |_, cell, storage, _, counts| self.boolean(booleans, cell, storage, counts),
                    |values, _, value| values.append_option(value),
                );
                (FieldColumn::Boolean(values.finish()), seen)
            }
            Kind::Date(moments) => {
                let mut values = PrimitiveChunkedBuilder::<Int32Type>::new(no_name(), height);
                let seen = cells.each(
                    &mut values,
                    |values, _, cell, _, _| self.date_at_a_glance(moments, cell).map(|days| values.append_value(days)).is_some(),
                    |_, cell, storage, _, counts| self.date(moments.stored_as(storage), cell, counts),
                    |values, _, value| values.append_option(value),
                );
                (FieldColumn::Date(values.finish()), seen)
            }
            Kind::Instant(moments) => {
                let mut values = PrimitiveChunkedBuilder::<Int64Type>::new(no_name(), height);
                let seen = cells.each(
                    &mut values,
                    |_, _, _, _, _| false,
                    |_, cell, storage, _, counts| self.instant(moments.stored_as(storage), cell, counts),
                    |values, _, value| values.append_option(value),
                );
                (FieldColumn::Instant(values.finish()), seen)
            }
            Kind::Datetime(moments) => {
                let mut values = PrimitiveChunkedBuilder::<Int64Type>::new(no_name(), height);
                let seen = cells.each(
                    &mut values,
                    |_, _, _, _, _| false,
                    |_, cell, storage, _, counts| self.datetime(moments.stored_as(storage), cell, counts),
                    |values, _, value| values.append_option(value),
                );
                (FieldColumn::Datetime(values.finish()), seen)
            }
            Kind::List(lists) => {
                let mut values = StringChunkedBuilder::new(no_name(), height);
                let seen = cells.each(
                    &mut values,
                    |_, _, _, _, _| false,
                    |_, cell, _, beside, counts| Ok(self.list(lists, cell, beside, counts)),
                    |values, _, items| values.append_option(items.map(|items| Value::List(items).to_string())),
                );
                (FieldColumn::List(values.finish()), seen)
            }
        };
        Pass { column, counts, unreadable }
    }

    /// Reads one cell. `beside` is what the field holds in the same row on which the value depends, where there is one.
    pub(super) fn value(&self, cell: &str, storage: Storage, beside: Option<&str>) -> Result<Value, Unreadable> {
        let counts = &mut Counts::new();
        let value = match &self.kind {
            Kind::Text(texts) => match texts.fault(cell) {
                Some(fault) => return Err(fault),
                None => texts.read(cell, beside.or(self.region), &self.null, counts).map(|text| Value::Text(text.into_owned())),
            },
            Kind::Integer(numbers) => self.integer(numbers, cell, storage, beside, counts)?.map(Value::Integer),
            Kind::Decimal(numbers, scale) => self.units(numbers, cell, storage, beside, counts)?.map(|units| Value::Decimal(Decimal { units, scale: *scale })),
            Kind::Boolean(booleans) => self.boolean(booleans, cell, storage, counts)?.map(Value::Boolean),
            Kind::Date(moments) => self.date(moments.stored_as(storage), cell, counts)?.map(Value::Date),
            Kind::Instant(moments) => self.instant(moments.stored_as(storage), cell, counts)?.map(Value::Instant),
            Kind::Datetime(moments) => self.datetime(moments.stored_as(storage), cell, counts)?.map(Value::Datetime),
            Kind::List(lists) => self.list(lists, cell, beside, counts).map(Value::List),
        };
        Ok(value.unwrap_or(Value::Null))
    }

    /// A tidy text; nothing if it means null.
    fn tidy<'c>(&self, cell: &'c str, counts: &mut Counts) -> Option<Cow<'c, str>> {
        let text = tidy(cell, counts);
        (!self.null.is_null(&text, counts)).then_some(text)
    }

    /// The units of a plainly spelled number.
    fn units_at_a_glance(&self, numbers: &Numbers, cell: &str, storage: Storage, counts: &mut Counts) -> Option<i128> {
        if self.null.may_be(cell) {
            return None;
        }
        numbers.plain(cell, storage).or_else(|| numbers.grouped(cell, storage).inspect(|_| counts.add(Rule::Groups)))
    }

    fn units(&self, numbers: &Numbers, cell: &str, storage: Storage, beside: Option<&str>, counts: &mut Counts) -> Result<Option<i128>, Unreadable> {
        if let Some(units) = self.units_at_a_glance(numbers, cell, storage, counts) {
            return Ok(Some(units));
        }
        self.tidy(cell, counts).map(|text| numbers.read(&text, storage, beside, counts)).transpose()
    }

    fn integer(&self, numbers: &Numbers, cell: &str, storage: Storage, beside: Option<&str>, counts: &mut Counts) -> Result<Option<i64>, Unreadable> {
        self.units(numbers, cell, storage, beside, counts)?.map(|units| numbers.integer(units)).transpose()
    }

    fn boolean(&self, booleans: &Booleans, cell: &str, storage: Storage, counts: &mut Counts) -> Result<Option<bool>, Unreadable> {
        let Some(text) = self.tidy(cell, counts) else { return Ok(None) };
        let text = match storage {
            Storage::Real => text.strip_suffix(".0").unwrap_or(&text),
            _ => &text,
        };
        booleans.read(text).map(Some).ok_or_else(|| Unreadable::IsNot("true or false".to_owned()))
    }

    /// The days of a plainly spelled date.
    fn date_at_a_glance(&self, moments: &Moments, cell: &str) -> Option<i32> {
        if self.null.may_be(cell) { None } else { moments.plain_date(cell) }
    }

    fn date(&self, moments: &Moments, cell: &str, counts: &mut Counts) -> Result<Option<i32>, Unreadable> {
        if let Some(days) = self.date_at_a_glance(moments, cell) {
            return Ok(Some(days));
        }
        self.tidy(cell, counts).map(|text| moments.date(&text, counts)).transpose()
    }

    fn instant(&self, moments: &Moments, cell: &str, counts: &mut Counts) -> Result<Option<i64>, Unreadable> {
        self.tidy(cell, counts).map(|text| moments.instant(&text, counts)).transpose()
    }

    fn datetime(&self, moments: &Moments, cell: &str, counts: &mut Counts) -> Result<Option<i64>, Unreadable> {
        self.tidy(cell, counts).map(|text| moments.datetime(&text, counts)).transpose()
    }

    /// The items; nothing if there are none.
    fn list(&self, lists: &Lists<'_>, cell: &str, beside: Option<&str>, counts: &mut Counts) -> Option<Vec<String>> {
        let text = self.tidy(cell, counts)?;
        let region = beside.or(self.region);
        let items = match items_of_json(&text) {
            Some(items) => lists.clean(items.iter().map(String::as_str), true, region, counts),
            // The cell as it was, because tidying drops control characters and some systems put one between items.
            None => lists.clean(lists.split(cell), false, region, counts),
        };
        (!items.is_empty()).then_some(items)
    }

    fn text_pass(&self, texts: &Texts<'_>, cells: &Cells<'_>) -> Pass {
        let reads_identifiers = texts.reads_identifiers();
        // A number could only be read as null where some token begins as numbers do.
        let reads_plans = texts.rules == [CleanRule::Phone] && !self.null.may_be("+");
        let mut taken = TakenTexts {
            cleaned: CleanedTexts::new(cells.raw),
            recent: if reads_identifiers { Recent::new() } else { Recent::none() },
            spelled: String::new(),
            memo: reads_identifiers.then(Memo::default),
            plans: if reads_plans { Plans::for_rows(cells.raw.len()) } else { None },
        };
        let (counts, unreadable) = cells.each(
            &mut taken,
            |taken, row, cell, beside, counts| self.text_at_a_glance(texts, taken, row, cell, beside.or(self.region), counts),
            |taken, cell, _, beside, counts| self.text(texts, taken, cell, beside.or(self.region), counts).map(Some),
            |taken, row, cell| taken.cleaned.push(row, &cell.unwrap_or(TextCell::Null)),
        );
        Pass { column: FieldColumn::Text(taken.cleaned.finish()), counts, unreadable }
    }

    /// Takes what becomes of a cell that holds nothing damaged and needs little cleaning.
    #[inline(always)]
    fn text_at_a_glance<'c>(
        &self,
        texts: &Texts<'_>,
        taken: &mut TakenTexts<'c>,
        row: usize,
        cell: &'c str,
        region: Option<&'c str>,
        counts: &mut Counts,
    ) -> bool {
        if cell.is_empty() {
            taken.cleaned.push_null(row);
            return true;
        }
        if let Some(known) = taken.recent.find(cell, region) {
            counts.add_all(known.touched);
            taken.cleaned.push(row, &known.became);
            return true;
        }
        if !is_sound(cell) {
            // What was padded, and nothing else. `Â` before a no-break space is half of a letter that was wrongly decoded.
            let bare = without_padding(cell);
            if texts.rules.is_empty() && bare.len() < cell.len() && !self.null.may_be(bare) && is_sound(bare) && !bare.ends_with('Â') {
                taken.cleaned.push_other(row, &tidy(cell, counts));
                return true;
            }
            return false;
        }
        if self.null.may_be(cell) && self.null.is_null(cell, counts) {
            taken.cleaned.push_null(row);
            return true;
        }
        if texts.leaves(cell) {
            taken.cleaned.push_same(cell);
            return true;
        }
        if let Some(plans) = &mut taken.plans {
            match plans.read(cell, region) {
                None => return false,
                Some(Read::NoNumber) => {
                    counts.add(Rule::NoPhone);
                    taken.cleaned.push_same(cell);
                }
                Some(Read::Number(number)) if number.as_bytes() == cell.as_bytes() => taken.cleaned.push_same(cell),
                Some(Read::Number(number)) => {
                    counts.add(Rule::Phone);
                    taken.cleaned.push_other(row, number.as_str());
                    taken.recent.keep(Known { cell, region, became: TextCell::Phone(number), touched: counts.touched() });
                }
            }
            return true;
        }
        taken.spelled.clear();
        let Some(rule) = texts.respell(cell, &mut taken.spelled).filter(|_| !self.null.may_be(&taken.spelled)) else { return false };
        counts.add(rule);
        taken.cleaned.push_other(row, &taken.spelled);
        true
    }

    /// What becomes of a cell.
    fn text<'c>(
        &self,
        texts: &Texts<'_>,
        taken: &mut TakenTexts<'c>,
        cell: &'c str,
        region: Option<&'c str>,
        counts: &mut Counts,
    ) -> Result<TextCell<'c>, Unreadable> {
        if let Some(fault) = texts.fault(cell) {
            return Err(fault);
        }
        let Some(memo) = &mut taken.memo else {
            return Ok(match texts.read(cell, region, &self.null, counts) {
                None => TextCell::Null,
                Some(text) if text == cell => TextCell::Same(cell),
                Some(Cow::Borrowed(part)) => TextCell::Part(part),
                Some(Cow::Owned(text)) => TextCell::Other(text.into()),
            });
        };
        let (became, touched) = memo.read(cell, region, || {
            let mut counts = Counts::new();
            (texts.became(cell, region, &self.null, &mut counts), counts.touched())
        });
        counts.add_all(touched);
        let became = match became {
            Became::Null => TextCell::Null,
            Became::Same => TextCell::Same(cell),
            Became::Other(text) => TextCell::Other(text),
        };
        taken.recent.keep(Known { cell, region, became: became.clone(), touched });
        Ok(became)
    }
}

/// The texts of a column so far, and what is known of its cells.
struct TakenTexts<'c> {
    cleaned: CleanedTexts<'c>,
    recent: Recent<'c>,
    /// The text that is being spelled.
    spelled: String,
    memo: Option<Memo>,
    plans: Option<Plans>,
}

/// What became of the last few cells: a column of countries has a dozen different ones, and the records of one customer often
/// stand together. A cell takes the place of another one that looks alike.
struct Recent<'c> {
    places: Vec<Option<Known<'c>>>,
}

/// A cell, and what became of it.
struct Known<'c> {
    cell: &'c str,
    region: Option<&'c str>,
    became: TextCell<'c>,
    touched: Touched,
}

impl<'c> Recent<'c> {
    const PLACES_BITS: u32 = 7;

    fn new() -> Recent<'c> {
        Recent { places: (0..1 << Self::PLACES_BITS).map(|_| None).collect() }
    }

    /// That knows nothing, and never will.
    fn none() -> Recent<'c> {
        Recent { places: Vec::new() }
    }

    /// The place of a cell, by its length and three of its bytes.
    fn place(cell: &str) -> usize {
        const SPREAD: u32 = 0x9e37_79b1;
        let bytes = cell.as_bytes();
        let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
        let looks = [bytes.len() as u8, byte(0), byte(bytes.len() / 2), byte(bytes.len().wrapping_sub(1))];
        (u32::from_le_bytes(looks).wrapping_mul(SPREAD) >> (u32::BITS - Self::PLACES_BITS)) as usize
    }

    fn find(&self, cell: &str, region: Option<&str>) -> Option<&Known<'c>> {
        if self.places.is_empty() {
            return None;
        }
        self.places[Self::place(cell)].as_ref().filter(|known| known.cell == cell && known.region == region)
    }

    fn keep(&mut self, known: Known<'c>) {
        if let Some(place) = self.places.get_mut(Self::place(known.cell)) {
            *place = Some(known);
        }
    }
}

/// The spelling of true or false that a column declares, ready to be compared.
fn declared(spelling: &str) -> String {
    tidy(spelling, &mut Counts::new()).to_lowercase()
}

impl Booleans {
    /// What a cell of ASCII says that is spelled to the letter as the column declares.
    fn as_declared(&self, cell: &str) -> Option<bool> {
        let (yes, no) = self.declared.as_ref()?;
        let said = if cell == yes { Some(true) } else { (cell == no).then_some(false) };
        said.filter(|_| cell.is_ascii())
    }

    fn read(&self, text: &str) -> Option<bool> {
        const TRUE: [&str; 5] = ["true", "yes", "y", "t", "1"];
        const FALSE: [&str; 5] = ["false", "no", "n", "f", "0"];
        let is = |spelling: &str| spelling.eq_ignore_ascii_case(text) || (!text.is_ascii() && spelling == text.to_lowercase());
        if let Some((yes, no)) = &self.declared {
            if is(yes) {
                return Some(true);
            }
            if is(no) {
                return Some(false);
            }
        }
        if TRUE.into_iter().any(is) {
            return Some(true);
        }
        FALSE.into_iter().any(is).then_some(false)
    }
}

impl Lists<'_> {
    /// The items of a plainly spelled list, not cleaned. White space round the separator is no part of it, so that `a;b` and
    /// `a; b` are one list; a separator of nothing but white space is taken as it is.
    fn split<'c>(&self, cell: &'c str) -> std::str::Split<'c, &str> {
        let visible = self.separator.trim();
        cell.split(match visible {
            "" if self.separator.contains('\n') => "\n",
            "" => self.separator,
            visible => visible,
        })
    }

    /// The items, clean. A plainly spelled cell was tidied as a whole and counted for it; what stands round its separators was
    /// never part of an item. What is quoted in a cell (`is_quoted`) was not looked into.
    fn clean<'c>(&self, items: impl Iterator<Item = &'c str>, is_quoted: bool, region: Option<&str>, counts: &mut Counts) -> Vec<String> {
        let mut clean = Vec::new();
        let mut dropped = false;
        let uncounted = &mut Counts::new();
        for item in items {
            let tidied = tidy(item, if is_quoted { &mut *counts } else { &mut *uncounted });
            let item = self.texts.apply(tidied, region, counts);
            if item.is_empty() {
                dropped = true;
            } else {
                clean.push(item.into_owned());
            }
        }
        if dropped {
            counts.add(Rule::EmptyItems);
        }
        clean
    }
}

/// The items of a JSON array of texts, numbers, truths and nulls; nothing if the text is none.
fn items_of_json(text: &str) -> Option<Vec<String>> {
    if !text.starts_with('[') {
        return None;
    }
    let items: Vec<serde_json::Value> = serde_json::from_str(text).ok()?;
    let item = |item| match item {
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Bool(boolean) => Some(boolean.to_string()),
        serde_json::Value::Null => Some(String::new()),
        serde_json::Value::Array(_) | serde_json::Value::Object(_) => None,
    };
    items.into_iter().map(item).collect()
}

/// A text column that is copied only from the first cell on that holds another text.
struct CleanedTexts<'a> {
    raw: &'a StringChunked,
    /// Rows that became null before there was a copy.
    nulls: Vec<usize>,
    copy: Option<StringChunkedBuilder>,
}

impl<'a> CleanedTexts<'a> {
    fn new(raw: &'a StringChunked) -> CleanedTexts<'a> {
        CleanedTexts { raw, nulls: Vec::new(), copy: None }
    }

    /// The cell of the next row.
    fn push(&mut self, row: usize, cell: &TextCell<'_>) {
        match cell {
            TextCell::Other(text) => self.push_other(row, text),
            TextCell::Part(text) => self.push_other(row, text),
            TextCell::Phone(number) => self.push_other(row, number.as_str()),
            TextCell::Same(text) => self.push_same(text),
            TextCell::Null => self.push_null(row),
        }
    }

    /// Another text than the raw one.
    fn push_other(&mut self, row: usize, text: &str) {
        self.copy(row).append_value(text);
    }

    /// The raw text.
    fn push_same(&mut self, text: &str) {
        if let Some(copy) = &mut self.copy {
            copy.append_value(text);
        }
    }

    fn push_null(&mut self, row: usize) {
        match &mut self.copy {
            Some(copy) => copy.append_null(),
            None if self.raw.get(row).is_some() => self.nulls.push(row),
            None => {}
        }
    }

    /// The copy, with the cells of all rows before this one.
    fn copy(&mut self, row: usize) -> &mut StringChunkedBuilder {
        self.copy.get_or_insert_with(|| {
            let mut copy = StringChunkedBuilder::new(PlSmallStr::EMPTY, self.raw.len());
            let mut nulls = self.nulls.iter().peekable();
            for (before, cell) in self.raw.iter().take(row).enumerate() {
                copy.append_option(if nulls.next_if_eq(&&before).is_some() { None } else { cell });
            }
            copy
        })
    }

    fn finish(self) -> StringChunked {
        if let Some(copy) = self.copy {
            return copy.finish();
        }
        if self.nulls.is_empty() {
            return self.raw.clone();
        }
        let mut nulls = self.nulls.iter().peekable();
        let stays = |row| nulls.next_if_eq(&&row).is_none();
        let stays: BooleanChunked = (0..self.raw.len()).map(stays).collect();
        let present = stays & self.raw.is_not_null();
        match (self.raw.rechunk().downcast_iter().next(), present.rechunk().downcast_iter().next()) {
            (Some(texts), Some(present)) => StringChunked::with_chunk(PlSmallStr::EMPTY, texts.clone().with_validity(Some(present.values().clone()))),
            _ => self.raw.clone(),
        }
    }
}
