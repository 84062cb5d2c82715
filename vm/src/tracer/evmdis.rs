//! geth's `evmdisTracer`: the instructions of each call with what they left on the stack. Pure.
//!
//! Source: `eth/tracers/js/internal/tracers/evmdis_tracer.js`, oddities included: creations are
//! passed over, and so is the instruction that follows a call.

use std::fmt::Write as _;

use alloy_primitives::{Bytes, U256};
use revm::{
    bytecode::opcode as op,
    interpreter::{
        Interpreter, InterpreterAction,
        interpreter_types::{Jumps, LoopControl},
    },
};

use super::{script, steps::error_of};
use crate::limits::TRACE_STEP_BYTES;

/// Bytes of text that a byte of memory becomes: `"12345":255,`.
const MEMORY_TEXT_BYTES: usize = 12;

/// The calls of one transaction.
pub(super) struct Evmdis {
    /// All instructions that are shown; the first stands for the transaction.
    shown: Vec<Shown>,
    /// The calls under way, by their places there.
    frames: Vec<usize>,
    /// The instruction that has begun.
    open: Option<Open>,
}

struct Open {
    opcode: u8,
    depth: usize,
    stack_len: usize,
    pc: usize,
    /// What the instruction before it has left, if it was shown.
    left: Vec<U256>,
    call: Option<Call>,
    /// What ends the frame returns.
    returned: Option<Bytes>,
}

struct Shown {
    opcode: u8,
    depth: usize,
    result: Vec<U256>,
    kind: Kind,
}

enum Kind {
    Plain,
    JumpDest { pc: usize },
    Push,
    Call(Box<Call>),
}

#[derive(Default)]
struct Call {
    gas: U256,
    to: U256,
    /// Of those that have one.
    value: Option<U256>,
    input: Bytes,
    error: Option<String>,
    returned: Option<Bytes>,
    /// The instructions within, by their places.
    ops: Vec<usize>,
}

impl Default for Evmdis {
    fn default() -> Self {
        let kind = Kind::Call(Box::default());
        let root = Shown { opcode: 0, depth: 0, result: Vec::new(), kind };
        Self { shown: vec![root], frames: vec![0], open: None }
    }
}

/// How many of the items on top of the stack are shown as what an instruction left.
fn pushes(opcode: u8) -> usize {
    match opcode {
        op::ADD..=op::SIGNEXTEND
        | op::LT..=op::BYTE
        | op::KECCAK256
        | op::ADDRESS..=op::CALLDATASIZE
        | op::CODESIZE
        | op::GASPRICE
        | op::EXTCODESIZE
        | op::BLOCKHASH..=op::GASLIMIT
        | op::MLOAD
        | op::SLOAD
        | op::PC..=op::GAS
        | op::PUSH1..=op::PUSH32
        | op::CREATE..=op::CALLCODE => 1,
        op::DUP1..=op::DUP16 => usize::from(opcode - op::DUP1) + 2,
        op::SWAP1..=op::SWAP16 => usize::from(opcode - op::SWAP1) + 2,
        _ => 0,
    }
}

impl Evmdis {
    /// Before an instruction; returns the bytes recorded.
    pub(super) fn step(&mut self, interpreter: &Interpreter, depth: usize) -> usize {
        let opcode = interpreter.bytecode.opcode();
        let operand = |nth| interpreter.stack.peek(nth).unwrap_or_default();
        let slice = |at, len| script::memory(interpreter, operand(at), operand(len));
        let (mut call, mut returned) = (None, None);
        let is_shown = depth == self.frames.len();
        match opcode {
            _ if !is_shown => {}
            op::CALL | op::CALLCODE => {
                call =
                    Some(Call { value: Some(operand(2)), input: slice(3, 4), ..Call::default() });
            }
            op::DELEGATECALL | op::STATICCALL => {
                call = Some(Call { input: slice(2, 3), ..Call::default() });
            }
            op::RETURN | op::REVERT => returned = Some(slice(0, 1)),
            op::STOP | op::SELFDESTRUCT => returned = Some(Bytes::new()),
            _ => {}
        }
        if let Some(call) = &mut call {
            (call.gas, call.to) = (operand(0), operand(1));
        }
        // Instructions that are shown by name are not found among the numbers.
        let before = self.last_of_frame().filter(|_| is_shown);
        let count = before.map_or(0, |before| match before.opcode {
            op::DELEGATECALL | op::STATICCALL => 0,
            opcode => pushes(opcode),
        });
        let left: Vec<_> = (0..count).map(operand).collect();
        let memory = call.as_ref().map_or(0, |call| call.input.len());
        let memory = memory + returned.as_ref().map_or(0, |bytes| bytes.len());
        let bytes = size_of::<U256>() * count + MEMORY_TEXT_BYTES * memory;
        let (stack_len, pc) = (interpreter.stack.len(), interpreter.bytecode.pc());
        self.open = Some(Open { opcode, depth, stack_len, pc, left, call, returned });
        if is_shown { TRACE_STEP_BYTES + bytes } else { 0 }
    }

    /// After an instruction.
    pub(super) fn step_end(&mut self, interpreter: &mut Interpreter) {
        let Some(open) = self.open.take() else { return };
        let ended = interpreter.bytecode.action().as_ref();
        let ended = ended.and_then(InterpreterAction::instruction_result);
        let refused = ended.filter(|ended| script::is_refused(*ended, open.opcode));
        if let Some(error) = refused.and_then(|it| error_of(it, open.opcode, open.stack_len)) {
            if let Some(frame) = self.frame() {
                frame.error = Some(error);
            }
        } else if open.depth == self.frames.len() {
            self.show(open);
        } else {
            self.frames.truncate(open.depth);
        }
    }

