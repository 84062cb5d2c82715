//! What an engine asks the executor to build.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes};

use crate::{RecoveredTx, Withdrawal};

/// The header fields and limits a new block is to have; the rest follows from its parent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockAttributes {
    /// Seconds since the Unix epoch.
    pub timestamp: u64,
    /// What `PREVRANDAO` returns; the header's mix hash.
    pub prev_randao: B256,
    /// Receives the tips; what `COINBASE` returns.
    pub fee_recipient: Address,
    /// Gas the block may use.
    pub gas_limit: u64,
    /// Wei per gas; None: as EIP-1559 derives it from the parent.
    pub base_fee: Option<u64>,
    /// At most `ChainSpec::extra_data_max` bytes.
    pub extra_data: Bytes,
    /// Root of the parent beacon block (EIP-4788); used from Cancun on.
    pub parent_beacon_root: B256,
    /// Credited at the end of the block (EIP-4895); used from Shanghai on.
    pub withdrawals: Vec<Withdrawal>,
    /// Transactions to include at most; None: as many as fit.
    pub txs_max: Option<usize>,
    /// Build nothing if no transaction would be in the block.
    pub must_have_txs: bool,
}

/// A block whose transactions are given, instead of taken from the pool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockPlan {
    /// What it is to be like.
    pub attributes: BlockAttributes,
    /// What is to be in it, in order; what cannot be is left out.
    pub txs: Vec<Arc<RecoveredTx>>,
}

impl BlockPlan {
    /// Bytes held, roughly.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        256 + self.txs.iter().map(|tx| tx.waiting_bytes()).sum::<usize>()
    }
}
