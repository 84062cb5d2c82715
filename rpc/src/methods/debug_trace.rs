//! `debug_trace*`: geth's traces of transactions, blocks and calls.

use std::sync::Arc;

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{B256, Bytes};
use alloy_rpc_types_eth::{
    BlockOverrides, Bundle, StateContext, TransactionIndex, TransactionRequest,
    state::StateOverride,
};
use alloy_rpc_types_trace::geth::{GethDebugTracingCallOptions, GethDebugTracingOptions};
use evenkeel_chain::{Height, SealedBlock, UnrecoveredBlock};
use evenkeel_state::Durable;
use evenkeel_vm::{TraceCall, TraceFrame, TraceItem, TraceJob, TraceKind, TraceStart, Within};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{
    call,
    chain_reads::By,
    limits::TRACE_CALLS_MAX,
    traced::{self, Scene},
    traced_text, transactions,
};
use crate::{
    answer::Answer,
    api::{Api, Request},
    error::RpcError,
    params::{Arg, Object, Params, Refusal, refuse},
    places::Place,
    position::{self, At, header_not_found},
};

/// `debug_traceTransaction`
pub(super) async fn transaction(api: &Arc<Api>, request: Request<'_>) -> Result<Answer, RpcError> {
    let params = Params::new(request.params, 2)?;
    let hash = params.required::<B256>(0)?;
    let kind = options(&params, 1)?;
    mined(api, request, (hash, kind)).await
}

/// The trace of the mined transaction with this hash.
pub(super) async fn mined(
    api: &Arc<Api>,
    request: Request<'_>,
    (hash, kind): (B256, TraceKind),
) -> Result<Answer, RpcError> {
    let place = api.place(request.client).await?;
    let durable = api.durable.get();
    let not_found = || RpcError::server("transaction not found");
    let location = durable.chain.transaction(hash)?.ok_or_else(not_found)?;
    let scene = traced::scene(&durable, location.height).await?.ok_or_else(not_found)?;
    let index = transactions::index_of(location);
    let job = scene.job(api, request.client, (index..index + 1, kind));
    traced_text::answer(api, request, (place, job, TraceFrame::One)).await
}

/// `debug_traceBlockByNumber`, `debug_traceBlockByHash`
pub(super) async fn block(
    api: &Arc<Api>,
    request: Request<'_>,
    by: By,
) -> Result<Answer, RpcError> {
    let params = Params::new(request.params, 2)?;
    let id = by.block(&params, 0)?;
    let kind = options(&params, 1)?;
    let place = api.place(request.client).await?;
    let durable = api.durable.get();
    let scene = match position::locate(api, &durable, id)? {
        Some(At::Block(height)) => traced::scene(&durable, height).await?,
        Some(At::Pending) => return Err(pending()),
        None => None,
    };
    whole(api, request, (place, scene.ok_or_else(|| not_found(id))?, kind)).await
}

/// geth's error for a block that is not there.
pub(super) fn not_found(id: BlockId) -> RpcError {
    RpcError::server(match id {
        BlockId::Hash(hash) => format!("block {} not found", hash.block_hash),
        BlockId::Number(BlockNumberOrTag::Number(number)) => format!("block #{number} not found"),
        BlockId::Number(tag) => format!("block {tag} not found"),
    })
}

/// A block that came as RLP.
enum Decoded {
    /// It is in the chain.
    Known(Height),
    New(Arc<SealedBlock>),
}

