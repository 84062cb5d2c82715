//! Traces as lines, one for each instruction and for the end of each call.

#[path = "common/chain.rs"]
mod chain;
mod common;

use alloy_primitives::{Bytes, U256};
use alloy_rpc_types_trace::geth::GethDefaultTracingOptions;
use common::{Code, code, contract, piece};
use evenkeel_vm::{
    CallKind, Step, TraceCall, TraceFrame, TraceItem, TraceJob, TraceKind, TracePiece, TraceRun,
    TraceStart,
};
use proptest::prelude::*;
use revm::bytecode::opcode as op;
use serde_json::{Value, json};

/// What a call of the first of `codes` gives, which stand at contracts 0, 1, ..., in steps of
/// `fuel`: its text.
fn traced(kind: &TraceKind, gas: u64, codes: &[Bytes], fuel: u64) -> String {
    let codes = (0..).zip(codes).map(|(nth, code)| (contract(nth), code.clone()));
    let call = chain::call_of(CallKind::Call, Some(gas), contract(0), codes);
    let request = TraceCall {
        request: call.request,
        state_overrides: call.state_overrides,
        block_overrides: None,
        kind: None,
    };
    let job = TraceJob {
        start: TraceStart::State { view: call.view, header: call.header },
        items: vec![TraceItem::Call(Box::new(request))],
        kind: kind.clone(),
        spec: call.spec,
        limits: call.limits,
    };
    let mut run = TraceRun::streamed(job, TraceFrame::Apart).expect("it starts");
    let mut text = Vec::new();
    loop {
        let step = run.step(fuel);
        for piece in std::iter::from_fn(|| run.take_piece()) {
            match piece {
                TracePiece::Text(piece) => text.extend_from_slice(&piece),
                TracePiece::Between | TracePiece::Flat { .. } => panic!("it is one text"),
            }
        }
        match step {
            Step::More { .. } => {}
            Step::Offload(call) => run.provide(call.run(&|| false)),
            Step::Done(result) => {
                result.expect("it runs");
                return String::from_utf8(text).expect("text");
            }
        }
    }
}

fn options() -> GethDefaultTracingOptions {
    GethDefaultTracingOptions::default().enable_memory().enable_return_data()
}

fn lines(options: GethDefaultTracingOptions, gas: u64, codes: &[Bytes]) -> Vec<Value> {
    let text = traced(&TraceKind::Lines(options), gas, codes, 20_000);
    text.lines().map(|line| line.parse().expect("a line is JSON")).collect()
}

