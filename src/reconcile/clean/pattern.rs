//! Patterns of digits, as numbering plans write them: `[2-9]\d{2}(?:0|1[1-4])?`.
//!
//! A [`Pattern`] says whether a number begins as several such patterns want it, all of them at once, by one look at a table for
//! each digit.
//!
//! # Design
//! - Only what the plans use is understood: digits, `\d`, classes, groups, `|`, `?`, `{2}`, `{2,5}`, and white space, which means
//!   nothing. What a pattern holds besides is no pattern here, and the number is left to the library.
//! - The table is filled as numbers come: a plan knows thousands of beginnings, and a column shows a few of them. It never grows
//!   beyond [`STATES_MAX`]; a full one is emptied.

use hashbrown::HashMap;

/// How many states are known at once.
const STATES_MAX: usize = 4_096;

/// How many digits there are; a row of the table has room for more, so that it is found by a shift.
const DIGITS: usize = 16;

// What stands in the table instead of a state.
const UNKNOWN: u16 = u16::MAX;
const FITS: u16 = u16::MAX - 1;
const FAILS: u16 = u16::MAX - 2;

/// Several patterns for the beginning of a number.
pub(super) struct Pattern {
    steps: Vec<Step>,
    /// Where each pattern ends, in the order of the patterns. The steps of a pattern come after its end, and before the next one.
    ends: Vec<u16>,
    /// The steps before the first digit.
    start: Vec<u16>,
    /// What comes after each state by each digit.
    table: Vec<[u16; DIGITS]>,
    /// The steps of each state, in order.
    states: Vec<Vec<u16>>,
    numbers: HashMap<Vec<u16>, u16>,
}

/// A step of a pattern.
#[derive(Clone, Copy)]
enum Step {
    /// The number fits, whatever follows.
    End,
    /// One of these digits, a bit for each, then the other step.
    Digit(u16, u16),
    /// Either step.
    Either(u16, u16),
}

/// A part of a pattern.
enum Part {
    Digit(u16),
    Sequence(Vec<Part>),
    OneOf(Vec<Part>),
    Repeated(Box<Part>, usize, usize),
}

impl Pattern {
    /// The numbers that begin as all of these patterns want; nothing if one of them is not understood.
    pub(super) fn all_of(patterns: &[&str]) -> Option<Pattern> {
        let mut pattern = Pattern { steps: Vec::new(), ends: Vec::new(), start: Vec::new(), table: Vec::new(), states: Vec::new(), numbers: HashMap::new() };
        for text in patterns {
            let part = parse(text)?;
            let end = pattern.step(Step::End)?;
            pattern.ends.push(end);
            let first = pattern.lay(&part, end)?;
            pattern.start.push(first);
        }
        pattern.begin();
        Some(pattern)
    }

    fn step(&mut self, step: Step) -> Option<u16> {
        let number = u16::try_from(self.steps.len()).ok()?;
        self.steps.push(step);
        Some(number)
    }

    /// Lays the steps of a part before the step that follows it; gives the first of them.
    fn lay(&mut self, part: &Part, mut next: u16) -> Option<u16> {
        match part {
            Part::Digit(digits) => self.step(Step::Digit(*digits, next)),
            Part::Sequence(parts) => {
                for part in parts.iter().rev() {
                    next = self.lay(part, next)?;
                }
                Some(next)
            }
            Part::OneOf(parts) => {
                let mut first = None;
                for part in parts {
                    let way = self.lay(part, next)?;
                    first = Some(match first {
                        None => way,
                        Some(others) => self.step(Step::Either(others, way))?,
                    });
                }
                first
            }
            Part::Repeated(part, least, most) => {
                let after = next;
                for _ in *least..*most {
                    let once_more = self.lay(part, next)?;
                    next = self.step(Step::Either(once_more, after))?;
                }
                for _ in 0..*least {
                    next = self.lay(part, next)?;
                }
                Some(next)
            }
        }
    }

