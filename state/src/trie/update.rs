//! Takes a trie from one block to the next, in slices: storage tries first, then the accounts that
//! hold their roots, then the hashes of the account trie.

use std::{collections::BTreeMap, mem, ops::Bound, sync::Arc};

use alloy_consensus::constants::EMPTY_ROOT_HASH;
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_rlp::{Decodable, Encodable};
use alloy_trie::{Nibbles, TrieAccount};
use imbl::OrdMap;

use super::{
    edit::{Edit, Rows},
    hash::Hashing,
    node::Link,
    source::Space,
    trim,
};
use crate::{
    change::{Account, ChangeSet},
    error::StateError,
    limits::TRIE_NODES_KEPT,
    store::{Family, Snapshot},
};

/// The Merkle Patricia trie of one state: persistent (structural sharing), nodes loaded by path on
/// demand. A clone is cheap.
#[derive(Clone)]
pub struct Trie {
    pub(super) snapshot: Arc<dyn Snapshot>,
    pub(super) accounts: Option<Link>,
    /// Storage tries that are in memory, by hashed address; the others are known by the root in
    /// their account.
    pub(super) storages: OrdMap<B256, Link>,
    root: B256,
    /// Updates since the store was opened.
    pub(super) version: u64,
    /// Nodes in memory, nearly.
    pub(super) nodes: usize,
}

/// Rows of the store that an update changes: first whole storage tries go, then single rows.
#[derive(Clone, Debug, Default)]
pub struct TrieNodes {
    /// Hashed addresses whose former storage nodes are all gone.
    pub(crate) wiped: Vec<B256>,
    /// Rows with their keys; `None` is deleted. Of two with one key the later holds.
    pub(crate) rows: Rows,
}

impl TrieNodes {
    /// Rows written and deleted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns true if no row changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.wiped.is_empty()
    }

    /// Bytes held, roughly.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let rows = self.rows.iter();
        rows.map(|(key, value)| 64 + key.len() + value.as_ref().map_or(0, Vec::len)).sum()
    }
}

/// What one step of an update came to.
#[expect(clippy::large_enum_variant, reason = "made once per update and taken apart at once")]
pub enum TrieStep {
    /// There is more to do.
    More,
    /// The update is done; it must not be stepped again.
    Done {
        /// Root of the new state.
        root: B256,
        /// Its trie.
        trie: Trie,
        /// The rows that lead there.
        nodes: TrieNodes,
    },
}

impl Trie {
    /// The trie with `root` in the snapshot; nothing is loaded yet.
    pub(crate) fn stored(snapshot: Arc<dyn Snapshot>, root: B256) -> Self {
        let accounts = (root != EMPTY_ROOT_HASH).then_some(Link::Stored(root));
        Self { snapshot, accounts, storages: OrdMap::new(), root, version: 0, nodes: 0 }
    }

    /// Root hash of the state.
    #[must_use]
    pub fn root(&self) -> B256 {
        self.root
    }

    /// Starts the update to the state after `changes`. The trie itself stays as it is.
    #[must_use]
    pub fn update(&self, changes: &Arc<ChangeSet>) -> TrieUpdate {
        TrieUpdate {
            snapshot: Arc::clone(&self.snapshot),
            version: self.version + 1,
            accounts: self.accounts.clone(),
            storages: self.storages.clone(),
            changes: Arc::clone(changes),
            phase: Phase::Storage { after: None },
            roots: BTreeMap::new(),
            nodes: TrieNodes::default(),
            nodes_in_memory: self.nodes,
            buffer: Vec::new(),
        }
    }

    /// Reads what is not in memory from a later snapshot from now on, one that holds this trie's
    /// version `durable` or a later one of the same line of blocks (T2).
    pub(crate) fn rebase(&mut self, snapshot: &Arc<dyn Snapshot>) {
        self.snapshot = Arc::clone(snapshot);
    }

    /// The snapshot that the trie reads.
    pub(crate) fn snapshot(&self) -> &Arc<dyn Snapshot> {
        &self.snapshot
    }

    /// Updates since the store was opened.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Nodes in memory, nearly.
    #[must_use]
    pub fn nodes_in_memory(&self) -> usize {
        self.nodes
    }

    /// Gives clean subtrees back to the store if more than `nodes_max` nodes are in memory; clean
    /// is what the version `durable` had already, which the snapshot holds (T2). O(nodes) then.
    pub(crate) fn trim(&mut self, durable: u64, nodes_max: usize) {
        if self.nodes > nodes_max {
            trim::trim(self, durable, TRIE_NODES_KEPT);
        }
    }
}

/// A trie on its way to the next block. See [`Trie::update`].
pub struct TrieUpdate {
    snapshot: Arc<dyn Snapshot>,
    version: u64,
    accounts: Option<Link>,
    storages: OrdMap<B256, Link>,
    changes: Arc<ChangeSet>,
    phase: Phase,
    /// Storage roots found, for the accounts to come.
    roots: BTreeMap<Address, B256>,
    nodes: TrieNodes,
    nodes_in_memory: usize,
    buffer: Vec<u8>,
}

