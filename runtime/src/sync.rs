//! The seam through which the lock-free parts reach atomics, locks, threads and shared memory.
//!
//! Normally the standard library's; under `--cfg evenkeel_loom` loom's, which runs a test with
//! every order of the threads that matters (`make loom`). Loom switches between threads inside all
//! of these, so whatever holds a lock across one of them takes the lock from here too.
//!
//! Under `--cfg evenkeel_shuttle` they are shuttle's, and so is all of [`coarse`]: then the whole
//! threads driver runs in orders that are drawn (`make shuttle`).

#[cfg(evenkeel_shuttle)]
mod by_shuttle;
pub(crate) mod coarse;

#[cfg(all(test, evenkeel_shuttle))]
pub(crate) use self::by_shuttle::pass;
#[cfg(evenkeel_shuttle)]
pub(crate) use self::by_shuttle::{
    Condvar, Mutex, MutexGuard, Thread, UnsafeCell,
    atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
    count_cells, current, park, park_timeout, thread_ns,
};
#[cfg(not(any(evenkeel_loom, evenkeel_shuttle)))]
pub(crate) use std::{
    sync::{
        Condvar, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
    },
    thread::{Thread, current, park, park_timeout},
};

#[cfg(evenkeel_loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
    },
    thread::{Thread, current, park},
};

/// The standard cell with loom's way of reaching into it, by which loom sees who does.
#[cfg(not(any(evenkeel_loom, evenkeel_shuttle)))]
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(any(evenkeel_loom, evenkeel_shuttle)))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Calls `f` with a pointer that may be read through, by the rules of `UnsafeCell`.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    /// Calls `f` with a pointer that may be written through, by the rules of `UnsafeCell`.
    #[inline]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// Counts cells that are made (1) and given back (-1), and says how many there are; in builds with
/// debug assertions alone, for tests that look for leaks.
#[cfg(not(evenkeel_shuttle))]
#[inline]
pub(crate) fn count_cells(more: i64) -> Option<i64> {
    static CELLS: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(0);
    cfg!(debug_assertions).then(|| CELLS.fetch_add(more, Ordering::Relaxed) + more)
}

/// Stands for what counts keep alive. Loom sees by it that every use comes before the end; without
/// loom it is nothing.
#[cfg(not(evenkeel_loom))]
pub(crate) struct Alive;

#[cfg(not(evenkeel_loom))]
impl Alive {
    pub(crate) const fn new() -> Self {
        Self
    }

    /// It is used.
    #[inline]
    pub(crate) const fn used(_: &Self) {}

    /// It ends next.
    #[inline]
    pub(crate) const fn ends(_: &Self) {}
}

#[cfg(evenkeel_loom)]
pub(crate) struct Alive(UnsafeCell<()>);

#[cfg(evenkeel_loom)]
impl Alive {
    pub(crate) fn new() -> Self {
        Self(UnsafeCell::new(()))
    }

    pub(crate) fn used(this: &Self) {
        this.0.with(|_| ());
    }

    pub(crate) fn ends(this: &Self) {
        this.0.with_mut(|_| ());
    }
}

/// A time in a model is as long as the others like.
#[cfg(evenkeel_loom)]
pub(crate) fn park_timeout(_timeout: std::time::Duration) {
    loom::thread::yield_now();
}

/// The standard lock, with an atomic of loom's or shuttle's for what it promises: who finds the
/// value sees what was done before it was put in.
#[cfg(any(evenkeel_loom, evenkeel_shuttle))]
pub(crate) struct OnceLock<T> {
    is_set: AtomicBool,
    value: std::sync::OnceLock<T>,
}

#[cfg(any(evenkeel_loom, evenkeel_shuttle))]
impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self { is_set: AtomicBool::new(false), value: std::sync::OnceLock::new() }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        if self.is_set.load(Ordering::Acquire) { self.value.get() } else { None }
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        let set = self.value.set(value);
        self.is_set.swap(true, Ordering::AcqRel);
        set
    }
}

/// Runs a model too big for every order: those with at most `preemptions_max` switches away from a
/// thread that could go on, or as many as the environment says.
#[cfg(all(test, evenkeel_loom))]
pub(crate) fn model(preemptions_max: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions_max));
    builder.check(model);
}
