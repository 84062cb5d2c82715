//! Instructions over much memory in slices, and what a running execution remembers between slices.
//!
//! Pure. `KECCAK256`, `LOG`, `RETURN` and `REVERT` of many bytes wait for their memory (`grow.rs`),
//! pay and suspend; hashing and copying are done by [`go_on`] before the next instruction. Gas,
//! memory and result are those of revm's instructions.

use alloy_primitives::{B256, Bytes, Keccak256, Log, LogData, U256};
use revm::{
    Database,
    bytecode::opcode,
    interpreter::{
        Host, InstructionContext, InstructionExecResult, InstructionResult, InstructionTable,
        Interpreter, InterpreterAction,
        instructions::{control, host, system},
        interpreter::EthInterpreter,
        interpreter_types::{InputsTr, Jumps, LegacyBytecode, LoopControl, RuntimeFlag},
    },
};

use crate::{
    collision::Search,
    grow::waits,
    limits::{
        COPY_CHUNK_BYTES, COPY_FUEL_PER_BYTE, COPY_INLINE_BYTES, KECCAK_CHUNK_BYTES,
        KECCAK_FUEL_PER_BYTE, KECCAK_INLINE_BYTES, LOG_BYTES_MAX,
    },
    slice::VmContext,
};

type Instruction<'a, DB> = InstructionContext<'a, VmContext<DB>, EthInterpreter>;

/// What an execution remembers beside revm's own state; lives in the context.
#[derive(Default)]
pub(crate) struct Progress {
    long: Option<Box<Long>>,
    /// What the frame on top waits for before its first instruction.
    pub(crate) search: Option<Search>,
    /// How the frame on top ends, while what it did is being undone.
    pub(crate) ending: Option<InterpreterAction>,
    /// Bytes of data logged so far, reverted ones too.
    log_bytes: usize,
    /// The inspector has not yet seen the end of the long instruction; how many logs there were
    /// before it.
    pub(crate) step_end_due: Option<usize>,
    /// What stopped the last frame that failed; the outermost frame fails last.
    pub(crate) fault: Option<Fault>,
    /// What the authorizations of the transaction give back (EIP-7702), which is added to what its
    /// frames give back when they have ended.
    pub(crate) authorization_refund: i64,
}

impl Progress {
    /// Returns true in the middle of a long instruction.
    pub(crate) fn is_in_instruction(&self) -> bool {
        self.long.is_some()
    }

    /// Has the frame on top wait for `long`.
    pub(crate) fn wait(&mut self, long: Long) {
        self.long = Some(Box::new(long));
    }

