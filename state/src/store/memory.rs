//! The store in memory: rows with versions, of which a snapshot sees those of its time.
//!
//! A write adds versions that nobody sees and then publishes them all by one number (S1); a
//! snapshot is that number, pinned (S2). So neither copies what is there, and the writer holds a
//! table for [`RUN_ROWS`] rows at a time, whatever a batch holds. While the store lives snapshots
//! free nothing: what the oldest of them no longer sees goes with a later write, on the writer's
//! thread.
//!
//! # Bounds
//!
//! A write leaves a row that it sets with at most as many versions as there are snapshots, and two;
//! other rows keep what they have until the oldest snapshot goes. It sweeps twice the rows that are
//! to be swept from now on, or an eighth of those that wait and [`SWEPT_MIN`] more, of these no
//! more than [`SWEPT_MAX`]: so the end of a snapshot that was long held is paid for in pieces.

use std::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    mem,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use super::{Batch, Family, Op, Range, Row, Snapshot, Store, Sync};
use crate::{error::StoreError, limits::SCAN_ROWS_MAX};

/// Rows that a write sweeps, whatever it adds.
const SWEPT_MIN: usize = 64;
/// Rows that it sweeps at most, each some 200 ns (a guess), unless half as many are new.
const SWEPT_MAX: usize = 16_384;
/// Rows that the writer changes while readers of their table wait, each some 300 ns (a guess): a
/// writer that let go of each of them would wait for readers as often.
const RUN_ROWS: usize = 32;

/// Number of a write; each sees what those before it left.
type Sequence = u64;

/// What a row was set to.
struct Version {
    by: Sequence,
    /// `None`: deleted.
    value: Option<Box<[u8]>>,
}

/// A row through time. While it has older versions, or is deleted, it is to be swept.
struct Versions {
    newest: Version,
    /// From the oldest on.
    older: Vec<Version>,
}

type Table = BTreeMap<Arc<[u8]>, Versions>;

/// A row to sweep, once all snapshots are of `since` or later.
struct Unswept {
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
    /// In order of `since`; a row that one batch has deleted and set may be there twice. Who holds
    /// it is the writer.
    unswept: Mutex<VecDeque<Unswept>>,
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

    /// Versions of each row, seen or not.
    #[cfg(test)]
    pub(super) fn versions(&self) -> Vec<usize> {
        let tables = Family::ALL.into_iter().map(|family| self.content.table(family));
        let count = |table: RwLockReadGuard<'_, Table>| {
            table.values().map(|row| 1 + row.older.len()).collect::<Vec<_>>()
        };
        tables.flat_map(count).collect()
    }
}

impl Store for Memory {
    fn snapshot(&self) -> Arc<dyn Snapshot> {
        let sees = self.content.pins().pin();
        Arc::new(Pinned { content: Arc::clone(&self.content), sees })
    }

    fn write(&self, batch: &Batch, _sync: Sync) -> Result<(), StoreError> {
        let content = &self.content;
        let mut unswept = content.unswept.lock().expect(NO_PANIC);
        let (by, held) = content.pins().next();
        let before = unswept.len();
        let mut ops = batch.ops().peekable();
        while let Some(family) = ops.peek().map(|op| op.family) {
            let mut table = content.table_mut(family);
            let run = std::iter::from_fn(|| ops.next_if(|op| op.family == family));
            for op in run.take(RUN_ROWS) {
                let key = set(&mut table, op, by, &held);
                unswept.extend(key.map(|key| Unswept { since: by, family, key }));
            }
        }
        let added = unswept.len() - before;
        let oldest = content.pins().publish(by);
        let budget = (SWEPT_MIN + unswept.len() / 8).min(SWEPT_MAX).max(2 * added);
        for _ in 0..budget {
            let next = unswept.pop_front_if(|next| next.since <= oldest);
            let Some(Unswept { family, key, .. }) = next else { break };
            let key = sweep(&mut content.table_mut(family), key, oldest);
            unswept.extend(key.map(|key| Unswept { since: by, family, key }));
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

    /// The number of the next write, and what snapshots see, in order. One that is made during the
    /// write sees all before it.
    fn next(&self) -> (Sequence, Vec<Sequence>) {
        (self.published + 1, self.held.keys().copied().collect())
    }

    /// Returns what the oldest snapshot sees, or the next one.
    fn publish(&mut self, by: Sequence) -> Sequence {
        self.published = by;
        self.held.first_key_value().map_or(by, |(oldest, _)| *oldest)
    }
}

impl Versions {
    fn seen_by(&self, sees: Sequence) -> Option<&[u8]> {
        let version = if self.newest.by <= sees {
            Some(&self.newest)
        } else {
            self.older
                .partition_point(|version| version.by <= sees)
                .checked_sub(1)
                .map(|n| &self.older[n])
        };
        version?.value.as_deref()
    }

    const fn is_to_be_swept(&self) -> bool {
        !self.older.is_empty() || self.newest.value.is_none()
    }

    /// Keeps what `newest` has replaced, and drops what no snapshot sees if there is more than all
    /// can see.
    fn keep(&mut self, former: Version, held: &[Sequence]) {
        self.older.push(former);
        if self.older.len() <= held.len() + 1 {
            return;
        }
        let numbers: Vec<Sequence> = self.older.iter().map(|version| version.by).collect();
        let number_of_seen = |by: Sequence| held.partition_point(|sees| *sees < by);
        let mut index = 0;
        self.older.retain(|version| {
            index += 1;
            // The last may be seen by a snapshot that is not made yet.
            let until = numbers.get(index);
            until.is_none_or(|until| number_of_seen(version.by) < number_of_seen(*until))
        });
    }
}

/// Sets a row for those who see `by`; returns its key if it has to be swept from now on.
fn set(table: &mut Table, op: Op<'_>, by: Sequence, held: &[Sequence]) -> Option<Arc<[u8]>> {
    let newest = Version { by, value: op.value.map(Into::into) };
    match table.entry(op.key.into()) {
        Entry::Vacant(vacant) => {
            if newest.value.is_some() {
                vacant.insert(Versions { newest, older: Vec::new() });
            }
            None
        }
        Entry::Occupied(mut row) => {
            let versions = row.get_mut();
            let was_to_be_swept = versions.is_to_be_swept();
            let former = mem::replace(&mut versions.newest, newest);
            // Of two changes of one batch the later wins.
            if former.by < by {
                versions.keep(former, held);
            }
            let is_new = !was_to_be_swept && versions.is_to_be_swept();
            is_new.then(|| Arc::clone(row.key()))
        }
    }
}

/// Drops the versions of a row that nobody sees who sees `oldest` or later, and the row with the
/// last; returns the key if it has to be swept again.
fn sweep(table: &mut Table, key: Arc<[u8]>, oldest: Sequence) -> Option<Arc<[u8]>> {
    let Entry::Occupied(mut row) = table.entry(key) else { return None };
    let Versions { newest, older } = row.get_mut();
    if newest.by > oldest {
        let seen = older.partition_point(|version| version.by <= oldest);
        older.drain(..seen.saturating_sub(1));
    } else {
        *older = Vec::new();
        if newest.value.is_none() {
            row.remove();
            return None;
        }
    }
    row.get().is_to_be_swept().then(|| Arc::clone(row.key()))
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
