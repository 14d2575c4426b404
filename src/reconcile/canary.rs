//! Canaries: records that must be there every night, and which they are.

use std::collections::BTreeSet;

use super::clean;
use crate::job::{Canary, ColumnSpec, Field, Job};
use crate::value::{KEY_SEPARATOR, Raw, Value};

/// The canonical key of a canary, cleaned as a cell would be.
pub(super) fn canary_key(job: &Job, canary: &Canary) -> String {
    let parts: Vec<String> = job.key.iter().zip(&canary.key).map(|(field, value)| as_clean(&job.fields[*field], value).to_string()).collect();
    parts.join(&KEY_SEPARATOR.to_string())
}

/// A text as cleaning would leave it.
pub(super) fn as_clean(field: &Field, value: &Value) -> Value {
    let Value::Text(text) = value else { return value.clone() };
    let read = clean::read_one(field, &ColumnSpec::default(), &Raw::text(text.clone()));
    read.filter(|read| !read.is_null()).unwrap_or_else(|| value.clone())
}

/// The canonical keys of all canaries: these records are looked at every night.
pub(super) fn canary_keys(job: &Job) -> BTreeSet<String> {
    job.canaries.iter().map(|canary| canary_key(job, canary)).collect()
}
