//! Calls that are held: paused, stepped through, watched, cancelled.

#[path = "common/chain.rs"]
mod chain;
mod common;

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_rpc_types_eth::{
    TransactionRequest,
    state::{AccountOverride, StateOverride},
};
use alloy_rpc_types_trace::geth::{
    GethDebugBuiltInTracerType, GethDebugTracerType, GethDebugTracingOptions,
};
use chain::{account, built, create, database, deploying, legacy, spec};
use common::{Code, contract};
use evenkeel_chain::Fork;
use evenkeel_runtime::{Class, Faults, Share, Simulation, System, Time};
use evenkeel_vm::{
    CallError, CallJob, CallKind, CallOutcome, CallRun, Hold, HoldState, Limits, Step, TraceJob,
    TraceKind, TraceRun, Watch, Whereabouts, limits::WATCH_CHANGES_MAX, spawn_call,
};
use rand_core::RngCore as _;
use revm::bytecode::opcode as op;

fn options() -> GethDebugTracingOptions {
    let tracer = GethDebugBuiltInTracerType::CallTracer;
    GethDebugTracingOptions {
        tracer: Some(GethDebugTracerType::BuiltInTracer(tracer)),
        ..GethDebugTracingOptions::default()
    }
}

fn trace() -> CallKind {
    CallKind::Trace(options())
}

fn job(kind: CallKind, codes: &[Vec<u8>], deadline: Option<Time>) -> CallJob {
    let spec = spec(Fork::Osaka);
    let tip = database(&spec).tip();
    let mut overrides = StateOverride::default();
    for (number, code) in (0..).zip(codes) {
        let code = Some(Bytes::from(code.clone()));
        let change = AccountOverride { code, ..AccountOverride::default() };
        overrides.insert(contract(number), change);
    }
    let to = Some(TxKind::Call(contract(0)));
    CallJob {
        view: tip.view,
        header: tip.header,
        spec,
        request: TransactionRequest { to, gas: Some(9_000_000), ..TransactionRequest::default() },
        state_overrides: Some(overrides),
        block_overrides: None,
        kind,
        limits: Limits { deadline, timeout: Duration::from_millis(40), ..Limits::default() },
        notes: None,
    }
}

/// Loops `rounds` times over a nested call that reverts, a cut KECCAK256 and a precompile priced
/// for the compute pool; answers with the gas that is left, so that a difference anywhere shows.
fn busy(rounds: u64) -> Vec<Vec<u8>> {
    let code = Code::default().push(rounds).op(op::JUMPDEST);
    let at = u8::try_from(code.0.len() - 1).expect("short");
    let code = code.push(40_000).push(0).op(op::KECCAK256).push(64).op(op::MSTORE);
    let code = code.push(45_000 << 32).push(0).op(op::MSTORE);
    let code = code.push(32).push(0).push(213).push(24).address(Address::with_last_byte(9));
    let code = code.op(op::GAS).op(op::STATICCALL).op(op::POP);
    let code = code.call(op::CALL, contract(1), 60_000, (32, 0));
    // Counts down.
    let code =
        code.push(1).op(op::SWAP1).op(op::SUB).op(op::DUP1).push(u64::from(at)).op(op::JUMPI);
    let code = code.op(op::GAS).push(0).op(op::MSTORE).push(96).push(0).op(op::RETURN);
    let inner = Code::default().push(7).push(1).op(op::SSTORE).push(64).push(0).op(op::REVERT);
    vec![code.0, inner.0]
}

fn endless() -> Vec<Vec<u8>> {
    vec![Code::default().op(op::JUMPDEST).push(0).op(op::JUMP).0]
}

fn turns(sim: &Simulation) -> u64 {
    sim.system().status().class(Class::Call).turns
}

