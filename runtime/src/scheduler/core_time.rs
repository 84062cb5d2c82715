//! How long a worker's thread had the processor, to tell a long turn from one that the kernel
//! interrupted.
//!
//! A turn is timed by a counter that goes on while the kernel runs other threads. Charged for
//! that, a process would pay for its neighbours on the machine. The thread's own time costs a
//! system call, so it is read only when a turn looks long, and every few milliseconds to compare
//! with.

use std::{cell::Cell, time::Duration};

#[cfg(not(evenkeel_shuttle))]
use rustix::time::{ClockId, clock_gettime};

#[cfg(evenkeel_shuttle)]
use crate::sync::thread_ns;
use crate::time::{Time, nanos};

/// Nanoseconds that the calling thread has had a processor.
#[cfg(not(evenkeel_shuttle))]
fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// One worker's time and its thread's, side by side.
#[derive(Default)]
pub(super) struct CoreTime {
    /// When both were read last.
    base: Cell<(Time, u64)>,
    /// Nanoseconds since then in which the worker had nothing to do.
    idle_ns: Cell<u64>,
}

impl CoreTime {
    /// Reads both.
    pub(super) fn begin(&self, now: Time) {
        self.begin_at(now, thread_ns());
    }

    fn begin_at(&self, now: Time, thread: u64) {
        self.base.set((now, thread));
        self.idle_ns.set(0);
    }

    /// The worker had nothing to do for so long.
    #[inline]
    pub(super) fn was_idle(&self, idle: Duration) {
        self.idle_ns.set(self.idle_ns.get().saturating_add(nanos(idle)));
    }

    /// What of a turn of `turn_ns` that has just ended its thread had the processor for. All that
    /// was missing since the last reading, milliseconds ago, counts as missing here, and all of it
    /// where the kernel counts a thread's time in ticks and none has passed.
    #[cold]
    pub(super) fn within(&self, turn_ns: u64, now: Time) -> u64 {
        self.within_at(turn_ns, now, thread_ns())
    }

    fn within_at(&self, turn_ns: u64, now: Time, thread: u64) -> u64 {
        let (since, thread_since) = self.base.get();
        let had = thread.saturating_sub(thread_since);
        let busy = nanos(now - since).saturating_sub(self.idle_ns.get());
        self.begin_at(now, thread);
        turn_ns.saturating_sub(busy.saturating_sub(had))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Goal: what the thread worked counts; what it did not run, and idle time, do not.
    #[test]
    fn only_time_on_the_core_counts() {
        let at = |ms: u64| Time::from_nanos(ms * MS);
        let core_time = CoreTime::default();
        core_time.begin_at(at(10), 7 * MS);
        core_time.was_idle(Duration::from_millis(3));
        // Ten milliseconds, three of them idle, two on the core: the turn of six had one of them.
        assert_eq!(core_time.within_at(6 * MS, at(20), 9 * MS), MS);
        // Then nothing is missing any more.
        assert_eq!(core_time.within_at(2 * MS, at(23), 12 * MS), 2 * MS);
        assert_eq!(core_time.within_at(2 * MS, at(26), 12 * MS), 0);
    }

    /// Goal: the thread's time moves with its work.
    #[test]
    fn a_threads_time_moves() {
        let before = thread_ns();
        while thread_ns() < before + MS / 10 {
            std::hint::spin_loop();
        }
    }
}
