//! Hashes the dirty nodes of a trie, children first, in slices.

use std::sync::Arc;

use alloy_trie::{Nibbles, nodes::RlpNode};

use super::{
    edit::Rows,
    node::{Kind, Link, encode},
    source::Space,
};

/// Hashes dirty nodes and collects their rows until `work` reaches `work_max`.
pub(super) struct Hashing<'a> {
    pub(super) space: Space,
    pub(super) rows: &'a mut Rows,
    pub(super) work: &'a mut usize,
    pub(super) work_max: usize,
    /// Reused for every encoding.
    pub(super) buffer: &'a mut Vec<u8>,
}

impl Hashing<'_> {
    /// Returns true when nothing dirty is left below `link`.
    ///
    /// Where it stopped needs no memory: hashed nodes are clean, and the next call passes them by.
    /// Depth of the recursion: at most 64, the nibbles of a key.
    pub(super) fn run(&mut self, link: &mut Link, path: Nibbles) -> bool {
        let Link::Node(node) = link else { return true };
        if node.reference.is_some() {
            return true;
        }
        let node = Arc::get_mut(node).expect("T4: dirty nodes belong to one update");
        match &mut node.kind {
            Kind::Leaf { .. } => {}
            Kind::Extension { key, child } => {
                if !self.run(child, path.join(key)) {
                    return false;
                }
            }
            Kind::Branch(branch) => {
                for (nibble, child) in branch.iter_mut() {
                    let mut below = path;
                    below.push(nibble);
                    if !self.run(child, below) {
                        return false;
                    }
                }
            }
        }
        if *self.work >= self.work_max {
            return false;
        }
        *self.work += 1;
        self.buffer.clear();
        encode(&node.kind, self.buffer);
        let reference = RlpNode::from_rlp(self.buffer);
        if reference.is_hash() {
            self.rows.push((self.space.key(&path), Some(self.buffer.clone())));
        } else if node.has_row {
            // It is part of its parent's row now.
            self.rows.push((self.space.key(&path), None));
        }
        node.reference = Some(reference);
        true
    }
}
