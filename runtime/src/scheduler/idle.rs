//! Parking of workers without lost wake-ups.
//!
//! # Invariants
//!
//! - I1: a worker says that it parks (bit set, fence) before it looks at all queues for the last
//!   time; who makes something runnable puts it there (fence) before it looks for parked workers.
//!   One of the two sees the other.
//! - I2: who clears a bit unparks that worker, and counts it as searching.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering, fence},
    },
    thread::{self, Thread},
    time::Duration,
};

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
        let is_first = self.threads[index].set(thread::current()).is_ok();
        assert!(is_first, "each worker is started once");
    }

    /// True if a worker could be woken. A hint.
    #[inline]
    pub(super) fn has_parked(&self) -> bool {
        self.parked.load(Ordering::Relaxed) != 0
    }

    /// Wakes one parked worker unless one is searching already. The caller has put its work where
    /// a searching worker finds it, and fenced (I1).
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

    /// The calling worker begins to search on its own.
    pub(super) fn begin_search(&self) {
        self.searching.fetch_add(1, Ordering::SeqCst);
    }

    /// Ends a search. True if it was the last.
    pub(super) fn end_search(&self) -> bool {
        self.searching.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// Parks worker `index` until woken or for `timeout`, unless `has_work` says that something
    /// came (I1). True if it was woken, and so is counted as searching (I2).
    pub(super) fn park(
        &self,
        index: usize,
        has_work: impl FnOnce() -> bool,
        timeout: impl FnOnce() -> Option<Duration>,
    ) -> bool {
        let bit = 1 << index;
        self.parked.fetch_or(bit, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if !has_work() {
            match timeout() {
                Some(timeout) => thread::park_timeout(timeout),
                None => thread::park(),
            }
        }
        // If somebody else has cleared it, an unpark is on its way or has been used; one that is
        // left over ends a later park early, which does no harm.
        self.parked.fetch_and(!bit, Ordering::SeqCst) & bit == 0
    }
}
