//! Tracers: what observes a transaction in slices, within bounds, and what is made of it.
//!
//! Pure. geth's struct logger, its `callTracer` and its `erc7562Tracer` are ours (`steps.rs`,
//! `calls.rs`, `erc7562.rs`), and Parity's `vmTrace` (`vm_trace.rs`) and list of calls, which geth
//! has as `flatCallTracer` (`flat.rs`): what they say is written and taken while the transaction
//! runs. What it touched (geth's `prestateTracer`, Parity's `stateDiff`) is written when it has
//! ended (`touched.rs`). Ours are also geth's tracer of preimages (`preimages.rs`) and those it has
//! as scripts (`script.rs`), and what runs users' scripts (`js`); the others are revm-inspectors',
//! each behind a count of the bytes that it records. A trace that would go beyond its bound is
//! refused, not cut.

mod call_legacy;
mod calls;
mod erc7562;
mod evmdis;
mod flat;
mod inspect;
mod js;
mod lines;
mod options;
mod plan;
mod preimages;
mod prestate_legacy;
mod render;
mod script;
mod steps;
mod survey;
mod text;
mod touched;
mod vm_trace;

use alloy_primitives::{
    Bytes,
    map::{AddressSet, HashSet},
};
use alloy_rpc_types_eth::AccessList;
use alloy_rpc_types_trace::{
    geth::{GethDebugTracingOptions, GethDefaultTracingOptions},
    otterscan::InternalOperation,
    parity::TraceType,
};
use revm::context::{TxEnv, result::ExecutionResult};
use revm_inspectors::{
    access_list::AccessListInspector, opcode::OpcodeGasInspector,
    otterscan::InternalOperationsInspector, tracing::DebugInspector,
};
use serde_json::value::RawValue;

use crate::{
    error::{CallError, Unsupported},
    limits::{ACCESS_LIST_SLOTS_MAX, TEXT_STEP_BYTES, TRACE_BYTES_MAX},
};
use calls::Calls;
use flat::Flat;
pub(crate) use flat::Items;
pub(crate) use js::stoppable;
pub use options::wrong_option;
pub(crate) use plan::{Known, Plan, Run};
use preimages::Preimages;
pub(crate) use render::{Made, Rendered, Unrendered, Written};
use steps::StepLog;
pub(crate) use survey::Found;
use survey::Survey;
pub(crate) use text::Text;
pub(crate) use touched::Touched;
use vm_trace::VmTrace;

/// What is wanted of a traced transaction.
#[derive(Clone, Debug)]
pub enum TraceKind {
    /// One of geth's tracers.
    Geth(GethDebugTracingOptions),
    /// What Parity's replay gives.
    Replay {
        /// Which parts of it.
        types: HashSet<TraceType>,
        /// Whether the hash of the transaction is said.
        has_hash: bool,
    },
    /// geth's JSON logger: lines of instructions and ends of calls. Only streamed.
    Lines(GethDefaultTracingOptions),
    /// How often each instruction was executed, and for how much gas, as reth counts it.
    OpcodeGas,
    /// Parity's traces, with their place in the chain; they are streamed, and not as text.
    Flat,
    /// Otterscan's internal operations.
    Operations,
    /// What it returned, or why it failed; nothing of its way there.
    Output,
}

impl TraceKind {
    /// Lines as geth writes them if nothing else is asked for: with the stack, without memory.
    #[must_use]
    pub fn lines() -> Self {
        Self::Lines(GethDefaultTracingOptions::default())
    }

    /// Whether there is such a tracer, with such options. Of a user's script only that it is one.
    ///
    /// # Errors
    ///
    /// As a trace would end.
    pub fn check(&self) -> Result<(), CallError> {
        Plan::new(self.clone()).map(drop)
    }
}

/// What a tracer saw.
#[derive(Debug)]
pub enum Traced {
    /// For [`TraceKind::Geth`], [`TraceKind::Replay`] and [`TraceKind::OpcodeGas`], as JSON.
    Json(Json),
    /// For [`TraceKind::Operations`].
    Operations(Vec<InternalOperation>),
    /// For [`TraceKind::Output`].
    Output(Result<Bytes, Box<CallError>>),
}

/// JSON text; equal if the texts are.
#[derive(Clone, Debug)]
pub struct Json(pub Box<RawValue>);

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

/// What observes one transaction.
pub(crate) struct Tracer {
    /// What finds out for a later run what it has to know.
    survey: Option<Survey>,
    /// First the one that writes, if there is one.
    parts: Vec<Part>,
    /// Bytes that were recorded, and may be.
    bytes: usize,
    bytes_max: usize,
    /// Fuel that nobody was charged for yet.
    cost: u64,
}

enum Part {
    Steps(Box<StepLog>),
    Calls(Box<Calls>),
    VmTrace(Box<VmTrace>),
    Flat(Box<Flat>),
    Geth(Box<DebugInspector>),
    OpcodeGas(OpcodeGasInspector),
    Operations(InternalOperationsInspector),
    Preimages(Box<Preimages>),
    Script(script::Running),
    Js(Box<js::Running>),
    AccessList {
        inspector: AccessListInspector,
        accesses: usize,
        look_at: usize,
    },
    /// What is wanted is known without an observer.
    Nobody,
}

