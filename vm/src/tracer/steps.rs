//! geth's struct logger: every instruction with what it found. Pure.
//!
//! The text of an instruction is written as soon as the instruction is over, and whoever drives the
//! execution takes it; nothing but the storage shown so far stays. Source: geth
//! `eth/tracers/logger`: a field that would be empty is left out, but for the stack; storage is
//! shown with `SLOAD` and `SSTORE` only, as it is after them; `limit` counts instructions, as
//! execution-apis has it. Gas, outcome and return value come after the instructions, since only
//! then they are known.
//!
//! The same steps are written as lines, each a JSON text, if they go to a file ([`super::lines`]).

use std::{borrow::Cow, sync::Arc};

use alloy_primitives::{Address, B256, Bytes, U256, map::AddressMap};
use alloy_rpc_types_trace::geth::{GethDefaultTracingOptions, StructLog};
use imbl::OrdMap;
use revm::{
    Database,
    bytecode::opcode::{self, OpCode},
    context::{
        JournalTr,
        result::{ExecutionResult, HaltReason},
    },
    interpreter::{
        FrameInput, InstructionResult, Interpreter, InterpreterAction, SuccessOrHalt,
        interpreter_types::{InputsTr, Jumps, LoopControl, ReturnData},
    },
};

use super::{
    calls::End,
    lines::Lines,
    script::{is_priced, is_refused},
    text::{Part, Text},
};
use crate::{
    error::{Halt, OpcodeName},
    limits::TRACE_STEP_BYTES,
    long::Fault,
    slice::VmContext,
};

/// Bytes of a slot that was shown, with its share of the map.
const SLOT_BYTES: usize = 138;

/// The steps of one transaction.
pub(super) struct StepLog {
    options: GethDefaultTracingOptions,
    /// The step that has begun, if it is recorded.
    open: Option<Step>,
    /// Steps that have begun and are recorded.
    count: u64,
    text: Text,
    /// Whether the text has a step.
    has_steps: bool,
    /// The memory that was last seen.
    memory: Option<Seen>,
    /// Storage that was shown so far.
    shown: AddressMap<OrdMap<B256, B256>>,
    refunds: Refunds,
    /// If they are written as lines.
    lines: Option<Lines>,
}

/// The refund of a transaction so far, as geth counts it: revm's frames begin at none.
#[derive(Default)]
pub(super) struct Refunds {
    /// What it was when each frame under way began.
    frames: Vec<i64>,
    /// At the last step.
    last: i64,
}

impl Refunds {
    /// What it is at a step of a frame so deep, whose own is `own`; `before` is what it was before
    /// the first step.
    pub(super) fn now(&mut self, depth: usize, own: i64, before: i64) -> u64 {
        self.frames.truncate(depth);
        if self.frames.is_empty() {
            self.last = before;
        }
        while self.frames.len() < depth {
            self.frames.push(self.last);
        }
        self.last = self.frames.last().copied().unwrap_or(0) + own;
        u64::try_from(self.last).unwrap_or(0)
    }
}

struct Seen {
    depth: usize,
    /// Whether it may be another after the step that saw it.
    is_stale: bool,
    bytes: Option<Arc<[u8]>>,
}

pub(super) struct Step {
    pub(super) pc: usize,
    pub(super) opcode: u8,
    pub(super) depth: usize,
    pub(super) gas: u64,
    pub(super) gas_cost: u64,
    pub(super) refund: u64,
    /// How it has ended its frame, if it has.
    pub(super) ended: Option<InstructionResult>,
    pub(super) stack_len: usize,
    pub(super) stack: Option<Vec<U256>>,
    pub(super) memory_len: usize,
    pub(super) memory: Option<Arc<[u8]>>,
    pub(super) returned: Bytes,
    /// What it left when it failed after it was paid for, if lines are written.
    pub(super) left: Option<Left>,
    slot: Option<Touched>,
    storage: Option<OrdMap<B256, B256>>,
}

/// What a failed instruction left of its frame.
pub(super) struct Left {
    pub(super) stack: Option<Vec<U256>>,
    pub(super) memory_len: usize,
    pub(super) memory: Option<Arc<[u8]>>,
}

/// The slot that a step reads or writes.
struct Touched {
    contract: Address,
    key: B256,
    /// Known after a read only.
    value: Option<B256>,
}

