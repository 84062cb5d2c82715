//! What goes wrong with a call, in geth's words.
//!
//! The texts are API: tools match on them.

use std::{fmt, time::Duration};

use alloy_primitives::{Address, Bytes};
use evenkeel_state::StateError;
use revm::{
    bytecode::opcode::{OPCODE_INFO, OpCode},
    context::{
        TxEnv,
        result::{EVMError, HaltReason, InvalidTransaction, OutOfGasError},
    },
    interpreter::STACK_LIMIT,
};

use crate::{
    block::ExecError, long::Fault, overlay::ReadError, revert::Reason, simulate::SimulateError,
};

/// JSON-RPC code of a revert.
const CODE_REVERTED: i64 = 3;
/// JSON-RPC code of everything else that the server says about a call.
const CODE_SERVER: i64 = -32_000;

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The contract reverted.
    #[error("{}", Revert(data))]
    Reverted {
        /// What it returned.
        data: Bytes,
    },
    /// The contract failed.
    #[error(transparent)]
    Halted(Halt),
    /// The deadline passed.
    #[error("execution aborted (timeout = {})", GoDuration(*.0))]
    Timeout(Duration),
    /// The caller went away.
    #[error("execution cancelled")]
    Cancelled,
    /// The call itself is not valid.
    #[error(transparent)]
    Invalid(InvalidCall),
    /// The highest gas limit allowed is too little.
    #[error("gas required exceeds allowance ({0})")]
    GasRequiredExceedsAllowance(u64),
    /// Something that this node does not do.
    #[error("{0}")]
    Unsupported(Unsupported),
    /// A simulation, not one of its calls, is wrong.
    #[error(transparent)]
    Simulation(Box<SimulateError>),
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// A precompile's library failed, or a job on the pool panicked; nothing the caller did.
    #[error("internal error: {0}")]
    Internal(String),
}

impl CallError {
    /// JSON-RPC error code.
    #[must_use]
    pub const fn code(&self) -> i64 {
        match self {
            Self::Reverted { .. } => CODE_REVERTED,
            Self::Simulation(error) => error.code(),
            Self::Halted(_)
            | Self::Timeout(_)
            | Self::Cancelled
            | Self::Invalid(_)
            | Self::GasRequiredExceedsAllowance(_)
            | Self::Unsupported(_)
            | Self::State(_)
            | Self::Internal(_) => CODE_SERVER,
        }
    }

    /// Returns true if the call itself is at fault, so that it would fail again on the same state.
    #[must_use]
    pub const fn is_of_call(&self) -> bool {
        match self {
            Self::Reverted { .. }
            | Self::Halted(_)
            | Self::Invalid(_)
            | Self::GasRequiredExceedsAllowance(_)
            | Self::Unsupported(_)
            | Self::Simulation(_) => true,
            Self::Timeout(_) | Self::Cancelled | Self::State(_) | Self::Internal(_) => false,
        }
    }

    /// JSON-RPC error data: what a revert returned.
    #[must_use]
    pub fn data(&self) -> Option<Bytes> {
        match self {
            Self::Reverted { data } => Some(data.clone()),
            _ => None,
        }
    }

    /// What an error of the EVM says about `tx`.
    pub(crate) fn from_evm(error: EVMError<ReadError>, tx: TxFacts) -> Self {
        match error {
            EVMError::Transaction(error) => {
                let supplied_gas = tx.gas_limit;
                Self::Invalid(InvalidCall::Refused {
                    refusal: Box::new(Refusal { error, tx }),
                    supplied_gas,
                })
            }
            EVMError::Database(ReadError(error)) => Self::State(error),
            error @ (EVMError::Header(_) | EVMError::Custom(_) | EVMError::CustomAny(_)) => {
                Self::Internal(error.to_string())
            }
        }
    }
}

