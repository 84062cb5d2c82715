//! Reads of single transactions and receipts, mined or pending.

use std::sync::Arc;

use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, Bytes};
use evenkeel_chain::{Height, RecoveredTx, SealedBlock};
use evenkeel_mempool::Query;
use evenkeel_runtime::checkpoint;
use evenkeel_state::{Durable, MinedTx, SealedHeader, TxLocation};
use serde::Serialize;

use super::{chain_reads::By, pending, state_reads::ask, whole};
use crate::{
    api::{Api, Request},
    error::RpcError,
    params::{Params, Quantity},
    position::{self, At},
    render::{self, Answered, Place, RpcTx, answer, null, pieces},
};

/// `eth_getTransactionByHash`
pub(super) async fn by_hash(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 1)?;
    match find(api, params.required(0)?).await? {
        Some(Found::Mined(mined)) => answer(&shown(&mined)),
        Some(Found::Pooled(tx)) => answer(&render::transaction(&tx, None)),
        None => null(),
    }
}

/// `eth_getRawTransactionByHash`, `debug_getRawTransaction`
pub(super) async fn raw_by_hash(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 1)?;
    match find(api, params.required(0)?).await? {
        Some(Found::Mined(mined)) => answer(&mined.tx.encoded()),
        Some(Found::Pooled(tx)) => answer(&tx.encoded()),
        None => null(),
    }
}

/// `eth_getTransactionByBlockNumberAndIndex`, `eth_getTransactionByBlockHashAndIndex`
pub(super) async fn by_index(api: &Api, request: Request<'_>, by: By) -> Answered {
    match at_index(api, request, by).await? {
        Some(mined) => answer(&shown(&mined)),
        None => null(),
    }
}

/// `eth_getRawTransactionByBlockNumberAndIndex`, `eth_getRawTransactionByBlockHashAndIndex`
pub(super) async fn raw_by_index(api: &Api, request: Request<'_>, by: By) -> Answered {
    match at_index(api, request, by).await? {
        Some(mined) => answer(&mined.tx.encoded()),
        None => answer(&Bytes::new()),
    }
}

/// `eth_getTransactionReceipt`
pub(super) fn receipt(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 1)?;
    let hash = params.required::<B256>(0)?;
    let durable = api.durable.get();
    match receipt_of(api, &durable, hash)? {
        Some(receipt) => answer(&receipt),
        None => null(),
    }
}

/// The receipt of a transaction of the chain.
pub(super) fn receipt_of(
    api: &Api,
    durable: &Durable,
    hash: B256,
) -> Result<Option<impl Serialize + use<>>, RpcError> {
    let Some(location) = durable.chain.transaction(hash)? else { return Ok(None) };
    let mined = durable.chain.mined(location)?;
    let found = mined.zip(durable.chain.receipt(location)?);
    Ok(found.map(|(mined, placed)| render::receipt(&api.spec, Place::from(&mined), placed)))
}

/// `eth_getTransactionBySenderAndNonce`
pub(super) async fn by_sender_and_nonce(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    let sender = params.required::<Address>(0)?;
    let Quantity(nonce) = params.required(1)?;
    let durable = api.durable.get();
    if nonce < durable.view.account(sender)?.unwrap_or_default().nonce {
        let block = block_of_nonce(&durable, sender, nonce).await?;
        let found = block.and_then(|block| {
            let is_it = |tx: &Arc<RecoveredTx>| tx.sender() == sender && tx.nonce() == nonce;
            block.txs.iter().position(is_it).map(|index| {
                let place = Place::of(&block, index);
                render::transaction(place.tx, Some(place))
            })
        });
        return answer(&found);
    }
    let content = ask(api, |reply| Query::Content { sender: Some(sender), reply }).await?;
    let mut txs = content.pending().chain(content.queued());
    answer(&txs.find(|tx| tx.nonce() == nonce).map(|tx| render::transaction(tx, None)))
}

/// `eth_pendingTransactions`: what the pending block would hold.
pub(super) async fn pending(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    let durable = api.durable.get();
    let txs = pending::transactions(api, &durable, u64::MAX).await?;
    answer(&pieces(txs.iter().map(|tx| render::transaction(tx, None))).await?)
}

/// The place of a transaction in its block.
pub(super) fn index_of(location: TxLocation) -> usize {
    usize::try_from(location.index).expect("a block in memory has fewer transactions than usize")
}

/// A transaction known to this node.
enum Found {
    Mined(MinedTx),
    Pooled(Arc<RecoveredTx>),
}

/// Looks in the chain, in the pool, and once more in the chain: the transaction may be mined
/// between the first two looks.
async fn find(api: &Api, hash: B256) -> Result<Option<Found>, RpcError> {
    if let Some(found) = find_mined(&api.durable.get(), hash)? {
        return Ok(Some(found));
    }
    if let Some(tx) = ask(api, |reply| Query::Get { hash, reply }).await? {
        return Ok(Some(Found::Pooled(tx)));
    }
    find_mined(&api.durable.get(), hash)
}

fn find_mined(durable: &Durable, hash: B256) -> Result<Option<Found>, RpcError> {
    let Some(location) = durable.chain.transaction(hash)? else { return Ok(None) };
    Ok(durable.chain.mined(location)?.map(Found::Mined))
}

fn shown(mined: &MinedTx) -> RpcTx {
    render::transaction(&mined.tx, Some(mined.into()))
}

/// The transaction named by a block and an index, if there is one.
async fn at_index(api: &Api, request: Request<'_>, by: By) -> Result<Option<MinedTx>, RpcError> {
    let params = Params::new(request.params, 2)?;
    let id: BlockId = by.block(&params, 0)?;
    let Quantity(index) = params.required(1)?;
    let durable = api.durable.get();
    Ok(match position::locate(api, &durable, id)? {
        None => None,
        Some(At::Block(height)) => durable.chain.mined(TxLocation { height, index })?,
        Some(At::Pending) => {
            let block = pending::block(api, &durable).await?;
            let tx = usize::try_from(index).ok().and_then(|index| block.txs.get(index).cloned());
            let header = Arc::new(SealedHeader { header: block.header, hash: block.hash });
            tx.map(|tx| MinedTx { header, tx, index })
        }
    })
}

/// The block in which `sender`'s nonce passed `nonce`: a binary search over the archive,
/// O(log n) reads in the height of the chain.
pub(super) async fn block_of_nonce(
    durable: &Durable,
    sender: Address,
    nonce: u64,
) -> Result<Option<Arc<SealedBlock>>, RpcError> {
    let oldest = durable.chain.oldest_state();
    let (mut low, mut high) = (oldest.get(), position::head(durable).get());
    // The first height in low..=high after which the nonce is used.
    while low < high {
        checkpoint().await;
        let middle = low + (high - low) / 2;
        let view = durable.chain.view_at(Height::new(middle))?;
        let view = view.ok_or_else(position::header_not_found)?;
        if view.account(sender)?.unwrap_or_default().nonce > nonce {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    whole::block(durable, Height::new(low)).await
}
