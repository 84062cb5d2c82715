//! Collects what a batch will change, block by block: flat rows, history, changed keys, trie rows.
//! Reads see what is staged before it.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, U256};
use evenkeel_chain::Height;

use crate::{
    base::{Base, corrupt},
    blocks,
    change::{Account, ChangeSet},
    error::StateError,
    recent::Recent,
    rows::{self, ChangedKeys},
    store::{Batch, Family, Op, for_each},
    tip::ExecutedBlock,
    trie::{TrieNodes, wiped_prefix},
};

/// Whether values before a change are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum History {
    /// They are: rows of the history at this height.
    Keep(Height),
    /// They are not: the way back.
    Skip,
    /// There are none: the genesis, whose values are all new. They are not looked for.
    Fresh,
}

/// A batch in the making.
pub(super) struct Stage<'a> {
    base: &'a Base,
    accounts: BTreeMap<Address, Option<Account>>,
    slots: BTreeMap<(Address, U256), U256>,
    batch: Batch,
}

impl<'a> Stage<'a> {
    pub(super) fn new(base: &'a Base) -> Self {
        Self { base, accounts: BTreeMap::new(), slots: BTreeMap::new(), batch: Batch::default() }
    }

    /// Rows that are not state.
    pub(super) fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Everything of an executed block.
    pub(super) fn block(&mut self, executed: &ExecutedBlock) -> Result<(), StateError> {
        let block = &executed.block;
        let height = block.height();
        blocks::put_block(&mut self.batch, block, &executed.receipts);
        for (index, tx) in block.txs.iter().enumerate() {
            let location = rows::encode_pair(height.get(), index as u64);
            self.batch.put(Family::Transactions, tx.hash().as_slice(), location);
        }
        let keys = self.changes(&executed.changes, History::Keep(height))?;
        let key = rows::height_key(height);
        self.batch.put(Family::Changes, key, rows::encode_changed_keys(&keys));
        self.nodes(&executed.nodes)
    }

    /// Applies a change set to the flat state; returns the keys whose values did change.
    pub(super) fn changes(
        &mut self,
        changes: &ChangeSet,
        history: History,
    ) -> Result<ChangedKeys, StateError> {
        let mut keys = ChangedKeys::default();
        for (&address, &account) in &changes.accounts {
            self.set_account(address, account, history, &mut keys)?;
        }
        let dead = changes.accounts.iter().filter(|(_, account)| account.is_none());
        let wiped = changes.storage.iter().filter(|(_, change)| change.is_wiped);
        let wiped: BTreeSet<Address> =
            dead.map(|(&address, _)| address).chain(wiped.map(|(&address, _)| address)).collect();
        for address in wiped {
            self.wipe(address, changes, history, &mut keys)?;
        }
        for (&address, change) in &changes.storage {
            if changes.is_dead(address) {
                continue;
            }
            let mut has_slots = false;
            for (&slot, &value) in &change.slots {
                has_slots |= !value.is_zero();
                self.set_slot((address, slot), value, history, &mut keys)?;
            }
            // As the trie does: storage of an address without account makes an empty account.
            if has_slots && self.account(address)?.is_none() {
                self.set_account(address, Some(Account::default()), history, &mut keys)?;
            }
        }
        for (hash, code) in &changes.codes {
            self.batch.put(Family::Codes, hash.as_slice(), code.as_ref());
        }
        Ok(keys)
    }

    /// Deletes the slots which the change set does not set again.
    fn wipe(
        &mut self,
        address: Address,
        changes: &ChangeSet,
        history: History,
        keys: &mut ChangedKeys,
    ) -> Result<(), StateError> {
        let mut former: BTreeSet<U256> = BTreeSet::new();
        for_each(self.base.snapshot.as_ref(), Family::Storage, address.as_slice(), |key, _| {
            let slot = rows::slot_of_key(key);
            former.insert(slot.ok_or_else(|| corrupt(Family::Storage, key, "not a slot"))?);
            Ok::<(), StateError>(())
        })?;
        let staged = self.slots.range((address, U256::ZERO)..=(address, U256::MAX));
        former.extend(staged.map(|((_, slot), _)| *slot));
        let is_dead = changes.is_dead(address);
        let set_again = changes.storage.get(&address).filter(|_| !is_dead);
        for slot in former {
            if !set_again.is_some_and(|change| change.slots.contains_key(&slot)) {
                self.set_slot((address, slot), U256::ZERO, history, keys)?;
            }
        }
        Ok(())
    }

