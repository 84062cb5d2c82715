//! How a pool orders and bounds what it holds.

use std::{fmt, str::FromStr};

use crate::limits::{PER_SENDER_MAX, POOL_BYTES_MAX, POOL_COUNT_MAX, PRICE_BUMP_PERCENT};

/// Which transaction comes first into a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// The one with the highest effective tip; of equal ones the one that came first.
    #[default]
    Fees,
    /// The one that came first.
    Fifo,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fees => "fees",
            Self::Fifo => "fifo",
        })
    }
}

/// There is no order of this name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("unknown order '{0}'; known: fees, fifo")]
pub struct UnknownOrder(pub String);

impl FromStr for Order {
    type Err = UnknownOrder;

    fn from_str(text: &str) -> Result<Self, UnknownOrder> {
        match text {
            "fees" => Ok(Self::Fees),
            "fifo" => Ok(Self::Fifo),
            _ => Err(UnknownOrder(text.to_owned())),
        }
    }
}

/// Rules of one pool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoolConfig {
    /// Which transaction comes first into a block.
    pub order: Order,
    /// Percent by which a replacement must pay more, in fee cap and in tip.
    pub price_bump_percent: u64,
    /// Lowest tip cap, in wei per gas.
    pub min_gas_price: Option<u128>,
    /// Transactions in the pool.
    pub count_max: usize,
    /// Encoded bytes in the pool.
    pub bytes_max: usize,
    /// Transactions of one sender.
    pub per_sender_max: usize,
    /// Refuse what its sender cannot pay.
    pub check_balance: bool,
    /// Refuse what does not pay the base fee of the next block, as anvil does; geth keeps it.
    pub check_base_fee: bool,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            order: Order::default(),
            price_bump_percent: PRICE_BUMP_PERCENT,
            min_gas_price: None,
            count_max: POOL_COUNT_MAX,
            bytes_max: POOL_BYTES_MAX,
            per_sender_max: PER_SENDER_MAX,
            check_balance: true,
            check_base_fee: true,
        }
    }
}

/// Which stateless rules hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdmissionConfig {
    /// Refuse more gas than the block has.
    pub check_block_gas_limit: bool,
    /// Refuse more gas than EIP-7825 allows, from Osaka on.
    pub check_tx_gas_limit: bool,
    /// Bytes of init code from Shanghai on; None: as many as fit a transaction.
    pub init_code_bytes_max: Option<usize>,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self {
            check_block_gas_limit: true,
            check_tx_gas_limit: true,
            init_code_bytes_max: Some(evenkeel_chain::limits::INIT_CODE_BYTES_MAX),
        }
    }
}
