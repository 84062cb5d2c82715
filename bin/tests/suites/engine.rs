//! Blocks as a consensus client sends them, with and without groups: what is broken is told.

use std::{fs, path::Path};

use alloy_consensus::{
    EMPTY_OMMER_ROOT_HASH, Header,
    constants::EMPTY_WITHDRAWALS,
    proofs::{calculate_receipt_root, calculate_withdrawals_root},
};
use alloy_eips::{eip4895::Withdrawal, eip7685::EMPTY_REQUESTS_HASH};
use alloy_primitives::{Address, B64, B256, U256, b256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, HashBuilder, Nibbles, TrieAccount};
use serde_json::{Value, json};

use crate::{Folder, run};

const OWNER: Address = Address::repeat_byte(7);
const HASH: B256 = b256!("0x0100000000000000000000000000000000000000000000000000000000000000");

/// The headers of a chain of two blocks, the second of which gives `OWNER` 5 gwei where there are
/// withdrawals. `version` is that of the call that its second block takes.
fn headers(version: u8) -> [Header; 2] {
    let first = Header {
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        state_root: EMPTY_ROOT_HASH,
        transactions_root: EMPTY_ROOT_HASH,
        receipts_root: EMPTY_ROOT_HASH,
        gas_limit: 1_000_000,
        extra_data: [0].into(),
        base_fee_per_gas: Some(7),
        withdrawals_root: (version >= 2).then_some(EMPTY_WITHDRAWALS),
        blob_gas_used: (version >= 3).then_some(0),
        excess_blob_gas: (version >= 3).then_some(0),
        parent_beacon_block_root: (version >= 3).then_some(B256::ZERO),
        requests_hash: (version >= 4).then_some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    };
    let receipts: [alloy_consensus::ReceiptEnvelope; 0] = [];
    let second = Header {
        parent_hash: first.hash_slow(),
        number: 1,
        timestamp: 12,
        state_root: if version >= 2 { root() } else { EMPTY_ROOT_HASH },
        receipts_root: calculate_receipt_root(&receipts),
        withdrawals_root: (version >= 2).then(|| calculate_withdrawals_root(&[withdrawal()])),
        ..first.clone()
    };
    [first, second]
}

fn withdrawal() -> Withdrawal {
    Withdrawal { index: 0, validator_index: 1, address: OWNER, amount: 5 }
}

/// Root of the state in which `OWNER` has 5 gwei, and nobody else anything.
fn root() -> B256 {
    let account = TrieAccount { balance: U256::from(5_000_000_000_u64), ..TrieAccount::default() };
    let mut builder = HashBuilder::default();
    builder.add_leaf(Nibbles::unpack(keccak256(OWNER)), &alloy_rlp::encode(account));
    builder.root()
}

/// A call with the second block.
fn call(version: u8, header: &Header) -> Value {
    let number = |value: u64| format!("{value:#x}");
    let mut payload = json!({
        "parentHash": header.parent_hash,
        "feeRecipient": header.beneficiary,
        "stateRoot": header.state_root,
        "receiptsRoot": header.receipts_root,
        "logsBloom": header.logs_bloom,
        "prevRandao": header.mix_hash,
        "blockNumber": number(header.number),
        "gasLimit": number(header.gas_limit),
        "gasUsed": number(header.gas_used),
        "timestamp": number(header.timestamp),
        "extraData": header.extra_data,
        "baseFeePerGas": "0x7",
        "blockHash": header.hash_slow(),
        "transactions": [],
    });
    if version >= 2 {
        payload["withdrawals"] = json!([withdrawal()]);
    }
    if version >= 3 {
        payload["blobGasUsed"] = json!("0x0");
        payload["excessBlobGas"] = json!("0x0");
    }
    let params = [payload, json!([]), json!(B256::ZERO), json!([])];
    let count = if version < 3 { 1 } else { usize::from(version) };
    json!({ "params": params[..count], "newPayloadVersion": version.to_string() })
}

