//! Executions seen, weighed, killed and held.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use evenkeel_runtime::{Class, Share};
use serde_json::{Value, json};

use super::{
    traces::{counter, world},
    world::{Setup, World},
};
use crate::{
    ClientId, Member, PlaceLimits, RpcConfig, Session,
    methods::limits::EXEC_PARAMS_BYTES_MAX,
    session::{Line, Outboxes},
};

const CODE_AT: &str = "0x00000000000000000000000000000000000000cc";
/// JUMPDEST, PUSH1 0, JUMP
const ENDLESS: &str = "0x5b600056";
/// PUSH1 42, PUSH0, MSTORE, PUSH1 32, PUSH0, RETURN
const ANSWER: &str = "0x602a5f5260205ff3";
/// The same, but REVERT.
const REVERT: &str = "0x602a5f5260205ffd";

fn call(code: &str) -> Value {
    json!([{ "to": CODE_AT }, "latest", { CODE_AT: { "code": code } }])
}

fn start(world: &mut World, code: &str, options: &Value) -> Value {
    world.ok("exec_start", &json!(["eth_call", call(code), options]).to_string())
}

/// Goal: a status names classes and executions; queues group processes by name; a listed execution
/// can be weighed and killed, and nothing else can.
#[test]
fn executions_are_listed_weighed_and_killed() {
    let mut world = World::new(61, RpcConfig::default());
    let member = Member { share: Share::new(), id: ClientId::new(7) };
    let endless = world.start(&member, None, "eth_call", &call(ENDLESS).to_string());
    world.sim.run_for(Duration::from_millis(1));

    let status = world.ok("sched_status", "[]");
    assert_eq!(status["executions"], json!({ "running": 1, "waiting": 0, "refused": 0 }));
    let classes = status["classes"].as_array().expect("a list");
    let one = classes.iter().find(|class| class["name"] == "call").expect("class call");
    assert_eq!((one["weight"].as_u64(), one["queued"].as_u64()), (Some(4), Some(1)));
    assert!(one["busyShare"].as_f64().is_some_and(|share| share > 0.5), "{one}");
    // It has had turns of a quantum, and its first wait was none.
    let turns = ["p50", "p99", "max"].map(|part| one["turnNs"][part].as_u64().expect("a number"));
    assert!(turns[0] >= 100_000 && turns.is_sorted() && turns[2] < 200_000, "{turns:?}");
    assert_eq!(one["waitNs"], json!({ "p50": 1024, "p99": 1024, "max": 1024 }));
    let idle = classes.iter().find(|class| class["name"] == "prove").expect("class prove");
    assert_eq!(idle["waitNs"], json!({ "p50": 0, "p99": 0, "max": 0 }));
    let queues = world.ok("sched_queues", "[]");
    let groups = queues.as_array().expect("a list");
    let group = groups.iter().find(|group| group["name"] == "call").expect("the call");
    assert_eq!((&group["class"], &group["count"]), (&json!("call"), &json!(1)));
    assert!(group["reductions"].as_u64().is_some_and(|used| used > 0));
    assert_eq!(world.ok("sched_queues", "[1]").as_array().map(Vec::len), Some(1));
    for wrong in ["1001", "0", "-1", "\"many\""] {
        let error = format!("invalid argument 0: expected 1 to 1000 groups, found {wrong}");
        assert_eq!(world.err("sched_queues", &format!("[{wrong}]")), (-32_602, error));
    }

    let listed = world.ok("sched_executions", "[]");
    assert_eq!((&listed[0]["method"], &listed[0]["client"]), (&json!("eth_call"), &json!(7)));
    assert_eq!(world.ok("sched_setWeight", "[7, 0.5]"), true);
    assert_eq!(member.share.weight_64ths(), 32);
    let weights = json!([{ "client": 7, "weight": 0.5 }]);
    assert_eq!(world.ok("sched_status", "[]")["weights"], weights);
    for wrong in ["0.001", "65", "-1", "\"heavy\""] {
        let error = format!("invalid argument 1: expected a weight of 1/64 to 64, found {wrong}");
        assert_eq!(world.err("sched_setWeight", &format!("[7, {wrong}]")), (-32_602, error));
    }
    let missing = "missing value for required argument 1";
    assert_eq!(world.err("sched_setWeight", "[7]"), (-32_602, missing.to_owned()));
    assert_eq!(world.err("sched_setWeight", "[8, 2]").0, -32_001);
    assert_eq!(world.ok("sched_setWeight", "[7, 1]"), true);

    let id = listed[0]["id"].clone();
    assert_eq!(world.ok("sched_kill", &json!([id]).to_string()), true);
    let error = world.sim.run_until(endless).expect("no panic").expect_err("it was killed");
    assert_eq!(error.message, "execution killed");
    let (code, text) = world.err("sched_kill", &json!([id]).to_string());
    assert!(code == -32_001 && text.contains("only executions of requests"), "{text}");
    world.sim.run_for(Duration::from_millis(1));
    assert_eq!(world.ok("sched_executions", "[]"), json!([]));
}

