//! The whole node on threads, while its actors panic in the middle of their work: the column "after
//! a panic" of `docs/ARCHITECTURE.md`, row by row.
//!
//! Nothing is told to panic: what an actor reads or writes fails it (a store), or whom it answers
//! (a waker). Nothing sleeps: tests wait for answers and for published heads.

mod watched;

use std::{
    collections::BTreeMap,
    future::Future as _,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use alloy_primitives::{Address, B256, Bytes, U256};
use evenkeel_chain::{
    ChainSpec, Command, DERIVATION_PATH, DevAccounts, DevOptions, Fork, MNEMONIC, Outcome,
};
use evenkeel_mempool::{AdmissionMessage, PoolError, PoolMessage, Query};
use evenkeel_node::{
    AdmissionConfig, Config, Limits, LogConfig, Mining, Node, PoolConfig, RpcConfig, ShadowAim,
    start,
};
use evenkeel_rpc::{Client, ClientId, EngineCall, Member, Request, RpcError, dispatch};
use evenkeel_runtime::{
    Answer, Class, DeadReason, Reply, Share, Spawn, StopReason, System, TaskError, TaskHandle,
    ThreadsConfig, reply,
};
use evenkeel_state::{
    Database,
    store::{Memory, Sync},
};
use serde_json::{Value, json, value::RawValue};
use watched::{Watch, WatchedStore};

const CONTRACT: Address = Address::repeat_byte(0xcc);
/// Read by the contract below, and by nobody else.
const SLOT: u64 = 0x77;
/// PUSH1 0x77, SLOAD, PUSH1 1, SSTORE, STOP
const CODE: &str = "0x60775460015500";

// --- what fails ----------------------------------------------------------------------------

/// Who comes here says so, and panics when it is let go, unless it is spared.
struct Gate {
    comes: Sender<()>,
    panics: Receiver<bool>,
}

/// The other side of a gate.
struct Held {
    comes: Receiver<()>,
    panics: Sender<bool>,
}

fn gate() -> (Gate, Held) {
    let ((comes, seen), (panics, waits)) = (channel(), channel());
    (Gate { comes, panics: waits }, Held { comes: seen, panics })
}

impl Gate {
    fn pass(self) {
        self.comes.send(()).expect("the test waits");
        let panics = self.panics.recv().expect("the test lets it go");
        assert!(!panics, "as the test wants it");
    }
}

impl Held {
    /// Waits until somebody stands at the gate.
    fn wait(&self) {
        self.comes.recv().expect("somebody comes");
    }

    fn let_go(self) {
        self.panics.send(true).expect("somebody waits");
    }

    fn spare(self) {
        self.panics.send(false).expect("somebody waits");
    }
}

/// Which reading fails.
struct Armed {
    key: Vec<u8>,
    /// Readings before it that do not.
    spared: usize,
    gate: Gate,
}

#[derive(Default)]
struct Trap {
    armed: Mutex<Option<Armed>>,
    fails_writes: AtomicBool,
}

impl Trap {
    fn lock(&self) -> MutexGuard<'_, Option<Armed>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arm(&self, key: Vec<u8>, spared: usize) -> Held {
        let (gate, held) = gate();
        *self.lock() = Some(Armed { key, spared, gate });
        held
    }
}

impl Watch for Trap {
    fn reads(&self, key: &[u8]) {
        let mut armed = self.lock();
        match &mut *armed {
            Some(this) if this.key == key && this.spared > 0 => this.spared -= 1,
            Some(this) if this.key == key => {
                let this = armed.take();
                drop(armed);
                this.expect("it was there").gate.pass();
            }
            Some(_) | None => {}
        }
    }

    fn writes(&self) {
        assert!(!self.fails_writes.load(Ordering::Relaxed), "as the test wants it");
    }
}

/// Wakes nobody: fails who wants to.
struct Fails(Mutex<Option<Gate>>);

impl Wake for Fails {
    fn wake(self: Arc<Self>) {
        let gate = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        gate.expect("an answer wakes once").pass();
    }
}

fn failing_waker() -> (Waker, Held) {
    let (gate, held) = gate();
    (Waker::from(Arc::new(Fails(Mutex::new(Some(gate))))), held)
}

/// A reply whose sender panics when it gives it.
fn failing<T: Send>() -> (Reply<T>, Answer<T>, Held) {
    let ((reply, mut answer), (waker, held)) = (reply(), failing_waker());
    let poll = Pin::new(&mut answer).poll(&mut Context::from_waker(&waker));
    assert!(matches!(poll, Poll::Pending));
    (reply, answer, held)
}

// --- the node ------------------------------------------------------------------------------

