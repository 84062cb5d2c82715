//! Parking of workers without lost wake-ups.
//!
//! # Invariants
//!
//! - I1: a worker says that it parks (bit set, fence) before it looks at all queues for the last
//!   time; who makes something runnable puts it there (fence) before it looks for parked workers.
//!   One of the two sees the other.
//! - I2: who clears a bit unparks that worker, and counts it as searching.
//! - I3: while a worker is counted as searching nobody else is woken; so the last one that ends a
//!   search with work of its own (fence) looks if it leaves some to others.
//! - I4: once something waits behind a turn, one of the workers that park, if there are any, looks
//!   every now and then if that turn has become long, until all park. Who lets something wait has
//!   put it there before it looks who watches; who parks says so before it looks if it is asked.

use std::time::Duration;

use crate::{
    limits::BALANCE_NS,
    sync::{
        AtomicU64, AtomicUsize, OnceLock, Ordering, Thread, current, fence, park, park_timeout,
    },
};

/// A worker that has run out of work.
pub(super) trait Searcher {
    /// Looks for work everywhere, for a moment. True if this worker has some now.
    fn finds_work(&self) -> bool;

    /// True if there is more than this worker can do next.
    fn leaves_work(&self) -> bool;

    /// True if anything is runnable anywhere, or the worker is to end.
    fn has_work(&self) -> bool;

    /// How long it may park; `None` until it is woken.
    fn timeout(&self) -> Option<Duration>;

    /// Asked of the one that watches (I4), each time it has parked: true if it is to end, a timer
    /// is due, or something waits behind a turn that has become long.
    fn is_due(&self) -> bool;

    /// Called after it has parked. False if it is to end.
    fn goes_on(&self) -> bool;
}

/// Nobody watches, and nothing has waited behind a turn since all have parked.
const NOBODY: usize = 0;
/// The next worker that parks is to watch.
const ASKED: usize = 1;
/// From here on: the number of the worker that watches.
const WATCHERS: usize = 2;
/// How long who watches parks.
const WATCH_EVERY: Duration = Duration::from_nanos(BALANCE_NS);

pub(super) struct Idle {
    /// Bit i is set while worker i parks.
    parked: AtomicU64,
    /// Workers that look for work; while there are any, nobody else need be woken.
    searching: AtomicUsize,
    /// Who watches (I4).
    watch: AtomicUsize,
    threads: Vec<OnceLock<Thread>>,
}

impl Idle {
    pub(super) fn new(workers: usize) -> Self {
        assert!(workers <= crate::limits::WORKERS_MAX, "{workers} workers do not fit in one word");
        Self {
            parked: AtomicU64::new(0),
            searching: AtomicUsize::new(0),
            watch: AtomicUsize::new(NOBODY),
            threads: (0..workers).map(|_| OnceLock::new()).collect(),
        }
    }

    /// The calling thread is worker `index`.
    pub(super) fn enlist(&self, index: usize) {
        let is_first = self.threads[index].set(current()).is_ok();
        assert!(is_first, "each worker is started once");
    }

    /// True if a worker could be woken. A hint.
    #[inline]
    pub(super) fn has_parked(&self) -> bool {
        self.parked.load(Ordering::Relaxed) != 0
    }

    /// The caller has put work where a searching worker finds it: wakes one unless one is searching
    /// already (I1).
    pub(super) fn announce(&self) {
        fence(Ordering::SeqCst);
        self.wake_one();
    }

    /// The same for who need not be sure that it is seen.
    pub(super) fn wake_one(&self) {
        let mut parked = self.parked.load(Ordering::SeqCst);
        if parked == 0 || self.searching.load(Ordering::SeqCst) > 0 {
            return;
        }
        while parked != 0 {
            let bit = parked & parked.wrapping_neg();
            let before = self.parked.fetch_and(!bit, Ordering::SeqCst);
            if before & bit != 0 {
                // I2.
                self.searching.fetch_add(1, Ordering::SeqCst);
                self.unpark(bit.trailing_zeros() as usize);
                return;
            }
            parked = before & !bit;
        }
    }

    /// Wakes all for what the caller has done before. Who parks later sees it, because the swap
    /// writes the word that it sets its bit in: so no fence (I1).
    pub(super) fn wake_all(&self) {
        let parked = self.parked.swap(0, Ordering::SeqCst);
        for index in (0..self.threads.len()).filter(|index| parked & (1 << index) != 0) {
            self.searching.fetch_add(1, Ordering::SeqCst);
            self.unpark(index);
        }
    }

