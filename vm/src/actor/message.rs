//! What the executor is told, and what it tells the engine.

use std::sync::Arc;

use alloy_primitives::B256;
use evenkeel_chain::{
    BlockAttributes, BlockPlan, Cheat, Header, Height, Loaded, RevertTo, SealedBlock,
};
use evenkeel_runtime::{Message, Reply};
use evenkeel_state::Tip;

use crate::block::ExecError;

/// What the executor does.
pub enum ExecutorMessage {
    /// Build a block on the tip.
    Build(BuildRequest),
    /// Execute a block of a peer.
    Validate {
        /// The block.
        block: Arc<SealedBlock>,
    },
    /// An executed block is final: it becomes the tip and goes to the writer.
    Finalize {
        /// Its hash.
        hash: B256,
    },
    /// An executed block will never be final.
    Discard {
        /// Its hash.
        hash: B256,
    },
    /// Change the state outside of any transaction.
    Cheat {
        /// The change.
        cheat: Cheat,
        /// Told once it is durable.
        reply: Reply<Result<(), ExecError>>,
    },
    /// Remember the present.
    Mark {
        /// Gets the number of the mark.
        reply: Reply<Result<u64, ExecError>>,
    },
    /// Go back to a mark or a block.
    Revert {
        /// Which.
        to: RevertTo,
        /// Gets the new head; None if there is no such mark or block.
        reply: Reply<Result<Option<Reverted>, ExecError>>,
    },
    /// Stand beside the chain on a former block, to build others on it.
    Branch {
        /// Its height.
        kept: Height,
        /// Gets the block; None if there is none.
        reply: Reply<Result<Option<Reverted>, ExecError>>,
    },
    /// Build blocks on the branch; they become the chain together, or not at all.
    Reorg {
        /// In order.
        blocks: Vec<BlockPlan>,
        /// Gets the new head, once it is durable.
        reply: Reply<Result<Reverted, ExecError>>,
    },
}

/// An order to build.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// Comes back with the result.
    pub id: u64,
    /// What the block is to be like.
    pub attributes: BlockAttributes,
}

/// Where a way back led.
#[derive(Clone, Debug)]
pub struct Reverted {
    /// The block that is stood on now.
    pub header: Arc<Header>,
    /// Its hash.
    pub hash: B256,
}

impl Reverted {
    pub(super) fn to(tip: &Tip) -> Self {
        Self { header: Arc::clone(&tip.header), hash: tip.hash }
    }
}

/// What the executor tells the engine.
pub enum ExecutorEvent {
    /// The block is built and executed.
    Built {
        /// Of the request.
        id: u64,
        /// The block.
        block: Arc<SealedBlock>,
    },
    /// There was nothing to put in the block, and it had to have something.
    Empty {
        /// Of the request.
        id: u64,
    },
    /// The block cannot be built.
    BuildFailed {
        /// Of the request.
        id: u64,
        /// Why.
        error: ExecError,
    },
    /// A block was executed, or is not valid.
    Verdict {
        /// Its hash.
        hash: B256,
        /// Whether it is valid.
        result: Result<(), ExecError>,
    },
    /// It began, knows no block and no order of before, and executes on this head. An engine that
    /// has begun with it already knows.
    Begun {
        /// The head: all that was final before is durable.
        header: Arc<Header>,
        /// Its hash.
        hash: B256,
    },
}

impl Message for ExecutorMessage {
    fn size_bytes(&self) -> usize {
        match self {
            Self::Validate { block } => block.size_bytes(),
            Self::Cheat { cheat: Cheat::SetCode(_, code), .. } => 64 + code.len(),
            Self::Reorg { blocks, .. } => {
                256 + blocks.iter().map(BlockPlan::size_bytes).sum::<usize>()
            }
            Self::Cheat { cheat: Cheat::Load(parts), .. } => {
                parts.iter().map(Loaded::size_bytes).sum()
            }
            Self::Build(_)
            | Self::Finalize { .. }
            | Self::Discard { .. }
            | Self::Cheat { .. }
            | Self::Mark { .. }
            | Self::Revert { .. }
            | Self::Branch { .. } => 256,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Build(_) => "build",
            Self::Validate { .. } => "validate",
            Self::Finalize { .. } => "finalize",
            Self::Discard { .. } => "discard",
            Self::Cheat { .. } => "cheat",
            Self::Mark { .. } => "mark",
            Self::Revert { .. } => "revert",
            Self::Branch { .. } => "branch",
            Self::Reorg { .. } => "reorg",
        }
    }
}
