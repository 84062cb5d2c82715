//! A hierarchical timing wheel. Pure.
//!
//! Four levels of 64 slots: a slot of the first is a tick, about a millisecond, one of the next a
//! round of the level below. Setting a timer puts it into the slot that its time falls in, on the
//! lowest level whose present round has it; when the wheel comes to a slot of a higher level, what
//! is in there moves down. What lies within the present tick is in a heap, by time and then by
//! setting, so timers fire at their time and in order and not by ticks.
//!
//! Source: Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987, scheme 7; the
//! level by the highest bit that differs is that of the Linux kernel before 4.8.
//!
//! # Invariants
//!
//! - W1: what lies in a slot has a time within that slot, and after the present tick; what is in
//!   the heap has one within the present tick or before. So all of the heap comes before all slots,
//!   and all slots of a level before those of the next.
//! - W2: a slot has its bit in `filled` if and only if something lies in it.

use std::{cmp::Reverse, collections::BinaryHeap, mem};

use crate::time::Time;

/// Binary digits of a tick, in nanoseconds: 1.049 ms.
const TICK_BITS: u32 = 20;
/// Binary digits of the slots of one level.
const SLOT_BITS: u32 = 6;
const SLOTS: u32 = 1 << SLOT_BITS;
/// A round of the last level takes 4.9 hours; what is later waits for its end.
const LEVELS: u32 = 4;
/// Binary digits of the ticks in a round of the last level.
const ROUND_BITS: u32 = SLOT_BITS * LEVELS;
/// The list of what is later.
const FAR: u32 = LEVELS * SLOTS;
/// Not in a list: in the heap.
const NEAR: u32 = FAR + 1;
/// No entry.
const NONE: u32 = u32::MAX;
const LISTS: usize = FAR as usize + 1;
/// Room for so many timers is kept while none is set: 64 KB.
const ROOM_KEPT: usize = 1_024;

/// A timer that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    /// How many were set before: of no two timers the same.
    number: u64,
    index: u32,
}

struct Entry<T> {
    at: Time,
    number: u64,
    /// The list it is in, or [`NEAR`].
    list: u32,
    previous: u32,
    /// Of an entry without an item the next one that is free.
    next: u32,
    item: Option<T>,
}

/// Timers by their times.
pub(crate) struct Wheel<T> {
    entries: Vec<Entry<T>>,
    /// The first free entry.
    free: u32,
    /// First entries of the slots, level by level, and of what is later.
    lists: Box<[u32]>,
    /// Of each level a bit for each slot (W2).
    filled: [u64; LEVELS as usize],
    near: BinaryHeap<Reverse<(Time, Key)>>,
    /// The present tick.
    tick: u64,
    /// How many were set.
    numbers: u64,
    /// How many are set.
    living: usize,
}

const fn tick(at: Time) -> u64 {
    at.as_nanos() >> TICK_BITS
}

