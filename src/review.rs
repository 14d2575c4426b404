//! What waits for a person, and what people decide about it.
//!
//! [`review`] lists the breaks that are open after the last run, each with what every system held, what the job would do, and the
//! words that fit it. [`decide`] keeps a person's answers; the next run makes use of them ([`crate::reconcile::answers`]).
//!
//! # Words
//! A break is named by its identity, as reports tell it, or by the beginning of that. An answer *waits* until a run has made use
//! of it; one that sets a break aside *holds* until a value changes or its day comes.
//!
//! # Design
//! - Looking needs no lock. Deciding takes that of the job: what is decided about is then what the last run saw, and no run starts
//!   in between.
//! - All answers of one call are kept, or none: a mistake in one of them changes nothing.
//! - Nothing is written to any system here.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::change::{Break, SystemValue, key_for_people};
use crate::diagnostic::{Diagnostic, Place};
use crate::error::{Error, Remedy};
use crate::job::Job;
use crate::reconcile::answers::{Act, Answer, Ask, about, contradict, fitting, misfit};
use crate::report::{MASK, Secrets, mask_key, severity, value_for_people, visible_for_people};
use crate::state::{KnownBreak, Ledger};
use crate::value::{Decimal, Value};

/// So many characters of an identity must be given.
const ID_CHARACTERS_MIN: usize = 4;

/// What waits for a person.
#[derive(Clone, Debug, Serialize)]
pub struct Review {
    /// The job.
    pub job: String,
    /// What is open, the most severe first; what is set aside stands last.
    pub open: Vec<OpenBreak>,
    /// The job's fields that are masked.
    pub masked: Vec<String>,
}

/// A break that is open.
#[derive(Clone, Debug, Serialize)]
pub struct OpenBreak {
    /// Its identity.
    pub id: String,
    /// What kind of break, in words.
    pub kind: String,
    /// The record's key, for people.
    pub key: String,
    /// The field.
    pub field: Option<String>,
    /// The system at odds.
    pub system: Option<String>,
    /// What each system holds.
    pub values: Vec<SystemValue>,
    /// What is at stake, where that is known.
    pub amount: Option<Decimal>,
    /// The currency of the amount.
    pub currency: Option<String>,
    /// Why it is open.
    pub why: String,
    /// What a person can do without a decision here.
    pub next_step: String,
    /// What accepting it does; nothing where nothing is proposed.
    pub proposal: Option<String>,
    /// The value that accepting it writes.
    pub proposed: Option<Value>,
    /// The day it was first seen, in UTC.
    pub first_seen: String,
    /// Whole days since then.
    pub age_days: i64,
    /// The words that fit it.
    pub fitting: Vec<String>,
    /// What was decided about it and waits or holds.
    pub decided: Option<Decided>,
}

/// What was decided about a break.
#[derive(Clone, Debug, Serialize)]
pub struct Decided {
    /// What: `accept`, `choose crm`.
    pub act: String,
    /// Who decided.
    pub who: String,
    /// Why.
    pub why: Option<String>,
    /// When, RFC 3339.
    pub at: String,
    /// Whether the break calls nobody because of it.
    pub sets_aside: bool,
}

/// What a person says about breaks.
#[derive(Clone, Debug)]
pub enum Say {
    /// This is decided.
    Decide(Act),
    /// What was decided is taken back.
    Forget,
}

/// Who says it, and why.
#[derive(Clone, Copy, Debug)]
pub struct Signature<'a> {
    /// Who.
    pub who: &'a str,
    /// Why.
    pub why: Option<&'a str>,
    /// Now, RFC 3339.
    pub at: &'a str,
}

/// Lists what is open after the last run. With `ids` only these; with `reveal` the values of sensitive fields are shown too.
///
/// # Errors
/// `MendJob` if an id means no break, or several; `Look` if the ledger is damaged.
pub fn review(job: &Job, ledger: Option<&Ledger>, ids: &[String], now: jiff::Timestamp, reveal: bool) -> Result<Review, Error> {
    let known = open_breaks(ledger)?;
    let answers = ledger.map_or_else(|| Ok(Vec::new()), Ledger::answers)?;
    let wanted: Vec<&KnownBreak> = if ids.is_empty() { known.iter().collect() } else { find(job, &known, ids)? };
    let mut open: Vec<(bool, u8, OpenBreak)> = wanted
        .into_iter()
        .map(|known| {
            // That something was taken back is why it is open.
            let answer = answers.iter().rev().find(|answer| answer.id == known.id && !matches!(answer.act, Act::Undone { .. }));
            (answer.is_some_and(Answer::sets_aside), severity(known.open.kind), told(known, answer, now))
        })
        .collect();
    open.sort_by(|(a_aside, a_severity, a), (b_aside, b_severity, b)| {
        (a_aside, a_severity, &a.key, &a.field, &a.system).cmp(&(b_aside, b_severity, &b.key, &b.field, &b.system))
    });
    let mut open: Vec<OpenBreak> = open.into_iter().map(|(_, _, one)| one).collect();
    let masked: Vec<String> = match reveal {
        true => Vec::new(),
        false => job.fields.iter().filter(|field| field.sensitive).map(|field| field.name.clone()).collect(),
    };
    if !masked.is_empty() {
        open.iter_mut().for_each(|one| mask(job, one));
    }
    Ok(Review { job: job.name.clone(), open, masked })
}

