//! Turns on the thread that drives the system: what the simulated and the inline driver share.

mod bound;
mod priorities;
mod ready;

use std::{
    sync::{
        PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

pub(crate) use self::{
    priorities::Priorities,
    ready::{Pick, Ready, Runnable},
};
use crate::{
    budget,
    cell::{After, Run},
    class::Class,
    limits::{COMPUTE_JOBS_MAX, DEBT_QUANTA_MAX},
    status::{ClassStatus, SlowTurn},
    sync::{Mutex, MutexGuard},
    system::System,
    time::Time,
};

impl Runnable for Run {
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
    ready: Ready<Run>,
    hash: EventHash,
    /// Made runnable after the end of their systems, and not dropped yet; and if somebody does so.
    ended: Vec<Run>,
    is_dropping: bool,
}

/// The turns of all processes, one after the other.
pub(crate) struct Single {
    state: Mutex<State>,
    /// Jobs that wait to be run between turns.
    jobs: AtomicUsize,
}

impl Single {
    pub(crate) fn new(pick: Pick) -> Self {
        let (ready, hash) = (Ready::new(pick), EventHash::new());
        let state = State { ready, hash, ended: Vec::new(), is_dropping: false };
        Self { state: Mutex::new(state), jobs: AtomicUsize::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No turn runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn schedule(&self, run: Run, since: Time) {
        let mut state = self.lock();
        if !run.system.has_ended() {
            return state.ready.woke(run, since);
        }
        state.ended.push(run);
        drop(state);
        self.drop_ended();
    }

    /// By one thread at a time, and not within itself: what is dropped may make others runnable,
    /// each of which the next.
    fn drop_ended(&self) {
        let mut state = self.lock();
        if state.is_dropping {
            return;
        }
        state.is_dropping = true;
        while let Some(run) = state.ended.pop() {
            drop(state);
            drop(run);
            state = self.lock();
        }
        state.is_dropping = false;
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
        system.timers().fire(system.now(), usize::MAX);
        let next = self.lock().ready.next(system.now());
        match next {
            Some(run) => {
                self.turn(run);
                true
            }
            None => false,
        }
    }

    /// What runs next, for a model that runs it as a worker does.
    #[cfg(all(test, evenkeel_loom))]
    pub(crate) fn draw(&self, system: &System) -> Option<Run> {
        self.lock().ready.next(system.now())
    }

    fn turn(&self, run: Run) {
        let class = run.class();
        let quantum = run.quantum();
        let debt = run.debt.load(Ordering::Relaxed);
        if debt >= quantum {
            // It pays a quantum back by waiting, as on threads.
            run.debt.store(debt - quantum, Ordering::Relaxed);
            let mut state = self.lock();
            if state.ready.is_ready(class) {
                let now = run.system.now();
                state.ready.sits_out(run, now);
                return;
            }
        }
        let allowance = self.lock().ready.allow(run.rest(quantum));
        // It is looked at after the turn, when it may be gone.
        let process = run.hold();
        let began = process.system.core().clock.now();
        budget::begin(allowance, began);
        let after = run.turn(|_| ());
        let used = budget::end().max(1);
        let nanos = process.system.core().clock.end_turn(began, used);
        let (id, name) = (process.identity().id, process.identity().name);
        let end = began + Duration::from_nanos(nanos);
        let turn = SlowTurn { name, nanos, core_ns: nanos };
        process.system.counters().note_turn(turn, class, end);
        let mut state = self.lock();
        state.ready.book(class, used, nanos);
        let node = process.system.core().node;
        state.hash.add(&[began.as_nanos(), id, class.index() as u64 | node << 8, used]);
        process.count(used);
        let used = u32::try_from(used).unwrap_or(u32::MAX);
        let over = used.saturating_sub(quantum).min(quantum.saturating_mul(DEBT_QUANTA_MAX));
        process.debt.fetch_add(over, Ordering::Relaxed);
        if let After::Again(run) = after {
            let is_spent = run.book(used, quantum);
            let now = run.system.core().clock.now();
            state.ready.again(run, now, is_spent);
        }
        drop(state);
        // It may be the last holder, and what it drops may send.
        drop(process);
    }

    /// Ends all processes of `system` and takes them out of the queues.
    ///
    /// Only between turns.
    pub(crate) fn end_all(&self, system: &System) {
        {
            let mut state = self.lock();
            system.set_ended();
            let dropped = state.ready.take_out(|run| !run.system.is_same(system));
            state.ended.extend(dropped);
        }
        self.drop_ended();
        system.finish_all();
    }
}
