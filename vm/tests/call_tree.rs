//! What transactions and calls did, call by call.

#[path = "common/chain.rs"]
mod chain;

use std::sync::{Arc, Mutex};

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rpc_types_trace::geth::{GethDebugBuiltInTracerType, GethDebugTracingOptions};
use chain::{account, attributes, build, call_of, database, finish, spec, transfer};
use evenkeel_chain::Fork;
use evenkeel_runtime::Port;
use evenkeel_vm::{
    CallKind, CallNoting, CallOutcome, CallRun, CallTree, Excerpt, Noted, Noting, Said, SlotChange,
    Step, TreeCall, TreeItem, TreeKind, TreeLog,
    limits::{NOTED_TXS_MAX, TREE_BYTES_MAX, TREE_DATA_BYTES_MAX},
};
use revm::bytecode::opcode as op;

const NOTING: Noting = Noting { has_console: false, has_calls: true };

/// Sets a slot, calls `to` with its input, logs the first byte of it, and sets the slot again.
fn outer(to: Address) -> Vec<u8> {
    let set = |value: u8| [op::PUSH1, value, op::PUSH0, op::SSTORE];
    let copy = [op::CALLDATASIZE, op::PUSH0, op::PUSH0, op::CALLDATACOPY];
    let call = [op::PUSH0, op::PUSH0, op::CALLDATASIZE, op::PUSH0, op::PUSH0, op::PUSH20];
    let log = [op::PUSH1, 1, op::PUSH0, op::LOG0];
    let made = [op::GAS, op::CALL, op::POP];
    [&set(5)[..], &copy, &call, to.as_slice(), &made, &log, &set(6)].concat()
}

/// Logs two bytes with the topic 9, sets slot 2 and reverts.
const REVERTING: [u8; 14] = [
    op::PUSH1,
    9,
    op::PUSH1,
    2,
    op::PUSH0,
    op::LOG1,
    op::PUSH1,
    3,
    op::PUSH1,
    2,
    op::SSTORE,
    op::PUSH0,
    op::PUSH0,
    op::REVERT,
];

fn excerpt(bytes: &'static [u8]) -> Excerpt {
    Excerpt { bytes: Bytes::from_static(bytes), len: bytes.len() }
}

fn ran(code: Vec<u8>, input: Vec<u8>, fuel: u64) -> CallTree {
    let noted = Arc::new(Mutex::new(Vec::new()));
    let keeping = Arc::clone(&noted);
    let codes = [(account(7), code.into()), (account(8), Bytes::from_static(&REVERTING))];
    let mut job = call_of(CallKind::Call, Some(30_000_000), account(7), codes);
    job.request.input = Bytes::from(input).into();
    let to = Port::new(move |noted: Noted| {
        keeping.lock().expect("no panic under it").push(noted.calls);
        Ok(())
    });
    job.notes = Some(CallNoting { to, noting: NOTING });
    let mut run = CallRun::new(job).expect("a good call");
    while let Step::More { .. } = run.step(fuel) {}
    run.tell_notes();
    let mut noted = noted.lock().expect("no panic under it");
    assert_eq!(noted.len(), 1, "told once");
    noted.remove(0)
}

