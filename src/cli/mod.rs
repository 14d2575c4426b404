//! The commands, one short file each, and what they print.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tieout::error::Error;
use tieout::job::Job;
use tieout::project::Project;

mod check;
mod demo;
mod diff;
mod explain;
mod history;
mod mail;
mod review;
mod run;
mod schema;
mod serve;
mod show;
mod status;
mod undo;

/// Reconciles systems on schedule: pulls full snapshots, computes keyed diffs, merges by rule, writes the changes back,
/// proves that they arrived, and mails a report that ties out.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 fine · 1 a person must act · 2 mend the arguments or the job file · 3 failed, nothing lost · 4 failed, a person must look · 5 another run holds the lock"
)]
struct Arguments {
    /// The folder with `jobs/`; by default the nearest at or above the current one.
    #[arg(long, global = true, value_name = "FOLDER")]
    root: Option<PathBuf>,
    /// One JSON document on standard output, errors too.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show two nights of an example job in a fresh folder.
    Demo(demo::Demo),
    /// Check job files; with --connect also the systems' columns.
    Check(check::Check),
    /// Everything up to the first write: print and save the plan, write nothing.
    Plan(run::PlanJob),
    /// Make the changes of a plan that `plan -o` wrote, as far as the rows are still as it saw them.
    Apply(run::ApplyPlan),
    /// Run a job: pull, compare, write, verify, report.
    Run(run::RunJob),
    /// Run all jobs by their schedules until stopped.
    Serve(serve::Serve),
    /// One line a job: its last run, what is open, when it is due.
    Status(status::ShowStatus),
    /// List past runs, the newest first.
    History(history::History),
    /// Show the report of a run.
    Show(show::Show),
    /// Explain a record: what each system held, what is open, what every run did to it.
    Explain(explain::Explain),
    /// List the breaks that wait for a person, or decide about them; the next run applies it.
    Review(review::ReviewJob),
    /// Take back what a run wrote, where it still stands: print the plan, with --yes make it.
    Undo(undo::UndoRun),
    /// Send the mails that wait; with `test`, one that tells whether mail works.
    Mail(mail::Mail),
    /// Compare two files of any kind by a key, no job needed: what was added, removed and changed.
    Diff(diff::DiffFiles),
    /// Print the JSON Schema of the job file, for editors; with --preset the settings of an API that is known here.
    Schema(schema::Schema),
}

/// What every command needs.
pub struct Context {
    root: Option<PathBuf>,
    /// Whether to print JSON.
    pub json: bool,
}

impl Context {
    /// The root with its settings.
    pub fn project(&self) -> Result<Project, Error> {
        Project::find(self.root.as_deref())
    }

    /// The root with its settings, and the named jobs, or all: every mistake of all of them at once.
    pub fn project_and_jobs(&self, names: &[String]) -> Result<(Project, Vec<Job>), Error> {
        Project::find_and_check(self.root.as_deref(), names)
    }

    /// Prints a line of progress on standard error, where somebody watches.
    pub fn progress(&self, step: &str) {
        if !self.json && std::io::stderr().is_terminal() {
            print_error(step);
        }
    }
}

/// Prints to standard output. A reader that has gone away is no error.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
    let _ = out.flush();
}

/// Prints to standard error. Where nobody can be told, such as in a log on a full disk, the work goes on.
pub fn print_error(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(format!("{text}\n").as_bytes());
}

/// Prints a value as one JSON document.
pub fn print_json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&text),
        Err(error) => print_error(&format!("error: {error}")),
    }
}

pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let context = Context { root: arguments.root, json: arguments.json };
    let result = match arguments.command {
        Command::Demo(command) => command.run(&context),
        Command::Check(command) => command.run(&context),
        Command::Plan(command) => command.run(&context),
        Command::Apply(command) => command.run(&context),
        Command::Run(command) => command.run(&context),
        Command::Serve(command) => command.run(&context),
        Command::Status(command) => command.run(&context),
        Command::History(command) => command.run(&context),
        Command::Show(command) => command.run(&context),
        Command::Explain(command) => command.run(&context),
        Command::Review(command) => command.run(&context),
        Command::Undo(command) => command.run(&context),
        Command::Mail(command) => command.run(&context),
        Command::Diff(command) => command.run(&context),
        Command::Schema(command) => command.run(),
    };
    let code = result.unwrap_or_else(|error| fail(&context, &error));
    ExitCode::from(code)
}

fn fail(context: &Context, error: &Error) -> u8 {
    if context.json {
        let all: Vec<serde_json::Value> = error
            .diagnostics
            .iter()
            .map(|d| serde_json::json!({"kind": error.remedy, "place": d.place, "message": d.message, "seen": d.seen, "hint": d.hint}))
            .collect();
        print_json(&serde_json::json!({"error": all.first(), "errors": all}));
    } else {
        print_error(&error.to_string());
    }
    error.remedy.exit_code()
}
