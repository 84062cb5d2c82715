//! The lock-free queue of a process: what waits for it, and whether it has to be scheduled.
//!
//! One word says both. It holds the newest waiting letter (each links to the one before it) and, in
//! the low bits that alignment leaves free, what the process does. A sender links its letter in
//! with one compare-and-swap, and that same swap tells it if the process was idle, so that it has
//! to be scheduled. The process takes what waits by reading the word, and reverses it; the newest
//! letter stays linked, emptied, and says where next time's begin. Only to go idle it takes that
//! out, by the swap that says so: a turn of one letter costs it one locked instruction. The room of
//! letters is counted by two words, one of which only grows and is written by the owner of the turn
//! alone.
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
//! - Q4: `sent` less `gone` counts every letter that was let in and not taken out, so `items_max`
//!   and `bytes_max` hold but for senders that are turning back at this moment. Who is let in has
//!   read `gone`, which only grows, before it counted itself in `sent`, so it counted at least all
//!   letters before its own (as long as fewer than 2^23 pass between the two). Within a turn they
//!   may count an eighth of the bounds too much: room is given back in lots, because the senders'
//!   cores have to hand that word over each time.
//! - Q5: of what was taken, the newest letter stays linked until the word has moved on; its block
//!   is freed after that, so that no other letter can lie there and look like it.
#![allow(unsafe_code, reason = "letters are linked through raw pointers")]

use std::{
    mem,
    ptr::{self, NonNull},
};

pub(crate) use self::letter::{Letter, Weight};
use self::{letter::Link, own::Own};
use crate::{
    mailbox::Load,
    sync::{AtomicPtr, AtomicU64, Ordering, UnsafeCell, fence},
};

mod letter;
mod own;

/// The process waits; a letter or a wake-up makes it runnable.
const IDLE: usize = 1;
/// It was woken by something that is not a letter.
const WOKEN: usize = 2;
/// The process waits for a wake-up; letters only wait with it.
const PARKED: usize = 4;
/// Nothing is accepted any more. With [`IDLE`] or [`PARKED`] the process waited, and is to be
/// ended; alone it has ended.
const SHUT: usize = 8;
/// Of a process that runs or is queued: it has got the last holder of its cell. Above all
/// addresses.
const HEIR: usize = 1 << 63;
/// Of the owner's own pointer: that letter is emptied.
const EMPTIED: usize = 1;
const TAGS: usize = IDLE | WOKEN | PARKED | SHUT | HEIR;
/// None of these: the process runs or is queued, or is not born.
const RESTS: usize = IDLE | PARKED | SHUT;

/// Bits of a weight, and of a sum of them, that count letters; the others count bytes. Senders that
/// find no room are counted while they turn back.
const ITEM_BITS: u32 = 24;
const ITEM_MASK: u64 = (1 << ITEM_BITS) - 1;
/// Where weights begin in `sent` and `gone`. Their sums overflow, what is between them does not.
const SUM_SHIFT: u32 = 1;
/// In `sent`, below the weights: new letters are refused.
const CLOSED: u64 = 1;
/// The most letters a queue can be told to hold: half of what can be counted.
pub(crate) const ITEMS_MAX: u32 = 1 << (ITEM_BITS - 1);
/// The most bytes one letter weighs: as many as 64 senders can find no room for at once.
const LETTER_BYTES_MAX: u32 = u32::MAX;
/// The most bytes a queue can be told to hold.
const BYTES_MAX: u64 = 1 << 38;
const _: () =
    assert!(BYTES_MAX + 64 * LETTER_BYTES_MAX as u64 <= u64::MAX >> (SUM_SHIFT + ITEM_BITS));

/// In `bounds`: senders put letters in here and turn back if there is no room. They need not look
/// at the overflow rule, which lies where the owner's core writes.
const PLAIN: u64 = 1 << 63;
const _: () = assert!(BYTES_MAX << ITEM_BITS < PLAIN);

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

/// The queue of a process. `M` is not a parameter, so that the scheduler need not know it; whoever
/// makes the queue says what it holds, and uses it with that one type.
pub(crate) struct Queue {
    head: AtomicPtr<Link>,
    /// Weights of all letters that were let in or want to be, and [`CLOSED`].
    sent: AtomicU64,
    /// Weights of those whose room was given back. Written by the owner of the turn alone, and only
    /// in lots: so it lies with what senders read.
    gone: AtomicU64,
    /// The most letters and bytes, as one weight, and [`PLAIN`].
    bounds: u64,
}

