//! One execution of a call on its EVM, begun with the first slice. Pure.

use revm::context::{TxEnv, result::ExecutionResult};

use crate::{
    env::recover_authority,
    error::{CallError, Halt, TxFacts},
    limits::{AUTHORITY_FUEL, TX_FUEL},
    long::Fault,
    overlay::{Overlay, ReadError},
    slice::{Frames, Machine, Slice},
    step::Step,
    suspended::Suspended,
};

/// One transaction on an EVM.
pub(crate) struct Single {
    /// Until it is begun.
    tx: Option<TxEnv>,
    facts: TxFacts,
}

impl Single {
    pub(crate) fn new(tx: TxEnv, facts: &TxFacts) -> Self {
        Self { facts: TxFacts { gas_limit: tx.gas_limit, ..facts.clone() }, tx: Some(tx) }
    }

    /// Runs for about `fuel` gas.
    pub(crate) fn step<I>(
        &mut self,
        evm: &mut Suspended<Overlay, I>,
        fuel: u64,
    ) -> Step<Result<ExecutionResult, CallError>>
    where
        Machine<Overlay, I>: Frames<Overlay>,
    {
        let mut left = fuel;
        if let Some(mut tx) = self.tx.take() {
            while recover_authority(&mut tx) {
                left = left.saturating_sub(AUTHORITY_FUEL);
                if left == 0 {
                    self.tx = Some(tx);
                    return Step::More { used: fuel };
                }
            }
            left = left.saturating_sub(TX_FUEL);
            match evm.begin(tx) {
                Ok(None) => {}
                Ok(Some(result)) => return Step::Done(Ok(result)),
                Err(error) => return Step::Done(Err(self.error(error))),
            }
        }
        match evm.resume(&mut left) {
            Ok(Slice::More) => Step::More { used: fuel - left },
            Ok(Slice::Offload(call)) => Step::Offload(call),
            Ok(Slice::Done(result)) => Step::Done(Ok(result)),
            Err(error) => Step::Done(Err(self.error(error))),
        }
    }

    fn error(&self, error: revm::context::result::EVMError<ReadError>) -> CallError {
        CallError::from_evm(error, self.facts.clone())
    }
}

/// What a failed execution is to the caller; the output if it did not fail.
pub(crate) fn output_of(
    result: ExecutionResult,
    fault: Option<Fault>,
) -> Result<alloy_primitives::Bytes, CallError> {
    match result {
        ExecutionResult::Success { output, .. } => Ok(output.into_data()),
        ExecutionResult::Revert { output, .. } => Err(CallError::Reverted { data: output }),
        ExecutionResult::Halt { reason, .. } => Err(CallError::Halted(Halt { reason, fault })),
    }
}
