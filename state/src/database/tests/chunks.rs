//! Single transactions and receipts, and whole blocks in steps.

use std::sync::Arc;

use alloy_consensus::{TxEip1559, TxLegacy, TxType};
use alloy_primitives::{Address, B256, Bytes, Log, TxKind, U256};
use evenkeel_chain::{Height, Receipt, RecoveredTx, SealedBlock, TypedTransaction};
use proptest::prelude::*;

use crate::{
    ChainReader, ChangeSet, PlacedReceipt, TxLocation,
    limits::CHUNK_BYTES,
    store::{Memory, Rocks, Store},
    testing::{Folder, execute_txs, open},
};

/// Lengths that fill a chunk with many items, with few, or with less than one.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        8 => 0..100_usize,
        3 => 0..3_000_usize,
        1 => CHUNK_BYTES - 200..CHUNK_BYTES + 200,
        1 => CHUNK_BYTES..3 * CHUNK_BYTES,
    ]
}

/// A transaction and its receipt, but for nonce and gas.
type Item = (bool, bool, usize, Vec<(usize, usize)>);

fn item() -> impl Strategy<Value = Item> {
    let logs = proptest::collection::vec((0..=4_usize, length()), 0..4);
    (any::<bool>(), any::<bool>(), length(), logs)
}

fn transaction(nonce: u64, salt: u8, item: &Item) -> Arc<RecoveredTx> {
    let input = Bytes::from(vec![salt; item.2]);
    let to = TxKind::Call(Address::with_last_byte(salt));
    let tx: TypedTransaction = if item.0 {
        TxEip1559 { chain_id: 1, nonce, to, input, ..Default::default() }.into()
    } else {
        TxLegacy { nonce, to, input, ..Default::default() }.into()
    };
    RecoveredTx::impersonated(tx, Address::with_last_byte(9))
}

fn receipt(cumulative_gas_used: u64, item: &Item) -> Receipt {
    let log = |(topics, bytes): &(usize, usize)| {
        let topics = (0..*topics).map(|n| B256::from(U256::from(n))).collect();
        Log::new_unchecked(Address::with_last_byte(5), topics, vec![7; *bytes].into())
    };
    Receipt {
        tx_type: if item.0 { TxType::Eip1559 } else { TxType::Legacy },
        success: item.1,
        post_state: (cumulative_gas_used % 2 == 1).then(|| B256::with_last_byte(5)),
        cumulative_gas_used,
        logs: item.3.iter().map(log).collect(),
    }
}

/// What a chain must say: blocks with their receipts, from the one above the first.
type Blocks = Vec<(Arc<SealedBlock>, Arc<Vec<Receipt>>)>;

/// Compares every single read with the same element of the whole.
fn check(chain: &ChainReader, blocks: &Blocks) {
    for (block, receipts) in blocks {
        let height = block.height();
        let (mut gas_before, mut logs_before) = (0, 0);
        for (index, tx) in block.txs.iter().enumerate() {
            let at = TxLocation { height, index: index as u64 };
            assert_eq!(chain.transaction(*tx.hash()).expect("it works"), Some(at));
            let mined = chain.mined(at).expect("it works").expect("it is there");
            assert_eq!((&mined.tx, mined.index), (tx, at.index));
            assert_eq!((mined.header.hash, &mined.header.header), (block.hash, &block.header));
            let expected =
                PlacedReceipt { receipt: receipts[index].clone(), gas_before, logs_before };
            assert_eq!(chain.receipt(at).expect("it works"), Some(expected));
            gas_before = receipts[index].cumulative_gas_used;
            logs_before += receipts[index].logs.len() as u64;
        }
        for index in [block.txs.len() as u64, u64::MAX] {
            let at = TxLocation { height, index };
            assert!(chain.mined(at).expect("it works").is_none());
            assert!(chain.receipt(at).expect("it works").is_none());
        }
    }
    for height in [chain.genesis(), chain.head().next(), Height::new(0)] {
        let at = TxLocation { height, index: 0 };
        assert!(chain.mined(at).expect("it works").is_none());
        assert!(chain.receipt(at).expect("it works").is_none());
    }
    for (block, receipts) in blocks {
        let mut reading = chain.read_block(block.height()).expect("it works").expect("it is there");
        let (found, steps) = steps(|| reading.step().expect("it works"));
        assert_eq!(&found, block);
        assert!(steps <= block.txs.len() + 1);
        let reading = chain.read_receipts(block.height()).expect("it works");
        let mut reading = reading.expect("it is there");
        assert_eq!(&steps_of(|| reading.step().expect("it works")), receipts);
        // And once more, from the cache.
        assert_eq!(chain.block(block.height()).expect("it works").as_ref(), Some(block));
        assert_eq!(chain.receipts(block.height()).expect("it works").as_ref(), Some(receipts));
    }
}