/// What this node does not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// A name that no tracer has, and that is no script.
    #[error("no tracer is named {0} (expected one of geth's, or a script: an object in braces)")]
    Tracer(String),
    /// The trace holds too much.
    #[error("trace records more than {0} bytes")]
    TraceBytes(usize),
    /// The trace would be too long as JSON.
    #[error("trace is longer than {0} bytes of JSON")]
    TraceText(usize),
    /// The access list is too long.
    #[error("access list has more than {0} addresses and slots")]
    AccessList(usize),
    /// The witness holds too much.
    #[error("witness of more than {0} bytes")]
    Witness(usize),
}

/// Why a call does not even start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCall {
    /// The transaction rules refuse it.
    #[error("err: {refusal} (supplied gas {supplied_gas})")]
    Refused {
        /// The rule.
        refusal: Box<Refusal>,
        /// Gas limit of the call.
        supplied_gas: u64,
    },
    /// The transaction rules refuse it while gas is estimated.
    #[error("failed with {gas} gas: {refusal}")]
    RefusedAttempt {
        /// The rule.
        refusal: Box<Refusal>,
        /// Gas limit of the attempt.
        gas: u64,
    },
    /// Both kinds of fee fields are set.
    #[error("both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified")]
    BothFees,
    /// The chain id is another chain's.
    #[error("chainId does not match node's (have={have}, want={want})")]
    ChainId {
        /// Of the request.
        have: u64,
        /// Of the node.
        want: u64,
    },
    /// `data` and `input` differ.
    #[error(
        "both \"data\" and \"input\" are set and not equal. Please use \"input\" to pass \
         transaction call data"
    )]
    BothInputs,
    /// The value is more than the sender has.
    #[error("insufficient funds for transfer")]
    FundsForTransfer,
    /// The same account is overridden twice.
    #[error("account {0} has both 'state' and 'stateDiff'")]
    BothStates(Address),
    /// What is to be moved is no precompile.
    #[error("account {0} is not a precompile")]
    NotPrecompile(Address),
    /// A precompile is to be moved to where another account is pretended.
    #[error("account {0} is already overridden")]
    AlreadyOverridden(Address),
    /// An account is pretended where a precompile was moved to.
    #[error("account {0} has already been overridden by a precompile")]
    MovedHere(Address),
    /// A block to be built is not later than its parent.
    #[error("invalid timestamp, parent {parent} given {time}")]
    PayloadTime {
        /// Its time.
        time: u64,
        /// That of its parent.
        parent: u64,
    },
    /// Not all transactions fit into the block that is to have them.
    #[error("gas limit reached")]
    PayloadGas,
    /// A block of the chain does not come out again as it is.
    #[error("block cannot be executed again: {0}")]
    NotAgain(Box<ExecError>),
    /// A transaction cannot be in the block that is to have it.
    #[error(transparent)]
    PayloadTx(Box<Refusal>),
    /// A block override does not fit the type of the field.
    #[error("block override {0} is too large")]
    BlockOverride(&'static str),
    /// Options of the tracer that do not parse, or a user's script that is none or fails.
    #[error("{0}")]
    TracerConfig(String),
    /// There is no such transaction in the block.
    #[error("transaction {index} not in block with {count} transactions")]
    NoTransaction {
        /// Index asked for.
        index: usize,
        /// Transactions in the block.
        count: usize,
    },
}

/// The facts of a transaction that refusals speak of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxFacts {
    pub(crate) caller: Address,
    pub(crate) nonce: u64,
    pub(crate) gas_limit: u64,
    pub(crate) max_fee: u128,
    pub(crate) priority_fee: u128,
    pub(crate) blob_fee: u128,
    pub(crate) data_len: usize,
    pub(crate) base_fee: u64,
}

impl TxFacts {
    pub(crate) fn of(tx: &TxEnv, base_fee: u64) -> Self {
        Self {
            caller: tx.caller,
            nonce: tx.nonce,
            gas_limit: tx.gas_limit,
            max_fee: tx.gas_price,
            priority_fee: tx.gas_priority_fee.unwrap_or(tx.gas_price),
            blob_fee: tx.max_fee_per_blob_gas,
            data_len: tx.data.len(),
            base_fee,
        }
    }
}