    /// Empties the table but for the first state.
    fn begin(&mut self) {
        self.table.clear();
        self.states.clear();
        self.numbers.clear();
        let mut start = Vec::new();
        for step in &self.start {
            self.reach(*step, &mut start);
        }
        self.state(start);
    }

    /// Adds the steps that a step leads to without a digit.
    fn reach(&self, step: u16, reached: &mut Vec<u16>) {
        match self.steps[usize::from(step)] {
            Step::Either(one, other) => {
                self.reach(one, reached);
                self.reach(other, reached);
            }
            Step::End | Step::Digit(..) => {
                if let Err(place) = reached.binary_search(&step) {
                    reached.insert(place, step);
                }
            }
        }
    }

    /// The number of the state that has these steps.
    fn state(&mut self, steps: Vec<u16>) -> u16 {
        if let Some(number) = self.numbers.get(&steps) {
            return *number;
        }
        // A pattern that ended fits for good, and one without a step left never will.
        let of_pattern = |place: usize| {
            let (from, to) = (self.ends[place], self.ends.get(place + 1).copied().unwrap_or(u16::MAX));
            steps.iter().filter(move |step| (from..to).contains(step))
        };
        let mut fits = (0..self.ends.len()).map(|place| of_pattern(place).any(|step| *step == self.ends[place]));
        let mut fails = (0..self.ends.len()).map(|place| of_pattern(place).next().is_none());
        let number = match self.table.len() {
            _ if fits.all(|fits| fits) => FITS,
            _ if fails.any(|fails| fails) => FAILS,
            number => {
                self.table.push([UNKNOWN; DIGITS]);
                self.states.push(steps.clone());
                // There are never more than `STATES_MAX`.
                number as u16
            }
        };
        self.numbers.insert(steps, number);
        number
    }

    /// Whether a number begins as all patterns want it. It is of digits alone.
    pub(super) fn begins(&mut self, number: &[u8]) -> bool {
        if self.table.is_empty() {
            return self.numbers.values().any(|state| *state == FITS);
        }
        let mut state = 0;
        for digit in number {
            let digit = usize::from(digit & 0xf);
            let mut next = self.table[usize::from(state)][digit];
            if next == UNKNOWN {
                if self.table.len() == STATES_MAX {
                    self.begin();
                    return self.begins(number);
                }
                next = self.next(state, digit);
            }
            match next {
                FITS => return true,
                FAILS => return false,
                next => state = next,
            }
        }
        false
    }

    /// Finds out what comes after a state by a digit.
    fn next(&mut self, state: u16, digit: usize) -> u16 {
        let mut steps = Vec::new();
        for step in &self.states[usize::from(state)] {
            match self.steps[usize::from(*step)] {
                Step::Digit(digits, next) if digits >> digit & 1 == 1 => self.reach(next, &mut steps),
                Step::End => self.reach(*step, &mut steps),
                Step::Digit(..) | Step::Either(..) => {}
            }
        }
        let next = self.state(steps);
        self.table[usize::from(state)][digit] = next;
        next
    }
}

fn parse(text: &str) -> Option<Part> {
    let text: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let (part, rest) = one_of(&text)?;
    rest.is_empty().then_some(part)
}

/// Parts with `|` between them, and what follows.
fn one_of(mut text: &[u8]) -> Option<(Part, &[u8])> {
    let mut parts = Vec::new();
    loop {
        let (part, rest) = sequence(text)?;
        parts.push(part);
        match rest.strip_prefix(b"|") {
            Some(rest) => text = rest,
            None => return Some((Part::OneOf(parts), rest)),
        }
    }
}

