//! geth's `callTracerLegacy`: the tree of calls, found from the instructions alone. Pure.
//!
//! Source: `eth/tracers/js/internal/tracers/call_tracer_legacy.js`, oddities included: a call of an
//! account without code has no gas, and a creation that fails where nobody sees it has an
//! `internal failure`.

use std::fmt::Write as _;

use alloy_primitives::{Address, Bytes, U256, hex};
use revm::{
    Database,
    bytecode::opcode as op,
    context::{
        JournalTr,
        result::{ExecutionResult, Output},
    },
    interpreter::{
        Interpreter,
        interpreter_types::{InputsTr, Jumps},
    },
    primitives::TxKind,
};

use super::{
    script::{self, Ended, REVERTED},
    steps::{self, error_of},
};
use crate::{limits::TRACE_CALL_BYTES, slice::VmContext};

/// The calls of one transaction.
pub(super) struct Calls {
    /// All of them; the first stands for the transaction.
    all: Vec<Call>,
    /// Those under way, by their places there; the first is always there.
    stack: Vec<usize>,
    /// Whether the last instruction began a call.
    has_descended: bool,
    open: Option<Open>,
}

#[derive(Default)]
struct Call {
    kind: &'static str,
    from: Address,
    to: Option<Address>,
    input: Bytes,
    value: Option<U256>,
    gas: Option<u64>,
    gas_used: Option<i128>,
    output: Option<Bytes>,
    error: Option<String>,
    calls: Vec<usize>,
    /// Gas before the instruction that made it, and what that took.
    gas_in: u64,
    gas_cost: u64,
    /// Where in memory its output lies.
    out: (U256, U256),
}

/// An instruction that has begun.
struct Open {
    opcode: u8,
    depth: usize,
    stack_len: usize,
    gas: u64,
    /// The call that it makes, if it is no precompile's.
    call: Option<Call>,
    /// What the call before it has left: the item on the stack, and its output.
    left: (U256, Bytes),
}

impl Default for Calls {
    fn default() -> Self {
        Self { all: vec![Call::default()], stack: vec![0], has_descended: false, open: None }
    }
}

impl Calls {
    /// Before an instruction; returns the bytes recorded.
    pub(super) fn step<DB: Database>(
        &mut self,
        interpreter: &Interpreter,
        context: &VmContext<DB>,
    ) -> usize {
        let (opcode, depth) = (interpreter.bytecode.opcode(), context.journaled_state.depth());
        let call = call_of(interpreter, context);
        let left = if depth + 1 == self.stack.len() {
            left_by(self.top(), interpreter, context)
        } else {
            (U256::ZERO, Bytes::new())
        };
        let bytes = call.as_ref().map_or(0, |call| TRACE_CALL_BYTES + call.input.len());
        let bytes = bytes + left.1.len();
        let (stack_len, gas) = (interpreter.stack.len(), interpreter.gas.remaining());
        self.open = Some(Open { opcode, depth, stack_len, gas, call, left });
        bytes
    }

    /// After an instruction.
    pub(super) fn step_end(&mut self, interpreter: &mut Interpreter) {
        let Some(open) = self.open.take() else { return };
        let (cost, ended) = steps::outcome(interpreter, open.gas);
        let error = ended.and_then(|ended| error_of(ended, open.opcode, open.stack_len));
        // What fails while it executes has been seen as a step before.
        if error.is_none() || ended.is_some_and(|ended| !script::is_refused(ended, open.opcode)) {
            self.begun(open, cost);
        }
        if let Some(error) = error {
            self.failed(error);
        }
    }

