//! Question: what do the actors cost a block? Builds the same blocks through the node's processes,
//! on threads and on the caller's thread, and by calling the same machines in a loop, and compares
//! the CPU.
//!
//! Goal: at most 5 % more through the actors. All ways admit the same transfers, build the same
//! blocks on the same attributes and commit them to a database in memory; every block of the loop
//! is asserted to have the hash of the node's.
#![allow(clippy::print_stdout, reason = "the report is the program's output")]

use std::{error::Error, ops::Range, path::PathBuf, sync::Arc};

use alloy_consensus::TxLegacy;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use clap::Parser;
use evenkeel_benches::report;
use evenkeel_chain::{
    BlockAttributes, ChainSpec, Command, DERIVATION_PATH, DevAccounts, DevOptions, Header,
    MNEMONIC, RecoveredTx, TypedTransaction,
};
use evenkeel_mempool::{
    BestIter, NextBlock, PendingFeed, Pool, PoolMessage, Query, check_stateless,
};
use evenkeel_node::{
    AdmissionConfig, Config, Limits, LogConfig, Mining, Node, PoolConfig, RpcConfig, start,
};
use evenkeel_rpc::EngineCall;
use evenkeel_runtime::{
    Answer, Class, Inline, Spawn, System, TaskError, ThreadsConfig, checkpoint, reply,
};
use evenkeel_state::{Database, Durable, ExecutedBlock, Tip};
use evenkeel_vm::{BlockOutcome, BlockRun, BuildJob, Candidates, Step, limits::SLICE_GAS};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

/// What the node has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SENDERS: u64 = 500;
const RECEIVERS: u64 = 2_000;
const GAS_LIMIT: u64 = 200_000_000;

/// Blocks through the actors beside blocks by direct calls.
#[derive(Parser)]
struct Options {
    /// Transfers of every block, each size measured for itself
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1_000, 5_000])]
    transfers: Vec<u64>,
    /// Transfers of all blocks of one run together
    #[arg(long, default_value_t = 40_000)]
    total: u64,
    /// Runs of each way, in turns; the medians are compared
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Runs one way only, once, and measures nothing: for a counter of instructions, as callgrind,
    /// which the neighbours' load does not disturb
    #[arg(long, value_name = "WAY", value_enum)]
    only: Option<Way>,
    /// Most per cent that the actors may cost; more is exit status 1
    #[arg(long)]
    check: Option<f64>,
    /// Also write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The ways of the comparison.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Way {
    /// A node on one worker
    Actors,
    /// A node on the caller's thread, where turns are charged by count: of these a counter of
    /// instructions sees as many as there are
    Inline,
    Calls,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    match options.only {
        Some(way) => run_only(way, &options),
        None => compare(&options),
    }
}

fn run_only(way: Way, options: &Options) -> Result<(), Box<dyn Error>> {
    for &transfers in &options.transfers {
        // For all ways: the derivation of its key is no work of theirs.
        let config = node_config()?;
        let load = Load::new(transfers, options.total);
        let drive = match way {
            Way::Actors => Drive::threads()?,
            Way::Inline => Drive::inline()?,
            Way::Calls => {
                by_direct_calls(load, None, || 0)?;
                continue;
            }
        };
        // Under a counter of instructions time runs slower than work, so that there are more.
        let turns = through_actors(load, drive, config, || 0)?.turns;
        println!("{transfers} transfers a block, {} blocks: {turns} turns", load.blocks);
    }
    Ok(())
}

