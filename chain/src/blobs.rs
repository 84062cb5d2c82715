//! The blobs of a transaction: they travel beside it, are proven to be the ones it names, and are
//! in no block.
//!
//! Pure, but for the trusted setup, which the first proof loads and the process keeps. Source:
//! EIP-4844 (a proof per blob), EIP-7594 (a proof per cell, since Osaka).

use alloy_consensus::BlobTransactionValidationError;
use alloy_eips::{
    eip4844::{VERSIONED_HASH_VERSION_KZG, c_kzg},
    eip7594::BlobTransactionSidecarVariant,
    eip7840::BlobParams,
};
use alloy_primitives::B256;

use crate::{fork::Fork, limits::TX_BLOBS_MAX};

/// Blobs, their commitments and proofs.
pub type BlobSidecar = BlobTransactionSidecarVariant;

/// Why a transaction's blobs are not taken. The texts are geth's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BlobError {
    /// It came without them.
    #[error("missing sidecar in blob transaction")]
    Missing,
    /// It names none.
    #[error("blobless blob transaction")]
    Blobless,
    /// It names more than one transaction may have.
    #[error("too many blobs in transaction: have {found}, permitted {limit}")]
    TooMany {
        /// Blobs it names.
        found: u64,
        /// Blobs it may name.
        limit: u64,
    },
    /// Not the hash of a KZG commitment.
    #[error("blob {index} has invalid hash version")]
    HashVersion {
        /// Which of its hashes.
        index: usize,
    },
    /// Not one blob, commitment and proof for each hash.
    #[error("invalid number of {found} {what} compared to {expected} expected")]
    Count {
        /// What is too few or too many.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there are to be.
        expected: usize,
    },
    /// Another blob than it names.
    #[error("blob: computed hash {found} mismatches transaction one {expected}")]
    Hash {
        /// Hash of the commitment.
        found: B256,
        /// Hash in the transaction.
        expected: B256,
    },
    /// A proof does not hold, or is none.
    #[error("invalid blob proof: {0}")]
    Proof(String),
}

/// The trusted setup of the KZG ceremony. The first call loads it: 2.6 s beside other work, once.
///
/// Without tables made in advance: with them it took 5.9 s in the same minute and 100 MB more, and
/// only the making of proofs of cells is to gain, of which a node makes few.
pub fn kzg_settings() -> &'static c_kzg::KzgSettings {
    c_kzg::ethereum_kzg_settings(0)
}

/// Checks the hashes that a transaction names: their number and version.
///
/// # Errors
///
/// [`BlobError::Blobless`], [`BlobError::TooMany`], [`BlobError::HashVersion`].
pub fn check_blob_hashes(hashes: &[B256], params: &BlobParams) -> Result<(), BlobError> {
    if hashes.is_empty() {
        return Err(BlobError::Blobless);
    }
    let limit = params.max_blobs_per_tx.min(TX_BLOBS_MAX);
    let found = hashes.len() as u64;
    if found > limit {
        return Err(BlobError::TooMany { found, limit });
    }
    match hashes.iter().position(|hash| hash[0] != VERSIONED_HASH_VERSION_KZG) {
        Some(index) => Err(BlobError::HashVersion { index }),
        None => Ok(()),
    }
}

/// Proves that `sidecar` holds the blobs of `hashes`, and gives it back in the form of `fork`: one
/// with a proof per blob gets the proofs of cells that Osaka wants. About 2 ms a blob, 4 ms with
/// proofs of cells, 106 ms if those are to be made (one run each beside other work).
///
/// # Errors
///
/// [`BlobError`].
pub fn prove_blobs(
    sidecar: BlobSidecar,
    hashes: &[B256],
    fork: Fork,
) -> Result<BlobSidecar, BlobError> {
    let expected = hashes.len();
    let count = |what, found| {
        if found == expected { Ok(()) } else { Err(BlobError::Count { what, found, expected }) }
    };
    count("blobs", sidecar.blobs().len())?;
    count("blob commitments", sidecar.commitments().len())?;
    if let BlobSidecar::Eip4844(sidecar) = &sidecar {
        count("blob proofs", sidecar.proofs.len())?;
    }
    sidecar.validate(hashes, kzg_settings()).map_err(refusal)?;
    if fork < Fork::Osaka {
        return Ok(sidecar);
    }
    let with_cells = sidecar.try_into_eip7594_with_settings(kzg_settings());
    let with_cells = with_cells.map_err(|error| BlobError::Proof(error.to_string()))?;
    Ok(BlobSidecar::Eip7594(with_cells))
}

fn refusal(error: BlobTransactionValidationError) -> BlobError {
    use BlobTransactionValidationError as E;
    match error {
        // alloy has the two the other way round.
        E::WrongVersionedHash { have: expected, expected: found } => {
            BlobError::Hash { found, expected }
        }
        E::KZGError(error) => BlobError::Proof(error.to_string()),
        E::MissingSidecar => BlobError::Missing,
        error @ (E::InvalidProof | E::NotBlobTransaction(_)) => BlobError::Proof(error.to_string()),
    }
}
