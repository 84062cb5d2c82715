//! Values of the rows that hold a block's transactions, and of those that hold its receipts. Pure.
//!
//! A row holds a stretch of them, a chunk, and is keyed by the height and the index of its last
//! item: the first key at or above (height, index) is that of the row with the item. A chunk is at
//! most [`CHUNK_BYTES`] long, or a single item. So one item costs one seek, its own size and a
//! bounded rest, however large the block is; and a block is read chunk by chunk.

use std::sync::Arc;

use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{Address, B256, Log};
use alloy_rlp::{Decodable, Encodable, Header};
use evenkeel_chain::{Height, Receipt, RecoveredTx, TxEnvelope};

use crate::{
    limits::CHUNK_BYTES,
    rows,
    store::{Batch, Family},
};

/// A receipt with what its block had used and logged before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlacedReceipt {
    /// The receipt.
    pub receipt: Receipt,
    /// Cumulative gas of the transaction before; zero for the first.
    pub gas_before: u64,
    /// Index in the block of the first log.
    pub logs_before: u64,
}

/// Rows in the making.
struct Chunks<'a> {
    batch: &'a mut Batch,
    family: Family,
    height: Height,
    /// The row that grows; empty if the next item begins one.
    row: Vec<u8>,
    /// Items so far.
    count: u64,
}

impl<'a> Chunks<'a> {
    fn new(batch: &'a mut Batch, family: Family, height: Height) -> Self {
        Self { batch, family, height, row: Vec::with_capacity(CHUNK_BYTES), count: 0 }
    }

    /// Adds an item. A row that begins with it begins with its index and what `start` adds.
    fn push(&mut self, item: &[u8], start: impl FnOnce(&mut Vec<u8>)) {
        if self.row.len() + item.len() > CHUNK_BYTES {
            self.end_row();
        }
        if self.row.is_empty() {
            self.count.encode(&mut self.row);
            start(&mut self.row);
        }
        self.row.extend_from_slice(item);
        self.count += 1;
    }

    fn end_row(&mut self) {
        if !self.row.is_empty() {
            let key = rows::chunk_key(self.height, self.count - 1);
            self.batch.put(self.family, key, &self.row);
            self.row.clear();
        }
    }
}

/// Index of the first; then sender and EIP-2718 encoding of each.
///
/// An impersonated transaction says so by its signature, so the sender is all that is kept.
pub(crate) fn put_txs(batch: &mut Batch, height: Height, txs: &[Arc<RecoveredTx>]) {
    let mut chunks = Chunks::new(batch, Family::Bodies, height);
    let mut item = Vec::new();
    for tx in txs {
        item.clear();
        tx.sender().encode(&mut item);
        Header { list: false, payload_length: tx.size_bytes() }.encode(&mut item);
        tx.tx().encode_2718(&mut item);
        chunks.push(&item, |_| {});
    }
    chunks.end_row();
}

/// Adds the transactions of the chunk that begins after those in `txs`.
pub(crate) fn decode_txs(mut row: &[u8], txs: &mut Vec<Arc<RecoveredTx>>) -> Option<()> {
    if u64::decode(&mut row).ok()? != txs.len() as u64 || row.is_empty() {
        return None;
    }
    while !row.is_empty() {
        txs.push(decode_tx(&mut row)?);
    }
    Some(())
}

/// The transaction at `index`, which is not above the last in the chunk.
pub(crate) fn decode_tx_at(mut row: &[u8], index: u64) -> Option<Arc<RecoveredTx>> {
    for _ in u64::decode(&mut row).ok()?..index {
        skip(&mut row)?;
        skip(&mut row)?;
    }
    decode_tx(&mut row)
}

fn decode_tx(row: &mut &[u8]) -> Option<Arc<RecoveredTx>> {
    let sender = Address::decode(row).ok()?;
    let encoded = Header::decode_bytes(row, false).ok()?;
    let tx = TxEnvelope::decode_2718_exact(encoded).ok()?;
    Some(RecoveredTx::from_parts(tx, sender))
}

