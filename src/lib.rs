//! tieout
pub mod change;
pub mod diagnostic;
pub mod disk;
pub mod error;
pub mod frame;
pub mod job;
pub mod mail;
pub mod reconcile;
pub mod report;
pub mod run;
pub mod state;
pub mod systems;
pub mod value;