/// What weighs so much between two sums.
#[inline]
const fn between(sent: u64, gone: u64) -> u64 {
    (sent & !CLOSED).wrapping_sub(gone) >> SUM_SHIFT
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
        let plain = if is_plain { PLAIN } else { 0 };
        Self {
            head: AtomicPtr::new(ptr::null_mut()),
            sent: AtomicU64::new(0),
            gone: AtomicU64::new(0),
            bounds: u64::from(items_max) | bytes_max << ITEM_BITS | plain,
        }
    }

    // --- for senders -----------------------------------------------------------------------

    #[inline]
    pub(crate) const fn is_plain(&self) -> bool {
        self.bounds & PLAIN != 0
    }

    /// What was let in and not taken out, in letters and bytes. What a process has ordered for
    /// itself is in neither.
    pub(crate) fn load(&self) -> Load {
        // In this order, as in `reserve`: so it is never less than nothing.
        let gone = self.gone.load(Ordering::Acquire);
        let load = between(self.sent.load(Ordering::Relaxed), gone);
        let narrow = |part| usize::try_from(part).unwrap_or(usize::MAX);
        Load { items: narrow(load & ITEM_MASK), bytes: narrow(load >> ITEM_BITS) }
    }

    /// The letters among it.
    pub(crate) fn len(&self) -> usize {
        self.load().items
    }

    /// Makes room for a letter (Q4), or says why not.
    #[inline]
    pub(crate) fn reserve(&self, weight: Weight) -> Result<(), Refusal> {
        loop {
            // What is seen here of the letters that are gone was sent before, and is seen below.
            let gone = self.gone.load(Ordering::Acquire);
            // Who finds no room over and over reads the word, and does not take it from others.
            let mut refusal = self.refusal(self.sent.load(Ordering::Relaxed), gone, weight);
            if refusal.is_none() {
                let before = self.sent.fetch_add(weight.0 << SUM_SHIFT, Ordering::AcqRel);
                refusal = self.refusal(before, gone, weight);
                if refusal.is_none() {
                    return Ok(());
                }
                self.sent.fetch_sub(weight.0 << SUM_SHIFT, Ordering::AcqRel);
            }
            // Room may have come meanwhile, and been taken as well.
            if let Some(refusal) = refusal
                && (refusal == Refusal::Closed || gone == self.gone.load(Ordering::Relaxed))
            {
                return Err(refusal);
            }
        }
    }

    /// The same for mailboxes whose senders wait for room: who finds none has taken none for a
    /// moment either, by which another would find none.
    ///
    /// Who finds none has seen what was given back before the owner of the turn looked who waits,
    /// or that look sees all that the caller has done before: both have a fence in between.
    pub(crate) fn reserve_if_room(&self, weight: Weight) -> Result<(), Refusal> {
        let mut is_fenced = false;
        loop {
            let gone = self.gone.load(Ordering::Acquire);
            let before = self.sent.load(Ordering::Relaxed);
            if let Some(refusal) = self.refusal(before, gone, weight) {
                if is_fenced {
                    return Err(refusal);
                }
                fence(Ordering::SeqCst);
                is_fenced = true;
                continue;
            }
            let sent = before.wrapping_add(weight.0 << SUM_SHIFT);
            let order = (Ordering::AcqRel, Ordering::Relaxed);
            if self.sent.compare_exchange_weak(before, sent, order.0, order.1).is_ok() {
                return Ok(());
            }
        }
    }

    /// Why a letter is not let in beside what is counted already.
    #[inline]
    const fn refusal(&self, sent: u64, gone: u64, weight: Weight) -> Option<Refusal> {
        let load = between(sent, gone) + weight.0;
        let bounds = self.bounds & !PLAIN;
        let is_full = (load & ITEM_MASK) > (bounds & ITEM_MASK)
            || (load >> ITEM_BITS) > (bounds >> ITEM_BITS);
        if sent & CLOSED != 0 {
            Some(Refusal::Closed)
        } else if is_full {
            Some(Refusal::Full)
        } else {
            None
        }
    }

    /// Gives room back that was reserved.
    #[inline]
    pub(crate) fn unreserve(&self, weight: Weight) {
        if weight.room() > 0 {
            self.sent.fetch_sub(weight.room() << SUM_SHIFT, Ordering::AcqRel);
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
        self.sent.fetch_or(CLOSED, Ordering::AcqRel);
        // As where room is given back.
        fence(Ordering::SeqCst);
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
    #[inline]
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
        self.take_off(room);
        if !self.is_plain() {
            // Whoever finds no room says first that it waits: see `reserve_if_room`.
            fence(Ordering::SeqCst);
        }
        usize::try_from(room & ITEM_MASK).expect("24 bits")
    }

    /// By the owner of the turn, or who knows that nobody is.
    #[inline]
    fn take_off(&self, room: u64) {
        let gone = self.gone.load(Ordering::Relaxed).wrapping_add(room << SUM_SHIFT);
        self.gone.store(gone, Ordering::Release);
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

    /// Goes idle unless something came, or was taken and not opened (Q3), or the process has got a
    /// holder. After `true` the turn
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

    /// Waits for a wake-up, whatever letters come, unless there was one (Q3), or the process has
    /// got a holder. After `true` the turn belongs to somebody else.
    pub(crate) fn try_park(&self) -> bool {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if tags(head) & (WOKEN | HEIR) != 0 {
                return false;
            }
            let new = with_tags(head, tags(head) | PARKED);
            match self.head.compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => head = now,
            }
        }
    }

    /// Takes the holder that a process that runs has got; false if it has got none. After that it
    /// can go idle or park.
    ///
    /// For the owner of the turn.
    #[cold]
    pub(crate) fn take_heritage(&self) -> bool {
        self.change(|tags| (tags & HEIR != 0).then_some(tags & !HEIR)).is_some()
    }

    // --- for the last holder, and for who ends what waits ------------------------------------

    /// True if the process runs or is queued, or is not born.
    pub(crate) fn is_awake(&self) -> bool {
        tags(self.head.load(Ordering::Acquire)) & RESTS == 0
    }

    /// Gives the caller's holder to the process if it runs or is queued; false if not. Once it has
    /// got one there is no last holder but itself.
    pub(crate) fn bequeath(&self) -> bool {
        self.change(|tags| (tags & (RESTS | HEIR) == 0).then_some(tags | HEIR)).is_some()
    }

    /// Shuts a queue whose process waits, by who is to end it; false if it does not wait, or
    /// somebody else has done so.
    pub(crate) fn shut_at_rest(&self) -> bool {
        let waits = |tags: usize| tags & (IDLE | PARKED) != 0 && tags & SHUT == 0;
        self.change(|tags| waits(tags).then_some(tags | SHUT)).is_some()
    }

    /// Changes the tags; says what they were, or nothing if they are to stay.
    fn change(&self, to: impl Fn(usize) -> Option<usize>) -> Option<usize> {
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            let new = with_tags(head, to(tags(head))?);
            let order = (Ordering::AcqRel, Ordering::Acquire);
            match self.head.compare_exchange_weak(head, new, order.0, order.1) {
                Ok(_) => return Some(tags(head)),
                Err(now) => head = now,
            }
        }
    }

    /// Accepts nothing any more and drops all that waits. Says how many letters that were, what the
    /// process was doing, and if it had got a holder, which is the caller's now.
    ///
    /// # Safety
    ///
    /// The caller owns the turn, or knows that nobody does, `taken` is this queue's, and letters
    /// were pushed with this `M`.
    pub(crate) unsafe fn shut<M>(&self, taken: &Taken) -> (Vec<Letter<M>>, Before, bool) {
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
        self.take_off(weight);
        let before = match tags(head) {
            tags if tags & (IDLE | PARKED) != 0 => Before::Asleep,
            tags if tags & SHUT != 0 => Before::Shut,
            _ => Before::Awake,
        };
        (letters, before, tags(head) & HEIR != 0)
    }
}

#[cfg(all(test, evenkeel_loom))]
mod loom_tests;
#[cfg(all(test, not(evenkeel_loom)))]
mod tests;
