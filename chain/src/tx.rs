//! Transactions: decoded once, sender recovered once, then shared.
//!
//! Pure. Source: EIP-2718 and the EIPs of types 1, 2 and 4.
//!
//! # Invariants
//!
//! - C1: what decodes, encodes to the same bytes; so its hash is the hash of what was sent.
//! - C2: no input makes [`RecoveredTx::decode`] panic or hold more than its size.
//! - C3: an impersonated transaction says so for ever: its signature is `(r = sender, s = 1)`,
//!   which no key can produce for that sender, since the sender is the hash of what it recovers to.

use std::sync::Arc;

use alloy_consensus::{
    EthereumTxEnvelope, EthereumTypedTransaction, Signed, Transaction, TxEip4844,
    TxEip4844WithSidecar, TxLegacy, TxType, transaction::RlpEcdsaDecodableTx,
};
use alloy_eips::{
    eip2718::{Decodable2718, Eip2718Error, Encodable2718},
    eip7594::Encodable7594 as _,
};
use alloy_primitives::{Address, B256, Bytes, ChainId, Signature, TxKind, U256, keccak256};
use alloy_rlp::{EMPTY_LIST_CODE, EMPTY_STRING_CODE, Header};

use crate::{
    blobs::{BlobError, BlobSidecar},
    fork::Fork,
    limits::{BLOB_TX_SIZE_BYTES_MAX, TX_SIZE_BYTES_MAX},
    recover,
    recover::SignatureError,
    rlp_words::rlp_words,
};

/// A signed transaction; blobs are never in it.
pub type TxEnvelope = EthereumTxEnvelope<TxEip4844>;
/// The same without its signature.
pub type TypedTransaction = EthereumTypedTransaction<TxEip4844>;

const IMPERSONATED_S: U256 = U256::from_limbs([1, 0, 0, 0]);

/// Why bytes are not a transaction we take.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TxDecodeError {
    /// Nothing was sent.
    #[error("typed transaction too short")]
    Empty,
    /// Longer than any transaction may be.
    #[error("oversized data: transaction size {found}, limit {limit}")]
    TooLarge {
        /// Bytes sent.
        found: usize,
        /// Bytes a transaction may have.
        limit: usize,
    },
    /// A blob transaction without its blobs.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// No such type of transaction.
    #[error("transaction type not supported")]
    UnknownType {
        /// The type byte.
        found: u8,
    },
    /// Not the encoding its type has.
    #[error("rlp: {}", rlp_words(.0))]
    Rlp(#[from] alloy_rlp::Error),
    /// Something follows the transaction.
    #[error("rlp: {found} bytes after the transaction")]
    TrailingBytes {
        /// Bytes left over.
        found: usize,
    },
    /// The same transaction has a shorter encoding, so the hash of these bytes is not its own.
    #[error("rlp: non-canonical transaction encoding")]
    NotCanonical,
}

impl TxDecodeError {
    /// Returns true if no honest peer relays such bytes.
    #[must_use]
    pub const fn is_offence(&self) -> bool {
        match self {
            // A peer may know newer types.
            Self::UnknownType { .. } => false,
            Self::Empty
            | Self::Blobs(_)
            | Self::TooLarge { .. }
            | Self::Rlp(_)
            | Self::TrailingBytes { .. }
            | Self::NotCanonical => true,
        }
    }
}

/// A transaction of which nobody has checked the signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnrecoveredTx {
    tx: TxEnvelope,
    hash: B256,
    size_bytes: usize,
    sidecar: Option<Arc<BlobSidecar>>,
}

impl UnrecoveredTx {
    /// Hashes and measures a transaction that was decoded elsewhere (a block, a JSON request).
    #[must_use]
    pub fn new(tx: TxEnvelope) -> Self {
        let hash = *tx.tx_hash();
        let size_bytes = tx.encode_2718_len();
        Self { tx, hash, size_bytes, sidecar: None }
    }

