//! Ledger, bases, snapshots, promotion.
