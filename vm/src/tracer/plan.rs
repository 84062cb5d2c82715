//! What is wanted of a traced transaction, understood: who observes it, and how often it runs.
//! Pure.
//!
//! One tracer at a time writes its text while the transaction runs, so that nobody keeps any: where
//! an answer has the texts of several, it runs once for each. What the others say is made when it
//! has run for the last time, one after the other. A tracer that has to know what comes has the
//! transaction surveyed first, in a run of its own if nobody else writes in that one.

use std::{collections::VecDeque, fmt, sync::Arc};

use alloy_primitives::{Address, map::HashSet};
use alloy_rpc_types_eth::TransactionInfo;
use alloy_rpc_types_trace::{
    geth::{
        CallConfig, GethDebugBuiltInTracerType, GethDebugTracerConfig, GethDebugTracerType,
        GethDebugTracingOptions, GethDefaultTracingOptions, mux::MuxConfig,
    },
    parity::TraceType,
};
use revm::state::EvmState;
use revm_inspectors::{
    opcode::OpcodeGasInspector, otterscan::InternalOperationsInspector, tracing::DebugInspector,
};
use serde_json::Value;

use super::{
    Part, TraceKind, Tracer,
    calls::Calls,
    erc7562,
    flat::{Flat, Shape},
    js, options,
    preimages::Preimages,
    script::Script,
    steps::StepLog,
    survey::{Found, Survey},
    text::Text,
    touched::{Show, Touched},
    vm_trace::VmTrace,
};
use crate::{
    error::{CallError, InvalidCall, Unsupported},
    limits::TRACER_NAME_CHARS_MAX,
};

/// geth's tracer of what `KECCAK256` hashes, which the library does not have.
const PREIMAGE_TRACER: &str = "keccak256PreimageTracer";

/// A [`TraceKind`] that was understood.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Who says something, with the name of it in an object; first who writes while the transaction
    /// runs, and of them first who does not have to know what comes; then what is written of the
    /// state when it has ended.
    tracers: Vec<(String, Recipe)>,
    /// How many write while it runs, and how many what is written of the state.
    writing: usize,
    showing: usize,
    /// Whether the answer is an object of what all say.
    is_object: bool,
}

/// What one tracer is made from, or what is known without one.
#[derive(Debug)]
pub(super) enum Recipe {
    Steps(GethDefaultTracingOptions),
    Lines(GethDefaultTracingOptions),
    Calls(CallConfig),
    Erc7562(erc7562::Options),
    VmTrace,
    Geth(GethDebugTracingOptions),
    Preimages,
    Script(Script),
    Js(js::Source),
    /// Parity's list of calls.
    Flat(Shape),
    /// The accounts that the transaction touched.
    Touched(Show),
    /// What it returned, in hex.
    Returned,
    /// Its hash.
    Hash,
    /// JSON that is there before.
    Constant(&'static str),
    OpcodeGas,
    Operations,
    Output,
}

/// What tracers have to know.
pub(crate) struct Known<'a> {
    /// Bytes that they may record.
    pub(crate) bytes_max: usize,
    /// What a survey has found.
    pub(crate) found: &'a Arc<Found>,
    /// The place of the transaction in the chain, as far as it has one.
    pub(crate) info: TransactionInfo,
    /// How many logs of the block come before its own.
    pub(crate) logs_before: u64,
}

/// One run of a transaction.
#[derive(Debug, Default)]
pub(crate) struct Run {
    is_surveyed: bool,
    /// Who writes.
    writer: Option<usize>,
    /// Whether all observe that do not write.
    has_rest: bool,
}

impl Recipe {
    fn writes(&self) -> bool {
        matches!(
            self,
            Self::Steps(_)
                | Self::Lines(_)
                | Self::Calls(_)
                | Self::Erc7562(_)
                | Self::Preimages
                | Self::VmTrace
                | Self::Flat(_)
        )
    }

    fn needs_survey(&self) -> bool {
        match self {
            Self::Calls(config) => Calls::needs_survey(*config),
            Self::Erc7562(options) => options.with_log,
            Self::Flat(_) => true,
            _ => false,
        }
    }

