//! Creation where there is storage already fails as an address collision (C1, EIP-7610).

#[path = "common/chain.rs"]
mod chain;
mod common;

use std::sync::Arc;

use alloy_primitives::{Address, Bytes, U256, keccak256};
use alloy_rpc_types_eth::{
    TransactionInput, TransactionRequest,
    state::{AccountOverride, StateOverride},
};
use alloy_rpc_types_trace::geth::{
    CallConfig, CallFrame, GethDebugBuiltInTracerType, GethDebugTracerType, GethDebugTracingOptions,
};
use chain::{account, built, create, database, deploying, spec};
use common::{Piece, SENDER, SPECS, Scene, code, contract, run_sliced};
use evenkeel_chain::{ChainSpec, Fork, Height};
use evenkeel_state::{Account, ChangeSet, StorageChange, Tip, View};
use evenkeel_vm::{
    CallError, CallJob, CallKind, CallOutcome, CallRun, Limits, Setup, Slice, Step, Suspended,
};
use revm::{
    ExecuteEvm, InspectEvm, MainBuilder, MainContext,
    bytecode::opcode as op,
    context::{Context, result::ExecutionResult},
    database::InMemoryDB,
    interpreter::InstructionResult,
    primitives::hardfork::SpecId,
    state::{AccountInfo, EvmState},
};
use revm_inspectors::tracing::{TracingInspector, TracingInspectorConfig};

/// Deploys nothing, but writes a slot.
const INIT: [u8; 8] = [op::PUSH1, 1, op::PUSH1, 1, op::SSTORE, op::STOP, 0, 0];

/// The scenes that create, each with the address that it creates at.
fn creations(spec: SpecId) -> Vec<(Scene, Address)> {
    let nested = |is_two| {
        let pieces =
            [Piece::Create(is_two, INIT.to_vec(), 1), Piece::Gas, Piece::Balance(contract(3))];
        Scene {
            spec,
            contracts: vec![code(&pieces)],
            input: Bytes::new(),
            gas_limit: 4_000_000,
            to: Some(contract(0)),
        }
    };
    let first = Scene { input: Bytes::from_static(&INIT), to: None, ..nested(false) };
    let mut scenes = vec![(nested(false), contract(0).create(1)), (first, SENDER.create(0))];
    if spec >= SpecId::PETERSBURG {
        let salt = U256::from(7).to_be_bytes::<32>();
        scenes.push((nested(true), contract(0).create2(salt, keccak256(INIT))));
    }
    scenes
}

/// The state of the scene with an account at `target`.
fn db(scene: &Scene, target: Address, nonce: u64, value: u64) -> InMemoryDB {
    let mut db = scene.db();
    let info = AccountInfo { nonce, balance: U256::from(3), ..AccountInfo::default() };
    db.insert_account_info(target, info);
    db.insert_account_storage(target, U256::from(9), U256::from(value)).expect("in memory");
    db
}

fn plain(scene: &Scene, db: InMemoryDB) -> (ExecutionResult, EvmState) {
    let Setup { cfg, block, .. } = scene.setup(u64::MAX);
    let context = Context::mainnet().with_db(db).with_cfg(cfg).with_block(block);
    let done = context.build_mainnet().transact(scene.tx()).expect("the sender can pay");
    (done.result, done.state)
}

fn sliced(scene: &Scene, db: InMemoryDB, fuel: u64) -> (ExecutionResult, EvmState) {
    let mut evm = Suspended::new(scene.setup(u64::MAX), db, ());
    let (result, ..) = run_sliced(&mut evm, scene.tx(), fuel).expect("the sender can pay");
    (result, evm.finalize())
}

/// Goal: storage alone refuses a creation, with the effects of a collision and no others.
/// Method: revm itself, on the same state but for a nonce of 1 at the target, is the oracle; a slot
/// that is zero refuses nothing.
#[test]
fn storage_collides_as_a_nonce_does() {
    for (scene, target) in SPECS.into_iter().flat_map(creations) {
        let (expected, mut state) = plain(&scene, db(&scene, target, 1, 1));
        let there = state.get_mut(&target).expect("a collision loads it");
        there.info.nonce = 0;
        there.original_info_mut().nonce = 0;
        let expected = (expected, state);
        let free = plain(&scene, db(&scene, target, 0, 0));
        for fuel in [1, u64::MAX] {
            let found = sliced(&scene, db(&scene, target, 0, 1), fuel);
            assert_eq!(found, expected, "{:?} to {:?}", scene.spec, scene.to);
            assert_ne!(found, free, "{:?} to {:?}", scene.spec, scene.to);
            assert_eq!(sliced(&scene, db(&scene, target, 0, 0), fuel), free);
        }
    }
}

