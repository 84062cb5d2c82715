//! `trace_transactionOpcodeGas` and `trace_blockOpcodeGas`: what each kind of instruction was
//! executed for. Source: reth.

use std::sync::Arc;

use alloy_eips::BlockId;
use alloy_primitives::B256;
use alloy_rpc_types_trace::opcode::BlockOpcodeGas;
use evenkeel_vm::{TraceFrame, TraceKind};

use super::{
    trace::{Found, found, mined},
    traced_text,
};
use crate::{
    answer::Answer,
    api::{Api, Request},
    error::RpcError,
    params::Params,
    position,
    render::{answer, null},
};

/// `trace_transactionOpcodeGas`: `null` if there is no such transaction.
pub(super) async fn transaction(api: &Arc<Api>, request: Request<'_>) -> Result<Answer, RpcError> {
    let params = Params::new(request.params, 1)?;
    let hash = params.required::<B256>(0)?;
    let place = api.place(request.client).await?;
    let Some((scene, index)) = mined(api, hash).await? else { return null().map(Answer::from) };
    let job = scene.job(api, request.client, (index..index + 1, TraceKind::OpcodeGas));
    traced_text::streamed(api, request, (place, job, TraceFrame::One)).await
}

/// `trace_blockOpcodeGas`: the same of each transaction of a block; `null` if there is no such
/// block. Streamed.
pub(super) async fn block(api: &Arc<Api>, request: Request<'_>) -> Result<Answer, RpcError> {
    let params = Params::new(request.params, 1)?;
    let id = params.required::<BlockId>(0)?;
    let place = api.place(request.client).await?;
    let durable = api.durable.get();
    let scene = match found(api, &durable, id).await? {
        Found::Nothing => return null().map(Answer::from),
        Found::Genesis => {
            let (header, block_hash) = position::header_at(&durable, durable.chain.genesis())?
                .ok_or_else(|| RpcError::internal("the first block is not there"))?;
            let block_number = header.number;
            let empty = BlockOpcodeGas { block_hash, block_number, transactions: Vec::new() };
            return answer(&empty).map(Answer::from);
        }
        Found::Block(scene) => scene,
    };
    let (hash, number, count) =
        (scene.block.hash, scene.block.header.number, scene.block.txs.len());
    let before = format!(r#"{{"blockHash":"{hash}","blockNumber":{number},"transactions":"#);
    let job = scene.job(api, request.client, (0..count, TraceKind::OpcodeGas));
    let frame = TraceFrame::ListWithin { before, after: "}".to_owned() };
    traced_text::streamed(api, request, (place, job, frame)).await
}
