//! The slow, obvious specification that the laws are checked against: plain maps in, plain maps out.
//!
//! It is written from the tables of the merge semantics, a case at a time, and shares no code and no type with the library.
//! [`decide_field`] says for one field of one record what is decided, who is written and what stays open; [`decide_record`]
//! says for one record in which systems it is created, deleted or archived. Neither is fast, and both are total.
//!
//! # Design
//! A value is its text, and null is `None`. What a person could not tell apart on paper is not told apart here: where the
//! semantics leave two outcomes open, the answer says so ([`Expected::any_value`]) instead of choosing one.

use std::collections::{BTreeMap, BTreeSet};

/// A value that is carried: null, or a text.
pub type Cell = Option<String>;

/// What a system may decide, and whether it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Source,
    Target,
    Peer,
    Witness,
}

impl Role {
    pub fn votes(self) -> bool {
        matches!(self, Role::Source | Role::Peer)
    }

    pub fn is_written(self) -> bool {
        matches!(self, Role::Peer | Role::Target)
    }

    pub fn word(self) -> &'static str {
        match self {
            Role::Source => "source",
            Role::Target => "target",
            Role::Peer => "peer",
            Role::Witness => "witness",
        }
    }
}

/// What decides a conflict. Systems are named by their position in the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    Latest,
    Priority(Vec<usize>),
    Max,
    Min,
    Longest,
    Union,
    SumOfChanges,
    MostRestrictive(Vec<&'static str>),
    Review,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blank {
    Ignore,
    Propagate,
    Conflict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstContact {
    Decide,
    FillBlanks,
    Review,
}

/// What a system still has to do with a value that was decided earlier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Debt {
    /// It has not taken it.
    Owed,
    /// Nobody knows whether it took it before it was edited.
    Unknown,
    /// It makes this of it, and keeps it so.
    Normalises(String),
}

/// One system that carries the field.
#[derive(Clone, Debug)]
pub struct Side {
    pub role: Role,
    /// What it holds; nothing where the record is not there tonight.
    pub now: Option<Cell>,
    /// What it held when it last took part in a decision; nothing where it never did.
    pub base: Option<Cell>,
    pub linked: bool,
    /// In seconds.
    pub edited_at: Option<i64>,
    pub debt: Option<Debt>,
}

/// One field of one record, in every system that carries it, by their position in the job.
#[derive(Clone, Debug)]
pub struct FieldCase {
    pub sides: BTreeMap<usize, Side>,
    pub owner: Vec<usize>,
    pub rules: Vec<Rule>,
    pub blank: Option<Blank>,
    /// Numbers at most this far apart are equivalent.
    pub tolerance: i64,
    pub overwrites_drift: bool,
    pub first_contact: FirstContact,
    /// What is still open of an earlier decision: the value, and the systems that it came from.
    pub open: Option<(Cell, Vec<usize>)>,
}

/// What must come out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// A person decides: nothing is written, no base moves, a break stays open.
    pub held: bool,
    /// The value that holds.
    pub value: Cell,
    /// The semantics do not say which value holds, because the systems have differed for ever: only that nobody is written
    /// who did not change.
    pub any_value: bool,
    /// The owner is empty for the first time and that is no decision: nothing that stands anywhere is written over, and
    /// somebody is told. Whether other empty cells are filled is left open.
    pub undecided: bool,
    /// Who is written that value.
    pub written: BTreeSet<usize>,
    /// Who is at odds with it afterwards.
    pub breaks: BTreeSet<usize>,
    /// Edits that lost, by who made them.
    pub lost: BTreeMap<usize, String>,
}

fn number(cell: &Cell) -> Option<i64> {
    cell.as_ref()?.parse().ok()
}

impl FieldCase {
    pub fn equivalent(&self, a: &Cell, b: &Cell) -> bool {
        a == b || matches!((number(a), number(b)), (Some(a), Some(b)) if a.abs_diff(b) <= self.tolerance.unsigned_abs())
    }

    fn is_owed(&self, system: usize) -> bool {
        matches!(self.sides[&system].debt, Some(Debt::Owed | Debt::Unknown))
    }

    /// Edited since the last decision that it took part in. What we wrote, and what arrived late, is no edit.
    fn changed(&self, system: usize) -> bool {
        let side = &self.sides[&system];
        let (Some(now), Some(base)) = (&side.now, &side.base) else { return false };
        let arrived = self.is_owed(system) && self.open.as_ref().is_some_and(|(value, _)| value == now);
        now != base && !arrived
    }

