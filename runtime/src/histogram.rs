//! Histograms of waits and of turns: two buckets an octave, from a microsecond to ten seconds.
//!
//! Log-linear, as `HdrHistogram` and the kernel's: a quantile is read off to the next half octave,
//! whatever the values are, in memory that does not grow. What is shorter than the first bound is
//! one bucket, so that the way of a message through a turn pays one comparison for it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets that have an upper bound; one more takes what is longer than all.
const BOUNDED: usize = 48;
const BUCKETS: usize = BOUNDED + 1;

/// Binary digits of the first bound.
const FIRST_BITS: u32 = 10;

/// The first bucket's upper bound, in nanoseconds: about a microsecond.
pub(crate) const FIRST_NS: u64 = 1 << FIRST_BITS;

/// The bucket of a time. Each bucket's upper bound belongs to it.
const fn index(nanos: u64) -> usize {
    if nanos <= FIRST_NS {
        return 0;
    }
    let below = nanos - 1;
    let octave = below.ilog2();
    let is_upper_half = (below >> (octave - 1)) & 1;
    let index = 1 + 2 * (octave - FIRST_BITS) as usize + is_upper_half as usize;
    if index < BOUNDED { index } else { BOUNDED }
}

/// The upper bound of a bucket, in nanoseconds: 1,024, 1,536, 2,048, 3,072 and so on.
const fn bound(index: usize) -> u64 {
    if index >= BOUNDED {
        return u64::MAX;
    }
    let octave = FIRST_NS << (index / 2);
    if index.is_multiple_of(2) { octave } else { octave + octave / 2 }
}

/// How many of some times were how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    sum_ns: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], sum_ns: 0, max_ns: 0 }
    }
}

impl Histogram {
    /// How many times are in it.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all, in nanoseconds.
    #[must_use]
    pub const fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// The longest, in nanoseconds; 1,024 if all are shorter than that, 0 if there is none.
    #[must_use]
    pub const fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// A time that at least `permille` thousandths of all do not exceed, in nanoseconds: too long
    /// by half at most, for times above a microsecond; 0 if there is none.
    #[must_use]
    pub fn quantile_ns(&self, permille: u64) -> u64 {
        let parts = u128::from(self.count()) * u128::from(permille);
        let mut seen = 0_u128;
        for (bound, count) in self.buckets() {
            seen += u128::from(count);
            if seen > 0 && seen * 1_000 >= parts {
                return bound.min(self.max_ns);
            }
        }
        0
    }

    /// The buckets from short to long: upper bounds in nanoseconds, of the last `u64::MAX`, and how
    /// many are in each.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.counts.iter().enumerate().map(|(index, &count)| (bound(index), count))
    }

    pub(crate) fn add(&mut self, nanos: u64) {
        self.counts[index(nanos)] += 1;
        self.sum_ns = self.sum_ns.saturating_add(nanos);
        self.max_ns = self.max_ns.max(nanos.max(FIRST_NS));
    }
}

/// A histogram that one thread writes and anybody reads: plain loads and stores, nothing locked.
///
/// Each of its numbers only grows, so what is read is never less than what was read before; read
/// while it is written it may miss the last time in one number and have it in another.
#[derive(Default)]
pub(crate) struct Recorder {
    /// Those up to [`FIRST_NS`].
    short: AtomicU64,
    sum_ns: AtomicU64,
    /// Of those that are longer; 0 if there is none.
    max_ns: AtomicU64,
    /// In a box, so that nobody moves it about.
    long: Box<Long>,
}

/// The buckets after the first.
struct Long([AtomicU64; BOUNDED]);

impl Default for Long {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; BOUNDED])
    }
}

impl Recorder {
    /// Adds a time; true if it is longer than [`FIRST_NS`]. For the one thread that writes.
    #[inline]
    pub(crate) fn add(&self, nanos: u64) -> bool {
        grow(&self.sum_ns, nanos);
        let is_long = nanos > FIRST_NS;
        if is_long {
            self.add_long(nanos);
        } else {
            grow(&self.short, 1);
        }
        is_long
    }

