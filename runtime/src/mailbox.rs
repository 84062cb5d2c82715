//! Bounded mailboxes: what waits for a process, and what happens when too much does.
//!
//! # Invariants
//!
//! - M1: at most `items_max` messages and `bytes_max` bytes wait; only what a process has ordered
//!   for itself (timers, results of its jobs) is let in beyond that.
//! - M2: messages of one sender are taken in the order they were sent.
//! - M3: `is_waiting` is set under the same lock under which the queue was seen empty, so the
//!   sender of the next message sees it and wakes the process: no wake-up is lost.

use std::{
    collections::VecDeque,
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    cell::Cell,
    limits::{BATCH_BYTES_MAX, BATCH_ITEMS_MAX},
    message::Message,
};

/// What happens to a message for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The sender gets it back.
    Reject,
    /// It is dropped, and counted as a dead letter.
    DropNew,
    /// The oldest waiting messages make room; they are counted as dead letters.
    DropOld,
}

/// Bounds of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxSpec {
    /// Name for statistics.
    pub name: &'static str,
    /// Messages that may wait.
    pub items_max: usize,
    /// Bytes, as messages count them, that may wait.
    pub bytes_max: usize,
    /// What happens beyond that.
    pub overflow: Overflow,
}

/// Receiving end of a mailbox, given to `spawn`. Dropped unused it closes the mailbox.
pub struct Mailbox<M: Message> {
    cell: Option<Arc<Cell<M>>>,
}

impl<M: Message> Mailbox<M> {
    pub(crate) const fn new(cell: Arc<Cell<M>>) -> Self {
        Self { cell: Some(cell) }
    }

    pub(crate) fn into_cell(mut self) -> Arc<Cell<M>> {
        self.cell.take().expect("only this method takes it, and it takes self")
    }
}

impl<M: Message> Drop for Mailbox<M> {
    fn drop(&mut self) {
        if let Some(cell) = self.cell.take() {
            cell.abandon();
        }
    }
}

/// Why a message could not be sent, with the message.
pub enum SendError<M> {
    /// The mailbox is at its bound.
    Full(M),
    /// The process has stopped.
    Closed(M),
}

impl<M> SendError<M> {
    /// The message that was not sent.
    pub fn into_inner(self) -> M {
        match self {
            Self::Full(message) | Self::Closed(message) => message,
        }
    }

    /// The reason without the message.
    #[must_use]
    pub const fn reason(&self) -> Undelivered {
        match self {
            Self::Full(_) => Undelivered::Full,
            Self::Closed(_) => Undelivered::Closed,
        }
    }
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason().fmt(f)
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason().fmt(f)
    }
}

impl<M> std::error::Error for SendError<M> {}

/// Why a message could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// The mailbox is at its bound.
    #[error("the mailbox is full")]
    Full,
    /// The process has stopped.
    #[error("the process has stopped")]
    Closed,
}

/// A message with the size it had when it was sent.
pub(crate) struct Letter<M> {
    bytes: usize,
    pub(crate) message: M,
}

/// What a turn has taken out of the mailbox and not handled yet.
pub(crate) type Letters<M> = VecDeque<Letter<M>>;

struct Contents<M> {
    letters: Letters<M>,
    bytes: usize,
    /// The process found nothing and wants to be woken.
    is_waiting: bool,
    is_closed: bool,
}

/// What became of a message that was put in.
pub(crate) enum Put<M> {
    /// It waits; `wake` says that the process waits for it. Dead letters are to be counted.
    Accepted {
        wake: bool,
        dead: Option<Letters<M>>,
    },
    /// It was dropped, as the mailbox's rule says.
    Dropped(M),
    Refused(SendError<M>),
}

/// The queue of one process.
pub(crate) struct Queue<M> {
    spec: MailboxSpec,
    waiting: Mutex<Contents<M>>,
}

impl<M: Message> Queue<M> {
    pub(crate) fn new(spec: MailboxSpec) -> Self {
        assert!(spec.items_max > 0, "mailbox {} has no room for any message", spec.name);
        let waiting =
            Contents { letters: VecDeque::new(), bytes: 0, is_waiting: false, is_closed: false };
        Self { spec, waiting: Mutex::new(waiting) }
    }

