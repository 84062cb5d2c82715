//! Traces of blocks, by geth's, Parity's and Otterscan's methods.

use std::{
    task::{Context, Poll, Waker},
    time::Duration,
};

use alloy_primitives::{Address, Bytes, U256, keccak256};
use evenkeel_runtime::{Class, Spawn};
use evenkeel_state::{Account, ChangeSet, StorageChange};
use serde_json::{Value, json};

use super::world::{Setup, World, sender};
use crate::{Answer, PlaceLimits, RpcConfig, TextStream};

/// PUSH1 1, PUSH0, SLOAD, ADD, PUSH0, SSTORE; then a call of 0x77.. with one wei: PUSH0 x4,
/// PUSH1 1, PUSH20 0x77.., GAS, CALL, STOP.
pub(super) fn counter() -> Vec<u8> {
    let mut code = vec![0x60, 1, 0x5f, 0x54, 0x01, 0x5f, 0x55];
    code.extend([0x5f, 0x5f, 0x5f, 0x5f, 0x60, 1, 0x73]);
    code.extend([0x77; 20]);
    code.extend([0x5a, 0xf1, 0x00]);
    code
}

/// PUSH1 42, PUSH0, MSTORE, PUSH1 32, PUSH0, REVERT
const REVERTING: [u8; 8] = [0x60, 42, 0x5f, 0x52, 0x60, 32, 0x5f, 0xfd];

/// What the counter begins with.
const COUNT: u64 = 5;

fn callee() -> Address {
    Address::repeat_byte(0x42)
}

/// A world whose transactions go to `code`, which has ether to give away.
pub(super) fn world(seed: u64, code: &[u8]) -> World {
    world_with(seed, code, RpcConfig::default())
}

pub(super) fn world_with(seed: u64, code: &[u8], config: RpcConfig) -> World {
    let mut world = World::new(seed, config);
    world.mine(&[]);
    let code = Bytes::copy_from_slice(code);
    let code_hash = keccak256(&code);
    let account = Account { nonce: 1, balance: U256::from(1_000_000), code_hash };
    let mut changes = ChangeSet::default();
    changes.codes.insert(code_hash, code);
    changes.accounts.insert(callee(), Some(account));
    // A new slot and a new account would cost more gas than the transactions have.
    let slots = [(U256::ZERO, U256::from(COUNT))].into();
    changes.storage.insert(callee(), StorageChange { is_wiped: false, slots });
    let paid = Account { balance: U256::ONE, ..Account::default() };
    changes.accounts.insert(Address::repeat_byte(0x77), Some(paid));
    world.cheat(changes);
    world
}

