//! Meters of one process: CPU by getrusage, wall clock, resident memory.

use std::time::Instant;

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};

/// CPU and wall clock since it was started.
pub(crate) struct Meter {
    cpu_us: i64,
    began: Instant,
}

impl Meter {
    /// Starts measuring.
    pub(crate) fn start() -> Self {
        Self { cpu_us: cpu_us(), began: Instant::now() }
    }

    /// CPU of all threads, and wall clock, in nanoseconds.
    pub(crate) fn stop(self) -> (f64, f64) {
        let wall_ns = self.began.elapsed().as_nanos() as f64;
        ((cpu_us() - self.cpu_us) as f64 * 1e3, wall_ns)
    }
}

fn cpu_us() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask for its own usage");
    usage.user_time().num_microseconds() + usage.system_time().num_microseconds()
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