    fn unseen(&self, system: usize) -> bool {
        let side = &self.sides[&system];
        side.now.is_some() && side.base.is_none()
    }

    /// A null that is an edit, or the first thing seen there, and what that means.
    fn blank_of(&self, system: usize) -> Option<Blank> {
        let is_null = self.sides[&system].now == Some(None);
        match (is_null, self.unseen(system), self.changed(system)) {
            (true, true, _) => Some(self.blank.unwrap_or(Blank::Ignore)),
            (true, false, true) => Some(self.blank.unwrap_or(Blank::Conflict)),
            _ => None,
        }
    }

    fn now(&self, system: usize) -> Cell {
        self.sides[&system].now.clone().unwrap_or(None)
    }

    fn here(&self) -> Vec<usize> {
        self.sides.keys().copied().filter(|s| self.sides[s].now.is_some()).collect()
    }

    /// The first owner in which the record exists or ever did.
    fn owner(&self) -> Option<usize> {
        self.owner.iter().copied().find(|o| self.sides.get(o).is_some_and(|side| side.linked || side.now.is_some()))
    }
}

/// A value that somebody stands for.
#[derive(Clone, Debug)]
struct Contender {
    system: usize,
    value: Cell,
    edited_at: Option<i64>,
}

/// What must be decided.
pub fn decide_field(case: &FieldCase) -> Expected {
    let owner = case.owner();
    let voters: Vec<usize> = match owner {
        Some(owner) => vec![owner],
        None => case.sides.keys().copied().filter(|s| case.sides[s].role.votes()).collect(),
    };
    let held = || Expected { held: true, ..Expected::default() };
    let here: Vec<usize> = voters.iter().copied().filter(|v| case.sides[v].now.is_some()).collect();
    let counts_up = owner.is_none() && case.rules.first() == Some(&Rule::SumOfChanges) && here.iter().any(|v| case.changed(*v));
    let all_here = case.here();
    if case.open.is_none() && !counts_up && all_here.len() == case.sides.len() && all_here.iter().all(|s| case.now(*s) == case.now(all_here[0])) {
        return Expected { value: case.now(all_here[0]), ..Expected::default() };
    }

    if here.is_empty() {
        // A linked owner that does not show the record: edits wait, and nothing else happens. A witness holds nothing up, and
        // an edit in a target is drift.
        let edited = |s: &usize| case.sides[s].role.votes() && case.changed(*s);
        if owner.is_some() && case.sides.keys().any(edited) {
            return held();
        }
        return stands(case, &voters, owner.and_then(|o| case.sides[&o].base.clone()).unwrap_or(None));
    }

    // The blank policy is asked before anything else. Where everybody is empty there is nothing to ask.
    let counts = |s: &usize| case.sides[s].role != Role::Witness;
    let all_null = case.here().iter().filter(|s| counts(s)).all(|s| case.now(*s).is_none());
    if !all_null && here.iter().any(|v| case.blank_of(*v) == Some(Blank::Conflict)) {
        return held();
    }
    let speaks = |v: &usize| all_null || case.blank_of(*v) != Some(Blank::Ignore);

    if let Some(owner) = owner {
        // To clear a field everywhere is a decision; to clear it in the owner alone may be none.
        let ignored = case.blank_of(owner) == Some(Blank::Ignore) && !(all_null && case.unseen(owner));
        return by_owner(case, owner, !ignored);
    }

    let seen: Vec<usize> = here.iter().copied().filter(|v| !case.unseen(*v)).collect();
    let unseen: Vec<usize> = here.iter().copied().filter(|v| case.unseen(*v)).collect();
    if case.rules.first() == Some(&Rule::SumOfChanges) && !seen.is_empty() {
        return sum_of_changes(case, &voters, &here);
    }

    // Systems with a base decide first.
    let changed: Vec<usize> = seen.iter().copied().filter(|v| case.changed(*v) && speaks(v)).collect();
    let mut contenders: Vec<Contender> = changed.iter().map(|v| contender(case, *v)).collect();
    if changed.iter().any(|v| case.is_owed(*v)) {
        // An edit against an owed value: that votes for the systems it came from.
        let (value, from) = case.open.clone().unwrap_or_default();
        for system in from.into_iter().filter(|s| !changed.contains(s)) {
            contenders.push(Contender { system, value: value.clone(), edited_at: case.sides.get(&system).and_then(|s| s.edited_at) });
        }
    }
    let first_unseen: Vec<Contender> = unseen.iter().filter(|v| speaks(v)).map(|v| contender(case, *v)).collect();

    if seen.is_empty() && first_unseen.is_empty() {
        // Empty in all who decide, which is no decision, and not empty elsewhere.
        return held();
    }
    if seen.is_empty() {
        let decided = elect(case, first_unseen.clone());
        return conclude(case, &voters, decided, &first_unseen, true);
    }
    let of_seen = if contenders.is_empty() {
        let value = match &case.open {
            Some((value, _)) => value.clone(),
            None => standing(case, &voters),
        };
        if first_unseen.is_empty() {
            return stands(case, &voters, value);
        }
        Some(value)
    } else {
        elect(case, contenders.clone())
    };
    let Some(value) = of_seen else { return held() };
    if first_unseen.is_empty() {
        return conclude(case, &voters, Some(value), &contenders, false);
    }
    if contenders.is_empty() && first_unseen.iter().all(|c| c.value == value) {
        return stands(case, &voters, value);
    }
    // Their value meets the others. An empty one is filled.
    let mut meeting = first_unseen.clone();
    if value.is_some() || case.blank == Some(Blank::Propagate) {
        let supporters: Vec<usize> = match (&case.open, contenders.is_empty()) {
            (Some((_, from)), true) => from.clone(),
            (None, true) => seen.iter().copied().filter(|v| case.now(*v) == value).collect(),
            // A computed value comes from all of them.
            (_, false) if contenders.iter().all(|c| c.value != value) => contenders.iter().map(|c| c.system).collect(),
            (_, false) => contenders.iter().filter(|c| c.value == value).map(|c| c.system).collect(),
        };
        let stood = |v: &usize| case.sides[v].base.as_ref() == Some(&value);
        let supporters = if supporters.is_empty() { seen.iter().copied().filter(stood).collect() } else { supporters };
        meeting.extend(supporters.into_iter().map(|system| Contender { system, value: value.clone(), edited_at: case.sides[&system].edited_at }));
    }
    let all: Vec<Contender> = contenders.into_iter().chain(first_unseen).collect();
    let decided = elect(case, meeting);
    conclude(case, &voters, decided, &all, true)
}

