//! The chain of hashes over the runs of a ledger.
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
INSERT INTO break_events SELECT cleared_run, id, coalesce(json_extract(body, '$.key'), ''), 'cleared', NULL FROM breaks WHERE cleared_run IS NOT NULL ORDER BY rowid;
CREATE INDEX break_events_by_key ON break_events (key);
";
