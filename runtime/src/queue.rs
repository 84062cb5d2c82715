//! The lock-free queue of a process: what waits for it, and whether it has to be scheduled.
//!
//! One word says both. It holds the newest waiting letter (each links to the one before it) and, in
//! the low bits that alignment leaves free, what the process does. A sender links its letter in
//! with one compare-and-swap, and that same swap tells it if the process was idle, so that it has
//! to be scheduled. The process takes all that waits with one swap and reverses it.
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
//!   `bytes_max` hold but for senders that are turning back at this moment.
#![allow(unsafe_code, reason = "letters are linked through raw pointers")]

use std::{marker::PhantomData, mem::ManuallyDrop, ptr, ptr::NonNull};

use crate::{
    mailbox::Load,
    slab::SizeClass,
    sync::{AtomicPtr, AtomicU64, Ordering, UnsafeCell},
};

/// The process waits; a letter or a wake-up makes it runnable.
const IDLE: usize = 1;
/// It was woken by something that is not a letter.
const WOKEN: usize = 2;
/// The process waits for a wake-up; letters only wait with it.
const PARKED: usize = 4;
/// Nothing is accepted any more.
const SHUT: usize = 8;
const TAGS: usize = IDLE | WOKEN | PARKED | SHUT;

/// Bits of `load` that count letters. Senders that find no room are counted while they turn back.
const ITEM_BITS: u32 = 24;
const ITEM_MASK: u64 = (1 << ITEM_BITS) - 1;
/// New letters are refused.
const CLOSED: u64 = 1 << 63;
/// The most letters a queue can be told to hold: half of what can be counted.
pub(crate) const ITEMS_MAX: u32 = 1 << (ITEM_BITS - 1);
/// The most bytes one letter weighs: as many as 64 senders can find no room for at once.
const LETTER_BYTES_MAX: u64 = 1 << 32;
/// The most bytes a queue can be told to hold.
const BYTES_MAX: u64 = 1 << 38;
const _: () = assert!(BYTES_MAX + 64 * LETTER_BYTES_MAX <= CLOSED >> ITEM_BITS);

/// What a letter takes of its queue's bounds, as `load` counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weight(u64);

impl Weight {
    /// Set in what is no weight: the letter came in beyond the bounds.
    const ORDERED: u64 = 1 << 63;

    /// Of what life number `life` of the process has ordered for itself: it takes no room.
    pub(crate) fn ordered(life: u32) -> Self {
        Self(Self::ORDERED | u64::from(life))
    }

    /// The life that has ordered the letter, if one has.
    #[inline]
    pub(crate) fn life(self) -> Option<u32> {
        let is_ordered = self.0 & Self::ORDERED != 0;
        is_ordered.then(|| u32::try_from(self.0 & !Self::ORDERED).expect("made of a u32"))
    }

    /// What it takes of the bounds.
    #[inline]
    const fn room(self) -> u64 {
        if self.0 & Self::ORDERED == 0 { self.0 } else { 0 }
    }

    #[inline]
    pub(crate) fn of_bytes(bytes: usize) -> Self {
        Self(1 | (bytes as u64).min(LETTER_BYTES_MAX) << ITEM_BITS)
    }
}

/// The link by which a letter waits. First in every letter.
#[repr(C, align(16))]
pub(crate) struct Link {
    /// The letter pushed before this one. Written before the push, read after the take.
    next: AtomicPtr<Link>,
    weight: Weight,
}

/// A letter as it lies in memory.
#[repr(C)]
struct Sheet<P> {
    link: Link,
    payload: UnsafeCell<ManuallyDrop<P>>,
}

/// A message with its link, alone.
pub(crate) struct Letter<M> {
    link: NonNull<Link>,
    _message: PhantomData<M>,
}

// SAFETY: a letter owns its message, and nobody else can reach it.
unsafe impl<M: Send> Send for Letter<M> {}

impl<M> Letter<M> {
    /// Messages of a line at most lie in the letter, bigger ones in a box.
    const IS_INLINE: bool = SizeClass::of::<Sheet<M>>().is_some();

