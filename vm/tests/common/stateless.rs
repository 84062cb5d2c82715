//! A state made of a witness and nothing else: an implementation of the trie by itself, which knows
//! nodes by hash and panics where one is missing.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses a part")]

use std::collections::BTreeMap;

use alloy_consensus::constants::EMPTY_ROOT_HASH;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::Decodable as _;
use alloy_trie::{
    Nibbles, TrieAccount, TrieMask,
    nodes::{BranchNode, ExtensionNodeRef, LeafNodeRef, RlpNode, TrieNode},
};
use evenkeel_state::ChangeSet;

/// Which changes of a trie come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    SetsFirst,
    RemovalsFirst,
    /// By hashed key.
    Mixed,
}

/// The state with this root, as far as the nodes show it.
pub struct Stateless<'a> {
    pub nodes: &'a BTreeMap<B256, Bytes>,
    pub root: B256,
}

enum Node {
    Empty,
    Hash(B256),
    Leaf(Nibbles, Vec<u8>),
    Extension(Nibbles, Box<Node>),
    Branch(Box<[Node; 16]>),
}

type Change = (B256, Option<Vec<u8>>);

impl Stateless<'_> {
    pub fn account(&self, address: Address) -> Option<TrieAccount> {
        let value = self.get(Node::at(self.root), Nibbles::unpack(keccak256(address)))?;
        Some(TrieAccount::decode(&mut value.as_slice()).expect("an account"))
    }

    pub fn slot(&self, address: Address, slot: U256) -> U256 {
        let root = self.account(address).map_or(EMPTY_ROOT_HASH, |account| account.storage_root);
        let value = self.get(Node::at(root), Nibbles::unpack(hashed(slot)));
        value.map_or(U256::ZERO, |value| U256::decode(&mut value.as_slice()).expect("a word"))
    }

    /// The root after `changes`.
    pub fn root_after(&self, changes: &ChangeSet, order: Order) -> B256 {
        let mut accounts = Vec::new();
        let touched = changes.accounts.keys().chain(changes.storage.keys());
        for &address in touched.collect::<std::collections::BTreeSet<_>>() {
            let old = self.account(address);
            let new = changes.accounts.get(&address);
            if let Some(None) = new {
                accounts.push((keccak256(address), None));
                continue;
            }
            let mut storage_root = old.map_or(EMPTY_ROOT_HASH, |account| account.storage_root);
            if let Some(change) = changes.storage.get(&address) {
                let from = if change.is_wiped { EMPTY_ROOT_HASH } else { storage_root };
                let slots = change.slots.iter().map(|(&slot, value)| {
                    let value = (!value.is_zero()).then(|| alloy_rlp::encode(value));
                    (hashed(slot), value)
                });
                storage_root = self.changed(from, slots.collect(), order);
            }
            let account = match (new.copied().flatten(), old) {
                (Some(new), _) => TrieAccount {
                    nonce: new.nonce,
                    balance: new.balance,
                    storage_root,
                    code_hash: new.code_hash,
                },
                (None, Some(old)) => TrieAccount { storage_root, ..old },
                (None, None) => panic!("storage of nobody"),
            };
            accounts.push((keccak256(address), Some(alloy_rlp::encode(account))));
        }
        self.changed(self.root, accounts, order)
    }

    fn changed(&self, root: B256, mut changes: Vec<Change>, order: Order) -> B256 {
        changes.sort_by_key(|(key, value)| match order {
            Order::SetsFirst => (value.is_none(), *key),
            Order::RemovalsFirst => (value.is_some(), *key),
            Order::Mixed => (false, *key),
        });
        let mut node = Node::at(root);
        for (key, value) in changes {
            let key = Nibbles::unpack(key);
            node = match value {
                Some(value) => self.set(node, key, value),
                None => self.remove(node, key),
            };
        }
        node.root()
    }

    fn open(&self, node: Node) -> Node {
        let Node::Hash(hash) = node else { return node };
        let rlp = self.nodes.get(&hash).unwrap_or_else(|| panic!("node {hash} is missing"));
        assert_eq!(keccak256(rlp), hash);
        Node::decode(rlp)
    }

    fn get(&self, node: Node, key: Nibbles) -> Option<Vec<u8>> {
        match self.open(node) {
            Node::Leaf(end, value) => (end == key).then_some(value),
            Node::Extension(stretch, child) if key.starts_with(&stretch) => {
                self.get(*child, key.slice(stretch.len()..))
            }
            Node::Empty | Node::Hash(_) | Node::Extension(..) => None,
            Node::Branch(mut children) => {
                let child = children[nibble(&key, 0)].take();
                self.get(child, key.slice(1..))
            }
        }
    }

    fn set(&self, node: Node, key: Nibbles, value: Vec<u8>) -> Node {
        match self.open(node) {
            Node::Empty | Node::Hash(_) => Node::Leaf(key, value),
            Node::Leaf(end, _) if end == key => Node::Leaf(key, value),
            Node::Leaf(end, old) => {
                let at = end.common_prefix_length(&key);
                let old = Node::Leaf(end.slice(at + 1..), old);
                Node::fork(&key, at, (nibble(&end, at), old), value)
            }
            Node::Extension(stretch, child) => {
                let at = stretch.common_prefix_length(&key);
                if at == stretch.len() {
                    let child = self.set(*child, key.slice(at..), value);
                    return Node::Extension(stretch, Box::new(child));
                }
                let rest = stretch.slice(at + 1..);
                let old = if rest.is_empty() { *child } else { Node::Extension(rest, child) };
                Node::fork(&key, at, (nibble(&stretch, at), old), value)
            }
            Node::Branch(mut children) => {
                let child = &mut children[nibble(&key, 0)];
                *child = self.set(child.take(), key.slice(1..), value);
                Node::Branch(children)
            }
        }
    }

    fn remove(&self, node: Node, key: Nibbles) -> Node {
        match self.open(node) {
            Node::Empty | Node::Hash(_) => Node::Empty,
            Node::Leaf(end, _) if end == key => Node::Empty,
            Node::Extension(stretch, child) if key.starts_with(&stretch) => {
                let child = self.remove(*child, key.slice(stretch.len()..));
                self.lengthened(&stretch, child)
            }
            other @ (Node::Leaf(..) | Node::Extension(..)) => other,
            Node::Branch(mut children) => {
                let child = &mut children[nibble(&key, 0)];
                *child = self.remove(child.take(), key.slice(1..));
                let mut left = (0_u8..).zip(children.iter()).filter(|(_, child)| child.is_some());
                match (left.next().map(|(nibble, _)| nibble), left.next()) {
                    (Some(nibble), None) => {
                        let only = children[usize::from(nibble)].take();
                        self.lengthened(&Nibbles::from_nibbles([nibble]), only)
                    }
                    _ => Node::Branch(children),
                }
            }
        }
    }

    fn lengthened(&self, stretch: &Nibbles, node: Node) -> Node {
        match self.open(node) {
            Node::Leaf(end, value) => Node::Leaf(stretch.join(&end), value),
            Node::Extension(end, child) => Node::Extension(stretch.join(&end), child),
            branch => Node::Extension(*stretch, Box::new(branch)),
        }
    }
}

