//! What revm must know of a chain, a block and a transaction.

use alloy_consensus::Transaction as _;
use alloy_primitives::{B256, U256};
use evenkeel_chain::{BlobParams, ChainSpec, Fork, Header, Height, RecoveredTx, TxEnvelope};
use revm::{
    context::{BlockEnv, CfgEnv, TxEnv, either::Either},
    context_interface::block::BlobExcessGasAndPrice,
    primitives::hardfork::SpecId,
};

use crate::{limits::Limits, suspended::Setup};

/// revm's name for the rules of `fork`.
///
/// Constantinople is Petersburg with another `SSTORE` (`constantinople.rs`).
#[must_use]
pub const fn spec_id(fork: Fork) -> SpecId {
    match fork {
        Fork::Frontier => SpecId::FRONTIER,
        Fork::Homestead => SpecId::HOMESTEAD,
        Fork::Tangerine => SpecId::TANGERINE,
        Fork::SpuriousDragon => SpecId::SPURIOUS_DRAGON,
        Fork::Byzantium => SpecId::BYZANTIUM,
        Fork::Constantinople | Fork::Petersburg => SpecId::PETERSBURG,
        Fork::Istanbul | Fork::MuirGlacier => SpecId::ISTANBUL,
        Fork::Berlin => SpecId::BERLIN,
        Fork::London | Fork::ArrowGlacier | Fork::GrayGlacier => SpecId::LONDON,
        Fork::Paris => SpecId::MERGE,
        Fork::Shanghai => SpecId::SHANGHAI,
        Fork::Cancun => SpecId::CANCUN,
        Fork::Prague => SpecId::PRAGUE,
        Fork::Osaka | Fork::Bpo1 | Fork::Bpo2 => SpecId::OSAKA,
    }
}

/// The EVM for transactions of the block with this header.
pub(crate) fn setup(spec: &ChainSpec, header: &Header, limits: &Limits) -> Setup {
    let fork = spec.fork_of(header);
    let blobs = spec.blob_params(header.timestamp);
    Setup {
        cfg: cfg(spec.chain_id_at(Height::new(header.number)), fork, &blobs, limits),
        block: block_env(header, fork, &blobs),
        heavy_gas: limits.heavy_gas,
        is_net_metered: fork == Fork::Constantinople,
        precompiles: None,
    }
}

fn cfg(chain_id: u64, fork: Fork, blobs: &BlobParams, limits: &Limits) -> CfgEnv {
    let mut cfg = CfgEnv::new_with_spec(spec_id(fork)).with_chain_id(chain_id);
    cfg.memory_limit = limits.memory_bytes_max as u64;
    cfg.limit_contract_code_size = limits.code_size_max;
    // None is the fork's own cap.
    cfg.tx_gas_limit_cap = if limits.tx_gas_cap { None } else { Some(u64::MAX) };
    cfg.max_blobs_per_tx = Some(blobs.max_blobs_per_tx);
    cfg.blob_base_fee_update_fraction = u64::try_from(blobs.update_fraction).ok();
    cfg
}

fn block_env(header: &Header, fork: Fork, blobs: &BlobParams) -> BlockEnv {
    let excess_blob_gas = header.excess_blob_gas.unwrap_or(0);
    BlockEnv {
        number: U256::from(header.number),
        beneficiary: header.beneficiary,
        timestamp: U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        basefee: header.base_fee_per_gas.unwrap_or(0),
        difficulty: if fork >= Fork::Paris { U256::ZERO } else { header.difficulty },
        prevrandao: (fork >= Fork::Paris).then_some(header.mix_hash),
        blob_excess_gas_and_price: (fork >= Fork::Cancun).then(|| BlobExcessGasAndPrice {
            excess_blob_gas,
            blob_gasprice: blobs.calc_blob_fee(excess_blob_gas),
        }),
        slot_num: 0,
    }
}

/// Recovers the signer of the next authorization of `tx` (EIP-7702); returns false if there is none
/// left. revm would recover all of them at once, about 50 us each.
pub(crate) fn recover_authority(tx: &mut TxEnv) -> bool {
    let next = tx.authorization_list.partition_point(Either::is_right);
    let Some(slot) = tx.authorization_list.get_mut(next) else { return false };
    if let Either::Left(signed) = slot {
        *slot = Either::Right(signed.clone().into_recovered());
    }
    true
}

/// The transaction as revm takes it.
pub(crate) fn tx_env(tx: &RecoveredTx) -> TxEnv {
    let envelope: &TxEnvelope = tx.tx();
    let gas_price = envelope.gas_price().unwrap_or_else(|| envelope.max_fee_per_gas());
    TxEnv {
        tx_type: envelope.tx_type() as u8,
        caller: tx.sender(),
        gas_limit: envelope.gas_limit(),
        gas_price,
        kind: envelope.kind(),
        value: envelope.value(),
        data: envelope.input().clone(),
        nonce: envelope.nonce(),
        chain_id: envelope.chain_id(),
        access_list: envelope.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: envelope.max_priority_fee_per_gas(),
        blob_hashes: envelope.blob_versioned_hashes().map(<[B256]>::to_vec).unwrap_or_default(),
        max_fee_per_blob_gas: envelope.max_fee_per_blob_gas().unwrap_or(0),
        authorization_list: envelope
            .authorization_list()
            .unwrap_or_default()
            .iter()
            .cloned()
            .map(Either::Left)
            .collect(),
    }
}