    #[inline]
    pub(crate) fn new(message: M, weight: Weight) -> Self {
        let link = if Self::IS_INLINE {
            memory::write(message, weight)
        } else {
            memory::write(Box::new(message), weight)
        };
        Self { link, _message: PhantomData }
    }

    /// The message, and what the letter weighs.
    #[inline]
    pub(crate) fn open(self) -> (M, Weight) {
        let letter = ManuallyDrop::new(self);
        // SAFETY: `new` made the letter with this payload type, and it is owned here.
        unsafe {
            if Self::IS_INLINE {
                memory::read::<M>(letter.link)
            } else {
                let (message, weight) = memory::read::<Box<M>>(letter.link);
                (*message, weight)
            }
        }
    }

    #[inline]
    fn into_link(self) -> NonNull<Link> {
        ManuallyDrop::new(self).link
    }

    /// # Safety
    ///
    /// `link` came from `into_link` of a letter of this type, and nobody else has it.
    #[inline]
    unsafe fn from_link(link: NonNull<Link>) -> Self {
        Self { link, _message: PhantomData }
    }
}

impl<M> Drop for Letter<M> {
    fn drop(&mut self) {
        drop(Self { link: self.link, _message: PhantomData }.open());
    }
}

/// Where letters lie: in blocks of the slab.
#[cfg(not(any(evenkeel_loom, evenkeel_shuttle)))]
mod memory {
    use super::{AtomicPtr, Link, ManuallyDrop, NonNull, Sheet, UnsafeCell, Weight, ptr};
    use crate::slab::{self, SizeClass};

    struct Class<P>(std::marker::PhantomData<P>);

    impl<P> Class<P> {
        const OF: Option<SizeClass> = SizeClass::of::<Sheet<P>>();

        #[inline]
        const fn of() -> SizeClass {
            Self::OF.expect("what does not fit is boxed")
        }
    }

    #[inline]
    pub(super) fn write<P>(payload: P, weight: Weight) -> NonNull<Link> {
        let block = slab::take(Class::<P>::of()).cast::<Sheet<P>>();
        let link = Link { next: AtomicPtr::new(ptr::null_mut()), weight };
        let payload = UnsafeCell::new(ManuallyDrop::new(payload));
        // SAFETY: the block is ours, and its class is one that the sheet fits in.
        unsafe { block.write(Sheet { link, payload }) };
        block.cast()
    }

    /// # Safety
    ///
    /// `link` came from `write` with this payload, and nobody else has it.
    #[inline]
    pub(super) unsafe fn read<P>(link: NonNull<Link>) -> (P, Weight) {
        let sheet = link.cast::<Sheet<P>>();
        // SAFETY: the caller owns the letter; its payload is moved out once, here.
        unsafe {
            let weight = sheet.as_ref().link.weight;
            let payload = sheet.as_ref().payload.with_mut(|p| ManuallyDrop::take(&mut *p));
            slab::give(Class::<P>::of(), sheet.cast());
            (payload, weight)
        }
    }
}

/// Where letters lie under loom and shuttle, whose cells know more than fits in a block.
#[cfg(any(evenkeel_loom, evenkeel_shuttle))]
mod memory {
    use super::{AtomicPtr, Link, ManuallyDrop, NonNull, Sheet, UnsafeCell, Weight, ptr};

    pub(super) fn write<P>(payload: P, weight: Weight) -> NonNull<Link> {
        let link = Link { next: AtomicPtr::new(ptr::null_mut()), weight };
        let payload = UnsafeCell::new(ManuallyDrop::new(payload));
        NonNull::from(Box::leak(Box::new(Sheet { link, payload }))).cast()
    }

    /// # Safety
    ///
    /// `link` came from `write` with this payload, and nobody else has it.
    pub(super) unsafe fn read<P>(link: NonNull<Link>) -> (P, Weight) {
        // SAFETY: the caller owns the letter; its payload is moved out once, here.
        unsafe {
            let sheet = Box::from_raw(link.cast::<Sheet<P>>().as_ptr());
            let payload = sheet.payload.with_mut(|p| ManuallyDrop::take(&mut *p));
            (payload, sheet.link.weight)
        }
    }
}

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

