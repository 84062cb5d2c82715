//! Precompile calls too long for a worker: found before they run, run elsewhere, put back. Traces
//! too large to be rendered on one take the same way, and transactions under users' scripts.
//!
//! Pure. A call is heavy if the precompile says "out of gas" when it is given only the limit:
//! every precompile compares its price with its gas before it works, so asking is cheap and the
//! price is revm's own. If it is light the answer is kept and used, so nothing runs twice.
//!
//! # Invariants
//!
//! - H1: output, gas and errors are those of the call run in place.
//! - H2: a call that fails before its precompile would run (depth, funds) is not offloaded.

use std::sync::Arc;

use alloy_primitives::{
    Address, Bytes,
    map::{AddressMap, AddressSet},
};
use revm::{
    Database,
    context::{Cfg, ContextTr, JournalTr},
    context_interface::LocalContextTr,
    handler::{EthPrecompiles, PrecompileProvider, precompile_output_to_interpreter_result},
    interpreter::{
        CallInputs, CallValue, FrameInput, InterpreterResult, interpreter_action::FrameInit,
    },
    precompile::{
        Precompile, PrecompileHalt, PrecompileId, PrecompileOutput, PrecompileResult,
        PrecompileSpecId, Precompiles,
    },
    primitives::{constants::CALL_STACK_LIMIT, hardfork::SpecId},
};

use crate::{
    blake2,
    call::{Piece, Scripted},
    slice::VmContext,
    tracer::{Rendered, Unrendered, Written, stoppable},
};

/// Work to be done off the worker.
#[derive(Debug)]
pub struct HeavyCall(Work);

#[derive(Debug)]
enum Work {
    Precompile { precompile: Precompile, input: Bytes, gas_limit: u64, reservoir: u64 },
    Render(Box<Unrendered>),
    Join(Box<Written>),
    Script(Box<Scripted>),
}

/// What a [`HeavyCall`] came to.
#[derive(Debug)]
pub struct HeavyResult(Outcome);

#[derive(Debug)]
enum Outcome {
    Ran(PrecompileResult),
    Stopped,
    Rendered(Box<Rendered>),
    Piece(Box<Piece>),
}

impl HeavyResult {
    /// Returns true if the call was stopped, so that it has no result.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        matches!(self.0, Outcome::Stopped)
    }

    /// The rendered trace.
    ///
    /// # Panics
    ///
    /// If it is the result of other work, or the work was stopped.
    pub(crate) fn into_rendered(self) -> Rendered {
        match self.0 {
            Outcome::Rendered(rendered) => *rendered,
            Outcome::Ran(_) | Outcome::Stopped | Outcome::Piece(_) => {
                panic!("no trace was to be rendered")
            }
        }
    }

    /// The transaction under a script.
    ///
    /// # Panics
    ///
    /// As [`HeavyResult::into_rendered`].
    pub(crate) fn into_piece(self) -> Piece {
        match self.0 {
            Outcome::Piece(piece) => *piece,
            Outcome::Ran(_) | Outcome::Stopped | Outcome::Rendered(_) => {
                panic!("no script was to run")
            }
        }
    }
}

impl HeavyCall {
    /// The rendering of a trace.
    pub(crate) fn render(unrendered: Box<Unrendered>) -> Self {
        Self(Work::Render(unrendered))
    }

    /// The joining of a trace's text.
    pub(crate) fn join(written: Box<Written>) -> Self {
        Self(Work::Join(written))
    }

    /// A piece of a transaction under a script.
    pub(crate) fn script(scripted: Box<Scripted>) -> Self {
        Self(Work::Script(scripted))
    }

