//! Wires the processes of a node: the same topology on real threads and in the simulator.
//!
//! [`topology`] declares every process; [`start`] makes their mailboxes, connects the ports and
//! spawns them; [`Config`] is what one process of the node may be told. [`BlockImport`] takes
//! blocks from elsewhere, without a node.

mod config;
mod import;
mod ports;
pub mod topology;
mod wire;

pub use config::Config;
pub use evenkeel_consensus::{ConfigError, Mining, limits::INTERVAL_MIN};
pub use evenkeel_mempool::{AdmissionConfig, Order, PoolConfig};
pub use evenkeel_rpc::{
    Api, Bound, Listeners, LogConfig, LogForm, RpcConfig, ServeError, bind, log_blocks, serve_on,
};
pub use evenkeel_vm::{Limits, Noting, ShadowAim};
pub use import::{BlockImport, ImportError, Imported, ReadBlock};
pub use wire::{Node, start};
