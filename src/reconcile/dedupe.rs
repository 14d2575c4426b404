//! One row a key and one row a native id: repeats collapse, duplicates are refused or have a survivor.
//!
//! A *repeat* agrees with another row in every column of the source, and goes without loss. A *duplicate* does not, and
//! then a rule decides which row speaks for the record; the losers stay where they are. Nothing is ever deleted here.
//!
//! # Design
//! A row whose native id is already linked to a record speaks before any rule is asked: a link is never decided again. Two
//! linked rows with one key are two records with one key, and both are held. A row whose record ended, an archived one for
//! example, is linked no more. Rows of different keys with one native id are held whatever the rule: a write to that id could
//! hit any of them.

use std::collections::{BTreeMap, BTreeSet};

use polars::prelude::StringChunked;

use super::base::Base;
use super::index::TextIndex;
use crate::change::key_for_people;
use crate::frame::{Clean, Duplicate, Keyed, NO_ROW, Silence};
use crate::job::{Dedupe, Job};

/// The rule by which rows of different keys with one native id are held.
pub const SHARED_ID: &str = "refuse: one native id";
/// The rule by which equal rows are held: each of them may be an amount of its own.
pub const EQUAL_ROWS: &str = "refuse: equal rows with amounts";

/// Leaves one row a key, and one row a native id.
///
/// Repeats are held like duplicates where collapsing them could lose a transaction: the job sums an amount, and the system
/// has no native id that would tell two equal rows apart.
pub fn dedupe(job: &Job, system: usize, mut clean: Clean, base: &Base) -> Keyed {
    let (_, again) = TextIndex::build(&clean.keys);
    let shared_ids = clean.ids.as_ref().filter(|ids| !ascend(ids)).map(|ids| TextIndex::build(ids).1).unwrap_or_default();
    if again.is_empty() && shared_ids.is_empty() {
        return Keyed { clean, repeats_collapsed: 0, duplicates: Vec::new(), losers: 0, crowded: BTreeSet::new(), crowd: BTreeMap::new() };
    }
    let mut groups: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (first, row) in again {
        groups.entry(first).or_insert_with(|| vec![first]).push(row);
    }

    let spec = &job.systems[system];
    let repeats_may_be_transactions = !job.totals.is_empty() && spec.id.is_none();
    // A row whose record ended speaks for nothing any more.
    let living_ids: StringChunked = base.ids.iter().zip(&base.standings).map(|(id, standing)| id.filter(|_| standing.is_linked())).collect();
    let (linked, _) = TextIndex::build(&living_ids);
    let is_linked = |row: u32| clean.ids.as_ref().and_then(|ids| ids.get(row as usize)).is_some_and(|id| linked.get(id).is_some());

    let mut leaves = vec![false; clean.rows.len()];
    let mut repeats_collapsed = 0;
    let mut duplicates = Vec::new();
    let mut refused: Vec<u32> = Vec::new();
    let mut losers = 0;
    let mut crowded = BTreeSet::new();
    let others: Vec<usize> = (0..job.fields.len()).filter(|field| job.fields[*field].is_carried_by(system) && !job.key.contains(field)).collect();
    let mut crowd = BTreeMap::new();
    for rows in groups.values() {
        for row in rows.iter().filter(|_| spec.id.is_none()) {
            if let Some(print) = clean.print(&others, *row) {
                crowd.insert(print, clean.keys.get(*row as usize).unwrap_or_default().to_owned());
            }
        }
        let hash = |row: u32| clean.pulled.hash(clean.rows[row as usize]);
        let line = |row: u32| clean.pulled.line(clean.rows[row as usize]);
        let mut distinct: Vec<u32> = Vec::new();
        for row in rows {
            let repeats = !repeats_may_be_transactions && distinct.iter().any(|other| hash(*other) == hash(*row));
            if repeats {
                leaves[*row as usize] = true;
                repeats_collapsed += 1;
            } else {
                distinct.push(*row);
            }
        }
        if let [only] = distinct.as_slice() {
            crowded.insert(clean.rows[*only as usize]);
            continue;
        }
        let known: Vec<u32> = distinct.iter().copied().filter(|row| is_linked(*row)).collect();
        let (survivor, rule) = match (known.as_slice(), job.dedupe) {
            ([only], rule) if rule != Dedupe::Refuse => (Some(*only), "the row that is already linked"),
            (_, Dedupe::Refuse) if distinct.iter().all(|row| hash(*row) == hash(rows[0])) => (None, EQUAL_ROWS),
            ([_, _, ..], _) | (_, Dedupe::Refuse) => (None, "refuse"),
            (_, Dedupe::Latest) => (latest(&clean, &distinct), "latest"),
            (_, Dedupe::MostComplete) => (most_complete(&clean, &distinct), "most-complete"),
        };
        crowded.extend(survivor.map(|row| clean.rows[row as usize]));
        let key = clean.keys.get(rows[0] as usize).unwrap_or_default();
        let lost: Vec<u32> = distinct.iter().copied().filter(|row| Some(*row) != survivor).collect();
        for row in &lost {
            leaves[*row as usize] = true;
        }
        match survivor {
            Some(_) => losers += lost.len() as u64,
            None => refused.extend(&lost),
        }
        let (known_by, survivor_name, loser_names) = names(&clean, survivor, &lost);
        duplicates.push(Duplicate {
            system: spec.name.clone(),
            key: key_for_people(key),
            known_by,
            survivor_name,
            loser_names,
            survivor: survivor.map(line),
            losers: lost.iter().map(|row| line(*row)).collect(),
            rule: rule.to_owned(),
        });
    }
    for rows in rows_of_one_id(shared_ids, &leaves) {
        let lines: Vec<u64> = rows.iter().map(|row| clean.pulled.line(clean.rows[*row as usize])).collect();
        for row in &rows {
            leaves[*row as usize] = true;
            let key = key_for_people(clean.keys.get(*row as usize).unwrap_or_default());
            duplicates.push(Duplicate {
                system: spec.name.clone(),
                key,
                known_by: if clean.pulled.is_file() { "line" } else { "row" }.to_owned(),
                survivor_name: None,
                loser_names: lines.iter().map(u64::to_string).collect(),
                survivor: None,
                losers: lines.clone(),
                rule: SHARED_ID.to_owned(),
            });
        }
        refused.extend(rows);
    }
    for row in refused {
        let text = |column: Option<&polars::prelude::StringChunked>| column.and_then(|c| c.get(row as usize)).map(str::to_owned);
        let (key, id) = (text(Some(&clean.keys)), text(clean.ids.as_ref()));
        clean.silent.push(clean.rows[row as usize], Silence::Duplicate, key, id);
    }
    duplicates.sort_by(|a, b| (&a.key, &a.losers).cmp(&(&b.key, &b.losers)));
    let stays: Vec<u32> = (0..clean.rows.len() as u32).filter(|row| !leaves[*row as usize]).collect();
    Keyed { clean: clean.take(&stays), repeats_collapsed, duplicates, losers, crowded, crowd }
}

