//! The laws that every night must keep, checked against the slow oracle and through real runs over the twin in memory.
//!
//! Three layers. *Tables*: small worlds enumerated in full, each world one record of one plan, decided by the library and by
//! [`crate::oracle`]. *Scenarios*: the counterexamples that shaped the semantics, each a story of a few nights. *Random
//! worlds*: random jobs and nights of random edits and faults, after each of which the laws are asked.
//!
//! | law | |
//! | --- | --- |
//! | L1 quiescence | after a run without edits the next plans nothing but what is owed, and opens no break |
//! | L2 convergence | without edits and faults all systems agree, or a break says why not |
//! | L3 no lost update | what one voter alone changed is everywhere, or still there with an open break |
//! | L4 accounting | every discarded value is in the ledger |
//! | L5 no resurrection | an agreed delete never comes back by itself |
//! | L6 no invented delete | what is hidden, late or unreadable is neither deleted nor made once more |
//! | L7 authority | who is never written is as it was, and an owned field never flows into its owner |
//! | L8 frame | nothing outside the job moves |
//! | L9, L10 crash | a run that was cut off ends, some runs later, as if it had not been; nothing is made twice |
//! | L11 isolation | a record that is refused changes nothing about the others |
//! | L12 determinism, L13 order | the same rows, in any order, give the same plan |
//! | L14 symmetry | two systems that change places mirror what is done and told |
//! | L15 false conflicts | what is the same everywhere is neither written nor in conflict |
//! | L16 fixed point, L17 ping-pong | a system that makes something else of a value: the nights become quiet, or the field is frozen |
//! | L18 honest bases | a base was really read there |
//! | L19 identities | the arithmetic of every report holds |
//! | L20 pure dry run | a plan changes nothing, and is that of the next run |
//! | L21 sound gates | a run that is stopped wrote nothing |
//! | L23 stable links | a row is that of another record only if an event says so, and one record has one row |
//! | L25 lost state | without its state a run deletes nothing, and no difference is silent |
//!
//! Cleaning is idempotent (L22) by the property tests beside it; another host's zone and locale change nothing (L26) by `cli`; no
//! cell becomes HTML, a column, a header or a command of a terminal (L27) by the tests of the reports, of `mail` and of `cli`.
//!
//! A seed means one world. An everyday run plays the same ones every day, so that a failure means a change; `TIEOUT_WORLDS=n` asks
//! for n others of each law, beginning at a random seed; `TIEOUT_SEED=s` plays that one world, or n from there on. A failure prints
//! the seed, and the world in its smallest form with its job and its nights. Once it is mended, that world is added to those that broke a
//! law, which are played every time.

use std::cell::Cell as StdCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use polars::prelude::{NewChunkedArray, StringChunked};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use tieout::change::{Action, BreakKind, Change, PlanHeader, Reason, Settled};
use tieout::frame::{Evidence, Keyed, Pulled};
use tieout::job::{self, Job, JobFile, Settings};
use tieout::reconcile::answers::{Act, Answers, fitting};
use tieout::reconcile::base::{BaseBuilder, BaseCell, FieldDebt, OpenField, Standing, State};
use tieout::reconcile::clean::clean;
use tieout::reconcile::dedupe::dedupe;
use tieout::reconcile::gates::{Allowed, Gate};
use tieout::reconcile::link::link;
use tieout::reconcile::plan::{Decisions, plan};
use tieout::report::{BreakReport, Report, Verdict};
use tieout::review::{self, Say, Signature};
use tieout::run::{self, Finished, Request, World};
use tieout::state::{self, JobState, Stored};
use tieout::systems::memory::{self, Call, Effect, Handle, Row as MemoryRow};
use tieout::undo;
use tieout::value::Value;

use crate::oracle::{self, Blank, Cell, Debt, Deed, Expected, FieldCase, FirstContact, Policy, Presence, RecordCase, Role, Rule, Side};

const NAMES: [&str; 3] = ["a", "b", "c"];
const ROLES: [Role; 4] = [Role::Source, Role::Peer, Role::Target, Role::Witness];

// ── tables: worlds of one record each ────────────────────────────────────────────────────────────────────────────────────

/// A job with a key `k` and one field `v`, carried by all its systems.
#[derive(Clone, Debug)]
struct Design {
    roles: Vec<Role>,
    owner: Vec<usize>,
    rule: Rule,
    then: Option<Rule>,
    blank: Option<Blank>,
    tolerance: i64,
    overwrites_drift: bool,
    first_contact: FirstContact,
    policy: Policy,
    never_create: BTreeSet<usize>,
    never_delete: BTreeSet<usize>,
    /// What is still open of an earlier decision: the value, and the systems that it came from.
    open: Option<(Cell, Vec<usize>)>,
}

impl Design {
    fn of(roles: &[Role]) -> Design {
        Design {
            roles: roles.to_vec(),
            owner: Vec::new(),
            rule: Rule::Review,
            then: None,
            blank: None,
            tolerance: 0,
            overwrites_drift: true,
            first_contact: FirstContact::Decide,
            policy: Policy::Report,
            never_create: BTreeSet::new(),
            never_delete: BTreeSet::new(),
            open: None,
        }
    }

    fn sources(&self) -> Vec<usize> {
        (0..self.roles.len()).filter(|s| self.roles[*s] == Role::Source).collect()
    }

    /// The owners that hold: those that are named, else the one source that carries the field.
    fn owners(&self) -> Vec<usize> {
        if self.owner.is_empty() { self.sources() } else { self.owner.clone() }
    }

    fn value_type(&self) -> &'static str {
        match self.rule {
            Rule::Longest => "text",
            Rule::Union => "list",
            _ => "integer",
        }
    }

    fn toml(&self) -> String {
        let list = |systems: &[usize]| systems.iter().map(|s| format!("\"{}\"", NAMES[*s])).collect::<Vec<_>>().join(", ");
        let mut text = "name = \"laws\"\nkey = [\"k\"]\n".to_owned();
        for (system, role) in self.roles.iter().enumerate() {
            let name = NAMES[system];
            let permission = |never: &BTreeSet<usize>| if never.contains(&system) { "never" } else { "apply" };
            let may = format!("may = {{ create = \"{}\", delete = \"{}\" }}\n", permission(&self.never_create), permission(&self.never_delete));
            let may = if role.is_written() { may } else { String::new() };
            text += &format!("[systems.{name}]\nkind = \"memory\"\nrole = \"{}\"\nid = \"id\"\nedited_at = \"t\"\n{may}", role.word());
        }
        let columns = |column: &str| (0..self.roles.len()).map(|s| format!("{} = \"{column}\"", NAMES[s])).collect::<Vec<_>>().join(", ");
        let key_rule = if self.sources().is_empty() { "merge = \"review\"".to_owned() } else { format!("owner = [{}]", list(&self.sources())) };
        text += &format!("[fields.k]\ntype = \"text\"\ncolumns = {{ {} }}\n{key_rule}\n", columns("k"));
        text += &format!("[fields.v]\ntype = \"{}\"\ncolumns = {{ {} }}\n", self.value_type(), columns("v"));
        if !self.owner.is_empty() {
            text += &format!("owner = [{}]\n", list(&self.owner));
        }
        let word = |rule: &Rule| match rule {
            Rule::Latest => "\"latest\"".to_owned(),
            Rule::Priority(order) => format!("{{ priority = [{}] }}", list(order)),
            Rule::Max => "\"max\"".to_owned(),
            Rule::Min => "\"min\"".to_owned(),
            Rule::Longest => "\"longest\"".to_owned(),
            Rule::Union => "\"union\"".to_owned(),
            Rule::SumOfChanges => "\"sum-of-changes\"".to_owned(),
            Rule::MostRestrictive(values) => format!("{{ most-restrictive = [{}] }}", values.join(", ")),
            Rule::Review => "\"review\"".to_owned(),
        };
        text += &format!("merge = {}\n", word(&self.rule));
        if let Some(then) = &self.then {
            text += &format!("then = {}\n", word(then));
        }
        if let Some(blank) = self.blank {
            text += &format!("blank = \"{}\"\n", format!("{blank:?}").to_lowercase());
        }
        if self.tolerance > 0 {
            text += &format!("tolerance = \"{}\"\n", self.tolerance);
        }
        if !self.overwrites_drift {
            text += "on_drift = \"report\"\n";
        }
        text += match self.first_contact {
            FirstContact::Decide => "",
            FirstContact::FillBlanks => "first_contact = \"fill-blanks\"\n",
            FirstContact::Review => "first_contact = \"review\"\n",
        };
        text += match self.policy {
            Policy::Report => "",
            Policy::Propagate => "[deletes]\npolicy = \"propagate\"\n",
            Policy::Recreate => "[deletes]\npolicy = \"recreate\"\n",
            Policy::Archive => "[deletes]\npolicy = \"archive\"\narchive = { field = \"v\", value = 9 }\n",
        };
        text
    }

    /// The job, if `check` allows it.
    fn job(&self) -> Option<Job> {
        if !self.roles.iter().any(|role| role.votes()) {
            return None;
        }
        job::check(&[JobFile { path: "jobs/laws.toml".to_owned(), text: self.toml() }], &Settings::default()).ok()?.pop()
    }

    /// One of the texts 0, 1, 2 in the spelling of the field's type.
    fn spelled(&self, number: usize) -> String {
        let texts = match self.rule {
            Rule::Longest => ["0", "11", "22"],
            Rule::Union => ["a", "b", "a;b"],
            _ => ["0", "1", "2"],
        };
        texts[number].to_owned()
    }

    fn value(&self, cell: &Cell) -> Value {
        match (cell, self.value_type()) {
            (None, _) => Value::Null,
            (Some(text), "text") => Value::Text(text.clone()),
            (Some(text), "list") => Value::List(text.split(';').filter(|item| !item.is_empty()).map(str::to_owned).collect()),
            (Some(text), _) => Value::Integer(text.parse().unwrap()),
        }
    }
}

/// What one system has for one record.
#[derive(Clone, Debug)]
struct Row {
    presence: Presence,
    now: Cell,
    /// Nothing where the field was never seen.
    base: Option<Cell>,
    edited_at: Option<i64>,
    debt: Option<Debt>,
}

/// Texts as a system delivers them, one row a line.
fn pulled(columns: &[(&str, Vec<Option<String>>)]) -> Pulled {
    let height = columns[0].1.len();
    let texts = |cells: &Vec<Option<String>>| StringChunked::from_iter_options("".into(), cells.iter().map(|c| c.as_deref()));
    let hash = |row: usize| xxhash_rust::xxh3::xxh3_128(format!("{:?}", columns.iter().map(|(_, cells)| &cells[row]).collect::<Vec<_>>()).as_bytes());
    Pulled::new(
        columns.iter().map(|(name, cells)| ((*name).to_owned(), texts(cells), None)).collect(),
        (1..=height as u64).collect(),
        (0..height).map(hash).collect(),
        Vec::new(),
        Evidence { origin: "table".to_owned(), rows_read: height as u64, rows_announced: Some(height as u64), ..Evidence::default() },
    )
}

/// The key of the record with this number.
fn key_of(record: usize) -> String {
    format!("k{record:06}")
}

/// Snapshots and bases of many records, one world each: `worlds[record][system]`.
fn frames(job: &Job, design: &Design, worlds: &[Vec<Row>]) -> (State, Vec<Keyed>) {
    let systems = job.systems.len();
    let mut state = State::first_contact(job);
    let mut nows = Vec::new();
    for system in 0..systems {
        let (mut ids, mut keys, mut values, mut times) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut base = BaseBuilder::new(job, system, worlds.len());
        for (record, rows) in worlds.iter().enumerate() {
            let row = &rows[system];
            let key = key_of(record);
            if row.presence.is_here() || row.presence == Presence::Silent {
                ids.push(Some(format!("{record}")));
                keys.push(Some(key.clone()));
                values.push(if row.presence == Presence::Silent { Some("unreadable".to_owned()) } else { row.now.clone() });
                times.push(row.edited_at.map(|t| jiff::Timestamp::from_second(t).unwrap().to_string()));
            }
            let standing = match row.presence {
                Presence::New | Presence::Never => continue,
                Presence::Awaited => Standing::Awaited,
                Presence::Ended => Standing::Ended,
                _ => Standing::Live,
            };
            let id = format!("{record}");
            base.push_record(record as u64 + 1, (standing != Standing::Awaited).then_some(id.as_str()), &key, standing, None);
            let key_value = Value::Text(key.clone());
            base.push_field(0, BaseCell::Value(&key_value));
            match &row.base {
                Some(cell) => base.push_field(1, BaseCell::Value(&design.value(cell))),
                None => base.push_field(1, BaseCell::None),
            }
        }
        state.bases[system] = base.finish();
        let delivered = pulled(&[("id", ids), ("k", keys), ("v", values), ("t", times)]);
        nows.push(dedupe(job, system, clean(job, system, Arc::new(delivered)), &state.bases[system]));
    }
    state.next_record = worlds.len() as u64 + 1;
    for (record, rows) in worlds.iter().enumerate() {
        let Some((value, from)) = &design.open else { continue };
        let debt = |debt: &Debt| match debt {
            Debt::Normalises(stored) => FieldDebt::Normalised { stored: design.value(&Some(stored.clone())) },
            owed => FieldDebt::Owed { attempts: 1, left: None, uncertain: *owed == Debt::Unknown, why: "refused".to_owned() },
        };
        let open = OpenField {
            value: design.value(value),
            reason: Reason::OnlyChange { system: NAMES[from[0]].to_owned() },
            from: from.iter().map(|s| NAMES[*s].to_owned()).collect(),
            debts: rows.iter().enumerate().filter_map(|(s, row)| Some((NAMES[s].to_owned(), debt(row.debt.as_ref()?)))).collect(),
        };
        state.open.fields.insert((record as u64 + 1, "v".to_owned()), open);
    }
    (state, nows)
}

fn decisions_of(job: &Job, state: &State, nows: &[Keyed]) -> Decisions {
    let answers = Answers::default();
    let linked = link(job, state, nows, &answers, false);
    plan(job, state, nows, linked, &answers, PlanHeader { job: "laws".to_owned(), run: "r".to_owned(), ..PlanHeader::default() })
}

