//! What a block is built from, and what it comes to. Pure.

use std::sync::Arc;

use evenkeel_chain::{BlockAttributes, ChainSpec, RecoveredTx};
use evenkeel_state::{ExecutedBlock, Tip};

use super::ExecError;
use crate::{limits::Limits, step::Step};

/// Transactions in the order the builder should try them.
pub trait Candidates {
    /// The next one; None: there are no more.
    fn next(&mut self) -> Option<Arc<RecoveredTx>>;
    /// The last one could not be used: skip its sender.
    fn skip_sender(&mut self);
}

/// Where candidates come from.
pub trait CandidateSource: Send {
    /// The candidates as they are now.
    fn open(&mut self) -> Box<dyn Candidates + Send>;
}

/// Everything that building a block needs.
pub struct BuildJob {
    /// The parent.
    pub tip: Tip,
    /// The chain's rules.
    pub spec: Arc<ChainSpec>,
    /// What the block is to be like.
    pub attributes: BlockAttributes,
    /// What its transactions may use.
    pub limits: Limits,
    /// What may be in it.
    pub candidates: Box<dyn Candidates + Send>,
}

/// What a block came to.
pub enum BlockOutcome {
    /// It is executed.
    Executed(Arc<ExecutedBlock>),
    /// There was nothing to put in it, and it had to have something.
    Empty,
}

/// How far a block came.
pub type BlockStep = Step<Result<BlockOutcome, ExecError>>;
