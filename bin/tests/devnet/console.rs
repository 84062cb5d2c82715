//! What contracts say, on the node's standard output.

use alloy_primitives::hex;
use serde_json::{Value, json};

use crate::{ALICE, process::Devnet};

const CONTRACT: &str = "0x00000000000000000000000000000000000000AA";
/// Calls the console with its input.
const TELLING: &str = "0x365f5f375f5f365f73000000000000000000636f6e736f6c652e6c6f675afa5000";
/// Reverts with its input.
const REVERTING: &str = "0x365f5f37365ffd";

/// `log(string)` or `Error(string)` with a short text.
fn encoded(selector: &str, text: &str) -> String {
    let hex = hex::encode(text);
    format!("{selector}{:064x}{:064x}{hex:0<64}", 32, text.len())
}

fn to_contract(data: &str) -> Value {
    json!({ "from": ALICE, "to": CONTRACT, "data": data, "gas": "0x100000" })
}

/// Goal: lines of `console.log` and reasons of failures are printed as anvil prints them: of calls,
/// estimates (once) and mined transactions; not with `--disable-console-log`.
#[test]
fn contracts_are_heard() {
    let say = |text| to_contract(&encoded("0x41304fac", text));
    let mut node = Devnet::start(&[]);
    node.call("anvil_setCode", &json!([CONTRACT, TELLING]));
    node.call("eth_call", &json!([say("in a\ncall"), "latest"]));
    node.printed_until("eth_call\nin a\ncall");
    node.call("eth_estimateGas", &json!([say("in an estimate")]));
    node.printed_until("in an estimate");
    let hash = node.call("eth_sendTransaction", &json!([say("mined \u{1b}[2J")]));
    let text = node.printed_until(" +0000\"");
    assert!(!text.contains("in an estimate"), "once: {text}");
    let hash = hash.as_str().expect("a hash");
    assert!(text.contains(&format!("mined \\u{{1b}}[2J\n\n    Transaction: {hash}\n")), "{text}");

    node.call("anvil_setCode", &json!([CONTRACT, REVERTING]));
    let panic = format!("0x4e487b71{:064x}", 0x11);
    for (data, reason) in [
        (encoded("0x08c379a0", "not owner").as_str(), " with: not owner"),
        (&panic, " with: panic: arithmetic underflow or overflow (0x11)"),
        ("0x1234567805", " with: custom error 0x12345678: 05"),
        ("0x", ""),
    ] {
        node.call("eth_sendTransaction", &json!([to_contract(data)]));
        let text = node.printed_until(" +0000\"");
        assert!(text.contains(&format!("    Error: reverted{reason}\n")), "{text}");
    }
    drop(node);

    let mut node = Devnet::start(&["--disable-console-log", "--json"]);
    node.call("anvil_setCode", &json!([CONTRACT, TELLING]));
    node.call("eth_call", &json!([say("unheard"), "latest"]));
    node.call("eth_sendTransaction", &json!([say("unheard")]));
    let text = node.printed_until("}]}");
    assert!(text.contains("\"event\":\"block\"") && !text.contains("unheard"), "{text}");
}
