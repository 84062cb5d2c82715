//! Every order of workers that park and of others that make something runnable, by loom:
//! `make loom`.
//!
//! The inbox and the parking are the real ones. The workers' own queues are crossbeam's, which is
//! trusted: here they are counts, written and read with the same orderings.

use std::sync::{Arc, atomic::AtomicUsize as Count};

use loom::thread;

use super::*;
use crate::{
    cell::{self, Run, RunStack, Task},
    mailbox::{MailboxSpec, Overflow},
    message::Never,
    sync::{AtomicBool, model},
    system::System,
};

const WORKERS: usize = 2;

/// What the workers share. A worker that finds nothing to do and is never woken again is a deadlock
/// of the model, which loom reports.
struct Floor {
    inbox: RunStack,
    idle: Idle,
    own: [AtomicUsize; WORKERS],
    is_stopping: AtomicBool,
    handled: Count,
}

struct Search<'a> {
    floor: &'a Floor,
    index: usize,
}

impl Searcher for Search<'_> {
    fn finds_work(&self) -> bool {
        if !self.floor.inbox.is_empty() {
            self.floor.take_inbox(self.index);
        }
        self.floor.has_own(self.index) || self.floor.steals(self.index)
    }

    fn leaves_work(&self) -> bool {
        !self.floor.inbox.is_empty() || self.floor.own[self.index].load(Ordering::Acquire) > 1
    }

    fn has_work(&self) -> bool {
        !self.floor.inbox.is_empty()
            || self.floor.is_stopping.load(Ordering::SeqCst)
            || (0..WORKERS).any(|index| self.floor.has_own(index))
    }

    fn timeout(&self) -> Option<Duration> {
        None
    }

    fn is_due(&self) -> bool {
        self.has_work()
    }

    fn goes_on(&self) -> bool {
        !self.floor.is_stopping.load(Ordering::SeqCst)
    }
}

impl Floor {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inbox: RunStack::default(),
            idle: Idle::new(WORKERS),
            own: [AtomicUsize::new(0), AtomicUsize::new(0)],
            is_stopping: AtomicBool::new(false),
            handled: Count::new(0),
        })
    }

    /// As `Scheduler::schedule`, on a thread that is no worker.
    fn schedule(&self, task: &Task) {
        self.inbox.push(Run::of(task));
        self.idle.announce();
    }

    /// As `Scheduler::stop`.
    fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        self.idle.wake_all();
    }

    fn take_inbox(&self, index: usize) {
        let mut taken = 0;
        self.inbox.take(|run| {
            // Nothing runs it, and its cell is the caller's.
            std::mem::forget(run);
            taken += 1;
        });
        self.own[index].fetch_add(taken, Ordering::Release);
        if taken > 1 {
            self.idle.announce();
        }
    }

    fn has_own(&self, index: usize) -> bool {
        self.own[index].load(Ordering::Acquire) > 0
    }

    fn takes_from(&self, index: usize) -> bool {
        let less = |tasks: usize| tasks.checked_sub(1);
        self.own[index].fetch_update(Ordering::AcqRel, Ordering::Acquire, less).is_ok()
    }

    fn steals(&self, index: usize) -> bool {
        let has_stolen = self.has_own(1 - index) && self.takes_from(1 - index);
        if has_stolen {
            self.own[index].fetch_add(1, Ordering::Release);
        }
        has_stolen
    }

    /// The work of worker `index` until it has a task to run, or is to end.
    fn next(&self, index: usize) -> bool {
        while !self.is_stopping.load(Ordering::Relaxed) {
            if !self.inbox.is_empty() {
                self.take_inbox(index);
            }
            if self.has_own(index) && self.takes_from(index) {
                self.handled.fetch_add(1, Ordering::SeqCst);
                return true;
            }
            self.idle.search(index, &Search { floor: self, index });
        }
        false
    }

    /// Starts worker `index`, whose turns take no time; it stops all after the last of `tasks`.
    fn start(self: &Arc<Self>, index: usize, tasks: usize) -> thread::JoinHandle<()> {
        let floor = Arc::clone(self);
        thread::spawn(move || {
            floor.idle.enlist(index);
            while floor.next(index) {
                if floor.handled.load(Ordering::SeqCst) == tasks {
                    floor.stop();
                }
            }
        })
    }

    /// Starts worker `index`, whose first turn does not end.
    fn start_busy(self: &Arc<Self>, index: usize) -> thread::JoinHandle<()> {
        let floor = Arc::clone(self);
        thread::spawn(move || {
            floor.idle.enlist(index);
            assert!(floor.next(index));
        })
    }

    fn assert_rest(&self) {
        assert_eq!(self.idle.searching.load(Ordering::SeqCst), 0, "counted as searching");
        assert!(self.inbox.is_empty());
    }
}