/// What the library made of the field `v`, by key.
fn outcomes_of_fields(decisions: &Decisions, systems: usize) -> BTreeMap<String, Outcome> {
    let position = |name: &str| NAMES[..systems].iter().position(|n| *n == name).unwrap();
    let mut outcomes: BTreeMap<String, Outcome> = BTreeMap::new();
    for change in &decisions.plan.changes {
        let outcome = outcomes.entry(change.key.clone()).or_default();
        for cell in change.cells.iter().filter(|c| c.field.as_deref() == Some("v") && change.action == Action::Update) {
            outcome.written.insert(position(&change.system), cell.after.clone());
        }
    }
    for open in &decisions.breaks {
        let outcome = outcomes.entry(open.key.clone()).or_default();
        match (open.field.as_deref(), &open.system) {
            (Some("v"), None) => outcome.held = true,
            (Some("v"), Some(system)) => {
                outcome.breaks.insert(position(system));
            }
            _ => outcome.other_breaks += 1,
        }
    }
    for decision in decisions.plan.decisions.iter().filter(|d| d.field == "v") {
        let lost = decision.overridden.iter().map(|lost| (position(&lost.system), lost.value.clone()));
        outcomes.entry(decision.key.clone()).or_default().lost.extend(lost);
    }
    outcomes
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Outcome {
    held: bool,
    written: BTreeMap<usize, Value>,
    breaks: BTreeSet<usize>,
    lost: BTreeMap<usize, Value>,
    other_breaks: usize,
}

/// The first things in which the library and the oracle differ, in words; nothing if they agree.
fn difference(design: &Design, rows: &[Row], expected: &Expected, outcome: &Outcome) -> Option<String> {
    if expected.undecided {
        let overwritten = outcome.written.keys().find(|s| rows[**s].now.is_some());
        if let Some(system) = overwritten {
            return Some(format!("{} is written over, and nobody decided", NAMES[*system]));
        }
        let others = rows.iter().zip(&design.roles).filter(|(_, role)| **role != Role::Witness).any(|(row, _)| row.now.is_some());
        let silent = others && !outcome.held && !expected.breaks.is_subset(&outcome.breaks);
        return silent.then(|| format!("silent: {outcome:?}"));
    }
    if expected.held != outcome.held {
        return Some(format!("held: {} instead of {}", outcome.held, expected.held));
    }
    let written: BTreeMap<usize, Value> = expected.written.iter().map(|s| (*s, design.value(&expected.value))).collect();
    let lost: BTreeMap<usize, Value> = expected.lost.iter().map(|(s, text)| (*s, design.value(&Some(text.clone())))).collect();
    if expected.any_value {
        // Nobody can say which value is right: only that somebody is told.
        let somebody = !outcome.written.is_empty() || !outcome.breaks.is_empty();
        let something = !expected.written.is_empty() || !expected.breaks.is_empty();
        return (something && !somebody).then(|| "silent".to_owned());
    }
    if written != outcome.written {
        return Some(format!("written: {:?} instead of {written:?}", outcome.written));
    }
    if expected.breaks != outcome.breaks {
        return Some(format!("breaks: {:?} instead of {:?}", outcome.breaks, expected.breaks));
    }
    (!lost.iter().all(|(system, value)| outcome.lost.get(system) == Some(value))).then(|| format!("overridden: {:?} instead of {lost:?}", outcome.lost))
}

fn field_case(design: &Design, rows: &[Row]) -> FieldCase {
    let side = |(system, row): (usize, &Row)| {
        let now = row.presence.is_here().then(|| row.now.clone());
        (
            system,
            Side {
                role: design.roles[system],
                now,
                base: row.base.clone(),
                linked: row.presence.is_linked(),
                edited_at: row.edited_at,
                debt: row.debt.clone(),
            },
        )
    };
    FieldCase {
        sides: rows.iter().enumerate().map(side).collect(),
        owner: design.owners(),
        rules: std::iter::once(design.rule.clone()).chain(design.then.clone()).chain([Rule::Review]).collect(),
        blank: design.blank,
        tolerance: design.tolerance,
        overwrites_drift: design.overwrites_drift,
        first_contact: design.first_contact,
        open: design.open.clone(),
    }
}

/// All lists of `length` items, each one of `choices`.
fn lists<T: Clone>(choices: &[T], length: usize) -> Vec<Vec<T>> {
    let mut all = vec![Vec::new()];
    for _ in 0..length {
        all = all.into_iter().flat_map(|list: Vec<T>| choices.iter().map(move |c| [list.as_slice(), std::slice::from_ref(c)].concat())).collect();
    }
    all
}

/// How many times the everyday amount of work is asked for.
fn factor() -> usize {
    std::env::var("TIEOUT_WORLDS").ok().and_then(|n| n.parse::<usize>().ok()).map_or(1, |worlds| (worlds / 50).max(1))
}

/// Compares one design over all its worlds; says how many there were.
fn compare_fields(design: &Design, job: &Job, worlds: &[Vec<Row>], complaints: &mut Vec<String>) -> usize {
    let (state, nows) = frames(job, design, worlds);
    let outcomes = outcomes_of_fields(&decisions_of(job, &state, &nows), design.roles.len());
    let mut mistakes = 0;
    for (record, rows) in worlds.iter().enumerate() {
        let expected = oracle::decide_field(&field_case(design, rows));
        let outcome = outcomes.get(&key_of(record)).cloned().unwrap_or_default();
        if let Some(difference) = difference(design, rows, &expected, &outcome) {
            mistakes += 1;
            let kind = format!("{difference}, {:?}", design.roles);
            if mistakes <= 2 && complaints.len() < 40 && !complaints.iter().any(|other| other.starts_with(&kind)) {
                let cells: Vec<String> = rows
                    .iter()
                    .zip(&design.roles)
                    .enumerate()
                    .map(|(s, (r, role))| format!("{} {}: {:?} -> {:?}", NAMES[s], role.word(), r.base, r.now))
                    .collect();
                complaints.push(format!("{kind}\n  {}\n  {design:?}\n  expected {expected:?}\n  got {outcome:?}", cells.join("; ")));
            }
        }
    }
    worlds.len()
}

/// Every pair of base and value of one system.
fn cells(design: &Design, bases: &[Option<Option<usize>>], nows: &[Option<usize>], edited_at: Option<i64>) -> Vec<Row> {
    let cell = |number: &Option<usize>| number.map(|n| design.spelled(n));
    bases
        .iter()
        .flat_map(|base| nows.iter().map(move |now| (base, now)))
        .map(|(base, now)| Row { presence: Presence::Untouched, now: cell(now), base: base.as_ref().map(cell), edited_at, debt: None })
        .collect()
}

fn product(choices: &[Vec<Row>]) -> Vec<Vec<Row>> {
    choices.iter().fold(vec![Vec::new()], |all, rows| {
        all.into_iter().flat_map(|list: Vec<Row>| rows.iter().map(move |row| [list.as_slice(), std::slice::from_ref(row)].concat())).collect()
    })
}

/// Every job with these roles that `check` allows: every owner, every rule, every blank policy.
fn designs(roles: &[Role]) -> Vec<Design> {
    let systems: Vec<usize> = (0..roles.len()).collect();
    let mut owners: Vec<Vec<usize>> = vec![Vec::new()];
    for first in &systems {
        owners.push(vec![*first]);
        owners.extend(systems.iter().filter(|s| *s != first).map(|second| vec![*first, *second]));
    }
    let backwards: Vec<usize> = systems.iter().rev().copied().filter(|s| roles[*s].votes()).collect();
    let rules = [
        Rule::Review,
        Rule::Latest,
        Rule::Priority(backwards.clone()),
        Rule::Max,
        Rule::Min,
        Rule::Longest,
        Rule::Union,
        Rule::SumOfChanges,
        Rule::MostRestrictive(vec!["2", "0"]),
    ];
    let mut all = Vec::new();
    for owner in &owners {
        for rule in &rules {
            // The rule of an owned field is asked only where no owner has the record.
            if !owner.is_empty() && *rule != Rule::Max {
                continue;
            }
            for blank in [None, Some(Blank::Ignore), Some(Blank::Propagate), Some(Blank::Conflict)] {
                let design = Design { owner: owner.clone(), rule: rule.clone(), blank, ..Design::of(roles) };
                if *rule == Rule::MostRestrictive(vec!["2", "0"]) {
                    all.push(Design { rule: Rule::Latest, then: Some(rule.clone()), ..design.clone() });
                }
                all.push(design);
            }
        }
    }
    all
}

const BASES: [Option<Option<usize>>; 5] = [None, Some(None), Some(Some(0)), Some(Some(1)), Some(Some(2))];
const NOWS: [Option<usize>; 4] = [None, Some(0), Some(1), Some(2)];

/// Edit times of three systems, in seconds: far apart, too close, one unknown.
const TIMES: [[Option<i64>; 3]; 3] =
    [[Some(10_000), Some(20_000), Some(30_000)], [Some(10_000), Some(10_100), Some(9_000)], [Some(10_000), None, Some(30_000)]];

fn report(what: &str, worlds: usize, least: usize, complaints: &[String]) {
    println!("{what}: {worlds} worlds");
    assert!(complaints.is_empty(), "{} of the complaints about {what}:\n{}", complaints.len(), complaints.join("\n\n"));
    assert!(worlds >= least, "{what}: only {worlds} worlds were looked at");
}

#[test]
fn two_systems_decide_every_field_as_the_tables_say() {
    let (mut worlds, mut complaints) = (0, Vec::new());
    for roles in lists(&ROLES, 2) {
        for design in designs(&roles) {
            for variant in 0..5 {
                let design = match variant {
                    1 => Design { overwrites_drift: false, ..design.clone() },
                    2 => Design { tolerance: 1, ..design.clone() },
                    3 => Design { first_contact: FirstContact::FillBlanks, ..design.clone() },
                    4 => Design { first_contact: FirstContact::Review, ..design.clone() },
                    _ => design.clone(),
                };
                let Some(job) = design.job() else { continue };
                for times in &TIMES[..if design.rule == Rule::Latest { 3 } else { 1 }] {
                    let choices: Vec<Vec<Row>> = (0..2).map(|s| cells(&design, &BASES, &NOWS, times[s])).collect();
                    worlds += compare_fields(&design, &job, &product(&choices), &mut complaints);
                }
            }
        }
    }
    report("two systems", worlds, 100_000, &complaints);
}

#[test]
fn three_systems_decide_every_field_as_the_tables_say() {
    let (mut worlds, mut complaints) = (0, Vec::new());
    let mut turn = 0;
    let step = 12_usize.checked_div(factor()).unwrap_or(1).max(1);
    for roles in lists(&ROLES, 3) {
        for design in designs(&roles) {
            turn += 1;
            if turn % step != 0 {
                continue;
            }
            let Some(job) = design.job() else { continue };
            let times = &TIMES[turn % 3];
            let choices: Vec<Vec<Row>> = (0..3).map(|s| cells(&design, &BASES[..4], &NOWS, times[s])).collect();
            worlds += compare_fields(&design, &job, &product(&choices), &mut complaints);
        }
    }
    report("three systems", worlds, 100_000, &complaints);
}

#[test]
fn what_is_owed_is_sent_again_or_contends_as_the_tables_say() {
    let (mut worlds, mut complaints) = (0, Vec::new());
    for systems in [2, 3] {
        for roles in lists(&[Role::Source, Role::Peer, Role::Target], systems) {
            let voters: Vec<usize> = (0..systems).filter(|s| roles[*s].votes()).collect();
            let backwards: Vec<usize> = voters.iter().rev().copied().collect();
            for rule in [Rule::Review, Rule::Priority(backwards), Rule::Max, Rule::SumOfChanges, Rule::Latest] {
                let sources: Vec<usize> = voters.iter().copied().filter(|s| roles[*s] == Role::Source).collect();
                let owner = if sources.len() > 1 { sources.clone() } else { Vec::new() };
                // An owned value came from its owner.
                for from in voters.iter().filter(|s| sources.first().is_none_or(|source| source == *s)) {
                    for debtors in lists(&[None, Some(Debt::Owed), Some(Debt::Unknown), Some(Debt::Normalises("2".to_owned()))], systems) {
                        let owes = |s: usize| debtors[s].is_some();
                        if owes(*from) || !(0..systems).any(owes) || (0..systems).any(|s| owes(s) && !roles[s].is_written()) {
                            continue;
                        }
                        let open = Some((Some("1".to_owned()), vec![*from]));
                        let design = Design { owner: owner.clone(), rule: rule.clone(), open, ..Design::of(&roles) };
                        let Some(job) = design.job() else { continue };
                        let side = |s: usize| {
                            // Where the value came from it stands; what a system makes of it is its base.
                            let bases = match &debtors[s] {
                                None if s == *from => vec![Some(Some(1))],
                                Some(Debt::Normalises(_)) => vec![Some(Some(2))],
                                _ => BASES[2..].to_vec(),
                            };
                            let rows = cells(&design, &bases, &NOWS, TIMES[0][s]);
                            rows.into_iter().map(|row| Row { debt: debtors[s].clone(), ..row }).collect::<Vec<Row>>()
                        };
                        let choices: Vec<Vec<Row>> = (0..systems).map(side).collect();
                        worlds += compare_fields(&design, &job, &product(&choices), &mut complaints);
                    }
                }
            }
        }
    }
    report("debts", worlds, 100_000, &complaints);
}

/// What one system has of a record, by where it is. An edit sets 2, or clears the field.
fn row_at(design: &Design, presence: Presence, clears: bool) -> Row {
    let one = Some(design.spelled(1));
    let edited = if clears { None } else { Some(design.spelled(2)) };
    let now = if presence == Presence::Edited { edited } else { one.clone() };
    let base = presence.is_linked().then_some(one);
    Row { presence, now, base, edited_at: Some(10_000), debt: None }
}

/// Whether a person must decide the field before the record can be created anywhere.
fn has_held_field(design: &Design, rows: &[Row]) -> bool {
    let votes = |system: usize| design.roles[system].votes();
    let any = |presence: Presence| rows.iter().enumerate().any(|(s, row)| row.presence == presence && votes(s));
    // A system that gets the record back has no say in what it gets.
    let comes_back = !any(Presence::Gone) || any(Presence::Edited) || design.policy == Policy::Recreate;
    let mut case = field_case(design, rows);
    for (system, row) in rows.iter().enumerate() {
        if row.presence == Presence::Gone
            && comes_back
            && let Some(side) = case.sides.get_mut(&system)
        {
            side.linked = false;
            side.base = None;
        }
    }
    oracle::decide_field(&case).held
}

fn compare_records(design: &Design, job: &Job, worlds: &[Vec<Row>], complaints: &mut Vec<String>) -> usize {
    let (state, nows) = frames(job, design, worlds);
    let decisions = decisions_of(job, &state, &nows);
    let outcomes = outcomes_of_fields(&decisions, design.roles.len());
    let mut deeds: BTreeMap<String, BTreeMap<usize, Deed>> = BTreeMap::new();
    for change in &decisions.plan.changes {
        let deed = match change.action {
            Action::Create => Deed::Create,
            Action::Delete => Deed::Delete,
            Action::Archive => Deed::Archive,
            Action::Update => continue,
        };
        let system = NAMES.iter().position(|n| *n == change.system).unwrap();
        assert!(deeds.entry(change.key.clone()).or_default().insert(system, deed).is_none(), "one deed a record and system: {change:?}");
    }
    for (record, rows) in worlds.iter().enumerate() {
        let case = RecordCase {
            sides: rows.iter().enumerate().map(|(s, row)| (s, (design.roles[s], row.presence))).collect(),
            policy: design.policy,
            has_held_field: has_held_field(design, rows),
            never_create: design.never_create.clone(),
            never_delete: design.never_delete.clone(),
        };
        let expected = oracle::decide_record(&case);
        let key = key_of(record);
        let done = deeds.get(&key).cloned().unwrap_or_default();
        let is_silent = rows.iter().zip(&design.roles).any(|(row, role)| row.presence == Presence::Silent && *role != Role::Witness);
        let is_break = outcomes.get(&key).is_some_and(|o| o.other_breaks > 0);
        if done != expected.deeds || (!is_silent && is_break != expected.is_break) {
            let kind = format!("{:?} {:?}", design.roles, design.policy);
            if complaints.len() < 60 && complaints.iter().filter(|c| c.starts_with(&kind)).count() < 3 {
                let places: Vec<String> = rows.iter().zip(&design.roles).map(|(row, role)| format!("{} {:?}", role.word(), row.presence)).collect();
                complaints.push(format!("{kind}\n  {}\n  {case:?}\n  expected {expected:?}\n  got {done:?}, break {is_break}", places.join(", ")));
            }
        }
    }
    worlds.len()
}

/// Whether a run can leave this behind. Not: a row that nobody knows beside a record of the same key that is nowhere, which
/// are two records; nor a witness or source that we would have written.
fn is_one_record(presences: &[Presence], roles: &[Role]) -> bool {
    let any = |wanted: &dyn Fn(Presence, Role) -> bool| presences.iter().zip(roles).any(|(p, role)| wanted(*p, *role));
    let new = any(&|p, _| p == Presence::New);
    let here = any(&|p, role| matches!(p, Presence::Untouched | Presence::Edited) && role != Role::Witness);
    let known = any(&|p, _| p.is_linked() || p == Presence::Ended);
    let written = any(&|p, role| matches!((p, role), (Presence::Awaited, Role::Source | Role::Witness) | (Presence::Ended, Role::Witness)));
    let two_records = new && known && !here;
    !written && !two_records
}

#[test]
fn every_record_is_created_deleted_and_kept_as_the_tables_say() {
    const PRESENCES: [Presence; 8] =
        [Presence::Untouched, Presence::Edited, Presence::New, Presence::Gone, Presence::Awaited, Presence::Never, Presence::Ended, Presence::Silent];
    let (mut worlds, mut complaints) = (0, Vec::new());
    for systems in [2, 3] {
        for roles in lists(&ROLES, systems) {
            let presences: Vec<Vec<Presence>> = lists(&PRESENCES, systems).into_iter().filter(|p| is_one_record(p, &roles)).collect();
            for policy in [Policy::Report, Policy::Propagate, Policy::Archive, Policy::Recreate] {
                for refused in 0..=systems {
                    let sources: Vec<usize> = (0..systems).filter(|s| roles[*s] == Role::Source).collect();
                    let owner = if sources.len() > 1 { sources } else { Vec::new() };
                    let mut design = Design { policy, owner, rule: Rule::Max, ..Design::of(&roles) };
                    if refused < systems {
                        design.never_create.insert(refused);
                        design.never_delete.insert(refused);
                    }
                    let Some(job) = design.job() else { continue };
                    for clears in [false, true] {
                        let rows: Vec<Vec<Row>> = presences.iter().map(|world| world.iter().map(|p| row_at(&design, *p, clears)).collect()).collect();
                        worlds += compare_records(&design, &job, &rows, &mut complaints);
                    }
                }
            }
        }
    }
    report("records", worlds, 100_000, &complaints);
}

// ── nights: real runs over tables in memory ──────────────────────────────────────────────────────────────────────────────

/// A job over tables in memory, with a root and a clock of its own.
struct Place {
    root: tempfile::TempDir,
    job: Job,
    tables: Vec<Handle>,
    clock: StdCell<i64>,
    /// A system whose clock is wrong, and by how many seconds.
    skew: Option<(usize, i64)>,
    rows_made: StdCell<u32>,
}

/// The columns of every table. `note` is none of the job's business.
const COLUMNS: [&str; 6] = ["id", "k", "v", "w", "t", "note"];

impl Place {
    /// The job of this text, in which `{a}`, `{b}`, `{c}` stand for the tables, which are empty and have ids.
    fn new(text: &str) -> Place {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let tables: Vec<String> = NAMES.iter().map(|name| format!("law-{}-{number}-{name}", std::process::id())).collect();
        let mut text = text.to_owned();
        for (name, table) in NAMES.iter().zip(&tables) {
            text = text.replace(&format!("{{{name}}}"), table);
        }
        let job = checked(&text);
        let shared = Path::new("/dev/shm");
        let root = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
        let tables: Vec<Handle> = tables.iter().take(job.systems.len()).map(|name| memory::table(name)).collect();
        for table in &tables {
            table.set_columns(&COLUMNS).set_id("id");
        }
        Place { root: root.unwrap(), job, tables, clock: StdCell::new(1_775_000_000), skew: None, rows_made: StdCell::new(0) }
    }

    fn system(&self, name: &str) -> usize {
        NAMES.iter().position(|n| *n == name).unwrap()
    }

    fn table(&self, name: &str) -> &Handle {
        &self.tables[self.system(name)]
    }

    /// A person adds a row.
    fn insert(&self, system: &str, key: &str, v: Option<&str>) {
        let t = self.time_in(system);
        let (key, v) = (key.to_owned(), v.map(str::to_owned));
        let note = self.next_note();
        self.table(system).edit(move |rows| {
            let id = rows.iter().filter_map(|row| row.get("id")?.as_ref()?.parse::<u64>().ok()).max().unwrap_or(100) + 1;
            let cells = [("id", Some(id.to_string())), ("k", Some(key)), ("v", v), ("w", Some("w".to_owned())), ("t", Some(t)), ("note", Some(note))];
            rows.push(cells.into_iter().map(|(column, text)| (column.to_owned(), text)).collect());
        });
    }

    /// What tells a row that a person makes from every other.
    fn next_note(&self) -> String {
        self.rows_made.set(self.rows_made.get() + 1);
        format!("row {} of all", self.rows_made.get())
    }

    /// A person sets a cell of the row with this key.
    fn set(&self, system: &str, key: &str, column: &str, text: Option<&str>) {
        self.table(system).edit(edit_of(key, column, text, &self.time_in(system)));
    }

    /// A person removes the row with this key.
    fn delete(&self, system: &str, key: &str) {
        let key = key.to_owned();
        self.table(system).edit(move |rows| rows.retain(|row| row["k"].as_deref() != Some(&key)));
    }

    /// The cell `v` of each row with this key.
    fn values(&self, system: &str, key: &str) -> Vec<Option<String>> {
        rows_of(self.table(system)).iter().filter(|row| row["k"].as_deref() == Some(key)).map(|row| row["v"].clone()).collect()
    }

    /// What every system holds in `v` for a key, `-` where it has no row, `null` where it is empty.
    fn shown(&self, key: &str) -> String {
        let of = |name: &&str| {
            let values = self.values(name, key);
            let texts: Vec<String> = values.iter().map(|v| v.clone().unwrap_or_else(|| "null".to_owned())).collect();
            if texts.is_empty() { "-".to_owned() } else { texts.join("+") }
        };
        NAMES[..self.tables.len()].iter().map(of).collect::<Vec<_>>().join(" ")
    }

    /// What the clock of a system shows.
    fn time_in(&self, system: &str) -> String {
        let skew = self.skew.filter(|(skewed, _)| *skewed == self.system(system)).map_or(0, |(_, seconds)| seconds);
        Timestamp::from_second(self.clock.get() + skew).unwrap().to_string()
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.clock.get()).unwrap()
    }

    /// One run, a day after the last.
    fn ask(&self, request: &Request) -> Finished {
        self.ask_until(request, usize::MAX).unwrap()
    }

    /// One run that is cut off as its `nth` step begins, counted from 1, as a killed process is: nothing that comes after is
    /// done. A run that has fewer steps comes to its end.
    fn ask_until(&self, request: &Request, nth: usize) -> Option<Finished> {
        self.clock.set(self.clock.get() + 86_400);
        let settings = Settings::default();
        let now = || self.now();
        let steps = StdCell::new(0);
        let progress = |_: &str| {
            steps.set(steps.get() + 1);
            if steps.get() == nth {
                std::panic::resume_unwind(Box::new("cut off"));
            }
        };
        let world = World { root: self.root.path(), settings: &settings, now: &now, sleep: &|_| {}, progress: &progress, cancelled: &|| false };
        // In half of the worlds records are looked into one at a time where all are: nothing else comes of it.
        let one_by_one = self.job.source.digest.bytes().next().is_some_and(|first| first % 2 == 0);
        let request = &Request { stretch_rows: one_by_one.then_some(1), ..request.clone() };
        let finished = std::panic::catch_unwind(AssertUnwindSafe(|| run::run(&world, &self.job, request).unwrap()));
        match finished {
            Ok(finished) => {
                assert!(finished.afterthoughts.is_empty(), "{:?}", finished.afterthoughts);
                for identity in &finished.report.identities {
                    assert!(identity.holds, "L19: the arithmetic holds: {identity:?}");
                }
                Some(finished)
            }
            Err(reason) if reason.downcast_ref::<&str>() == Some(&"cut off") => None,
            Err(reason) => std::panic::resume_unwind(reason),
        }
    }

    /// An ordinary night. It must come to its end.
    fn night(&self) -> Report {
        let report = self.ask(&Request { first_contact: true, ..Request::default() }).report;
        assert!(report.verdict != Verdict::Failed || was_barred(&report), "{} {:?}", report.sentence, report.stopped_by);
        report
    }

    /// Nights without edits until nothing is planned; that must come soon, and the night after it must be as quiet.
    fn until_quiet(&self) -> Report {
        for _ in 0..6 {
            let report = self.night();
            if report.changes.is_empty() {
                let again = self.night();
                assert!(again.changes.is_empty(), "quiet stays quiet: {}", told(&again));
                let known: BTreeSet<&str> = report.breaks.iter().map(|b| b.id.as_str()).collect();
                let new: Vec<_> = again.breaks.iter().filter(|b| !known.contains(b.id.as_str())).collect();
                assert!(new.is_empty(), "no break is new: {new:?}");
                return again;
            }
        }
        let last = self.night();
        panic!("it never becomes quiet: {}\n{}", told(&last), self.all());
    }

    /// All rows of all tables, for a message.
    fn all(&self) -> String {
        let mut text = String::new();
        for (name, table) in NAMES.iter().zip(&self.tables) {
            for row in rows_of(table) {
                let cells: Vec<String> = ["id", "k", "v", "w"].iter().map(|c| row[*c].clone().unwrap_or_else(|| "null".to_owned())).collect();
                text += &format!("  {name}: {}\n", cells.join(" | "));
            }
        }
        text
    }

    fn state_folder(&self) -> PathBuf {
        self.root.path().join("state").join(&self.job.name)
    }
}

