//! geth's `callTracer`, which is written while the transaction runs.

#[path = "common/chain.rs"]
mod chain;
mod common;

use alloy_primitives::Bytes;
use common::{Code, contract};
use evenkeel_vm::{CallKind, CallOutcome, CallRun, Step};
use revm::bytecode::opcode as op;
use serde_json::{Value, json};

/// The calls of a call to `codes`, the first of them, which stand at contracts 0, 1, ...
fn traced(config: &Value, codes: &[Code]) -> Value {
    let traced_as = |options: Value| -> Value {
        let kind = CallKind::Trace(serde_json::from_value(options).expect("options of a trace"));
        let codes = (0..).zip(codes);
        let codes = codes.map(|(nth, code)| (contract(nth), Bytes::from(code.0.clone())));
        let job = chain::call_of(kind, Some(500_000), contract(0), codes);
        let mut run = CallRun::new(job).expect("it starts");
        loop {
            match run.step(100) {
                Step::More { .. } => {}
                Step::Offload(call) => run.provide(call.run(&|| false)),
                Step::Done(Ok(CallOutcome::Trace(text))) => {
                    return text.0.get().parse().expect("JSON");
                }
                Step::Done(other) => panic!("no trace: {other:?}"),
            }
        }
    };
    let alone = traced_as(json!({ "tracer": "callTracer", "tracerConfig": config }));
    let named = json!({ "callTracer": config, "noopTracer": null });
    let beside = traced_as(json!({ "tracer": "muxTracer", "tracerConfig": named }));
    assert_eq!(beside["callTracer"], alone);
    alone
}

fn calling(code: Code, to: u8) -> Code {
    code.call(op::CALL, contract(to), 100_000, (0, 0))
}

fn logging() -> Code {
    Code::default().push(7).push(0).push(0).op(op::LOG1)
}

/// Goal: logs are shown where they were made, by their places among the transaction's and among
/// the calls beside them; those of a call that comes to nothing are not, nor of calls within it.
/// Source: geth `eth/tracers/native/call.go`, `OnLog` and `clearFailedLogs`, by hand.
#[test]
fn logs_are_shown_unless_they_are_undone() {
    let first = calling(calling(logging(), 1).push(0).push(0).op(op::LOG0), 2);
    let failing = calling(logging(), 2).push(0).push(0).op(op::REVERT);
    let codes = [first, failing, logging()];
    let word = format!("0x{:064x}", 7);
    let log = |nth: u8, topics: Value, (index, position): (u8, u8)| {
        let address = format!("{:#x}", contract(nth));
        json!({ "address": address, "topics": topics, "data": "0x",
            "index": format!("{index:#x}"), "position": format!("{position:#x}") })
    };
    let calls = traced(&json!({ "withLog": true }), &codes);
    assert_eq!(calls["logs"], json!([log(0, json!([word]), (0, 0)), log(0, json!([]), (1, 1))]));
    assert_eq!(calls["calls"][0]["error"], json!("execution reverted"));
    assert!(calls["calls"][0].get("logs").is_none(), "{calls}");
    assert!(calls["calls"][0]["calls"][0].get("logs").is_none(), "{calls}");
    assert_eq!(calls["calls"][1]["logs"], json!([log(2, json!([word]), (2, 0))]));

    let top = traced(&json!({ "withLog": true, "onlyTopCall": true }), &codes);
    assert_eq!(top["logs"], json!([log(0, json!([word]), (0, 0)), log(0, json!([]), (1, 0))]));
    assert!(top.get("calls").is_none(), "{top}");

    let [first, failing, last] = codes;
    let undone = [first.push(0).push(0).op(op::REVERT), failing, last];
    let none = traced(&json!({ "withLog": true }), &undone);
    assert!(!none.to_string().contains("logs"), "{none}");
    let without = traced(&json!({}), &undone);
    assert_eq!(none, without);
}

/// Goal: members are geth's, where a call fails and where a contract ends, which is a call.
/// Source: geth `eth/tracers/native/call.go` and `core/vm`, by hand.
#[test]
fn failures_and_ends_are_told_as_geth_does() {
    let hex = |nth: u8| format!("{:#x}", contract(nth));
    // `Error("no")`, an unknown instruction, and an end in favour of itself.
    let mut reverting = Code::default();
    let words: [&[u8]; 4] = [&[0x08, 0xc3, 0x79, 0xa0], &[0x20], &[2], b"no"];
    for (at, bytes) in [(0, words[0]), (4 + 31, words[1]), (36 + 31, words[2]), (68, words[3])] {
        for (nth, byte) in (at..).zip(bytes) {
            reverting = reverting.push(u64::from(*byte)).push(nth).op(op::MSTORE8);
        }
    }
    let reverting = reverting.push(100).push(0).op(op::REVERT);
    let unknown = Code::default().op(0x0c);
    let ending = Code::default().op(op::ADDRESS).op(op::SELFDESTRUCT);
    let first = (1..4).fold(Code::default(), calling);
    let traced = traced(&json!({}), &[first, reverting, unknown, ending]);
    let calls = &traced["calls"];
    assert_eq!(calls[0]["error"], json!("execution reverted"));
    assert_eq!(calls[0]["revertReason"], json!("no"));
    assert_eq!(calls[0]["output"].as_str().map(str::len), Some(2 + 200));
    let failed = json!({ "type": "CALL", "from": hex(0), "to": hex(2), "value": "0x0",
        "gas": "0x186a0", "gasUsed": "0x186a0", "input": "0x",
        "error": "invalid opcode: opcode 0xc not defined" });
    assert_eq!(calls[1], failed);
    let end = json!({ "type": "SELFDESTRUCT", "from": hex(3), "to": hex(3), "value": "0x0",
        "gas": "0x0", "gasUsed": "0x0", "input": "0x" });
    assert_eq!(calls[2]["calls"], json!([end]));
    assert_eq!(traced["gas"], json!("0x7a120"));
}