/// A test that is right.
fn test(network: &str, version: u8) -> Value {
    let [first, second] = headers(version);
    let mut genesis = json!({
        "hash": first.hash_slow(),
        "parentHash": first.parent_hash,
        "coinbase": first.beneficiary,
        "difficulty": "0x0",
        "number": "0x0",
        "gasLimit": first.gas_limit,
        "timestamp": "0x0",
        "extraData": first.extra_data,
        "mixHash": first.mix_hash,
        "nonce": B64::ZERO,
        "baseFeePerGas": "0x7",
    });
    if version >= 3 {
        genesis["blobGasUsed"] = json!("0x0");
        genesis["excessBlobGas"] = json!("0x0");
    }
    json!({
        "network": network,
        "genesisBlockHeader": genesis,
        "pre": {},
        "engineNewPayloads": [call(version, &second)],
        "lastblockhash": second.hash_slow(),
        "postStateHash": second.state_root,
    })
}

/// The failures among `tests`, in the order of their names.
fn failures(folder: &Folder, tests: Vec<(&str, Value)>) -> Vec<String> {
    let tests: serde_json::Map<_, _> =
        tests.into_iter().map(|(name, test)| (name.to_owned(), test)).collect();
    folder.write("tests.json", &Value::from(tests));
    let (_, lines) = run(&["block", folder.path()]);
    let mut lines: Vec<_> = lines.into_iter().filter(|line| line.starts_with("FAIL ")).collect();
    lines.sort();
    lines
}

/// Compares failures with what they are to say.
fn assert_failures(found: &[String], expected: &[&str]) {
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (line, part) in found.iter().zip(expected) {
        assert!(line.contains(part), "{line}\nexpected: {part}");
    }
}

/// Goal: every version of the call is taken for the forks that it is for, and answers others with
/// the error that the specification has for them.
#[test]
fn versions_are_of_forks() {
    let folder = Folder::new("engine-versions");
    let right =
        [("Paris", 1), ("Shanghai", 2), ("Cancun", 3), ("Prague", 4), ("Osaka", 4), ("BPO1", 4)];
    assert_failures(&failures(&folder, right.map(|(of, by)| (of, test(of, by))).to_vec()), &[]);

    let mut tests = Vec::new();
    for (name, network, of, by) in [
        ("a", "Cancun", 3, 2),
        ("b", "Prague", 4, 3),
        ("c", "Cancun", 3, 4),
        ("d", "Shanghai", 2, 1),
        ("e", "Shanghai", 2, 3),
        ("f", "Paris", 1, 2),
    ] {
        // The block is of the network, the call is not.
        let mut test = test(network, of);
        test["engineNewPayloads"][0] = call(by, &headers(of)[1]);
        tests.push((name, test));
    }
    let found = failures(&folder, tests.clone());
    let fork = |version: u8, of: &str| {
        format!("unsupported fork (-38005): engine_newPayloadV{version} for a block of {of};")
    };
    let blocks = "; expected it to be valid";
    let expected = [
        fork(2, "Cancun"),
        fork(3, "Prague"),
        fork(4, "Cancun"),
        // It has no withdrawals, so it is another block.
        format!("blockHash {}", headers(2)[1].hash_slow()),
        fork(3, "Shanghai"),
        "executionPayload.withdrawals: not expected".to_owned(),
    ];
    assert_failures(&found, &expected.each_ref().map(String::as_str));
    assert!(found.iter().all(|line| line.contains(blocks)), "{found:?}");

    for (test, code) in
        tests.iter_mut().zip(["-38005", "-38005", "-38005", "-32602", "-38005", "-32602"])
    {
        test.1["engineNewPayloads"][0]["errorCode"] = json!(code);
        test.1["lastblockhash"] = test.1["genesisBlockHeader"]["hash"].clone();
        test.1["postStateHash"] = json!(EMPTY_ROOT_HASH);
    }
    assert_failures(&failures(&folder, tests), &["expected error -32602"]);
}

