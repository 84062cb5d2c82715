//! The inline driver: the caller's thread, the machine's clock, no other thread.
//!
//! For programs that want a system without threads of its own. Classes share by the same weights as
//! on threads, a class is first in, first out; turns are charged by count alone, as when simulated,
//! so that what else the machine does changes no order. Jobs of `compute` and `blocking` run on the
//! same thread, between two turns, so one that is long holds up everything. There is no reactor.
//! Whoever wants virtual time takes the simulated driver.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use crate::{
    budget,
    cell::Run,
    single::{Pick, Single},
    system::{Driver, System},
    time::Time,
};

/// Tells the thread that drives the system that there may be something to do.
#[derive(Default)]
struct Signal {
    is_set: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Signal {
    fn set(&self) {
        if !self.is_set.swap(true, Ordering::AcqRel) {
            // Under the lock, so that it does not fall between a waiter's look and its wait.
            let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.changed.notify_one();
            drop(guard);
        }
    }

    /// Waits until it is set, at most for `timeout`, and takes it back.
    fn wait(&self, timeout: Option<Duration>) {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let is_unset = |(): &mut ()| !self.is_set.load(Ordering::Acquire);
        match timeout {
            Some(timeout) => drop(self.changed.wait_timeout_while(guard, timeout, is_unset)),
            None => drop(self.changed.wait_while(guard, is_unset)),
        }
        self.is_set.store(false, Ordering::Release);
    }
}

/// What an inline system has instead of threads.
pub(crate) struct InlineDriver {
    pub(crate) single: Single,
    signal: Arc<Signal>,
}

impl InlineDriver {
    pub(crate) fn new() -> Self {
        Self { single: Single::new(Pick::First), signal: Arc::default() }
    }

    pub(crate) fn schedule(&self, run: Run, since: Time) {
        self.single.schedule(run, since);
        self.signal.set();
    }

    pub(crate) fn timer_set(&self) {
        self.signal.set();
    }
}

/// Wakes a future that [`Inline::run_until`] drives.
struct FutureWake {
    is_woken: AtomicBool,
    signal: Arc<Signal>,
}

impl Wake for FutureWake {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.signal.set();
    }
}

/// An inline system, driven by the thread that holds this.
///
/// Other threads may send to its processes and complete what they wait for; they run only while one
/// of the methods below does.
#[derive(Debug)]
pub struct Inline {
    system: System,
}

impl Inline {
    pub(crate) const fn new(system: System) -> Self {
        Self { system }
    }

    /// The system, to spawn into.
    #[must_use]
    pub const fn system(&self) -> &System {
        &self.system
    }

    /// Runs until nothing is runnable and no timer is due, and says when the next one is.
    ///
    /// Never returns while a process always has more to do.
    ///
    /// # Panics
    ///
    /// In a turn.
    pub fn run_until_idle(&mut self) -> Option<Time> {
        assert!(!budget::is_running(), "a turn may not drive a system");
        while self.driver().single.step(&self.system) {}
        self.system.timers().first()
    }

    /// Runs until `future`, for example an `Answer`, is ready. With nothing to do the thread sleeps
    /// until the next timer, or until another thread wakes something; if nobody ever does, this
    /// never returns.
    ///
    /// # Panics
    ///
    /// In a turn.
    pub fn run_until<F: Future>(&mut self, future: F) -> F::Output {
        assert!(!budget::is_running(), "a turn may not drive a system");
        let driver = self.driver();
        let signal = Arc::clone(&driver.signal);
        let wake = Arc::new(FutureWake { is_woken: AtomicBool::new(true), signal });
        let waker = Waker::from(Arc::clone(&wake));
        let mut cx = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            if wake.is_woken.swap(false, Ordering::AcqRel)
                && let Poll::Ready(output) = future.as_mut().poll(&mut cx)
            {
                return output;
            }
            if !driver.single.step(&self.system) && !wake.is_woken.load(Ordering::Acquire) {
                let first = self.system.timers().first();
                driver.signal.wait(first.map(|first| first - self.system.now()));
            }
        }
    }

    fn driver(&self) -> &InlineDriver {
        match &self.system.core().driver {
            Driver::Inline(driver) => driver,
            Driver::Threads(_) | Driver::Simulated(_) => {
                unreachable!("an inline system is made with its driver")
            }
        }
    }
}

impl Drop for Inline {
    fn drop(&mut self) {
        // Processes hold the system, and are queued in it: taken apart here, or never freed.
        self.driver().single.end_all(&self.system);
        self.system.timers().clear();
    }
}