fn contender(case: &FieldCase, system: usize) -> Contender {
    Contender { system, value: case.now(system), edited_at: case.sides[&system].edited_at }
}

/// The value that was decided last, as far as bases tell: what the first voter was last seen with.
fn standing(case: &FieldCase, voters: &[usize]) -> Cell {
    voters.iter().find_map(|v| case.sides[v].base.clone()).unwrap_or(None)
}

/// The value that wins; nothing where a person must choose.
fn elect(case: &FieldCase, mut contenders: Vec<Contender>) -> Option<Cell> {
    contenders.sort_by_key(|c| c.system);
    let Some(first) = contenders.first() else { return Some(None) };
    if contenders.iter().all(|c| c.value == first.value) {
        // A value that the list does not have goes nowhere, unless all who decide hold it.
        let voters = case.here().into_iter().filter(|s| case.sides[s].role.votes());
        let is_shared = contenders.len() > 1 && voters.map(|s| case.now(s)).all(|now| now == first.value);
        return match (case.rules.first(), &first.value) {
            (Some(Rule::MostRestrictive(order)), Some(value)) if !order.contains(&value.as_str()) && !is_shared => None,
            _ => Some(first.value.clone()),
        };
    }
    for rule in &case.rules {
        // How strict a value is that the list does not have, no later rule may say.
        if let Rule::MostRestrictive(order) = rule
            && !contenders.iter().all(|c| c.value.as_ref().is_some_and(|v| order.contains(&v.as_str())))
        {
            return None;
        }
        if let Some(value) = apply(rule, &contenders) {
            return Some(value);
        }
    }
    None
}

