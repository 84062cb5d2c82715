//! The real binary as its users meet it: started, asked, killed, restarted, misused.

mod blobs;
mod chain_file;
mod completions;
mod console;
mod executions;
mod keystore;
mod otlp;
mod process;
mod reorg;
mod shadow;
mod socket;
mod state_file;
mod top;
mod witness;

use std::{io::Write as _, path::Path, process::Command};

use process::{Devnet, fails, folder};
use serde_json::{Value, json};

/// First two dev accounts of the well-known phrase.
const ALICE: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const BOB: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

fn transfer(value: &str) -> Value {
    json!([{ "from": ALICE, "to": BOB, "value": value }])
}

/// Goal: a bare start answers as anvil does, mines a transfer at once, and ends on SIGTERM with 0.
#[test]
fn defaults_are_anvils_and_a_transfer_is_mined() {
    let mut node = Devnet::start(&[]);
    assert_eq!(node.call("eth_chainId", &json!([])), "0x7a69");
    assert_eq!(node.call("net_version", &json!([])), "31337");
    assert_eq!(node.call("eth_blockNumber", &json!([])), "0x0");
    assert_eq!(node.call("eth_accounts", &json!([])).as_array().map(Vec::len), Some(10));
    let rich = "0x21e19e0c9bab2400000";
    assert_eq!(node.call("eth_getBalance", &json!([ALICE, "latest"])), rich);

    let hash = node.call("eth_sendTransaction", &transfer("0x1"));
    let receipt = node.receipt(&hash);
    assert_eq!(receipt["status"], "0x1");
    assert_eq!(receipt["blockNumber"], "0x1");
    assert_eq!(node.call("eth_getBalance", &json!([BOB, "latest"])), "0x21e19e0c9bab2400001");
    assert_eq!(node.call("eth_getBalance", &json!([BOB, "0x0"])), rich, "the past is kept");

    assert_eq!(node.terminate(), Some(0));
}

/// Goal: a send can wait for its receipt, within its time (EIP-7966); a transaction can be filled
/// in without being sent.
#[test]
fn sends_wait_for_their_receipt() {
    let mut node = Devnet::start(&[]);
    let receipt = node.call("eth_sendTransactionSync", &transfer("0x1"));
    assert_eq!((&receipt["status"], &receipt["blockNumber"]), (&json!("0x1"), &json!("0x1")));
    let filled = node.call("eth_fillTransaction", &transfer("0x2"));
    let [nonce, gas, kind] = ["nonce", "gas", "type"].map(|field| filled["tx"][field].clone());
    assert_eq!((nonce, gas, kind), (json!("0x1"), json!("0x5208"), json!("0x2")));
    assert!(filled["raw"].as_str().is_some_and(|raw| raw.starts_with("0x02")), "{filled}");
    node.call("evm_setAutomine", &json!([false]));
    let signed = node.call("eth_signTransaction", &transfer("0x3"))["raw"].take();
    let late = node.answer("eth_sendRawTransactionSync", &json!([signed, 20]));
    assert_eq!(late["error"]["code"], 4, "{late}");
    let hash = late["error"]["data"].clone();
    assert_eq!(node.call("eth_getTransactionByHash", &json!([hash]))["blockHash"], Value::Null);
    node.call("evm_mine", &json!([]));
    assert_eq!(node.receipt(&hash)["status"], "0x1");
    let refused = node.answer("eth_sendRawTransactionSync", &json!([signed, 120_001]));
    assert_eq!(refused["error"]["code"], -32_602, "{refused}");
    assert_eq!(node.terminate(), Some(0));
}

/// EIP-658: before Byzantium a receipt has the root of the state and no status, also when it is
/// read from the database.
#[test]
fn receipts_before_byzantium_have_a_root() {
    let data = folder("root");
    let flags = ["--hardfork", "spuriousdragon", "--datadir", data.to_str().expect("a UTF-8 path")];
    let mut node = Devnet::start(&flags);
    let hash = node.call("eth_sendTransaction", &transfer("0x1"));
    let receipt = node.receipt(&hash);
    let block = node.call("eth_getBlockByNumber", &json!([receipt["blockNumber"], false]));
    // Nothing comes after its only transaction: nobody is paid for a block without difficulty.
    assert_eq!(receipt["root"], block["stateRoot"]);
    assert!(receipt.get("status").is_none(), "{receipt}");
    assert_eq!(node.terminate(), Some(0));
    let mut node = Devnet::start(&flags);
    assert_eq!(node.receipt(&hash), receipt);
    assert_eq!(node.terminate(), Some(0));
    std::fs::remove_dir_all(&data).expect("it is there");
}

