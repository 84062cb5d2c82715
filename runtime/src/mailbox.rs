//! Bounded mailboxes: what waits for a process, and what happens when too much does.
//!
//! # Invariants
//!
//! - M1: at most `items_max` messages and `bytes_max` bytes wait; only what a process has ordered
//!   for itself (timers, results of its jobs) is let in beyond that.
//! - M2: messages of one sender are taken in the order they were sent.
//! - M3: no wake-up is lost (Q3 of `queue`).
//! - M4: a sender that waits for room and finds none after it said so is woken when there is some.
//!   Only letters take room from it, never a sender that turns back: nobody would tell it of that.

use std::{collections::VecDeque, fmt, sync::PoisonError, task::Waker};

use crate::{
    address::Address,
    cell,
    message::Message,
    sync::{AtomicUsize, Mutex, MutexGuard, Ordering},
};

/// What happens to a message for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The sender gets it back.
    Reject,
    /// The sender gets it back from `send`, and waits for room in
    /// [`Address::send_when_room`]; who waits is woken first come, first served, but those woken
    /// together may get in in another order.
    Await,
    /// It is dropped, and counted as a dead letter.
    DropNew,
    /// The oldest waiting messages make room; they are counted as dead letters.
    DropOld,
    /// A message takes the place of a waiting one with the same
    /// [`coalesce_key`](Message::coalesce_key), which is counted as a dead letter; one without a
    /// key, or with a new one, is rejected when there is no room.
    Coalesce,
}

/// Bounds of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxSpec {
    /// Name for statistics.
    pub name: &'static str,
    /// Messages that may wait; at most 2^23 are held.
    pub items_max: usize,
    /// Bytes, as messages count them, that may wait; at most 2^38.
    pub bytes_max: usize,
    /// What happens beyond that.
    pub overflow: Overflow,
}

impl MailboxSpec {
    /// Of a process that nobody sends to.
    pub(crate) const fn none(name: &'static str) -> Self {
        Self { name, items_max: 1, bytes_max: 0, overflow: Overflow::Reject }
    }
}

/// Receiving end of a mailbox, given to `spawn`. Dropped unused it closes the mailbox.
pub struct Mailbox<M: Message> {
    address: Option<Address<M>>,
}

impl<M: Message> Mailbox<M> {
    pub(crate) const fn new(address: Address<M>) -> Self {
        Self { address: Some(address) }
    }

    pub(crate) fn address(&self) -> &Address<M> {
        self.address.as_ref().expect("only `into_address` takes it, and it takes self")
    }

    pub(crate) fn into_address(mut self) -> Address<M> {
        self.address.take().expect("only this method takes it, and it takes self")
    }
}

