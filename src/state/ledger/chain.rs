//! The chain of hashes over the runs of a ledger: whether somebody altered the past.
//!
//! Every run that has ended is *sealed*: what the ledger holds of it is hashed together with the head of the chain before it,
//! and the result is the new head. The head stands in the report and in the mail of the run. Whoever alters, removes or adds a
//! row of a sealed run breaks the chain there; whoever then makes the whole chain anew gets another head than the one that was
//! mailed.
//!
//! | part | what |
//! | --- | --- |
//! | head | SHA-256 of the former head, the run, and its rows as text. The first former head is 64 zeros |
//! | the run | its id, command, status, verdict, exit code, sentence, start, the run whose bases it used, the digests of its plan and job file, when it was sealed |
//! | its rows as text | for each table with rows of the run a line: the table, how many rows, SHA-256 of their canonical bytes |
//!
//! The canonical bytes of a cell are a tag (`n` null, `i` integer, `t` text) and, of an integer, its eight bytes; else the length
//! of its UTF-8 in eight bytes, and that. Numbers are little-endian. Rows stand in the order in which they were written, and the
//! former head and the rows as text are hashed as text cells, the first and the last one.
//!
//! # Words
//! Rows are *removed* once they are older than the days for which the ledger is kept, save those of records with something
//! open. The run that removes them notes for each run what it left, and that note is among its own rows: a removal that no
//! sealed run noted is an alteration. The links of the chain stay for ever.
//!
//! # Design
//! - A run is sealed before its report is made, because the report tells the head. When it was finished is not sealed.
//! - A run that was cut off is sealed by the run that settles it, or the next one that ends.
//! - Sealing costs what the run left, not what the ledger holds: rows are found by their run.
//! - Of breaks the table `breaks` tells how they stand, and changes every night. What is sealed are their events, which never
//!   change; the table must be what the events lead to.
//! - What a person decides between two runs is sealed with the next one that ends.
//! - Mails are not sealed: they go on after their run.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Ledger;
use crate::error::Error;

pub(super) const MIGRATION: &str = "
ALTER TABLE journal ADD COLUMN settled TEXT;  -- what was found when it was read back, in one word
ALTER TABLE journal ADD COLUMN detail TEXT;   -- the system's words, or what was read back instead
CREATE INDEX journal_by_record ON journal (record);
CREATE TABLE break_events (
    run TEXT NOT NULL,
    id TEXT NOT NULL,
    key TEXT NOT NULL,
    event TEXT NOT NULL CHECK (event IN ('opened', 'changed', 'cleared')),
    body TEXT                                 -- JSON; null once it is cleared
) STRICT;
INSERT INTO break_events SELECT first_run, id, coalesce(json_extract(body, '$.key'), ''), 'opened', body FROM breaks ORDER BY rowid;
INSERT INTO break_events SELECT cleared_run, id, coalesce(json_extract(body, '$.key'), ''), 'cleared', NULL FROM breaks
    WHERE cleared_run IS NOT NULL ORDER BY rowid;
CREATE INDEX break_events_by_key ON break_events (key);
CREATE INDEX break_events_by_run ON break_events (run);
CREATE INDEX discarded_by_run ON discarded (run);
CREATE INDEX links_by_run ON links (run);
CREATE INDEX allowed_by_run ON allowed (run);
ALTER TABLE runs ADD COLUMN is_sealed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX runs_unsealed ON runs (run) WHERE is_sealed = 0;
CREATE TABLE chain (
    number INTEGER PRIMARY KEY,               -- from 1, without a gap
    run TEXT NOT NULL UNIQUE,
    sealed TEXT NOT NULL,                     -- when, RFC 3339
    rows TEXT NOT NULL,                       -- the run's rows as text
    head TEXT NOT NULL,
    kept INTEGER NOT NULL DEFAULT 2           -- 2 all rows, 1 those of what is open, 0 none
) STRICT;
CREATE INDEX chain_kept ON chain (number) WHERE kept > 0;
CREATE TABLE removals (
    run TEXT NOT NULL,                        -- the run that removed
    of_run TEXT NOT NULL,                     -- the run whose rows were removed
    count INTEGER NOT NULL,
    remaining TEXT NOT NULL                   -- what is left of them, as text
) STRICT;
CREATE INDEX removals_by_run ON removals (run);
CREATE INDEX removals_by_of ON removals (of_run);
CREATE TABLE checks (one INTEGER PRIMARY KEY CHECK (one = 1), checked INTEGER NOT NULL) STRICT;  -- when the file was last looked through
";

