//! What came out: each failure in a line, and the sum.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Mutex, PoisonError},
};

use serde_json::json;

/// What came out so far, of all threads.
#[derive(Debug)]
pub(super) struct Tally {
    is_json: bool,
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
}

impl Tally {
    pub(super) const fn new(is_json: bool) -> Self {
        Self { is_json, passed: 0, failed: 0, skipped: 0 }
    }

    /// Prints the sum.
    pub(super) fn print(&self, files: usize, cpu_seconds: f64) {
        let Self { is_json, passed, failed, skipped } = self;
        if *is_json {
            println!(
                "{}",
                json!({ "passed": passed, "failed": failed, "skipped": skipped, "files": files,
                    "cpuSeconds": cpu_seconds })
            );
            return;
        }
        println!("{files} files, {cpu_seconds:.1} CPU-s");
        println!("{passed} passed, {failed} failed, {skipped} skipped");
    }

    fn fail(&mut self, file: &Path, test: &str, fork: Option<&str>, reason: &str) {
        self.failed += 1;
        let file = file.display().to_string();
        if self.is_json {
            println!("{}", json!({ "file": file, "test": test, "fork": fork, "reason": reason }));
            return;
        }
        let fork = fork.map_or_else(String::new, |fork| format!(" [{fork}]"));
        println!("FAIL {file} {test}{fork}: {reason}");
    }
}

/// The tests of one file, as they are run.
pub(super) struct Cases<'a> {
    file: &'a Path,
    total: &'a Mutex<Tally>,
}

impl<'a> Cases<'a> {
    pub(super) const fn new(file: &'a Path, total: &'a Mutex<Tally>) -> Self {
        Self { file, total }
    }

    /// The file.
    pub(super) const fn file(&self) -> &'a Path {
        self.file
    }

    /// Name of the file without its folder.
    pub(super) fn file_name(&self) -> &str {
        self.file.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// Runs a test; it fails with the reason that `check` gives, also by a panic.
    pub(super) fn run(
        &mut self,
        test: &str,
        fork: Option<&str>,
        check: impl FnOnce() -> Result<(), String>,
    ) {
        let checked = catch_unwind(AssertUnwindSafe(check));
        match checked.unwrap_or_else(|_| Err("panicked".to_owned())) {
            Ok(()) => self.total(|total| total.passed += 1),
            Err(reason) => self.fail(test, fork, &reason),
        }
    }

    /// Counts a test that was not asked for.
    pub(super) fn skip(&mut self) {
        self.total(|total| total.skipped += 1);
    }

    /// Notes a test that failed.
    pub(super) fn fail(&mut self, test: &str, fork: Option<&str>, reason: &str) {
        let file = self.file;
        self.total(|total| total.fail(file, test, fork, reason));
    }

    fn total(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.total.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Compares what came out with what should have.
#[expect(clippy::needless_pass_by_value, reason = "hashes and numbers, mostly from calls")]
pub(super) fn expect<T: PartialEq + std::fmt::Display>(
    what: &str,
    found: T,
    expected: T,
) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what} {found}, expected {expected}")) }
}
