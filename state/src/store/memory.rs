//! The store in memory: one persistent ordered map per family, so a snapshot is a clone.

use std::{
    ops::Bound,
    sync::{Arc, RwLock},
};

use imbl::OrdMap;

use super::{Batch, Family, Range, Row, Snapshot, Store, Sync};
use crate::{error::StoreError, limits::SCAN_ROWS_MAX};

type Map = OrdMap<Arc<[u8]>, Arc<[u8]>>;

/// Content of all families; a clone shares everything (S2).
#[derive(Clone, Default)]
struct Content {
    families: [Map; Family::ALL.len()],
}

/// The store in memory. Lost when dropped.
#[derive(Default)]
pub struct Memory {
    content: RwLock<Content>,
}

impl Memory {
    /// Makes an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Store for Memory {
    fn snapshot(&self) -> Arc<dyn Snapshot> {
        let content = self.content.read().expect("no writer panics between its changes");
        Arc::new(content.clone())
    }

    fn write(&self, batch: &Batch, _sync: Sync) -> Result<(), StoreError> {
        // S1: readers wait until all changes are in.
        let mut content = self.content.write().expect("no writer panics between its changes");
        for op in batch.ops() {
            let map = &mut content.families[op.family as usize];
            match op.value {
                Some(value) => map.insert(op.key.into(), value.into()),
                None => map.remove(op.key),
            };
        }
        Ok(())
    }
}

impl Snapshot for Content {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.families[family as usize].get(key).map(|value| value.to_vec()))
    }

    fn scan(&self, family: Family, range: Range<'_>) -> Result<Vec<Row>, StoreError> {
        let from = range.from.max(range.prefix);
        let rows = self.families[family as usize]
            .range::<_, [u8]>((Bound::Included(from), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(range.prefix))
            .take(range.rows_max.min(SCAN_ROWS_MAX))
            .map(|(key, value)| (key.to_vec(), value.to_vec()));
        Ok(rows.collect())
    }
}
