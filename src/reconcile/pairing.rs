//! Pairs the rows of two tables by hashes of their keys, in few bytes a row.
//!
//! Of every row of the first table, A, one entry is kept: a hash of its key, a hash of the whole row, where it stands, and where
//! the row of the second table, B, stands that was found for it. The rows of B are not kept: each is looked up once.
//!
//! Words: a *place* is where a row stands in its file. A pair is *alike* if both of its hashes agree. A key hash is *crowded* if
//! more than one row of a table has it: by a key that comes twice, or by two keys whose hashes collide.
//!
//! What comes out are candidates, and values decide about them: whoever reads the rows finds whether the keys are the same. Only
//! pairs that are alike need no look. The hashes are keyed by random numbers of the run; that two given rows which differ are alike
//! by chance has a probability of 2^-128, and that any of ten million pairs is, one of less than 10^-31.
//!
//! # Design
//! - Entries are kept in parts by the first bits of their key hash, so that several threads rarely meet and what is looked up
//!   next is likely near. Within a part they are sorted by key hash. Hashes are even, so that a few bits of one lead to
//!   the handful of neighbours among which the entry is: an index of a byte a row, and no pointers.
//! - A part is never doubled when it is full: it grows by an eighth.

use std::hint::black_box;

/// How many bits of a key hash say to which part it belongs.
pub const PART_BITS: u32 = 8;

/// How many parts there are.
pub const PARTS: usize = 1 << PART_BITS;

/// A row of a table, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Hashed {
    /// A hash of what its key says.
    pub key: u64,
    /// Another of all of the row that is compared.
    pub row: u64,
    /// Where it stands; below 2^62.
    pub place: u64,
}

impl Hashed {
    /// The number of the part that the row belongs to.
    pub fn part(&self) -> usize {
        (self.key >> (u64::BITS - PART_BITS)) as usize
    }
}

/// A row of A and a row of B whose keys have the same hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// Where the row of A stands.
    pub a: u64,
    /// Where the row of B stands.
    pub b: u64,
}

/// A row whose key hash is crowded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Crowded {
    /// The hash of its key.
    pub key: u64,
    /// Whether it is a row of B.
    pub is_b: bool,
    /// Where it stands.
    pub place: u64,
}

/// What is known of the rows of both tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// How many pairs are alike.
    pub alike: u64,
    /// Pairs that have to be looked at, in no order: those that are not alike, or all if they are asked for.
    pub pairs: Vec<Pair>,
    /// Rows of A whose key hash no row of B has, in no order.
    pub only_a: Vec<u64>,
    /// Rows of B whose key hash no row of A has, in no order.
    pub only_b: Vec<u64>,
    /// All rows with a crowded key hash, in either table, by key hash, those of A first.
    pub crowded: Vec<Crowded>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: u64,
    row: u64,
    /// The place, and the marks below.
    a: u64,
    b: u64,
}

/// No row of B was found yet.
const NONE: u64 = u64::MAX;
/// The row of B that was found is alike.
const ALIKE: u64 = 1 << 63;
/// Several rows of A or B have the key hash.
const CROWDED: u64 = 1 << 62;
const PLACE: u64 = CROWDED - 1;

/// So many neighbours are looked through one by one; among more it is halved.
const NEIGHBOURS_MAX: usize = 16;

/// So many rows are looked up side by side: where each is to be found is fetched for all of them before the first is looked at, so that
/// the memory is waited for once and not for each.
const TOGETHER: usize = 32;

/// One part of the entries.
#[derive(Debug, Default)]
pub struct Part {
    entries: Vec<Entry>,
    /// Where the neighbours of each of the next bits of a key hash begin; one more than there are of them.
    starts: Vec<u32>,
    /// How many bits those are.
    bits: u32,
    /// Rows of B whose key hash is unknown.
    unknown: Vec<(u64, u64)>,
    /// Rows of B whose key hash is crowded.
    crowded: Vec<(u64, u64)>,
}

fn make_room<T>(of: &mut Vec<T>, more: usize) {
    if of.capacity() - of.len() < more {
        of.reserve_exact(more.max(of.len() / 8));
    }
}

impl Part {
    /// A part with room for so many rows. More fit.
    pub fn with_room(rows: usize) -> Part {
        Part { entries: Vec::with_capacity(rows), ..Part::default() }
    }

