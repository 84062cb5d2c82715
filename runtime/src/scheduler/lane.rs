//! The queues of one worker: what it draws from, and what other threads see of it.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crossbeam_deque::Steal;

use super::{
    dated::Dated,
    queues::{ClassTimes, Kind},
};
use crate::{
    cell::{Run, RunSlot},
    class::Class,
    histogram::Recorder,
    limits::CHAIN_REDUCTIONS_MIN,
    status::ClassStatus,
    sync::coarse::{Stealer, Worker},
    time::Time,
};

/// The queues of one class.
pub(super) struct ClassQueue {
    pub(super) dated: Arc<Dated>,
    /// Woken by the turn that has just run: the first of the fresh ones while the chain of such
    /// turns has something left of the quantum of the one that began it.
    slot: Arc<RunSlot>,
    /// There is no other worker, which could steal from the slot.
    is_alone: bool,
    chain: Cell<u32>,
    /// Woken, and a quantum not used up.
    pub(super) fresh: Worker<Run>,
    /// Have used up a whole quantum.
    pub(super) spent: Worker<Run>,
}

impl ClassQueue {
    /// Nothing is there but for what has a deadline.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.slot.is_empty() && self.fresh.is_empty() && self.spent.is_empty()
    }

    /// Lets a process that the running turn has woken run next, before the one that was to.
    #[inline]
    pub(super) fn push_next(&self, run: Run) {
        if let Some(earlier) = self.slot.put(run) {
            self.fresh.push(earlier);
        }
    }

    /// What the process that was drawn may spend of its `rest`.
    #[inline]
    pub(super) fn allowance(&self, rest: u32) -> u32 {
        rest.min(self.chain.get())
    }

    /// Takes note of what it left of that, for who runs next in the chain.
    #[inline]
    pub(super) fn leaves(&self, rest: u32) {
        self.chain.set(rest);
    }

    /// What runs next; `None` if nothing is there.
    #[inline]
    pub(super) fn draw(&self, class: Class, times: &ClassTimes, now: Time) -> Option<(Run, Kind)> {
        let chain = self.chain.replace(u32::MAX);
        let next = if self.is_alone { self.slot.take_alone() } else { self.slot.take() };
        if let Some(next) = next {
            // A class without spent ones is in their debt all the time.
            let is_spents_turn = times.wants_spent(class) && !self.spent.is_empty();
            let has_dated = times.is_dated(class) && self.dated.len() > 0;
            if chain >= CHAIN_REDUCTIONS_MIN && !is_spents_turn && !has_dated {
                self.chain.set(chain);
                return Some((next, Kind::Fresh));
            }
            self.fresh.push(next);
        }
        self.draw_queued(class, times, now)
    }

    #[inline]
    fn draw_queued(&self, class: Class, times: &ClassTimes, now: Time) -> Option<(Run, Kind)> {
        if times.wants_spent(class)
            && let Some(run) = self.spent.pop()
        {
            return Some((run, Kind::Spent));
        }
        if times.is_dated(class)
            && let Some(drawn) = self.draw_dated(class, times, now)
        {
            return Some(drawn);
        }
        match self.fresh.pop() {
            Some(run) => Some((run, Kind::Fresh)),
            None => self.spent.pop().map(|run| (run, Kind::Spent)),
        }
    }

    /// Drops what is there; false if nothing was.
    pub(super) fn has_dropped(&self) -> bool {
        let mut dropped = 0_u64;
        while self.slot.take().is_some()
            || self.fresh.pop().is_some()
            || self.spent.pop().is_some()
            || self.dated.pop().is_some()
        {
            dropped += 1;
        }
        dropped > 0
    }

    /// The fresh one that runs next where some may have a deadline.
    #[cold]
    fn draw_dated(&self, class: Class, times: &ClassTimes, now: Time) -> Option<(Run, Kind)> {
        if times.wants_undated(class)
            && let Some(run) = self.fresh.pop()
        {
            return Some((run, Kind::Fresh));
        }
        while let Some((deadline, run)) = self.dated.pop() {
            if deadline > now {
                return Some((run, Kind::Dated));
            }
            // Late: it gives way to those that need not be.
            self.fresh.push(run);
        }
        times.emptied_dated(class);
        None
    }
}

/// What a worker thread is started with.
pub(crate) struct Queues(pub(super) [ClassQueue; Class::COUNT]);

impl Queues {
    /// Of one of so many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self(Class::ALL.map(|_| ClassQueue {
            dated: Arc::default(),
            slot: Arc::default(),
            is_alone: workers == 1,
            chain: Cell::new(u32::MAX),
            fresh: Worker::new_fifo(),
            spent: Worker::new_fifo(),
        }))
    }
}

pub(super) struct StealFrom {
    pub(super) dated: Arc<Dated>,
    slot: Arc<RunSlot>,
    fresh: Stealer<Run>,
    spent: Stealer<Run>,
}

impl StealFrom {
    fn len(&self) -> usize {
        self.dated.len() + usize::from(!self.slot.is_empty()) + self.fresh.len() + self.spent.len()
    }

    /// Half of the fresh ones; the one that was to run next, which the victim's caches know, only
    /// if there is no other fresh one; or half of the spent ones. False if there is none.
    pub(super) fn steal_half(&self, own: &ClassQueue) -> bool {
        if steal_half(&self.fresh, &own.fresh) {
            return true;
        }
        if let Some(next) = self.slot.take() {
            own.fresh.push(next);
            return true;
        }
        steal_half(&self.spent, &own.spent)
    }
}

/// Counters that one worker writes and anybody reads.
#[derive(Default)]
pub(super) struct ClassCounters {
    pub(super) reductions: AtomicU64,
    /// Of fresh processes.
    pub(super) waits: Recorder,
    pub(super) lengths: Recorder,
}

