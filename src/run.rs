//! One run of one job, top to bottom.
//!
//! ```text
//! lock ─ pull* ─ clean ─ dedupe ─ link ─ diff ─ merge ─ plan ─ gates ─ save plan ─ apply* ─ verify* ─ settle ─ report ─ mail*
//! ```
//!
//! Starred steps touch the world. This module joins them with the pure steps between, and decides nothing itself. A report
//! exists for every run that took its lock, whatever became of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::change::{Action, AddressPart, Break, Change, Decision, Outcome, Plan, PlanHeader, Settled};
use crate::diagnostic::{Diagnostic, Place};
use crate::disk;
use crate::error::{Error, Remedy};
use crate::frame::{Clean, Keyed, Pulled};
use crate::job::{Job, Mode, Settings};
use crate::mail;
use crate::reconcile::base::State;
use crate::reconcile::clean::{Marks, clean};
use crate::reconcile::dedupe::dedupe;
use crate::reconcile::differences;
use crate::reconcile::gates::{self, Allowed, Gate, LastRun, Trip};
use crate::reconcile::link::link;
use crate::reconcile::plan::{Decisions, plan};
use crate::reconcile::settle::{ReadBack, Settlement, advance, settle, settle_interrupted};
use crate::reconcile::totals::{self, Closing, Identity, TotalReport};
use crate::report::assemble::{self, Earlier, Facts, Heading};
use crate::report::{self, JobChange, Report, Verdict};
use crate::state::{self, JobState, Knowledge, Promoted, Promotion, Saving};
use crate::systems::{self, Opening, System, Wanted, WriteSet};

/// More rejected changes than this, or than a share of them, stop a system.
const FAILURES_MIN: usize = 5;
/// The share of a system's changes that may be rejected, in per cent.
const FAILURES_PERCENT: usize = 20;

/// Where a run takes place.
pub struct World<'a> {
    /// The root that relative paths start from.
    pub root: &'a Path,
    /// What all jobs share.
    pub settings: &'a Settings,
    /// The clock.
    pub now: &'a dyn Fn() -> Timestamp,
    /// Told each step as it begins, and what it found.
    pub progress: &'a dyn Fn(&str),
}

/// What is asked of a run.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Stop at the plan, and write nothing.
    pub plan_only: bool,
    /// Accept the plan of a first contact.
    pub first_contact: bool,
    /// Gates that this run may pass.
    pub allowed: Vec<Allowed>,
}

/// What is left of a run.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What it did.
    pub report: Report,
    /// The folder with its report.
    pub folder: PathBuf,
    /// What went wrong after everything was settled: a mail, a report file.
    pub afterthoughts: Vec<Error>,
}

/// Runs a job.
///
/// # Errors
/// Only what stops a run before it has its lock and its ledger. Everything later is in the report.
pub fn run(world: &World<'_>, job: &Job, request: &Request) -> Result<Finished, Error> {
    let started = (world.now)();
    let holder = format!("process {} since {started}", std::process::id());
    let state = JobState::open(&world.root.join(&world.settings.state).join(&job.name), &holder)?;
    let id = state::free_run_id(&state.ledger, &world.root.join(&world.settings.reports).join(&job.name), &started.strftime("%Y%m%dT%H%M%SZ").to_string())?;
    let promoted = state.ledger.promoted()?;
    let command = if request.plan_only { "plan" } else { "run" };
    let interrupted = state.ledger.interrupted()?;
    state.ledger.begin(&id, command, &started.to_string(), promoted.as_ref().map(|p| p.run.as_str()), &job.source.digest, &job.source.text)?;

    let mut night = Night {
        world,
        job,
        request,
        id: &id,
        started,
        state: &state,
        promoted,
        cut_off: Vec::new(),
        notes: Vec::new(),
        allowed: Vec::new(),
        snapshot_days: world.settings.snapshots_days,
    };
    let (report, plan) = match night.reconcile(&interrupted) {
        Ok(done) => done,
        Err(error) => (night.heading().stopped(&error), None),
    };
    Ok(night.conclude(report, plan.as_ref()))
}

