//! One transaction under geth's `callTracer`, in slices. Pure.

use alloy_rpc_types_trace::geth::{
    CallConfig, GethDebugBuiltInTracerType, GethDebugTracerType, GethDebugTracingOptions, GethTrace,
};
use revm::context::{TxEnv, result::ExecutionResult};
use revm_inspectors::tracing::{TraceLimits, TracingInspector, TracingInspectorConfig};

use crate::{
    call::Single,
    error::{CallError, InvalidCall, TxFacts, Unsupported},
    heavy::HeavyResult,
    limits::{TRACE_BYTES_MAX, TRACE_CALLS_MAX},
    overlay::Overlay,
    step::Step,
    suspended::{Setup, Suspended, Whereabouts},
};

/// A traced transaction.
pub(crate) struct CallTracer {
    evm: Option<Suspended<Overlay, TracingInspector>>,
    single: Single,
    config: CallConfig,
    gas_limit: u64,
}

/// The options of the one tracer there is.
///
/// # Errors
///
/// Another tracer is named, or the options do not parse.
pub(crate) fn call_config(options: GethDebugTracingOptions) -> Result<CallConfig, CallError> {
    match &options.tracer {
        Some(GethDebugTracerType::BuiltInTracer(GethDebugBuiltInTracerType::CallTracer)) => {}
        Some(tracer) => {
            let name = tracer.as_str().to_owned();
            return Err(CallError::Unsupported(Unsupported::Tracer(name)));
        }
        // geth's default.
        None => {
            let name = "structLogger".to_owned();
            return Err(CallError::Unsupported(Unsupported::Tracer(name)));
        }
    }
    options
        .tracer_config
        .into_call_config()
        .map_err(|error| CallError::Invalid(InvalidCall::TracerConfig(error.to_string())))
}

impl CallTracer {
    /// # Errors
    ///
    /// As [`call_config`].
    pub(crate) fn new(
        options: GethDebugTracingOptions,
        setup: Setup,
        overlay: Overlay,
        (tx, facts): (TxEnv, &TxFacts),
    ) -> Result<Self, CallError> {
        let config = call_config(options)?;
        let limits = TraceLimits::default().set_max_recorded_bytes(Some(TRACE_BYTES_MAX));
        let inspector =
            TracingInspector::new(TracingInspectorConfig::from_geth_call_config(&config))
                .with_limits(limits);
        let gas_limit = tx.gas_limit;
        let evm = Some(Suspended::new(setup, overlay, inspector));
        Ok(Self { evm, single: Single::new(tx, facts), config, gas_limit })
    }

    /// Runs for about `fuel` gas.
    pub(crate) fn step(&mut self, fuel: u64) -> Step<Result<GethTrace, CallError>> {
        let evm = self.evm.as_mut().expect("a trace is not stepped after its end");
        match self.single.step(evm, fuel) {
            Step::More { .. } if evm.inspector().traces().nodes().len() > TRACE_CALLS_MAX => {
                Step::Done(Err(CallError::Unsupported(Unsupported::TraceCalls(TRACE_CALLS_MAX))))
            }
            Step::More { used } => Step::More { used },
            Step::Offload(call) => Step::Offload(call),
            Step::Done(Err(error)) => Step::Done(Err(error)),
            Step::Done(Ok(result)) => Step::Done(self.trace(&result)),
        }
    }

    /// Nothing to set once the trace is over.
    pub(crate) fn set_stepping(&mut self, is_stepping: bool) {
        if let Some(evm) = &mut self.evm {
            evm.set_stepping(is_stepping);
        }
    }

    pub(crate) fn whereabouts(&mut self) -> Whereabouts {
        self.evm.as_mut().map(Suspended::whereabouts).unwrap_or_default()
    }

    pub(crate) fn provide(&mut self, result: HeavyResult) {
        self.evm.as_mut().expect("a trace is not stepped after its end").provide(result);
    }

    fn trace(&mut self, result: &ExecutionResult) -> Result<GethTrace, CallError> {
        let (_, mut inspector) = self.evm.take().expect("it was stepped just now").into_parts();
        if inspector.limit_exceeded() {
            return Err(CallError::Unsupported(Unsupported::TraceBytes(TRACE_BYTES_MAX)));
        }
        inspector.set_transaction_gas_limit(self.gas_limit);
        let frame =
            inspector.geth_builder().geth_call_traces_with_result_gas(self.config, *result.gas());
        Ok(GethTrace::CallTracer(frame))
    }
}
