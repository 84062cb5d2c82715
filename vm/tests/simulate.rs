//! Simulations in slices: the same however they are cut, and their faults as geth names them.
//!
//! Against hive's own answers they are tested by `make conformance`.

#[path = "common/chain.rs"]
mod chain;

use std::sync::Arc;

use alloy_primitives::{Address, Bytes, U256, bytes};
use alloy_rpc_types_eth::{BlockOverrides, TransactionRequest, state::AccountOverride};
use chain::{account, built, create, database, deploying, spec};
use evenkeel_chain::{ChainSpec, Fork};
use evenkeel_state::Tip;
use evenkeel_vm::{
    CallError, Ground, Limits, SimulateJob, SimulateRun, SimulatedBlock, SimulatedInput, Step,
};

/// Logs, then calls who called it with 1 wei, and reverts if it was sent 7 wei.
const CONTRACT: Bytes =
    bytes!("60006000a0600060006000600060013361c350f1506007341461001e57005b60006000fd");

fn call(from: Address, to: Address, wei: u64) -> TransactionRequest {
    TransactionRequest::default().from(from).to(to).value(U256::from(wei))
}

fn simulated(
    (tip, spec): (&Tip, &Arc<ChainSpec>),
    blocks: Vec<SimulatedInput>,
    (is_validated, fuel): (bool, u64),
) -> Result<Vec<SimulatedBlock>, CallError> {
    let mut run = SimulateRun::new(SimulateJob {
        ground: Ground::Tip(Box::new(tip.clone())),
        spec: Arc::clone(spec),
        blocks,
        has_transfers: true,
        is_validated,
        limits: Limits::default(),
    })?;
    loop {
        match run.step(fuel) {
            Step::More { .. } => {}
            Step::Offload(call) => run.provide(call.run(&|| false)),
            Step::Done(result) => return result,
        }
    }
}

fn blocks(contract: Address) -> Vec<SimulatedInput> {
    let pretended = AccountOverride {
        balance: Some(U256::from(1_000)),
        state_diff: Some(
            (1..=200_u64).map(|n| (U256::from(n).into(), U256::from(n).into())).collect(),
        ),
        ..AccountOverride::default()
    };
    let first = SimulatedInput {
        state: Some([(contract, pretended)].into_iter().collect()),
        calls: vec![
            call(account(0), contract, 5),
            call(account(1), contract, 7),
            TransactionRequest::default().from(account(1)).input(deploying(&CONTRACT).into()),
        ],
        ..SimulatedInput::default()
    };
    let number = Some(U256::from(5));
    let second = SimulatedInput {
        overrides: BlockOverrides { number, ..BlockOverrides::default() },
        calls: vec![call(account(2), contract, 1)],
        ..SimulatedInput::default()
    };
    vec![first, second]
}

/// Goal: blocks, hashes, logs and gas are those of an uncut run at any fuel; gaps are filled, and a
/// call that reverts leaves no logs but keeps their numbers.
#[test]
fn a_simulation_is_the_same_however_it_is_cut() {
    let spec = spec(Fork::LATEST);
    let tip = database(&spec).tip();
    let tip = tip.extend(&built(&tip, &spec, vec![create(account(0), 0, deploying(&CONTRACT))]));
    let contract = account(0).create(0);
    let whole = simulated((&tip, &spec), blocks(contract), (false, u64::MAX)).expect("it runs");
    let numbers: Vec<_> = whole.iter().map(|block| block.block.header.number).collect();
    assert_eq!(numbers, [2, 3, 4, 5]);
    for pair in whole.windows(2) {
        assert_eq!(pair[1].block.header.parent_hash, pair[0].block.hash);
    }
    let logs: Vec<Vec<_>> = whole[0]
        .calls
        .iter()
        .map(|call| call.logs.iter().map(|log| log.number).collect())
        .collect();
    assert_eq!(logs, [vec![0, 1, 2], vec![], vec![]], "a transfer, a log, a transfer back");
    let last = &whole[3].calls[0];
    assert_eq!(last.logs.first().map(|log| log.number), Some(0), "each block counts from 0");
    assert!(whole[0].calls[1].fault.is_some(), "it was sent 7 wei");
    for fuel in [1, 999, 30_000] {
        let cut = simulated((&tip, &spec), blocks(contract), (false, fuel)).expect("it runs");
        assert_eq!(cut, whole, "fuel {fuel}");
    }
}

/// Goal: every way in which a simulation as a whole can be wrong has geth's code.
#[test]
fn faults_have_the_codes_of_geth() {
    let spec = spec(Fork::LATEST);
    let tip = database(&spec).tip();
    let (rich, poor) = (account(0), Address::repeat_byte(1));
    let number = |number: u64| SimulatedInput {
        overrides: BlockOverrides { number: Some(U256::from(number)), ..BlockOverrides::default() },
        ..SimulatedInput::default()
    };
    let time = |time: u64| SimulatedInput {
        overrides: BlockOverrides { time: Some(time), ..BlockOverrides::default() },
        ..SimulatedInput::default()
    };
    let calls =
        |calls: Vec<TransactionRequest>| SimulatedInput { calls, ..SimulatedInput::default() };
    let paying = |call: TransactionRequest| call.max_fee_per_gas(5_000_000_000);
    let plain = || paying(call(rich, poor, 1));
    let table = [
        (vec![], -32_602),
        (vec![SimulatedInput::default(); 257], -38_026),
        (vec![number(257)], -38_026),
        (vec![calls(vec![plain(); 5_001])], -38_026),
        (vec![number(3), number(3)], -38_020),
        (vec![number(0)], -38_020),
        (vec![time(0)], -38_021),
        (vec![calls(vec![plain().gas_limit(u64::MAX)])], -38_015),
        (vec![calls(vec![plain().nonce(1)])], -38_011),
        (vec![calls(vec![plain(), plain().nonce(0)])], -38_010),
        (vec![calls(vec![call(rich, poor, 1)])], -38_012),
        (vec![calls(vec![plain().gas_limit(20_999)])], -38_013),
        (vec![calls(vec![paying(call(poor, rich, 1))])], -38_014),
        (vec![calls(vec![plain().max_priority_fee_per_gas(6_000_000_000)])], -32_602),
        (vec![calls(vec![plain().gas_price(1)])], -32_000),
        (vec![calls(vec![TransactionRequest { chain_id: Some(1), ..plain() }])], -32_000),
    ];
    for (row, (blocks, code)) in table.into_iter().enumerate() {
        let error = simulated((&tip, &spec), blocks, (true, u64::MAX)).expect_err("it is wrong");
        assert_eq!(error.code(), code, "row {row}: {error}");
    }
}