fn apply(rule: &Rule, contenders: &[Contender]) -> Option<Cell> {
    let solid: Vec<&String> = contenders.iter().filter_map(|c| c.value.as_ref()).collect();
    match rule {
        Rule::Review | Rule::SumOfChanges => None,
        Rule::Priority(order) => order.iter().find_map(|s| contenders.iter().find(|c| c.system == *s)).map(|c| c.value.clone()),
        Rule::Max => solid.into_iter().max_by_key(|v| v.parse::<i64>().unwrap()).map(|v| Some(v.clone())),
        Rule::Min => solid.into_iter().min_by_key(|v| v.parse::<i64>().unwrap()).map(|v| Some(v.clone())),
        Rule::Longest => {
            let longest = solid.iter().map(|v| v.chars().count()).max()?;
            solid.into_iter().find(|v| v.chars().count() == longest).map(|v| Some(v.clone()))
        }
        Rule::Union => {
            let items: BTreeSet<&str> = solid.iter().flat_map(|v| v.split(';')).collect();
            Some(Some(items.into_iter().collect::<Vec<_>>().join(";")))
        }
        Rule::MostRestrictive(order) => order.iter().find(|v| solid.iter().any(|s| s == *v)).map(|v| Some((*v).to_owned())),
        Rule::Latest => {
            let times: Option<Vec<i64>> = contenders.iter().map(|c| c.edited_at).collect();
            let newest = times?.into_iter().max()?;
            let winners: BTreeSet<&Cell> = contenders.iter().filter(|c| c.edited_at == Some(newest)).map(|c| &c.value).collect();
            let [winner] = winners.into_iter().collect::<Vec<_>>()[..] else { return None };
            let leads = contenders.iter().filter(|c| c.value != *winner).all(|c| newest - c.edited_at.unwrap() > 120);
            leads.then(|| winner.clone())
        }
    }
}

/// `last decided + Σ(now − base)`, equal edits or not.
fn sum_of_changes(case: &FieldCase, voters: &[usize], here: &[usize]) -> Expected {
    let last = case.open.as_ref().map_or_else(|| standing(case, voters), |(value, _)| value.clone());
    // Nobody counts tonight: what was decided stands, though nothing was counted yet, or an empty cell is still owed it.
    let nobody = here.iter().all(|v| !case.changed(*v));
    let is_known = here.iter().all(|v| !case.unseen(*v)) && (case.open.is_some() || here.iter().all(|v| case.now(*v).is_none()));
    let is_empty = case.here().iter().all(|s| case.sides[s].role == Role::Witness || case.now(*s).is_none());
    if nobody && (is_known || case.open.is_none() && is_empty) {
        return stands(case, voters, last);
    }
    if here.iter().any(|v| case.now(*v).is_none()) {
        return Expected { held: true, ..Expected::default() };
    }
    if here.iter().any(|v| case.sides[v].debt == Some(Debt::Unknown) && case.changed(*v)) {
        return Expected { held: true, ..Expected::default() };
    }
    let changed: Vec<usize> = here.iter().copied().filter(|v| case.changed(*v)).collect();
    // Who was never seen with it may agree with a sum that nobody edits, and no more.
    if here.iter().any(|v| case.unseen(*v) && (!changed.is_empty() || case.now(*v) != last)) {
        return Expected { held: true, ..Expected::default() };
    }
    if changed.is_empty() {
        return stands(case, voters, last);
    }
    // A counter that was empty counts from nothing.
    let of = |cell: &Cell| number(cell).unwrap_or(0);
    let sum: i64 = of(&last) + changed.iter().map(|v| of(&case.now(*v)) - of(&case.sides[v].base.clone().unwrap_or(None))).sum::<i64>();
    let mut expected = conclude(case, voters, Some(Some(sum.to_string())), &[], false);
    // Every change is in the sum.
    expected.lost.retain(|system, _| !voters.contains(system));
    expected
}

fn by_owner(case: &FieldCase, owner: usize, speaks: bool) -> Expected {
    let side = &case.sides[&owner];
    let voters = [owner];
    if !speaks {
        // It is empty there and the job says that this is no edit: what it was before still holds, if it ever was.
        return match &side.base {
            Some(base) => {
                let mut expected = stands(case, &voters, base.clone());
                expected.breaks.insert(owner);
                expected
            }
            None => Expected { undecided: true, breaks: BTreeSet::from([owner]), ..Expected::default() },
        };
    }
    let value = case.now(owner);
    if case.changed(owner) || case.unseen(owner) { conclude(case, &voters, Some(value), &[], case.unseen(owner)) } else { stands(case, &voters, value) }
}

