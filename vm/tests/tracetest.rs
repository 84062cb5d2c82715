//! geth's own vectors of tracers (`eth/tracers/internal/tracetest/testdata`), read from where a
//! clone of go-ethereum lies.

use std::{env, fs, path::Path, sync::Arc};

use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Bytes, U256, hex, keccak256};
use evenkeel_chain::{ChainSpec, Header, TxEnvelope, UnrecoveredTx};
use evenkeel_state::{Database, Options};
use evenkeel_vm::{Limits, Step, TraceItem, TraceJob, TraceKind, TraceRun, TraceStart, Traced};
use serde_json::{Value, json};

/// Digits of a number, decimal or hex, or the number itself.
fn number(value: &Value) -> U256 {
    match value {
        Value::String(text) => text.parse().expect("a number"),
        other => other.as_u64().map(U256::from).unwrap_or_default(),
    }
}

fn small(value: &Value) -> u64 {
    number(value).to()
}

/// What the tracer says of the vector's transaction.
fn traced(vector: &Value, tracer: &str) -> Value {
    let (genesis, context) = (&vector["genesis"], &vector["context"]);
    let mut alloc = genesis["alloc"].clone();
    for account in alloc.as_object_mut().expect("accounts").values_mut() {
        for member in ["balance", "nonce"] {
            account[member] = json!(format!("{:#x}", number(&account[member])));
        }
        // What follows from the code.
        account.as_object_mut().expect("an account").remove("codeHash");
    }
    // Some vectors have forks out of order; what is active at the block is what matters.
    let mut config = json!({ "chainId": genesis["config"]["chainId"] });
    for (name, at) in genesis["config"].as_object().expect("a configuration") {
        let (now, is_timed) = match name {
            name if name.ends_with("Block") => ("number", false),
            name if name.ends_with("Time") => ("timestamp", true),
            _ => continue,
        };
        if at.as_u64().is_some_and(|at| at <= small(&context[now])) {
            // Go reads names in any case.
            config[name.replacen('I', "i", 1)] = json!(0);
            if is_timed {
                config["terminalTotalDifficulty"] = json!(0);
            }
        }
    }
    let file = json!({ "config": config, "alloc": alloc, "gasLimit": "0x1000000",
        "difficulty": "0x1", "timestamp": "0x0", "nonce": "0x0", "extraData": "0x" });
    let spec = Arc::new(ChainSpec::from_genesis_json(&file.to_string()).expect("a genesis"));
    let options = Options { path: None, ..Options::default() };
    let tip = Database::open(&options, &spec).expect("memory").tip();
    let header = Header {
        number: small(&context["number"]),
        timestamp: small(&context["timestamp"]),
        difficulty: number(&context["difficulty"]),
        gas_limit: small(&context["gasLimit"]),
        beneficiary: context["miner"].as_str().expect("an address").parse().expect("an address"),
        base_fee_per_gas: context.get("baseFeePerGas").map(small),
        excess_blob_gas: config.get("cancunTime").map(|_| 0),
        ..Header::default()
    };
    let raw = hex::decode(vector["input"].as_str().expect("hex")).expect("hex");
    // As in a block: a blob transaction without its sidecar.
    let tx = TxEnvelope::decode_2718_exact(&raw).expect("a transaction");
    let tx = UnrecoveredTx::new(tx).recover().expect("signed");
    let options = json!({ "tracer": tracer, "tracerConfig": vector["tracerConfig"] });
    let mut run = TraceRun::new(TraceJob {
        start: TraceStart::State { view: tip.view, header: Arc::new(header) },
        items: vec![TraceItem::Signed(tx)],
        kind: TraceKind::Geth(serde_json::from_value(options).expect("options")),
        spec,
        limits: Limits::consensus(),
    })
    .expect("it starts");
    loop {
        match run.step(20_000) {
            Step::More { .. } => {}
            Step::Offload(call) => run.provide(call.run(&|| false)),
            Step::Done(all) => match all.expect("it runs").pop() {
                Some(Traced::Json(text)) => return text.0.get().parse().expect("JSON"),
                other => panic!("no text: {other:?}"),
            },
        }
    }
}

/// What is left out, or is so, of what lists of calls do not have.
const NOBODY: &str = "0x0000000000000000000000000000000000000000";

