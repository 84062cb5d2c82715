//! The root of the state after each transaction, which receipts before Byzantium carry (EIP-658).
//! Pure.
//!
//! The trie goes from transaction to transaction beside the block's own update, which needs the
//! rows that lead from the parent to the end of the block and nothing in between.

use std::sync::Arc;

use alloy_primitives::B256;
use evenkeel_state::{ChangeSet, StateError, Tip, Trie, TrieStep, TrieUpdate};

use super::{
    ExecError,
    observer::Observer,
    run::{BlockRun, Phase, Progress, trie_nodes},
};
use crate::{
    overlay::Overlay,
    slice::{Frames, Machine},
};

/// The tries between the transactions of a block.
pub(super) struct PostState {
    trie: Trie,
    /// The cheats that lie under the block's own changes, until the first transaction.
    below: Vec<Arc<ChangeSet>>,
}

impl PostState {
    pub(super) fn new(tip: &Tip) -> Self {
        Self { trie: tip.trie.clone(), below: tip.diffs.clone() }
    }

    /// Begins the update to the state after `changes`.
    pub(super) fn begin(&mut self, changes: &ChangeSet) -> TrieUpdate {
        let mut all = ChangeSet::default();
        for below in self.below.drain(..) {
            all.merge(&below);
        }
        all.merge(changes);
        self.trie.update(&Arc::new(all))
    }

    /// Works on about `nodes` nodes; returns the root once it is known.
    pub(super) fn step(
        &mut self,
        update: &mut TrieUpdate,
        nodes: usize,
    ) -> Result<Option<B256>, StateError> {
        Ok(match update.step(nodes)? {
            TrieStep::More => None,
            TrieStep::Done { root, trie, .. } => {
                self.trie = trie;
                Some(root)
            }
        })
    }
}

impl<I: Observer> BlockRun<I>
where
    Machine<Overlay, I>: Frames<Overlay>,
{
    /// Goes on with the root after the last transaction.
    pub(super) fn step_post_state(
        &mut self,
        mut update: TrieUpdate,
        left: &mut u64,
    ) -> Result<Progress, ExecError> {
        let state = self.post_state.as_mut().expect("before Byzantium it is there");
        let root = state.step(&mut update, trie_nodes(left))?;
        if root.is_none() {
            return Ok(Progress::Phase(Phase::PostState(update)));
        }
        self.body.receipts.last_mut().expect("a transaction was applied").post_state = root;
        Ok(Progress::Phase(Phase::Txs(None)))
    }
}