/// What only the process itself touches, in its turns.
struct Own {
    /// Taken and not opened yet, the oldest first.
    taken: *mut Link,
}

/// The queue of a process. `M` is not a parameter, so that the scheduler need not know it; whoever
/// makes the queue says what it holds, and uses it with that one type.
pub(crate) struct Queue {
    head: AtomicPtr<Link>,
    load: AtomicU64,
    items_max: u32,
    bytes_max: u64,
    own: UnsafeCell<Own>,
}

// SAFETY: `own` is touched only by the owner of the process's turn, which the unsafe methods ask
// for; the rest is atomic.
unsafe impl Sync for Queue {}
// SAFETY: the links it holds are letters of `Send` messages.
unsafe impl Send for Queue {}

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
    pub(crate) fn new(items_max: usize, bytes_max: usize) -> Self {
        let items_max = u32::try_from(items_max).unwrap_or(u32::MAX).min(ITEMS_MAX);
        let bytes_max = (bytes_max as u64).min(BYTES_MAX);
        Self {
            head: AtomicPtr::new(ptr::null_mut()),
            load: AtomicU64::new(0),
            items_max,
            bytes_max,
            own: UnsafeCell::new(Own { taken: ptr::null_mut() }),
        }
    }

    // --- for senders -----------------------------------------------------------------------

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

    /// The oldest message and its weight; its room is free before it is handled, so that who
    /// answers it at once finds that room.
    ///
    /// # Safety
    ///
    /// The caller owns the turn, and all letters were pushed with this `M`.
    #[inline]
    pub(crate) unsafe fn pop<M>(&self) -> Option<(M, Weight)> {
        self.own.with_mut(|own| {
            // SAFETY: only the owner of the turn touches `own`.
            let own = unsafe { &mut *own };
            if own.taken.is_null() {
                own.taken = self.take_all()?;
            }
            let link = NonNull::new(own.taken)?;
            // SAFETY: a taken link is a letter that only the owner has.
            own.taken = unsafe { link.as_ref() }.next.load(Ordering::Relaxed);
            // SAFETY: as the caller says.
            let (message, weight) = unsafe { Letter::<M>::from_link(link) }.open();
            self.unreserve(weight);
            Some((message, weight))
        })
    }

    /// Takes all that waits, the oldest first (Q2).
    #[inline]
    fn take_all(&self) -> Option<*mut Link> {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if untagged(head).is_null() {
                return None;
            }
            let emptied = with_tags(ptr::null_mut(), tags(head));
            match self.head.compare_exchange_weak(
                head,
                emptied,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        let mut newest = untagged(head);
        let mut oldest = ptr::null_mut::<Link>();
        while let Some(link) = NonNull::new(newest) {
            // SAFETY: the list was taken whole, and its letters were released by their pushes.
            let next = &unsafe { link.as_ref() }.next;
            newest = next.load(Ordering::Relaxed);
            next.store(oldest, Ordering::Relaxed);
            oldest = link.as_ptr();
        }
        Some(oldest)
    }

    /// Goes idle unless something came (Q3). After `true` the turn belongs to somebody else.
    #[inline]
    pub(crate) fn try_idle(&self) -> bool {
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
    /// The caller owns the turn, or knows that nobody does, and letters were pushed with this `M`.
    pub(crate) unsafe fn shut<M>(&self) -> (Vec<Letter<M>>, Before) {
        let head = self.head.swap(with_tags(ptr::null_mut(), SHUT), Ordering::AcqRel);
        self.close();
        let empty = Own { taken: ptr::null_mut() };
        // SAFETY: as the caller says.
        let own = self.own.with_mut(|own| std::mem::replace(unsafe { &mut *own }, empty));
        let mut weight = 0;
        let mut letters = Vec::new();
        for mut link in [own.taken, untagged(head)] {
            while let Some(letter) = NonNull::new(link) {
                // SAFETY: both lists belong to the caller now.
                let this = unsafe { letter.as_ref() };
                link = this.next.load(Ordering::Relaxed);
                weight += this.weight.room();
                // SAFETY: as the caller says.
                letters.push(unsafe { Letter::from_link(letter) });
            }
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
