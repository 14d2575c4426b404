//! A Parquet file as columns, and columns as a Parquet file.
//!
//! # Words
//! The *kind* of a column is what its values mean; what they are *kept as* is how they are stored (days, units, ticks), which is what is held
//! here. A column of lists, maps or structs is *nested*: it is carried from file to file as it is, and is no value of any field.
//!
//! # Design
//! - Kinds come from the Parquet types alone. What a program wrote beside them about its own types (`ARROW:schema`, `pandas`) is carried along
//!   and not interpreted.
//! - Columns are decoded to what they are kept as, so that every flat type can be carried, also those that no field can hold.
//! - A file is written with the schema of the one that it replaces. Only where that stores a type in a way that nothing here writes (96-bit
//!   timestamps, decimals as longer bytes) the same type is stored in the usual way.

use std::io::Cursor;

use polars::prelude::*;
use polars_parquet::parquet::compression::Compression;
use polars_parquet::read::schema::parquet_to_arrow_schema;
use polars_parquet::read::{BasicDecompressor, ColumnChunkMetadata, FileMetadata, PageReader, ParquetError, column_iter_to_arrays, read_metadata};
use polars_parquet::write::{
    CompressedPage, CompressionOptions, Compressor, DynIter, DynStreamingIterator, FallibleStreamingIterator, FileWriter, ParquetType, SchemaDescriptor,
    StatisticsOptions, Version, WriteOptions, array_to_columns, get_dtype_encoding, to_parquet_type,
};
use rayon::prelude::*;

/// A file whose parts were never told to be larger has parts of so many rows.
const GROUP_ROWS: usize = 1 << 18;

/// What the values of a column mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Bytes,
    Boolean,
    /// Whole numbers from the first to the second.
    Integer(i128, i128),
    Float,
    /// Units of `10^-scale`; so many digits at most.
    Decimal {
        digits: u8,
        scale: u8,
    },
    Date,
    /// So many ticks a second; with a zone a tick is a moment, without one a time on some clock.
    Moment {
        per_second: i64,
        has_zone: bool,
    },
    /// No value of a field; in words.
    Other(String),
}

/// The cells of a flat column, kept as they are stored.
#[derive(Clone, Debug)]
pub(super) enum Cells {
    Text(StringChunked),
    Bytes(BinaryChunked),
    Boolean(BooleanChunked),
    Int32(Int32Chunked),
    Int64(Int64Chunked),
    UInt32(UInt32Chunked),
    UInt64(UInt64Chunked),
    Decimal(Int128Chunked),
    Float32(Float32Chunked),
    Float64(Float64Chunked),
    /// Nested: as it was decoded, an array for each part of the file.
    Nested(Vec<ArrayRef>),
}

/// One cell, kept as it is stored. Two floats are the same if they are to the bit.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Null,
    Text(String),
    Boolean(bool),
    Whole(i128),
    Float(f64),
}

impl PartialEq for Cell {
    fn eq(&self, other: &Cell) -> bool {
        match (self, other) {
            (Cell::Null, Cell::Null) => true,
            (Cell::Text(a), Cell::Text(b)) => a == b,
            (Cell::Boolean(a), Cell::Boolean(b)) => a == b,
            (Cell::Whole(a), Cell::Whole(b)) => a == b,
            (Cell::Float(a), Cell::Float(b)) => a.to_bits() == b.to_bits(),
            _ => false,
        }
    }
}

/// A column of a file.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub name: String,
    pub kind: Kind,
    pub takes_null: bool,
    pub cells: Cells,
    field: ArrowField,
    compression: Compression,
}

/// A file.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub columns: Vec<Column>,
    pub height: usize,
    /// The rows of each part of the file.
    groups: Vec<usize>,
    metadata: FileMetadata,
}

/// Why a file cannot be decoded or encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Undecodable {
    /// It is no Parquet file, or a damaged one.
    Damaged,
    /// A column stands twice.
    Twice(String),
    /// A column cannot be decoded.
    Column(String),
}

fn damaged<E>(_: E) -> Undecodable {
    Undecodable::Damaged
}

/// A column as the end of a file declares it.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    pub name: String,
    pub kind: Kind,
    takes_null: bool,
    field: ArrowField,
}