    #[cold]
    #[inline(never)]
    fn add_long(&self, nanos: u64) {
        grow(&self.long.0[index(nanos) - 1], 1);
        if nanos > self.max_ns.load(Ordering::Relaxed) {
            self.max_ns.store(nanos, Ordering::Relaxed);
        }
    }

    /// Adds all of it to `sum`.
    pub(crate) fn add_to(&self, sum: &mut Histogram) {
        let mut counts = sum.counts.iter_mut();
        let recorded = std::iter::once(&self.short).chain(&self.long.0);
        for (count, recorded) in counts.by_ref().zip(recorded) {
            *count += recorded.load(Ordering::Relaxed);
        }
        sum.sum_ns = sum.sum_ns.saturating_add(self.sum_ns.load(Ordering::Relaxed));
        let max_ns = self.max_ns.load(Ordering::Relaxed);
        let is_any_short = self.short.load(Ordering::Relaxed) > 0;
        let max_ns = if max_ns == 0 && is_any_short { FIRST_NS } else { max_ns };
        sum.max_ns = sum.max_ns.max(max_ns);
    }
}

/// Adds without a locked instruction: there is one writer.
#[inline]
pub(crate) fn grow(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Entropy;

    /// Times of every length, short and long ones alike.
    fn times(seed: u64, count: usize) -> Vec<u64> {
        let mut entropy = Entropy::from_seed(seed);
        let mut draw = || {
            let bits = entropy.below(44);
            entropy.below(1 << bits)
        };
        (0..count).map(|_| draw()).collect()
    }

    /// Goal: every time is in the one bucket whose bounds are around it, the bounds are two an
    /// octave from a microsecond to more than ten seconds, and both ends are taken in.
    #[test]
    fn a_time_lies_within_the_bounds_of_its_bucket() {
        assert_eq!((bound(0), bound(1), bound(2), bound(3)), (1_024, 1_536, 2_048, 3_072));
        assert!(bound(BOUNDED - 1) > 10_000_000_000);
        let edges =
            (0..BOUNDED).flat_map(|index| [bound(index) - 1, bound(index), bound(index) + 1]);
        let ends = [0, 1, u64::MAX];
        for nanos in times(1, 100_000).into_iter().chain(edges).chain(ends) {
            let index = index(nanos);
            assert!(nanos <= bound(index), "{nanos} in {index}");
            assert!(index == 0 || nanos > bound(index - 1), "{nanos} in {index}");
        }
    }

    /// Goal: quantiles are those of the times themselves, to the next half octave; a recorder says
    /// the same as the plain one, and two of them the same as one.
    /// Method: the times sorted, 200 samples of 1 to 1,000.
    #[test]
    fn quantiles_are_those_of_the_times() {
        for seed in 0..200 {
            let mut times = times(seed, 1 + usize::try_from(seed * 5).expect("small"));
            let (mut plain, mut merged) = (Histogram::default(), Histogram::default());
            let recorders = [Recorder::default(), Recorder::default()];
            for (place, &nanos) in times.iter().enumerate() {
                plain.add(nanos);
                assert_eq!(recorders[place % 2].add(nanos), nanos > FIRST_NS);
            }
            for recorder in &recorders {
                recorder.add_to(&mut merged);
            }
            assert_eq!(merged, plain, "seed {seed}");
            times.sort_unstable();
            assert_eq!(plain.count(), times.len() as u64);
            assert_eq!(plain.sum_ns(), times.iter().sum::<u64>());
            for permille in [0, 1, 500, 990, 999, 1_000] {
                let rank = (times.len() as u64 * permille).div_ceil(1_000).max(1);
                let exact = times[usize::try_from(rank).expect("small") - 1];
                let said = plain.quantile_ns(permille);
                let longest = (exact + exact / 2).max(FIRST_NS);
                let is_near = exact <= said && (said <= longest || exact > bound(BOUNDED - 1));
                assert!(is_near, "seed {seed}: {permille}: {exact}, said {said}");
            }
            assert_eq!(plain.max_ns(), times[times.len() - 1].max(FIRST_NS));
        }
        assert_eq!(Histogram::default().quantile_ns(500), 0);
    }
}