/// Whether each id is greater than the one before it, shorter ones first: then no two are the same, which is how most tables
/// are read.
fn ascend(ids: &polars::prelude::StringChunked) -> bool {
    let mut last: Option<&str> = None;
    ids.iter().flatten().all(|id| last.replace(id).is_none_or(|last| (last.len(), last) < (id.len(), id)))
}

/// The rows that stay and share a native id, group by group.
fn rows_of_one_id(shared: Vec<(u32, u32)>, leaves: &[bool]) -> Vec<Vec<u32>> {
    let mut groups: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (first, row) in shared {
        groups.entry(first).or_insert_with(|| vec![first]).push(row);
    }
    let groups = groups.into_values().map(|rows| rows.into_iter().filter(|row| !leaves[*row as usize]).collect::<Vec<u32>>());
    groups.filter(|rows| rows.len() > 1).collect()
}

/// The end of every rule: the smallest native id, then the smallest values in the order of the fields, then whatever else the
/// source holds. Only rows that are equal in every column are told apart by their place, and of those it does not matter which
/// one speaks: the order of a file decides nothing.
fn last_resort(clean: &Clean, row: u32) -> (bool, String, Vec<String>, u128, u32) {
    let id = clean.ids.as_ref().and_then(|ids| ids.get(row as usize)).unwrap_or_default();
    let values = clean.fields.iter().flatten().map(|column| column.value(row).to_string()).collect();
    // Numbers sort as numbers: a shorter run of digits is smaller.
    (!id.bytes().all(|b| b.is_ascii_digit()), format!("{:020}{id}", id.len()), values, clean.pulled.hash(clean.rows[row as usize]), row)
}

/// What a person finds rows by, and the name of the survivor and of the others.
fn names(clean: &Clean, survivor: Option<u32>, lost: &[u32]) -> (String, Option<String>, Vec<String>) {
    let id = |row: u32| clean.ids.as_ref().and_then(|ids| ids.get(row as usize)).map(str::to_owned);
    let line = |row: u32| clean.pulled.line(clean.rows[row as usize]).to_string();
    let by_id = !clean.pulled.is_file() && survivor.iter().chain(lost).all(|row| id(*row).is_some());
    let name = |row: u32| id(row).filter(|_| by_id).unwrap_or_else(|| line(row));
    let mut others: Vec<String> = lost.iter().map(|row| name(*row)).collect();
    // Numbers sort as numbers.
    others.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    let known_by = if by_id {
        "id"
    } else if clean.pulled.is_file() {
        "line"
    } else {
        "row"
    };
    (known_by.to_owned(), survivor.map(name), others)
}

fn latest(clean: &Clean, rows: &[u32]) -> Option<u32> {
    let edited = |row: u32| clean.edited_at.as_ref().and_then(|times| times.get(row as usize));
    // A row without an edit time cannot be compared: nobody is chosen.
    if rows.iter().any(|row| edited(*row).is_none()) {
        return None;
    }
    rows.iter().copied().min_by_key(|row| (std::cmp::Reverse(edited(*row)), last_resort(clean, *row)))
}

fn most_complete(clean: &Clean, rows: &[u32]) -> Option<u32> {
    let nulls = |row: u32| clean.fields.iter().flatten().filter(|column| column.is_null(row)).count();
    rows.iter().copied().min_by_key(|row| (nulls(*row), last_resort(clean, *row)))
}

impl Clean {
    /// The records in these positions, in their order.
    fn take(self, positions: &[u32]) -> Clean {
        use polars::prelude::{ChunkTake, IdxCa, NewChunkedArray};
        let picks = IdxCa::from_slice("".into(), positions);
        let text = |column: &polars::prelude::StringChunked| column.take(&picks).map(|c| c.rechunk().into_owned()).unwrap_or_else(|_| column.clear());
        debug_assert!(positions.iter().all(|p| *p != NO_ROW));
        Clean {
            rows: positions.iter().map(|p| self.rows[*p as usize]).collect(),
            keys: text(&self.keys),
            ids: self.ids.as_ref().map(text),
            edited_at: self.edited_at.as_ref().map(|times| positions.iter().map(|p| times.get(*p as usize)).collect()),
            fields: self.fields.iter().map(|field| field.as_ref().map(|column| column.take(positions))).collect(),
            ..self
        }
    }
}
