//! What all kinds of files share: which file it is, when it is complete, how it is unpacked, how it is replaced.
//!
//! A kind holds a [`SourceFile`] and asks it for bytes; what they mean is the kind's own. Messages name the file as the operator wrote it.
//!
//! # Design
//! - Where the job asks for it, a file is only read when it is complete: nobody has written it for a while, or its marker is
//!   there. In a system that is never written, a marker older than the file is that of an earlier delivery; elsewhere our own
//!   write makes the file the newer of the two. What is read back after a write waits for nothing.
//! - Of several dated files the newest is read, and never one that is older than that of the last run: the records would go back in
//!   time, and every edit since would look like one more.
//! - A packed file is a delivery: it is read, and never written. Its digest is that of what is in it, so that the same content packed
//!   anew is the same file.

mod addresses;
mod names;
mod packing;

use std::path::{Path, PathBuf};

pub(super) use self::addresses::addressed;
use self::names::Unclear;
use self::packing::Unpackable;
use crate::change::Outcome;
use crate::diagnostic::Place;
use crate::disk;
use crate::error::{Error, Remedy};
use crate::job::{FileReady, FileSettings, Packing, Role};
use crate::systems::{Opening, error_as_written, no_file, outcomes_of_replacing, passing_if_gone, resolved, shown};

/// The name of the date in a file's name among what a run finds ([`crate::frame::Evidence::found`]).
const NAME_DATE: &str = "date in the name";

pub(super) const NOTHING: &str = "nothing was read or written";

/// A file that a system reads.
#[derive(Clone, Debug)]
pub(super) struct SourceFile {
    path: PathBuf,
    /// The path as the operator wrote it.
    origin: String,
    /// The name of the system.
    system: String,
    ready: Ready,
    /// The date in the name of the file, where that is how it was chosen.
    name_date: Option<String>,
    packing: Option<Packing>,
    /// The file in an archive.
    member: Option<String>,
    backups: u32,
}

/// What tells that the file is complete.
#[derive(Clone, Debug)]
enum Ready {
    /// Nothing does.
    Always,
    /// It has not changed for so many seconds.
    Still(u32),
    /// There is a marker.
    Marked {
        path: PathBuf,
        /// As the operator wrote it.
        written: String,
        /// Whether a marker that is older than the file is none.
        must_be_newer: bool,
    },
}

impl SourceFile {
    /// Finds the file, which is there. Nothing of it is read.
    ///
    /// # Errors
    /// `MendJob` for a name with several dates; `GiveAccess` if there is no such file, or a reference leads nowhere; `Look` if it
    /// cannot be told which of several files is the newest, or the newest is older than that of the last run.
    pub fn find(settings: &FileSettings, opening: &Opening<'_>) -> Result<SourceFile, Error> {
        let name = &opening.spec.name;
        let mut path = opening.root.join(resolved(&settings.path, opening)?);
        let (mut origin, mut name_date) = (settings.path.clone(), None);
        if let Some(format) = &settings.newest {
            let (file, date) = newest_file(&path, &settings.path, format, opening)?;
            origin = settings.path.rsplit_once('/').map_or_else(|| file.clone(), |(folder, _)| format!("{folder}/{file}"));
            path.set_file_name(file);
            name_date = Some(date);
        }
        if !path.is_file() {
            return Err(no_file(&path, &settings.path, name));
        }
        let ready = match &settings.ready {
            None => Ready::Always,
            Some(FileReady::Stable(seconds)) => Ready::Still(*seconds),
            Some(FileReady::Marker(marker)) => {
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                let written = marker.replace("{name}", &file);
                let path = opening.root.join(resolved(&written, opening)?);
                let must_be_newer = matches!(opening.spec.role, Role::Source | Role::Witness);
                Ready::Marked { path, written, must_be_newer }
            }
        };
        Ok(SourceFile {
            packing: Packing::of(&path.to_string_lossy()),
            path,
            origin,
            system: name.clone(),
            ready,
            name_date,
            member: settings.member.clone(),
            backups: settings.backups.unwrap_or(1),
        })
    }

    /// A file without a job: read once, never written, and shown by its path.
    pub fn alone(path: &Path) -> SourceFile {
        SourceFile {
            packing: Packing::of(&path.to_string_lossy()),
            path: path.to_owned(),
            origin: path.to_string_lossy().into_owned(),
            system: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            ready: Ready::Always,
            name_date: None,
            member: None,
            backups: 1,
        }
    }

    /// The path as the operator wrote it.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its content is packed.
    pub fn is_packed(&self) -> bool {
        self.packing.is_some()
    }

    /// The SHA-256 of its bytes.
    pub fn digest(&self) -> Result<String, Error> {
        disk::digest_of(&self.path).map_err(|error| self.as_written(error))
    }

    /// The error of the file if it cannot be read.
    pub fn unreadable(&self, error: &std::io::Error) -> Error {
        self.as_written(disk::unreadable(&self.path, error))
    }

    /// The error of the file if somebody writes it while it is read.
    pub fn still_changing(&self) -> Error {
        self.as_written(disk::still_changing(&self.path))
    }

