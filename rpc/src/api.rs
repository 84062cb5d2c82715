//! What a method may touch, and the limits it works under.
//!
//! [`Api`] is built once by `node` and shared by every request. Nothing in it blocks: knowledge is
//! read from published values, work is sent to mailboxes.

use std::{path::PathBuf, sync::Arc, time::Duration};

use evenkeel_chain::{ChainSpec, Command, CommandError, Outcome};
use evenkeel_mempool::{Admissions, BestTxs, Order, PendingFeed, PoolMessage};
use evenkeel_runtime::{Address, Class, Port, Published, Reply, Spawn, System, Time};
use evenkeel_state::Durable;
use evenkeel_vm::{CallNoting, Limits, Noting, Shadow};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    accounts::Accounts,
    client::Client,
    error::RpcError,
    executions::Executions,
    filters::Filters,
    flags::Flags,
    methods::limits::PRIORITY_FEE_DEFAULT,
    places::{Place, Places},
    request_log::RequestLog,
    session::Session,
};

pub use crate::methods::{METHODS, dispatch};

/// Everything a method may touch. Built by `node`; shared by `Arc`.
pub struct Api {
    /// Rules of the chain.
    pub spec: Arc<ChainSpec>,
    /// The system whose clock, entropy and scheduler the methods use.
    pub system: System,
    /// The durable chain: every read starts by pinning it.
    pub durable: Published<Durable>,
    /// The transactions the next block would be built from.
    pub best: Published<BestTxs>,
    /// The newest arrivals in the pool.
    pub feed: Published<PendingFeed>,
    /// Where raw transactions go.
    pub admissions: Admissions,
    /// Queries and removals.
    pub pool: Address<PoolMessage>,
    /// The operator's commands.
    pub engine: Port<EngineCall>,
    /// Which pooled transaction is mined first, for those who ask.
    pub order: Order,
    /// Who may run the EVM now.
    pub places: Places,
    /// Executions that run or are held, for those who watch or end them.
    pub executions: Arc<Executions>,
    /// The canary under another fork, if the node has one.
    pub shadow: Option<Shadow>,
    /// Keys of the dev accounts, and who is impersonated.
    pub accounts: Accounts,
    /// Filters of `eth_newFilter` and its sisters.
    pub filters: Filters,
    /// What the dev methods remember of this process.
    pub flags: Arc<Flags>,
    /// What the operator is told of requests and blocks.
    pub log: Arc<RequestLog>,
    /// Limits and switches.
    pub config: RpcConfig,
}

/// A command for the engine behind this node; `node` adapts it to the consensus crate.
pub struct EngineCall {
    /// What to do.
    pub command: Command,
    /// Answered when it is done (and durable, where that applies).
    pub reply: Reply<Result<Outcome, CommandError>>,
}

/// One decoded request of one client.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Name of the method.
    pub method: &'a str,
    /// The parameters as they came; absent is the same as an empty array.
    pub params: Option<&'a RawValue>,
    /// Who asks.
    pub client: &'a Client,
    /// The connection, if it is one that can be notified.
    pub session: Option<&'a Session>,
}

