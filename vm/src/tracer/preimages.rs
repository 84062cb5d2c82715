//! geth's `keccak256PreimageTracer`: what `KECCAK256` hashes, by hash, written while the
//! transaction runs. Pure.
//!
//! Source: geth `eth/tracers/native/keccak256_preimage.go`. Of each hash there is one preimage; the
//! hash itself is kept, so that it is written once. It is left on the stack by the instruction, and
//! made here only if that fails, which geth shows too.

use std::collections::BTreeSet;

use alloy_primitives::{B256, Bytes, keccak256};
use revm::{
    bytecode::opcode,
    interpreter::{
        Interpreter,
        interpreter_types::{Jumps, LoopControl},
    },
};

use super::text::{Part, Text};

/// The most bytes beyond memory that geth takes for zeros.
const PADDING_BYTES_MAX: usize = 1 << 20;
/// What a hash takes in the set, about.
const HASH_BYTES: usize = 64;

/// The preimages of one transaction.
pub(super) struct Preimages {
    text: Text,
    written: BTreeSet<B256>,
    hashing: Option<Bytes>,
}

impl Preimages {
    /// One whose text begins with `text`.
    pub(super) fn new(mut text: Text) -> Self {
        text.push_text("{");
        Self { text, written: BTreeSet::new(), hashing: None }
    }

    /// What is written.
    pub(super) const fn text(&mut self) -> &mut Text {
        &mut self.text
    }

    /// Before an instruction; returns the fuel that it took.
    pub(super) fn step(&mut self, interpreter: &Interpreter) -> usize {
        self.hashing = preimage(interpreter);
        self.hashing.as_ref().map_or(0, |preimage| preimage.len())
    }

    /// After an instruction; returns the bytes that stay recorded.
    pub(super) fn step_end(&mut self, interpreter: &Interpreter) -> usize {
        let Some(preimage) = self.hashing.take() else { return 0 };
        let hash = match interpreter.stack.peek(0) {
            Ok(hash) if interpreter.bytecode.is_not_end() => hash.into(),
            _ => keccak256(&preimage),
        };
        let comma = if self.written.is_empty() { "" } else { "," };
        if !self.written.insert(hash) {
            return 0;
        }
        self.text.push_text(&format!(r#"{comma}"{hash}":"0x"#));
        self.text.push(Part::Hex(preimage));
        self.text.push_text("\"");
        HASH_BYTES
    }

    /// The transaction has ended.
    pub(super) fn end(&mut self) {
        self.text.push_text("}");
    }
}

/// What the instruction is about to hash, if it does: from memory, and zeros beyond it; nothing if
/// that is far beyond.
pub(super) fn preimage(interpreter: &Interpreter) -> Option<Bytes> {
    if interpreter.bytecode.opcode() != opcode::KECCAK256 {
        return None;
    }
    let operand = |nth| usize::try_from(interpreter.stack.peek(nth).ok()?).ok();
    let (offset, len) = (operand(0)?, operand(1)?);
    let memory = interpreter.memory.context_memory();
    let end = offset.checked_add(len)?;
    if end.saturating_sub(memory.len()) > PADDING_BYTES_MAX {
        return None;
    }
    let mut preimage = vec![0; len];
    if let Some(there) = memory.get(offset..end.min(memory.len())) {
        preimage[..there.len()].copy_from_slice(there);
    }
    Some(preimage.into())
}
