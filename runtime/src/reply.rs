//! A reply that is given at most once: one allocation, no timer.

use std::{
    future::Future,
    mem,
    pin::{Pin, pin},
    sync::{Arc, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use crate::{
    budget,
    sync::coarse::{Mutex, MutexGuard, Thread, current, park, thread_local},
};

enum Slot<T> {
    /// No value yet; who to wake when it comes.
    Pending(Option<Waker>),
    Ready(T),
    /// The replier went away.
    Lost,
    /// The asker went away.
    Cancelled,
    Taken,
}

struct Shared<T>(Mutex<Slot<T>>);

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Slot<T>> {
        // Nothing of the user's runs under the lock, so a poisoned slot is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts `next` in if nothing came before, and wakes the asker outside the lock.
    fn settle(&self, next: Slot<T>) {
        let before = {
            let mut slot = self.lock();
            match &*slot {
                Slot::Pending(_) => mem::replace(&mut *slot, next),
                Slot::Ready(_) | Slot::Lost | Slot::Cancelled | Slot::Taken => next,
            }
        };
        if let Slot::Pending(Some(waker)) = before {
            waker.wake();
        }
    }
}

/// The replier's end. Dropping it without a value tells the asker [`Lost`].
pub struct Reply<T>(Arc<Shared<T>>);

/// The asker's end. Dropping it tells the replier that nobody waits any more.
#[must_use = "dropping an answer cancels the request"]
pub struct Answer<T>(Arc<Shared<T>>);

/// The replier went away without a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the replier went away without a reply")]
pub struct Lost;

/// A one-shot reply.
pub fn reply<T: Send>() -> (Reply<T>, Answer<T>) {
    let shared = Arc::new(Shared(Mutex::new(Slot::Pending(None))));
    (Reply(Arc::clone(&shared)), Answer(shared))
}

impl<T> Reply<T> {
    /// Gives the value. If the asker has gone it is dropped.
    pub fn send(self, value: T) {
        self.0.settle(Slot::Ready(value));
    }

    /// True once the asker has dropped its [`Answer`]: whatever is computed for it can stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(*self.0.lock(), Slot::Cancelled)
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        self.0.settle(Slot::Lost);
    }
}

impl<T> Answer<T> {
    /// The value if it has come, `Some(Err(Lost))` if it never will, `None` if it may.
    ///
    /// A value is given once; after it, `Some(Err(Lost))`.
    pub fn try_take(&mut self) -> Option<Result<T, Lost>> {
        let mut slot = self.0.lock();
        match &*slot {
            Slot::Pending(_) => None,
            Slot::Ready(_) => match mem::replace(&mut *slot, Slot::Taken) {
                Slot::Ready(value) => Some(Ok(value)),
                Slot::Pending(_) | Slot::Lost | Slot::Cancelled | Slot::Taken => Some(Err(Lost)),
            },
            Slot::Lost | Slot::Cancelled | Slot::Taken => Some(Err(Lost)),
        }
    }

    /// Blocks the thread until the value comes; for threads outside the system.
    ///
    /// # Errors
    ///
    /// [`Lost`] if the replier went away.
    ///
    /// # Panics
    ///
    /// On a worker: a turn that waits for another turn would hold up everything behind it.
    pub fn wait(self) -> Result<T, Lost> {
        block_on(self)
    }
}

impl<T> Future for Answer<T> {
    type Output = Result<T, Lost>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Slot::Pending(waiting) = &mut *this.0.lock() {
            if !waiting.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *waiting = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        this.try_take().map_or(Poll::Pending, Poll::Ready)
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        // The value, if one is there, is dropped after the lock is given back.
        let before = {
            let mut slot = self.0.lock();
            match &*slot {
                Slot::Pending(_) => mem::replace(&mut *slot, Slot::Cancelled),
                Slot::Ready(_) => mem::replace(&mut *slot, Slot::Taken),
                Slot::Lost | Slot::Cancelled | Slot::Taken => Slot::Taken,
            }
        };
        drop(before);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    /// Made once a thread: an answer that is waited for has often come already.
    static UNPARK: Waker = Waker::from(Arc::new(Unpark(current())));
}

/// Drives one future on the calling thread, which must not be a worker.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    assert!(!budget::is_running(), "a turn may not wait for another turn");
    let waker = UNPARK.with(Waker::clone);
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => park(),
        }
    }
}

impl<T> std::fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

impl<T> std::fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}
