//! Tracers written in JavaScript: what scripts see, say and may take.

#[path = "common/chain.rs"]
mod chain;
mod common;

use alloy_primitives::{Address, Bytes, U256, keccak256};
use chain::call_of;
use common::{Code, code, contract, piece};
use evenkeel_vm::{
    CallError, CallJob, CallKind, CallOutcome, CallRun, HeavyCall, Step, Unsupported,
};
use proptest::prelude::*;
use revm::bytecode::opcode as op;
use serde_json::{Value, json};

/// A call of the first of `codes`, which stand at contracts 0, 1, ... with some wei each.
fn job(tracing: &Value, gas: u64, codes: &[Bytes]) -> CallJob {
    let options = serde_json::from_value(tracing.clone()).expect("options of a trace");
    let codes = (0..).zip(codes).map(|(nth, code)| (contract(nth), code.clone()));
    let mut job = call_of(CallKind::Trace(options), Some(gas), contract(0), codes);
    job.request.input = Bytes::from_static(&[1, 2, 3]).into();
    for account in job.state_overrides.iter_mut().flat_map(|all| all.values_mut()) {
        account.balance = Some(U256::from(5));
    }
    job
}

fn run(job: CallJob, fuel: u64) -> Result<Value, CallError> {
    text(job, fuel).map(|text| text.parse().expect("JSON"))
}

fn text(job: CallJob, fuel: u64) -> Result<String, CallError> {
    let mut run = CallRun::new(job)?;
    loop {
        match run.step(fuel) {
            Step::More { .. } => {}
            Step::Offload(call) => run.provide(call.run(&|| false)),
            Step::Done(Ok(CallOutcome::Trace(text))) => return Ok(text.0.get().to_owned()),
            Step::Done(Ok(other)) => panic!("not a trace: {other:?}"),
            Step::Done(Err(error)) => return Err(error),
        }
    }
}

fn traced(tracing: &Value, gas: u64, codes: &[Bytes]) -> Value {
    run(job(tracing, gas, codes), 20_000).expect("it runs")
}

/// What a script says, with `body` as its members beside an empty `fault`.
fn says(body: &str, codes: &[Bytes]) -> Result<Value, String> {
    let script = format!("{{ fault: function () {{}}, {body} }}");
    run(job(&json!({ "tracer": script }), 200_000, codes), 20_000).map_err(|e| e.to_string())
}

/// As the struct logger shows it.
const STEPS: &str = r#"{
    steps: [],
    word: function (bytes) { return toHex(bytes); },
    step: function (log, db) {
        var step = { pc: log.getPC(), op: log.op.toString(), gas: log.getGas(),
            gasCost: log.getCost(), depth: log.getDepth(), stack: [] };
        for (var nth = log.stack.length() - 1; nth >= 0; nth--) {
            step.stack.push("0x" + log.stack.peek(nth).toString(16));
        }
        if (log.memory.length() > 0) {
            step.memory = [];
            for (var at = 0; at < log.memory.length(); at += 32) {
                step.memory.push(this.word(log.memory.slice(at, at + 32)));
            }
        }
        if (log.getRefund() > 0) { step.refund = log.getRefund(); }
        if (log.getError() !== undefined) { step.error = log.getError(); }
        this.steps.push(step);
    },
    fault: function (log, db) {
        if (log.getError() !== "execution reverted") {
            this.steps[this.steps.length - 1].error = log.getError();
        }
    },
    result: function () { return this.steps; }
}"#;

/// As callTracer shows it, but in a list, with depths, in the order in which calls end.
const CALLS: &str = r#"{
    ended: [], open: [],
    enter: function (frame) {
        var call = { type: frame.getType(), from: toHex(frame.getFrom()),
            to: toHex(frame.getTo()), input: toHex(frame.getInput()),
            gas: "0x" + frame.getGas().toString(16) };
        if (frame.getValue() !== undefined) {
            call.value = "0x" + frame.getValue().toString(16);
        }
        this.open.push(call);
    },
    exit: function (result) {
        var call = this.open.pop();
        call.gasUsed = "0x" + result.getGasUsed().toString(16);
        if (result.getOutput().length > 0) { call.output = toHex(result.getOutput()); }
        if (result.getError() !== undefined) {
            call.error = result.getError() === "execution reverted" ? result.getError() : "failed";
            // Nothing is there then, callTracer says.
            if (call.type.startsWith("CREATE")) { delete call.to; }
        }
        call.depth = this.open.length;
        this.ended.push(call);
    },
    fault: function () {},
    result: function () { return this.ended; }
}"#;

