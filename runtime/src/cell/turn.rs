//! The two sides of a cell's mailbox: addresses put in, the owner of the turn takes out.
#![allow(unsafe_code, reason = "the type of messages is what the address says (C2)")]

use std::{
    cell::Cell as ThreadCell,
    mem::ManuallyDrop,
    ptr::{self, NonNull},
    sync::atomic::Ordering,
};

use super::{Front, Header, Task};
use crate::{
    address::Address,
    budget,
    dead_letters::DeadReason,
    mailbox::{By, Locked, Put, SendError},
    message::Message,
    queue::{Letter, Refusal, Weight},
    sync::coarse::thread_local,
};

// --- addresses -----------------------------------------------------------------------------

impl<M: Message> Address<M> {
    #[inline]
    pub(super) fn front(&self) -> &Front<M> {
        // SAFETY: an address is made only of cells that take messages of type `M`, in which the
        // front, and in it the header, come first.
        unsafe { self.task().0.cast::<Front<M>>().as_ref() }
    }

    /// Sends a message by the mailbox's rule.
    #[inline]
    pub(crate) fn put(&self, message: M) -> Result<(), SendError<M>> {
        let front = self.front();
        let queue = &front.header.queue;
        let weight = Weight::of_bytes(message.size_bytes());
        let room = if queue.is_plain() {
            queue.reserve(weight)
        } else if let By::Locked(locked) = front.rule.by() {
            return self.put_locked(locked, message);
        } else {
            // M4.
            queue.reserve_if_room(weight)
        };
        match room {
            Ok(()) => self.push(message, weight).map_err(SendError::Closed),
            Err(Refusal::Closed) => Err(SendError::Closed(message)),
            Err(Refusal::Full) if matches!(front.rule.by(), By::DropNew) => {
                front.header.bury(message, DeadReason::Full);
                Ok(())
            }
            Err(Refusal::Full) => Err(SendError::Full(message)),
        }
    }

    #[inline]
    fn push(&self, message: M, weight: Weight) -> Result<(), M> {
        let queue = &self.front().header.queue;
        match queue.push(Letter::new(message, weight)) {
            Ok(true) => self.task().activate(),
            Ok(false) => {}
            Err(letter) => {
                queue.unreserve(weight);
                return Err(letter.open().0);
            }
        }
        Ok(())
    }

    #[cold]
    fn put_locked(&self, locked: &Locked<M>, message: M) -> Result<(), SendError<M>> {
        let header = &self.front().header;
        match locked.put(message) {
            Put::Accepted(displaced) => {
                self.task().wake_up();
                for older in displaced {
                    header.bury(older, DeadReason::Displaced);
                }
                Ok(())
            }
            Put::Dropped(message) => {
                header.bury(message, DeadReason::Full);
                Ok(())
            }
            Put::Refused(error) => Err(error),
        }
    }

    /// Delivers what the process's life number `life` has ordered.
    pub(crate) fn deliver(&self, life: u32, message: M) {
        self.is_delivered(life, message);
    }

    /// The same; false if that life is over, or the process is.
    pub(crate) fn is_delivered(&self, life: u32, message: M) -> bool {
        let front = self.front();
        if front.header.generation.load(Ordering::Acquire) != life {
            front.header.bury(message, DeadReason::EarlierLife);
            return false;
        }
        let refused = match front.rule.by() {
            By::Locked(locked) => {
                let put = locked.put_ordered(life, message);
                if put.is_ok() {
                    self.task().wake_up();
                }
                put
            }
            By::Reject | By::DropNew | By::Await(_) => self.push(message, Weight::ordered(life)),
        };
        match refused {
            Ok(()) => true,
            Err(message) => {
                front.header.bury(message, DeadReason::Ended);
                false
            }
        }
    }

    pub(crate) fn rule(&self) -> By<'_, M> {
        self.front().rule.by()
    }

    pub(crate) fn len(&self) -> usize {
        match self.front().rule.by() {
            By::Locked(locked) => locked.len(),
            By::Reject | By::DropNew | By::Await(_) => self.front().header.queue.len(),
        }
    }
}

impl<M> Front<M> {
    /// Tells senders that wait for room that so many letters' room was given back (M4).
    #[inline]
    fn announce(&self, letters: usize) {
        if let By::Await(room) = self.rule.by()
            && letters > 0
        {
            room.announce(if self.header.queue.len() == 0 { usize::MAX } else { letters });
        }
    }
}

