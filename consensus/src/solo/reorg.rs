//! A reorg: other blocks in the place of the last ones, as where two nodes had not agreed.
//!
//! Pure. `Branch` -> `Branched` -> `Reorg` -> `Reorged`, all within one barrier: the chain stays as
//! it is until the executor has built the last of the new blocks, and then has all of them or, for
//! whatever reason, none.
//!
//! As after a revert, the clock goes on from the block that is kept. `PREVRANDAO` is another than
//! that of the former blocks, or empty ones would be built to the same hashes.

use std::sync::Arc;

use alloy_primitives::{B256, keccak256};
use evenkeel_chain::{
    BlockPlan, CommandError, Height, Outcome, RecoveredTx, limits::REORG_BLOCKS_MAX,
};

use super::{
    clock::ChainClock,
    commands::answer,
    machine::{Solo, Tip, failed},
};
use crate::engine::{Effect, Head, Now};

/// The reorg in work.
#[derive(Debug)]
pub(super) enum Reorg {
    /// The executor goes back; these are the transactions of each new block.
    Branching(Vec<Vec<Arc<RecoveredTx>>>),
    /// The executor builds; this is the clock once the new blocks exist.
    Building(ChainClock),
}

impl Solo {
    /// Begins with the way back.
    pub(super) fn reorg(
        &mut self,
        ticket: u64,
        kept: Height,
        blocks: Vec<Vec<Arc<RecoveredTx>>>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), CommandError> {
        assert!(!blocks.is_empty(), "without new blocks it is a rollback");
        if blocks.len() > REORG_BLOCKS_MAX {
            let (found, limit) = (blocks.len() as u64, REORG_BLOCKS_MAX as u64);
            return Err(CommandError::TooManyBlocks { found, limit });
        }
        self.barrier = Some(ticket);
        self.reorg = Some(Reorg::Branching(blocks));
        effects.push(Effect::Branch { kept, ticket });
        Ok(())
    }

    /// The executor stands on the block that is kept: the new ones are ordered.
    pub(super) fn branched(
        &mut self,
        now: Now,
        ticket: u64,
        result: Result<Option<Head>, String>,
        effects: &mut Vec<Effect>,
    ) {
        let is_ours = self.barrier == Some(ticket);
        let Some(Reorg::Branching(blocks)) = self.reorg.take_if(|_| is_ours) else { return };
        let kept = match result {
            Ok(Some(kept)) => kept,
            Ok(None) => return self.end_reorg(ticket, Ok(Outcome::Reverted(false)), effects),
            Err(reason) => return self.end_reorg(ticket, Err(failed(reason)), effects),
        };
        let (mut clock, mut timestamp) = (self.clock, kept.header.timestamp);
        clock.reset(now.wall, timestamp);
        let mut plans = Vec::with_capacity(blocks.len());
        for (txs, height) in blocks.into_iter().zip(kept.header.number + 1..) {
            (timestamp, clock) = clock.stamp(now.wall, timestamp, 0);
            let attributes = self.attributes(timestamp, self.other_prev_randao(height));
            plans.push(BlockPlan { attributes, txs });
        }
        self.reorg = Some(Reorg::Building(clock));
        effects.push(Effect::Reorg { blocks: plans, ticket });
    }

    /// The new blocks are the chain, or nothing has changed.
    pub(super) fn reorged(
        &mut self,
        ticket: u64,
        result: Result<Head, String>,
        effects: &mut Vec<Effect>,
    ) {
        let is_ours = self.barrier == Some(ticket);
        let Some(Reorg::Building(clock)) = self.reorg.take_if(|_| is_ours) else { return };
        let outcome = match result {
            Ok(head) => {
                self.tip = Tip::of(&head);
                self.clock = clock;
                self.next_base_fee = None;
                self.next_prev_randao = None;
                Ok(Outcome::Reverted(true))
            }
            Err(reason) => Err(failed(reason)),
        };
        self.end_reorg(ticket, outcome, effects);
    }

    fn end_reorg(
        &mut self,
        ticket: u64,
        outcome: Result<Outcome, CommandError>,
        effects: &mut Vec<Effect>,
    ) {
        let is_ours = self.end_barrier(ticket);
        assert!(is_ours, "a reorg lasts as long as its barrier");
        answer(effects, ticket, outcome);
    }

    /// Of a height on the new branch: of no block that the chain had there before, as no two heads
    /// are the same.
    fn other_prev_randao(&self, height: u64) -> B256 {
        keccak256([self.prev_randao(height), self.tip.hash].concat())
    }
}
