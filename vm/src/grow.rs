//! Memory that grows by much grows in slices: fresh pages cost some 0.4 ns a byte, which is 7 ms
//! for 16 MiB.
//!
//! Pure. An instruction that would need far more memory than the frame has, and can pay for it,
//! suspends with its operands on the stack; [`long::go_on`](crate::long::go_on) makes the memory
//! longer step by step and then runs the instruction. Nobody can see the memory in between: the
//! frame does nothing else meanwhile, and an instruction that fails after all ends the frame.

use revm::{
    Database,
    bytecode::opcode as op,
    context_interface::LocalContextTr,
    interpreter::{
        InstructionContext, InstructionExecResult, InstructionResult,
        instructions::{contract, host, memory, system},
        interpreter::EthInterpreter,
        interpreter_types::MemoryTr,
        num_words,
    },
    primitives::U256,
};

use crate::{
    limits::COPY_INLINE_BYTES,
    long::{Long, Work},
    slice::VmContext,
};

type Instruction<'a, DB> = InstructionContext<'a, VmContext<DB>, EthInterpreter>;

/// Bytes of a word.
const WORD: usize = 32;

/// `OPCODE`, once there is memory for it.
pub(crate) fn growing<const OPCODE: u8, DB: Database>(
    mut context: Instruction<'_, DB>,
) -> InstructionExecResult {
    if waits(&mut context, OPCODE) {
        return Err(InstructionResult::Suspend);
    }
    match OPCODE {
        op::MLOAD => memory::mload(context),
        op::MSTORE => memory::mstore(context),
        op::MSTORE8 => memory::mstore8(context),
        op::MCOPY => memory::mcopy(context),
        op::CALLDATACOPY => system::calldatacopy(context),
        op::CODECOPY => system::codecopy(context),
        op::RETURNDATACOPY => system::returndatacopy(context),
        op::EXTCODECOPY => host::extcodecopy(context),
        op::CREATE => contract::create::<false, _, _>(context),
        op::CREATE2 => contract::create::<true, _, _>(context),
        op::CALL | op::CALLCODE | op::DELEGATECALL | op::STATICCALL => {
            contract::call::<OPCODE, _, _>(context)
        }
        _ => unreachable!("the instruction table names no other"),
    }
}

/// `MLOAD`, which is too frequent for anything but revm's own compare.
pub(crate) fn mload<DB: Database>(context: Instruction<'_, DB>) -> InstructionExecResult {
    let interpreter = &mut *context.interpreter;
    let size = interpreter.gas.memory().words_num * WORD;
    if let Some(top) = interpreter.stack.top()
        && let Some(place) = word_within(top, size)
    {
        let bytes = interpreter.memory.slice_len(place, WORD);
        *top = U256::try_from_be_slice(&bytes).expect("a word has 32 bytes");
        return Ok(());
    }
    growing::<{ op::MLOAD }, DB>(context)
}

/// `MSTORE`, as [`mload`].
pub(crate) fn mstore<DB: Database>(context: Instruction<'_, DB>) -> InstructionExecResult {
    let interpreter = &mut *context.interpreter;
    let size = interpreter.gas.memory().words_num * WORD;
    let stack = interpreter.stack.data_mut();
    if let [.., value, place] = &stack[..]
        && let Some(place) = word_within(place, size)
    {
        interpreter.memory.set(place, &value.to_be_bytes::<WORD>());
        stack.truncate(stack.len() - 2);
        return Ok(());
    }
    growing::<{ op::MSTORE }, DB>(context)
}

/// The place of a word that lies within `size` bytes.
#[inline]
fn word_within(place: &U256, size: usize) -> Option<usize> {
    let [low, rest @ ..] = *place.as_limbs();
    let place = usize::try_from(low).ok()?;
    (rest == [0; 3] && size >= WORD && place <= size - WORD).then_some(place)
}

/// Has the frame wait for memory if `opcode`, whose operands are on the stack, needs much more than
/// there is, and can pay for it.
#[inline]
pub(crate) fn waits<DB: Database>(context: &mut Instruction<'_, DB>, opcode: u8) -> bool {
    let stack = context.interpreter.stack.data();
    let low = |from_top: usize| {
        stack.len().checked_sub(from_top + 1).map_or(0, |at| stack[at].as_limbs()[0])
    };
    // All operands small: no need to look closely. Operands beyond 64 bits fail as they are.
    let all = match opcode {
        op::MCOPY => low(0) | low(1) | low(2),
        op::KECCAK256 | op::LOG0..=op::LOG4 | op::RETURN | op::REVERT => low(0) | low(1),
        op::CALLDATACOPY | op::CODECOPY | op::RETURNDATACOPY => low(0) | low(2),
        op::EXTCODECOPY => low(1) | low(3),
        op::CREATE | op::CREATE2 => low(1) | low(2),
        op::CALL | op::CALLCODE => low(3) | low(4) | low(5) | low(6),
        op::DELEGATECALL | op::STATICCALL => low(2) | low(3) | low(4) | low(5),
        _ => low(0),
    };
    all >= COPY_INLINE_BYTES as u64 && starts_growing(context, opcode)
}

#[cold]
#[inline(never)]
fn starts_growing<DB: Database>(context: &mut Instruction<'_, DB>, opcode: u8) -> bool {
    let interpreter = &mut *context.interpreter;
    let Some(end) = memory_end(interpreter.stack.data(), opcode) else { return false };
    let (size, words) = (interpreter.memory.size(), num_words(end));
    let Some(grown) = words.checked_mul(WORD) else { return false };
    if grown <= size.saturating_add(COPY_INLINE_BYTES) || interpreter.memory.limit_reached(words) {
        return false;
    }
    let paid = interpreter.gas.memory().expansion_cost;
    let cost = context.host.cfg.gas_params.memory_cost(words).saturating_sub(paid);
    if cost > interpreter.gas.remaining() {
        return false;
    }
    let len = grown - size;
    // Moved at most once, instead of at each doubling.
    context.host.local.shared_memory_buffer().borrow_mut().reserve(len);
    context.host.chain.wait(Long { from: size, len, work: Work::Grow { opcode } });
    true
}

/// Where the memory ends that `opcode` needs; `None` if it needs none, or fails.
fn memory_end(stack: &[U256], opcode: u8) -> Option<usize> {
    let operand = |from_top: usize| {
        let at = stack.len().checked_sub(from_top + 1)?;
        usize::try_from(stack[at]).ok()
    };
    let end = |place: usize, len: usize| match operand(len)? {
        0 => Some(0),
        len => operand(place)?.checked_add(len),
    };
    match opcode {
        op::MLOAD | op::MSTORE => operand(0)?.checked_add(WORD),
        op::MSTORE8 => operand(0)?.checked_add(1),
        op::KECCAK256 | op::LOG0..=op::LOG4 | op::RETURN | op::REVERT => end(0, 1),
        op::CALLDATACOPY | op::CODECOPY | op::RETURNDATACOPY => end(0, 2),
        op::EXTCODECOPY => end(1, 3),
        op::MCOPY => Some(end(0, 2)?.max(end(1, 2)?)),
        op::CREATE | op::CREATE2 => end(1, 2),
        op::CALL | op::CALLCODE => Some(end(3, 4)?.max(end(5, 6)?)),
        op::DELEGATECALL | op::STATICCALL => Some(end(2, 3)?.max(end(4, 5)?)),
        _ => None,
    }
}
