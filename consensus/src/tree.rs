//! The tree of executed blocks, and which of its branches is the chain.
//!
//! Pure. Before Paris the branch with the greatest total difficulty is the chain, of equal ones
//! that which was there first. Since Paris difficulty says nothing: whoever brings a block says by
//! it which one is the head, and no mined block becomes it any more (EIP-3675).
//!
//! # Invariants
//!
//! - T1: all blocks in the tree descend from its lowest one, over blocks in the tree.
//! - T2: the head is in the tree, at least [`TREE_DEPTH`] above the lowest block once anything was
//!   dropped.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use alloy_primitives::{B256, U256};
use evenkeel_chain::{
    Ancestor, ChainSpec, Fork, Header, OmmerError, check_ommers, limits::OMMER_DEPTH_MAX,
};

use crate::limits::{TREE_BLOCKS_MAX, TREE_DEPTH};

/// Why a block has no place in the tree.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TreeError {
    /// Its parent is not in the tree: never seen, invalid, or forgotten.
    #[error("block {number} has unknown parent {parent}")]
    UnknownParent {
        /// Number of the block.
        number: u64,
        /// Its parent hash.
        parent: B256,
    },
    /// Proof of work had ended before it.
    #[error("mined block after the terminal total difficulty {terminal}: parent has {parent}")]
    MinedAfterTerminal {
        /// What ends proof of work.
        terminal: U256,
        /// Total difficulty of the parent.
        parent: U256,
    },
    /// Proof of work had not ended before it.
    #[error(
        "proof-of-stake block before the terminal total difficulty {terminal}: parent has {parent}"
    )]
    StakedBeforeTerminal {
        /// What ends proof of work.
        terminal: U256,
        /// Total difficulty of the parent.
        parent: U256,
    },
    /// It may not name its ommers.
    #[error(transparent)]
    Ommers(#[from] OmmerError),
    /// The tree holds as many blocks as it may.
    #[error("{0} blocks within {TREE_DEPTH} of the head, no more are taken")]
    Full(usize),
}

/// What a block changed about the chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Placed {
    /// It is the head. Blocks that are of the chain no more, from the old head down, and those that
    /// are now, from the lowest up to it.
    Head {
        /// Newest first; empty where the chain just grew.
        abandoned: Vec<B256>,
        /// Oldest first; at least the block itself.
        adopted: Vec<B256>,
    },
    /// It is on a side branch.
    Side,
}

/// The tree, with something of the caller's for each block: the state after it.
pub struct BlockTree<T> {
    spec: Arc<ChainSpec>,
    blocks: BTreeMap<B256, Block<T>>,
    head: B256,
}

/// A block that the chain had before the tree began.
pub struct SealedAncestor {
    /// Its header.
    pub header: Arc<Header>,
    /// Its hash.
    pub hash: B256,
    /// The hashes of the ommers that it named.
    pub ommers: Vec<B256>,
}

struct Block<T> {
    header: Arc<Header>,
    ommers: Vec<B256>,
    /// Sum of the difficulties up to this block.
    total_difficulty: U256,
    state: T,
}

impl<T> BlockTree<T> {
    /// The tree of one block, the first of the chain.
    #[must_use]
    pub fn new(spec: Arc<ChainSpec>, first: Arc<Header>, hash: B256, state: T) -> Self {
        let total_difficulty = first.difficulty;
        let block = Block { header: first, ommers: Vec::new(), total_difficulty, state };
        Self { spec, blocks: BTreeMap::from([(hash, block)]), head: hash }
    }

    /// Remembers the blocks below the lowest one, by which ommers are measured, and the sum of
    /// difficulties up to it: for a chain that goes on where it was left. `past` is the nearest
    /// first, each with the hash and the ommers of its block.
    ///
    /// # Panics
    ///
    /// If the tree has more than its first block.
    pub fn resume(&mut self, past: Vec<(SealedAncestor, T)>, total_difficulty: U256) {
        assert_eq!(self.blocks.len(), 1, "a tree goes on from its first block");
        let first = self.blocks.get_mut(&self.head).expect("the head is in the tree");
        first.total_difficulty = total_difficulty;
        for (ancestor, state) in past {
            let SealedAncestor { header, hash, ommers } = ancestor;
            // Nothing is built on it any more, so nothing asks for its own sum.
            let total_difficulty = U256::ZERO;
            self.blocks.insert(hash, Block { header, ommers, total_difficulty, state });
        }
    }

    /// Hash of the head.
    #[must_use]
    pub const fn head(&self) -> B256 {
        self.head
    }

    /// What belongs to the head.
    #[must_use]
    pub fn head_state(&self) -> &T {
        &self.blocks[&self.head].state
    }

    /// Whether the block is in the tree.
    #[must_use]
    pub fn contains(&self, hash: B256) -> bool {
        self.blocks.contains_key(&hash)
    }

    /// Blocks in the tree.
    #[must_use]
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Never: there is at least the head.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Checks what needs the blocks before: that the parent is there, on which side of the end of
    /// proof of work the block stands, and its ommers. Returns what belongs to the parent. The
    /// rules of the header itself are [`evenkeel_chain::check_header`]'s. O(log blocks).
    ///
    /// # Errors
    ///
    /// [`TreeError`].
    pub fn check(&self, header: &Header, ommers: &[Header]) -> Result<&T, TreeError> {
        let Some(parent) = self.blocks.get(&header.parent_hash) else {
            return Err(TreeError::UnknownParent {
                number: header.number,
                parent: header.parent_hash,
            });
        };
        if self.blocks.len() >= TREE_BLOCKS_MAX {
            return Err(TreeError::Full(self.blocks.len()));
        }
        if let Some(terminal) = self.spec.terminal_total_difficulty() {
            let found = parent.total_difficulty;
            match (found >= terminal, header.difficulty.is_zero()) {
                (true, false) => {
                    return Err(TreeError::MinedAfterTerminal { terminal, parent: found });
                }
                (false, true) => {
                    return Err(TreeError::StakedBeforeTerminal { terminal, parent: found });
                }
                (true, true) | (false, false) => {}
            }
        }
        // Since Paris the header says that there are none.
        if self.spec.fork_of(header) < Fork::Paris && !ommers.is_empty() {
            check_ommers(&self.spec, ommers, &self.ancestors(header.parent_hash))?;
        }
        Ok(&parent.state)
    }

