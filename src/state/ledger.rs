//! The ledger: one SQLite file a job, with every run, every write that was sent, every value that was discarded.
//!
//! A run is promoted by one transaction here: it names the folder of the new bases, which are on the disk by then. Before it
//! the old state is whole, after it the new one is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::change::{Break, Change, Decision, LinkEvent, Outcome};
use crate::diagnostic::Place;
use crate::error::{Error, Remedy};
use crate::reconcile::answers::{Answer, Ask, Became};
use crate::reconcile::settle::Fate;
use crate::reconcile::totals::Closing;
use crate::value::Decimal;

mod answers;
mod chain;
mod mail;
mod story;

pub use answers::AnswerEvent;
pub use chain::{Ending, Retention, Verification};
pub use mail::{LostMail, MailOfRun, MailState, NewMail, QueuedMail, RecipientOfMail, WaitingMail};
pub use story::{BreakEvent, DiscardedValue, LinkOfRecord, RunOfStory, SentChange};

/// What leads from each version of the tables to the next, the first from version 1. A new ledger takes all of them, too.
const MIGRATIONS: &[&str] = &[mail::MIGRATION, chain::MIGRATION, FILES, RETRIES, answers::MIGRATION, MADE_ROWS];

/// The file is looked through for damage once in so many seconds. That takes the longer the more it holds.
const CHECK_SECONDS: i64 = 24 * 60 * 60;

const VERSION: i64 = 1 + MIGRATIONS.len() as i64;

const TABLES: &str = "
CREATE TABLE runs (
    run TEXT PRIMARY KEY,           -- the start in UTC, sorts by time
    command TEXT NOT NULL,          -- run, plan, apply
    status TEXT NOT NULL CHECK (status IN ('running', 'promoted', 'stopped', 'interrupted')),
    verdict TEXT,
    exit_code INTEGER,
    sentence TEXT,
    started TEXT NOT NULL,
    finished TEXT,
    base_run TEXT,                  -- the promoted run whose bases it was decided against
    plan_digest TEXT,
    plan_saved INTEGER NOT NULL DEFAULT 0,
    job_digest TEXT NOT NULL,
    job_text TEXT NOT NULL,
    knowledge TEXT                  -- JSON: what the next run needs to know, of a promoted run
) STRICT;
CREATE TABLE promoted (one INTEGER PRIMARY KEY CHECK (one = 1), run TEXT NOT NULL REFERENCES runs (run)) STRICT;
CREATE TABLE journal (
    run TEXT NOT NULL REFERENCES runs (run),
    number INTEGER NOT NULL,        -- of the change in the plan
    system TEXT NOT NULL,
    record INTEGER NOT NULL,
    key TEXT NOT NULL,
    action TEXT NOT NULL,
    outcome TEXT,                   -- JSON; null: sent, and nobody knows
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE breaks (
    id TEXT PRIMARY KEY,
    first_run TEXT NOT NULL,
    first_seen TEXT NOT NULL,       -- RFC 3339
    last_run TEXT NOT NULL,
    cleared_run TEXT,
    body TEXT NOT NULL              -- JSON
) STRICT;
CREATE TABLE discarded (
    run TEXT NOT NULL, record INTEGER NOT NULL, key TEXT NOT NULL, field TEXT NOT NULL,
    system TEXT NOT NULL, value TEXT NOT NULL, decided TEXT NOT NULL, reason TEXT NOT NULL
) STRICT;
CREATE TABLE links (run TEXT NOT NULL, system TEXT NOT NULL, record INTEGER NOT NULL, key TEXT NOT NULL, event TEXT NOT NULL) STRICT;
CREATE TABLE allowed (run TEXT NOT NULL, gate TEXT NOT NULL, detail TEXT NOT NULL) STRICT;
CREATE TABLE mail (run TEXT PRIMARY KEY, file TEXT NOT NULL, state TEXT NOT NULL CHECK (state IN ('outbox', 'failed')), problem TEXT) STRICT;
CREATE INDEX discarded_by_record ON discarded (record, field);
CREATE INDEX links_by_record ON links (record);
";

/// Every file that a promoted run read, or left when it had written. They are kept for as long as the ledger: that is what tells
/// an older file from a new one.
const FILES: &str = "
CREATE TABLE files (
    system TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    run TEXT NOT NULL,              -- the last one that had it
    PRIMARY KEY (system, sha256)
) STRICT, WITHOUT ROWID;
INSERT OR REPLACE INTO files
    SELECT place.key, json_extract(place.value, '$.sha256'), runs.run FROM runs, json_each(runs.knowledge, '$.snapshots') AS place
    WHERE runs.status = 'promoted' AND runs.knowledge IS NOT NULL ORDER BY runs.rowid;
";

/// Calls of systems that were made again.
const MADE_ROWS: &str = "
ALTER TABLE journal ADD COLUMN made TEXT;  -- of a row that was created: the hash of everything that was read back of it
";

const RETRIES: &str = "
CREATE TABLE retries (
    run TEXT NOT NULL,
    system TEXT NOT NULL,
    call TEXT NOT NULL,             -- pull, prepare, write, read back
    tries INTEGER NOT NULL,         -- how often it had failed by then
    wait_ms INTEGER NOT NULL,       -- how long was waited before it was made again
    reason TEXT NOT NULL
) STRICT;
CREATE INDEX retries_by_run ON retries (run);
";

/// A call of a system that is made again, because it met something that passes.
#[derive(Clone, Copy, Debug)]
pub struct Retry<'a> {
    /// The system.
    pub system: &'a str,
    /// The call, in a word.
    pub call: &'a str,
    /// How often it failed.
    pub tries: u32,
    /// How long is waited, in milliseconds.
    pub wait_ms: u64,
    /// What was in the way.
    pub reason: &'a str,
}

