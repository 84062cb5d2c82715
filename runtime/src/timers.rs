//! Timers of one system: what is to be done when, in order of time and then of setting.

use std::{
    collections::BTreeMap,
    sync::{
        PoisonError,
        atomic::{AtomicU64 as Count, Ordering},
    },
};

use crate::{
    sync::coarse::{AtomicU64, Mutex, MutexGuard},
    time::Time,
};

/// A timer that was set. Firing or cancelling it twice does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId {
    at: Time,
    number: u64,
}

type Due = Box<dyn FnOnce() + Send>;

pub(crate) struct Timers {
    set: Mutex<BTreeMap<TimerId, Due>>,
    numbers: Count,
    /// When the first is due; `u64::MAX` if none. Read at every dispatch, so not behind the lock.
    first: AtomicU64,
}

impl Timers {
    pub(crate) const fn new() -> Self {
        Self {
            set: Mutex::new(BTreeMap::new()),
            numbers: Count::new(0),
            first: AtomicU64::new(u64::MAX),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TimerId, Due>> {
        // Nothing of the user's runs under the lock.
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a timer. O(log n). True if it is now the first.
    pub(crate) fn set(&self, at: Time, due: Due) -> (TimerId, bool) {
        let id = TimerId { at, number: self.numbers.fetch_add(1, Ordering::Relaxed) };
        let mut set = self.lock();
        set.insert(id, due);
        let is_first = at.as_nanos() < self.first.load(Ordering::Relaxed);
        if is_first {
            self.first.store(at.as_nanos(), Ordering::SeqCst);
        }
        (id, is_first)
    }

    /// Forgets a timer. O(log n).
    pub(crate) fn cancel(&self, id: TimerId) {
        let mut set = self.lock();
        let due = set.remove(&id);
        if due.is_some() && id.at.as_nanos() == self.first.load(Ordering::Relaxed) {
            self.publish_first(&set);
        }
        drop(set);
        // Its closure holds an address, whose last drop runs code of the user's.
        drop(due);
    }

    /// When the next timer is due.
    pub(crate) fn first(&self) -> Option<Time> {
        let first = self.first.load(Ordering::SeqCst);
        (first != u64::MAX).then(|| Time::from_nanos(first))
    }

    /// Fires what is due at `now`, in order.
    pub(crate) fn fire(&self, now: Time) {
        loop {
            let mut set = self.lock();
            let due = match set.first_entry() {
                Some(entry) if entry.key().at <= now => entry.remove(),
                Some(_) | None => return,
            };
            self.publish_first(&set);
            drop(set);
            due();
        }
    }

    /// Drops all timers, when the system stops.
    pub(crate) fn clear(&self) {
        let mut set = self.lock();
        let dropped = std::mem::take(&mut *set);
        self.publish_first(&set);
        drop(set);
        drop(dropped);
    }

    fn publish_first(&self, set: &BTreeMap<TimerId, Due>) {
        let first = set.first_key_value().map_or(u64::MAX, |(id, _)| id.at.as_nanos());
        self.first.store(first, Ordering::SeqCst);
    }
}