/// Goal: a call that is paused and stepped at random points answers as one that nobody touches: the
/// same output (with the gas that was left in it), the same trace, the same estimate, the same
/// access list, which take several runs.
/// Method: 12 seeds; one beside the other; after random times pause, then resume or step 1 to 300.
#[test]
fn a_held_call_answers_as_an_undisturbed_one() {
    let mut pauses = 0;
    let kinds = [CallKind::Call, trace(), CallKind::EstimateGas, CallKind::AccessList];
    for (seed, kind) in (0..12).zip(kinds.iter().cycle()) {
        let [alone, disturbed] = [(); 2].map(|()| job(kind.clone(), &busy(16), None));
        let mut sim = System::simulated(seed, Faults::none());
        let system = sim.system().clone();
        let share = Share::new();
        let alone = spawn_call(&system, &share, alone, None);
        let alone = sim.run_until(alone).expect("it answers").expect("it succeeds");

        let mut random = system.entropy("holding");
        let hold = Hold::new(seed % 3 == 0);
        let disturbed = spawn_call(&system, &share, disturbed, Some(&hold));
        loop {
            sim.run_for(Duration::from_nanos(random.next_u64() % 60_000));
            let progress = sim.run_until(hold.pause()).expect("nobody else asks");
            if progress.state == HoldState::Over {
                break;
            }
            assert_eq!(progress.state, HoldState::Paused);
            pauses += 1;
            let before = progress.here.steps;
            if random.next_u64().is_multiple_of(3) {
                hold.resume();
                continue;
            }
            let count = 1 + random.next_u64() % 300;
            let progress = sim.run_until(hold.step(count)).expect("nobody else asks");
            if progress.state == HoldState::Paused {
                assert_eq!(progress.here.steps, before + count, "seed {seed}");
            }
        }
        let disturbed = sim.run_until(disturbed).expect("it answers").expect("it succeeds");
        assert_eq!(disturbed, alone, "seed {seed}");
        let gas_used = hold.progress().gas_used;
        match &alone {
            CallOutcome::AccessList(listed) => {
                // Of the last run; the one before had no list.
                let once = listed.gas_used.saturating_to::<u64>();
                assert!((2 * once..3 * once).contains(&gas_used), "{gas_used} {once}");
            }
            CallOutcome::Output(output) => {
                // It says itself what it has left: after GAS come PUSH0 or PUSH1 and MSTORE, PUSH1
                // and PUSH1, and RETURN.
                let left = U256::from_be_slice(&output[..32]).saturating_to::<u64>();
                let after = 9_000_000 - left..9_000_000 - left + 20;
                assert!(after.contains(&gas_used), "{gas_used} {after:?}");
            }
            CallOutcome::Trace(trace) => {
                let trace: serde_json::Value =
                    serde_json::from_str(trace.0.get()).expect("it is JSON");
                assert_eq!(trace["gasUsed"], format!("{gas_used:#x}"));
            }
            CallOutcome::Gas(gas) => assert!(gas_used > *gas, "of all attempts"),
        }
    }
    assert!(pauses > 12 * 3, "{pauses} pauses");
}

/// Where something steps: depth and instruction, each time that the steps are one more.
fn stepped(mut step: impl FnMut() -> Option<Whereabouts>) -> Vec<(usize, u8)> {
    let mut seen = Vec::new();
    while let Some(here) = step() {
        if here.steps == seen.len() as u64
            && let Some(opcode) = here.opcode
        {
            seen.push((here.depth, opcode));
        }
    }
    seen
}

/// Goal: a step is one instruction, at any depth, and says which comes next; what runs several
/// times counts on.
/// Method: all of a short program, its instructions counted by hand.
#[test]
fn a_step_is_one_instruction() {
    let inner = Code::default().op(op::JUMPDEST).push(1).op(op::POP).op(op::STOP).0;
    let outer = Code::default().op(op::JUMPDEST).call(op::CALL, contract(1), 60_000, (32, 0)).0;
    let expected = [
        (1, op::JUMPDEST),
        (1, op::PUSH1),
        (1, op::PUSH1),
        (1, op::PUSH1),
        (1, op::PUSH1),
        (1, op::PUSH1),
        (1, op::PUSH20),
        (1, op::PUSH1 + 1),
        (1, op::CALL),
        (2, op::JUMPDEST),
        (2, op::PUSH1),
        (2, op::POP),
        (2, op::STOP),
        (1, op::POP),
        (1, op::STOP),
    ];
    let kinds = [CallKind::Call, trace(), CallKind::AccessList, CallKind::EstimateGas];
    let runs = kinds.map(|kind| {
        let mut run = CallRun::new(job(kind, &[outer.clone(), inner.clone()], None)).expect("fits");
        let seen = stepped(|| match run.step_instruction() {
            Step::More { .. } => Some(run.whereabouts()),
            Step::Offload(_) | Step::Done(_) => None,
        });
        let runs = seen.chunks(expected.len());
        runs.map(|run| assert_eq!(run, expected)).count()
    });
    // The list is that of the call without one; an estimate halves what is left to try.
    assert_eq!(runs, [1, 1, 2, 5]);
}

/// Goal: of the transactions of a block those that are traced are stepped through, one after the
/// other, and not those before.
#[test]
fn what_is_traced_is_stepped_through() {
    let spec = spec(Fork::Osaka);
    let tip = database(&spec).tip();
    let code = Code::default().push(1).push(0).op(op::SSTORE).op(op::STOP);
    let at = account(0).create(0);
    let calls =
        (1..5).map(|from| legacy(account(from), 0, TxKind::Call(at), (100_000, 0), Bytes::new()));
    let txs = [create(account(0), 0, deploying(&code.0))].into_iter().chain(calls).collect();
    let executed = built(&tip, &spec, txs);
    let job = TraceJob::of_block(
        (tip.view, Arc::clone(&executed.block)),
        2..4,
        TraceKind::Geth(options()),
        (spec, Limits::default()),
    );
    let mut run = TraceRun::new(job).expect("it can be traced");
    let mut traces = Vec::new();
    let seen = stepped(|| match run.step_instruction() {
        Step::More { .. } => Some(run.whereabouts()),
        Step::Offload(_) => panic!("nothing of it is heavy"),
        Step::Done(done) => {
            traces = done.expect("it runs");
            None
        }
    });
    let once = [op::PUSH1, op::PUSH1, op::SSTORE, op::STOP].map(|opcode| (1, opcode));
    assert_eq!((seen, traces.len()), ([once, once].concat(), 2));
}

