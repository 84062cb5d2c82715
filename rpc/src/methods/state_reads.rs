//! Reads of accounts: balance, nonce, code, storage.

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, U256};
use evenkeel_mempool::{PoolMessage, Query};
use evenkeel_runtime::reply;
use evenkeel_state::{Account, View};
use serde::Serialize;

use crate::{
    api::{Api, Request},
    error::RpcError,
    params::{Params, Slot},
    position,
    render::{Answered, answer, quantity},
};

/// `eth_getBalance`
pub(super) fn balance(api: &Api, request: Request<'_>) -> Answered {
    let (_, account) = account(api, request)?;
    quantity(account.balance)
}

/// `eth_getTransactionCount`: at `pending`, what the pool says is next.
pub(super) async fn transaction_count(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    let address = params.required(0)?;
    let block = params.block(1)?;
    if block == BlockId::Number(BlockNumberOrTag::Pending) {
        return quantity(next_nonce(api, address).await?);
    }
    let view = position::view(api, &api.durable.get(), block)?;
    quantity(view.account(address)?.unwrap_or_default().nonce)
}

/// The nonce after the last executable one of `sender` in the pool, or the head's.
pub(super) async fn next_nonce(api: &Api, sender: Address) -> Result<u64, RpcError> {
    let pooled = ask(api, |reply| Query::PendingNonce { sender, reply }).await?;
    // Pinned after the pool has answered, so that a block between the two is not counted back.
    let durable = api.durable.get();
    let mined = durable.view.account(sender)?.unwrap_or_default().nonce;
    Ok(pooled.map_or(mined, |pooled| pooled.max(mined)))
}

/// Asks the pool and waits.
pub(super) async fn ask<T: Send>(
    api: &Api,
    question: impl FnOnce(evenkeel_runtime::Reply<T>) -> Query,
) -> Result<T, RpcError> {
    let (reply, answer) = reply();
    api.pool
        .send(PoolMessage::Query(question(reply)))
        .map_err(|error| RpcError::limit(format!("pool: {}", error.reason())))?;
    answer.await.map_err(|lost| RpcError::internal(format!("pool: {lost}")))
}

/// `eth_getCode`
pub(super) fn code(api: &Api, request: Request<'_>) -> Answered {
    let (view, account) = account(api, request)?;
    answer(&code_of(&view, &account)?)
}

/// `eth_getStorageAt`
pub(super) fn storage(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 3)?;
    let address = params.required(0)?;
    let Slot(slot) = params.required(1)?;
    let view = position::view(api, &api.durable.get(), params.block(2)?)?;
    answer(&B256::from(view.storage(address, slot)?))
}

/// `eth_getAccountInfo`: balance, nonce and code in one answer.
pub(super) fn account_info(api: &Api, request: Request<'_>) -> Answered {
    #[derive(Serialize)]
    struct Info {
        balance: U256,
        nonce: String,
        code: Bytes,
    }
    let (view, account) = account(api, request)?;
    let Account { balance, nonce, .. } = account;
    let nonce = format!("{nonce:#x}");
    answer(&Info { balance, nonce, code: code_of(&view, &account)? })
}

fn code_of(view: &View, account: &Account) -> Result<Bytes, RpcError> {
    if !account.has_code() {
        return Ok(Bytes::new());
    }
    Ok(view.code(account.code_hash)?)
}

/// The account named by the arguments `address, block`; the empty one if there is none.
fn account(api: &Api, request: Request<'_>) -> Result<(View, Account), RpcError> {
    let params = Params::new(request.params, 2)?;
    let address = params.required(0)?;
    let view = position::view(api, &api.durable.get(), params.block(1)?)?;
    let account = view.account(address)?.unwrap_or_default();
    Ok((view, account))
}
