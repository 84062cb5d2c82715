//! Makes the mailboxes of [`crate::topology`], connects the ports and spawns the processes.
//!
//! The same on both drivers: nothing here knows which one `system` runs on.

use std::{sync::Arc, time::Duration};

use alloy_primitives::{B256, Bytes};
use evenkeel_chain::{ChainSpec, Timestamps};
use evenkeel_consensus::{
    ConfigError, Consensus, ConsensusMessage, ConsensusPorts, Head, Mining, Now, Solo, SoloConfig,
};
use evenkeel_mempool::{
    Admission, AdmissionConfig, Admissions, BestTxs, PendingFeed, PoolActor, PoolBoards,
    PoolMessage,
};
use evenkeel_rpc::{Accounts, Api, Filters, Flags, PlaceLimits, Places, RequestLog};
use evenkeel_runtime::{
    ActorHandle, Address, AtRestart, Child, Entropy, Mailbox, Published, Restart, Spawn, Strategy,
    Supervisor, SupervisorSpec, System, published,
};
use evenkeel_state::{Database, Durable, Tip, Writer};
use evenkeel_vm::{Executor, ExecutorConfig, ExecutorPorts, LiveBlock, Shadow, Writing};
use rand_core::RngCore as _;

use crate::{
    config::Config,
    ports::{self, BestCandidates},
    topology::{ADMISSION, CONSENSUS, EXECUTOR, POOL, SHADOW, WRITER},
};

/// Of the writer: its panic ends the node with its name and reason. Whether what it was writing is
/// on the disk nobody knows then but the disk, from which the next start of the node goes on.
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
    /// The processes that a supervisor begins anew: consensus, executor, pool.
    pub supervised: [ActorHandle; 3],
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
    let engines = Engines::new(system, &config, &spec);
    let (gas_limit_board, gas_limit) = published(engines.gas_limit(&head));
    let solo = engines.solo(head, Now { at: system.now(), wall: system.wall_clock() })?;

    let committed = ports::committed(&pool, &consensus);
    let mut only_writer = Some(Writer::new(database, durable_board, committed));
    let essential = Spawn::new(WRITER.name, WRITER.class).restart(ESSENTIAL);
    system.spawn(essential, writer_mailbox, move || {
        only_writer.take().expect("its first panic stops the system")
    });

    // What one has built the other has ordered: neither goes on without the other. The engine
    // begins first, and so hears when the executor has begun.
    let chain = system.supervisor(SupervisorSpec::new("chain", Strategy::RestartAll));
    let consensus_ports = ports::of_consensus(system, &executor, &pool, gas_limit_board);
    let engine_handle = engine(&chain, consensus_mailbox, solo, engines, consensus_ports);

    let log = Arc::new(RequestLog::new(config.log));
    let (live_blocks, shadow) = canary(system, &config, &spec).unzip();
    let writing = Writing::new(writer);
    let executors = {
        let (spec, limits, durable) = (Arc::clone(&spec), config.limits.clone(), durable.clone());
        let (consensus, pool, best) = (consensus.clone(), pool.clone(), best.clone());
        let log = Arc::clone(&log);
        move |tip: Option<Tip>| ExecutorConfig {
            spec: Arc::clone(&spec),
            limits: limits.clone(),
            tip,
            durable: durable.clone(),
            ports: ExecutorPorts {
                events: ports::executor_events(&consensus),
                writer: writing.clone(),
                unexecutable: pool.port(PoolMessage::Unexecutable),
                candidates: Box::new(BestCandidates(best.clone())),
                shadow: live_blocks.clone(),
                notes: Some(ports::notes(&log)),
            },
        }
    };
    let mut first_tip = Some(tip);
    let child = Child::new(EXECUTOR.name, EXECUTOR.class).at_restart(AtRestart::Drop);
    let executor_handle = chain
        .spawn(child, executor_mailbox, move || Executor::new(executors(first_tip.take())))
        .expect(JUST_STARTED);

    let boards = PoolBoards::new(best_board, feed_board);
    let pools = {
        let (rules, spec, durable) = (config.pool.clone(), Arc::clone(&spec), durable.clone());
        let pool_ports = ports::of_pool(&consensus);
        move || {
            let (spec, durable) = (Arc::clone(&spec), durable.clone());
            PoolActor::new(rules.clone(), spec, durable, boards.clone(), pool_ports.clone())
        }
    };
    let pool_handle = system
        .supervisor(SupervisorSpec::new("pool", Strategy::Restart))
        .spawn(Child::new(POOL.name, POOL.class), pool_mailbox, pools)
        .expect(JUST_STARTED);

    let reads = (durable.clone(), gas_limit);
    let rules = (config.admission.clone(), Arc::clone(&spec));
    let admissions = admissions(system, &rules, &reads, &pool);

    let accounts = Accounts::new(&config.accounts, &config.keys);
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
        executions: Arc::default(),
        shadow,
        accounts,
        filters: Filters::new(system),
        flags: Arc::new(Flags::new(system)),
        log,
        config: config.rpc,
    });
    let supervised = [engine_handle, executor_handle, pool_handle];
    Ok(Node { api, durable, spec, supervised })
}