impl Tracer {
    /// One that collects what `eth_createAccessList` gives, beginning with `list`.
    pub(crate) fn access_list(list: AccessList) -> Self {
        let inspector = AccessListInspector::new(list);
        let part = Part::AccessList { inspector, accesses: 0, look_at: ACCESS_LIST_SLOTS_MAX };
        let parts = vec![part];
        Self { survey: None, parts, bytes: 0, bytes_max: TRACE_BYTES_MAX, cost: 0 }
    }

    /// The list of what was accessed.
    ///
    /// # Panics
    ///
    /// If it is another tracer.
    pub(crate) fn into_access_list(mut self) -> AccessList {
        match self.parts.pop() {
            Some(Part::AccessList { inspector, .. }) => inspector.into_access_list(),
            _ => panic!("another tracer collects no access list"),
        }
    }

    /// What the survey found, if there was one, of a transaction that took so much gas.
    pub(crate) fn take_survey(&mut self, gas_used: u64) -> Option<Found> {
        self.survey.take().map(|survey| survey.into_found(gas_used))
    }

    /// Whether a user's script observes: then the transaction runs on the compute pool.
    pub(crate) fn has_script(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Js(_)))
    }

    /// Writes some text of what was recorded, if the tracer writes while it runs and there is any
    /// to write; returns how many bytes.
    pub(crate) fn write(&mut self) -> Option<usize> {
        if let Some(Part::Flat(flat)) = self.parts.first()
            && flat.items_bytes() > 0
        {
            return Some(flat.items_bytes());
        }
        let text = self.text()?;
        (!text.is_written()).then(|| text.write(TEXT_STEP_BYTES))
    }

    /// Takes what is written.
    pub(crate) fn take_text(&mut self) -> Vec<u8> {
        self.text().map(Text::take).unwrap_or_default()
    }

    /// Takes calls that are not shown as text.
    pub(crate) fn take_items(&mut self) -> Items {
        match self.parts.first_mut() {
            Some(Part::Flat(flat)) => flat.take_items(),
            _ => Items::default(),
        }
    }

    /// Lets the one that writes end its text: the transaction has ended as `result`.
    pub(crate) fn end_text(&mut self, result: &ExecutionResult, tx: &TxEnv) {
        match self.parts.first_mut() {
            Some(Part::Steps(log)) => log.end(result),
            Some(Part::Calls(calls)) => calls.end(result, tx),
            Some(Part::VmTrace(trace)) => trace.end(),
            Some(Part::Preimages(preimages)) => preimages.end(),
            Some(Part::Flat(flat)) => flat.end(result, tx),
            _ => {}
        }
    }

    fn text(&mut self) -> Option<&mut Text> {
        match self.parts.first_mut() {
            Some(Part::Steps(log)) => Some(log.text()),
            Some(Part::Calls(calls)) => Some(calls.text()),
            Some(Part::VmTrace(trace)) => Some(trace.text()),
            Some(Part::Preimages(preimages)) => Some(preimages.text()),
            Some(Part::Flat(flat)) => flat.text(),
            _ => None,
        }
    }

    /// Bytes recorded so far.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Begins with users' scripts, before the transaction.
    ///
    /// # Errors
    ///
    /// One is no tracer, or fails.
    pub(crate) fn start_scripts(&mut self, precompiles: &AddressSet) -> Result<(), CallError> {
        self.parts.iter_mut().try_for_each(|part| match part {
            Part::Js(script) => script.start(precompiles),
            _ => Ok(()),
        })
    }

    /// Gives up users' scripts and what they hold, which may take time.
    pub(crate) fn end_scripts(&mut self) {
        for part in &mut self.parts {
            if let Part::Js(script) = part {
                script.end();
            }
        }
    }

    /// Why the trace is given up, if it is too large, or a user's script has failed.
    pub(crate) fn failure(&mut self) -> Option<CallError> {
        let scripts = self.parts.iter().find_map(|part| match part {
            Part::Js(script) => script.failure(),
            _ => None,
        });
        scripts.or_else(|| self.excess().map(CallError::Unsupported))
    }

    fn excess(&mut self) -> Option<Unsupported> {
        if self.bytes > self.bytes_max {
            return Some(Unsupported::TraceBytes(TRACE_BYTES_MAX));
        }
        self.parts.iter_mut().find_map(|part| match part {
            Part::Calls(calls) if calls.kept() > self.bytes_max => {
                Some(Unsupported::TraceBytes(TRACE_BYTES_MAX))
            }
            Part::AccessList { inspector, accesses, look_at } if *accesses >= *look_at => {
                let touched = inspector.touched_slots();
                let found = touched.values().map(std::collections::BTreeSet::len).sum::<usize>();
                let found = found + touched.len();
                *look_at = *accesses + ACCESS_LIST_SLOTS_MAX.saturating_sub(found).max(1);
                (found > ACCESS_LIST_SLOTS_MAX)
                    .then_some(Unsupported::AccessList(ACCESS_LIST_SLOTS_MAX))
            }
            Part::Steps(_)
            | Part::Calls(_)
            | Part::VmTrace(_)
            | Part::Flat(_)
            | Part::Nobody
            | Part::Geth(_)
            | Part::OpcodeGas(_)
            | Part::Operations(_)
            | Part::Preimages(_)
            | Part::Script(_)
            | Part::Js(_)
            | Part::AccessList { .. } => None,
        })
    }
}
