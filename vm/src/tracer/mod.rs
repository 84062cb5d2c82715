//! Tracers: what observes a transaction in slices, within bounds, and what is made of it.
//!
//! Pure. geth's struct logger and its `callTracer` are ours (`steps.rs`, `calls.rs`): their text is
//! written and taken while the transaction runs. So are its tracer of preimages and those it has as
//! scripts (`script.rs`), and what runs users' scripts (`js`); the others are revm-inspectors',
//! each behind a count of the bytes that it records. A trace that would go beyond its bound is
//! refused, not cut.

mod call_legacy;
mod calls;
mod evmdis;
mod inspect;
mod js;
mod lines;
mod options;
mod preimages;
mod prestate_legacy;
mod render;
mod script;
mod steps;
mod text;

use std::{fmt, sync::Arc};

use alloy_primitives::{
    Bytes,
    map::{AddressSet, HashSet},
};
use alloy_rpc_types_eth::AccessList;
use alloy_rpc_types_trace::{
    geth::{
        CallConfig, GethDebugBuiltInTracerType, GethDebugTracerConfig, GethDebugTracerType,
        GethDebugTracingOptions, GethDefaultTracingOptions, mux::MuxConfig,
    },
    otterscan::InternalOperation,
    parity::{LocalizedTransactionTrace, TraceType},
};
use revm::context::{TxEnv, result::ExecutionResult};
use revm_inspectors::{
    access_list::AccessListInspector,
    opcode::OpcodeGasInspector,
    otterscan::InternalOperationsInspector,
    tracing::{DebugInspector, TraceLimits, TracingInspector, TracingInspectorConfig},
};
use serde_json::value::RawValue;

use crate::{
    error::{CallError, InvalidCall, Unsupported},
    limits::{ACCESS_LIST_SLOTS_MAX, TEXT_STEP_BYTES, TRACE_BYTES_MAX, TRACER_NAME_CHARS_MAX},
};
pub(crate) use calls::Undone;
use calls::{Calls, Survey};
pub(crate) use js::stoppable;
pub use options::wrong_option;
use preimages::Preimages;
pub(crate) use render::{Rendered, Unrendered, Written};
use script::Script;
use steps::StepLog;
use text::Text;

/// geth's tracer of what `KECCAK256` hashes, which the library does not have.
const PREIMAGE_TRACER: &str = "keccak256PreimageTracer";

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
    /// Parity's traces, with their place in the chain.
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
        Recipe::new(self.clone()).map(drop)
    }
}

/// geth's default is the struct logger; an empty name is none.
fn is_struct_log(options: &GethDebugTracingOptions) -> bool {
    match &options.tracer {
        None => true,
        Some(GethDebugTracerType::JsTracer(name)) => name.is_empty(),
        Some(GethDebugTracerType::BuiltInTracer(_)) => false,
    }
}

/// What a tracer saw.
#[derive(Debug)]
pub enum Traced {
    /// For [`TraceKind::Geth`], [`TraceKind::Replay`] and [`TraceKind::OpcodeGas`], as JSON.
    Json(Json),
    /// For [`TraceKind::Flat`].
    Flat(Vec<LocalizedTransactionTrace>),
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

/// A [`TraceKind`] that was understood.
#[derive(Debug)]
pub(crate) enum Recipe {
    Steps(GethDefaultTracingOptions),
    Lines(GethDefaultTracingOptions),
    Calls(CallConfig),
    Geth(GethDebugTracingOptions),
    Preimages,
    Script(Script),
    Js(js::Source),
    Mux(Vec<(String, Recipe)>),
    Replay { types: HashSet<TraceType>, has_hash: bool },
    OpcodeGas,
    Flat,
    Operations,
    Output,
}

impl Recipe {
    /// # Errors
    ///
    /// There is no such tracer, or its options do not parse.
    pub(crate) fn new(kind: TraceKind) -> Result<Self, CallError> {
        match kind {
            TraceKind::Geth(options) if is_mux(&options) => Self::mux(options),
            TraceKind::Geth(options) => Self::geth(options),
            TraceKind::Replay { types, has_hash } => Ok(Self::Replay { types, has_hash }),
            TraceKind::Lines(options) => Ok(Self::Lines(options)),
            TraceKind::OpcodeGas => Ok(Self::OpcodeGas),
            TraceKind::Flat => Ok(Self::Flat),
            TraceKind::Operations => Ok(Self::Operations),
            TraceKind::Output => Ok(Self::Output),
        }
    }

