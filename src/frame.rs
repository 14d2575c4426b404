//! The frames that steps hand to each other: [`Pulled`] → [`Clean`] → [`Keyed`], and the columns that they are made of.
//!
//! Each is a type of its own, so that a wrong order of steps does not compile. Values stay in Polars columns; a row
//! becomes a [`Value`] only where it is a difference. Row numbers are `u32`: a system holds fewer than 4 billion rows.
//!
//! # Design
//! Raw text lives once, in [`Pulled`]. [`Clean`] and [`Keyed`] point at its rows instead of carrying it along, and look
//! it up for the few cells that are written or shown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use polars::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::value::{Decimal, FieldType, Raw, Storage, Value};

/// A row number that points nowhere.
pub const NO_ROW: u32 = u32::MAX;

/// Where a snapshot came from and how we know that it is whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The file, table or collection, as the operator wrote it.
    pub origin: String,
    /// The SHA-256 of the bytes read, in hexadecimal, where the source is a file.
    pub sha256: Option<String>,
    /// Records that the source delivered, refused ones among them.
    pub rows_read: u64,
    /// Records that the source announced, where it does.
    pub rows_announced: Option<u64>,
    /// Sums that the source announced, where it does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sums: Vec<ControlSum>,
    /// What the system found out about its source and expects to find again: encoding, delimiter, columns.
    pub found: BTreeMap<String, String>,
    /// What a person should know about the source, a sentence each.
    pub notes: Vec<String>,
}

/// A sum that a source announced, and what the rows that it delivered add up to. Both are exact and spelled alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlSum {
    /// The column that is added up.
    pub column: String,
    /// What the source says.
    pub announced: String,
    /// What came.
    pub delivered: String,
}

/// A row that could not be read as a record, or a cell because of which it could not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The file, table or collection.
    pub origin: String,
    /// The physical line of a file, or the row of a table, counted from 1.
    pub line: u64,
    /// The source's column; nothing where the whole row is at fault.
    pub column: Option<String>,
    /// The field that the column holds.
    pub field: Option<String>,
    /// What stands there, verbatim.
    pub raw: Option<String>,
    /// Why it could not be read, in words.
    pub reason: String,
    /// The row's key, canonical, where it could be read.
    pub key: Option<String>,
    /// The row's native id, where it could be read.
    pub id: Option<String>,
}

/// The seed of the hashes of a source's rows, from the names of its columns in their order: the same cells under other names
/// are another row.
pub fn seed_of_rows<'n>(names: impl IntoIterator<Item = &'n str>) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    for name in names {
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
    }
    hasher.digest()
}

/// The cells of some rows of a source: each requested column, in one order.
pub type RawColumns = Vec<(String, StringChunked, Option<UInt8Chunked>)>;

/// Rows of a source that were looked at and hashed, and whose cells are read when somebody asks for them.
pub trait Unread: std::fmt::Debug + Send + Sync {
    /// The cells of these rows, in their order. `hashes` are those that all rows had when they were looked at.
    ///
    /// # Errors
    /// `GiveAccess` if they cannot be read any more, or are no longer what they were.
    fn read(&self, rows: &[u32], hashes: &[u128]) -> Result<RawColumns, Error>;
}

/// The cells of a snapshot, by column.
#[derive(Clone, Debug, Default)]
struct RawCells {
    raw: BTreeMap<String, StringChunked>,
    storage: BTreeMap<String, UInt8Chunked>,
}

impl RawCells {
    fn of(columns: RawColumns, height: usize) -> RawCells {
        let mut cells = RawCells::default();
        for (name, raw, storage) in columns {
            assert_eq!(raw.len(), height, "column `{name}` is as long as the frame");
            if let Some(storage) = storage {
                cells.storage.insert(name.clone(), storage.rechunk().into_owned());
            }
            cells.raw.insert(name, raw.rechunk().into_owned());
        }
        cells
    }
}