    /// The file as a place.
    pub fn place(&self) -> Place {
        Place::of(&self.origin)
    }

    /// Whether it can be written.
    pub fn is_writable(&self) -> bool {
        self.packing.is_none()
    }

    /// What a run found out about the file and expects of the next one.
    pub fn found(&self) -> Option<(String, String)> {
        self.name_date.as_ref().map(|date| (NAME_DATE.to_owned(), date.clone()))
    }

    /// An error of the disk, with the file as the operator wrote it.
    pub fn as_written(&self, error: Error) -> Error {
        error_as_written(error, &self.origin)
    }

    /// When the file was changed last.
    pub fn stamp(&self) -> Result<Option<disk::Stamp>, Error> {
        disk::stamp(&self.path).map_err(|error| self.as_written(error))
    }

    /// All bytes of the file, unpacked.
    ///
    /// # Errors
    /// As [`disk::read_bytes`]; `Look` for a packed file that cannot be unpacked, `MendJob` for an archive in which it is not told
    /// which file is meant.
    pub fn read(&self) -> Result<Vec<u8>, Error> {
        let bytes = disk::read_bytes(&self.path).map_err(|error| self.as_written(error))?;
        match self.packing {
            None => Ok(bytes),
            Some(packing) => packing::unpack(&bytes, packing, self.member.as_deref(), packing::UNPACKED_BYTES_MAX).map_err(|why| self.unpackable(packing, why)),
        }
    }

    fn unpackable(&self, packing: Packing, why: Unpackable) -> Error {
        let stop = |remedy: Remedy, message: &str| Error::new(remedy, self.place(), message);
        let what = if packing == Packing::Gzip { "gzip file" } else { "zip archive" };
        let listed = |names: &[String]| {
            const NAMES_TOLD_MAX: usize = 10;
            let told: Vec<String> = names.iter().take(NAMES_TOLD_MAX).map(|name| format!("`{}`", shown(name))).collect();
            format!("in it are {}{}", told.join(", "), if names.len() > told.len() { ", .." } else { "" })
        };
        let error = match &why {
            Unpackable::Damaged => stop(Remedy::Look, &format!("the file is no {what}, or a damaged one")).hint("deliver or copy the file again"),
            Unpackable::CutOff => stop(Remedy::Look, "the file looks cut off: it ends before it is unpacked").hint("deliver or copy the file again"),
            Unpackable::TooLarge => stop(Remedy::Look, "what is packed in the file is larger than anything that is read")
                .seen(format!("at most {} GB are read", packing::UNPACKED_BYTES_MAX >> 30))
                .hint("look whether it is the right file"),
            Unpackable::Encrypted => stop(Remedy::Look, "what is in the archive has a password").hint("deliver it without one"),
            Unpackable::Unknown => {
                stop(Remedy::Look, "the archive is compressed in a way that is not understood").hint("pack it anew as any program does: with `deflate`")
            }
            Unpackable::Empty => stop(Remedy::Look, "there is no file in the archive").hint("deliver or copy the archive again"),
            Unpackable::Several(names) => stop(Remedy::MendJob, "there are several files in the archive, and nothing tells which is meant")
                .seen(listed(names))
                .hint(format!("name it in system `{}`: `member = \"{}\"`", self.system, names.first().map(|name| shown(name)).unwrap_or_default())),
            Unpackable::NoMember(names) => {
                stop(Remedy::MendJob, &format!("there is no one file `{}` in the archive", shown(self.member.as_deref().unwrap_or_default())))
                    .seen(listed(names))
                    .hint(format!("correct `member` of system `{}`", self.system))
            }
        };
        error.seen(NOTHING)
    }

    /// Settles what a killed process left beside the file: see [`disk::recover`]. Beside a packed file nothing ever is.
    pub fn recover(&self) -> Result<Vec<String>, Error> {
        if !self.is_writable() {
            return Ok(Vec::new());
        }
        disk::recover(&self.path).map_err(|error| self.as_written(error))
    }

    /// Waits until the file is complete. Gives the stamp that it must still have when it was read.
    ///
    /// # Errors
    /// `GiveAccess` if it is not.
    pub fn wait_until_ready(&self) -> Result<Option<disk::Stamp>, Error> {
        let stop = |message: String| Error::new(Remedy::GiveAccess, self.place(), message);
        match &self.ready {
            Ready::Always => Ok(None),
            Ready::Still(seconds) => disk::wait_until_still(&self.path, *seconds).map(Some).map_err(|error| self.as_written(error)),
            Ready::Marked { path, written, must_be_newer } => {
                let file = self.stamp()?;
                let Some(marker) = disk::stamp(path).map_err(|error| self.as_written(error))? else {
                    return Err(stop(format!("the file is not complete: its marker `{written}` is not there"))
                        .seen(NOTHING)
                        .hint("whoever delivers the file makes the marker at the end: look what became of the delivery, then run again"));
                };
                if *must_be_newer && file.is_some_and(|file| marker.is_older_than(&file)) {
                    return Err(stop(format!("the file is not complete: its marker `{written}` is older than the file"))
                        .seen("it is the marker of an earlier delivery")
                        .seen(NOTHING)
                        .hint("whoever delivers the file makes the marker anew at the end: look what became of the delivery, then run again"));
                }
                Ok(file)
            }
        }
    }

