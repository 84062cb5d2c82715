//! Basic and ABI tests: real ones pass, and fail once they are changed.

use std::fs;

use serde_json::{Value, json};

use crate::{Folder, run};

/// SHA-256 of "owner".
const ECIES_KEY: &str = "4c1029697ee358715d3a14a2add817c4b01651440de808371f78165ac90dc581";
/// To its owner, from the key that is SHA-256 of "once".
const ECIES_MESSAGE: &str = "\
    04745deac1ae4b1cb6faee527e3a59b5aad0963f216edfb751db72e740a2d365ec042fe36be2cd1d\
    4b2b04a40291a143e2749441795950ee24fcb5da483aae7666000102030405060708090a0b0c0d0e\
    0fa20da3a2a97f40a635d16ab241480f0bde0078532052d4f3fc8069c61f99701d79850a27f71558\
    fd4e";
/// Root of the state with one account.
const ONE_ACCOUNT: &str = "5e5b074eca68ed6f5cf3ef14712b7c97f431a41deff21e3f211cf687f6180267";
/// And with four.
const FOUR_ACCOUNTS: &str = "1f01f3cacbc4220ec51932abe4196c6674c2718e09f8fb728bfa95ad037d8fb7";

/// Runs `tests` as a file of this kind and name, and compares the sum; the failures.
fn outcome(kind: &str, name: &str, tests: &str, sum: &str) -> Vec<String> {
    let folder = Folder::new(&format!("{kind}-{name}"));
    fs::write(folder.0.join(name), tests).expect("the folder was made just now");
    let (_, lines) = run(&[kind, folder.path()]);
    assert_eq!(lines.last().map(String::as_str), Some(sum), "{name}: {lines:?}");
    lines.into_iter().filter(|line| line.starts_with("FAIL ")).collect()
}

/// Goal: both ciphers open what others encrypted, and a changed message, key or text is told.
/// Method: AES of ethereum/tests; an ECIES message that was made with Python's `cryptography`.
#[test]
fn messages_are_decrypted() {
    let aes = json!({
        "decryption_type": "aes_ctr",
        "key": "abb51256c1324a1350598653f46aa3ad693ac3cf5d05f36eba3f495a1f51590f",
        "cipher": "84a727bc81fa4b13947dc9728b88fd08",
        "payload": "000102030405060708090a0b0c0d0e0f",
    });
    let ecies = json!({
        "decryption_type": "ecies_sec1_altered",
        "key": ECIES_KEY,
        "cipher": ECIES_MESSAGE,
        "payload": "6c6574206d6520676f",
    });
    let tests = json!({ "aes": aes, "ecies": ecies });
    outcome("basic", "crypto.json", &tests.to_string(), "2 passed, 0 failed, 0 skipped");

    let mut changed = tests.clone();
    changed["aes"]["payload"] = json!("000102030405060708090a0b0c0d0e00");
    changed["ecies"]["cipher"] = json!(ECIES_MESSAGE.replacen("a20da3a2", "a20da3a3", 1));
    assert_ne!(changed["ecies"], tests["ecies"]);
    let failures =
        outcome("basic", "crypto.json", &changed.to_string(), "0 passed, 2 failed, 0 skipped");
    assert!(failures[0].contains("expected 0x000102030405060708090a0b0c0d0e00"), "{failures:?}");
    assert!(failures[1].contains("its tag is not the one of its text"), "{failures:?}");

    let mut other_key = tests;
    other_key["ecies"]["key"] = other_key["aes"]["key"].clone();
    other_key["aes"]["key"] = json!("abb5");
    let failures =
        outcome("basic", "crypto.json", &other_key.to_string(), "0 passed, 2 failed, 0 skipped");
    assert!(failures[0].contains("key of 2 bytes, expected 32"), "{failures:?}");
}

