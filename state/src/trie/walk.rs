//! Reads a whole stored trie, checking every node against its parent.

use alloy_primitives::B256;
use alloy_trie::Nibbles;

use super::{
    node::{Kind, Link},
    source::{self, Space},
};
use crate::{error::StateError, store::Snapshot};

/// What a walk found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Walked {
    /// Nodes that are rows of their own.
    pub(crate) rows: u64,
    /// Keys.
    pub(crate) leaves: u64,
}

/// Gets a hashed key and its value.
type Visit<'a> = &'a mut dyn FnMut(B256, &[u8]) -> Result<(), StateError>;

/// Reads the trie with `root`; `visit` gets every key with its value.
pub(crate) fn walk(
    snapshot: &dyn Snapshot,
    space: Space,
    root: B256,
    visit: Visit<'_>,
) -> Result<Walked, StateError> {
    let mut walk = Walk { snapshot, space, visit, walked: Walked::default() };
    walk.run(&Link::Stored(root), Nibbles::new())?;
    Ok(walk.walked)
}

struct Walk<'a> {
    snapshot: &'a dyn Snapshot,
    space: Space,
    visit: Visit<'a>,
    walked: Walked,
}

impl Walk<'_> {
    /// Depth of the recursion: at most 64, the nibbles of a key.
    fn run(&mut self, link: &Link, path: Nibbles) -> Result<(), StateError> {
        let loaded;
        let kind = match link {
            Link::Node(node) => &node.kind,
            Link::Stored(hash) => {
                self.walked.rows += 1;
                loaded = source::load(self.snapshot, self.space, &path, *hash)?;
                &loaded.kind
            }
        };
        match kind {
            Kind::Leaf { key, value } => {
                let key = path.join(key);
                if key.len() != 64 {
                    return Err(self.corrupt(&path, "the key of a leaf is not 32 bytes"));
                }
                self.walked.leaves += 1;
                (self.visit)(B256::from_slice(&key.pack()), value)
            }
            Kind::Extension { key, child } => self.run(child, path.join(key)),
            Kind::Branch(branch) => {
                for (nibble, child) in branch.iter() {
                    let mut below = path;
                    below.push(nibble);
                    self.run(child, below)?;
                }
                Ok(())
            }
        }
    }

    fn corrupt(&self, path: &Nibbles, reason: &'static str) -> StateError {
        StateError::CorruptRow {
            family: crate::store::Family::Nodes.name(),
            key: self.space.key(path),
            reason,
        }
    }
}