/// Which columns a file has, in its order.
pub(super) fn columns_of(bytes: &[u8]) -> Result<(FileMetadata, Vec<Declared>), Undecodable> {
    // The end of a file says how long it is, and what says too much is not believed.
    let is_one = bytes.len() >= 12 && bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1");
    if !is_one {
        return Err(Undecodable::Damaged);
    }
    let metadata = read_metadata(&mut Cursor::new(bytes)).map_err(damaged)?;
    let mut columns: Vec<Declared> = Vec::new();
    for (number, parquet) in metadata.schema().fields().iter().enumerate() {
        let name = parquet.name().to_owned();
        if columns.iter().any(|there| there.name == name) {
            return Err(Undecodable::Twice(name));
        }
        let schema = parquet_to_arrow_schema(&metadata.schema().fields()[number..=number]);
        let Some(field) = schema.iter_values().next() else { return Err(Undecodable::Column(name)) };
        let kind = kind_of(parquet, &field.dtype);
        columns.push(Declared { name, kind, takes_null: field.is_nullable, field: kept_as(parquet, field) });
    }
    Ok((metadata, columns))
}

/// Whether the end of a file tells one number of rows throughout: memory is set aside by it before a row is read.
fn adds_up(metadata: &FileMetadata) -> bool {
    let mut rows = 0_usize;
    for group in &metadata.row_groups {
        let is_flat = |column: &ColumnChunkMetadata| column.descriptor().descriptor.max_rep_level == 0;
        let told = |column: &ColumnChunkMetadata| usize::try_from(column.num_values()).ok();
        let fits = |column: &ColumnChunkMetadata| match told(column) {
            Some(values) if is_flat(column) => values == group.num_rows(),
            Some(values) => u32::try_from(values).is_ok(),
            None => false,
        };
        if !group.parquet_columns().iter().all(fits) {
            return false;
        }
        rows = rows.saturating_add(group.num_rows());
    }
    rows == metadata.num_rows && u32::try_from(rows).is_ok()
}

/// Whether the pages of a column hold as many values as the end of the file says: for these, too, memory is set aside.
fn pages_add_up(stored: &[u8], column: &ColumnChunkMetadata) -> bool {
    let pages = PageReader::new(Cursor::new(stored.to_vec().into()), column, vec![], usize::MAX);
    let mut values = 0_usize;
    for page in pages {
        match page {
            Ok(CompressedPage::Data(page)) => values = values.saturating_add(page.num_values()),
            Ok(CompressedPage::Dict(_)) => {}
            Err(_) => return false,
        }
    }
    usize::try_from(column.num_values()) == Ok(values)
}

fn kind_of(parquet: &ParquetType, dtype: &ArrowDataType) -> Kind {
    if !matches!(parquet, ParquetType::PrimitiveType(_)) {
        return Kind::Other("lists or structs".to_owned());
    }
    match dtype {
        ArrowDataType::Utf8 | ArrowDataType::LargeUtf8 | ArrowDataType::Utf8View => Kind::Text,
        ArrowDataType::Binary | ArrowDataType::LargeBinary | ArrowDataType::BinaryView => Kind::Bytes,
        ArrowDataType::Boolean => Kind::Boolean,
        ArrowDataType::Int8 => Kind::Integer(i8::MIN.into(), i8::MAX.into()),
        ArrowDataType::Int16 => Kind::Integer(i16::MIN.into(), i16::MAX.into()),
        ArrowDataType::Int32 => Kind::Integer(i32::MIN.into(), i32::MAX.into()),
        ArrowDataType::Int64 => Kind::Integer(i64::MIN.into(), i64::MAX.into()),
        ArrowDataType::UInt8 => Kind::Integer(0, u8::MAX.into()),
        ArrowDataType::UInt16 => Kind::Integer(0, u16::MAX.into()),
        ArrowDataType::UInt32 => Kind::Integer(0, u32::MAX.into()),
        ArrowDataType::UInt64 => Kind::Integer(0, u64::MAX.into()),
        ArrowDataType::Float32 | ArrowDataType::Float64 => Kind::Float,
        ArrowDataType::Decimal(digits, scale) => match (u8::try_from(*digits), u8::try_from(*scale)) {
            (Ok(digits), Ok(scale)) if digits <= 38 && scale <= digits => Kind::Decimal { digits, scale },
            _ => Kind::Other("decimals of more than 38 digits".to_owned()),
        },
        ArrowDataType::Date32 => Kind::Date,
        ArrowDataType::Timestamp(unit, zone) => {
            let per_second = match unit {
                ArrowTimeUnit::Second => 1,
                ArrowTimeUnit::Millisecond => 1_000,
                ArrowTimeUnit::Microsecond => 1_000_000,
                ArrowTimeUnit::Nanosecond => 1_000_000_000,
            };
            Kind::Moment { per_second, has_zone: zone.is_some() }
        }
        ArrowDataType::Time32(_) | ArrowDataType::Time64(_) => Kind::Other("times of day".to_owned()),
        ArrowDataType::Decimal256(..) => Kind::Other("decimals of more than 38 digits".to_owned()),
        ArrowDataType::Float16 => Kind::Other("half floats".to_owned()),
        _ => Kind::Other("bytes of a fixed length or another special type".to_owned()),
    }
}

