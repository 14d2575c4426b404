//! The conformance suite of every kind of system.
