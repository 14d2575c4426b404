//! What the steps of a night cost by themselves, over 10,000, 100,000 and 1,000,000 records in two systems.
//!
//! Two CSV files of ten columns, the second in no order, as `generate.rs` makes them; a first contact; then a night on which nothing
//! changed, and one on which 1 % of the first system did. What is timed is one call of the library; everything before it is made
//! once and kept for all benches that need it. Run by hand, and compare runs of one machine. No time is asserted, but every step
//! must find what was changed.
//!
//! ```sh
//! export CARGO_PROFILE_DEV_OPT_LEVEL=3 CARGO_PROFILE_DEV_DEBUG_ASSERTIONS=false CARGO_PROFILE_DEV_OVERFLOW_CHECKS=false
//! cargo bench --profile dev --bench core [-- NAME] [--sample-count N]    # `-- 100k`, `-- plan`: only what has this in its name
//! cargo bench --profile dev --bench core -- --fields [ROWS [RUNS]]       # cleaning against reading, field by field: cleaning.rs
//! ```
//!
//! | bench | the step | rows a second are |
//! | --- | --- | --- |
//! | `read` | a CSV file at first contact: every row becomes cells, and is hashed | rows of one file |
//! | `hash` | the same file later: every row is hashed, none becomes cells | rows of one file |
//! | `clean` | the cells of one file become keys and values | rows of one file |
//! | `rest` | which records are as they were, told by the hashes of their rows | records |
//! | `link` | which rows are one record | records |
//! | `diff` | which records are worth a look, told by their values | records |
//! | `plan` | `diff`, and every such record merged and planned | records |
//!
//! # Design
//! - `link`, `diff` and `plan` see every record, as at `--every-record`. On any other night they see those alone that `rest` left over.
//! - One binary for all benches, because each links Polars again.

#[path = "cleaning.rs"]
mod cleaning;
#[path = "generate.rs"]
#[allow(dead_code, unused_imports)]
mod generate;

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use tempfile::TempDir;
use tieout::change::PlanHeader;
use tieout::frame::{Keyed, Pulled};
use tieout::job::{Job, JobFile, Settings, check};
use tieout::reconcile::answers::Answers;
use tieout::reconcile::base::State;
use tieout::reconcile::clean::{Marks, clean as clean_rows};
use tieout::reconcile::dedupe::dedupe;
use tieout::reconcile::diff::restless;
use tieout::reconcile::link::{Linked, link as link_rows};
use tieout::reconcile::plan::{Decisions, plan as decide};
use tieout::reconcile::rest::{Rest, Resting};
use tieout::reconcile::settle::{Settlement, advance};
use tieout::run::needed_columns;
use tieout::systems::{self, Opening, System};

type Failure = Box<dyn std::error::Error>;

const SIZES: [Size; 3] = [Size { name: "10k", rows: 10_000 }, Size { name: "100k", rows: 100_000 }, Size { name: "1M", rows: 1_000_000 }];

/// How many records there are. No name is part of another, so that each can be asked for.
#[derive(Clone, Copy)]
struct Size {
    name: &'static str,
    rows: usize,
}

impl Display for Size {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[derive(Clone, Copy)]
struct Night {
    size: Size,
    is_edited: bool,
}

impl Display for Night {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.size, if self.is_edited { "1 % changed" } else { "nothing changed" })
    }
}

fn nights() -> impl Iterator<Item = Night> {
    SIZES.into_iter().flat_map(|size| [false, true].map(|is_edited| Night { size, is_edited }))
}

impl Night {
    /// How many records were changed before it.
    fn changed(self) -> usize {
        if self.is_edited { self.size.rows / 100 } else { 0 }
    }
}

/// What a first contact left, and the two nights after it.
struct World {
    folder: TempDir,
    job: Job,
    /// By system what the first contact found out about its file.
    known: Vec<BTreeMap<String, String>>,
    state: State,
    rest: Rest,
    /// The night on which nothing changed, and the one on which something did.
    nights: [Seen; 2],
}

/// What one night read.
struct Seen {
    /// Rows with their hashes, and without cells.
    pulled: Vec<Pulled>,
    nows: Vec<Keyed>,
    linked: Linked,
}

