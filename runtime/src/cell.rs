//! The cell of a process: one allocation with its state, its mailbox and its body.
//!
//! Sync actors and async processes live in the same cell and are woken the same way. Addresses,
//! wakers and run queues count as holders of the cell; a process that none of them holds can never
//! run again, and is dropped.
//!
//! ```text
//! Cell<M, B> = Front<M> { Header { queue, counts, vtable, .. }, overflow rule }, body: B
//! Task -> Header      Address<M> -> Front<M>      both one word, both count
//! ```
//!
//! # Invariants
//!
//! - C1: a process is in at most one run queue (Q1 of `queue`).
//! - C2: only the thread that took it from a run queue touches its body and takes its letters,
//!   until it has gone idle, parked, or back into a run queue. It holds a [`Turn`] meanwhile.
//! - C3: the contents of a cell live as long as `strong` is not zero, its memory as long as `weak`
//!   is not; all strong holders together hold one weak.
#![allow(unsafe_code, reason = "the body is reached without a lock, which C1 and C2 allow")]

use std::{
    any::TypeId,
    cell::{Cell as ThreadCell, UnsafeCell},
    collections::VecDeque,
    mem::ManuallyDrop,
    ops::Deref,
    process::abort,
    ptr::{self, NonNull},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence},
    },
    task::{RawWaker, RawWakerVTable, Waker},
};

use crate::{
    address::Address,
    budget,
    class::Class,
    dead_letters::{DeadLetter, DeadReason},
    mailbox::{Load, Locked, Mailbox, MailboxSpec, Put, Rule, SendError},
    message::Message,
    queue::{Before, Letter, Queue, Refusal, Weight},
    reply::Reply,
    share::Share,
    status::Exit,
    supervision::{actor::Signal, bonds::Bonds},
    system::System,
};

/// What is to be done with a process after its turn.
pub(crate) enum After {
    /// It waits to be woken.
    Idle,
    /// It has more to do: to be put into a run queue.
    Again,
    Done,
}

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

/// What a process is told by those above it; obeyed at the next message boundary, first come,
/// first served, before any message.
pub(crate) enum Order {
    /// Take no message and do no work until [`Order::Resume`].
    Suspend,
    /// Go on.
    Resume,
    /// End this life at once. Without a supervisor it was the last; what waits is dropped.
    Kill,
    /// A linked process has ended, so this life ends like this.
    Broken(Exit),
    /// By the supervisor: end this life, and wait for the next.
    Halt,
    /// By the supervisor: begin the next life.
    Begin,
    /// By the supervisor: end at once and for good.
    End,
}

/// What a process is called and where it belongs; given at spawn.
pub(crate) struct Identity {
    pub(crate) id: u64,
    pub(crate) name: &'static str,
    pub(crate) class: Class,
    pub(crate) share: Option<Share>,
    /// Place in the registry.
    pub(crate) spot: u32,
}

/// What most processes never need.
#[derive(Default)]
pub(crate) struct Extras {
    /// Who is told when the process ends.
    pub(crate) exits: Vec<Reply<Exit>>,
    orders: VecDeque<Order>,
    pub(crate) bonds: Bonds,
}

struct VTable {
    is_born_idle: unsafe fn(NonNull<Header>) -> bool,
    run: unsafe fn(NonNull<Header>) -> After,
    end: unsafe fn(NonNull<Header>, &Exit),
    close: unsafe fn(NonNull<Header>),
    load: unsafe fn(NonNull<Header>) -> Load,
    drop: unsafe fn(NonNull<Header>),
    free: unsafe fn(NonNull<Header>),
}