/// One run that has its lock.
struct Night<'a> {
    world: &'a World<'a>,
    job: &'a Job,
    request: &'a Request,
    id: &'a str,
    started: Timestamp,
    state: &'a JobState,
    promoted: Option<Promoted>,
    /// Runs that were cut off, and are settled by this one.
    cut_off: Vec<CutOff>,
    notes: Vec<String>,
    allowed: Vec<String>,
    snapshot_days: u32,
}

/// A run that was cut off while it wrote.
struct CutOff {
    run: String,
    decisions: Vec<Decision>,
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
        let mut systems = self.open()?;
        let (before, pulled) = self.recall_and_pull(&mut systems)?;
        let mut job = self.job.clone();
        pulled.iter().for_each(|(_, marks)| marks.tell(&mut job));
        let cleaned = pulled.into_iter().map(|(clean, _)| clean).collect();
        // From here on the job knows how its columns are spelled tonight.
        let mut night = Night {
            job: &job,
            promoted: self.promoted.clone(),
            cut_off: std::mem::take(&mut self.cut_off),
            notes: std::mem::take(&mut self.notes),
            allowed: std::mem::take(&mut self.allowed),
            ..*self
        };
        let done = night.decide(before, cleaned, systems, interrupted);
        let Night { cut_off, notes, allowed, .. } = night;
        (self.cut_off, self.notes, self.allowed) = (cut_off, notes, allowed);
        done
    }

    /// Everything after the pull.
    fn decide(
        &mut self,
        mut before: State,
        cleaned: Vec<Clean>,
        mut systems: Vec<Box<dyn System>>,
        interrupted: &[state::Interrupted],
    ) -> Result<(Report, Option<Plan>), Error> {
        let snapshots = self.save_snapshots(&cleaned);
        for cut_off in interrupted {
            before = self.settle_interrupted(cut_off, before, &cleaned, &systems)?;
        }
        self.say("dedupe, link, diff, merge");
        let nows = self.dedupe(cleaned, &before);
        let linked = link(self.job, &before, &nows, self.is_allowed(Gate::Restored, None));
        let decisions = plan(self.job, &before, &nows, linked, self.header(&nows));
        let mut figures = self.figures(&before, &nows, &decisions);
        self.check_arithmetic(&figures.identities)?;
        let earlier = self.earlier_breaks()?;

        let trips = self.trips(&before, &nows, &decisions);
        if let Some(report) = self.stop_at_the_plan(&nows, &decisions, &figures, &earlier, &trips) {
            return Ok((report, Some(decisions.plan)));
        }

        let mut settlement = Settlement::default();
        let mut plan_digest = None;
        if self.job.mode == Mode::Sync {
            let digest = self.save_plan(snapshots, &decisions.plan, &mut systems)?;
            plan_digest = Some(digest);
            let outcomes = self.apply(&mut systems, &decisions.plan)?;
            settlement = self.verify(&mut systems, &before, &decisions.plan, outcomes);
            figures.identities.push(totals::writes_identity(decisions.plan.changes.len() as u64, &settlement.fates));
        } else {
            snapshots.finish()?;
        }

        self.say("settle");
        let after = advance(self.job, &before, &nows, &decisions, &settlement);
        let (of_after, closings) = totals::after_writes(self.job, &nows, &decisions, &settlement, &after, &mut figures.totals);
        figures.identities.extend(of_after);
        let (differences, of_differences) = differences::differences(self.job, &decisions, &after, &figures.totals);
        figures.identities.extend(of_differences);
        let breaks = assemble::breaks(self.job, &nows, &decisions, Some(&settlement));
        self.promote(&after, &nows, &decisions, &breaks, closings)?;
        let facts = Facts {
            nows: &nows,
            decisions: &decisions,
            settlement: Some(&settlement),
            earlier: &earlier,
            totals: &figures.totals,
            differences: &differences,
            identities: &figures.identities,
            plan_digest: plan_digest.as_deref(),
        };
        let mut report = assemble::report(&self.heading(), &facts, &breaks);
        // The writes are made and settled by now: what does not add up is told, not undone.
        if let Err(error) = self.check_arithmetic(&figures.identities) {
            assemble::stop_before_writing(
                &mut report,
                error.remedy.exit_code(),
                Verdict::Failed,
                "the arithmetic of the writes does not hold".to_owned(),
                error.diagnostics,
            );
        }
        Ok((report, Some(decisions.plan)))
    }

    fn say(&self, step: &str) {
        (self.world.progress)(step);
    }

    fn heading(&self) -> Heading<'_> {
        Heading {
            job: self.job,
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

    fn last_run(&self) -> Option<LastRun> {
        let promoted = self.promoted.as_ref()?;
        Some(LastRun { run: promoted.run.clone(), rows_read: promoted.knowledge.rows_read.clone(), terms: promoted.knowledge.terms.clone() })
    }

    fn is_allowed(&self, gate: Gate, system: Option<&str>) -> bool {
        self.request.allowed.iter().any(|a| a.gate == gate && (a.system.is_none() || a.system.as_deref() == system))
    }

    /// Clears away what no promoted run names.
    fn tidy(&self) -> Result<(), Error> {
        let days = jiff::SignedDuration::from_hours(24 * i64::from(self.snapshot_days));
        let oldest = self.started.checked_sub(days).unwrap_or(self.started).strftime("%Y%m%dT%H%M%SZ").to_string();
        self.state.tidy(self.promoted.as_ref().map(|p| p.run.as_str()), &oldest)?;
        Ok(())
    }

    /// The state that the last promoted run left, read while the systems are pulled.
    fn recall_and_pull(&self, systems: &mut [Box<dyn System>]) -> Result<(State, Vec<(Clean, Marks)>), Error> {
        let Some(promoted) = &self.promoted else {
            return Ok((State::first_contact(self.job), self.pull(systems)?));
        };
        let (folder, job) = (self.state.bases_of(&promoted.run), self.job);
        std::thread::scope(|scope| {
            let recalled = scope.spawn(|| state::load(&folder, job, promoted));
            let pulled = self.pull(systems);
            let recalled = recalled.join().unwrap_or_else(|_| {
                Err(Error::new(Remedy::Look, Place::of(folder.display().to_string()), "the state cannot be read").seen("nothing was written"))
            });
            Ok((recalled?, pulled?))
        })
    }

    fn open(&self) -> Result<Vec<Box<dyn System>>, Error> {
        let known = self.promoted.as_ref().map(|p| &p.knowledge.found);
        let opened = self.job.systems.iter().enumerate().map(|(index, spec)| {
            systems::open(Opening {
                root: self.world.root,
                job: &self.job.name,
                spec,
                columns: needed_columns(self.job, index),
                known: known.and_then(|found| found.get(&spec.name)).cloned().unwrap_or_default(),
            })
        });
        gather(opened)
    }

    /// Full snapshots of all systems, each pulled and cleaned on a thread of its own, and the decimal marks that they show.
    fn pull(&self, systems: &mut [Box<dyn System>]) -> Result<Vec<(Clean, Marks)>, Error> {
        self.say("pull, clean");
        let job = self.job;
        let known = self.promoted.as_ref().map(|promoted| &promoted.knowledge.found);
        let pulled: Vec<Result<(Clean, Marks), Error>> = std::thread::scope(|scope| {
            let threads: Vec<_> = systems
                .iter_mut()
                .enumerate()
                .map(|(index, system)| {
                    let known = known.and_then(|found| found.get(&job.systems[index].name));
                    scope.spawn(move || system.pull().and_then(|pulled| clean_as_spelled(job, index, pulled, known)))
                })
                .collect();
            let joined = threads.into_iter().zip(&job.systems).map(|(thread, spec)| {
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
        });
        for (spec, result) in job.systems.iter().zip(&pulled) {
            if let Ok((clean, _)) = result {
                self.say(&format!("  {}: {} rows", spec.name, gates::count(clean.pulled.evidence.rows_read)));
            }
        }
        gather(pulled)
    }

    fn dedupe(&self, cleaned: Vec<Clean>, before: &State) -> Vec<Keyed> {
        cleaned.into_iter().enumerate().map(|(index, clean)| dedupe(self.job, index, clean, &before.bases[index])).collect()
    }

    fn header(&self, nows: &[Keyed]) -> PlanHeader {
        PlanHeader {
            job: self.job.name.clone(),
            run: self.id.to_owned(),
            base_run: self.promoted.as_ref().map(|p| p.run.clone()),
            job_digest: self.job.source.digest.clone(),
            snapshots: state::snapshot_digests(self.pulled(nows)),
            next_record: 0,
        }
    }

    fn pulled<'k>(&'k self, nows: &'k [Keyed]) -> impl Iterator<Item = (&'k str, &'k Pulled)> {
        self.job.systems.iter().zip(nows).map(|(spec, now)| (spec.name.as_str(), now.clean.pulled.as_ref()))
    }

    fn figures(&self, before: &State, nows: &[Keyed], decisions: &Decisions) -> Figures {
        let opening = self.promoted.as_ref().map_or(&[][..], |p| &p.knowledge.closings);
        let (totals, of_totals) = totals::totals(self.job, before, nows, decisions, opening);
        let mut identities: Vec<Identity> = self
            .job
            .systems
            .iter()
            .enumerate()
            .map(|(index, spec)| totals::rows_identity(&spec.name, &totals::row_counts(self.job, index, &nows[index], decisions)))
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
                (id, Earlier { first_run: known.first_run, first_seen, open: known.open })
            })
            .collect())
    }

    /// The gates that trip and may not pass. Those that may are noted.
    fn trips(&mut self, before: &State, nows: &[Keyed], decisions: &Decisions) -> Vec<Trip> {
        let all = gates::trips(self.job, before, nows, decisions, self.last_run().as_ref());
        let (passed, stopped): (Vec<Trip>, Vec<Trip>) = all.into_iter().partition(|trip| self.is_allowed(trip.gate, trip.system.as_deref()));
        self.allowed = passed.iter().map(|trip| format!("{}: {}", trip.gate.word(), trip.message)).collect();
        stopped
    }

    /// The report of a run that does not come to its first write: a gate, a first contact, a plan that was only asked for.
    fn stop_at_the_plan(
        &self,
        nows: &[Keyed],
        decisions: &Decisions,
        figures: &Figures,
        earlier: &BTreeMap<String, Earlier>,
        trips: &[Trip],
    ) -> Option<Report> {
        let digest = disk::digest(&state::plan_bytes(&decisions.plan));
        let facts = Facts {
            nows,
            decisions,
            settlement: None,
            earlier,
            totals: &figures.totals,
            differences: &[],
            identities: &figures.identities,
            plan_digest: Some(&digest),
        };
        // What a gate does not trust is told by the gate alone: open is what was open before.
        let breaks: Vec<Break> =
            if trips.is_empty() { assemble::breaks(self.job, nows, decisions, None) } else { earlier.values().map(|earlier| earlier.open.clone()).collect() };
        let report = || assemble::report(&self.heading(), &facts, &breaks);
        if !trips.is_empty() {
            let mut report = report();
            let count = match trips.len() {
                1 => "one gate stops the run".to_owned(),
                2 => "two gates stop the run".to_owned(),
                more => format!("{more} gates stop the run"),
            };
            let mut words: Vec<&str> = trips.iter().map(|trip| trip.gate.word()).collect();
            words.dedup();
            let mut diagnostic = Diagnostic::new(Place::of(&self.job.name), count.clone());
            for trip in trips {
                diagnostic = diagnostic.seen(format!("{}: {}", trip.gate.word(), trip.message));
            }
            let diagnostic = diagnostic.seen("nothing was written").hint(format!("if this is right, run again with `--allow {}`", words.join(",")));
            assemble::stop_before_writing(&mut report, Remedy::Look.exit_code(), Verdict::Failed, format!("{count}; nothing was written"), vec![diagnostic]);
            return Some(report);
        }
        if self.request.plan_only {
            return Some(report());
        }
        let new: Vec<String> = match &self.promoted {
            None => self.job.systems.iter().map(|s| s.name.clone()).collect(),
            Some(promoted) => self.job.systems.iter().map(|s| s.name.clone()).filter(|name| !promoted.knowledge.rows_read.contains_key(name)).collect(),
        };
        if self.job.mode == Mode::Sync && !new.is_empty() && !self.request.first_contact {
            let mut report = report();
            let (changes, are) = match report.changes.len() {
                1 => ("1 change".to_owned(), "is"),
                many => (format!("{} changes", gates::count(many as u64)), "are"),
            };
            let sentence = format!("first contact with {}: {changes} planned, nothing was written", crate::change::join_names(&new));
            let diagnostic = Diagnostic::new(Place::of(&self.job.name), format!("first contact with {}", crate::change::join_names(&new)))
                .seen(format!("{changes} {are} planned, see the report"))
                .seen("nothing was written")
                .hint(format!("look at the plan, then accept it with `tieout run {} --first-contact`", self.job.name));
            assemble::stop_before_writing(&mut report, 1, Verdict::Action, sentence, vec![diagnostic]);
            return Some(report);
        }
        None
    }

    /// The snapshots are written while the run decides. A plan that is only asked for leaves none.
    fn save_snapshots(&self, cleaned: &[Clean]) -> Saving {
        let wanted = if self.request.plan_only { &[][..] } else { cleaned };
        let pulled = self.job.systems.iter().zip(wanted).map(|(spec, rows)| (spec.name.clone(), Arc::clone(&rows.pulled))).collect();
        self.state.start_saving(self.id, pulled)
    }

    /// Everything that the next run would need if this one were killed from here on. Systems first prove that they can be
    /// written, so that a full disk or a missing permission stops the run while nothing has happened yet.
    fn save_plan(&self, snapshots: Saving, plan: &Plan, systems: &mut [Box<dyn System>]) -> Result<String, Error> {
        let changed = |name: &str| plan.changes.iter().any(|change| change.system == name);
        let ready = self.job.systems.iter().zip(systems).filter(|(spec, _)| changed(&spec.name)).map(|(_, system)| system.prepare());
        gather(ready)?;
        snapshots.finish()?;
        let digest = self.state.save_plan(self.id, plan)?;
        let allowed: Vec<(String, String)> =
            self.allowed.iter().filter_map(|text| text.split_once(": ")).map(|(gate, detail)| (gate.to_owned(), detail.to_owned())).collect();
        self.state.ledger.plan_saved(self.id, &digest, &allowed)?;
        Ok(digest)
    }

    /// Writes to each system, in the job's order. Every change is journalled as sent before it is, and its outcome after.
    fn apply(&self, systems: &mut [Box<dyn System>], plan: &Plan) -> Result<BTreeMap<u32, Outcome>, Error> {
        let mut outcomes = BTreeMap::new();
        for (spec, system) in self.job.systems.iter().zip(systems) {
            let changes: Vec<Change> = plan.changes.iter().filter(|change| change.system == spec.name).cloned().collect();
            if changes.is_empty() {
                continue;
            }
            self.say(&format!("apply: {} changes to {}", gates::count(changes.len() as u64), spec.name));
            self.state.ledger.sent(self.id, &changes)?;
            let failures_max = FAILURES_MIN.max(changes.len() * FAILURES_PERCENT / 100);
            let snapshot = plan.header.snapshots.get(&spec.name).map(String::as_str);
            let answers = match system.write(WriteSet { changes: &changes, failures_max, snapshot }) {
                Ok(answers) => answers,
                Err(error) => {
                    let reason = error.diagnostics.first().map(|d| d.message.clone()).unwrap_or_default();
                    let outcome = match error.remedy {
                        Remedy::Look => Outcome::Unknown { reason },
                        // Everything else happens before the first byte is written.
                        Remedy::MendJob | Remedy::GiveAccess | Remedy::Wait => Outcome::Skipped { reason },
                    };
                    vec![outcome; changes.len()]
                }
            };
            self.state.ledger.outcomes(self.id, changes.iter().zip(&answers).map(|(change, answer)| (change.number, answer)))?;
            outcomes.extend(changes.iter().zip(answers).map(|(change, answer)| (change.number, answer)));
        }
        Ok(outcomes)
    }

    /// Reads back what was written, and tells what became of every change.
    fn verify(&self, systems: &mut [Box<dyn System>], before: &State, plan: &Plan, mut outcomes: BTreeMap<u32, Outcome>) -> Settlement {
        let atomic: Vec<bool> = systems.iter().map(|system| system.describe().atomic).collect();
        let mut read_back = Vec::with_capacity(systems.len());
        for (index, (spec, system)) in self.job.systems.iter().zip(systems).enumerate() {
            let changes: Vec<&Change> = plan.changes.iter().filter(|change| change.system == spec.name).collect();
            if changes.is_empty() {
                read_back.push(None);
                continue;
            }
            self.say(&format!("verify: {}", spec.name));
            let wanted =
                Wanted { addresses: changes.iter().flat_map(|change| addresses_after(self.job, index, change, outcomes.get(&change.number))).collect() };
            match system.read_back(&wanted) {
                Ok(pulled) => {
                    // Where several rows have a key, the one that speaks now is the one that was written.
                    let rows = dedupe(self.job, index, clean(self.job, index, Arc::new(pulled)), &before.bases[index]).clean;
                    read_back.push(Some(ReadBack { rows }));
                }
                Err(error) => {
                    let what = error.diagnostics.first().map(|d| d.message.clone()).unwrap_or_default();
                    for change in changes {
                        if let Some(outcome @ Outcome::Done { .. }) = outcomes.get_mut(&change.number) {
                            *outcome = Outcome::Unknown { reason: format!("it was written, and could not be read back: {what}") };
                        }
                    }
                    read_back.push(None);
                }
            }
        }
        settle(self.job, &before.open, plan, &outcomes, &read_back, &atomic)
    }

    /// Settles a run that was cut off while it wrote: its plan says what was sent, tonight's snapshot says what arrived.
    fn settle_interrupted(&mut self, interrupted: &state::Interrupted, before: State, cleaned: &[Clean], systems: &[Box<dyn System>]) -> Result<State, Error> {
        let plan = self.state.load_plan(&interrupted.run, &interrupted.plan_digest)?;
        let cut_off = Outcome::Unknown { reason: format!("run {} was cut off", interrupted.run) };
        let outcomes: BTreeMap<u32, Outcome> =
            interrupted.sent.iter().map(|(number, outcome)| (*number, outcome.clone().unwrap_or_else(|| cut_off.clone()))).collect();
        let read_back: Vec<Option<ReadBack>> = cleaned.iter().map(|rows| Some(ReadBack { rows: rows.clone() })).collect();
        let atomic: Vec<bool> = systems.iter().map(|system| system.describe().atomic).collect();
        let settlement = settle(self.job, &before.open, &plan, &outcomes, &read_back, &atomic);
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
        let settled = settle_interrupted(self.job, &before, &plan, &settlement);
        self.notes.push(format!(
            "run {} was cut off while it wrote: {} of its {} changes had been sent, and what became of them was read from the systems",
            interrupted.run,
            gates::count(outcomes.len() as u64),
            gates::count(plan.changes.len() as u64)
        ));
        self.cut_off.push(CutOff { run: interrupted.run.clone(), decisions: plan.decisions });
        Ok(settled)
    }

    /// Makes the new state the state of the job.
    fn promote(&self, after: &State, nows: &[Keyed], decisions: &Decisions, breaks: &[Break], closings: Vec<Closing>) -> Result<(), Error> {
        self.state.save(self.job, self.id, after)?;
        let of_each = |system: usize| &nows[system].clean.pulled.evidence;
        let names = self.job.systems.iter().map(|s| s.name.clone()).enumerate();
        let knowledge = Knowledge {
            rows_read: names.clone().map(|(index, name)| (name, of_each(index).rows_read)).collect(),
            found: names.map(|(index, name)| (name, of_each(index).found.clone())).collect(),
            terms: self.job.terms(),
            closings,
            next_record: after.next_record,
        };
        // What a cut-off run decided, and the values that lost there, belong to the story too.
        let settles: Vec<&str> = self.cut_off.iter().map(|c| c.run.as_str()).collect();
        let decided: Vec<Decision> = self.cut_off.iter().flat_map(|c| &c.decisions).chain(&decisions.plan.decisions).cloned().collect();
        let links: Vec<_> = decisions.linked.events.iter().chain(&decisions.events).cloned().collect();
        self.state.ledger.promote(Promotion {
            run: self.id,
            settles: &settles,
            knowledge: &knowledge,
            breaks,
            decisions: &decided,
            links: &links,
            now: &self.started.to_string(),
        })
    }

    /// Writes the report, mails it and closes the run. Nothing that fails here can undo what was settled.
    fn conclude(&self, report: Report, plan: Option<&Plan>) -> Finished {
        self.say("report");
        let mut afterthoughts = Vec::new();
        let reports = self.world.root.join(&self.world.settings.reports);
        let folder = reports.join(&self.job.name).join(self.id);
        if let Err(error) = write_report(&folder, &report, plan) {
            afterthoughts.push(error);
        }
        if !self.request.plan_only
            && let Err(error) = self.mail(&reports, &folder, &report)
        {
            afterthoughts.push(error);
        }
        let finished = (self.world.now)().to_string();
        if let Err(error) = self.state.ledger.finish(self.id, report.verdict.word(), report.exit_code, &report.sentence, &finished) {
            afterthoughts.push(error);
        }
        Finished { report, folder, afterthoughts }
    }

    fn mail(&self, reports: &Path, folder: &Path, report: &Report) -> Result<(), Error> {
        let to = &self.job.report.to;
        if to.is_empty() || !report::mail::is_due(report, self.job.report.when) {
            return Ok(());
        }
        let name = format!("{}-{}.eml", self.job.name, self.id);
        let sent = report::mail::compose(report, &self.world.settings.mail_from, to).and_then(|message| {
            disk::write_new(&folder.join("mail.eml"), &message)?;
            mail::deliver_to_outbox(&reports.join("outbox"), &name, &message)
        });
        let problem = sent.as_ref().err().map(|error| error.to_string());
        self.state.ledger.mailed(self.id, &name, problem.as_deref())?;
        sent.map(|_| ())
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
    /// What a person should know, a sentence each.
    pub notes: Vec<String>,
}

