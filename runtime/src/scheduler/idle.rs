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

use std::time::Duration;

use crate::sync::{
    AtomicU64, AtomicUsize, OnceLock, Ordering, Thread, current, fence, park, park_timeout,
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

    /// Called after it has parked. False if it is to end.
    fn goes_on(&self) -> bool;
}

pub(super) struct Idle {
    /// Bit i is set while worker i parks.
    parked: AtomicU64,
    /// Workers that look for work; while there are any, nobody else need be woken.
    searching: AtomicUsize,
    threads: Vec<OnceLock<Thread>>,
}

impl Idle {
    pub(super) fn new(workers: usize) -> Self {
        assert!(workers <= crate::limits::WORKERS_MAX, "{workers} workers do not fit in one word");
        Self {
            parked: AtomicU64::new(0),
            searching: AtomicUsize::new(0),
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
            match searcher.timeout() {
                Some(timeout) => park_timeout(timeout),
                None => park(),
            }
        }
        // If somebody else has cleared it, an unpark is on its way or has been used; one that is
        // left over ends a later park early, which does no harm.
        self.parked.fetch_and(!bit, Ordering::SeqCst) & bit == 0
    }
}

#[cfg(all(test, evenkeel_loom))]
mod loom_tests;
