//! Which row of which system is which record.
//!
//! Known links come first and are never computed again. Then a row whose native id vanished is found by its key, then a
//! new row joins the one record that has its key elsewhere. What remains is new. Only unique matches act by themselves:
//! everything else is held, with its reason.
//!
//! An *archived* row stays where it is, and its record is over. While it has its mark it stands for that record and no other:
//! where its key is there again, no second row is made beside it, and a person is asked. Once the mark is taken off, the row
//! joins what has its key: its own record, where that lives on, or a new one.
//!
//! # Design
//! The result is columns of row numbers, not rows: a record is a position, and each system says in which row of its base
//! and in which row of its snapshot that record is.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::{HashMap, HashSet};

use super::answers::{self, Act, Answers};
use super::base::{Base, Standing, State};
use super::clean;
use super::index::TextIndex;
use crate::change::{Break, BreakKind, LinkEvent, key_for_people};
use crate::frame::{Keyed, NO_ROW, Silence, print};
use crate::job::{ColumnSpec, Deletes, Job, Role, SystemSpec};
use crate::value::Value;

/// Rows by record: what the diff works on.
#[derive(Clone, Debug)]
pub struct Linked {
    /// The record numbers, ascending. New records are at the end.
    pub records: Vec<u64>,
    /// How many of them were known before.
    pub known: usize,
    /// By system and record: the row in the base.
    pub base_rows: Vec<Vec<u32>>,
    /// By system and record: the row in the keyed snapshot.
    pub now_rows: Vec<Vec<u32>>,
    /// By system: the records that are there, but silent.
    pub silent: Vec<HashMap<u32, Silence>>,
    /// Records that are held as a whole, with the break that says why.
    pub held: BTreeMap<u32, Vec<Break>>,
    /// Breaks of rows that belong to no record yet.
    pub loose: Vec<Break>,
    /// By system: the records that were archived there, as far as their rows are still there and say so.
    pub archived: Vec<HashMap<u32, ArchivedRow>>,
    /// What happened to links.
    pub events: Vec<LinkEvent>,
    /// By a record that is held because its key may have been changed: the record of the row that may be its own.
    pub suggested: BTreeMap<u32, u32>,
    /// By such a record: why it cannot take that row, in words without a value.
    pub barred: BTreeMap<u32, String>,
    /// The answers of people to suspected key changes that were followed, each with the record that it is about.
    pub answered: Vec<(u64, u32)>,
    /// The first record number that is still free.
    pub next_record: u64,
}

/// Where an archived row is tonight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchivedRow {
    /// In this row of the keyed snapshot.
    Read(u32),
    /// At this place among the silent rows: the job's filter leaves out what is archived, or the row cannot be read.
    Silent(u32),
}

/// A row that is there although its record ended in that system.
struct Returned {
    system: usize,
    row: u32,
    /// The record that ended.
    record: u32,
    standing: Standing,
}

impl Linked {
    /// How many rows of a system are left where they are because they are archived.
    pub fn archived_rows(&self, system: usize) -> u64 {
        self.archived[system].values().filter(|row| matches!(row, ArchivedRow::Read(_))).count() as u64
    }

    /// The canonical key of a record: as its first system in the job's order has it now, else as it was last read.
    pub fn key<'a>(&self, record: u32, nows: &'a [Keyed], bases: &'a [Base]) -> &'a str {
        let now = nows.iter().zip(&self.now_rows).find_map(|(now, rows)| {
            let row = rows[record as usize];
            if row == NO_ROW { None } else { now.clean.keys.get(row as usize) }
        });
        now.or_else(|| {
            bases.iter().zip(&self.base_rows).find_map(|(base, rows)| {
                let row = rows[record as usize];
                if row == NO_ROW { None } else { base.keys.get(row as usize) }
            })
        })
        .unwrap_or_default()
    }

    /// How a record stands in a system; nothing if it was never there.
    pub fn standing(&self, system: usize, record: u32, bases: &[Base]) -> Option<Standing> {
        let row = self.base_rows[system][record as usize];
        (row != NO_ROW).then(|| bases[system].standings[row as usize])
    }

    fn push_new(&mut self) -> u32 {
        let index = self.records.len() as u32;
        self.records.push(self.next_record);
        self.next_record += 1;
        for rows in self.base_rows.iter_mut().chain(&mut self.now_rows) {
            rows.push(NO_ROW);
        }
        index
    }
}

