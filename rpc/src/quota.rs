//! Bounds on what all connections have at the same time.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A number of things that may be had at the same time.
#[derive(Clone)]
pub(crate) struct Quota {
    used: Arc<AtomicUsize>,
    max: usize,
}

/// Part of a quota, given back when dropped.
pub(crate) struct Taken {
    quota: Quota,
    amount: usize,
}

impl Quota {
    pub(crate) fn new(max: usize) -> Self {
        Self { used: Arc::default(), max }
    }

    /// How much of it is had now.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// `amount` of it, if there is as much.
    pub(crate) fn take(&self, amount: usize) -> Option<Taken> {
        let mut held = None;
        self.hold(&mut held, amount);
        held
    }

    /// Makes `held` hold `amount`, which is not less than before; false if there is not as much.
    pub(crate) fn hold(&self, held: &mut Option<Taken>, amount: usize) -> bool {
        let before = held.as_ref().map_or(0, |taken| taken.amount);
        assert!(amount >= before);
        let more = amount - before;
        let grow = |used: usize| used.checked_add(more).filter(|&used| used <= self.max);
        if self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow).is_err() {
            return false;
        }
        let taken = held.get_or_insert_with(|| Taken { quota: self.clone(), amount: 0 });
        taken.amount = amount;
        true
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.quota.used.fetch_sub(self.amount, Ordering::Relaxed);
    }
}
