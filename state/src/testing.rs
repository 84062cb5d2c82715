//! What tests of this crate share: a chain of made-up blocks over any store, and a plain model of
//! its states.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use alloy_primitives::{Address, B256, Bytes, Log, U256, keccak256};
use alloy_trie::{TrieAccount, root};
use evenkeel_chain::{
    ChainSpec, DevOptions, Fork, Header, Receipt, RecoveredTx, SealedBlock, TypedTransaction,
    logs_bloom, receipts_root, transactions_root, withdrawals_root,
};
use proptest::prelude::*;

use crate::{
    Account, AccountSearch, ChangeSet, Database, ExecutedBlock, SlotSearch, StorageChange, Tip,
    TrieStep, View,
    store::{Store, Sync},
};

/// A folder of this test process, removed when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("evenkeel-state-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The operating system cleans its folder of temporary files if this fails.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A state as plain maps: what the database is compared with.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) accounts: BTreeMap<Address, Account>,
    pub(crate) slots: BTreeMap<Address, BTreeMap<U256, U256>>,
}

impl Model {
    pub(crate) fn genesis(spec: &ChainSpec) -> Self {
        let mut model = Self::default();
        for (&address, genesis) in spec.genesis_alloc() {
            let code_hash = genesis.code.as_ref().map_or(Account::default().code_hash, keccak256);
            let nonce = genesis.nonce.unwrap_or(0);
            model.accounts.insert(address, Account { nonce, balance: genesis.balance, code_hash });
            let slots = genesis.storage.iter().flatten().filter(|(_, value)| !value.is_zero());
            let slots = slots.map(|(&slot, &value)| (slot.into(), value.into()));
            let slots: BTreeMap<U256, U256> = slots.collect();
            if !slots.is_empty() {
                model.slots.insert(address, slots);
            }
        }
        model
    }

    pub(crate) fn apply(&mut self, changes: &ChangeSet) {
        for (address, account) in &changes.accounts {
            if let Some(account) = account {
                self.accounts.insert(*address, *account);
            } else {
                self.accounts.remove(address);
                self.slots.remove(address);
            }
        }
        for (address, change) in &changes.storage {
            if changes.is_dead(*address) {
                continue;
            }
            let slots = self.slots.entry(*address).or_default();
            if change.is_wiped {
                slots.clear();
            }
            slots.extend(&change.slots);
            slots.retain(|_, value| !value.is_zero());
            if slots.is_empty() {
                self.slots.remove(address);
            } else {
                self.accounts.entry(*address).or_default();
            }
        }
    }

    pub(crate) fn storage_root(&self, address: Address) -> B256 {
        let slots = self.slots.get(&address).into_iter().flatten();
        root::storage_root_unhashed(slots.map(|(&slot, &value)| (B256::from(slot), value)))
    }

    pub(crate) fn root(&self) -> B256 {
        root::state_root_unhashed(self.accounts.iter().map(|(&address, account)| {
            let account = TrieAccount {
                nonce: account.nonce,
                balance: account.balance,
                storage_root: self.storage_root(address),
                code_hash: account.code_hash,
            };
            (address, account)
        }))
    }

    /// Compares every key that any test touches.
    pub(crate) fn check(&self, view: &View) {
        assert_eq!(self.difference(view), None);
    }

    /// The first key of which the view says something else.
    pub(crate) fn difference(&self, view: &View) -> Option<String> {
        for address in addresses() {
            let found = first_account(view, address);
            let expected = self.accounts.range(address..).next().map(|(at, it)| (*at, *it));
            if found != expected {
                return Some(format!("from {address} on: {found:?}, not {expected:?}"));
            }
            let account = view.account(address).expect("the store works");
            let expected = self.accounts.get(&address).copied();
            if account != expected {
                return Some(format!("{address}: {account:?}, not {expected:?}"));
            }
            for slot in slots() {
                let expected = self.slots.get(&address).and_then(|slots| slots.get(&slot));
                let expected = expected.copied().unwrap_or_default();
                let found = view.storage(address, slot).expect("the store works");
                if found != expected {
                    return Some(format!("{address} slot {slot}: {found}, not {expected}"));
                }
                let set = self.slots.get(&address);
                let expected = set.and_then(|set| set.range(slot..).next()).map(|(slot, _)| *slot);
                let found = first_slot(view, address, slot);
                if found != expected {
                    return Some(format!("{address} from {slot} on: {found:?}, not {expected:?}"));
                }
            }
        }
        None
    }
}

/// The first account from `from` on, searched to the end.
fn first_account(view: &View, mut from: Address) -> Option<(Address, Account)> {
    loop {
        match view.search_account(from).expect("the store works") {
            AccountSearch::Found(address, account) => return Some((address, account)),
            AccountSearch::Nothing => return None,
            AccountSearch::Unfinished(next) => {
                assert!(next > from, "a search goes on");
                from = next;
            }
        }
    }
}

