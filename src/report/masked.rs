//! A copy of a report in which no value of a sensitive field is left.
//!
//! Values of sensitive fields become [`MASK`], and so do the sensitive parts of keys. Sentences that came with a record lose
//! every spelling of such a value that the report knows. What a system said about a change with a sensitive cell is masked
//! as a whole, because a system may quote what the report does not know. Control totals of a sensitive field are left out,
//! and a note says so. Passwords in connection addresses are masked always.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::shown::{self, MASK};
use super::{JobChange, Report};
use crate::change::{BreakKind, Reason, SystemValue, key_for_people};
use crate::diagnostic::Diagnostic;
use crate::value::{KEY_SEPARATOR, Value};

/// The report without the values that nobody may read. Borrowed where there are none.
pub(super) fn masked(report: &Report) -> Cow<'_, Report> {
    if report.sensitive.is_empty() && !texts_of(report).any(|text| matches!(without_passwords(text), Cow::Owned(_))) {
        return Cow::Borrowed(report);
    }
    let mut copy = report.clone();
    if !report.sensitive.is_empty() {
        mask_records(&mut copy);
    }
    mask_passwords(&mut copy);
    Cow::Owned(copy)
}

/// The texts in which a connection address could stand.
fn texts_of(report: &Report) -> impl Iterator<Item = &str> {
    let origins = report
        .systems
        .iter()
        .filter_map(|system| system.evidence.as_ref())
        .flat_map(|evidence| std::iter::once(&evidence.origin).chain(&evidence.notes).chain(evidence.found.values()));
    let diagnostics = report.stopped_by.iter().flat_map(|d| [&d.place.origin, &d.message].into_iter().chain(&d.seen).chain(d.hint.as_ref()));
    let jobs = report.job_change.iter().flat_map(|change| [&change.before, &change.after].into_iter().chain(&change.terms));
    let details = report.changes.iter().filter_map(|change| change.detail.as_ref());
    let sentences = std::iter::once(&report.sentence).chain(&report.notes).chain(&report.rules);
    let whys = report.breaks.iter().map(|one| &one.open.why);
    origins.chain(diagnostics).chain(jobs).chain(details).chain(sentences).chain(whys).map(String::as_str)
}

fn mask_passwords(report: &mut Report) {
    let mask = |text: &mut String| {
        if let Cow::Owned(safe) = without_passwords(text) {
            *text = safe;
        }
    };
    for evidence in report.systems.iter_mut().filter_map(|system| system.evidence.as_mut()) {
        mask(&mut evidence.origin);
        evidence.notes.iter_mut().for_each(mask);
        evidence.found.values_mut().for_each(mask);
    }
    for diagnostic in &mut report.stopped_by {
        mask(&mut diagnostic.place.origin);
        mask(&mut diagnostic.message);
        diagnostic.seen.iter_mut().chain(diagnostic.hint.as_mut()).for_each(mask);
    }
    if let Some(JobChange { before, after, terms }) = &mut report.job_change {
        mask(before);
        mask(after);
        terms.iter_mut().for_each(mask);
    }
    report.changes.iter_mut().filter_map(|change| change.detail.as_mut()).for_each(mask);
    mask(&mut report.sentence);
    report.notes.iter_mut().chain(&mut report.rules).for_each(mask);
    report.breaks.iter_mut().for_each(|one| mask(&mut one.open.why));
}

/// `scheme://user:password@host` without the password.
fn without_passwords(text: &str) -> Cow<'_, str> {
    let mut safe = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let authority = start + 3;
        let end = rest[authority..].find(|c: char| c == '/' || c == '?' || c.is_whitespace() || c == '"' || c == '\'').map_or(rest.len(), |at| authority + at);
        let password = rest[authority..end].rfind('@').and_then(|at| rest[authority..authority + at].find(':').map(|colon| (colon + 1, at)));
        match password {
            Some((from, to)) if from < to && !rest[authority + from..authority + to].starts_with("${") => {
                safe.push_str(&rest[..authority + from]);
                safe.push_str(MASK);
                safe.push_str(&rest[authority + to..end]);
            }
            _ => safe.push_str(&rest[..end]),
        }
        rest = &rest[end..];
    }
    safe.push_str(rest);
    if safe == text { Cow::Borrowed(text) } else { Cow::Owned(safe) }
}

/// Spellings that must not be shown.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    spellings: BTreeSet<String>,
}

