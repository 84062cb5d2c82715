//! The store in memory: rows with versions, of which a snapshot sees those of its time.
//!
//! A write adds versions that nobody sees, row by row, and then publishes them all by one number
//! (S1); a snapshot is that number, pinned (S2). So neither copies what is there, and readers wait
//! for one row at most, whatever a batch holds. Snapshots free nothing: what the oldest of them no
//! longer sees goes with a later write, on the writer's thread.
//!
//! # Bounds
//!
//! A row has as many versions as writes changed it since the oldest snapshot, and one. A write
//! sweeps at most twice the versions that it adds, and [`SWEPT_MIN`] more, so that the end of a
//! snapshot that was long held is paid for in pieces.

use std::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    mem,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use super::{Batch, Family, Op, Range, Row, Snapshot, Store, Sync};
use crate::{error::StoreError, limits::SCAN_ROWS_MAX};

/// Versions that a write sweeps, whatever it adds.
const SWEPT_MIN: usize = 64;

/// Number of a write; each sees what those before it left.
type Sequence = u64;

/// What a row was set to.
struct Version {
    by: Sequence,
    /// `None`: deleted.
    value: Option<Box<[u8]>>,
}

/// A row through time.
struct Versions {
    newest: Version,
    /// From the oldest on.
    older: Vec<Version>,
}

type Table = BTreeMap<Arc<[u8]>, Versions>;

/// A version that is superseded: nobody sees it once all snapshots are of `since` or later.
struct Superseded {
    since: Sequence,
    family: Family,
    key: Arc<[u8]>,
}

/// What snapshots there are.
#[derive(Default)]
struct Pins {
    published: Sequence,
    /// Snapshots by what they see.
    held: BTreeMap<Sequence, usize>,
}

#[derive(Default)]
struct Content {
    families: [RwLock<Table>; Family::ALL.len()],
    pins: Mutex<Pins>,
    /// In order of `since`. Who holds it is the writer.
    superseded: Mutex<VecDeque<Superseded>>,
}

/// The store in memory. Lost when dropped.
#[derive(Default)]
pub struct Memory {
    content: Arc<Content>,
}

impl Memory {
    /// Makes an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Versions of all rows, seen or not.
    #[cfg(test)]
    pub(super) fn versions(&self) -> usize {
        let tables = Family::ALL.into_iter().map(|family| self.content.table(family));
        tables.map(|table| table.values().map(|row| 1 + row.older.len()).sum::<usize>()).sum()
    }
}

impl Store for Memory {
    fn snapshot(&self) -> Arc<dyn Snapshot> {
        let sees = self.content.pins().pin();
        Arc::new(Pinned { content: Arc::clone(&self.content), sees })
    }

    fn write(&self, batch: &Batch, _sync: Sync) -> Result<(), StoreError> {
        let content = &self.content;
        let mut superseded = content.superseded.lock().expect(NO_PANIC);
        let by = content.pins().published + 1;
        let before = superseded.len();
        for op in batch.ops() {
            superseded.extend(set(&mut content.table_mut(op.family), op, by));
        }
        let added = superseded.len() - before;
        let oldest = content.pins().publish(by);
        for _ in 0..SWEPT_MIN.saturating_add(2 * added) {
            let Some(Superseded { family, key, .. }) =
                superseded.pop_front_if(|next| next.since <= oldest)
            else {
                break;
            };
            sweep(&mut content.table_mut(family), key, oldest);
        }
        Ok(())
    }
}

const NO_PANIC: &str = "nobody panics between changes";

impl Content {
    fn pins(&self) -> MutexGuard<'_, Pins> {
        self.pins.lock().expect(NO_PANIC)
    }

    fn table(&self, family: Family) -> RwLockReadGuard<'_, Table> {
        self.families[family as usize].read().expect(NO_PANIC)
    }

    fn table_mut(&self, family: Family) -> RwLockWriteGuard<'_, Table> {
        self.families[family as usize].write().expect(NO_PANIC)
    }
}

impl Pins {
    fn pin(&mut self) -> Sequence {
        *self.held.entry(self.published).or_default() += 1;
        self.published
    }

    fn unpin(&mut self, sees: Sequence) {
        if let Entry::Occupied(mut held) = self.held.entry(sees) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }

    /// Returns what the oldest snapshot sees, or the next one.
    fn publish(&mut self, by: Sequence) -> Sequence {
        self.published = by;
        self.held.first_key_value().map_or(by, |(oldest, _)| *oldest)
    }
}

impl Versions {
    fn seen_by(&self, sees: Sequence) -> Option<&[u8]> {
        let versions = std::iter::once(&self.newest).chain(self.older.iter().rev());
        let mut seen = versions.skip_while(|version| version.by > sees);
        seen.next()?.value.as_deref()
    }
}

/// Sets a row for those who see `by`; returns what is superseded.
fn set(table: &mut Table, op: Op<'_>, by: Sequence) -> Option<Superseded> {
    let newest = Version { by, value: op.value.map(Into::into) };
    match table.entry(op.key.into()) {
        Entry::Vacant(vacant) => {
            if newest.value.is_some() {
                vacant.insert(Versions { newest, older: Vec::new() });
            }
            None
        }
        Entry::Occupied(mut row) => {
            let former = mem::replace(&mut row.get_mut().newest, newest);
            // Of two changes of one batch the later wins. It superseded what was there as well,
            // unless the row is new: then it is superseded by being deleted.
            if former.by < by {
                row.get_mut().older.push(former);
            } else if op.value.is_some() {
                return None;
            }
            Some(Superseded { since: by, family: op.family, key: Arc::clone(row.key()) })
        }
    }
}

/// Drops the versions of a row that nobody sees who sees `oldest`, and the row with the last.
fn sweep(table: &mut Table, key: Arc<[u8]>, oldest: Sequence) {
    let Entry::Occupied(mut row) = table.entry(key) else { return };
    let Versions { newest, older } = row.get_mut();
    if newest.by > oldest {
        let seen = older.partition_point(|version| version.by <= oldest);
        older.drain(..seen.saturating_sub(1));
        return;
    }
    *older = Vec::new();
    if newest.value.is_none() {
        row.remove();
    }
}

/// The content as of one write.
struct Pinned {
    content: Arc<Content>,
    sees: Sequence,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.content.pins().unpin(self.sees);
    }
}

impl Snapshot for Pinned {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let table = self.content.table(family);
        Ok(table.get(key).and_then(|row| row.seen_by(self.sees)).map(<[u8]>::to_vec))
    }

    fn scan(&self, family: Family, range: Range<'_>) -> Result<Vec<Row>, StoreError> {
        let from = range.from.max(range.prefix);
        let table = self.content.table(family);
        let rows = table
            .range::<[u8], _>((Bound::Included(from), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(range.prefix))
            .filter_map(|(key, row)| Some((key, row.seen_by(self.sees)?)))
            .take(range.rows_max.min(SCAN_ROWS_MAX))
            .map(|(key, value)| (key.to_vec(), value.to_vec()));
        Ok(rows.collect())
    }
}
