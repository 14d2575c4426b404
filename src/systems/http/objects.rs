//! Objects of which a field is a part.
//!
//! # Design
//! Most APIs merge an object that is sent into the one that is there. Some replace it, and what was not sent is gone: nothing that the job
//! looks at, and so nothing that reading back would find. So the first update of a part of an object is looked at with all that stood beside
//! it. If something is gone, the object is set back as a whole, and no further record is written until the job file says which it is.

use super::HttpApi;
use super::client::Ended;
use super::wire::whole;
use super::write::Source;
use crate::change::{Action, Change};
use crate::error::{Error, Remedy};
use crate::job::{HttpWrite, PathStep, spell_path};
use crate::systems::json::read::{find, members};
use crate::systems::json::scan::{Sort, Span, unquoted};

impl HttpApi {
    /// What must be said after an update, whose answer is `answer`, of a record that was `before`; nothing if all is well.
    pub(super) fn replaced(&mut self, change: &Change, operation: &HttpWrite, id: &str, before: &str, answer: &str) -> Option<Error> {
        let is_part_sent = matches!(change.action, Action::Update | Action::Archive) && !operation.whole && !operation.whole_objects;
        let beside = if is_part_sent { self.beside(before, change) } else { Vec::new() };
        if beside.is_empty() || self.merges_objects {
            return None;
        }
        let shown = whole(answer).and_then(|value| find(answer, value, &operation.record)).map(|record| record.of(answer));
        let shows_all = |record: &&str| beside.iter().all(|(path, _)| find(record, all_of(record), &path[..1]).is_some());
        let after = match shown.filter(shows_all) {
            Some(record) => record.to_owned(),
            // An API that shows nothing of it anywhere is taken at its word.
            None => self.get(id, &[]).ok()??,
        };
        let Some((path, value)) = first_gone(&beside, &after) else {
            self.merges_objects = true;
            return None;
        };
        let (path, value) = (spell_path(path, false), self.client.clean(value));
        let is_back = self.set_back(change, operation, id, before, &after).is_some_and(|now| first_gone(&beside, &now).is_none());
        let object = path.split(['.', '[']).next().unwrap_or_default();
        let message = format!("system `{}` replaces `{object}` when a part of it is written", self.system);
        let record = self.client.clean(id);
        let became = match is_back {
            true => format!("`{path}` of record {record} was gone, and was set back"),
            false => format!("`{path}` of record {record} is gone; it was {value}"),
        };
        let hint = "say `whole_objects = true` where the job file says how records are updated";
        let what = format!("replaces `{object}` when a part of it is written, so say `whole_objects = true` for updates");
        self.said_of_write.push(format!("{what}: {became}; no further record was written"));
        Some(self.client.error(Remedy::MendJob, &operation.path, message).seen(became).hint(hint))
    }

    /// What stands in a record in the objects of which this change writes a part, and is not written: each with its path.
    fn beside<'r>(&self, record: &'r str, change: &Change) -> Vec<(Vec<PathStep>, &'r str)> {
        let written: Vec<&[PathStep]> = change
            .cells
            .iter()
            .filter_map(|cell| self.required.iter().find(|wanted| wanted.name == cell.column))
            .map(|wanted| wanted.path.as_slice())
            .filter(|path| path.len() > 1)
            .collect();
        let mut roots: Vec<&[PathStep]> = written.iter().map(|path| &path[..1]).collect();
        roots.dedup();
        let mut beside = Vec::new();
        for root in roots {
            if let Some(object) = find(record, all_of(record), root) {
                leaves(record, object, &mut root.to_vec(), &mut beside);
            }
        }
        beside.retain(|(path, _)| !written.iter().any(|written| path.starts_with(written) || written.starts_with(path)));
        beside
    }

    /// Sends an update again with its objects as they were; the record as it is then.
    fn set_back(&mut self, change: &Change, operation: &HttpWrite, id: &str, before: &str, after: &str) -> Option<String> {
        let operation = HttpWrite { whole_objects: true, ..operation.clone() };
        let mut call = self.call_of(change, &operation, after, id).ok()?.ok()?;
        call.body = self.body(change, &operation, operation.with.as_deref(), &Source { record: Some(before), name: None }).ok()?;
        match self.client.call(&call).ok()? {
            Ended::Reply(reply) if reply.is_fine() => self.get(id, &[]).ok()?,
            Ended::Reply(_) | Ended::Unknown(_) | Ended::Late => None,
        }
    }
}

fn all_of(record: &str) -> Span {
    Span { start: 0, end: record.len() }
}

/// The values below an object that hold something, with their paths. An array is one value.
fn leaves<'r>(record: &'r str, value: Span, path: &mut Vec<PathStep>, found: &mut Vec<(Vec<PathStep>, &'r str)>) {
    let text = value.of(record);
    match Sort::of(text) {
        Sort::Object => {
            for member in members(record, value).unwrap_or_default() {
                let Some(key) = unquoted(member.key.of(record)) else { continue };
                path.push(PathStep::Key(key.into_owned()));
                leaves(record, member.value, path, found);
                path.pop();
            }
        }
        Sort::Null => {}
        _ if matches!(text, "\"\"" | "[]") => {}
        _ => found.push((path.clone(), text)),
    }
}

/// The first of these values that is not there any more.
fn first_gone<'b>(beside: &'b [(Vec<PathStep>, &'b str)], after: &str) -> Option<(&'b [PathStep], &'b str)> {
    let is_gone = |path: &[PathStep]| find(after, all_of(after), path).is_none_or(|now| matches!(now.of(after), "null" | "\"\"" | "[]"));
    beside.iter().find(|(path, _)| is_gone(path)).map(|(path, value)| (path.as_slice(), *value))
}
