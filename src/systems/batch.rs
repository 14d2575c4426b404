//! Sends a set of changes to a system that may refuse it as a whole, and finds the changes at fault.
//!
//! Many systems take several changes in one go, wholly or not at all, and do not say which one they mind: a constraint that is
//! looked at only when a transaction is committed, an address that answers a batch with one error. Such a set is halved until
//! the change at fault is alone; everything else is written. One bad change of n costs about 2·log₂ n calls, not n.
//!
//! # Words
//! A change that is *rejected* was refused while it was alone, or by name. After more rejections than are *borne* the system is
//! stopped: what was not sent by then is not sent. The bad changes of a healthy system are far fewer than that.
//!
//! # Design
//! - A half may be refused only because of what is in the other: a row that refers to another one, before that one is there; one of
//!   two rows that exchange a unique value. So the changes that were refused apart from the others are sent together once more, in
//!   the order of the set, for as long as that gets one of them through.
//! - A failure that is no fault of a change (a lock, a full disk) ends the set. If nothing was written by then, that is the error
//!   of the whole set; otherwise what was written stays written, and the rest was not sent.

use crate::change::{Change, Outcome};
use crate::error::{Error, Remedy};

/// What a system says to a set, or to a part of it.
#[derive(Debug)]
pub(super) enum Answer {
    /// One outcome for each change, in their order. What is done is committed.
    Each(Vec<Outcome>),
    /// Nothing of it was written, because of some change in it; in the system's words.
    Refused(String),
    /// Nothing of it was written, because of the change at this position; in the system's words.
    RefusedFor(usize, String),
}

/// Counts rejected changes, and says when a system is stopped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rejections {
    count: usize,
    borne: usize,
}

impl Rejections {
    /// None so far.
    pub fn none(borne: usize) -> Rejections {
        Rejections { count: 0, borne }
    }

    /// Looks at one more outcome.
    pub fn count(&mut self, outcome: &Outcome) {
        self.count += usize::from(matches!(outcome, Outcome::Rejected { .. }));
    }

    /// How many more are borne.
    pub fn left(&self) -> usize {
        self.borne.saturating_sub(self.count)
    }

    /// Takes back rejections that came to nothing: the changes were made after all.
    pub fn forgive(&mut self, count: usize) {
        self.count = self.count.saturating_sub(count);
    }

    /// What becomes of the next change without being sent; nothing as long as the system is not stopped.
    pub fn stop(&self) -> Option<Outcome> {
        let reason = || format!("{} changes before it were rejected, at most {} are borne", self.count, self.borne);
        (self.count > self.borne).then(|| Outcome::Skipped { reason: reason() })
    }
}

/// Sends `changes` by `call`, which is given a part of them and the rejections so far; one outcome for each, in their order.
///
/// # Errors
/// That of a call, if nothing was written before it.
pub(super) fn send(changes: &[Change], borne: usize, call: Call<'_>) -> Result<Vec<Outcome>, Error> {
    let mut sending = Sending {
        changes,
        call,
        outcomes: vec![None; changes.len()],
        alone: Vec::new(),
        named: Vec::new(),
        rejections: Rejections::none(borne),
        failure: None,
    };
    sending.part(&(0..changes.len()).collect::<Vec<usize>>());
    sending.look_again();
    let Sending { outcomes, failure, .. } = sending;
    let is_written = outcomes.iter().flatten().any(|outcome| matches!(outcome, Outcome::Done { .. } | Outcome::Unknown { .. }));
    match failure {
        Some(error) if !is_written => Err(error),
        _ => Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| Outcome::Skipped { reason: "it was not sent".to_owned() })).collect()),
    }
}

/// One call of the system with some of the changes.
type Call<'c> = &'c mut dyn FnMut(&[&Change], Rejections) -> Result<Answer, Error>;

struct Sending<'s> {
    changes: &'s [Change],
    call: Call<'s>,
    outcomes: Vec<Option<Outcome>>,
    /// Those that were refused without being named: while they were the only ones sent.
    alone: Vec<usize>,
    /// Those that were refused by name while others of the set were not sent with them.
    named: Vec<usize>,
    rejections: Rejections,
    failure: Option<Error>,
}

