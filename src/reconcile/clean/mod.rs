//! Cleaning.
use std::sync::Arc;

use crate::frame::{Clean, Pulled};
use crate::job::{ColumnSpec, Field, Job};
use crate::value::{Raw, Value};

/// stub
pub fn clean(_job: &Job, _system: usize, pulled: Arc<Pulled>) -> Clean {
    Clean {
        pulled,
        rows: vec![],
        keys: Default::default(),
        ids: None,
        edited_at: None,
        fields: vec![],
        silent: Default::default(),
        quarantined: vec![],
        counts: vec![],
    }
}
/// stub
pub fn spell(_field: &Field, _column: &ColumnSpec, value: &Value) -> Raw {
    Raw::text(value.to_string())
}
/// stub
pub fn canonical(_field: &Field, _column: &ColumnSpec, value: &Value) -> Value {
    value.clone()
}
/// stub
pub fn read_one(_field: &Field, _column: &ColumnSpec, raw: &Raw) -> Option<Value> {
    Some(Value::Text(raw.to_string()))
}
