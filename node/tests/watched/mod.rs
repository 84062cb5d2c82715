//! A store in memory whose uses a test sees, and may fail by a panic.

use std::{marker::Sync as Shared, sync::Arc};

use evenkeel_state::{
    StoreError,
    store::{Batch, Family, Memory, Range, Row, Snapshot, Store, Sync},
};

/// Sees each use before it happens.
pub(crate) trait Watch: Send + Shared + 'static {
    /// Somebody reads this key.
    fn reads(&self, key: &[u8]);

    /// Somebody writes.
    fn writes(&self) {}
}

/// The store.
pub(crate) struct WatchedStore<W>(pub(crate) Memory, pub(crate) Arc<W>);

struct WatchedSnapshot<W>(Arc<dyn Snapshot>, Arc<W>);

impl<W: Watch> Store for WatchedStore<W> {
    fn snapshot(&self) -> Arc<dyn Snapshot> {
        Arc::new(WatchedSnapshot(self.0.snapshot(), Arc::clone(&self.1)))
    }

    fn write(&self, batch: &Batch, sync: Sync) -> Result<(), StoreError> {
        self.1.writes();
        self.0.write(batch, sync)
    }
}

impl<W: Watch> Snapshot for WatchedSnapshot<W> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.1.reads(key);
        self.0.get(family, key)
    }

    fn scan(&self, family: Family, range: Range<'_>) -> Result<Vec<Row>, StoreError> {
        self.0.scan(family, range)
    }
}