    const fn shows_state(&self) -> bool {
        matches!(self, Self::Touched(_))
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
                let config = options.tracer_config;
                check_object(&config)?;
                let read = config.clone().into_call_config();
                return read.map(Self::Calls).map_err(|error| wrong_config(&config, &error));
            }
            Some(GethDebugTracerType::BuiltInTracer(GethDebugBuiltInTracerType::Erc7562Tracer)) => {
                let config = options.tracer_config.0;
                if let Some(wrong) = options::wrong_config(&config).filter(|_| !config.is_null()) {
                    return Err(config_error(wrong));
                }
                return Ok(Self::Erc7562(erc7562::Options::new(&config)));
            }
            Some(GethDebugTracerType::BuiltInTracer(
                GethDebugBuiltInTracerType::FlatCallTracer,
            )) => {
                let config = options.tracer_config;
                check_object(&config)?;
                let read = config.clone().into_flat_call_config();
                let config = read.map_err(|error| wrong_config(&config, &error))?;
                return Ok(Self::Flat(Shape::Geth {
                    shows_precompiles: config.include_precompiles.unwrap_or_default(),
                    converts_errors: config.convert_parity_errors.unwrap_or_default(),
                }));
            }
            Some(GethDebugTracerType::BuiltInTracer(
                GethDebugBuiltInTracerType::PreStateTracer,
            )) => {
                check_object(&options.tracer_config)?;
                let read = options.tracer_config.clone().into_pre_state_config();
                let config = read.map_err(|error| wrong_config(&options.tracer_config, &error))?;
                let shows_empty = match options.tracer_config.0.get("includeEmpty") {
                    None | Some(Value::Null) => false,
                    Some(Value::Bool(shows)) => *shows,
                    // The library's options do not have it, so nobody has looked at its type.
                    Some(_) => return Err(wrong_config(&options.tracer_config, &"includeEmpty")),
                };
                return match (shows_empty, config.is_diff_mode()) {
                    (false, _) => Ok(Self::Touched(Show::Prestate(config))),
                    (true, false) => Ok(Self::Touched(Show::PrestateOfAll(config))),
                    (true, true) => {
                        Err(config_error("cannot use diffMode with includeEmpty".to_owned()))
                    }
                };
            }
            Some(GethDebugTracerType::BuiltInTracer(_)) | None => {}
        }
        match DebugInspector::new(options.clone()) {
            Ok(_) => Ok(Self::Geth(options)),
            Err(error) => Err(wrong_config(&options.tracer_config, &error)),
        }
    }

    /// Its tracer; if it writes, then after `before`.
    fn part(&self, known: &Known<'_>, before: &str) -> Part {
        let mut text = Text::default();
        text.push_text(before);
        match self {
            Self::Steps(options) => Part::Steps(Box::new(StepLog::new(*options, text))),
            Self::Lines(options) => Part::Steps(Box::new(StepLog::lines(*options))),
            Self::Calls(config) => Part::Calls(Box::new(Calls::new(*config, known, text))),
            Self::Erc7562(options) => {
                Part::Calls(Box::new(Calls::with_usage(options, known, text)))
            }
            Self::VmTrace => Part::VmTrace(Box::new(VmTrace::new(text))),
            Self::Geth(options) => {
                let inspector = DebugInspector::new(options.clone());
                Part::Geth(Box::new(inspector.expect("it was made before")))
            }
            Self::Preimages => Part::Preimages(Box::new(Preimages::new(text))),
            Self::Script(script) => Part::Script(script.run()),
            Self::Js(source) => Part::Js(Box::new(js::Running::new(source.clone()))),
            Self::Flat(shape) => {
                let found = Arc::clone(known.found);
                Part::Flat(Box::new(Flat::new(*shape, found, text, known.info)))
            }
            Self::OpcodeGas => Part::OpcodeGas(OpcodeGasInspector::new()),
            Self::Operations => Part::Operations(InternalOperationsInspector::default()),
            Self::Touched(_) | Self::Returned | Self::Hash | Self::Constant(_) | Self::Output => {
                Part::Nobody
            }
        }
    }
}

