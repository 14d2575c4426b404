//! Sends mail: for now, into the outbox folder.
