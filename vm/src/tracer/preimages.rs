//! geth's `keccak256PreimageTracer`: what `KECCAK256` hashes, by hash, written while the
//! transaction runs. Pure.
//!
//! Source: geth `eth/tracers/native/keccak256_preimage.go`. Of each hash there is one preimage; the
//! hash itself is kept, so that it is written once. It is left on the stack by the instruction, and
//! made here only if that fails, which geth shows too. Deviation: what fails and is longer than
//! [`UNPAID_BYTES_MAX`] is not shown, since nobody has paid for its hash.

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
use crate::limits::{KECCAK_CHUNK_BYTES, KECCAK_FUEL_PER_BYTE};

/// The most bytes beyond memory that geth takes for zeros.
const PADDING_BYTES_MAX: usize = 1 << 20;
/// The most bytes that are hashed here.
const UNPAID_BYTES_MAX: usize = KECCAK_CHUNK_BYTES;
#[allow(clippy::cast_possible_truncation, reason = "it is small")]
const UNPAID_FUEL_PER_BYTE: usize = KECCAK_FUEL_PER_BYTE as usize;
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

    /// After an instruction; returns the bytes that stay recorded, and the fuel that others took.
    pub(super) fn step_end(&mut self, interpreter: &Interpreter) -> (usize, usize) {
        let Some(preimage) = self.hashing.take() else { return (0, 0) };
        let (hash, fuel) = match interpreter.stack.peek(0) {
            Ok(hash) if interpreter.bytecode.is_not_end() => (hash.into(), 0),
            _ if preimage.len() > UNPAID_BYTES_MAX => return (0, 0),
            _ => (keccak256(&preimage), preimage.len() * UNPAID_FUEL_PER_BYTE),
        };
        let comma = if self.written.is_empty() { "" } else { "," };
        if !self.written.insert(hash) {
            return (0, fuel);
        }
        self.text.push_text(&format!(r#"{comma}"{hash}":"0x"#));
        self.text.push(Part::Hex(preimage));
        self.text.push_text("\"");
        (HASH_BYTES, fuel)
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
    // geth takes the low 64 bits, and nothing negative.
    let operand = |nth| i64::try_from(interpreter.stack.peek(nth).ok()?.as_limbs()[0]).ok();
    let (offset, len) = (usize::try_from(operand(0)?).ok()?, usize::try_from(operand(1)?).ok()?);
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
