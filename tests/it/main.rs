//! The one integration binary: every binary links Polars again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod apply;
mod cli;
mod crash;
mod demo;
mod diff;
mod errors;
mod explain;
mod http;
mod http_writes;
mod laws;
mod ledger;
mod mail;
mod obstacles;
mod oracle;
mod report_workbook;
mod rest;
mod review;
mod scenarios;
mod serve;
mod server;
mod systems;
mod tidy;
mod undo;
mod workbooks;
mod zoo;
