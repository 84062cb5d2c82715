//! The change set of a block, some accounts at a time. Pure.

use std::{collections::VecDeque, sync::Arc};

use evenkeel_state::ChangeSet;

use crate::overlay::{Differences, Overlay, Reads};

/// The changes of a block on their way from the overlay to the trie.
pub(super) struct Changes {
    /// The cheats made since the block's parent, which lie under its own changes.
    below: VecDeque<Arc<ChangeSet>>,
    differences: Differences,
    has_cheats: bool,
    all: ChangeSet,
}

impl Changes {
    pub(super) fn new(overlay: Overlay, diffs: &[Arc<ChangeSet>]) -> Self {
        Self {
            below: diffs.iter().cloned().collect(),
            differences: overlay.into_differences(),
            has_cheats: !diffs.is_empty(),
            all: ChangeSet::default(),
        }
    }

    /// Takes in one cheat or one account, and what was read of it if `reads` asks; returns
    /// everything once all are in.
    pub(super) fn step(&mut self, reads: Option<&mut Reads>) -> Option<ChangeSet> {
        if let Some(diff) = self.below.pop_front() {
            self.all.merge(&diff);
            return None;
        }
        let is_more = if self.has_cheats {
            let mut one = ChangeSet::default();
            let is_more = self.differences.step(&mut one, reads);
            self.all.merge(&one);
            is_more
        } else {
            self.differences.step(&mut self.all, reads)
        };
        (!is_more).then(|| std::mem::take(&mut self.all))
    }
}