    fn begun(&mut self, open: Open, gas_cost: u64) {
        let Open { opcode, depth, gas, call, left, .. } = open;
        if let Some(mut call) = call {
            (call.gas_in, call.gas_cost) = (gas, gas_cost);
            let place = self.all.len();
            self.all.push(call);
            if opcode == op::SELFDESTRUCT {
                self.top().calls.push(place);
            } else {
                self.stack.push(place);
                self.has_descended = true;
            }
            return;
        }
        if is_call(opcode) {
            // Of a precompile.
            return;
        }
        if std::mem::take(&mut self.has_descended) && depth >= self.stack.len() {
            self.top().gas = Some(gas);
        }
        if opcode == op::REVERT {
            self.top().error = Some(REVERTED.to_owned());
        } else if depth + 1 == self.stack.len() {
            self.returned(gas, left);
        }
    }

    /// The call on top has returned to its caller, which has so much gas.
    fn returned(&mut self, gas_now: u64, (item, output): (U256, Bytes)) {
        let Some(place) = self.stack.pop() else { return };
        let call = &mut self.all[place];
        let spent = i128::from(call.gas_in) - i128::from(call.gas_cost) - i128::from(gas_now);
        let is_creation = matches!(call.kind, "CREATE" | "CREATE2");
        if is_creation {
            call.gas_used = Some(spent);
        } else if let Some(gas) = call.gas {
            call.gas_used = Some(spent + i128::from(gas));
        }
        if !item.is_zero() {
            call.output = Some(output);
            if is_creation {
                call.to = Some(Address::from_word(item.into()));
            }
        } else if call.error.is_none() {
            call.error = Some("internal failure".to_owned());
        }
        self.top().calls.push(place);
    }

    /// The call on top has failed.
    fn failed(&mut self, error: String) {
        let call = self.top();
        if call.error.is_some() {
            return;
        }
        call.error = Some(error);
        call.gas_used = call.gas.map(i128::from);
        if self.stack.len() > 1
            && let Some(place) = self.stack.pop()
        {
            self.top().calls.push(place);
        }
    }

    fn top(&mut self) -> &mut Call {
        let place = *self.stack.last().expect("the first call is never popped");
        &mut self.all[place]
    }

    /// The tree as JSON.
    pub(super) fn result(mut self, ended: &Ended<'_>) -> String {
        let root = std::mem::take(&mut self.all[0]);
        let error = root.error.or_else(|| ended.error());
        let (tx, ended) = (ended.tx, &ended.after.result);
        let output = ended.output().cloned().unwrap_or_default();
        let is_shown = error.as_deref().is_none_or(|error| error == REVERTED && !output.is_empty());
        let (kind, to) = match (tx.kind, ended) {
            (TxKind::Call(to), _) => ("CALL", to),
            (TxKind::Create, ExecutionResult::Success { output: Output::Create(_, to), .. }) => {
                ("CREATE", to.unwrap_or_default())
            }
            (TxKind::Create, _) => ("CREATE", tx.caller.create(tx.nonce)),
        };
        self.all[0] = Call {
            kind,
            from: tx.caller,
            to: Some(to),
            value: Some(tx.value),
            gas: Some(tx.gas_limit),
            gas_used: Some(i128::from(ended.tx_gas_used())),
            input: tx.data.clone(),
            output: is_shown.then_some(output),
            error,
            calls: root.calls,
            ..Call::default()
        };
        self.text()
    }