/// The head before the first run.
const ORIGIN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// So many characters of a head must be given to find it.
const HEAD_CHARACTERS_MIN: usize = 8;

/// So many runs lose their rows in one night, so that no night takes long after the days were made fewer.
const REMOVED_RUNS_MAX: usize = 100;

/// By table: the rows of a run in their order, and their name for people.
const TABLES_OF_RUN: &[(&str, &str, &str)] = &[
    ("knowledge", "what it left to the next run", "SELECT knowledge FROM runs WHERE run = ?1 AND knowledge IS NOT NULL"),
    ("journal", "writes", "SELECT number, system, record, key, action, outcome, settled, detail FROM journal WHERE run = ?1 ORDER BY number"),
    ("discarded", "discarded values", "SELECT record, key, field, system, value, decided, reason FROM discarded WHERE run = ?1 ORDER BY rowid"),
    ("links", "events of links", "SELECT system, record, key, event FROM links WHERE run = ?1 ORDER BY rowid"),
    ("allowed", "gates that were allowed to pass", "SELECT gate, detail FROM allowed WHERE run = ?1 ORDER BY rowid"),
    ("retries", "calls that were made again", "SELECT system, call, tries, wait_ms, reason FROM retries WHERE run = ?1 ORDER BY rowid"),
    ("break_events", "events of breaks", "SELECT id, key, event, body FROM break_events WHERE run = ?1 ORDER BY rowid"),
    ("answers", "decisions of people", "SELECT number, id, key, body FROM answers WHERE run = ?1 ORDER BY number"),
    ("answer_events", "events of decisions", "SELECT answer, event, body FROM answer_events WHERE run = ?1 ORDER BY number"),
    ("removals", "removals", "SELECT of_run, count, remaining FROM removals WHERE run = ?1 ORDER BY rowid"),
];

/// The run itself.
const RUN: &str = "SELECT run, command, status, verdict, exit_code, sentence, started, base_run, plan_digest, plan_saved, job_digest FROM runs WHERE run = ?1";

/// How a run ended.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a> {
    /// Its verdict.
    pub verdict: &'a str,
    /// Its exit code.
    pub exit_code: u8,
    /// How it ended, in one sentence.
    pub sentence: &'a str,
    /// Now, RFC 3339.
    pub now: &'a str,
}

/// Which rows are no longer kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention<'a> {
    /// Rows of runs before this run id go.
    pub before: &'a str,
    /// Records with something open: their rows stay.
    pub open: &'a BTreeSet<u64>,
}

/// What a look through the whole chain found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verification {
    /// How many runs are sealed.
    pub runs: usize,
    /// The first and the last of them.
    pub span: Option<(String, String)>,
    /// The head; nothing if no run is sealed.
    pub head: Option<String>,
    /// The run whose head was asked for.
    pub asked: Option<String>,
    /// How many runs ended after it.
    pub since_asked: usize,
    /// How many runs lost rows because they were kept for long enough.
    pub removed_from: usize,
    /// How many decisions of people no run has taken in yet, with which they are sealed.
    pub answers_unsealed: u64,
    /// Runs that are not sealed: they still run, or were cut off.
    pub unsealed: Vec<String>,
    /// What is not as it was sealed, a sentence each, the oldest run first.
    pub altered: Vec<String>,
}

/// A link of the chain.
struct Link {
    number: i64,
    run: String,
    sealed: String,
    rows: String,
    head: String,
}

/// Hashes cells so that no two rows of cells give the same bytes.
struct Cells(Sha256);

