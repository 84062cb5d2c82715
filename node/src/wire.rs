//! Makes the mailboxes of [`crate::topology`], connects the ports and spawns the processes.
//!
//! The same on both drivers: nothing here knows which one `system` runs on.

use std::{sync::Arc, time::Duration};

use alloy_primitives::{B256, Bytes};
use evenkeel_chain::ChainSpec;
use evenkeel_consensus::{ConfigError, Consensus, Head, Solo, SoloConfig};
use evenkeel_mempool::{
    Admission, AdmissionConfig, Admissions, BestTxs, PendingFeed, PoolActor, PoolBoards,
    PoolMessage,
};
use evenkeel_rpc::{Accounts, Api, Executions, Filters, Flags, PlaceLimits, Places, RequestLog};
use evenkeel_runtime::{
    Actor, Address, Entropy, Mailbox, Published, Restart, Spawn, System, published,
};
use evenkeel_state::{Database, Durable, Writer};
use evenkeel_vm::{Executor, ExecutorConfig, ExecutorPorts, LiveBlock, Shadow};
use rand_core::RngCore as _;

use crate::{
    config::Config,
    ports::{self, BestCandidates},
    topology::{ADMISSION, CONSENSUS, EXECUTOR, POOL, Process, SHADOW, WRITER},
};

/// A process whose state cannot be made anew: its panic ends the node with its name and reason.
/// What it knew is in the database, from which the next start goes on.
const ESSENTIAL: Restart =
    Restart::Always { max: 0, window: Duration::from_mins(1), backoff: Duration::ZERO };

/// A running node: what a server, a test or the command line needs of it.
pub struct Node {
    /// Answers JSON-RPC requests.
    pub api: Arc<Api>,
    /// The durable chain.
    pub durable: Published<Durable>,
    /// The rules of the chain.
    pub spec: Arc<ChainSpec>,
}

/// Starts all processes of a node on `system`.
///
/// # Errors
///
/// [`ConfigError`]; nothing runs then.
pub fn start(
    system: &System,
    config: Config,
    spec: ChainSpec,
    database: Database,
) -> Result<Node, ConfigError> {
    let spec = Arc::new(spec);
    let tip = database.tip();
    let mut started = database.durable();
    started.head_since = system.wall_clock();
    let (durable_board, durable) = published(started);
    let (best_board, best) = published(BestTxs::default());
    let (feed_board, feed) = published(PendingFeed::default());

    // Mailboxes first, so that no process has to wait for another to exist.
    let (pool, pool_mailbox) = system.mailbox(POOL.spec());
    let (consensus, consensus_mailbox) = system.mailbox(CONSENSUS.spec());
    let (executor, executor_mailbox) = system.mailbox(EXECUTOR.spec());
    let (writer, writer_mailbox) = system.mailbox(WRITER.spec());

    let head = Head { header: Arc::clone(&tip.header), hash: tip.hash };
    let solo_config = solo_config(system, &config, &spec, head);
    let (gas_limit_board, gas_limit) = published(solo_config.gas_limit);
    let solo = Solo::new(solo_config, system.now())?;
    let consensus_ports = ports::of_consensus(system, &executor, &pool, gas_limit_board);
    essential(system, &CONSENSUS, consensus_mailbox, Consensus::new(solo, consensus_ports));

    let committed = ports::committed(&pool, &consensus);
    essential(system, &WRITER, writer_mailbox, Writer::new(database, durable_board, committed));

    let (live_blocks, shadow) = canary(system, &config, &spec).unzip();
    let executor_ports = ExecutorPorts {
        events: ports::executor_events(&consensus),
        writer,
        unexecutable: pool.port(PoolMessage::Unexecutable),
        candidates: Box::new(BestCandidates(best.clone())),
        shadow: live_blocks,
    };
    let executing = ExecutorConfig {
        spec: Arc::clone(&spec),
        limits: config.limits.clone(),
        tip,
        durable: durable.clone(),
        ports: executor_ports,
    };
    essential(system, &EXECUTOR, executor_mailbox, Executor::new(executing));

    let boards = PoolBoards { best: best_board, feed: feed_board };
    let pool_ports = ports::of_pool(&consensus);
    let pooling =
        PoolActor::new(config.pool.clone(), Arc::clone(&spec), durable.clone(), boards, pool_ports);
    essential(system, &POOL, pool_mailbox, pooling);

    let reads = (durable.clone(), gas_limit);
    let rules = (config.admission.clone(), Arc::clone(&spec));
    let admissions = admissions(system, &rules, &reads, &pool);

    let accounts = Accounts::new(&config.accounts);
    accounts.set_auto_impersonate(config.auto_impersonate);
    let api = Arc::new(Api {
        spec: Arc::clone(&spec),
        system: system.clone(),
        durable: durable.clone(),
        best,
        feed,
        admissions,
        pool,
        engine: ports::engine(&consensus),
        order: config.pool.order,
        places: Places::new(system, PlaceLimits::default()),
        executions: Executions::default(),
        shadow,
        accounts,
        filters: Filters::new(system),
        flags: Flags::new(system),
        log: RequestLog::new(config.log_form, config.is_logging),
        config: config.rpc,
    });
    Ok(Node { api, durable, spec })
}

