//! The seam under shuttle: its threads, atomics and locks, and time that is none of the machine's.
//!
//! Shuttle runs all threads of a model on one thread of the machine and switches between them at
//! each operation on one of these. It draws which one goes on, from a seed.
//!
//! What it does not have is made here: queues that are stolen from (crossbeam's, which are trusted,
//! with a switch before each operation), cells that see two threads in them at once, and a clock.

use std::{
    cell::{Cell, UnsafeCell as StdCell},
    ops::Sub,
    time::Duration,
};

pub(crate) use shuttle::{
    sync::{Condvar, Mutex, MutexGuard, atomic},
    thread::{Builder, JoinHandle, Thread, current, park},
    thread_local,
};

/// What each look at the clock takes, in nanoseconds: a turn is some microseconds long, as it is.
const TICK_NS: u64 = 1_000;

std::thread_local! {
    /// Nanoseconds since this thread's first model began.
    static NOW: Cell<u64> = const { Cell::new(0) };
    /// Cells that were made and not given back.
    static CELLS: Cell<i64> = const { Cell::new(0) };
}

/// A point in the model's time, which passes while somebody looks at it or waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(u64);

impl Instant {
    pub(crate) fn now() -> Self {
        pass(Duration::from_nanos(TICK_NS));
        Self(NOW.get())
    }

    pub(crate) fn elapsed(self) -> Duration {
        Self::now() - self
    }

    pub(crate) fn saturating_duration_since(self, earlier: Self) -> Duration {
        self - earlier
    }

    pub(crate) fn checked_add(self, duration: Duration) -> Option<Self> {
        self.0.checked_add(crate::time::nanos(duration)).map(Self)
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Lets time pass, for all threads of the model.
pub(crate) fn pass(duration: Duration) {
    NOW.set(NOW.get().saturating_add(crate::time::nanos(duration)));
}

/// What a thread had the processor for: all of the model's time.
pub(crate) fn thread_ns() -> u64 {
    NOW.get()
}

/// Lets others run, and then `timeout` pass; a wake-up that comes meanwhile ends a later park,
/// which the callers allow for. So a timed park never blocks for good: only one without a timeout
/// shows a wake-up that was lost.
pub(crate) fn park_timeout(timeout: Duration) {
    shuttle::thread::yield_now();
    pass(timeout);
}

/// Shuttle does not say, but here nobody joins in vain: a thread that never ends is a deadlock.
pub(crate) const fn is_finished<T>(_thread: &JoinHandle<T>) -> bool {
    true
}

/// Counts cells that are made (1) and given back (-1), and says how many there are.
pub(crate) fn count_cells(more: i64) -> Option<i64> {
    CELLS.set(CELLS.get() + more);
    Some(CELLS.get())
}

/// The standard cell, which sees if a second thread reaches into it.
#[derive(Debug)]
pub(crate) struct UnsafeCell<T> {
    value: StdCell<T>,
    is_used: Cell<bool>,
}

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { value: StdCell::new(value), is_used: Cell::new(false) }
    }

    /// Calls `f` with a pointer that may be read through, by the rules of `UnsafeCell`.
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        assert!(!self.is_used.get(), "a thread reads what another one writes");
        f(self.value.get())
    }

    /// Calls `f` with a pointer that may be written through, by the rules of `UnsafeCell`.
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        struct Used<'a>(&'a Cell<bool>);
        impl Drop for Used<'_> {
            fn drop(&mut self) {
                self.0.set(false);
            }
        }
        assert!(!self.is_used.replace(true), "two threads are in one cell");
        let _used = Used(&self.is_used);
        f(self.value.get())
    }
}

/// crossbeam's queues, in as many steps as other threads can tell apart.
pub(crate) mod deque {
    use std::sync::Arc;

    use crossbeam_deque::Steal;
    use shuttle::sync::atomic::{AtomicBool, Ordering};

    /// The most that one steal takes, as crossbeam's.
    const BATCH_MAX: usize = 32;

    /// Where shuttle may switch to another thread.
    #[derive(Clone, Default)]
    struct Point(Arc<AtomicBool>);

    impl Point {
        fn pass(&self) {
            self.0.load(Ordering::SeqCst);
        }
    }

    /// The owner's end.
    pub(crate) struct Worker<T> {
        queue: crossbeam_deque::Worker<T>,
        point: Point,
    }

    /// The others' end.
    pub(crate) struct Stealer<T> {
        queue: crossbeam_deque::Stealer<T>,
        point: Point,
    }

    impl<T> Worker<T> {
        pub(crate) fn new_fifo() -> Self {
            Self { queue: crossbeam_deque::Worker::new_fifo(), point: Point::default() }
        }

        pub(crate) fn stealer(&self) -> Stealer<T> {
            Stealer { queue: self.queue.stealer(), point: self.point.clone() }
        }

        pub(crate) fn push(&self, item: T) {
            self.point.pass();
            self.queue.push(item);
        }

        pub(crate) fn pop(&self) -> Option<T> {
            self.point.pass();
            self.queue.pop()
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.point.pass();
            self.queue.is_empty()
        }
    }

    impl<T> Stealer<T> {
        pub(crate) fn len(&self) -> usize {
            self.point.pass();
            self.queue.len()
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.len() == 0
        }

        /// Takes half in one step, and shows it in the other queue in another: between them it is
        /// in neither.
        pub(crate) fn steal_batch(&self, to: &Worker<T>) -> Steal<()> {
            let half = self.len().div_ceil(2).min(BATCH_MAX);
            let taken: Vec<T> = (0..half).map_while(|_| self.queue.steal().success()).collect();
            to.point.pass();
            if taken.is_empty() {
                return Steal::Empty;
            }
            taken.into_iter().for_each(|item| to.queue.push(item));
            Steal::Success(())
        }
    }
}
