//! What holds a cell: tasks, which count, weak tasks, which keep its memory, and wakers.
#![allow(unsafe_code, reason = "a cell's memory is counted by hand (C3)")]

use std::{
    any::Any,
    collections::VecDeque,
    marker::PhantomData,
    mem::{self, ManuallyDrop},
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    process::abort,
    ptr::{self, NonNull},
    task::{RawWaker, RawWakerVTable, Waker},
};

use super::{Header, run::Run};
use crate::{
    mailbox::Load,
    reply::Reply,
    status::Exit,
    supervision::bonds::Bonds,
    sync::{Alive, AtomicPtr, AtomicU32, Mutex, Ordering, fence},
};

/// Looks at the state of an actor, or learns that there is none.
pub(crate) type Visit = Box<dyn FnOnce(Option<&mut dyn Any>) + Send>;

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
    /// Show the state, if there is one, to this. Nothing of the user's may panic in it.
    Visit(Visit),
}

/// What most processes never need.
#[derive(Default)]
pub(crate) struct Extras {
    /// Who is told when the process ends.
    pub(crate) exits: Vec<Reply<Exit>>,
    pub(crate) orders: VecDeque<Order>,
    pub(crate) bonds: Bonds,
}

/// [`Extras`] that are made when somebody needs them first; one word until then.
pub(super) struct LazyExtras {
    made: AtomicPtr<Mutex<Extras>>,
    _owned: PhantomData<Box<Mutex<Extras>>>,
}

impl LazyExtras {
    pub(super) fn new() -> Self {
        Self { made: AtomicPtr::new(ptr::null_mut()), _owned: PhantomData }
    }

    pub(super) fn get(&self) -> Option<&Mutex<Extras>> {
        let made = NonNull::new(self.made.load(Ordering::Acquire))?;
        // SAFETY: what is in there was a box, is written before it is in there, and lives as long
        // as this does.
        Some(unsafe { made.as_ref() })
    }

    pub(super) fn get_or_make(&self) -> &Mutex<Extras> {
        self.get().unwrap_or_else(|| self.make())
    }

    #[cold]
    fn make(&self) -> &Mutex<Extras> {
        let made = Box::into_raw(Box::default());
        let order = (Ordering::AcqRel, Ordering::Acquire);
        match self.made.compare_exchange(ptr::null_mut(), made, order.0, order.1) {
            // SAFETY: as in `get`.
            Ok(_) => unsafe { &*made },
            Err(first) => {
                // SAFETY: it was a box above, and nobody else has seen it.
                drop(unsafe { Box::from_raw(made) });
                // SAFETY: as in `get`.
                unsafe { &*first }
            }
        }
    }
}

impl Drop for LazyExtras {
    fn drop(&mut self) {
        if let Some(made) = NonNull::new(self.made.load(Ordering::Acquire)) {
            // SAFETY: it was a box, and whoever could have reached it has gone.
            drop(unsafe { Box::from_raw(made.as_ptr()) });
        }
    }
}

/// In the count of holders: the last one, which is still counted, looks if the process rests. Who
/// becomes a holder by a weak one takes it off.
const LOCKED: u32 = 1 << 31;

/// How many hold a cell (C3).
pub(super) struct Counts {
    strong: AtomicU32,
    weak: AtomicU32,
    /// While `strong` is not zero.
    contents: Alive,
    /// While `weak` is not zero.
    memory: Alive,
}

impl Counts {
    pub(super) fn new() -> Self {
        let (strong, weak) = (AtomicU32::new(1), AtomicU32::new(1));
        Self { strong, weak, contents: Alive::new(), memory: Alive::new() }
    }
}

/// A holder of a process.
pub(crate) struct Task(pub(super) NonNull<Header>);

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
        let header = unsafe { self.0.as_ref() };
        Alive::used(&header.counts.contents);
        header
    }
}

impl Clone for Task {
    #[inline]
    fn clone(&self) -> Self {
        check_count(self.counts.strong.fetch_add(1, Ordering::Relaxed) & !LOCKED);
        Self(self.0)
    }
}

/// As `Arc`: somebody forgets holders in a loop, and counting on would free what is in use.
#[inline]
fn check_count(before: u32) {
    if before > LOCKED / 2 {
        abort();
    }
}

