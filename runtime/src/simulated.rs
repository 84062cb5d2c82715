//! The simulated driver: one thread, virtual time, seeded order.
//!
//! The class that runs next follows from the same weighted virtual time as on threads; which
//! process of the class does is drawn by the seed. Within a class order goes by rounds: whatever
//! is runnable when a round begins runs once before anything runs twice. Time moves by what turns
//! consume, and jumps to the next timer when nothing is runnable. The same seed does the same, and
//! gives the same hash of all that happened.
//!
//! # Invariants
//!
//! - S1: a process that waits in a queue runs in this round or the next of its queue, so after at
//!   most twice as many turns of its kind as its class has processes.
//! - S2: of four turns of a class whose queues are both filled, three go to fresh processes.

use std::{
    future::Future,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError, atomic::Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{
    budget,
    cell::{After, Task},
    class::Class,
    entropy::Entropy,
    limits::{DEBT_QUANTA_MAX, REDUCTION_NS, SIMULATED_JOB_NS_MAX},
    scheduler::queues::ClassTimes,
    status::ClassStatus,
    system::{Driver, System},
    time::{Time, nanos},
};

/// Virtual time after which `run_until_idle` says that a system never gets idle.
const IDLE_WAIT_MAX: Duration = Duration::from_hours(1);

/// In which order processes of one class run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Drawn by the seed within rounds, so nobody starves.
    #[default]
    Fair,
    /// Drawn by the seed alone: somebody may wait for long, as on a machine that is overloaded.
    Chaos,
}

/// What goes wrong in a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The order within a class.
    pub order: Order,
    /// The longest a compute or blocking job takes.
    pub job_time_max: Duration,
}

impl Faults {
    /// Nothing goes wrong.
    #[must_use]
    pub const fn none() -> Self {
        Self { order: Order::Fair, job_time_max: Duration::from_nanos(SIMULATED_JOB_NS_MAX) }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::none()
    }
}

struct Queued {
    task: Task,
    since: Time,
}

/// One queue: what runs in this round, and what came after it began.
#[derive(Default)]
struct Rounds {
    current: Vec<Queued>,
    next: Vec<Queued>,
}

impl Rounds {
    fn len(&self) -> usize {
        self.current.len() + self.next.len()
    }

    fn draw(&mut self, entropy: &mut Entropy, order: Order) -> Option<Queued> {
        match order {
            Order::Fair if self.current.is_empty() => {
                std::mem::swap(&mut self.current, &mut self.next);
            }
            Order::Fair => {}
            Order::Chaos => self.current.append(&mut self.next),
        }
        if self.current.is_empty() {
            return None;
        }
        let index = entropy.below(self.current.len() as u64);
        Some(self.current.swap_remove(usize::try_from(index).expect("an index of the vector")))
    }
}

#[derive(Default)]
struct Ready {
    fresh: Rounds,
    spent: Rounds,
    status: ClassStatus,
}

struct State {
    ready: [Ready; Class::COUNT],
    times: ClassTimes,
    order_entropy: Entropy,
    job_entropy: Entropy,
    hash: EventHash,
}

/// FNV-1a over words: the same on every platform and in every version of Rust.
#[derive(Clone, Copy, Debug)]
struct EventHash(u64);

