//! What people decided about open breaks: their answers, and what became of each.
//!
//! Rows are only ever added. An answer that holds has no event; each event ends it: it was applied, its values changed, its break is
//! gone, it was replaced or taken back.
//!
//! # Design
//! An answer is given between two runs, and a run is what the chain seals. So a row that has no run yet is taken in by the next run
//! that is sealed, whatever that does with it, and is sealed with it.

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::{KnownBreak, Ledger, StakeBody, damaged};
use crate::error::Error;
use crate::reconcile::answers::{Answer, Ask, Became};

pub(super) const MIGRATION: &str = "
CREATE TABLE answers (
    number INTEGER PRIMARY KEY,
    run TEXT NOT NULL DEFAULT '',             -- the run that took it in; empty until then
    id TEXT NOT NULL,                         -- the break
    key TEXT NOT NULL,                        -- of the record
    body TEXT NOT NULL                        -- JSON: what was decided, by whom, why, and what about
) STRICT;
CREATE TABLE answer_events (
    number INTEGER PRIMARY KEY,
    run TEXT NOT NULL DEFAULT '',
    answer INTEGER NOT NULL,
    event TEXT NOT NULL CHECK (event IN ('applied', 'stale', 'over', 'ended', 'replaced', 'forgotten')),
    body TEXT NOT NULL                        -- JSON: when, and who took it back
) STRICT;
CREATE INDEX answers_by_run ON answers (run);
CREATE INDEX answers_by_key ON answers (key);
CREATE INDEX answer_events_by_run ON answer_events (run);
CREATE INDEX answer_events_by_answer ON answer_events (answer);
";

/// Keeps anew the last undo whose place an answer took, directly or through others.
const HOLD_AGAIN: &str = "
INSERT INTO answers (id, key, body)
SELECT held.id, held.key, held.body FROM answers AS given JOIN answers AS held ON held.id = given.id AND held.number < given.number
WHERE given.number = ?1 AND json_extract(held.body, '$.act.undone') IS NOT NULL
    AND EXISTS (SELECT 1 FROM answer_events WHERE answer = held.number AND event = 'replaced')
ORDER BY held.number DESC LIMIT 1";

/// What became of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerEvent {
    /// The answer.
    pub answer: Answer,
    /// The run that took it in; nothing until then.
    pub taken_by: Option<String>,
    /// The run that ended it; nothing while it holds, or if a person ended it and no run came since.
    pub ended_by: Option<String>,
    /// How it ended, in one word; nothing while it holds.
    pub event: Option<String>,
    /// Who took it back.
    pub who: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct EventBody {
    at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    who: Option<String>,
}

/// Notes what became of answers in a run.
pub(super) fn note(connection: &Connection, answered: &[(&str, u64, Became)], now: &str) -> rusqlite::Result<()> {
    let mut insert = connection.prepare("INSERT INTO answer_events (run, answer, event, body) VALUES (?1, ?2, ?3, ?4)")?;
    for (run, number, became) in answered {
        insert.execute(params![run, number_of(*number), became.word(), body(now, None)])?;
    }
    Ok(())
}

/// Keeps the answers that hold what a run took back.
pub(super) fn hold(connection: &Connection, run: &str, holds: &[Answer], now: &str) -> rusqlite::Result<()> {
    for answer in holds {
        keep(connection, run, answer, now)?;
    }
    Ok(())
}

/// Keeps an answer, which takes the place of the one before.
fn keep(connection: &Connection, run: &str, answer: &Answer, now: &str) -> rusqlite::Result<()> {
    let json = serde_json::to_string(answer).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    let replace = "INSERT INTO answer_events (run, answer, event, body) SELECT ?3, number, 'replaced', ?2 FROM answers
         WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM answer_events WHERE answer = answers.number)";
    connection.execute(replace, params![answer.id, body(now, None), run])?;
    connection.execute("INSERT INTO answers (run, id, key, body) VALUES (?1, ?2, ?3, ?4)", params![run, answer.id, answer.to.key, json])?;
    Ok(())
}

/// Gives what was decided since the last run to this one, with which it is sealed.
pub(super) fn take_in(connection: &Connection, run: &str) -> rusqlite::Result<()> {
    connection.execute("UPDATE answers SET run = ?1 WHERE run = ''", [run])?;
    connection.execute("UPDATE answer_events SET run = ?1 WHERE run = ''", [run])?;
    Ok(())
}

