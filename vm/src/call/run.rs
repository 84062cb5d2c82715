//! One call of any kind, in slices. Pure: the actor around it owns time and cancellation.

use std::sync::Arc;

use alloy_primitives::Bytes;
use alloy_rpc_types_eth::{
    BlockOverrides, TransactionInfo, TransactionRequest, state::StateOverride,
};
use alloy_rpc_types_trace::geth::GethDebugTracingOptions;
use evenkeel_chain::{ChainSpec, Header};
use evenkeel_runtime::Port;
use evenkeel_state::View;

use super::{
    access_list::{AccessListed, Lister},
    estimate::Estimate,
    request::{self, Prepared},
    single::{Single, output_of},
    traced::{Order, TracedTx},
};
use crate::{
    error::CallError,
    heavy::HeavyResult,
    limits::{Limits, TRACE_BYTES_MAX},
    noted::{Noted, Noting},
    overlay::Overlay,
    step::Step,
    suspended::{Suspended, Whereabouts},
    tracer::{Json, Plan, TraceKind, Traced},
};

/// Everything a call needs.
pub struct CallJob {
    /// The state it runs on, fixed now.
    pub view: View,
    /// The block it runs in: for `pending`, the next.
    pub header: Arc<Header>,
    /// The chain's rules.
    pub spec: Arc<ChainSpec>,
    /// The call.
    pub request: TransactionRequest,
    /// Accounts to pretend.
    pub state_overrides: Option<StateOverride>,
    /// Header fields to pretend.
    pub block_overrides: Option<BlockOverrides>,
    /// What is asked.
    pub kind: CallKind,
    /// What it may use.
    pub limits: Limits,
    /// Who is told what it says beside its result, if anybody is; of an estimate's attempts the
    /// first's, of a trace nothing.
    pub notes: Option<CallNoting>,
}

/// What is noted of a call, and for whom.
pub struct CallNoting {
    /// Gets it once, when the call has ended, if there is something.
    pub to: Port<Noted>,
    /// What.
    pub noting: Noting,
}

/// What is asked of a call.
#[derive(Clone, Debug)]
pub enum CallKind {
    /// Its output.
    Call,
    /// The gas limit it needs.
    EstimateGas,
    /// Its trace.
    Trace(GethDebugTracingOptions),
    /// What it accesses.
    AccessList,
}

/// What a call comes to.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "one per call, moved once")]
pub enum CallOutcome {
    /// For [`CallKind::Call`].
    Output(Bytes),
    /// For [`CallKind::EstimateGas`].
    Gas(u64),
    /// For [`CallKind::Trace`].
    Trace(Json),
    /// For [`CallKind::AccessList`].
    AccessList(AccessListed),
}

/// How far a call came.
pub type CallStep = Step<Result<CallOutcome, CallError>>;

/// A call in the middle of its execution.
pub struct CallRun {
    kind: Kind,
    notes: Option<Port<Noted>>,
}

enum Kind {
    Call { evm: Suspended<Overlay>, single: Box<Single> },
    Estimate(Box<Estimate>),
    Trace(Box<TracedTx>),
    AccessList(Box<Lister>),
}

impl CallRun {
    /// Reads the request; executes nothing yet.
    ///
    /// # Errors
    ///
    /// The request contradicts itself, asks for what is not there, or the state cannot be read.
    pub fn new(job: CallJob) -> Result<Self, CallError> {
        let CallJob { view, header, spec, request, kind, limits, notes, .. } = job;
        let noting = notes.as_ref().map(|notes| notes.noting).unwrap_or_default();
        let (state_overrides, block_overrides) =
            (job.state_overrides, job.block_overrides.map(Arc::new));
        let mut prepared =
            request::prepare(request, block_overrides.as_deref(), &header, (&spec, &limits))?;
        let mut overlay = Overlay::new(view);
        let gas_limit = block_overrides
            .as_ref()
            .and_then(|overrides| overrides.gas_limit)
            .unwrap_or(header.gas_limit);
        let state_overrides = (state_overrides, prepared.setup.cfg.spec);
        prepared.setup.precompiles =
            request::apply_overrides(&mut overlay, state_overrides, block_overrides)?;
        let kind = match kind {
            CallKind::Call => {
                let Prepared { setup, tx, facts, .. } = prepared;
                let mut evm = Suspended::new(setup, overlay, ());
                evm.note(noting);
                Kind::Call { evm, single: Box::new(Single::new(tx, &facts)) }
            }
            CallKind::EstimateGas => {
                let mut estimate = Estimate::new(overlay, prepared, limits.gas_cap, gas_limit)?;
                estimate.evm().note(noting);
                Kind::Estimate(Box::new(estimate))
            }
            CallKind::Trace(options) => {
                let Prepared { setup, tx, facts, .. } = prepared;
                let plan = Arc::new(Plan::new(TraceKind::Geth(options))?);
                let info = TransactionInfo::default();
                let bytes_max = TRACE_BYTES_MAX;
                let order = Order { plan, bytes_max, info, is_streamed: false, logs_before: 0 };
                Kind::Trace(Box::new(TracedTx::new(order, setup, overlay, (tx, &facts))))
            }
            CallKind::AccessList => {
                let Prepared { setup, tx, facts, .. } = prepared;
                Kind::AccessList(Box::new(Lister::new(setup, overlay, (tx, facts))))
            }
        };
        Ok(Self { kind, notes: notes.map(|notes| notes.to) })
    }

