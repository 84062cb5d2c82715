//! The header of a block: begun before execution, completed after it, compared field by field.
//! Pure.

use alloy_consensus::constants::EMPTY_OMMER_ROOT_HASH;
use alloy_eips::eip7685::Requests;
use alloy_primitives::{B256, Bloom, U256};
use evenkeel_chain::{BlockAttributes, ChainSpec, Fork, Header, Height, withdrawals_root};
use evenkeel_state::Tip;

use super::ExecError;

/// What execution says about the header.
pub(super) struct Executed {
    pub(super) state_root: B256,
    pub(super) transactions_root: B256,
    pub(super) receipts_root: B256,
    pub(super) logs_bloom: Bloom,
    pub(super) gas_used: u64,
    pub(super) blob_gas_used: u64,
    pub(super) requests: Requests,
}

/// The header of the next block as far as it is known before its transactions.
///
/// # Errors
///
/// [`ExecError::ExtraData`].
pub(super) fn child(
    spec: &ChainSpec,
    tip: &Tip,
    attributes: &BlockAttributes,
) -> Result<Header, ExecError> {
    let parent = &tip.header;
    let height = Height::new(parent.number).next();
    let extra_data = spec.prescribed_extra_data(height).unwrap_or(&attributes.extra_data);
    let (found, limit) = (extra_data.len(), spec.extra_data_max);
    if found > limit {
        return Err(ExecError::ExtraData { found, limit });
    }
    let fork = spec.fork_at(height, attributes.timestamp);
    let base_fee = spec.next_base_fee(parent);
    Ok(Header {
        parent_hash: tip.hash,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: attributes.fee_recipient,
        difficulty: if fork < Fork::Paris && spec.has_proof_of_work() {
            spec.next_difficulty(parent, attributes.timestamp)
        } else {
            U256::ZERO
        },
        number: height.get(),
        gas_limit: attributes.gas_limit,
        timestamp: attributes.timestamp,
        extra_data: extra_data.clone(),
        mix_hash: attributes.prev_randao,
        base_fee_per_gas: base_fee.map(|derived| attributes.base_fee.unwrap_or(derived)),
        withdrawals_root: (fork >= Fork::Shanghai)
            .then(|| withdrawals_root(&attributes.withdrawals)),
        excess_blob_gas: spec.next_excess_blob_gas(parent, attributes.timestamp),
        parent_beacon_block_root: (fork >= Fork::Cancun).then_some(attributes.parent_beacon_root),
        ..Header::default()
    })
}

/// Fills in what execution says.
pub(super) fn complete(header: &mut Header, fork: Fork, executed: &Executed) {
    header.state_root = executed.state_root;
    header.transactions_root = executed.transactions_root;
    header.receipts_root = executed.receipts_root;
    header.logs_bloom = executed.logs_bloom;
    header.gas_used = executed.gas_used;
    header.blob_gas_used = (fork >= Fork::Cancun).then_some(executed.blob_gas_used);
    header.requests_hash = (fork >= Fork::Prague).then(|| executed.requests.requests_hash());
}

/// Compares what execution says with what the header says.
///
/// # Errors
///
/// [`ExecError::Field`] for the first field that differs; the root of the state comes last, since
/// every other difference shows in it too.
pub(super) fn compare(header: &Header, fork: Fork, executed: &Executed) -> Result<(), ExecError> {
    let mut expected = header.clone();
    complete(&mut expected, fork, executed);
    field("gasUsed", &header.gas_used, &expected.gas_used)?;
    field("transactionsRoot", &header.transactions_root, &expected.transactions_root)?;
    field("receiptsRoot", &header.receipts_root, &expected.receipts_root)?;
    field("logsBloom", &header.logs_bloom, &expected.logs_bloom)?;
    field("blobGasUsed", &Shown(header.blob_gas_used), &Shown(expected.blob_gas_used))?;
    field("requestsHash", &Shown(header.requests_hash), &Shown(expected.requests_hash))?;
    field("stateRoot", &header.state_root, &expected.state_root)
}

fn field<T: PartialEq + std::fmt::Display>(
    field: &'static str,
    found: &T,
    expected: &T,
) -> Result<(), ExecError> {
    if found == expected {
        return Ok(());
    }
    Err(ExecError::Field { field, found: found.to_string(), expected: expected.to_string() })
}

/// A field that some forks do not have.
#[derive(PartialEq)]
struct Shown<T>(Option<T>);

impl<T: std::fmt::Display> std::fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => write!(f, "nothing"),
        }
    }
}
