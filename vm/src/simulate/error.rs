//! What goes wrong with a simulation as a whole, in geth's words and with geth's codes.

use alloy_primitives::Address;
use revm::context::result::InvalidTransaction;

use crate::{
    block::ExecError,
    error::Refusal,
    limits::{
        SIMULATED_BYTES_MAX, SIMULATED_CALLS_MAX, SIMULATED_CALLS_PER_BLOCK_MAX,
        WITHDRAWALS_PER_BLOCK_MAX,
    },
};

/// Why a simulation has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimulateError {
    /// No block is to be simulated.
    #[error("empty input")]
    Empty,
    /// More than [`SIMULATED_BLOCKS_MAX`](crate::limits::SIMULATED_BLOCKS_MAX) blocks, those that
    /// fill gaps among them.
    #[error("too many blocks")]
    Blocks,
    /// Too many calls in one block.
    #[error("too many calls in block: {0} > {SIMULATED_CALLS_PER_BLOCK_MAX}")]
    CallsPerBlock(usize),
    /// Too many calls in all.
    #[error("too many calls: {0} > {SIMULATED_CALLS_MAX}")]
    Calls(usize),
    /// Too many withdrawals in one block.
    #[error("too many withdrawals in block: {0} > {WITHDRAWALS_PER_BLOCK_MAX}")]
    Withdrawals(usize),
    /// A block does not come after the one before it.
    #[error("block numbers must be in order: {number} <= {before}")]
    Number {
        /// Its number; the low 64 bits of what was asked for.
        number: u64,
        /// That of the block before.
        before: u64,
    },
    /// A block is not later than the one before it.
    #[error("block timestamps must be in order: {time} <= {before}")]
    Timestamp {
        /// Its time.
        time: u64,
        /// That of the block before.
        before: u64,
    },
    /// A call asks for more gas than is left in its block.
    #[error("block gas limit reached: remaining: {remaining}, required: {required}")]
    BlockGas {
        /// Gas left.
        remaining: u64,
        /// Gas of the call.
        required: u64,
    },
    /// The calls together used more gas than a request may.
    #[error("RPC gas cap exhausted: need {need}, remaining {remaining}")]
    GasCap {
        /// Gas that a call used.
        need: u64,
        /// Gas that was left.
        remaining: u64,
    },
    /// The results are too large to be answered.
    #[error("results of more than {SIMULATED_BYTES_MAX} bytes")]
    Bytes,
    /// A transaction of a type that creates no contracts names no recipient.
    #[error("{0} transaction without a recipient (sender {1})")]
    NoRecipient(&'static str, Address),
    /// The transaction rules refuse a call.
    #[error("err: {refusal} (supplied gas {supplied_gas})")]
    Refused {
        /// The rule.
        refusal: Box<Refusal>,
        /// Gas limit of the call.
        supplied_gas: u64,
    },
    /// What a block does outside its calls failed.
    #[error(transparent)]
    Block(ExecError),
}

impl SimulateError {
    /// JSON-RPC error code.
    #[must_use]
    pub const fn code(&self) -> i64 {
        match self {
            Self::Empty | Self::Withdrawals(_) | Self::NoRecipient(..) => -32_602,
            Self::Blocks | Self::CallsPerBlock(_) | Self::Calls(_) | Self::Bytes => -38_026,
            Self::Number { .. } => -38_020,
            Self::Timestamp { .. } => -38_021,
            Self::BlockGas { .. } => -38_015,
            Self::GasCap { .. } | Self::Block(_) => -32_000,
            Self::Refused { refusal, .. } => refusal_code(&refusal.error),
        }
    }
}

/// geth `txValidationError`.
const fn refusal_code(error: &InvalidTransaction) -> i64 {
    use InvalidTransaction as E;
    match error {
        E::NonceTooLow { .. } => -38_010,
        E::NonceTooHigh { .. } => -38_011,
        E::GasPriceLessThanBasefee => -38_012,
        E::CallGasCostMoreThanGasLimit { .. } => -38_013,
        E::LackOfFundForMaxFee { .. } | E::OverflowPaymentInTransaction => -38_014,
        E::RejectCallerWithCode => -38_024,
        E::CreateInitCodeSizeLimit => -38_025,
        E::PriorityFeeGreaterThanMaxFee => -32_602,
        _ => -32_603,
    }
}
