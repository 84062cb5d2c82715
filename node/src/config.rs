//! What this process of the node is told; the chain itself is a `ChainSpec`.

use alloy_signer_local::PrivateKeySigner;
use evenkeel_chain::DevAccounts;
use evenkeel_consensus::Mining;
use evenkeel_mempool::{AdmissionConfig, PoolConfig};
use evenkeel_rpc::{LogConfig, RpcConfig};
use evenkeel_vm::{Limits, ShadowAim};

/// Settings of one node process. Nodes of one network may differ in all of it.
#[derive(Clone, Debug)]
pub struct Config {
    /// When the engine makes blocks.
    pub mining: Mining,
    /// Most transactions in a block; `None`: as many as the gas limit admits.
    pub txs_per_block_max: Option<usize>,
    /// Gas limit of the blocks to come; `None`: that of the head.
    pub gas_limit: Option<u64>,
    /// Rules and limits of the mempool.
    pub pool: PoolConfig,
    /// Stateless checks before it.
    pub admission: AdmissionConfig,
    /// Limits of the transactions of a block; calls take theirs from `rpc`.
    pub limits: Limits,
    /// Limits and manners of JSON-RPC.
    pub rpc: RpcConfig,
    /// Keys the node signs with (`eth_sendTransaction`).
    pub accounts: DevAccounts,
    /// Keys it signs with besides.
    pub keys: Vec<PrivateKeySigner>,
    /// What is told to the operator of requests and blocks.
    pub log: LogConfig,
    /// The chain's clock starts at the time of its head, even if the machine's is later.
    pub is_clock_from_head: bool,
    /// Execute every block once more under these rules, and report what differs.
    pub shadow: Option<ShadowAim>,
    /// Accept unsigned transactions from any sender.
    pub auto_impersonate: bool,
}