/// Goal: what was served survives kill -9 unchanged, and the database verifies.
#[test]
fn served_receipts_survive_kill_minus_nine() {
    let data = folder("kill");
    let flags = ["--datadir", data.to_str().expect("a UTF-8 path")];
    let mut node = Devnet::start(&flags);
    let hashes: Vec<Value> =
        (1..=20).map(|n| node.call("eth_sendTransaction", &transfer(&format!("{n:#x}")))).collect();
    let served: Vec<Value> = hashes.iter().map(|hash| node.receipt(hash)).collect();
    node.kill();

    let mut node = Devnet::start(&flags);
    let again: Vec<Value> = hashes.iter().map(|hash| node.receipt(hash)).collect();
    assert_eq!(again, served);
    assert_eq!(node.terminate(), Some(0));

    let verify = || {
        Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .args(["db", "verify", "--datadir"])
            .arg(&data)
            .output()
            .expect("the binary runs")
    };
    let verified = verify();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));

    // What is lost is named, and not made anew.
    let state = data.join("state");
    std::fs::remove_dir_all(&state).expect("it is there");
    let verified = verify();
    let errors = String::from_utf8_lossy(&verified.stderr);
    assert!(!verified.status.success() && errors.contains("state is missing"), "{errors}");
    fails(&flags, "state is missing");
    assert!(!state.exists());
}

/// Goal: every misuse ends with one clear line, a failing exit code, and nothing written.
#[test]
fn misuse_is_one_clear_line() {
    fails(&["--no-such-flag"], "--no-such-flag");
    fails(&["--block-time", "0.001"], "0.05");
    fails(&["--block-time", "-1"], "expected 0.05 to 1e9 seconds, found -1");
    fails(&["dev", "--balance", "-1"], "expected a whole number, 0 or more");
    fails(&["--max-transactions", "0"], "expected 1 or more");
    fails(&["--hardfork", "marmalade"], "marmalade");
    fails(&["--mnemonic", "not a phrase"], "mnemonic");

    let node = Devnet::start(&[]);
    fails(&["--port", &node.port().to_string()], "in use");

    let bad = folder("bad-genesis");
    std::fs::create_dir_all(&bad).expect("a folder in target");
    let genesis = bad.join("genesis.json");
    std::fs::write(&genesis, "{ \"config\": 7 }").expect("a file in target");
    let data = bad.join("data");
    let (genesis, data) = (genesis.to_str().expect("UTF-8"), data.to_str().expect("UTF-8"));
    fails(&["--init", genesis, "--datadir", data], "genesis.json");
    assert!(!Path::new(data).exists(), "a refused start writes nothing");

    let last = "18446744073709551615";
    for flag in ["--number", "--timestamp"] {
        fails(&[flag, last, "--datadir", data], flag);
        assert!(!Path::new(data).exists(), "a refused start writes nothing");
    }
    let text = r#"{"config":{"chainId":1},"gasLimit":"0x1c9c380","difficulty":"0x0",
        "number":"0xffffffffffffffff","alloc":{}}"#;
    std::fs::write(genesis, text).expect("a file in target");
    fails(&["--init", genesis, "--datadir", data], "genesis: number 18446744073709551615 is above");
    assert!(!Path::new(data).exists(), "a refused start writes nothing");

    let foreign = folder("foreign");
    std::fs::create_dir_all(&foreign).expect("a folder in target");
    std::fs::write(foreign.join("notes.txt"), "not ours").expect("a file in target");
    fails(&["--datadir", foreign.to_str().expect("UTF-8")], "not an evenkeel datadir");
    let left = std::fs::read_dir(&foreign).expect("it is there").count();
    assert_eq!(left, 1, "a refused start writes nothing");

    let unusable = "cannot use /proc/x as datadir (expected a folder that is there or can be made, \
        and that this user may write to): No such file or directory (os error 2)\n";
    fails(&["--datadir", "/proc/x"], unusable);
    fails(&["--chain-id", "0"], "--chain-id 0: expected 1 or more");

    let data = folder("locked");
    let data = data.to_str().expect("UTF-8");
    let holder = Devnet::start(&["--datadir", data]);
    fails(&["--datadir", data], "another evenkeel");
    drop(holder);
    fails(&["--datadir", data, "--chain-id", "5"], "31337");
}

