//! Which class runs next: weighted virtual time. Pure; both drivers use it.
//!
//! Source: stride / weighted fair queueing. A class's time grows by what it used divided by its
//! weight, the smallest time runs next. A class that wakes does not get back what it did not use
//! while it slept: it starts one quantum before the others at most.
//!
//! And which queue of the class: see [`Kind`] and `docs/adr/0011`.

use std::{cell::Cell, collections::BTreeMap};

use crate::{
    class::Class,
    limits::{
        DATED_REDUCTIONS_MAX, FRESH_REDUCTIONS_MAX, QUANTUM_REDUCTIONS, SPENT_PART,
        TURN_REDUCTIONS_MIN,
    },
    time::Time,
};

/// Which of the three queues of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Fresh, with a deadline that is still to come: the earliest deadline first.
    Dated,
    /// Woken, and a quantum not used up; first come, first served.
    Fresh,
    /// Have used up a whole quantum.
    Spent,
}

/// What waits in the order of deadlines; of one deadline in the order it came.
#[derive(Debug)]
pub(crate) struct ByDeadline<T> {
    queued: BTreeMap<(Time, u64), T>,
    /// How many have come.
    arrivals: u64,
}

impl<T> Default for ByDeadline<T> {
    fn default() -> Self {
        Self { queued: BTreeMap::new(), arrivals: 0 }
    }
}

impl<T> ByDeadline<T> {
    pub(crate) fn len(&self) -> usize {
        self.queued.len()
    }

    /// The earliest deadline.
    pub(crate) fn first(&self) -> Option<Time> {
        self.queued.first_key_value().map(|(&(deadline, _), _)| deadline)
    }

    /// O(log n).
    pub(crate) fn push(&mut self, deadline: Time, item: T) {
        self.queued.insert((deadline, self.arrivals), item);
        self.arrivals += 1;
    }

    /// Takes out what has the earliest deadline. O(log n).
    pub(crate) fn pop(&mut self) -> Option<(Time, T)> {
        self.queued.pop_first().map(|((deadline, _), item)| (deadline, item))
    }

    /// The other end, for a rule that is broken on purpose.
    #[cfg(test)]
    pub(crate) fn pop_latest(&mut self) -> Option<(Time, T)> {
        self.queued.pop_last().map(|((deadline, _), item)| (deadline, item))
    }

    /// Takes out what is not to be kept. O(n).
    pub(crate) fn take_out(&mut self, mut keeps: impl FnMut(&T) -> bool) -> Vec<T> {
        let (kept, dropped) =
            std::mem::take(&mut self.queued).into_iter().partition(|(_, item)| keeps(item));
        self.queued = kept;
        let dropped: BTreeMap<_, _> = dropped;
        dropped.into_values().collect()
    }
}

/// Virtual time is counted in reductions of the heaviest class.
pub(crate) const WEIGHT_MAX: u64 = 64;

/// The lead of a class that wakes: one quantum of the heaviest class.
pub(crate) const WAKE_LEAD: u64 = QUANTUM_REDUCTIONS as u64;

const QUANTUM: u64 = QUANTUM_REDUCTIONS as u64;

/// What a reduction adds to the time of its class; the strict one has no time of its own.
const COST: [u64; Class::COUNT] = {
    let mut cost = [0; Class::COUNT];
    let mut index = 0;
    while index < Class::COUNT {
        if let Some(weight) = Class::ALL[index].weight() {
            cost[index] = WEIGHT_MAX / weight as u64;
        }
        index += 1;
    }
    cost
};

type PerClass = [Cell<u64>; Class::COUNT];

/// Virtual times of all classes on one worker. In cells, because a turn changes them from within
/// and from around it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClassTimes {
    times: PerClass,
    /// Bit i is set if class i has something runnable.
    ready: Cell<u8>,
    /// Bit i is set if class i may have something with a deadline.
    dated: Cell<u8>,
    /// The time of the last class that was picked; never falls.
    floor: Cell<u64>,
    /// What fresh processes used and the spent ones were not paid for yet, by class.
    fresh_used: PerClass,
    /// What of it those with a deadline used and those without were not paid for yet, by class.
    dated_used: PerClass,
}

impl ClassTimes {
    /// True if no class has anything runnable.
    pub(crate) const fn is_empty(&self) -> bool {
        self.ready.get() == 0
    }

    pub(crate) const fn is_ready(&self, class: Class) -> bool {
        self.ready.get() & (1 << class.index()) != 0
    }

    /// The class has something runnable.
    #[inline]
    pub(crate) fn filled(&self, class: Class) {
        if !self.is_ready(class) {
            self.ready.set(self.ready.get() | 1 << class.index());
            let time = &self.times[class.index()];
            time.set(time.get().max(self.floor.get().saturating_sub(WAKE_LEAD)));
        }
    }

    /// True if the class may have something with a deadline.
    #[inline]
    pub(crate) const fn is_dated(&self, class: Class) -> bool {
        self.dated.get() & (1 << class.index()) != 0
    }

