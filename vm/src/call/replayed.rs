//! The state between two transactions of a block, in slices. Pure.

use std::sync::Arc;

use evenkeel_chain::{ChainSpec, SealedBlock};
use evenkeel_state::{ChangeSet, View};

use super::replay::Replay;
use crate::{
    env,
    error::{CallError, InvalidCall},
    heavy::HeavyResult,
    limits::{ACCOUNT_FUEL, Limits},
    overlay::{Differences, Overlay},
    step::Step,
    suspended::Setup,
};

/// Which state is asked for.
pub struct ReplayJob {
    /// What comes before it.
    pub within: Within,
    /// The chain's rules.
    pub spec: Arc<ChainSpec>,
    /// What they may use.
    pub limits: Limits,
}

/// A place between two transactions of a block.
pub struct Within {
    /// The state before the block.
    pub parent_view: View,
    /// The block.
    pub block: Arc<SealedBlock>,
    /// How many of its transactions come before, and are replayed.
    pub replayed: usize,
}

impl Within {
    /// The way there, and the environment of the block.
    pub(super) fn replay(self, spec: &Arc<ChainSpec>, limits: &Limits) -> (Replay, Setup) {
        let Self { parent_view, block, replayed } = self;
        let setup = env::setup(spec, &block.header, limits);
        let overlay = Overlay::new(parent_view);
        (Replay::new((spec, block), setup.clone(), overlay, replayed), setup)
    }
}

/// A block on its way to the state that is asked for.
pub struct ReplayRun {
    phase: Phase,
    parent_view: View,
}

enum Phase {
    Replay(Box<Replay>),
    Changes(Box<Differences>, ChangeSet),
    Over,
}

impl ReplayRun {
    /// Executes nothing yet.
    ///
    /// # Errors
    ///
    /// The block has fewer transactions.
    pub fn new(job: ReplayJob) -> Result<Self, CallError> {
        let ReplayJob { within, spec, limits } = job;
        let (index, count) = (within.replayed, within.block.txs.len());
        if index > count {
            return Err(CallError::Invalid(InvalidCall::NoTransaction { index, count }));
        }
        let parent_view = within.parent_view.clone();
        let (replay, _) = within.replay(&spec, &limits);
        Ok(Self { phase: Phase::Replay(Box::new(replay)), parent_view })
    }

    /// Runs for about `fuel` gas; at the end, the state.
    ///
    /// # Panics
    ///
    /// If it is called again after the end.
    pub fn step(&mut self, fuel: u64) -> Step<Result<View, CallError>> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Replay(mut replay) => match replay.step(fuel) {
                Step::Done(Ok(overlay)) => {
                    let differences = Box::new(overlay.into_differences());
                    self.phase = Phase::Changes(differences, ChangeSet::default());
                    Step::More { used: fuel }
                }
                Step::Done(Err(error)) => Step::Done(Err(error)),
                Step::More { used } => {
                    self.phase = Phase::Replay(replay);
                    Step::More { used }
                }
                Step::Offload(call) => {
                    self.phase = Phase::Replay(replay);
                    Step::Offload(call)
                }
            },
            Phase::Changes(mut differences, mut changes) => {
                if differences.step(&mut changes, None) {
                    self.phase = Phase::Changes(differences, changes);
                    return Step::More { used: ACCOUNT_FUEL };
                }
                Step::Done(Ok(self.parent_view.with(Arc::new(changes))))
            }
            Phase::Over => panic!("a replay was stepped after its end"),
        }
    }

    /// Hands in the result of the offloaded call.
    ///
    /// # Panics
    ///
    /// If nothing is offloaded, or the call was stopped.
    pub fn provide(&mut self, result: HeavyResult) {
        match &mut self.phase {
            Phase::Replay(replay) => replay.provide(result),
            Phase::Changes(..) | Phase::Over => panic!("nothing is offloaded"),
        }
    }
}
