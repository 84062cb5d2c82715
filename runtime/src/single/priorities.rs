//! An order by random priorities, which finds bugs that need few events in an unlikely order. Pure.
//!
//! Source: Burckhardt, Kothari, Musuvathi, Nagarakatte, "A randomized scheduler with probabilistic
//! guarantees of finding bugs" (PCT), 2010. The process of the highest priority runs, so others may
//! starve; at `changes` points within `steps` draws the process that would run next falls behind
//! all others. Deviation: after `steps` draws it begins anew with other priorities, so a run of any
//! length is covered and nobody starves for more than two windows.

use std::collections::BTreeMap;

use crate::entropy::Entropy;

/// Above all priorities that a process falls to.
const FALLEN: u64 = 1 << 32;

/// The state of the order.
pub(crate) struct Priorities {
    entropy: Entropy,
    steps: u32,
    changes: u32,
    /// Draws left in this window.
    left: u32,
    /// Falls to come: at how many draws left, in descending order from the end.
    falls: Vec<u32>,
    by_id: BTreeMap<u64, u64>,
}

impl Priorities {
    pub(crate) fn new(entropy: Entropy, steps: u32, changes: u32) -> Self {
        let by_id = BTreeMap::new();
        let (steps, changes) = (steps.max(1), changes.min(steps));
        Self { entropy, steps, changes, left: 0, falls: Vec::new(), by_id }
    }

    fn begin_window(&mut self) {
        self.left = self.steps;
        self.by_id.clear();
        let steps = u64::from(self.steps);
        let below = |entropy: &mut Entropy| u32::try_from(entropy.below(steps));
        let fall = |_| below(&mut self.entropy).expect("below a u32");
        self.falls = (0..self.changes).map(fall).collect();
        self.falls.sort_unstable();
    }

    fn priority(&mut self, id: u64) -> u64 {
        let entropy = &mut self.entropy;
        *self.by_id.entry(id).or_insert_with(|| FALLEN + entropy.below(FALLEN))
    }

    fn highest(&mut self, ids: impl Iterator<Item = u64>) -> Option<(usize, u64)> {
        ids.enumerate().max_by_key(|&(_, id)| self.priority(id))
    }

    /// The position of what runs next; `None` if there is nothing. O(n log n).
    pub(crate) fn draw(&mut self, ids: impl Iterator<Item = u64> + Clone) -> Option<usize> {
        if self.left == 0 {
            self.begin_window();
        }
        let (mut index, id) = self.highest(ids.clone())?;
        self.left -= 1;
        if self.falls.last() == Some(&self.left) {
            // Later falls are deeper.
            let depth = self.falls.len() as u64;
            self.falls.pop();
            self.by_id.insert(id, depth);
            (index, _) = self.highest(ids)?;
        }
        Some(index)
    }
}
