//! `evm_*`, `anvil_*`, `hardhat_*`: what the operator of a dev chain orders.
//!
//! Orders that change the chain go to the engine and are answered when they are durable, so that
//! the next read sees them. Numbers may be hex or decimal, as in anvil.

use std::{sync::Arc, time::Duration};

use alloy_primitives::{B256, Bytes};
use evenkeel_chain::{Cheat, Command, Height, Outcome};
use evenkeel_mempool::Remove;
use evenkeel_runtime::{Class, Spawn};
use serde_json::value::RawValue;

use super::{dev_pool, whole};
use crate::{
    api::{Api, Request},
    error::RpcError,
    flags::Snapshots,
    params::{Arg, Number, Object, Params, Refusal, Slot},
    position::{give_order, head, header_not_found, odd_outcome, order, ordered, status},
    render::{self, Answered, answer, null, quantity},
};

/// Orders `command`; the answer is `null`.
async fn obey(api: &Api, command: Command) -> Answered {
    order(api, command).await?;
    null()
}

/// Orders a change of the state; the answer is `null`.
async fn cheat(api: &Api, cheat: Cheat) -> Answered {
    obey(api, Command::Cheat(cheat)).await
}

/// `anvil_mine`, `hardhat_mine`: blocks, seconds between them.
pub(super) async fn mine(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    let blocks = params.optional(0)?.unwrap_or(1);
    mine_blocks(api, blocks, params.optional(1)?).await?;
    null()
}

/// `evm_mine`: the answer is `0x0`, as in every node that has it.
pub(super) async fn evm_mine(api: &Api, request: Request<'_>) -> Answered {
    mine_with_options(api, request).await?;
    quantity(0_u8)
}

/// `evm_mine_detailed`, `anvil_mine_detailed`: the mined blocks; they are mined also where they are
/// too many bytes to be shown.
pub(super) async fn mine_detailed(api: &Api, request: Request<'_>) -> Answered {
    let hashes = mine_with_options(api, request).await?;
    let durable = api.durable.get();
    let mut blocks = Vec::new();
    let mut bytes = 0;
    for hash in hashes {
        let height: Height = durable.chain.height_of(hash)?.ok_or_else(header_not_found)?;
        let block = whole::block(&durable, height).await?.ok_or_else(header_not_found)?;
        let shown = render::block(&block, true).await?;
        bytes += shown.get().len();
        if bytes > api.config.response_bytes_max {
            return Err(RpcError::response_too_large());
        }
        blocks.push(shown);
    }
    answer(&blocks)
}

async fn mine_with_options(api: &Api, request: Request<'_>) -> Result<Vec<B256>, RpcError> {
    let params = Params::new(request.params, 1)?;
    let MineOptions { timestamp, blocks } = params.optional(0)?.unwrap_or_default();
    if let Some(timestamp) = timestamp {
        order(api, Command::SetNextTimestamp(timestamp)).await?;
    }
    mine_blocks(api, blocks.unwrap_or(1), None).await
}

async fn mine_blocks(
    api: &Api,
    blocks: u64,
    interval_secs: Option<u64>,
) -> Result<Vec<B256>, RpcError> {
    if blocks == 0 {
        return Ok(Vec::new());
    }
    match order(api, Command::Mine { blocks, interval_secs }).await? {
        Outcome::Blocks(hashes) => Ok(hashes),
        Outcome::Done => Ok(Vec::new()),
        other => Err(odd_outcome(&other)),
    }
}

/// The argument of `evm_mine`: a timestamp, or an object with it and a number of blocks.
#[derive(Default)]
struct MineOptions {
    timestamp: Option<u64>,
    blocks: Option<u64>,
}

impl Arg for MineOptions {
    fn parse(raw: &RawValue) -> Result<Self, Refusal> {
        #[derive(serde::Deserialize)]
        struct Options<'a> {
            #[serde(borrow)]
            timestamp: Option<&'a RawValue>,
            #[serde(borrow)]
            blocks: Option<&'a RawValue>,
        }
        if !raw.get().starts_with('{') {
            return Ok(Self { timestamp: Some(u64::parse(raw)?), blocks: None });
        }
        let options: Options<'_> =
            serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
        Ok(Self {
            timestamp: options.timestamp.map(u64::parse).transpose()?,
            blocks: options.blocks.map(u64::parse).transpose()?,
        })
    }
}

