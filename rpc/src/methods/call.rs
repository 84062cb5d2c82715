//! Executions nobody keeps: `eth_call`, `eth_estimateGas`, `eth_createAccessList`.
//!
//! Each runs as an actor of its own in the client's share, under the client's deadline, once it
//! has a [place](crate::places). Dropping the answer (the client hung up) cancels it within one
//! slice. What it runs on is pinned when it begins, not while it waits.

use std::sync::Arc;

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Bytes, U256};
use alloy_rpc_types_eth::{
    AccessList, BlockOverrides, TransactionRequest,
    state::{EvmOverrides, StateOverride},
};
use evenkeel_vm::{AccessListed, CallError, CallJob, CallKind, CallOutcome, spawn_call};
use serde::Serialize;

use crate::{
    api::{Api, Request},
    client::Client,
    error::RpcError,
    executions::Method,
    params::{Object, Params},
    position,
    render::{Answered, answer, quantity},
};

/// `eth_call`: on the latest block if none is named.
pub(super) async fn call(api: &Api, request: Request<'_>) -> Answered {
    let asked = Asked::new(request, BlockNumberOrTag::Latest)?;
    match asked.run(api, request.client, CallKind::Call).await? {
        CallOutcome::Output(output) => answer::<Bytes>(&output),
        _ => Err(wrong_kind()),
    }
}

/// `eth_estimateGas`: on the pending block if none is named, as anvil does, so that an estimate
/// sees a clock that was turned and no block mined since.
pub(super) async fn estimate_gas(api: &Api, request: Request<'_>) -> Answered {
    let asked = Asked::new(request, BlockNumberOrTag::Pending)?;
    quantity(asked.estimate(api, request.client).await?)
}

/// The gas `call` needs on the pending block.
pub(super) async fn estimate_for(
    api: &Api,
    client: &Client,
    call: TransactionRequest,
) -> Result<u64, RpcError> {
    Ok(estimate_on(api, client, call, BlockNumberOrTag::Pending.into()).await?)
}

/// Why it is not known how much gas a call needs.
pub(super) enum Unestimated {
    /// No gas is enough.
    Fails(RpcError),
    /// It was not found out.
    Unanswered(RpcError),
}

impl From<Unestimated> for RpcError {
    fn from(why: Unestimated) -> Self {
        match why {
            Unestimated::Fails(error) | Unestimated::Unanswered(error) => error,
        }
    }
}

/// The gas `call` needs on this block.
pub(super) async fn estimate_on(
    api: &Api,
    client: &Client,
    call: TransactionRequest,
    block: BlockId,
) -> Result<u64, Unestimated> {
    Asked { call, block, overrides: EvmOverrides::default() }.estimate(api, client).await
}

/// `eth_createAccessList`
pub(super) async fn create_access_list(api: &Api, request: Request<'_>) -> Answered {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Shown {
        access_list: AccessList,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        gas_used: U256,
    }
    let params = Params::new(request.params, 3)?;
    let Object(call) = params.required::<Object<TransactionRequest>>(0)?;
    let block = params.block(1)?;
    let state = params.optional::<Object<StateOverride>>(2)?.map(|Object(state)| state);
    let overrides = EvmOverrides { state, block: None };
    let asked = Asked { call: checked(call)?, block, overrides };
    match asked.run(api, request.client, CallKind::AccessList).await? {
        CallOutcome::AccessList(AccessListed { list, gas_used, error }) => {
            answer(&Shown { access_list: list, error, gas_used })
        }
        _ => Err(wrong_kind()),
    }
}

/// What a client asked to execute.
pub(super) struct Asked {
    pub(super) call: TransactionRequest,
    pub(super) block: BlockId,
    pub(super) overrides: EvmOverrides,
}

impl Asked {
    /// The arguments `call, block, state overrides, block overrides`.
    fn new(request: Request<'_>, default: BlockNumberOrTag) -> Result<Self, RpcError> {
        let params = Params::new(request.params, 4)?;
        let Object(call) = params.required::<Object<TransactionRequest>>(0)?;
        let block = params.optional::<BlockId>(1)?.unwrap_or_else(|| default.into());
        let state = params.optional::<Object<StateOverride>>(2)?.map(|Object(state)| state);
        let block_overrides = params.optional::<Object<BlockOverrides>>(3)?;
        let overrides =
            EvmOverrides { state, block: block_overrides.map(|Object(block)| Box::new(block)) };
        Ok(Self { call: checked(call)?, block, overrides })
    }

    async fn estimate(self, api: &Api, client: &Client) -> Result<u64, Unestimated> {
        let ended = self.ended(api, client, CallKind::EstimateGas).await;
        match ended.map_err(Unestimated::Unanswered)? {
            Ok(CallOutcome::Gas(gas)) => Ok(gas),
            Ok(_) => Err(Unestimated::Unanswered(wrong_kind())),
            Err(error) if error.is_of_call() => Err(Unestimated::Fails(error.into())),
            Err(error) => Err(Unestimated::Unanswered(error.into())),
        }
    }

    pub(super) async fn run(
        self,
        api: &Api,
        client: &Client,
        kind: CallKind,
    ) -> Result<CallOutcome, RpcError> {
        Ok(self.ended(api, client, kind).await??)
    }

    /// How the call ended; else why it had no place, or was killed.
    async fn ended(
        self,
        api: &Api,
        client: &Client,
        kind: CallKind,
    ) -> Result<Result<CallOutcome, CallError>, RpcError> {
        self.ended_as(api, client, (kind, true)).await
    }

    /// The same; the log says what it does only if it `is_heard`.
    pub(super) async fn ended_as(
        self,
        api: &Api,
        client: &Client,
        (kind, is_heard): (CallKind, bool),
    ) -> Result<Result<CallOutcome, CallError>, RpcError> {
        let _place = api.place(client).await?;
        let method = match &kind {
            CallKind::Call => Method::Call,
            CallKind::EstimateGas => Method::EstimateGas,
            CallKind::Trace(_) => Method::TraceCall,
            CallKind::AccessList => Method::CreateAccessList,
        };
        let mut job = self.job(api, (client, kind)).await?;
        job.notes = job.notes.filter(|_| is_heard);
        let share = api.executions.share(client, method);
        let outcome = spawn_call(&api.system, &share, job, client.hold());
        api.executions.run(client, method, outcome).await
    }

    /// The call on the state of now.
    async fn job(
        self,
        api: &Api,
        (client, kind): (&Client, CallKind),
    ) -> Result<CallJob, RpcError> {
        let durable = api.durable.get();
        let (view, header) = position::environment(api, &durable, self.block).await?;
        Ok(CallJob {
            view,
            header,
            spec: Arc::clone(&api.spec),
            request: self.call,
            state_overrides: self.overrides.state,
            block_overrides: self.overrides.block.map(|block| *block),
            kind,
            limits: api.limits(client),
            notes: api.call_noting(),
        })
    }
}

/// Refuses a call whose `data` and `input` differ, in geth's words.
pub(super) fn checked(call: TransactionRequest) -> Result<TransactionRequest, RpcError> {
    if call.input.unique_input().is_err() {
        return Err(RpcError::server(
            "both \"data\" and \"input\" are set and not equal. Please use \"input\" to pass transaction call data",
        ));
    }
    Ok(call)
}

pub(super) fn wrong_kind() -> RpcError {
    RpcError::internal("the call ended as another kind of call")
}