/// Whether a run came to its end, and failed because a system could not be written.
fn was_barred(report: &Report) -> bool {
    report.systems.iter().any(|system| !system.settled.is_empty()) && report.sentence.contains("; nothing was written to `")
}

/// All rows of a table, with a null where a created row has no cell.
fn rows_of(table: &Handle) -> Vec<MemoryRow> {
    let whole = |row: MemoryRow| COLUMNS.iter().map(|column| ((*column).to_owned(), row.get(*column).cloned().flatten())).collect();
    table.rows().into_iter().map(whole).collect()
}

fn checked(text: &str) -> Job {
    let file = JobFile { path: "jobs/laws.toml".to_owned(), text: text.to_owned() };
    let jobs = job::check(&[file], &Settings::default());
    let mut jobs = jobs.unwrap_or_else(|mistakes| panic!("{}\n{text}", mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")));
    jobs.pop().unwrap()
}

fn edit_of(key: &str, column: &str, text: Option<&str>, t: &str) -> impl FnOnce(&mut Vec<MemoryRow>) + Send + 'static {
    let (key, column, text, t) = (key.to_owned(), column.to_owned(), text.map(str::to_owned), t.to_owned());
    move |rows| {
        for row in rows.iter_mut().filter(|row| row["k"].as_deref() == Some(&key)) {
            row.insert(column.clone(), text.clone());
            row.insert("t".to_owned(), Some(t.clone()));
        }
    }
}

/// A report in a few lines, for a message.
fn told(report: &Report) -> String {
    let mut text = format!("{} {}\n", report.verdict.word(), report.sentence);
    for change in &report.changes {
        let cells: Vec<String> = change.cells.iter().map(|c| format!("{} {}→{}", c.field, c.before, c.after)).collect();
        text += &format!(
            "  {} {} {}: {} ({}) {:?} {}\n",
            change.system,
            change.action,
            change.key,
            cells.join(", "),
            change.reason,
            change.settled,
            change.detail.clone().unwrap_or_default()
        );
    }
    for open in &report.breaks {
        text += &format!("  break {} {} {:?} {:?}: {}\n", open.open.kind, open.open.key, open.open.field, open.open.system, open.open.why);
    }
    text
}

/// Peers a, b and perhaps c with `v` decided by `rule`, all gates off.
fn peers(systems: usize, rule: &str) -> String {
    let roles = vec!["peer"; systems];
    job_text(&roles, rule, "")
}

fn job_text(roles: &[&str], rule: &str, more: &str) -> String {
    let columns = |column: &str| (0..roles.len()).map(|s| format!("{} = \"{column}\"", NAMES[s])).collect::<Vec<_>>().join(", ");
    let mut text = "name = \"laws\"\nkey = [\"k\"]\n".to_owned();
    for (name, role) in NAMES.iter().zip(roles) {
        text += &format!("[systems.{name}]\nkind = \"memory\"\ntable = \"{{{name}}}\"\nrole = \"{role}\"\nid = \"id\"\nedited_at = \"t\"\n");
    }
    let sources: Vec<String> = NAMES.iter().zip(roles).filter(|(_, role)| **role == "source").map(|(name, _)| format!("\"{name}\"")).collect();
    let key_rule = if sources.is_empty() { "merge = \"review\"".to_owned() } else { format!("owner = [{}]", sources.join(", ")) };
    text += &format!("[fields.k]\ntype = \"text\"\ncolumns = {{ {} }}\n{key_rule}\n", columns("k"));
    text += &format!("[fields.v]\ntype = \"integer\"\ncolumns = {{ {} }}\n{rule}\n", columns("v"));
    text + more + GATES_OFF
}

const GATES_OFF: &str =
    "\n[gates]\nempty = \"off\"\ndeletes = \"off\"\nupdates = \"off\"\nall-changed = \"off\"\nshrink = \"off\"\ngrowth = \"off\"\ntime-travel = \"off\"\n";

// ── the twelve counterexamples ───────────────────────────────────────────────────────────────────────────────────────────

/// 1. Our own 1 in b must not beat the 3 that c is set to while a still refuses.
#[test]
fn a_value_that_we_wrote_does_not_beat_a_later_edit() {
    let place = Place::new(&peers(3, "merge = { priority = [\"a\", \"b\", \"c\"] }"));
    NAMES.iter().for_each(|system| place.insert(system, "k", Some("0")));
    place.night();
    place.set("c", "k", "v", Some("1"));
    place.table("a").reject("k", "locked");
    let report = place.night();
    assert_eq!(place.shown("k"), "0 1 1");
    assert!(!report.breaks.is_empty(), "what a refuses is told");
    place.set("c", "k", "v", Some("3"));
    place.night();
    assert_eq!(place.shown("k"), "0 3 3");
    place.table("a").reject_nothing();
    place.until_quiet();
    assert_eq!(place.shown("k"), "3 3 3");
}

/// 2. c took its edit back: the 1 that we wrote to b meanwhile must not return to c.
#[test]
fn an_edit_that_was_taken_back_does_not_return() {
    let place = Place::new(&peers(3, "merge = { priority = [\"a\", \"b\", \"c\"] }"));
    NAMES.iter().for_each(|system| place.insert(system, "k", Some("0")));
    place.night();
    place.set("c", "k", "v", Some("1"));
    place.table("a").reject("k", "locked");
    place.night();
    place.set("c", "k", "v", Some("0"));
    place.night();
    assert_eq!(place.shown("k"), "0 0 0");
    place.table("a").reject_nothing();
    let report = place.until_quiet();
    assert_eq!(place.shown("k"), "0 0 0");
    assert!(report.breaks.is_empty(), "{}", told(&report));
}

/// 3. a was deleted after we wrote a's value to b: our own write is no edit that would bring a back.
#[test]
fn our_own_write_is_no_edit_that_beats_a_delete() {
    let place = Place::new(&peers(3, "merge = { priority = [\"a\", \"b\", \"c\"] }"));
    NAMES.iter().for_each(|system| place.insert(system, "k", Some("0")));
    place.night();
    place.set("a", "k", "v", Some("5"));
    place.table("c").reject("k", "locked");
    place.night();
    assert_eq!(place.shown("k"), "5 5 0");
    place.delete("a", "k");
    let report = place.night();
    assert_eq!(place.values("a", "k").len(), 0, "{}", told(&report));
    assert!(report.breaks.iter().any(|b| b.open.kind == BreakKind::Missing && b.open.system.as_deref() == Some("a")), "{}", told(&report));
    place.table("c").reject_nothing();
    place.until_quiet();
    assert_eq!(place.values("a", "k").len(), 0);
}

/// 4. A person types 7 into a between our write and the read-back: that is an edit, and not what a makes of our 1.
#[test]
fn an_edit_before_the_read_back_is_no_normalisation() {
    for rule in ["merge = { priority = [\"a\", \"b\"] }", "merge = { priority = [\"b\", \"a\"] }", "merge = \"review\""] {
        for answers in [true, false] {
            let place = Place::new(&peers(2, rule));
            ["a", "b"].iter().for_each(|system| place.insert(system, "k", Some("0")));
            place.night();
            place.set("b", "k", "v", Some("1"));
            place.table("a").set_answers(answers).edit_before(Call::ReadBack, edit_of("k", "v", Some("7"), &place.now().to_string()));
            let report = place.night();
            assert_eq!(place.shown("k"), "7 1");
            assert!(!report.breaks.is_empty(), "{}", told(&report));
            let report = place.until_quiet();
            let decided = match rule.contains("review") {
                true => "7 1",
                false if rule.contains("[\"a\"") => "7 7",
                false => "1 1",
            };
            assert_eq!(place.shown("k"), decided, "{rule}: {}", told(&report));
            assert_eq!(report.breaks.is_empty(), decided != "7 1", "{rule}: {}", told(&report));
        }
    }
}

/// 5. A target keeps three letters and holds `abc` already; the owner has `abcdef`: at most two writes, then quiet.
#[test]
fn a_target_that_truncates_is_written_twice_at_most() {
    for answers in [true, false] {
        let text = job_text(&["peer", "target"], "", "").replace("type = \"integer\"", "type = \"text\"\nowner = \"a\"");
        let place = Place::new(&text);
        place.table("b").set_answers(answers).normalise(|column, text| if column == "v" { text.chars().take(3).collect() } else { text.to_owned() });
        place.insert("a", "k", Some("abcdef"));
        place.insert("b", "k", Some("abc"));
        let writes: usize = (0..6).map(|_| place.night().changes.len()).sum();
        assert!((1..=2).contains(&writes), "{writes} writes, answers {answers}");
        let report = place.until_quiet();
        assert!(report.breaks.is_empty(), "{}", told(&report));
        assert_eq!(place.shown("k"), "abcdef abc");
        // A new value starts anew, and ends as soon.
        place.set("a", "k", "v", Some("xyzuvw"));
        place.until_quiet();
        assert_eq!(place.shown("k"), "xyzuvw xyz");
    }
}

/// 6. A quarantined row is there: no second copy. A key that is changed to a taken one deletes nothing healthy.
#[test]
fn a_row_that_cannot_be_read_is_there_and_a_taken_key_deletes_nothing() {
    for policy in ["report", "propagate", "recreate"] {
        let more = format!("[deletes]\npolicy = \"{policy}\"\n");
        let place = Place::new(&job_text(&["peer", "peer"], "merge = \"max\"", &more));
        for key in ["k1", "k2"] {
            ["a", "b"].iter().for_each(|system| place.insert(system, key, Some("1")));
        }
        place.night();
        place.set("b", "k1", "v", Some("twelve"));
        place.set("a", "k1", "v", Some("5"));
        let report = place.night();
        assert!(report.changes.is_empty(), "{policy}: {}", told(&report));
        place.set("b", "k1", "v", Some("1"));
        place.until_quiet();
        assert_eq!(place.shown("k1"), "5 5");
        place.set("a", "k1", "k", Some("k2"));
        for _ in 0..3 {
            let report = place.night();
            assert!(report.changes.is_empty(), "{policy}: {}", told(&report));
            assert!(report.breaks.iter().any(|b| b.open.kind == BreakKind::Duplicate), "{policy}: {}", told(&report));
        }
        assert_eq!((place.table("a").rows().len(), place.table("b").rows().len()), (2, 2));
    }
}

/// 7. A create that the next pulls do not show yet: the original is not deleted, and no second copy is made.
#[test]
fn a_create_that_does_not_show_yet_deletes_nothing() {
    for policy in ["report", "propagate", "archive", "recreate"] {
        let archive = if policy == "archive" { "archive = { field = \"v\", value = 9 }\n" } else { "" };
        let more = format!("[deletes]\npolicy = \"{policy}\"\n{archive}");
        for answers in [true, false] {
            let place = Place::new(&job_text(&["peer", "peer"], "merge = \"max\"", &more));
            ["a", "b"].iter().for_each(|system| place.insert(system, "old", Some("1")));
            place.night();
            place.insert("a", "new", Some("1"));
            // The read-back and the next two pulls do not show it.
            place.table("b").set_answers(answers).lag(3);
            for _ in 0..3 {
                let report = place.night();
                assert_eq!(place.values("a", "new").len(), 1, "{policy}: {}", told(&report));
                assert_eq!(place.values("b", "new").len(), 1, "{policy}: {}", told(&report));
            }
            let report = place.until_quiet();
            assert_eq!(place.shown("new"), "1 1");
            assert!(report.breaks.is_empty(), "{policy}: {}", told(&report));
        }
    }
}

/// 7b. What we sent to a row that shows late is our own, and does not beat the edit that came meanwhile.
#[test]
fn a_create_that_shows_late_does_not_beat_a_later_edit() {
    for rule in ["merge = { priority = [\"b\", \"a\"] }", "merge = \"review\"", "merge = \"min\""] {
        let place = Place::new(&peers(2, rule));
        ["a", "b"].iter().for_each(|system| place.insert(system, "old", Some("1")));
        place.night();
        place.insert("a", "k", Some("1"));
        place.table("b").lag(2);
        place.night();
        place.set("a", "k", "v", Some("5"));
        place.night();
        let report = place.until_quiet();
        assert_eq!(place.shown("k"), "5 5", "{rule}: {}", told(&report));
        assert!(report.breaks.is_empty(), "{rule}: {}", told(&report));
    }
}

/// 8. A table loaded again with new ids and the same keys: no duplicates, no deletes.
#[test]
fn a_reloaded_table_is_the_same_table() {
    for policy in ["report", "propagate", "recreate"] {
        let more = format!("[deletes]\npolicy = \"{policy}\"\n");
        let place = Place::new(&job_text(&["peer", "peer", "target"], "merge = \"max\"", &more));
        for key in ["k1", "k2", "k3"] {
            NAMES.iter().for_each(|system| place.insert(system, key, Some("1")));
        }
        place.night();
        place.table("b").edit(|rows| {
            rows.reverse();
            rows.iter_mut().enumerate().for_each(|(position, row)| {
                row.insert("id".to_owned(), Some(format!("{}", 900 + position)));
            });
        });
        let report = place.night();
        assert!(report.changes.is_empty() && report.breaks.is_empty(), "{policy}: {}", told(&report));
        assert_eq!(report.links.len(), 3, "each renumbered row is listed");
        place.set("b", "k2", "v", Some("4"));
        place.until_quiet();
        assert_eq!(place.shown("k2"), "4 4 4");
    }
}

/// 9. Both add 1: that is 2, also when the run is cut off at any step, or a write fails after any of its changes.
#[test]
fn two_additions_are_two_also_after_a_crash() {
    for nth in 1.. {
        let place = Place::new(&peers(2, "merge = \"sum-of-changes\""));
        ["a", "b"].iter().for_each(|system| place.insert(system, "k", Some("10")));
        place.night();
        ["a", "b"].iter().for_each(|system| place.set(system, "k", "v", Some("11")));
        let was_cut_off = place.ask_until(&Request::default(), nth).is_none();
        let report = place.until_quiet();
        assert_eq!(place.shown("k"), "12 12", "cut off at step {nth}: {}", told(&report));
        assert!(report.breaks.is_empty(), "cut off at step {nth}: {}", told(&report));
        if !was_cut_off {
            assert!(nth > 6, "a run has more than {nth} steps");
            break;
        }
    }
    for system in ["a", "b"] {
        for effect in [Effect::Nothing, Effect::First(0), Effect::First(1), Effect::Everything] {
            let place = Place::new(&peers(2, "merge = \"sum-of-changes\""));
            ["a", "b"].iter().for_each(|system| place.insert(system, "k", Some("10")));
            place.night();
            ["a", "b"].iter().for_each(|system| place.set(system, "k", "v", Some("11")));
            place.table(system).fail(Call::Write, 1, effect);
            place.night();
            let report = place.until_quiet();
            assert_eq!(place.shown("k"), "12 12", "{system} fails after {effect:?}: {}", told(&report));
        }
    }
}

/// 10. Tolerance 1: each edit is within it of the base, and the two are not of each other: seen, not silent.
#[test]
fn two_edits_within_tolerance_of_the_base_are_seen() {
    for (rule, after) in [("merge = \"max\"", "11 11"), ("merge = \"review\"", "11 9"), ("merge = { priority = [\"b\", \"a\"] }", "9 9")] {
        let place = Place::new(&peers(2, &format!("{rule}\ntolerance = \"1\"")));
        ["a", "b"].iter().for_each(|system| place.insert(system, "k", Some("10")));
        place.night();
        place.set("a", "k", "v", Some("11"));
        place.set("b", "k", "v", Some("9"));
        place.night();
        let report = place.until_quiet();
        assert_eq!(place.shown("k"), after);
        assert_eq!(report.breaks.is_empty(), after != "11 9", "{}", told(&report));
    }
    // Creep: steps within the tolerance add up until they are seen.
    let place = Place::new(&peers(2, "merge = \"max\"\ntolerance = \"1\""));
    ["a", "b"].iter().for_each(|system| place.insert(system, "k", Some("10")));
    place.night();
    for step in ["11", "12", "13"] {
        place.set("a", "k", "v", Some(step));
        place.night();
        let (a, b) = (number_of(&place, "a"), number_of(&place, "b"));
        assert!(a - b <= 1, "{}", place.shown("k"));
    }
}

fn number_of(place: &Place, system: &str) -> i64 {
    place.values(system, "k")[0].as_ref().unwrap().parse().unwrap()
}

/// 11. An owner that changes every night is followed every night.
#[test]
fn an_owner_that_changes_every_night_is_followed() {
    let place = Place::new(&job_text(&["peer", "peer", "target"], "owner = \"a\"", ""));
    NAMES.iter().for_each(|system| place.insert(system, "k", Some("0")));
    place.night();
    for night in 1..=8 {
        let value = night.to_string();
        place.set("a", "k", "v", Some(&value));
        let report = place.night();
        assert!(report.breaks.is_empty(), "{}", told(&report));
        assert_eq!(place.shown("k"), format!("{value} {value} {value}"));
    }
}

/// 12. A field gets a column in c on a running job, while a edits it: nothing vanishes silently.
#[test]
fn a_new_column_loses_neither_the_old_nor_the_new_value() {
    for (rule, decided) in [("merge = \"review\"", None), ("merge = { priority = [\"a\", \"b\", \"c\"] }", Some("7")), ("merge = \"min\"", Some("3"))] {
        for edited in [false, true] {
            let text = peers(3, rule);
            let narrow = text.replace(
                "[fields.v]\ntype = \"integer\"\ncolumns = { a = \"v\", b = \"v\", c = \"v\" }",
                "[fields.v]\ntype = \"integer\"\ncolumns = { a = \"v\", b = \"v\" }",
            );
            let narrow = narrow.replace("\"b\", \"c\"] }", "\"b\"] }");
            let mut place = Place::new(&narrow);
            ["a", "b"].iter().for_each(|system| place.insert(system, "k", Some("7")));
            place.insert("c", "k", Some("3"));
            place.night();
            assert_eq!(place.shown("k"), "7 7 3");
            let wide = checked(&text.replace("{a}", "x").replace("{b}", "y").replace("{c}", "z"));
            place.job.fields = wide.fields;
            place.job.source.digest = wide.source.digest;
            if edited {
                place.set("a", "k", "v", Some("8"));
            }
            let allowed = vec![Allowed { gate: Gate::Job, system: None }];
            let report = place.ask(&Request { allowed, ..Request::default() }).report;
            let (old, kept) = if edited { ("8", "8 7 3") } else { ("7", "7 7 3") };
            let shown = place.shown("k");
            match decided {
                None => {
                    assert_eq!(shown, kept, "{}", told(&report));
                    assert!(report.breaks.iter().any(|b| b.open.kind == BreakKind::Conflict), "{}", told(&report));
                }
                Some("3") => assert_eq!(shown, "3 3 3", "{}", told(&report)),
                Some(_) => assert_eq!(shown, format!("{old} {old} {old}"), "{}", told(&report)),
            }
            if decided.is_some() {
                assert!(!report.conflicts.is_empty(), "what lost is listed: {}", told(&report));
            }
        }
    }
}

// ── random worlds ────────────────────────────────────────────────────────────────────────────────────────────────────────

/// A random job: `v` is decided as it says, `w` by the systems' order.
#[derive(Clone, Debug)]
struct RandomJob {
    roles: Vec<Role>,
    has_id: Vec<bool>,
    rule: Rule,
    owner: Option<usize>,
    blank: Option<Blank>,
    tolerance: i64,
    overwrites_drift: bool,
    policy: Policy,
    never: Option<(usize, &'static str)>,
    /// A target that keeps no number above [`CAP`].
    caps: Option<usize>,
    /// Whether no system takes a key twice.
    unique: bool,
    /// Whether the systems ask, before they write a cell, if it still holds what it held when it was pulled.
    compares: bool,
    /// A system whose clock is wrong, and by how many seconds.
    skew: Option<(usize, i64)>,
}

/// The greatest number that a target which caps keeps.
const CAP: i64 = 125;

/// What a system that caps stores for a text.
fn capped(column: &str, text: &str) -> String {
    match text.parse::<i64>() {
        Ok(number) if column == "v" && number > CAP => CAP.to_string(),
        _ => text.to_owned(),
    }
}

impl RandomJob {
    fn text(&self) -> String {
        let sources: Vec<usize> = (0..self.roles.len()).filter(|s| self.roles[*s] == Role::Source).collect();
        let owner = match (self.owner, sources.len()) {
            (Some(owner), 0) => vec![owner],
            (_, 2..) => sources,
            _ => Vec::new(),
        };
        let design = Design {
            owner,
            rule: self.rule.clone(),
            blank: self.blank,
            tolerance: self.tolerance,
            overwrites_drift: self.overwrites_drift,
            policy: self.policy,
            ..Design::of(&self.roles)
        };
        let mut text = design.toml();
        for (system, name) in NAMES.iter().enumerate().take(self.roles.len()) {
            let more = match self.never {
                Some((never, action)) if never == system && self.roles[system].is_written() => format!("may = {{ {action} = \"never\" }}\n"),
                _ => String::new(),
            };
            let id = if self.has_id[system] { "id = \"id\"\n" } else { "" };
            let role = self.roles[system].word();
            let old = format!("[systems.{name}]\nkind = \"memory\"\nrole = \"{role}\"\nid = \"id\"\n");
            assert!(text.contains(&old));
            text = text.replace(&old, &format!("[systems.{name}]\nkind = \"memory\"\ntable = \"{{{name}}}\"\nrole = \"{role}\"\n{id}{more}"));
        }
        let text = text.replace("may = { create = \"apply\", delete = \"apply\" }\n", "");
        let voters: Vec<String> = (0..self.roles.len()).filter(|s| self.roles[*s].votes()).map(|s| format!("\"{}\"", NAMES[s])).collect();
        let columns: Vec<String> = (0..self.roles.len()).map(|s| format!("{} = \"w\"", NAMES[s])).collect();
        let rule = if design.sources().is_empty() {
            format!("merge = {{ priority = [{}] }}", voters.join(", "))
        } else {
            format!("owner = [{}]", voters_first(&self.roles))
        };
        let w = format!("[fields.w]\ntype = \"text\"\ncolumns = {{ {} }}\n{rule}\n", columns.join(", "));
        let at = text.find("[deletes]").unwrap_or(text.len());
        format!("{}{w}{}{GATES_OFF}", &text[..at], &text[at..])
    }

    fn voters(&self) -> Vec<usize> {
        (0..self.roles.len()).filter(|s| self.roles[*s].votes()).collect()
    }
}

/// All sources, then all peers.
fn voters_first(roles: &[Role]) -> String {
    let with = |role: Role| (0..roles.len()).filter(move |s| roles[*s] == role).map(|s| format!("\"{}\"", NAMES[s]));
    with(Role::Source).chain(with(Role::Peer)).collect::<Vec<_>>().join(", ")
}

#[derive(Clone, Copy, Debug)]
enum Text {
    Null,
    Small(u8),
    /// A value that was never there before.
    Fresh,
}

/// What a person does in one system before a night.
#[derive(Clone, Copy, Debug)]
enum Edit {
    Insert(usize, usize, Text),
    SetV(usize, usize, Text),
    SetW(usize, usize, Text),
    /// The same value in every system.
    SetEverywhere(usize, Text),
    Delete(usize, usize),
    DeleteEverywhere(usize),
    Rename(usize, usize, usize),
    /// Two rows change their keys.
    Swap(usize, usize, usize),
    /// A row is there a second time, to the byte.
    Repeat(usize, usize),
    /// A row is copied, id and all, and gets another key.
    Copy(usize, usize, usize),
    /// The row that was deleted last comes back as it was.
    Restore(usize),
    Shuffle(usize),
}

/// What goes wrong in one night.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Reject(usize, usize),
    Lag(usize, usize),
    EditBeforeWrite(usize, usize),
    EditBeforeReadBack(usize, usize),
    WriteFails(usize, u8),
    ReadBackFails(usize),
    PullFails(usize),
    PullIsCut(usize),
    CutOff(usize),
    /// The systems do not say what they made of a write.
    NoAnswers,
}

#[derive(Clone, Debug)]
struct RandomWorld {
    job: RandomJob,
    start: Vec<Edit>,
    nights: Vec<(Vec<Edit>, Option<Fault>)>,
}

const KEYS: [&str; 4] = ["k1", "k2", "k3", "k4"];

fn any_text() -> impl Strategy<Value = Text> {
    prop_oneof![1 => Just(Text::Null), 3 => (0_u8..3).prop_map(Text::Small), 4 => Just(Text::Fresh)]
}

fn any_edit(systems: usize) -> impl Strategy<Value = Edit> {
    let (s, k) = (0..systems, 0..KEYS.len());
    prop_oneof![
        3 => (s.clone(), k.clone(), any_text()).prop_map(|(s, k, v)| Edit::Insert(s, k, v)),
        6 => (s.clone(), k.clone(), any_text()).prop_map(|(s, k, v)| Edit::SetV(s, k, v)),
        2 => (s.clone(), k.clone(), any_text()).prop_map(|(s, k, v)| Edit::SetW(s, k, v)),
        1 => (k.clone(), any_text()).prop_map(|(k, v)| Edit::SetEverywhere(k, v)),
        2 => (s.clone(), k.clone()).prop_map(|(s, k)| Edit::Delete(s, k)),
        1 => k.clone().prop_map(Edit::DeleteEverywhere),
        1 => (s.clone(), k.clone(), k.clone()).prop_map(|(s, k, l)| Edit::Rename(s, k, l)),
        1 => (s.clone(), k.clone(), k.clone()).prop_map(|(s, k, l)| Edit::Swap(s, k, l)),
        1 => (s.clone(), k.clone()).prop_map(|(s, k)| Edit::Repeat(s, k)),
        1 => (s.clone(), k.clone(), k.clone()).prop_map(|(s, k, l)| Edit::Copy(s, k, l)),
        1 => s.clone().prop_map(Edit::Restore),
        1 => s.prop_map(Edit::Shuffle),
    ]
}

fn any_fault(systems: usize) -> impl Strategy<Value = Fault> {
    let (s, k) = (0..systems, 0..KEYS.len());
    prop_oneof![
        2 => (s.clone(), k.clone()).prop_map(|(s, k)| Fault::Reject(s, k)),
        1 => (s.clone(), 1..4_usize).prop_map(|(s, n)| Fault::Lag(s, n)),
        2 => (s.clone(), k.clone()).prop_map(|(s, k)| Fault::EditBeforeWrite(s, k)),
        2 => (s.clone(), k.clone()).prop_map(|(s, k)| Fault::EditBeforeReadBack(s, k)),
        2 => (s.clone(), 0..4_u8).prop_map(|(s, n)| Fault::WriteFails(s, n)),
        1 => s.clone().prop_map(Fault::ReadBackFails),
        1 => s.clone().prop_map(Fault::PullFails),
        1 => s.prop_map(Fault::PullIsCut),
        3 => (1..14_usize).prop_map(Fault::CutOff),
        1 => Just(Fault::NoAnswers),
    ]
}

fn any_job() -> impl Strategy<Value = RandomJob> {
    let role = prop_oneof![1 => Just(Role::Source), 5 => Just(Role::Peer), 2 => Just(Role::Target), 1 => Just(Role::Witness)];
    let rules =
        prop_oneof![Just(Rule::Max), Just(Rule::Min), Just(Rule::Latest), Just(Rule::Review), Just(Rule::SumOfChanges), Just(Rule::Priority(Vec::new())),];
    let blank = prop_oneof![3 => Just(None), 1 => Just(Some(Blank::Ignore)), 1 => Just(Some(Blank::Propagate)), 1 => Just(Some(Blank::Conflict))];
    let policy = prop_oneof![1 => Just(Policy::Report), 2 => Just(Policy::Propagate), 1 => Just(Policy::Archive), 1 => Just(Policy::Recreate)];
    let never = prop_oneof![4 => Just(None), 1 => (0..3_usize, prop_oneof![Just("create"), Just("update"), Just("delete")]).prop_map(Some)];
    let switches = (
        prop::option::weighted(0.3, 0..3_usize),
        prop_oneof![4 => Just(0_i64), 1 => Just(1)],
        prop::bool::weighted(0.8),
        prop::option::weighted(0.3, 0..3_usize),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.85),
        prop::option::weighted(0.2, (0..3_usize, prop_oneof![Just(-90_000_i64), Just(-100), Just(100), Just(90_000)])),
    );
    (prop::collection::vec(role, 2..=3), prop::collection::vec(prop::bool::weighted(0.7), 3), rules, blank, policy, never, switches).prop_filter_map(
        "a job that `check` refuses",
        |(roles, has_id, rule, blank, policy, never, (owner, tolerance, overwrites_drift, caps, unique, compares, skew))| {
            let backwards: Vec<usize> = (0..roles.len()).rev().filter(|s| roles[*s].votes()).collect();
            let rule = if rule == Rule::Priority(Vec::new()) { Rule::Priority(backwards.clone()) } else { rule };
            let tolerance = if rule == Rule::SumOfChanges { 0 } else { tolerance };
            let owner = owner.filter(|owner| backwards.contains(owner));
            let caps = caps.filter(|target| roles.get(*target) == Some(&Role::Target));
            let job = RandomJob { roles, has_id, rule, owner, blank, tolerance, overwrites_drift, policy, never, caps, unique, compares, skew };
            let file = JobFile { path: "jobs/laws.toml".to_owned(), text: job.text() };
            (!backwards.is_empty() && job::check(&[file], &Settings::default()).is_ok()).then_some(job)
        },
    )
}

