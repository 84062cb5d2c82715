//! The cell of a process: one allocation with its state, its mailbox and its body.
//!
//! Sync actors and async processes live in the same cell and are woken the same way. Addresses,
//! wakers and run queues hold the cell; a process that none of them holds can never run again, and
//! is dropped.
//!
//! # States
//!
//! ```text
//! Unborn --spawn--> Queued <--> Running --> Idle --wake--> Queued
//!                     ^            |  ^
//!                     |          wake |
//!                     |            v  |
//!                     +--------- Notified       any --> Done
//! ```
//!
//! # Invariants
//!
//! - C1: a process is in at most one run queue: only who moves it to `Queued` puts it into one.
//! - C2: only the thread that took it from a queue touches its body, until it leaves `Running`.
#![allow(unsafe_code, reason = "the body is reached without a lock, which C1 and C2 allow")]

use std::{
    cell::UnsafeCell,
    mem,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::Wake,
};

use crate::{
    address::Address,
    budget,
    class::Class,
    mailbox::{Letters, MailboxSpec, Put, Queue, SendError},
    message::Message,
    reply::Reply,
    share::Share,
    status::Exit,
    system::System,
};

const UNBORN: u32 = 0;
const IDLE: u32 = 1;
const QUEUED: u32 = 2;
const RUNNING: u32 = 3;
const NOTIFIED: u32 = 4;
const DONE: u32 = 5;

/// A process as run queues see it.
pub(crate) type Task = Arc<dyn Process>;

/// What the scheduler and the supervisor do with any process.
pub(crate) trait Process: Send + Sync {
    fn header(&self) -> &Header;
    /// Runs one turn, and gives the task back. Only for who has taken it from a run queue.
    fn run(self: Arc<Self>) -> (Task, After);
    /// Makes the process runnable if it is not.
    fn wake_up(self: Arc<Self>);
    /// Ends a process that no thread runs any more, when the system stops.
    fn finish(self: Arc<Self>);
    /// Refuses new messages.
    fn close(&self);
}

/// What is to be done with a process after its turn.
pub(crate) enum After {
    /// It waits to be woken.
    Idle,
    /// It has more to do: to be put into a run queue.
    Again,
    Done,
}

/// How a body ends a turn.
pub(crate) enum Verdict {
    /// Nothing to do until woken; `resumable` if it may go on at once when woken meanwhile.
    Idle {
        resumable: bool,
    },
    /// More to do.
    Again,
    Done(Exit),
}

/// What runs in a cell: an actor with its factory, or a future.
pub(crate) trait Body<M: Message>: Send {
    fn turn(&mut self, me: &Address<M>, taken: &mut Letters<M>) -> Verdict;
}

/// What a process is called and where it belongs; given at spawn.
pub(crate) struct Identity {
    pub(crate) id: u64,
    pub(crate) name: &'static str,
    pub(crate) class: Class,
    pub(crate) share: Option<Share>,
    /// Place in the registry.
    pub(crate) spot: u32,
}

/// The part of a cell that does not depend on its messages.
pub(crate) struct Header {
    state: AtomicU32,
    /// Asked to stop at the next message boundary.
    is_stopping: AtomicBool,
    /// Has used up a quantum since it was woken. Touched by its owner (C2).
    is_spent: AtomicBool,
    /// Reductions used since it was woken. Touched by its owner (C2).
    used: AtomicU32,
    /// Reductions used beyond its quanta.
    pub(crate) debt: AtomicU32,
    /// Counts restarts: what an earlier life has ordered does not reach a later one.
    pub(crate) generation: AtomicU32,
    identity: OnceLock<Identity>,
    exits: Mutex<Vec<Reply<Exit>>>,
    pub(crate) system: System,
}