impl World {
    fn new(rows: usize) -> Result<World, Failure> {
        let (columns, width) = generate::shape("ten", 0).ok_or("no such shape")?;
        let records = generate::World { rows: rows as u64, columns, width, changed: rows as u64 / 100, added: 0, deleted: 0, dirty_ppm: 0, seed: 1 };
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("data"))?;
        let (a, b) = (folder.path().join("data/a.csv"), folder.path().join("data/b.csv"));
        records.write(&a, 0, false)?;
        records.write(&b, 0, true)?;
        let file = JobFile { path: "jobs/bench.toml".to_owned(), text: generate::job_file(&records) };
        let jobs = check(&[file], &Settings::default()).map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
        let mut job = jobs.into_iter().next().ok_or("no job")?;

        let nothing = vec![BTreeMap::new(); job.systems.len()];
        let mut first = Vec::new();
        for system in 0..job.systems.len() {
            let mut pulled = open(folder.path(), &job, system, &nothing)?.pull()?.whole()?;
            let marks = Marks::find(&job, system, &pulled, &nothing[system])?;
            marks.tell(&mut job);
            marks.keep(&job, &mut pulled.evidence.found);
            first.push(pulled);
        }
        let known: Vec<_> = first.iter().map(|pulled| pulled.evidence.found.clone()).collect();
        let before = State::first_contact(&job);
        let of = |(system, pulled): (usize, Pulled)| dedupe(&job, system, clean_rows(&job, system, Arc::new(pulled)), &before.bases[system]);
        let nows: Vec<Keyed> = first.into_iter().enumerate().map(of).collect();
        let linked = link_rows(&job, &before, &nows, &Answers::default(), false);
        let decisions = decide(&job, &before, &nows, linked, &Answers::default(), PlanHeader::default());
        expect(&decisions, 0)?;
        let state = advance(&job, &before, &nows, &decisions, &Settlement::default());
        let rest = Rest::default().after(&job, &Resting::default(), &nows, &decisions, &state);
        drop((nows, decisions));

        let still = Seen::new(folder.path(), &job, &known, &state, None)?;
        records.write(&a, 1, false)?;
        let edited = Seen::new(folder.path(), &job, &known, &state, Some(&still))?;
        Ok(World { folder, job, known, state, rest, nights: [still, edited] })
    }

    fn seen(&self, night: Night) -> &Seen {
        &self.nights[usize::from(night.is_edited)]
    }
}

impl Seen {
    /// Reads what changed since an earlier night, which is the first system alone, or all if there was none.
    fn new(folder: &Path, job: &Job, known: &[BTreeMap<String, String>], state: &State, earlier: Option<&Seen>) -> Result<Seen, Failure> {
        let (mut pulled, mut nows) = (Vec::new(), Vec::new());
        for system in 0..job.systems.len() {
            if let Some(same) = earlier.filter(|_| system > 0) {
                pulled.push(same.pulled[system].clone());
                nows.push(same.nows[system].clone());
                continue;
            }
            let read = open(folder, job, system, known)?.pull()?;
            // Cells are made of rows of their own, so that those that are kept have none.
            let whole = read.take(&(0..read.height() as u32).collect::<Vec<_>>())?;
            nows.push(dedupe(job, system, clean_rows(job, system, Arc::new(whole)), &state.bases[system]));
            pulled.push(read);
        }
        let linked = link_rows(job, state, &nows, &Answers::default(), false);
        Ok(Seen { pulled, nows, linked })
    }
}

fn open(folder: &Path, job: &Job, system: usize, known: &[BTreeMap<String, String>]) -> Result<Box<dyn System>, tieout::error::Error> {
    let (spec, columns) = (&job.systems[system], needed_columns(job, system));
    systems::open(Opening { root: folder, job: &job.name, spec, columns, known: known[system].clone(), state: None })
}

/// Each change of A becomes one of B.
fn expect(decisions: &Decisions, changes: usize) -> Result<(), Failure> {
    let (planned, breaks) = (decisions.plan.changes.len(), decisions.breaks.len());
    if (planned, breaks) == (changes, 0) { Ok(()) } else { Err(format!("{planned} changes and {breaks} breaks instead of {changes} and none").into()) }
}

/// The worlds that a bench has asked for, by size.
static WORLDS: Mutex<BTreeMap<usize, Arc<World>>> = Mutex::new(BTreeMap::new());