/// The part of a cell that does not depend on its messages.
#[repr(C)]
pub(crate) struct Header {
    queue: Queue,
    vtable: &'static VTable,
    strong: AtomicU32,
    weak: AtomicU32,
    /// Asked to stop at the next message boundary.
    is_stopping: AtomicBool,
    has_orders: AtomicBool,
    is_done: AtomicBool,
    /// Has used up a quantum since it was woken. Touched by its owner (C2).
    is_spent: AtomicBool,
    /// Reductions used since it was woken. Touched by its owner (C2).
    used: AtomicU32,
    /// Reductions used beyond its quanta. Touched by its owner (C2).
    pub(crate) debt: AtomicU32,
    /// Reductions of all its turns, for statistics: a turn is missed now and then when the next one
    /// is booked by another worker at the same moment.
    pub(crate) reductions: AtomicU64,
    /// Counts restarts: what an earlier life has ordered does not reach a later one.
    pub(crate) generation: AtomicU32,
    /// The task below this one in a [`TaskStack`]. Touched by who queues it (C1).
    below: AtomicPtr<Header>,
    identity: OnceLock<Identity>,
    extras: OnceLock<Box<Mutex<Extras>>>,
    pub(crate) system: System,
}

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

// --- holders -------------------------------------------------------------------------------

/// A process as run queues see it; counts as a holder.
pub(crate) struct Task(NonNull<Header>);

// SAFETY: what a task reaches is the header, which is Sync (atomics, locks, once-cells, and a queue
// that is), and through the vtable the cell, which C1 and C2 give to one thread at a time; messages
// and bodies are Send.
unsafe impl Send for Task {}
// SAFETY: as above.
unsafe impl Sync for Task {}

impl Deref for Task {
    type Target = Header;

    #[inline]
    fn deref(&self) -> &Header {
        // SAFETY: a holder keeps the cell alive (C3).
        unsafe { self.0.as_ref() }
    }
}

impl Clone for Task {
    #[inline]
    fn clone(&self) -> Self {
        let before = self.strong.fetch_add(1, Ordering::Relaxed);
        // As `Arc`: somebody forgets holders in a loop, and counting on would free what is in use.
        if before > u32::MAX / 2 {
            abort();
        }
        Self(self.0)
    }
}

impl Drop for Task {
    #[inline]
    fn drop(&mut self) {
        if self.strong.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            let weak = WeakTask(self.0);
            // SAFETY: the last holder is gone, so nobody can reach the contents any more (C3).
            unsafe { (self.vtable.drop)(self.0) };
            drop(weak);
        }
    }
}

/// Keeps a cell's memory, not its contents.
pub(crate) struct WeakTask(NonNull<Header>);

// SAFETY: only the counts are reached through it, and contents after an upgrade, as by a `Task`.
unsafe impl Send for WeakTask {}
// SAFETY: as above.
unsafe impl Sync for WeakTask {}

impl WeakTask {
    /// The count of holders, without a reference to the contents, which may be gone.
    fn strong(&self) -> &AtomicU32 {
        // SAFETY: the memory is there (C3).
        let strong = unsafe { &raw const (*self.0.as_ptr()).strong };
        // SAFETY: as above; the counts have no contents that could be dropped.
        unsafe { &*strong }
    }

    /// The process, if anybody still holds it.
    pub(crate) fn upgrade(&self) -> Option<Task> {
        let increment = |count: u32| (count > 0).then_some(count + 1);
        let held = self.strong().fetch_update(Ordering::Acquire, Ordering::Relaxed, increment);
        held.is_ok().then_some(Task(self.0))
    }

    /// True if anybody still holds the process.
    pub(crate) fn is_alive(&self) -> bool {
        self.strong().load(Ordering::Relaxed) > 0
    }

    /// True if both are the same process.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Drop for WeakTask {
    fn drop(&mut self) {
        let header = self.0.as_ptr();
        // SAFETY: as in `strong`. The function pointer is copied out while the memory is there.
        let (weak, vtable) = unsafe { (&raw const (*header).weak, (*header).vtable) };
        let free = vtable.free;
        // SAFETY: as in `strong`.
        let weak = unsafe { &*weak };
        if weak.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            // SAFETY: the last one that needs the memory is gone (C3).
            unsafe { free(self.0) };
        }
    }
}