/// Opens and reads every system of a job, and changes nothing.
///
/// # Errors
/// Everything that would stop a run before its plan, of all systems at once.
pub fn connect(root: &Path, job: &Job) -> Result<Vec<Connected>, Error> {
    gather(job.systems.iter().enumerate().map(|(index, spec)| {
        let columns = needed_columns(job, index);
        let mut system = systems::open(Opening { root, job: &job.name, spec, columns, known: BTreeMap::new() })?;
        let (rows, _) = clean_as_spelled(job, index, system.pull()?, None)?;
        let mut notes = rows.pulled.evidence.notes.clone();
        for row in rows.quarantined.iter().take(5) {
            notes.push(format!("line {}{}: {}", row.line, row.column.as_ref().map(|c| format!(", column `{c}`")).unwrap_or_default(), row.reason));
        }
        if rows.quarantined.len() > 5 {
            notes.push(format!("… {} more cells could not be read", rows.quarantined.len() - 5));
        }
        Ok(Connected { name: spec.name.clone(), place: spec.kind.place(), rows: rows.pulled.evidence.rows_read, notes })
    }))
}

/// Cleans a snapshot with the decimal marks that its own cells show, which it keeps for the next run.
fn clean_as_spelled(job: &Job, system: usize, mut pulled: Pulled, known: Option<&BTreeMap<String, String>>) -> Result<(Clean, Marks), Error> {
    let marks = Marks::find(job, system, &pulled, known.unwrap_or(&BTreeMap::new()))?;
    marks.keep(job, &mut pulled.evidence.found);
    let mut job = job.clone();
    marks.tell(&mut job);
    Ok((clean(&job, system, Arc::new(pulled)), marks))
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
        Some(remedy) => Err(Error { remedy, diagnostics: failed.into_iter().flat_map(|error| error.diagnostics).collect() }),
    }
}