/// What a promoted run leaves to the next, beside its bases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Knowledge {
    /// Rows read, by system.
    pub rows_read: BTreeMap<String, u64>,
    /// What each system found out about its source.
    pub found: BTreeMap<String, BTreeMap<String, String>>,
    /// What the bases depend on.
    pub terms: BTreeMap<String, String>,
    /// The control totals.
    pub closings: Vec<Closing>,
    /// The first record number that is still free.
    pub next_record: u64,
    /// Where its bases are.
    #[serde(default)]
    pub bases: Bases,
    /// Where the last snapshot of each file is.
    #[serde(default)]
    pub snapshots: BTreeMap<String, SnapshotPlace>,
    /// The SHA-256 of each file when the run was done with it. A file that was written and could not be read again is not here.
    #[serde(default)]
    pub left: BTreeMap<String, String>,
}

/// Where a snapshot of a file is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotPlace {
    /// The run in whose folder it is.
    pub run: String,
    /// The SHA-256 of the file.
    pub sha256: String,
}

/// Where the bases of a run are. A run that looked into a few records leaves only those, on top of what earlier runs left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bases {
    /// The folders in which they are, the oldest first, called after the runs that left them; the run's own alone if there is none. A record is as the
    /// newest of them left it that looked into it, and the first looked into all.
    pub parts: Vec<String>,
    /// How many records all parts but the first looked into.
    pub on_top: u64,
    /// The records at rest.
    pub rest: Option<RestPlace>,
}

/// Where the records at rest are, and what they depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestPlace {
    /// The run in whose folder they are.
    pub run: String,
    /// The digest of the job file.
    pub job_digest: String,
    /// The version of the program, whose cleaning and rules they were left by.
    pub version: String,
    /// How their columns showed to be spelled, where the job file does not say.
    #[serde(default)]
    pub spelling: String,
    /// How many snapshots those of that run stand on.
    #[serde(default)]
    pub snapshot_depth: Option<u32>,
}

impl Promoted {
    /// The runs in whose folders its bases are, the oldest first.
    pub fn parts(&self) -> Vec<&str> {
        let parts = &self.knowledge.bases.parts;
        if parts.is_empty() { vec![&self.run] } else { parts.iter().map(String::as_str).collect() }
    }
}

/// The last promoted run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promoted {
    /// Its id.
    pub run: String,
    /// What it leaves to the next.
    pub knowledge: Knowledge,
    /// The text of its job file.
    pub job_text: String,
}

/// A run that was cut off after its plan was saved.
#[derive(Clone, Debug)]
pub struct Interrupted {
    /// Its id.
    pub run: String,
    /// The SHA-256 of its plan.
    pub plan_digest: String,
    /// By the number of the change: the outcome of every write that was sent; nothing where nobody knows.
    pub sent: BTreeMap<u32, Option<Outcome>>,
}

/// One line of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HistoryLine {
    /// The run.
    pub run: String,
    /// The command that made it.
    pub command: String,
    /// Whether it ran to its end.
    pub status: String,
    /// Its verdict.
    pub verdict: Option<String>,
    /// How it ended, in one sentence.
    pub sentence: Option<String>,
    /// When it started.
    pub started: String,
}

