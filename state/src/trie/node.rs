//! Nodes of the trie in memory: shared, with their reference (hash or inline encoding) cached.

use std::sync::Arc;

use alloy_primitives::B256;
use alloy_rlp::{BufMut, Decodable, EMPTY_STRING_CODE, Encodable, Header};
use alloy_trie::{
    Nibbles,
    nodes::{ExtensionNodeRef, LeafNodeRef, RlpNode, TrieNode},
};

/// How a parent knows its child.
#[derive(Clone, Debug)]
pub(super) enum Link {
    /// By hash; the node is in the store under its path.
    Stored(B256),
    /// Loaded.
    Node(Arc<Node>),
}

/// One node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// What the parent's encoding holds; `None` while the node is dirty.
    pub(super) reference: Option<RlpNode>,
    /// Version of the trie that made the node; 0 if it was loaded.
    pub(super) version: u64,
    /// Of a dirty node: whether the store has a row at its path, which is to be replaced.
    pub(super) has_row: bool,
}

/// The three kinds of node. The empty trie has none.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// End of a path with its value.
    Leaf { key: Nibbles, value: Box<[u8]> },
    /// A stretch without choice. Its child is a branch, its key is not empty.
    Extension { key: Nibbles, child: Link },
    /// Two or more children.
    Branch(Branch),
}

/// Children by nibble.
#[derive(Clone, Debug, Default)]
pub(super) struct Branch {
    mask: u16,
    links: Vec<Link>,
}

impl Link {
    /// A new dirty node at a path where the store has no row.
    pub(super) fn new(kind: Kind, version: u64) -> Self {
        Self::instead(kind, version, false)
    }

    /// A new dirty node instead of another; `has_row` says whether that had a row.
    pub(super) fn instead(kind: Kind, version: u64, has_row: bool) -> Self {
        Self::Node(Arc::new(Node { kind, reference: None, version, has_row }))
    }

    /// What the parent's encoding holds. `None` if the node is dirty.
    pub(super) fn reference(&self) -> Option<RlpNode> {
        match self {
            Self::Stored(hash) => Some(RlpNode::word_rlp(hash)),
            Self::Node(node) => node.reference.clone(),
        }
    }
}

impl Node {
    /// Hash of the node if it is a row of its own. `None` if inline or dirty.
    pub(super) fn hash(&self) -> Option<B256> {
        self.reference.as_ref().and_then(RlpNode::as_hash)
    }
}

impl Branch {
    fn position(&self, nibble: u8) -> usize {
        (self.mask & ((1 << nibble) - 1)).count_ones() as usize
    }

    fn has(&self, nibble: u8) -> bool {
        self.mask & (1 << nibble) != 0
    }

    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    pub(super) fn child_mut(&mut self, nibble: u8) -> Option<&mut Link> {
        let position = self.position(nibble);
        self.has(nibble).then(|| &mut self.links[position])
    }

    /// Adds a child where there was none.
    pub(super) fn insert(&mut self, nibble: u8, link: Link) {
        assert!(!self.has(nibble));
        self.links.insert(self.position(nibble), link);
        self.mask |= 1 << nibble;
    }

    /// Takes out a child that is there.
    pub(super) fn remove(&mut self, nibble: u8) -> Link {
        assert!(self.has(nibble));
        self.mask &= !(1 << nibble);
        self.links.remove(self.position(nibble))
    }

    /// Takes out the only child.
    pub(super) fn take_only(&mut self) -> (u8, Link) {
        assert_eq!(self.links.len(), 1);
        let nibble = u8::try_from(self.mask.trailing_zeros()).expect("the mask has a bit");
        (nibble, self.remove(nibble))
    }

    /// Children with their nibbles, in order.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u8, &mut Link)> {
        let mask = self.mask;
        (0..16).filter(move |nibble| mask & (1 << nibble) != 0).zip(self.links.iter_mut())
    }

    /// Children with their nibbles, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u8, &Link)> {
        let mask = self.mask;
        (0..16).filter(move |nibble| mask & (1 << nibble) != 0).zip(self.links.iter())
    }
}

/// Encodes a node whose children are all clean.
pub(super) fn encode(kind: &Kind, out: &mut Vec<u8>) {
    const CLEAN: &str = "children are hashed before their parent";
    match kind {
        Kind::Leaf { key, value } => LeafNodeRef { key, value }.encode(out),
        Kind::Extension { key, child } => {
            let child = child.reference().expect(CLEAN);
            ExtensionNodeRef { key, child: &child }.encode(out);
        }
        Kind::Branch(branch) => {
            let references: Vec<RlpNode> =
                branch.links.iter().map(|link| link.reference().expect(CLEAN)).collect();
            let children_bytes: usize = references.iter().map(|reference| reference.len()).sum();
            // 16 children and the value, which is always empty here.
            let payload_length = children_bytes + 17 - references.len();
            Header { list: true, payload_length }.encode(out);
            let mut references = references.iter();
            for nibble in 0..16 {
                match branch.has(nibble).then(|| references.next()).flatten() {
                    Some(reference) => out.put_slice(reference),
                    None => out.put_u8(EMPTY_STRING_CODE),
                }
            }
            out.put_u8(EMPTY_STRING_CODE);
        }
    }
}

/// Decodes a loaded node, inline descendants included. `None` if it is malformed.
///
/// An inline child is part of its parent's bytes and shorter than 32, so the recursion ends.
pub(super) fn decode(mut rlp: &[u8], reference: RlpNode) -> Option<Node> {
    let kind = match TrieNode::decode(&mut rlp).ok()? {
        TrieNode::EmptyRoot => return None,
        TrieNode::Leaf(leaf) => Kind::Leaf { key: leaf.key, value: leaf.value.into() },
        TrieNode::Extension(node) => {
            Kind::Extension { key: node.key, child: decode_link(&node.child)? }
        }
        TrieNode::Branch(node) => {
            let links: Option<Vec<Link>> = node.stack.iter().map(decode_link).collect();
            Kind::Branch(Branch { mask: node.state_mask.get(), links: links? })
        }
    };
    rlp.is_empty().then_some(Node { kind, reference: Some(reference), version: 0, has_row: false })
}

fn decode_link(reference: &RlpNode) -> Option<Link> {
    match reference.as_hash() {
        Some(hash) => Some(Link::Stored(hash)),
        None => Some(Link::Node(Arc::new(decode(reference, reference.clone())?))),
    }
}