    fn geth(options: GethDebugTracingOptions) -> Result<Self, CallError> {
        if is_struct_log(&options) {
            return Ok(Self::Steps(options.config));
        }
        match &options.tracer {
            Some(GethDebugTracerType::JsTracer(name)) if name == PREIMAGE_TRACER => {
                return Ok(Self::Preimages);
            }
            Some(GethDebugTracerType::JsTracer(name)) => {
                if let Some(script) = Script::named(name) {
                    return Ok(Self::Script(script));
                }
                if let Some(source) = js::Source::new(name, &options.tracer_config.0) {
                    return Ok(Self::Js(source));
                }
                let name = name.chars().take(TRACER_NAME_CHARS_MAX).collect();
                return Err(CallError::Unsupported(Unsupported::Tracer(name)));
            }
            Some(GethDebugTracerType::BuiltInTracer(GethDebugBuiltInTracerType::CallTracer)) => {
                let config = options.tracer_config.clone().into_call_config();
                return config
                    .map(Self::Calls)
                    .map_err(|error| wrong_config(&options.tracer_config, &error));
            }
            Some(GethDebugTracerType::BuiltInTracer(_)) | None => {}
        }
        match DebugInspector::new(options.clone()) {
            Ok(_) => Ok(Self::Geth(options)),
            Err(error) => Err(wrong_config(&options.tracer_config, &error)),
        }
    }

    fn mux(options: GethDebugTracingOptions) -> Result<Self, CallError> {
        let config = options.tracer_config;
        let MuxConfig(named) =
            config.clone().into_mux_config().map_err(|error| wrong_config(&config, &error))?;
        let mut tracers = Vec::with_capacity(named.len());
        for (tracer, config) in named {
            let tracer_config = config.unwrap_or_default();
            let one = GethDebugTracingOptions {
                tracer: Some(tracer.clone()),
                tracer_config,
                ..GethDebugTracingOptions::default()
            };
            if is_mux(&one) {
                return Err(config_error("muxTracer within muxTracer".to_owned()));
            }
            let name = tracer.as_str();
            if name.is_empty() {
                return Err(config_error("muxTracer needs the names of tracers".to_owned()));
            }
            tracers.push((name.to_owned(), Self::geth(one)?));
        }
        // Each has a heap of its own.
        if tracers.iter().filter(|(_, recipe)| recipe.has_script()).count() > 1 {
            return Err(config_error("muxTracer with several scripts (expected one)".to_owned()));
        }
        Ok(Self::Mux(tracers))
    }

    /// Whether a user's script observes: then the transaction runs on the compute pool.
    pub(crate) fn has_script(&self) -> bool {
        match self {
            Self::Js(_) => true,
            Self::Mux(tracers) => tracers.iter().any(|(_, recipe)| recipe.has_script()),
            _ => false,
        }
    }

    /// What is to observe the transaction before its tracer does, if that has to know what comes:
    /// then it runs twice.
    pub(crate) fn survey(&self) -> Option<Tracer> {
        let needs_survey = |recipe: &Self| match recipe {
            Self::Calls(config) => Calls::needs_survey(*config),
            _ => false,
        };
        let needs_survey = match self {
            Self::Mux(tracers) => tracers.iter().any(|(_, recipe)| needs_survey(recipe)),
            one => needs_survey(one),
        };
        let parts = vec![Part::Survey(Survey::default())];
        needs_survey.then_some(Tracer { parts, bytes: 0, bytes_max: TRACE_BYTES_MAX, cost: 0 })
    }

    /// A tracer for one transaction that may record `bytes_max`; `undone` is what its
    /// [`survey`](Self::survey) found.
    pub(crate) fn tracer(&self, bytes_max: usize, undone: Undone) -> Tracer {
        let undone = Arc::new(undone);
        let parts = match self {
            Self::Mux(tracers) => {
                let part = |(_, recipe): &(_, Self)| recipe.part(bytes_max, &undone, true);
                tracers.iter().map(part).collect()
            }
            Self::Output => Vec::new(),
            one => vec![one.part(bytes_max, &undone, false)],
        };
        Tracer { parts, bytes: 0, bytes_max, cost: 0 }
    }

