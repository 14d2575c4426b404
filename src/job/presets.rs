//! Presets: how well-known APIs are called, as plain settings of the kind `http`, compiled in.
//!
//! A system that names a preset has its settings, and what the job file says beside it goes before them, key by key: a table is
//! laid over a table, anything else takes the place of what the preset has. Where a table is *one of several ways* (`auth`, `page`), a
//! way that the preset does not go takes the place of its whole table.
//!
//! # Design
//! The text of a preset becomes part of the job file before anything is read from it. Its keys and values all stand where the preset
//! is named, so that whatever is wrong with the sum is told at a line of the job file, and no setting knows of presets.

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::read::{Page, Span, refuse_sort};
use crate::diagnostic::{Place, did_you_mean};
use crate::error::{Error, Remedy};

/// The key that names a preset.
pub(super) const KEY: &str = "preset";

/// The presets by their names, each as it could stand below `[systems.NAME]`.
const PRESETS: &[(&str, &str)] = &[
    ("airtable.table", include_str!("presets/airtable.table.toml")),
    ("hubspot.companies", include_str!("presets/hubspot.companies.toml")),
    ("hubspot.contacts", include_str!("presets/hubspot.contacts.toml")),
    ("stripe.customers", include_str!("presets/stripe.customers.toml")),
    ("stripe.invoices", include_str!("presets/stripe.invoices.toml")),
    ("xero.contacts", include_str!("presets/xero.contacts.toml")),
    ("xero.invoices", include_str!("presets/xero.invoices.toml")),
];

/// Tables that are one of several ways, and the keys that are a way.
const WAYS: &[(&str, &[&str])] =
    &[("auth", &["bearer", "basic", "header", "query", "oauth", "oauth2"]), ("page", &["number", "offset", "cursor", "last_id", "next", "link"])];

/// The names of all presets.
pub fn preset_names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, _)| *name)
}

/// A preset as it could stand below `[systems.NAME]` in a job file: its text, which ends with a line end.
///
/// # Errors
/// `MendJob` if there is none of this name.
pub fn preset(name: &str) -> Result<&'static str, Error> {
    let found = PRESETS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text);
    found.ok_or_else(|| {
        let names: Vec<String> = preset_names().map(|known| format!("`{known}`")).collect();
        let error = Error::new(Remedy::MendJob, Place::of("preset"), format!("there is no preset `{name}`")).seen(format!("presets: {}", names.join(", ")));
        match did_you_mean(name, preset_names()) {
            Some(meant) => error.hint(format!("did you mean `{meant}`?")),
            None => error,
        }
    })
}

/// What a system says together with the preset that it names.
pub(super) enum Merged<'i> {
    /// It names none.
    Plain,
    /// It names one that there is not, which is on the page.
    Unknown,
    /// Both, without the name of the preset.
    Table(Spanned<DeValue<'i>>),
}

/// Lays a system over the preset that it names.
pub(super) fn merged<'i>(system: &Spanned<DeValue<'i>>, name: &str, page: &mut Page<'_>) -> Merged<'i> {
    let Some((table, named)) = system.get_ref().as_table().and_then(|table| Some((table, table.get(KEY)?))) else { return Merged::Plain };
    let dotted = format!("{name}.{KEY}");
    let Some(text) = named.get_ref().as_str() else {
        refuse_sort(named, &dotted, "text", page);
        return Merged::Unknown;
    };
    let Some(preset) = PRESETS.iter().find(|(known, _)| *known == text).and_then(|(_, text)| DeTable::parse(text).ok()) else {
        page.refuse(&named.span(), format!("`{dotted}` cannot be `{text}`")).known("presets", text, preset_names());
        return Merged::Unknown;
    };
    let span = named.span();
    let mut own = table.clone();
    own.remove(KEY);
    let below = moved_table(preset.into_inner(), &span);
    Merged::Table(Spanned::new(system.span(), DeValue::Table(laid(own, below))))
}

/// A table over another one.
fn laid<'i>(above: DeTable<'i>, mut below: DeTable<'i>) -> DeTable<'i> {
    for (key, value) in above {
        let under = below.remove_entry(key.get_ref().as_ref());
        let value = match under {
            Some((_, under)) => laid_value(key.get_ref().as_ref(), value, under),
            None => value,
        };
        below.insert(key, value);
    }
    below
}

fn laid_value<'i>(key: &str, above: Spanned<DeValue<'i>>, below: Spanned<DeValue<'i>>) -> Spanned<DeValue<'i>> {
    let span = above.span();
    match (above.into_inner(), below.into_inner()) {
        (DeValue::Table(above), DeValue::Table(below)) if !is_another_way(key, &above, &below) => Spanned::new(span, DeValue::Table(laid(above, below))),
        (above, _) => Spanned::new(span, above),
    }
}

fn is_another_way(key: &str, above: &DeTable<'_>, below: &DeTable<'_>) -> bool {
    let ways = WAYS.iter().find(|(table, _)| *table == key).map_or(&[][..], |(_, ways)| *ways);
    ways.iter().any(|way| above.contains_key(*way) && !below.contains_key(*way))
}

/// A table that stands, with all that is in it, at one place.
fn moved_table<'i>(table: DeTable<'i>, to: &Span) -> DeTable<'i> {
    table.into_iter().map(|(key, value)| (Spanned::new(to.clone(), key.into_inner()), moved(value, to))).collect()
}

