//! Chains in files: what one node made, another imports and exports again.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use super::{
    ALICE,
    process::{Devnet, Place},
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

/// Makes a chain of three blocks of `genesis.json` in `made`; returns its head.
fn three_blocks(place: &Place) -> Value {
    let file = place.path("genesis.json");
    fs::write(&file, genesis(31_337).to_string()).expect("it can be written");
    let flags = ["--init", &file, "--accounts", "1", "--datadir", &place.path("made")];
    let mut node = Devnet::start(&flags);
    let head = three_transfers(&mut node);
    assert_eq!(node.terminate(), Some(0));
    head
}

fn three_transfers(node: &mut Devnet) -> Value {
    for value in ["0x1", "0x2", "0x3"] {
        let hash = node.call("eth_sendTransaction", &transfer(value));
        node.receipt(&hash);
    }
    node.call("eth_getBlockByNumber", &json!(["latest", false]))
}

/// Goal: an exported chain imports into the same chain, block for block; what is there is skipped.
#[test]
fn chains_are_exported_and_imported() {
    let place = Place::new("chain-file");
    let head = three_blocks(&place);
    let [genesis_file, made, file] = ["genesis.json", "made", "chain.rlp"].map(|it| place.path(it));

    let said = done(&["export", &file, "1", "--datadir", &made]);
    assert_eq!(said, "exported 3 blocks, #1 to #3\n");
    let taken = place.path("taken");
    let import = ["import", &file, "--datadir", &taken, "--chain", &genesis_file];
    let whole = format!("imported 3 blocks, head #3 {}, in ", head["hash"].as_str().expect("text"));
    assert!(done(&import).starts_with(&whole));
    assert!(done(&import[..4]).starts_with("imported 0 blocks, head #3 "));
    let again = place.path("again.rlp");
    done(&["export", &again, "0", "3", "--datadir", &taken]);
    let (first, second) = (fs::read(&file).expect("written"), fs::read(&again).expect("written"));
    assert!(second.ends_with(&first) && second.len() > first.len(), "the genesis comes before");
    assert!(done(&["db", "verify", "--datadir", &taken]).ends_with("ok\n"));
    let error = failed(&["export", &again, "2", "4", "--datadir", &taken]);
    assert!(error.contains("blocks 2 to 4 were asked for, the chain has 0 to 3"), "{error}");
    assert!(!Path::new(&place.path("again.rlp.part")).exists());

    let mut node = Devnet::start(&["--chain", &genesis_file, "--datadir", &taken, "--no-mining"]);
    let served = node.call("eth_getBlockByNumber", &json!(["latest", false]));
    assert_eq!((&served["hash"], &served["stateRoot"]), (&head["hash"], &head["stateRoot"]));
    let before = node.call("eth_getTransactionCount", &json!([ALICE, "0x1"]));
    assert_eq!(before, "0x1", "the past is there");
    assert_eq!(node.terminate(), Some(0));
}

