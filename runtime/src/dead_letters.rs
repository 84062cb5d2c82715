//! Messages that nobody handled: all counted by reason, the last of them kept as a sample, some of
//! them told in the log.
//!
//! Lines are a warning where a mailbox had no room, an actor began anew or could not move to the
//! message's version, and `debug` where what was on its way met an ordinary end.

use std::{
    array,
    cell::Cell,
    collections::VecDeque,
    sync::{
        Mutex, PoisonError, TryLockError,
        atomic::{AtomicU64, Ordering},
    },
};

use tracing::Level;

use crate::{
    limits::{DEAD_LETTERS_KEPT, DEAD_LINE_EVERY, DEAD_LINES_MAX},
    sync::coarse::thread_local,
    time::Time,
};

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
    /// It is for a version of the actor's code that the actor could not move to.
    NoVersion,
}

impl DeadReason {
    /// All reasons, in the order of [`SystemStatus::dead_by_reason`](crate::SystemStatus).
    pub const ALL: [Self; 6] = [
        Self::Full,
        Self::Displaced,
        Self::Ended,
        Self::Restarted,
        Self::EarlierLife,
        Self::NoVersion,
    ];

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
            Self::NoVersion => "no_version",
        }
    }

    /// True if something was lost that somebody may miss; false where an end has crossed a message.
    const fn is_loss(self) -> bool {
        match self {
            Self::Full | Self::Displaced | Self::Restarted | Self::NoVersion => true,
            Self::Ended | Self::EarlierLife => false,
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

/// A receiver and a reason of which a line was logged.
struct Told {
    receiver: &'static str,
    reason: DeadReason,
    /// When the last line was.
    at: Time,
    /// Letters since then.
    unsaid: u64,
}

/// Which dead letters are told in the log: one a [`DEAD_LINE_EVERY`] of each receiver and reason.
///
/// Of [`DEAD_LINES_MAX`] that is remembered. One more takes the place of the one told longest ago,
/// whose unsaid letters are then in the counts alone; if none is due for a line, it is not told.
#[derive(Default)]
struct Lines(Vec<Told>);

impl Lines {
    /// If this letter is to be told: how many before it were not. O(receivers and reasons).
    fn tell(&mut self, letter: &DeadLetter) -> Option<u64> {
        let &DeadLetter { at, receiver, reason, kind: _ } = letter;
        let is_due = |told: &Told| at.saturating_since(told.at) >= DEAD_LINE_EVERY;
        let same = |told: &&mut Told| told.receiver == receiver && told.reason == reason;
        if let Some(told) = self.0.iter_mut().find(same) {
            if !is_due(told) {
                told.unsaid += 1;
                return None;
            }
            told.at = at;
            return Some(std::mem::take(&mut told.unsaid));
        }
        let new = Told { receiver, reason, at, unsaid: 0 };
        if self.0.len() < DEAD_LINES_MAX {
            self.0.push(new);
            return Some(0);
        }
        let oldest = self.0.iter_mut().min_by_key(|told| told.at).expect("the list is full");
        if !is_due(oldest) {
            return None;
        }
        *oldest = new;
        Some(0)
    }
}

#[derive(Default)]
struct Kept {
    last: VecDeque<DeadLetter>,
    lines: Lines,
}

thread_local! {
    /// A line is being logged: what dies of that is only counted and kept.
    static IS_TELLING: Cell<bool> = const { Cell::new(false) };
}

/// Ends the telling, also by a panic of who takes the line.
struct Telling;

impl Telling {
    fn begin() -> Option<Self> {
        (!IS_TELLING.with(|is_telling| is_telling.replace(true))).then_some(Self)
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        IS_TELLING.with(|is_telling| is_telling.set(false));
    }
}

pub(crate) struct DeadLetters {
    counts: [AtomicU64; DeadReason::COUNT],
    kept: Mutex<Kept>,
}

impl DeadLetters {
    pub(crate) fn new() -> Self {
        Self { counts: array::from_fn(|_| AtomicU64::new(0)), kept: Mutex::default() }
    }

    pub(crate) fn note(&self, letter: impl FnOnce() -> DeadLetter, reason: DeadReason) {
        self.counts[reason.index()].fetch_add(1, Ordering::Relaxed);
        let letter = letter();
        let is_loss = reason.is_loss();
        let is_heard =
            if is_loss { tracing::enabled!(Level::WARN) } else { tracing::enabled!(Level::DEBUG) };
        let mut kept = match self.kept.try_lock() {
            Ok(kept) => kept,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // It is a sample: a flood of dead letters must not make senders wait for one another.
            Err(TryLockError::WouldBlock) => return,
        };
        if kept.last.len() == DEAD_LETTERS_KEPT {
            kept.last.pop_front();
        }
        kept.last.push_back(letter);
        if !is_heard {
            return;
        }
        let Some(_telling) = Telling::begin() else { return };
        let Some(unsaid) = kept.lines.tell(&letter) else { return };
        // Who takes the line may send.
        drop(kept);
        let DeadLetter { receiver, kind, .. } = letter;
        let reason = reason.name();
        if is_loss {
            tracing::warn!(receiver, kind, reason, unsaid, "nobody handles a message");
        } else {
            tracing::debug!(receiver, kind, reason, unsaid, "nobody handles a message");
        }
    }

    pub(crate) fn counts(&self) -> [u64; DeadReason::COUNT] {
        array::from_fn(|index| self.counts[index].load(Ordering::Relaxed))
    }

    pub(crate) fn last(&self) -> Vec<DeadLetter> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.last.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(receiver: &'static str, at_ms: u64, reason: DeadReason) -> DeadLetter {
        DeadLetter { at: Time::from_nanos(at_ms * 1_000_000), kind: "word", receiver, reason }
    }

    /// Goal: a flood for one receiver is a line a second that says how many it stands for; other
    /// receivers and reasons are told beside it.
    #[test]
    fn a_flood_is_a_line_a_second() {
        let mut lines = Lines::default();
        let told: Vec<_> = (0..2_500)
            .filter_map(|ms| lines.tell(&letter("deaf", ms, DeadReason::Full)).map(|n| (ms, n)))
            .collect();
        assert_eq!(told, [(0, 0), (1_000, 999), (2_000, 999)]);
        assert_eq!(lines.tell(&letter("deaf", 2_500, DeadReason::Restarted)), Some(0));
        assert_eq!(lines.tell(&letter("other", 2_500, DeadReason::Full)), Some(0));
        assert_eq!(lines.tell(&letter("deaf", 9_000, DeadReason::Full)), Some(499));
    }

    /// Goal: however many receivers there are, memory and lines a second are bounded; who was told
    /// within a second keeps its place.
    #[test]
    fn many_receivers_are_bounded() {
        let mut lines = Lines::default();
        let names: Vec<&'static str> =
            (0..2 * DEAD_LINES_MAX).map(|name| &*name.to_string().leak()).collect();
        let round = |lines: &mut Lines, at_ms: u64| {
            let told =
                |name: &&&'static str| lines.tell(&letter(name, at_ms, DeadReason::Full)).is_some();
            names.iter().filter(told).count()
        };
        for (at_ms, told) in [(0, DEAD_LINES_MAX), (999, 0), (1_000, DEAD_LINES_MAX)] {
            assert_eq!(round(&mut lines, at_ms), told, "{at_ms}");
            assert_eq!(lines.0.len(), DEAD_LINES_MAX);
        }
        assert_eq!(lines.tell(&letter("new", 2_000, DeadReason::Full)), Some(0));
    }
}
