//! Finds out who signed a transaction.
//!
//! Pure. libsecp256k1 does the work (47 us against 240 us of k256 on the reference machine);
//! [`k256()`] is the portable fallback and the oracle of the tests. Source: yellow paper
//! appendix F, EIP-2 (low s).

use std::sync::{Arc, LazyLock};

use ::k256::ecdsa;
use ::secp256k1 as libsecp;
use alloy_consensus::{Transaction as _, crypto::SECP256K1N_HALF};
use alloy_primitives::{Address, B256, Signature, U256, keccak256};

use crate::{
    fork::Fork,
    tx::{RecoveredTx, TxEnvelope, UnrecoveredTx},
};

/// Tables of libsecp256k1; made at first use (about 1 ms), read-only afterwards.
static CONTEXT: LazyLock<libsecp::Secp256k1<libsecp::VerifyOnly>> =
    LazyLock::new(libsecp::Secp256k1::verification_only);

/// Why a signature has no signer. The texts are geth's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignatureError {
    /// EIP-2: of the two signatures a key gives, only that with the low s counts.
    #[error("invalid transaction v, r, s values")]
    HighS,
    /// r or s is zero, or r is no scalar.
    #[error("invalid transaction v, r, s values")]
    OutOfRange,
    /// The signature names a chain, which none did before Spurious Dragon.
    #[error("invalid transaction v, r, s values: chain id before EIP-155")]
    ChainId,
    /// There is no point with this r, or the key would be the point at infinity.
    #[error("recovery failed")]
    Unrecoverable,
}

impl SignatureError {
    /// Returns true if no honest peer relays such a transaction: each checks before it relays.
    #[must_use]
    pub const fn is_offence(&self) -> bool {
        match self {
            Self::HighS | Self::OutOfRange | Self::ChainId | Self::Unrecoverable => true,
        }
    }
}

/// The signer of `hash`, by libsecp256k1.
///
/// # Errors
///
/// [`SignatureError`], the same as [`k256()`] gives.
pub fn secp256k1(signature: &Signature, hash: &B256) -> Result<Address, SignatureError> {
    check_low_s(signature)?;
    secp256k1_any_s(signature, hash)
}

/// The signer of `hash`, whichever of its two signatures this is; right before Homestead only.
///
/// # Errors
///
/// [`SignatureError::OutOfRange`], [`SignatureError::Unrecoverable`].
pub fn secp256k1_any_s(signature: &Signature, hash: &B256) -> Result<Address, SignatureError> {
    check_range(signature)?;
    let parity = i32::from(signature.v());
    let id = libsecp::ecdsa::RecoveryId::try_from(parity).expect("a parity is 0 or 1");
    let signature = libsecp::ecdsa::RecoverableSignature::from_compact(&compact(signature), id)
        .map_err(|_| SignatureError::OutOfRange)?;
    let key = CONTEXT
        .recover_ecdsa(libsecp::Message::from_digest(hash.0), &signature)
        .map_err(|_| SignatureError::Unrecoverable)?;
    Ok(address_of(&key.serialize_uncompressed()))
}

/// The signer of `tx`, whose signature is over `hash`, by the rules of `fork`: before Homestead a
/// high s was no fault (EIP-2), before Spurious Dragon no signature named a chain (EIP-155).
pub(crate) fn at(fork: Fork, tx: &TxEnvelope, hash: &B256) -> Result<Address, SignatureError> {
    if fork < Fork::SpuriousDragon && tx.is_legacy() && tx.chain_id().is_some() {
        return Err(SignatureError::ChainId);
    }
    if fork >= Fork::Homestead {
        return secp256k1(tx.signature(), hash);
    }
    secp256k1_any_s(tx.signature(), hash)
}

/// The signer of `hash`, by k256.
///
/// # Errors
///
/// [`SignatureError`], the same as [`secp256k1()`] gives.
pub fn k256(signature: &Signature, hash: &B256) -> Result<Address, SignatureError> {
    check_low_s(signature)?;
    check_range(signature)?;
    let id = ecdsa::RecoveryId::new(signature.v(), false);
    let signature = ecdsa::Signature::from_slice(&compact(signature))
        .map_err(|_| SignatureError::OutOfRange)?;
    let key = ecdsa::VerifyingKey::recover_from_prehash(hash.as_slice(), &signature, id)
        .map_err(|_| SignatureError::Unrecoverable)?;
    let point: [u8; 65] = key
        .to_encoded_point(false)
        .as_bytes()
        .try_into()
        .expect("an uncompressed point has 65 bytes");
    Ok(address_of(&point))
}

/// Recovers one batch, in order. Callers split their transactions into batches over workers.
pub fn recover_all(txs: Vec<UnrecoveredTx>) -> Vec<Result<Arc<RecoveredTx>, SignatureError>> {
    txs.into_iter().map(UnrecoveredTx::recover).collect()
}

fn check_low_s(signature: &Signature) -> Result<(), SignatureError> {
    if signature.s() > SECP256K1N_HALF { Err(SignatureError::HighS) } else { Ok(()) }
}

fn check_range(signature: &Signature) -> Result<(), SignatureError> {
    if signature.r() == U256::ZERO || signature.s() == U256::ZERO {
        return Err(SignatureError::OutOfRange);
    }
    Ok(())
}

fn compact(signature: &Signature) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&signature.r().to_be_bytes::<32>());
    bytes[32..].copy_from_slice(&signature.s().to_be_bytes::<32>());
    bytes
}

/// The last 20 bytes of the hash of the point, without its leading 0x04.
fn address_of(point: &[u8; 65]) -> Address {
    Address::from_slice(&keccak256(&point[1..])[12..])
}
