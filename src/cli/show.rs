//! `tieout show`.

use std::path::Path;

use clap::Args;
use polars::prelude::{DataFrame, StringChunked, UInt64Chunked};
use serde_json::json;
use tieout::diagnostic::Place;
use tieout::error::{Error, Remedy};
use tieout::explain::Question;
use tieout::project::Project;
use tieout::state::Stored;

use super::explain::explain_in;
use super::{Context, print, print_json};

/// Show a run's report.
#[derive(Args)]
pub struct Show {
    /// The run: its id, `JOB/ID`, `last` or `JOB/last`.
    run: String,
    /// Only what the run did to this record, by its key or id, as `tieout explain` tells it.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    record: Option<String>,
    /// Instead of the report the rows that this system delivered to the run, as CSV: the line of each, then its cells as they stood
    /// there, those of sensitive fields too.
    #[arg(long, value_name = "SYSTEM", conflicts_with = "record")]
    snapshot: Option<String>,
    /// With `--record`: show the values of sensitive fields too.
    #[arg(long, requires = "record")]
    reveal: bool,
}

impl Show {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Result<u8, Error> {
        let project = context.project()?;
        let folder = project.report_folder(&self.run)?;
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (job, run) = (folder.parent().map(name).unwrap_or_default(), name(&folder));
        if let Some(system) = &self.snapshot {
            return show_snapshot(context, &project, &job, &run, system);
        }
        if let Some(record) = &self.record {
            let question = Question { key: record, field: None, run: Some(&run), runs_max: 1, reveal: self.reveal };
            return explain_in(context, &project, &job, &question);
        }
        let path = folder.join(if context.json { "report.json" } else { "report.txt" });
        let text = std::fs::read_to_string(&path)
            .map_err(|e| Error::new(Remedy::GiveAccess, Place::of(path.display().to_string()), format!("cannot be read: {e}")))?;
        print(&text);
        Ok(0)
    }
}

/// The columns of a snapshot by their names in the source, and the lines of its rows.
fn columns_of(frame: &DataFrame) -> Option<(UInt64Chunked, Vec<(String, StringChunked)>)> {
    let lines = frame.column("line").ok()?.as_materialized_series().u64().ok()?.rechunk().into_owned();
    let named = frame.columns().iter().filter_map(|column| Some((column.name().strip_prefix("raw:")?.to_owned(), column)));
    let texts = named.map(|(name, column)| Some((name, column.as_materialized_series().str().ok()?.rechunk().into_owned())));
    Some((lines, texts.collect::<Option<_>>()?))
}

fn show_snapshot(context: &Context, project: &Project, job: &str, run: &str, system: &str) -> Result<u8, Error> {
    let stored = Stored::open(&project.state_folder(job))?;
    let frame = stored.map_or(Ok(None), |stored| stored.snapshot(run, system))?;
    let Some((lines, columns)) = frame.as_ref().and_then(columns_of) else {
        return Err(Error::new(Remedy::MendJob, Place::of(format!("{job}/{run}")), format!("no snapshot of `{system}` is kept of this run"))
            .hint("name a system of the job; a run that was only planned keeps none, and old ones go as `snapshots_days` in `tieout.toml` says"));
    };
    if context.json {
        let rows = (0..lines.len()).map(|row| columns.iter().map(|(_, cells)| cells.get(row)).collect::<Vec<_>>());
        let names: Vec<&String> = columns.iter().map(|(name, _)| name).collect();
        print_json(&json!({ "run": run, "system": system, "columns": names, "lines": lines.iter().collect::<Vec<_>>(), "rows": rows.collect::<Vec<_>>() }));
        return Ok(0);
    }
    let write = || -> csv::Result<()> {
        let mut writer = csv::Writer::from_writer(std::io::stdout().lock());
        writer.write_record(std::iter::once("line").chain(columns.iter().map(|(name, _)| name.as_str())))?;
        for row in 0..lines.len() {
            writer.write_field(lines.get(row).unwrap_or_default().to_string())?;
            for (_, cells) in &columns {
                writer.write_field(cells.get(row).unwrap_or_default())?;
            }
            writer.write_record(None::<&[u8]>)?;
        }
        Ok(writer.flush()?)
    };
    // Whoever reads may have seen enough: `| head`.
    let _ = write();
    Ok(0)
}
