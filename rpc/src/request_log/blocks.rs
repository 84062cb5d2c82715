//! Follows the durable chain and writes each block into the log.

use std::{collections::BTreeMap, fmt, sync::Arc};

use alloy_primitives::{Address, B256};
use evenkeel_chain::{Height, Receipt, SealedBlock};
use evenkeel_runtime::{checkpoint, consume};
use evenkeel_state::Durable;
use evenkeel_vm::{Failure, limits::NOTED_TXS_MAX};
use serde::Serialize;
use serde_json::json;

use super::{LogForm, RequestLog, date::rfc2822, shown};
use crate::{
    api::Api,
    error::RpcError,
    limits::{LOG_BLOCKS_MAX, LOG_TXS_MAX},
    methods::limits::CHUNK_REDUCTIONS,
    position::{head, header_not_found},
};

/// One transaction as the log shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    hash: B256,
    #[serde(skip_serializing_if = "Option::is_none")]
    contract_created: Option<Address>,
    gas_used: u64,
    is_success: bool,
    /// What is known of why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Why transactions of a block failed, by their place in it.
type Failures = BTreeMap<usize, Failure>;

/// Writes every block that becomes durable from now on into the log of `api`, for as long as the
/// node runs.
///
/// Of more than [`LOG_BLOCKS_MAX`] blocks at once only the last ones are written.
pub fn log_blocks(api: Arc<Api>) -> impl Future<Output = ()> + Send + 'static {
    let place = |durable: &Durable| (durable.generation, durable.header.number);
    // From the call on, and not from the first turn: a block may be faster than that. Only its
    // place: a whole `Durable` would pin a state for as long as no block comes.
    let mut seen = place(&api.durable.get());
    async move {
        loop {
            let (durable, version) = api.durable.get_versioned();
            if let Err(error) = write_new(&api.log, seen, &durable).await {
                tracing::warn!(%error, "blocks are not logged any more: the chain cannot be read");
                return;
            }
            seen = place(&durable);
            drop(durable);
            api.durable.changed_since(version).await;
        }
    }
}

async fn write_new(
    log: &RequestLog,
    (generation, number): (u64, u64),
    now: &Durable,
) -> Result<(), RpcError> {
    let number = now.dropped.shared(generation, Height::new(number)).get();
    if !log.is_on() || number == now.header.number {
        return Ok(());
    }
    let first = number + 1;
    let shown_first = first.max(now.header.number.saturating_sub(LOG_BLOCKS_MAX - 1));
    if shown_first > first {
        let left_out = shown_first - first;
        match log.config.form {
            LogForm::Text => log.push(format_args!("\n    ({left_out} blocks left out)\n\n")),
            LogForm::Json => log.object(&json!({ "event": "leftOut", "blocks": left_out })),
        }
    }
    for number in shown_first..=head(now).get() {
        consume(CHUNK_REDUCTIONS);
        checkpoint().await;
        let height = Height::new(number);
        let block = now.chain.block(height)?.ok_or_else(header_not_found)?;
        let receipts = now.chain.receipts(height)?.ok_or_else(header_not_found)?;
        let failures = write_notes(log, &block).await;
        write_block(log, &block, &receipts, failures);
    }
    Ok(())
}

/// Writes what was noted of the transactions of `block`; returns why some failed.
async fn write_notes(log: &RequestLog, block: &SealedBlock) -> Failures {
    let mut failures = Failures::new();
    for note in log.take_notes(block.hash) {
        failures.extend(note.failure.map(|failure| (note.index, failure)));
        log.noted(block.txs.get(note.index).map(|tx| *tx.hash()), note.noted).await;
    }
    let left_out = block.txs.len().saturating_sub(NOTED_TXS_MAX);
    if log.config.noting.has_calls && left_out > 0 {
        match log.config.form {
            LogForm::Text => log.push(format_args!("({left_out} traces left out)\n")),
            LogForm::Json => log.object(&json!({ "event": "leftOut", "traces": left_out })),
        }
    }
    failures
}

fn write_block(
    log: &RequestLog,
    block: &SealedBlock,
    receipts: &[Receipt],
    mut failures: Failures,
) {
    let lines = lines(block, receipts, &mut failures);
    let (number, hash, timestamp) = (block.header.number, block.hash, block.header.timestamp);
    match log.config.form {
        LogForm::Json => log.object(&json!({
            "event": "block", "number": number, "hash": hash, "timestamp": timestamp,
            "transactionCount": block.txs.len(), "transactions": lines,
        })),
        LogForm::Text => {
            let more = match block.txs.len() - lines.len() {
                0 => String::new(),
                more => format!("    ({more} transactions left out)\n\n"),
            };
            let txs: String = lines.iter().map(ToString::to_string).collect();
            let time = rfc2822(timestamp);
            log.push(format_args!(
                "\n{txs}{more}    Block Number: {number}\n    Block Hash: {hash}\n    \
                 Block Time: \"{time}\"\n\n"
            ));
        }
    }
}

fn lines(block: &SealedBlock, receipts: &[Receipt], failures: &mut Failures) -> Vec<Line> {
    let mut gas_before = 0;
    let txs = block.txs.iter().zip(receipts).enumerate();
    let line = |(index, (tx, receipt)): (usize, (&Arc<evenkeel_chain::RecoveredTx>, &Receipt))| {
        let gas_used = receipt.cumulative_gas_used - gas_before;
        gas_before = receipt.cumulative_gas_used;
        Line {
            hash: *tx.hash(),
            contract_created: tx.is_create().then(|| tx.sender().create(tx.nonce())),
            gas_used,
            is_success: receipt.success,
            error: failures.remove(&index).map(|failure| shown(&failure.to_string())),
        }
    };
    txs.take(LOG_TXS_MAX).map(line).collect()
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hash, contract_created, gas_used, is_success, error } = self;
        writeln!(f, "    Transaction: {hash}")?;
        if let Some(address) = contract_created {
            writeln!(f, "    Contract created: {address}")?;
        }
        writeln!(f, "    Gas used: {gas_used}")?;
        if !is_success {
            writeln!(f, "    Error: {}", error.as_deref().unwrap_or("reverted"))?;
        }
        writeln!(f)
    }
}
