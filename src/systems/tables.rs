//! Any file as a table of text, to be compared with another: which kind it is says its ending.

use std::path::Path;

use crate::error::Error;
use crate::systems::csv::places::{Pinned, RowFile};

/// Opens a file.
///
/// # Errors
/// `GiveAccess` if it is not there or cannot be read; `Look` if it is not what its ending says.
pub fn open(path: &Path, pinned: &Pinned, sheet: Option<&str>) -> Result<RowFile, Error> {
    let origin = path.display().to_string();
    let _ = sheet;
    RowFile::open(path, &origin, pinned)
}
