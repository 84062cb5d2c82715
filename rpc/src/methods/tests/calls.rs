//! Calls, estimates and traces reach the EVM and come back as geth shows them.

use serde_json::{Value, json};

use super::world::{World, sender};
use crate::RpcConfig;

const CODE_AT: &str = "0x00000000000000000000000000000000000000cc";

fn call(code: &str) -> Value {
    json!([{ "to": CODE_AT }, "latest", { CODE_AT: { "code": code } }])
}

/// Goal: output, overrides, revert data and halts come as geth shows them.
#[test]
fn outcomes_of_a_call() {
    let mut world = World::new(31, RpcConfig::default());
    world.mine(&[]);
    // PUSH1 42, PUSH0, MSTORE, PUSH1 32, PUSH0, RETURN
    let answer = world.ok("eth_call", &call("0x602a5f5260205ff3").to_string());
    assert_eq!(answer, format!("0x{:064x}", 42));
    // NUMBER on the latest block is the latest block's.
    let number = |world: &mut World, block: &str| {
        let mut params = call("0x435f5260205ff3");
        params[1] = json!(block);
        world.ok("eth_call", &params.to_string())
    };
    assert_eq!(number(&mut world, "latest"), format!("0x{:064x}", 1));
    assert_eq!(number(&mut world, "pending"), format!("0x{:064x}", 2));

    // PUSH1 42, PUSH0, MSTORE, PUSH1 32, PUSH0, REVERT
    let error = world.call("eth_call", &call("0x602a5f5260205ffd").to_string());
    let error = error.expect_err("it reverts");
    assert_eq!((error.code, &*error.message), (3, "execution reverted"));
    let data = error.data.expect("revert data");
    assert_eq!(data.get(), format!("\"0x{:064x}\"", 42));

    let (code, text) = world.err("eth_call", &call("0xfe").to_string());
    assert_eq!((code, text.as_str()), (-32_000, "invalid opcode: INVALID"));
    let (code, text) = world.err("eth_call", &json!([{ "to": CODE_AT }, "0x99"]).to_string());
    assert_eq!((code, text.as_str()), (-32_000, "header not found"));
}

/// Goal: an estimate is exact for a transfer, and sending without gas uses it.
#[test]
fn estimates() {
    let mut world = World::new(32, RpcConfig::default());
    let transfer = json!([{ "from": sender(), "to": CODE_AT, "value": "0x1" }]).to_string();
    assert_eq!(world.ok("eth_estimateGas", &transfer), "0x5208");
    let hash = world.ok("eth_sendTransaction", &transfer);
    let shown = world.ok("eth_getTransactionByHash", &json!([hash]).to_string());
    assert_eq!(shown["gas"], "0x5208");
}

/// Goal: both traces give callTracer's frame; other tracers are refused by name.
#[test]
fn traces() {
    let mut world = World::new(33, RpcConfig::default());
    let block = world.mine(&[vec![], vec![]]);
    let tracer = json!({ "tracer": "callTracer" });
    let hash = block.txs[1].hash();
    let trace = world.ok("debug_traceTransaction", &json!([hash, tracer]).to_string());
    assert_eq!(trace["type"], "CALL");
    assert_eq!(trace["value"], "0x1");
    assert_eq!(trace["gasUsed"], "0x5208");
    assert_eq!(trace["from"], json!(sender()));

    let call = json!([{ "to": CODE_AT }, "latest", tracer]).to_string();
    assert_eq!(world.ok("debug_traceCall", &call)["to"], CODE_AT);
    let other = json!([hash, { "tracer": "4byteTracer" }]).to_string();
    let (_, text) = world.err("debug_traceTransaction", &other);
    assert!(text.contains("4byteTracer"), "{text}");
}