impl<T> Wheel<T> {
    pub(crate) fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: NONE,
            lists: vec![NONE; LISTS].into(),
            filled: [0; LEVELS as usize],
            near: BinaryHeap::new(),
            tick: 0,
            numbers: 0,
            living: 0,
        }
    }

    /// Sets a timer. O(1); O(log n) of those within the present tick.
    pub(crate) fn set(&mut self, at: Time, item: T) -> Key {
        let number = self.numbers;
        self.numbers += 1;
        self.living += 1;
        let entry = Entry { at, number, list: NEAR, previous: NONE, next: NONE, item: Some(item) };
        let index = if self.free == NONE {
            self.entries.push(entry);
            u32::try_from(self.entries.len() - 1).expect("2^32 timers do not fit in memory")
        } else {
            let index = self.free;
            self.free = self.entry(index).next;
            *self.entry(index) = entry;
            index
        };
        self.place(index);
        Key { number, index }
    }

    /// Forgets a timer and gives back what it was set for; `None` if it has fired or was cancelled.
    /// O(1).
    pub(crate) fn cancel(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get(key.index as usize)?;
        if entry.number != key.number || entry.item.is_none() {
            return None;
        }
        if entry.list == NEAR {
            let item = self.release(key.index);
            self.drop_gone();
            return item;
        }
        self.unlink(key.index);
        self.release(key.index)
    }

    /// Takes out the first timer if it is due at `now`; what was set first goes first. O(log n) of
    /// those within one tick, and for each timer in a million ticks up to four steps of O(1).
    pub(crate) fn pop(&mut self, now: Time) -> Option<T> {
        loop {
            if let Some(&Reverse((at, key))) = self.near.peek() {
                if at > now {
                    return None;
                }
                self.near.pop();
                let item = self.release(key.index);
                self.drop_gone();
                return item;
            }
            let Some((list, start)) = self.next_slot().filter(|&(_, start)| start <= tick(now))
            else {
                // Nothing lies before it (W1), so later timers need fewer steps.
                self.tick = self.tick.max(tick(now));
                return None;
            };
            self.tick = start;
            if list == FAR {
                // Whole rounds in which there is nothing are skipped.
                self.tick = start.max(self.far_round().min(tick(now)));
            }
            self.empty(list);
        }
    }

    /// When to look again at the latest: at the first timer, or when its slot begins. O(1).
    pub(crate) fn first(&self) -> Option<Time> {
        if let Some(&Reverse((at, _))) = self.near.peek() {
            return Some(at);
        }
        self.next_slot().map(|(_, start)| Time::from_nanos(start.saturating_mul(1 << TICK_BITS)))
    }

    /// The time of the first timer. O(n) of those in its slot.
    pub(crate) fn first_exact(&self) -> Option<Time> {
        if let Some(&Reverse((at, _))) = self.near.peek() {
            return Some(at);
        }
        let (list, _) = self.next_slot()?;
        self.first_of(list)
    }

    /// Hands out all that was set, in no order.
    pub(crate) fn clear(&mut self) -> Vec<T> {
        let numbers = self.numbers;
        let entries = mem::take(&mut self.entries);
        *self = Self { tick: self.tick, numbers, ..Self::new() };
        entries.into_iter().filter_map(|entry| entry.item).collect()
    }

    // --- places ----------------------------------------------------------------------------

    fn entry(&mut self, index: u32) -> &mut Entry<T> {
        &mut self.entries[index as usize]
    }

    /// Puts an entry that is nowhere where it belongs (W1).
    fn place(&mut self, index: u32) {
        let (at, number) = (self.entry(index).at, self.entry(index).number);
        if tick(at) <= self.tick {
            self.entry(index).list = NEAR;
            self.near.push(Reverse((at, Key { number, index })));
            return;
        }
        let level = (tick(at) ^ self.tick).ilog2() / SLOT_BITS;
        let list = if level < LEVELS {
            let slot = slot_of(tick(at), level);
            self.filled[level as usize] |= 1 << slot;
            level * SLOTS + slot
        } else {
            FAR
        };
        let next = mem::replace(&mut self.lists[list as usize], index);
        if next != NONE {
            self.entry(next).previous = index;
        }
        let entry = self.entry(index);
        (entry.list, entry.previous, entry.next) = (list, NONE, next);
    }

    fn unlink(&mut self, index: u32) {
        let Entry { list, previous, next, .. } = *self.entry(index);
        if next != NONE {
            self.entry(next).previous = previous;
        }
        if previous == NONE {
            self.lists[list as usize] = next;
            if next == NONE {
                self.is_empty_now(list);
            }
        } else {
            self.entry(previous).next = next;
        }
    }

    /// W2.
    fn is_empty_now(&mut self, list: u32) {
        if list < FAR {
            self.filled[(list / SLOTS) as usize] &= !(1 << (list % SLOTS));
        }
    }

    /// Places all of a list anew, at the tick that it begins with.
    fn empty(&mut self, list: u32) {
        let mut index = mem::replace(&mut self.lists[list as usize], NONE);
        self.is_empty_now(list);
        while index != NONE {
            let next = self.entry(index).next;
            self.place(index);
            index = next;
        }
    }

    /// Frees an entry. With the last one goes what room many have needed.
    fn release(&mut self, index: u32) -> Option<T> {
        let free = mem::replace(&mut self.free, index);
        let entry = self.entry(index);
        let item = entry.item.take();
        entry.next = free;
        self.living -= 1;
        if self.living == 0 && self.entries.capacity() > ROOM_KEPT {
            (self.entries, self.free) = (Vec::new(), NONE);
            self.near = BinaryHeap::new();
        }
        item
    }

    /// Takes timers out of the heap's front that were cancelled.
    fn drop_gone(&mut self) {
        while let Some(&Reverse((_, key))) = self.near.peek() {
            let entry = self.entries.get(key.index as usize);
            if entry.is_some_and(|entry| entry.number == key.number && entry.item.is_some()) {
                return;
            }
            self.near.pop();
        }
    }

    /// The first list in which something lies, and the tick that it begins with.
    fn next_slot(&self) -> Option<(u32, u64)> {
        for level in 0..LEVELS {
            // Those before the present one are empty, and so is that one (W1).
            let filled = self.filled[level as usize];
            if filled != 0 {
                let (slot, below) = (filled.trailing_zeros(), SLOT_BITS * level);
                let round = (self.tick >> (below + SLOT_BITS)) << SLOT_BITS;
                return Some((level * SLOTS + slot, (round | u64::from(slot)) << below));
            }
        }
        let is_any = self.lists[FAR as usize] != NONE;
        is_any.then_some((FAR, ((self.tick >> ROUND_BITS) + 1) << ROUND_BITS))
    }

    /// The tick at which the round begins that the first of what is later lies in.
    fn far_round(&self) -> u64 {
        let first = self.first_of(FAR).map_or(u64::MAX, tick);
        (first >> ROUND_BITS) << ROUND_BITS
    }

    /// The first time in a list.
    fn first_of(&self, list: u32) -> Option<Time> {
        let mut index = self.lists[list as usize];
        let mut first: Option<Time> = None;
        while let Some(entry) = self.entries.get(index as usize) {
            first = Some(first.map_or(entry.at, |first| first.min(entry.at)));
            index = entry.next;
        }
        first
    }
}