/// The tracer sees a collision too.
#[test]
fn refused_creation_is_traced_as_a_collision() {
    let config = TracingInspectorConfig::all();
    for (scene, target) in creations(SpecId::OSAKA) {
        let setup = scene.setup(u64::MAX);
        let context =
            Context::mainnet().with_db(db(&scene, target, 1, 1)).with_cfg(setup.cfg.clone());
        let mut plain = context
            .with_block(setup.block.clone())
            .build_mainnet_with_inspector(TracingInspector::new(config));
        let expected = plain.inspect_tx(scene.tx()).expect("the sender can pay");
        for fuel in [1, u64::MAX] {
            let inspector = TracingInspector::new(config);
            let mut evm = Suspended::new(setup.clone(), db(&scene, target, 0, 1), inspector);
            assert_eq!(evm.begin(scene.tx()), Ok(None));
            let result = loop {
                let slice = evm.resume(&mut fuel.clone()).expect("memory does not fail");
                if let Slice::Done(result) = slice {
                    break result;
                }
            };
            assert_eq!(result, expected.result);
            let mut found = evm.into_parts().1.into_traces();
            for node in found.nodes_mut() {
                // The frame was there for a moment, and its init code was noted.
                let is_collision = node.trace.status == Some(InstructionResult::CreateCollision);
                node.trace.bytecode = node.trace.bytecode.take().filter(|_| !is_collision);
            }
            assert_eq!(&found, plain.inspector.traces());
        }
    }
}

/// Storage of `address`, as a cheat sets it.
fn slots(address: Address, values: impl IntoIterator<Item = (u64, u64)>) -> Arc<ChangeSet> {
    let slots = values.into_iter().map(|(slot, value)| (U256::from(slot), U256::from(value)));
    let slots = slots.collect();
    let mut changes = ChangeSet::default();
    changes.storage.insert(address, StorageChange { is_wiped: false, slots });
    let account = Account { balance: U256::ONE, ..Account::default() };
    changes.accounts.insert(address, Some(account));
    Arc::new(changes)
}

/// Whether account 0 can create on this tip, as its receipt says, with all that goes with it.
fn can_create(tip: &Tip, spec: &Arc<ChainSpec>) -> bool {
    let nonce = tip.view.account(account(0)).expect("memory").map_or(0, |account| account.nonce);
    let executed = built(tip, spec, vec![create(account(0), nonce, deploying(&[op::STOP]))]);
    let after = tip.extend(&executed).view;
    let creator = after.account(account(0)).expect("memory").expect("it pays");
    assert_eq!(creator.nonce, nonce + 1);
    let receipt = &executed.receipts[0];
    let target = after.account(account(0).create(nonce)).expect("memory").expect("it was there");
    assert_eq!(target.has_code(), receipt.success);
    if !receipt.success {
        assert_eq!(receipt.cumulative_gas_used, 500_000, "all its gas is gone");
        assert_eq!((target.nonce, target.balance), (0, U256::ONE));
    }
    receipt.success
}

/// Goal: a block sees storage in every layer that a state is made of, and what is cleared is gone.
#[test]
fn blocks_see_storage_of_every_layer() {
    let spec = spec(Fork::Osaka);
    let mut database = database(&spec);
    let target = account(0).create(0);
    let (set, cleared) = (slots(target, [(3, 1), (5, 2)]), slots(target, [(3, 0), (5, 0)]));
    assert!(can_create(&database.tip().with_diff(slots(target, [])), &spec));

    let cheat = database.tip().with_diff(Arc::clone(&set));
    assert!(!can_create(&cheat, &spec), "a cheat");
    assert!(can_create(&cheat.with_diff(Arc::clone(&cleared)), &spec), "a cheat undone");
    database.commit_diff(&set).expect("memory");
    assert!(!can_create(&database.tip(), &spec), "a durable cheat");
    assert!(can_create(&database.tip().with_diff(Arc::clone(&cleared)), &spec));
    let block = built(&database.tip(), &spec, vec![]);
    let tip = database.tip().extend(&block);
    assert!(!can_create(&tip, &spec), "a block that waits");
    assert!(can_create(&tip.with_diff(Arc::clone(&cleared)), &spec));
    database.commit(&[block]).expect("memory");
    assert!(!can_create(&database.tip(), &spec), "a durable block");
    assert!(
        !can_create(&database.tip().with_diff(slots(target, [(3, 0)])), &spec),
        "one slot left"
    );
    let mut dead = ChangeSet::default();
    dead.accounts.insert(target, None);
    let reborn = database.tip().with_diff(Arc::new(dead)).with_diff(slots(target, []));
    assert!(can_create(&reborn, &spec), "deleted, then funded");
}

