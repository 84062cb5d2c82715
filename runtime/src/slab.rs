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
    cell::RefCell,
    ptr::{self, NonNull},
    sync::{Mutex, MutexGuard, PoisonError},
};

use self::chunks::{Chunks, Whole};
use crate::limits::{MAGAZINE_BLOCKS, MAGAZINES_MAX};

mod chunks;

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

/// The magazines of one size that one thread keeps.
struct Rack {
    loaded: Magazine,
    spare: Magazine,
}

impl Rack {
    const EMPTY: Self = Self { loaded: Magazine::EMPTY, spare: Magazine::EMPTY };

    #[inline]
    fn take(&mut self, class: SizeClass) -> NonNull<u8> {
        match self.loaded.pop() {
            Some(block) => block,
            None => self.reload(class),
        }
    }

    #[cold]
    fn reload(&mut self, class: SizeClass) -> NonNull<u8> {
        std::mem::swap(&mut self.loaded, &mut self.spare);
        if self.loaded.blocks == 0 {
            self.loaded = draw(class);
        }
        self.loaded.pop().expect("a magazine that was drawn is not empty")
    }

    #[inline]
    fn give(&mut self, class: SizeClass, block: NonNull<u8>) {
        if self.loaded.blocks == MAGAZINE_BLOCKS {
            self.unload(class);
        }
        self.loaded.push(block);
    }

    #[cold]
    fn unload(&mut self, class: SizeClass) {
        std::mem::swap(&mut self.loaded, &mut self.spare);
        if self.loaded.blocks > 0 {
            let full = std::mem::replace(&mut self.loaded, Magazine::EMPTY);
            // SAFETY: racks hold what came from the depot with their class.
            unsafe { put_back(class, full) };
        }
    }
}

struct Racks([Rack; SIZES.len()]);

impl Racks {
    #[expect(clippy::large_stack_arrays, reason = "it lies where a thread's own values lie")]
    const EMPTY: Self = Self([const { Rack::EMPTY }; SIZES.len()]);
}

impl Drop for Racks {
    fn drop(&mut self) {
        for (class, rack) in self.0.iter_mut().enumerate() {
            for magazine in [&mut rack.loaded, &mut rack.spare] {
                let magazine = std::mem::replace(magazine, Magazine::EMPTY);
                // SAFETY: racks hold what came from the depot with their class.
                unsafe { put_back(SizeClass(class), magazine) };
            }
        }
    }
}

thread_local! {
    static RACKS: RefCell<Racks> = const { RefCell::new(Racks::EMPTY) };
}

/// What all threads have in common of one size.
struct Depot {
    /// None is empty.
    magazines: Vec<Magazine>,
    chunks: Chunks,
}

impl Depot {
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

static DEPOTS: [Mutex<Depot>; SIZES.len()] =
    [const { Mutex::new(Depot { magazines: Vec::new(), chunks: Chunks::EMPTY }) }; SIZES.len()];

fn depot(class: SizeClass) -> MutexGuard<'static, Depot> {
    // Only free memory is touched under the lock.
    DEPOTS[class.0].lock().unwrap_or_else(PoisonError::into_inner)
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

/// A magazine of at least one block.
fn draw(class: SizeClass) -> Magazine {
    loop {
        let (magazine, has_none) = {
            let mut depot = depot(class);
            (depot.take(class), depot.chunks.is_none())
        };
        if magazine.blocks > 0 {
            return magazine;
        }
        // While nobody waits: this may take some 100 us (a guess). Others do the same meanwhile at
        // worst, and what they map is used as well.
        let new = Whole::map(has_none);
        depot(class).chunks.add(new);
    }
}

/// Gives blocks back to the depot, and the kernel what is not needed any more.
///
/// # Safety
///
/// They came from [`draw`], with this class.
unsafe fn put_back(class: SizeClass, magazine: Magazine) {
    // SAFETY: as the caller says.
    let unneeded = unsafe { depot(class).give(class, magazine) };
    // Here the lock is free again.
    drop(unneeded);
}

/// A block without a rack, for a thread that ends.
#[cold]
fn take_bare(class: SizeClass) -> NonNull<u8> {
    let mut magazine = draw(class);
    let block = magazine.pop().expect("a magazine that was drawn is not empty");
    // SAFETY: they came from there just now.
    unsafe { put_back(class, magazine) };
    block
}

/// A block of the class, uninitialised. O(1), but for a system call and a page fault where a new
/// chunk is needed.
#[inline]
pub(crate) fn take(class: SizeClass) -> NonNull<u8> {
    // A thread that ends has no racks any more.
    RACKS
        .try_with(|racks| racks.borrow_mut().0[class.0].take(class))
        .unwrap_or_else(|_| take_bare(class))
}

/// Gives a block back, on any thread. O(1), but for a system call where a chunk goes back.
///
/// # Safety
///
/// The block came from [`take`] with this class, and nobody uses it any more.
#[inline]
pub(crate) unsafe fn give(class: SizeClass, block: NonNull<u8>) {
    let given = RACKS.try_with(|racks| racks.borrow_mut().0[class.0].give(class, block));
    if given.is_err() {
        let mut magazine = Magazine::EMPTY;
        magazine.push(block);
        // SAFETY: as the caller says.
        unsafe { put_back(class, magazine) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: no block is handed out twice, and blocks freed elsewhere come back through the depot.
    /// Method: one thread takes and writes, another checks what is written and frees.
    #[test]
    fn blocks_cross_threads_and_none_is_handed_out_twice() {
        struct Sent(NonNull<u8>, u64);
        // SAFETY: the block is owned by whoever holds it.
        unsafe impl Send for Sent {}
        let class = SizeClass::of::<[u64; 6]>().expect("48 bytes fit");
        let (sender, receiver) = std::sync::mpsc::sync_channel::<Sent>(1_000);
        let freeing = std::thread::Builder::new()
            .spawn(move || {
                for Sent(block, number) in receiver {
                    // SAFETY: the sender wrote the number and gave the block away.
                    assert_eq!(unsafe { block.cast::<u64>().read() }, number);
                    // SAFETY: taken with this class, used by nobody.
                    unsafe { give(class, block) };
                }
            })
            .expect("a thread can be started");
        for number in 0..200_000 {
            let block = take(class);
            // SAFETY: 48 bytes aligned to 16 that this thread alone holds.
            unsafe { block.cast::<u64>().write(number) };
            sender.send(Sent(block, number)).expect("the other thread receives to the end");
        }
        drop(sender);
        freeing.join().expect("every block holds what was written");
    }
}