/// `debug_traceBlock`: of a block that comes as RLP and whose parent is in the chain.
pub(super) async fn raw_block(api: &Arc<Api>, request: Request<'_>) -> Result<Answer, RpcError> {
    let params = Params::new(request.params, 2)?;
    let rlp = params.required::<Bytes>(0)?;
    let kind = options(&params, 1)?;
    let place = api.place(request.client).await?;
    let durable = api.durable.get();
    let (spec, chain) = (Arc::clone(&api.spec), durable.chain.clone());
    // Milliseconds of work. A block of the chain is not recovered: who signed it is known, or
    // nobody did (impersonated senders).
    let decoded = api.system.compute_async(move |yielder| {
        let block = SealedBlock::decode_rlp(&rlp).map_err(|error| error.to_string())?;
        if let Ok(Some(height)) = chain.height_of(block.hash) {
            return Ok(Decoded::Known(height));
        }
        let UnrecoveredBlock { header, hash, txs, ommers, withdrawals } = block;
        let fork = spec.fork_of(&header);
        let recovered = txs.into_iter().enumerate().map(|(index, tx)| {
            // 50 us each.
            if index % 16 == 0 && yielder.should_stop() {
                return Err("cancelled".to_owned());
            }
            tx.recover_at(fork).map_err(|error| error.to_string())
        });
        let txs = recovered.collect::<Result<_, _>>()?;
        Ok(Decoded::New(Arc::new(SealedBlock { header, hash, txs, ommers, withdrawals })))
    });
    let decoded = decoded.await.map_err(|lost| RpcError::internal(format!("decoding: {lost}")))?;
    let scene = match decoded {
        Ok(Decoded::Known(height)) => traced::scene(&durable, height).await?,
        Ok(Decoded::New(block)) => on_parent(&durable, block)?,
        Err::<_, String>(error) => {
            return Err(RpcError::server(format!("could not decode block: {error}")));
        }
    };
    let scene = scene.ok_or_else(|| RpcError::server("parent block not found"))?;
    whole(api, request, (place, scene, kind)).await
}

/// A block that is not in the chain, after its parent, which is.
fn on_parent(durable: &Durable, block: Arc<SealedBlock>) -> Result<Option<Scene>, RpcError> {
    if block.height() <= durable.chain.genesis() {
        return Err(RpcError::server("genesis is not traceable"));
    }
    let Some(height) = durable.chain.height_of(block.header.parent_hash)? else { return Ok(None) };
    if height.next() != block.height() {
        return Ok(None);
    }
    let parent_view = position::view_at(durable, height)?;
    Ok(Some(Scene { block, parent_view }))
}

/// The traces of all transactions of a block, each with its hash.
async fn whole(
    api: &Arc<Api>,
    request: Request<'_>,
    (place, scene, kind): (Place, Scene, TraceKind),
) -> Result<Answer, RpcError> {
    let count = scene.block.txs.len();
    let job = scene.job(api, request.client, (0..count, kind));
    traced_text::answer(api, request, (place, job, TraceFrame::Block)).await
}

/// `debug_traceCall`
pub(super) async fn call(api: &Arc<Api>, request: Request<'_>) -> Result<Answer, RpcError> {
    let params = Params::new(request.params, 3)?;
    let Object(call) = params.required::<Object<TransactionRequest>>(0)?;
    let block = params.block(1)?;
    let GethDebugTracingCallOptions {
        tracing_options: options,
        state_overrides,
        block_overrides,
        tx_index,
    } = call_options(&params, 2)?;
    let call = TraceCall {
        request: call::checked(call)?,
        state_overrides,
        block_overrides: block_overrides.map(Arc::new),
        kind: None,
    };
    let items = vec![TraceItem::Call(Box::new(call))];
    let place = api.place(request.client).await?;
    let durable = api.durable.get();
    let start = match tx_index {
        Some(tx_index) => within(api, &durable, (block, tx_index)).await?,
        None => after(api, &durable, block).await?,
    };
    let job = job(api, request, (start, items, options));
    traced_text::answer(api, request, (place, job, TraceFrame::One)).await
}

/// `debug_traceCallMany`: bundles of calls, each call on what those before it left.
pub(super) async fn call_many(api: &Arc<Api>, request: Request<'_>) -> Result<Answer, RpcError> {
    let params = Params::new(request.params, 3)?;
    let Object(bundles) = params.required::<Object<Vec<Bundle>>>(0)?;
    let context = params.optional::<Object<StateContext>>(1)?.map(|Object(context)| context);
    let options = call_options(&params, 2)?;
    let overrides = (options.state_overrides, options.block_overrides);
    let (lens, items) = bundled(bundles, overrides)?;
    let place = api.place(request.client).await?;
    let start = context_of(api, &api.durable.get(), context).await?;
    let job = job(api, request, (start, items, options.tracing_options));
    traced_text::answer(api, request, (place, job, TraceFrame::Lists(lens))).await
}

