//! A block executed beside the chain, on the head or a former block, in slices: first what it
//! stands on is found, then it runs.
//!
//! Pure.

use std::sync::Arc;

use evenkeel_state::{ExecutedBlock, Rewind, Tip};

use crate::{
    block::{BlockOutcome, BlockRun, ExecError},
    error::CallError,
    heavy::HeavyResult,
    limits::{TRIE_FUEL_PER_NODE, TRIE_NODES_PER_SLICE},
    step::Step,
};

/// What blocks are made on that are not for the chain.
pub enum Ground {
    /// The head.
    Tip(Box<Tip>),
    /// A block below it, whose trie is to be found first.
    Former(Box<Rewind>),
}

impl Ground {
    /// Runs for about `fuel` gas; the tip, once it is there.
    ///
    /// # Errors
    ///
    /// The state cannot be read, or too much changed since.
    pub(crate) fn step(self, fuel: u64) -> Result<Result<Box<Tip>, Self>, CallError> {
        let mut rewind = match self {
            Self::Tip(tip) => return Ok(Ok(tip)),
            Self::Former(rewind) => rewind,
        };
        let nodes = usize::try_from(fuel / TRIE_FUEL_PER_NODE).unwrap_or(usize::MAX);
        Ok(match rewind.step(nodes.clamp(1, TRIE_NODES_PER_SLICE))? {
            Some(tip) => Ok(Box::new(tip)),
            None => Err(Self::Former(rewind)),
        })
    }
}

/// What comes of it: the run, for what it recorded, and the block.
pub(crate) type Executed = (Box<BlockRun>, Arc<ExecutedBlock>);

/// Such a block on its way.
pub(crate) enum Grounded {
    Ground(Ground),
    Block(Box<BlockRun>),
    Over,
}

impl Grounded {
    /// Runs for about `fuel` gas. `begin` makes the run once the ground is there, `failed` says
    /// what a failure of it is to the caller.
    ///
    /// # Panics
    ///
    /// If it is called again after the end.
    pub(crate) fn step(
        &mut self,
        fuel: u64,
        begin: impl FnOnce(Tip) -> Result<BlockRun, CallError>,
        failed: impl FnOnce(ExecError) -> CallError,
    ) -> Step<Result<Executed, CallError>> {
        match std::mem::replace(self, Self::Over) {
            Self::Ground(ground) => match ground.step(fuel) {
                Ok(Ok(tip)) => match begin(*tip) {
                    Ok(run) => self.goes_on(Self::Block(Box::new(run)), fuel),
                    Err(error) => Step::Done(Err(error)),
                },
                Ok(Err(ground)) => self.goes_on(Self::Ground(ground), fuel),
                Err(error) => Step::Done(Err(error)),
            },
            Self::Block(mut run) => match run.step(fuel) {
                Step::More { used } => self.goes_on(Self::Block(run), used),
                Step::Offload(call) => {
                    *self = Self::Block(run);
                    Step::Offload(call)
                }
                Step::Done(Ok(BlockOutcome::Executed(executed))) => Step::Done(Ok((run, executed))),
                Step::Done(Ok(BlockOutcome::Empty)) => {
                    unreachable!("the block need not have transactions")
                }
                Step::Done(Err(error)) => Step::Done(Err(failed(error))),
            },
            Self::Over => panic!("a block was stepped after its end"),
        }
    }

    fn goes_on<T>(&mut self, with: Self, used: u64) -> Step<T> {
        *self = with;
        Step::More { used }
    }

    /// Hands in the result of the offloaded call.
    ///
    /// # Panics
    ///
    /// If nothing is offloaded, or the call was stopped.
    pub(crate) fn provide(&mut self, result: HeavyResult) {
        match self {
            Self::Block(run) => run.provide(result),
            Self::Ground(_) | Self::Over => panic!("only a block offloads calls"),
        }
    }
}
