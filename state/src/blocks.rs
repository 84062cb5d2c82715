//! Values of the rows that hold blocks: headers, bodies, receipts, in RLP. Pure.

use std::sync::Arc;

use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{Address, B256, Bytes, Log};
use alloy_rlp::{Decodable, Encodable};
use evenkeel_chain::{Header, Receipt, RecoveredTx, SealedBlock, TxEnvelope, Withdrawal};

/// A header with its hash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealedHeader {
    /// The header.
    pub header: Header,
    /// Its hash.
    pub hash: B256,
}

/// Hash, header.
pub(crate) fn encode_header(header: &Header, hash: B256) -> Vec<u8> {
    let mut out = Vec::with_capacity(hash.len() + header.length());
    out.extend_from_slice(hash.as_slice());
    header.encode(&mut out);
    out
}

pub(crate) fn decode_header(bytes: &[u8]) -> Option<SealedHeader> {
    let (hash, mut header) = bytes.split_at_checked(32)?;
    let hash = B256::from_slice(hash);
    let decoded = Header::decode(&mut header).ok()?;
    header.is_empty().then_some(SealedHeader { header: decoded, hash })
}

/// The hash alone.
pub(crate) fn decode_header_hash(bytes: &[u8]) -> Option<B256> {
    bytes.get(..32).map(B256::from_slice)
}

/// Transactions (EIP-2718), senders, ommers, a list of none or one list of withdrawals.
///
/// An impersonated transaction says so by its signature, so the sender is all that is kept.
pub(crate) fn encode_body(block: &SealedBlock) -> Vec<u8> {
    let mut out = Vec::new();
    let txs: Vec<Bytes> = block.txs.iter().map(|tx| tx.tx().encoded_2718().into()).collect();
    let senders: Vec<Address> = block.txs.iter().map(|tx| tx.sender()).collect();
    txs.encode(&mut out);
    senders.encode(&mut out);
    block.ommers.encode(&mut out);
    let withdrawals: Vec<Vec<Withdrawal>> = block.withdrawals.iter().cloned().collect();
    withdrawals.encode(&mut out);
    out
}

pub(crate) fn decode_body(header: SealedHeader, mut bytes: &[u8]) -> Option<SealedBlock> {
    let input = &mut bytes;
    let txs = Vec::<Bytes>::decode(input).ok()?;
    let senders = Vec::<Address>::decode(input).ok()?;
    let ommers = Vec::<Header>::decode(input).ok()?;
    let mut withdrawals = Vec::<Vec<Withdrawal>>::decode(input).ok()?;
    if !input.is_empty() || txs.len() != senders.len() || withdrawals.len() > 1 {
        return None;
    }
    let txs = txs.iter().zip(senders).map(|(tx, sender)| {
        let tx = TxEnvelope::decode_2718_exact(tx).ok()?;
        Some(RecoveredTx::from_parts(tx, sender))
    });
    let txs: Option<Vec<Arc<RecoveredTx>>> = txs.collect();
    let SealedHeader { header, hash } = header;
    Some(SealedBlock { header, hash, txs: txs?, ommers, withdrawals: withdrawals.pop() })
}

/// Type, success, cumulative gas, logs of each; the bloom is left out, it follows from the logs.
pub(crate) fn encode_receipts(receipts: &[Receipt]) -> Vec<u8> {
    let mut out = Vec::new();
    for receipt in receipts {
        u8::from(receipt.tx_type).encode(&mut out);
        receipt.success.encode(&mut out);
        receipt.cumulative_gas_used.encode(&mut out);
        receipt.logs.encode(&mut out);
    }
    out
}

pub(crate) fn decode_receipts(mut bytes: &[u8]) -> Option<Vec<Receipt>> {
    let input = &mut bytes;
    let mut receipts = Vec::new();
    while !input.is_empty() {
        receipts.push(Receipt {
            tx_type: u8::decode(input).ok()?.try_into().ok()?,
            success: bool::decode(input).ok()?,
            cumulative_gas_used: u64::decode(input).ok()?,
            logs: Vec::<Log>::decode(input).ok()?,
        });
    }
    Some(receipts)
}
