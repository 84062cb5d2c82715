//! Shared knowledge: one writer, many readers who take an `Arc`.

use std::{
    fmt,
    future::poll_fn,
    mem,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Poll, Waker},
};

use arc_swap::ArcSwap;

use crate::sync::coarse::{Mutex, MutexGuard};

struct Version<T> {
    number: u64,
    value: Arc<T>,
}

struct Board<T> {
    current: ArcSwap<Version<T>>,
    /// The number of `current`, a moment later.
    number: AtomicU64,
    waiting: Mutex<Vec<Waker>>,
}

impl<T> Board<T> {
    fn waiting(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer's end.
pub struct Publisher<T>(Arc<Board<T>>);

/// A reader's end.
pub struct Published<T>(Arc<Board<T>>);

/// A published value, beginning with `initial` as version 0.
pub fn published<T: Send + Sync>(initial: T) -> (Publisher<T>, Published<T>) {
    let current = ArcSwap::from_pointee(Version { number: 0, value: Arc::new(initial) });
    let board =
        Arc::new(Board { current, number: AtomicU64::new(0), waiting: Mutex::new(Vec::new()) });
    (Publisher(Arc::clone(&board)), Published(board))
}

impl<T> Publisher<T> {
    /// Publishes the next version: a `T` or an `Arc<T>`. Readers that wait are woken.
    pub fn set(&mut self, value: impl Into<Arc<T>>) {
        let number = self.0.current.load().number + 1;
        self.0.current.store(Arc::new(Version { number, value: value.into() }));
        self.0.number.store(number, Ordering::Release);
        let waiting = mem::take(&mut *self.0.waiting());
        for waker in waiting {
            waker.wake();
        }
    }

    /// The value as readers see it.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.current.load().value)
    }

    /// One more reader.
    #[must_use]
    pub fn subscribe(&self) -> Published<T> {
        Published(Arc::clone(&self.0))
    }
}

impl<T> Published<T> {
    /// The value as it is now.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.current.load().value)
    }

    /// Looks at the value as it is now, which is held for as long as that takes: spares the count
    /// that [`get`](Self::get) takes.
    pub fn look<R>(&self, at: impl FnOnce(&T) -> R) -> R {
        at(&self.0.current.load().value)
    }

    /// The version of the value as it is now, or was a moment ago; it grows by one with each `set`.
    /// What is read afterwards is that version or a later one. Costs one load.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.number.load(Ordering::Acquire)
    }

    /// A value together with its version.
    #[must_use]
    pub fn get_versioned(&self) -> (Arc<T>, u64) {
        let current = self.0.current.load();
        (Arc::clone(&current.value), current.number)
    }

    /// Waits until the version is later than `version`, and returns it. Versions may be skipped.
    pub async fn changed_since(&self, version: u64) -> u64 {
        poll_fn(|cx| {
            // Under the lock: a writer takes the wakers after it has stored the number, so it
            // either finds this one or has stored that before it is read here.
            let mut waiting = self.0.waiting();
            let current = self.version();
            if current > version {
                return Poll::Ready(current);
            }
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

impl<T> Clone for Published<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: fmt::Debug> fmt::Debug for Published<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = self.0.current.load();
        f.debug_tuple("Published").field(&current.number).field(&*current.value).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Publisher").field(&self.0.current.load().number).finish()
    }
}
