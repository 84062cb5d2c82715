//! What this process of the node is told; the chain itself is a `ChainSpec`.

use evenkeel_consensus::Mining;
use evenkeel_mempool::PoolConfig;
use evenkeel_rpc::RpcConfig;
use evenkeel_vm::Limits;

/// Settings of one node process. Nodes of one network may differ in all of it.
#[derive(Clone, Debug)]
pub struct Config {
    /// When the engine makes blocks.
    pub mining: Mining,
    /// Most transactions in a block; `None`: as many as the gas limit admits.
    pub txs_per_block_max: Option<usize>,
    /// Rules and limits of the mempool.
    pub pool: PoolConfig,
    /// Limits of an execution while building blocks; calls take theirs from `rpc`.
    pub limits: Limits,
    /// Limits and manners of JSON-RPC.
    pub rpc: RpcConfig,
    /// Keys the node signs with (`eth_sendTransaction`).
    pub signers: Vec<alloy_signer_local::PrivateKeySigner>,
    /// Accept unsigned transactions from any sender.
    pub auto_impersonate: bool,
}
