//! One run of one job, top to bottom.
//!
//! ```text
//! lock ─ pull* ─ clean ─ dedupe ─ link ─ diff ─ merge ─ plan ─ gates ─ save plan ─ apply* ─ verify* ─ settle ─ report ─ mail*
//! ```
//!
//! Starred steps touch the world. This module joins them with the pure steps between, and decides nothing itself. A report
//! exists for every run that took its lock, whatever became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rayon::prelude::*;

use crate::change::{Action, AddressPart, Break, Change, Decision, Outcome, Plan, PlanHeader, Settled, Undoes, key_for_people};
use crate::decisions;
use crate::delivery::{self, Post, Which};
use crate::diagnostic::{Diagnostic, Place};
use crate::disk;
use crate::error::{Error, Remedy};
use crate::frame::{Clean, Keyed, Pulled};
use crate::job::{Job, LockWhen, Mode, Permission, Role, Settings};
use crate::reconcile::answers::{self, Answer, Answers, Ask, Became, Carrying, Owed, RowValues};
use crate::reconcile::approved::{Stale, compare};
use crate::reconcile::base::{FieldDebt, Standing, State};
use crate::reconcile::clean::{MarkSearch, Marks, clean};
use crate::reconcile::dedupe::dedupe;
use crate::reconcile::differences;
use crate::reconcile::gates::{self, Allowed, Gate, LastRun, Trip};
use crate::reconcile::link::{Linked, link};
use crate::reconcile::patience::Patience;
use crate::reconcile::plan::{Decisions, Undo, plan, undo};
use crate::reconcile::rest::{Piece, Rest, Resting, RestingSums};
use crate::reconcile::settle::{Fate, ReadBack, Settlement, advance, settle, settle_interrupted};
use crate::reconcile::taken_back;
use crate::reconcile::totals::{self, Closing, Identity, TotalReport};
use crate::report::assemble::{self, Earlier, Facts, Heading};
use crate::report::{self, JobChange, Report, Verdict, index};
use crate::state::{self, Below, Ending, JobState, Kept, Knowledge, Leaving, LostMail, Promoted, Promotion, Retention, Saving, SnapshotPlace};
use crate::systems::{self, Opening, System, Wanted};
use crate::value::{FieldType, Value};

mod adopt;
mod apply;

use adopt::TakenOver;
use apply::Obstacles;

/// How the start of a run is spelled in its id.
const RUN_ID: &str = "%Y%m%dT%H%M%SZ";
/// A clock that goes back by less is only set right.
const CLOCK_BACK_MIN_S: i64 = 120;
/// So many of the last runs tell whether the clock is likely right.
const CLOCK_RUNS: usize = 5;

/// What a run says that was asked to stop.
const STOPPED_ON_REQUEST: &str = "stopped on request before writing";
/// The list of a job's runs, from which the page of all jobs is made.
const RUNS_FILE: &str = "runs.json";

/// Where a run takes place.
pub struct World<'a> {
    /// The root that relative paths start from.
    pub root: &'a Path,
    /// What all jobs share.
    pub settings: &'a Settings,
    /// The clock.
    pub now: &'a dyn Fn() -> Timestamp,
    /// Waits for so long.
    pub sleep: &'a dyn Fn(Duration),
    /// Told each step as it begins, and what it found.
    pub progress: &'a dyn Fn(&str),
    /// Whether the run should stop. It is asked between steps up to the first write; from there on a run goes to its end.
    pub cancelled: &'a dyn Fn() -> bool,
}

impl<'a> World<'a> {
    fn post(&self) -> Post<'a> {
        Post { root: self.root, settings: self.settings, now: self.now }
    }
}

/// What is asked of a run.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Stop at the plan, and write nothing.
    pub plan_only: bool,
    /// Make the changes of this plan and no others, as far as tonight's rows still ask for them.
    pub approved: Option<Arc<Approved>>,
    /// Take back what a run wrote, and do nothing else.
    pub undo: Option<Arc<Undo>>,
    /// Accept the plan of a first contact.
    pub first_contact: bool,
    /// Gates that this run may pass.
    pub allowed: Vec<Allowed>,
    /// Look into every record, even where no row of it changed.
    pub every_record: bool,
    /// How many rows of a system are looked into at once where all are; nothing for as many as is good.
    pub stretch_rows: Option<usize>,
    /// Frozen fields that are written again: the key of a record, or `KEY.FIELD`.
    pub unfreeze: Vec<String>,
    /// Changes that were sent too often without success, and are sent again: the key of a record, or `KEY.FIELD`.
    pub retry: Vec<String>,
    /// What the report says before anything of its own, a sentence each.
    pub notes: Vec<String>,
    /// Scheduled runs were missed: the report is mailed also where the job file would not for what the run finds.
    pub must_mail: bool,
}

impl Request {
    /// What the ledger calls it.
    fn command(&self) -> &'static str {
        match (self.plan_only, &self.approved) {
            (true, _) => "plan",
            (false, None) if self.undo.is_some() => "undo",
            (false, Some(_)) => "apply",
            (false, None) => "run",
        }
    }
}

/// A plan that was written to a file, looked at, and is to be applied.
#[derive(Clone, Debug)]
pub struct Approved {
    plan: Plan,
    /// The SHA-256 of the file.
    digest: String,
    /// The file, as messages show it.
    place: String,
}

impl Approved {
    /// Reads a plan.
    ///
    /// # Errors
    /// `GiveAccess` if it cannot be read, `Look` if it is no plan or damaged, `MendJob` if another version of the program made it.
    pub fn read(path: &Path) -> Result<Approved, Error> {
        let (plan, digest) = state::read_plan(path)?;
        Ok(Approved { plan, digest, place: path.display().to_string() })
    }

    /// The job that it was made for.
    pub fn job(&self) -> &str {
        &self.plan.header.job
    }

    /// What it undoes; nothing if it is the plan of a night.
    pub fn undoes(&self) -> Option<&Undoes> {
        self.plan.header.undoes.as_ref()
    }

    /// Refuses a plan that is not, to the byte, one that this job made by its job file as it is and from the state that it has.
    fn check(&self, job: &Job, state: &JobState, promoted: Option<&Promoted>) -> Result<(), Error> {
        let error = |remedy: Remedy, message: String| Error::new(remedy, Place::of(&self.place), message);
        let again = format!("make a new plan with `tieout plan {} -o FILE`, and look at it", job.name);
        let header = &self.plan.header;
        let Some((digest, job_text)) = state.ledger.plan_of(&header.run)? else {
            return Err(error(Remedy::MendJob, format!("the plan was not made here: the ledger of `{}` knows no run {}", job.name, header.run))
                .seen("nothing was written")
                .hint(again));
        };
        if digest.as_ref() != Some(&self.digest) {
            let seen = if digest.is_some() { "its SHA-256 is not the one in the ledger" } else { "the ledger has no plan of that run that could be applied" };
            return Err(error(Remedy::Look, format!("the plan is not as run {} made it", header.run))
                .seen(seen)
                .seen("nothing was written")
                .hint("apply the file as it was made, or make a new plan"));
        }
        if header.job_digest != job.source.digest {
            let mut refused = error(Remedy::MendJob, format!("the job file changed since the plan was made: `{}`", job.source.path));
            for change in changed_lines(&job_text, &job.source.text) {
                refused = refused.seen(change);
            }
            return Err(refused.seen("nothing was written").hint(again));
        }
        let now = promoted.map(|promoted| &promoted.run);
        if header.base_run.as_ref() != now {
            let run = |run: Option<&String>| run.map_or_else(|| "before the job's first run".to_owned(), |run| format!("after run {run}"));
            return Err(error(Remedy::Look, "the plan is out of date: the job ran since it was made".to_owned())
                .seen(format!("it was made {}; the state is now that {}", run(header.base_run.as_ref()), run(now)))
                .seen("nothing was written")
                .hint(again));
        }
        Ok(())
    }
}

/// How many of the things that a person could have named are listed.
const NAMED_TOLD_MAX: usize = 10;

/// Something that a person names by the key of its record, or by key and field.
struct Named<T> {
    key: String,
    /// Nothing where the record as a whole is meant.
    field: Option<String>,
    system: String,
    at: T,
}

impl<T> Named<T> {
    fn is_meant(&self, word: &str) -> bool {
        self.key == word || self.field.as_ref().is_some_and(|field| format!("{}.{field}", self.key) == word)
    }

    fn place(&self) -> String {
        let field = self.field.as_ref().map_or_else(String::new, |field| format!(".{field}"));
        format!("`{}{field}` in `{}`", self.key, self.system)
    }
}

/// The words of an option that names such things.
struct Naming {
    option: &'static str,
    one: &'static str,
    none: &'static str,
    known: &'static str,
    many: &'static str,
}

impl Naming {
    /// Those that are named, each once. Keys stand in the message only where `may_be_told`.
    ///
    /// # Errors
    /// `MendJob` for a word that names none of them.
    fn meant<'n, T>(&self, words: &[String], all: &'n [Named<T>], may_be_told: bool) -> Result<Vec<&'n Named<T>>, Error> {
        if let Some(word) = words.iter().find(|word| !all.iter().any(|one| one.is_meant(word))) {
            let known = match all.len() {
                0 => self.none.to_owned(),
                1..=NAMED_TOLD_MAX if may_be_told => format!("{}: {}", self.known, all.iter().map(Named::place).collect::<Vec<_>>().join(", ")),
                many => format!("{} {}: the last report lists them", gates::count(many as u64), self.many),
            };
            let word = if may_be_told { format!("`{word}`") } else { "so".to_owned() };
            return Err(Error::new(Remedy::MendJob, Place::of(self.option), format!("no {} is called {word}", self.one))
                .seen(known)
                .seen("nothing was written")
                .hint("name the key of a record, or the key, a point and the field"));
        }
        Ok(all.iter().filter(|one| words.iter().any(|word| one.is_meant(word))).collect())
    }
}

/// The key of a record for people, as it was read last.
fn key_of(state: &State, record: u64) -> String {
    let found = state.bases.iter().find_map(|base| base.keys.get(base.records.binary_search(&record).ok()?));
    key_for_people(found.unwrap_or_default())
}

/// How many changed lines of a job file are named.
const CHANGED_LINES_MAX: usize = 5;

