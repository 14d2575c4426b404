//! A listing read page by page, and one record read by its id.
//!
//! # Design
//! A cursor that comes twice, or a page that begins with a record with which an earlier one began, is an endless loop: a parameter that
//! the API does not know is ignored by it, and every page is the first.

use std::borrow::Cow;

use hashbrown::{HashMap, HashSet};
use url::Url;

use super::client::{Call, Client, Ended, Reply, is_nothing};
use super::wire::whole;
use super::{HttpApi, NOTHING};
use crate::error::{Error, Remedy};
use crate::job::{HttpFormat, HttpMeaning, HttpOperation, HttpPage, HttpParameter, PathStep, spell_path};
use crate::reconcile::gates::count;
use crate::systems::json::read::{Elements, NoElements, elements_of_array, elements_of_lines, find};
use crate::systems::json::scan::{Scanner, Sort, Span, quoted, unquoted};

/// How often a list is read whose records change their pages.
const READINGS_MAX: u32 = 3;

/// A listing that can no longer be told apart by its rows' numbers.
const RECORDS_MAX: usize = u32::MAX as usize - 1;

/// All records of a listing, one after the other.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub text: String,
    pub spans: Vec<Span>,
    /// Elements that are no records, each with the reason.
    pub refused: Vec<(Span, String)>,
    /// How many records the API announced.
    pub total: Option<u64>,
    /// Whether there are pages that were not read.
    pub has_more: bool,
    pub notes: Vec<String>,
}

impl Listing {
    /// Adds one element.
    pub fn add(&mut self, record: &str) -> Span {
        let start = self.text.len();
        self.text.push_str(record);
        let span = Span { start, end: self.text.len() };
        self.text.push('\n');
        self.spans.push(span);
        span
    }
}

