//! `debug_getRaw*`: consensus encodings; and bad blocks, of which there are none.

use alloy_primitives::{B256, Bytes};
use evenkeel_chain::Height;
use evenkeel_state::Durable;
use serde::de::IgnoredAny;

use super::whole;
use crate::{
    api::{Api, Request},
    error::RpcError,
    params::{HexBlock, Object, Params},
    position::{self, At, header_not_found},
    render::{Answered, answer, pieces},
};

/// `debug_getRawBlock`
pub(super) async fn raw_block(api: &Api, request: Request<'_>) -> Answered {
    let durable = api.durable.get();
    let block = whole::block(&durable, height(api, &durable, request)?).await?;
    answer(&Bytes::from(block.ok_or_else(header_not_found)?.encode_rlp()))
}

/// `debug_getRawHeader`
pub(super) fn raw_header(api: &Api, request: Request<'_>) -> Answered {
    let durable = api.durable.get();
    let header = position::header_at(&durable, height(api, &durable, request)?)?;
    let (header, _) = header.ok_or_else(header_not_found)?;
    answer(&Bytes::from(alloy_rlp::encode(&*header)))
}

/// `debug_getRawTransactions`: all of a block, as in reth.
pub(super) async fn raw_transactions(api: &Api, request: Request<'_>) -> Answered {
    let durable = api.durable.get();
    let block = whole::block(&durable, height(api, &durable, request)?).await?;
    let block = block.ok_or_else(header_not_found)?;
    answer(&pieces(block.txs.iter().map(|tx| tx.encoded())).await?)
}

/// `debug_getRawReceipts`
pub(super) async fn raw_receipts(api: &Api, request: Request<'_>) -> Answered {
    let durable = api.durable.get();
    let height = height(api, &durable, request)?;
    let (_, receipts) = whole::executed(&durable, height).await?.ok_or_else(header_not_found)?;
    let encoded = receipts.iter().map(|receipt| {
        let mut out = Vec::new();
        receipt.encode_2718(&mut out);
        out.into()
    });
    answer(&encoded.collect::<Vec<Bytes>>())
}

/// `debug_traceBadBlock`: there is none.
pub(super) fn trace_bad_block(request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    let hash = params.required::<B256>(0)?;
    params.optional::<Object<IgnoredAny>>(1)?;
    Err(RpcError::server(format!("bad block {hash} not found")))
}

/// `debug_getBadBlocks`: nobody sends this node blocks.
pub(super) fn bad_blocks(request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    answer::<[(); 0]>(&[])
}

fn height(api: &Api, durable: &Durable, request: Request<'_>) -> Result<Height, RpcError> {
    let HexBlock(id) = Params::new(request.params, 1)?.required(0)?;
    match position::locate(api, durable, id)?.ok_or_else(header_not_found)? {
        At::Block(height) => Ok(height),
        At::Pending => Err(RpcError::server("the pending block has no encoding yet")),
    }
}
