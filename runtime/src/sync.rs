//! The seam through which the lock-free parts reach atomics and shared memory.
//!
//! Normally the standard library's; under `--cfg evenkeel_loom` loom's, which runs a test with
//! every order of the threads that matters (`make loom`).

#[cfg(not(evenkeel_loom))]
pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

#[cfg(evenkeel_loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

#[cfg(evenkeel_loom)]
pub(crate) use loom::cell::UnsafeCell;

/// The standard cell with loom's way of reaching into it, by which loom sees who does.
#[cfg(not(evenkeel_loom))]
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(evenkeel_loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Calls `f` with a pointer that may be written through, by the rules of `UnsafeCell`.
    #[inline]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}
