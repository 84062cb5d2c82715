//! Chains in files: what one node made, another imports and exports again.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};

use super::{
    ALICE,
    process::{Devnet, folder},
    transfer,
};

fn evenkeel(arguments: &[&str]) -> Output {
    let ran = Command::new(env!("CARGO_BIN_EXE_evenkeel")).args(arguments).output();
    ran.expect("the binary runs")
}

/// What it printed; it must have succeeded.
fn done(arguments: &[&str]) -> String {
    let output = evenkeel(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Why it failed, in one line.
fn failed(arguments: &[&str]) -> String {
    let output = evenkeel(arguments);
    let errors = String::from_utf8(output.stderr).expect("text");
    assert_eq!((output.status.code(), errors.lines().count()), (Some(1), 1), "{errors}");
    errors
}

fn genesis(chain_id: u64) -> Value {
    json!({
        "config": { "chainId": chain_id, "homesteadBlock": 0, "eip150Block": 0, "eip155Block": 0,
            "eip158Block": 0, "byzantiumBlock": 0, "constantinopleBlock": 0, "petersburgBlock": 0,
            "istanbulBlock": 0, "berlinBlock": 0, "londonBlock": 0, "mergeNetsplitBlock": 0,
            "terminalTotalDifficulty": 0, "shanghaiTime": 0 },
        "gasLimit": "0x1c9c380", "difficulty": "0x0", "timestamp": "0x65000000",
        "alloc": { ALICE: { "balance": "0x21e19e0c9bab2400000" } },
    })
}

/// Goal: an exported chain imports into the same chain, block for block; what is there is skipped;
/// at a broken block the import stops, says which it is, and keeps what came before; a chain of
/// another genesis, a cut file and a wrong range are refused.
#[test]
fn chains_are_exported_and_imported() {
    let place = folder("chain-file");
    let path = |name: &str| place.join(name).to_str().expect("a UTF-8 path").to_owned();
    fs::create_dir_all(&place).expect("a folder");
    let (genesis_file, made, file) = (path("genesis.json"), path("made"), path("chain.rlp"));
    fs::write(&genesis_file, genesis(31_337).to_string()).expect("it can be written");
    let flags = ["--init", &genesis_file, "--accounts", "1", "--datadir", &made];
    let mut node = Devnet::start(&flags);
    for value in ["0x1", "0x2", "0x3"] {
        let hash = node.call("eth_sendTransaction", &transfer(value));
        node.receipt(&hash);
    }
    let head = node.call("eth_getBlockByNumber", &json!(["latest", false]));
    assert_eq!(node.terminate(), Some(0));

    let said = done(&["export", &file, "1", "--datadir", &made]);
    assert_eq!(said, "exported 3 blocks, #1 to #3\n");
    let taken = path("taken");
    let import = ["import", &file, "--chain", &genesis_file, "--datadir", &taken];
    let whole = format!("imported 3 blocks, head #3 {}, in ", head["hash"].as_str().expect("text"));
    assert!(done(&import).starts_with(&whole));
    assert!(
        done(&import[..2].iter().chain(&import[4..]).copied().collect::<Vec<_>>())
            .starts_with("imported 0 blocks, head #3 ")
    );
    let again = path("again.rlp");
    done(&["export", &again, "0", "3", "--datadir", &taken]);
    let (first, second) = (fs::read(&file).expect("written"), fs::read(&again).expect("written"));
    assert!(second.ends_with(&first) && second.len() > first.len(), "the genesis comes before");
    assert!(done(&["db", "verify", "--datadir", &taken]).ends_with("ok\n"));

    let mut node = Devnet::start(&["--chain", &genesis_file, "--datadir", &taken, "--no-mining"]);
    let served = node.call("eth_getBlockByNumber", &json!(["latest", false]));
    assert_eq!((&served["hash"], &served["stateRoot"]), (&head["hash"], &head["stateRoot"]));
    let before = node.call("eth_getTransactionCount", &json!([ALICE, "0x1"]));
    assert_eq!(before, "0x1", "the past is there");
    assert_eq!(node.terminate(), Some(0));

    // Two of the same length: the first says its own; a byte of the second's state root is wrong.
    let mut broken = first.clone();
    let length = first.len() / 3;
    let header = broken[length..].windows(33).position(|word| word[0] == 0xa0).expect("a hash");
    broken[length + header + 3 * 33 + 25] ^= 1;
    fs::write(path("broken.rlp"), &broken).expect("it can be written");
    let (good, empty) = (path("good"), path("empty"));
    let broken = path("broken.rlp");
    let error = failed(&["import", &broken, "--chain", &genesis_file, "--datadir", &good]);
    assert!(error.starts_with("error: block 2 0x"), "{error}");
    assert!(
        done(&["import", &file, "--datadir", &good]).starts_with("imported 2 blocks, head #3 ")
    );
    fs::write(&broken, &first[..length + 9]).expect("it can be written");
    let error = failed(&["import", &broken, "--chain", &genesis_file, "--datadir", &empty]);
    assert!(error.contains("the file ends within a block: 9 of "), "{error}");

    fs::write(&genesis_file, genesis(31_338).to_string()).expect("it can be written");
    let error = failed(&import);
    assert!(error.contains("--chain is not the genesis of the database"), "{error}");
    let error = failed(&["import", &file, "--datadir", &path("none")]);
    assert!(error.contains("--chain has to say"), "{error}");
    let error = failed(&["export", &again, "2", "4", "--datadir", &taken]);
    assert!(error.contains("blocks 2 to 4 were asked for, the chain has 0 to 3"), "{error}");
    assert!(!Path::new(&path("again.part")).exists());
    fs::remove_dir_all(&place).expect("it is there");
}