/// Goal: a first block of the proof of concept has the state that it says: with none, one, and more
/// accounts than a branch of the trie tells apart at once.
/// Method: roots by a trie in Python that also gives those of ethereum/tests.
#[test]
fn first_blocks_have_their_state() {
    let tests = json!([
        { "inputs": {}, "result": block("80") },
        {
            "inputs": { "cd2a3d9f938e13cd947ec05abc7fe734df8dd826": "MANY" },
            "result": block(&format!("a0{ONE_ACCOUNT}")),
        },
        {
            "inputs": {
                "cd2a3d9f938e13cd947ec05abc7fe734df8dd826": "MANY",
                "cd2a3d9f938e13cd947ec05abc7fe734df8dd827": 7,
                "cd2a000000000000000000000000000000000000": 8,
                "13978aee95f38490e9769c39b2773ed763d9cd5f": 9,
            },
            "result": block(&format!("a0{FOUR_ACCOUNTS}")),
        },
    ]);
    // More than 64 bits, as a number.
    let tests = tests.to_string().replace("\"MANY\"", "100000000000000000000");
    outcome("basic", "blockgenesistest.json", &tests, "3 passed, 0 failed, 0 skipped");

    let changed = tests.replacen("100000000000000000000", "100000000000000000001", 1);
    let changed = changed.replacen(":8,", ":-8,", 1);
    let failures =
        outcome("basic", "blockgenesistest.json", &changed, "1 passed, 2 failed, 0 skipped");
    assert!(failures[0].contains(" 1: block 0x") && failures[0].contains("expected 0xf8b2f8ae"));
    assert!(failures[1].contains("0xcd2a00"), "{failures:?}");
}

/// The block with this root, encoded.
fn block(state_root: &str) -> String {
    let zeros = |bytes| "00".repeat(bytes);
    let ommers = "1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347";
    let nonce = "04994f67dc55b09e814ab7ffc8df3686b4afb2bb53e60eae97ef043fe03fb829";
    let (outer, inner) = if state_root.len() == 2 { ("92", "8e") } else { ("b2", "ae") };
    format!(
        "f8{outer}f8{inner}a0{}a0{ommers}94{}{state_root}80834000008087038d7ea4c68000830f4240\
         808080a0{nonce}c0c0",
        zeros(32),
        zeros(20)
    )
}

/// Goal: arguments are encoded as Solidity does, and what is not of its type is told.
/// Method: the example of Solidity's specification of its ABI, with numbers above 64 bits; then one
/// change each.
#[test]
fn arguments_are_encoded() {
    let word = |hex: &str| format!("{hex:0>64}");
    let text = |hex: &str| format!("{hex:0<64}");
    let sentence = [
        word("123"),
        word("80"),
        text("31323334353637383930"),
        word("e0"),
        word("2"),
        word("456"),
        word("789"),
        word("d"),
        text("48656c6c6f2c20776f726c6421"),
    ];
    let words = [
        "f".repeat(63) + "e",
        word("1"),
        word("1"),
        word("ff"),
        word("a0"),
        word("cd2a3d9f938e13cd947ec05abc7fe734df8dd826"),
        word("40"),
        word("1"),
        text("61"),
    ];
    let tests = json!({
        "sentence": {
            "types": ["uint", "uint32[]", "bytes10", "bytes"],
            "args": [0x123, [0x456, 0x789], "1234567890", "Hello, world!"],
            "result": sentence.concat(),
        },
        "words": {
            "types": ["int8", "bool", "uint8[2]", "(address,string)"],
            "args": [-2, true, [1, 255], ["0xcd2a3d9f938e13cd947ec05abc7fe734df8dd826", "a"]],
            "result": words.concat(),
        },
    });
    outcome("abi", "abi.json", &tests.to_string(), "2 passed, 0 failed, 0 skipped");

    let mut changed = serde_json::Map::new();
    let (sentence, words) = (&tests["sentence"], &tests["words"]);
    let mut change = |name: &str, of: &Value, key: &str, nth: usize, to: Value| {
        let mut other = of.clone();
        other[key][nth] = to;
        changed.insert(name.to_owned(), other);
    };
    change("a number", sentence, "args", 0, json!(0x124));
    change("b length", sentence, "args", 2, json!("123456789"));
    change("c bits", words, "args", 0, json!(-129));
    change("d bits", words, "args", 2, json!([1, 256]));
    change("e items", words, "args", 2, json!([1]));
    change("f members", words, "args", 3, json!(["0x00"]));
    change("g type", words, "types", 1, json!("boolean"));
    let failures = outcome(
        "abi",
        "abi.json",
        &Value::from(changed).to_string(),
        "0 passed, 7 failed, 0 skipped",
    );
    let reasons = [
        "expected 0x0000000000000000000000000000000000000000000000000000000000000123",
        "9 of them, expected 10",
        "9 bits, expected 8 at most",
        "9 bits, expected 8 at most",
        "1 of them, expected 2",
        "1 of them, expected 2",
        "type boolean: ",
    ];
    for (failure, reason) in failures.iter().zip(reasons) {
        assert!(failure.contains(reason), "{failure}: {reason}");
    }
}
