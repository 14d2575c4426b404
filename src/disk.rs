//! Files: read with a digest, lock, write anew, replace without losing anybody's save.
//!
//! The one edge that other edges use. Every function here either does all of what it says or leaves the file as it was.
//! Nothing here knows what a file means, and nothing here ever writes into a file that a person may have open: a file is
//! replaced as a whole or not at all.
//!
//! # Design
//! **Replacing.** Between our look at a file and our rename a person can save it. So [`replace`] *exchanges* the file with
//! the new one in one step and looks at what came out: if that is what was expected, it becomes the backup; if not, it is
//! somebody's save and is exchanged back. Whoever saves while it is exchanged back finds the newest save under the file's
//! name, and the older one beside it as `<name>.tieout-saved-<digest>`.
//!
//! A program that had the file open before the exchange and writes into it afterwards writes into the backup; no file
//! system can tell us of that. File systems without an exchange get a check of the digest directly before a plain rename:
//! there, a save within that instant is not seen.
//!
//! **Leftovers.** A killed process leaves `.<name>.tieout-part` (incomplete, removed the next time) or
//! `.<name>.tieout-swap-<expected>-<new>` (complete). What the latter holds is told by its digest: the new content was not
//! put in place, and goes; the expected content is the backup; anything else is a save, and is put back.
//!
//! **Processes of ours** that replace files in one folder wait for each other by a lock on the folder, where the file system
//! has such locks. The owner of a file is kept where the process may do that, its mode always; access lists and
//! other attributes are not carried over. A hard link of another name keeps pointing to the former content.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use rustix::fs::{Access, CWD, RenameFlags, renameat_with};
use sha2::{Digest, Sha256};

use crate::diagnostic::Place;
use crate::error::{Error, Remedy};

/// How many hexadecimal digits of a digest a file name holds.
const SHORT: usize = 16;

/// So much of a file is patched at once.
const BLOCK_BYTES: usize = 1 << 20;

/// How often a lock that is held is tried again before it counts as held, and how long each time.
const LOOKS_MAX: u32 = 3;
const LOOK: std::time::Duration = std::time::Duration::from_millis(20);

/// A whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The SHA-256 of its bytes, in lower-case hexadecimal.
    pub sha256: String,
}

/// What a file is to hold.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// What another file holds, with patches.
    Patched {
        /// The other file.
        of: &'a File,
        /// What it holds instead in some places: ascending, none within another.
        patches: &'a [Patch],
    },
}

/// Bytes that stand instead of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Where the others stand.
    pub span: Range<u64>,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Content<'_> {
    fn length(&self) -> io::Result<u64> {
        match self {
            Content::Bytes(bytes) => Ok(bytes.len() as u64),
            Content::Patched { of, patches } => {
                let more: u64 = patches.iter().map(|patch| patch.bytes.len() as u64).sum();
                let less: u64 = patches.iter().map(|patch| patch.span.end - patch.span.start).sum();
                Ok((of.metadata()?.len() + more).saturating_sub(less))
            }
        }
    }

    /// Writes it, and gives the digests that are found on the way.
    fn write(&self, out: &mut File) -> io::Result<Option<Digests>> {
        match self {
            Content::Bytes(bytes) => out.write_all(bytes).map(|()| None),
            Content::Patched { of, patches } => write_patched(of, patches, out, BLOCK_BYTES).map(Some),
        }
    }
}

/// The SHA-256 of two contents, in lower-case hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Digests {
    /// Of what was written.
    new: String,
    /// Of the file that it was made of, as it was read for that.
    of: String,
}

/// Writes what a file holds with patches, in large blocks. The digests are worked out beside that.
fn write_patched(of: &File, patches: &[Patch], out: &mut File, block_bytes: usize) -> io::Result<Digests> {
    let (blocks, to_hash) = sync_channel::<(Vec<u8>, Vec<u8>)>(2);
    let (hashed, to_use_again) = sync_channel::<(Vec<u8>, Vec<u8>)>(4);
    std::thread::scope(|scope| {
        let hashing = scope.spawn(move || {
            let (mut of, mut new) = (Hasher::new(), Hasher::new());
            for (old, patched) in to_hash {
                of.add(&old);
                new.add(&patched);
                // Nobody waits for it in the end.
                let _ = hashed.try_send((old, patched));
            }
            Digests { new: new.hexadecimal(), of: of.hexadecimal() }
        });
        let stopped = || io::Error::other("the digest cannot be worked out");
        let (mut rest, mut at, mut kept_to) = (patches.iter().peekable(), 0, 0);
        loop {
            let (mut old, mut patched) = to_use_again.try_recv().unwrap_or_default();
            old.resize(block_bytes, 0);
            let read = read_block(of, &mut old, at)?;
            old.truncate(read);
            patched.clear();
            let (is_last, end) = (read == 0, at + read as u64);
            let keep = |until: u64, from: u64, patched: &mut Vec<u8>| {
                let place = |place: u64| usize::try_from(place.clamp(at, end) - at).unwrap_or(read);
                patched.extend_from_slice(old.get(place(from)..place(until)).unwrap_or_default());
            };
            // What a patch stands for may reach into the blocks below.
            while let Some(patch) = rest.next_if(|patch| patch.span.start < end || is_last) {
                keep(patch.span.start, kept_to, &mut patched);
                patched.extend_from_slice(&patch.bytes);
                kept_to = patch.span.end.max(kept_to);
            }
            keep(end, kept_to, &mut patched);
            kept_to = kept_to.max(end);
            out.write_all(&patched)?;
            at = end;
            blocks.send((old, patched)).map_err(|_| stopped())?;
            if is_last {
                drop(blocks);
                return hashing.join().map_err(|_| stopped());
            }
        }
    })
}