/// The lines in which two job files differ, by their settings: what stands in them may be secret.
fn changed_lines(before: &str, after: &str) -> Vec<String> {
    let known: BTreeSet<&str> = before.lines().map(str::trim).collect();
    let still: BTreeSet<&str> = after.lines().map(str::trim).collect();
    let name = |line: &str| line.split_once('=').map_or_else(|| line.to_owned(), |(name, _)| name.trim().to_owned());
    let is_told = |line: &str| !line.is_empty() && !line.starts_with('#');
    let differing = |text: &str, others: &BTreeSet<&str>, what: &str| -> Vec<String> {
        let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| is_told(line) && !others.contains(line));
        lines.map(|(number, line)| format!("line {}, `{}`, {what}", number + 1, name(line))).collect()
    };
    let mut changes = differing(after, &known, "is new or changed");
    changes.extend(differing(before, &still, "as it was then, is gone or changed"));
    if changes.is_empty() {
        changes.push("only its comments, blank lines or the order of its lines differ".to_owned());
    }
    let more = changes.len().saturating_sub(CHANGED_LINES_MAX);
    changes.truncate(CHANGED_LINES_MAX);
    if more > 0 {
        changes.push(format!("and {more} more"));
    }
    changes
}

/// What is left of a run.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What it did.
    pub report: Report,
    /// The folder with its report.
    pub folder: PathBuf,
    /// The plan, as it is stored, of a run that was asked for it alone; nothing where it did not come to one.
    pub plan: Option<Vec<u8>>,
    /// What went wrong after everything was settled: a mail, a report file.
    pub afterthoughts: Vec<Error>,
    /// Whether it stopped, before writing, because it was asked to.
    pub was_cancelled: bool,
    /// The exit code: that of the report, or where all went well but the report could not be written, the one that says so.
    pub exit_code: u8,
}

/// Runs a job.
///
/// # Errors
/// Only what stops a run before it has its lock and its ledger, and a plan that cannot be applied, which is refused as any wrong
/// argument is. Everything later is in the report.
pub fn run(world: &World<'_>, job: &Job, request: &Request) -> Result<Finished, Error> {
    let started = (world.now)();
    let holder = format!("process {} since {started}", std::process::id());
    let state = JobState::open(&world.root.join(&world.settings.state).join(&job.name), &holder)?;
    let id = state::free_run_id(&state.ledger, &world.root.join(&world.settings.reports).join(&job.name), &started.strftime(RUN_ID).to_string())?;
    let promoted = state.ledger.promoted()?;
    if let Some(approved) = &request.approved {
        approved.check(job, &state, promoted.as_ref())?;
    }
    let command = request.command();
    let interrupted = state.ledger.interrupted()?;
    let (of_mails, lost_mails) = delivery::notes(&state.ledger)?;
    let notes =
        request.notes.iter().cloned().chain(earlier_clock(promoted.as_ref(), started)).chain(state.ledger.newest_alteration()?).chain(of_mails).collect();
    state.ledger.begin(&id, command, &started.to_string(), promoted.as_ref().map(|p| p.run.as_str()), &job.source.digest, &job.source.text)?;

    let mut night = Night {
        world,
        job: job.clone(),
        request,
        id: &id,
        started,
        state: &state,
        promoted,
        cut_off: Vec::new(),
        marks: Vec::new(),
        taken_over: None,
        was_cancelled: false,
        notes,
        lost_mails,
        allowed: Vec::new(),
        answers: Answers::default(),
        written: decisions::Found::default(),
        carried: BTreeSet::new(),
        thawed: Vec::new(),
        left: BTreeMap::new(),
        snapshot_days: world.settings.snapshots_days,
        snapshot_depth: 0,
        obstacles: Obstacles::none(Patience::new(&id, Duration::from_secs(job.retry_for_s.into()))),
    };
    let (report, plan) = match night.reconcile(&interrupted) {
        Ok(done) => done,
        Err(error) => {
            // What cannot be told of a ledger that cannot be read is not what stopped the run.
            let earlier = night.earlier_breaks().unwrap_or_default();
            let mut report = night.heading().stopped(&error, &earlier);
            if night.obstacles.has_sent {
                assemble::stop_while_writing(&mut report, &error);
            }
            night.tell_retries(&mut report);
            if night.was_cancelled {
                report.sentence = format!("{STOPPED_ON_REQUEST}; nothing was written");
            }
            (report, None)
        }
    };
    let mut finished = night.conclude(report, plan.as_ref());
    // What it left for nobody goes while the lock is held.
    drop(night);
    // The lock is given back first: a mail server that hangs keeps nobody from the job.
    drop(state);
    if !request.plan_only {
        finished.afterthoughts.extend(deliver(world, job));
    }
    Ok(finished)
}

/// Tries the mail of this run, and those before it whose time has come; gives what the operator must know.
fn deliver(world: &World<'_>, job: &Job) -> Option<Error> {
    let post = world.post();
    match post.deliver_due(&job.name, Which::Due) {
        Ok(tried) => delivery::problem(&post.place(), &tried),
        Err(error) => Some(error),
    }
}

/// One run that has its lock.
struct Night<'a> {
    world: &'a World<'a>,
    /// The job; after the pull with what the columns show of their spelling.
    job: Job,
    request: &'a Request,
    id: &'a str,
    started: Timestamp,
    state: &'a JobState,
    promoted: Option<Promoted>,
    /// Runs that were cut off, and are settled by this one.
    cut_off: Vec<CutOff>,
    /// By system, how its columns are spelled, where they were all seen before any was cleaned.
    marks: Vec<Marks>,
    /// What was taken over a stretch at a time, if anything was.
    taken_over: Option<TakenOver>,
    /// Whether it stops because it was asked to.
    was_cancelled: bool,
    notes: Vec<String>,
    /// Mails that did not arrive, told by this run's report.
    lost_mails: Vec<LostMail>,
    allowed: Vec<String>,
    /// What people decided about open breaks, and no run has made use of yet.
    answers: Answers,
    /// What they wrote into workbooks, which a plan only looks at.
    written: decisions::Found,
    /// The breaks whose answers were carried over what a run that was cut off had written.
    carried: BTreeSet<String>,
    /// Those that let a frozen field be written again.
    thawed: Vec<u64>,
    /// By system whose file was written: its SHA-256 as it was read back; nothing where it could not be.
    left: BTreeMap<String, Option<String>>,
    snapshot_days: u32,
    /// How many earlier snapshots those of this run stand on.
    snapshot_depth: u32,
    /// What it met on its way to the systems.
    obstacles: Obstacles,
}

/// What a run looks into.
struct Awake {
    /// The records that the last promoted run left at rest.
    rest: Rest,
    /// Which of them stay so.
    resting: Resting,
    /// By system: the rows of all others.
    cleaned: Vec<Clean>,
    /// The snapshots, which are being written.
    snapshots: Option<Saving>,
}

/// A run that was cut off while it wrote.
struct CutOff {
    run: String,
    decisions: Vec<Decision>,
    /// The systems that something had been sent to.
    written: BTreeSet<String>,
    fates: BTreeMap<u32, Fate>,
    /// The answers that it was done with.
    answered: Vec<u64>,
    /// What it took back, which is held.
    holds: Vec<Answer>,
    /// Its changes that were made.
    made: Vec<Change>,
}

/// The arithmetic of a run.
struct Figures {
    totals: Vec<TotalReport>,
    identities: Vec<Identity>,
}

