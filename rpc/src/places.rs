//! How many executions run at once, and who comes next.
//!
//! An execution holds EVM memory and a pinned state for as long as its client lets it, so their
//! number is bounded, for the node and for each client. Whoever finds no place waits in line until
//! his deadline; the lines are bounded too. The order is in `places/line.rs`, which is pure; this
//! file wakes who is next.
//!
//! A place is given back with the answer. An execution that is cancelled ends one slice later, so
//! for that moment there may be more of them than places. One whose text is streamed waits for its
//! client as long as that takes any of it; of the places that are kept so beyond a deadline there
//! are a few only.

mod line;

use std::{
    collections::BTreeMap,
    future::pending,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use evenkeel_runtime::{Answer, Reply, System, Time, reply};
use evenkeel_vm::CallError;
use futures_util::future::{Either, select};

use self::line::{Full, Line, Turn};
use crate::{
    client::{Client, ClientId},
    error::RpcError,
    limits::{
        EXECUTIONS_LATE_MAX, EXECUTIONS_LATE_PER_CLIENT_MAX, EXECUTIONS_MAX,
        EXECUTIONS_PER_CLIENT_MAX, EXECUTIONS_WAITING_MAX, EXECUTIONS_WAITING_PER_CLIENT_MAX,
    },
};

/// Bounds of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceLimits {
    /// Executions at once.
    pub running_max: usize,
    /// Executions of one client at once.
    pub running_per_client_max: usize,
    /// Requests that wait for a place.
    pub waiting_max: usize,
    /// Requests of one client that wait for a place.
    pub waiting_per_client_max: usize,
    /// Executions that go on beyond their deadline, since they have waited for their clients.
    pub late_max: usize,
    /// Such executions of one client.
    pub late_per_client_max: usize,
}

impl Default for PlaceLimits {
    fn default() -> Self {
        Self {
            running_max: EXECUTIONS_MAX,
            running_per_client_max: EXECUTIONS_PER_CLIENT_MAX,
            waiting_max: EXECUTIONS_WAITING_MAX,
            waiting_per_client_max: EXECUTIONS_WAITING_PER_CLIENT_MAX,
            late_max: EXECUTIONS_LATE_MAX,
            late_per_client_max: EXECUTIONS_LATE_PER_CLIENT_MAX,
        }
    }
}

/// How many there are now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaceGauge {
    /// Executions that have a place.
    pub running: usize,
    /// Requests in line.
    pub waiting: usize,
    /// Requests that found the line full, since the start.
    pub refused: u64,
}

/// The places of one node.
pub struct Places {
    system: System,
    shared: Arc<Shared>,
}

struct Shared {
    limits: PlaceLimits,
    state: Mutex<State>,
}

struct State {
    line: Line<Reply<Place>>,
    refused: u64,
    /// How many each client has that go on beyond their deadline; at least one.
    late: BTreeMap<ClientId, usize>,
}

/// The right to run one execution; given back when dropped.
#[must_use = "dropping a place gives it back"]
pub(crate) struct Place {
    shared: Arc<Shared>,
    client: ClientId,
}

/// A place that is kept beyond a deadline; ordinary again when dropped.
struct Late {
    shared: Arc<Shared>,
    client: ClientId,
}

/// One who waits; leaves the line when dropped.
struct Waiting {
    shared: Arc<Shared>,
    client: ClientId,
    ticket: u64,
}

impl Places {
    /// Places of a node that runs on `system`.
    #[must_use]
    pub fn new(system: &System, limits: PlaceLimits) -> Self {
        let state =
            Mutex::new(State { line: Line::new(limits), refused: 0, late: BTreeMap::new() });
        Self { system: system.clone(), shared: Arc::new(Shared { limits, state }) }
    }

    /// How many there are now.
    #[must_use]
    pub fn gauge(&self) -> PlaceGauge {
        let state = self.shared.lock();
        let (running, waiting) = (state.line.running(), state.line.waiting());
        PlaceGauge { running, waiting, refused: state.refused }
    }

    /// Waits for a place until `deadline`, which is `timeout` after the request came. Dropping the
    /// future leaves the line.
    ///
    /// # Errors
    ///
    /// -32005 if the line is full; what an execution says at its deadline, if that comes first.
    pub(crate) async fn take(
        &self,
        client: &Client,
        deadline: Time,
        timeout: Duration,
    ) -> Result<Place, RpcError> {
        let (answer, _leaves_when_dropped) = match self.enter(client.id)? {
            Entered::Now(place) => return Ok(place),
            Entered::Later(answer, waiting) => (answer, waiting),
        };
        if let Some(held) = &client.held {
            // It may wait for long, and who started it can do something about that.
            held.has_started();
        }
        let timeout_ends = pin!(self.system.sleep_until(deadline));
        match select(answer, timeout_ends).await {
            Either::Left((Ok(place), _)) => Ok(place),
            Either::Left((Err(lost), _)) => Err(RpcError::internal(format!("place: {lost}"))),
            Either::Right(((), _)) => Err(CallError::Timeout(timeout).into()),
        }
    }

    fn enter(&self, client: ClientId) -> Result<Entered, RpcError> {
        let shared = || Arc::clone(&self.shared);
        let (reply, answer) = reply();
        let mut state = self.shared.lock();
        match state.line.enter(client, reply) {
            Ok(Turn::Now) => Ok(Entered::Now(Place { shared: shared(), client })),
            Ok(Turn::Later(ticket)) => {
                Ok(Entered::Later(answer, Waiting { shared: shared(), client, ticket }))
            }
            Err(full) => {
                state.refused += 1;
                Err(self.shared.refusal(full))
            }
        }
    }
}

enum Entered {
    Now(Place),
    Later(Answer<Place>, Waiting),
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing of another's runs under the lock, so a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusal(&self, full: Full) -> RpcError {
        let PlaceLimits { waiting_max, waiting_per_client_max, .. } = self.limits;
        RpcError::limit(match full {
            Full::Client => format!(
                "too many calls: {waiting_per_client_max} of this client wait to be executed"
            ),
            Full::Node => format!("node is busy: {waiting_max} calls wait to be executed"),
        })
    }
}

impl Place {
    /// Comes when the place is to be given back, while the answer of its execution is streamed: at
    /// `deadline`, unless there is room among those that are kept beyond it.
    pub(crate) async fn is_due(&self, system: &System, deadline: Time) {
        system.sleep_until(deadline).await;
        if let Some(_ordinary_when_dropped) = self.late() {
            pending::<()>().await;
        }
    }

    /// O(clients).
    fn late(&self) -> Option<Late> {
        let PlaceLimits { late_max, late_per_client_max, .. } = self.shared.limits;
        let mut state = self.shared.lock();
        let all: usize = state.late.values().sum();
        let own = state.late.get(&self.client).copied().unwrap_or(0);
        if all >= late_max || own >= late_per_client_max {
            return None;
        }
        state.late.insert(self.client, own + 1);
        Some(Late { shared: Arc::clone(&self.shared), client: self.client })
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let own = state.late.get_mut(&self.client).expect("it has one");
        *own -= 1;
        if *own == 0 {
            state.late.remove(&self.client);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let next = self.shared.lock().line.leave(self.client);
        // Outside the lock: if nobody waits for it any more, this drops the place again.
        if let Some((client, reply)) = next {
            reply.send(Self { shared: Arc::clone(&self.shared), client });
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let gone = self.shared.lock().line.give_up(self.client, self.ticket);
        // Outside the lock: dropping a reply wakes whoever waits for it.
        drop(gone);
    }
}