/// The calls of all bundles, and how many each bundle has. The overrides of the state hold from the
/// first call on, those of the block where a bundle has none of its own.
pub(super) fn bundled(
    bundles: Vec<Bundle>,
    (mut state, block): (Option<StateOverride>, Option<BlockOverrides>),
) -> Result<(Vec<usize>, Vec<TraceItem>), RpcError> {
    let lens: Vec<usize> = bundles.iter().map(|bundle| bundle.transactions.len()).collect();
    let count = lens.iter().sum::<usize>();
    if count > TRACE_CALLS_MAX {
        return Err(refuse(0, &format!("{count} calls, limit {TRACE_CALLS_MAX}")));
    }
    let mut items = Vec::with_capacity(count);
    let block = block.map(Arc::new);
    for bundle in bundles {
        let block_overrides = bundle.block_override.map(Arc::new).or_else(|| block.clone());
        for call in bundle.transactions {
            let call = TraceCall {
                request: call::checked(call)?,
                state_overrides: state.take(),
                block_overrides: block_overrides.clone(),
                kind: None,
            };
            items.push(TraceItem::Call(Box::new(call)));
        }
    }
    Ok((lens, items))
}

/// What comes before the calls of bundles: a block, or some of its transactions.
pub(super) async fn context_of(
    api: &Api,
    durable: &Durable,
    context: Option<StateContext>,
) -> Result<TraceStart, RpcError> {
    let StateContext { block_number, transaction_index } = context.unwrap_or_default();
    let block = block_number.unwrap_or_default();
    match transaction_index {
        Some(TransactionIndex::Index(index)) => within(api, durable, (block, index as u64)).await,
        Some(TransactionIndex::All) | None => after(api, durable, block).await,
    }
}

fn job(
    api: &Api,
    request: Request<'_>,
    (start, items, options): (TraceStart, Vec<TraceItem>, GethDebugTracingOptions),
) -> TraceJob {
    let (spec, limits) = (Arc::clone(&api.spec), api.limits(request.client));
    TraceJob { start, items, kind: TraceKind::Geth(options), spec, limits }
}

/// After the block, in its environment.
pub(super) async fn after(
    api: &Api,
    durable: &Durable,
    block: BlockId,
) -> Result<TraceStart, RpcError> {
    let (view, header) = position::environment(api, durable, block).await?;
    Ok(TraceStart::State { view, header })
}

/// In the block, before its transaction `index`.
async fn within(
    api: &Api,
    durable: &Durable,
    (block, index): (BlockId, u64),
) -> Result<TraceStart, RpcError> {
    let height: Height =
        match position::locate(api, durable, block)?.ok_or_else(header_not_found)? {
            At::Block(height) => height,
            At::Pending => return Err(pending()),
        };
    let scene = traced::scene(durable, height).await?.ok_or_else(header_not_found)?;
    let Scene { block, parent_view } = scene;
    let count = block.txs.len();
    let replayed = usize::try_from(index).ok().filter(|index| *index <= count);
    let replayed = replayed.ok_or_else(|| {
        RpcError::server(format!("transaction index {index} out of range for block {}", block.hash))
    })?;
    Ok(TraceStart::Block(Within { parent_view, block, replayed }))
}

/// geth's error for a trace of what is not executed.
pub(super) fn pending() -> RpcError {
    RpcError::server("tracing on top of pending is not supported")
}

/// Options of a trace; geth's defaults if there are none.
pub(super) fn geth_options(
    params: &Params<'_>,
    index: usize,
) -> Result<GethDebugTracingOptions, RpcError> {
    let options = params.optional::<Options<GethDebugTracingOptions>>(index)?;
    Ok(options.map(|Options(options)| options).unwrap_or_default())
}

/// Options of a trace; says of a member of another type what was expected and what was found.
struct Options<T>(T);

impl<T: DeserializeOwned> Arg for Options<T> {
    fn parse(raw: &RawValue) -> Result<Self, Refusal> {
        let refusal = match Object::parse(raw) {
            Ok(Object(options)) => return Ok(Self(options)),
            Err(refusal) => refusal,
        };
        let value = serde_json::from_str(raw.get());
        let wrong = value.ok().and_then(|value| evenkeel_vm::wrong_option(&value));
        Err(wrong.map_or(refusal, Refusal::from))
    }
}

fn options(params: &Params<'_>, index: usize) -> Result<TraceKind, RpcError> {
    Ok(TraceKind::Geth(geth_options(params, index)?))
}

fn call_options(
    params: &Params<'_>,
    index: usize,
) -> Result<GethDebugTracingCallOptions, RpcError> {
    let options = params.optional::<Options<GethDebugTracingCallOptions>>(index)?;
    Ok(options.map(|Options(options)| options).unwrap_or_default())
}
