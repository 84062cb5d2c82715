//! What the operator orders of the pool: drop transactions, set a price floor, show blobs.

use alloy_primitives::{Address, B256, U256};
use evenkeel_mempool::{PoolMessage, Query, Remove};
use evenkeel_runtime::{Reply, reply};

use crate::{
    api::{Api, Request},
    error::RpcError,
    params::{Params, refuse},
    render::{Answered, answer, null},
};

/// `anvil_dropTransaction`, `hardhat_dropTransaction`: its hash, or null if it is not pooled.
pub(super) async fn drop_one(api: &Api, request: Request<'_>) -> Answered {
    let hash = Params::new(request.params, 1)?.required::<B256>(0)?;
    match remove(api, Remove::Hash(hash)).await? {
        0 => null(),
        _ => answer(&hash),
    }
}

/// `anvil_dropAllTransactions`, `hardhat_dropAllTransactions`, `debug_clearTxpool`
pub(super) async fn drop_all(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    remove(api, Remove::All).await?;
    null()
}

/// `anvil_removePoolTransactions`: those of one sender.
pub(super) async fn drop_sender(api: &Api, request: Request<'_>) -> Answered {
    let sender = Params::new(request.params, 1)?.required::<Address>(0)?;
    remove(api, Remove::Sender(sender)).await?;
    null()
}

/// Has transactions removed; how many there were.
pub(super) async fn remove(api: &Api, which: Remove) -> Result<usize, RpcError> {
    let (reply, removed) = reply();
    tell(api, PoolMessage::Remove { which, reply: Some(reply) })?;
    removed.await.map_err(|lost| RpcError::internal(format!("pool: {lost}")))
}

/// The pool's price floor.
pub(super) fn set_min_gas_price(api: &Api, wei: U256) -> Answered {
    let wei = u128::try_from(wei).map_err(|_| refuse(0, "a price of more than 128 bits"))?;
    tell(api, PoolMessage::SetMinGasPrice(wei))?;
    null()
}

/// `anvil_getBlobByHash`: a blob that came in lately, mined or not, by its versioned hash; or null.
pub(super) async fn blob(api: &Api, request: Request<'_>) -> Answered {
    let hash = Params::new(request.params, 1)?.required::<B256>(0)?;
    let found = ask(api, |reply| Query::Blob { hash, reply }).await?;
    answer(&found.as_ref().and_then(|(sidecar, index)| sidecar.blobs().get(*index)))
}

/// `anvil_getBlobsByTransactionHash`: all blobs of a transaction that came in lately; or null.
pub(super) async fn blobs(api: &Api, request: Request<'_>) -> Answered {
    let tx = Params::new(request.params, 1)?.required::<B256>(0)?;
    let found = ask(api, |reply| Query::Blobs { tx, reply }).await?;
    answer(&found.as_ref().map(|sidecar| sidecar.blobs()))
}

async fn ask<T: Send>(api: &Api, query: impl FnOnce(Reply<T>) -> Query) -> Result<T, RpcError> {
    let (reply, found) = reply();
    tell(api, PoolMessage::Query(query(reply)))?;
    found.await.map_err(|lost| RpcError::internal(format!("pool: {lost}")))
}

fn tell(api: &Api, message: PoolMessage) -> Result<(), RpcError> {
    api.pool.send(message).map_err(|error| RpcError::limit(format!("pool: {}", error.reason())))
}
