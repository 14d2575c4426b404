//! What a job file says about answers whose status alone would be misread.

use super::super::read::{At, Names, Word, closed, table};
use super::super::spelling::PathStep;
use super::Checks;

table! {
    /// What an answer means, where its status says something else.
    HttpResponseTable {
        /// The calls whose answers are meant: `list`, `get`, `create`, `update`, `delete`, `archive`; all if not given.
        Optional "calls" calls: Names,
        /// The statuses that are meant; all if not given.
        Optional "status" status: Vec<At<u32>>,
        /// Where in the answer something must stand, such as `$.error.code`.
        Optional "path" path: String,
        /// What must stand there: one of these, the same to the letter. Anything but null, false, 0 and what is empty, if not given.
        Optional "is" is: Names,
        /// Words that must be in what stands at `path`, or anywhere in the answer; capital and small letters are the same.
        Optional "says" says: String,
        /// What the answer means.
        Required "means" means: HttpMeaning,
    }
}

closed!(HttpResponseTable);

/// What an answer means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpMeaning {
    /// All is well.
    #[default]
    Fine,
    /// Nothing was done, and the call is to be made again.
    Busy,
    /// The record is not taken.
    Refused,
    /// Somebody else changed the record.
    Stale,
    /// There is nothing there.
    Gone,
    /// Our login has ended.
    Login,
    /// No further call can help.
    Stop,
}

impl Word for HttpMeaning {
    const WORDS: &'static [(&'static str, HttpMeaning, &'static str)] = &[
        ("fine", HttpMeaning::Fine, "all is well"),
        ("busy", HttpMeaning::Busy, "nothing was done: the call is made again after a while"),
        ("refused", HttpMeaning::Refused, "the API does not take this record; the others go on"),
        ("stale", HttpMeaning::Stale, "somebody else changed the record since it was read"),
        ("gone", HttpMeaning::Gone, "there is no such record; to a list: there are no more records"),
        ("login", HttpMeaning::Login, "our login has ended: it is renewed once, where that can be done"),
        ("stop", HttpMeaning::Stop, "no further call can help: the run stops"),
    ];
}

/// A sort of call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpOperation {
    /// To list records.
    #[default]
    List,
    /// To get one record.
    Get,
    /// To create records.
    Create,
    /// To change records.
    Update,
    /// To remove records.
    Delete,
    /// To mark records as no longer in use.
    Archive,
    /// To say who we are.
    Login,
}

impl HttpOperation {
    /// Those that a job file can name.
    const NAMED: [(&'static str, HttpOperation); 6] = [
        ("list", HttpOperation::List),
        ("get", HttpOperation::Get),
        ("create", HttpOperation::Create),
        ("update", HttpOperation::Update),
        ("delete", HttpOperation::Delete),
        ("archive", HttpOperation::Archive),
    ];
}

/// What certain answers mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpResponse {
    /// The calls whose answers are meant; all where there are none.
    pub calls: Vec<HttpOperation>,
    /// The statuses; all where there are none.
    pub status: Vec<u16>,
    /// Where in the answer something must stand.
    pub path: Option<Vec<PathStep>>,
    /// What must stand there; anything where there is nothing.
    pub is: Vec<String>,
    /// Words that must be in it.
    pub says: Option<String>,
    /// What it means.
    pub means: HttpMeaning,
}

impl Checks<'_, '_> {
    pub(super) fn response(&mut self, response: &At<HttpResponseTable>) -> HttpResponse {
        let table = &response.value;
        let key = format!("{}.responses", self.key);
        let mut calls = Vec::new();
        for name in table.calls.iter().flat_map(|calls| &calls.value.0) {
            match HttpOperation::NAMED.iter().find(|(known, _)| *known == name.value) {
                Some((_, operation)) => calls.push(*operation),
                None => {
                    let known = HttpOperation::NAMED.iter().map(|(name, _)| *name);
                    self.page.refuse(&name.span, format!("`{key}` has no call `{}`", name.value)).known("calls", &name.value, known);
                }
            }
        }
        if let (Some(is), None) = (&table.is, &table.path) {
            self.page.refuse(&is.span, format!("`{key}` has `is`, and does not say where it must stand")).hint("for example `path = \"$.error.code\"`");
        }
        if table.status.is_none() && table.path.is_none() && table.says.is_none() {
            self.page.refuse(&response.span, format!("`{key}` would mean every answer")).hint("say which, with `status`, `path` or `says`");
        }
        HttpResponse {
            calls,
            status: self.statuses(table.status.as_ref(), "responses.status", 200).unwrap_or_default(),
            path: self.path(table.path.as_ref(), "responses.path"),
            is: table.is.iter().flat_map(|is| &is.value.0).map(|text| text.value.clone()).collect(),
            says: table.says.as_ref().map(|says| says.value.clone()),
            means: table.means.as_ref().map(|means| means.value).unwrap_or_default(),
        }
    }
}