/// What one system delivered: raw text, in the order of delivery.
///
/// Every requested column of the source is a nullable text column. A system that distinguishes storage classes adds one
/// `u8` column each. Beside them stand the physical line of each row and a 128-bit hash of the whole source row.
///
/// # Design
/// A night looks into few of the rows that it reads and compares. A source that can read the cells of a row later ([`Unread`])
/// delivers lines and hashes alone; [`Pulled::take`] then makes cells of the rows that are wanted, and the others never become any.
#[derive(Clone, Debug)]
pub struct Pulled {
    cells: OnceLock<RawCells>,
    /// Where cells come from that nobody asked for yet.
    unread: Option<Arc<dyn Unread>>,
    lines: Vec<u64>,
    hashes: Vec<u128>,
    /// The numbers that the rows had in the snapshot they were taken from; nothing for a whole one.
    places: Option<Vec<u32>>,
    /// Rows that could not be read as rows at all: short, long. They are not in the columns.
    pub refused: Vec<Quarantined>,
    /// Where the rows came from.
    pub evidence: Evidence,
    /// Cells that hold no value at all, such as an error or a number that lost digits: by column, the row and why, by row. Their
    /// raw text is for messages only.
    pub faults: BTreeMap<String, Vec<(u32, String)>>,
    /// By column what people call its cells up to the line, such as `Customers!B` for a sheet; nothing where cells have no names.
    pub cell_names: BTreeMap<String, String>,
}

impl Pulled {
    /// A frame of `lines.len()` rows. `columns` holds each requested column of the source, all of that height.
    ///
    /// `hashes[i]` is a stable hash of everything the source holds in row `i`, foreign columns included, and of the columns' names
    /// ([`seed_of_rows`]).
    pub fn new(columns: RawColumns, lines: Vec<u64>, hashes: Vec<u128>, refused: Vec<Quarantined>, evidence: Evidence) -> Pulled {
        let cells = OnceLock::from(RawCells::of(columns, lines.len()));
        Pulled { cells, ..Pulled::without_cells(None, lines, hashes, refused, evidence) }
    }

    /// A frame like that of [`Pulled::new`], whose cells are read when they are asked for.
    pub fn unread(source: Arc<dyn Unread>, lines: Vec<u64>, hashes: Vec<u128>, refused: Vec<Quarantined>, evidence: Evidence) -> Pulled {
        Pulled::without_cells(Some(source), lines, hashes, refused, evidence)
    }

    fn without_cells(unread: Option<Arc<dyn Unread>>, lines: Vec<u64>, hashes: Vec<u128>, refused: Vec<Quarantined>, evidence: Evidence) -> Pulled {
        assert_eq!(lines.len(), hashes.len(), "each row has a line and a hash");
        Pulled { cells: OnceLock::new(), unread, lines, hashes, places: None, refused, evidence, faults: BTreeMap::new(), cell_names: BTreeMap::new() }
    }

    /// The cells of all rows, which were read: nobody asks a frame for cells of which it has none yet.
    fn cells(&self) -> &RawCells {
        assert!(self.unread.is_none(), "`whole` or `take` come first");
        self.cells.get_or_init(RawCells::default)
    }

    /// Whether it came out of a file, whose rows are known by their lines.
    pub fn is_file(&self) -> bool {
        self.evidence.sha256.is_some()
    }

    /// How many rows there are, refused ones apart.
    pub fn height(&self) -> usize {
        self.lines.len()
    }

    /// The raw text of a column of the source.
    pub fn column(&self, name: &str) -> Option<&StringChunked> {
        self.cells().raw.get(name)
    }

    /// Whether the system tells storage classes apart in this column.
    pub fn storage(&self, name: &str) -> Option<&UInt8Chunked> {
        self.cells().storage.get(name)
    }

    /// One raw cell; null if there is no such column.
    pub fn raw(&self, name: &str, row: u32) -> Raw {
        let text = self.column(name).and_then(|column| column.get(row as usize)).map(str::to_owned);
        let storage = self.storage(name).and_then(|column| column.get(row as usize));
        Raw { text, storage: storage.map_or(Storage::Text, Storage::from_u8) }
    }

    /// The physical line of a row, or its position in a table, counted from 1.
    pub fn line(&self, row: u32) -> u64 {
        self.lines[row as usize]
    }

    /// The hash of everything the source holds in a row.
    pub fn hash(&self, row: u32) -> u128 {
        self.hashes[row as usize]
    }

    /// The number that a row had in the whole snapshot.
    pub fn place(&self, row: u32) -> u32 {
        self.places.as_ref().map_or(row, |places| places[row as usize])
    }

