//! The simulated driver: one thread, virtual time, seeded order.
//!
//! The same cells and mailboxes as on threads. Time moves by what turns are charged (counts only)
//! and jumps to the next timer when nothing is runnable. The same seed gives the same run, which
//! [`Simulation::event_hash`] tells.
//!
//! # Invariants
//!
//! - S1: in order `Fair`, within a class and kind nobody is overtaken twice by the same process:
//!   processes run in rounds, each round in seeded order.

use std::{
    future::Future,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{
    budget,
    cell::{After, Process, Task},
    class::Class,
    entropy::Entropy,
    limits::{DEBT_QUANTA_MAX, REDUCTION_NS, SIMULATED_JOB_NS_MAX},
    scheduler::queues::ClassTimes,
    status::ClassStatus,
    system::{Driver, System},
    time::Time,
};

/// Which of the runnable processes of a class goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Order {
    /// In rounds, each in seeded order.
    #[default]
    Fair,
    /// Any, whoever has waited how long.
    Chaos,
}

/// What goes wrong in a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Order of processes within a class.
    pub order: Order,
    /// Longest time of a compute or blocking job.
    pub job_time_max: Duration,
}

impl Default for Faults {
    fn default() -> Self {
        Self { order: Order::Fair, job_time_max: Duration::from_nanos(SIMULATED_JOB_NS_MAX) }
    }
}

struct Waiting {
    task: Task,
    since: Time,
}

/// Runnable processes of one class and kind, in rounds (S1).
#[derive(Default)]
struct Round {
    now: Vec<Waiting>,
    next: Vec<Waiting>,
}

impl Round {
    fn len(&self) -> usize {
        self.now.len() + self.next.len()
    }

    fn pop(&mut self, order: Order, entropy: &mut Entropy) -> Option<Waiting> {
        if self.now.is_empty() || order == Order::Chaos {
            self.now.append(&mut self.next);
        }
        if self.now.is_empty() {
            return None;
        }
        let index = entropy.below(self.now.len() as u64);
        Some(self.now.swap_remove(usize::try_from(index).expect("an index of the vector")))
    }
}

#[derive(Default)]
struct ClassQueue {
    fresh: Round,
    spent: Round,
    status: ClassStatus,
}

struct State {
    times: ClassTimes,
    classes: [ClassQueue; Class::COUNT],
    entropy: Entropy,
    hash: u64,
}

/// What a simulated system runs on.
pub(crate) struct SimulatedDriver {
    faults: Faults,
    state: Mutex<State>,
}

