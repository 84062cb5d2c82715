//! A block of a simulation: what the caller pretends comes first, and its transactions are made of
//! calls, one by one. Pure.

use std::sync::Arc;

use evenkeel_chain::{ChainSpec, Header, RecoveredTx};
use evenkeel_state::Tip;
use revm::context::{TxEnv, result::ExecutionResult};

use super::{
    ExecError,
    observer::Observer,
    run::{BlockRun, Phase, Progress, Source},
    system,
};
use crate::{
    error::CallError,
    limits::OVERRIDE_FUEL,
    long::Fault,
    overlay::Overlay,
    overrides::Overrides,
    simulate::{CallLogs, Calls, Ready},
    slice::{Frames, Machine},
    suspended::Setup,
};

/// Everything that a block of a simulation needs.
pub(crate) struct SimulatedBlockJob {
    pub(crate) tip: Tip,
    pub(crate) spec: Arc<ChainSpec>,
    /// As far as it is known.
    pub(crate) header: Header,
    pub(crate) setup: Setup,
    /// Accounts to pretend.
    pub(crate) state: Option<Overrides>,
    pub(crate) calls: Calls,
    pub(crate) logs: CallLogs,
}

impl BlockRun<CallLogs> {
    /// A block to be simulated; executes nothing yet.
    pub(crate) fn simulate(job: SimulatedBlockJob) -> Self {
        let SimulatedBlockJob { tip, spec, header, setup, state, calls, logs } = job;
        let source = Source::Simulate(Box::new(calls));
        let mut run = Self::assemble((tip, spec), source, header, (setup, logs));
        if let Some(state) = state {
            run.phase = Phase::Overrides(state);
        }
        run
    }

    /// What came of the calls, once the block is over.
    ///
    /// # Panics
    ///
    /// If the block is none of a simulation.
    pub(crate) fn take_calls(&mut self) -> Calls {
        match std::mem::replace(&mut self.source, Source::Single { tx: None }) {
            Source::Simulate(calls) => *calls,
            Source::Build { .. } | Source::Validate { .. } | Source::Single { .. } => {
                panic!("the block is not simulated")
            }
        }
    }
}

impl<I: Observer> BlockRun<I>
where
    Machine<Overlay, I>: Frames<Overlay>,
{
    /// Goes on with what the caller pretends; the system calls come after it.
    pub(super) fn pretend(
        &mut self,
        mut overrides: Overrides,
        left: &mut u64,
    ) -> Result<Progress, ExecError> {
        *left = left.saturating_sub(OVERRIDE_FUEL);
        let is_more = overrides.step(self.evm().db_mut()).map_err(failed)?;
        Ok(Progress::Phase(if is_more {
            Phase::Overrides(overrides)
        } else {
            Phase::Before(system::before(&self.spec, &self.header).into_iter())
        }))
    }

    /// The next call of a simulation as a transaction, if there is one.
    pub(super) fn next_call(&mut self) -> Result<Option<(Arc<RecoveredTx>, TxEnv)>, ExecError> {
        let Source::Simulate(calls) = &mut self.source else { return Ok(None) };
        let evm = self.evm.as_mut().expect("the EVM stays until the last system call");
        let next = calls.next(evm.db_mut(), &self.header, self.body.gas_used);
        let Some(Ready { tx, env, is_free, blob_price }) = next.map_err(failed)? else {
            return Ok(None);
        };
        evm.allow_any_fee(is_free);
        evm.set_blob_price(blob_price);
        evm.inspector_mut().tx_begins();
        Ok(Some((tx, env)))
    }

    /// Keeps what came of a call of a simulation, once its changes are committed.
    pub(super) fn called(
        &mut self,
        result: &ExecutionResult,
        fault: Option<Fault>,
    ) -> Result<(), ExecError> {
        let Source::Simulate(calls) = &mut self.source else { return Ok(()) };
        let evm = self.evm.as_mut().expect("the EVM stays until the last system call");
        let logs = evm.inspector_mut().tx_ends(result.logs());
        calls.applied(evm.db_mut(), (result, fault), logs).map_err(failed)
    }
}

fn failed(error: CallError) -> ExecError {
    ExecError::Call(Box::new(error))
}
