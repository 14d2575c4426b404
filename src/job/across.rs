//! What several job files get wrong together: one name, one column written twice, values that run in a circle.
//!
//! # Design
//! Places are compared as they are written, tidied of `./` and the like: `check` opens nothing and resolves no reference.
//!
//! A job lets values flow from the places of its voters to the places that it writes. Jobs form a circle when a value can
//! leave a place, pass through at least two jobs and two places, and come back to it: each night would then undo the
//! other's decision. Two jobs that merely share one place form none.

use super::check::Checked;
use super::database::DatabaseUrl;
use super::read::Page;
use super::ready::{ExcelSettings, Job, Kind, Mode, Permission, SystemSpec};

/// Where the records of a system are, so that two spellings of one place are equal.
pub(super) fn place_of(kind: &Kind) -> String {
    match kind {
        Kind::Csv(csv) => format!("csv {}", tidy(&csv.path)),
        // Excel does not tell capitals apart in the names of sheets.
        Kind::Excel(excel) => format!("{} sheet {}", workbook_of(excel), excel.sheet.as_deref().unwrap_or_default().to_lowercase()),
        Kind::Sql(sql) => {
            let url = match sql.url.strip_prefix("sqlite:") {
                Some(path) => format!("sqlite:{}", tidy(path)),
                None => DatabaseUrl::parse(&sql.url).map_or_else(|_| sql.url.clone(), |url| url.place()),
            };
            // What is written is the table, whatever query is read.
            match (&sql.table, &sql.query) {
                (Some(table), _) => format!("sql {url} table {}", table.to_ascii_lowercase()),
                (None, query) => format!("sql {url} query {}", query.as_deref().unwrap_or_default()),
            }
        }
        Kind::Http(http) => format!("http {}", http.place()),
        // Whichever array of it is read: writing one replaces the file.
        Kind::Json(json) => format!("json {}", tidy(&json.file.path)),
        Kind::Parquet(parquet) => format!("parquet {}", tidy(&parquet.file.path)),
        Kind::Memory(name) => format!("memory {name}"),
    }
}

/// A workbook, so that two spellings of its path are equal.
pub(super) fn workbook_of(excel: &ExcelSettings) -> String {
    format!("excel {}", tidy(&excel.path))
}

/// A path without `.`, `//` and, where that needs no file system, `..`.
fn tidy(path: &str) -> String {
    let mut steps: Vec<&str> = Vec::new();
    for step in path.split('/') {
        match step {
            "" | "." => {}
            ".." if steps.last().is_some_and(|last| *last != "..") => {
                steps.pop();
            }
            step => steps.push(step),
        }
    }
    format!("{}{}", if path.starts_with('/') { "/" } else { "" }, steps.join("/"))
}

/// Whether a job changes anything in a system.
fn is_written(job: &Job, system: &SystemSpec) -> bool {
    job.mode == Mode::Sync
        && system.role.is_written()
        && [system.may.create, system.may.update, system.may.delete].iter().any(|permission| *permission != Permission::Never)
}

/// Checks jobs that are right by themselves against each other. Each mistake goes to the page of the later file.
pub(super) fn check_across(jobs: &[(usize, Checked)], pages: &mut [Page<'_>]) {
    refuse_twins(jobs, pages);
    refuse_columns_written_twice(jobs, pages);
    refuse_circles(jobs, pages);
}

fn refuse_twins(jobs: &[(usize, Checked)], pages: &mut [Page<'_>]) {
    for (index, (page, checked)) in jobs.iter().enumerate() {
        if let Some((_, twin)) = jobs[..index].iter().find(|(_, other)| other.job.name == checked.job.name) {
            pages[*page]
                .refuse(&checked.spots.name, format!("two job files are called `{}`", checked.job.name))
                .seen(format!("the other one is {}", twin.job.source.path))
                .hint("their state and their reports would mix: rename one of them");
        }
    }
}

/// A column that a job writes.
struct WrittenColumn<'c> {
    job: usize,
    field: usize,
    system: usize,
    place: &'c str,
    column: &'c str,
}

fn refuse_columns_written_twice(jobs: &[(usize, Checked)], pages: &mut [Page<'_>]) {
    let places: Vec<Vec<String>> = jobs.iter().map(|(_, checked)| checked.job.systems.iter().map(|system| place_of(&system.kind)).collect()).collect();
    let mut seen: Vec<WrittenColumn<'_>> = Vec::new();
    for (index, (page, checked)) in jobs.iter().enumerate() {
        let job = &checked.job;
        let mut own = Vec::new();
        for (field_index, field) in job.fields.iter().enumerate() {
            for (system_index, system) in job.systems.iter().enumerate() {
                let Some(column) = &field.columns[system_index] else { continue };
                // A field never flows into its first owner, except in a create that brings the whole record there.
                let flows_in = field.owner.first() != Some(&system_index);
                let changes = system.may.create != Permission::Never || system.may.update != Permission::Never;
                if !(is_written(job, system) && flows_in && changes) {
                    continue;
                }
                let written = WrittenColumn { job: index, field: field_index, system: system_index, place: &places[index][system_index], column: &column.name };
                let ignores_case = matches!(system.kind, Kind::Sql(_));
                let is_same = |other: &&WrittenColumn<'_>| {
                    other.place == written.place && (other.column == written.column || (ignores_case && other.column.eq_ignore_ascii_case(written.column)))
                };
                if let Some(other) = seen.iter().find(is_same) {
                    let twin = &jobs[other.job];
                    let spot = twin.1.spots.columns[other.field][other.system].clone().unwrap_or(0..0);
                    let span = checked.spots.columns[field_index][system_index].clone().unwrap_or(0..0);
                    let there = pages[twin.0].place(spot.start);
                    pages[*page]
                        .refuse(
                            &span,
                            format!("column `{}` of system `{}` is written by two jobs, `{}` and `{}`", column.name, system.name, twin.1.job.name, job.name),
                        )
                        .seen(format!("the other job writes it as field `{}`, at {there}", twin.1.job.fields[other.field].name))
                        .hint(format!("let one job write it: in the other, `{}` can be a source or a witness", system.name));
                }
                own.push(written);
            }
        }
        seen.extend(own);
    }
}

/// A step of a value from job to job: `from` writes a place that `to` reads and lets decide.
struct Step<'p> {
    from: usize,
    to: usize,
    place: &'p str,
    /// The system by which `to` reads the place.
    system: usize,
}