/// Where the update stands. Each `after` is the last key that is done.
enum Phase {
    /// Looks for the next account with changed storage.
    Storage { after: Option<Address> },
    /// Sets the slots of one account.
    Slots { storage: OneStorage, after: Option<U256> },
    /// Hashes the storage of one account.
    StorageHash { storage: OneStorage },
    /// Sets the accounts of the change set.
    Accounts { after: Option<Address> },
    /// Sets the roots of accounts of which only the storage changed.
    Roots { after: Option<Address> },
    /// Hashes the account trie.
    AccountHash,
    /// The result was given away.
    Done,
}

struct OneStorage {
    address: Address,
    hashed: B256,
    root: Option<Link>,
}

impl TrieUpdate {
    /// Works on about `nodes` nodes and returns.
    ///
    /// # Errors
    ///
    /// [`StateError`] if a node cannot be read or is not the right one; the update is lost.
    ///
    /// # Panics
    ///
    /// If it is called again after [`TrieStep::Done`] or an error.
    pub fn step(&mut self, nodes: usize) -> Result<TrieStep, StateError> {
        let work_max = nodes.max(1);
        let mut work = 0;
        while work < work_max {
            // An error leaves `Done` behind.
            self.phase = match mem::replace(&mut self.phase, Phase::Done) {
                Phase::Storage { after } => self.next_storage(after, &mut work)?,
                Phase::Slots { storage, after } => self.next_slot(storage, after, &mut work)?,
                Phase::StorageHash { storage } => self.hash_storage(storage, &mut work, work_max),
                Phase::Accounts { after } => self.next_account(after, &mut work)?,
                Phase::Roots { after } => self.next_root(after, &mut work)?,
                Phase::AccountHash => match self.hash_accounts(&mut work, work_max) {
                    Some(root) => return Ok(self.finish(root)),
                    None => Phase::AccountHash,
                },
                Phase::Done => panic!("a trie update was stepped after its end"),
            };
        }
        Ok(TrieStep::More)
    }

    /// Steps until the update is done: for callers that are off the workers.
    pub(crate) fn finish_now(mut self) -> Result<(B256, Trie, TrieNodes), StateError> {
        loop {
            if let TrieStep::Done { root, trie, nodes } =
                self.step(crate::limits::TRIE_STEP_NODES)?
            {
                return Ok((root, trie, nodes));
            }
        }
    }

    fn next_storage(
        &mut self,
        after: Option<Address>,
        work: &mut usize,
    ) -> Result<Phase, StateError> {
        *work += 1;
        let changes = Arc::clone(&self.changes);
        let next = changes.storage.range((after_bound(after), Bound::Unbounded)).next();
        let Some((&address, change)) = next else { return Ok(Phase::Accounts { after: None }) };
        if changes.is_dead(address) {
            // The death of the account takes the storage with it.
            return Ok(Phase::Storage { after: Some(address) });
        }
        let hashed = keccak256(address);
        let old_root = self.account(hashed, work)?.map(|account| account.storage_root);
        let loaded = self.storages.remove(&hashed);
        let root = match old_root {
            None | Some(EMPTY_ROOT_HASH) => None,
            Some(_) if change.is_wiped => {
                self.nodes.wiped.push(hashed);
                None
            }
            Some(root) => Some(loaded.unwrap_or(Link::Stored(root))),
        };
        Ok(Phase::Slots { storage: OneStorage { address, hashed, root }, after: None })
    }

    fn next_slot(
        &mut self,
        mut storage: OneStorage,
        after: Option<U256>,
        work: &mut usize,
    ) -> Result<Phase, StateError> {
        let changes = Arc::clone(&self.changes);
        let slots = &changes.storage[&storage.address].slots;
        let next = slots.range((after_bound(after), Bound::Unbounded)).next();
        let Some((&slot, &value)) = next else { return Ok(Phase::StorageHash { storage }) };
        let key = Nibbles::unpack(keccak256(slot.to_be_bytes::<32>()));
        let value = (!value.is_zero()).then(|| alloy_rlp::encode(value).into());
        let mut root = storage.root.take();
        self.edit(Space::Storage(storage.hashed), work, |edit| put(edit, &mut root, &key, value))?;
        storage.root = root;
        Ok(Phase::Slots { storage, after: Some(slot) })
    }

    fn hash_storage(
        &mut self,
        mut storage: OneStorage,
        work: &mut usize,
        work_max: usize,
    ) -> Phase {
        let space = Space::Storage(storage.hashed);
        let Some(root) = self.hash(&mut storage.root, space, work, work_max) else {
            return Phase::StorageHash { storage };
        };
        self.roots.insert(storage.address, root);
        if let Some(link) = storage.root {
            self.storages.insert(storage.hashed, link);
        }
        Phase::Storage { after: Some(storage.address) }
    }