    /// Says to who listens what the call said; to be called when it has ended.
    pub fn tell_notes(&mut self) {
        let Some(to) = &self.notes else { return };
        let noted = match &mut self.kind {
            Kind::Call { evm, .. } => evm.take_noted(),
            Kind::Estimate(estimate) => estimate.take_noted(),
            Kind::Trace(_) | Kind::AccessList(_) => return,
        };
        if !noted.is_empty() && to.send(noted).is_err() {
            tracing::debug!("nobody takes notes of calls any more");
        }
    }

    /// Runs for about `fuel` gas.
    pub fn step(&mut self, fuel: u64) -> CallStep {
        match &mut self.kind {
            Kind::Call { evm, single } => match single.step(evm, fuel) {
                Step::More { used } => Step::More { used },
                Step::Offload(call) => Step::Offload(call),
                Step::Done(result) => Step::Done(
                    result
                        .and_then(|result| output_of(result, evm.fault()))
                        .map(CallOutcome::Output),
                ),
            },
            Kind::Estimate(estimate) => match estimate.step(fuel) {
                Step::More { used } => Step::More { used },
                Step::Offload(call) => Step::Offload(call),
                Step::Done(result) => Step::Done(result.map(CallOutcome::Gas)),
            },
            Kind::Trace(tracer) => match tracer.step(fuel) {
                Step::More { used } => Step::More { used },
                Step::Offload(call) => Step::Offload(call),
                Step::Done(result) => Step::Done(result.map(|left| match left.traced {
                    Some(Traced::Json(trace)) => CallOutcome::Trace(trace),
                    Some(Traced::Operations(_) | Traced::Output(_)) | None => {
                        unreachable!("geth's tracers give JSON, and it is not streamed")
                    }
                })),
            },
            Kind::AccessList(lister) => match lister.step(fuel) {
                Step::More { used } => Step::More { used },
                Step::Offload(call) => Step::Offload(call),
                Step::Done(result) => Step::Done(result.map(CallOutcome::AccessList)),
            },
        }
    }

    /// Runs one instruction; what it waits for may take several calls. The count of
    /// [`Self::whereabouts`] says when it has ended.
    pub fn step_instruction(&mut self) -> CallStep {
        self.set_stepping(true);
        // Any fuel will do.
        let step = self.step(1);
        self.set_stepping(false);
        step
    }

    fn set_stepping(&mut self, is_stepping: bool) {
        match &mut self.kind {
            Kind::Call { evm, .. } => evm.set_stepping(is_stepping),
            Kind::Estimate(estimate) => estimate.evm().set_stepping(is_stepping),
            Kind::Trace(tracer) => tracer.set_stepping(is_stepping),
            Kind::AccessList(lister) => lister.evm().set_stepping(is_stepping),
        }
    }

    /// Where it is now.
    pub fn whereabouts(&mut self) -> Whereabouts {
        match &mut self.kind {
            Kind::Call { evm, .. } => evm.whereabouts(),
            Kind::Estimate(estimate) => estimate.evm().whereabouts(),
            Kind::Trace(tracer) => tracer.whereabouts(),
            Kind::AccessList(lister) => lister.whereabouts(),
        }
    }

    /// Hands in the result of the offloaded call.
    ///
    /// # Panics
    ///
    /// If nothing is offloaded, or the call was stopped.
    pub fn provide(&mut self, result: HeavyResult) {
        match &mut self.kind {
            Kind::Call { evm, .. } => evm.provide(result),
            Kind::Estimate(estimate) => estimate.evm().provide(result),
            Kind::Trace(tracer) => tracer.provide(result),
            Kind::AccessList(lister) => lister.evm().provide(result),
        }
    }
}
