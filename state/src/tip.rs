//! What is executed on, and what is durable: a block ahead, and the block behind.

use std::{sync::Arc, time::Duration};

use alloy_primitives::B256;
use evenkeel_chain::{Header, Height, Receipt, SealedBlock};

use crate::{
    change::ChangeSet,
    dropped::Dropped,
    limits::TRIE_NODES_MAX,
    reader::ChainReader,
    trie::{Trie, TrieNodes, TrieUpdate},
    view::View,
};

/// What the next block is executed on. A clone is cheap.
#[derive(Clone)]
pub struct Tip {
    /// The last block.
    pub header: Arc<Header>,
    /// Its hash.
    pub hash: B256,
    /// The state after it, with `diffs`.
    pub view: View,
    /// The trie after it, without `diffs`.
    pub trie: Trie,
    /// Cheats made since the block, in order; the first changes of the next block.
    pub diffs: Vec<Arc<ChangeSet>>,
}

/// A block with what its execution gave.
pub struct ExecutedBlock {
    /// The block.
    pub block: Arc<SealedBlock>,
    /// Its receipts, in order.
    pub receipts: Arc<Vec<Receipt>>,
    /// What it changed, with the diffs of the tip it was executed on.
    pub changes: Arc<ChangeSet>,
    /// The trie after it.
    pub trie: Trie,
    /// The trie's changed rows.
    pub nodes: TrieNodes,
}

/// The durable chain at one instant: everything RPC answers from.
#[derive(Clone)]
pub struct Durable {
    /// The head.
    pub header: Arc<Header>,
    /// Its hash.
    pub hash: B256,
    /// The state at the head, with cheats.
    pub view: View,
    /// Number of cheats on top of the head.
    pub diffs: u64,
    /// Number of reverts so far.
    pub generation: u64,
    /// What reverts took, for readers who had seen it.
    pub dropped: Dropped,
    /// Blocks and former states.
    pub chain: ChainReader,
    /// When this process came to have this head, as time since the Unix epoch; zero before the
    /// writer has published it.
    pub head_since: Duration,
    /// The trie at the head, without cheats.
    pub(crate) trie: Trie,
}

impl ExecutedBlock {
    /// Bytes held, roughly: the block, its receipts, changes and trie rows. O(their number).
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let logs: usize = self.receipts.iter().map(|receipt| receipt.logs.len()).sum();
        let receipts = 64 * self.receipts.len() + 256 * logs;
        self.block.size_bytes() + receipts + self.changes.size_bytes() + self.nodes.size_bytes()
    }
}

impl Durable {
    /// Height of the head.
    #[must_use]
    pub fn height(&self) -> Height {
        self.chain.head()
    }
}

impl Tip {
    /// Height of the last block.
    #[must_use]
    pub fn height(&self) -> Height {
        Height::new(self.header.number)
    }

    /// The tip after a block that was executed on this one. O(number of layers).
    ///
    /// # Panics
    ///
    /// If the block is not a child of this tip.
    #[must_use]
    pub fn extend(&self, executed: &ExecutedBlock) -> Self {
        let block = &executed.block;
        assert_eq!(block.header.parent_hash, self.hash, "a tip is extended by its child");
        // The block's changes hold those of the diffs.
        let view = self.view.without_diffs();
        Self {
            header: Arc::new(block.header.clone()),
            hash: block.hash,
            view: view.with_block(&block.header, block.hash, Arc::clone(&executed.changes)),
            trie: executed.trie.clone(),
            diffs: Vec::new(),
        }
    }

    /// Starts to work out the trie with the cheats made since the block. O(cheats).
    #[must_use]
    pub fn trie_with_diffs(&self) -> TrieUpdate {
        let mut changes = ChangeSet::default();
        for diff in &self.diffs {
            changes.merge(diff);
        }
        self.trie.update(&Arc::new(changes))
    }

    /// The tip with one more cheat.
    #[must_use]
    pub fn with_diff(&self, changes: Arc<ChangeSet>) -> Self {
        let mut tip = self.clone();
        tip.view = tip.view.with(Arc::clone(&changes));
        tip.diffs.push(changes);
        tip
    }

    /// The same tip, reading what `durable` holds from its snapshot instead of from memory. A tip
    /// that does not descend from `durable`, or has it as base already, stays as it is.
    #[must_use]
    pub fn rebase(&self, durable: &Durable) -> Self {
        let Some(view) = self.view.rebase(durable.chain.base(), durable.hash) else {
            return self.clone();
        };
        let mut tip = Self { view, ..self.clone() };
        if tip.hash == durable.hash {
            tip.trie = durable.trie.clone();
        } else {
            tip.trie.rebase(durable.trie.snapshot());
            // The writer trims off the workers; this is for a tip that never waits for it.
            tip.trie.trim(durable.trie.version(), 2 * TRIE_NODES_MAX);
        }
        tip
    }
}
