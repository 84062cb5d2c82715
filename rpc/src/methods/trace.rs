//! `trace_*`: Parity's traces of transactions, blocks and calls.
//!
//! Source: `OpenEthereum`'s trace module; anvil where that leaves a choice.

use std::sync::Arc;

use alloy_eips::{BlockId, BlockNumHash, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, map::HashSet};
use alloy_rpc_types_eth::{BlockOverrides, TransactionRequest, state::StateOverride};
use alloy_rpc_types_trace::{
    filter::{TraceFilter, TraceFilterMode},
    parity::{LocalizedTransactionTrace, RewardAction, RewardType, TraceType},
};
use evenkeel_chain::{Height, RecoveredTx, SealedBlock};
use evenkeel_runtime::{checkpoint, consume};
use evenkeel_state::Durable;
use evenkeel_vm::{TraceCall, TraceItem, TraceJob, TraceKind, TraceStart, Traced, block_rewards};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    call, debug_trace,
    limits::{
        FILTER_ADDRESSES_MAX, ITEM_REDUCTIONS, READ_REDUCTIONS, TRACE_CALLS_MAX,
        TRACE_FILTER_BLOCKS_MAX, TRACE_FILTER_RESULTS_MAX,
    },
    logs::in_time,
    traced::{self, Scene},
};
use crate::{
    api::{Api, Request},
    error::RpcError,
    params::{Arg, Object, Params, Quantity, refuse},
    position::{self, At, header_not_found},
    render::{Answered, answer, joined, null},
};

type Types = HashSet<TraceType>;

/// `trace_transaction`
pub(super) async fn transaction(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 1)?;
    let hash = params.required::<B256>(0)?;
    let _place = api.place(request.client).await?;
    let Some(traces) = of_transaction(api, request, hash).await? else { return null() };
    let mut shown = Shown::default();
    for trace in &traces {
        shown.add(api, trace).await?;
    }
    shown.joined(api).await
}

/// `trace_get`: the trace of a transaction at an address in the tree of its calls.
pub(super) async fn get(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    let hash = params.required::<B256>(0)?;
    let Object(indices) = params.required::<Object<Vec<Box<RawValue>>>>(1)?;
    let mut address = Vec::with_capacity(indices.len());
    for index in &indices {
        let Quantity(index) = Quantity::parse(index).map_err(|refusal| refuse(1, &refusal))?;
        address.push(index);
    }
    let _place = api.place(request.client).await?;
    let Some(traces) = of_transaction(api, request, hash).await? else { return null() };
    let is_it = |trace: &&LocalizedTransactionTrace| {
        trace.trace.trace_address.iter().map(|index| *index as u64).eq(address.iter().copied())
    };
    answer(&traces.iter().find(is_it))
}

/// The traces of a mined transaction, if there is one.
pub(super) async fn of_transaction(
    api: &Api,
    request: Request<'_>,
    hash: B256,
) -> Result<Option<Vec<LocalizedTransactionTrace>>, RpcError> {
    let durable = api.durable.get();
    let Some(location) = durable.chain.transaction(hash)? else { return Ok(None) };
    let at = (&*durable, location);
    match traced::transaction(api, request, at, TraceKind::Flat).await? {
        Some(Traced::Flat(traces)) => Ok(Some(traces)),
        Some(_) => Err(traced::wrong_kind()),
        None => Ok(None),
    }
}

/// The traces of all transactions of a block, in order.
pub(super) async fn of_block(
    api: &Api,
    request: Request<'_>,
    scene: Scene,
) -> Result<Vec<Vec<LocalizedTransactionTrace>>, RpcError> {
    let count = scene.block.txs.len();
    let traces = scene.traces(api, request, (0..count, TraceKind::Flat)).await?;
    let flat = traces.into_iter().map(|trace| match trace {
        Traced::Flat(traces) => Ok(traces),
        Traced::Json(_) | Traced::Operations(_) | Traced::Output(_) => Err(traced::wrong_kind()),
    });
    flat.collect()
}

