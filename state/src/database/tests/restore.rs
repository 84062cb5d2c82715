//! State files: what is dumped is restored.

use std::{collections::BTreeSet, sync::Arc};

use alloy_primitives::{Address, U256};
use evenkeel_chain::RevertTo;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    Database, Durable, RestoreError, RestoreReport,
    change::{Account, ChangeSet},
    store::{Memory, Store},
    testing::{Model, changes, execute, open, spec},
};

/// Changes that leave no empty account behind: since EIP-161 there are none.
fn never_empty() -> impl Strategy<Value = ChangeSet> {
    changes().prop_map(|mut changes| {
        let touched: BTreeSet<_> = changes.storage.keys().copied().collect();
        for address in touched {
            changes.accounts.entry(address).or_insert(Some(Account::default()));
        }
        for account in changes.accounts.values_mut().flatten() {
            account.nonce += 1;
        }
        changes
    })
}

fn dumped(durable: &Durable) -> Vec<u8> {
    let mut dump = durable.dump(&Arc::new(spec(1)));
    let mut text = Vec::new();
    while dump.step(&mut text).expect("the store works") {}
    text
}

fn restored(text: &[u8]) -> Result<(Database, RestoreReport), RestoreError> {
    Database::restore_store(Arc::new(Memory::new()), &spec(1), text)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Goal: a chain that is dumped and restored has the same state, with its cheats, the same
    /// blocks and receipts under the same hashes; it verifies, and its dump is the same.
    #[test]
    fn what_is_dumped_is_restored(
        blocks in proptest::collection::vec(never_empty(), 0..5),
        cheats in proptest::collection::vec(never_empty(), 0..3),
    ) {
        let mut model = Model::genesis(&spec(1));
        let mut database = open(&(Arc::new(Memory::new()) as Arc<dyn Store>));
        for (salt, changes) in blocks.iter().enumerate() {
            let block = execute(&database.tip(), changes, salt as u64);
            database.commit(&[block]).expect("it is the next");
            model.apply(changes);
        }
        for changes in cheats {
            model.apply(&changes);
            database.commit_diff(&Arc::new(changes)).expect("the store works");
        }
        let before = database.durable();
        let text = dumped(&before);

        let (database, report) = restored(&text).expect("our own file");
        let after = database.durable();
        model.check(&after.view);
        prop_assert_eq!(after.trie.root(), model.root());
        prop_assert_eq!((after.hash, report.blocks), (before.hash, 1 + blocks.len() as u64));
        let heights = before.chain.genesis().get()..=before.chain.head().get();
        for height in heights.map(evenkeel_chain::Height::new) {
            prop_assert_eq!(after.chain.block(height), before.chain.block(height));
            prop_assert_eq!(after.chain.receipts(height), before.chain.receipts(height));
        }
        prop_assert_eq!(database.verify(&mut |_| {}).expect("it is read").faults, Vec::new());
        prop_assert_eq!(dumped(&after), text);
    }
}

/// Goal: an account of the genesis that is gone stays gone, also if a cheat named its slots.
#[test]
fn what_is_gone_stays_gone() {
    let mut database = open(&(Arc::new(Memory::new()) as Arc<dyn Store>));
    let rich = Address::with_last_byte(3);
    let mut gone = ChangeSet::default();
    gone.accounts.insert(rich, None);
    gone.storage.entry(rich).or_default().slots.insert(U256::ZERO, U256::ZERO);
    let durable = database.commit_diff(&Arc::new(gone)).expect("the store works");
    let (restored, _) = restored(&dumped(&durable)).expect("our own file");
    assert_eq!(restored.durable().view.account(rich), Ok(None));
}

/// A chain of three blocks as JSON.
fn file() -> Value {
    let mut database = open(&(Arc::new(Memory::new()) as Arc<dyn Store>));
    for salt in 0..2 {
        let block = execute(&database.tip(), &ChangeSet::default(), salt);
        database.commit(&[block]).expect("it is the next");
    }
    serde_json::from_slice(&dumped(&database.durable())).expect("JSON")
}

fn restored_json(file: &Value) -> Result<(Database, RestoreReport), RestoreError> {
    restored(file.to_string().as_bytes())
}

/// Goal: blocks and receipts may come in any order; blocks below a gap and above the head are left
/// out; a chain goes on from a restored head, and back to it.
#[test]
fn blocks_need_no_order() {
    let mut file = file();
    let expected = restored_json(&file).expect("a whole file").0.durable();
    for list in ["blocks", "transactions"] {
        file[list].as_array_mut().expect("a list").reverse();
    }
    let (mut database, _) = restored_json(&file).expect("another order");
    let head = database.durable();
    assert_eq!(head.hash, expected.hash);
    assert_eq!(head.chain.receipts(head.height()), expected.chain.receipts(head.height()));
    assert_eq!(head.chain.oldest_state(), head.height());
    assert!(head.chain.view_at(head.chain.genesis()).expect("it is read").is_none());

    let block = execute(&database.tip(), &ChangeSet::default(), 7);
    database.commit(&[block]).expect("it is the next");
    let (back, _) =
        database.revert(RevertTo::Mark(u64::MAX)).expect("the store works").expect("always there");
    assert_eq!(back.hash, head.hash, "there is nothing below it to go back to");

    // Its numbers are 7, 8 and 9.
    file["blocks"].as_array_mut().expect("a list").remove(1);
    let (database, report) = restored_json(&file).expect("a gap");
    assert_eq!((report.blocks, report.blocks_left_out, report.head), (1, 1, 9));
    assert_eq!(database.durable().chain.genesis().get(), 9);
    file["best_block_number"] = json!(7);
    let (_, report) = restored_json(&file).expect("an earlier head");
    assert_eq!((report.blocks, report.blocks_left_out, report.head), (1, 1, 7));
}

/// Goal: a file may lack blocks, receipts and whatever else older versions do not have; what it
/// says and does not have is an error.
#[test]
fn what_is_missing_is_told() {
    let mut file = file();
    file["historical_states"] = json!([]);
    file["transactions"].as_array_mut().expect("a list").pop();
    let (database, report) = restored_json(&file).expect("a receipt is missing");
    assert_eq!((report.blocks_without_receipts, report.head), (1, 9));
    assert_eq!(report.fields_left_out, ["historical_states"]);
    let head = database.durable();
    let block = head.chain.block(head.height()).expect("it is read").expect("the head");
    assert_eq!((block.txs.len(), block.hash), (0, head.hash));
    file["best_block_number"] = json!(10);
    let error = restored_json(&file).err().expect("there is no block 10").to_string();
    assert_eq!(error, "best_block_number: the file has no block 10");

    file["blocks"] = json!([]);
    let (database, report) = restored_json(&file).expect("no blocks");
    assert_eq!((report.blocks, report.head), (1, 10));
    assert_eq!(database.durable().header.state_root, database.durable().trie.root());
    let (database, _) = restored(br#"{"accounts":{}}"#).expect("the least there is");
    assert_eq!(database.durable().height().get(), 7);
}
