//! Sliced execution against revm's own loop (X1, X2, H1, M1, M2).

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use alloy_primitives::{Address, B256, Bytes, U256};
use common::{Code, Piece, SPECS, Scene, code, contract, run_heavy, run_sliced, scene};
use evenkeel_state::SlotSearch;
use evenkeel_vm::{Slice, StorageSearch, Suspended};
use proptest::prelude::*;
use revm::{
    Database, InspectEvm, MainBuilder, MainContext,
    bytecode::opcode as op,
    context::Context,
    database::InMemoryDB,
    primitives::hardfork::SpecId,
    state::{AccountInfo, Bytecode},
};
use revm_inspectors::tracing::{TracingInspector, TracingInspectorConfig};

/// Offloads nearly every precompile call.
const LOW_HEAVY_GAS: u64 = 100;

fn check(scene: &Scene, fuel: u64, heavy_gas: u64) {
    let mut evm = scene.suspended(heavy_gas);
    let found = run_sliced(&mut evm, scene.tx(), fuel).ok();
    let found = found.map(|(result, ..)| (result, evm.finalize()));
    assert_eq!(found, scene.plain(), "fuel {fuel}, heavy above {heavy_gas}");
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 384, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    /// X1 and H1 on generated contracts.
    #[test]
    fn slices_equal_the_whole(scene in scene()) {
        for fuel in [1, 7, 1_000, u64::MAX] {
            check(&scene, fuel, u64::MAX);
        }
        check(&scene, 7, LOW_HEAVY_GAS);
    }

    /// X2: wherever it is cancelled, the same EVM then runs the same transaction as if new.
    #[test]
    fn cancelled_evm_is_as_new(scene in scene(), slices in 0_usize..300) {
        let mut evm = scene.suspended(u64::MAX);
        if let Ok(None) = evm.begin(scene.tx()) {
            for _ in 0..slices {
                if !matches!(evm.resume(&mut 11), Ok(Slice::More)) {
                    break;
                }
            }
            if evm.is_running() {
                evm.cancel();
                evm.finalize();
                let again = run_sliced(&mut evm, scene.tx(), 1_000).ok();
                let again = again.map(|(result, ..)| (result, evm.finalize()));
                prop_assert_eq!(again, scene.plain());
            }
        }
    }

    /// The tracer sees the same in slices as in one run.
    #[test]
    fn traces_equal_the_whole(scene in scene()) {
        let config = TracingInspectorConfig::all();
        let setup = scene.setup(u64::MAX);
        let context = Context::mainnet().with_db(scene.db());
        let context = context.with_cfg(setup.cfg.clone()).with_block(setup.block.clone());
        let mut plain = context.build_mainnet_with_inspector(TracingInspector::new(config));
        let Ok(expected) = plain.inspect_tx(scene.tx()) else { return Ok(()) };

        for (fuel, heavy_gas) in [(1, u64::MAX), (50, LOW_HEAVY_GAS), (u64::MAX, u64::MAX)] {
            let setup = evenkeel_vm::Setup { heavy_gas, ..setup.clone() };
            let mut evm = Suspended::new(setup, scene.db(), TracingInspector::new(config));
            let mut result = evm.begin(scene.tx()).expect("revm took it");
            while result.is_none() {
                match evm.resume(&mut fuel.clone()).expect("memory does not fail") {
                    Slice::More => {}
                    Slice::Offload(call) => evm.provide(run_heavy(call)),
                    Slice::Done(done) => result = Some(done),
                }
            }
            prop_assert_eq!(result.as_ref(), Some(&expected.result));
            let (_, tracer) = evm.into_parts();
            prop_assert_eq!(tracer.traces(), plain.inspector.traces());
        }
    }
}