    /// Calls nest as deep as the EVM allows, so they are kept in a list of our own meanwhile.
    fn text(&self) -> String {
        let mut text = String::new();
        self.all[0].write(&mut text);
        let mut under_way = vec![self.all[0].calls.iter()];
        while let Some(rest) = under_way.last_mut() {
            let Some(&place) = rest.next() else {
                under_way.pop();
                let has_calls = text.ends_with('}');
                text.push_str(if has_calls { "]}" } else { "}" });
                continue;
            };
            text.push_str(if text.ends_with('}') { "," } else { r#","calls":["# });
            self.all[place].write(&mut text);
            under_way.push(self.all[place].calls.iter());
        }
        text
    }
}

impl Call {
    /// Writes all but the calls within and the end.
    fn write(&self, text: &mut String) {
        let mut member = |name: &str, value: String| {
            let before = if name == "type" { '{' } else { ',' };
            write!(text, r#"{before}"{name}":"{value}""#).expect("memory takes text");
        };
        let bytes = |bytes: &Bytes| hex::encode_prefixed(bytes);
        member("type", self.kind.to_owned());
        member("from", format!("{:#x}", self.from));
        if let Some(to) = self.to {
            member("to", format!("{to:#x}"));
        }
        if let Some(value) = self.value {
            member("value", format!("{value:#x}"));
        }
        if let Some(gas) = self.gas {
            member("gas", format!("{gas:#x}"));
        }
        if let Some(used) = self.gas_used {
            let sign = if used < 0 { "-" } else { "" };
            member("gasUsed", format!("0x{sign}{:x}", used.unsigned_abs()));
        }
        // A contract that destroys itself is not asked anything.
        if self.kind != "SELFDESTRUCT" {
            member("input", bytes(&self.input));
        }
        if let Some(output) = &self.output {
            member("output", bytes(output));
        }
        if let Some(error) = &self.error {
            // Words of our own, and of precompiles: nothing in them needs an escape.
            member("error", error.replace(['"', '\\'], "'"));
        }
    }
}

fn is_call(opcode: u8) -> bool {
    matches!(opcode, op::CALL | op::CALLCODE | op::DELEGATECALL | op::STATICCALL)
}

/// The call that an instruction makes, but for those of precompiles.
fn call_of<DB: Database>(interpreter: &Interpreter, context: &VmContext<DB>) -> Option<Call> {
    let operand = |nth| interpreter.stack.peek(nth).unwrap_or_default();
    let address = |nth| Address::from_word(operand(nth).into());
    let input = |at, len| script::memory(interpreter, operand(at), operand(len));
    let from = interpreter.input.target_address();
    let journal = &context.journaled_state;
    let call = match interpreter.bytecode.opcode() {
        op::CREATE => {
            Call { kind: "CREATE", input: input(1, 2), value: Some(operand(0)), ..Call::default() }
        }
        op::CREATE2 => {
            Call { kind: "CREATE2", input: input(1, 2), value: Some(operand(0)), ..Call::default() }
        }
        op::SELFDESTRUCT => {
            let balance = journal.state.get(&from).map(|account| account.info.balance);
            Call { kind: "SELFDESTRUCT", to: Some(address(0)), value: balance, ..Call::default() }
        }
        opcode if is_call(opcode) => {
            let to = address(1);
            if journal.precompile_addresses().contains(&to) {
                return None;
            }
            let (kind, value) = match opcode {
                op::CALL => ("CALL", Some(operand(2))),
                op::CALLCODE => ("CALLCODE", Some(operand(2))),
                op::DELEGATECALL => ("DELEGATECALL", None),
                _ => ("STATICCALL", None),
            };
            let at = if value.is_some() { 3 } else { 2 };
            let out = (operand(at + 2), operand(at + 3));
            Call { kind, to: Some(to), value, input: input(at, at + 1), out, ..Call::default() }
        }
        _ => return None,
    };
    Some(Call { from, ..call })
}

/// What a call has left where it returned to: an item, and its output if that is not zero.
fn left_by<DB: Database>(
    call: &Call,
    interpreter: &Interpreter,
    context: &VmContext<DB>,
) -> (U256, Bytes) {
    let item = interpreter.stack.peek(0).unwrap_or_default();
    if item.is_zero() {
        return (item, Bytes::new());
    }
    if !matches!(call.kind, "CREATE" | "CREATE2") {
        return (item, script::memory(interpreter, call.out.0, call.out.1));
    }
    let account = context.journaled_state.state.get(&Address::from_word(item.into()));
    let code = account.and_then(|account| account.info.code.as_ref());
    (item, code.map(revm::bytecode::Bytecode::original_bytes).unwrap_or_default())
}
