//! `debug_executionWitness`: what whoever has no state needs to execute a block.
//!
//! As reth answers, which has two modes: "legacy" suits who changes a trie in any order,
//! "canonical" who sets keys before others are removed. Both name what is read and nothing else,
//! sorted.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use alloy_primitives::{Address, B256, Bytes, U256};
use evenkeel_chain::Height;
use evenkeel_runtime::{checkpoint, consume};
use evenkeel_state::Durable;
use evenkeel_vm::{Ground, Witness, WitnessJob, spawn_witness};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    limits::{CHUNK_REDUCTIONS, ITEM_REDUCTIONS, READ_REDUCTIONS, WITNESS_PIECE_BYTES},
    traced, whole,
};
use crate::{
    api::{Api, Request},
    error::RpcError,
    params::{Params, refuse},
    position::{self, At, header_not_found},
    render::{Answered, answer, joined},
};

/// `debug_executionWitness`, and reth's twin of it that takes hashes only.
pub(super) async fn witness(api: &Api, request: Request<'_>, is_by_hash: bool) -> Answered {
    let params = Params::new(request.params, 2)?;
    let id = if is_by_hash {
        params.required::<B256>(0)?.into()
    } else {
        params.required::<alloy_eips::BlockId>(0)?
    };
    let is_minimal = is_minimal(&params, 1)?;
    let _place = api.place(request.client).await?;
    let durable = api.durable.get();
    let height = match position::locate(api, &durable, id)?.ok_or_else(header_not_found)? {
        At::Block(height) => height,
        At::Pending => return Err(RpcError::server("the pending block has no witness yet")),
    };
    let block = whole::block(&durable, height).await?.ok_or_else(header_not_found)?;
    let job = WitnessJob {
        ground: parent(&durable, height)?,
        spec: Arc::clone(&api.spec),
        block,
        is_minimal,
        limits: api.limits(request.client),
    };
    let method = traced::method(request)?;
    let share = api.executions.share(request.client, method);
    let outcome = spawn_witness(&api.system, &share, job);
    let witness = api.executions.run(request.client, method, outcome).await??;
    shown(api, &durable, (height, witness)).await
}

fn is_minimal(params: &Params<'_>, index: usize) -> Result<bool, RpcError> {
    match params.optional::<String>(index)?.as_deref() {
        None | Some("legacy") => Ok(false),
        Some("canonical") => Ok(true),
        Some(_) => Err(refuse(index, r#"expected "legacy" or "canonical""#)),
    }
}

/// What the block at `height` was executed on.
fn parent(durable: &Durable, height: Height) -> Result<Ground, RpcError> {
    let chain = &durable.chain;
    let parent = height.prev().filter(|_| height > chain.genesis());
    let parent = parent.ok_or_else(|| RpcError::server("genesis has no parent to execute on"))?;
    if parent <= chain.oldest_state() && chain.oldest_state() > chain.genesis() {
        let text = format!("block {height} has no witness: the state before it is not its chain's");
        return Err(RpcError::server(text));
    }
    if chain.has_cheats(parent)? {
        let text = format!(
            "block {height} has no witness: the state was changed by the operator before it, so \
             its parent's root does not lead to its own"
        );
        return Err(RpcError::server(text));
    }
    let rewind = durable.rewind(parent).ok_or_else(header_not_found)?;
    Ok(Ground::Former(Box::new(rewind)))
}

async fn shown(api: &Api, durable: &Durable, (height, witness): (Height, Witness)) -> Answered {
    #[derive(Serialize)]
    struct Shown {
        state: Vec<Box<RawValue>>,
        codes: Vec<Box<RawValue>>,
        keys: Vec<Box<RawValue>>,
        headers: Vec<Bytes>,
    }
    let Witness { nodes, codes, keys, oldest_hash } = witness;
    let headers = headers(durable, (height, oldest_hash)).await?;
    let (mut bytes, state) = encoded(nodes).await?;
    let (more, codes) = encoded(codes).await?;
    bytes += more;
    let keys = encoded_keys(keys).await?;
    bytes += keys.iter().map(|key| key.get().len()).sum::<usize>();
    joined(&api.system, Shown { state, codes, keys, headers }, bytes).await
}

/// The ancestors whose hashes were asked for and those between, oldest first; the parent at least.
async fn headers(
    durable: &Durable,
    (height, oldest): (Height, Option<u64>),
) -> Result<Vec<Bytes>, RpcError> {
    let parent = height.get() - 1;
    let oldest = oldest.unwrap_or(parent).clamp(durable.chain.genesis().get(), parent);
    let mut headers = Vec::new();
    for number in oldest..=parent {
        consume(READ_REDUCTIONS);
        checkpoint().await;
        let header = durable.chain.header(Height::new(number))?.ok_or_else(header_not_found)?;
        headers.push(alloy_rlp::encode(&header.header).into());
    }
    Ok(headers)
}

/// The values as JSON, and how many bytes of it.
async fn encoded(values: BTreeMap<B256, Bytes>) -> Result<(usize, Vec<Box<RawValue>>), RpcError> {
    let (mut bytes, mut shown) = (0, Vec::with_capacity(values.len()));
    for value in values.into_values() {
        consume(if value.len() > WITNESS_PIECE_BYTES { CHUNK_REDUCTIONS } else { ITEM_REDUCTIONS });
        checkpoint().await;
        let text = answer(&value)?;
        bytes += text.get().len();
        shown.push(text);
    }
    Ok((bytes, shown))
}

/// Each address, followed by its slots.
async fn encoded_keys(
    keys: BTreeMap<Address, BTreeSet<U256>>,
) -> Result<Vec<Box<RawValue>>, RpcError> {
    let mut shown = Vec::new();
    for (address, slots) in keys {
        shown.push(answer(&Bytes::copy_from_slice(address.as_slice()))?);
        for slot in slots {
            consume(ITEM_REDUCTIONS);
            checkpoint().await;
            shown.push(answer(&B256::from(slot))?);
        }
        consume(ITEM_REDUCTIONS);
        checkpoint().await;
    }
    Ok(shown)
}