/// A node on two workers and the hand that asks it.
struct World {
    system: System,
    node: Node,
    trap: Arc<Trap>,
    accounts: Vec<Address>,
}

type Answered = Result<Box<RawValue>, RpcError>;

impl World {
    fn new(shadow: Option<ShadowAim>) -> Self {
        let config =
            ThreadsConfig { workers: 2, compute_threads: 1, blocking_threads: 1, seed: Some(1) };
        let system = System::threads(config).expect("threads can be started");
        let accounts = DevAccounts::from_mnemonic(MNEMONIC, DERIVATION_PATH, 4)
            .expect("the well-known phrase");
        let addresses = accounts.addresses();
        let ether = U256::from(10).pow(U256::from(22));
        let spec = ChainSpec::dev(&DevOptions {
            timestamp: system.wall_clock().as_secs(),
            accounts: addresses.iter().map(|&address| (address, ether)).collect(),
            ..DevOptions::default()
        });
        let trap = Arc::<Trap>::default();
        let store = Arc::new(WatchedStore(Memory::new(), Arc::clone(&trap)));
        let database = Database::open_store(store, &spec, Sync::Yes).expect("nothing fails yet");
        let config = Config {
            mining: Mining::Automine,
            txs_per_block_max: None,
            gas_limit: None,
            pool: PoolConfig::default(),
            admission: AdmissionConfig::default(),
            limits: Limits::default(),
            rpc: RpcConfig::default(),
            accounts,
            keys: Vec::new(),
            log: LogConfig { is_on: false, ..LogConfig::default() },
            auto_impersonate: false,
            is_clock_from_head: false,
            shadow,
        };
        let node = start(&system, config, spec, database).expect("a valid configuration");
        let world = Self { system, node, trap, accounts: addresses };
        world.ok("anvil_setCode", &json!([CONTRACT, CODE]));
        world
    }

    fn send(&self, method: &str, params: &Value) -> TaskHandle<Answered> {
        let api = Arc::clone(&self.node.api);
        let now = self.system.now();
        let client = Client::new(&Member { share: Share::new(), id: ClientId::default() }, now);
        let method = method.to_owned();
        let params = RawValue::from_string(params.to_string()).expect("it is JSON");
        let request = async move {
            let params = Some(&*params);
            let request = Request { method: &method, params, client: &client, session: None };
            dispatch(&api, request).await?.into_json().await
        };
        self.system.spawn_future(Spawn::new("request", Class::Rpc), request)
    }

    fn ask(&self, method: &str, params: &Value) -> Result<Value, RpcError> {
        let answer = self.send(method, params).wait().expect("the request does not panic")?;
        Ok(serde_json::from_str(answer.get()).expect("an answer is JSON"))
    }