impl Node {
    fn at(root: B256) -> Self {
        if root == EMPTY_ROOT_HASH { Self::Empty } else { Self::Hash(root) }
    }

    fn is_some(&self) -> bool {
        !matches!(self, Self::Empty)
    }

    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Empty)
    }

    fn fork(key: &Nibbles, at: usize, (nibble_old, old): (usize, Self), value: Vec<u8>) -> Self {
        let mut children = [const { Self::Empty }; 16];
        children[nibble_old] = old;
        children[nibble(key, at)] = Self::Leaf(key.slice(at + 1..), value);
        let branch = Self::Branch(Box::new(children));
        if at == 0 { branch } else { Self::Extension(key.slice(..at), Box::new(branch)) }
    }

    fn decode(mut rlp: &[u8]) -> Self {
        let child = |reference: &RlpNode| match reference.as_hash() {
            Some(hash) => Self::Hash(hash),
            None => Self::decode(reference),
        };
        match TrieNode::decode(&mut rlp).expect("a node") {
            TrieNode::EmptyRoot => Self::Empty,
            TrieNode::Leaf(leaf) => Self::Leaf(leaf.key, leaf.value),
            TrieNode::Extension(node) => Self::Extension(node.key, Box::new(child(&node.child))),
            TrieNode::Branch(node) => {
                let mut children = [const { Self::Empty }; 16];
                let at = (0..16_u8).filter(|nibble| node.state_mask.is_bit_set(*nibble));
                for (at, reference) in at.zip(&node.stack) {
                    children[usize::from(at)] = child(reference);
                }
                Self::Branch(Box::new(children))
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Empty | Self::Hash(_) => unreachable!("it has no encoding of its own"),
            Self::Leaf(key, value) => {
                LeafNodeRef { key, value }.rlp(&mut out);
            }
            Self::Extension(key, child) => {
                ExtensionNodeRef { key, child: &child.reference() }.rlp(&mut out);
            }
            Self::Branch(children) => {
                let (mut stack, mut state_mask) = (Vec::new(), TrieMask::default());
                for (at, child) in (0_u8..).zip(children.iter()).filter(|(_, it)| it.is_some()) {
                    stack.push(child.reference());
                    state_mask.set_bit(at);
                }
                BranchNode { stack, state_mask }.as_ref().rlp(&mut out);
            }
        }
        out
    }

    fn reference(&self) -> RlpNode {
        match self {
            Self::Hash(hash) => RlpNode::word_rlp(hash),
            node => RlpNode::from_rlp(&node.encode()),
        }
    }

    fn root(&self) -> B256 {
        match self {
            Self::Empty => EMPTY_ROOT_HASH,
            Self::Hash(hash) => *hash,
            node => keccak256(node.encode()),
        }
    }
}

fn nibble(key: &Nibbles, at: usize) -> usize {
    usize::from(key.get_unchecked(at))
}

fn hashed(slot: U256) -> B256 {
    keccak256(slot.to_be_bytes::<32>())
}
