//! The trie against alloy-trie's hash builder, which knows nothing of updates.

use std::{collections::BTreeMap, sync::Arc};

use alloy_consensus::constants::EMPTY_ROOT_HASH;
use alloy_primitives::{Address, B256, keccak256};
use alloy_trie::{HashBuilder, Nibbles};
use proptest::prelude::*;

use super::{
    Trie, TrieNodes, TrieStep,
    edit::{Edit, Rows},
    hash::Hashing,
    node::Link,
    source::{Space, wiped_prefix},
    trim,
    update::put,
    walk::walk,
};
use crate::{
    change::{Account, ChangeSet},
    error::StateError,
    store::{Batch, Family, Memory, Snapshot, Store, Sync, for_each},
    testing::{Model, changes},
};

/// Writes what an update gave, as the committer does.
fn apply(store: &Memory, nodes: &TrieNodes) {
    let snapshot = store.snapshot();
    let mut batch = Batch::default();
    for &hashed in &nodes.wiped {
        for_each(snapshot.as_ref(), Family::Nodes, &wiped_prefix(hashed), |key, _| {
            batch.delete(Family::Nodes, key);
            Ok::<(), StateError>(())
        })
        .expect("memory does not fail");
    }
    for (key, value) in &nodes.rows {
        match value {
            Some(value) => batch.put(Family::Nodes, key, value),
            None => batch.delete(Family::Nodes, key),
        }
    }
    store.write(&batch, Sync::No).expect("memory does not fail");
}

fn stored_rows(snapshot: &dyn Snapshot) -> u64 {
    let mut rows = 0;
    for_each(snapshot, Family::Nodes, &[], |_, _| {
        rows += 1;
        Ok::<(), StateError>(())
    })
    .expect("memory does not fail");
    rows
}

/// One trie with raw keys, so that keys can share long prefixes, which keccak never gives.
struct Bare {
    store: Memory,
    root: Option<Link>,
    version: u64,
}

impl Bare {
    /// Applies changes in one update, hashing in slices of one node; returns the root.
    fn update(&mut self, changes: &[(B256, Option<Vec<u8>>)]) -> B256 {
        self.version += 1;
        let snapshot = self.store.snapshot();
        let (mut rows, mut work, mut nodes) = (Rows::new(), 0, 0);
        for (key, value) in changes {
            let mut edit = Edit {
                snapshot: snapshot.as_ref(),
                space: Space::Accounts,
                version: self.version,
                rows: &mut rows,
                work: &mut work,
                nodes: &mut nodes,
                seen: None,
            };
            let value = value.clone().map(Vec::into_boxed_slice);
            put(&mut edit, &mut self.root, &Nibbles::unpack(key), value).expect("it is all there");
        }
        let mut root = EMPTY_ROOT_HASH;
        if let Some(link) = &mut self.root {
            let mut buffer = Vec::new();
            let mut is_done = false;
            while !is_done {
                let mut hashing = Hashing {
                    space: Space::Accounts,
                    rows: &mut rows,
                    work: &mut 0,
                    work_max: 1,
                    buffer: &mut buffer,
                };
                is_done = hashing.run(link, Nibbles::new());
            }
            root = link.reference().and_then(|root| root.as_hash()).expect("a root is a hash");
        }
        apply(&self.store, &TrieNodes { wiped: Vec::new(), rows });
        root
    }
}

/// A key of 32 bytes of which most are shared with many others.
fn crowded_key() -> impl Strategy<Value = B256> {
    (0..32_usize, 0..3_u8, 0..3_u8).prop_map(|(at, high, last)| {
        let mut key = B256::ZERO;
        key[at] = high << 4 | last;
        key[31] ^= last;
        key
    })
}

fn short_value() -> impl Strategy<Value = Option<Vec<u8>>> {
    let value = proptest::collection::vec(1..=255_u8, 1..40);
    prop_oneof![2 => value.prop_map(Some), 1 => Just(None), 1 => Just(Some(vec![7]))]
}

fn oracle(map: &BTreeMap<B256, Vec<u8>>) -> B256 {
    let mut builder = HashBuilder::default();
    for (key, value) in map {
        builder.add_leaf(Nibbles::unpack(key), value);
    }
    builder.root()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Goal: splits, collapses and inline nodes give Ethereum's root, and exactly the rows of the
    /// trie are stored (T3). Method: keys that differ in one or two bytes anywhere, values from 1
    /// to 39 bytes; every few updates all is dropped from memory.
    #[test]
    fn crowded_keys_give_the_oracles_root(
        updates in proptest::collection::vec(
            proptest::collection::vec((crowded_key(), short_value()), 1..20), 1..8),
    ) {
        let mut bare = Bare { store: Memory::new(), root: None, version: 0 };
        let mut map = BTreeMap::new();
        for (number, changes) in updates.iter().enumerate() {
            for (key, value) in changes {
                match value {
                    Some(value) => map.insert(*key, value.clone()),
                    None => map.remove(key),
                };
            }
            let root = bare.update(changes);
            prop_assert_eq!(root, oracle(&map));
            let snapshot = bare.store.snapshot();
            let mut leaves = BTreeMap::new();
            let mut rows = 0;
            if root != EMPTY_ROOT_HASH {
                rows = walk(snapshot.as_ref(), Space::Accounts, root, &mut |key, value| {
                    leaves.insert(key, value.to_vec());
                    Ok(())
                }).expect("every node is stored").rows;
            }
            prop_assert_eq!(&leaves, &map);
            prop_assert_eq!(stored_rows(snapshot.as_ref()), rows);
            if number % 2 == 1 {
                bare.root = (root != EMPTY_ROOT_HASH).then_some(Link::Stored(root));
            }
        }
    }
}

