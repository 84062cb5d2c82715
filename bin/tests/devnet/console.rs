//! What contracts say, on the node's standard output.

use alloy_primitives::hex;
use serde_json::{Value, json};

use crate::{ALICE, process::Devnet};

const CONTRACT: &str = "0x00000000000000000000000000000000000000AA";
/// Calls the console with its input.
const TELLING: &str = "0x365f5f375f5f365f73000000000000000000636f6e736f6c652e6c6f675afa5000";
/// Emits `log_uint(uint256)` with its input.
const LOGGING: &str = "0x365f5f377f2cab9790510fd8bdfbd2115288db33fec66691d476efc5427cfd4c0969301755\
    365fa100";
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

    node.call("anvil_setCode", &json!([CONTRACT, LOGGING]));
    node.call("eth_call", &json!([to_contract(&format!("0x{:064x}", 42)), "latest"]));
    node.printed_until("eth_call\n42");

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

/// Sets slot 0, calls `OTHER` with its input, logs a byte of it and sets slot 0 again.
const CALLING: &str = "0x60055f55365f5f375f5f365f5f7300000000000000000000000000000000000000BB5af150\
    60015fa060065f5500";
const OTHER: &str = "0x00000000000000000000000000000000000000bb";
/// Logs two bytes with the topic 9, sets slot 2 and reverts.
const LOGGING_AND_REVERTING: &str = "0x600960025fa160036002555f5ffd";

/// What anvil 1.7.1 prints of a transaction to `CALLING`, without its colors.
const TRACE: &str = "Traces=
  [48117] 0x00000000000000000000000000000000000000AA::aabbccdd(01)
    ├─ [22887] 0x00000000000000000000000000000000000000bb::aabbccdd(01)
    │   ├─  emit topic 0: 0x0000000000000000000000000000000000000000000000000000000000000009
    │   │           data: 0x0000
    │   ├─  storage changes:
    │   │   @ 2: 0 → 3
    │   └─ ← [Revert] EvmError: Revert
    ├─           data: 0xaa
    ├─  storage changes:
    │   @ 0: 0 → 6
    └─ ← [Stop]


    Transaction: ";

/// Goal: `--print-traces` prints mined transactions and calls as anvil does; what a contract says
/// is escaped in it, and what is long is cut.
#[test]
fn traces_are_printed() {
    let mut node = Devnet::start(&["--print-traces", "--disable-console-log"]);
    node.call("anvil_setCode", &json!([CONTRACT, CALLING]));
    node.call("anvil_setCode", &json!([OTHER, LOGGING_AND_REVERTING]));
    node.call("eth_sendTransaction", &json!([to_contract("0xaabbccdd01")]));
    let text = node.printed_until(" +0000\"");
    assert!(text.contains(TRACE), "{text}");

    let create = json!([{ "from": ALICE, "data": "0x6001600c60003960016000f300" }]);
    node.call("eth_sendTransaction", &create);
    let text = node.printed_until(" +0000\"");
    let end = "    └─ ← [Return] 1 bytes of code\n\n\n    Transaction: ";
    let (trace, block) = text.split_once(end).expect(&text);
    let line = block.lines().find(|line| line.starts_with("    Contract created: "));
    let address = line.expect("it is said").rsplit(' ').next().expect("an address");
    assert!(trace.ends_with(&format!("Traces=\n  [224] → new <unknown>@{address}\n")), "{text}");

    node.call("anvil_setCode", &json!([CONTRACT, REVERTING]));
    let said = encoded("0x08c379a0", "not \u{1b} owner");
    node.call("eth_sendTransaction", &json!([to_contract(&said)]));
    let text = node.printed_until(" +0000\"");
    assert!(text.contains("\n    └─ ← [Revert] not \\u{1b} owner\n\n\n"), "{text}");
    let long = format!("0x{}", "07".repeat(5_000));
    node.call("eth_sendTransaction", &json!([to_contract(&long)]));
    let text = node.printed_until(" +0000\"");
    assert!(text.contains("0707.. (904 bytes more))\n") && text.len() < 12_000, "{text}");

    node.call("anvil_setCode", &json!([CONTRACT, "0x00"]));
    node.call("eth_call", &json!([to_contract("0x"), "latest"]));
    let text = node.printed_until("└─ ← [Stop]");
    let trace = format!("eth_call\nTraces=\n  [0] {CONTRACT}::fallback()\n    └─ ← [Stop]\n");
    assert!(text.contains(&trace), "{text}");
}
