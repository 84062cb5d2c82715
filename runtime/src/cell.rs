//! The cell of a process: one allocation with its state, its mailbox and its body.
//!
//! Sync actors and async processes live in the same cell and are woken the same way. Addresses and
//! wakers count as holders of the cell; a process that waits and that none of them holds can never
//! run again, and is dropped. One that is queued or runs is not dropped before it waits.
//!
//! ```text
//! Cell<M, B> = Front<M> { Header { queue, counts, vtable, .. }, overflow rule }, body: B
//! Task -> Header      Address<M> -> Front<M>      both one word, both count
//! Run  -> Header      what is in run queues       one word, does not count
//! ```
//!
//! # Invariants
//!
//! - C1: a process is in at most one run queue (Q1 of `queue`).
//! - C2: only the thread that took it from a run queue touches its body and takes its letters,
//!   until it has gone idle, parked, or back into a run queue. It holds a [`Turn`] meanwhile.
//! - C3: the contents of a cell live as long as `strong` is not zero, its memory as long as `weak`
//!   is not; all strong holders together hold one weak.
//! - C4: while a process is queued or runs, `strong` is not zero: the last holder of such a one
//!   gives its place in the count to the process, by a mark in the queue's word, past which it
//!   cannot go to wait. It takes the place off then, waits, and drops it. So a run reaches the cell
//!   until the process waits, and not after.
#![allow(unsafe_code, reason = "the body is reached without a lock, which C1 and C2 allow")]

use std::{
    mem::{self, ManuallyDrop},
    ptr::{self, NonNull},
    sync::atomic::AtomicU64 as Count,
};

use crate::{
    address::Address,
    class::Class,
    mailbox::{By, Load, Mailbox, MailboxSpec, Rule},
    message::Message,
    queue::{Before, Letter, Queue, Taken},
    share::Share,
    status::Exit,
    sync::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, UnsafeCell},
    system::System,
    time::Time,
};

mod header;
#[cfg(all(test, evenkeel_loom))]
mod loom_tests;
mod run;
mod task;
mod turn;

use self::task::{Counts, LazyExtras, memory};
pub(crate) use self::{
    run::{After, Run, RunSlot, RunStack},
    task::{Extras, Order, Task, WeakTask, quietly, said_by},
    turn::{Turn, current_process, current_turn, forget_current},
};

/// How a body ends a turn.
pub(crate) enum Verdict {
    /// Nothing to do until a message comes, or a wake-up.
    Idle,
    /// Nothing to do until a wake-up; messages wait with it.
    Parked,
    /// The same for a future: woken meanwhile, it lets others run first.
    Pending {
        /// It waits for a message too.
        takes_messages: bool,
    },
    /// More to do.
    Again,
    Done(Exit),
}

/// A verdict as it leaves the cell.
enum Ended {
    Waits(Wait),
    Again,
    /// All is dropped, and a holder counted.
    Done,
}

/// For what a process waits.
#[derive(Clone, Copy)]
enum Wait {
    Idle,
    Parked,
    /// A future that takes messages, and one that does not.
    Pending,
    PendingParked,
}

/// What runs in a cell: an actor with its factory, or a future.
pub(crate) trait Body<M: Message>: Send + 'static {
    /// True if there is nothing to do before the first message.
    fn is_born_idle(&self) -> bool {
        false
    }

    fn turn(&mut self, turn: &Turn<'_, M>) -> Verdict;
}

impl<M: Message> Body<M> for Box<dyn Body<M>> {
    fn is_born_idle(&self) -> bool {
        (**self).is_born_idle()
    }

    fn turn(&mut self, turn: &Turn<'_, M>) -> Verdict {
        (**self).turn(turn)
    }
}

/// What a process is called and where it belongs; given at spawn.
pub(crate) struct Identity {
    pub(crate) id: u64,
    pub(crate) name: &'static str,
    pub(crate) class: Class,
    /// Boxed, because most have none.
    pub(crate) terms: Option<Box<Terms>>,
    /// Place in the registry.
    pub(crate) spot: u32,
}