    fn ok(&self, method: &str, params: &Value) -> Value {
        self.ask(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// A transaction from account `from` to `to`, with all that a node could otherwise look up.
    fn tx(&self, from: usize, to: Address, nonce: u64) -> Value {
        json!({
            "from": self.accounts[from], "to": to, "nonce": format!("{nonce:#x}"),
            "gas": "0x186a0", "gasPrice": "0x77359400", "chainId": "0x7a69",
        })
    }

    /// Waits until the durable head is at `height` or above.
    fn durable(&self, height: u64) {
        let durable = self.node.durable.clone();
        let wait = self.system.spawn_future(Spawn::new("wait", Class::Rpc), async move {
            loop {
                let (now, version) = durable.get_versioned();
                if now.header.number >= height {
                    return;
                }
                drop(now);
                durable.changed_since(version).await;
            }
        });
        wait.wait().expect("it comes");
    }

    /// The node has restarted these processes, each so often, after so many panics; and it works.
    fn goes_on(self, panics: u64, restarts: &[(&'static str, u32)]) {
        let head = self.node.durable.get().header.number;
        let alice = self.accounts[0];
        let nonce = self.ok("eth_getTransactionCount", &json!([alice, "pending"]));
        let nonce = nonce.as_str().and_then(|hex| u64::from_str_radix(&hex[2..], 16).ok());
        let tx = self.tx(0, self.accounts[1], nonce.expect("a number"));
        let hash = self.ok("eth_sendTransaction", &json!([tx]));
        self.durable(head + 1);
        assert_eq!(self.ok("eth_getTransactionReceipt", &json!([hash]))["status"], "0x1");
        self.ok("evm_mine", &json!([]));
        assert!(self.node.durable.get().header.number >= head + 2);

        let mut seen = BTreeMap::new();
        let mut processes = self.system.processes();
        while processes.look(64, |process| {
            if process.restarts > 0 {
                *seen.entry(process.name).or_insert(0) += process.restarts;
            }
        }) {}
        assert_eq!(seen, restarts.iter().copied().collect());
        let status = self.system.status();
        let all = seen.values().copied().map(u64::from).sum::<u64>();
        assert_eq!((status.panics, status.restarts), (panics, all));
        assert_eq!(self.system.stop_reason(), None);
        self.system.stop(Duration::from_secs(10));
        assert_eq!(self.system.status().actors_live, 0);
    }
}

fn slot_key() -> Vec<u8> {
    [CONTRACT.as_slice(), &U256::from(SLOT).to_be_bytes::<32>()].concat()
}

/// Goal: a panic within a transaction costs the blocks that were not final, and nothing else: the
/// transaction is mined by the next lives, whoever waits is answered meanwhile.
#[test]
fn an_executor_that_panics_begins_anew_with_the_engine() {
    let world = World::new(None);
    let held = world.trap.arm(slot_key(), 0);
    let hash = world.ok("eth_sendTransaction", &json!([world.tx(0, CONTRACT, 0)]));
    held.wait();
    // Within its turn. One worker has it; the other goes on.
    assert_eq!(world.ok("eth_blockNumber", &json!([])), "0x0");
    let orders: Vec<_> = (0..3).map(|_| world.send("evm_mine", &json!([]))).collect();
    held.let_go();
    for order in orders {
        if let Err(error) = order.wait().expect("the request does not panic") {
            assert!(error.message.contains("engine"), "{error}");
        }
    }
    world.durable(1);
    let receipt = world.ok("eth_getTransactionReceipt", &json!([hash]));
    assert_eq!((&receipt["status"], &receipt["blockNumber"]), (&json!("0x1"), &json!("0x1")));
    let status = world.system.status();
    for reason in [DeadReason::Full, DeadReason::Displaced, DeadReason::Ended] {
        assert_eq!(status.dead(reason), 0, "{:?}", world.system.dead_letters());
    }
    world.goes_on(1, &[("Consensus", 1), ("Executor", 1)]);
}

/// Goal: the same of the engine, whose mailbox is dropped: each order that waited is a dead letter,
/// counted once, and whoever gave it is told.
#[test]
fn an_engine_that_panics_drops_what_waits_and_counts_it() {
    let world = World::new(None);
    let (reply_to, answer, held) = failing();
    let status = |reply| EngineCall { command: Command::Status, reply };
    world.node.api.engine.send(status(reply_to)).expect("the engine lives");
    held.wait();
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let (replying, answer) = reply();
            world.node.api.engine.send(status(replying)).expect("there is room");
            answer
        })
        .collect();
    held.let_go();
    assert!(matches!(answer.wait(), Ok(Ok(Outcome::Status(_)))), "it was given before the panic");
    for answer in waiting {
        assert!(answer.wait().is_err(), "nobody answers it any more");
    }
    world.ok("eth_sendTransaction", &json!([world.tx(0, CONTRACT, 0)]));
    world.durable(1);
    let status = world.system.status();
    assert_eq!((status.dead(DeadReason::Restarted), status.dead_letters), (5, 5));
    for letter in world.system.dead_letters() {
        assert_eq!((letter.kind, letter.receiver), ("command", "Consensus"));
    }
    world.goes_on(1, &[("Consensus", 1), ("Executor", 1)]);
}

/// Goal: a pool that panics begins anew, empty, and answers all that waited for it.
#[test]
fn a_pool_that_panics_begins_anew_and_answers_what_waits() {
    let world = World::new(None);
    let signed = world.ok("eth_signTransaction", &json!([world.tx(3, CONTRACT, 0)]));
    let held = world.trap.arm(world.accounts[3].to_vec(), 0);
    let sent = world.send("eth_sendRawTransaction", &json!([signed["raw"]]));
    held.wait();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let (reply, answer) = reply();
            let asked = world.node.api.pool.send(PoolMessage::Query(Query::Status { reply }));
            asked.expect("there is room");
            answer
        })
        .collect();
    held.let_go();
    let refused = sent.wait().expect("the request does not panic");
    refused.expect_err("the transaction went with the life that had it in hand");
    for answer in waiting {
        assert_eq!(answer.wait(), Ok((0, 0)));
    }
    world.ok("eth_sendRawTransaction", &json!([signed["raw"]]));
    world.durable(1);
    assert_eq!(world.system.status().dead_letters, 0);
    world.goes_on(1, &[("Pool", 1)]);
}