/// So many bytes at this place of a file, or less at its end.
fn read_block(file: &File, block: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match file.read_at(&mut block[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// What a file must still hold to be replaced.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Its bytes; nothing where only their digest is at hand.
    pub bytes: Option<&'a [u8]>,
    /// Their SHA-256.
    pub sha256: &'a str,
}

/// The SHA-256 of these bytes, in lower-case hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// The SHA-256 of bytes that come one after the other.
#[derive(Clone, Debug, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Of no bytes.
    pub fn new() -> Hasher {
        Hasher::default()
    }

    /// With these behind those before.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// In lower-case hexadecimal.
    pub fn hexadecimal(self) -> String {
        hexadecimal(&self.0.finalize())
    }
}

/// The SHA-256 of a file, in lower-case hexadecimal.
///
/// # Errors
/// `GiveAccess` if it cannot be read.
pub fn digest_of(path: &Path) -> Result<String, Error> {
    sha256_of(path).map_err(|error| unreadable(path, &error))
}

/// A whole file with its digest.
///
/// # Errors
/// `GiveAccess` if there is no such file, if it cannot be read, or if somebody writes it while it is read.
pub fn read(path: &Path) -> Result<Contents, Error> {
    let bytes = read_bytes(path)?;
    Ok(Contents { sha256: digest(&bytes), bytes })
}

/// A whole file.
///
/// # Errors
/// As [`read`].
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, Error> {
    let attempt = || -> io::Result<Option<Vec<u8>>> {
        let mut file = File::open(path)?;
        let before = file.metadata()?;
        let mut bytes = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0));
        file.read_to_end(&mut bytes)?;
        let after = file.metadata()?;
        let moment = |meta: &fs::Metadata| (meta.len(), meta.mtime(), meta.mtime_nsec());
        Ok((moment(&before) == moment(&after)).then_some(bytes))
    };
    match attempt() {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(still_changing(path)),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// The error of a file that somebody writes while it is read.
pub fn still_changing(path: &Path) -> Error {
    Error::new(Remedy::GiveAccess, place(path), "somebody writes the file while it is read")
        .seen("nothing was written")
        .hint("try again when the file is complete")
        .passing()
}

/// The error of a file that cannot be read.
pub fn unreadable(path: &Path, error: &io::Error) -> Error {
    refused(path, "the file cannot be read", error)
}

/// When a file was changed last, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    bytes: u64,
    modified: std::time::SystemTime,
}

impl Stamp {
    /// How many bytes the file has.
    pub fn length(&self) -> u64 {
        self.bytes
    }

    /// Whether the file was changed before this other one was.
    pub fn is_older_than(&self, other: &Stamp) -> bool {
        self.modified < other.modified
    }
}

/// The stamp of a file; nothing if there is no such file.
///
/// # Errors
/// `GiveAccess` if the file cannot be looked at.
pub fn stamp(path: &Path) -> Result<Option<Stamp>, Error> {
    let looked = fs::metadata(path).and_then(|meta| Ok(meta.is_file().then_some(Stamp { bytes: meta.len(), modified: meta.modified()? })));
    match looked {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        looked => looked.map_err(|error| refused(path, "the file cannot be looked at", &error)),
    }
}

/// Waits until the size and the time of a file have not changed for `seconds`: not at all where that is so already, and so
/// long at most. Gives the stamp that did not change.
///
/// A time in the future, by a clock that goes wrong, says nothing: then the file is watched for all of the time.
///
/// # Errors
/// `GiveAccess` if the file changed meanwhile, or is not there.
pub fn wait_until_still(path: &Path, seconds: u32) -> Result<Stamp, Error> {
    let look = || stamp(path)?.ok_or_else(|| refused(path, "the file cannot be looked at", &io::Error::from(io::ErrorKind::NotFound)));
    let still = std::time::Duration::from_secs(seconds.into());
    let before = look()?;
    let age = before.modified.elapsed().unwrap_or_default();
    if let Some(rest) = still.checked_sub(age).filter(|rest| !rest.is_zero()) {
        std::thread::sleep(rest);
    }
    if look()? == before { Ok(before) } else { Err(still_written(path)) }
}

/// The error of a file that somebody has not finished.
pub fn still_written(path: &Path) -> Error {
    Error::new(Remedy::GiveAccess, place(path), "somebody still writes the file")
        .seen("it changed while this run waited for it to be complete")
        .seen("nothing was written")
        .hint("run again when the file is complete")
}

/// A lock that is held until it is dropped, or until the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the lock `path`, a file that is made if need be and stays.
///
/// `content` says who holds it and since when: it is only for the message to the next one who wants it.
///
/// # Errors
/// `Wait` if another process, or another part of this one, holds it; the message quotes what the holder said. `GiveAccess` if the
/// file cannot be made or written.
pub fn lock(path: &Path, content: &str) -> Result<Lock, Error> {
    let failed = |error: io::Error| refused(path, "the lock cannot be taken", &error);
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(failed)?;
    let mut taken = file.try_lock();
    // Whoever only asks for the holder has it for an instant: that is nobody's run.
    for _ in 0..LOOKS_MAX {
        if !matches!(taken, Err(TryLockError::WouldBlock)) {
            break;
        }
        std::thread::sleep(LOOK);
        taken = file.try_lock();
    }
    match taken {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = announced(&mut file);
            return Err(Error::new(Remedy::Wait, place(path), "another run holds the lock")
                .seen(format!("held by {holder}"))
                .seen("nothing was read or written")
                .hint("wait for that run to end, then run again"));
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let mut announce = || -> io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(content.as_bytes())?;
        file.sync_all()
    };
    announce().map_err(failed)?;
    Ok(Lock { _file: file })
}

/// Who holds the lock `path`, in the holder's words; nothing if nobody does, or if there is no such lock.
///
/// # Errors
/// `GiveAccess` if the file cannot be read.
pub fn lock_holder(path: &Path) -> Result<Option<String>, Error> {
    let failed = |error: io::Error| refused(path, "the lock cannot be looked at", &error);
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(announced(&mut file))),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// What the holder of a lock says. What cannot be read is not worth another error: the lock is held either way.
fn announced(file: &mut File) -> String {
    let mut holder = Vec::new();
    let _ = file.take(1024).read_to_end(&mut holder);
    let holder: String = String::from_utf8_lossy(&holder).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if holder.trim().is_empty() { "a run that has only just begun".to_owned() } else { holder.trim().to_owned() }
}

/// Writes a file that must not exist yet, readable by its owner only, and makes it durable together with its name.
///
/// # Errors
/// `GiveAccess` if it exists or cannot be written; then there is no such file afterwards, unless there was one before.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = |error: io::Error| refused(path, "the file cannot be written", &error);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    if let Err(error) = file.write_all(bytes).and_then(|()| file.sync_all()) {
        let _ = fs::remove_file(path);
        return Err(failed(error));
    }
    sync_folder(path.parent().unwrap_or(Path::new("")))
}

/// Writes a file of ours as a whole, readable by its owner only: whoever reads it meanwhile sees the former content or the
/// new one. What stood there is gone: never for a file that a person may edit.
///
/// # Errors
/// `GiveAccess` if it cannot be written; then the file is as it was.
pub fn publish(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let part = folder.join(format!(".{}.{}.tieout-part", file_name(path), std::process::id()));
    let _ = fs::remove_file(&part);
    write_new(&part, bytes)?;
    if let Err(error) = fs::rename(&part, path) {
        let _ = fs::remove_file(&part);
        return Err(refused(path, "the file cannot be written", &error));
    }
    sync_folder(folder)
}

/// A file that is written piece by piece and then put in its place as a whole, readable by its owner only. Dropped before that,
/// it was never there.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    part: PathBuf,
    is_kept: bool,
}

