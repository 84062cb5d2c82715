//! The lock-free queue of a process: what waits for it, and whether it has to be scheduled.
//!
//! One word says both. It holds the newest waiting letter (each links to the one before it) and, in
//! the low bits that alignment leaves free, what the process does. A sender links its letter in
//! with one compare-and-swap, and that same swap tells it if the process was idle, so that it has
//! to be scheduled. The process takes what waits by reading the word, and reverses it; the newest
//! letter stays linked, emptied, and says where next time's begin. Only to go idle it takes that
//! out, by the swap that says so: a turn of one letter costs it one locked instruction on the word,
//! and one to give the letter's room back.
//!
//! A list that senders push on and the reader takes whole has no half-done push that a reader
//! would have to wait for, and no stub node in an idle process (`docs/adr/0007`). Where an overflow
//! rule has to reach into the middle, letters wait behind a lock instead (`mailbox::Locked`), and
//! this word only wakes.
//!
//! ```text
//!            spawn                     idle                 push, wake
//! (unborn) --------> queued, running ------> IDLE  ----------------------> queued
//!                          |        ------> PARKED ---------------- wake -> queued
//!                          v         park
//!                        SHUT
//! ```
//!
//! # Invariants
//!
//! - Q1: whoever takes IDLE or PARKED off the word, and nobody else, schedules the process; so it
//!   is in at most one run queue.
//! - Q2: letters of one sender are taken in the order they were pushed.
//! - Q3: a push or a wake-up that finds the process neither idle nor parked leaves its mark in the
//!   word, and the process cannot go idle past a mark: no wake-up is lost.
//! - Q4: `load` counts every letter that was let in and not taken out, so `items_max` and
//!   `bytes_max` hold but for senders that are turning back at this moment. Within a turn it may
//!   count an eighth of the bounds too much: room is given back in lots, because the senders'
//!   cores have to hand that word over each time.
//! - Q5: of what was taken, the newest letter stays linked until the word has moved on; its block
//!   is freed after that, so that no other letter can lie there and look like it.
#![allow(unsafe_code, reason = "letters are linked through raw pointers")]

use std::{
    mem,
    ptr::{self, NonNull},
};

use self::letter::Link;
pub(crate) use self::letter::{Letter, Weight};
use crate::{
    mailbox::Load,
    sync::{AtomicPtr, AtomicU64, Ordering, UnsafeCell},
};

mod letter;

/// The process waits; a letter or a wake-up makes it runnable.
const IDLE: usize = 1;
/// It was woken by something that is not a letter.
const WOKEN: usize = 2;
/// The process waits for a wake-up; letters only wait with it.
const PARKED: usize = 4;
/// Nothing is accepted any more.
const SHUT: usize = 8;
/// Of the owner's own pointer: that letter is emptied.
const EMPTIED: usize = 1;
const TAGS: usize = IDLE | WOKEN | PARKED | SHUT;

/// Bits of `load` that count letters. Senders that find no room are counted while they turn back.
const ITEM_BITS: u32 = 24;
const ITEM_MASK: u64 = (1 << ITEM_BITS) - 1;
/// New letters are refused.
const CLOSED: u64 = 1 << 63;
/// The most letters a queue can be told to hold: half of what can be counted.
pub(crate) const ITEMS_MAX: u32 = 1 << (ITEM_BITS - 1);
/// The most bytes one letter weighs: as many as 64 senders can find no room for at once.
const LETTER_BYTES_MAX: u32 = u32::MAX;
/// The most bytes a queue can be told to hold.
const BYTES_MAX: u64 = 1 << 38;
const _: () = assert!(BYTES_MAX + 64 * LETTER_BYTES_MAX as u64 <= CLOSED >> ITEM_BITS);

/// Why a letter was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Full,
    Closed,
}

/// What the process was doing when its queue was shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// It waited.
    Asleep,
    /// It ran, was queued, or was not born.
    Awake,
    /// It was shut already.
    Shut,
}

/// What was taken out of a queue and not opened yet. Only the owner of the turn touches it, so it
/// lies apart from the words of the queue, which the senders' cores hold.
pub(crate) struct Taken(UnsafeCell<Own>);