fn refuse_circles(jobs: &[(usize, Checked)], pages: &mut [Page<'_>]) {
    let places: Vec<Vec<String>> = jobs.iter().map(|(_, checked)| checked.job.systems.iter().map(|system| place_of(&system.kind)).collect()).collect();
    let mut steps: Vec<Step<'_>> = Vec::new();
    for (from, (_, writer)) in jobs.iter().enumerate() {
        for (written, _) in writer.job.systems.iter().enumerate().filter(|(_, system)| is_written(&writer.job, system)) {
            for (to, (_, reader)) in jobs.iter().enumerate().filter(|(to, (_, reader))| *to != from && reader.job.mode == Mode::Sync) {
                for (system, _) in reader.job.systems.iter().enumerate().filter(|(_, system)| system.role.votes()) {
                    if places[from][written] == places[to][system] {
                        steps.push(Step { from, to, place: &places[from][written], system });
                    }
                }
            }
        }
    }
    let mut told: Vec<Vec<usize>> = Vec::new();
    for last in &steps {
        // The circle is closed by a step into the first job in the order of the files, so that each is told once.
        let Some(path) = way(&steps, last.to, last.from, last.place) else { continue };
        let mut members: Vec<usize> = path.iter().map(|step| step.from).chain([last.from]).collect();
        members.sort_unstable();
        if told.contains(&members) {
            continue;
        }
        let mut circle: Vec<&Step<'_>> = path;
        circle.push(last);
        // Starts with the first of its jobs, and is told at the last one.
        let start = circle.iter().position(|step| step.from == members[0]).unwrap_or(0);
        circle.rotate_left(start);
        let latest = members[members.len() - 1];
        let Some(into) = circle.iter().find(|step| step.to == latest) else { continue };
        let (page, checked) = &jobs[latest];
        let way_round: Vec<String> = circle
            .iter()
            .map(|step| {
                format!(
                    "`{}` writes {}, which `{}` reads",
                    jobs[step.from].1.job.name,
                    jobs[step.to].1.job.systems[step.system].kind.place(),
                    jobs[step.to].1.job.name
                )
            })
            .collect();
        let names: Vec<String> = circle.iter().map(|step| format!("`{}`", jobs[step.from].1.job.name)).collect();
        let mut said = pages[*page].refuse(&checked.spots.systems[into.system], format!("jobs {} form a circle", names.join(", ")));
        for line in way_round {
            said = said.seen(line);
        }
        said.hint("put the systems into one job, or let one of them be a target or a witness");
        told.push(members);
    }
}

/// The shortest way from one job to another that passes no place twice and never `avoided`.
fn way<'s, 'p>(steps: &'s [Step<'p>], from: usize, to: usize, avoided: &str) -> Option<Vec<&'s Step<'p>>> {
    let mut ways: Vec<Vec<&Step<'p>>> = vec![Vec::new()];
    let mut reached = vec![from];
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in &ways {
            let end = way.last().map_or(from, |step| step.to);
            for step in steps.iter().filter(|step| step.from == end && step.place != avoided) {
                let mut next = way.clone();
                next.push(step);
                if step.to == to {
                    return Some(next);
                }
                if !reached.contains(&step.to) {
                    reached.push(step.to);
                    longer.push(next);
                }
            }
        }
        ways = longer;
    }
    None
}