    /// All rows, with their cells read: where they came from is let go.
    ///
    /// # Errors
    /// As [`Unread::read`].
    pub fn whole(mut self) -> Result<Pulled, Error> {
        if let Some(source) = self.unread.take() {
            let all: Vec<u32> = (0..self.lines.len() as u32).collect();
            self.cells = OnceLock::from(RawCells::of(source.read(&all, &self.hashes)?, all.len()));
        }
        Ok(self)
    }

    /// These rows alone, in their order, with all that the snapshot tells beside its rows. Texts that were read already are shared,
    /// not copied.
    ///
    /// # Errors
    /// As [`Unread::read`].
    pub fn take(&self, rows: &[u32]) -> Result<Pulled, Error> {
        let cells = match &self.unread {
            Some(source) => RawCells::of(source.read(rows, &self.hashes)?, rows.len()),
            None => {
                let picks = positions(rows);
                let of_all = self.cells();
                RawCells {
                    raw: of_all.raw.iter().map(|(name, column)| (name.clone(), gathered(column, &picks))).collect(),
                    storage: of_all.storage.iter().map(|(name, column)| (name.clone(), gathered(column, &picks))).collect(),
                }
            }
        };
        let mut place = vec![NO_ROW; if self.faults.is_empty() { 0 } else { self.height() }];
        if !place.is_empty() {
            rows.iter().enumerate().for_each(|(at, row)| place[*row as usize] = at as u32);
        }
        let faults = self.faults.iter().map(|(column, faults)| {
            let mut kept: Vec<(u32, String)> = faults.iter().map(|(row, why)| (place[*row as usize], why.clone())).filter(|(row, _)| *row != NO_ROW).collect();
            kept.sort_unstable();
            (column.clone(), kept)
        });
        Ok(Pulled {
            cells: OnceLock::from(cells),
            unread: None,
            lines: rows.iter().map(|row| self.lines[*row as usize]).collect(),
            hashes: rows.iter().map(|row| self.hashes[*row as usize]).collect(),
            places: Some(rows.iter().map(|row| self.place(*row)).collect()),
            refused: self.refused.clone(),
            evidence: self.evidence.clone(),
            faults: faults.collect(),
            cell_names: self.cell_names.clone(),
        })
    }

    /// All rows, at most so many at a time.
    ///
    /// # Errors
    /// As [`Unread::read`].
    pub fn stretches(&self, rows: usize) -> impl Iterator<Item = Result<Pulled, Error>> {
        let height = self.height();
        // A snapshot without rows has columns all the same.
        let firsts = (0..height.max(1)).step_by(rows.max(1));
        firsts.map(move |first| self.take(&(first as u32..first.saturating_add(rows).min(height) as u32).collect::<Vec<u32>>()))
    }

    /// All raw columns with the line of each row, as one frame to be stored.
    pub fn to_frame(&self) -> PolarsResult<DataFrame> {
        let lines = UInt64Chunked::from_slice("line".into(), &self.lines).into_series().into();
        let RawCells { raw, storage } = self.cells();
        let raw = raw.iter().map(|(name, raw)| raw.clone().with_name(format!("raw:{name}").into()).into_series().into());
        let storage = storage.iter().map(|(name, s)| s.clone().with_name(format!("storage:{name}").into()).into_series().into());
        DataFrame::new(self.lines.len(), std::iter::once(lines).chain(raw).chain(storage).collect())
    }
}

/// One field of all rows: a typed Polars column whose nulls are null values.
#[derive(Clone, Debug)]
pub enum FieldColumn {
    /// Text.
    Text(StringChunked),
    /// Whole numbers.
    Integer(Int64Chunked),
    /// Units of `10^-scale`.
    Decimal(Int128Chunked, u8),
    /// True or false.
    Boolean(BooleanChunked),
    /// Days since 1970-01-01.
    Date(Int32Chunked),
    /// Microseconds since 1970-01-01T00:00Z.
    Instant(Int64Chunked),
    /// Microseconds since 1970-01-01T00:00, no zone.
    Datetime(Int64Chunked),
    /// JSON arrays of texts.
    List(StringChunked),
}

impl FieldColumn {
    /// How many rows the column has.
    pub fn len(&self) -> usize {
        match self {
            FieldColumn::Text(c) | FieldColumn::List(c) => c.len(),
            FieldColumn::Integer(c) | FieldColumn::Instant(c) | FieldColumn::Datetime(c) => c.len(),
            FieldColumn::Decimal(c, _) => c.len(),
            FieldColumn::Boolean(c) => c.len(),
            FieldColumn::Date(c) => c.len(),
        }
    }

