//! Reconciles the records of several systems: a full snapshot of each is pulled, cleaned and compared with what was last
//! decided on; declared rules merge the edits; the changes are written, proved to have arrived, and reported.
//!
//! # Words
//! A *job* names two or more *systems*, the *fields* of their *records*, who owns each field and what a conflict does. A
//! *run* is one execution of a job. A *snapshot* is what a system held when it was pulled; its *base* is what was last read
//! from it and took part in a decision. A *break* is a difference that is still there after a run.
//!
//! # Layers
//! Each uses only what is printed above it.
//!
//! | layer | modules | |
//! | --- | --- | --- |
//! | words | [`value`], [`diagnostic`], [`error`], [`frame`], [`change`] | plain data |
//! | | [`job`] | the job file, as written and as checked |
//! | core | [`reconcile`], [`report`], [`schedule`] | pure: no file, no clock, no environment, no network |
//! | edges | [`disk`], [`systems`], [`state`], [`mail`] | the world |
//! | shell | [`project`], [`delivery`], [`run`], [`explain`], [`review`], [`undo`], [`diff`], [`serve`], [`demo`] | joins them |

pub mod change;
pub mod decisions;
pub mod delivery;
pub mod demo;
pub mod diagnostic;
pub mod diff;
pub mod disk;
pub mod error;
pub mod explain;
pub mod frame;
pub mod job;
pub mod mail;
pub mod project;
pub mod reconcile;
pub mod report;
pub mod review;
pub mod run;
pub mod schedule;
pub mod serve;
pub mod state;
pub mod systems;
pub mod undo;
pub mod value;