/// The calls within a call of callTracer's, as [`CALLS`] lists them.
fn listed(call: &Value, depth: usize, list: &mut Vec<Value>) {
    for call in call["calls"].as_array().into_iter().flatten() {
        listed(call, depth + 1, list);
        let mut one = json!({ "depth": depth });
        for name in ["type", "from", "to", "input", "gas", "gasUsed", "value", "output", "error"] {
            if let Some(value) = call.get(name) {
                // The library's callTracer has its own words.
                let is_other = name == "error" && value != "execution reverted";
                one[name] = if is_other { json!("failed") } else { value.clone() };
            }
        }
        list.push(one);
    }
}

/// How deep JSON is nested, strings of it without brackets.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0, 0);
    for c in text.chars() {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Goal: a script sees each instruction as the struct logger shows it, and each call as
    /// callTracer does: stack and memory before it, cost, refund, errors, in that order.
    #[test]
    fn a_script_sees_what_the_built_in_tracers_show(
        programs in prop::collection::vec(prop::collection::vec(piece(), 1..10), 4),
        gas in 60_000_u64..900_000,
    ) {
        let codes: Vec<_> = programs.iter().map(|pieces| code(pieces)).collect();
        let shown = text(job(&json!({ "enableMemory": true }), gas, &codes), 20_000);
        // As much as fits the heap of a script twice: memory of a page for each of some thousand
        // steps is more than any trace may be.
        prop_assume!(!matches!(shown, Err(CallError::Unsupported(Unsupported::TraceText(_)))));
        let shown = shown.expect("it runs");
        prop_assume!(shown.len() < 4_000_000);
        let shown: Value = shown.parse().expect("JSON");
        let seen = traced(&json!({ "tracer": STEPS }), gas, &codes);
        let (seen, shown) = (seen.as_array().expect("steps"), &shown["structLogs"]);
        let shown = shown.as_array().expect("steps");
        for (seen, shown) in seen.iter().zip(shown) {
            let mut shown = shown.clone();
            let members = shown.as_object_mut().expect("a step");
            members.remove("storage");
            prop_assert_eq!(seen, &shown);
        }
        prop_assert_eq!(seen.len(), shown.len());

        let calls = text(job(&json!({ "tracer": "callTracer" }), gas, &codes), 20_000);
        let calls = calls.expect("it runs");
        // As deep as the JSON library reads.
        if nesting(&calls) < 120 {
            let mut shown = Vec::new();
            listed(&calls.parse().expect("JSON"), 0, &mut shown);
            let seen = traced(&json!({ "tracer": CALLS }), gas, &codes);
            let seen = seen.as_array().expect("calls");
            for (seen, shown) in seen.iter().zip(&shown) {
                prop_assert_eq!(seen, shown);
            }
            prop_assert_eq!(seen.len(), shown.len());
        }
    }
}

fn bytes(code: Code) -> Bytes {
    Bytes::from(code.0)
}