/// Goal: the file and the environment set what a flag sets, in the stated order.
#[test]
fn settings_come_from_flag_then_environment_then_file() {
    let place = folder("layers");
    std::fs::create_dir_all(&place).expect("a folder in target");
    let file = place.join("settings.toml");
    let text = "chain-id = 7\naccounts = 3\n[rpc]\nevmtimeout = \"2s\"\n";
    std::fs::write(&file, text).expect("a file in target");
    let file = file.to_str().expect("UTF-8");

    let mut node = Devnet::start_with(&["--config", file], &[("EVENKEEL_ACCOUNTS", "4")]);
    assert_eq!(node.call("eth_chainId", &json!([])), "0x7");
    assert_eq!(node.call("eth_accounts", &json!([])).as_array().map(Vec::len), Some(4));
    assert_eq!(node.terminate(), Some(0));

    // `dev` is the bare command by its name.
    let mut node = Devnet::start_with(&["dev", "--config", file], &[("EVENKEEL_ACCOUNTS", "4")]);
    assert_eq!(node.call("eth_chainId", &json!([])), "0x7");
    assert_eq!(node.call("eth_accounts", &json!([])).as_array().map(Vec::len), Some(4));
    drop(node);

    std::fs::write(place.join("settings.toml"), "chain-id =\n").expect("a file in target");
    fails(&["--config", file], "line 1");
    std::fs::write(place.join("settings.toml"), "chian-id = 7\n").expect("a file in target");
    fails(&["--config", file], "chian-id");
}

/// Goal: a signal that comes while the node starts is obeyed at the end of the start, not fatal.
/// Method: its genesis file is a pipe, so the start waits for us.
#[test]
fn a_signal_during_the_start_is_obeyed() {
    let place = folder("signal");
    std::fs::create_dir_all(&place).expect("a folder in target");
    let pipe = place.join("genesis.json");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
    assert!(made.success());
    let mut node = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["--port", "0", "--quiet", "--init"])
        .arg(&pipe)
        .spawn()
        .expect("the binary runs");
    // Opens when the node opens its end.
    let mut genesis = std::fs::File::options().write(true).open(&pipe).expect("a pipe");
    let sent = Command::new("kill").args(["-TERM", &node.id().to_string()]).status();
    assert!(sent.expect("kill runs").success());
    let text = r#"{"config":{"chainId":7},"difficulty":"0x0","gasLimit":"0x1c9c380","alloc":{}}"#;
    genesis.write_all(text.as_bytes()).expect("the node reads");
    drop(genesis);
    assert_eq!(node.wait().expect("it is our child").code(), Some(0));
}

/// Goal: requests, failures and blocks are told as anvil tells them, until logging is switched off.
#[test]
fn requests_and_blocks_are_logged_as_anvil_does() {
    let mut node = Devnet::start(&[]);
    let hash = node.call("eth_sendTransaction", &transfer("0x1"));
    let block = node.receipt(&hash)["blockHash"].take();
    let (hash, block) = (hash.as_str().expect("a hash"), block.as_str().expect("a hash"));
    let text = node.printed_until(" +0000\"");
    assert!(text.starts_with("eth_sendTransaction\n"), "{text}");
    let body = format!(
        "\n    Transaction: {hash}\n    Gas used: 21000\n\n    Block Number: 1\n    \
         Block Hash: {block}\n    Block Time: \""
    );
    assert!(text.contains(&body), "{text}");

    node.answer("eth_call", &json!([{ "to": BOB }, "0x99"]));
    let text = node.printed_until("Error: header not found");
    let request = format!("Request: eth_call [{{\"to\":\"{BOB}\"}},\"0x99\"]");
    assert!(text.contains("RPC request failed:\n") && text.contains(&request), "{text}");

    node.call("anvil_setLoggingEnabled", &json!([false]));
    node.call("eth_chainId", &json!([]));
    node.call("anvil_setLoggingEnabled", &json!([true]));
    node.call("eth_gasPrice", &json!([]));
    let text = node.printed_until("eth_gasPrice");
    assert_eq!(text, "\nanvil_setLoggingEnabled\neth_gasPrice\n");
}

