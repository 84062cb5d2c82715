//! The rules of a chain as they follow each other in time, each with its fork id.
//!
//! Pure. Source: EIP-2124 and EIP-6122 (fork hashes), EIP-7910 (what tools ask for).

use std::collections::BTreeSet;

use alloy_consensus::Header;
use alloy_eips::{eip2124::ForkHash, eip7840::BlobParams};
use alloy_primitives::{B256, FixedBytes};

use crate::{
    fork::Fork,
    id::Height,
    spec::{Activation, ChainSpec},
};

/// Rules that hold from one time to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Era {
    /// When they begin, in seconds since the Unix epoch; zero if with the first block.
    pub activation_time: u64,
    /// The newest fork in them.
    pub fork: Fork,
    /// Blob parameters; none before Cancun.
    pub blobs: Option<BlobParams>,
    /// Checksum of the genesis and of all forks up to here.
    pub fork_hash: FixedBytes<4>,
}

impl ChainSpec {
    /// All eras by time; at least one. `genesis` is the hash of the first block.
    ///
    /// Forks by height are taken as passed: a chain with forks by time has London behind it (S1).
    /// O(forks squared).
    #[must_use]
    pub fn eras(&self, genesis: B256) -> Vec<Era> {
        let mut heights = BTreeSet::new();
        // Of parameters that change without a fork of their own the time counts as one, as in geth.
        let mut times: BTreeSet<u64> = self.blobs.iter().map(|(start, _)| *start).collect();
        for start in self.forks.values() {
            match *start {
                Activation::Height(height) => heights.insert(height),
                Activation::Timestamp(time) => times.insert(time),
                // EIP-6122: the height was not known beforehand, so it is in no fork id.
                Activation::TotalDifficulty(_) => false,
            };
        }
        let mut fork_hash = ForkHash::from(genesis);
        // EIP-2124: what holds from the first block on is part of the genesis.
        for height in heights.into_iter().filter(|height| *height > self.genesis.number) {
            fork_hash += height;
        }
        let mut eras = vec![self.era(0, self.genesis.timestamp, fork_hash)];
        for time in times.into_iter().filter(|time| *time > self.genesis.timestamp) {
            fork_hash += time;
            eras.push(self.era(time, time, fork_hash));
        }
        eras
    }

    /// The rules that come after those of the block with this header: those of the schedule's next
    /// activation, and where it has none, of the next fork in [`Fork::ALL`]. None after the last
    /// fork. O(number of forks).
    #[must_use]
    pub fn fork_after(&self, header: &Header) -> Option<Fork> {
        let active = self.fork_of(header);
        let is_later = |fork: &Fork| *fork > active;
        // S1: what comes first in the order of the forks comes first on the chain.
        let Some((_, start)) = self.forks.iter().find(|(fork, _)| is_later(fork)) else {
            return Fork::ALL.into_iter().find(is_later);
        };
        // More than one may begin there.
        let height = Height::new(header.number);
        Some(match *start {
            // Of a block of proof of work the time says nothing.
            Activation::Height(start)
                if self.terminal_total_difficulty().is_some() && !header.difficulty.is_zero() =>
            {
                self.fork_by_height(Height::new(start))
            }
            Activation::Height(start) => self.fork_at(Height::new(start), header.timestamp),
            Activation::Timestamp(start) => self.fork_at(height, start),
            Activation::TotalDifficulty(_) => {
                self.fork_at(height, header.timestamp).max(Fork::Paris)
            }
        })
    }

    fn era(&self, activation_time: u64, at: u64, fork_hash: ForkHash) -> Era {
        let fork = self.fork_at(Height::new(u64::MAX), at);
        let blobs = (fork >= Fork::Cancun).then(|| self.blob_params(at));
        Era { activation_time, fork, blobs, fork_hash: fork_hash.0.into() }
    }
}
