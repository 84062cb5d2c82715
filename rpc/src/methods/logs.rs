//! `eth_getLogs`: the blocks that the index leads to, and of them the receipts.

use std::sync::Arc;

use alloy_eips::BlockNumberOrTag;
use alloy_rpc_types_eth::Log;
use evenkeel_chain::Height;
use evenkeel_runtime::{Time, checkpoint, consume};
use evenkeel_state::{DroppedBlock, Durable, LogSearch, LogStep};

use super::{
    limits::{READ_REDUCTIONS, RECEIPT_REDUCTIONS, SEARCH_REDUCTIONS},
    whole::executed,
    written::{Until, written},
};
use crate::{
    answer::Answer,
    api::{Api, Request},
    client::Client,
    error::RpcError,
    log_query::{Blocks, LogQuery},
    params::Params,
    position::{self, header_not_found},
    render::{self, Place, answer, pieces},
};

/// `eth_getLogs`
pub(super) async fn logs(api: &Arc<Api>, request: Request<'_>) -> Result<Answer, RpcError> {
    let params = Params::new(request.params, 1)?;
    let query = params.required::<LogQuery>(0)?;
    let durable = api.durable.get();
    if let Blocks::Range { to: Some(BlockNumberOrTag::Number(to)), .. } = query.blocks
        && to > durable.header.number
    {
        let text = "block range extends beyond current head block";
        return Err(RpcError::invalid_params(text));
    }
    all(api, request.client, (durable, Arc::new(query))).await
}

/// All logs of the pinned chain that `query` asks for, streamed as they are found; put together
/// first if their number is capped, since that they are too many is to be said in their place.
///
/// # Errors
///
/// -32602 for a range from high to low, -32000 if it spans too many blocks, as geth's, -32005 if it
/// holds more logs than the operator allows, -32002 when the deadline passes.
pub(super) async fn all(
    api: &Arc<Api>,
    client: &Client,
    (durable, query): (Arc<Durable>, Arc<LogQuery>),
) -> Result<Answer, RpcError> {
    let span = span(api, &durable, query.blocks)?;
    let deadline = api.deadline(client);
    let mut search = Search::new(api, (durable, query), span);
    if let Some(max) = api.config.logs_max {
        let found = search.capped(max, deadline).await?;
        return answer(&pieces(found.iter()).await?).map(Answer::from);
    }
    let until = Until { deadline, late: timed_out(), place: None };
    written(api, client, until, move |text| {
        Box::pin(async move {
            text.push("[").await?;
            while let Some((_, logs)) = search.next(text.deadline()).await? {
                for log in &logs {
                    text.item(log).await?;
                }
            }
            text.push("]").await
        })
    })
    .await
}

/// The logs that a query asks for, block by block.
struct Search {
    api: Arc<Api>,
    durable: Arc<Durable>,
    query: Arc<LogQuery>,
    blocks: LogSearch,
    first: u64,
}

impl Search {
    fn new(
        api: &Arc<Api>,
        (durable, query): (Arc<Durable>, Arc<LogQuery>),
        (first, last): (u64, u64),
    ) -> Self {
        let heights = Height::new(first)..=Height::new(last);
        let blocks = durable.chain.find_logs(query.conditions(), heights);
        Self { api: Arc::clone(api), durable, query, blocks, first }
    }

    /// The matching logs of the next block that may have some.
    async fn next(&mut self, deadline: Time) -> Result<Option<(Height, Vec<Log>)>, RpcError> {
        loop {
            checkpoint().await;
            in_time(self.api.system.now(), deadline)?;
            match self.blocks.step()? {
                LogStep::Block(height) => {
                    consume(READ_REDUCTIONS);
                    let logs = of_block(&self.durable, height, &self.query).await?;
                    return Ok(Some((height, logs)));
                }
                LogStep::More => consume(SEARCH_REDUCTIONS),
                LogStep::Done => return Ok(None),
            }
        }
    }