impl Cells {
    fn add(&mut self, cell: ValueRef<'_>) {
        let (tag, bytes): (u8, &[u8]) = match cell {
            ValueRef::Null => (b'n', &[]),
            ValueRef::Integer(number) => {
                self.0.update([b'i']);
                return self.0.update(number.to_le_bytes());
            }
            ValueRef::Real(number) => {
                self.0.update([b'r']);
                return self.0.update(number.to_bits().to_le_bytes());
            }
            ValueRef::Text(text) => (b't', text),
            ValueRef::Blob(bytes) => (b'b', bytes),
        };
        self.0.update([tag]);
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn hex(self) -> String {
        crate::disk::hexadecimal(&self.0.finalize())
    }
}

/// The rows of a run as text.
fn rows_of(connection: &Connection, run: &str) -> rusqlite::Result<String> {
    let mut text = String::new();
    for (table, _, query) in TABLES_OF_RUN {
        let mut statement = connection.prepare(query)?;
        let columns = statement.column_count();
        let mut rows = statement.query([run])?;
        let (mut count, mut cells) = (0_u64, Cells(Sha256::new()));
        while let Some(row) = rows.next()? {
            count += 1;
            for column in 0..columns {
                cells.add(row.get_ref(column)?);
            }
        }
        if count > 0 {
            text.push_str(&format!("{table} {count} {}\n", cells.hex()));
        }
    }
    Ok(text)
}

/// The head after a run; nothing if there is no such run.
fn head_of(connection: &Connection, former: &str, run: &str, sealed: &str, rows: &str) -> rusqlite::Result<Option<String>> {
    let mut statement = connection.prepare(RUN)?;
    let columns = statement.column_count();
    let mut found = statement.query([run])?;
    let Some(row) = found.next()? else { return Ok(None) };
    let mut cells = Cells(Sha256::new());
    cells.add(ValueRef::Text(former.as_bytes()));
    for column in 0..columns {
        cells.add(row.get_ref(column)?);
    }
    cells.add(ValueRef::Text(sealed.as_bytes()));
    cells.add(ValueRef::Text(rows.as_bytes()));
    Ok(Some(cells.hex()))
}

/// How the rows of a run differ from what was sealed, in words.
fn differences(sealed: &str, found: &str) -> Vec<String> {
    fn parts(text: &str) -> BTreeMap<&str, (u64, &str)> {
        text.lines()
            .filter_map(|one| {
                let (table, rest) = one.split_once(' ')?;
                let (count, hash) = rest.split_once(' ')?;
                Some((table, (count.parse().ok()?, hash)))
            })
            .collect()
    }
    let (sealed, found) = (parts(sealed), parts(found));
    let mut told = Vec::new();
    for (table, name, _) in TABLES_OF_RUN {
        let (was, is) = (sealed.get(table).copied().unwrap_or_default(), found.get(table).copied().unwrap_or_default());
        if was.0 != is.0 {
            told.push(format!("{name}: {} rows, sealed were {}", is.0, was.0));
        } else if was != is {
            told.push(format!(
                "{name}: {}",
                if was.0 == 1 { "its row is another one".to_owned() } else { format!("of {} rows at least one is another one", was.0) }
            ));
        }
    }
    told
}

/// Seals every run that has ended and is not sealed, the oldest first. Gives the head.
fn seal_ended(connection: &Connection, now: &str) -> rusqlite::Result<Option<String>> {
    let mut statement = connection.prepare("SELECT run FROM runs WHERE is_sealed = 0 AND status <> 'running' ORDER BY rowid")?;
    let ended: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut head: Option<(i64, String)> =
        connection.query_row("SELECT number, head FROM chain ORDER BY number DESC LIMIT 1", [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    for run in ended {
        let (number, former) = head.as_ref().map_or((0, ORIGIN), |(number, head)| (*number, head));
        let rows = rows_of(connection, &run)?;
        let Some(next) = head_of(connection, former, &run, now, &rows)? else { continue };
        connection.execute("INSERT INTO chain (number, run, sealed, rows, head) VALUES (?1, ?2, ?3, ?4, ?5)", params![number + 1, run, now, rows, next])?;
        connection.execute("UPDATE runs SET is_sealed = 1 WHERE run = ?1", [&run])?;
        head = Some((number + 1, next));
    }
    Ok(head.map(|(_, head)| head))
}

/// Removes the rows of runs that are old enough, save those of what is open, and notes it among the rows of `run`.
pub(super) fn remove(connection: &Connection, run: &str, retention: Retention<'_>) -> rusqlite::Result<()> {
    // A run that began at a time that cannot be is as old as those around it.
    let mut statement = connection.prepare(
        "SELECT run, kept FROM chain
         WHERE kept > 0 AND run < ?1 AND number < coalesce((SELECT min(number) FROM chain WHERE run >= ?1 AND run <= ?2), number + 1)
         ORDER BY number",
    )?;
    let old: Vec<(String, i64)> = statement.query_map([retention.before, run], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let whole = old.iter().filter(|(_, kept)| *kept == 2).take(REMOVED_RUNS_MAX);
    let old: Vec<&String> = old.iter().filter(|(_, kept)| *kept == 1).chain(whole).map(|(run, _)| run).collect();
    if old.is_empty() {
        return Ok(());
    }
    connection.execute_batch(
        "CREATE TEMP TABLE IF NOT EXISTS open_records (record INTEGER PRIMARY KEY);
         CREATE TEMP TABLE IF NOT EXISTS open_keys (key TEXT PRIMARY KEY);
         DELETE FROM open_records;
         DELETE FROM open_keys;
         INSERT OR IGNORE INTO open_keys SELECT coalesce(json_extract(body, '$.key'), '') FROM breaks WHERE cleared_run IS NULL;",
    )?;
    let mut insert = connection.prepare("INSERT OR IGNORE INTO open_records VALUES (?1)")?;
    for record in retention.open {
        insert.execute([i64::try_from(*record).unwrap_or(i64::MAX)])?;
    }
    for of in old {
        let mut count = 0;
        for table in ["journal", "discarded", "links"] {
            let closed = "record NOT IN (SELECT record FROM open_records) AND key NOT IN (SELECT key FROM open_keys)";
            count += connection.execute(&format!("DELETE FROM {table} WHERE run = ?1 AND {closed}"), [of])?;
        }
        let closed = "NOT EXISTS (SELECT 1 FROM breaks WHERE breaks.id = break_events.id AND cleared_run IS NULL)";
        count += connection.execute(&format!("DELETE FROM break_events WHERE run = ?1 AND {closed}"), [of])?;
        connection.execute("DELETE FROM breaks WHERE cleared_run = ?1", [of])?;
        count += connection.execute("DELETE FROM allowed WHERE run = ?1", [of])?;
        count += connection.execute("DELETE FROM retries WHERE run = ?1", [of])?;
        // A decision that holds is kept, however old it is, and so is what it took the place of: it may be taken back.
        let is_over = "EXISTS (SELECT 1 FROM answer_events WHERE answer = answers.number) AND NOT EXISTS (SELECT 1 FROM answers AS later
             WHERE later.id = answers.id AND NOT EXISTS (SELECT 1 FROM answer_events WHERE answer = later.number))";
        count += connection.execute(&format!("DELETE FROM answers WHERE run = ?1 AND {is_over}"), [of])?;
        let is_gone = "NOT EXISTS (SELECT 1 FROM answers WHERE number = answer_events.answer)";
        count += connection.execute(&format!("DELETE FROM answer_events WHERE run = ?1 AND {is_gone}"), [of])?;
        count += connection.execute("UPDATE runs SET knowledge = NULL, job_text = '' WHERE run = ?1 AND job_text <> ''", [of])?;
        let left = rows_of(connection, of)?;
        let has_more = left.lines().any(|line| !line.starts_with("removals "));
        connection.execute("UPDATE chain SET kept = ?2 WHERE run = ?1", params![of, i64::from(has_more)])?;
        if count > 0 {
            connection.execute("INSERT INTO removals VALUES (?1, ?2, ?3, ?4)", params![run, of, i64::try_from(count).unwrap_or(i64::MAX), left])?;
        }
    }
    Ok(())
}

impl Ledger {
    /// Ends a run and seals it, together with those that were cut off before it. Gives the head of the chain, which the report
    /// tells. A run that is still open is closed as stopped: it wrote nothing.
    pub fn seal(&self, run: &str, ending: &Ending<'_>) -> Result<String, Error> {
        let wrong = self.wrong();
        let transaction = self.connection.unchecked_transaction().map_err(&wrong)?;
        self.end(run, ending)?;
        super::answers::take_in(&transaction, run).map_err(&wrong)?;
        let head = seal_ended(&transaction, ending.now).map_err(&wrong)?;
        transaction.commit().map_err(&wrong)?;
        Ok(head.unwrap_or_else(|| ORIGIN.to_owned()))
    }

    /// Whether the newest sealed run is no longer as it was sealed: what is told of it, in words. It costs what that run left.
    pub fn newest_alteration(&self) -> Result<Option<String>, Error> {
        let wrong = self.wrong();
        let links = self.links("ORDER BY number DESC LIMIT 2")?;
        let Some(newest) = links.first() else { return Ok(None) };
        let former = links.get(1).map_or(ORIGIN, |link| &link.head);
        let is_sealed = rows_of(&self.connection, &newest.run).map_err(&wrong)? == newest.rows;
        let head = head_of(&self.connection, former, &newest.run, &newest.sealed, &newest.rows).map_err(&wrong)?;
        let is_as_sealed = is_sealed && head.as_ref() == Some(&newest.head);
        Ok((!is_as_sealed).then(|| format!("the ledger was altered by hand: run {} is not as it was sealed; `tieout history --verify` tells more", newest.run)))
    }

    /// The last run of which rows were removed; nothing if none lost any.
    pub fn last_removed(&self) -> Result<Option<String>, Error> {
        self.connection.query_row("SELECT max(of_run) FROM removals", [], |row| row.get(0)).map_err(self.wrong())
    }

    fn links(&self, which: &str) -> Result<Vec<Link>, Error> {
        let wrong = self.wrong();
        let mut statement = self.connection.prepare(&format!("SELECT number, run, sealed, rows, head FROM chain {which}")).map_err(&wrong)?;
        let link = |row: &rusqlite::Row<'_>| Ok(Link { number: row.get(0)?, run: row.get(1)?, sealed: row.get(2)?, rows: row.get(3)?, head: row.get(4)? });
        statement.query_map([], link).map_err(&wrong)?.collect::<Result<_, _>>().map_err(&wrong)
    }

    /// Looks through the whole chain, in one view of the ledger: whether every sealed run is as it was sealed. `head` is one
    /// that a report or mail told, or its beginning: it must be among the heads.
    ///
    /// # Errors
    /// As everything that reads the ledger. What was altered is no error.
    pub fn verify(&self, head: Option<&str>) -> Result<Verification, Error> {
        let wrong = self.wrong();
        let transaction = self.connection.unchecked_transaction().map_err(&wrong)?;
        let mut found = Verification::default();
        let links = self.links("ORDER BY number")?;
        let sealed: BTreeSet<&str> = links.iter().map(|link| link.run.as_str()).collect();
        self.look_for_unsealed(&sealed, &mut found).map_err(&wrong)?;
        let unsealed: BTreeSet<&str> = found.unsealed.iter().map(String::as_str).collect();
        let mut left: BTreeMap<String, (String, String)> = BTreeMap::new();
        {
            let mut statement = transaction.prepare("SELECT of_run, remaining, run FROM removals ORDER BY rowid").map_err(&wrong)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))).map_err(&wrong)?;
            for row in rows {
                let (of, removal) = row.map_err(&wrong)?;
                left.insert(of, removal);
            }
        }
        found.removed_from = left.len();
        let waiting: i64 = transaction.query_row("SELECT count(*) FROM answers WHERE run = ''", [], |row| row.get(0)).map_err(&wrong)?;
        found.answers_unsealed = waiting.unsigned_abs();
        let (mut former, mut number) = (ORIGIN.to_owned(), 0);
        let mut altered = Vec::new();
        for link in &links {
            number += 1;
            let is_gap = link.number != number;
            if is_gap {
                altered.push(format!("before run {}: {} missing in the chain", link.run, plural(link.number - number, "link is", "links are")));
                number = link.number;
            }
            let removal = left.get(&link.run).filter(|(_, by)| sealed.contains(by.as_str()) || unsealed.contains(by.as_str()));
            let is = rows_of(&transaction, &link.run).map_err(&wrong)?;
            let was = removal.map_or(&link.rows, |(left, _)| left);
            let different = differences(was, &is);
            let job_file = "SELECT job_text, job_digest FROM runs WHERE run = ?1";
            let job_file: Option<(String, String)> =
                transaction.query_row(job_file, [&link.run], |row| Ok((row.get(0)?, row.get(1)?))).optional().map_err(&wrong)?;
            match head_of(&transaction, &former, &link.run, &link.sealed, &link.rows).map_err(&wrong)? {
                None => altered.push(format!("run {}: it is gone", link.run)),
                Some(head) => {
                    if !different.is_empty() {
                        altered.push(format!("run {}: {}", link.run, different.join("; ")));
                    }
                    // After a gap the former head is unknown.
                    if head != link.head && !is_gap {
                        altered.push(format!("run {}: its own row, or its link of the chain, is not as it was sealed", link.run));
                    }
                }
            }
            if let Some((text, digest)) = job_file
                && !(text.is_empty() && removal.is_some())
                && crate::disk::digest(text.as_bytes()) != digest
            {
                altered.push(format!("run {}: its job file is not the one that it ran by", link.run));
            }
            former.clone_from(&link.head);
        }
        found.altered.splice(0..0, altered);
        found.altered.extend(self.altered_breaks().map_err(&wrong)?);
        found.runs = links.len();
        found.span = links.first().zip(links.last()).map(|(first, last)| (first.run.clone(), last.run.clone()));
        found.head = links.last().map(|link| link.head.clone());
        if let Some(head) = head {
            let head = head.trim().to_lowercase();
            let asked = links.iter().position(|link| head.len() >= HEAD_CHARACTERS_MIN && link.head.starts_with(&head));
            match asked {
                Some(at) => {
                    found.asked = Some(links[at].run.clone());
                    found.since_asked = links.len() - at - 1;
                }
                None if head.len() < HEAD_CHARACTERS_MIN => {
                    found.altered.push(format!("`{head}` is too short for a head: give at least {HEAD_CHARACTERS_MIN} characters"))
                }
                None => found.altered.push(format!("no run has the head {head}: what the ledger tells is not the past that was told then")),
            }
        }
        Ok(found)
    }

