//! The trace of a transaction in a block: the block is replayed up to it, in slices. Pure.

use std::sync::Arc;

use alloy_rpc_types_trace::geth::{GethDebugTracingOptions, GethTrace};
use evenkeel_chain::{ChainSpec, SealedBlock};
use evenkeel_state::View;
use revm::context::TxEnv;

use super::single::Single;
use crate::{
    block::system,
    env,
    error::{CallError, InvalidCall, TxFacts},
    heavy::HeavyResult,
    limits::{Limits, TX_FUEL},
    overlay::Overlay,
    slice::Slice,
    step::Step,
    suspended::{Setup, Suspended},
    tracer::{self, CallTracer},
};

/// Everything a trace needs.
pub struct TraceJob {
    /// The state before the block.
    pub parent_view: View,
    /// The block.
    pub block: Arc<SealedBlock>,
    /// Which of its transactions.
    pub index: usize,
    /// The chain's rules.
    pub spec: Arc<ChainSpec>,
    /// The tracer and its options.
    pub options: GethDebugTracingOptions,
    /// What it may use.
    pub limits: Limits,
}

/// How far a trace came.
pub type TraceStep = Step<Result<GethTrace, CallError>>;

/// A trace in the middle of its execution.
pub struct TraceRun {
    phase: Phase,
    block: Arc<SealedBlock>,
    index: usize,
    setup: Setup,
    options: GethDebugTracingOptions,
}

enum Phase {
    System { evm: Suspended<Overlay>, calls: std::vec::IntoIter<TxEnv> },
    Replay { evm: Suspended<Overlay>, next: usize, single: Option<Box<Single>> },
    Trace(Box<CallTracer>),
    Over,
}

impl TraceRun {
    /// Checks the options; executes nothing yet.
    ///
    /// # Errors
    ///
    /// There is no such transaction or tracer.
    pub fn new(job: TraceJob) -> Result<Self, CallError> {
        let TraceJob { parent_view, block, index, spec, options, limits } = job;
        tracer::call_config(options.clone())?;
        if index >= block.txs.len() {
            let count = block.txs.len();
            return Err(CallError::Invalid(InvalidCall::NoTransaction { index, count }));
        }
        let setup = env::setup(&spec, &block.header, &limits);
        let evm = Suspended::new(setup.clone(), Overlay::new(parent_view), ());
        let calls = system::before(&spec, &block.header).into_iter();
        Ok(Self { phase: Phase::System { evm, calls }, block, index, setup, options })
    }

    /// Runs for about `fuel` gas.
    pub fn step(&mut self, fuel: u64) -> TraceStep {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::System { evm, calls } => self.step_system(evm, calls, fuel),
            Phase::Replay { evm, next, single } => self.step_replay((evm, next, single), fuel),
            Phase::Trace(mut tracer) => {
                let step = tracer.step(fuel);
                self.phase = Phase::Trace(tracer);
                step
            }
            Phase::Over => panic!("a trace was stepped after its end"),
        }
    }

    fn step_system(
        &mut self,
        mut evm: Suspended<Overlay>,
        mut calls: std::vec::IntoIter<TxEnv>,
        fuel: u64,
    ) -> TraceStep {
        if !evm.is_running() {
            let Some(call) = calls.next() else {
                self.phase = Phase::Replay { evm, next: 0, single: None };
                return Step::More { used: 0 };
            };
            if let Err(error) = evm.begin_system(call) {
                return Step::Done(Err(CallError::from_evm(error, TxFacts::default())));
            }
        }
        let mut left = fuel;
        let step = match evm.resume(&mut left) {
            Ok(Slice::More) => Step::More { used: fuel - left },
            Ok(Slice::Offload(call)) => Step::Offload(call),
            Ok(Slice::Done(_)) => match commit(&mut evm) {
                Ok(()) => Step::More { used: fuel - left },
                Err(error) => return Step::Done(Err(error)),
            },
            Err(error) => {
                return Step::Done(Err(CallError::from_evm(error, TxFacts::default())));
            }
        };
        self.phase = Phase::System { evm, calls };
        step
    }

    fn step_replay(
        &mut self,
        (mut evm, mut next, single): (Suspended<Overlay>, usize, Option<Box<Single>>),
        fuel: u64,
    ) -> TraceStep {
        if single.is_none() && next == self.index {
            return self.start_trace(evm);
        }
        let mut single = single.unwrap_or_else(|| {
            let tx = &self.block.txs[next];
            evm.allow_code_at_sender(tx.is_impersonated());
            Box::new(self.single(next))
        });
        match single.step(&mut evm, fuel) {
            Step::More { used } => {
                self.phase = Phase::Replay { evm, next, single: Some(single) };
                Step::More { used }
            }
            Step::Offload(call) => {
                self.phase = Phase::Replay { evm, next, single: Some(single) };
                Step::Offload(call)
            }
            Step::Done(Err(error)) => Step::Done(Err(error)),
            Step::Done(Ok(_)) => {
                if let Err(error) = commit(&mut evm) {
                    return Step::Done(Err(error));
                }
                next += 1;
                self.phase = Phase::Replay { evm, next, single: None };
                Step::More { used: TX_FUEL }
            }
        }
    }

    fn start_trace(&mut self, evm: Suspended<Overlay>) -> TraceStep {
        let (overlay, ()) = evm.into_parts();
        let tx = &self.block.txs[self.index];
        let mut setup = self.setup.clone();
        setup.cfg.disable_eip3607 = tx.is_impersonated();
        let tx = env::tx_env(tx);
        let facts = TxFacts::of(&tx, setup.block.basefee);
        match CallTracer::new(self.options.clone(), setup, overlay, (tx, &facts)) {
            Ok(tracer) => {
                self.phase = Phase::Trace(Box::new(tracer));
                Step::More { used: TX_FUEL }
            }
            Err(error) => Step::Done(Err(error)),
        }
    }

    fn single(&self, index: usize) -> Single {
        let tx = env::tx_env(&self.block.txs[index]);
        let facts = TxFacts::of(&tx, self.setup.block.basefee);
        Single::new(tx, &facts)
    }

    /// Hands in the result of the offloaded call.
    ///
    /// # Panics
    ///
    /// If nothing is offloaded, or the call was stopped.
    pub fn provide(&mut self, result: HeavyResult) {
        match &mut self.phase {
            Phase::System { evm, .. } | Phase::Replay { evm, .. } => evm.provide(result),
            Phase::Trace(tracer) => tracer.provide(result),
            Phase::Over => panic!("a trace that is over offloads nothing"),
        }
    }
}

fn commit(evm: &mut Suspended<Overlay>) -> Result<(), CallError> {
    let state = evm.finalize();
    evm.db_mut().commit(state).map_err(|error| CallError::State(error.0))
}