impl HistoryLine {
    /// How it ended, in one word; also of a run that has not ended.
    pub fn word(&self) -> &str {
        match &self.verdict {
            Some(verdict) => verdict,
            None if self.status == "running" => "RUNNING",
            None => "CUT OFF",
        }
    }
}

/// A break as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownBreak {
    /// Its identity.
    pub id: String,
    /// The run that saw it first.
    pub first_run: String,
    /// When that was, RFC 3339.
    pub first_seen: String,
    /// The break as it was seen last.
    pub open: Break,
    /// What was at stake then, where that is known.
    pub amount: Option<Decimal>,
    /// The currency of the amount.
    pub currency: Option<String>,
    /// What it asks a person; nothing where nobody looked into it.
    pub ask: Option<Ask>,
}

/// A break as the ledger stores it.
#[derive(Serialize)]
struct BreakBody<'a> {
    #[serde(flatten)]
    open: &'a Break,
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<&'a Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ask: Option<&'a Ask>,
}

/// What is at stake in a stored break, and what it asks.
#[derive(Deserialize)]
struct StakeBody {
    #[serde(default)]
    amount: Option<Decimal>,
    #[serde(default)]
    currency: Option<String>,
    #[serde(default)]
    ask: Option<Ask>,
}

/// What one run adds to the ledger when it is promoted.
#[derive(Clone, Copy, Debug)]
pub struct Promotion<'a> {
    /// The run.
    pub run: &'a str,
    /// The runs that were cut off and are settled by this one.
    pub settles: &'a [&'a str],
    /// What it leaves to the next.
    pub knowledge: &'a Knowledge,
    /// What is open after it.
    pub breaks: &'a [Break],
    /// By the id of a break: what is at stake, with its currency, where that is known.
    pub stakes: &'a BTreeMap<String, (Decimal, String)>,
    /// By the id of a break: what it asks a person. One that was not looked into asks what it asked before.
    pub asks: &'a BTreeMap<String, Ask>,
    /// By run, its own and those that it settles: what became of people's answers, by their number.
    pub answered: &'a [(&'a str, u64, Became)],
    /// What was taken back and is held from now on.
    pub holds: &'a [Answer],
    /// By run, its own and those that it settles: what became of every change, by its number.
    pub fates: &'a [(&'a str, &'a BTreeMap<u32, Fate>)],
    /// Its decisions with the values that lost.
    pub decisions: &'a [Decision],
    /// What happened to links.
    pub links: &'a [LinkEvent],
    /// Which rows of earlier runs are no longer kept.
    pub retention: Retention<'a>,
    /// Now, RFC 3339.
    pub now: &'a str,
}

/// The ledger of one job.
#[derive(Debug)]
pub struct Ledger {
    connection: Connection,
    path: PathBuf,
}

impl Ledger {
    /// Opens the ledger, and makes it if there is none.
    ///
    /// # Errors
    /// `Look` if the file is not a ledger or is damaged, `GiveAccess` if it cannot be opened.
    pub fn open(path: &Path) -> Result<Ledger, Error> {
        let connection = Connection::open(path).map_err(|e| refuse(path, &e))?;
        let ledger = Ledger { connection, path: path.to_owned() };
        ledger.prepare()?;
        Ok(ledger)
    }

    /// Opens the ledger to look into it, without the lock of the job; nothing if there is none. The tables of an earlier
    /// version are brought up to this one.
    pub fn read(path: &Path) -> Result<Option<Ledger>, Error> {
        let Some(ledger) = Ledger::of_mails(path)? else { return Ok(None) };
        ledger.check()?;
        Ok(Some(ledger))
    }