/// Without what geth's comparison leaves out: empty inputs of a contract's end, empty outputs, the
/// first index of a log, the place in the chain, what a list's call has not, and the case of
/// addresses. What revm does not tell apart is one: gas that ran out for a contract's code, and why
/// a precompile failed.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let is_end = members.get("type").is_some_and(|kind| kind == "SELFDESTRUCT");
            let kept = members.iter().filter(|(name, value)| {
                let is_omitted = *name == "output" || is_end && *name == "input";
                let is_place = matches!(&***name, "blockHash" | "blockNumber" | "transactionHash")
                    || *name == "transactionPosition";
                let is_none = *name == "result" && (value.is_null() || **value == json!({}))
                    || matches!(&***name, "author" | "address" | "refundAddress" | "balance")
                        && (**value == NOBODY || **value == "0x0")
                    || members.contains_key("callType") && *name == "input" && **value == "0x";
                !(is_omitted && **value == "0x"
                    || *name == "index" && **value == "0x0"
                    || is_place
                    || is_none)
            });
            Value::Object(
                kept.map(|(name, value)| (name.to_ascii_lowercase(), plain(value))).collect(),
            )
        }
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::String(text) if text == "contract creation code storage out of gas" => {
            Value::from("out of gas")
        }
        Value::String(text) if text == "invalid input length" => Value::from("precompile error"),
        Value::String(text) => Value::String(text.to_ascii_lowercase()),
        other => other.clone(),
    }
}

/// Goal: the tracers that are ours say what geth's say of geth's transactions, and so do geth's own
/// scripts, run as a user's.
#[test]
#[ignore = "needs geth's vectors: GETH_TRACETEST=go-ethereum/eth/tracers"]
fn vectors_of_geth() {
    let root = env::var("GETH_TRACETEST").expect("GETH_TRACETEST says where they lie");
    let root = Path::new(&root);
    let mut count = 0;
    let mut failed = Vec::new();
    let folders = [
        ("call_tracer_legacy", "callTracerLegacy"),
        ("prestate_tracer_legacy", "prestateTracerLegacy"),
        ("call_tracer", "callTracer"),
        ("call_tracer_withLog", "callTracer"),
        ("call_tracer_flat", "flatCallTracer"),
        ("prestate_tracer", "prestateTracer"),
        ("prestate_tracer_with_diff_mode", "prestateTracer"),
        ("erc7562_tracer", "erc7562Tracer"),
    ];
    for (folder, tracer) in folders {
        let script = fs::read_to_string(root.join(format!("js/internal/tracers/{folder}.js"))).ok();
        // The comment before it would end the parenthesis that it is put into.
        let script = script.map(|script| script[script.find('{').expect("an object")..].to_owned());
        assert_eq!(script.is_some(), folder.ends_with("_legacy"), "{folder}");
        let tracers = [("ours", Some(tracer)), ("geth's script", script.as_deref())];
        let vectors = root.join("internal/tracetest/testdata").join(folder);
        for file in fs::read_dir(vectors).expect("the vectors lie there") {
            let path = file.expect("it can be read").path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let text = fs::read_to_string(&path).expect("it can be read");
            let mut vector: Value = serde_json::from_str(&text).expect("JSON");
            if path.ends_with("frontier_create_outofstorage.json") {
                // The code that could not be paid for, of which revm says nothing.
                vector["result"].as_object_mut().expect("a call").remove("output");
            }
            if path.ends_with("prestate_tracer/setcode_tx.json") {
                // The code that the transaction's own authorization has its receiver run, which
                // geth looks for before that is applied. Without it nobody could run it again.
                let missing = "0x000000000000000000000000000000000000aaaa";
                let mut account = vector["genesis"]["alloc"][missing].clone();
                let code: Bytes = serde_json::from_value(account["code"].clone()).expect("hex");
                account["codeHash"] = json!(keccak256(code));
                vector["result"][missing] = account;
            }
            for (whose, tracer) in tracers {
                let Some(tracer) = tracer else { continue };
                let (found, expected) = (plain(&traced(&vector, tracer)), plain(&vector["result"]));
                count += 1;
                if found != expected {
                    failed.push(format!("{} {whose}\n{found}\n{expected}", path.display()));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{} of {count}\n{}", failed.len(), failed.join("\n"));
    assert!(count >= 100, "{count}");
}
