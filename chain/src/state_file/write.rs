//! Writes a state file piece by piece. The pieces in their order make one object:
//!
//! start, (account, slots, account end)*, blocks, (block, transactions, block end)*, transactions,
//! receipts*, end. [`put_comma`] goes between two of a kind.

use std::io::Write as _;

use alloy_primitives::{Address, B256, U256, hex};
use flate2::{Compression, write::GzEncoder};
use serde::Serialize;

use super::json::{RecordOut, TxOut, TxPlace};
use crate::{Header, Receipt, RecoveredTx};

const IN_MEMORY: &str = "writing to memory never fails";

/// Opens the file of a chain with this head, whose blobs cost `blob_gas_price` wei per gas.
pub fn put_start(out: &mut Vec<u8>, head: &Header, blob_gas_price: u128) {
    let env = Env {
        number: U256::from(head.number),
        beneficiary: head.beneficiary,
        timestamp: U256::from(head.timestamp),
        gas_limit: head.gas_limit,
        basefee: head.base_fee_per_gas.unwrap_or_default(),
        difficulty: head.difficulty,
        prevrandao: Some(head.mix_hash),
        blob_excess_gas_and_price: head
            .excess_blob_gas
            .map(|excess_blob_gas| BlobGas { excess_blob_gas, blob_gasprice: blob_gas_price }),
        slot_num: 0,
    };
    out.extend_from_slice(b"{\"block\":");
    put(out, &env);
    out.extend_from_slice(b",\"accounts\":{");
}

#[derive(Serialize)]
struct Env {
    number: U256,
    beneficiary: Address,
    timestamp: U256,
    gas_limit: u64,
    basefee: u64,
    difficulty: U256,
    prevrandao: Option<B256>,
    blob_excess_gas_and_price: Option<BlobGas>,
    slot_num: u64,
}

#[derive(Serialize)]
struct BlobGas {
    excess_blob_gas: u64,
    blob_gasprice: u128,
}

/// Goes between two accounts, slots, blocks, transactions or receipts.
pub fn put_comma(out: &mut Vec<u8>) {
    out.push(b',');
}

/// Opens an account.
pub fn put_account(out: &mut Vec<u8>, address: Address, nonce: u64, balance: U256, code: &[u8]) {
    write!(out, "\"{address:#x}\":{{\"nonce\":{nonce},\"balance\":\"{balance:#x}\",\"code\":\"0x")
        .expect(IN_MEMORY);
    put_hex(out, code);
    out.extend_from_slice(b"\",\"storage\":{");
}

/// A slot of the open account.
pub fn put_slot(out: &mut Vec<u8>, slot: U256, value: U256) {
    out.extend_from_slice(b"\"0x");
    put_hex(out, &slot.to_be_bytes::<32>());
    out.extend_from_slice(b"\":\"0x");
    put_hex(out, &value.to_be_bytes::<32>());
    out.push(b'"');
}

/// Closes the account.
pub fn put_account_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"}}");
}

/// Ends the accounts and opens the blocks of a chain with this head.
pub fn put_blocks(out: &mut Vec<u8>, head: u64) {
    write!(out, "}},\"best_block_number\":{head},\"blocks\":[").expect(IN_MEMORY);
}

/// Opens a block.
pub fn put_block(out: &mut Vec<u8>, header: &Header) {
    out.extend_from_slice(b"{\"header\":");
    put(out, header);
    out.extend_from_slice(b",\"transactions\":[");
}

/// A transaction of the open block.
pub fn put_tx(out: &mut Vec<u8>, tx: &RecoveredTx) {
    put(out, &TxOut::new(tx));
}

/// Closes the block.
pub fn put_block_end(out: &mut Vec<u8>, ommers: &[Header]) {
    out.extend_from_slice(b"],\"ommers\":");
    put(out, ommers);
    out.push(b'}');
}

/// Ends the blocks and opens the list of receipts.
pub fn put_transactions(out: &mut Vec<u8>) {
    out.extend_from_slice(b"],\"transactions\":[");
}

/// What came of a transaction.
pub fn put_receipt(out: &mut Vec<u8>, tx: &RecoveredTx, place: TxPlace, receipt: &Receipt) {
    put(out, &RecordOut::new(tx, place, receipt));
}

/// Ends the file.
pub fn put_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"],\"historical_states\":null}");
}

fn put<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("keys are text, and writing to memory never fails");
}

fn put_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + 2 * bytes.len(), 0);
    hex::encode_to_slice(bytes, &mut out[start..]).expect("two digits for each byte");
}

/// Packs text with gzip as it comes.
pub struct Compressor(GzEncoder<Vec<u8>>);

impl Default for Compressor {
    fn default() -> Self {
        Self(GzEncoder::new(Vec::new(), Compression::fast()))
    }
}

impl Compressor {
    /// Takes some text. About 10 ns a byte (guess).
    pub fn push(&mut self, text: &[u8]) {
        self.0.write_all(text).expect(IN_MEMORY);
    }

    /// What is packed so far and was not taken yet.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.0.get_mut())
    }

    /// The rest.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0.finish().expect(IN_MEMORY)
    }
}
