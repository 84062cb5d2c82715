//! Chunks: the memory behind the magazines, 2 MiB at a time and of blocks of one size.
//!
//! A chunk is as big as a huge page and aligned like one, so a block's chunk is found by its
//! address. The first of a size fills page by small page; once a second is needed many more blocks
//! are on their way, and the kernel is asked to back those by huge pages: half of what a spawn cost
//! was the kernel's, for a page fault every 17 cells. Chunks are mapped, not allocated: an
//! allocator that writes a word of its own into the memory has made its first page a small one.
//!
//! # Invariants
//!
//! - B1: a chunk is in the list of its size if and only if it has a block at home.
//! - B2: a chunk whose last block comes home is given back, unless it is the only one in the list.
//!   (So one that is mapped while blocks come home is kept as well, until it was used.)
//!
//! The kernel is asked for memory, and given some back, while nobody waits for the chunks: a first
//! write to a huge page clears 2 MiB, and unmapping may take as long.
#![allow(unsafe_code, reason = "a chunk describes itself in its own memory")]

use std::{
    alloc::{Layout, handle_alloc_error},
    ptr::{self, NonNull},
};

use super::{MAGAZINE_BLOCKS, Magazine, SizeClass};

/// A huge page of x86-64 and, with small pages of 4 KiB, of ARM.
#[cfg(not(evenkeel_loom))]
const CHUNK_BYTES: usize = 2 << 20;
/// A few blocks, in a model.
#[cfg(evenkeel_loom)]
const CHUNK_BYTES: usize = 512;
const LAYOUT: Layout = match Layout::from_size_align(CHUNK_BYTES, CHUNK_BYTES) {
    Ok(layout) => layout,
    Err(_) => unreachable!(),
};

/// What a block that came home holds.
struct Free {
    next: *mut Free,
}

/// What lies at the beginning of a chunk, on a line of its own.
#[repr(C, align(64))]
struct Chunk {
    /// Blocks that came back.
    free: *mut Free,
    /// Blocks that are handed out.
    away: usize,
    /// Where the blocks begin that were never handed out.
    uncut: usize,
    before: *mut Chunk,
    after: *mut Chunk,
}

impl Chunk {
    fn has_blocks(&self, class: SizeClass) -> bool {
        !self.free.is_null() || self.uncut + class.bytes() <= CHUNK_BYTES
    }
}

/// The chunks of one size that have blocks at home (B1).
pub(super) struct Chunks {
    first: *mut Chunk,
    /// All chunks, also those that are handed out whole.
    count: usize,
}

// SAFETY: whoever holds this is the only one who reaches the chunks and the blocks at home in them.
unsafe impl Send for Chunks {}

impl Chunks {
    pub(super) const EMPTY: Self = Self { first: ptr::null_mut(), count: 0 };

    /// A magazine, empty if no block is at home.
    pub(super) fn take(&mut self, class: SizeClass) -> Magazine {
        let mut magazine = Magazine::EMPTY;
        while magazine.blocks < MAGAZINE_BLOCKS {
            let Some(chunk) = NonNull::new(self.first) else { break };
            // SAFETY: chunks in the list live, and are reached through it alone.
            unsafe { fill(chunk, class, &mut magazine) };
            // SAFETY: as above.
            if !unsafe { chunk.as_ref() }.has_blocks(class) {
                self.unlink(chunk);
            }
        }
        magazine
    }

    /// Takes back all blocks of a magazine; hands out the chunks that are not needed any more.
    ///
    /// # Safety
    ///
    /// They came from here, with this class.
    pub(super) unsafe fn give(&mut self, class: SizeClass, magazine: &mut Magazine) -> Whole {
        let mut whole = Whole::NONE;
        while let Some(block) = magazine.pop() {
            let start = block.as_ptr().map_addr(|address| address & !(CHUNK_BYTES - 1));
            let chunk = NonNull::new(start).expect("no block is at null").cast::<Chunk>();
            // SAFETY: the block is in this chunk, which lives while a block is away, and was handed
            // out by it, with this class.
            if unsafe { take_home(chunk, class, block) } {
                self.link(chunk);
            }
            // SAFETY: chunks in the list live, and are reached through it alone.
            let head = unsafe { chunk.as_ref() };
            let is_only = head.before.is_null() && head.after.is_null();
            if head.away == 0 && !is_only {
                self.unlink(chunk);
                self.count -= 1;
                // SAFETY: it is a chunk in no list, and none of its blocks is away (B2).
                unsafe { whole.add(chunk) };
            }
        }
        whole
    }

