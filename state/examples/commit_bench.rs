//! Time to take a state of many accounts from block to block: trie update and durable commit.
//!
//! Question: can the state keep up with blocks of 5,000 transfers a second? Budget: a few tens of
//! milliseconds a block, off the workers but for the trie update, which is sliced.
//!
//! And what does one transaction of a large, old block cost to read? Budget: tens of microseconds,
//! and no step of reading it all above a millisecond.
//!
//! `cargo run --release -p evenkeel-state --example commit_bench [folder [accounts]]`; times of
//! commits are CPU time of the committing thread, then the wall's. With a number of accounts it
//! only makes a genesis of so many, and says what memory that took.

#![expect(clippy::disallowed_methods, reason = "a bench reads the real clock")]
#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_consensus::{TxEip1559, TxType};
use alloy_primitives::{Address, TxKind, U256, keccak256};
use evenkeel_chain::{
    ChainSpec, DevOptions, Header, Height, Receipt, RecoveredTx, SealedBlock, TypedTransaction,
};
use evenkeel_state::{
    Account, ChangeSet, Database, ExecutedBlock, Options, StorageChange, Tip, TrieStep, TxLocation,
};

const ACCOUNTS: u64 = 50_000;
const BLOCKS: u64 = 40;
/// Of the large blocks.
const TRANSFERS: u64 = 20_000;

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

/// CPU time of this thread so far.
fn cpu() -> Result<Duration, Failure> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split(' ').next().ok_or("no field in schedstat")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}

fn execute(
    tip: &Tip,
    changes: ChangeSet,
    transfers: u64,
) -> Result<(Arc<ExecutedBlock>, Spent), Failure> {
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
    let txs = (0..transfers).map(|number| transfer(tip.header.number, number)).collect();
    let block = Arc::new(SealedBlock::seal(header, txs, Vec::new(), Some(Vec::new())));
    let receipts = (1..=transfers).map(|number| Receipt {
        tx_type: TxType::Eip1559,
        success: true,
        post_state: None,
        cumulative_gas_used: 21_000 * number,
        logs: Vec::new(),
    });
    let receipts = Arc::new(receipts.collect());
    Ok((Arc::new(ExecutedBlock { block, receipts, changes, trie, nodes }), spent))
}

fn transfer(nonce: u64, number: u64) -> Arc<RecoveredTx> {
    let tx = TxEip1559 {
        chain_id: 31_337,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 2_000_000_000 + u128::from(number),
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(address(number)),
        value: U256::from(10).pow(U256::from(18)),
        ..TxEip1559::default()
    };
    RecoveredTx::impersonated(TypedTransaction::Eip1559(tx), address(number + 1))
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
    let mut commit_cpu = Vec::new();
    let (mut nodes, mut slices, mut slowest) = (0, 0, Duration::ZERO);
    for block in 1..=BLOCKS {
        let start = Instant::now();
        let changes = changes(block, 5_000, among, has_token);
        for &address in changes.accounts.keys() {
            std::hint::black_box(tip.view.account(address)?);
        }
        views.push(start.elapsed() / u32::try_from(changes.accounts.len())?);
        let (executed, spent) = execute(&tip, changes, 0)?;
        tip = tip.extend(&executed);
        let (start, start_cpu) = (Instant::now(), cpu()?);
        let durable = database.commit(&[executed])?;
        commit_cpu.push(cpu()?.saturating_sub(start_cpu));
        commit.push(start.elapsed());
        tip = tip.rebase(&durable);
        trie.push(spent.trie);
        nodes = spent.nodes;
        slices = spent.slices;
        slowest = slowest.max(spent.slowest_slice);
    }
    for times in [&mut trie, &mut commit, &mut commit_cpu, &mut views] {
        times.sort();
    }
    let middle = usize::try_from(BLOCKS / 2)?;
    let last = usize::try_from(BLOCKS - 1)?;
    println!(
        "{name:24} among {among:6}: genesis {:6.0} ms; trie p50 {:5.1} max {:5.1} ms in {slices} \
         slices (longest {:4.2} ms), {nodes} nodes; commit p50 CPU {:5.1} wall {:5.1} max {:5.1} \
         ms; account read p50 {:4.2} us; {} nodes in memory",
        millis(opened),
        millis(trie[middle]),
        millis(trie[last]),
        millis(slowest),
        millis(commit_cpu[middle]),
        millis(commit[middle]),
        millis(commit[last]),
        views[middle].as_secs_f64() * 1e6,
        tip.trie.nodes_in_memory(),
    );
    Ok(())
}

