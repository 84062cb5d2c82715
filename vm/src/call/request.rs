//! From a JSON-RPC transaction request to what revm executes, by geth's rules for calls.
//!
//! Pure. Source: geth `internal/ethapi`: `TransactionArgs.CallDefaults`, `ToMessage`, `doCall`.

use std::sync::Arc;

use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_rpc_types_eth::{
    BlockOverrides, TransactionInput, TransactionRequest, state::StateOverride,
};
use evenkeel_chain::{ChainSpec, Header};
use revm::{
    context::{Cfg as _, TxEnv, either::Either},
    primitives::hardfork::SpecId,
};

use crate::{
    env,
    error::{CallError, InvalidCall, TxFacts},
    heavy::MovedPrecompiles,
    limits::Limits,
    overlay::Overlay,
    overrides::Overrides,
    suspended::Setup,
};

/// Gas of a call that names none and is not capped, as in geth.
const GAS_UNCAPPED: u64 = u64::MAX / 2;

/// A call ready to run.
pub(super) struct Prepared {
    pub(super) setup: Setup,
    pub(super) tx: TxEnv,
    pub(super) facts: TxFacts,
    /// Gas limit that the request names.
    pub(super) gas_named: Option<u64>,
    /// Gas that a transaction may have at most (EIP-7825), which a call may exceed as in geth.
    pub(super) tx_gas_max: u64,
}

/// Turns the request into a transaction on the block with `header`, as changed by `overrides`.
pub(super) fn prepare(
    request: TransactionRequest,
    overrides: Option<&BlockOverrides>,
    header: &Header,
    (spec, limits): (&ChainSpec, &Limits),
) -> Result<Prepared, CallError> {
    let header = overridden_header(header, overrides)?;
    let mut setup = env::setup(spec, &header, limits);
    if let Some(fee) = overrides.and_then(|overrides| overrides.blob_base_fee)
        && let Some(blob) = &mut setup.block.blob_excess_gas_and_price
    {
        blob.blob_gasprice = narrow("blobBaseFee", fee)?;
    }
    setup.cfg.disable_nonce_check = true;
    setup.cfg.disable_eip3607 = true;
    setup.cfg.disable_block_gas_limit = true;
    setup.cfg.tx_chain_id_check = false;
    setup.cfg.chain_id = spec.chain_id_now();
    let tx_gas_max = setup.cfg.tx_gas_limit_cap();
    setup.cfg.tx_gas_limit_cap = Some(u64::MAX);

    let gas_named = request.gas;
    let tx = transaction(request, header.gas_limit, spec, limits)?;
    // The same of blobs.
    if !tx.blob_hashes.is_empty()
        && tx.max_fee_per_blob_gas == 0
        && let Some(blob) = &mut setup.block.blob_excess_gas_and_price
    {
        blob.blob_gasprice = 0;
    }
    // As geth: a call that offers nothing for its gas runs at base fee zero.
    if tx.gas_price == 0 {
        setup.block.basefee = 0;
    }
    let facts = TxFacts::of(&tx, setup.block.basefee);
    Ok(Prepared { setup, tx, facts, gas_named, tx_gas_max })
}