/// Index, gas and logs before the first; then type, outcome, cumulative gas and logs of each. The
/// bloom is left out, it follows from the logs.
pub(crate) fn put_receipts(batch: &mut Batch, height: Height, receipts: &[Receipt]) {
    let mut chunks = Chunks::new(batch, Family::Receipts, height);
    let (mut gas_before, mut logs_before) = (0, 0);
    let mut item = Vec::new();
    for receipt in receipts {
        item.clear();
        encode_receipt(receipt, &mut item);
        chunks.push(&item, |row| {
            gas_before.encode(row);
            logs_before.encode(row);
        });
        gas_before = receipt.cumulative_gas_used;
        logs_before += receipt.logs.len() as u64;
    }
    chunks.end_row();
}

/// Type, outcome, cumulative gas and logs.
pub(crate) fn encode_receipt(receipt: &Receipt, item: &mut Vec<u8>) {
    u8::from(receipt.tx_type).encode(item);
    put_outcome(receipt, item);
    receipt.cumulative_gas_used.encode(item);
    receipt.logs.encode(item);
}

/// Adds the receipts of the chunk that begins after those in `receipts`, which have `logs` logs;
/// returns how many logs there are then.
pub(crate) fn decode_receipts(
    mut row: &[u8],
    receipts: &mut Vec<Receipt>,
    logs: u64,
) -> Option<u64> {
    let row = &mut row;
    let before = (u64::decode(row).ok()?, u64::decode(row).ok()?, u64::decode(row).ok()?);
    let gas = receipts.last().map_or(0, |receipt| receipt.cumulative_gas_used);
    if before != (receipts.len() as u64, gas, logs) || row.is_empty() {
        return None;
    }
    let mut logs = logs;
    while !row.is_empty() {
        let receipt = decode_receipt(row)?;
        logs += receipt.logs.len() as u64;
        receipts.push(receipt);
    }
    Some(logs)
}

/// The receipt at `index`, which is not above the last in the chunk.
pub(crate) fn decode_receipt_at(mut row: &[u8], index: u64) -> Option<PlacedReceipt> {
    let row = &mut row;
    let first = u64::decode(row).ok()?;
    let (mut gas_before, mut logs_before) = (u64::decode(row).ok()?, u64::decode(row).ok()?);
    for _ in first..index {
        skip(row)?;
        skip(row)?;
        gas_before = u64::decode(row).ok()?;
        let mut logs = Header::decode_bytes(row, true).ok()?;
        while !logs.is_empty() {
            skip(&mut logs)?;
            logs_before += 1;
        }
    }
    Some(PlacedReceipt { receipt: decode_receipt(row)?, gas_before, logs_before })
}

/// Whether it succeeded; before Byzantium as one string with the root of the state after it.
fn put_outcome(receipt: &Receipt, item: &mut Vec<u8>) {
    let Some(root) = receipt.post_state else { return receipt.success.encode(item) };
    let mut outcome = [0; 33];
    outcome[0] = receipt.success.into();
    outcome[1..].copy_from_slice(root.as_slice());
    outcome.as_slice().encode(item);
}

fn decode_outcome(row: &mut &[u8]) -> Option<(bool, Option<B256>)> {
    match Header::decode_bytes(row, false).ok()? {
        [] => Some((false, None)),
        [1] => Some((true, None)),
        [success @ (0 | 1), root @ ..] => Some((*success == 1, Some(root.try_into().ok()?))),
        _ => None,
    }
}

pub(crate) fn decode_receipt(row: &mut &[u8]) -> Option<Receipt> {
    let tx_type = u8::decode(row).ok()?.try_into().ok()?;
    let (success, post_state) = decode_outcome(row)?;
    Some(Receipt {
        tx_type,
        success,
        post_state,
        cumulative_gas_used: u64::decode(row).ok()?,
        logs: Vec::<Log>::decode(row).ok()?,
    })
}

/// Steps over one RLP item.
fn skip(input: &mut &[u8]) -> Option<()> {
    let header = Header::decode(input).ok()?;
    *input = input.get(header.payload_length..)?;
    Some(())
}
