//! Calls, estimates and traces as geth answers them: results, texts, codes.

#[path = "common/chain.rs"]
mod chain;
mod common;

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex};
use alloy_rpc_types_eth::{
    BlockOverrides, TransactionInput, TransactionRequest,
    state::{AccountOverride, StateOverride},
};
use alloy_rpc_types_trace::geth::{
    CallConfig, CallFrame, GethDebugBuiltInTracerType, GethDebugTracerType, GethDebugTracingOptions,
};
use chain::{account, built, create, database, deploying, legacy, spec, transfer};
use common::{Code, Piece, contract};
use evenkeel_chain::Fork;
use evenkeel_vm::{
    CallError, CallJob, CallKind, CallOutcome, CallRun, Limits, Step, TraceJob, TraceKind,
    TraceRun, Traced, limits::MEMORY_BYTES_MAX,
};
use revm::bytecode::opcode as op;

/// Answers of the chain's first block.
fn job(kind: CallKind, request: TransactionRequest) -> CallJob {
    let spec = spec(Fork::Osaka);
    let tip = database(&spec).tip();
    CallJob {
        view: tip.view,
        header: tip.header,
        spec,
        request,
        state_overrides: None,
        block_overrides: None,
        kind,
        limits: Limits::default(),
        notes: None,
    }
}

fn to(address: Address) -> TransactionRequest {
    TransactionRequest { to: Some(TxKind::Call(address)), ..TransactionRequest::default() }
}

/// A call to `code` by state override.
fn on_code(kind: CallKind, code: impl Into<Bytes>) -> CallJob {
    let mut overrides = StateOverride::default();
    overrides
        .insert(contract(0), AccountOverride { code: Some(code.into()), ..Default::default() });
    CallJob { state_overrides: Some(overrides), ..job(kind, to(contract(0))) }
}

fn run(job: CallJob) -> Result<CallOutcome, CallError> {
    let mut run = CallRun::new(job)?;
    loop {
        match run.step(3_000) {
            Step::More { .. } => {}
            Step::Offload(call) => run.provide(call.run(&|| false)),
            Step::Done(result) => return result,
        }
    }
}

fn text(job: CallJob) -> String {
    run(job).expect_err("it must fail").to_string()
}

fn returning(code: Code) -> Bytes {
    Bytes::from(code.push(0).op(op::MSTORE).push(32).push(0).op(op::RETURN).0)
}

fn word(job: CallJob) -> U256 {
    match run(job).expect("it returns") {
        CallOutcome::Output(output) => U256::from_be_slice(&output),
        other => panic!("not an output: {other:?}"),
    }
}

#[test]
fn halts_read_as_in_geth() {
    let deep = Code((0..1_025).flat_map(|_| [op::PUSH1, 1]).collect());
    let looping = Code::default().op(op::JUMPDEST).push(0).op(op::JUMP);
    let table = [
        (Code::default().op(op::INVALID), "invalid opcode: INVALID"),
        (Code::default().op(0x0c), "invalid opcode: opcode 0xc not defined"),
        (Code::default().op(op::ADD), "stack underflow (0 <=> 2)"),
        (Code::default().push(1).op(op::MSTORE), "stack underflow (1 <=> 2)"),
        (deep, "stack limit reached 1024 (1023)"),
        (Code::default().push(7).op(op::JUMP), "invalid jump destination"),
        (looping, "out of gas"),
        (
            Code::default().push(1).push(0).push(0).op(op::RETURNDATACOPY),
            "return data out of bounds",
        ),
        (Code(hex!("620fffff5f1060005560ff").to_vec()).op(op::INVALID), "invalid opcode: INVALID"),
    ];
    for (code, expected) in table {
        let mut job = on_code(CallKind::Call, code.0.clone());
        job.request.gas = Some(1_000_000);
        let error = run(job).expect_err(expected);
        assert_eq!(error.to_string(), expected, "{}", hex::encode(&code.0));
        assert_eq!((error.code(), error.data()), (-32_000, None));
    }
}

