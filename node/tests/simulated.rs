//! The whole node in the simulator: the topology of `evenkeel dev` with virtual time and a seed.

#[path = "simulated/reorg.rs"]
mod reorg;

use std::{sync::Arc, time::Duration};

use alloy_primitives::{B256, U256};
use evenkeel_chain::{ChainSpec, DERIVATION_PATH, DevAccounts, DevOptions, MNEMONIC};
use evenkeel_node::{
    AdmissionConfig, Config, Limits, LogConfig, Mining, Node, PoolConfig, RpcConfig, start,
};
use evenkeel_rpc::{Client, ClientId, Member, Request, RpcError, dispatch};
use evenkeel_runtime::{Class, Faults, Order, Share, Simulation, Spawn, System, TaskHandle};
use evenkeel_state::{Database, Options};
use serde_json::{Value, json, value::RawValue};

/// Keys of the dev accounts, derived once a test.
fn dev_accounts() -> DevAccounts {
    DevAccounts::from_mnemonic(MNEMONIC, DERIVATION_PATH, 10).expect("the well-known phrase")
}

/// Short, because the simulator pays for every instruction of the endless calls.
const EVM_TIMEOUT: Duration = Duration::from_millis(250);

/// When the chain begins, if not now.
struct Clock {
    first: u64,
    is_from_head: bool,
}

fn node(system: &System, mining: Mining, gas_limit: Option<u64>, clock: Option<Clock>) -> Node {
    let accounts = dev_accounts();
    let now = Clock { first: system.wall_clock().as_secs(), is_from_head: false };
    let clock = clock.unwrap_or(now);
    let ether = U256::from(10).pow(U256::from(22));
    let spec = ChainSpec::dev(&DevOptions {
        timestamp: clock.first,
        accounts: accounts.addresses().into_iter().map(|address| (address, ether)).collect(),
        ..DevOptions::default()
    });
    let database = Database::open(&Options::default(), &spec).expect("memory is always there");
    let config = Config {
        mining,
        txs_per_block_max: None,
        gas_limit,
        pool: PoolConfig::default(),
        // As `evenkeel dev` has it: anvil knows no such limit.
        admission: AdmissionConfig { check_tx_gas_limit: false, ..AdmissionConfig::default() },
        limits: Limits::default(),
        keys: Vec::new(),
        rpc: RpcConfig { evm_timeout: EVM_TIMEOUT, ..RpcConfig::default() },
        accounts,
        log: LogConfig::default(),
        auto_impersonate: false,
        is_clock_from_head: clock.is_from_head,
        shadow: None,
    };
    start(system, config, spec, database).expect("a valid configuration")
}

/// A simulated node and the hand that asks it.
struct World {
    simulation: Simulation,
    node: Node,
}

impl World {
    fn new(seed: u64, order: Order, mining: Mining) -> Self {
        Self::with_gas_limit(seed, order, mining, None)
    }

    fn with_gas_limit(seed: u64, order: Order, mining: Mining, gas_limit: Option<u64>) -> Self {
        let simulation = System::simulated(seed, Faults { order, ..Faults::default() });
        let node = node(simulation.system(), mining, gas_limit, None);
        Self { simulation, node }
    }

    /// Sends a request of `share`; its answer comes with the handle.
    fn send(&self, share: &Share, method: &str, params: &Value) -> Asked {
        let api = Arc::clone(&self.node.api);
        let member = Member { share: share.clone(), id: ClientId::default() };
        let client = Client::new(&member, self.simulation.now());
        let method = method.to_owned();
        let params = RawValue::from_string(params.to_string()).expect("it is JSON");
        let request = async move {
            let params = Some(&*params);
            let request = Request { method: &method, params, client: &client, session: None };
            dispatch(&api, request).await?.into_json().await
        };
        self.simulation.system().spawn_future(Spawn::new("request", Class::Rpc), request)
    }

    fn ask(&mut self, method: &str, params: &Value) -> Result<Value, RpcError> {
        let asked = self.send(&Share::new(), method, params);
        let answer = self.simulation.run_until(asked).expect("a request does not panic")?;
        Ok(serde_json::from_str(answer.get()).expect("an answer is JSON"))
    }

    fn head(&self) -> (u64, B256) {
        let durable = self.node.durable.get();
        (durable.header.number, durable.header.state_root)
    }
}

