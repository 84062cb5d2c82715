//! Bounded caches shared by all readers: what never changes under its key.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use alloy_primitives::{B256, Bytes};
use evenkeel_chain::{Receipt, SealedBlock};

use crate::limits::{
    BLOCK_CACHE_BYTES_MAX, BLOCK_CACHE_ENTRY_BYTES, CACHE_ENTRIES_MAX, CODE_CACHE_BYTES_MAX,
};

/// Codes by hash, recent blocks and receipts by block hash.
pub(crate) struct Caches {
    codes: Mutex<Lru<Bytes>>,
    blocks: Mutex<Lru<Arc<SealedBlock>>>,
    receipts: Mutex<Lru<Arc<Vec<Receipt>>>>,
}

impl Default for Caches {
    fn default() -> Self {
        Self {
            codes: Mutex::new(Lru::new(CODE_CACHE_BYTES_MAX)),
            blocks: Mutex::new(Lru::new(BLOCK_CACHE_BYTES_MAX / 2)),
            receipts: Mutex::new(Lru::new(BLOCK_CACHE_BYTES_MAX / 2)),
        }
    }
}

fn lock<V>(lru: &Mutex<Lru<V>>) -> MutexGuard<'_, Lru<V>> {
    lru.lock().expect("nothing panics while it holds the lock")
}

impl Caches {
    pub(crate) fn code(&self, hash: B256) -> Option<Bytes> {
        lock(&self.codes).get(hash)
    }

    pub(crate) fn keep_code(&self, hash: B256, code: &Bytes) {
        lock(&self.codes).insert(hash, code.clone(), code.len());
    }

    pub(crate) fn block(&self, hash: B256) -> Option<Arc<SealedBlock>> {
        lock(&self.blocks).get(hash)
    }

    pub(crate) fn keep_block(&self, block: &Arc<SealedBlock>) {
        let bytes = BLOCK_CACHE_ENTRY_BYTES + 2 * block.size_bytes();
        lock(&self.blocks).insert(block.hash, Arc::clone(block), bytes);
    }

    pub(crate) fn receipts(&self, hash: B256) -> Option<Arc<Vec<Receipt>>> {
        lock(&self.receipts).get(hash)
    }

    pub(crate) fn keep_receipts(&self, hash: B256, receipts: &Arc<Vec<Receipt>>) {
        let logs = receipts.iter().flat_map(|receipt| &receipt.logs);
        let logs_bytes: usize = logs.map(|log| 128 + log.data.data.len()).sum();
        let bytes = BLOCK_CACHE_ENTRY_BYTES + 64 * receipts.capacity() + logs_bytes;
        lock(&self.receipts).insert(hash, Arc::clone(receipts), bytes);
    }
}

/// Least recently used goes first, by bytes.
struct Lru<V> {
    entries: BTreeMap<B256, Entry<V>>,
    /// Keys by time of last use.
    order: BTreeMap<u64, B256>,
    uses: u64,
    bytes: usize,
    bytes_max: usize,
}

struct Entry<V> {
    value: V,
    bytes: usize,
    used: u64,
}

/// What an entry costs beside its value (guess).
const ENTRY_BYTES: usize = 256;

impl<V: Clone> Lru<V> {
    fn new(bytes_max: usize) -> Self {
        Self { entries: BTreeMap::new(), order: BTreeMap::new(), uses: 0, bytes: 0, bytes_max }
    }

    fn get(&mut self, key: B256) -> Option<V> {
        let entry = self.entries.get_mut(&key)?;
        self.order.remove(&entry.used);
        self.uses += 1;
        entry.used = self.uses;
        self.order.insert(self.uses, key);
        Some(entry.value.clone())
    }

    fn insert(&mut self, key: B256, value: V, value_bytes: usize) {
        let bytes = value_bytes + ENTRY_BYTES;
        if bytes > self.bytes_max {
            return;
        }
        self.uses += 1;
        let entry = Entry { value, bytes, used: self.uses };
        if let Some(old) = self.entries.insert(key, entry) {
            self.order.remove(&old.used);
            self.bytes -= old.bytes;
        }
        self.order.insert(self.uses, key);
        self.bytes += bytes;
        while self.bytes > self.bytes_max || self.entries.len() > CACHE_ENTRIES_MAX {
            let (_, oldest) = self.order.pop_first().expect("bytes are held, so entries are");
            let old = self.entries.remove(&oldest).expect("order and entries hold the same keys");
            self.bytes -= old.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the cache never holds more than its bytes, and drops what was not used longest.
    #[test]
    fn the_oldest_goes_first() {
        let mut lru = Lru::new(3 * (ENTRY_BYTES + 10));
        let key = |n| B256::with_last_byte(n);
        for n in 0..3 {
            lru.insert(key(n), n, 10);
        }
        assert_eq!(lru.get(key(0)), Some(0));
        lru.insert(key(3), 3, 10);
        lru.insert(key(3), 4, 10);
        let held: Vec<_> = (0..4).map(|n| lru.get(key(n))).collect();
        assert_eq!(held, [Some(0), None, Some(2), Some(4)]);
        lru.insert(key(5), 5, 10_000);
        assert_eq!(lru.get(key(5)), None, "too large to be kept");
        assert_eq!(lru.entries.len(), lru.order.len());
    }
}
