//! What transactions and calls say beside their results: to the console, why they failed, and what
//! they called.

#[path = "common/chain.rs"]
mod chain;

use std::sync::{Arc, Mutex};

use alloy_primitives::{B256, Bytes, TxKind, keccak256};
use chain::{
    account, attributes, build, call_of, create, database, deploying, finish, legacy, spec,
};
use evenkeel_chain::Fork;
use evenkeel_runtime::Port;
use evenkeel_vm::{
    CONSOLE, CallKind, CallNoting, CallRun, ConsoleCalls, ConsoleLine, Failure, Noted, Noting,
    Step, TEST_EVENTS, TxNote,
    limits::{CONSOLE_BYTES_MAX, CONSOLE_CALL_BYTES, CONSOLE_CALL_BYTES_MAX},
};
use revm::bytecode::opcode as op;

const CONSOLE_ONLY: Noting = Noting { has_console: true, has_calls: false };

fn call(input: &[u8]) -> ConsoleLine {
    ConsoleLine::Call(Bytes::copy_from_slice(input))
}

/// One call of the console.
fn said(input: &[u8]) -> Noted {
    let console = ConsoleCalls { lines: vec![call(input)], left_out: 0 };
    Noted { console, ..Noted::default() }
}

/// Copies its input to memory, calls the console with it, and goes on with `rest`.
fn telling(rest: &[u8]) -> Vec<u8> {
    let copy = [op::CALLDATASIZE, op::PUSH0, op::PUSH0, op::CALLDATACOPY];
    let call = [op::PUSH0, op::PUSH0, op::CALLDATASIZE, op::PUSH0, op::PUSH20];
    let rest = [&[op::GAS, op::STATICCALL, op::POP], rest].concat();
    [&copy[..], &call, CONSOLE.as_slice(), &rest].concat()
}

/// Reverts with its input.
const REVERTING: [u8; 4] = [op::CALLDATASIZE, op::PUSH0, op::REVERT, op::STOP];

/// Goal: in a block each transaction's calls of the console and its failure are noted, those of
/// what reverts too, within bounds and at any slicing; nothing of the block depends on it.
#[test]
fn a_block_notes_what_its_transactions_say() {
    let spec = spec(Fork::Osaka);
    let tip = database(&spec).tip();
    let to = |nonce| TxKind::Call(account(0).create(nonce));
    let say = |nonce, to, input: &'static [u8]| {
        legacy(account(0), nonce, to, (200_000, 0), Bytes::from_static(input))
    };
    let panic = [&[0x4e, 0x48, 0x7b, 0x71][..], &[0; 31], &[0x11]].concat();
    let txs = vec![
        create(account(0), 0, deploying(&telling(&[op::STOP]))),
        create(account(0), 1, deploying(&telling(&REVERTING))),
        say(2, to(0), b"first"),
        say(3, to(1), b"second"),
        say(4, to(1), b""),
        legacy(account(0), 5, to(1), (200_000, 0), Bytes::from(panic.clone())),
        say(6, TxKind::Call(CONSOLE), b"straight"),
    ];
    let told = |text: &str| Some(Failure::Told(text.to_owned()));
    let note = |index, input: &[u8], failure| TxNote { index, noted: said(input), failure };
    let expected = vec![
        note(2, b"first", None),
        note(3, b"second", told("custom error 0x7365636f: 6e64")),
        note(4, b"", Some(Failure::Silent)),
        note(5, &panic, told("panic: arithmetic underflow or overflow (0x11)")),
        note(6, b"straight", None),
    ];
    let mut hashes = Vec::new();
    for fuel in [1, u64::MAX] {
        let mut run = build(&tip, &spec, (attributes(&tip), txs.clone()));
        run.note_txs(CONSOLE_ONLY);
        let block = finish(&mut run, fuel).expect("it builds").expect("it is not empty");
        hashes.push(block.block.hash);
        assert_eq!(run.take_notes(), expected, "fuel {fuel}");
    }
    let mut deaf = build(&tip, &spec, (attributes(&tip), txs));
    hashes.push(finish(&mut deaf, u64::MAX).expect("it builds").expect("as before").block.hash);
    assert!(hashes.iter().all(|hash| *hash == hashes[0]) && deaf.take_notes().is_empty());
}

