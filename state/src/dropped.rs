//! What reverts took from the chain, for readers who had seen it: bounded, in memory, published
//! with [`Durable`](crate::Durable).
//!
//! Pure. A restart begins with an empty record: nobody who reads has seen more.
//!
//! # Invariants
//!
//! - R1: reverts are in the order of their generations, and none of this process is left out: what
//!   does not fit is merged, and says that its logs are lost.
//! - R2: what is known of a revert are its highest blocks: a log is known if it is above
//!   [`Revert::lost_to`].

use std::{collections::VecDeque, sync::Arc};

use alloy_primitives::{B256, Bloom, Log};
use evenkeel_chain::{Header, Height, Receipt, SealedBlock};

use crate::limits::{
    DROPPED_BLOCKS_MAX, DROPPED_BYTES_MAX, DROPPED_LOG_BYTES, DROPPED_REVERTS_MAX,
};

/// The reverts that readers may not have followed yet. A clone is cheap.
#[derive(Clone, Default)]
pub struct Dropped(Arc<VecDeque<Arc<Revert>>>);

/// One way back.
#[derive(Debug)]
pub struct Revert {
    /// The generation that began with it.
    pub generation: u64,
    /// The last block that was kept.
    pub kept: Height,
    /// Blocks up to this one may have had logs that are forgotten; `None` if none are.
    pub lost_to: Option<Height>,
    /// Lowest first.
    blocks: VecDeque<Arc<DroppedBlock>>,
}

/// A block with logs that is no longer in the chain.
#[derive(Debug)]
pub struct DroppedBlock {
    /// Its height.
    pub height: Height,
    /// Its hash.
    pub hash: B256,
    /// Seconds since the Unix epoch.
    pub timestamp: u64,
    /// Of all its logs.
    pub bloom: Bloom,
    /// In the order of the block.
    pub logs: Vec<DroppedLog>,
    bytes: usize,
}

/// A log with the transaction it is of.
#[derive(Debug)]
pub struct DroppedLog {
    /// Of the transaction.
    pub tx_hash: B256,
    /// Position of the transaction in its block, from 0.
    pub tx_index: u64,
    /// The log.
    pub log: Log,
}

impl Dropped {
    /// The first revert that a reader of `generation` has not followed. O(log reverts).
    #[must_use]
    pub fn after(&self, generation: u64) -> Option<&Arc<Revert>> {
        self.0.get(self.0.partition_point(|revert| revert.generation <= generation))
    }

    /// The last block that a reader of `generation`, who has seen the chain up to `seen`, surely
    /// shares with it. O(reverts since).
    #[must_use]
    pub fn shared(&self, generation: u64, seen: Height) -> Height {
        let first = self.0.partition_point(|revert| revert.generation <= generation);
        self.0.range(first..).fold(seen, |seen, revert| seen.min(revert.kept))
    }

    /// The record with one more revert; the oldest are forgotten for it. O(reverts).
    pub(crate) fn with(&self, revert: Revert) -> Self {
        let mut reverts = VecDeque::clone(&self.0);
        reverts.push_back(Arc::new(revert));
        let count = |reverts: &VecDeque<Arc<Revert>>| {
            let blocks = reverts.iter().flat_map(|revert| &revert.blocks);
            blocks.fold((0, 0), |(count, bytes), block| (count + 1, bytes + block.bytes))
        };
        let (mut blocks, mut bytes) = count(&reverts);
        for revert in &mut reverts {
            if blocks <= DROPPED_BLOCKS_MAX && bytes <= DROPPED_BYTES_MAX {
                break;
            }
            blocks -= revert.blocks.len();
            bytes -= revert.blocks.iter().map(|block| block.bytes).sum::<usize>();
            *revert = Arc::new(revert.forgotten());
        }
        while reverts.len() > DROPPED_REVERTS_MAX {
            let oldest = reverts.pop_front().expect("there are more than none");
            let next = reverts.front_mut().expect("there are more than one");
            *next = Arc::new(oldest.merged(next));
        }
        Self(Arc::new(reverts))
    }
}

impl Revert {
    /// The lowest dropped block with logs from `height` on, of those that are known.
    #[must_use]
    pub fn block_from(&self, height: Height) -> Option<&Arc<DroppedBlock>> {
        self.blocks.get(self.blocks.partition_point(|block| block.height < height))
    }

    /// The same without its logs.
    fn forgotten(&self) -> Self {
        let highest = self.blocks.back().map(|block| block.height);
        let lost_to = highest.or(self.lost_to);
        Self { lost_to, blocks: VecDeque::new(), ..*self }
    }

    /// This revert and the `next` as one, for readers who have followed neither or one of both.
    fn merged(&self, next: &Self) -> Self {
        Self {
            generation: next.generation,
            kept: self.kept.min(next.kept),
            // What was mined between the two is not known, so anything may be lost.
            lost_to: Some(Height::new(u64::MAX)),
            blocks: VecDeque::new(),
        }
    }
}

