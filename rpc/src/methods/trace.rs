//! `trace_*`: Parity's traces of transactions, blocks and calls.
//!
//! Source: `OpenEthereum`'s trace module; anvil where that leaves a choice.

use std::{ops::Range, sync::Arc};

use alloy_eips::{BlockId, BlockNumHash, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, map::HashSet};
use alloy_rpc_types_eth::{BlockOverrides, TransactionRequest, state::StateOverride};
use alloy_rpc_types_trace::{
    filter::{TraceFilter, TraceFilterMatcher, TraceFilterMode},
    parity::{LocalizedTransactionTrace, RewardAction, RewardType, TraceType},
};
use evenkeel_chain::{Height, RecoveredTx, SealedBlock};
use evenkeel_runtime::{checkpoint, consume};
use evenkeel_state::Durable;
use evenkeel_vm::{
    CallError, TraceCall, TraceFrame, TraceItem, TraceJob, TraceKind, TraceStart, block_rewards,
};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    call, debug_trace,
    limits::{FILTER_ADDRESSES_MAX, READ_REDUCTIONS, TRACE_CALLS_MAX, TRACE_FILTER_BLOCKS_MAX},
    traced::{self, Scene},
    traced_text::{self, FlatTraces},
    transactions,
    written::{Text, Until, written},
};
use crate::{
    answer::Answer,
    api::{Api, Request},
    client::Client,
    error::RpcError,
    executions::Method,
    params::{Arg, Object, Params, Quantity, refuse},
    places::Place,
    position::{self, At, header_not_found},
    render::{Answered, answer, null},
};

type Types = HashSet<TraceType>;

/// `trace_transaction`
pub(super) async fn transaction(api: &Arc<Api>, request: Request<'_>) -> Result<Answer, RpcError> {
    let params = Params::new(request.params, 1)?;
    let hash = params.required::<B256>(0)?;
    let place = api.place(request.client).await?;
    let Some((scene, index)) = mined(api, hash).await? else { return null().map(Answer::from) };
    let (api, who) = (Arc::clone(api), Who::of(request)?);
    who.written(&Arc::clone(&api), place, move |text, who| {
        Box::pin(async move {
            text.push("[").await?;
            let traces = BlockTraces { api: &api, who: &who, matcher: None };
            traces.of_txs((scene, index..index + 1), &mut Page::default(), text).await?;
            text.push("]").await
        })
    })
    .await
}

/// `trace_get`: the trace of a transaction at an address in the tree of its calls.
pub(super) async fn get(api: &Arc<Api>, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    let hash = params.required::<B256>(0)?;
    let Object(indices) = params.required::<Object<Vec<Box<RawValue>>>>(1)?;
    let mut address = Vec::with_capacity(indices.len());
    for index in &indices {
        let Quantity(index) = Quantity::parse(index).map_err(|refusal| refuse(1, &refusal))?;
        address.push(index);
    }
    let _place = api.place(request.client).await?;
    let Some((scene, index)) = mined(api, hash).await? else { return null() };
    let who = (request.client, traced::method(request)?);
    let mut traces = FlatTraces::start(api, who, (scene, index..index + 1, None));
    while let Some(trace) = traces.next().await? {
        if trace.trace.trace_address.iter().map(|index| *index as u64).eq(address.iter().copied()) {
            return answer(&trace);
        }
    }
    null()
}