/// What miner and uncles of a block are paid, as traces.
fn rewards(api: &Api, block: &SealedBlock) -> Vec<LocalizedTransactionTrace> {
    let fork = api.spec.fork_of(&block.header);
    let place = BlockNumHash { number: block.header.number, hash: block.hash };
    let paid = block_rewards(fork, &block.header, &block.ommers).into_iter().enumerate();
    let traces = paid.map(|(nth, (author, value))| {
        let reward_type = if nth == 0 { RewardType::Block } else { RewardType::Uncle };
        RewardAction { author, reward_type, value }.into_localized_trace(place)
    });
    traces.collect()
}

/// `trace_block`
pub(super) async fn block(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 1)?;
    let id = params.required::<BlockId>(0)?;
    let _place = api.place(request.client).await?;
    let durable = api.durable.get();
    let mut shown = Shown::default();
    match found(api, &durable, id).await? {
        Found::Nothing => return null(),
        Found::Genesis => {}
        Found::Block(scene) => {
            let block = Arc::clone(&scene.block);
            for trace in of_block(api, request, scene).await?.iter().flatten() {
                shown.add(api, trace).await?;
            }
            for trace in &rewards(api, &block) {
                shown.add(api, trace).await?;
            }
        }
    }
    shown.joined(api).await
}

/// A block as the methods of this file find it.
enum Found {
    Nothing,
    /// Nothing happens in it.
    Genesis,
    Block(Scene),
}

async fn found(api: &Api, durable: &Durable, id: BlockId) -> Result<Found, RpcError> {
    let height = match position::locate(api, durable, id)? {
        Some(At::Block(height)) => height,
        Some(At::Pending) => return Err(debug_trace::pending()),
        None => return Ok(Found::Nothing),
    };
    if height == durable.chain.genesis() {
        return Ok(Found::Genesis);
    }
    let scene = traced::scene(durable, height).await?;
    Ok(scene.map_or(Found::Nothing, Found::Block))
}

/// `trace_replayTransaction`
pub(super) async fn replay_transaction(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    let hash = params.required::<B256>(0)?;
    let Object(types) = params.required::<Object<Types>>(1)?;
    let _place = api.place(request.client).await?;
    let durable = api.durable.get();
    let not_found = || RpcError::server("transaction not found");
    let location = durable.chain.transaction(hash)?.ok_or_else(not_found)?;
    let kind = TraceKind::Replay { types, has_hash: false };
    let trace = traced::transaction(api, request, (&durable, location), kind).await?;
    traced::text(trace.ok_or_else(not_found)?)
}

/// `trace_replayBlockTransactions`
pub(super) async fn replay_block(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    let id = params.required::<BlockId>(0)?;
    let Object(types) = params.required::<Object<Types>>(1)?;
    let _place = api.place(request.client).await?;
    let durable = api.durable.get();
    match found(api, &durable, id).await? {
        Found::Nothing => null(),
        Found::Genesis => answer::<[(); 0]>(&[]),
        Found::Block(scene) => {
            let count = scene.block.txs.len();
            let kind = TraceKind::Replay { types, has_hash: true };
            texts(api, scene.traces(api, request, (0..count, kind)).await?).await
        }
    }
}

/// Traces that are text already, as a list.
async fn texts(api: &Api, traces: Vec<Traced>) -> Answered {
    let texts: Result<Vec<_>, _> = traces.into_iter().map(traced::text).collect();
    let texts = texts?;
    let bytes = texts.iter().map(|text| text.get().len()).sum();
    joined(&api.system, texts, bytes).await
}