    /// The same without looking for damage, which takes long in a large ledger: for the queue of mails, which is looked
    /// into every minute.
    pub fn of_mails(path: &Path) -> Result<Option<Ledger>, Error> {
        if !path.exists() {
            return Ok(None);
        }
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|e| refuse(path, &e))?;
        let ledger = Ledger { connection, path: path.to_owned() };
        if ledger.version()? == 0 {
            return Ok(None);
        }
        ledger.migrate()?;
        Ok(Some(ledger))
    }

    fn wrong(&self) -> impl Fn(rusqlite::Error) -> Error {
        let path = self.path.clone();
        move |error| refuse(&path, &error)
    }

    /// The version of the tables; 0 if there are none yet.
    fn version(&self) -> Result<i64, Error> {
        let wrong = self.wrong();
        self.connection.busy_timeout(std::time::Duration::from_secs(10)).map_err(&wrong)?;
        let version: i64 = self.connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(&wrong)?;
        if !(0..=VERSION).contains(&version) {
            return Err(Error::new(
                Remedy::Look,
                Place::of(self.path.display().to_string()),
                format!("the ledger has version {version}, this program knows {VERSION}"),
            )
            .seen("nothing was read or written")
            .hint("use the program that wrote it, or a newer one"));
        }
        Ok(version)
    }

    /// Looks through the whole file for damage, if that is due: once a day, and after a run that did not come to its end.
    /// In between SQLite itself tells the damage of every page that it reads. Whether it looked.
    fn check(&self) -> Result<bool, Error> {
        let wrong = self.wrong();
        let version = self.version()?;
        if version == VERSION {
            let query =
                "SELECT abs(unixepoch() - checked) < ?1 AND NOT EXISTS (SELECT 1 FROM runs WHERE rowid = (SELECT max(rowid) FROM runs) AND finished IS NULL)
                 FROM checks";
            let is_fresh: Option<bool> = self.connection.query_row(query, [CHECK_SECONDS], |row| row.get(0)).optional().map_err(&wrong)?;
            if is_fresh == Some(true) {
                return Ok(false);
            }
        }
        let state: String = self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(&wrong)?;
        if state != "ok" {
            return Err(damaged(&self.path, &state));
        }
        Ok(true)
    }

    /// Brings tables of an earlier version up to this one, and makes those of a new ledger: one transaction.
    fn migrate(&self) -> Result<(), Error> {
        if self.version()? == VERSION {
            return Ok(());
        }
        let wrong = self.wrong();
        let transaction = rusqlite::Transaction::new_unchecked(&self.connection, rusqlite::TransactionBehavior::Immediate).map_err(&wrong)?;
        // Another program may have done it while this one waited.
        let from = self.version()?;
        if from == 0 {
            transaction.execute_batch(TABLES).map_err(&wrong)?;
        }
        for migration in MIGRATIONS.iter().skip(usize::try_from((from - 1).max(0)).unwrap_or(0)) {
            transaction.execute_batch(migration).map_err(&wrong)?;
        }
        transaction.pragma_update(None, "user_version", VERSION).map_err(&wrong)?;
        transaction.commit().map_err(&wrong)
    }

    fn prepare(&self) -> Result<(), Error> {
        let is_checked = self.check()?;
        let wrong = self.wrong();
        self.connection.pragma_update(None, "journal_mode", "WAL").map_err(&wrong)?;
        self.connection.pragma_update(None, "synchronous", "FULL").map_err(&wrong)?;
        self.connection.pragma_update(None, "foreign_keys", true).map_err(&wrong)?;
        self.migrate()?;
        if is_checked {
            let note = "INSERT INTO checks VALUES (1, unixepoch()) ON CONFLICT (one) DO UPDATE SET checked = excluded.checked";
            self.connection.execute(note, []).map_err(&wrong)?;
        }
        Ok(())
    }

    /// The last promoted run.
    pub fn promoted(&self) -> Result<Option<Promoted>, Error> {
        let found = self
            .connection
            .query_row("SELECT runs.run, runs.knowledge, runs.job_text FROM promoted JOIN runs USING (run)", [], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
            })
            .optional()
            .map_err(self.wrong())?;
        let Some((run, knowledge, job_text)) = found else { return Ok(None) };
        let knowledge = serde_json::from_str(&knowledge).map_err(|e| damaged(&self.path, &format!("run {run}: {e}")))?;
        Ok(Some(Promoted { run, knowledge, job_text }))
    }

    /// The runs that were cut off while they wrote and that no later run has settled, the oldest first: a run that settles
    /// one may itself be cut off. Runs that were cut off before they sent anything are closed.
    pub fn interrupted(&self) -> Result<Vec<Interrupted>, Error> {
        let wrong = self.wrong();
        self.connection
            .execute(
                "UPDATE runs SET status = 'interrupted', sentence = 'cut off before anything was written'
                 WHERE status = 'running' AND NOT EXISTS (SELECT 1 FROM journal WHERE journal.run = runs.run)",
                [],
            )
            .map_err(&wrong)?;
        let mut statement = self.connection.prepare("SELECT run, plan_digest FROM runs WHERE status = 'running' ORDER BY rowid").map_err(&wrong)?;
        let runs = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?))).map_err(&wrong)?;
        let runs: Vec<(String, Option<String>)> = runs.collect::<Result<_, _>>().map_err(&wrong)?;
        runs.into_iter()
            .map(|(run, plan_digest)| {
                let sent = self.journal(&run)?;
                Ok(Interrupted { run, plan_digest: plan_digest.unwrap_or_default(), sent })
            })
            .collect()
    }

    /// By the number of the change: the outcome of every write of a run that was sent; nothing where nobody knows.
    fn journal(&self, run: &str) -> Result<BTreeMap<u32, Option<Outcome>>, Error> {
        let wrong = self.wrong();
        let mut statement = self.connection.prepare("SELECT number, outcome FROM journal WHERE run = ?1").map_err(&wrong)?;
        let rows = statement.query_map([run], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, Option<String>>(1)?))).map_err(&wrong)?;
        let mut sent = BTreeMap::new();
        for row in rows {
            let (number, outcome) = row.map_err(&wrong)?;
            let outcome = match outcome {
                Some(json) => Some(serde_json::from_str(&json).map_err(|e| damaged(&self.path, &format!("journal of {run}: {e}")))?),
                None => None,
            };
            sent.insert(number, outcome);
        }
        Ok(sent)
    }

    /// The last promoted run that read this file, or left it when it had written; nothing if none did.
    pub fn run_of_file(&self, system: &str, sha256: &str) -> Result<Option<String>, Error> {
        let query = "SELECT run FROM files WHERE system = ?1 AND sha256 = ?2";
        self.connection.query_row(query, [system, sha256], |row| row.get(0)).optional().map_err(self.wrong())
    }

    /// Whether a run of this id exists.
    pub fn knows(&self, run: &str) -> Result<bool, Error> {
        self.connection.query_row("SELECT EXISTS (SELECT 1 FROM runs WHERE run = ?1)", [run], |row| row.get(0)).map_err(self.wrong())
    }

    /// Opens a run.
    pub fn begin(&self, run: &str, command: &str, started: &str, base_run: Option<&str>, job_digest: &str, job_text: &str) -> Result<(), Error> {
        self.connection
            .execute(
                "INSERT INTO runs (run, command, status, started, base_run, job_digest, job_text) VALUES (?1, ?2, 'running', ?3, ?4, ?5, ?6)",
                params![run, command, started, base_run, job_digest, job_text],
            )
            .map_err(self.wrong())?;
        Ok(())
    }

    /// Notes that the plan is saved: from here on a run that is cut off must be settled.
    pub fn plan_saved(&self, run: &str, digest: &str, allowed: &[(String, String)]) -> Result<(), Error> {
        let wrong = self.wrong();
        let transaction = self.connection.unchecked_transaction().map_err(&wrong)?;
        transaction.execute("UPDATE runs SET plan_digest = ?2, plan_saved = 1 WHERE run = ?1", params![run, digest]).map_err(&wrong)?;
        for (gate, detail) in allowed {
            transaction.execute("INSERT INTO allowed VALUES (?1, ?2, ?3)", params![run, gate, detail]).map_err(&wrong)?;
        }
        transaction.commit().map_err(&wrong)
    }

    /// Notes the digest of a plan that was only asked for: by it the plan is known again when it is to be applied.
    pub fn planned(&self, run: &str, digest: &str) -> Result<(), Error> {
        self.connection.execute("UPDATE runs SET plan_digest = ?2 WHERE run = ?1", params![run, digest]).map_err(self.wrong())?;
        Ok(())
    }

    /// The digest of the plan of a run, if it came to one, and the text of its job file; nothing for a run of another ledger.
    pub fn plan_of(&self, run: &str) -> Result<Option<(Option<String>, String)>, Error> {
        let query = "SELECT plan_digest, job_text FROM runs WHERE run = ?1";
        self.connection.query_row(query, [run], |row| Ok((row.get(0)?, row.get(1)?))).optional().map_err(self.wrong())
    }

    /// The ids of the runs that began last, the newest first.
    pub fn newest_runs(&self, count: usize) -> Result<Vec<String>, Error> {
        self.runs("SELECT run FROM runs ORDER BY rowid DESC LIMIT ?1", [i64::try_from(count).unwrap_or(i64::MAX)])
    }

    /// The runs that began after the first one whose id lies between `oldest` and `newest`, and that one.
    pub fn runs_since(&self, oldest: &str, newest: &str) -> Result<BTreeSet<String>, Error> {
        let query = "SELECT run FROM runs WHERE rowid >= (SELECT min(rowid) FROM runs WHERE run >= ?1 AND run <= ?2)";
        self.runs(query, [oldest, newest])
    }

    fn runs<R: FromIterator<String>>(&self, query: &str, parameters: impl rusqlite::Params) -> Result<R, Error> {
        let wrong = self.wrong();
        let mut statement = self.connection.prepare(query).map_err(&wrong)?;
        statement.query_map(parameters, |row| row.get(0)).and_then(Iterator::collect).map_err(&wrong)
    }

    /// Journals changes as sent, before they are.
    pub fn sent(&self, run: &str, changes: &[Change]) -> Result<(), Error> {
        let wrong = self.wrong();
        let transaction = self.connection.unchecked_transaction().map_err(&wrong)?;
        {
            let mut insert =
                transaction.prepare("INSERT INTO journal (run, number, system, record, key, action) VALUES (?1, ?2, ?3, ?4, ?5, ?6)").map_err(&wrong)?;
            for change in changes {
                insert
                    .execute(params![
                        run,
                        change.number,
                        change.system,
                        i64::try_from(change.record).unwrap_or(i64::MAX),
                        change.key,
                        change.action.to_string()
                    ])
                    .map_err(&wrong)?;
            }
        }
        transaction.commit().map_err(&wrong)
    }

    /// Journals that a call of a system is about to be made again.
    pub fn retrying(&self, run: &str, retry: &Retry<'_>) -> Result<(), Error> {
        let wait_ms = i64::try_from(retry.wait_ms).unwrap_or(i64::MAX);
        let cells = params![run, retry.system, retry.call, retry.tries, wait_ms, retry.reason];
        self.connection.execute("INSERT INTO retries VALUES (?1, ?2, ?3, ?4, ?5, ?6)", cells).map_err(self.wrong())?;
        Ok(())
    }

    /// Journals what became of changes that were sent.
    pub fn outcomes<'a>(&self, run: &str, outcomes: impl IntoIterator<Item = (u32, &'a Outcome)>) -> Result<(), Error> {
        let wrong = self.wrong();
        let transaction = self.connection.unchecked_transaction().map_err(&wrong)?;
        {
            let mut update = transaction.prepare("UPDATE journal SET outcome = ?3 WHERE run = ?1 AND number = ?2").map_err(&wrong)?;
            for (number, outcome) in outcomes {
                let json = serde_json::to_string(outcome).map_err(|e| damaged(&self.path, &e.to_string()))?;
                update.execute(params![run, number, json]).map_err(&wrong)?;
            }
        }
        transaction.commit().map_err(&wrong)
    }

    /// Makes a run's state the state of the job: one transaction.
    pub fn promote(&self, promotion: Promotion<'_>) -> Result<(), Error> {
        let wrong = self.wrong();
        let json = |value: &dyn erased::Json| value.json().map_err(|e| damaged(&self.path, &e));
        let transaction = self.connection.unchecked_transaction().map_err(&wrong)?;
        let Promotion { run, settles, knowledge, breaks, stakes, asks, answered, holds, fates, decisions, links, retention, now } = promotion;
        transaction.execute("UPDATE runs SET status = 'promoted', knowledge = ?2 WHERE run = ?1", params![run, json(knowledge)?]).map_err(&wrong)?;
        transaction.execute("INSERT INTO promoted VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET run = excluded.run", [run]).map_err(&wrong)?;
        for cut_off in settles {
            let settled = format!("settled by run {run}");
            transaction
                .execute(
                    "UPDATE runs SET status = 'interrupted', verdict = 'FAILED', sentence = coalesce(sentence, 'cut off while it wrote') || '; ' || ?2
                     WHERE run = ?1",
                    params![cut_off, settled],
                )
                .map_err(&wrong)?;
        }
        let job = self.job();
        {
            let read = knowledge.snapshots.iter().map(|(system, place)| (system, &place.sha256));
            let mut insert =
                transaction.prepare("INSERT INTO files VALUES (?1, ?2, ?3) ON CONFLICT (system, sha256) DO UPDATE SET run = excluded.run").map_err(&wrong)?;
            for (system, sha256) in read.chain(&knowledge.left) {
                insert.execute(params![system, sha256, run]).map_err(&wrong)?;
            }
            let mut update = transaction.prepare("UPDATE journal SET settled = ?3, detail = ?4, made = ?5 WHERE run = ?1 AND number = ?2").map_err(&wrong)?;
            for (of, fates) in fates {
                for (number, fate) in *fates {
                    update.execute(params![of, number, fate.settled.to_string(), fate.detail, fate.made]).map_err(&wrong)?;
                }
            }
            answers::note(&transaction, answered, now).map_err(&wrong)?;
            answers::hold(&transaction, run, holds, now).map_err(&wrong)?;
            let mut known = transaction.prepare("SELECT body FROM breaks WHERE id = ?1 AND cleared_run IS NULL").map_err(&wrong)?;
            let mut event = transaction.prepare("INSERT INTO break_events VALUES (?1, ?2, ?3, ?4, ?5)").map_err(&wrong)?;
            let mut insert = transaction
                .prepare(
                    "INSERT INTO breaks (id, first_run, first_seen, last_run, body) VALUES (?1, ?2, ?3, ?2, ?4)
                     ON CONFLICT (id) DO UPDATE SET last_run = excluded.last_run, body = excluded.body,
                         first_run = CASE WHEN cleared_run IS NULL THEN first_run ELSE excluded.first_run END,
                         first_seen = CASE WHEN cleared_run IS NULL THEN first_seen ELSE excluded.first_seen END,
                         cleared_run = NULL",
                )
                .map_err(&wrong)?;
            for open in breaks {
                let id = open.id(&job);
                let stake = stakes.get(&id);
                let before: Option<String> = known.query_row([&id], |row| row.get(0)).optional().map_err(&wrong)?;
                let asked = || before.as_ref().and_then(|body| serde_json::from_str::<StakeBody>(body).ok()?.ask);
                let ask = asks.get(&id).cloned().or_else(asked);
                let (amount, currency) = (stake.map(|(amount, _)| amount), stake.map(|(_, currency)| currency.as_str()));
                let body = json(&BreakBody { open, amount, currency, ask: ask.as_ref() })?;
                if before.as_ref() != Some(&body) {
                    event.execute(params![run, id, open.key, if before.is_some() { "changed" } else { "opened" }, body]).map_err(&wrong)?;
                }
                insert.execute(params![id, run, now, body]).map_err(&wrong)?;
            }
            let gone = "INSERT INTO break_events SELECT ?1, id, coalesce(json_extract(body, '$.key'), ''), 'cleared', NULL
                 FROM breaks WHERE cleared_run IS NULL AND last_run <> ?1 ORDER BY id";
            transaction.execute(gone, [run]).map_err(&wrong)?;
            transaction.execute("UPDATE breaks SET cleared_run = ?1 WHERE cleared_run IS NULL AND last_run <> ?1", [run]).map_err(&wrong)?;
            let mut insert = transaction.prepare("INSERT INTO discarded VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)").map_err(&wrong)?;
            for decision in decisions {
                for lost in &decision.overridden {
                    let record = i64::try_from(decision.record).unwrap_or(i64::MAX);
                    let cells = params![
                        run,
                        record,
                        decision.key,
                        decision.field,
                        lost.system,
                        json(&lost.value)?,
                        json(&decision.value)?,
                        decision.reason.to_string()
                    ];
                    insert.execute(cells).map_err(&wrong)?;
                }
            }
            let mut insert = transaction.prepare("INSERT INTO links VALUES (?1, ?2, ?3, ?4, ?5)").map_err(&wrong)?;
            for link in links {
                insert.execute(params![run, link.system, i64::try_from(link.record).unwrap_or(i64::MAX), link.key, link.event]).map_err(&wrong)?;
            }
        }
        chain::remove(&transaction, run, retention).map_err(&wrong)?;
        transaction.commit().map_err(&wrong)
    }

    /// The job's name: the name of its folder.
    fn job(&self) -> String {
        self.path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Notes how a run ended. One that is still open is closed as stopped, if it sent nothing; one that did, and could not leave its
    /// state, stays open as if it had been killed, so that the next run settles it.
    fn end(&self, run: &str, ending: &Ending<'_>) -> Result<(), Error> {
        self.connection
            .execute(
                "UPDATE runs SET verdict = ?2, exit_code = ?3, sentence = ?4, status =
                     CASE WHEN status = 'running' AND NOT EXISTS (SELECT 1 FROM journal WHERE journal.run = runs.run) THEN 'stopped' ELSE status END
                 WHERE run = ?1",
                params![run, ending.verdict, ending.exit_code, ending.sentence],
            )
            .map_err(self.wrong())?;
        Ok(())
    }

    /// Notes that a run is done with everything, its report among it. Until then it counts as cut off.
    pub fn finish(&self, run: &str, ending: &Ending<'_>) -> Result<(), Error> {
        self.end(run, ending)?;
        self.connection.execute("UPDATE runs SET finished = ?2 WHERE run = ?1", params![run, ending.now]).map_err(self.wrong())?;
        Ok(())
    }

    /// The breaks that were open after the last promoted run, by id.
    pub fn open_breaks(&self) -> Result<BTreeMap<String, KnownBreak>, Error> {
        let wrong = self.wrong();
        let mut statement = self.connection.prepare("SELECT id, first_run, first_seen, body FROM breaks WHERE cleared_run IS NULL").map_err(&wrong)?;
        let rows = statement
            .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get::<_, String>(3)?)))
            .map_err(&wrong)?;
        let mut known = BTreeMap::new();
        for row in rows {
            let (id, first_run, first_seen, body) = row.map_err(&wrong)?;
            let unreadable = |e: serde_json::Error| damaged(&self.path, &format!("break {id}: {e}"));
            let open = serde_json::from_str(&body).map_err(unreadable)?;
            let StakeBody { amount, currency, ask } = serde_json::from_str(&body).map_err(unreadable)?;
            known.insert(id.clone(), KnownBreak { id, first_run, first_seen, open, amount, currency, ask });
        }
        Ok(known)
    }

    /// The last run that was more than a plan; nothing if there was none.
    pub fn last_run(&self) -> Result<Option<HistoryLine>, Error> {
        let query = format!("SELECT {HISTORY_LINE} FROM runs WHERE command <> 'plan' ORDER BY rowid DESC LIMIT 1");
        self.connection.query_row(&query, [], history_line).optional().map_err(self.wrong())
    }

    /// How many breaks are open after the last promoted run.
    pub fn breaks_open(&self) -> Result<u64, Error> {
        let count: i64 = self.connection.query_row("SELECT count(*) FROM breaks WHERE cleared_run IS NULL", [], |row| row.get(0)).map_err(self.wrong())?;
        Ok(count.unsigned_abs())
    }

    /// The last runs that are wanted, at most so many, newest first.
    pub fn history(&self, most: usize, is_wanted: impl Fn(&HistoryLine) -> bool) -> Result<Vec<HistoryLine>, Error> {
        let wrong = self.wrong();
        let mut statement = self.connection.prepare(&format!("SELECT {HISTORY_LINE} FROM runs ORDER BY rowid DESC")).map_err(&wrong)?;
        let rows = statement.query_map([], history_line).map_err(&wrong)?;
        rows.filter(|line| line.as_ref().map_or(true, &is_wanted)).take(most).collect::<Result<_, _>>().map_err(&wrong)
    }
}