/// Links every row to a record.
///
/// With `restored_allowed` a row that comes back after its delete was agreed is a new record; otherwise it is held.
/// A suspected key change that a person accepted is one, and one that was rejected is none.
pub fn link(job: &Job, state: &State, nows: &[Keyed], answers: &Answers, restored_allowed: bool) -> Linked {
    let mut linked = known_records(state);
    let mut unlinked: Vec<Vec<u32>> = Vec::with_capacity(nows.len());
    let mut returned = Vec::new();
    for (system, now) in nows.iter().enumerate() {
        unlinked.push(apply_known_links(job, system, &state.bases[system], now, &mut linked, &mut returned));
    }
    for (system, now) in nows.iter().enumerate() {
        follow_reloaded_rows(job, system, &state.bases[system], now, &mut linked, &mut unlinked[system]);
    }
    receive_returned_rows(job, state, nows, &mut linked, returned, &mut unlinked, restored_allowed);
    join_by_key(job, state, nows, &mut linked, &unlinked);
    for (system, now) in nows.iter().enumerate() {
        suggest_key_changes(job, system, &state.bases, now, &mut linked);
    }
    bar_taken_keys(job, nows, &mut linked);
    follow_answers(job, nows, answers, &mut linked);
    hold_shared_keys(job, nows, &mut linked);
    hold_archived_keys(job, nows, &mut linked);
    linked
}

/// All records of all bases, with their rows there.
fn known_records(state: &State) -> Linked {
    let systems = state.bases.len();
    let longest = state.bases.iter().map(Base::height).max().unwrap_or(0);
    let mut records: Vec<u64> = Vec::with_capacity(longest);
    let mut base_rows: Vec<Vec<u32>> = vec![Vec::with_capacity(longest); systems];
    let mut at = vec![0_usize; systems];
    // A merge of ascending lists.
    while let Some(next) = state.bases.iter().zip(&at).filter_map(|(base, at)| base.records.get(*at)).min().copied() {
        records.push(next);
        for ((base, at), rows) in state.bases.iter().zip(&mut at).zip(&mut base_rows) {
            if base.records.get(*at) == Some(&next) {
                rows.push(*at as u32);
                *at += 1;
            } else {
                rows.push(NO_ROW);
            }
        }
    }
    let known = records.len();
    Linked {
        known,
        now_rows: vec![vec![NO_ROW; known]; systems],
        silent: vec![HashMap::new(); systems],
        held: BTreeMap::new(),
        loose: Vec::new(),
        archived: vec![HashMap::new(); systems],
        events: Vec::new(),
        suggested: BTreeMap::new(),
        barred: BTreeMap::new(),
        answered: Vec::new(),
        next_record: state.next_record,
        records,
        base_rows,
    }
}

/// The record of each row of a base.
fn record_of_base_row(base: &Base, base_rows: &[u32]) -> Vec<u32> {
    let mut record_of = vec![NO_ROW; base.height()];
    for (record, row) in base_rows.iter().enumerate() {
        if *row != NO_ROW {
            record_of[*row as usize] = record as u32;
        }
    }
    record_of
}