    /// Runs that are not sealed, and rows of runs that are none.
    fn look_for_unsealed(&self, sealed: &BTreeSet<&str>, found: &mut Verification) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare("SELECT run, status FROM runs ORDER BY rowid")?;
        let runs: Vec<(String, String)> = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
        let newest_sealed = runs.iter().rposition(|(run, _)| sealed.contains(run.as_str()));
        // A run that was cut off is settled in one step with the one that settles it, and both are sealed in the next.
        let settles = runs
            .iter()
            .enumerate()
            .any(|(at, (run, status))| status == "promoted" && !sealed.contains(run.as_str()) && newest_sealed.is_none_or(|newest| at > newest));
        for (at, (run, status)) in runs.iter().enumerate().filter(|(_, (run, _))| !sealed.contains(run.as_str())) {
            // Whatever has ended is sealed before the next run ends.
            let waits = status == "running" || status == "interrupted" && settles;
            if !waits && newest_sealed.is_some_and(|newest| at < newest) {
                found.altered.push(format!("run {run}: it is in no link of the chain"));
            } else {
                found.unsealed.push(run.clone());
            }
        }
        let known: BTreeSet<&str> = runs.iter().map(|(run, _)| run.as_str()).collect();
        for (table, name, _) in TABLES_OF_RUN.iter().filter(|(table, ..)| *table != "knowledge") {
            let mut statement = self.connection.prepare(&format!("SELECT DISTINCT run FROM {table} WHERE run <> ''"))?;
            for run in statement.query_map([], |row| row.get::<_, String>(0))? {
                let run = run?;
                if !known.contains(run.as_str()) && !sealed.contains(run.as_str()) {
                    found.altered.push(format!("{name}: there are rows of a run {run}, which there never was"));
                }
            }
        }
        let promoted: Option<String> = self.connection.query_row("SELECT run FROM promoted", [], |row| row.get(0)).optional()?;
        let newest: Option<String> =
            self.connection.query_row("SELECT run FROM runs WHERE status = 'promoted' ORDER BY rowid DESC LIMIT 1", [], |row| row.get(0)).optional()?;
        if promoted != newest {
            found.altered.push("the state that the next run starts from is not that of the last run that was settled".to_owned());
        }
        Ok(())
    }

    /// The breaks that are not as their events say.
    fn altered_breaks(&self) -> rusqlite::Result<Vec<String>> {
        struct Last {
            first_run: Option<String>,
            run: String,
            event: String,
            body: Option<String>,
        }
        let mut last: BTreeMap<String, Last> = BTreeMap::new();
        let mut statement = self.connection.prepare("SELECT id, run, event, body FROM break_events ORDER BY rowid")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (id, run, event, body): (String, String, String, Option<String>) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            let former = last.remove(&id);
            let first_run = if event == "opened" { Some(run.clone()) } else { former.as_ref().and_then(|former| former.first_run.clone()) };
            let body = body.or_else(|| former.and_then(|former| former.body));
            last.insert(id, Last { first_run, run, event, body });
        }
        let mut altered = Vec::new();
        let mut statement = self.connection.prepare(
            "SELECT breaks.id, first_run, cleared_run, body, first_seen = runs.started FROM breaks LEFT JOIN runs ON runs.run = first_run ORDER BY breaks.id",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id: String = row.get(0)?;
            let (first_run, cleared_run, body, is_first): (String, Option<String>, String, Option<bool>) = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
            let is_as_told = last.remove(&id).is_some_and(|last| {
                let ends = if last.event == "cleared" { cleared_run.as_ref() == Some(&last.run) } else { cleared_run.is_none() };
                ends && last.first_run.is_none_or(|first| first == first_run) && last.body.is_none_or(|told| told == body) && is_first == Some(true)
            });
            if !is_as_told {
                altered.push(format!("break {id}: it is not as its events say"));
            }
        }
        altered.extend(last.into_keys().map(|id| format!("break {id}: it is gone, and its events are there")));
        Ok(altered)
    }
}

