//! How a process watches others and links itself to them: an actor by its [`Ctx`], an async actor
//! by its [`Inbox`], any other future by awaiting a [`Watch`] and by [`link`].

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use super::{
    actor::{Blame, Signal},
    bonds::{Down, Process, TooManyBonds, Trap},
};
use crate::{
    address::Address,
    cell::{self, Task, WeakTask},
    ctx::Ctx,
    message::Message,
    process::Inbox,
    reply::{Answer, reply},
    status::Exit,
};

/// A monitor that was set, for [`Ctx::demonitor`] and [`Inbox::demonitor`].
#[derive(Debug)]
pub struct Monitor {
    target: WeakTask,
    /// [`NOBODY`] if there is nothing left to be told.
    number: u64,
}

/// The number of no watcher.
const NOBODY: u64 = u64::MAX;

impl Monitor {
    fn new(target: &Task, number: Option<u64>) -> Self {
        Self { target: target.downgrade(), number: number.unwrap_or(NOBODY) }
    }

    fn take_back(&self) {
        if let Some(target) = self.target.upgrade() {
            target.unwatch(self.number);
        }
    }
}

// --- actors --------------------------------------------------------------------------------

impl<M: Message> Ctx<'_, M> {
    /// Watches the present life of `target`: when it ends, `wrap` makes of it a message to this
    /// actor, which comes even if the mailbox is full; at once if it is over already. A restart of
    /// this actor ends the watch.
    ///
    /// `wrap` runs on any thread and must not wait.
    ///
    /// # Errors
    ///
    /// [`TooManyBonds`] if as many watch it as are allowed.
    pub fn monitor(
        &mut self,
        target: &impl Process,
        wrap: impl FnOnce(Down) -> M + Send + 'static,
    ) -> Result<Monitor, TooManyBonds> {
        monitor(self.me().task(), target.process(), wrap)
    }

    /// Takes a monitor back. What it has already told comes nevertheless.
    ///
    /// O(n) in what this actor watches.
    pub fn demonitor(&mut self, monitor: &Monitor) {
        demonitor(self.me().task(), monitor);
    }

    /// Links this life and that of `other`: the abnormal end of one stops the other at its next
    /// turn, unless that [traps exits](Ctx::trap_exits). Linking twice is linking once.
    ///
    /// # Errors
    ///
    /// [`TooManyBonds`] if one of the two has as many links as are allowed.
    pub fn link(&mut self, other: &impl Process) -> Result<(), TooManyBonds> {
        link_both(self.me().task(), other.process())
    }

    /// Takes a link back. O(n) in the links of both.
    pub fn unlink(&mut self, other: &impl Process) {
        unlink_both(self.me().task(), other.process());
    }

    /// From now on the end of a linked process, normal or not, comes as a message and does not stop
    /// this life. A restart of this actor ends it.
    ///
    /// `wrap` runs on any thread and must not wait.
    pub fn trap_exits(&mut self, wrap: impl Fn(Down) -> M + Send + Sync + 'static) {
        trap_exits(self.me().task(), wrap);
    }
}

impl<M: Message> Inbox<M> {
    /// As [`Ctx::monitor`]: the news comes as a message.
    ///
    /// # Errors
    ///
    /// [`TooManyBonds`] if as many watch it as are allowed.
    pub fn monitor(
        &mut self,
        target: &impl Process,
        wrap: impl FnOnce(Down) -> M + Send + 'static,
    ) -> Result<Monitor, TooManyBonds> {
        let target = target.process();
        match self.me() {
            Some(me) => monitor(me.task(), target, wrap),
            // It is being dropped, and takes no news.
            None => Ok(Monitor::new(target, None)),
        }
    }

    /// As [`Ctx::demonitor`].
    pub fn demonitor(&mut self, monitor: &Monitor) {
        if let Some(me) = self.me() {
            demonitor(me.task(), monitor);
        }
    }

    /// As [`Ctx::link`].
    ///
    /// # Errors
    ///
    /// [`TooManyBonds`] if one of the two has as many links as are allowed.
    pub fn link(&mut self, other: &impl Process) -> Result<(), TooManyBonds> {
        self.me().map_or(Ok(()), |me| link_both(me.task(), other.process()))
    }

    /// As [`Ctx::unlink`].
    pub fn unlink(&mut self, other: &impl Process) {
        if let Some(me) = self.me() {
            unlink_both(me.task(), other.process());
        }
    }

    /// As [`Ctx::trap_exits`].
    pub fn trap_exits(&mut self, wrap: impl Fn(Down) -> M + Send + Sync + 'static) {
        if let Some(me) = self.me() {
            trap_exits(me.task(), wrap);
        }
    }
}