/// Goal: an export replaces what it was asked to and nothing else, both files or none; blocks also
/// go down a pipe, alone. A file that cannot be written is named as it was asked for.
#[test]
fn an_export_writes_both_files_or_none() {
    let place = Place::new("chain-export");
    three_blocks(&place);
    let [made, file, genesis_file, part] =
        ["made", "chain.rlp", "exported.json", "chain.part"].map(|it| place.path(it));
    fs::write(&part, "another's").expect("it can be written");
    fs::write(&genesis_file, "old").expect("it can be written");
    let whole = ["export", &file, "--genesis", &genesis_file, "--datadir", &made];
    done(&whole);
    let blocks = fs::read(&file).expect("written");
    assert_eq!(fs::read_to_string(&part).expect("it stays"), "another's");

    let out = "/proc/self/fd/1";
    let piped = evenkeel(&["export", out, "--datadir", &made]);
    assert!(piped.status.success() && piped.stdout == blocks, "{:?}", piped.status);
    assert_eq!(piped.stderr, b"exported 4 blocks, #0 to #3\n");

    fs::write(&genesis_file, "old").expect("it can be written");
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["export", out, "--genesis", &genesis_file, "--datadir", &made])
        .stdout(writer)
        .output()
        .expect("the binary runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.starts_with("error: cannot write /proc/self/fd/1: Broken pipe"), "{error}");
    assert_eq!(fs::read_to_string(&genesis_file).expect("it stays"), "old");
    for name in ["made/../chain.rlp", "chain.rlp.part"] {
        let other = place.path(name);
        let error = failed(&["export", &file, "--genesis", &other, "--datadir", &made]);
        let expected = format!("the genesis cannot go to {other} and the blocks to {file}: ");
        assert!(error.contains(&expected), "{error}");
    }
    let nowhere = place.path("nowhere/chain.rlp");
    let error = failed(&["export", &nowhere, "--genesis", &genesis_file, "--datadir", &made]);
    assert!(error.contains(&format!("cannot write {nowhere}: No such file")), "{error}");
    let error = failed(&["export", &made, "--datadir", &made]);
    assert!(error.contains(&format!("cannot write {made}: Is a directory")), "{error}");
    assert_eq!(fs::read_to_string(&genesis_file).expect("it stays"), "old");
    assert_eq!(fs::read(&file).expect("it stays"), blocks);
    let names = fs::read_dir(place.path("")).expect("a folder").count();
    assert_eq!(names, 5, "made, genesis.json, chain.rlp, exported.json, chain.part");
}

/// Goal: what hinders an import from cleaning up does not hide why there is something to clean up.
/// Method: blocks from a pipe; while it waits for them, a file is put into the folder it made.
#[test]
fn an_import_that_cannot_clean_up_says_why_it_failed() {
    let place = Place::new("chain-unclean");
    let [pipe, genesis_file, made] = ["pipe", "genesis.json", "made"].map(|it| place.path(it));
    fs::write(&genesis_file, genesis(31_337).to_string()).expect("it can be written");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let import = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["import", &pipe, "--chain", &genesis_file, "--datadir", &made])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // Opened once it reads: the database is there by then.
    let mut blocks = fs::OpenOptions::new().write(true).open(&pipe).expect("it is read");
    fs::write(Path::new(&made).join("other"), "").expect("it can be written");
    blocks.write_all(&[0x83, 1, 2, 3]).expect("it is read");
    drop(blocks);
    let output = import.wait_with_output().expect("it ends");
    let error = String::from_utf8_lossy(&output.stderr);
    let expected = format!(
        "error: {pipe}: at byte 0: expected a list (a block), found byte 0x83; then cannot remove \
         {made}: Directory not empty"
    );
    assert!(error.starts_with(&expected), "{error}");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
}

