//! Makes the mailboxes of [`crate::topology`], connects the ports and spawns the processes.
//!
//! The same on both drivers: nothing here knows which one `system` runs on.

use std::sync::Arc;

use evenkeel_chain::ChainSpec;
use evenkeel_consensus::{Consensus, ConsensusMessage, Solo, SoloConfig};
use evenkeel_mempool::{
    Admission, AdmissionMessage, Admissions, BestTxs, PendingFeed, PoolActor, PoolMessage,
};
use evenkeel_rpc::Api;
use evenkeel_runtime::{Actor, Address, Mailbox, Published, Spawn, System, published};
use evenkeel_state::{Database, Durable, Writer, WriterMessage};
use evenkeel_vm::{Executor, ExecutorMessage};

use crate::{
    config::Config,
    ports,
    topology::{self, Process},
};

/// A running node: what a server, a test or the command line needs of it.
pub struct Node {
    /// Answers JSON-RPC requests.
    pub api: Arc<Api>,
    /// The durable chain.
    pub durable: Published<Durable>,
    /// The rules of the chain.
    pub spec: Arc<ChainSpec>,
}

/// The addresses of all processes that are made at the start.
struct Addresses {
    admissions: Vec<Address<AdmissionMessage>>,
    pool: Address<PoolMessage>,
    consensus: Address<ConsensusMessage>,
    executor: Address<ExecutorMessage>,
    writer: Address<WriterMessage>,
}
