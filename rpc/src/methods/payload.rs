//! `testing_buildBlockV1`: a block on a given parent, as an engine would get it from
//! `engine_getPayload`, without a change of the chain.

use std::sync::Arc;

use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, Bloom, Bytes, U64, U256};
use evenkeel_chain::{
    BlockAttributes, Fork, Header, Height, RecoveredTx, SealedBlock, Withdrawal,
    limits::GAS_LIMIT_BOUND_DIVISOR,
};
use evenkeel_runtime::{checkpoint, consume};
use evenkeel_state::Durable;
use evenkeel_vm::{Payload, PayloadJob, spawn_payload};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    limits::{PAYLOAD_GAS_LIMIT_TARGET, PAYLOAD_TXS_MAX, RECOVER_REDUCTIONS},
    pending,
};
use crate::{
    api::{Api, Request},
    error::RpcError,
    executions::Method,
    params::{Object, Params, refuse},
    position::{self, At},
    render::{Answered, answer, pieces},
};

/// `PayloadAttributesV3`, and the gas limit to aim at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attributes {
    timestamp: U64,
    prev_randao: B256,
    suggested_fee_recipient: Address,
    withdrawals: Option<Vec<Withdrawal>>,
    parent_beacon_block_root: Option<B256>,
    target_gas_limit: Option<U64>,
}

/// `testing_buildBlockV1`
pub(super) async fn build(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 4)?;
    let parent = BlockId::hash(params.required::<B256>(0)?);
    let Object(asked) = params.required::<Object<Attributes>>(1)?;
    let raw = params.optional::<Object<Vec<Bytes>>>(2)?.map(|Object(raw)| raw);
    let extra_data = params.optional::<Bytes>(3)?.unwrap_or_default();

    let _place = api.place(request.client).await?;
    let durable = api.durable.get();
    let (header, hash) = parent_of(api, &durable, parent)?;
    let target = asked.target_gas_limit.map_or(PAYLOAD_GAS_LIMIT_TARGET, |limit| limit.to());
    let attributes = BlockAttributes {
        timestamp: asked.timestamp.to(),
        prev_randao: asked.prev_randao,
        fee_recipient: asked.suggested_fee_recipient,
        gas_limit: gas_limit(header.gas_limit, target),
        base_fee: None,
        extra_data,
        parent_beacon_root: asked.parent_beacon_block_root.unwrap_or_default(),
        withdrawals: asked.withdrawals.unwrap_or_default(),
        txs_max: None,
        must_have_txs: false,
    };
    let is_binding = raw.is_some();
    let txs = match raw {
        Some(raw) => recovered(raw).await?,
        None if hash == durable.hash => {
            let mut txs = pending::transactions(api, &durable, attributes.gas_limit).await?;
            txs.retain(|tx| tx.sidecar().is_none());
            txs
        }
        // What waits in the pool waits for the head.
        None => Vec::new(),
    };
    let job = PayloadJob {
        ground: position::ground(api, &durable, parent)?,
        spec: Arc::clone(&api.spec),
        attributes,
        txs,
        is_binding,
        limits: api.limits(request.client),
    };
    let method = Method::BuildPayload;
    let share = api.executions.share(request.client, method);
    let payload = spawn_payload(&api.system, &share, job);
    let payload = api.executions.run(request.client, method, payload).await??;
    envelope(api, payload).await
}

fn parent_of(api: &Api, durable: &Durable, id: BlockId) -> Result<(Arc<Header>, B256), RpcError> {
    let unknown = || RpcError::server("unknown parent block");
    match position::locate(api, durable, id)?.ok_or_else(unknown)? {
        At::Block(height) => position::header_at(durable, height)?.ok_or_else(unknown),
        At::Pending => Err(unknown()),
    }
}

/// The gas limit nearest to `target` that a child may have; geth's `CalcGasLimit`.
fn gas_limit(parent: u64, target: u64) -> u64 {
    let step = (parent / GAS_LIMIT_BOUND_DIVISOR).saturating_sub(1);
    target.clamp(parent - step, parent.saturating_add(step))
}