#[test]
fn reverts_carry_reason_code_and_data() {
    let revert_with = |data: &[u8]| {
        let mut code = Code::default();
        for (at, chunk) in data.chunks(32).enumerate() {
            let mut word = [0; 32];
            word[..chunk.len()].copy_from_slice(chunk);
            code.0.push(op::PUSH32);
            code.0.extend_from_slice(&word);
            code = code.push(32 * at as u64).op(op::MSTORE);
        }
        code.push(data.len() as u64).push(0).op(op::REVERT).0
    };
    let reason = hex!(
        "08c379a00000000000000000000000000000000000000000000000000000000000000020"
        "0000000000000000000000000000000000000000000000000000000000000004"
        "6e6f706500000000000000000000000000000000000000000000000000000000"
    );
    let panic = hex!("4e487b710000000000000000000000000000000000000000000000000000000000000011");
    let odd_panic =
        hex!("4e487b7100000000000000000000000000000000000000000000000000000000000000aa");
    let table: [(&[u8], &str); 6] = [
        (&[], "execution reverted"),
        (&[1, 2, 3], "execution reverted"),
        (&reason, "execution reverted: nope"),
        (&reason[..40], "execution reverted"),
        (&panic, "execution reverted: arithmetic underflow or overflow"),
        (&odd_panic, "execution reverted: unknown panic code: 0xaa"),
    ];
    for kind in [CallKind::Call, CallKind::EstimateGas] {
        for (data, expected) in table {
            let error = run(on_code(kind.clone(), revert_with(data))).expect_err(expected);
            assert_eq!(error.to_string(), expected);
            assert_eq!((error.code(), error.data()), (3, Some(Bytes::copy_from_slice(data))));
        }
    }
}

#[test]
fn refused_calls_read_as_in_geth() {
    let request = to(contract(0));
    let refused = |request: TransactionRequest| text(job(CallKind::Call, request));
    let nobody = Address::ZERO;
    let gas = Some(50_000);
    assert_eq!(
        refused(TransactionRequest { value: Some(U256::ONE), gas, ..request.clone() }),
        format!(
            "err: insufficient funds for gas * price + value: address {nobody} have 0 want 1 \
             (supplied gas 50000)"
        )
    );
    assert_eq!(
        refused(TransactionRequest { gas: Some(20_000), ..request.clone() }),
        "err: intrinsic gas too low: have 20000, want 21000 (supplied gas 20000)"
    );
    assert_eq!(
        refused(TransactionRequest { max_fee_per_gas: Some(7), gas, ..request.clone() }),
        format!(
            "err: max fee per gas less than block base fee: address {nobody}, maxFeePerGas: 7, \
             baseFee: 1000000000 (supplied gas 50000)"
        )
    );
    let (max_fee_per_gas, max_priority_fee_per_gas) = (Some(7), Some(8));
    let tip =
        TransactionRequest { max_fee_per_gas, max_priority_fee_per_gas, gas, ..request.clone() };
    assert_eq!(
        refused(tip),
        format!(
            "err: max priority fee per gas higher than max fee per gas: address {nobody}, \
             maxPriorityFeePerGas: 8, maxFeePerGas: 7 (supplied gas 50000)"
        )
    );
    assert_eq!(
        refused(TransactionRequest {
            gas_price: Some(1),
            max_fee_per_gas: Some(1),
            ..request.clone()
        }),
        "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified"
    );
    assert_eq!(
        refused(TransactionRequest { chain_id: Some(5), ..request.clone() }),
        "chainId does not match node's (have=5, want=31337)"
    );
    let (input, data) = (Some(Bytes::from_static(&[1])), Some(Bytes::from_static(&[2])));
    let both = TransactionInput { input, data };
    assert!(refused(TransactionRequest { input: both, ..request }).starts_with("both \"data\""));
}

#[test]
fn overrides_and_environment_are_seen() {
    let basefee = returning(Code::default().op(op::BASEFEE));
    // As geth: without a price the base fee is zero.
    assert_eq!(word(on_code(CallKind::Call, basefee.clone())), U256::ZERO);
    let mut priced = on_code(CallKind::Call, basefee);
    priced.request.gas_price = Some(2_000_000_000);
    priced.request.gas = Some(100_000);
    priced.request.from = Some(account(0));
    assert_eq!(word(priced), U256::from(1_000_000_000));

    for (opcode, overrides, expected) in [
        (op::NUMBER, BlockOverrides::default().with_number(U256::from(77)), 77),
        (op::TIMESTAMP, BlockOverrides::default().with_time(78), 78),
        (op::GASLIMIT, BlockOverrides { gas_limit: Some(79), ..Default::default() }, 79),
        (
            op::DIFFICULTY,
            BlockOverrides { random: Some(B256::with_last_byte(80)), ..Default::default() },
            80,
        ),
    ] {
        let job = on_code(CallKind::Call, returning(Code::default().op(opcode)));
        assert_eq!(word(CallJob { block_overrides: Some(overrides), ..job }), U256::from(expected));
    }

    let load = returning(Code::default().push(5).op(op::SLOAD));
    let slot = [(B256::with_last_byte(5), B256::with_last_byte(9))];
    for (is_whole, expected) in [(true, 9), (false, 9)] {
        let mut job = on_code(CallKind::Call, load.clone());
        let overrides = job.state_overrides.as_mut().expect("it was set");
        let change = overrides.get_mut(&contract(0)).expect("it was set");
        if is_whole {
            change.set_state(slot);
        } else {
            change.set_state_diff(slot);
        }
        assert_eq!(word(job), U256::from(expected));
    }
}