/// Links rows by native id, or by key where the system has no ids. Gives the rows that are left, but those of records that ended.
fn apply_known_links(job: &Job, system: usize, base: &Base, now: &Keyed, linked: &mut Linked, returned: &mut Vec<Returned>) -> Vec<u32> {
    let spec = &job.systems[system];
    let record_of = record_of_base_row(base, &linked.base_rows[system]);
    let by_id = spec.id.is_some();
    // A tombstone must not hide a living record that took its key over: living ones are looked up first.
    let mut names = if by_id { base.ids.clone() } else { base.keys.clone() };
    let ended: Vec<bool> = base.standings.iter().map(|s| !s.is_linked()).collect();
    let tombstones: Option<polars::prelude::StringChunked> = ended.iter().any(|e| *e).then(|| {
        let all = names.clone();
        names = all.iter().zip(&ended).map(|(name, ended)| if *ended { None } else { name }).collect();
        // Of several records of one name that ended, the last one counts: it stands first here.
        (0..all.len()).rev().map(|row| if ended[row] { all.get(row) } else { None }).collect()
    });
    let tombs = tombstones.as_ref().map(|t| TextIndex::build(t).0);
    let tomb_of = |name: &str| {
        let tombs = tombs.as_ref().filter(|_| spec.role != Role::Witness)?;
        tombs.get(name).map(|from_the_end| (base.height() as u32 - 1 - from_the_end) as usize)
    };
    // An archived row stays where it is for as long as it says that it is archived.
    let is_marked = |row: u32| {
        archive_mark(job, system).is_none_or(|(index, value, column)| {
            let field = &job.fields[index];
            let held = now.clean.fields[index].as_ref().map(|values| values.value(row));
            held.is_some_and(|held| field.equivalent(&held, value) || held == clean::canonical(field, column, value))
        })
    };
    let (living, _) = TextIndex::build(&names);

    let mut left = Vec::new();
    for row in 0..now.height() as u32 {
        let key = now.clean.keys.get(row as usize).unwrap_or_default();
        let name = if by_id { now.clean.ids.as_ref().and_then(|ids| ids.get(row as usize)) } else { Some(key) };
        let Some(name) = name else {
            left.push(row);
            continue;
        };
        if let Some(base_row) = living.get(name) {
            linked.now_rows[system][record_of[base_row as usize] as usize] = row;
        } else if let Some(base_row) = tomb_of(name) {
            let (record, standing) = (record_of[base_row], base.standings[base_row]);
            if standing == Standing::Archived && is_marked(row) {
                linked.archived[system].insert(record, ArchivedRow::Read(row));
            } else {
                returned.push(Returned { system, row, record, standing });
            }
        } else {
            left.push(row);
        }
    }
    for (place, ((key, id), why)) in (0_u32..).zip(now.clean.silent.keys.iter().zip(&now.clean.silent.ids).zip(&now.clean.silent.why)) {
        let Some(name) = (if by_id { id } else { key }).as_deref() else { continue };
        if let Some(base_row) = living.get(name) {
            linked.silent[system].insert(record_of[base_row as usize], *why);
        } else if let Some(base_row) = tomb_of(name).filter(|base_row| base.standings[*base_row] == Standing::Archived) {
            linked.archived[system].insert(record_of[base_row], ArchivedRow::Silent(place));
        }
    }
    left
}

/// The field that marks a row of a system as archived, its value then, and its column there.
fn archive_mark(job: &Job, system: usize) -> Option<(usize, &Value, &ColumnSpec)> {
    match &job.deletes {
        Deletes::Archive { field, value } => job.fields[*field].columns[system].as_ref().map(|column| (*field, value, column)),
        _ => None,
    }
}

/// What a person does in a system so that an archived row stands for a record again.
pub fn how_to_take_back(job: &Job, system: usize) -> String {
    let name = &job.systems[system].name;
    match archive_mark(job, system) {
        Some((field, value, _)) => format!("give `{}` in `{name}` another value than `{value}`", job.fields[field].name),
        None => format!("delete its archived row in `{name}`, and it is created there again"),
    }
}

/// Rows of records that ended. One whose archive was taken back joins its own record where that is there in every system that
/// has it, and a new record of its key where another system has one. Every other asks, unless `allowed`: then it is new.
fn receive_returned_rows(job: &Job, state: &State, nows: &[Keyed], linked: &mut Linked, returned: Vec<Returned>, unlinked: &mut [Vec<u32>], allowed: bool) {
    let key_of = |system: usize, row: u32| nows[system].clean.keys.get(row as usize).unwrap_or_default();
    let voters = || (0..nows.len()).filter(|system| job.systems[*system].role.votes());
    let new_keys: HashSet<&str> = if returned.iter().any(|one| one.standing == Standing::Archived) {
        voters().flat_map(|system| unlinked[system].iter().map(move |row| key_of(system, *row))).collect()
    } else {
        HashSet::new()
    };
    for Returned { system, row, record, standing } in returned {
        let (name, key) = (&job.systems[system].name, key_of(system, row));
        if standing == Standing::Archived && lives_on(job, state, linked, record) {
            // From here on it is as if the record had never been there.
            linked.base_rows[system][record as usize] = NO_ROW;
            linked.now_rows[system][record as usize] = row;
            linked.events.push(LinkEvent {
                system: name.clone(),
                record: linked.records[record as usize],
                key: key_for_people(key),
                event: "linked again: it is archived no more".to_owned(),
                notable: true,
            });
        } else if allowed || standing == Standing::Archived && new_keys.contains(key) {
            unlinked[system].push(row);
        } else {
            linked.loose.push(Break {
                kind: BreakKind::Restored,
                key: key.to_owned(),
                field: None,
                system: Some(name.clone()),
                values: Vec::new(),
                why: match standing {
                    Standing::Archived => format!("it was archived in `{name}`, and somebody took that back"),
                    _ => format!("it came back in `{name}` after its delete was agreed"),
                },
                next_step: "delete the row again, or accept it as a new record with `--allow restored`".to_owned(),
            });
        }
    }
}

