//! Blocks from elsewhere: decoded, put to their parent, executed, given their place in the chain.
//!
//! Pure: the work is done on the caller's thread, in the slices that the node's actors use. What is
//! executed stays in memory until the caller has made it durable and says so.

use std::sync::Arc;

use alloy_primitives::B256;
use evenkeel_chain::{BlockDecodeError, ChainSpec, SealedBlock, SignatureError};
use evenkeel_consensus::{BlockTree, Placed, TreeError};
use evenkeel_state::{Durable, ExecutedBlock, Tip};
use evenkeel_vm::{BlockOutcome, BlockRun, ExecError, Limits};

/// Why a block is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Its bytes are no block.
    #[error(transparent)]
    Decode(#[from] BlockDecodeError),
    /// It has no place in the tree of blocks.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A transaction has no sender.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It branches off below what is durable.
    #[error("block {number} branches off below the durable block {durable}")]
    Settled {
        /// Number of the block.
        number: u64,
        /// Number of the last durable block.
        durable: u64,
    },
    /// It breaks a rule of its header or body, or its execution gives something else.
    #[error(transparent)]
    Execution(#[from] ExecError),
}

/// What became of a block.
pub struct Imported {
    /// Its hash.
    pub hash: B256,
    /// What it changed about the chain.
    pub placed: Placed,
    /// Its execution; `None` if the block was there already.
    pub executed: Option<Arc<ExecutedBlock>>,
}

/// A chain that takes blocks from elsewhere, with all their branches.
pub struct BlockImport {
    spec: Arc<ChainSpec>,
    limits: Limits,
    /// Gas of a slice.
    slice: u64,
    tree: BlockTree<Held>,
    /// Number of the last durable block.
    durable: u64,
}

/// What is kept for a block.
struct Held {
    /// The state after it.
    tip: Tip,
    /// Its execution, until it is durable.
    executed: Option<Arc<ExecutedBlock>>,
}

impl BlockImport {
    /// The chain that so far has `tip` as its first block. Executions are cut into slices of
    /// `slice` gas.
    #[must_use]
    pub fn new(spec: Arc<ChainSpec>, tip: Tip, limits: Limits, slice: u64) -> Self {
        let (first, hash) = (Arc::clone(&tip.header), tip.hash);
        let durable = first.number;
        let held = Held { tip, executed: None };
        let tree = BlockTree::new(Arc::clone(&spec), first, hash, held);
        Self { spec, limits, slice, tree, durable }
    }

    /// The head of the chain, with the state after it.
    #[must_use]
    pub fn head(&self) -> &Tip {
        &self.tree.head_state().tip
    }

    /// The blocks of the chain that are not durable and at least `depth` below the head, oldest
    /// first: what a writer may commit, if no branch of that length is to be expected.
    #[must_use]
    pub fn settled(&self, depth: u64) -> Vec<Arc<ExecutedBlock>> {
        let head = self.head().header.number;
        let chain = self.tree.chain().take_while(|(header, ..)| header.number > self.durable);
        let deep = chain.filter(|(header, ..)| head - header.number >= depth);
        let mut blocks: Vec<_> = deep.filter_map(|(.., held)| held.executed.clone()).collect();
        blocks.reverse();
        blocks
    }

    /// Reads from now on what `durable` holds from there instead of from memory, and forgets the
    /// branches that are not built on it. O(blocks in memory · layers above it).
    ///
    /// # Panics
    ///
    /// If its head is not a block of this chain.
    pub fn settle(&mut self, durable: &Durable) {
        let number = durable.height().get();
        self.durable = number;
        self.tree.settle(durable.hash, |held| {
            if held.tip.header.number <= number {
                held.executed = None;
            }
            held.tip = held.tip.rebase(durable);
        });
    }

    /// Takes the block with this RLP, if it is valid. Costs its execution.
    ///
    /// # Errors
    ///
    /// [`ImportError`], the first rule that it breaks.
    pub fn import(&mut self, rlp: &[u8]) -> Result<Imported, ImportError> {
        let block = SealedBlock::decode_rlp(rlp)?;
        let hash = block.hash;
        if self.tree.contains(hash) {
            return Ok(Imported { hash, placed: Placed::Side, executed: None });
        }
        let parent = self.tree.check(&block.header, &block.ommers)?.tip.clone();
        if parent.header.number < self.durable {
            let (number, durable) = (block.header.number, self.durable);
            return Err(ImportError::Settled { number, durable });
        }
        let fork = self.spec.fork_of(&block.header);
        let block = Arc::new(block.recover_at(fork)?);
        let spec = Arc::clone(&self.spec);
        let run = BlockRun::validate(parent.clone(), spec, Arc::clone(&block), &self.limits)?;
        let BlockOutcome::Executed(executed) = run.finish(self.slice)? else {
            unreachable!("only a block that is built may be refused for being empty")
        };
        let tip = parent.extend(&executed);
        let header = Arc::clone(&tip.header);
        let held = Held { tip, executed: Some(Arc::clone(&executed)) };
        let placed = self.tree.insert(header, hash, &block.ommers, held);
        Ok(Imported { hash, placed, executed: Some(executed) })
    }
}