fn slot_of(tick: u64, level: u32) -> u32 {
    let slot = (tick >> (SLOT_BITS * level)) & (u64::from(SLOTS) - 1);
    u32::try_from(slot).expect("six bits")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Entropy;

    /// A time that may lie on any level, or at its edge.
    fn span(entropy: &mut Entropy) -> u64 {
        let bits = entropy.below(48);
        let span = entropy.below(1 << bits);
        if entropy.below(4) == 0 { (span >> TICK_BITS) << TICK_BITS } else { span }
    }

    /// The wheel and the map that it is to be like: by time, then by setting.
    struct Both {
        wheel: Wheel<u64>,
        map: BTreeMap<(Time, u64), Key>,
        now: Time,
        seed: u64,
    }

    impl Both {
        fn set(&mut self, at: Time) {
            let number = self.wheel.numbers;
            let key = self.wheel.set(at, number);
            self.map.insert((at, number), key);
        }

        fn check(&self) {
            let first = self.map.first_key_value().map(|((at, _), _)| *at);
            assert_eq!(self.wheel.first_exact(), first, "seed {}", self.seed);
            let look = self.wheel.first();
            assert!(look.is_some() == first.is_some() && look <= first, "seed {}", self.seed);
            assert_eq!(self.wheel.living, self.map.len(), "seed {}", self.seed);
        }

        /// Everything that is due comes, in order, and nothing else.
        fn fire(&mut self) {
            while let Some(number) = self.wheel.pop(self.now) {
                let ((at, expected), _) = self.map.pop_first().expect("as many as in the map");
                assert_eq!(number, expected, "seed {}", self.seed);
                assert!(at <= self.now, "seed {}: early", self.seed);
                self.check();
            }
            let first = self.map.first_key_value();
            assert!(first.is_none_or(|((at, _), _)| *at > self.now), "seed {}: late", self.seed);
        }
    }

    /// Goal: the wheel is the map that it replaces: the same timers in the same order, at any time,
    /// whatever is set, cancelled (also twice, or when it has fired) and skipped.
    /// Method: 100 runs of 400 steps, on all levels.
    #[test]
    fn a_wheel_is_a_map_by_time_and_setting() {
        for seed in 0..100 {
            let mut entropy = Entropy::from_seed(seed);
            let (wheel, map, now) = (Wheel::new(), BTreeMap::new(), Time::ZERO);
            let mut both = Both { wheel, map, now, seed };
            let mut old = Vec::new();
            for _ in 0..400 {
                match entropy.below(8) {
                    0..4 => {
                        let at = Time::from_nanos(both.now.as_nanos() + span(&mut entropy));
                        (0..=entropy.below(3)).for_each(|_| both.set(at));
                    }
                    4 => both.set(Time::from_nanos(entropy.below(both.now.as_nanos() + 1))),
                    5 if !both.map.is_empty() => {
                        let place = entropy.below(both.map.len() as u64);
                        let place = usize::try_from(place).expect("small");
                        let (&name, &key) = both.map.iter().nth(place).expect("below its length");
                        assert_eq!(both.wheel.cancel(key), Some(name.1), "seed {seed}");
                        both.map.remove(&name);
                        old.push(key);
                    }
                    6 => {
                        both.now = Time::from_nanos(both.now.as_nanos() + span(&mut entropy));
                        old.extend(both.map.values().take(3));
                        both.fire();
                        old.retain(|key| !both.map.values().any(|set| set == key));
                        for &key in &old {
                            assert_eq!(both.wheel.cancel(key), None, "seed {seed}");
                        }
                    }
                    _ => {}
                }
                both.check();
            }
            both.now = Time::MAX;
            both.fire();
            assert!(both.map.is_empty() && both.wheel.first().is_none());
        }
    }

    /// Goal: whoever sleeps until the wheel says comes to every timer at its time, and looks in
    /// vain at most once a level.
    #[test]
    fn who_follows_the_wheel_comes_in_time() {
        for seed in 0..200 {
            let mut entropy = Entropy::from_seed(seed);
            let mut wheel = Wheel::new();
            let mut times: Vec<_> =
                (0..100).map(|_| Time::from_nanos(span(&mut entropy))).collect();
            for &at in &times {
                wheel.set(at, at);
            }
            times.sort_unstable();
            let mut fired = Vec::new();
            let mut in_vain = 0;
            while let Some(now) = wheel.first() {
                let before = fired.len();
                while let Some(at) = wheel.pop(now) {
                    assert_eq!(at, now, "seed {seed}");
                    fired.push(at);
                }
                in_vain += usize::from(fired.len() == before);
            }
            assert_eq!(fired, times);
            // Beyond the last level once more for each of its rounds.
            let rounds = usize::try_from(times[99].as_nanos() >> 44).expect("small");
            assert!(
                in_vain <= times.len() * LEVELS as usize + rounds,
                "seed {seed}: {in_vain} in vain"
            );
        }
    }

    /// Goal: clearing hands out everything once; a key of before means nothing afterwards.
    #[test]
    fn clearing_hands_out_everything() {
        let mut wheel = Wheel::new();
        let keys: Vec<_> =
            (0..3_000_u64).map(|n| wheel.set(Time::from_nanos(n << 30), n)).collect();
        assert_eq!(wheel.pop(Time::from_nanos(5)), Some(0));
        let mut left = wheel.clear();
        left.sort_unstable();
        assert_eq!(left, (1..3_000).collect::<Vec<_>>());
        assert_eq!((wheel.first(), wheel.first_exact(), wheel.living), (None, None, 0));
        let key = wheel.set(Time::from_nanos(7), 7);
        for key in keys {
            assert_eq!(wheel.cancel(key), None);
        }
        assert_eq!((wheel.cancel(key), wheel.cancel(key)), (Some(7), None));
    }
}