/// Keeps what a person says about these breaks, or takes back what was decided about them. Gives a sentence for each.
///
/// The caller holds the lock of the job.
///
/// # Errors
/// `MendJob` if an id means no break, or several, or if what is said does not fit one of them: then nothing is kept.
pub fn decide(job: &Job, ledger: &Ledger, ids: &[String], say: &Say, by: Signature<'_>) -> Result<Vec<String>, Error> {
    let known = open_breaks(Some(ledger))?;
    let answers = ledger.answers()?;
    let chosen = find(job, &known, ids)?;
    let mut refused = Vec::new();
    let (mut new, mut back, mut sentences) = (Vec::new(), Vec::new(), Vec::new());
    let mut replaced: BTreeSet<u64> = BTreeSet::new();
    for known in chosen {
        let name = name_of(job, &known.open);
        let earlier = answers.iter().rev().find(|answer| answer.id == known.id);
        match (say, earlier) {
            // That something was taken back is no decision about its break.
            (Say::Forget, Some(answer)) if !matches!(answer.act, Act::Undone { .. }) => {
                sentences.push(format!("{} {name}: `{}` by {} is taken back", known.id, answer.act, answer.who));
                back.push(answer.number);
            }
            (Say::Forget, _) => {
                let place = Place::of(format!("break {}", known.id));
                refused.push(
                    Diagnostic::new(place, "there is no decision about it that could be taken back")
                        .seen("nothing was kept")
                        .hint(format!("`tieout review {}` lists what is decided", job.name)),
                );
            }
            (Say::Decide(act), _) => {
                if let Some(why) = misfit(&known.open, known.ask.as_ref(), act) {
                    let place = Place::of(format!("break {}", known.id));
                    refused.push(
                        Diagnostic::new(place, format!("`{act}` does not fit it ({})", known.open.kind))
                            .seen(why)
                            .seen("nothing was kept")
                            .hint(format!("what fits: {}", fitting(&known.open, known.ask.as_ref()).join(", "))),
                    );
                    continue;
                }
                let given = give(job, known, act, by, &answers);
                replaced.extend(given.replaced);
                new.push(given.answer);
                sentences.push(given.sentence);
            }
        }
    }
    if let Some(error) = Error::of(Remedy::MendJob, refused) {
        return Err(error);
    }
    match say {
        Say::Decide(_) => ledger.answer(&new, &replaced.into_iter().collect::<Vec<u64>>(), by.at)?,
        Say::Forget => ledger.forget(&back, by.who, by.at)?,
    }
    Ok(sentences)
}

/// A decision that fits its break.
pub(crate) struct Given {
    /// The decision.
    pub answer: Answer,
    /// The numbers of decisions about other breaks whose place it takes, because both cannot be followed.
    pub replaced: Vec<u64>,
    /// What comes of it.
    pub sentence: String,
}

/// What is decided about a break by an act that fits it. `answers` are those that hold.
pub(crate) fn give(job: &Job, known: &KnownBreak, act: &Act, by: Signature<'_>, answers: &[Answer]) -> Given {
    let earlier = answers.iter().rev().find(|answer| answer.id == known.id);
    let answer = Answer {
        number: 0,
        id: known.id.clone(),
        to: known.open.clone(),
        about: known.ask.as_ref().map(|ask| about(act, ask)).unwrap_or_default(),
        // What stays undone while nobody knows what a system holds stays so, too, while it is set aside.
        or_about: earlier.filter(|earlier| earlier.holds_undone()).map(|earlier| earlier.or_about.clone()).unwrap_or_default(),
        carried: None,
        act: act.clone(),
        who: by.who.to_owned(),
        why: by.why.map(str::to_owned),
        at: by.at.to_owned(),
        written: None,
    };
    let contradicted = answers.iter().filter(|earlier| contradict(&answer, earlier));
    let before: Vec<String> = earlier.into_iter().chain(contradicted.clone()).map(|answer| format!("`{}` by {}", answer.act, answer.who)).collect();
    let instead = if before.is_empty() { String::new() } else { format!(", instead of {}", before.join(", ")) };
    let sentence = format!("{} {}: {}{instead}", known.id, name_of(job, &known.open), what_comes_of_it(act, known.ask.as_ref()));
    let replaced = contradicted.map(|earlier| earlier.number).collect();
    Given { answer, replaced, sentence }
}

