//! What executes now, so that it can be listed, weighed and ended; and the held executions.
//!
//! Every execution of a request is entered here while it has its place, so their number is bounded
//! by the places; held ones have bounds of their own (`methods/limits.rs`).

mod method;

use std::{
    collections::BTreeMap,
    fmt,
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use evenkeel_runtime::{
    Answer, Publisher, Reply, Share, Time, Weight, limits::SHARE_WEIGHT_ONE, published, reply,
};
use evenkeel_vm::Hold;
use futures_util::future::{Either, select};
pub(crate) use method::Method;
use serde_json::value::RawValue;

use crate::{
    client::{Client, ClientId},
    error::RpcError,
    methods::limits::{
        EXEC_KEPT_BYTES_MAX, EXEC_PARAMS_BYTES_MAX, EXECS_MAX, EXECS_PER_CLIENT_MAX, WEIGHTS_MAX,
    },
};

/// All executions of one node.
pub struct Executions {
    /// What every method's executions get, in the order of [`Method::ALL`].
    weights: [Weight; Method::ALL.len()],
    state: Mutex<State>,
}

impl Default for Executions {
    fn default() -> Self {
        Self { weights: Method::ALL.map(|_| Weight::default()), state: Mutex::default() }
    }
}

#[derive(Default)]
struct State {
    /// How many there ever were.
    count: u64,
    running: BTreeMap<u64, Running>,
    held: BTreeMap<u64, Arc<Held>>,
    /// Shares with a weight of their own.
    weighed: BTreeMap<ClientId, Share>,
}

impl State {
    /// What the held executions of a client have in all, and what those of all clients have.
    fn bytes(&self, client: ClientId, bytes: impl Fn(&Held) -> usize) -> (usize, usize) {
        self.held.values().fold((0, 0), |(own, all), held| {
            let bytes = bytes(held);
            (own + if held.client.id == client { bytes } else { 0 }, all + bytes)
        })
    }
}

struct Running {
    method: Method,
    client: Client,
    kill: Reply<()>,
}

/// One line of the list of executions.
pub(crate) struct Listed {
    pub(crate) id: u64,
    pub(crate) method: Method,
    pub(crate) client: ClientId,
    pub(crate) since: Time,
}

/// What is to be held.
pub(crate) struct ToHold {
    pub(crate) method: Method,
    /// The method's.
    pub(crate) params: Option<Box<RawValue>>,
    pub(crate) hold: Hold,
    pub(crate) deadline: Time,
    /// The time that this stands for.
    pub(crate) timeout: Duration,
}

/// An execution that is held, or that was and whose result is kept.
pub(crate) struct Held {
    pub(crate) id: u64,
    pub(crate) method: Method,
    pub(crate) hold: Hold,
    pub(crate) client: Client,
    pub(crate) deadline: Time,
    pub(crate) timeout: Duration,
    /// Bytes of its parameters.
    params_bytes: usize,
    /// Bytes of its result, once that is kept.
    kept_bytes: AtomicUsize,
    /// Version 1 is how it ended.
    end: Mutex<Publisher<Option<End>>>,
    /// Answers who started it.
    start: Mutex<Option<Reply<Result<(), RpcError>>>>,
    /// Calls off the future that sees it to its end, wherever that waits.
    call_off: Mutex<Option<Reply<()>>>,
}

/// An execution that is to be held, for who sees it to its end.
pub(crate) struct Entered {
    pub(crate) held: Arc<Held>,
    pub(crate) params: Option<Box<RawValue>>,
    /// Comes when it executes, or waits for a place; or why it does neither: as a rule its
    /// parameters are wrong, or name what is not there.
    pub(crate) started: Answer<Result<(), RpcError>>,
    /// Comes when it is cancelled.
    pub(crate) cancelled: Answer<()>,
}

/// How a held execution ended.
#[derive(Clone)]
pub(crate) struct End {
    pub(crate) at: Time,
    pub(crate) result: Result<Arc<RawValue>, RpcError>,
}

impl Executions {
    /// Waits for the outcome of an execution of `client`, which is listed meanwhile.
    ///
    /// # Errors
    ///
    /// -32000 if somebody kills it; then it ends within one slice.
    pub(crate) async fn run<T>(
        &self,
        client: &Client,
        method: Method,
        outcome: Answer<T>,
    ) -> Result<T, RpcError>
    where
        T: Send,
    {
        let (kill, killed) = reply();
        let id = self.enter(Running { method, client: client.clone(), kill });
        let _leaves_when_dropped = Entry { executions: self, id };
        match select(outcome, killed).await {
            Either::Left((outcome, _)) => {
                outcome.map_err(|lost| RpcError::internal(format!("{}: {lost}", method.name())))
            }
            Either::Right(_) => Err(killed_error()),
        }
    }

    /// Lists an execution of `client` until the entry is dropped; the answer comes if somebody
    /// kills it, which its caller has to see to.
    pub(crate) fn list_running(
        self: &Arc<Self>,
        client: &Client,
        method: Method,
    ) -> (Entry<Arc<Self>>, Answer<()>) {
        let (kill, killed) = reply();
        let id = self.enter(Running { method, client: client.clone(), kill });
        (Entry { executions: Arc::clone(self), id }, killed)
    }

    fn enter(&self, running: Running) -> u64 {
        if let Some(held) = &running.client.held {
            held.has_started();
        }
        let mut state = self.lock();
        state.count += 1;
        let id = state.count;
        state.running.insert(id, running);
        id
    }

    /// Those that run or are held, by number.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let state = self.lock();
        // Of one that is held there is a line already.
        let running = state.running.iter().filter(|(_, running)| running.client.held.is_none());
        let running = running.map(|(&id, running)| Listed {
            id,
            method: running.method,
            client: running.client.id,
            since: running.client.arrived,
        });
        let held = state.held.values().filter(|held| held.end().is_none()).map(|held| Listed {
            id: held.id,
            method: held.method,
            client: held.client.id,
            since: held.client.arrived,
        });
        let mut all: Vec<_> = running.chain(held).collect();
        all.sort_by_key(|listed| listed.id);
        all
    }

    /// Ends an execution; false if there is none of this number.
    pub(crate) fn kill(&self, id: u64, now: Time) -> bool {
        let mut state = self.lock();
        let (running, held) = (state.running.remove(&id), state.held.get(&id).cloned());
        drop(state);
        if let Some(held) = held.filter(|held| held.end().is_none()) {
            held.cancel(now, killed_error());
            return true;
        }
        running.map(|running| running.kill.send(())).is_some()
    }

    // --- weights ---------------------------------------------------------------------------

    /// What an execution of `method` for `client` is charged to.
    pub(crate) fn share(&self, client: &Client, method: Method) -> Share {
        client.share.part(self.weight(method))
    }

    /// What executions of `method` get beside those of weight one.
    pub(crate) fn weight(&self, method: Method) -> &Weight {
        &self.weights[method as usize]
    }

    /// Sets the weight of a client's share, in 64ths.
    ///
    /// # Errors
    ///
    /// -32001 if the client executes nothing now and has no weight yet; -32005 at [`WEIGHTS_MAX`].
    pub(crate) fn set_weight(&self, client: ClientId, weight: u32) -> Result<(), RpcError> {
        let mut state = self.lock();
        let running = state.running.values().map(|running| &running.client);
        let held = state.held.values().map(|held| &held.client);
        let share = state.weighed.get(&client).cloned().or_else(|| {
            running.chain(held).find(|one| one.id == client).map(|one| one.share.clone())
        });
        let Some(share) = share else {
            let number = client.number();
            let text = format!("client {number} executes nothing now; see sched_executions");
            return Err(RpcError::resource_not_found(text));
        };
        share.set_weight_64ths(weight);
        if weight == SHARE_WEIGHT_ONE {
            state.weighed.remove(&client);
        } else if state.weighed.len() < WEIGHTS_MAX || state.weighed.contains_key(&client) {
            state.weighed.insert(client, share);
        } else {
            share.set_weight_64ths(SHARE_WEIGHT_ONE);
            return Err(RpcError::limit(format!("too many weights: limit {WEIGHTS_MAX}")));
        }
        Ok(())
    }

    /// Clients whose weight is not one, with their weights in 64ths.
    pub(crate) fn weights(&self) -> Vec<(ClientId, u32)> {
        let state = self.lock();
        state.weighed.iter().map(|(&client, share)| (client, share.weight_64ths())).collect()
    }

    // --- held ones -------------------------------------------------------------------------

    /// Enters an execution that is held.
    ///
    /// # Errors
    ///
    /// -32005 at [`EXECS_MAX`], [`EXECS_PER_CLIENT_MAX`] or [`EXEC_PARAMS_BYTES_MAX`].
    pub(crate) fn hold(&self, client: &Client, to_hold: ToHold) -> Result<Entered, RpcError> {
        let ToHold { method, params, hold, deadline, timeout } = to_hold;
        let params_bytes = params.as_ref().map_or(0, |params| params.get().len());
        let mut state = self.lock();
        let own = state.held.values().filter(|held| held.client.id == client.id).count();
        if own >= EXECS_PER_CLIENT_MAX || state.held.len() >= EXECS_MAX {
            return Err(RpcError::limit(format!(
                "too many held executions: limits {EXECS_PER_CLIENT_MAX} of a client, {EXECS_MAX} in all"
            )));
        }
        let held_bytes = |held: &Held| if held.end().is_none() { held.params_bytes } else { 0 };
        let (own, all) = state.bytes(client.id, held_bytes);
        // A client alone does not keep the others out.
        if own.saturating_add(params_bytes) > EXEC_PARAMS_BYTES_MAX / 4
            || all.saturating_add(params_bytes) > EXEC_PARAMS_BYTES_MAX
        {
            return Err(RpcError::limit(format!(
                "params of {params_bytes} bytes beside {own} of its own and {all} of all held \
                 executions: limits {} of a client, {EXEC_PARAMS_BYTES_MAX} in all",
                EXEC_PARAMS_BYTES_MAX / 4
            )));
        }
        state.count += 1;
        let ((call_off, cancelled), (start, started)) = (reply(), reply());
        let (end, _) = published(None);
        let held = Arc::new(Held {
            id: state.count,
            method,
            hold,
            client: client.clone(),
            deadline,
            timeout,
            params_bytes,
            kept_bytes: AtomicUsize::new(0),
            end: Mutex::new(end),
            start: Mutex::new(Some(start)),
            call_off: Mutex::new(Some(call_off)),
        });
        state.held.insert(held.id, Arc::clone(&held));
        Ok(Entered { held, params, started, cancelled })
    }

    /// The held execution of this number, if it is this client's.
    ///
    /// # Errors
    ///
    /// -32001 if there is none.
    pub(crate) fn held(&self, id: u64, client: &Client) -> Result<Arc<Held>, RpcError> {
        let held = self.lock().held.get(&id).filter(|held| held.client.id == client.id).cloned();
        held.ok_or_else(|| RpcError::resource_not_found(format!("no held execution {id:#x}")))
    }

    /// Makes room for a result of so many bytes of `held`, until that is forgotten.
    ///
    /// # Errors
    ///
    /// -32005 at [`EXEC_KEPT_BYTES_MAX`].
    pub(crate) fn make_room(&self, held: &Held, bytes: usize) -> Result<(), RpcError> {
        let state = self.lock();
        let kept_bytes = |held: &Held| held.kept_bytes.load(Ordering::Relaxed);
        let (own, all) = state.bytes(held.client.id, kept_bytes);
        let own_max = EXEC_KEPT_BYTES_MAX / 4;
        if own.saturating_add(bytes) > own_max || all.saturating_add(bytes) > EXEC_KEPT_BYTES_MAX {
            return Err(RpcError::limit(format!(
                "the result has {bytes} bytes, too many beside {own} of its client's and {all} of \
                 all results that are kept: limits {own_max} of a client, {EXEC_KEPT_BYTES_MAX} in \
                 all"
            )));
        }
        held.kept_bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Whether a held execution of this number is here: nobody has cancelled it.
    pub(crate) fn is_held(&self, id: u64) -> bool {
        self.lock().held.contains_key(&id)
    }

    /// Forgets a held execution.
    pub(crate) fn forget(&self, id: u64) {
        let former = self.lock().held.remove(&id);
        drop(former);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing of another's runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn killed_error() -> RpcError {
    RpcError::server("execution killed")
}

/// An execution in the list; leaves it when dropped.
pub(crate) struct Entry<E: Deref<Target = Executions>> {
    executions: E,
    id: u64,
}

impl<E: Deref<Target = Executions>> Drop for Entry<E> {
    fn drop(&mut self) {
        let former = self.executions.lock().running.remove(&self.id);
        drop(former);
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Held");
        shown.field("id", &self.id).field("method", &self.method).finish_non_exhaustive()
    }
}

impl Held {
    /// How it ended, if it has.
    pub(crate) fn end(&self) -> Option<End> {
        Option::clone(&lock(&self.end).get())
    }

    /// Waits for its end.
    pub(crate) async fn over(&self) -> End {
        let end = lock(&self.end).subscribe();
        end.changed_since(0).await;
        end.look(Option::clone).expect("version 1 is how it ended")
    }

    /// Keeps the end; the first one stands.
    pub(crate) fn ended(&self, at: Time, result: Result<Arc<RawValue>, RpcError>) {
        let mut end = lock(&self.end);
        if end.get().is_none() {
            end.set(Some(End { at, result }));
        }
    }

    /// It executes, or waits for its place.
    pub(crate) fn has_started(&self) {
        if let Some(start) = self.take_start() {
            start.send(Ok(()));
        }
    }

    /// Who waits for [`has_started`](Self::has_started), if anybody does still.
    pub(crate) fn take_start(&self) -> Option<Reply<Result<(), RpcError>>> {
        lock(&self.start).take()
    }

    /// Ends it now, whatever it is doing; it is forgotten as if it had ended by itself.
    pub(crate) fn cancel(&self, now: Time, error: RpcError) {
        self.ended(now, Err(error));
        self.hold.cancel();
        let call_off = lock(&self.call_off).take();
        if let Some(call_off) = call_off {
            call_off.send(());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever has it only moves a value.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
