//! The first block of a chain, written in parts of bounded size; the head pointer is in the last.
//!
//! # Invariant
//!
//! - G1: a store without a head holds nothing, or the mark of a genesis that was cut off; its rows
//!   are deleted before anything is written anew. So whatever the crash, and whatever the spec of
//!   the next try, the genesis is whole or not there.

use std::{iter, sync::Arc};

use alloy_consensus::constants::EMPTY_ROOT_HASH;
use alloy_primitives::{Address, B256, U256, keccak256};
use evenkeel_chain::{ChainSpec, GenesisAccount, Height, SealedBlock};

use super::stage::{History, Stage};
use crate::{
    base::Base,
    blocks,
    change::{Account, ChangeSet},
    error::StateError,
    limits::{GENESIS_PART_BYTES, GENESIS_VALUE_BYTES, TRIE_NODES_MAX},
    recent::Recent,
    rows,
    store::{Batch, Family, Range, Store, Sync},
    trie::Trie,
};

/// Families that a part, of a genesis or a state file, may have written to before the last.
const FAMILIES: [Family; 11] = [
    Family::Accounts,
    Family::Storage,
    Family::Codes,
    Family::Nodes,
    Family::Headers,
    Family::Heights,
    Family::Bodies,
    Family::Receipts,
    Family::Transactions,
    Family::LogIndex,
    Family::Sorting,
];

/// Puts the genesis of `spec` into a store without a chain. O(size of the genesis state); memory
/// beside the spec: a part of about [`GENESIS_PART_BYTES`], and a few words per account.
pub(super) fn write(store: &dyn Store, spec: &ChainSpec, sync: Sync) -> Result<(), StateError> {
    write_in_parts(store, spec, sync, GENESIS_PART_BYTES)
}

/// The same in parts of other sizes.
pub(super) fn write_in_parts(
    store: &dyn Store,
    spec: &ChainSpec,
    sync: Sync,
    part_bytes: usize,
) -> Result<(), StateError> {
    let mut parts = Parts::begin(store)?;
    let mut values = values(spec).peekable();
    loop {
        let changes = part(&mut values, part_bytes);
        let is_last = values.peek().is_none();
        let sync = if is_last { sync } else { Sync::No };
        parts.add(changes, sync, |batch, root| {
            if is_last {
                put_head(batch, spec, root);
            }
        })?;
        if is_last {
            return Ok(());
        }
    }
}

/// A state without a chain, put into a store part by part.
pub(super) struct Parts<'a> {
    store: &'a dyn Store,
    trie: Trie,
}

impl<'a> Parts<'a> {
    /// Deletes what one before has left, and marks the store as one that is not whole (G1).
    pub(super) fn begin(store: &'a dyn Store) -> Result<Self, StateError> {
        clear(store)?;
        let mut mark = Batch::default();
        mark.put(Family::Meta, rows::META_BEGUN, []);
        // Writes reach the disk in their order (S1), so whatever else is there, this is.
        store.write(&mark, Sync::No)?;
        Ok(Self { store, trie: Trie::stored(store.snapshot(), EMPTY_ROOT_HASH) })
    }

    /// Root of the state so far.
    pub(super) fn root(&self) -> B256 {
        self.trie.root()
    }

    /// The store as it is now.
    pub(super) fn base(&self) -> Base {
        Base {
            snapshot: self.store.snapshot(),
            // Nothing is looked for by height.
            head: Height::new(0),
            genesis: Height::new(0),
            restored: None,
            caches: Arc::default(),
            recent: Recent::default(),
        }
    }

    /// Puts `changes`, whose keys have no values yet, on top, with the rows that `also` adds.
    pub(super) fn add(
        &mut self,
        changes: ChangeSet,
        sync: Sync,
        also: impl FnOnce(&mut Batch, B256),
    ) -> Result<(), StateError> {
        let changes = Arc::new(changes);
        let (root, next, nodes) = self.trie.update(&changes).finish_now()?;
        let base = self.base();
        let mut stage = Stage::new(&base);
        stage.changes(&changes, History::Fresh)?;
        stage.nodes(&nodes)?;
        also(stage.batch(), root);
        // A later batch that is synced brings those before along (S3).
        self.store.write(&stage.finish().0, sync)?;
        self.trie = next;
        self.trie.rebase(&self.store.snapshot());
        self.trie.trim(self.trie.version(), TRIE_NODES_MAX);
        Ok(())
    }
}

