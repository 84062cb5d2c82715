//! `eth_subscribe` and `eth_unsubscribe`: newHeads, logs, newPendingTransactions, syncing.
//!
//! A subscription is a future that sleeps until the durable chain (or the pool's feed) changes and
//! then reads what is new with a cursor. Its start is pinned before the client learns its id.
//! Logs of blocks that were dropped are sent again as removed, before those of new blocks.

use std::sync::Arc;

use alloy_rpc_types_eth::Log;
use evenkeel_runtime::{checkpoint, consume};
use evenkeel_state::Durable;
use futures_util::FutureExt as _;
use serde_json::value::RawValue;

use super::{
    limits::{ITEM_REDUCTIONS, READ_REDUCTIONS},
    logs,
};
use crate::{
    api::{Api, Request},
    error::RpcError,
    filters::{Cursor, Gone},
    log_query::LogQuery,
    params::{Arg as _, Params, refuse},
    position::header_not_found,
    render::{self, Answered, answer},
    session::{Outbox, Session, SubscriptionId},
};

/// `eth_subscribe`
pub(super) fn subscribe(api: &Arc<Api>, request: Request<'_>) -> Answered {
    let session = session(request)?;
    let params = Params::new(request.params, 2)?;
    let kind = params.required::<String>(0)?;
    let reader = match kind.as_str() {
        "newHeads" => Reader::Blocks(None),
        "logs" => {
            let query = params.raw(1).map_or_else(everything, LogQuery::parse);
            Reader::Blocks(Some(query.map_err(|refusal| refuse(1, &refusal))?))
        }
        "newPendingTransactions" => Reader::Pending(is_full(&params)?),
        "syncing" => Reader::Syncing,
        other => {
            let text = format!("no \"{other}\" subscription in eth namespace");
            return Err(RpcError::new(-32_601, text));
        }
    };
    let id = match reader {
        Reader::Blocks(query) => {
            let cursor = Cursor::after(&api.durable.get());
            let api = Arc::clone(api);
            session.open(move |_, outbox| follow_chain(api, cursor, query, outbox).boxed())
        }
        Reader::Pending(is_full) => {
            let seq = api.feed.get().next_seq();
            let api = Arc::clone(api);
            session.open(move |_, outbox| follow_pool(api, seq, is_full, outbox).boxed())
        }
        Reader::Syncing => session.open(|_, outbox| {
            // This node serves only what it has: it is never syncing, and says so once.
            let said = outbox.notify(&false);
            async move {
                if said.is_err() {
                    tracing::debug!("a subscriber left before its first note");
                }
            }
            .boxed()
        }),
    }?;
    answer(&id)
}

/// `eth_unsubscribe`
pub(super) fn unsubscribe(_: &Api, request: Request<'_>) -> Answered {
    let session = session(request)?;
    let id = Params::new(request.params, 1)?.required::<String>(0)?;
    match id.parse::<SubscriptionId>() {
        Ok(id) if session.close(&id) => answer(&true),
        Ok(_) | Err(_) => Err(RpcError::server("subscription not found")),
    }
}

enum Reader {
    /// Heads, or the logs that match.
    Blocks(Option<LogQuery>),
    /// Arrivals in the pool: hashes or whole.
    Pending(bool),
    Syncing,
}

pub(super) fn session(request: Request<'_>) -> Result<&Session, RpcError> {
    request.session.ok_or_else(|| RpcError::new(-32_001, "notifications not supported"))
}

fn everything() -> Result<LogQuery, crate::params::Refusal> {
    LogQuery::parse(&RawValue::from_string("{}".to_owned()).expect("{} is JSON"))
}

/// geth's second argument of `newPendingTransactions` is a bool.
fn is_full(params: &Params<'_>) -> Result<bool, RpcError> {
    Ok(params.optional(1)?.unwrap_or(false))
}

/// Sends heads or logs until the connection is gone.
async fn follow_chain(api: Arc<Api>, mut cursor: Cursor, query: Option<LogQuery>, outbox: Outbox) {
    loop {
        let (durable, version) = api.durable.get_versioned();
        match catch_up(&durable, &mut cursor, query.as_ref(), &outbox).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(%error, "a subscription ends: the chain cannot be read");
                return;
            }
        }
        api.durable.changed_since(version).await;
    }
}

/// Sends what is new in `durable`. False when nobody listens any more.
async fn catch_up(
    durable: &Durable,
    cursor: &mut Cursor,
    query: Option<&LogQuery>,
    outbox: &Outbox,
) -> Result<bool, RpcError> {
    if !take_back(durable, cursor, query, outbox).await {
        return Ok(false);
    }
    while let Some(height) = cursor.peek(durable) {
        consume(READ_REDUCTIONS);
        checkpoint().await;
        let Some(query) = query else {
            let sealed = durable.chain.header(height)?.ok_or_else(header_not_found)?;
            if outbox.notify(&render::header(&sealed.header, sealed.hash)).is_err() {
                return Ok(false);
            }
            cursor.passed();
            continue;
        };
        let logs: Vec<Log> = logs::of_block(durable, height, query).await?;
        if !send(&logs, outbox).await {
            return Ok(false);
        }
        cursor.passed();
    }
    Ok(true)
}

/// Sends logs. False when nobody listens any more.
async fn send(logs: &[Log], outbox: &Outbox) -> bool {
    for log in logs {
        consume(ITEM_REDUCTIONS);
        checkpoint().await;
        if outbox.notify(log).is_err() {
            return false;
        }
    }
    true
}

/// Sends the logs of blocks that were dropped, as removed. False when nobody listens any more.
async fn take_back(
    durable: &Durable,
    cursor: &mut Cursor,
    query: Option<&LogQuery>,
    outbox: &Outbox,
) -> bool {
    let Some(query) = query else {
        cursor.follow(durable);
        return true;
    };
    while let Some(gone) = cursor.gone(durable) {
        let is_told = match gone {
            Gone::Block(block) => {
                let logs = logs::removed(&block, query).await;
                send(&logs, outbox).await
            }
            Gone::Forgotten { first, last } => {
                outbox.notify_error(&logs::forgotten(first, last)).is_ok()
            }
        };
        if !is_told {
            return false;
        }
    }
    true
}

/// Sends the pool's arrivals until the connection is gone.
async fn follow_pool(api: Arc<Api>, mut seq: u64, is_full: bool, outbox: Outbox) {
    loop {
        let (feed, version) = api.feed.get_versioned();
        let (txs, next) = feed.since(seq);
        seq = next;
        for tx in &txs {
            consume(ITEM_REDUCTIONS);
            checkpoint().await;
            let sent = if is_full {
                outbox.notify(&render::transaction(tx, None))
            } else {
                outbox.notify(tx.hash())
            };
            if sent.is_err() {
                return;
            }
        }
        api.feed.changed_since(version).await;
    }
}
