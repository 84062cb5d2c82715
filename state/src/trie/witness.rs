//! The nodes of a trie that suffice to read some keys of it and to change others, for whoever has
//! nothing else.
//!
//! A removed key may leave a branch with one child, which then has to be known. When that happens
//! depends on the order of the changes: if all removals come first, it happens wherever it can in
//! any order, and if they come last, nowhere else than it must.
//!
//! # Invariants
//!
//! - W1: a node is noted as it was before any change, the first time somebody comes by.

use std::collections::{BTreeMap, btree_map::Entry};

use alloy_consensus::constants::EMPTY_ROOT_HASH;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::Decodable as _;
use alloy_trie::{Nibbles, TrieAccount};

use super::{
    edit::Edit,
    node::{self, Link, Node},
    source::Space,
    update::{Trie, put},
};
use crate::{error::StateError, store::Family};

/// What stands in for a value that is set: the shape of a trie does not depend on it.
const PLACEHOLDER: &[u8] = &[1];

/// Nodes by hash, as they were before any change.
#[derive(Default)]
pub(super) struct Seen {
    nodes: BTreeMap<B256, Bytes>,
    bytes: usize,
}

impl Seen {
    /// Keeps the node, unless it was made since (W1) or is a part of its parent.
    pub(super) fn note(&mut self, node: &Node) {
        let Some(hash) = node.hash() else { return };
        if let Entry::Vacant(entry) = self.nodes.entry(hash) {
            let mut rlp = Vec::new();
            node::encode(&node.kind, &mut rlp);
            self.bytes += rlp.len();
            entry.insert(rlp.into());
        }
    }
}

/// A trie whose nodes are noted as keys are looked up and changed. The trie itself stays as it is.
pub struct TrieWitness {
    trie: Trie,
    /// The storage of the account that was looked up last.
    storage: Option<(B256, Option<Link>)>,
    seen: Seen,
    work: usize,
}

impl Trie {
    /// Starts to note nodes.
    #[must_use]
    pub fn witness(&self) -> TrieWitness {
        TrieWitness { trie: self.clone(), storage: None, seen: Seen::default(), work: 0 }
    }
}

impl TrieWitness {
    /// Looks up the account at `address`, whose slots are meant from now on.
    ///
    /// # Errors
    ///
    /// [`StateError`] if a node cannot be read; likewise below.
    pub fn account(&mut self, address: Address) -> Result<(), StateError> {
        let hashed = keccak256(address);
        let key = Nibbles::unpack(hashed);
        let value = self.in_accounts(|edit, root| edit.get(root, &key))?;
        let account = value.map(|value| TrieAccount::decode(&mut value.as_ref()));
        let account = account.transpose().map_err(|_| StateError::CorruptRow {
            family: Family::Nodes.name(),
            key: Space::Accounts.key(&key),
            reason: "the value of the leaf is not an account",
        })?;
        let root = account.map_or(EMPTY_ROOT_HASH, |account| account.storage_root);
        let stored = (root != EMPTY_ROOT_HASH).then_some(Link::Stored(root));
        self.storage = Some((hashed, self.trie.storages.get(&hashed).cloned().or(stored)));
        Ok(())
    }

    /// Looks up a slot of the account looked up last.
    ///
    /// # Errors
    ///
    /// As [`Self::account`].
    pub fn slot(&mut self, slot: U256) -> Result<(), StateError> {
        let key = slot_key(slot);
        self.in_storage(|edit, root| edit.get(root, &key).map(drop))
    }

    /// Sets a slot of the account looked up last to something, or to nothing.
    ///
    /// # Errors
    ///
    /// As [`Self::account`].
    pub fn change_slot(&mut self, slot: U256, is_set: bool) -> Result<(), StateError> {
        let key = slot_key(slot);
        self.in_storage(|edit, root| put(edit, root, &key, placeholder(is_set)))
    }

    /// Sets an account to something, or removes it.
    ///
    /// # Errors
    ///
    /// As [`Self::account`].
    pub fn change_account(&mut self, address: Address, is_set: bool) -> Result<(), StateError> {
        let key = Nibbles::unpack(keccak256(address));
        self.in_accounts(|edit, root| put(edit, root, &key, placeholder(is_set)))
    }

    /// Nodes worked on since this was last asked.
    pub fn take_work(&mut self) -> usize {
        std::mem::take(&mut self.work)
    }

    /// Bytes of the nodes noted so far.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.seen.bytes
    }

    /// The nodes that were noted, RLP, by their hash.
    #[must_use]
    pub fn into_nodes(self) -> BTreeMap<B256, Bytes> {
        self.seen.nodes
    }

    fn in_accounts<R>(
        &mut self,
        change: impl FnOnce(&mut Edit<'_>, &mut Option<Link>) -> Result<R, StateError>,
    ) -> Result<R, StateError> {
        let mut root = self.trie.accounts.take();
        let done = self.edit(Space::Accounts, |edit| change(edit, &mut root));
        self.trie.accounts = root;
        done
    }

    fn in_storage(
        &mut self,
        change: impl FnOnce(&mut Edit<'_>, &mut Option<Link>) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        let Some((hashed, mut root)) = self.storage.take() else { return Ok(()) };
        let done = self.edit(Space::Storage(hashed), |edit| change(edit, &mut root));
        self.storage = Some((hashed, root));
        done
    }

    fn edit<R>(&mut self, space: Space, change: impl FnOnce(&mut Edit<'_>) -> R) -> R {
        change(&mut Edit {
            snapshot: self.trie.snapshot.as_ref(),
            space,
            version: self.trie.version + 1,
            // Nothing is written.
            rows: &mut Vec::new(),
            work: &mut self.work,
            nodes: &mut 0,
            seen: Some(&mut self.seen),
        })
    }
}

fn slot_key(slot: U256) -> Nibbles {
    Nibbles::unpack(keccak256(slot.to_be_bytes::<32>()))
}

fn placeholder(is_set: bool) -> Option<Box<[u8]>> {
    is_set.then(|| PLACEHOLDER.into())
}
