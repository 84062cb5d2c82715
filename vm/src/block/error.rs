//! Why a block cannot be built or is not valid.

use alloy_primitives::{Address, B256};
use evenkeel_chain::{BodyError, HeaderError, Height};
use evenkeel_state::StateError;

use crate::error::{CallError, Refusal};

/// Why a block cannot be built, is not valid, or a change of the tip failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// The parent is not the executed tip, nor a block executed on it.
    #[error("block {height} has unknown parent {parent}")]
    UnknownParent {
        /// Height of the block.
        height: Height,
        /// Its parent hash.
        parent: B256,
    },
    /// The block was never executed, or was discarded.
    #[error("block {0} is not executed")]
    UnknownBlock(B256),
    /// The header breaks a rule that needs no execution.
    #[error("invalid header: {0}")]
    Header(#[from] HeaderError),
    /// The body does not belong to the header.
    #[error("invalid body: {0}")]
    Body(#[from] BodyError),
    /// A transaction cannot be in the block.
    #[error("could not apply tx {index} [{hash}]: {refusal}")]
    Transaction {
        /// Its position.
        index: usize,
        /// Its hash.
        hash: B256,
        /// The rule it breaks.
        refusal: Box<Refusal>,
    },
    /// A simulated call is not valid, or one too many.
    #[error(transparent)]
    Call(Box<CallError>),
    /// A header field is not what execution gives.
    #[error("invalid {field}: header says {found}, execution gives {expected}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// In the header.
        found: String,
        /// From execution.
        expected: String,
    },
    /// More extra data than the chain allows.
    #[error("extra data of {found} bytes, limit {limit}")]
    ExtraData {
        /// Bytes asked for.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A system contract failed (EIP-7002, EIP-7251).
    #[error("system call to {address} failed")]
    SystemCall {
        /// The contract.
        address: Address,
    },
    /// A system contract is not there (EIP-7002, EIP-7251).
    #[error("system contract {address} has no code")]
    SystemContract {
        /// The contract.
        address: Address,
    },
    /// A deposit log does not have the form of EIP-6110.
    #[error("malformed deposit log of {len} bytes")]
    DepositLog {
        /// Bytes of log data.
        len: usize,
    },
    /// The state cannot be read or its root computed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The blocks of a reorg would be more than may wait in memory.
    #[error("the blocks of a reorg hold more than the limit of {limit} bytes")]
    ReorgBytes {
        /// Bytes allowed.
        limit: usize,
    },
    /// A precompile's library failed, or an execution or its job on the pool panicked.
    #[error("internal error: {0}")]
    Internal(String),
    /// The writer does not take any more.
    #[error("the writer is not reachable")]
    WriterGone,
    /// Blocks are executed that are not finalized yet, so the tip cannot be changed.
    #[error("the executor is busy with a block")]
    Busy,
}

impl ExecError {
    /// Returns true if the block itself is wrong, so that its proposer is to blame.
    #[must_use]
    pub const fn is_offence(&self) -> bool {
        match self {
            Self::Header(_)
            | Self::Body(_)
            | Self::Transaction { .. }
            | Self::Field { .. }
            | Self::ExtraData { .. }
            | Self::SystemCall { .. }
            | Self::SystemContract { .. }
            | Self::DepositLog { .. } => true,
            Self::UnknownParent { .. }
            | Self::UnknownBlock(_)
            | Self::Call(_)
            | Self::State(_)
            | Self::Internal(_)
            | Self::ReorgBytes { .. }
            | Self::WriterGone
            | Self::Busy => false,
        }
    }
}
