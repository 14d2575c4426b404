//! The bases that a run left, as they are spread over the folders of several runs.
//!
//! A record is as the newest folder has it whose run looked into it; the first folder has all others.

use std::path::Path;

use rayon::prelude::*;

use super::parquet::{Numbered, read_columns};
use super::{Promoted, looked_into, lost};
use crate::error::Error;
use crate::job::Job;
use crate::reconcile::adopt::Whereabouts;
use crate::reconcile::base::{Base, Standing};

/// The bases that a promoted run left. Nothing of them is in memory but which record is where.
pub struct StoredBases {
    /// By record number: the part that speaks for it.
    speaks: Vec<u8>,
    /// By the job's systems, by part: the records in it; nothing where the system was not known then.
    parts: Vec<Vec<Option<Numbered>>>,
}

impl StoredBases {
    /// Finds them. `root` is the folder of all bases.
    ///
    /// # Errors
    /// `Look` if a file of them is missing or damaged.
    pub fn open(root: &Path, job: &Job, promoted: &Promoted) -> Result<StoredBases, Error> {
        let folders: Vec<_> = promoted.parts().into_iter().map(|part| root.join(part)).collect();
        let mut speaks = vec![0_u8; promoted.knowledge.next_record as usize];
        for (number, folder) in (0..).zip(&folders).skip(1) {
            for record in looked_into(folder)? {
                if let Some(speaks) = speaks.get_mut(record as usize) {
                    *speaks = number;
                }
            }
        }
        let of_system = |name: &String| {
            let paths = folders.iter().map(|folder| folder.join(format!("{name}.parquet")));
            paths.map(|path| if path.exists() { Numbered::open(&path, Base::RECORD_COLUMN).map(Some) } else { Ok(None) }).collect::<Result<Vec<_>, Error>>()
        };
        let parts = job.systems.par_iter().map(|system| of_system(&system.name)).collect::<Result<_, Error>>()?;
        Ok(StoredBases { speaks, parts })
    }

    /// The bases of the wanted records in a system, by record.
    ///
    /// # Errors
    /// `Look` if a file of them is damaged.
    pub fn read(&self, job: &Job, system: usize, is_wanted: impl Fn(u64) -> bool + Sync) -> Result<Base, Error> {
        let read = |(number, part): (usize, &Option<Numbered>)| {
            let Some(part) = part else { return Ok(None) };
            let frame = part.rows(|record| self.speaks_for(number, record) && is_wanted(record))?;
            frame.map(|frame| Base::from_frame(job, system, &frame).ok_or_else(|| lost(part.path(), "it is not a base"))).transpose()
        };
        let found = self.parts[system].iter().enumerate().map(read).collect::<Result<Vec<_>, Error>>()?;
        Ok(Base::of_parts(job, system, found.into_iter().flatten().collect()))
    }

    fn speaks_for(&self, part: usize, record: u64) -> bool {
        // A record that got its number since is in none of them.
        self.speaks.get(record as usize).map_or(part == 0, |speaks| usize::from(*speaks) == part)
    }

    /// Where the records of a system are, without their values.
    ///
    /// # Errors
    /// `Look` if a file of it is damaged.
    pub fn whereabouts(&self, system: usize) -> Result<Whereabouts, Error> {
        let mut found = Whereabouts::default();
        for (number, part) in self.parts[system].iter().enumerate() {
            let Some(part) = part else { continue };
            let frame = read_columns(part.path(), &["@id", "@key", "@standing"])?;
            let column = |name: &str| frame.column(name).ok().map(|column| column.as_materialized_series().clone());
            let (ids, keys, standings) = (column("@id"), column("@key"), column("@standing"));
            let columns = ids.as_ref().and_then(|ids| ids.str().ok()).zip(keys.as_ref().and_then(|keys| keys.str().ok()));
            let ((ids, keys), standings) =
                columns.zip(standings.as_ref().and_then(|standings| standings.u8().ok())).ok_or_else(|| lost(part.path(), "it is not a base"))?;
            for (((record, id), key), standing) in part.numbers().iter().zip(ids.iter()).zip(keys.iter()).zip(standings.iter()) {
                if self.speaks_for(number, *record) {
                    found.push(*record, id, key.unwrap_or_default(), Standing::from_u8(standing.unwrap_or_default()));
                }
            }
        }
        Ok(found)
    }
}