    /// Whether the column has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of its values.
    pub fn field_type(&self) -> FieldType {
        match self {
            FieldColumn::Text(_) => FieldType::Text,
            FieldColumn::Integer(_) => FieldType::Integer,
            FieldColumn::Decimal(_, scale) => FieldType::Decimal(*scale),
            FieldColumn::Boolean(_) => FieldType::Boolean,
            FieldColumn::Date(_) => FieldType::Date,
            FieldColumn::Instant(_) => FieldType::Instant,
            FieldColumn::Datetime(_) => FieldType::Datetime,
            FieldColumn::List(_) => FieldType::List,
        }
    }

    /// The value of one row; null if `row` is [`NO_ROW`].
    pub fn value(&self, row: u32) -> Value {
        if row == NO_ROW {
            return Value::Null;
        }
        let row = row as usize;
        let value = match self {
            FieldColumn::Text(c) => c.get(row).map(|text| Value::Text(text.to_owned())),
            FieldColumn::Integer(c) => c.get(row).map(Value::Integer),
            FieldColumn::Decimal(c, scale) => c.get(row).map(|units| Value::Decimal(Decimal { units, scale: *scale })),
            FieldColumn::Boolean(c) => c.get(row).map(Value::Boolean),
            FieldColumn::Date(c) => c.get(row).map(Value::Date),
            FieldColumn::Instant(c) => c.get(row).map(Value::Instant),
            FieldColumn::Datetime(c) => c.get(row).map(Value::Datetime),
            FieldColumn::List(c) => c.get(row).map(|json| Value::List(serde_json::from_str(json).unwrap_or_default())),
        };
        value.unwrap_or(Value::Null)
    }

    /// Whether the value of one row is null.
    pub fn is_null(&self, row: u32) -> bool {
        let row = row as usize;
        match self {
            FieldColumn::Text(c) | FieldColumn::List(c) => c.get(row).is_none(),
            FieldColumn::Integer(c) | FieldColumn::Instant(c) | FieldColumn::Datetime(c) => c.get(row).is_none(),
            FieldColumn::Decimal(c, _) => c.get(row).is_none(),
            FieldColumn::Boolean(c) => c.get(row).is_none(),
            FieldColumn::Date(c) => c.get(row).is_none(),
        }
    }

    /// Whether two rows hold equal values, null equal to null. Columns of different types are never equal.
    pub fn equal(&self, row: u32, other: &FieldColumn, other_row: u32) -> bool {
        let (row, other_row) = (row as usize, other_row as usize);
        match (self, other) {
            (FieldColumn::Text(a), FieldColumn::Text(b)) | (FieldColumn::List(a), FieldColumn::List(b)) => a.get(row) == b.get(other_row),
            (FieldColumn::Integer(a), FieldColumn::Integer(b))
            | (FieldColumn::Instant(a), FieldColumn::Instant(b))
            | (FieldColumn::Datetime(a), FieldColumn::Datetime(b)) => a.get(row) == b.get(other_row),
            (FieldColumn::Decimal(a, scale), FieldColumn::Decimal(b, other_scale)) => scale == other_scale && a.get(row) == b.get(other_row),
            (FieldColumn::Boolean(a), FieldColumn::Boolean(b)) => a.get(row) == b.get(other_row),
            (FieldColumn::Date(a), FieldColumn::Date(b)) => a.get(row) == b.get(other_row),
            _ => false,
        }
    }

    /// The column under a name, with the Polars type that a reader of the file expects.
    pub fn to_series(&self, name: &str) -> PolarsResult<Series> {
        let micros = TimeUnit::Microseconds;
        Ok(match self.clone() {
            FieldColumn::Text(c) | FieldColumn::List(c) => c.into_series(),
            FieldColumn::Integer(c) => c.into_series(),
            FieldColumn::Decimal(c, scale) => c.into_decimal(38, usize::from(scale))?.into_series(),
            FieldColumn::Boolean(c) => c.into_series(),
            FieldColumn::Date(c) => c.into_date().into_series(),
            FieldColumn::Instant(c) => c.into_datetime(micros, Some(polars::prelude::TimeZone::UTC)).into_series(),
            FieldColumn::Datetime(c) => c.into_datetime(micros, None).into_series(),
        }
        .with_name(name.into()))
    }