/// `trace_call`
pub(super) async fn call(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 5)?;
    let Object(call) = params.required::<Object<TransactionRequest>>(0)?;
    let Object(types) = params.required::<Object<Types>>(1)?;
    let block = params.block(2)?;
    let state_overrides = params.optional::<Object<StateOverride>>(3)?.map(|Object(it)| it);
    let block_overrides =
        params.optional::<Object<BlockOverrides>>(4)?.map(|Object(it)| Arc::new(it));
    let request_of_call = call::checked(call)?;
    let call = TraceCall { request: request_of_call, state_overrides, block_overrides, kind: None };
    let items = vec![TraceItem::Call(Box::new(call))];
    let mut traces = on_block(api, request, (block, items, types)).await?;
    traced::text(traces.pop().ok_or_else(traced::wrong_kind)?)
}

/// `trace_callMany`: each call on what those before it left.
pub(super) async fn call_many(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    let Object(calls) = params.required::<Object<Vec<(TransactionRequest, Types)>>>(0)?;
    let block = params.block(1)?;
    let count = calls.len();
    if count > TRACE_CALLS_MAX {
        return Err(refuse(0, &format!("{count} calls, limit {TRACE_CALLS_MAX}")));
    }
    let mut items = Vec::with_capacity(count);
    for (call, types) in calls {
        let call = TraceCall {
            request: call::checked(call)?,
            state_overrides: None,
            block_overrides: None,
            kind: Some(TraceKind::Replay { types, has_hash: false }),
        };
        items.push(TraceItem::Call(Box::new(call)));
    }
    texts(api, on_block(api, request, (block, items, Types::default())).await?).await
}

/// `trace_rawTransaction`: a signed transaction as it would run after the block.
pub(super) async fn raw_transaction(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 3)?;
    let raw = params.required::<Bytes>(0)?;
    let Object(types) = params.required::<Object<Types>>(1)?;
    let block = params.block(2)?;
    let tx = RecoveredTx::decode(&raw).map_err(|error| RpcError::server(error.to_string()))?;
    let tx = tx.recover().map_err(|error| RpcError::server(error.to_string()))?;
    let items = vec![TraceItem::Signed(tx)];
    let mut traces = on_block(api, request, (block, items, types)).await?;
    traced::text(traces.pop().ok_or_else(traced::wrong_kind)?)
}

/// Traces of what is no part of the chain, after the block, in its environment.
async fn on_block(
    api: &Api,
    request: Request<'_>,
    (block, items, types): (BlockId, Vec<TraceItem>, Types),
) -> Result<Vec<Traced>, RpcError> {
    let _place = api.place(request.client).await?;
    let start: TraceStart = debug_trace::after(api, &api.durable.get(), block).await?;
    let kind = TraceKind::Replay { types, has_hash: false };
    let (spec, limits) = (Arc::clone(&api.spec), api.limits(request.client));
    traced::run(api, request, TraceJob { start, items, kind, spec, limits }).await
}

/// The argument of `trace_filter`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter {
    from_block: Option<Box<RawValue>>,
    to_block: Option<Box<RawValue>>,
    from_address: Option<Vec<Address>>,
    to_address: Option<Vec<Address>>,
    mode: Option<TraceFilterMode>,
    after: Option<u64>,
    count: Option<u64>,
}

/// `trace_filter`
pub(super) async fn filter(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 1)?;
    let Object(filter) = params.required::<Object<Filter>>(0)?;
    let _place = api.place(request.client).await?;
    let durable = api.durable.get();
    let (first, last) = range(api, &durable, &filter)?;
    let from_address = filter.from_address.unwrap_or_default();
    let to_address = filter.to_address.unwrap_or_default();
    if from_address.len().max(to_address.len()) > FILTER_ADDRESSES_MAX {
        return Err(refuse(0, &format!("more than {FILTER_ADDRESSES_MAX} addresses")));
    }
    let mode = filter.mode.unwrap_or_default();
    let matcher =
        TraceFilter { from_address, to_address, mode, ..TraceFilter::default() }.matcher();
    let mut skipped = filter.after.unwrap_or(0);
    let mut wanted = filter.count.unwrap_or(u64::MAX);
    let deadline = api.deadline(request.client);
    let mut shown = Shown::default();
    for number in first..=last {
        if wanted == 0 {
            break;
        }
        consume(READ_REDUCTIONS);
        checkpoint().await;
        in_time(api.system.now(), deadline)?;
        let Some(traces) = of_height(api, request, (&durable, Height::new(number))).await? else {
            continue;
        };
        for trace in traces.iter().filter(|trace| matcher.matches(&trace.trace)) {
            if skipped > 0 {
                skipped -= 1;
            } else if wanted > 0 {
                wanted -= 1;
                shown.add(api, trace).await?;
            }
        }
    }
    shown.joined(api).await
}

