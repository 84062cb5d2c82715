//! The actors around the machines: one per call, the one executor, its canary, and one per block
//! where there is no executor.

mod block;
mod block_work;
mod call;
mod cheat;
mod executor;
mod hold;
mod message;
mod reorg;
mod run;
mod shadow;
mod slot;
mod turn;
mod writing;

pub use block::spawn_block;
pub use executor::{BlockNoting, Executor, ExecutorConfig, ExecutorPorts};
pub use hold::{Hold, HoldState, Progress, Watch};
pub use message::{BuildRequest, ExecutorEvent, ExecutorMessage, Reverted};
pub use run::{
    StreamedTrace, spawn_call, spawn_payload, spawn_replay, spawn_simulation, spawn_streamed_trace,
    spawn_trace, spawn_witness,
};
pub use shadow::Shadow;
pub use writing::Writing;