/// A number of either form.
fn number(value: &Value) -> U256 {
    value.as_u64().map_or_else(
        || value.as_str().and_then(|text| text.parse().ok()).expect("a number"),
        U256::from,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Goal: lines say of each instruction what the struct logger says, one after the other; ends
    /// of calls stand where the depth falls; in slices of any length the text is the same.
    #[test]
    fn lines_say_what_the_struct_logger_says(
        programs in prop::collection::vec(prop::collection::vec(piece(), 1..10), 4),
        gas in 60_000_u64..300_000,
        fuel in 1_u64..5_000,
    ) {
        let codes: Vec<_> = programs.iter().map(|pieces| code(pieces)).collect();
        let kind = TraceKind::Lines(options());
        let whole = traced(&kind, gas, &codes, 1_000_000);
        prop_assume!(whole.len() < 8_000_000);
        prop_assert_eq!(&traced(&kind, gas, &codes, fuel), &whole);

        let options = serde_json::from_value(json!({ "enableMemory": true,
            "enableReturnData": true, "disableStorage": true })).expect("options");
        let shown = traced(&TraceKind::Geth(options), gas, &codes, 20_000);
        let shown: Value = shown.parse().expect("JSON");
        let mut steps = shown["structLogs"].as_array().expect("steps").iter();
        let mut last: Option<Value> = None;
        for line in whole.lines() {
            let line: Value = line.parse().expect("a line is JSON");
            let Some(pc) = line.get("pc") else {
                prop_assert!(line.get("output").is_some());
                continue;
            };
            let is_again = |last: &Value| {
                last["pc"] == *pc && last["depth"] == line["depth"] && last["gas"] == line["gas"]
            };
            if line.get("error").is_some() && last.as_ref().is_some_and(is_again) {
                // Said once more, since it failed after it was paid for.
                continue;
            }
            let step = steps.next().expect("as many as there are");
            for member in ["pc", "gas", "gasCost", "depth"] {
                prop_assert_eq!(number(&line[member]), number(&step[member]), "{}", line);
            }
            prop_assert_eq!(&line["opName"], &step["op"]);
            prop_assert_eq!(&line["stack"], &step["stack"]);
            prop_assert_eq!(line.get("returnData"), step.get("returnData"));
            let refund = step.get("refund").map_or(U256::ZERO, number);
            prop_assert_eq!(number(&line["refund"]), refund);
            let words = step.get("memory").and_then(Value::as_array).into_iter().flatten();
            let words: String = words.map(|word| &word.as_str().expect("hex")[2..]).collect();
            let memory = line.get("memory").map_or("", |hex| &hex.as_str().expect("hex")[2..]);
            prop_assert_eq!(memory, words);
            prop_assert_eq!(number(&line["memSize"]), U256::from(memory.len() / 2));
            last = Some(line);
        }
        prop_assert!(steps.next().is_none());
        let options = serde_json::from_value(json!({ "tracer": "callTracer" })).expect("options");
        let calls = traced(&TraceKind::Geth(options), gas, &codes, 20_000);
        let ends = whole.lines().filter(|line| line.starts_with(r#"{"output""#)).count();
        prop_assert_eq!(ends, calls.matches(r#""type":""#).count());
    }
}

/// Goal: failures, reverts and ends are told as geth does, and a limit leaves out instructions, not
/// ends. Source: geth `core/vm/interpreter.go` and `eth/tracers/logger/logger_json.go`, by hand.
#[test]
fn failures_and_ends_are_told_as_geth_does() {
    // Reverts, runs out of gas, meets an unknown instruction, ends for good.
    let reverting = Code::default().push(1).push(0).op(op::MSTORE8).push(1).push(0).op(op::REVERT);
    let poor = Code::default().push(1).push(1).op(op::SSTORE);
    let unknown = Code::default().op(0x0c);
    let ending = Code::default().op(op::ADDRESS).op(op::SELFDESTRUCT);
    let call = |code: Code, to: u8, gas: u64| code.call(op::CALL, contract(to), gas, (0, 0));
    let first = [(1, 100), (2, 10), (3, 10), (4, 30_000)];
    let first = first.into_iter().fold(Code::default(), |code, (to, gas)| call(code, to, gas));
    let codes = [first, reverting, poor, unknown, ending].map(|code| Bytes::from(code.0));
    let all = lines(GethDefaultTracingOptions::default(), 200_000, &codes);
    let inner: Vec<_> = all.iter().filter(|line| line["depth"] != 1).collect();
    let of = |name: &str| -> Vec<Value> {
        let lines = inner.iter().filter(|line| line["opName"] == name);
        let shown =
            |line: &&&Value| json!([line["gas"], line["gasCost"], line["error"], line["stack"]]);
        lines.map(|line| shown(&line)).collect()
    };
    let operands = json!(["0x1", "0x0"]);
    assert_eq!(
        of("REVERT"),
        [json!(["0x52", "0x0", null, operands]), json!(["0x52", "0x0", "execution reverted", []])]
    );
    let stored = json!(["0x1", "0x1"]);
    let poor = "out of gas: not enough gas for reentrancy sentry";
    assert_eq!(of("SSTORE"), [json!(["0x4", "0x0", poor, stored])]);
    let invalid = "invalid opcode: opcode 0xc not defined";
    assert_eq!(
        of("opcode 0xc not defined"),
        [json!(["0xa", "0x0", null, []]), json!(["0xa", "0x0", invalid, []])]
    );
    let ends: Vec<_> = all.iter().filter(|line| line.get("output").is_some()).collect();
    assert_eq!(
        ends[0],
        &json!({ "output": "01", "gasUsed": "0x12", "error": "execution reverted" })
    );
    assert_eq!(ends[1], &json!({ "output": "", "gasUsed": "0xa", "error": poor }));
    assert_eq!(ends[2], &json!({ "output": "", "gasUsed": "0xa", "error": invalid }));
    assert_eq!(ends[3], &json!({ "output": "", "gasUsed": "0x0" }));
    assert_eq!(ends[4], &json!({ "output": "", "gasUsed": "0x138a" }));
    assert_eq!(ends.len(), 6);

    let few = lines(GethDefaultTracingOptions::default().with_limit(200), 200_000, &codes);
    assert_eq!(few.iter().filter(|line| line.get("output").is_some()).count(), 6);
    assert_eq!(few.len(), 6 + 2);
    assert_eq!(few[..2], all[..2]);
}