type Asked = TaskHandle<Result<Box<RawValue>, RpcError>>;

/// 60 transfers of 10 senders in a random-looking order of arrival, under automine.
fn transfers(seed: u64, order: Order) -> (u64, u64, B256) {
    let mut world = World::new(seed, order, Mining::Automine);
    let addresses = dev_accounts().addresses();
    let asked: Vec<_> = (0..60_usize)
        .map(|n| {
            let (from, to) = (addresses[n % 10], addresses[(n * 7 + 3) % 10]);
            let transfer = json!([{ "from": from, "to": to, "value": format!("{:#x}", n + 1) }]);
            world.send(&Share::new(), "eth_sendTransaction", &transfer)
        })
        .collect();
    for asked in asked {
        let answer = world.simulation.run_until(asked).expect("a request does not panic");
        answer.expect("every sender can pay");
    }
    world.simulation.run_for(Duration::from_secs(1));
    for address in addresses {
        let count = world.ask("eth_getTransactionCount", &json!([address, "latest"]));
        assert_eq!(count.expect("an answer"), "0x6", "all of its transactions are mined");
    }
    let (height, root) = world.head();
    assert!(height > 0);
    (world.simulation.event_hash(), height, root)
}

/// Goal: one seed is one run, for the whole node; any order of events ends in the same state.
/// Method: each of 5 seeds twice, in both orders; the transfers commute, but for fees.
#[test]
fn one_seed_is_one_run_of_the_whole_node() {
    for seed in 0..5 {
        for order in [Order::Fair, Order::Chaos] {
            let first = transfers(seed, order);
            assert_eq!(transfers(seed, order), first, "seed {seed}, {order:?}");
        }
    }
    assert_ne!(transfers(1, Order::Fair).0, transfers(2, Order::Fair).0, "seeds differ");
}

/// Goal: the reason to exist. 64 endless calls of one client delay neither blocks nor another
/// client's requests, and each ends at its deadline with geth's text.
/// Method: blocks every 50 ms of virtual time; probes all along.
#[test]
fn endless_calls_delay_neither_blocks_nor_others() {
    let mut world = World::new(7, Order::Fair, Mining::Interval(Duration::from_millis(50)));
    let hostile = Share::new();
    let target = "0x00000000000000000000000000000000000000aa";
    // JUMPDEST PUSH1 0 JUMP
    let code = json!({ target: { "code": "0x5b600056" } });
    let endless = json!([{ "to": target, "gas": "0x3b9aca00" }, "latest", code]);
    let calls: Vec<_> = (0..64).map(|_| world.send(&hostile, "eth_call", &endless)).collect();

    let mut slowest = Duration::ZERO;
    for _ in 0..40 {
        let asked_at = world.simulation.now();
        world.ask("eth_blockNumber", &json!([])).expect("an answer");
        slowest = slowest.max(world.simulation.now() - asked_at);
        world.simulation.run_for(Duration::from_millis(5));
    }
    // One turn that runs, and the probe's own: a few quanta of 100 us.
    assert!(slowest < Duration::from_millis(1), "a probe took {slowest:?}");
    assert!(world.head().0 >= 3, "blocks went on: {}", world.head().0);

    for call in calls {
        let answer = world.simulation.run_until(call).expect("a request does not panic");
        let error = answer.expect_err("it never ends by itself");
        assert_eq!(error.message, "execution aborted (timeout = 250ms)");
    }
}

/// Goal: cheats, snapshot and revert work through the engine, and the next block's root has them.
#[test]
fn cheats_snapshot_and_revert_go_through_the_engine() {
    let mut world = World::new(3, Order::Fair, Mining::Automine);
    let bob = dev_accounts().addresses()[1];
    let balance = |world: &mut World| {
        world.ask("eth_getBalance", &json!([bob, "latest"])).expect("an answer")
    };
    let before = balance(&mut world);
    let mark = world.ask("evm_snapshot", &json!([])).expect("an answer");
    world.ask("anvil_setBalance", &json!([bob, "0x7"])).expect("an answer");
    assert_eq!(balance(&mut world), "0x7", "seen at once");
    world.ask("evm_mine", &json!([])).expect("an answer");
    assert_eq!(balance(&mut world), "0x7", "and part of the next block");
    assert_eq!(world.head().0, 1);
    assert_eq!(world.ask("evm_revert", &json!([mark])).expect("an answer"), true);
    assert_eq!(balance(&mut world), before);
    assert_eq!(world.head().0, 0);
    assert_eq!(world.ask("evm_revert", &json!([mark])).expect("an answer"), false, "used up");
}

