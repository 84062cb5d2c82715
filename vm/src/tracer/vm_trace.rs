//! Parity's `vmTrace`: every instruction with what it changed, written while it runs. Pure.
//!
//! An instruction is written when it is over. What a call or a creation leaves (gas, stack, memory)
//! is known when its caller goes on: so `sub`, the instructions of the code that it ran, stands
//! before `ex`, and nothing stays but the frames under way. Source: `OpenEthereum`'s
//! `ethcore/trace/src/executive_tracer.rs`, as revm-inspectors reads it: an instruction that was
//! refused before it ran is not shown, nor the stop behind the end of the code; one that failed has
//! no `ex`. What was called without code has a `sub` without instructions, but for what failed
//! before it was entered.

use std::{fmt::Write as _, ops::Range};

use alloy_primitives::{Bytes, U256};
use revm::{
    bytecode::opcode::{self, OpCode},
    interpreter::{
        InstructionResult, Interpreter, InterpreterAction,
        interpreter_types::{Jumps, LoopControl, ReturnData},
    },
};

use super::text::{Part, Text};
use crate::limits::TRACE_STEP_BYTES;

/// The instructions of one transaction.
pub(super) struct VmTrace {
    text: Text,
    frames: Vec<Frame>,
    /// The instruction that has begun.
    begun: Option<Begun>,
    /// Whether the transaction's own call is there.
    has_root: bool,
}

/// A call under way.
#[derive(Default)]
struct Frame {
    /// Bytes of its code, if it has begun to run.
    code_len: Option<usize>,
    has_ops: bool,
    /// The call that it waits for, or that has ended just now.
    calling: Option<Calling>,
}

struct Calling {
    /// Where it leaves what is returned.
    memory: Option<Range<usize>>,
    has_sub: bool,
}

struct Begun {
    pc: usize,
    opcode: u8,
    gas: u64,
    /// What it writes in memory, or the word that it reads.
    memory: Option<Range<usize>>,
    /// The slot that it writes, and what.
    stored: Option<(U256, U256)>,
}

/// What an instruction has changed.
struct Changes<'a> {
    gas_left: u64,
    pushed: &'a [U256],
    memory: Option<(usize, Bytes)>,
    stored: Option<(U256, U256)>,
}

impl VmTrace {
    /// One whose text begins with `text`.
    pub(super) const fn new(text: Text) -> Self {
        Self { text, frames: Vec::new(), begun: None, has_root: false }
    }

    /// What is written.
    pub(super) const fn text(&mut self) -> &mut Text {
        &mut self.text
    }

    /// A call or a creation begins.
    pub(super) fn call_begins(&mut self) {
        self.has_root = true;
        self.frames.push(Frame::default());
    }