fn any_world(with_faults: bool) -> impl Strategy<Value = RandomWorld> {
    any_job().prop_flat_map(move |job| {
        let systems = job.roles.len();
        let fault = if with_faults { prop::option::weighted(0.6, any_fault(systems)).boxed() } else { Just(None).boxed() };
        let night = (prop::collection::vec(any_edit(systems), 0..5), fault);
        (Just(job), prop::collection::vec(any_edit(systems), 4..12), prop::collection::vec(night, 1..5)).prop_map(|(job, start, nights)| RandomWorld {
            job,
            start,
            nights,
        })
    })
}

/// Plays random worlds, each from a seed of its own: so many on every day, or as the environment asks.
///
/// # Panics
/// With the first world that fails, made small, and the seed it came from.
fn each_world<W: std::fmt::Debug>(law: &str, everyday: u64, world: impl Strategy<Value = W>, keeps: impl Fn(&W)) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a whole number, not `{text}`")));
    let (first, count) = match (number("TIEOUT_SEED"), number("TIEOUT_WORLDS")) {
        (Some(seed), count) => (seed, count.unwrap_or(1)),
        (None, Some(count)) => (std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), law) >> 1, count),
        (None, None) => (20_260_331, everyday),
    };
    println!("{law}: {count} worlds from seed {first}");
    for seed in first..first + count {
        let config = ProptestConfig { cases: 1, rng_seed: RngSeed::Fixed(seed), max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() };
        let played = TestRunner::new(config).run(&world, |world| {
            keeps(&world);
            Ok(())
        });
        if let Err(broken) = played {
            panic!("`TIEOUT_SEED={seed} cargo nextest run {law}` plays this world again\n{broken}");
        }
    }
}

/// A world as it is played: what people did, and everything that was ever in a table.
struct Played {
    place: Place,
    job: RandomJob,
    fresh: u32,
    deleted: Vec<Vec<MemoryRow>>,
    /// What still waits for a call to go wrong in: the system, the call and how many of them there were. It may outlast its night.
    waiting: Vec<(usize, Call, usize)>,
    /// Whether a person said that a reported delete is right.
    accepts_deletes: bool,
    /// Systems in which a person types while a run is under way.
    typed_in: BTreeSet<usize>,
    /// Whether a plan is asked for before each run.
    plans: bool,
    /// By system and column: every text that was ever there.
    ever: BTreeSet<(usize, String, Option<String>)>,
    history: String,
}

impl Played {
    fn new(job: &RandomJob) -> Played {
        Played::of(job, job.text())
    }

    /// A world of a job whose file is another one than [`RandomJob::text`].
    fn of(job: &RandomJob, text: String) -> Played {
        let mut place = Place::new(&text);
        let systems = job.roles.len();
        place.tables.iter().for_each(|table| {
            table.set_compares(job.compares);
            if job.unique {
                table.set_unique(&["k"]);
            }
        });
        place.skew = job.skew;
        if let Some(target) = job.caps {
            place.tables[target].normalise(capped);
        }
        Played {
            place,
            job: job.clone(),
            fresh: 100,
            deleted: vec![Vec::new(); systems],
            waiting: Vec::new(),
            accepts_deletes: false,
            typed_in: BTreeSet::new(),
            plans: true,
            ever: BTreeSet::new(),
            history: text,
        }
    }

    fn text(&mut self, text: Text) -> Option<String> {
        match text {
            Text::Null => None,
            Text::Small(n) => Some(n.to_string()),
            Text::Fresh => {
                self.fresh += 10;
                Some(self.fresh.to_string())
            }
        }
    }

    fn has(&self, system: usize, key: &str) -> bool {
        !self.place.values(NAMES[system], key).is_empty()
    }