/// A canary, if one is wanted, and where it takes final blocks.
fn canary(
    system: &System,
    config: &Config,
    spec: &Arc<ChainSpec>,
) -> Option<(Address<LiveBlock>, Shadow)> {
    let fork = config.shadow?;
    let (address, mailbox) = system.mailbox(SHADOW.spec());
    let rules = (Arc::clone(spec), config.limits.clone());
    Some((address, Shadow::spawn(system, SHADOW.name, mailbox, fork, rules)))
}

/// An admission for each worker.
fn admissions(
    system: &System,
    rules: &(AdmissionConfig, Arc<ChainSpec>),
    reads: &(Published<Durable>, Published<u64>),
    pool: &Address<PoolMessage>,
) -> Admissions {
    let admissions = (0..system.workers()).map(|_| {
        let (admission, mailbox) = system.mailbox(ADMISSION.spec());
        let spawn = Spawn::new(ADMISSION.name, ADMISSION.class).restart(Restart::DEFAULT);
        let (rules, reads, pool) = (rules.clone(), reads.clone(), pool.clone());
        system.spawn(spawn, mailbox, move || {
            let ((config, spec), (durable, gas_limit)) = (rules.clone(), reads.clone());
            Admission::new(config, spec, durable, gas_limit, pool.clone())
        });
        admission
    });
    Admissions::new(admissions.collect())
}

fn solo_config(system: &System, config: &Config, spec: &ChainSpec, head: Head) -> SoloConfig {
    let random = |mut entropy: Entropy| {
        let mut seed = B256::ZERO;
        entropy.fill_bytes(seed.as_mut_slice());
        seed
    };
    SoloConfig {
        mode: config.mining,
        timestamps: spec.timestamps,
        gas_limit: config.gas_limit.unwrap_or(head.header.gas_limit),
        coinbase: head.header.beneficiary,
        prev_randao_seed: random(system.entropy("prevrandao")),
        txs_max: config.txs_per_block_max,
        time_offset_secs: time_offset(system.wall_clock(), head.header.timestamp, config),
        extra_data: Bytes::new(),
        head,
    }
}

/// What the chain's clock is ahead of the machine's, in seconds. A head from the future goes on
/// from there, as after time was moved: its blocks would all have one timestamp otherwise.
fn time_offset(now: Duration, head: u64, config: &Config) -> i64 {
    let seconds = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    let offset = seconds(head) - seconds(now.as_secs());
    if config.is_clock_from_head { offset } else { offset.max(0) }
}

/// Spawns a process that is made once.
fn essential<A: Actor>(system: &System, process: &Process, mailbox: Mailbox<A::Message>, actor: A) {
    let mut actor = Some(actor);
    system.spawn(Spawn::new(process.name, process.class).restart(ESSENTIAL), mailbox, move || {
        actor.take().expect("made once: its first panic stops the system")
    });
}
