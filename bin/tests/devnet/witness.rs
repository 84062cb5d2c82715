//! `debug_executionWitness` of the real node.

use alloy_primitives::{Address, B256, Bytes, keccak256};
use serde_json::{Value, json};

use super::{ALICE, process::Devnet, transfer};

fn list(value: &Value) -> Vec<Bytes> {
    serde_json::from_value(value.clone()).expect("encodings")
}

/// Goal: the witness of a block names its parent, the parent's root and who sent, by number and by
/// hash; where there can be none that is said.
#[test]
fn blocks_have_witnesses() {
    let mut node = Devnet::start(&[]);
    for value in ["0x1", "0x2"] {
        let hash = node.call("eth_sendTransaction", &transfer(value));
        node.receipt(&hash);
    }
    let [parent, block] =
        ["0x1", "0x2"].map(|number| node.call("eth_getBlockByNumber", &json!([number, false])));
    let witness = node.call("debug_executionWitness", &json!(["latest"]));
    let roots: Vec<B256> = list(&witness["state"]).iter().map(keccak256).collect();
    assert!(roots.contains(&serde_json::from_value(parent["stateRoot"].clone()).expect("a root")));
    let headers: Vec<B256> = list(&witness["headers"]).iter().map(keccak256).collect();
    assert_eq!(json!(headers), json!([parent["hash"]]));
    let alice: Address = ALICE.parse().expect("an address");
    assert!(list(&witness["keys"]).iter().any(|key| key[..] == alice[..]));
    // Of the contracts that are called before and after the transactions.
    assert!(!list(&witness["codes"]).is_empty());
    let by_hash = json!([block["hash"], "canonical"]);
    let minimal = node.call("debug_executionWitnessByBlockHash", &by_hash);
    assert_eq!(minimal["keys"], witness["keys"]);

    let error = |node: &mut Devnet, params: Value| {
        let answer = node.answer("debug_executionWitness", &params);
        answer["error"]["message"].as_str().map(str::to_owned).expect("an error")
    };
    assert_eq!(error(&mut node, json!(["0x0"])), "genesis has no parent to execute on");
    assert_eq!(error(&mut node, json!(["0x9"])), "header not found");
    assert!(error(&mut node, json!(["0x1", "short"])).contains("\"canonical\""));
    node.call("anvil_setBalance", &json!([ALICE, "0xde0b6b3a7640000"]));
    node.call("evm_mine", &json!([]));
    assert!(error(&mut node, json!(["0x3"])).starts_with("block 3 has no witness: "));
    assert_eq!(node.terminate(), Some(0));
}
