//! What is done with a cell without knowing its messages.

use std::{any::TypeId, sync::PoisonError};

use super::{Extras, Header, Identity, Order, quietly};
use crate::{
    dead_letters::{DeadLetter, DeadReason},
    message::Message,
    queue::{Before, Letter},
    reply::Reply,
    share::Share,
    status::Exit,
    supervision::actor::Signal,
    sync::{MutexGuard, Ordering, fence},
    time::Time,
};

impl Header {
    /// # Panics
    ///
    /// On a cell that is not spawned; such a cell is in no queue.
    #[inline]
    pub(crate) fn identity(&self) -> &Identity {
        self.identity.get().expect("only spawned processes run")
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Acquire)
    }

    /// Adds a turn to the statistics; by the owner of the turn, so without a locked instruction.
    #[inline]
    pub(crate) fn count(&self, used: u64) {
        let before = self.reductions.load(Ordering::Relaxed);
        self.reductions.store(before.wrapping_add(used), Ordering::Relaxed);
    }

    /// It becomes runnable; said before it is queued.
    #[inline]
    pub(crate) fn set_since(&self, now: Time) {
        self.since.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// How long it has been runnable, in nanoseconds; 0 by a clock that lags behind that of who has
    /// woken it.
    #[inline]
    pub(crate) fn waited_ns(&self, now: Time) -> u64 {
        now.as_nanos().saturating_sub(self.since.load(Ordering::Relaxed))
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.is_spent.load(Ordering::Relaxed)
    }

    /// `None` for a mailbox that was not given to a process yet.
    pub(crate) fn spawned(&self) -> Option<&Identity> {
        self.identity.get()
    }

    pub(crate) fn extras(&self) -> MutexGuard<'_, Extras> {
        let extras = self.extras.get_or_make();
        // Pairs with the fence in `set_done`: who comes with a bond sees that the process is done,
        // or its end sees the bond.
        fence(Ordering::SeqCst);
        // Nothing of the user's runs under the lock.
        extras.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has_extras(&self) -> bool {
        self.extras.get().is_some()
    }

    pub(super) fn set_done(&self) {
        self.is_done.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Counts a message that nobody handles, and drops it.
    #[cold]
    pub(crate) fn bury<M: Message>(&self, message: M, reason: DeadReason) {
        let receiver = self.spawned().map_or("not spawned", |identity| identity.name);
        // Naming and dropping it runs code of the user's.
        quietly(|| {
            // An order that crosses the end of a supervisor is no message of anybody's.
            if TypeId::of::<M>() == TypeId::of::<Signal>() {
                return drop(message);
            }
            let kind = message.kind();
            let letter = || DeadLetter { at: self.system.now(), kind, receiver, reason };
            self.system.dead().note(letter, reason);
            drop(message);
        });
    }

    /// The next order, if any.
    #[inline]
    pub(crate) fn next_order(&self) -> Option<Order> {
        if self.has_orders.load(Ordering::Acquire) { self.take_order() } else { None }
    }

    #[cold]
    fn take_order(&self) -> Option<Order> {
        let mut extras = self.extras();
        let order = extras.orders.pop_front();
        self.has_orders.store(!extras.orders.is_empty(), Ordering::Release);
        order
    }

    /// Books the use of a turn after which the process runs on; says if it is spent by now.
    pub(crate) fn book(&self, used: u32, quantum: u32) -> bool {
        let used = self.used.load(Ordering::Relaxed).saturating_add(used);
        let is_spent = self.is_spent() || used >= quantum;
        self.used.store(if is_spent { 0 } else { used }, Ordering::Relaxed);
        self.is_spent.store(is_spent, Ordering::Relaxed);
        is_spent
    }

    /// What this turn may spend.
    #[inline]
    pub(crate) fn quantum(&self) -> u32 {
        self.identity().share().map_or(crate::limits::QUANTUM_REDUCTIONS, Share::quantum)
    }

    /// What is left of the quantum since the process was woken.
    #[inline]
    pub(crate) fn rest(&self, quantum: u32) -> u32 {
        quantum.saturating_sub(self.used.load(Ordering::Relaxed)).max(1)
    }

    /// Asks to be told when the process ends.
    pub(crate) fn on_exit(&self, reply: Reply<Exit>) {
        let mut extras = self.extras();
        if self.is_done() {
            drop(extras);
            reply.send(Exit::NoProcess);
        } else {
            extras.exits.push(reply);
        }
    }

    /// Tells all whom it may concern that the process is over.
    pub(super) fn tell_exits(&self, exit: &Exit) {
        self.life_over(exit, false);
        self.process_over(exit);
    }

    pub(super) fn bury_all<M: Message>(&self, letters: Vec<Letter<M>>, locked: Vec<M>) {
        for letter in letters {
            self.bury(letter.open().0, DeadReason::Ended);
        }
        for message in locked {
            self.bury(message, DeadReason::Ended);
        }
    }

    /// Gives up the place in the share, which only who runs or wants to run has, and in the
    /// registry.
    pub(super) fn depart(&self, before: Before) {
        let identity = self.identity();
        if let Some(share) = identity.share().filter(|_| before == Before::Awake) {
            share.leave();
        }
        self.system.leave(identity.spot);
    }
}
