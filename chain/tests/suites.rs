//! Third-party data, when it lies unpacked in `target/suites`: chains of hive and execution-apis,
//! transactions of ethereum/tests. Without it each test says so and passes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rlp::Header as RlpHeader;
use alloy_trie::root::state_root_unhashed;
use evenkeel_chain::{
    ChainSpec, Fork, Height, RecoveredTx, SealedBlock, TxDecodeError, check_header, intrinsic_gas,
    limits::INIT_CODE_BYTES_MAX,
};
use serde_json::Value;

fn suite(path: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/suites").join(path);
    if root.exists() {
        return Some(root);
    }
    eprintln!("SKIPPED: {} is not there", root.display());
    None
}

fn read_spec(dir: &Path) -> ChainSpec {
    let text = fs::read_to_string(dir.join("genesis.json")).expect("the suite has a genesis");
    ChainSpec::from_genesis_json(&text).expect("the genesis of a suite")
}

/// Goal: all of a real chain passes our rules: links, header rules, bodies, signatures, and the
/// exact bytes again; a fork every three blocks from Homestead to BPO2, and ommers.
fn check_chain(dir: &Path) -> (usize, usize) {
    let spec = read_spec(dir);
    let alloc = spec.genesis_alloc().iter();
    let root = state_root_unhashed(alloc.map(|(a, acc)| (*a, acc.clone().into_trie_account())));
    let mut parent = spec.genesis_header(root);
    let chain = fs::read(dir.join("chain.rlp")).expect("the suite has a chain");
    let (mut blocks, mut txs, mut rest) = (0, 0, chain.as_slice());
    while !rest.is_empty() {
        let mut payload = rest;
        let header = RlpHeader::decode(&mut payload).expect("blocks one after the other");
        let length = rest.len() - payload.len() + header.payload_length;
        let (raw, after) = rest.split_at(length);
        rest = after;

        let block = SealedBlock::decode_rlp(raw).expect("a block");
        check_header(&spec, &parent, &block.header)
            .unwrap_or_else(|error| panic!("block {}: {error}", block.header.number));
        let block = block.recover().expect("signed transactions");
        block.check_body().unwrap_or_else(|error| panic!("block {}: {error}", block.height()));
        assert_eq!(block.size_bytes(), raw.len());
        assert_eq!(block.encode_rlp(), raw);
        let fork = spec.fork_at(block.height(), block.header.timestamp);
        for tx in &block.txs {
            assert!(intrinsic_gas(tx.tx(), fork).required() <= tx.gas_limit());
        }
        blocks += 1;
        txs += block.txs.len();
        parent = block.header;
    }
    (blocks, txs)
}

#[test]
fn every_block_of_execution_apis_follows_its_parent() {
    let Some(dir) = suite("execution-apis/tests") else { return };
    let (blocks, txs) = check_chain(&dir);
    assert!(blocks >= 54 && txs > 0, "{blocks} blocks, {txs} transactions");
    let spec = read_spec(&dir);
    assert_eq!(spec.fork_at(Height::new(54), 540), Fork::Bpo2);
}

#[test]
fn every_block_of_hive_follows_its_parent() {
    let Some(dir) = suite("hive/sync-chain") else { return };
    assert_eq!(check_chain(&dir).0, 3_000);
}

/// Goal: hash, sender and intrinsic gas are those of ethereum/tests at every fork; what they call
/// invalid at the latest fork is refused by one of our checks.
#[test]
fn transactions_are_what_ethereum_tests_say() {
    let Some(dir) = suite("ethereum-tests/TransactionTests") else { return };
    let mut checked = 0;
    for kind in fs::read_dir(dir).expect("a folder of folders") {
        for file in fs::read_dir(kind.expect("an entry").path()).expect("a folder of files") {
            let path = file.expect("an entry").path();
            let text = fs::read_to_string(&path).expect("a test file");
            let tests: Value = serde_json::from_str(&text).expect("JSON");
            for (name, test) in tests.as_object().expect("tests by name") {
                let raw: Bytes = field(test, "txbytes");
                for (fork, result) in test["result"].as_object().expect("results by fork") {
                    check_transaction(name, &raw, fork, result);
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 500, "{checked} results");
}

fn field<T: serde::de::DeserializeOwned>(test: &Value, name: &str) -> T {
    serde_json::from_value(test[name].clone()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn check_transaction(name: &str, raw: &Bytes, fork: &str, expected: &Value) {
    let fork = match fork {
        "EIP150" => Fork::Tangerine,
        "EIP158" => Fork::SpuriousDragon,
        "ConstantinopleFix" => Fork::Petersburg,
        other => other.parse().unwrap_or_else(|error| panic!("{name}: {error}")),
    };
    let found = validate(raw, fork);
    if expected.get("exception").is_some() {
        assert!(found.is_none(), "{name} at {fork}: {expected}");
        return;
    }
    let Some((hash, sender, gas)) = found else {
        // Known limit: prices are 128 bits wide, as in alloy; no balance pays more for 21,000 gas.
        if RecoveredTx::decode(raw) == Err(TxDecodeError::Rlp(alloy_rlp::Error::Overflow)) {
            return;
        }
        let error = RecoveredTx::decode(raw);
        panic!("{name} at {fork}: refused, but {expected}: {error:?}");
    };
    assert_eq!(hash, field::<B256>(expected, "hash"), "{name} at {fork}");
    assert_eq!(sender, field::<Address>(expected, "sender"), "{name} at {fork}");
    assert_eq!(U256::from(gas), field::<U256>(expected, "intrinsicGas"), "{name} at {fork}");
}

/// The stateless checks of admission, on mainnet.
fn validate(raw: &[u8], fork: Fork) -> Option<(B256, Address, u64)> {
    let tx = RecoveredTx::decode(raw).ok()?.recover_at(fork).ok()?;
    let since = match tx.tx_type() as u8 {
        0 => Fork::Frontier,
        1 => Fork::Berlin,
        2 => Fork::London,
        _ => Fork::Prague,
    };
    let gas = intrinsic_gas(tx.tx(), fork).gas;
    let is_init_code_too_big =
        tx.is_create() && fork >= Fork::Shanghai && tx.input().len() > INIT_CODE_BYTES_MAX;
    let is_valid = fork >= since
        && tx.chain_id().is_none_or(|id| id == 1 && fork >= Fork::SpuriousDragon)
        && gas <= tx.gas_limit()
        && !is_init_code_too_big
        && tx.nonce() < u64::MAX
        && tx.max_priority_fee_per_gas() <= tx.max_fee_per_gas()
        && U256::from(tx.gas_limit()).checked_mul(U256::from(tx.max_fee_per_gas())).is_some();
    is_valid.then(|| (*tx.hash(), tx.sender(), gas))
}
