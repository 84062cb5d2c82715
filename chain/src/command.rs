//! What an operator of a dev chain may order.
//!
//! A command reaches the engine like any other consensus input, in one order with blocks, so that
//! what it does is as deterministic as they are.

use std::{sync::Arc, time::Duration};

use alloy_primitives::{Address, B256, Bytes, U256};

use crate::{Height, RecoveredTx, state_file::FileAccount};

/// An order to the engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Make blocks now; with an interval their timestamps are that many seconds apart.
    Mine {
        /// How many; at most [`crate::limits::MINE_BLOCKS_MAX`].
        blocks: u64,
        /// Seconds between their timestamps; None: the engine's own rule.
        interval_secs: Option<u64>,
    },
    /// A block for every transaction as it becomes ready, or not.
    SetAutomine(bool),
    /// A block every so often; None stops it.
    SetInterval(Option<Duration>),
    /// Moves the clock of the chain by so many seconds.
    IncreaseTime(i64),
    /// Sets the clock of the chain, in seconds since the Unix epoch.
    SetTime(u64),
    /// Timestamp of the next block, in seconds since the Unix epoch.
    SetNextTimestamp(u64),
    /// Seconds between the timestamps of any two blocks; None: by the clock.
    SetTimestampInterval(Option<u64>),
    /// Base fee of the next block, in wei per gas.
    SetNextBaseFee(u64),
    /// Gas limit of every block from the next on.
    SetGasLimit(u64),
    /// Fee recipient of every block from the next on.
    SetCoinbase(Address),
    /// `PREVRANDAO` of the next block.
    SetNextPrevRandao(B256),
    /// Changes the state outside of any transaction.
    Cheat(Cheat),
    /// Marks the present so that it can be returned to.
    Snapshot,
    /// Returns to a mark; it and all later ones are gone then.
    Revert(u64),
    /// Returns to the first block; every mark is gone then.
    Reset,
    /// Returns to the block at a height, with the cheats made on it; marks above are gone then.
    Rollback(Height),
    /// Puts other blocks in the place of those above a height: all of them, or nothing is changed.
    Reorg {
        /// The last block that is kept.
        kept: Height,
        /// The transactions of each new block; at most [`crate::limits::REORG_BLOCKS_MAX`] blocks.
        blocks: Vec<Vec<Arc<RecoveredTx>>>,
    },
    /// Asks how the engine is set.
    Status,
}

/// Where a chain returns to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RevertTo {
    /// What was marked; it and all later marks are gone then.
    Mark(u64),
    /// The block at this height, with the cheats made on it; marks above are gone then.
    Height(Height),
}

/// A change of the state outside of any transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cheat {
    /// Sets a balance, in wei.
    SetBalance(Address, U256),
    /// Adds to a balance, in wei; saturates.
    AddBalance(Address, U256),
    /// Sets a nonce.
    SetNonce(Address, u64),
    /// Sets the code of an account.
    SetCode(Address, Bytes),
    /// Sets one storage slot.
    SetStorageAt(Address, U256, B256),
    /// Sets accounts and slots of a state file, in order. A nonce never goes back.
    Load(Arc<[Loaded]>),
}

/// A part of a state file that is put into a state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Loaded {
    /// Balance, code and nonce of an account.
    Account(Address, FileAccount),
    /// A slot.
    Slot(Address, U256, U256),
}

impl Loaded {
    /// Bytes held, roughly.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let code = match self {
            Self::Account(_, account) => account.code.len(),
            Self::Slot(..) => 0,
        };
        size_of::<Self>() + code
    }
}