impl Header {
    /// # Panics
    ///
    /// On a cell that is not spawned; such a cell is in no queue.
    #[inline]
    pub(crate) fn identity(&self) -> &Identity {
        self.identity.get().expect("only spawned processes run")
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state.load(Ordering::Acquire) == DONE
    }

    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.is_spent.load(Ordering::Relaxed)
    }

    /// Books the use of a turn after which the process runs on; says if it is spent by now.
    pub(crate) fn book(&self, used: u32, quantum: u32) -> bool {
        let used = self.used.load(Ordering::Relaxed).saturating_add(used);
        let is_spent = self.is_spent() || used >= quantum;
        self.used.store(if is_spent { 0 } else { used }, Ordering::Relaxed);
        self.is_spent.store(is_spent, Ordering::Relaxed);
        is_spent
    }

    /// What this turn may spend.
    #[inline]
    pub(crate) fn quantum(&self) -> u32 {
        self.identity().share.as_ref().map_or(crate::limits::QUANTUM_REDUCTIONS, Share::quantum)
    }

    /// What is left of the quantum since the process was woken.
    #[inline]
    pub(crate) fn rest(&self, quantum: u32) -> u32 {
        quantum.saturating_sub(self.used.load(Ordering::Relaxed)).max(1)
    }

    /// Moves to `Queued` if that is what a wake-up means now. True: the caller has to enqueue (C1).
    ///
    /// With `publishes` the state is written even where it stays: who takes the process from its
    /// queue reads what was written last, and so sees all that the caller has done before.
    #[inline]
    fn try_queue(&self, publishes: bool) -> bool {
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            let next = match state {
                IDLE => QUEUED,
                RUNNING => NOTIFIED,
                QUEUED | NOTIFIED if publishes => state,
                _ => return false,
            };
            let order = (Ordering::AcqRel, Ordering::Acquire);
            match self.state.compare_exchange_weak(state, next, order.0, order.1) {
                Ok(_) => return state == IDLE,
                Err(now) => state = now,
            }
        }
    }

    /// Asks to be told when the process ends.
    pub(crate) fn on_exit(&self, reply: Reply<Exit>) {
        let mut exits = self.exits.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_done() {
            drop(exits);
            reply.send(Exit::Stopped);
        } else {
            exits.push(reply);
        }
    }
}

struct Slot<M: Message> {
    body: Option<Box<dyn Body<M>>>,
    taken: Letters<M>,
}

/// A process that takes messages of type `M`.
pub(crate) struct Cell<M: Message> {
    header: Header,
    queue: Queue<M>,
    slot: UnsafeCell<Slot<M>>,
}

// SAFETY: `slot` is the only part that is not Sync by itself. It is touched by the holder of the
// one `Mailbox` before birth, by the one thread that runs the process (C2), and by `drop`, which
// has the cell alone. Its contents are Send.
unsafe impl<M: Message> Sync for Cell<M> {}

impl<M: Message> Cell<M> {
    pub(crate) fn new(system: System, spec: MailboxSpec) -> Self {
        Self {
            header: Header {
                state: AtomicU32::new(UNBORN),
                is_stopping: AtomicBool::new(false),
                is_spent: AtomicBool::new(false),
                used: AtomicU32::new(0),
                debt: AtomicU32::new(0),
                generation: AtomicU32::new(0),
                identity: OnceLock::new(),
                exits: Mutex::new(Vec::new()),
                system,
            },
            queue: Queue::new(spec),
            slot: UnsafeCell::new(Slot { body: None, taken: Letters::new() }),
        }
    }

    /// Puts the process in and makes it runnable.
    pub(crate) fn give_birth(self: &Arc<Self>, identity: Identity, body: Box<dyn Body<M>>) {
        let share = identity.share.clone();
        let is_first = self.header.identity.set(identity).is_ok();
        assert!(is_first, "a mailbox is given to one process");
        // SAFETY: the state is Unborn, in which only `give_birth` touches the slot, and the
        // assertion above lets one caller of it pass.
        unsafe { (*self.slot.get()).body = Some(body) };
        if let Some(share) = share {
            share.enter();
        }
        self.header.state.store(QUEUED, Ordering::Release);
        self.header.system.schedule(Arc::clone(self) as Task);
    }

    /// Sends a message by the mailbox's rule.
    #[inline]
    pub(crate) fn send(self: &Arc<Self>, message: M) -> Result<(), SendError<M>> {
        match self.queue.put(message) {
            Put::Accepted { wake, dead } => {
                if wake {
                    self.wake(false);
                }
                if let Some(dead) = dead {
                    self.header.system.count_dead_letters(dead.len());
                }
                Ok(())
            }
            Put::Dropped(message) => {
                self.header.system.count_dead_letters(1);
                drop(message);
                Ok(())
            }
            Put::Refused(error) => Err(error),
        }
    }

    /// Delivers what the process's life number `generation` has ordered.
    pub(crate) fn deliver(self: &Arc<Self>, generation: u32, message: M) {
        if self.header.generation.load(Ordering::Acquire) != generation {
            return;
        }
        match self.queue.put_ordered(message) {
            Ok(true) => self.wake(false),
            Ok(false) => {}
            Err(message) => {
                self.header.system.count_dead_letters(1);
                drop(message);
            }
        }
    }

    pub(crate) const fn queue(&self) -> &Queue<M> {
        &self.queue
    }

    pub(crate) const fn header(&self) -> &Header {
        &self.header
    }

