//! Blocks, built and validated on one path, in slices. Pure.

mod changes;
mod error;
mod header;
mod job;
mod post_state;
mod roots;
mod run;
pub(crate) mod system;
mod txs;

pub use error::ExecError;
pub use job::{BlockOutcome, BlockStep, BuildJob, CandidateSource, Candidates, SingleJob};
pub use run::BlockRun;
pub use system::rewards as block_rewards;
