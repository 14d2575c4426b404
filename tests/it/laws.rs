//! The laws that every night must keep, checked against the slow oracle and through real runs over the twin in memory.
//!
//! Three layers. *Tables*: small worlds enumerated in full, each world one record of one plan, decided by the library and by
//! [`crate::oracle`]. *Scenarios*: the counterexamples that shaped the semantics, each a story of a few nights. *Random
//! worlds*: random jobs and nights of random edits and faults, after each of which the laws are asked.
//!
//! `TIEOUT_WORLDS=n` asks for n random worlds a law instead of the few that an everyday run can afford; a failure prints
//! its job and its nights, and proptest keeps its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use polars::prelude::{NewChunkedArray, StringChunked};
use tieout::change::{Action, PlanHeader, Reason};
use tieout::frame::{Evidence, Keyed, Pulled};
use tieout::job::{self, Job, JobFile, Settings};
use tieout::reconcile::base::{BaseBuilder, BaseCell, FieldDebt, OpenField, Standing, State};
use tieout::reconcile::clean::clean;
use tieout::reconcile::dedupe::dedupe;
use tieout::reconcile::link::link;
use tieout::reconcile::plan::{Decisions, plan};
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
    let linked = link(job, state, nows, false);
    plan(job, state, nows, linked, PlanHeader { job: "laws".to_owned(), run: "r".to_owned(), ..PlanHeader::default() })
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
                if *rule == Rule::MostRestrictive(vec!["2", "0"]) && !backwards.is_empty() {
                    all.push(Design { then: Some(Rule::Priority(backwards.clone())), ..design.clone() });
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