impl Draft {
    /// Begins a file beside the one that it is to become, and gives what it is written with.
    ///
    /// # Errors
    /// `GiveAccess` if it cannot be made.
    pub fn begin(path: &Path) -> Result<(Draft, File), Error> {
        let part = path.parent().unwrap_or(Path::new("")).join(format!(".{}.{}.tieout-part", file_name(path), std::process::id()));
        let _ = fs::remove_file(&part);
        let file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part).map_err(|error| refused(path, "the file cannot be written", &error))?;
        Ok((Draft { path: path.to_owned(), part, is_kept: false }, file))
    }

    /// The error of a write that failed.
    pub fn failed(&self, error: &io::Error) -> Error {
        refused(&self.path, "the file cannot be written", error)
    }

    /// Puts the file in its place, durably. One that is there is replaced if that is asked for.
    ///
    /// # Errors
    /// `GiveAccess` if it cannot be written, or if a file is there that is not to be replaced; then that is as it was.
    pub fn keep(mut self, file: &File, replaces: bool) -> Result<(), Error> {
        file.sync_all().map_err(|error| self.failed(&error))?;
        let placed =
            if replaces { fs::rename(&self.part, &self.path) } else { fs::hard_link(&self.part, &self.path).and_then(|()| fs::remove_file(&self.part)) };
        let placed = match placed {
            // Some file systems know no second names.
            Err(error) if !replaces && error.kind() != io::ErrorKind::AlreadyExists && !self.path.exists() => fs::rename(&self.part, &self.path),
            placed => placed,
        };
        placed.map_err(|error| self.failed(&error))?;
        self.is_kept = true;
        sync_folder(self.path.parent().unwrap_or(Path::new("")))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = fs::remove_file(&self.part);
        }
    }
}

/// A file for what does not fit into memory, which nobody else can open and which is gone when it is dropped.
///
/// # Errors
/// `GiveAccess` if the folder for temporary files cannot be written.
pub fn nameless() -> Result<File, Error> {
    static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!(".tieout-{}-{number}.tieout-part", std::process::id()));
    let _ = fs::remove_file(&path);
    let made = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
    let file = made.map_err(|error| no_room_for_nameless(&error))?;
    fs::remove_file(&path).map_err(|error| no_room_for_nameless(&error))?;
    Ok(file)
}

/// The error of a temporary file that cannot be written.
pub fn no_room_for_nameless(error: &io::Error) -> Error {
    Error::new(Remedy::GiveAccess, place(&std::env::temp_dir()), format!("a temporary file cannot be written: {}", describe(error)))
        .seen("nothing was written")
        .hint("make room there, or name another folder with the variable TMPDIR")
}

/// Takes the lock `path` as [`lock`] does, and waits up to some seconds for whoever holds it.
///
/// # Errors
/// `Wait` if it is not free by then, else as [`lock`].
pub fn wait_for_lock(path: &Path) -> Result<Lock, Error> {
    const TRIES: u32 = 100;
    for _ in 1..TRIES {
        match lock(path, &format!("process {}", std::process::id())) {
            Err(error) if error.remedy == Remedy::Wait => std::thread::sleep(std::time::Duration::from_millis(50)),
            other => return other,
        }
    }
    lock(path, &format!("process {}", std::process::id()))
}

/// The names of the folders in a folder, sorted. Names that are no Unicode are left out.
///
/// # Errors
/// `GiveAccess` if the folder cannot be listed.
pub fn folders(path: &Path) -> Result<Vec<String>, Error> {
    let entries = fs::read_dir(path).map_err(|error| refused(path, "the folder cannot be listed", &error))?;
    let mut names: Vec<String> = entries.flatten().filter(|entry| entry.path().is_dir()).filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// The names of the files in a folder, sorted. Names that are no Unicode are left out.
///
/// # Errors
/// `GiveAccess` if the folder cannot be listed.
pub fn files(path: &Path) -> Result<Vec<String>, Error> {
    let entries = fs::read_dir(path).map_err(|error| refused(path, "the folder cannot be listed", &error))?;
    let mut names: Vec<String> = entries.flatten().filter(|entry| entry.path().is_file()).filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// Makes a folder, and those above it, for its owner only. A folder that exists stays as it is.
///
/// # Errors
/// `GiveAccess` if it cannot be made.
pub fn create_dir_private(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| refused(path, "the folder cannot be made", &error))?;
    sync_folder(path.parent().unwrap_or(Path::new("")))
}

/// Makes the names in a folder durable: files made, renamed and removed in it.
///
/// # Errors
/// `GiveAccess` if the folder cannot be opened or the disk fails.
pub fn sync_folder(path: &Path) -> Result<(), Error> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|error| refused(path, "the folder cannot be made durable", &error))
}

/// What became of a file that was to be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// It holds the new bytes, durably.
    Done {
        /// Where its former content is.
        backup: PathBuf,
    },
    /// Somebody changed it: it holds what they saved last.
    Stale {
        /// The SHA-256 of what it holds.
        seen_sha256: String,
        /// Where an older save of somebody is, if a second one was made meanwhile.
        kept: Option<PathBuf>,
    },
}

/// Replaces the content of a file that must hold what is `expected`, as [`read`] gave it.
///
/// Symbolic links are followed. The former content stays beside the file as `<name>.tieout-backup`. After an error the
/// file is as it was, unless the error says otherwise.
///
/// # Errors
/// `GiveAccess` if the file is missing or read-only, its folder cannot be written, or the disk has no room for the new
/// content beside the old one; `Look` if a step in between failed and a person must see which file is which.
pub fn replace(path: &Path, bytes: &[u8], expected: Expected<'_>) -> Result<Replaced, Error> {
    replace_by(path, Content::Bytes(bytes), expected, 1, &mut exchange)
}

/// Replaces a file as [`replace`] does, and keeps `backups` former versions of it, at least one: the newest as
/// `<name>.tieout-backup`, older ones as `<name>.tieout-backup-2` and so on.
///
/// # Errors
/// As [`replace`].
pub fn replace_keeping(path: &Path, new: Content<'_>, expected: Expected<'_>, backups: u32) -> Result<Replaced, Error> {
    replace_by(path, new, expected, backups, &mut exchange)
}

/// Settles what a killed process left beside the file, and says what a person should know of it, a sentence each.
///
/// To be called before the file is read, so that a save that was on its way back is read and not our own content.
/// Writes nothing where there are no leftovers.
///
/// # Errors
/// As [`replace`].
pub fn recover(path: &Path) -> Result<Vec<String>, Error> {
    let target = Target::of(path)?;
    if target.leftovers().is_empty() {
        return Ok(Vec::new());
    }
    let _folder = target.lock_folder();
    recover_by(&target, &mut exchange)
}

/// Puts each of two files in the other's place in one step.
type Exchange<'a> = &'a mut dyn FnMut(&Path, &Path) -> io::Result<()>;

fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
}

/// A file that is replaced, with the names beside it.
struct Target {
    /// As the caller wrote it, for messages.
    written: PathBuf,
    real: PathBuf,
    folder: PathBuf,
    name: OsString,
}

