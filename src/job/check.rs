//! One job file as written → one job that is ready, or everything that is wrong with it.
//!
//! A mistake never hides another: what could not be read is left out of the questions that need it, and the rest is still
//! asked. Each mistake stands at the key or value that a person would change.
//!
//! # Design
//! "No single source of truth" means that a field could be written somewhere and either several systems could change it, or
//! none decides it. A field that one system carries, or that one system decides, needs neither owner nor rule.
//!
//! References may stand in the settings of a kind, which are resolved when the system is opened. What `check` itself has to
//! understand (roles, columns, filters) is refused as a reference instead of being taken for a name.

use sha2::{Digest, Sha256};
use toml::Spanned;
use toml::de::DeValue;

use super::database::{DatabaseUrl, Engine, table_parts};
use super::http::check_http;
use super::read::{At, Page, Span, Table, Written};
use super::ready::*;
use super::spelling::{
    PathStep, format_problem, has_literal_secret, has_reference, has_short_year, is_epoch_format, is_mail_address, is_timezone, name_date_problem, read_cron,
    read_path, reference_problem, timezone_meant,
};
use super::written::{
    AmountsWritten, ApplyTable, BesideWritten, Column, ColumnTable, CsvTable, DeletesWord, EditedAtWritten, ExcelHeaderWritten, ExcelTable,
    Field as FieldWritten, FieldTable, FileReadyTable, JobTable, JsonTable, LimitsTable, Missed, OnFormula, Ragged, Rule, Scalar, Settings as Kinds, Switch,
    System, SystemTable, unsigned,
};
use super::{JobFile, Settings};
use crate::value::{FieldType, Tolerance, Value};

/// Names that stand for something else where a job's name could stand.
const NAMES_RESERVED: &[&str] = &["outbox", "index"];

/// Texts that mean null unless the field lists its own; the empty text always does. `na` is none of them: it is Namibia, a
/// surname and sodium.
pub const NULL_TOKENS: &[&str] = &["null", "nil", "none", "n/a", "#n/a", "-", "--", "—", "nan", "(blank)", "(null)", "not available", "?"];

/// Endings of workbooks that can be read and written.
const WORKBOOKS_WRITABLE: &[&str] = &["xlsx", "xlsm"];

/// Endings of workbooks that can only be read.
const WORKBOOKS_READABLE: &[&str] = &["xls", "xlsb", "ods"];

/// More former versions of a file than this are a mistake.
const BACKUPS_MAX: u32 = 100;

/// A run that waits longer than this for a file is a mistake.
const STABLE_SECONDS_MAX: u32 = 3600;

/// A run that waits longer than this for what passes is a mistake.
const RETRY_FOR_S_MAX: u32 = 3600;

/// A header of more rows than this is a mistake.
const EXCEL_HEADER_ROWS_MAX: u32 = 10;

/// The most digits that a number in a workbook keeps.
const EXCEL_DIGITS_MAX: u32 = 15;

/// A job that is right by itself, and where its names stand.
#[derive(Debug)]
pub(super) struct Checked {
    pub job: Job,
    pub spots: Spots,
}

/// Where names stand in the job file.
#[derive(Clone, Debug)]
pub(super) struct Spots {
    pub name: Span,
    /// By system.
    pub systems: Vec<Span>,
    /// By field and system; nothing where a system does not carry the field.
    pub columns: Vec<Vec<Option<Span>>>,
}

/// Checks one file. Nothing if the page has mistakes afterwards.
pub(super) fn check_file(file: &JobFile, defaults: &Settings, page: &mut Page<'_>) -> Option<Checked> {
    let document = page.parse()?;
    refuse_references(&document, "", page);
    let table = JobTable::read(&document, "", page)?;
    let checked = check_table(&table, file, defaults, page);
    if checked.is_none() && page.is_clean() {
        page.refuse(&(0..0), "this job file cannot be read");
    }
    checked.filter(|_| page.is_clean())
}

/// References that are not well formed, or stand where nothing resolves them.
fn refuse_references(value: &Spanned<DeValue<'_>>, name: &str, page: &mut Page<'_>) {
    match value.get_ref() {
        DeValue::String(text) => {
            let mut path = name.split('.');
            let resolved = path.next() == Some("systems") && path.nth(1).is_some_and(|key| !SystemTable::KEYS.contains(&key));
            if resolved {
                if let Some(problem) = reference_problem(text) {
                    page.refuse(&value.span(), format!("{problem}, in `{name}`")).hint("write `${env:NAME}` or `${file:path}`");
                }
            } else if has_reference(text) {
                page.refuse(&value.span(), format!("a reference cannot stand in `{name}`"))
                    .seen("references are resolved in the place of a system: its path, its url, its table, its query");
            }
        }
        DeValue::Array(items) => items.iter().for_each(|item| refuse_references(item, name, page)),
        DeValue::Table(table) => {
            for (key, inner) in table.iter() {
                // A dot inside a quoted key is no step of the path.
                let key = key.get_ref().replace('.', "_");
                refuse_references(inner, &if name.is_empty() { key } else { format!("{name}.{key}") }, page);
            }
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}

/// A system, as far as it could be read.
struct SystemDraft {
    name: At<String>,
    role: Option<Role>,
    kind: Option<Kind>,
    may: May,
    only: Vec<(String, Vec<String>)>,
    id: Option<At<String>>,
    edited_at: Option<EditedAt>,
    /// Whether there is an edit time, readable or not.
    has_edit_time: bool,
    gates: Gates,
    /// Whether a text that a spreadsheet would run is never written.
    refuses_formulas: bool,
    /// Whether all of it could be read.
    is_whole: bool,
}

impl SystemDraft {
    /// Whether any record of it could be changed or created.
    fn is_written(&self) -> bool {
        self.role.is_some_and(Role::is_written) && (self.may.update != Permission::Never || self.may.create != Permission::Never)
    }
}

/// A column of a field in one system, as far as it could be read.
#[derive(Clone)]
struct ColumnDraft {
    span: Span,
    spec: Option<ColumnSpec>,
}

/// A field, as far as it could be read.
struct FieldDraft<'t> {
    name: &'t At<String>,
    table: &'t FieldTable,
    /// Whether all of it could be read.
    is_whole: bool,
    field_type: Option<FieldType>,
    null_tokens: Vec<String>,
    /// By system.
    columns: Vec<Option<ColumnDraft>>,
}

impl FieldDraft<'_> {
    fn carriers(&self) -> Vec<usize> {
        (0..self.columns.len()).filter(|system| self.columns[*system].is_some()).collect()
    }
}

fn check_table(table: &JobTable, file: &JobFile, defaults: &Settings, page: &mut Page<'_>) -> Option<Checked> {
    let mode = table.mode.as_ref().map_or(Mode::Sync, |mode| mode.value);
    check_name(table, file, page);
    let contact = table.contact.as_ref().map(|contact| {
        refuse_address(contact, "contact", page);
        contact.value.clone()
    });
    let schedule = check_schedule(table, defaults, page);
    let mut systems = check_systems(table, mode, page);
    check_gates(table, &mut systems, page);

    let fields = check_fields(table, &systems, page);
    check_columns(&fields, &systems, page);
    refuse_unfilled_ids(&fields, &systems, page);
    let key = check_key(table, &fields, &systems, page);
    let mut ready = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let is_key = key.contains(&index);
        ready.push(check_field(field, is_key, &fields, &systems, mode, table, page));
    }

    let mut locks = check_row_locks(table, &systems, mode, page);
    for (index, field) in fields.iter().enumerate() {
        locks.extend(check_field_locks(index, field, &fields, &systems, mode, table, page));
    }
    let canaries = check_canaries(table, &fields, &key, &systems, page);
    let dedupe = check_dedupe(table, &systems, page);
    let deletes = check_deletes(table, &fields, page);
    let (totals, money) = check_totals(table, &fields, mode, page);
    let report = check_report(table, defaults, page);
    let attempts = table.attempts.as_ref().map_or(defaults.attempts_max, |attempts| {
        if attempts.value == 0 {
            page.refuse(&attempts.span, "`attempts` is 0: nothing would ever be written").hint("to write nothing, set `mode = \"audit\"`");
        }
        attempts.value
    });

    let retry_for_s = check_apply(table.apply.as_ref().map(|apply| &apply.value), defaults.retry_for_s, page);

    let spots = Spots {
        name: table.name.as_ref().map_or(0..0, |name| name.span.clone()),
        systems: systems.iter().map(|system| system.name.span.clone()).collect(),
        columns: fields.iter().map(|field| field.columns.iter().map(|column| column.as_ref().map(|column| column.span.clone())).collect()).collect(),
    };
    tell_workbooks_of_fields(&mut systems, &fields, &key);
    tell_trailers_of_fields(&mut systems, &fields);
    tell_json_of_fields(&mut systems, &fields);
    for system in &mut systems {
        if let Some(Kind::Http(http)) = &mut system.kind {
            http.retry_for_s = retry_for_s;
        }
    }
    let systems: Option<Vec<SystemSpec>> = systems
        .into_iter()
        .map(|draft| {
            Some(SystemSpec {
                name: draft.name.value,
                kind: draft.kind?,
                role: draft.role?,
                may: draft.may,
                only: draft.only,
                id: draft.id.map(|id| id.value),
                edited_at: draft.edited_at,
                gates: draft.gates,
            })
        })
        .collect();
    let job = Job {
        name: table.name.as_ref()?.value.clone(),
        description: table.description.as_ref().map(|description| description.value.clone()),
        mode,
        contact: contact.or_else(|| defaults.contact.clone()),
        schedule,
        key,
        systems: systems?,
        fields: ready.into_iter().collect::<Option<Vec<Field>>>()?,
        dedupe,
        deletes: deletes?,
        attempts_max: attempts,
        retry_for_s,
        totals,
        money,
        canaries,
        locks,
        report,
        source: Source { path: file.path.clone(), text: file.text.clone(), digest: digest(&file.text) },
    };
    Some(Checked { job, spots })
}

