//! What can be said of a transaction without looking at the state.
//!
//! Pure. Source: geth's `ValidateTransaction`, in its order, so that the same fault is named first.

use evenkeel_chain::{
    BlobError, BlobParams, ChainSpec, Fork, Header, Height, RecoveredTx, TxDecodeError,
    check_blob_hashes, intrinsic_gas, limits::TX_GAS_LIMIT_MAX, limits::TX_SIZE_BYTES_MAX,
};

use crate::{config::AdmissionConfig, error::PoolError};

/// The rules of the block after `head`.
#[derive(Clone, Copy, Debug)]
pub struct NextBlock {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Which rules hold.
    pub fork: Fork,
    /// Gas it has.
    pub gas_limit: u64,
    /// How many blobs it takes.
    pub blobs: BlobParams,
}

impl NextBlock {
    /// The next block is taken to be no earlier than its parent; when it is, is not known yet. Its
    /// gas limit is what the engine says: an operator may set it to anything.
    #[must_use]
    pub fn after(spec: &ChainSpec, head: &Header, gas_limit: u64) -> Self {
        let fork = spec.fork_at(Height::new(head.number).next(), head.timestamp);
        let blobs = spec.blob_params(head.timestamp);
        Self { chain_id: spec.chain_id_now(), fork, gas_limit, blobs }
    }
}

/// Checks everything that does not depend on the sender's account. O(n) in its call data.
///
/// # Errors
///
/// The first rule broken, in geth's order.
pub fn check_stateless(
    tx: &RecoveredTx,
    next: &NextBlock,
    config: &AdmissionConfig,
) -> Result<(), PoolError> {
    check_form(tx, next.fork, config)?;
    if let Some(blobs) = tx.tx().as_eip4844() {
        check_blob_hashes(&blobs.tx().blob_versioned_hashes, &next.blobs)?;
        if tx.sidecar().is_none() {
            return Err(BlobError::Missing.into());
        }
    }
    let gas = tx.gas_limit();
    if config.check_tx_gas_limit && next.fork >= Fork::Osaka && gas > TX_GAS_LIMIT_MAX {
        return Err(PoolError::GasLimitTooHigh { cap: TX_GAS_LIMIT_MAX, found: gas });
    }
    if config.check_block_gas_limit && gas > next.gas_limit {
        return Err(PoolError::ExceedsBlockGasLimit { found: gas, limit: next.gas_limit });
    }
    if tx.max_priority_fee_per_gas() > tx.max_fee_per_gas() {
        return Err(PoolError::TipAboveFeeCap);
    }
    // Without a chain id it is from before EIP-155: how the create2 factory is deployed anywhere.
    if let Some(have) = tx.chain_id().filter(|have| *have != next.chain_id) {
        return Err(PoolError::InvalidChainId { have, want: next.chain_id });
    }
    if tx.nonce() == u64::MAX {
        return Err(PoolError::NonceMax);
    }
    let needed = intrinsic_gas(tx.tx(), next.fork);
    if gas < needed.gas {
        return Err(PoolError::IntrinsicGas { found: gas, minimum: needed.gas });
    }
    if gas < needed.floor {
        return Err(PoolError::FloorDataGas { found: gas, minimum: needed.floor });
    }
    if tx.tx().as_eip7702().is_some_and(|tx| tx.tx().authorization_list.is_empty()) {
        return Err(PoolError::NoAuthorizations);
    }
    Ok(())
}

/// Type, size, init code.
fn check_form(tx: &RecoveredTx, fork: Fork, config: &AdmissionConfig) -> Result<(), PoolError> {
    let tx_type = tx.tx_type() as u8;
    let (first, since) = match tx_type {
        0 => (Fork::Frontier, "Frontier"),
        1 => (Fork::Berlin, "Berlin"),
        2 => (Fork::London, "London"),
        3 => (Fork::Cancun, "Cancun"),
        _ => (Fork::Prague, "Prague"),
    };
    let (found, limit) = (tx.size_bytes(), TX_SIZE_BYTES_MAX);
    if found > limit {
        return Err(TxDecodeError::TooLarge { found, limit }.into());
    }
    if fork < first {
        // geth asks for Berlin first, whatever the type.
        let since = if fork < Fork::Berlin { "Berlin" } else { since };
        return Err(PoolError::TypeNotYet { tx_type, since });
    }
    match config.init_code_bytes_max {
        Some(limit) if tx.is_create() && fork >= Fork::Shanghai && tx.input().len() > limit => {
            Err(PoolError::InitCodeTooLarge { found: tx.input().len(), limit })
        }
        _ => Ok(()),
    }
}