fn compare(options: &Options) -> Result<(), Box<dyn Error>> {
    let (mut rows, mut reports, mut worst) = (Vec::new(), Vec::new(), f64::MIN);
    for &transfers in &options.transfers {
        let load = Load::new(transfers, options.total);
        let (mut by_actors, mut inline, mut by_calls) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            let Ran { cpu, headers, .. } =
                through_actors(load, Drive::threads()?, node_config()?, cpu_ns)?;
            by_actors.push(cpu);
            let ran = through_actors(load, Drive::inline()?, node_config()?, cpu_ns)?;
            inline.push(ran.cpu);
            by_calls.push(by_direct_calls(load, Some(&headers), cpu_ns)?);
        }
        let each = |times: &mut Vec<u64>| {
            times.sort_unstable();
            micros(times[times.len() / 2]) / micros(load.count()) * 1e-3
        };
        let (actors, inline, calls) =
            (each(&mut by_actors), each(&mut inline), each(&mut by_calls));
        let more = |than: f64| (than / calls - 1.0) * 100.0;
        worst = worst.max(more(actors));
        rows.push(vec![
            transfers.to_string(),
            load.blocks.to_string(),
            format!("{actors:.2}"),
            format!("{inline:.2}"),
            format!("{calls:.2}"),
            format!("{:+.1} %", more(actors)),
            format!("{:+.1} %", more(inline)),
        ]);
        reports.push(json!({
            "transfers": transfers, "actors_us": actors, "inline_us": inline, "calls_us": calls,
        }));
    }
    let head = [
        "transfers a block",
        "blocks",
        "actors CPU us/tx",
        "inline CPU us/tx",
        "calls CPU us/tx",
        "actors",
        "inline",
    ];
    print!("{}", report::table(&head, &rows));
    report::write_json(options.json.as_deref(), &reports.into())?;
    match options.check {
        Some(most) if worst > most => Err(format!("{worst:.1} % more, allowed {most} %").into()),
        Some(_) | None => Ok(()),
    }
}

/// What a run does.
#[derive(Clone, Copy)]
struct Load {
    transfers: u64,
    blocks: u64,
}

impl Load {
    fn new(transfers: u64, total: u64) -> Self {
        Self { transfers, blocks: (total / transfers).max(1) }
    }

    const fn count(self) -> u64 {
        self.transfers * self.blocks
    }

    /// The transfers of a block.
    const fn block(self, block: u64) -> Range<u64> {
        block * self.transfers..(block + 1) * self.transfers
    }

    /// Made before the clock runs, and on another thread: whichever way takes them, it frees what
    /// is not its own.
    fn transfers(self) -> Vec<Vec<Arc<RecoveredTx>>> {
        let making = std::thread::Builder::new().spawn(move || {
            (0..self.blocks).map(|block| self.block(block).map(transfer).collect()).collect()
        });
        making.expect("a thread").join().expect("transfers are made")
    }
}

fn address(kind: u8, number: u64) -> Address {
    let mut address = Address::repeat_byte(kind);
    address.0[12..].copy_from_slice(&number.to_be_bytes());
    address
}

fn transfer(number: u64) -> Arc<RecoveredTx> {
    let tx = TxLegacy {
        chain_id: Some(31_337),
        nonce: number / SENDERS,
        gas_price: 2_000_000_000,
        gas_limit: 21_000,
        to: TxKind::Call(address(2, number.wrapping_mul(2_654_435_761) % RECEIVERS)),
        value: U256::ONE,
        input: Bytes::new(),
    };
    RecoveredTx::impersonated(TypedTransaction::Legacy(tx), address(1, number % SENDERS))
}

fn spec() -> ChainSpec {
    let rich = U256::from(10).pow(U256::from(24));
    let accounts = (0..SENDERS).map(|number| (address(1, number), rich)).collect();
    ChainSpec::dev(&DevOptions { accounts, gas_limit: GAS_LIMIT, ..DevOptions::default() })
}

fn database(spec: &ChainSpec) -> Result<Database, Box<dyn Error>> {
    Ok(Database::open(&evenkeel_state::Options::default(), spec)?)
}

/// CPU of the whole process: all threads of the node, and the one that asks.
fn cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

#[allow(clippy::cast_precision_loss, reason = "figures of a report")]
const fn micros(number: u64) -> f64 {
    number as f64
}

// --- through the actors ------------------------------------------------------------------------

/// What a node runs on.
enum Drive {
    Threads(System),
    Inline(Inline),
}

impl Drive {
    fn threads() -> Result<Self, Box<dyn Error>> {
        let config =
            ThreadsConfig { workers: 1, compute_threads: 1, blocking_threads: 1, seed: Some(1) };
        Ok(Self::Threads(System::threads(config)?))
    }