    /// Wakes the process. Without `publishes` for a message, which was put in under the mailbox's
    /// lock: that orders the state read here after the one in which the process began to wait.
    #[inline]
    fn wake(self: &Arc<Self>, publishes: bool) {
        if self.header.try_queue(publishes) {
            if let Some(share) = &self.header.identity().share {
                share.enter();
            }
            self.header.system.schedule(Arc::clone(self) as Task);
        }
    }

    /// Closes a mailbox that was never given to a process.
    pub(crate) fn abandon(&self) {
        drop(self.queue.close_and_drain());
    }

    /// Leaves the stage: drops body and messages, tells who asked.
    fn end(&self, exit: &Exit) {
        // SAFETY: called by the owner (C2), or by `finish`, which requires that no thread runs it.
        let slot = unsafe { &mut *self.slot.get() };
        let body = slot.body.take();
        let taken = mem::take(&mut slot.taken);
        let waiting = self.queue.close_and_drain();
        let before = self.header.state.swap(DONE, Ordering::AcqRel);
        self.header.system.count_dead_letters(taken.len() + waiting.len());
        self.leave(before);
        // What the user has in there may panic when dropped, and may send: last, and each alone.
        quietly(|| drop(body));
        quietly(|| drop((taken, waiting)));
        let mut exits = self.header.exits.lock().unwrap_or_else(PoisonError::into_inner);
        for reply in mem::take(&mut *exits) {
            reply.send(exit.clone());
        }
    }

    /// Gives up the place in the share, which only who runs or wants to run has, and in the
    /// registry.
    fn leave(&self, state: u32) {
        let identity = self.header.identity();
        if let Some(share) = identity.share.as_ref().filter(|_| state != IDLE) {
            share.leave();
        }
        self.header.system.leave(identity.spot);
    }
}

/// Runs `drops`, whose panic would otherwise end a worker.
fn quietly(drops: impl FnOnce()) {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(drops));
    if result.is_err() {
        tracing::error!("a process panicked while it was dropped");
    }
}

impl<M: Message> Process for Cell<M> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn run(self: Arc<Self>) -> (Task, After) {
        let me = Address::new(self);
        let cell = me.cell();
        let header = &cell.header;
        loop {
            // Read and written in one: either a waker sees Running and notifies, or its writing
            // is read here, and this turn sees what the waker has done before.
            header.state.swap(RUNNING, Ordering::AcqRel);
            // SAFETY: the state says Running, and this thread took the process from its queue (C2).
            let slot = unsafe { &mut *cell.slot.get() };
            let body = slot.body.as_mut().expect("a process that is not done has a body");
            match body.turn(&me, &mut slot.taken) {
                Verdict::Again => {
                    header.state.swap(QUEUED, Ordering::AcqRel);
                    return (me.into_cell(), After::Again);
                }
                Verdict::Done(exit) => {
                    cell.end(&exit);
                    return (me.into_cell(), After::Done);
                }
                Verdict::Idle { resumable } => {
                    header.is_spent.store(false, Ordering::Relaxed);
                    header.used.store(0, Ordering::Relaxed);
                    let share = header.identity().share.as_ref();
                    if header
                        .state
                        .compare_exchange(RUNNING, IDLE, Ordering::AcqRel, Ordering::Acquire)
                        .is_ok()
                    {
                        if let Some(share) = share {
                            share.leave();
                        }
                        return (me.into_cell(), After::Idle);
                    }
                    // Woken meanwhile. An actor goes on within its quantum; a future that woke
                    // itself wants others to run first.
                    if !resumable || budget::left() == 0 {
                        header.state.swap(QUEUED, Ordering::AcqRel);
                        return (me.into_cell(), After::Again);
                    }
                }
            }
        }
    }

    fn wake_up(self: Arc<Self>) {
        Self::wake(&self, true);
    }

    fn finish(self: Arc<Self>) {
        if self.header.identity.get().is_some() && !self.header.is_done() {
            self.end(&Exit::Stopped);
        }
    }

    fn close(&self) {
        self.queue.close();
    }
}

impl<M: Message> Wake for Cell<M> {
    fn wake(self: Arc<Self>) {
        Process::wake_up(self);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        Process::wake_up(Arc::clone(self));
    }
}

impl<M: Message> Drop for Cell<M> {
    fn drop(&mut self) {
        // Nobody can reach it any more: the last address of an idle process is gone, or the queue
        // that held it was dropped with its system.
        if self.header.identity.get().is_some() && !self.header.is_done() {
            let state = *self.header.state.get_mut();
            self.leave(state);
            let exits = self.header.exits.get_mut().unwrap_or_else(PoisonError::into_inner);
            for reply in mem::take(exits) {
                reply.send(Exit::Unreachable);
            }
        }
    }
}
