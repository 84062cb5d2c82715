//! Traces that are written piece by piece, against revm-inspectors', which are made of all that it
//! recorded.

#[path = "common/chain.rs"]
mod chain;
mod common;

use alloy_primitives::{Address, TxKind, U256, map::HashSet};
use alloy_rpc_types_eth::{
    TransactionInfo, TransactionInput, TransactionRequest,
    state::{AccountOverride, StateOverride},
};
use alloy_rpc_types_trace::{geth::PreStateConfig, parity::TraceType};
use common::{SENDER, Scene, contract};
use evenkeel_chain::Fork;
use evenkeel_vm::{
    Limits, Step, TraceCall, TraceFrame, TraceItem, TraceJob, TraceKind, TracePiece, TraceRun,
    TraceStart, Traced, spec_id,
};
use proptest::prelude::*;
use revm::{
    InspectEvm as _, MainBuilder as _, MainContext as _,
    context::{BlockEnv, CfgEnv, Context, TxEnv, result::ResultAndState},
    context_interface::block::BlobExcessGasAndPrice,
};
use revm_inspectors::tracing::{TracingInspector, TracingInspectorConfig};
use serde_json::{Value, json};

/// Calls within calls that serde reads.
const DEPTH_MAX: usize = 25;

/// The scene as a call on an empty chain.
fn job(scene: &Scene, fork: Fork, kind: TraceKind) -> TraceJob {
    let spec = chain::spec(fork);
    let tip = chain::database(&spec).tip();
    let mut accounts = StateOverride::default();
    for (number, code) in (0..).zip(&scene.contracts) {
        let slot = (U256::ONE.into(), U256::from(7).into());
        let account = AccountOverride {
            balance: Some(U256::from(5)),
            nonce: Some(1),
            code: Some(code.clone()),
            state: Some(std::iter::once(slot).collect()),
            ..AccountOverride::default()
        };
        accounts.insert(contract(number), account);
    }
    let balance = Some(U256::from(10).pow(U256::from(20)));
    accounts.insert(SENDER, AccountOverride { balance, ..AccountOverride::default() });
    let request = TransactionRequest {
        from: Some(SENDER),
        to: Some(scene.to.map_or(TxKind::Create, TxKind::Call)),
        gas: Some(scene.gas_limit),
        value: Some(U256::ONE),
        input: TransactionInput::new(scene.input.clone()),
        ..TransactionRequest::default()
    };
    let call =
        TraceCall { request, state_overrides: Some(accounts), block_overrides: None, kind: None };
    TraceJob {
        start: TraceStart::State { view: tip.view, header: tip.header },
        items: vec![TraceItem::Call(Box::new(call))],
        kind,
        spec,
        limits: Limits::default(),
    }
}

fn run(run: &mut TraceRun, mut took: impl FnMut(TracePiece)) -> Option<Vec<Traced>> {
    loop {
        let step = run.step(3_000);
        while let Some(piece) = run.take_piece() {
            took(piece);
        }
        match step {
            Step::More { .. } => {}
            Step::Offload(call) => run.provide(call.run(&|| false)),
            Step::Done(done) => return done.ok(),
        }
    }
}

/// What is said of the scene: streamed, which is the same as whole.
fn said(scene: &Scene, fork: Fork, kind: &TraceKind) -> Option<Value> {
    let mut text = Vec::new();
    let mut streamed =
        TraceRun::streamed(job(scene, fork, kind.clone()), TraceFrame::One).expect("it starts");
    let none = run(&mut streamed, |piece| match piece {
        TracePiece::Text(piece) => text.extend_from_slice(&piece),
        TracePiece::Between | TracePiece::Flat { .. } => panic!("it is one text"),
    });
    let mut whole = TraceRun::new(job(scene, fork, kind.clone())).expect("it starts");
    let whole = run(&mut whole, |_| panic!("it is not streamed"));
    assert_eq!(none.is_some(), whole.is_some());
    none?;
    let whole = match whole?.pop() {
        Some(Traced::Json(whole)) => whole,
        other => panic!("not text: {other:?}"),
    };
    assert_eq!(whole.0.get().as_bytes(), text);
    Some(serde_json::from_slice(&text).expect("JSON"))
}