    fn edit(&mut self, edit: Edit) {
        self.history += &format!("{edit:?}\n");
        match edit {
            Edit::Insert(system, key, v) => {
                let v = self.text(v);
                if !self.has(system, KEYS[key]) {
                    self.place.insert(NAMES[system], KEYS[key], v.as_deref());
                }
            }
            Edit::SetV(system, key, v) => {
                let v = self.text(v);
                self.place.set(NAMES[system], KEYS[key], "v", v.as_deref());
            }
            Edit::SetW(system, key, w) => {
                let w = self.text(w);
                self.place.set(NAMES[system], KEYS[key], "w", w.as_deref());
            }
            Edit::SetEverywhere(key, v) => {
                let v = self.text(v);
                (0..self.job.roles.len()).for_each(|system| self.place.set(NAMES[system], KEYS[key], "v", v.as_deref()));
            }
            Edit::Delete(system, key) => self.delete(system, key),
            Edit::DeleteEverywhere(key) => (0..self.job.roles.len()).for_each(|system| self.delete(system, key)),
            Edit::Rename(system, key, to) => self.place.set(NAMES[system], KEYS[key], "k", Some(KEYS[to])),
            Edit::Swap(system, key, other) => {
                self.place.set(NAMES[system], KEYS[key], "k", Some("on its way"));
                self.place.set(NAMES[system], KEYS[other], "k", Some(KEYS[key]));
                self.place.set(NAMES[system], "on its way", "k", Some(KEYS[other]));
            }
            Edit::Repeat(system, key) => {
                let position = rows_of(&self.place.tables[system]).iter().position(|row| row["k"].as_deref() == Some(KEYS[key]));
                if let Some(position) = position {
                    self.place.tables[system].repeat_row(position);
                }
            }
            Edit::Copy(system, key, to) => {
                let row = rows_of(&self.place.tables[system]).into_iter().find(|row| row["k"].as_deref() == Some(KEYS[key]));
                if let (Some(mut row), false) = (row, self.has(system, KEYS[to])) {
                    row.insert("k".to_owned(), Some(KEYS[to].to_owned()));
                    row.insert("note".to_owned(), Some(self.place.next_note()));
                    self.place.tables[system].edit(|rows| rows.push(row));
                }
            }
            Edit::Restore(system) => {
                if let Some(row) = self.deleted[system].pop() {
                    let key = row["k"].clone().unwrap_or_default();
                    if !self.has(system, &key) {
                        self.place.tables[system].edit(|rows| rows.push(row));
                    }
                }
            }
            Edit::Shuffle(system) => {
                self.place.tables[system].edit(|rows| rows.reverse());
            }
        }
    }

    fn delete(&mut self, system: usize, key: usize) {
        let rows = rows_of(&self.place.tables[system]);
        self.deleted[system].extend(rows.into_iter().filter(|row| row["k"].as_deref() == Some(KEYS[key])));
        self.place.delete(NAMES[system], KEYS[key]);
    }

    fn rows(&self) -> Vec<Vec<MemoryRow>> {
        self.place.tables.iter().map(rows_of).collect()
    }

    fn remember(&mut self) {
        for (system, rows) in self.rows().iter().enumerate() {
            for (row, column) in rows.iter().flat_map(|row| ["k", "v", "w"].map(|column| (row, column))) {
                self.ever.insert((system, column.to_owned(), row[column].clone()));
            }
        }
    }

    fn state(&self) -> Option<State> {
        let folder = self.place.state_folder();
        folder.is_dir().then(|| JobState::open(&folder, "a law").unwrap()).and_then(|state| {
            let promoted = state.ledger.promoted().unwrap()?;
            Some(state::load(&state.bases(), &self.place.job, &promoted, None).unwrap())
        })
    }

    fn fail(&self, law: &str, what: &str, report: Option<&Report>) -> ! {
        panic!("{law}: {what}\n{}\n{}\n{}", self.history, report.map(told).unwrap_or_default(), self.place.all())
    }

    /// The plan without its header, by a run that writes nothing.
    fn plan(&self) -> (Report, String) {
        let finished = self.place.ask(&Request { plan_only: true, first_contact: true, every_record: true, ..Request::default() });
        (finished.report, plan_of(&finished.folder))
    }

    /// A person decides about an open break: which of them, and which of the words that fit it.
    fn decide(&mut self, (which, word): (usize, usize)) {
        let folder = self.place.state_folder();
        if !folder.is_dir() {
            return;
        }
        let state = JobState::open(&folder, "a law").unwrap();
        let open: Vec<_> = state.ledger.open_breaks().unwrap().into_values().collect();
        let Some(known) = open.get(which % open.len().max(1)) else { return };
        let fitting = fitting(&known.open, known.ask.as_ref());
        let word = &fitting[word % fitting.len()];
        let act = match word.split_once(' ') {
            Some(("--choose", system)) => Act::Choose { system: system.to_owned() },
            Some(("--snooze", _)) => Act::Snooze { until: self.place.now().to_string()[..10].to_owned() },
            _ if word == "--accept" => Act::Accept,
            _ if word == "--unfreeze" => Act::Unfreeze,
            _ => Act::Reject,
        };
        self.accepts_deletes |= act == Act::Accept && known.open.kind == BreakKind::Missing;
        self.history += &format!("decided: {act} about {} {:?} {:?} {:?}\n", known.open.kind, known.open.key, known.open.field, known.open.system);
        let by = Signature { who: "somebody", why: None, at: "2026-03-01T12:00:00Z" };
        review::decide(&self.place.job, &state.ledger, std::slice::from_ref(&known.id), &Say::Decide(act), by).unwrap();
    }

    /// One night with everything that must hold of it. Gives the report, if the run came to its end.
    fn night(&mut self, fault: Option<Fault>) -> Option<Report> {
        self.remember();
        let before = self.rows();
        let base = self.state();

        // L20 and L12: a plan changes nothing, and is the same twice. L13: the order of rows and columns does not matter.
        // A read that shows what was there before is used up by a plan: then nothing can be compared.
        let is_lagging = self.place.tables.iter().any(Handle::is_lagging);
        let planned = (!is_lagging && self.plans).then(|| {
            let (_, planned) = self.plan();
            let turn = |columns: &[&str]| {
                self.place.tables.iter().for_each(|table| {
                    table.set_columns(columns).edit(|rows| rows.reverse());
                })
            };
            let backwards: Vec<&str> = COLUMNS.iter().rev().copied().collect();
            turn(&backwards);
            let (_, reversed) = self.plan();
            turn(&COLUMNS);
            if planned != reversed {
                self.fail("L12, L13", &format!("another plan:\n{planned}\n{reversed}"), None);
            }
            planned
        });
        if self.rows() != before {
            self.fail("L20", "a plan changed a system", None);
        }

        self.history += &format!("night, {fault:?}\n");
        self.waiting.retain(|(system, call, calls)| self.place.tables[*system].calls(*call) == *calls);
        let is_undisturbed = fault.is_none() && self.waiting.is_empty() && !is_lagging;
        let nth = fault.map_or(usize::MAX, |fault| self.begin_fault(fault));
        let finished = self.place.ask_until(&Request { first_contact: true, ..Request::default() }, nth);
        self.remember();
        let after = self.rows();
        self.place.tables.iter().for_each(|table| {
            table.reject_nothing().set_rows_max(None).set_answers(true).lag(0);
        });
        self.check_frame(&before, &after);
        let Some(Finished { report, folder, .. }) = finished else {
            self.check_copies(&before, &after, None);
            return None;
        };
        self.history += &told(&report);
        let pull_is_faulty = matches!(fault, Some(Fault::Lag(..) | Fault::PullFails(_) | Fault::PullIsCut(_)));
        if report.verdict == Verdict::Failed && !was_barred(&report) {
            if !pull_is_faulty {
                self.fail("a run ends", &report.sentence, Some(&report));
            }
            // L21: a gate that trips means that nothing was written.
            if after != before {
                self.fail("L21", "a run that failed wrote", Some(&report));
            }
            return Some(report);
        }
        let done = plan_of(&folder);
        if let Some(planned) = planned.filter(|planned| !pull_is_faulty && done != *planned) {
            self.fail("L20", &format!("the run does another thing than the plan said\n{planned}\n{done}"), Some(&report));
        }
        let changes = changes_of(&done);
        self.check_authority(&changes, &report);
        self.check_copies(&before, &after, Some(&report));
        if let Some(base) = &base {
            self.check_deletes(base, &before, &changes, &report);
        }
        if !is_lagging && !pull_is_faulty {
            self.check_agreed_values(&before, &changes, &report);
        }
        self.check_accounting(&changes, base.as_ref(), &report);
        if let (Some(base), true) = (&base, is_undisturbed) {
            self.check_single_edits(base, &before, &after, &report);
        }
        self.check_bases(&report);
        if let Some(base) = &base {
            self.check_links(base, &report);
        }
        Some(report)
    }

    /// Sets a fault up. Gives the step at which the run is cut off.
    fn begin_fault(&mut self, fault: Fault) -> usize {
        let wait = |played: &mut Played, system: usize, call: Call| played.waiting.push((system, call, played.place.tables[system].calls(call)));
        match fault {
            Fault::EditBeforeWrite(system, _) | Fault::WriteFails(system, _) => wait(self, system, Call::Write),
            Fault::EditBeforeReadBack(system, _) | Fault::ReadBackFails(system) => wait(self, system, Call::ReadBack),
            Fault::PullFails(system) => wait(self, system, Call::Pull),
            _ => {}
        }
        let table = |system: usize| &self.place.tables[system];
        match fault {
            Fault::Reject(system, key) => {
                table(system).reject(KEYS[key], "refused");
            }
            Fault::Lag(system, reads) => {
                table(system).lag(reads);
            }
            Fault::EditBeforeWrite(system, key) | Fault::EditBeforeReadBack(system, key) => {
                let call = if matches!(fault, Fault::EditBeforeWrite(..)) { Call::Write } else { Call::ReadBack };
                self.fresh += 10;
                let value = self.fresh.to_string();
                let t = self.place.time_in(NAMES[system]);
                self.place.tables[system].edit_before(call, edit_of(KEYS[key], "v", Some(&value), &t));
                self.typed_in.insert(system);
                self.ever.insert((system, "v".to_owned(), Some(value)));
            }
            Fault::WriteFails(system, changes) => {
                let effect = match changes {
                    0 => Effect::Nothing,
                    3 => Effect::Everything,
                    some => Effect::First(usize::from(some)),
                };
                table(system).fail(Call::Write, 1, effect);
            }
            Fault::ReadBackFails(system) => {
                table(system).fail(Call::ReadBack, 1, Effect::Nothing);
            }
            Fault::PullFails(system) => {
                table(system).fail(Call::Pull, 1, Effect::Nothing);
            }
            Fault::PullIsCut(system) => {
                table(system).set_rows_max(Some(1));
            }
            Fault::CutOff(nth) => return nth,
            Fault::NoAnswers => self.place.tables.iter().for_each(|table| {
                table.set_answers(false);
            }),
        }
        usize::MAX
    }

    /// L7: who is never written is as it was. L8: nothing outside the job moves. L6: no row goes that nobody deleted.
    fn check_frame(&self, before: &[Vec<MemoryRow>], after: &[Vec<MemoryRow>]) {
        for (system, role) in self.job.roles.iter().enumerate() {
            let typed = self.typed_in.contains(&system);
            if !role.is_written() && !typed && before[system] != after[system] {
                self.fail("L7", &format!("{} was written", NAMES[system]), None);
            }
            for row in before[system].iter().filter(|row| row["note"].is_some()) {
                let same: Vec<&MemoryRow> = after[system].iter().filter(|other| other["note"] == row["note"]).collect();
                if same.iter().any(|one| one["id"] != row["id"] || (one["t"] != row["t"] && !typed)) {
                    self.fail("L8", &format!("a column outside the job was changed: {row:?} {same:?}"), None);
                }
                if same.is_empty() && self.job.policy != Policy::Propagate && !self.accepts_deletes {
                    self.fail("L6", &format!("a row is gone that nobody deleted: {row:?}"), None);
                }
            }
            let notes: BTreeSet<&Option<String>> = before[system].iter().map(|row| &row["note"]).collect();
            if after[system].iter().any(|row| row["note"].is_some() && !notes.contains(&row["note"])) {
                self.fail("L8", "a created row has a column outside the job", None);
            }
        }
    }

    /// L7: a value that a system owns never flows into it.
    fn check_authority(&self, changes: &[Change], report: &Report) {
        let field = self.place.job.field("v").unwrap();
        let Some(owner) = self.place.job.fields[field].owner.first() else { return };
        let name = NAMES[*owner];
        let written =
            |change: &&Change| change.system == name && change.action == Action::Update && change.cells.iter().any(|c| c.field.as_deref() == Some("v"));
        if changes.iter().any(|change| written(&change)) {
            self.fail("L7", &format!("`v` flowed into its owner {name}"), Some(report));
        }
    }

    /// L6, L10: what is there is not made once more.
    fn check_copies(&self, before: &[Vec<MemoryRow>], after: &[Vec<MemoryRow>], report: Option<&Report>) {
        for (system, (before, after)) in before.iter().zip(after).enumerate() {
            for key in KEYS {
                let count = |rows: &[MemoryRow]| rows.iter().filter(|row| row["k"].as_deref() == Some(key)).count();
                if count(after) > count(before).max(1) {
                    self.fail("L10", &format!("{key} is in {} once more than before", NAMES[system]), report);
                }
            }
        }
    }

    /// L6: what is deleted is really gone from a system that decides, and was there before.
    fn check_deletes(&self, base: &State, before: &[Vec<MemoryRow>], changes: &[Change], report: &Report) {
        for change in changes.iter().filter(|change| matches!(change.action, Action::Delete | Action::Archive)) {
            let is_gone = |system: usize| {
                let known = &base.bases[system];
                let Ok(row) = known.records.binary_search(&change.record) else { return false };
                let (column, text) = if self.job.has_id[system] { ("id", known.ids.get(row)) } else { ("k", known.keys.get(row)) };
                !before[system].iter().any(|row| row[column].as_deref() == text)
            };
            if !self.job.voters().into_iter().any(is_gone) {
                self.fail("L6", &format!("nobody deleted {}: {change:?}", change.key), Some(report));
            }
        }
    }

    /// L15: what is the same everywhere is neither written nor in conflict.
    fn check_agreed_values(&self, before: &[Vec<MemoryRow>], changes: &[Change], report: &Report) {
        if self.job.rule == Rule::SumOfChanges || self.job.caps.is_some() || !self.typed_in.is_empty() {
            return;
        }
        for key in KEYS {
            let of = |rows: &Vec<MemoryRow>| rows.iter().filter(|row| row["k"].as_deref() == Some(key)).map(|row| row["v"].clone()).collect::<Vec<_>>();
            let held: Vec<Vec<Option<String>>> = before.iter().map(of).collect();
            let [first] = held[0].as_slice() else { continue };
            if held.iter().any(|values| values.as_slice() != [first.clone()]) {
                continue;
            }
            let writes = |change: &&Change| {
                let is_v = change.cells.iter().any(|cell| cell.field.as_deref() == Some("v") && cell.before.to_string() == first.clone().unwrap_or_default());
                change.action == Action::Update && change.row_key_before.as_deref() == Some(key) && is_v
            };
            let at_odds = |open: &&BreakReport| open.open.kind == BreakKind::Conflict && open.open.key == key && open.open.field.as_deref() == Some("v");
            // What was at odds before stays open while its key stands on several records, and nothing is decided about it.
            let is_shared = report.breaks.iter().any(|open| open.open.kind == BreakKind::Duplicate && open.open.key == key);
            if changes.iter().any(|change| writes(&change)) || !is_shared && report.breaks.iter().any(|open| at_odds(&open)) {
                self.fail("L15", &format!("{key} is {first:?} everywhere"), Some(report));
            }
        }
    }

    /// L4: an edit that we wrote over is in the ledger.
    fn check_accounting(&self, changes: &[Change], base: Option<&State>, report: &Report) {
        let ledger = rusqlite::Connection::open(self.place.state_folder().join("ledger.sqlite")).unwrap();
        for (change, told) in changes.iter().zip(&report.changes) {
            let arrived = matches!(told.settled, Some(Settled::Verified | Settled::Normalised | Settled::Pending | Settled::Overwritten | Settled::Unknown));
            if change.action != Action::Update || !arrived {
                continue;
            }
            let system = self.place.system(&change.system);
            for cell in &change.cells {
                let Some(field) = cell.field.as_deref().and_then(|name| self.place.job.field(name)) else { continue };
                let base_value = base.and_then(|state| {
                    let row = state.bases[system].records.binary_search(&change.record).ok()?;
                    state.bases[system].value(field, row as u32)
                });
                // What was owed and arrived after all is our own.
                let owed = base.and_then(|state| state.open.fields.get(&(change.record, cell.field.clone()?)));
                if owed.is_some_and(|open| open.value == cell.before && open.debts.contains_key(&change.system)) {
                    continue;
                }
                let added_up = self.job.rule == Rule::SumOfChanges && cell.field.as_deref() == Some("v");
                if cell.before.is_null() || base_value.as_ref() == Some(&cell.before) || added_up {
                    continue;
                }
                let value = serde_json::to_string(&cell.before).unwrap();
                let listed: i64 = ledger
                    .query_row(
                        "SELECT count(*) FROM discarded WHERE run = ?1 AND field = ?2 AND system = ?3 AND value = ?4",
                        [&report.run, cell.field.as_ref().unwrap(), &change.system, &value],
                        |row| row.get(0),
                    )
                    .unwrap();
                if listed == 0 {
                    self.fail(
                        "L4",
                        &format!("{value} of {} was written over (base {base_value:?}), and no ledger says so: {change:?}", change.system),
                        Some(report),
                    );
                }
            }
        }
    }