/// This thread runs no turn any more: one has unwound.
pub(crate) fn forget_current() {
    CURRENT.with(|current| current.set(ptr::null()));
}

thread_local! {
    /// The cell whose turn this thread runs.
    static CURRENT: ThreadCell<*const Header> = const { ThreadCell::new(ptr::null()) };
}

/// Runs a turn of the cell on this thread.
#[inline]
pub(super) fn running<R>(cell: NonNull<Header>, turn: impl FnOnce() -> R) -> R {
    CURRENT.with(|current| current.set(cell.as_ptr()));
    let result = turn();
    CURRENT.with(|current| current.set(ptr::null()));
    result
}

/// The process whose turn this thread runs.
pub(crate) fn current_process() -> Option<Task> {
    let current = NonNull::new(CURRENT.with(ThreadCell::get).cast_mut())?;
    // SAFETY: it is set during a turn alone, and a run reaches the cell (C4). The
    // borrowed task is not counted down.
    let borrowed = ManuallyDrop::new(Task(current));
    Some(Task::clone(&borrowed))
}

/// True if this thread runs a turn of `process`.
pub(crate) fn is_current(process: &Task) -> bool {
    CURRENT.with(|current| ptr::eq(current.get(), process.0.as_ptr()))
}

/// The right to take a process's messages, held by who runs its turn (C2).
pub(crate) struct Turn<'a, M: Message> {
    pub(super) me: &'a Address<M>,
}

impl<M: Message> Turn<'_, M> {
    pub(crate) const fn me(&self) -> &Address<M> {
        self.me
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        self.me.task()
    }

    /// As [`Turn::pop`], with a look before it: most turns end with that.
    #[inline]
    pub(crate) fn next(&self) -> Option<M> {
        if self.me.front().rule.is_locked() || self.has_queued() { self.pop() } else { None }
    }

    /// The oldest message; what an earlier life has ordered is not among them.
    #[inline(never)]
    pub(crate) fn pop(&self) -> Option<M> {
        loop {
            let (message, ordered_by) = self.pop_any()?;
            let header = self.header();
            // Written by the owner of the turn alone.
            match ordered_by {
                Some(life) if life != header.generation.load(Ordering::Relaxed) => {
                    budget::consume_message(1);
                    header.bury(message, DeadReason::EarlierLife);
                }
                Some(_) | None => return Some(message),
            }
        }
    }

    #[inline]
    fn pop_any(&self) -> Option<(M, Option<u32>)> {
        let front = self.me.front();
        if let By::Locked(locked) = front.rule.by() {
            return locked.pop();
        }
        // SAFETY: a `Turn` is held by the owner of the turn, and the address says the type.
        let (message, weight) =
            unsafe { front.header.queue.pop(&front.header.taken, |n| front.announce(n)) }?;
        Some((message, weight.life()))
    }

    /// True if anything waits, also beyond the bounds.
    pub(crate) fn has_letters(&self) -> bool {
        let front = self.me.front();
        match front.rule.by() {
            By::Locked(locked) => locked.len() > 0,
            By::Reject | By::DropNew | By::Await(_) => self.has_queued(),
        }
    }

    /// True if a letter waits in the queue.
    #[inline]
    fn has_queued(&self) -> bool {
        let header = self.header();
        // SAFETY: a `Turn` is held by the owner of the turn.
        unsafe { header.queue.has_letters(&header.taken) }
    }

    /// Gives back, at the end of the turn, all room of what was taken.
    #[inline]
    pub(crate) fn settle(&self) {
        let front = self.me.front();
        // SAFETY: a `Turn` is held by the owner of the turn.
        front.announce(unsafe { front.header.queue.settle(&front.header.taken) });
    }

    /// Drops what waits now, not what comes meanwhile.
    pub(crate) fn bury_waiting(&self) {
        for _ in 0..self.me.len() {
            let Some(message) = self.pop() else {
                return;
            };
            self.header().bury(message, DeadReason::Restarted);
        }
    }

    /// Takes note of wake-ups: what was done before them is seen from now on.
    #[inline]
    pub(crate) fn clear_woken(&self) -> bool {
        self.header().queue.clear_woken()
    }
}

/// The turn of `me` on a thread that runs it already, for the inbox of an async actor.
///
/// # Panics
///
/// Anywhere else: its messages belong to whoever runs it (C2).
pub(crate) fn current_turn<M: Message>(me: &Address<M>) -> Turn<'_, M> {
    assert!(is_current(me.task()), "an inbox is read by its own process only");
    Turn { me }
}