/// Goal: state before and after, conversions and numbers are geth's.
/// Source: geth's documents on custom tracers; BigInteger.js's for numbers.
#[test]
fn what_a_script_can_ask_for() {
    let storing = Code::default().push(7).push(1).op(op::SSTORE);
    let codes = [
        bytes(storing.op(op::GAS).op(op::CALLER).op(op::SELFDESTRUCT)),
        bytes(Code::default().op(op::STOP)),
    ];
    let [zero, one] = [contract(0), contract(1)].map(|address| format!("{address:#x}"));
    let script = format!(
        r#"setup: function (config) {{ this.config = JSON.parse(config); }},
        seen: [],
        step: function (log, db) {{
            var here = log.contract.getAddress(), key = toWord("0x01");
            if (log.op.toString() == "SSTORE" || log.op.toString() == "SELFDESTRUCT") {{
                this.seen.push([toHex(here), toHex(log.contract.getCaller()),
                    log.contract.getValue().toString(), toHex(log.contract.getInput()),
                    toHex(db.getState(here, key)), db.getBalance(here), log.op.toNumber(),
                    log.op.isPush()]);
            }}
        }},
        result: function (ctx, db) {{
            var one = toAddress("{one}"), none = toAddress("0x1234");
            return {{ config: this.config, seen: this.seen,
                ctx: [ctx.type, toHex(ctx.from), toHex(ctx.to), toHex(ctx.input), ctx.gas,
                    ctx.value, ctx.block, toHex(ctx.output), ctx.error, typeof ctx.gasUsed],
                state: [toHex(db.getCode(one)), db.getNonce(one), db.exists(one),
                    db.exists(none), db.getBalance(one), toHex(db.getCode(none)),
                    db.getBalance(toAddress("{zero}")),
                    toHex(db.getState(toAddress("{zero}"), toWord("0x01")))],
                made: [toHex(toContract(one, 3)), toHex(toContract2(one, "0x07", "0x6000")),
                    toHex(slice(one, 18, 20)), isPrecompiled(toAddress("0x09")),
                    isPrecompiled(one), toHex(toWord("abc")), toHex([1, 255])],
                numbers: [bigInt(7).add("5").toString(), bigInt("ff", 16).multiply(2),
                    bigInt(-7).divide(2), bigInt(-7).mod(2), bigInt(2).pow(200).toString(16),
                    bigInt(3).shiftLeft(4).xor(1), bigInt(5) > bigInt(4), bigInt(5).compare(5),
                    bigInt(2).modPow(10, 1000), bigInt(12).equals("12"), bigInt(255).bitLength(),
                    bigInt.gcd(12, 18), bigInt("123456789012345678901234567890"), bigInt("1e3"),
                    bigInt("12.0"), bigInt[-7], bigInt(3).modInv(11), bigInt.fromArray([1, 2])],
                arrays: [[3, [1, [2]]].flat(Infinity), [].map.call("ab", (c) => c + c),
                    [].slice.call(new Uint8Array([1, 2, 3]), 1),
                    Array.from({{ length: 2 }}, () => 7),
                    [1].concat([2], 3), "a,b".split(","), [10, 9, 1].sort(), [1, 2, 3].reverse(),
                    "abcb".replace(/b/g, "x"), [1, 2, 3].indexOf(2), new Uint8Array([1, 2]).join()],
                sloppy: (function () {{ undeclared = 4; return undeclared; }})(),
                absent: [typeof Date, typeof Math.random, typeof BigInt, typeof Function,
                    typeof eval, typeof Proxy, typeof (function () {{}}).constructor] }};
        }}"#
    );
    let script = format!("{{ fault: function () {{}}, {script} }}");
    let tracing = json!({ "tracer": script, "tracerConfig": { "a": [1, 2] } });
    let said = traced(&tracing, 200_000, &codes);
    let nobody = format!("{:#x}", Address::ZERO);
    let at = |value: u64| format!("0x{value:064x}");
    let step = |slot: u64, opcode: u8| {
        json!([zero, nobody, "0", "0x010203", at(slot), "5", opcode, false])
    };
    assert_eq!(said["seen"], json!([step(0, op::SSTORE), step(7, op::SELFDESTRUCT)]));
    assert_eq!(said["config"], json!({ "a": [1, 2] }));
    let context = json!(["CALL", nobody, zero, "0x010203", 200_000, "0", 0, "0x", null, "number"]);
    assert_eq!(said["ctx"], context);
    let state = json!(["0x00", 0, true, false, "5", "0x", "0", at(7)]);
    assert_eq!(said["state"], state);
    let two = contract(1).create2(U256::from(7).to_be_bytes(), keccak256([0x60, 0]));
    let made = json!([
        format!("{:#x}", contract(1).create(3)),
        format!("{two:#x}"),
        "0x1001",
        true,
        false,
        format!("0x{:064x}", 0xabc),
        "0x01ff"
    ]);
    assert_eq!(said["made"], made);
    let numbers = json!([
        "12",
        "510",
        "-3",
        "-1",
        format!("1{:050}", 0),
        "49",
        true,
        0,
        "24",
        true,
        "8",
        "6",
        "123456789012345678901234567890",
        "1000",
        "12",
        "-7",
        "4",
        "12"
    ]);
    assert_eq!(said["numbers"], numbers);
    let arrays = json!([
        [3, 1, 2],
        ["aa", "bb"],
        [2, 3],
        [7, 7],
        [1, 2, 3],
        ["a", "b"],
        [1, 10, 9],
        [3, 2, 1],
        "axcx",
        1,
        "1,2"
    ]);
    assert_eq!(said["arrays"], arrays);
    assert_eq!(said["sloppy"], json!(4));
    let absent = said["absent"].as_array().expect("what is not there");
    assert!(absent.len() == 7 && absent.iter().all(|kind| kind == "undefined"), "{absent:?}");
}

