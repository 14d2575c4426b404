//! The `sql` kind.
use crate::error::Error;
use crate::job::SqlSettings;
use crate::systems::{Opening, System};

/// A table.
#[derive(Debug)]
pub struct SqlTable;

impl SqlTable {
    /// Opens it.
    pub fn open(_settings: &SqlSettings, _opening: &Opening<'_>) -> Result<impl System + use<>, Error> {
        Err::<crate::systems::memory::MemoryTable, _>(Error::new(crate::error::Remedy::MendJob, crate::diagnostic::Place::default(), "stub"))
    }
}
