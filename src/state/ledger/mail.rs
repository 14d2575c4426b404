//! The queue of mails: one mail a run, as it will be sent, and what became of it for each of its recipients.
//!
//! A mail is queued before it is tried, by the run that holds the lock. It is tried without the lock, by whoever comes first:
//! that one *claims* it for as long as a try may take, so that two programs do not send it at once. A claim that was never
//! given back, because its program was killed, ends by itself.
//!
//! A recipient is *waiting* until the mail is `sent` (a server took it) or in the `outbox`, `refused` by the server for good,
//! or `given-up`. The message is dropped when nobody waits for it any more. Times are seconds since 1970.

use rusqlite::params;

use super::{Ledger, damaged};
use crate::error::Error;

/// Replaces the table of mails that were only put into the outbox.
pub(super) const MIGRATION: &str = "
ALTER TABLE mail RENAME TO mail_before;
CREATE TABLE mail (
    number INTEGER PRIMARY KEY,
    run TEXT NOT NULL UNIQUE,
    verdict TEXT NOT NULL,
    exit_code INTEGER NOT NULL,
    why TEXT NOT NULL,              -- why it was due
    sender TEXT NOT NULL,
    message BLOB,                   -- null once nobody waits for it
    queued INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next INTEGER NOT NULL,          -- not tried by itself before
    claimed_until INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE recipients (
    mail INTEGER NOT NULL REFERENCES mail (number),
    address TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'sent', 'outbox', 'refused', 'given-up')),
    said TEXT,                      -- the answer of the server, or what went wrong
    settled INTEGER,
    told TEXT,                      -- the run whose report tells that it did not arrive
    PRIMARY KEY (mail, address)
) STRICT, WITHOUT ROWID;
CREATE INDEX recipients_waiting ON recipients (mail) WHERE state = 'waiting';
INSERT INTO mail (run, verdict, exit_code, why, sender, queued, next)
    SELECT run, coalesce(runs.verdict, 'FAILED'), coalesce(runs.exit_code, 3), 'always', '', coalesce(unixepoch(runs.started), 0), 0
    FROM mail_before LEFT JOIN runs USING (run) ORDER BY run;
INSERT INTO recipients
    SELECT mail.number, 'everybody', CASE state WHEN 'outbox' THEN 'outbox' ELSE 'given-up' END, problem, mail.queued, run
    FROM mail_before JOIN mail USING (run);
DROP TABLE mail_before;
";

/// What became of a mail for one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MailState {
    /// It is tried again.
    Waiting,
    /// A server took it.
    Sent,
    /// It lies in the outbox folder.
    Outbox,
    /// The server will never take it.
    Refused,
    /// It was tried for long enough.
    GivenUp,
}

impl MailState {
    const WORDS: [(&'static str, MailState); 5] = [
        ("waiting", MailState::Waiting),
        ("sent", MailState::Sent),
        ("outbox", MailState::Outbox),
        ("refused", MailState::Refused),
        ("given-up", MailState::GivenUp),
    ];

    /// The word of the ledger.
    pub fn word(self) -> &'static str {
        MailState::WORDS.iter().find(|(_, state)| *state == self).map_or("waiting", |(word, _)| word)
    }

    fn of_word(word: &str) -> Option<MailState> {
        MailState::WORDS.iter().find(|(known, _)| *known == word).map(|(_, state)| *state)
    }
}

/// A mail that is to be queued.
#[derive(Clone, Copy, Debug)]
pub struct NewMail<'a> {
    /// The run that it is about.
    pub run: &'a str,
    /// How that ended.
    pub verdict: &'a str,
    /// Its exit code.
    pub exit_code: u8,
    /// Why the mail is due.
    pub why: &'a str,
    /// The sender, for the envelope.
    pub sender: &'a str,
    /// The recipients.
    pub to: &'a [String],
    /// The message with its headers.
    pub message: &'a [u8],
    /// Now.
    pub now: i64,
}

/// A mail that somebody waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingMail {
    /// Its number.
    pub number: i64,
    /// The run that it is about.
    pub run: String,
    /// The sender, for the envelope.
    pub sender: String,
    /// Whoever still waits for it.
    pub to: Vec<String>,
    /// When it was queued.
    pub queued: i64,
    /// How often it was tried.
    pub attempts: u32,
    /// It is not tried by itself before.
    pub next: i64,
    /// What went wrong the last time.
    pub said: Option<String>,
}

/// What became of a run's mail, all recipients together.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MailOfRun {
    /// The run.
    pub run: String,
    /// How often it was tried.
    pub attempts: u32,
    /// By recipient: the address, what became of it, the answer of the server.
    pub recipients: Vec<RecipientOfMail>,
}

