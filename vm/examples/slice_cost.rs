//! What slicing costs: CPU time of sliced execution at 100,000 gas against revm's own loop.
//!
//! Both run the same transactions on the same state, interleaved; medians of 31 runs are compared.
//! `cargo run --release -p evenkeel-vm --example slice_cost`
#![allow(clippy::print_stdout, reason = "an example prints")]

use alloy_primitives::{Address, Bytes, TxKind, U256};
use evenkeel_vm::{Setup, Slice, Suspended};
use revm::{
    ExecuteEvm, MainBuilder, MainContext, MainnetEvm,
    bytecode::{Bytecode, opcode as op},
    context::{BlockEnv, CfgEnv, Context, TxEnv, result::ExecutionResult},
    database::InMemoryDB,
    handler::MainnetContext,
    primitives::hardfork::SpecId,
    state::AccountInfo,
};
use rustix::time::{ClockId, clock_gettime};

const RUNS: usize = 31;
const SLICE_GAS: u64 = 100_000;
const CALLER: Address = Address::repeat_byte(0xca);
const TARGET: Address = Address::repeat_byte(0x7a);
const CALLEE: Address = Address::repeat_byte(0x7b);

/// `PUSH4 times JUMPDEST body PUSH1 1 SWAP1 SUB DUP1 PUSH1 5 JUMPI`: the body keeps the stack.
fn repeat(times: u32, body: &[u8]) -> Vec<u8> {
    let mut code = vec![op::PUSH4];
    code.extend_from_slice(&times.to_be_bytes());
    code.push(op::JUMPDEST);
    code.extend_from_slice(body);
    code.extend_from_slice(&[op::PUSH1, 1, op::SWAP1, op::SUB, op::DUP1, op::PUSH1, 5, op::JUMPI]);
    code
}

fn arithmetic() -> Vec<u8> {
    repeat(
        1_000_000,
        &[op::DUP1, op::DUP1, op::MUL, op::PUSH1, 7, op::ADD, op::DUP1, op::XOR, op::POP],
    )
}

fn keccak() -> Vec<u8> {
    repeat(100_000, &[op::PUSH1, 64, op::PUSH1, 0, op::KECCAK256, op::PUSH1, 0, op::MSTORE])
}

/// 200 rounds; each calls a contract that loops.
fn sub_calls() -> Vec<u8> {
    let mut body = vec![];
    for _ in 0..5 {
        body.extend_from_slice(&[op::PUSH1, 0]);
    }
    body.push(op::PUSH20);
    body.extend_from_slice(CALLEE.as_slice());
    body.extend_from_slice(&[op::GAS, op::CALL, op::POP]);
    repeat(200, &body)
}

/// A fixed-point loop as ray tracers in Solidity have it: signed divisions, memory, inner jumps.
fn fixed_point() -> Vec<u8> {
    let mut body = vec![];
    for at in 0..6_u8 {
        body.extend_from_slice(&[op::DUP1, op::PUSH1, 32 * at, op::MLOAD, op::ADD]);
        body.extend_from_slice(&[op::PUSH3, 0x0f, 0x42, 0x40, op::MUL]);
        body.extend_from_slice(&[op::PUSH2, 0x03, 0xe9, op::SWAP1, op::SDIV]);
        body.extend_from_slice(&[op::PUSH1, 3, op::SWAP1, op::SMOD, op::PUSH1, 11, op::ADD]);
        body.extend_from_slice(&[op::DUP1, op::PUSH1, 2, op::SWAP1, op::SAR, op::ADD]);
        body.extend_from_slice(&[op::DUP1, op::PUSH1, 9, op::LT, op::ISZERO, op::POP]);
        body.extend_from_slice(&[op::PUSH1, 32 * at, op::MSTORE]);
    }
    repeat(60_000, &body)
}

fn database(code: Vec<u8>) -> InMemoryDB {
    let mut db = InMemoryDB::default();
    let balance = U256::from(10).pow(U256::from(30));
    db.insert_account_info(CALLER, AccountInfo { balance, ..AccountInfo::default() });
    let callee = repeat(6_000, &[op::DUP1, op::PUSH1, 0, op::MSTORE]);
    for (address, code) in [(TARGET, code), (CALLEE, callee)] {
        let code = Bytecode::new_legacy(Bytes::from(code));
        db.insert_account_info(address, AccountInfo::new(U256::ZERO, 1, code.hash_slow(), code));
    }
    db
}

fn setup() -> Setup {
    let mut cfg = CfgEnv::new_with_spec(SpecId::OSAKA);
    cfg.tx_gas_limit_cap = Some(u64::MAX);
    Setup { cfg, block: BlockEnv::default(), heavy_gas: 100_000 }
}

fn tx() -> TxEnv {
    TxEnv { caller: CALLER, kind: TxKind::Call(TARGET), gas_limit: 1 << 40, ..TxEnv::default() }
}

fn plain(evm: &mut MainnetEvm<MainnetContext<InMemoryDB>>) -> ExecutionResult {
    let result = evm.transact_one(tx()).expect("it is valid");
    evm.finalize();
    result
}

fn sliced(evm: &mut Suspended<InMemoryDB>) -> (ExecutionResult, u32) {
    assert_eq!(evm.begin(tx()), Ok(None));
    let mut slices = 1;
    loop {
        match evm.resume(&mut SLICE_GAS.clone()).expect("memory does not fail") {
            Slice::More => slices += 1,
            Slice::Offload(_) => unreachable!("no precompile is called"),
            Slice::Done(result) => {
                evm.finalize();
                return (result, slices);
            }
        }
    }
}

fn cpu_ms() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = now.tv_sec * 1_000_000_000 + now.tv_nsec;
    std::time::Duration::from_nanos(nanos.unsigned_abs()).as_secs_f64() * 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    println!("program      gas (M)   plain ms  sliced ms  slices   cost");
    let programs: [(&str, Vec<u8>); 4] = [
        ("arithmetic", arithmetic()),
        ("keccak", keccak()),
        ("sub-calls", sub_calls()),
        ("fixed point", fixed_point()),
    ];
    for (name, code) in programs {
        let Setup { cfg, block, .. } = setup();
        let context = Context::mainnet().with_db(database(code.clone()));
        let mut ours = Suspended::new(setup(), database(code), ());
        let mut theirs = context.with_cfg(cfg).with_block(block).build_mainnet();
        let (mut plain_ms, mut sliced_ms) = (vec![], vec![]);
        let (mut gas, mut slices) = (0, 0);
        for _ in 0..RUNS {
            let start = cpu_ms();
            let expected = plain(&mut theirs);
            let middle = cpu_ms();
            let (found, count) = sliced(&mut ours);
            sliced_ms.push(cpu_ms() - middle);
            plain_ms.push(middle - start);
            assert_eq!(found, expected);
            assert!(found.is_success(), "{found}");
            (gas, slices) = (found.tx_gas_used() / 1_000_000, count);
        }
        let (theirs_ms, ours_ms) = (median(plain_ms), median(sliced_ms));
        let cost = (ours_ms / theirs_ms - 1.0) * 100.0;
        println!("{name:12} {gas:7} {theirs_ms:10.2} {ours_ms:10.2} {slices:7} {cost:+6.2} %");
    }
}