    /// L3: a value that one voter alone changed is everywhere, or still there with an open break.
    fn check_single_edits(&self, base: &State, before: &[Vec<MemoryRow>], after: &[Vec<MemoryRow>], report: &Report) {
        let field = self.place.job.field("v").unwrap();
        let owners = &self.place.job.fields[field].owner;
        let records: BTreeSet<u64> = base.bases.iter().flat_map(|b| b.records.iter().copied()).collect();
        let value_of = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<i64>().ok());
        for record in records {
            if base.open.fields.contains_key(&(record, "v".to_owned())) {
                continue;
            }
            // Where it is, before and after, by what stands in `note` or by its id.
            let mut rows: Vec<Option<(&MemoryRow, Option<Value>)>> = Vec::new();
            for (system, known) in base.bases.iter().enumerate() {
                let found = known.records.binary_search(&record).ok().filter(|row| known.standings[*row] == Standing::Live).and_then(|row| {
                    let (column, text) = if self.job.has_id[system] { ("id", known.ids.get(row)) } else { ("k", known.keys.get(row)) };
                    let mut same = before[system].iter().filter(|r| r[column].as_deref() == text);
                    let one = same.next().filter(|_| same.next().is_none())?;
                    Some((one, known.value(field, row as u32)))
                });
                rows.push(found);
            }
            let changed: Vec<usize> = self
                .job
                .voters()
                .into_iter()
                .filter(|s| {
                    rows[*s].as_ref().is_some_and(|(row, base)| base.as_ref().and_then(Value::as_decimal).map(|d| d.units as i64) != value_of(&row["v"]))
                })
                .collect();
            let [editor] = changed.as_slice() else { continue };
            let Some((row, _)) = &rows[*editor] else { continue };
            let Some(value) = value_of(&row["v"]) else { continue };
            if owners.first().is_some_and(|owner| owner != editor) {
                continue;
            }
            let key = row["k"].clone().unwrap_or_default();
            // A person may choose another value, and the ledger tells it.
            if report.conflicts.iter().any(|one| one.key == key && matches!(one.reason, Reason::Person { .. })) {
                continue;
            }
            let is_told = report.breaks.iter().any(|b| names(b, &key));
            // Where ids do not count, a copied row has the id of the other.
            let now_of = |system: usize, row: &MemoryRow| {
                let same_id: Vec<&MemoryRow> = after[system].iter().filter(|other| other["id"] == row["id"]).collect();
                if let [only] = same_id.as_slice() { Some(*only) } else { same_id.into_iter().find(|other| other["k"] == row["k"]) }
            };
            for (system, role) in self.job.roles.iter().enumerate() {
                let Some((row, _)) = rows[system].as_ref().filter(|_| *role != Role::Witness) else { continue };
                let now = now_of(system, row);
                let is_close = |v: i64, value: i64| (v - value).abs() <= self.job.tolerance;
                let is_kept = |v: i64| is_close(v, value) || (self.job.caps == Some(system) && is_close(v, value.min(CAP)));
                let holds = now.is_some_and(|now| value_of(&now["v"]).is_some_and(is_kept));
                if !holds && (!is_told || system == *editor) {
                    let what = format!("only {} changed {key} to {value}, and {} has {now:?}", NAMES[*editor], NAMES[system]);
                    self.fail("L3", &what, Some(report));
                }
            }
        }
    }

    /// L18: a base is always something that was really there.
    fn check_bases(&self, report: &Report) {
        let Some(state) = self.state() else { return };
        for (system, base) in state.bases.iter().enumerate() {
            // What we sent to a row that never showed is none.
            let read = (0..base.height() as u32).filter(|row| base.standings[*row as usize] != Standing::Awaited);
            for row in read {
                for (index, field) in self.place.job.fields.iter().enumerate() {
                    let Some(value) = base.value(index, row) else { continue };
                    let text = (!value.is_null()).then(|| value.to_string());
                    if !self.ever.contains(&(system, field.name.clone(), text)) {
                        self.fail("L18", &format!("the base of {} in {} is {value}, which was never there", field.name, NAMES[system]), Some(report));
                    }
                }
            }
        }
    }

    /// L23: a row is that of another record than before only if an event of the run says so, and one record has one row.
    fn check_links(&self, before: &State, report: &Report) {
        let Some(after) = self.state() else { return };
        let ledger = rusqlite::Connection::open(self.place.state_folder().join("ledger.sqlite")).unwrap();
        for (system, (before, after)) in before.bases.iter().zip(&after.bases).enumerate().filter(|(system, _)| self.job.has_id[*system]) {
            let of = |base: &tieout::reconcile::base::Base| -> Vec<(String, u64)> {
                let live = (0..base.height()).filter(|row| base.standings[*row] == Standing::Live);
                live.filter_map(|row| Some((base.ids.get(row)?.to_owned(), base.records[row]))).collect()
            };
            let (known, now) = (of(before), of(after));
            let ids: BTreeSet<&String> = now.iter().map(|(id, _)| id).collect();
            if ids.len() < now.len() {
                self.fail("L23", &format!("one row of {} is that of two records: {now:?}", NAMES[system]), Some(report));
            }
            for (id, record) in &known {
                let Some((_, now)) = now.iter().find(|(other, _)| other == id) else { continue };
                let told: i64 = ledger
                    .query_row(
                        "SELECT count(*) FROM links WHERE run = ?1 AND record IN (?2, ?3)",
                        rusqlite::params![report.run, *record as i64, *now as i64],
                        |row| row.get(0),
                    )
                    .unwrap();
                if now != record && told == 0 {
                    self.fail("L23", &format!("row {id} of {} was record {record} and is record {now}, and no event says so", NAMES[system]), Some(report));
                }
            }
        }
    }

    /// L2: without edits and faults all systems agree in the end, or somebody is told.
    fn check_end(&mut self) {
        let report = self.until_quiet();
        self.check_agreement(&report);
        self.check_no_resurrection(&report);
    }

    /// L1: without edits and faults it becomes quiet.
    fn until_quiet(&mut self) -> Report {
        let mut last: Option<Report> = None;
        for night in 0..10 {
            // What is planned in a night in which nobody does anything is looked at once.
            self.plans = night == 0;
            // A read that shows what was there before shows new rows late: what it tells is not compared.
            let lags = self.place.tables.iter().any(Handle::is_lagging);
            let report = self.night(None);
            self.plans = true;
            let Some(report) = report.filter(|_| !lags) else { continue };
            let shows_all = !self.place.tables.iter().any(Handle::is_lagging);
            let is_quiet = shows_all && report.changes.is_empty() && last.as_ref().is_some_and(|l| l.changes.is_empty());
            if let (Some(last), true) = (&last, is_quiet) {
                let known: BTreeSet<&str> = last.breaks.iter().map(|b| b.id.as_str()).collect();
                if let Some(new) = report.breaks.iter().find(|b| !known.contains(b.id.as_str())) {
                    self.fail("L1", &format!("a break is new on a quiet night: {new:?}"), Some(&report));
                }
                return report;
            }
            last = Some(report);
        }
        self.fail("L1", "it never becomes quiet", last.as_ref());
    }

    /// L5: what people delete everywhere stays away.
    fn check_no_resurrection(&mut self, quiet: &Report) {
        if !self.waiting.is_empty() {
            return;
        }
        let is_there = |played: &Played, key: &str| (0..played.job.roles.len()).any(|system| played.has(system, key));
        let Some(key) = (0..KEYS.len()).find(|key| is_there(self, KEYS[*key]) && !quiet.breaks.iter().any(|open| names(open, KEYS[*key]))) else { return };
        self.edit(Edit::DeleteEverywhere(key));
        for _ in 0..2 {
            let report = self.night(None);
            // That another row may be it with a changed key is a fair question.
            let asks = |open: &&BreakReport| open.open.kind != BreakKind::SuggestedLink && names(open, KEYS[key]);
            let is_told = report.iter().flat_map(|report| &report.breaks).any(|open| asks(&open));
            if is_there(self, KEYS[key]) || is_told {
                self.fail("L5", &format!("{} was deleted everywhere", KEYS[key]), report.as_ref());
            }
        }
    }

    /// Every difference that is left is told.
    fn check_agreement(&self, report: &Report) {
        let rows = self.rows();
        let keys: BTreeSet<String> = rows.iter().flatten().filter_map(|row| row["k"].clone()).collect();
        for key in keys {
            if report.breaks.iter().any(|b| names(b, &key)) {
                continue;
            }
            // What was archived stays where it is, and is nowhere else.
            let is_archived = |row: &MemoryRow| row["v"].as_deref() == Some("9");
            let archived = self.job.policy == Policy::Archive && rows.iter().flatten().filter(|row| row["k"].as_deref() == Some(&key)).all(is_archived);
            for column in ["v", "w"] {
                let held: Vec<Option<Option<String>>> =
                    rows.iter().map(|rows| rows.iter().find(|row| row["k"].as_deref() == Some(&key)).map(|row| row[column].clone())).collect();
                // What a target makes of a value is accepted.
                let kept = |number: i64| if column == "v" && self.job.caps.is_some() { number.min(CAP) } else { number };
                let number = |cell: &Option<Option<String>>| cell.clone().flatten().and_then(|text| text.parse::<i64>().ok()).map(kept);
                let tolerance = if column == "v" { 2 * self.job.tolerance } else { 0 };
                let agree =
                    held.iter().all(|cell| *cell == held[0] || matches!((number(cell), number(&held[0])), (Some(a), Some(b)) if (a - b).abs() <= tolerance));
                if !agree && !archived {
                    self.fail("L2", &format!("{key}: {column} is {held:?}, and nobody is told"), Some(report));
                }
            }
        }
    }
}

/// The job in which the first two systems changed places. Only the file of [`mirrored_text`] says all that it decides.
fn mirrored_job(job: &RandomJob) -> RandomJob {
    let mut job = job.clone();
    job.roles.swap(0, 1);
    job.has_id.swap(0, 1);
    job.skew = job.skew.map(|(system, seconds)| (other_place(system), seconds));
    job.owner = job.owner.map(other_place);
    job.caps = job.caps.map(other_place);
    job.never = job.never.map(|(system, action)| (other_place(system), action));
    if let Rule::Priority(order) = &mut job.rule {
        order.iter_mut().for_each(|system| *system = other_place(*system));
    }
    job
}

fn other_place(system: usize) -> usize {
    [1, 0, 2][system]
}

fn other_name(name: &str) -> &str {
    NAMES.iter().position(|n| *n == name).map_or(name, |system| NAMES[other_place(system)])
}

/// A job file in which `a` and `b` changed their names and their places, and nothing else.
fn mirrored_text(text: &str) -> String {
    let mut renamed = text.to_owned();
    for (from, to) in [("a", "?"), ("b", "a"), ("?", "b")] {
        for (before, after) in [("[systems.", "]"), ("{", "}\""), ("\"", "\""), (" ", " = \"")] {
            renamed = renamed.replace(&format!("{before}{from}{after}"), &format!("{before}{to}{after}"));
        }
    }
    let place = |name: &str| renamed.find(&format!("[systems.{name}]")).unwrap();
    let (second, first) = (place("b"), place("a"));
    let end = first + renamed[first..].find("\n[").unwrap() + 1;
    format!("{}{}{}{}", &renamed[..second], &renamed[first..end], &renamed[second..first], &renamed[end..])
}

fn mirrored_edit(edit: Edit) -> Edit {
    match edit {
        Edit::Insert(system, key, v) => Edit::Insert(other_place(system), key, v),
        Edit::SetV(system, key, v) => Edit::SetV(other_place(system), key, v),
        Edit::SetW(system, key, w) => Edit::SetW(other_place(system), key, w),
        Edit::SetEverywhere(..) | Edit::DeleteEverywhere(_) => edit,
        Edit::Delete(system, key) => Edit::Delete(other_place(system), key),
        Edit::Rename(system, key, to) => Edit::Rename(other_place(system), key, to),
        Edit::Swap(system, key, other) => Edit::Swap(other_place(system), key, other),
        Edit::Repeat(system, key) => Edit::Repeat(other_place(system), key),
        Edit::Copy(system, key, to) => Edit::Copy(other_place(system), key, to),
        Edit::Restore(system) => Edit::Restore(other_place(system)),
        Edit::Shuffle(system) => Edit::Shuffle(other_place(system)),
    }
}

/// What a night did and told, in no order: each change with its cells, and of each break its kind, its field and its system.
fn done_and_told(report: &Report, name_of: fn(&str) -> &str) -> (Vec<String>, Vec<String>) {
    let changes = report.changes.iter().map(|change| {
        let cells: Vec<String> = change.cells.iter().map(|cell| format!("{} {}→{}", cell.field, cell.before, cell.after)).collect();
        format!("{} {} {}", name_of(&change.system), change.action, cells.join(", "))
    });
    let breaks = report.breaks.iter().map(|b| format!("{} {:?} {:?}", b.open.kind, b.open.field, b.open.system.as_deref().map(name_of)));
    let (mut changes, mut breaks): (Vec<String>, Vec<String>) = (changes.collect(), breaks.collect());
    changes.sort();
    breaks.sort();
    (changes, breaks)
}

/// Whether a break is about a key, or names it.
fn names(open: &BreakReport, key: &str) -> bool {
    let words = |text: &str| text.split(|c: char| !c.is_alphanumeric()).any(|word| word == key);
    words(&open.open.key) || words(&open.open.why) || open.open.values.iter().any(|held| held.value.to_string() == key)
}

/// The plan that a run left in its folder, without the header that names the run.
fn plan_of(folder: &Path) -> String {
    let text = std::fs::read_to_string(folder.join("plan.jsonl")).unwrap_or_default();
    text.split_once('\n').map_or_else(String::new, |(_, rest)| rest.to_owned())
}

fn changes_of(plan: &str) -> Vec<Change> {
    let lines = plan.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter_map(|mut line| line.get_mut("change").map(serde_json::Value::take)).map(|change| serde_json::from_value(change).unwrap()).collect()
}

fn play(world: &RandomWorld) -> Played {
    let mut played = Played::new(&world.job);
    // Where a read may show what was there before, nobody can tell from it that a write was not made.
    let lags = world.nights.iter().any(|(_, fault)| matches!(fault, Some(Fault::Lag(..))));
    played.place.tables.iter().filter(|_| lags).for_each(|table| {
        table.set_atomic(false);
    });
    world.start.iter().for_each(|edit| played.edit(*edit));
    played.night(None);
    for (edits, fault) in &world.nights {
        edits.iter().for_each(|edit| played.edit(*edit));
        played.night(*fault);
    }
    played
}

/// The same, up to its last night: the edits of that night are still to be made.
fn play_but_the_last(world: &RandomWorld) -> (Played, Vec<Edit>) {
    let mut world = world.clone();
    let last = world.nights.pop().map(|(edits, _)| edits).unwrap_or_default();
    (play(&world), last)
}

/// The same with decisions of people after each night. What the job never does waits for a person here.
fn play_deciding(world: &RandomWorld, picks: &[(usize, usize)], last: Option<Fault>) -> Played {
    let mut played = Played::of(&world.job, world.job.text().replace("= \"never\" }", "= \"review\" }"));
    world.start.iter().for_each(|edit| played.edit(*edit));
    played.night(None);
    let mut picks = picks.iter();
    for (number, (edits, fault)) in world.nights.iter().enumerate() {
        edits.iter().for_each(|edit| played.edit(*edit));
        played.night(*fault);
        picks.by_ref().take(3).for_each(|pick| played.decide(*pick));
        if number + 1 == world.nights.len() {
            last.into_iter().for_each(|fault| {
                played.night(Some(fault));
            });
        }
    }
    played
}