impl SimulatedDriver {
    pub(crate) fn new(entropy: Entropy, faults: Faults) -> Self {
        let state = State {
            times: ClassTimes::default(),
            classes: Default::default(),
            entropy,
            hash: 0xcbf2_9ce4_8422_2325,
        };
        Self { faults, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No process runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn schedule(&self, task: Task, now: Time) {
        self.push(task, now, false);
    }

    fn push(&self, task: Task, since: Time, is_spent: bool) {
        let class = task.header().identity().class;
        let mut state = self.lock();
        let queue = &mut state.classes[class.index()];
        let round = if is_spent { &mut queue.spent } else { &mut queue.fresh };
        round.next.push(Waiting { task, since });
        state.times.filled(class);
    }

    pub(crate) fn class_status(&self, class: Class) -> ClassStatus {
        let state = self.lock();
        let queue = &state.classes[class.index()];
        ClassStatus { queued: queue.fresh.len() + queue.spent.len(), ..queue.status }
    }

    /// How long the next job takes.
    pub(crate) fn job_time(&self) -> Duration {
        let longest = u64::try_from(self.faults.job_time_max.as_nanos()).unwrap_or(u64::MAX);
        let nanos = self.lock().entropy.below(longest.max(1));
        Duration::from_nanos(nanos)
    }

    /// The process that runs next, and whether it is fresh.
    fn next(&self, now: Time) -> Option<Task> {
        let mut state = self.lock();
        let State { times, classes, entropy, .. } = &mut *state;
        while let Some(class) = times.pick() {
            let queue = &mut classes[class.index()];
            let order = self.faults.order;
            let is_spent_first = times.wants_spent(class);
            let (first, second) = if is_spent_first {
                (&mut queue.spent, &mut queue.fresh)
            } else {
                (&mut queue.fresh, &mut queue.spent)
            };
            let (waiting, is_fresh) = match first.pop(order, entropy) {
                Some(waiting) => (Some(waiting), !is_spent_first),
                None => (second.pop(order, entropy), is_spent_first),
            };
            if queue.fresh.len() + queue.spent.len() == 0 {
                times.emptied(class);
            }
            if let Some(waiting) = waiting {
                times.note_turn(class, is_fresh);
                if is_fresh {
                    let waited = (now - waiting.since).as_nanos();
                    let waited = u64::try_from(waited).unwrap_or(u64::MAX);
                    let longest = &mut queue.status.fresh_wait_ns_max;
                    *longest = (*longest).max(waited);
                }
                return Some(waiting.task);
            }
        }
        None
    }

    /// Books a turn and adds it to the hash of events.
    fn charge(&self, class: Class, process: u64, count: u64, now: Time) {
        let mut state = self.lock();
        state.times.charge(class, count);
        let status = &mut state.classes[class.index()].status;
        status.turns += 1;
        status.reductions += count;
        status.busy_ns += count * REDUCTION_NS;
        for word in [class.index() as u64, process, count, now.as_nanos()] {
            state.hash = (state.hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
    }
}

/// A simulated system and the hand that moves it.
pub struct Simulation {
    system: System,
}

impl Simulation {
    pub(crate) const fn new(system: System) -> Self {
        Self { system }
    }

    /// The system, to spawn processes on.
    #[must_use]
    pub const fn system(&self) -> &System {
        &self.system
    }

    /// Virtual time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.system.now()
    }

    /// A hash of everything that has run so far, in order.
    #[must_use]
    pub fn event_hash(&self) -> u64 {
        self.driver().lock().hash
    }

    fn driver(&self) -> &SimulatedDriver {
        match &self.system.core().driver {
            Driver::Simulated(driver) => driver,
            Driver::Threads(_) => unreachable!("a simulation is made with its driver"),
        }
    }

    /// Runs one turn, or jumps to the next timer up to `until`. False: nothing is left to do.
    fn step(&self, until: Time) -> bool {
        let now = self.now();
        self.system.timers().fire(now);
        let driver = self.driver();
        let Some(task) = driver.next(now) else {
            return match self.system.timers().first() {
                Some(first) if first <= until => {
                    self.system.core().clock.advance_to(first);
                    true
                }
                Some(_) | None => false,
            };
        };
        self.turn(driver, task, now);
        true
    }

    fn turn(&self, driver: &SimulatedDriver, task: Task, now: Time) {
        let header = task.header();
        let (class, id, name) = {
            let identity = header.identity();
            (identity.class, identity.id, identity.name)
        };
        let quantum = header.quantum();
        if self.sits_out(driver, &task, class, quantum) {
            driver.push(task, now, true);
            return;
        }
        budget::begin(header.rest(quantum), None);
        let debtor = std::sync::Arc::clone(&task);
        let after = task.run();
        // A turn takes some time, so that two in a row cannot stand still for ever.
        let count = budget::end().max(1);
        let end = now + Duration::from_nanos(count.saturating_mul(REDUCTION_NS));
        self.system.core().clock.advance_to(end);
        driver.charge(class, id, count, end);
        self.system.counters().note_turn(name, count.saturating_mul(REDUCTION_NS));
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        if count > quantum {
            use std::sync::atomic::Ordering::Relaxed;
            let over = (count - quantum).min(quantum.saturating_mul(DEBT_QUANTA_MAX));
            debtor.header().debt.fetch_add(over, Relaxed);
        }
        match after {
            After::Again(task) => {
                let is_spent = task.header().book(count, quantum);
                driver.push(task, end, is_spent);
            }
            After::Idle | After::Done => {}
        }
    }

    /// As on threads: who owes a quantum waits once, if others of its class could run.
    fn sits_out(&self, driver: &SimulatedDriver, task: &Task, class: Class, quantum: u32) -> bool {
        use std::sync::atomic::Ordering::Relaxed;
        let header = task.header();
        let debt = header.debt.load(Relaxed);
        if debt < quantum {
            return false;
        }
        let debt = debt.min(quantum.saturating_mul(DEBT_QUANTA_MAX));
        header.debt.store(debt - quantum, Relaxed);
        driver.lock().times.is_ready(class)
    }

    /// Runs until nothing is runnable and no timer is set.
    pub fn run_until_idle(&mut self) {
        while self.step(Time::MAX) {}
    }

    /// Runs for a span of virtual time.
    pub fn run_for(&mut self, span: Duration) {
        let until = self.now() + span;
        while self.now() < until && self.step(until) {}
        self.system.core().clock.advance_to(until);
    }

    /// Runs until `future` is ready; it is looked at after every turn.
    ///
    /// # Panics
    ///
    /// When nothing is left to do and the future still waits.
    pub fn run_until<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
            assert!(self.step(Time::MAX), "nothing is left to do, and the answer is not there");
        }
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        // Cells hold the system and its queues hold cells: take the circle apart.
        self.system.timers().clear();
        for process in self.system.registry_all() {
            Process::finish(process);
        }
        let mut dropped = Vec::new();
        let mut state = self.driver().lock();
        for queue in &mut state.classes {
            for round in [&mut queue.fresh, &mut queue.spent] {
                dropped.append(&mut round.now);
                dropped.append(&mut round.next);
            }
        }
        drop(state);
        drop(dropped);
        self.system.timers().clear();
    }
}