    /// Takes rows of A.
    pub fn take(&mut self, rows: &[Hashed]) {
        make_room(&mut self.entries, rows.len());
        self.entries.extend(rows.iter().map(|row| Entry { key: row.key, row: row.row, a: row.place & PLACE, b: NONE }));
    }

    /// Ends the rows of A.
    pub fn close(&mut self) {
        self.entries.sort_unstable_by_key(|entry| entry.key);
        let neighbourhoods = (self.entries.len() / 4).max(1).next_power_of_two();
        self.bits = neighbourhoods.trailing_zeros();
        self.starts = vec![0; neighbourhoods + 1];
        for entry in &self.entries {
            let number = neighbourhood(entry.key, self.bits);
            self.starts[number + 1] += 1;
        }
        let mut sum = 0;
        for start in &mut self.starts {
            sum += *start;
            *start = sum;
        }
        self.forget();
    }

    /// Forgets all rows of B.
    pub fn forget(&mut self) {
        for entry in &mut self.entries {
            (entry.a, entry.b) = (entry.a & PLACE, NONE);
        }
        for at in 1..self.entries.len() {
            if self.entries[at - 1].key == self.entries[at].key {
                self.entries[at - 1].a |= CROWDED;
                self.entries[at].a |= CROWDED;
            }
        }
        self.unknown.clear();
        self.crowded.clear();
    }

    /// Looks rows of B up.
    pub fn meet(&mut self, rows: &[Hashed]) {
        for together in rows.chunks(TOGETHER) {
            let mut spans = [(0, 0); TOGETHER];
            for (span, row) in spans.iter_mut().zip(together) {
                let number = neighbourhood(row.key, self.bits);
                *span = (self.starts[number] as usize, self.starts[number + 1] as usize);
            }
            let first_keys = spans[..together.len()].iter().map(|(start, _)| self.entries.get(*start).map_or(0, |entry| entry.key));
            black_box(first_keys.fold(0, |all, key| all ^ key));
            for (row, (start, end)) in together.iter().zip(spans) {
                self.meet_one(row, start, end);
            }
        }
    }

    /// Looks a row of B up among the neighbours that it would have.
    fn meet_one(&mut self, row: &Hashed, start: usize, end: usize) {
        let near = &mut self.entries[start..end];
        let at = match near.len() {
            0..=NEIGHBOURS_MAX => near.iter().position(|entry| entry.key == row.key).unwrap_or(near.len()),
            _ => near.partition_point(|entry| entry.key < row.key),
        };
        match near.get_mut(at).filter(|entry| entry.key == row.key) {
            None => {
                make_room(&mut self.unknown, 1);
                self.unknown.push((row.key, row.place));
            }
            Some(entry) if entry.a & CROWDED != 0 => self.crowded.push((row.key, row.place)),
            Some(entry) if entry.b == NONE => {
                entry.b = row.place;
                if entry.row == row.row {
                    entry.a |= ALIKE;
                }
            }
            Some(entry) => {
                self.crowded.extend([(row.key, entry.b), (row.key, row.place)]);
                (entry.a, entry.b) = ((entry.a & PLACE) | CROWDED, NONE);
            }
        }
    }
}

/// The number of the neighbours among which a key hash of a part is.
fn neighbourhood(key: u64, bits: u32) -> usize {
    // Two steps, because a shift by all bits is none.
    ((key << PART_BITS) >> 1 >> (u64::BITS - 1 - bits)) as usize
}