impl Task {
    pub(crate) fn downgrade(&self) -> WeakTask {
        self.weak.fetch_add(1, Ordering::Relaxed);
        WeakTask(self.0)
    }

    /// Runs one turn.
    ///
    /// Only for who has taken the task from a run queue (C2); nothing else hands out tasks that
    /// are queued, so this is not marked unsafe within the crate.
    #[inline]
    pub(crate) fn run(&self) -> After {
        // SAFETY: the caller owns the turn.
        unsafe { (self.vtable.run)(self.0) }
    }

    /// Ends a process that no thread runs any more, when the system stops.
    pub(crate) fn finish(&self) {
        if self.identity.get().is_some() && !self.is_done() {
            // SAFETY: the workers have ended, so nobody owns the turn.
            unsafe { (self.vtable.end)(self.0, &Exit::Stopped) };
        }
    }

    /// What waits in the mailbox.
    pub(crate) fn load(&self) -> Load {
        // SAFETY: the vtable is this cell's.
        unsafe { (self.vtable.load)(self.0) }
    }

    /// Refuses new messages.
    pub(crate) fn close(&self) {
        // SAFETY: the vtable is this cell's.
        unsafe { (self.vtable.close)(self.0) };
    }

    /// Makes the process runnable if it is not.
    pub(crate) fn wake_up(&self) {
        if self.queue.wake() {
            self.activate();
        }
    }

    /// Asks the process to end at the next message boundary.
    pub(crate) fn stop(&self) {
        self.close();
        self.is_stopping.store(true, Ordering::Release);
        self.wake_up();
    }

    /// Gives an order; nothing happens to a process that has ended.
    pub(crate) fn order(&self, order: Order) {
        self.extras().orders.push_back(order);
        self.has_orders.store(true, Ordering::Release);
        self.wake_up();
    }

    /// Puts a process that waited into a run queue.
    #[inline]
    fn activate(&self) {
        if let Some(share) = &self.identity().share {
            share.enter();
        }
        self.system.schedule(self.clone());
    }

    pub(crate) fn waker(&self) -> Waker {
        let data = ManuallyDrop::new(self.clone()).0.as_ptr() as *const ();
        // SAFETY: the functions below keep the contract: the data is a task that counts.
        unsafe { Waker::from_raw(RawWaker::new(data, &WAKER)) }
    }
}

static WAKER: RawWakerVTable = RawWakerVTable::new(
    |data| RawWaker::new(ManuallyDrop::new(borrow(data).clone()).0.as_ptr() as *const (), &WAKER),
    |data| ManuallyDrop::into_inner(borrow(data)).wake_up(),
    |data| borrow(data).wake_up(),
    |data| drop(ManuallyDrop::into_inner(borrow(data))),
);

/// The task behind a waker's data, still counted there.
fn borrow(data: *const ()) -> ManuallyDrop<Task> {
    let header = NonNull::new(data as *mut Header).expect("wakers are made of tasks");
    ManuallyDrop::new(Task(header))
}

// --- runnable tasks from elsewhere ---------------------------------------------------------

/// Tasks made runnable by threads that have no queue of their own: pushed by anybody, taken whole.
pub(crate) struct TaskStack(AtomicPtr<Header>);

impl TaskStack {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Ordering::SeqCst).is_null()
    }

    pub(crate) fn push(&self, task: Task) {
        let task = ManuallyDrop::new(task);
        let mut top = self.0.load(Ordering::Relaxed);
        loop {
            task.below.store(top, Ordering::Relaxed);
            let order = (Ordering::AcqRel, Ordering::Relaxed);
            match self.0.compare_exchange_weak(top, task.0.as_ptr(), order.0, order.1) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }

    /// Hands out all tasks, in the order they came.
    pub(crate) fn take(&self, mut each: impl FnMut(Task)) {
        let mut newest = self.0.swap(ptr::null_mut(), Ordering::AcqRel);
        let mut oldest = ptr::null_mut::<Header>();
        while let Some(task) = NonNull::new(newest) {
            // SAFETY: what lies in the stack is counted, and was taken whole.
            let below = &unsafe { task.as_ref() }.below;
            newest = below.load(Ordering::Relaxed);
            below.store(oldest, Ordering::Relaxed);
            oldest = task.as_ptr();
        }
        while let Some(task) = NonNull::new(oldest) {
            // SAFETY: as above; read before the task is handed out and may be pushed again.
            oldest = unsafe { task.as_ref() }.below.load(Ordering::Relaxed);
            each(Task(task));
        }
    }
}