/// A contract that uses everything, so that each fork runs it at each fuel.
fn everything(spec: SpecId) -> Scene {
    let mut calls = vec![op::CALL, op::CALLCODE];
    if spec >= SpecId::HOMESTEAD {
        calls.push(op::DELEGATECALL);
    }
    if spec >= SpecId::BYZANTIUM {
        calls.push(op::STATICCALL);
    }
    let mut first = vec![
        Piece::Store(1, 0),
        Piece::Store(3, 9),
        Piece::Keccak(3, 70_001),
        Piece::Keccak(0, 8_193),
        Piece::Log(2, 40),
        Piece::Loop(20),
        Piece::Create(false, vec![op::PUSH1, 1, op::PUSH1, 0, op::RETURN], 1),
    ];
    first.extend(calls.into_iter().map(|opcode| Piece::Call(opcode, contract(1), 30_000, 64, 0)));
    first.extend((1..=9).map(|n| {
        Piece::Call(op::CALL, Address::with_last_byte(n), 100_000, 213, u64::from(n == 4))
    }));
    first.push(Piece::Call(op::CALL, contract(2), 50_000, 0, 1));
    first.push(Piece::Gas);
    let second = [Piece::Gas, Piece::Load(1), Piece::Log(0, 3), Piece::End(op::REVERT, 33)];
    let third = [Piece::Store(1, 1), Piece::End(op::SELFDESTRUCT, 0)];
    Scene {
        spec,
        contracts: vec![code(&first), code(&second), code(&third), Bytes::new()],
        input: Bytes::from_static(&[1, 2, 3]),
        gas_limit: 2_000_000,
        to: Some(contract(0)),
    }
}

#[test]
fn every_fork_at_every_fuel() {
    for spec in SPECS {
        let scene = everything(spec);
        let (result, _) = scene.plain().expect("the sender can pay");
        assert!(result.is_success(), "{spec:?}: {result}");
        for fuel in [1, 7, 1_000] {
            check(&scene, fuel, u64::MAX);
        }
        check(&scene, 1_000, LOW_HEAVY_GAS);
    }
}

/// X1 for `KECCAK256`, `LOG`, `RETURN` and `REVERT` of so many bytes that they are cut; short of
/// gas, of operands and of the right to log too.
#[test]
fn long_instructions_equal_the_whole() {
    let bytes = 300_001;
    let log = |n: u8| Code::default().push(3).push(2).push(bytes).push(5).op(op::LOG0 + n);
    let ends = |opcode| Code::default().push(bytes).push(7).op(opcode);
    let bodies = [
        log(0),
        log(2),
        log(4),
        ends(op::RETURN),
        ends(op::REVERT),
        ends(op::KECCAK256),
        Code::default().push(bytes).push(5).op(op::LOG1),
        log(1).op(op::INVALID),
    ];
    let config = TracingInspectorConfig::all();
    for (body, call) in bodies.iter().flat_map(|body| [(body, op::CALL), (body, op::STATICCALL)]) {
        // Reads and returns what the called contract gave.
        let outer = Code::default().push(64).push(0).push(0).push(0);
        let outer = if call == op::CALL { outer.push(0) } else { outer };
        let outer = outer.address(contract(1)).op(op::GAS).op(call).op(op::RETURNDATASIZE);
        let outer = outer.push(0).op(op::MSTORE).push(100_000).push(0).op(op::RETURN);
        for gas_limit in [600_000, 1_600_000, 8_000_000] {
            let scene = Scene {
                spec: SpecId::OSAKA,
                contracts: vec![Bytes::from(outer.0.clone()), Bytes::from(body.0.clone())],
                input: Bytes::new(),
                gas_limit,
                to: Some(contract(0)),
            };
            check(&scene, 1, u64::MAX);
            check(&scene, 1_000_000, u64::MAX);
            let setup = scene.setup(u64::MAX);
            let context = Context::mainnet().with_db(scene.db()).with_cfg(setup.cfg.clone());
            let mut plain = context
                .with_block(setup.block.clone())
                .build_mainnet_with_inspector(TracingInspector::new(config));
            let expected = plain.inspect_tx(scene.tx()).expect("it is valid");
            let mut evm = Suspended::new(setup, scene.db(), TracingInspector::new(config));
            let mut result = evm.begin(scene.tx()).expect("revm took it");
            while result.is_none() {
                match evm.resume(&mut 20_000).expect("memory does not fail") {
                    Slice::More => {}
                    Slice::Offload(call) => evm.provide(run_heavy(call)),
                    Slice::Done(done) => result = Some(done),
                }
            }
            assert_eq!(result, Some(expected.result));
            assert_eq!(evm.into_parts().1.traces(), plain.inspector.traces());
        }
    }
}