fn monitor<M: Message>(
    me: &Task,
    target: &Task,
    wrap: impl FnOnce(Down) -> M + Send + 'static,
) -> Result<Monitor, TooManyBonds> {
    let deliver = deliver_to(me);
    let number = target.watch(move |down| deliver(wrap(down)))?;
    if let Some(number) = number {
        // Entries of lives that are over go when there are many, so this list stays as short as
        // what is watched.
        let mut extras = me.extras();
        let watching = &mut extras.bonds.watching;
        if watching.len() == watching.capacity() {
            watching.retain(|(_, target)| target.is_alive());
        }
        watching.push((number, target.downgrade()));
    }
    Ok(Monitor::new(target, number))
}

fn demonitor(me: &Task, monitor: &Monitor) {
    let is_it = |(number, target): &(u64, WeakTask)| {
        *number == monitor.number && target.is_same(&monitor.target)
    };
    me.extras().bonds.watching.retain(|watched| !is_it(watched));
    monitor.take_back();
}

fn link_both(me: &Task, other: &Task) -> Result<(), TooManyBonds> {
    let (my_id, other_id) = (me.tag().0, other.tag().0);
    if my_id == other_id {
        return Ok(());
    }
    me.add_link(other_id, other)?;
    if other.is_done() {
        me.link_broke(&other.down(Exit::NoProcess, false));
        return Ok(());
    }
    let linked = other.add_link(my_id, me);
    if linked.is_err() {
        me.remove_link(other_id);
    } else if other.is_done() && other.takes_link(my_id) {
        // It ended in between, and its end has not seen this link.
        me.link_broke(&other.down(Exit::NoProcess, false));
    }
    linked
}

fn unlink_both(me: &Task, other: &Task) {
    me.remove_link(other.tag().0);
    other.remove_link(me.tag().0);
}

fn trap_exits<M: Message>(me: &Task, wrap: impl Fn(Down) -> M + Send + Sync + 'static) {
    let deliver = deliver_to(me);
    let trap: Trap = Arc::new(move |down| deliver(wrap(down)));
    let before = me.extras().bonds.trap.replace(trap);
    drop(before);
}

/// Lets a supervisor fail as a whole, with all below it, if a process fails that is linked to it
/// and that it does not halt itself.
pub(super) fn fail_with_links(supervisor: &Task) {
    let deliver = deliver_to(supervisor);
    let trap: Trap = Arc::new(move |Down { id, name, exit, .. }| {
        if exit.is_abnormal() {
            deliver(Signal::Broken { by: id, blame: Blame::new(name, &exit) });
        }
    });
    supervisor.extras().bonds.trap = Some(trap);
}

/// Delivers to the present life of `me`, without keeping it alive.
fn deliver_to<M: Message>(me: &Task) -> impl Fn(M) + Send + Sync + 'static {
    let (weak, life) = (me.downgrade(), me.generation.load(Ordering::Relaxed));
    move |message| {
        if let Some(me) = weak.upgrade() {
            Address::new(me).deliver(life, message);
        }
    }
}

// --- futures -------------------------------------------------------------------------------

/// Watches the present life of `target`, for any future, or a thread outside the system.
///
/// # Errors
///
/// [`TooManyBonds`] if as many watch it as are allowed.
pub fn watch(target: &impl Process) -> Result<Watch, TooManyBonds> {
    let target = target.process();
    let (telling, answer) = reply();
    let number = target.watch(move |down| telling.send(down))?;
    Ok(Watch {
        monitor: Monitor::new(target, number),
        answer,
        lost: target.down(Exit::NoProcess, false),
    })
}

/// A life that is watched. Awaiting it tells how it has ended; dropping it takes the monitor back.
#[must_use = "dropping a watch takes it back"]
pub struct Watch {
    monitor: Monitor,
    answer: Answer<Down>,
    /// What is said of a process that went without a word, as one that was never spawned may.
    lost: Down,
}

impl Future for Watch {
    type Output = Down;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Down> {
        let told = Pin::new(&mut self.answer).poll(cx);
        told.map(|told| told.unwrap_or_else(|_| self.lost.clone()))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.monitor.take_back();
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&self.lost.name).field(&self.lost.id).finish()
    }
}

/// As [`Ctx::link`], of the process whose turn this is: for futures that have no mailbox.
///
/// # Errors
///
/// [`TooManyBonds`] if one of the two has as many links as are allowed.
///
/// # Panics
///
/// Outside of a turn.
pub fn link(other: &impl Process) -> Result<(), TooManyBonds> {
    link_both(&running(), other.process())
}

/// As [`Ctx::unlink`], of the process whose turn this is.
///
/// # Panics
///
/// Outside of a turn.
pub fn unlink(other: &impl Process) {
    unlink_both(&running(), other.process());
}

fn running() -> Task {
    cell::current_process().expect("only a process has links: called outside of a turn")
}