    /// Decodes a blob transaction as it travels: with its blobs, in the forms of EIP-4844 and
    /// EIP-7594. Nothing is proven. O(n).
    fn decode_with_blobs(raw: &[u8]) -> Result<Self, TxDecodeError> {
        type Pooled = EthereumTxEnvelope<TxEip4844WithSidecar<BlobSidecar>>;
        let (found, limit) = (raw.len(), BLOB_TX_SIZE_BYTES_MAX);
        if found > limit {
            return Err(TxDecodeError::TooLarge { found, limit });
        }
        // What is in blocks begins with a number, what travels with the list that is in blocks.
        let mut rest = &raw[1..];
        Header::decode(&mut rest)?;
        if rest.first().is_some_and(|first| *first < EMPTY_LIST_CODE) {
            return Err(BlobError::Missing.into());
        }
        let mut rest = raw;
        let tx = Pooled::decode_2718(&mut rest).map_err(|error| match error {
            Eip2718Error::RlpError(error) => TxDecodeError::Rlp(error),
            _ => TxDecodeError::UnknownType { found: raw[0] },
        })?;
        if !rest.is_empty() {
            return Err(TxDecodeError::TrailingBytes { found: rest.len() });
        }
        if tx.encode_2718_len() != raw.len() {
            return Err(TxDecodeError::NotCanonical);
        }
        let Pooled::Eip4844(signed) = tx else {
            return Err(TxDecodeError::UnknownType { found: raw[0] });
        };
        let (tx, signature, hash) = signed.into_parts();
        let (tx, sidecar) = tx.into_parts();
        let tx = Self::new(TxEnvelope::Eip4844(Signed::new_unchecked(tx, signature, hash)));
        Ok(Self { sidecar: Some(Arc::new(sidecar)), ..tx })
    }

    /// Decodes the EIP-2718 form of every type, as it stands in a block: of a blob transaction
    /// without its blobs, and as long as a block may be. O(n) in the length of `raw`.
    ///
    /// # Errors
    ///
    /// [`TxDecodeError`], but neither of size nor of blobs.
    pub fn decode(raw: &[u8]) -> Result<Self, TxDecodeError> {
        let Some(&first) = raw.first() else { return Err(TxDecodeError::Empty) };
        let mut rest = raw;
        let tx = match first {
            // EIP-2718: type 0 is only written untagged, as the list it always was.
            0 | 5..=0x7f => return Err(TxDecodeError::UnknownType { found: first }),
            1..=4 => TxEnvelope::decode_2718(&mut rest).map_err(|error| match error {
                Eip2718Error::RlpError(error) => TxDecodeError::Rlp(error),
                _ => TxDecodeError::UnknownType { found: first },
            })?,
            0x80.. => TxEnvelope::Legacy(TxLegacy::rlp_decode_signed(&mut rest)?),
        };
        if !rest.is_empty() {
            return Err(TxDecodeError::TrailingBytes { found: rest.len() });
        }
        let tx = UnrecoveredTx::new(tx);
        // C1: checked by hash, which is at hand, instead of encoding once more.
        if tx.hash != keccak256(raw) || tx.size_bytes != raw.len() {
            return Err(TxDecodeError::NotCanonical);
        }
        Ok(tx)
    }

    /// The transaction.
    #[must_use]
    pub const fn tx(&self) -> &TxEnvelope {
        &self.tx
    }

    /// Its hash.
    #[must_use]
    pub const fn hash(&self) -> &B256 {
        &self.hash
    }

    /// Length of its EIP-2718 encoding.
    #[must_use]
    pub const fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Finds out who signed it; about 50 us.
    ///
    /// # Errors
    ///
    /// As [`recover::secp256k1()`].
    pub fn recover(self) -> Result<Arc<RecoveredTx>, SignatureError> {
        let sender = recover::secp256k1(self.tx.signature(), &self.tx.signature_hash())?;
        Ok(self.with_sender(sender))
    }

    /// The same by the rules of `fork`: before Homestead a high s was no fault (EIP-2), before
    /// Spurious Dragon no signature named a chain (EIP-155).
    ///
    /// # Errors
    ///
    /// As [`recover::secp256k1()`], but [`SignatureError::HighS`] before Homestead;
    /// [`SignatureError::ChainId`] before Spurious Dragon.
    pub fn recover_at(self, fork: Fork) -> Result<Arc<RecoveredTx>, SignatureError> {
        let sender = recover::at(fork, &self.tx, &self.tx.signature_hash())?;
        Ok(self.with_sender(sender))
    }