    /// Whether none was ever needed, or all have gone back.
    pub(super) const fn is_none(&self) -> bool {
        self.count == 0
    }

    /// How many there are, also of those that are handed out whole.
    #[cfg(test)]
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Gives up all chunks.
    ///
    /// # Panics
    ///
    /// If a block is away.
    #[cfg(test)]
    pub(super) fn close(&mut self) -> Whole {
        let mut whole = Whole::NONE;
        while let Some(chunk) = NonNull::new(self.first) {
            // SAFETY: chunks in the list live, and are reached through it alone.
            assert_eq!(unsafe { chunk.as_ref() }.away, 0, "blocks of a chunk are away");
            self.unlink(chunk);
            self.count -= 1;
            // SAFETY: it is a chunk in no list, and none of its blocks is away.
            unsafe { whole.add(chunk) };
        }
        assert_eq!(self.count, 0, "all blocks of these chunks are away");
        whole
    }

    /// Takes a chunk in.
    pub(super) fn add(&mut self, mut new: Whole) {
        while let Some(chunk) = new.pop() {
            self.count += 1;
            self.link(chunk);
        }
    }

    fn link(&mut self, chunk: NonNull<Chunk>) {
        // SAFETY: the chunk lives and is in no list; what is in the list lives.
        unsafe {
            (*chunk.as_ptr()).before = ptr::null_mut();
            (*chunk.as_ptr()).after = self.first;
            if let Some(first) = self.first.as_mut() {
                first.before = chunk.as_ptr();
            }
        }
        self.first = chunk.as_ptr();
    }

    fn unlink(&mut self, chunk: NonNull<Chunk>) {
        // SAFETY: the chunk is in this list, and all in it live.
        unsafe {
            let (before, after) = ((*chunk.as_ptr()).before, (*chunk.as_ptr()).after);
            match before.as_mut() {
                Some(before) => before.after = after,
                None => self.first = after,
            }
            if let Some(after) = after.as_mut() {
                after.before = before;
            }
        }
    }
}

/// Chunks of which no block is away, in no list but this; dropped, they go back to the kernel.
pub(super) struct Whole(*mut Chunk);

// SAFETY: whoever holds this is the only one who reaches the chunks.
unsafe impl Send for Whole {}

impl Whole {
    const NONE: Self = Self(ptr::null_mut());

    /// A new one, asked of the kernel.
    pub(super) fn map(is_first: bool) -> Self {
        let chunk = kernel::map(is_first).unwrap_or_else(|| handle_alloc_error(LAYOUT));
        let chunk = chunk.cast::<Chunk>();
        let (before, after) = (ptr::null_mut(), ptr::null_mut());
        let head =
            Chunk { free: ptr::null_mut(), away: 0, uncut: size_of::<Chunk>(), before, after };
        // SAFETY: the memory is new, big enough and aligned.
        unsafe { chunk.write(head) };
        Self(chunk.as_ptr())
    }

    /// # Safety
    ///
    /// It is a chunk in no list, and none of its blocks is away.
    unsafe fn add(&mut self, mut chunk: NonNull<Chunk>) {
        // SAFETY: as the caller says.
        unsafe { chunk.as_mut() }.after = self.0;
        self.0 = chunk.as_ptr();
    }

    fn pop(&mut self) -> Option<NonNull<Chunk>> {
        let chunk = NonNull::new(self.0)?;
        // SAFETY: the chunks here live, and are reached through this alone.
        self.0 = unsafe { chunk.as_ref() }.after;
        Some(chunk)
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        while let Some(chunk) = self.pop() {
            // SAFETY: nobody has a block of it, nor reaches it by a list.
            unsafe { kernel::take_back(chunk.cast()) };
        }
    }
}

/// Moves blocks of a chunk into a magazine until it is full or the chunk is empty.
///
/// # Safety
///
/// The chunk lives, has blocks of this class, and nobody else reaches it meanwhile.
unsafe fn fill(mut chunk: NonNull<Chunk>, class: SizeClass, magazine: &mut Magazine) {
    // SAFETY: as the caller says.
    let head = unsafe { chunk.as_mut() };
    while magazine.blocks < MAGAZINE_BLOCKS && head.has_blocks(class) {
        let block = if let Some(free) = NonNull::new(head.free) {
            // SAFETY: blocks at home hold a `Free`, written when they came back.
            head.free = unsafe { free.as_ref() }.next;
            // SAFETY: it was cut before, and is at home.
            unsafe { seen::written(free.cast(), class) };
            free.cast()
        } else {
            // SAFETY: the offset is within the chunk, as `has_blocks` says.
            let block = unsafe { chunk.cast::<u8>().add(head.uncut) };
            head.uncut += class.bytes();
            // SAFETY: it is a block of this class that nobody has yet.
            unsafe { seen::cut(block, class) };
            block
        };
        head.away += 1;
        magazine.push(block);
    }
}

