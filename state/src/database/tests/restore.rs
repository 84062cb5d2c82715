//! State files: what is dumped is restored.

use std::{
    collections::BTreeSet,
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use alloy_primitives::{Address, U256};
use evenkeel_chain::RevertTo;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    Database, Durable, Options, RestoreError, RestoreReport,
    change::{Account, ChangeSet},
    limits::SORT_RUN_BYTES,
    rows,
    store::{Family, Faults, Faulty, Memory, Range, Row, Store, Sync},
    testing::{Folder, Model, changes, execute, open, spec},
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
    restored_in_runs(text, SORT_RUN_BYTES)
}

fn restored_in_runs(
    text: &[u8],
    run_bytes: usize,
) -> Result<(Database, RestoreReport), RestoreError> {
    Database::restore_store(Arc::new(Memory::new()), &spec(1), text, run_bytes)
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

/// An account of a file: address, nonce, balance, slots.
type FileAccount = (u8, u64, u64, Vec<(u8, u8)>);

fn file_accounts() -> impl Strategy<Value = Vec<FileAccount>> {
    let slots = proptest::collection::vec((0..4_u8, 0..3_u8), 0..5);
    proptest::collection::vec((0..6_u8, 0..3_u64, 0..2_u64, slots), 0..24)
}

/// As text, since a map would take no address twice.
fn text_of(accounts: &[FileAccount]) -> String {
    let account = |(address, nonce, balance, slots): &FileAccount| {
        let slot = |(slot, value): &(u8, u8)| format!("\"{slot:#x}\":\"{value:#x}\"");
        let slots: Vec<String> = slots.iter().map(slot).collect();
        format!(
            "\"{address:#042x}\":{{\"nonce\":{nonce},\"balance\":\"{balance:#x}\",\
             \"storage\":{{{}}}}}",
            slots.join(",")
        )
    };
    let accounts: Vec<String> = accounts.iter().map(account).collect();
    format!("{{\"accounts\":{{{}}}}}", accounts.join(","))
}

/// The state after one account after the other.
fn model_of(accounts: &[FileAccount]) -> Model {
    let mut model = Model::genesis(&spec(1));
    for (address, nonce, balance, slots) in accounts {
        let address = Address::with_last_byte(*address);
        let mut changes = ChangeSet::default();
        let is_none = *nonce == 0 && *balance == 0 && slots.iter().all(|(_, value)| *value == 0);
        let former = model.accounts.get(&address).map_or(0, |former| former.nonce);
        let account = Account {
            nonce: former.max(*nonce),
            balance: U256::from(*balance),
            ..Account::default()
        };
        changes.accounts.insert(address, (!is_none).then_some(account));
        let slots = slots.iter().map(|(slot, value)| (U256::from(*slot), U256::from(*value)));
        changes.storage.entry(address).or_default().slots.extend(slots);
        model.apply(&changes);
    }
    model
}

proptest! {
    /// Goal: of an address or slot that comes twice, also in the genesis, the later holds, and an
    /// empty account takes all before it along; however little is sorted at once. Nothing of the
    /// sorting is left.
    #[test]
    fn the_later_holds(accounts in file_accounts(), values in 1..64_usize) {
        let (text, model) = (text_of(&accounts), model_of(&accounts));
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let run_bytes = values * 64;
        let restored =
            Database::restore_store(Arc::clone(&store), &spec(1), text.as_bytes(), run_bytes);
        let (database, _) = restored.expect("a whole file");
        let durable = database.durable();
        model.check(&durable.view);
        prop_assert_eq!(durable.trie.root(), model.root());
        let report = database.verify(&mut |_| {}).expect("it is read");
        prop_assert_eq!(report.faults, Vec::new());
        let all = Range { prefix: &[], from: &[], rows_max: 1 };
        prop_assert_eq!(store.snapshot().scan(Family::Sorting, all), Ok(Vec::new()));
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

/// Goal: a transaction of a block that is left out is found in the block that is kept.
#[test]
fn what_is_left_out_takes_no_transaction_along() {
    let mut file = file();
    let mut above = file["blocks"][2].clone();
    above["header"]["number"] = json!("0xa");
    file["blocks"].as_array_mut().expect("a list").push(above);
    let (database, report) = restored_json(&file).expect("a block above the head");
    assert_eq!((report.blocks_left_out, report.head), (1, 9));
    let chain = database.durable().chain;
    let head = chain.block(chain.head()).expect("it is read").expect("the head");
    let place = chain.transaction(*head.txs[1].hash()).expect("it is read");
    assert_eq!(place.map(|place| (place.height, place.index)), Some((chain.head(), 1)));
}

/// Blocks and receipts come before the first account.
fn blocks_first() -> String {
    let file = file();
    let field = |name: &str| format!("\"{name}\":{}", file[name]);
    let fields = ["transactions", "blocks", "best_block_number", "accounts"].map(field);
    format!("{{{}}}", fields.join(","))
}

/// Goal: G1. Whichever write of a load fails, the store takes the genesis of another chain, and
/// holds nothing else then.
#[test]
fn a_load_that_was_cut_off_leaves_nothing() {
    let all = |store: &dyn Store| -> Vec<Vec<Row>> {
        let range = Range { prefix: &[], from: &[], rows_max: usize::MAX };
        let rows = |family| store.snapshot().scan(family, range).expect("reads do not fail");
        Family::ALL.into_iter().map(rows).collect()
    };
    let other: Arc<dyn Store> = Arc::new(Memory::new());
    Database::open_store(Arc::clone(&other), &spec(2), Sync::Yes).expect("memory works");
    let text = blocks_first();
    for fail_at in 0.. {
        let faults = Faults { seed: fail_at, fail_at_write: Some(fail_at) };
        let store = Arc::new(Faulty::new(faults));
        let load = Arc::clone(&store) as Arc<dyn Store>;
        let done = Database::restore_store(load, &spec(1), text.as_bytes(), 64);
        if done.is_ok() {
            assert!(fail_at > 8, "{fail_at} writes are too few to test anything");
            return;
        }
        let store: Arc<dyn Store> =
            Arc::new(store.crash(Faults { seed: !fail_at, fail_at_write: None }));
        let head = store.snapshot().get(Family::Meta, rows::META_HEAD);
        if head.expect("reads do not fail").is_some() {
            // The last write reached the disk nevertheless.
            continue;
        }
        Database::open_store(Arc::clone(&store), &spec(2), Sync::Yes).expect("it takes another");
        assert!(all(store.as_ref()) == all(other.as_ref()), "cut off at write {fail_at}");
    }
}

/// A text that is wanted no more once so much of it was read.
struct Unwanted<'a> {
    text: &'a [u8],
    left: usize,
    is_stopped: &'a AtomicBool,
}

impl Read for Unwanted<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let count = to.len().min(self.left.max(1));
        let count = self.text.read(&mut to[..count])?;
        self.left = self.left.saturating_sub(count);
        self.is_stopped.store(self.left == 0, Ordering::Relaxed);
        Ok(count)
    }
}

