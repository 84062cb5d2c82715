//! The clock of a dev chain: the real one, moved, and never behind the chain.
//!
//! Pure. Whole seconds, as headers have them: blocks under a second apart share one (`Monotone`)
//! or run ahead of the clock (`Strict`).
//!
//! # Invariants
//!
//! - C1: a timestamp is at least the parent's; under `Strict` it is greater.

use std::time::Duration;

use evenkeel_chain::{CommandError, Timestamps};

use crate::limits::TIMESTAMP_MAX;

/// A clock that an operator may move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ChainClock {
    rule: Timestamps,
    offset_secs: i64,
    /// Ordered for the next block alone.
    next: Option<u64>,
    /// Between any two blocks; the clock counts for nothing then.
    spacing_secs: Option<u64>,
}

impl ChainClock {
    pub(super) const fn new(rule: Timestamps, offset_secs: i64) -> Self {
        Self { rule, offset_secs, next: None, spacing_secs: None }
    }

    pub(super) const fn offset_secs(&self) -> i64 {
        self.offset_secs
    }

    pub(super) const fn next_timestamp(&self) -> Option<u64> {
        self.next
    }

    pub(super) const fn spacing(&self) -> Option<u64> {
        self.spacing_secs
    }

    pub(super) const fn set_spacing(&mut self, secs: Option<u64>) {
        self.spacing_secs = secs;
    }

    /// Timestamp of the block after `parent`, with the clock first moved by `jump_secs`, and the
    /// clock as it is once that block exists.
    pub(super) fn stamp(&self, wall: Duration, parent: u64, jump_secs: u64) -> (u64, Self) {
        let mut after = *self;
        after.offset_secs = self.offset_secs.saturating_add_unsigned(jump_secs);
        let wanted = match (after.next.take(), self.spacing_secs) {
            (Some(next), _) => next,
            (None, Some(spacing)) => parent.saturating_add(spacing),
            (None, None) => after.seconds(wall),
        };
        // C1: the wall clock may have been set back, or the operator may have moved ours.
        let timestamp = wanted.max(self.earliest(parent));
        if self.next.is_some() {
            // The clock goes on from a timestamp that was ordered.
            after.offset_secs = offset(timestamp, wall);
        }
        (timestamp, after)
    }

    /// Moves the clock; returns its offset then.
    pub(super) fn increase(&mut self, wall: Duration, secs: i64) -> Result<i64, CommandError> {
        let moved = self.offset_secs.checked_add(secs).filter(|offset| {
            let at = i128::from(wall.as_secs()) + i128::from(*offset);
            (0..=i128::from(TIMESTAMP_MAX)).contains(&at)
        });
        self.offset_secs = moved.ok_or(CommandError::TimeOutOfRange { found: secs })?;
        Ok(self.offset_secs)
    }

    /// Sets the clock; returns by how much that moved it. Set behind the chain, it gives blocks
    /// the earliest allowed timestamp until it has caught up.
    pub(super) fn set(&mut self, wall: Duration, timestamp: u64) -> Result<i64, CommandError> {
        check_range(timestamp)?;
        let before = self.seconds(wall);
        self.reset(wall, timestamp);
        Ok(signed_difference(timestamp, before))
    }

    /// The clock goes on from `timestamp`, as after a revert to a block of that time.
    pub(super) fn reset(&mut self, wall: Duration, timestamp: u64) {
        self.offset_secs = offset(timestamp, wall);
        self.next = None;
    }

    /// Orders the timestamp of the block after `parent`.
    pub(super) fn set_next(&mut self, timestamp: u64, parent: u64) -> Result<(), CommandError> {
        if timestamp < self.earliest(parent) {
            return Err(CommandError::TimestampTooLow { found: timestamp, head: parent });
        }
        check_range(timestamp)?;
        self.next = Some(timestamp);
        Ok(())
    }

    const fn earliest(&self, parent: u64) -> u64 {
        match self.rule {
            Timestamps::Strict => parent.saturating_add(1),
            Timestamps::Monotone => parent,
        }
    }

    const fn seconds(&self, wall: Duration) -> u64 {
        wall.as_secs().saturating_add_signed(self.offset_secs)
    }
}

/// Checks that a clock may be set to `timestamp`, or moved by so much.
pub(super) fn check_range(timestamp: u64) -> Result<(), CommandError> {
    if timestamp > TIMESTAMP_MAX {
        let found = i64::try_from(timestamp).unwrap_or(i64::MAX);
        return Err(CommandError::TimeOutOfRange { found });
    }
    Ok(())
}

fn offset(timestamp: u64, wall: Duration) -> i64 {
    signed_difference(timestamp, wall.as_secs())
}

fn signed_difference(a: u64, b: u64) -> i64 {
    let magnitude = i64::try_from(a.abs_diff(b)).unwrap_or(i64::MAX);
    if a < b { -magnitude } else { magnitude }
}