/// X1 for frames that change more than is undone in one go, and fail.
#[test]
fn undone_frames_equal_the_whole() {
    // Sets 300 slots and as many transient ones, then fails.
    let loops = Code::default().push(300).op(op::JUMPDEST).op(op::DUP1).op(op::DUP1);
    let loops = loops.op(op::SSTORE).op(op::DUP1).op(op::DUP1).op(op::TSTORE).push(1);
    let loops = loops.op(op::SWAP1).op(op::SUB).op(op::DUP1).push(3).op(op::JUMPI);
    let reverts = loops.clone().push(0).push(0).op(op::REVERT);
    for failing in [reverts, loops.op(op::INVALID)] {
        let calls = Code::default().push(7).push(7).op(op::TSTORE).push(0).push(0).push(0);
        let calls = calls.push(0).push(0).address(contract(1)).push(9_000_000).op(op::CALL);
        let calls = calls.push(1).op(op::SSTORE).push(7).op(op::TLOAD).push(2).op(op::SSTORE);
        let scene = Scene {
            spec: SpecId::OSAKA,
            contracts: vec![Bytes::from(calls.0), Bytes::from(failing.0)],
            input: Bytes::new(),
            gas_limit: 10_000_000,
            to: Some(contract(0)),
        };
        for fuel in [1, 1_000, u64::MAX] {
            check(&scene, fuel, u64::MAX);
        }
    }
}

/// Each contract calls the next: `depth` frames, each with changes of its own.
fn recursion() -> Scene {
    // Calls itself with input - 1 until it is zero.
    let body = Code::default().push(0).op(op::CALLDATALOAD).op(op::DUP1).op(op::ISZERO);
    let at = body.0.len() as u64;
    let jump = body.push(0).op(op::JUMPI);
    let call = jump
        .push(1)
        .op(op::SWAP1)
        .op(op::SUB)
        .op(op::DUP1)
        .push(0)
        .op(op::MSTORE)
        .op(op::DUP1)
        .op(op::DUP1)
        .op(op::SSTORE)
        .push(0)
        .push(0)
        .push(32)
        .push(0)
        .push(0)
        .op(op::ADDRESS)
        .op(op::GAS)
        .op(op::CALL)
        .push(32)
        .push(0)
        .op(op::LOG0);
    let end = call.0.len() as u64;
    let mut code = call.op(op::JUMPDEST).op(op::STOP);
    code.0[usize::try_from(at).expect("small") + 1] = u8::try_from(end).expect("short");
    Scene {
        spec: SpecId::OSAKA,
        contracts: vec![Bytes::from(code.0)],
        input: Bytes::from(U256::from(40).to_be_bytes::<32>()),
        gas_limit: 10_000_000,
        to: Some(contract(0)),
    }
}

