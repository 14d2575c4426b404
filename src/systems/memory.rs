//! The twin in memory.
use crate::change::Outcome;
use crate::error::Error;
use crate::frame::Pulled;
use crate::systems::{Description, Opening, System, Wanted, WriteSet};

/// A table in memory.
#[derive(Debug)]
pub struct MemoryTable;

impl MemoryTable {
    /// Opens it.
    pub fn open(_name: &str, _opening: &Opening<'_>) -> Result<MemoryTable, Error> {
        Ok(MemoryTable)
    }
}

impl System for MemoryTable {
    fn describe(&self) -> Description {
        Description { atomic: true, writable: true, fills_id: true }
    }
    fn columns(&mut self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }
    fn pull(&mut self) -> Result<Pulled, Error> {
        Ok(Pulled::new(vec![], vec![], vec![], vec![], Default::default()))
    }
    fn write(&mut self, _set: WriteSet<'_>) -> Result<Vec<Outcome>, Error> {
        Ok(vec![])
    }
    fn read_back(&mut self, _wanted: &Wanted) -> Result<Pulled, Error> {
        self.pull()
    }
}
