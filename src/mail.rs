//! Delivers mail: for now, into the outbox folder, where a person or another program picks it up.
//!
//! Never composes anything: it takes the bytes of a message as they are.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::diagnostic::Place;
use crate::error::{Error, Remedy};

/// Puts a message as `NAME.eml` into `folder`, which is made if it is not there, and gives its path. When it returns, the
/// message is on disk, readable by its owner alone. A message that is there under the same name is replaced as a whole.
///
/// Characters of `name` other than letters, digits, `-`, `_` and `.` become `_`, so that it always stays within `folder`.
///
/// # Errors
/// The folder or the file cannot be written.
pub fn deliver_to_outbox(folder: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, Error> {
    let stem = file_stem(name);
    let path = folder.join(format!("{stem}.eml"));
    deliver(folder, &stem, &path, bytes).map_err(|failure| {
        Error::new(Remedy::GiveAccess, Place::of(path.display().to_string()), "the mail cannot be put into the outbox")
            .seen(failure.to_string())
            .seen("no mail was delivered; the report itself is not touched")
            .hint("make the folder writable, or free some space")
    })?;
    Ok(path)
}

fn deliver(folder: &Path, stem: &str, path: &Path, bytes: &[u8]) -> io::Result<()> {
    make_folder(folder)?;
    let unfinished = folder.join(format!(".{stem}.{}.part", std::process::id()));
    let written = write_new(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, path));
    if let Err(failure) = written {
        // What was begun is of no use to anybody; the first failure is the one to tell.
        let _ = fs::remove_file(&unfinished);
        return Err(failure);
    }
    File::open(folder)?.sync_all()
}

fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(failure) if failure.kind() != io::ErrorKind::NotFound => return Err(failure),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn file_stem(name: &str) -> String {
    let name = name.strip_suffix(".eml").unwrap_or(name);
    let stem: String = name.chars().take(150).map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' }).collect();
    let stem = stem.trim_start_matches('.');
    if stem.is_empty() { "mail".to_owned() } else { stem.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_mail_is_kept_whole_and_private() {
        let root = tempfile::tempdir().expect("a folder");
        let outbox = root.path().join("reports/outbox");
        let path = deliver_to_outbox(&outbox, "customers-20260331T010000Z", b"first").expect("delivers");
        assert_eq!(path, outbox.join("customers-20260331T010000Z.eml"));
        assert_eq!(fs::read(&path).expect("reads"), b"first");
        assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o600);
        deliver_to_outbox(&outbox, "customers-20260331T010000Z.eml", b"again").expect("delivers");
        assert_eq!(fs::read(&path).expect("reads"), b"again");
        assert_eq!(fs::read_dir(&outbox).expect("lists").count(), 1, "nothing else is left there");
    }

    #[test]
    fn a_name_never_leaves_the_folder() {
        let root = tempfile::tempdir().expect("a folder");
        let outbox = root.path().join("outbox");
        for name in ["../../etc/passwd", "..", "/root/x", "a\nb", ""] {
            let path = deliver_to_outbox(&outbox, name, b"x").expect("delivers");
            assert_eq!(path.parent(), Some(outbox.as_path()), "{name:?}");
        }
    }

    #[test]
    fn a_folder_that_is_a_file_is_told_with_its_path() {
        let root = tempfile::tempdir().expect("a folder");
        let blocked = root.path().join("outbox");
        fs::write(&blocked, b"").expect("writes");
        let error = deliver_to_outbox(&blocked, "a", b"x").expect_err("no folder");
        assert_eq!(error.remedy, Remedy::GiveAccess);
        assert!(error.to_string().contains("no mail was delivered"), "{error}");
    }
}