/// The columns of a [`HistoryLine`]. A run that is sealed and has no report yet was cut off if it does not go on.
const HISTORY_LINE: &str = "run, command, status, CASE WHEN finished IS NULL AND status <> 'interrupted' THEN NULL ELSE verdict END, sentence, started";

/// A row of run, command, status, verdict, sentence, start.
fn history_line(row: &rusqlite::Row<'_>) -> rusqlite::Result<HistoryLine> {
    Ok(HistoryLine { run: row.get(0)?, command: row.get(1)?, status: row.get(2)?, verdict: row.get(3)?, sentence: row.get(4)?, started: row.get(5)? })
}

mod erased {
    /// Something that has a JSON text.
    pub trait Json {
        /// The text.
        fn json(&self) -> Result<String, String>;
    }

    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> Result<String, String> {
            serde_json::to_string(self).map_err(|e| e.to_string())
        }
    }
}

fn damaged(path: &Path, seen: &str) -> Error {
    Error::new(Remedy::Look, Place::of(path.display().to_string()), "the ledger is damaged")
        .seen(seen.to_owned())
        .seen("nothing was written")
        .hint("put the job's state folder back from a backup; without one, move it away: the next run is a first contact and deletes nothing")
}

fn refuse(path: &Path, error: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    let place = || Place::of(path.display().to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(path, &error.to_string()),
        Some(ErrorCode::DiskFull) => {
            Error::new(Remedy::GiveAccess, place(), "the disk is full: the ledger cannot be written").hint("make room, then run again: nothing is lost")
        }
        Some(ErrorCode::SystemIoFailure) => Error::new(Remedy::GiveAccess, place(), "the ledger cannot be read or written: the disk is full, or fails")
            .seen(error.to_string())
            .hint("look after the disk of the state folder, then run again: nothing is lost"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Error::new(Remedy::GiveAccess, place(), "the ledger is in use by another program").hint("close the program that reads it, then run again")
        }
        _ => Error::new(Remedy::GiveAccess, place(), "the ledger cannot be used").seen(error.to_string()).hint("check the state folder's permissions"),
    }
}
