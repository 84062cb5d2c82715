//! The clock door: points in time of one system, real or virtual.

use std::{
    ops::{Add, AddAssign, Sub},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Nanoseconds since the system started, read through the clock door.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(u64);

impl Time {
    /// The start of the system.
    pub const ZERO: Self = Self(0);
    /// Later than everything: a deadline that never comes.
    pub const MAX: Self = Self(u64::MAX);

    /// The time `nanos` nanoseconds after the start.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time since the start.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// `self + duration`, or [`Time::MAX`].
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// Time from `earlier` to `self`, zero if `earlier` is later.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        self.saturating_add(duration)
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub for Time {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.saturating_since(earlier)
    }
}

/// Nanoseconds of a duration; 584 years and more read as "never".
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Where a system reads its time.
#[derive(Debug)]
pub(crate) enum Clock {
    /// The machine's monotonic clock.
    Real { start: Instant },
    /// Moved by the simulation alone; `epoch` is what the wall clock says at its zero.
    Virtual { now: AtomicU64, epoch: Duration },
}

impl Clock {
    pub(crate) fn real() -> Self {
        Self::Real { start: Instant::now() }
    }

    pub(crate) const fn simulated() -> Self {
        // Any fixed date will do, as long as every run sees the same: 2025-01-01T00:00:00Z.
        Self::Virtual { now: AtomicU64::new(0), epoch: Duration::from_hours(482_136) }
    }

    pub(crate) fn now(&self) -> Time {
        match self {
            Self::Real { start } => Time(nanos(start.elapsed())),
            Self::Virtual { now, .. } => Time(now.load(Ordering::Relaxed)),
        }
    }

    /// The machine's instant at which a real clock was zero.
    pub(crate) const fn start(&self) -> Option<Instant> {
        match self {
            Self::Real { start } => Some(*start),
            Self::Virtual { .. } => None,
        }
    }

    pub(crate) fn wall_clock(&self) -> Duration {
        match self {
            // A machine whose clock is before 1970 has no usable date; zero is as good as any.
            Self::Real { .. } => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            Self::Virtual { now, epoch } => {
                *epoch + Duration::from_nanos(now.load(Ordering::Relaxed))
            }
        }
    }

    /// Moves virtual time forward to `at`, never back. A real clock moves by itself.
    pub(crate) fn advance_to(&self, at: Time) {
        if let Self::Virtual { now, .. } = self {
            now.fetch_max(at.0, Ordering::Relaxed);
        }
    }
}