impl Night<'_> {
    /// The mission: pull, clean, dedupe, link, diff, merge, plan, pass the gates, apply, verify, settle.
    fn reconcile(&mut self, interrupted: &[state::Interrupted]) -> Result<(Report, Option<Plan>), Error> {
        self.tidy()?;
        self.take_what_is_decided()?;
        let mut systems = self.open()?;
        self.stop_if_asked()?;
        let (rest, mut pulled) = self.recall_and_pull(&mut systems, interrupted.is_empty())?;
        self.tell_stale_sources(&mut pulled);
        self.stop_if_asked()?;
        self.say("clean");
        let Awake { rest, resting, cleaned, snapshots } = self.clean_what_changed(rest, pulled, interrupted.is_empty())?;
        let mut before = self.recall(&rest, &resting)?;
        for cut_off in interrupted {
            before = self.settle_interrupted(cut_off, before, &cleaned, &systems)?;
        }
        self.unfreeze(&mut before)?;
        self.retry(&mut before)?;
        self.take_in_answers(&mut before)?;
        self.say("dedupe, link, diff, merge");
        let nows = self.dedupe(cleaned, &before);
        self.stop_if_asked()?;
        let linked = link(&self.job, &before, &nows, &self.answers, self.is_allowed(Gate::Restored, None));
        self.carry_over_what_was_cut_off(&before, &nows, &linked);
        let (mut decisions, stale) = match self.request.undo.clone() {
            Some(of) => self.undo(&before, &nows, linked, &of),
            None => {
                let decisions = plan(&self.job, &before, &nows, linked, &self.answers, self.header(&nows));
                self.keep_to_the_approved(&before, &nows, decisions)
            }
        };
        let at_rest = rest.sums(&self.job, &resting);
        let mut figures = self.figures(&before, &nows, &decisions, &at_rest);
        self.check_arithmetic(&figures.identities)?;
        let earlier = self.earlier_breaks()?;

        let trips = self.trips(&before, &nows, &decisions, at_rest.records)?;
        let facts = Facts {
            before: &before,
            nows: &nows,
            decisions: &decisions,
            resting: at_rest.records,
            settlement: None,
            earlier: &earlier,
            totals: &figures.totals,
            differences: &[],
            identities: &figures.identities,
            plan_digest: None,
            stale: &stale,
            answers: &self.answers,
        };
        if let Some(report) = self.stop_at_the_plan(facts, &trips) {
            return Ok((report, Some(decisions.plan)));
        }

        self.stop_if_asked()?;
        let mut settlement = Settlement::default();
        let mut plan_digest = None;
        if self.job.mode == Mode::Sync {
            let digest = self.save_plan(snapshots, &decisions.plan, &mut systems)?;
            plan_digest = Some(digest);
            let outcomes = self.apply(&mut systems, &decisions.plan)?;
            settlement = self.verify(&mut systems, &before, &decisions.plan, outcomes);
            if self.request.undo.is_some() {
                taken_back::tell(&self.job, &mut decisions, Some(&settlement));
            }
            figures.identities.push(totals::writes_identity(decisions.plan.changes.len() as u64, &settlement.fates));
        } else {
            snapshots.map_or(Ok(()), Saving::finish)?;
        }

        self.say("settle");
        let after = advance(&self.job, &before, &nows, &decisions, &settlement);
        let (of_after, closings) = totals::after_writes(&self.job, &nows, &decisions, &settlement, &after, &at_rest, &mut figures.totals);
        figures.identities.extend(of_after);
        let (differences, of_differences) = differences::differences(&self.job, &decisions, &after, &figures.totals);
        figures.identities.extend(of_differences);
        let breaks = self.still_open(assemble::breaks(&self.job, &before, &nows, &decisions, Some(&settlement), &earlier), &earlier, &decisions);
        let facts = Facts {
            before: &before,
            nows: &nows,
            decisions: &decisions,
            resting: at_rest.records,
            settlement: Some(&settlement),
            earlier: &earlier,
            totals: &figures.totals,
            differences: &differences,
            identities: &figures.identities,
            plan_digest: plan_digest.as_deref(),
            stale: &stale,
            answers: &self.answers,
        };
        let mut report = assemble::report(&self.heading(), &facts, &breaks);
        self.tell_retries(&mut report);
        self.tell_barred(&mut report);
        self.tell_not_taken_back(&mut report);
        self.promote((&before, &after), &nows, &decisions, (&rest, &resting), &breaks, &report, closings, &settlement)?;
        if let Err(error) = self.offer_decisions(&mut report) {
            report.notes.push(format!("the workbook offers no decisions: {}", error.headline()));
        }
        // The writes are made and settled by now: what does not add up is told, not undone.
        if let Err(error) = self.check_arithmetic(&report.identities) {
            assemble::stop_with(
                &mut report,
                error.remedy.exit_code(),
                Verdict::Failed,
                "the arithmetic of the writes does not hold".to_owned(),
                error.diagnostics,
            );
        }
        Ok((report, Some(decisions.plan)))
    }

    /// How often each system was called again.
    fn tell_retries(&self, report: &mut Report) {
        for system in &mut report.systems {
            system.retries = self.obstacles.retries.get(&system.name).copied().unwrap_or_default();
        }
    }

    /// An undo that could not take everything back calls somebody, whatever else is open.
    fn tell_not_taken_back(&self, report: &mut Report) {
        if self.request.undo.is_some() && !report.stale.is_empty() && report.verdict != Verdict::Failed {
            report.verdict = Verdict::Action;
            report.exit_code = 1;
        }
    }

    /// A run that could not write to a system has failed there, whatever else it did. What the system lacks it is owed. Where nobody
    /// knows what was written, the reading back knows more than the error, which is only noted.
    fn tell_barred(&self, report: &mut Report) {
        let barred = self.obstacles.barred.iter();
        let (unknown, refused): (Vec<_>, Vec<_>) = barred.partition(|(_, error)| error.remedy == Remedy::Look);
        report.notes.extend(unknown.iter().map(|(name, error)| format!("`{name}`: {}; what became of each change was read back", error.headline())));
        let Err(error) = gather::<()>(refused.iter().map(|(_, error)| Err(error.clone()))) else { return };
        let names: Vec<String> = refused.iter().map(|(name, _)| name.clone()).collect();
        let sentence = format!("{}; nothing was written to {}: {}", report.sentence, crate::change::join_names(&names), error.headline());
        let exit_code = error.remedy.exit_code();
        assemble::stop_with(report, exit_code, Verdict::Failed, sentence, error.diagnostics);
    }

    /// Stops a run that was asked to stop. Only before the first write: a plan that is begun is carried out.
    fn stop_if_asked(&mut self) -> Result<(), Error> {
        if !(self.world.cancelled)() {
            return Ok(());
        }
        self.was_cancelled = true;
        Err(Error::new(Remedy::GiveAccess, Place::of(&self.job.name), STOPPED_ON_REQUEST)
            .seen("nothing was written")
            .hint("nothing is lost: the next run starts where this one did"))
    }

    fn say(&self, step: &str) {
        (self.world.progress)(step);
    }

    fn heading(&self) -> Heading<'_> {
        Heading {
            job: &self.job,
            run: self.id,
            previous_run: self.promoted.as_ref().map(|p| p.run.as_str()),
            started: self.started,
            version: env!("CARGO_PKG_VERSION"),
            dry_run: self.request.plan_only,
            notes: self.notes.clone(),
            allowed: self.allowed.clone(),
            job_change: self.job_change(),
        }
    }

    fn job_change(&self) -> Option<JobChange> {
        let promoted = self.promoted.as_ref()?;
        let terms = gates::changed_terms(&promoted.knowledge.terms, &self.job.terms_among(&promoted.knowledge.rows_read));
        (!terms.is_empty()).then(|| JobChange { terms, before: promoted.job_text.clone(), after: self.job.source.text.clone() })
    }

    fn last_run(&self, older_files: BTreeMap<String, String>) -> Option<LastRun> {
        let promoted = self.promoted.as_ref()?;
        let Knowledge { rows_read, terms, .. } = &promoted.knowledge;
        Some(LastRun { run: promoted.run.clone(), rows_read: rows_read.clone(), terms: terms.clone(), older_files })
    }

    /// By system whose file is one that a run before the last knew: that run. Not where the last run may have written it so, or one
    /// that was cut off, and not where it has no rows: a list that is empty on many days is no old one.
    fn older_files(&self, nows: &[Keyed]) -> Result<BTreeMap<String, String>, Error> {
        let mut older = BTreeMap::new();
        let Some(promoted) = &self.promoted else { return Ok(older) };
        for (name, pulled) in self.pulled(nows).filter(|(_, pulled)| pulled.evidence.rows_read > 0) {
            let (read, left) = (promoted.knowledge.snapshots.get(name), promoted.knowledge.left.get(name));
            let (Some(sha256), Some(read), Some(left)) = (&pulled.evidence.sha256, read, left) else { continue };
            let may_be_ours = self.cut_off.iter().any(|cut_off| cut_off.written.contains(name));
            if *sha256 == read.sha256 || sha256 == left || may_be_ours {
                continue;
            }
            older.extend(self.state.ledger.run_of_file(name, sha256)?.map(|run| (name.to_owned(), run)));
        }
        Ok(older)
    }

    fn is_allowed(&self, gate: Gate, system: Option<&str>) -> bool {
        self.request.allowed.iter().any(|a| a.gate == gate && (a.system.is_none() || a.system.as_deref() == system))
    }

    /// Clears away what no promoted run names.
    fn tidy(&self) -> Result<(), Error> {
        self.state.tidy(self.promoted.as_ref(), &self.days_ago(self.snapshot_days)?, self.id)
    }

    /// The run id of so many days ago; the empty text, before every id, where there is no such day.
    ///
    /// Counted from this run, or, if that is earlier, from a week after the middle one of the last five: a clock that is wrong for a
    /// night must not remove what is to be kept.
    fn days_ago(&self, days: u32) -> Result<String, Error> {
        let mut last: Vec<Timestamp> =
            self.state.ledger.newest_runs(CLOCK_RUNS + 1)?.iter().filter(|run| *run != self.id).filter_map(|run| started_of(run)).collect();
        last.truncate(CLOCK_RUNS);
        last.sort_unstable();
        let day = jiff::SignedDuration::from_hours(24);
        let latest = last.get(last.len() / 2).and_then(|middle| middle.checked_add(day * 7).ok());
        let from = latest.map_or(self.started, |latest| latest.min(self.started));
        let then = i32::try_from(days).ok().and_then(|days| from.checked_sub(day * days).ok());
        Ok(then.map(|then| then.strftime(RUN_ID).to_string()).unwrap_or_default())
    }

    /// Full snapshots of all systems, and, read meanwhile, the records that the last promoted run left at rest. Nothing is at
    /// rest where somebody wants every record looked into, where a run was cut off, and where one is undone: what it wrote may rest.
    fn recall_and_pull(&mut self, systems: &mut [Box<dyn System>], may_rest: bool) -> Result<(Rest, Vec<Pulled>), Error> {
        let promoted = self.promoted.as_ref().filter(|_| may_rest && !self.request.every_record && self.request.undo.is_none());
        let (folder, job) = (self.state.bases(), &self.job);
        let (recalled, pulled) = std::thread::scope(|scope| {
            let recalled = scope.spawn(|| promoted.map_or(Ok(None), |promoted| state::load_rest(&folder, job, promoted)));
            let pulled = self.pull(systems);
            (recalled.join().unwrap_or_else(|_| Err(unreadable_state(&folder))), pulled)
        });
        let pulled = gather(self.pull_again(systems, pulled))?;
        for (spec, pulled) in self.job.systems.iter().zip(&pulled) {
            self.say(&format!("  {}: {} rows", spec.name, gates::count(pulled.evidence.rows_read)));
        }
        Ok((recalled?.unwrap_or_default(), pulled))
    }

    /// Notes every source whose file is, to the byte, the one that the last promoted run read: it has no edits, and perhaps nobody
    /// delivered it.
    fn tell_stale_sources(&self, pulled: &mut [Pulled]) {
        let Some(promoted) = &self.promoted else { return };
        for (spec, pulled) in self.job.systems.iter().zip(pulled).filter(|(spec, _)| spec.role == Role::Source) {
            if let Some(known) = promoted.knowledge.snapshots.get(&spec.name)
                && pulled.evidence.sha256.as_ref() == Some(&known.sha256)
            {
                pulled.evidence.notes.push(format!("the same file as at run {}", known.run));
            }
        }
    }

    /// The rows of all records that are not at rest, clean. Meanwhile the snapshots are begun to be written.
    fn clean_what_changed(&mut self, rest: Rest, pulled: Vec<Pulled>, may_rest: bool) -> Result<Awake, Error> {
        let mut resting = rest.found_in(&pulled);
        if !resting.positions.is_empty() {
            let mut rows = awake_rows(&pulled, &resting)?;
            let marks = self.learn_spelling(&rows, Some(&pulled))?;
            // Where a column turns out to be spelled otherwise than when the records were left at rest, none of them is.
            if self.is_spelled_as_before() {
                loop {
                    let cleaned = self.clean(rows, &marks);
                    if !rest.wake_claimed(&mut resting, &cleaned) {
                        let snapshots = self.save_what_is_new(&rest, &resting, &cleaned, pulled);
                        return Ok(Awake { rest, resting, cleaned, snapshots });
                    }
                    rows = awake_rows(&pulled, &resting)?;
                }
            }
        }
        if let Some(awake) = self.adopt(&pulled, may_rest)? {
            return Ok(awake);
        }
        let rows = pulled.into_par_iter().map(Pulled::whole).collect::<Result<Vec<Pulled>, Error>>()?;
        let marks = self.learn_spelling(&rows, None)?;
        let cleaned = self.clean(rows, &marks);
        let snapshots = self.save_snapshots(None, cleaned.iter().map(|clean| (Arc::clone(&clean.pulled), Vec::new())));
        Ok(Awake { rest: Rest::default(), resting: Resting::default(), cleaned, snapshots })
    }

    fn clean(&self, rows: Vec<Pulled>, marks: &[Marks]) -> Vec<Clean> {
        let job = &self.job;
        let of_system = |(system, mut rows): (usize, Pulled)| {
            marks[system].keep(job, &mut rows.evidence.found);
            clean(job, system, Arc::new(rows))
        };
        rows.into_par_iter().enumerate().map(of_system).collect()
    }

    /// Looks how the columns of tonight spell their numbers, where the job file does not say. From here on the job knows.
    ///
    /// Rows at rest show what they showed when an earlier run found it out, and agree with it. So the others tell enough, unless they
    /// contradict it: then all of `whole` are asked.
    fn learn_spelling(&mut self, rows: &[Pulled], whole: Option<&[Pulled]>) -> Result<Vec<Marks>, Error> {
        let nothing = BTreeMap::new();
        let known = |name: &str| self.promoted.as_ref().and_then(|promoted| promoted.knowledge.found.get(name)).unwrap_or(&nothing);
        let job = &self.job;
        let find = |system: usize, pulled: &Pulled| {
            let mut search = MarkSearch::new(job, system);
            pulled.stretches(adopt::STRETCH_ROWS).try_for_each(|rows| rows.map(|rows| search.look(&rows)))?;
            search.decide(&pulled.evidence.origin, known(&job.systems[system].name))
        };
        let marks = gather(rows.iter().enumerate().map(|(system, rows)| {
            let found = Marks::find(job, system, rows, known(&job.systems[system].name));
            match whole {
                Some(whole) => found.or_else(|_| find(system, &whole[system])),
                None => found,
            }
        }))?;
        marks.iter().for_each(|marks| marks.tell(&mut self.job));
        Ok(marks)
    }

    /// Whether every column is read as when the last promoted run left its records at rest.
    fn is_spelled_as_before(&self) -> bool {
        let rest = self.promoted.as_ref().and_then(|promoted| promoted.knowledge.bases.rest.as_ref());
        rest.is_some_and(|rest| rest.spelling == self.job.found_spelling())
    }

    /// Begins to write the snapshots of rows of which only those that are awake are new: the others stand in an earlier snapshot.
    fn save_what_is_new(&mut self, rest: &Rest, resting: &Resting, cleaned: &[Clean], pulled: Vec<Pulled>) -> Option<Saving> {
        let new: usize = cleaned.iter().map(|clean| clean.pulled.height()).sum();
        let all: usize = pulled.iter().map(Pulled::height).sum();
        let below = self.promoted.as_ref().filter(|_| new < all / 2).and_then(|promoted| self.state.snapshots_below(&self.job, promoted));
        match below {
            Some(below) => {
                let pieces: Vec<Vec<Piece>> = pulled.par_iter().enumerate().map(|(system, pulled)| rest.pieces(resting, system, pulled)).collect();
                // Giving this memory back takes a while, and nobody waits for it.
                rayon::spawn(move || drop(pulled));
                self.save_snapshots(Some(below), cleaned.iter().map(|clean| Arc::clone(&clean.pulled)).zip(pieces))
            }
            None => self.save_snapshots(None, pulled.into_iter().map(|pulled| (Arc::new(pulled), Vec::new()))),
        }
    }

    /// The snapshots are written while the run decides. A plan that is only asked for leaves none.
    fn save_snapshots(&mut self, below: Option<Below>, kept: impl Iterator<Item = (Arc<Pulled>, Vec<Piece>)>) -> Option<Saving> {
        self.snapshot_depth = below.as_ref().map_or(0, |below| below.depth + 1);
        let kept = self.job.systems.iter().zip(kept).map(|(spec, (told, pieces))| Kept { system: spec.name.clone(), told, pieces });
        let kept: Vec<Kept> = kept.collect();
        (!self.request.plan_only).then(|| self.state.start_saving(self.id, below, kept))
    }

    /// The state that the last promoted run left, of the records that are not at rest.
    fn recall(&self, rest: &Rest, resting: &Resting) -> Result<State, Error> {
        match &self.promoted {
            None => {
                let first = State::first_contact(&self.job);
                Ok(State { next_record: self.taken_over.as_ref().map_or(first.next_record, |taken_over| taken_over.next_record), ..first })
            }
            Some(promoted) => state::load(&self.state.bases(), &self.job, promoted, Some((rest, resting))),
        }
    }

    /// Lets the frozen fields that a person named be written again. That is kept with the gates that were allowed.
    fn unfreeze(&mut self, state: &mut State) -> Result<(), Error> {
        let frozen = state.open.flips.iter().filter(|(_, flips)| flips.frozen).map(|(at, _)| at.clone());
        let frozen: Vec<Named<_>> = frozen.map(|at| Named { key: key_of(state, at.0), field: Some(at.1.clone()), system: at.2.clone(), at }).collect();
        let words = Naming { option: "--unfreeze", one: "frozen field", none: "nothing is frozen", known: "frozen", many: "fields are frozen" };
        for one in words.meant(&self.request.unfreeze, &frozen, self.may_tell_keys())? {
            state.open.flips.remove(&one.at);
            let key = self.key_for_people(&one.key);
            self.allowed.push(format!("unfreeze: `{}` of {key} is written in `{}` again", one.at.1, one.system));
        }
        Ok(())
    }

    /// Lets the changes that a person named be sent again, which were sent so often without success that they were given up.
    /// That is kept with the gates that were allowed.
    fn retry(&mut self, state: &mut State) -> Result<(), Error> {
        let is_given_up = |attempts: u32| attempts >= self.job.attempts_max;
        let fields = state.open.fields.iter().flat_map(|((record, field), open)| {
            let given_up = open.debts.iter().filter(|(_, debt)| matches!(debt, FieldDebt::Owed { attempts, .. } if is_given_up(*attempts)));
            given_up.map(|(system, _)| (*record, Some(field.clone()), system.clone()))
        });
        let records = state.open.records.iter().filter(|(_, debt)| is_given_up(debt.attempts)).map(|((record, system), _)| (*record, None, system.clone()));
        let given_up: Vec<Named<u64>> = fields.chain(records).map(|(at, field, system)| Named { key: key_of(state, at), field, system, at }).collect();
        let words =
            Naming { option: "--retry", one: "change that waits for a person", none: "nothing was given up", known: "given up", many: "changes were given up" };
        for one in words.meant(&self.request.retry, &given_up, self.may_tell_keys())? {
            let again = match &one.field {
                Some(field) => state.open.fields.get_mut(&(one.at, field.clone())).and_then(|open| match open.debts.get_mut(&one.system) {
                    Some(FieldDebt::Owed { attempts, .. }) => Some(attempts),
                    _ => None,
                }),
                None => state.open.records.get_mut(&(one.at, one.system.clone())).map(|debt| &mut debt.attempts),
            };
            if let Some(attempts) = again {
                *attempts = 0;
            }
            let (key, what) = (self.key_for_people(&one.key), one.field.as_ref().map_or_else(String::new, |field| format!("`{field}` of ")));
            self.allowed.push(format!("retry: {what}{key} is sent to `{}` again", one.system));
        }
        Ok(())
    }

    /// Keeps what people wrote into workbooks since the last run. A plan only looks at it, and an undo leaves it to the next run.
    fn take_what_is_decided(&mut self) -> Result<(), Error> {
        if self.request.undo.is_some() {
            return Ok(());
        }
        let folder = self.world.root.join(&self.world.settings.reports).join(&self.job.name);
        let found = decisions::find(&self.job, &self.state.ledger, &folder, self.started)?;
        if self.request.plan_only {
            let found = found.numbered(&self.state.ledger)?;
            self.notes.extend(found.notes.iter().cloned());
            self.written = found;
        } else {
            self.notes.extend(found.keep(&self.state.ledger, self.id, &self.started.to_string())?);
        }
        Ok(())
    }

    /// What can be decided in the workbook of this report: of the breaks that this run keeps.
    fn offer_decisions(&self, report: &mut Report) -> Result<(), Error> {
        let known = self.state.ledger.open_breaks()?;
        for one in &mut report.breaks {
            one.decisions = known.get(&one.id).map(decisions::words).unwrap_or_default();
        }
        Ok(())
    }

    /// What people decided since the last run, and what holds of it. What a run that was cut off is done with is not done again.
    fn take_in_answers(&mut self, state: &mut State) -> Result<(), Error> {
        let done: BTreeSet<u64> = self.cut_off.iter().flat_map(|cut_off| &cut_off.answered).copied().collect();
        let mut all = self.written.after(self.state.ledger.answers()?);
        all.extend(self.cut_off.iter().flat_map(|cut_off| cut_off.holds.iter().cloned()));
        // What thawed for a run that was cut off is still frozen in the state.
        self.thawed = Answers::new(all.clone()).unfreeze(&self.job, state);
        self.answers = Answers::new(all.into_iter().filter(|answer| !done.contains(&answer.number)));
        for answer in self.answers.iter().filter(|answer| self.thawed.contains(&answer.number)) {
            let key = self.key_for_people(&answer.to.key);
            let (field, system) = (answer.to.field.as_deref().unwrap_or_default(), answer.to.system.as_deref().unwrap_or_default());
            self.allowed.push(format!("unfreeze: `{field}` of {key} is written in `{system}` again, decided by {}", answer.by()));
        }
        Ok(())
    }

    /// Lets the decisions of people go on to be about what runs that were cut off made of it.
    fn carry_over_what_was_cut_off(&mut self, before: &State, nows: &[Keyed], linked: &Linked) {
        let made: Vec<&Change> = self.cut_off.iter().rev().flat_map(|cut_off| &cut_off.made).collect();
        if made.is_empty() || self.answers.is_empty() {
            return;
        }
        let position = |change: &&Change| linked.records.binary_search(&change.record).ok().map(|position| position as u32);
        let mut by_row: BTreeMap<(usize, u32), Vec<&Change>> = BTreeMap::new();
        for change in made {
            if let (Some(system), Some(record)) = (self.job.system(&change.system), position(&change)) {
                by_row.entry((system, record)).or_default().push(change);
            }
        }
        let records = by_row.keys().map(|(_, record)| (linked.key(*record, nows, &before.bases).to_owned(), *record)).collect();
        let job = &self.job;
        let other = |system: usize, record: u32, row: Option<RowValues>| {
            let changes = by_row.get(&(system, record)).map_or(&[][..], Vec::as_slice);
            changes.iter().fold(row, |row, change| {
                let empty = || job.fields.iter().map(|field| field.is_carried_by(system).then_some(Value::Null)).collect();
                let mut row = match change.action {
                    Action::Create => return None,
                    Action::Delete => row.unwrap_or_else(empty),
                    Action::Update | Action::Archive => row?,
                };
                for cell in &change.cells {
                    if let Some(field) = cell.field.as_deref().and_then(|name| job.field(name)) {
                        row[field] = Some(cell.before.clone());
                    }
                }
                Some(row)
            })
        };
        let carrying = Carrying { job, nows, linked, of_creates: &BTreeMap::new(), other: &other };
        let carried = carrying.answers(&self.answers, &records, false);
        self.carried = carried.iter().map(|answer| answer.id.clone()).collect();
        self.answers = std::mem::take(&mut self.answers).with(carried);
    }

    /// What is asked, and the answers that wait, as they are after the writes of this run.
    fn carry_over_the_writes(
        &self,
        before: &State,
        nows: &[Keyed],
        decisions: &Decisions,
        settlement: &Settlement,
        answered: &[(&str, u64, Became)],
    ) -> (BTreeMap<String, Ask>, Vec<Answer>) {
        let (job, linked) = (&self.job, &decisions.linked);
        let position = |number: &u64| linked.records.binary_search(number).ok().map(|position| position as u32);
        let written: BTreeSet<u32> = settlement.patches.keys().filter_map(|(_, number)| position(number)).collect();
        let other = |system: usize, record: u32, row: Option<RowValues>| {
            let Some(patch) = settlement.patches.get(&(system, linked.records[record as usize])) else { return row };
            if patch.standing != Standing::Live {
                return None;
            }
            let mut row = row.unwrap_or_else(|| job.fields.iter().map(|field| field.is_carried_by(system).then_some(Value::Null)).collect());
            for (field, value) in &patch.cells {
                row[*field] = value.clone().or(row[*field].take());
            }
            Some(row)
        };
        let carrying = Carrying { job, nows, linked, of_creates: &decisions.of_creates, other: &other };
        let asks = carrying.asks(&decisions.asks, &decisions.asked, |record| written.contains(&record));
        let records = written.iter().map(|record| (linked.key(*record, nows, &before.bases).to_owned(), *record)).collect();
        let earlier = self.answers.iter().filter(|answer| self.carried.contains(&answer.id)).cloned();
        let mut kept: BTreeMap<String, Answer> = earlier.map(|answer| (answer.id.clone(), answer)).collect();
        kept.extend(carrying.answers(&self.answers, &records, true).into_iter().map(|answer| (answer.id.clone(), answer)));
        let waits = |answer: &Answer| answer.number > 0 && !answered.iter().any(|(_, number, _)| *number == answer.number);
        (asks, kept.into_values().filter(waits).collect())
    }

    fn may_tell_keys(&self) -> bool {
        !self.job.key.iter().any(|field| self.job.fields[*field].sensitive)
    }

    fn key_for_people(&self, key: &str) -> String {
        if self.may_tell_keys() { format!("`{key}`") } else { "a record".to_owned() }
    }

    /// Opens every system. What passes, like a server that is just restarted, is tried again.
    fn open(&mut self) -> Result<Vec<Box<dyn System>>, Error> {
        let specs = self.job.systems.clone();
        let mut opened = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            let (root, job, columns) = (self.world.root, self.job.name.clone(), needed_columns(&self.job, index));
            let known = self.promoted.as_ref().and_then(|p| p.knowledge.found.get(&spec.name)).cloned().unwrap_or_default();
            let state = root.join(&self.world.settings.state);
            let open = || systems::open(Opening { root, job: &job, spec, columns: columns.clone(), known: known.clone(), state: Some(&state) });
            opened.push(self.again(&spec.name, "open", open(), &mut || open()));
        }
        gather(opened)
    }

    /// Full snapshots of all systems, each pulled on a thread of its own.
    fn pull(&self, systems: &mut [Box<dyn System>]) -> Vec<Result<Pulled, Error>> {
        self.say("pull");
        std::thread::scope(|scope| {
            let threads: Vec<_> = systems.iter_mut().map(|system| scope.spawn(|| system.pull())).collect();
            let joined = threads.into_iter().zip(&self.job.systems).map(|(thread, spec)| {
                thread.join().unwrap_or_else(|_| {
                    Err(Error::new(
                        Remedy::Look,
                        Place::of(spec.kind.place()),
                        format!("reading `{}` failed in a way that this program does not know", spec.name),
                    )
                    .seen("nothing was written")
                    .hint("please report it, with the file if you can"))
                })
            });
            joined.collect()
        })
    }

    fn dedupe(&self, cleaned: Vec<Clean>, before: &State) -> Vec<Keyed> {
        cleaned.into_iter().enumerate().map(|(index, clean)| dedupe(&self.job, index, clean, &before.bases[index])).collect()
    }

    fn header(&self, nows: &[Keyed]) -> PlanHeader {
        PlanHeader {
            job: self.job.name.clone(),
            run: self.id.to_owned(),
            base_run: self.promoted.as_ref().map(|p| p.run.clone()),
            job_digest: self.job.source.digest.clone(),
            snapshots: state::snapshot_digests(self.pulled(nows)),
            next_record: 0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            holds: Vec::new(),
            undoes: None,
            answers: self
                .thawed
                .iter()
                .filter(|number| self.answers.iter().any(|answer| answer.number == **number))
                .map(|number| (*number, Vec::new()))
                .collect(),
        }
    }

    fn pulled<'k>(&'k self, nows: &'k [Keyed]) -> impl Iterator<Item = (&'k str, &'k Pulled)> {
        self.job.systems.iter().zip(nows).map(|(spec, now)| (spec.name.as_str(), now.clean.pulled.as_ref()))
    }

    /// Holds every record with a change that the plan to be applied has not, and gives the changes of that plan which are not
    /// made. A run that decides for itself is left as it is.
    fn keep_to_the_approved(&mut self, before: &State, nows: &[Keyed], mut decisions: Decisions) -> (Decisions, Vec<Stale>) {
        let Some(approved) = self.request.approved.clone() else { return (decisions, Vec::new()) };
        let first_new = self.promoted.as_ref().map_or(0, |promoted| promoted.knowledge.next_record);
        let (mut stale, mut withheld) = (BTreeMap::new(), 0);
        loop {
            let comparison = compare(&decisions, &approved.plan, first_new);
            for (change, why) in comparison.stale {
                stale.entry(change).or_insert(why);
            }
            if comparison.withheld.is_empty() {
                break;
            }
            withheld += comparison.withheld.len();
            let mut linked = decisions.linked;
            let held: BTreeSet<u64> = comparison.withheld.keys().map(|position| linked.records[*position as usize]).collect();
            linked.events.retain(|event| !held.contains(&event.record));
            linked.held.extend(comparison.withheld);
            decisions = plan(&self.job, before, nows, linked, &self.answers, self.header(nows));
        }
        let mut note = format!(
            "this run applies the plan of run {}: {} of its {} changes still fit tonight's rows",
            approved.plan.header.run,
            gates::count(decisions.plan.changes.len() as u64),
            gates::count(approved.plan.changes.len() as u64)
        );
        match withheld {
            0 => {}
            1 => note.push_str("; 1 record needs a change that is not in it, and waits"),
            many => note.push_str(&format!("; {} records need changes that are not in it, and wait", gates::count(many as u64))),
        }
        self.notes.push(note);
        (decisions, stale.into_values().collect())
    }

    /// The plan that takes back what a run wrote, with the changes of it that cannot be taken back.
    fn undo(&mut self, before: &State, nows: &[Keyed], linked: Linked, of: &Undo) -> (Decisions, Vec<Stale>) {
        let (mut decisions, mut stale) = undo(&self.job, before, nows, linked, of, &self.answers, self.header(nows));
        if let Some(approved) = self.request.approved.clone() {
            let differing = compare(&decisions, &approved.plan, self.promoted.as_ref().map_or(0, |promoted| promoted.knowledge.next_record)).withheld;
            if !differing.is_empty() {
                let records: BTreeSet<u64> = differing.keys().map(|position| decisions.linked.records[*position as usize]).collect();
                let left_out = |change: &&Change| records.contains(&change.record);
                let why = "it is not in the applied plan as it would be taken back tonight";
                let of_left_out = of.changes.iter().map(|sent| &sent.change).filter(left_out);
                let more: Vec<Stale> = of_left_out
                    .map(|change| Stale { system: change.system.clone(), key: key_for_people(&change.key), action: change.action, why: why.to_owned() })
                    .collect();
                let rest = Undo { changes: of.changes.iter().filter(|sent| !left_out(&&sent.change)).cloned().collect(), ..of.clone() };
                (decisions, stale) = undo(&self.job, before, nows, decisions.linked, &rest, &self.answers, self.header(nows));
                stale.extend(more);
            }
        }
        self.notes.push(format!(
            "this run undoes run {}: {} of its {} changes can be taken back; nothing else is decided",
            of.undoes.run,
            gates::count(decisions.plan.changes.len() as u64),
            gates::count(of.changes.len() as u64)
        ));
        (decisions, stale)
    }

    /// Where nothing is decided but what is taken back, everything that was open stays so, but what an earlier undo could not take
    /// back and this one does.
    fn still_open(&self, mut breaks: Vec<Break>, earlier: &BTreeMap<String, Earlier>, decisions: &Decisions) -> Vec<Break> {
        if self.request.undo.is_some() {
            let told: BTreeSet<String> = decisions.breaks.iter().map(|open| open.id(&self.job.name)).collect();
            let holds = decisions.plan.header.holds.iter().map(|hold| &hold.answer.id);
            let over: BTreeSet<&String> = holds.filter(|id| !told.contains(*id)).collect();
            breaks.retain(|open| !over.contains(&open.id(&self.job.name)));
            let mut known: BTreeSet<String> = breaks.iter().map(|open| open.id(&self.job.name)).collect();
            known.extend(over.into_iter().cloned());
            breaks.extend(earlier.iter().filter(|(id, _)| !known.contains(*id)).map(|(_, earlier)| earlier.open.clone()));
            breaks = assemble::sorted(breaks);
        }
        breaks
    }

    fn figures(&self, before: &State, nows: &[Keyed], decisions: &Decisions, at_rest: &RestingSums) -> Figures {
        let opening = self.promoted.as_ref().map_or(&[][..], |p| &p.knowledge.closings);
        let (totals, of_totals) = totals::totals(&self.job, before, nows, decisions, at_rest, opening);
        let mut identities: Vec<Identity> = self
            .job
            .systems
            .iter()
            .enumerate()
            .map(|(index, spec)| totals::rows_identity(&spec.name, &totals::row_counts(&self.job, index, &nows[index], decisions, at_rest.records)))
            .collect();
        identities.extend(of_totals);
        Figures { totals, identities }
    }

    fn check_arithmetic(&self, identities: &[Identity]) -> Result<(), Error> {
        let broken = identities.iter().filter(|identity| !identity.holds).map(|identity| {
            Diagnostic::new(Place::of(&self.job.name), format!("the arithmetic of {} does not hold for {}", identity.name, identity.of))
                .seen(identity.equation.clone())
                .hint("this is a mistake of the program, not of your data: please report it with the report")
        });
        Error::of(Remedy::Look, broken.collect()).map_or(Ok(()), Err)
    }

    fn earlier_breaks(&self) -> Result<BTreeMap<String, Earlier>, Error> {
        let known = self.state.ledger.open_breaks()?;
        Ok(known
            .into_iter()
            .map(|(id, known)| {
                let first_seen = known.first_seen.parse().unwrap_or(self.started);
                (id, Earlier { first_run: known.first_run, first_seen, open: known.open, amount: known.amount, currency: known.currency })
            })
            .collect())
    }

    /// The gates that trip and may not pass. Those that may are noted.
    fn trips(&mut self, before: &State, nows: &[Keyed], decisions: &Decisions, resting: u64) -> Result<Vec<Trip>, Error> {
        let last = self.last_run(self.older_files(nows)?);
        let all = gates::trips(&self.job, before, nows, decisions, resting, last.as_ref());
        for (system, run) in last.iter().flat_map(|last| &last.older_files) {
            if !all.iter().any(|trip| trip.gate == Gate::TimeTravel && trip.system.as_ref() == Some(system)) {
                self.notes.push(format!("`{system}` is, to the byte, the file of run {run} again: nothing that was edited there since is in it"));
            }
        }
        let (passed, stopped): (Vec<Trip>, Vec<Trip>) = all.into_iter().partition(|trip| self.is_allowed(trip.gate, trip.system.as_deref()));
        self.allowed.extend(passed.iter().map(|trip| format!("{}: {}", trip.gate.word(), trip.message)));
        Ok(stopped)
    }

    /// The report of a run that does not come to its first write: a gate, a first contact, a plan that was only asked for.
    fn stop_at_the_plan(&self, facts: Facts<'_>, trips: &[Trip]) -> Option<Report> {
        let Facts { before, nows, decisions, earlier, .. } = facts;
        let new: Vec<String> = match &self.promoted {
            None => self.job.systems.iter().map(|s| s.name.clone()).collect(),
            Some(promoted) => self.job.systems.iter().map(|s| s.name.clone()).filter(|name| !promoted.knowledge.rows_read.contains_key(name)).collect(),
        };
        let is_first_contact = self.job.mode == Mode::Sync && !new.is_empty() && !self.request.first_contact;
        if trips.is_empty() && !self.request.plan_only && !is_first_contact {
            return None;
        }
        let digest = disk::digest(&state::plan_bytes(&decisions.plan));
        let facts = Facts { plan_digest: Some(&digest), ..facts };
        // What a gate does not trust is told by the gate alone: open is what was open before.
        let breaks: Vec<Break> = if trips.is_empty() {
            self.still_open(assemble::breaks(&self.job, before, nows, decisions, None, earlier), earlier, decisions)
        } else {
            earlier.values().map(|earlier| earlier.open.clone()).collect()
        };
        let report = || assemble::report(&self.heading(), &facts, &breaks);
        if !trips.is_empty() {
            let mut report = report();
            let count = match trips.len() {
                1 => "one gate stops the run".to_owned(),
                2 => "two gates stop the run".to_owned(),
                more => format!("{more} gates stop the run"),
            };
            // What this run was allowed is needed the next time too.
            let mut words: Vec<String> = Vec::new();
            let passed = self.request.allowed.iter().filter(|allowed| trips.iter().all(|trip| trip.gate != allowed.gate)).map(Allowed::to_string);
            for word in passed.chain(trips.iter().map(|trip| trip.gate.word().to_owned())) {
                if !words.contains(&word) {
                    words.push(word);
                }
            }
            let mut diagnostic = Diagnostic::new(Place::of(&self.job.name), count.clone());
            for trip in trips {
                diagnostic = diagnostic.seen(format!("{}: {}", trip.gate.word(), trip.message));
            }
            let diagnostic = diagnostic.seen("nothing was written").hint(format!("if this is right, run again with `--allow {}`", words.join(",")));
            assemble::stop_with(&mut report, Remedy::Look.exit_code(), Verdict::Failed, format!("{count}; nothing was written"), vec![diagnostic]);
            return Some(report);
        }
        let mut report = report();
        if self.request.plan_only {
            if self.job.mode == Mode::Sync && !new.is_empty() && !self.request.first_contact {
                let them = crate::change::join_names(&new);
                report.notes.insert(0, format!("a run stops here: it is the first contact with {them}, which somebody must accept with `--first-contact`"));
            }
            return Some(report);
        }
        let (changes, are) = match report.changes.len() {
            1 => ("1 change".to_owned(), "is"),
            many => (format!("{} changes", gates::count(many as u64)), "are"),
        };
        let sentence = format!("first contact with {}: {changes} planned, nothing was written", crate::change::join_names(&new));
        let diagnostic = Diagnostic::new(Place::of(&self.job.name), format!("first contact with {}", crate::change::join_names(&new)))
            .seen(format!("{changes} {are} planned, see the report"))
            .seen("nothing was written")
            .hint(match &self.request.approved {
                Some(approved) => format!("look at the plan, then accept it with `tieout apply {} --first-contact`", approved.place),
                None => format!("look at the plan, then accept it with `tieout run {} --first-contact`", self.job.name),
            });
        assemble::stop_with(&mut report, 1, Verdict::Action, sentence, vec![diagnostic]);
        Some(report)
    }

    /// Everything that the next run would need if this one were killed from here on. Systems first prove that they can be
    /// written, so that a full disk or a missing permission stops the run while nothing has happened yet.
    fn save_plan(&mut self, snapshots: Option<Saving>, plan: &Plan, systems: &mut [Box<dyn System>]) -> Result<String, Error> {
        self.prepare(systems, plan)?;
        snapshots.map_or(Ok(()), Saving::finish)?;
        let digest = self.state.save_plan(self.id, plan)?;
        let allowed: Vec<(String, String)> =
            self.allowed.iter().filter_map(|text| text.split_once(": ")).map(|(gate, detail)| (gate.to_owned(), detail.to_owned())).collect();
        self.state.ledger.plan_saved(self.id, &digest, &allowed)?;
        Ok(digest)
    }

    /// Reads back what was written, and tells what became of every change.
    fn verify(&mut self, systems: &mut [Box<dyn System>], before: &State, plan: &Plan, mut outcomes: BTreeMap<u32, Outcome>) -> Settlement {
        let atomic: Vec<bool> = systems.iter().map(|system| system.describe().atomic).collect();
        let mut read_back = Vec::with_capacity(systems.len());
        for (index, (spec, system)) in self.job.systems.clone().iter().zip(systems).enumerate() {
            let changes: Vec<&Change> = plan.changes.iter().filter(|change| change.system == spec.name).collect();
            if changes.is_empty() {
                read_back.push(None);
                continue;
            }
            self.say(&format!("verify: {}", spec.name));
            self.notes.extend(system.said_of_write().into_iter().map(|note| format!("`{}`: {note}", spec.name)));
            let wanted =
                Wanted { addresses: changes.iter().flat_map(|change| addresses_after(&self.job, index, change, outcomes.get(&change.number))).collect() };
            let first = system.read_back(&wanted);
            match self.again(&spec.name, "read back", first, &mut || system.read_back(&wanted)) {
                Ok(pulled) => {
                    self.left.insert(spec.name.clone(), pulled.evidence.sha256.clone());
                    // Where several rows have a key, the one that speaks now is the one that was written.
                    let rows = dedupe(&self.job, index, clean(&self.job, index, Arc::new(pulled)), &before.bases[index]).clean;
                    read_back.push(Some(ReadBack { rows }));
                }
                Err(error) => {
                    self.left.insert(spec.name.clone(), None);
                    let what = error.diagnostics.first().map(|d| d.message.clone()).unwrap_or_default();
                    // A row that the system said it made is not made a second time, whatever the next snapshot shows.
                    for change in changes.into_iter().filter(|change| change.action != Action::Create) {
                        if let Some(outcome @ Outcome::Done { .. }) = outcomes.get_mut(&change.number) {
                            *outcome = Outcome::Unknown { reason: format!("it was written, and could not be read back: {what}") };
                        }
                    }
                    read_back.push(None);
                }
            }
        }
        settle(&self.job, &before.open, plan, &outcomes, &read_back, &atomic)
    }

    /// Settles a run that was cut off while it wrote: its plan says what was sent, tonight's snapshot says what arrived.
    fn settle_interrupted(&mut self, interrupted: &state::Interrupted, before: State, cleaned: &[Clean], systems: &[Box<dyn System>]) -> Result<State, Error> {
        let plan = self.state.load_plan(&interrupted.run, &interrupted.plan_digest)?;
        let cut_off = Outcome::Unknown { reason: format!("run {} was cut off", interrupted.run) };
        let outcomes: BTreeMap<u32, Outcome> =
            interrupted.sent.iter().map(|(number, outcome)| (*number, outcome.clone().unwrap_or_else(|| cut_off.clone()))).collect();
        let read_back: Vec<Option<ReadBack>> = cleaned.iter().map(|rows| Some(ReadBack { rows: rows.clone() })).collect();
        let atomic: Vec<bool> = systems.iter().map(|system| system.describe().atomic).collect();
        let mut settlement = settle(&self.job, &before.open, &plan, &outcomes, &read_back, &atomic);
        // What a row holds tonight may have been edited since it was made.
        settlement.fates.values_mut().for_each(|fate| fate.made = None);
        if !self.request.plan_only {
            // A row that is not there tonight was not made by that run. If this one is cut off as well, the next one must not
            // take the row that this one makes for the other's.
            let not_made: Vec<(u32, Outcome)> = plan
                .changes
                .iter()
                .filter(|change| change.action == Action::Create && interrupted.sent.get(&change.number) == Some(&None))
                .filter(|change| self.job.system(&change.system).is_some_and(|system| atomic[system]))
                .filter(|change| settlement.fates.get(&change.number).is_some_and(|fate| fate.settled == Settled::Unknown))
                .map(|change| (change.number, Outcome::Skipped { reason: format!("run {} was cut off before it was made", interrupted.run) }))
                .collect();
            self.state.ledger.outcomes(&interrupted.run, not_made.iter().map(|(number, outcome)| (*number, outcome)))?;
        }
        let settled = settle_interrupted(&self.job, &before, &plan, &settlement);
        self.notes.push(format!(
            "run {} was cut off while it wrote: {} of its {} changes had been sent, and what became of them was read from the systems",
            interrupted.run,
            gates::count(outcomes.len() as u64),
            gates::count(plan.changes.len() as u64)
        ));
        let sent = plan.changes.iter().filter(|change| interrupted.sent.contains_key(&change.number));
        let written = sent.map(|change| change.system.clone()).collect();
        let answered = answers::done(&plan.header, &settlement.fates);
        let holds = taken_back::held(&self.job, &plan, &settlement);
        let is_made = |change: &Change| {
            let fate = settlement.fates.get(&change.number);
            fate.is_some_and(|fate| matches!(fate.settled, Settled::Verified | Settled::Normalised))
        };
        let made = plan.changes.into_iter().filter(is_made).collect();
        self.cut_off.push(CutOff { run: interrupted.run.clone(), decisions: plan.decisions, fates: settlement.fates, written, answered, holds, made });
        Ok(settled)
    }

    /// Makes the new state the state of the job.
    #[expect(clippy::too_many_arguments, reason = "all that a run leaves behind is told here, once")]
    fn promote(
        &self,
        (before, after): (&State, &State),
        nows: &[Keyed],
        decisions: &Decisions,
        (rest, resting): (&Rest, &Resting),
        breaks: &[Break],
        report: &Report,
        closings: Vec<Closing>,
        settlement: &Settlement,
    ) -> Result<(), Error> {
        let leaving = Leaving {
            state: after,
            looked_into: &decisions.linked.records,
            rested: Some((rest, resting)),
            rest: &rest.after(&self.job, resting, nows, decisions, after),
            adopted: self.taken_over.as_ref().map(|taken_over| &taken_over.bases),
            snapshot_depth: self.snapshot_depth,
        };
        let bases = self.state.save(&self.job, self.id, self.promoted.as_ref(), &leaving)?;
        let of_each = |system: usize| &nows[system].clean.pulled.evidence;
        let names = self.job.systems.iter().map(|s| s.name.clone()).enumerate();
        let knowledge = Knowledge {
            rows_read: names.clone().map(|(index, name)| (name, of_each(index).rows_read)).collect(),
            found: names.map(|(index, name)| (name, of_each(index).found.clone())).collect(),
            terms: self.job.terms(),
            closings,
            next_record: after.next_record,
            bases,
            left: self.files_left(nows),
            snapshots: self.files_read(nows),
        };
        // What a cut-off run decided, and the values that lost there, belong to the story too.
        let settles: Vec<&str> = self.cut_off.iter().map(|c| c.run.as_str()).collect();
        let decided: Vec<Decision> = self.cut_off.iter().flat_map(|c| &c.decisions).chain(&decisions.plan.decisions).cloned().collect();
        let fates: Vec<_> = self.cut_off.iter().map(|c| (c.run.as_str(), &c.fates)).chain([(self.id, &settlement.fates)]).collect();
        let open = after.open.fields.keys().map(|(record, _)| *record).chain(after.open.records.keys().map(|(record, _)| *record)).collect();
        let mut links: Vec<_> = decisions.linked.events.iter().chain(&decisions.events).cloned().collect();
        links.extend(before.key_changes(&self.job, after));
        let stakes = report.breaks.iter().filter_map(|one| Some((one.id.clone(), report.stake(one)?))).filter(|(_, (amount, _))| amount.in_range()).collect();
        let today = self.heading().today();
        let linked = &decisions.linked;
        let key = |record: u64| Some(linked.key(linked.records.binary_search(&record).ok()? as u32, nows, &before.bases));
        let owed = if self.answers.accept_something() { Owed::of(&after.open, key) } else { Owed::default() };
        let judged = answers::judge(&self.job, &self.answers, &decisions.plan.header, &decisions.asks, &settlement.fates, breaks, &owed, &today);
        let of_cut_off = self.cut_off.iter().flat_map(|c| c.answered.iter().map(|number| (c.run.as_str(), *number, Became::Applied)));
        let answered = of_cut_off.chain(judged.into_iter().map(|(number, became)| (self.id, number, became)));
        // What a run that was cut off took back has no number yet.
        let answered: Vec<_> = answered.filter(|(_, number, _)| *number > 0).collect();
        let of_this = taken_back::held(&self.job, &decisions.plan, settlement);
        let (asks, kept) = self.carry_over_the_writes(before, nows, decisions, settlement, &answered);
        let holds: Vec<Answer> = kept.into_iter().chain(self.cut_off.iter().flat_map(|cut_off| cut_off.holds.iter().cloned())).chain(of_this).collect();
        if let Some(taken_over) = &self.taken_over {
            taken_over.bases.keep();
        }
        self.state.ledger.promote(Promotion {
            run: self.id,
            settles: &settles,
            knowledge: &knowledge,
            breaks,
            stakes: &stakes,
            asks: &asks,
            answered: &answered,
            holds: &holds,
            fates: &fates,
            decisions: &decided,
            links: &links,
            retention: Retention { before: &self.days_ago(self.world.settings.ledger_days)?, open: &open },
            now: &self.started.to_string(),
        })
    }

    /// By file its SHA-256 as this run leaves it, as far as that is known.
    fn files_left(&self, nows: &[Keyed]) -> BTreeMap<String, String> {
        let read = |name: &str, pulled: &Pulled| self.left.get(name).cloned().unwrap_or_else(|| pulled.evidence.sha256.clone());
        self.pulled(nows).filter_map(|(name, pulled)| Some((name.to_owned(), read(name, pulled)?))).collect()
    }

    /// By file what this run read.
    fn files_read(&self, nows: &[Keyed]) -> BTreeMap<String, SnapshotPlace> {
        let digests = self.pulled(nows).filter_map(|(name, pulled)| Some((name.to_owned(), pulled.evidence.sha256.clone()?)));
        digests.map(|(name, sha256)| (name, SnapshotPlace { run: self.id.to_owned(), sha256 })).collect()
    }

    /// Writes the report, queues its mail and closes the run. Nothing that fails here can undo what was settled, but the exit code
    /// tells of it.
    fn conclude(&self, mut report: Report, plan: Option<&Plan>) -> Finished {
        self.say("report");
        let (mut afterthoughts, mut of_mails) = (Vec::new(), Vec::new());
        let stored = plan.filter(|_| self.request.plan_only).map(state::plan_bytes);
        if let Some(plan) = &stored
            && let Err(error) = self.state.ledger.planned(self.id, &disk::digest(plan))
        {
            afterthoughts.push(error);
        }
        // The report tells the head of the chain, so that the run is sealed before.
        match self.state.ledger.seal(self.id, &self.ending(&report, &(self.world.now)().to_string())) {
            Ok(head) => report.ledger_head = Some(head),
            Err(error) => afterthoughts.push(error),
        }
        let reports = self.world.root.join(&self.world.settings.reports);
        let folder = reports.join(&self.job.name).join(self.id);
        if report.breaks.iter().any(|one| !one.decisions.is_empty())
            && let Err(error) = disk::create_dir_private(&reports.join(&self.job.name).join(decisions::FOLDER))
        {
            afterthoughts.push(error);
        }
        let (workbook, written) = rayon::join(|| report::workbook::render(&report), || write_report(&folder, &report, plan));
        let mut kept = |result: Result<(), Error>| result.map_err(|error| afterthoughts.push(error)).is_ok();
        let on_disk = kept(written);
        let workbook = workbook.map_err(|error| kept(Err(error))).ok();
        let on_disk = match &workbook {
            Some(workbook) if on_disk => kept(disk::write_new(&folder.join("report.xlsx"), workbook)),
            _ => on_disk,
        };
        if !self.request.plan_only {
            // A report that could not be written is a reason more to mail it.
            let post = self.world.post();
            let queued = post.queue(&self.state.ledger, &self.job, &report, workbook.as_deref(), &folder, self.request.must_mail);
            let noted = if on_disk || queued.is_ok() { self.state.ledger.told_lost_mails(&self.lost_mails, self.id) } else { Ok(()) };
            of_mails.extend([queued, noted].into_iter().filter_map(Result::err));
        }
        if let Err(error) = self.state.ledger.finish(self.id, &self.ending(&report, &(self.world.now)().to_string())) {
            afterthoughts.push(error);
        }
        if on_disk && let Err(error) = self.publish_index(&reports, &report) {
            afterthoughts.push(error);
        }
        // What is not written down has not gone well, whatever became of the records. A mail is no reason.
        let went_wrong = afterthoughts.iter().map(|error| error.remedy.exit_code()).max().filter(|_| report.verdict != Verdict::Failed);
        let exit_code = went_wrong.unwrap_or(report.exit_code);
        afterthoughts.extend(of_mails);
        Finished { report, folder, plan: stored, afterthoughts, was_cancelled: self.was_cancelled, exit_code }
    }

    fn ending<'r>(&self, report: &'r Report, now: &'r str) -> Ending<'r> {
        Ending { verdict: report.verdict.word(), exit_code: report.exit_code, sentence: &report.sentence, now }
    }

    /// Adds this run to the list of the job's runs, and writes the page of all jobs anew. Other jobs may end at the same
    /// moment: one process at a time makes the page, from the lists of all jobs, so that none is missing from it.
    fn publish_index(&self, reports: &Path, report: &Report) -> Result<(), Error> {
        let list = reports.join(&self.job.name).join(RUNS_FILE);
        let known = disk::read(&list).map(|file| index::read(&file.bytes)).unwrap_or_default();
        disk::publish(&list, &index::written(&index::with(known, report, self.request.command())))?;
        let _one_at_a_time = disk::wait_for_lock(&reports.join(".index.lock"))?;
        let mut jobs = BTreeMap::new();
        for name in disk::folders(reports)? {
            if let Ok(file) = disk::read(&reports.join(&name).join(RUNS_FILE)) {
                jobs.insert(name, index::read(&file.bytes));
            }
        }
        disk::publish(&reports.join("index.html"), index::render(&jobs).as_bytes())
    }
}