/// What callTracer says of the gas of the calls under the first.
fn gas_of_calls(code: Vec<u8>, input: &'static [u8]) -> Vec<u64> {
    let tracer = GethDebugBuiltInTracerType::CallTracer.into();
    let options = GethDebugTracingOptions { tracer: Some(tracer), ..Default::default() };
    let codes = [(account(7), code.into()), (account(8), Bytes::from_static(&REVERTING))];
    let mut job = call_of(CallKind::Trace(options), Some(30_000_000), account(7), codes);
    job.request.input = Bytes::from_static(input).into();
    let mut run = CallRun::new(job).expect("a good call");
    let trace = loop {
        match run.step(u64::MAX) {
            Step::Done(Ok(CallOutcome::Trace(trace))) => break trace,
            Step::More { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    let trace: serde_json::Value = serde_json::from_str(trace.0.get()).expect("JSON");
    let calls = trace["calls"].as_array().expect("calls").iter();
    let gas = calls.map(|call| call["gasUsed"].as_str().expect("a quantity").to_owned());
    gas.map(|gas| u64::from_str_radix(&gas[2..], 16).expect("hex")).collect()
}

/// Goal: calls, logs and slots are recorded in order, also of what reverts, at any slicing; the gas
/// is callTracer's.
#[test]
fn a_call_is_recorded_with_what_it_does() {
    let input: &[u8] = &[0xaa, 0xbb, 0xcc, 0xdd, 1];
    let trees = [1, 3_000, u64::MAX].map(|fuel| ran(outer(account(8)), input.to_vec(), fuel));
    assert!(trees.iter().all(|tree| *tree == trees[0]), "{trees:#?}");
    let CallTree { items, left_out: 0 } = &trees[0] else { panic!("{trees:#?}") };
    let [
        TreeItem::Call(first),
        TreeItem::Call(second),
        TreeItem::Log(inner),
        TreeItem::End,
        TreeItem::Log(log),
        TreeItem::End,
    ] = &items[..]
    else {
        panic!("{items:#?}")
    };
    let call = |to, [key, after]: [u64; 2], end| TreeCall {
        kind: TreeKind::Call,
        to,
        value: U256::ZERO,
        input: excerpt(&[0xaa, 0xbb, 0xcc, 0xdd, 1]),
        slots: vec![SlotChange {
            key: U256::from(key),
            before: U256::ZERO,
            after: U256::from(after),
        }],
        end,
    };
    assert_eq!(**first, call(account(7), [0, 6], first.end.clone()));
    assert_eq!(**second, call(account(8), [2, 3], second.end.clone()));
    let topics = vec![B256::with_last_byte(9)];
    assert_eq!(**inner, TreeLog { topics, data: excerpt(&[0, 0]) });
    assert_eq!(**log, TreeLog { topics: Vec::new(), data: excerpt(&[0xaa]) });
    let (first, second) = (first.end.as_ref().expect("ends"), second.end.as_ref().expect("ends"));
    assert_eq!((first.status.as_str(), &first.said), ("Stop", &Said::Output(excerpt(&[]))));
    assert_eq!(second.status, "Revert");
    assert_eq!(second.said, Said::Failure("EvmError: Revert".to_owned()));
    let gas = gas_of_calls(outer(account(8)), &[0xaa, 0xbb, 0xcc, 0xdd, 1]);
    assert_eq!(gas, [second.gas_used]);
    assert!(first.gas_used > second.gas_used);
}

/// Goal: what is recorded is bounded, what is left out counted, and calls within calls end in
/// order.
#[test]
fn a_recording_is_bounded() {
    // Calls itself until its gas is gone, in breadth and in depth.
    let code = [&[op::JUMPDEST][..], &outer(account(7)), &[op::PUSH0, op::JUMP]].concat();
    for (input, shortest) in [(vec![7; 5_000], 10), (Vec::new(), 60)] {
        let CallTree { items, left_out } = ran(code.clone(), input, 1_000_000);
        let tree = CallTree { items, left_out };
        assert!(left_out > 100, "{left_out}");
        assert!(tree.size_bytes() < 2 * TREE_BYTES_MAX, "{}", tree.size_bytes());
        let calls = tree.items.iter().filter(|item| matches!(item, TreeItem::Call(_))).count();
        let ends = tree.items.iter().filter(|item| matches!(item, TreeItem::End)).count();
        assert!(calls == ends && calls > shortest, "{calls} {ends}");
        for item in &tree.items {
            if let TreeItem::Call(call) = item {
                assert!(call.input.bytes.len() <= TREE_DATA_BYTES_MAX);
            }
        }
    }
}

/// Goal: of a block the first transactions are recorded, each for itself, and its hash is as ever.
#[test]
fn the_first_transactions_of_a_block_are_recorded() {
    let spec = spec(Fork::Osaka);
    let tip = database(&spec).tip();
    let count = NOTED_TXS_MAX as u64 + 3;
    let txs: Vec<_> =
        (0..count).map(|nonce| transfer(account(0), nonce, account(1), nonce)).collect();
    let hashes = [NOTING, Noting::default()].map(|noting| {
        let mut run = build(&tip, &spec, (attributes(&tip), txs.clone()));
        run.note_txs(noting);
        let block = finish(&mut run, u64::MAX).expect("it builds").expect("it is not empty");
        let notes = run.take_notes();
        assert_eq!(notes.len(), if noting == NOTING { NOTED_TXS_MAX } else { 0 });
        for note in notes {
            let [TreeItem::Call(call), TreeItem::End] = &note.noted.calls.items[..] else {
                panic!("{note:#?}")
            };
            assert_eq!((call.to, call.value), (account(1), U256::from(note.index)));
        }
        block.block.hash
    });
    assert_eq!(hashes[0], hashes[1]);
}