/// Goal: a block's traces are those of its transactions, however the block is named; what cannot
/// be traced is refused in geth's words.
#[test]
fn blocks_are_traced_as_their_transactions() {
    let mut world = world(71, &counter());
    let block = world.mine(&[vec![], vec![]]);
    for options in [json!({}), json!({ "tracer": "callTracer" }), json!({ "tracer": "muxTracer" })]
    {
        let traces = world.ok("debug_traceBlockByNumber", &json!(["0x2", options]).to_string());
        assert_eq!(traces.as_array().map(Vec::len), Some(2));
        for (index, tx) in block.txs.iter().enumerate() {
            let params = json!([tx.hash(), options]).to_string();
            let alone = world.ok("debug_traceTransaction", &params);
            assert_eq!(traces[index], json!({ "txHash": tx.hash(), "result": alone }));
        }
        let by_hash = json!([block.hash, options]).to_string();
        assert_eq!(world.ok("debug_traceBlockByHash", &by_hash), traces);
        let raw = world.ok("debug_getRawBlock", r#"["0x2"]"#);
        assert_eq!(world.ok("debug_traceBlock", &json!([raw, options]).to_string()), traces);
    }
    let traces = world.ok("debug_traceBlockByNumber", r#"["latest"]"#);
    let stored = |index: usize| {
        let steps = traces[index]["result"]["structLogs"].as_array().expect("steps").clone();
        let store = steps.iter().find(|step| step["op"] == "SSTORE").expect("it stores").clone();
        store["storage"][format!("0x{:064x}", 0)].clone()
    };
    let filled = |value: u64| json!(format!("0x{:064x}", COUNT + value));
    assert_eq!((stored(0), stored(1)), (filled(1), filled(2)));

    assert_eq!(world.ok("debug_traceBlockByNumber", r#"["0x1"]"#), json!([]));
    let (code, text) = world.err("debug_traceBlockByNumber", r#"["0x0"]"#);
    assert_eq!((code, text.as_str()), (-32_000, "genesis is not traceable"));
    let (code, text) = world.err("debug_traceBlockByNumber", r#"["0x9"]"#);
    assert_eq!((code, text.as_str()), (-32_000, "block #9 not found"));
    let hash = format!("0x{:064x}", 1);
    let (code, text) = world.err("debug_traceBlockByHash", &json!([hash]).to_string());
    assert_eq!((code, text), (-32_000, format!("block {hash} not found")));
    let (_, text) = world.err("debug_traceBlock", r#"["0xc0"]"#);
    assert!(text.starts_with("could not decode block: "), "{text}");
    let (_, text) = world.err("debug_traceBlockByNumber", r#"["pending"]"#);
    assert_eq!(text, "tracing on top of pending is not supported");
}

/// Goal: calls of one request see what those before them did; a call within a block sees the
/// transactions before its place.
#[test]
fn calls_are_traced_one_after_another() {
    let mut world = world(72, &counter());
    world.mine(&[vec![], vec![]]);
    let call = json!({ "to": callee() });
    let bundles = json!([{ "transactions": [call, call] }, { "transactions": [call] }]);
    let options = json!({ "tracer": "prestateTracer", "tracerConfig": { "diffMode": true } });
    let params = json!([bundles, { "blockNumber": "latest" }, options]).to_string();
    let traces = world.ok("debug_traceCallMany", &params);
    let slot = format!("0x{:064x}", 0);
    let filled = |value: u64| json!(format!("0x{:064x}", COUNT + value));
    let post = |trace: &Value| {
        trace["post"][callee().to_string().to_lowercase()]["storage"][&slot].clone()
    };
    let seen = [&traces[0][0], &traces[0][1], &traces[1][0]].map(post);
    // The blocks of this world leave their storage to its tests.
    assert_eq!(seen, [filled(1), filled(2), filled(3)]);

    let within = |index: u64| {
        let mut options = options.clone();
        options["txIndex"] = json!(format!("{index:#x}"));
        json!([call, "0x2", options]).to_string()
    };
    for index in 0..=2 {
        let trace = world.ok("debug_traceCall", &within(index));
        assert_eq!(post(&trace), filled(index + 1), "{index}");
    }
    assert!(world.err("debug_traceCall", &within(3)).1.contains("out of range"));
    let many = json!([vec![json!({ "transactions": vec![&call; 1_001] }); 1]]).to_string();
    assert!(world.err("debug_traceCallMany", &many).1.contains("limit 1000"));
}

/// PUSH1 1, PUSH0, SLOAD, ADD, DUP1, PUSH0, SSTORE; then returns the sum.
const COUNTING: [u8; 14] =
    [0x60, 1, 0x5f, 0x54, 0x01, 0x80, 0x5f, 0x55, 0x5f, 0x52, 0x60, 32, 0x5f, 0xf3];

/// NUMBER, then returns it.
const NUMBER: [u8; 7] = [0x43, 0x5f, 0x52, 0x60, 32, 0x5f, 0xf3];

/// Goal: calls of one request say what they return, each after those before it, in the block's
/// environment or what is overridden of it; one that reverts says so in its place.
#[test]
fn many_calls_say_what_they_return() {
    let mut world = world(76, &COUNTING);
    world.mine(&[vec![], vec![]]);
    let call = json!({ "to": callee() });
    let value = |value: u64| json!({ "value": format!("0x{value:064x}") });
    let bundles = json!([
        { "transactions": [call, call] },
        { "transactions": [] },
        { "transactions": [call] },
    ]);
    let answer = world.ok("eth_callMany", &json!([bundles]).to_string());
    let [first, second, third] = [1, 2, 3].map(|count| value(COUNT + count));
    assert_eq!(answer, json!([[first, second], [], [third]]));
    // The blocks of this world leave their storage to its tests, but a replay does not.
    let within = json!({ "blockNumber": "0x2", "transactionIndex": 1 });
    let one = json!([{ "transactions": [call] }]);
    let answer = world.ok("eth_callMany", &json!([one, within]).to_string());
    assert_eq!(answer, json!([[second]]));

    let other = Address::repeat_byte(0x66);
    let third = Address::repeat_byte(0x67);
    let state = json!({
        callee().to_string(): { "stateDiff": { format!("0x{:064x}", 0): format!("0x{:064x}", 99) } },
        other.to_string(): { "code": Bytes::from(REVERTING.to_vec()) },
        third.to_string(): { "code": Bytes::from(NUMBER.to_vec()) },
    });
    let bundles = json!([
        { "transactions": [call, { "to": other }, call], "blockOverride": { "number": "0x77" } },
        { "transactions": [{ "to": third }], "blockOverride": { "number": "0x77" } },
        { "transactions": [{ "to": third }] },
    ]);
    let latest = json!({ "blockNumber": "latest", "transactionIndex": -1 });
    let answer = world.ok("eth_callMany", &json!([bundles, latest, state]).to_string());
    let reverted = json!({ "error": "execution reverted" });
    assert_eq!(answer[0], json!([value(100), reverted, value(101)]));
    assert_eq!((&answer[1], &answer[2]), (&json!([value(0x77)]), &json!([value(2)])));

    let (code, text) = world.err("eth_callMany", r#"[[{ "transactions": [] }]]"#);
    assert_eq!((code, text.as_str()), (-32_602, "bundles are empty."));
    let hurried = json!([one, null, null, 0]).to_string();
    assert!(world.err("eth_callMany", &hurried).1.starts_with("execution aborted (timeout = 0"));
    let broke = json!([{ "transactions": [{ "to": callee(), "from": other, "value": "0x1" }] }]);
    let (code, text) = world.err("eth_callMany", &json!([broke]).to_string());
    assert!(code == -32_000 && text.contains("insufficient funds"), "{text}");
}

/// Goal: the list of what a call accesses comes with its gas, and an error if it fails.
#[test]
fn access_lists_are_created() {
    let mut world = world(73, &counter());
    let call = json!([{ "to": callee() }]).to_string();
    let listed = world.ok("eth_createAccessList", &call);
    let other = Address::repeat_byte(0x77);
    let list = json!([
        { "address": callee(), "storageKeys": [format!("0x{:064x}", 0)] },
        { "address": other, "storageKeys": [] },
    ]);
    assert_eq!(lower(&listed["accessList"]), lower(&list));
    assert!(listed["gasUsed"].is_string() && listed.get("error").is_none(), "{listed}");
    let code = json!({ callee().to_string(): { "code": Bytes::from(REVERTING.to_vec()) } });
    let failing = json!([{ "to": callee() }, "latest", code]).to_string();
    let listed = world.ok("eth_createAccessList", &failing);
    assert_eq!(listed["error"], "execution reverted");
    assert_eq!(listed["accessList"], json!([]));
}

fn lower(value: &Value) -> Value {
    value.to_string().to_lowercase().parse().expect("JSON")
}

/// Goal: Parity's methods agree with each other on the same transactions.
#[test]
fn parity_traces_agree() {
    let mut world = world(74, &counter());
    let block = world.mine(&[vec![], vec![]]);
    world.mine(&[vec![]]);
    let all = world.ok("trace_block", r#"["0x2"]"#);
    let all = all.as_array().expect("a list").clone();
    assert_eq!(all.len(), 4, "two calls for each transaction: {all:?}");
    let hash = json!(block.txs[1].hash());
    let of_tx = world.ok("trace_transaction", &json!([hash]).to_string());
    assert_eq!(of_tx, json!(all[2..]));
    assert_eq!(of_tx[0]["action"]["callType"], "call");
    assert_eq!((&of_tx[0]["transactionPosition"], &of_tx[0]["subtraces"]), (&json!(1), &json!(1)));
    assert_eq!(world.ok("trace_get", &json!([hash, []]).to_string()), of_tx[0]);
    assert_eq!(world.ok("trace_get", &json!([hash, ["0x0"]]).to_string()), of_tx[1]);
    assert_eq!(world.ok("trace_get", &json!([hash, ["0x1"]]).to_string()), Value::Null);

    let types = json!(["trace", "stateDiff", "vmTrace"]);
    let replayed = world.ok("trace_replayBlockTransactions", &json!(["0x2", types]).to_string());
    let mut one = world.ok("trace_replayTransaction", &json!([hash, types]).to_string());
    assert_eq!(one["trace"][1]["action"], of_tx[1]["action"]);
    assert!(one["vmTrace"]["ops"].as_array().is_some_and(|ops| ops.len() > 10));
    let slot = &one["stateDiff"][callee().to_string().to_lowercase()]["storage"];
    assert_eq!(slot[format!("0x{:064x}", 0)]["*"]["to"], format!("0x{:064x}", COUNT + 2));
    one["transactionHash"] = hash.clone();
    assert_eq!(replayed[1], one);

    let call = json!({ "from": sender(), "to": callee(), "value": "0x1" });
    let called = world.ok("trace_call", &json!([call, ["trace"], "0x1"]).to_string());
    assert_eq!(called["trace"].as_array().map(Vec::len), Some(1), "there was no code yet");
    let many = json!([[[call, ["trace"]], [call, ["stateDiff"]]], "latest"]).to_string();
    let many = world.ok("trace_callMany", &many);
    assert_eq!(many[0]["trace"].as_array().map(Vec::len), Some(2));
    assert!(many[1]["stateDiff"].is_object() && many[1]["trace"] == json!([]));
    assert_eq!(world.ok("trace_block", r#"["0x0"]"#), json!([]));
    assert_eq!(world.ok("trace_block", r#"["0x9"]"#), Value::Null);
    assert_eq!(world.err("trace_rawTransaction", r#"["0x01", ["trace"]]"#).0, -32_000);
}

/// Goal: a filter finds what goes from and to its addresses, page by page, within its bounds.
#[test]
fn traces_are_filtered() {
    let mut world = world(75, &counter());
    world.mine(&[vec![], vec![]]);
    world.mine(&[]);
    world.mine(&[vec![]]);
    let mut found = |filter: Value| {
        let found = world.ok("trace_filter", &json!([filter]).to_string());
        found.as_array().expect("a list").clone()
    };
    assert_eq!(found(json!({})).len(), 6);
    let inner = found(json!({ "fromAddress": [callee()] }));
    assert_eq!(inner.len(), 3);
    assert_eq!(found(json!({ "fromAddress": [callee()], "after": 1, "count": 1 })), inner[1..2]);
    assert_eq!(found(json!({ "toAddress": [callee()], "fromBlock": "0x3" })).len(), 1);
    let both = json!({ "fromAddress": [sender()], "toAddress": [callee()], "mode": "union" });
    assert_eq!(found(both).len(), 3);
    let (code, text) = world.err("trace_filter", r#"[{"fromBlock":"0x3","toBlock":"0x2"}]"#);
    assert_eq!(code, -32_602);
    assert!(text.contains("fromBlock cannot be greater"), "{text}");
}

/// Goal: Otterscan is told what it shows of an address, a block and a transaction.
#[test]
fn otterscan_finds_its_way() {
    let mut world = world(76, &counter());
    let block = world.mine(&[vec![], vec![]]);
    world.mine(&[]);
    let last = world.mine(&[vec![]]);
    assert_eq!(world.ok("ots_getApiLevel", "[]"), 8);
    let at = |address: Address| json!([address, "latest"]).to_string();
    assert_eq!(world.ok("ots_hasCode", &at(callee())), true);
    assert_eq!(world.ok("ots_hasCode", &at(sender())), false);

    let hash = json!([block.txs[0].hash()]).to_string();
    let operations = world.ok("ots_getInternalOperations", &hash);
    assert_eq!(operations[0]["type"], 0);
    assert_eq!(operations[0]["value"], "0x1");
    let entries = world.ok("ots_traceTransaction", &hash);
    let depths: Vec<_> =
        entries.as_array().expect("a list").iter().map(|it| &it["depth"]).collect();
    assert_eq!(depths, [0, 1]);
    assert_eq!(world.ok("ots_getTransactionError", &hash), "0x");

    let details = world.ok("ots_getBlockDetails", r#"["0x2"]"#);
    assert_eq!(details["block"]["transactionCount"], 2);
    assert_eq!(details["issuance"]["issuance"], "0x0");
    let by_hash = json!([block.hash]).to_string();
    assert_eq!(world.ok("ots_getBlockDetailsByHash", &by_hash), details);
    let page = world.ok("ots_getBlockTransactions", r#"["0x2", "0x0", "0x1"]"#);
    assert_eq!(page["fullblock"]["transactions"][0]["hash"], json!(block.txs[1].hash()));
    assert_eq!(page["receipts"][0]["logs"], Value::Null);
    assert_eq!(page["fullblock"]["transactionCount"], 2);

    let pages = |name: &str| json!([callee(), name, "0x2"]).to_string();
    let newest = world.ok("ots_searchTransactionsBefore", &pages("0x0"));
    let hashes = |page: &Value| -> Vec<Value> {
        page["txs"].as_array().expect("a list").iter().map(|tx| tx["hash"].clone()).collect()
    };
    let [one, two, three] = [&block.txs[0], &block.txs[1], &last.txs[0]].map(|tx| json!(tx.hash()));
    assert_eq!(hashes(&newest), [three.clone(), two.clone(), one.clone()]);
    assert_eq!((&newest["firstPage"], &newest["lastPage"]), (&json!(true), &json!(false)));
    let oldest = world.ok("ots_searchTransactionsAfter", &pages("0x0"));
    assert_eq!(hashes(&oldest), [two.clone(), one.clone()]);
    let rest = world.ok("ots_searchTransactionsAfter", &pages("0x2"));
    assert_eq!(hashes(&rest), [three]);
    assert_eq!((&rest["firstPage"], &rest["lastPage"]), (&json!(true), &json!(false)));
    let other = json!([Address::repeat_byte(0x77), "0x3", "0x5"]).to_string();
    assert_eq!(hashes(&world.ok("ots_searchTransactionsBefore", &other)), [two, one.clone()]);

    let nonce = json!([sender(), "0x0"]).to_string();
    assert_eq!(world.ok("ots_getTransactionBySenderAndNonce", &nonce), one);
    // A cheat brought its code.
    let creator = world.ok("ots_getContractCreator", &json!([callee()]).to_string());
    assert_eq!(creator, Value::Null);
    assert!(
        world
            .err("ots_searchTransactionsBefore", &json!([callee(), "0x0", "0x3e9"]).to_string())
            .1
            .contains("1 to 1000")
    );
}

/// Goal: what a failed transaction returned is told.
#[test]
fn otterscan_is_told_why_a_transaction_failed() {
    let mut world = world(77, &REVERTING);
    let block = world.mine_failing();
    let hash = json!([block.txs[0].hash()]).to_string();
    assert_eq!(world.ok("ots_getTransactionError", &hash), format!("0x{:064x}", 42));
}

/// Goal: a trace takes as long as its options say, and no longer; what is no time is refused.
#[test]
fn traces_end_at_their_own_time() {
    let mut world = World::new(72, RpcConfig::default());
    let endless = |timeout: &str| {
        let to = callee();
        let overrides = json!({ to.to_string(): { "code": "0x5b600056" } });
        let options = json!({ "timeout": timeout, "stateOverrides": overrides });
        json!([{ "to": to, "gas": "0xffffffffff" }, "latest", options]).to_string()
    };
    let (code, text) = world.err("debug_traceCall", &endless("1ms"));
    assert_eq!((code, text.as_str()), (-32_000, "execution aborted (timeout = 1ms)"));
    for timeout in ["zz", "5", "11m"] {
        let (code, text) = world.err("debug_traceCall", &endless(timeout));
        assert_eq!(code, -32_602, "{timeout}");
        assert!(text.contains("expected a duration such as 5s"), "{text}");
    }
}

/// The trace of a call that never ends.
fn endless(world: &mut World) -> TextStream {
    let to = callee();
    let overrides = json!({ to.to_string(): { "code": "0x5b600056" } });
    let options = json!({ "stateOverrides": overrides });
    let params = json!([{ "to": to, "gas": "0xffffffffff" }, "latest", options]).to_string();
    match world.begin("debug_traceCall", &params).expect("a trace") {
        Answer::Stream(stream) => stream,
        Answer::Json(_) => panic!("it is streamed"),
    }
}

/// Goal: what a trace waits for its reader is not of its time, and it has no more than its time.
#[test]
fn a_slow_reader_takes_nothing_from_the_time_of_a_trace() {
    let config = RpcConfig { evm_timeout: Duration::from_millis(50), ..RpcConfig::default() };
    let mut world = World::new(73, config);
    let mut stream = endless(&mut world);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..10 {
        world.sim.run_for(Duration::from_secs(1));
        let mut bytes = 0;
        while let Poll::Ready(piece) = stream.poll_next(&mut cx) {
            bytes += piece.expect("it is endless").expect("it is in time").len();
        }
        assert!(bytes > 100_000, "{bytes}");
    }
    assert_eq!(world.api.places.gauge().running, 1);
    let reading = Answer::Stream(stream).into_json();
    let error = world.sim.system().spawn_future(Spawn::new("read", Class::Rpc), reading);
    let error = world.sim.run_until(error).expect("no panic").expect_err("it is over");
    assert_eq!(error.message, "execution aborted (timeout = 50ms)");
    world.sim.run_until_idle();
    assert_eq!(world.api.places.gauge().running, 0);
}

/// Goal: a slow reader gets the traces of all blocks, also of those that are executed after what
/// would have been the deadline.
#[test]
fn a_slow_reader_gets_all_that_a_filter_finds() {
    let mut world = world(74, &counter());
    for _ in 0..10 {
        world.mine(&vec![vec![]; 60]);
    }
    let Answer::Stream(mut stream) = world.begin("trace_filter", "[{}]").expect("traces") else {
        panic!("it is streamed")
    };
    let (mut text, mut rounds) = (Vec::new(), 0);
    let mut cx = Context::from_waker(Waker::noop());
    let mut is_over = false;
    while !is_over {
        rounds += 1;
        world.sim.run_for(Duration::from_secs(10));
        while let Poll::Ready(piece) = stream.poll_next(&mut cx) {
            let Some(piece) = piece else {
                is_over = true;
                break;
            };
            text.extend(piece.expect("it is in time"));
        }
    }
    let traces: Vec<Value> = serde_json::from_slice(&text).expect("it is whole");
    assert_eq!(traces.len(), 2 * 600);
    assert!(rounds > 2, "{rounds}");
}

/// Goal: the places that are kept beyond a deadline are bounded, for a client and for all; others
/// are given back at the deadline, whether somebody reads or not.
#[test]
fn places_of_slow_readers_are_bounded() {
    for (late_max, late_per_client_max) in [(2, 1), (1, 2), (0, 2)] {
        let places = PlaceLimits { late_max, late_per_client_max, ..PlaceLimits::default() };
        let mut world = World::with(73, Setup { places, ..Setup::default() });
        let kept = late_max.min(late_per_client_max);
        let mut streams = [(); 2].map(|()| endless(&mut world));
        assert_eq!(world.api.places.gauge().running, 2);
        world.sim.run_for(Duration::from_secs(6));
        assert_eq!(world.api.places.gauge().running, kept);
        let mut cx = Context::from_waker(Waker::noop());
        let errors = streams.iter_mut().filter_map(|stream| {
            // What came before the end was taken already.
            match stream.poll_next(&mut cx) {
                Poll::Ready(Some(Ok(_))) => match stream.poll_next(&mut cx) {
                    Poll::Ready(Some(Err(error))) => Some(error.message),
                    _ => None,
                },
                _ => panic!("its beginning is there"),
            }
        });
        let errors: Vec<_> = errors.collect();
        assert_eq!(errors, vec!["execution aborted (timeout = 5s)"; 2 - kept]);
        drop(streams);
        world.sim.run_until_idle();
        assert_eq!(world.api.places.gauge().running, 0);
    }
}

/// Goal: an option of another type is named, with what was expected and what was found.
#[test]
fn wrong_options_are_named() {
    let mut world = world(79, &counter());
    let block = world.mine(&[vec![]]);
    let hash = block.txs[0].hash();
    for (options, expected) in [
        (json!({ "tracer": 5 }), "invalid argument 1: tracer: expected text, found the number 5"),
        (json!({ "tracer": ["a"] }), "tracer: expected text, found a list"),
        (json!({ "timeout": 5 }), "timeout: expected text, found the number 5"),
        (
            json!({ "disableStack": "yes" }),
            "disableStack: expected true or false, found the text \"yes\"",
        ),
        (json!({ "limit": -1 }), "limit: expected a whole number, 0 or more, found the number -1"),
        (
            json!("callTracer"),
            "invalid argument 1: expected an object, found the text \"callTracer\"",
        ),
        (
            json!({ "tracer": "callTracer", "tracerConfig": { "onlyTopCall": 1 } }),
            "tracerConfig.onlyTopCall: expected true or false, found the number 1",
        ),
        (
            json!({ "tracer": "prestateTracer", "tracerConfig": { "diffMode": "on" } }),
            "tracerConfig.diffMode: expected true or false, found the text \"on\"",
        ),
        (
            json!({ "tracer": "muxTracer", "tracerConfig": [] }),
            "tracerConfig: expected an object, found a list",
        ),
        (
            json!({ "tracer": "callTracer", "tracerConfig": [true] }),
            "tracerConfig: expected an object, found a list",
        ),
        (
            json!({ "tracer": "erc7562Tracer", "tracerConfig": { "ignoredOpcodes": ["54"] } }),
            "tracerConfig.ignoredOpcodes: expected a list of opcodes (hex with 0x, 0x0 to 0xff), \
             found a list",
        ),
        (
            json!({ "tracer": "muxTracer",
                "tracerConfig": { "erc7562Tracer": { "withLog": 1 }, "callTracer": null } }),
            "tracerConfig.erc7562Tracer.withLog: expected true or false, found the number 1",
        ),
    ] {
        let (_, said) = world.err("debug_traceTransaction", &json!([hash, options]).to_string());
        assert!(said.contains(expected), "{options}: {said}");
    }
    // A script is handed whatever there is.
    let script = "{ setup(c) { this.c = JSON.parse(c) }, fault() {}, result() { return this.c } }";
    let options = json!({ "tracer": script, "tracerConfig": [1, 2] });
    let params = json!([hash, options]).to_string();
    assert_eq!(world.ok("debug_traceTransaction", &params), json!([1, 2]));
    for (call, expected) in [
        (r#"{ "to": "0x12" }"#, "invalid argument 0: to: invalid string length"),
        ("5", "invalid argument 0: invalid type: integer `5`, expected an object"),
    ] {
        let (_, said) = world.err("debug_traceCall", &format!(r#"[{call}, "latest"]"#));
        assert_eq!(said, expected);
    }
    let (_, said) = world.err("debug_traceCall", r#"[{}, "latest", { "txIndex": "one" }]"#);
    assert!(said.ends_with("txIndex: expected a quantity (hex with 0x), found the text \"one\""));
}