impl Drop for Task {
    #[inline]
    fn drop(&mut self) {
        if !self.leave_to_others() {
            self.end_last();
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
    /// The counts, without a reference to the contents, which may be gone.
    fn counts(&self) -> &Counts {
        // SAFETY: the memory is there (C3), and of the counts nothing is dropped with the contents.
        let counts = unsafe { &(*self.0.as_ptr()).counts };
        Alive::used(&counts.memory);
        counts
    }

    /// The process, if anybody still holds it.
    pub(crate) fn upgrade(&self) -> Option<Task> {
        // A lock is taken off: who has it sees that it is not alone any more.
        let increment = |count: u32| (count > 0).then(|| (count & !LOCKED) + 1);
        let held =
            self.counts().strong.fetch_update(Ordering::Acquire, Ordering::Relaxed, increment);
        check_count(held.unwrap_or(0) & !LOCKED);
        // Made only then: a task that is dropped counts down.
        held.is_ok().then(|| Task(self.0))
    }

    /// True if anybody still holds the process.
    pub(crate) fn is_alive(&self) -> bool {
        self.counts().strong.load(Ordering::Relaxed) > 0
    }

    /// True if both are the same process.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Drop for WeakTask {
    fn drop(&mut self) {
        let counts = self.counts();
        // SAFETY: the memory is there (C3); copied out before it may be gone.
        let free = unsafe { (*self.0.as_ptr()).vtable }.free;
        if counts.weak.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            Alive::ends(&counts.memory);
            // SAFETY: the last one that needs the memory is gone (C3).
            unsafe { free(self.0) };
        }
    }
}

impl Task {
    pub(crate) fn downgrade(&self) -> WeakTask {
        check_count(self.counts.weak.fetch_add(1, Ordering::Relaxed));
        WeakTask(self.0)
    }

    /// Counts one holder down, if there are others. (A count that is locked is above one as well,
    /// as the last holder is in it.)
    #[inline]
    fn leave_to_others(&self) -> bool {
        let strong = &self.counts.strong;
        let mut count = strong.load(Ordering::Relaxed);
        while count > 1 {
            let order = (Ordering::Release, Ordering::Relaxed);
            match strong.compare_exchange_weak(count, count - 1, order.0, order.1) {
                Ok(_) => return true,
                Err(now) => count = now,
            }
        }
        false
    }

    /// The end of the last holder: it goes to the process if that runs or is queued, else the cell
    /// goes with it (C4).
    #[cold]
    fn end_last(&self) {
        loop {
            if !self.rests() && self.queue.bequeath() {
                return;
            }
            if self.count_to_zero() {
                break;
            }
            if self.leave_to_others() {
                return;
            }
        }
        Alive::ends(&self.counts.contents);
        let weak = WeakTask(self.0);
        // SAFETY: this was the last holder, and there is no run, so nobody can reach the contents
        // any more (C3, C4).
        unsafe { (self.vtable.drop)(self.0) };
        drop(weak);
    }

    /// True if there is no run. A process that is not born has none.
    fn rests(&self) -> bool {
        self.identity.get().is_none() || !self.queue.is_awake()
    }