/// Goal: at a broken block the import stops, says which it is, and keeps what came before; a file
/// of which nothing can be taken is refused and leaves no database; so are other chains.
#[test]
fn what_cannot_be_imported_is_named_and_leaves_nothing() {
    let place = Place::new("chain-broken");
    three_blocks(&place);
    let [genesis_file, made, file] = ["genesis.json", "made", "chain.rlp"].map(|it| place.path(it));
    let [broken, good, empty, none] =
        ["broken.rlp", "good", "empty", "none"].map(|it| place.path(it));
    done(&["export", &file, "--datadir", &made]);
    let all = fs::read(&file).expect("written");
    done(&["export", &file, "1", "--datadir", &made]);
    let first = fs::read(&file).expect("written");

    // Three of the same length: a byte of the second's state root is wrong.
    let mut wrong = first.clone();
    let length = first.len() / 3;
    let header = wrong[length..].windows(33).position(|word| word[0] == 0xa0).expect("a hash");
    wrong[length + header + 3 * 33 + 25] ^= 1;
    fs::write(&broken, &wrong).expect("it can be written");
    let error = failed(&["import", &broken, "--chain", &genesis_file, "--datadir", &good]);
    let second = format!("error: {broken}: at byte {length}: block 2 0x");
    assert!(error.starts_with(&second), "{error}");
    assert!(
        done(&["import", &file, "--datadir", &good]).starts_with("imported 2 blocks, head #3 ")
    );

    let mut other_genesis = all[..all.len() - first.len()].to_vec();
    let root = other_genesis.windows(33).position(|word| word[0] == 0xa0).expect("a hash");
    other_genesis[root + 1] ^= 1;
    fs::create_dir_all(&empty).expect("a folder");
    for (bytes, expected) in [
        (&first[..length - 9], "at byte 0: the file ends within a block: "),
        (&[], "the file is empty: expected blocks"),
        (&[0xc1, 0xc0], "at byte 0: not a block: rlp of its header: "),
        (&other_genesis, "not the genesis here, block 0 0x"),
        (&first[length..], "its parent, block 1 0x"),
    ] {
        fs::write(&broken, bytes).expect("it can be written");
        for datadir in [&empty, &none] {
            let error =
                failed(&["import", &broken, "--chain", &genesis_file, "--datadir", datadir]);
            assert!(error.contains(&broken) && error.contains(expected), "{error}");
        }
        assert!(fs::read_dir(&empty).expect("it stays").next().is_none());
        assert!(!Path::new(&none).exists());
    }

    let error = failed(&["import", &file, "--datadir", &none]);
    assert!(error.contains("--chain has to say"), "{error}");
    fs::write(&genesis_file, genesis(31_338).to_string()).expect("it can be written");
    let mut other = genesis(31_337);
    other["timestamp"] = json!("0x65000001");
    let error = failed(&["import", &file, "--chain", &genesis_file, "--datadir", &good]);
    let expected = format!("{genesis_file} is not the genesis of the database in {good}: ");
    assert!(error.contains(&expected), "{error}");
    assert!(error.contains("config.chainId is 31338 in the file, expected 31337 as"), "{error}");
    fs::write(&genesis_file, other.to_string()).expect("it can be written");
    let error = failed(&["import", &file, "--chain", &genesis_file, "--datadir", &none]);
    assert!(error.contains("a block of another chain: its parent is 0x"), "{error}");
}

/// Goal: what a devnet made of its flags goes to another machine in two files, also where blocks
/// share a second; an export says from where on nobody can follow.
#[test]
fn a_devnet_goes_to_another_machine() {
    let place = Place::new("chain-moves");
    let [made, taken] = ["made", "taken"].map(|it| place.path(it));
    let [file, genesis_file] = ["chain.rlp", "genesis.json"].map(|it| place.path(it));
    let flags = ["--accounts", "2", "--chain-id", "5", "--number", "7", "--datadir", &made];
    let mut node = Devnet::start(&flags);
    let head = three_transfers(&mut node);
    assert_eq!(node.terminate(), Some(0));
    let export = ["export", &file, "--genesis", &genesis_file, "--datadir", &made];
    assert_eq!(done(&export), "exported 4 blocks, #7 to #10\n");
    let said = done(&["import", &file, "--chain", &genesis_file, "--datadir", &taken]);
    let hash = head["hash"].as_str().expect("text");
    assert!(said.starts_with(&format!("imported 3 blocks, head #10 {hash}, ")), "{said}");

    let mut node = Devnet::start(&["--datadir", &made]);
    node.call("anvil_setBalance", &json!([ALICE, "0x1"]));
    node.call("evm_mine", &json!([]));
    assert_eq!(node.terminate(), Some(0));
    assert!(done(&export).contains("\nblock 11 begins with what the cheats before it changed"));
    let error = failed(&["import", &file, "--datadir", &taken]);
    assert!(error.contains("block 11 0x") && error.contains("invalid stateRoot"), "{error}");
}
