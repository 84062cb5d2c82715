//! Values of the rows that hold blocks, in RLP. Pure. Transactions and receipts are in [`chunks`].

use alloy_primitives::B256;
use alloy_rlp::{Decodable, Encodable};
use evenkeel_chain::{Header, Height, Receipt, SealedBlock, Withdrawal};

use crate::{
    chunks, log_index, rows,
    store::{Batch, Family},
};

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

/// What a block has beside header and transactions, and how many transactions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BodyRest {
    /// Transactions, and receipts.
    pub(crate) count: u64,
    pub(crate) ommers: Vec<Header>,
    pub(crate) withdrawals: Option<Vec<Withdrawal>>,
}

/// Number of transactions, ommers, a list of none or one list of withdrawals.
fn encode_body_rest(block: &SealedBlock) -> Vec<u8> {
    let mut out = Vec::new();
    (block.txs.len() as u64).encode(&mut out);
    block.ommers.encode(&mut out);
    let withdrawals: Vec<Vec<Withdrawal>> = block.withdrawals.iter().cloned().collect();
    withdrawals.encode(&mut out);
    out
}

pub(crate) fn decode_body_rest(mut bytes: &[u8]) -> Option<BodyRest> {
    let input = &mut bytes;
    let count = u64::decode(input).ok()?;
    let ommers = Vec::<Header>::decode(input).ok()?;
    let mut withdrawals = Vec::<Vec<Withdrawal>>::decode(input).ok()?;
    if !input.is_empty() || withdrawals.len() > 1 {
        return None;
    }
    Some(BodyRest { count, ommers, withdrawals: withdrawals.pop() })
}

/// All rows of a block and its receipts but those of its transactions' hashes.
pub(crate) fn put_block(batch: &mut Batch, block: &SealedBlock, receipts: &[Receipt]) {
    let key = rows::height_key(block.height());
    batch.put(Family::Headers, key, encode_header(&block.header, block.hash));
    batch.put(Family::Heights, block.hash.as_slice(), key);
    batch.put(Family::Bodies, key, encode_body_rest(block));
    chunks::put_txs(batch, block.height(), &block.txs);
    put_receipts(batch, block.height(), receipts);
}

/// All rows of a block's receipts, those that lead to its logs among them.
pub(crate) fn put_receipts(batch: &mut Batch, height: Height, receipts: &[Receipt]) {
    chunks::put_receipts(batch, height, receipts);
    log_index::put_logs(batch, height, receipts);
}
