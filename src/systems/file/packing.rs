//! What is in a packed file: gzip, which is one file compressed, or a zip archive with the file in it.
//!
//! Pure: bytes in, bytes out. A packed file is only ever read.
//!
//! # Design
//! - Whatever a few bytes can be made to unpack to, no more than [`UNPACKED_BYTES_MAX`] of it is ever held.
//! - What the computers of people put into archives beside their files (`__MACOSX/`, names that begin with a point) is not there.
//! - Checksums are proved by unpacking to the end: a cut or damaged file never becomes a short one.

use std::io::{Cursor, Read};

use flate2::read::MultiGzDecoder;
use zip::ZipArchive;
use zip::result::ZipError;

use crate::job::Packing;

/// A packed file that holds more than this is not read.
pub(super) const UNPACKED_BYTES_MAX: u64 = 8 << 30;

/// Why a packed file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unpackable {
    /// It is not what its name says, or damaged.
    Damaged,
    /// It ends too early.
    CutOff,
    /// What is in it is too long.
    TooLarge,
    /// It needs a password.
    Encrypted,
    /// It is packed in another way than is understood.
    Unknown,
    /// There is no file in the archive.
    Empty,
    /// There are several files in the archive, and none was named.
    Several(Vec<String>),
    /// There is no such file in the archive.
    NoMember(Vec<String>),
}

/// What is in a packed file. `member` names the file in an archive; without it there must be only one.
pub(super) fn unpack(bytes: &[u8], packing: Packing, member: Option<&str>, bytes_max: u64) -> Result<Vec<u8>, Unpackable> {
    match packing {
        Packing::Gzip => {
            if bytes.is_empty() {
                return Err(Unpackable::CutOff);
            }
            whole(MultiGzDecoder::new(bytes), bytes_max)
        }
        Packing::Zip => unzip(bytes, member, bytes_max),
    }
}

fn whole(reader: impl Read, bytes_max: u64) -> Result<Vec<u8>, Unpackable> {
    let mut unpacked = Vec::new();
    reader.take(bytes_max.saturating_add(1)).read_to_end(&mut unpacked).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Unpackable::CutOff,
        std::io::ErrorKind::Unsupported => Unpackable::Unknown,
        _ => Unpackable::Damaged,
    })?;
    if unpacked.len() as u64 > bytes_max { Err(Unpackable::TooLarge) } else { Ok(unpacked) }
}

fn unzip(bytes: &[u8], member: Option<&str>, bytes_max: u64) -> Result<Vec<u8>, Unpackable> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(why)?;
    let mut files = Vec::new();
    for index in 0..archive.len() {
        let file = archive.by_index_raw(index).map_err(why)?;
        let name = file.name().map_err(|_| Unpackable::Damaged)?.into_owned();
        let is_hidden = name.starts_with("__MACOSX/") || name.rsplit('/').next().is_some_and(|last| last.starts_with('.'));
        if !file.is_dir() && (!is_hidden || member == Some(name.as_str())) {
            files.push((index, name));
        }
    }
    let names = |files: Vec<(usize, String)>| files.into_iter().map(|(_, name)| name).collect();
    let index = match (member, files.as_slice()) {
        (_, []) => return Err(Unpackable::Empty),
        (Some(member), files) if files.iter().filter(|(_, name)| name == member).count() == 1 => {
            files.iter().find(|(_, name)| name == member).map_or(0, |(index, _)| *index)
        }
        (Some(_), _) => return Err(Unpackable::NoMember(names(files))),
        (None, [(index, _)]) => *index,
        (None, _) => return Err(Unpackable::Several(names(files))),
    };
    if archive.by_index_raw(index).is_ok_and(|file| file.encrypted()) {
        return Err(Unpackable::Encrypted);
    }
    whole(archive.by_index(index).map_err(why)?, bytes_max)
}

fn why(error: ZipError) -> Unpackable {
    match error {
        ZipError::UnsupportedArchive(_) | ZipError::CompressionMethodNotSupported(_) => Unpackable::Unknown,
        _ => Unpackable::Damaged,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use super::*;

    const MAX: u64 = 1000;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        writer.write_all(text).unwrap();
        writer.finish().unwrap()
    }

    fn zip(files: &[(&str, &str)]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, text) in files {
            writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(text.as_bytes()).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn gzip_is_unpacked_whole_or_not_at_all() {
        let unpack = |bytes: &[u8]| unpack(bytes, Packing::Gzip, None, MAX);
        assert_eq!(unpack(&gzip(b"id,name\n1,Ann\n")).unwrap(), b"id,name\n1,Ann\n");
        // What `cat a.gz b.gz` makes is one file.
        assert_eq!(unpack(&[gzip(b"a"), gzip(b"b")].concat()).unwrap(), b"ab");
        let whole = gzip(b"id,name\n1,Ann\n");
        for length in 0..whole.len() {
            assert_eq!(unpack(&whole[..length]), Err(Unpackable::CutOff), "{length} bytes");
        }
        let mut damaged = whole.clone();
        let at = damaged.len() - 6;
        damaged[at] ^= 1;
        assert_eq!(unpack(&damaged), Err(Unpackable::Damaged));
        assert_eq!(unpack(b"id,name\n1,Ann\n is no gzip"), Err(Unpackable::Damaged));
        assert!(unpack(&gzip(&[b'x'; 1000])).is_ok());
        assert_eq!(unpack(&gzip(&[b'x'; 1001])), Err(Unpackable::TooLarge));
    }

    #[test]
    fn the_only_file_of_an_archive_is_read_or_the_one_that_is_named() {
        let unpack = |bytes: &[u8], member| unpack(bytes, Packing::Zip, member, MAX);
        let one = zip(&[("__MACOSX/._a.csv", "junk"), (".DS_Store", "junk"), ("export/a.csv", "a")]);
        assert_eq!(unpack(&one, None).unwrap(), b"a");
        let two = zip(&[("a.csv", "a"), ("b.csv", "b")]);
        assert_eq!(unpack(&two, Some("b.csv")).unwrap(), b"b");
        assert_eq!(unpack(&two, None), Err(Unpackable::Several(vec!["a.csv".into(), "b.csv".into()])));
        assert_eq!(unpack(&two, Some("c.csv")), Err(Unpackable::NoMember(vec!["a.csv".into(), "b.csv".into()])));
        assert_eq!(unpack(&zip(&[]), None), Err(Unpackable::Empty));
        assert_eq!(unpack(&two[..two.len() - 5], None), Err(Unpackable::Damaged));
        assert_eq!(unpack(&zip(&[("a", &"x".repeat(1001))]), None), Err(Unpackable::TooLarge));
    }
}