/// Whether a voter has a record tonight, and no system lost it.
fn lives_on(job: &Job, state: &State, linked: &Linked, record: u32) -> bool {
    let is_here = |system: usize| linked.now_rows[system][record as usize] != NO_ROW;
    let counted = || (0..linked.now_rows.len()).filter(|system| job.systems[*system].role != Role::Witness);
    let is_lost = |system: usize| linked.standing(system, record, &state.bases).is_some_and(Standing::is_linked) && !is_here(system);
    counted().any(|system| job.systems[system].role.votes() && is_here(system)) && !counted().any(is_lost)
}

/// A table that was loaded again has new ids and the same keys: the links move along.
fn follow_reloaded_rows(job: &Job, system: usize, base: &Base, now: &Keyed, linked: &mut Linked, unlinked: &mut Vec<u32>) {
    if job.systems[system].id.is_none() || unlinked.is_empty() {
        return;
    }
    let rows: HashMap<&str, u32> = unlinked.iter().filter_map(|row| Some((now.clean.keys.get(*row as usize)?, *row))).collect();
    let mut taken = BTreeSet::new();
    for (record, base_row) in linked.base_rows[system].clone().into_iter().enumerate() {
        if base_row == NO_ROW || linked.now_rows[system][record] != NO_ROW || !base.standings[base_row as usize].is_linked() {
            continue;
        }
        let Some(key) = base.keys.get(base_row as usize) else { continue };
        let Some(row) = rows.get(key).copied().filter(|row| !taken.contains(row)) else { continue };
        // Its own row may be there and only be silent: then the id did not vanish.
        if linked.silent[system].contains_key(&(record as u32)) {
            continue;
        }
        taken.insert(row);
        linked.now_rows[system][record] = row;
        let id = |text: Option<&str>| text.unwrap_or("none").to_owned();
        let before = base.ids.get(base_row as usize);
        linked.events.push(LinkEvent {
            system: job.systems[system].name.clone(),
            record: linked.records[record],
            key: key_for_people(key),
            event: format!("renumbered from {} to {}", id(before), id(now.clean.ids.as_ref().and_then(|ids| ids.get(row as usize)))),
            notable: before.is_some(),
        });
    }
    unlinked.retain(|row| !taken.contains(row));
}