/// Creates as account 0 by a call or a trace, in small slices.
fn call(
    view: &View,
    kind: CallKind,
    overrides: Option<StateOverride>,
) -> Result<CallOutcome, CallError> {
    let spec = spec(Fork::Osaka);
    let job = CallJob {
        view: view.clone(),
        header: database(&spec).tip().header,
        spec,
        request: TransactionRequest {
            from: Some(account(0)),
            input: TransactionInput::new(deploying(&[op::STOP])),
            ..TransactionRequest::default()
        },
        state_overrides: overrides,
        block_overrides: None,
        kind,
        limits: Limits::default(),
        notes: None,
    };
    let mut run = CallRun::new(job)?;
    loop {
        match run.step(100) {
            Step::More { .. } => {}
            Step::Offload(_) => unreachable!("it calls no precompile"),
            Step::Done(result) => return result,
        }
    }
}

/// Goal: a call sees the storage of its height: neither what a block set later, however much, nor
/// what one has cleared since.
#[test]
fn calls_see_storage_of_their_height() {
    let spec = spec(Fork::Osaka);
    let mut database = database(&spec);
    let target = account(0).create(0);
    for values in [slots(target, []), slots(target, (0..50).map(|n| (n, 1)))] {
        database.commit_diff(&values).expect("memory");
        let block = built(&database.tip(), &spec, vec![]);
        database.commit(&[block]).expect("memory");
    }
    let cleared = slots(target, (0..50).map(|n| (n, 0)));
    database.commit_diff(&cleared).expect("memory");
    let block = built(&database.tip(), &spec, vec![]);
    database.commit(&[block]).expect("memory");

    let chain = database.durable().chain;
    let view = |height| chain.view_at(Height::new(height)).expect("memory").expect("inside");
    for (height, is_free) in [(0, true), (1, true), (2, false), (3, true)] {
        let found = call(&view(height), CallKind::Call, None);
        assert_eq!(found.is_ok(), is_free, "height {height}: {found:?}");
        if let Err(error) = found {
            assert_eq!(error.to_string(), "contract address collision");
        }
    }
    let tracer = GethDebugTracerType::from(GethDebugBuiltInTracerType::CallTracer);
    let options = GethDebugTracingOptions::default()
        .with_tracer(tracer)
        .with_call_config(CallConfig::default());
    let outcome = call(&view(2), CallKind::Trace(options), None).expect("it is traced");
    let CallOutcome::Trace(trace) = outcome else { panic!("no trace") };
    let frame: CallFrame = serde_json::from_str(trace.0.get()).expect("a call frame");
    assert!(frame.error.is_some(), "{frame:?}");
}

/// Goal: state overrides count: pretended slots refuse, and slots pretended away do not.
#[test]
fn calls_see_overridden_storage() {
    let database = database(&spec(Fork::Osaka));
    let target = account(0).create(0);
    let free = database.tip().view;
    let taken = free.with(slots(target, [(1, 1), (2, 2)]));
    let words = |values: &[(u64, u64)]| {
        let words = values.iter().map(|&(slot, value)| (U256::from(slot), U256::from(value)));
        Some(words.map(|(slot, value)| (slot.into(), value.into())).collect())
    };
    let state = |values| AccountOverride { state: words(values), ..AccountOverride::default() };
    let diff = |values| AccountOverride { state_diff: words(values), ..AccountOverride::default() };
    let table = [
        (&free, state(&[(7, 1)]), false),
        (&free, state(&[(7, 0)]), true),
        (&free, diff(&[(7, 1)]), false),
        (&taken, state(&[]), true),
        (&taken, state(&[(1, 1)]), false),
        (&taken, diff(&[(1, 0)]), false),
        (&taken, diff(&[(1, 0), (2, 0)]), true),
    ];
    for (number, (view, change, is_free)) in table.into_iter().enumerate() {
        let overrides = StateOverride::from_iter([(target, change)]);
        let found = call(view, CallKind::Call, Some(overrides));
        assert_eq!(found.is_ok(), is_free, "case {number}: {found:?}");
    }
}