    /// The caller, a worker, has let something wait behind its turn: has a worker that parks watch
    /// (I4), unless one does. After that somebody watches until the caller parks.
    pub(super) fn be_watched(&self) {
        // That it does not park any more was said before; who gives a watch up looks after that.
        fence(Ordering::SeqCst);
        if self.watch.load(Ordering::SeqCst) == NOBODY {
            self.ask();
        }
    }

    #[cold]
    fn ask(&self) {
        let order = (Ordering::SeqCst, Ordering::SeqCst);
        if self.watch.compare_exchange(NOBODY, ASKED, order.0, order.1).is_ok() {
            // Who parks has said so before it looks if it is asked.
            fence(Ordering::SeqCst);
            self.tell_asked();
        }
    }

    /// Lets one that parks see that it is asked. The last one, since the first is woken for work.
    fn tell_asked(&self) {
        if let Some(last) = self.parked.load(Ordering::SeqCst).checked_ilog2() {
            self.unpark(last as usize);
        }
    }

    fn do_all_park(&self) -> bool {
        self.parked.load(Ordering::SeqCst).count_ones() as usize == self.threads.len()
    }

    /// True if worker `index`, whose bit is set, is to watch.
    fn takes_watch(&self, index: usize) -> bool {
        let order = (Ordering::SeqCst, Ordering::SeqCst);
        let me = WATCHERS + index;
        let is_mine = self.watch.load(Ordering::SeqCst) == me
            || self.watch.compare_exchange(ASKED, me, order.0, order.1).is_ok();
        if !is_mine || !self.do_all_park() {
            return is_mine;
        }
        // Said before it looks again: who has been woken meanwhile asks, or is seen.
        self.watch.store(NOBODY, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        !self.do_all_park() && self.watch.compare_exchange(NOBODY, me, order.0, order.1).is_ok()
    }

    /// Worker `index` does not park any more: if it watched, or has been asked, another has to.
    fn leaves_watch(&self, index: usize) {
        let order = (Ordering::SeqCst, Ordering::SeqCst);
        let watched = self.watch.compare_exchange(WATCHERS + index, ASKED, order.0, order.1);
        if watched.is_ok() || watched == Err(ASKED) {
            self.tell_asked();
        }
    }

    fn unpark(&self, index: usize) {
        if let Some(thread) = self.threads[index].get() {
            thread.unpark();
        }
    }

    /// Searches on behalf of worker `index` until it has work or is to end, and parks while there
    /// is none.
    pub(super) fn search(&self, index: usize, searcher: &impl Searcher) {
        self.searching.fetch_add(1, Ordering::SeqCst);
        loop {
            let has_found = searcher.finds_work();
            let is_last = self.searching.fetch_sub(1, Ordering::SeqCst) == 1;
            if has_found {
                if is_last {
                    // I3.
                    fence(Ordering::SeqCst);
                    if searcher.leaves_work() {
                        self.wake_one();
                    }
                }
                return;
            }
            if !self.park(index, searcher) {
                self.searching.fetch_add(1, Ordering::SeqCst);
            }
            if !searcher.goes_on() {
                self.searching.fetch_sub(1, Ordering::SeqCst);
                return;
            }
        }
    }

    /// Parks worker `index` until it is woken or its time is over, unless something came (I1).
    /// True if it was woken, and so is counted as searching (I2).
    fn park(&self, index: usize, searcher: &impl Searcher) -> bool {
        let bit = 1 << index;
        self.parked.fetch_or(bit, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if !searcher.has_work() {
            while self.rest(index, searcher) {}
        }
        // If somebody else has cleared it, an unpark is on its way or has been used; one that is
        // left over ends a later park early, which does no harm.
        let is_woken = self.parked.fetch_and(!bit, Ordering::SeqCst) & bit == 0;
        self.leaves_watch(index);
        is_woken
    }

    /// Parks once. True if it is to do so again: it watches, or is asked to, and nothing is due.
    fn rest(&self, index: usize, searcher: &impl Searcher) -> bool {
        let watches = self.takes_watch(index);
        match (searcher.timeout(), watches) {
            (Some(timeout), false) => park_timeout(timeout),
            (Some(timeout), true) => park_timeout(timeout.min(WATCH_EVERY)),
            (None, true) => park_timeout(WATCH_EVERY),
            (None, false) => park(),
        }
        let is_woken = self.parked.load(Ordering::SeqCst) & (1 << index) == 0;
        !is_woken && (watches || self.watch.load(Ordering::SeqCst) == ASKED) && !searcher.is_due()
    }
}

#[cfg(all(test, evenkeel_loom))]
mod loom_tests;
