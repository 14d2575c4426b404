//! The `csv` kind.
use crate::error::Error;
use crate::job::CsvSettings;
use crate::systems::{Opening, System};

/// A CSV file.
#[derive(Debug)]
pub struct CsvFile;

impl CsvFile {
    /// Opens it.
    pub fn open(_settings: &CsvSettings, _opening: &Opening<'_>) -> Result<impl System + use<>, Error> {
        Err::<crate::systems::memory::MemoryTable, _>(Error::new(crate::error::Remedy::MendJob, crate::diagnostic::Place::default(), "stub"))
    }
}
