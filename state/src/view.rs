//! A state that never changes under its reader: changes in memory over a pinned snapshot.
//!
//! # Invariants
//!
//! - V1: a view answers the same for ever, whatever is committed or reverted after it.
//! - V2: layers of cheats merge as they pile up, so a read visits O(log) of them, and one more for
//!   each [`LAYER_MERGE_VALUES_MAX`] values.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U160, U256};
use evenkeel_chain::{Header, Height};

use crate::{
    base::Base,
    change::{Account, ChangeSet},
    error::StateError,
    limits::{LAYER_MERGE_VALUES_MAX, SEARCH_SLOTS},
    store::{Family, Range, Row},
};

/// A state at a height. A clone is cheap; it pins a snapshot while it lives.
#[derive(Clone)]
pub struct View {
    base: Arc<Base>,
    /// Height at which the base is read; not above its head.
    base_height: Height,
    /// Oldest first.
    layers: Arc<[Layer]>,
    height: Height,
}

/// How far a search for a slot that is set came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotSearch {
    /// This slot is set.
    Found(U256),
    /// None is.
    Nothing,
    /// None below this one is; go on from here.
    Unfinished(U256),
}

/// How far a search for an account came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountSearch {
    /// This is one.
    Found(Address, Account),
    /// There is none.
    Nothing,
    /// There is none below this address; go on from here.
    Unfinished(Address),
}

/// Changes on top of what is below.
#[derive(Clone)]
struct Layer {
    /// The block that made them; `None` for cheats and overrides.
    block: Option<(Height, B256)>,
    changes: Arc<ChangeSet>,
}

impl View {
    pub(crate) fn at(base: &Arc<Base>, height: Height) -> Self {
        assert!(height <= base.head);
        let layers = Arc::from([]);
        Self { base: Arc::clone(base), base_height: height, layers, height }
    }

    /// Height of the last block in it.
    #[must_use]
    pub fn height(&self) -> Height {
        self.height
    }

    /// The account at `address`. O(log) per layer, then at most one seek and one read.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails.
    pub fn account(&self, address: Address) -> Result<Option<Account>, StateError> {
        for layer in self.layers.iter().rev() {
            if let Some(account) = layer.changes.account(address) {
                return Ok(*account);
            }
        }
        self.base.account(address, self.base_height)
    }

    /// The value of a storage slot; zero where there is none. Cost as [`View::account`].
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails.
    pub fn storage(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        for layer in self.layers.iter().rev() {
            if let Some(value) = layer.changes.slot(address, slot) {
                return Ok(value);
            }
        }
        self.base.storage(address, slot, self.base_height)
    }

    /// Looks for the first slot of `address`, from `from` on, whose value is not zero.
    ///
    /// Gives up after [`SEARCH_SLOTS`] slots that were set once, or will be, but are not in this
    /// state. At the head, without cheats, the first slot it looks at decides. Cost of a slot:
    /// twice that of [`View::storage`].
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails.
    pub fn search_storage(
        &self,
        address: Address,
        mut from: U256,
    ) -> Result<SlotSearch, StateError> {
        let forgets = |layer: &Layer| layer.changes.forgets_storage(address);
        let lowest = self.layers.iter().rposition(forgets);
        let layers = &self.layers[lowest.unwrap_or(0)..];
        for _ in 0..SEARCH_SLOTS {
            let base = match lowest {
                Some(_) => None,
                None => self.base.next_slot(address, from, self.base_height)?,
            };
            let above = layers.iter().filter_map(|layer| layer.changes.next_slot(address, from));
            let Some(slot) = above.chain(base).min() else { return Ok(SlotSearch::Nothing) };
            if !self.storage(address, slot)?.is_zero() {
                return Ok(SlotSearch::Found(slot));
            }
            match slot.checked_add(U256::ONE) {
                Some(next) => from = next,
                None => return Ok(SlotSearch::Nothing),
            }
        }
        Ok(SlotSearch::Unfinished(from))
    }

    /// Looks for the first account from the address `from` on.
    ///
    /// Gives up after [`SEARCH_SLOTS`] addresses that had an account once, or will have, but have
    /// none in this state. Cost of an address: that of [`View::account`], and two seeks.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails.
    pub fn search_account(&self, mut from: Address) -> Result<AccountSearch, StateError> {
        for _ in 0..SEARCH_SLOTS {
            let base = self.base.next_account(from, self.base_height)?;
            let above = self.layers.iter().filter_map(|layer| layer.changes.next_account(from));
            let Some(address) = above.chain(base).min() else { return Ok(AccountSearch::Nothing) };
            if let Some(account) = self.account(address)? {
                return Ok(AccountSearch::Found(address, account));
            }
            match address_after(address) {
                Some(next) => from = next,
                None => return Ok(AccountSearch::Nothing),
            }
        }
        Ok(AccountSearch::Unfinished(from))
    }

    /// The code with this hash; empty for the hash of nothing. Cached.
    ///
    /// # Errors
    ///
    /// [`StateError::CodeMissing`] if no account in the view can have it; [`StateError::Store`].
    pub fn code(&self, hash: B256) -> Result<Bytes, StateError> {
        if hash == KECCAK256_EMPTY {
            return Ok(Bytes::new());
        }
        for layer in self.layers.iter().rev() {
            if let Some(code) = layer.changes.codes.get(&hash) {
                return Ok(code.clone());
            }
        }
        self.base.code(hash)
    }