    /// Does the work. Asks `should_stop` now and then where it can be cut (BLAKE2F, scripts); all
    /// else runs to its end.
    #[must_use]
    pub fn run(self, should_stop: &dyn Fn() -> bool) -> HeavyResult {
        let (precompile, input, gas_limit, reservoir) = match self.0 {
            Work::Precompile { precompile, input, gas_limit, reservoir } => {
                (precompile, input, gas_limit, reservoir)
            }
            Work::Render(unrendered) => {
                let rendered = stoppable(should_stop, || unrendered.render());
                return HeavyResult(Outcome::Rendered(Box::new(rendered)));
            }
            Work::Script(scripted) => {
                let piece = stoppable(should_stop, || scripted.run(should_stop));
                if should_stop() {
                    return HeavyResult(Outcome::Stopped);
                }
                return HeavyResult(Outcome::Piece(Box::new(piece)));
            }
            Work::Join(written) => {
                return HeavyResult(Outcome::Rendered(Box::new(written.join())));
            }
        };
        if matches!(precompile.id(), PrecompileId::Blake2F) {
            return match blake2::run(&input, gas_limit, should_stop) {
                Some(result) => {
                    let output = PrecompileOutput::from_eth_result(result, reservoir);
                    HeavyResult(Outcome::Ran(Ok(output)))
                }
                None => HeavyResult(Outcome::Stopped),
            };
        }
        if matches!(precompile.id(), PrecompileId::KzgPointEvaluation) {
            // Before revm, which would load tables that only proofs of cells use.
            evenkeel_chain::kzg_settings();
        }
        HeavyResult(Outcome::Ran(precompile.execute(&input, gas_limit, reservoir)))
    }

    /// Name of the precompile, or `render`, or `script`.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.0 {
            Work::Precompile { precompile, .. } => precompile.id().name(),
            Work::Render(_) | Work::Join(_) => "render",
            Work::Script(_) => "script",
        }
    }
}

/// The precompiles of a fork, some of them moved elsewhere or covered by an account.
#[derive(Clone, Debug)]
pub struct MovedPrecompiles(AddressMap<Precompile>);

impl MovedPrecompiles {
    /// Where the fork has them.
    pub(crate) fn of(spec: SpecId) -> Self {
        let all = Precompiles::new(PrecompileSpecId::from_spec_id(spec));
        let all = all.addresses().filter_map(|at| Some((*at, all.get(at)?.clone())));
        Self(all.collect())
    }

    /// Removes the one at `address`; None: there is none.
    pub(crate) fn take(&mut self, address: Address) -> Option<Precompile> {
        self.0.remove(&address)
    }

    /// Puts one at `address`, in place of what is there.
    pub(crate) fn put(&mut self, address: Address, precompile: Precompile) {
        self.0.insert(address, precompile);
    }
}

/// The precompiles of the fork, one of which may have run already.
#[derive(Debug)]
pub(crate) struct SlicedPrecompiles {
    inner: EthPrecompiles,
    /// Those that are there instead. What is warm stays what it is on the fork, as in geth.
    moved: Option<Arc<MovedPrecompiles>>,
    /// The highest address of a precompile: nearly all calls go above it.
    highest: Address,
    heavy_gas: u64,
    /// Result of the call that the next frame makes.
    ready: Option<PrecompileResult>,
}

impl SlicedPrecompiles {
    pub(crate) fn new(spec: SpecId, heavy_gas: u64, moved: Option<Arc<MovedPrecompiles>>) -> Self {
        let inner = EthPrecompiles::new(spec);
        let highest = match &moved {
            Some(moved) => moved.0.keys().max(),
            None => inner.warm_addresses().iter().max(),
        };
        let highest = highest.copied().unwrap_or_default();
        Self { inner, moved, highest, heavy_gas, ready: None }
    }

    fn get(&self, address: &Address) -> Option<&Precompile> {
        match &self.moved {
            Some(moved) => moved.0.get(address),
            None => self.inner.precompiles.get(address),
        }
    }

    /// Takes over what an offloaded call came to.
    ///
    /// # Panics
    ///
    /// If the call was stopped: the execution is to be cancelled then.
    pub(crate) fn provide(&mut self, result: HeavyResult) {
        match result.0 {
            Outcome::Ran(result) => self.ready = Some(result),
            Outcome::Stopped => panic!("a stopped call has no result"),
            Outcome::Rendered(_) | Outcome::Piece(_) => {
                panic!("a trace is no result of a precompile")
            }
        }
    }

