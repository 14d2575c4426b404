//! What the ledger tells about one record: the writes that were sent, the values that lost, what happened to its links and
//! its breaks, run by run.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{HISTORY_LINE, Ledger, damaged, history_line};
use crate::change::{Break, Outcome};
use crate::error::Error;
use crate::value::Value;

/// A run, and what the ledger knows of its plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOfStory {
    /// The run.
    pub line: super::HistoryLine,
    /// The SHA-256 of its plan, if it came to one.
    pub plan_digest: Option<String>,
    /// Whether the plan was kept. One that was only asked for is not.
    pub plan_saved: bool,
}

/// One write that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SentChange {
    /// The run.
    pub run: String,
    /// The number of the change in its plan.
    pub number: u32,
    /// The system.
    pub system: String,
    /// The record's canonical key then.
    pub key: String,
    /// What was to be done, in one word.
    pub action: String,
    /// What the system said; nothing where nobody knows.
    pub outcome: Option<Outcome>,
    /// What was found when it was read back, in one word: nothing in runs before this was kept.
    pub settled: Option<String>,
    /// The system's words, or what was read back instead.
    pub detail: Option<String>,
}

/// A value that lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiscardedValue {
    /// The run.
    pub run: String,
    /// The field.
    pub field: String,
    /// The system that held it.
    pub system: String,
    /// The value.
    pub value: Value,
    /// What was decided instead.
    pub decided: Value,
    /// Why, in words.
    pub reason: String,
}

/// What happened to the link between the record and a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkOfRecord {
    /// The run.
    pub run: String,
    /// The system.
    pub system: String,
    /// The key.
    pub key: String,
    /// What happened, in words.
    pub event: String,
}

/// What happened to a break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakEvent {
    /// The run.
    pub run: String,
    /// The break's identity.
    pub id: String,
    /// `opened`, `changed` or `cleared`.
    pub event: String,
    /// The break as it was seen then; nothing once it is cleared.
    pub body: Option<Break>,
}

impl Ledger {
    /// All runs but those that were only asked for their plan, the oldest first.
    pub fn runs_of_story(&self) -> Result<Vec<RunOfStory>, Error> {
        let wrong = self.wrong();
        let query = format!("SELECT {HISTORY_LINE}, plan_digest, plan_saved FROM runs WHERE command <> 'plan' ORDER BY rowid");
        let mut statement = self.connection.prepare(&query).map_err(&wrong)?;
        let rows = statement.query_map([], |row| Ok(RunOfStory { line: history_line(row)?, plan_digest: row.get(6)?, plan_saved: row.get(7)? }));
        rows.map_err(&wrong)?.collect::<Result<_, _>>().map_err(&wrong)
    }

