//! What an earlier run wrote, to be taken back.
//!
//! Reads the plan of a run and what became of each of its changes; [`crate::run::run`] takes them back
//! ([`crate::reconcile::plan::undo`]). Nothing is written here.

use crate::change::{Change, Settled, Undoes};
use crate::diagnostic::Place;
use crate::error::{Error, Remedy};
use crate::job::Job;
use crate::reconcile::plan::{Sent, Undo};
use crate::review::Signature;
use crate::state::Stored;

/// What a run of a job wrote, as it is to be taken back.
///
/// # Errors
/// `MendJob` if the run wrote nothing, or if its plan is no longer kept; `Look` if what is stored is damaged.
pub fn of_run(job: &Job, stored: &Stored, run: &str, by: Signature<'_>) -> Result<Undo, Error> {
    let place = || Place::of(format!("{}/{run}", job.name));
    let settled = stored.ledger.settled_of(run)?;
    let digest = stored.ledger.plan_of(run)?.and_then(|(digest, _)| digest);
    let Some(digest) = digest.filter(|_| !settled.is_empty()) else {
        return Err(Error::new(Remedy::MendJob, place(), "the run wrote nothing that could be taken back")
            .seen("nothing was written")
            .hint(format!("`tieout history {}` lists the runs", job.name)));
    };
    let Some(plan) = stored.plan(run, &digest)? else {
        return Err(Error::new(Remedy::MendJob, place(), "the plan of the run is no longer kept, so nobody knows what it wrote over")
            .seen("nothing was written")
            .hint("`tieout explain` tells what is still known of a record; `snapshots_days` in tieout.toml says how long plans are kept"));
    };
    let sent = |change: Change| {
        let became = settled.get(&change.number);
        Sent { settled: became.and_then(|(word, _)| Settled::of_word(word)), made: became.and_then(|(_, made)| made.clone()), change }
    };
    let undoes = Undoes { run: run.to_owned(), who: by.who.to_owned(), why: by.why.map(str::to_owned), at: by.at.to_owned() };
    Ok(Undo { undoes, changes: plan.changes.into_iter().map(sent).collect() })
}
