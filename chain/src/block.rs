//! Blocks: sealed with their hash and senders, encoded and decoded.
//!
//! Pure. Invariants: C1 of [`crate::tx`] holds for blocks too (what decodes, encodes to the same
//! bytes), and a [`SealedBlock`]'s hash is that of its header.

use std::sync::Arc;

use alloy_consensus::{
    Header, TxReceipt,
    constants::EMPTY_OMMER_ROOT_HASH,
    proofs::{calculate_ommers_root, calculate_withdrawals_root},
};
use alloy_eips::{eip2718::Encodable2718, eip4895::Withdrawal};
use alloy_primitives::{Address, B256, Bloom};
use alloy_rlp::{Decodable, Encodable};
use alloy_trie::root::ordered_trie_root_with_encoder;

use crate::{
    Receipt,
    fork::Fork,
    id::Height,
    limits::{BLOCK_DECODE_BYTES_MAX, BLOCK_SIZE_BYTES_MAX},
    recover::SignatureError,
    rlp_words::rlp_words,
    tx::{RecoveredTx, TxDecodeError, UnrecoveredTx},
};

/// Why bytes are not a block.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BlockDecodeError {
    /// Longer than any block may be.
    #[error("block of {found} bytes, limit {limit}")]
    TooLarge {
        /// Bytes given.
        found: usize,
        /// Bytes a block may have.
        limit: usize,
    },
    /// Not the encoding of a block.
    #[error("rlp of its {part}: {}", rlp_words(error))]
    Rlp {
        /// Where: the block, its header, transactions, ommers or withdrawals.
        part: &'static str,
        /// What is wrong there.
        error: alloy_rlp::Error,
    },
    /// A transaction is not the encoding of one.
    #[error("transaction {index}: {error}")]
    Transaction {
        /// Its position.
        index: usize,
        /// What is wrong with it.
        error: TxDecodeError,
    },
    /// Something follows the block.
    #[error("rlp: {found} bytes after the last field of the block")]
    TrailingBytes {
        /// Bytes left over.
        found: usize,
    },
    /// The same block has another encoding, which is the right one.
    #[error("rlp: the same block has another encoding, which is the right one")]
    NotCanonical,
}

/// Why a body does not belong to its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BodyError {
    /// Other transactions.
    #[error("transactions root {found}, header says {expected}")]
    Transactions {
        /// Root of the body.
        found: B256,
        /// Root in the header.
        expected: B256,
    },
    /// Other ommers.
    #[error("ommers hash {found}, header says {expected}")]
    Ommers {
        /// Hash of the body.
        found: B256,
        /// Hash in the header.
        expected: B256,
    },
    /// Longer than a block of this fork may be (EIP-7934).
    #[error("block of {found} bytes, limit {limit}")]
    Size {
        /// Bytes of its RLP.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Other withdrawals, or none where there should be, or the reverse.
    #[error("withdrawals root {found:?}, header says {expected:?}")]
    Withdrawals {
        /// Root of the body.
        found: Option<B256>,
        /// Root in the header.
        expected: Option<B256>,
    },
}

/// A block with its hash and the senders of its transactions; immutable, shared by `Arc`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealedBlock {
    /// The header.
    pub header: Header,
    /// Hash of the header.
    pub hash: B256,
    /// The transactions, in order.
    pub txs: Vec<Arc<RecoveredTx>>,
    /// Uncles; always empty since Paris.
    pub ommers: Vec<Header>,
    /// Withdrawals; None before Shanghai.
    pub withdrawals: Option<Vec<Withdrawal>>,
}

impl SealedBlock {
    /// Computes the hash; the roots in the header are the caller's.
    #[must_use]
    pub fn seal(
        header: Header,
        txs: Vec<Arc<RecoveredTx>>,
        ommers: Vec<Header>,
        withdrawals: Option<Vec<Withdrawal>>,
    ) -> Self {
        let hash = header.hash_slow();
        Self { header, hash, txs, ommers, withdrawals }
    }

    /// Its height.
    #[must_use]
    pub const fn height(&self) -> Height {
        Height::new(self.header.number)
    }