/// The section `[rpc]` of the configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RpcConfig {
    /// What one EVM call, trace or log search may take from its arrival, in seconds. Default 5.
    #[serde(rename = "evm_timeout_secs", with = "seconds")]
    pub evm_timeout: Duration,
    /// Gas an `eth_call` may ask for. Default none: the deadline is the bound.
    pub gas_cap: Option<u64>,
    /// EVM memory of one call, in bytes. Default 16 MiB.
    pub memory_bytes_max: usize,
    /// Bytes of contract code a call may deploy; `None`: as the fork says. Default none. To be the
    /// same as for building blocks, or estimates lie.
    pub code_size_max: Option<usize>,
    /// Whether calls keep to EIP-7825's cap on the gas of one transaction. Default false.
    pub tx_gas_cap: bool,
    /// Logs in one answer; with such a cap answers of `eth_getLogs` are put together before any of
    /// it is sent. Default none, as on geth: they are streamed, and the deadline is the bound.
    pub logs_max: Option<usize>,
    /// Blocks one log query may span. Default 10 million: a query costs with what it finds.
    pub log_blocks_max: u64,
    /// Size of one request body, in bytes. Default 15 MiB.
    pub request_bytes_max: usize,
    /// Calls in one batch. Default 1,000.
    pub batch_max: usize,
    /// Size of one answer body, in bytes. Default 160 MiB.
    pub response_bytes_max: usize,
    /// Where `debug_standardTraceBlockToFile` writes. Default the folder of temporary files.
    pub trace_folder: PathBuf,
    /// Nesting of JSON in a request. Default 64.
    pub depth_max: usize,
    /// Open connections. Default 1,000.
    pub connections_max: usize,
    /// Origins browsers may call from (`*` for any). `None` sends no CORS headers. Default `*`.
    pub cors: Option<Vec<String>>,
    /// Tip that is suggested, and offered for a sender who names none, in wei. Default 1 gwei.
    pub priority_fee: u128,
    /// Answer of `web3_clientVersion`.
    pub client_version: String,
    /// Whether the methods of an operator exist: `evm_`, `anvil_`, `hardhat_`, `tenderly_`,
    /// `sched_`, `exec_`, `eth_sendUnsignedTransaction` and `debug_clearTxpool`. Default true.
    pub is_dev: bool,
    /// Blocks that `safe` lies behind the head, and half of what `finalized` does, as on anvil.
    /// Default none: both are the head.
    pub slots_in_an_epoch: Option<u64>,
    /// Whether the chain outlives this process, so that its id cannot change. Default false.
    pub is_persistent: bool,
}

impl Default for RpcConfig {
    fn default() -> Self {
        Self {
            evm_timeout: Duration::from_secs(5),
            gas_cap: None,
            memory_bytes_max: 16 << 20,
            code_size_max: None,
            tx_gas_cap: false,
            logs_max: None,
            log_blocks_max: 10_000_000,
            request_bytes_max: 15 << 20,
            batch_max: 1_000,
            response_bytes_max: 160 << 20,
            trace_folder: std::env::temp_dir(),
            depth_max: 64,
            connections_max: 1_000,
            cors: Some(vec!["*".to_owned()]),
            priority_fee: PRIORITY_FEE_DEFAULT,
            client_version: concat!("evenkeel/v", env!("CARGO_PKG_VERSION")).to_owned(),
            is_dev: true,
            slots_in_an_epoch: None,
            is_persistent: false,
        }
    }
}

impl Api {
    /// When work for `client` has to stop.
    pub(crate) fn deadline(&self, client: &Client) -> Time {
        match &client.held {
            None => client.arrived.saturating_add(self.config.evm_timeout),
            Some(held) => held.deadline,
        }
    }

    /// The time that this stands for.
    pub(crate) fn timeout(&self, client: &Client) -> Duration {
        client.held.as_ref().map_or(self.config.evm_timeout, |held| held.timeout)
    }

    /// Waits for the right to run one execution for `client`; its deadline counts meanwhile.
    pub(crate) async fn place(&self, client: &Client) -> Result<Place, RpcError> {
        self.places.take(client, self.deadline(client), self.timeout(client)).await
    }

    /// What is noted of a call for the log, if anything is.
    pub(crate) fn call_noting(&self) -> Option<CallNoting> {
        let noting = self.log.config().noting;
        if noting == Noting::default() || !self.log.is_on() {
            return None;
        }
        let (system, log) = (self.system.clone(), Arc::clone(&self.log));
        let to = Port::new(move |noted| {
            let Some(place) = log.place_for_notes() else { return Ok(()) };
            let log = Arc::clone(&log);
            // By a process of its own: to understand and write 4,096 lines takes some ms.
            let writing = async move {
                log.noted(None, noted).await;
                drop(place);
            };
            drop(system.spawn_future(Spawn::new("notes of a call", Class::Rpc), writing));
            Ok(())
        });
        Some(CallNoting { to, noting })
    }

    /// What limits one execution asked for by `client`.
    pub(crate) fn limits(&self, client: &Client) -> Limits {
        Limits {
            gas_cap: self.config.gas_cap,
            memory_bytes_max: self.config.memory_bytes_max,
            deadline: Some(self.deadline(client)),
            timeout: self.timeout(client),
            code_size_max: self.config.code_size_max,
            tx_gas_cap: self.config.tx_gas_cap,
            ..Limits::default()
        }
    }
}

/// Durations as a number of seconds, whole or broken.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(value.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let value = f64::deserialize(from)?;
        Duration::try_from_secs_f64(value).map_err(D::Error::custom)
    }
}
