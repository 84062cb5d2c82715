//! What the running turn has spent and may still spend.
//!
//! One budget per thread, because a thread runs one turn at a time. Sync actors reach it through
//! `Ctx`, async processes through the free functions, kernels deep in a call stack likewise.

use std::{cell::Cell, future, task::Poll, time::Duration};

use crate::{
    limits::{NUDGE_REDUCTIONS, QUANTUM_REDUCTIONS, REDUCTION_NS},
    scheduler,
    sync::coarse::thread_local,
    time::{Time, nanos},
};

thread_local! {
    static BUDGET: Budget = const { Budget::new() };
}

/// How much is consumed between two looks at the clock, at most.
const CLOCK_EVERY: u32 = QUANTUM_REDUCTIONS / 8;
/// A message counts at least as much of that, since it may take longer than it is charged for: 16
/// messages at most between two looks.
const MESSAGE_MIN: u32 = CLOCK_EVERY / 15;

struct Budget {
    is_running: Cell<bool>,
    /// What could be spent when the clock was last looked at.
    quantum: Cell<u32>,
    left: Cell<u32>,
    used: Cell<u64>,
    /// Reductions until the clock is read again, and of how many.
    unmeasured: Cell<u32>,
    interval: Cell<u32>,
    /// False where only counts are charged: on the calling thread.
    is_measured: Cell<bool>,
    /// When the clock was last looked at: at the beginning of the turn, or later.
    looked: Cell<Time>,
    /// The turn has made something runnable that waits for this worker.
    has_nudge: Cell<bool>,
}

impl Budget {
    const fn new() -> Self {
        Self {
            is_running: Cell::new(false),
            quantum: Cell::new(0),
            left: Cell::new(0),
            used: Cell::new(0),
            unmeasured: Cell::new(0),
            interval: Cell::new(0),
            is_measured: Cell::new(false),
            looked: Cell::new(Time::ZERO),
            has_nudge: Cell::new(false),
        }
    }

    #[inline]
    fn consume(&self, reductions: u32, towards_clock: u32) {
        self.used.set(self.used.get() + u64::from(reductions));
        self.left.set(self.left.get().saturating_sub(reductions));
        match self.unmeasured.get().checked_sub(towards_clock) {
            Some(rest) => self.unmeasured.set(rest),
            None => self.measure(),
        }
    }

    /// Lets measured time shrink what is left, when it ran ahead of the count.
    #[cold]
    #[inline(never)]
    fn measure(&self) {
        self.interval.set((2 * self.interval.get()).min(CLOCK_EVERY));
        self.unmeasured.set(self.interval.get());
        if self.is_measured.get() {
            let elapsed = scheduler::passed_since(self.looked.get());
            let spent = u32::try_from(nanos(elapsed) / REDUCTION_NS).unwrap_or(u32::MAX);
            self.quantum.set(self.quantum.get().saturating_sub(spent));
            self.looked.set(self.looked.get() + elapsed);
            self.left.set(self.left.get().min(self.quantum.get()));
        }
        if self.used.get() >= u64::from(NUDGE_REDUCTIONS) && self.has_nudge.replace(false) {
            scheduler::hand_over();
        }
    }
}

/// Makes this thread a worker, whose turns are also charged by time.
pub(crate) fn measure_time() {
    BUDGET.with(|budget| budget.is_measured.set(true));
}

/// Starts a turn that may spend `quantum` reductions.
pub(crate) fn begin(quantum: u32, began: Time) {
    BUDGET.with(|budget| {
        budget.is_running.set(true);
        budget.quantum.set(quantum);
        budget.left.set(quantum);
        budget.used.set(0);
        // The first look is before the second message, also if little else is consumed before; the
        // next ones come after twice as long each time.
        budget.unmeasured.set(2 * MESSAGE_MIN - 1);
        budget.interval.set(MESSAGE_MIN);
        budget.looked.set(began);
        budget.has_nudge.set(false);
    });
}

/// What the running turn has used by count.
#[inline]
pub(crate) fn used() -> u64 {
    BUDGET.with(|budget| budget.used.get())
}

/// Ends the turn and says what it has used by count.
pub(crate) fn end() -> u64 {
    BUDGET.with(|budget| {
        budget.is_running.set(false);
        budget.left.set(0);
        budget.used.get()
    })
}

/// When this worker has last looked at the clock: what it wakes became runnable then, or a little
/// later. Another look would cost a tenth of a message.
#[inline]
pub(crate) fn looked() -> Time {
    BUDGET.with(|budget| budget.looked.get())
}

/// This worker has looked at the clock between two turns.
pub(crate) fn look(now: Time) {
    BUDGET.with(|budget| budget.looked.set(now));
}

/// True on a thread that runs a turn now.
pub(crate) fn is_running() -> bool {
    BUDGET.with(|budget| budget.is_running.get())
}

/// Virtual time that has passed within the running turn.
pub(crate) fn elapsed_virtual() -> Duration {
    BUDGET.with(|budget| {
        let used = if budget.is_running.get() { budget.used.get() } else { 0 };
        Duration::from_nanos(used.saturating_mul(REDUCTION_NS))
    })
}

/// Remembers that another worker could help if this turn gets long.
pub(crate) fn nudge_later() {
    BUDGET.with(|budget| budget.has_nudge.set(true));
}

/// Charges `reductions` to the running process, if this thread runs one.
#[inline]
pub fn consume(reductions: u32) {
    BUDGET.with(|budget| {
        if budget.is_running.get() {
            budget.consume(reductions, reductions);
        }
    });
}

/// The same for a message that is about to be handled, or what else may be worth more. One that
/// says it costs nothing costs one, or a process that sends to itself would have a turn without an
/// end.
#[inline]
pub(crate) fn consume_message(cost: u32) {
    BUDGET.with(|budget| {
        if budget.is_running.get() {
            budget.consume(cost.max(1), cost.max(MESSAGE_MIN));
        }
    });
}

/// Reductions left in the running turn; 0 outside of one.
#[must_use]
#[inline]
pub fn left() -> u32 {
    BUDGET.with(|budget| budget.left.get())
}

/// Charges one reduction and yields to the scheduler if the turn's quantum is used up, by count or
/// by time. The clock is looked at once in 16 times, and sooner in the beginning of a turn.
pub async fn checkpoint() {
    consume_message(1);
    if is_running() && left() == 0 {
        yield_now().await;
    }
}

/// Goes to the back of the class queue once.
pub async fn yield_now() {
    let mut is_back = false;
    future::poll_fn(|cx| {
        if is_back {
            return Poll::Ready(());
        }
        is_back = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