/// Goal: a method can be weighed, before its executions begin and while they run, for all clients;
/// and only a method that executes.
/// Method: reductions of an endless `eth_call` and an endless `debug_traceCall` of two clients.
#[test]
fn methods_are_weighed() {
    let mut world = World::new(64, RpcConfig::default());
    assert_eq!(world.ok("sched_setWeight", r#"["debug_traceCall", 0.25]"#), true);
    let weights = json!([{ "method": "debug_traceCall", "weight": 0.25 }]);
    assert_eq!(world.ok("sched_status", "[]")["weights"], weights);
    let overrides =
        json!({ "tracer": "callTracer", "stateOverrides": { CODE_AT: { "code": ENDLESS } } });
    let traced = json!([{ "to": CODE_AT }, "latest", overrides]).to_string();
    let members = [7, 8].map(|id| Member { share: Share::new(), id: ClientId::new(id) });
    let called = world.start(&members[0], None, "eth_call", &call(ENDLESS).to_string());
    let traced = world.start(&members[1], None, "debug_traceCall", &traced);
    let mut before = BTreeMap::new();
    for weight in [4, 1] {
        world.sim.run_for(Duration::from_millis(100));
        let mut used = BTreeMap::new();
        let mut processes = world.api.system.processes();
        while processes.look(64, |process| {
            if process.class == Class::Call {
                used.insert(process.id, process.reductions);
            }
        }) {}
        let mut since: Vec<_> =
            used.iter().map(|(id, used)| used - before.get(id).copied().unwrap_or(0)).collect();
        since.sort_unstable();
        let [least, most] = since[..] else { panic!("both run: {since:?}") };
        assert!((weight * least).abs_diff(most) * 10 <= most, "{weight}: {least} {most}");
        before = used;
        assert_eq!(world.ok("sched_setWeight", r#"["debug_traceCall", 1]"#), true);
    }
    assert_eq!(world.ok("sched_status", "[]")["weights"], json!([]));
    drop((called, traced));
    let (_, text) = world.err("sched_setWeight", r#"["eth_chainId", 1]"#);
    assert!(text.contains("one of eth_call, eth_estimateGas, debug_traceCall"), "{text}");
    assert!(world.err("sched_setWeight", r#"["eth_call", 65]"#).1.contains("1/64 to 64"));
    for wrong in ["-1", "\"0x\"", "\"call\"", "{}"] {
        let (_, text) = world.err("sched_setWeight", &format!("[{wrong}, 1]"));
        let expected = "the number of a client, or a method that executes such as eth_call";
        assert_eq!(text, format!("invalid argument 0: expected {expected}, found {wrong}"));
    }
}

/// Goal: a held execution can be paused, stepped, resumed, read and cancelled by its client alone,
/// within the bounds; its result is kept for a minute; it ends at its deadline.
#[test]
fn executions_are_held() {
    let mut world = World::new(62, RpcConfig::default());
    let id = start(&mut world, ANSWER, &json!({ "paused": true }));
    let named = json!([id]).to_string();
    world.sim.run_for(Duration::from_millis(1));
    let status = world.ok("exec_pause", &named);
    assert_eq!((&status["state"], &status["depth"]), (&json!("paused"), &json!(0)));
    let status = world.ok("exec_step", &json!([id, 2]).to_string());
    assert_eq!((&status["state"], &status["pc"]), (&json!("paused"), &json!(3)));
    assert_eq!((&status["steps"], &status["opcode"]), (&json!(2), &json!(0x52)));
    let stranger = Member { share: Share::new(), id: ClientId::new(9) };
    let other = world.start(&stranger, None, "exec_status", &named);
    assert_eq!(world.sim.run_until(other).expect("no panic").expect_err("not its").code, -32_001);

    world.ok("exec_resume", &named);
    world.sim.run_for(Duration::from_millis(1));
    let status = world.ok("exec_status", &named);
    let plain = world.ok("eth_call", &call(ANSWER).to_string());
    assert_eq!((&status["state"], &status["result"]), (&json!("done"), &plain));
    world.sim.run_for(Duration::from_secs(59));
    assert_eq!(world.ok("exec_status", &named)["state"], "done");
    world.sim.run_for(Duration::from_secs(2));
    assert_eq!(world.err("exec_status", &named).0, -32_001);

    let late = start(&mut world, ENDLESS, &json!({ "timeoutMs": 50, "paused": true }));
    world.sim.run_for(Duration::from_millis(60));
    let status = world.ok("exec_status", &json!([late]).to_string());
    assert_eq!(status["state"], "failed");
    assert_eq!(status["error"]["message"], "execution aborted (timeout = 50ms)");
    // As 0 of the node's own time: no limit, but that of all that is held.
    let patient = start(&mut world, ENDLESS, &json!({ "timeoutMs": 0, "paused": true }));
    let patient = json!([patient]).to_string();
    world.sim.run_for(Duration::from_secs(599));
    assert_eq!(world.ok("exec_status", &patient)["state"], "paused");
    world.sim.run_for(Duration::from_secs(2));
    let error = &world.ok("exec_status", &patient)["error"]["message"];
    assert_eq!(error, "execution aborted (timeout = 10m0s)");

    let ids: Vec<_> =
        (1..16).map(|_| start(&mut world, ENDLESS, &json!({ "paused": true }))).collect();
    let (code, text) = world.err("exec_start", &json!(["eth_call", call(ENDLESS)]).to_string());
    assert!(code == -32_005 && text.contains("16 of a client"), "{text}");
    for id in &ids {
        assert_eq!(world.ok("exec_cancel", &json!([id]).to_string()), true);
    }
    world.sim.run_for(Duration::from_millis(1));
    assert_eq!(world.api.places.gauge().running, 0, "their places are free");
    assert_eq!(world.err("exec_status", &json!([ids[0]]).to_string()).0, -32_001);
}

/// Goal: what was started paused can be stepped at once, whether or not it has had its first turn.
///
/// Found by CI: on a busy machine the step came first, and was refused.
#[test]
fn a_step_may_come_before_the_first_turn() {
    for seed in 0..16 {
        let mut world = World::new(seed, RpcConfig::default());
        let id = start(&mut world, ANSWER, &json!({ "paused": true }));
        let status = world.ok("exec_step", &json!([id, 2]).to_string());
        assert_eq!((&status["state"], &status["pc"]), (&json!("paused"), &json!(3)), "{seed}");
        let running = start(&mut world, ENDLESS, &json!({}));
        let (_, text) = world.err("exec_step", &json!([running]).to_string());
        assert!(text.contains("only a paused execution"), "{text}");
    }
}

/// Goal: an execution is stepped to its end and says what it used on the way there and in the end,
/// which is what it uses undisturbed; a step over the last instruction answers with the end, and
/// one after it says how it has ended.
/// Method: the gas of each instruction, by hand: a call takes 21,000, then PUSH1 3, PUSH0 2, MSTORE
/// 3 and 3 of memory, PUSH1 3, PUSH0 2, RETURN or REVERT 0.
#[test]
fn what_is_stepped_to_its_end_says_what_it_used() {
    let ends = [(ANSWER, "done", ": done, "), (REVERT, "failed", ": failed, execution reverted")];
    for (seed, (code, state, how)) in (0..8).zip(ends.iter().cycle()) {
        let mut world = World::new(seed, RpcConfig::default());
        let id = start(&mut world, code, &json!({ "paused": true }));
        let mut used = Vec::new();
        let end = loop {
            let status = world.ok("exec_step", &json!([id]).to_string());
            used.push(status["gasUsed"].as_u64().expect("a number"));
            if status["state"] != "paused" {
                break status;
            }
        };
        assert_eq!(used, [3, 5, 11, 14, 16, 16].map(|used| 21_000 + used));
        let shown = end.get("result").or_else(|| end["error"].get("data")).expect("its output");
        assert!(shown.as_str().is_some_and(|output| output.ends_with("2a")), "{end}");
        assert_eq!((&end["state"], &end["steps"]), (&json!(state), &json!(6)));
        let (_, text) = world.err("exec_step", &json!([id, 2]).to_string());
        let start = format!("execution {} has ended{how}", id.as_str().expect("hex"));
        assert!(text.starts_with(&start), "{text}");
        // Nothing but its state says that it cannot be paused or go on.
        for method in ["exec_pause", "exec_resume"] {
            assert_eq!(&world.ok(method, &json!([id]).to_string())["state"], state);
        }

        let whole = start_and_end(&mut world, code);
        assert_eq!((&whole["gasUsed"], &whole["slices"]), (&json!(21_016), &json!(1)));
        let wrong = world.err("exec_step", &json!([id, -1]).to_string());
        let text = "invalid argument 1: expected 1 to 1000000 instructions, found -1";
        assert_eq!(wrong, (-32_602, text.to_owned()));
    }
}

/// Goal: a step over the last instruction answers with the end also where the frame is undone in
/// slices: there is no next instruction meanwhile.
#[test]
fn a_step_over_the_end_of_a_long_frame_answers_with_the_end() {
    let mut world = World::new(9, RpcConfig::default());
    // PUSH1 1, PUSH1 slot, SSTORE; then PUSH0, PUSH0, REVERT.
    let stores: Vec<_> = (1..=70).map(|slot| format!("600160{slot:02x}55")).collect();
    let id = start(&mut world, &format!("0x{}5f5ffd", stores.concat()), &json!({ "paused": true }));
    let before = world.ok("exec_step", &json!([id, 212]).to_string());
    assert_eq!((&before["state"], &before["opcode"]), (&json!("paused"), &json!(0xfd)));
    let end = world.ok("exec_step", &json!([id]).to_string());
    assert_eq!((&end["state"], &end["steps"]), (&json!("failed"), &json!(213)), "{end}");
}

/// Goal: what a trace has counted stays when it fails inside, and a step to where it fails answers
/// with that.
#[test]
fn a_trace_that_fails_inside_says_what_it_used() {
    const SCRIPT: &str = "{n: 0, step: function() { if (this.n++ == 2) throw 'enough'; },
        fault: function() {}, result: function() { return null; }}";
    // The instruction is executed, and what is not stepped runs to the end of its slice.
    for (seed, is_stepped, used) in [(10, false, 21_016), (11, true, 21_011)] {
        let mut world = World::new(seed, RpcConfig::default());
        let options = json!({
            "tracer": SCRIPT, "stateOverrides": { CODE_AT: { "code": ANSWER } },
        });
        let params = json!([{ "to": CODE_AT }, "latest", options]);
        let start = json!(["debug_traceCall", params, { "paused": is_stepped }]).to_string();
        let id = world.ok("exec_start", &start);
        let end = if is_stepped {
            let before = world.ok("exec_step", &json!([id, 2]).to_string());
            assert_eq!(before["state"], "paused", "{before}");
            world.ok("exec_step", &json!([id]).to_string())
        } else {
            world.sim.run_for(Duration::from_millis(10));
            world.ok("exec_status", &json!([id]).to_string())
        };
        assert_eq!((&end["state"], &end["gasUsed"]), (&json!("failed"), &json!(used)), "{end}");
    }
}

/// The status of one that was not paused.
fn start_and_end(world: &mut World, code: &str) -> Value {
    let id = start(world, code, &json!({}));
    world.sim.run_for(Duration::from_millis(1));
    world.ok("exec_status", &json!([id]).to_string())
}

/// Goal: what is wrong with the parameters of the method is told at the start, as the method says
/// it, and of an argument that it is the method's; so is a block or a transaction that is not there
/// if there is a place; in line for one it is the end of what was started.
#[test]
fn what_is_not_there_is_told_at_the_start() {
    let places = PlaceLimits { running_max: 1, ..PlaceLimits::default() };
    let mut world = World::with(68, Setup { places, ..Setup::default() });
    for (method, params) in [
        ("eth_estimateGas", "[1]"),
        ("trace_call", "[]"),
        ("eth_call", "{}"),
        ("eth_call", r#"[{}, "newest"]"#),
    ] {
        let (code, text) = world.err(method, params);
        let error = (code, format!("params of {method}: {text}"));
        assert_eq!(world.err("exec_start", &format!("[\"{method}\",{params}]")), error);
    }
    let nobody = json!(["0x0101010101010101010101010101010101010101010101010101010101010101"]);
    let unknown = [
        ("eth_call", json!([{ "to": CODE_AT }, "0x77"])),
        ("debug_traceCall", json!([{ "to": CODE_AT }, "0x77"])),
        ("debug_traceTransaction", nobody.clone()),
        ("debug_traceBlockByHash", nobody),
    ];
    for (method, params) in &unknown {
        let plain = world.err(method, &params.to_string());
        assert_eq!(world.err("exec_start", &json!([method, params]).to_string()), plain);
    }
    assert_eq!(world.ok("sched_executions", "[]"), json!([]));
    let (method, params) = &unknown[0];
    let plain = world.err(method, &params.to_string());
    let running = start(&mut world, ENDLESS, &json!({ "paused": true }));
    let waits = world.ok("exec_start", &json!([method, params]).to_string());
    assert_eq!(world.ok("exec_cancel", &json!([running]).to_string()), true);
    world.sim.run_for(Duration::from_millis(1));
    let error = &world.ok("exec_status", &json!([waits]).to_string())["error"];
    assert_eq!((&error["code"], &error["message"]), (&json!(plain.0), &json!(plain.1)));
}

/// Each method that can be held, some of them in several ways.
fn held_cases(block: &Value, hash: &Value) -> Vec<(&'static str, Value)> {
    let to = json!({ "to": "0x4242424242424242424242424242424242424242" });
    let tracer = json!({ "tracer": "callTracer" });
    let script = "{ n: 0, step: function() { this.n++ }, fault: function() {}, \
                  result: function() { return this.n } }";
    let types = json!(["trace", "vmTrace", "stateDiff"]);
    vec![
        ("eth_call", call(ANSWER)),
        ("eth_call", call(REVERT)),
        ("eth_callMany", json!([[{ "transactions": [to, to] }]])),
        ("eth_estimateGas", json!([to])),
        ("eth_estimateGas", call(REVERT)),
        ("eth_createAccessList", json!([to])),
        ("eth_createAccessList", call(REVERT)),
        ("debug_traceCall", json!([to, "latest", tracer])),
        ("debug_traceCall", json!([to, "latest", { "txIndex": "0x2" }])),
        ("debug_traceCall", json!([to, "latest", { "tracer": script }])),
        ("debug_traceCallMany", json!([[{ "transactions": [to, to] }]])),
        ("debug_traceTransaction", json!([hash])),
        ("debug_traceTransaction", json!([hash, { "tracer": "muxTracer" }])),
        ("debug_traceBlockByNumber", json!(["latest", tracer])),
        ("debug_traceBlockByHash", json!([block, tracer])),
        ("trace_call", json!([to, types])),
        ("trace_callMany", json!([[[to, types], [to, types]]])),
        ("trace_transaction", json!([hash])),
        ("trace_get", json!([hash, ["0x0"]])),
        ("trace_block", json!(["latest"])),
        ("trace_replayTransaction", json!([hash, types])),
        ("trace_replayBlockTransactions", json!(["latest", types])),
        ("trace_transactionOpcodeGas", json!([hash])),
        ("trace_blockOpcodeGas", json!(["latest"])),
    ]
}

/// Goal: what is held answers as its method does, result or error, and is stepped through whatever
/// it is; one with wrong parameters does not even start; the parameters of all are bounded.
/// Method: each method that can be held, paused, stepped, resumed; beside the plain one.
#[test]
fn whatever_is_held_answers_as_its_method() {
    let mut world = world(66, &counter());
    let block = world.mine(&[vec![], vec![], vec![]]);
    for (method, params) in held_cases(&json!(block.hash), &json!(block.txs[1].hash())) {
        let plain = world.call(method, &params.to_string());
        let asked = json!([method, params, { "paused": true }]).to_string();
        let id = world.ok("exec_start", &asked);
        let named = json!([id]).to_string();
        world.sim.run_for(Duration::from_millis(1));
        for (count, steps) in [(1, 1), (4, 5)] {
            let status = world.ok("exec_step", &json!([id, count]).to_string());
            let expected = (&json!("paused"), &json!(steps), &json!(method));
            assert_eq!((&status["state"], &status["steps"], &status["kind"]), expected, "{status}");
        }
        assert_eq!(
            world.ok("sched_executions", "[]").as_array().map(Vec::len),
            Some(1),
            "{method}"
        );
        world.ok("exec_resume", &named);
        world.sim.run_for(Duration::from_millis(100));
        let status = world.ok("exec_status", &named);
        match plain {
            Ok(result) => assert_eq!(status["result"], result, "{method} {params}: {status}"),
            Err(error) => {
                let mut text = String::new();
                error.write_json(&mut text);
                let error: Value = serde_json::from_str(&text).expect("errors are JSON");
                assert_eq!(status["error"], error, "{method} {params}");
            }
        }
        assert_eq!(world.ok("exec_cancel", &named), true);
    }

    for method in ["eth_sendTransaction", "trace_filter"] {
        let (_, text) = world.err("exec_start", &json!([method, []]).to_string());
        let expected = format!("cannot hold {method}: expected one of eth_call, eth_estimateGas, ");
        assert!(text.starts_with(&expected), "{text}");
    }
    let long = "0".repeat(EXEC_PARAMS_BYTES_MAX);
    let (code, text) = world.err("exec_start", &json!(["eth_call", [long]]).to_string());
    assert!(code == -32_005 && text.ends_with("67108864 in all"), "{text}");
    assert_eq!(world.ok("sched_executions", "[]"), json!([]));
}

/// Goal: a held execution that is cancelled or killed while it waits for a place leaves the line.
/// Method: one place, and it is taken; two more in line.
#[test]
fn one_that_waits_for_a_place_leaves_the_line_when_cancelled() {
    let places = PlaceLimits { running_max: 1, ..PlaceLimits::default() };
    let mut world = World::with(65, Setup { places, ..Setup::default() });
    let ids = [(); 3].map(|()| start(&mut world, ENDLESS, &json!({ "paused": true })));
    world.sim.run_for(Duration::from_millis(1));
    let counts = |world: &World| {
        let gauge = world.api.places.gauge();
        (gauge.running, gauge.waiting)
    };
    assert_eq!(counts(&world), (1, 2));
    assert_eq!(world.ok("exec_cancel", &json!([ids[1]]).to_string()), true);
    assert_eq!(world.ok("sched_kill", &json!([ids[2]]).to_string()), true);
    world.sim.run_for(Duration::from_millis(1));
    assert_eq!(counts(&world), (1, 0));
    let status = world.ok("exec_status", &json!([ids[2]]).to_string());
    assert_eq!(status["error"]["message"], "execution killed");
    assert_eq!(world.ok("exec_status", &json!([ids[0]]).to_string())["state"], "paused");
}

/// Follows an execution.
fn follow(world: &mut World, id: &Value) -> Arc<Line> {
    let system = world.api.system.clone();
    let line =
        Line::new(system.clone(), Share::new(), system.entropy("test socket"), Outboxes::default());
    let session = Session::new(Arc::clone(&line));
    let subscribed = world.call_on(Some(&session), "exec_subscribe", &json!([id]).to_string());
    subscribed.expect("a subscription");
    session.release();
    line
}

/// What was told since the last time.
fn told(line: &Line) -> Vec<Value> {
    let texts = std::iter::from_fn(|| line.take_text().ok().flatten());
    let notes = texts.map(|text| serde_json::from_slice::<Value>(&text).expect("JSON"));
    notes.map(|note| note["params"]["result"].clone()).collect()
}

/// Goal: subscribers are told of each change of state when it happens, also of those that are over
/// when they are told.
/// Method: all orders within two milliseconds; the status is told every 100.
#[test]
fn changes_of_state_are_told_at_once() {
    let mut world = World::new(67, RpcConfig::default());
    let id = start(&mut world, ANSWER, &json!({ "paused": true }));
    let line = follow(&mut world, &id);
    world.sim.run_for(Duration::from_millis(1));
    world.ok("exec_step", &json!([id, 2]).to_string());
    world.ok("exec_resume", &json!([id]).to_string());
    world.sim.run_for(Duration::from_millis(1));
    let notes = told(&line);
    let kind = |note: &Value| {
        let state = note["progress"]["state"].as_str().unwrap_or_default();
        format!("{} {state}", note["type"].as_str().expect("a type"))
    };
    let kinds: Vec<_> = notes.iter().map(kind).collect();
    let items = ["item paused", "item running", "item paused", "item running"];
    assert_eq!(kinds, [&["pending "], &items[..], &["ok ", "done "]].concat());
    assert_eq!(notes[3]["progress"]["steps"], 2);
    assert_eq!(notes[6]["items"], 4);

    let id = start(&mut world, ENDLESS, &json!({ "paused": true }));
    let line = follow(&mut world, &id);
    world.sim.run_for(Duration::from_millis(1));
    assert_eq!(world.ok("exec_cancel", &json!([id]).to_string()), true);
    world.sim.run_for(Duration::from_millis(1));
    let notes = told(&line);
    let kinds: Vec<_> = notes.iter().map(kind).collect();
    assert_eq!(kinds, ["pending ", "item paused", "err ", "done "]);
    assert_eq!(notes[2]["error"]["message"], "execution cancelled");
}

/// Goal: subscribers are told how an execution goes and how it ends, ten times a second at most.
#[test]
fn executions_are_followed() {
    let mut world = World::new(63, RpcConfig::default());
    let id = start(&mut world, ENDLESS, &json!({ "timeoutMs": 250 }));
    let line = follow(&mut world, &id);
    world.sim.run_for(Duration::from_millis(400));
    let notes = told(&line);
    let kinds: Vec<_> = notes.iter().map(|note| note["type"].as_str().expect("a type")).collect();
    assert_eq!(kinds.first(), Some(&"pending"));
    assert_eq!(kinds[kinds.len() - 2..], ["err", "done"]);
    let items = &notes[1..notes.len() - 2];
    // At 0, 100 and 200 ms.
    assert_eq!(items.len(), 3, "{kinds:?}");
    let gas = |note: &Value| note["progress"]["gasUsed"].as_u64().expect("a number");
    assert!(items.windows(2).all(|two| gas(&two[0]) < gas(&two[1])), "{items:?}");
    assert_eq!(notes[notes.len() - 1]["items"], items.len());
}

/// Goal: what is kept is bounded whether it is a result or an error.
/// Method: a return and a revert of 9 MiB, which hex doubles.
#[test]
fn large_results_and_reverts_are_not_kept() {
    let mut world = World::new(64, RpcConfig::default());
    // PUSH3 9 MiB, PUSH0, RETURN or REVERT
    for code in ["0x629000005ff3", "0x629000005ffd"] {
        let id = start(&mut world, code, &json!({}));
        world.sim.run_for(Duration::from_secs(1));
        let status = world.ok("exec_status", &json!([id]).to_string());
        let text = status["error"]["message"].as_str().expect("an error");
        assert!(text.ends_with("bytes, too many to be kept: limit 16777216"), "{text}");
        assert_eq!(status["error"].get("data"), None);
    }
}

/// Goal: what is kept of one client is bounded in all, and is given back with what is forgotten.
/// Method: returns of 4 MiB, which hex doubles: one may be kept, the next not until it is gone.
#[test]
fn results_of_a_client_are_kept_within_its_part() {
    let mut world = World::new(65, RpcConfig::default());
    let run = |world: &mut World| {
        let id = start(world, "0x624000005ff3", &json!({}));
        world.sim.run_for(Duration::from_secs(1));
        (id.clone(), world.ok("exec_status", &json!([id]).to_string()))
    };
    let (first, status) = run(&mut world);
    assert_eq!(status["state"], "done");
    let (_, status) = run(&mut world);
    assert_eq!((&status["state"], &status["error"]["code"]), (&json!("failed"), &json!(-32_005)));
    let text = status["error"]["message"].as_str().expect("an error");
    assert!(text.contains("8388612 bytes, too many beside 8388612 of its client's"), "{text}");
    assert_eq!(world.ok("exec_cancel", &json!([first]).to_string()), true);
    assert_eq!(run(&mut world).1["state"], "done");
}