/// So many seconds as people say it.
fn seconds_in_words(seconds: u64) -> String {
    let (number, unit) = match seconds {
        0..=119 => (seconds, "second"),
        120..=7199 => (seconds.div_ceil(60), "minute"),
        _ => (seconds.div_ceil(3600), "hour"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

/// Where the next page is.
enum Next {
    None,
    /// This value in the parameter of the page.
    Value(String),
    At(Url),
}

impl HttpApi {
    /// All records. A list whose records change their pages while it is read, and which does not say how many there are, is read anew:
    /// of the records that moved to a page that was read before, nothing would be known.
    ///
    /// # Errors
    /// What stops a listing; `GiveAccess` if the records move each time.
    pub(super) fn list(&mut self) -> Result<Listing, Error> {
        for _ in 0..READINGS_MAX {
            let (listing, has_moved) = self.list_once(None)?;
            if !has_moved {
                return Ok(listing);
            }
        }
        let path = self.settings.list.path.clone();
        Err(self
            .client
            .error(Remedy::GiveAccess, &path, format!("the list of system `{}` is edited while it is read, and records change their pages", self.system))
            .seen(format!("it was read {READINGS_MAX} times"))
            .seen(NOTHING)
            .hint("ask for an order that edits do not change, such as by id, or say with `total` how many records there are"))
    }

    /// The records of the first page, with a note about what all pages would cost.
    ///
    /// # Errors
    /// What stops a listing.
    pub(super) fn first_page(&mut self) -> Result<Listing, Error> {
        let (mut listing, _) = self.list_once(Some(1))?;
        if listing.has_more {
            let note = self.cost(listing.spans.len() as u64, listing.total);
            listing.notes.push(note);
        }
        Ok(listing)
    }

    /// What a full pull costs, if the first of several pages has so many records.
    fn cost(&self, per_page: u64, total: Option<u64>) -> String {
        let limits = &self.settings.limits;
        let Some(total) = total else {
            let rate = limits.rate.map(|(calls, seconds)| format!(", at most {calls} calls in {}", seconds_in_words(u64::from(seconds)))).unwrap_or_default();
            return format!("there are more pages, and the API does not say how many: a full pull is one call for each {per_page} records{rate}");
        };
        let calls = total.div_ceil(per_page.max(1));
        let pace = limits.rate.map(|(at_once, seconds)| {
            let waited = (calls.saturating_sub(1) / u64::from(at_once.max(1))) * u64::from(seconds);
            format!("; `rate` lets them through in {} or more", seconds_in_words(waited.max(1)))
        });
        let budget = limits.calls_max.filter(|most| u64::from(*most) < calls).map(|most| format!("; `calls_max` allows {most} a run: a run would stop"));
        format!(
            "a full pull of {} records is {} calls, with {per_page} records a page{}{}",
            count(total),
            count(calls),
            pace.unwrap_or_default(),
            budget.unwrap_or_default()
        )
    }

    /// All records, or those of so many pages, read once, and whether some may be missing because others changed their pages.
    fn list_once(&mut self, pages: Option<u32>) -> Result<(Listing, bool), Error> {
        let list = self.settings.list.clone();
        let first = self.client.url(&list.path)?;
        let mut listing = Listing::default();
        let mut seen: HashSet<String> = HashSet::new();
        // By id the page on which a record was, and its place.
        let mut places: HashMap<String, (u32, usize)> = HashMap::new();
        let mut superseded: HashSet<usize> = HashSet::new();
        let mut next = match &list.page {
            HttpPage::Number(_, number) => Next::Value(number.to_string()),
            HttpPage::Offset(_) => Next::Value("0".to_owned()),
            _ => Next::None,
        };
        let mut address = first.clone();
        let mut page = 0;
        // How many records the last page had, and how many are left, if that is known.
        let (mut per_page, mut left) = (0, None);
        self.client.forget_ahead();
        let requests = self.client.requests;
        loop {
            page += 1;
            if page > list.pages_max {
                return Err(self
                    .client
                    .error(Remedy::MendJob, &list.path, format!("system `{}` has more than {} pages", self.system, list.pages_max))
                    .seen(NOTHING)
                    .hint("raise `pages_max` under its `page`, or ask for larger pages"));
            }
            let call = self.call_of_page(&address, &first, &next)?;
            let upcoming = if pages.is_some() { Vec::new() } else { self.upcoming(&first, &next, page, per_page, left) };
            let reply = self.read_page(&call, upcoming, &list.path).map_err(|error| if page > 1 { refused_in_the_middle(error, page) } else { error })?;
            if reply.means == Some(HttpMeaning::Gone) {
                // A total that was not reached is told by whoever compares it.
                break;
            }
            self.no_errors(&reply, &list.path)?;
            let before = listing.spans.len();
            let text = reply.text.strip_prefix('\u{feff}').unwrap_or(&reply.text);
            let unfolded = self.unfolded(&reply, text)?;
            let text = unfolded.as_ref();
            let found = match list.format {
                HttpFormat::Lines => elements_of_lines(text).map_err(|why| self.no_records(&reply, text, why))?,
                HttpFormat::Json | HttpFormat::Csv(_) => elements_of_array(text, &list.records).map_err(|why| self.no_records(&reply, text, why))?,
            };
            for (element, problem) in in_order(&found) {
                if let Some(problem) = problem {
                    let span = listing.add(element.of(text));
                    listing.refused.push((span, problem.clone()));
                    continue;
                }
                let record = if list.unwrap.is_empty() { Some(*element) } else { find(text, *element, &list.unwrap) };
                let span = listing.add(record.unwrap_or(*element).of(text));
                if record.is_none() {
                    listing.refused.push((span, format!("has no `{}`", spell_path(&list.unwrap, false))));
                } else if Sort::of(span.of(&listing.text)) != Sort::Object {
                    listing.refused.push((span, format!("is {}, and a record is an object", Sort::of(span.of(&listing.text)).words())));
                } else if let Some(id) = self.id_of(span.of(&listing.text)) {
                    let place = listing.spans.len() - 1;
                    match places.get(&id) {
                        // Two on one page are two records with one id, which a person must see.
                        Some((earlier, _)) if *earlier == page => {}
                        Some((_, earlier)) => {
                            superseded.insert(*earlier);
                            places.insert(id, (page, place));
                        }
                        None => {
                            places.insert(id, (page, place));
                        }
                    }
                }
            }
            if listing.spans.len() > RECORDS_MAX {
                return Err(self.client.error(Remedy::Look, &list.path, "the list has more records than one snapshot holds".to_owned()).seen(NOTHING));
            }
            let total = match (&list.total, &list.total_header) {
                (Some(path), _) => Some(whole(text).and_then(|value| find(text, value, path)).map(|there| there.of(text).trim_matches('"').to_owned())),
                // `Content-Range` tells the part as well: `0-99/3500`.
                (None, Some(header)) => Some(reply.header(header).map(|said| said.rsplit('/').next().unwrap_or(said).to_owned())),
                (None, None) => None,
            };
            if let Some(total) = total {
                let number = total.as_deref().and_then(|total| total.trim().parse().ok());
                if number.is_none() {
                    return Err(self
                        .client
                        .error(Remedy::MendJob, &list.path, format!("system `{}` does not say how many records there are", self.system))
                        .seen(match total {
                            Some(total) => format!("`{}` stands where the total should be", self.client.clean(&total)),
                            None => "there is nothing where the total should be".to_owned(),
                        })
                        .seen(NOTHING)
                        .hint("correct `total` or `total_header` of its `list`"));
                }
                // Records that are removed while pages are read move others onto pages that were read: then the count tells.
                listing.total = listing.total.max(number);
            }
            let count = listing.spans.len() - before;
            let begins = listing.spans.get(before).map(|span| span.of(&listing.text)).map(|record| self.id_of(record).unwrap_or_else(|| record.to_owned()));
            (per_page, left) = (count, listing.total.map(|total| total.saturating_sub((listing.spans.len() - superseded.len()) as u64)));
            let reached = listing.total.is_some_and(|total| (listing.spans.len() - superseded.len()) as u64 >= total);
            next =
                self.next_page(&call.url, &reply, text, page, listing.spans.len(), count, reached, listing.spans.last().map(|span| span.of(&listing.text)))?;
            let mark = match (&list.page, &next) {
                (HttpPage::Cursor(..) | HttpPage::Next(_) | HttpPage::Link, Next::Value(value)) => Some(value.clone()),
                (HttpPage::Cursor(..) | HttpPage::Next(_) | HttpPage::Link, Next::At(url)) => Some(url.to_string()),
                (HttpPage::Number(..) | HttpPage::Offset(_) | HttpPage::LastId(_), _) => begins,
                _ => None,
            };
            if let Some(mark) = mark
                && !seen.insert(mark)
            {
                let (what, hint) = match list.page {
                    HttpPage::Cursor(..) => ("the cursor of this page came before", "look whether `cursor` and `param` are right"),
                    HttpPage::Next(_) | HttpPage::Link => ("the address of the next page came before", "look at what the API answers"),
                    _ => (
                        "the page begins with a record with which an earlier page began",
                        "look whether the parameter of its `page` is right: an API ignores one that it does not know",
                    ),
                };
                return Err(self
                    .client
                    .error(Remedy::MendJob, &list.path, format!("the pages of system `{}` go round in a circle", self.system))
                    .seen(format!("page {page}: {what}"))
                    .seen(NOTHING)
                    .hint(hint));
            }
            if pages == Some(page) && !matches!(next, Next::None) {
                listing.has_more = true;
                break;
            }
            match &next {
                Next::None => break,
                Next::At(url) => address = url.clone(),
                Next::Value(_) => {}
            }
        }
        self.client.forget_ahead();
        let has_moved = !superseded.is_empty() && listing.total.is_none() && matches!(list.page, HttpPage::Number(..) | HttpPage::Offset(_));
        if !superseded.is_empty() {
            let count = superseded.len();
            let were = if count == 1 { "record came" } else { "records came" };
            listing.notes.push(format!("{count} {were} on two pages, because the list was edited while it was read: taken once, as read last"));
            let starts: HashSet<usize> = superseded.iter().map(|place| listing.spans[*place].start).collect();
            listing.spans.retain(|span| !starts.contains(&span.start));
        }
        let calls = self.client.requests - requests;
        if self.known.is_empty() && !listing.has_more {
            let per_page = listing.spans.len().div_ceil(page as usize);
            listing.notes.push(format!("a full pull is {calls} {}, with {per_page} records a page", if calls == 1 { "call" } else { "calls" }));
        }
        Ok((listing, has_moved))
    }

    /// The calls of the pages behind the next one, as far as they can be guessed: each page has as many records as the last one.
    fn upcoming(&self, first: &Url, next: &Next, page: u32, per_page: usize, left: Option<u64>) -> Vec<Call> {
        let list = &self.settings.list;
        let (Next::Value(value), HttpPage::Number(..) | HttpPage::Offset(_)) = (next, &list.page) else { return Vec::new() };
        let (Ok(value), true) = (value.parse::<u64>(), per_page > 0) else { return Vec::new() };
        let step = if matches!(list.page, HttpPage::Offset(_)) { per_page as u64 } else { 1 };
        let further = left.map_or(u64::MAX, |left| left.div_ceil(per_page as u64).saturating_sub(1));
        let further = further.min(u64::from(self.settings.limits.at_once) - 1).min(u64::from(list.pages_max - page));
        (1..=further).filter_map(|place| self.call_of_page(first, first, &Next::Value((value + place * step).to_string())).ok()).collect()
    }

    fn call_of_page(&self, address: &Url, first: &Url, next: &Next) -> Result<Call, Error> {
        let list = &self.settings.list;
        let mut url = address.clone();
        let mut body = self.client.list_body.clone();
        if !matches!(next, Next::At(_)) {
            url = first.clone();
            if !self.client.list_query.is_empty() {
                url.query_pairs_mut().extend_pairs(&self.client.list_query);
            }
        }
        let parameter = match &list.page {
            HttpPage::Number(parameter, _) | HttpPage::Offset(parameter) | HttpPage::Cursor(_, parameter) | HttpPage::LastId(parameter) => Some(parameter),
            HttpPage::Single | HttpPage::Next(_) | HttpPage::Link => None,
        };
        if let (Some(parameter), Next::Value(value)) = (parameter, next) {
            match parameter {
                HttpParameter::Query(name) => {
                    let kept: Vec<(String, String)> =
                        url.query_pairs().filter(|(key, _)| key != name).map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
                    url.query_pairs_mut().clear().extend_pairs(kept).append_pair(name, value);
                }
                HttpParameter::Body(path) => {
                    let is_number = matches!(list.page, HttpPage::Number(..) | HttpPage::Offset(_));
                    let value = if is_number { value.parse::<u64>().map_or(serde_json::Value::Null, Into::into) } else { value.as_str().into() };
                    body = body.map(|body| put(&body, path, value));
                }
            }
        }
        Ok(Call {
            operation: HttpOperation::List,
            method: list.method.clone(),
            url,
            body: body.map(|body| ("application/json", body)),
            headers: if list.format == HttpFormat::Json { Vec::new() } else { vec![("accept".to_owned(), "*/*".to_owned())] },
            is_harmless: true,
            changes: false,
            looked: None,
        })
    }

    #[allow(clippy::too_many_arguments)]
    fn next_page(
        &self,
        from: &Url,
        reply: &Reply,
        text: &str,
        page: u32,
        records: usize,
        count: usize,
        reached: bool,
        last: Option<&str>,
    ) -> Result<Next, Error> {
        let list = &self.settings.list;
        let at = |path: &[PathStep]| whole(text).and_then(|value| find(text, value, path)).map(|there| there.of(text));
        let scalar = |value: &str| match Sort::of(value) {
            Sort::Text => unquoted(value).map(|text| text.into_owned()).filter(|text| !text.is_empty()),
            Sort::Number => Some(value.to_owned()),
            _ => None,
        };
        let more = match &list.more {
            None => None,
            Some(path) => match at(path) {
                Some("true") => Some(true),
                Some("false") => Some(false),
                other => {
                    return Err(self
                        .client
                        .error(Remedy::MendJob, &list.path, format!("system `{}` does not say whether there are more pages", self.system))
                        .seen(format!(
                            "page {page} has {} at `${}`",
                            other.map_or("nothing".to_owned(), |value| self.client.clean(value)),
                            spell_path(path, true)
                        ))
                        .seen(NOTHING)
                        .hint("correct `more` of its `page`: it must lead to `true` or `false`"));
                }
            },
        };
        if more == Some(false) {
            return Ok(Next::None);
        }
        // What says that there is more, and gives no way there, would lose the rest.
        let lost = |what: &str| {
            self.client
                .error(Remedy::Look, &list.path, format!("system `{}` says that there are more pages, and page {page} {what}", self.system))
                .seen(NOTHING)
        };
        // What is no text and no number leads nowhere, and is not the end either.
        if let HttpPage::Cursor(path, _) | HttpPage::Next(path) = &list.page
            && let Some(value) = at(path).filter(|value| matches!(Sort::of(value), Sort::Object | Sort::Array) || *value == "true")
        {
            let message = format!("system `{}` has {} where the way to the next page should be", self.system, Sort::of(value).words());
            return Err(self
                .client
                .error(Remedy::MendJob, &list.path, message)
                .seen(format!("page {page}, at `${}`", spell_path(path, true)))
                .seen(NOTHING)
                .hint("correct `cursor` or `next` of its `page`: it must lead to a text or a number"));
        }
        match &list.page {
            HttpPage::Single => Ok(Next::None),
            HttpPage::Number(..) | HttpPage::Offset(_) | HttpPage::LastId(_) if count == 0 => {
                if more == Some(true) {
                    Err(lost("is empty"))
                } else {
                    Ok(Next::None)
                }
            }
            HttpPage::Number(..) | HttpPage::Offset(_) | HttpPage::LastId(_) if reached && more.is_none() => Ok(Next::None),
            HttpPage::Number(_, first) => Ok(Next::Value((u64::from(*first) + u64::from(page)).to_string())),
            HttpPage::Offset(_) => Ok(Next::Value(records.to_string())),
            HttpPage::LastId(_) => match last.and_then(|record| self.id_of(record)) {
                Some(id) => Ok(Next::Value(id)),
                None => Err(self
                    .client
                    .error(Remedy::Look, &list.path, format!("the last record of page {page} of system `{}` has no id", self.system))
                    .seen(NOTHING)),
            },
            HttpPage::Cursor(path, _) => match at(path).and_then(scalar) {
                Some(cursor) => Ok(Next::Value(cursor)),
                None if more == Some(true) => Err(lost("has no cursor")),
                None => Ok(Next::None),
            },
            HttpPage::Next(path) => match at(path).and_then(scalar) {
                Some(next) => self.client.follow(from, &next).map(Next::At),
                None if more == Some(true) => Err(lost("has no address of the next one")),
                None => Ok(Next::None),
            },
            HttpPage::Link => match reply.headers("link").find_map(next_of_link) {
                Some(next) => self.client.follow(from, &next).map(Next::At),
                None if more == Some(true) => Err(lost("has no address of the next one")),
                None => Ok(Next::None),
            },
        }
    }

    /// A page of the list. That there are no more records is an answer as well.
    fn read_page(&mut self, call: &Call, upcoming: Vec<Call>, path: &str) -> Result<Reply, Error> {
        match self.client.call_with(call, upcoming)? {
            Ended::Reply(reply) if reply.is_fine() || reply.means == Some(HttpMeaning::Gone) => Ok(reply),
            ended => self.fine(ended, path),
        }
    }

    /// The error of an answer that says it is fine and has errors where those of a list stand.
    fn no_errors(&self, reply: &Reply, path: &str) -> Result<(), Error> {
        let Some(words) = self.errors_in(reply, self.settings.list.errors.as_ref()) else { return Ok(()) };
        let error = self.client.error(Remedy::GiveAccess, path, format!("system `{}` answers with errors", self.system));
        Err(error.seen(format!("it says: {words}")).seen(NOTHING))
    }

    /// The text of an answer as JSON.
    fn unfolded<'t>(&self, reply: &Reply, text: &'t str) -> Result<Cow<'t, str>, Error> {
        let HttpFormat::Csv(delimiter) = self.settings.list.format else { return Ok(Cow::Borrowed(text)) };
        let path = &self.settings.list.path;
        if text.trim_start().starts_with('<') {
            return Err(self.no_json(reply, path, "it is a web page"));
        }
        let wrong = |why: String| {
            let beginning: String = self.client.redacted(text).chars().take(80).collect();
            let error = self.client.error(Remedy::Look, path, format!("an answer of system `{}` is no CSV: {}", self.system, self.client.clean(&why)));
            error.seen(format!("it begins with `{}`", self.client.clean(&beginning))).seen(NOTHING)
        };
        array_of_rows(text, delimiter).map(Cow::Owned).map_err(wrong)
    }

    fn no_records(&self, reply: &Reply, text: &str, why: NoElements) -> Error {
        let path = &self.settings.list.path;
        let records = format!("${}", self.settings.list.records.iter().map(|key| format!(".{key}")).collect::<String>());
        let say = |message: String| self.client.error(Remedy::MendJob, path, message);
        let told = |names: &[String]| names.iter().take(30).map(|name| format!("`{}`", self.client.clean(name))).collect::<Vec<_>>().join(", ");
        let hint = format!("correct `records` of the `list` of system `{}`", self.system);
        match why {
            NoElements::Empty => self.no_json(reply, path, "it is empty"),
            NoElements::Problem(problem) => self.no_json(reply, path, problem.why.unwrap_or("it ends within a value")),
            NoElements::Behind { .. } => self.no_json(reply, path, "something stands behind the end of the value"),
            NoElements::NoLine { .. } => self.no_json(reply, path, "no line is a record"),
            NoElements::Twice { key, .. } => self.no_json(reply, path, &format!("the key `{}` stands twice", self.client.clean(&key))),
            NoElements::NoArray { sort, arrays, .. } => {
                let error = say(format!("`{records}` in an answer of system `{}` is {}, not the array of records", self.system, sort.words()));
                let error = if arrays.is_empty() { error } else { error.seen(format!("arrays in it: {}", told(&arrays))) };
                error.seen(NOTHING).hint(hint)
            }
            NoElements::NoKey { key, keys, .. } => {
                let error = say(format!("there is no `{records}` in an answer of system `{}`: `{}` is missing", self.system, self.client.clean(&key)));
                let words = whole(text).and_then(|value| super::wire::said(text, value, 0)).filter(|_| reply.is_fine());
                let error = error.seen(format!("keys there: {}", told(&keys)));
                match words {
                    Some(words) => error.seen(format!("it says: {}", super::wire::shortened(&self.client.redacted(&words)))),
                    None => error,
                }
                .seen(NOTHING)
                .hint(hint)
            }
        }
    }

    /// One record by its id; nothing if there is none. Those of the `upcoming` ids will be asked for next.
    pub(super) fn get(&mut self, id: &str, upcoming: &[String]) -> Result<Option<String>, Error> {
        let Some(get) = self.settings.get.clone() else { return Ok(None) };
        let call_of = |client: &Client, id: &str| {
            let (url, method) = (client.url(&with_id(&get.path, id))?, "GET".to_owned());
            Ok::<_, Error>(Call {
                operation: HttpOperation::Get,
                method,
                url,
                body: None,
                headers: Vec::new(),
                is_harmless: true,
                changes: false,
                looked: None,
            })
        };
        let call = call_of(&self.client, id)?;
        let upcoming = upcoming.iter().take(self.settings.limits.at_once as usize).filter_map(|id| call_of(&self.client, id).ok()).collect();
        let reply = match self.client.call_with(&call, upcoming)? {
            Ended::Reply(reply) if matches!(reply.status, 404 | 410) => return Ok(None),
            Ended::Reply(reply) if reply.is_fine() => reply,
            Ended::Reply(reply) => return Err(self.refused(&reply, &get.path)),
            Ended::Unknown(why) => return Err(self.client.error(Remedy::GiveAccess, &get.path, why)),
            Ended::Late => return Err(self.client.error(Remedy::GiveAccess, &get.path, "the record was not asked for".to_owned())),
        };
        self.no_errors(&reply, &get.path)?;
        let text = reply.text.strip_prefix('\u{feff}').unwrap_or(&reply.text);
        let Some(value) = whole(text) else { return Err(self.no_json(&reply, &get.path, "it cannot be read")) };
        // An API that finds records by their id tells with an empty array or with null that there is none.
        let around = get.record.split_last().and_then(|(last, before)| Some((last, find(text, value, before)?)));
        let is_none = find(text, value, &get.record).is_some_and(|record| record.of(text) == "null")
            || around.is_some_and(|(last, array)| matches!(last, PathStep::Index(_)) && Sort::of(array.of(text)) == Sort::Array && is_nothing(array.of(text)));
        if is_none && !get.record.is_empty() {
            return Ok(None);
        }
        let record = find(text, value, &get.record).filter(|record| Sort::of(record.of(text)) == Sort::Object);
        let Some(record) = record.map(|record| record.of(text).to_owned()) else {
            return Err(self
                .client
                .error(Remedy::MendJob, &get.path, format!("there is no record in an answer of system `{}`", self.system))
                .hint("correct `record` of its `get`"));
        };
        // An API that takes an id for something else answers with another record.
        if self.id_of(&record).as_deref() != Some(id) {
            return Err(self
                .client
                .error(Remedy::Look, &get.path, format!("system `{}` was asked for one record and gave another", self.system))
                .seen(format!("asked for `{}`, got `{}`", self.client.clean(id), self.client.clean(&self.id_of(&record).unwrap_or_default())))
                .hint("look at `get` and `id` of the system"));
        }
        Ok(Some(record))
    }
}

/// The error of a page behind the first. The call is sound, because the pages before it came: what is in the way is with the API.
fn refused_in_the_middle(mut error: Error, page: u32) -> Error {
    if error.remedy == Remedy::MendJob {
        error.remedy = Remedy::GiveAccess;
    }
    let before = page - 1;
    let came = if before == 1 { "the page before it came".to_owned() } else { format!("the {before} pages before it came") };
    let is_about_call = error.diagnostics.last().is_some_and(|last| last.hint.as_deref() == Some(super::CORRECT_CALL));
    let error = error.seen(format!("this was page {page}; {came}"));
    if is_about_call { error.hint("run again; if it is the same page each time, the API leads no further: ask for less at once with `query`") } else { error }
}

/// A path with an id in it.
pub(super) fn with_id(path: &str, id: &str) -> String {
    let mut encoded = String::with_capacity(id.len());
    for byte in id.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => encoded.push(char::from(byte)),
            // A step of points alone would lead to another address.
            b'.' if !id.bytes().all(|byte| byte == b'.') => encoded.push('.'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    path.replace("{id}", &encoded)
}

/// The elements of a page in its order, with what is wrong with those that are no JSON.
fn in_order(found: &Elements) -> Vec<(&Span, Option<&String>)> {
    let mut elements: Vec<(&Span, Option<&String>)> = found.spans.iter().map(|span| (span, None)).collect();
    if found.has_lines {
        let starts: HashSet<usize> = found.spans.iter().map(|span| span.start).collect();
        elements.extend(found.refused.iter().filter(|(span, _)| !starts.contains(&span.start)).map(|(span, why)| (span, Some(why))));
        elements.sort_unstable_by_key(|(span, _)| span.start);
    }
    elements
}

/// The rows of a CSV text as an array of objects. An empty cell is null.
fn array_of_rows(text: &str, delimiter: u8) -> Result<String, String> {
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(text.as_bytes());
    let names: Vec<String> = reader.headers().map_err(|error| error.to_string())?.iter().map(|name| quoted(name.trim(), false)).collect();
    if names.iter().all(|name| name == "\"\"") {
        return Err("it has no header".to_owned());
    }
    let mut seen = HashSet::new();
    if let Some(name) = names.iter().find(|name| !seen.insert(name.as_str())) {
        return Err(format!("two columns are named {name}"));
    }
    let mut array = String::with_capacity(text.len() * 2);
    array.push('[');
    let mut row = csv::StringRecord::new();
    while reader.read_record(&mut row).map_err(|error| error.to_string())? {
        array.push_str(if array.len() > 1 { ",{" } else { "{" });
        for (index, (name, cell)) in names.iter().zip(&row).enumerate() {
            array.push_str(if index > 0 { "," } else { "" });
            array.push_str(name);
            array.push(':');
            array.push_str(&if cell.is_empty() { "null".to_owned() } else { quoted(cell, false) });
        }
        array.push('}');
    }
    array.push(']');
    Ok(array)
}

/// The address of the next page in a header `Link`.
fn next_of_link(header: &str) -> Option<String> {
    let mut rest = header;
    while let Some((_, after)) = rest.split_once('<') {
        let (address, tail) = after.split_once('>')?;
        let end = tail.find(",<").or_else(|| tail.find(", <")).unwrap_or(tail.len());
        let is_next = tail[..end].split(';').filter_map(|parameter| parameter.split_once('=')).any(|(name, value)| {
            name.trim().eq_ignore_ascii_case("rel")
                && value.trim().trim_end_matches(',').trim_matches('"').split_ascii_whitespace().any(|rel| rel.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(address.trim().to_owned());
        }
        rest = &tail[end..];
    }
    None
}

/// A body with a value at a path.
fn put(body: &str, path: &[PathStep], value: serde_json::Value) -> String {
    let new = value.to_string();
    let Some(root) = whole(body) else { return body.to_owned() };
    if let Some(there) = find(body, root, path) {
        return format!("{}{new}{}", &body[..there.start], &body[there.end..]);
    }
    // The longest part of the path that is there is an object, or nothing can be put into it.
    for length in (0..path.len()).rev() {
        let Some(there) = find(body, root, &path[..length]).filter(|there| Sort::of(there.of(body)) == Sort::Object) else { continue };
        let inner = path[length..].iter().rev().fold(new, |inner, step| match step {
            PathStep::Key(key) => format!("{{{}:{inner}}}", serde_json::Value::from(key.as_str())),
            PathStep::Index(_) => format!("[{inner}]"),
        });
        let member = inner.get(1..inner.len() - 1).unwrap_or_default();
        let is_empty = !Scanner::new(body, there.start).enters(b'}');
        let comma = if is_empty { "" } else { "," };
        return format!("{}{comma}{member}{}", &body[..there.end - 1], &body[there.end - 1..]);
    }
    body.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::read_path;

    #[test]
    fn the_next_page_of_a_link_header() {
        let header = r#"<https://a.example/x?page=1>; rel="prev", <https://a.example/x?a=1,2&page=3>; rel="next", <https://a.example/x?page=9>; rel="last""#;
        assert_eq!(next_of_link(header).as_deref(), Some("https://a.example/x?a=1,2&page=3"));
        assert_eq!(next_of_link("</x?page=2>; title=\"a\"; rel=next").as_deref(), Some("/x?page=2"));
        assert_eq!(next_of_link(r#"<https://a.example/x>; rel="nextish""#), None);
        assert_eq!(next_of_link(""), None);
    }

    #[test]
    fn ids_stay_within_their_step() {
        assert_eq!(with_id("/contacts/{id}", "a/b?c=1 ß"), "/contacts/a%2Fb%3Fc%3D1%20%C3%9F");
        assert_eq!(with_id("/contacts/{id}/x", ".."), "/contacts/%2E%2E/x");
        assert_eq!(with_id("/contacts/{id}", "x.1"), "/contacts/x.1");
    }

    #[test]
    fn a_cursor_is_put_into_a_body() {
        let path = |text: &str| read_path(text).unwrap_or_default();
        assert_eq!(
            put(r#"{"query": "q", "variables": {"after": null}}"#, &path("$.variables.after"), "x\"y".into()),
            r#"{"query": "q", "variables": {"after": "x\"y"}}"#
        );
        assert_eq!(put(r#"{"query": "q"}"#, &path("$.variables.after"), "x".into()), r#"{"query": "q","variables":{"after":"x"}}"#);
        assert_eq!(put("{}", &path("page"), 2.into()), r#"{"page":2}"#);
    }
}
