//! A simulation from its base to the last block, in slices. Pure.

use std::sync::Arc;

use evenkeel_chain::{ChainSpec, SealedBlock};
use evenkeel_state::{Rewind, Tip};

use super::{
    CallLogs, Calls, SimulateError, SimulatedCall, SimulatedInput,
    calls::Allowance,
    chain::{self, Planned},
    check_sizes,
};
use crate::{
    block::{BlockOutcome, BlockRun, ExecError, SimulatedBlockJob},
    env,
    error::{CallError, InvalidCall},
    heavy::HeavyResult,
    limits::{Limits, SIMULATED_BYTES_MAX, TRIE_FUEL_PER_NODE, TRIE_NODES_PER_SLICE},
    overrides::Overrides,
    step::Step,
    suspended::Setup,
};

/// Everything a simulation needs.
pub struct SimulateJob {
    /// What it is built on.
    pub base: SimulateBase,
    /// The chain's rules.
    pub spec: Arc<ChainSpec>,
    /// The blocks, without those that fill gaps.
    pub blocks: Vec<SimulatedInput>,
    /// Whether transfers of ether are logged.
    pub has_transfers: bool,
    /// Whether nonces and fees are checked as in a real block.
    pub is_validated: bool,
    /// What it may use.
    pub limits: Limits,
}

/// What a simulation is built on.
pub enum SimulateBase {
    /// The head.
    Tip(Box<Tip>),
    /// A block below it, whose trie is to be found first.
    Former(Box<Rewind>),
}

/// A block that was simulated.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedBlock {
    /// The block.
    pub block: Arc<SealedBlock>,
    /// What came of its calls, in order.
    pub calls: Vec<SimulatedCall>,
}

/// How far a simulation came.
pub type SimulateStep = Step<Result<Vec<SimulatedBlock>, CallError>>;

/// A simulation in the middle of its execution.
pub struct SimulateRun {
    phase: Phase,
    spec: Arc<ChainSpec>,
    has_transfers: bool,
    is_validated: bool,
    limits: Limits,
    allowance: Allowance,
    /// Until the base is known.
    inputs: Vec<SimulatedInput>,
    planned: std::vec::IntoIter<Planned>,
    done: Vec<SimulatedBlock>,
}

enum Phase {
    Former(Box<Rewind>),
    Ready(Box<Tip>),
    Block(Box<BlockRun<CallLogs>>),
    Over,
}

impl SimulateRun {
    /// Checks the blocks as far as their base is known; executes nothing yet.
    ///
    /// # Errors
    ///
    /// There are no blocks, too many, or they are not in order.
    pub fn new(job: SimulateJob) -> Result<Self, CallError> {
        let SimulateJob { base, spec, blocks, has_transfers, is_validated, limits } = job;
        check_sizes(&blocks)?;
        let gas = limits.gas_cap.unwrap_or(u64::MAX);
        let mut run = Self {
            phase: Phase::Over,
            spec,
            has_transfers,
            is_validated,
            limits,
            allowance: Allowance { gas, bytes: SIMULATED_BYTES_MAX },
            inputs: blocks,
            planned: Vec::new().into_iter(),
            done: Vec::new(),
        };
        match base {
            SimulateBase::Tip(tip) => run.stand_on(tip)?,
            SimulateBase::Former(rewind) => run.phase = Phase::Former(rewind),
        }
        Ok(run)
    }

