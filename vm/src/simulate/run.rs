//! A simulation from its base to the last block, in slices. Pure.

use std::sync::Arc;

use evenkeel_chain::{ChainSpec, SealedBlock};
use evenkeel_state::Tip;

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
    grounded::Ground,
    heavy::HeavyResult,
    limits::{Limits, SIMULATED_BYTES_MAX, SIMULATED_GAS_MAX},
    overrides::Overrides,
    step::Step,
    suspended::Setup,
};

/// Everything a simulation needs.
pub struct SimulateJob {
    /// What it is built on.
    pub ground: Ground,
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
    Ground(Ground),
    Ready(Box<Tip>),
    Block(Box<BlockRun<CallLogs>>),
    Over,
}

impl SimulateRun {
    /// Checks how many blocks and calls there are; executes nothing yet.
    ///
    /// # Errors
    ///
    /// There are none, or too many.
    pub fn new(job: SimulateJob) -> Result<Self, CallError> {
        let SimulateJob { ground, spec, blocks, has_transfers, is_validated, limits } = job;
        check_sizes(&blocks)?;
        let gas = limits.gas_cap.unwrap_or(SIMULATED_GAS_MAX);
        Ok(Self {
            phase: Phase::Ground(ground),
            spec,
            has_transfers,
            is_validated,
            limits,
            allowance: Allowance { gas, bytes: SIMULATED_BYTES_MAX },
            inputs: blocks,
            planned: Vec::new().into_iter(),
            done: Vec::new(),
        })
    }

    /// Runs for about `fuel` gas.
    ///
    /// # Panics
    ///
    /// If it is called again after the end.
    pub fn step(&mut self, fuel: u64) -> SimulateStep {
        let step = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Ground(ground) => self.ground(ground, fuel),
            Phase::Ready(tip) => self.begin(&tip).map(|()| Step::More { used: 0 }),
            Phase::Block(run) => self.block(run, fuel),
            Phase::Over => panic!("a simulation was stepped after its end"),
        };
        step.unwrap_or_else(|error| Step::Done(Err(error)))
    }

    fn ground(&mut self, ground: Ground, fuel: u64) -> Result<SimulateStep, CallError> {
        match ground.step(fuel)? {
            Ok(tip) => self.stand_on(tip)?,
            Err(ground) => self.phase = Phase::Ground(ground),
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
            Phase::Ground(_) | Phase::Ready(_) | Phase::Over => {
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