/// Goal: what is broken about a call fails, with what was expected, unless the test says so.
#[test]
fn broken_calls_fail() {
    type Break = fn(&mut Value, Header);
    let breaks: [(&str, Break, Option<&str>, &str); 9] = [
        (
            "a",
            |call, _| call["params"][0]["gasUsed"] = json!("0x1"),
            Some("BlockException.INVALID_BLOCK_HASH"),
            "the block has 0x",
        ),
        (
            "b",
            |call, _| call["params"][1] = json!([HASH]),
            Some("BlockException.INVALID_VERSIONED_HASHES"),
            "versioned hashes [], expected [0x01",
        ),
        (
            "c",
            |call, header| {
                *call = self::call(4, &Header { state_root: EMPTY_ROOT_HASH, ..header });
            },
            Some("BlockException.INVALID_STATE_ROOT"),
            "stateRoot",
        ),
        (
            "d",
            |call, _| call["params"][0]["transactions"] = json!(["0x"]),
            Some("BlockException.INVALID_BLOCK_HASH"),
            "the block has 0x",
        ),
        ("e", |call, _| call["params"][3] = json!(["0x01"]), None, "executionRequests: empty"),
        ("f", |call, _| call["params"][3] = json!(["0x0201", "0x0102"]), None, "out of order"),
        ("g", |call, _| call["params"][2] = Value::Null, None, "parentBeaconBlockRoot: "),
        (
            "h",
            |call, _| {
                call["params"].as_array_mut().expect("it is one").pop();
            },
            None,
            "3 of them, expected 4",
        ),
        ("i", |call, _| call["params"][0]["blobs"] = json!("0x0"), None, "unknown field `blobs`"),
    ];
    let folder = Folder::new("engine-calls");
    let mut tests = Vec::new();
    for (name, change, ..) in &breaks {
        let mut test = test("Prague", 4);
        change(&mut test["engineNewPayloads"][0], headers(4)[1].clone());
        test["lastblockhash"] = test["genesisBlockHeader"]["hash"].clone();
        test["postStateHash"] = json!(EMPTY_ROOT_HASH);
        tests.push((*name, test));
    }
    let reasons = breaks.map(|(.., reason)| reason);
    assert_failures(&failures(&folder, tests.clone()), &reasons);
    let mut named = tests.clone();
    for ((_, test), (_, _, error, _)) in named.iter_mut().zip(&breaks) {
        let (key, value) = error.map_or(("errorCode", "-32602"), |name| ("validationError", name));
        test["engineNewPayloads"][0][key] = json!(value);
    }
    assert_failures(&failures(&folder, named), &[]);
    // Another reason than the one there is, and errors of calls by names of blocks.
    for (_, test) in &mut tests {
        test["engineNewPayloads"][0]["validationError"] = json!("BlockException.INVALID_GASLIMIT");
    }
    assert_failures(&failures(&folder, tests), &["expected BlockException.INVALID_GASLIMIT"; 9]);
}

/// Goal: a test that is wrong about a valid block fails, as does one that is no test.
#[test]
fn wrong_tests_fail() {
    let folder = Folder::new("engine-tests");
    let mut tests = Vec::new();
    for (name, place, value) in [
        ("a", "/lastblockhash", json!(HASH)),
        ("b", "/postStateHash", json!(HASH)),
        ("c", "/genesisBlockHeader/hash", json!(HASH)),
        ("d", "/engineNewPayloads", Value::Null),
        ("e", "/pre", Value::Null),
        ("f", "/engineNewPayloads/0/newPayloadVersion", json!("5")),
    ] {
        let mut test = test("Prague", 4);
        *test.pointer_mut(place).expect("it has one") = value;
        tests.push((name, test));
    }
    for (name, key, value) in [
        ("g", "errorCode", "-32602"),
        ("h", "validationError", "BlockException.INVALID_STATE_ROOT"),
    ] {
        let mut test = test("Prague", 4);
        test["engineNewPayloads"][0][key] = json!(value);
        tests.push((name, test));
    }
    let mut test = test("Prague", 4);
    test["syncPayload"] = test["engineNewPayloads"][0].clone();
    test["syncPayload"]["params"][0]["blockNumber"] = json!("0x2");
    tests.push(("i", test));
    assert_failures(
        &failures(&folder, tests),
        &[
            "last block 0x",
            "state root 0x",
            "genesis hash 0x",
            "expected blocks or engineNewPayloads, one of them",
            "expected genesisBlockHeader and pre, or preHash",
            "engine_newPayloadV5, expected V1 to V4",
            "valid, expected error -32602",
            "valid, expected BlockException.INVALID_STATE_ROOT",
            "sync payload: refused: blockHash",
        ],
    );
}