/// What a system answered when it was tried.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Connected {
    /// The system.
    pub name: String,
    /// Where its records are, as written in the job file.
    pub place: String,
    /// How many rows it delivered.
    pub rows: u64,
    /// Whether there are more, because only the first ones were asked for.
    pub is_part: bool,
    /// The columns that the job reads.
    pub columns: Vec<String>,
    /// Columns that are there and that the job does not read, as far as they were seen.
    pub others: Vec<String>,
    /// What the first rows hold in the columns that the job reads; nothing for an empty cell, and no value of a sensitive field.
    pub first_rows: Vec<Vec<Option<String>>>,
    /// What a person should know, a sentence each.
    pub notes: Vec<String>,
}

/// So many rows are shown of a system that is tried.
const FIRST_ROWS: usize = 5;

/// Opens every system of a job and reads it, of an API the first page, and changes nothing but a login that has to be renewed, in the folder with the state of all jobs.
///
/// # Errors
/// Everything that would stop a run before its plan, of all systems at once; and a system that can never be written although
/// the job would write it.
pub fn connect(root: &Path, state: &Path, job: &Job) -> Result<Vec<Connected>, Error> {
    gather(job.systems.iter().enumerate().map(|(index, spec)| {
        let columns = needed_columns(job, index);
        let mut system = systems::open(Opening { root, job: &job.name, spec, columns: columns.clone(), known: BTreeMap::new(), state: Some(state) })?;
        let is_written = job.mode == Mode::Sync && spec.role.is_written();
        let may_write = is_written && [spec.may.create, spec.may.update, spec.may.delete].iter().any(|may| *may != Permission::Never);
        if may_write && !system.describe().writable {
            // It refuses before it touches anything, and in its own words.
            system.prepare()?;
        }
        let look = system.look()?;
        let pulled = look.pulled;
        let is_sensitive = |name: &String| {
            let mut fields = job.fields.iter().filter(|field| field.columns[index].as_ref().is_some_and(|column| column.name == *name));
            fields.any(|field| field.sensitive)
        };
        let cell = |name: &String, row: u32| pulled.raw(name, row).text.map(|text| if is_sensitive(name) { crate::report::MASK.to_owned() } else { text });
        let first_rows = (0..pulled.height().min(FIRST_ROWS) as u32).map(|row| columns.iter().map(|name| cell(name, row)).collect()).collect();
        let mut job = job.clone();
        Marks::find(&job, index, &pulled, &BTreeMap::new())?.tell(&mut job);
        let rows = clean(&job, index, Arc::new(pulled));
        let mut notes = rows.pulled.evidence.notes.clone();
        for field in job.fields.iter().filter(|field| matches!(field.field_type, FieldType::Decimal(_))) {
            if let Some(column) = field.columns[index].as_ref().filter(|column| look.floats.contains(&column.name)) {
                notes.push(format!(
                    "column `{}` stores its numbers in binary, where a cent is a near miss: make it an exact one, such as `numeric` or `decimal`",
                    column.name
                ));
            }
        }
        for row in rows.quarantined.iter().take(5) {
            notes.push(format!("line {}{}: {}", row.line, row.column.as_ref().map(|c| format!(", column `{c}`")).unwrap_or_default(), row.reason));
        }
        if rows.quarantined.len() > 5 {
            notes.push(format!("… {} more cells could not be read", rows.quarantined.len() - 5));
        }
        let rows_read = rows.pulled.evidence.rows_read;
        Ok(Connected {
            name: spec.name.clone(),
            place: spec.kind.place(),
            rows: rows_read,
            is_part: look.is_part,
            columns,
            others: look.others,
            first_rows,
            notes,
        })
    }))
}