    /// The hash of the block at `height`; `None` above the view or below the first block.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails.
    pub fn block_hash(&self, height: Height) -> Result<Option<B256>, StateError> {
        if height > self.height {
            return Ok(None);
        }
        if height <= self.base_height {
            return self.base.block_hash(height);
        }
        let blocks = self.layers.iter().rev().filter_map(|layer| layer.block);
        Ok(blocks.into_iter().find(|block| block.0 == height).map(|block| block.1))
    }

    /// Adds to `changes` the empty accounts that its storage changes need: a slot that is set where
    /// there is no account (a cheat may do that) makes one.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails; `changes` is as complete as it got.
    pub fn complete(&self, changes: &mut ChangeSet) -> Result<(), StateError> {
        for (&address, change) in &changes.storage {
            let has_slots = change.slots.values().any(|value| !value.is_zero());
            let is_decided = changes.accounts.contains_key(&address);
            if has_slots && !is_decided && self.account(address)?.is_none() {
                changes.accounts.insert(address, Some(Account::default()));
            }
        }
        Ok(())
    }

    /// The same height with `changes` on top (cheats, overrides of a call). Amortised O(log) in
    /// the size of what was put on top before.
    #[must_use]
    pub fn with(&self, changes: Arc<ChangeSet>) -> Self {
        let mut layers = self.layers.to_vec();
        let mut top = changes;
        // V2: a layer below that is not much larger is merged in, as binary counters carry. A large
        // one stays by itself: it would take a turn of many milliseconds.
        while let Some(below) = layers.last()
            && below.block.is_none()
            && top.len() <= LAYER_MERGE_VALUES_MAX
            && below.changes.len() <= 2 * top.len()
        {
            let mut merged = below.changes.as_ref().clone();
            merged.merge(&top);
            top = Arc::new(merged);
            layers.pop();
        }
        layers.push(Layer { block: None, changes: top });
        self.with_layers(layers, self.height)
    }

    /// The state after the block with `header`, which made `changes`. O(number of layers).
    ///
    /// # Panics
    ///
    /// If the block is not at the next height.
    #[must_use]
    pub fn with_block(&self, header: &Header, hash: B256, changes: Arc<ChangeSet>) -> Self {
        let height = Height::new(header.number);
        assert_eq!(height, self.height.next(), "a view is extended block by block");
        let mut layers = self.layers.to_vec();
        layers.push(Layer { block: Some((height, hash)), changes });
        self.with_layers(layers, height)
    }

    fn with_layers(&self, layers: Vec<Layer>, height: Height) -> Self {
        Self {
            base: Arc::clone(&self.base),
            base_height: self.base_height,
            layers: layers.into(),
            height,
        }
    }

    /// Whether what is below the layers is the head of the store.
    pub(crate) fn is_at_head(&self) -> bool {
        self.base_height == self.base.head
    }

    /// Rows below the layers.
    pub(crate) fn rows(&self, family: Family, range: Range<'_>) -> Result<Vec<Row>, StateError> {
        Ok(self.base.snapshot.scan(family, range)?)
    }

    /// The first address from `from` on that a layer names. O(layers · log).
    pub(crate) fn next_address_above(&self, from: Address) -> Option<Address> {
        self.layers.iter().filter_map(|layer| layer.changes.next_address(from)).min()
    }

    /// The account by the layers alone, if one of them decides it.
    pub(crate) fn account_above(&self, address: Address) -> Option<&Option<Account>> {
        self.layers.iter().rev().find_map(|layer| layer.changes.account(address))
    }

    /// Whether no slot below the layers is left of `address`.
    pub(crate) fn is_wiped_above(&self, address: Address) -> bool {
        self.layers.iter().any(|layer| layer.changes.forgets_storage(address))
    }

    /// The first slot from `from` on that a layer names.
    pub(crate) fn next_slot_above(&self, address: Address, from: U256) -> Option<U256> {
        self.layers.iter().filter_map(|layer| layer.changes.next_slot(address, from)).min()
    }

    /// The value of a slot by the layers alone, if one of them decides it.
    pub(crate) fn slot_above(&self, address: Address, slot: U256) -> Option<U256> {
        self.layers.iter().rev().find_map(|layer| layer.changes.slot(address, slot))
    }

    /// What was put on top of the last block, oldest first.
    pub(crate) fn diffs(&self) -> Vec<Arc<ChangeSet>> {
        let blocks = self.layers.iter().rposition(|layer| layer.block.is_some());
        let first = blocks.map_or(0, |last| last + 1);
        self.layers[first..].iter().map(|layer| Arc::clone(&layer.changes)).collect()
    }

    /// The state without what was put on top of the last block.
    pub(crate) fn without_diffs(&self) -> Self {
        let blocks = self.layers.iter().rposition(|layer| layer.block.is_some());
        let kept = blocks.map_or(0, |last| last + 1);
        if kept == self.layers.len() {
            return self.clone();
        }
        self.with_layers(self.layers[..kept].to_vec(), self.height)
    }

    /// The same state on a newer base, if that holds the blocks up to its head with this hash.
    pub(crate) fn rebase(&self, base: &Arc<Base>, hash: B256) -> Option<Self> {
        let block = Some((base.head, hash));
        let held = self.layers.iter().position(|layer| layer.block == block)?;
        Some(Self {
            base: Arc::clone(base),
            base_height: base.head,
            layers: self.layers[held + 1..].into(),
            height: self.height,
        })
    }

    #[cfg(test)]
    pub(crate) fn layer_count(&self) -> usize {
        self.layers.len()
    }
}

/// The address after `address`, if it is not the last.
#[must_use]
pub fn address_after(address: Address) -> Option<Address> {
    let number: U160 = address.into();
    number.checked_add(U160::ONE).map(Address::from)
}
