//! What loom leaves as it is, because a model of all of it would not end, and shuttle replaces.
//!
//! On the way of a message through the threads driver every lock that is held while an atomic of
//! the seam is touched, a waker cloned or a thread parked comes from here: shuttle's threads share
//! one thread of the machine, which would wait for itself.

#[cfg(not(evenkeel_shuttle))]
pub(crate) use std::{
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize},
    },
    thread::{Builder, JoinHandle, Thread, current, park, park_timeout},
    thread_local,
    time::Instant,
};

#[cfg(not(evenkeel_shuttle))]
pub(crate) use crossbeam_deque::{Stealer, Worker};

#[cfg(evenkeel_shuttle)]
pub(crate) use super::by_shuttle::{
    Builder, Condvar, Instant, JoinHandle, Mutex, MutexGuard, Thread,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize},
    current,
    deque::{Stealer, Worker},
    is_finished, park, park_timeout, thread_local,
};

/// True if the thread has ended, so that joining it waits for nothing.
#[cfg(not(evenkeel_shuttle))]
pub(crate) fn is_finished<T>(thread: &JoinHandle<T>) -> bool {
    thread.is_finished()
}
