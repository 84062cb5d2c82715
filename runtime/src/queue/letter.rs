//! Letters: a message with the link by which it waits in a queue, in one block of the slab.
#![allow(unsafe_code, reason = "a letter's memory is reached through its link")]

use std::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::{self, NonNull},
};

use super::{ITEM_BITS, LETTER_BYTES_MAX};
use crate::{
    slab::SizeClass,
    sync::{AtomicPtr, UnsafeCell},
};

/// What a letter takes of its queue's bounds, as `Queue` counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weight(pub(super) u64);

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
    pub(super) const fn room(self) -> u64 {
        if self.0 & Self::ORDERED == 0 { self.0 } else { 0 }
    }

    #[inline]
    pub(crate) fn of_bytes(bytes: usize) -> Self {
        let bytes = u32::try_from(bytes).unwrap_or(LETTER_BYTES_MAX);
        Self(1 | u64::from(bytes) << ITEM_BITS)
    }
}

pub(super) use memory::fetch;

/// The link by which a letter waits. First in every letter.
#[repr(C, align(16))]
pub(crate) struct Link {
    /// The letter pushed before this one. Written before the push, read after the take.
    pub(super) next: AtomicPtr<Link>,
    /// Bytes; or the life that has ordered it, if the hint has the mark [`Link::ORDERED`].
    what: u32,
    /// How far from this letter one lies, or has lain, that the same thread wrote some letters
    /// before: whoever goes from letter to letter asks for its line meanwhile. Nothing else depends
    /// on it.
    hint: i32,
}

impl Link {
    /// In a hint, which is a multiple of 16.
    const ORDERED: i32 = 1;

    fn new(weight: Weight, hint: i32) -> Self {
        let next = AtomicPtr::new(ptr::null_mut());
        let narrow = |what| u32::try_from(what).expect("both kinds are made of a u32");
        match weight.life() {
            Some(life) => Self { next, what: life, hint: hint | Self::ORDERED },
            None => Self { next, what: narrow(weight.0 >> ITEM_BITS), hint },
        }
    }

    #[inline]
    pub(super) fn weight(&self) -> Weight {
        if self.hint & Self::ORDERED != 0 {
            Weight::ordered(self.what)
        } else {
            Weight(1 | u64::from(self.what) << ITEM_BITS)
        }
    }

    /// Asks for the line of an older letter, which the reader comes to next but some.
    #[inline]
    pub(super) fn fetch_older(&self) {
        let older = ptr::from_ref(self).wrapping_byte_offset((self.hint & !Self::ORDERED) as isize);
        fetch(older);
    }
}

/// The biggest letter that holds its message: one cache line with the link.
const SHEET_BYTES_MAX: usize = 64 + size_of::<Link>();

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
    const IS_INLINE: bool =
        size_of::<Sheet<M>>() <= SHEET_BYTES_MAX && SizeClass::of::<Sheet<M>>().is_some();

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
        let link = self.into_link();
        // SAFETY: it was this letter's just now, so nobody else has it.
        unsafe {
            let content = Self::empty(link);
            Self::free(link);
            content
        }
    }

    /// Moves the message out of a letter whose block is still needed; see [`Letter::free`].
    ///
    /// # Safety
    ///
    /// `link` came from `into_link` of a letter of this type, nobody else has it, and its message
    /// is not taken again.
    #[inline]
    pub(super) unsafe fn empty(link: NonNull<Link>) -> (M, Weight) {
        // SAFETY: as the caller says; `new` made the letter with this payload type.
        unsafe {
            if Self::IS_INLINE {
                take::<M>(link)
            } else {
                let (message, weight) = take::<Box<M>>(link);
                (*message, weight)
            }
        }
    }

    /// Frees the block of a letter that was emptied.
    ///
    /// # Safety
    ///
    /// `link` was emptied as a letter of this type, and nobody reads it any more.
    #[inline]
    pub(super) unsafe fn free(link: NonNull<Link>) {
        // SAFETY: as the caller says; `new` made the letter with this payload type.
        unsafe {
            if Self::IS_INLINE {
                memory::free::<M>(link);
            } else {
                memory::free::<Box<M>>(link);
            }
        }
    }

    #[inline]
    pub(super) fn into_link(self) -> NonNull<Link> {
        ManuallyDrop::new(self).link
    }

    /// # Safety
    ///
    /// `link` came from `into_link` of a letter of this type, and nobody else has it.
    #[inline]
    pub(super) unsafe fn from_link(link: NonNull<Link>) -> Self {
        Self { link, _message: PhantomData }
    }
}

