//! One pinned snapshot of the store with typed reads: what views and the chain reader stand on.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};
use evenkeel_chain::{Header, Height};

use crate::{
    blocks,
    cache::Caches,
    change::Account,
    error::{StateError, StoreError},
    recent::Recent,
    rows,
    store::{Family, Range, Snapshot},
};

/// The store at one instant. All reads are consistent with each other.
pub(crate) struct Base {
    pub(crate) snapshot: Arc<dyn Snapshot>,
    pub(crate) head: Height,
    /// Height of the first block; a chain may start above zero.
    pub(crate) genesis: Height,
    /// The oldest state, of a chain whose first blocks came from a file without theirs.
    pub(crate) restored: Option<Restored>,
    pub(crate) caches: Arc<Caches>,
    /// Values at the head that are the same in the snapshot.
    pub(crate) recent: Recent,
}

/// A state that was put under a block which did not make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Restored {
    /// Height of the block.
    pub(crate) height: Height,
    /// Root of the state, which need not be the one in the header.
    pub(crate) root: B256,
}

impl Base {
    /// Height of the oldest state.
    pub(crate) fn oldest(&self) -> Height {
        self.restored.map_or(self.genesis, |restored| restored.height)
    }

    /// Root of the state after the block with `header`.
    pub(crate) fn state_root(&self, header: &Header) -> B256 {
        let restored = self.restored.filter(|restored| restored.height.get() == header.number);
        restored.map_or(header.state_root, |restored| restored.root)
    }

    /// The account after block `at`.
    pub(crate) fn account(
        &self,
        address: Address,
        at: Height,
    ) -> Result<Option<Account>, StateError> {
        let key = address.as_slice();
        if let Some(former) = self.former(Family::AccountHistory, key, at)? {
            let account = rows::decode_former_account(&former);
            let account = account.map(|former| former.0);
            return account.ok_or_else(|| corrupt(Family::AccountHistory, key, NOT_ACCOUNT));
        }
        self.flat_account(address)
    }

    /// The slot after block `at`.
    pub(crate) fn storage(
        &self,
        address: Address,
        slot: U256,
        at: Height,
    ) -> Result<U256, StateError> {
        let key = rows::storage_key(address, slot);
        if let Some(former) = self.former(Family::StorageHistory, &key, at)? {
            let value = rows::decode_value(&former);
            return value.ok_or_else(|| corrupt(Family::StorageHistory, &key, NOT_WORD));
        }
        self.flat_slot(address, slot)
    }

    /// The account after the head.
    pub(crate) fn flat_account(&self, address: Address) -> Result<Option<Account>, StateError> {
        if let Some(account) = self.recent.accounts.get(&address) {
            return Ok(account);
        }
        let key = address.as_slice();
        let Some(row) = self.snapshot.get(Family::Accounts, key)? else { return Ok(None) };
        let account = rows::decode_account(&row);
        account.map(Some).ok_or_else(|| corrupt(Family::Accounts, key, NOT_ACCOUNT))
    }

    /// The slot after the head.
    pub(crate) fn flat_slot(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        if let Some(value) = self.recent.slots.get(&(address, slot)) {
            return Ok(value);
        }
        let key = rows::storage_key(address, slot);
        let Some(row) = self.snapshot.get(Family::Storage, &key)? else { return Ok(U256::ZERO) };
        rows::decode_value(&row).ok_or_else(|| corrupt(Family::Storage, &key, NOT_WORD))
    }

    /// The first slot from `from` on that is set at the head or was ever changed by a block: below
    /// it there is nothing at any height. Two seeks, at the head one.
    pub(crate) fn next_slot(
        &self,
        address: Address,
        from: U256,
        at: Height,
    ) -> Result<Option<U256>, StateError> {
        let flat = self.first_slot(Family::Storage, address, from)?;
        if at == self.head {
            return Ok(flat);
        }
        let former = self.first_slot(Family::StorageHistory, address, from)?;
        Ok(flat.into_iter().chain(former).min())
    }

    fn first_slot(
        &self,
        family: Family,
        address: Address,
        from: U256,
    ) -> Result<Option<U256>, StateError> {
        let from = rows::storage_key(address, from);
        let range = Range { prefix: address.as_slice(), from: &from, rows_max: 1 };
        let Some((key, _)) = self.snapshot.scan(family, range)?.into_iter().next() else {
            return Ok(None);
        };
        let slot = key.get(..from.len()).and_then(rows::slot_of_key);
        slot.map(Some).ok_or_else(|| corrupt(family, &key, "not a slot"))
    }

    /// The first address from `from` on that has an account at the head or ever had one: below it
    /// there is none at any height. Two seeks, at the head one.
    pub(crate) fn next_account(
        &self,
        from: Address,
        at: Height,
    ) -> Result<Option<Address>, StateError> {
        let flat = self.first_account(Family::Accounts, from)?;
        if at == self.head {
            return Ok(flat);
        }
        let former = self.first_account(Family::AccountHistory, from)?;
        Ok(flat.into_iter().chain(former).min())
    }

    fn first_account(&self, family: Family, from: Address) -> Result<Option<Address>, StateError> {
        let range = Range { prefix: &[], from: from.as_slice(), rows_max: 1 };
        let Some((key, _)) = self.snapshot.scan(family, range)?.into_iter().next() else {
            return Ok(None);
        };
        let address = key.get(..Address::len_bytes()).map(Address::from_slice);
        address.map(Some).ok_or_else(|| corrupt(family, &key, "not an address"))
    }

    /// The value before the first change after block `at`, if there was a change. One seek.
    fn former(
        &self,
        family: Family,
        key: &[u8],
        at: Height,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        assert!(at <= self.head);
        if at == self.head {
            return Ok(None);
        }
        let from = rows::history_key(key, at.next());
        let rows = self.snapshot.scan(family, Range { prefix: key, from: &from, rows_max: 1 })?;
        Ok(rows.into_iter().next().map(|(_, value)| value))
    }

    pub(crate) fn code(&self, hash: B256) -> Result<Bytes, StateError> {
        if hash == KECCAK256_EMPTY {
            return Ok(Bytes::new());
        }
        if let Some(code) = self.caches.code(hash) {
            return Ok(code);
        }
        let code = self.snapshot.get(Family::Codes, hash.as_slice())?;
        let code = Bytes::from(code.ok_or(StateError::CodeMissing { hash })?);
        self.caches.keep_code(hash, &code);
        Ok(code)
    }

    pub(crate) fn block_hash(&self, height: Height) -> Result<Option<B256>, StateError> {
        let key = rows::height_key(height);
        let Some(row) = self.snapshot.get(Family::Headers, &key)? else { return Ok(None) };
        let hash = blocks::decode_header_hash(&row);
        hash.map(Some).ok_or_else(|| corrupt(Family::Headers, &key, "not a header"))
    }
}

pub(crate) const NOT_ACCOUNT: &str = "not an account";
pub(crate) const NOT_WORD: &str = "longer than a word";

pub(crate) fn corrupt(family: Family, key: &[u8], reason: &'static str) -> StateError {
    StateError::CorruptRow { family: family.name(), key: key.to_vec(), reason }
}
