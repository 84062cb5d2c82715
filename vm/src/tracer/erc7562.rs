//! geth's `erc7562Tracer`: what each call uses that a bundler of user operations has to know. Pure.
//!
//! What a call has used is written at its end, with the rest that `callTracer` says of it
//! (`calls.rs`): nothing stays but what the calls under way have used, and what was hashed.
//! Source: geth `eth/tracers/native/erc7562.go`, ERC-7562. An instruction is seen before it runs,
//! also if it fails; one that lacks operands has none that could be noted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use alloy_primitives::{Address, B256, Bytes, U256};
use revm::{
    Database,
    bytecode::opcode as op,
    interpreter::{
        Interpreter,
        interpreter_types::{InputsTr, Jumps},
    },
};
use serde_json::Value;

use super::{
    options,
    preimages::preimage,
    script,
    text::{Part, Text},
};
use crate::{
    limits::{ACCOUNT_FUEL, TRACE_STEP_BYTES},
    slice::VmContext,
};

/// Of an account or a slot.
#[allow(clippy::cast_possible_truncation, reason = "it is small")]
const READ_FUEL: usize = ACCOUNT_FUEL as usize;
/// What a preimage takes beside itself, about.
const PREIMAGE_BYTES: usize = 96;

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) with_log: bool,
    /// Instructions that are not counted.
    ignored: Box<[bool; 256]>,
}

impl Options {
    /// Of a `tracerConfig` whose members are what they have to be. `stackTopItemsSize` changes
    /// nothing: one item is always looked at, and no rule of geth's needs more.
    pub(super) fn new(config: &Value) -> Self {
        let mut ignored = Box::new([false; 256]);
        // A list of nothing counts all.
        let listed = config.get("ignoredOpcodes").and_then(options::opcodes);
        for opcode in listed.unwrap_or_else(ignored_by_default) {
            ignored[usize::from(opcode)] = true;
        }
        let with_log = config.get("withLog").and_then(Value::as_bool).unwrap_or_default();
        Self { with_log, ignored }
    }
}

/// Those of which geth says that they are not important.
fn ignored_by_default() -> Vec<u8> {
    let mut ignored = vec![op::POP, op::ADD, op::SUB, op::MUL, op::DIV, op::EQ, op::LT, op::GT];
    ignored.extend([op::SLT, op::SGT, op::SHL, op::SHR, op::AND, op::OR, op::NOT, op::ISZERO]);
    ignored.extend(op::PUSH0..=op::SWAP16);
    ignored
}

/// What a transaction uses.
pub(super) struct Usage {
    ignored: Box<[bool; 256]>,
    /// The instruction before, and what was on top of the stack.
    last: Option<(u8, Option<U256>)>,
    /// Of each call under way.
    open: Vec<Used>,
    hashed: BTreeSet<Bytes>,
    kept: usize,
}

/// What a call has used so far.
#[derive(Default)]
struct Used {
    /// Slots that were read before they were written, with their values then.
    reads: BTreeMap<U256, U256>,
    writes: BTreeMap<U256, u64>,
    transient_reads: BTreeMap<U256, u64>,
    transient_writes: BTreeMap<U256, u64>,
    /// Whose code was looked at, but for whether there is any.
    looked_at: Vec<Address>,
    opcodes: BTreeMap<u8, u64>,
    /// How long the code of each account is, and the first instruction that looked.
    sizes: BTreeMap<Address, (usize, u8)>,
    kept: usize,
}

impl Usage {
    /// What is said of a call that uses nothing, as members.
    pub(super) const NOTHING: &str = r#","accessedSlots":{"reads":{},"writes":{},"transientReads":{},"transientWrites":{}},"extCodeAccessInfo":[],"usedOpcodes":{},"contractSize":{},"outOfGas":false"#;

    pub(super) fn new(options: &Options) -> Self {
        let ignored = options.ignored.clone();
        Self { ignored, last: None, open: Vec::new(), hashed: BTreeSet::new(), kept: 0 }
    }

    /// Bytes that stay recorded.
    pub(super) const fn kept(&self) -> usize {
        self.kept
    }

    pub(super) fn begins(&mut self) {
        self.open.push(Used::default());
    }

    /// Before an instruction; returns the fuel that it took.
    pub(super) fn step<DB: Database>(
        &mut self,
        interpreter: &Interpreter,
        context: &mut VmContext<DB>,
    ) -> usize {
        let Some(used) = self.open.last_mut() else { return 0 };
        let opcode = interpreter.bytecode.opcode();
        let operand = |nth| interpreter.stack.peek(nth).ok();
        let (kept_before, mut fuel) = (used.kept, 0);
        if !matches!(opcode, op::RETURN | op::REVERT) {
            used.comes_after(self.last, opcode);
        }
        self.last = Some((opcode, operand(0)));
        if opcode != op::GAS && !self.ignored[usize::from(opcode)] {
            *used.opcodes.entry(opcode).or_default() += 1;
        }
        let subject = operand(usize::from(is_call(opcode)));
        if (is_look(opcode) || is_call(opcode))
            && let Some(at) = subject.map(address)
        {
            fuel += used.sees_code(context, at, opcode);
        }
        if let Some(slot) = operand(0) {
            fuel += used.accesses(context, (interpreter.input.target_address(), slot), opcode);
        }
        self.kept += used.kept - kept_before;
        if let Some(preimage) = preimage(interpreter) {
            fuel += preimage.len();
            let bytes = PREIMAGE_BYTES + preimage.len();
            if self.hashed.insert(preimage) {
                self.kept += bytes;
            }
        }
        fuel
    }

