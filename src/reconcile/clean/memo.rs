//! What was read of texts that come again: a column of countries has a hundred different cells in a million rows.
//!
//! # Design
//! What is remembered is all of it, the rules that touched the cell among them, so that the counts of a column are the same
//! with and without. It is bounded: a full memo is emptied and starts anew. One that was hardly ever asked for what it knew gives
//! up, because remembering costs more than reading again.

use std::hash::BuildHasher;
use std::rc::Rc;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::reconcile::clean::counts::Touched;

/// How many cells are remembered at once.
const CELLS_MAX: usize = 1 << 16;

/// After so many it is looked whether it was worth while: one question in eight must have been for a known cell.
const CELLS_ON_TRIAL: usize = 1 << 13;

/// No longer cell is remembered.
const CELL_BYTES_MAX: usize = 256;

/// What became of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Became {
    Null,
    /// The text itself.
    Same,
    Other(Rc<str>),
}

/// What was read of the cells of one column.
#[derive(Default)]
pub(super) struct Memo {
    known: HashTable<Known>,
    hasher: DefaultHashBuilder,
    /// How often something was known since the memo was empty.
    hits: usize,
    has_given_up: bool,
}

/// A cell beside a text, and what was read of it.
struct Known {
    cell: Box<str>,
    beside: Option<Box<str>>,
    became: (Became, Touched),
}

impl Memo {
    /// What became of a cell beside this text, and what touched it: remembered, or else read.
    pub(super) fn read(&mut self, cell: &str, beside: Option<&str>, read: impl FnOnce() -> (Became, Touched)) -> (Became, Touched) {
        if self.has_given_up || cell.len() > CELL_BYTES_MAX {
            return read();
        }
        let hasher = &self.hasher;
        let hash = hasher.hash_one((cell, beside));
        if let Some(known) = self.known.find(hash, |known| *known.cell == *cell && known.beside.as_deref() == beside) {
            self.hits += 1;
            return known.became.clone();
        }
        let fresh = read();
        if self.known.len() == CELLS_ON_TRIAL && self.hits < CELLS_ON_TRIAL / 8 {
            self.has_given_up = true;
            self.known = HashTable::new();
            return fresh;
        }
        if self.known.len() >= CELLS_MAX {
            self.hits = 0;
            self.known.clear();
        }
        let known = Known { cell: cell.into(), beside: beside.map(Into::into), became: fresh.clone() };
        self.known.insert_unique(hash, known, |known| hasher.hash_one((&*known.cell, known.beside.as_deref())));
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_what_was_read_beside_the_same_text() {
        let mut memo = Memo::default();
        let mut reads = 0;
        let mut ask = |cell: &str, beside: Option<&str>| {
            let read = || {
                reads += 1;
                (Became::Other(format!("{cell} in {beside:?}").into()), Touched::default())
            };
            let Became::Other(text) = memo.read(cell, beside, read).0 else { return String::new() };
            text.to_string()
        };
        for _ in 0..2 {
            for (cell, beside) in [("12", None), ("12", Some("")), ("2", Some("1")), ("12", Some("DE")), ("E12", Some("D"))] {
                assert_eq!(ask(cell, beside), format!("{cell} in {beside:?}"));
            }
        }
        assert_eq!(reads, 5);
    }

    #[test]
    fn a_full_memo_starts_anew_and_one_that_never_helped_gives_up() {
        let fill = |again: bool| {
            let mut memo = Memo::default();
            for number in 0..=CELLS_MAX {
                for _ in 0..=usize::from(again && number % 4 == 0) {
                    memo.read(&number.to_string(), None, || (Became::Same, Touched::default()));
                }
            }
            (memo.known.len(), memo.has_given_up)
        };
        assert_eq!(fill(false), (0, true));
        assert_eq!(fill(true), (1, false));
    }
}
