//! The living processes of a system, for statistics and shutdown. Holds none of them alive.

use std::{
    sync::{PoisonError, atomic::Ordering},
    time::Duration,
};

use crate::{
    cell::{Task, WeakTask},
    sync::{
        Condvar, Mutex, MutexGuard,
        coarse::{AtomicBool, Instant},
    },
};

/// Spawns on different threads seldom meet in one of these.
const SHARDS: u32 = 16;

#[derive(Default)]
struct Shard {
    spots: Vec<Option<WeakTask>>,
    free: Vec<u32>,
}

/// How far somebody has looked through the registry.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    shard: u32,
    place: usize,
}

pub(crate) struct Registry {
    shards: [Mutex<Shard>; SHARDS as usize],
    /// Who waits for the end of all of them.
    waiting: Mutex<()>,
    is_awaited: AtomicBool,
    is_empty: Condvar,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            shards: Default::default(),
            waiting: Mutex::new(()),
            is_awaited: AtomicBool::new(false),
            is_empty: Condvar::new(),
        }
    }

    fn shard(&self, index: u32) -> MutexGuard<'_, Shard> {
        // Only the vectors are touched under the lock.
        self.shards[index as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Processes that have been spawned and have not ended. Counted when somebody asks, so that
    /// spawns on different threads do not meet in a counter.
    pub(crate) fn live(&self) -> usize {
        let living = |index| {
            let shard = self.shard(index);
            shard.spots.len() - shard.free.len()
        };
        (0..SHARDS).map(living).sum()
    }

    /// Adds process number `id` and says its spot.
    pub(crate) fn enter(&self, id: u64, process: WeakTask) -> u32 {
        let index = u32::try_from(id % u64::from(SHARDS)).expect("a remainder of 16");
        let mut shard = self.shard(index);
        let place = if let Some(place) = shard.free.pop() {
            shard.spots[place as usize] = Some(process);
            place
        } else {
            shard.spots.push(Some(process));
            u32::try_from(shard.spots.len() - 1).expect("2^28 processes do not fit in memory")
        };
        place * SHARDS + index
    }

    pub(crate) fn leave(&self, spot: u32) {
        let (index, place) = (spot % SHARDS, spot / SHARDS);
        let mut shard = self.shard(index);
        let process = shard.spots[place as usize].take();
        shard.free.push(place);
        drop(shard);
        // The last weak reference frees the cell's memory; not under the lock.
        drop(process);
        // Who counted this one before it left had said so before: the shard's lock lies between.
        if self.is_awaited.load(Ordering::SeqCst) {
            // Under the lock, so that it does not fall between a waiter's count and its wait.
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.is_empty.notify_all();
            drop(waiting);
        }
    }

    /// Blocks until no process lives, or until the deadline.
    pub(crate) fn wait_empty(&self, deadline: Instant) {
        self.is_awaited.store(true, Ordering::SeqCst);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while self.live() > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return;
            }
            let waited = self.is_empty.wait_timeout(waiting, left);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The living processes among up to `spots_max` spots from `cursor` on, which is moved on.
    /// False if there are no more spots. O(`spots_max`), in one short lock.
    pub(crate) fn some(&self, cursor: &mut Cursor, spots_max: usize, into: &mut Vec<Task>) -> bool {
        if cursor.shard >= SHARDS {
            return false;
        }
        let shard = self.shard(cursor.shard);
        let rest = shard.spots.get(cursor.place..).unwrap_or_default();
        let looked = &rest[..rest.len().min(spots_max)];
        into.extend(looked.iter().flatten().filter_map(WeakTask::upgrade));
        cursor.place += looked.len();
        if rest.len() <= spots_max {
            *cursor = Cursor { shard: cursor.shard + 1, place: 0 };
        }
        cursor.shard < SHARDS
    }

    /// The living processes, in an order that depends on the order of spawning alone.
    pub(crate) fn all(&self) -> Vec<Task> {
        let mut all = Vec::with_capacity(self.live());
        for index in 0..SHARDS {
            // Moved out of the lock: one that is dropped may be the last holder, which leaves.
            let living: Vec<_> =
                self.shard(index).spots.iter().flatten().filter_map(WeakTask::upgrade).collect();
            all.extend(living);
        }
        all
    }
}