impl<M> Drop for Letter<M> {
    fn drop(&mut self) {
        drop(Self { link: self.link, _message: PhantomData }.open());
    }
}

/// Moves the payload out.
///
/// # Safety
///
/// `link` came from `memory::write` with this payload, nobody else has it, and this is done once.
#[inline]
unsafe fn take<P>(link: NonNull<Link>) -> (P, Weight) {
    // SAFETY: as the caller says.
    unsafe {
        let sheet = link.cast::<Sheet<P>>();
        let payload = sheet.as_ref().payload.with_mut(|p| ManuallyDrop::take(&mut *p));
        (payload, sheet.as_ref().link.weight())
    }
}

/// Where letters lie: in blocks of the slab.
#[cfg(not(any(evenkeel_loom, evenkeel_shuttle)))]
mod memory {
    use std::cell::Cell;

    use super::{Link, ManuallyDrop, NonNull, Sheet, UnsafeCell, Weight};
    use crate::slab::{self, SizeClass};

    /// How many letters a hint leads back: so many lines are under way while a reader waits for
    /// one.
    const HINTED: usize = 8;

    /// Where the letters lie that a thread wrote last, and which of these places is next.
    struct Recent {
        places: [Cell<usize>; HINTED],
        next: Cell<usize>,
    }

    thread_local! {
        static RECENT: Recent =
            const { Recent { places: [const { Cell::new(0) }; HINTED], next: Cell::new(0) } };
    }

    /// The hint of a letter at `at`, which is the last that was written from now on.
    #[inline]
    fn hint(at: usize) -> i32 {
        RECENT.with(|recent| {
            let next = recent.next.get() % HINTED;
            recent.next.set(next + 1);
            let older = recent.places[next].replace(at);
            i32::try_from(older.wrapping_sub(at).cast_signed()).unwrap_or(0)
        })
    }

    pub(in crate::queue) use slab::fetch;

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
        let link = Link::new(weight, hint(block.addr().get()));
        let payload = UnsafeCell::new(ManuallyDrop::new(payload));
        // SAFETY: the block is ours, and its class is one that the sheet fits in.
        unsafe { block.write(Sheet { link, payload }) };
        block.cast()
    }

    /// # Safety
    ///
    /// `link` came from `write` with this payload, and nobody reads it any more.
    #[inline]
    pub(super) unsafe fn free<P>(link: NonNull<Link>) {
        // SAFETY: as the caller says.
        unsafe { slab::give(Class::<P>::of(), link.cast()) };
    }
}

/// Where letters lie under loom and shuttle, whose cells know more than fits in a block.
#[cfg(any(evenkeel_loom, evenkeel_shuttle))]
mod memory {
    use super::{Link, ManuallyDrop, NonNull, Sheet, UnsafeCell, Weight};

    pub(in crate::queue) fn fetch(_place: *const Link) {}

    pub(super) fn write<P>(payload: P, weight: Weight) -> NonNull<Link> {
        let link = Link::new(weight, 0);
        let payload = UnsafeCell::new(ManuallyDrop::new(payload));
        NonNull::from(Box::leak(Box::new(Sheet { link, payload }))).cast()
    }

    /// # Safety
    ///
    /// `link` came from `write` with this payload, and nobody reads it any more.
    pub(super) unsafe fn free<P>(link: NonNull<Link>) {
        // SAFETY: as the caller says; a payload that was not taken is not dropped.
        drop(unsafe { Box::from_raw(link.cast::<Sheet<P>>().as_ptr()) });
    }
}