#[test]
fn gas_is_capped_and_remembered() {
    let gas = returning(Code::default().op(op::GAS));
    let mut capped = on_code(CallKind::Call, gas.clone());
    capped.limits.gas_cap = Some(100_000);
    capped.request.gas = Some(5_000_000);
    let left = word(capped);
    assert!(left < U256::from(100_000) && left > U256::from(78_000), "{left}");
    assert!(word(on_code(CallKind::Call, gas)) > U256::from(u64::MAX / 4));
}

/// The memory limit is out of gas, at any gas.
#[test]
fn memory_is_limited() {
    let touch = |at: u64| Code::default().push(1).push(at).op(op::MSTORE).0;
    let limit = Limits::default().memory_bytes_max as u64;
    assert!(run(on_code(CallKind::Call, touch(limit - 32))).is_ok());
    assert_eq!(text(on_code(CallKind::Call, touch(limit))), "out of gas");
}

#[test]
fn estimates_are_close_and_sufficient() {
    let transfer = TransactionRequest {
        from: Some(account(0)),
        value: Some(U256::ONE),
        ..to(Address::repeat_byte(0x31))
    };
    assert_eq!(run(job(CallKind::EstimateGas, transfer)), Ok(CallOutcome::Gas(21_000)));

    // A refund, and a child that needs 64/63 of what it uses.
    let code = Piece::Store(1, 1).write(Code::default());
    let code = Piece::Loop(50).write(Piece::Store(1, 0).write(code));
    let code = Piece::Call(op::CALL, contract(1), 10_000_000, 0, 0).write(code).op(op::POP);
    let code = Code(code.0[..code.0.len() - 2].to_vec());
    // Fails if the child fails.
    let at = code.0.len() as u64 + 7;
    let code = code.push(at).op(op::JUMPI).push(0).op(op::DUP1).op(op::REVERT).op(op::JUMPDEST);
    let child = Piece::Loop(3_000).write(Code::default());
    let with_child = |kind| {
        let mut job = on_code(kind, code.0.clone());
        let child = AccountOverride { code: Some(child.0.clone().into()), ..Default::default() };
        job.state_overrides.as_mut().expect("set").insert(contract(1), child);
        job
    };
    let Ok(CallOutcome::Gas(estimate)) = run(with_child(CallKind::EstimateGas)) else {
        panic!("it can be estimated")
    };
    let succeeds = |gas| {
        let mut job = with_child(CallKind::Call);
        job.request.gas = Some(gas);
        run(job).is_ok()
    };
    let (mut low, mut high) = (21_000, 30_000_000);
    while low + 1 < high {
        let middle = u64::midpoint(low, high);
        if succeeds(middle) { high = middle } else { low = middle }
    }
    assert!(succeeds(estimate), "{estimate} of {high}");
    assert!(estimate >= high && estimate <= high + high * 16 / 1_000, "{estimate} of {high}");
}

/// A call may name 2^64 - 1 gas and burn nearly all of it; what it needs is found nevertheless.
#[test]
fn estimate_survives_the_highest_gas() {
    let code = Code::default().push(0).push(0).push(0).push(0).push(0).address(contract(1));
    let mut job = on_code(CallKind::EstimateGas, code.op(op::GAS).op(op::CALL).0);
    let burns = AccountOverride { code: Some(vec![op::INVALID].into()), ..Default::default() };
    job.state_overrides.as_mut().expect("just made").insert(contract(1), burns);
    job.request.gas = Some(u64::MAX);
    let Ok(CallOutcome::Gas(gas)) = run(job) else { panic!("it has an estimate") };
    assert!(gas > 21_000);
}

/// Without a gas cap a call cannot fill the node's memory with logs.
#[test]
fn log_data_is_limited() {
    let code = Code::default().op(op::JUMPDEST).push(MEMORY_BYTES_MAX as u64).push(0);
    let job = on_code(CallKind::Call, code.op(op::LOG0).push(0).op(op::JUMP).0);
    assert_eq!(text(job), "out of gas");
}

#[test]
fn estimates_fail_as_in_geth() {
    let endless = Code::default().op(op::JUMPDEST).push(0).op(op::JUMP).0;
    assert_eq!(
        text(on_code(CallKind::EstimateGas, endless.clone())),
        "gas required exceeds allowance (30000000)"
    );
    let mut named = on_code(CallKind::EstimateGas, endless);
    named.request.gas = Some(90_000);
    assert_eq!(text(named), "gas required exceeds allowance (90000)");
    let invalid = vec![op::INVALID];
    assert_eq!(text(on_code(CallKind::EstimateGas, invalid)), "invalid opcode: INVALID");
    let mut poor = to(contract(0));
    (poor.value, poor.gas_price) = (Some(U256::ONE), Some(1));
    assert_eq!(text(job(CallKind::EstimateGas, poor)), "insufficient funds for transfer");
}