fn check_canaries(table: &JobTable, fields: &[FieldDraft<'_>], key: &[usize], systems: &[SystemDraft], page: &mut Page<'_>) -> Vec<Canary> {
    let mut canaries = Vec::new();
    for canary in table.canaries.iter().flat_map(|canaries| &canaries.value) {
        let Some(written) = &canary.value.key else { continue };
        let parts = &written.value.0;
        let names: Vec<&str> = key.iter().map(|field| fields[*field].name.as_str()).collect();
        if parts.len() != key.len() && !key.is_empty() {
            page.refuse(&written.span, format!("the key of a canary has {} values, that of a record {}", parts.len(), key.len()))
                .seen(format!("key fields: {}", quoted(names.iter().copied())));
            continue;
        }
        let typed = |field: usize, value: &At<Scalar>, page: &mut Page<'_>| value_of(&value.value.0, fields[field].field_type?, &value.span, "canaries", page);
        let values: Vec<Value> = key.iter().zip(parts).filter_map(|(field, part)| typed(*field, part, page)).collect();
        let named = canary.value.systems.as_ref();
        if let Some(named) = named.filter(|named| named.value.0.is_empty()) {
            page.refuse(&named.span, "`systems` of a canary names no system");
        }
        let within: Vec<usize> = match named {
            Some(named) => named.value.0.iter().filter_map(|name| find_system(name, "canaries", systems, page)).collect(),
            None => (0..systems.len()).collect(),
        };
        let mut expect = Vec::new();
        for (name, value) in canary.value.expect.iter().flat_map(|expect| &expect.value.0) {
            let (Some(field), Some(value)) = (find_field(name, "canaries", table, fields, page), value) else { continue };
            if !within.is_empty() && within.iter().all(|system| fields[field].columns[*system].is_none()) {
                page.refuse(&name.span, format!("no system of this canary carries `{}`: nothing would be compared", name.value));
            }
            let value = At::new(value.clone(), name.span.clone());
            expect.extend(typed(field, &value, page).map(|value| (field, value)));
        }
        if values.len() == key.len() {
            canaries.push(Canary { key: values, systems: within, expect });
        }
    }
    canaries
}

/// The text that stands for any value in `immutable_when`.
const ANY_VALUE: &str = "*";

fn check_row_locks(table: &JobTable, systems: &[SystemDraft], mode: Mode, page: &mut Page<'_>) -> Vec<Lock> {
    let mut locks = Vec::new();
    let written = table.systems.iter().flat_map(|systems| &systems.value.0);
    for (index, (name, system)) in written.enumerate() {
        let Some(immutable) = system.as_ref().and_then(|system| system.common.immutable_when.as_ref()) else { continue };
        let spec = &systems[index];
        let is_changed = spec.is_written() || spec.role.is_some_and(Role::is_written) && spec.may.delete != Permission::Never;
        if spec.role.is_some() && (mode == Mode::Audit || !is_changed) {
            page.refuse(&immutable.span, format!("`immutable_when` says nothing about system `{}`, which is never written", name.value));
        }
        for (column, values) in &immutable.value.0 {
            let values: Vec<String> = values.iter().flat_map(|values| &values.0).map(|value| value.value.trim().to_lowercase()).collect();
            if column.value.is_empty() {
                page.refuse(&column.span, format!("`systems.{}.immutable_when` names no column", name.value));
            } else if values.is_empty() || values.iter().any(String::is_empty) {
                page.refuse(&column.span, format!("`systems.{}.immutable_when` names no value of column `{}`", name.value, column.value))
                    .hint("name the values, or write `\"*\"` for any");
            }
            let holds = (!values.iter().any(|value| value == ANY_VALUE)).then_some(values);
            locks.push(Lock { system: index, field: None, when: LockWhen::Column { name: column.value.clone(), holds } });
        }
    }
    locks
}

fn check_field_locks(
    index: usize,
    field: &FieldDraft<'_>,
    fields: &[FieldDraft<'_>],
    systems: &[SystemDraft],
    mode: Mode,
    table: &JobTable,
    page: &mut Page<'_>,
) -> Vec<Lock> {
    let Some(immutable) = &field.table.immutable_when else { return Vec::new() };
    let name = &field.name.value;
    let written: Vec<usize> = field.carriers().into_iter().filter(|system| systems[*system].is_written()).collect();
    if mode == Mode::Audit || written.is_empty() && systems.iter().all(|system| system.is_whole) {
        page.refuse(&immutable.span, format!("`immutable_when` says nothing about field `{name}`, which is never written"));
    }
    let mut locks = Vec::new();
    for (condition, values) in &immutable.value.0 {
        let Some(when) = find_field(condition, "immutable_when", table, fields, page) else { continue };
        let values = values.as_ref().map_or(&[][..], |values| &values.0);
        if values.is_empty() {
            page.refuse(&condition.span, format!("`immutable_when` of field `{name}` names no value of `{}`", condition.value))
                .hint("name the values, or write `\"*\"` for any");
            continue;
        }
        let is_any = values.iter().any(|value| value.value.0.trim() == ANY_VALUE);
        let typed = fields[when].field_type.filter(|_| !is_any).map(|field_type| {
            let typed = values.iter().map(|value| value_of(&value.value.0, field_type, &value.span, "immutable_when", page));
            typed.collect::<Vec<Option<Value>>>().into_iter().flatten().collect::<Vec<Value>>()
        });
        for system in &written {
            let spec = &systems[*system].name.value;
            if fields[when].columns[*system].is_none() {
                page.refuse(
                    &condition.span,
                    format!("system `{spec}` is written and has no column for `{}`: nothing there tells that `{name}` must stay", condition.value),
                )
                .hint(format!("give `{}` a column in `{spec}`, or name a column of the one system in its own `immutable_when`", condition.value));
                continue;
            }
            locks.push(Lock { system: *system, field: Some(index), when: LockWhen::Field { field: when, holds: typed.clone() } });
        }
    }
    locks
}

/// The SHA-256 of a text, in hexadecimal.
fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a name is made of small letters, digits and the other characters given, a letter first.
fn is_small_name(name: &str, others: &[char]) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|character| character.is_ascii_lowercase() || character.is_ascii_digit() || others.contains(&character))
}

fn quoted<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn check_name(table: &JobTable, file: &JobFile, page: &mut Page<'_>) {
    let Some(name) = &table.name else { return };
    let last = file.path.rsplit(['/', '\\']).next().unwrap_or(&file.path);
    let stem = last.strip_suffix(".toml").unwrap_or(last);
    if !is_small_name(name.as_str(), &['-']) {
        page.refuse(&name.span, format!("`{}` cannot be the name of a job", name.value)).seen("a name has small letters, digits and `-`, a letter first");
    } else if NAMES_RESERVED.contains(&name.as_str()) {
        page.refuse(&name.span, format!("`{}` cannot be the name of a job: the reports folder uses it", name.value))
            .hint("choose another name, and rename the file");
    } else if name.value != stem {
        page.refuse(&name.span, format!("the job is called `{}`, and its file `{last}`", name.value))
            .hint(format!("write `name = \"{stem}\"`, or rename the file to `{}.toml`", name.value));
    }
}

fn refuse_address(address: &At<String>, name: &str, page: &mut Page<'_>) {
    if !is_mail_address(address.as_str()) && !has_reference(address.as_str()) {
        page.refuse(&address.span, format!("`{name}` is not a mail address: `{}`", address.value.escape_debug()))
            .hint("write it as `finance@example.com`, or `Finance <finance@example.com>`");
    }
}

/// Refuses what is not the IANA name of a time zone.
pub(super) fn refuse_timezone(timezone: &At<String>, page: &mut Page<'_>) {
    if !is_timezone(timezone.as_str()) {
        let said = page.refuse(&timezone.span, format!("there is no time zone `{}`", timezone.value));
        match timezone_meant(timezone.as_str()) {
            Some(meant) => said.hint(format!("did you mean `{meant}`?")),
            None => said.hint("write an IANA name, such as `Europe/London` or `UTC`"),
        };
    }
}

fn check_schedule(table: &JobTable, defaults: &Settings, page: &mut Page<'_>) -> Option<Schedule> {
    let schedule = &table.schedule.as_ref()?.value;
    if let Some(timezone) = &schedule.timezone {
        refuse_timezone(timezone, page);
    }
    let cron = schedule.cron.as_ref()?;
    if let Err(problem) = read_cron(cron.as_str()) {
        page.refuse(&cron.span, format!("`{}` is not a schedule: {problem}", cron.value)).hint("`0 2 * * 1-5` is two o'clock from Monday to Friday");
    }
    Some(Schedule {
        cron: cron.value.clone(),
        timezone: schedule.timezone.as_ref().map_or_else(|| defaults.timezone.clone(), |timezone| timezone.value.clone()),
        run_missed_once: schedule.missed.as_ref().is_none_or(|missed| missed.value == Missed::RunOnce),
    })
}

fn check_systems(table: &JobTable, mode: Mode, page: &mut Page<'_>) -> Vec<SystemDraft> {
    let Some(systems) = &table.systems else { return Vec::new() };
    if systems.value.0.len() < 2 {
        page.refuse(&systems.value.0.first().map_or(systems.span.clone(), |(name, _)| name.span.clone()), "a job needs at least two systems")
            .seen(format!("systems: {}", if systems.value.0.is_empty() { "none".to_owned() } else { quoted(systems.value.names()) }));
    }
    let mut drafts: Vec<SystemDraft> = Vec::new();
    for (name, system) in &systems.value.0 {
        if !is_small_name(name.as_str(), &['-', '_']) {
            page.refuse(&name.span, format!("`{}` cannot be the name of a system", name.value))
                .seen("a name has small letters, digits, `-` and `_`, a letter first");
        }
        let draft = match system {
            Some(system) => check_system(name, system, mode, page),
            None => SystemDraft {
                name: name.clone(),
                role: None,
                kind: None,
                may: MAY_NEVER,
                only: Vec::new(),
                id: None,
                edited_at: None,
                has_edit_time: true,
                gates: Gates::default(),
                refuses_formulas: false,
                is_whole: false,
            },
        };
        drafts.push(draft);
    }
    refuse_shared_places(&drafts, page);
    drafts
}

const MAY_NEVER: May = May { create: Permission::Never, update: Permission::Never, delete: Permission::Never };

fn check_system(name: &At<String>, system: &System, mode: Mode, page: &mut Page<'_>) -> SystemDraft {
    let common = &system.common;
    let role = common.role.as_ref().map(|role| role.value);
    let kind = system.settings.as_ref().and_then(|settings| check_kind(name, settings, common.id.as_ref(), role, mode, page));
    let mut only = Vec::new();
    for (column, values) in common.only.iter().flat_map(|only| &only.value.0) {
        let values: Vec<String> = values.iter().flat_map(|values| &values.0).map(|value| value.value.trim().to_owned()).collect();
        if column.value.is_empty() {
            page.refuse(&column.span, format!("`systems.{}.only` names no column", name.value));
        } else if values.is_empty() {
            page.refuse(&column.span, format!("`systems.{}.only` accepts no value of column `{}`", name.value, column.value))
                .seen("every row would be out of scope");
        }
        only.push((column.value.clone(), values));
    }
    if let Some(id) = &common.id {
        refuse_empty(id, &format!("systems.{}.id", name.value), page);
    }
    let may = check_may(name, common, kind.as_ref(), mode, page);
    if let Some(Kinds::Json(_) | Kinds::Http(_)) = &system.settings {
        let edited_at = common.edited_at.as_ref().and_then(|edited_at| edited_at.value.0.name.as_ref());
        let filters = [&common.only, &common.immutable_when].into_iter().flatten().flat_map(|rows| rows.value.0.iter().map(|(column, _)| column));
        for column in common.id.iter().chain(edited_at).chain(filters).filter(|column| !column.value.is_empty()) {
            refuse_no_path(&column.value, &column.span, &name.value, page);
        }
    }
    if let Some(Kinds::Excel(excel)) = &system.settings {
        refuse_unwritable_workbooks(name, excel, role, may, mode, page);
    }
    SystemDraft {
        name: name.clone(),
        role,
        may,
        kind,
        only,
        id: common.id.clone(),
        edited_at: common.edited_at.as_ref().and_then(|edited_at| {
            let stores_moments = matches!(system.settings, Some(Kinds::Excel(_)));
            check_edited_at(&edited_at.value, stores_moments, page)
        }),
        has_edit_time: common.edited_at.is_some() || !system.is_whole,
        gates: Gates::default(),
        refuses_formulas: matches!(&system.settings, Some(Kinds::Csv(csv)) if csv.on_formula.as_ref().is_none_or(|on| on.value == OnFormula::Reject)),
        is_whole: system.is_whole,
    }
}

fn refuse_empty(text: &At<String>, name: &str, page: &mut Page<'_>) {
    if text.value.trim().is_empty() {
        page.refuse(&text.span, format!("`{name}` is empty"));
    }
}

fn check_kind(name: &At<String>, settings: &Kinds, id: Option<&At<String>>, role: Option<Role>, mode: Mode, page: &mut Page<'_>) -> Option<Kind> {
    match settings {
        Kinds::Csv(csv) => {
            let mut character = |text: &Option<At<String>>, key: &str| {
                let text = text.as_ref()?;
                let mut characters = text.value.chars();
                match (characters.next(), characters.next()) {
                    (Some(only), None) if only.is_ascii() && !matches!(only, '\r' | '\n' | '\0') => Some(only),
                    _ => {
                        let said =
                            page.refuse(&text.span, format!("`systems.{}.{key}` must be one plain character, not `{}`", name.value, text.value.escape_debug()));
                        if text.value.eq_ignore_ascii_case("tab") || text.value == "\\t" {
                            said.hint("a tab is written `\"\\t\"`");
                        }
                        None
                    }
                }
            };
            let delimiter = character(&csv.delimiter, "delimiter");
            let quote = character(&csv.quote, "quote");
            if let (Some(delimiter), Some(at)) = (delimiter, &csv.quote)
                && quote == Some(delimiter)
            {
                page.refuse(&at.span, format!("`systems.{}` has one character as both `delimiter` and `quote`", name.value));
            }
            if let Some(encoding) = &csv.encoding
                && encoding_rs::Encoding::for_label(encoding.value.as_bytes()).is_none()
            {
                page.refuse(&encoding.span, format!("there is no encoding `{}`", encoding.value)).known(
                    "for example",
                    encoding.as_str(),
                    ["utf-8", "windows-1252", "utf-16le", "iso-8859-15"],
                );
            }
            let file = check_source_file(name, &FileKeys::of_csv(csv), role, mode, page)?;
            Some(Kind::Csv(CsvSettings {
                pads_short_rows: csv.ragged.as_ref().is_some_and(|ragged| ragged.value == Ragged::Pad),
                trailer: check_csv_trailer(name, csv, page),
                path: file.path,
                newest: file.newest,
                ready: file.ready,
                backups: file.backups,
                member: file.member,
                delimiter,
                quote,
                encoding: csv.encoding.as_ref().map(|encoding| encoding.value.clone()),
                header: csv.header.as_ref().map_or(1, |header| u64::from(header.value)),
            }))
        }
        Kinds::Excel(excel) => check_excel(name, excel, page).map(Kind::Excel),
        Kinds::Sql(sql) => {
            for (text, key) in [(&sql.table, "table"), (&sql.query, "query")] {
                if let Some(text) = text {
                    refuse_empty(text, &format!("systems.{}.{key}", name.value), page);
                }
            }
            match (&sql.table, &sql.query) {
                (None, None) => {
                    page.refuse(&name.span, format!("system `{}` has neither `table` nor `query`", name.value)).hint("name the table that holds the records");
                }
                (None, Some(query)) if mode == Mode::Sync && role.is_some_and(Role::is_written) => {
                    page.refuse(&query.span, format!("system `{}` is written, and a query cannot be", name.value))
                        .hint("give the `table` that is written, or make the system a source or a witness");
                }
                _ => {}
            }
            let url = sql.url.as_ref()?;
            refuse_url(name, url, page);
            let is_server = url.value.split_once(':').is_some_and(|(scheme, _)| Engine::of_scheme(scheme).is_some());
            if let Some(table) = sql.table.as_ref().filter(|table| is_server && !table.value.is_empty())
                && let Err(what) = table_parts(&table.value)
            {
                page.refuse(&table.span, format!("`systems.{}.table` {what}", name.value))
                    .hint("write `table` or `schema.table`, with quotes round a name that has a point in it");
            }
            let text = |text: &Option<At<String>>| text.as_ref().map(|text| text.value.clone());
            Some(Kind::Sql(SqlSettings { url: url.value.clone(), table: text(&sql.table), query: text(&sql.query) }))
        }
        Kinds::Http(http) => check_http(name, http, id, role, mode, page).map(|http| Kind::Http(Box::new(http))),
        Kinds::Json(json) => check_json(name, json, role, mode, page).map(Kind::Json),
        Kinds::Parquet(parquet) => {
            let keys =
                FileKeys { path: &parquet.path, newest: &parquet.newest, ready: &parquet.ready, backups: &parquet.backups, member: &None, ending: "parquet" };
            let path = parquet.path.as_ref()?;
            if Packing::of(&path.value).is_some() {
                page.refuse(&path.span, format!("`systems.{}.path` is a packed file, and a Parquet file is packed inside", name.value))
                    .hint("unpack it, and name the Parquet file itself");
                return None;
            }
            check_source_file(name, &keys, role, mode, page).map(|file| Kind::Parquet(ParquetSettings { file }))
        }
        Kinds::Memory(memory) => Some(Kind::Memory(memory.table.as_ref().map_or_else(|| name.value.clone(), |table| table.value.clone()))),
    }
}

