//! What a system says about itself.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    class::Class,
    dead_letters::DeadReason,
    histogram::Histogram,
    limits::TURN_SLOW_NS,
    slow_turns::{SlowName, SlowTurns},
    sync::count_cells,
    time::Time,
};

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It returned `Stop`, its future ended, or it was asked to stop.
    Stopped,
    /// It was killed.
    Killed,
    /// It panicked with this text and was not restarted.
    Panicked(String),
    /// Nobody held its address any more.
    Unreachable,
    /// A process that it was linked to ended abnormally.
    Linked {
        /// Number of that process.
        id: u64,
        /// Its name.
        name: &'static str,
    },
    /// It had ended before anybody asked, or was never spawned.
    NoProcess,
}

impl Exit {
    /// True if links pass it on.
    #[must_use]
    pub const fn is_abnormal(&self) -> bool {
        match self {
            Self::Stopped | Self::Unreachable => false,
            Self::Killed | Self::Panicked(_) | Self::Linked { .. } | Self::NoProcess => true,
        }
    }
}

/// Why a system stops.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    /// Somebody asked for it.
    #[error("asked to stop")]
    Asked,
    /// An actor panicked more often than its restart rule allows.
    #[error("actor {name} panicked {panics} times, the last time with: {reason}")]
    GaveUp {
        /// The actor's name.
        name: &'static str,
        /// Panics within its window.
        panics: u32,
        /// What the last panic said.
        reason: String,
    },
    /// A process found that the system must not go on, for example after a failed write.
    #[error("{0}")]
    Fatal(String),
}

/// The longest turn so far; of those up to about a microsecond none is remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlowTurn {
    /// Its process.
    pub name: &'static str,
    /// How long it took, in nanoseconds (virtual when simulated).
    pub nanos: u64,
    /// How long its thread had the processor meanwhile, in nanoseconds. What is missing the kernel
    /// gave to other threads, or the turn waited for it.
    pub core_ns: u64,
}

/// What one class has used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassStatus {
    /// Turns run.
    pub turns: u64,
    /// Reductions charged, by count or by time, whichever was more.
    pub reductions: u64,
    /// Time in turns, in nanoseconds (virtual when simulated).
    pub busy_ns: u64,
    /// Processes that are runnable now.
    pub queued: usize,
    /// How long fresh processes have waited for their turns, since they were woken. On threads a
    /// wait may be counted from the beginning of the turn that has woken it, or from when that turn
    /// has last looked at the clock: too long by some microseconds, or by what it did uncounted.
    pub waits: Histogram,
    /// How long the turns were.
    pub lengths: Histogram,
}

/// A system's statistics since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemStatus {
    /// Processes that live.
    pub actors_live: usize,
    /// By class, in the order of [`Class::ALL`].
    pub classes: [ClassStatus; Class::COUNT],
    /// Turns that took longer than a millisecond.
    pub turns_slow: u64,
    /// Those of them that had the processor for less than a millisecond: the kernel ran something
    /// else meanwhile.
    pub turns_preempted: u64,
    /// The longest of all turns.
    pub slowest_turn: SlowTurn,
    /// By name the slowest turns over a millisecond of the last 30 to 60 seconds, the slowest
    /// first; at most [`SLOW_NAMES_SHOWN`](crate::limits::SLOW_NAMES_SHOWN).
    pub slow_lately: Vec<SlowName>,
    /// The same since the start.
    pub slow_ever: Vec<SlowName>,
    /// Messages that nobody handled.
    pub dead_letters: u64,
    /// The same by reason, in the order of [`DeadReason::ALL`].
    pub dead_by_reason: [u64; DeadReason::COUNT],
    /// Panics of processes.
    pub panics: u64,
    /// Restarts after panics.
    pub restarts: u64,
}

impl SystemStatus {
    /// Messages that nobody handled for this reason.
    #[must_use]
    pub const fn dead(&self, reason: DeadReason) -> u64 {
        self.dead_by_reason[reason.index()]
    }

    /// The statistics of one class.
    #[must_use]
    pub const fn class(&self, class: Class) -> &ClassStatus {
        &self.classes[class.index()]
    }
}

/// Cells of processes and mailboxes whose memory was not given back, of all systems of this
/// program: what is left of them when all systems and handles are gone has leaked. `None` in builds
/// without debug assertions, which do not count them. For tests.
#[must_use]
pub fn cells_live() -> Option<usize> {
    count_cells(0).map(|cells| usize::try_from(cells).expect("each is given back once"))
}

/// Counters of the whole system that are not on any hot path.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) panics: AtomicU64,
    pub(crate) restarts: AtomicU64,
    pub(crate) turns_slow: AtomicU64,
    pub(crate) turns_preempted: AtomicU64,
    slowest_ns: AtomicU64,
    slowest: Mutex<SlowTurn>,
    slow: Mutex<SlowTurns>,
}

impl Counters {
    /// Takes note of the length of a turn that was over at `at`.
    #[inline]
    pub(crate) fn note_turn(&self, turn: SlowTurn, class: Class, at: Time) {
        if turn.nanos > self.slowest_ns.load(Ordering::Relaxed) {
            self.note_slowest(turn);
        }
        if turn.nanos > TURN_SLOW_NS {
            self.note_slow(turn, class, at);
        }
    }

    #[cold]
    fn note_slow(&self, turn: SlowTurn, class: Class, at: Time) {
        let SlowTurn { name, nanos, core_ns } = turn;
        self.turns_slow.fetch_add(1, Ordering::Relaxed);
        if core_ns <= TURN_SLOW_NS {
            self.turns_preempted.fetch_add(1, Ordering::Relaxed);
        }
        // Waiting for it is no loss beside a turn of a millisecond.
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        slow.note(&SlowName { name, class, at, nanos, core_ns, turns: 1 });
    }

    /// The slowest names lately, and since the start.
    pub(crate) fn slow(&self, now: Time) -> (Vec<SlowName>, Vec<SlowName>) {
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        (slow.lately(now), slow.ever())
    }

    #[cold]
    fn note_slowest(&self, turn: SlowTurn) {
        let mut slowest = self.slowest.lock().unwrap_or_else(PoisonError::into_inner);
        if turn.nanos > slowest.nanos {
            *slowest = turn;
            self.slowest_ns.store(turn.nanos, Ordering::Relaxed);
        }
    }

    pub(crate) fn slowest(&self) -> SlowTurn {
        *self.slowest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
