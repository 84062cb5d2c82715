//! Traces of mined transactions, as all trace methods run them: one execution that replays a block
//! once.

use std::{ops::Range, sync::Arc};

use evenkeel_chain::{Height, SealedBlock};
use evenkeel_state::{Durable, TxLocation, View};
use evenkeel_vm::{TraceJob, TraceKind, Traced, spawn_trace};

use super::{transactions, whole};
use crate::{
    api::{Api, Request},
    client::Client,
    error::RpcError,
    executions::Method,
    position,
};

/// A block of the chain with the state before it.
pub(super) struct Scene {
    pub(super) block: Arc<SealedBlock>,
    pub(super) parent_view: View,
}

/// The block at `height`, if there is one.
///
/// # Errors
///
/// It is the first one, which nothing comes before.
pub(super) async fn scene(durable: &Durable, height: Height) -> Result<Option<Scene>, RpcError> {
    if height == durable.chain.genesis() {
        return Err(RpcError::server("genesis is not traceable"));
    }
    let Some(block) = whole::block(durable, height).await? else { return Ok(None) };
    let parent_view = durable.chain.view_before(height)?;
    let parent_view = parent_view.ok_or_else(|| {
        let parent = height.prev().unwrap_or(height);
        position::no_view(durable, parent)
    })?;
    Ok(Some(Scene { block, parent_view }))
}

impl Scene {
    /// The traces of some transactions of the block.
    pub(super) async fn traces(
        self,
        api: &Api,
        request: Request<'_>,
        asked: (Range<usize>, TraceKind),
    ) -> Result<Vec<Traced>, RpcError> {
        run(api, request, self.job(api, request.client, asked)).await
    }

    pub(super) fn job(
        self,
        api: &Api,
        client: &Client,
        (txs, kind): (Range<usize>, TraceKind),
    ) -> TraceJob {
        let rules = (Arc::clone(&api.spec), api.limits(client));
        TraceJob::of_block((self.parent_view, self.block), txs, kind, rules)
    }
}

/// The trace of the transaction at `location`; none if the chain has changed meanwhile.
pub(super) async fn transaction(
    api: &Api,
    request: Request<'_>,
    (durable, location): (&Durable, TxLocation),
    kind: TraceKind,
) -> Result<Option<Traced>, RpcError> {
    let Some(scene) = scene(durable, location.height).await? else { return Ok(None) };
    let index = transactions::index_of(location);
    Ok(scene.traces(api, request, (index..index + 1, kind)).await?.pop())
}

/// Runs traces for a request, which has its place.
pub(super) async fn run(
    api: &Api,
    request: Request<'_>,
    job: TraceJob,
) -> Result<Vec<Traced>, RpcError> {
    let method = method(request)?;
    let share = api.executions.share(request.client, method);
    let traced = spawn_trace(&api.system, &share, job, request.client.hold());
    Ok(api.executions.run(request.client, method, traced).await??)
}

/// What is executed for the request.
pub(super) fn method(request: Request<'_>) -> Result<Method, RpcError> {
    Method::named(request.method).ok_or_else(|| {
        RpcError::internal(format!("{} is not known to execute anything", request.method))
    })
}

/// The error for a trace of another kind than asked for: a mistake of ours.
pub(super) fn wrong_kind() -> RpcError {
    RpcError::internal("the trace ended as another kind of trace")
}