/// A transaction rule that a transaction breaks, in geth's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The rule.
    pub error: InvalidTransaction,
    /// The transaction.
    pub tx: TxFacts,
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use InvalidTransaction as E;
        let tx = &self.tx;
        let caller = tx.caller;
        match &self.error {
            E::NonceTooLow { tx, state } => {
                write!(f, "nonce too low: address {caller}, tx: {tx} state: {state}")
            }
            E::NonceTooHigh { tx, state } => {
                write!(f, "nonce too high: address {caller}, tx: {tx} state: {state}")
            }
            E::NonceOverflowInTransaction => {
                write!(f, "nonce has max value: address {caller}, nonce: {}", tx.nonce)
            }
            E::LackOfFundForMaxFee { fee, balance } => write!(
                f,
                "insufficient funds for gas * price + value: address {caller} have {balance} want {fee}"
            ),
            E::CallGasCostMoreThanGasLimit { initial_gas, gas_limit } => {
                write!(f, "intrinsic gas too low: have {gas_limit}, want {initial_gas}")
            }
            E::GasFloorMoreThanGasLimit { gas_floor, gas_limit } => write!(
                f,
                "insufficient gas for floor data gas cost: have {gas_limit}, want {gas_floor}"
            ),
            E::PriorityFeeGreaterThanMaxFee => write!(
                f,
                "max priority fee per gas higher than max fee per gas: address {caller}, \
                 maxPriorityFeePerGas: {}, maxFeePerGas: {}",
                tx.priority_fee, tx.max_fee
            ),
            E::GasPriceLessThanBasefee => write!(
                f,
                "max fee per gas less than block base fee: address {caller}, maxFeePerGas: {}, \
                 baseFee: {}",
                tx.max_fee, tx.base_fee
            ),
            E::RejectCallerWithCode => write!(f, "sender not an eoa: address {caller}"),
            E::CreateInitCodeSizeLimit => {
                write!(f, "max initcode size exceeded: code size {}", tx.data_len)
            }
            E::CallerGasLimitMoreThanBlock => write!(f, "gas limit reached"),
            E::TxGasLimitGreaterThanCap { gas_limit, cap } => {
                write!(f, "transaction gas limit too high (cap: {cap}, tx: {gas_limit})")
            }
            E::EmptyAuthorizationList => {
                write!(f, "EIP-7702 transaction with empty auth list (sender {caller})")
            }
            E::BlobCreateTransaction => write!(f, "blob transaction of type create"),
            E::EmptyBlobs => write!(f, "blob transaction missing blob hashes"),
            E::BlobGasPriceGreaterThanMax { block_blob_gas_price, .. } => write!(
                f,
                "max fee per blob gas less than block blob gas fee: address {caller} \
                 blobGasFeeCap: {}, blobBaseFee: {block_blob_gas_price}",
                tx.blob_fee
            ),
            E::Eip2930NotSupported
            | E::Eip1559NotSupported
            | E::Eip4844NotSupported
            | E::Eip7702NotSupported => write!(f, "transaction type not supported"),
            error => write!(f, "{error}"),
        }
    }
}

/// A failure that used up all gas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halt {
    /// revm's reason.
    pub reason: HaltReason,
    pub(crate) fault: Option<Fault>,
}

