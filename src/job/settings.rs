//! `tieout.toml`: the settings that all jobs share. Every one of them has a default that works.

use super::check::{check_apply, refuse_timezone};
use super::read::{At, Page, Word, Written, closed, table};
use super::ready::{ReportSpec, ReportWhen};
use super::spelling::{has_reference, is_mail_address, is_only_references, reference_problem};
use super::written::{ApplyTable, ReportTable};
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
    /// For how many days the ledger keeps the rows of a run.
    pub ledger_days: u32,
    /// How mails leave.
    pub mail: MailSettings,
    /// The time zone of schedules that name none.
    pub timezone: String,
    /// Who answers for jobs that do not say.
    pub contact: Option<String>,
    /// How often a write is tried in jobs that do not say.
    pub attempts_max: u32,
    /// For how many seconds a run waits in all for what passes, in jobs that do not say.
    pub retry_for_s: u32,
    /// Who gets the reports of jobs that do not say, and when.
    pub report: ReportSpec,
    /// How many runs `serve` makes side by side; at least one.
    pub serve_parallel: usize,
}

/// More runs side by side than this are a slip of the pen: each holds its snapshots in memory.
const PARALLEL_MAX: u32 = 16;
/// How mails leave. Texts may hold references; they are resolved when a mail is made or sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailSettings {
    /// The sender.
    pub from: String,
    /// Where answers go, for jobs without a contact.
    pub reply_to: Option<String>,
    /// Which mails a mail program shall show together.
    pub thread: Thread,
    /// For how many days a mail is tried before it is given up.
    pub give_up_days: u32,
    /// The server; without one, mails are put into the outbox folder.
    pub server: Option<ServerSettings>,
}

/// A mail server. Texts may hold references.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: Security,
    /// The user to sign in as, and the password: a reference, never a value.
    pub login: Option<(String, String)>,
    /// A PEM file with the authorities to trust instead of the public ones, relative to the root.
    pub ca: Option<String>,
    /// The longest that one delivery may take, all in all.
    pub timeout_s: u32,
}

/// Without the password, even though it is only a reference.
impl std::fmt::Debug for ServerSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{} {:?} timeout {} s", self.host, self.port, self.security, self.timeout_s)
    }
}

/// How the connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// It begins in clear and must turn to TLS before anything else is said.
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// Not at all; to this machine only.
    Plain,
}

impl Security {
    /// The port that servers use for it.
    pub fn usual_port(self) -> u16 {
        match self {
            Security::Starttls => 587,
            Security::Tls => 465,
            Security::Plain => 25,
        }
    }
}

/// Which mails a mail program shall show together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thread {
    /// Each by itself.
    None,
    /// Those of a job and a month.
    Month,
}

impl Word for Security {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("starttls", Security::Starttls, "It begins in clear and must turn to TLS before anything else is said."),
        ("tls", Security::Tls, "TLS from the first byte."),
        ("plain", Security::Plain, "No protection; to this machine only."),
    ];
}

impl Word for Thread {
    const WORDS: &'static [(&'static str, Self, &'static str)] =
        &[("none", Thread::None, "Each mail by itself."), ("month", Thread::Month, "The mails of a job and a month stand together.")];
}

/// Whether a host is this machine, as far as its name tells: `localhost`, `::1`, or an address that begins with 127.
pub fn is_loopback(host: &str) -> bool {
    let parts: Vec<&str> = host.split('.').collect();
    let is_number = |part: &&str| part.len() <= 3 && !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_127 = parts.len() == 4 && parts[0] == "127" && parts.iter().all(is_number);
    host.eq_ignore_ascii_case("localhost") || host == "::1" || is_127
}

