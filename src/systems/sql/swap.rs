//! Swaps: rows that want each other's value in a column in which no two rows may agree. No order of single updates makes one.
//!
//! The rows of a *ring* first give their values up for temporary ones, under the same conditions as any write, and then take
//! their new ones; all of it is one savepoint, so that nobody ever sees a temporary value. Rings are looked for only among
//! changes that were refused because another row has their value, so nobody must know which columns are unique, and an index
//! over several columns or without regard to case counts as well.
//!
//! # Design
//! The temporary value is NULL where the column takes it and no foreign key refers to the table, because NULL passes most checks.
//! Where rows elsewhere follow this one (`ON UPDATE CASCADE`), NULL would cut them off, so they follow to a number or a text
//! that nobody uses, and back. A check or a trigger may refuse the temporary value: then the swap is left to a person.

use std::collections::HashMap;

use rusqlite::types::Value as Bound;
use xxhash_rust::xxh3::xxh3_64;

use super::statement::{Fragment, ROW, update};
use super::{Broken, Statements, Writer, expected, is_refusal, words};
use crate::change::{Action, CellChange, Change, Outcome};

/// A value that more rows than this give up is in no column of its own, and hardly in any index: it makes no ring.
const RIVALS_MAX: usize = 16;

/// What a column holds where two rows would clash: column and text, without regard to case.
fn clash(column: &str, text: Option<&String>) -> Option<(String, String)> {
    Some((column.to_owned(), text?.to_lowercase()))
}

fn taken(cell: &CellChange) -> Option<(String, String)> {
    clash(&cell.column, cell.after_raw.text.as_ref())
}

fn released(cell: &CellChange) -> Option<(String, String)> {
    clash(&cell.column, cell.before_raw.as_ref().and_then(|raw| raw.text.as_ref()))
}

/// Among these changes, by position, the updates that wait for each other's values, ring by ring. What waits for a value that
/// nobody among them gives up is in none, and so is what nobody waits for.
pub(super) fn rings(changes: &[&Change], waiting: &[usize]) -> Vec<Vec<usize>> {
    let members: Vec<usize> = waiting.iter().copied().filter(|index| changes[*index].action == Action::Update).collect();
    let of = |which: fn(&CellChange) -> Option<(String, String)>| -> HashMap<(String, String), Vec<usize>> {
        let mut places: HashMap<(String, String), Vec<usize>> = HashMap::new();
        for (place, index) in members.iter().enumerate() {
            changes[*index].cells.iter().filter_map(which).for_each(|value| places.entry(value).or_default().push(place));
        }
        places
    };
    let (givers, takers) = (of(released), of(taken));
    // By place among the members: from whom each takes, and who takes from it.
    let (mut from, mut to): (Vec<Vec<usize>>, Vec<Vec<usize>>) = (vec![Vec::new(); members.len()], vec![Vec::new(); members.len()]);
    for (value, giving) in givers.iter().filter(|(_, giving)| giving.len() <= RIVALS_MAX) {
        for (taker, giver) in takers.get(value).into_iter().flatten().flat_map(|taker| giving.iter().map(move |giver| (*taker, *giver))) {
            if taker != giver {
                from[taker].push(giver);
                to[giver].push(taker);
            }
        }
    }
    // Only who takes from one of them and gives to one of them can be in a ring.
    let mut left: Vec<(usize, usize)> = from.iter().zip(&to).map(|(from, to)| (from.len(), to.len())).collect();
    let is_out = |counts: (usize, usize)| counts.0 == 0 || counts.1 == 0;
    let mut out: Vec<bool> = left.iter().map(|counts| is_out(*counts)).collect();
    let mut open: Vec<usize> = (0..members.len()).filter(|place| out[*place]).collect();
    while let Some(place) = open.pop() {
        for other in &to[place] {
            left[*other].0 -= 1;
        }
        for other in &from[place] {
            left[*other].1 -= 1;
        }
        for other in to[place].iter().chain(&from[place]) {
            if !out[*other] && is_out(left[*other]) {
                out[*other] = true;
                open.push(*other);
            }
        }
    }
    let mut rings: Vec<Vec<usize>> = Vec::new();
    for first in 0..members.len() {
        let (mut ring, mut open) = (Vec::new(), vec![first]);
        while let Some(place) = open.pop() {
            if !std::mem::replace(&mut out[place], true) {
                ring.push(members[place]);
                open.extend(from[place].iter().chain(&to[place]));
            }
        }
        ring.sort_unstable();
        rings.extend((!ring.is_empty()).then_some(ring));
    }
    rings
}

