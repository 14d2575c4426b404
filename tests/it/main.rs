//! The one integration binary: every binary links Polars again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod demo;
mod laws;
mod oracle;
mod scenarios;
mod systems;
mod tidy;
