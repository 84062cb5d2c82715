//! How long a worker's thread had the processor, to tell a long turn from one that the kernel
//! interrupted.
//!
//! A turn is timed by a counter that goes on while the kernel runs other threads. Charged for that,
//! a process would pay for its neighbours on the machine. The thread's own time costs a system call,
//! so it is read only when a turn looks long, and every few milliseconds to compare with.

use std::{cell::Cell, time::Duration};

use rustix::time::{ClockId, clock_gettime};

use crate::{
    limits::QUANTUM_NS,
    time::{Time, nanos},
};

/// Nanoseconds that the calling thread has had a processor.
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
        self.base.set((now, thread_ns()));
        self.idle_ns.set(0);
    }

    /// The worker had nothing to do for so long.
    #[inline]
    pub(super) fn was_idle(&self, idle: Duration) {
        self.idle_ns.set(self.idle_ns.get().saturating_add(nanos(idle)));
    }

    /// What of a turn of `turn_ns` that has just ended its thread had the processor for. All that was
    /// missing since the last reading, milliseconds ago, counts as missing here. At least a quantum,
    /// for where the kernel counts a thread's time in ticks.
    #[cold]
    pub(super) fn within(&self, turn_ns: u64, now: Time) -> u64 {
        let (since, thread_since) = self.base.get();
        let had = thread_ns().saturating_sub(thread_since);
        let busy = nanos(now - since).saturating_sub(self.idle_ns.get());
        self.begin(now);
        turn_ns.saturating_sub(busy.saturating_sub(had)).max(QUANTUM_NS)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Goal: what the thread worked is charged, what it did not run is not, and idle time is neither.
    #[test]
    fn only_time_on_the_core_is_charged() {
        const WORK_NS: u64 = 2_000_000;
        let start = Instant::now();
        let now = || Time::from_nanos(nanos(start.elapsed()));
        let core_time = CoreTime::default();
        for idle in [Duration::ZERO, Duration::from_millis(3)] {
            let began = now();
            core_time.begin(began);
            core_time.was_idle(idle);
            std::thread::sleep(idle);
            let turn = now();
            let until = thread_ns() + WORK_NS;
            while thread_ns() < until {
                std::hint::spin_loop();
            }
            std::thread::sleep(Duration::from_millis(5));
            let end = now();
            let charged = core_time.within(nanos(end - turn), end);
            // What the kernel took before the turn counts as missing in it.
            let before = nanos((turn - began) - idle);
            assert!(charged + before >= WORK_NS, "{charged}, {before}");
            assert!(charged < nanos(end - turn) - 4_000_000, "{charged} of {:?}", end - turn);
        }
    }
}
