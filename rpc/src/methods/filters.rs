//! `eth_newFilter` and its sisters.
//!
//! As in anvil, a log filter whose `fromBlock` names a number starts there: its first poll brings
//! the logs since. A poll brings a bounded number of them, and of bytes, but those of a block
//! together; the rest comes with the next. What is long is streamed, so that it is not refused as
//! too large after the filter has moved on. Logs of blocks that were dropped come first, as
//! removed.

use std::{ops::RangeInclusive, sync::Arc};

use alloy_eips::BlockNumberOrTag;
use alloy_primitives::B256;
use alloy_rpc_types_eth::Log;
use evenkeel_chain::Height;
use evenkeel_runtime::{Time, checkpoint, consume};
use evenkeel_state::{Durable, LogStep};
use serde_json::value::RawValue;

use super::{
    limits::{
        FILTER_BLOCKS_MAX, FILTER_BYTES_PART, FILTER_LOGS_MAX, LOG_BYTES, READ_REDUCTIONS,
        SEARCH_REDUCTIONS,
    },
    logs, pending,
    written::{Until, written},
};
use crate::{
    answer::Answer,
    api::{Api, Request},
    client::Client,
    error::RpcError,
    filters::{Cursor, Filter, Gone},
    limits::JOIN_INLINE_BYTES_MAX,
    log_query::{Blocks, LogQuery},
    params::{Arg, Params, Refusal},
    position::{self, header_not_found},
    render::{Answered, answer, pieces, quantity, transaction},
};

/// `eth_newFilter`
pub(super) fn new_logs(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 1)?;
    let query = params.required::<LogQuery>(0)?;
    let durable = api.durable.get();
    let cursor = match query.blocks {
        Blocks::Range {
            from: Some(from @ (BlockNumberOrTag::Number(_) | BlockNumberOrTag::Earliest)),
            ..
        } => {
            let from = position::number(api, &durable, from).get();
            // There are no blocks below the first, which need not be block 0.
            Cursor::new(&durable, from.max(durable.chain.genesis().get()))
        }
        Blocks::Range { .. } => Cursor::after(&durable),
        Blocks::Hash(_) => {
            return Err(RpcError::invalid_params(
                "invalid argument 0: a filter takes no blockHash",
            ));
        }
    };
    insert(api, Filter::Logs { query: Arc::new(query), cursor })
}

/// `eth_newBlockFilter`
pub(super) fn new_blocks(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    insert(api, Filter::Blocks(Cursor::after(&api.durable.get())))
}

/// `eth_newPendingTransactionFilter`: hashes, or with `true` whole transactions.
pub(super) fn new_pending(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 1)?;
    let is_full = params.optional(0)?.unwrap_or(false);
    let seq = api.feed.get().next_seq();
    insert(api, Filter::Pending { seq, is_full })
}

/// `eth_uninstallFilter`
pub(super) fn uninstall(api: &Api, request: Request<'_>) -> Answered {
    let FilterId(id) = Params::new(request.params, 1)?.required(0)?;
    answer(&api.filters.remove(id))
}

/// `eth_getFilterLogs`: all logs of the filter's range, wherever its polls stand.
pub(super) async fn filter_logs(api: &Arc<Api>, request: Request<'_>) -> Result<Answer, RpcError> {
    let FilterId(id) = Params::new(request.params, 1)?.required(0)?;
    match api.filters.get(api.system.now(), id) {
        Some((Filter::Logs { query, .. }, _)) => {
            logs::all(api, request.client, (api.durable.get(), query)).await
        }
        Some((Filter::Blocks(_) | Filter::Pending { .. }, _)) | None => Err(not_found()),
    }
}

/// `eth_getFilterChanges`
pub(super) async fn changes(api: &Api, request: Request<'_>) -> Result<Answer, RpcError> {
    let FilterId(id) = Params::new(request.params, 1)?.required(0)?;
    loop {
        let (mut filter, version) = api.filters.get(api.system.now(), id).ok_or_else(not_found)?;
        // Nothing is moved until the answer is ready, so a poll that is cancelled loses nothing.
        let answered = poll(api, &mut filter, request.client).await?;
        if api.filters.advance(id, version, filter) {
            return answered;
        }
        checkpoint().await;
    }
}

/// Moves the filter on; what is new, or that it has missed something.
async fn poll(
    api: &Api,
    filter: &mut Filter,
    client: &Client,
) -> Result<Result<Answer, RpcError>, RpcError> {
    let answered = match filter {
        Filter::Blocks(cursor) => answer(&poll_blocks(api, cursor).await?),
        Filter::Logs { query, cursor } => {
            match poll_logs(api, query, cursor, api.deadline(client)).await? {
                Polled::Logs(Found { logs, bytes, .. }) if bytes > JOIN_INLINE_BYTES_MAX => {
                    return streamed(api, client, logs).await.map(Ok);
                }
                Polled::Logs(Found { logs, .. }) => answer(&pieces(logs.iter()).await?),
                Polled::Missed(error) => Err(error),
            }
        }
        Filter::Pending { seq, is_full } => {
            pending::settled(api).await?;
            let (txs, next) = api.feed.get().since(*seq);
            *seq = next;
            if *is_full {
                answer(&pieces(txs.iter().map(|tx| transaction(tx, None))).await?)
            } else {
                answer(&txs.iter().map(|tx| tx.hash()).collect::<Vec<_>>())
            }
        }
    };
    Ok(answered.map(Answer::from))
}

