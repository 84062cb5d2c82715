//! The threads driver's scheduler: worker threads that steal work from each other.
//!
//! A wake-up on a worker goes to that worker's own queues. One from elsewhere (reactor, pools,
//! main) goes to the inbox, which every worker looks at before every dispatch.

mod core_time;
mod dated;
mod idle;
mod lane;
pub(crate) mod queues;
mod worker;

use std::{
    sync::{PoisonError, atomic::Ordering},
    time::Duration,
};

use crossbeam_utils::CachePadded;

use self::{idle::Idle, lane::Lane};
pub(crate) use self::{
    lane::Queues,
    worker::{hand_over, is_worker, passed_since, worker_index},
};
use crate::{
    budget,
    cell::{Run, RunStack},
    class::Class,
    status::ClassStatus,
    sync::{
        coarse::{AtomicBool, Condvar, Instant, Mutex},
        fence,
    },
    system::System,
};

/// The classes that jobs of the pools give way to.
const URGENT: [Class; 3] = [Class::System, Class::Consensus, Class::Net];

/// What the workers of one system share.
pub(crate) struct Scheduler {
    lanes: Vec<CachePadded<Lane>>,
    /// Wake-ups from outside the workers.
    inbox: CachePadded<RunStack>,
    idle: CachePadded<Idle>,
    is_stopping: AtomicBool,
    /// No worker runs any more: what is made runnable is dropped.
    is_closed: AtomicBool,
    is_dropping: AtomicBool,
    running: Mutex<usize>,
    has_ended: Condvar,
}

impl Scheduler {
    /// The shared part, and what each worker thread is to be started with.
    pub(crate) fn new(workers: usize) -> (Self, Vec<Queues>) {
        let queues: Vec<_> = (0..workers).map(|_| Queues::new(workers)).collect();
        let scheduler = Self {
            lanes: queues.iter().map(|queues| CachePadded::new(Lane::new(queues))).collect(),
            inbox: CachePadded::new(RunStack::default()),
            idle: CachePadded::new(Idle::new(workers)),
            is_stopping: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            is_dropping: AtomicBool::new(false),
            running: Mutex::new(workers),
            has_ended: Condvar::new(),
        };
        (scheduler, queues)
    }

    pub(crate) fn workers(&self) -> usize {
        self.lanes.len()
    }

    /// Makes a process runnable that is in no queue.
    #[inline]
    pub(crate) fn schedule(&self, run: Run) {
        if let Some(run) = worker::push_local(run) {
            run.set_since(run.system.now());
            self.inbox.push(run);
            self.idle.announce();
            // Either this is seen after the fence in there, or who closes sees the run.
            if self.is_closed.load(Ordering::Relaxed) {
                self.drop_inbox();
            }
        }
    }

    /// True if an actor of class net or higher may wait for a worker. O(workers).
    ///
    /// What lies in the inbox counts, whatever its class: workers look there before every turn, so
    /// it lies there only while they are all busy.
    pub(crate) fn has_urgent(&self) -> bool {
        !self.inbox.is_empty() || self.lanes.iter().any(|lane| lane.has_any_of(&URGENT))
    }

    /// Lets a parked worker look at the timers again. A worker that sets one looks itself, after
    /// its turn; if that gets long, another is asked to.
    pub(crate) fn timer_set(&self) {
        if worker::is_own_worker(self) {
            budget::nudge_later();
            self.idle.be_watched();
        } else {
            self.idle.announce();
        }
    }

    /// The life of one worker thread.
    pub(crate) fn work(&self, index: usize, queues: Queues, system: &System) {
        /// Counts the thread down however it ends.
        struct Ends<'a>(&'a Scheduler);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                *self.0.running.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
                self.0.has_ended.notify_all();
            }
        }
        let _ends = Ends(self);
        worker::run(self, index, queues, system);
    }

    /// Lets the workers end after their turns, and waits for them. True if all have.
    pub(crate) fn stop(&self, deadline: Instant) -> bool {
        self.is_stopping.store(true, Ordering::SeqCst);
        self.idle.wake_all();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while *running > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return false;
            }
            let waited = self.has_ended.wait_timeout(running, left);
            running = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Drops what the workers have left in the inbox, and what comes from now on: for when they
    /// have ended, or were left behind.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.drop_inbox();
    }

    /// By one thread at a time, and not within itself: what is dropped may make others runnable,
    /// each of which the next.
    fn drop_inbox(&self) {
        while !self.inbox.is_empty() && !self.is_dropping.swap(true, Ordering::SeqCst) {
            self.inbox.take(drop);
            self.is_dropping.swap(false, Ordering::SeqCst);
        }
    }

    pub(crate) fn class_status(&self, class: Class) -> ClassStatus {
        let mut sum = ClassStatus::default();
        for lane in &self.lanes {
            lane.add_to(class, &mut sum);
        }
        sum.turns = sum.lengths.count();
        sum.busy_ns = sum.lengths.sum_ns();
        sum
    }
}
