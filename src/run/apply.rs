//! The writes of a run: what is sent, what is tried again, and what stands in the way.
//!
//! Each system is written by itself, in the job's order. What stands in the way of one holds up no other: what it did not take it is
//! owed, and the run says at its end that it failed there.
//!
//! # Words
//! Something *passes* that may be gone in a moment: a database that another program has locked, a file that somebody saves just
//! now. Nothing was done then, so the same call is made again after a while, as long as the patience of the run lasts. Each of these
//! *retries* is in the journal before it is waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Night, gates};
use crate::change::{Change, Outcome, Plan};
use crate::error::{Error, Remedy};
use crate::frame::Pulled;
use crate::job::SystemSpec;
use crate::reconcile::patience::Patience;
use crate::state::Retry;
use crate::systems::{System, WriteSet};

/// More rejected changes than this, and than a share of them, stop a system.
const FAILURES_MIN: usize = 5;
/// The share of a system's changes that may be rejected, in per cent.
const FAILURES_PERCENT: usize = 20;

/// What a run met on its way to the systems.
#[derive(Debug)]
pub(super) struct Obstacles {
    patience: Patience,
    /// By system: how often a call was made again.
    pub retries: BTreeMap<String, u64>,
    /// What kept systems from being written. Each took nothing, or nobody knows what.
    pub barred: Vec<(String, Error)>,
    /// Whether anything was sent. From there on a run that stops has written, or may have.
    pub has_sent: bool,
}

impl Obstacles {
    pub fn none(patience: Patience) -> Obstacles {
        Obstacles { patience, retries: BTreeMap::new(), barred: Vec::new(), has_sent: false }
    }
}

impl Night<'_> {
    /// Makes a call again for as long as it meets something that passes. `first` is what it gave the first time.
    pub(super) fn again<T>(&mut self, system: &str, call: &str, first: Result<T, Error>, make: &mut dyn FnMut() -> Result<T, Error>) -> Result<T, Error> {
        let (mut result, mut tries, mut waited) = (first, 1, Duration::ZERO);
        loop {
            let mut error = match result {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let Some(at_least) = error.passing else { return Err(error) };
            let Some(wait) = self.obstacles.patience.wait(&format!("{call} {system}"), tries, at_least) else {
                if tries > 1 {
                    let seconds = gates::count(waited.as_secs());
                    error = error.seen(format!("it was tried {} times, with {seconds} s of waiting", gates::count(u64::from(tries))));
                }
                return Err(error);
            };
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            self.state.ledger.retrying(self.id, &Retry { system, call, tries, wait_ms, reason: error.headline() })?;
            *self.obstacles.retries.entry(system.to_owned()).or_default() += 1;
            self.say(&format!("  {system}: {}; trying again in {:.1} s", error.headline(), wait.as_secs_f64()));
            (self.world.sleep)(wait);
            if !self.obstacles.has_sent {
                self.stop_if_asked()?;
            }
            waited += wait;
            tries += 1;
            result = make();
        }
    }

    /// Proves that every system with a change can be written, before anything is.
    pub(super) fn prepare(&mut self, systems: &mut [Box<dyn System>], plan: &Plan) -> Result<(), Error> {
        let mut results = Vec::with_capacity(systems.len());
        for (spec, system) in self.specs().iter().zip(systems).filter(|(spec, _)| plan.changes.iter().any(|change| change.system == spec.name)) {
            let first = system.prepare();
            results.push(self.again(&spec.name, "prepare", first, &mut || system.prepare()));
        }
        super::gather(results).map(|_| ())
    }

    /// Pulls those again whose pull met something that passes.
    pub(super) fn pull_again(&mut self, systems: &mut [Box<dyn System>], pulled: Vec<Result<Pulled, Error>>) -> Vec<Result<Pulled, Error>> {
        let each = self.specs().into_iter().zip(systems).zip(pulled);
        each.map(|((spec, system), first)| self.again(&spec.name, "pull", first, &mut || system.pull())).collect()
    }

    /// Writes to each system, in the job's order. Every change is journalled as sent before it is, and its outcome after.
    pub(super) fn apply(&mut self, systems: &mut [Box<dyn System>], plan: &Plan) -> Result<BTreeMap<u32, Outcome>, Error> {
        let mut outcomes = BTreeMap::new();
        for (spec, system) in self.specs().iter().zip(systems) {
            let changes: Vec<Change> = plan.changes.iter().filter(|change| change.system == spec.name).cloned().collect();
            if changes.is_empty() {
                continue;
            }
            self.say(&format!("apply: {} changes to {}", gates::count(changes.len() as u64), spec.name));
            let set = WriteSet {
                changes: &changes,
                failures_max: FAILURES_MIN.max(changes.len() * FAILURES_PERCENT / 100),
                snapshot: plan.header.snapshots.get(&spec.name).map(String::as_str),
            };
            std::thread::scope(|scope| {
                let staging = scope.spawn(|| system.stage(set));
                let sent = self.state.ledger.sent(self.id, &changes);
                // What could not be worked out before is worked out by the write.
                let _ = staging.join();
                sent
            })?;
            self.obstacles.has_sent = true;
            let answers = self.write(spec, system.as_mut(), set)?;
            self.state.ledger.outcomes(self.id, changes.iter().zip(&answers).map(|(change, answer)| (change.number, answer)))?;
            outcomes.extend(changes.iter().zip(answers).map(|(change, answer)| (change.number, answer)));
        }
        Ok(outcomes)
    }

    /// Writes to one system: an outcome for each change.
    fn write(&mut self, spec: &SystemSpec, system: &mut dyn System, set: WriteSet<'_>) -> Result<Vec<Outcome>, Error> {
        let first = system.write(set);
        let answers = match self.again(&spec.name, "write", first, &mut || system.write(set)) {
            Ok(answers) => answers,
            Err(error) => {
                let reason = error.headline().to_owned();
                let outcome = match error.remedy {
                    Remedy::Look => Outcome::Unknown { reason },
                    // Everything else happens before the first byte is written.
                    Remedy::MendJob | Remedy::GiveAccess | Remedy::Wait => Outcome::Skipped { reason },
                };
                self.obstacles.barred.push((spec.name.clone(), error));
                return Ok(vec![outcome; set.changes.len()]);
            }
        };
        self.tell_if_stopped(spec, &answers, set.failures_max);
        Ok(answers)
    }

    /// Notes that a system was stopped because it refused too much.
    fn tell_if_stopped(&mut self, spec: &SystemSpec, answers: &[Outcome], failures_max: usize) {
        let rejected = answers.iter().filter(|answer| matches!(answer, Outcome::Rejected { .. })).count();
        let not_sent = answers.iter().filter(|answer| matches!(answer, Outcome::Skipped { .. })).count();
        if rejected <= failures_max || not_sent == 0 {
            return;
        }
        let count = |count: usize| gates::count(count as u64);
        self.notes.push(format!(
            "`{}` was stopped: it refused {} of {} changes, and at most {} are borne ({FAILURES_MIN}, or {FAILURES_PERCENT} % of them); \
             {} were not sent and are owed; mend what the refusals name, the next run sends all of them",
            spec.name,
            count(rejected),
            count(answers.len()),
            count(failures_max),
            count(not_sent)
        ));
    }

    fn specs(&self) -> Vec<SystemSpec> {
        self.job.systems.clone()
    }
}
