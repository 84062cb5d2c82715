//! The clock door: points in time of one system, real or virtual.

use std::{
    ops::{Add, AddAssign, Sub},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{limits::REDUCTION_NS, simulated::WallClock, sync::coarse::Instant};

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
pub(crate) enum Clock {
    /// The machine's monotonic clock.
    Real { start: Instant },
    /// Moved by the simulation alone. Its nodes share the time, but each has its wall clock.
    Virtual { now: Arc<AtomicU64>, wall: WallClock },
}

impl Clock {
    pub(crate) fn real() -> Self {
        Self::Real { start: Instant::now() }
    }

    pub(crate) fn simulated(wall: WallClock) -> Self {
        Self::Virtual { now: Arc::default(), wall }
    }

    /// The same time with another wall clock. A real clock has one.
    pub(crate) fn with_wall(&self, wall: WallClock) -> Self {
        match self {
            Self::Real { start } => Self::Real { start: *start },
            Self::Virtual { now, .. } => Self::Virtual { now: Arc::clone(now), wall },
        }
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
            Self::Virtual { now, wall } => wall.at(Time(now.load(Ordering::Relaxed))),
        }
    }

    /// Moves virtual time forward to `at`, never back. A real clock moves by itself.
    pub(crate) fn advance_to(&self, at: Time) {
        if let Self::Virtual { now, .. } = self {
            now.fetch_max(at.0, Ordering::Relaxed);
        }
    }

    /// A turn that began at `began` and counted `used` reductions is over: virtual time moves on by
    /// them. Says how long it took, in nanoseconds.
    pub(crate) fn end_turn(&self, began: Time, used: u64) -> u64 {
        match self {
            Self::Real { .. } => nanos(self.now() - began),
            Self::Virtual { .. } => {
                let took = used.saturating_mul(REDUCTION_NS);
                self.advance_to(began + Duration::from_nanos(took));
                took
            }
        }
    }
}