/// What other threads see of a worker.
pub(super) struct Lane {
    pub(super) classes: [StealFrom; Class::COUNT],
    pub(super) counters: [ClassCounters; Class::COUNT],
    /// When its last turn began, in nanoseconds.
    turn_began: AtomicU64,
}

impl Lane {
    pub(super) fn new(queues: &Queues) -> Self {
        let classes = Class::ALL.map(|class| {
            let queue = &queues.0[class.index()];
            StealFrom {
                dated: Arc::clone(&queue.dated),
                slot: Arc::clone(&queue.slot),
                fresh: queue.fresh.stealer(),
                spent: queue.spent.stealer(),
            }
        });
        Self { classes, counters: Default::default(), turn_began: AtomicU64::new(0) }
    }

    /// Takes note, by the worker itself, that a turn begins.
    #[inline]
    pub(super) fn begins_turn(&self, now: Time) {
        self.turn_began.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// True if a turn began that long ago, and no other since.
    pub(super) fn is_stuck(&self, now: Time, nanos: u64) -> bool {
        now.as_nanos().saturating_sub(self.turn_began.load(Ordering::Relaxed)) > nanos
    }

    pub(super) fn queued(&self, class: Class) -> usize {
        self.classes[class.index()].len()
    }

    pub(super) fn queued_in_all(&self) -> usize {
        Class::ALL.iter().map(|&class| self.queued(class)).sum()
    }

    pub(super) fn has_work(&self) -> bool {
        self.has_any_of(&Class::ALL)
    }

    pub(super) fn has_any_of(&self, classes: &[Class]) -> bool {
        let mut queues = classes.iter().map(|class| &self.classes[class.index()]);
        queues.any(|class| {
            !class.fresh.is_empty()
                || !class.spent.is_empty()
                || !class.slot.is_empty()
                || class.dated.len() > 0
        })
    }

    pub(super) fn add_to(&self, class: Class, sum: &mut ClassStatus) {
        let counters = &self.counters[class.index()];
        sum.reductions += counters.reductions.load(Ordering::Relaxed);
        counters.waits.add_to(&mut sum.waits);
        counters.lengths.add_to(&mut sum.lengths);
        sum.queued += self.queued(class);
    }
}

fn steal_half(from: &Stealer<Run>, to: &Worker<Run>) -> bool {
    loop {
        match from.steal_batch(to) {
            Steal::Success(()) => return true,
            Steal::Empty => return false,
            Steal::Retry => {}
        }
    }
}

#[cfg(all(test, not(any(evenkeel_loom, evenkeel_shuttle))))]
mod tests {
    use super::*;
    use crate::{
        Actor, Address, Ctx, Flow,
        limits::{FRESH_REDUCTIONS_MAX, QUANTUM_REDUCTIONS},
        mailbox::MailboxSpec,
        message::Never,
        system::{Spawn, System},
    };

    /// Born idle: it has no run but those that a test makes.
    struct Idle;

    impl Actor for Idle {
        type Message = Never;
        const HAS_START: bool = false;

        fn handle(&mut self, never: Never, _ctx: &mut Ctx<'_, Never>) -> Flow {
            match never {}
        }
    }

    /// Goal: who was woken runs next as long as the chain has something left of its quantum, also
    /// in a class that owes spent processes turns and has none; else it waits with the others.
    #[test]
    fn who_was_woken_runs_next_within_the_quantum() {
        let inline = System::inline().expect("a seed");
        let spawn = || {
            let spec = MailboxSpec::none("test");
            inline.system().spawn_once(Spawn::new("test", Class::Call), spec, Idle)
        };
        let idle = [spawn(), spawn(), spawn()];
        let tasks = idle.each_ref().map(Address::task);
        let run = |nth: usize| Run::of(tasks[nth]);
        let is = |drawn: Option<(Run, Kind)>, nth: usize, kind: Kind| {
            let (run, of_kind) = drawn.expect("something is there");
            run.hold().downgrade().is_same(&tasks[nth].downgrade()) && of_kind == kind
        };
        let class = Class::Call;
        let Queues(queues) = Queues::new(2);
        let queue = &queues[class.index()];
        let times = ClassTimes::default();
        times.note_turn(class, Kind::Fresh, FRESH_REDUCTIONS_MAX);
        for _ in 0..3 {
            times.note_turn(class, Kind::Fresh, QUANTUM_REDUCTIONS.into());
        }
        assert!(times.wants_spent(class));
        let draw = || queue.draw(class, &times, Time::ZERO);
        for left in [QUANTUM_REDUCTIONS, CHAIN_REDUCTIONS_MIN] {
            queue.fresh.push(run(0));
            queue.push_next(run(1));
            queue.leaves(left);
            assert!(is(draw(), 1, Kind::Fresh));
            assert_eq!(queue.allowance(QUANTUM_REDUCTIONS), left);
            assert!(is(draw(), 0, Kind::Fresh));
            assert_eq!(queue.allowance(QUANTUM_REDUCTIONS), QUANTUM_REDUCTIONS);
        }
        queue.fresh.push(run(0));
        queue.push_next(run(1));
        queue.leaves(CHAIN_REDUCTIONS_MIN - 1);
        assert!(is(draw(), 0, Kind::Fresh) && is(draw(), 1, Kind::Fresh));

        queue.spent.push(run(2));
        queue.push_next(run(1));
        queue.leaves(QUANTUM_REDUCTIONS);
        assert!(is(draw(), 2, Kind::Spent) && is(draw(), 1, Kind::Fresh));
        assert!(queue.is_empty());
    }
}
