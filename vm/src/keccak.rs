//! `KECCAK256` over much memory in slices, and what a running execution remembers between slices.
//!
//! Pure. Gas, memory growth and result are those of revm's instruction; only the hashing itself
//! is put off and done by [`hash_some`] before the next instruction.

use alloy_primitives::{Keccak256, U256};
use revm::{
    Database,
    interpreter::{
        Host, InstructionContext, InstructionExecResult, InstructionResult, Interpreter,
        instructions::system,
        interpreter::EthInterpreter,
        interpreter_types::{Jumps, LegacyBytecode},
    },
};

use crate::{
    limits::{KECCAK_CHUNK_BYTES, KECCAK_FUEL_PER_BYTE, KECCAK_INLINE_BYTES},
    slice::VmContext,
};

/// What an execution remembers beside revm's own state; lives in the context.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    hashing: Option<Box<Hashing>>,
    /// The inspector has not yet seen the end of the instruction that hashes.
    pub(crate) is_step_end_due: bool,
    /// What stopped the last frame that failed; the outermost frame fails last.
    pub(crate) fault: Option<Fault>,
}

impl Progress {
    /// Returns true in the middle of a `KECCAK256`.
    pub(crate) fn is_hashing(&self) -> bool {
        self.hashing.is_some()
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The instruction at which a frame failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) opcode: u8,
    pub(crate) stack_len: usize,
}

impl Fault {
    /// The instruction that `interpreter` just executed.
    pub(crate) fn last(interpreter: &Interpreter<EthInterpreter>) -> Option<Self> {
        let at = interpreter.bytecode.pc().checked_sub(1)?;
        let opcode = *interpreter.bytecode.bytecode_slice().get(at)?;
        Some(Self { opcode, stack_len: interpreter.stack.len() })
    }
}

/// A `KECCAK256` whose gas is paid and whose operands are off the stack but for the result's place.
struct Hashing {
    hasher: Keccak256,
    from: usize,
    len: usize,
}

impl std::fmt::Debug for Hashing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hashing")
            .field("from", &self.from)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// revm's `KECCAK256`, but over much memory it only pays and suspends.
pub(crate) fn keccak256<DB: Database>(
    context: InstructionContext<'_, VmContext<DB>, EthInterpreter>,
) -> InstructionExecResult {
    let is_inline = context
        .interpreter
        .stack
        .peek(1)
        .map_or(true, |len| len <= U256::from(KECCAK_INLINE_BYTES));
    if is_inline {
        return system::keccak256(context);
    }
    let InstructionContext { interpreter, host } = context;
    let Some(([from], top)) = interpreter.stack.popn_top::<1>() else {
        return Err(InstructionResult::StackUnderflow);
    };
    let len = usize::try_from(*top).map_err(|_| InstructionResult::InvalidOperandOOG)?;
    if !interpreter.gas.record_regular_cost(host.gas_params().keccak256_cost(len)) {
        return Err(InstructionResult::OutOfGas);
    }
    let from = usize::try_from(from).map_err(|_| InstructionResult::InvalidOperandOOG)?;
    interpreter.resize_memory(host.gas_params(), from, len)?;
    host.chain.hashing = Some(Box::new(Hashing { hasher: Keccak256::new(), from, len }));
    Err(InstructionResult::Suspend)
}

/// Goes on with the hash in `progress` on the frame that began it; returns true when it is done.
///
/// # Panics
///
/// If no hash is under way.
pub(crate) fn hash_some(
    interpreter: &mut Interpreter<EthInterpreter>,
    progress: &mut Progress,
    fuel: &mut u64,
) -> bool {
    let hashing = progress.hashing.as_mut().expect("the caller saw that a hash is under way");
    let paid = usize::try_from(*fuel / KECCAK_FUEL_PER_BYTE).unwrap_or(usize::MAX);
    let chunk = hashing.len.min(paid.max(KECCAK_CHUNK_BYTES));
    hashing.hasher.update(interpreter.memory.slice_len(hashing.from, chunk).as_ref());
    hashing.from += chunk;
    hashing.len -= chunk;
    *fuel = fuel.saturating_sub(chunk as u64 * KECCAK_FUEL_PER_BYTE);
    if hashing.len > 0 {
        return false;
    }
    let done = progress.hashing.take().expect("it was there above");
    let top = interpreter.stack.top().expect("the instruction left the place of its result");
    *top = done.hasher.finalize().into();
    true
}
