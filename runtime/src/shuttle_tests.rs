//! The whole threads driver in orders drawn by shuttle: `make shuttle`.
//!
//! Workers, their queues, inbox, stealing, parking, timers, mailboxes, supervision and the blocking
//! pool are the real ones; what stands in for the machine is in `sync::by_shuttle`. Whoever waits
//! for something that never comes is a deadlock, which shuttle reports; a cell that two threads are
//! in, and one that is never given back, are found by the seam.
//!
//! Each model runs [`RUNS`] times with a thread drawn at each step and as often by random
//! priorities with few changes (PCT), or as often as `SHUTTLE_RUNS` says; from the same seed, or
//! that of `SHUTTLE_RANDOM_SEED`.

mod models;
mod world;

/// How often a model runs in each of the two ways.
const RUNS: usize = 3_000;
