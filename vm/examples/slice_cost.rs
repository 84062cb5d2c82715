//! What slicing costs: CPU time of sliced execution at 100,000 gas against revm's own loop.
//!
//! Both run the same transactions on the same state, in turns, and each goes first in every other
//! round. The cost is the median of the rounds' ratios, so that a machine that slows down for a
//! while moves both sides of them; a quarter of the rounds lie below and above the range beside it.
//! Between two runs of this example the cost of one program still moves by some 4 % on a loaded
//! machine, so with PERCENT given the exit status is 1 if the programs cost more on average.
//! `cargo run --release -p evenkeel-vm --example slice_cost -- [PERCENT]`
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::process::ExitCode;

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

const ROUNDS: usize = 61;
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
    Setup {
        cfg,
        block: BlockEnv::default(),
        heavy_gas: 100_000,
        is_net_metered: false,
        precompiles: None,
    }
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

/// Value that as many quarters of them lie below.
fn quartile(mut values: Vec<f64>, quarters: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() * quarters / 4]
}

/// Times one program in every round, prints its line and returns what slicing costs, in percent.
fn measure(name: &str, code: &[u8]) -> f64 {
    let Setup { cfg, block, .. } = setup();
    let context = Context::mainnet().with_db(database(code.to_vec()));
    let mut theirs = context.with_cfg(cfg).with_block(block).build_mainnet();
    let mut ours = Suspended::new(setup(), database(code.to_vec()), ());
    let (mut plain_ms, mut sliced_ms, mut costs) = (vec![], vec![], vec![]);
    let (mut gas, mut slices) = (0, 0);
    for round in 0..=ROUNDS {
        let (mut expected, mut found) = (None, None);
        let (mut plain_time, mut sliced_time) = (0.0, 0.0);
        for turn in 0..2 {
            let start = cpu_ms();
            if (round + turn) % 2 == 0 {
                expected = Some(plain(&mut theirs));
                plain_time = cpu_ms() - start;
            } else {
                found = Some(sliced(&mut ours));
                sliced_time = cpu_ms() - start;
            }
        }
        let (result, count) = found.expect("one of the turns");
        assert!(result.is_success(), "{result}");
        (gas, slices) = (result.tx_gas_used() / 1_000_000, count);
        assert_eq!(Some(result), expected);
        // The first round pays for cold caches and fresh memory.
        if round > 0 {
            plain_ms.push(plain_time);
            sliced_ms.push(sliced_time);
            costs.push((sliced_time / plain_time - 1.0) * 100.0);
        }
    }
    let [low, cost, high] = [1, 2, 3].map(|quarters| quartile(costs.clone(), quarters));
    println!(
        "{name:12} {gas:7} {:10.2} {:10.2} {slices:7}   {low:+6.2} to {high:+6.2} % {cost:+7.2} %",
        quartile(plain_ms, 2),
        quartile(sliced_ms, 2),
    );
    cost
}

fn main() -> ExitCode {
    let cost_max: f64 = match std::env::args().nth(1).map(|word| word.parse()).transpose() {
        Ok(percent) => percent.unwrap_or(f64::MAX),
        Err(error) => {
            println!("usage: slice_cost [PERCENT]: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!(
        "program      gas (M)   plain ms  sliced ms  slices  middle half of {ROUNDS}     cost"
    );
    let costs = [
        measure("arithmetic", &arithmetic()),
        measure("keccak", &keccak()),
        measure("sub-calls", &sub_calls()),
        measure("fixed point", &fixed_point()),
    ];
    let mean = costs.iter().sum::<f64>() / 4.0;
    println!("mean of the programs {mean:+.2} %");
    if mean <= cost_max { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
