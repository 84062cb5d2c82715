//! How a `Solo` engine is set at the start.

use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes};
use evenkeel_chain::Timestamps;

use crate::engine::Head;

/// When blocks are made, besides those that `Mine` orders.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mining {
    /// As soon as a transaction is ready; what arrives meanwhile shares the next block.
    Automine,
    /// Every so often, empty or not.
    Interval(Duration),
    /// Never.
    None,
    /// Both as soon as a transaction is ready and every so often.
    Mixed(Duration),
}

/// What a `Solo` engine starts with.
#[derive(Clone, Debug)]
pub struct SoloConfig {
    /// When blocks are made.
    pub mode: Mining,
    /// The durable head.
    pub head: Head,
    /// How timestamps of a parent and its child compare.
    pub timestamps: Timestamps,
    /// Gas a block may use.
    pub gas_limit: u64,
    /// Receives the tips.
    pub coinbase: Address,
    /// `PREVRANDAO` at a height is the hash of this and the height.
    pub prev_randao_seed: B256,
    /// Transactions in a block at most; None: as many as fit.
    pub txs_max: Option<usize>,
    /// Seconds the chain's clock is ahead of the real one.
    pub time_offset_secs: i64,
    /// `extra_data` of every block.
    pub extra_data: Bytes,
}

/// Why there is no engine of such a config.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// Blocks would be made faster than anything else is done.
    #[error("block interval of {found:?} is below the minimum of {min:?}")]
    IntervalTooShort {
        /// Time configured.
        found: Duration,
        /// Shortest that may be.
        min: Duration,
    },
}