impl Target {
    fn of(path: &Path) -> Result<Target, Error> {
        let real = path.canonicalize().map_err(|error| refused(path, "the file cannot be found", &error))?;
        match (real.parent(), real.file_name()) {
            (Some(folder), Some(name)) => Ok(Target { written: path.to_owned(), folder: folder.to_owned(), name: name.to_owned(), real: real.clone() }),
            _ => Err(Error::new(Remedy::GiveAccess, place(path), "this is not a file")),
        }
    }

    fn beside(&self, before: &str, after: &str) -> PathBuf {
        let mut name = OsString::from(before);
        name.push(&self.name);
        name.push(after);
        self.folder.join(name)
    }

    fn backup(&self) -> PathBuf {
        self.beside("", ".tieout-backup")
    }

    /// Gives each backup the next number, so that the first name is free and no more than `kept` are left. A number that nothing
    /// has ends the row of those that move.
    fn make_room_for_a_backup(&self, kept: u32) -> Result<(), Error> {
        let name = |number: u32| if number == 1 { self.backup() } else { self.beside("", &format!(".tieout-backup-{number}")) };
        let free = (1..kept).find(|number| !name(*number).exists()).unwrap_or(kept.max(1));
        for number in (1..free).rev() {
            fs::rename(name(number), name(number + 1)).map_err(|error| self.untouched("an older version of the file cannot be renamed", &error))?;
        }
        Ok(())
    }

    fn part(&self) -> PathBuf {
        self.beside(".", ".tieout-part")
    }

    fn swap(&self, expected: &str, new: &str) -> PathBuf {
        self.beside(".", &format!(".tieout-swap-{}-{}", short(expected), short(new)))
    }

    fn saved(&self, sha256: &str) -> PathBuf {
        self.beside("", &format!(".tieout-saved-{}", short(sha256)))
    }

    /// Files that a killed process left, sorted. A folder that cannot be listed has none that we could settle.
    fn leftovers(&self) -> Vec<PathBuf> {
        let prefix = [b".".as_slice(), self.name.as_encoded_bytes(), b".tieout-"].concat();
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let mut found: Vec<PathBuf> = entries
            .flatten()
            .filter(|entry| {
                let name = entry.file_name();
                let rest = name.as_encoded_bytes().strip_prefix(prefix.as_slice());
                rest.is_some_and(|rest| rest == b"part" || rest.starts_with(b"swap-"))
            })
            .map(|entry| entry.path())
            .collect();
        found.sort();
        found
    }

    /// Waits for other processes of ours in this folder. Where folders cannot be locked there is nothing to wait for.
    fn lock_folder(&self) -> Option<File> {
        let folder = File::open(&self.folder).ok()?;
        folder.lock().ok()?;
        Some(folder)
    }

    fn sync(&self, other: &Path) -> Result<(), Error> {
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| self.unsettled("the disk does not confirm that the file was replaced", &error, other))
    }

    fn untouched(&self, what: &str, error: &io::Error) -> Error {
        refused(&self.written, what, error).seen("the file is as it was")
    }

    fn unsettled(&self, what: &str, error: &io::Error, leftover: &Path) -> Error {
        Error::new(Remedy::Look, place(&self.written), what)
            .seen(describe(error))
            .seen(format!("the other version of the file is beside it as `{}`", file_name(leftover)))
            .hint("compare the two, keep what is right under the file's name, and run again")
    }
}

/// Proves, without changing it, that a file can be replaced: it is writable, a new file can be made beside it, and the disk
/// has room for a version of the same size.
///
/// # Errors
/// `GiveAccess` with what is in the way.
pub fn prove_replaceable(path: &Path) -> Result<(), Error> {
    let target = Target::of(path)?;
    let _folder = target.lock_folder();
    let meta = replaceable(&target)?;
    has_room(&target, room(&target), meta.len())?;
    let part = target.part();
    let _ = fs::remove_file(&part);
    // Who may not remove it again may not put it in the file's place either.
    let made = write_like(&part, Content::Bytes(b""), &meta).map(|_| ());
    let removed = fs::remove_file(&part);
    made.and(removed).map_err(|error| target.untouched("no file can be made beside it", &error))
}

fn replaceable(target: &Target) -> Result<fs::Metadata, Error> {
    let meta = fs::metadata(&target.real).map_err(|error| target.untouched("the file cannot be read", &error))?;
    if !meta.is_file() {
        return Err(Error::new(Remedy::GiveAccess, place(&target.written), "this is not a file").seen("nothing was written"));
    }
    if meta.permissions().readonly() || rustix::fs::access(&target.real, Access::WRITE_OK).is_err() {
        return Err(Error::new(Remedy::GiveAccess, place(&target.written), "the file is read-only")
            .seen("nothing was written")
            .hint("allow the user that runs `tieout` to write it"));
    }
    Ok(meta)
}

/// The free bytes of a target's file system.
fn room(target: &Target) -> u64 {
    rustix::fs::statvfs(&target.folder).map_or(u64::MAX, |fs| fs.f_bavail.saturating_mul(fs.f_frsize))
}

fn replace_by(path: &Path, new: Content<'_>, expected: Expected<'_>, backups: u32, exchange: Exchange<'_>) -> Result<Replaced, Error> {
    let target = Target::of(path)?;
    let _folder = target.lock_folder();
    recover_by(&target, exchange)?;
    let meta = replaceable(&target)?;
    let length = new.length().map_err(|error| target.untouched("the file cannot be read", &error))?;
    has_room(&target, room(&target), length)?;

    let part = target.part();
    let (written, seen) = match new {
        // The new version is written beside the file while the file is looked at once more.
        Content::Bytes(bytes) => std::thread::scope(|scope| {
            let looked = scope.spawn(|| (differing(&target.real, expected), digest(bytes)));
            let written = write_like(&part, new, &meta);
            let (seen, sha256) = looked.join().unwrap_or_else(|_| (Err(io::Error::other("the look at it failed")), String::new()));
            (written.map(|_| sha256), seen)
        }),
        // The file is looked at as it is read for the new version, if it is still that one.
        Content::Patched { of, .. } => match write_like(&part, new, &meta) {
            Ok(found) => {
                let Digests { new, of: seen } = found.unwrap_or_default();
                (Ok(new), if seen == expected.sha256 { differing_from_open(&target.real, of, expected) } else { Ok(Some(seen)) })
            }
            Err(error) => (Err(error), Ok(None)),
        },
    };
    let refuse = |what: &str, error: &io::Error| {
        let _ = fs::remove_file(&part);
        Err(target.untouched(what, error))
    };
    match seen {
        Err(error) => return refuse("the file cannot be read", &error),
        Ok(Some(seen_sha256)) => {
            let _ = fs::remove_file(&part);
            return Ok(Replaced::Stale { seen_sha256, kept: None });
        }
        Ok(None) => {}
    }
    let new_sha256 = match written {
        Err(error) => return refuse("the new version of the file cannot be written beside it", &error),
        Ok(sha256) => sha256,
    };
    let swap = target.swap(expected.sha256, &new_sha256);
    if let Err(error) = target.make_room_for_a_backup(backups) {
        let _ = fs::remove_file(&part);
        return Err(error);
    }
    if let Err(error) = fs::rename(&part, &swap) {
        return refuse("the new version of the file cannot be written beside it", &error);
    }
    match exchange(&swap, &target.real) {
        Ok(()) => {}
        Err(error) if has_no_exchange(&error) => return replace_by_rename(&target, &swap, expected),
        Err(error) => {
            let _ = fs::remove_file(&swap);
            return Err(target.untouched("the file cannot be replaced", &error));
        }
    }
    target.sync(&swap)?;
    let displaced = differing(&swap, expected);
    let displaced = displaced.map_err(|error| target.unsettled("the file was replaced, and its former version cannot be read", &error, &swap))?;
    if let Some(displaced) = displaced {
        let back = put_back(&target, &swap, &new_sha256, displaced, exchange)?;
        return Ok(Replaced::Stale { seen_sha256: back.seen_sha256, kept: back.kept });
    }
    // The file is written; a backup that cannot take its final name keeps the one it has until the next time.
    let backup = target.backup();
    let backup = if fs::rename(&swap, &backup).is_ok() { backup } else { swap };
    target.sync(&backup)?;
    Ok(Replaced::Done { backup })
}

