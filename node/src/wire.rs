//! Makes the mailboxes of [`crate::topology`], connects the ports and spawns the processes.
//!
//! The same on both drivers: nothing here knows which one `system` runs on.

use std::{sync::Arc, time::Duration};

use alloy_primitives::{B256, Bytes};
use evenkeel_chain::ChainSpec;
use evenkeel_consensus::{ConfigError, Consensus, Head, Solo, SoloConfig};
use evenkeel_mempool::{Admission, Admissions, BestTxs, PendingFeed, PoolActor, PoolBoards};
use evenkeel_rpc::{Accounts, Api, Executions, Filters, Flags, PlaceLimits, Places, RequestLog};
use evenkeel_runtime::{Actor, Entropy, Mailbox, Published, Restart, Spawn, System, published};
use evenkeel_state::{Database, Durable, Writer};
use evenkeel_vm::{Executor, ExecutorConfig, ExecutorPorts, Shadow};
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

    let (shadow_port, shadow) = match config.shadow {
        Some(fork) => {
            let (address, mailbox) = system.mailbox(SHADOW.spec());
            let rules = (Arc::clone(&spec), config.limits.clone());
            (Some(address), Some(Shadow::spawn(system, SHADOW.name, mailbox, fork, rules)))
        }
        None => (None, None),
    };
    let executor_ports = ExecutorPorts {
        events: ports::executor_events(&consensus),
        writer,
        unexecutable: pool.port(evenkeel_mempool::PoolMessage::Unexecutable),
        candidates: Box::new(BestCandidates(best.clone())),
        shadow: shadow_port,
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

    let admissions = (0..system.workers()).map(|_| {
        let (admission, mailbox) = system.mailbox(ADMISSION.spec());
        let spawn = Spawn::new(ADMISSION.name, ADMISSION.class).restart(Restart::DEFAULT);
        let rules = (config.admission.clone(), Arc::clone(&spec));
        let reads = (durable.clone(), gas_limit.clone());
        let pool = pool.clone();
        system.spawn(spawn, mailbox, move || {
            let ((config, spec), (durable, gas_limit)) = (rules.clone(), reads.clone());
            Admission::new(config, spec, durable, gas_limit, pool.clone())
        });
        admission
    });
    let admissions = Admissions::new(admissions.collect());

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
        time_offset_secs: 0,
        extra_data: Bytes::new(),
        head,
    }
}

/// Spawns a process that is made once.
fn essential<A: Actor>(system: &System, process: &Process, mailbox: Mailbox<A::Message>, actor: A) {
    let mut actor = Some(actor);
    system.spawn(Spawn::new(process.name, process.class).restart(ESSENTIAL), mailbox, move || {
        actor.take().expect("made once: its first panic stops the system")
    });
}