    /// Drops a result that the frame did not ask for.
    pub(crate) fn forget(&mut self) {
        self.ready = None;
    }

    /// Returns true if `init` may be a heavy call. Quick, for it is asked of every call.
    #[inline]
    pub(crate) fn may_be_heavy(&self, init: &FrameInit) -> bool {
        let FrameInput::Call(inputs) = &init.frame_input else { return false };
        inputs.gas_limit > self.heavy_gas && inputs.bytecode_address <= self.highest
    }

    /// Returns the call that `init` makes if it is a precompile's and heavy.
    pub(crate) fn heavy_call<DB: Database>(
        &mut self,
        context: &VmContext<DB>,
        init: &FrameInit,
    ) -> Option<HeavyCall> {
        let FrameInput::Call(inputs) = &init.frame_input else { return None };
        if self.ready.is_some() {
            return None;
        }
        let precompile = self.get(&inputs.bytecode_address)?;
        if !reaches_precompile(context, init.depth, inputs) {
            return None;
        }
        let input = inputs.input.as_bytes(context);
        let precompile = precompile.clone();
        let result = precompile.execute(&input, self.heavy_gas, inputs.reservoir);
        let halt = result.as_ref().ok().and_then(PrecompileOutput::halt_reason);
        let is_heavy = halt.is_some_and(PrecompileHalt::is_oog);
        if !is_heavy {
            self.ready = Some(result);
            return None;
        }
        Some(HeavyCall(Work::Precompile {
            precompile,
            input: Bytes::copy_from_slice(&input),
            gas_limit: inputs.gas_limit,
            reservoir: inputs.reservoir,
        }))
    }
}

/// H2: the checks of revm's `make_call_frame` that come before the precompile.
fn reaches_precompile<DB: Database>(
    context: &VmContext<DB>,
    depth: usize,
    inputs: &CallInputs,
) -> bool {
    if depth > usize::try_from(CALL_STACK_LIMIT).expect("1024") {
        return false;
    }
    match inputs.value {
        CallValue::Transfer(value) => {
            let caller = context.journaled_state.state.get(&inputs.caller);
            value.is_zero() || caller.is_some_and(|caller| caller.info.balance >= value)
        }
        CallValue::Apparent(_) => true,
    }
}

impl<DB: Database> PrecompileProvider<VmContext<DB>> for SlicedPrecompiles {
    type Output = InterpreterResult;

    fn set_spec(&mut self, spec: <<VmContext<DB> as ContextTr>::Cfg as Cfg>::Spec) -> bool {
        PrecompileProvider::<VmContext<DB>>::set_spec(&mut self.inner, spec)
    }

    fn run(
        &mut self,
        context: &mut VmContext<DB>,
        inputs: &CallInputs,
    ) -> Result<Option<InterpreterResult>, String> {
        let ready = match (self.ready.take(), &self.moved) {
            (Some(ready), _) => ready,
            (None, None) => return self.inner.run(context, inputs),
            (None, Some(_)) => {
                let Some(precompile) = self.get(&inputs.bytecode_address) else { return Ok(None) };
                let input = inputs.input.as_bytes(context);
                precompile.execute(&input, inputs.gas_limit, inputs.reservoir)
            }
        };
        // From here as `EthPrecompiles::run`.
        let output = ready.map_err(|error| error.to_string())?;
        if let Some(reason) = output.halt_reason()
            && !reason.is_oog()
            && context.journal().depth() == 1
        {
            context.local_mut().set_precompile_error_context(reason.to_string());
        }
        Ok(Some(precompile_output_to_interpreter_result(output, inputs.gas_limit)))
    }

    fn warm_addresses(&self) -> &AddressSet {
        self.inner.warm_addresses()
    }

    fn contains(&self, address: &Address) -> bool {
        self.get(address).is_some()
    }
}
