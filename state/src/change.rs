//! Accounts, and what a block or a cheat changed in them. Pure.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};

/// Account as execution sees it; the storage root belongs to the trie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Account {
    /// Transactions sent, or contracts created.
    pub nonce: u64,
    /// Wei.
    pub balance: U256,
    /// Hash of the code; that of no bytes when there is none.
    pub code_hash: B256,
}

impl Default for Account {
    fn default() -> Self {
        Self { nonce: 0, balance: U256::ZERO, code_hash: KECCAK256_EMPTY }
    }
}

impl Account {
    /// Returns true if there is code.
    #[must_use]
    pub fn has_code(&self) -> bool {
        self.code_hash != KECCAK256_EMPTY
    }
}

/// What a block (or a cheat) changed: values after it. Ordered, so every use is deterministic.
///
/// A deleted account takes its storage with it. An account whose storage changes must exist after
/// the change; [`View::complete`](crate::View::complete) adds the empty ones that a cheat lacks.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct ChangeSet {
    /// Accounts after the change; `None` is a deleted account.
    pub accounts: BTreeMap<Address, Option<Account>>,
    /// Storage after the change.
    pub storage: BTreeMap<Address, StorageChange>,
    /// Code that was deployed, by hash.
    pub codes: BTreeMap<B256, Bytes>,
}

/// What changed in the storage of one account.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct StorageChange {
    /// All former slots are gone; `slots` is all there is.
    pub is_wiped: bool,
    /// Values after the change; zero is a deleted slot.
    pub slots: BTreeMap<U256, U256>,
}

impl ChangeSet {
    /// Returns true if nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.storage.is_empty() && self.codes.is_empty()
    }

    /// Adds what happened after `self`. O(size of `later` · log).
    pub fn merge(&mut self, later: &Self) {
        for (&address, &account) in &later.accounts {
            let former = self.accounts.insert(address, account);
            // Also for one that comes back: its former slots stay gone.
            if account.is_none() || former == Some(None) {
                self.storage
                    .insert(address, StorageChange { is_wiped: true, ..Default::default() });
            }
        }
        for (&address, change) in &later.storage {
            if later.is_dead(address) {
                continue;
            }
            let merged = self.storage.entry(address).or_default();
            if change.is_wiped {
                merged.is_wiped = true;
                merged.slots.clear();
            }
            merged.slots.extend(&change.slots);
        }
        for (&hash, code) in &later.codes {
            self.codes.insert(hash, code.clone());
        }
    }

    /// Bytes held, roughly: what the maps' entries take and the code.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        const ENTRY_BYTES: usize = 16;
        let accounts =
            self.accounts.len() * (size_of::<(Address, Option<Account>)>() + ENTRY_BYTES);
        let slots = self.storage.values().map(|change| change.slots.len()).sum::<usize>();
        let storage = self.storage.len() * (size_of::<(Address, StorageChange)>() + ENTRY_BYTES)
            + slots * (size_of::<(U256, U256)>() + ENTRY_BYTES);
        let codes = self.codes.values().map(|code| code.len() + 64).sum::<usize>();
        accounts + storage + codes
    }

    /// Number of values that change; what merging costs.
    pub(crate) fn len(&self) -> usize {
        let slots = self.storage.values().map(|change| 1 + change.slots.len()).sum::<usize>();
        self.accounts.len() + slots + self.codes.len()
    }

    /// The account after this change, if it is in it.
    pub(crate) fn account(&self, address: Address) -> Option<&Option<Account>> {
        self.accounts.get(&address)
    }

    /// The slot after this change, if this change decides it.
    pub(crate) fn slot(&self, address: Address, slot: U256) -> Option<U256> {
        if self.is_dead(address) {
            return Some(U256::ZERO);
        }
        let change = self.storage.get(&address)?;
        change.slots.get(&slot).copied().or(change.is_wiped.then_some(U256::ZERO))
    }

    /// The first address from `from` on whose account this change names.
    pub(crate) fn next_account(&self, from: Address) -> Option<Address> {
        self.accounts.range(from..).next().map(|(address, _)| *address)
    }

    /// The first address from `from` on that this change names.
    pub(crate) fn next_address(&self, from: Address) -> Option<Address> {
        let account = self.accounts.range(from..).next().map(|(address, _)| *address);
        let storage = self.storage.range(from..).next().map(|(address, _)| *address);
        account.into_iter().chain(storage).min()
    }

    /// The first slot from `from` on that this change names.
    pub(crate) fn next_slot(&self, address: Address, from: U256) -> Option<U256> {
        let slots = &self.storage.get(&address)?.slots;
        slots.range(from..).next().map(|(slot, _)| *slot)
    }

    /// Returns true if no slot that was there before is left after this change.
    pub(crate) fn forgets_storage(&self, address: Address) -> bool {
        self.is_dead(address) || self.storage.get(&address).is_some_and(|change| change.is_wiped)
    }

    /// Returns true if the account is gone after this change, and its storage with it.
    pub(crate) fn is_dead(&self, address: Address) -> bool {
        matches!(self.accounts.get(&address), Some(None))
    }
}