/// A new row joins the one record that has its key elsewhere and is not in its system. New rows of several systems with one
/// key are one new record. Silent rows join too, so that nothing is done for their records.
fn join_by_key(job: &Job, state: &State, nows: &[Keyed], linked: &mut Linked, unlinked: &[Vec<u32>]) {
    let key_of = |system: usize, row: u32| nows[system].clean.keys.get(row as usize).unwrap_or_default();
    // A row that came back and waits for a person is there: its record gets no second one.
    let returned: Vec<(usize, String)> = linked.loose.iter().filter_map(|open| Some((job.system(open.system.as_deref()?)?, open.key.clone()))).collect();
    let mut wanted: HashMap<&str, BTreeSet<u32>> = HashMap::new();
    if linked.known > 0 {
        wanted.extend(returned.iter().map(|(_, key)| (key.as_str(), BTreeSet::new())));
        for (system, rows) in unlinked.iter().enumerate() {
            wanted.extend(rows.iter().map(|row| (key_of(system, *row), BTreeSet::new())));
        }
        for now in nows {
            wanted.extend(now.clean.silent.keys.iter().flatten().map(|key| (key.as_str(), BTreeSet::new())));
        }
        for (system, rows) in linked.now_rows.iter().enumerate() {
            if wanted.is_empty() || job.systems[system].role == Role::Witness {
                continue;
            }
            for (record, row) in rows.iter().enumerate() {
                if *row != NO_ROW
                    && let Some(records) = wanted.get_mut(key_of(system, *row))
                {
                    records.insert(record as u32);
                }
            }
        }
    }

    // Who claims which record is known before any claim is granted, so that the order of rows does not matter.
    let mut claims: BTreeMap<(usize, u32), Vec<u32>> = BTreeMap::new();
    let mut new: Vec<(&str, usize, u32)> = Vec::new();
    for (system, rows) in unlinked.iter().enumerate() {
        for row in rows {
            let key = key_of(system, *row);
            let records = wanted.get(key);
            let only = records.filter(|records| records.len() == 1).and_then(|records| records.first().copied());
            let free = only.filter(|record| {
                linked.now_rows[system][*record as usize] == NO_ROW
                    && !linked.silent[system].contains_key(record)
                    && linked.standing(system, *record, &state.bases).is_none_or(Standing::is_linked)
            });
            match free {
                Some(record) => claims.entry((system, record)).or_default().push(*row),
                None => new.push((key, system, *row)),
            }
        }
    }
    for ((system, record), rows) in claims {
        let [row] = rows.as_slice() else {
            new.extend(rows.iter().map(|row| (key_of(system, *row), system, *row)));
            continue;
        };
        linked.now_rows[system][record as usize] = *row;
        let moved = linked.standing(system, record, &state.bases).is_some();
        linked.events.push(LinkEvent {
            system: job.systems[system].name.clone(),
            record: linked.records[record as usize],
            key: key_for_people(key_of(system, *row)),
            event: if moved { "found again by the key that the record has elsewhere".to_owned() } else { "linked by key".to_owned() },
            notable: moved,
        });
    }

    new.sort_unstable();
    let mut last: Option<(&str, u32)> = None;
    let mut new_records: HashMap<&str, u32> = HashMap::new();
    let some_silent = !returned.is_empty() || nows.iter().any(|now| !now.clean.silent.keys.is_empty());
    for (key, system, row) in new {
        let record = match last {
            Some((same, record)) if same == key => record,
            _ => linked.push_new(),
        };
        last = Some((key, record));
        linked.now_rows[system][record as usize] = row;
        if some_silent {
            new_records.insert(key, record);
        }
    }
    for (system, now) in nows.iter().enumerate() {
        for (key, why) in now.clean.silent.keys.iter().zip(&now.clean.silent.why) {
            let Some(key) = key.as_deref() else { continue };
            let known = wanted.get(key).into_iter().flatten();
            for record in known.chain(new_records.get(key)) {
                // A row outside the filter does not silence a record that is there with a row of its own, nor its own record that
                // was archived by it.
                let is_apart = linked.now_rows[system][*record as usize] != NO_ROW || linked.archived[system].contains_key(record);
                if *why != Silence::Filtered || !is_apart {
                    linked.silent[system].entry(*record).or_insert(*why);
                }
            }
        }
    }
    for (system, key) in &returned {
        let known = wanted.get(key.as_str()).into_iter().flatten();
        for record in known.chain(new_records.get(key.as_str())) {
            if linked.now_rows[*system][*record as usize] == NO_ROW {
                linked.silent[*system].entry(*record).or_insert(Silence::Duplicate);
            }
        }
    }
}

/// Where rows have no ids, a changed key looks like one row gone and one row new. Where the two agree in every other field,
/// that is suggested, and both are held. The new row may have joined a record that has its key elsewhere, or be one of several
/// rows of its key.
fn suggest_key_changes(job: &Job, system: usize, bases: &[Base], now: &Keyed, linked: &mut Linked) {
    let base = &bases[system];
    let spec = &job.systems[system];
    let others: Vec<usize> = (0..job.fields.len()).filter(|f| job.fields[*f].is_carried_by(system) && !job.key.contains(f)).collect();
    if spec.id.is_some() || spec.role == Role::Witness || base.height() == 0 || others.is_empty() {
        return;
    }
    let mut gone: BTreeMap<u128, Vec<u32>> = BTreeMap::new();
    for record in 0..linked.known as u32 {
        let base_row = linked.base_rows[system][record as usize];
        let vanished = base_row != NO_ROW
            && linked.now_rows[system][record as usize] == NO_ROW
            && base.standings[base_row as usize] == Standing::Live
            && !linked.silent[system].contains_key(&record);
        if vanished && let Some(hash) = print(&others, |field| base.value(field, base_row)) {
            gone.entry(hash).or_default().push(record);
        }
    }
    if gone.is_empty() {
        return;
    }
    let mut new: HashMap<u128, Vec<u32>> = HashMap::new();
    for record in 0..linked.records.len() as u32 {
        let row = linked.now_rows[system][record as usize];
        if row != NO_ROW
            && linked.base_rows[system][record as usize] == NO_ROW
            && !linked.silent.iter().any(|silent| silent.contains_key(&record))
            && let Some(hash) = now.clean.print(&others, row)
        {
            new.entry(hash).or_default().push(record);
        }
    }
    for (hash, records) in gone {
        if let Some(taken) = now.crowd.get(&hash) {
            hold_possible_renames(spec, base, &linked.base_rows[system].clone(), &records, taken, linked);
            continue;
        }
        let Some(fresh) = new.get(&hash) else { continue };
        let ([old], [new]) = (records.as_slice(), fresh.as_slice()) else { continue };
        // The key was changed everywhere: nothing is left to suggest.
        let stays = |other: usize| linked.standing(other, *old, bases).is_some_and(Standing::is_linked) && linked.now_rows[other][*new as usize] == NO_ROW;
        let is_there = |other: usize| linked.now_rows[other][*old as usize] != NO_ROW || linked.silent[other].contains_key(old);
        if !(0..job.systems.len()).filter(|other| job.systems[*other].role != Role::Witness).any(|other| stays(other) || is_there(other)) {
            continue;
        }
        let row = linked.now_rows[system][*new as usize];
        let old_key = base.keys.get(linked.base_rows[system][*old as usize] as usize).unwrap_or_default().to_owned();
        let new_key = now.clean.keys.get(row as usize).unwrap_or_default();
        linked.suggested.insert(*old, *new);
        linked.held.entry(*new).or_default();
        linked.held.entry(*old).or_default().push(Break {
            kind: BreakKind::SuggestedLink,
            why: format!(
                "in `{}` the row `{}` vanished and `{}` is new (line {}), with every other field the same: probably a changed key",
                spec.name,
                key_for_people(&old_key),
                key_for_people(new_key),
                now.line(row)
            ),
            next_step: format!(
                "if it is one record, accept it with `tieout review {}`, or change its key in the other systems too; if it is not, reject it, or change another field of the new row in `{}`",
                job.name, spec.name
            ),
            key: old_key,
            field: None,
            system: Some(spec.name.clone()),
            values: Vec::new(),
        });
    }
}

