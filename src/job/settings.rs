//! `tieout.toml`: the settings that all jobs share. Every one of them has a default that works.

use super::check::refuse_timezone;
use super::read::{At, Page, Written, closed, table};
use super::ready::{ReportSpec, ReportWhen};
use super::spelling::{has_reference, is_mail_address};
use super::written::ReportTable;
use crate::diagnostic::Diagnostic;

/// What all jobs of a root share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The folder of the state, relative to the root.
    pub state: String,
    /// The folder of the reports, relative to the root.
    pub reports: String,
    /// For how many days snapshots are kept.
    pub snapshots_days: u32,
    /// The sender of mails. It may hold references.
    pub mail_from: String,
    /// The time zone of schedules that name none.
    pub timezone: String,
    /// Who answers for jobs that do not say.
    pub contact: Option<String>,
    /// How often a write is tried in jobs that do not say.
    pub attempts_max: u32,
    /// Who gets the reports of jobs that do not say, and when.
    pub report: ReportSpec,
    /// How many runs `serve` makes side by side; at least one.
    pub serve_parallel: usize,
}

/// More runs side by side than this are a slip of the pen: each holds its snapshots in memory.
const PARALLEL_MAX: u32 = 16;

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            state: "state".to_owned(),
            reports: "reports".to_owned(),
            snapshots_days: 90,
            mail_from: "tieout@localhost".to_owned(),
            timezone: "UTC".to_owned(),
            contact: None,
            attempts_max: 5,
            report: ReportSpec { to: Vec::new(), when: ReportWhen::Always },
            serve_parallel: 1,
        }
    }
}

table! {
    /// The settings that all jobs share.
    SettingsTable {
        /// The folder of the state.
        Optional "state" state: String,
        /// The folder of the reports.
        Optional "reports" reports: String,
        /// For how many days snapshots are kept.
        Optional "snapshots_days" snapshots_days: u32,
        /// How mails are sent.
        Optional "mail" mail: MailTable,
        /// How `tieout serve` runs jobs.
        Optional "serve" serve: ServeTable,
        /// What holds for jobs that do not say it themselves.
        Optional "defaults" defaults: DefaultsTable,
    }
}

table! {
    /// How `tieout serve` runs jobs.
    ServeTable {
        /// How many runs are made side by side, each of another job; 1 if not given.
        Optional "parallel" parallel: u32,
    }
}

table! {
    /// How mails are sent.
    MailTable {
        /// The sender.
        Optional "from" from: String,
    }
}

table! {
    /// What holds for jobs that do not say it themselves.
    DefaultsTable {
        /// The time zone of schedules.
        Optional "timezone" timezone: String,
        /// The mail address of the person or list that answers for a job.
        Optional "contact" contact: String,
        /// How often a write is tried.
        Optional "attempts" attempts: u32,
        /// Who gets the reports, and when.
        Optional "report" report: ReportTable,
    }
}

closed!(SettingsTable, MailTable, ServeTable, DefaultsTable);

/// Reads `tieout.toml`. `path` is what messages show.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file.
pub fn read_settings(path: &str, text: &str) -> Result<Settings, Vec<Diagnostic>> {
    let mut page = Page::new(path, text);
    let settings = page.parse().and_then(|document| SettingsTable::read(&document, "", &mut page)).map(|table| ready(table, &mut page));
    match settings {
        Some(settings) if page.is_clean() => Ok(settings),
        _ => Err(page.into_mistakes()),
    }
}

fn ready(table: SettingsTable, page: &mut Page<'_>) -> Settings {
    let otherwise = Settings::default();
    let defaults = table.defaults.map(|defaults| defaults.value).unwrap_or_default();
    let report = defaults.report.map(|report| report.value).unwrap_or_default();
    let mail = table.mail.map(|mail| mail.value).unwrap_or_default();
    for (folder, key) in [(&table.state, "state"), (&table.reports, "reports")] {
        if let Some(folder) = folder.as_ref().filter(|folder| folder.value.trim().is_empty()) {
            page.refuse(&folder.span, format!("`{key}` names no folder"));
        }
    }
    let may_be_reference = |address: &At<String>| has_reference(address.as_str());
    let addresses = mail.from.iter().filter(|from| !may_be_reference(from)).map(|from| (from, "mail.from"));
    let addresses = addresses.chain(defaults.contact.iter().map(|contact| (contact, "defaults.contact")));
    let addresses = addresses.chain(report.to.iter().flat_map(|to| &to.value).map(|to| (to, "defaults.report.to")));
    for (address, key) in addresses {
        if !is_mail_address(address.as_str()) {
            page.refuse(&address.span, format!("`{key}` is not a mail address: `{}`", address.value.escape_debug())).hint("write it as `finance@example.com`");
        }
    }
    if let Some(problem) = mail.from.as_ref().and_then(|from| super::spelling::reference_problem(from.as_str()).map(|problem| (from.span.clone(), problem))) {
        page.refuse(&problem.0, format!("{}, in `mail.from`", problem.1)).hint("write `${env:NAME}` or `${file:path}`");
    }
    if let Some(timezone) = &defaults.timezone {
        refuse_timezone(timezone, page);
    }
    if let Some(attempts) = defaults.attempts.as_ref().filter(|attempts| attempts.value == 0) {
        page.refuse(&attempts.span, "`defaults.attempts` is 0: nothing would ever be written");
    }
    let parallel = table.serve.and_then(|serve| serve.value.parallel);
    if let Some(parallel) = parallel.as_ref().filter(|parallel| !(1..=PARALLEL_MAX).contains(&parallel.value)) {
        page.refuse(&parallel.span, format!("`serve.parallel` must lie between 1 and {PARALLEL_MAX}")).hint("each run holds its snapshots in memory");
    }
    let text = |text: Option<At<String>>, or: String| text.map_or(or, |text| text.value);
    Settings {
        state: text(table.state, otherwise.state),
        reports: text(table.reports, otherwise.reports),
        snapshots_days: table.snapshots_days.map_or(otherwise.snapshots_days, |days| days.value),
        mail_from: text(mail.from, otherwise.mail_from),
        timezone: text(defaults.timezone, otherwise.timezone),
        contact: defaults.contact.map(|contact| contact.value),
        attempts_max: defaults.attempts.map_or(otherwise.attempts_max, |attempts| attempts.value),
        report: ReportSpec {
            to: report.to.map_or(otherwise.report.to, |to| to.value.into_iter().map(|address| address.value).collect()),
            when: report.when.map_or(otherwise.report.when, |when| when.value),
        },
        serve_parallel: parallel.and_then(|parallel| usize::try_from(parallel.value).ok()).unwrap_or(otherwise.serve_parallel),
    }
}
