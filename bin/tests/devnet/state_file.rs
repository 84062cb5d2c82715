//! State files: what one node writes at its end, another begins with; so it is with anvil's.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use evenkeel_chain::state_file::Compressor;
use serde_json::{Value, json};

use super::{
    ALICE, BOB,
    process::{Devnet, Place, fails},
    transfer,
};

/// Sets slot 0 to 7, logs nothing, and leaves one byte of code.
const DEPLOY: &str = "0x600760005560016000f3";

fn gzip(text: &str) -> Vec<u8> {
    let mut packer = Compressor::default();
    packer.push(text.as_bytes());
    packer.finish()
}

/// What a client sees of the chain.
fn seen(node: &mut Devnet, hashes: &[Value], contract: &Value) -> Vec<Value> {
    let mut seen = vec![
        node.call("eth_getBlockByNumber", &json!(["latest", true])),
        node.call("eth_getBlockByNumber", &json!(["earliest", false])),
        node.call("eth_getBalance", &json!([ALICE, "latest"])),
        node.call("eth_getBalance", &json!([BOB, "latest"])),
        node.call("eth_getTransactionCount", &json!([ALICE, "latest"])),
        node.call("eth_getCode", &json!([contract, "latest"])),
        node.call("eth_getStorageAt", &json!([contract, "0x0", "latest"])),
    ];
    for hash in hashes {
        seen.push(node.call("eth_getTransactionByHash", &json!([hash])));
        seen.push(node.call("eth_getTransactionReceipt", &json!([hash])));
    }
    seen
}

/// Goal: what was written at SIGTERM is loaded again, in memory and into a database: state with
/// cheats, blocks, transactions, receipts; the chain goes on, and says what it has no state of.
#[test]
fn a_chain_is_written_and_loaded() {
    let place = Place::new("state-file");
    let (file, data) = (place.path("state.json"), place.path("data"));
    let mut node = Devnet::start(&["--dump-state", &file]);
    let sent = node.call("eth_sendTransaction", &transfer("0x1"));
    let deployed = node.call("eth_sendTransaction", &json!([{ "from": ALICE, "data": DEPLOY }]));
    let contract = node.receipt(&deployed)["contractAddress"].clone();
    node.call("anvil_setBalance", &json!([BOB, "0x5"]));
    let hashes = [sent, deployed];
    let expected = seen(&mut node, &hashes, &contract);
    assert_eq!(expected[3], "0x5");
    assert_eq!(node.terminate(), Some(0));
    assert!(!PathBuf::from(format!("{file}.part")).exists());

    for flags in [vec!["--load-state", &file], vec!["--load-state", &file, "--datadir", &data]] {
        let mut node = Devnet::start(&flags);
        assert_eq!(seen(&mut node, &hashes, &contract), expected, "{flags:?}");
        let past = node.answer("eth_getBalance", &json!([BOB, "0x1"]));
        let said = past["error"]["message"].as_str().expect("an error");
        assert!(said.contains("missing state of block 1"), "{past}");
        let trace = node.answer("debug_traceTransaction", &json!([hashes[0]]));
        assert!(trace["error"]["message"].as_str().is_some_and(|said| said.contains("state")));
        let next = node.call("eth_sendTransaction", &transfer("0x2"));
        assert_eq!(node.receipt(&next)["blockNumber"], "0x3");
        assert_eq!(node.call("eth_getBalance", &json!([BOB, "latest"])), "0x7");
        assert_eq!(node.call("eth_getBalance", &json!([BOB, "0x2"])), "0x5");
        node.call("debug_traceTransaction", &json!([next]));
        assert_eq!(node.terminate(), Some(0));
    }
    // The database is a chain of its own now.
    fails(&["--load-state", &file, "--datadir", &data], "the datadir holds a chain already");
    let verify = ["db", "verify", "--datadir", &data];
    let verified = Command::new(env!("CARGO_BIN_EXE_evenkeel")).args(verify).output();
    let verified = String::from_utf8(verified.expect("it runs").stdout).expect("text");
    assert!(verified.ends_with("ok\n"), "{verified}");
    let again = place.path("again.json");
    let mut node = Devnet::start(&["--state", &again, "--datadir", &data]);
    assert_eq!(node.call("eth_blockNumber", &json!([])), "0x3");
    assert_eq!(node.terminate(), Some(0));
    let mut node = Devnet::start(&["--state", &again]);
    assert_eq!(node.call("eth_getBalance", &json!([BOB, "latest"])), "0x7");
    assert_eq!(node.call("anvil_reset", &json!([])), Value::Null);
    assert_eq!(node.call("eth_blockNumber", &json!([])), "0x3", "the oldest state");
}