fn open_breaks(ledger: Option<&Ledger>) -> Result<Vec<KnownBreak>, Error> {
    Ok(ledger.map(Ledger::open_breaks).transpose()?.unwrap_or_default().into_values().collect())
}

/// The breaks that are meant, each once.
fn find<'k>(job: &Job, known: &'k [KnownBreak], ids: &[String]) -> Result<Vec<&'k KnownBreak>, Error> {
    let mut found: Vec<&KnownBreak> = Vec::new();
    let mut wrong = Vec::new();
    for id in ids {
        let asked = id.trim().to_lowercase();
        let place = || Place::of(job.name.clone());
        let list = format!("`tieout review {}` lists them", job.name);
        let meant: Vec<&KnownBreak> = known.iter().filter(|known| known.id.starts_with(&asked)).collect();
        match meant.as_slice() {
            _ if asked.len() < ID_CHARACTERS_MIN => wrong.push(
                Diagnostic::new(place(), format!("`{id}` is too short for the id of a break: give at least {ID_CHARACTERS_MIN} characters"))
                    .seen("nothing was kept")
                    .hint(list),
            ),
            [] => wrong.push(
                Diagnostic::new(place(), format!("no open break has the id `{id}`"))
                    .seen(match known.len() {
                        0 => "no break is open".to_owned(),
                        1 => "1 break is open".to_owned(),
                        more => format!("{more} breaks are open"),
                    })
                    .seen("nothing was kept")
                    .hint(list),
            ),
            [one] => {
                if !found.iter().any(|other| other.id == one.id) {
                    found.push(one);
                }
            }
            several => wrong.push(
                Diagnostic::new(place(), format!("`{id}` is the beginning of {} ids", several.len()))
                    .seen(several.iter().map(|known| known.id.as_str()).collect::<Vec<_>>().join(", "))
                    .seen("nothing was kept")
                    .hint("give more of its characters"),
            ),
        }
    }
    Error::of(Remedy::MendJob, wrong).map_or(Ok(found), Err)
}

/// The record and field of a break, for a sentence; without a key that nobody may read.
fn name_of(job: &Job, open: &Break) -> String {
    let mut key = key_for_people(&open.key);
    mask_key(&sensitive_parts(job), &mut key, &mut Secrets::default());
    let field = open.field.as_ref().map(|field| format!(" {field}")).unwrap_or_default();
    let system = open.system.as_ref().map(|system| format!(" in {system}")).unwrap_or_default();
    format!("{}{field}{system}", visible_for_people(&key))
}

fn what_comes_of_it(act: &Act, ask: Option<&Ask>) -> String {
    match act {
        Act::Accept => format!("the next run will {}", ask.and_then(|ask| ask.proposal.as_deref()).unwrap_or("do it")),
        Act::Choose { system } => format!("the next run takes `{system}` for right"),
        Act::Reject => "it is left as it is, and asked again when a value changes".to_owned(),
        Act::Snooze { until } => format!("it calls nobody until {until}"),
        Act::Unfreeze => "the next run writes it again".to_owned(),
        Act::Undone { run } => format!("run {run} stays undone"),
    }
}

fn told(known: &KnownBreak, answer: Option<&Answer>, now: jiff::Timestamp) -> OpenBreak {
    let KnownBreak { id, open, first_seen, .. } = known;
    let seen: Option<jiff::Timestamp> = first_seen.parse().ok();
    let ask = known.ask.as_ref();
    OpenBreak {
        id: id.clone(),
        kind: open.kind.to_string(),
        key: key_for_people(&open.key),
        field: open.field.clone(),
        system: open.system.clone(),
        values: open.values.clone(),
        amount: known.amount,
        currency: known.currency.clone(),
        why: open.why.clone(),
        next_step: open.next_step.clone(),
        proposal: ask.and_then(|ask| ask.proposal.clone()),
        proposed: ask.and_then(|ask| ask.value.clone()),
        first_seen: first_seen.chars().take(10).collect(),
        age_days: seen.map_or(0, |seen| now.as_second().saturating_sub(seen.as_second()).max(0) / 86_400),
        fitting: fitting(open, ask),
        decided: answer.map(|answer| Decided {
            act: answer.act.to_string(),
            who: answer.who.clone(),
            why: answer.why.clone(),
            at: answer.at.clone(),
            sets_aside: answer.sets_aside(),
        }),
    }
}

