//! `eth_createAccessList`: the call is run with the list it gave until the list stays the same.
//! Pure. Source: geth `internal/ethapi`: `AccessList`.

use alloy_primitives::U256;
use alloy_rpc_types_eth::AccessList;
use revm::context::{TxEnv, result::ExecutionResult};

use super::{Single, single::output_of};
use crate::{
    error::{CallError, TxFacts},
    overlay::Overlay,
    step::Step,
    suspended::{Setup, Suspended, Whereabouts},
    tracer::Tracer,
};

/// What a call accesses.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessListed {
    /// The addresses and slots, without those that are warm anyway.
    pub list: AccessList,
    /// Gas that the call uses with the list.
    pub gas_used: U256,
    /// Why the call failed, if it did.
    pub error: Option<String>,
}

/// A call whose access list is looked for.
pub(super) struct Lister {
    /// None only within a step.
    evm: Option<Suspended<Overlay, Tracer>>,
    single: Single,
    setup: Setup,
    /// The call, with the list that it runs with.
    tx: TxEnv,
    facts: TxFacts,
    /// What was counted in the runs before.
    before: Whereabouts,
}

impl Lister {
    pub(super) fn new(setup: Setup, overlay: Overlay, (mut tx, facts): (TxEnv, TxFacts)) -> Self {
        // A list makes it a transaction of EIP-2930.
        tx.tx_type = tx.tx_type.max(1);
        let tracer = Tracer::access_list(tx.access_list.clone());
        let evm = Some(Suspended::new(setup.clone(), overlay, tracer));
        let single = Single::new(tx.clone(), &facts);
        Self { evm, single, setup, tx, facts, before: Whereabouts::default() }
    }

    pub(super) fn evm(&mut self) -> &mut Suspended<Overlay, Tracer> {
        self.evm.as_mut().expect("it is there between two steps")
    }

    /// Where it is; steps and gas are those of all runs.
    pub(super) fn whereabouts(&mut self) -> Whereabouts {
        let before = self.before;
        self.evm().whereabouts().after(before)
    }

    /// Runs for about `fuel` gas.
    pub(super) fn step(&mut self, fuel: u64) -> Step<Result<AccessListed, CallError>> {
        let evm = self.evm.as_mut().expect("it is there between two steps");
        let step = self.single.step(evm, fuel);
        if let Some(error) = evm.inspector_mut().failure() {
            return Step::Done(Err(error));
        }
        match step {
            Step::More { used } => Step::More { used },
            Step::Offload(call) => Step::Offload(call),
            Step::Done(Ok(result)) => self.ended(result, fuel),
            Step::Done(Err(error)) => Step::Done(Err(error)),
        }
    }

    /// Says what the call came to, or runs it again with what it accessed.
    fn ended(
        &mut self,
        result: ExecutionResult,
        fuel: u64,
    ) -> Step<Result<AccessListed, CallError>> {
        let evm = self.evm();
        let gas_used = U256::from(result.tx_gas_used());
        let error = output_of(result, evm.fault()).err().map(|error| match error {
            // geth says no reason here.
            CallError::Reverted { .. } => "execution reverted".to_owned(),
            error => error.to_string(),
        });
        // What the call did is undone with the state that was never committed.
        let _undone = evm.finalize();
        let mut evm = self.evm.take().expect("it was there above");
        self.before = evm.whereabouts().after(self.before);
        let (overlay, tracer) = evm.into_parts();
        let list = tracer.into_access_list();
        let is_stable = list == self.tx.access_list;
        self.tx.access_list = list;
        let tracer = Tracer::access_list(self.tx.access_list.clone());
        self.evm = Some(Suspended::new(self.setup.clone(), overlay, tracer));
        if is_stable {
            let list = std::mem::take(&mut self.tx.access_list);
            return Step::Done(Ok(AccessListed { list, gas_used, error }));
        }
        self.single = Single::new(self.tx.clone(), &self.facts);
        Step::More { used: fuel }
    }
}
