//! Notices that job files or the settings have changed.
//!
//! A look compares time, size and number of each file; a thorough one, before a run, has them read again, because a file can
//! change without any of these. A file that is being written is left alone until it has been still from one look to the next.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::error::Error;
use crate::project::Project;

/// What tells one version of a file from another without reading it: nanoseconds of its last change, size, number.
type Stamp = (i64, i64, u64, u64);

/// The files as they were when they were read, and as they were at the last look.
#[derive(Debug, Default)]
pub struct Watch {
    read: BTreeMap<PathBuf, Stamp>,
    last: BTreeMap<PathBuf, Stamp>,
}

impl Watch {
    /// Whether the files should be read now. The first look always says so.
    ///
    /// # Errors
    /// `MendJob` if there is no folder of job files.
    pub fn look(&mut self, project: &Project, thorough: bool) -> Result<bool, Error> {
        let mut now = BTreeMap::new();
        for path in project.job_paths()?.into_iter().chain([project.settings_path()]) {
            // What cannot be looked at is as good as gone; reading it tells why.
            if let Ok(meta) = std::fs::metadata(&path) {
                now.insert(path, (meta.mtime(), meta.mtime_nsec(), meta.len(), meta.ino()));
            }
        }
        let is_first = self.last.is_empty();
        let is_still = is_first || now == self.last;
        let is_due = is_still && (is_first || thorough || now != self.read);
        self.last.clone_from(&now);
        if is_due {
            self.read = now;
        }
        Ok(is_due)
    }
}