/// Goal: a script that is none, fails, never ends or takes too much is an error that says where.
#[test]
fn what_is_wrong_with_a_script_is_said() {
    let codes = [bytes(Code::default().push(1).op(op::POP))];
    let whole = |script: &str| {
        let tracing = json!({ "tracer": script });
        run(job(&tracing, 100_000, &codes), 20_000).expect_err("it fails").to_string()
    };
    let result = "result: function () { return 1; }";
    for (script, expected) in [
        ("{ step: ", " (line 1, column 9)"),
        ("{\n  é: 'é', step: function () { 1 + ; },\n}", " (line 2, column 35)"),
        ("{ a: 1 b: 2 }", " (line 1, column 8)"),
        ("{ result: function () {} }", "trace object must expose a function fault()"),
        ("null + {}", "trace object must expose a function result()"),
        (
            "{ result: function () {}, fault: function () {}, enter: function () {} }",
            "trace object must expose either both or none of enter() and exit()",
        ),
        ("notATracer", "no tracer is named notATracer"),
        (
            "{ fault: function () {}, result: function () { return 2n; } }",
            "expected bigInt(..), as in geth) (line 1, column 55)",
        ),
        ("not.a.tracer", "ReferenceError: not is not defined"),
    ] {
        let said = whole(script);
        assert!(said.contains(expected), "{script}: {said}");
    }
    for (body, expected) in [
        ("step: function (log) { log.stack.peek(5); }", "out of bound stack: size 0, index 5"),
        ("step: function (log) { log.memory.getUint(0); }", "available 0, offset 0, size 32"),
        ("step: function (log) { log.memory.slice(0, 2e6); }", "limit for padding memory slice"),
        ("step: function (log, db) { db.getNonce('0x01'); }", "expected a Uint8Array"),
        ("step: function () { throw 1; }", "1 in server-side tracer function 'step'"),
        ("step: function () { throw 'enough'; }", "enough in server-side tracer function 'step'"),
        ("step: function () { while (true) {} }", "no end after 20 million jumps and calls"),
        ("step: function f() { f(); }", "in server-side tracer function 'step'"),
        (
            "kept: [], step: function () { for (;;) { this.kept.push(new Uint8Array(1e6)); } }",
            "in server-side tracer function 'step'",
        ),
        ("step: function () { throw 'a'.repeat(9999); }", "aaa… in server-side tracer"),
        ("step: function () { Array(4294967295).join(''); }", "no end after 20 million jumps"),
        ("step: function () { var x = []; x.length = 4294967295; x.reverse(); }", "no end after"),
        ("step: function () { for (var s = 'a'.repeat(1e6);;) s.indexOf('ab'); }", "no end after"),
        ("step: function () { [].reverse.call({ length: 1e15 }); }", "reverse: expected an array"),
        ("step: function () { [].join.call({ length: 1e15 }); }", "tracer function 'step'"),
        ("step: function () { Array.from({ length: 1e15 }); }", "in server-side tracer function"),
        (
            "step: function () { var a = 'a'.repeat(1e7); a.indexOf(a.slice(5e6) + 'b'); }",
            "no end after 20 million jumps",
        ),
        (
            "step: function () { var n = 0, a = 'a'.repeat(1e6); var liar = { toString: \
             function () { return n++ ? a : ''; } }; for (;;) a.indexOf(liar); }",
            "no end after 20 million jumps",
        ),
        ("step: function () { new (bigInt(1).constructor)(1).value.x; }", "in server-side"),
        (
            "step: function () { throw typeof bigInt(5).constructor.of; }",
            "undefined in server-side tracer function 'step'",
        ),
        ("step: function () { bigInt(2).pow(1e9); }", "expected a number of 4096 bits at most"),
        ("step: function () { bigInt(1).shiftLeft(1e9); }", "a number of 4096 bits at most"),
        ("setup: function () { null.a; }", "in server-side tracer function 'setup'"),
    ] {
        let said = says(&format!("{body}, {result}"), &codes).expect_err("it fails");
        assert!(said.contains(expected), "{body}: {said}");
    }
    let said = says("result: function () { return unknown; }", &codes).expect_err("it fails");
    let expected = "ReferenceError: unknown is not defined in server-side tracer function 'result'";
    assert_eq!(said, expected);
    // Its own words, where no function of the user's has failed.
    assert_eq!(whole("{ fault: function () {} }"), "trace object must expose a function result()");
    // A comment may end it.
    let commented = format!("{{ {result}, fault: function () {{}} }} // so");
    let tracing = json!({ "tracer": commented });
    assert_eq!(run(job(&tracing, 100_000, &codes), 20_000), Ok(json!(1)));
    // Nothing said is said.
    assert_eq!(says("result: function () {}", &codes), Ok(Value::Null));
}