/// The field as its cells are kept.
fn kept_as(parquet: &ParquetType, field: &ArrowField) -> ArrowField {
    let is_int96 = matches!(parquet, ParquetType::PrimitiveType(primitive) if format!("{:?}", primitive.physical_type) == "Int96");
    let dtype = match &field.dtype {
        ArrowDataType::Int8 | ArrowDataType::Int16 | ArrowDataType::UInt8 | ArrowDataType::UInt16 | ArrowDataType::Date32 | ArrowDataType::Time32(_) => {
            ArrowDataType::Int32
        }
        ArrowDataType::Time64(_) => ArrowDataType::Int64,
        ArrowDataType::Timestamp(..) if !is_int96 => ArrowDataType::Int64,
        ArrowDataType::Timestamp(unit, _) => ArrowDataType::Timestamp(*unit, None),
        other => other.clone(),
    };
    ArrowField { dtype, ..field.clone() }
}

impl Frame {
    /// Decodes a file.
    pub fn decode(bytes: &[u8]) -> Result<Frame, Undecodable> {
        let (metadata, kinds) = columns_of(bytes)?;
        if !adds_up(&metadata) {
            return Err(Undecodable::Damaged);
        }
        let read = |Declared { name, kind, takes_null, field }: Declared| {
            let unreadable = || Undecodable::Column(name.clone());
            let (mut arrays, mut compression) = (Vec::new(), Compression::Uncompressed);
            for group in &metadata.row_groups {
                let (mut pages, mut types) = (Vec::new(), Vec::new());
                for column in group.columns_under_root_iter(&field.name).into_iter().flatten() {
                    let range = column.byte_range();
                    let stored = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok()).and_then(|(start, end)| bytes.get(start..end));
                    let stored = stored.ok_or(Undecodable::Damaged)?.to_vec();
                    compression = column.compression();
                    if !pages_add_up(&stored, column) {
                        return Err(Undecodable::Damaged);
                    }
                    pages.push(BasicDecompressor::new(PageReader::new(Cursor::new(stored.into()), column, vec![], usize::MAX), vec![]));
                    types.push(&column.descriptor().descriptor.primitive_type);
                }
                let decoded = column_iter_to_arrays(pages, types, field.clone(), None).map_err(|_| unreadable())?.0;
                if decoded.iter().map(|array| array.len()).sum::<usize>() != group.num_rows() {
                    return Err(Undecodable::Damaged);
                }
                arrays.extend(decoded);
            }
            let cells = cells_of(&kind, &field, arrays).ok_or_else(unreadable)?;
            Ok(Column { name, kind, takes_null, cells, field, compression })
        };
        let columns = kinds.into_par_iter().map(read).collect::<Result<Vec<Column>, Undecodable>>()?;
        let groups: Vec<usize> = metadata.row_groups.iter().map(|group| group.num_rows()).collect();
        Ok(Frame { columns, height: groups.iter().sum(), groups, metadata })
    }

    /// The columns that keep rows from being added and taken out.
    pub fn nested(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().filter(|column| matches!(column.cells, Cells::Nested(_))).map(|column| column.name.as_str())
    }

    /// What must not change when the file is written: its schema, the compression of each column and what is noted beside it.
    #[cfg(test)]
    pub fn schema_text(&self) -> String {
        let compression: Vec<Compression> = self.columns.iter().map(|column| column.compression).collect();
        format!("{:?} {compression:?} {:?}", self.metadata.schema().fields(), self.metadata.key_value_metadata())
    }

    /// The file of these columns. Where some are nested its parts have the rows that they had.
    pub fn encode(&self) -> PolarsResult<Vec<u8>> {
        let fields: ArrowSchema = self.columns.iter().map(|column| (column.field.name.clone(), column.field.clone())).collect();
        let (mut types, mut encodings) = (Vec::new(), Vec::new());
        for (column, parquet) in self.columns.iter().zip(self.metadata.schema().fields()) {
            types.push(column.stored_as(parquet)?);
            encodings.push(get_dtype_encoding(&column.field.dtype));
        }
        let descriptor = SchemaDescriptor::new(self.metadata.schema().name().into(), types.clone());
        let options = |compression| WriteOptions { statistics: StatisticsOptions::default(), version: Version::V1, compression, data_page_size: None };
        let mut writer = FileWriter::new_with_parquet_schema(Vec::new(), fields, descriptor, options(CompressionOptions::Uncompressed));
        let mut from = 0;
        for (number, rows) in self.parts().into_iter().enumerate() {
            let encoded = self.columns.par_iter().zip(&types).zip(&encodings).map(|((column, parquet), encoding)| {
                let compression = match column.compression {
                    Compression::Uncompressed => CompressionOptions::Uncompressed,
                    Compression::Snappy => CompressionOptions::Snappy,
                    Compression::Gzip => CompressionOptions::Gzip(None),
                    Compression::Brotli => CompressionOptions::Brotli(None),
                    Compression::Zstd => CompressionOptions::Zstd(None),
                    Compression::Lz4 | Compression::Lz4Raw | Compression::Lzo => CompressionOptions::Lz4Raw,
                };
                let array = column.array(number, from, rows)?;
                let leaves = array_to_columns(array, parquet.clone(), options(compression), encoding)?;
                let compressed = leaves.into_iter().map(|pages| {
                    let pages = pages.map(|page| page.map_err(|error| ParquetError::FeatureNotSupported(error.to_string())));
                    let pages = Compressor::new_from_vec(pages, compression, vec![]).map_err(PolarsError::from);
                    Ok(DynStreamingIterator::<CompressedPage, PolarsError>::new(pages))
                });
                Ok(compressed.collect::<Vec<PolarsResult<_>>>())
            });
            let encoded: Vec<PolarsResult<_>> = encoded.collect::<PolarsResult<Vec<Vec<_>>>>()?.into_iter().flatten().collect();
            writer.write(rows as u64, DynIter::new(encoded.into_iter()))?;
            from += rows;
        }
        writer.end(Some(self.metadata.key_value_metadata().clone().unwrap_or_default()))?;
        Ok(writer.into_inner())
    }

    /// The rows of each part of the file that is written.
    fn parts(&self) -> Vec<usize> {
        if self.groups.iter().sum::<usize>() == self.height {
            return self.groups.iter().copied().filter(|rows| *rows > 0).collect();
        }
        let most = self.groups.iter().copied().max().filter(|rows| *rows > 0 && self.groups.len() > 1).unwrap_or(GROUP_ROWS);
        (0..self.height).step_by(most).map(|from| most.min(self.height - from)).collect()
    }

    /// Whether two files hold the same rows in columns of the same names and kinds.
    pub fn is_same(&self, other: &Frame) -> bool {
        self.height == other.height
            && self.columns.len() == other.columns.len()
            && self
                .columns
                .iter()
                .zip(&other.columns)
                .all(|(a, b)| a.name == b.name && a.kind == b.kind && a.takes_null == b.takes_null && a.cells.is_same(&b.cells))
    }
}

