//! The times at which blocks are due.
//!
//! Pure. Slots lie on a grid, so that late blocks do not push back all later ones.
//!
//! # Invariants
//!
//! - L1: every slot is start + k x interval, whatever happened before it.
//! - L2: a slot is taken late rather than missed, until the next one is due as well; of several
//!   due slots one is taken and the others are counted as missed.

use std::time::Duration;

use evenkeel_runtime::Time;

/// A grid of slots.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    interval: Duration,
    next: Time,
    /// A slot was taken and its block lost.
    is_owed: bool,
    missed: u64,
}

impl Slots {
    /// The first slot is one interval after `start`. The interval must be positive.
    pub(super) fn new(start: Time, interval: Duration) -> Self {
        assert!(!interval.is_zero(), "an interval of nothing has no grid");
        Self { interval, next: start + interval, is_owed: false, missed: 0 }
    }

    pub(super) const fn interval(&self) -> Duration {
        self.interval
    }

    pub(super) const fn missed(&self) -> u64 {
        self.missed
    }

    pub(super) fn is_due(&self, now: Time) -> bool {
        self.is_owed || self.next <= now
    }

    pub(super) const fn is_owed(&self) -> bool {
        self.is_owed
    }

    pub(super) const fn next(&self) -> Time {
        self.next
    }

    /// Takes the one slot that is due. L1, L2.
    pub(super) fn take(&mut self, now: Time) {
        let mut due = u128::from(self.is_owed);
        if self.next <= now {
            let interval = self.interval.as_nanos();
            let passed = 1 + (now - self.next).as_nanos() / interval;
            let next = u128::from(self.next.as_nanos()) + passed * interval;
            self.next = Time::from_nanos(u64::try_from(next).unwrap_or(u64::MAX));
            due += passed;
        }
        self.is_owed = false;
        let missed = u64::try_from(due.saturating_sub(1)).unwrap_or(u64::MAX);
        self.missed = self.missed.saturating_add(missed);
    }

    /// The block of the slot taken last was lost; it is due again.
    pub(super) const fn give_back(&mut self) {
        self.is_owed = true;
    }
}
