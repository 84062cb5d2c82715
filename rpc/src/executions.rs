//! What executes now, so that it can be listed, weighed and ended; and the held executions.
//!
//! Every execution of a request is entered here while it has its place, so their number is bounded
//! by the places; held ones have bounds of their own (`methods/limits.rs`).

use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use evenkeel_runtime::{Answer, Reply, Share, Time, Weight, limits::SHARE_WEIGHT_ONE, reply};
use evenkeel_vm::Hold;
use futures_util::future::{Either, select};
use serde_json::value::RawValue;

use crate::{
    client::{Client, ClientId},
    error::RpcError,
    methods::limits::{EXECS_MAX, EXECS_PER_CLIENT_MAX, WEIGHTS_MAX},
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

/// Names what is executed for a request, each with its JSON-RPC method.
macro_rules! executing {
    ($($variant:ident = $name:literal;)+) => {
        /// What is executed for a request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Method {
            $(#[doc = concat!("`", $name, "`")] $variant,)+
        }

        impl Method {
            /// All of them.
            pub(crate) const ALL: [Self; [$($name),+].len()] = [$(Self::$variant,)+];

            /// The one with this JSON-RPC method.
            pub(crate) fn named(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|method| method.name() == name)
            }

            /// The JSON-RPC method.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

executing! {
    Call = "eth_call";
    EstimateGas = "eth_estimateGas";
    TraceCall = "debug_traceCall";
    TraceTransaction = "debug_traceTransaction";
    TraceCallMany = "debug_traceCallMany";
    CreateAccessList = "eth_createAccessList";
    TraceChain = "debug_subscribe";
    TraceBlock = "debug_traceBlock";
    TraceBlockByNumber = "debug_traceBlockByNumber";
    TraceBlockByHash = "debug_traceBlockByHash";
    StandardTrace = "debug_standardTraceBlockToFile";
    ParityBlock = "trace_block";
    ParityTransaction = "trace_transaction";
    ParityGet = "trace_get";
    ParityFilter = "trace_filter";
    ParityCall = "trace_call";
    ParityCallMany = "trace_callMany";
    ParityRawTransaction = "trace_rawTransaction";
    ParityReplayTransaction = "trace_replayTransaction";
    ParityReplayBlock = "trace_replayBlockTransactions";
    ParityTransactionOpcodeGas = "trace_transactionOpcodeGas";
    ParityBlockOpcodeGas = "trace_blockOpcodeGas";
    OtsInternalOperations = "ots_getInternalOperations";
    OtsTraceTransaction = "ots_traceTransaction";
    OtsTransactionError = "ots_getTransactionError";
    OtsContractCreator = "ots_getContractCreator";
    OtsSearchBefore = "ots_searchTransactionsBefore";
    OtsSearchAfter = "ots_searchTransactionsAfter";
    Simulate = "eth_simulateV1";
    CallMany = "eth_callMany";
    BuildPayload = "testing_buildBlockV1";
    Witness = "debug_executionWitness";
    StorageRange = "debug_storageRangeAt";
    AccountAt = "debug_accountAt";
    WitnessByHash = "debug_executionWitnessByBlockHash";
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

/// An execution that is held, or that was and whose result is kept.
pub(crate) struct Held {
    pub(crate) id: u64,
    pub(crate) method: Method,
    pub(crate) hold: Hold,
    pub(crate) client: Client,
    pub(crate) deadline: Time,
    end: Mutex<Option<End>>,
    /// Calls off the future that sees it to its end, wherever that waits.
    call_off: Mutex<Option<Reply<()>>>,
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
        let mut state = self.lock();
        state.count += 1;
        let id = state.count;
        state.running.insert(id, running);
        id
    }

    /// Those that run or are held, by number.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let state = self.lock();
        let running = state.running.iter().map(|(&id, running)| Listed {
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

    /// Enters an execution that is held. The answer comes when it is cancelled.
    ///
    /// # Errors
    ///
    /// -32005 at [`EXECS_MAX`] or [`EXECS_PER_CLIENT_MAX`].
    pub(crate) fn hold(
        &self,
        client: &Client,
        (method, hold, deadline): (Method, Hold, Time),
    ) -> Result<(Arc<Held>, Answer<()>), RpcError> {
        let mut state = self.lock();
        let own = state.held.values().filter(|held| held.client.id == client.id).count();
        if own >= EXECS_PER_CLIENT_MAX || state.held.len() >= EXECS_MAX {
            return Err(RpcError::limit(format!(
                "too many held executions: limits {EXECS_PER_CLIENT_MAX} of a client, {EXECS_MAX} in all"
            )));
        }
        state.count += 1;
        let (call_off, cancelled) = reply();
        let entered = Arc::new(Held {
            id: state.count,
            method,
            hold,
            client: client.clone(),
            deadline,
            end: Mutex::default(),
            call_off: Mutex::new(Some(call_off)),
        });
        state.held.insert(entered.id, Arc::clone(&entered));
        Ok((entered, cancelled))
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

impl Held {
    /// How it ended, if it has.
    pub(crate) fn end(&self) -> Option<End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps the end; the first one stands.
    pub(crate) fn ended(&self, at: Time, result: Result<Arc<RawValue>, RpcError>) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.get_or_insert(End { at, result });
    }

    /// Ends it now, whatever it is doing; it is forgotten as if it had ended by itself.
    pub(crate) fn cancel(&self, now: Time, error: RpcError) {
        self.ended(now, Err(error));
        self.hold.cancel();
        let call_off = self.call_off.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(call_off) = call_off {
            call_off.send(());
        }
    }
}
