//! `eth_simulateV1`: blocks of calls on top of a block of the chain.
//!
//! One execution, as `eth_call` is: an actor of its own in the client's share, under the client's
//! deadline, once it has a [place](crate::places). `pending` is the head, since the transactions
//! that wait are not executed.

use std::sync::Arc;

use alloy_primitives::Bytes;
use alloy_rpc_types_eth::{BlockOverrides, TransactionRequest, state::StateOverride};
use evenkeel_chain::{SealedBlock, Withdrawal};
use evenkeel_vm::{
    CallError, SimulateJob, SimulatedBlock, SimulatedCall, SimulatedInput, check_sizes,
    spawn_simulation,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    api::{Api, Request},
    error::RpcError,
    executions::Method,
    params::{Object, Params},
    position,
    render::{self, Answered, Place, answer, pieces},
};

/// Code of a call that failed without reverting; geth's `errCodeVMError`.
const CODE_HALTED: i64 = -32_015;
/// What geth adds to the error of a call whose gas limit was lowered.
const CAPPED: &str = " (gas limit was capped by the RPC server's global gas cap)";

/// What is asked for; absent and `null` are the same.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    block_state_calls: Option<Vec<AskedBlock>>,
    trace_transfers: Option<bool>,
    validation: Option<bool>,
    return_full_transactions: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AskedBlock {
    block_overrides: Option<Overrides>,
    state_overrides: Option<StateOverride>,
    calls: Option<Vec<TransactionRequest>>,
}

#[derive(Deserialize)]
struct Overrides {
    #[serde(flatten)]
    header: BlockOverrides,
    withdrawals: Option<Vec<Withdrawal>>,
}

impl From<AskedBlock> for SimulatedInput {
    fn from(asked: AskedBlock) -> Self {
        let (overrides, withdrawals) = match asked.block_overrides {
            Some(Overrides { header, withdrawals }) => (header, withdrawals.unwrap_or_default()),
            None => (BlockOverrides::default(), Vec::new()),
        };
        let calls = asked.calls.unwrap_or_default();
        Self { overrides, withdrawals, state: asked.state_overrides, calls }
    }
}

/// `eth_simulateV1`: on the latest block if none is named.
pub(super) async fn simulate(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    let Object(asked) = params.required::<Object<Asked>>(0)?;
    let block = params.block(1)?;
    let blocks = asked.block_state_calls.unwrap_or_default().into_iter().map(Into::into);
    let blocks: Vec<SimulatedInput> = blocks.collect();
    check_sizes(&blocks).map_err(|error| RpcError::from(CallError::from(error)))?;

    let _place = api.place(request.client).await?;
    let job = SimulateJob {
        ground: position::ground(api, &api.durable.get(), block)?,
        spec: Arc::clone(&api.spec),
        blocks,
        has_transfers: asked.trace_transfers.unwrap_or(false),
        is_validated: asked.validation.unwrap_or(false),
        limits: api.limits(request.client),
    };
    let method = Method::Simulate;
    let share = api.executions.share(request.client, method);
    let outcome = spawn_simulation(&api.system, &share, job);
    let blocks = api.executions.run(request.client, method, outcome).await??;

    let is_full = asked.return_full_transactions.unwrap_or(false);
    let mut shown = Vec::with_capacity(blocks.len());
    for SimulatedBlock { block, calls } in blocks {
        let calls = shown_calls(&block, calls).await?;
        shown.push(render::simulated_block(&block, is_full, calls).await?);
    }
    answer(&shown)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownCall {
    return_data: Bytes,
    logs: Vec<Box<RawValue>>,
    gas_used: String,
    max_used_gas: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ShownFault>,
}

#[derive(Serialize)]
struct ShownFault {
    message: String,
    code: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Bytes>,
}

async fn shown_calls(
    block: &SealedBlock,
    calls: Vec<SimulatedCall>,
) -> Result<Vec<Box<RawValue>>, RpcError> {
    let mut shown = Vec::with_capacity(calls.len());
    for (index, call) in calls.into_iter().enumerate() {
        let place = Place::of(block, index);
        let logs = call.logs.into_iter().map(|log| render::log(place, log.log, log.number));
        let logs = pieces(logs).await?;
        let call = ShownCall {
            return_data: call.output,
            logs,
            gas_used: format!("{:#x}", call.gas_used),
            max_used_gas: format!("{:#x}", call.gas_peak),
            status: if call.fault.is_none() { "0x1" } else { "0x0" },
            error: call.fault.as_ref().map(|fault| shown_fault(fault, call.is_capped)),
        };
        shown.append(&mut pieces(std::iter::once(call)).await?);
    }
    Ok(shown)
}

fn shown_fault(fault: &CallError, is_capped: bool) -> ShownFault {
    let data = fault.data();
    let code = if data.is_some() { fault.code() } else { CODE_HALTED };
    let suffix = if is_capped && data.is_none() { CAPPED } else { "" };
    ShownFault { message: format!("{fault}{suffix}"), code, data }
}