/// What is known when all rows of both tables were taken. With `alike_too`, pairs that are alike are to be looked at as well.
pub fn candidates(parts: Vec<Part>, alike_too: bool) -> Candidates {
    let mut found = Candidates::default();
    let is_pair = |entry: &Entry| entry.a & CROWDED == 0 && entry.b != NONE && (alike_too || entry.a & ALIKE == 0);
    let is_alone = |entry: &Entry| entry.a & CROWDED == 0 && entry.b == NONE;
    let counted = |is_so: &dyn Fn(&Entry) -> bool| parts.iter().map(|part| part.entries.iter().filter(|entry| is_so(entry)).count()).sum();
    found.pairs.reserve_exact(counted(&is_pair));
    found.only_a.reserve_exact(counted(&is_alone));
    found.only_b.reserve_exact(parts.iter().map(|part| part.unknown.len()).sum());
    for mut part in parts {
        for entry in &part.entries {
            let place = entry.a & PLACE;
            if entry.a & CROWDED != 0 {
                found.crowded.push(Crowded { key: entry.key, is_b: false, place });
                continue;
            }
            found.alike += u64::from(entry.a & ALIKE != 0);
            if is_pair(entry) {
                found.pairs.push(Pair { a: place, b: entry.b });
            } else if is_alone(entry) {
                found.only_a.push(place);
            }
        }
        part.entries = Vec::new();
        found.crowded.extend(part.crowded.iter().map(|(key, place)| Crowded { key: *key, is_b: true, place: *place }));
        part.unknown.sort_unstable();
        for same in part.unknown.chunk_by(|one, next| one.0 == next.0) {
            match same {
                [(_, place)] => found.only_b.push(*place),
                several => found.crowded.extend(several.iter().map(|(key, place)| Crowded { key: *key, is_b: true, place: *place })),
            }
        }
    }
    found.crowded.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn hashed(rows: &[(u64, u64)]) -> Vec<Hashed> {
        rows.iter().enumerate().map(|(place, (key, row))| Hashed { key: *key, row: *row, place: place as u64 }).collect()
    }

    fn joined(a: &[(u64, u64)], b: &[(u64, u64)], alike_too: bool) -> Candidates {
        let mut parts: Vec<Part> = (0..PARTS).map(|_| Part::default()).collect();
        hashed(a).iter().for_each(|row| parts[row.part()].take(&[*row]));
        parts.iter_mut().for_each(Part::close);
        let mut of_parts = vec![Vec::new(); PARTS];
        hashed(b).iter().for_each(|row| of_parts[row.part()].push(*row));
        parts.iter_mut().zip(&of_parts).for_each(|(part, rows)| part.meet(rows));
        let mut found = candidates(parts, alike_too);
        found.pairs.sort_unstable();
        found.only_a.sort_unstable();
        found.only_b.sort_unstable();
        found
    }

    #[test]
    fn rows_meet_by_their_key_hash() {
        let found = joined(&[(1, 7), (2, 7), (3, 7)], &[(4, 7), (3, 7), (1, 8)], false);
        assert_eq!(found.alike, 1);
        assert_eq!(found.pairs, [Pair { a: 0, b: 2 }]);
        assert_eq!((found.only_a, found.only_b), (vec![1], vec![0]));
        assert!(found.crowded.is_empty());
        assert_eq!(joined(&[(u64::MAX, 7)], &[(u64::MAX, 7)], true).pairs, [Pair { a: 0, b: 0 }]);
    }

    proptest! {
        /// Against maps of all rows, with hashes so few that they collide, in parts and neighbourhoods of every size.
        #[test]
        fn candidates_are_those_of_the_slow_way(
            a in prop::collection::vec((0..40_u64, 0..3_u64), 0..120), b in prop::collection::vec((0..40_u64, 0..3_u64), 0..120),
            shift in 0..58_u32, alike_too: bool,
        ) {
            let spread = |rows: Vec<(u64, u64)>| rows.into_iter().map(|(key, row)| (key << shift, row)).collect::<Vec<_>>();
            let (a, b) = (spread(a), spread(b));
            let mut by_key: BTreeMap<u64, [Vec<(u64, u64)>; 2]> = BTreeMap::new();
            for (side, rows) in [&a, &b].into_iter().enumerate() {
                for (place, (key, row)) in rows.iter().enumerate() {
                    by_key.entry(*key).or_default()[side].push((place as u64, *row));
                }
            }
            let mut expected = Candidates::default();
            for (key, [of_a, of_b]) in &by_key {
                match (of_a.as_slice(), of_b.as_slice()) {
                    ([(a, row)], [(b, other)]) => {
                        expected.alike += u64::from(row == other);
                        if alike_too || row != other {
                            expected.pairs.push(Pair { a: *a, b: *b });
                        }
                    }
                    ([(a, _)], []) => expected.only_a.push(*a),
                    ([], [(b, _)]) => expected.only_b.push(*b),
                    _ => {
                        let crowded = |is_b: bool| move |(place, _): &(u64, u64)| Crowded { key: *key, is_b, place: *place };
                        expected.crowded.extend(of_a.iter().map(crowded(false)));
                        expected.crowded.extend(of_b.iter().map(crowded(true)));
                    }
                }
            }
            expected.pairs.sort_unstable();
            expected.only_a.sort_unstable();
            expected.only_b.sort_unstable();
            prop_assert_eq!(joined(&a, &b, alike_too), expected);
        }
    }
}
