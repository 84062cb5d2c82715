//! `Mine` commands at work, one block each in turn, so that a million blocks do not hold up one.
//!
//! Pure.
//!
//! # Invariants
//!
//! - M1: a job ends once: with as many durable hashes as it asked for, or given up.
//! - M2: blocks owed to all jobs together stay within `MINE_BLOCKS_OWED_MAX`.

use std::collections::{BTreeMap, VecDeque};

use alloy_primitives::B256;
use evenkeel_chain::{CommandError, limits::MINE_BLOCKS_MAX};

use crate::limits::{MINE_BLOCKS_OWED_MAX, MINE_FAILURES_MAX, MINE_JOBS_MAX};

#[derive(Debug)]
struct Job {
    blocks: u64,
    interval_secs: u64,
    built: u64,
    /// Of those that are durable.
    hashes: Vec<B256>,
    /// In a row.
    failures: u32,
}

/// All jobs, by ticket.
#[derive(Debug, Default)]
pub(super) struct MineJobs {
    jobs: BTreeMap<u64, Job>,
    /// Those with blocks to build; the next one first.
    turns: VecDeque<u64>,
    owed: u64,
}

impl MineJobs {
    /// Takes a job on. `blocks` must be positive.
    pub(super) fn add(
        &mut self,
        ticket: u64,
        blocks: u64,
        interval_secs: u64,
    ) -> Result<(), CommandError> {
        assert!(blocks > 0, "a job of no blocks would never end");
        if blocks > MINE_BLOCKS_MAX {
            return Err(CommandError::TooManyBlocks { found: blocks, limit: MINE_BLOCKS_MAX });
        }
        // M2.
        if self.jobs.len() >= MINE_JOBS_MAX || self.owed + blocks > MINE_BLOCKS_OWED_MAX {
            return Err(CommandError::Busy);
        }
        self.owed += blocks;
        let job = Job { blocks, interval_secs, built: 0, hashes: Vec::new(), failures: 0 };
        let former = self.jobs.insert(ticket, job);
        assert!(former.is_none(), "tickets are used once");
        self.turns.push_back(ticket);
        Ok(())
    }

    /// Whose block is to be built next, and its seconds after the one before it.
    pub(super) fn next(&self) -> Option<(u64, u64)> {
        let ticket = *self.turns.front()?;
        Some((ticket, self.jobs[&ticket].interval_secs))
    }

    /// A block of the job was finalized: the turn goes to the next job.
    pub(super) fn built(&mut self, ticket: u64) {
        let job = self.jobs.get_mut(&ticket).expect("a job with a build stays until it ends");
        job.built += 1;
        job.failures = 0;
        assert_eq!(self.turns.pop_front(), Some(ticket), "blocks are built in turn");
        if job.built < job.blocks {
            self.turns.push_back(ticket);
        }
    }

    /// A block of the job is durable; returns all hashes if it was the last. M1.
    pub(super) fn applied(&mut self, ticket: u64, hash: B256) -> Option<Vec<B256>> {
        // A job that was given up has no use for its last blocks.
        let job = self.jobs.get_mut(&ticket)?;
        job.hashes.push(hash);
        if (job.hashes.len() as u64) < job.blocks {
            return None;
        }
        let job = self.jobs.remove(&ticket)?;
        self.owed -= job.blocks;
        Some(job.hashes)
    }

    /// A build of the job failed; returns true if that was once too often and the job is gone. M1.
    pub(super) fn failed(&mut self, ticket: u64) -> bool {
        let job = self.jobs.get_mut(&ticket).expect("a job with a build stays until it ends");
        job.failures += 1;
        let is_given_up = job.failures >= MINE_FAILURES_MAX;
        if is_given_up {
            self.owed -= job.blocks;
            self.jobs.remove(&ticket);
            self.turns.retain(|other| *other != ticket);
        }
        is_given_up
    }
}