    /// The column that [`FieldColumn::to_series`] wrote; nothing if the series is of another type.
    pub fn from_series(series: &Series, field_type: FieldType) -> Option<FieldColumn> {
        let series = series.rechunk();
        Some(match (field_type, series.dtype()) {
            (FieldType::Text, DataType::String) => FieldColumn::Text(series.str().ok()?.clone()),
            (FieldType::List, DataType::String) => FieldColumn::List(series.str().ok()?.clone()),
            (FieldType::Integer, DataType::Int64) => FieldColumn::Integer(series.i64().ok()?.clone()),
            (FieldType::Decimal(scale), DataType::Decimal(_, stored)) if usize::from(scale) == *stored => {
                FieldColumn::Decimal(series.decimal().ok()?.physical().clone(), scale)
            }
            (FieldType::Boolean, DataType::Boolean) => FieldColumn::Boolean(series.bool().ok()?.clone()),
            (FieldType::Date, DataType::Date) => FieldColumn::Date(series.date().ok()?.physical().clone()),
            (FieldType::Instant, DataType::Datetime(TimeUnit::Microseconds, Some(_))) => FieldColumn::Instant(series.datetime().ok()?.physical().clone()),
            (FieldType::Datetime, DataType::Datetime(TimeUnit::Microseconds, None)) => FieldColumn::Datetime(series.datetime().ok()?.physical().clone()),
            _ => return None,
        })
    }

    /// A column of these values; a value of another type becomes null.
    pub fn from_values(field_type: FieldType, values: impl IntoIterator<Item = Value>) -> FieldColumn {
        let mut builder = FieldColumnBuilder::new(field_type, 0);
        for value in values {
            builder.push(&value);
        }
        builder.finish()
    }

    /// The rows with these numbers, in their order; null for [`NO_ROW`]. Texts are shared, not copied.
    pub fn take(&self, rows: &[u32]) -> FieldColumn {
        self.gather(&positions(rows))
    }

    /// The rows at these positions, in their order; null where the position is.
    pub fn gather(&self, positions: &IdxCa) -> FieldColumn {
        match self {
            FieldColumn::Text(c) => FieldColumn::Text(gathered(c, positions)),
            FieldColumn::List(c) => FieldColumn::List(gathered(c, positions)),
            FieldColumn::Integer(c) => FieldColumn::Integer(gathered(c, positions)),
            FieldColumn::Instant(c) => FieldColumn::Instant(gathered(c, positions)),
            FieldColumn::Datetime(c) => FieldColumn::Datetime(gathered(c, positions)),
            FieldColumn::Decimal(c, scale) => FieldColumn::Decimal(gathered(c, positions), *scale),
            FieldColumn::Boolean(c) => FieldColumn::Boolean(gathered(c, positions)),
            FieldColumn::Date(c) => FieldColumn::Date(gathered(c, positions)),
        }
    }

    /// For each row whether it differs from the same row of another column of this type and length, null equal to null.
    pub fn differs(&self, other: &FieldColumn) -> BooleanChunked {
        match (self, other) {
            (FieldColumn::Text(a), FieldColumn::Text(b)) | (FieldColumn::List(a), FieldColumn::List(b)) => a.not_equal_missing(b),
            (FieldColumn::Integer(a), FieldColumn::Integer(b))
            | (FieldColumn::Instant(a), FieldColumn::Instant(b))
            | (FieldColumn::Datetime(a), FieldColumn::Datetime(b)) => a.not_equal_missing(b),
            (FieldColumn::Decimal(a, scale), FieldColumn::Decimal(b, other_scale)) if scale == other_scale => a.not_equal_missing(b),
            (FieldColumn::Boolean(a), FieldColumn::Boolean(b)) => a.not_equal_missing(b),
            (FieldColumn::Date(a), FieldColumn::Date(b)) => a.not_equal_missing(b),
            _ => BooleanChunked::full("".into(), true, self.len()),
        }
    }

