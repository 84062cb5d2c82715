//! The change set of a block, some accounts at a time. Pure.

use std::sync::Arc;

use evenkeel_state::ChangeSet;

use crate::overlay::{Differences, Overlay};

/// The changes of a block on their way from the overlay to the trie.
pub(super) struct Changes {
    differences: Differences,
    /// What lies under the block's own changes: the cheats made since its parent.
    below: ChangeSet,
}

impl Changes {
    pub(super) fn new(overlay: Overlay, diffs: &[Arc<ChangeSet>]) -> Self {
        let mut below = ChangeSet::default();
        for diff in diffs {
            below.merge(diff);
        }
        Self { differences: overlay.into_differences(), below }
    }

    /// Looks at one account; returns everything once all are seen.
    pub(super) fn step(&mut self) -> Option<ChangeSet> {
        let own = self.differences.step()?;
        if self.below.is_empty() {
            return Some(own);
        }
        let mut all = std::mem::take(&mut self.below);
        all.merge(&own);
        Some(all)
    }
}
