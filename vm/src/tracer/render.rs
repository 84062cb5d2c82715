//! What is made of a trace once its transaction has ended. Pure.
//!
//! The library's builders and serde take time with the size of the trace, in one go: small traces
//! are rendered where they were made, all others on the compute pool.

use alloy_primitives::map::HashMap;
use alloy_rpc_types_eth::TransactionInfo;
use alloy_rpc_types_trace::{
    geth::GethDebugBuiltInTracerType,
    opcode::{OpcodeGas, TransactionOpcodeGas},
    parity::TraceResultsWithTransactionHash,
};
use revm::{
    DatabaseRef,
    bytecode::opcode::{self, OpCode},
    context::{
        BlockEnv, TxEnv,
        result::{HaltReason, ResultAndState},
    },
    interpreter::InstructionResult,
    state::EvmState,
};
use revm_inspectors::tracing::{
    DebugInspector, DebugInspectorError, TracingInspector, TransactionContext,
};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{
    Calls, Json, Part, Recipe, Traced, Tracer,
    script::{Ended, Running},
};
use crate::{
    call::output_of,
    error::{CallError, Unsupported},
    limits::{RENDER_INLINE_BYTES, TRACE_TEXT_BYTES_MAX},
    long::Fault,
    overlay::{Overlay, ReadError},
};

/// Bytes of JSON of an account, and of a slot with its value: keys, digits, punctuation.
const ACCOUNT_TEXT_BYTES: usize = 256;
const SLOT_TEXT_BYTES: usize = 2 * 69;

/// A transaction that has ended, with what observed it.
pub(crate) struct Unrendered {
    pub(crate) recipe: std::sync::Arc<Recipe>,
    pub(crate) tracer: Tracer,
    pub(crate) tx: TxEnv,
    pub(crate) block: BlockEnv,
    pub(crate) info: TransactionInfo,
    pub(crate) ended: ResultAndState<HaltReason>,
    pub(crate) fault: Option<Fault>,
    /// The state before the transaction.
    pub(crate) overlay: Overlay,
}

/// A rendered trace, and the state after its transaction.
pub(crate) struct Rendered {
    pub(crate) traced: Result<Traced, CallError>,
    pub(crate) overlay: Overlay,
    pub(crate) bytes: usize,
}

impl std::fmt::Debug for Unrendered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unrendered").field("bytes", &self.tracer.bytes()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Rendered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rendered").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Unrendered {
    /// Whether rendering may take longer than a turn.
    pub(crate) fn is_heavy(&self) -> bool {
        self.tracer.bytes() > RENDER_INLINE_BYTES
            || needs_state(&self.recipe)
            || self.recipe.has_script()
    }

    /// Renders the trace and takes over what the transaction did.
    pub(crate) fn render(self) -> Rendered {
        let Self { recipe, mut tracer, tx, block, info, ended, fault, mut overlay } = self;
        let bytes = tracer.bytes();
        let scene = Scene { tx: &tx, block: &block, info, ended: &ended, fault };
        let mut traced = match &*recipe {
            Recipe::Output => {
                let output = output_of(ended.result.clone(), fault);
                Ok(Traced::Output(output.map_err(Box::new)))
            }
            recipe => scene.traced(recipe, &mut tracer, &mut overlay),
        };
        drop(tracer);
        if let Err(error) = overlay.commit(ended.state) {
            traced = Err(CallError::State(error.0));
        }
        Rendered { traced, overlay, bytes }
    }
}

/// Whether the accounts and slots that the transaction touched are shown.
fn needs_state(recipe: &Recipe) -> bool {
    use alloy_rpc_types_trace::{geth::GethDebugTracerType, parity::TraceType};
    let prestate = GethDebugTracerType::BuiltInTracer(GethDebugBuiltInTracerType::PreStateTracer);
    match recipe {
        Recipe::Geth(options) => options.tracer.as_ref() == Some(&prestate),
        Recipe::Mux(tracers) => tracers.iter().any(|(_, recipe)| needs_state(recipe)),
        Recipe::Replay { types, .. } => types.contains(&TraceType::StateDiff),
        Recipe::Steps(_)
        | Recipe::Lines(_)
        | Recipe::Calls(_)
        | Recipe::Preimages
        | Recipe::Script(_)
        | Recipe::Js(_)
        | Recipe::OpcodeGas
        | Recipe::Flat
        | Recipe::Operations
        | Recipe::Output => false,
    }
}

