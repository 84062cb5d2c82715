//! Timers of one system: what is to be done when, in order of time and then of setting.
//!
//! A wheel for each worker, so that setting and cancelling seldom meet: who sets a timer on a
//! worker takes that one's, others take turns. A worker looks at its own before every turn, and at
//! all when it has nothing to do and every tick, since a turn may be long.

use std::sync::{
    PoisonError,
    atomic::{AtomicUsize as Count, Ordering},
};

use crossbeam_utils::CachePadded;

use self::wheel::{Key, Wheel};
use crate::{
    cell::quietly,
    scheduler,
    sync::coarse::{AtomicU64, Mutex, MutexGuard},
    time::Time,
};

mod wheel;

/// A timer that was set. Firing or cancelling it twice does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId {
    key: Key,
    place: usize,
}

type Due = Box<dyn FnOnce() + Send>;

/// One wheel, of one worker.
struct Place {
    wheel: Mutex<Wheel<Due>>,
    /// When to look into the wheel; `u64::MAX` if it is empty. Read at every dispatch, so not
    /// behind the lock.
    first: AtomicU64,
}

impl Place {
    fn new() -> Self {
        Self { wheel: Mutex::new(Wheel::new()), first: AtomicU64::new(u64::MAX) }
    }

    fn lock(&self) -> MutexGuard<'_, Wheel<Due>> {
        // Nothing of the user's runs under the lock.
        self.wheel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says when to look next. True if that is earlier than before.
    fn publish(&self, wheel: &Wheel<Due>) -> bool {
        let first = wheel.first().map_or(u64::MAX, Time::as_nanos);
        let before = self.first.load(Ordering::Relaxed);
        if first != before {
            self.first.store(first, Ordering::SeqCst);
        }
        first < before
    }

    /// Fires `most` of what is due.
    fn fire(&self, now: Time, most: usize) {
        for _ in 0..most {
            let mut wheel = self.lock();
            let due = wheel.pop(now);
            self.publish(&wheel);
            drop(wheel);
            let Some(due) = due else { return };
            // It may wake, by a waker that is the user's.
            quietly(due);
        }
    }
}

pub(crate) struct Timers {
    places: Box<[CachePadded<Place>]>,
    /// How many were set from outside the workers.
    from_outside: Count,
}

impl Timers {
    /// With so many wheels.
    pub(crate) fn new(places: usize) -> Self {
        assert!(places > 0, "a timer has to be somewhere");
        let places = (0..places).map(|_| CachePadded::new(Place::new())).collect();
        Self { places, from_outside: Count::new(0) }
    }

    /// Sets a timer. O(1). True if its wheel is to be looked at earlier than before.
    pub(crate) fn set(&self, at: Time, due: Due) -> (TimerId, bool) {
        let place = match scheduler::worker_index() {
            Some(index) => index % self.places.len(),
            None if self.places.len() == 1 => 0,
            None => self.from_outside.fetch_add(1, Ordering::Relaxed) % self.places.len(),
        };
        let here = &self.places[place];
        let mut wheel = here.lock();
        let key = wheel.set(at, due);
        let is_earlier = here.publish(&wheel);
        (TimerId { key, place }, is_earlier)
    }

    /// Forgets a timer. O(1).
    pub(crate) fn cancel(&self, id: TimerId) {
        let Some(here) = self.places.get(id.place) else { return };
        let mut wheel = here.lock();
        let due = wheel.cancel(id.key);
        here.publish(&wheel);
        drop(wheel);
        // Its closure holds an address, whose last drop runs code of the user's.
        drop(due);
    }

    /// When to look into the wheels at the latest: not after the first timer is due.
    pub(crate) fn look_at(&self) -> Option<Time> {
        let first = self.places.iter().map(|place| place.first.load(Ordering::SeqCst)).min();
        first.filter(|&first| first != u64::MAX).map(Time::from_nanos)
    }

    /// When the first timer is due. O(n) of those near it.
    pub(crate) fn first(&self) -> Option<Time> {
        self.places.iter().filter_map(|place| place.lock().first_exact()).min()
    }

    /// True if wheel number `place` is to be looked into.
    #[inline]
    pub(crate) fn is_due(&self, place: usize, now: Time) -> bool {
        self.places[place].first.load(Ordering::Relaxed) <= now.as_nanos()
    }

    /// Fires `most` of what is due in wheel number `place`, in order. What is left stays due.
    pub(crate) fn fire_in(&self, place: usize, now: Time, most: usize) {
        self.places[place].fire(now, most);
    }

    /// Fires what is due, `most` in each wheel; in order where there is one.
    pub(crate) fn fire(&self, now: Time, most: usize) {
        for place in 0..self.places.len() {
            if self.is_due(place, now) {
                self.fire_in(place, now, most);
            }
        }
    }

    /// Drops all timers, when the system stops.
    pub(crate) fn clear(&self) {
        for place in &self.places {
            let mut wheel = place.lock();
            let dropped = wheel.clear();
            place.publish(&wheel);
            drop(wheel);
            drop(dropped);
        }
    }
}