/// Goal: with `--json` the start is a line like the others: an event with camelCase keys.
#[test]
fn the_start_is_told_as_json_too() {
    let mut node = Devnet::start(&["--json", "--accounts", "1"]);
    let started: Value = serde_json::from_str(node.banner()).expect("one line of JSON");
    assert_eq!(started["event"], "listening");
    assert_eq!(started["addresses"], json!([format!("127.0.0.1:{}", node.port())]));
    assert_eq!(started["chainId"], 31_337);
    assert_eq!((&started["hardfork"], &started["shadow"]), (&json!("osaka"), &Value::Null));
    let account = &started["accounts"][0];
    assert_eq!(
        (&account["address"], &account["balance"]),
        (&json!(ALICE.to_lowercase()), &json!("10000000000000000000000"))
    );
    node.call("eth_chainId", &json!([]));
    let line = node.printed_until("}");
    let request: Value = serde_json::from_str(&line).expect("one line of JSON");
    assert_eq!(request, json!({ "event": "request", "method": "eth_chainId" }));
}

/// Goal: a terminal that takes nothing holds up neither requests nor the end.
/// Method: fill the pipe that nobody reads, some 64 KiB, many times over.
#[test]
fn output_that_nobody_reads_stops_nothing() {
    let mut node = Devnet::start(&[]);
    let long = "x".repeat(2_000);
    for _ in 0..200 {
        node.answer(&long, &json!([]));
    }
    assert_eq!(node.terminate(), Some(0));
}

/// Goal: flags of anvil that exist do what they say, and those that do not yet are named.
#[test]
fn flags_of_anvil_work_or_are_refused_by_name() {
    fails(&["--fork-url", "http://127.0.0.1:1"], "--fork-url is not supported yet");
    fails(&["dev", "--fork-block-number", "-5"], "--fork-block-number is not supported yet");
    fails(&["-f", "http://127.0.0.1:1"], "--fork-url is not supported yet");
    fails(&["--ipc", "/dev/null/ipc"], "cannot listen on /dev/null/ipc");
    fails(&["--cache-path", "cache"], "--cache-path is not supported yet");
    fails(&["--network", "optimism"], "optimism");
    fails(&["--mnemonic-random", "13"], "13");
    fails(&["--fund-accounts", "0x12:1"], "ADDRESS:ETHER");

    let rich = "0x00000000000000000000000000000000000000Aa";
    let fund = format!("{rich}:7");
    let flags = ["-vvv", "--color", "never", "--slots-in-an-epoch", "2", "--fund-accounts", &fund];
    let flags = [&flags[..], &["--steps-tracing", "--mnemonic-random", "24"]].concat();
    let mut node = Devnet::start_with(&flags, &[("ANVIL_IP_ADDR", "127.0.0.1,127.0.0.2")]);
    assert_eq!(node.call("eth_getBalance", &json!([rich, "latest"])), "0x6124fee993bc0000");
    node.call("anvil_mine", &json!([5]));
    for (tag, number) in [("safe", "0x3"), ("finalized", "0x1"), ("latest", "0x5")] {
        let block = node.call("eth_getBlockByNumber", &json!([tag, false]));
        assert_eq!(block["number"], number, "{tag}");
    }
    assert!(std::net::TcpStream::connect(("127.0.0.2", node.port())).is_err(), "port 0 is two");
}

/// Goal: the chain id of a chain in memory can change as on anvil; that of a database cannot.
#[test]
fn the_chain_id_changes_unless_it_is_stored() {
    let mut node = Devnet::start(&[]);
    let before = node.call("eth_sendTransaction", &transfer("0x1"));
    node.receipt(&before);
    node.call("anvil_setChainId", &json!([1]));
    assert_eq!(node.call("eth_chainId", &json!([])), "0x1");
    assert_eq!(node.call("net_version", &json!([])), "1");
    assert_eq!(node.call("anvil_metadata", &json!([]))["chainId"], 1);
    // CHAINID, as a word.
    let code = json!([{ "data": "0x465f5260205ff3" }, "latest"]);
    assert_eq!(node.call("eth_call", &code), format!("0x{:064x}", 1));
    let after = node.call("eth_sendTransaction", &transfer("0x2"));
    assert_eq!(node.receipt(&after)["status"], "0x1");
    assert_eq!(node.call("eth_getTransactionByHash", &json!([after]))["chainId"], "0x1");
    for hash in [before, after] {
        node.call("debug_traceTransaction", &json!([hash, { "tracer": "callTracer" }]));
    }

    let data = folder("chain-id");
    let mut node = Devnet::start(&["--datadir", data.to_str().expect("UTF-8")]);
    let refused = node.answer("anvil_setChainId", &json!([1]));
    assert!(refused["error"]["message"].as_str().is_some_and(|text| text.contains("--datadir")));
    assert_eq!(node.call("eth_chainId", &json!([])), "0x7a69");
}