fn sensitive_parts(job: &Job) -> Vec<bool> {
    job.key.iter().map(|field| job.fields[*field].sensitive).collect()
}

/// Masks what nobody may read, in every sentence about the break too.
fn mask(job: &Job, one: &mut OpenBreak) {
    let mut secrets = Secrets::default();
    mask_key(&sensitive_parts(job), &mut one.key, &mut secrets);
    // A break of the whole record may tell the values of any field.
    let is_sensitive = one.field.as_deref().and_then(|field| job.field(field)).is_some_and(|field| job.fields[field].sensitive);
    if is_sensitive || one.field.is_none() && job.fields.iter().any(|field| field.sensitive) {
        for value in one.values.iter_mut().map(|held| &mut held.value).chain(&mut one.proposed).filter(|value| !value.is_null()) {
            secrets.add(value);
            *value = Value::Text(MASK.to_owned());
        }
        one.amount = one.amount.take().filter(|_| !is_sensitive);
    }
    if job.totals.iter().any(|total| job.fields[total.field].sensitive) {
        one.amount = None;
    }
    let of_decision = one.decided.iter_mut().filter_map(|decided| decided.why.as_mut());
    [&mut one.why, &mut one.next_step].into_iter().chain(of_decision).for_each(|text| secrets.hide(text));
}

impl Review {
    /// The list for a terminal. Text that came from a system has its control characters spelled out.
    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        let aside = self.open.iter().filter(|one| one.decided.as_ref().is_some_and(|decided| decided.sets_aside)).count();
        let waits = self.open.iter().filter(|one| one.decided.as_ref().is_some_and(|decided| !decided.sets_aside)).count();
        let breaks = |count: usize| if count == 1 { "1 break".to_owned() } else { format!("{count} breaks") };
        lines.push(match (self.open.len(), aside, waits) {
            (0, ..) => format!("{}: nothing waits for a person", self.job),
            (all, 0, 0) => format!("{}: {} to decide", self.job, breaks(all)),
            (all, aside, waits) => format!("{}: {} to decide, {waits} decided for the next run, {aside} set aside", self.job, breaks(all - aside - waits)),
        });
        for one in &self.open {
            lines.push(String::new());
            one.write(&mut lines);
        }
        if !self.open.is_empty() {
            lines.push(String::new());
            lines.push(format!("decide with `tieout review {} ID.. WORD --why TEXT`; the next run applies it", self.job));
        }
        if !self.masked.is_empty() {
            lines.push(format!("note: masked, `--reveal` shows them: {}", self.masked.join(", ")));
        }
        lines.join("\n")
    }
}

impl OpenBreak {
    fn write(&self, lines: &mut Vec<String>) {
        let field = self.field.as_ref().map(|field| format!(" {field}")).unwrap_or_default();
        let system = self.system.as_ref().map(|system| format!(" in {system}")).unwrap_or_default();
        let age = match self.age_days {
            0 => "today".to_owned(),
            1 => "1 day".to_owned(),
            days => format!("{days} days"),
        };
        let amount = match (&self.amount, &self.currency) {
            (Some(amount), Some(currency)) => format!(", {} {amount}", visible_for_people(currency)),
            (Some(amount), None) => format!(", {amount}"),
            _ => String::new(),
        };
        lines.push(format!("{}  {}: {}{field}{system}  ({age}{amount})", self.id, self.kind, visible_for_people(&self.key)));
        for held in &self.values {
            lines.push(format!("  {}: {}", held.system, shown(&held.value)));
        }
        lines.push(format!("  {}", visible_for_people(&self.why)));
        if let Some(proposal) = &self.proposal {
            let value = self.proposed.as_ref().map(|value| format!(": {}", shown(value))).unwrap_or_default();
            lines.push(format!("  proposed: {proposal}{value}"));
        }
        match &self.decided {
            Some(decided) => {
                let why = decided.why.as_ref().map(|why| format!(": {}", visible_for_people(why))).unwrap_or_default();
                let until = if decided.sets_aside { "" } else { "; the next run applies it" };
                lines.push(format!(
                    "  decided: {} by {} on {}{why}{until}",
                    decided.act,
                    visible_for_people(&decided.who),
                    decided.at.get(..10).unwrap_or_default()
                ));
            }
            None => {
                lines.push(format!("  decide: {}", self.fitting.join(" | ")));
                lines.push(format!("  or: {}", visible_for_people(&self.next_step)));
            }
        }
    }
}

/// A value; a text in quotes, so that its ends can be seen.
fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) if text == MASK => MASK.to_owned(),
        Value::Text(text) => format!("\"{}\"", visible_for_people(text)),
        other => visible_for_people(&value_for_people(other)).into_owned(),
    }
}
