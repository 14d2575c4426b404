//! The core: pure decisions.
pub mod clean;
