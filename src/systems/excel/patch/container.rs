//! The zip file around the parts of a workbook: read, and written again with some entries replaced or left out.
//!
//! # Design
//! An entry that is not replaced is copied with everything that belongs to it: its local header, its compressed bytes, its
//! data descriptor, the gap behind it, its record in the directory. Only its offset in the directory changes. The `zip` crate
//! finds, checks and decompresses; its writer would set flags and extra fields anew, so the copy is made here.
//! A replaced entry keeps its place, name, date, method, attributes and extra fields. No clock is read: the same input gives
//! the same output.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read, Write};
use std::ops::Range;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::PatchError;

/// What all parts together that are read may decompress to.
const READ_BYTES_MAX: u64 = 2 << 30;

/// More entries than this need the extension of the directory.
const ENTRIES_MAX: usize = 65_534;

const LOCAL: &[u8] = b"PK\x03\x04";
const RECORD: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";

const FLAG_DESCRIPTOR: u16 = 1 << 3;
const FLAG_DEFLATE_OPTIONS: u16 = 0b110;
const EXTRA_64: u16 = 1;

struct Entry {
    name: String,
    /// From the local header up to whatever comes next.
    segment: Range<usize>,
    record: Range<usize>,
}

/// An opened zip file.
pub(super) struct Container<'a> {
    bytes: &'a [u8],
    archive: ZipArchive<Cursor<&'a [u8]>>,
    /// In the order of the directory.
    entries: Vec<Entry>,
    directory: Range<usize>,
    /// Where the end record begins.
    end: usize,
    read_bytes: u64,
}

impl<'a> Container<'a> {
    /// Opens a zip file.
    ///
    /// # Errors
    /// The bytes are no zip file, an entry is encrypted, two entries have one name, entries overlap, or the file has bytes
    /// before or behind its zip content.
    pub fn open(bytes: &'a [u8]) -> Result<Container<'a>, PatchError> {
        if bytes.starts_with(&[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1]) {
            return Err(PatchError::new("the file is not a workbook of kind xlsx").saw("it is an xls file, or protected with a password"));
        }
        let broken = |why: String| PatchError::new("the file is not a workbook of kind xlsx: it cannot be read as a zip file").saw(why);
        let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|why| broken(why.to_string()))?;
        if archive.offset() != 0 {
            return Err(broken(format!("{} bytes stand before its content", archive.offset())));
        }
        if archive.has_duplicate_names() {
            return Err(broken("two entries have the same name".to_owned()));
        }
        if archive.len() > ENTRIES_MAX {
            return Err(broken(format!("it has {} entries", archive.len())));
        }
        if archive.has_overlapping_entries().map_err(|why| broken(why.to_string()))? {
            return Err(broken("entries overlap".to_owned()));
        }
        let directory_start = place(archive.central_directory_start());
        let mut entries = Vec::with_capacity(archive.len());
        let mut names = BTreeSet::new();
        for index in 0..archive.len() {
            let entry = archive.by_index_raw(index).map_err(|why| broken(why.to_string()))?;
            let name = entry.name().map_or_else(|_| String::from_utf8_lossy(entry.name_raw()).into_owned(), |name| name.into_owned());
            if entry.encrypted() {
                return Err(PatchError::new(format!("entry `{name}` of the workbook is encrypted")));
            }
            if !names.insert(name.to_ascii_lowercase()) {
                return Err(broken(format!("two entries are called `{name}`")));
            }
            let (local, record) = (place(entry.header_start()), place(entry.central_header_start()));
            let record = record..record_end(bytes, record).ok_or_else(|| broken(format!("the directory is cut at `{name}`")))?;
            if bytes.get(local..).is_none_or(|rest| !rest.starts_with(LOCAL)) {
                return Err(broken(format!("entry `{name}` has no header")));
            }
            entries.push(Entry { name, segment: local..directory_start, record });
        }
        let mut starts: Vec<usize> = entries.iter().map(|entry| entry.segment.start).collect();
        starts.sort_unstable();
        for entry in &mut entries {
            let next = starts.partition_point(|start| *start <= entry.segment.start);
            entry.segment.end = starts.get(next).copied().unwrap_or(directory_start);
            if entry.segment.end < entry.segment.start {
                return Err(broken("its directory comes before its entries".to_owned()));
            }
        }
        if starts.first().is_some_and(|first| *first != 0) {
            return Err(broken(format!("{} bytes stand before its content", starts[0])));
        }
        let directory = directory_start..entries.iter().map(|entry| entry.record.end).max().unwrap_or(directory_start);
        let end = bytes.len().checked_sub(22 + archive.comment().len()).filter(|end| *end >= directory.end && bytes[*end..].starts_with(END));
        let end = end.ok_or_else(|| broken("bytes stand behind its content".to_owned()))?;
        Ok(Container { bytes, archive, entries, directory, end, read_bytes: 0 })
    }