/// Takes a block back into its chunk. True if the chunk had none, and so is in no list.
///
/// # Safety
///
/// The block is of this chunk and away, and nobody else reaches the chunk meanwhile.
unsafe fn take_home(mut chunk: NonNull<Chunk>, class: SizeClass, block: NonNull<u8>) -> bool {
    // SAFETY: as the caller says.
    let head = unsafe { chunk.as_mut() };
    let had_none = !head.has_blocks(class);
    let free = block.cast::<Free>();
    // SAFETY: the block was cut, and nobody uses it any more.
    unsafe { seen::written(block, class) };
    // SAFETY: the block is free, and as big and aligned as a `Free` at least.
    unsafe { free.write(Free { next: head.free }) };
    head.free = free.as_ptr();
    head.away -= 1;
    had_none
}

/// Where chunks come from, and go to.
#[cfg(not(evenkeel_loom))]
mod kernel {
    use std::ffi::c_void;

    #[cfg(target_os = "linux")]
    use rustix::mm::{Advice, madvise};
    use rustix::{
        io,
        mm::{MapFlags, ProtFlags, mmap_anonymous, munmap},
    };

    use super::{CHUNK_BYTES, NonNull, ptr};

    /// Small pages, of any machine, are not smaller.
    const SMALL_PAGE_BYTES: usize = 4 << 10;

    /// Maps an aligned chunk, all zero; the first of its size on small pages. Nothing if there is
    /// no memory.
    pub(super) fn map(is_first: bool) -> Option<NonNull<u8>> {
        let chunk = map_aligned().ok().and_then(NonNull::new)?;
        advise(chunk, is_first);
        Some(chunk)
    }

    fn map_aligned() -> io::Result<*mut u8> {
        let wide = CHUNK_BYTES - SMALL_PAGE_BYTES;
        // Newer kernels align what is as big as a huge page.
        for spare in [0, wide] {
            let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
            let bytes = CHUNK_BYTES + spare;
            // SAFETY: new memory is mapped where nothing is.
            let start = unsafe { mmap_anonymous(ptr::null_mut(), bytes, protection, flags) }?;
            let before = start.cast::<u8>().align_offset(CHUNK_BYTES);
            if before > spare {
                // SAFETY: it was mapped just now.
                unsafe { unmap(start, bytes) };
                continue;
            }
            let chunk = start.wrapping_byte_add(before);
            // SAFETY: parts of what was mapped just now, before and behind the chunk.
            unsafe {
                unmap(start, before);
                unmap(chunk.wrapping_byte_add(CHUNK_BYTES), spare - before);
            }
            return Ok(chunk.cast());
        }
        unreachable!("twice the size less a page holds an aligned chunk");
    }

    /// # Safety
    ///
    /// The chunk came from [`map`], and nobody uses it any more.
    pub(super) unsafe fn take_back(chunk: NonNull<u8>) {
        // SAFETY: as the caller says.
        unsafe { unmap(chunk.as_ptr().cast(), CHUNK_BYTES) };
    }

    /// # Safety
    ///
    /// The range is of whole pages that were mapped here, and nobody uses it any more.
    unsafe fn unmap(start: *mut c_void, bytes: usize) {
        // Refused only where it would split a mapping, beyond the kernel's count of them: then the
        // addresses stay, without memory.
        // SAFETY: as the caller says.
        if bytes > 0 && unsafe { munmap(start, bytes) }.is_err() {
            #[cfg(target_os = "linux")]
            // SAFETY: as the caller says.
            let _same_reason = unsafe { madvise(start, bytes, Advice::LinuxDontNeed) };
        }
    }

    /// Asks for small pages for the first chunk, which may stay nearly empty, and for huge ones for
    /// all others; a kernel that has none to give, or is told not to, goes on as it does.
    fn advise(chunk: NonNull<u8>, is_first: bool) {
        #[cfg(target_os = "linux")]
        {
            let advice = if is_first { Advice::LinuxNoHugepage } else { Advice::LinuxHugepage };
            // SAFETY: the range is one mapping, page-aligned, and the advice changes no contents.
            let _may_refuse = unsafe { madvise(chunk.as_ptr().cast(), CHUNK_BYTES, advice) };
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (chunk, is_first);
    }
}

/// Where chunks come from under loom, which counts what was given back, and how often.
#[cfg(evenkeel_loom)]
mod kernel {
    use super::{LAYOUT, NonNull};