    /// Returns true if the frame on top cannot simply run on.
    pub(crate) fn is_waiting(&self) -> bool {
        self.long.is_some() || self.search.is_some() || self.ending.is_some()
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

/// A long instruction on its way.
pub(crate) struct Long {
    /// The bytes of memory that are still to be read, or to come to be.
    pub(crate) from: usize,
    pub(crate) len: usize,
    pub(crate) work: Work,
}

#[allow(clippy::large_enum_variant, reason = "one per execution, and boxed with its owner")]
pub(crate) enum Work {
    /// Memory grows for an instruction that has not begun: all its operands are on the stack.
    Grow {
        opcode: u8,
    },
    /// Gas is paid, operands are off the stack, as for all that follow; the place of the result is
    /// on it.
    Hash(Keccak256),
    Log {
        topics: Vec<B256>,
        data: Vec<u8>,
    },
    Return {
        result: InstructionResult,
        output: Vec<u8>,
    },
}

/// Whether the instruction, whose operands are place and length, reads more than `bytes`.
fn is_longer<DB: Database>(context: &Instruction<'_, DB>, bytes: usize) -> bool {
    context.interpreter.stack.peek(1).is_ok_and(|len| len > U256::from(bytes))
}

/// Takes the gas and grows the memory for the bytes that the instruction reads.
fn pay<DB: Database>(
    context: &mut Instruction<'_, DB>,
    [from, len]: [U256; 2],
    cost: impl FnOnce(&VmContext<DB>, usize) -> u64,
) -> Result<(usize, usize), InstructionResult> {
    let interpreter = &mut *context.interpreter;
    let len = usize::try_from(len).map_err(|_| InstructionResult::InvalidOperandOOG)?;
    if !interpreter.gas.record_regular_cost(cost(context.host, len)) {
        return Err(InstructionResult::OutOfGas);
    }
    let from = usize::try_from(from).map_err(|_| InstructionResult::InvalidOperandOOG)?;
    interpreter.resize_memory(context.host.gas_params(), from, len)?;
    Ok((from, len))
}

fn suspend<DB: Database>(
    context: &mut Instruction<'_, DB>,
    (from, len): (usize, usize),
    work: Work,
) -> InstructionExecResult {
    context.host.chain.wait(Long { from, len, work });
    Err(InstructionResult::Suspend)
}

/// `KECCAK256`.
pub(crate) fn keccak256<DB: Database>(mut context: Instruction<'_, DB>) -> InstructionExecResult {
    if waits(&mut context, opcode::KECCAK256) {
        return Err(InstructionResult::Suspend);
    }
    if !is_longer(&context, KECCAK_INLINE_BYTES) {
        return system::keccak256(context);
    }
    // The length stays where the result will be.
    let Some(([from], &mut len)) = context.interpreter.stack.popn_top::<1>() else {
        return Err(InstructionResult::StackUnderflow);
    };
    let cost = |host: &VmContext<DB>, len| host.gas_params().keccak256_cost(len);
    let range = pay(&mut context, [from, len], cost)?;
    suspend(&mut context, range, Work::Hash(Keccak256::new()))
}

/// `LOG` with `N` topics.
pub(crate) fn log<const N: usize, DB: Database>(
    mut context: Instruction<'_, DB>,
) -> InstructionExecResult {
    if context.host.chain.log_bytes > LOG_BYTES_MAX {
        return Err(InstructionResult::MemoryLimitOOG);
    }
    let topics = u8::try_from(N).expect("four at most");
    if waits(&mut context, opcode::LOG0 + topics) {
        return Err(InstructionResult::Suspend);
    }
    let is_static = context.interpreter.runtime_flag.is_static();
    if is_static || !is_longer(&context, COPY_INLINE_BYTES) {
        let len = context.interpreter.stack.peek(1).unwrap_or_default();
        let Instruction { interpreter, host } = context;
        host::log::<N, _>(InstructionContext { interpreter, host: &mut *host })?;
        host.chain.log_bytes += usize::try_from(len).unwrap_or(0);
        return Ok(());
    }
    let Some(operands) = context.interpreter.stack.popn::<2>() else {
        return Err(InstructionResult::StackUnderflow);
    };
    let range = pay(&mut context, operands, |host, len| {
        host.gas_params().log_cost(topics, u64::try_from(len).unwrap_or(u64::MAX))
    })?;
    let Some(topics) = context.interpreter.stack.popn::<N>() else {
        return Err(InstructionResult::StackUnderflow);
    };
    context.host.chain.log_bytes += range.1;
    let topics = topics.into_iter().map(B256::from).collect();
    suspend(&mut context, range, Work::Log { topics, data: Vec::with_capacity(range.1) })
}

/// `RETURN`.
pub(crate) fn ret<DB: Database>(mut context: Instruction<'_, DB>) -> InstructionExecResult {
    if waits(&mut context, opcode::RETURN) {
        return Err(InstructionResult::Suspend);
    }
    if is_longer(&context, COPY_INLINE_BYTES) {
        return end_with(context, InstructionResult::Return);
    }
    control::ret(context)
}

/// `REVERT`; in the instruction table since Byzantium only.
pub(crate) fn revert<DB: Database>(mut context: Instruction<'_, DB>) -> InstructionExecResult {
    if waits(&mut context, opcode::REVERT) {
        return Err(InstructionResult::Suspend);
    }
    if is_longer(&context, COPY_INLINE_BYTES) {
        return end_with(context, InstructionResult::Revert);
    }
    control::revert(context)
}

fn end_with<DB: Database>(
    mut context: Instruction<'_, DB>,
    result: InstructionResult,
) -> InstructionExecResult {
    let Some(operands) = context.interpreter.stack.popn::<2>() else {
        return Err(InstructionResult::StackUnderflow);
    };
    let range = pay(&mut context, operands, |_, _| 0)?;
    suspend(&mut context, range, Work::Return { result, output: Vec::with_capacity(range.1) })
}

/// Goes on with the long instruction, on the frame that began it.
///
/// # Panics
///
/// If none is under way.
pub(crate) fn go_on<DB: Database>(
    interpreter: &mut Interpreter<EthInterpreter>,
    context: &mut VmContext<DB>,
    table: &InstructionTable<EthInterpreter, VmContext<DB>>,
    fuel: &mut u64,
) {
    let long = context.chain.long.as_mut().expect("the caller saw that one is under way");
    let (fuel_per_byte, least) = match long.work {
        Work::Hash(_) => (KECCAK_FUEL_PER_BYTE, KECCAK_CHUNK_BYTES),
        Work::Grow { .. } | Work::Log { .. } | Work::Return { .. } => {
            (COPY_FUEL_PER_BYTE, COPY_CHUNK_BYTES)
        }
    };
    let paid = usize::try_from(*fuel / fuel_per_byte).unwrap_or(usize::MAX);
    let chunk = long.len.min(paid.max(least));
    let memory = &mut interpreter.memory;
    match &mut long.work {
        Work::Grow { .. } => memory.resize(long.from + chunk),
        Work::Hash(hasher) => hasher.update(&memory.slice_len(long.from, chunk)[..]),
        Work::Log { data: copy, .. } | Work::Return { output: copy, .. } => {
            copy.extend_from_slice(&memory.slice_len(long.from, chunk));
        }
    }
    long.from += chunk;
    long.len -= chunk;
    *fuel = fuel.saturating_sub(chunk as u64 * fuel_per_byte);
    if long.len > 0 {
        return;
    }
    let done = context.chain.long.take().expect("it was there above");
    match done.work {
        Work::Grow { opcode } => {
            let instruction = InstructionContext { interpreter, host: &mut *context };
            let ended = table[usize::from(opcode)].execute(instruction);
            if let Err(end) = ended
                && interpreter.bytecode.action().is_none()
                && !(end == InstructionResult::Suspend && context.chain.is_in_instruction())
            {
                context.chain.fault = Fault::last(interpreter);
                interpreter.halt(end);
            }
        }
        Work::Hash(hasher) => {
            let top = interpreter.stack.top().expect("the instruction left the place");
            *top = hasher.finalize().into();
        }
        Work::Log { topics, data } => {
            let address = interpreter.input.target_address();
            let data = LogData::new(topics, Bytes::from(data)).expect("four topics at most");
            context.log(Log { address, data });
        }
        Work::Return { result, output } => {
            let action = InterpreterAction::new_return(result, output.into(), interpreter.gas);
            interpreter.bytecode.set_action(action);
        }
    }
}
