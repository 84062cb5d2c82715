//! Turns over a millisecond by the name of their process: lately, and since the start.
//!
//! Pure: times come in. "Lately" are two halves, the one that runs and the one before it, so a turn
//! is seen for 30 to 60 seconds, and no list of single turns is needed.
//!
//! # Invariants
//!
//! - L1: a turn is seen lately until the half after its own is over, and no longer.
//! - L2: a list holds at most [`SLOW_NAMES_MAX`] names. When it is full a new name takes the place
//!   of the one whose slowest turn is the shortest, if its own is longer; else it is left out.

use crate::{
    class::Class,
    limits::{SLOW_HALF_NS, SLOW_NAMES_MAX, SLOW_NAMES_SHOWN},
    time::Time,
};

/// The slowest turn of the processes of one name, and how many were slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowName {
    /// Name of the processes.
    pub name: &'static str,
    /// Class of the one that had the slowest turn.
    pub class: Class,
    /// When the slowest turn was over.
    pub at: Time,
    /// How long it took, in nanoseconds (virtual when simulated).
    pub nanos: u64,
    /// How long its thread had the processor meanwhile, in nanoseconds.
    pub core_ns: u64,
    /// Turns over a millisecond, since the name is in the list.
    pub turns: u64,
}

impl SlowName {
    /// Takes in what another list says of the same name.
    const fn join(&mut self, other: &Self) {
        let turns = self.turns.saturating_add(other.turns);
        if other.nanos > self.nanos {
            *self = *other;
        }
        self.turns = turns;
    }
}

/// Names, in no order; at most one entry each.
#[derive(Clone, Debug, Default)]
struct Names(Vec<SlowName>);

impl Names {
    /// O(names).
    fn note(&mut self, turn: &SlowName) {
        let names = &mut self.0;
        if let Some(known) = names.iter_mut().find(|known| known.name == turn.name) {
            return known.join(turn);
        }
        if names.len() < SLOW_NAMES_MAX {
            return names.push(*turn);
        }
        // L2
        let least = names.iter_mut().min_by_key(|known| known.nanos).expect("the list is full");
        if least.nanos < turn.nanos {
            *least = *turn;
        }
    }

    /// The slowest first.
    fn slowest(mut self) -> Vec<SlowName> {
        self.0.sort_unstable_by(|one, other| {
            other.nanos.cmp(&one.nanos).then(one.name.cmp(other.name))
        });
        self.0.truncate(SLOW_NAMES_SHOWN);
        self.0
    }
}

/// All slow turns of a system.
#[derive(Debug, Default)]
pub(crate) struct SlowTurns {
    /// Number of the half that runs.
    half: u64,
    current: Names,
    before: Names,
    ever: Names,
}

impl SlowTurns {
    /// Takes a turn in that was slow; its `turns` is one.
    pub(crate) fn note(&mut self, turn: &SlowName) {
        self.move_on(turn.at);
        self.current.note(turn);
        self.ever.note(turn);
    }

    /// The slowest names of the last 30 to 60 seconds, the slowest first.
    pub(crate) fn lately(&mut self, now: Time) -> Vec<SlowName> {
        self.move_on(now);
        let mut names = self.before.clone();
        for turn in &self.current.0 {
            names.note(turn);
        }
        names.slowest()
    }

    /// The slowest names since the start, the slowest first.
    pub(crate) fn ever(&self) -> Vec<SlowName> {
        self.ever.clone().slowest()
    }

    /// L1. Never back: workers come a little out of order.
    fn move_on(&mut self, now: Time) {
        let half = now.as_nanos() / SLOW_HALF_NS;
        if half <= self.half {
            return;
        }
        let ended = std::mem::take(&mut self.current);
        self.before = if half == self.half + 1 { ended } else { Names::default() };
        self.half = half;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enough names to fill a list twice.
    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

    fn turn(name: &'static str, at_s: u64, nanos: u64) -> SlowName {
        let at = Time::from_nanos(at_s * 1_000_000_000);
        SlowName { name, class: Class::Rpc, at, nanos, core_ns: nanos / 2, turns: 1 }
    }

    fn lately(turns: &mut SlowTurns, at_s: u64) -> Vec<(&'static str, u64, u64)> {
        let names = turns.lately(Time::from_nanos(at_s * 1_000_000_000));
        names.iter().map(|name| (name.name, name.nanos, name.turns)).collect()
    }

    /// Goal (L1): a slow turn at the start hides nothing that comes after it; it is forgotten when
    /// the half after its own is over, whether turns come or not, but not since the start.
    #[test]
    fn what_was_slow_is_forgotten() {
        let mut turns = SlowTurns::default();
        turns.note(&turn("start", 1, 90));
        turns.note(&turn("later", 31, 20));
        turns.note(&turn("start", 32, 30));
        // The slowest is the earlier one, and both are counted.
        assert_eq!(lately(&mut turns, 59), [("start", 90, 2), ("later", 20, 1)]);
        assert_eq!(lately(&mut turns, 60), [("start", 30, 1), ("later", 20, 1)]);
        // It comes late from another worker, and is not lost.
        turns.note(&turn("late", 59, 25));
        assert_eq!(lately(&mut turns, 89), [("start", 30, 1), ("late", 25, 1), ("later", 20, 1)]);
        assert_eq!(lately(&mut turns, 90), [("late", 25, 1)]);
        assert_eq!(lately(&mut turns, 120), []);
        turns.note(&turn("again", 125, 10));
        assert_eq!(lately(&mut turns, 1_000), [], "whole halves without a turn");

        let ever = turns.ever();
        assert_eq!((ever[0], ever.len()), (SlowName { turns: 2, ..turn("start", 1, 90) }, 4));
    }

    /// Goal (L2): however many names there are, memory is bounded and the slowest are shown.
    #[test]
    fn the_slowest_names_stay() {
        let names: Vec<&'static str> = (0..4 * SLOW_NAMES_MAX)
            .map(|number| &*format!("{}{number}", NAMES[number % NAMES.len()]).leak())
            .collect();
        let mut turns = SlowTurns::default();
        // Up and down, so that some find the list full of slower ones, and some of faster ones.
        let nanos = |number: usize| (number as u64 * 37) % names.len() as u64 + 1;
        for (number, name) in names.iter().enumerate() {
            turns.note(&turn(name, 1, nanos(number)));
            assert!(turns.ever.0.len() <= SLOW_NAMES_MAX);
        }
        let most = names.len() as u64;
        let shown: Vec<_> = turns.ever().iter().map(|name| name.nanos).collect();
        let expected: Vec<_> = (0..SLOW_NAMES_SHOWN as u64).map(|place| most - place).collect();
        assert_eq!(shown, expected);
        assert_eq!(lately(&mut turns, 2).len(), SLOW_NAMES_SHOWN);
    }
}
