//! geth's JSON logger: a line for each instruction, and one for the end of each call. Pure.
//!
//! Source: EIP-3155, as geth writes it to files (`eth/tracers/logger/logger_json.go`). Numbers are
//! hex but for `pc`, `op`, `memSize`, `depth` and `refund`; memory and what calls returned are
//! shown if the options say so, storage never. An instruction that fails after it was paid for has
//! a second line, with the error and what it left of stack and memory; one that could not be paid
//! for has the error in its only line. A contract that destroys itself is a call of its own, which
//! returns nothing. `limit` counts bytes: an instruction that begins beyond it has no line.
//!
//! Deviations: of an instruction that could not be paid for the cost is what was taken, not what
//! was wanted, and sizes and limits of code are not in the error.

use std::sync::Arc;

use alloy_primitives::{Bytes, bytes::Bytes as SharedBytes};
use revm::interpreter::InstructionResult;
use serde_json::Value;

use super::{
    calls::End,
    script::{REVERTED, is_refused},
    steps::Step,
    text::{Part, Text},
};
use crate::error::OpcodeName;

/// The lines of one transaction.
pub(super) struct Lines {
    /// Bytes after which no instruction is written; 0 for no limit.
    bytes_max: u64,
    bytes: u64,
}

impl Lines {
    pub(super) const fn new(bytes_max: u64) -> Self {
        Self { bytes_max, bytes: 0 }
    }

    /// Whether no more instructions are written.
    pub(super) const fn is_full(&self) -> bool {
        self.bytes_max > 0 && self.bytes > self.bytes_max
    }

    /// Writes an instruction that is over.
    pub(super) fn step(&mut self, mut step: Step, text: &mut Text) {
        let failure = match step.ended {
            Some(InstructionResult::Revert) => Some(REVERTED.to_owned()),
            _ => step.error(),
        };
        let was_refused = step.ended.is_some_and(|ended| is_refused(ended, step.opcode));
        if failure.is_some() && !was_refused {
            self.line(&step, None, text);
            if !self.is_full() {
                // geth looks once more, and does not know what calls have returned.
                step.returned = Bytes::new();
                if let Some(left) = step.left.take() {
                    (step.stack, step.memory_len) = (left.stack, left.memory_len);
                    step.memory = left.memory;
                }
                self.line(&step, failure.as_deref(), text);
            }
        } else {
            self.line(&step, failure.as_deref(), text);
        }
    }

    fn line(&mut self, step: &Step, error: Option<&str>, text: &mut Text) {
        let &Step { pc, opcode, gas, gas_cost, memory_len, depth, refund, .. } = step;
        let head =
            format!(r#"{{"pc":{pc},"op":{opcode},"gas":"{gas:#x}","gasCost":"{gas_cost:#x}""#);
        self.text(&head, text);
        if let Some(memory) = &step.memory {
            self.hex(r#","memory":"0x"#, SharedBytes::from_owner(Arc::clone(memory)).into(), text);
        }
        // Numbers have a JSON form.
        let stack = serde_json::to_string(&step.stack).expect("a stack is plain data");
        self.text(&format!(r#","memSize":{memory_len},"stack":{stack}"#), text);
        if !step.returned.is_empty() {
            self.hex(r#","returnData":"0x"#, step.returned.clone(), text);
        }
        let name = OpcodeName(opcode);
        self.text(&format!(r#","depth":{depth},"refund":{refund},"opName":"{name}""#), text);
        self.end_line(error, text);
    }

    /// Writes the end of a call; returns the fuel that it took.
    pub(super) fn call_ends(&mut self, end: &End, text: &mut Text) -> usize {
        if end.status == InstructionResult::SelfDestruct {
            self.text(r#"{"output":"","gasUsed":"0x0""#, text);
            self.end_line(None, text);
        }
        self.hex(r#"{"output":""#, end.output.clone(), text);
        self.text(&format!(r#","gasUsed":"{:#x}""#, end.gas_used), text);
        self.end_line(end.error().as_deref(), text);
        end.output.len()
    }

    fn end_line(&mut self, error: Option<&str>, text: &mut Text) {
        let error = error.map(|error| format!(r#","error":{}"#, Value::from(error)));
        self.text(&(error.unwrap_or_default() + "}\n"), text);
    }

    fn text(&mut self, more: &str, text: &mut Text) {
        self.bytes += more.len() as u64;
        text.push_text(more);
    }

    /// Writes a member whose value is hex.
    fn hex(&mut self, before: &str, bytes: Bytes, text: &mut Text) {
        self.text(before, text);
        self.bytes += 2 * bytes.len() as u64;
        text.push(Part::Hex(bytes));
        self.text("\"", text);
    }
}