/// What [`put_back`] ended with.
struct PutBack {
    seen_sha256: String,
    kept: Option<PathBuf>,
}

/// Exchanges back a save that was found at `swap` where our content `ours` went into its place.
///
/// What an exchange brings out is what was last put in, or somebody saved again in between: then that newer save is the
/// one to be put back, until an exchange brings out what the one before put in.
fn put_back(target: &Target, swap: &Path, ours: &str, save: String, exchange: Exchange<'_>) -> Result<PutBack, Error> {
    let mut inside = short(ours).to_owned();
    let mut outside = save;
    loop {
        match exchange(swap, &target.real) {
            Ok(()) => {}
            // Somebody took the file away, our content with it: the save gets its name back.
            Err(error) if error.kind() == io::ErrorKind::NotFound => match renameat_with(CWD, swap, CWD, &target.real, RenameFlags::NOREPLACE) {
                Ok(()) => {
                    target.sync(&target.real)?;
                    return Ok(PutBack { seen_sha256: outside, kept: None });
                }
                Err(rustix::io::Errno::EXIST) => continue,
                Err(error) => return Err(target.unsettled("somebody saved the file, and the save cannot be put back", &error.into(), swap)),
            },
            Err(error) => return Err(target.unsettled("somebody saved the file, and the save cannot be put back", &error, swap)),
        }
        let seen = sha256_of(swap).map_err(|error| target.unsettled("somebody saved the file, and it cannot be read", &error, swap))?;
        if short(&seen) == inside {
            break;
        }
        inside = short(&outside).to_owned();
        outside = seen;
    }
    let settled = if inside == short(ours) {
        fs::remove_file(swap).map(|()| None)
    } else {
        let saved = target.saved(&inside);
        fs::rename(swap, &saved).map(|()| Some(saved))
    };
    let kept = settled.map_err(|error| target.unsettled("somebody saved the file, and what is beside it cannot be renamed", &error, swap))?;
    target.sync(kept.as_deref().unwrap_or(&target.real))?;
    Ok(PutBack { seen_sha256: outside, kept })
}

/// Replaces the file where there is no exchange: the last look at it is directly before the rename.
fn replace_by_rename(target: &Target, swap: &Path, expected: Expected<'_>) -> Result<Replaced, Error> {
    let backup = target.backup();
    let part = target.part();
    let attempt = || -> io::Result<Option<String>> {
        // A second name for the former content; where there are no such names, a copy.
        fs::hard_link(&target.real, &part).or_else(|_| fs::copy(&target.real, &part).map(|_| ()))?;
        let seen = differing(&target.real, expected)?;
        if seen.is_some() {
            return Ok(seen);
        }
        fs::rename(swap, &target.real)?;
        Ok(None)
    };
    match attempt() {
        Ok(None) => {
            let backup = if fs::rename(&part, &backup).is_ok() { backup } else { part };
            target.sync(&backup)?;
            Ok(Replaced::Done { backup })
        }
        Ok(Some(seen_sha256)) => {
            let _ = fs::remove_file(&part);
            let _ = fs::remove_file(swap);
            Ok(Replaced::Stale { seen_sha256, kept: None })
        }
        Err(error) => {
            let _ = fs::remove_file(&part);
            let _ = fs::remove_file(swap);
            Err(target.untouched("the file cannot be replaced", &error))
        }
    }
}

fn recover_by(target: &Target, exchange: Exchange<'_>) -> Result<Vec<String>, Error> {
    let mut notes = Vec::new();
    for leftover in target.leftovers() {
        let failed = |error: io::Error| target.unsettled("what an interrupted run left beside the file cannot be settled", &error, &leftover);
        let name = file_name(&leftover);
        let digests = name.rsplit_once(".tieout-swap-").and_then(|(_, digests)| digests.split_once('-'));
        let Some((expected, new)) = digests else {
            fs::remove_file(&leftover).map_err(|error| target.untouched("what an interrupted run left beside the file cannot be removed", &error))?;
            continue;
        };
        let sha256 = sha256_of(&leftover).map_err(failed)?;
        if short(&sha256) == new {
            fs::remove_file(&leftover).map_err(failed)?;
        } else if short(&sha256) == expected {
            fs::rename(&leftover, target.backup()).map_err(failed)?;
            target.sync(&target.backup())?;
        } else {
            let back = put_back(target, &leftover, new, sha256, exchange)?;
            notes.push(match back.kept {
                None => "somebody saved the file while an interrupted run wrote it: that save is in its place again".to_owned(),
                Some(kept) => format!(
                    "somebody saved the file while an interrupted run wrote it, and once more since: the older save is beside it as `{}`",
                    file_name(&kept)
                ),
            });
        }
    }
    Ok(notes)
}

/// Writes a new file with the mode of another and, where that is permitted, its owner.
fn write_like(path: &Path, content: Content<'_>, like: &fs::Metadata) -> io::Result<Option<Digests>> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let digests = content.write(&mut file)?;
    let made = file.metadata()?;
    if made.gid() != like.gid() {
        let _ = std::os::unix::fs::fchown(&file, None, Some(like.gid()));
    }
    if made.uid() != like.uid() {
        let _ = std::os::unix::fs::fchown(&file, Some(like.uid()), None);
    }
    file.set_permissions(like.permissions())?;
    file.sync_all()?;
    Ok(digests)
}

fn has_room(target: &Target, room: u64, needed: u64) -> Result<(), Error> {
    if room >= needed {
        return Ok(());
    }
    Err(Error::new(Remedy::GiveAccess, place(&target.written), "the disk has no room for the new version of the file beside the old one")
        .seen(format!("{needed} bytes are needed, {room} are free"))
        .seen("nothing was written: the file is as it was")
        .hint("make room on the disk, then run again"))
}