/// Goal: tests begin with the state of their group, which lies above them and is no test; a group
/// that is missing, of another network or of another state is told.
#[test]
fn groups_are_found_above() {
    let folder = Folder::new("engine-groups");
    let pre_alloc = folder.0.join("pre_alloc");
    fs::create_dir_all(&pre_alloc).expect("the folder was made just now");
    let group = json!({
        "testIds": [],
        "network": "Prague",
        "environment": {
            "currentCoinbase": Address::ZERO,
            "currentGasLimit": "0x0f4240",
            "currentNumber": "0x00",
            "currentTimestamp": "0x00",
            "currentRandom": "0x00",
            "currentDifficulty": "0x00",
            "currentBaseFee": "0x07",
            "currentExcessBlobGas": "0x00",
            "currentBlobGasUsed": "0x00",
        },
        "pre": {},
    });
    folder.write("pre_alloc/0x01.json", &group);
    let mut other = group.clone();
    other["network"] = json!("Osaka");
    folder.write("pre_alloc/0x02.json", &other);
    other = group;
    other["pre"][OWNER.to_string()] =
        json!({ "nonce": "0x01", "balance": "0x00", "code": "0x", "storage": {} });
    folder.write("pre_alloc/0x03.json", &other);

    let test = |group: &str, diff: Value| {
        let mut test = test("Prague", 4);
        let fields = test.as_object_mut().expect("it is one");
        fields.remove("genesisBlockHeader");
        fields.remove("pre");
        test["preHash"] = json!(group);
        test["postStateDiff"] = diff;
        test
    };
    let gone = Address::repeat_byte(8);
    let account = |balance: &str| {
        let account = json!({ "nonce": "0x00", "balance": balance, "code": "0x", "storage": {} });
        json!({ OWNER.to_string(): account, gone.to_string(): null })
    };
    let five = "0x012a05f200";
    let tests = vec![
        ("a", test("0x01", account(five))),
        ("b", test("0x01", account("0x01"))),
        ("c", test("0x01", json!({ OWNER.to_string(): null }))),
        ("d", test("0x02", account(five))),
        ("e", test("0x03", account(five))),
        ("f", test("0x04", account(five))),
        ("g", test("../pre_alloc/0x01", account(five))),
        ("h", test("0x01", account(five))),
    ];
    assert_failures(
        &failures(&folder, tests),
        &[
            "balance of 0x0707070707070707070707070707070707070707 5000000000, expected 1",
            "expected none",
            "0x02.json: network Osaka, expected Prague",
            "payload 0: refused: ",
            "no group 0x04 in ",
            "no group ../pre_alloc/0x01 in ",
        ],
    );
    let (output, _) = run(&["block", pre_alloc.to_str().expect("our own name")]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && errors.contains("no .json file in"), "{errors}");
}

/// Goal: real tests pass also if their states are in groups, and fail without.
/// Method: tests of one form of execution-spec-tests, made into the other.
#[test]
#[ignore = "needs the suites: make conformance"]
fn tests_of_the_benchmark_pass_in_groups() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/suites/eest-benchmark-0.0.7");
    let tests = root.join("blockchain_tests_engine/benchmark/compute/instruction/tx_context");
    let tests = fs::read_to_string(tests.join("blobhash.json")).expect("the suites are there");
    let mut tests: serde_json::Map<String, Value> = serde_json::from_str(&tests).expect("JSON");
    let folder = Folder::new("engine-benchmark");
    fs::create_dir_all(folder.0.join("pre_alloc")).expect("the folder was made just now");
    for (nth, test) in tests.values_mut().enumerate() {
        let fields = test.as_object_mut().expect("a test");
        let genesis = fields.remove("genesisBlockHeader").expect("its first header");
        let group = json!({
            "network": fields["network"],
            // Not of the form in hand, and so not looked at beside the header.
            "environment": {
                "currentCoinbase": Address::ZERO,
                "currentGasLimit": "0x0",
                "currentNumber": "0x0",
                "currentTimestamp": "0x0",
            },
            "genesis": genesis,
            "pre": fields.remove("pre").expect("its first state"),
        });
        fields.insert("preHash".to_owned(), json!(nth.to_string()));
        folder.write(&format!("pre_alloc/{nth}.json"), &group);
    }
    let count = tests.len();
    assert!(count > 1);
    folder.write("tests.json", &tests.into());
    let (_, lines) = run(&["block", folder.path()]);
    let sum = format!("{count} passed, 0 failed, 0 skipped");
    assert_eq!(lines.last(), Some(&sum), "{lines:?}");
    fs::remove_dir_all(folder.0.join("pre_alloc")).expect("it was made just now");
    let (_, lines) = run(&["block", folder.path()]);
    let sum = format!("0 passed, {count} failed, 0 skipped");
    assert_eq!(lines.last(), Some(&sum), "{lines:?}");
}
