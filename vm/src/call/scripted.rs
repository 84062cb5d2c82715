//! A transaction under a user's script: it runs on the compute pool, a piece at a time. Pure.
//!
//! A hook of a script cannot be cut, and may take as long as its bounds allow: on a worker it would
//! hold up everybody else.

use revm::context::result::ExecutionResult;

use super::Single;
use crate::{
    error::CallError,
    limits::{JS_JOB_FUEL, SLICE_GAS},
    overlay::Overlay,
    step::Step,
    suspended::Suspended,
    tracer::Tracer,
};

/// One that goes on.
pub(crate) struct Scripted {
    pub(crate) evm: Suspended<Overlay, Tracer>,
    pub(crate) single: Single,
    /// Whether to come back after a slice, that of one instruction.
    pub(crate) is_stepping: bool,
}

/// What a piece of it came to.
pub(crate) struct Piece {
    pub(crate) rest: Scripted,
    pub(crate) step: Step<Result<ExecutionResult, CallError>>,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scripted").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Piece").finish_non_exhaustive()
    }
}

impl Scripted {
    /// Runs it for some milliseconds, or until it is to stop.
    pub(crate) fn run(mut self, should_stop: &dyn Fn() -> bool) -> Piece {
        let step = self.steps(should_stop);
        if matches!(step, Step::Done(Err(_))) {
            // Here, not on a worker.
            self.evm.inspector_mut().end_scripts();
        }
        Piece { rest: self, step }
    }

    fn steps(
        &mut self,
        should_stop: &dyn Fn() -> bool,
    ) -> Step<Result<ExecutionResult, CallError>> {
        let (precompiles, tracer) = self.evm.precompiles_and_inspector();
        if let Err(error) = tracer.start_scripts(precompiles) {
            return Step::Done(Err(error));
        }
        self.evm.set_stepping(self.is_stepping);
        let mut total = 0;
        loop {
            let step = self.single.step(&mut self.evm, SLICE_GAS);
            if let Some(error) = self.evm.inspector_mut().failure() {
                return Step::Done(Err(error));
            }
            let Step::More { used } = step else {
                return step;
            };
            total += used;
            if total >= JS_JOB_FUEL || self.is_stepping || should_stop() {
                return Step::More { used: total };
            }
        }
    }
}
