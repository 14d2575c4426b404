//! Several changes with one call.
//!
//! # Words
//! An *element* is what the body of a call holds for one change, and what the answer says about one. An element of an answer *belongs*
//! to a change by its place, by an id, by a name of our own or by a value that is in both.
//!
//! # Design
//! - A change is only done if the answer says so about it alone and once. What the answer leaves out or names twice is unknown, and so
//!   is everything in a call whose answer speaks of a record that was not in it: it is an answer to something else.
//! - Records are read before each call, as before a single one; what no longer holds the values that its change expects is left out.
//! - A refused call is halved until what is at fault is alone. Where the API may have done a part of what it refuses, what was sent before is read
//!   again first: it was done, or it is as it was and can be sent once more. A create cannot be looked at like that, and is unknown.
//! - A call that broke is treated as one that may have been done in part.
//! - No two changes of one record are in one call, because an API may make them in any order.

use std::time::Instant;

use hashbrown::{HashMap, HashSet};

use super::client::{Call, Ended, Reply};
use super::wire::whole;
use super::write::{Current, JSON, SENDS_MAX, Seen, Source, operation_of, outcome_of};
use super::{HttpApi, NOTHING};
use crate::change::{Action, Change, Outcome};
use crate::error::{Error, Remedy};
use crate::job::{HttpBatch, HttpBy, HttpWrite, PathStep};
use crate::systems::batch::{Answer, send};
use crate::systems::json::edit::with_values;
use crate::systems::json::read::{Cell, cell, find, items};
use crate::systems::json::scan::{Sort, Span};

/// A change that is ready to be sent.
struct Ready<'c> {
    /// Where it is in the part.
    place: usize,
    change: &'c Change,
    id: Option<String>,
    /// What an element of the answer must hold to belong to it.
    mark: Option<String>,
    item: String,
}

/// What is known of the changes of one set that are sent together.
struct Sent {
    /// Those that were in a call that may have been made.
    changes: HashSet<usize>,
    /// Why nothing more can be sent.
    failure: Option<Error>,
}

/// How many changes from the first on can be in one call: the same action, each record once.
pub(super) fn together(changes: &[Change], size: usize) -> usize {
    let (mut records, mut count) = (HashSet::new(), 0);
    for change in changes.iter().take(size.max(1)) {
        if change.action != changes[0].action || !records.insert((change.record, identity(change))) {
            break;
        }
        count += 1;
    }
    count.max(1)
}

/// What a change addresses; for a create, which has no address, its key.
fn identity(change: &Change) -> Vec<(&str, Option<&str>)> {
    match change.address.as_slice() {
        [] => vec![("", Some(&change.key))],
        address => address.iter().map(|part| (part.column.as_str(), part.raw.text.as_deref())).collect(),
    }
}

impl HttpApi {
    /// Makes changes of one action with as few calls as the API lets us; one outcome for each. What ends the whole set is put into `failure`.
    ///
    /// # Errors
    /// None of them was made.
    pub(super) fn make_together(
        &mut self,
        changes: &[Change],
        operation: &HttpWrite,
        batch: &HttpBatch,
        borne: usize,
        current: &mut Current,
        failure: &mut Option<Error>,
    ) -> Result<Vec<Outcome>, Error> {
        let number_of: HashMap<*const Change, usize> = changes.iter().enumerate().map(|(number, change)| (std::ptr::from_ref(change), number)).collect();
        let mut sent = Sent { changes: HashSet::new(), failure: None };
        let outcomes = send(changes, borne, &mut |part, _| {
            let numbers: Vec<usize> = part.iter().map(|change| number_of.get(&std::ptr::from_ref(*change)).copied().unwrap_or_default()).collect();
            self.part(part, &numbers, operation, batch, current, &mut sent)
        });
        *failure = sent.failure;
        match outcomes {
            Ok(outcomes) => Ok(outcomes),
            Err(error) => {
                *failure = Some(error);
                let reason = failure.as_ref().map(|error| error.headline().to_owned()).unwrap_or_default();
                Ok(changes.iter().map(|_| Outcome::Skipped { reason: reason.clone() }).collect())
            }
        }
    }

