//! What each kind of instruction was executed for.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::traces::{counter, world};

/// Goal: each kind of instruction is counted as often, and for as much gas, as the struct logger
/// shows it, but for what calls hand on; a block has those of its transactions.
#[test]
fn instructions_are_counted_as_they_are_logged() {
    let mut world = world(75, &counter());
    let block = world.mine(&[vec![], vec![]]);
    let of_block = world.ok("trace_blockOpcodeGas", r#"["0x2"]"#);
    let mut txs = Vec::new();
    for tx in &block.txs {
        let params = json!([tx.hash()]).to_string();
        let logs = world.ok("debug_traceTransaction", &params);
        let mut counted = BTreeMap::<&str, (u64, u64)>::new();
        for step in logs["structLogs"].as_array().expect("steps") {
            let (count, gas) = counted.entry(step["op"].as_str().expect("a name")).or_default();
            *count += 1;
            *gas += step["gasCost"].as_u64().expect("gas");
        }
        let found = world.ok("trace_transactionOpcodeGas", &params);
        assert_eq!(found["transactionHash"], json!(tx.hash()));
        let found_gas = found["opcodeGas"].as_array().expect("a list");
        assert_eq!(found_gas.len(), counted.len());
        for one in found_gas {
            let name = one["opcode"].as_str().expect("a name");
            let (count, gas) = counted[name];
            assert_eq!(one["count"], json!(count), "{name}");
            // A cold account that exists, and value: what the call hands on is not its own.
            let gas = if name == "CALL" { 2_600 + 9_000 - 2_300 } else { gas };
            assert_eq!(one["gasUsed"], json!(gas), "{name}");
        }
        txs.push(found);
    }
    let whole = json!({ "blockHash": block.hash, "blockNumber": 2, "transactions": txs });
    assert_eq!(of_block, whole);
    let genesis = world.ok("trace_blockOpcodeGas", r#"["0x0"]"#);
    assert_eq!((&genesis["blockNumber"], &genesis["transactions"]), (&json!(0), &json!([])));
    assert_eq!(world.ok("trace_blockOpcodeGas", r#"["0x9"]"#), Value::Null);
    let unknown = json!([format!("0x{:064x}", 1)]).to_string();
    assert_eq!(world.ok("trace_transactionOpcodeGas", &unknown), Value::Null);
}
