//! Wall clocks that are wrong. Pure.

use std::time::Duration;

use crate::{
    entropy::{Entropy, Seed},
    time::{Time, nanos},
};

/// What goes wrong with the wall clock of a node. The monotonic clock is never wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockFaults {
    /// The clock is set wrong by up to this, forwards or backwards, for as long as the node runs.
    pub skew_max: Duration,
    /// It jumps by up to this, forwards or backwards. Jumps do not add up.
    pub jump_max: Duration,
    /// How often it jumps; zero is never.
    pub jump_every: Duration,
}

impl ClockFaults {
    /// The clock is right.
    #[must_use]
    pub const fn none() -> Self {
        Self { skew_max: Duration::ZERO, jump_max: Duration::ZERO, jump_every: Duration::ZERO }
    }
}

/// What the wall clock says at the zero of virtual time, if it is right. Any fixed date will do, as
/// long as every run sees the same: 2025-01-01T00:00:00Z.
const EPOCH: Duration = Duration::from_hours(482_136);

/// The wall clock of one node.
pub(crate) struct WallClock {
    seed: Seed,
    faults: ClockFaults,
    skew_ns: i64,
}

impl WallClock {
    pub(crate) fn new(seed: Seed, faults: ClockFaults) -> Self {
        let skew_ns = draw(&mut seed.stream("wall clock skew", 0), faults.skew_max);
        Self { seed, faults, skew_ns }
    }

    /// Time since the Unix epoch, as this clock has it. O(1).
    pub(crate) fn at(&self, now: Time) -> Duration {
        let right = EPOCH + now.as_duration();
        let off = Duration::from_nanos(self.off_ns(now).unsigned_abs());
        if self.off_ns(now) < 0 { right.saturating_sub(off) } else { right + off }
    }

    fn off_ns(&self, now: Time) -> i64 {
        let jumps = now.as_nanos().checked_div(nanos(self.faults.jump_every)).unwrap_or(0);
        let jump_ns = match jumps {
            0 => 0,
            // Drawn from the jump's number, so that nothing depends on how often it is read.
            jumps => draw(&mut self.seed.stream("wall clock jump", jumps), self.faults.jump_max),
        };
        self.skew_ns.saturating_add(jump_ns)
    }
}

/// A number of nanoseconds from `-most` to `most`.
fn draw(entropy: &mut Entropy, most: Duration) -> i64 {
    let most = i64::try_from(nanos(most)).unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
    let drawn = entropy.below(2 * most.unsigned_abs() + 1);
    i64::try_from(drawn).expect("at most half of all numbers") - most
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a clock is off by no more than its faults say, jumps when they say, differs between
    /// seeds, and says the same whenever it is asked for the same time.
    #[test]
    fn a_wrong_clock_is_wrong_within_its_bounds() {
        let second = Duration::from_secs(1);
        let faults =
            ClockFaults { skew_max: 3 * second, jump_max: 5 * second, jump_every: 10 * second };
        let mut skews = Vec::new();
        for seed in 0..50 {
            let clock = WallClock::new(Seed::from_number(seed), faults);
            let at = |seconds| clock.at(Time::ZERO + seconds * second);
            let off = |seconds| at(seconds).abs_diff(EPOCH + seconds * second);
            assert!(off(0) <= 3 * second && off(9) == off(0), "seed {seed}");
            assert!((10..200).all(|seconds| off(seconds) <= 8 * second), "seed {seed}");
            let jumps = (1..20).filter(|jump| off(jump * 10) != off(jump * 10 - 1)).count();
            assert!(jumps > 15, "seed {seed}: {jumps} jumps");
            assert_eq!(at(77), at(77));
            skews.push(at(0));
        }
        skews.sort_unstable();
        skews.dedup();
        assert!(skews.len() > 45);
        let right = WallClock::new(Seed::from_number(1), ClockFaults::none());
        assert_eq!(right.at(Time::ZERO + second), EPOCH + second);
    }
}
