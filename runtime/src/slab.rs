//! Memory for letters and cells: a cache of free blocks per thread, over chunks of blocks.
//!
//! Every message needs a block for as long as it waits, every process one for as long as it lives,
//! and it is often freed on another thread than it was made on. So each thread keeps two magazines
//! of free blocks per size and trades whole magazines with a depot: a lock once in
//! [`MAGAZINE_BLOCKS`] blocks, and no dependence on how good the allocator is at frees from
//! elsewhere.
//!
//! Source: Bonwick and Adams, "Magazines and Vmem", USENIX 2001.
//!
//! # Bounds
//!
//! A thread keeps at most two magazines per size, the depot [`MAGAZINES_MAX`]; what is beyond goes
//! back to its chunk, and a chunk whose blocks are all back to the kernel.
#![allow(unsafe_code, reason = "blocks are raw memory that is handed from thread to thread")]

use std::{
    mem,
    ptr::{self, NonNull},
    sync::PoisonError,
};

use self::chunks::{Chunks, Whole};
#[cfg(not(evenkeel_loom))]
use crate::limits::{MAGAZINE_BLOCKS, MAGAZINES_MAX};
use crate::sync::{Mutex, MutexGuard};

mod chunks;
#[cfg(all(test, evenkeel_loom))]
mod loom_tests;

/// In a model, so that a thread meets the depot soon.
#[cfg(evenkeel_loom)]
const MAGAZINE_BLOCKS: usize = 2;
#[cfg(evenkeel_loom)]
const MAGAZINES_MAX: usize = 1;

/// Bytes of a block by size class: three of letters, the biggest with a message of one cache line;
/// the others of cells, with their bodies.
const SIZES: [usize; 16] =
    [32, 48, 80, 208, 224, 240, 256, 272, 288, 320, 352, 384, 448, 512, 640, 768];
/// Alignment of all blocks.
const BLOCK_ALIGN: usize = 16;

/// A size class of blocks.
#[derive(Clone, Copy)]
pub(crate) struct SizeClass(usize);

impl SizeClass {
    /// The smallest class for a `T`, if it fits in any.
    pub(crate) const fn of<T>() -> Option<Self> {
        if align_of::<T>() > BLOCK_ALIGN {
            return None;
        }
        let mut class = 0;
        while class < SIZES.len() {
            if SIZES[class] >= size_of::<T>() {
                return Some(Self(class));
            }
            class += 1;
        }
        None
    }

    const fn bytes(self) -> usize {
        SIZES[self.0]
    }
}

/// Free blocks of one size. Their own memory is not touched: it may lie in the cache of the core
/// that gave them back.
struct Magazine {
    rounds: [*mut u8; MAGAZINE_BLOCKS],
    blocks: usize,
}

// SAFETY: whoever holds the magazine is the only one who can reach its blocks.
unsafe impl Send for Magazine {}

impl Magazine {
    const EMPTY: Self = Self { rounds: [ptr::null_mut(); MAGAZINE_BLOCKS], blocks: 0 };
    /// So many blocks before one is taken, its line is asked for.
    const AHEAD: usize = 8;

    #[inline]
    fn pop(&mut self) -> Option<NonNull<u8>> {
        let nth = self.blocks.checked_sub(1)?;
        self.blocks = nth;
        fetch(self.rounds[nth.saturating_sub(Self::AHEAD)]);
        NonNull::new(self.rounds[nth])
    }

    /// # Panics
    ///
    /// If it is full.
    #[inline]
    fn push(&mut self, block: NonNull<u8>) {
        self.rounds[self.blocks] = block.as_ptr();
        self.blocks += 1;
    }
}

/// The magazines of one size that one thread keeps. A rack goes with one depot for ever.
struct Rack {
    loaded: Magazine,
    spare: Magazine,
}

impl Rack {
    const EMPTY: Self = Self { loaded: Magazine::EMPTY, spare: Magazine::EMPTY };

    #[inline]
    fn take(&mut self, depot: &Depot) -> NonNull<u8> {
        match self.loaded.pop() {
            Some(block) => block,
            None => self.reload(depot),
        }
    }

