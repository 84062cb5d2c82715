//! Merkle proofs: the encoded nodes from the root of a trie to a key, or to where it would be.
//!
//! Source: EIP-1186; go-ethereum `trie/proof.go` for which nodes are listed.

use std::sync::Arc;

use alloy_consensus::constants::EMPTY_ROOT_HASH;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::Decodable as _;
use alloy_trie::{Nibbles, TrieAccount, nodes::RlpNode};

use super::{
    node::{self, Kind, Link, Node},
    source::{self, Space},
    update::Trie,
};
use crate::{error::StateError, store::Family};

/// RLP of what stands at the end of a key.
type Value = Box<[u8]>;

/// An account as the trie has it, with the nodes that prove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountProof {
    /// The account; `None` is proven to be absent.
    pub account: Option<TrieAccount>,
    /// The nodes from the root down, RLP.
    pub nodes: Vec<Bytes>,
}

/// A value in the storage of an account, with the nodes that prove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotProof {
    /// The value; zero is proven to be absent.
    pub value: U256,
    /// The nodes from the root of the storage down, RLP; none where there is no storage.
    pub nodes: Vec<Bytes>,
}

impl Trie {
    /// Proves what the account at `address` is. Reads at most 64 nodes.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails or a node is not what it should be.
    pub fn prove_account(&self, address: Address) -> Result<AccountProof, StateError> {
        let key = Nibbles::unpack(keccak256(address));
        let (value, nodes) = self.prove(Space::Accounts, self.accounts.as_ref(), &key)?;
        let account = value.map(|value| {
            TrieAccount::decode(&mut value.as_ref())
                .map_err(|_| corrupt(Space::Accounts, &key, "the value is not an account"))
        });
        Ok(AccountProof { account: account.transpose()?, nodes })
    }

    /// Proves what `slot` of `address` is, whose storage has the root `storage_root`. Reads at most
    /// 64 nodes.
    ///
    /// # Errors
    ///
    /// As [`Trie::prove_account`].
    pub fn prove_slot(
        &self,
        address: Address,
        storage_root: B256,
        slot: U256,
    ) -> Result<SlotProof, StateError> {
        let hashed = keccak256(address);
        let space = Space::Storage(hashed);
        let stored = (storage_root != EMPTY_ROOT_HASH).then_some(Link::Stored(storage_root));
        let root = self.storages.get(&hashed).or(stored.as_ref());
        let key = Nibbles::unpack(keccak256(slot.to_be_bytes::<32>()));
        let (value, nodes) = self.prove(space, root, &key)?;
        let value = value.map(|value| {
            U256::decode(&mut value.as_ref())
                .map_err(|_| corrupt(space, &key, "the value is not a word"))
        });
        Ok(SlotProof { value: value.transpose()?.unwrap_or_default(), nodes })
    }

    fn prove(
        &self,
        space: Space,
        root: Option<&Link>,
        key: &Nibbles,
    ) -> Result<(Option<Value>, Vec<Bytes>), StateError> {
        let mut nodes = Vec::new();
        let (mut next, mut depth) = (root.cloned(), 0);
        while let Some(link) = next {
            let path = key.slice(..depth);
            let (node, rlp) = self.opened(space, &link, &path)?;
            // A short node is part of its parent's encoding; the root has none.
            if rlp.len() >= size_of::<B256>() || depth == 0 {
                nodes.push(rlp.into());
            }
            next = match &node.kind {
                Kind::Leaf { key: end, value } => {
                    let is_it = *end == key.slice(depth..);
                    return Ok((is_it.then(|| value.clone()), nodes));
                }
                Kind::Extension { key: stretch, child } => {
                    let is_way = key.slice(depth..).starts_with(stretch);
                    depth += stretch.len();
                    is_way.then(|| child.clone())
                }
                Kind::Branch(branch) => {
                    let nibble = key.get_unchecked(depth);
                    depth += 1;
                    branch.iter().find(|(at, _)| *at == nibble).map(|(_, child)| child.clone())
                }
            };
        }
        Ok((None, nodes))
    }

    /// The node behind a link, and its encoding.
    fn opened(
        &self,
        space: Space,
        link: &Link,
        path: &Nibbles,
    ) -> Result<(Arc<Node>, Vec<u8>), StateError> {
        match link {
            Link::Node(node) => {
                let mut rlp = Vec::new();
                node::encode(&node.kind, &mut rlp);
                Ok((Arc::clone(node), rlp))
            }
            Link::Stored(hash) => {
                let rlp = source::load_rlp(self.snapshot.as_ref(), space, path, *hash)?;
                let node = node::decode(&rlp, RlpNode::word_rlp(hash));
                let node = node.ok_or_else(|| corrupt(space, path, "not a trie node"))?;
                Ok((Arc::new(node), rlp))
            }
        }
    }
}

fn corrupt(space: Space, path: &Nibbles, reason: &'static str) -> StateError {
    StateError::CorruptRow { family: Family::Nodes.name(), key: space.key(path), reason }
}