/// When a run started, by its id.
fn started_of(run: &str) -> Option<Timestamp> {
    jiff::civil::DateTime::strptime(RUN_ID, run.split('-').next()?).ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// What a person should know if the clock shows an earlier time than at the last run.
fn earlier_clock(promoted: Option<&Promoted>, started: Timestamp) -> Option<String> {
    let last = started_of(&promoted?.run)?;
    (last.duration_since(started).as_secs() >= CLOCK_BACK_MIN_S)
        .then(|| format!("the clock shows {started}, and the last run began at {last}: one of the two is wrong, and so are the ages of what is open"))
}

/// By system the rows that must be looked into.
fn awake_rows(pulled: &[Pulled], resting: &Resting) -> Result<Vec<Pulled>, Error> {
    pulled.par_iter().zip(resting.awake_rows(pulled)).map(|(pulled, awake)| pulled.take(&awake)).collect()
}

fn unreadable_state(folder: &Path) -> Error {
    Error::new(Remedy::Look, Place::of(folder.display().to_string()), "the state cannot be read")
        .seen("nothing was written")
        .hint("run again; if it happens again, put the job's state folder back from a backup")
}

/// All results, or all their errors in one.
fn gather<T>(results: impl IntoIterator<Item = Result<T, Error>>) -> Result<Vec<T>, Error> {
    let (mut values, mut failed) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(value) => values.push(value),
            Err(error) => failed.push(error),
        }
    }
    // What a person must look at comes before what is worth another try.
    let worst = failed.iter().map(|error| error.remedy).max_by_key(|remedy| match remedy {
        Remedy::MendJob => 3,
        Remedy::Look => 2,
        Remedy::GiveAccess => 1,
        Remedy::Wait => 0,
    });
    match worst {
        None => Ok(values),
        Some(remedy) => Err(Error { remedy, diagnostics: failed.into_iter().flat_map(|error| error.diagnostics).collect(), passing: None }),
    }
}