/// Commits large blocks, opens the database again, and reads from one of them.
fn run_large(name: &str, options: &Options) -> Result<(), Failure> {
    let spec = ChainSpec::dev(&DevOptions::default());
    let mut database = Database::open(options, &spec)?;
    let mut commit_cpu = Vec::new();
    for block in 1..=BLOCKS / 4 {
        let changes = changes(block, 100, 100, false);
        let (executed, _) = execute(&database.tip(), changes, TRANSFERS)?;
        let start = cpu()?;
        database.commit(&[executed])?;
        commit_cpu.push(cpu()?.saturating_sub(start));
    }
    commit_cpu.sort();
    let middle = commit_cpu[commit_cpu.len() / 2];
    println!("{name:24} {TRANSFERS} transfers a block: commit p50 CPU {:5.1} ms", millis(middle));
    if options.path.is_none() {
        return Ok(());
    }
    drop(database);
    let database = Database::open(options, &spec)?;
    read_large(&database)
}

fn read_large(database: &Database) -> Result<(), Failure> {
    const READS: u32 = 1_000;
    let chain = database.durable().chain;
    let height = Height::new(1);
    let start = cpu()?;
    for number in 0..READS {
        let index = u64::from(number) * 7_919 % TRANSFERS;
        let at = TxLocation { height, index };
        std::hint::black_box((chain.mined(at)?, chain.receipt(at)?));
    }
    let single = (cpu()?.saturating_sub(start)) / READS;
    let mut times = Vec::new();
    let mut block = chain.read_block(height)?.ok_or("no block")?;
    let mut receipts = chain.read_receipts(height)?.ok_or("no receipts")?;
    let start_all = cpu()?;
    loop {
        // The CPU clock of a thread moves in ticks: too coarse for one step.
        let start = Instant::now();
        if block.step()?.is_some() && receipts.step()?.is_some() {
            break;
        }
        times.push(start.elapsed());
    }
    let all = cpu()?.saturating_sub(start_all);
    times.sort();
    let steps = times.len();
    println!(
        "{:24} one transaction with receipt {:4.1} us; all {:5.1} ms in {steps} steps, p50 {:4.2} \
         p99 {:4.2} ms",
        "",
        single.as_secs_f64() * 1e6,
        millis(all),
        millis(times[steps / 2]),
        millis(times[steps * 99 / 100]),
    );
    Ok(())
}

/// Most memory this process has had so far.
fn memory_max() -> Result<String, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(line.ok_or("no VmHWM in status")?.trim().to_owned())
}

fn run_genesis(options: &Options, accounts: u64) -> Result<(), Failure> {
    let accounts_of = (0..accounts).map(|number| (address(number), U256::from(1) << 80)).collect();
    let spec = ChainSpec::dev(&DevOptions { accounts: accounts_of, ..DevOptions::default() });
    let before = memory_max()?;
    let (start, start_cpu) = (Instant::now(), cpu()?);
    let database = Database::open(options, &spec)?;
    println!(
        "genesis of {accounts} accounts: {:.0} ms, CPU {:.0} ms; memory {before} before, at most \
         {}; root {}",
        millis(start.elapsed()),
        millis(cpu()?.saturating_sub(start_cpu)),
        memory_max()?,
        database.tip().header.state_root
    );
    Ok(())
}

fn main() -> Result<(), Failure> {
    let folder = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let path = folder.join(format!("evenkeel-commit-bench-{}", std::process::id()));
    let on_disk = Options { path: Some(path.clone()), ..Options::default() };
    if let Some(accounts) = std::env::args().nth(2) {
        run_genesis(&on_disk, accounts.parse()?)?;
        std::fs::remove_dir_all(&path)?;
        return Ok(());
    }
    run_large("memory, large", &Options::default())?;
    run_large("rocks, large", &on_disk)?;
    std::fs::remove_dir_all(&path)?;
    for (among, has_token) in [(200, false), (5_000, false), (ACCOUNTS, false), (5_000, true)] {
        let kind = if has_token { "tokens" } else { "transfers" };
        run(&format!("memory, {kind}"), &Options::default(), among, has_token)?;
        run(&format!("rocks, {kind}"), &on_disk, among, has_token)?;
        std::fs::remove_dir_all(&path)?;
    }
    Ok(())
}