    /// This column with the rows of others of its type below it; those of another type count as empty columns.
    pub fn stacked(&self, below: &[&FieldColumn]) -> FieldColumn {
        macro_rules! stack {
            ($variant:ident, $top:expr $(, $scale:pat)?) => {{
                let mut stack = $top.clone();
                for column in below {
                    if let FieldColumn::$variant(column $(, $scale)?) = column {
                        // Refused only beyond 2^32 rows, and no system holds as many.
                        let _ = stack.append(column);
                    }
                }
                stack.rechunk().into_owned()
            }};
        }
        match self {
            FieldColumn::Text(c) => FieldColumn::Text(stack!(Text, c)),
            FieldColumn::List(c) => FieldColumn::List(stack!(List, c)),
            FieldColumn::Integer(c) => FieldColumn::Integer(stack!(Integer, c)),
            FieldColumn::Instant(c) => FieldColumn::Instant(stack!(Instant, c)),
            FieldColumn::Datetime(c) => FieldColumn::Datetime(stack!(Datetime, c)),
            FieldColumn::Decimal(c, scale) => FieldColumn::Decimal(stack!(Decimal, c, _), *scale),
            FieldColumn::Boolean(c) => FieldColumn::Boolean(stack!(Boolean, c)),
            FieldColumn::Date(c) => FieldColumn::Date(stack!(Date, c)),
        }
    }
}

/// Row numbers as positions; null for [`NO_ROW`].
pub fn positions(rows: &[u32]) -> IdxCa {
    if rows.contains(&NO_ROW) { rows.iter().map(|row| (*row != NO_ROW).then_some(*row)).collect() } else { IdxCa::from_slice(PlSmallStr::EMPTY, rows) }
}

/// The rows of a column at these positions; null where the position is. Positions outside the column give an empty column,
/// which no caller asks for.
pub fn gathered<T: PolarsDataType>(column: &ChunkedArray<T>, positions: &IdxCa) -> ChunkedArray<T>
where
    ChunkedArray<T>: ChunkTake<IdxCa>,
{
    column.take(positions).map_or_else(|_| column.clear(), |taken| taken.rechunk().into_owned())
}

/// Builds a [`FieldColumn`] value by value.
pub enum FieldColumnBuilder {
    /// Text and lists; the flag tells a list.
    Text(StringChunkedBuilder, bool),
    /// Whole numbers and moments.
    Wide(Vec<Option<i64>>, FieldType),
    /// Exact numbers with a scale.
    Decimal(Vec<Option<i128>>, u8),
    /// True or false.
    Boolean(Vec<Option<bool>>),
    /// Days.
    Date(Vec<Option<i32>>),
}

impl FieldColumnBuilder {
    /// An empty column of a type, with room for `capacity` rows.
    pub fn new(field_type: FieldType, capacity: usize) -> FieldColumnBuilder {
        match field_type {
            FieldType::Text => FieldColumnBuilder::Text(StringChunkedBuilder::new("".into(), capacity), false),
            FieldType::List => FieldColumnBuilder::Text(StringChunkedBuilder::new("".into(), capacity), true),
            FieldType::Integer | FieldType::Instant | FieldType::Datetime => FieldColumnBuilder::Wide(Vec::with_capacity(capacity), field_type),
            FieldType::Decimal(scale) => FieldColumnBuilder::Decimal(Vec::with_capacity(capacity), scale),
            FieldType::Boolean => FieldColumnBuilder::Boolean(Vec::with_capacity(capacity)),
            FieldType::Date => FieldColumnBuilder::Date(Vec::with_capacity(capacity)),
        }
    }

    /// Adds one row; null if the value is of another type than the column.
    pub fn push(&mut self, value: &Value) {
        match self {
            FieldColumnBuilder::Text(builder, is_list) => match value {
                Value::Text(text) if !*is_list => builder.append_value(text),
                Value::List(_) if *is_list => builder.append_value(value.to_string()),
                _ => builder.append_null(),
            },
            FieldColumnBuilder::Wide(values, field_type) => values.push(match (value, field_type) {
                (Value::Integer(n), FieldType::Integer) | (Value::Instant(n), FieldType::Instant) | (Value::Datetime(n), FieldType::Datetime) => Some(*n),
                _ => None,
            }),
            FieldColumnBuilder::Decimal(values, scale) => {
                values.push(value.as_decimal().and_then(|d| d.rescale(*scale)).map(|d| d.units));
            }
            FieldColumnBuilder::Boolean(values) => values.push(if let Value::Boolean(b) = value { Some(*b) } else { None }),
            FieldColumnBuilder::Date(values) => values.push(if let Value::Date(days) = value { Some(*days) } else { None }),
        }
    }