    /// Takes the caller's word for who signed it (a cache by hash, our own database).
    #[must_use]
    pub fn with_sender(self, sender: Address) -> Arc<RecoveredTx> {
        let Self { tx, hash, size_bytes, sidecar } = self;
        Arc::new(RecoveredTx { tx, hash, sender, size_bytes, sidecar })
    }
}

/// A transaction whose sender is known; immutable, shared by `Arc`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecoveredTx {
    tx: TxEnvelope,
    hash: B256,
    sender: Address,
    size_bytes: usize,
    /// While it waits to be mined.
    sidecar: Option<Arc<BlobSidecar>>,
}

impl RecoveredTx {
    /// Decodes the EIP-2718 form in which transactions travel: with its blobs if it has some, of
    /// which nothing is proven yet.
    ///
    /// O(n) in the length of `raw`, which is bounded first.
    ///
    /// # Errors
    ///
    /// [`TxDecodeError`].
    pub fn decode(raw: &[u8]) -> Result<UnrecoveredTx, TxDecodeError> {
        if raw.first() == Some(&(TxType::Eip4844 as u8)) {
            return UnrecoveredTx::decode_with_blobs(raw);
        }
        if raw.len() > TX_SIZE_BYTES_MAX {
            return Err(TxDecodeError::TooLarge { found: raw.len(), limit: TX_SIZE_BYTES_MAX });
        }
        UnrecoveredTx::decode(raw)
    }

    /// A transaction of a sender whose key nobody here has; see C3.
    ///
    /// Two of the same sender, nonce and content have the same hash, as signed ones have.
    #[must_use]
    pub fn impersonated(unsigned: TypedTransaction, sender: Address) -> Arc<Self> {
        let signature =
            Signature::new(U256::from_be_bytes(sender.into_word().0), IMPERSONATED_S, false);
        Self::from_parts(unsigned.into_envelope(signature), sender)
    }

    /// Takes the caller's word for the sender, as [`UnrecoveredTx::with_sender`].
    #[must_use]
    pub fn from_parts(tx: TxEnvelope, sender: Address) -> Arc<Self> {
        UnrecoveredTx::new(tx).with_sender(sender)
    }

    /// A transaction that nobody signed, as simulations show it: `v`, `r` and `s` are zero, which
    /// no signature is.
    #[must_use]
    pub fn unsigned(unsigned: TypedTransaction, sender: Address) -> Arc<Self> {
        let signature = Signature::new(U256::ZERO, U256::ZERO, false);
        let tx = unsigned.into_envelope(signature);
        let size_bytes = tx.encode_2718_len();
        let mut tx = Self { tx, hash: B256::ZERO, sender, size_bytes, sidecar: None };
        tx.hash = keccak256(tx.encoded());
        Arc::new(tx)
    }

    /// The transaction.
    #[must_use]
    pub const fn tx(&self) -> &TxEnvelope {
        &self.tx
    }

    /// Its hash.
    #[must_use]
    pub const fn hash(&self) -> &B256 {
        &self.hash
    }

    /// Who signed it, or is impersonated.
    #[must_use]
    pub const fn sender(&self) -> Address {
        self.sender
    }

    /// Length of its EIP-2718 encoding, without blobs.
    #[must_use]
    pub const fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Length of it in the RLP of a block: all but legacy ones are strings there.
    #[must_use]
    pub fn rlp_length(&self) -> usize {
        let len = self.size_bytes;
        if self.tx.is_legacy() { len } else { len + alloy_rlp::length_of_length(len) }
    }

