//! Files: replace, sync, lock, digest.
