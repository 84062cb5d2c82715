//! What a worker asks of the machine between two turns: what time it is.
//!
//! Every turn is timed, and a turn may be shorter than reading the clock through the kernel's page
//! (45 to 130 ns measured). So the processor's counter is read (11 ns measured) and scaled; its
//! scale is checked against the clock every few milliseconds, and given up if it does not hold.
#![allow(unsafe_code, reason = "the counter has no safe intrinsic")]

use std::{cell::Cell, time::Duration};

use crate::{
    sync::coarse::Instant,
    time::{Time, nanos},
};

/// How long the scale is measured when a worker starts. An error of 100 ns of the clock is 0.1 %.
const CALIBRATION: Duration = Duration::from_micros(100);
/// Fraction bits of the scale.
const SCALE_BITS: u32 = 24;
/// The counter may be off by this share of the elapsed time, and by [`DRIFT_NS_MAX`].
const DRIFT_PART_MAX: u64 = 50;
/// Between the two readings of a check the thread may have been interrupted.
const DRIFT_NS_MAX: u64 = 100_000;

#[cfg(all(target_arch = "x86_64", not(evenkeel_shuttle)))]
fn counter() -> u64 {
    // SAFETY: the instruction reads a register, and every x86-64 processor has it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Elsewhere, and in a model, the scale is measured as zero, which gives the counter up.
#[cfg(not(all(target_arch = "x86_64", not(evenkeel_shuttle))))]
const fn counter() -> u64 {
    0
}

/// The clock of one worker, in the system's time.
pub(crate) struct TurnClock {
    /// The system's zero.
    start: Instant,
    /// Where counting began, by clock and by counter.
    base: Cell<(Time, u64)>,
    /// Nanoseconds of one count, as a fixed point number; 0 if the counter is not to be trusted.
    scale: Cell<u64>,
}

impl TurnClock {
    pub(crate) fn new(start: Instant) -> Self {
        let (began, count) = (Instant::now(), counter());
        let mut now = began;
        while now - began < CALIBRATION {
            std::hint::spin_loop();
            now = Instant::now();
        }
        let counted = counter().saturating_sub(count);
        let scale = (nanos(now - began) << SCALE_BITS).checked_div(counted).unwrap_or(0);
        let base = Cell::new((Time::from_nanos(nanos(now - start)), counter()));
        Self { start, base, scale: Cell::new(scale) }
    }

    fn clock(&self) -> Time {
        Time::from_nanos(nanos(self.start.elapsed()))
    }

    /// The time now. Never before `earlier`, which this gave before.
    #[inline]
    pub(crate) fn now(&self, earlier: Time) -> Time {
        let scale = self.scale.get();
        if scale == 0 {
            return self.clock().max(earlier);
        }
        let (base, count) = self.base.get();
        // Checked every few milliseconds, so the product stays far below 64 bits; after an hour in
        // one turn it saturates, and the next check puts it right.
        let elapsed = counter().saturating_sub(count).saturating_mul(scale) >> SCALE_BITS;
        Time::from_nanos(base.as_nanos() + elapsed).max(earlier)
    }

    /// Starts counting anew from the clock, and gives the counter up if it ran away from it.
    pub(crate) fn check(&self, earlier: Time) -> Time {
        let counted = self.now(earlier);
        let (now, count) = (self.clock(), counter());
        let drift = nanos((now - counted).max(counted - now));
        let elapsed = nanos(now - self.base.get().0);
        if drift > elapsed / DRIFT_PART_MAX + DRIFT_NS_MAX {
            self.scale.set(0);
        }
        self.base.set((now, count));
        now.max(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the counted time follows the clock and never goes back, over checks and with a scale
    /// that is wrong, which is given up.
    #[test]
    fn counted_time_follows_the_clock_and_a_wrong_scale_is_given_up() {
        let clock = TurnClock::new(Instant::now());
        let mut last = Time::ZERO;
        for step in 0..20_000 {
            let now = if step % 1_000 == 999 { clock.check(last) } else { clock.now(last) };
            assert!(now >= last);
            last = now;
        }
        // Ten times too slow: seen once the clock has gone on by more than the allowance.
        clock.check(last);
        clock.scale.set(clock.scale.get() / 10 + 1);
        let wrong = Instant::now();
        while wrong.elapsed() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
        clock.check(last);
        assert_eq!(clock.scale.get(), 0);
    }
}