/// Worlds that broke a law once. They stand here as they are, because a seed means another world as soon as the random ones
/// are drawn otherwise.
fn worlds_that_broke_a_law() -> Vec<RandomWorld> {
    use Edit::{Copy, Delete, Insert, Rename, Repeat, Restore, SetEverywhere, SetV, SetW, Shuffle, Swap};
    use Fault::{CutOff, Lag, ReadBackFails};
    use Text::{Fresh, Null, Small};
    let job = |roles: &[Role], rule: Rule| RandomJob {
        roles: roles.to_vec(),
        has_id: vec![true; 3],
        rule,
        owner: None,
        blank: None,
        tolerance: 0,
        overwrites_drift: true,
        policy: Policy::Report,
        never: None,
        caps: None,
        unique: false,
        compares: true,
        skew: None,
    };
    let world = |job: RandomJob, start: &[Edit], nights: &[(&[Edit], Option<Fault>)]| RandomWorld {
        job,
        start: start.to_vec(),
        nights: nights.iter().map(|(edits, fault)| (edits.to_vec(), *fault)).collect(),
    };
    vec![
        // A create that was made and not read back, and then does not show: it is not made again.
        world(
            RandomJob { blank: Some(Blank::Propagate), policy: Policy::Propagate, ..job(&[Role::Peer, Role::Peer, Role::Target], Rule::Max) },
            &[Insert(0, 1, Null)],
            &[(&[], Some(ReadBackFails(1))), (&[Insert(0, 2, Null)], Some(Lag(1, 3)))],
        ),
        // A counter that is empty in every system waits for nobody.
        world(
            RandomJob {
                has_id: vec![true, false, true],
                blank: Some(Blank::Propagate),
                policy: Policy::Propagate,
                ..job(&[Role::Peer, Role::Witness], Rule::SumOfChanges)
            },
            &[Insert(0, 0, Null), Insert(1, 0, Null), Insert(0, 2, Null)],
            &[(&[Insert(0, 1, Null)], Some(CutOff(1)))],
        ),
        // The key of a row that late reads do not show yet is changed.
        world(
            job(&[Role::Peer, Role::Peer, Role::Peer], Rule::SumOfChanges),
            &[Insert(0, 0, Null), Insert(0, 3, Null)],
            &[(&[Insert(0, 1, Null)], Some(Lag(1, 3))), (&[Rename(0, 1, 2)], None)],
        ),
        // A witness gives a row the key of another one: the record whose row that was is told.
        world(
            RandomJob { overwrites_drift: false, ..job(&[Role::Peer, Role::Witness], Rule::SumOfChanges) },
            &[Insert(0, 0, Null)],
            &[(&[Insert(1, 2, Null), Insert(1, 0, Null)], None), (&[Insert(0, 2, Small(0))], None), (&[Rename(1, 2, 0)], None)],
        ),
        // A source without ids, a read-back that fails, and a run that is cut off on top.
        world(
            RandomJob { has_id: vec![false, false, true], policy: Policy::Propagate, ..job(&[Role::Source, Role::Peer], Rule::Review) },
            &[Insert(0, 0, Null), SetV(0, 0, Small(2))],
            &[
                (&[SetV(0, 1, Fresh), SetEverywhere(1, Small(1)), Insert(0, 3, Fresh)], None),
                (&[Restore(1), SetV(1, 3, Fresh), SetV(1, 1, Small(1))], Some(ReadBackFails(1))),
                (&[SetV(1, 2, Null), SetV(0, 3, Small(1))], Some(CutOff(10))),
                (&[], None),
            ],
        ),
        // A record that comes and goes where a source holds it too.
        world(
            RandomJob { has_id: vec![false, true, true], policy: Policy::Archive, ..job(&[Role::Source, Role::Peer], Rule::Priority(vec![1, 0])) },
            &[Insert(0, 0, Null), SetW(0, 0, Small(0))],
            &[(&[SetV(0, 3, Fresh), Delete(1, 1), Restore(1), Insert(0, 1, Small(1))], None)],
        ),
        world(
            RandomJob { has_id: vec![false, true, true], policy: Policy::Archive, never: Some((1, "create")), ..job(&[Role::Peer, Role::Source], Rule::Min) },
            &[Insert(0, 0, Null), Insert(1, 0, Null)],
            &[(&[Insert(1, 1, Null)], None)],
        ),
        // An archive is refused every night, because its row is there twice.
        world(
            RandomJob { policy: Policy::Archive, ..job(&[Role::Peer, Role::Peer], Rule::Review) },
            &[Insert(1, 0, Fresh)],
            &[(&[Repeat(0, 0)], None), (&[Delete(1, 0)], None)],
        ),
        // A run is cut off after it archived a record: the next one ends the record, and its rows do not come back.
        world(
            RandomJob { policy: Policy::Archive, owner: Some(0), never: Some((1, "update")), ..job(&[Role::Peer, Role::Peer, Role::Peer], Rule::Min) },
            &[Insert(0, 3, Null), Insert(0, 0, Null)],
            &[(&[Delete(1, 3)], Some(CutOff(8)))],
        ),
        // Of one record two systems change the key, one of them without ids: both keys are told.
        world(
            RandomJob { has_id: vec![true, false, false], policy: Policy::Propagate, ..job(&[Role::Peer, Role::Peer, Role::Peer], Rule::Max) },
            &[Insert(1, 2, Fresh)],
            &[(&[Swap(1, 3, 2)], None), (&[Swap(0, 1, 2)], None)],
        ),
        // A new row has the id of one whose delete was agreed: while that asks, its record gets no second row there.
        world(
            RandomJob { has_id: vec![false, false, true], owner: Some(2), ..job(&[Role::Peer, Role::Peer, Role::Peer], Rule::Priority(vec![2, 1, 0])) },
            &[Insert(2, 0, Null)],
            &[(&[Insert(2, 3, Fresh)], None), (&[Edit::DeleteEverywhere(3)], None), (&[Insert(0, 1, Fresh), Insert(2, 1, Fresh)], None)],
        ),
        // A key is changed to one that two rows of one id have: the record is told under the key that it still has there.
        world(
            RandomJob { policy: Policy::Recreate, blank: Some(Blank::Ignore), tolerance: 1, ..job(&[Role::Source, Role::Peer], Rule::Priority(vec![1, 0])) },
            &[Insert(1, 3, Null), Copy(1, 3, 2), Insert(1, 0, Null)],
            &[(&[Insert(0, 1, Null)], None), (&[Swap(0, 2, 1)], None)],
        ),
        // A copied row where keys are taken once.
        world(
            RandomJob {
                has_id: vec![false; 3],
                blank: Some(Blank::Ignore),
                policy: Policy::Propagate,
                unique: true,
                ..job(&[Role::Witness, Role::Peer], Rule::Latest)
            },
            &[Insert(1, 2, Null), Copy(1, 2, 3), SetW(0, 0, Null), Insert(0, 0, Null)],
            &[(&[SetV(1, 3, Small(0))], Some(CutOff(11)))],
        ),
        world(
            RandomJob {
                has_id: vec![false, true, false],
                blank: Some(Blank::Propagate),
                policy: Policy::Propagate,
                unique: true,
                ..job(&[Role::Source, Role::Target], Rule::Review)
            },
            &[Insert(0, 1, Null), Insert(0, 1, Null), Copy(0, 1, 0), Insert(0, 0, Null)],
            &[(&[Shuffle(0), SetEverywhere(1, Small(0))], None)],
        ),
        // Two rows change their keys where no key may be there twice.
        world(
            RandomJob {
                has_id: vec![true, false, true],
                blank: Some(Blank::Propagate),
                tolerance: 1,
                overwrites_drift: false,
                policy: Policy::Propagate,
                unique: true,
                ..job(&[Role::Peer, Role::Peer], Rule::Review)
            },
            &[SetV(0, 0, Null), Insert(0, 3, Null), SetV(0, 0, Null), Insert(0, 2, Small(1))],
            &[(&[Insert(1, 1, Small(1)), Insert(0, 1, Fresh)], None), (&[Swap(0, 1, 2)], None)],
        ),
        // The key of an archived row is created again elsewhere: no second row is made beside it.
        world(
            RandomJob { policy: Policy::Archive, ..job(&[Role::Peer, Role::Target], Rule::Review) },
            &[Insert(0, 3, Fresh), Insert(0, 0, Null)],
            &[(&[Delete(0, 3)], None), (&[Insert(0, 3, Fresh)], None)],
        ),
        // The id of a row that was deleted, while its delete waits, is given to the next one that is made there.
        world(
            RandomJob { policy: Policy::Archive, never: Some((1, "delete")), ..job(&[Role::Peer, Role::Peer, Role::Peer], Rule::Latest) },
            &[Insert(0, 2, Fresh), Insert(2, 2, Small(2)), Insert(2, 3, Fresh)],
            &[(&[Insert(1, 2, Null)], None), (&[Insert(2, 1, Fresh), Delete(1, 2)], None), (&[Insert(2, 0, Fresh)], None)],
        ),
        // One side of an open conflict is deleted, and nobody else holds a value: the other side is not archived over.
        world(
            RandomJob { policy: Policy::Archive, ..job(&[Role::Peer, Role::Peer, Role::Peer], Rule::Latest) },
            &[Insert(0, 2, Small(0)), Insert(2, 2, Small(1))],
            &[(&[Insert(1, 2, Null)], None), (&[Delete(0, 2)], None)],
        ),
    ]
}

#[test]
fn worlds_that_broke_a_law_keep_it() {
    worlds_that_broke_a_law().iter().for_each(|world| play(world).check_end());
}

/// Random jobs and edits, nothing goes wrong.
#[test]
fn random_nights_keep_the_laws() {
    each_world("random_nights_keep_the_laws", 500, any_world(false), |world| play(world).check_end());
}

/// The same with something that goes wrong in most nights.
#[test]
fn random_nights_with_faults_keep_the_laws() {
    each_world("random_nights_with_faults_keep_the_laws", 600, any_world(true), |world| play(world).check_end());
}

/// L9, L10: a run that is cut off anywhere ends, some runs later, as if it had not been.
#[test]
fn a_random_night_cut_off_ends_as_if_it_had_not_been() {
    each_world("a_random_night_cut_off_ends_as_if_it_had_not_been", 250, (any_world(false), 1..14_usize), |(world, nth)| {
        let ended = |fault: Option<Fault>| {
            let (mut played, last) = play_but_the_last(world);
            last.iter().for_each(|edit| played.edit(*edit));
            if let Some(fault) = fault {
                played.night(Some(fault));
            }
            played.until_quiet();
            played
        };
        let (whole, cut_off) = (ended(None), ended(Some(Fault::CutOff(*nth))));
        let all = ["k", "v", "w"];
        if texts_in(&whole.place, &all) != texts_in(&cut_off.place, &all) {
            cut_off.fail("L10", &format!("without the cut-off it ends otherwise:\n{}", whole.place.all()), None);
        }
    });
}

/// L11: while a system refuses a record, everything else goes its way.
#[test]
fn a_record_that_is_refused_holds_no_other_up() {
    each_world("a_record_that_is_refused_holds_no_other_up", 250, (any_world(false), 0..3_usize, 0..KEYS.len()), |(world, system, key)| {
        // Where keys wander from record to record, the others may wait for the one that is refused.
        let wanders = |edit: &Edit| matches!(edit, Edit::Rename(..) | Edit::Swap(..) | Edit::Copy(..));
        let mut world = world.clone();
        world.start.retain(|edit| !wanders(edit));
        world.nights.iter_mut().for_each(|(edits, _)| edits.retain(|edit| !wanders(edit)));
        let system = system % world.job.roles.len();
        let after = |fault: Option<Fault>| {
            let (mut played, last) = play_but_the_last(&world);
            last.iter().for_each(|edit| played.edit(*edit));
            played.night(fault);
            played
        };
        let (whole, refused) = (after(None), after(Some(Fault::Reject(system, *key))));
        let others = |played: &Played| -> Vec<Vec<Vec<Option<String>>>> {
            let of_others = |texts: &Vec<Option<String>>| texts[0].as_deref() != Some(KEYS[*key]);
            texts_in(&played.place, &["k", "v", "w"]).into_iter().map(|rows| rows.into_iter().filter(of_others).collect()).collect()
        };
        if others(&whole) != others(&refused) {
            refused.fail("L11", &format!("without the refusal the others are otherwise:\n{}", whole.place.all()), None);
        }
    });
}

/// People decide between the nights: what they decide is done once, and never over a later edit.
#[test]
fn random_decisions_keep_the_laws() {
    let picks = prop::collection::vec((0..12_usize, 0..6_usize), 12);
    each_world("random_decisions_keep_the_laws", 250, (any_world(true), picks), |(world, picks)| {
        let mut world = world.clone();
        // A read that shows what was there before shows people what they cannot decide about.
        world.nights.iter_mut().for_each(|(_, fault)| *fault = fault.filter(|fault| !matches!(fault, Fault::Lag(..))));
        play_deciding(&world, picks, None).check_end();
    });
}

/// L10 with decisions: a run that is cut off makes none twice, and loses none: it holds, or its break is open and asks again, because
/// the writes that were made changed what it was about.
#[test]
fn a_random_decision_outlives_a_run_that_is_cut_off() {
    let picks = prop::collection::vec((0..12_usize, 0..6_usize), 12);
    each_world("a_random_decision_outlives_a_run_that_is_cut_off", 150, (any_world(false), picks, 1..14_usize), |(world, picks, nth)| {
        let (mut whole, mut cut_off) = (play_deciding(world, picks, None), play_deciding(world, picks, Some(Fault::CutOff(*nth))));
        whole.until_quiet();
        cut_off.until_quiet();
        let texts = |played: &Played| texts_in(&played.place, &["k", "v", "w"]);
        if texts(&whole) != texts(&cut_off) {
            cut_off.fail("L10", &format!("without the cut-off it ends otherwise:\n{}", whole.place.all()), None);
        }
    });
}

/// L14: when two systems change places, everything that is done and told changes places with them.
#[test]
fn a_random_night_mirrored_does_the_same_in_the_mirror() {
    each_world("a_random_night_mirrored_does_the_same_in_the_mirror", 200, any_world(false), |world| {
        let mirrored = mirrored_job(&world.job);
        let mut left = Played::new(&world.job);
        let mut right = Played::of(&mirrored, mirrored_text(&world.job.text()));
        assert_eq!(mirrored_text(&mirrored_text(&world.job.text())), world.job.text());
        let nights = std::iter::once(&world.start).chain(world.nights.iter().map(|(edits, _)| edits));
        for edits in nights {
            edits.iter().for_each(|edit| left.edit(*edit));
            edits.iter().for_each(|edit| right.edit(mirrored_edit(*edit)));
            let (Some(one), Some(other)) = (left.night(None), right.night(None)) else { continue };
            let mut tables = texts_in(&right.place, &["k", "v", "w"]);
            tables.swap(0, 1);
            if texts_in(&left.place, &["k", "v", "w"]) != tables || done_and_told(&one, |name| name) != done_and_told(&other, other_name) {
                left.fail("L14", &format!("mirrored it is another night:\n{}\n{}", told(&other), right.place.all()), Some(&one));
            }
        }
    });
}

/// L25: with the state gone nothing is deleted, and no difference is silent.
#[test]
fn a_lost_state_deletes_nothing() {
    each_world("a_lost_state_deletes_nothing", 200, any_world(false), |world| {
        let mut played = play(world);
        std::fs::remove_dir_all(played.place.state_folder()).unwrap();
        let rows: Vec<usize> = played.rows().iter().map(Vec::len).collect();
        played.history += "the state is lost\n";
        let report = played.night(None).unwrap();
        if report.changes.iter().any(|c| c.action == Action::Delete) || played.rows().iter().zip(&rows).any(|(now, before)| now.len() < *before) {
            played.fail("L25", "something was deleted", Some(&report));
        }
        played.check_end();
    });
}

// ── laws that need a world of their own ──────────────────────────────────────────────────────────────────────────────────

const POLICIES: [&str; 4] = ["report", "propagate", "archive", "recreate"];

fn deletes(policy: &str) -> String {
    let archive = if policy == "archive" { "archive = { field = \"v\", value = 9 }\n" } else { "" };
    format!("[deletes]\npolicy = \"{policy}\"\n{archive}")
}

/// What stands in `k` and `v` of each table.
fn contents(place: &Place) -> Vec<Vec<Vec<Option<String>>>> {
    texts_in(place, &["k", "v"])
}

/// What stands in these columns of each table, in no order, and as often as it stands there.
fn texts_in(place: &Place, columns: &[&str]) -> Vec<Vec<Vec<Option<String>>>> {
    let of = |table: &Handle| {
        let mut rows: Vec<Vec<_>> = rows_of(table).into_iter().map(|row| columns.iter().map(|column| row[*column].clone()).collect()).collect();
        rows.sort();
        rows
    };
    place.tables.iter().map(of).collect()
}

/// L5: an agreed delete never comes back by itself, whatever went wrong while it was made, and a row that does come back asks.
#[test]
fn an_agreed_delete_never_comes_back() {
    for deleter in NAMES {
        for trouble in ["none", "refused", "lag", "fails before", "fails after", "cut off"] {
            let place = Place::new(&job_text(&["peer", "peer", "peer"], "merge = \"max\"", &deletes("propagate")));
            for key in ["k1", "k2"] {
                NAMES.iter().for_each(|system| place.insert(system, key, Some("1")));
            }
            place.night();
            let row = rows_of(place.table(deleter)).into_iter().find(|row| row["k"].as_deref() == Some("k1")).unwrap();
            place.delete(deleter, "k1");
            for system in NAMES.iter().filter(|system| **system != deleter) {
                match trouble {
                    "refused" => {
                        let _ = place.table(system).reject("k1", "locked");
                    }
                    "lag" => {
                        let _ = place.table(system).lag(2);
                    }
                    "fails before" => {
                        let _ = place.table(system).fail(Call::Write, 1, Effect::Nothing);
                    }
                    "fails after" => {
                        let _ = place.table(system).fail(Call::Write, 1, Effect::Everything);
                    }
                    _ => {}
                }
            }
            place.ask_until(&Request::default(), if trouble == "cut off" { 7 } else { usize::MAX });
            place.tables.iter().for_each(|table| {
                let _ = table.reject_nothing();
            });
            let report = place.until_quiet();
            assert_eq!(place.shown("k1"), "- - -", "{deleter}, {trouble}: {}", told(&report));
            assert_eq!(place.shown("k2"), "1 1 1");
            assert!(report.breaks.is_empty(), "{deleter}, {trouble}: {}", told(&report));
            // The same row again is a restore: somebody is asked, and nothing is created.
            place.table(deleter).edit(|rows| rows.push(row));
            let report = place.until_quiet();
            assert!(report.breaks.iter().any(|b| b.open.kind == BreakKind::Restored && b.open.key == "k1"), "{}", told(&report));
            assert_eq!(place.shown("k1").matches('-').count(), 2);
        }
    }
}

/// A delete waits for a decision that was open on the record: the value that nobody chose is not lost with it.
#[test]
fn a_delete_waits_for_an_open_decision() {
    for policy in ["propagate", "archive"] {
        let place = Place::new(&job_text(&["peer", "peer"], "merge = \"review\"", &deletes(policy)));
        place.insert("a", "k", Some("1"));
        place.insert("b", "k", Some("0"));
        place.night();
        place.delete("a", "k");
        let report = place.until_quiet();
        assert_eq!(place.shown("k"), "- 0", "{policy}: {}", told(&report));
        assert!(report.breaks.iter().any(|b| names(b, "k")), "{policy}: {}", told(&report));
        place.delete("b", "k");
        let report = place.until_quiet();
        assert!(report.breaks.is_empty(), "{policy}: {}", told(&report));
    }
}

/// L6: what is only hidden is not deleted anywhere, and gets no second copy.
#[test]
fn what_is_only_hidden_is_neither_deleted_nor_created() {
    for roles in [["peer", "peer"], ["source", "peer"], ["peer", "target"], ["source", "target"]] {
        for policy in POLICIES {
            for hidden in ["cut", "empty", "unreadable value", "unreadable key", "filtered", "two rows", "two rows of one id", "pull fails"] {
                for system in ["a", "b"] {
                    let text = job_text(&roles, "merge = \"max\"", &deletes(policy));
                    let filter = format!("table = \"{{{system}}}\"\nonly = {{ w = [\"w\"] }}\n");
                    let text = if hidden == "filtered" { text.replace(&format!("table = \"{{{system}}}\"\n"), &filter) } else { text };
                    let place = Place::new(&text);
                    for key in ["k1", "k2", "k3"] {
                        ["a", "b"].iter().for_each(|system| place.insert(system, key, Some("1")));
                    }
                    place.night();
                    let table = place.table(system);
                    match hidden {
                        "cut" => {
                            let _ = table.set_rows_max(Some(1));
                        }
                        "empty" => {
                            let _ = table.set_rows_max(Some(0));
                        }
                        "unreadable value" => place.set(system, "k1", "v", Some("one")),
                        "unreadable key" => place.set(system, "k1", "k", None),
                        "filtered" => place.set(system, "k1", "w", Some("other")),
                        "two rows" => place.insert(system, "k1", Some("4")),
                        "two rows of one id" => drop(table.edit(|rows| {
                            let copy: MemoryRow = rows[0]
                                .iter()
                                .map(|(column, text)| (column.clone(), if column == "k" { Some("k9".to_owned()) } else { text.clone() }))
                                .collect();
                            rows.push(copy);
                        })),
                        _ => {
                            let _ = table.fail(Call::Pull, 1, Effect::Nothing);
                        }
                    }
                    let before = (rows_of(place.table("a")), rows_of(place.table("b")));
                    for _ in 0..2 {
                        let report = place.ask(&Request::default()).report;
                        let what = format!("{roles:?} {policy} {hidden} in {system}: {}", told(&report));
                        assert!(report.changes.is_empty() || report.verdict == Verdict::Failed, "{what}");
                        assert_eq!((rows_of(place.table("a")), rows_of(place.table("b"))), before, "{what}");
                        let is_told = !report.breaks.is_empty() || report.verdict == Verdict::Failed;
                        assert!(is_told || hidden == "filtered" || hidden == "pull fails", "{what}");
                    }
                }
            }
        }
    }
}

/// L6 without ids: a row whose key became that of another row vanished, and nobody deleted it.
#[test]
fn a_key_changed_to_a_taken_one_is_no_delete_where_rows_have_no_ids() {
    for policy in POLICIES {
        for taken_elsewhere in [false, true] {
            let text = job_text(&["peer", "peer"], "merge = \"max\"", &deletes(policy)).replacen("id = \"id\"\n", "", 1);
            let place = Place::new(&text);
            for (key, v) in [("k1", "1"), ("k2", "2")] {
                ["a", "b"].iter().for_each(|system| place.insert(system, key, Some(v)));
            }
            place.night();
            if taken_elsewhere {
                // k3 is new in b the same night in which a calls its k1 so.
                place.insert("b", "k3", Some("1"));
                place.set("a", "k1", "k", Some("k3"));
            } else {
                place.set("a", "k1", "k", Some("k2"));
            }
            let before = contents(&place);
            for _ in 0..2 {
                let report = place.night();
                assert_eq!(contents(&place), before, "{policy}: {}", told(&report));
                assert!(report.breaks.iter().any(|b| names(b, "k1")), "{policy}: {}", told(&report));
            }
        }
    }
}

