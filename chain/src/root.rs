//! The root of a Merkle Patricia trie that is made at once and kept nowhere.
//!
//! Pure. Source: yellow paper, appendix D. For `evenkeel test trie`: there a key may be the
//! beginning of another, which no key of the node's tries is. The roots of lists are alloy's, whose
//! builder knows no values in branches; the state has its own trie, which goes from block to block.

use std::collections::BTreeMap;

use alloy_consensus::constants::EMPTY_ROOT_HASH;
use alloy_primitives::{B256, keccak256};
use alloy_rlp::{Encodable, Header};

/// Values by the nibbles of their keys, in order.
type Items = [(Vec<u8>, Vec<u8>)];

/// Root of the trie with these keys and values. Keys may have any length, also that of the
/// beginning of another. O(n log n) in their number.
#[must_use]
pub fn trie_root(items: BTreeMap<Vec<u8>, Vec<u8>>) -> B256 {
    if items.is_empty() {
        return EMPTY_ROOT_HASH;
    }
    let nibbles = |key: Vec<u8>| key.iter().flat_map(|byte| [byte >> 4, byte & 0xf]).collect();
    // The order of keys is that of their nibbles.
    let items: Vec<_> = items.into_iter().map(|(key, value)| (nibbles(key), value)).collect();
    keccak256(node(&items, 0))
}

/// Encoding of the node above all of `items`, which agree in their first `depth` nibbles. Depth of
/// the recursion: at most the nibbles of the longest key.
fn node(items: &Items, depth: usize) -> Vec<u8> {
    let (first, last) = (&items[0], &items[items.len() - 1]);
    if items.len() == 1 {
        return list(&[string(&path(&first.0[depth..], true)), string(&first.1)]);
    }
    let agreed = first.0[depth..].iter().zip(&last.0[depth..]).take_while(|(a, b)| a == b).count();
    if agreed > 0 {
        let stretch = &first.0[depth..depth + agreed];
        return list(&[string(&path(stretch, false)), reference(&node(items, depth + agreed))]);
    }
    // At most one key ends here, and it is the first.
    let (ending, mut rest) = items.split_at(usize::from(first.0.len() == depth));
    let mut children: Vec<Vec<u8>> = (0..16)
        .map(|nibble| {
            let count = rest.iter().take_while(|(key, _)| key[depth] == nibble).count();
            let (below, after) = rest.split_at(count);
            rest = after;
            if below.is_empty() { string(&[]) } else { reference(&node(below, depth + 1)) }
        })
        .collect();
    children.push(string(ending.first().map_or(&[], |(_, value)| value)));
    list(&children)
}

/// Nibbles in pairs, behind a flag that says whether they are odd and whether a value follows.
fn path(nibbles: &[u8], is_leaf: bool) -> Vec<u8> {
    let flag = if is_leaf { 2 } else { 0 };
    let (odd, even) = nibbles.split_at(nibbles.len() % 2);
    let first = odd.first().map_or(flag << 4, |nibble| (flag + 1) << 4 | nibble);
    std::iter::once(first).chain(even.chunks(2).map(|pair| pair[0] << 4 | pair[1])).collect()
}

/// A node as its parent names it: by its hash, or as it is when that is shorter.
fn reference(node: &[u8]) -> Vec<u8> {
    if node.len() < 32 { node.to_vec() } else { string(keccak256(node).as_slice()) }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.length());
    bytes.encode(&mut out);
    out
}

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let payload_length = items.iter().map(Vec::len).sum();
    let mut out = Vec::with_capacity(payload_length + 9);
    Header { list: true, payload_length }.encode(&mut out);
    for item in items {
        out.extend_from_slice(item);
    }
    out
}

#[cfg(test)]
mod tests {
    use alloy_trie::root::ordered_trie_root_with_encoder;
    use proptest::prelude::*;

    use super::trie_root;

    proptest! {
        /// Goal: of lists by index it is alloy's, the oracle, at every length and size of items.
        #[test]
        fn lists_have_the_oracles_root(
            items in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..80), 0..300),
        ) {
            let encode = |item: &Vec<u8>, out: &mut Vec<u8>| out.extend_from_slice(item);
            let oracle = ordered_trie_root_with_encoder(&items, encode);
            let by_index = |(at, item): (usize, Vec<u8>)| (alloy_rlp::encode(at), item);
            let root = trie_root(items.into_iter().enumerate().map(by_index).collect());
            prop_assert_eq!(root, oracle);
        }
    }
}