/// The cells of decoded arrays; nothing if they are not what was asked for.
fn cells_of(kind: &Kind, field: &ArrowField, arrays: Vec<ArrayRef>) -> Option<Cells> {
    let is_flat = matches!(
        field.dtype,
        ArrowDataType::Utf8View
            | ArrowDataType::LargeUtf8
            | ArrowDataType::BinaryView
            | ArrowDataType::LargeBinary
            | ArrowDataType::Boolean
            | ArrowDataType::Int32
            | ArrowDataType::Int64
            | ArrowDataType::UInt32
            | ArrowDataType::UInt64
            | ArrowDataType::Float32
            | ArrowDataType::Float64
            | ArrowDataType::Timestamp(..)
    ) || matches!(kind, Kind::Decimal { .. });
    if !is_flat {
        return Some(Cells::Nested(arrays));
    }
    let series = match arrays.is_empty() {
        true => Series::try_from((field, vec![empty_array(field)?])),
        false => Series::try_from((field, arrays)),
    };
    let series = series.ok()?.rechunk();
    Some(match series.dtype() {
        DataType::String => Cells::Text(series.str().ok()?.clone()),
        DataType::Binary => Cells::Bytes(series.binary().ok()?.clone()),
        DataType::Boolean => Cells::Boolean(series.bool().ok()?.clone()),
        DataType::Int32 => Cells::Int32(series.i32().ok()?.clone()),
        DataType::Int64 => Cells::Int64(series.i64().ok()?.clone()),
        DataType::UInt32 => Cells::UInt32(series.u32().ok()?.clone()),
        DataType::UInt64 => Cells::UInt64(series.u64().ok()?.clone()),
        DataType::Float32 => Cells::Float32(series.f32().ok()?.clone()),
        DataType::Float64 => Cells::Float64(series.f64().ok()?.clone()),
        DataType::Decimal(..) => Cells::Decimal(series.decimal().ok()?.physical().clone()),
        DataType::Datetime(..) => Cells::Int64(series.datetime().ok()?.physical().clone()),
        _ => return None,
    })
}