/// L9, L10: cut off at any step, the next runs end as if nothing had happened, and nothing is created twice.
#[test]
fn a_run_cut_off_at_any_step_ends_as_if_it_had_not_been() {
    let begin = |answers: bool| {
        let place = Place::new(&job_text(&["peer", "peer", "target"], "merge = \"latest\"\nthen = { priority = [\"b\", \"a\"] }", &deletes("propagate")));
        for key in ["k1", "k2", "k3", "k4"] {
            NAMES.iter().for_each(|system| place.insert(system, key, Some("1")));
        }
        place.night();
        place.tables.iter().for_each(|table| {
            let _ = table.set_answers(answers);
        });
        place.set("a", "k1", "v", Some("2"));
        place.set("b", "k2", "v", Some("3"));
        place.set("c", "k2", "v", Some("4"));
        place.set("a", "k3", "v", Some("5"));
        place.set("b", "k3", "v", Some("6"));
        place.set("a", "k1", "k", Some("k7"));
        place.delete("b", "k4");
        place.insert("a", "k5", Some("7"));
        place.insert("b", "k6", Some("8"));
        place
    };
    for answers in [true, false] {
        let whole = begin(answers);
        whole.until_quiet();
        let end = contents(&whole);
        assert!(end.iter().all(|table| *table == end[0]), "{end:?}");
        for nth in 1.. {
            let place = begin(answers);
            let was_cut_off = place.ask_until(&Request::default(), nth).is_none();
            if nth.is_multiple_of(2) {
                // A second one on top of it.
                place.ask_until(&Request::default(), nth);
            }
            let report = place.until_quiet();
            assert_eq!(contents(&place), end, "cut off at step {nth}: {}", told(&report));
            assert!(report.breaks.is_empty(), "cut off at step {nth}: {}", told(&report));
            assert!(place.tables.iter().all(|table| table.rows().len() == 5), "{}", place.all());
            if !was_cut_off {
                assert!(nth > 6, "a run has more than {nth} steps");
                break;
            }
        }
    }
}

/// L16: whatever a target makes of a value, once it does so again it is quiet from the second write on.
#[test]
fn an_undo_that_is_cut_off_is_made_and_held_or_not_made_at_all() {
    let mut ends = BTreeSet::new();
    for nth in 1..18 {
        let place = Place::new(&peers(2, "merge = { priority = [\"a\", \"b\"] }"));
        ["a", "b"].iter().for_each(|system| place.insert(system, "k", Some("0")));
        place.night();
        place.set("a", "k", "v", Some("5"));
        place.insert("a", "new", Some("1"));
        let run = place.night().run;
        assert_eq!((place.shown("k").as_str(), place.shown("new").as_str()), ("5 5", "1 1"));
        let stored = Stored::open(&place.state_folder()).unwrap().unwrap();
        let by = Signature { who: "somebody", why: None, at: "2026-03-01T12:00:00Z" };
        let undo = undo::of_run(&place.job, &stored, &run, by).unwrap();
        drop(stored);
        place.ask_until(&Request { undo: Some(Arc::new(undo)), ..Request::default() }, nth);
        let report = place.until_quiet();
        let held = report.breaks.iter().filter(|one| one.open.kind == BreakKind::Undone).count();
        let end = (place.shown("k"), place.shown("new"), held);
        let is_sound = [("5 5", "1 1", 0), ("5 0", "1 -", 2)].iter().any(|(k, new, held)| end == ((*k).to_owned(), (*new).to_owned(), *held));
        assert!(is_sound, "cut off at step {nth}: {end:?}\n{}", told(&report));
        ends.insert(held);
    }
    assert_eq!(ends.len(), 2, "some are cut off before the writes, some after");
}

#[test]
fn a_target_that_normalises_is_quiet_after_two_writes() {
    type Habit = fn(column: &str, text: &str) -> String;
    let habits: [(&str, Habit); 4] = [
        ("keeps three letters", |column, text| if column == "v" { text.chars().take(3).collect() } else { text.to_owned() }),
        ("upper case", |column, text| if column == "v" { text.to_uppercase() } else { text.to_owned() }),
        ("always the same", |column, text| if column == "v" { "x".to_owned() } else { text.to_owned() }),
        ("changes the key", |column, text| if column == "k" { text.to_uppercase() } else { text.to_owned() }),
    ];
    for (name, habit) in habits {
        for answers in [true, false] {
            for role in ["target", "peer"] {
                let text = job_text(&["peer", role], "", "").replace("type = \"integer\"", "type = \"text\"\nowner = \"a\"");
                let place = Place::new(&text);
                place.table("b").set_answers(answers).normalise(habit);
                for (key, v) in [("k1", "abcdef"), ("k2", "ab"), ("k3", "ABC")] {
                    place.insert("a", key, Some(v));
                }
                place.insert("b", "k3", Some("other"));
                let mut writes: BTreeMap<String, usize> = BTreeMap::new();
                for _ in 0..5 {
                    for change in place.night().changes {
                        *writes.entry(format!("{} {}", change.system, change.key)).or_default() += 1;
                    }
                }
                assert!(writes.values().all(|count| *count <= 2), "{name}, {role}, answers {answers}: {writes:?}\n{}", place.all());
                place.set("a", "k1", "v", Some("fedcba"));
                place.until_quiet();
            }
        }
    }
}

/// L17, as far as it holds: a system that makes something else of a value each time is not written for ever. Whatever differs
/// in the end is either what that system makes of it by its own word, or waits for a person.
#[test]
fn a_system_that_never_keeps_a_value_is_not_written_for_ever() {
    static WRITES: AtomicUsize = AtomicUsize::new(0);
    let restless = |column: &str, text: &str| match column {
        "v" => format!("{text}, version {}", WRITES.fetch_add(1, Ordering::Relaxed)),
        _ => text.to_owned(),
    };
    let cases = [
        ("target", "owner = \"a\""),
        ("peer", "owner = \"a\""),
        ("peer", "merge = { priority = [\"a\", \"b\"] }"),
        ("peer", "merge = { priority = [\"b\", \"a\"] }"),
        ("peer", "merge = \"longest\""),
        ("peer", "merge = \"review\""),
    ];
    for (role, rule) in cases {
        for answers in [true, false] {
            let what = format!("{role}, {rule}, answers {answers}");
            let place = Place::new(&job_text(&["peer", role], rule, "").replace("type = \"integer\"", "type = \"text\""));
            for system in ["a", "b"] {
                place.insert(system, "k1", Some("one"));
                place.insert(system, "k2", Some("two"));
            }
            place.night();
            place.table("b").set_answers(answers).normalise(restless);
            place.set("a", "k1", "v", Some("new"));
            let sent = |report: &Report| report.changes.iter().filter(|change| change.key == "k1").count();
            let writes: Vec<usize> = (0..10).map(|_| sent(&place.night())).collect();
            // Where it says by itself what it stores, once is enough.
            let most = if answers { 1 } else { place.job.attempts_max as usize };
            assert!(writes.iter().sum::<usize>() <= most && writes[7..] == [0, 0, 0], "{what}: {writes:?}\n{}", place.all());
            let report = place.until_quiet();
            let is_agreed = place.values("a", "k1") == place.values("b", "k1");
            let is_told = report.breaks.iter().any(|open| names(open, "k1"));
            assert!(is_agreed || is_told || answers, "{what}: {}\n{}", told(&report), place.all());
            assert_eq!(place.shown("k2"), "two two", "{what}");
        }
    }
}

/// L17: whatever a system makes of a field after we have written it, after each run and other each time, within five runs it is quiet
/// or frozen: from then on nothing is written there, a break says so, and its other fields and other records go on. Only a person, or
/// that all systems agree, ends it.
#[test]
fn a_field_that_is_changed_again_after_every_write_is_frozen_within_five_runs() {
    type Again = fn(night: usize, written: &str) -> String;
    let habits: [(&str, Again); 4] = [
        ("another each time", |night, _| format!("version {night}")),
        ("grows", |_, written| format!("{written}+")),
        ("one of two", |night, _| ["yes", "no"][night % 2].to_owned()),
        ("always the same", |_, _| "mine".to_owned()),
    ];
    let cases = [
        ("target", "owner = \"a\""),
        ("peer", "owner = \"a\""),
        ("peer", "merge = { priority = [\"a\", \"b\"] }"),
        ("peer", "merge = { priority = [\"b\", \"a\"] }"),
        ("peer", "merge = \"longest\""),
        ("peer", "merge = \"review\""),
    ];
    for (habit, again) in habits {
        for (role, rule) in cases {
            let what = format!("{habit}, {role}, {rule}");
            let place = Place::new(&job_text(&["peer", role], rule, "").replace("type = \"integer\"", "type = \"text\""));
            for system in ["a", "b"] {
                place.insert(system, "k1", Some("one"));
                place.insert(system, "k2", Some("two"));
            }
            place.night();
            place.set("a", "k1", "v", Some("new"));
            // Whenever b was written, something there changes the value before the next run. Where both decide, so does something in a.
            let mut writes: Vec<[usize; 2]> = Vec::new();
            for night in 0..12 {
                let report = place.night();
                let sent = |system: &str| report.changes.iter().filter(|change| change.key == "k1" && change.system == system).count();
                writes.push([sent("a"), sent("b")]);
                if sent("b") > 0 {
                    let now = place.values("b", "k1");
                    place.set("b", "k1", "v", Some(&again(night, now[0].as_deref().unwrap_or_default())));
                }
                if !rule.contains("owner") && night < 8 {
                    place.set("a", "k1", "v", Some(&format!("insists {night}")));
                }
            }
            let quiet_from = if rule.contains("owner") { 5 } else { 9 };
            assert!(writes[quiet_from..].iter().all(|sent| *sent == [0, 0]), "{what}: {writes:?}\n{}", place.all());
            assert!(writes.iter().map(|sent| sent[1]).sum::<usize>() <= 5, "{what}: {writes:?}");
            let report = place.until_quiet();
            let is_told = report.breaks.iter().any(|open| names(open, "k1"));
            assert!(is_told || place.values("a", "k1") == place.values("b", "k1"), "{what}: {}\n{}", told(&report), place.all());
            assert_eq!(place.shown("k2"), "two two", "{what}");
            if !rule.contains("owner") {
                continue;
            }
            let frozen = report.breaks.iter().find(|open| open.open.kind == BreakKind::Frozen).unwrap_or_else(|| panic!("{what}: {}", told(&report)));
            assert_eq!((frozen.open.field.as_deref(), frozen.open.system.as_deref()), (Some("v"), Some("b")), "{what}");
            // A plan that lets it be written again changes nothing; a run does.
            let unfreeze = || Request { unfreeze: vec!["k1.v".to_owned()], ..Request::default() };
            let planned = place.ask(&Request { plan_only: true, ..unfreeze() }).report;
            assert_eq!(planned.changes.len(), 1, "{what}: {}", told(&planned));
            assert!(place.ask(&Request::default()).report.changes.is_empty(), "{what}");
            let report = place.ask(&unfreeze()).report;
            assert_eq!(report.changes.len(), 1, "{what}: {}", told(&report));
            let report = place.until_quiet();
            assert_eq!(place.values("a", "k1"), place.values("b", "k1"), "{what}: {}", told(&report));
            assert!(report.breaks.is_empty(), "{what}: {}", told(&report));
        }
    }
}

/// L21: a gate that trips means that nothing is written in any system.
#[test]
fn a_gate_that_trips_stops_every_write() {
    let gates = [
        ("deletes", "1"),
        ("updates", "1"),
        ("shrink", "1"),
        ("growth", "1"),
        ("empty", "\"stop\""),
        ("all-changed", "\"stop\""),
        ("time-travel", "\"stop\""),
        ("money", ""),
        ("canary", ""),
    ];
    for (gate, limit) in gates {
        let more = match gate {
            "money" => "[totals]\nv = { change_max = 9 }\n",
            "canary" => "[[canaries]]\nkey = \"k3\"\nexpect = { v = 1 }\n",
            _ => "",
        };
        let text = job_text(&["peer", "peer", "target"], "merge = \"max\"", &(deletes("propagate") + more));
        let text = text.replace(&format!("{gate} = \"off\""), &format!("{gate} = {limit}")) + "floor = 0\n";
        let place = Place::new(&text);
        for record in 0..25 {
            NAMES.iter().for_each(|system| place.insert(system, &format!("k{record}"), Some("1")));
        }
        place.night();
        // One innocent change elsewhere that must wait too.
        place.set("b", "k20", "v", Some("7"));
        match gate {
            "deletes" | "shrink" => (0..3).for_each(|record| place.delete("a", &format!("k{record}"))),
            "growth" => (50..53).for_each(|record| place.insert("a", &format!("k{record}"), Some("1"))),
            "empty" => {
                let _ = place.table("a").set_rows(Vec::new());
            }
            "time-travel" => drop(place.table("a").edit(edit_of("k3", "v", Some("5"), "2020-01-01T00:00:00Z"))),
            "canary" => place.set("c", "k3", "v", Some("5")),
            "updates" => (0..3).for_each(|record| place.set("a", &format!("k{record}"), "v", Some("5"))),
            _ => (0..25).for_each(|record| place.set("a", &format!("k{record}"), "v", Some("5"))),
        }
        let before = contents(&place);
        for _ in 0..2 {
            let report = place.ask(&Request::default()).report;
            assert_eq!(report.verdict, Verdict::Failed, "{gate}: {}", told(&report));
            assert!(format!("{:?}", report.stopped_by).contains(gate), "{gate}: {:?}", report.stopped_by);
            assert_eq!(contents(&place), before, "{gate}");
        }
    }
}

/// An empty cell in the system that decides is no decision: at first contact it clears nothing.
#[test]
fn an_empty_cell_of_the_owner_clears_nothing_at_first_contact() {
    for roles in [vec!["source", "target"], vec!["peer", "target"], vec!["source", "peer", "peer"]] {
        let rule = if roles[0] == "peer" { "owner = \"a\"" } else { "" };
        let place = Place::new(&job_text(&roles, rule, ""));
        place.insert("a", "k", None);
        place.insert("b", "k", Some("1"));
        if roles.len() == 3 {
            place.insert("c", "k", Some("2"));
        }
        let before = contents(&place);
        let report = place.until_quiet();
        assert_eq!(contents(&place), before, "{}", told(&report));
        assert!(report.breaks.iter().any(|b| b.open.kind == BreakKind::Cleared), "{}", told(&report));
    }
}

/// A record that was archived and taken back by a person is asked about, and stays told.
#[test]
fn an_archived_record_that_is_taken_back_is_told() {
    let place = Place::new(&job_text(&["peer", "peer"], "merge = \"max\"", &deletes("archive")));
    ["a", "b"].iter().for_each(|system| place.insert(system, "k", Some("1")));
    place.night();
    place.delete("a", "k");
    place.until_quiet();
    assert_eq!(place.shown("k"), "- 9");
    place.set("b", "k", "v", Some("1"));
    let report = place.until_quiet();
    assert!(report.breaks.iter().any(|b| b.open.kind == BreakKind::Restored), "{}", told(&report));
    let allowed = vec![Allowed { gate: Gate::Restored, system: None }];
    place.ask(&Request { allowed, ..Request::default() });
    assert_eq!(place.shown("k"), "1 1");
    let report = place.until_quiet();
    assert!(report.breaks.is_empty(), "{}", told(&report));
}

/// L6, L10: beside an archived row no second one is made. Whatever a person then does about it, it ends quietly.
#[test]
fn the_key_of_an_archived_row_asks_until_a_person_decides() {
    for roles in [vec!["peer", "peer"], vec!["peer", "target"], vec!["source", "peer"], vec!["peer", "target", "peer"], vec!["peer", "peer", "witness"]] {
        for way in ["taken back", "archived row removed", "other key", "deleted again", "taken back and deleted again"] {
            let rule = if roles[0] == "source" { "" } else { "merge = \"max\"" };
            let place = Place::new(&job_text(&roles, rule, &deletes("archive")));
            let others: Vec<&str> = NAMES[1..roles.len()].to_vec();
            for key in ["k", "m"] {
                NAMES[..roles.len()].iter().for_each(|system| place.insert(system, key, Some("1")));
            }
            place.night();
            place.delete("a", "k");
            place.until_quiet();
            place.insert("a", "k", Some("5"));
            let what = format!("{roles:?}, {way}");
            let report = place.until_quiet();
            let archived: Vec<&str> = others.iter().copied().filter(|system| roles[place.system(system)] != "witness").collect();
            for system in &archived {
                assert_eq!(place.values(system, "k"), [Some("9".to_owned())], "{what}: {}", told(&report));
                let asks = |b: &&BreakReport| b.open.kind == BreakKind::Restored && b.open.key == "k" && b.open.system.as_deref() == Some(*system);
                assert_eq!(report.breaks.iter().filter(asks).count(), 1, "{what}: {}", told(&report));
            }
            let all_have = |key: &str, v: &str| {
                NAMES[..roles.len()].iter().filter(|s| roles[place.system(s)] != "witness").all(|s| place.values(s, key) == [Some(v.to_owned())])
            };
            match way {
                "other key" => place.set("a", "k", "k", Some("n")),
                "deleted again" => place.delete("a", "k"),
                "archived row removed" => archived.iter().for_each(|system| place.delete(system, "k")),
                _ => archived.iter().for_each(|system| place.set(system, "k", "v", Some("1"))),
            }
            let mut report = place.until_quiet();
            match way {
                "other key" => assert!(all_have("n", "5"), "{what}: {}\n{}", told(&report), place.all()),
                "deleted again" => assert!(!place.shown("k").contains('5'), "{what}: {}", place.all()),
                _ => assert!(all_have("k", "5"), "{what}: {}\n{}", told(&report), place.all()),
            }
            if way == "taken back and deleted again" {
                place.delete("a", "k");
                report = place.until_quiet();
                archived.iter().for_each(|system| assert_eq!(place.values(system, "k"), [Some("9".to_owned())], "{what}: {}", told(&report)));
            }
            // A witness that has what nobody else has, or lacks it, stays told.
            assert!(report.breaks.iter().all(|b| b.open.system.as_deref() == Some("c") && roles.contains(&"witness")), "{what}: {}", told(&report));
        }
    }
}
