//! What the owner of a turn knows of the letters it has taken out of the queue.

use std::{mem, ptr};

use super::{EMPTIED, ITEM_BITS, letter::Link, tags};

/// Letters that were taken, and the room that came free by it.
pub(super) struct Own {
    /// The oldest letter; or, with the mark [`EMPTIED`], the newest one that was taken: its message
    /// is gone, and the queue's word still links to it (Q5).
    pub(super) first: *mut Link,
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

    pub(super) fn new(items_max: usize, bytes_max: usize) -> Self {
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
    pub(super) fn owe(&mut self, room: u64) -> u64 {
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
    pub(super) fn has_none(&self) -> bool {
        self.first.is_null() || tags(self.first) & EMPTIED != 0
    }

    #[inline]
    pub(super) fn take_owed(&mut self) -> u64 {
        let (items, bytes) = (mem::take(&mut self.owed_items), mem::take(&mut self.owed_bytes));
        u64::from(items) | u64::from(bytes) << ITEM_BITS
    }
}