// SAFETY: it is touched only by the owner of the process's turn, which the unsafe methods of the
// queue ask for.
unsafe impl Sync for Taken {}
// SAFETY: the links it holds are letters of `Send` messages.
unsafe impl Send for Taken {}

impl Taken {
    /// What goes with a queue of these bounds.
    pub(crate) fn new(items_max: usize, bytes_max: usize) -> Self {
        Self(UnsafeCell::new(Own::new(items_max, bytes_max)))
    }
}

/// What the owner of the turn knows of what was taken, and of the room that came free by it.
struct Own {
    /// The oldest letter; or, with the mark [`EMPTIED`], the newest one that was taken: its message
    /// is gone, and the queue's word still links to it (Q5).
    first: *mut Link,
    /// Room of letters that were opened in this turn, and is not given back yet; and the most of it
    /// that is kept back. They lie here because the queue's own bounds lie in the senders' line.
    owed_items: u8,
    owed_items_max: u8,
    owed_bytes: u16,
    owed_bytes_max: u16,
}

impl Own {
    /// The most room that is kept back, if a mailbox holds much.
    const OWED_ITEMS_MAX: u8 = 32;
    const OWED_BYTES_MAX: u16 = 1 << 14;

    fn new(items_max: usize, bytes_max: usize) -> Self {
        let items = u8::try_from(items_max / 8).unwrap_or(u8::MAX);
        let bytes = u16::try_from(bytes_max / 8).unwrap_or(u16::MAX);
        Self {
            first: ptr::null_mut(),
            owed_items: 0,
            owed_items_max: items.min(Self::OWED_ITEMS_MAX),
            owed_bytes: 0,
            owed_bytes_max: bytes.min(Self::OWED_BYTES_MAX),
        }
    }

    /// Adds a letter's room. All that is owed, if it is time to give it back.
    #[inline]
    fn owe(&mut self, room: u64) -> u64 {
        // Of bytes beyond the bound it says only that they are.
        let bytes = u16::try_from(room >> ITEM_BITS).unwrap_or(u16::MAX);
        let owed_bytes = self.owed_bytes.saturating_add(bytes);
        let is_much = self.owed_items >= self.owed_items_max || owed_bytes > self.owed_bytes_max;
        if is_much || self.has_none() {
            return self.take_owed() + room;
        }
        self.owed_items += u8::from(room > 0);
        self.owed_bytes = owed_bytes;
        0
    }

    /// Nothing was taken that is not opened.
    #[inline]
    fn has_none(&self) -> bool {
        self.first.is_null() || tags(self.first) & EMPTIED != 0
    }

    #[inline]
    fn take_owed(&mut self) -> u64 {
        let (items, bytes) = (mem::take(&mut self.owed_items), mem::take(&mut self.owed_bytes));
        u64::from(items) | u64::from(bytes) << ITEM_BITS
    }
}

/// The queue of a process. `M` is not a parameter, so that the scheduler need not know it; whoever
/// makes the queue says what it holds, and uses it with that one type.
pub(crate) struct Queue {
    head: AtomicPtr<Link>,
    load: AtomicU64,
    items_max: u32,
    /// Senders put letters in here and turn back if there is no room: they need not look at the
    /// overflow rule, which lies where the owner's core writes.
    is_plain: bool,
    bytes_max: u64,
}

fn tags(head: *mut Link) -> usize {
    head.addr() & TAGS
}

fn untagged(head: *mut Link) -> *mut Link {
    head.map_addr(|address| address & !TAGS)
}

fn with_tags(head: *mut Link, tags: usize) -> *mut Link {
    head.map_addr(|address| address & !TAGS | tags)
}

impl Queue {
    pub(crate) fn new(items_max: usize, bytes_max: usize, is_plain: bool) -> Self {
        let items_max = u32::try_from(items_max).unwrap_or(u32::MAX).min(ITEMS_MAX);
        let bytes_max = (bytes_max as u64).min(BYTES_MAX);
        Self {
            head: AtomicPtr::new(ptr::null_mut()),
            load: AtomicU64::new(0),
            items_max,
            is_plain,
            bytes_max,
        }
    }

    // --- for senders -----------------------------------------------------------------------

