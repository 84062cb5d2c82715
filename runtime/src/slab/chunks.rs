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
//!
//! The kernel is asked for memory, and given some back, while nobody waits for the chunks: a first
//! write to a huge page clears 2 MiB, and unmapping may take as long.
#![allow(unsafe_code, reason = "a chunk describes itself in its own memory")]

use std::{
    alloc::{Layout, handle_alloc_error},
    ffi::c_void,
    io,
    ptr::{self, NonNull},
};

#[cfg(target_os = "linux")]
use rustix::mm::{Advice, madvise};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::{Magazine, SizeClass};
use crate::limits::MAGAZINE_BLOCKS;

/// A huge page of x86-64 and, with small pages of 4 KiB, of ARM.
const CHUNK_BYTES: usize = 2 << 20;
/// Small pages, of any machine, are not smaller.
const SMALL_PAGE_BYTES: usize = 4 << 10;
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
        let chunk = map_chunk().unwrap_or_else(|_| handle_alloc_error(LAYOUT));
        advise(chunk, is_first);
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
            // SAFETY: nobody has a block of it.
            unsafe { unmap(chunk.as_ptr().cast(), CHUNK_BYTES) };
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
            free.cast()
        } else {
            // SAFETY: the offset is within the chunk, as `has_blocks` says.
            let block = unsafe { chunk.cast::<u8>().add(head.uncut) };
            head.uncut += class.bytes();
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
    // SAFETY: the block is free, and as big and aligned as a `Free` at least.
    unsafe { free.write(Free { next: head.free }) };
    head.free = free.as_ptr();
    head.away -= 1;
    had_none
}

/// Maps an aligned chunk, all zero.
fn map_chunk() -> io::Result<NonNull<u8>> {
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
        return NonNull::new(chunk.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into());
    }
    unreachable!("twice the size less a page holds an aligned chunk");
}

/// # Safety
///
/// The range is of whole pages that were mapped here, and nobody uses it any more.
unsafe fn unmap(start: *mut c_void, bytes: usize) {
    // Refused only where it would split a mapping, beyond the kernel's count of them: then the
    // addresses stay, without memory.
    if bytes > 0 && unsafe { munmap(start, bytes) }.is_err() {
        #[cfg(target_os = "linux")]
        // SAFETY: as the caller says.
        let _same_reason = unsafe { madvise(start, bytes, Advice::LinuxDontNeed) };
    }
}

/// Asks for small pages for the first chunk, which may stay nearly empty, and for huge ones for all
/// others; a kernel that has none to give, or is told not to, goes on as it does.
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

#[cfg(test)]
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
