//! What is made of a trace once its transaction has ended. Pure.
//!
//! The library's builders and serde take time with the size of the trace, in one go: small traces
//! are rendered where they were made, all others on the compute pool.

use std::sync::Arc;

use alloy_primitives::Bytes;
use alloy_rpc_types_eth::TransactionInfo;
use alloy_rpc_types_trace::opcode::{OpcodeGas, TransactionOpcodeGas};
use revm::{
    bytecode::opcode::OpCode,
    context::{
        BlockEnv, TxEnv,
        result::{HaltReason, ResultAndState},
    },
};
use revm_inspectors::tracing::{DebugInspector, DebugInspectorError, TransactionContext};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{Json, Part, Plan, Traced, Tracer, plan::Recipe, script::Ended};
use crate::{
    call::output_of,
    error::{CallError, Unsupported},
    limits::{RENDER_INLINE_BYTES, TRACE_TEXT_BYTES_MAX},
    long::Fault,
    overlay::{Overlay, ReadError},
};

/// A transaction that has ended, with what observed it.
pub(crate) struct Unrendered {
    pub(crate) plan: Arc<Plan>,
    pub(crate) tracer: Tracer,
    pub(crate) tx: TxEnv,
    pub(crate) block: BlockEnv,
    pub(crate) info: TransactionInfo,
    pub(crate) ended: ResultAndState<HaltReason>,
    pub(crate) fault: Option<Fault>,
    /// The state before the transaction.
    pub(crate) overlay: Overlay,
}

/// What is rendered of a trace, and the state after its transaction.
pub(crate) struct Rendered {
    pub(crate) made: Result<Made, CallError>,
    pub(crate) overlay: Overlay,
    pub(crate) bytes: usize,
}

/// What is rendered.
pub(crate) enum Made {
    /// The trace.
    Whole(Traced),
    /// What comes after the text that was written while the transaction ran.
    Rest(String),
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
        let (bytes, has_script) = (self.tracer.bytes(), self.tracer.has_script());
        self.plan.rest().next().is_some() && (bytes > RENDER_INLINE_BYTES || has_script)
    }

    /// Renders what there is to and takes over what the transaction did.
    pub(crate) fn render(self) -> Rendered {
        let Self { plan, mut tracer, tx, block, info, ended, fault, mut overlay } = self;
        let bytes = tracer.bytes();
        let mut scene =
            Scene { tx: &tx, block: &block, info, ended: &ended, fault, overlay: &mut overlay };
        let count = plan.rest().count();
        let parts = tracer.parts.split_off(tracer.parts.len() - count);
        let mut made = scene.made(&plan, parts);
        drop(tracer);
        if let Err(error) = overlay.commit(ended.state) {
            made = Err(CallError::State(error.0));
        }
        Rendered { made, overlay, bytes }
    }
}

/// What the tracers' answers are made from.
struct Scene<'a> {
    tx: &'a TxEnv,
    block: &'a BlockEnv,
    info: TransactionInfo,
    ended: &'a ResultAndState<HaltReason>,
    fault: Option<Fault>,
    overlay: &'a mut Overlay,
}

impl Scene<'_> {
    fn made(&mut self, plan: &Plan, parts: Vec<Part>) -> Result<Made, CallError> {
        let mut rest = plan.rest().zip(parts);
        if !plan.is_text() {
            let ((_, recipe), part) = rest.next().expect("it has a tracer");
            return self.traced(recipe, part).map(Made::Whole);
        }
        let mut text = String::new();
        for ((nth, recipe), part) in rest {
            text.push_str(&plan.before(nth));
            text.push_str(self.json(recipe, part)?.get());
            check_text(text.len())?;
        }
        text.push_str(plan.after());
        Ok(Made::Rest(text))
    }

    fn traced(&mut self, recipe: &Recipe, part: Part) -> Result<Traced, CallError> {
        Ok(match (recipe, part) {
            (Recipe::Output, _) => {
                let output = output_of(self.ended.result.clone(), self.fault);
                Traced::Output(output.map_err(Box::new))
            }
            (Recipe::Operations, Part::Operations(inspector)) => {
                Traced::Operations(inspector.into_operations())
            }
            (recipe, part) => Traced::Json(Json(self.json(recipe, part)?)),
        })
    }

    fn json(&mut self, recipe: &Recipe, part: Part) -> Result<Box<RawValue>, CallError> {
        let Self { tx, block, ended: after, fault, info, .. } = *self;
        match (recipe, part) {
            (Recipe::Script(_), Part::Script(script)) => {
                let text = script.result(&Ended { tx, block, after, fault, overlay: self.overlay });
                text.map_err(|error| CallError::Internal(error.to_string()))
            }
            (Recipe::Js(_), Part::Js(script)) => {
                script.result(&Ended { tx, block, after, fault, overlay: self.overlay }, info)
            }
            (Recipe::Geth(_), Part::Geth(inspector)) => self.geth(*inspector),
            (Recipe::OpcodeGas, Part::OpcodeGas(inspector)) => {
                let mut opcode_gas: Vec<_> = inspector.opcode_iter().collect();
                opcode_gas.sort_unstable_by_key(|(opcode, _)| opcode.get());
                let shown = |(opcode, (count, gas_used)): (OpCode, (u64, u64))| OpcodeGas {
                    opcode: opcode.to_string(),
                    count,
                    gas_used,
                };
                let opcode_gas = opcode_gas.into_iter().map(shown).collect();
                let transaction_hash = info.hash.unwrap_or_default();
                json(&TransactionOpcodeGas { transaction_hash, opcode_gas })
            }
            (Recipe::Returned, _) => {
                json(&after.result.output().cloned().unwrap_or_else(Bytes::new))
            }
            (Recipe::Hash, _) => json(&info.hash),
            (Recipe::Constant(text), _) => RawValue::from_string((*text).to_owned())
                .map_err(|e| CallError::Internal(e.to_string())),
            _ => unreachable!("a tracer is made by its recipe"),
        }
    }

    fn geth(&mut self, mut inspector: DebugInspector) -> Result<Box<RawValue>, CallError> {
        let context = TransactionContext {
            block_hash: self.info.block_hash,
            tx_index: self.info.index.and_then(|index| usize::try_from(index).ok()),
            tx_hash: self.info.hash,
        };
        let Self { tx, block, ended, .. } = *self;
        let trace = inspector.get_result(Some(context), tx, block, ended, self.overlay);
        match trace {
            Ok(trace) => json(&trace),
            Err(DebugInspectorError::Database(ReadError(error))) => Err(CallError::State(error)),
            Err(error) => Err(CallError::Internal(error.to_string())),
        }
    }
}

/// Refuses text that is too long.
fn check_text(bytes: usize) -> Result<(), CallError> {
    if bytes > TRACE_TEXT_BYTES_MAX {
        return Err(CallError::Unsupported(Unsupported::TraceText(TRACE_TEXT_BYTES_MAX)));
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
        let made = text.map(|text| Made::Whole(Traced::Json(Json(text))));
        let made = made.map_err(CallError::Internal);
        Rendered { made, overlay: self.overlay, bytes: 0 }
    }
}

fn json<T: Serialize>(value: &T) -> Result<Box<RawValue>, CallError> {
    to_raw_value(value).map_err(|error| CallError::Internal(error.to_string()))
}