/// Goal: as on anvil a reset forgets snapshots and takes the clock along, says who is new, and
/// keeps the gas limit: what was ordered, else the operator's, whatever the genesis file says.
#[test]
fn a_reset_forgets_snapshots_and_keeps_the_gas_limit() {
    let place = folder("reset");
    std::fs::create_dir_all(&place).expect("a folder in target");
    let genesis = place.join("genesis.json");
    let text = r#"{"config":{"chainId":77,"homesteadBlock":0,"eip150Block":0,"eip158Block":0,
        "byzantiumBlock":0,"constantinopleBlock":0,"istanbulBlock":0,"berlinBlock":0,
        "londonBlock":0,"terminalTotalDifficulty":0},"gasLimit":"0x1c9c380","difficulty":"0x0",
        "timestamp":"0x3e8","alloc":{}}"#;
    std::fs::write(&genesis, text).expect("a file in target");
    let genesis = genesis.to_str().expect("UTF-8");
    let mut node = Devnet::start(&["--init", genesis, "--gas-limit", "100000000"]);
    let gas_limit = |node: &mut Devnet| {
        node.call("evm_mine", &json!([]));
        node.call("eth_getBlockByNumber", &json!(["latest", false]))["gasLimit"].take()
    };
    assert_eq!(node.call("evm_snapshot", &json!([])), "0x0");
    assert_eq!(gas_limit(&mut node), "0x5f5e100");
    let before = node.call("anvil_metadata", &json!([]));
    assert_eq!(before["snapshots"]["0x0"][0], 0);
    assert_eq!(before["latestBlockNumber"], 1);

    node.call("anvil_reset", &json!([]));
    let after = node.call("anvil_metadata", &json!([]));
    assert_ne!(after["instanceId"], before["instanceId"]);
    assert_eq!(after["snapshots"], json!({}));
    assert_eq!(gas_limit(&mut node), "0x5f5e100");
    node.call("evm_setBlockGasLimit", &json!([20_000_000]));
    node.call("evm_increaseTime", &json!([1_000_000]));
    node.call("anvil_reset", &json!([]));
    assert_eq!(gas_limit(&mut node), "0x1312d00");
    let time = node.call("eth_getBlockByNumber", &json!(["latest", false]))["timestamp"].take();
    let time = u64::from_str_radix(&time.as_str().expect("hex")[2..], 16).expect("hex");
    assert!((1_000..1_000_000).contains(&time), "{time}");
}

/// Goal: `anvil_removeBlockTimestampInterval` says whether there was one.
#[test]
fn removing_a_timestamp_interval_says_whether_there_was_one() {
    let mut node = Devnet::start(&[]);
    node.call("anvil_setBlockTimestampInterval", &json!([5]));
    for was_set in [true, false] {
        assert_eq!(node.call("anvil_removeBlockTimestampInterval", &json!([])), was_set);
    }
}

/// Goal: a call that names a price and no gas runs with a block's gas, which its sender can pay.
#[test]
fn a_call_with_a_price_needs_no_gas_limit() {
    let mut node = Devnet::start(&[]);
    let call = json!([{ "from": ALICE, "to": BOB, "gasPrice": "0x77359400" }, "latest"]);
    assert_eq!(node.call("eth_call", &call), "0x");
}