/// M1: a call at depth 40 is moved over eight threads and finishes as on one; another is dropped
/// on a thread that never ran it.
#[test]
fn suspended_moves_between_threads() {
    let scene = recursion();
    let at_depth_40 = || {
        let mut evm = scene.suspended(u64::MAX);
        assert_eq!(evm.begin(scene.tx()), Ok(None));
        while evm.depth() < 40 {
            assert!(matches!(evm.resume(&mut 50), Ok(Slice::More)));
        }
        evm
    };
    let mut evm = at_depth_40();
    let mut done = None;
    for hop in 0..8 {
        (evm, done) = std::thread::scope(|scope| {
            let work = move || {
                assert!(done.is_none());
                let fuel = if hop < 7 { 2_000 } else { u64::MAX };
                match evm.resume(&mut fuel.clone()).expect("memory does not fail") {
                    Slice::Done(result) => (evm, Some(result)),
                    Slice::More => (evm, None),
                    Slice::Offload(_) => unreachable!("it calls no precompile"),
                }
            };
            scope.spawn(work).join().expect("it does not panic")
        });
    }
    let found = (done.expect("the last hop has no limit"), evm.finalize());
    assert_eq!(Some(found), scene.plain());

    let other = at_depth_40();
    std::thread::scope(|scope| scope.spawn(move || drop(other)).join()).expect("it only drops");
}

/// BLAKE2F with many rounds and a long final chunk: ours is revm's.
#[test]
fn blake2_in_chunks_equals_revm() {
    for (rounds, is_last) in [(0_u32, 0_u8), (1, 1), (12, 1), (9_999, 0), (24_001, 1)] {
        let mut input = vec![0; 213];
        input[..4].copy_from_slice(&rounds.to_be_bytes());
        for (at, byte) in input[4..212].iter_mut().enumerate() {
            *byte = u8::try_from(at % 251).expect("below 256");
        }
        input[212] = is_last;
        let mut store = Code::default();
        for (at, word) in input.chunks(32).enumerate() {
            let mut padded = [0; 32];
            padded[..word.len()].copy_from_slice(word);
            store.0.push(op::PUSH32);
            store.0.extend_from_slice(&padded);
            store = store.push(32 * at as u64).op(op::MSTORE);
        }
        let store = store.push(64).push(0).push(213).push(0).address(Address::with_last_byte(9));
        let code = store.push(1_000_000).op(op::STATICCALL).push(0).op(op::MSTORE8);
        let scene = Scene {
            spec: SpecId::OSAKA,
            contracts: vec![Bytes::from(code.push(64).push(0).op(op::RETURN).0)],
            input: Bytes::new(),
            gas_limit: 2_000_000,
            to: Some(contract(0)),
        };
        let mut evm = scene.suspended(0);
        let (result, _, offloads) = run_sliced(&mut evm, scene.tx(), 1_000).expect("valid");
        assert_eq!(offloads, usize::from(rounds > 0));
        assert_eq!(Some((result, evm.finalize())), scene.plain(), "{rounds} rounds");
    }
}

/// Panics when it is asked for a slot.
#[derive(Debug)]
struct Panicking(InMemoryDB);

impl Database for Panicking {
    type Error = <InMemoryDB as Database>::Error;
    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Self::Error> {
        self.0.basic(address)
    }
    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, Self::Error> {
        self.0.code_by_hash(hash)
    }
    fn storage(&mut self, _: Address, _: U256) -> Result<U256, Self::Error> {
        panic!("a slot")
    }
    fn block_hash(&mut self, number: u64) -> Result<B256, Self::Error> {
        self.0.block_hash(number)
    }
}

impl StorageSearch for Panicking {
    fn search_storage(&mut self, address: Address, from: U256) -> Result<SlotSearch, Self::Error> {
        self.0.search_storage(address, from)
    }
}

/// M2: after a panic in a slice the value answers nothing more, and nothing is freed twice.
#[test]
fn panic_drops_the_evm() {
    let scene = Scene { contracts: vec![code(&[Piece::Load(1)])], ..recursion() };
    let mut evm = Suspended::new(scene.setup(u64::MAX), Panicking(scene.db()), ());
    assert!(matches!(evm.begin(scene.tx()), Ok(None)));
    assert!(catch_unwind(AssertUnwindSafe(|| evm.resume(&mut 1_000).is_ok())).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| evm.is_running())).is_err());
}