    fn part(&self, bytes_max: usize, undone: &Arc<Undone>, is_whole: bool) -> Part {
        let limits = TraceLimits::default().set_max_recorded_bytes(Some(bytes_max));
        match self {
            Self::Steps(options) => Part::Steps(Box::new(StepLog::new(*options))),
            Self::Lines(options) => Part::Steps(Box::new(StepLog::lines(*options))),
            Self::Calls(config) => {
                Part::Calls(Box::new(Calls::new(*config, Arc::clone(undone), is_whole)))
            }
            Self::Geth(options) => {
                let inspector = DebugInspector::new(options.clone());
                Part::Geth(Box::new(limited(inspector.expect("it was made before"), limits)))
            }
            Self::Preimages => Part::Preimages(Preimages::default()),
            Self::Script(script) => Part::Script(script.run()),
            Self::Js(source) => Part::Js(Box::new(js::Running::new(source.clone()))),
            Self::Replay { types, .. } => {
                let config = TracingInspectorConfig::from_parity_config(types);
                Part::Parity(Box::new(TracingInspector::new(config).with_limits(limits)))
            }
            Self::Flat => {
                let config = TracingInspectorConfig::default_parity();
                Part::Parity(Box::new(TracingInspector::new(config).with_limits(limits)))
            }
            Self::OpcodeGas => Part::OpcodeGas(OpcodeGasInspector::new()),
            Self::Operations => Part::Operations(InternalOperationsInspector::default()),
            Self::Mux(_) => unreachable!("there is no mux within a mux"),
            Self::Output => unreachable!("nothing observes it"),
        }
    }
}

fn is_mux(options: &GethDebugTracingOptions) -> bool {
    let mux = GethDebugTracerType::BuiltInTracer(GethDebugBuiltInTracerType::MuxTracer);
    options.tracer.as_ref() == Some(&mux)
}

fn config_error(text: String) -> CallError {
    CallError::Invalid(InvalidCall::TracerConfig(text))
}

/// Why the options of a tracer are refused: in our words if it is the type of one.
fn wrong_config(config: &GethDebugTracerConfig, error: &dyn fmt::Display) -> CallError {
    config_error(options::wrong_config(&config.0).unwrap_or_else(|| error.to_string()))
}

fn limited(inspector: DebugInspector, limits: TraceLimits) -> DebugInspector {
    use DebugInspector as I;
    match inspector {
        I::PreStateTracer(inspector, config) => {
            I::PreStateTracer(inspector.with_limits(limits), config)
        }
        I::FlatCallTracer(inspector) => I::FlatCallTracer(inspector.with_limits(limits)),
        I::Erc7562Tracer(inspector, config) => {
            I::Erc7562Tracer(inspector.with_limits(limits), config)
        }
        I::Default(inspector, config) => I::Default(inspector.with_limits(limits), config),
        I::FourByte(_) | I::CallTracer(..) | I::Noop(_) | I::StateGasTracer(_) | I::Mux(..) => {
            inspector
        }
    }
}

/// What observes one transaction.
pub(crate) struct Tracer {
    /// One, or as many as geth's `muxTracer` names, in their order; none for [`TraceKind::Output`].
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
    Survey(Survey),
    Geth(Box<DebugInspector>),
    Parity(Box<TracingInspector>),
    OpcodeGas(OpcodeGasInspector),
    Operations(InternalOperationsInspector),
    Preimages(Preimages),
    Script(script::Running),
    Js(Box<js::Running>),
    AccessList { inspector: AccessListInspector, accesses: usize, look_at: usize },
}

impl Tracer {
    /// One that collects what `eth_createAccessList` gives, beginning with `list`.
    pub(crate) fn access_list(list: AccessList) -> Self {
        let inspector = AccessListInspector::new(list);
        let part = Part::AccessList { inspector, accesses: 0, look_at: ACCESS_LIST_SLOTS_MAX };
        Self { parts: vec![part], bytes: 0, bytes_max: TRACE_BYTES_MAX, cost: 0 }
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

    /// What it found, if it is a survey.
    pub(crate) fn take_survey(&mut self) -> Option<Undone> {
        match self.parts.first_mut() {
            Some(Part::Survey(survey)) => Some(survey.take()),
            _ => None,
        }
    }

    /// Writes some text of what was recorded, if the tracer writes while it runs and there is any
    /// to write; returns how many bytes.
    pub(crate) fn write(&mut self) -> Option<usize> {
        let text = self.text()?;
        (!text.is_written()).then(|| text.write(TEXT_STEP_BYTES))
    }

    /// Takes what is written.
    pub(crate) fn take_text(&mut self) -> Vec<u8> {
        self.text().map(Text::take).unwrap_or_default()
    }

    /// Whether the tracer writes while it runs; then the transaction, which ended as `result`, is
    /// all that is left to be written.
    pub(crate) fn end_text(&mut self, result: &ExecutionResult, tx: &TxEnv) -> bool {
        match self.parts.first_mut() {
            Some(Part::Steps(log)) => log.end(result),
            Some(Part::Calls(calls)) if !calls.is_whole() => calls.end(result, tx),
            _ => return false,
        }
        true
    }

    fn text(&mut self) -> Option<&mut Text> {
        match self.parts.first_mut() {
            Some(Part::Steps(log)) => Some(log.text()),
            Some(Part::Calls(calls)) if !calls.is_whole() => Some(calls.text()),
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
            Part::Parity(inspector) if inspector.limit_exceeded() => {
                Some(Unsupported::TraceBytes(TRACE_BYTES_MAX))
            }
            Part::Calls(calls) if calls.kept() > self.bytes_max => {
                Some(Unsupported::TraceBytes(TRACE_BYTES_MAX))
            }
            Part::Geth(inspector) => match &**inspector {
                DebugInspector::FlatCallTracer(inspector)
                | DebugInspector::Erc7562Tracer(inspector, _)
                    if inspector.limit_exceeded() =>
                {
                    Some(Unsupported::TraceBytes(TRACE_BYTES_MAX))
                }
                _ => None,
            },
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
            | Part::Survey(_)
            | Part::Parity(_)
            | Part::OpcodeGas(_)
            | Part::Operations(_)
            | Part::Preimages(_)
            | Part::Script(_)
            | Part::Js(_)
            | Part::AccessList { .. } => None,
        })
    }
}