/// Goal: more cheats at once than the writer's mailbox holds are all carried out, between blocks
/// that go on, and nobody is told that the writer is gone.
#[test]
fn a_burst_of_cheats_beside_blocks_loses_nothing() {
    let mut world = World::new(8, Order::Fair, Mining::Interval(Duration::from_millis(50)));
    let account = |number: u64| format!("0x{:040x}", 0xc0_0000 + number);
    let cheats: Vec<_> = (1..=400)
        .map(|number| {
            let params = json!([account(number), format!("{number:#x}")]);
            world.send(&Share::new(), "anvil_setBalance", &params)
        })
        .collect();
    for cheat in cheats {
        let answer = world.simulation.run_until(cheat).expect("a request does not panic");
        assert_eq!(answer.expect("it is carried out").get(), "null");
    }
    for number in [1, 200, 400] {
        let balance = world.ask("eth_getBalance", &json!([account(number), "latest"]));
        assert_eq!(balance.expect("an answer"), format!("{number:#x}"));
    }
    let height = world.head().0;
    world.simulation.run_for(Duration::from_millis(500));
    assert!(world.head().0 >= height + 5, "blocks went on");
}

/// Goal: where the head is ahead of the machine's clock, as after time travel and a restart, time
/// goes on from the head; and from one in the past if that was asked for.
#[test]
fn time_goes_on_from_the_head() {
    for (start, is_clock_from_head) in [(86_400, false), (-86_400, true)] {
        let simulation = System::simulated(9, Faults::default());
        let system = simulation.system().clone();
        let first = system.wall_clock().as_secs().saturating_add_signed(start);
        let clock = Clock { first, is_from_head: is_clock_from_head };
        let node = node(&system, Mining::None, None, Some(clock));
        let mut world = World { simulation, node };
        for seconds in 1..=3 {
            world.simulation.run_for(Duration::from_secs(1));
            world.ask("evm_mine", &json!([])).expect("an answer");
            let mined = world.node.durable.get().header.timestamp;
            assert_eq!(mined, first + seconds, "{start} from now");
        }
    }
}

/// Goal: a reset leaves the first block alone, as if nothing had been; the chain goes on from it.
#[test]
fn a_reset_returns_to_the_first_block() {
    let mut world = World::new(4, Order::Fair, Mining::None);
    let [alice, bob] = [0, 1].map(|index| dev_accounts().addresses()[index]);
    let state = |world: &mut World| {
        let balance = world.ask("eth_getBalance", &json!([bob, "latest"])).expect("an answer");
        (world.head(), balance)
    };
    let beginning = state(&mut world);
    world.ask("anvil_setBalance", &json!([bob, "0x7"])).expect("an answer");
    let transfer = json!([{ "from": alice, "to": bob, "value": "0x1" }]);
    world.ask("eth_sendTransaction", &transfer).expect("it is good");
    world.ask("evm_mine", &json!([])).expect("an answer");
    world.ask("eth_sendTransaction", &transfer).expect("it is good");
    assert_ne!(state(&mut world), beginning);
    let forking = json!([{ "forking": { "jsonRpcUrl": "http://127.0.0.1:1" } }]);
    world.ask("anvil_reset", &forking).expect_err("there is nothing to fork from");

    world.ask("anvil_reset", &json!([])).expect("an answer");
    assert_eq!(state(&mut world), beginning);
    let pool = world.ask("txpool_status", &json!([])).expect("an answer");
    assert_eq!(pool, json!({ "pending": "0x0", "queued": "0x0" }));
    world.ask("eth_sendTransaction", &transfer).expect("its nonce is the first again");
    world.ask("evm_mine", &json!([])).expect("an answer");
    assert_eq!(world.head().0, 1);
}