/// `evm_snapshot`, `anvil_snapshot`
pub(super) async fn snapshot(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    match order(api, Command::Snapshot).await? {
        Outcome::Snapshot(id) => {
            let durable = api.durable.get();
            api.flags.add_snapshot(id, durable.header.number, durable.hash);
            quantity(id)
        }
        other => Err(odd_outcome(&other)),
    }
}

/// `evm_revert`, `anvil_revert`: false if there is no such snapshot.
pub(super) async fn revert(api: &Api, request: Request<'_>) -> Answered {
    let Number(id) = Params::new(request.params, 1)?.required(0)?;
    let Ok(id) = u64::try_from(id) else { return answer(&false) };
    answer(&go_back(api, Command::Revert(id), Snapshots::From(id)).await?)
}

/// Has the chain go back, and with it `snapshots` and what was ordered for the next block, but for
/// its id; false if there is no such place. What it ends is forgotten also if the client leaves in
/// the middle, as the engine goes on.
pub(super) async fn go_back(
    api: &Api,
    command: Command,
    snapshots: Snapshots,
) -> Result<bool, RpcError> {
    let answer = give_order(api, command)?;
    let (flags, spec) = (Arc::clone(&api.flags), Arc::clone(&api.spec));
    let durable = api.durable.clone();
    let going = async move {
        let outcome = ordered(answer).await;
        if matches!(outcome, Ok(Outcome::Reverted(true))) {
            flags.forget_base_fee();
            flags.forget_snapshots(snapshots);
            spec.keep_chain_id(head(&durable.get()));
        }
        outcome
    };
    let going = api.system.spawn_future(Spawn::new("way back", Class::Rpc), going);
    match going.await.map_err(|ended| RpcError::internal(format!("way back: {ended}")))?? {
        Outcome::Reverted(is_back) => Ok(is_back),
        other => Err(odd_outcome(&other)),
    }
}

/// `evm_setAutomine`, `anvil_setAutomine`
pub(super) async fn set_automine(api: &Api, request: Request<'_>) -> Answered {
    let is_on = Params::new(request.params, 1)?.required(0)?;
    obey(api, Command::SetAutomine(is_on)).await
}

/// `anvil_getAutomine`, `hardhat_getAutomine`
pub(super) async fn automine(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    answer(&status(api).await?.automine)
}

/// `evm_setIntervalMining`, `anvil_setIntervalMining`: seconds, which may be broken; 0 ends it.
pub(super) async fn set_interval(api: &Api, request: Request<'_>) -> Answered {
    let Interval(interval) = Params::new(request.params, 1)?.required(0)?;
    obey(api, Command::SetInterval(interval)).await
}

struct Interval(Option<Duration>);

impl Arg for Interval {
    fn parse(raw: &RawValue) -> Result<Self, Refusal> {
        let duration = match raw.get().parse::<f64>() {
            Ok(secs) => Duration::try_from_secs_f64(secs).map_err(|error| error.to_string())?,
            Err(_) => Duration::from_secs(u64::parse(raw)?),
        };
        Ok(Self(Some(duration).filter(|duration| !duration.is_zero())))
    }
}

/// `anvil_getIntervalMining`: seconds; null when there is no interval.
pub(super) async fn interval(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    match status(api).await?.interval {
        Some(interval) if interval.subsec_nanos() == 0 => answer(&interval.as_secs()),
        Some(interval) => answer(&interval.as_secs_f64()),
        None => null(),
    }
}

/// `evm_increaseTime`, `anvil_increaseTime`: the whole offset in seconds.
pub(super) async fn increase_time(api: &Api, request: Request<'_>) -> Answered {
    let secs: u64 = Params::new(request.params, 1)?.required(0)?;
    let secs = i64::try_from(secs).unwrap_or(i64::MAX);
    seconds(order(api, Command::IncreaseTime(secs)).await?)
}