fn has_no_exchange(error: &io::Error) -> bool {
    let codes = [rustix::io::Errno::INVAL, rustix::io::Errno::NOSYS, rustix::io::Errno::OPNOTSUPP];
    error.raw_os_error().is_some_and(|code| codes.iter().any(|known| known.raw_os_error() == code))
}

/// The SHA-256 of what a file holds, if that is not, to the byte, what is expected.
fn differing(path: &Path, expected: Expected<'_>) -> io::Result<Option<String>> {
    let Some(mut rest) = expected.bytes else {
        let seen = sha256_of(path)?;
        return Ok((seen != expected.sha256).then_some(seen));
    };
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer) {
            Ok(0) if rest.is_empty() => return Ok(None),
            Ok(read) => match rest.split_at_checked(read) {
                Some((same, below)) if read > 0 && *same == buffer[..read] => rest = below,
                _ => return sha256_of(path).map(Some),
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// As [`differing`], where a file that is open was found to hold what is expected: nothing needs to be read if it is this one.
fn differing_from_open(path: &Path, open: &File, expected: Expected<'_>) -> io::Result<Option<String>> {
    let (here, there) = (fs::metadata(path)?, open.metadata()?);
    if (here.dev(), here.ino()) == (there.dev(), there.ino()) { Ok(None) } else { differing(path, expected) }
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hexadecimal(&hasher.finalize())),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Bytes in lower-case hexadecimal, as digests are spelled.
pub fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}

fn short(sha256: &str) -> &str {
    sha256.get(..SHORT).unwrap_or(sha256)
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn place(path: &Path) -> Place {
    Place::of(path.display().to_string())
}

/// What the operating system said, in our words where it is something that happens to people.
fn describe(error: &io::Error) -> String {
    use io::ErrorKind::{AlreadyExists, FileTooLarge, IsADirectory, NotADirectory, NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error.kind() {
        NotFound => "there is no such file".to_owned(),
        PermissionDenied => "access is denied".to_owned(),
        AlreadyExists => "it exists already".to_owned(),
        IsADirectory => "it is a folder".to_owned(),
        NotADirectory => "a part of its path is not a folder".to_owned(),
        StorageFull => "the disk is full".to_owned(),
        QuotaExceeded => "the disk quota is used up".to_owned(),
        FileTooLarge => "it would be larger than a file may be".to_owned(),
        ReadOnlyFilesystem => "the file system is read-only".to_owned(),
        _ => error.to_string(),
    }
}

fn refused(path: &Path, what: &str, error: &io::Error) -> Error {
    use io::ErrorKind::{NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let refused = Error::new(Remedy::GiveAccess, place(path), format!("{what}: {}", describe(error))).seen("nothing was written");
    match error.kind() {
        NotFound => refused.hint("look whether the path is right and the drive is there"),
        PermissionDenied => refused.hint("give the user that runs `tieout` access to the file and its folder"),
        StorageFull | QuotaExceeded => refused.hint("make room on the disk, then run again"),
        ReadOnlyFilesystem => refused.hint("the folder must be writable"),
        _ => refused,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    const OLD: &[u8] = b"id,name\n1,old\n";
    const NEW: &[u8] = b"id,name\n1,new\n";
    const SAVE: &[u8] = b"id,name\n1,saved by a person\n";
    const LATER: &[u8] = b"id,name\n1,saved once more\n";

    fn held(bytes: &[u8]) -> Expected<'_> {
        Expected { bytes: Some(bytes), sha256: Box::leak(digest(bytes).into_boxed_str()) }
    }

    fn world() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("customers.csv");
        fs::write(&path, OLD).expect("written");
        (folder, path)
    }

    /// As most programs save: a new file renamed over the old one.
    fn save(path: &Path, bytes: &[u8]) {
        let beside = path.with_extension("saving");
        fs::write(&beside, bytes).expect("written");
        fs::rename(&beside, path).expect("renamed");
    }

    fn names(folder: &tempfile::TempDir) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder.path()).expect("listed").map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn patches_are_put_in_whatever_the_blocks() {
        let folder = tempfile::tempdir().expect("a folder");
        let old = b"The quick brown fox jumps over the lazy dog";
        fs::write(folder.path().join("old"), old).expect("written");
        let of = File::open(folder.path().join("old")).expect("opened");
        let patch = |span: Range<u64>, bytes: &str| Patch { span, bytes: bytes.as_bytes().to_vec() };
        let cases = [
            (vec![], "The quick brown fox jumps over the lazy dog"),
            (vec![patch(0..0, "> "), patch(4..9, "slow"), patch(43..43, ".")], "> The slow brown fox jumps over the lazy dog."),
            (vec![patch(0..19, ""), patch(25..25, "!"), patch(25..43, "")], " jumps!"),
            (vec![patch(0..43, "gone")], "gone"),
        ];
        for (patches, expected) in cases {
            for block_bytes in 1..=old.len() + 1 {
                let path = folder.path().join("new");
                let mut out = File::create(&path).expect("created");
                let digests = write_patched(&of, &patches, &mut out, block_bytes).expect("written");
                assert_eq!(fs::read_to_string(&path).expect("read"), expected, "blocks of {block_bytes}");
                assert_eq!(digests, Digests { new: digest(expected.as_bytes()), of: digest(old) });
            }
        }
    }

    #[test]
    fn a_file_that_is_no_longer_the_one_it_is_made_of_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.csv");
        let patches = [Patch { span: 0..1, bytes: b"2".to_vec() }];
        let attempt =
            |of: &File, expected: &[u8]| replace_keeping(&path, Content::Patched { of, patches: &patches }, Expected { bytes: None, ..held(expected) }, 1);
        fs::write(&path, "1 as it was read").expect("written");
        let open = File::open(&path).expect("opened");
        // Somebody wrote into it.
        fs::write(&path, "1 as it is now").expect("written");
        assert!(matches!(attempt(&open, b"1 as it was read"), Ok(Replaced::Stale { .. })));
        // Another one stands in its place.
        fs::write(&path, "1 as it was read").expect("written");
        save(&path, b"1 of somebody else");
        assert!(matches!(attempt(&open, b"1 as it was read"), Ok(Replaced::Stale { .. })));
        assert_eq!(fs::read(&path).expect("read"), b"1 of somebody else");
        // Another one that holds the same is as good.
        save(&path, b"1 as it was read");
        assert!(matches!(attempt(&open, b"1 as it was read"), Ok(Replaced::Done { .. })));
        assert_eq!(fs::read(&path).expect("read"), b"2 as it was read");
    }

    #[test]
    fn as_many_former_versions_are_kept_as_are_wanted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.csv");
        fs::write(&path, "0").expect("written");
        let replaced = |from: &str, to: &str, kept: u32| {
            let done = replace_keeping(&path, Content::Bytes(to.as_bytes()), held(from.as_bytes()), kept);
            assert!(matches!(done, Ok(Replaced::Done { .. })), "{done:?}");
            let said = |ending: &str| fs::read_to_string(folder.path().join(format!("a.csv{ending}"))).unwrap_or_default();
            ["", ".tieout-backup", ".tieout-backup-2", ".tieout-backup-3", ".tieout-backup-4"].map(said).join("")
        };
        assert_eq!(replaced("0", "1", 3), "10");
        assert_eq!(replaced("1", "2", 3), "210");
        assert_eq!(replaced("2", "3", 3), "3210");
        assert_eq!(replaced("3", "4", 3), "4321");
        // Fewer are kept from now on: what is there already is a person's to remove.
        assert_eq!(replaced("4", "5", 1), "5421");
        // A save of somebody in between is no version of ours: nothing moves.
        let stale = replace_keeping(&path, Content::Bytes(b"6"), held(b"4"), 3);
        assert!(matches!(stale, Ok(Replaced::Stale { .. })));
        assert_eq!(names(&folder).len(), 4);
    }

    #[test]
    fn a_file_is_still_when_it_has_not_changed_for_so_long() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.csv");
        fs::write(&path, "1").expect("written");
        let file = OpenOptions::new().append(true).open(&path).expect("opened");
        let now = std::time::SystemTime::now();
        file.set_modified(now - std::time::Duration::from_secs(3600)).expect("set");
        assert_eq!(wait_until_still(&path, 60).ok(), stamp(&path).expect("there"));
        // Young, or by a clock that goes wrong: it is watched, and nobody touches it.
        file.set_modified(now + std::time::Duration::from_secs(3600)).expect("set");
        assert_eq!(wait_until_still(&path, 1).ok(), stamp(&path).expect("there"));
        let error = wait_until_still(&folder.path().join("absent.csv"), 1).expect_err("absent");
        assert_eq!(error.remedy, Remedy::GiveAccess);
        assert_eq!(stamp(&folder.path().join("absent.csv")).expect("looked"), None);
    }

    #[test]
    fn a_file_is_replaced_and_one_former_version_kept() {
        let (folder, path) = world();
        let backup = folder.path().canonicalize().expect("real").join("customers.csv.tieout-backup");
        assert_eq!(replace(&path, NEW, held(OLD)).expect("replaced"), Replaced::Done { backup: backup.clone() });
        assert_eq!((fs::read(&path).unwrap().as_slice(), fs::read(&backup).unwrap().as_slice()), (NEW, OLD));
        assert!(matches!(replace(&path, LATER, held(NEW)), Ok(Replaced::Done { .. })));
        assert_eq!((fs::read(&path).unwrap().as_slice(), fs::read(&backup).unwrap().as_slice()), (LATER, NEW));
        assert_eq!(names(&folder), ["customers.csv", "customers.csv.tieout-backup"]);
    }

    #[test]
    fn a_file_that_somebody_changed_before_is_stale() {
        let (folder, path) = world();
        save(&path, SAVE);
        assert_eq!(replace(&path, NEW, held(OLD)).expect("no error"), Replaced::Stale { seen_sha256: digest(SAVE), kept: None });
        assert_eq!(fs::read(&path).unwrap(), SAVE);
        assert_eq!(names(&folder), ["customers.csv"]);
    }

    #[test]
    fn a_save_in_the_window_is_put_back() {
        for in_place in [false, true] {
            let (folder, path) = world();
            let mut exchanges = 0;
            let replaced = replace_by(&path, Content::Bytes(NEW), held(OLD), 1, &mut |a, b| {
                exchanges += 1;
                if exchanges == 1 {
                    if in_place { fs::write(b, SAVE)? } else { save(b, SAVE) }
                }
                exchange(a, b)
            });
            assert_eq!(replaced.expect("no error"), Replaced::Stale { seen_sha256: digest(SAVE), kept: None });
            assert_eq!(fs::read(&path).unwrap(), SAVE);
            assert_eq!(names(&folder), ["customers.csv"]);
        }
    }

    #[test]
    fn a_second_save_while_the_first_is_put_back_wins_and_the_first_is_kept() {
        let (folder, path) = world();
        let mut exchanges = 0;
        let replaced = replace_by(&path, Content::Bytes(NEW), held(OLD), 1, &mut |a, b| {
            exchanges += 1;
            match exchanges {
                1 => save(b, SAVE),
                2 => save(b, LATER),
                _ => {}
            }
            exchange(a, b)
        });
        let Ok(Replaced::Stale { seen_sha256, kept: Some(kept) }) = replaced else { panic!("{replaced:?}") };
        assert_eq!((seen_sha256, fs::read(&path).unwrap().as_slice()), (digest(LATER), LATER));
        assert_eq!(fs::read(kept).unwrap(), SAVE);
        assert_eq!(names(&folder).len(), 2);
    }

    #[test]
    fn a_file_that_is_taken_away_while_a_save_is_put_back_gets_its_name_back() {
        let (_folder, path) = world();
        let mut exchanges = 0;
        let replaced = replace_by(&path, Content::Bytes(NEW), held(OLD), 1, &mut |a, b| {
            exchanges += 1;
            match exchanges {
                1 => save(b, SAVE),
                _ => fs::remove_file(b)?,
            }
            exchange(a, b)
        });
        assert_eq!(replaced.expect("no error"), Replaced::Stale { seen_sha256: digest(SAVE), kept: None });
        assert_eq!(fs::read(&path).unwrap(), SAVE);
    }

    #[test]
    fn without_an_exchange_the_digest_is_checked_before_the_rename() {
        let mut without = |_: &Path, _: &Path| Err(io::Error::from(rustix::io::Errno::INVAL));
        let (folder, path) = world();
        assert!(matches!(replace_by(&path, Content::Bytes(NEW), held(OLD), 1, &mut without), Ok(Replaced::Done { .. })));
        assert_eq!((fs::read(&path).unwrap().as_slice(), fs::read(path.with_extension("csv.tieout-backup")).unwrap().as_slice()), (NEW, OLD));
        let replaced = replace_by(&path, Content::Bytes(LATER), held(NEW), 1, &mut |_, file| {
            save(file, SAVE);
            Err(io::Error::from(rustix::io::Errno::NOSYS))
        });
        assert_eq!(replaced.expect("no error"), Replaced::Stale { seen_sha256: digest(SAVE), kept: None });
        assert_eq!(fs::read(&path).unwrap(), SAVE);
        assert_eq!(names(&folder), ["customers.csv", "customers.csv.tieout-backup"]);
    }

    #[test]
    fn a_process_killed_around_the_exchange_leaves_nothing_behind_but_what_somebody_saved() {
        // (what the process did before it was killed, what the file holds after the next start, what the backup holds)
        type Killed = fn(&Path, &Path);
        let before: Killed = |_, _| {};
        let after: Killed = |a, b| exchange(a, b).expect("exchanged");
        let after_a_save: Killed = |a, b| {
            save(b, SAVE);
            exchange(a, b).expect("exchanged");
        };
        for (killed, file, backup) in [(before, OLD, None), (after, NEW, Some(OLD)), (after_a_save, SAVE, None)] {
            let (folder, path) = world();
            let death = catch_unwind(AssertUnwindSafe(|| {
                replace_by(&path, Content::Bytes(NEW), held(OLD), 1, &mut |a, b| {
                    killed(a, b);
                    panic!("killed")
                })
            }));
            assert!(death.is_err());
            fs::write(folder.path().join(".customers.csv.tieout-part"), b"half a fi").unwrap();
            let notes = recover(&path).expect("recovered");
            assert_eq!(notes.len(), usize::from(file == SAVE), "{notes:?}");
            assert_eq!(fs::read(&path).unwrap(), file);
            assert_eq!(fs::read(path.with_extension("csv.tieout-backup")).ok().as_deref(), backup);
            assert_eq!(names(&folder).len(), 1 + usize::from(backup.is_some()));
        }
    }

    #[test]
    fn a_save_displaced_by_a_killed_process_is_kept_when_the_file_was_saved_again() {
        let (folder, path) = world();
        let death = catch_unwind(AssertUnwindSafe(|| {
            replace_by(&path, Content::Bytes(NEW), held(OLD), 1, &mut |a, b| {
                save(b, SAVE);
                exchange(a, b).expect("exchanged");
                panic!("killed")
            })
        }));
        assert!(death.is_err());
        save(&path, LATER);
        assert_eq!(recover(&path).expect("recovered").len(), 1);
        assert_eq!(fs::read(&path).unwrap(), LATER);
        let kept = names(&folder).into_iter().find(|name| name.contains("tieout-saved")).expect("kept");
        assert_eq!(fs::read(folder.path().join(kept)).unwrap(), SAVE);
    }

    #[test]
    fn leftovers_of_another_file_are_left_alone() {
        let (folder, path) = world();
        let other = folder.path().join(".other-customers.csv.tieout-part");
        fs::write(&other, b"x").unwrap();
        assert!(recover(&path).expect("nothing to do").is_empty());
        assert!(other.exists());
    }

    #[test]
    fn a_symbolic_link_stays_one_and_the_mode_stays() {
        let (folder, path) = world();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let link = folder.path().join("link.csv");
        std::os::unix::fs::symlink("customers.csv", &link).unwrap();
        assert!(matches!(replace(&link, NEW, held(OLD)), Ok(Replaced::Done { .. })));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&path).unwrap(), NEW);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_file_is_proved_replaceable_without_a_trace() {
        let (folder, path) = world();
        save(&path, b"before");
        prove_replaceable(&path).expect("writable");
        assert_eq!(names(&folder), [file_name(&path)]);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).expect("mode");
        let error = prove_replaceable(&path).expect_err("read-only");
        assert_eq!((error.remedy, fs::read(&path).expect("read").as_slice()), (Remedy::GiveAccess, b"before".as_slice()));
    }

    #[test]
    fn what_cannot_be_written_is_an_error_and_the_file_stays() {
        let (folder, path) = world();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        let error = replace(&path, NEW, held(OLD)).expect_err("read-only");
        assert_eq!((error.remedy, error.diagnostics[0].message.as_str()), (Remedy::GiveAccess, "the file is read-only"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let missing = replace(&folder.path().join("absent.csv"), NEW, held(OLD)).expect_err("missing");
        assert_eq!(missing.remedy, Remedy::GiveAccess);
        // A name that leaves no room for the longer name beside it stands for every failure to write there.
        let long = folder.path().join("x".repeat(250));
        fs::write(&long, OLD).unwrap();
        let error = replace(&long, NEW, held(OLD)).expect_err("the name beside it is too long");
        assert_eq!(error.remedy, Remedy::GiveAccess);
        assert_eq!((fs::read(&path).unwrap().as_slice(), fs::read(&long).unwrap().as_slice()), (OLD, OLD));
        assert_eq!(names(&folder).len(), 2);
    }

    #[test]
    fn a_full_disk_is_named_as_such() {
        let (_folder, path) = world();
        let target = Target::of(&path).expect("there");
        let error = has_room(&target, 10, 11).expect_err("no room");
        assert!(error.to_string().contains("11 bytes are needed, 10 are free"), "{error}");
        assert!(has_room(&target, 11, 11).is_ok());
        let full = target.untouched("the new version of the file cannot be written beside it", &io::Error::from(rustix::io::Errno::NOSPC));
        assert_eq!(full.remedy, Remedy::GiveAccess);
        assert!(full.to_string().contains("the disk is full") && full.to_string().contains("the file is as it was"), "{full}");
    }

    #[test]
    fn a_second_holder_of_a_lock_is_told_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = lock(&path, "run 20260331T010000Z, process 42, since 01:00\n").expect("free");
        let error = lock(&path, "another").expect_err("held");
        assert_eq!(error.remedy, Remedy::Wait);
        assert!(error.to_string().contains("run 20260331T010000Z, process 42"), "{error}");
        drop(first);
        lock(&path, "short").expect("free again");
        assert_eq!(fs::read_to_string(&path).unwrap(), "short");
    }

    #[test]
    fn new_files_and_folders_are_private_and_never_overwrite() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("state").join("job");
        create_dir_private(&inner).expect("made");
        create_dir_private(&inner).expect("there already");
        let path = inner.join("plan.jsonl");
        write_new(&path, b"{}").expect("written");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&inner), mode(&path)), (0o700, 0o600));
        assert_eq!(write_new(&path, b"other").expect_err("exists").remedy, Remedy::GiveAccess);
        assert_eq!(read(&path).expect("there"), Contents { bytes: b"{}".to_vec(), sha256: digest(b"{}") });
        assert_eq!(digest(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn published_files_are_whole_and_private_and_those_who_wait_take_turns() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, key) = (folder.path().join("page.html"), folder.path().join(".lock"));
        publish(&path, b"0").expect("publishes");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let _turn = wait_for_lock(&key).expect("a turn");
                        let number: u32 = String::from_utf8(read(&path).expect("reads").bytes).expect("text").parse().expect("a number");
                        publish(&path, (number + 1).to_string().as_bytes()).expect("publishes");
                    }
                });
            }
        });
        assert_eq!(fs::read(&path).expect("reads"), b"20");
        assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o600);
        assert_eq!(folders(folder.path()).expect("lists"), Vec::<String>::new());
        assert_eq!(fs::read_dir(folder.path()).expect("lists").count(), 2, "nothing else is left there");
        fs::create_dir(folder.path().join("taken")).expect("makes");
        assert_eq!(publish(&folder.path().join("taken"), b"x").expect_err("a folder").remedy, Remedy::GiveAccess);
        assert_eq!(fs::read_dir(folder.path()).expect("lists").count(), 3, "what was begun is gone");
    }
}