/// Why a supervisor takes a child: it has room, and nothing has ended it.
const JUST_STARTED: &str = "a supervisor that was just started takes its children";

/// The engine under `chain`: `first`, and those that come after a failure.
fn engine(
    chain: &Supervisor,
    mailbox: Mailbox<ConsensusMessage>,
    first: Solo,
    engines: Engines,
    ports: ConsensusPorts,
) -> ActorHandle {
    let (mut first, mut life) = (Some(first), 0);
    let factory = move || {
        if let Some(solo) = first.take() {
            return Consensus::new(solo, ports.clone());
        }
        life += 1;
        let (engines, gas_limit) = (engines.clone(), ports.gas_limit.clone());
        let make = move |head: Head, now| {
            // What an order had set is forgotten: admissions are told so.
            let _nobody_refuses = gas_limit.send(engines.gas_limit(&head));
            engines.solo(head, now).expect("the same settings were good at the start")
        };
        Consensus::anew(life, make, ports.clone())
    };
    let child = Child::new(CONSENSUS.name, CONSENSUS.class).at_restart(AtRestart::Drop);
    chain.spawn(child, mailbox, factory).expect(JUST_STARTED)
}

/// A canary, if one is wanted, and where it takes final blocks.
fn canary(
    system: &System,
    config: &Config,
    spec: &Arc<ChainSpec>,
) -> Option<(Address<LiveBlock>, Shadow)> {
    let aim = config.shadow?;
    let (address, mailbox) = system.mailbox(SHADOW.spec());
    let rules = (Arc::clone(spec), config.limits.clone());
    Some((address, Shadow::spawn(system, SHADOW.name, mailbox, aim, rules)))
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

/// What every life of the engine is made from.
#[derive(Clone)]
struct Engines {
    mining: Mining,
    txs_max: Option<usize>,
    gas_limit: Option<u64>,
    is_clock_from_head: bool,
    timestamps: Timestamps,
    prev_randao_seed: B256,
}

impl Engines {
    fn new(system: &System, config: &Config, spec: &ChainSpec) -> Self {
        let random = |mut entropy: Entropy| {
            let mut seed = B256::ZERO;
            entropy.fill_bytes(seed.as_mut_slice());
            seed
        };
        Self {
            mining: config.mining,
            txs_max: config.txs_per_block_max,
            gas_limit: config.gas_limit,
            is_clock_from_head: config.is_clock_from_head,
            timestamps: spec.timestamps,
            prev_randao_seed: random(system.entropy("prevrandao")),
        }
    }

    /// Gas limit of the blocks on `head`.
    fn gas_limit(&self, head: &Head) -> u64 {
        self.gas_limit.unwrap_or(head.header.gas_limit)
    }

    fn solo(&self, head: Head, now: Now) -> Result<Solo, ConfigError> {
        let config = SoloConfig {
            mode: self.mining,
            timestamps: self.timestamps,
            gas_limit: self.gas_limit(&head),
            coinbase: head.header.beneficiary,
            prev_randao_seed: self.prev_randao_seed,
            txs_max: self.txs_max,
            time_offset_secs: self.time_offset(now.wall, head.header.timestamp),
            extra_data: Bytes::new(),
            head,
        };
        Solo::new(config, now.at)
    }

    /// What the chain's clock is ahead of the machine's, in seconds. A head from the future goes on
    /// from there, as after time was moved: its blocks would all have one timestamp otherwise.
    fn time_offset(&self, now: Duration, head: u64) -> i64 {
        let seconds = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        let offset = seconds(head) - seconds(now.as_secs());
        if self.is_clock_from_head { offset } else { offset.max(0) }
    }
}