/// All traces of the block at `height`; none if nothing happens in it, which its header says.
async fn of_height(
    api: &Api,
    request: Request<'_>,
    (durable, height): (&Durable, Height),
) -> Result<Option<Vec<LocalizedTransactionTrace>>, RpcError> {
    let (header, _) = position::header_at(durable, height)?.ok_or_else(header_not_found)?;
    let has_txs = header.transactions_root != alloy_consensus::constants::EMPTY_ROOT_HASH;
    let is_paid = !block_rewards(api.spec.fork_of(&header), &header, &[]).is_empty();
    if height == durable.chain.genesis() || !(has_txs || is_paid) {
        return Ok(None);
    }
    let scene = traced::scene(durable, height).await?.ok_or_else(header_not_found)?;
    let block = Arc::clone(&scene.block);
    let mut traces: Vec<_> = if has_txs {
        of_block(api, request, scene).await?.into_iter().flatten().collect()
    } else {
        Vec::new()
    };
    traces.append(&mut rewards(api, &block));
    Ok(Some(traces))
}

/// The heights that a filter means, cut at the head: from the first to the latest block unless it
/// says otherwise.
fn range(api: &Api, durable: &Durable, filter: &Filter) -> Result<(u64, u64), RpcError> {
    let height = |raw: &Option<Box<RawValue>>, default| {
        let tag = match raw {
            Some(raw) => BlockNumberOrTag::parse(raw).map_err(|refusal| refuse(0, &refusal))?,
            None => default,
        };
        Ok::<_, RpcError>(position::number(api, durable, tag).get())
    };
    let first = height(&filter.from_block, BlockNumberOrTag::Earliest)?;
    let last = height(&filter.to_block, BlockNumberOrTag::Latest)?;
    if first > last {
        let text = "invalid parameters: fromBlock cannot be greater than toBlock";
        return Err(RpcError::invalid_params(text));
    }
    let first = first.max(durable.chain.genesis().get());
    let last = last.min(durable.header.number);
    if last.saturating_sub(first) >= TRACE_FILTER_BLOCKS_MAX {
        let text = format!("query exceeds max block range {TRACE_FILTER_BLOCKS_MAX}");
        return Err(RpcError::limit(text));
    }
    Ok((first, last))
}

/// Traces as they are shown, within the bounds of an answer.
#[derive(Default)]
struct Shown {
    texts: Vec<Box<RawValue>>,
    bytes: usize,
}

impl Shown {
    /// Shows one more, giving way to others before.
    async fn add(&mut self, api: &Api, trace: &LocalizedTransactionTrace) -> Result<(), RpcError> {
        consume(ITEM_REDUCTIONS);
        checkpoint().await;
        let text = answer(trace)?;
        self.bytes += text.get().len();
        if self.bytes > api.config.response_bytes_max {
            return Err(RpcError::response_too_large());
        }
        if self.texts.len() >= TRACE_FILTER_RESULTS_MAX {
            let max = TRACE_FILTER_RESULTS_MAX;
            return Err(RpcError::limit(format!("query exceeds max results {max}")));
        }
        self.texts.push(text);
        Ok(())
    }

    async fn joined(self, api: &Api) -> Answered {
        joined(&api.system, self.texts, self.bytes).await
    }
}