/// Deletes what a genesis that was cut off has left (G1), all but its mark.
fn clear(store: &dyn Store) -> Result<(), StateError> {
    if store.snapshot().get(Family::Meta, rows::META_BEGUN)?.is_none() {
        return Ok(());
    }
    for family in FAMILIES {
        loop {
            let all = Range { prefix: &[], from: &[], rows_max: usize::MAX };
            let rows = store.snapshot().scan(family, all)?;
            if rows.is_empty() {
                break;
            }
            let mut batch = Batch::default();
            for (key, _) in rows {
                batch.delete(family, key);
            }
            store.write(&batch, Sync::No)?;
        }
    }
    Ok(())
}

/// The block, what describes the database, and the head.
fn put_head(batch: &mut Batch, spec: &ChainSpec, root: B256) {
    let header = spec.genesis_header(root);
    let withdrawals = header.withdrawals_root.map(|_| Vec::new());
    let block = SealedBlock::seal(header, Vec::new(), Vec::new(), withdrawals);
    blocks::put_block(batch, &block, &[]);
    put_meta(batch, spec, block.height(), (block.height(), block.hash));
}

/// What describes a database whose first block is at `first`, and the head with its hash: from then
/// on it is whole.
pub(super) fn put_meta(batch: &mut Batch, spec: &ChainSpec, first: Height, head: (Height, B256)) {
    batch.delete(Family::Meta, rows::META_BEGUN);
    batch.put(Family::Meta, rows::META_FORMAT, rows::FORMAT.to_be_bytes());
    batch.put(Family::Meta, rows::META_SPEC, spec.hash().as_slice());
    batch.put(Family::Meta, rows::META_GENESIS, rows::height_key(first));
    batch.put(Family::Meta, rows::META_GENERATION, 0_u64.to_be_bytes());
    batch.put(Family::Meta, rows::META_NEXT_MARK, 0_u64.to_be_bytes());
    batch.put(Family::Meta, rows::META_HEAD, rows::encode_head(head.0, head.1));
}

/// One value of the genesis state.
enum Value<'a> {
    Account(Address, &'a GenesisAccount),
    Slot(Address, U256, U256),
}

/// All values, in the order of the tries, so that each part changes one region of them.
fn values(spec: &ChainSpec) -> impl Iterator<Item = Value<'_>> {
    let mut accounts: Vec<(B256, Address, &GenesisAccount)> = spec
        .genesis_alloc()
        .iter()
        .map(|(address, account)| (keccak256(address), *address, account))
        .collect();
    accounts.sort_unstable_by_key(|(hashed, ..)| *hashed);
    accounts.into_iter().flat_map(|(_, address, account)| {
        let slots = account.storage.iter().flatten().filter(|(_, value)| !value.is_zero());
        let mut slots: Vec<(B256, U256, U256)> =
            slots.map(|(slot, value)| (keccak256(slot), (*slot).into(), (*value).into())).collect();
        slots.sort_unstable_by_key(|(hashed, ..)| *hashed);
        let slots =
            slots.into_iter().map(move |(_, slot, value)| Value::Slot(address, slot, value));
        iter::once(Value::Account(address, account)).chain(slots)
    })
}

/// The next values, about `part_bytes` of them and at least one if there is one.
fn part<'a>(values: &mut impl Iterator<Item = Value<'a>>, part_bytes: usize) -> ChangeSet {
    let mut changes = ChangeSet::default();
    let mut bytes = 0;
    while bytes < part_bytes {
        let Some(value) = values.next() else { break };
        bytes += GENESIS_VALUE_BYTES;
        match value {
            Value::Account(address, genesis) => {
                let mut account = Account {
                    nonce: genesis.nonce.unwrap_or(0),
                    balance: genesis.balance,
                    ..Account::default()
                };
                if let Some(code) = genesis.code.as_ref().filter(|code| !code.is_empty()) {
                    account.code_hash = keccak256(code);
                    changes.codes.insert(account.code_hash, code.clone());
                    bytes += code.len();
                }
                changes.accounts.insert(address, Some(account));
            }
            Value::Slot(address, slot, value) => {
                changes.storage.entry(address).or_default().slots.insert(slot, value);
            }
        }
    }
    changes
}
