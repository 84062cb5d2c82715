//! Work that is the same for all: the unit that spinners compute, the overrun, the blocks.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Steps of one unit: each needs the one before, so a unit takes about 1 us at 2.5 GHz.
const UNIT_STEPS: u32 = 600;

/// How long the handler that overruns every budget computes without a pause.
const OVERRUN: Duration = Duration::from_millis(10);

/// Bytes of one message of `backpressure`.
pub(crate) const BLOCK_BYTES: usize = 64 * 1024;

/// Computes for about 1 us.
#[inline]
fn unit() {
    let mut state = black_box(1_u64);
    for _ in 0..UNIT_STEPS {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    }
    black_box(state);
}

/// Computes for 10 ms and looks at nothing meanwhile.
pub fn overrun() {
    let began = Instant::now();
    while began.elapsed() < OVERRUN {
        unit();
    }
}

/// A block whose every byte was written.
pub fn fill(number: u64) -> Vec<u8> {
    vec![number.to_le_bytes()[0]; BLOCK_BYTES]
}

/// Reads a block; every step needs the one before, so it takes longer than to write it.
pub fn checksum(block: &[u8]) -> u64 {
    let (words, _) = block.as_chunks::<8>();
    words.iter().fold(0, |sum: u64, word| sum.rotate_left(5) ^ u64::from_le_bytes(*word))
}

/// A counter on cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Padded(AtomicU64);

/// Units done by each of some actors.
#[derive(Clone)]
pub struct Counts(Arc<[Padded]>);

impl Counts {
    /// A counter for each of `actors`.
    pub fn new(actors: usize) -> Self {
        Self((0..actors).map(|_| Padded::default()).collect())
    }

    /// How many actors there are.
    pub fn actors(&self) -> usize {
        self.0.len()
    }

    /// Computes `units` for `actor`, and counts them.
    #[inline]
    pub fn work(&self, actor: usize, units: u32) {
        for _ in 0..units {
            unit();
        }
        self.0[actor].0.fetch_add(u64::from(units), Ordering::Relaxed);
    }

    /// Waits until each has done something, at most 10 s: what has just been spawned is not yet as
    /// busy as it will be.
    pub(crate) fn wait_started(&self) {
        let end = Instant::now() + Duration::from_secs(10);
        let has_started = |count: &Padded| count.0.load(Ordering::Relaxed) > 0;
        while !self.0.iter().all(has_started) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What each has done during the next `time`.
    pub fn during(&self, time: Duration) -> Vec<u64> {
        let read = || self.0.iter().map(|count| count.0.load(Ordering::Relaxed));
        let before: Vec<_> = read().collect();
        std::thread::sleep(time);
        read().zip(before).map(|(after, before)| after - before).collect()
    }
}