impl Plan {
    /// # Errors
    ///
    /// There is no such tracer, or its options do not parse.
    pub(crate) fn new(kind: TraceKind) -> Result<Self, CallError> {
        match kind {
            TraceKind::Geth(options) if is_mux(&options) => Self::mux(options),
            TraceKind::Geth(options) => Ok(Self::one(Recipe::geth(options)?)),
            TraceKind::Replay { types, has_hash } => Ok(Self::replay(&types, has_hash)),
            TraceKind::Lines(options) => Ok(Self::one(Recipe::Lines(options))),
            TraceKind::OpcodeGas => Ok(Self::one(Recipe::OpcodeGas)),
            TraceKind::Flat => Ok(Self::one(Recipe::Flat(Shape::Placed))),
            TraceKind::Operations => Ok(Self::one(Recipe::Operations)),
            TraceKind::Output => Ok(Self::one(Recipe::Output)),
        }
    }

    fn one(recipe: Recipe) -> Self {
        Self { is_object: false, ..Self::object(vec![(String::new(), recipe)]) }
    }

    fn object(mut tracers: Vec<(String, Recipe)>) -> Self {
        tracers.sort_by_key(|(_, recipe)| {
            (!recipe.writes(), recipe.needs_survey(), !recipe.shows_state())
        });
        let count = |is: fn(&Recipe) -> bool| tracers.iter().filter(|(_, one)| is(one)).count();
        let (writing, showing) = (count(Recipe::writes), count(Recipe::shows_state));
        Self { tracers, writing, showing, is_object: true }
    }