    fn inline() -> Result<Self, Box<dyn Error>> {
        Ok(Self::Inline(System::inline()?))
    }

    const fn system(&self) -> &System {
        match self {
            Self::Threads(system) => system,
            Self::Inline(inline) => inline.system(),
        }
    }

    /// Runs a process of the system to its end.
    fn run<T: Send + 'static>(
        &mut self,
        process: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, TaskError> {
        let task = self.system().spawn_future(Spawn::new("client", Class::Rpc), process);
        match self {
            Self::Threads(_) => task.wait(),
            Self::Inline(inline) => inline.run_until(task),
        }
    }

    fn stop(self) {
        match self {
            Self::Threads(system) => system.stop(std::time::Duration::from_secs(10)),
            Self::Inline(inline) => drop(inline),
        }
    }
}

/// What came of a node's run.
struct Ran {
    cpu: u64,
    headers: Vec<Header>,
    turns: u64,
}

/// Runs a node.
fn through_actors(
    load: Load,
    mut drive: Drive,
    config: Config,
    cpu_ns: fn() -> u64,
) -> Result<Ran, Box<dyn Error>> {
    let spec = spec();
    let database = database(&spec)?;
    let node = start(drive.system(), config, spec, database)?;
    let txs = load.transfers();
    let began = cpu_ns();
    let asking = async move { ask(&node, txs).await.map_err(|error| error.to_string()) };
    let headers = drive.run(asking)??;
    let used = cpu_ns() - began;
    let turns = drive.system().status().classes.iter().map(|class| class.turns).sum();
    drive.stop();
    Ok(Ran { cpu: used, headers, turns })
}

/// What a client's process asks of the node: its transfers, block by block.
async fn ask(
    node: &Node,
    txs: Vec<Vec<Arc<RecoveredTx>>>,
) -> Result<Vec<Header>, Box<dyn Error + Send + Sync>> {
    let mut headers = Vec::with_capacity(txs.len());
    for txs in txs {
        let count = txs.len();
        let mut asked = Vec::with_capacity(count);
        for tx in txs {
            asked.push(node.api.admissions.known(tx));
            checkpoint().await;
        }
        for answer in asked {
            answer.await??;
        }
        settle(node).await?;
        settle(node).await?;
        let (reply, answer) = reply();
        let command = Command::Mine { blocks: 1, interval_secs: None };
        node.api.engine.send(EngineCall { command, reply }).map_err(|error| error.to_string())?;
        answer.await??;
        let header = Header::clone(&node.durable.get().header);
        assert_eq!(header.gas_used, count as u64 * 21_000, "all transfers are in the block");
        headers.push(header);
    }
    // The pool has taken note of the last block as well.
    settle(node).await?;
    Ok(headers)
}

fn node_config() -> Result<Config, Box<dyn Error>> {
    Ok(Config {
        mining: Mining::None,
        txs_per_block_max: None,
        gas_limit: None,
        pool: PoolConfig::default(),
        admission: AdmissionConfig::default(),
        limits: Limits::default(),
        rpc: RpcConfig::default(),
        accounts: DevAccounts::from_mnemonic(MNEMONIC, DERIVATION_PATH, 1)?,
        keys: Vec::new(),
        log: LogConfig { is_on: false, ..LogConfig::default() },
        auto_impersonate: true,
        is_clock_from_head: false,
        shadow: None,
    })
}

/// Asks the pool something. What it was told before the first of two questions is published
/// before the second is answered: the publication stands in its mailbox between them.
async fn settle(node: &Node) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (reply, answer): (_, Answer<(usize, usize)>) = reply();
    let asking = PoolMessage::Query(Query::Status { reply });
    node.api.pool.send(asking).map_err(|error| error.to_string())?;
    answer.await?;
    Ok(())
}

// --- by direct calls ---------------------------------------------------------------------------

struct Best(BestIter);

impl Candidates for Best {
    fn next(&mut self) -> Option<Arc<RecoveredTx>> {
        self.0.next()
    }