/// A revert as it is gathered: from the head downwards.
pub(crate) struct Gathering {
    blocks: VecDeque<Arc<DroppedBlock>>,
    bytes: usize,
    lost_to: Option<Height>,
}

impl Gathering {
    pub(crate) fn new() -> Self {
        Self { blocks: VecDeque::new(), bytes: 0, lost_to: None }
    }

    /// Whether the receipts of the block with `header` are of use.
    pub(crate) fn wants(&self, header: &Header) -> bool {
        self.lost_to.is_none() && !header.logs_bloom.is_zero()
    }

    /// Takes a wanted block, which is below those that it was given before. Once one does not fit,
    /// no other is wanted (R2).
    pub(crate) fn push(&mut self, block: &SealedBlock, receipts: &[Receipt]) {
        let dropped = DroppedBlock::new(block, receipts);
        let bytes = self.bytes + dropped.bytes;
        if self.blocks.len() >= DROPPED_BLOCKS_MAX || bytes > DROPPED_BYTES_MAX {
            self.lost_to = Some(dropped.height);
            return;
        }
        self.bytes = bytes;
        self.blocks.push_front(Arc::new(dropped));
    }

    pub(crate) fn finish(self, generation: u64, kept: Height) -> Revert {
        Revert { generation, kept, lost_to: self.lost_to, blocks: self.blocks }
    }
}

impl DroppedBlock {
    fn new(block: &SealedBlock, receipts: &[Receipt]) -> Self {
        let mut logs = Vec::new();
        for ((tx, receipt), tx_index) in block.txs.iter().zip(receipts).zip(0..) {
            let of_tx = receipt.logs.iter().cloned();
            logs.extend(of_tx.map(|log| DroppedLog { tx_hash: *tx.hash(), tx_index, log }));
        }
        let data: usize = logs.iter().map(|dropped| dropped.log.data.data.len()).sum();
        Self {
            height: block.height(),
            hash: block.hash,
            timestamp: block.header.timestamp,
            bloom: block.header.logs_bloom,
            bytes: DROPPED_LOG_BYTES * (2 + logs.len()) + data,
            logs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(height: u64, bytes: usize) -> Arc<DroppedBlock> {
        Arc::new(DroppedBlock {
            height: Height::new(height),
            hash: B256::ZERO,
            timestamp: 0,
            bloom: Bloom::ZERO,
            logs: Vec::new(),
            bytes,
        })
    }

    fn revert(generation: u64, kept: u64, blocks: &[u64], bytes: usize) -> Revert {
        Revert {
            generation,
            kept: Height::new(kept),
            lost_to: None,
            blocks: blocks.iter().map(|&height| block(height, bytes)).collect(),
        }
    }

    /// Goal: R1 and R2 at both bounds: nobody who sleeps is told less than that logs are lost.
    #[test]
    fn what_does_not_fit_says_so() {
        let half = DROPPED_BYTES_MAX / 2;
        let mut dropped = Dropped::default();
        assert!(dropped.after(0).is_none());
        dropped = dropped.with(revert(1, 10, &[12, 14], half / 2));
        dropped = dropped.with(revert(2, 9, &[10], half));
        let first = dropped.after(0).expect("it is kept");
        assert_eq!((first.generation, first.lost_to), (1, None));
        let found = |from| first.block_from(Height::new(from)).map(|block| block.height.get());
        assert_eq!([11, 12, 13, 15].map(found), [Some(12), Some(12), Some(14), None]);

        dropped = dropped.with(revert(3, 20, &[21], 1));
        let first = dropped.after(0).expect("it is kept");
        assert_eq!((first.kept.get(), first.lost_to), (10, Some(Height::new(14))));
        assert!(first.block_from(Height::new(0)).is_none());
        let shared = |generation| dropped.shared(generation, Height::new(17)).get();
        assert_eq!([0, 1, 2, 3].map(shared), [9, 9, 17, 17]);
        let second = dropped.after(1).expect("it is kept");
        assert!(second.block_from(Height::new(0)).is_some(), "what fits is kept");

        for generation in 4..=DROPPED_REVERTS_MAX as u64 + 1 {
            dropped = dropped.with(revert(generation, 30, &[], 0));
        }
        let merged = dropped.after(0).expect("it is kept");
        assert_eq!((merged.generation, merged.kept.get()), (2, 9));
        assert_eq!(merged.lost_to, Some(Height::new(u64::MAX)));
        assert_eq!(dropped.after(1).map(|revert| revert.generation), Some(2));
        assert_eq!(dropped.after(2).map(|revert| revert.generation), Some(3));
    }
}