    fn lock(&self) -> MutexGuard<'_, Contents<M>> {
        // Nothing of the user's runs under the lock, so a poisoned queue is still whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().letters.len()
    }

    /// Puts a message in, as the spec says (M1).
    #[inline]
    pub(crate) fn put(&self, message: M) -> Put<M> {
        let bytes = message.size_bytes();
        let mut waiting = self.lock();
        if waiting.is_closed {
            return Put::Refused(SendError::Closed(message));
        }
        let mut dead = None;
        if !self.has_room(&waiting, bytes) {
            match self.spec.overflow {
                Overflow::Reject => return Put::Refused(SendError::Full(message)),
                Overflow::DropNew => return Put::Dropped(message),
                Overflow::DropOld => {
                    // A message bigger than the whole mailbox would empty it for nothing.
                    if bytes > self.spec.bytes_max {
                        return Put::Dropped(message);
                    }
                    let dead = dead.insert(VecDeque::new());
                    while !self.has_room(&waiting, bytes) {
                        let oldest = waiting.letters.pop_front();
                        let oldest = oldest.expect("an empty mailbox has room for this size");
                        waiting.bytes -= oldest.bytes;
                        dead.push_back(oldest);
                    }
                }
            }
        }
        Put::Accepted { wake: waiting.push(message, bytes), dead }
    }

    /// Puts in what the process has ordered itself; only a closed mailbox refuses it.
    pub(crate) fn put_ordered(&self, message: M) -> Result<bool, M> {
        let bytes = message.size_bytes();
        let mut waiting = self.lock();
        if waiting.is_closed { Err(message) } else { Ok(waiting.push(message, bytes)) }
    }

    fn has_room(&self, waiting: &Contents<M>, bytes: usize) -> bool {
        waiting.letters.len() < self.spec.items_max
            && waiting.bytes.saturating_add(bytes) <= self.spec.bytes_max
    }

    /// Moves the next messages into the empty `taken`. True if that is all there is: then the next
    /// message wakes the process (M3).
    #[inline]
    pub(crate) fn take_batch(&self, taken: &mut Letters<M>) -> bool {
        debug_assert!(taken.is_empty());
        let mut waiting = self.lock();
        if waiting.letters.len() <= BATCH_ITEMS_MAX && waiting.bytes <= BATCH_BYTES_MAX {
            mem::swap(&mut waiting.letters, taken);
            waiting.bytes = 0;
        } else {
            let mut bytes = 0;
            while taken.len() < BATCH_ITEMS_MAX && bytes < BATCH_BYTES_MAX {
                let Some(letter) = waiting.letters.pop_front() else { break };
                waiting.bytes -= letter.bytes;
                bytes += letter.bytes;
                taken.push_back(letter);
            }
        }
        // The batch is all there is, so the next message has to wake: said now, under the lock
        // that is held anyway, instead of under a second one at the end of the turn.
        waiting.is_waiting = waiting.letters.is_empty();
        waiting.is_waiting
    }

    /// Takes one message. `Err(true)` if none waits and none will come.
    pub(crate) fn take(&self) -> Result<M, bool> {
        let mut waiting = self.lock();
        if let Some(letter) = waiting.letters.pop_front() {
            waiting.bytes -= letter.bytes;
            return Ok(letter.message);
        }
        waiting.is_waiting = true;
        Err(waiting.is_closed)
    }

    /// Refuses what comes from now on; what waits can still be taken.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
    }

    /// Closes, and hands out what waited.
    pub(crate) fn close_and_drain(&self) -> Letters<M> {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        waiting.bytes = 0;
        mem::take(&mut waiting.letters)
    }
}

impl<M> Contents<M> {
    #[inline]
    fn push(&mut self, message: M, bytes: usize) -> bool {
        self.letters.push_back(Letter { bytes, message });
        self.bytes = self.bytes.saturating_add(bytes);
        mem::take(&mut self.is_waiting)
    }
}
