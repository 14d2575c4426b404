//! `tieout check`.

use clap::Args;
use tieout::error::Error;
use tieout::report::visible_for_people;
use tieout::run;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{Context, print, print_json};

/// The widest cell of a table of first rows, in columns of a terminal.
const CELL_WIDTH_MAX: usize = 24;

/// The widest table of first rows.
const GRID_WIDTH_MAX: usize = 96;

/// So many columns are named that the job does not read.
const OTHERS_TOLD_MAX: usize = 12;

/// Check job files.
#[derive(Args)]
pub struct Check {
    /// The jobs; all of the root if none is named.
    jobs: Vec<String>,
    /// Open each system too, compare its columns with the job, and show its first rows. Of an API only the first page is read.
    #[arg(long)]
    connect: bool,
}

impl Check {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Result<u8, Error> {
        let (project, jobs) = context.project_and_jobs(&self.jobs)?;
        let mut told = Vec::new();
        for job in &jobs {
            let connected = if self.connect { Some(run::connect(&project.root, &project.root.join(&project.settings.state), job)?) } else { None };
            told.push((job, connected));
        }
        if context.json {
            let documents: Vec<serde_json::Value> = told
                .iter()
                .map(|(job, connected)| serde_json::json!({"job": job.name, "file": job.source.path, "systems": job.systems.len(), "fields": job.fields.len(), "connected": connected}))
                .collect();
            print_json(&documents);
            return Ok(0);
        }
        for (job, connected) in told {
            print(&format!("{}: fine: {} systems, {} fields", job.source.path, job.systems.len(), job.fields.len()));
            for system in connected.into_iter().flatten() {
                let rows = tieout::reconcile::gates::count(system.rows);
                let part = if system.is_part { "the first " } else { "" };
                print(&format!("  {}: {part}{rows} {} from {}", system.name, if system.rows == 1 { "row" } else { "rows" }, system.place));
                for line in grid(&system.columns, &system.first_rows) {
                    print(&format!("    {line}"));
                }
                if !system.others.is_empty() {
                    print(&format!("    also there: {}", listed(&system.others, OTHERS_TOLD_MAX)));
                }
                for note in system.notes {
                    print(&format!("    {note}"));
                }
            }
        }
        Ok(0)
    }
}

/// The names, or the first ones and how many more there are.
fn listed(names: &[String], most: usize) -> String {
    let told: Vec<String> = names.iter().take(most).map(|name| visible_for_people(name).into_owned()).collect();
    let more = names.len().saturating_sub(most);
    if more > 0 { format!("{} and {more} more", told.join(", ")) } else { told.join(", ") }
}

/// The first rows as a table of lines. Columns that do not fit are named below it.
fn grid(columns: &[String], rows: &[Vec<Option<String>>]) -> Vec<String> {
    if rows.is_empty() {
        return Vec::new();
    }
    let short = |text: &str| {
        let text = visible_for_people(text);
        if text.width() <= CELL_WIDTH_MAX {
            return text.into_owned();
        }
        let mut taken = String::new();
        for character in text.chars() {
            if taken.width() + character.width().unwrap_or(0) >= CELL_WIDTH_MAX {
                break;
            }
            taken.push(character);
        }
        taken + "…"
    };
    let cell = |row: &[Option<String>], column: usize| row.get(column).and_then(Option::as_deref).map_or_else(|| "(empty)".to_owned(), short);
    let mut lines = vec![String::new(); rows.len() + 1];
    let mut shown = 0;
    for (column, name) in columns.iter().enumerate() {
        let cells: Vec<String> = std::iter::once(short(name)).chain(rows.iter().map(|row| cell(row, column))).collect();
        let width = cells.iter().map(|cell| cell.width()).max().unwrap_or(0);
        if column > 0 && lines[0].width() + width > GRID_WIDTH_MAX {
            break;
        }
        for (line, cell) in lines.iter_mut().zip(&cells) {
            line.push_str(&format!("{cell}{}  ", " ".repeat(width - cell.width())));
        }
        shown += 1;
    }
    lines.iter_mut().for_each(|line| line.truncate(line.trim_end().len()));
    if shown < columns.len() {
        lines.push(format!("not shown: {}", listed(&columns[shown..], OTHERS_TOLD_MAX)));
    }
    lines
}