/// Goal: a load that is stopped, early or with the whole file read, leaves no datadir, but for a
/// folder that was there; the next one is not hindered.
#[test]
fn a_load_that_is_stopped_leaves_nothing() {
    let text = blocks_first();
    for (left, was_there) in [(text.len() / 2, false), (text.len(), false), (text.len(), true)] {
        let folder = Folder::new();
        if was_there {
            std::fs::create_dir_all(folder.path()).expect("a folder");
        }
        let options = Options { path: Some(folder.path().to_owned()), ..Options::default() };
        let is_stopped = AtomicBool::new(false);
        let source = Unwanted { text: text.as_bytes(), left, is_stopped: &is_stopped };
        let error = Database::restore(&options, &spec(1), source, &is_stopped).err();
        assert!(matches!(error, Some(RestoreError::Stopped)), "{error:?}");
        assert_eq!(folder.path().exists(), was_there);
        if was_there {
            let mut left = std::fs::read_dir(folder.path()).expect("it is read");
            assert!(left.next().is_none(), "it is as empty as before");
        }
        is_stopped.store(false, Ordering::Relaxed);
        let done = Database::restore(&options, &spec(2), text.as_bytes(), &is_stopped);
        assert_eq!(done.expect("a whole file").1.head, 9);
    }
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