    /// Runs for about `fuel` gas.
    ///
    /// # Panics
    ///
    /// If it is called again after the end.
    pub fn step(&mut self, fuel: u64) -> SimulateStep {
        let step = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Former(rewind) => self.rewind(rewind, fuel),
            Phase::Ready(tip) => self.begin(&tip).map(|()| Step::More { used: 0 }),
            Phase::Block(run) => self.block(run, fuel),
            Phase::Over => panic!("a simulation was stepped after its end"),
        };
        step.unwrap_or_else(|error| Step::Done(Err(error)))
    }

    fn rewind(&mut self, mut rewind: Box<Rewind>, fuel: u64) -> Result<SimulateStep, CallError> {
        let nodes = usize::try_from(fuel / TRIE_FUEL_PER_NODE).unwrap_or(usize::MAX);
        let nodes = nodes.clamp(1, TRIE_NODES_PER_SLICE);
        match rewind.step(nodes)? {
            Some(tip) => self.stand_on(Box::new(tip))?,
            None => self.phase = Phase::Former(rewind),
        }
        Ok(Step::More { used: fuel })
    }

    fn stand_on(&mut self, tip: Box<Tip>) -> Result<(), CallError> {
        let inputs = std::mem::take(&mut self.inputs);
        self.planned = chain::plan(&tip.header, inputs)?.into_iter();
        self.phase = Phase::Ready(tip);
        Ok(())
    }

    /// Begins the next block on `tip`; there is one.
    fn begin(&mut self, tip: &Tip) -> Result<(), CallError> {
        let planned = self.planned.next().expect("the phase is over after the last block");
        let header =
            chain::header(&self.spec, (&tip.header, tip.hash), &planned, self.is_validated)?;
        let SimulatedInput { overrides, withdrawals, state, calls } = planned.input;
        let mut setup = env::setup(&self.spec, &header, &self.limits);
        if let Some(fee) = overrides.blob_base_fee
            && let Some(blob) = &mut setup.block.blob_excess_gas_and_price
        {
            blob.blob_gasprice = u128::try_from(fee)
                .map_err(|_| CallError::Invalid(InvalidCall::BlockOverride("blobBaseFee")))?;
        }
        self.loosen(&mut setup);
        let state = match state {
            Some(state) => {
                let (state, precompiles) = Overrides::new(state, setup.cfg.spec)?;
                setup.precompiles = Some(Arc::new(precompiles));
                Some(state)
            }
            None => None,
        };
        let prices = setup.block.blob_excess_gas_and_price;
        let blob_price = prices.map_or(0, |blob| blob.blob_gasprice);
        let (calls, chain_id) = ((calls, withdrawals), setup.cfg.chain_id);
        let calls = Calls::new(calls, self.is_validated, (chain_id, blob_price), self.allowance);
        self.phase = Phase::Block(Box::new(BlockRun::simulate(SimulatedBlockJob {
            tip: tip.clone(),
            spec: Arc::clone(&self.spec),
            header,
            setup,
            state,
            calls,
            logs: CallLogs::new(self.has_transfers),
        })));
        Ok(())
    }

    /// Takes back what calls need not keep to, as geth does.
    fn loosen(&self, setup: &mut Setup) {
        let cfg = &mut setup.cfg;
        cfg.disable_nonce_check = !self.is_validated;
        cfg.disable_eip3607 = true;
        cfg.disable_block_gas_limit = true;
        cfg.tx_chain_id_check = false;
        cfg.chain_id = self.spec.chain_id_now();
        cfg.tx_gas_limit_cap = Some(u64::MAX);
    }

    fn block(
        &mut self,
        mut run: Box<BlockRun<CallLogs>>,
        fuel: u64,
    ) -> Result<SimulateStep, CallError> {
        match run.step(fuel) {
            Step::More { used } => {
                self.phase = Phase::Block(run);
                Ok(Step::More { used })
            }
            Step::Offload(call) => {
                self.phase = Phase::Block(run);
                Ok(Step::Offload(call))
            }
            Step::Done(Ok(BlockOutcome::Empty)) => {
                unreachable!("a simulated block need not have transactions")
            }
            Step::Done(Ok(BlockOutcome::Executed(executed))) => {
                let calls = run.take_calls();
                self.allowance = calls.allowance;
                let block = Arc::clone(&executed.block);
                self.done.push(SimulatedBlock { block, calls: calls.done });
                if self.planned.as_slice().is_empty() {
                    return Ok(Step::Done(Ok(std::mem::take(&mut self.done))));
                }
                self.phase = Phase::Ready(Box::new(run.parent().extend(&executed)));
                Ok(Step::More { used: fuel })
            }
            Step::Done(Err(error)) => Err(error.into()),
        }
    }

    /// Hands in the result of the offloaded call.
    ///
    /// # Panics
    ///
    /// If nothing is offloaded, or the call was stopped.
    pub fn provide(&mut self, result: HeavyResult) {
        match &mut self.phase {
            Phase::Block(run) => run.provide(result),
            Phase::Former(_) | Phase::Ready(_) | Phase::Over => {
                panic!("only a block offloads calls")
            }
        }
    }
}

impl From<SimulateError> for CallError {
    fn from(error: SimulateError) -> Self {
        Self::Simulation(Box::new(error))
    }
}

impl From<ExecError> for CallError {
    fn from(error: ExecError) -> Self {
        match error {
            ExecError::Call(error) => *error,
            ExecError::State(error) => Self::State(error),
            ExecError::Internal(text) => Self::Internal(text),
            ExecError::Transaction { refusal, .. } => {
                let supplied_gas = refusal.tx.gas_limit;
                SimulateError::Refused { refusal, supplied_gas }.into()
            }
            error => SimulateError::Block(error).into(),
        }
    }
}