/// Runs an update in steps of `nodes`.
fn run(trie: &Trie, changes: &ChangeSet, nodes: usize) -> (B256, Trie, TrieNodes) {
    let mut update = trie.update(&Arc::new(changes.clone()));
    loop {
        if let TrieStep::Done { root, trie, nodes } = update.step(nodes).expect("it is all there") {
            return (root, trie, nodes);
        }
    }
}

/// Checks that the stored tries are those of the model, and nothing more (T3).
fn check_stored(store: &Memory, model: &Model, root: B256) {
    let snapshot = store.snapshot();
    let mut rows = 0;
    if root != EMPTY_ROOT_HASH {
        let walked = walk(snapshot.as_ref(), Space::Accounts, root, &mut |_, _| Ok(()));
        let walked = walked.expect("every node is stored");
        assert_eq!(walked.leaves, model.accounts.len() as u64);
        rows += walked.rows;
    }
    for &address in model.slots.keys() {
        let root = model.storage_root(address);
        let space = Space::Storage(keccak256(address));
        let walked = walk(snapshot.as_ref(), space, root, &mut |_, _| Ok(()));
        rows += walked.expect("every node is stored").rows;
    }
    assert_eq!(stored_rows(snapshot.as_ref()), rows);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Goal: after every block the root is that of the state built from nothing, whatever runs
    /// ahead of the store, is trimmed, or was reopened. Method: blocks of random changes; a random
    /// number of blocks is computed before they are stored; then the trie goes on with a new
    /// snapshot, is trimmed to nothing, or is opened again.
    #[test]
    fn blocks_give_the_oracles_root(
        blocks in proptest::collection::vec((changes(), 0..6_u8, 1..50_usize), 1..12),
    ) {
        let store = Memory::new();
        let mut model = Model::default();
        let mut trie = Trie::stored(store.snapshot(), EMPTY_ROOT_HASH);
        let mut unstored = Vec::new();
        for (changes, fate, step) in blocks {
            model.apply(&changes);
            let (root, next, nodes) = run(&trie, &changes, step);
            prop_assert_eq!(root, model.root());
            prop_assert_eq!(next.root(), root);
            trie = next;
            unstored.push(nodes);
            if fate == 5 {
                continue;
            }
            for nodes in unstored.drain(..) {
                apply(&store, &nodes);
            }
            check_stored(&store, &model, root);
            let durable = trie.version();
            match fate {
                0 | 1 => trie.rebase(&store.snapshot()),
                2 | 3 => {
                    trie.rebase(&store.snapshot());
                    trim::trim(&mut trie, durable, 8 * usize::from(fate));
                }
                _ => trie = Trie::stored(store.snapshot(), root),
            }
        }
    }
}

/// Goal: a step of one node does about one node's work, and the result does not depend on steps.
#[test]
fn steps_are_small() {
    let mut changes = ChangeSet::default();
    for n in 0..500_u64 {
        let address = Address::from_word(keccak256(n.to_be_bytes()));
        changes.accounts.insert(address, Some(Account { nonce: n, ..Account::default() }));
    }
    let trie = Trie::stored(Memory::new().snapshot(), EMPTY_ROOT_HASH);
    let (whole, _, nodes) = run(&trie, &changes, usize::MAX);
    let mut update = trie.update(&Arc::new(changes));
    let mut steps = 0;
    let root = loop {
        steps += 1;
        if let TrieStep::Done { root, .. } = update.step(1).expect("it is all there") {
            break root;
        }
    };
    assert_eq!(root, whole);
    assert!(steps >= nodes.len() + 500, "{steps} steps for {} nodes and 500 keys", nodes.len());
}

/// Goal: T1. A node that was changed or lost on the disk is found when it is loaded.
#[test]
fn a_wrong_node_is_refused() {
    let store = Memory::new();
    let mut changes = ChangeSet::default();
    for n in 0..100 {
        let account = Account { nonce: 1, ..Account::default() };
        changes.accounts.insert(Address::with_last_byte(n), Some(account));
    }
    let trie = Trie::stored(store.snapshot(), EMPTY_ROOT_HASH);
    let (root, _, nodes) = run(&trie, &changes, usize::MAX);
    apply(&store, &nodes);
    let key = Space::Accounts.key(&Nibbles::new());
    let mut row = store.snapshot().get(Family::Nodes, &key).expect("memory").expect("the root");
    row[40] ^= 1;
    let mut batch = Batch::default();
    batch.put(Family::Nodes, key.clone(), row);
    store.write(&batch, Sync::No).expect("memory does not fail");
    let mut kill = ChangeSet::default();
    kill.accounts.insert(Address::with_last_byte(3), None);
    let update = Trie::stored(store.snapshot(), root).update(&Arc::new(kill.clone()));
    let error = update.finish_now().err().expect("the root is another one");
    assert!(matches!(error, StateError::NodeMismatch { expected, .. } if expected == root));
    assert!(error.is_fatal());

    let mut batch = Batch::default();
    batch.delete(Family::Nodes, key);
    store.write(&batch, Sync::No).expect("memory does not fail");
    let update = Trie::stored(store.snapshot(), root).update(&Arc::new(kill));
    let error = update.finish_now().err().expect("the root is gone");
    assert!(matches!(error, StateError::NodeMissing { expected, .. } if expected == root));
}