/// Goal: an admission that panics begins anew; the other one has gone on.
#[test]
fn an_admission_that_panics_begins_anew() {
    let world = World::new(None);
    let (reply, answer, held) = failing::<Result<B256, PoolError>>();
    world.node.api.admissions.send(AdmissionMessage::Raw { raw: Bytes::from_static(b"7"), reply });
    held.wait();
    let signed = world.ok("eth_signTransaction", &json!([world.tx(3, CONTRACT, 0)]));
    held.let_go();
    assert!(matches!(answer.wait(), Ok(Err(_))), "no transaction");
    world.ok("eth_sendRawTransaction", &json!([signed["raw"]]));
    world.durable(1);
    assert_eq!(world.system.status().dead_letters, 0);
    world.goes_on(1, &[("Admission", 1)]);
}

/// Goal: the panic of an execution or of a request is that request's matter.
#[test]
fn a_request_that_panics_fails_alone() {
    let world = World::new(None);
    let held = world.trap.arm(slot_key(), 0);
    let call = world.send("eth_call", &json!([{ "to": CONTRACT }, "latest"]));
    held.wait();
    assert_eq!(world.ok("eth_blockNumber", &json!([])), "0x0");
    held.let_go();
    let error = call.wait().expect("the request does not panic").expect_err("its call did");
    assert_eq!(error.code, -32_603, "{error}");
    world.ok("eth_call", &json!([{ "to": CONTRACT }, "latest"]));

    // Found by review: who waited for a step of it was never answered.
    let id = world
        .ok("exec_start", &json!(["eth_call", [{ "to": CONTRACT }, "latest"], { "paused": true }]));
    let held = world.trap.arm(slot_key(), 0);
    let step = world.send("exec_step", &json!([id, 1_000]));
    held.wait();
    held.let_go();
    let status = step.wait().expect("the request does not panic").expect("it is answered");
    let status: Value = serde_json::from_str(status.get()).expect("it is JSON");
    assert_eq!((&status["state"], &status["error"]["code"]), (&json!("failed"), &json!(-32_603)));
    assert_eq!(world.ok("exec_cancel", &json!([id])), true);

    let held = world.trap.arm(slot_key(), 0);
    let read = world.send("eth_getStorageAt", &json!([CONTRACT, "0x77", "latest"]));
    held.wait();
    held.let_go();
    assert!(matches!(read.wait(), Err(TaskError::Panicked(_))));
    // What woke the held call to an order may come after its end.
    for letter in world.system.dead_letters() {
        assert_eq!((letter.kind, letter.reason), ("wish", DeadReason::Ended));
    }
    world.goes_on(3, &[]);
}

/// Goal: a canary that panics begins anew, and the chain never notices.
#[test]
fn a_canary_that_panics_begins_anew() {
    let world = World::new(Some(ShadowAim::Fork(Fork::Cancun)));
    // The executor reads first.
    let held = world.trap.arm(slot_key(), 1);
    world.ok("eth_sendTransaction", &json!([world.tx(0, CONTRACT, 0)]));
    held.wait();
    world.durable(1);
    held.let_go();
    // Its next life reads the next block.
    let held = world.trap.arm(slot_key(), 1);
    world.ok("eth_sendTransaction", &json!([world.tx(0, CONTRACT, 1)]));
    held.wait();
    world.durable(2);
    held.spare();
    world.goes_on(1, &[("Shadow", 1)]);
}

/// Goal: after a panic of the writer nobody knows what is on the disk, so the node stops, and says
/// who failed and why.
/// Method: who waits for the next head fails it.
#[test]
fn a_writer_that_panics_stops_the_node() {
    let world = World::new(None);
    let (durable, (waker, held)) = (world.node.durable.clone(), failing_waker());
    let mut changed = Box::pin(durable.changed_since(durable.version()));
    assert!(changed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let sent = world.send("eth_sendTransaction", &json!([world.tx(0, CONTRACT, 0)]));
    held.wait();
    held.let_go();
    let reason = world.system.wait_stopped();
    let is_named = matches!(&reason, StopReason::GaveUp { name: "Writer", panics: 1, reason }
        if reason == "as the test wants it");
    assert!(is_named, "{reason:?}");
    let status = world.system.status();
    assert_eq!((status.panics, status.restarts, status.actors_live), (1, 0, 0));
    // Answered before, or cancelled.
    drop(sent.wait());
}

/// Goal: the same if its work on the disk panics, which is not in its turn.
#[test]
fn a_write_that_panics_stops_the_node() {
    let world = World::new(None);
    world.trap.fails_writes.store(true, Ordering::Relaxed);
    let sent = world.send("eth_sendTransaction", &json!([world.tx(0, CONTRACT, 0)]));
    let reason = world.system.wait_stopped();
    let text = "the database failed: the job panicked: as the test wants it";
    assert_eq!(reason, StopReason::Fatal(text.to_owned()));
    assert_eq!(world.node.durable.get().header.number, 0);
    let status = world.system.status();
    assert_eq!((status.panics, status.restarts, status.actors_live), (0, 0, 0));
    drop(sent.wait());
}