/// Two tasks. Kept by the caller, so that the workers only count.
fn tasks() -> [Task; 2] {
    let system = System::inline().expect("the machine gives a seed");
    let spec = MailboxSpec { name: "t", items_max: 1, bytes_max: 0, overflow: Overflow::Reject };
    [(); 2].map(|()| cell::vacant::<Never>(system.system().clone(), &spec).task().clone())
}

/// Goal: I1 for the inbox and for the stop: one task from outside, beside two workers that may be
/// searching, parking or parked.
#[test]
fn a_task_from_outside_is_seen_and_a_stop_ends_all() {
    model(3, || {
        let [task, _] = tasks();
        let floor = Floor::new();
        let workers = [floor.start(0, 1), floor.start(1, 1)];
        floor.schedule(&task);
        for worker in workers {
            worker.join().unwrap();
        }
        assert_eq!(floor.handled.load(Ordering::SeqCst), 1);
        floor.assert_rest();
    });
}

/// Goal: I1 for two that push at once, beside one worker that parks.
#[test]
fn tasks_of_two_senders_are_seen() {
    model(3, || {
        let [first, second] = tasks();
        let floor = Floor::new();
        let worker = floor.start(0, 2);
        let (other, task) = (Arc::clone(&floor), second.clone());
        let sender = thread::spawn(move || other.schedule(&task));
        floor.schedule(&first);
        sender.join().unwrap();
        worker.join().unwrap();
        assert_eq!(floor.handled.load(Ordering::SeqCst), 2);
        floor.assert_rest();
    });
}

/// Goal: I1 to I3: no task waits while a worker parks, though the turn of the other never ends.
#[test]
fn no_task_waits_behind_a_long_turn_while_a_worker_parks() {
    model(2, || {
        let [first, second] = tasks();
        let floor = Floor::new();
        let workers = [floor.start_busy(0), floor.start_busy(1)];
        floor.schedule(&first);
        floor.schedule(&second);
        for worker in workers {
            worker.join().unwrap();
        }
        floor.assert_rest();
    });
}

/// Worker 0, in a turn that does not end, lets something wait behind it, and says so like this.
fn is_seen_behind_a_turn(says: fn(&Idle)) {
    loom::model(move || {
        let floor = Floor::new();
        let worker = floor.start_busy(1);
        floor.own[0].fetch_add(1, Ordering::Release);
        says(&floor.idle);
        worker.join().unwrap();
        floor.assert_rest();
    });
}

/// Goal: I1 for what a turn has put into its worker's own queue, once the turn hands it over.
#[test]
fn what_a_long_turn_hands_over_is_seen() {
    is_seen_behind_a_turn(Idle::announce);
}

/// Goal: I4: what waits behind a turn that says nothing any more is seen by a worker that parks, or
/// is about to.
#[test]
fn what_waits_behind_a_silent_turn_is_seen() {
    is_seen_behind_a_turn(Idle::be_watched);
}

/// Goal: I4: who watches and leaves hands the watch on, to who parks or will; it ends when all
/// park.
#[test]
fn a_watch_is_handed_on() {
    loom::model(|| {
        let idle = Idle::new(WORKERS);
        idle.parked.store(0b01, Ordering::SeqCst);
        assert!(!idle.takes_watch(0), "nobody has asked");
        idle.be_watched();
        assert!(idle.takes_watch(0) && !idle.takes_watch(1));
        idle.parked.store(0b10, Ordering::SeqCst);
        idle.leaves_watch(0);
        assert!(idle.takes_watch(1) && !idle.takes_watch(0));
        idle.parked.store(0b11, Ordering::SeqCst);
        assert!(!idle.takes_watch(1));
        assert_eq!(idle.watch.load(Ordering::SeqCst), NOBODY);
    });
}

/// Goal: I2 and I3: a burst wakes one worker, until that one has ended its search.
#[test]
fn a_burst_wakes_one_worker() {
    loom::model(|| {
        let idle = Idle::new(WORKERS);
        idle.parked.store(0b11, Ordering::SeqCst);
        for _ in 0..3 {
            idle.announce();
        }
        assert_eq!(idle.parked.load(Ordering::SeqCst).count_ones(), 1);
        assert_eq!(idle.searching.load(Ordering::SeqCst), 1);
    });
}
