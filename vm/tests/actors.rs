//! Calls as actors: fair among each other, on time, gone when nobody waits.

#[path = "common/chain.rs"]
mod chain;
mod common;

use std::time::Duration;

use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_rpc_types_eth::{
    TransactionRequest,
    state::{AccountOverride, StateOverride},
};
use chain::{database, spec};
use common::{Code, contract};
use evenkeel_chain::Fork;
use evenkeel_runtime::{Answer, Faults, Share, Simulation, System, Time};
use evenkeel_vm::{CallError, CallJob, CallKind, CallOutcome, Limits, spawn_call};
use revm::bytecode::opcode as op;

/// Short: a simulated second is 10⁹ gas of real work.
const TIMEOUT: Duration = Duration::from_millis(40);

type Waiting = Answer<Result<CallOutcome, CallError>>;

fn job(code: Vec<u8>, deadline: Option<Time>) -> CallJob {
    let spec = spec(Fork::Osaka);
    let tip = database(&spec).tip();
    let mut overrides = StateOverride::default();
    let change = AccountOverride { code: Some(Bytes::from(code)), ..Default::default() };
    overrides.insert(contract(0), change);
    let to = Some(TxKind::Call(contract(0)));
    CallJob {
        view: tip.view,
        header: tip.header,
        spec,
        request: TransactionRequest { to, ..TransactionRequest::default() },
        state_overrides: Some(overrides),
        block_overrides: None,
        kind: CallKind::Call,
        limits: Limits { deadline, timeout: TIMEOUT, ..Limits::default() },
        notes: None,
    }
}

fn endless() -> Vec<u8> {
    Code::default().op(op::JUMPDEST).push(0).op(op::JUMP).0
}

fn light() -> Vec<u8> {
    Code::default().push(42).push(0).op(op::MSTORE).push(32).push(0).op(op::RETURN).0
}

/// Endlessly BLAKE2F with this many rounds, priced far above what runs on a worker.
fn heavy(rounds: u64) -> Vec<u8> {
    let code = Code::default().push(rounds << 32).push(0).op(op::MSTORE);
    let code = code.op(op::JUMPDEST);
    let at = u8::try_from(code.0.len() - 1).expect("short");
    let code = code.push(0).push(0).push(213).push(24).address(Address::with_last_byte(9));
    code.op(op::GAS).op(op::STATICCALL).op(op::POP).push(u64::from(at)).op(op::JUMP).0
}

fn simulation() -> Simulation {
    System::simulated(7, Faults::default())
}

/// 64 endless calls of one client and a light one of another: the light one is done within a few
/// turns, and every endless one ends at its deadline with geth's text.
#[test]
fn light_call_passes_endless_ones() {
    let mut simulation = simulation();
    let system = simulation.system().clone();
    let (busy, other) = (Share::new(), Share::new());
    let deadline = system.now() + TIMEOUT;
    let endless: Vec<Waiting> =
        (0..64).map(|_| spawn_call(&system, &busy, job(endless(), Some(deadline)), None)).collect();
    simulation.run_for(Duration::from_millis(5));
    let start = simulation.now();
    let answer = spawn_call(&system, &other, job(light(), Some(deadline)), None);
    let output = simulation.run_until(answer).expect("it is answered").expect("it returns");
    let output = match output {
        CallOutcome::Output(output) => U256::from_be_slice(&output),
        other => panic!("not an output: {other:?}"),
    };
    assert_eq!(output, U256::from(42));
    let waited = simulation.now() - start;
    assert!(waited < Duration::from_millis(10), "{waited:?}");

    for answer in endless {
        let error = simulation.run_until(answer).expect("it is answered").expect_err("endless");
        assert_eq!(error, CallError::Timeout(TIMEOUT));
        assert_eq!(error.to_string(), "execution aborted (timeout = 40ms)");
    }
    let late = simulation.now() - deadline;
    assert!(late < Duration::from_millis(10), "{late:?}");
}

/// A dropped answer ends the call; nothing is left running.
#[test]
fn dropped_answer_ends_the_call() {
    let mut simulation = simulation();
    let system = simulation.system().clone();
    let share = Share::new();
    let answers: Vec<Waiting> = [endless(), heavy(150_000)]
        .map(|code| spawn_call(&system, &share, job(code, None), None))
        .into();
    simulation.run_for(Duration::from_millis(5));
    assert_eq!(system.status().actors_live, 2);
    drop(answers);
    simulation.run_for(Duration::from_millis(30));
    assert_eq!(system.status().actors_live, 0);
}

/// The client of a call that waits for the pool is answered at its deadline, on real threads.
#[test]
fn deadline_holds_while_offloaded() {
    let system = System::threads(evenkeel_runtime::ThreadsConfig {
        workers: 1,
        compute_threads: 1,
        blocking_threads: 1,
        seed: Some(1),
    })
    .expect("it starts");
    let timeout = Duration::from_millis(100);
    let start = system.now();
    let mut job = job(heavy(4_000_000_000), Some(start + timeout));
    job.limits.timeout = timeout;
    let error =
        spawn_call(&system, &Share::new(), job, None).wait().expect("answered").expect_err("late");
    assert_eq!(error.to_string(), "execution aborted (timeout = 100ms)");
    let waited = system.now() - start;
    assert!(waited >= timeout && waited < Duration::from_secs(2), "{waited:?}");
    system.stop(Duration::from_secs(1));
}