/// A suspected key change onto a key that another row has, in whatever system, cannot be one: written anywhere it would merge two
/// records. That is told instead of proposed.
fn bar_taken_keys(job: &Job, nows: &[Keyed], linked: &mut Linked) {
    if linked.suggested.is_empty() {
        return;
    }
    let key_of = |system: usize, row: u32| nows[system].clean.keys.get(row as usize).unwrap_or_default();
    // By the key of the new row: the record that may have it from now on, and the row.
    let mut wanted: HashMap<&str, Vec<(u32, usize, u32)>> = HashMap::new();
    for (old, new) in &linked.suggested {
        let systems = linked.held.get(old).into_iter().flatten().filter_map(|open| job.system(open.system.as_deref()?));
        for system in systems {
            let row = linked.now_rows[system][*new as usize];
            if row != NO_ROW {
                wanted.entry(key_of(system, row)).or_default().push((*old, system, row));
            }
        }
    }
    let mut holders: BTreeMap<u32, BTreeSet<usize>> = BTreeMap::new();
    for (system, now) in nows.iter().enumerate().filter(|(system, _)| job.systems[*system].role != Role::Witness) {
        let living = (0_u32..).zip(linked.now_rows[system].iter().copied());
        let archived = linked.archived[system].iter();
        let read = archived.clone().filter_map(|(record, row)| if let ArchivedRow::Read(row) = row { Some((*record, *row)) } else { None });
        let rows = living.chain(read).filter(|(_, row)| *row != NO_ROW).map(|(record, row)| (record, Some(row), key_of(system, row)));
        let unread = archived.filter_map(|(record, row)| match row {
            ArchivedRow::Silent(place) => Some((*record, None, now.clean.silent.keys[*place as usize].as_deref()?)),
            ArchivedRow::Read(_) => None,
        });
        for (record, row, key) in rows.chain(unread) {
            for (old, its_system, its_row) in wanted.get(key).into_iter().flatten() {
                if record != *old && (system, row) != (*its_system, Some(*its_row)) {
                    holders.entry(*old).or_default().insert(system);
                }
            }
        }
    }
    for (old, systems) in holders {
        let names: Vec<String> = systems.into_iter().map(|system| job.systems[system].name.clone()).collect();
        let why = format!("the key of the new row is that of another row in {}", crate::change::join_names(&names));
        for open in linked.held.get_mut(&old).into_iter().flatten().filter(|open| open.kind == BreakKind::SuggestedLink) {
            open.why = format!("{}; but {why}, so it cannot be taken for this record", open.why);
            open.next_step =
                "if it is one record, give it or the other one another key; if it is not, reject it, or change another field of the new row".to_owned();
        }
        linked.barred.insert(old, why);
    }
}