fn sequence(mut text: &[u8]) -> Option<(Part, &[u8])> {
    let mut parts = Vec::new();
    while !matches!(text, [] | [b'|' | b')', ..]) {
        let (mut part, mut rest) = match text {
            [b'(', b'?', b':', inner @ ..] => {
                let (part, rest) = one_of(inner)?;
                (part, rest.strip_prefix(b")")?)
            }
            [b'\\', b'd', rest @ ..] => (Part::Digit(0x3ff), rest),
            [b'[', inner @ ..] => class(inner)?,
            [digit @ b'0'..=b'9', rest @ ..] => (Part::Digit(1 << (digit - b'0')), rest),
            _ => return None,
        };
        match rest {
            [b'?', after @ ..] => (part, rest) = (Part::Repeated(Box::new(part), 0, 1), after),
            [b'{', inner @ ..] => {
                let (least, after) = count(inner)?;
                let (most, after) = after.strip_prefix(b",").map_or(Some((least, after)), count)?;
                rest = after.strip_prefix(b"}")?;
                part = Part::Repeated(Box::new(part), least, most);
            }
            _ => {}
        }
        // No repetition is greedy or not, or repeated itself.
        if matches!(rest, [b'?' | b'*' | b'+' | b'{', ..]) {
            return None;
        }
        parts.push(part);
        text = rest;
    }
    Some((Part::Sequence(parts), text))
}

/// `2-57]` at the start, and what follows it.
fn class(mut text: &[u8]) -> Option<(Part, &[u8])> {
    let mut digits = 0;
    loop {
        let (from, to, rest) = match text {
            [b']', rest @ ..] => return Some((Part::Digit(digits), rest)),
            [from @ b'0'..=b'9', b'-', to @ b'0'..=b'9', rest @ ..] => (from, to, rest),
            [only @ b'0'..=b'9', rest @ ..] => (only, only, rest),
            _ => return None,
        };
        for digit in *from..=*to {
            digits |= 1 << (digit - b'0');
        }
        text = rest;
    }
}

/// A number of at most two digits, and what follows it.
fn count(text: &[u8]) -> Option<(usize, &[u8])> {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = text.split_at(length);
    let number = std::str::from_utf8(number).ok().filter(|number| number.len() <= 2)?.parse().ok()?;
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_about_the_beginning_of_a_number() {
        for (patterns, fits, fails) in [
            (&["12"][..], &["12", "123", "129"][..], &["", "1", "21", "13"][..]),
            (&["[2-47]\\d?"], &["2", "31", "4", "7"], &["", "1", "5", "6", "8"]),
            (&["1(?:2|3[45])6"], &["126", "1346", "13567"], &["12", "136", "1366"]),
            (&["1{2,3}2"], &["112", "1112"], &["12", "11112"]),
            (&["1{2}(?:34){0,2}5"], &["115", "11345", "1134345"], &["1134", "113434345", "15"]),
            (&["1?2", "\\d{4}"], &["1234", "2345"], &["123", "234", "3456"]),
            (&["1\n  2 |\n 3"], &["12", "3"], &["1", "2"]),
            (&[""], &["", "1"], &[]),
        ] {
            let mut pattern = Pattern::all_of(patterns).expect("understood");
            for _ in 0..2 {
                fits.iter().for_each(|number| assert!(pattern.begins(number.as_bytes()), "{patterns:?} {number}"));
                fails.iter().for_each(|number| assert!(!pattern.begins(number.as_bytes()), "{patterns:?} {number}"));
            }
        }
    }

    #[test]
    fn what_is_not_understood_is_no_pattern() {
        for text in ["1*", "1+", "a", "(1)", "(?:1", "1)", "[^1]", "[1", "1{2,}", "1{2", "1{2}?", "1??", "\\D", "^1", "1$", "1{100}"] {
            assert!(Pattern::all_of(&[text]).is_none(), "{text}");
        }
    }

    #[test]
    fn a_full_table_starts_anew() {
        // Every way in which the last digits were ones is a state of its own.
        let mut pattern = Pattern::all_of(&["\\d{0,20}1\\d{12}"]).expect("understood");
        let mut emptied = 0;
        for number in 0..1_u32 << 14 {
            let known = pattern.table.len();
            let digits: String = (0..14).map(|bit| if number >> bit & 1 == 1 { '1' } else { '0' }).collect();
            assert_eq!(pattern.begins(format!("{digits}222222222222").as_bytes()), number > 0, "{digits}");
            emptied += usize::from(pattern.table.len() < known);
            assert!(pattern.table.len() <= STATES_MAX);
        }
        assert!(emptied > 0);
    }
}
