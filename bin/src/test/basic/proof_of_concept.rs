//! First blocks as they were in April 2014, in the fifth proof of concept.
//!
//! No node of today has such a block. Its header has a least price of gas and neither a root of
//! receipts nor a bloom; its state has addresses for keys, not their hashes, and in the leaves
//! lists instead of strings. So it is put together here, from the encodings that the node's tries
//! and blocks are made of; and the node itself must not take it for a block.
//!
//! Source: pyethereum at commit f04b10f6, `blocks.py` and `trie.py`.

use std::collections::BTreeMap;

use alloy_consensus::EMPTY_OMMER_ROOT_HASH;
use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use alloy_rlp::{Encodable, Header};
use alloy_trie::{
    Nibbles, TrieMask,
    nodes::{BranchNode, ExtensionNode, RlpNode, encode_path_leaf},
};
use evenkeel_chain::SealedBlock;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::test::tally::expect;

const DIFFICULTY: u64 = 1 << 22;
/// Wei for a unit of gas, at least.
const GAS_PRICE_MIN: u64 = 1_000_000_000_000_000;
const GAS_LIMIT: u64 = 1_000_000;

/// Balances, and the block that has them.
#[derive(Deserialize)]
pub(super) struct FirstBlockTest<'a> {
    /// Numbers that need more than 64 bits.
    #[serde(borrow)]
    inputs: BTreeMap<&'a str, &'a RawValue>,
    result: String,
}

impl FirstBlockTest<'_> {
    pub(super) fn check(&self) -> Result<(), String> {
        let mut balances = BTreeMap::new();
        for (address, balance) in &self.inputs {
            let address: Address = address.parse().map_err(|_| format!("no address: {address}"))?;
            let balance = U256::from_str_radix(balance.get(), 10);
            balances.insert(address, balance.map_err(|error| format!("{address}: {error}"))?);
        }
        let result = hex::decode(&self.result).map_err(|error| error.to_string())?;
        if SealedBlock::decode_rlp(&result).is_ok() {
            return Err("taken for a block of today, expected it to be refused".to_owned());
        }
        expect("block", Bytes::from(encode(&balances)?), Bytes::from(result))
    }
}

/// The block with this state.
fn encode(balances: &BTreeMap<Address, U256>) -> Result<Vec<u8>, String> {
    let root = state_root(balances)?;
    let root = root.as_ref().map_or(&[][..], |root| root.as_slice());
    let nonce = keccak256([42]);
    let header: [&dyn Encodable; 13] = [
        &B256::ZERO,
        &EMPTY_OMMER_ROOT_HASH,
        &Address::ZERO,
        &root,
        &"", // root of the transactions
        &DIFFICULTY,
        &0_u64, // number
        &GAS_PRICE_MIN,
        &GAS_LIMIT,
        &0_u64, // gas used
        &0_u64, // time
        &"",    // extra data
        &nonce,
    ];
    let mut block = list(&header);
    // No transactions, no ommers.
    block.extend([alloy_rlp::EMPTY_LIST_CODE; 2]);
    let mut out = Vec::new();
    Header { list: true, payload_length: block.len() }.encode(&mut out);
    out.extend(block);
    Ok(out)
}

/// The root of the state; there was none of an empty one.
fn state_root(balances: &BTreeMap<Address, U256>) -> Result<Option<B256>, String> {
    let leaves: Vec<_> =
        balances.iter().map(|(at, balance)| (Nibbles::unpack(at), *balance)).collect();
    if leaves.is_empty() {
        return Ok(None);
    }
    let root = node(&leaves, 0).as_hash();
    // It was once the node itself, and once not.
    let root = root.ok_or("no test says what the root of a state is that takes less than 32 bytes");
    Ok(Some(root?))
}

/// The node with the leaves, which are the same up to `depth`: its hash, or itself if it is short.
///
/// Recursive: as deep as an address has nibbles.
fn node(leaves: &[(Nibbles, U256)], depth: usize) -> RlpNode {
    let ((first, balance), (last, _)) = (&leaves[0], &leaves[leaves.len() - 1]);
    if leaves.len() == 1 {
        let mut payload = Vec::new();
        encode_path_leaf(&first.slice(depth..), true).as_slice().encode(&mut payload);
        // Without a nonce, code and storage.
        payload.extend(list(&[&"", balance, &"", &""]));
        let mut leaf = Vec::new();
        Header { list: true, payload_length: payload.len() }.encode(&mut leaf);
        leaf.extend(payload);
        return RlpNode::from_rlp(&leaf);
    }
    // They are in order.
    let fork = first.common_prefix_length(last);
    if fork > depth {
        let extension = ExtensionNode::new(first.slice(depth..fork), node(leaves, fork));
        return RlpNode::from_rlp(&alloy_rlp::encode(extension));
    }
    let (mut children, mut mask) = (Vec::new(), TrieMask::default());
    let nibble = |leaf: &(Nibbles, U256)| leaf.0.get_unchecked(depth);
    for below in leaves.chunk_by(|one, next| nibble(one) == nibble(next)) {
        children.push(node(below, depth + 1));
        mask.set_bit(nibble(&below[0]));
    }
    RlpNode::from_rlp(&alloy_rlp::encode(BranchNode::new(children, mask)))
}

fn list(items: &[&dyn Encodable]) -> Vec<u8> {
    let mut out = Vec::new();
    alloy_rlp::encode_list::<_, dyn Encodable>(items, &mut out);
    out
}
