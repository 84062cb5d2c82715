//! What the models are made of: a system, receivers that write down what they get, senders.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use shuttle::{
    Config, MaxSteps, Runner,
    scheduler::{PctScheduler, RandomScheduler, Scheduler},
    thread,
};

use super::RUNS;
use crate::{
    Actor, Address, Class, Ctx, Flow, MailboxSpec, Message, Overflow, Reply, SendError, Spawn,
    System, ThreadsConfig, sync::count_cells,
};

/// The model's time passes in jumps, so no deadline of a system that is to end by itself is near.
pub(super) const LONG: Duration = Duration::from_hours(1_000_000);

/// One seed for all, so that the same orders are drawn everywhere.
const SEED: u64 = 0x5eed;
/// Steps after which a model that never ends is given up; those here take some thousands.
const STEPS_MAX: usize = 200_000;

/// Runs a model in many orders; each run ends without a cell of its own.
pub(super) fn check(model: impl Fn() + Send + Sync + 'static) {
    check_loosely(move || {
        let before = count_cells(0);
        model();
        assert_eq!(count_cells(0), before, "all cells are given back");
    });
}

/// The same for models that end before their workers do.
pub(super) fn check_loosely(model: impl Fn() + Send + Sync + 'static) {
    let model = Arc::new(model);
    let runs = std::env::var("SHUTTLE_RUNS").ok();
    let runs = runs.map_or(RUNS, |runs| runs.parse().expect("SHUTTLE_RUNS is a number"));
    run(RandomScheduler::new_from_seed(SEED, runs), Arc::clone(&model));
    for depth in [2, 4] {
        run(PctScheduler::new_from_seed(SEED, depth, runs / 2), Arc::clone(&model));
    }
}

fn run(scheduler: impl Scheduler + 'static, model: Arc<impl Fn() + Send + Sync + 'static>) {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    // Weak orderings are loom's matter.
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(move || model());
}

pub(super) fn system(workers: usize) -> System {
    let config = ThreadsConfig { workers, compute_threads: 1, blocking_threads: 1, seed: Some(1) };
    System::threads(config).expect("a model starts every thread")
}

/// Stops the system; all that lived has ended then.
pub(super) fn stop(system: &System) {
    system.stop(LONG);
    assert_eq!(system.status().actors_live, 0);
}

pub(super) fn spec(items_max: usize, overflow: Overflow) -> MailboxSpec {
    MailboxSpec { name: "box", items_max, bytes_max: 1 << 20, overflow }
}

pub(super) const SPAWN: Spawn = Spawn::new("model", Class::Net);

/// Number `number` of sender `sender`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) sender: usize,
    pub(super) number: usize,
}

impl Message for Item {
    fn coalesce_key(&self) -> Option<u64> {
        Some(self.sender as u64)
    }
}

/// What was handled, in order, over all lives of a receiver; no switch happens in it.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<Item>>>);

impl Log {
    pub(super) fn add(&self, item: Item) -> usize {
        let mut log = self.0.lock().unwrap();
        log.push(item);
        log.len()
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Asserts that of each sender no message came twice or before an earlier one.
    pub(super) fn assert_in_order(&self) {
        let log = self.0.lock().unwrap();
        for sender in 0..8 {
            let of_sender = log.iter().filter(|item| item.sender == sender);
            let numbers: Vec<_> = of_sender.map(|item| item.number).collect();
            assert!(numbers.is_sorted_by(|one, next| one < next), "{log:?}");
        }
    }
}

/// Writes down what it gets, and answers after so many.
pub(super) struct Receiver {
    pub(super) log: Log,
    pub(super) until: usize,
    pub(super) done: Option<Reply<()>>,
    /// The most that may wait beside the one in hand, senders that turn back included.
    pub(super) waiting_max: usize,
}

impl Receiver {
    pub(super) fn new(log: &Log) -> Self {
        Self { log: log.clone(), until: usize::MAX, done: None, waiting_max: usize::MAX }
    }

    pub(super) fn until(self, until: usize, done: Reply<()>) -> Self {
        Self { until, done: Some(done), ..self }
    }
}

impl Actor for Receiver {
    type Message = Item;

    const HAS_START: bool = false;

    fn handle(&mut self, item: Item, ctx: &mut Ctx<'_, Item>) -> Flow {
        // A panic here would be the actor's; seen by what is missing in the log.
        if ctx.me().queued() > self.waiting_max {
            return Flow::Stop;
        }
        if self.log.add(item) == self.until
            && let Some(done) = self.done.take()
        {
            done.send(());
        }
        Flow::Next
    }
}

/// What became of what was sent.
#[derive(Default)]
pub(super) struct Sent {
    pub(super) accepted: AtomicUsize,
    pub(super) full: AtomicUsize,
    pub(super) closed: AtomicUsize,
}

impl Sent {
    pub(super) fn note(&self, sent: &Result<(), SendError<Item>>) {
        let counter = match sent {
            Ok(()) => &self.accepted,
            Err(SendError::Full(_)) => &self.full,
            Err(SendError::Closed(_)) => &self.closed,
        };
        counter.fetch_add(1, SeqCst);
    }

    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(SeqCst)
    }

    pub(super) fn all(&self) -> usize {
        self.accepted() + self.full.load(SeqCst) + self.closed.load(SeqCst)
    }
}

/// A thread outside the system that sends `count` items.
pub(super) fn sender(
    sender: usize,
    count: usize,
    to: &Address<Item>,
    sent: &Arc<Sent>,
) -> thread::JoinHandle<()> {
    let (to, sent) = (to.clone(), Arc::clone(sent));
    thread::spawn(move || {
        for number in 0..count {
            sent.note(&to.send(Item { sender, number }));
        }
    })
}

pub(super) fn join(threads: Vec<thread::JoinHandle<()>>) {
    for thread in threads {
        thread.join().expect("a sender does not panic");
    }
}