/// Goal: a transaction may ask for what the next block has, not for what the head has.
#[test]
fn a_raised_gas_limit_holds_from_the_next_transaction_on() {
    let mut world = World::new(5, Order::Fair, Mining::Automine);
    let [alice, bob] = [0, 1].map(|index| dev_accounts().addresses()[index]);
    let transfer = json!([{ "from": alice, "to": bob, "gas": "0x2625a00" }]);
    let refused = world.ask("eth_sendTransaction", &transfer).expect_err("40 million are too many");
    assert!(refused.message.contains("exceeds block gas limit"), "{refused}");
    world.ask("evm_setBlockGasLimit", &json!(["0x3938700"])).expect("an answer");
    let hash = world.ask("eth_sendTransaction", &transfer).expect("60 million are enough");
    world.simulation.run_for(Duration::from_secs(1));
    let receipt = world.ask("eth_getTransactionReceipt", &json!([hash])).expect("an answer");
    assert_eq!(receipt["status"], "0x1");
}

/// Goal: a node that is told a gas limit other than its chain's admits by it from the start.
#[test]
fn a_gas_limit_of_its_own_holds_from_the_start() {
    let limit = Some(60_000_000);
    let mut world = World::with_gas_limit(5, Order::Fair, Mining::Automine, limit);
    let [alice, bob] = [0, 1].map(|index| dev_accounts().addresses()[index]);
    let transfer = json!([{ "from": alice, "to": bob, "gas": "0x2625a00" }]);
    world.ask("eth_sendTransaction", &transfer).expect("60 million are enough");
}

/// Goal: the head's time is the wall clock's, in milliseconds, and no order to the chain's clock
/// moves it.
#[test]
fn the_head_has_its_wall_time() {
    let mut world = World::new(6, Order::Fair, Mining::None);
    let mut ask = |method: &str, params: Value| {
        world.simulation.run_for(Duration::from_secs(5));
        let answer = world.ask(method, &params).expect("an answer");
        let now = world.simulation.system().wall_clock().as_millis();
        (answer, u64::try_from(now).expect("not so far"))
    };
    let (started, _) = ask("anvil_getLastBlockWallTime", json!([]));
    ask("evm_increaseTime", json!([1_000]));
    let (again, _) = ask("anvil_getLastBlockWallTime", json!([]));
    assert_eq!(started, again);
    let (_, mined) = ask("evm_mine", json!([]));
    let (last, now) = ask("anvil_getLastBlockWallTime", json!([]));
    let last = last.as_u64().expect("a number");
    assert!(mined - 100 < last && last <= mined && last + 5_000 <= now, "{mined}, {last}, {now}");
}

/// A block as `eth_getBlockByNumber` gives it; `Null` if there is none.
fn block(world: &mut World, number: u64) -> Value {
    let params = json!([format!("{number:#x}"), false]);
    world.ask("eth_getBlockByNumber", &params).expect("an answer")
}

/// Blocks 0 to the head, each the child of the one before. Returns the head's number.
fn unbroken(world: &mut World) -> u64 {
    let head = world.head().0;
    let mut parent = block(world, 0)["hash"].clone();
    for number in 1..=head {
        let block = block(world, number);
        assert_eq!(block["number"], format!("{number:#x}"));
        assert_eq!(block["parentHash"], parent, "block {number}");
        parent = block["hash"].clone();
    }
    head
}

fn receipt(world: &mut World, hash: &Value) -> Value {
    world.ask("eth_getTransactionReceipt", &json!([hash])).expect("an answer")
}