    /// Length of its RLP, which explorers show as its size; O(number of transactions).
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        list_length(self.payload_length())
    }

    /// Its RLP, as in block files and on the wire.
    #[must_use]
    pub fn encode_rlp(&self) -> Vec<u8> {
        let payload_length = self.payload_length();
        let mut out = Vec::with_capacity(list_length(payload_length));
        alloy_rlp::Header { list: true, payload_length }.encode(&mut out);
        self.header.encode(&mut out);
        let txs_length = self.txs_length();
        alloy_rlp::Header { list: true, payload_length: txs_length }.encode(&mut out);
        for tx in &self.txs {
            tx.tx().encode(&mut out);
        }
        self.ommers.encode(&mut out);
        if let Some(withdrawals) = &self.withdrawals {
            withdrawals.encode(&mut out);
        }
        assert_eq!(out.len(), list_length(payload_length), "lengths are those of the encodings");
        out
    }

    /// Decodes a block; who sent its transactions is not known yet.
    ///
    /// O(n) in the length of `bytes`, which is bounded first.
    ///
    /// # Errors
    ///
    /// [`BlockDecodeError`].
    pub fn decode_rlp(bytes: &[u8]) -> Result<UnrecoveredBlock, BlockDecodeError> {
        if bytes.len() > BLOCK_DECODE_BYTES_MAX {
            return Err(BlockDecodeError::TooLarge {
                found: bytes.len(),
                limit: BLOCK_DECODE_BYTES_MAX,
            });
        }
        let mut rest = bytes;
        let mut payload = decode_list("outer list", &mut rest)?;
        if !rest.is_empty() {
            return Err(BlockDecodeError::TrailingBytes { found: rest.len() });
        }
        let header: Header = decode_canonical("header", &mut payload)?;
        let mut list = decode_list("transactions", &mut payload)?;
        let mut txs = Vec::new();
        while !list.is_empty() {
            let index = txs.len();
            let error = |error| BlockDecodeError::Transaction { index, error };
            txs.push(decode_tx(&mut list).map_err(error)?);
        }
        let ommers: Vec<Header> = decode_canonical("ommers", &mut payload)?;
        let withdrawals: Option<Vec<Withdrawal>> = match payload {
            [] => None,
            _ => Some(decode_canonical("withdrawals", &mut payload)?),
        };
        if !payload.is_empty() {
            return Err(BlockDecodeError::TrailingBytes { found: payload.len() });
        }
        Ok(UnrecoveredBlock { hash: header.hash_slow(), header, txs, ommers, withdrawals })
    }

    /// Checks that the block is not longer than one of `fork` may be; O(transactions).
    ///
    /// # Errors
    ///
    /// [`BodyError::Size`].
    pub fn check_size(&self, fork: Fork) -> Result<(), BodyError> {
        if fork < Fork::Osaka {
            return Ok(());
        }
        let (found, limit) = (self.size_bytes(), BLOCK_SIZE_BYTES_MAX);
        if found > limit { Err(BodyError::Size { found, limit }) } else { Ok(()) }
    }

    /// Checks that transactions, ommers and withdrawals are those of the header.
    ///
    /// # Errors
    ///
    /// [`BodyError`] with both hashes.
    pub fn check_body(&self) -> Result<(), BodyError> {
        let found = transactions_root(&self.txs);
        let expected = self.header.transactions_root;
        if found != expected {
            return Err(BodyError::Transactions { found, expected });
        }
        let found = ommers_hash(&self.ommers);
        let expected = self.header.ommers_hash;
        if found != expected {
            return Err(BodyError::Ommers { found, expected });
        }
        let found = self.withdrawals.as_deref().map(withdrawals_root);
        let expected = self.header.withdrawals_root;
        if found != expected {
            return Err(BodyError::Withdrawals { found, expected });
        }
        Ok(())
    }

    fn payload_length(&self) -> usize {
        self.header.length()
            + list_length(self.txs_length())
            + self.ommers.length()
            + self.withdrawals.as_ref().map_or(0, Encodable::length)
    }

    fn txs_length(&self) -> usize {
        self.txs.iter().map(|tx| tx.rlp_length()).sum()
    }
}

/// A block as it comes from a peer or a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnrecoveredBlock {
    /// The header.
    pub header: Header,
    /// Hash of the header.
    pub hash: B256,
    /// The transactions, in order.
    pub txs: Vec<UnrecoveredTx>,
    /// Uncles.
    pub ommers: Vec<Header>,
    /// Withdrawals.
    pub withdrawals: Option<Vec<Withdrawal>>,
}