fn plural(number: i64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{MIGRATIONS, TABLES};
    use super::*;

    /// A ledger as the version before the chain left it: two runs, of which the second was cut off while it wrote.
    const BEFORE: &str = r#"
        INSERT INTO runs (run, command, status, verdict, exit_code, sentence, started, finished, job_digest, job_text, knowledge)
            VALUES ('20260301T010000Z', 'run', 'promoted', 'ACTION', 1, 'one break', '2026-03-01T01:00:00Z', '2026-03-01T01:00:09Z',
                    'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', '', '{}');
        INSERT INTO promoted VALUES (1, '20260301T010000Z');
        INSERT INTO journal VALUES ('20260301T010000Z', 1, 'shop', 7, 'a', 'update', '{"outcome":"done"}');
        INSERT INTO breaks VALUES ('0123456789', '20260301T010000Z', '2026-03-01T01:00:00Z', '20260301T010000Z', NULL,
            '{"kind":"missing","key":"a","field":null,"system":"shop","values":[],"why":"","next_step":""}');
        INSERT INTO runs (run, command, status, started, plan_digest, plan_saved, job_digest, job_text)
            VALUES ('20260302T010000Z', 'run', 'running', '2026-03-02T01:00:00Z', 'x', 1,
                    'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', '');
        INSERT INTO journal VALUES ('20260302T010000Z', 1, 'shop', 7, 'a', 'update', NULL);
    "#;

    fn earlier_ledger(folder: &std::path::Path) -> std::path::PathBuf {
        let path = folder.join("ledger.sqlite");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(TABLES).unwrap();
        connection.execute_batch(MIGRATIONS[0]).unwrap();
        connection.execute_batch(BEFORE).unwrap();
        connection.pragma_update(None, "user_version", 2).unwrap();
        path
    }

    #[test]
    fn the_runs_of_an_earlier_ledger_are_sealed_by_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&earlier_ledger(folder.path())).unwrap();
        let found = ledger.verify(None).unwrap();
        assert_eq!((found.runs, found.unsealed.len(), found.altered), (0, 2, Vec::new()));
        assert_eq!(ledger.sent_of(7).unwrap().len(), 2, "the journal is still told");
        assert_eq!(ledger.break_events_of(&["a".to_owned()]).unwrap()[0].event, "opened");

        let now = "2026-03-03T01:00:00Z";
        let empty = crate::disk::digest(b"");
        ledger.begin("20260303T010000Z", "run", now, Some("20260301T010000Z"), &empty, "").unwrap();
        let head = ledger.seal("20260303T010000Z", &Ending { verdict: "FAILED", exit_code: 3, sentence: "stopped", now }).unwrap();
        let found = ledger.verify(Some(&head)).unwrap();
        assert_eq!((found.runs, found.altered), (2, Vec::new()), "the one that is cut off waits for whoever settles it");
        assert_eq!(found.unsealed, ["20260302T010000Z"]);
        assert_eq!(found.asked.as_deref(), Some("20260303T010000Z"));
    }

    #[test]
    fn the_head_is_that_of_other_programs_too() {
        // SHA-256 of the bytes that the documentation names, made once by another program.
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&earlier_ledger(folder.path())).unwrap();
        let rows = rows_of(&ledger.connection, "20260301T010000Z").unwrap();
        let tables: Vec<&str> = rows.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(tables, ["knowledge", "journal", "break_events"]);
        assert!(rows.starts_with("knowledge 1 2bd6eae5077d1736f19898d4fc745bca59adb73ed8eeb21518ea47ad53912e70\n"), "{rows}");
        assert_eq!(
            head_of(&ledger.connection, ORIGIN, "20260301T010000Z", "now", "").unwrap().unwrap(),
            "40668424c7474cae1b305920c7c2e56c325794bb78c7f9bc1310cacc3b69171e"
        );
    }

    #[test]
    fn cells_that_could_be_taken_for_each_other_have_other_hashes() {
        let hash = |cells: &[ValueRef<'_>]| {
            let mut all = Cells(Sha256::new());
            cells.iter().for_each(|cell| all.add(*cell));
            all.hex()
        };
        let all = [
            hash(&[ValueRef::Text(b"ab"), ValueRef::Text(b"c")]),
            hash(&[ValueRef::Text(b"a"), ValueRef::Text(b"bc")]),
            hash(&[ValueRef::Text(b"abc")]),
            hash(&[ValueRef::Text(b"")]),
            hash(&[ValueRef::Null]),
            hash(&[]),
            hash(&[ValueRef::Integer(1)]),
            hash(&[ValueRef::Text(b"1")]),
        ];
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn the_file_is_looked_through_once_a_day_and_after_a_run_that_did_not_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.sqlite");
        let ledger = Ledger::open(&path).unwrap();
        assert!(!ledger.check().unwrap(), "it was looked through when it was opened");
        ledger.begin("20260303T010000Z", "run", "2026-03-03T01:00:00Z", None, "x", "").unwrap();
        assert!(ledger.check().unwrap(), "the run did not end yet");
        ledger.finish("20260303T010000Z", &Ending { verdict: "OK", exit_code: 0, sentence: "", now: "2026-03-03T01:00:09Z" }).unwrap();
        assert!(!ledger.check().unwrap());
        for moved in ["- 86401", "+ 86401"] {
            ledger.connection.execute(&format!("UPDATE checks SET checked = unixepoch() {moved}"), []).unwrap();
            assert!(ledger.check().unwrap(), "a day is over, or the clock was wrong");
        }
        drop(ledger);
        assert!(!Ledger::open(&path).unwrap().check().unwrap(), "opening it looked through it and remembers that");
    }
}