/// `evm_setTime`, `anvil_setTime`
pub(super) async fn set_time(api: &Api, request: Request<'_>) -> Answered {
    let secs = Params::new(request.params, 1)?.required(0)?;
    seconds(order(api, Command::SetTime(secs)).await?)
}

fn seconds(outcome: Outcome) -> Answered {
    match outcome {
        Outcome::Seconds(secs) => answer(&secs),
        Outcome::Done => null(),
        other => Err(odd_outcome(&other)),
    }
}

/// `evm_setNextBlockTimestamp`, `anvil_setNextBlockTimestamp`
pub(super) async fn set_next_timestamp(api: &Api, request: Request<'_>) -> Answered {
    let secs = Params::new(request.params, 1)?.required(0)?;
    obey(api, Command::SetNextTimestamp(secs)).await
}

/// `anvil_setBlockTimestampInterval`
pub(super) async fn set_timestamp_interval(api: &Api, request: Request<'_>) -> Answered {
    let secs = Params::new(request.params, 1)?.required(0)?;
    obey(api, Command::SetTimestampInterval(Some(secs))).await
}

/// `anvil_removeBlockTimestampInterval`: whether there was one.
pub(super) async fn remove_timestamp_interval(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    let was_set = status(api).await?.timestamp_interval.is_some();
    order(api, Command::SetTimestampInterval(None)).await?;
    answer(&was_set)
}

/// `evm_setBlockGasLimit`, `anvil_setBlockGasLimit`
pub(super) async fn set_gas_limit(api: &Api, request: Request<'_>) -> Answered {
    let gas = Params::new(request.params, 1)?.required(0)?;
    order(api, Command::SetGasLimit(gas)).await?;
    answer(&true)
}

/// `anvil_setNextBlockBaseFeePerGas`, `hardhat_setNextBlockBaseFeePerGas`
pub(super) async fn set_base_fee(api: &Api, request: Request<'_>) -> Answered {
    let wei = Params::new(request.params, 1)?.required(0)?;
    let head = api.durable.get().header.number;
    // The engine tells the pool before it answers: who then sends for this fee is let in.
    order(api, Command::SetNextBaseFee(wei)).await?;
    api.flags.set_base_fee_after(head, wei);
    null()
}

/// `anvil_setNextBlockPrevRandao`, `hardhat_setPrevRandao`
pub(super) async fn set_prev_randao(api: &Api, request: Request<'_>) -> Answered {
    let value = Params::new(request.params, 1)?.required(0)?;
    obey(api, Command::SetNextPrevRandao(value)).await
}

/// `anvil_setCoinbase`, `hardhat_setCoinbase`
pub(super) async fn set_coinbase(api: &Api, request: Request<'_>) -> Answered {
    let address = Params::new(request.params, 1)?.required(0)?;
    obey(api, Command::SetCoinbase(address)).await
}

/// `anvil_setBalance`, `hardhat_setBalance`, `tenderly_setBalance`
pub(super) async fn set_balance(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    let Number(wei) = params.required(1)?;
    cheat(api, Cheat::SetBalance(params.required(0)?, wei)).await
}

/// `anvil_addBalance`, `hardhat_addBalance`, `tenderly_addBalance`
pub(super) async fn add_balance(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    let Number(wei) = params.required(1)?;
    cheat(api, Cheat::AddBalance(params.required(0)?, wei)).await
}

/// `anvil_setNonce`, `hardhat_setNonce`, `evm_setAccountNonce`
pub(super) async fn set_nonce(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    cheat(api, Cheat::SetNonce(params.required(0)?, params.required(1)?)).await
}

/// `anvil_setCode`, `hardhat_setCode`
pub(super) async fn set_code(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    let code = params.required::<Bytes>(1)?;
    cheat(api, Cheat::SetCode(params.required(0)?, code)).await
}