    #[cold]
    fn reload(&mut self, depot: &Depot) -> NonNull<u8> {
        mem::swap(&mut self.loaded, &mut self.spare);
        if self.loaded.blocks == 0 {
            self.loaded = depot.draw();
        }
        self.loaded.pop().expect("a magazine that was drawn is not empty")
    }

    /// # Safety
    ///
    /// The block came from the rack's depot, and nobody uses it any more.
    #[inline]
    unsafe fn give(&mut self, depot: &Depot, block: NonNull<u8>) {
        if self.loaded.blocks == MAGAZINE_BLOCKS {
            self.unload(depot);
        }
        self.loaded.push(block);
    }

    #[cold]
    fn unload(&mut self, depot: &Depot) {
        mem::swap(&mut self.loaded, &mut self.spare);
        if self.loaded.blocks > 0 {
            let full = mem::replace(&mut self.loaded, Magazine::EMPTY);
            // SAFETY: a rack holds what came from its depot.
            unsafe { depot.put_back(full) };
        }
    }

    /// Gives up all blocks, as a thread does that ends.
    fn hand_over(&mut self, depot: &Depot) {
        for magazine in [&mut self.loaded, &mut self.spare] {
            let magazine = mem::replace(magazine, Magazine::EMPTY);
            // SAFETY: a rack holds what came from its depot.
            unsafe { depot.put_back(magazine) };
        }
    }
}

/// What all threads have in common of one size.
struct Depot {
    class: SizeClass,
    store: Mutex<Store>,
}

/// What lies in a depot.
struct Store {
    /// None is empty.
    magazines: Vec<Magazine>,
    chunks: Chunks,
}

impl Store {
    const EMPTY: Self = Self { magazines: Vec::new(), chunks: Chunks::EMPTY };

    /// A magazine, empty if there is no block.
    fn take(&mut self, class: SizeClass) -> Magazine {
        self.magazines.pop().unwrap_or_else(|| self.chunks.take(class))
    }

    /// Hands out the chunks that are not needed any more.
    ///
    /// # Safety
    ///
    /// The blocks came from here, with this class.
    unsafe fn give(&mut self, class: SizeClass, mut magazine: Magazine) -> Option<Whole> {
        // One that is not full comes of a thread that ends.
        if self.magazines.len() == MAGAZINES_MAX || magazine.blocks < MAGAZINE_BLOCKS {
            // SAFETY: as the caller says.
            Some(unsafe { self.chunks.give(class, &mut magazine) })
        } else {
            self.magazines.push(magazine);
            None
        }
    }
}

impl Depot {
    fn lock(&self) -> MutexGuard<'_, Store> {
        // Only free memory is touched under the lock.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A magazine of at least one block.
    fn draw(&self) -> Magazine {
        loop {
            let (magazine, has_none) = {
                let mut store = self.lock();
                (store.take(self.class), store.chunks.is_none())
            };
            if magazine.blocks > 0 {
                return magazine;
            }
            // While nobody waits: this may take some 100 us (a guess). Others do the same meanwhile
            // at worst, and what they map is used as well.
            let new = Whole::map(has_none);
            self.lock().chunks.add(new);
        }
    }

    /// Takes blocks back, and gives the kernel what is not needed any more.
    ///
    /// # Safety
    ///
    /// They came from [`Depot::draw`] of this one.
    unsafe fn put_back(&self, magazine: Magazine) {
        // SAFETY: as the caller says.
        let unneeded = unsafe { self.lock().give(self.class, magazine) };
        // Here the lock is free again.
        drop(unneeded);
    }

    /// A block without a rack, for a thread that ends.
    #[cold]
    fn take_bare(&self) -> NonNull<u8> {
        let mut magazine = self.draw();
        let block = magazine.pop().expect("a magazine that was drawn is not empty");
        // SAFETY: they came from there just now.
        unsafe { self.put_back(magazine) };
        block
    }