/// Steps to the end, which is counted.
fn steps<T>(mut step: impl FnMut() -> Option<T>) -> (T, usize) {
    for number in 1.. {
        if let Some(found) = step() {
            return (found, number);
        }
    }
    unreachable!("the loop has no end");
}

fn steps_of<T>(step: impl FnMut() -> Option<T>) -> T {
    steps(step).0
}

fn run(store: &Arc<dyn Store>, items: &[Vec<Item>]) {
    let mut database = open(store);
    let mut blocks = Blocks::new();
    for (salt, items) in (1_u8..).zip(items) {
        let txs = (0..).zip(items).map(|(nonce, item)| transaction(nonce, salt, item)).collect();
        let gas = (1..).map(|number| 21_000 * number);
        let receipts = gas.zip(items).map(|(gas, item)| receipt(gas, item)).collect();
        let executed = execute_txs(&database.tip(), &ChangeSet::default(), txs, receipts);
        database.commit(std::slice::from_ref(&executed)).expect("in order");
        blocks.push((Arc::clone(&executed.block), Arc::clone(&executed.receipts)));
    }
    check(&database.durable().chain, &blocks);
    let database = open(store);
    check(&database.durable().chain, &blocks);
    let report = database.verify(&mut |_| {}).expect("the store works");
    assert_eq!(report.faults, []);
}

fn all_items() -> impl Strategy<Value = Vec<Vec<Item>>> {
    proptest::collection::vec(proptest::collection::vec(item(), 0..60), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Goal: a transaction and a receipt read alone are those of the whole block, with the gas and
    /// logs before them, whatever their sizes do to the chunks; from the cache, from the rows and
    /// after a restart; outside of the block there are none.
    #[test]
    fn single_reads_are_those_of_the_whole_in_memory(items in all_items()) {
        run(&(Arc::new(Memory::new()) as _), &items);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// The same on disk.
    #[test]
    fn single_reads_are_those_of_the_whole_on_disk(items in all_items()) {
        let folder = Folder::new();
        run(&(Arc::new(Rocks::open(folder.path(), 0).expect("it opens")) as _), &items);
    }
}

/// Goal: one read of a large block decodes one chunk, and a step no more than that.
/// Method: 4,000 transfers; the rows are counted and measured.
#[test]
fn a_large_block_is_read_in_small_pieces() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let items: Vec<Item> = vec![(true, true, 0, Vec::new()); 4_000];
    run(&store, &[items]);
    let mut rows = Vec::new();
    for family in [crate::store::Family::Bodies, crate::store::Family::Receipts] {
        let prefix = crate::rows::height_key(open(&store).durable().height());
        let visit = |_: &[u8], row: &[u8]| {
            rows.push(row.len());
            Ok::<(), crate::StoreError>(())
        };
        crate::store::for_each(store.snapshot().as_ref(), family, &prefix, visit)
            .expect("it works");
    }
    assert!(rows.iter().all(|bytes| *bytes <= CHUNK_BYTES), "{rows:?}");
    // Not one row per transaction either.
    assert!(rows.len() < 4_000 / 20, "{} rows", rows.len());
}