/// The first slot from `from` on that is set, searched to the end.
fn first_slot(view: &View, address: Address, mut from: U256) -> Option<U256> {
    loop {
        match view.search_storage(address, from).expect("the store works") {
            SlotSearch::Found(slot) => return Some(slot),
            SlotSearch::Nothing => return None,
            SlotSearch::Unfinished(next) => {
                assert!(next > from, "a search goes on");
                from = next;
            }
        }
    }
}

/// The addresses that random changes touch.
pub(crate) fn addresses() -> impl Iterator<Item = Address> {
    (0..24_u8).map(Address::with_last_byte)
}

/// The slots that random changes touch.
fn slots() -> impl Iterator<Item = U256> {
    (0..16_u64).map(U256::from)
}

/// Random changes: inserts, updates, deletes, wipes, deaths.
pub(crate) fn changes() -> impl Strategy<Value = ChangeSet> {
    let account = prop_oneof![
        4 => (0..4_u64, 0..1_000_u64, 0..3_u8).prop_map(|(nonce, balance, code)| Some(Account {
            nonce,
            balance: U256::from(balance),
            code_hash: if code == 0 { keccak256([code]) } else { Account::default().code_hash },
        })),
        1 => Just(None),
    ];
    let address = (0..24_u8).prop_map(Address::with_last_byte);
    let slots = proptest::collection::btree_map(
        (0..16_u64).prop_map(U256::from),
        (0..3_u64).prop_map(U256::from),
        0..12,
    );
    let storage = (proptest::bool::weighted(0.2), slots)
        .prop_map(|(is_wiped, slots)| StorageChange { is_wiped, slots });
    (
        proptest::collection::btree_map(address.clone(), account, 0..16),
        proptest::collection::btree_map(address, storage, 0..6),
    )
        .prop_map(|(accounts, storage)| {
            let codes = BTreeMap::from([(keccak256([0]), Bytes::from(vec![0]))]);
            ChangeSet { accounts, storage, codes }
        })
}

/// A dev chain whose first block is not at zero.
pub(crate) fn spec(chain_id: u64) -> ChainSpec {
    ChainSpec::dev(&DevOptions {
        chain_id,
        fork: Fork::Osaka,
        number: 7,
        accounts: vec![(Address::with_last_byte(3), U256::from(1_000_000))],
        ..DevOptions::default()
    })
}

pub(crate) fn open(store: &Arc<dyn Store>) -> Database {
    Database::open_store(Arc::clone(store), &spec(1), Sync::Yes).expect("it opens")
}

/// A block on `tip` that makes `changes`, with two transactions whose hashes depend on `salt`.
pub(crate) fn execute(tip: &Tip, changes: &ChangeSet, salt: u64) -> Arc<ExecutedBlock> {
    let txs = (0..2).map(|nonce| transaction(nonce, salt, tip.hash)).collect();
    execute_txs(tip, changes, txs, (1..=2).map(receipt).collect())
}

/// A block on `tip` with these transactions and receipts, that makes `changes`.
pub(crate) fn execute_txs(
    tip: &Tip,
    changes: &ChangeSet,
    txs: Vec<Arc<RecoveredTx>>,
    receipts: Vec<Receipt>,
) -> Arc<ExecutedBlock> {
    let mut all = ChangeSet::default();
    for diff in &tip.diffs {
        all.merge(diff);
    }
    all.merge(changes);
    let all = Arc::new(all);
    let mut update = tip.trie.update(&all);
    let (root, trie, nodes) = loop {
        if let TrieStep::Done { root, trie, nodes } = update.step(7).expect("it is all there") {
            break (root, trie, nodes);
        }
    };
    let withdrawals = Vec::new();
    let header = Header {
        parent_hash: tip.hash,
        number: tip.header.number + 1,
        state_root: root,
        transactions_root: transactions_root(&txs),
        receipts_root: receipts_root(&receipts),
        logs_bloom: logs_bloom(&receipts),
        withdrawals_root: Some(withdrawals_root(&withdrawals)),
        ..tip.header.as_ref().clone()
    };
    let block = SealedBlock::seal(header, txs, Vec::new(), Some(withdrawals));
    Arc::new(ExecutedBlock {
        block: Arc::new(block),
        receipts: Arc::new(receipts),
        changes: all,
        trie,
        nodes,
    })
}

fn transaction(nonce: u64, salt: u64, parent: B256) -> Arc<RecoveredTx> {
    let tx = alloy_consensus::TxEip1559 {
        chain_id: 1,
        nonce,
        gas_limit: salt,
        input: Bytes::copy_from_slice(parent.as_slice()),
        ..Default::default()
    };
    RecoveredTx::impersonated(TypedTransaction::Eip1559(tx), Address::with_last_byte(9))
}

fn receipt(number: u64) -> Receipt {
    let topic = B256::with_last_byte(1);
    let log = Log::new_unchecked(Address::with_last_byte(5), vec![topic], vec![1, 2, 3].into());
    Receipt {
        tx_type: alloy_consensus::TxType::Eip1559,
        success: number == 1,
        post_state: number.is_multiple_of(3).then(|| B256::repeat_byte(7)),
        cumulative_gas_used: 21_000 * number,
        logs: if number == 1 { vec![log] } else { Vec::new() },
    }
}
