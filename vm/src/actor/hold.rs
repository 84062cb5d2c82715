//! A hold on a running call: whoever has it can pause, step through, watch and cancel the call.
//!
//! The call looks at the hold at the start of each of its turns, so it obeys within one turn; a
//! paused one is woken by a message. Steps are counted in instructions that were stepped through.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, Waker},
};

use evenkeel_runtime::{Answer, Port, Reply, reply};

use crate::{limits::WATCH_CHANGES_MAX, suspended::Whereabouts};

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
    /// Gas used so far, by all that was executed one after the other: of what has ended as its
    /// receipt would say, with refunds taken off.
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
    /// Run until so many instructions were stepped through, then pause before the next one.
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
    watched: BTreeMap<u64, Watched>,
    /// Watches that there ever were.
    watches: u64,
}

/// Hears how a held call goes on; each watch by itself.
pub struct Watch {
    hold: Hold,
    id: u64,
    /// What was said last.
    told: Progress,
}

/// What a watch has not said yet.
#[derive(Default)]
struct Watched {
    /// Changes of state, the oldest first.
    changes: VecDeque<Progress>,
    /// Whoever waits for the next one.
    waker: Option<Waker>,
    /// Whether any progress will do.
    is_due: bool,
}

impl Hold {
    /// A hold on a call to be spawned, which is paused before its first instruction if
    /// `is_paused`.
    #[must_use]
    pub fn new(is_paused: bool) -> Self {
        let order = if is_paused { Order::Pause } else { Order::Run };
        let state = State {
            order,
            progress: Progress::default(),
            stopped: None,
            watched: BTreeMap::new(),
            watches: 0,
        };
        Self(Arc::new(Held { state: Mutex::new(state), waker: OnceLock::new() }))
    }

    /// How far the call is: as of its last turn.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.lock().progress
    }

    /// Hears how the call goes on from here.
    #[must_use]
    pub fn watch(&self) -> Watch {
        let mut state = self.lock();
        let id = state.watches;
        state.watches += 1;
        state.watched.insert(id, Watched::default());
        Watch { hold: self.clone(), id, told: Progress::default() }
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

    /// Whether the call is paused, or will be at its first turn.
    #[must_use]
    pub fn is_pausing(&self) -> bool {
        let state = self.lock();
        match state.progress.state {
            HoldState::Paused => true,
            HoldState::Pending => state.order == Order::Pause,
            HoldState::Running | HoldState::Over => false,
        }
    }

    /// Ends the call at its next turn; what it runs on the compute pool is asked to stop.
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
            && state.progress.here.has_stepped(until)
        {
            state.order = Order::Pause;
        }
        state.order
    }

    /// Says how far the call is: to those who watch, and when it has stopped, to whoever waits for
    /// that.
    pub(super) fn tell(&self, progress: Progress) {
        let mut state = self.lock();
        let steps = state.progress.here.steps;
        let has_changed = progress.state != state.progress.state;
        state.progress = progress;
        // Where nothing runs nothing is counted.
        state.progress.here.steps = progress.here.steps.max(steps);
        let stopped = match progress.state {
            HoldState::Paused | HoldState::Over => state.stopped.take(),
            HoldState::Pending | HoldState::Running => None,
        };
        let progress = state.progress;
        let mut wakers = Vec::new();
        for watched in state.watched.values_mut() {
            if has_changed {
                watched.has_changed(progress);
            }
            if has_changed || watched.is_due {
                wakers.extend(watched.waker.take());
            }
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        if let Some(stopped) = stopped {
            stopped.send(progress);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing of another's runs under the lock.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hold").field(&self.progress()).finish()
    }
}

impl Watched {
    fn has_changed(&mut self, progress: Progress) {
        if self.changes.len() == WATCH_CHANGES_MAX {
            self.changes.pop_back();
        }
        self.changes.push_back(progress);
    }
}

impl Watch {
    /// Waits for the next change of the call's state; once `due` is over, for any progress. No
    /// change of state is left out, unless [`WATCH_CHANGES_MAX`] wait to be heard: then the newest
    /// takes the place of the one before. Nothing comes after [`HoldState::Over`].
    pub async fn next(&mut self, due: impl Future<Output = ()>) -> Progress {
        let (mut due, mut is_due) = (pin!(due), false);
        poll_fn(|cx| {
            is_due = is_due || due.as_mut().poll(cx).is_ready();
            self.poll(cx, is_due)
        })
        .await
    }

    fn poll(&mut self, cx: &Context<'_>, is_due: bool) -> Poll<Progress> {
        let mut state = self.hold.lock();
        let progress = state.progress;
        let watched = state.watched.get_mut(&self.id).expect("it is there until it is dropped");
        let news = (is_due && progress != self.told).then_some(progress);
        if let Some(next) = watched.changes.pop_front().or(news) {
            self.told = next;
            return Poll::Ready(next);
        }
        watched.is_due = is_due;
        let former = watched.waker.replace(cx.waker().clone());
        drop(state);
        // Outside the lock: what a waker runs when it is dropped is not ours.
        drop(former);
        Poll::Pending
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let former = self.hold.lock().watched.remove(&self.id);
        drop(former);
    }
}