fn empty_array(field: &ArrowField) -> Option<ArrayRef> {
    let dtype = DataType::from_arrow(&field.dtype, None);
    Some(Series::new_empty(PlSmallStr::EMPTY, &dtype).to_arrow(0, CompatLevel::newest()))
}

impl Cells {
    /// The cell of a row; nothing for a nested one.
    pub fn get(&self, row: usize) -> Option<Cell> {
        fn cell<T>(value: Option<T>, cell: impl FnOnce(T) -> Cell) -> Option<Cell> {
            Some(value.map_or(Cell::Null, cell))
        }
        match self {
            Cells::Text(c) => cell(c.get(row), |text| Cell::Text(text.to_owned())),
            Cells::Bytes(c) => cell(c.get(row), |bytes| Cell::Text(bytes.iter().map(|byte| format!("{byte:02x}")).collect())),
            Cells::Boolean(c) => cell(c.get(row), Cell::Boolean),
            Cells::Int32(c) => cell(c.get(row), |n| Cell::Whole(n.into())),
            Cells::Int64(c) => cell(c.get(row), |n| Cell::Whole(n.into())),
            Cells::UInt32(c) => cell(c.get(row), |n| Cell::Whole(n.into())),
            Cells::UInt64(c) => cell(c.get(row), |n| Cell::Whole(n.into())),
            Cells::Decimal(c) => cell(c.get(row), Cell::Whole),
            Cells::Float32(c) => cell(c.get(row), |n| Cell::Float(n.into())),
            Cells::Float64(c) => cell(c.get(row), Cell::Float),
            Cells::Nested(_) => None,
        }
    }

    fn is_same(&self, other: &Cells) -> bool {
        match (self, other) {
            (Cells::Text(a), Cells::Text(b)) => a.iter().eq(b.iter()),
            (Cells::Bytes(a), Cells::Bytes(b)) => a.iter().eq(b.iter()),
            (Cells::Boolean(a), Cells::Boolean(b)) => a.iter().eq(b.iter()),
            (Cells::Int32(a), Cells::Int32(b)) => a.iter().eq(b.iter()),
            (Cells::Int64(a), Cells::Int64(b)) => a.iter().eq(b.iter()),
            (Cells::UInt32(a), Cells::UInt32(b)) => a.iter().eq(b.iter()),
            (Cells::UInt64(a), Cells::UInt64(b)) => a.iter().eq(b.iter()),
            (Cells::Decimal(a), Cells::Decimal(b)) => a.iter().eq(b.iter()),
            (Cells::Float32(a), Cells::Float32(b)) => a.iter().map(|n| n.map(f32::to_bits)).eq(b.iter().map(|n| n.map(f32::to_bits))),
            (Cells::Float64(a), Cells::Float64(b)) => a.iter().map(|n| n.map(f64::to_bits)).eq(b.iter().map(|n| n.map(f64::to_bits))),
            (Cells::Nested(a), Cells::Nested(b)) => a == b,
            _ => false,
        }
    }

