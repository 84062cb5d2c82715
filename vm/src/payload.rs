//! A block built beside the chain, for whoever asks what it would be, in slices.
//!
//! Pure. What it is built on is the head or a former block; nothing is kept.

use std::sync::Arc;

use alloy_primitives::{Bytes, U256};
use evenkeel_chain::{BlockAttributes, ChainSpec, RecoveredTx, SealedBlock};
use evenkeel_state::{ExecutedBlock, Tip};

use crate::{
    block::{BlockRun, BuildJob, ExecError, ListedTxs},
    error::{CallError, InvalidCall},
    grounded::{Ground, Grounded},
    heavy::HeavyResult,
    limits::Limits,
    step::Step,
};

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
    grounded: Grounded,
    rest: Plan,
}

/// What the block is to be.
struct Plan {
    spec: Arc<ChainSpec>,
    attributes: BlockAttributes,
    txs: Vec<Arc<RecoveredTx>>,
    is_binding: bool,
    limits: Limits,
}

impl PayloadRun {
    /// Executes nothing yet.
    #[must_use]
    pub fn new(job: PayloadJob) -> Self {
        let PayloadJob { ground, spec, attributes, txs, is_binding, limits } = job;
        let rest = Plan { spec, attributes, txs, is_binding, limits };
        Self { grounded: Grounded::Ground(ground), rest }
    }

    /// Runs for about `fuel` gas.
    ///
    /// # Panics
    ///
    /// If it is called again after the end.
    pub fn step(&mut self, fuel: u64) -> PayloadStep {
        let Self { grounded, rest } = self;
        let begin = |tip| rest.begin(tip);
        match grounded.step(fuel, begin, failed) {
            Step::More { used } => Step::More { used },
            Step::Offload(call) => Step::Offload(call),
            Step::Done(Ok((mut run, executed))) => Step::Done(rest.payload(&mut run, &executed)),
            Step::Done(Err(error)) => Step::Done(Err(error)),
        }
    }

    /// Hands in the result of the offloaded call.
    ///
    /// # Panics
    ///
    /// If nothing is offloaded, or the call was stopped.
    pub fn provide(&mut self, result: HeavyResult) {
        self.grounded.provide(result);
    }
}

impl Plan {
    fn begin(&self, tip: Tip) -> Result<BlockRun, CallError> {
        let (time, parent) = (self.attributes.timestamp, tip.header.timestamp);
        if time <= parent {
            return Err(CallError::Invalid(InvalidCall::PayloadTime { time, parent }));
        }
        let candidates = ListedTxs::new(self.txs.iter().cloned(), self.is_binding);
        let run = BlockRun::build(BuildJob {
            tip,
            spec: Arc::clone(&self.spec),
            attributes: self.attributes.clone(),
            limits: self.limits.clone(),
            candidates: Box::new(candidates),
        });
        run.map_err(failed)
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
}

fn failed(error: ExecError) -> CallError {
    match error {
        ExecError::Transaction { refusal, .. } => {
            CallError::Invalid(InvalidCall::PayloadTx(refusal))
        }
        error => error.into(),
    }
}
