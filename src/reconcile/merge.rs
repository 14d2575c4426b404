//! The decision of one field of one record.
//!
//! Every system has a [`Voice`]: what it holds now and what its base is. A system is compared only with its own past. The
//! voters are the field's owner alone, else its sources and peers. This is the table:
//!
//! | who changed since its base | their values | ruling | scenario |
//! | --- | --- | --- | --- |
//! | nobody | each holds the decided or an accepted value | stands | `quiet` |
//! | nobody | one was owed the value | sent again | `owed_resent` |
//! | the owner | | the owner's value goes to all | `owner_wins` |
//! | the owner and others | differ | the owner wins, the others are listed | `owner_overrides` |
//! | only systems without a vote | | drift: put back or listed | `drift` |
//! | one voter | | its value goes to all | `one_change` |
//! | several voters | each equivalent to the one that the rule takes | no conflict | `false_conflict` |
//! | several voters | differ | conflict: the rule decides, the losers are listed | `conflict_priority` |
//! | several voters, rule `sum-of-changes` | | last decided value + all differences | `both_add_one` |
//! | several voters | the rule's condition fails, or it is `review` | held | `conflict_review` |
//! | any voter, rule `most-restrictive` | one holds what the rule does not list, and another not | held | `rule_most_restrictive` |
//! | a voter that is owed another value | | conflict with the owed value, which votes for where it came from | `own_write_no_vote` |
//! | never seen in any voter | equal | adopted | `first_night` |
//! | never seen in any voter | differ | owner, else rule, nulls filled, else review | `first_contact_differs` |
//! | never seen in some | | the others decide first, then their value meets the rest | `new_column` |
//! | a voter, to null | | asked before anything else: ignore, propagate or hold | `blank_conflict` |
//!
//! Rules of a conflict end in a total order, the systems' order in the job file, so that equal input gives equal plans.
//!
//! # Design
//! A value that we wrote never votes: its system's base is what was read back. A value that is owed to a system votes for
//! the systems it came from, but only against an edit in a system that is owed it; a newer edit anywhere else replaces it.

use super::base::{FieldDebt, OpenField};
use super::clean;
use crate::change::{BreakKind, Reason};
use crate::job::{Blank, Field, FirstContact, Job, MergeRule, Role};
use crate::value::{Decimal, FieldType, Value};

/// The least lead of the newest edit under `latest`, in microseconds.
const LEAD_MIN_MICROS: i64 = 120 * 1_000_000;

/// One system's part in the decision of one field that it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voice {
    /// The system.
    pub system: usize,
    /// What it holds; nothing where the record is not there tonight.
    pub now: Option<Value>,
    /// What it held when it last took part in a decision; nothing if it never did.
    pub base: Option<Value>,
    /// Whether the record was ever linked there.
    pub linked: bool,
    /// When the record was edited there by somebody else than us, in microseconds since 1970-01-01T00:00Z.
    pub edited_at: Option<i64>,
    /// What it still has to do with an earlier decision.
    pub debt: Option<FieldDebt>,
}

impl Voice {
    fn is_owed(&self) -> bool {
        matches!(self.debt, Some(FieldDebt::Owed { .. }))
    }

    /// Whether it holds the decided value, or what it makes of it.
    pub fn holds(&self, field: &Field, open: Option<&OpenField>, value: &Value) -> bool {
        let Some(now) = &self.now else { return false };
        if field.equivalent(now, value) {
            return true;
        }
        match (&self.debt, open) {
            (Some(FieldDebt::Normalised { stored }), Some(open)) => stored == now && open.value == *value,
            _ => false,
        }
    }

    /// Whether it was edited since its base, the arrival of an owed value aside.
    pub fn is_changed(&self, open: Option<&OpenField>) -> bool {
        let (Some(now), Some(base)) = (&self.now, &self.base) else { return false };
        let received = self.is_owed() && open.is_some_and(|open| open.value == *now);
        now != base && !received
    }

    /// Whether it holds a value that no decision has seen.
    pub fn is_unseen(&self) -> bool {
        self.now.is_some() && self.base.is_none()
    }
}

/// What is decided about one field of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// This value holds.
    Value(Decided),
    /// A person decides. Nothing is written for the field and no base moves.
    Held {
        /// What kind of break stays open.
        kind: BreakKind,
        /// Why.
        why: String,
        /// What to do about it.
        next_step: String,
    },
    /// No voter is there: nothing can be said.
    NoVoter,
}