    fn account(&self, address: Address) -> Result<Option<Account>, StateError> {
        match self.accounts.get(&address) {
            Some(account) => Ok(*account),
            None => self.base.flat_account(address),
        }
    }

    fn set_account(
        &mut self,
        address: Address,
        account: Option<Account>,
        history: History,
        keys: &mut ChangedKeys,
    ) -> Result<(), StateError> {
        let former = if history == History::Fresh { None } else { self.account(address)? };
        if former == account {
            return Ok(());
        }
        if let History::Keep(height) = history {
            let key = rows::history_key(address.as_slice(), height);
            let former = rows::encode_former_account(former.as_ref());
            self.batch.put(Family::AccountHistory, key, former);
        }
        keys.accounts.push(address);
        self.accounts.insert(address, account);
        Ok(())
    }

    fn set_slot(
        &mut self,
        key: (Address, U256),
        value: U256,
        history: History,
        keys: &mut ChangedKeys,
    ) -> Result<(), StateError> {
        let former = match self.slots.get(&key) {
            Some(&value) => value,
            None if history == History::Fresh => U256::ZERO,
            None => self.base.flat_slot(key.0, key.1)?,
        };
        if former == value {
            return Ok(());
        }
        if let History::Keep(height) = history {
            let key = rows::history_key(&rows::storage_key(key.0, key.1), height);
            self.batch.put(Family::StorageHistory, key, rows::encode_value(former));
        }
        keys.slots.push(key);
        self.slots.insert(key, value);
        Ok(())
    }

    /// Applies the rows of a trie update.
    pub(super) fn nodes(&mut self, nodes: &TrieNodes) -> Result<(), StateError> {
        for &hashed in &nodes.wiped {
            self.wipe_nodes(hashed)?;
        }
        for (key, value) in &nodes.rows {
            match value {
                Some(value) => self.batch.put(Family::Nodes, key, value),
                None => self.batch.delete(Family::Nodes, key),
            }
        }
        Ok(())
    }

    /// Deletes the rows that are stored, and those that a block before in this batch writes.
    fn wipe_nodes(&mut self, hashed: B256) -> Result<(), StateError> {
        let prefix = wiped_prefix(hashed);
        let is_wiped = |op: &Op<'_>| op.family == Family::Nodes && op.key.starts_with(&prefix);
        let staged = self.batch.ops().filter(is_wiped).map(|op| op.key.to_vec());
        for key in staged.collect::<Vec<_>>() {
            self.batch.delete(Family::Nodes, key);
        }
        for_each(self.base.snapshot.as_ref(), Family::Nodes, &prefix, |key, _| {
            self.batch.delete(Family::Nodes, key);
            Ok::<(), StateError>(())
        })
    }

    /// The batch, with one row per changed key, and what is recent after it.
    pub(super) fn finish(self) -> (Batch, Recent) {
        let mut batch = self.batch;
        let mut recent = self.base.recent.clone();
        for (address, account) in self.accounts {
            recent.accounts.set(address, account);
            match account {
                Some(account) => {
                    batch.put(Family::Accounts, address, rows::encode_account(&account));
                }
                None => batch.delete(Family::Accounts, address),
            }
        }
        for ((address, slot), value) in self.slots {
            recent.slots.set((address, slot), value);
            let key = rows::storage_key(address, slot);
            if value.is_zero() {
                batch.delete(Family::Storage, key);
            } else {
                batch.put(Family::Storage, key, rows::encode_value(value));
            }
        }
        (batch, recent)
    }
}
