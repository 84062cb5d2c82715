//! The trie with values of any kind, as third-party tests have it.

use alloy_consensus::constants::EMPTY_ROOT_HASH;
use alloy_primitives::{B256, keccak256};
use alloy_trie::Nibbles;

use super::{edit::Edit, hash::Hashing, source::Space, update::put};
use crate::{
    error::StateError,
    store::{Memory, Store},
};

/// Root of the trie after these changes, one after the other, from nothing; `None` removes a key.
/// Keys are hashed, as in all tries of the state. The trie is hashed after every change, so that
/// clean and dirty nodes meet as they do from block to block. O(changes · depth).
///
/// # Errors
///
/// [`StateError`]: never, the nodes are in memory.
pub fn secure_root(changes: &[(Vec<u8>, Option<Vec<u8>>)]) -> Result<B256, StateError> {
    let snapshot = Memory::new().snapshot();
    let (mut root, mut rows, mut nodes, mut work, mut buffer) = (None, Vec::new(), 0, 0, vec![]);
    let mut hash = EMPTY_ROOT_HASH;
    for (version, (key, value)) in (1..).zip(changes) {
        let mut edit = Edit {
            snapshot: snapshot.as_ref(),
            space: Space::Accounts,
            version,
            rows: &mut rows,
            work: &mut work,
            nodes: &mut nodes,
            seen: None,
        };
        let key = Nibbles::unpack(keccak256(key));
        put(&mut edit, &mut root, &key, value.clone().map(Vec::into_boxed_slice))?;
        let Some(link) = root.as_mut() else {
            hash = EMPTY_ROOT_HASH;
            continue;
        };
        let mut hashing = Hashing {
            space: Space::Accounts,
            rows: &mut rows,
            work: &mut work,
            work_max: usize::MAX,
            buffer: &mut buffer,
        };
        let is_done = hashing.run(link, Nibbles::new());
        assert!(is_done, "the work has no end set to it");
        let reference = link.reference().expect("hashing is done");
        hash = reference.as_hash().expect("a key of 32 bytes does not fit into an inline root");
    }
    Ok(hash)
}
