//! Why a transaction is refused. The texts are geth's, to the letter: tools match on them.
//!
//! Source: go-ethereum `core/txpool`, `core/error.go`, `core/types`.

use alloy_primitives::{Address, U256};
use evenkeel_chain::{BlobError, SignatureError, TxDecodeError};

/// Why a transaction is not in the pool.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PoolError {
    /// The bytes are no transaction we take.
    #[error(transparent)]
    Decode(#[from] TxDecodeError),
    /// Its blobs are not the ones it names, or too many.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// Nobody has signed it.
    #[error("invalid sender: {0}")]
    InvalidSender(#[from] SignatureError),
    /// It is for another chain.
    #[error("invalid sender: invalid chain id for signer: have {have} want {want}")]
    InvalidChainId {
        /// In the transaction.
        have: u64,
        /// Of this chain.
        want: u64,
    },
    /// Its type comes with a later fork.
    #[error("transaction type not supported: type {tx_type} rejected, pool not yet in {since}")]
    TypeNotYet {
        /// EIP-2718 type.
        tx_type: u8,
        /// The fork it comes with, as geth spells it.
        since: &'static str,
    },
    /// More init code than EIP-3860 allows.
    #[error("max initcode size exceeded: code size {found} limit {limit}")]
    InitCodeTooLarge {
        /// Bytes.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// More gas than EIP-7825 allows.
    #[error("transaction gas limit too high (cap: {cap}, tx: {found})")]
    GasLimitTooHigh {
        /// Gas allowed.
        cap: u64,
        /// Gas asked for.
        found: u64,
    },
    /// More gas than a block has.
    #[error("exceeds block gas limit")]
    ExceedsBlockGasLimit {
        /// Gas asked for.
        found: u64,
        /// Gas of a block.
        limit: u64,
    },
    /// The tip is part of the fee.
    #[error("max priority fee per gas higher than max fee per gas")]
    TipAboveFeeCap,
    /// EIP-2681.
    #[error("nonce has max value")]
    NonceMax,
    /// Not even its data is paid for.
    #[error("intrinsic gas too low: gas {found}, minimum needed {minimum}")]
    IntrinsicGas {
        /// Gas limit.
        found: u64,
        /// Gas needed.
        minimum: u64,
    },
    /// Not even the floor of EIP-7623 is paid for.
    #[error("insufficient gas for floor data gas cost: gas {found}, minimum needed {minimum}")]
    FloorDataGas {
        /// Gas limit.
        found: u64,
        /// Gas needed.
        minimum: u64,
    },
    /// EIP-7702.
    #[error("set code tx must have at least one authorization tuple")]
    NoAuthorizations,
    /// Below the operator's minimum.
    #[error("transaction gas price below minimum: gas tip cap {found}, minimum needed {minimum}")]
    GasPriceTooLow {
        /// Tip cap, in wei per gas.
        found: u128,
        /// Lowest, in wei per gas.
        minimum: u128,
    },
    /// The next block would not take it.
    #[error(
        "max fee per gas less than block base fee: \
         address {sender}, maxFeePerGas: {found}, baseFee: {base_fee}"
    )]
    FeeCapBelowBaseFee {
        /// Who sent it.
        sender: Address,
        /// Fee cap, in wei per gas.
        found: u128,
        /// Of the next block, in wei per gas.
        base_fee: u64,
    },
    /// The next block would not take its blobs.
    #[error(
        "max fee per blob gas less than block blob gas fee: maxFeePerBlobGas: {found}, blobBaseFee: {blob_fee}"
    )]
    BlobFeeCapBelowBaseFee {
        /// Fee cap, in wei per blob gas.
        found: u128,
        /// Of the next block, in wei per blob gas.
        blob_fee: u128,
    },
    /// The sender has used this nonce.
    #[error("nonce too low: next nonce {next}, tx nonce {found}")]
    NonceTooLow {
        /// Nonce of the sender.
        next: u64,
        /// Nonce of the transaction.
        found: u64,
    },
    /// The sender cannot pay for it.
    #[error(
        "insufficient funds for gas * price + value: \
         balance {balance}, tx cost {cost}, overshot {}", cost.saturating_sub(*balance)
    )]
    InsufficientFunds {
        /// Wei the sender has.
        balance: U256,
        /// Wei it may cost; 2^256 - 1 stands for all above.
        cost: U256,
    },
    /// The sender cannot pay for it and for what waits before it.
    #[error(
        "insufficient funds for gas * price + value: \
         balance {balance}, queued cost {queued}, tx cost {cost}, overshot {}",
        queued.saturating_add(*cost).saturating_sub(*balance)
    )]
    Overdraft {
        /// Wei the sender has.
        balance: U256,
        /// Wei what waits may cost.
        queued: U256,
        /// Wei it may cost.
        cost: U256,
    },
    /// The sender cannot pay for it instead of what it replaces.
    #[error(
        "insufficient funds for gas * price + value: \
         balance {balance}, queued cost {queued}, tx bumped {bump}, overshot {}",
        queued.saturating_add(*bump).saturating_sub(*balance)
    )]
    BumpOverdraft {
        /// Wei the sender has.
        balance: U256,
        /// Wei what waits may cost.
        queued: U256,
        /// Wei it may cost more than what it replaces.
        bump: U256,
    },
    /// It is here.
    #[error("already known")]
    AlreadyKnown,
    /// It does not pay enough more than what it would replace.
    #[error("replacement transaction underpriced")]
    ReplacementUnderpriced,
    /// The pool is full of better ones.
    #[error("transaction underpriced")]
    Underpriced,
    /// One sender's share of the pool is used up.
    #[error("account limit exceeded: pooled {pooled} txs")]
    AccountLimitExceeded {
        /// Transactions of the sender.
        pooled: usize,
    },
    /// The pool is full, and nothing in it is to go for this one.
    #[error("txpool is full")]
    PoolFull,
    /// The pool is full, and what cannot run yet pushes nothing out that can.
    #[error("future transaction tries to replace pending")]
    FutureReplacesPending,
    /// The head state could not be read.
    #[error("state is not available")]
    StateUnavailable,
    /// More transactions arrive than are looked at.
    #[error("txpool is busy")]
    Busy,
    /// The node is going down.
    #[error("txpool is closed")]
    Closed,
}

