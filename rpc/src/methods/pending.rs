//! The pending block: what the next block would hold if it were built now.
//!
//! Like geth's and anvil's it is a guess. It has the next block's number, time and base fee and
//! the pool's best transactions that fit the gas limit; they are not executed, so it has no state
//! root, no receipts and a gas use of zero. Its hash is that of this guess.

use std::sync::Arc;

use evenkeel_chain::{RecoveredTx, SealedBlock, transactions_root};
use evenkeel_mempool::Query;
use evenkeel_runtime::{checkpoint, consume};
use evenkeel_state::Durable;

use super::{limits::READ_REDUCTIONS, state_reads::ask};
use crate::{api::Api, error::RpcError, position};

/// The pending block on top of `durable`. O(n) in its transactions.
pub(super) async fn block(api: &Api, durable: &Durable) -> Result<SealedBlock, RpcError> {
    let mut header = position::next_header(api, durable).await?;
    let txs = transactions(api, durable, header.gas_limit).await?;
    header.transactions_root = transactions_root(&txs);
    let withdrawals = header.withdrawals_root.map(|_| Vec::new());
    Ok(SealedBlock::seal(header, txs, Vec::new(), withdrawals))
}

/// Waits until the pool has published what it had admitted when this was called, so that who sends
/// and then looks sees what he sent.
pub(super) async fn settled(api: &Api) -> Result<(), RpcError> {
    ask(api, |reply| Query::Status { reply }).await.map(drop)
}

/// The best executable transactions of the pool whose gas limits fit `gas_limit`.
pub(super) async fn transactions(
    api: &Api,
    durable: &Durable,
    gas_limit: u64,
) -> Result<Vec<Arc<RecoveredTx>>, RpcError> {
    let mut txs = Vec::new();
    let mut gas_left = gas_limit;
    settled(api).await?;
    let best = api.best.get();
    let mut candidates = best.iter();
    while let Some(tx) = candidates.next() {
        consume(READ_REDUCTIONS);
        checkpoint().await;
        // The pool may be a block behind the head, or (just admitted) ahead of a revert.
        let mined = durable.view.account(tx.sender())?.unwrap_or_default().nonce;
        if tx.nonce() < mined {
            continue;
        }
        let Some(left) = gas_left.checked_sub(tx.gas_limit()) else {
            candidates.skip_sender();
            continue;
        };
        gas_left = left;
        txs.push(tx);
    }
    Ok(txs)
}