impl Ledger {
    /// The answers that hold, the oldest first.
    ///
    /// # Errors
    /// `Look` if one of them cannot be read.
    pub fn answers(&self) -> Result<Vec<Answer>, Error> {
        let wrong = self.wrong();
        let query = "SELECT number, body FROM answers WHERE NOT EXISTS (SELECT 1 FROM answer_events WHERE answer = answers.number) ORDER BY number";
        let mut statement = self.connection.prepare(query).map_err(&wrong)?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))).map_err(&wrong)?;
        let mut answers = Vec::new();
        for row in rows {
            let (number, body) = row.map_err(&wrong)?;
            answers.push(self.read_answer(number, &body)?);
        }
        Ok(answers)
    }

    fn read_answer(&self, number: i64, body: &str) -> Result<Answer, Error> {
        let answer: Answer = serde_json::from_str(body).map_err(|e| damaged(&self.path, &format!("decision {number}: {e}")))?;
        Ok(Answer { number: number.unsigned_abs(), ..answer })
    }

    /// Keeps answers, all or none. One that is given to a break again takes the place of the one before; `replaced` are the numbers
    /// of others whose place they take.
    pub fn answer(&self, answers: &[Answer], replaced: &[u64], now: &str) -> Result<(), Error> {
        let wrong = self.wrong();
        let transaction = self.connection.unchecked_transaction().map_err(&wrong)?;
        for number in replaced {
            let insert = "INSERT INTO answer_events (answer, event, body) VALUES (?1, 'replaced', ?2)";
            transaction.execute(insert, params![number_of(*number), body(now, None)]).map_err(&wrong)?;
        }
        for answer in answers {
            keep(&transaction, "", answer, now).map_err(&wrong)?;
        }
        transaction.commit().map_err(&wrong)
    }

    /// The number that the next answer will have.
    pub fn next_answer(&self) -> Result<u64, Error> {
        let query = "SELECT coalesce(max(number), 0) + 1 FROM answers";
        self.connection.query_row(query, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs).map_err(self.wrong())
    }

    /// Whether answers were taken from a workbook with this SHA-256, whatever became of them.
    pub fn was_taken(&self, sha256: &str) -> Result<bool, Error> {
        let query = "SELECT EXISTS (SELECT 1 FROM answers WHERE json_extract(body, '$.written.sha256') = ?1)";
        self.connection.query_row(query, [sha256], |row| row.get(0)).map_err(self.wrong())
    }

    /// What a break asked when this run was over; nothing if it was not open then, or if nobody knows any more.
    pub fn asked_after(&self, known: &KnownBreak, run: &str) -> Result<Option<Option<Ask>>, Error> {
        let query = "SELECT event, body FROM break_events WHERE key = ?1 AND id = ?2
             AND coalesce((SELECT rowid FROM runs WHERE runs.run = break_events.run), 0) <= (SELECT rowid FROM runs WHERE run = ?3) ORDER BY rowid DESC LIMIT 1";
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?));
        let last = self.connection.query_row(query, params![known.open.key, known.id, run], row).optional().map_err(self.wrong())?;
        let Some(body) = last.filter(|(event, _)| event != "cleared").and_then(|(_, body)| body) else { return Ok(None) };
        let stake: StakeBody = serde_json::from_str(&body).map_err(|e| damaged(&self.path, &format!("break {}: {e}", known.id)))?;
        Ok(Some(stake.ask))
    }

    /// Takes answers back, all or none. What an undo took back is held again as it was before they were given.
    pub fn forget(&self, numbers: &[u64], who: &str, now: &str) -> Result<(), Error> {
        let wrong = self.wrong();
        let transaction = self.connection.unchecked_transaction().map_err(&wrong)?;
        for number in numbers {
            let insert = "INSERT INTO answer_events (answer, event, body) VALUES (?1, 'forgotten', ?2)";
            transaction.execute(insert, params![number_of(*number), body(now, Some(who))]).map_err(&wrong)?;
            transaction.execute(HOLD_AGAIN, [number_of(*number)]).map_err(&wrong)?;
        }
        transaction.commit().map_err(&wrong)
    }

    /// All answers to breaks of these keys, the oldest first, each with what became of it.
    pub fn answers_of(&self, keys: &[String]) -> Result<Vec<AnswerEvent>, Error> {
        let wrong = self.wrong();
        let query = "SELECT answers.number, answers.body, answers.run, answer_events.run, answer_events.event, answer_events.body
             FROM answers LEFT JOIN answer_events ON answer_events.answer = answers.number WHERE answers.key = ?1 ORDER BY answers.number";
        let mut statement = self.connection.prepare(query).map_err(&wrong)?;
        let mut events: Vec<AnswerEvent> = Vec::new();
        for key in keys {
            let mut rows = statement.query([key]).map_err(&wrong)?;
            while let Some(row) = rows.next().map_err(&wrong)? {
                let text = |at: usize| row.get::<_, Option<String>>(at).map_err(&wrong);
                let answer = self.read_answer(row.get(0).map_err(&wrong)?, &text(1)?.unwrap_or_default())?;
                let event_body: Option<EventBody> = text(5)?.and_then(|body| serde_json::from_str(&body).ok());
                // What is kept anew, because our own writes changed what it is about, is the same answer.
                let is_same = |earlier: &AnswerEvent| {
                    let (one, other) = (&earlier.answer, &answer);
                    earlier.event.as_deref() == Some("replaced") && (&one.id, &one.at, &one.who, &one.act) == (&other.id, &other.at, &other.who, &other.act)
                };
                let earlier = if answer.carried.is_some() { events.iter().rposition(is_same) } else { None };
                let taken_by = earlier.and_then(|at| events.remove(at).taken_by);
                let run = |run: Option<String>| run.filter(|run| !run.is_empty());
                events.push(AnswerEvent {
                    answer,
                    taken_by: taken_by.or(run(text(2)?)),
                    ended_by: run(text(3)?),
                    event: text(4)?,
                    who: event_body.and_then(|body| body.who),
                });
            }
        }
        Ok(events)
    }
}

fn body(at: &str, who: Option<&str>) -> String {
    serde_json::to_string(&EventBody { at: at.to_owned(), who: who.map(str::to_owned) }).unwrap_or_default()
}

fn number_of(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