/// The columns of a source that a job needs, each once.
pub fn needed_columns(job: &Job, system: usize) -> Vec<String> {
    let spec = &job.systems[system];
    let mapped = job.fields.iter().filter_map(|field| field.columns[system].as_ref()).map(|column| column.name.clone());
    let more = spec.id.iter().cloned().chain(spec.edited_at.iter().map(|e| e.column.clone())).chain(spec.only.iter().map(|(column, _)| column.clone()));
    let mut columns: Vec<String> = Vec::new();
    for column in mapped.chain(more) {
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

/// Writes the report's files into a folder of their own.
fn write_report(folder: &Path, report: &Report, plan: Option<&Plan>) -> Result<(), Error> {
    disk::create_dir_private(folder)?;
    disk::write_new(&folder.join("report.json"), report::json::render(report).as_bytes())?;
    disk::write_new(&folder.join("report.txt"), report::text::render(report, 100).as_bytes())?;
    disk::write_new(&folder.join("report.html"), report::html::render(report).as_bytes())?;
    // A plan holds values in clear: where one is sensitive, it stays in the state folder.
    if let Some(plan) = plan.filter(|_| report.sensitive.is_empty()) {
        disk::write_new(&folder.join("plan.jsonl"), &state::plan_bytes(plan))?;
    }
    Ok(())
}