/// One life of process `victim` is ended `after` a burst of requests. Returns the run's hash, and
/// how many of the operator's orders failed.
fn survives(seed: u64, order: Order, victim: usize, after: Duration) -> (u64, usize) {
    let mut world = World::new(seed, order, Mining::Automine);
    let [alice, bob, carol] = [0, 1, 2].map(|index| dev_accounts().addresses()[index]);
    let transfer = |from| json!([{ "from": from, "to": bob, "value": "0x1" }]);
    let served = world.ask("eth_sendTransaction", &transfer(alice)).expect("it is good");
    world.simulation.run_for(Duration::from_secs(1));
    let before = receipt(&mut world, &served);
    assert_eq!(before["status"], "0x1");

    let sent: Vec<_> = (0..8)
        .map(|_| world.send(&Share::new(), "eth_sendTransaction", &transfer(alice)))
        .collect();
    let orders = [
        world.send(&Share::new(), "anvil_setBalance", &json!([carol, "0x56bc75e2d63100000"])),
        world.send(&Share::new(), "evm_snapshot", &json!([])),
        world.send(&Share::new(), "anvil_mine", &json!(["0x4"])),
    ];
    world.simulation.run_for(after);
    let durable = world.head().0;
    world.node.supervised[victim].kill();

    // Nothing hangs; what is not carried out is said to be so.
    let mut failed = 0;
    for order in orders {
        if let Err(error) = world.simulation.run_until(order).expect("a request does not panic") {
            assert!(error.message.contains("engine"), "{error}");
            failed += 1;
        }
    }
    let mut accepted = Vec::new();
    for sent in sent {
        if let Ok(hash) = world.simulation.run_until(sent).expect("a request does not panic") {
            accepted.push(serde_json::from_str::<Value>(hash.get()).expect("an answer is JSON"));
        }
    }
    world.simulation.run_for(Duration::from_secs(1));
    assert_eq!(receipt(&mut world, &served), before, "what was served stays");
    if world.node.supervised[victim].name() != "Pool" {
        for hash in &accepted {
            assert_eq!(receipt(&mut world, hash)["status"], "0x1", "the pool has kept it");
        }
    }
    let head = unbroken(&mut world);
    assert!(head >= durable, "no durable block is lost");

    let next = world.ask("eth_sendTransaction", &transfer(carol)).expect("it is good");
    world.simulation.run_for(Duration::from_secs(1));
    assert_eq!(receipt(&mut world, &next)["status"], "0x1", "blocks go on");
    world.ask("evm_mine", &json!([])).expect("the engine takes orders");
    assert!(unbroken(&mut world) >= head + 2);
    let status = world.ask("sched_status", &json!([])).expect("an answer");
    let restarts = status["restarts"].as_u64().expect("a number");
    let name = world.node.supervised[victim].name();
    assert_eq!(restarts, if name == "Pool" { 1 } else { 2 }, "{name}, alone or with its other");
    (world.simulation.event_hash(), failed)
}

/// Goal: the end of a life of engine, executor or pool is not the end of the node, whenever it
/// comes: blocks go on from the durable head, nothing served changes, nothing that waits hangs.
/// Method: each of the three is killed at 30 instants of a burst, in both orders of events.
#[test]
fn the_node_outlives_engine_executor_and_pool() {
    for victim in 0..3 {
        let mut all_failed = 0;
        for seed in 0..30 {
            let order = if seed % 2 == 0 { Order::Fair } else { Order::Chaos };
            let after = Duration::from_micros(seed * 25);
            println!("victim {victim}, seed {seed}");
            let run = survives(seed, order, victim, after);
            all_failed += run.1;
            if seed % 15 == 0 {
                assert_eq!(survives(seed, order, victim, after), run, "one seed is one run");
            }
        }
        // The pool has no orders; of the others some life ends with orders in hand.
        assert_eq!(all_failed > 0, victim < 2, "victim {victim}: {all_failed} failed");
    }
}

/// Goal: the same while the node begins: the engine may have had its first turn and the executor
/// none, whose first life then knows no other engine than the one that has ended.
#[test]
fn the_node_outlives_them_while_it_begins() {
    for (victim, turns) in (0..3).flat_map(|victim| (0..24).map(move |turns| (victim, turns))) {
        for order in [Order::Fair, Order::Chaos] {
            let mut world = World::new(turns, order, Mining::Automine);
            world.simulation.run_for(Duration::from_nanos(turns * 25));
            world.node.supervised[victim].kill();
            world.simulation.run_for(Duration::from_secs(1));
            let mined = world.ask("evm_mine", &json!([]));
            assert!(mined.is_ok(), "victim {victim} after {turns} turns, {order:?}: {mined:?}");
        }
    }
}

/// Goal: a life that ends again and again ends the node, with the name of who failed.
#[test]
fn what_fails_without_end_stops_the_node() {
    for victim in 0..3 {
        let mut world = World::new(1, Order::Fair, Mining::Automine);
        let name = world.node.supervised[victim].name();
        for _ in 0..6 {
            assert_eq!(world.simulation.system().stop_reason(), None);
            world.node.supervised[victim].kill();
            world.simulation.run_for(Duration::from_secs(1));
        }
        let reason = world.simulation.system().stop_reason().expect("it has stopped");
        assert!(format!("{reason:?}").contains(name), "{reason:?}");
    }
}
