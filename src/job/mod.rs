//! The job file: as it is written, and as it is checked and ready.
mod ready;

pub use ready::*;