impl<M: Message> Drop for Mailbox<M> {
    fn drop(&mut self) {
        if let Some(address) = self.address.take() {
            cell::abandon(&address);
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

/// The part of a mailbox that its overflow rule needs; one word, nothing for the one that most
/// have.
pub(crate) struct Rule<M>(Option<Box<Other<M>>>);

/// Any rule but `Reject`.
enum Other<M> {
    DropNew,
    Await(Room),
    Locked(Locked<M>),
}

/// A rule, to be told apart.
pub(crate) enum By<'a, M> {
    Reject,
    DropNew,
    Await(&'a Room),
    Locked(&'a Locked<M>),
}

impl<M> Rule<M> {
    #[inline]
    pub(crate) fn by(&self) -> By<'_, M> {
        match self.0.as_deref() {
            None => By::Reject,
            Some(Other::DropNew) => By::DropNew,
            Some(Other::Await(room)) => By::Await(room),
            Some(Other::Locked(locked)) => By::Locked(locked),
        }
    }

    /// True if messages wait behind a lock, and not in the queue.
    #[inline]
    pub(crate) fn is_locked(&self) -> bool {
        matches!(self.by(), By::Locked(_))
    }

    /// True if letters go into the queue, and a sender that finds no room turns back.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.by(), By::Reject | By::DropNew)
    }
}

impl<M: Message> Rule<M> {
    pub(crate) fn new(spec: &MailboxSpec) -> Self {
        let other = match spec.overflow {
            Overflow::Reject => None,
            Overflow::DropNew => Some(Other::DropNew),
            Overflow::Await => Some(Other::Await(Room::default())),
            Overflow::DropOld | Overflow::Coalesce => Some(Other::Locked(Locked::new(spec))),
        };
        Self(other.map(Box::new))
    }
}

/// Senders that wait for room, woken first come, first served.
#[derive(Default)]
pub(crate) struct Room {
    waiting: Mutex<VecDeque<Waker>>,
    /// Read at every release, so not behind the lock.
    len: AtomicUsize,
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Waker>> {
        // Wakers are only moved under the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len.load(Ordering::SeqCst) == 0
    }

    /// Waits for room. The caller tries once more afterwards.
    pub(crate) fn wait(&self, waker: Waker) {
        let mut waiting = self.lock();
        waiting.push_back(waker);
        self.len.store(waiting.len(), Ordering::SeqCst);
    }

    /// There is room for `letters` more: wakes as many as that.
    ///
    /// One of them may have gone away; so whoever leaves an empty mailbox wakes all.
    pub(crate) fn announce(&self, letters: usize) {
        if self.is_empty() {
            return;
        }
        let mut waiting = self.lock();
        let count = letters.min(waiting.len());
        let woken: Vec<_> = waiting.drain(..count).collect();
        self.len.store(waiting.len(), Ordering::SeqCst);
        drop(waiting);
        for waker in woken {
            waker.wake();
        }
    }
}

struct Held<M> {
    bytes: usize,
    /// The life of the process that has ordered it, if one has.
    life: Option<u32>,
    message: M,
}

struct Contents<M> {
    held: VecDeque<Held<M>>,
    bytes: usize,
    is_closed: bool,
}

/// Messages behind a lock, for rules that reach into the middle of what waits.
pub(crate) struct Locked<M> {
    items_max: usize,
    bytes_max: usize,
    coalesces: bool,
    contents: Mutex<Contents<M>>,
}

/// What waits in a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
}

/// What became of a message that was put behind the lock.
pub(crate) enum Put<M> {
    /// It waits; these made room for it.
    Accepted(Vec<M>),
    /// It was dropped, as the rule says.
    Dropped(M),
    Refused(SendError<M>),
}

impl<M: Message> Locked<M> {
    fn new(spec: &MailboxSpec) -> Self {
        Self {
            items_max: spec.items_max,
            bytes_max: spec.bytes_max,
            coalesces: spec.overflow == Overflow::Coalesce,
            contents: Mutex::new(Contents { held: VecDeque::new(), bytes: 0, is_closed: false }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Contents<M>> {
        // Of the user's only `coalesce_key` runs under the lock, and before anything is moved.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().held.len()
    }

    pub(crate) fn load(&self) -> Load {
        let contents = self.lock();
        Load { items: contents.held.len(), bytes: contents.bytes }
    }

    /// Puts a message in, as the rule says (M1). O(1), or O(n) for one with a key.
    pub(crate) fn put(&self, message: M) -> Put<M> {
        let bytes = message.size_bytes();
        let mut contents = self.lock();
        if contents.is_closed {
            return Put::Refused(SendError::Closed(message));
        }
        if self.coalesces {
            return self.put_coalescing(&mut contents, message, bytes);
        }
        // A message bigger than the whole mailbox would empty it for nothing.
        if bytes > self.bytes_max {
            return Put::Dropped(message);
        }
        let mut displaced = Vec::new();
        while !self.has_room(&contents, bytes) {
            let oldest = contents.held.pop_front();
            let oldest = oldest.expect("an empty mailbox has room for this size");
            contents.bytes -= oldest.bytes;
            displaced.push(oldest.message);
        }
        contents.push(message, bytes, None);
        Put::Accepted(displaced)
    }

    fn put_coalescing(&self, contents: &mut Contents<M>, message: M, bytes: usize) -> Put<M> {
        // The newest, of which what was ordered or insisted on may make several: else an older one
        // would come after this one (M2).
        let place = message.coalesce_key().and_then(|key| {
            contents.held.iter().rposition(|held| held.message.coalesce_key() == Some(key))
        });
        let before = place.map_or(0, |place| contents.held[place].bytes);
        let has_room = place.is_some() || contents.held.len() < self.items_max;
        if !has_room || (contents.bytes - before).saturating_add(bytes) > self.bytes_max {
            return Put::Refused(SendError::Full(message));
        }
        let Some(place) = place else {
            contents.push(message, bytes, None);
            return Put::Accepted(Vec::new());
        };
        contents.bytes = contents.bytes - before + bytes;
        let older =
            std::mem::replace(&mut contents.held[place], Held { bytes, life: None, message });
        Put::Accepted(vec![older.message])
    }

    /// Puts in what life number `life` of the process has ordered itself; only a closed mailbox
    /// refuses it.
    pub(crate) fn put_ordered(&self, life: u32, message: M) -> Result<(), M> {
        let mut contents = self.lock();
        if contents.is_closed {
            return Err(message);
        }
        let bytes = message.size_bytes();
        contents.push(message, bytes, Some(life));
        Ok(())
    }

    fn has_room(&self, contents: &Contents<M>, bytes: usize) -> bool {
        contents.held.len() < self.items_max
            && contents.bytes.saturating_add(bytes) <= self.bytes_max
    }

    /// The oldest message, and the life of the process that has ordered it, if one has.
    pub(crate) fn pop(&self) -> Option<(M, Option<u32>)> {
        let mut contents = self.lock();
        let oldest = contents.held.pop_front()?;
        contents.bytes = contents.bytes.saturating_sub(oldest.bytes);
        Some((oldest.message, oldest.life))
    }

    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
    }

    /// Closes, and hands out what waited.
    pub(crate) fn close_and_drain(&self) -> Vec<M> {
        let mut contents = self.lock();
        contents.is_closed = true;
        contents.bytes = 0;
        let held = std::mem::take(&mut contents.held);
        drop(contents);
        held.into_iter().map(|held| held.message).collect()
    }
}

impl<M> Contents<M> {
    fn push(&mut self, message: M, bytes: usize, life: Option<u32>) {
        self.held.push_back(Held { bytes, life, message });
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

#[cfg(all(test, evenkeel_loom))]
mod loom_tests;
