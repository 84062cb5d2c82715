//! geth's `keccak256PreimageTracer`: what `KECCAK256` hashed, by hash. Pure.
//!
//! Nothing is hashed again: the instruction leaves the hash on the stack. One that fails has hashed
//! nothing.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    mem,
};

use alloy_primitives::{B256, Bytes};
use revm::{
    bytecode::opcode,
    interpreter::{
        Interpreter,
        interpreter_types::{Jumps, LoopControl},
    },
};

use super::text::{Part, Text};
use crate::limits::TRACE_STEP_BYTES;

/// The preimages of one transaction.
pub(super) struct Preimages {
    text: Text,
    found: BTreeMap<B256, Bytes>,
    /// Where the preimage of the hash lies that is being made: offset and length in memory.
    hashing: Option<(usize, usize)>,
}

impl Preimages {
    /// One whose text begins with `text`.
    pub(super) const fn new(text: Text) -> Self {
        Self { text, found: BTreeMap::new(), hashing: None }
    }

    /// What is written.
    pub(super) const fn text(&mut self) -> &mut Text {
        &mut self.text
    }

    /// The transaction has ended: the preimages by their hashes.
    pub(super) fn end(&mut self) {
        self.text.push_text("{");
        self.text.push(Part::named_bytes(mem::take(&mut self.found)));
        self.text.push_text("}");
    }

    /// Before an instruction.
    pub(super) fn step(&mut self, interpreter: &Interpreter) {
        self.hashing = None;
        if interpreter.bytecode.opcode() != opcode::KECCAK256 {
            return;
        }
        // Numbers that are no places in memory: then it fails.
        let operand = |nth| usize::try_from(interpreter.stack.peek(nth).ok()?).ok();
        if let (Some(offset), Some(len)) = (operand(0), operand(1)) {
            self.hashing = Some((offset, len));
        }
    }

    /// After an instruction; returns the bytes recorded.
    pub(super) fn step_end(&mut self, interpreter: &Interpreter) -> usize {
        let Some((offset, len)) = self.hashing.take() else { return 0 };
        if interpreter.bytecode.is_end() {
            return 0;
        }
        let Ok(hash) = interpreter.stack.peek(0) else { return 0 };
        let Entry::Vacant(entry) = self.found.entry(hash.into()) else { return 0 };
        // Nothing may lie anywhere.
        let preimage = match len {
            0 => Bytes::new(),
            _ => Bytes::copy_from_slice(&interpreter.memory.slice_len(offset, len)),
        };
        entry.insert(preimage);
        TRACE_STEP_BYTES + len
    }
}
