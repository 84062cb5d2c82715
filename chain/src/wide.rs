//! Transactions with prices of more than 128 bits.
//!
//! Such a transaction is well formed, and in no block: 21,000 gas at 2^128 wei are more than there
//! is. The node's own type holds 128 bits; this one says what the encoding alone decides.
//!
//! Pure. Source: yellow paper 4.3 (prices are below 2^256).

use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_rlp::{Decodable, Header};

use crate::{
    fork::Fork,
    recover::{self, SignatureError},
    tx::{TxDecodeError, UnrecoveredTx},
};

/// Bytes of the widest price.
const PRICE_BYTES: usize = 32;
/// Items at the end of a transaction that are its signature.
const SIGNATURE_ITEMS: usize = 3;
/// Types with one price, and with two, by which item it is.
const GAS_PRICE: [&[usize]; 2] = [&[1], &[2]];
const FEES: &[usize] = &[2, 3];

/// A transaction whose prices may be as wide as its encoding allows.
#[derive(Clone, Debug)]
pub struct WideTx {
    tx: UnrecoveredTx,
    hash: B256,
    signing_hash: B256,
    max_fee: U256,
}

impl WideTx {
    /// Decodes the EIP-2718 form of every type. O(n) in the length of `raw`.
    ///
    /// # Errors
    ///
    /// As [`UnrecoveredTx::decode`], but no overflow of a price below 2^256.
    pub fn decode(raw: &[u8]) -> Result<Self, TxDecodeError> {
        let tx_type = raw.first().copied().filter(|first| *first < 0x80);
        let (head, mut list) = raw.split_at(usize::from(tx_type.is_some()));
        let mut payload = Header::decode_bytes(&mut list, true)?;
        let mut items = Vec::new();
        while !payload.is_empty() {
            items.push(next_item(&mut payload)?);
        }
        let prices = match tx_type {
            None => GAS_PRICE[0],
            Some(1) => GAS_PRICE[1],
            Some(_) => FEES,
        };
        let highest = alloy_rlp::encode(u128::MAX);
        let mut narrow = items.clone();
        let mut max_fee = U256::ZERO;
        for index in prices {
            let Some(item) = items.get(*index).filter(|item| item.len() <= 1 + PRICE_BYTES) else {
                continue;
            };
            let price = U256::decode(&mut &item[..])?;
            max_fee = max_fee.max(price);
            if price > U256::from(u128::MAX) {
                narrow[*index] = &highest;
            }
        }
        let tx = UnrecoveredTx::decode(&[head, &list_of(&narrow), list].concat())?;
        let mut signed = items[..items.len().saturating_sub(SIGNATURE_ITEMS)].to_vec();
        let chain_id = tx.tx().chain_id().map(alloy_rlp::encode);
        if let (None, Some(chain_id)) = (tx_type, &chain_id) {
            // EIP-155
            signed.extend([chain_id.as_slice(), &[0x80], &[0x80]]);
        }
        let signing_hash = keccak256([head, &list_of(&signed)].concat());
        Ok(Self { tx, hash: keccak256(raw), signing_hash, max_fee })
    }

    /// Its hash.
    #[must_use]
    pub const fn hash(&self) -> &B256 {
        &self.hash
    }

    /// Wei per gas it pays at most.
    #[must_use]
    pub const fn max_fee_per_gas(&self) -> U256 {
        self.max_fee
    }

    /// The same with prices of at most 128 bits, and so with another hash if that changes them.
    #[must_use]
    pub const fn narrowed(&self) -> &UnrecoveredTx {
        &self.tx
    }

    /// Who signed it, by the rules of `fork`.
    ///
    /// # Errors
    ///
    /// As [`UnrecoveredTx::recover_at`].
    pub fn sender(&self, fork: Fork) -> Result<Address, SignatureError> {
        recover::at(fork, self.tx.tx(), &self.signing_hash)
    }
}

/// Takes the first item of a list, as it is encoded.
fn next_item<'a>(payload: &mut &'a [u8]) -> Result<&'a [u8], TxDecodeError> {
    let all = *payload;
    let mut rest = all;
    let header = Header::decode(&mut rest)?;
    let len = all.len() - rest.len() + header.payload_length;
    let (item, after) = all.split_at_checked(len).ok_or(alloy_rlp::Error::InputTooShort)?;
    *payload = after;
    Ok(item)
}

fn list_of(items: &[&[u8]]) -> Vec<u8> {
    let payload_length = items.iter().map(|item| item.len()).sum();
    let mut out = Vec::new();
    Header { list: true, payload_length }.encode(&mut out);
    for item in items {
        out.extend_from_slice(item);
    }
    out
}
