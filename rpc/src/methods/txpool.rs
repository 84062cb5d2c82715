//! `txpool_*`: what waits, by sender and nonce.

use std::{collections::BTreeMap, sync::Arc};

use alloy_primitives::Address;
use evenkeel_chain::RecoveredTx;
use evenkeel_mempool::{PoolContent, Query};
use evenkeel_runtime::{checkpoint, consume};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{limits::ITEM_REDUCTIONS, state_reads::ask};
use crate::{
    api::{Api, Request},
    error::RpcError,
    params::Params,
    render::{Answered, RpcTx, answer, transaction},
};

/// Two sides of the pool, each shown as `T`.
#[derive(Serialize)]
struct Sides<T> {
    /// Executable.
    pending: T,
    /// Behind a gap.
    queued: T,
}

/// One side: sender, nonce in decimal, transaction.
type Shown = BTreeMap<Address, BTreeMap<String, Box<RawValue>>>;

/// `txpool_status`
pub(super) async fn status(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    let (pending, queued) = ask(api, |reply| Query::Status { reply }).await?;
    answer(&Sides { pending: format!("{pending:#x}"), queued: format!("{queued:#x}") })
}

/// `txpool_content`
pub(super) async fn content(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    let content = pooled(api, None).await?;
    answer(&Sides {
        pending: shown(content.pending(), whole).await?,
        queued: shown(content.queued(), whole).await?,
    })
}

/// `txpool_contentFrom`
pub(super) async fn content_from(api: &Api, request: Request<'_>) -> Answered {
    let sender = Params::new(request.params, 1)?.required::<Address>(0)?;
    let content = pooled(api, Some(sender)).await?;
    let of_sender = |mut side: Shown| side.remove(&sender).unwrap_or_default();
    answer(&Sides {
        pending: of_sender(shown(content.pending(), whole).await?),
        queued: of_sender(shown(content.queued(), whole).await?),
    })
}

/// `txpool_inspect`
pub(super) async fn inspect(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    let content = pooled(api, None).await?;
    answer(&Sides {
        pending: shown(content.pending(), summary).await?,
        queued: shown(content.queued(), summary).await?,
    })
}

async fn pooled(api: &Api, sender: Option<Address>) -> Result<PoolContent, RpcError> {
    ask(api, |reply| Query::Content { sender, reply }).await
}

/// Shows one side, giving way to others between two transactions.
async fn shown<'a, T: Serialize>(
    side: impl Iterator<Item = &'a Arc<RecoveredTx>> + Send,
    show: impl Fn(&RecoveredTx) -> T + Send,
) -> Result<Shown, RpcError> {
    let mut by_sender = Shown::new();
    for tx in side {
        consume(ITEM_REDUCTIONS);
        checkpoint().await;
        let txs = by_sender.entry(tx.sender()).or_default();
        txs.insert(tx.nonce().to_string(), answer(&show(tx))?);
    }
    Ok(by_sender)
}

fn whole(tx: &RecoveredTx) -> RpcTx {
    transaction(tx, None)
}

/// geth's one-line summary.
fn summary(tx: &RecoveredTx) -> String {
    let price = tx.max_fee_per_gas();
    let costs = format!("{} wei + {} gas × {price} wei", tx.value(), tx.gas_limit());
    match tx.kind().to() {
        Some(to) => format!("{to}: {costs}"),
        None => format!("contract creation: {costs}"),
    }
}
