//! Workbooks.

pub mod patch;
