//! Accounts whose keys a dev node holds, derived from a mnemonic.
//!
//! Pure: the entropy of a random mnemonic is the caller's.

use std::fmt;

use alloy_primitives::Address;
use alloy_signer_local::{
    LocalSignerError, MnemonicBuilder, PrivateKeySigner,
    coins_bip39::{English, Entropy, Mnemonic},
};

use crate::limits::DEV_ACCOUNTS_MAX;

/// The mnemonic every dev node starts with; its keys are known to all the world.
pub const MNEMONIC: &str = "test test test test test test test test test test test junk";
/// Where Ethereum wallets derive accounts (BIP-44); the index of the account follows.
pub const DERIVATION_PATH: &str = "m/44'/60'/0'/0/";

/// Why there are no accounts.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// Not a BIP-39 phrase, or not a BIP-32 path.
    #[error("invalid mnemonic or derivation path: {0}")]
    Invalid(#[from] LocalSignerError),
    /// Deriving that many takes minutes.
    #[error("{found} accounts asked for, limit {limit}")]
    TooMany {
        /// Accounts asked for.
        found: usize,
        /// Accounts there may be.
        limit: usize,
    },
}

/// Accounts and their keys, by index.
#[derive(Clone)]
pub struct DevAccounts {
    mnemonic: String,
    derivation_path: String,
    signers: Vec<PrivateKeySigner>,
}

impl DevAccounts {
    /// Derives `count` accounts below `derivation_path` (a trailing slash may be missing).
    ///
    /// O(count), about 0.1 ms each.
    ///
    /// # Errors
    ///
    /// [`AccountsError::Invalid`] for a bad phrase or path, [`AccountsError::TooMany`].
    pub fn from_mnemonic(
        phrase: &str,
        derivation_path: &str,
        count: usize,
    ) -> Result<Self, AccountsError> {
        if count > DEV_ACCOUNTS_MAX {
            return Err(AccountsError::TooMany { found: count, limit: DEV_ACCOUNTS_MAX });
        }
        let slash = if derivation_path.ends_with('/') { "" } else { "/" };
        let derivation_path = format!("{derivation_path}{slash}");
        let signers = MnemonicBuilder::from_phrase(phrase)
            .derivation_path(format!("{derivation_path}0"))?
            .build_parent_key()?
            .children()
            .take(count)
            .collect::<Result<_, _>>()?;
        Ok(Self { mnemonic: phrase.to_owned(), derivation_path, signers })
    }

    /// Makes a mnemonic of the caller's entropy, 12 words of 16 bytes to 24 words of 32 bytes, and
    /// derives from it.
    ///
    /// # Errors
    ///
    /// As [`Self::from_mnemonic`].
    ///
    /// # Panics
    ///
    /// If there are not 16, 20, 24, 28 or 32 bytes.
    pub fn random(
        entropy: &[u8],
        derivation_path: &str,
        count: usize,
    ) -> Result<Self, AccountsError> {
        let entropy = Entropy::from_slice(entropy).expect("a length that BIP-39 knows");
        let mnemonic = Mnemonic::<English>::new_from_entropy(entropy);
        Self::from_mnemonic(&mnemonic.to_phrase(), derivation_path, count)
    }

    /// The addresses, by index.
    #[must_use]
    pub fn addresses(&self) -> Vec<Address> {
        self.signers.iter().map(PrivateKeySigner::address).collect()
    }

    /// Number of accounts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.signers.len()
    }

    /// Whether there are no accounts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.signers.is_empty()
    }

    /// The key of account `index`.
    ///
    /// # Panics
    ///
    /// If there is no such account.
    #[must_use]
    pub fn signer(&self, index: usize) -> &PrivateKeySigner {
        &self.signers[index]
    }

    /// The keys, by index.
    #[must_use]
    pub fn signers(&self) -> &[PrivateKeySigner] {
        &self.signers
    }

    /// The phrase they derive from.
    #[must_use]
    pub fn mnemonic(&self) -> &str {
        &self.mnemonic
    }

    /// The path they derive below, with its trailing slash.
    #[must_use]
    pub fn derivation_path(&self) -> &str {
        &self.derivation_path
    }
}

/// Shows no keys: what is logged is read by others.
impl fmt::Debug for DevAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevAccounts")
            .field("derivation_path", &self.derivation_path)
            .field("addresses", &self.addresses())
            .finish_non_exhaustive()
    }
}
