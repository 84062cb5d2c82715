//! Whole blocks and their receipts, read in slices: a block of 20,000 transactions is tens of
//! milliseconds of decoding.

use std::sync::Arc;

use evenkeel_chain::{Height, Receipt, SealedBlock};
use evenkeel_runtime::{checkpoint, consume};
use evenkeel_state::Durable;

use super::limits::CHUNK_REDUCTIONS;
use crate::error::RpcError;

/// A block and its receipts, as many as transactions.
pub(super) type Executed = (Arc<SealedBlock>, Arc<Vec<Receipt>>);

/// The block at `height`, if there is one.
pub(super) async fn block(
    durable: &Durable,
    height: Height,
) -> Result<Option<Arc<SealedBlock>>, RpcError> {
    let Some(mut reading) = durable.chain.read_block(height)? else { return Ok(None) };
    loop {
        if let Some(block) = reading.step()? {
            return Ok(Some(block));
        }
        consume(CHUNK_REDUCTIONS);
        checkpoint().await;
    }
}

/// The receipts of the block at `height`, if there is one.
async fn receipts(
    durable: &Durable,
    height: Height,
) -> Result<Option<Arc<Vec<Receipt>>>, RpcError> {
    let Some(mut reading) = durable.chain.read_receipts(height)? else { return Ok(None) };
    loop {
        if let Some(receipts) = reading.step()? {
            return Ok(Some(receipts));
        }
        consume(CHUNK_REDUCTIONS);
        checkpoint().await;
    }
}

/// The block at `height` with its receipts, if there is one.
pub(super) async fn executed(
    durable: &Durable,
    height: Height,
) -> Result<Option<Executed>, RpcError> {
    let Some(block) = block(durable, height).await? else { return Ok(None) };
    let receipts = receipts(durable, height).await?;
    let receipts =
        receipts.ok_or_else(|| RpcError::internal(format!("no receipts of block {height}")))?;
    if receipts.len() != block.txs.len() {
        return Err(RpcError::internal(format!(
            "block {height} has {} transactions but {} receipts",
            block.txs.len(),
            receipts.len()
        )));
    }
    Ok(Some((block, receipts)))
}
