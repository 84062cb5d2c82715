//! A block built beside the chain, for whoever asks what it would be, in slices.
//!
//! Pure. What it is built on is the head or a former block ([`Ground`]); nothing is kept.

use std::sync::Arc;

use alloy_primitives::{Bytes, U256};
use evenkeel_chain::{BlockAttributes, ChainSpec, RecoveredTx, SealedBlock};
use evenkeel_state::{ExecutedBlock, Rewind, Tip};

use crate::{
    block::{BlockOutcome, BlockRun, BuildJob, ExecError, ListedTxs},
    error::{CallError, InvalidCall},
    heavy::HeavyResult,
    limits::{Limits, TRIE_FUEL_PER_NODE, TRIE_NODES_PER_SLICE},
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

/// Everything that such a block needs.
pub struct PayloadJob {
    /// Its parent.
    pub ground: Ground,
    /// The chain's rules.
    pub spec: Arc<ChainSpec>,
    /// What it is to be like.
    pub attributes: BlockAttributes,
    /// What is to be in it, in order.
    pub txs: Vec<Arc<RecoveredTx>>,
    /// Whether all of them have to be; else those that cannot are left out.
    pub is_binding: bool,
    /// What it may use.
    pub limits: Limits,
}

/// Such a block.
#[derive(Clone, Debug, PartialEq)]
pub struct Payload {
    /// The block.
    pub block: Arc<SealedBlock>,
    /// What it requests (EIP-7685), each with its type before it.
    pub requests: Vec<Bytes>,
    /// Wei that its fee recipient gets in tips.
    pub value: U256,
}

/// How far such a block came.
pub type PayloadStep = Step<Result<Payload, CallError>>;

/// Such a block in the middle of its execution.
pub struct PayloadRun {
    phase: Phase,
    spec: Arc<ChainSpec>,
    attributes: BlockAttributes,
    txs: Vec<Arc<RecoveredTx>>,
    is_binding: bool,
    limits: Limits,
}

enum Phase {
    Ground(Ground),
    Block(Box<BlockRun>),
    Over,
}

impl PayloadRun {
    /// Executes nothing yet.
    #[must_use]
    pub fn new(job: PayloadJob) -> Self {
        let PayloadJob { ground, spec, attributes, txs, is_binding, limits } = job;
        Self { phase: Phase::Ground(ground), spec, attributes, txs, is_binding, limits }
    }

    /// Runs for about `fuel` gas.
    ///
    /// # Panics
    ///
    /// If it is called again after the end.
    pub fn step(&mut self, fuel: u64) -> PayloadStep {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Ground(ground) => match ground.step(fuel) {
                Ok(Ok(tip)) => self.begin(*tip),
                Ok(Err(ground)) => {
                    self.phase = Phase::Ground(ground);
                    Step::More { used: fuel }
                }
                Err(error) => Step::Done(Err(error)),
            },
            Phase::Block(mut run) => match run.step(fuel) {
                Step::More { used } => {
                    self.phase = Phase::Block(run);
                    Step::More { used }
                }
                Step::Offload(call) => {
                    self.phase = Phase::Block(run);
                    Step::Offload(call)
                }
                Step::Done(Ok(BlockOutcome::Executed(executed))) => {
                    Step::Done(self.payload(&mut run, &executed))
                }
                Step::Done(Ok(BlockOutcome::Empty)) => {
                    unreachable!("the block need not have transactions")
                }
                Step::Done(Err(error)) => Step::Done(Err(failed(error))),
            },
            Phase::Over => panic!("a payload was stepped after its end"),
        }
    }

    fn begin(&mut self, tip: Tip) -> PayloadStep {
        let (time, parent) = (self.attributes.timestamp, tip.header.timestamp);
        if time <= parent {
            let error = InvalidCall::PayloadTime { time, parent };
            return Step::Done(Err(CallError::Invalid(error)));
        }
        let candidates = ListedTxs::new(self.txs.iter().cloned(), self.is_binding);
        let run = BlockRun::build(BuildJob {
            tip,
            spec: Arc::clone(&self.spec),
            attributes: self.attributes.clone(),
            limits: self.limits.clone(),
            candidates: Box::new(candidates),
        });
        match run {
            Ok(run) => self.phase = Phase::Block(Box::new(run)),
            Err(error) => return Step::Done(Err(failed(error))),
        }
        Step::More { used: 0 }
    }

    fn payload(&self, run: &mut BlockRun, executed: &ExecutedBlock) -> Result<Payload, CallError> {
        let block = &executed.block;
        if self.is_binding && block.txs.len() < self.txs.len() {
            return Err(CallError::Invalid(InvalidCall::PayloadGas));
        }
        let base_fee = block.header.base_fee_per_gas.unwrap_or(0);
        let (mut value, mut gas_before) = (U256::ZERO, 0);
        for (tx, receipt) in block.txs.iter().zip(executed.receipts.iter()) {
            let gas = receipt.cumulative_gas_used - gas_before;
            gas_before = receipt.cumulative_gas_used;
            let tip = U256::from(tx.effective_tip(base_fee).unwrap_or(0));
            value = value.saturating_add(tip.saturating_mul(U256::from(gas)));
        }
        let requests = run.take_requests().take();
        Ok(Payload { block: Arc::clone(block), requests, value })
    }

    /// Hands in the result of the offloaded call.
    ///
    /// # Panics
    ///
    /// If nothing is offloaded, or the call was stopped.
    pub fn provide(&mut self, result: HeavyResult) {
        match &mut self.phase {
            Phase::Block(run) => run.provide(result),
            Phase::Ground(_) | Phase::Over => panic!("only a block offloads calls"),
        }
    }
}

fn failed(error: ExecError) -> CallError {
    match error {
        ExecError::Transaction { refusal, .. } => {
            CallError::Invalid(InvalidCall::PayloadTx(refusal))
        }
        error => error.into(),
    }
}