impl Default for MailSettings {
    fn default() -> MailSettings {
        MailSettings { from: "tieout@localhost".to_owned(), reply_to: None, thread: Thread::None, give_up_days: 5, server: None }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            state: "state".to_owned(),
            reports: "reports".to_owned(),
            snapshots_days: 90,
            ledger_days: 400,
            mail: MailSettings::default(),
            timezone: "UTC".to_owned(),
            contact: None,
            attempts_max: 5,
            retry_for_s: 60,
            serve_parallel: 1,
            report: ReportSpec { to: Vec::new(), to_action: Vec::new(), to_failed: Vec::new(), when: ReportWhen::Always },
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
        /// For how many days the ledger keeps what was sent, decided and found; 400 if not given. What is open stays.
        Optional "ledger_days" ledger_days: u32,
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
        /// Where answers go, for jobs whose contact is no mail address.
        Optional "reply_to" reply_to: String,
        /// Which mails a mail program shows together: `none` (default) or those of a job and a `month`.
        Optional "thread" thread: Thread,
        /// For how many days a mail is tried before it is given up; 5 if not given.
        Optional "give_up_days" give_up_days: u32,
        /// The mail server; without one, mails are put into the folder `outbox` of the reports.
        Optional "smtp" smtp: String,
        /// Its port; if not given, 587 for `starttls`, 465 for `tls`, 25 for `plain`.
        Optional "port" port: u32,
        /// How the connection is protected: `starttls` (default), `tls` or, to this machine only, `plain`.
        Optional "security" security: Security,
        /// The user to sign in as.
        Optional "user" user: String,
        /// The password: a reference, `${env:NAME}` or `${file:path}`.
        Optional "password" password: String,
        /// A PEM file with the authorities to trust instead of the public ones.
        Optional "ca" ca: String,
        /// The longest that one delivery may take, in seconds; 30 if not given.
        Optional "timeout_s" timeout_s: u32,
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
        /// How writes are made.
        Optional "apply" apply: ApplyTable,
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
    for (folder, key) in [(&table.state, "state"), (&table.reports, "reports")] {
        if let Some(folder) = folder.as_ref().filter(|folder| folder.value.trim().is_empty()) {
            page.refuse(&folder.span, format!("`{key}` names no folder"));
        }
    }
    let of_report = [(&report.to, "defaults.report.to"), (&report.to_action, "defaults.report.to_action"), (&report.to_failed, "defaults.report.to_failed")];
    let addresses = defaults.contact.iter().map(|contact| (contact, "defaults.contact"));
    let addresses = addresses.chain(of_report.iter().flat_map(|(to, key)| to.iter().flat_map(|to| &to.value).map(|to| (to, *key))));
    for (address, key) in addresses {
        refuse_address(address, key, page);
    }
    let mail = table.mail.map(|mail| ready_mail(&mail.value, page)).unwrap_or_default();
    if let Some(timezone) = &defaults.timezone {
        refuse_timezone(timezone, page);
    }
    if let Some(attempts) = defaults.attempts.as_ref().filter(|attempts| attempts.value == 0) {
        page.refuse(&attempts.span, "`defaults.attempts` is 0: nothing would ever be written").hint("with 1 a change is tried once");
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
        ledger_days: table.ledger_days.map_or(otherwise.ledger_days, |days| days.value),
        mail,
        timezone: text(defaults.timezone, otherwise.timezone),
        contact: defaults.contact.map(|contact| contact.value),
        retry_for_s: check_apply(defaults.apply.as_ref().map(|apply| &apply.value), otherwise.retry_for_s, page),
        attempts_max: defaults.attempts.map_or(otherwise.attempts_max, |attempts| attempts.value),
        report: ReportSpec {
            to: addresses_of(report.to),
            to_action: addresses_of(report.to_action),
            to_failed: addresses_of(report.to_failed),
            when: report.when.map_or(otherwise.report.when, |when| when.value),
        },
        serve_parallel: parallel.and_then(|parallel| usize::try_from(parallel.value).ok()).unwrap_or(otherwise.serve_parallel),
    }
}

fn addresses_of(written: Option<At<Vec<At<String>>>>) -> Vec<String> {
    written.map_or_else(Vec::new, |to| to.value.into_iter().map(|address| address.value).collect())
}

fn refuse_address(address: &At<String>, key: &str, page: &mut Page<'_>) {
    if !is_mail_address(address.as_str()) {
        page.refuse(&address.span, format!("`{key}` is not a mail address: `{}`", address.value.escape_debug())).hint("write it as `finance@example.com`");
    }
}

fn ready_mail(table: &MailTable, page: &mut Page<'_>) -> MailSettings {
    let otherwise = MailSettings::default();
    let texts =
        [(&table.from, "from"), (&table.reply_to, "reply_to"), (&table.smtp, "smtp"), (&table.user, "user"), (&table.password, "password"), (&table.ca, "ca")];
    for (text, key) in texts {
        let Some(text) = text else { continue };
        if let Some(problem) = reference_problem(text.as_str()) {
            page.refuse(&text.span, format!("{problem}, in `mail.{key}`")).hint("write `${env:NAME}` or `${file:path}`");
        } else if matches!(key, "from" | "reply_to") && !has_reference(text.as_str()) {
            refuse_address(text, &format!("mail.{key}"), page);
        } else if text.value.trim().is_empty() {
            page.refuse(&text.span, format!("`mail.{key}` is empty"));
        }
    }
    let give_up_days = in_range(table.give_up_days.as_ref(), "give_up_days", 1..=60, otherwise.give_up_days, page);
    MailSettings {
        from: table.from.as_ref().map_or(otherwise.from, |from| from.value.clone()),
        reply_to: table.reply_to.as_ref().map(|to| to.value.clone()),
        thread: table.thread.as_ref().map_or(otherwise.thread, |thread| thread.value),
        give_up_days,
        server: ready_server(table, page),
    }
}

fn ready_server(table: &MailTable, page: &mut Page<'_>) -> Option<ServerSettings> {
    let security = table.security.as_ref().map_or(Security::Starttls, |security| security.value);
    // What is wrong with the password is told without it.
    if let Some(password) = table.password.as_ref().filter(|password| reference_problem(password.as_str()).is_none() && !is_only_references(password.as_str()))
    {
        page.refuse(&password.span, "`mail.password` holds a password in clear")
            .hint("keep it elsewhere, and name it by a reference: `${env:SMTP_PASSWORD}` or `${file:secrets/smtp}`");
    }
    if let (Some(user), None) = (&table.user, &table.password) {
        page.refuse(&user.span, "`mail.user` has no password").hint("name it by a reference: `password = \"${env:SMTP_PASSWORD}\"`");
    }
    if let (None, Some(password)) = (&table.user, &table.password) {
        page.refuse(&password.span, "`mail.password` has no user").hint("name it in `user`");
    }
    let port = in_range(table.port.as_ref(), "port", 1..=65535, u32::from(security.usual_port()), page);
    let timeout_s = in_range(table.timeout_s.as_ref(), "timeout_s", 1..=600, 30, page);
    let Some(smtp) = &table.smtp else {
        let of_server = [
            ("port", table.port.as_ref().map(|port| &port.span)),
            ("security", table.security.as_ref().map(|security| &security.span)),
            ("user", table.user.as_ref().map(|user| &user.span)),
            ("password", table.password.as_ref().map(|password| &password.span)),
            ("ca", table.ca.as_ref().map(|ca| &ca.span)),
            ("timeout_s", table.timeout_s.as_ref().map(|timeout| &timeout.span)),
        ];
        if let Some((key, span)) = of_server.into_iter().find_map(|(key, span)| span.map(|span| (key, span))) {
            page.refuse(span, format!("`mail.{key}` is for a mail server, and none is named")).hint("name it: `smtp = \"smtp.example.com\"`");
        }
        return None;
    };
    let host = smtp.as_str();
    if !has_reference(host) && !host.trim().is_empty() {
        let is_address = host.matches(':').count() >= 2 && host.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '.'));
        let is_name = host.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.')) && !host.starts_with(['.', '-']);
        if !is_address && !is_name {
            page.refuse(&smtp.span, format!("`mail.smtp` is not the name of a machine: `{}`", host.escape_debug()))
                .hint("write the name alone, such as `smtp.example.com`; the port stands in `port`, the user in `user`");
        } else if security == Security::Plain && !is_loopback(host) {
            let span = table.security.as_ref().map_or(&smtp.span, |security| &security.span);
            page.refuse(span, format!("mail to `{host}` would leave this machine unprotected"))
                .seen("`plain` is for a mail server on this machine: `localhost`, `127.0.0.1` or `::1`")
                .hint("use `starttls` or `tls`");
        }
    }
    if let Some(ca) = table.ca.as_ref().filter(|_| security == Security::Plain) {
        page.refuse(&ca.span, "`mail.ca` has no use with `security = \"plain\"`").hint("leave it out, or use `starttls` or `tls`");
    }
    let login = table.user.as_ref().zip(table.password.as_ref());
    Some(ServerSettings {
        host: host.to_owned(),
        port: u16::try_from(port).unwrap_or(security.usual_port()),
        security,
        login: login.map(|(user, password)| (user.value.clone(), password.value.clone())),
        ca: table.ca.as_ref().map(|ca| ca.value.clone()),
        timeout_s,
    })
}

fn in_range(number: Option<&At<u32>>, key: &str, range: std::ops::RangeInclusive<u32>, otherwise: u32, page: &mut Page<'_>) -> u32 {
    let Some(number) = number else { return otherwise };
    if !range.contains(&number.value) {
        page.refuse(&number.span, format!("`mail.{key}` must lie between {} and {}", range.start(), range.end())).seen(format!("found {}", number.value));
        return otherwise;
    }
    number.value
}
