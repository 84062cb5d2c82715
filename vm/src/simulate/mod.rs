//! `eth_simulateV1`: blocks of calls on top of the chain, in slices. Pure.
//!
//! Each block is a [`BlockRun`](crate::BlockRun) on the tip that the one before it left.

mod calls;
mod chain;
mod error;
mod logs;
mod run;

pub use calls::SimulatedCall;
pub(crate) use calls::{Calls, Ready};
pub use chain::{SimulatedInput, check_sizes};
pub use error::SimulateError;
pub(crate) use logs::CallLogs;
pub use logs::NumberedLog;
pub use run::{SimulateJob, SimulateRun, SimulateStep, SimulatedBlock};