/// The keys that all kinds of files have.
struct FileKeys<'t> {
    path: &'t Option<At<String>>,
    newest: &'t Option<At<String>>,
    ready: &'t Option<At<FileReadyTable>>,
    backups: &'t Option<At<u32>>,
    member: &'t Option<At<String>>,
    /// The end of such a file's name, for hints.
    ending: &'static str,
}

impl<'t> FileKeys<'t> {
    fn of_csv(csv: &'t CsvTable) -> FileKeys<'t> {
        FileKeys { path: &csv.path, newest: &csv.newest, ready: &csv.ready, backups: &csv.backups, member: &csv.member, ending: "csv" }
    }
}

/// Where a file is. Nothing if it has no path.
fn check_source_file(name: &At<String>, keys: &FileKeys<'_>, role: Option<Role>, mode: Mode, page: &mut Page<'_>) -> Option<FileSettings> {
    let path = keys.path.as_ref()?;
    refuse_empty(path, &format!("systems.{}.path", name.value), page);
    let is_written = mode == Mode::Sync && role.is_some_and(Role::is_written);
    refuse_unclear_names(name, keys, path, is_written, page);
    let packing = Packing::of(&path.value);
    if packing.is_some() && is_written {
        page.refuse(&path.span, format!("system `{}` is written, and a packed file is only read", name.value))
            .hint("unpack the file, or make the system a source or a witness");
    }
    if let Some(member) = keys.member {
        refuse_empty(member, &format!("systems.{}.member", name.value), page);
        if packing != Some(Packing::Zip) && !has_reference(&path.value) {
            page.refuse(&member.span, format!("`systems.{}.member` is for a zip archive, and `{}` is none", name.value, path.value))
                .hint("leave it out, or name the archive in `path`");
        }
    }
    let backups = keys.backups.as_ref().map(|backups| {
        if !(1..=BACKUPS_MAX).contains(&backups.value) {
            page.refuse(&backups.span, format!("`systems.{}.backups` must lie between 1 and {BACKUPS_MAX}, not {}", name.value, backups.value));
        }
        backups.value
    });
    Some(FileSettings {
        path: path.value.clone(),
        newest: keys.newest.as_ref().map(|newest| newest.value.clone()),
        ready: check_ready(name, keys, page),
        backups,
        member: keys.member.as_ref().map(|member| member.value.clone()),
    })
}

fn check_json(name: &At<String>, json: &JsonTable, role: Option<Role>, mode: Mode, page: &mut Page<'_>) -> Option<JsonSettings> {
    let keys = FileKeys { path: &json.path, newest: &json.newest, ready: &json.ready, backups: &json.backups, member: &json.member, ending: "json" };
    let mut records = Vec::new();
    if let Some(written) = &json.records {
        let key = format!("systems.{}.records", name.value);
        match read_path(written.as_str().trim()) {
            Err(problem) => {
                page.refuse(&written.span, format!("`{key}` {problem}")).seen(format!("found `{}`", written.value)).hint("for example `records = \"$.items\"`");
            }
            Ok(steps) => {
                let length = steps.len();
                records.extend(steps.into_iter().filter_map(|step| match step {
                    PathStep::Key(key) => Some(key),
                    PathStep::Index(_) => None,
                }));
                if records.len() < length {
                    page.refuse(&written.span, format!("`{key}` goes through an array, and the records are one array"))
                        .hint("for example `records = \"$.items\"`");
                }
            }
        }
    }
    let path = json.path.as_ref()?;
    let inner = match Packing::of(&path.value) {
        Some(Packing::Gzip) => path.value[..path.value.len() - ".gz".len()].to_owned(),
        Some(Packing::Zip) => json.member.as_ref().map_or_else(String::new, |member| member.value.clone()),
        None => path.value.clone(),
    };
    let is_named_so = matches!(workbook_ending(&inner).as_str(), "ndjson" | "jsonl");
    let has_lines = json.lines.as_ref().map_or(is_named_so, |lines| lines.value);
    if let Some(written) = json.records.as_ref().filter(|_| has_lines) {
        page.refuse(&written.span, format!("`systems.{}.records` is for one array, and here each line is a record", name.value))
            .hint("leave it out, or say `lines = false`");
    }
    let file = check_source_file(name, &keys, role, mode, page)?;
    Some(JsonSettings { file, has_lines, records, null: json.null.as_ref().map_or(JsonNull::Null, |null| null.value), columns: Vec::new() })
}

/// A column of a JSON file that is no path.
fn refuse_no_path(column: &str, span: &Span, system: &str, page: &mut Page<'_>) {
    let said = match read_path(column) {
        Ok(steps) if steps.is_empty() => page.refuse(span, format!("column `{column}` of system `{system}` is the whole record")),
        Ok(steps) if !matches!(steps.first(), Some(PathStep::Key(_))) => {
            page.refuse(span, format!("column `{column}` of system `{system}` begins with an index, and a record is an object"))
        }
        Ok(_) => return,
        Err(problem) => page.refuse(span, format!("column `{column}` of system `{system}` {problem}")),
    };
    said.seen("columns of a json or http system are paths: `properties.email`, `phones[0].number`")
        .hint("a name that has points or brackets itself is written `[\"first.name\"]`, in single quotes of TOML: `'[\"first.name\"]'`");
}

/// What the fields say about columns that are paths into JSON.
fn tell_json_of_fields(systems: &mut [SystemDraft], fields: &[FieldDraft<'_>]) {
    for (index, system) in systems.iter_mut().enumerate() {
        let columns = match &mut system.kind {
            Some(Kind::Json(json)) => &mut json.columns,
            Some(Kind::Http(http)) => &mut http.columns,
            _ => continue,
        };
        for field in fields {
            let spec = field.columns[index].as_ref().and_then(|column| column.spec.as_ref());
            let (Some(spec), Some(field_type)) = (spec, field.field_type) else { continue };
            columns.push(JsonColumn { name: spec.name.clone(), field_type });
        }
    }
}

fn check_ready(name: &At<String>, keys: &FileKeys<'_>, page: &mut Page<'_>) -> Option<FileReady> {
    let ready = keys.ready.as_ref()?;
    let key = format!("systems.{}.ready", name.value);
    match (&ready.value.stable_s, &ready.value.marker) {
        (Some(_), Some(marker)) => {
            page.refuse(&marker.span, format!("`{key}` has both `stable_s` and `marker`")).hint("keep one of the two; a marker is the safer one");
            None
        }
        (Some(seconds), None) => {
            if !(1..=STABLE_SECONDS_MAX).contains(&seconds.value) {
                page.refuse(&seconds.span, format!("`{key}.stable_s` must lie between 1 and {STABLE_SECONDS_MAX} seconds, not {}", seconds.value));
            }
            Some(FileReady::Stable(seconds.value))
        }
        (None, Some(marker)) => {
            refuse_empty(marker, &format!("{key}.marker"), page);
            let is_itself = keys.path.as_ref().is_some_and(|path| path.value == marker.value);
            if is_itself || marker.value.contains('*') {
                page.refuse(&marker.span, format!("`{key}.marker` must name one other file, not `{}`", marker.value))
                    .hint("`{name}` stands for the name of the file: `\"data/{name}.done\"`");
            }
            Some(FileReady::Marker(marker.value.clone()))
        }
        (None, None) => {
            page.refuse(&ready.span, format!("`{key}` says nothing"))
                .hint("for example `ready = { stable_s = 60 }`, or `ready = { marker = \"data/{name}.done\" }`");
            None
        }
    }
}

fn check_csv_trailer(name: &At<String>, csv: &CsvTable, page: &mut Page<'_>) -> Option<CsvTrailer> {
    let trailer = &csv.trailer.as_ref()?.value;
    let key = format!("systems.{}.trailer", name.value);
    let starts = trailer.starts.as_ref()?;
    refuse_empty(starts, &format!("{key}.starts"), page);
    if let Some(column) = trailer.count_column.as_ref().filter(|column| column.value == 0) {
        page.refuse(&column.span, format!("`{key}.count_column` is 0, and columns are counted from 1"));
    }
    let mut sums: Vec<(String, u32)> = Vec::new();
    for (of, column) in trailer.sums.iter().flat_map(|sums| &sums.value.0) {
        let Some(column) = *column else { continue };
        if column == 0 {
            page.refuse(&of.span, format!("`{key}.sums.{}` is 0, and columns are counted from 1", of.value));
        }
        let is_taken = trailer.count_column.as_ref().is_some_and(|count| count.value == column) || sums.iter().any(|(_, other)| *other == column);
        if is_taken || column == 1 {
            let what = if is_taken { "says something else too" } else { "is the one that begins with `starts`" };
            page.refuse(&of.span, format!("`{key}.sums.{}`: column {column} of the trailer {what}", of.value))
                .hint("each number of the trailer has a column of its own");
        }
        sums.push((of.value.clone(), column));
    }
    let decimal = trailer.decimal.as_ref().and_then(|mark| check_mark(mark, page));
    if let Some(mark) = trailer.decimal.as_ref().filter(|_| sums.is_empty() && trailer.sums.is_none()) {
        page.refuse(&mark.span, format!("`{key}.decimal` is for `sums`, and there are none"));
    }
    Some(CsvTrailer { starts: starts.value.clone(), count_column: trailer.count_column.as_ref().map(|column| column.value), sums, decimal })
}

/// A decimal mark.
fn check_mark(mark: &At<String>, page: &mut Page<'_>) -> Option<char> {
    match mark.as_str() {
        "." => Some('.'),
        "," => Some(','),
        _ => {
            page.refuse(&mark.span, format!("`{}` is not a decimal mark", mark.value.escape_debug())).hint("write `\".\"` or `\",\"`");
            None
        }
    }
}

/// What the fields say about the columns that a trailer sums: their decimal mark, where the trailer does not say it.
fn tell_trailers_of_fields(systems: &mut [SystemDraft], fields: &[FieldDraft<'_>]) {
    for (index, system) in systems.iter_mut().enumerate() {
        let Some(Kind::Csv(CsvSettings { trailer: Some(trailer), .. })) = &mut system.kind else { continue };
        let columns = fields.iter().filter_map(|field| field.columns[index].as_ref()?.spec.as_ref());
        let of_sums = columns.filter(|column| trailer.sums.iter().any(|(of, _)| *of == column.name)).find_map(|column| column.decimal);
        trailer.decimal = trailer.decimal.or(of_sums);
    }
}

/// A path that stands for several files, of which it cannot be told which is meant.
fn refuse_unclear_names(name: &At<String>, keys: &FileKeys<'_>, path: &At<String>, is_written: bool, page: &mut Page<'_>) {
    let key = |key: &str| format!("systems.{}.{key}", name.value);
    let (folder, file) = path.value.rsplit_once('/').map_or(("", path.value.as_str()), |(folder, file)| (folder, file));
    let stars = file.matches('*').count();
    match keys.newest {
        None if path.value.contains('*') => {
            page.refuse(&path.span, format!("`{}` stands for several files, and nothing tells which is meant", key("path")))
                .hint("say how the date in their names is spelled: `newest = \"%Y%m%d\"`");
        }
        None => {}
        Some(newest) => {
            if stars != 1 || folder.contains('*') {
                page.refuse(&path.span, format!("with `newest`, `{}` must have one `*`, in the name of the file", key("path")))
                    .hint(format!("for example `path = \"data/invoices-*.{}\"`", keys.ending));
            }
            if let Some(problem) = name_date_problem(newest.as_str()) {
                page.refuse(&newest.span, format!("`{}` cannot tell the newest file: {problem}", key("newest")))
                    .hint("it has `%Y`, then perhaps `%m`, `%d`, `%H`, `%M` and `%S`, and the characters between them: `%Y-%m-%d`");
            }
            if is_written {
                page.refuse(&newest.span, format!("system `{}` is written, and `newest` is another file every time", name.value))
                    .hint("name one file in `path`, or make the system a source or a witness");
            }
        }
    }
}

fn check_excel(name: &At<String>, excel: &ExcelTable, page: &mut Page<'_>) -> Option<ExcelSettings> {
    let key = |key: &str| format!("systems.{}.{key}", name.value);
    if let Some(sheet) = &excel.sheet {
        refuse_empty(sheet, &key("sheet"), page);
    }
    let header = excel.header.as_ref().map_or_else(ExcelHeader::default, |header| check_excel_header(header, &key("header"), page));
    for text in excel.stop_at.iter().flat_map(|texts| &texts.value.0) {
        refuse_empty(text, &key("stop_at"), page);
    }
    let mut drop_where = Vec::new();
    for (column, values) in excel.drop_where.iter().flat_map(|rules| &rules.value.0) {
        let values: Vec<String> = values.iter().flat_map(|values| &values.0).map(|value| value.value.trim().to_owned()).collect();
        if column.value.is_empty() || values.is_empty() {
            page.refuse(&column.span, format!("`{}` names no column, or none of its values", key("drop_where")))
                .hint("for example `drop_where = { Customer = [\"Total\"] }`");
        }
        drop_where.push((column.value.clone(), values));
    }
    for error in excel.errors_as_null.iter().flat_map(|errors| &errors.value).filter(|error| !error.value.starts_with('#')) {
        page.refuse(&error.span, format!("`{}` is not an error of a formula", error.value)).hint("they begin with `#`, such as `#N/A`, `#REF!` or `#DIV/0!`");
    }
    let path = excel.path.as_ref()?;
    refuse_empty(path, &key("path"), page);
    let is_workbook = WORKBOOKS_WRITABLE.iter().chain(WORKBOOKS_READABLE).any(|ending| workbook_ending(&path.value) == *ending);
    if !path.value.trim().is_empty() && !is_workbook && !has_reference(&path.value) {
        let said =
            page.refuse(&path.span, format!("`{}` is not the name of a workbook", path.value)).seen("workbooks end with .xlsx, .xlsm, .xls, .xlsb or .ods");
        if matches!(workbook_ending(&path.value).as_str(), "csv" | "txt" | "tsv") {
            said.hint("a text file is of `kind = \"csv\"`");
        }
    }
    let texts = |texts: &[At<String>]| -> Vec<String> { texts.iter().map(|text| text.value.trim().to_owned()).collect() };
    Some(ExcelSettings {
        path: path.value.clone(),
        sheet: excel.sheet.as_ref().map(|sheet| sheet.value.clone()),
        header,
        stop_at: excel.stop_at.as_ref().map_or_else(Vec::new, |at| texts(&at.value.0)),
        drop_where,
        errors_as_null: excel.errors_as_null.as_ref().map_or_else(Vec::new, |at| texts(&at.value)),
        columns: Vec::new(),
    })
}

fn check_excel_header(header: &At<ExcelHeaderWritten>, key: &str, page: &mut Page<'_>) -> ExcelHeader {
    let ExcelHeaderWritten(table) = &header.value;
    let at = match (&table.row, &table.find) {
        (Some(row), Some(_)) => {
            page.refuse(&row.span, format!("`{key}` has both `row` and `find`")).hint("where the row is known, nothing needs to be found");
            ExcelHeaderAt::First
        }
        (Some(row), None) => {
            if row.value == 0 {
                page.refuse(&row.span, format!("`{key}` is 0, and rows are counted from 1"))
                    .hint("a table without a header has no names for its columns: add one");
            }
            ExcelHeaderAt::Row(row.value)
        }
        (None, Some(find)) => {
            for name in &find.value.0 {
                refuse_empty(name, &format!("{key}.find"), page);
            }
            ExcelHeaderAt::Find(find.value.0.iter().map(|name| name.value.clone()).collect())
        }
        (None, None) => ExcelHeaderAt::First,
    };
    let rows = table.rows.as_ref().map_or(1, |rows| {
        if !(1..=EXCEL_HEADER_ROWS_MAX).contains(&rows.value) {
            page.refuse(&rows.span, format!("a header has 1 to {EXCEL_HEADER_ROWS_MAX} rows, not {}", rows.value));
        }
        rows.value
    });
    ExcelHeader { at, rows }
}

/// The end of a path after the last dot, in small letters.
fn workbook_ending(path: &str) -> String {
    path.rsplit_once('.').map_or_else(String::new, |(_, ending)| ending.to_ascii_lowercase())
}

/// Workbooks that only some kinds of file can be written as, and one sheet of which is written by one system.
fn refuse_unwritable_workbooks(name: &At<String>, excel: &ExcelTable, role: Option<Role>, may: May, mode: Mode, page: &mut Page<'_>) {
    let Some(path) = &excel.path else { return };
    let is_written = mode == Mode::Sync && role.is_some_and(Role::is_written) && may != MAY_NEVER;
    let ending = workbook_ending(&path.value);
    if is_written && WORKBOOKS_READABLE.contains(&ending.as_str()) {
        page.refuse(&path.span, format!("system `{}` is written, and a workbook of the kind .{ending} cannot be", name.value))
            .seen("written are .xlsx and .xlsm")
            .hint("save it as .xlsx, or make the system a source or a witness");
    }
}

/// What the fields say about their columns, for the systems that store more than text.
fn tell_workbooks_of_fields(systems: &mut [SystemDraft], fields: &[FieldDraft<'_>], key: &[usize]) {
    for (index, system) in systems.iter_mut().enumerate() {
        let Some(Kind::Excel(excel)) = &mut system.kind else { continue };
        for (number, field) in fields.iter().enumerate() {
            let spec = field.columns[index].as_ref().and_then(|column| column.spec.as_ref());
            let (Some(spec), Some(field_type)) = (spec, field.field_type) else { continue };
            let is_key = key.contains(&number);
            let keeps_digits = field.table.clean.iter().flat_map(|rules| &rules.value).any(|rule| rule.value == CleanRule::Digits);
            excel.columns.push(ExcelColumn {
                name: spec.name.clone(),
                field_type,
                is_key,
                is_identifier: field_type == FieldType::Text && (is_key || keeps_digits || spec.fixed_width.is_some()),
                declares_dates: !spec.dates.is_empty(),
                fixed_width: spec.fixed_width,
                timezone: spec.timezone.clone(),
            });
        }
    }
}

fn refuse_url(name: &At<String>, url: &At<String>, page: &mut Page<'_>) {
    let key = format!("systems.{}.url", name.value);
    if has_literal_secret(url.as_str()) {
        page.refuse(&url.span, format!("a secret stands in `{key}`")).hint("put it into the environment, and write `${env:NAME}` in its place");
        return;
    }
    if url.value.starts_with("${") {
        return;
    }
    let scheme: &str = url.value.split_once(':').map_or("", |(scheme, _)| scheme);
    let path = url.value.split_once(':').map_or("", |(_, path)| path);
    match scheme {
        "sqlite" if path.trim().is_empty() => {
            page.refuse(&url.span, format!("`{key}` names no file")).hint("for example `sqlite:data/books.db`");
        }
        "sqlite" if path.starts_with("//") && !path.starts_with("///") => {
            page.refuse(&url.span, format!("`{key}` has `//` before its path")).hint(format!("write `sqlite:{}`", &path[2..]));
        }
        "sqlite" => {}
        _ if Engine::of_scheme(scheme).is_some() => {
            if let Err((what, hint)) = DatabaseUrl::parse(&url.value) {
                page.refuse(&url.span, format!("`{key}` {what}")).hint(hint);
            }
        }
        _ => {
            page.refuse(&url.span, format!("`{key}` does not say which database it is")).hint("for example `sqlite:data/books.db`");
        }
    }
}

/// For how many seconds a run waits in all for what passes.
pub(super) fn check_apply(table: Option<&ApplyTable>, otherwise: u32, page: &mut Page<'_>) -> u32 {
    let Some(seconds) = table.and_then(|table| table.retry_for_s.as_ref()) else { return otherwise };
    if seconds.value > RETRY_FOR_S_MAX {
        page.refuse(&seconds.span, format!("`apply.retry_for_s` must lie between 0 and {RETRY_FOR_S_MAX}"))
            .seen(format!("found {}", seconds.value))
            .hint("whatever takes longer is tried again by the next run");
    }
    seconds.value
}

fn check_may(name: &At<String>, common: &SystemTable, kind: Option<&Kind>, mode: Mode, page: &mut Page<'_>) -> May {
    let role = common.role.as_ref().map(|role| role.value);
    let is_writable = mode == Mode::Sync && role.is_some_and(Role::is_written) && !matches!(kind, Some(Kind::Sql(SqlSettings { table: None, .. })));
    let is_workbook = matches!(kind, Some(Kind::Excel(_)));
    let Some(may) = common.may.as_ref().map(|may| &may.value) else {
        if let Some(Kind::Http(http)) = kind.filter(|_| is_writable) {
            let said = |is_said: bool| if is_said { Permission::Apply } else { Permission::Never };
            return May { create: said(http.create.is_some()), update: said(http.update.is_some()), delete: said(http.delete.is_some()) };
        }
        return match (is_writable, is_workbook) {
            (true, true) => May { delete: Permission::Never, ..May::default() },
            (true, false) => May::default(),
            (false, _) => MAY_NEVER,
        };
    };
    let permission = |permission: &Option<At<Permission>>| permission.as_ref().map_or(Permission::Apply, |permission| permission.value);
    if let Some(role) = role.filter(|role| !role.is_written() && mode == Mode::Sync) {
        for (written, key) in [(&may.create, "create"), (&may.update, "update"), (&may.delete, "delete")] {
            if let Some(written) = written.as_ref().filter(|written| written.value != Permission::Never) {
                page.refuse(&written.span, format!("`{key}` of system `{}` can only be `never`: a {} is never written", name.value, role_word(role)))
                    .hint("leave `may` out, or make the system a peer or a target");
            }
        }
    }
    if !is_writable {
        return MAY_NEVER;
    }
    if is_workbook {
        if let Some(delete) = may.delete.as_ref().filter(|delete| delete.value != Permission::Never) {
            page.refuse(&delete.span, format!("`delete` of system `{}` can only be `never`: no row is ever taken out of a workbook", name.value))
                .seen("whatever refers to the rows below, such as formulas and charts, would no longer be right")
                .hint("leave it out; `policy = \"archive\"` marks rows instead");
        }
        return May { create: permission(&may.create), update: permission(&may.update), delete: Permission::Never };
    }
    if let Some(Kind::Http(http)) = kind {
        let mut said = |written: &Option<At<Permission>>, is_said: bool, key: &str| match written {
            Some(written) if written.value != Permission::Never && !is_said => {
                page.refuse(&written.span, format!("`{key}` of system `{}` is allowed, and nothing says how it is done", name.value))
                    .hint(format!("give `{key} = {{ path = \"/..\" }}`, or set `{key} = \"never\"` here"));
                Permission::Never
            }
            None if !is_said => Permission::Never,
            _ => permission(written),
        };
        return May {
            create: said(&may.create, http.create.is_some(), "create"),
            update: said(&may.update, http.update.is_some(), "update"),
            delete: said(&may.delete, http.delete.is_some(), "delete"),
        };
    }
    May { create: permission(&may.create), update: permission(&may.update), delete: permission(&may.delete) }
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Source => "source",
        Role::Target => "target",
        Role::Peer => "peer",
        Role::Witness => "witness",
    }
}

fn check_edited_at(written: &EditedAtWritten, stores_moments: bool, page: &mut Page<'_>) -> Option<EditedAt> {
    let EditedAtWritten(table) = written;
    if let Some(format) = &table.format {
        refuse_unreadable_format(format, FieldType::Instant, None, page);
    }
    if let Some(timezone) = &table.timezone {
        refuse_timezone(timezone, page);
        if table.format.is_none() && !stores_moments {
            page.refuse(&timezone.span, "`timezone` of an edit time needs a `format`").seen("without one it is RFC 3339, which names its offset");
        }
    }
    let column = table.name.as_ref()?;
    refuse_empty(column, "edited_at", page);
    Some(EditedAt {
        column: column.value.clone(),
        format: table.format.as_ref().map(|format| format.value.clone()),
        timezone: table.timezone.as_ref().map(|timezone| timezone.value.clone()),
    })
}

fn refuse_format(format: &At<String>, field_type: FieldType, century_pivot: Option<u8>, page: &mut Page<'_>) {
    if has_short_year(format.as_str()) && century_pivot.is_none() {
        page.refuse(&format.span, format!("`{}` has a two-digit year, and nothing says of which century", format.value))
            .hint("add `century_pivot` to the column: with 50, `49` is 2049 and `50` is 1950");
    } else {
        refuse_unreadable_format(format, field_type, century_pivot, page);
    }
}

fn refuse_unreadable_format(format: &At<String>, field_type: FieldType, century_pivot: Option<u8>, page: &mut Page<'_>) {
    if let Some(problem) = format_problem(format.as_str(), field_type, century_pivot) {
        let example = if field_type == FieldType::Date { "%d.%m.%Y" } else { "%Y-%m-%d %H:%M:%S" };
        page.refuse(&format.span, format!("`{}` cannot spell values of type `{field_type}`: {problem}", format.value)).hint(format!("for example `{example}`"));
    }
}

/// One place that two systems of a job share could be written through one and read through the other.
fn refuse_shared_places(systems: &[SystemDraft], page: &mut Page<'_>) {
    for (index, system) in systems.iter().enumerate() {
        let Some(kind) = &system.kind else { continue };
        let twin = systems[..index].iter().find(|other| {
            other.kind.as_ref().is_some_and(|other| super::across::place_of(other) == super::across::place_of(kind))
                && (other.is_written() || system.is_written())
        });
        if let Some(twin) = twin {
            page.refuse(&system.name.span, format!("systems `{}` and `{}` are the same place", twin.name.value, system.name.value))
                .seen(format!("both are {}", kind.place()))
                .hint("a place that is written can only be one system of a job");
            continue;
        }
        let Kind::Excel(excel) = kind else { continue };
        let shares_workbook = systems[..index].iter().find(|other| {
            let is_same = matches!(&other.kind, Some(Kind::Excel(other)) if super::across::workbook_of(other) == super::across::workbook_of(excel));
            is_same && other.is_written() && system.is_written()
        });
        if let Some(other) = shares_workbook {
            page.refuse(&system.name.span, format!("systems `{}` and `{}` are both written, and in one workbook", other.name.value, system.name.value))
                .seen(format!("the workbook is {}", excel.path))
                .seen("writing one sheet replaces the file, and the other would find it changed every night")
                .hint("give each its own job, or let one of them be a source");
        }
    }
}

fn check_gates(table: &JobTable, systems: &mut [SystemDraft], page: &mut Page<'_>) {
    let Some(gates) = &table.gates else { return };
    let all = limited(Gates::default(), &gates.value.all);
    for system in systems.iter_mut() {
        system.gates = all;
    }
    for (name, limits) in &gates.value.systems {
        match systems.iter_mut().find(|system| system.name.value == name.value) {
            Some(system) => system.gates = limited(all, limits),
            None => {
                page.refuse(&name.span, format!("`gates` names system `{}`, which the job does not have", name.value)).known(
                    "systems",
                    name.as_str(),
                    systems.iter().map(|system| system.name.as_str()),
                );
            }
        }
    }
}

fn limited(gates: Gates, table: &LimitsTable) -> Gates {
    let limit = |written: &Option<At<Limit>>, or: Limit| written.as_ref().map_or(or, |limit| limit.value);
    let switch = |written: &Option<At<Switch>>, or: bool| written.as_ref().map_or(or, |switch| switch.value == Switch::Stop);
    Gates {
        empty: switch(&table.empty, gates.empty),
        deletes: limit(&table.deletes, gates.deletes),
        updates: limit(&table.updates, gates.updates),
        all_changed: switch(&table.all_changed, gates.all_changed),
        shrink: limit(&table.shrink, gates.shrink),
        growth: limit(&table.growth, gates.growth),
        time_travel: switch(&table.time_travel, gates.time_travel),
        floor: table.floor.as_ref().map_or(gates.floor, |floor| u64::from(floor.value)),
    }
}

fn check_fields<'t>(table: &'t JobTable, systems: &[SystemDraft], page: &mut Page<'_>) -> Vec<FieldDraft<'t>> {
    let Some(fields) = &table.fields else { return Vec::new() };
    if fields.value.0.is_empty() {
        page.refuse(&fields.span, "the job has no fields");
    }
    if let Some(timezone) = &table.business_timezone {
        refuse_timezone(timezone, page);
    }
    let business_timezone = table.business_timezone.as_ref().map(At::as_str);
    let mut drafts: Vec<FieldDraft<'t>> = Vec::new();
    for (name, field) in &fields.value.0 {
        let is_name = name.value.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.value.chars().all(|character| character.is_ascii_alphanumeric() || matches!(character, '_' | '-'));
        if !is_name {
            page.refuse(&name.span, format!("`{}` cannot be the name of a field", name.value))
                .seen("a name has the letters a to z, digits, `_` and `-`, a letter first")
                .hint("the column of a system may be called anything: that is what `columns` is for");
        }
        if let Some(twin) = drafts.iter().find(|other| other.name.value.eq_ignore_ascii_case(&name.value)) {
            page.refuse(&name.span, format!("fields `{}` and `{}` differ only in capitals", twin.name.value, name.value));
        }
        if let Some(field) = field {
            drafts.push(check_columns_of(name, field, systems, business_timezone, page));
        }
    }
    drafts
}

fn check_columns_of<'t>(
    name: &'t At<String>,
    written: &'t FieldWritten,
    systems: &[SystemDraft],
    business_timezone: Option<&str>,
    page: &mut Page<'_>,
) -> FieldDraft<'t> {
    let table = &written.keys;
    let field_type = table.field_type.as_ref().map(|field_type| field_type.value);
    let null_tokens = match &table.null_tokens {
        Some(tokens) => tokens.value.iter().map(|token| token.value.trim().to_lowercase()).filter(|token| !token.is_empty()).collect(),
        None => NULL_TOKENS.iter().map(|token| (*token).to_owned()).collect(),
    };
    let mut draft = FieldDraft { name, table, is_whole: written.is_whole, field_type, null_tokens, columns: vec![None; systems.len()] };
    let Some(columns) = &table.columns else { return draft };
    if columns.value.0.is_empty() {
        page.refuse(&columns.span, format!("field `{}` has no column in any system", name.value)).hint(format!(
            "for example `columns = {{ {} }}`",
            systems.iter().map(|system| format!("{} = \"{}\"", system.name.value, name.value)).collect::<Vec<_>>().join(", ")
        ));
    }
    for (system_name, column) in &columns.value.0 {
        let Some(system) = systems.iter().position(|system| system.name.value == system_name.value) else {
            page.refuse(&system_name.span, format!("field `{}` has a column in system `{}`, which the job does not have", name.value, system_name.value))
                .known("systems", system_name.as_str(), systems.iter().map(|system| system.name.as_str()));
            continue;
        };
        if let Some(width) = column.as_ref().and_then(|Column(table)| table.fixed_width.as_ref()) {
            refuse_fixed_width(width, &systems[system], page);
        }
        let spec = column.as_ref().and_then(|column| check_column(&draft, column, business_timezone, page));
        let spec = spec.map(|spec| ColumnSpec { refuses_formulas: systems[system].refuses_formulas, ..spec });
        draft.columns[system] = Some(ColumnDraft { span: system_name.span.clone(), spec });
    }
    draft
}

/// Only a workbook loses the zeros before a number.
fn refuse_fixed_width(width: &At<u32>, system: &SystemDraft, page: &mut Page<'_>) {
    if !(1..=EXCEL_DIGITS_MAX).contains(&width.value) {
        page.refuse(&width.span, format!("`fixed_width` is {}, and a number in a workbook has 1 to {EXCEL_DIGITS_MAX} digits", width.value));
    }
    if let Some(kind) = system.kind.as_ref().filter(|kind| !matches!(kind, Kind::Excel(_))) {
        page.refuse(&width.span, format!("`fixed_width` says nothing about system `{}` of kind `{}`", system.name.value, kind.word()))
            .seen("it is for identifiers that a workbook holds as numbers");
    }
}

fn check_column(field: &FieldDraft<'_>, column: &Column, business_timezone: Option<&str>, page: &mut Page<'_>) -> Option<ColumnSpec> {
    let Column(table) = column;
    let century_pivot = check_century_pivot(table, page);
    let is_date = field.field_type == Some(FieldType::Date);
    let timezone = table.timezone.as_ref().map(At::as_str).or(business_timezone.filter(|_| is_date));
    if let Some(field_type) = field.field_type {
        refuse_options_of_other_types(table, field_type, page);
        if matches!(field_type, FieldType::Date | FieldType::Instant | FieldType::Datetime) {
            for format in table.dates.iter().flat_map(|dates| &dates.value.0) {
                refuse_format(format, field_type, century_pivot, page);
                if is_date && is_epoch_format(format.as_str()) && timezone.is_none() {
                    page.refuse(&format.span, format!("`{}` spells a moment, and field `{}` holds days", format.value, field.name.value))
                        .seen("a moment belongs to different days in different places")
                        .hint("give the column a `timezone`, or the job a `business_timezone`");
                }
            }
        }
    }
    check_amount_options(field, table, page);
    if let Some(timezone) = &table.timezone {
        refuse_timezone(timezone, page);
    }
    let decimal = table.decimal.as_ref().and_then(|mark| check_mark(mark, page));
    let booleans = table.booleans.as_ref().and_then(|words| match words.value.as_slice() {
        [yes, no] if !yes.value.trim().is_empty() && !no.value.trim().is_empty() && yes.value.trim().to_lowercase() != no.value.trim().to_lowercase() => {
            Some((yes.value.trim().to_owned(), no.value.trim().to_owned()))
        }
        _ => {
            page.refuse(&words.span, "`booleans` must be two different texts").hint("what true is called comes first: `[\"yes\", \"no\"]`");
            None
        }
    });
    if let Some(separator) = table.separator.as_ref().filter(|separator| separator.value.is_empty()) {
        page.refuse(&separator.span, "`separator` is empty").hint("name what stands between two entries of the list, for example `separator = \";\"`");
    }
    if let Some(blank) = &table.blank_as {
        let folded = blank.value.trim().to_lowercase();
        if !folded.is_empty() && !field.null_tokens.contains(&folded) {
            page.refuse(&blank.span, format!("`{}` is written for empty, and would not be read as empty", blank.value))
                .hint(format!("add it to `null_tokens` of field `{}`", field.name.value));
        }
    }
    let name = table.name.as_ref()?;
    if name.value.is_empty() {
        page.refuse(&name.span, format!("a column of field `{}` has no name", field.name.value));
    }
    Some(ColumnSpec {
        name: name.value.clone(),
        decimal,
        dates: table.dates.iter().flat_map(|dates| &dates.value.0).map(|format| format.value.clone()).collect(),
        timezone: timezone.map(str::to_owned),
        blank_as: table.blank_as.as_ref().map(|blank| blank.value.clone()),
        booleans,
        separator: table.separator.as_ref().map(|separator| separator.value.clone()),
        fixed_width: table.fixed_width.as_ref().map(|width| width.value),
        found: FoundMark::default(),
        unit: table.unit.as_ref().map(|unit| unit.value),
        minor_units: table.minor_units.as_ref().is_some_and(|minor| minor.value),
        credit: table.credit.as_ref().map(|credit| credit.value),
        century_pivot,
        dst: table.dst.as_ref().map_or(Dst::Reject, |dst| dst.value),
        refuses_formulas: false,
    })
}

/// The pivot of two-digit years, where some format of the column has them.
fn check_century_pivot(table: &ColumnTable, page: &mut Page<'_>) -> Option<u8> {
    const YEARS: u32 = 100;
    let written = table.century_pivot.as_ref()?;
    let pivot = u8::try_from(written.value).ok().filter(|_| written.value <= YEARS);
    if pivot.is_none() {
        page.refuse(&written.span, format!("`century_pivot` is {}, and a two-digit year is below {YEARS}", written.value))
            .hint("with `century_pivot = 50`, `49` is 2049 and `50` is 1950");
    } else if !table.dates.iter().flat_map(|dates| &dates.value.0).any(|format| has_short_year(format.as_str())) {
        page.refuse(&written.span, "`century_pivot` needs a format with a two-digit year").hint("for example `dates = \"%d.%m.%y\"`");
    }
    // A wrong one is told here, once: the formats that need one are not at fault.
    Some(pivot.unwrap_or_default())
}

/// What must come together so that an amount has one meaning.
fn check_amount_options(field: &FieldDraft<'_>, table: &ColumnTable, page: &mut Page<'_>) {
    let Some(minor) = table.minor_units.as_ref().filter(|minor| minor.value) else { return };
    if field.table.currency.is_none() && field.is_whole {
        page.refuse(&minor.span, format!("`minor_units` needs the currency of field `{}`", field.name.value))
            .seen("a minor unit is a hundredth of a euro, and a whole yen")
            .hint("write `currency = \"EUR\"`, or `currency = { field = \"..\" }`");
    }
    if let Some(unit) = &table.unit {
        page.refuse(&unit.span, "a column cannot have both `minor_units` and a `unit`");
    }
}

fn refuse_options_of_other_types(table: &ColumnTable, field_type: FieldType, page: &mut Page<'_>) {
    let span = |span: Option<&Span>| span.cloned();
    let options = [
        ("decimal", span(table.decimal.as_ref().map(|at| &at.span)), matches!(field_type, FieldType::Integer | FieldType::Decimal(_)), "numbers"),
        (
            "dates",
            span(table.dates.as_ref().map(|at| &at.span)),
            matches!(field_type, FieldType::Date | FieldType::Instant | FieldType::Datetime),
            "dates and moments",
        ),
        (
            "timezone",
            span(table.timezone.as_ref().map(|at| &at.span)),
            matches!(field_type, FieldType::Instant | FieldType::Date),
            "fields of type `instant` and `date`",
        ),
        ("booleans", span(table.booleans.as_ref().map(|at| &at.span)), field_type == FieldType::Boolean, "fields of type `boolean`"),
        ("fixed_width", span(table.fixed_width.as_ref().map(|at| &at.span)), field_type == FieldType::Text, "fields of type `text`"),
        ("separator", span(table.separator.as_ref().map(|at| &at.span)), field_type == FieldType::List, "fields of type `list`"),
        ("unit", span(table.unit.as_ref().map(|at| &at.span)), matches!(field_type, FieldType::Decimal(_)), "fields of type `decimal(n)`"),
        ("minor_units", span(table.minor_units.as_ref().map(|at| &at.span)), matches!(field_type, FieldType::Decimal(_)), "fields of type `decimal(n)`"),
        ("credit", span(table.credit.as_ref().map(|at| &at.span)), matches!(field_type, FieldType::Integer | FieldType::Decimal(_)), "numbers"),
        (
            "century_pivot",
            span(table.century_pivot.as_ref().map(|at| &at.span)),
            matches!(field_type, FieldType::Date | FieldType::Instant | FieldType::Datetime),
            "dates and moments",
        ),
        ("dst", span(table.dst.as_ref().map(|at| &at.span)), field_type == FieldType::Instant, "fields of type `instant`"),
    ];
    for (key, span, fits, purpose) in options {
        if let Some(span) = span.filter(|_| !fits) {
            page.refuse(&span, format!("`{key}` says nothing about a field of type `{field_type}`")).seen(format!("it is for {purpose}"));
        }
    }
}

/// Columns that two fields share, and names that a file without a header cannot have.
fn check_columns(fields: &[FieldDraft<'_>], systems: &[SystemDraft], page: &mut Page<'_>) {
    for (system_index, system) in systems.iter().enumerate() {
        let ignores_case = matches!(system.kind, Some(Kind::Sql(_)));
        let has_no_header = matches!(&system.kind, Some(Kind::Csv(csv)) if csv.header == 0);
        let is_json = matches!(system.kind, Some(Kind::Json(_) | Kind::Http(_)));
        let mut seen: Vec<(&str, &str)> = Vec::new();
        for field in fields {
            let Some(column) = &field.columns[system_index] else { continue };
            let Some(name) = column.spec.as_ref().map(|spec| spec.name.as_str()).filter(|name| !name.is_empty()) else { continue };
            if is_json {
                refuse_no_path(name, &column.span, &system.name.value, page);
            }
            let is_twin = |other: &str| {
                other == name
                    || (ignores_case && other.eq_ignore_ascii_case(name))
                    || (is_json && read_path(name).is_ok_and(|path| read_path(other) == Ok(path)))
            };
            match seen.iter().find(|(other, _)| is_twin(other)) {
                Some((_, twin)) => {
                    page.refuse(&column.span, format!("fields `{twin}` and `{}` are both column `{name}` of system `{}`", field.name.value, system.name.value));
                }
                None => seen.push((name, field.name.as_str())),
            }
            let is_number = !name.starts_with('0') && name.bytes().all(|byte| byte.is_ascii_digit());
            if has_no_header && !is_number {
                page.refuse(&column.span, format!("system `{}` has no header, so it has no column `{name}`", system.name.value))
                    .hint("its columns are called `1`, `2`, `3`, from the left");
            }
        }
    }
}

/// An id that neither the system nor a field would give to a new record.
fn refuse_unfilled_ids(fields: &[FieldDraft<'_>], systems: &[SystemDraft], page: &mut Page<'_>) {
    for (index, system) in systems.iter().enumerate() {
        let Some(id) = &system.id else { continue };
        let creates = system.is_whole
            && matches!(system.kind, Some(Kind::Csv(_) | Kind::Excel(_) | Kind::Json(_) | Kind::Parquet(_)))
            && system.role.is_some_and(Role::is_written)
            && system.may.create != Permission::Never;
        let could_be_mapped = |column: &ColumnDraft| column.spec.as_ref().is_none_or(|spec| spec.name == id.value);
        let is_mapped = fields.iter().any(|field| field.columns[index].as_ref().is_some_and(could_be_mapped));
        if creates && !is_mapped {
            page.refuse(&id.span, format!("nothing would fill `{}` in new rows of system `{}`", id.value, system.name.value))
                .seen("a file gives no ids, and no field has this column")
                .hint("set `may = { create = \"never\" }`, map the column as a field, or leave `id` out");
        }
    }
}

fn check_key(table: &JobTable, fields: &[FieldDraft<'_>], systems: &[SystemDraft], page: &mut Page<'_>) -> Vec<usize> {
    let Some(key) = &table.key else { return Vec::new() };
    if key.value.is_empty() {
        page.refuse(&key.span, "`key` names no field").hint("name the fields that identify a record");
    }
    let mut indices = Vec::new();
    for name in &key.value {
        let Some(index) = find_field(name, "key", table, fields, page) else { continue };
        if indices.contains(&index) {
            page.refuse(&name.span, format!("`key` names field `{}` twice", name.value));
            continue;
        }
        indices.push(index);
        let field = &fields[index];
        let Some(columns) = field.table.columns.as_ref().filter(|columns| !columns.value.0.is_empty()) else { continue };
        for (system, _) in systems.iter().zip(&field.columns).filter(|(_, column)| column.is_none()) {
            page.refuse(&columns.span, format!("key field `{}` has no column in system `{}`", field.name.value, system.name.value))
                .seen("every system must carry every field of the key")
                .hint(format!("add `{} = \"..\"` to its `columns`", system.name.value));
        }
    }
    indices
}

/// The index of a field that the job file names. A field that is there and could not be read is no second mistake.
fn find_field(name: &At<String>, by: &str, table: &JobTable, fields: &[FieldDraft<'_>], page: &mut Page<'_>) -> Option<usize> {
    let found = fields.iter().position(|field| field.name.value == name.value);
    let written = || table.fields.iter().flat_map(|fields| fields.value.names());
    if found.is_none() && table.fields.is_some() && !written().any(|field| field == name.value) {
        page.refuse(&name.span, format!("`{by}` names field `{}`, which the job does not have", name.value)).known("fields", name.as_str(), written());
    }
    found
}

fn find_system(name: &At<String>, by: &str, systems: &[SystemDraft], page: &mut Page<'_>) -> Option<usize> {
    let found = systems.iter().position(|system| system.name.value == name.value);
    if found.is_none() {
        page.refuse(&name.span, format!("`{by}` names system `{}`, which the job does not have", name.value)).known(
            "systems",
            name.as_str(),
            systems.iter().map(|system| system.name.as_str()),
        );
    }
    found
}

fn check_field(
    field: &FieldDraft<'_>,
    is_key: bool,
    fields: &[FieldDraft<'_>],
    systems: &[SystemDraft],
    mode: Mode,
    job: &JobTable,
    page: &mut Page<'_>,
) -> Option<Field> {
    let table = field.table;
    let owner = check_owner(field, systems, mode, page);
    let merge = check_merge(field, &owner, systems, page);
    refuse_undecided(field, &owner, systems, mode, page);
    if let (Some(round), Some(field_type)) = (&table.round, field.field_type)
        && !matches!(field_type, FieldType::Decimal(_) | FieldType::Integer)
    {
        page.refuse(&round.span, format!("`round` says nothing about a field of type `{field_type}`")).seen("it is for numbers");
    }
    let tolerance = check_tolerance(field, is_key, page);
    let clean = check_clean(field, is_key, page);
    let standards = check_standards(field, is_key, &clean, fields, systems, job, page);
    let columns: Option<Vec<Option<ColumnSpec>>> =
        field.columns.iter().map(|column| column.as_ref().map_or(Some(None), |column| column.spec.clone().map(Some))).collect();
    let flag = |flag: &Option<At<bool>>| flag.as_ref().is_some_and(|flag| flag.value);
    Some(Field {
        name: field.name.value.clone(),
        field_type: field.field_type?,
        columns: columns?,
        clean,
        null_tokens: field.null_tokens.clone(),
        owner,
        merge,
        blank: table.blank.as_ref().map(|blank| blank.value),
        tolerance,
        on_drift: match (mode, &table.on_drift) {
            (Mode::Audit, _) => OnDrift::Report,
            (Mode::Sync, Some(on_drift)) => on_drift.value,
            (Mode::Sync, None) => OnDrift::Overwrite,
        },
        first_contact: table.first_contact.as_ref().or(job.first_contact.as_ref()).map_or(FirstContact::Decide, |first| first.value),
        standardise: flag(&table.standardise),
        round: table.round.as_ref().map(|round| round.value),
        sensitive: flag(&table.sensitive),
        important: flag(&table.important),
        standards,
    })
}

/// The cleaning rules of a field. An address that identifies a record is one address in any letters.
fn check_clean(field: &FieldDraft<'_>, is_key: bool, page: &mut Page<'_>) -> Vec<CleanRule> {
    let Some(written) = &field.table.clean else { return Vec::new() };
    if let Some(field_type) = field.field_type.filter(|field_type| !matches!(field_type, FieldType::Text | FieldType::List)) {
        page.refuse(&written.span, format!("`clean` says nothing about field `{}`, which is `{field_type}`", field.name.value)).seen("its rules are for text");
    }
    let mut rules: Vec<CleanRule> = written.value.iter().map(|rule| rule.value).collect();
    let mut identifiers = written.value.iter().filter(|rule| rule.value.is_identifier());
    if let (Some(_), Some(second)) = (identifiers.next(), identifiers.next()) {
        page.refuse(&second.span, format!("field `{}` cannot be two identifiers at once", field.name.value));
    }
    if is_key && rules.contains(&CleanRule::Email) && !rules.contains(&CleanRule::Lower) {
        rules.push(CleanRule::Lower);
    }
    rules
}

/// The word for what a field counts is no longer than this.
const COUNTED_CHARACTERS_MAX: usize = 20;

fn check_standards(
    field: &FieldDraft<'_>,
    is_key: bool,
    clean: &[CleanRule],
    fields: &[FieldDraft<'_>],
    systems: &[SystemDraft],
    job: &JobTable,
    page: &mut Page<'_>,
) -> Standards {
    let table = field.table;
    let name = &field.name.value;
    let is_number = matches!(field.field_type, Some(FieldType::Decimal(_)) | None);
    let uses_region = clean.iter().any(|rule| matches!(rule, CleanRule::Phone | CleanRule::VatId));
    if let Some(currency) = table.currency.as_ref().filter(|_| !is_number) {
        page.refuse(&currency.span, format!("`currency` says nothing about field `{name}`")).seen("it is for fields of type `decimal(n)`");
    }
    if let Some(counts) = &table.counts {
        match field.field_type {
            Some(FieldType::Decimal(_) | FieldType::Integer) | None => {}
            Some(other) => {
                page.refuse(&counts.span, format!("`counts` says nothing about field `{name}` of type `{other}`")).seen("it is for numbers");
            }
        }
        let word = counts.value.trim();
        if word.is_empty() || word.chars().count() > COUNTED_CHARACTERS_MAX || word.chars().any(char::is_control) {
            page.refuse(&counts.span, format!("`counts` of field `{name}` is no word for what is counted")).hint("for example `pieces`, `days` or `kg`");
        } else if table.currency.is_some() {
            page.refuse(&counts.span, format!("field `{name}` cannot both be money and count `{word}`")).hint("leave out `counts`, or `currency`");
        }
    }
    if let Some(region) = table.region.as_ref().filter(|_| !uses_region) {
        page.refuse(&region.span, format!("`region` says nothing about field `{name}`")).seen("it is for fields that are cleaned as `phone` or `vat-id`");
    }
    if let Some(valid) = table.must_be_valid.as_ref().filter(|valid| valid.value && !clean.iter().any(|rule| rule.is_identifier())) {
        page.refuse(&valid.span, format!("field `{name}` is no identifier that could be valid or not"))
            .hint("name what it is in `clean`: `email`, `phone`, `country`, `currency`, `iban` or `vat-id`");
    }
    if let Some(placeholders) = table.placeholders.as_ref().filter(|_| !is_key) {
        page.refuse(&placeholders.span, format!("`placeholders` says nothing about field `{name}`, which is not in the key"));
    }
    let known_currency: fn(&str) -> bool = |code| iso_currency::Currency::from_code(code).is_some();
    let known_region: fn(&str) -> bool = |code| rust_iso3166::from_alpha2(code).is_some();
    let mut beside = |written: &Option<At<BesideWritten>>, key: &str, is_known: fn(&str) -> bool, example: &str| match &written.as_ref()?.value {
        BesideWritten::Constant(code) => {
            let code = code.trim().to_uppercase();
            if !is_known(&code) {
                let span = &written.as_ref()?.span;
                page.refuse(span, format!("there is no {key} `{code}`")).hint(format!("write its code, such as `{example}`, or `{{ field = \"..\" }}`"));
            }
            Some(Beside::Constant(code))
        }
        BesideWritten::Field(other) => {
            let index = find_field(other, key, job, fields, page)?;
            let found = &fields[index];
            if is_key {
                page.refuse(&other.span, format!("key field `{name}` cannot depend on another field")).hint(format!("give a constant, such as `{example}`"));
            } else if found.field_type.is_some_and(|field_type| field_type != FieldType::Text) {
                page.refuse(&other.span, format!("`{key}` names field `{}`, which is no text", other.value));
            } else if found.table.region.is_some() || found.table.currency.is_some() {
                page.refuse(&other.span, format!("`{key}` names field `{}`, which depends on another field itself", other.value));
            }
            for (system, spec) in systems.iter().enumerate() {
                let is_needed = field.columns[system].as_ref().and_then(|column| column.spec.as_ref()).is_some_and(|column| column.minor_units);
                if is_needed && found.columns[system].is_none() {
                    page.refuse(&other.span, format!("system `{}` holds minor units of `{name}`, and no `{}`", spec.name.value, other.value))
                        .hint("carry the currency there too, or give a constant");
                }
            }
            Some(Beside::Field(index))
        }
    };
    Standards {
        currency: beside(&table.currency, "currency", known_currency, "EUR"),
        counts: table.counts.as_ref().map(|counts| counts.value.trim().to_owned()),
        region: beside(&table.region, "region", known_region, "GB"),
        must_be_valid: table.must_be_valid.as_ref().is_some_and(|valid| valid.value),
        placeholders: table.placeholders.iter().flat_map(|texts| &texts.value).map(|text| text.value.trim().to_lowercase()).collect(),
    }
}

/// The owners of a field. A source that carries it is one without being named.
fn check_owner(field: &FieldDraft<'_>, systems: &[SystemDraft], mode: Mode, page: &mut Page<'_>) -> Vec<usize> {
    let name = &field.name.value;
    let carriers = field.carriers();
    let sources: Vec<usize> = carriers.iter().copied().filter(|system| systems[*system].role == Some(Role::Source)).collect();
    let word = |system: &usize| systems[*system].name.as_str();
    let Some(written) = &field.table.owner else {
        if sources.len() > 1 && mode == Mode::Sync {
            let list = sources.iter().map(|source| format!("\"{}\"", word(source))).collect::<Vec<_>>().join(", ");
            page.refuse(&field.name.span, format!("field `{name}` has several sources and no `owner`"))
                .seen(format!("sources that carry it: {}", quoted(sources.iter().map(word))))
                .hint(format!("say which comes first: `owner = [{list}]`"));
        }
        return if sources.len() == 1 { sources } else { Vec::new() };
    };
    let mut owners = Vec::new();
    let mut is_right = true;
    if written.value.0.is_empty() {
        page.refuse(&written.span, format!("`owner` of field `{name}` names no system"));
        return owners;
    }
    for owner in &written.value.0 {
        let Some(system) = find_system(owner, "owner", systems, page) else {
            is_right = false;
            continue;
        };
        if owners.contains(&system) {
            page.refuse(&owner.span, format!("`owner` of field `{name}` names system `{}` twice", owner.value));
            continue;
        }
        owners.push(system);
        let role = systems[system].role;
        if field.columns[system].is_none() {
            is_right = false;
            page.refuse(&owner.span, format!("owner `{}` does not carry field `{name}`", owner.value))
                .seen(format!("systems that carry it: {}", quoted(carriers.iter().map(word))))
                .hint(format!("add `{} = \"..\"` to its `columns`, or name another owner", owner.value));
        } else if let Some(role) = role.filter(|role| !role.votes()) {
            is_right = false;
            page.refuse(&owner.span, format!("owner `{}` of field `{name}` is a {}, which never decides", owner.value, role_word(role)))
                .hint("make it a peer or a source, or name another owner");
        }
    }
    // The sources lead the list, all of them: a source is never written, so only its own value can be the agreed one.
    let leading = owners.iter().take_while(|owner| sources.contains(owner)).count();
    if is_right && leading < sources.len() {
        let missing = sources.iter().find(|source| !owners[..leading].contains(source)).map_or("", word);
        let order: Vec<String> = owners[..leading]
            .iter()
            .chain(sources.iter().filter(|source| !owners[..leading].contains(source)))
            .chain(owners[leading..].iter().filter(|owner| !sources.contains(owner)))
            .map(|system| format!("\"{}\"", word(system)))
            .collect();
        page.refuse(&written.span, format!("field `{name}` is carried by source `{missing}`, and owned by another system"))
            .seen("a source is never written: a value that it does not have would be a difference for ever")
            .hint(format!("write `owner = [{}]`, or make `{missing}` a peer", order.join(", ")));
    }
    owners
}

/// A field that could be written, and of which nobody can tell who is right.
fn refuse_undecided(field: &FieldDraft<'_>, owner: &[usize], systems: &[SystemDraft], mode: Mode, page: &mut Page<'_>) {
    let carriers = field.carriers();
    let is_read = field.is_whole && carriers.iter().all(|system| systems[*system].role.is_some());
    if mode == Mode::Audit || !is_read || carriers.len() < 2 || field.table.owner.is_some() {
        return;
    }
    let name = &field.name.value;
    let role = |system: &usize| systems[*system].role;
    let voters: Vec<usize> = carriers.iter().copied().filter(|system| role(system).is_some_and(Role::votes)).collect();
    let written: Vec<usize> = carriers.iter().copied().filter(|system| systems[*system].is_written() && (voters != [*system])).collect();
    let several_sources = carriers.iter().filter(|system| role(system) == Some(Role::Source)).count() > 1;
    if written.is_empty() || several_sources {
        return;
    }
    let names = |list: &[usize]| quoted(list.iter().map(|system| systems[*system].name.as_str()));
    if voters.is_empty() {
        page.refuse(&field.name.span, format!("no system decides field `{name}`"))
            .seen(format!("carried by {}: targets and witnesses never decide", names(&carriers)))
            .hint("make one of them a source or a peer");
    } else if voters.len() > 1 && owner.is_empty() && field.table.merge.is_none() {
        let first = systems[voters[0]].name.as_str();
        let rule = if voters.iter().all(|system| systems[*system].has_edit_time) {
            "merge = \"latest\"".to_owned()
        } else {
            let order: Vec<String> = voters.iter().map(|system| format!("\"{}\"", systems[*system].name.value)).collect();
            format!("merge = {{ priority = [{}] }}", order.join(", "))
        };
        page.refuse(&field.name.span, format!("field `{name}` has neither `owner` nor `merge`"))
            .seen(format!("each of {} could change it", names(&voters)))
            .hint(format!("name the system that is right, `owner = \"{first}\"`, or what decides a conflict, `{rule}`"));
    }
}

/// The rules of a field, the last of them always `review`.
fn check_merge(field: &FieldDraft<'_>, owner: &[usize], systems: &[SystemDraft], page: &mut Page<'_>) -> Vec<MergeRule> {
    let mut rules = Vec::new();
    if let Some(then) = field.table.then.as_ref().filter(|_| field.table.merge.is_none()) {
        page.refuse(&then.span, format!("field `{}` has a `then` and no `merge`", field.name.value)).hint("call it `merge`");
    }
    if let (Some(merge), Some(then)) = (&field.table.merge, &field.table.then)
        && matches!(merge.value, Rule::MostRestrictive(_))
    {
        page.refuse(&then.span, format!("the `then` of field `{}` never decides anything", field.name.value))
            .seen("`most-restrictive` decides between the values that it names, and a person is asked about any other")
            .hint("leave it out; or name in `most-restrictive` every value that may be decided without a person");
    }
    for (written, key) in [(&field.table.merge, "merge"), (&field.table.then, "then")] {
        let Some(written) = written else { continue };
        if let Some(rule) = check_rule(field, written, key, owner, systems, page) {
            if rules.contains(&rule) {
                page.refuse(&written.span, format!("`then` of field `{}` is the same rule as `merge`", field.name.value));
            }
            rules.push(rule);
        }
    }
    rules.truncate(rules.iter().position(|rule| *rule == MergeRule::Review).unwrap_or(rules.len()));
    rules.push(MergeRule::Review);
    rules
}

fn check_rule(field: &FieldDraft<'_>, written: &At<Rule>, key: &str, owner: &[usize], systems: &[SystemDraft], page: &mut Page<'_>) -> Option<MergeRule> {
    use FieldType::{Boolean, Date, Datetime, Decimal, Instant, Integer, List, Text};
    let name = &field.name.value;
    let (word, fits, purpose): (&str, fn(FieldType) -> bool, &str) = match &written.value {
        Rule::Max | Rule::Min => (
            if matches!(written.value, Rule::Max) { "max" } else { "min" },
            |field_type| matches!(field_type, Integer | Decimal(_) | Date | Instant | Datetime),
            "numbers, dates and moments",
        ),
        Rule::Longest => ("longest", |field_type| field_type == Text, "text"),
        Rule::Union => ("union", |field_type| field_type == List, "lists"),
        Rule::SumOfChanges => ("sum-of-changes", |field_type| matches!(field_type, Integer | Decimal(_)), "numbers"),
        Rule::MostRestrictive(_) => ("most-restrictive", |field_type| matches!(field_type, Text | Boolean | Integer), "text, whole numbers, true and false"),
        Rule::Latest => ("latest", |_| true, ""),
        Rule::Priority(_) => ("priority", |_| true, ""),
        Rule::Review => ("review", |_| true, ""),
    };
    if let Some(field_type) = field.field_type.filter(|field_type| !fits(*field_type)) {
        page.refuse(&written.span, format!("`{word}` cannot decide field `{name}`, which is `{field_type}`")).seen(format!("it is for {purpose}"));
        return None;
    }
    Some(match &written.value {
        Rule::Latest => {
            let silent: Vec<&str> = field
                .carriers()
                .into_iter()
                .filter(|system| systems[*system].role.is_some_and(Role::votes) && !owner.contains(system) && !systems[*system].has_edit_time)
                .map(|system| systems[system].name.as_str())
                .collect();
            if !silent.is_empty() {
                let (verb, each) = if silent.len() == 1 { ("has", "it") } else { ("have", "each of them") };
                page.refuse(&written.span, format!("`latest` cannot decide field `{name}`: {} {verb} no `edited_at`", quoted(silent.iter().copied())))
                    .hint(format!("give {each} an `edited_at` column, or take another rule, such as `{{ priority = [..] }}`"));
            }
            MergeRule::Latest
        }
        Rule::Priority(names) => {
            if names.is_empty() {
                page.refuse(&written.span, format!("`priority` of field `{name}` names no system"));
            }
            let mut order = Vec::new();
            for system_name in names {
                let Some(system) = find_system(system_name, "priority", systems, page) else { continue };
                if order.contains(&system) {
                    page.refuse(&system_name.span, format!("`priority` of field `{name}` names system `{}` twice", system_name.value));
                } else if field.columns[system].is_none() {
                    page.refuse(&system_name.span, format!("`priority` names system `{}`, which does not carry field `{name}`", system_name.value))
                        .seen(format!("systems that carry it: {}", quoted(field.carriers().iter().map(|system| systems[*system].name.as_str()))));
                } else if let Some(role) = systems[system].role.filter(|role| !role.votes()) {
                    page.refuse(&system_name.span, format!("`priority` names system `{}`, a {}, which never decides", system_name.value, role_word(role)));
                }
                order.push(system);
            }
            MergeRule::Priority(order)
        }
        Rule::MostRestrictive(values) => {
            if values.is_empty() {
                page.refuse(&written.span, format!("`most-restrictive` of field `{name}` names no value"));
            }
            let field_type = field.field_type?;
            let mut order = Vec::new();
            for value in values {
                let read = value_of(&value.value.0, field_type, &value.span, &format!("{key}` of field `{name}"), page);
                if read.as_ref().is_some_and(|read| order.contains(read)) {
                    page.refuse(&value.span, format!("`most-restrictive` of field `{name}` names `{}` twice", value.value.0));
                }
                order.extend(read);
            }
            MergeRule::MostRestrictive(order)
        }
        Rule::Max => MergeRule::Max,
        Rule::Min => MergeRule::Min,
        Rule::Longest => MergeRule::Longest,
        Rule::Union => MergeRule::Union,
        Rule::SumOfChanges => MergeRule::SumOfChanges,
        Rule::Review => MergeRule::Review,
    })
}

/// A value that the job file gives for a field.
fn value_of(text: &str, field_type: FieldType, span: &Span, by: &str, page: &mut Page<'_>) -> Option<Value> {
    let value = Some(text.trim()).filter(|text| !text.is_empty()).and_then(|text| field_type.parse_canonical(text));
    if value.is_none() {
        page.refuse(span, format!("`{text}` in `{by}` is not a value of type `{field_type}`"));
    }
    value
}

fn check_tolerance(field: &FieldDraft<'_>, is_key: bool, page: &mut Page<'_>) -> Option<Tolerance> {
    let written = field.table.tolerance.as_ref()?;
    let name = &field.name.value;
    if is_key {
        page.refuse(&written.span, format!("field `{name}` identifies records and cannot have a `tolerance`"));
        return None;
    }
    let sums = [&field.table.merge, &field.table.then].into_iter().flatten().any(|rule| matches!(rule.value, Rule::SumOfChanges));
    if sums {
        page.refuse(&written.span, format!("field `{name}` cannot have both a `tolerance` and `sum-of-changes`"))
            .seen("a change within the tolerance would be added and not be seen");
        return None;
    }
    let field_type = field.field_type?;
    let text = written.value.trim();
    let (tolerance, example) = match field_type {
        FieldType::Integer | FieldType::Decimal(_) => {
            let tolerance = match text.strip_suffix('%') {
                Some(number) => unsigned(number.trim_end()).map(Tolerance::Percent),
                None => unsigned(text).map(Tolerance::Absolute),
            };
            (tolerance, "`\"0.01\"` or `\"1%\"`")
        }
        FieldType::Date => (span_of(text).filter(|_| text.ends_with('d')).map(Tolerance::Span), "`\"2d\"` for two days"),
        FieldType::Instant | FieldType::Datetime => (span_of(text).map(Tolerance::Span), "`\"90s\"`, `\"15m\"`, `\"2h\"` or `\"2d\"`"),
        FieldType::Text | FieldType::Boolean | FieldType::List => {
            page.refuse(&written.span, format!("field `{name}` is `{field_type}`, which has no tolerance")).seen("it is for numbers, dates and moments");
            return None;
        }
    };
    if tolerance.is_none() {
        page.refuse(&written.span, format!("`{}` is not a tolerance of field `{name}`, which is `{field_type}`", written.value))
            .hint(format!("write {example}"));
    }
    tolerance
}

/// A tolerance of which nobody says what its field holds: `0.01` and `1%` are those of numbers, `90s`, `15m`, `2h` and `2d` of dates and
/// moments. Nothing if it is none.
pub fn tolerance_of(text: &str) -> Option<Tolerance> {
    let text = text.trim();
    match text.strip_suffix('%') {
        Some(number) => unsigned(number.trim_end()).map(Tolerance::Percent),
        None => unsigned(text).map(Tolerance::Absolute).or_else(|| span_of(text).map(Tolerance::Span)),
    }
}

/// A number of days, hours, minutes or seconds, in microseconds.
fn span_of(text: &str) -> Option<i64> {
    let (seconds, number) = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)].iter().find_map(|(unit, seconds)| Some((*seconds, text.strip_suffix(unit)?)))?;
    let number = number.trim_end();
    let count: i64 = number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok()).flatten()?;
    count.checked_mul(seconds)?.checked_mul(1_000_000)
}

fn check_dedupe(table: &JobTable, systems: &[SystemDraft], page: &mut Page<'_>) -> Dedupe {
    let Some(keep) = table.dedupe.as_ref().and_then(|dedupe| dedupe.value.keep.as_ref()) else { return Dedupe::Refuse };
    if keep.value == Dedupe::Latest && !systems.iter().any(|system| system.has_edit_time) {
        page.refuse(&keep.span, "`latest` cannot choose among duplicates: no system has an `edited_at`");
    }
    keep.value
}

/// Nothing if the table could not be understood.
fn check_deletes(table: &JobTable, fields: &[FieldDraft<'_>], page: &mut Page<'_>) -> Option<Deletes> {
    let Some(deletes) = table.deletes.as_ref().map(|deletes| &deletes.value) else { return Some(Deletes::Report) };
    let policy = deletes.policy.as_ref().map_or(DeletesWord::Report, |policy| policy.value);
    let archive = deletes.archive.as_ref().and_then(|archive| {
        let field = archive.value.field.as_ref()?;
        let index = find_field(field, "deletes.archive", table, fields, page)?;
        let value = archive.value.value.as_ref()?;
        let value = value_of(&value.value.0, fields[index].field_type?, &value.span, "deletes.archive", page)?;
        Some(Deletes::Archive { field: index, value })
    });
    match (policy, &deletes.archive) {
        (DeletesWord::Archive, None) => {
            if let Some(policy) = &deletes.policy {
                page.refuse(&policy.span, "the policy `archive` needs the field that is set")
                    .hint("add `archive = { field = \"status\", value = \"inactive\" }`");
            }
            None
        }
        (DeletesWord::Archive, Some(_)) => archive,
        (_, Some(written)) => {
            page.refuse(&written.span, "`archive` is set, and the policy is another").hint("set `policy = \"archive\"`, or remove `archive`");
            None
        }
        (DeletesWord::Report, None) => Some(Deletes::Report),
        (DeletesWord::Propagate, None) => Some(Deletes::Propagate),
        (DeletesWord::Recreate, None) => Some(Deletes::Recreate),
    }
}

fn check_totals(table: &JobTable, fields: &[FieldDraft<'_>], mode: Mode, page: &mut Page<'_>) -> (Vec<Total>, Vec<MoneyLimit>) {
    let (mut totals, mut money) = (Vec::new(), Vec::new());
    for (name, total) in table.totals.iter().flat_map(|totals| &totals.value.0) {
        let field = find_field(name, "totals", table, fields, page);
        if let Some(field_type) = field.and_then(|field| fields[field].field_type)
            && !matches!(field_type, FieldType::Integer | FieldType::Decimal(_))
        {
            page.refuse(&name.span, format!("field `{}` is `{field_type}` and cannot be summed", name.value))
                .seen("control totals are of type `integer` or `decimal(n)`");
        }
        let written = total.as_ref().and_then(|total| total.by.as_ref());
        let by = written.and_then(|by| find_field(by, "by", table, fields, page));
        if let (Some(written), true) = (written, by.is_some() && by == field) {
            page.refuse(&written.span, format!("the total of field `{}` is grouped by itself", name.value));
        }
        let beside = field.and_then(|field| match &fields[field].table.currency.as_ref()?.value {
            BesideWritten::Field(other) => Some(&other.value),
            BesideWritten::Constant(_) => None,
        });
        if let (None, Some(beside)) = (written, beside) {
            page.refuse(&name.span, format!("the total of field `{}` would add up amounts of several currencies", name.value))
                .seen(format!("the currency of each amount stands in field `{beside}`"))
                .hint(format!("group it: `{} = {{ by = \"{beside}\" }}`; or give the one currency in `[fields.{}]`", name.value, name.value));
        }
        if let (Some(written), Some(beside)) = (written.filter(|_| by.is_some() && by != field), beside)
            && written.value != *beside
            && fields.iter().any(|field| field.name.value == *beside)
        {
            page.refuse(&written.span, format!("the total of field `{}` by `{}` would add up amounts of several currencies", name.value, written.value))
                .seen(format!("the currency of each amount stands in field `{beside}`"))
                .hint(format!("group it by its currency, `by = \"{beside}\"`; or give the one currency in `[fields.{}]`", name.value));
        }
        if let (Some(most), Some(field)) = (total.as_ref().and_then(|total| total.change_max.as_ref()), field) {
            if mode == Mode::Audit {
                page.refuse(&most.span, "`change_max` says nothing in an audit, which never writes");
            }
            let is_grouped = written.is_some();
            let most = check_change_max(most, &fields[field], is_grouped, by.map(|by| &fields[by]), page);
            money.extend(most.map(|most| MoneyLimit { total: totals.len(), most }));
        }
        totals.extend(field.map(|field| Total { field, by }));
    }
    (totals, money)
}

fn check_change_max(
    written: &At<AmountsWritten>,
    field: &FieldDraft<'_>,
    is_grouped: bool,
    by: Option<&FieldDraft<'_>>,
    page: &mut Page<'_>,
) -> Option<MoneyMost> {
    let name = &field.name.value;
    let scale = match field.field_type {
        Some(FieldType::Decimal(scale)) => scale,
        _ => 0,
    };
    let mut amount = |text: &str, span: &Span| {
        let amount = unsigned(text).and_then(|amount| amount.rescale(scale)).filter(|amount| amount.in_range());
        if amount.is_none() {
            page.refuse(span, format!("`{text}` is not an amount of field `{name}`, which could be the most that a run may change"))
                .seen(format!("it is a number without a sign, with at most {scale} decimals"))
                .hint("write `\"10000\"`");
        }
        amount
    };
    match &written.value {
        AmountsWritten::Each(each) => amount(&each.0, &written.span).map(MoneyMost::EachGroup),
        AmountsWritten::Of(groups) => {
            let amounts: Vec<_> = groups.iter().map(|(group, most)| Some((group.value.clone(), amount(&most.value.0, &most.span)?))).collect();
            if !is_grouped {
                page.refuse(&written.span, format!("the total of field `{name}` is not grouped")).hint("give one amount, or group it with `by`");
            } else if groups.is_empty() {
                page.refuse(&written.span, format!("`change_max` of field `{name}` names no group: nothing of it could ever change"));
            }
            let are_currencies = by.is_some_and(|by| by.table.clean.iter().flat_map(|rules| &rules.value).any(|rule| rule.value == CleanRule::Currency));
            for (group, _) in groups.iter().filter(|(group, _)| are_currencies && iso_currency::Currency::from_code(&group.value).is_none()) {
                page.refuse(&group.span, format!("there is no currency `{}`", group.value)).hint("write its code, such as `EUR`");
            }
            amounts.into_iter().collect::<Option<_>>().map(MoneyMost::OfGroup)
        }
    }
}

fn check_report(table: &JobTable, defaults: &Settings, page: &mut Page<'_>) -> ReportSpec {
    let Some(report) = table.report.as_ref().map(|report| &report.value) else { return defaults.report.clone() };
    for (to, name) in [(&report.to, "report.to"), (&report.to_action, "report.to_action"), (&report.to_failed, "report.to_failed")] {
        for address in to.iter().flat_map(|to| &to.value) {
            refuse_address(address, name, page);
        }
    }
    let addresses = |to: &Option<At<Vec<At<String>>>>, otherwise: &[String]| {
        to.as_ref().map_or_else(|| otherwise.to_vec(), |to| to.value.iter().map(|address| address.value.clone()).collect())
    };
    ReportSpec {
        to: addresses(&report.to, &defaults.report.to),
        to_action: addresses(&report.to_action, &defaults.report.to_action),
        to_failed: addresses(&report.to_failed, &defaults.report.to_failed),
        when: report.when.as_ref().map_or(defaults.report.when, |when| when.value),
    }
}