/// The columns of a source that a job needs, each once.
pub fn needed_columns(job: &Job, system: usize) -> Vec<String> {
    let spec = &job.systems[system];
    let mapped = job.fields.iter().filter_map(|field| field.columns[system].as_ref()).map(|column| column.name.clone());
    let more = spec.id.iter().cloned().chain(spec.edited_at.iter().map(|e| e.column.clone())).chain(spec.only.iter().map(|(column, _)| column.clone()));
    let locks = job.locks.iter().filter(|lock| lock.system == system).filter_map(|lock| match &lock.when {
        LockWhen::Column { name, .. } => Some(name.clone()),
        LockWhen::Field { .. } => None,
    });
    let mut columns: Vec<String> = Vec::new();
    for column in mapped.chain(more).chain(locks) {
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    columns
}

/// Where a changed row can be found after the write: at its id, or at its key as it was and as it is now.
fn addresses_after(job: &Job, system: usize, change: &Change, outcome: Option<&Outcome>) -> Vec<Vec<AddressPart>> {
    let mut addresses = Vec::new();
    let finds = |part: &&AddressPart| match &job.systems[system].id {
        Some(id) => part.column == *id,
        None => job.key.iter().any(|k| job.fields[*k].columns[system].as_ref().is_some_and(|column| column.name == part.column)),
    };
    let row: Vec<AddressPart> = change.address.iter().filter(finds).cloned().collect();
    if !row.is_empty() {
        addresses.push(row);
    }
    if let (Some(Outcome::Done { id: Some(id), .. }), Some(column)) = (outcome, &job.systems[system].id) {
        addresses.push(vec![AddressPart { column: column.clone(), raw: crate::value::Raw::text(id.clone()) }]);
        return addresses;
    }
    let touches_key = job.key.iter().any(|k| change.cells.iter().any(|cell| cell.field.as_ref() == Some(&job.fields[*k].name)));
    if touches_key && change.action != Action::Delete {
        let key: Vec<AddressPart> = job
            .key
            .iter()
            .filter_map(|k| {
                let field = &job.fields[*k];
                let column = field.columns[system].as_ref()?;
                let cell = change.cells.iter().find(|cell| cell.field.as_ref() == Some(&field.name));
                let raw = match cell {
                    Some(cell) => cell.after_raw.clone(),
                    None => change.address.iter().find(|part| part.column == column.name).map(|part| part.raw.clone())?,
                };
                Some(AddressPart { column: column.name.clone(), raw })
            })
            .collect();
        if key.len() == job.key.len() {
            addresses.push(key);
        }
    }
    addresses
}

/// Writes the report's files into a folder of their own, all but the workbook.
fn write_report(folder: &Path, report: &Report, plan: Option<&Plan>) -> Result<(), Error> {
    disk::create_dir_private(folder)?;
    type Render<'a> = Box<dyn Fn() -> Vec<u8> + Send + Sync + 'a>;
    let mut files: Vec<(&str, Render<'_>)> = vec![
        ("report.json", Box::new(|| report::json::render(report).into_bytes())),
        ("report.txt", Box::new(|| report::text::render(report, 100).into_bytes())),
        ("report.html", Box::new(|| report::html::render(report).into_bytes())),
    ];
    // A plan holds values in clear: where one is sensitive, it stays in the state folder.
    if let Some(plan) = plan.filter(|_| report.sensitive.is_empty()) {
        files.push(("plan.jsonl", Box::new(|| state::plan_bytes(plan))));
    }
    files.par_iter().try_for_each(|(name, render)| disk::write_new(&folder.join(name), &render()))
}