    /// The cells of these rows, in their order; a row is one of these cells or a new one.
    pub fn remade<'c>(&self, rows: impl Iterator<Item = Row<'c>>) -> Cells {
        macro_rules! remade {
            ($cells:expr, $of:path, $chunked:ty, $new:pat => $value:expr) => {{
                let values = rows.map(|row| match row {
                    Row::Old(row) => $cells.get(row),
                    Row::New($new) => $value,
                    Row::New(_) => None,
                });
                $of(values.collect::<$chunked>())
            }};
        }
        match self {
            Cells::Text(c) => {
                let mut texts = StringChunkedBuilder::new(PlSmallStr::EMPTY, c.len());
                for row in rows {
                    match row {
                        Row::Old(row) => texts.append_option(c.get(row)),
                        Row::New(Cell::Text(text)) => texts.append_value(text),
                        Row::New(_) => texts.append_null(),
                    }
                }
                Cells::Text(texts.finish())
            }
            Cells::Bytes(c) => {
                let mut bytes = BinaryChunkedBuilder::new(PlSmallStr::EMPTY, c.len());
                for row in rows {
                    match row {
                        Row::Old(row) => bytes.append_option(c.get(row)),
                        Row::New(_) => bytes.append_null(),
                    }
                }
                Cells::Bytes(bytes.finish())
            }
            Cells::Boolean(c) => remade!(c, Cells::Boolean, BooleanChunked, Cell::Boolean(truth) => Some(*truth)),
            Cells::Int32(c) => remade!(c, Cells::Int32, Int32Chunked, Cell::Whole(n) => i32::try_from(*n).ok()),
            Cells::Int64(c) => remade!(c, Cells::Int64, Int64Chunked, Cell::Whole(n) => i64::try_from(*n).ok()),
            Cells::UInt32(c) => remade!(c, Cells::UInt32, UInt32Chunked, Cell::Whole(n) => u32::try_from(*n).ok()),
            Cells::UInt64(c) => remade!(c, Cells::UInt64, UInt64Chunked, Cell::Whole(n) => u64::try_from(*n).ok()),
            Cells::Decimal(c) => remade!(c, Cells::Decimal, Int128Chunked, Cell::Whole(n) => Some(*n)),
            Cells::Float32(c) => remade!(c, Cells::Float32, Float32Chunked, Cell::Float(n) => Some(*n as f32)),
            Cells::Float64(c) => remade!(c, Cells::Float64, Float64Chunked, Cell::Float(n) => Some(*n)),
            Cells::Nested(arrays) => Cells::Nested(arrays.clone()),
        }
    }
}

/// A row of a column that is made anew.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row<'c> {
    /// That of the old column.
    Old(usize),
    New(&'c Cell),
}

impl Column {
    /// How the column is stored in a file: as in the one that it comes from, if that can be written.
    fn stored_as(&self, parquet: &ParquetType) -> PolarsResult<ParquetType> {
        let ParquetType::PrimitiveType(stored) = parquet else { return Ok(parquet.clone()) };
        // What the array says of itself must be what is stored, byte for byte.
        let meant = match (&self.kind, &self.cells) {
            (Kind::Moment { .. }, _) if format!("{:?}", stored.physical_type) == "Int96" => {
                ArrowField { dtype: ArrowDataType::Timestamp(ArrowTimeUnit::Nanosecond, None), ..self.field.clone() }
            }
            (Kind::Decimal { digits, scale }, _) => {
                ArrowField { dtype: ArrowDataType::Decimal(usize::from(*digits), usize::from(*scale)), ..self.field.clone() }
            }
            _ => return Ok(parquet.clone()),
        };
        let usual = to_parquet_type(&meant)?;
        Ok(match &usual {
            ParquetType::PrimitiveType(usual) if usual.physical_type == stored.physical_type => parquet.clone(),
            _ => usual,
        })
    }

    /// The cells of some rows as an array to be written.
    fn array(&self, part: usize, from: usize, rows: usize) -> PolarsResult<ArrayRef> {
        let series = match &self.cells {
            Cells::Nested(arrays) => {
                let array = arrays.iter().filter(|array| !array.is_empty()).nth(part).filter(|array| array.len() == rows);
                return array.cloned().ok_or_else(|| PolarsError::ComputeError(format!("`{}` cannot be carried", self.name).into()));
            }
            Cells::Text(c) => c.clone().into_series(),
            Cells::Bytes(c) => c.clone().into_series(),
            Cells::Boolean(c) => c.clone().into_series(),
            Cells::Int32(c) => c.clone().into_series(),
            Cells::Int64(c) => c.clone().into_series(),
            Cells::UInt32(c) => c.clone().into_series(),
            Cells::UInt64(c) => c.clone().into_series(),
            Cells::Float32(c) => c.clone().into_series(),
            Cells::Float64(c) => c.clone().into_series(),
            Cells::Decimal(c) => {
                let Kind::Decimal { digits, scale } = self.kind else { return Ok(c.clone().into_series().to_arrow(0, CompatLevel::newest())) };
                c.clone().into_decimal(usize::from(digits), usize::from(scale))?.into_series()
            }
        };
        Ok(series.slice(i64::try_from(from).unwrap_or(i64::MAX), rows).rechunk().to_arrow(0, CompatLevel::newest()))
    }
}