impl Command {
    /// Bytes held, roughly.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let txs_bytes = |txs: &Vec<Arc<RecoveredTx>>| -> usize {
            32 + txs.iter().map(|tx| 32 + tx.waiting_bytes()).sum::<usize>()
        };
        64 + match self {
            Self::Cheat(Cheat::SetCode(_, code)) => code.len(),
            Self::Cheat(Cheat::Load(parts)) => parts.iter().map(Loaded::size_bytes).sum(),
            Self::Reorg { blocks, .. } => blocks.iter().map(txs_bytes).sum(),
            Self::Cheat(
                Cheat::SetBalance(..)
                | Cheat::AddBalance(..)
                | Cheat::SetNonce(..)
                | Cheat::SetStorageAt(..),
            )
            | Self::Mine { .. }
            | Self::SetAutomine(_)
            | Self::SetInterval(_)
            | Self::IncreaseTime(_)
            | Self::SetTime(_)
            | Self::SetNextTimestamp(_)
            | Self::SetTimestampInterval(_)
            | Self::SetNextBaseFee(_)
            | Self::SetGasLimit(_)
            | Self::SetCoinbase(_)
            | Self::SetNextPrevRandao(_)
            | Self::Snapshot
            | Self::Revert(_)
            | Self::Reset
            | Self::Rollback(_)
            | Self::Status => 0,
        }
    }
}

/// What came of a [`Command`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is done, and nothing is to be said of it.
    Done,
    /// Hashes of the blocks made, in order.
    Blocks(Vec<B256>),
    /// Number of the mark.
    Snapshot(u64),
    /// Whether there was such a mark, or block.
    Reverted(bool),
    /// Offset of the chain's clock from the real one.
    Seconds(i64),
    /// How the engine is set.
    Status(EngineStatus),
}

/// How the engine is set.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EngineStatus {
    /// A block for every transaction.
    pub automine: bool,
    /// Time between blocks, if they are made by the clock.
    pub interval: Option<Duration>,
    /// Offset of the chain's clock from the real one, in seconds.
    pub time_offset_secs: i64,
    /// Timestamp ordered for the next block.
    pub next_timestamp: Option<u64>,
    /// Seconds ordered between the timestamps of any two blocks.
    pub timestamp_interval: Option<u64>,
    /// Gas limit of the next block.
    pub gas_limit: u64,
    /// Fee recipient of the next block.
    pub coinbase: Address,
}

/// Why a [`Command`] is refused or failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandError {
    /// Time does not run backwards on a chain.
    #[error("Timestamp error: {found} is lower than or equal to previous block's timestamp {head}")]
    TimestampTooLow {
        /// Seconds ordered.
        found: u64,
        /// Seconds of the head.
        head: u64,
    },
    /// The clock of the chain would leave the range of a timestamp.
    #[error("time offset of {found} seconds is out of range")]
    TimeOutOfRange {
        /// Seconds ordered.
        found: i64,
    },
    /// More blocks at once than anyone means.
    #[error("cannot mine {found} blocks at once, limit {limit}")]
    TooManyBlocks {
        /// Blocks ordered.
        found: u64,
        /// Most that may be.
        limit: u64,
    },
    /// No block may have this gas limit.
    #[error("gas limit {found} is not within {min}..={max}")]
    GasLimitOutOfRange {
        /// Gas ordered.
        found: u64,
        /// Lowest.
        min: u64,
        /// Highest.
        max: u64,
    },
    /// Blocks have no base fee before London.
    #[error("no base fee before the London fork")]
    NoBaseFee,
    /// Blocks would be made faster than anything else is done.
    #[error("block interval of {found:?} is below the minimum of {min:?}")]
    IntervalTooShort {
        /// Time ordered.
        found: Duration,
        /// Shortest that may be.
        min: Duration,
    },
    /// This engine takes no such orders.
    #[error("not supported by this consensus engine")]
    Unsupported,
    /// Commands queue up faster than they are carried out.
    #[error("engine is busy")]
    Busy,
    /// The executor or the database could not carry it out.
    #[error("not carried out: {reason}")]
    Failed {
        /// In the words of whoever failed.
        reason: String,
    },
    /// The node is going down.
    #[error("engine stopped")]
    Stopped,
}

impl CommandError {
    /// JSON-RPC error code.
    #[must_use]
    pub const fn code(&self) -> i64 {
        match self {
            Self::TimestampTooLow { .. }
            | Self::TimeOutOfRange { .. }
            | Self::TooManyBlocks { .. }
            | Self::GasLimitOutOfRange { .. }
            | Self::NoBaseFee
            | Self::IntervalTooShort { .. } => -32602,
            Self::Unsupported => -32601,
            Self::Busy => -32005,
            Self::Failed { .. } | Self::Stopped => -32603,
        }
    }
}
