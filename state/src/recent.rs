//! Flat values that recent blocks set: what the next block most likely reads, without the disk.
//!
//! Persistent maps: each head has its own, most of it shared with the one before, and readers take
//! no lock.

use alloy_primitives::{Address, U256};
use imbl::OrdMap;

use crate::{change::Account, limits::RECENT_ITEMS_MAX};

/// Recent accounts and slots at one head.
#[derive(Clone, Default)]
pub(crate) struct Recent {
    pub(crate) accounts: Generations<Address, Option<Account>>,
    pub(crate) slots: Generations<(Address, U256), U256>,
}

/// Two generations: when the young one is full the old one is forgotten.
#[derive(Clone)]
pub(crate) struct Generations<K, V> {
    young: OrdMap<K, V>,
    old: OrdMap<K, V>,
}

impl<K: Ord + Copy, V: Copy> Default for Generations<K, V> {
    fn default() -> Self {
        Self { young: OrdMap::new(), old: OrdMap::new() }
    }
}

impl<K: Ord + Copy, V: Copy> Generations<K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }

    pub(crate) fn set(&mut self, key: K, value: V) {
        if self.young.len() >= RECENT_ITEMS_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}