/// What the tracers' answers are made from.
struct Scene<'a> {
    tx: &'a TxEnv,
    block: &'a BlockEnv,
    info: TransactionInfo,
    ended: &'a ResultAndState<HaltReason>,
    fault: Option<Fault>,
}

impl Scene<'_> {
    fn traced(
        &self,
        recipe: &Recipe,
        tracer: &mut Tracer,
        overlay: &mut Overlay,
    ) -> Result<Traced, CallError> {
        if needs_state(recipe) {
            check_state(&self.ended.state, overlay)?;
        }
        if let Recipe::Mux(tracers) = recipe {
            let mut answers: HashMap<_, _> = HashMap::default();
            for ((name, recipe), part) in tracers.iter().zip(&mut tracer.parts) {
                let Traced::Json(answer) = self.of_part(recipe, part, overlay)? else {
                    unreachable!("geth's tracers give JSON")
                };
                answers.insert(name, answer.0);
            }
            return json(&answers);
        }
        let part = tracer.parts.first_mut().expect("a tracer has a part");
        self.of_part(recipe, part, overlay)
    }

    fn of_part(
        &self,
        recipe: &Recipe,
        part: &mut Part,
        overlay: &mut Overlay,
    ) -> Result<Traced, CallError> {
        match (recipe, part) {
            (Recipe::Preimages, Part::Preimages(preimages)) => json(preimages.found()),
            (Recipe::Script(_), Part::Script(script)) => {
                let script = std::mem::replace(script, Running::Noop);
                let Self { tx, block, ended: after, fault, .. } = *self;
                let text = script.result(&Ended { tx, block, after, fault, overlay });
                let text = text.map_err(|error| CallError::Internal(error.to_string()))?;
                Ok(Traced::Json(Json(text)))
            }
            (Recipe::Js(_), Part::Js(script)) => {
                let Self { tx, block, ended: after, fault, info } = *self;
                let ended = Ended { tx, block, after, fault, overlay };
                script.result(&ended, info).map(|text| Traced::Json(Json(text)))
            }
            (Recipe::Calls(config), Part::Calls(calls)) => {
                let nothing = Calls::new(*config, std::sync::Arc::default(), true);
                let mut calls = std::mem::replace(&mut **calls, nothing);
                calls.end(&self.ended.result, self.tx);
                let text = calls.into_text().map_err(|error| error.to_string());
                let text = text.and_then(|text| {
                    RawValue::from_string(text).map_err(|error| error.to_string())
                });
                text.map(|text| Traced::Json(Json(text))).map_err(CallError::Internal)
            }
            (Recipe::Geth(_), Part::Geth(inspector)) => self.geth(inspector, overlay),
            (Recipe::Replay { types, has_hash }, Part::Parity(inspector)) => {
                let builder = std::mem::take(&mut **inspector).into_parity_builder();
                let results = builder
                    .into_trace_results_with_state(self.ended, types, &*overlay)
                    .map_err(|error| CallError::State(error.0))?;
                match self.info.hash.filter(|_| *has_hash) {
                    Some(transaction_hash) => json(&TraceResultsWithTransactionHash {
                        full_trace: results,
                        transaction_hash,
                    }),
                    None => json(&results),
                }
            }
            (Recipe::OpcodeGas, Part::OpcodeGas(inspector)) => {
                let mut opcode_gas: Vec<_> = inspector.opcode_iter().collect();
                opcode_gas.sort_unstable_by_key(|(opcode, _)| opcode.get());
                let shown = |(opcode, (count, gas_used)): (OpCode, (u64, u64))| OpcodeGas {
                    opcode: opcode.to_string(),
                    count,
                    gas_used,
                };
                let opcode_gas = opcode_gas.into_iter().map(shown).collect();
                let transaction_hash = self.info.hash.unwrap_or_default();
                json(&TransactionOpcodeGas { transaction_hash, opcode_gas })
            }
            (Recipe::Flat, Part::Parity(inspector)) => {
                let builder = std::mem::take::<TracingInspector>(inspector).into_parity_builder();
                Ok(Traced::Flat(builder.into_localized_transaction_traces(self.info)))
            }
            (Recipe::Operations, Part::Operations(inspector)) => {
                Ok(Traced::Operations(std::mem::take(inspector).into_operations()))
            }
            _ => unreachable!("a tracer is made by its recipe"),
        }
    }

    fn geth(
        &self,
        inspector: &mut DebugInspector,
        overlay: &mut Overlay,
    ) -> Result<Traced, CallError> {
        if let DebugInspector::Erc7562Tracer(inspector, _) = inspector {
            forget_unhashed(inspector);
        }
        let context = TransactionContext {
            block_hash: self.info.block_hash,
            tx_index: self.info.index.and_then(|index| usize::try_from(index).ok()),
            tx_hash: self.info.hash,
        };
        let trace = inspector.get_result(Some(context), self.tx, self.block, self.ended, overlay);
        match trace {
            Ok(trace) => json(&trace),
            Err(DebugInspectorError::Database(ReadError(error))) => Err(CallError::State(error)),
            Err(error) => Err(CallError::Internal(error.to_string())),
        }
    }
}