impl EventHash {
    fn add(&mut self, word: u64) {
        for byte in word.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// What a simulated system has instead of threads.
pub(crate) struct SimulatedDriver {
    state: Mutex<State>,
    faults: Faults,
}

impl SimulatedDriver {
    pub(crate) fn new(mut entropy: Entropy, faults: Faults) -> Self {
        use rand_core::RngCore;
        // Two streams: a job more does not change the order of turns by itself.
        let job_entropy = Entropy::from_seed(entropy.next_u64());
        let state = State {
            ready: Default::default(),
            times: ClassTimes::default(),
            order_entropy: entropy,
            job_entropy,
            hash: EventHash(0xcbf2_9ce4_8422_2325),
        };
        Self { state: Mutex::new(state), faults }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No turn runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn schedule(&self, task: Task, since: Time) {
        self.lock().push(task, since, false);
    }

    /// How long the next job takes.
    pub(crate) fn job_time(&self) -> Duration {
        let longest = nanos(self.faults.job_time_max).max(1);
        Duration::from_nanos(1 + self.lock().job_entropy.below(longest))
    }

    pub(crate) fn class_status(&self, class: Class) -> ClassStatus {
        let state = self.lock();
        let ready = &state.ready[class.index()];
        ClassStatus { queued: ready.fresh.len() + ready.spent.len(), ..ready.status }
    }
}

impl State {
    fn push(&mut self, task: Task, since: Time, is_spent: bool) {
        let class = task.identity().class;
        let ready = &mut self.ready[class.index()];
        let rounds = if is_spent { &mut ready.spent } else { &mut ready.fresh };
        rounds.next.push(Queued { task, since });
        self.times.filled(class);
    }

    /// Draws the next turn.
    fn next(&mut self, now: Time, order: Order) -> Option<Task> {
        loop {
            let class = self.times.pick()?;
            let ready = &mut self.ready[class.index()];
            let entropy = &mut self.order_entropy;
            let is_spent_turn =
                ready.fresh.len() == 0 || (self.times.wants_spent(class) && ready.spent.len() > 0);
            let rounds = if is_spent_turn { &mut ready.spent } else { &mut ready.fresh };
            let queued = rounds.draw(entropy, order);
            if ready.fresh.len() + ready.spent.len() == 0 {
                self.times.emptied(class);
            }
            let Some(Queued { task, since }) = queued else {
                continue;
            };
            self.times.note_turn(class, !is_spent_turn);
            if !is_spent_turn {
                let waited = nanos(now - since);
                let longest = &mut ready.status.fresh_wait_ns_max;
                *longest = waited.max(*longest);
            }
            return Some(task);
        }
    }

    /// Books a turn that is over.
    fn book(&mut self, now: Time, id: u64, class: Class, used: u64) {
        self.times.charge(class, used);
        let status = &mut self.ready[class.index()].status;
        status.turns += 1;
        status.reductions += used;
        status.busy_ns += used * REDUCTION_NS;
        for word in [now.as_nanos(), id, class.index() as u64, used] {
            self.hash.add(word);
        }
    }
}

/// A simulated system, driven by the thread that holds this.
#[derive(Debug)]
pub struct Simulation {
    system: System,
}

impl Simulation {
    pub(crate) const fn new(system: System) -> Self {
        Self { system }
    }

    /// The system, to spawn into.
    #[must_use]
    pub const fn system(&self) -> &System {
        &self.system
    }

    /// Virtual time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.system.now()
    }

    /// Hash of all turns so far: who, when, for how long.
    #[must_use]
    pub fn event_hash(&self) -> u64 {
        self.driver().lock().hash.0
    }

    /// Runs until nothing is runnable and no timer is set.
    ///
    /// # Panics
    ///
    /// If that does not come within an hour of virtual time: a system with a periodic timer never
    /// gets idle.
    pub fn run_until_idle(&mut self) {
        let limit = self.now() + IDLE_WAIT_MAX;
        while self.step(Time::MAX) {
            assert!(self.now() < limit, "not idle after {IDLE_WAIT_MAX:?} of virtual time");
        }
    }

    /// Runs for `duration` of virtual time; a turn that has begun is ended.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now() + duration;
        while self.now() < end && self.step(end) {}
        self.system.core().clock.advance_to(end);
    }

    /// Runs until `future`, for example an `Answer`, is ready; it is looked at after every turn.
    ///
    /// # Panics
    ///
    /// If nothing is left to do and the future still waits: it always will.
    pub fn run_until<F: Future>(&mut self, future: F) -> F::Output {
        let mut cx = Context::from_waker(Waker::noop());
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
            if !self.step(Time::MAX) {
                let reason = self.system.stop_reason();
                panic!("nothing is left to do, and the answer is not there; stopped: {reason:?}");
            }
        }
    }

    /// Fires what is due and runs one turn, or jumps to the next timer not after `end`. False if
    /// there is nothing to do until then.
    fn step(&self, end: Time) -> bool {
        let system = &self.system;
        let timers = system.timers();
        timers.fire(self.now());
        let driver = self.driver();
        let next = driver.lock().next(self.now(), driver.faults.order);
        if let Some(task) = next {
            self.turn(task);
            return true;
        }
        match timers.first() {
            Some(first) if first <= end => {
                system.core().clock.advance_to(first);
                true
            }
            Some(_) | None => false,
        }
    }

    fn turn(&self, task: Task) {
        let (id, class, name) = {
            let identity = task.identity();
            (identity.id, identity.class, identity.name)
        };
        let driver = self.driver();
        let began = self.now();
        let quantum = task.quantum();
        let debt = task.debt.load(Ordering::Relaxed);
        if debt >= quantum {
            // It pays a quantum back by waiting, as on threads.
            task.debt.store(debt - quantum, Ordering::Relaxed);
            let mut state = driver.lock();
            if state.times.is_ready(class) {
                state.push(task, began, true);
                return;
            }
        }
        let rest = task.rest(quantum);
        budget::begin(rest, began);
        let after = task.run();
        let used = budget::end().max(1);
        let nanos = used * REDUCTION_NS;
        self.system.core().clock.advance_to(began + Duration::from_nanos(nanos));
        self.system.counters().note_turn(name, nanos);
        let mut state = driver.lock();
        state.book(began, id, class, used);
        let used = u32::try_from(used).unwrap_or(u32::MAX);
        let over = used.saturating_sub(quantum).min(quantum.saturating_mul(DEBT_QUANTA_MAX));
        task.debt.fetch_add(over, Ordering::Relaxed);
        match after {
            After::Again => {
                let is_spent = task.book(used, quantum);
                let now = self.system.core().clock.now();
                state.push(task, now, is_spent);
            }
            After::Idle | After::Done => {
                drop(state);
                // Its last reference may be this one, and what it drops may send.
                drop(task);
            }
        }
    }

    fn driver(&self) -> &SimulatedDriver {
        match &self.system.core().driver {
            Driver::Simulated(driver) => driver,
            Driver::Threads(_) => unreachable!("a simulation is made with its driver"),
        }
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        // Processes hold the system and its queues hold them: taken apart here, or never freed.
        self.system.finish_all();
        self.system.timers().clear();
        let ready = std::mem::take(&mut self.driver().lock().ready);
        drop(ready);
    }
}