fn worlds() -> MutexGuard<'static, BTreeMap<usize, Arc<World>>> {
    WORLDS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn world(rows: usize) -> Arc<World> {
    let mut worlds = worlds();
    if let Some(world) = worlds.get(&rows) {
        return Arc::clone(world);
    }
    let world = Arc::new(made(World::new(rows)));
    worlds.insert(rows, Arc::clone(&world));
    world
}

/// What a step gave. A bench in which one fails has nothing to tell: it ends.
fn made<T, E: Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| {
        eprintln!("{error}");
        worlds().clear();
        std::process::exit(1)
    })
}

fn pulls(bencher: Bencher<'_, '_>, Size { rows, .. }: Size, is_known: bool) {
    let world = world(rows);
    let bytes = made(std::fs::metadata(world.folder.path().join("data/b.csv"))).len();
    let nothing = vec![BTreeMap::new(); world.job.systems.len()];
    let known = if is_known { &world.known } else { &nothing };
    bencher
        .counter(ItemsCount::new(rows))
        .counter(BytesCount::new(bytes))
        .with_inputs(|| made(open(world.folder.path(), &world.job, 1, known)))
        .bench_local_refs(|system| made(system.pull()));
}

#[divan::bench(args = SIZES, sample_count = 10, sample_size = 1)]
fn read(bencher: Bencher<'_, '_>, size: Size) {
    pulls(bencher, size, false);
}

#[divan::bench(args = SIZES, sample_count = 10, sample_size = 1)]
fn hash(bencher: Bencher<'_, '_>, size: Size) {
    pulls(bencher, size, true);
}

#[divan::bench(args = SIZES, sample_count = 10, sample_size = 1)]
fn clean(bencher: Bencher<'_, '_>, Size { rows, .. }: Size) {
    let world = world(rows);
    let pulled = &world.nights[0].nows[1].clean.pulled;
    bencher.counter(ItemsCount::new(rows)).with_inputs(|| Arc::clone(pulled)).bench_local_values(|pulled| clean_rows(&world.job, 1, pulled));
}

#[divan::bench(args = nights(), sample_count = 10, sample_size = 1)]
fn rest(bencher: Bencher<'_, '_>, night: Night) {
    let world = world(night.size.rows);
    let pulled = &world.seen(night).pulled;
    let found = || world.rest.found_in(pulled);
    assert_eq!(found().positions.len(), night.size.rows - night.changed(), "all records but the changed ones are at rest");
    bencher.counter(ItemsCount::new(night.size.rows)).bench_local(found);
}

#[divan::bench(args = nights(), sample_count = 10, sample_size = 1)]
fn link(bencher: Bencher<'_, '_>, night: Night) {
    let world = world(night.size.rows);
    let answers = Answers::default();
    bencher.counter(ItemsCount::new(night.size.rows)).bench_local(|| link_rows(&world.job, &world.state, &world.seen(night).nows, &answers, false));
}

#[divan::bench(args = nights(), sample_count = 10, sample_size = 1)]
fn diff(bencher: Bencher<'_, '_>, night: Night) {
    let world = world(night.size.rows);
    let Seen { nows, linked, .. } = world.seen(night);
    let found = || restless(&world.job, &world.state, nows, linked);
    assert_eq!(found().len(), night.changed(), "the changed records are worth a look");
    bencher.counter(ItemsCount::new(night.size.rows)).bench_local(found);
}

#[divan::bench(args = nights(), sample_count = 10, sample_size = 1)]
fn plan(bencher: Bencher<'_, '_>, night: Night) {
    let world = world(night.size.rows);
    let Seen { nows, linked, .. } = world.seen(night);
    let answers = Answers::default();
    let planned = |linked: Linked| decide(&world.job, &world.state, nows, linked, &answers, PlanHeader::default());
    made(expect(&planned(linked.clone()), night.changed()));
    bencher.counter(ItemsCount::new(night.size.rows)).with_inputs(|| linked.clone()).bench_local_values(planned);
}

fn main() -> Result<(), Failure> {
    if std::env::args().any(|argument| argument == "--fields") {
        return cleaning::measure_fields();
    }
    divan::main();
    // The folders go with them.
    worlds().clear();
    Ok(())
}