/// What became of a mail for one recipient, and what was said.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RecipientOfMail {
    /// The address.
    pub address: String,
    /// What became of it.
    pub state: MailState,
    /// The answer of the server, or what went wrong.
    pub said: Option<String>,
}

/// A mail that was queued: when, the verdict and exit code of its run, and why it was due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedMail {
    /// When.
    pub queued: i64,
    /// How its run ended.
    pub verdict: String,
    /// The exit code of its run.
    pub exit_code: u8,
    /// Why it was due.
    pub why: String,
}

/// A mail that did not arrive, and no report has told it yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostMail {
    /// Its number.
    pub number: i64,
    /// The run that it is about.
    pub run: String,
    /// Who did not get it.
    pub address: String,
    /// Whether it was refused or given up.
    pub state: MailState,
    /// Why.
    pub said: Option<String>,
}

impl Ledger {
    /// Queues a mail: one transaction. The mail of a run that has one already stays as it is.
    pub fn queue_mail(&self, mail: NewMail<'_>) -> Result<(), Error> {
        let wrong = self.wrong();
        let transaction = self.connection.unchecked_transaction().map_err(&wrong)?;
        let added = transaction
            .execute(
                "INSERT INTO mail (run, verdict, exit_code, why, sender, message, queued, next) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7) ON CONFLICT DO NOTHING",
                params![mail.run, mail.verdict, mail.exit_code, mail.why, mail.sender, mail.message, mail.now],
            )
            .map_err(&wrong)?;
        if added > 0 {
            let number = transaction.last_insert_rowid();
            for address in mail.to {
                transaction
                    .execute("INSERT INTO recipients (mail, address, state) VALUES (?1, ?2, 'waiting') ON CONFLICT DO NOTHING", params![number, address])
                    .map_err(&wrong)?;
            }
        }
        transaction.commit().map_err(&wrong)
    }

    /// The mails that were queued last, at most this many, the oldest first.
    pub fn queued_mails(&self, most: u32) -> Result<Vec<QueuedMail>, Error> {
        let wrong = self.wrong();
        let mut statement = self.connection.prepare("SELECT queued, verdict, exit_code, why FROM mail ORDER BY number DESC LIMIT ?1").map_err(&wrong)?;
        let rows = statement
            .query_map([most], |row| Ok(QueuedMail { queued: row.get(0)?, verdict: row.get(1)?, exit_code: row.get(2)?, why: row.get(3)? }))
            .map_err(&wrong)?;
        let mut mails: Vec<QueuedMail> = rows.collect::<Result<_, _>>().map_err(&wrong)?;
        mails.reverse();
        Ok(mails)
    }

    /// The mails that somebody waits for: those that were tried least come first, then the oldest, so that one that the
    /// server never gets over with does not keep the others from it.
    pub fn waiting_mails(&self) -> Result<Vec<WaitingMail>, Error> {
        let wrong = self.wrong();
        let mut statement = self
            .connection
            .prepare(
                "SELECT number, run, sender, queued, attempts, next, address, said FROM mail JOIN recipients ON recipients.mail = mail.number
                 WHERE state = 'waiting' ORDER BY attempts, number, address",
            )
            .map_err(&wrong)?;
        let mut rows = statement.query([]).map_err(&wrong)?;
        let mut mails: Vec<WaitingMail> = Vec::new();
        while let Some(row) = rows.next().map_err(&wrong)? {
            let number: i64 = row.get(0).map_err(&wrong)?;
            if mails.last().is_none_or(|mail| mail.number != number) {
                mails.push(WaitingMail {
                    number,
                    run: row.get(1).map_err(&wrong)?,
                    sender: row.get(2).map_err(&wrong)?,
                    to: Vec::new(),
                    queued: row.get(3).map_err(&wrong)?,
                    attempts: row.get(4).map_err(&wrong)?,
                    next: row.get(5).map_err(&wrong)?,
                    said: None,
                });
            }
            let (address, said): (String, Option<String>) = (row.get(6).map_err(&wrong)?, row.get(7).map_err(&wrong)?);
            if let Some(mail) = mails.last_mut() {
                mail.to.push(address);
                mail.said = mail.said.take().or(said);
            }
        }
        Ok(mails)
    }

