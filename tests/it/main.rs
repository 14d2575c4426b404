//! The one integration binary: every binary links Polars again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cli;
mod errors;
mod scenarios;
mod systems;