/// A secret of at least this many characters is masked within a word too: shorter ones would tear ordinary words apart.
const ANYWHERE_CHARACTERS_MIN: usize = 5;

impl Secrets {
    /// Adds a text; an empty one is no secret.
    pub fn add_text(&mut self, text: &str) {
        let text = text.trim();
        if !text.is_empty() && text != MASK {
            self.spellings.insert(text.to_owned());
        }
    }

    /// Adds every spelling of a value that a report has.
    pub fn add(&mut self, value: &Value) {
        match value {
            Value::Null => return,
            Value::List(items) => items.iter().for_each(|item| self.add_text(item)),
            _ => self.add_text(&shown::value(value)),
        }
        self.add_text(&value.to_string());
    }

    fn extend(&mut self, other: Secrets) {
        self.spellings.extend(other.spellings);
    }

    /// The text with a mask for every secret in it, the longest first.
    pub fn hide(&self, text: &mut String) {
        let mut present: Vec<&String> = self.spellings.iter().filter(|secret| text.contains(secret.as_str())).collect();
        present.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        for secret in present {
            *text = replaced(text, secret);
        }
    }

    fn hide_in(&self, diagnostic: &mut Diagnostic) {
        self.hide(&mut diagnostic.place.origin);
        self.hide(&mut diagnostic.message);
        diagnostic.seen.iter_mut().chain(diagnostic.hint.as_mut()).for_each(|line| self.hide(line));
    }
}

fn replaced(text: &str, secret: &str) -> String {
    let anywhere = secret.chars().count() >= ANYWHERE_CHARACTERS_MIN;
    let mut safe = String::with_capacity(text.len());
    let mut from = 0;
    for (at, found) in text.match_indices(secret) {
        let end = at + found.len();
        let joined = text[..at].chars().next_back().is_some_and(char::is_alphanumeric) || text[end..].chars().next().is_some_and(char::is_alphanumeric);
        if at >= from && (anywhere || !joined) {
            safe.push_str(&text[from..at]);
            safe.push_str(MASK);
            from = end;
        }
    }
    safe.push_str(&text[from..]);
    safe
}

/// Masks what a person said of a decision.
fn hide_in_reason(reason: &mut Reason, secrets: &Secrets) {
    match reason {
        Reason::Person { why, .. } | Reason::Undone { why, .. } => why.iter_mut().for_each(|why| secrets.hide(why)),
        Reason::Accepted { why, decided, .. } => {
            why.iter_mut().for_each(|why| secrets.hide(why));
            hide_in_reason(decided, secrets);
        }
        Reason::Owed { decided, .. } => hide_in_reason(decided, secrets),
        _ => {}
    }
}

/// Which parts of a key are masked.
struct KeyMask {
    parts: Vec<bool>,
}

impl KeyMask {
    fn any(&self) -> bool {
        self.parts.contains(&true)
    }

    /// Masks the sensitive parts of a key, canonical or for people, and keeps them among the secrets. A key that does not
    /// fall into as many parts as there are key fields is masked as a whole.
    fn mask(&self, key: &mut String, secrets: &mut Secrets) {
        if !self.any() || key.is_empty() {
            return;
        }
        let canonical = key.contains(KEY_SEPARATOR);
        let parts: Vec<&str> = if canonical { key.split(KEY_SEPARATOR).collect() } else { key.split(" / ").collect() };
        if parts.len() != self.parts.len() || self.parts.len() == 1 {
            secrets.add_text(key);
            secrets.add_text(&key_for_people(key));
            parts.iter().for_each(|part| secrets.add_text(part));
            *key = MASK.to_owned();
            return;
        }
        secrets.add_text(key);
        let masked: Vec<&str> = parts
            .iter()
            .zip(&self.parts)
            .map(|(part, sensitive)| {
                if *sensitive {
                    secrets.add_text(part);
                    MASK
                } else {
                    part
                }
            })
            .collect();
        *key = masked.join(if canonical { "\u{1f}" } else { " / " });
    }
}

/// Masks the sensitive parts of a key, and keeps them among the secrets. `is_sensitive` tells of each key field whether it is.
pub fn mask_key(is_sensitive: &[bool], key: &mut String, secrets: &mut Secrets) {
    KeyMask { parts: is_sensitive.to_vec() }.mask(key, secrets);
}

fn mask_value(value: &mut Value, secrets: &mut Secrets) {
    if !value.is_null() {
        secrets.add(value);
        *value = Value::Text(MASK.to_owned());
    }
}