/// Decodes transactions and finds out who signed them, one a turn if need be.
async fn recovered(raw: Vec<Bytes>) -> Result<Vec<Arc<RecoveredTx>>, RpcError> {
    if raw.len() > PAYLOAD_TXS_MAX {
        let found = raw.len();
        return Err(RpcError::invalid_params(format!(
            "too many transactions: {found}, limit {PAYLOAD_TXS_MAX}"
        )));
    }
    let mut txs = Vec::with_capacity(raw.len());
    for (index, raw) in raw.iter().enumerate() {
        consume(RECOVER_REDUCTIONS);
        checkpoint().await;
        let faulty = |error: String| refuse(2, &format!("transaction {index}: {error}"));
        let tx = RecoveredTx::decode(raw).map_err(|error| faulty(error.to_string()))?;
        if tx.tx().is_eip4844() {
            return Err(faulty("blob transactions are not put into payloads".to_owned()));
        }
        txs.push(tx.recover().map_err(|error| faulty(error.to_string()))?);
    }
    Ok(txs)
}

/// `ExecutionPayloadV3` in the answer of `engine_getPayloadV4`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    execution_payload: ExecutionPayload,
    block_value: U256,
    blobs_bundle: BlobsBundle,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution_requests: Option<Vec<Bytes>>,
    should_override_builder: bool,
}

/// Always empty: blob transactions are left out, for their blobs would have to come with them.
#[derive(Default, Serialize)]
struct BlobsBundle {
    commitments: [Bytes; 0],
    proofs: [Bytes; 0],
    blobs: [Bytes; 0],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExecutionPayload {
    parent_hash: B256,
    fee_recipient: Address,
    state_root: B256,
    receipts_root: B256,
    logs_bloom: Bloom,
    prev_randao: B256,
    block_number: U64,
    gas_limit: U64,
    gas_used: U64,
    timestamp: U64,
    extra_data: Bytes,
    base_fee_per_gas: U256,
    block_hash: B256,
    transactions: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    withdrawals: Option<Vec<Withdrawal>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blob_gas_used: Option<U64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    excess_blob_gas: Option<U64>,
}

async fn envelope(api: &Api, payload: Payload) -> Answered {
    let Payload { block, requests, value } = payload;
    let SealedBlock { header, hash, txs, withdrawals, .. } = &*block;
    let fork = api.spec.fork_at(Height::new(header.number), header.timestamp);
    answer(&Envelope {
        execution_payload: ExecutionPayload {
            parent_hash: header.parent_hash,
            fee_recipient: header.beneficiary,
            state_root: header.state_root,
            receipts_root: header.receipts_root,
            logs_bloom: header.logs_bloom,
            prev_randao: header.mix_hash,
            block_number: U64::from(header.number),
            gas_limit: U64::from(header.gas_limit),
            gas_used: U64::from(header.gas_used),
            timestamp: U64::from(header.timestamp),
            extra_data: header.extra_data.clone(),
            base_fee_per_gas: U256::from(header.base_fee_per_gas.unwrap_or(0)),
            block_hash: *hash,
            transactions: pieces(txs.iter().map(|tx| tx.encoded())).await?,
            withdrawals: withdrawals.clone(),
            blob_gas_used: header.blob_gas_used.map(U64::from),
            excess_blob_gas: header.excess_blob_gas.map(U64::from),
        },
        block_value: value,
        blobs_bundle: BlobsBundle::default(),
        execution_requests: (fork >= Fork::Prague).then_some(requests),
        should_override_builder: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the gas limit goes where it is wanted, no faster than a child may.
    #[test]
    fn the_gas_limit_moves_by_less_than_a_1024th() {
        let table = [
            (200_000_000, 60_000_000, 0xbe8_c711),
            (30_000_000, 60_000_000, 30_029_295),
            (30_000_000, 30_000_100, 30_000_100),
            (30_000_000, 30_000_000, 30_000_000),
            (5_000, u64::MAX, 5_003),
        ];
        for (parent, target, expected) in table {
            assert_eq!(gas_limit(parent, target), expected, "{parent} to {target}");
        }
    }
}
