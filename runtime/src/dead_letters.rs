//! Messages that nobody handled: all counted by reason, the last of them kept as a sample.

use std::{
    array,
    collections::VecDeque,
    sync::{
        Mutex, PoisonError, TryLockError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{limits::DEAD_LETTERS_KEPT, time::Time};

/// Why nobody handled a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeadReason {
    /// There was no room, and the mailbox drops what is new.
    Full,
    /// It made room for a newer one.
    Displaced,
    /// It waited for, or was ordered by, a process that ended.
    Ended,
    /// It waited for an actor that drops what waits when it begins anew.
    Restarted,
    /// An earlier life of the process has ordered it (a timer, a job, a monitor).
    EarlierLife,
}

impl DeadReason {
    /// All reasons, in the order of [`SystemStatus::dead_by_reason`](crate::SystemStatus).
    pub const ALL: [Self; 5] =
        [Self::Full, Self::Displaced, Self::Ended, Self::Restarted, Self::EarlierLife];

    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Name for statistics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Displaced => "displaced",
            Self::Ended => "ended",
            Self::Restarted => "restarted",
            Self::EarlierLife => "earlier_life",
        }
    }

    /// Its place in [`DeadReason::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A message that nobody handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// When it was given up.
    pub at: Time,
    /// What it called itself.
    pub kind: &'static str,
    /// Name of the process that it was for.
    pub receiver: &'static str,
    /// Why.
    pub reason: DeadReason,
}

pub(crate) struct DeadLetters {
    counts: [AtomicU64; DeadReason::COUNT],
    last: Mutex<VecDeque<DeadLetter>>,
}

impl DeadLetters {
    pub(crate) fn new() -> Self {
        Self { counts: array::from_fn(|_| AtomicU64::new(0)), last: Mutex::default() }
    }

    pub(crate) fn note(&self, letter: impl FnOnce() -> DeadLetter, reason: DeadReason) {
        self.counts[reason.index()].fetch_add(1, Ordering::Relaxed);
        let letter = letter();
        let mut last = match self.last.try_lock() {
            Ok(last) => last,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // It is a sample: a flood of dead letters must not make senders wait for one another.
            Err(TryLockError::WouldBlock) => return,
        };
        if last.len() == DEAD_LETTERS_KEPT {
            last.pop_front();
        }
        last.push_back(letter);
    }

    pub(crate) fn counts(&self) -> [u64; DeadReason::COUNT] {
        array::from_fn(|index| self.counts[index].load(Ordering::Relaxed))
    }

    pub(crate) fn last(&self) -> Vec<DeadLetter> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().copied().collect()
    }
}