/// What sets a process apart from others of its class.
pub(crate) struct Terms {
    /// Until when it goes before them; never if [`Time::MAX`].
    pub(crate) deadline: Time,
    /// With whom it shares its quantum.
    pub(crate) share: Option<Share>,
}

impl Identity {
    #[inline]
    pub(crate) fn deadline(&self) -> Time {
        self.terms.as_deref().map_or(Time::MAX, |terms| terms.deadline)
    }

    #[inline]
    pub(crate) fn share(&self) -> Option<&Share> {
        self.terms.as_deref()?.share.as_ref()
    }
}

/// The identity of a process that is born; written once. A lock would cost two locked instructions.
struct Born {
    is_set: AtomicBool,
    identity: UnsafeCell<Option<Identity>>,
}

// SAFETY: it is written once, before `is_set` (release), and read after that (acquire) alone.
unsafe impl Sync for Born {}

impl Born {
    fn new() -> Self {
        Self { is_set: AtomicBool::new(false), identity: UnsafeCell::new(None) }
    }

    #[inline]
    fn get(&self) -> Option<&Identity> {
        if !self.is_set.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: whoever reads the mark sees what was written before it, which is an identity, and
        // nobody writes after.
        Some(self.identity.with(|identity| unsafe { (*identity).as_ref().unwrap_unchecked() }))
    }

    /// # Safety
    ///
    /// Nobody else calls this, before or meanwhile.
    unsafe fn set(&self, identity: Identity) {
        assert!(!self.is_set.load(Ordering::Relaxed), "a mailbox is given to one process");
        // SAFETY: as the caller says, and without the mark nobody reads it.
        self.identity.with_mut(|place| unsafe { *place = Some(identity) });
        self.is_set.store(true, Ordering::Release);
    }
}

struct VTable {
    is_born_idle: unsafe fn(NonNull<Header>) -> bool,
    turn: unsafe fn(NonNull<Header>) -> Ended,
    leave: unsafe fn(NonNull<Header>, Wait) -> bool,
    end: unsafe fn(NonNull<Header>, &Exit),
    close: unsafe fn(NonNull<Header>),
    load: unsafe fn(NonNull<Header>) -> Load,
    drop: unsafe fn(NonNull<Header>),
    free: unsafe fn(NonNull<Header>),
}

/// The part of a cell that does not depend on its messages.
#[repr(C)]
pub(crate) struct Header {
    /// What senders write.
    queue: Queue,
    pub(crate) system: System,
    vtable: &'static VTable,
    identity: Born,
    // What the owner of the turn writes (C2), message by message: a cache line away from the queue,
    // wherever the cell lies.
    taken: Taken,
    /// Reductions used since it was woken.
    used: AtomicU32,
    /// Reductions used beyond its quanta.
    pub(crate) debt: AtomicU32,
    /// Reductions of all its turns, for statistics. Written by the owner of the turn.
    pub(crate) reductions: AtomicU64,
    counts: Counts,
    /// Asked to stop at the next message boundary.
    is_stopping: AtomicBool,
    has_orders: AtomicBool,
    is_done: AtomicBool,
    /// Has used up a quantum since it was woken. Touched by its owner (C2).
    is_spent: AtomicBool,
    /// Counts restarts: what an earlier life has ordered does not reach a later one.
    pub(crate) generation: AtomicU32,
    /// The run below this one in a [`RunStack`]. Touched by who queues it (C1).
    below: AtomicPtr<Header>,
    /// When it became runnable, in nanoseconds; on threads. Touched by who queues it (C1).
    since: Count,
    extras: LazyExtras,
}

/// Wherever the cell lies, these are on two cache lines.
#[cfg(not(evenkeel_loom))]
const _: () = {
    let queue_ends = mem::offset_of!(Header, queue) + size_of::<Queue>();
    assert!(mem::offset_of!(Header, taken) - queue_ends >= 64);
};

