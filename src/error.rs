//! What stops a run, sorted by what the operator must do about it.

use std::time::Duration;

use serde::Serialize;

use crate::diagnostic::{Diagnostic, Place};

/// What the operator must do. It decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// Mend the arguments or the job file.
    MendJob,
    /// Give access, or try again: nothing is lost.
    GiveAccess,
    /// Look, then allow or mend the data.
    Look,
    /// Wait for the run that holds the lock.
    Wait,
}

impl Remedy {
    /// The exit code of the process.
    pub fn exit_code(self) -> u8 {
        match self {
            Remedy::MendJob => 2,
            Remedy::GiveAccess => 3,
            Remedy::Look => 4,
            Remedy::Wait => 5,
        }
    }
}

/// What stops a run: one or several diagnostics with one remedy.
#[derive(Clone, Debug, thiserror::Error, Serialize)]
#[error("{}", self.render())]
pub struct Error {
    /// What the operator must do.
    pub remedy: Remedy,
    /// What is wrong, in the order in which it should be read. Never empty.
    pub diagnostics: Vec<Diagnostic>,
    /// Where what is in the way may be gone in a moment, and nothing was done, so that the same call may be made again: how long to
    /// wait at least. Zero where nobody says.
    #[serde(skip)]
    pub passing: Option<Duration>,
}

impl Error {
    /// An error about one place.
    pub fn new(remedy: Remedy, place: Place, message: impl Into<String>) -> Error {
        Error { remedy, diagnostics: vec![Diagnostic::new(place, message)], passing: None }
    }

    /// An error of several diagnostics; nothing if there are none.
    pub fn of(remedy: Remedy, diagnostics: Vec<Diagnostic>) -> Option<Error> {
        (!diagnostics.is_empty()).then_some(Error { remedy, diagnostics, passing: None })
    }

    /// The same, as something that may be gone in a moment. Nothing was done.
    #[must_use]
    pub fn passing(self) -> Error {
        Error { passing: Some(Duration::ZERO), ..self }
    }

    /// What is wrong, in one line.
    pub fn headline(&self) -> &str {
        self.diagnostics.first().map_or("", |diagnostic| &diagnostic.message)
    }

    /// The same, with one more line of what was seen by the last diagnostic.
    #[must_use]
    pub fn seen(mut self, line: impl Into<String>) -> Error {
        if let Some(last) = self.diagnostics.last_mut() {
            last.seen.push(line.into());
        }
        self
    }

    /// The same, with a hint at the last diagnostic.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        if let Some(last) = self.diagnostics.last_mut() {
            last.hint = Some(hint.into());
        }
        self
    }

    fn render(&self) -> String {
        let all: Vec<String> = self.diagnostics.iter().map(Diagnostic::to_string).collect();
        all.join("\n\n")
    }
}