    fn next_account(
        &mut self,
        after: Option<Address>,
        work: &mut usize,
    ) -> Result<Phase, StateError> {
        let changes = Arc::clone(&self.changes);
        let next = changes.accounts.range((after_bound(after), Bound::Unbounded)).next();
        let Some((&address, account)) = next else { return Ok(Phase::Roots { after: None }) };
        let hashed = keccak256(address);
        let old_root = self.account(hashed, work)?.map(|account| account.storage_root);
        let old_root = old_root.unwrap_or(EMPTY_ROOT_HASH);
        let new = account.map(|account| {
            let root = self.roots.get(&address).copied().unwrap_or(old_root);
            leaf(account, root)
        });
        if account.is_none() && old_root != EMPTY_ROOT_HASH {
            self.storages.remove(&hashed);
            self.nodes.wiped.push(hashed);
        }
        self.put_account(hashed, new, work)?;
        Ok(Phase::Accounts { after: Some(address) })
    }

    fn next_root(&mut self, after: Option<Address>, work: &mut usize) -> Result<Phase, StateError> {
        let next = self.roots.range((after_bound(after), Bound::Unbounded)).next();
        let Some((&address, &root)) = next else { return Ok(Phase::AccountHash) };
        *work += 1;
        if !self.changes.accounts.contains_key(&address) {
            let hashed = keccak256(address);
            let old = self.account(hashed, work)?;
            if old.is_some() || root != EMPTY_ROOT_HASH {
                let account = match old {
                    Some(old) => TrieAccount { storage_root: root, ..old },
                    // Storage of an address without account makes an empty account.
                    None => leaf(Account::default(), root),
                };
                self.put_account(hashed, Some(account), work)?;
            }
        }
        Ok(Phase::Roots { after: Some(address) })
    }

    fn hash_accounts(&mut self, work: &mut usize, work_max: usize) -> Option<B256> {
        let mut root = self.accounts.take();
        let hash = self.hash(&mut root, Space::Accounts, work, work_max);
        self.accounts = root;
        hash
    }

    fn finish(&mut self, root: B256) -> TrieStep {
        let trie = Trie {
            snapshot: Arc::clone(&self.snapshot),
            accounts: self.accounts.take(),
            storages: mem::take(&mut self.storages),
            root,
            version: self.version,
            nodes: self.nodes_in_memory,
        };
        TrieStep::Done { root, trie, nodes: mem::take(&mut self.nodes) }
    }

    /// The account as the trie has it now.
    fn account(
        &mut self,
        hashed: B256,
        work: &mut usize,
    ) -> Result<Option<TrieAccount>, StateError> {
        let mut root = self.accounts.take();
        let key = Nibbles::unpack(hashed);
        let found = self.edit(Space::Accounts, work, |edit| edit.get(&mut root, &key));
        self.accounts = root;
        let Some(value) = found? else { return Ok(None) };
        let account =
            TrieAccount::decode(&mut value.as_ref()).map_err(|_| StateError::CorruptRow {
                family: Family::Nodes.name(),
                key: Space::Accounts.key(&key),
                reason: "the value of the leaf is not an account",
            })?;
        Ok(Some(account))
    }

    fn put_account(
        &mut self,
        hashed: B256,
        account: Option<TrieAccount>,
        work: &mut usize,
    ) -> Result<(), StateError> {
        let value = account.map(|account| {
            let mut value = Vec::with_capacity(account.length());
            account.encode(&mut value);
            value.into_boxed_slice()
        });
        let key = Nibbles::unpack(hashed);
        let mut root = self.accounts.take();
        let done = self.edit(Space::Accounts, work, |edit| put(edit, &mut root, &key, value));
        self.accounts = root;
        done
    }

    fn edit<R>(
        &mut self,
        space: Space,
        work: &mut usize,
        change: impl FnOnce(&mut Edit<'_>) -> R,
    ) -> R {
        change(&mut Edit {
            snapshot: self.snapshot.as_ref(),
            space,
            version: self.version,
            rows: &mut self.nodes.rows,
            work,
            nodes: &mut self.nodes_in_memory,
            seen: None,
        })
    }

    /// Hashes what is dirty; the root once nothing is.
    fn hash(
        &mut self,
        root: &mut Option<Link>,
        space: Space,
        work: &mut usize,
        work_max: usize,
    ) -> Option<B256> {
        let Some(link) = root.as_mut() else { return Some(EMPTY_ROOT_HASH) };
        let mut hashing =
            Hashing { space, rows: &mut self.nodes.rows, work, work_max, buffer: &mut self.buffer };
        if !hashing.run(link, Nibbles::new()) {
            return None;
        }
        let reference = link.reference().expect("hashing is done");
        Some(reference.as_hash().expect("a key of 32 bytes does not fit into an inline root"))
    }
}

/// Sets or removes one key, if that changes anything.
pub(super) fn put(
    edit: &mut Edit<'_>,
    root: &mut Option<Link>,
    key: &Nibbles,
    value: Option<Box<[u8]>>,
) -> Result<(), StateError> {
    let old = edit.get(root, key)?;
    match value {
        _ if old == value => Ok(()),
        Some(value) => edit.set(root, key, value),
        None => edit.remove(root, key),
    }
}

fn leaf(account: Account, storage_root: B256) -> TrieAccount {
    TrieAccount {
        nonce: account.nonce,
        balance: account.balance,
        storage_root,
        code_hash: account.code_hash,
    }
}

fn after_bound<K>(after: Option<K>) -> Bound<K> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}