/// The block of a mined transaction and the place of it there, if there is one.
pub(super) async fn mined(api: &Api, hash: B256) -> Result<Option<(Scene, usize)>, RpcError> {
    let durable = api.durable.get();
    let Some(location) = durable.chain.transaction(hash)? else { return Ok(None) };
    let scene = traced::scene(&durable, location.height).await?;
    Ok(scene.map(|scene| (scene, transactions::index_of(location))))
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
pub(super) async fn block(api: &Arc<Api>, request: Request<'_>) -> Result<Answer, RpcError> {
    let params = Params::new(request.params, 1)?;
    let id = params.required::<BlockId>(0)?;
    let place = api.place(request.client).await?;
    let durable = api.durable.get();
    let scene = match found(api, &durable, id).await? {
        Found::Nothing => return null().map(Answer::from),
        Found::Genesis => return answer::<[(); 0]>(&[]).map(Answer::from),
        Found::Block(scene) => scene,
    };
    let (api, who) = (Arc::clone(api), Who::of(request)?);
    who.written(&Arc::clone(&api), place, move |text, who| {
        Box::pin(async move {
            text.push("[").await?;
            let traces = BlockTraces { api: &api, who: &who, matcher: None };
            traces.write(scene, &mut Page::default(), text).await?;
            text.push("]").await
        })
    })
    .await
}

/// A block as the methods of this file find it.
pub(super) enum Found {
    Nothing,
    /// Nothing happens in it.
    Genesis,
    Block(Scene),
}

pub(super) async fn found(api: &Api, durable: &Durable, id: BlockId) -> Result<Found, RpcError> {
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
pub(super) async fn replay_transaction(
    api: &Arc<Api>,
    request: Request<'_>,
) -> Result<Answer, RpcError> {
    let params = Params::new(request.params, 2)?;
    let hash = params.required::<B256>(0)?;
    let Object(types) = params.required::<Object<Types>>(1)?;
    let kind = TraceKind::Replay { types, has_hash: false };
    debug_trace::mined(api, request, (hash, kind)).await
}

/// `trace_replayBlockTransactions`
pub(super) async fn replay_block(api: &Arc<Api>, request: Request<'_>) -> Result<Answer, RpcError> {
    let params = Params::new(request.params, 2)?;
    let id = params.required::<BlockId>(0)?;
    let Object(types) = params.required::<Object<Types>>(1)?;
    let place = api.place(request.client).await?;
    let durable = api.durable.get();
    match found(api, &durable, id).await? {
        Found::Nothing => null().map(Answer::from),
        Found::Genesis => answer::<[(); 0]>(&[]).map(Answer::from),
        Found::Block(scene) => {
            let count = scene.block.txs.len();
            let kind = TraceKind::Replay { types, has_hash: true };
            let job = scene.job(api, request.client, (0..count, kind));
            traced_text::streamed(api, request, (place, job, TraceFrame::List)).await
        }
    }
}

/// `trace_call`
pub(super) async fn call(api: &Arc<Api>, request: Request<'_>) -> Result<Answer, RpcError> {
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
    let place = api.place(request.client).await?;
    let job = on_block(api, request, (block, items, types)).await?;
    traced_text::streamed(api, request, (place, job, TraceFrame::One)).await
}

/// `trace_callMany`: each call on what those before it left.
pub(super) async fn call_many(api: &Arc<Api>, request: Request<'_>) -> Result<Answer, RpcError> {
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
    let place = api.place(request.client).await?;
    let job = on_block(api, request, (block, items, Types::default())).await?;
    traced_text::streamed(api, request, (place, job, TraceFrame::List)).await
}

/// `trace_rawTransaction`: a signed transaction as it would run after the block.
pub(super) async fn raw_transaction(
    api: &Arc<Api>,
    request: Request<'_>,
) -> Result<Answer, RpcError> {
    let params = Params::new(request.params, 3)?;
    let raw = params.required::<Bytes>(0)?;
    let Object(types) = params.required::<Object<Types>>(1)?;
    let block = params.block(2)?;
    let tx = RecoveredTx::decode(&raw).map_err(|error| RpcError::server(error.to_string()))?;
    let tx = tx.recover().map_err(|error| RpcError::server(error.to_string()))?;
    let items = vec![TraceItem::Signed(tx)];
    let place = api.place(request.client).await?;
    let job = on_block(api, request, (block, items, types)).await?;
    traced_text::streamed(api, request, (place, job, TraceFrame::One)).await
}

/// Traces of what is no part of the chain, after the block, in its environment.
async fn on_block(
    api: &Api,
    request: Request<'_>,
    (block, items, types): (BlockId, Vec<TraceItem>, Types),
) -> Result<TraceJob, RpcError> {
    let start: TraceStart = debug_trace::after(api, &api.durable.get(), block).await?;
    let kind = TraceKind::Replay { types, has_hash: false };
    let (spec, limits) = (Arc::clone(&api.spec), api.limits(request.client));
    Ok(TraceJob { start, items, kind, spec, limits })
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
pub(super) async fn filter(api: &Arc<Api>, request: Request<'_>) -> Result<Answer, RpcError> {
    let params = Params::new(request.params, 1)?;
    let Object(filter) = params.required::<Object<Filter>>(0)?;
    let place = api.place(request.client).await?;
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
    let mut page =
        Page { skipped: filter.after.unwrap_or(0), wanted: filter.count.unwrap_or(u64::MAX) };
    let (api, who) = (Arc::clone(api), Who::of(request)?);
    who.written(&Arc::clone(&api), place, move |text, who| {
        Box::pin(async move {
            text.push("[").await?;
            let traces = BlockTraces { api: &api, who: &who, matcher: Some(&matcher) };
            for number in first..=last {
                if page.wanted == 0 {
                    break;
                }
                consume(READ_REDUCTIONS);
                checkpoint().await;
                text.in_time()?;
                if let Some(scene) = happening(&api, &durable, Height::new(number)).await? {
                    traces.write(scene, &mut page, text).await?;
                }
            }
            text.push("]").await
        })
    })
    .await
}

/// The block at `height`; none if nothing happens in it, which its header says.
async fn happening(
    api: &Api,
    durable: &Durable,
    height: Height,
) -> Result<Option<Scene>, RpcError> {
    let (header, _) = position::header_at(durable, height)?.ok_or_else(header_not_found)?;
    let has_txs = header.transactions_root != alloy_consensus::constants::EMPTY_ROOT_HASH;
    let is_paid = !block_rewards(api.spec.fork_of(&header), &header, &[]).is_empty();
    if height == durable.chain.genesis() || !(has_txs || is_paid) {
        return Ok(None);
    }
    traced::scene(durable, height).await?.ok_or_else(header_not_found).map(Some)
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

/// Who asks, and for what.
pub(super) struct Who {
    pub(super) client: Client,
    pub(super) method: Method,
}

impl Who {
    pub(super) fn of(request: Request<'_>) -> Result<Self, RpcError> {
        Ok(Self { client: request.client.clone(), method: traced::method(request)? })
    }

    /// An answer that is written within the time of an execution.
    pub(super) async fn written<W>(
        self,
        api: &Api,
        place: Place,
        write: W,
    ) -> Result<Answer, RpcError>
    where
        W: for<'a> FnOnce(&'a mut Text, Self) -> BoxFuture<'a, Result<(), RpcError>>
            + Send
            + 'static,
    {
        let client = self.client.clone();
        let (deadline, timeout) = (api.deadline(&client), api.timeout(&client));
        let until =
            Until { deadline, late: CallError::Timeout(timeout).into(), place: Some(place) };
        written(api, &client, until, |text| write(text, self)).await
    }
}

/// Which of the traces found are shown.
struct Page {
    skipped: u64,
    wanted: u64,
}

impl Default for Page {
    fn default() -> Self {
        Self { skipped: 0, wanted: u64::MAX }
    }
}

impl Page {
    /// Whether the next one is.
    fn shows(&mut self) -> bool {
        if self.skipped > 0 {
            self.skipped -= 1;
            return false;
        }
        let is_wanted = self.wanted > 0;
        self.wanted = self.wanted.saturating_sub(1);
        is_wanted
    }
}

/// Writes the traces of blocks, transaction by transaction.
struct BlockTraces<'a> {
    api: &'a Arc<Api>,
    who: &'a Who,
    /// All, if there is none.
    matcher: Option<&'a TraceFilterMatcher>,
}

impl BlockTraces<'_> {
    /// Those of a block, and what is paid for it.
    async fn write(&self, scene: Scene, page: &mut Page, text: &mut Text) -> Result<(), RpcError> {
        let block = Arc::clone(&scene.block);
        let count = block.txs.len();
        if count > 0 {
            self.of_txs((scene, 0..count), page, text).await?;
        }
        for trace in rewards(self.api, &block) {
            self.show(trace, page, text).await?;
        }
        Ok(())
    }

    /// Those of some of its transactions.
    async fn of_txs(
        &self,
        (scene, txs): (Scene, Range<usize>),
        page: &mut Page,
        text: &mut Text,
    ) -> Result<(), RpcError> {
        let Who { client, method } = self.who;
        let asked = (scene, txs, Some(text.deadline()));
        let mut traces = FlatTraces::start(self.api, (client, *method), asked);
        while page.wanted > 0
            && let Some(trace) = traces.next().await?
        {
            self.show(trace, page, text).await?;
        }
        Ok(())
    }

    async fn show(
        &self,
        trace: LocalizedTransactionTrace,
        page: &mut Page,
        text: &mut Text,
    ) -> Result<(), RpcError> {
        let is_meant = self.matcher.is_none_or(|matcher| matcher.matches(&trace.trace));
        if is_meant && page.shows() { text.item(&trace).await } else { Ok(()) }
    }
}
