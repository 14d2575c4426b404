//! The core: from clean frames to a plan, and from what became of it to the next state.
//!
//! Pure: frames and values in, values out. No file, clock, environment or network. A run calls
//! [`dedupe::dedupe`] → [`link::link`] → [`plan::plan`] → [`gates::trips`] before the writes, and [`settle::settle`] →
//! [`settle::advance`] after them.

pub mod adopt;
pub mod answers;
pub mod approved;
pub mod base;
mod canary;
pub mod clean;
pub mod dedupe;
pub mod diff;
pub mod differences;
pub mod gates;
pub mod index;
pub mod left_alone;
pub mod link;
pub mod merge;
pub mod pairing;
pub mod patience;
pub mod plan;
pub mod rest;
pub mod rowwise;
pub mod settle;
pub mod taken_back;
pub mod totals;
