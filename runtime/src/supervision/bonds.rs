//! What ties processes to one another: monitors, links, names, a place in a tree.
//!
//! Kept in the lazy part of a cell: a process without bonds pays nothing for them. Each side's
//! bonds are behind its own lock, and no thread holds two of them.
//!
//! # Invariants
//!
//! - B1: a monitor tells exactly once, when the life that it watches ends, unless it is taken back
//!   or the watcher's own life ends first.
//! - B2: a life that ends leaves nothing behind in the bonds of others.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, atomic::Ordering},
};

use crate::{
    address::Address,
    cell::{Extras, Header, Order, Task, WeakTask, quietly},
    limits::{LINKS_MAX, MONITORS_MAX},
    message::Message,
    process::{ActorHandle, TaskHandle},
    status::Exit,
    supervision::{
        actor::{Blame, Reporter, Signal},
        handle::Supervisor,
    },
    sync::MutexGuard,
};

/// A life has ended: what monitors and trapped links tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// Number of the process.
    pub id: u64,
    /// Its name.
    pub name: &'static str,
    /// How the life ended.
    pub exit: Exit,
    /// True if the process is still there and may begin another life under the same address.
    pub may_return: bool,
}

/// What stands for a process: an address or a handle.
pub trait Process: sealed::Process {}

impl<P: sealed::Process> Process for P {}

mod sealed {
    use super::Task;

    pub trait Process {
        #[doc(hidden)]
        #[expect(private_interfaces, reason = "sealed: only this crate calls it")]
        fn process(&self) -> &Task;
    }
}

impl<M: Message> sealed::Process for Address<M> {
    #[expect(private_interfaces, reason = "sealed: only this crate calls it")]
    fn process(&self) -> &Task {
        self.task()
    }
}

impl sealed::Process for ActorHandle {
    #[expect(private_interfaces, reason = "sealed: only this crate calls it")]
    fn process(&self) -> &Task {
        self.task()
    }
}

impl<T> sealed::Process for TaskHandle<T> {
    #[expect(private_interfaces, reason = "sealed: only this crate calls it")]
    fn process(&self) -> &Task {
        self.task()
    }
}

impl sealed::Process for Supervisor {
    #[expect(private_interfaces, reason = "sealed: only this crate calls it")]
    fn process(&self) -> &Task {
        self.task()
    }
}

/// A process cannot be watched by, or linked to, any more others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("process {name} has {max} {what} already")]
pub struct TooManyBonds {
    /// The process at its bound.
    pub name: &'static str,
    /// Its bound.
    pub max: usize,
    /// "monitors" or "links".
    pub what: &'static str,
}

struct Watcher {
    number: u64,
    tell: Box<dyn FnOnce(Down) + Send>,
}

pub(super) type Trap = Arc<dyn Fn(Down) + Send + Sync>;

/// Where a process stands when the system stops from the top.
#[derive(Default)]
pub(crate) enum Place {
    /// It is stopped directly.
    #[default]
    Free,
    /// Its supervisor stops it.
    Child(Reporter),
    /// A supervisor without a parent.
    Root,
}

/// The bonds of one process.
#[derive(Default)]
pub(crate) struct Bonds {
    pub(crate) place: Place,
    /// Who is told of the end of this life; at most [`MONITORS_MAX`].
    watchers: VecDeque<Watcher>,
    watchers_ever: u64,
    /// Whom this life watches, by their numbers for it.
    pub(super) watching: Vec<(u64, WeakTask)>,
    /// By the number of the other process; at most [`LINKS_MAX`].
    links: Vec<(u64, WeakTask)>,
    pub(super) trap: Option<Trap>,
    pub(crate) names: Vec<Arc<str>>,
    pub(crate) groups: Vec<Arc<str>>,
}

impl Header {
    /// Number and name; of a mailbox that no process was given, a number that no process has.
    pub(super) fn tag(&self) -> (u64, &'static str) {
        self.spawned().map_or((u64::MAX, "not spawned"), |identity| (identity.id, identity.name))
    }

    pub(super) fn down(&self, exit: Exit, may_return: bool) -> Down {
        let (id, name) = self.tag();
        Down { id, name, exit, may_return }
    }

    /// The watcher's number; `None` if it was told at once.
    pub(super) fn watch(
        &self,
        tell: impl FnOnce(Down) + Send + 'static,
    ) -> Result<Option<u64>, TooManyBonds> {
        let mut extras = self.extras();
        if self.is_done() {
            drop(extras);
            tell(self.down(Exit::NoProcess, false));
            return Ok(None);
        }
        let bonds = &mut extras.bonds;
        if bonds.watchers.len() >= MONITORS_MAX {
            return Err(TooManyBonds { name: self.tag().1, max: MONITORS_MAX, what: "monitors" });
        }
        let number = bonds.watchers_ever;
        bonds.watchers_ever += 1;
        bonds.watchers.push_back(Watcher { number, tell: Box::new(tell) });
        Ok(Some(number))
    }

    /// O(log n) in the watchers, which are in the order of their numbers.
    pub(super) fn unwatch(&self, number: u64) {
        let mut extras = self.extras();
        let watchers = &mut extras.bonds.watchers;
        let place = watchers.binary_search_by_key(&number, |watcher| watcher.number);
        let gone = place.ok().and_then(|place| watchers.remove(place));
        drop(extras);
        // What it captured is the user's, and may do anything when dropped.
        drop(gone);
    }

