//! Example jobs with two nights of data, compiled in.

use std::path::Path;

use crate::diagnostic::Place;
use crate::error::{Error, Remedy};

/// What a demonstration did.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What happened, for people.
    pub text: String,
    /// Whether both nights went as they should.
    pub as_it_should: bool,
}

/// Makes the example in a fresh folder and runs both nights.
pub fn show(name: &str, into: &Path, _progress: &dyn Fn(&str)) -> Result<Shown, Error> {
    Err(Error::new(Remedy::MendJob, Place::of(into.display().to_string()), format!("there is no example `{name}`")))
}