    /// The length of its EIP-2718 encoding with its blobs: what it takes while it waits.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.size_bytes + self.sidecar.as_ref().map_or(0, |sidecar| sidecar.encode_7594_len())
    }

    /// Its blobs, if it is a blob transaction on its way into a block.
    #[must_use]
    pub const fn sidecar(&self) -> Option<&Arc<BlobSidecar>> {
        self.sidecar.as_ref()
    }

    /// The same transaction with these blobs.
    #[must_use]
    pub fn with_sidecar(self: &Arc<Self>, sidecar: Arc<BlobSidecar>) -> Arc<Self> {
        Arc::new(Self { sidecar: Some(sidecar), ..Self::clone(self) })
    }

    /// The same transaction as it stands in a block: without blobs.
    #[must_use]
    pub fn without_sidecar(self: Arc<Self>) -> Arc<Self> {
        if self.sidecar.is_none() {
            return self;
        }
        Arc::new(Self { sidecar: None, ..Self::clone(&self) })
    }

    /// Whether the signature is made up (C3).
    #[must_use]
    pub fn is_impersonated(&self) -> bool {
        let signature = self.tx.signature();
        signature.s() == IMPERSONATED_S
            && signature.r() == U256::from_be_bytes(self.sender.into_word().0)
    }

    /// Whether nobody signed it.
    #[must_use]
    pub fn is_unsigned(&self) -> bool {
        self.tx.signature().r().is_zero() && self.tx.signature().s().is_zero()
    }

    /// Its EIP-2718 type.
    #[must_use]
    pub const fn tx_type(&self) -> TxType {
        self.tx.tx_type()
    }

    /// The chain it is for; None for a transaction from before EIP-155.
    #[must_use]
    pub fn chain_id(&self) -> Option<ChainId> {
        self.tx.chain_id()
    }

    /// Number of the sender's transactions before it.
    #[must_use]
    pub fn nonce(&self) -> u64 {
        self.tx.nonce()
    }

    /// Gas it may use.
    #[must_use]
    pub fn gas_limit(&self) -> u64 {
        self.tx.gas_limit()
    }

    /// Wei per gas it pays at most; the gas price before EIP-1559.
    #[must_use]
    pub fn max_fee_per_gas(&self) -> u128 {
        self.tx.max_fee_per_gas()
    }

    /// Wei per gas the fee recipient gets at most; the gas price before EIP-1559.
    #[must_use]
    pub fn max_priority_fee_per_gas(&self) -> u128 {
        self.tx.max_priority_fee_per_gas().unwrap_or_else(|| self.tx.max_fee_per_gas())
    }

    /// Wei sent along.
    #[must_use]
    pub fn value(&self) -> U256 {
        self.tx.value()
    }

    /// Whom it calls, or that it creates a contract.
    #[must_use]
    pub fn kind(&self) -> TxKind {
        self.tx.kind()
    }

    /// Call data or init code.
    #[must_use]
    pub fn input(&self) -> &Bytes {
        self.tx.input()
    }

    /// Whether it creates a contract.
    #[must_use]
    pub fn is_create(&self) -> bool {
        self.tx.is_create()
    }

    /// Wei per gas the fee recipient gets at this base fee; None if it does not pay the base fee.
    #[must_use]
    pub fn effective_tip(&self, base_fee: u64) -> Option<u128> {
        let above_base = self.max_fee_per_gas().checked_sub(u128::from(base_fee))?;
        Some(above_base.min(self.max_priority_fee_per_gas()))
    }

    /// Wei per gas it pays at this base fee; None is a block from before London.
    #[must_use]
    pub fn effective_gas_price(&self, base_fee: Option<u64>) -> u128 {
        let Some(base_fee) = base_fee.map(u128::from) else { return self.max_fee_per_gas() };
        self.max_fee_per_gas().min(base_fee.saturating_add(self.max_priority_fee_per_gas()))
    }

    /// Wei the sender must have: value, all gas and blob gas at the highest prices. None: above
    /// 2^256.
    #[must_use]
    pub fn cost_max(&self) -> Option<U256> {
        let price = |gas: u64, fee: u128| U256::from(gas).checked_mul(U256::from(fee));
        let blob_gas = self.tx.blob_gas_used().unwrap_or(0);
        price(self.gas_limit(), self.max_fee_per_gas())?
            .checked_add(price(blob_gas, self.tx.max_fee_per_blob_gas().unwrap_or(0))?)?
            .checked_add(self.value())
    }

    /// Its EIP-2718 encoding.
    #[must_use]
    pub fn encoded(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.size_bytes);
        self.encode_into(&mut out);
        assert_eq!(out.len(), self.size_bytes, "C1: the encoding of a transaction never changes");
        out.into()
    }

    /// Appends its EIP-2718 encoding to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        self.tx.encode_2718(out);
        if self.tx_type() == TxType::Legacy && self.is_unsigned() {
            // The last three bytes are v, r and s; the type knows no v below 27.
            let v = out.len() - 3;
            out[v] = EMPTY_STRING_CODE;
        }
    }

    /// Takes the transaction out.
    #[must_use]
    pub fn into_tx(self) -> TxEnvelope {
        self.tx
    }
}
