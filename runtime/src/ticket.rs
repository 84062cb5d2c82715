//! Tickets: how a parked actor learns that what it waits for is done.

use std::sync::{Arc, atomic::Ordering};

use crate::{cell::Task, sync::coarse::AtomicBool};

/// What an actor parks on; given back in `Flow::Park`.
#[derive(Debug)]
pub struct Ticket(Arc<AtomicBool>);

impl Ticket {
    /// True once the completion was used or dropped.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Completes a [`Ticket`], from any thread. Dropping it completes too: an actor whose helper died
/// must not park forever, and sees from its own state that nothing came.
#[must_use = "dropping a completion completes its ticket"]
pub struct Completion {
    is_done: Arc<AtomicBool>,
    process: Option<Task>,
}

impl Completion {
    /// Lets the actor resume.
    pub fn complete(self) {
        drop(self);
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.is_done.store(true, Ordering::Release);
        if let Some(process) = self.process.take() {
            process.wake_up();
        }
    }
}

pub(crate) fn ticket(process: Task) -> (Ticket, Completion) {
    let is_done = Arc::new(AtomicBool::new(false));
    (Ticket(Arc::clone(&is_done)), Completion { is_done, process: Some(process) })
}
