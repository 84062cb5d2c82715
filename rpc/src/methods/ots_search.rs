//! `ots_searchTransactionsBefore`, `ots_searchTransactionsAfter`: who had to do with an address.
//!
//! There is no index of addresses: blocks with transactions are executed again, one after another,
//! until a page is full. The deadline of an execution bounds it; a search that does not get far
//! enough in that time is refused and says where to go on, so that no page is a part of one.

use std::sync::Arc;

use alloy_consensus::constants::EMPTY_ROOT_HASH;
use alloy_primitives::Address;
use evenkeel_chain::Height;
use evenkeel_runtime::{checkpoint, consume};
use evenkeel_state::Durable;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    limits::{ITEM_REDUCTIONS, READ_REDUCTIONS},
    ots::{List, page_size},
    traced,
    traced_text::FlatTraces,
    whole,
};
use crate::{
    api::{Api, Request},
    error::RpcError,
    params::{Params, Quantity},
    position::{self, header_not_found},
    render::{Answered, joined},
};

/// Which way a search goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From a block down; from the head if that is 0.
    Before,
    /// From a block up.
    After,
}

/// What the client is told.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    txs: Vec<Box<RawValue>>,
    receipts: Vec<Box<RawValue>>,
    first_page: bool,
    last_page: bool,
}

/// `ots_searchTransactionsBefore`, `ots_searchTransactionsAfter`: a page of whole blocks, the
/// newest transaction first.
pub(super) async fn search(api: &Arc<Api>, request: Request<'_>, way: Way) -> Answered {
    let params = Params::new(request.params, 3)?;
    let address = params.required::<Address>(0)?;
    let Quantity(from) = params.required(1)?;
    let size = page_size(&params, 2)?;
    let _place = api.place(request.client).await?;
    let durable = api.durable.get();
    let (head, genesis) = (position::head(&durable).get(), durable.chain.oldest_state().get());
    // Nothing happens in the genesis block, and nothing before the oldest state can be executed.
    let lowest = genesis + 1;
    let mut next = match way {
        Way::Before if from == 0 || from > head => head,
        Way::Before => from - 1,
        Way::After => from.saturating_add(1).max(lowest),
    };
    let mut found = Vec::new();
    while found.len() < size && (lowest..=head).contains(&next) {
        in_time(api, request, next)?;
        let mut hits = hits(api, request, (&durable, next), address).await?;
        if way == Way::Before {
            hits.reverse();
        }
        found.extend(hits.into_iter().map(|index| (next, index)));
        next = match way {
            Way::Before => next - 1,
            Way::After => next + 1,
        };
    }
    if way == Way::After {
        found.reverse();
    }
    let (first_page, last_page) = match way {
        Way::Before => (from == 0 || from > head, next < lowest),
        Way::After => (next > head, from <= genesis),
    };
    let list = shown(api, &durable, &found).await?;
    let page = Shown { txs: list.txs, receipts: list.receipts, first_page, last_page };
    joined(&api.system, page, list.bytes).await
}

/// The transactions of a block that have to do with `address`, by index.
async fn hits(
    api: &Arc<Api>,
    request: Request<'_>,
    (durable, number): (&Durable, u64),
    address: Address,
) -> Result<Vec<usize>, RpcError> {
    consume(READ_REDUCTIONS);
    checkpoint().await;
    let height = Height::new(number);
    let (header, _) = position::header_at(durable, height)?.ok_or_else(header_not_found)?;
    if header.transactions_root == EMPTY_ROOT_HASH {
        return Ok(Vec::new());
    }
    let scene = traced::scene(durable, height).await?.ok_or_else(header_not_found)?;
    let who = (request.client, traced::method(request)?);
    let count = scene.block.txs.len();
    let mut traces = FlatTraces::start(api, who, (scene, 0..count, None));
    let mut hits = Vec::new();
    while let Some(trace) = traces.next().await? {
        consume(ITEM_REDUCTIONS);
        checkpoint().await;
        let index = trace.transaction_position.and_then(|index| usize::try_from(index).ok());
        if hits.last().copied() != index && trace.contains_address(address) {
            hits.extend(index);
        }
    }
    Ok(hits)
}

async fn shown(api: &Api, durable: &Durable, found: &[(u64, usize)]) -> Result<List, RpcError> {
    let mut list = List::default();
    for of_block in found.chunk_by(|one, other| one.0 == other.0) {
        let height = Height::new(of_block[0].0);
        let executed = whole::executed(durable, height).await?.ok_or_else(header_not_found)?;
        for (_, index) in of_block {
            list.add(api, &executed, *index).await?;
        }
        if list.bytes > api.config.response_bytes_max {
            return Err(RpcError::response_too_large());
        }
    }
    Ok(list)
}

fn in_time(api: &Api, request: Request<'_>, number: u64) -> Result<(), RpcError> {
    if api.system.now() < api.deadline(request.client) {
        return Ok(());
    }
    Err(RpcError::new(-32_002, format!("request timed out at block {number}: search from there")))
}
