//! What a person is told: where, what, what was seen, what to do.
//!
//! Two kinds, never mixed. A [`Diagnostic`] says one thing about one place, and there may be many in a run; a
//! [`crate::error::Error`] stops the run and may carry several of them.

use std::fmt;

use serde::Serialize;

/// Where something is: a file with line and column, a row of a table, a system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Default)]
pub struct Place {
    /// The file, table or system, as the operator wrote it.
    pub origin: String,
    /// The physical line, or the row of a table, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The column, counted in characters from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
}

impl Place {
    /// A place that is known only by its file, table or system.
    pub fn of(origin: impl Into<String>) -> Place {
        Place { origin: origin.into(), line: None, column: None }
    }

    /// The same place, narrowed to a line.
    pub fn line(self, line: u64) -> Place {
        Place { line: Some(line), ..self }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(column) = self.column {
            write!(f, ":{column}")?;
        }
        Ok(())
    }
}

/// One thing that is wrong in one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Diagnostic {
    /// Where.
    pub place: Place,
    /// What is wrong, lower case, names in backticks.
    pub message: String,
    /// What was seen or expected, and what did not happen: a line each.
    pub seen: Vec<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A diagnostic with no more than a place and a message.
    pub fn new(place: Place, message: impl Into<String>) -> Diagnostic {
        Diagnostic { place, message: message.into(), seen: Vec::new(), hint: None }
    }

    /// The same, with one more line of what was seen.
    #[must_use]
    pub fn seen(mut self, line: impl Into<String>) -> Diagnostic {
        self.seen.push(line.into());
        self
    }

    /// The same, with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Diagnostic {
        self.hint = Some(hint.into());
        self
    }
}

/// `error: place: message`, what was seen indented below it, then the hint.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}: {}", self.place, self.message)?;
        for line in &self.seen {
            write!(f, "\n  {line}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// The candidate that `written` most likely meant, if one is close enough: of equally close ones the first.
///
/// Close is one slip of the hand in three characters: a letter too many or too few, another one, or two swapped. Of a name of
/// one or two letters another letter leaves nothing to recognise, so there only the other slips count.
pub fn did_you_mean<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.trim().to_lowercase();
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let meant = candidate.to_lowercase();
            let distance = strsim::damerau_levenshtein(&written, &meant);
            let (shorter, longer) = {
                let lengths = [written.chars().count(), meant.chars().count()];
                (lengths[0].min(lengths[1]), lengths[0].max(lengths[1]))
            };
            let is_other_letter = distance > 0 && shorter == longer && !is_swapped(&written, &meant);
            let is_close = distance <= (longer / 3).max(1) && shorter > 0 && !(longer <= 2 && is_other_letter);
            is_close.then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Whether two texts have the same letters in another order.
fn is_swapped(a: &str, b: &str) -> bool {
    let letters = |text: &str| {
        let mut letters: Vec<char> = text.chars().collect();
        letters.sort_unstable();
        letters
    };
    letters(a) == letters(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_place_what_seen_and_hint() {
        let place = Place { origin: "jobs/a.toml".into(), line: Some(14), column: Some(12) };
        let diagnostic = Diagnostic::new(place, "key field `nr` has no column in system `erp`")
            .seen("columns of `erp`: invoice_no, amount")
            .hint("did you mean `invoice_no`?");
        assert_eq!(
            diagnostic.to_string(),
            "error: jobs/a.toml:14:12: key field `nr` has no column in system `erp`\n  columns of `erp`: invoice_no, amount\nhint: did you mean `invoice_no`?"
        );
    }

    #[test]
    fn suggests_only_what_is_close() {
        assert_eq!(did_you_mean("ownr", ["owner", "merge"]), Some("owner"));
        assert_eq!(did_you_mean("colour", ["owner", "merge"]), None);
        let close = [
            ("id", "ids"),
            ("ids", "id"),
            ("di", "id"),
            ("ID", "id"),
            (" id ", "id"),
            ("nr", "nbr"),
            ("nmae", "name"),
            ("nam", "name"),
            ("names", "name"),
            ("crn", "crm"),
            ("vta", "vat"),
            ("mail", "email"),
            ("customer", "customer_id"),
        ];
        for (written, meant) in close {
            assert_eq!(did_you_mean(written, ["quantity", meant]), Some(meant), "{written}");
        }
        let far = [("id", "no"), ("id", "it"), ("a", "b"), ("x", "id"), ("", "a"), ("vat", "iban"), ("name", "date"), ("id", "email"), ("name", "full_name")];
        for (written, other) in far {
            assert_eq!(did_you_mean(written, [other]), None, "{written} is not {other}");
        }
        assert_eq!(did_you_mean("nam", ["nat", "name"]), Some("nat"), "of equally close ones the first");
    }
}
