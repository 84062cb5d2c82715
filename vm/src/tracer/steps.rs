//! geth's struct logger: every instruction with what it found. Pure.
//!
//! Recorded compactly, rendered at the end. Source: geth `eth/tracers/logger`: a field that would
//! be empty is left out, but for the stack; storage is shown with `SLOAD` and `SSTORE` only, as it
//! is after them; `limit` counts instructions, as execution-apis has it.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use alloy_primitives::{Address, B256, Bytes, U256, hex, map::AddressMap};
use alloy_rpc_types_trace::geth::{GethDefaultTracingOptions, StructLog};
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
use serde::{Serialize, Serializer, ser::SerializeSeq};

use crate::{
    error::{Halt, OpcodeName},
    limits::TRACE_STEP_BYTES,
    long::Fault,
    slice::VmContext,
};

/// Bytes of JSON of a step without stack, memory, storage and return data: names, numbers, a short
/// error.
const STEP_TEXT_BYTES: usize = 160;
/// Of a word of memory, and of a slot with its value: quotes, prefix, digits, comma.
const WORD_TEXT_BYTES: usize = 69;
const SLOT_TEXT_BYTES: usize = 2 * WORD_TEXT_BYTES;
/// Of a stack item beside its digits.
const ITEM_TEXT_BYTES: usize = 5;

/// The steps of one transaction.
pub(super) struct StepLog {
    options: GethDefaultTracingOptions,
    steps: Vec<Step>,
    /// The step that has begun, if it is recorded.
    is_open: bool,
    /// Storage that was shown so far.
    shown: Storage,
    /// What was refunded when each frame under way began, and at the last step.
    refunds: Vec<i64>,
    refund_last: i64,
    /// JSON of the steps, about.
    text_bytes: usize,
    /// Bytes recorded, and how many may be: beyond it nothing is recorded any more.
    bytes: usize,
    bytes_max: usize,
}

type Storage = AddressMap<BTreeMap<B256, B256>>;

struct Step {
    pc: usize,
    opcode: u8,
    depth: usize,
    gas: u64,
    gas_cost: u64,
    refund: u64,
    error: Option<Box<str>>,
    stack: Option<Box<[U256]>>,
    memory: Option<Arc<[u8]>>,
    returned: Bytes,
    slot: Option<Box<Touched>>,
}

/// The slot that a step reads or writes.
struct Touched {
    contract: Address,
    key: B256,
    /// Known after a read only.
    value: Option<B256>,
}

impl StepLog {
    pub(super) fn new(options: GethDefaultTracingOptions, bytes_max: usize) -> Self {
        Self {
            options,
            steps: Vec::new(),
            is_open: false,
            shown: Storage::default(),
            refunds: Vec::new(),
            refund_last: 0,
            text_bytes: 0,
            bytes: 0,
            bytes_max,
        }
    }

    /// Bytes of JSON, about and not less.
    pub(super) const fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    fn is_full(&self) -> bool {
        let limit = self.options.limit.unwrap_or(0);
        self.bytes > self.bytes_max || limit > 0 && self.steps.len() as u64 >= limit
    }

    /// Before an instruction; returns the bytes recorded.
    pub(super) fn step<DB: Database>(
        &mut self,
        interpreter: &mut Interpreter,
        context: &mut VmContext<DB>,
    ) -> usize {
        self.is_open = !self.is_full();
        if !self.is_open {
            return 0;
        }
        let stack = interpreter.stack.data();
        let mut bytes = TRACE_STEP_BYTES;
        let mut text = STEP_TEXT_BYTES;
        let opcode = interpreter.bytecode.opcode();
        let kept_stack = self.options.is_stack_enabled().then(|| {
            bytes += size_of_val(stack.as_slice());
            let digits = |item: &U256| item.bit_len().div_ceil(4) + ITEM_TEXT_BYTES;
            text += stack.iter().map(digits).sum::<usize>();
            stack.as_slice().into()
        });
        let depth = context.journaled_state.depth();
        let memory = self.memory(interpreter, depth, &mut bytes);
        text += memory.as_ref().map_or(0, |memory| memory.len().div_ceil(32) * WORD_TEXT_BYTES);
        let returned = if self.options.is_return_data_enabled() {
            interpreter.return_data.buffer().clone()
        } else {
            Bytes::new()
        };
        // The buffer is shared with the next steps.
        let is_new = self.steps.last().is_none_or(|last| last.returned != returned);
        bytes += if is_new { returned.len() } else { 0 };
        text += 2 * returned.len();
        let refund = self.refund(depth, interpreter.gas.refunded());
        let slot = self.slot(opcode, stack, interpreter.input.target_address());
        self.steps.push(Step {
            pc: interpreter.bytecode.pc(),
            opcode,
            depth,
            gas: interpreter.gas.remaining(),
            gas_cost: 0,
            refund,
            error: None,
            stack: kept_stack,
            memory,
            returned,
            slot,
        });
        self.text_bytes = self.text_bytes.saturating_add(text);
        self.bytes = self.bytes.saturating_add(bytes);
        bytes
    }

    /// The memory of the frame; that of the step before it if nothing can have changed it.
    fn memory(
        &self,
        interpreter: &Interpreter,
        depth: usize,
        bytes: &mut usize,
    ) -> Option<Arc<[u8]>> {
        if !self.options.is_memory_enabled() {
            return None;
        }
        if let Some(last) = self.steps.last()
            && last.depth == depth
            && !OpCode::new_or_unknown(last.opcode).modifies_memory()
        {
            return last.memory.clone();
        }
        let memory = interpreter.memory.context_memory();
        if memory.is_empty() {
            return None;
        }
        *bytes += memory.len();
        Some(Arc::from(&*memory))
    }

