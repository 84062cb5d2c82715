//! A database in memory whose disk breaks down when a test says so.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use evenkeel_chain::{ChainSpec, DevOptions};
use evenkeel_state::{
    Database, StoreError,
    store::{Batch, Family, Memory, Range, Row, Snapshot, Store, Sync},
};

/// The store: what is read from it after the break fails.
#[derive(Default)]
pub(crate) struct BadDisk {
    store: Memory,
    is_bad: Arc<AtomicBool>,
}

struct BadSnapshot {
    snapshot: Arc<dyn Snapshot>,
    is_bad: Arc<AtomicBool>,
}

impl BadDisk {
    /// A database on such a disk, still a good one, with the genesis of a devnet.
    pub(crate) fn database() -> (Arc<Self>, Database, Arc<ChainSpec>) {
        let (disk, spec) = (Arc::new(Self::default()), ChainSpec::dev(&DevOptions::default()));
        let store: Arc<dyn Store> = Arc::<Self>::clone(&disk);
        let database = Database::open_store(store, &spec, Sync::Yes).expect("a good disk");
        (disk, database, Arc::new(spec))
    }

    pub(crate) fn break_down(&self, is_bad: bool) {
        self.is_bad.store(is_bad, Ordering::Relaxed);
    }
}

impl Store for BadDisk {
    fn snapshot(&self) -> Arc<dyn Snapshot> {
        let (snapshot, is_bad) = (self.store.snapshot(), Arc::clone(&self.is_bad));
        Arc::new(BadSnapshot { snapshot, is_bad })
    }

    fn write(&self, batch: &Batch, sync: Sync) -> Result<(), StoreError> {
        self.store.write(batch, sync)
    }
}

impl BadSnapshot {
    fn good(&self) -> Result<&dyn Snapshot, StoreError> {
        let is_bad = self.is_bad.load(Ordering::Relaxed);
        if is_bad { Err(StoreError::Injected { write: 7 }) } else { Ok(self.snapshot.as_ref()) }
    }
}

impl Snapshot for BadSnapshot {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.good()?.get(family, key)
    }

    fn scan(&self, family: Family, range: Range<'_>) -> Result<Vec<Row>, StoreError> {
        self.good()?.scan(family, range)
    }
}