    #[inline]
    pub(crate) const fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Letters that were let in and not taken out.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.load.load(Ordering::Relaxed) & ITEM_MASK).expect("24 bits")
    }

    /// The same with their bytes. What a process has ordered for itself is in neither.
    pub(crate) fn load(&self) -> Load {
        let load = self.load.load(Ordering::Relaxed);
        let bytes = (load & !CLOSED) >> ITEM_BITS;
        Load { items: self.len(), bytes: usize::try_from(bytes).unwrap_or(usize::MAX) }
    }

    /// Makes room for a letter (Q4), or says why not.
    #[inline]
    pub(crate) fn reserve(&self, weight: Weight) -> Result<(), Refusal> {
        // Senders that find no room over and over read the word, and do not take it from who gives
        // room back.
        if let Some(refusal) = self.refusal(self.load.load(Ordering::Relaxed), weight) {
            return Err(refusal);
        }
        let before = self.load.fetch_add(weight.0, Ordering::AcqRel);
        let Some(refusal) = self.refusal(before, weight) else {
            return Ok(());
        };
        self.load.fetch_sub(weight.0, Ordering::AcqRel);
        Err(refusal)
    }

    /// The same for mailboxes whose senders wait for room: who finds none has taken none for a
    /// moment either, by which another would find none.
    ///
    /// The word is written even if it stays: who takes room out afterwards sees all that the caller
    /// has done before, and if it was before, the caller sees the room.
    pub(crate) fn reserve_if_room(&self, weight: Weight) -> Result<(), Refusal> {
        let mut before = self.load.load(Ordering::Relaxed);
        loop {
            let (load, refusal) = match self.refusal(before, weight) {
                None => (before + weight.0, None),
                Some(refusal) => (before, Some(refusal)),
            };
            let order = (Ordering::AcqRel, Ordering::Relaxed);
            match self.load.compare_exchange_weak(before, load, order.0, order.1) {
                Ok(_) => return refusal.map_or(Ok(()), Err),
                Err(now) => before = now,
            }
        }
    }

    /// Why a letter is not let in beside what is counted already.
    #[inline]
    fn refusal(&self, before: u64, weight: Weight) -> Option<Refusal> {
        let load = before + weight.0;
        let is_full = (load & ITEM_MASK) > u64::from(self.items_max)
            || ((load & !CLOSED) >> ITEM_BITS) > self.bytes_max;
        if before & CLOSED != 0 { Some(Refusal::Closed) } else { is_full.then_some(Refusal::Full) }
    }

    /// Gives room back that was reserved.
    #[inline]
    pub(crate) fn unreserve(&self, weight: Weight) {
        if weight.room() > 0 {
            self.load.fetch_sub(weight.room(), Ordering::AcqRel);
        }
    }

    /// Puts a letter in. True if the caller has to schedule the process (Q1). The letter comes
    /// back if the queue is shut.
    #[inline]
    pub(crate) fn push<M>(&self, letter: Letter<M>) -> Result<bool, Letter<M>> {
        let link = letter.into_link();
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let tags = tags(head);
            if tags & SHUT != 0 {
                // SAFETY: it was taken out of the letter above and pushed nowhere.
                return Err(unsafe { Letter::from_link(link) });
            }
            // SAFETY: the link is ours until the swap.
            unsafe { link.as_ref() }.next.store(untagged(head), Ordering::Relaxed);
            let new = with_tags(link.as_ptr(), tags & !IDLE);
            // Releases the letter; acquires, from a process that went idle, what it has left.
            match self.head.compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(tags & IDLE != 0),
                Err(now) => head = now,
            }
        }
    }

    /// Wakes the process for something else than a letter. True if the caller has to schedule it.
    ///
    /// The word is written even if it stays: the process, which reads what was written last, sees
    /// all that the caller has done before.
    pub(crate) fn wake(&self) -> bool {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let tags = tags(head);
            if tags & SHUT != 0 {
                return false;
            }
            let new = with_tags(head, tags & !(IDLE | PARKED) | WOKEN);
            match self.head.compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return tags & (IDLE | PARKED) != 0,
                Err(now) => head = now,
            }
        }
    }

    /// Refuses new letters; what waits can still be taken.
    pub(crate) fn close(&self) {
        self.load.fetch_or(CLOSED, Ordering::AcqRel);
    }

    // --- for the owner of the turn ---------------------------------------------------------

    /// Takes note of a wake-up. True if there was one since the last time.
    ///
    /// Not for a process that may be idle or parked.
    #[inline]
    pub(crate) fn clear_woken(&self) -> bool {
        let mut head = self.head.load(Ordering::Relaxed);
        while tags(head) & WOKEN != 0 {
            let new = with_tags(head, tags(head) & !WOKEN);
            match self.head.compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => head = now,
            }
        }
        false
    }

    /// The oldest message and its weight. The room of the last one that waits is free before it is
    /// handled, so that who answers it at once finds that room; that of the others is given back
    /// in lots. `freed` is told how many letters' room that was.
    ///
    /// # Safety
    ///
    /// The caller owns the turn, `taken` is this queue's, and all letters were pushed with this
    /// `M`.
    #[inline]
    pub(crate) unsafe fn pop<M>(
        &self,
        taken: &Taken,
        freed: impl FnOnce(usize),
    ) -> Option<(M, Weight)> {
        taken.0.with_mut(|own| {
            // SAFETY: only the owner of the turn touches it.
            let own = unsafe { &mut *own };
            if own.has_none() {
                // SAFETY: as the caller says.
                own.first = unsafe { self.take_new::<M>(untagged(own.first)) }?;
            }
            let link = NonNull::new(own.first)?;
            // SAFETY: a taken link is a letter that only the owner has.
            let next = unsafe { link.as_ref() }.next.load(Ordering::Relaxed);
            let (message, weight) = if next.is_null() {
                own.first = with_tags(link.as_ptr(), EMPTIED);
                // SAFETY: as the caller says; marked as emptied, it is not taken again.
                unsafe { Letter::<M>::empty(link) }
            } else {
                own.first = next;
                letter::fetch(next);
                // SAFETY: as the caller says.
                unsafe { Letter::<M>::from_link(link) }.open()
            };
            let room = own.owe(weight.room());
            if room > 0 {
                freed(self.give_back(room));
            }
            Some((message, weight))
        })
    }

    /// True if a letter waits, whether it counts or not.
    ///
    /// # Safety
    ///
    /// The caller owns the turn, and `taken` is this queue's.
    pub(crate) unsafe fn has_letters(&self, taken: &Taken) -> bool {
        // SAFETY: only the owner of the turn touches it.
        let own = taken.0.with_mut(|own| unsafe { &*own });
        !own.has_none() || untagged(self.head.load(Ordering::Relaxed)) != untagged(own.first)
    }

    /// Gives back all room that is owed, at the end of a turn. Says how many letters' that was.
    ///
    /// # Safety
    ///
    /// The caller owns the turn, and `taken` is this queue's.
    #[inline]
    pub(crate) unsafe fn settle(&self, taken: &Taken) -> usize {
        // SAFETY: only the owner of the turn touches it.
        let room = taken.0.with_mut(|own| unsafe { &mut *own }.take_owed());
        if room > 0 { self.give_back(room) } else { 0 }
    }

    #[inline]
    fn give_back(&self, room: u64) -> usize {
        self.load.fetch_sub(room, Ordering::AcqRel);
        usize::try_from(room & ITEM_MASK).expect("24 bits")
    }

    /// Takes all that came after `emptied` (null if nothing is linked), the oldest first (Q2).
    ///
    /// # Safety
    ///
    /// The caller owns the turn, `emptied` is what it has emptied and left linked, and all letters
    /// were pushed with this `M`.
    #[inline]
    unsafe fn take_new<M>(&self, emptied: *mut Link) -> Option<*mut Link> {
        // Each push acquires those before it and releases them with its own.
        let mut newest = untagged(self.head.load(Ordering::Acquire));
        if newest == emptied {
            return None;
        }
        let mut oldest = ptr::null_mut::<Link>();
        while newest != emptied {
            let link = NonNull::new(newest).expect("the list ends at what was emptied");
            // SAFETY: from the word down to the emptied one all letters are the owner's to take;
            // senders do not read what is below their own.
            let this = unsafe { link.as_ref() };
            this.fetch_older();
            let next = &this.next;
            newest = next.load(Ordering::Relaxed);
            next.store(oldest, Ordering::Relaxed);
            oldest = link.as_ptr();
        }
        if let Some(emptied) = NonNull::new(emptied) {
            // SAFETY: it was emptied, and the word has moved on (Q5).
            unsafe { Letter::<M>::free(emptied) };
        }
        Some(oldest)
    }

    /// Goes idle unless something came, or was taken and not opened (Q3). After `true` the turn
    /// belongs to somebody else.
    ///
    /// # Safety
    ///
    /// The caller owns the turn, `taken` is this queue's, and all letters were pushed with this
    /// `M`.
    #[inline]
    pub(crate) unsafe fn try_idle<M>(&self, taken: &Taken) -> bool {
        let emptied = taken.0.with_mut(|own| {
            // SAFETY: only the owner of the turn touches it.
            let own = unsafe { &mut *own };
            own.has_none().then(|| mem::replace(&mut own.first, ptr::null_mut()))
        });
        let Some(emptied) = emptied.map(untagged) else { return false };
        let (idle, order) =
            (with_tags(ptr::null_mut(), IDLE), (Ordering::AcqRel, Ordering::Relaxed));
        let is_idle = self.head.compare_exchange(emptied, idle, order.0, order.1).is_ok();
        if let Some(link) = NonNull::new(emptied) {
            if is_idle {
                // SAFETY: it was emptied, and the word has moved on (Q5).
                unsafe { Letter::<M>::free(link) };
            } else {
                let marked = with_tags(emptied, EMPTIED);
                // SAFETY: the turn is still the caller's.
                taken.0.with_mut(|own| unsafe { (*own).first = marked });
            }
        }
        is_idle
    }

    /// The same for a queue that nobody has taken from yet.
    pub(crate) fn try_idle_unborn(&self) -> bool {
        let idle = with_tags(ptr::null_mut(), IDLE);
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        self.head.compare_exchange(ptr::null_mut(), idle, order.0, order.1).is_ok()
    }

    /// Waits for a wake-up, whatever letters come, unless there was one (Q3). After `true` the
    /// turn belongs to somebody else.
    pub(crate) fn try_park(&self) -> bool {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if tags(head) & WOKEN != 0 {
                return false;
            }
            let new = with_tags(head, tags(head) | PARKED);
            match self.head.compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => head = now,
            }
        }
    }

    /// Accepts nothing any more and drops all that waits. Says how many letters that were, and
    /// what the process was doing.
    ///
    /// # Safety
    ///
    /// The caller owns the turn, or knows that nobody does, `taken` is this queue's, and letters
    /// were pushed with this `M`.
    pub(crate) unsafe fn shut<M>(&self, taken: &Taken) -> (Vec<Letter<M>>, Before) {
        let head = self.head.swap(with_tags(ptr::null_mut(), SHUT), Ordering::AcqRel);
        self.close();
        // SAFETY: as the caller says.
        let mut own = taken.0.with_mut(|own| mem::replace(unsafe { &mut *own }, Own::new(0, 0)));
        let mut weight = own.take_owed();
        let mut letters = Vec::new();
        let mut collect = |mut link: *mut Link, end: *mut Link| {
            let mut last = ptr::null_mut();
            while link != end {
                let letter = NonNull::new(link).expect("a list ends where it is said to");
                // SAFETY: both lists belong to the caller now.
                let this = unsafe { letter.as_ref() };
                (last, link) = (link, this.next.load(Ordering::Relaxed));
                weight += this.weight().room();
                // SAFETY: as the caller says.
                letters.push(unsafe { Letter::<M>::from_link(letter) });
            }
            last
        };
        let linked =
            if own.has_none() { untagged(own.first) } else { collect(own.first, ptr::null_mut()) };
        collect(untagged(head), linked);
        if let Some(emptied) = NonNull::new(linked).filter(|_| own.has_none()) {
            // SAFETY: it was emptied, and the word has moved on (Q5).
            unsafe { Letter::<M>::free(emptied) };
        }
        self.load.fetch_sub(weight, Ordering::AcqRel);
        let before = match tags(head) {
            tags if tags & SHUT != 0 => Before::Shut,
            tags if tags & (IDLE | PARKED) != 0 => Before::Asleep,
            _ => Before::Awake,
        };
        (letters, before)
    }
}

#[cfg(all(test, evenkeel_loom))]
mod loom_tests;
#[cfg(all(test, not(evenkeel_loom)))]
mod tests;