/// `anvil_setStorageAt`, `hardhat_setStorageAt`: the answer is `true`.
pub(super) async fn set_storage_at(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 3)?;
    let (address, Number(slot), Slot(value)) =
        (params.required(0)?, params.required(1)?, params.required(2)?);
    let value = B256::from(value);
    order(api, Command::Cheat(Cheat::SetStorageAt(address, slot, value))).await?;
    answer(&true)
}

/// `anvil_impersonateAccount`, `hardhat_impersonateAccount`
pub(super) fn impersonate(api: &Api, request: Request<'_>) -> Answered {
    let address = Params::new(request.params, 1)?.required(0)?;
    if !api.accounts.impersonate(address) {
        return Err(RpcError::limit("too many impersonated accounts"));
    }
    null()
}

/// `anvil_stopImpersonatingAccount`, `hardhat_stopImpersonatingAccount`
pub(super) fn stop_impersonating(api: &Api, request: Request<'_>) -> Answered {
    api.accounts.stop_impersonating(Params::new(request.params, 1)?.required(0)?);
    null()
}

/// `anvil_autoImpersonateAccount`, `hardhat_autoImpersonateAccount`
pub(super) fn auto_impersonate(api: &Api, request: Request<'_>) -> Answered {
    api.accounts.set_auto_impersonate(Params::new(request.params, 1)?.required(0)?);
    null()
}

/// `anvil_setLoggingEnabled`, `hardhat_setLoggingEnabled`: whether requests and blocks are told.
pub(super) fn set_logging(api: &Api, request: Request<'_>) -> Answered {
    api.log.set_on(Params::new(request.params, 1)?.required(0)?);
    null()
}

/// `anvil_setMinGasPrice`: as in anvil, only before London, where the base fee does its work.
pub(super) fn set_min_gas_price(api: &Api, request: Request<'_>) -> Answered {
    let Number(wei) = Params::new(request.params, 1)?.required(0)?;
    if api.spec.next_base_fee(&api.durable.get().header).is_some() {
        return Err(RpcError::invalid_params(
            "anvil_setMinGasPrice is not supported when EIP-1559 is active",
        ));
    }
    dev_pool::set_min_gas_price(api, wei)
}

/// `anvil_setChainId`: for calls at once, for blocks and transactions from the next block on. What
/// waits in the pool under the former id is dropped when a block would take it.
pub(super) fn set_chain_id(api: &Api, request: Request<'_>) -> Answered {
    let id: u64 = Params::new(request.params, 1)?.required(0)?;
    if id != api.spec.chain_id_now() && api.config.is_persistent {
        return Err(RpcError::server(
            "the chain id is part of the database in --datadir; start another with --chain-id",
        ));
    }
    let head = head(&api.durable.get());
    api.spec.set_chain_id(head, id).map_err(|error| RpcError::limit(error.to_string()))?;
    null()
}

/// `anvil_reset`, `hardhat_reset`: back to the first block, with an empty pool. The chain's own
/// file or flags made that block, so nothing else can be asked for. As on anvil the clock goes back
/// with it; gas limit, interval of timestamps, coinbase and mode of mining stay. It is done whole
/// also if the client leaves in the middle.
pub(super) async fn reset(api: &Arc<Api>, request: Request<'_>) -> Answered {
    #[derive(serde::Deserialize)]
    struct Options {
        forking: Option<serde::de::IgnoredAny>,
    }
    let options = Params::new(request.params, 1)?.optional::<Object<Options>>(0)?;
    if options.is_some_and(|Object(options)| options.forking.is_some()) {
        return Err(RpcError::server("reset: forking from another chain is not supported"));
    }
    let here = Arc::clone(api);
    let resetting = async move {
        // Before, so that nothing of it is mined on the first block.
        dev_pool::remove(&here, Remove::All).await?;
        if !go_back(&here, Command::Reset, Snapshots::From(0)).await? {
            return Err(odd_outcome(&Outcome::Reverted(false)));
        }
        here.flags.renew_instance();
        Ok(())
    };
    let resetting = api.system.spawn_future(Spawn::new("reset", Class::Rpc), resetting);
    resetting.await.map_err(|ended| RpcError::internal(format!("reset: {ended}")))??;
    null()
}