/// Goal: the dev accounts have what the banner says; a flag that cannot take effect on a genesis
/// file or a datadir is refused by its name.
#[test]
fn accounts_have_what_the_banner_says() {
    let place = folder("funds");
    std::fs::create_dir_all(&place).expect("a folder in target");
    let genesis = place.join("genesis.json");
    let text = format!(
        r#"{{"config":{{"chainId":77,"homesteadBlock":0,"eip150Block":0,"eip158Block":0,
        "byzantiumBlock":0,"constantinopleBlock":0,"istanbulBlock":0,"berlinBlock":0,
        "londonBlock":0,"terminalTotalDifficulty":0}},"gasLimit":"0x1c9c380","difficulty":"0x0",
        "number":"0x5","alloc":{{"{BOB}":{{"balance":"0x7"}}}}}}"#
    );
    std::fs::write(&genesis, text).expect("a file in target");
    let data = place.join("data");
    let (genesis, data) = (genesis.to_str().expect("UTF-8"), data.to_str().expect("UTF-8"));
    let init = ["--init", genesis, "--datadir", data];
    for (flag, value) in [("--number", "9"), ("--timestamp", "9"), ("--hardfork", "cancun")] {
        fails(&[&init[..], &[flag, value]].concat(), &format!("{flag} {value}"));
    }
    fails(&[&init[..], &["--fund-accounts", &format!("{BOB}:1")]].concat(), "--fund-accounts");
    assert!(!Path::new(data).exists(), "a refused start writes nothing");

    let made_with = ["--chain-id", "78", "--balance", "3", "--accounts", "2"];
    let mut node = Devnet::start(&[&init[..], &made_with].concat());
    assert_eq!(node.call("eth_chainId", &json!([])), "0x4e", "the flag goes before the file");
    let rows = [
        format!("(0) {ALICE} (3.000000000000000000 ETH)"),
        format!("(1) {BOB} (0.000000000000000007 ETH)"),
    ];
    assert!(rows.iter().all(|row| node.banner().contains(row)), "{}", node.banner());
    let hash = node.call("eth_sendTransaction", &transfer("0xde0b6b3a7640000"));
    node.receipt(&hash);
    assert_eq!(node.terminate(), Some(0));

    let node = Devnet::start(&["--datadir", data, "--balance", "3", "--accounts", "1"]);
    assert!(node.banner().contains(&format!("(0) {ALICE} (1.99")), "{}", node.banner());
    drop(node);
    drop(Devnet::start(&[&init[..], &["--chain-id", "78"]].concat()));
    fails(&init, "config.chainId is 77 in the file, expected 78");
    for flag in ["--balance", "--accounts", "--mnemonic-random", "--mnemonic-seed-unsafe"] {
        fails(&["--datadir", data, flag, "12"], flag);
    }
    fails(
        &["--datadir", data, "--fund-accounts", "0x00000000000000000000000000000000000000Aa"],
        "--fund-accounts",
    );
}

/// Goal: a call and an estimate have the limits that the flags give to a block's transactions.
#[test]
fn flags_that_limit_an_execution_hold_for_calls_too() {
    // Init code that returns as many zero bytes as the word after PUSH4 says.
    let deploy = |size: u32| json!([{ "from": ALICE, "data": format!("0x63{size:08x}5ff3") }]);
    let mut node = Devnet::start(&["--code-size-limit", "100", "--enable-tx-gas-limit"]);
    node.call("eth_estimateGas", &deploy(100));
    let refused = node.answer("eth_estimateGas", &deploy(101));
    assert!(refused["error"].is_object(), "above --code-size-limit: {refused}");
    // MLOAD at 3.2 MB takes 19.8 million gas: less than a block has, more than EIP-7825 allows.
    let much = json!([{ "from": ALICE, "data": "0x6230d4005100" }]);
    let refused = node.answer("eth_estimateGas", &much);
    assert!(refused["error"].is_object(), "above EIP-7825's limit: {refused}");
    drop(node);

    let mut node = Devnet::start(&["--disable-code-size-limit"]);
    node.call("eth_estimateGas", &much);
    let large = deploy(50_000);
    node.call("eth_estimateGas", &large);
    let hash = node.call("eth_sendTransaction", &large);
    assert_eq!(node.receipt(&hash)["status"], "0x1");
}

/// Goal: an ethers script sends a transfer, deploys, reads logs and follows new heads.
#[test]
fn an_ethers_script_works() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("bin lies in the root");
    let modules = root.join("target/peers/node_modules");
    let has_node = Command::new("node").arg("--version").output().is_ok();
    if !has_node || !modules.join("ethers").exists() {
        eprintln!("SKIPPED: no node or no ethers; scripts/peers installs ethers to target/peers");
        return;
    }
    let node = Devnet::start(&[]);
    let script = Command::new("node")
        .arg(root.join("scripts/clients/ethers.mjs"))
        .env("RPC_URL", format!("http://127.0.0.1:{}", node.port()))
        .output()
        .expect("node runs");
    let text = String::from_utf8_lossy(&script.stdout);
    let errors = String::from_utf8_lossy(&script.stderr);
    assert!(script.status.success(), "{text}\n{errors}");
}
