//! The actors around the machines: one per call, and the one executor.

mod call;
mod cheat;
mod executor;
mod message;
mod slot;
mod turn;

pub use call::{spawn_call, spawn_trace};
pub use executor::{Executor, ExecutorConfig, ExecutorPorts};
pub use message::{BuildRequest, ExecutorEvent, ExecutorMessage, Reverted};
