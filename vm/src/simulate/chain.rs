//! The blocks of a simulation: put in order, gaps filled, headers begun. Pure.
//!
//! Source: geth `internal/ethapi/simulate.go`: `sanitizeChain`, `makeHeaders`, `processBlock`.

use alloy_consensus::constants::EMPTY_OMMER_ROOT_HASH;
use alloy_primitives::{B256, U256};
use alloy_rpc_types_eth::{BlockOverrides, TransactionRequest, state::StateOverride};
use evenkeel_chain::{ChainSpec, Fork, Header, Height, Withdrawal, withdrawals_root};

use super::SimulateError;
use crate::{
    error::{CallError, InvalidCall},
    limits::{
        SIMULATED_BLOCKS_MAX, SIMULATED_CALLS_MAX, SIMULATED_CALLS_PER_BLOCK_MAX,
        WITHDRAWALS_PER_BLOCK_MAX,
    },
};

/// Seconds between two blocks unless the caller says otherwise.
const BLOCK_SECONDS: u64 = 12;

/// A block to simulate.
#[derive(Clone, Debug, Default)]
pub struct SimulatedInput {
    /// Header fields to pretend.
    pub overrides: BlockOverrides,
    /// Credited at its end.
    pub withdrawals: Vec<Withdrawal>,
    /// Accounts to pretend.
    pub state: Option<StateOverride>,
    /// Its calls, in order.
    pub calls: Vec<TransactionRequest>,
}

/// Checks that there are neither no blocks nor too many, nor too many calls.
///
/// # Errors
///
/// [`SimulateError`] for the first bound that is passed.
pub fn check_sizes(blocks: &[SimulatedInput]) -> Result<(), SimulateError> {
    if blocks.is_empty() {
        return Err(SimulateError::Empty);
    }
    if blocks.len() > SIMULATED_BLOCKS_MAX {
        return Err(SimulateError::Blocks);
    }
    let mut all = 0;
    for block in blocks {
        let (calls, withdrawals) = (block.calls.len(), block.withdrawals.len());
        if calls > SIMULATED_CALLS_PER_BLOCK_MAX {
            return Err(SimulateError::CallsPerBlock(calls));
        }
        all += calls;
        if all > SIMULATED_CALLS_MAX {
            return Err(SimulateError::Calls(all));
        }
        if withdrawals > WITHDRAWALS_PER_BLOCK_MAX {
            return Err(SimulateError::Withdrawals(withdrawals));
        }
    }
    Ok(())
}

/// A block with its place.
pub(super) struct Planned {
    pub(super) number: u64,
    pub(super) time: u64,
    pub(super) input: SimulatedInput,
}

/// Gives every block its number and time, and fills the gaps between them with empty ones.
pub(super) fn plan(
    base: &Header,
    blocks: Vec<SimulatedInput>,
) -> Result<Vec<Planned>, SimulateError> {
    let (mut number, mut time) = (base.number, base.timestamp);
    let last = base.number.saturating_add(SIMULATED_BLOCKS_MAX as u64);
    let mut planned = Vec::with_capacity(blocks.len());
    for input in blocks {
        let wanted = input.overrides.number.unwrap_or(U256::from(number) + U256::from(1));
        if wanted <= U256::from(number) {
            let wanted = wanted.as_limbs()[0];
            return Err(SimulateError::Number { number: wanted, before: number });
        }
        if wanted > U256::from(last) {
            return Err(SimulateError::Blocks);
        }
        let wanted = u64::try_from(wanted).expect("not above the last one");
        for number in number + 1..wanted {
            time = time.saturating_add(BLOCK_SECONDS);
            planned.push(Planned { number, time, input: SimulatedInput::default() });
        }
        let later = input.overrides.time.unwrap_or(time.saturating_add(BLOCK_SECONDS));
        if later <= time {
            return Err(SimulateError::Timestamp { time: later, before: time });
        }
        (number, time) = (wanted, later);
        planned.push(Planned { number, time, input });
    }
    Ok(planned)
}

/// The header of a planned block on its parent, as far as it is known before its calls.
pub(super) fn header(
    spec: &ChainSpec,
    (parent, parent_hash): (&Header, B256),
    planned: &Planned,
    is_validated: bool,
) -> Result<Header, CallError> {
    let overrides = &planned.input.overrides;
    let fork = spec.fork_at(Height::new(planned.number), planned.time);
    let base_fee = match overrides.base_fee {
        Some(fee) => Some(
            u64::try_from(fee)
                .map_err(|_| CallError::Invalid(InvalidCall::BlockOverride("baseFeePerGas")))?,
        ),
        None if fork < Fork::London => None,
        None if is_validated => spec.next_base_fee(parent),
        // Calls that offer nothing are the rule where nothing is validated.
        None => Some(0),
    };
    Ok(Header {
        parent_hash,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: overrides.coinbase.unwrap_or(parent.beneficiary),
        difficulty: overrides.difficulty.unwrap_or(parent.difficulty),
        number: planned.number,
        gas_limit: overrides.gas_limit.unwrap_or(parent.gas_limit),
        timestamp: planned.time,
        mix_hash: overrides.random.unwrap_or_default(),
        base_fee_per_gas: base_fee,
        withdrawals_root: (fork >= Fork::Shanghai)
            .then(|| withdrawals_root(&planned.input.withdrawals)),
        excess_blob_gas: spec.next_excess_blob_gas(parent, planned.time),
        parent_beacon_block_root: (fork >= Fork::Cancun)
            .then(|| overrides.beacon_root.unwrap_or_default()),
        ..Header::default()
    })
}