/// The same transaction under the library's inspector, by revm's own loop.
fn library(
    scene: &Scene,
    fork: Fork,
    config: TracingInspectorConfig,
) -> Option<(TracingInspector, ResultAndState)> {
    let spec = chain::spec(fork);
    let header = chain::database(&spec).tip().header;
    let mut cfg = CfgEnv::new_with_spec(spec_id(fork)).with_chain_id(spec.chain_id_now());
    cfg.memory_limit = Limits::default().memory_bytes_max as u64;
    cfg.tx_gas_limit_cap = Some(u64::MAX);
    cfg.disable_block_gas_limit = true;
    let is_merged = fork >= Fork::Paris;
    let block = BlockEnv {
        number: U256::from(header.number),
        beneficiary: header.beneficiary,
        timestamp: U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        basefee: 0,
        difficulty: if is_merged { U256::ZERO } else { header.difficulty },
        prevrandao: is_merged.then_some(header.mix_hash),
        blob_excess_gas_and_price: (fork >= Fork::Cancun)
            .then_some(BlobExcessGasAndPrice { excess_blob_gas: 0, blob_gasprice: 1 }),
        slot_num: 0,
    };
    let tx = TxEnv { gas_price: 0, chain_id: Some(spec.chain_id_now()), ..scene.tx() };
    let context = Context::mainnet().with_db(scene.db()).with_cfg(cfg).with_block(block);
    let mut evm = context.build_mainnet_with_inspector(TracingInspector::new(config));
    let ended = evm.inspect_tx(tx).ok()?;
    Some((evm.inspector, ended))
}

fn forks() -> impl Strategy<Value = Fork> {
    prop::sample::select(vec![Fork::Byzantium, Fork::London, Fork::Shanghai, Fork::Osaka])
}

fn is_shallow(inspector: &TracingInspector) -> bool {
    inspector.traces().nodes().iter().all(|node| node.trace.depth <= DEPTH_MAX)
}

/// Without what geth and the library show differently before a difference: what was empty, and the
/// slots of what is no more.
fn without_ends(mut said: Value) -> Value {
    let post = said.get("post").cloned();
    if let (Some(post), Some(Value::Object(pre))) = (post, said.get_mut("pre")) {
        pre.retain(|_, account| *account != json!({ "balance": "0x0" }));
        for (address, account) in pre {
            if post.get(address).is_none() {
                account.as_object_mut().expect("an account").remove("storage");
            }
        }
    }
    said
}

/// Without what the library does not say of code.
fn without_hashes(said: Value) -> Value {
    let Value::Object(members) = said else { return said };
    let is_said =
        |(name, value): &(String, Value)| name != "codeHash" && !(name == "code" && value == "0x");
    let members = members.into_iter().filter(is_said);
    Value::Object(members.map(|(name, value)| (name, without_hashes(value))).collect())
}

/// What the library says, but for ends of contracts in favour of themselves, of which it says
/// nothing but that they are there.
fn mended(mut expected: Value, said: &Value) -> Value {
    let nobody = format!("{:#x}", Address::ZERO);
    for (expected, said) in
        expected.as_array_mut().into_iter().flatten().zip(said.as_array().into_iter().flatten())
    {
        if expected["type"] == "suicide" && expected["action"]["address"] == nobody.as_str() {
            let at = &said["action"]["address"];
            assert_eq!(at, &said["action"]["refundAddress"]);
            expected["action"] = said["action"].clone();
        }
    }
    expected
}

