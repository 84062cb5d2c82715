//! The first transactions of a block, executed again, in slices. Pure.

use std::sync::Arc;

use evenkeel_chain::{ChainSpec, Height, SealedBlock};
use revm::context::TxEnv;

use super::Single;
use crate::{
    block::system,
    env,
    error::{CallError, TxFacts},
    heavy::HeavyResult,
    limits::TX_FUEL,
    overlay::Overlay,
    slice::Slice,
    step::Step,
    suspended::{Setup, Suspended},
};

/// A block on its way to one of its transactions.
pub(crate) struct Replay {
    /// Taken with the answer.
    evm: Option<Suspended<Overlay>>,
    /// System calls still to come.
    calls: std::vec::IntoIter<TxEnv>,
    /// What the DAO fork moves, if this is its block, until it is moved.
    spec: Option<Arc<ChainSpec>>,
    block: Arc<SealedBlock>,
    base_fee: u64,
    next: usize,
    /// How many transactions are executed.
    count: usize,
    single: Option<Box<Single>>,
    /// What the transactions so far have logged.
    logs: u64,
    /// What they have used, when they are over.
    gas_used: u64,
}

/// How far a replay came; at its end, the state after it.
pub(crate) type ReplayStep = Step<Result<Box<Overlay>, CallError>>;

impl Replay {
    /// Executes nothing yet. `count` is at most the number of the block's transactions.
    pub(crate) fn new(
        (spec, block): (&Arc<ChainSpec>, Arc<SealedBlock>),
        setup: Setup,
        overlay: Overlay,
        count: usize,
    ) -> Self {
        assert!(count <= block.txs.len(), "the block has so many transactions");
        let calls = system::before(spec, &block.header).into_iter();
        let base_fee = setup.block.basefee;
        let evm = Some(Suspended::new(setup, overlay, ()));
        let spec = Some(Arc::clone(spec));
        let (single, next, logs, gas_used) = (None, 0, 0, 0);
        Self { evm, calls, spec, block, base_fee, next, count, single, logs, gas_used }
    }

    /// Runs for about `fuel` gas.
    pub(crate) fn step(&mut self, fuel: u64) -> ReplayStep {
        let mut evm = self.evm.take().expect("a replay is not stepped after its end");
        let step = if let Some(spec) = self.spec.take() {
            self.step_system(&mut evm, spec, fuel)
        } else if self.single.is_none() && self.next == self.count {
            self.gas_used = evm.whereabouts().gas_used;
            let (overlay, ()) = evm.into_parts();
            return Step::Done(Ok(Box::new(overlay)));
        } else {
            self.step_tx(&mut evm, fuel)
        };
        match step {
            Step::Done(Err(error)) => {
                self.gas_used = evm.whereabouts().gas_used;
                Step::Done(Err(error))
            }
            Step::Done(Ok(())) => {
                self.evm = Some(evm);
                Step::More { used: TX_FUEL }
            }
            Step::More { used } => {
                self.evm = Some(evm);
                Step::More { used }
            }
            Step::Offload(call) => {
                self.evm = Some(evm);
                Step::Offload(call)
            }
        }
    }

    /// Before the first transaction; keeps `spec` until that is over.
    fn step_system(
        &mut self,
        evm: &mut Suspended<Overlay>,
        spec: Arc<ChainSpec>,
        fuel: u64,
    ) -> Step<Result<(), CallError>> {
        let fail = |error| Step::Done(Err(CallError::from_evm(error, TxFacts::default())));
        if !evm.is_running() {
            let Some(call) = self.calls.next() else {
                let height = Height::new(self.block.header.number);
                let drained = system::drain_dao(&spec, height, evm.db_mut());
                return Step::Done(drained.map_err(|error| CallError::State(error.0)));
            };
            if let Err(error) = evm.begin_system(call) {
                return fail(error);
            }
        }
        self.spec = Some(spec);
        let mut left = fuel;
        match evm.resume(&mut left) {
            Ok(Slice::More) => Step::More { used: fuel - left },
            Ok(Slice::Offload(call)) => Step::Offload(call),
            Ok(Slice::Done(_)) => Step::Done(commit(evm)),
            Err(error) => fail(error),
        }
    }

    fn step_tx(&mut self, evm: &mut Suspended<Overlay>, fuel: u64) -> Step<Result<(), CallError>> {
        let single = self.single.get_or_insert_with(|| {
            let tx = &self.block.txs[self.next];
            evm.allow_code_at_sender(tx.is_impersonated());
            let tx = env::tx_env(tx);
            let facts = TxFacts::of(&tx, self.base_fee);
            Box::new(Single::new(tx, &facts))
        });
        match single.step(evm, fuel) {
            Step::More { used } => Step::More { used },
            Step::Offload(call) => Step::Offload(call),
            Step::Done(Err(error)) => Step::Done(Err(error)),
            Step::Done(Ok(result)) => {
                self.single = None;
                self.next += 1;
                self.logs += result.logs().len() as u64;
                Step::Done(commit(evm))
            }
        }
    }

    /// How many logs the transactions so far have left.
    pub(crate) const fn logs(&self) -> u64 {
        self.logs
    }

    /// Gas that the transactions so far have used.
    pub(crate) fn gas_used(&mut self) -> u64 {
        self.evm.as_mut().map_or(self.gas_used, |evm| evm.whereabouts().gas_used)
    }

    /// Hands in the result of the offloaded call.
    pub(crate) fn provide(&mut self, result: HeavyResult) {
        self.evm.as_mut().expect("a replay that is over offloads nothing").provide(result);
    }
}

fn commit(evm: &mut Suspended<Overlay>) -> Result<(), CallError> {
    let state = evm.finalize();
    evm.db_mut().commit(state).map_err(|error| CallError::State(error.0))
}