    /// Claims a mail for a try that is over by `until`, and gives the message; nothing if somebody else is at it, or nobody
    /// waits for it any more.
    pub fn claim_mail(&self, number: i64, now: i64, until: i64) -> Result<Option<Vec<u8>>, Error> {
        let wrong = self.wrong();
        let claimed = self
            .connection
            .execute(
                "UPDATE mail SET claimed_until = ?3 WHERE number = ?1 AND claimed_until <= ?2 AND message IS NOT NULL
                 AND EXISTS (SELECT 1 FROM recipients WHERE mail = ?1 AND state = 'waiting')",
                params![number, now, until],
            )
            .map_err(&wrong)?;
        if claimed == 0 {
            return Ok(None);
        }
        self.connection.query_row("SELECT message FROM mail WHERE number = ?1", [number], |row| row.get(0)).map(Some).map_err(&wrong)
    }

    /// Gives a claim back without a try.
    pub fn release_mail(&self, number: i64) -> Result<(), Error> {
        self.connection.execute("UPDATE mail SET claimed_until = 0 WHERE number = ?1", [number]).map_err(self.wrong())?;
        Ok(())
    }

    /// Notes what a try led to, for each recipient that was tried, and gives the claim back: one transaction. `next` is when
    /// it is tried again for those that still wait.
    pub fn mail_tried(&self, number: i64, answers: &[RecipientOfMail], now: i64, next: i64) -> Result<(), Error> {
        let wrong = self.wrong();
        let transaction = self.connection.unchecked_transaction().map_err(&wrong)?;
        transaction
            .execute("UPDATE mail SET attempts = attempts + 1, next = ?2, claimed_until = 0 WHERE number = ?1", params![number, next])
            .map_err(&wrong)?;
        for answer in answers {
            let settled = (answer.state != MailState::Waiting).then_some(now);
            transaction
                .execute(
                    "UPDATE recipients SET state = ?3, said = ?4, settled = ?5 WHERE mail = ?1 AND address = ?2 AND state = 'waiting'",
                    params![number, answer.address, answer.state.word(), answer.said, settled],
                )
                .map_err(&wrong)?;
        }
        transaction
            .execute(
                "UPDATE mail SET message = NULL WHERE number = ?1 AND NOT EXISTS (SELECT 1 FROM recipients WHERE mail = ?1 AND state = 'waiting')",
                [number],
            )
            .map_err(&wrong)?;
        transaction.commit().map_err(&wrong)
    }

    /// The mails that did not arrive and that no report has told yet, the oldest first.
    pub fn lost_mails(&self) -> Result<Vec<LostMail>, Error> {
        let wrong = self.wrong();
        let mut statement = self
            .connection
            .prepare(
                "SELECT number, run, address, state, said FROM mail JOIN recipients ON recipients.mail = mail.number
                 WHERE state IN ('refused', 'given-up') AND told IS NULL ORDER BY number, address",
            )
            .map_err(&wrong)?;
        let mut rows = statement.query([]).map_err(&wrong)?;
        let mut lost = Vec::new();
        while let Some(row) = rows.next().map_err(&wrong)? {
            let state: String = row.get(3).map_err(&wrong)?;
            lost.push(LostMail {
                number: row.get(0).map_err(&wrong)?,
                run: row.get(1).map_err(&wrong)?,
                address: row.get(2).map_err(&wrong)?,
                state: MailState::of_word(&state).unwrap_or(MailState::GivenUp),
                said: row.get(4).map_err(&wrong)?,
            });
        }
        Ok(lost)
    }

    /// Notes that the report of `run` tells that these did not arrive.
    pub fn told_lost_mails(&self, lost: &[LostMail], run: &str) -> Result<(), Error> {
        let wrong = self.wrong();
        let transaction = self.connection.unchecked_transaction().map_err(&wrong)?;
        for mail in lost {
            transaction.execute("UPDATE recipients SET told = ?3 WHERE mail = ?1 AND address = ?2", params![mail.number, mail.address, run]).map_err(&wrong)?;
        }
        transaction.commit().map_err(&wrong)
    }

    /// What became of the mails of the runs from this one on, by run.
    pub fn mails_since(&self, run: &str) -> Result<Vec<MailOfRun>, Error> {
        let wrong = self.wrong();
        let mut statement = self
            .connection
            .prepare(
                "SELECT run, attempts, address, state, said FROM mail JOIN recipients ON recipients.mail = mail.number
                 WHERE run >= ?1 ORDER BY number, address",
            )
            .map_err(&wrong)?;
        let mut rows = statement.query([run]).map_err(&wrong)?;
        let mut mails: Vec<MailOfRun> = Vec::new();
        while let Some(row) = rows.next().map_err(&wrong)? {
            let run: String = row.get(0).map_err(&wrong)?;
            let word: String = row.get(3).map_err(&wrong)?;
            let state = MailState::of_word(&word).ok_or_else(|| damaged(&self.path, &format!("a mail of run {run} is `{word}`")))?;
            if mails.last().is_none_or(|mail| mail.run != run) {
                mails.push(MailOfRun { run, attempts: row.get(1).map_err(&wrong)?, recipients: Vec::new() });
            }
            let recipient = RecipientOfMail { address: row.get(2).map_err(&wrong)?, state, said: row.get(4).map_err(&wrong)? };
            if let Some(mail) = mails.last_mut() {
                mail.recipients.push(recipient);
            }
        }
        Ok(mails)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::open(&folder.path().join("ledger.sqlite")).expect("opens");
        (folder, ledger)
    }

