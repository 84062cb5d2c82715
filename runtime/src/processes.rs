//! A look at the living processes, in slices.

use std::sync::atomic::Ordering;

use crate::{class::Class, registry::Cursor, system::System};

/// What one process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessStatus {
    /// Its number, unique within its system.
    pub id: u64,
    /// Its name.
    pub name: &'static str,
    /// Its class.
    pub class: Class,
    /// Messages that wait for it; what it has ordered for itself is not among them.
    pub queued: usize,
    /// The bytes of these messages, as they count them.
    pub queued_bytes: usize,
    /// Reductions charged to it. May miss a turn that ended while the next began.
    pub reductions: u64,
    /// How often it was started again.
    pub restarts: u32,
}

/// Goes through the living processes of a system once. What is born or ends meanwhile may be seen
/// or not; nothing is held between two slices.
#[derive(Debug)]
pub struct Processes {
    system: System,
    cursor: Cursor,
}

impl Processes {
    pub(crate) fn new(system: System) -> Self {
        Self { system, cursor: Cursor::default() }
    }

    /// Looks at up to `spots_max` places for processes and calls `each` with those that live. False
    /// after the last. O(`spots_max`): some 50 ns a place (guess); spawns and ends on 1/16 of the
    /// registry wait for a part of it.
    pub fn look(&mut self, spots_max: usize, mut each: impl FnMut(&ProcessStatus)) -> bool {
        let mut living = Vec::new();
        let has_more = self.system.registry().some(&mut self.cursor, spots_max, &mut living);
        for process in living {
            let Some(identity) = process.spawned() else { continue };
            let load = process.load();
            each(&ProcessStatus {
                id: identity.id,
                name: identity.name,
                class: identity.class,
                queued: load.items,
                queued_bytes: load.bytes,
                reductions: process.reductions.load(Ordering::Relaxed),
                restarts: process.generation.load(Ordering::Relaxed),
            });
        }
        has_more
    }
}