    /// Makes some changes with one call, or finds out what became of them.
    fn part(
        &mut self,
        part: &[&Change],
        numbers: &[usize],
        operation: &HttpWrite,
        batch: &HttpBatch,
        current: &mut Current,
        sent: &mut Sent,
    ) -> Result<Answer, Error> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; part.len()];
        let mut broke: Option<String> = None;
        if let Some(error) = &sent.failure {
            let reason = format!("it was not sent: {}", error.headline());
            return Ok(Answer::Each(part.iter().map(|_| Outcome::Skipped { reason: reason.clone() }).collect()));
        }
        let compares = self.compares(batch.item.as_deref().or(operation.with.as_deref()));
        let mut calls = 0;
        loop {
            let mut ready = Vec::new();
            // What has to be waited for is waited for before the look.
            let (requests, is_create) = (self.client.requests, part[0].action == Action::Create);
            if !is_create {
                self.client.reserve(self.look_calls + 1);
            }
            for (place, change) in part.iter().enumerate().filter(|(place, _)| outcomes[*place].is_none()).collect::<Vec<_>>() {
                match self.ready(place, change, operation, batch, current, sent.changes.contains(&numbers[place])) {
                    Ok(Ok(one)) => ready.push(one),
                    Ok(Err(outcome)) => outcomes[place] = Some(outcome),
                    Err(error) => return settled(outcomes, numbers, sent, error, broke),
                }
            }
            let looked = Instant::now();
            if !is_create {
                self.look_calls = (self.client.requests - requests).max(1);
            }
            if let (Some(why), true) = (&broke, calls >= SENDS_MAX) {
                ready.iter().for_each(|one| outcomes[one.place] = Some(Outcome::Unknown { reason: why.clone() }));
                ready.clear();
            }
            if ready.is_empty() {
                break;
            }
            let (call, is_harmless) = match self.call_together(&ready, operation, batch) {
                Ok((call, is_harmless)) => (Call { looked: (!is_create && !compares).then_some(looked), ..call }, is_harmless),
                Err(error) => return settled(outcomes, numbers, sent, error, broke),
            };
            // What was written is no longer what was listed.
            current.listing = None;
            calls += 1;
            let reply = match self.client.call(&call) {
                Err(error) => return settled(outcomes, numbers, sent, error, broke),
                Ok(Ended::Late) => {
                    calls -= 1;
                    continue;
                }
                Ok(Ended::Unknown(why)) => {
                    sent.changes.extend(ready.iter().map(|one| numbers[one.place]));
                    if is_create {
                        ready.iter().for_each(|one| outcomes[one.place] = Some(Outcome::Unknown { reason: why.clone() }));
                        break;
                    }
                    broke = Some(why);
                    continue;
                }
                Ok(Ended::Reply(reply)) => reply,
            };
            if let 401 | 403 = reply.status {
                let error = self.refused(&reply, &batch.path).seen(NOTHING);
                return settled(outcomes, numbers, sent, error, broke);
            }
            if matches!(reply.status, 300..=399 | 405) || (reply.status == 404 && is_create) {
                let error = self.not_taken(&batch.path, &reply);
                return settled(outcomes, numbers, sent, error, broke);
            }
            let errors = self.errors_in(&reply, operation.errors.as_ref());
            if reply.is_fine() && errors.is_none() {
                for (one, outcome) in ready.iter().zip(self.answers(&ready, batch, &reply)) {
                    if let (Outcome::Done { .. }, Some(id)) = (&outcome, &one.id) {
                        // Its version is one of ours now.
                        self.versions.remove(id);
                    }
                    outcomes[one.place] = Some(outcome);
                }
                break;
            }
            let reason = errors.unwrap_or_else(|| self.told(&reply));
            if !batch.atomic {
                sent.changes.extend(ready.iter().map(|one| numbers[one.place]));
            }
            match ready.as_slice() {
                [one] => match outcome_of(if reply.is_fine() { 422 } else { reply.status }, is_create, reason) {
                    Outcome::Rejected { reason } if part.len() == 1 => return Ok(Answer::Refused(reason)),
                    outcome => outcomes[one.place] = Some(outcome),
                },
                _ if is_create && !batch.atomic && !(is_harmless && operation.upsert) => {
                    let reason = format!("the call with {} records was refused, and some of it may have been done: {reason}", ready.len());
                    ready.iter().for_each(|one| outcomes[one.place] = Some(Outcome::Unknown { reason: reason.clone() }));
                }
                _ => return Ok(Answer::Refused(reason)),
            }
            break;
        }
        let lost = || Outcome::Unknown { reason: "nobody knows what became of it".to_owned() };
        Ok(Answer::Each(outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(lost)).collect()))
    }

    /// A change with all that its call needs, or what has become of it already. An error means that nothing is known of it.
    fn ready<'c>(
        &mut self,
        place: usize,
        change: &'c Change,
        operation: &HttpWrite,
        batch: &HttpBatch,
        current: &mut Current,
        was_sent: bool,
    ) -> Result<Result<Ready<'c>, Outcome>, Error> {
        let name = format!("{}", place + 1);
        let mut record = None;
        if change.action != Action::Create {
            let now = match self.current(change, current)? {
                Seen::Record(now) => now,
                // It is gone, as it should be.
                Seen::Outcome(Outcome::Stale { .. }) if was_sent && change.action == Action::Delete => {
                    return Ok(Err(Outcome::Done { answer: Vec::new(), id: None }));
                }
                Seen::Outcome(outcome) => return Ok(Err(outcome)),
            };
            if was_sent && change.action != Action::Delete && self.is_made(&now, change) {
                return Ok(Err(Outcome::Done { answer: self.answer_of(&now, change), id: None }));
            }
            if let Some(stale) = self.moved(&now, change) {
                // Nobody else can be told from us there.
                let is_ours = was_sent && change.action != Action::Delete;
                return Ok(Err(if is_ours {
                    Outcome::Unknown { reason: "it was sent, and the record is neither as it was nor as it should be".to_owned() }
                } else {
                    stale
                }));
            }
            record = Some(now);
        }
        let id = match &record {
            Some(record) => match self.id_of(record) {
                Some(id) => Some(id),
                None => return Ok(Err(Outcome::Rejected { reason: "the record has no id".to_owned() })),
            },
            None => None,
        };
        let source = Source { record: record.as_deref(), name: Some(&name) };
        let item = match self.body(change, operation, batch.item.as_deref(), &source) {
            Ok(body) => body.map_or_else(|| "{}".to_owned(), |(_, body)| body),
            Err(outcome) => return Ok(Err(outcome)),
        };
        let mark = match &batch.by {
            HttpBy::Place | HttpBy::All => None,
            HttpBy::Id => id.clone(),
            HttpBy::Name => Some(name.clone()),
            HttpBy::Column(column) => {
                let sent = change.cells.iter().find(|cell| cell.column == *column && change.action != Action::Delete);
                let value = match (sent, &record) {
                    (Some(cell), _) => cell.after_raw.text.clone(),
                    (None, Some(record)) => self.text_at(record, column).and_then(|raw| raw.text),
                    (None, None) => None,
                };
                if value.is_none() {
                    return Ok(Err(Outcome::Rejected { reason: format!("the record has no `{column}`, and the answer could not be told from others") }));
                }
                value
            }
        };
        Ok(Ok(Ready { place, change, id, mark, item }))
    }

    /// The call of these changes, and whether it can be made twice.
    fn call_together(&self, ready: &[Ready<'_>], operation: &HttpWrite, batch: &HttpBatch) -> Result<(Call, bool), Error> {
        let mut array = String::with_capacity(ready.iter().map(|one| one.item.len() + 1).sum::<usize>() + 2);
        array.push('[');
        for (number, one) in ready.iter().enumerate() {
            if number > 0 {
                array.push(',');
            }
            array.push_str(&one.item);
        }
        array.push(']');
        let body = with_values(batch.with.as_deref().unwrap_or("{}"), &[(batch.items.clone(), array)], &[])
            .map_err(|why| self.client.error(Remedy::MendJob, &batch.path, format!("the body of a call of system `{}` cannot be made: {why}", self.system)))?;
        let mut headers = Vec::new();
        let is_create = ready[0].change.action == Action::Create;
        if let (Some(header), true) = (&self.settings.idempotency, is_create) {
            headers.push((header.clone(), self.key_of(&ready.iter().map(|one| one.change).collect::<Vec<_>>())));
        }
        let is_harmless = is_create && (operation.upsert || !headers.is_empty());
        let url = self.client.url(&batch.path)?;
        let call = Call {
            operation: operation_of(ready[0].change.action),
            method: batch.method.clone(),
            url,
            body: Some((JSON, body)),
            headers,
            is_harmless,
            changes: true,
            looked: None,
        };
        Ok((call, is_harmless))
    }

    /// What an answer says about each of the changes.
    fn answers(&self, ready: &[Ready<'_>], batch: &HttpBatch, reply: &Reply) -> Vec<Outcome> {
        if batch.by == HttpBy::All {
            return ready.iter().map(|_| Outcome::Done { answer: Vec::new(), id: None }).collect();
        }
        self.told_apart(ready, batch, reply)
            .unwrap_or_else(|why| ready.iter().map(|_| Outcome::Unknown { reason: format!("the answer cannot be told apart: {why}") }).collect())
    }

    fn told_apart(&self, ready: &[Ready<'_>], batch: &HttpBatch, reply: &Reply) -> Result<Vec<Outcome>, String> {
        let text = reply.text.strip_prefix('\u{feff}').unwrap_or(&reply.text);
        let whole = whole(text).ok_or_else(|| "it is no JSON".to_owned())?;
        let mut elements = Vec::new();
        let mut has_array = false;
        for path in &batch.answers {
            let there = find(text, whole, path).filter(|there| Sort::of(there.of(text)) == Sort::Array);
            has_array |= there.is_some();
            elements.extend(there.and_then(|there| items(text, there).ok()).unwrap_or_default());
        }
        let mut failures = Vec::new();
        if let Some((path, at)) = &batch.failures {
            let there = find(text, whole, path).filter(|there| Sort::of(there.of(text)) == Sort::Array);
            has_array |= there.is_some();
            failures.extend(there.and_then(|there| items(text, there).ok()).unwrap_or_default().into_iter().map(|failure| (failure, at)));
        }
        if !has_array {
            return Err("the array that says what became of each is missing".to_owned());
        }
        // For each change the elements that belong to it, and whether they are failures.
        let mut belonging: Vec<Vec<(Span, bool)>> = vec![Vec::new(); ready.len()];
        let mut rest: Option<String> = None;
        if batch.by == HttpBy::Place {
            if elements.len() != ready.len() {
                return Err(format!("{} records were sent, and it has {} elements", ready.len(), elements.len()));
            }
            belonging.iter_mut().zip(&elements).for_each(|(belonging, element)| belonging.push((*element, false)));
        } else {
            let mut by_mark: HashMap<&str, usize> = HashMap::new();
            for (number, one) in ready.iter().enumerate() {
                if by_mark.insert(one.mark.as_deref().unwrap_or_default(), number).is_some() {
                    return Err("two records were sent that it calls the same".to_owned());
                }
            }
            let wanted =
                elements.iter().map(|element| (*element, false, batch.at.as_ref())).chain(failures.iter().map(|(failure, at)| (*failure, true, Some(*at))));
            for (element, is_failure, at) in wanted {
                let marks = self.marks(text, element, batch, at);
                if marks.is_empty() && is_failure {
                    rest = rest.or_else(|| self.errors_at(text, element, &[]));
                } else if marks.is_empty() {
                    return Err("an element does not say what it belongs to".to_owned());
                }
                for mark in marks {
                    let number = by_mark.get(mark.as_str()).ok_or_else(|| "it speaks of a record that was not sent".to_owned())?;
                    belonging[*number].push((element, is_failure));
                }
            }
        }
        let mut outcomes = Vec::with_capacity(ready.len());
        for (one, belonging) in ready.iter().zip(&belonging) {
            outcomes.push(match belonging.as_slice() {
                [] => Outcome::Unknown {
                    reason: match &rest {
                        Some(words) => format!("the answer says nothing about this record, and of others: {words}"),
                        None => "the answer says nothing about this record".to_owned(),
                    },
                },
                [(element, true)] => {
                    Outcome::Rejected { reason: self.errors_at(text, *element, &[]).unwrap_or_else(|| "the API says that it failed".to_owned()) }
                }
                [(element, false)] => self.said_of(one, batch, text, *element)?,
                _ => Outcome::Unknown { reason: "the answer speaks of this record twice".to_owned() },
            });
        }
        // One record cannot have been made by two creates.
        let mut ids: HashMap<String, usize> = HashMap::new();
        for outcome in &outcomes {
            if let Outcome::Done { id: Some(id), .. } = outcome {
                *ids.entry(id.clone()).or_default() += 1;
            }
        }
        for outcome in &mut outcomes {
            if let Outcome::Done { id: Some(id), .. } = outcome
                && ids.get(id).is_some_and(|count| *count > 1)
            {
                *outcome = Outcome::Unknown { reason: "the answer gives several new records the same id".to_owned() };
            }
        }
        Ok(outcomes)
    }

    /// By what an element of an answer belongs to changes.
    fn marks(&self, text: &str, element: Span, batch: &HttpBatch, at: Option<&Vec<PathStep>>) -> Vec<String> {
        let record = || find(text, element, &batch.record);
        let there = match (at, &batch.by) {
            (Some(at), _) => find(text, element, at),
            (None, HttpBy::Column(column)) => self.required.iter().find(|wanted| wanted.name == *column).and_then(|wanted| find(text, record()?, &wanted.path)),
            (None, _) => self.id.as_ref().and_then(|(_, path)| find(text, record()?, path)),
        };
        let mark_of = |span: Span| match cell(span.of(text), false) {
            Cell::Text(mark, _) => Some(mark),
            Cell::Absent | Cell::Null | Cell::Fault(_) => None,
        };
        match there {
            None => Vec::new(),
            Some(array) if Sort::of(array.of(text)) == Sort::Array => items(text, array).unwrap_or_default().into_iter().filter_map(mark_of).collect(),
            Some(one) => mark_of(one).into_iter().collect(),
        }
    }

    /// What an element of an answer says about its change. An error means that it belongs to another one.
    fn said_of(&self, one: &Ready<'_>, batch: &HttpBatch, text: &str, element: Span) -> Result<Outcome, String> {
        let is_create = one.change.action == Action::Create;
        let errors = batch.errors.as_ref().and_then(|path| self.errors_at(text, element, path));
        let status = batch.status.as_ref().and_then(|path| find(text, element, path)).and_then(|status| match cell(status.of(text), false) {
            Cell::Text(status, _) => status.parse::<u16>().ok(),
            Cell::Absent | Cell::Null | Cell::Fault(_) => None,
        });
        let words = || errors.clone().or_else(|| self.errors_at(text, element, &[])).unwrap_or_default();
        if let Some(status) = status.filter(|status| !(200..300).contains(status)) {
            return Ok(match status {
                429 => Outcome::Skipped { reason: format!("the API is busy: {}", words()) },
                status => outcome_of(status, is_create, format!("status {status}: {}", words())),
            });
        }
        if batch.status.is_some() && status.is_none() {
            return Ok(Outcome::Unknown { reason: "the answer has no status for this record".to_owned() });
        }
        if let Some(reason) = errors {
            return Ok(Outcome::Rejected { reason });
        }
        let record = find(text, element, &batch.record);
        let shown = record.filter(|record| Sort::of(record.of(text)) == Sort::Object).and_then(|record| self.id_of(record.of(text)));
        if let (Some(ours), Some(shown)) = (&one.id, shown)
            && *ours != shown
        {
            return Err("it shows another record in the place of ours".to_owned());
        }
        Ok(self.done(one.change, text, element, &batch.record, batch.id.as_deref()))
    }
}

/// What became of a part that an error ended: an error if nothing of it was sent.
fn settled(outcomes: Vec<Option<Outcome>>, numbers: &[usize], sent: &mut Sent, error: Error, broke: Option<String>) -> Result<Answer, Error> {
    let is_sent = |number: &usize| sent.changes.contains(number);
    if !numbers.iter().any(is_sent) && outcomes.iter().all(Option::is_none) {
        return Err(error);
    }
    let of = |(outcome, number): (Option<Outcome>, &usize)| {
        outcome.unwrap_or_else(|| match is_sent(number) {
            true => Outcome::Unknown { reason: broke.clone().unwrap_or_else(|| error.headline().to_owned()) },
            false => Outcome::Skipped { reason: error.headline().to_owned() },
        })
    };
    let outcomes = outcomes.into_iter().zip(numbers).map(of).collect();
    sent.failure = Some(error);
    Ok(Answer::Each(outcomes))
}