impl StepLog {
    /// One whose text begins with `text`.
    pub(super) fn new(options: GethDefaultTracingOptions, mut text: Text) -> Self {
        text.push_text(r#"{"structLogs":["#);
        Self::with(options, text)
    }

    /// One that writes lines; without storage, and with a limit of bytes.
    pub(super) fn lines(options: GethDefaultTracingOptions) -> Self {
        let lines = Lines::new(options.limit.unwrap_or(0));
        let options = options.with_disable_storage(true).with_limit(0);
        Self { lines: Some(lines), ..Self::with(options, Text::default()) }
    }

    fn with(options: GethDefaultTracingOptions, text: Text) -> Self {
        Self {
            options,
            open: None,
            count: 0,
            text,
            has_steps: false,
            memory: None,
            shown: AddressMap::default(),
            refunds: Refunds::default(),
            lines: None,
        }
    }

    /// What is written.
    pub(super) const fn text(&mut self) -> &mut Text {
        &mut self.text
    }

    /// Before an instruction; returns the fuel that recording it takes.
    pub(super) fn step<DB: Database>(
        &mut self,
        interpreter: &mut Interpreter,
        context: &mut VmContext<DB>,
    ) -> usize {
        // One that ended its frame before it began has no end.
        self.close();
        let limit = self.options.limit.unwrap_or(0);
        if limit > 0 && self.count >= limit || self.lines.as_ref().is_some_and(Lines::is_full) {
            return 0;
        }
        self.count += 1;
        let stack = interpreter.stack.data();
        let mut cost = TRACE_STEP_BYTES;
        let opcode = interpreter.bytecode.opcode();
        let kept_stack = self.options.is_stack_enabled().then(|| {
            cost += size_of_val(stack.as_slice());
            stack.clone()
        });
        let depth = context.journaled_state.depth();
        let memory = self.memory(interpreter, (depth, opcode), &mut cost);
        let returned = if self.options.is_return_data_enabled() {
            interpreter.return_data.buffer().clone()
        } else {
            Bytes::new()
        };
        let slot = self.slot(opcode, stack, interpreter.input.target_address());
        self.open = Some(Step {
            pc: interpreter.bytecode.pc(),
            opcode,
            depth,
            gas: interpreter.gas.remaining(),
            gas_cost: 0,
            refund: 0,
            ended: None,
            stack_len: stack.len(),
            stack: kept_stack,
            memory_len: interpreter.memory.len(),
            memory,
            returned,
            left: None,
            slot,
            storage: None,
        });
        cost
    }

    /// The memory of the frame; that of the step before it if nothing can have changed it.
    fn memory(
        &mut self,
        interpreter: &Interpreter,
        (depth, opcode): (usize, u8),
        cost: &mut usize,
    ) -> Option<Arc<[u8]>> {
        if !self.options.is_memory_enabled() {
            return None;
        }
        let is_stale = OpCode::new_or_unknown(opcode).modifies_memory();
        if let Some(seen) = &mut self.memory
            && seen.depth == depth
            && !seen.is_stale
        {
            seen.is_stale = is_stale;
            return seen.bytes.clone();
        }
        let memory = interpreter.memory.context_memory();
        let bytes = (!memory.is_empty()).then(|| Arc::<[u8]>::from(&*memory));
        *cost += memory.len();
        self.memory = Some(Seen { depth, is_stale, bytes: bytes.clone() });
        bytes
    }

    fn slot(&self, opcode: u8, stack: &[U256], contract: Address) -> Option<Touched> {
        if !self.options.is_storage_enabled() {
            return None;
        }
        let (key, value) = match (opcode, stack) {
            (opcode::SLOAD, [.., key]) => (*key, None),
            (opcode::SSTORE, [.., value, key]) => (*key, Some(B256::from(*value))),
            _ => return None,
        };
        Some(Touched { contract, key: key.into(), value })
    }

    /// After an instruction; returns the bytes that stay recorded, and the fuel that others took.
    pub(super) fn step_end<DB: Database>(
        &mut self,
        interpreter: &mut Interpreter,
        context: &VmContext<DB>,
    ) -> (usize, usize) {
        let Some(step) = &mut self.open else { return (0, 0) };
        (step.gas_cost, step.ended) = outcome(interpreter, step.gas);
        // It is paid for, and with it the refund has changed, when geth looks.
        let before = context.chain.authorization_refund;
        step.refund = self.refunds.now(step.depth, interpreter.gas.refunded(), before);
        let mut fuel = 0;
        let has_left = |ended: InstructionResult| !ended.is_ok() && !is_refused(ended, step.opcode);
        if self.lines.is_some() && step.ended.is_some_and(has_left) {
            let has_memory = self.options.is_memory_enabled();
            let bytes: Option<Arc<[u8]>> =
                has_memory.then(|| Arc::from(&*interpreter.memory.context_memory()));
            let bytes = bytes.filter(|bytes| !bytes.is_empty());
            fuel = size_of_val(interpreter.stack.data().as_slice())
                + bytes.as_ref().map_or(0, |bytes| bytes.len());
            step.left = Some(Left {
                stack: step.stack.as_ref().map(|_| interpreter.stack.data().clone()),
                memory_len: interpreter.memory.len(),
                memory: bytes,
            });
        }
        let (mut kept, has_failed) = (0, step.error().is_some());
        if let Some(slot) = &mut step.slot {
            if slot.value.is_none() && !has_failed {
                slot.value = interpreter.stack.data().last().map(|value| B256::from(*value));
            }
            if let Some(value) = slot.value {
                let storage = self.shown.entry(slot.contract).or_default();
                kept = if storage.insert(slot.key, value).is_none() { SLOT_BYTES } else { 0 };
                step.storage = Some(storage.clone());
            }
        }
        self.close();
        (kept, fuel)
    }

    /// Hands the text of the open step on to be written.
    fn close(&mut self) {
        let Some(step) = self.open.take() else { return };
        if let Some(lines) = &mut self.lines {
            return lines.step(step, &mut self.text);
        }
        if std::mem::replace(&mut self.has_steps, true) {
            self.text.push_text(",");
        }
        step.show(&mut self.text);
    }

    /// A call has ended; returns the fuel that it took.
    pub(super) fn call_ends(&mut self, end: impl FnOnce() -> End) -> usize {
        self.close();
        let Some(lines) = &mut self.lines else { return 0 };
        lines.call_ends(&end(), &mut self.text)
    }

    /// The transaction has ended as `result`.
    pub(super) fn end(&mut self, result: &ExecutionResult) {
        self.close();
        if self.lines.is_some() {
            return;
        }
        let (gas, failed) = (result.tx_gas_used(), !result.is_success());
        let tail = format!(r#"],"gas":{gas},"failed":{failed},"returnValue":"0x"#);
        self.text.push_text(&tail);
        self.text.push(Part::Hex(result.output().cloned().unwrap_or_default()));
        self.text.push_text("\"}");
    }
}

/// What the instruction that is over has cost, by the gas before it, and how it has ended its frame
/// if it has.
pub(super) fn outcome(
    interpreter: &mut Interpreter,
    gas_before: u64,
) -> (u64, Option<InstructionResult>) {
    let action = interpreter.bytecode.action().as_ref();
    // As geth, whose CREATE hands its gas on while it executes.
    let handed_on = match action {
        Some(InterpreterAction::NewFrame(FrameInput::Create(create))) => create.gas_limit(),
        _ => 0,
    };
    let ended = action.and_then(InterpreterAction::instruction_result);
    let used = gas_before.saturating_sub(interpreter.gas.remaining());
    (used.saturating_sub(handed_on), ended)
}

/// geth's words for an instruction that failed.
pub(super) fn error_of(ended: InstructionResult, opcode: u8, stack_len: usize) -> Option<String> {
    match SuccessOrHalt::<HaltReason>::from(ended) {
        SuccessOrHalt::Halt(reason) => {
            let halt = Halt { reason, fault: Some(Fault { opcode, stack_len }) };
            Some(match ended {
                // Operands whose sum has no 64 bits.
                InstructionResult::InvalidOperandOOG => "gas uint64 overflow".to_owned(),
                _ if is_priced(ended, opcode) => format!("out of gas: {halt}"),
                _ => halt.to_string(),
            })
        }
        _ => None,
    }
}

impl Step {
    /// geth's words for its failure, if it failed.
    pub(super) fn error(&self) -> Option<String> {
        error_of(self.ended?, self.opcode, self.stack_len)
    }

    fn show(self, text: &mut Text) {
        let error = self.error();
        let Self { memory, returned, storage, .. } = self;
        let head = StructLog {
            pc: self.pc as u64,
            op: match OpCode::new(self.opcode) {
                Some(known) => Cow::Borrowed(known.as_str()),
                None => Cow::Owned(OpcodeName(self.opcode).to_string()),
            },
            gas: self.gas,
            gas_cost: self.gas_cost,
            depth: self.depth as u64,
            error,
            stack: self.stack,
            refund_counter: (self.refund > 0).then_some(self.refund),
            ..StructLog::default()
        };
        // Numbers and names of our own: they have a JSON form.
        let mut head = serde_json::to_string(&head).expect("a step without maps is plain data");
        // What may be long is added, piece by piece.
        head.pop();
        text.push_text(&head);
        if let Some(memory) = memory {
            text.push_text(r#","memory":["#);
            text.push(Part::words(memory));
            text.push_text("]");
        }
        if let Some(storage) = storage {
            text.push_text(r#","storage":{"#);
            text.push(Part::slots(storage));
            text.push_text("}");
        }
        if !returned.is_empty() {
            text.push_text(r#","returnData":"0x"#);
            text.push(Part::Hex(returned));
            text.push_text("\"");
        }
        text.push_text("}");
    }
}