    pub(super) fn add_link(&self, id: u64, other: &Task) -> Result<(), TooManyBonds> {
        let mut extras = self.extras();
        let links = &mut extras.bonds.links;
        if links.iter().any(|&(linked, _)| linked == id) {
            return Ok(());
        }
        if links.len() >= LINKS_MAX {
            return Err(TooManyBonds { name: self.tag().1, max: LINKS_MAX, what: "links" });
        }
        links.push((id, other.downgrade()));
        Ok(())
    }

    pub(super) fn remove_link(&self, id: u64) {
        self.extras().bonds.links.retain(|&(linked, _)| linked != id);
    }

    /// Ends a life that may be followed by another: `drops` its state, tells monitors and links.
    pub(crate) fn end_life(&self, drops: impl FnOnce(), exit: &Exit) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        quietly(drops);
        self.life_over(exit, true);
    }

    /// Tells the supervisor that a life has ended against the rules; it decides what comes next.
    pub(crate) fn report_crash(&self, exit: &Exit) {
        let blame = Blame::new(self.identity().name, exit);
        self.report(|child| Signal::Crashed { child, blame });
    }

    /// Tells all who are bound to this life that it has ended, and leaves their bonds (B1, B2).
    pub(crate) fn life_over(&self, exit: &Exit, may_return: bool) {
        let Some(mut extras) = self.extras_if_any() else {
            return;
        };
        let bonds = &mut extras.bonds;
        let watchers = std::mem::take(&mut bonds.watchers);
        let watching = std::mem::take(&mut bonds.watching);
        let links = std::mem::take(&mut bonds.links);
        let trap = bonds.trap.take();
        drop(extras);
        quietly(|| drop(trap));
        for (number, target) in watching {
            if let Some(target) = target.upgrade() {
                target.unwatch(number);
            }
        }
        let down = self.down(exit.clone(), may_return);
        for watcher in watchers {
            let down = down.clone();
            quietly(move || (watcher.tell)(down));
        }
        for (_, other) in links {
            if let Some(other) = other.upgrade() {
                other.link_broke(&down);
            }
        }
    }

    /// Gives up names and groups, and tells the supervisor: the process is over.
    pub(crate) fn process_over(&self, exit: &Exit) {
        let Some(mut extras) = self.extras_if_any() else {
            return;
        };
        let Extras { bonds, exits, orders } = &mut *extras;
        // Who waits for one learns that it is lost.
        let unheard = std::mem::take(orders);
        let (names, groups) = (std::mem::take(&mut bonds.names), std::mem::take(&mut bonds.groups));
        let place = std::mem::take(&mut bonds.place);
        let exits = std::mem::take(exits);
        drop(extras);
        drop(unheard);
        if !(names.is_empty() && groups.is_empty()) {
            self.system.names().release(self.tag().0, &names, &groups);
        }
        for reply in exits {
            reply.send(exit.clone());
        }
        if let Place::Child(reporter) = place {
            reporter.report(|child| Signal::Exited { child });
        }
    }

    /// Tells the supervisor, if there is one.
    pub(crate) fn report(&self, signal: impl FnOnce(super::machine::ChildId) -> Signal) {
        let reporter = self.extras_if_any().and_then(|extras| match &extras.bonds.place {
            Place::Child(reporter) => Some(reporter.clone()),
            Place::Free | Place::Root => None,
        });
        if let Some(reporter) = reporter {
            reporter.report(signal);
        }
    }

    fn extras_if_any(&self) -> Option<MutexGuard<'_, Extras>> {
        self.has_extras().then(|| self.extras())
    }
}

impl Task {
    /// A linked life has ended: stops this one, unless the end was normal or is trapped.
    pub(super) fn link_broke(&self, down: &Down) {
        let mut extras = self.extras();
        extras.bonds.links.retain(|&(linked, _)| linked != down.id);
        let trap = extras.bonds.trap.clone();
        drop(extras);
        if let Some(trap) = trap {
            quietly(|| trap(down.clone()));
        } else if down.exit.is_abnormal() {
            self.order(Order::Broken(Exit::Linked { id: down.id, name: down.name }));
        }
    }

    /// Stops with the system: what is supervised is left to its supervisor.
    pub(crate) fn stop_from_top(&self) {
        let place = self.extras_if_any().map(|extras| match extras.bonds.place {
            Place::Free => Some(false),
            Place::Root => Some(true),
            Place::Child(_) => None,
        });
        match place {
            None | Some(Some(false)) => self.stop(),
            Some(Some(true)) => Signal::Stop.give(self),
            Some(None) => {}
        }
    }
}

impl Header {
    /// True if the link to `id` was still there to be taken.
    pub(super) fn takes_link(&self, id: u64) -> bool {
        let mut extras = self.extras();
        let links = &mut extras.bonds.links;
        let place = links.iter().position(|&(linked, _)| linked == id);
        place.map(|place| links.swap_remove(place)).is_some()
    }
}

impl fmt::Debug for WeakTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakTask").finish_non_exhaustive()
    }
}
