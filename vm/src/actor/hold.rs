//! A hold on a running call: whoever has it can pause, step through, watch and cancel the call.
//!
//! The call looks at the hold at the start of each of its turns, so it obeys within one turn; a
//! paused one is woken by a message. Steps are counted in instructions that were stepped through.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use evenkeel_runtime::{Answer, Port, Reply, reply};

use crate::suspended::Whereabouts;

/// What a held call is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HoldState {
    /// Its actor has not had a turn yet.
    #[default]
    Pending,
    /// It executes, or waits for a precompile on the compute pool.
    Running,
    /// It waits for an order; it runs no turns.
    Paused,
    /// It has answered.
    Over,
}

/// How far a held call is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub state: HoldState,
    /// Work done so far, in gas: what the slices were charged. Counts reverted work too; ends of
    /// instructions cut by a slice and work outside of instructions make it differ from the gas of
    /// a receipt.
    pub gas_used: u64,
    /// Turns that executed something.
    pub slices: u64,
    /// Where it is; as before the first frame once it is over.
    pub here: Whereabouts,
}

/// What the call is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Run,
    Pause,
    /// Run until so many instructions were stepped through, then pause.
    Step {
        until: u64,
    },
    Cancel,
}

/// A hold on one call. Cloning it gives another handle to the same; dropping them lets the call
/// run on.
#[derive(Clone)]
pub struct Hold(Arc<Held>);

struct Held {
    state: Mutex<State>,
    /// Wakes the call; set when it is spawned.
    waker: OnceLock<Port<()>>,
}

struct State {
    order: Order,
    progress: Progress,
    /// Who waits until the call has stopped; one at most, the last who asked.
    stopped: Option<Reply<Progress>>,
}

impl Hold {
    /// A hold on a call to be spawned, which is paused before its first instruction if
    /// `is_paused`.
    #[must_use]
    pub fn new(is_paused: bool) -> Self {
        let order = if is_paused { Order::Pause } else { Order::Run };
        let state = State { order, progress: Progress::default(), stopped: None };
        Self(Arc::new(Held { state: Mutex::new(state), waker: OnceLock::new() }))
    }

    /// How far the call is: as of its last turn.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.lock().progress
    }

    /// Has the call pause at its next turn. The answer comes when it has stopped, or is over; it is
    /// lost if somebody asks after it.
    #[must_use = "drop it if nobody waits for the pause"]
    pub fn pause(&self) -> Answer<Progress> {
        self.order_stop(|_| Order::Pause)
    }

    /// Lets the call run.
    pub fn resume(&self) {
        self.order(Order::Run);
    }

    /// Has the call execute `count` instructions and pause again. The answer as of
    /// [`Hold::pause`].
    #[must_use = "drop it if nobody waits for the pause"]
    pub fn step(&self, count: u64) -> Answer<Progress> {
        self.order_stop(|steps| Order::Step { until: steps.saturating_add(count) })
    }

    /// Ends the call at its next turn; what it runs on the compute pool is left behind.
    pub fn cancel(&self) {
        self.order(Order::Cancel);
    }

    fn order(&self, order: Order) {
        let mut state = self.lock();
        // Nothing takes back a cancellation.
        if state.order != Order::Cancel {
            state.order = order;
        }
        drop(state);
        self.wake();
    }

    fn order_stop(&self, order: impl FnOnce(u64) -> Order) -> Answer<Progress> {
        let (stopped, answer) = reply();
        let mut state = self.lock();
        let order = order(state.progress.here.steps);
        let is_paused = state.progress.state == HoldState::Paused && state.order == Order::Pause;
        let is_at_rest = state.progress.state == HoldState::Over
            || state.order == Order::Cancel
            || is_paused && order == Order::Pause;
        if is_at_rest {
            let progress = state.progress;
            drop(state);
            stopped.send(progress);
            return answer;
        }
        state.order = order;
        let former = state.stopped.replace(stopped);
        drop(state);
        // Outside the lock: dropping a reply wakes whoever waits for it.
        drop(former);
        self.wake();
        answer
    }

    fn wake(&self) {
        if let Some(waker) = self.0.waker.get() {
            // A full mailbox holds a wish already, and a closed one is that of a call that is over.
            let _is_enough = waker.send(());
        }
    }

    /// The hold is that of this call from now on.
    pub(super) fn holds(&self, waker: Port<()>) {
        let is_first = self.0.waker.set(waker).is_ok();
        assert!(is_first, "a hold is on one call");
        // The call may have paused already, and an order since then found nobody to wake.
        self.wake();
    }

    /// What the call is to do in the turn that begins.
    pub(super) fn next(&self) -> Order {
        let mut state = self.lock();
        if let Order::Step { until } = state.order
            && state.progress.here.steps >= until
        {
            state.order = Order::Pause;
        }
        state.order
    }

    /// Says how far the call is; when it has stopped, to whoever waits for that.
    pub(super) fn tell(&self, progress: Progress) {
        let mut state = self.lock();
        let steps = state.progress.here.steps;
        state.progress = progress;
        // Where nothing runs nothing is counted.
        state.progress.here.steps = progress.here.steps.max(steps);
        let stopped = match progress.state {
            HoldState::Paused | HoldState::Over => state.stopped.take(),
            HoldState::Pending | HoldState::Running => None,
        };
        let progress = state.progress;
        drop(state);
        if let Some(stopped) = stopped {
            stopped.send(progress);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing of another's runs under the lock.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