impl Sending<'_> {
    fn settle(&mut self, index: usize, outcome: Outcome) {
        self.rejections.count(&outcome);
        self.outcomes[index] = Some(outcome);
    }

    /// Sends these changes, and smaller parts of them for as long as they are refused.
    fn part(&mut self, part: &[usize]) {
        if part.is_empty() {
            return;
        }
        if let Some(stopped) = self.stopped() {
            part.iter().for_each(|index| self.outcomes[*index] = Some(stopped.clone()));
            return;
        }
        let changes: Vec<&Change> = part.iter().map(|index| &self.changes[*index]).collect();
        match (self.call)(&changes, self.rejections) {
            Ok(Answer::Each(outcomes)) => {
                for (index, outcome) in part.iter().zip(outcomes) {
                    // What was refused here may need what is in the other half: two rows that exchange their values.
                    if part.len() < self.changes.len() && matches!(outcome, Outcome::Rejected { .. }) {
                        self.named.push(*index);
                    }
                    self.settle(*index, outcome);
                }
            }
            Ok(Answer::Refused(reason)) => match part {
                [only] => {
                    self.alone.push(*only);
                    self.settle(*only, Outcome::Rejected { reason });
                }
                _ => {
                    let (first, second) = part.split_at(part.len() / 2);
                    self.part(first);
                    self.part(second);
                }
            },
            Ok(Answer::RefusedFor(position, reason)) => {
                let position = position.min(part.len() - 1);
                self.settle(part[position], Outcome::Rejected { reason });
                self.part(&part[..position]);
                self.part(&part[position + 1..]);
            }
            Err(error) => {
                let reason = error.diagnostics.first().map(|diagnostic| diagnostic.message.clone()).unwrap_or_default();
                let outcome = match error.remedy {
                    Remedy::Look => Outcome::Unknown { reason },
                    Remedy::MendJob | Remedy::GiveAccess | Remedy::Wait => Outcome::Skipped { reason },
                };
                part.iter().for_each(|index| self.outcomes[*index] = Some(outcome.clone()));
                self.failure = Some(error);
            }
        }
    }

    fn stopped(&self) -> Option<Outcome> {
        let failed = self.failure.as_ref().map(|error| {
            let what = error.diagnostics.first().map(|diagnostic| diagnostic.message.clone()).unwrap_or_default();
            Outcome::Skipped { reason: format!("it was not sent: {what}") }
        });
        failed.or_else(|| self.rejections.stop())
    }

    /// Sends those together that were refused apart from each other: first the ones that the system named, then the others, until
    /// none of them is taken any more.
    fn look_again(&mut self) {
        let named = std::mem::take(&mut self.named);
        self.together(named);
        loop {
            let again = std::mem::take(&mut self.alone);
            let count = again.len();
            if !self.together(again) || self.alone.len() >= count {
                return;
            }
        }
    }

    /// Sends refused changes once more, together, in the order of the set. Whether there was anything to send, and it may be sent.
    fn together(&mut self, mut again: Vec<usize>) -> bool {
        if again.len() < 2 || self.failure.is_some() || self.rejections.stop().is_some() {
            return false;
        }
        again.sort_unstable();
        // They are counted again if they are refused again.
        let before: Vec<Option<Outcome>> = again.iter().map(|index| self.outcomes[*index].take()).collect();
        self.rejections.count -= again.len();
        self.part(&again);
        for (index, before) in again.iter().zip(before) {
            // What was refused and is not taken now is refused, for the reason that was given first.
            if !matches!(self.outcomes[*index], Some(Outcome::Done { .. } | Outcome::Unknown { .. })) {
                self.outcomes[*index] = before;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{Action, Reason};
    use crate::diagnostic::Place;

    fn changes(count: u32) -> Vec<Change> {
        let change = |number: u32| Change {
            number,
            system: "books".to_owned(),
            record: number.into(),
            key: number.to_string(),
            action: Action::Update,
            address: Vec::new(),
            row_id: None,
            row_key_before: None,
            row_key_after: number.to_string(),
            cells: Vec::new(),
            reason: Reason::Standardised,
            attempts: 0,
            edited_at: None,
        };
        (1..=count).map(change).collect()
    }

    fn done() -> Outcome {
        Outcome::Done { answer: Vec::new(), id: None }
    }

    /// The numbers of the changes that a set was sent with, call by call, and how it ended: `d`one, `r`ejected, `s`kipped, `u`nknown.
    fn sent(count: u32, borne: usize, mut answer: impl FnMut(&[u32], usize) -> Result<Answer, Error>) -> (Vec<Vec<u32>>, Result<String, Error>) {
        let mut calls: Vec<Vec<u32>> = Vec::new();
        let all = changes(count);
        let outcomes = send(&all, borne, &mut |part, _| {
            let numbers: Vec<u32> = part.iter().map(|change| change.number).collect();
            calls.push(numbers.clone());
            answer(&numbers, calls.len())
        });
        let letter = |outcome: &Outcome| match outcome {
            Outcome::Done { .. } => 'd',
            Outcome::Rejected { .. } => 'r',
            Outcome::Stale { .. } => 't',
            Outcome::Unknown { .. } => 'u',
            Outcome::Skipped { .. } => 's',
        };
        (calls, outcomes.map(|outcomes| outcomes.iter().map(letter).collect()))
    }

    /// Takes a set that holds none of these.
    fn minds(bad: &[u32]) -> impl FnMut(&[u32], usize) -> Result<Answer, Error> + use<'_> {
        move |part, _| Ok(if part.iter().any(|n| bad.contains(n)) { Answer::Refused("no".to_owned()) } else { Answer::Each(vec![done(); part.len()]) })
    }

    #[test]
    fn the_bad_one_is_found_by_halves_and_all_others_are_written() {
        let (calls, outcomes) = sent(1, 5, minds(&[]));
        assert_eq!((calls.len(), outcomes.unwrap_or_default().as_str()), (1, "d"));
        let (calls, outcomes) = sent(8, 5, minds(&[6]));
        assert_eq!(outcomes.unwrap_or_default(), "dddddrdd");
        assert_eq!(calls, [vec![1, 2, 3, 4, 5, 6, 7, 8], vec![1, 2, 3, 4], vec![5, 6, 7, 8], vec![5, 6], vec![5], vec![6], vec![7, 8]]);
        for bad in [1, 500, 1000] {
            let (calls, outcomes) = sent(1000, 5, minds(&[bad]));
            assert!(calls.len() <= 21, "{} calls for one bad of a thousand", calls.len());
            let outcomes = outcomes.unwrap_or_default();
            assert_eq!((outcomes.matches('d').count(), outcomes.chars().nth(bad as usize - 1)), (999, Some('r')));
        }
        let (calls, outcomes) = sent(1000, 5, minds(&[3, 4, 999]));
        assert!(calls.len() <= 70, "{} calls for three bad of a thousand", calls.len());
        assert_eq!(outcomes.unwrap_or_default().matches('r').count(), 3);
    }

    #[test]
    fn one_that_is_named_is_left_out_at_once() {
        let (calls, outcomes) = sent(1000, 5, |part, _| {
            let bad = part.iter().position(|n| *n == 77 || *n == 500);
            Ok(bad.map_or_else(|| Answer::Each(vec![done(); part.len()]), |at| Answer::RefusedFor(at, "no".to_owned())))
        });
        assert_eq!(calls.len(), 5);
        assert_eq!(outcomes.unwrap_or_default().matches('r').count(), 2);
    }

    #[test]
    fn what_needs_another_half_is_taken_in_the_end() {
        // 2 refers to 7, and 5 is bad.
        let mut written = Vec::new();
        let (_, outcomes) = sent(8, 5, |part, _| {
            let lacks = part.contains(&2) && !part.contains(&7) && !written.contains(&7);
            if part.contains(&5) || lacks {
                return Ok(Answer::Refused("no".to_owned()));
            }
            written.extend_from_slice(part);
            Ok(Answer::Each(vec![done(); part.len()]))
        });
        assert_eq!(outcomes.unwrap_or_default(), "ddddrddd");
    }

    #[test]
    fn two_that_exchange_a_value_are_taken_together_in_the_end() {
        // 1 and 5 exchange a value, 3 is bad.
        let (_, outcomes) = sent(6, 5, |part, _| {
            if part.contains(&3) {
                return Ok(Answer::Refused("no".to_owned()));
            }
            let is_apart = |number: &u32| matches!(number, 1 | 5) && !(part.contains(&1) && part.contains(&5));
            let outcome = |number: &u32| if is_apart(number) { Outcome::Rejected { reason: "taken".to_owned() } } else { done() };
            Ok(Answer::Each(part.iter().map(outcome).collect()))
        });
        assert_eq!(outcomes.unwrap_or_default(), "ddrddd");
    }

    #[test]
    fn after_too_many_rejections_nothing_more_is_sent() {
        let all: Vec<u32> = (1..=64).collect();
        let (calls, outcomes) = sent(64, 5, minds(&all));
        assert_eq!(outcomes.unwrap_or_default(), format!("{}{}", "r".repeat(6), "s".repeat(58)));
        assert!(calls.len() <= 20, "{calls:?}");
    }

    #[test]
    fn a_failure_that_is_nobodys_fault_ends_the_set() {
        let locked = || Error::new(Remedy::GiveAccess, Place::of("books"), "the database is locked");
        let (calls, outcomes) = sent(8, 5, |_, _| Err(locked()));
        assert_eq!((calls.len(), outcomes.is_err()), (1, true));
        let then = |remedy: Remedy| {
            move |part: &[u32], call: usize| match call {
                1 => Ok(Answer::Refused("no".to_owned())),
                2 => Ok(Answer::Each(vec![done(); part.len()])),
                _ => Err(Error::new(remedy, Place::of("books"), "the line is dead")),
            }
        };
        let (calls, outcomes) = sent(8, 5, then(Remedy::GiveAccess));
        assert_eq!((calls.len(), outcomes.unwrap_or_default().as_str()), (3, "ddddssss"));
        let (_, outcomes) = sent(8, 5, then(Remedy::Look));
        assert_eq!(outcomes.unwrap_or_default(), "dddduuuu");
    }
}