    fn show(&mut self, open: Open) {
        let Open { opcode, depth, pc, left, call, returned, .. } = open;
        if let Some(before) = self.frame().and_then(|frame| frame.ops.last().copied()) {
            self.shown[before].result.extend(left);
        }
        let place = self.shown.len();
        if let Some(frame) = self.frame() {
            frame.ops.push(place);
            frame.returned = returned.or(frame.returned.take());
        }
        let kind = match (opcode, call) {
            (_, Some(call)) => {
                self.frames.push(place);
                Kind::Call(Box::new(call))
            }
            (op::JUMPDEST, None) => Kind::JumpDest { pc },
            (op::PUSH0..=op::PUSH32, None) => Kind::Push,
            (_, None) => Kind::Plain,
        };
        self.shown.push(Shown { opcode, depth, result: Vec::new(), kind });
    }

    fn frame(&mut self) -> Option<&mut Call> {
        let place = *self.frames.last()?;
        match &mut self.shown[place].kind {
            Kind::Call(call) => Some(call),
            Kind::Plain | Kind::JumpDest { .. } | Kind::Push => None,
        }
    }

    fn last_of_frame(&self) -> Option<&Shown> {
        let Kind::Call(call) = &self.shown[*self.frames.last()?].kind else { return None };
        Some(&self.shown[*call.ops.last()?])
    }

    /// The instructions of the transaction as JSON. Calls nest as deep as the EVM allows, so they
    /// are kept in a list of our own while what is within is written.
    pub(super) fn result(&self) -> String {
        let mut text = "[".to_owned();
        let Kind::Call(root) = &self.shown[0].kind else { unreachable!("it was made so") };
        let mut under_way = vec![root.ops.iter()];
        while let Some(rest) = under_way.last_mut() {
            let Some(place) = rest.next() else {
                text.push_str(if under_way.len() == 1 { "]" } else { "]}" });
                under_way.pop();
                continue;
            };
            if !text.ends_with('[') {
                text.push(',');
            }
            if let Some(ops) = self.shown[*place].write(&mut text) {
                under_way.push(ops.iter());
            }
        }
        text
    }
}

impl Shown {
    /// Writes all but what is within a call, which is given back, and the end of the call.
    fn write(&self, text: &mut String) -> Option<&[usize]> {
        let mut write = |args: std::fmt::Arguments<'_>| {
            text.write_fmt(args).expect("memory takes text");
        };
        match self.opcode {
            op::DELEGATECALL | op::STATICCALL => {
                write(format_args!(r#"{{"op":"{}""#, script::name(self.opcode)));
            }
            number => write(format_args!(r#"{{"op":{number}"#)),
        }
        write(format_args!(r#","depth":{},"result":["#, self.depth));
        for (nth, item) in self.result.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            write(format_args!(r#"{comma}"{item:x}""#));
        }
        text.push(']');
        let call = match &self.kind {
            Kind::Plain => return close(text, ""),
            Kind::JumpDest { pc } => return close(text, &format!(r#","pc":{pc}"#)),
            // As the script has it: one more than there are bytes.
            Kind::Push => return close(text, &format!(r#","len":{}"#, self.opcode - 0x5e)),
            Kind::Call(call) => call,
        };
        let (gas, to) = (number(call.gas), call.to);
        write!(text, r#","gas":{gas},"to":"{to:x}""#).expect("memory takes text");
        if let Some(value) = call.value {
            write!(text, r#","value":"{value}""#).expect("memory takes text");
        }
        text.push_str(r#","input":"#);
        octets(text, &call.input);
        text.push_str(r#","error":"#);
        match &call.error {
            Some(error) => text.push_str(&serde_json::Value::from(error.as_str()).to_string()),
            None => text.push_str("null"),
        }
        text.push_str(r#","return":"#);
        match &call.returned {
            Some(returned) => octets(text, returned),
            None => text.push_str("null"),
        }
        text.push_str(r#","ops":["#);
        Some(&call.ops)
    }
}

fn close<'a>(text: &mut String, member: &str) -> Option<&'a [usize]> {
    text.push_str(member);
    text.push('}');
    None
}

/// A typed array of JavaScript as JSON: an object.
fn octets(text: &mut String, bytes: &[u8]) {
    for (nth, byte) in bytes.iter().enumerate() {
        let before = if nth == 0 { '{' } else { ',' };
        write!(text, r#"{before}"{nth}":{byte}"#).expect("memory takes text");
    }
    text.push_str(if bytes.is_empty() { "{}" } else { "}" });
}

/// A number as JavaScript has it: rounded to a double.
fn number(value: U256) -> String {
    let double: f64 = value.to_string().parse().expect("digits are a number");
    if double < 1e21 { double.to_string() } else { format!("{double:e}").replace('e', "e+") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: numbers beyond a double's are written as JavaScript writes them.
    #[test]
    fn numbers_are_those_of_javascript() {
        for (value, text) in [
            (U256::ZERO, "0"),
            (U256::from(5_000_000_u64), "5000000"),
            (U256::from(u64::MAX), "18446744073709552000"),
            (U256::MAX, "1.157920892373162e+77"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