    /// Writes what the call on top has used, which ends: one within another, or the first.
    pub(super) fn ends(&mut self, is_out_of_gas: bool, text: &mut Text) {
        let Some(used) = self.open.pop() else { return };
        self.kept -= used.kept;
        used.write(is_out_of_gas && !self.open.is_empty(), text);
        if self.open.is_empty() && !self.hashed.is_empty() {
            text.push_text(r#","keccak":["#);
            text.push(Part::bytes(std::mem::take(&mut self.hashed)));
            text.push_text("]");
        }
    }
}

impl Used {
    /// What an instruction says of the one before it.
    fn comes_after(&mut self, last: Option<(u8, Option<U256>)>, opcode: u8) {
        match last {
            // Whether there is code at all may be asked.
            Some((op::EXTCODESIZE, _)) if opcode == op::ISZERO => {}
            Some((last, Some(top))) if is_look(last) => {
                self.looked_at.push(address(top));
                self.kept += size_of::<Address>();
            }
            // What is handed on may be asked.
            Some((op::GAS, _)) if !is_call(opcode) => {
                *self.opcodes.entry(op::GAS).or_default() += 1;
            }
            _ => {}
        }
    }

    /// Returns the fuel that it took: if the instruction fails nobody has paid for the account.
    fn sees_code<DB: Database>(
        &mut self,
        context: &mut VmContext<DB>,
        at: Address,
        opcode: u8,
    ) -> usize {
        if self.sizes.contains_key(&at) {
            return 0;
        }
        // What cannot be read here cannot be read by the instruction either.
        let Ok(len) = script::code_len(context, at) else { return 0 };
        self.sizes.insert(at, (len, opcode));
        self.kept += TRACE_STEP_BYTES;
        READ_FUEL + len
    }

    fn accesses<DB: Database>(
        &mut self,
        context: &mut VmContext<DB>,
        (at, slot): (Address, U256),
        opcode: u8,
    ) -> usize {
        let counts = match opcode {
            op::SLOAD => {
                if !self.reads.contains_key(&slot)
                    && !self.writes.contains_key(&slot)
                    && let Ok(value) = script::slot(context, at, slot)
                {
                    self.reads.insert(slot, value);
                    self.kept += TRACE_STEP_BYTES;
                    return READ_FUEL;
                }
                return 0;
            }
            op::SSTORE => &mut self.writes,
            op::TLOAD => &mut self.transient_reads,
            op::TSTORE => &mut self.transient_writes,
            _ => return 0,
        };
        let count = counts.entry(slot).or_default();
        *count += 1;
        let bytes = if *count == 1 { TRACE_STEP_BYTES } else { 0 };
        self.kept += bytes;
        bytes
    }

    fn write(self, is_out_of_gas: bool, text: &mut Text) {
        let reads = self.reads.into_iter();
        text.push_text(r#","accessedSlots":{"reads":{"#);
        text.push(Part::each(
            reads.map(|(slot, value)| {
                format!(r#""{}":["{}"]"#, B256::from(slot), B256::from(value))
            }),
        ));
        let counted = [
            ("writes", self.writes),
            ("transientReads", self.transient_reads),
            ("transientWrites", self.transient_writes),
        ];
        for (name, counts) in counted {
            text.push_text(&format!(r#"}},"{name}":{{"#));
            let counts = counts.into_iter();
            text.push(Part::each(
                counts.map(|(slot, count)| format!(r#""{}":{count}"#, B256::from(slot))),
            ));
        }
        text.push_text(r#"}},"extCodeAccessInfo":["#);
        text.push(Part::each(self.looked_at.into_iter().map(|at| format!(r#""{at:#x}""#))));
        let mut opcodes = String::new();
        for (opcode, count) in self.opcodes {
            let comma = if opcodes.is_empty() { "" } else { "," };
            write!(opcodes, r#"{comma}"{opcode:#x}":{count}"#).expect("memory takes text");
        }
        text.push_text(&format!(r#"],"usedOpcodes":{{{opcodes}}},"contractSize":{{"#));
        text.push(Part::each(self.sizes.into_iter().map(|(at, (len, opcode))| {
            format!(r#""{at:#x}":{{"contractSize":{len},"opcode":{opcode}}}"#)
        })));
        text.push_text(&format!(r#"}},"outOfGas":{is_out_of_gas}"#));
    }
}

const fn is_call(opcode: u8) -> bool {
    matches!(opcode, op::CALL | op::CALLCODE | op::DELEGATECALL | op::STATICCALL)
}

/// Whether it looks at another's code.
const fn is_look(opcode: u8) -> bool {
    matches!(opcode, op::EXTCODEHASH | op::EXTCODESIZE | op::EXTCODECOPY)
}

fn address(word: U256) -> Address {
    Address::from_word(word.into())
}