/// Why a swap was not made.
enum Failed {
    /// The change at this position was not taken.
    At(usize, Outcome),
    Error(rusqlite::Error),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Failed {
        Failed::Error(error)
    }
}

impl<'w> Writer<'w> {
    /// Makes the changes of a ring together, or none of them; one outcome for each.
    pub(super) fn swap(&self, ring: &[(usize, &Change)], statements: &mut Statements<'w>) -> Result<Vec<Outcome>, Broken> {
        statements.rows("SAVEPOINT swap_made", &[])?;
        let made = self.swap_within(ring, statements);
        if self.connection.is_autocommit() {
            let first = ring.first().map_or(0, |(index, _)| *index);
            return Err(match made {
                Err(Failed::Error(error)) if !is_refusal(&error) => Broken::Database(error),
                Err(Failed::Error(error)) => Broken::By(first, words(&error)),
                _ => Broken::By(first, "the database rolled the transaction back".to_owned()),
            });
        }
        let many = ring.len();
        let swap = format!("its new value is that of another row, which waits for this one's in turn: a swap of {many} rows");
        let outcomes = match made {
            Ok(outcomes) => {
                statements.rows("RELEASE swap_made", &[])?;
                return Ok(outcomes);
            }
            Err(Failed::Error(error)) if !is_refusal(&error) => return Err(Broken::Database(error)),
            Err(Failed::Error(error)) => {
                let reason = format!("{swap}, which the database refuses as well: {}; give one of them another value first", words(&error));
                vec![Outcome::Rejected { reason }; many]
            }
            Err(Failed::At(position, outcome)) => {
                let reason = format!("{swap}, and one of the others was not taken");
                let mut outcomes = vec![Outcome::Skipped { reason }; many];
                outcomes[position] = outcome;
                outcomes
            }
        };
        statements.rows("ROLLBACK TO swap_made", &[])?;
        statements.rows("RELEASE swap_made", &[])?;
        Ok(outcomes)
    }

    fn swap_within(&self, ring: &[(usize, &Change)], statements: &mut Statements<'w>) -> Result<Vec<Outcome>, Failed> {
        let (name, identity) = (&self.table.name, &self.table.identity);
        let wanted: Vec<(String, String)> = ring.iter().flat_map(|(_, change)| change.cells.iter().filter_map(taken)).collect();
        let mut parked: Vec<Vec<Bound>> = Vec::with_capacity(ring.len());
        for (position, (_, change)) in ring.iter().enumerate() {
            let gives_up = change.cells.iter().filter(|cell| released(cell).is_some_and(|value| wanted.contains(&value)));
            let temporary = gives_up.map(|cell| (cell.column.as_str(), self.temporary(change, cell, position))).collect();
            let parking = update("UPDATE OR ABORT", name, temporary, expected(change), identity);
            let mut rows = statements.rows(&parking.text, &parking.values)?;
            match (rows.len(), rows.pop()) {
                (1, Some(row)) => parked.push(row),
                (0, _) => return Err(Failed::At(position, self.explain(change, statements)?)),
                (many, _) => return Err(Failed::At(position, Outcome::Rejected { reason: format!("its address matches {many} rows") })),
            }
        }
        let mut outcomes = Vec::with_capacity(ring.len());
        for (position, ((_, change), at)) in ring.iter().zip(parked).enumerate() {
            let same_row = |(expression, value): (&String, Bound)| Fragment { text: format!("{ROW}.{expression} IS ?"), values: vec![value] };
            let conditions = identity.iter().zip(at).map(same_row).collect();
            let taking = update("UPDATE OR ABORT", name, self.new_values(change), conditions, identity);
            let rows = statements.rows(&taking.text, &taking.values)?;
            let outcome = match rows.first() {
                Some(row) => self.answer(change, row, statements)?,
                None => Outcome::Rejected { reason: "the database left the row as it was: a trigger ignored the change".to_owned() },
            };
            if !matches!(outcome, Outcome::Done { .. }) {
                return Err(Failed::At(position, outcome));
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    /// A value for the time between: one that no other row has.
    fn temporary(&self, change: &Change, cell: &CellChange, position: usize) -> Bound {
        let Some(column) = self.table.column(&cell.column) else { return Bound::Null };
        if column.takes_null && !self.table.is_referred_to {
            return Bound::Null;
        }
        let is_rowid = self.table.rowid_column.as_ref() == Some(&column.name);
        if is_rowid || column.declared.to_ascii_uppercase().contains("INT") {
            return Bound::Integer(i64::MIN + i64::try_from(position).unwrap_or_default() + 1);
        }
        Bound::Text(format!("tieout-swap-{position}-{:016x}", xxh3_64(change.key.as_bytes())))
    }
}
