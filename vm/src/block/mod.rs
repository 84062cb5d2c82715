//! Blocks, built, validated and simulated on one path, in slices. Pure.
#![allow(private_bounds, reason = "an observer is `()` or what watches simulated calls")]

mod changes;
mod error;
mod header;
mod job;
mod notes;
mod observer;
mod post_state;
mod reads;
mod requests;
mod roots;
mod run;
mod simulated;
pub(crate) mod system;
mod txs;

pub use error::ExecError;
pub use job::{
    BlockOutcome, BlockStep, BuildJob, CandidateSource, Candidates, ListedTxs, SingleJob,
};
pub use notes::{BlockNotes, TxNote};
pub(crate) use observer::Observer;
pub use run::BlockRun;
pub(crate) use simulated::SimulatedBlockJob;
pub use system::rewards as block_rewards;