/// Goal: what cannot be loaded or written is one line that names the file and the place in it.
#[test]
fn wrong_state_files_are_named() {
    let place = Place::new("state-file-wrong");
    let [absent, cut, odd] = ["none.json", "cut.json", "odd.json"].map(|name| place.path(name));
    fs::write(&cut, r#"{"accounts":{"#).expect("it can be written");
    fs::write(&odd, r#"{"accounts":{},"blocks":7}"#).expect("it can be written");
    fails(&["--load-state", &absent], "none.json: cannot be opened: No such file");
    fails(&["--load-state", &cut], "cut.json: the file is cut off within accounts");
    fails(&["--state", &odd], "odd.json: not a state file of anvil's: blocks: invalid type");
    let nowhere = place.path("nowhere/state.json");
    fails(&["--dump-state", &nowhere], "there is no folder");
    fails(&["--state", &odd, "--dump-state", &absent], "--dump-state");
    // A folder means the file in it.
    let folder = place.path("");
    let mut node = Devnet::start(&["--state", &folder, "--state-interval", "1"]);
    node.call("evm_mine", &json!([]));
    assert_eq!(node.terminate(), Some(0));
    assert!(PathBuf::from(place.path("state.json")).exists());
    let node = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["--state", &folder, "--init", &absent])
        .stderr(Stdio::null())
        .status();
    assert!(!node.expect("it runs").success());
}

/// Goal: a signal ends a load that takes its time, and nothing of it is left.
/// Method: a pipe with accounts without end.
#[test]
fn a_load_is_ended_by_a_signal() {
    let place = Place::new("state-file-endless");
    let (pipe, data) = (place.path("pipe"), place.path("data"));
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    let node = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["--load-state", &pipe, "--datadir", &data, "--port", "0"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut file = fs::OpenOptions::new().write(true).open(&pipe).expect("the node reads it");
    file.write_all(b"{\"accounts\":{").expect("the node reads");
    for number in 1_u64.. {
        let account = format!("\"{number:#042x}\":{{\"nonce\":1,\"balance\":\"0x1\"}},");
        if file.write_all(account.as_bytes()).is_err() {
            // It reads no more.
            break;
        }
        if number == 10_000 {
            let signal = Command::new("kill").args(["-INT", &node.id().to_string()]).status();
            assert!(signal.expect("kill runs").success());
        }
    }
    let output = node.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("stopped by a signal"), "{errors}");
    assert!(!output.status.success());
    assert!(!PathBuf::from(data).exists());
}

/// Goal: the state of one running node goes to another by request, over what is there; the head
/// stays; nothing of a broken file is taken.
#[test]
fn a_state_is_dumped_and_loaded_by_request() {
    let mut from = Devnet::start(&[]);
    let deployed = from.call("eth_sendTransaction", &json!([{ "from": ALICE, "data": DEPLOY }]));
    let contract = from.receipt(&deployed)["contractAddress"].clone();
    from.call("anvil_setBalance", &json!([BOB, "0x5"]));
    let file = from.call("anvil_dumpState", &json!([]));
    let text = file.as_str().expect("hex");
    assert!(text.starts_with("0x1f8b"), "gzip");

    let mut to = Devnet::start(&[]);
    to.call("anvil_setNonce", &json!([ALICE, "0x9"]));
    let cut = to.answer("anvil_loadState", &json!([text[..text.len() / 4 * 2]]));
    assert!(cut["error"]["message"].as_str().is_some_and(|said| said.contains("cut off")), "{cut}");
    assert_eq!(to.call("eth_getCode", &json!([contract, "latest"])), "0x");
    assert_eq!(to.call("hardhat_loadState", &json!([text])), true);
    assert_eq!(to.call("eth_getBalance", &json!([BOB, "latest"])), "0x5");
    assert_eq!(to.call("eth_getCode", &json!([contract, "latest"])), "0x00");
    assert_eq!(to.call("eth_getTransactionCount", &json!([ALICE, "latest"])), "0x9");
    assert_eq!(to.call("eth_blockNumber", &json!([])), "0x0");
    let long = format!("{{\"accounts\":{{}},\"x\":\"{}\"}}", "\\\"".repeat(5 << 20));
    let packed = alloy_primitives::hex::encode_prefixed(gzip(&long));
    let refused = to.answer("anvil_loadState", &json!([packed]));
    let said = refused["error"]["message"].as_str().expect("an error");
    assert!(said.contains("a string in it has more than 8388608 bytes"), "{refused}");
    to.call("evm_mine", &json!([]));
    let slot = to.call("eth_getStorageAt", &json!([contract, "0x0", "latest"]));
    assert_eq!(slot, format!("0x{:064x}", 7));
}
