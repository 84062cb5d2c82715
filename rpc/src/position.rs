//! Which block, state and environment a request means.
//!
//! A request pins [`Durable`] once and answers everything from it (RPC never sees a block that a
//! crash could take back, and no answer mixes two heads). `latest`, `safe` and `finalized` are the
//! head with the cheats made on it: what this node shows is final, unless the operator feigns
//! epochs for what waits for finality. The head's own number and hash name the same state, until a
//! block follows and makes them history.
//!
//! `pending` is the head's state under the environment of the next block. Transactions that wait
//! in the pool are shown in the pending block and counted in the pending nonce, but not executed.

use std::sync::Arc;

use alloy_consensus::constants::EMPTY_WITHDRAWALS;
use alloy_eips::{BlockId, BlockNumberOrTag, eip7685::EMPTY_REQUESTS_HASH};
use alloy_primitives::B256;
use evenkeel_chain::{
    Command, CommandError, EngineStatus, Fork, Header, Height, Outcome, Timestamps,
};
use evenkeel_runtime::{Answer, reply};
use evenkeel_state::{Durable, View};
use evenkeel_vm::Ground;

use crate::{
    api::{Api, EngineCall},
    error::RpcError,
};

/// Where a block id points.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// A block of the chain.
    Block(Height),
    /// The next one.
    Pending,
}

/// The error for a block that is not there; geth's text.
pub(crate) fn header_not_found() -> RpcError {
    RpcError::server("header not found")
}

/// Where `id` points in the pinned chain; none if nowhere. A number may lie above the head.
pub(crate) fn locate(api: &Api, durable: &Durable, id: BlockId) -> Result<Option<At>, RpcError> {
    Ok(match id {
        BlockId::Number(BlockNumberOrTag::Pending) => Some(At::Pending),
        BlockId::Number(tag) => Some(At::Block(number(api, durable, tag))),
        BlockId::Hash(hash) if hash.block_hash == durable.hash => Some(At::Block(head(durable))),
        BlockId::Hash(hash) => durable.chain.height_of(hash.block_hash)?.map(At::Block),
    })
}

/// The height a tag means. `pending` is the head: whoever can show more asks [`locate`].
pub(crate) fn number(api: &Api, durable: &Durable, tag: BlockNumberOrTag) -> Height {
    match tag {
        BlockNumberOrTag::Number(number) => Height::new(number),
        BlockNumberOrTag::Earliest => durable.chain.genesis(),
        BlockNumberOrTag::Latest | BlockNumberOrTag::Pending => head(durable),
        BlockNumberOrTag::Safe => behind(api, durable, 1),
        BlockNumberOrTag::Finalized => behind(api, durable, 2),
    }
}

/// The head, or what lies so many feigned epochs behind it.
fn behind(api: &Api, durable: &Durable, epochs: u64) -> Height {
    let blocks = api.config.slots_in_an_epoch.unwrap_or(0).saturating_mul(epochs);
    let number = durable.header.number.saturating_sub(blocks);
    Height::new(number).max(durable.chain.genesis())
}

/// Height of the pinned head.
pub(crate) fn head(durable: &Durable) -> Height {
    Height::new(durable.header.number)
}

/// The state that `id` names.
pub(crate) fn view(api: &Api, durable: &Durable, id: BlockId) -> Result<View, RpcError> {
    match locate(api, durable, id)?.ok_or_else(header_not_found)? {
        At::Pending => Ok(durable.view.clone()),
        At::Block(height) => view_at(durable, height),
    }
}

/// The state after the block at `height`; with the cheats if it is the head.
pub(crate) fn view_at(durable: &Durable, height: Height) -> Result<View, RpcError> {
    if height == head(durable) {
        return Ok(durable.view.clone());
    }
    durable.chain.view_at(height)?.ok_or_else(|| no_view(durable, height))
}

/// Why there is no state after the block at `height`: no such block, or it came from a state file.
pub(crate) fn no_view(durable: &Durable, height: Height) -> RpcError {
    let oldest = durable.chain.oldest_state();
    if height < durable.chain.genesis() || height >= oldest {
        return header_not_found();
    }
    RpcError::server(format!(
        "missing state of block {height}: the state file that the chain was loaded from has only \
         that of block {oldest}"
    ))
}

/// The header at `height` and its hash.
pub(crate) fn header_at(
    durable: &Durable,
    height: Height,
) -> Result<Option<(Arc<Header>, B256)>, RpcError> {
    if height == head(durable) {
        return Ok(Some((durable.header.clone(), durable.hash)));
    }
    let sealed = durable.chain.header(height)?;
    Ok(sealed.map(|sealed| (Arc::new(sealed.header.clone()), sealed.hash)))
}

