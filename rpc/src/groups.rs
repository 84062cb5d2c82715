//! The living processes of a system, added up by name and class.
//!
//! A name is a constant of the code, so there are few groups however many processes live.

use std::collections::BTreeMap;

use evenkeel_runtime::{Class, ProcessStatus, System, yield_now};

use crate::limits::REGISTRY_SLICE;

/// All living processes of one name and class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) class: Class,
    /// How many they are.
    pub(crate) count: usize,
    /// Messages that wait for them.
    pub(crate) queued: usize,
    /// The bytes of these messages.
    pub(crate) queued_bytes: usize,
    /// Reductions charged to those that live. What has ended takes its own with it, so this falls.
    pub(crate) reductions: u64,
    /// How often those that live were started again.
    pub(crate) restarts: u64,
}

/// The groups in the order of their names. O(processes), in slices: what is born or ends between
/// two of them may be seen or not.
pub(crate) async fn groups(system: &System) -> Vec<Group> {
    let mut groups = BTreeMap::<(&'static str, Class), Group>::new();
    let mut processes = system.processes();
    let mut add = |process: &ProcessStatus| {
        let ProcessStatus { name, class, .. } = *process;
        let empty =
            Group { name, class, count: 0, queued: 0, queued_bytes: 0, reductions: 0, restarts: 0 };
        let group = groups.entry((name, class)).or_insert(empty);
        group.count += 1;
        group.queued += process.queued;
        group.queued_bytes += process.queued_bytes;
        group.reductions += process.reductions;
        group.restarts += u64::from(process.restarts);
    };
    while processes.look(REGISTRY_SLICE, &mut add) {
        yield_now().await;
    }
    groups.into_values().collect()
}
