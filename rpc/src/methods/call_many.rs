//! `eth_callMany`: bundles of calls, each call on what those before it left.
//!
//! Source: reth and erigon, whose answers differ in how they show a value; it is shown as
//! `eth_call` shows it. A call that fails says why in its place; one that cannot even begin fails
//! them all.

use std::{sync::Arc, time::Duration};

use alloy_rpc_types_eth::{Bundle, EthCallResponse, StateContext, state::StateOverride};
use evenkeel_vm::{Limits, TraceJob, TraceKind, Traced};

use super::{debug_trace, traced};
use crate::{
    api::{Api, Request},
    error::RpcError,
    params::{Object, Params},
    render::{Answered, joined, pieces},
};

/// `eth_callMany`: after the latest block if no context is given.
pub(super) async fn call_many(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 4)?;
    let Object(bundles) = params.required::<Object<Vec<Bundle>>>(0)?;
    let context = params.optional::<Object<StateContext>>(1)?.map(|Object(context)| context);
    let state = params.optional::<Object<StateOverride>>(2)?.map(|Object(state)| state);
    let limits = limits(api, request, params.optional::<u64>(3)?);
    let (lens, items) = debug_trace::bundled(bundles, (state, None))?;
    if items.is_empty() {
        return Err(RpcError::invalid_params("bundles are empty."));
    }
    let _place = api.place(request.client).await?;
    let start = debug_trace::context_of(api, &api.durable.get(), context).await?;
    let spec = Arc::clone(&api.spec);
    let job = TraceJob { start, items, kind: TraceKind::Output, spec, limits };
    let mut outcomes = traced::run(api, request, job).await?.into_iter();
    let mut bytes = 0;
    let mut shown = Vec::with_capacity(lens.len());
    for len in lens {
        let outcomes: Result<Vec<_>, _> = outcomes.by_ref().take(len).map(response).collect();
        let bundle = pieces(outcomes?.into_iter()).await?;
        bytes += bundle.iter().map(|response| response.get().len()).sum::<usize>();
        shown.push(bundle);
    }
    joined(&api.system, shown, bytes).await
}

/// What the node allows, or less time if the client says so.
fn limits(api: &Api, request: Request<'_>, timeout_ms: Option<u64>) -> Limits {
    let mut limits = api.limits(request.client);
    if let Some(timeout) = timeout_ms.map(Duration::from_millis)
        && timeout < limits.timeout
    {
        limits.timeout = timeout;
        limits.is_own_time = true;
        limits.deadline = Some(request.client.arrived.saturating_add(timeout));
    }
    limits
}

fn response(traced: Traced) -> Result<EthCallResponse, RpcError> {
    match traced {
        Traced::Output(Ok(value)) => Ok(EthCallResponse { value: Some(value), error: None }),
        Traced::Output(Err(error)) => {
            Ok(EthCallResponse { value: None, error: Some(error.to_string()) })
        }
        Traced::Json(_) | Traced::Operations(_) => Err(traced::wrong_kind()),
    }
}