/// What senders see of a cell.
#[repr(C)]
pub(crate) struct Front<M> {
    header: Header,
    rule: Rule<M>,
}

/// A process that takes messages of type `M`.
#[repr(C)]
struct Cell<M, B> {
    front: Front<M>,
    /// `None` before birth and after the end.
    body: UnsafeCell<Option<B>>,
}

// --- cells ---------------------------------------------------------------------------------

/// A cell with nobody in it yet.
pub(crate) fn vacant<M: Message>(system: System, spec: &MailboxSpec) -> Address<M> {
    Cell::<M, Box<dyn Body<M>>>::make(system, spec, None)
}

/// A cell with its body, to be born.
pub(crate) fn occupied<M: Message, B: Body<M>>(
    system: System,
    spec: &MailboxSpec,
    body: B,
) -> Address<M> {
    Cell::<M, B>::make(system, spec, Some(body))
}

/// Puts the body into the cell of a mailbox, which was made without one.
pub(crate) fn settle<M: Message>(mailbox: Mailbox<M>, body: Box<dyn Body<M>>) -> Address<M> {
    let address = mailbox.into_address();
    let cell = address.task().0.cast::<Cell<M, Box<dyn Body<M>>>>();
    // SAFETY: mailboxes are made of cells from `vacant` alone, so the type is right; and of each
    // there is one, which is consumed here, so nobody else reaches the body before birth.
    unsafe { cell.as_ref() }.body.with_mut(|slot| unsafe { *slot = Some(body) });
    address
}

/// Lets a process that has its body begin: `queued`, unless it is born idle.
pub(crate) fn give_birth(process: &Task, is_queued: bool, identity: Identity) {
    // SAFETY: a mailbox is given to one process, by who consumes it, and a cell that is made with
    // its body is born by who made it; so nobody else does this, before or meanwhile.
    unsafe { process.identity.set(identity) };
    // An unborn cell counts as queued: senders have not scheduled it, nor will they until it idles.
    if is_queued || !process.queue.try_idle_unborn() {
        process.activate();
    }
}

/// True if there is nothing to do before the first message, for a process that is not born.
pub(crate) fn is_born_idle(process: &Task) -> bool {
    // SAFETY: the vtable is this cell's, and an unborn process has no turn that anybody could own.
    unsafe { (process.vtable.is_born_idle)(process.0) }
}

/// Closes a mailbox that was never given to a process, or to one that was not born.
pub(crate) fn abandon<M: Message>(mailbox: &Address<M>) {
    let front = mailbox.front();
    // SAFETY: there is no process that could own a turn, and none will be made.
    let (letters, locked, ..) = unsafe { shut(front) };
    front.header.set_done();
    front.header.bury_all(letters, locked);
    front.header.tell_exits(&Exit::NoProcess);
}

/// Refuses everything from now on and hands out what waited; with what the process was doing, and
/// if it had got a holder, which is the caller's now.
///
/// # Safety
///
/// The caller owns the turn, or knows that nobody does.
unsafe fn shut<M: Message>(front: &Front<M>) -> (Vec<Letter<M>>, Vec<M>, Before, bool) {
    let locked = match front.rule.by() {
        By::Locked(locked) => locked.close_and_drain(),
        By::Reject | By::DropNew | By::Await(_) => Vec::new(),
    };
    // SAFETY: as the caller says; the front is of type `M`.
    let (letters, before, is_heir) = unsafe { front.header.queue.shut::<M>(&front.header.taken) };
    if let By::Await(room) = front.rule.by() {
        room.announce(usize::MAX);
    }
    (letters, locked, before, is_heir)
}

impl<M: Message, B: Body<M>> Cell<M, B> {
    const VTABLE: VTable = VTable {
        is_born_idle: Self::is_born_idle,
        turn: Self::turn,
        leave: Self::leave,
        end: Self::end,
        close: Self::close,
        load: Self::load,
        drop: Self::drop_contents,
        free: Self::free,
    };

