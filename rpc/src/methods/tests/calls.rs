//! Calls, estimates and traces reach the EVM and come back as geth shows them.

use std::time::Duration;

use alloy_primitives::{Address, Bytes, U256, keccak256};
use evenkeel_runtime::Share;
use evenkeel_state::{Account, ChangeSet};
use serde_json::{Value, json};

use super::world::{Setup, World, sender};
use crate::{ClientId, Member, PlaceGauge, PlaceLimits, RpcConfig};

const CODE_AT: &str = "0x00000000000000000000000000000000000000cc";

fn call(code: &str) -> Value {
    json!([{ "to": CODE_AT }, "latest", { CODE_AT: { "code": code } }])
}

/// Goal: output, overrides, revert data and halts come as geth shows them.
#[test]
fn outcomes_of_a_call() {
    let mut world = World::new(31, RpcConfig::default());
    world.mine(&[]);
    // PUSH1 42, PUSH0, MSTORE, PUSH1 32, PUSH0, RETURN
    let answer = world.ok("eth_call", &call("0x602a5f5260205ff3").to_string());
    assert_eq!(answer, format!("0x{:064x}", 42));
    // NUMBER on the latest block is the latest block's.
    let number = |world: &mut World, block: &str| {
        let mut params = call("0x435f5260205ff3");
        params[1] = json!(block);
        world.ok("eth_call", &params.to_string())
    };
    assert_eq!(number(&mut world, "latest"), format!("0x{:064x}", 1));
    assert_eq!(number(&mut world, "pending"), format!("0x{:064x}", 2));

    // PUSH1 42, PUSH0, MSTORE, PUSH1 32, PUSH0, REVERT
    let error = world.call("eth_call", &call("0x602a5f5260205ffd").to_string());
    let error = error.expect_err("it reverts");
    assert_eq!((error.code, &*error.message), (3, "execution reverted"));
    let data = error.data.expect("revert data");
    assert_eq!(data.get(), format!("\"0x{:064x}\"", 42));

    let (code, text) = world.err("eth_call", &call("0xfe").to_string());
    assert_eq!((code, text.as_str()), (-32_000, "invalid opcode: INVALID"));
    let (code, text) = world.err("eth_call", &json!([{ "to": CODE_AT }, "0x99"]).to_string());
    assert_eq!((code, text.as_str()), (-32_000, "header not found"));
}

/// Goal: an estimate is exact for a transfer, and sending without gas uses it.
#[test]
fn estimates() {
    let mut world = World::new(32, RpcConfig::default());
    let transfer = json!([{ "from": sender(), "to": CODE_AT, "value": "0x1" }]).to_string();
    assert_eq!(world.ok("eth_estimateGas", &transfer), "0x5208");
    let hash = world.ok("eth_sendTransaction", &transfer);
    let shown = world.ok("eth_getTransactionByHash", &json!([hash]).to_string());
    assert_eq!(shown["gas"], "0x5208");
}

/// Goal: both traces give callTracer's frame; tracers may be scripts.
#[test]
fn traces() {
    let mut world = World::new(33, RpcConfig::default());
    let block = world.mine(&[vec![], vec![]]);
    let tracer = json!({ "tracer": "callTracer" });
    let hash = block.txs[1].hash();
    let trace = world.ok("debug_traceTransaction", &json!([hash, tracer]).to_string());
    assert_eq!(trace["type"], "CALL");
    assert_eq!(trace["value"], "0x1");
    assert_eq!(trace["gasUsed"], "0x5208");
    assert_eq!(trace["from"], json!(sender()));

    let call = json!([{ "to": CODE_AT }, "latest", tracer]).to_string();
    assert_eq!(world.ok("debug_traceCall", &call)["to"], CODE_AT);
    let scripted = |result: &str| {
        let script = format!("{{ fault: function() {{}}, result: {result} }}");
        json!([hash, { "tracer": script }]).to_string()
    };
    let good = scripted("function(ctx) { return [toHex(ctx.txHash), ctx.txIndex, ctx.value]; }");
    assert_eq!(world.ok("debug_traceTransaction", &good), json!([hash, 1, "1"]));
    let (_, text) = world.err("debug_traceTransaction", &scripted("function() { throw 'up'; }"));
    assert_eq!(text, "up in server-side tracer function 'result'");
    let whole = json!([format!("{:#x}", block.header.number), { "tracer": "{}" }]).to_string();
    let (_, text) = world.err("debug_traceBlockByNumber", &whole);
    assert!(text.contains("must expose a function result()"), "{text}");
}

