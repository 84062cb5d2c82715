//! `debug_subscribe` with `traceChain`: the traces of many blocks, a notification for each.
//!
//! Source: geth `eth/tracers/api.go`, `TraceChain`. The first block is left out; a block without
//! transactions is told of if it is the last.
//!
//! A notification is streamed, and a block is traced when the one before has been taken, in a
//! place and a time of its own. Blocks are read as the chain has them then. What goes wrong before
//! a block has any text is told in the place of its traces, and is the end; later the connection is
//! broken off, as with answers that are streamed (`docs/adr/0013`). Who ends the subscription
//! within a block gets the transaction under way, and an error in the place of the others.

use std::sync::Arc;

use alloy_consensus::constants::EMPTY_ROOT_HASH;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::B256;
use alloy_rpc_types_trace::geth::GethDebugTracingOptions;
use evenkeel_chain::Height;
use evenkeel_runtime::{checkpoint, consume};
use evenkeel_vm::TraceKind;
use futures_util::FutureExt as _;
use serde_json::json;

use super::{debug_trace, limits::READ_REDUCTIONS, subscribe::session, traced, traced_text};
use crate::{
    api::{Api, Request},
    client::Client,
    error::RpcError,
    executions::Method,
    params::Params,
    position::{self, At},
    render::{Answered, answer},
    session::Outbox,
};

/// `debug_subscribe`: `traceChain` with the first and the last block and the options of a trace.
pub(super) fn subscribe(api: &Arc<Api>, request: Request<'_>) -> Answered {
    let session = session(request)?;
    let params = Params::new(request.params, 4)?;
    let kind = params.required::<String>(0)?;
    if kind != "traceChain" {
        let text = format!("no \"{kind}\" subscription in debug namespace");
        return Err(RpcError::new(-32_601, text));
    }
    let (start, end) = (height(api, &params, 1)?, height(api, &params, 2)?);
    if start >= end {
        return Err(RpcError::server(format!(
            "end block (#{end}) needs to come after start block (#{start})"
        )));
    }
    let options = debug_trace::geth_options(&params, 3)?;
    traced_text::timeout(api, &options)?;
    TraceKind::Geth(options.clone()).check()?;
    let chain = ChainTraces { api: Arc::clone(api), client: request.client.clone(), end, options };
    let id = session.open(move |_, outbox| chain.run(start, outbox.within("debug")).boxed())?;
    answer(&id)
}

/// The block that the argument at `index` names, which has to be there.
fn height(api: &Api, params: &Params<'_>, index: usize) -> Result<Height, RpcError> {
    let id = BlockId::Number(params.required::<BlockNumberOrTag>(index)?);
    let durable = api.durable.get();
    match position::locate(api, &durable, id)? {
        Some(At::Block(height)) if height <= durable.height() => Ok(height),
        Some(At::Block(_)) | None => Err(debug_trace::not_found(id)),
        Some(At::Pending) => Err(debug_trace::pending()),
    }
}

/// What one subscriber is told of.
struct ChainTraces {
    api: Arc<Api>,
    client: Client,
    end: Height,
    options: GethDebugTracingOptions,
}

impl ChainTraces {
    async fn run(self, start: Height, outbox: Outbox) {
        let mut height = start;
        while height < self.end {
            height = height.next();
            match self.tell(height, &outbox).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    if outbox.notify_error(&error).is_err() {
                        return;
                    }
                    break;
                }
            }
        }
        // As on geth it is there until the subscriber ends it.
        std::future::pending::<()>().await;
    }

    /// Sends the traces of a block and waits until they are taken; false when nobody listens any
    /// more.
    async fn tell(&self, height: Height, outbox: &Outbox) -> Result<bool, RpcError> {
        let Self { api, end, options, .. } = self;
        consume(READ_REDUCTIONS);
        checkpoint().await;
        let durable = api.durable.get();
        let not_found = || debug_trace::not_found(BlockId::number(height.get()));
        let (header, hash) = position::header_at(&durable, height)?.ok_or_else(not_found)?;
        if header.transactions_root == EMPTY_ROOT_HASH {
            let number = format!("{:#x}", height.get());
            let note = json!({ "block": number, "hash": hash, "traces": [] });
            return Ok(height != *end || outbox.notify(&note).is_ok());
        }
        let client = Client { arrived: api.system.now(), ..self.client.clone() };
        let place = api.place(&client).await?;
        let scene = traced::scene(&durable, height).await?.ok_or_else(not_found)?;
        let (hash, count) = (scene.block.hash, scene.block.txs.len());
        let job = scene.job(api, &client, (0..count, TraceKind::Geth(options.clone())));
        let who = (&client, Method::TraceChain);
        let (text, taken) = traced_text::of_block(api, who, (place, job)).await?;
        Ok(outbox.stream(&begin(height, hash), text).is_ok() && taken.await.is_ok())
    }
}

/// A block's traces up to the list of them.
fn begin(height: Height, hash: B256) -> String {
    let number = height.get();
    format!(r#"{{"block":"{number:#x}","hash":"{hash}","traces":"#)
}