/// How often somebody was woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Everything that a watch has to say now.
fn heard(watch: &mut Watch, is_due: bool, wakes: &Arc<Wakes>) -> Vec<HoldState> {
    let told = Waker::from(Arc::clone(wakes));
    let mut next = || {
        let due = poll_fn(|_| if is_due { Poll::Ready(()) } else { Poll::Pending });
        match pin!(watch.next(due)).poll(&mut Context::from_waker(&told)) {
            Poll::Ready(progress) => Some(progress.state),
            Poll::Pending => None,
        }
    };
    std::iter::from_fn(&mut next).collect()
}

/// Goal: who watches hears of each change of state, in order and however late, within its bound,
/// and of progress when it is due; nothing else wakes it.
#[test]
fn a_watch_hears_of_every_change() {
    use HoldState::{Over, Paused, Running};
    let mut sim = System::simulated(8, Faults::none());
    let system = sim.system().clone();
    let (hold, wakes) = (Hold::new(true), Arc::<Wakes>::default());
    let [mut watch, mut late] = [hold.watch(), hold.watch()];
    let mut run = || sim.run_for(Duration::from_millis(1));
    let mut endless = job(CallKind::Call, &endless(), None);
    // More than it burns while it is watched.
    endless.request.gas = Some(1_000_000_000);
    let answer = spawn_call(&system, &Share::new(), endless, Some(&hold));
    assert_eq!(heard(&mut watch, true, &wakes), []);
    run();
    assert_eq!(heard(&mut watch, false, &wakes), [Paused]);
    for is_running in [true, false, true] {
        if is_running {
            hold.resume();
        } else {
            drop(hold.pause());
        }
        run();
    }
    assert_eq!(wakes.0.load(Ordering::Relaxed), 2, "by the first turn, and the first change since");
    assert_eq!(heard(&mut watch, false, &wakes), [Running, Paused, Running]);
    run();
    assert_eq!(heard(&mut watch, false, &wakes), []);
    assert_eq!(wakes.0.load(Ordering::Relaxed), 2, "not by progress that nobody wants");
    assert_eq!(heard(&mut watch, true, &wakes), [Running]);
    run();
    assert_eq!(wakes.0.load(Ordering::Relaxed), 3, "by progress that is due");
    let mut expected = vec![Paused, Running, Paused, Running];
    while expected.len() < WATCH_CHANGES_MAX + 2 {
        drop(hold.pause());
        run();
        hold.resume();
        run();
        expected.extend([Paused, Running]);
    }
    hold.cancel();
    run();
    expected.truncate(WATCH_CHANGES_MAX - 1);
    expected.push(Over);
    assert_eq!(heard(&mut late, false, &wakes), expected, "the newest is not lost");
    drop(answer);
}

/// Goal: a paused call takes no worker, keeps its place, and ends by its deadline or its holder.
/// Method: turns of class call are counted while nothing but paused calls is there.
#[test]
fn a_paused_call_runs_no_turns_and_ends_in_time() {
    let mut sim = System::simulated(7, Faults::none());
    let system = sim.system().clone();
    let deadline = sim.now() + Duration::from_millis(500);
    let held = |hold: &Hold| {
        let job = job(CallKind::Call, &endless(), Some(deadline));
        spawn_call(&system, &Share::new(), job, Some(hold))
    };
    let [late, cancelled, left] = [false, true, false].map(Hold::new);
    let (late_answer, cancelled_answer) = (held(&late), held(&cancelled));
    let left_answer = held(&left);
    sim.run_for(Duration::from_millis(1));
    for hold in [&late, &cancelled, &left] {
        let progress = sim.run_until(hold.pause()).expect("nobody else asks");
        assert_eq!(progress.state, HoldState::Paused);
    }
    assert!(late.progress().gas_used > 0 && late.progress().here.depth == 1);
    assert_eq!(cancelled.progress().here.depth, 0, "it was paused before its first instruction");
    // The wake-ups of the orders above are over.
    sim.run_for(Duration::from_millis(1));
    let before = turns(&sim);
    sim.run_for(Duration::from_millis(300));
    assert_eq!(turns(&sim), before);

    cancelled.cancel();
    let end = sim.run_until(cancelled_answer).expect("it answers");
    assert!(matches!(end, Err(CallError::Cancelled)), "{end:?}");
    assert_eq!(cancelled.progress().state, HoldState::Over);
    // Whose caller has left ends at the next turn it has.
    drop(left_answer);
    left.resume();
    let end = sim.run_until(late_answer).expect("it answers");
    assert!(matches!(end, Err(CallError::Timeout(_))), "{end:?}");
    assert!(sim.now() <= deadline + Duration::from_micros(1), "the deadline's turn is all");
    assert_eq!(left.progress().state, HoldState::Over);
    let CallOutcome::Output(_) = sim
        .run_until(spawn_call(&system, &Share::new(), job(CallKind::Call, &busy(1), None), None))
        .expect("it answers")
        .expect("it succeeds")
    else {
        panic!("a call has an output")
    };
}