    fn make(system: System, spec: &MailboxSpec, body: Option<B>) -> Address<M> {
        assert!(spec.items_max > 0, "mailbox {} has no room for any message", spec.name);
        let rule = Rule::new(spec);
        let header = Header {
            queue: Queue::new(spec.items_max, spec.bytes_max, rule.is_plain()),
            system,
            vtable: &Self::VTABLE,
            identity: Born::new(),
            taken: Taken::new(spec.items_max, spec.bytes_max),
            used: AtomicU32::new(0),
            debt: AtomicU32::new(0),
            reductions: AtomicU64::new(0),
            counts: Counts::new(),
            is_stopping: AtomicBool::new(false),
            has_orders: AtomicBool::new(false),
            is_done: AtomicBool::new(false),
            is_spent: AtomicBool::new(false),
            generation: AtomicU32::new(0),
            below: AtomicPtr::new(ptr::null_mut()),
            since: Count::new(0),
            extras: LazyExtras::new(),
        };
        let front = Front { header, rule };
        let cell = memory::place(Self { front, body: UnsafeCell::new(body) });
        Address::new(Task(cell.cast()))
    }

    /// # Safety
    ///
    /// The header is that of a `Cell<M, B>` whose contents live.
    #[inline]
    unsafe fn of<'a>(header: NonNull<Header>) -> &'a Self {
        // SAFETY: as the caller says; the header comes first in the cell.
        unsafe { header.cast::<Self>().as_ref() }
    }

    /// # Safety
    ///
    /// The header is of this cell type, and the process is not born.
    unsafe fn is_born_idle(header: NonNull<Header>) -> bool {
        // SAFETY: as the caller says; so nobody owns a turn.
        let cell = unsafe { Self::of(header) };
        // SAFETY: as above.
        cell.body.with_mut(|body| unsafe { &*body }.as_ref().is_some_and(B::is_born_idle))
    }

    /// # Safety
    ///
    /// The header is of this cell type, and the caller owns the turn.
    unsafe fn turn(header: NonNull<Header>) -> Ended {
        // SAFETY: the vtable of this cell led here, and its caller has the run.
        let cell = unsafe { Self::of(header) };
        let me = ManuallyDrop::new(Address::<M>::new(Task(header)));
        turn::running(header, || cell.take_turn(&Turn { me: &me }))
    }

    #[inline]
    fn take_turn(&self, turn: &Turn<'_, M>) -> Ended {
        turn.clear_woken();
        let verdict = self.body.with_mut(|body| {
            // SAFETY: this thread owns the turn (C2).
            let body = unsafe { &mut *body };
            body.as_mut().expect("a process that is not done has a body").turn(turn)
        });
        turn.settle();
        match verdict {
            Verdict::Idle => Ended::Waits(Wait::Idle),
            Verdict::Parked => Ended::Waits(Wait::Parked),
            Verdict::Pending { takes_messages: true } => Ended::Waits(Wait::Pending),
            Verdict::Pending { takes_messages: false } => Ended::Waits(Wait::PendingParked),
            Verdict::Again => Ended::Again,
            Verdict::Done(exit) => {
                // Without a turn it is no run any more that keeps the cell; see `Ended::Done`.
                let _counted = ManuallyDrop::new(Task::clone(turn.me().task()));
                // SAFETY: this thread owns the turn, and the cell is of this type.
                unsafe { Self::end(NonNull::from(&self.front.header), &exit) };
                Ended::Done
            }
        }
    }

