//! The interruptible EVM: executes calls, traces and blocks on revm in slices.
//!
//! The core is pure machines ([`CallRun`], [`TraceRun`], [`BlockRun`]) over [`Suspended`]; four
//! actors drive them: a `Call` per request, the one [`Executor`], the canary [`Shadow`], and where
//! there is no executor a `Block` per block ([`spawn_block`]).
//! revm's internals are named in `call_tree.rs`, `console.rs`, `noted.rs`, `slice.rs`,
//! `suspended.rs`, `trace.rs`, `tracer/`, `collision.rs`, `constantinople.rs`, `grow.rs`, `long.rs`
//! and `heavy.rs` only.

mod actor;
mod blake2;
mod block;
mod call;
mod call_tree;
mod collision;
mod console;
mod constantinople;
mod env;
mod error;
mod grounded;
mod grow;
mod heavy;
pub mod limits;
mod long;
mod names;
mod noted;
mod overlay;
mod overrides;
mod payload;
mod revert;
mod shadow;
mod simulate;
mod slice;
mod step;
mod suspended;
mod trace;
mod tracer;
mod witness;

pub use actor::{
    BlockNoting, BuildRequest, Executor, ExecutorConfig, ExecutorEvent, ExecutorMessage,
    ExecutorPorts, Hold, HoldState, Progress, Reverted, Shadow, StreamedTrace, Watch, Writing,
    spawn_block, spawn_call, spawn_payload, spawn_replay, spawn_simulation, spawn_streamed_trace,
    spawn_trace, spawn_witness,
};
pub use block::{
    BlockNotes, BlockOutcome, BlockRun, BlockStep, BuildJob, CandidateSource, Candidates,
    ExecError, ListedTxs, SingleJob, TxNote, block_rewards,
};
pub use call::{
    AccessListed, CallJob, CallKind, CallNoting, CallOutcome, CallRun, CallStep, ReplayJob,
    ReplayRun, TraceCall, TraceFrame, TraceItem, TraceJob, TracePiece, TraceRun, TraceStart,
    TraceStep, Within,
};
pub use call_tree::{
    CallTree, Excerpt, Said, SlotChange, TreeCall, TreeEnd, TreeItem, TreeKind, TreeLog,
};
pub use collision::StorageSearch;
pub use console::{CONSOLE, ConsoleCalls, ConsoleLine, TEST_EVENTS};
pub use env::spec_id;
pub use error::{CallError, Halt, InvalidCall, Refusal, TxFacts, Unsupported};
pub use grounded::Ground;
pub use heavy::{HeavyCall, HeavyResult, MovedPrecompiles};
pub use limits::Limits;
pub use noted::{Noted, Noting};
pub use overlay::{Overlay, ReadError};
pub use payload::{Payload, PayloadJob, PayloadRun, PayloadStep};
pub use revert::Failure;
pub use shadow::{BadAim, Difference, Divergence, LiveBlock, ShadowAim, ShadowReport};
pub use simulate::{
    NumberedLog, SimulateError, SimulateJob, SimulateRun, SimulateStep, SimulatedBlock,
    SimulatedCall, SimulatedInput, check_sizes,
};
pub use slice::{ExecutionError, Slice};
pub use step::Step;
pub use suspended::{Setup, Suspended, Whereabouts};
pub use tracer::{Json, TraceKind, Traced, wrong_option};
pub use witness::{Witness, WitnessJob, WitnessRun, WitnessStep};
