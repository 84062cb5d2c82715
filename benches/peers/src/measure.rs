//! Meters of one process: CPU by getrusage, wall clock, resident memory.

use std::time::Instant;

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};

/// CPU and wall clock since it was started.
pub(crate) struct Meter {
    began: Instant,
    cpu: Cpu,
}

/// What was spent since the meter was started, in nanoseconds.
pub(crate) struct Spent {
    pub(crate) cpu: f64,
    /// What of it the kernel spent.
    pub(crate) kernel: f64,
    pub(crate) wall: f64,
}

impl Meter {
    /// Starts measuring.
    pub(crate) fn start() -> Self {
        Self { cpu: Cpu::now(), began: Instant::now() }
    }

    /// CPU of all threads, and wall clock.
    pub(crate) fn stop(self) -> Spent {
        let wall = self.began.elapsed().as_nanos() as f64;
        let now = Cpu::now();
        let kernel_us = now.kernel_us - self.cpu.kernel_us;
        let cpu_us = now.user_us - self.cpu.user_us + kernel_us;
        Spent { cpu: cpu_us as f64 * 1e3, kernel: kernel_us as f64 * 1e3, wall }
    }
}

/// CPU of all threads since they began.
struct Cpu {
    user_us: i64,
    kernel_us: i64,
}

impl Cpu {
    fn now() -> Self {
        let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask for its own usage");
        let [user_us, kernel_us] =
            [usage.user_time(), usage.system_time()].map(|time| time.num_microseconds());
        Self { user_us, kernel_us }
    }
}

/// Resident memory now.
pub(crate) fn rss_bytes() -> u64 {
    status_kib("VmRSS:") * 1024
}

/// The most that was resident.
pub(crate) fn peak_rss_bytes() -> u64 {
    status_kib("VmHWM:") * 1024
}

fn status_kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says it here");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).expect("it is a number of KiB")
}