/// Follows what people answered to suspected key changes, as far as both rows are as they were then.
fn follow_answers(job: &Job, nows: &[Keyed], answers: &Answers, linked: &mut Linked) {
    if answers.is_empty() {
        return;
    }
    for (old, new) in linked.suggested.clone() {
        let [suggestion] = linked.held.get(&old).map(Vec::as_slice).unwrap_or_default() else { continue };
        let about = answers::about_suggestion(job, nows, linked, old, new);
        let id = suggestion.id(&job.name);
        let accepting = || answers.accepting(&id, &about, Some(answers::TAKE_THE_NEW_ROW), None).filter(|_| !linked.barred.contains_key(&old));
        let Some(answer) = answers.to(&id, &about).or_else(accepting) else { continue };
        let Some(system) = suggestion.system.as_deref().and_then(|name| job.system(name)) else { continue };
        let key = suggestion.key.clone();
        let row = linked.now_rows[system][new as usize];
        let what = match answer.act {
            Act::Accept => {
                linked.now_rows[system][old as usize] = row;
                linked.now_rows[system][new as usize] = NO_ROW;
                let now = nows[system].clean.keys.get(row as usize).unwrap_or_default();
                format!("its key was changed to `{}`", key_for_people(now))
            }
            Act::Reject => "it is gone, and the row like it is another record".to_owned(),
            Act::Choose { .. } | Act::Snooze { .. } | Act::Unfreeze | Act::Undone { .. } => continue,
        };
        linked.answered.push((answer.number, old));
        linked.suggested.remove(&old);
        linked.held.remove(&old);
        if !linked.suggested.values().any(|other| *other == new) {
            linked.held.remove(&new);
        }
        linked.events.push(LinkEvent {
            system: job.systems[system].name.clone(),
            record: linked.records[old as usize],
            key: key_for_people(&key),
            event: format!("{what}, decided by {}", answer.by()),
            notable: true,
        });
    }
}

/// A record that vanished while a key that stands on several rows has a row like it: somebody may have changed its key to one
/// that is taken. Its absence is no delete.
fn hold_possible_renames(spec: &SystemSpec, base: &Base, base_rows: &[u32], records: &[u32], taken: &str, linked: &mut Linked) {
    for record in records {
        let key = base.keys.get(base_rows[*record as usize] as usize).unwrap_or_default().to_owned();
        linked.held.entry(*record).or_default().push(Break {
            kind: BreakKind::SuggestedLink,
            why: format!(
                "in `{}` the row `{}` vanished, and one of the rows with the key `{}` has every other field the same: probably its key was changed to one that is taken",
                spec.name,
                key_for_people(&key),
                key_for_people(taken)
            ),
            next_step: format!("give the row in `{}` its own key again, or delete it there", spec.name),
            key,
            field: None,
            system: Some(spec.name.clone()),
            values: Vec::new(),
        });
    }
}

/// A key that two records have, in whatever systems, is held in both: writing it anywhere would merge them.
fn hold_shared_keys(job: &Job, nows: &[Keyed], linked: &mut Linked) {
    use hashbrown::hash_table::{Entry, HashTable};
    let key_of = |system: usize, row: u32| nows[system].clean.keys.get(row as usize).unwrap_or_default();
    let hash = |key: &str| xxhash_rust::xxh3::xxh3_64(key.as_bytes());
    let mut seen: HashTable<(usize, u32, u32)> = HashTable::with_capacity(linked.records.len());
    let mut shared: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    let voices: Vec<usize> = (0..nows.len()).filter(|s| job.systems[*s].role != Role::Witness).collect();
    for record in 0..linked.records.len() as u32 {
        let mut first: Option<&str> = None;
        for system in &voices {
            let row = linked.now_rows[*system][record as usize];
            if row == NO_ROW {
                continue;
            }
            let key = key_of(*system, row);
            if first == Some(key) {
                continue;
            }
            first = first.or(Some(key));
            match seen.entry(hash(key), |(s, r, _)| key_of(*s, *r) == key, |(s, r, _)| hash(key_of(*s, *r))) {
                Entry::Occupied(other) => {
                    let other = other.get().2;
                    if other != record {
                        shared.entry(key).or_default().extend([other, record]);
                    }
                }
                Entry::Vacant(place) => {
                    place.insert((*system, row, record));
                }
            }
        }
    }
    for (key, records) in shared {
        let holders: Vec<String> = voices
            .iter()
            .filter(|s| records.iter().any(|r| linked.now_rows[**s][*r as usize] != NO_ROW && key_of(**s, linked.now_rows[**s][*r as usize]) == key))
            .map(|s| job.systems[*s].name.clone())
            .collect();
        let elsewhere: BTreeSet<&str> = voices
            .iter()
            .flat_map(|s| records.iter().map(|r| (*s, linked.now_rows[*s][*r as usize])))
            .filter(|(_, row)| *row != NO_ROW)
            .map(|(s, row)| key_of(s, row))
            .filter(|other| *other != key)
            .collect();
        let elsewhere: Vec<String> = elsewhere.into_iter().map(key_for_people).collect();
        let also = if elsewhere.is_empty() { String::new() } else { format!("; in other systems it is {}", crate::change::join_names(&elsewhere)) };
        let mut breaks = vec![Break {
            kind: BreakKind::Duplicate,
            key: key.to_owned(),
            field: None,
            system: None,
            values: Vec::new(),
            why: format!(
                "{} different records have this key, in {}: a key was changed to one that is taken{also}",
                records.len(),
                crate::change::join_names(&holders)
            ),
            next_step: "give one of them another key, or delete one of them".to_owned(),
        }];
        for record in records {
            linked.held.entry(record).or_default().append(&mut breaks);
        }
    }
}