/// A value that holds, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The value.
    pub value: Value,
    /// Why.
    pub reason: Reason,
    /// The systems whose value it is.
    pub from: Vec<usize>,
    /// Voters' values that lost.
    pub overridden: Vec<(usize, Value)>,
    /// Whether a rule had to choose between voters.
    pub conflict: bool,
    /// Whether it is a decision of tonight. Otherwise the value merely stands: it is sent again to those who are owed it, and
    /// a system that holds another one without having been edited is at odds with it for an unknown reason.
    pub active: bool,
}

/// Everything that decides one field of one record.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The job.
    pub job: &'a Job,
    /// The field.
    pub field: &'a Field,
    /// The systems that carry it, in the job's order.
    pub voices: &'a [Voice],
    /// What is still open of an earlier decision.
    pub open: Option<&'a OpenField>,
}

/// A value that stands for election.
#[derive(Clone, Debug)]
struct Contender {
    system: usize,
    value: Value,
    edited_at: Option<i64>,
}

/// Decides a field. Pure, total, and independent of the order in which anything was read.
pub fn decide(case: Case<'_>) -> Ruling {
    match case.owner() {
        Some(owner) => case.decide_by_owner(owner),
        None => case.decide_by_rule(),
    }
}

impl<'a> Case<'a> {
    fn name(&self, system: usize) -> String {
        self.job.systems[system].name.clone()
    }

