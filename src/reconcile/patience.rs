//! How long to wait before a call is made again that met something which passes: a lock, a file that somebody saves just now.
//!
//! Each call waits longer than the time before, and never quite as long as another: half of each wait is drawn by lot, so that two
//! programs that met do not meet again and again. All waits of a run together stay within its budget. Nothing here waits, and
//! nothing here knows the time: whoever does says what was waited for.
//!
//! # Design
//! The lot is drawn from the run and the call, so that the same run waits the same.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

/// The longest first wait.
const FIRST: Duration = Duration::from_secs(1);
/// No wait is longer.
const LONGEST: Duration = Duration::from_secs(20);

/// What is left of a run's budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patience {
    run: String,
    left: Duration,
}

impl Patience {
    /// The budget of a run.
    pub fn new(run: &str, budget: Duration) -> Patience {
        Patience { run: run.to_owned(), left: budget }
    }

    /// How long to wait before a call is made again that failed `tries` times, at least `at_least`; it is taken from the budget.
    /// Nothing once that does not suffice.
    pub fn wait(&mut self, call: &str, tries: u32, at_least: Duration) -> Option<Duration> {
        let longest = FIRST.saturating_mul(1 << tries.saturating_sub(1).min(8)).min(LONGEST);
        let lot = xxh3_64(format!("{} {call} {tries}", self.run).as_bytes()) % 1000;
        let drawn = longest / 2 + longest.mul_f64(lot as f64 / 2000.0);
        let wait = drawn.max(at_least).min(self.left.max(at_least));
        if self.left.is_zero() || wait > self.left {
            return None;
        }
        self.left -= wait;
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(budget: u64, at_least: Duration) -> Vec<Duration> {
        let mut patience = Patience::new("20260331T010000Z", Duration::from_secs(budget));
        (1..100).map_while(|tries| patience.wait("write crm", tries, at_least)).collect()
    }

    #[test]
    fn waits_grow_up_to_the_longest_and_use_the_budget_up() {
        let all = waits(120, Duration::ZERO);
        for (tries, wait) in all.iter().enumerate().take(all.len() - 1) {
            let longest = Duration::from_secs(1 << tries.min(10)).min(LONGEST);
            assert!(*wait >= longest / 2 && *wait <= longest, "wait {tries}: {wait:?}");
        }
        assert_eq!(all.iter().sum::<Duration>(), Duration::from_secs(120), "the last wait takes what is left");
        assert!((8..16).contains(&all.len()), "{all:?}");
        assert_eq!(waits(120, Duration::ZERO), all, "the same run waits the same");
        assert!(waits(0, Duration::ZERO).is_empty());
    }

    #[test]
    fn two_runs_do_not_wait_alike() {
        let first = |run: &str| Patience::new(run, Duration::from_secs(60)).wait("write crm", 1, Duration::ZERO);
        assert_ne!(first("20260331T010000Z"), first("20260331T010001Z"));
    }

    #[test]
    fn who_asks_for_more_time_gets_it_or_is_not_asked_again() {
        assert_eq!(waits(60, Duration::from_secs(25)), [Duration::from_secs(25); 2]);
        assert!(waits(60, Duration::from_secs(61)).is_empty());
    }
}