impl UnrecoveredBlock {
    /// Recovers all senders, one after the other, by the rules of today.
    ///
    /// # Errors
    ///
    /// That of the first transaction without a sender.
    pub fn recover(self) -> Result<SealedBlock, SignatureError> {
        self.recover_at(Fork::LATEST)
    }

    /// The same by the rules of `fork`.
    ///
    /// # Errors
    ///
    /// That of the first transaction without a sender.
    pub fn recover_at(self, fork: Fork) -> Result<SealedBlock, SignatureError> {
        let txs = self.txs.into_iter().map(|tx| tx.recover_at(fork));
        let txs = txs.collect::<Result<_, _>>()?;
        Ok(SealedBlock {
            header: self.header,
            hash: self.hash,
            txs,
            ommers: self.ommers,
            withdrawals: self.withdrawals,
        })
    }

    /// Takes the caller's word for the senders, in order of the transactions.
    ///
    /// # Panics
    ///
    /// If there are not as many senders as transactions.
    #[must_use]
    pub fn with_senders(self, senders: &[Address]) -> SealedBlock {
        assert_eq!(self.txs.len(), senders.len(), "one sender for each transaction");
        let txs = self.txs.into_iter().zip(senders);
        SealedBlock {
            header: self.header,
            hash: self.hash,
            txs: txs.map(|(tx, sender)| tx.with_sender(*sender)).collect(),
            ommers: self.ommers,
            withdrawals: self.withdrawals,
        }
    }
}

/// Decodes what encodes to the same bytes again (C1).
fn decode_canonical<T: Decodable + Encodable>(
    part: &'static str,
    from: &mut &[u8],
) -> Result<T, BlockDecodeError> {
    let before = *from;
    let value = T::decode(from).map_err(|error| BlockDecodeError::Rlp { part, error })?;
    let read = &before[..before.len() - from.len()];
    if alloy_rlp::encode(&value) == read { Ok(value) } else { Err(BlockDecodeError::NotCanonical) }
}

/// What is in the list that `from` begins with.
fn decode_list<'a>(part: &'static str, from: &mut &'a [u8]) -> Result<&'a [u8], BlockDecodeError> {
    let list = alloy_rlp::Header::decode_bytes(from, true);
    list.map_err(|error| BlockDecodeError::Rlp { part, error })
}

/// A transaction in the list of a block: of a type as a string, else the list it always was.
fn decode_tx(list: &mut &[u8]) -> Result<UnrecoveredTx, TxDecodeError> {
    let before = *list;
    let header = alloy_rlp::Header::decode(list)?;
    let payload = list.split_at_checked(header.payload_length);
    let (payload, rest) = payload.ok_or(alloy_rlp::Error::InputTooShort)?;
    let raw = if header.list { &before[..before.len() - rest.len()] } else { payload };
    *list = rest;
    match raw.first() {
        Some(first) if !header.list && *first >= 0x80 => {
            Err(TxDecodeError::UnknownType { found: *first })
        }
        _ => UnrecoveredTx::decode(raw),
    }
}

/// Root of the trie of transactions by index.
#[must_use]
pub fn transactions_root(txs: &[Arc<RecoveredTx>]) -> B256 {
    ordered_trie_root_with_encoder(txs, |tx, out| tx.tx().encode_2718(out))
}

/// Root of the trie of receipts, with their blooms, by index.
#[must_use]
pub fn receipts_root(receipts: &[Receipt]) -> B256 {
    ordered_trie_root_with_encoder(receipts, |receipt, out| receipt.encode_2718(out))
}

/// Root of the trie of withdrawals by index.
#[must_use]
pub fn withdrawals_root(withdrawals: &[Withdrawal]) -> B256 {
    calculate_withdrawals_root(withdrawals)
}

/// Hash of the list of ommers.
#[must_use]
pub fn ommers_hash(ommers: &[Header]) -> B256 {
    if ommers.is_empty() { EMPTY_OMMER_ROOT_HASH } else { calculate_ommers_root(ommers) }
}

/// Bloom of all logs of a block.
#[must_use]
pub fn logs_bloom(receipts: &[Receipt]) -> Bloom {
    receipts.iter().fold(Bloom::ZERO, |all, receipt| all | receipt.bloom())
}

fn list_length(payload_length: usize) -> usize {
    payload_length + alloy_rlp::length_of_length(payload_length)
}