/// Goal: calls are heard once, also of an estimate, which runs many times, and of what fails; they
/// are cut, and counted where there is no room for them.
#[test]
fn a_call_is_heard_once_and_within_bounds() {
    let heard = |kind: CallKind, code: Vec<u8>, input: Vec<u8>| {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let keeping = Arc::clone(&heard);
        let mut job = call_of(kind, Some(30_000_000), account(7), [(account(7), code.into())]);
        job.request.input = Bytes::from(input).into();
        let to = Port::new(move |noted: Noted| {
            keeping.lock().expect("no panic under it").push(noted);
            Ok(())
        });
        job.notes = Some(CallNoting { to, noting: CONSOLE_ONLY });
        let mut run = CallRun::new(job).expect("a good call");
        while let Step::More { .. } = run.step(3_000) {}
        run.tell_notes();
        std::mem::take(&mut *heard.lock().expect("no panic under it"))
    };
    let once = said(b"hello");
    for kind in [CallKind::Call, CallKind::EstimateGas] {
        for rest in [&[op::STOP][..], &REVERTING] {
            let all = heard(kind.clone(), telling(rest), b"hello".to_vec());
            assert_eq!(all, std::slice::from_ref(&once), "{kind:?}");
        }
    }
    assert!(heard(CallKind::Call, vec![op::STOP], Vec::new()).is_empty());

    // Without an end: until its gas is gone.
    let code = [&[op::JUMPDEST][..], &telling(&[op::PUSH0, op::JUMP])].concat();
    let all = heard(CallKind::Call, code, vec![7; CONSOLE_CALL_BYTES_MAX + 1]);
    let [Noted { console: ConsoleCalls { lines, left_out }, .. }] = &all[..] else {
        panic!("told once")
    };
    let bytes = CONSOLE_CALL_BYTES_MAX + CONSOLE_CALL_BYTES;
    assert_eq!(lines.len(), CONSOLE_BYTES_MAX / bytes);
    assert!(lines.iter().all(|line| line.size_bytes() == bytes) && *left_out > 1_000);
    let events = log(keccak256(TEST_EVENTS[0]));
    let code = [&[op::JUMPDEST][..], &events, &[op::PUSH0, op::JUMP]].concat();
    let all = heard(CallKind::Call, code, vec![7; CONSOLE_CALL_BYTES_MAX]);
    let [Noted { console: ConsoleCalls { lines, left_out }, .. }] = &all[..] else {
        panic!("told once")
    };
    assert!(lines.len() > 50 && *left_out > 100, "{} {left_out}", lines.len());
}

/// `LOG1` with `topic` and the input.
fn log(topic: B256) -> Vec<u8> {
    let copy = [op::CALLDATASIZE, op::PUSH0, op::PUSH0, op::CALLDATACOPY, op::PUSH32];
    [&copy[..], topic.as_slice(), &[op::CALLDATASIZE, op::PUSH0, op::LOG1]].concat()
}

/// Goal: events of ds-test are heard in order with calls of the console, in calls and in blocks,
/// once, also of what is reverted; other logs are not.
#[test]
fn events_of_ds_test_are_heard() {
    let [first, other] = [TEST_EVENTS[5], "Deposit(uint256)"].map(keccak256);
    let event = ConsoleLine::Event(first, Bytes::from_static(b"hello"));
    let logs = [log(first), log(other), telling(&[]), log(first)].concat();
    let expected = vec![event.clone(), call(b"hello"), event];
    let spec = spec(Fork::Osaka);
    let tip = database(&spec).tip();
    for rest in [&[op::STOP][..], &REVERTING] {
        let code = [&logs, rest].concat();
        let txs = vec![
            create(account(0), 0, deploying(&code)),
            legacy(
                account(0),
                1,
                TxKind::Call(account(0).create(0)),
                (200_000, 0),
                Bytes::from_static(b"hello"),
            ),
        ];
        for fuel in [1, u64::MAX] {
            let mut run = build(&tip, &spec, (attributes(&tip), txs.clone()));
            run.note_txs(CONSOLE_ONLY);
            finish(&mut run, fuel).expect("it builds").expect("it is not empty");
            let notes = run.take_notes();
            let [TxNote { index: 1, noted, .. }] = &notes[..] else { panic!("{notes:?}") };
            assert_eq!(noted.console, ConsoleCalls { lines: expected.clone(), left_out: 0 });
        }
    }
}