fn mask_values(values: &mut [SystemValue], secrets: &mut Secrets) {
    values.iter_mut().for_each(|held| mask_value(&mut held.value, secrets));
}

fn mask_records(report: &mut Report) {
    let names: BTreeSet<String> = report.sensitive.iter().cloned().collect();
    let sensitive = |field: &str| names.contains(field);
    let keys = KeyMask { parts: report.key.iter().map(|field| sensitive(field)).collect() };
    let mut all = Secrets::default();
    // What is secret about a record is secret in every sentence about it, and not looked for in the others: there may be
    // as many records as rows.
    let mut records: BTreeMap<String, Secrets> = BTreeMap::new();

    for change in &mut report.changes {
        let secrets = records.entry(key_for_people(&change.key)).or_default();
        keys.mask(&mut change.key, secrets);
        let mut touched = false;
        for cell in change.cells.iter_mut().filter(|cell| sensitive(&cell.field)) {
            touched = true;
            mask_value(&mut cell.before, secrets);
            mask_value(&mut cell.after, secrets);
        }
        if let Some(detail) = &mut change.detail {
            if touched {
                secrets.add_text(detail);
                *detail = MASK.to_owned();
            } else {
                secrets.hide(detail);
            }
        }
    }
    for conflict in &mut report.conflicts {
        let secrets = records.entry(key_for_people(&conflict.key)).or_default();
        keys.mask(&mut conflict.key, secrets);
        if sensitive(&conflict.field) {
            mask_value(&mut conflict.decided, secrets);
            mask_values(&mut conflict.overridden, secrets);
        }
    }
    for drift in &mut report.drift {
        let secrets = records.entry(key_for_people(&drift.key)).or_default();
        keys.mask(&mut drift.key, secrets);
        if sensitive(&drift.field) {
            [&mut drift.base, &mut drift.now, &mut drift.decided].into_iter().for_each(|value| mask_value(value, secrets));
        }
    }
    for one in &mut report.tolerated {
        let secrets = records.entry(key_for_people(&one.key)).or_default();
        keys.mask(&mut one.key, secrets);
        if sensitive(&one.field) {
            [&mut one.value, &mut one.decided].into_iter().for_each(|value| mask_value(value, secrets));
            one.apart = None;
        }
    }
    let unkeyed: BTreeSet<String> = report.quarantined.iter().filter_map(|one| one.unkeyed.clone()).collect();
    for one in &mut report.quarantined {
        let name = one.row.key.as_deref().map(key_for_people).or_else(|| one.unkeyed.clone());
        let secrets = records.entry(name.unwrap_or_default()).or_default();
        if let Some(key) = &mut one.row.key {
            keys.mask(key, secrets);
        }
        if let Some(id) = one.row.id.as_mut().filter(|_| keys.any()) {
            secrets.add_text(id);
            *id = MASK.to_owned();
        }
        // A row that could not be split into columns may hold any field.
        if one.row.field.as_deref().is_none_or(sensitive)
            && let Some(raw) = &mut one.row.raw
        {
            secrets.add_text(raw);
            *raw = MASK.to_owned();
        }
        secrets.hide(&mut one.row.reason);
    }
    for one in &mut report.breaks {
        let secrets = records.entry(key_for_people(&one.open.key)).or_default();
        if !(one.open.kind == BreakKind::Quarantined && unkeyed.contains(&one.open.key)) {
            keys.mask(&mut one.open.key, secrets);
        }
        // A break of the whole record may tell the values of any field.
        if one.open.field.is_none() && !names.is_empty() {
            mask_values(&mut one.open.values, secrets);
        }
        if one.open.field.as_deref().is_some_and(sensitive) {
            if let Some(amount) = one.amount.take() {
                secrets.add(&Value::Decimal(amount));
            }
            mask_values(&mut one.open.values, secrets);
        }
        secrets.hide(&mut one.open.why);
        secrets.hide(&mut one.open.next_step);
        one.set_aside.iter_mut().filter_map(|aside| aside.why.as_mut()).for_each(|why| secrets.hide(why));
    }
    for one in &mut report.links {
        let secrets = records.entry(key_for_people(&one.key)).or_default();
        keys.mask(&mut one.key, secrets);
        secrets.hide(&mut one.event);
    }
    for one in &mut report.stale {
        let secrets = records.entry(one.key.clone()).or_default();
        keys.mask(&mut one.key, secrets);
    }
    records.into_values().for_each(|secrets| all.extend(secrets));
    // What a person said of a decision may quote any value, and of several records at once.
    let of_changes = report.changes.iter_mut().flat_map(|change| change.cells.iter_mut().map(|cell| &mut cell.reason).chain([&mut change.reason]));
    of_changes.chain(report.conflicts.iter_mut().map(|conflict| &mut conflict.reason)).for_each(|reason| hide_in_reason(reason, &all));
    for one in report.breaks.iter_mut().filter(|one| one.set_aside.is_some()) {
        one.set_aside.iter_mut().filter_map(|aside| aside.why.as_mut()).chain([&mut one.open.why]).for_each(|text| all.hide(text));
    }
    let sensitive_totals = report.totals.iter().any(|total| sensitive(&total.field));
    for one in &mut report.cleared {
        keys.mask(&mut one.key, &mut all);
        if sensitive_totals && let Some(amount) = one.amount.take() {
            all.add(&Value::Decimal(amount));
        }
    }
    // What is at stake is an amount of a control total, and a sum of it may be that of one record.
    if sensitive_totals {
        if let Some(roll) = &mut report.roll_forward {
            roll.amounts.clear();
        }
        report.identities.retain(|identity| identity.name != "open amounts");
        for one in &mut report.breaks {
            if let Some(amount) = one.amount.take() {
                all.add(&Value::Decimal(amount));
            }
        }
    }
    for one in &mut report.duplicates {
        keys.mask(&mut one.key, &mut all);
        if keys.any() && one.known_by == "id" {
            one.survivor_name.iter_mut().chain(&mut one.loser_names).for_each(|name| *name = MASK.to_owned());
        }
    }

    let hidden: BTreeSet<String> = report.totals.iter().filter(|total| sensitive(&total.field)).map(|total| total.field.clone()).collect();
    for total in report.totals.iter().filter(|total| hidden.contains(&total.field)) {
        [Some(total.closing), Some(total.after), total.opening, total.with_held(), Some(total.held)]
            .into_iter()
            .flatten()
            .for_each(|sum| all.add(&Value::Decimal(sum)));
    }
    for part in report.differences.iter().filter(|difference| hidden.contains(&difference.field)).flat_map(|difference| &difference.parts) {
        all.add(&Value::Decimal(part.amount));
    }
    report.totals.retain(|total| !hidden.contains(&total.field));
    report.differences.retain(|difference| !hidden.contains(&difference.field));
    let about_hidden = |of: &str| of.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).any(|word| names.contains(word));
    for identity in &mut report.identities {
        if about_hidden(&identity.of) || about_hidden(&identity.name) {
            identity.equation = MASK.to_owned();
        }
        all.hide(&mut identity.equation);
        all.hide(&mut identity.of);
    }
    all.hide(&mut report.sentence);
    report.notes.iter_mut().chain(&mut report.allowed).for_each(|text| all.hide(text));
    report.stopped_by.iter_mut().for_each(|diagnostic| all.hide_in(diagnostic));
    for evidence in report.systems.iter_mut().filter_map(|system| system.evidence.as_mut()) {
        evidence.notes.iter_mut().for_each(|note| all.hide(note));
    }
    for field in hidden {
        report.notes.push(format!("The control totals of `{field}` are not shown: the field is sensitive."));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_addresses_are_masked() {
        for (text, safe) in [
            ("postgres://ada:s3cret@db.example.com/books", "postgres://ada:•••@db.example.com/books"),
            ("url = \"mysql://ada:p@ss@db:3306/x\" # and", "url = \"mysql://ada:•••@db:3306/x\" # and"),
            ("postgres://ada:${env:PASSWORD}@db/x", "postgres://ada:${env:PASSWORD}@db/x"),
            ("https://example.com:8443/a", "https://example.com:8443/a"),
            ("no address, a@b: c", "no address, a@b: c"),
        ] {
            assert_eq!(without_passwords(text), safe);
        }
    }

    #[test]
    fn short_secrets_do_not_tear_words_apart() {
        let mut secrets = Secrets::default();
        secrets.add_text("7");
        secrets.add_text("DE893704");
        let mut text = "7 rows, 17 lines, account XDE893704Y, took 7".to_owned();
        secrets.hide(&mut text);
        assert_eq!(text, "••• rows, 17 lines, account X•••Y, took •••");
    }
}