    /// Every write of a record that was sent, the oldest first.
    pub fn sent_of(&self, record: u64) -> Result<Vec<SentChange>, Error> {
        let wrong = self.wrong();
        let query = "SELECT run, number, system, key, action, outcome, settled, detail FROM journal WHERE record = ?1 ORDER BY run, number";
        let mut statement = self.connection.prepare(query).map_err(&wrong)?;
        let mut rows = statement.query([number_of(record)]).map_err(&wrong)?;
        let mut sent = Vec::new();
        while let Some(row) = rows.next().map_err(&wrong)? {
            let outcome: Option<String> = row.get(5).map_err(&wrong)?;
            let outcome = outcome.map(|json| serde_json::from_str(&json).map_err(|e| damaged(&self.path, &format!("journal: {e}")))).transpose()?;
            let read = |row: &rusqlite::Row<'_>| {
                Ok(SentChange {
                    run: row.get(0)?,
                    number: row.get(1)?,
                    system: row.get(2)?,
                    key: row.get(3)?,
                    action: row.get(4)?,
                    outcome: None,
                    settled: row.get(6)?,
                    detail: row.get(7)?,
                })
            };
            sent.push(SentChange { outcome, ..read(row).map_err(&wrong)? });
        }
        Ok(sent)
    }

    /// By the number of a change of a run: what was found when it was read back, in one word, and of a row that was created the hash
    /// of everything that was read back of it.
    pub fn settled_of(&self, run: &str) -> Result<BTreeMap<u32, (String, Option<String>)>, Error> {
        let wrong = self.wrong();
        let mut statement = self.connection.prepare("SELECT number, settled, made FROM journal WHERE run = ?1 AND settled IS NOT NULL").map_err(&wrong)?;
        let rows = statement.query_map([run], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))).map_err(&wrong)?;
        rows.collect::<Result<_, _>>().map_err(&wrong)
    }

    /// Every value of a record that lost, the oldest first.
    pub fn discarded_of(&self, record: u64) -> Result<Vec<DiscardedValue>, Error> {
        let wrong = self.wrong();
        let query = "SELECT run, field, system, reason, value, decided FROM discarded WHERE record = ?1 ORDER BY rowid";
        let mut statement = self.connection.prepare(query).map_err(&wrong)?;
        let mut rows = statement.query([number_of(record)]).map_err(&wrong)?;
        let mut discarded = Vec::new();
        while let Some(row) = rows.next().map_err(&wrong)? {
            let text = |at: usize| row.get::<_, String>(at).map_err(&wrong);
            let value = |at: usize| serde_json::from_str(&text(at)?).map_err(|e| damaged(&self.path, &format!("discarded values: {e}")));
            let (value, decided) = (value(4)?, value(5)?);
            discarded.push(DiscardedValue { run: text(0)?, field: text(1)?, system: text(2)?, reason: text(3)?, value, decided });
        }
        Ok(discarded)
    }

    /// Everything that happened to the links of a record, the oldest first.
    pub fn links_of(&self, record: u64) -> Result<Vec<LinkOfRecord>, Error> {
        let wrong = self.wrong();
        let mut statement = self.connection.prepare("SELECT run, system, key, event FROM links WHERE record = ?1 ORDER BY rowid").map_err(&wrong)?;
        let rows =
            statement.query_map([number_of(record)], |row| Ok(LinkOfRecord { run: row.get(0)?, system: row.get(1)?, key: row.get(2)?, event: row.get(3)? }));
        rows.map_err(&wrong)?.collect::<Result<_, _>>().map_err(&wrong)
    }

    /// What happened to the breaks of these keys, the oldest first.
    pub fn break_events_of(&self, keys: &[String]) -> Result<Vec<BreakEvent>, Error> {
        let wrong = self.wrong();
        let query = "SELECT run, id, event, body FROM break_events WHERE key = ?1 ORDER BY rowid";
        let mut statement = self.connection.prepare(query).map_err(&wrong)?;
        let mut events = Vec::new();
        for key in keys {
            let mut rows = statement.query([key]).map_err(&wrong)?;
            while let Some(row) = rows.next().map_err(&wrong)? {
                let body: Option<String> = row.get(3).map_err(&wrong)?;
                let body = body.map(|json| serde_json::from_str(&json).map_err(|e| damaged(&self.path, &format!("breaks: {e}")))).transpose()?;
                let text = |at: usize| row.get::<_, String>(at).map_err(&wrong);
                events.push(BreakEvent { run: text(0)?, id: text(1)?, event: text(2)?, body });
            }
        }
        Ok(events)
    }

    /// The records that were once known by one of these keys, ascending.
    pub fn records_once_called(&self, keys: &[String]) -> Result<Vec<u64>, Error> {
        let wrong = self.wrong();
        let query = "SELECT record FROM links WHERE key = ?1 UNION SELECT record FROM journal WHERE key = ?1 UNION SELECT record FROM discarded WHERE key = ?1";
        let mut statement = self.connection.prepare(query).map_err(&wrong)?;
        let mut records = Vec::new();
        for key in keys {
            let rows = statement.query_map([key], |row| row.get::<_, i64>(0)).map_err(&wrong)?;
            for record in rows {
                records.push(record.map_err(&wrong)?.unsigned_abs());
            }
        }
        records.sort_unstable();
        records.dedup();
        Ok(records)
    }
}

fn number_of(record: u64) -> i64 {
    i64::try_from(record).unwrap_or(i64::MAX)
}