    /// Adds one row of another column without making a [`Value`] of it; null for [`NO_ROW`].
    pub fn push_from(&mut self, column: &FieldColumn, row: u32) {
        let at = row as usize;
        match (self, column) {
            (FieldColumnBuilder::Text(builder, _), FieldColumn::Text(c) | FieldColumn::List(c)) if row != NO_ROW => builder.append_option(c.get(at)),
            (FieldColumnBuilder::Wide(values, _), FieldColumn::Integer(c) | FieldColumn::Instant(c) | FieldColumn::Datetime(c)) if row != NO_ROW => {
                values.push(c.get(at))
            }
            (FieldColumnBuilder::Decimal(values, scale), FieldColumn::Decimal(c, s)) if row != NO_ROW && s == scale => values.push(c.get(at)),
            (FieldColumnBuilder::Boolean(values), FieldColumn::Boolean(c)) if row != NO_ROW => values.push(c.get(at)),
            (FieldColumnBuilder::Date(values), FieldColumn::Date(c)) if row != NO_ROW => values.push(c.get(at)),
            (builder, _) => builder.push(&Value::Null),
        }
    }

    /// The finished column.
    pub fn finish(self) -> FieldColumn {
        match self {
            FieldColumnBuilder::Text(builder, false) => FieldColumn::Text(builder.finish()),
            FieldColumnBuilder::Text(builder, true) => FieldColumn::List(builder.finish()),
            FieldColumnBuilder::Wide(values, FieldType::Instant) => FieldColumn::Instant(values.into_iter().collect()),
            FieldColumnBuilder::Wide(values, FieldType::Datetime) => FieldColumn::Datetime(values.into_iter().collect()),
            FieldColumnBuilder::Wide(values, _) => FieldColumn::Integer(values.into_iter().collect()),
            FieldColumnBuilder::Decimal(values, scale) => FieldColumn::Decimal(values.into_iter().collect(), scale),
            FieldColumnBuilder::Boolean(values) => FieldColumn::Boolean(values.into_iter().collect()),
            FieldColumnBuilder::Date(values) => FieldColumn::Date(values.into_iter().collect()),
        }
    }
}

/// Why a row that is there does not speak for its record tonight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Silence {
    /// A cell or the row could not be read.
    Quarantined,
    /// The job's filter leaves it out.
    Filtered,
    /// Several different rows have its key.
    Duplicate,
}

impl std::fmt::Display for Silence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Silence::Quarantined => "quarantined",
            Silence::Filtered => "filtered",
            Silence::Duplicate => "held as a duplicate",
        })
    }
}

/// Rows that are there but silent: nothing is created, changed or deleted for their records.
#[derive(Clone, Debug, Default)]
pub struct Silent {
    /// The row in [`Pulled`]; [`NO_ROW`] for a row that was refused before it got there.
    pub rows: Vec<u32>,
    /// Why.
    pub why: Vec<Silence>,
    /// The canonical key, where it could be read.
    pub keys: Vec<Option<String>>,
    /// The native id, where it could be read.
    pub ids: Vec<Option<String>>,
}

impl Silent {
    /// Adds one row.
    pub fn push(&mut self, row: u32, why: Silence, key: Option<String>, id: Option<String>) {
        self.rows.push(row);
        self.why.push(why);
        self.keys.push(key);
        self.ids.push(id);
    }

    /// How many rows are silent for this reason.
    pub fn count(&self, why: Silence) -> u64 {
        self.why.iter().filter(|w| **w == why).count() as u64
    }

    /// Whether a quarantined row's key could not be read: then no absence in the system is proven.
    pub fn hides_a_key(&self) -> bool {
        self.why.iter().zip(&self.keys).any(|(why, key)| *why == Silence::Quarantined && key.is_none())
    }
}

/// How often a cleaning rule altered a cell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CleaningCount {
    /// The field whose cells were altered.
    pub field: String,
    /// What the rule did, in words: `no-break space removed`.
    pub rule: String,
    /// How many cells it altered.
    pub cells: u64,
}