    /// The class has something runnable with a deadline.
    pub(crate) fn filled_dated(&self, class: Class) {
        self.dated.set(self.dated.get() | 1 << class.index());
        self.filled(class);
    }

    /// The class has nothing with a deadline.
    pub(crate) fn emptied_dated(&self, class: Class) {
        self.dated.set(self.dated.get() & !(1 << class.index()));
    }

    /// The class has nothing runnable.
    #[inline]
    pub(crate) fn emptied(&self, class: Class) {
        self.ready.set(self.ready.get() & !(1 << class.index()));
    }

    /// The class that runs next.
    #[inline]
    pub(crate) fn pick(&self) -> Option<Class> {
        if self.is_ready(Class::System) {
            return Some(Class::System);
        }
        let mut ready = self.ready.get();
        let mut next: Option<usize> = None;
        while ready != 0 {
            let index = ready.trailing_zeros() as usize;
            ready &= ready - 1;
            // The heavier class wins a tie, because it comes first.
            if next.is_none_or(|best| self.times[index].get() < self.times[best].get()) {
                next = Some(index);
            }
        }
        let class = Class::ALL[next?];
        self.floor.set(self.floor.get().max(self.time(class)));
        Some(class)
    }

    /// Virtual time of a class.
    pub(crate) const fn time(&self, class: Class) -> u64 {
        self.times[class.index()].get()
    }

    /// Where a class that wakes begins, but for its lead.
    pub(crate) const fn floor(&self) -> u64 {
        self.floor.get()
    }

    /// Charges a turn.
    #[inline]
    pub(crate) fn charge(&self, class: Class, reductions: u64) {
        let time = &self.times[class.index()];
        time.set(time.get() + reductions * COST[class.index()]);
    }

    /// True if it is a spent process's turn in this class.
    #[inline]
    pub(crate) const fn wants_spent(&self, class: Class) -> bool {
        self.fresh_used(class) >= FRESH_REDUCTIONS_MAX
    }

    /// What the fresh processes of a class used and the spent ones were not paid for yet.
    pub(crate) const fn fresh_used(&self, class: Class) -> u64 {
        self.fresh_used[class.index()].get()
    }

    /// True if, of the fresh, it is the turn of one without a deadline.
    pub(crate) const fn wants_undated(&self, class: Class) -> bool {
        self.dated_used(class) >= DATED_REDUCTIONS_MAX
    }

    /// What those with a deadline used and those without were not paid for yet.
    pub(crate) const fn dated_used(&self, class: Class) -> u64 {
        self.dated_used[class.index()].get()
    }

    /// Takes note of what a turn of a process from that queue used. One that sits its turn out used
    /// nothing.
    #[inline]
    pub(crate) fn note_turn(&self, class: Class, kind: Kind, reductions: u64) {
        let (fresh, dated) = (&self.fresh_used[class.index()], &self.dated_used[class.index()]);
        let part = turn_part(reductions);
        // With none of the others there they stop growing, so that one which comes gets one turn,
        // not what it would have got had it been there.
        match kind {
            Kind::Spent => fresh.set(fresh.get().saturating_sub(part * SPENT_PART)),
            Kind::Fresh | Kind::Dated => {
                fresh.set((fresh.get() + part).min(FRESH_REDUCTIONS_MAX + QUANTUM));
            }
        }
        match kind {
            Kind::Dated => dated.set((dated.get() + part).min(DATED_REDUCTIONS_MAX + QUANTUM)),
            Kind::Fresh if dated.get() > 0 => dated.set(dated.get().saturating_sub(part)),
            Kind::Fresh | Kind::Spent => {}
        }
    }
}

/// What of a turn counts between the fresh and the spent: at least what drawing it cost, at most a
/// quantum, because the rest is the process's own debt.
#[inline]
pub(crate) fn turn_part(reductions: u64) -> u64 {
    reductions.clamp(TURN_REDUCTIONS_MIN, QUANTUM)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: whatever the turns' lengths, busy classes share as their weights say, and a class
    /// that slept gets no more than its lead out of it.
    #[test]
    fn shares_follow_the_weights_and_sleep_earns_nothing() {
        let mut entropy = crate::Entropy::from_seed(7);
        let times = ClassTimes::default();
        let busy = &Class::ALL[1..];
        let mut used = [0_u64; Class::COUNT];
        for &class in busy.iter().filter(|class| **class != Class::Net) {
            times.filled(class);
        }
        let mut run = |times: &ClassTimes, turns: u32| {
            used = [0; Class::COUNT];
            for _ in 0..turns {
                let class = times.pick().expect("all are busy");
                let reductions = 1 + entropy.below(u64::from(QUANTUM_REDUCTIONS));
                times.charge(class, reductions);
                used[class.index()] += reductions;
            }
            used
        };
        run(&times, 100_000);
        times.filled(Class::Net);
        let used = run(&times, 200_000);
        let total: u64 = used.iter().sum();
        for &class in busy {
            let weight = u64::from(class.weight().expect("not strict"));
            let fair = total * weight / 149;
            let off = used[class.index()].abs_diff(fair);
            assert!(off * 50 < fair, "{class:?}: {} of {total}", used[class.index()]);
        }
    }
}