/// Goal: a script never runs in a step of the trace, only in work that is offloaded, and that ends
/// when it is told to.
#[test]
fn a_script_runs_elsewhere_and_can_be_stopped() {
    let script = "{ step: function () { for (;;) {} }, fault: function () {}, \
        result: function () { for (;;) {} } }";
    let codes = [bytes(Code::default().op(op::STOP))];
    let mut run = CallRun::new(job(&json!({ "tracer": script }), 100_000, &codes)).expect("fine");
    let call: HeavyCall = loop {
        match run.step(20_000) {
            Step::More { .. } => {}
            Step::Offload(call) => break call,
            Step::Done(done) => panic!("it ran here: {done:?}"),
        }
    };
    assert_eq!(call.name(), "script");
    assert!(call.run(&|| true).is_stopped());
}

/// Goal: in a trace of several tracers, one may be a script.
#[test]
fn a_script_may_be_one_of_several() {
    let script = "{ count: 0, step: function () { this.count++; }, fault: function () {}, \
        result: function () { return this.count; } }";
    let codes = [bytes(Code::default().push(1).op(op::POP).op(op::STOP))];
    let config = json!({ script: null, "opcountTracer": null });
    let said = traced(&json!({ "tracer": "muxTracer", "tracerConfig": config }), 90_000, &codes);
    assert_eq!(said, json!({ script: 3, "opcountTracer": 3 }));
    let config = json!({ script: null, format!("{script} "): null });
    let tracing = json!({ "tracer": "muxTracer", "tracerConfig": config });
    let error = run(job(&tracing, 90_000, &codes), 20_000).expect_err("each has a heap");
    assert_eq!(error.to_string(), "muxTracer with several scripts (expected one)");
}

/// Goal: who was only called, with nothing, is not there for a script, neither then nor afterwards.
/// Found by review: it was there from the call on.
#[test]
fn who_was_only_touched_does_not_exist() {
    let nobody = Address::repeat_byte(0x77);
    let calling = Code::default().call(op::CALL, nobody, 1_000, (0, 0)).op(op::STOP);
    let body = format!(
        "seen: [], step: function (log, db) {{ if (log.op.toString() == 'STOP') {{ \
         this.seen.push(db.exists(toAddress('{nobody}'))); }} }}, \
         result: function (ctx, db) {{ return [this.seen, db.exists(toAddress('{nobody}'))]; }}"
    );
    assert_eq!(says(&body, &[bytes(calling)]), Ok(json!([[false], false])));
}
