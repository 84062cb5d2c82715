//! Time to take a state of many accounts from block to block: trie update and durable commit.
//!
//! Question: can the state keep up with blocks of 5,000 transfers a second? Budget: a few tens of
//! milliseconds a block, off the workers but for the trie update, which is sliced.
//!
//! `cargo run --release -p evenkeel-state --example commit_bench [folder]`

#![expect(clippy::disallowed_methods, reason = "a bench reads the real clock")]
#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::{Address, U256, keccak256};
use evenkeel_chain::{ChainSpec, DevOptions, Header, SealedBlock};
use evenkeel_state::{
    Account, ChangeSet, Database, ExecutedBlock, Options, StorageChange, Tip, TrieStep,
};

const ACCOUNTS: u64 = 50_000;
const BLOCKS: u64 = 40;

type Failure = Box<dyn std::error::Error>;

fn address(number: u64) -> Address {
    Address::from_word(keccak256(number.to_be_bytes()))
}

/// Changes of one block: `accounts` of the first `among` get a new nonce and balance, and a token
/// contract as many slots.
fn changes(block: u64, accounts: u64, among: u64, has_token: bool) -> ChangeSet {
    let mut changes = ChangeSet::default();
    let mut token = StorageChange::default();
    for number in 0..accounts {
        let chosen = (block * 7_919 + number * 13) % among;
        let account = Account {
            nonce: block,
            balance: U256::from(10).pow(U256::from(18)) * U256::from(block + number + 1),
            ..Account::default()
        };
        changes.accounts.insert(address(chosen), Some(account));
        let slot = U256::from_be_bytes(keccak256(chosen.to_le_bytes()).0);
        token.slots.insert(slot, U256::from(block + 1));
    }
    if has_token {
        let contract = address(u64::MAX);
        changes.accounts.insert(contract, Some(Account { nonce: 1, ..Account::default() }));
        changes.storage.insert(contract, token);
    }
    changes
}

struct Spent {
    trie: Duration,
    slices: u32,
    slowest_slice: Duration,
    nodes: usize,
}

fn execute(tip: &Tip, changes: ChangeSet) -> Result<(Arc<ExecutedBlock>, Spent), Failure> {
    const SLICE_NODES: usize = 64;
    let changes = Arc::new(changes);
    let start = Instant::now();
    let mut update = tip.trie.update(&changes);
    let (mut slices, mut slowest_slice) = (0, Duration::ZERO);
    let (root, trie, nodes) = loop {
        let slice = Instant::now();
        let step = update.step(SLICE_NODES)?;
        slowest_slice = slowest_slice.max(slice.elapsed());
        slices += 1;
        if let TrieStep::Done { root, trie, nodes } = step {
            break (root, trie, nodes);
        }
    };
    let spent = Spent { trie: start.elapsed(), slices, slowest_slice, nodes: nodes.len() };
    let header = Header {
        parent_hash: tip.hash,
        number: tip.header.number + 1,
        state_root: root,
        ..tip.header.as_ref().clone()
    };
    let block = Arc::new(SealedBlock::seal(header, Vec::new(), Vec::new(), Some(Vec::new())));
    let receipts = Arc::new(Vec::new());
    Ok((Arc::new(ExecutedBlock { block, receipts, changes, trie, nodes }), spent))
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn run(name: &str, options: &Options, among: u64, has_token: bool) -> Result<(), Failure> {
    let accounts = (0..ACCOUNTS).map(|number| (address(number), U256::from(1) << 80)).collect();
    let spec = ChainSpec::dev(&DevOptions { accounts, ..DevOptions::default() });
    let start = Instant::now();
    let mut database = Database::open(options, &spec)?;
    let opened = start.elapsed();
    let mut tip = database.tip();
    let (mut trie, mut commit, mut views) = (Vec::new(), Vec::new(), Vec::new());
    let (mut nodes, mut slices, mut slowest) = (0, 0, Duration::ZERO);
    for block in 1..=BLOCKS {
        let start = Instant::now();
        let changes = changes(block, 5_000, among, has_token);
        for &address in changes.accounts.keys() {
            std::hint::black_box(tip.view.account(address)?);
        }
        views.push(start.elapsed() / u32::try_from(changes.accounts.len())?);
        let (executed, spent) = execute(&tip, changes)?;
        tip = tip.extend(&executed);
        let start = Instant::now();
        let durable = database.commit(&[executed])?;
        commit.push(start.elapsed());
        tip = tip.rebase(&durable);
        trie.push(spent.trie);
        nodes = spent.nodes;
        slices = spent.slices;
        slowest = slowest.max(spent.slowest_slice);
    }
    for times in [&mut trie, &mut commit, &mut views] {
        times.sort();
    }
    let middle = usize::try_from(BLOCKS / 2)?;
    let last = usize::try_from(BLOCKS - 1)?;
    println!(
        "{name:24} among {among:6}: genesis {:6.0} ms; trie p50 {:5.1} max {:5.1} ms in {slices} \
         slices (longest {:4.2} ms), {nodes} nodes; commit p50 {:5.1} max {:5.1} ms; \
         account read p50 {:4.2} us; {} nodes in memory",
        millis(opened),
        millis(trie[middle]),
        millis(trie[last]),
        millis(slowest),
        millis(commit[middle]),
        millis(commit[last]),
        views[middle].as_secs_f64() * 1e6,
        tip.trie.nodes_in_memory(),
    );
    Ok(())
}

fn main() -> Result<(), Failure> {
    let folder = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    for (among, has_token) in [(200, false), (5_000, false), (ACCOUNTS, false), (5_000, true)] {
        let kind = if has_token { "tokens" } else { "transfers" };
        run(&format!("memory, {kind}"), &Options::default(), among, has_token)?;
        let path = folder.join(format!("evenkeel-commit-bench-{}", std::process::id()));
        let options = Options { path: Some(path.clone()), ..Options::default() };
        run(&format!("rocks, {kind}"), &options, among, has_token)?;
        std::fs::remove_dir_all(path)?;
    }
    Ok(())
}