/// Goal: a traced transaction runs on what its block was executed on: with the cheats before it,
/// without those after it.
/// Method: the callee gets code that returns its slot 0, then 7 into the slot, a block, then an 8.
#[test]
fn a_trace_sees_the_cheats_before_its_block() {
    let mut world = World::new(34, RpcConfig::default());
    world.mine(&[]);
    let callee = Address::repeat_byte(0x42);
    // PUSH0, SLOAD, PUSH0, MSTORE, PUSH1 32, PUSH0, RETURN
    let code = Bytes::from_static(&[0x5f, 0x54, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3]);
    let mut changes = ChangeSet::default();
    let account = Account { code_hash: keccak256(&code), ..Account::default() };
    changes.accounts.insert(callee, Some(account));
    changes.codes.insert(account.code_hash, code);
    world.cheat(changes);
    let set = |world: &mut World, value: u64| {
        let mut changes = ChangeSet::default();
        changes.storage.entry(callee).or_default().slots.insert(U256::ZERO, U256::from(value));
        world.cheat(changes);
    };
    set(&mut world, 7);
    let block = world.mine(&[vec![]]);
    set(&mut world, 8);
    world.mine(&[]);
    let tracer = json!({ "tracer": "callTracer" });
    let params = json!([block.txs[0].hash(), tracer]);
    let trace = world.ok("debug_traceTransaction", &params.to_string());
    assert_eq!(trace["output"], format!("0x{:064x}", 7), "{trace}");
    let call = json!([{ "to": callee }, "latest"]).to_string();
    assert_eq!(world.ok("eth_call", &call), format!("0x{:064x}", 8));
}

/// Goal: what runs at once is bounded for a client and for the node; who finds no place waits, who
/// finds no room to wait is told so; places go on to others when a call ends or its client goes.
/// Method: two clients with endless calls, and the gauge between the steps.
#[test]
fn executions_are_counted_and_bounded() {
    let limits = PlaceLimits {
        running_max: 3,
        running_per_client_max: 2,
        waiting_max: 4,
        waiting_per_client_max: 2,
        ..PlaceLimits::default()
    };
    let timeout = Duration::from_millis(20);
    let config = RpcConfig { evm_timeout: timeout, ..RpcConfig::default() };
    let mut world = World::with(35, Setup { config, places: limits, ..Setup::default() });
    let member = |id| Member { share: Share::new(), id: ClientId::new(id) };
    let [alice, bob] = [1, 2].map(member);
    // JUMPDEST PUSH1 0 JUMP
    let endless = call("0x5b600056").to_string();
    let start = |world: &mut World, member: &Member, method: &str, params: &str| {
        let task = world.start(member, None, method, params);
        world.sim.run_for(Duration::from_millis(1));
        task
    };
    let gauge = |running, waiting, refused| PlaceGauge { running, waiting, refused };

    let first = start(&mut world, &alice, "eth_call", &endless);
    let second = start(&mut world, &alice, "eth_call", &endless);
    let quick = call("0x00").to_string();
    let third = start(&mut world, &alice, "eth_call", &quick);
    let fourth = start(&mut world, &alice, "eth_estimateGas", &endless);
    assert_eq!(world.api.places.gauge(), gauge(2, 2, 0));
    let refused = start(&mut world, &alice, "debug_traceCall", &call("0x00").to_string());
    let error = world.sim.run_until(refused).expect("no panic").expect_err("the line is full");
    assert_eq!(error.code, -32_005);
    assert_eq!(error.message, "too many calls: 2 of this client wait to be executed");
    let other = start(&mut world, &bob, "eth_call", &endless);
    assert_eq!(world.api.places.gauge(), gauge(3, 2, 1), "another client has its place");
    let waiting = [(); 2].map(|()| start(&mut world, &bob, "eth_call", &endless));
    assert_eq!(world.api.places.gauge(), gauge(3, 4, 1));
    let stranger = start(&mut world, &member(3), "eth_call", &quick);
    let error = world.sim.run_until(stranger).expect("no panic").expect_err("all lines are full");
    assert_eq!(
        (error.code, &*error.message),
        (-32_005, "node is busy: 4 calls wait to be executed")
    );

    // One client goes, whether it runs or waits.
    for task in waiting.into_iter().chain([other]) {
        task.abort();
    }
    world.sim.run_for(Duration::from_millis(1));
    assert_eq!(world.api.places.gauge(), gauge(2, 2, 2), "its places are free");
    first.abort();
    let output = world.sim.run_until(third).expect("no panic").expect("it came to run");
    assert_eq!(output.get(), "\"0x\"");
    // The others end at their deadlines, whether they came to run or not.
    for task in [second, fourth] {
        let error = world.sim.run_until(task).expect("no panic").expect_err("endless");
        assert_eq!(error.message, "execution aborted (timeout = 20ms)");
    }
    world.sim.run_for(timeout);
    assert_eq!(world.api.places.gauge(), gauge(0, 0, 2));
}