    fn slot(&self, opcode: u8, stack: &[U256], contract: Address) -> Option<Box<Touched>> {
        if !self.options.is_storage_enabled() {
            return None;
        }
        let (key, value) = match (opcode, stack) {
            (opcode::SLOAD, [.., key]) => (*key, None),
            (opcode::SSTORE, [.., value, key]) => (*key, Some(B256::from(*value))),
            _ => return None,
        };
        Some(Box::new(Touched { contract, key: key.into(), value }))
    }

    /// The refund of the transaction so far, as geth counts it: revm's frames begin at none.
    fn refund(&mut self, depth: usize, own: i64) -> u64 {
        self.refunds.truncate(depth);
        while self.refunds.len() < depth {
            self.refunds.push(self.refund_last);
        }
        self.refund_last = self.refunds.last().copied().unwrap_or(0) + own;
        u64::try_from(self.refund_last).unwrap_or(0)
    }

    /// After an instruction; returns the bytes recorded.
    pub(super) fn step_end(&mut self, interpreter: &mut Interpreter) -> usize {
        if !self.is_open {
            return 0;
        }
        let step = self.steps.last_mut().expect("a step has begun");
        let action = interpreter.bytecode.action().as_ref();
        // As geth, whose CREATE hands its gas on while it executes.
        let handed_on = match action {
            Some(InterpreterAction::NewFrame(FrameInput::Create(create))) => create.gas_limit(),
            _ => 0,
        };
        let used = step.gas.saturating_sub(interpreter.gas.remaining());
        step.gas_cost = used.saturating_sub(handed_on);
        let ended = action.and_then(InterpreterAction::instruction_result);
        let stack_len = step.stack.as_ref().map_or(0, |stack| stack.len());
        step.error = ended.and_then(|ended| error_of(ended, step.opcode, stack_len));
        let Some(slot) = &mut step.slot else { return 0 };
        if slot.value.is_none() && step.error.is_none() {
            slot.value = interpreter.stack.data().last().map(|value| B256::from(*value));
        }
        let Some(value) = slot.value else { return 0 };
        let storage = self.shown.entry(slot.contract).or_default();
        storage.insert(slot.key, value);
        let text = storage.len() * SLOT_TEXT_BYTES;
        self.text_bytes = self.text_bytes.saturating_add(text);
        self.bytes = self.bytes.saturating_add(SLOT_TEXT_BYTES);
        SLOT_TEXT_BYTES
    }

    /// The answer, once the transaction has ended as `result`.
    pub(super) fn frame<'a>(&'a self, result: &'a ExecutionResult) -> Frame<'a> {
        let returned = result.output().cloned().unwrap_or_default();
        Frame {
            gas: result.tx_gas_used(),
            failed: !result.is_success(),
            return_value: returned,
            struct_logs: Steps(self),
        }
    }
}

/// geth's words for an instruction that failed.
fn error_of(ended: InstructionResult, opcode: u8, stack_len: usize) -> Option<Box<str>> {
    match SuccessOrHalt::<HaltReason>::from(ended) {
        SuccessOrHalt::Halt(reason) => {
            let halt = Halt { reason, fault: Some(Fault { opcode, stack_len }) };
            Some(halt.to_string().into())
        }
        _ => None,
    }
}

/// What geth's struct logger answers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Frame<'a> {
    gas: u64,
    failed: bool,
    return_value: Bytes,
    struct_logs: Steps<'a>,
}

struct Steps<'a>(&'a StepLog);

impl Serialize for Steps<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut storage = Storage::default();
        let mut steps = serializer.serialize_seq(Some(self.0.steps.len()))?;
        for step in &self.0.steps {
            steps.serialize_element(&step.shown(&mut storage))?;
        }
        steps.end()
    }
}

impl Step {
    fn shown(&self, storage: &mut Storage) -> StructLog {
        let slot = self.slot.as_ref().and_then(|slot| Some((slot, slot.value?)));
        StructLog {
            pc: self.pc as u64,
            op: match OpCode::new(self.opcode) {
                Some(known) => Cow::Borrowed(known.as_str()),
                None => Cow::Owned(OpcodeName(self.opcode).to_string()),
            },
            gas: self.gas,
            gas_cost: self.gas_cost,
            depth: self.depth as u64,
            error: self.error.as_ref().map(ToString::to_string),
            stack: self.stack.as_ref().map(|stack| stack.to_vec()),
            return_data: (!self.returned.is_empty()).then(|| self.returned.clone()),
            memory: self.memory.as_ref().map(|memory| words(memory)),
            storage: slot.map(|(slot, value)| {
                let storage = storage.entry(slot.contract).or_default();
                storage.insert(slot.key, value);
                storage.clone()
            }),
            refund_counter: (self.refund > 0).then_some(self.refund),
            ..StructLog::default()
        }
    }
}

/// Memory as words of 32 bytes.
fn words(memory: &[u8]) -> Vec<String> {
    let padded = |chunk: &[u8]| {
        let mut word = [0; 32];
        word[..chunk.len()].copy_from_slice(chunk);
        hex::encode_prefixed(word)
    };
    memory.chunks(32).map(padded).collect()
}