    /// # Safety
    ///
    /// The block came from this depot, and nobody uses it any more.
    #[cold]
    unsafe fn give_bare(&self, block: NonNull<u8>) {
        let mut magazine = Magazine::EMPTY;
        magazine.push(block);
        // SAFETY: as the caller says.
        unsafe { self.put_back(magazine) };
    }

    /// Takes home what lies here, and gives up the chunks; says how many these were.
    ///
    /// # Panics
    ///
    /// If a block is elsewhere.
    #[cfg(test)]
    fn close(&self) -> usize {
        let store = &mut *self.lock();
        while let Some(mut magazine) = store.magazines.pop() {
            assert_eq!(magazine.blocks, MAGAZINE_BLOCKS, "only full ones lie here");
            // SAFETY: they came from these chunks.
            drop(unsafe { store.chunks.give(self.class, &mut magazine) });
        }
        let kept = store.chunks.count();
        drop(store.chunks.close());
        kept
    }
}

/// Asks for the line at a place that is written to soon; any place will do.
#[inline]
pub(crate) fn fetch<T>(place: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: it is a hint, which neither reads nor faults; processors without it take it for
    // nothing.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) place, options(nostack, preserves_flags, readonly));
    }
    #[cfg(any(not(target_arch = "x86_64"), miri))]
    let _ = place;
}

#[cfg(not(any(evenkeel_loom, evenkeel_shuttle)))]
pub(crate) use self::threads::{give, take};

/// The racks of all threads, and the depots. Models have their own.
#[cfg(not(any(evenkeel_loom, evenkeel_shuttle)))]
mod threads {
    use std::cell::RefCell;

    use super::{Depot, Mutex, NonNull, Rack, SIZES, SizeClass, Store};

    struct Racks([Rack; SIZES.len()]);

    impl Racks {
        #[expect(clippy::large_stack_arrays, reason = "it lies where a thread's own values lie")]
        const EMPTY: Self = Self([const { Rack::EMPTY }; SIZES.len()]);
    }

    impl Drop for Racks {
        fn drop(&mut self) {
            for (rack, depot) in self.0.iter_mut().zip(&DEPOTS) {
                rack.hand_over(depot);
            }
        }
    }

    thread_local! {
        static RACKS: RefCell<Racks> = const { RefCell::new(Racks::EMPTY) };
    }

    static DEPOTS: [Depot; SIZES.len()] = {
        let mut depots =
            [const { Depot { class: SizeClass(0), store: Mutex::new(Store::EMPTY) } }; SIZES.len()];
        let mut class = 1;
        while class < SIZES.len() {
            depots[class].class = SizeClass(class);
            class += 1;
        }
        depots
    };

    /// What the class's blocks come from.
    #[inline]
    pub(super) fn depot(class: SizeClass) -> &'static Depot {
        &DEPOTS[class.0]
    }

    /// A block of the class, uninitialised. O(1), but for a system call and a page fault where a
    /// new chunk is needed.
    #[inline]
    pub(crate) fn take(class: SizeClass) -> NonNull<u8> {
        // A thread that ends has no racks any more.
        RACKS
            .try_with(|racks| racks.borrow_mut().0[class.0].take(depot(class)))
            .unwrap_or_else(|_| depot(class).take_bare())
    }

    /// Gives a block back, on any thread. O(1), but for a system call where a chunk goes back.
    ///
    /// # Safety
    ///
    /// The block came from [`take`] with this class, and nobody uses it any more.
    #[inline]
    pub(crate) unsafe fn give(class: SizeClass, block: NonNull<u8>) {
        let given = RACKS.try_with(|racks| {
            let rack = &mut racks.borrow_mut().0[class.0];
            // SAFETY: as the caller says; each rack goes with the depot of its class.
            unsafe { rack.give(depot(class), block) };
        });
        if given.is_err() {
            // SAFETY: as the caller says.
            unsafe { depot(class).give_bare(block) };
        }
    }
}

#[cfg(all(test, not(any(evenkeel_loom, evenkeel_shuttle))))]
mod tests {
    use std::{
        sync::mpsc::{Receiver, SyncSender, sync_channel},
        thread::{Builder, JoinHandle},
    };

    use super::{threads::depot, *};
    use crate::Entropy;