impl std::error::Error for Halt {}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            HaltReason::OutOfGas(OutOfGasError::InvalidOperand) => write!(f, "gas uint64 overflow"),
            HaltReason::OutOfGas(OutOfGasError::ReentrancySentry) => {
                write!(f, "out of gas: not enough gas for reentrancy sentry")
            }
            HaltReason::OutOfGas(_) => write!(f, "out of gas"),
            HaltReason::OpcodeNotFound | HaltReason::InvalidFEOpcode | HaltReason::NotActivated => {
                write!(f, "invalid opcode: {}", OpcodeName(self.fault.map_or(0xfe, |at| at.opcode)))
            }
            HaltReason::InvalidJump => write!(f, "invalid jump destination"),
            HaltReason::StackUnderflow => match self.stack() {
                Some((len, inputs, _)) => write!(f, "stack underflow ({len} <=> {inputs})"),
                None => write!(f, "stack underflow"),
            },
            HaltReason::StackOverflow => match self.stack() {
                Some((len, inputs, outputs)) => {
                    let limit = (STACK_LIMIT + inputs).saturating_sub(outputs);
                    write!(f, "stack limit reached {len} ({limit})")
                }
                None => write!(f, "stack limit reached"),
            },
            HaltReason::OutOfOffset => write!(f, "return data out of bounds"),
            HaltReason::CreateCollision => write!(f, "contract address collision"),
            HaltReason::PrecompileError => write!(f, "precompile error"),
            HaltReason::PrecompileErrorWithContext(text) => write!(f, "{text}"),
            HaltReason::NonceOverflow => write!(f, "nonce uint64 overflow"),
            HaltReason::CreateContractSizeLimit => write!(f, "max code size exceeded"),
            HaltReason::CreateContractStartingWithEF => {
                write!(f, "invalid code: must not begin with 0xef")
            }
            HaltReason::CreateInitCodeSizeLimit => write!(f, "max initcode size exceeded"),
            HaltReason::OverflowPayment | HaltReason::OutOfFunds => {
                write!(f, "insufficient balance for transfer")
            }
            HaltReason::StateChangeDuringStaticCall | HaltReason::CallNotAllowedInsideStatic => {
                write!(f, "write protection")
            }
            HaltReason::CallTooDeep => write!(f, "max call depth exceeded"),
        }
    }
}

impl Halt {
    /// Stack items before the instruction, and what it takes and gives.
    fn stack(&self) -> Option<(usize, usize, usize)> {
        let fault = self.fault?;
        let info = OPCODE_INFO[usize::from(fault.opcode)]?;
        Some((fault.stack_len, usize::from(info.inputs()), usize::from(info.outputs())))
    }
}

/// As geth names an instruction.
pub(crate) struct OpcodeName(pub(crate) u8);

impl fmt::Display for OpcodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match OpCode::new(self.0) {
            Some(opcode) => write!(f, "{opcode}"),
            None => write!(f, "opcode {:#x} not defined", self.0),
        }
    }
}

/// A duration as Go prints it: `5s`, `1.5s`, `250ms`, `1m30s`.
struct GoDuration(Duration);

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < Duration::from_secs(1) {
            let nanos = self.0.subsec_nanos();
            return match nanos {
                0 => write!(f, "0s"),
                1..1_000 => write!(f, "{nanos}ns"),
                1_000..1_000_000 => write!(f, "{}µs", f64::from(nanos) / 1e3),
                _ => write!(f, "{}ms", f64::from(nanos) / 1e6),
            };
        }
        let (minutes, seconds) = (self.0.as_secs() / 60, self.0.as_secs_f64() % 60.0);
        let (hours, minutes) = (minutes / 60, minutes % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{seconds}s")
    }
}

struct Revert<'a>(&'a Bytes);

impl fmt::Display for Revert<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "execution reverted")?;
        match Reason::of(self.0, usize::MAX) {
            Some(reason) => write!(f, ": {}", reason.text()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_in_go() {
        let table = [
            (Duration::ZERO, "0s"),
            (Duration::from_nanos(7), "7ns"),
            (Duration::from_micros(1_500), "1.5ms"),
            (Duration::from_millis(250), "250ms"),
            (Duration::from_secs(5), "5s"),
            (Duration::from_millis(1_500), "1.5s"),
            (Duration::from_secs(90), "1m30s"),
            (Duration::from_hours(1), "1h0m0s"),
        ];
        for (duration, expected) in table {
            let error = CallError::Timeout(duration).to_string();
            assert_eq!(error, format!("execution aborted (timeout = {expected})"));
        }
    }
}
