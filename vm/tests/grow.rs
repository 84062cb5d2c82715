//! Memory that grows in slices against revm's own loop (X1, X3).

mod common;

use alloy_primitives::{Address, Bytes};
use common::{Code, Scene, contract, run_sliced};
use evenkeel_vm::{Slice, Suspended};
use revm::{
    InspectEvm, MainBuilder, MainContext, bytecode::opcode as op, context::Context,
    primitives::hardfork::SpecId,
};
use revm_inspectors::tracing::{TracingInspector, TracingInspectorConfig};

/// Each instruction that needs memory, up to about `far`, by place and by length.
fn bodies(far: u64) -> Vec<(&'static str, Code)> {
    let with = |operands: &[u64], opcode| {
        operands.iter().fold(Code::default(), |code, value| code.push(*value)).op(opcode)
    };
    let call = |opcode, value: bool, ranges: [u64; 4]| {
        let code = ranges.iter().fold(Code::default(), |code, operand| code.push(*operand));
        let code = if value { code.push(0) } else { code };
        code.address(contract(1)).push(5_000).op(opcode)
    };
    let mut returned = call(op::STATICCALL, false, [0; 4]).op(op::POP);
    returned.0.extend(with(&[64, 0, far], op::RETURNDATACOPY).0);
    let mut extcode = with(&[far, 0, 5], op::PUSH20);
    extcode.0.extend(Address::ZERO.as_slice());
    vec![
        ("MLOAD", with(&[far], op::MLOAD)),
        ("MSTORE", with(&[3, far], op::MSTORE)),
        ("MSTORE8", with(&[3, far], op::MSTORE8)),
        ("MCOPY to", with(&[9, 1, far], op::MCOPY)),
        ("MCOPY from", with(&[9, far, 1], op::MCOPY)),
        ("CALLDATACOPY", with(&[far, 1, 2], op::CALLDATACOPY)),
        ("CODECOPY", with(&[2, 1, far], op::CODECOPY)),
        ("EXTCODECOPY", extcode.op(op::EXTCODECOPY)),
        ("RETURNDATACOPY", returned),
        ("KECCAK256", with(&[1, far], op::KECCAK256)),
        ("LOG2", with(&[1, 2, 3, far], op::LOG2)),
        ("RETURN", with(&[1, far], op::RETURN)),
        ("REVERT", with(&[1, far], op::REVERT)),
        ("CREATE", with(&[8, far, 0], op::CREATE)),
        ("CREATE2", with(&[7, 8, far, 0], op::CREATE2)),
        ("CALL in", call(op::CALL, true, [0, 0, 4, far])),
        ("CALL out", call(op::CALL, true, [40, far, 0, 0])),
        ("CALLCODE", call(op::CALLCODE, true, [40, far, 4, 9])),
        ("DELEGATECALL", call(op::DELEGATECALL, false, [40, far, 4, 9])),
        ("STATICCALL", call(op::STATICCALL, false, [40, 0, far, 9])),
    ]
}

fn scene(body: Code, gas_limit: u64) -> Scene {
    // What the memory is afterwards goes into the state.
    let after = body.op(op::MSIZE).push(4).op(op::SSTORE).push(40).op(op::MLOAD).push(5);
    let after = after.op(op::SSTORE).op(op::GAS).push(6).op(op::SSTORE);
    let before = Code::default().push(0x1234_5678).push(33).op(op::MSTORE);
    let callee = Code::default().push(9).push(0).op(op::MSTORE).push(80).push(0).op(op::RETURN);
    Scene {
        spec: SpecId::OSAKA,
        contracts: vec![Bytes::from([before.0, after.0].concat()), Bytes::from(callee.0)],
        input: Bytes::from_static(&[7; 50]),
        gas_limit,
        to: Some(contract(0)),
    }
}

/// Goal: X1 for every instruction that grows memory, with gas for it, and short of it by a little
/// and by much; and it does grow in slices.
#[test]
fn growth_in_slices_equals_the_whole() {
    let far = 400_000;
    // 12,500 words and a few, from one: 342,676 gas and a few.
    for gas_limit in [4_000_000, 371_000, 340_000, 60_000] {
        let near = bodies(1_000).into_iter();
        for ((name, body), (_, small)) in bodies(far).into_iter().zip(near) {
            let scene = scene(body, gas_limit);
            let slices = [1, 100_000, u64::MAX].map(|fuel| {
                let mut evm = scene.suspended(u64::MAX);
                let (result, slices, _) =
                    run_sliced(&mut evm, scene.tx(), fuel).expect("the sender can pay");
                let found = Some((result, evm.finalize()));
                assert_eq!(found, scene.plain(), "{name}, {gas_limit} gas, fuel {fuel}");
                slices
            });
            let small = self::scene(small, gas_limit);
            let usual = run_sliced(&mut small.suspended(u64::MAX), small.tx(), 1);
            if gas_limit == 4_000_000 {
                let (_, usual, _) = usual.expect("the sender can pay");
                assert!(slices[0] >= usual + 20, "{name}: {slices:?}, usually {usual}");
            }
        }
    }
}

/// The tracer sees the instruction once, as if it had not waited.
#[test]
fn growth_is_traced_as_the_whole() {
    let config = TracingInspectorConfig::all();
    for (gas_limit, (name, body)) in [4_000_000, 371_000]
        .into_iter()
        .flat_map(|gas| bodies(400_000).into_iter().map(move |b| (gas, b)))
    {
        let scene = scene(body, gas_limit);
        let setup = scene.setup(u64::MAX);
        let context = Context::mainnet().with_db(scene.db()).with_cfg(setup.cfg.clone());
        let mut plain = context
            .with_block(setup.block.clone())
            .build_mainnet_with_inspector(TracingInspector::new(config));
        let expected = plain.inspect_tx(scene.tx()).expect("the sender can pay");
        let mut evm = Suspended::new(setup, scene.db(), TracingInspector::new(config));
        assert_eq!(evm.begin(scene.tx()), Ok(None));
        let result = loop {
            if let Slice::Done(result) = evm.resume(&mut 500).expect("memory does not fail") {
                break result;
            }
        };
        assert_eq!(result, expected.result, "{name}");
        let (_, tracer) = evm.into_parts();
        assert!(tracer.traces() == plain.inspector.traces(), "{name}, {gas_limit} gas");
    }
}