    /// The first owner in which the record exists or ever existed.
    fn owner(&self) -> Option<&'a Voice> {
        self.field.owner.iter().find_map(|owner| self.voices.iter().find(|v| v.system == *owner && (v.linked || v.now.is_some())))
    }

    /// Whether this system decides the field alone tonight, or votes on it.
    pub fn votes(&self, system: usize) -> bool {
        match self.owner() {
            Some(owner) => owner.system == system,
            None => self.job.systems[system].role.votes(),
        }
    }

    /// Whether a person may choose this system's value: that of the owner alone, where there is one.
    pub fn may_decide(&self, system: usize) -> bool {
        self.votes(system) && self.job.systems[system].role.votes()
    }

    /// What a null in a voter means; nothing where it holds a value, or a null that is no change.
    fn blank(&self, voice: &Voice) -> Option<Blank> {
        if voice.now != Some(Value::Null) {
            return None;
        }
        match &voice.base {
            None => Some(self.field.blank.unwrap_or(Blank::Ignore)),
            Some(_) if voice.is_changed(self.open) => Some(self.field.blank.unwrap_or(Blank::Conflict)),
            Some(_) => None,
        }
    }

    /// The value that was decided last: what is still open, else what a voter was last seen with.
    fn standing(&self, voters: &[&Voice]) -> Value {
        if let Some(open) = self.open {
            return open.value.clone();
        }
        let base = voters.iter().find_map(|v| v.base.clone());
        base.or_else(|| voters.iter().find_map(|v| v.now.clone())).unwrap_or(Value::Null)
    }

    fn held(&self, kind: BreakKind, why: String) -> Ruling {
        let field = &self.field.name;
        let next_step = match kind {
            BreakKind::Cleared => self.refill(),
            _ => format!("set `{field}` to the same value in every system"),
        };
        Ruling::Held { kind, why, next_step }
    }

    /// What to do about a value that was cleared. That a cleared value may win by rule is only said where the job does not say
    /// otherwise, and where a value that is missing may mean something: not where the strictest of given values is asked for.
    fn refill(&self) -> String {
        let field = &self.field.name;
        let strictest = self.field.merge.iter().find_map(|rule| match rule {
            MergeRule::MostRestrictive(order) => Some(order),
            _ => None,
        });
        match (strictest, self.field.blank) {
            (Some(order), _) => {
                let values: Vec<String> = order.iter().map(|value| format!("`{value}`")).collect();
                format!("find out which of {} is right, and put it into `{field}` in every system", values.join(", "))
            }
            (None, Some(_)) => format!("put a value back into `{field}`, or clear it in every system"),
            (None, None) => {
                format!("put a value back into `{field}`, or clear it in every system; `blank = \"propagate\"` lets a cleared value win")
            }
        }
    }

    fn cleared(&self, system: usize) -> Ruling {
        self.held(BreakKind::Cleared, format!("`{}` was cleared in `{}` where it had a value", self.field.name, self.name(system)))
    }

    /// Those who decide are empty for the first time, which is no decision, and somebody else holds a value.
    fn empty_undecided(&self, who: &str) -> Ruling {
        let what = format!("`{}` is empty in {who}, which is not taken for a decision, and has a value elsewhere", self.field.name);
        self.held(BreakKind::Cleared, what)
    }

    /// First contact may be stricter than the rules: which difference waits, if any.
    fn first_contact_hold(&self, value: &Value) -> Option<Ruling> {
        let differs = |null_counts: bool| {
            self.voices.iter().any(|v| {
                v.is_unseen()
                    && self.job.systems[v.system].role != Role::Witness
                    && v.now.as_ref().is_some_and(|now| (null_counts || !now.is_null()) && !self.field.equivalent(now, value))
            })
        };
        let held = match self.field.first_contact {
            FirstContact::Decide => false,
            FirstContact::FillBlanks => differs(false),
            FirstContact::Review => differs(true),
        };
        held.then(|| self.held(BreakKind::Conflict, "the systems differ at first contact, and the job leaves that to a person".to_owned()))
    }

    /// Whether the field is empty wherever the record is: then an empty value has nothing to ask. A witness does not count.
    fn all_empty(&self) -> bool {
        let counts = |v: &&Voice| self.job.systems[v.system].role != Role::Witness;
        self.voices.iter().filter(counts).all(|v| v.now.as_ref().is_none_or(Value::is_null))
    }

    /// The one value that every system but the owner has, empty ones and witnesses aside; nothing if they differ, or if none
    /// of those that have it ever votes.
    fn undisputed(&self, owner: usize) -> Option<&'a Value> {
        let role = |voice: &Voice| self.job.systems[voice.system].role;
        let others = self.voices.iter().filter(|v| v.system != owner && role(v) != Role::Witness);
        let solid: Vec<(&Voice, &Value)> = others.filter_map(|v| Some((v, v.now.as_ref()?))).filter(|(_, now)| !now.is_null()).collect();
        let (_, first) = solid.iter().find(|(voice, _)| role(voice).votes())?;
        solid.iter().all(|(_, now)| self.field.equivalent(now, first)).then_some(*first)
    }

    fn decide_by_owner(&self, owner: &Voice) -> Ruling {
        // A witness holds nothing up, and an edit in a target is drift.
        let counts = |v: &&Voice| self.job.systems[v.system].role.votes();
        let others_changed = || self.voices.iter().filter(|v| v.system != owner.system).filter(counts).any(|v| v.is_changed(self.open));
        let Some(now) = owner.now.clone() else {
            if others_changed() {
                let name = self.name(owner.system);
                return self.held(BreakKind::Conflict, format!("`{name}` owns the field and does not show the record tonight: edits elsewhere wait"));
            }
            let value = self.standing(&[owner]);
            let reason = Reason::OwnerWins { owner: self.name(owner.system) };
            return Ruling::Value(Decided { value, reason, from: vec![owner.system], overridden: Vec::new(), conflict: false, active: false });
        };
        let blank = self.blank(owner);
        let all_null = self.all_empty();
        if blank == Some(Blank::Conflict) && !all_null {
            return self.cleared(owner.system);
        }
        let ignored = blank == Some(Blank::Ignore);
        let value = match (&owner.base, ignored) {
            (Some(_), true) => self.standing(&[owner]),
            // The owner never had a value: what the others hold is neither its decision nor drift.
            (None, true) if all_null => now.clone(),
            (None, true) => match self.undisputed(owner.system) {
                Some(value) => value.clone(),
                None => return self.empty_undecided(&format!("`{}`", self.name(owner.system))),
            },
            (_, false) => now.clone(),
        };
        if owner.base.is_none()
            && let Some(held) = self.first_contact_hold(&value)
        {
            return held;
        }
        let owner_changed = !ignored && (owner.is_changed(self.open) || owner.base.is_none());
        let name = self.name(owner.system);
        let overridden: Vec<(usize, Value)> = self
            .voices
            .iter()
            .filter(|v| v.system != owner.system && self.job.systems[v.system].role != Role::Witness)
            .filter(|v| (v.is_changed(self.open) || v.is_unseen()) && !v.holds(self.field, self.open, &value))
            .filter_map(|v| v.now.clone().filter(|n| !n.is_null()).map(|n| (v.system, n)))
            .collect();
        let resent = self.open.filter(|open| open.value == value && self.voices.iter().any(Voice::is_owed));
        let reason = match (owner_changed, resent) {
            (false, Some(open)) => open.reason.clone(),
            (false, None) if !overridden.is_empty() => Reason::DriftRestored { decided_by: name },
            _ => Reason::OwnerWins { owner: name },
        };
        Ruling::Value(Decided { value, reason, from: vec![owner.system], overridden, conflict: false, active: owner_changed })
    }

    fn decide_by_rule(&self) -> Ruling {
        let voters: Vec<&Voice> = self.voices.iter().filter(|v| self.job.systems[v.system].role.votes()).collect();
        let present: Vec<&Voice> = voters.iter().copied().filter(|v| v.now.is_some()).collect();
        if present.is_empty() {
            return Ruling::NoVoter;
        }
        let all_null = self.all_empty();
        if !all_null && let Some(cleared) = present.iter().find(|v| self.blank(v) == Some(Blank::Conflict)) {
            return self.cleared(cleared.system);
        }
        let speaks = |v: &&Voice| all_null || self.blank(v) != Some(Blank::Ignore);
        let unseen: Vec<&Voice> = present.iter().copied().filter(|v| v.is_unseen()).filter(speaks).collect();
        let seen: Vec<&Voice> = present.iter().copied().filter(|v| !v.is_unseen()).collect();
        if self.field.merge.first() == Some(&MergeRule::SumOfChanges) && !seen.is_empty() {
            return self.sum_of_changes(&present);
        }
        let changed: Vec<&Voice> = seen.iter().copied().filter(|v| v.is_changed(self.open)).filter(speaks).collect();

        let of_seen = (!seen.is_empty()).then(|| self.decide_seen(&voters, &changed));
        match (of_seen, unseen.is_empty()) {
            (Some(ruling), true) => ruling,
            (None, true) => {
                let names: Vec<String> = present.iter().map(|v| self.name(v.system)).collect();
                self.empty_undecided(&crate::change::join_names(&names))
            }
            (of_seen, false) => self.meet_unseen(of_seen, &seen, &unseen),
        }
    }

    /// The voters that have a base decide among themselves.
    fn decide_seen(&self, voters: &[&Voice], changed: &[&Voice]) -> Ruling {
        let mut contenders: Vec<Contender> = changed.iter().map(|v| contender(v)).collect();
        if let Some(open) = self.open {
            if changed.is_empty() {
                return Ruling::Value(Decided {
                    value: open.value.clone(),
                    reason: open.reason.clone(),
                    from: open.from.iter().filter_map(|name| self.job.system(name)).collect(),
                    overridden: Vec::new(),
                    conflict: false,
                    active: false,
                });
            }
            if changed.iter().any(|v| v.is_owed()) {
                let origins = open.from.iter().filter_map(|name| self.job.system(name));
                for origin in origins {
                    if !contenders.iter().any(|c| c.system == origin) {
                        let edited_at = self.voices.iter().find(|v| v.system == origin).and_then(|v| v.edited_at);
                        contenders.push(Contender { system: origin, value: open.value.clone(), edited_at });
                    }
                }
                contenders.sort_by_key(|c| c.system);
            }
        }
        if contenders.is_empty() {
            let value = self.standing(voters);
            let from: Vec<usize> = voters.iter().filter(|v| v.now.as_ref() == Some(&value)).map(|v| v.system).collect();
            let reason = Reason::SameChange { systems: from.iter().map(|s| self.name(*s)).collect() };
            return Ruling::Value(Decided { value, reason, from, overridden: Vec::new(), conflict: false, active: false });
        }
        self.elect(&contenders)
    }

    /// The value of the voters with a base meets those that no decision has seen.
    fn meet_unseen(&self, of_seen: Option<Ruling>, seen: &[&Voice], unseen: &[&Voice]) -> Ruling {
        let mut contenders: Vec<Contender> = unseen.iter().map(|v| contender(v)).collect();
        let mut inherited: Option<Decided> = None;
        match of_seen {
            Some(Ruling::Value(decided)) if !(decided.value.is_null() && self.field.blank != Some(Blank::Propagate)) => {
                // It stands with every system that holds it, each at its own place in a rule.
                let known = |system: &usize| !unseen.iter().any(|v| v.system == *system);
                let mut from: Vec<usize> = decided.from.iter().copied().filter(known).collect();
                if from.is_empty() {
                    let stood = |v: &&&Voice| v.base.as_ref() == Some(&decided.value);
                    from.extend(seen.iter().filter(stood).map(|v| v.system));
                }
                for system in from {
                    let edited_at = self.voices.iter().find(|v| v.system == system).and_then(|v| v.edited_at);
                    contenders.push(Contender { system, value: decided.value.clone(), edited_at });
                }
                inherited = Some(decided);
            }
            Some(held @ Ruling::Held { .. }) => return held,
            _ => {}
        }
        contenders.sort_by_key(|c| c.system);
        if let Some(decided) = inherited.take_if(|d| contenders.iter().all(|c| c.value == d.value)) {
            return Ruling::Value(decided);
        }
        let mut elected = self.elect(&contenders);
        if let (Ruling::Value(decided), Some(earlier)) = (&mut elected, inherited) {
            // What lost among the systems with a base is lost all the same.
            let lost = earlier
                .overridden
                .into_iter()
                .filter(|(system, value)| !self.field.equivalent(value, &decided.value) && !decided.overridden.iter().any(|(other, _)| other == system));
            let lost: Vec<(usize, Value)> = lost.collect();
            decided.conflict |= !lost.is_empty();
            decided.overridden.extend(lost);
            decided.overridden.sort_by_key(|(system, _)| *system);
        }
        if let Ruling::Value(decided) = &elected
            && let Some(held) = self.first_contact_hold(&decided.value)
        {
            return held;
        }
        elected
    }

    /// One value out of several. Equal values are no conflict.
    fn elect(&self, contenders: &[Contender]) -> Ruling {
        let contenders = &self.refined(contenders);
        let first = &contenders[0];
        let names = |systems: &[usize]| systems.iter().map(|s| self.name(*s)).collect::<Vec<_>>();
        if contenders.iter().all(|c| c.value == first.value) {
            if let Some(held) = self.unranked(contenders) {
                return held;
            }
            let from: Vec<usize> = contenders.iter().map(|c| c.system).collect();
            let reason = match from.as_slice() {
                [one] => Reason::OnlyChange { system: self.name(*one) },
                _ => Reason::SameChange { systems: names(&from) },
            };
            return Ruling::Value(Decided { value: first.value.clone(), reason, from, overridden: Vec::new(), conflict: false, active: true });
        }
        let mut tried: Vec<&str> = Vec::new();
        let mut unranked = String::new();
        for rule in &self.field.merge {
            if *rule == MergeRule::Review {
                break;
            }
            tried.push(rule.word());
            if let MergeRule::MostRestrictive(order) = rule
                && let Some(other) = contenders.iter().find(|c| !order.contains(&c.value))
            {
                // How strict it is nobody said: no later rule may guess.
                unranked = format!(": what `{}` holds is none of its values", self.name(other.system));
                break;
            }
            let Some((value, system)) = self.apply_rule(rule, contenders) else { continue };
            let from: Vec<usize> = match system {
                Some(_) => contenders.iter().filter(|c| c.value == value).map(|c| c.system).collect(),
                None => contenders.iter().map(|c| c.system).collect(),
            };
            let overridden: Vec<(usize, Value)> =
                contenders.iter().filter(|c| !self.field.equivalent(&c.value, &value)).map(|c| (c.system, c.value.clone())).collect();
            let conflict = !overridden.is_empty();
            let reason = if conflict {
                Reason::Rule { rule: rule.word().to_owned(), system: system.map(|s| self.name(s)) }
            } else {
                Reason::SameChange { systems: contenders.iter().map(|c| self.name(c.system)).collect() }
            };
            return Ruling::Value(Decided { value, reason, from, overridden, conflict, active: true });
        }
        let systems: Vec<usize> = contenders.iter().map(|c| c.system).collect();
        let who = crate::change::join_names(&names(&systems));
        let because = if tried.is_empty() { String::new() } else { format!(", and the rule {} cannot decide{unranked}", tried.join(", then ")) };
        let unseen = |contender: &Contender| self.voices.iter().any(|v| v.system == contender.system && v.is_unseen());
        let what =
            if contenders.iter().any(unseen) { "hold different values, and no earlier run knows which is right" } else { "changed it to different values" };
        self.held(BreakKind::Conflict, format!("{who} {what}{because}"))
    }

    /// A value that the rule `most-restrictive` does not list is not carried from those that set it to any other, were it only that
    /// the record is not there yet: how strict it is nobody said. Where every voter of several holds it, they agree.
    fn unranked(&self, contenders: &[Contender]) -> Option<Ruling> {
        let (Some(MergeRule::MostRestrictive(order)), Some(Contender { value, .. })) = (self.field.merge.first(), contenders.first()) else { return None };
        let mut voters = self.voices.iter().filter(|v| self.job.systems[v.system].role.votes());
        let agree = contenders.len() > 1 && voters.all(|v| v.now.as_ref().is_none_or(|now| self.field.equivalent(now, value)));
        if value.is_null() || order.contains(value) || agree {
            return None;
        }
        let who = crate::change::join_names(&contenders.iter().map(|c| self.name(c.system)).collect::<Vec<_>>());
        let verb = if contenders.len() == 1 { "holds" } else { "hold" };
        Some(self.held(BreakKind::Conflict, format!("what {who} {verb} is none of the values of the rule most-restrictive, so it goes nowhere else")))
    }

    /// The contenders, each moment as fine as anybody tells it: a system of minutes that holds 13:05 agrees with one of seconds
    /// that holds 13:05:07.
    fn refined(&self, contenders: &[Contender]) -> Vec<Contender> {
        let mut refined = contenders.to_vec();
        if !matches!(self.field.field_type, FieldType::Instant | FieldType::Datetime) {
            return refined;
        }
        for contender in &mut refined {
            let Some(column) = self.field.columns.get(contender.system).and_then(Option::as_ref) else { continue };
            let is_finer = |other: &&Contender| {
                let differs = other.value != contender.value && !other.value.is_null();
                differs && clean::canonical(self.field, column, &other.value) == contender.value
            };
            if let Some(finer) = contenders.iter().find(is_finer) {
                contender.value = finer.value.clone();
            }
        }
        refined
    }

    /// The value that a rule takes, and the system that holds it; nothing if the rule's condition fails.
    fn apply_rule(&self, rule: &MergeRule, contenders: &[Contender]) -> Option<(Value, Option<usize>)> {
        let taken = |c: &Contender| (c.value.clone(), Some(c.system));
        // Of equals the first in the job's order: contenders are in that order, and `max_by_key` would take the last.
        let best = |better: &dyn Fn(&Value, &Value) -> bool| {
            let mut solid = contenders.iter().filter(|c| !c.value.is_null());
            let first = solid.next()?;
            Some(taken(solid.fold(first, |best, c| if better(&c.value, &best.value) { c } else { best })))
        };
        match rule {
            MergeRule::Latest => {
                if contenders.iter().any(|c| c.edited_at.is_none()) {
                    return None;
                }
                let newest = contenders.iter().rev().max_by_key(|c| c.edited_at)?;
                let leads = contenders.iter().filter(|c| c.value != newest.value).all(|c| {
                    let lead = newest.edited_at.zip(c.edited_at).map_or(0, |(newest, other)| newest.saturating_sub(other));
                    lead > LEAD_MIN_MICROS.max(self.precision(newest.system)).max(self.precision(c.system))
                });
                leads.then(|| taken(newest))
            }
            MergeRule::Priority(order) => order.iter().find_map(|system| contenders.iter().find(|c| c.system == *system)).map(taken),
            MergeRule::Max => best(&|a, b| a > b),
            MergeRule::Min => best(&|a, b| a < b),
            MergeRule::Longest => best(&|a, b| a.to_string().chars().count() > b.to_string().chars().count()),
            MergeRule::Union => {
                let mut all: Vec<String> = contenders
                    .iter()
                    .flat_map(|c| match &c.value {
                        Value::List(items) => items.clone(),
                        _ => Vec::new(),
                    })
                    .collect();
                all.sort();
                all.dedup();
                Some((Value::List(all), None))
            }
            // Every value is in the list: a person was asked of others.
            MergeRule::MostRestrictive(order) => order.iter().find_map(|value| contenders.iter().find(|c| c.value == *value)).map(taken),
            MergeRule::SumOfChanges | MergeRule::Review => None,
        }
    }

    /// How coarse a system tells edit times, in microseconds.
    fn precision(&self, system: usize) -> i64 {
        const DAY: i64 = 86_400_000_000;
        const HOUR: i64 = 3_600_000_000;
        let format = self.job.systems[system].edited_at.as_ref().and_then(|e| e.format.as_deref());
        let has = |codes: &[&str], format: &str| codes.iter().any(|code| format.contains(code));
        match format {
            Some(format) if !has(&["%H", "%I", "%T", "%R", "%s", "%c", "%k", "%l"], format) => DAY,
            Some(format) if !has(&["%M", "%T", "%R", "%s", "%c"], format) => HOUR,
            _ => 0,
        }
    }

    /// A counter: the last decided value and what every voter added to it since.
    fn sum_of_changes(&self, present: &[&Voice]) -> Ruling {
        let changed: Vec<&&Voice> = present.iter().filter(|v| v.is_changed(self.open)).collect();
        let is_empty = |v: &&Voice| v.now == Some(Value::Null);
        let is_known = !present.iter().any(|v| v.is_unseen()) && (self.open.is_some() || present.iter().all(is_empty));
        let rests = changed.is_empty() && (is_known || self.open.is_none() && self.all_empty());
        if rests {
            // Nobody counts tonight: what was decided stands, though it may be nothing yet, or still be owed to an empty cell.
            let from: Vec<usize> = present.iter().map(|v| v.system).collect();
            let same = || Reason::SameChange { systems: from.iter().map(|s| self.name(*s)).collect() };
            let reason = self.open.map_or_else(same, |open| open.reason.clone());
            return Ruling::Value(Decided { value: self.standing(present), reason, from, overridden: Vec::new(), conflict: false, active: false });
        }
        if let Some(null) = present.iter().find(|v| is_empty(v)) {
            return self.held(BreakKind::Conflict, format!("a counter cannot be added up while it is empty in `{}`", self.name(null.system)));
        }
        let uncertain = |v: &&&Voice| matches!(v.debt, Some(FieldDebt::Owed { uncertain: true, .. })) && v.is_changed(self.open);
        if let Some(unknown) = present.iter().find(uncertain) {
            let name = self.name(unknown.system);
            return self
                .held(BreakKind::Conflict, format!("nobody knows whether our last write to `{name}` is part of its counter: its edits cannot be added up"));
        }
        let number = |value: &Value| value.as_decimal().unwrap_or(Decimal::ZERO);
        let last = self.standing(present);
        let mut sum = Some(number(&last));
        for voice in &changed {
            if let (Some(now), Some(base)) = (&voice.now, &voice.base) {
                sum = sum.and_then(|s| s.checked_add(number(now))).and_then(|s| s.checked_sub(number(base)));
            }
        }
        let value = sum.filter(|s| s.in_range()).and_then(|s| match self.field.field_type {
            FieldType::Integer => i64::try_from(s.units).ok().filter(|_| s.scale == 0).map(Value::Integer),
            FieldType::Decimal(scale) => s.rescale(scale).map(Value::Decimal),
            _ => None,
        });
        let Some(value) = value else {
            return self.held(BreakKind::Conflict, "the sum of the changes is out of range".to_owned());
        };
        // Who was never seen has nothing to add, and what it holds may be part of an edit elsewhere: it may only agree with
        // a sum that nobody edits.
        if let Some(new) = present.iter().find(|v| v.is_unseen() && (!changed.is_empty() || v.now.as_ref() != Some(&value))) {
            return self.held(BreakKind::Conflict, format!("a counter cannot be added up while `{}` was never seen with it", self.name(new.system)));
        }
        let from: Vec<usize> = if changed.is_empty() { present.iter().map(|v| v.system).collect() } else { changed.iter().map(|v| v.system).collect() };
        let reason = match (changed.as_slice(), self.open) {
            ([], Some(open)) => open.reason.clone(),
            ([one], _) => Reason::OnlyChange { system: self.name(one.system) },
            _ => Reason::Rule { rule: MergeRule::SumOfChanges.word().to_owned(), system: None },
        };
        Ruling::Value(Decided { value, reason, from, overridden: Vec::new(), conflict: false, active: !changed.is_empty() })
    }
}

fn contender(voice: &Voice) -> Contender {
    Contender { system: voice.system, value: voice.now.clone().unwrap_or(Value::Null), edited_at: voice.edited_at }
}