    /// The entry of this name: exactly, else without regard to the case of ASCII letters, as part names are compared, and to the
    /// way in which some writers separate folders.
    pub fn find(&self, name: &str) -> Option<usize> {
        let exact = self.entries.iter().position(|entry| entry.name == name);
        let plain = |entry: &Entry| entry.name.replace('\\', "/").trim_start_matches('/').eq_ignore_ascii_case(name);
        exact.or_else(|| self.entries.iter().position(plain))
    }

    /// The names of all entries, in the order of the directory.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// The name of an entry.
    pub fn name(&self, index: usize) -> &str {
        &self.entries[index].name
    }

    /// The content of an entry.
    ///
    /// # Errors
    /// It does not decompress to what its size and check sum say, or all that was read so far is more than a workbook can mean.
    pub fn read(&mut self, index: usize) -> Result<Vec<u8>, PatchError> {
        let name = self.entries[index].name.clone();
        let broken = |why: String| PatchError::new(format!("part `{name}` of the workbook cannot be read")).saw(why);
        let entry = self.archive.by_index(index).map_err(|why| broken(why.to_string()))?;
        let said = entry.size();
        self.read_bytes = self.read_bytes.saturating_add(said);
        if self.read_bytes > READ_BYTES_MAX {
            return Err(broken(format!("the parts that are needed decompress to more than {READ_BYTES_MAX} bytes")));
        }
        let mut content = Vec::new();
        entry.take(said + 1).read_to_end(&mut content).map_err(|why| broken(why.to_string()))?;
        if content.len() as u64 != said {
            return Err(broken(format!("it does not decompress to {said} bytes, as the directory says")));
        }
        Ok(content)
    }

    /// The whole file with the content of some entries replaced and some entries left out.
    ///
    /// # Errors
    /// The file would be larger than a zip file without extensions can be.
    pub fn rewrite(&self, replaced: &BTreeMap<usize, Vec<u8>>, dropped: &BTreeSet<usize>) -> Result<Vec<u8>, PatchError> {
        let mut made: Vec<u8> = Vec::with_capacity(self.bytes.len() + self.bytes.len() / 8);
        let mut by_place: Vec<usize> = (0..self.entries.len()).filter(|index| !dropped.contains(index)).collect();
        by_place.sort_unstable_by_key(|index| self.entries[*index].segment.start);
        let mut records = vec![Vec::new(); self.entries.len()];
        for index in by_place {
            let entry = &self.entries[index];
            let offset = made.len() as u64;
            let mut record = self.bytes[entry.record.clone()].to_vec();
            match replaced.get(&index) {
                Some(content) => self.write_replaced(entry, content, &mut record, &mut made)?,
                None => made.extend_from_slice(&self.bytes[entry.segment.clone()]),
            }
            set_offset(&mut record, offset).ok_or_else(too_large)?;
            records[index] = record;
        }
        let start = made.len();
        for record in &records {
            made.extend_from_slice(record);
        }
        let count = records.iter().filter(|record| !record.is_empty()).count();
        self.write_end(start, count, &mut made).ok_or_else(too_large)?;
        Ok(made)
    }

    fn write_replaced(&self, entry: &Entry, content: &[u8], record: &mut Vec<u8>, made: &mut Vec<u8>) -> Result<(), PatchError> {
        let is_stored = two(record, 10) == 0;
        let (compressed, check) =
            compressed(content, is_stored).map_err(|why| PatchError::new(format!("part `{}` cannot be compressed", entry.name)).saw(why))?;
        let size = u32::try_from(content.len()).ok().filter(|size| *size < u32::MAX).ok_or_else(too_large)?;
        let compressed_size = u32::try_from(compressed.len()).map_err(|_| too_large())?;
        let mut header = self.bytes[entry.segment.start..entry.segment.start + 30].to_vec();
        let name_end = entry.segment.start + 30 + usize::from(two(&header, 26));
        let extra = without_64(&self.bytes[name_end..name_end + usize::from(two(&header, 28))]);
        let record_extra = 46 + usize::from(two(record, 28));
        let record_extra = record_extra..record_extra + usize::from(two(record, 30));
        let kept = without_64(&record[record_extra.clone()]);
        record[30..32].copy_from_slice(&(kept.len() as u16).to_le_bytes());
        record.splice(record_extra, kept);
        if four(record, 42) == u32::MAX {
            record[42..46].fill(0);
        }
        for (into, flags, method, sizes) in [(&mut header, 6, 8, 14), (record, 8, 10, 16)] {
            let kept = two(into, flags) & !(FLAG_DESCRIPTOR | FLAG_DEFLATE_OPTIONS);
            into[flags..flags + 2].copy_from_slice(&kept.to_le_bytes());
            into[method..method + 2].copy_from_slice(&(if is_stored { 0u16 } else { 8 }).to_le_bytes());
            into[sizes..sizes + 4].copy_from_slice(&check.to_le_bytes());
            into[sizes + 4..sizes + 8].copy_from_slice(&compressed_size.to_le_bytes());
            into[sizes + 8..sizes + 12].copy_from_slice(&size.to_le_bytes());
        }
        header[28..30].copy_from_slice(&(extra.len() as u16).to_le_bytes());
        made.extend_from_slice(&header);
        made.extend_from_slice(&self.bytes[entry.segment.start + 30..name_end]);
        made.extend_from_slice(&extra);
        made.extend_from_slice(&compressed);
        Ok(())
    }