/// Rows read as records of the job's fields; a key may still stand on several rows.
#[derive(Clone, Debug)]
pub struct Clean {
    /// What the system delivered.
    pub pulled: Arc<Pulled>,
    /// For each record its row in `pulled`, ascending.
    pub rows: Vec<u32>,
    /// For each record its canonical key: the canonical texts of the key fields, joined by [`crate::value::KEY_SEPARATOR`].
    pub keys: StringChunked,
    /// For each record its native id, where the system has one.
    pub ids: Option<StringChunked>,
    /// For each record the edit time, microseconds since 1970-01-01T00:00Z, where the system tells one.
    pub edited_at: Option<Int64Chunked>,
    /// The fields, in the job's order: the values of all records, or nothing where the system does not carry the field.
    pub fields: Vec<Option<FieldColumn>>,
    /// Rows that were set aside.
    pub silent: Silent,
    /// Why rows were quarantined, a cell each.
    pub quarantined: Vec<Quarantined>,
    /// What cleaning altered, sorted by field and rule.
    pub counts: Vec<CleaningCount>,
}

impl Clean {
    /// A hash of the values of these fields in a row; nothing where all of them are empty or one is not carried. Equal rows of
    /// a snapshot and of a base have equal prints.
    pub fn print(&self, fields: &[usize], row: u32) -> Option<u128> {
        print(fields, |field| self.fields[field].as_ref().map(|column| column.value(row)))
    }
}

/// A hash of the values of these fields; nothing where all of them are empty or one is unknown.
pub fn print(fields: &[usize], value: impl Fn(usize) -> Option<Value>) -> Option<u128> {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    let mut any = false;
    for field in fields {
        let value = value(*field)?;
        any |= !value.is_null();
        hasher.update(value.to_string().as_bytes());
        hasher.update(&[u8::from(value.is_null()), 0]);
    }
    any.then(|| hasher.digest128())
}

/// One duplicate: several different rows of a system with one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duplicate {
    /// The system.
    pub system: String,
    /// The canonical key that they share.
    pub key: String,
    /// The line of the row that speaks for the record; nothing if the rule refuses to choose.
    pub survivor: Option<u64>,
    /// The lines of the other rows.
    pub losers: Vec<u64>,
    /// What a person finds the rows by: `line` in a file, else `id` where all of them have one, else `row`.
    pub known_by: String,
    /// The line, id or row of the one that speaks; nothing if the rule refuses to choose.
    pub survivor_name: Option<String>,
    /// The lines, ids or rows of the others, ascending.
    pub loser_names: Vec<String>,
    /// The rule that chose, in words.
    pub rule: String,
}

impl Duplicate {
    /// The row that speaks, for people: `id 7`.
    pub fn survivor_for_people(&self) -> Option<String> {
        self.survivor_name.as_ref().map(|name| format!("{} {name}", self.known_by))
    }

    /// The other rows, for people: `lines 4, 5`; of many the first `most`.
    pub fn losers_for_people(&self, most: usize) -> String {
        let names: Vec<&str> = self.loser_names.iter().take(most).map(String::as_str).collect();
        let more = self.loser_names.len() - names.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{} {}{more}", self.known_by, if self.loser_names.len() == 1 { "" } else { "s" }, names.join(", "))
    }
}

/// Records with one row a key.
#[derive(Clone, Debug)]
pub struct Keyed {
    /// The records: keys are unique.
    pub clean: Clean,
    /// Rows that agreed in every column of the source with another and collapsed into it.
    pub repeats_collapsed: u64,
    /// Keys that stand on several different rows.
    pub duplicates: Vec<Duplicate>,
    /// Rows that lost against a survivor: they stay where they are.
    pub losers: u64,
    /// Rows of [`Pulled`] that speak for a key which stands on other rows too.
    pub crowded: BTreeSet<u32>,
    /// Of every row whose key stands on several rows: [`Clean::print`] and the key. A record that vanished may be one of them,
    /// with a changed key.
    pub crowd: BTreeMap<u128, String>,
}

impl Keyed {
    /// How many records there are.
    pub fn height(&self) -> usize {
        self.clean.rows.len()
    }

    /// The raw cell of a record in a column of the source.
    pub fn raw(&self, column: &str, record_row: u32) -> Raw {
        self.clean.pulled.raw(column, self.clean.rows[record_row as usize])
    }

    /// The physical line of a record.
    pub fn line(&self, record_row: u32) -> u64 {
        self.clean.pulled.line(self.clean.rows[record_row as usize])
    }
}
