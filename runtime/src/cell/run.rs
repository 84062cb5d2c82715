//! What is in run queues: a process that is to run, or runs; with the stack of those that were made
//! runnable from elsewhere, and the slot of the one that is next.
#![allow(unsafe_code, reason = "a run reaches the cell without being counted (C4)")]

use std::{
    mem::{self, ManuallyDrop},
    ops::Deref,
    ptr::{self, NonNull},
};

use super::{Ended, Header, Task, Wait};
use crate::{
    budget,
    status::Exit,
    sync::{AtomicPtr, Ordering},
};

/// What is to be done with a process after its turn.
pub(crate) enum After {
    /// It waits to be woken, and may be gone; but for the last holder, if it had got that.
    Idle(Option<Task>),
    /// It has more to do: to be put into a run queue.
    Again(Run),
    /// It has ended; this may be the last holder.
    Done(Task),
}

/// A process that is queued or runs (C1). Not counted among its holders: a message that wakes a
/// process, and its turn, pay no locked instruction for that. Dropped, it ends the process.
pub(crate) struct Run(ManuallyDrop<Task>);

impl Deref for Run {
    type Target = Task;

    #[inline]
    fn deref(&self) -> &Task {
        &self.0
    }
}

impl Run {
    /// For who has taken the process's mark off the queue's word (Q1), or a run out of where it
    /// lay.
    #[inline]
    pub(super) const fn new(cell: NonNull<Header>) -> Self {
        Self(ManuallyDrop::new(Task(cell)))
    }

    /// Runs one turn, or several if the process is woken at the end of one. `ends` is told at the
    /// end of each, before the process waits and others may run or drop it.
    #[inline]
    pub(crate) fn turn(self, mut ends: impl FnMut(&Header)) -> After {
        let mut heritage = None;
        loop {
            // SAFETY: whoever has a run owns the turn (C2); the vtable is this cell's.
            let ended = unsafe { (self.vtable.turn)(self.0.0) };
            // At one place, since it is worth being inlined. A process that is done is still held.
            ends(&self);
            let wait = match ended {
                Ended::Waits(wait) => wait,
                Ended::Again => return After::Again(self),
                // The end has counted a holder, which this is.
                Ended::Done => return After::Done(Task(ManuallyDrop::new(self).0.0)),
            };
            if self.leave(wait, &mut heritage) {
                mem::forget(self);
                return After::Idle(heritage);
            }
            // Woken meanwhile. An actor goes on within its quantum; a future that woke itself wants
            // others to run first.
            let is_resumable = matches!(wait, Wait::Idle | Wait::Parked);
            if !is_resumable || budget::left() == 0 {
                return After::Again(self);
            }
            // A turn that only looks why it was woken costs something too.
            budget::consume(1);
        }
    }

    /// Lets the process wait, unless it was woken meanwhile. After `true` it may run elsewhere
    /// already, or be gone, but for the holder that it had got: that is in `heritage`.
    #[inline]
    fn leave(&self, wait: Wait, heritage: &mut Option<Task>) -> bool {
        // SAFETY: as in `turn`; after `true` nothing is reached through this any more.
        while !unsafe { (self.vtable.leave)(self.0.0, wait) } {
            if !self.queue.take_heritage() {
                return false;
            }
            *heritage = Some(Task(self.0.0));
        }
        true
    }

    /// A run, as if the process was woken; for one that waits, and has no other.
    #[cfg(all(test, not(evenkeel_shuttle)))]
    pub(crate) const fn of(process: &Task) -> Self {
        Self::new(process.0)
    }

    /// A holder beside the run, for whoever looks at the process after its turn.
    pub(crate) fn hold(&self) -> Task {
        Task::clone(&self.0)
    }
}

impl Drop for Run {
    #[cold]
    fn drop(&mut self) {
        let process = self.hold();
        let exit = if std::thread::panicking() {
            Exit::Panicked("outside of its handler".to_owned())
        } else {
            Exit::Stopped
        };
        // SAFETY: whoever has a run owns the turn (C2); the vtable is this cell's, and it is held.
        unsafe { (process.vtable.end)(process.0, &exit) };
    }
}

/// Runs made by threads that have no queue of their own: pushed by anybody, taken whole.
#[derive(Default)]
pub(crate) struct RunStack(AtomicPtr<Header>);

impl RunStack {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Ordering::SeqCst).is_null()
    }

    pub(crate) fn push(&self, run: Run) {
        let run = ManuallyDrop::new(run);
        let mut top = self.0.load(Ordering::Relaxed);
        loop {
            run.below.store(top, Ordering::Relaxed);
            let order = (Ordering::AcqRel, Ordering::Relaxed);
            match self.0.compare_exchange_weak(top, run.0.0.as_ptr(), order.0, order.1) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }

    /// Hands out all, in the order they came.
    pub(crate) fn take(&self, mut each: impl FnMut(Run)) {
        let mut newest = self.0.swap(ptr::null_mut(), Ordering::AcqRel);
        let mut oldest = ptr::null_mut::<Header>();
        while let Some(run) = NonNull::new(newest) {
            // SAFETY: what lies in the stack is a run, and was taken whole.
            let below = &unsafe { run.as_ref() }.below;
            newest = below.load(Ordering::Relaxed);
            below.store(oldest, Ordering::Relaxed);
            oldest = run.as_ptr();
        }
        while let Some(run) = NonNull::new(oldest) {
            // SAFETY: as above; read before the run is handed out and may be pushed again.
            oldest = unsafe { run.as_ref() }.below.load(Ordering::Relaxed);
            each(Run::new(run));
        }
    }
}

impl Drop for RunStack {
    fn drop(&mut self) {
        self.take(drop);
    }
}

/// Room for one run: its owner puts one in, anybody takes it out.
#[derive(Default)]
pub(crate) struct RunSlot(AtomicPtr<Header>);

impl RunSlot {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed).is_null()
    }

    /// Puts a run in; hands out the one that was there. By the owner alone.
    #[inline]
    pub(crate) fn put(&self, run: Run) -> Option<Run> {
        let run = ManuallyDrop::new(run);
        if self.is_empty() {
            // Nobody else fills it.
            self.0.store(run.0.0.as_ptr(), Ordering::Release);
            return None;
        }
        let before = self.0.swap(run.0.0.as_ptr(), Ordering::AcqRel);
        NonNull::new(before).map(Run::new)
    }

    /// Takes it where nobody else does, without a locked instruction. By the owner alone.
    #[inline]
    pub(crate) fn take_alone(&self) -> Option<Run> {
        let run = NonNull::new(self.0.load(Ordering::Relaxed))?;
        self.0.store(ptr::null_mut(), Ordering::Relaxed);
        Some(Run::new(run))
    }

    #[inline]
    pub(crate) fn take(&self) -> Option<Run> {
        if self.is_empty() {
            return None;
        }
        // What lies in the slot is a run, and who swaps it out has it.
        NonNull::new(self.0.swap(ptr::null_mut(), Ordering::AcqRel)).map(Run::new)
    }
}

impl Drop for RunSlot {
    fn drop(&mut self) {
        drop(self.take());
    }
}
