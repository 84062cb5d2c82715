//! Blocks from elsewhere: decoded, put to their parent, executed, given their place in the chain.
//!
//! Each block is executed by an actor on a system that the caller's thread drives, so by the code
//! and in the slices of the node's executor. What is executed stays in memory until the caller has
//! made it durable and says so.

use std::sync::Arc;

use alloy_primitives::{B256, U256};
use evenkeel_chain::{
    BlockDecodeError, ChainSpec, Header, Height, SealedBlock, SignatureError,
    limits::OMMER_DEPTH_MAX,
};
use evenkeel_consensus::{BlockTree, Placed, SealedAncestor, TreeError};
use evenkeel_runtime::Inline;
use evenkeel_state::{ChainReader, Durable, ExecutedBlock, StateError, Tip};
use evenkeel_vm::{BlockOutcome, BlockRun, ExecError, Limits, spawn_block};

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

/// A block that was read, with its senders looked for: what may be done of several blocks at once,
/// before the first is imported.
pub struct ReadBlock {
    header: Header,
    hash: B256,
    ommers: Vec<Header>,
    recovered: Result<Arc<SealedBlock>, SignatureError>,
}

impl ReadBlock {
    /// Reads the block with this RLP. O(its size), and about 50 us for each transaction.
    ///
    /// # Errors
    ///
    /// Its bytes are no block. A transaction without a sender is told when it is imported.
    pub fn new(rlp: &[u8], spec: &ChainSpec) -> Result<Self, BlockDecodeError> {
        let block = SealedBlock::decode_rlp(rlp)?;
        let (header, hash, ommers) = (block.header.clone(), block.hash, block.ommers.clone());
        let recovered = block.recover_at(spec.fork_of(&header)).map(Arc::new);
        Ok(Self { header, hash, ommers, recovered })
    }
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
pub struct BlockImport<'a> {
    spec: Arc<ChainSpec>,
    /// Where they are executed.
    inline: &'a mut Inline,
    limits: Limits,
    /// Gas of a slice at most.
    slice: u64,
    tree: BlockTree<Held>,
    /// Number of the last durable block.
    durable: u64,
}

/// What is kept for a block.
struct Held {
    /// The state after it; none below what is durable, where no block may be put.
    tip: Option<Tip>,
    /// Its execution, until it is durable.
    executed: Option<Arc<ExecutedBlock>>,
}

impl<'a> BlockImport<'a> {
    /// The chain that so far has `tip` as its first block. Blocks are executed on `inline`, in
    /// slices of at most `slice` gas.
    #[must_use]
    pub fn new(
        spec: Arc<ChainSpec>,
        tip: Tip,
        inline: &'a mut Inline,
        limits: Limits,
        slice: u64,
    ) -> Self {
        let (first, hash) = (Arc::clone(&tip.header), tip.hash);
        let durable = first.number;
        let held = Held { tip: Some(tip), executed: None };
        let tree = BlockTree::new(Arc::clone(&spec), first, hash, held);
        Self { spec, inline, limits, slice, tree, durable }
    }

    /// Goes on where `chain`, whose head is the first block here, was left: with the blocks that
    /// ommers are measured by, and the difficulty so far where a sum of it ends proof of work.
    /// O([`OMMER_DEPTH_MAX`]), and O(height) while that sum is not reached.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails.
    ///
    /// # Panics
    ///
    /// If a block was imported already.
    pub fn resume(&mut self, chain: &ChainReader) -> Result<(), StateError> {
        let (genesis, head) = (chain.genesis(), chain.head());
        let mut past = Vec::new();
        let mut below = head;
        while below > genesis && head.get() - below.get() < OMMER_DEPTH_MAX {
            below = below.prev().expect("above the first block");
            let Some(block) = chain.block(below)? else { break };
            let header = Arc::new(block.header.clone());
            let ommers = block.ommers.iter().map(Header::hash_slow).collect();
            let ancestor = SealedAncestor { header, hash: block.hash, ommers };
            past.push((ancestor, Held { tip: None, executed: None }));
        }
        let total_difficulty = self.total_difficulty(chain)?;
        self.tree.resume(past, total_difficulty);
        Ok(())
    }

