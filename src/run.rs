//! One run of one job.