    /// The last blocks up to `hash`, the nearest first.
    fn ancestors(&self, hash: B256) -> Vec<Ancestor<'_>> {
        let mut next = hash;
        let generations = 0..=OMMER_DEPTH_MAX;
        generations
            .map_while(|_| {
                let block = self.blocks.get(&next)?;
                let hash = std::mem::replace(&mut next, block.header.parent_hash);
                Some(Ancestor { header: &block.header, hash, ommers: &block.ommers })
            })
            .collect()
    }

    /// Puts a block that was checked and executed into its place. A block that is there already
    /// stays as it is, and is not the head because of coming again. O(length of what changes).
    ///
    /// # Panics
    ///
    /// If the parent is not in the tree.
    pub fn insert(
        &mut self,
        header: Arc<Header>,
        hash: B256,
        ommers: &[Header],
        state: T,
    ) -> Placed {
        if self.contains(hash) {
            return Placed::Side;
        }
        let before = self.blocks[&header.parent_hash].total_difficulty;
        let total_difficulty = before.saturating_add(header.difficulty);
        let is_head = self.is_better(&header, total_difficulty);
        let ommers = ommers.iter().map(Header::hash_slow).collect();
        self.blocks.insert(hash, Block { header, ommers, total_difficulty, state });
        if !is_head {
            return Placed::Side;
        }
        let (abandoned, adopted) = self.way(self.head, hash);
        self.head = hash;
        self.forget();
        Placed::Head { abandoned, adopted }
    }

    /// Whether a block is to be the head instead of the one there is.
    fn is_better(&self, header: &Header, total_difficulty: U256) -> bool {
        let head = &self.blocks[&self.head];
        match (self.is_mined(header), self.is_mined(&head.header)) {
            (false, _) => true,
            (true, false) => false,
            (true, true) => total_difficulty > head.total_difficulty,
        }
    }

    /// Whether total difficulty counts for the block.
    fn is_mined(&self, header: &Header) -> bool {
        self.spec.has_proof_of_work() && self.spec.fork_of(header) < Fork::Paris
    }

    /// The blocks from `from` down to the last that both are built on, and from there up to `to`.
    fn way(&self, from: B256, to: B256) -> (Vec<B256>, Vec<B256>) {
        let (mut left, mut right) = (from, to);
        let (mut down, mut up) = (Vec::new(), Vec::new());
        while left != right {
            let (a, b) = (&self.blocks[&left].header, &self.blocks[&right].header);
            if a.number >= b.number {
                down.push(std::mem::replace(&mut left, a.parent_hash));
            }
            if b.number >= a.number {
                up.push(std::mem::replace(&mut right, b.parent_hash));
            }
        }
        up.reverse();
        (down, up)
    }

    /// Drops what lies deep below the head once the tree is half full (T2).
    fn forget(&mut self) {
        if self.blocks.len() < TREE_BLOCKS_MAX / 2 {
            return;
        }
        let head = self.blocks[&self.head].header.number;
        let lowest = self.chain().take_while(|(header, ..)| head - header.number <= TREE_DEPTH);
        if let Some((_, hash, _)) = lowest.last() {
            self.settle(hash, |_| {});
        }
    }

    /// The blocks of the chain with what belongs to them, from the head down.
    pub fn chain(&self) -> impl Iterator<Item = (&Header, B256, &T)> {
        let mut next = self.head;
        std::iter::from_fn(move || {
            let block = self.blocks.get(&next)?;
            let hash = std::mem::replace(&mut next, block.header.parent_hash);
            Some((&*block.header, hash, &block.state))
        })
    }

    /// Makes a block of the chain one that stays in it: what is not built on it is dropped, but for
    /// the blocks below that ommers are measured by. Then `change` is made to the state of each
    /// that is left. O(blocks · log).
    ///
    /// # Panics
    ///
    /// If the block is not of the chain.
    pub fn settle(&mut self, hash: B256, mut change: impl FnMut(&mut T)) {
        let from = self.blocks[&hash].header.number;
        let by_number = |(hash, block): (&B256, &Block<T>)| (block.header.number, *hash);
        let mut above: Vec<_> = self.blocks.iter().map(by_number).collect();
        above.retain(|(number, _)| *number > from);
        above.sort_unstable();
        let mut kept = BTreeSet::from([hash]);
        for (_, hash) in above {
            if kept.contains(&self.blocks[&hash].header.parent_hash) {
                kept.insert(hash);
            }
        }
        assert!(kept.contains(&self.head), "the head is built on what stays");
        let mut below = hash;
        for _ in 0..OMMER_DEPTH_MAX {
            below = self.blocks.get(&below).map_or(below, |block| block.header.parent_hash);
            kept.insert(below);
        }
        self.blocks.retain(|hash, _| kept.contains(hash));
        self.blocks.values_mut().for_each(|block| change(&mut block.state));
    }
}

#[cfg(test)]
mod tests;