    /// The difficulty up to the head of `chain`, as far as somebody asks for it.
    fn total_difficulty(&self, chain: &ChainReader) -> Result<U256, StateError> {
        let head = self.head().header.difficulty;
        match self.spec.terminal_total_difficulty() {
            // Branches are compared by what they have above the head.
            None => Ok(head),
            // Proof of work is over.
            Some(terminal) if head.is_zero() => Ok(terminal),
            Some(_) => {
                let mut sum = U256::ZERO;
                for height in chain.genesis().get()..=chain.head().get() {
                    if let Some(sealed) = chain.header(Height::new(height))? {
                        sum = sum.saturating_add(sealed.header.difficulty);
                    }
                }
                Ok(sum)
            }
        }
    }

    /// The head of the chain, with the state after it.
    #[must_use]
    pub fn head(&self) -> &Tip {
        self.tree.head_state().tip.as_ref().expect("the head is not below what is durable")
    }

    /// Its rules.
    #[must_use]
    pub const fn spec(&self) -> &Arc<ChainSpec> {
        &self.spec
    }

    /// Number of the last durable block.
    #[must_use]
    pub const fn durable(&self) -> u64 {
        self.durable
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
            let is_at_or_below = held.tip.as_ref().is_none_or(|tip| tip.header.number <= number);
            if is_at_or_below {
                held.executed = None;
            }
            let tip = held.tip.take().filter(|tip| tip.header.number >= number);
            held.tip = tip.map(|tip| tip.rebase(durable));
        });
    }

    /// Takes the block with this RLP, if it is valid. Costs its execution.
    ///
    /// # Errors
    ///
    /// [`ImportError`], the first rule that it breaks; [`ExecError::Internal`] if its execution
    /// panicked, after which the next block is welcome.
    ///
    /// # Panics
    ///
    /// In a turn of an actor.
    pub fn import(&mut self, rlp: &[u8]) -> Result<Imported, ImportError> {
        let read = ReadBlock::new(rlp, &self.spec)?;
        self.import_read(read)
    }

    /// The same with a block that was read.
    ///
    /// # Errors
    ///
    /// As [`BlockImport::import`].
    ///
    /// # Panics
    ///
    /// As [`BlockImport::import`].
    pub fn import_read(&mut self, read: ReadBlock) -> Result<Imported, ImportError> {
        let ReadBlock { header, hash, ommers, recovered } = read;
        if self.tree.contains(hash) {
            return Ok(Imported { hash, placed: Placed::Side, executed: None });
        }
        let parent = self.parent(&header, &ommers)?;
        let block = recovered?;
        let spec = Arc::clone(&self.spec);
        let run = BlockRun::validate(parent.clone(), spec, Arc::clone(&block), &self.limits)?;
        let outcome = spawn_block(self.inline.system(), run, self.slice);
        let BlockOutcome::Executed(executed) = self.inline.run_until(outcome)? else {
            unreachable!("only a block that is built may be refused for being empty")
        };
        let tip = parent.extend(&executed);
        let header = Arc::clone(&tip.header);
        let held = Held { tip: Some(tip), executed: Some(Arc::clone(&executed)) };
        let placed = self.tree.insert(header, hash, &block.ommers, held);
        Ok(Imported { hash, placed, executed: Some(executed) })
    }

    /// The state that a block is to be executed on.
    fn parent(&self, header: &Header, ommers: &[Header]) -> Result<Tip, ImportError> {
        let parent = self.tree.check(header, ommers)?;
        let settled = ImportError::Settled { number: header.number, durable: self.durable };
        parent.tip.clone().ok_or(settled)
    }
}