/// No voter changed the field: edits of others are drift, what was owed is sent again, and any other difference is a break.
fn stands(case: &FieldCase, voters: &[usize], value: Cell) -> Expected {
    let mut expected = Expected { value: value.clone(), ..Expected::default() };
    let owed_value = case.open.as_ref().is_some_and(|(open, _)| *open == value);
    for system in case.here() {
        let side = &case.sides[&system];
        let now = case.now(system);
        if holds(case, system, &value) {
            continue;
        }
        let drifted = !voters.contains(&system) && (case.changed(system) || case.unseen(system));
        let filled = voters.contains(&system) && case.blank_of(system) == Some(Blank::Ignore) && value.is_some();
        let owed = owed_value && case.is_owed(system);
        let cleared_there = now.is_none() && (case.owner.contains(&system) || side.role == Role::Source);
        if drifted && side.role != Role::Witness && now.is_some() {
            expected.lost.insert(system, now.clone().unwrap());
        }
        let sent = (drifted && case.overwrites_drift) || (filled && !cleared_there) || (owed && !drifted);
        place(&mut expected, system, side.role, sent);
    }
    // Bases that contradict each other are no state that a run leaves behind, unless it left a break too.
    let bases: BTreeSet<Cell> = voters.iter().filter_map(|v| case.sides[v].base.clone()).collect();
    expected.any_value = case.open.is_none() && bases.len() > 1;
    expected
}

fn holds(case: &FieldCase, system: usize, value: &Cell) -> bool {
    let now = case.now(system);
    if case.equivalent(&now, value) {
        return true;
    }
    let accepted = matches!(&case.sides[&system].debt, Some(Debt::Normalises(stored)) if Some(stored) == now.as_ref());
    accepted && case.open.as_ref().is_some_and(|(open, _)| open == value)
}

/// A system that lacks the value: it is written, or it is a break.
fn place(expected: &mut Expected, system: usize, role: Role, sent: bool) {
    if sent && role.is_written() {
        expected.written.insert(system);
    } else {
        expected.breaks.insert(system);
    }
}

/// A value was decided tonight: it goes to all.
fn conclude(case: &FieldCase, voters: &[usize], decided: Option<Cell>, contenders: &[Contender], meets_unseen: bool) -> Expected {
    let held = Expected { held: true, ..Expected::default() };
    let Some(value) = decided else { return held };
    if meets_unseen {
        let waits = |s: &usize| {
            let strict = match case.first_contact {
                FirstContact::Decide => false,
                FirstContact::FillBlanks => case.now(*s).is_some(),
                FirstContact::Review => true,
            };
            strict && case.sides[s].role != Role::Witness && case.unseen(*s) && !case.equivalent(&case.now(*s), &value)
        };
        if case.here().iter().any(waits) {
            return held;
        }
    }
    let mut expected = Expected { value: value.clone(), ..Expected::default() };
    for contender in contenders {
        if let Some(text) = contender.value.clone().filter(|_| !case.equivalent(&contender.value, &value)) {
            expected.lost.insert(contender.system, text);
        }
    }
    for system in case.here() {
        let side = &case.sides[&system];
        if holds(case, system, &value) {
            continue;
        }
        let is_voter = voters.contains(&system);
        let now = case.now(system);
        let edited = case.changed(system) || case.unseen(system);
        let drifted = !is_voter && edited;
        if edited
            && side.role != Role::Witness
            && let Some(now) = now.clone()
        {
            expected.lost.insert(system, now);
        }
        let never_filled = now.is_none() && is_voter && case.blank_of(system) == Some(Blank::Ignore) && case.owner.contains(&system);
        place(&mut expected, system, side.role, !never_filled && (!drifted || case.overwrites_drift));
    }
    expected
}

// ── existence ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Where a record is, as far as one system goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Presence {
    /// There, as it was.
    Untouched,
    /// There, and edited since the last run.
    Edited,
    /// There, and never linked.
    New,
    /// It was read there, and is gone.
    Gone,
    /// We created it there, and it has never been read.
    Awaited,
    /// Never there.
    Never,
    /// Its delete was agreed, and it is not there.
    Ended,
    /// There, and cannot be read.
    Silent,
}

impl Presence {
    pub fn is_here(self) -> bool {
        matches!(self, Presence::Untouched | Presence::Edited | Presence::New)
    }

