//! Percentiles of durations. Pure.

use serde_json::{Value, json};
use std::time::Duration;

/// The size, median, tail and maximum of a set of durations, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Durations counted.
    pub count: usize,
    /// Median, ms.
    pub p50_ms: f64,
    /// The duration that 99 % do not exceed, ms.
    pub p99_ms: f64,
    /// The longest, ms.
    pub max_ms: f64,
}

impl Summary {
    /// Summarises `durations` by the nearest-rank method. All zero when there are none.
    ///
    /// O(n log n).
    pub fn of(durations: &[Duration]) -> Self {
        let mut sorted = durations.to_vec();
        sorted.sort_unstable();
        let Some(max) = sorted.last() else { return Self::default() };
        Self {
            count: sorted.len(),
            p50_ms: millis(nearest_rank(&sorted, 50)),
            p99_ms: millis(nearest_rank(&sorted, 99)),
            max_ms: millis(*max),
        }
    }

    /// The summary as a JSON object.
    pub fn to_json(&self) -> Value {
        json!({ "count": self.count, "p50_ms": self.p50_ms, "p99_ms": self.p99_ms,
            "max_ms": self.max_ms })
    }
}

/// The smallest duration that at least `percent` of `sorted` do not exceed.
fn nearest_rank(sorted: &[Duration], percent: usize) -> Duration {
    assert!(!sorted.is_empty() && (1..=100).contains(&percent));
    sorted[(sorted.len() * percent).div_ceil(100) - 1]
}

/// `duration` in milliseconds.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the nearest rank is the definition: the least sample with `percent` at or below it.
    #[test]
    fn percentile_is_the_least_sample_that_covers_the_share() {
        for count in [1_usize, 2, 3, 50, 99, 100, 101, 1_000] {
            let sorted: Vec<_> = (1..=count as u64).map(Duration::from_millis).collect();
            for percent in [50, 99] {
                let found = nearest_rank(&sorted, percent);
                let at_or_below = |limit| sorted.iter().filter(|&&d| d <= limit).count() * 100;
                assert!(at_or_below(found) >= percent * count);
                let below = found.saturating_sub(Duration::from_millis(1));
                assert!(at_or_below(below) < percent * count);
            }
        }
        assert_eq!(Summary::of(&[]).count, 0);
    }
}