/// The state that `id` names and the header whose environment a call on it sees.
pub(crate) async fn environment(
    api: &Api,
    durable: &Durable,
    id: BlockId,
) -> Result<(View, Arc<Header>), RpcError> {
    match locate(api, durable, id)?.ok_or_else(header_not_found)? {
        At::Pending => {
            let header = next_header(api, durable).await?;
            Ok((durable.view.clone(), Arc::new(header)))
        }
        At::Block(height) => {
            let (header, _) = header_at(durable, height)?.ok_or_else(header_not_found)?;
            Ok((view_at(durable, height)?, header))
        }
    }
}

/// The block that `id` names, as something to build on; the head for `pending`.
pub(crate) fn ground(api: &Api, durable: &Durable, id: BlockId) -> Result<Ground, RpcError> {
    let height = match locate(api, durable, id)?.ok_or_else(header_not_found)? {
        At::Block(height) if height != head(durable) => height,
        At::Block(_) | At::Pending => return Ok(Ground::Tip(Box::new(durable.tip()))),
    };
    let rewind = durable.rewind(height).ok_or_else(header_not_found)?;
    Ok(Ground::Former(Box::new(rewind)))
}

/// Carries out a command of the operator.
pub(crate) async fn order(api: &Api, command: Command) -> Result<Outcome, RpcError> {
    ordered(give_order(api, command)?).await
}

/// Gives a command of the operator to the engine, which carries it out in any case.
pub(crate) fn give_order(
    api: &Api,
    command: Command,
) -> Result<Answer<Result<Outcome, CommandError>>, RpcError> {
    let (reply, answer) = reply();
    api.engine
        .send(EngineCall { command, reply })
        .map_err(|undelivered| RpcError::limit(format!("engine: {undelivered}")))?;
    Ok(answer)
}

/// What came of a command.
pub(crate) async fn ordered(
    answer: Answer<Result<Outcome, CommandError>>,
) -> Result<Outcome, RpcError> {
    match answer.await {
        Ok(outcome) => outcome.map_err(RpcError::from),
        Err(lost) => Err(RpcError::internal(format!("engine: {lost}"))),
    }
}

/// The error for an outcome that does not belong to the command: a mistake of ours.
pub(crate) fn odd_outcome(outcome: &Outcome) -> RpcError {
    RpcError::internal(format!("unexpected outcome of the engine: {outcome:?}"))
}

/// What the engine is set to.
pub(crate) async fn status(api: &Api) -> Result<EngineStatus, RpcError> {
    match order(api, Command::Status).await? {
        Outcome::Status(status) => Ok(status),
        other => Err(odd_outcome(&other)),
    }
}

/// The next block's header, as far as it is known before it is built: no transactions, no roots.
pub(crate) async fn next_header(api: &Api, durable: &Durable) -> Result<Header, RpcError> {
    let status = status(api).await?;
    let parent = &*durable.header;
    let now = api.system.wall_clock().as_secs().saturating_add_signed(status.time_offset_secs);
    let least = match api.spec.timestamps {
        Timestamps::Strict => parent.timestamp.saturating_add(1),
        Timestamps::Monotone => parent.timestamp,
    };
    let timestamp = status.next_timestamp.unwrap_or(now).max(least);
    let height = head(durable).next();
    let fork = api.spec.fork_at(height, timestamp);
    Ok(Header {
        parent_hash: durable.hash,
        beneficiary: status.coinbase,
        number: height.get(),
        gas_limit: status.gas_limit,
        timestamp,
        base_fee_per_gas: next_base_fee(api, parent),
        withdrawals_root: (fork >= Fork::Shanghai).then_some(EMPTY_WITHDRAWALS),
        blob_gas_used: (fork >= Fork::Cancun).then_some(0),
        excess_blob_gas: api.spec.next_excess_blob_gas(parent, timestamp),
        parent_beacon_block_root: (fork >= Fork::Cancun).then_some(B256::ZERO),
        requests_hash: (fork >= Fork::Prague).then_some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    })
}

/// Base fee of the block after the head `parent`, in wei: what the operator ordered, or the rule.
pub(crate) fn next_base_fee(api: &Api, parent: &Header) -> Option<u64> {
    let by_rule = api.spec.next_base_fee(parent)?;
    Some(api.flags.base_fee_after(parent.number).unwrap_or(by_rule))
}