    /// All of them, if they are no more than `max`.
    async fn capped(&mut self, max: usize, deadline: Time) -> Result<Vec<Log>, RpcError> {
        let mut found = Vec::new();
        while let Some((height, mut logs)) = self.next(deadline).await? {
            if found.len() + logs.len() > max {
                let first = self.first;
                let advice = match height.get().checked_sub(1).filter(|before| *before >= first) {
                    Some(before) => format!(", retry with the range {first}-{before}"),
                    None => String::new(),
                };
                return Err(RpcError::limit(format!("query exceeds max results {max}{advice}")));
            }
            found.append(&mut logs);
        }
        Ok(found)
    }
}

/// The matching logs of one block, in order.
pub(super) async fn of_block(
    durable: &Durable,
    height: Height,
    query: &LogQuery,
) -> Result<Vec<Log>, RpcError> {
    let sealed = durable.chain.header(height)?.ok_or_else(header_not_found)?;
    if !query.may_match(&sealed.header.logs_bloom) {
        return Ok(Vec::new());
    }
    let (block, receipts) = executed(durable, height).await?.ok_or_else(header_not_found)?;
    let mut nth = 0;
    let mut found = Vec::new();
    for (index, receipt) in receipts.iter().enumerate() {
        consume(RECEIPT_REDUCTIONS);
        checkpoint().await;
        for log in &receipt.logs {
            if query.matches(log) {
                found.push(render::log(Place::of(&block, index), log.clone(), nth));
            }
            nth += 1;
        }
    }
    Ok(found)
}

/// The matching logs of a block that is no longer in the chain, in order, as removed.
pub(super) async fn removed(block: &DroppedBlock, query: &LogQuery) -> Vec<Log> {
    let mut found = Vec::new();
    if !query.may_match(&block.bloom) {
        return found;
    }
    for (dropped, nth) in block.logs.iter().zip(0..) {
        consume(RECEIPT_REDUCTIONS);
        checkpoint().await;
        if query.matches(&dropped.log) {
            found.push(render::removed_log(block, dropped, nth));
        }
    }
    found
}

/// For whom dropped blocks from `first` to `last` are too many or too old to be taken back by log.
pub(super) fn forgotten(first: u64, last: u64) -> RpcError {
    RpcError::server(format!(
        "logs of blocks {first} to {last} were removed by a reorg and are no longer known: \
         read the logs from block {first} on anew"
    ))
}

/// The heights that a query is about.
fn span(api: &Api, durable: &Durable, blocks: Blocks) -> Result<(u64, u64), RpcError> {
    match blocks {
        Blocks::Hash(hash) => {
            let height = durable.chain.height_of(hash)?;
            let height = height.ok_or_else(|| RpcError::server("unknown block"))?;
            Ok((height.get(), height.get()))
        }
        Blocks::Range { from, to } => range(api, durable, from, to),
    }
}

/// The heights a range means, cut at the head. Empty (first above last) if it starts above it.
fn range(
    api: &Api,
    durable: &Durable,
    from: Option<BlockNumberOrTag>,
    to: Option<BlockNumberOrTag>,
) -> Result<(u64, u64), RpcError> {
    let height = |tag: Option<BlockNumberOrTag>| {
        position::number(api, durable, tag.unwrap_or_default()).get()
    };
    let (first, last) = (height(from), height(to));
    let head = durable.header.number;
    // A start above the head and no end is no mistake: that block may come.
    if first > last && !(to.is_none() && first > head) {
        return Err(RpcError::invalid_params("invalid block range params"));
    }
    let first = first.max(durable.chain.genesis().get());
    let last = last.min(head);
    let max = api.config.log_blocks_max;
    if last.saturating_sub(first) >= max {
        return Err(RpcError::server(format!("exceed maximum block range: {max}")));
    }
    Ok((first, last))
}

/// geth's error for a request that took too long.
pub(super) fn timed_out() -> RpcError {
    RpcError::new(-32_002, "request timed out")
}

/// That, if it is so late.
pub(super) fn in_time(now: Time, deadline: Time) -> Result<(), RpcError> {
    if now < deadline { Ok(()) } else { Err(timed_out()) }
}