/// A record whose key an archived row has is held: a second row with that key is not made, and which of the two is meant only a
/// person can tell.
fn hold_archived_keys(job: &Job, nows: &[Keyed], linked: &mut Linked) {
    let key_of = |system: usize, row: u32| nows[system].clean.keys.get(row as usize).unwrap_or_default();
    let mut archived: HashMap<&str, Vec<(usize, u32)>> = HashMap::new();
    for (system, now) in nows.iter().enumerate() {
        let silent = &now.clean.silent;
        for (record, row) in &linked.archived[system] {
            let key = match row {
                ArchivedRow::Read(row) => Some(key_of(system, *row)),
                // Another silence holds the record already, and is told.
                ArchivedRow::Silent(place) => silent.keys[*place as usize].as_deref().filter(|_| silent.why[*place as usize] == Silence::Filtered),
            };
            if let Some(key) = key {
                archived.entry(key).or_default().push((system, *record));
            }
        }
    }
    if archived.is_empty() {
        return;
    }
    archived.values_mut().for_each(|rows| rows.sort_unstable());
    for open in linked.loose.iter_mut() {
        let rows = archived.get(open.key.as_str()).into_iter().flatten();
        let places: Vec<usize> = rows.map(|(system, _)| *system).filter(|system| open.system.as_ref() != Some(&job.systems[*system].name)).collect();
        if !places.is_empty() {
            let names: Vec<String> = places.iter().map(|system| job.systems[*system].name.clone()).collect();
            let steps: Vec<String> = places.iter().map(|system| how_to_take_back(job, *system)).collect();
            open.why = format!("{}, and {} still has it archived", open.why, crate::change::join_names(&names));
            open.next_step = format!("delete the row again; or {}, and accept it as a new record with `--allow restored`", steps.join(", "));
        }
    }

    let voices: Vec<usize> = (0..nows.len()).filter(|system| job.systems[*system].role != Role::Witness).collect();
    // By record and system of the archived row: the key, and who has the record by that key.
    let mut claims: BTreeMap<(u32, usize), (&str, Vec<String>)> = BTreeMap::new();
    for voice in &voices {
        for (record, row) in (0_u32..).zip(&linked.now_rows[*voice]) {
            if *row == NO_ROW {
                continue;
            }
            let key = key_of(*voice, *row);
            for (system, own) in archived.get(key).into_iter().flatten() {
                // A row outside the filter may have a living one of its key beside it.
                let there = linked.now_rows[*system][record as usize];
                if *own != record && (there == NO_ROW || key_of(*system, there) != key) {
                    claims.entry((record, *system)).or_insert_with(|| (key, Vec::new())).1.push(job.systems[*voice].name.clone());
                }
            }
        }
    }
    for ((record, system), (key, holders)) in claims {
        let (name, holders) = (&job.systems[system].name, crate::change::join_names(&holders));
        let mark = archive_mark(job, system).map(|(field, value, _)| format!(" (`{}` is `{value}`)", job.fields[field].name)).unwrap_or_default();
        let take_back = match archive_mark(job, system) {
            Some(_) => format!("if it is the same one, {}; if not, delete the archived row, or", how_to_take_back(job, system)),
            None => format!("delete the archived row in `{name}`, or"),
        };
        linked.held.entry(record).or_default().push(Break {
            kind: BreakKind::Restored,
            key: key.to_owned(),
            field: None,
            system: Some(name.clone()),
            values: Vec::new(),
            why: format!(
                "it is in {holders}, and in `{name}` the row of an archived record has its key{mark}: nothing is written for it, and no second row is made"
            ),
            next_step: format!("{take_back} give the record in {holders} another key"),
        });
    }
}
