//! Where nodes are stored: one family, keyed by trie and path.

use alloy_primitives::{B256, keccak256};
use alloy_trie::{Nibbles, nodes::RlpNode};

use super::node::{self, Node};
use crate::{
    error::StateError,
    store::{Family, Snapshot},
};

/// Which of the tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    /// The trie of all accounts.
    Accounts,
    /// The storage of the account with this hashed address.
    Storage(B256),
}

const ACCOUNTS_TAG: u8 = b'a';
const STORAGE_TAG: u8 = b's';

impl Space {
    /// Key of the node at `path`: tag, trie, packed nibbles, number of nibbles.
    ///
    /// The last byte tells `[1]` from `[1, 0]`, which pack to the same byte.
    pub(crate) fn key(self, path: &Nibbles) -> Vec<u8> {
        let mut key = Vec::with_capacity(1 + 32 + path.byte_len() + 1);
        match self {
            Self::Accounts => key.push(ACCOUNTS_TAG),
            Self::Storage(hashed) => {
                key.push(STORAGE_TAG);
                key.extend_from_slice(hashed.as_slice());
            }
        }
        key.extend_from_slice(&path.pack());
        key.push(u8::try_from(path.len()).expect("a path has at most 64 nibbles"));
        key
    }
}

/// Prefix of all rows of the storage trie of one account.
pub(crate) fn wiped_prefix(hashed: B256) -> Vec<u8> {
    [&[STORAGE_TAG], hashed.as_slice()].concat()
}

/// Reads the node at `path` and checks that it is the expected one (T1).
pub(crate) fn load_rlp(
    snapshot: &dyn Snapshot,
    space: Space,
    path: &Nibbles,
    expected: B256,
) -> Result<Vec<u8>, StateError> {
    let key = space.key(path);
    let Some(rlp) = snapshot.get(Family::Nodes, &key)? else {
        return Err(StateError::NodeMissing { expected, path: key });
    };
    let found = keccak256(&rlp);
    if found == expected {
        Ok(rlp)
    } else {
        Err(StateError::NodeMismatch { expected, found, path: key })
    }
}

/// Reads and decodes the node at `path`.
pub(super) fn load(
    snapshot: &dyn Snapshot,
    space: Space,
    path: &Nibbles,
    expected: B256,
) -> Result<Node, StateError> {
    let rlp = load_rlp(snapshot, space, path, expected)?;
    node::decode(&rlp, RlpNode::word_rlp(&expected)).ok_or_else(|| StateError::CorruptRow {
        family: Family::Nodes.name(),
        key: space.key(path),
        reason: "not a trie node",
    })
}