impl PoolError {
    /// JSON-RPC error code; geth answers every refusal with its default.
    #[must_use]
    pub const fn code(&self) -> i64 {
        -32000
    }

    /// Returns true if no honest peer relays such a transaction.
    #[must_use]
    pub const fn is_offence(&self) -> bool {
        match self {
            Self::Decode(error) => error.is_offence(),
            Self::InvalidSender(error) => error.is_offence(),
            Self::Blobs(_)
            | Self::TipAboveFeeCap
            | Self::NonceMax
            | Self::IntrinsicGas { .. }
            | Self::NoAuthorizations => true,
            // A peer may have another head, another configuration, or be on another chain.
            Self::InvalidChainId { .. }
            | Self::TypeNotYet { .. }
            | Self::InitCodeTooLarge { .. }
            | Self::GasLimitTooHigh { .. }
            | Self::ExceedsBlockGasLimit { .. }
            | Self::FloorDataGas { .. }
            | Self::GasPriceTooLow { .. }
            | Self::FeeCapBelowBaseFee { .. }
            | Self::BlobFeeCapBelowBaseFee { .. }
            | Self::NonceTooLow { .. }
            | Self::InsufficientFunds { .. }
            | Self::Overdraft { .. }
            | Self::BumpOverdraft { .. }
            | Self::AlreadyKnown
            | Self::ReplacementUnderpriced
            | Self::Underpriced
            | Self::AccountLimitExceeded { .. }
            | Self::PoolFull
            | Self::FutureReplacesPending
            | Self::StateUnavailable
            | Self::Busy
            | Self::Closed => false,
        }
    }
}