    /// Goes idle or parks; false if it was woken meanwhile, or has got a holder. After `true` the
    /// process may run elsewhere already, or be gone.
    ///
    /// # Safety
    ///
    /// The header is of this cell type, and the caller owns the turn, which ended like this.
    unsafe fn leave(header: NonNull<Header>, wait: Wait) -> bool {
        // SAFETY: as the caller says.
        let header = unsafe { &Self::of(header).front.header };
        let (used, is_spent) = (header.used.load(Ordering::Relaxed), header.is_spent());
        header.used.store(0, Ordering::Relaxed);
        header.is_spent.store(false, Ordering::Relaxed);
        // One that shares leaves after it waits, so it is held until then.
        let sharer = header.identity().share().is_some().then(|| {
            let me = ManuallyDrop::new(Task(NonNull::from(header)));
            Task::clone(&me)
        });
        let waits = match wait {
            // SAFETY: this thread owns the turn (C2), and the cell is of this type.
            Wait::Idle | Wait::Pending => unsafe { header.queue.try_idle::<M>(&header.taken) },
            Wait::Parked | Wait::PendingParked => header.queue.try_park(),
        };
        if !waits {
            header.used.store(used, Ordering::Relaxed);
            header.is_spent.store(is_spent, Ordering::Relaxed);
        } else if let Some(sharer) = sharer {
            sharer.identity().share().expect("it has one").leave();
        }
        waits
    }

    /// Leaves the stage: drops body and messages, tells who asked.
    ///
    /// # Safety
    ///
    /// The header is of this cell type, and the caller owns the turn or knows that nobody does; and
    /// it holds the process.
    unsafe fn end(header: NonNull<Header>, exit: &Exit) {
        // SAFETY: as the caller says.
        let (cell, (letters, locked, before, is_heir)) = unsafe {
            let cell = Self::of(header);
            (cell, shut(&cell.front))
        };
        // The caller holds the process, so this is not the last holder.
        drop(is_heir.then(|| Task(header)));
        let header = &cell.front.header;
        if before == Before::Shut {
            return;
        }
        header.set_done();
        header.depart(before);
        // What the user has in there may panic when dropped, and may send: last, and each alone.
        // SAFETY: as the caller says; dropped in place, because futures must not move.
        quietly(|| cell.body.with_mut(|body| unsafe { *body = None }));
        header.bury_all(letters, locked);
        header.tell_exits(exit);
    }

    /// # Safety
    ///
    /// The header is of this cell type.
    unsafe fn load(header: NonNull<Header>) -> Load {
        // SAFETY: the vtable of this cell led here.
        let front = unsafe { &Self::of(header).front };
        match front.rule.by() {
            By::Locked(locked) => locked.load(),
            By::Reject | By::DropNew | By::Await(_) => front.header.queue.load(),
        }
    }

    unsafe fn close(header: NonNull<Header>) {
        // SAFETY: the vtable of this cell led here.
        let front = unsafe { &Self::of(header).front };
        front.header.queue.close();
        match front.rule.by() {
            By::Locked(locked) => locked.close(),
            By::Await(room) => room.announce(usize::MAX),
            By::Reject | By::DropNew => {}
        }
    }

    /// # Safety
    ///
    /// Nobody holds the cell any more, and there is no run (C4).
    unsafe fn drop_contents(header: NonNull<Header>) {
        // SAFETY: as the caller says, and nobody owns a turn of what nobody holds.
        let (letters, locked, before, _) = unsafe { shut(&Self::of(header).front) };
        // SAFETY: as above.
        let cell = unsafe { Self::of(header) };
        let front = &cell.front;
        let is_orphan = front.header.identity.get().is_some() && before != Before::Shut;
        if is_orphan {
            front.header.set_done();
            front.header.depart(before);
            front.header.bury_all(letters, locked);
        } else {
            quietly(|| drop((letters, locked)));
        }
        // SAFETY: as above; `tell_exits` comes before the drop of what it reads.
        quietly(|| cell.body.with_mut(|body| unsafe { *body = None }));
        if is_orphan {
            front.header.tell_exits(&Exit::Unreachable);
        }
        // SAFETY: nobody holds the contents, and they are dropped once; the counts have no drop.
        quietly(|| unsafe { ptr::drop_in_place(header.cast::<Self>().as_ptr()) });
    }

    /// # Safety
    ///
    /// The contents are dropped, and nobody needs the memory any more.
    unsafe fn free(header: NonNull<Header>) {
        // SAFETY: `make` placed it, and its contents are dropped by now.
        unsafe { memory::give_back(header.cast::<Self>()) };
    }
}