    fn queue(ledger: &Ledger, run: &str, to: &[&str], now: i64) {
        let to: Vec<String> = to.iter().map(|to| (*to).to_owned()).collect();
        let mail = NewMail { run, verdict: "OK", exit_code: 0, why: "always", sender: "tieout@example.com", to: &to, message: b"Subject: x\r\n\r\n", now };
        ledger.queue_mail(mail).expect("queues");
    }

    fn answer(address: &str, state: MailState) -> RecipientOfMail {
        RecipientOfMail { address: address.to_owned(), state, said: Some("said".to_owned()) }
    }

    #[test]
    fn a_mail_waits_for_each_recipient_until_it_is_settled() {
        let (_folder, ledger) = ledger();
        queue(&ledger, "1", &["a@example.com", "b@example.com", "c@example.com"], 100);
        queue(&ledger, "1", &["d@example.com"], 200);
        let waiting = ledger.waiting_mails().expect("lists");
        assert_eq!((waiting.len(), waiting[0].to.len(), waiting[0].next), (1, 3, 100), "the mail of a run is queued once");
        let number = waiting[0].number;
        assert!(ledger.claim_mail(number, 100, 130).expect("claims").is_some());
        let answers = [answer("a@example.com", MailState::Sent), answer("b@example.com", MailState::Refused), answer("c@example.com", MailState::Waiting)];
        ledger.mail_tried(number, &answers, 110, 170).expect("notes");
        let waiting = ledger.waiting_mails().expect("lists");
        assert_eq!((waiting[0].to.as_slice(), waiting[0].attempts, waiting[0].next), (&["c@example.com".to_owned()][..], 1, 170));
        assert_eq!(waiting[0].said.as_deref(), Some("said"));
        ledger.mail_tried(number, &[answer("a@example.com", MailState::Refused), answer("c@example.com", MailState::GivenUp)], 200, 300).expect("notes");
        assert!(ledger.waiting_mails().expect("lists").is_empty());
        assert_eq!(ledger.claim_mail(number, 400, 500).expect("asks"), None, "its message is dropped");
        let lost: Vec<(String, MailState)> = ledger.lost_mails().expect("lists").into_iter().map(|lost| (lost.address, lost.state)).collect();
        assert_eq!(lost, [("b@example.com".to_owned(), MailState::Refused), ("c@example.com".to_owned(), MailState::GivenUp)], "what was sent stays sent");
        ledger.told_lost_mails(&ledger.lost_mails().expect("lists"), "2").expect("notes");
        assert!(ledger.lost_mails().expect("lists").is_empty(), "told once");
        assert_eq!(ledger.mails_since("0").expect("lists")[0].recipients.len(), 3);
    }

    #[test]
    fn a_claim_keeps_others_away_until_it_ends() {
        let (folder, first) = ledger();
        queue(&first, "1", &["a@example.com"], 100);
        let number = first.waiting_mails().expect("lists")[0].number;
        let second = Ledger::open(&folder.path().join("ledger.sqlite")).expect("opens");
        assert!(first.claim_mail(number, 100, 160).expect("claims").is_some());
        assert!(second.claim_mail(number, 159, 220).expect("asks").is_none());
        assert!(second.claim_mail(number, 160, 220).expect("claims").is_some(), "whoever claimed it was killed");
        second.release_mail(number).expect("gives back");
        assert!(first.claim_mail(number, 161, 220).expect("claims").is_some());
        assert_eq!(first.waiting_mails().expect("lists")[0].attempts, 0, "a claim is no try");
    }

    #[test]
    fn what_was_tried_least_comes_first() {
        let (_folder, ledger) = ledger();
        for run in ["1", "2", "3"] {
            queue(&ledger, run, &["a@example.com"], 100);
        }
        let number = ledger.waiting_mails().expect("lists")[0].number;
        ledger.mail_tried(number, &[answer("a@example.com", MailState::Waiting)], 110, 120).expect("notes");
        let order: Vec<String> = ledger.waiting_mails().expect("lists").into_iter().map(|mail| mail.run).collect();
        assert_eq!(order, ["2", "3", "1"]);
    }
}