fn transaction(
    mut request: TransactionRequest,
    gas_block: u64,
    spec: &ChainSpec,
    limits: &Limits,
) -> Result<TxEnv, CallError> {
    request.populate_blob_hashes();
    if let Some(have) = request.chain_id
        && have != spec.chain_id_now()
    {
        let want = spec.chain_id_now();
        return Err(CallError::Invalid(InvalidCall::ChainId { have, want }));
    }
    let has_fee_caps =
        request.max_fee_per_gas.is_some() || request.max_priority_fee_per_gas.is_some();
    if has_fee_caps && request.gas_price.is_some() {
        return Err(CallError::Invalid(InvalidCall::BothFees));
    }
    // Gas that is paid for and not named is that of a block: nobody could pay for an endless run.
    let has_price = request.gas_price.or(request.max_fee_per_gas).unwrap_or(0) > 0;
    let gas_unnamed = if has_price { gas_block } else { GAS_UNCAPPED };
    let gas_limit = request.gas.unwrap_or(limits.gas_cap.unwrap_or(gas_unnamed));
    let authorizations = request.authorization_list.unwrap_or_default();
    let blob_hashes = request.blob_versioned_hashes.unwrap_or_default();
    let has_list = request.access_list.is_some();
    let tx_type = match (authorizations.is_empty(), blob_hashes.is_empty(), has_fee_caps) {
        (false, _, _) => 4,
        (true, false, _) => 3,
        (true, true, true) => 2,
        (true, true, false) => u8::from(has_list),
    };
    Ok(TxEnv {
        tx_type,
        caller: request.from.unwrap_or(Address::ZERO),
        gas_limit: gas_limit.min(limits.gas_cap.unwrap_or(u64::MAX)),
        gas_price: request.gas_price.or(request.max_fee_per_gas).unwrap_or(0),
        kind: request.to.unwrap_or(TxKind::Create),
        value: request.value.unwrap_or(U256::ZERO),
        data: input(request.input)?,
        nonce: request.nonce.unwrap_or(0),
        chain_id: Some(spec.chain_id_now()),
        access_list: request.access_list.unwrap_or_default(),
        gas_priority_fee: (tx_type >= 2).then(|| request.max_priority_fee_per_gas.unwrap_or(0)),
        blob_hashes,
        max_fee_per_blob_gas: request.max_fee_per_blob_gas.unwrap_or(0),
        authorization_list: authorizations.into_iter().map(Either::Left).collect(),
    })
}

fn input(input: TransactionInput) -> Result<Bytes, CallError> {
    match (input.input, input.data) {
        (Some(input), Some(data)) if input != data => {
            Err(CallError::Invalid(InvalidCall::BothInputs))
        }
        (input, data) => Ok(input.or(data).unwrap_or_default()),
    }
}

fn overridden_header(
    header: &Header,
    overrides: Option<&BlockOverrides>,
) -> Result<Header, CallError> {
    let mut header = header.clone();
    let Some(overrides) = overrides else { return Ok(header) };
    if let Some(number) = overrides.number {
        header.number = narrow("number", number)?;
    }
    if let Some(base_fee) = overrides.base_fee {
        header.base_fee_per_gas = Some(narrow("baseFeePerGas", base_fee)?);
    }
    header.difficulty = overrides.difficulty.unwrap_or(header.difficulty);
    header.timestamp = overrides.time.unwrap_or(header.timestamp);
    header.gas_limit = overrides.gas_limit.unwrap_or(header.gas_limit);
    header.beneficiary = overrides.coinbase.unwrap_or(header.beneficiary);
    header.mix_hash = overrides.random.unwrap_or(header.mix_hash);
    header.parent_beacon_block_root = overrides.beacon_root.or(header.parent_beacon_block_root);
    Ok(header)
}

fn narrow<T: TryFrom<U256>>(field: &'static str, value: U256) -> Result<T, CallError> {
    T::try_from(value).map_err(|_| CallError::Invalid(InvalidCall::BlockOverride(field)))
}

/// Puts the overrides of state and block hashes on top of the state; returns the precompiles, if
/// they changed.
pub(super) fn apply_overrides(
    overlay: &mut Overlay,
    (state, spec): (Option<StateOverride>, SpecId),
    block: Option<Arc<BlockOverrides>>,
) -> Result<Option<Arc<MovedPrecompiles>>, CallError> {
    overlay.override_block_hashes(block);
    let Some(state) = state else { return Ok(None) };
    let (overrides, precompiles) = Overrides::new(state, spec)?;
    overrides.finish(overlay)?;
    Ok(Some(Arc::new(precompiles)))
}