fn tracer(config: CallConfig) -> GethDebugTracingOptions {
    let tracer = GethDebugTracerType::from(GethDebugBuiltInTracerType::CallTracer);
    GethDebugTracingOptions::default().with_tracer(tracer).with_call_config(config)
}

fn frame(outcome: CallOutcome) -> CallFrame {
    match outcome {
        CallOutcome::Trace(trace) => serde_json::from_str(trace.0.get()).expect("a call frame"),
        other => panic!("not a call trace: {other:?}"),
    }
}

#[test]
fn call_tracer_shows_frames_and_logs() {
    let code = Piece::Log(1, 4).write(Code::default());
    let code = Piece::Call(op::STATICCALL, contract(1), 50_000, 4, 0).write(code);
    let config = CallConfig { with_log: Some(true), ..CallConfig::default() };
    let whole =
        frame(run(on_code(CallKind::Trace(tracer(config)), code.0.clone())).expect("it runs"));
    assert_eq!((whole.typ.as_str(), whole.to), ("CALL", Some(contract(0))));
    assert_eq!((whole.logs.len(), whole.calls.len()), (1, 1));
    assert_eq!((whole.calls[0].typ.as_str(), whole.calls[0].to), ("STATICCALL", Some(contract(1))));
    let config = CallConfig { only_top_call: Some(true), ..CallConfig::default() };
    let top = frame(run(on_code(CallKind::Trace(tracer(config)), code.0)).expect("it runs"));
    assert_eq!((top.calls.len(), top.logs.len()), (0, 0));
    assert_eq!(top.gas_used, whole.gas_used);

    let failed =
        frame(run(on_code(CallKind::Trace(tracer(config)), vec![op::INVALID])).expect("a trace"));
    assert!(failed.error.is_some());
}

#[test]
fn a_name_that_no_tracer_has_is_refused() {
    let options = GethDebugTracingOptions::default()
        .with_tracer(GethDebugTracerType::JsTracer("myTracer".to_owned()));
    let error = text(job(CallKind::Trace(options), to(contract(0))));
    let expected = "no tracer is named myTracer (expected one of geth's, or a script: an object in \
         braces)";
    assert_eq!(error, expected);
}

/// The trace of a transaction sees what the ones before it in its block did, and gives the gas of
/// its receipt.
#[test]
fn transactions_are_traced_where_they_were() {
    let spec = spec(Fork::Osaka);
    let tip = database(&spec).tip();
    let counter = Code::default().push(1).push(0).op(op::SLOAD).op(op::ADD).op(op::DUP1);
    let counter = returning(counter.push(0).op(op::SSTORE));
    let at = account(0).create(0);
    let call = |from: u8, nonce| {
        legacy(account(from), nonce, TxKind::Call(at), (100_000, 0), Bytes::new())
    };
    // The transfer fails: its gas does not pay for the code.
    let transfer = transfer(account(2), 0, at, 0);
    let create = create(account(0), 0, deploying(&counter));
    let txs = vec![create, call(1, 0), transfer, call(3, 0)];
    let executed = built(&tip, &spec, txs);
    assert_eq!(executed.block.txs.len(), 4);
    let trace = |index| {
        let mut run = TraceRun::new(TraceJob::of_block(
            (tip.view.clone(), Arc::clone(&executed.block)),
            index..index + 1,
            TraceKind::Geth(tracer(CallConfig::default())),
            (Arc::clone(&spec), Limits::default()),
        ))?;
        loop {
            match run.step(2_000) {
                Step::More { .. } => {}
                Step::Offload(call) => run.provide(call.run(&|| false)),
                Step::Done(result) => return result,
            }
        }
    };
    let mut gas_before = 0;
    for (index, receipt) in executed.receipts.iter().enumerate() {
        let traced = trace(index).expect("it can be traced");
        let [Traced::Json(json)] = &traced[..] else { panic!("not one trace: {traced:?}") };
        let frame: CallFrame = serde_json::from_str(json.0.get()).expect("a call frame");
        assert_eq!(frame.gas_used, U256::from(receipt.cumulative_gas_used - gas_before));
        gas_before = receipt.cumulative_gas_used;
        if index == 3 {
            assert_eq!(frame.output, Some(Bytes::from(U256::from(2).to_be_bytes::<32>())));
        }
    }
    let error = trace(4).expect_err("there are four");
    assert_eq!(error.to_string(), "transaction 4 not in block with 4 transactions");
}
