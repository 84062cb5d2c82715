//! Reads of the chain: heads, headers, blocks, receipts, uncles.

use std::sync::Arc;

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::B256;
use evenkeel_chain::SealedBlock;

use super::{pending, whole};
use crate::{
    api::{Api, Request},
    error::RpcError,
    params::{Params, Quantity},
    position::{self, At},
    render::{self, Answered, answer, null, quantity},
};

/// `eth_blockNumber`
pub(super) fn block_number(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    quantity(api.durable.get().header.number)
}

/// `eth_chainId`
pub(super) fn chain_id(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    quantity(api.spec.chain_id_now())
}

/// The block argument of the `..ByNumber` (a tag or number) and `..ByHash` twins.
#[derive(Clone, Copy)]
pub(super) enum By {
    Number,
    Hash,
}

impl By {
    pub(super) fn block(self, params: &Params<'_>, index: usize) -> Result<BlockId, RpcError> {
        Ok(match self {
            Self::Number => params.required::<BlockNumberOrTag>(index)?.into(),
            Self::Hash => params.required::<B256>(index)?.into(),
        })
    }
}

/// `eth_getBlockByNumber`, `eth_getBlockByHash`
pub(super) async fn block(api: &Api, request: Request<'_>, by: By) -> Answered {
    let params = Params::new(request.params, 2)?;
    let id = by.block(&params, 0)?;
    let is_full = params.optional::<bool>(1)?.unwrap_or(false);
    let durable = api.durable.get();
    match position::locate(api, &durable, id)? {
        None => null(),
        Some(At::Pending) => {
            let block = pending::block(api, &durable).await?;
            render::block(&block, is_full).await
        }
        Some(At::Block(height)) => match whole::block(&durable, height).await? {
            Some(block) => render::block(&block, is_full).await,
            None => null(),
        },
    }
}

/// `eth_getHeaderByNumber`, `eth_getHeaderByHash`
pub(super) async fn header(api: &Api, request: Request<'_>, by: By) -> Answered {
    let params = Params::new(request.params, 1)?;
    let id = by.block(&params, 0)?;
    let durable = api.durable.get();
    match position::locate(api, &durable, id)? {
        None => null(),
        Some(At::Pending) => {
            let block = pending::block(api, &durable).await?;
            answer(&render::header(&block.header, block.hash))
        }
        Some(At::Block(height)) => match position::header_at(&durable, height)? {
            Some((header, hash)) => answer(&render::header(&header, hash)),
            None => null(),
        },
    }
}

/// `eth_getBlockTransactionCountByNumber`, `eth_getBlockTransactionCountByHash`
pub(super) async fn transaction_count(api: &Api, request: Request<'_>, by: By) -> Answered {
    let params = Params::new(request.params, 1)?;
    match shown(api, by.block(&params, 0)?).await? {
        Some(block) => quantity(block.txs.len()),
        None => null(),
    }
}

/// `eth_getUncleCountByBlockNumber`, `eth_getUncleCountByBlockHash`
pub(super) async fn uncle_count(api: &Api, request: Request<'_>, by: By) -> Answered {
    let params = Params::new(request.params, 1)?;
    match shown(api, by.block(&params, 0)?).await? {
        Some(block) => quantity(block.ommers.len()),
        None => null(),
    }
}

/// `eth_getUncleByBlockNumberAndIndex`, `eth_getUncleByBlockHashAndIndex`
pub(super) async fn uncle(api: &Api, request: Request<'_>, by: By) -> Answered {
    let params = Params::new(request.params, 2)?;
    let block = shown(api, by.block(&params, 0)?).await?;
    let Quantity(index) = params.required(1)?;
    let uncle = block.and_then(|block| block.ommers.get(usize::try_from(index).ok()?).cloned());
    match uncle {
        Some(header) => answer(&render::RpcUncle::uncle_from_header(header)),
        None => null(),
    }
}

/// `eth_getBlockReceipts`
pub(super) async fn block_receipts(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 1)?;
    let id = params.required::<BlockId>(0)?;
    let durable = api.durable.get();
    match position::locate(api, &durable, id)? {
        None => null(),
        // Nothing of the pending block is executed, so there is nothing to show of it.
        Some(At::Pending) => answer::<[(); 0]>(&[]),
        Some(At::Block(height)) => match whole::executed(&durable, height).await? {
            Some((block, receipts)) => render::receipts(&api.spec, &block, &receipts).await,
            None => null(),
        },
    }
}

/// The block `id` names, the pending one included.
pub(super) async fn shown(api: &Api, id: BlockId) -> Result<Option<Arc<SealedBlock>>, RpcError> {
    let durable = api.durable.get();
    Ok(match position::locate(api, &durable, id)? {
        None => None,
        Some(At::Pending) => Some(Arc::new(pending::block(api, &durable).await?)),
        Some(At::Block(height)) => whole::block(&durable, height).await?,
    })
}