/// Logs that a poll brings. The filter moves on when this has begun, so it has no deadline: it
/// ends, and a connection that takes nothing is given up.
async fn streamed(api: &Api, client: &Client, logs: Vec<Log>) -> Result<Answer, RpcError> {
    let until = Until { deadline: Time::MAX, late: logs::timed_out(), place: None };
    written(api, client, until, move |text| {
        Box::pin(async move {
            text.push("[").await?;
            for log in &logs {
                text.item(log).await?;
            }
            text.push("]").await
        })
    })
    .await
}

async fn poll_blocks(api: &Api, cursor: &mut Cursor) -> Result<Vec<B256>, RpcError> {
    let durable = api.durable.get();
    cursor.follow(&durable);
    let mut hashes = Vec::new();
    for _ in 0..FILTER_BLOCKS_MAX {
        let Some(height) = cursor.peek(&durable) else { break };
        consume(READ_REDUCTIONS);
        checkpoint().await;
        hashes.push(durable.chain.header(height)?.ok_or_else(header_not_found)?.hash);
        cursor.passed();
    }
    Ok(hashes)
}

/// What a poll of a log filter brings.
enum Polled {
    Logs(Found),
    /// Logs were taken back that are forgotten. The filter goes on.
    Missed(RpcError),
}

/// The logs that a poll has found.
struct Found {
    logs: Vec<Log>,
    /// Bytes that they have as JSON, about.
    bytes: usize,
    logs_max: usize,
    bytes_max: usize,
}

impl Found {
    fn new(api: &Api) -> Self {
        let logs_max = api.config.logs_max.unwrap_or(FILTER_LOGS_MAX);
        let bytes_max = api.config.response_bytes_max / FILTER_BYTES_PART;
        Self { logs: Vec::new(), bytes: 0, logs_max, bytes_max }
    }

    /// Adds those of a block, if they fit. One block alone may hold more; it has to come at some
    /// time.
    fn add(&mut self, logs: Vec<Log>) -> bool {
        let bytes = logs.iter().map(bytes_of).sum::<usize>();
        let fits = self.logs.len() + logs.len() <= self.logs_max
            && self.bytes.saturating_add(bytes) <= self.bytes_max;
        if !fits && !self.logs.is_empty() {
            return false;
        }
        self.bytes += bytes;
        self.logs.extend(logs);
        true
    }
}

/// Bytes that a log has as JSON, about.
fn bytes_of(log: &Log) -> usize {
    let data = &log.inner.data;
    LOG_BYTES + 69 * data.topics().len() + 2 * data.data.len()
}

async fn poll_logs(
    api: &Api,
    query: &LogQuery,
    cursor: &mut Cursor,
    deadline: Time,
) -> Result<Polled, RpcError> {
    let durable = api.durable.get();
    let span = span(api, &durable, query.blocks);
    let mut found = Found::new(api);
    loop {
        let before = cursor.clone();
        let Some(gone) = cursor.gone(&durable) else { break };
        let logs = match gone {
            Gone::Block(block) if span.contains(&block.height.get()) => {
                logs::removed(&block, query).await
            }
            Gone::Forgotten { first, last } if first <= *span.end() && last >= *span.start() => {
                if found.logs.is_empty() {
                    return Ok(Polled::Missed(logs::forgotten(first, last)));
                }
                *cursor = before;
                return Ok(Polled::Logs(found));
            }
            Gone::Block(_) | Gone::Forgotten { .. } => Vec::new(),
        };
        if !found.add(logs) {
            *cursor = before;
            return Ok(Polled::Logs(found));
        }
    }
    let Some(next) = cursor.peek(&durable) else { return Ok(Polled::Logs(found)) };
    let first = next.max(Height::new(*span.start()));
    let last = durable.height().min(Height::new(*span.end()));
    let mut search = durable.chain.find_logs(query.conditions(), first..=last);
    loop {
        checkpoint().await;
        // What is not found in time is left to the next poll, which goes on from here.
        if logs::in_time(api.system.now(), deadline).is_err() {
            cursor.skip_to(search.reached().unwrap_or_else(|| durable.height().next()));
            break;
        }
        let height = match search.step()? {
            LogStep::Block(height) => height,
            LogStep::More => {
                consume(SEARCH_REDUCTIONS);
                continue;
            }
            LogStep::Done => {
                cursor.skip_to(durable.height().next());
                break;
            }
        };
        consume(READ_REDUCTIONS);
        let logs = logs::of_block(&durable, height, query).await?;
        if !found.add(logs) {
            break;
        }
        cursor.skip_to(height.next());
    }
    Ok(Polled::Logs(found))
}

/// The heights that a filter is for, whatever the head is.
fn span(api: &Api, durable: &Durable, blocks: Blocks) -> RangeInclusive<u64> {
    let Blocks::Range { from, to } = blocks else { return 0..=u64::MAX };
    let first = match from {
        Some(BlockNumberOrTag::Number(number)) => number,
        Some(_) | None => 0,
    };
    let last = match to {
        None | Some(BlockNumberOrTag::Latest | BlockNumberOrTag::Pending) => u64::MAX,
        Some(tag) => position::number(api, durable, tag).get(),
    };
    first..=last
}

fn insert(api: &Api, filter: Filter) -> Answered {
    quantity(api.filters.insert(api.system.now(), filter)?)
}

fn not_found() -> RpcError {
    RpcError::server("filter not found")
}

/// A filter's id as clients send it back.
struct FilterId(u128);

impl Arg for FilterId {
    fn parse(raw: &RawValue) -> Result<Self, Refusal> {
        // Other nodes hand out short numbers, so any hex is a good id that may be unknown.
        let text = String::parse(raw)?;
        let digits = text.strip_prefix("0x").ok_or("expected a filter id in hex")?;
        let id = u128::from_str_radix(digits, 16).map_err(|error| error.to_string())?;
        Ok(Self(id))
    }
}