    fn replay(types: &HashSet<TraceType>, has_hash: bool) -> Self {
        let asked = |what: TraceType, recipe, otherwise| {
            if types.contains(&what) { recipe } else { Recipe::Constant(otherwise) }
        };
        let mut members = vec![
            ("vmTrace", asked(TraceType::VmTrace, Recipe::VmTrace, "null")),
            ("trace", asked(TraceType::Trace, Recipe::Flat(Shape::Plain), "[]")),
            ("stateDiff", asked(TraceType::StateDiff, Recipe::Touched(Show::Diff), "null")),
            ("output", Recipe::Returned),
        ];
        if has_hash {
            members.push(("transactionHash", Recipe::Hash));
        }
        let named = members.into_iter().map(|(name, recipe)| (name.to_owned(), recipe));
        Self::object(named.collect())
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
                return Err(config_error("muxTracer within muxTracer is not supported".to_owned()));
            }
            let name = tracer.as_str();
            if name.is_empty() {
                return Err(config_error("muxTracer needs the names of tracers".to_owned()));
            }
            let recipe = Recipe::geth(one).map_err(|error| within_mux(name, error))?;
            tracers.push((name.to_owned(), recipe));
        }
        // Each has a heap of its own.
        if tracers.iter().filter(|(_, recipe)| matches!(recipe, Recipe::Js(_))).count() > 1 {
            return Err(config_error("muxTracer with several scripts (expected one)".to_owned()));
        }
        // They come in any order.
        tracers.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(Self::object(tracers))
    }

    /// The runs of the transaction: at least one.
    pub(crate) fn runs(&self) -> VecDeque<Run> {
        let (writing, rest) = self.tracers.split_at(self.writing);
        let needs_survey = |(_, recipe): &(_, Recipe)| recipe.needs_survey();
        let mut runs: VecDeque<_> =
            (0..writing.len()).map(|nth| Run { writer: Some(nth), ..Run::default() }).collect();
        if writing.first().is_some_and(needs_survey) {
            runs.push_front(Run::default());
        }
        // On the compute pool nobody takes text.
        if runs.is_empty() || rest.iter().any(|(_, recipe)| matches!(recipe, Recipe::Js(_))) {
            runs.push_back(Run::default());
        }
        runs[0].is_surveyed = writing.iter().any(needs_survey);
        if let Some(last) = runs.back_mut() {
            last.has_rest = true;
        }
        runs
    }

    /// Who observes a run.
    pub(crate) fn tracer(&self, run: &Run, known: &Known<'_>) -> Tracer {
        let part = |nth: usize| {
            let (_, recipe) = &self.tracers[nth];
            recipe.part(known, &self.before(nth))
        };
        let last = if run.has_rest { self.tracers.len() } else { 0 };
        let rest = self.writing + self.showing..last;
        let parts = run.writer.into_iter().chain(rest).map(part).collect();
        let survey = run.is_surveyed.then(|| Survey::new(self.flat().map(Flat::survey)));
        Tracer { survey, parts, bytes: 0, bytes_max: known.bytes_max, cost: 0 }
    }

    /// The list of calls that is asked for; there is one name for it.
    fn flat(&self) -> Option<Shape> {
        self.tracers.iter().find_map(|(_, recipe)| match recipe {
            Recipe::Flat(shape) => Some(*shape),
            _ => None,
        })
    }

    /// What comes before the text of a tracer.
    pub(super) fn before(&self, nth: usize) -> String {
        if !self.is_object {
            return String::new();
        }
        let (name, _) = &self.tracers[nth];
        let begin = if nth == 0 { '{' } else { ',' };
        // Any text may be a name.
        format!("{begin}{}:", Value::from(name.as_str()))
    }

    /// What comes after all of them.
    pub(super) fn after(&self) -> &'static str {
        match (self.is_object, self.tracers.len()) {
            (false, _) => "",
            (true, 0) => "{}",
            (true, _) => "}",
        }
    }

    /// What is written of the state that the transaction leaves, and of the `authorities` that
    /// signed for it, after `text`: the `nth` of it.
    pub(crate) fn touched(
        &self,
        nth: usize,
        (state, authorities): (&EvmState, &[Address]),
        text: &mut Text,
    ) -> Option<Touched> {
        let nth = self.writing + nth;
        match self.tracers.get(nth) {
            Some((_, Recipe::Touched(show))) => {
                Some(Touched::new(*show, (state, authorities), (&self.before(nth), text)))
            }
            _ => None,
        }
    }

    /// Of whom all is made at once when the transaction has ended, by number.
    pub(super) fn rest(&self) -> impl Iterator<Item = (usize, &Recipe)> {
        let numbered = self.tracers.iter().enumerate().skip(self.writing + self.showing);
        numbered.map(|(nth, (_, recipe))| (nth, recipe))
    }

    /// Whether the answer is text that is put together from what several say, or is written while
    /// the transaction runs.
    pub(crate) fn is_text(&self) -> bool {
        self.is_object || self.writing + self.showing > 0
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

fn is_mux(options: &GethDebugTracingOptions) -> bool {
    let mux = GethDebugTracerType::BuiltInTracer(GethDebugBuiltInTracerType::MuxTracer);
    options.tracer.as_ref() == Some(&mux)
}

pub(super) fn config_error(text: String) -> CallError {
    CallError::Invalid(InvalidCall::TracerConfig(text))
}

/// Refuses a list, which the library would read by position.
fn check_object(config: &GethDebugTracerConfig) -> Result<(), CallError> {
    if config.0.is_array() { Err(wrong_config(config, &"a list")) } else { Ok(()) }
}

/// Says of an error that it is about one of several tracers.
fn within_mux(name: &str, error: CallError) -> CallError {
    match error {
        CallError::Invalid(InvalidCall::TracerConfig(text)) => {
            let name: String = name.chars().take(TRACER_NAME_CHARS_MAX).collect();
            let about = text.strip_prefix(options::CONFIG_NAME);
            config_error(match about {
                Some(rest) => format!("{}.{name}{rest}", options::CONFIG_NAME),
                None => format!("{name}: {text}"),
            })
        }
        other => other,
    }
}

/// Why the options of a tracer are refused: in our words if it is the type of one.
fn wrong_config(config: &GethDebugTracerConfig, error: &dyn fmt::Display) -> CallError {
    config_error(options::wrong_config(&config.0).unwrap_or_else(|| error.to_string()))
}