/// A `KECCAK256` that failed has no preimage, and its operands may be any numbers: the builder
/// would make a buffer of that length.
fn forget_unhashed(inspector: &mut TracingInspector) {
    for node in inspector.traces_mut().nodes_mut() {
        for step in &mut node.trace.steps {
            let is_hash = step.op.get() == opcode::KECCAK256;
            if is_hash && step.status.is_some_and(InstructionResult::is_halt) {
                step.memory = None;
            }
        }
    }
}

/// Refuses a state whose JSON would be too long.
fn check_state(state: &EvmState, overlay: &Overlay) -> Result<(), CallError> {
    let mut bytes = 0_usize;
    for (address, account) in state {
        bytes += ACCOUNT_TEXT_BYTES + 2 * SLOT_TEXT_BYTES * account.storage.len();
        let before = overlay.basic_ref(*address).map_err(|error| CallError::State(error.0))?;
        let code = before.map(|info| overlay.code_by_hash_ref(info.code_hash)).transpose();
        let code = code.map_err(|error| CallError::State(error.0))?;
        let code = code.map_or(0, |code| code.original_byte_slice().len());
        let new = account.info.code.as_ref().map_or(0, |code| code.original_byte_slice().len());
        bytes += 2 * (code + new);
        if bytes > TRACE_TEXT_BYTES_MAX {
            return Err(CallError::Unsupported(Unsupported::TraceText(TRACE_TEXT_BYTES_MAX)));
        }
    }
    Ok(())
}

/// A trace that was written while its transaction ran.
pub(crate) struct Written {
    pub(crate) pieces: Vec<Vec<u8>>,
    pub(crate) overlay: Overlay,
}

impl std::fmt::Debug for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Written").field("pieces", &self.pieces.len()).finish_non_exhaustive()
    }
}

impl Written {
    /// Puts the text together.
    pub(crate) fn join(self) -> Rendered {
        let text = String::from_utf8(self.pieces.concat()).map_err(|error| error.to_string());
        let text = text.and_then(|text| RawValue::from_string(text).map_err(|e| e.to_string()));
        let traced = match text {
            Ok(text) => Ok(Traced::Json(Json(text))),
            Err(error) => Err(CallError::Internal(error)),
        };
        Rendered { traced, overlay: self.overlay, bytes: 0 }
    }
}

fn json<T: Serialize>(value: &T) -> Result<Traced, CallError> {
    let text: Box<RawValue> =
        to_raw_value(value).map_err(|error| CallError::Internal(error.to_string()))?;
    Ok(Traced::Json(Json(text)))
}