    fn skip_sender(&mut self) {
        self.0.skip_sender();
    }
}

/// The machines of a node, without processes.
struct Machines {
    spec: Arc<ChainSpec>,
    database: Database,
    durable: Durable,
    tip: Tip,
    pool: Pool,
    feed: PendingFeed,
}

/// Makes the blocks of `headers` again, or others like them; returns the CPU.
fn by_direct_calls(
    load: Load,
    headers: Option<&[Header]>,
    cpu_ns: fn() -> u64,
) -> Result<u64, Box<dyn Error>> {
    let spec = Arc::new(spec());
    let database = database(&spec)?;
    let (durable, tip) = (database.durable(), database.tip());
    let base_fee = spec.next_base_fee(&tip.header).unwrap_or(0);
    let pool = Pool::new(PoolConfig::default(), base_fee);
    let feed = PendingFeed::default();
    let mut machines = Machines { spec, database, durable, tip, pool, feed };
    let txs = load.transfers();
    let began = cpu_ns();
    for (number, txs) in txs.into_iter().enumerate() {
        let head = &machines.durable.header;
        let next = NextBlock::after(&machines.spec, head, head.gas_limit);
        for tx in txs {
            machines.admit(tx, &next)?;
        }
        let block = if let Some(header) = headers.map(|headers| &headers[number]) {
            let block = machines.build(attributes(header))?;
            assert_eq!(block.block.hash, header.hash_slow(), "both ways make the same block");
            block
        } else {
            let parent = &machines.tip.header;
            let timestamp = parent.timestamp + 1;
            machines.build(BlockAttributes { timestamp, ..attributes(parent) })?
        };
        machines.commit(&block)?;
    }
    Ok(cpu_ns() - began)
}

impl Machines {
    fn admit(&mut self, tx: Arc<RecoveredTx>, next: &NextBlock) -> Result<(), Box<dyn Error>> {
        check_stateless(&tx, next, &AdmissionConfig::default())?;
        self.pool.admit(tx, &self.durable.view)?;
        Ok(())
    }

    fn build(&mut self, attributes: BlockAttributes) -> Result<Arc<ExecutedBlock>, Box<dyn Error>> {
        for tx in self.pool.take_arrivals() {
            self.feed.push(tx);
        }
        self.tip = self.tip.rebase(&self.durable);
        let mut run = BlockRun::build(BuildJob {
            tip: self.tip.clone(),
            spec: Arc::clone(&self.spec),
            attributes,
            limits: Limits::default(),
            candidates: Box::new(Best(self.pool.best().iter())),
        })?;
        loop {
            match run.step(SLICE_GAS) {
                Step::More { .. } => {}
                Step::Done(Ok(BlockOutcome::Executed(block))) => return Ok(block),
                Step::Done(Ok(_)) => return Err("a block of transfers is not empty".into()),
                Step::Done(Err(error)) => return Err(error.into()),
                Step::Offload(_) => return Err("a transfer calls no precompile".into()),
            }
        }
    }

    fn commit(&mut self, block: &Arc<ExecutedBlock>) -> Result<(), Box<dyn Error>> {
        self.tip = self.tip.extend(block);
        self.durable = self.database.commit(&[Arc::clone(block)])?;
        self.pool.set_base_fee(self.spec.next_base_fee(&self.durable.header).unwrap_or(0));
        for account in block.changes.accounts.keys() {
            if self.pool.has_sender(*account) {
                let is_done = self.pool.recheck(*account, &self.durable.view, usize::MAX)?;
                assert!(is_done, "there was no limit");
            }
        }
        Ok(())
    }
}

fn attributes(like: &Header) -> BlockAttributes {
    BlockAttributes {
        timestamp: like.timestamp,
        prev_randao: like.mix_hash,
        fee_recipient: like.beneficiary,
        gas_limit: like.gas_limit,
        base_fee: None,
        extra_data: like.extra_data.clone(),
        parent_beacon_root: B256::ZERO,
        withdrawals: Vec::new(),
        txs_max: None,
        must_have_txs: false,
    }
}
