//! The newest blobs that came into the pool, for who asks for one by its hash; they stay when
//! their transaction is mined.
//!
//! Pure.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use alloy_primitives::B256;
use evenkeel_chain::{BlobSidecar, RecoveredTx};

use crate::limits::BLOBS_BYTES_MAX;

/// Blobs by versioned hash and by transaction; the oldest go first.
#[derive(Default)]
pub(crate) struct Blobs {
    by_tx: BTreeMap<B256, Arc<BlobSidecar>>,
    /// The last transaction that brought it, and its place there.
    by_hash: BTreeMap<B256, (B256, usize)>,
    order: VecDeque<(B256, usize)>,
    bytes: usize,
}

impl Blobs {
    /// Keeps the blobs of `tx`, if it has some.
    pub(crate) fn keep(&mut self, tx: &RecoveredTx) {
        let Some(sidecar) = tx.sidecar() else { return };
        if self.by_tx.insert(*tx.hash(), Arc::clone(sidecar)).is_some() {
            return;
        }
        for (index, hash) in sidecar.versioned_hashes().enumerate() {
            self.by_hash.insert(hash, (*tx.hash(), index));
        }
        let bytes = tx.waiting_bytes() - tx.size_bytes();
        self.order.push_back((*tx.hash(), bytes));
        self.bytes += bytes;
        while self.bytes > BLOBS_BYTES_MAX {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((tx, bytes)) = self.order.pop_front() else { return };
        self.bytes -= bytes;
        let Some(sidecar) = self.by_tx.remove(&tx) else { return };
        for hash in sidecar.versioned_hashes() {
            // A later transaction may have brought the same blob.
            if self.by_hash.get(&hash).is_some_and(|(by, _)| *by == tx) {
                self.by_hash.remove(&hash);
            }
        }
    }

    /// The blobs that the one with this hash came with, and its place among them.
    pub(crate) fn blob(&self, hash: &B256) -> Option<(Arc<BlobSidecar>, usize)> {
        let (tx, index) = self.by_hash.get(hash)?;
        Some((Arc::clone(self.by_tx.get(tx)?), *index))
    }

    /// All blobs of a transaction.
    pub(crate) fn of_tx(&self, tx: &B256) -> Option<Arc<BlobSidecar>> {
        self.by_tx.get(tx).cloned()
    }
}