/// Adds a call of geth's tree and those within it to the list.
fn flatten(call: &Value, at: &mut Vec<usize>, list: &mut Vec<Value>) {
    let of = |name: &str, otherwise: &str| {
        call.get(name).cloned().unwrap_or_else(|| Value::from(otherwise))
    };
    let kind = call["type"].as_str().expect("a name").to_lowercase();
    let calls = call.get("calls").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let error = call.get("error").and_then(Value::as_str);
    let is_create = kind.starts_with("create");
    let mut shown = match &*kind {
        "selfdestruct" => json!({ "type": "suicide", "action": { "address": call["from"],
            "balance": call["value"], "refundAddress": call["to"] } }),
        _ if is_create => json!({ "type": "create", "action": { "from": call["from"],
            "gas": call["gas"], "init": call["input"], "value": call["value"],
            "creationMethod": kind } }),
        _ => json!({ "type": "call", "action": { "from": call["from"], "gas": call["gas"],
            "input": call["input"], "to": call["to"], "value": of("value", "0x0"),
            "callType": kind } }),
    };
    shown["subtraces"] = json!(calls.len());
    shown["traceAddress"] = json!(at);
    if kind != "selfdestruct" && error.is_none_or(|error| error == "execution reverted") {
        let output = if is_create { "code" } else { "output" };
        shown["result"] = json!({ "gasUsed": call["gasUsed"], output: of("output", "0x") });
        if is_create && error.is_none() {
            shown["result"]["address"] = call["to"].clone();
        }
    }
    if let Some(error) = error {
        shown["error"] = json!(error);
    }
    list.push(shown);
    for (nth, call) in calls.iter().enumerate() {
        at.push(nth);
        flatten(call, at, list);
        at.pop();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Goal: what is said of a transaction is what the library makes of all of it, whatever is
    /// asked for.
    #[test]
    fn a_replay_says_what_the_library_does(
        scene in common::scene(),
        fork in forks(),
        types in prop::sample::subsequence(
            vec![TraceType::Trace, TraceType::VmTrace, TraceType::StateDiff],
            0..=3,
        ),
    ) {
        let types: HashSet<_> = types.into_iter().collect();
        let config = TracingInspectorConfig::from_parity_config(&types);
        let library = library(&scene, fork, config);
        prop_assume!(library.as_ref().is_none_or(|(inspector, _)| is_shallow(inspector)));
        let expected = library.map(|(inspector, ended)| {
            let builder = inspector.into_parity_builder();
            let results = builder.into_trace_results_with_state(&ended, &types, scene.db());
            serde_json::to_value(results.expect("memory")).expect("JSON")
        });
        let kind = TraceKind::Replay { types, has_hash: false };
        let said = said(&scene, fork, &kind);
        let expected = expected.map(|mut expected| {
            if let Some(said) = &said {
                expected["trace"] = mended(expected["trace"].take(), &said["trace"]);
            }
            expected
        });
        prop_assert_eq!(said, expected);
    }

    /// Goal: lists of calls are the library's.
    #[test]
    fn lists_of_calls_are_the_librarys(scene in common::scene(), fork in forks()) {
        let library = library(&scene, fork, TracingInspectorConfig::default_parity());
        let info = TransactionInfo { block_number: Some(0), ..TransactionInfo::default() };
        let expected = library.map(|(inspector, _)| {
            let builder = inspector.into_parity_builder();
            serde_json::to_value(builder.into_localized_transaction_traces(info)).expect("JSON")
        });
        let mut items = Vec::new();
        let asked = job(&scene, fork, TraceKind::Flat);
        let mut streamed = TraceRun::streamed(asked, TraceFrame::One).expect("it starts");
        let ended = run(&mut streamed, |piece| match piece {
            TracePiece::Flat { traces, .. } => items.extend(traces),
            TracePiece::Between | TracePiece::Text(_) => panic!("it is no text"),
        });
        prop_assert_eq!(ended.is_some(), expected.is_some());
        if let Some(placed) = expected {
            let items = serde_json::to_value(items).expect("JSON");
            prop_assert_eq!(&mended(placed, &items), &items);
        }
    }

    /// Goal: geth's list of calls is its tree of calls made flat, which is how geth makes it.
    /// Source: geth `eth/tracers/native/call_flat.go`.
    #[test]
    fn geths_list_is_its_tree_made_flat(scene in common::scene(), fork in forks()) {
        let said = |tracing: Value| {
            said(&scene, fork, &TraceKind::Geth(serde_json::from_value(tracing).expect("options")))
        };
        let library = library(&scene, fork, TracingInspectorConfig::default_parity());
        prop_assume!(library.as_ref().is_none_or(|(inspector, _)| is_shallow(inspector)));
        let config = json!({ "includePrecompiles": true });
        let flat = said(json!({ "tracer": "flatCallTracer", "tracerConfig": config }));
        let tree = said(json!({ "tracer": "callTracer" }));
        prop_assert_eq!(flat.is_some(), tree.is_some());
        let (Some(Value::Array(mut flat)), Some(tree)) = (flat, tree) else { return Ok(()) };
        for call in &mut flat {
            for name in ["blockHash", "blockNumber", "transactionHash", "transactionPosition"] {
                call.as_object_mut().expect("a call").remove(name);
            }
        }
        let mut expected = Vec::new();
        flatten(&tree, &mut Vec::new(), &mut expected);
        prop_assert_eq!(flat, expected);
    }

    /// Goal: geth's view of the state that a transaction touched is the library's, but for what
    /// that does not have.
    #[test]
    fn what_was_touched_is_the_librarys(
        scene in common::scene(),
        fork in forks(),
        (diff, code, storage) in any::<(bool, bool, bool)>(),
    ) {
        // Accounts of which only the hash is another are not in the library's difference.
        let code = code || diff;
        let config = PreStateConfig {
            diff_mode: Some(diff),
            disable_code: Some(!code),
            disable_storage: Some(!storage),
        };
        let expected = library(&scene, fork, TracingInspectorConfig::none());
        let expected = expected.map(|(inspector, ended)| {
            let frame = inspector.geth_builder().geth_prestate_traces(&ended, &config, scene.db());
            serde_json::to_value(frame.expect("memory")).expect("JSON")
        });
        let tracing = json!({ "tracer": "prestateTracer", "tracerConfig": config });
        let kind = TraceKind::Geth(serde_json::from_value(tracing).expect("options"));
        let said = said(&scene, fork, &kind).map(without_hashes);
        prop_assert_eq!(said.map(without_ends), expected.map(without_ends));
    }

    /// Goal: several tracers at once say what each says alone, in however many runs.
    #[test]
    fn several_say_what_each_says(
        scene in common::scene(),
        fork in forks(),
        named in prop::sample::subsequence(
            vec![
                ("callTracer", json!({ "withLog": true })),
                ("flatCallTracer", json!({})),
                ("prestateTracer", json!({ "diffMode": true })),
                ("4byteTracer", Value::Null),
                ("{ n: 0, step: function () { this.n++; }, fault: function () {}, \
                  result: function () { return this.n; } }", Value::Null),
            ],
            2..=5,
        ),
    ) {
        let library = library(&scene, fork, TracingInspectorConfig::default_parity());
        prop_assume!(library.is_some_and(|(inspector, _)| is_shallow(&inspector)));
        let of = |name: &str, config: Value| {
            let tracing = json!({ "tracer": name, "tracerConfig": config });
            let kind = TraceKind::Geth(serde_json::from_value(tracing).expect("options"));
            said(&scene, fork, &kind).expect("it runs")
        };
        let alone = named.iter().map(|(name, config)| {
            ((*name).to_owned(), of(name, config.clone()))
        });
        let alone: serde_json::Map<_, _> = alone.collect();
        let configs = named.iter().map(|(name, config)| ((*name).to_owned(), config.clone()));
        let configs: serde_json::Map<_, _> = configs.collect();
        prop_assert_eq!(of("muxTracer", configs.into()), Value::from(alone));
    }
}
