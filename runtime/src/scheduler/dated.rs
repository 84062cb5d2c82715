//! The processes of one class and worker that have a deadline.
//!
//! Behind a lock, because the earliest is taken from the middle of what came, by thieves too.
//! Workers whose processes have no deadlines never take it.

use std::sync::{PoisonError, atomic::Ordering};

use super::queues::ByDeadline;
use crate::{
    cell::Run,
    sync::coarse::{AtomicUsize, Mutex, MutexGuard},
    time::Time,
};

#[derive(Default)]
pub(super) struct Dated {
    queued: Mutex<ByDeadline<Run>>,
    /// Read by whoever looks for work, so not behind the lock.
    len: AtomicUsize,
}

impl Dated {
    fn lock(&self) -> MutexGuard<'_, ByDeadline<Run>> {
        // Runs are only moved under it.
        self.queued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    pub(super) fn push(&self, deadline: Time, run: Run) {
        let mut queued = self.lock();
        queued.push(deadline, run);
        self.len.store(queued.len(), Ordering::Release);
    }

    /// Takes out the one with the earliest deadline.
    pub(super) fn pop(&self) -> Option<(Time, Run)> {
        let mut queued = self.lock();
        let first = queued.pop();
        self.len.store(queued.len(), Ordering::Release);
        first
    }
}
