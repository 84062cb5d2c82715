//! Roots of ordered lists (transactions, receipts), some items at a time. Pure.
//!
//! The trie of a list has the RLP of the index as key; items enter it in the order of their keys.

use alloy_primitives::B256;
use alloy_trie::{EMPTY_ROOT_HASH, HashBuilder, Nibbles, root::adjust_index_for_rlp};

/// The root of a list of known length on its way.
pub(super) struct OrderedRoot {
    builder: HashBuilder,
    buffer: Vec<u8>,
    next: usize,
    len: usize,
}

impl OrderedRoot {
    pub(super) fn new(len: usize) -> Self {
        Self { builder: HashBuilder::default(), buffer: Vec::new(), next: 0, len }
    }

    /// Adds one item, which `encode` writes; returns the root once all are in.
    pub(super) fn step(&mut self, encode: impl FnOnce(usize, &mut Vec<u8>)) -> Option<B256> {
        if self.len == 0 {
            return Some(EMPTY_ROOT_HASH);
        }
        if self.next == self.len {
            return Some(self.builder.root());
        }
        let index = adjust_index_for_rlp(self.next, self.len);
        self.buffer.clear();
        encode(index, &mut self.buffer);
        let key = Nibbles::unpack(alloy_rlp::encode_fixed_size(&index));
        self.builder.add_leaf(key, &self.buffer);
        self.next += 1;
        None
    }
}