    /// Nobody else in these tests needs blocks of this size.
    const CLASS: SizeClass = SizeClass::of::<[u64; 96]>().expect("768 bytes fit");

    /// A block with what its owner wrote at both ends of it.
    struct Marked(NonNull<u8>, u64);

    // SAFETY: the block is owned by whoever holds it.
    unsafe impl Send for Marked {}

    impl Marked {
        fn new(mark: u64) -> Self {
            let mut marked = Self(take(CLASS), 0);
            marked.mark(mark);
            marked
        }

        fn ends(&self) -> [NonNull<u64>; 2] {
            let last = self.0.map_addr(|at| at.saturating_add(CLASS.bytes() - size_of::<u64>()));
            [self.0.cast(), last.cast()]
        }

        fn mark(&mut self, mark: u64) {
            self.1 = mark;
            // SAFETY: they are in the block, and it is this one's.
            self.ends().into_iter().for_each(|end| unsafe { end.write(mark) });
        }

        fn check(&self) {
            // SAFETY: as above, and `mark` wrote there.
            let marks = self.ends().map(|end| unsafe { end.read() });
            assert_eq!(marks, [self.1; 2], "somebody else wrote to the block");
        }
    }

    impl Drop for Marked {
        fn drop(&mut self) {
            self.check();
            // SAFETY: it was taken with this class, and is used by nobody.
            unsafe { give(CLASS, self.0) };
        }
    }

    /// Takes a block and gives it back when its thread ends.
    struct AtEnd;

    impl Drop for AtEnd {
        fn drop(&mut self) {
            drop(Marked::new(1));
        }
    }

    thread_local! {
        /// Dropped after the racks, if it was there before them.
        static AT_END: AtEnd = const { AtEnd };
    }

    fn spawn(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
        Builder::new().spawn(work).expect("a thread can be started")
    }

    /// Takes `count` blocks, keeps some a while, and sends most away.
    fn produce(number: u64, count: u64, to: &[SyncSender<Marked>]) {
        let mut entropy = Entropy::from_seed(number);
        let mut kept = Vec::new();
        for nth in 0..count {
            let block = Marked::new(number << 32 | nth);
            if entropy.once_in(4) {
                kept.push(block);
            } else {
                let to = &to[usize::try_from(entropy.below(to.len() as u64)).expect("an index")];
                to.send(block).expect("the other thread receives to the end");
            }
            if entropy.once_in(500) {
                kept.clear();
            }
        }
    }

    /// Checks what comes, marks it as its own, and gives it back later.
    fn consume(number: u64, from: &Receiver<Marked>) {
        let mut kept = Vec::new();
        for (nth, mut block) in (0..).zip(from) {
            block.check();
            block.mark(number << 32 | nth);
            kept.push(block);
            if kept.len() > 150 {
                kept.drain(..120);
            }
        }
    }

    /// Goal: no block has two owners, and all come home: given back by other threads than took
    /// them, through the depot, by threads that end, and by one whose rack has gone already.
    /// Method: each owner writes its mark at both ends of its block, and finds it there later.
    /// Producers end one after another and are followed by others, then the consumers do.
    #[test]
    fn blocks_of_threads_that_come_and_go_have_one_owner_and_come_home() {
        let (senders, consumers): (Vec<_>, Vec<_>) = (1_000..1_003)
            .map(|number| {
                let (sender, receiver) = sync_channel(100);
                (sender, spawn(move || consume(number, &receiver)))
            })
            .unzip();
        let lines: Vec<_> = (0..3)
            .map(|line| {
                let senders = senders.clone();
                spawn(move || {
                    for generation in 0..5 {
                        let (number, to) = (10 * line + generation, senders.clone());
                        let producer = spawn(move || {
                            AT_END.with(|_| ());
                            produce(number, 1_000 + 200 * number, &to);
                        });
                        producer.join().expect("every block holds what was written");
                    }
                })
            })
            .collect();
        drop(senders);
        for thread in lines.into_iter().chain(consumers) {
            thread.join().expect("every block holds what was written");
        }
        assert!(depot(CLASS).close() > 0);
    }
}