fn moved<'i>(value: Spanned<DeValue<'i>>, to: &Span) -> Spanned<DeValue<'i>> {
    let value = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(moved_table(table, to)),
        DeValue::Array(items) => DeValue::Array(items.into_iter().map(|item| moved(item, to)).collect::<DeArray<'i>>()),
        scalar => scalar,
    };
    Spanned::new(to.clone(), value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::job::{HttpAuth, HttpPage, HttpSettings, JobFile, Kind, Settings, check};

    fn job(system: &str) -> JobFile {
        let rest = r#"
[systems.books]
kind = "csv"
role = "witness"
path = "books.csv"

[fields.email]
type = "text"
columns = { api = "email", books = "email" }
"#;
        JobFile { path: "jobs/people.toml".to_owned(), text: format!("name = \"people\"\nkey = [\"email\"]\n\n[systems.api]\n{system}{rest}") }
    }

    fn settings(system: &str) -> HttpSettings {
        let jobs = check(&[job(system)], &Settings::default()).map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        match &jobs[0].systems[0].kind {
            Kind::Http(settings) => (**settings).clone(),
            other => panic!("{other:?}"),
        }
    }

    fn mistakes(system: &str) -> String {
        check(&[job(system)], &Settings::default()).unwrap_err().iter().map(|mistake| format!("{mistake}\n")).collect()
    }

    /// What the job itself must say: an address where a preset has none.
    fn own(name: &str) -> &'static str {
        if name.starts_with("airtable.") { "base_url = \"https://api.airtable.com/v0/appZoo/People\"\n" } else { "" }
    }

    #[test]
    fn every_preset_is_the_same_named_or_copied() {
        for name in preset_names() {
            let (text, own) = (preset(name).unwrap(), own(name));
            assert!(text.starts_with("# ") && text.ends_with('\n'), "{name} says what it is for");
            let copied = settings(&format!("role = \"source\"\n{own}{text}"));
            assert_eq!(settings(&format!("kind = \"http\"\npreset = \"{name}\"\nrole = \"source\"\n{own}")), copied, "{name}");
            assert!(copied.limits.rate.is_some(), "{name} has the limit of its vendor");
        }
    }

    #[test]
    fn what_the_job_says_goes_before_the_preset_key_by_key() {
        let plain = "kind = \"http\"\npreset = \"stripe.customers\"\nrole = \"source\"\n";
        let usual = settings(plain);
        let changed = settings(&format!(
            "{plain}base_url = \"http://127.0.0.1:1/v1\"\nheaders = {{ Stripe-Account = \"acct_1\" }}\nlist = {{ query = {{ limit = \"50\" }}, page = {{ pages_max = 7 }} }}\nlimits = {{ calls_max = 9 }}\n"
        ));
        assert_eq!(changed.base_url, "http://127.0.0.1:1/v1");
        assert_eq!(changed.headers.len(), 2, "{:?}", changed.headers);
        assert_eq!(changed.list.query, [("limit".to_owned(), "50".to_owned())]);
        assert_eq!((changed.list.pages_max, &changed.list.page, &changed.list.more), (7, &usual.list.page, &usual.list.more));
        assert_eq!((changed.limits.rate, changed.limits.calls_max), (usual.limits.rate, Some(9)));
        assert_eq!((&changed.update, &changed.auth), (&usual.update, &usual.auth));
        // Another way takes the place of the way of the preset.
        let other = settings(&format!("{plain}auth = {{ basic = {{ user = \"${{env:KEY}}\" }} }}\nlist = {{ page = {{ offset = \"skip\" }} }}\n"));
        assert!(matches!(other.auth, HttpAuth::Basic { .. }) && matches!(other.list.page, HttpPage::Offset(_)) && other.list.more.is_none());
    }

    #[test]
    fn mistakes_are_told_at_the_lines_of_the_job() {
        let unknown = mistakes("kind = \"http\"\npreset = \"stripe.customer\"\nrole = \"source\"\n");
        assert!(
            unknown.contains("jobs/people.toml:6:10: `systems.api.preset` cannot be `stripe.customer`") && unknown.contains("did you mean `stripe.customers`?"),
            "{unknown}"
        );
        assert_eq!(unknown.matches("jobs/people.toml").count(), 1, "{unknown}");
        let elsewhere = mistakes("kind = \"json\"\npath = \"x.json\"\npreset = \"stripe.customers\"\nrole = \"source\"\n");
        assert!(elsewhere.contains("jobs/people.toml:7:1: `preset` is a key of kind `http`"), "{elsewhere}");
        let wrong =
            mistakes("kind = \"http\"\npreset = \"stripe.customers\"\nrole = \"source\"\nlist = { pages = 3, path = 7 }\nlimits = { rate = \"often\" }\n");
        for told in ["jobs/people.toml:8:10: unknown key `pages`", "jobs/people.toml:8:28: `systems.api.list.path` must be text", "jobs/people.toml:9:19: "] {
            assert!(wrong.contains(told), "{told} is missing in\n{wrong}");
        }
        assert!(mistakes("kind = \"http\"\npreset = 7\nrole = \"source\"\n").contains("jobs/people.toml:6:10: `systems.api.preset` must be text"));
    }
}