    /// An error if the file is no longer the one of the stamp that [`SourceFile::wait_until_ready`] gave.
    pub fn prove_still(&self, stamp: Option<disk::Stamp>) -> Result<(), Error> {
        if stamp.is_some() && self.stamp()? != stamp { Err(self.as_written(disk::still_written(&self.path))) } else { Ok(()) }
    }

    /// Proves that the file can be replaced, without changing anything.
    pub fn prove_replaceable(&self) -> Result<(), Error> {
        if !self.is_writable() {
            return Err(Error::new(Remedy::MendJob, self.place(), "a packed file is only read")
                .seen("nothing was written")
                .hint(format!("unpack the file, or make system `{}` a source or a witness", self.system)));
        }
        disk::prove_replaceable(&self.path).map_err(|error| self.as_written(error))
    }

    /// The bytes of the file for a write: as [`SourceFile::read`], and if it is gone for a moment that passes.
    pub fn read_to_write(&self) -> Result<Vec<u8>, Error> {
        self.read().map_err(|error| passing_if_gone(error, &self.path))
    }

    /// Replaces the file, which must hold these bytes; what was written by it and what is stale.
    pub fn replace(&self, bytes: &[u8], sha256: &str, new: &[u8], outcomes: Vec<Outcome>) -> Result<Vec<Outcome>, Error> {
        self.replace_by(disk::Content::Bytes(new), disk::Expected { bytes: Some(bytes), sha256 }, outcomes)
    }

    /// Replaces the file, which must hold what is expected, as [`SourceFile::replace`] does.
    pub fn replace_by(&self, new: disk::Content<'_>, expected: disk::Expected<'_>, outcomes: Vec<Outcome>) -> Result<Vec<Outcome>, Error> {
        let replaced = disk::replace_keeping(&self.path, new, expected, self.backups).map_err(|error| self.as_written(error))?;
        Ok(outcomes_of_replacing(replaced, outcomes))
    }
}

/// The newest of the files that a path with one `*` in its name stands for, and the date in its name.
fn newest_file(path: &Path, written: &str, format: &str, opening: &Opening<'_>) -> Result<(String, String), Error> {
    let system = &opening.spec.name;
    let stop = |remedy: Remedy, message: String| Error::new(remedy, Place::of(written), message).seen(format!("system `{system}` reads the newest"));
    let pattern = path.file_name().unwrap_or_default().to_string_lossy();
    let (before, after) = pattern.split_once('*').unwrap_or((&pattern, ""));
    let listed = disk::files(path.parent().unwrap_or(opening.root)).map_err(|mut error| {
        error.diagnostics.iter_mut().for_each(|diagnostic| diagnostic.place.origin = written.to_owned());
        error.seen(NOTHING)
    })?;
    let fits = |name: &String| {
        let is_hidden = name.starts_with('.') && !before.starts_with('.');
        !is_hidden && name.strip_prefix(before).is_some_and(|rest| rest.ends_with(after))
    };
    let fitting: Vec<String> = listed.into_iter().filter(fits).collect();
    let (name, date) = match names::newest(&fitting, format) {
        Ok(Some(newest)) => newest,
        Ok(None) => {
            return Err(stop(Remedy::GiveAccess, "there is no such file".to_owned())
                .seen(NOTHING)
                .hint("look whether the path is right, relative to the folder of `jobs/`, and the files are delivered"));
        }
        Err(Unclear::NoDate(name)) => {
            return Err(stop(Remedy::Look, format!("`{}` has no date in its name", shown(&name)))
                .seen(format!("the date is spelled `{format}`"))
                .seen(NOTHING)
                .hint("whether it is the newest cannot be told: rename it, or move it to another folder"));
        }
        Err(Unclear::SeveralDates(name)) => {
            return Err(stop(Remedy::MendJob, format!("`{}` has several dates in its name", shown(&name)))
                .seen(format!("the date is spelled `{format}`"))
                .seen(NOTHING)
                .hint(format!("say with `newest` what stands beside the right one, such as `-{format}.`")));
        }
        Err(Unclear::Twins(names)) => {
            let names: Vec<String> = names.iter().map(|name| format!("`{}`", shown(name))).collect();
            return Err(stop(Remedy::Look, format!("several files have the newest date: {}", names.join(", ")))
                .seen(NOTHING)
                .hint("which of them is meant cannot be told: move the others to another folder"));
        }
    };
    let date = names::spelled(date);
    if let Some(known) = opening.known.get(NAME_DATE).filter(|known| date < **known) {
        return Err(stop(Remedy::Look, format!("the newest file, `{}`, is older than the one that the last run read", shown(&name)))
            .seen(format!("the date in its name is {date}, that of the last run was {known}"))
            .seen(NOTHING)
            .hint("look where the newer file went; if this one is right, name it in `path`, without `newest`, for one run"));
    }
    Ok((name, date))
}