    pub(super) fn map(_is_first: bool) -> Option<NonNull<u8>> {
        // SAFETY: a chunk has a size.
        NonNull::new(unsafe { loom::alloc::alloc(LAYOUT) })
    }

    /// # Safety
    ///
    /// The chunk came from [`map`], and nobody uses it any more.
    pub(super) unsafe fn take_back(chunk: NonNull<u8>) {
        // SAFETY: as the caller says.
        unsafe { loom::alloc::dealloc(chunk.as_ptr(), LAYOUT) };
    }
}

/// What loom sees of blocks: who writes to them. Without loom it is nothing.
#[cfg(not(evenkeel_loom))]
mod seen {
    use super::{NonNull, SizeClass};

    #[inline]
    pub(super) const unsafe fn cut(_block: NonNull<u8>, _class: SizeClass) {}

    #[inline]
    pub(super) const unsafe fn written(_block: NonNull<u8>, _class: SizeClass) {}
}

/// Under loom a block ends with a cell, which stands for all of it.
#[cfg(evenkeel_loom)]
pub(super) mod seen {
    use super::{NonNull, SizeClass};
    use crate::sync::UnsafeCell;

    type Seen = UnsafeCell<()>;

    fn place(block: NonNull<u8>, class: SizeClass) -> NonNull<Seen> {
        let at = (class.bytes() - size_of::<Seen>()) & !(align_of::<Seen>() - 1);
        block.map_addr(|address| address.saturating_add(at)).cast()
    }

    /// # Safety
    ///
    /// It is a block of this class that nobody has yet.
    pub(crate) unsafe fn cut(block: NonNull<u8>, class: SizeClass) {
        // SAFETY: as the caller says; the place is within the block, and aligned.
        unsafe { place(block, class).write(Seen::new(())) };
    }

    /// # Safety
    ///
    /// It is a block of this class that was cut, and nothing else was written at its end.
    pub(crate) unsafe fn written(block: NonNull<u8>, class: SizeClass) {
        // SAFETY: as the caller says; it is the place of a cell.
        unsafe { place(block, class).as_ref() }.with_mut(|_| ());
    }
}

#[cfg(all(test, not(evenkeel_loom)))]
mod tests {
    use super::*;

    /// Goal: B1 and B2 whatever the order of taking and giving: blocks lie apart and keep what is
    /// written, and once all are back one chunk is left.
    #[test]
    fn a_chunk_goes_back_when_its_blocks_are_back() {
        let class = SizeClass::of::<[u64; 90]>().expect("720 bytes fit");
        let mut entropy = crate::Entropy::from_seed(3);
        let mut chunks = Chunks::EMPTY;
        let mut held: Vec<NonNull<u8>> = Vec::new();
        let mut give_some = |chunks: &mut Chunks, held: &mut Vec<NonNull<u8>>, count: u64| {
            let mut magazine = Magazine::EMPTY;
            for _ in 0..count.min(held.len() as u64) {
                let at = entropy.below(held.len() as u64);
                let block = held.swap_remove(usize::try_from(at).expect("an index"));
                // SAFETY: it is held, so nobody else writes to it.
                assert_eq!(unsafe { block.cast::<usize>().read() }, block.addr().get());
                magazine.push(block);
            }
            // SAFETY: all came from these chunks with this class.
            drop(unsafe { chunks.give(class, &mut magazine) });
        };
        for _ in 0..3 {
            while held.len() < 20_000 {
                let mut magazine = chunks.take(class);
                if magazine.blocks == 0 {
                    chunks.add(Whole::map(chunks.is_none()));
                }
                let half = magazine.blocks as u64 / 2;
                while let Some(block) = magazine.pop() {
                    // SAFETY: the block is held here alone.
                    unsafe { block.cast::<usize>().write(block.addr().get()) };
                    held.push(block);
                }
                give_some(&mut chunks, &mut held, half);
            }
            let mut places: Vec<usize> = held.iter().map(|block| block.addr().get()).collect();
            places.sort_unstable();
            assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= class.bytes()));
            assert!(chunks.count > 20_000 * class.bytes() / CHUNK_BYTES);
            while !held.is_empty() {
                give_some(&mut chunks, &mut held, 64);
            }
            assert_eq!(chunks.count, 1);
        }
    }
}
