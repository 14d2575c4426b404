//! The job file: as it is written, and as it is checked and ready.
//!
//! [`check()`] takes the texts of all job files and gives back jobs in which nothing is left to look up, or every mistake of
//! every file with its line and column. It opens no file and no system, and reads no environment: `${env:X}` and
//! `${file:p}` stay as written until the edge that opens a system hands them to [`resolve`].
//!
//! The steps, a module each: `read` (TOML into typed tables with places), `written` (which tables, keys and words there
//! are), `check` (one file by itself), `across` (all files together). [`schema`] shows editors what `written` declares.

mod across;
mod check;
mod database;
mod http;
mod presets;
mod read;
mod ready;
mod settings;
mod spelling;
mod written;

pub use check::{NULL_TOKENS, tolerance_of};
pub use database::{DatabaseUrl, Engine, table_parts};
pub use http::{
    HttpAuth, HttpBatch, HttpBody, HttpBy, HttpClientProof, HttpFormat, HttpGet, HttpGrant, HttpJwt, HttpLimits, HttpList, HttpMeaning, HttpOauth2,
    HttpOperation, HttpPage, HttpParameter, HttpResponse, HttpSession, HttpSettings, HttpVersion, HttpWrite, joined, template_place, url_problem,
};
pub use presets::{preset, preset_names};
pub use ready::*;
pub use settings::{MailSettings, Security, ServerSettings, Settings, Thread, is_loopback, read_settings};
pub use spelling::{EPOCH_FORMATS, PathStep, Reference, has_short_year, read_cron, read_path, resolve, spell_path, year_of};

use crate::diagnostic::Diagnostic;
use read::{Page, Written};

/// A job file that has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFile {
    /// Its path relative to the root, as messages show it.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// The jobs of all these files, in their order. `defaults` are the settings that the jobs share.
///
/// # Errors
/// Every mistake of every file: by the order of the files, then by the place in the file. Mistakes that several files make
/// together stand in the later one; they are looked for among the files that are right by themselves.
pub fn check(files: &[JobFile], defaults: &Settings) -> Result<Vec<Job>, Vec<Diagnostic>> {
    let mut pages: Vec<Page<'_>> = files.iter().map(|file| Page::new(&file.path, &file.text)).collect();
    let mut jobs = Vec::new();
    for (index, (file, page)) in files.iter().zip(&mut pages).enumerate() {
        jobs.extend(check::check_file(file, defaults, page).map(|checked| (index, checked)));
    }
    across::check_across(&jobs, &mut pages);
    let mistakes: Vec<Diagnostic> = pages.into_iter().flat_map(Page::into_mistakes).collect();
    if mistakes.is_empty() { Ok(jobs.into_iter().map(|(_, checked)| checked.job).collect()) } else { Err(mistakes) }
}

/// The JSON Schema (2020-12) of a job file, for editors, with a line end.
pub fn schema() -> String {
    let mut schema = serde_json::Map::new();
    schema.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
    schema.insert("title".to_owned(), "tieout job file".into());
    if let serde_json::Value::Object(job) = written::JobTable::schema() {
        schema.extend(job);
    }
    format!("{:#}\n", serde_json::Value::Object(schema))
}

#[cfg(test)]
mod tests;