    /// The end records, as they were, with the new place and size of the directory.
    fn write_end(&self, start: usize, count: usize, made: &mut Vec<u8>) -> Option<()> {
        let size = made.len() - start;
        let locator = self.end.checked_sub(20).filter(|at| *at >= self.directory.end && self.bytes[*at..].starts_with(LOCATOR_64));
        let mut tail = self.bytes[self.end..].to_vec();
        if let Some(locator) = locator {
            let at = usize::try_from(eight(self.bytes, locator + 8)?).ok()?;
            let mut end = self.bytes.get(at..locator).filter(|end| end.starts_with(END_64) && end.len() >= 56)?.to_vec();
            let mut locator = self.bytes[locator..locator + 20].to_vec();
            locator[8..16].copy_from_slice(&(made.len() as u64).to_le_bytes());
            for (at, value) in [(24, count), (32, count), (40, size), (48, start)] {
                end[at..at + 8].copy_from_slice(&(value as u64).to_le_bytes());
            }
            made.extend_from_slice(&end);
            made.extend_from_slice(&locator);
        }
        let has_64 = locator.is_some();
        for at in [8, 10] {
            if !has_64 || two(&tail, at) != u16::MAX {
                tail[at..at + 2].copy_from_slice(&u16::try_from(count).ok()?.to_le_bytes());
            }
        }
        for (at, value) in [(12, size), (16, start)] {
            if !has_64 || four(&tail, at) != u32::MAX {
                tail[at..at + 4].copy_from_slice(&u32::try_from(value).ok().filter(|value| *value < u32::MAX)?.to_le_bytes());
            }
        }
        made.extend_from_slice(&tail);
        Some(())
    }
}

fn too_large() -> PatchError {
    PatchError::new("the workbook would be too large for a zip file without extensions")
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

fn two(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
}

fn four(bytes: &[u8], at: usize) -> u32 {
    u32::from(two(bytes, at)) | u32::from(two(bytes, at + 2)) << 16
}

fn eight(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8).map(|_| u64::from(four(bytes, at)) | u64::from(four(bytes, at + 4)) << 32)
}

/// Where the directory's record that begins here ends.
fn record_end(bytes: &[u8], at: usize) -> Option<usize> {
    let head = bytes.get(at..at.checked_add(46)?).filter(|head| head.starts_with(RECORD))?;
    let end = at + 46 + usize::from(two(head, 28)) + usize::from(two(head, 30)) + usize::from(two(head, 32));
    (end <= bytes.len()).then_some(end)
}

/// The extra fields without the one that holds sizes of more than four bytes.
fn without_64(extra: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(extra.len());
    let mut at = 0;
    while at + 4 <= extra.len() {
        let end = (at + 4 + usize::from(two(extra, at + 2))).min(extra.len());
        if two(extra, at) != EXTRA_64 {
            kept.extend_from_slice(&extra[at..end]);
        }
        at = end;
    }
    kept
}

/// Sets the offset in a record of the directory, where it stands: in the record or in its extra field.
fn set_offset(record: &mut [u8], offset: u64) -> Option<()> {
    let short = u32::try_from(offset).ok().filter(|offset| *offset < u32::MAX);
    if four(record, 42) != u32::MAX {
        record[42..46].copy_from_slice(&short?.to_le_bytes());
        return Some(());
    }
    let extra_start = 46 + usize::from(two(record, 28));
    let extra_end = extra_start + usize::from(two(record, 30));
    let sizes_before = [24, 20].iter().filter(|at| four(record, **at) == u32::MAX).count();
    let mut at = extra_start;
    while at + 4 <= extra_end {
        let length = usize::from(two(record, at + 2));
        if two(record, at) == EXTRA_64 && length >= 8 * (sizes_before + 1) {
            let field = at + 4 + 8 * sizes_before;
            record.get_mut(field..field + 8)?.copy_from_slice(&offset.to_le_bytes());
            return Some(());
        }
        at += 4 + length;
    }
    record[42..46].copy_from_slice(&short?.to_le_bytes());
    Some(())
}

/// The content as an entry holds it, and its check sum.
fn compressed(content: &[u8], is_stored: bool) -> Result<(Vec<u8>, u32), String> {
    let method = if is_stored { CompressionMethod::Stored } else { CompressionMethod::Deflated };
    let options = SimpleFileOptions::default().compression_method(method);
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("part", options).map_err(|why| why.to_string())?;
    writer.write_all(content).map_err(|why| why.to_string())?;
    let written = writer.finish().map_err(|why| why.to_string())?;
    let mut archive = ZipArchive::new(written).map_err(|why| why.to_string())?;
    let mut entry = archive.by_index_raw(0).map_err(|why| why.to_string())?;
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(|why| why.to_string())?;
    Ok((bytes, entry.crc32()))
}
