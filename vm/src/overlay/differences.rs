//! What an overlay came to: what differs from its view, and what was read of it, account by
//! account. Pure.

use std::collections::BTreeMap;

use alloy_primitives::{
    Address, B256, Bytes, KECCAK256_EMPTY, U256,
    map::{HashMap, hash_map},
};
use evenkeel_state::{ChangeSet, StorageChange};
use revm::bytecode::Bytecode;

use super::{Cached, Overlay, Slot};

/// The changes of an overlay, account by account.
pub(crate) struct Differences {
    accounts: hash_map::IntoIter<Address, Cached>,
    codes: HashMap<B256, Bytecode>,
    deployed: HashMap<B256, Bytes>,
    oldest_hash: Option<u64>,
}

/// What was read of a view, whether it changed or not.
#[derive(Default)]
pub(crate) struct Reads {
    /// Accounts, also those that are none, each with its slots.
    pub(crate) accounts: Vec<(Address, Slots)>,
    /// Code of accounts of the view.
    pub(crate) codes: BTreeMap<B256, Bytes>,
    /// The lowest height whose block hash was asked for.
    pub(crate) oldest_hash: Option<u64>,
}

/// Slots in no order.
pub(crate) type Slots = Box<dyn Iterator<Item = U256> + Send>;

impl Overlay {
    /// Everything that differs from the view, account by account.
    pub(crate) fn into_differences(self) -> Differences {
        Differences {
            accounts: self.accounts.into_iter(),
            codes: self.codes,
            deployed: self.deployed,
            oldest_hash: self.block_hashes.keys().next().copied(),
        }
    }
}

impl Differences {
    /// Adds what changed in the next account to `changes`, and what was read of it to `reads`;
    /// false: there is none left. O(slots of the account).
    pub(crate) fn step(&mut self, changes: &mut ChangeSet, reads: Option<&mut Reads>) -> bool {
        let Some((address, cached)) = self.accounts.next() else { return false };
        self.compare(address, &cached, changes);
        let Some(reads) = reads else { return true };
        reads.oldest_hash = self.oldest_hash;
        let code_hash = cached.before.map_or(KECCAK256_EMPTY, |account| account.code_hash);
        // Code that was deployed here counts where an account of the view had the same already.
        if code_hash != KECCAK256_EMPTY
            && let Some(code) = self.codes.get(&code_hash)
        {
            reads.codes.entry(code_hash).or_insert_with(|| code.original_bytes());
        }
        reads.accounts.push((address, Box::new(cached.slots.into_keys())));
        true
    }

    fn compare(&self, address: Address, cached: &Cached, changes: &mut ChangeSet) {
        // O1
        if cached.now != cached.before {
            changes.accounts.insert(address, cached.now);
        }
        let Some(now) = cached.now else { return };
        let old_code = cached.before.map_or(KECCAK256_EMPTY, |account| account.code_hash);
        if now.code_hash != old_code
            && let Some(code) = self.deployed.get(&now.code_hash)
        {
            changes.codes.insert(now.code_hash, code.clone());
        }
        let is_wiped = cached.is_wiped && cached.before.is_some();
        let is_new = |slot: &Slot| {
            if is_wiped { !slot.now.is_zero() } else { slot.now != slot.before }
        };
        let slots = cached.slots.iter().filter(|(_, slot)| is_new(slot));
        let slots: BTreeMap<_, _> = slots.map(|(&at, slot)| (at, slot.now)).collect();
        if is_wiped || !slots.is_empty() {
            changes.storage.insert(address, StorageChange { is_wiped, slots });
        }
    }
}
