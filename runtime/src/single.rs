//! Turns on the thread that drives the system: what the simulated and the inline driver share.

mod bound;
mod priorities;
mod ready;

use std::sync::{
    PoisonError,
    atomic::{AtomicUsize, Ordering},
};

pub(crate) use self::{
    priorities::Priorities,
    ready::{Pick, Ready, Runnable},
};
use crate::{
    budget,
    cell::{After, Task},
    class::Class,
    limits::{COMPUTE_JOBS_MAX, DEBT_QUANTA_MAX},
    status::{ClassStatus, SlowTurn},
    sync::{Mutex, MutexGuard},
    system::System,
    time::Time,
};

impl Runnable for Task {
    fn id(&self) -> u64 {
        self.identity().id
    }

    fn name(&self) -> &'static str {
        self.identity().name
    }

    fn class(&self) -> Class {
        self.identity().class
    }

    fn deadline(&self) -> Time {
        self.identity().deadline()
    }
}

/// FNV-1a over words: the same on every platform and in every version of Rust.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventHash(u64);

impl EventHash {
    pub(crate) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// A text as a word to be added.
    pub(crate) fn word(text: &str) -> u64 {
        text.bytes().fold(Self::new().0, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    pub(crate) fn add(&mut self, words: &[u64]) {
        for byte in words.iter().flat_map(|word| word.to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

struct State {
    ready: Ready<Task>,
    hash: EventHash,
}

/// The turns of all processes, one after the other.
pub(crate) struct Single {
    state: Mutex<State>,
    /// Jobs that wait to be run between turns.
    jobs: AtomicUsize,
}

/// What a turn did to the process.
struct Ended {
    used: u64,
    nanos: u64,
    after: After,
}

impl Single {
    pub(crate) fn new(pick: Pick) -> Self {
        let state = State { ready: Ready::new(pick), hash: EventHash::new() };
        Self { state: Mutex::new(state), jobs: AtomicUsize::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No turn runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn schedule(&self, task: Task, since: Time) {
        self.lock().ready.woke(task, since);
    }

    pub(crate) fn class_status(&self, class: Class) -> ClassStatus {
        self.lock().ready.status(class)
    }

    pub(crate) fn hash(&self) -> u64 {
        self.lock().hash.0
    }

    /// Adds what happened to the hash.
    pub(crate) fn note(&self, words: &[u64]) {
        self.lock().hash.add(words);
    }

    /// Counts a job, or says how many there are already.
    pub(crate) fn admit_job(&self) -> Result<(), usize> {
        let jobs = self.jobs.load(Ordering::Relaxed);
        if jobs >= COMPUTE_JOBS_MAX {
            return Err(jobs);
        }
        self.jobs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn job_begins(&self) {
        self.jobs.fetch_sub(1, Ordering::Relaxed);
    }

    /// Fires what is due and runs one turn. False if nothing was runnable.
    pub(crate) fn step(&self, system: &System) -> bool {
        system.timers().fire(system.now());
        let next = self.lock().ready.next(system.now());
        match next {
            Some(task) => {
                self.turn(task);
                true
            }
            None => false,
        }
    }

    fn turn(&self, task: Task) {
        let class = task.class();
        let quantum = task.quantum();
        let debt = task.debt.load(Ordering::Relaxed);
        if debt >= quantum {
            // It pays a quantum back by waiting, as on threads.
            task.debt.store(debt - quantum, Ordering::Relaxed);
            let mut state = self.lock();
            if state.ready.is_ready(class) {
                let now = task.system.now();
                state.ready.sits_out(task, now);
                return;
            }
        }
        let allowance = self.lock().ready.allow(task.rest(quantum));
        let began = task.system.core().clock.now();
        let Ended { used, nanos, after } = run(&task, began, allowance);
        let mut state = self.lock();
        state.ready.book(class, used, nanos);
        let node = task.system.core().node;
        state.hash.add(&[began.as_nanos(), task.id(), class.index() as u64 | node << 8, used]);
        task.count(used);
        let used = u32::try_from(used).unwrap_or(u32::MAX);
        let over = used.saturating_sub(quantum).min(quantum.saturating_mul(DEBT_QUANTA_MAX));
        task.debt.fetch_add(over, Ordering::Relaxed);
        match after {
            After::Again => {
                let is_spent = task.book(used, quantum);
                let now = task.system.core().clock.now();
                state.ready.again(task, now, is_spent);
            }
            After::Idle | After::Done => {
                drop(state);
                // Its last reference may be this one, and what it drops may send.
                drop(task);
            }
        }
    }

    /// Ends all processes of `system` and takes them out of the queues.
    ///
    /// Only between turns.
    pub(crate) fn end_all(&self, system: &System) {
        system.finish_all();
        let dropped = self.lock().ready.take_out(|task| !task.system.is_same(system));
        drop(dropped);
    }
}

fn run(task: &Task, began: Time, allowance: u32) -> Ended {
    budget::begin(allowance, began);
    let after = task.run();
    let count = budget::end().max(1);
    let nanos = task.system.core().clock.end_turn(began, count);
    task.system.counters().note_turn(SlowTurn { name: task.name(), nanos, core_ns: nanos });
    Ended { used: count, nanos, after }
}