impl Drop for TaskStack {
    fn drop(&mut self) {
        self.take(drop);
    }
}

// --- the header ----------------------------------------------------------------------------

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

    /// Adds a turn to the statistics. Without a locked instruction: they may miss one.
    #[inline]
    pub(crate) fn count(&self, used: u64) {
        let before = self.reductions.load(Ordering::Relaxed);
        self.reductions.store(before.wrapping_add(used), Ordering::Relaxed);
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.is_spent.load(Ordering::Relaxed)
    }

    /// `None` for a mailbox that was not given to a process yet.
    pub(crate) fn spawned(&self) -> Option<&Identity> {
        self.identity.get()
    }

    pub(crate) fn extras(&self) -> MutexGuard<'_, Extras> {
        let extras = self.extras.get_or_init(Box::default);
        // Pairs with the fence in `set_done`: who comes with a bond sees that the process is done,
        // or its end sees the bond.
        fence(Ordering::SeqCst);
        // Nothing of the user's runs under the lock.
        extras.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has_extras(&self) -> bool {
        self.extras.get().is_some()
    }

    fn set_done(&self) {
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
    pub(crate) fn next_order(&self) -> Option<Order> {
        if !self.has_orders.load(Ordering::Acquire) {
            return None;
        }
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
        self.identity().share.as_ref().map_or(crate::limits::QUANTUM_REDUCTIONS, Share::quantum)
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
    fn tell_exits(&self, exit: &Exit) {
        self.life_over(exit, false);
        self.process_over(exit);
    }

    fn bury_all<M: Message>(&self, letters: Vec<Letter<M>>, locked: Vec<M>) {
        for letter in letters {
            self.bury(letter.open().0, DeadReason::Ended);
        }
        for message in locked {
            self.bury(message, DeadReason::Ended);
        }
    }

    /// Gives up the place in the share, which only who runs or wants to run has, and in the
    /// registry.
    fn depart(&self, before: Before) {
        let identity = self.identity();
        if let Some(share) = identity.share.as_ref().filter(|_| before == Before::Awake) {
            share.leave();
        }
        self.system.leave(identity.spot);
    }
}

// --- addresses -----------------------------------------------------------------------------

impl<M: Message> Address<M> {
    #[inline]
    fn front(&self) -> &Front<M> {
        // SAFETY: an address is made only of cells that take messages of type `M`, in which the
        // front, and in it the header, come first.
        unsafe { self.task().0.cast::<Front<M>>().as_ref() }
    }

    /// Sends a message by the mailbox's rule.
    #[inline]
    pub(crate) fn put(&self, message: M) -> Result<(), SendError<M>> {
        let front = self.front();
        if let Rule::Locked(locked) = &front.rule {
            return self.put_locked(locked, message);
        }
        let weight = Weight::of_bytes(message.size_bytes());
        match front.header.queue.reserve(weight) {
            Ok(()) => self.push(message, weight).map_err(SendError::Closed),
            Err(Refusal::Closed) => Err(SendError::Closed(message)),
            Err(Refusal::Full) if matches!(front.rule, Rule::DropNew) => {
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
        let refused = match &front.rule {
            Rule::Locked(locked) => {
                let put = locked.put_ordered(life, message);
                if put.is_ok() {
                    self.task().wake_up();
                }
                put
            }
            Rule::Reject | Rule::DropNew | Rule::Await(_) => {
                self.push(message, Weight::ordered(life))
            }
        };
        match refused {
            Ok(()) => true,
            Err(message) => {
                front.header.bury(message, DeadReason::Ended);
                false
            }
        }
    }

    pub(crate) fn rule(&self) -> &Rule<M> {
        &self.front().rule
    }

    pub(crate) fn len(&self) -> usize {
        match &self.front().rule {
            Rule::Locked(locked) => locked.len(),
            Rule::Reject | Rule::DropNew | Rule::Await(_) => self.front().header.queue.len(),
        }
    }
}

// --- turns ---------------------------------------------------------------------------------

thread_local! {
    /// The cell whose turn this thread runs.
    static CURRENT: ThreadCell<*const Header> = const { ThreadCell::new(ptr::null()) };
}

/// True if this thread runs a turn of `process`.
pub(crate) fn is_current(process: &Task) -> bool {
    CURRENT.with(|current| ptr::eq(current.get(), process.0.as_ptr()))
}

/// The right to take a process's messages, held by who runs its turn (C2).
pub(crate) struct Turn<'a, M: Message> {
    me: &'a Address<M>,
}

impl<M: Message> Turn<'_, M> {
    pub(crate) const fn me(&self) -> &Address<M> {
        self.me
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        self.me.task()
    }

    /// The oldest message; what an earlier life has ordered is not among them.
    #[inline]
    pub(crate) fn pop(&self) -> Option<M> {
        loop {
            let (message, ordered_by) = self.pop_any()?;
            let header = self.header();
            // Written by the owner of the turn alone.
            match ordered_by {
                Some(life) if life != header.generation.load(Ordering::Relaxed) => {
                    header.bury(message, DeadReason::EarlierLife);
                }
                Some(_) | None => return Some(message),
            }
        }
    }

    #[inline]
    fn pop_any(&self) -> Option<(M, Option<u32>)> {
        let front = self.me.front();
        match &front.rule {
            Rule::Locked(locked) => locked.pop(),
            Rule::Reject | Rule::DropNew | Rule::Await(_) => {
                // SAFETY: a `Turn` is held by the owner of the turn, and the address says the type.
                let (message, weight) = unsafe { front.header.queue.pop() }?;
                if let Rule::Await(room) = &front.rule {
                    room.announce(if front.header.queue.len() == 0 { usize::MAX } else { 1 });
                }
                Some((message, weight.life()))
            }
        }
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
    unsafe { *cell.as_ref().body.get() = Some(body) };
    address
}

/// Lets a process that has its body begin.
pub(crate) fn give_birth(process: &Task, identity: Identity) {
    let is_first = process.identity.set(identity).is_ok();
    assert!(is_first, "a mailbox is given to one process");
    // SAFETY: the vtable is this cell's, and an unborn process has no turn that anybody could own.
    let is_idle = unsafe { (process.vtable.is_born_idle)(process.0) };
    // An unborn cell counts as queued: senders have not scheduled it, nor will they until it idles.
    if !(is_idle && process.queue.try_idle()) {
        process.activate();
    }
}

/// Closes a mailbox that was never given to a process, or to one that was not born.
pub(crate) fn abandon<M: Message>(mailbox: &Address<M>) {
    let front = mailbox.front();
    // SAFETY: there is no process that could own a turn, and none will be made.
    let (letters, locked, _) = unsafe { shut(front) };
    front.header.set_done();
    front.header.bury_all(letters, locked);
    front.header.tell_exits(&Exit::NoProcess);
}

/// Refuses everything from now on and hands out what waited.
///
/// # Safety
///
/// The caller owns the turn, or knows that nobody does.
unsafe fn shut<M: Message>(front: &Front<M>) -> (Vec<Letter<M>>, Vec<M>, Before) {
    let locked = match &front.rule {
        Rule::Locked(locked) => locked.close_and_drain(),
        Rule::Reject | Rule::DropNew | Rule::Await(_) => Vec::new(),
    };
    // SAFETY: as the caller says; the front is of type `M`.
    let (letters, before) = unsafe { front.header.queue.shut::<M>() };
    if let Rule::Await(room) = &front.rule {
        room.announce(usize::MAX);
    }
    (letters, locked, before)
}

impl<M: Message, B: Body<M>> Cell<M, B> {
    const VTABLE: VTable = VTable {
        is_born_idle: Self::is_born_idle,
        run: Self::run,
        end: Self::end,
        close: Self::close,
        load: Self::load,
        drop: Self::drop_contents,
        free: Self::free,
    };

    fn make(system: System, spec: &MailboxSpec, body: Option<B>) -> Address<M> {
        assert!(spec.items_max > 0, "mailbox {} has no room for any message", spec.name);
        let header = Header {
            queue: Queue::new(spec.items_max, spec.bytes_max),
            vtable: &Self::VTABLE,
            strong: AtomicU32::new(1),
            weak: AtomicU32::new(1),
            is_stopping: AtomicBool::new(false),
            has_orders: AtomicBool::new(false),
            is_done: AtomicBool::new(false),
            is_spent: AtomicBool::new(false),
            used: AtomicU32::new(0),
            debt: AtomicU32::new(0),
            reductions: AtomicU64::new(0),
            generation: AtomicU32::new(0),
            below: AtomicPtr::new(ptr::null_mut()),
            identity: OnceLock::new(),
            extras: OnceLock::new(),
            system,
        };
        let front = Front { header, rule: Rule::new(spec) };
        let cell = Box::new(Self { front, body: UnsafeCell::new(body) });
        let header = NonNull::from(Box::leak(cell)).cast::<Header>();
        Address::new(Task(header))
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
        let body = unsafe { &*Self::of(header).body.get() };
        body.as_ref().is_some_and(B::is_born_idle)
    }

    /// # Safety
    ///
    /// The header is of this cell type, and the caller owns the turn.
    unsafe fn run(header: NonNull<Header>) -> After {
        // SAFETY: the vtable of this cell led here, and its caller holds a task.
        let cell = unsafe { Self::of(header) };
        let me = ManuallyDrop::new(Address::<M>::new(Task(header)));
        CURRENT.with(|current| current.set(header.as_ptr()));
        let after = cell.turn(&Turn { me: &me });
        CURRENT.with(|current| current.set(ptr::null()));
        after
    }

    #[inline]
    fn turn(&self, turn: &Turn<'_, M>) -> After {
        let header = &self.front.header;
        turn.clear_woken();
        loop {
            // SAFETY: this thread owns the turn (C2).
            let body = unsafe { &mut *self.body.get() };
            let body = body.as_mut().expect("a process that is not done has a body");
            let verdict = body.turn(turn);
            let (has_left, is_resumable) = match verdict {
                Verdict::Again => return After::Again,
                Verdict::Done(exit) => {
                    // SAFETY: this thread owns the turn, and the cell is of this type.
                    unsafe { Self::end(NonNull::from(header), &exit) };
                    return After::Done;
                }
                Verdict::Idle => (self.leave_stage(Queue::try_idle), true),
                Verdict::Parked => (self.leave_stage(Queue::try_park), true),
                Verdict::Pending { takes_messages: true } => {
                    (self.leave_stage(Queue::try_idle), false)
                }
                Verdict::Pending { takes_messages: false } => {
                    (self.leave_stage(Queue::try_park), false)
                }
            };
            if has_left {
                return After::Idle;
            }
            // Woken meanwhile. An actor goes on within its quantum; a future that woke itself
            // wants others to run first.
            if !is_resumable || budget::left() == 0 {
                return After::Again;
            }
            turn.clear_woken();
        }
    }

    /// Goes idle or parks. After `true` the process may run elsewhere already.
    #[inline]
    fn leave_stage(&self, wait: impl FnOnce(&Queue) -> bool) -> bool {
        let header = &self.front.header;
        let (used, is_spent) = (header.used.load(Ordering::Relaxed), header.is_spent());
        header.used.store(0, Ordering::Relaxed);
        header.is_spent.store(false, Ordering::Relaxed);
        let share = header.identity().share.as_ref();
        if wait(&header.queue) {
            // The caller's task keeps the cell, and with it the share.
            if let Some(share) = share {
                share.leave();
            }
            return true;
        }
        header.used.store(used, Ordering::Relaxed);
        header.is_spent.store(is_spent, Ordering::Relaxed);
        false
    }

    /// Leaves the stage: drops body and messages, tells who asked.
    ///
    /// # Safety
    ///
    /// The header is of this cell type, and the caller owns the turn or knows that nobody does.
    unsafe fn end(header: NonNull<Header>, exit: &Exit) {
        // SAFETY: as the caller says.
        let (cell, (letters, locked, before)) = unsafe {
            let cell = Self::of(header);
            (cell, shut(&cell.front))
        };
        let header = &cell.front.header;
        if before == Before::Shut {
            return;
        }
        header.set_done();
        header.depart(before);
        // What the user has in there may panic when dropped, and may send: last, and each alone.
        // SAFETY: as the caller says; dropped in place, because futures must not move.
        quietly(|| unsafe { *cell.body.get() = None });
        header.bury_all(letters, locked);
        header.tell_exits(exit);
    }

    /// # Safety
    ///
    /// The header is of this cell type.
    unsafe fn load(header: NonNull<Header>) -> Load {
        // SAFETY: the vtable of this cell led here.
        let front = unsafe { &Self::of(header).front };
        match &front.rule {
            Rule::Locked(locked) => locked.load(),
            Rule::Reject | Rule::DropNew | Rule::Await(_) => front.header.queue.load(),
        }
    }

    unsafe fn close(header: NonNull<Header>) {
        // SAFETY: the vtable of this cell led here.
        let front = unsafe { &Self::of(header).front };
        front.header.queue.close();
        match &front.rule {
            Rule::Locked(locked) => locked.close(),
            Rule::Await(room) => room.announce(usize::MAX),
            Rule::Reject | Rule::DropNew => {}
        }
    }

    /// # Safety
    ///
    /// Nobody holds the cell any more: the last address of an idle process is gone, or the queue
    /// that held it was dropped with its system.
    unsafe fn drop_contents(header: NonNull<Header>) {
        // SAFETY: as the caller says, and nobody owns a turn of what nobody holds.
        let (letters, locked, before) = unsafe { shut(&Self::of(header).front) };
        // SAFETY: as above.
        let front = unsafe { &Self::of(header).front };
        let is_orphan = front.header.identity.get().is_some() && before != Before::Shut;
        if is_orphan {
            front.header.set_done();
            front.header.depart(before);
            front.header.bury_all(letters, locked);
        } else {
            quietly(|| drop((letters, locked)));
        }
        // SAFETY: as above; `tell_exits` comes before the drop of what it reads.
        quietly(|| unsafe { *Self::of(header).body.get() = None });
        if is_orphan {
            front.header.tell_exits(&Exit::Unreachable);
        }
        // SAFETY: nobody holds the contents, and they are dropped once; the counts have no drop.
        unsafe { ptr::drop_in_place(header.cast::<Self>().as_ptr()) };
    }

    /// # Safety
    ///
    /// The contents are dropped, and nobody needs the memory any more.
    unsafe fn free(header: NonNull<Header>) {
        let cell = header.cast::<ManuallyDrop<Self>>().as_ptr();
        // SAFETY: `make` leaked a box of this layout, whose contents are dropped by now.
        drop(unsafe { Box::from_raw(cell) });
    }
}

/// Runs `drops`, whose panic would otherwise end a worker.
pub(crate) fn quietly(drops: impl FnOnce()) {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(drops));
    if result.is_err() {
        tracing::error!("a process panicked while it was dropped");
    }
}
