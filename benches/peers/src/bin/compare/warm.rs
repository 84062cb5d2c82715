//! Memory that the machine has already.
//!
//! A virtual machine may get a page from its host only when it is first touched, which takes some
//! microseconds, and give it back when it has been free for seconds. Of a program that makes a
//! million actors that is most of the CPU (643 of 708 ns an actor were seen, and 74 of 125 in the
//! run after it), and whoever runs first pays for all. So the host is asked beforehand, for every
//! runtime alike.

use std::{env, fs, hint::black_box, process::Command};

/// The option that has this program touch so many bytes and end.
pub(crate) const OPTION: &str = "--touch";

/// As much as the dearest actors of a program take, a million of 7 KiB.
const BYTES: usize = 8 << 30;
const PAGE_BYTES: usize = 4096;

/// Touches memory in a process of its own, so that all of it is free afterwards.
pub(crate) fn touch() {
    let this = env::current_exe().expect("a running program has a path");
    let bytes = (available_bytes() / 2).min(BYTES);
    if bytes == 0 {
        eprintln!("/proc/meminfo does not say what memory is available: none is touched");
        return;
    }
    match Command::new(this).args([OPTION, &bytes.to_string()]).status() {
        Ok(status) if status.success() => {}
        wrong => eprintln!("{bytes} bytes could not be touched: {wrong:?}"),
    }
}

/// Touches every page of `bytes`.
pub(crate) fn touch_here(bytes: usize) {
    let mut pages = vec![0_u8; bytes];
    for page in pages.iter_mut().step_by(PAGE_BYTES) {
        *page = 1;
    }
    black_box(pages);
}

fn available_bytes() -> usize {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = available.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok());
    kib.unwrap_or(0_usize) * 1024
}
