//! The Merkle Patricia trie of accounts and their storage, updated block by block.
//!
//! Ours: nodes live in the store under their *path* (not their hash), so nothing is ever garbage
//! and the head's trie is all there is. In memory a [`Trie`] is a partial tree of shared nodes; a
//! child that is not loaded is known by its hash and read from the pinned snapshot when an update
//! comes by. Keys are keccak hashes (the "secure" trie), so all are 64 nibbles long and branches
//! hold no values.
//!
//! Source: Ethereum yellow paper, appendix D. Node encodings are alloy-trie's; its `HashBuilder`
//! is the oracle of the tests.
//!
//! # Invariants
//!
//! - T1: what is loaded hashes to what its parent says.
//! - T2: a node that a trie knows by hash only is in the trie's snapshot under its path.
//! - T3: the rows of an update, applied to the store of its base, give the store of its result.
//! - T4: nodes made by one update belong to it alone until it is done; older ones never change.

mod edit;
mod hash;
mod node;
mod proof;
mod secure;
mod source;
mod trim;
mod update;
mod walk;
mod witness;

pub use proof::{AccountProof, SlotProof};
pub use secure::secure_root;
pub use update::{Trie, TrieNodes, TrieStep, TrieUpdate};
pub use witness::TrieWitness;

pub(crate) use source::{Space, wiped_prefix};
pub(crate) use walk::walk;

#[cfg(test)]
mod tests;