    /// Whether the job has it linked there.
    pub fn is_linked(self) -> bool {
        matches!(self, Presence::Untouched | Presence::Edited | Presence::Gone | Presence::Awaited | Presence::Silent)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Report,
    Propagate,
    Archive,
    Recreate,
}

/// One record in every system, by their position in the job.
#[derive(Clone, Debug)]
pub struct RecordCase {
    pub sides: BTreeMap<usize, (Role, Presence)>,
    pub policy: Policy,
    /// Whether a person must decide one of its fields.
    pub has_held_field: bool,
    /// Systems in which the job never creates, deletes or updates.
    pub never_create: BTreeSet<usize>,
    pub never_delete: BTreeSet<usize>,
}

/// What happens to a record in one system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    Create,
    Delete,
    Archive,
}

/// What must come out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpectedRecord {
    pub deeds: BTreeMap<usize, Deed>,
    /// Whether something about its existence stays open.
    pub is_break: bool,
}

/// What must happen to a record.
pub fn decide_record(case: &RecordCase) -> ExpectedRecord {
    let mut expected = ExpectedRecord::default();
    let counted: BTreeMap<usize, (Role, Presence)> = case.sides.iter().filter(|(_, (role, _))| *role != Role::Witness).map(|(s, side)| (*s, *side)).collect();
    let at = |wanted: Presence| counted.iter().filter(|(_, (_, p))| *p == wanted).map(|(s, _)| *s).collect::<Vec<usize>>();
    if counted.values().any(|(_, presence)| *presence == Presence::Silent) {
        return expected;
    }
    let here: Vec<usize> = counted.iter().filter(|(_, (_, p))| p.is_here()).map(|(s, _)| *s).collect();
    let gone = at(Presence::Gone);
    let awaited = at(Presence::Awaited);
    let witness_has_it = case.sides.values().any(|(role, p)| *role == Role::Witness && p.is_here());
    let lacks = |p: Presence| !p.is_here() && p != Presence::Silent;
    let witness_lacks_it = case.sides.values().any(|(role, p)| *role == Role::Witness && lacks(*p));

    if here.is_empty() {
        // Both gone: the link ends. What was never read back proves nothing.
        expected.is_break = !awaited.is_empty() || witness_has_it;
        return expected;
    }
    expected.is_break |= !awaited.is_empty();

    let votes = |s: &usize| counted[s].0.votes();
    if !here.iter().any(votes) && !gone.iter().any(votes) {
        // Nobody who decides has it, or ever had it.
        expected.is_break = true;
        return expected;
    }

    let create = |expected: &mut ExpectedRecord, system: usize| {
        let waits = case.has_held_field;
        if counted[&system].0 == Role::Source || case.never_create.contains(&system) || waits {
            expected.is_break = true;
        } else {
            expected.deeds.insert(system, Deed::Create);
        }
    };
    let edited = here.iter().any(|s| votes(s) && counted[s].1 == Presence::Edited);
    let mut creates_elsewhere = true;
    if gone.iter().any(votes) {
        match (edited, case.has_held_field, case.policy) {
            (true, _, _) => gone.iter().for_each(|s| create(&mut expected, *s)),
            (false, true, _) | (false, false, Policy::Report) => {
                expected.is_break = true;
                creates_elsewhere = false;
            }
            (false, false, Policy::Recreate) => {
                // Where nobody who decides has it any more, it comes back as it was last read.
                gone.iter().for_each(|s| create(&mut expected, *s));
            }
            (false, false, Policy::Propagate) => {
                let source = here.iter().any(|s| counted[s].0 == Role::Source);
                for system in &here {
                    // While a source has it, it exists: what is removed elsewhere would only come back.
                    if source || case.never_delete.contains(system) {
                        expected.is_break = true;
                    } else {
                        expected.deeds.insert(*system, Deed::Delete);
                    }
                }
                return expected;
            }
            (false, false, Policy::Archive) => {
                for system in &here {
                    if counted[system].0 == Role::Source {
                        expected.is_break = true;
                    } else {
                        expected.deeds.insert(*system, Deed::Archive);
                    }
                }
                return expected;
            }
        }
    } else {
        gone.iter().for_each(|s| create(&mut expected, *s));
    }
    if creates_elsewhere {
        at(Presence::Never).into_iter().chain(at(Presence::Ended)).for_each(|s| create(&mut expected, s));
    }
    expected.is_break |= witness_lacks_it;
    expected
}