    /// Its code begins to run; returns the fuel that it took.
    pub(super) fn code_begins(&mut self, interpreter: &Interpreter) -> usize {
        let Some((frame, callers)) = self.frames.split_last_mut() else { return 0 };
        let code = interpreter.bytecode.original_bytes();
        frame.code_len = Some(code.len());
        if let Some(calling) = callers.last_mut().and_then(|caller| caller.calling.as_mut()) {
            calling.has_sub = true;
            self.text.push_text(r#","sub":"#);
        }
        let cost = code.len();
        self.text.push_text(r#"{"code":"0x"#);
        self.text.push(Part::Hex(code));
        self.text.push_text(r#"","ops":["#);
        cost
    }

    /// The call on top has ended.
    pub(super) fn call_ends(&mut self, status: InstructionResult) {
        let Some(frame) = self.frames.pop() else { return };
        if frame.code_len.is_some() {
            self.text.push_text("]}");
            return;
        }
        let was_entered = !matches!(
            status,
            InstructionResult::CallTooDeep
                | InstructionResult::OutOfFunds
                | InstructionResult::OverflowPayment
                | InstructionResult::NonceOverflow
        );
        match self.frames.last_mut().map(|caller| &mut caller.calling) {
            Some(Some(calling)) if was_entered => {
                calling.has_sub = true;
                self.text.push_text(r#","sub":{"code":"0x","ops":[]}"#);
            }
            Some(_) => {}
            None => self.text.push_text(r#"{"code":"0x","ops":[]}"#),
        }
    }

    /// Before an instruction; returns the fuel that it takes to record.
    pub(super) fn step(&mut self, interpreter: &Interpreter) -> usize {
        let cost = self.call_is_over(interpreter);
        let (stack, opcode) = (interpreter.stack.data(), interpreter.bytecode.opcode());
        let stored = match (opcode, stack.as_slice()) {
            (opcode::SSTORE, [.., value, key]) => Some((*key, *value)),
            _ => None,
        };
        self.begun = Some(Begun {
            pc: interpreter.bytecode.pc(),
            opcode,
            gas: interpreter.gas.remaining(),
            memory: touched_memory(opcode, stack),
            stored,
        });
        TRACE_STEP_BYTES + cost
    }

    /// Completes the call whose caller goes on, if there was one.
    fn call_is_over(&mut self, interpreter: &Interpreter) -> usize {
        let calling = self.frames.last_mut().and_then(|frame| frame.calling.take());
        let Some(Calling { memory, has_sub }) = calling else { return 0 };
        // Of what is there for it a call writes as much as was returned.
        let returned = interpreter.return_data.buffer().len();
        let memory = memory.map(|at| at.start..at.start + at.len().min(returned));
        let stack = interpreter.stack.data();
        let changes = Changes {
            gas_left: interpreter.gas.remaining(),
            pushed: &stack[stack.len().saturating_sub(1)..],
            memory: memory.and_then(|at| seen(interpreter, at)),
            stored: None,
        };
        if !has_sub {
            self.text.push_text(r#","sub":null"#);
        }
        changes.show(&mut self.text)
    }

    /// After an instruction; returns the fuel that it took.
    pub(super) fn step_end(&mut self, interpreter: &mut Interpreter) -> usize {
        let (Some(begun), Some(frame)) = (self.begun.take(), self.frames.last_mut()) else {
            return 0;
        };
        let action = interpreter.bytecode.action().as_ref();
        let status = action.and_then(InterpreterAction::instruction_result);
        if status.is_some_and(was_refused) || frame.code_len.is_none_or(|len| begun.pc >= len) {
            return 0;
        }
        let comma = if std::mem::replace(&mut frame.has_ops, true) { "," } else { "" };
        let op = OpCode::new_or_unknown(begun.opcode);
        let gas_left = interpreter.gas.remaining();
        let cost = begun.gas.saturating_sub(gas_left);
        let head = format!(r#"{comma}{{"pc":{},"op":"{op}","cost":{cost}"#, begun.pc);
        self.text.push_text(&head);
        if status.is_some_and(InstructionResult::is_halt) {
            self.text.push_text(r#","sub":null,"ex":null}"#);
            return 0;
        }
        if calls(begun.opcode) {
            frame.calling = Some(Calling { memory: begun.memory, has_sub: false });
            return 0;
        }
        let stack = interpreter.stack.data();
        let changes = Changes {
            gas_left,
            pushed: &stack[stack.len().saturating_sub(usize::from(op.outputs()))..],
            memory: begun.memory.and_then(|at| seen(interpreter, at)),
            stored: begun.stored,
        };
        self.text.push_text(r#","sub":null"#);
        changes.show(&mut self.text)
    }

    /// The transaction has ended.
    pub(super) fn end(&mut self) {
        // It may have run out of gas before its call began.
        if !self.has_root {
            self.text.push_text(r#"{"code":"0x","ops":[]}"#);
        }
    }
}

impl Changes<'_> {
    /// Writes them, which ends the instruction; returns the bytes of memory among them.
    fn show(self, text: &mut Text) -> usize {
        let Self { gas_left, pushed, memory, stored } = self;
        let mut head = format!(r#","ex":{{"used":{gas_left},"push":["#);
        for (nth, word) in pushed.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            write!(head, r#"{comma}"{word:#x}""#).expect("memory takes text");
        }
        head.push(']');
        match stored {
            Some((key, value)) => {
                write!(head, r#","store":{{"key":"{key:#x}","val":"{value:#x}"}}"#)
                    .expect("memory takes text");
            }
            None => head.push_str(r#","store":null"#),
        }
        let Some((offset, data)) = memory else {
            text.push_text(&head);
            text.push_text(r#","mem":null}}"#);
            return 0;
        };
        let bytes = data.len();
        write!(head, r#","mem":{{"off":{offset},"data":"0x"#).expect("memory takes text");
        text.push_text(&head);
        text.push(Part::Hex(data));
        text.push_text(r#""}}}"#);
        bytes
    }
}

/// Whether an instruction that ended so was refused before it ran.
fn was_refused(status: InstructionResult) -> bool {
    matches!(
        status,
        InstructionResult::OpcodeNotFound
            | InstructionResult::InvalidFEOpcode
            | InstructionResult::NotActivated
            | InstructionResult::InvalidImmediateEncoding
            | InstructionResult::StackUnderflow
            | InstructionResult::StackOverflow
    )
}

fn calls(opcode: u8) -> bool {
    matches!(
        opcode,
        opcode::CALL
            | opcode::CALLCODE
            | opcode::DELEGATECALL
            | opcode::STATICCALL
            | opcode::CREATE
            | opcode::CREATE2
    )
}

/// What an instruction writes in memory, or the word that it reads, by its operands.
fn touched_memory(opcode: u8, stack: &[U256]) -> Option<Range<usize>> {
    let operand = |nth: usize| {
        let at = stack.len().checked_sub(nth + 1)?;
        usize::try_from(stack[at]).ok()
    };
    let (offset, len) = match opcode {
        opcode::MLOAD | opcode::MSTORE => (operand(0)?, 32),
        opcode::MSTORE8 => (operand(0)?, 1),
        opcode::CALLDATACOPY | opcode::CODECOPY | opcode::RETURNDATACOPY | opcode::MCOPY => {
            (operand(0)?, operand(2)?)
        }
        opcode::EXTCODECOPY => (operand(1)?, operand(3)?),
        opcode::CALL | opcode::CALLCODE => (operand(5)?, operand(6)?),
        opcode::DELEGATECALL | opcode::STATICCALL => (operand(4)?, operand(5)?),
        _ => return None,
    };
    (len > 0).then_some(offset..offset.checked_add(len)?)
}

/// What stands there in memory, if that is not nothing.
fn seen(interpreter: &Interpreter, at: Range<usize>) -> Option<(usize, Bytes)> {
    let offset = at.start;
    let memory = interpreter.memory.context_memory();
    let data = memory.get(at).filter(|data| !data.is_empty())?;
    Some((offset, Bytes::copy_from_slice(data)))
}