    /// Counts the last holder of a process that rests to zero; false if it is not the last one, or
    /// the process does not rest.
    fn count_to_zero(&self) -> bool {
        let strong = &self.counts.strong;
        let sets = |from: u32, to: u32| {
            strong.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        if self.is_done() {
            // Nobody can wake it.
            return sets(1, 0);
        }
        // Somebody may have become a holder, have woken it, and be gone again. Who becomes one from
        // here on takes the mark off.
        if !sets(1, LOCKED | 1) {
            return false;
        }
        let is_zero = self.rests() && sets(LOCKED | 1, 0);
        if !is_zero {
            strong.fetch_and(!LOCKED, Ordering::Release);
        }
        is_zero
    }

    /// Ends a process that no thread runs any more, when the system stops. One that is about to be
    /// queued, and refused there, ends with its last holder.
    pub(crate) fn finish(&self) {
        if self.identity.get().is_some() && !self.is_done() && self.queue.shut_at_rest() {
            // SAFETY: the queue was shut at rest, so nobody owns the turn, nor will.
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
        let mut extras = self.extras();
        // As in `on_exit`: either this is seen here, or the end takes the order out and drops it.
        if self.is_done() {
            return drop(extras);
        }
        // Only the last of these counts, so those who give many do not fill it.
        let is_switch = |order: &Order| matches!(order, Order::Suspend | Order::Resume);
        if is_switch(&order) {
            extras.orders.pop_back_if(|last| is_switch(last));
        }
        extras.orders.push_back(order);
        drop(extras);
        self.has_orders.store(true, Ordering::Release);
        self.wake_up();
    }

    /// Puts a process that waited into a run queue.
    #[inline]
    pub(super) fn activate(&self) {
        if let Some(share) = self.identity().share() {
            share.enter();
        }
        // Whoever calls this has taken the mark off the queue's word (Q1).
        self.system.schedule(Run::new(self.0));
    }

    /// A weak holder for the registry, before birth. A process that nobody else holds or looks for
    /// yet pays no locked instruction for it.
    pub(crate) fn downgrade_before_birth(&self) -> WeakTask {
        let counts = &self.counts;
        let is_alone =
            counts.strong.load(Ordering::Acquire) == 1 && counts.weak.load(Ordering::Acquire) == 1;
        if !is_alone {
            return self.downgrade();
        }
        // This is the only holder (C3), and there is no weak one that could become another.
        counts.weak.store(2, Ordering::Relaxed);
        WeakTask(self.0)
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

/// Runs code of the user's outside of a process's own fence: drops, wakers, what hands a result
/// over. Its panic would otherwise end a worker.
pub(crate) fn quietly(run: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
        // What loom and shuttle find is a panic.
        if cfg!(any(evenkeel_loom, evenkeel_shuttle)) {
            resume_unwind(payload);
        }
        let reason = said_by(payload);
        tracing::error!(reason, "a panic outside of a turn, in a drop or a waker");
    }
}

/// What a panic said. What it carried may panic itself when it is dropped: then that is forgotten.
pub(crate) fn said_by(payload: Box<dyn Any + Send>) -> String {
    let text = match payload.downcast_ref::<String>() {
        Some(text) => text.clone(),
        None => {
            payload.downcast_ref().map_or("a panic without text", |text: &&str| text).to_owned()
        }
    };
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(again);
    }
    text
}

/// Where cells lie: in blocks of the slab, if they are of a size that it has.
#[cfg(not(any(evenkeel_loom, evenkeel_shuttle)))]
pub(super) mod memory {
    use super::{ManuallyDrop, NonNull};
    use crate::slab::{self, SizeClass};

    struct Class<T>(std::marker::PhantomData<T>);

    impl<T> Class<T> {
        const OF: Option<SizeClass> = SizeClass::of::<T>();
    }

    #[inline]
    pub(crate) fn place<T>(cell: T) -> NonNull<T> {
        crate::sync::count_cells(1);
        let Some(class) = Class::<T>::OF else {
            return NonNull::from(Box::leak(Box::new(cell)));
        };
        let block = slab::take(class).cast::<T>();
        // SAFETY: the block is ours, and its class is one that the cell fits in.
        unsafe { block.write(cell) };
        block
    }

    /// # Safety
    ///
    /// The cell came from `place`, its contents are dropped, and nobody needs the memory any more.
    pub(crate) unsafe fn give_back<T>(cell: NonNull<T>) {
        crate::sync::count_cells(-1);
        match Class::<T>::OF {
            // SAFETY: as the caller says; it was taken with this class.
            Some(class) => unsafe { slab::give(class, cell.cast()) },
            // SAFETY: as the caller says; what is in the box is not dropped again.
            None => drop(unsafe { Box::from_raw(cell.cast::<ManuallyDrop<T>>().as_ptr()) }),
        }
    }
}

/// Where cells lie under shuttle, which counts them.
#[cfg(evenkeel_shuttle)]
pub(super) mod memory {
    use super::{ManuallyDrop, NonNull};

    pub(crate) fn place<T>(cell: T) -> NonNull<T> {
        crate::sync::count_cells(1);
        NonNull::from(Box::leak(Box::new(cell)))
    }

    /// # Safety
    ///
    /// The cell came from `place`, its contents are dropped, and nobody needs the memory any more.
    pub(crate) unsafe fn give_back<T>(cell: NonNull<T>) {
        crate::sync::count_cells(-1);
        // SAFETY: as the caller says; what is in the box is not dropped again.
        drop(unsafe { Box::from_raw(cell.cast::<ManuallyDrop<T>>().as_ptr()) });
    }
}

/// Where cells lie under loom, which counts what was given back, and how often.
#[cfg(evenkeel_loom)]
pub(super) mod memory {
    use loom::alloc::{Layout, alloc, dealloc};

    use super::NonNull;

    pub(crate) fn place<T>(cell: T) -> NonNull<T> {
        // SAFETY: no cell has size zero.
        let place = unsafe { alloc(Layout::new::<T>()) };
        let place = NonNull::new(place.cast::<T>()).expect("a model is small");
        // SAFETY: the memory is new and made for it.
        unsafe { place.write(cell) };
        place
    }

    /// # Safety
    ///
    /// The cell came from `place`, its contents are dropped, and nobody needs the memory any more.
    pub(crate) unsafe fn give_back<T>(cell: NonNull<T>) {
        // SAFETY: as the caller says.
        unsafe { dealloc(cell.cast().as_ptr(), Layout::new::<T>()) };
    }
}
