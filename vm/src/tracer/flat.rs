//! Parity's list of calls: each before the calls within it, and yet with what it came to. Pure.
//!
//! So the transaction runs twice. The first run leaves what each call came to: [`OUTCOME_BYTES`]
//! and its output, which count as what is recorded. The second says a call when it begins. Source:
//! `OpenEthereum`'s trace module and geth's `eth/tracers/native/call_flat.go`, as revm-inspectors
//! reads them: calls of precompiles that send nothing are not shown, and the end of a contract is a
//! call, the last one of who ends. geth's list is another in this: it has `CALL` and `STATICCALL`
//! of precompiles all or none, what the transaction was given and took as the gas of its own call,
//! its own words of errors unless Parity's are asked for, and no result where there is none.

use std::sync::Arc;

use alloy_primitives::{Address, Bytes, U256};
use alloy_rpc_types_eth::TransactionInfo;
use alloy_rpc_types_trace::parity::{
    Action, CreateOutput, LocalizedTransactionTrace, SelfdestructAction, TraceOutput,
    TransactionTrace,
};
use revm::{
    Database,
    context::{JournalTr as _, TxEnv, result::ExecutionResult},
    interpreter::{
        CallInputs, CallOutcome, CallScheme, CreateInputs, CreateOutcome, InstructionResult,
        InterpreterResult,
    },
    primitives::TxKind,
};
use revm_inspectors::tracing::types::{CallKind, CallTrace, CallTraceNode};
use serde_json::Value;

use super::{
    calls::{End, balance_of, created_as},
    script::REVERTED,
    survey::Found,
    text::{Part, Text},
};
use crate::{limits::TRACE_CALL_BYTES, long::Fault, slice::VmContext};

/// Bytes of what a call came to, beside its output.
const OUTCOME_BYTES: usize = size_of::<Outcome>();

/// The list of one transaction, or what is found out for it.
pub(super) struct Flat {
    shape: Shape,
    /// Calls that began and are shown.
    shown: usize,
    open: Vec<Open>,
    purpose: Purpose,
}

/// How a list is shown.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// Parity's, of calls alone.
    Plain,
    /// Parity's, with their place in the chain: not as text.
    Placed,
    /// geth's `flatCallTracer`.
    Geth {
        /// Whether calls of precompiles are shown.
        shows_precompiles: bool,
        /// Whether errors are in Parity's words.
        converts_errors: bool,
    },
}

/// What a call came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    status: InstructionResult,
    /// Calls that it made and are shown, an end of its contract among them.
    calls: usize,
    gas_used: u64,
    /// Nothing if it failed, but for a revert.
    output: Bytes,
    /// Where it failed.
    fault: Option<Fault>,
}

enum Purpose {
    Survey(Vec<Outcome>),
    Text(Arc<Found>, Text, TransactionInfo),
    Items(Arc<Found>, Items, TransactionInfo),
}

/// Calls that nobody took yet, and the bytes that they hold.
#[derive(Default)]
pub(crate) struct Items {
    pub(crate) traces: Vec<LocalizedTransactionTrace>,
    pub(crate) bytes: usize,
}

/// A call under way.
struct Open {
    /// Its number among those that are shown.
    nth: Option<usize>,
    /// Its place among those of its caller.
    index: usize,
    /// Calls that it made and are shown.
    calls: usize,
    value: U256,
    /// Whose storage it changes.
    at: Address,
    destroyed: Option<SelfdestructAction>,
}

impl Flat {
    /// What finds out the outcomes.
    pub(super) const fn survey(shape: Shape) -> Self {
        Self { shape, shown: 0, open: Vec::new(), purpose: Purpose::Survey(Vec::new()) }
    }

    /// What says the calls of which `found` is known, with `info` as their place in the chain; as
    /// text after `text`, unless [`Self::take_items`] is asked.
    pub(super) fn new(
        shape: Shape,
        found: Arc<Found>,
        mut text: Text,
        info: TransactionInfo,
    ) -> Self {
        text.push_text("[");
        let purpose = match shape {
            Shape::Placed => Purpose::Items(found, Items::default(), info),
            Shape::Plain | Shape::Geth { .. } => Purpose::Text(found, text, info),
        };
        Self { shape, shown: 0, open: Vec::new(), purpose }
    }

    pub(super) fn into_outcomes(self) -> Vec<Outcome> {
        match self.purpose {
            Purpose::Survey(outcomes) => outcomes,
            Purpose::Text(..) | Purpose::Items(..) => Vec::new(),
        }
    }

    /// What is written, if it is text.
    pub(super) const fn text(&mut self) -> Option<&mut Text> {
        match &mut self.purpose {
            Purpose::Text(_, text, _) => Some(text),
            Purpose::Survey(_) | Purpose::Items(..) => None,
        }
    }

    /// Bytes of the calls that nobody took yet, but as text.
    pub(super) const fn items_bytes(&self) -> usize {
        match &self.purpose {
            Purpose::Items(_, items, _) => items.bytes,
            Purpose::Survey(_) | Purpose::Text(..) => 0,
        }
    }

    /// Takes them.
    pub(super) fn take_items(&mut self) -> Items {
        match &mut self.purpose {
            Purpose::Items(_, items, _) => std::mem::take(items),
            Purpose::Survey(_) | Purpose::Text(..) => Items::default(),
        }
    }

    /// A call begins; returns the bytes that it takes.
    pub(super) fn call_begins<DB: Database>(
        &mut self,
        context: &mut VmContext<DB>,
        inputs: &CallInputs,
    ) -> usize {
        let (code, at, caller) = (inputs.bytecode_address, inputs.target_address, inputs.caller);
        let (from, to) = match inputs.scheme {
            CallScheme::DelegateCall | CallScheme::CallCode => (at, code),
            CallScheme::Call | CallScheme::StaticCall => (caller, at),
        };
        // Who delegates hands on what it was sent.
        let value = match (inputs.scheme, self.open.last()) {
            (CallScheme::DelegateCall, Some(caller)) => caller.value,
            _ => inputs.call_value(),
        };
        let may_hide = match self.shape {
            Shape::Plain | Shape::Placed => value.is_zero(),
            Shape::Geth { shows_precompiles, .. } => {
                let is_own = matches!(inputs.scheme, CallScheme::Call | CallScheme::StaticCall);
                is_own && !shows_precompiles
            }
        };
        let hides = may_hide
            && !self.open.is_empty()
            && context.journaled_state.precompile_addresses().contains(&to);
        if hides {
            self.open.push(Open { nth: None, index: 0, calls: 0, value, at, destroyed: None });
            return 0;
        }
        let (caller, gas_limit) = self.given(context, (from, inputs.gas_limit));
        let data = if self.is_survey() { Bytes::new() } else { inputs.input.bytes(context) };
        let kind = CallKind::from(inputs.scheme);
        self.begin(
            at,
            CallTrace { caller, address: to, kind, value, data, gas_limit, ..CallTrace::default() },
        )
    }

    /// A creation begins; returns the bytes that it takes.
    pub(super) fn create_begins<DB: Database>(
        &mut self,
        context: &VmContext<DB>,
        inputs: &CreateInputs,
    ) -> usize {
        let creator = context.journaled_state.state.get(&inputs.caller());
        let at = inputs.created_address(creator.map_or(0, |creator| creator.info.nonce));
        let (caller, gas_limit) = self.given(context, (inputs.caller(), inputs.gas_limit()));
        self.begin(
            at,
            CallTrace {
                caller,
                address: at,
                kind: CallKind::from(inputs.scheme()),
                value: inputs.value(),
                data: inputs.init_code().clone(),
                gas_limit,
                ..CallTrace::default()
            },
        )
    }

    const fn is_survey(&self) -> bool {
        matches!(self.purpose, Purpose::Survey(_))
    }

    /// Who calls, with how much gas: geth has for the first call what the transaction says.
    fn given<DB: Database>(&self, context: &VmContext<DB>, call: (Address, u64)) -> (Address, u64) {
        match self.shape {
            Shape::Geth { .. } if self.open.is_empty() => (context.tx.caller, context.tx.gas_limit),
            _ => call,
        }
    }

    fn begin(&mut self, at: Address, mut trace: CallTrace) -> usize {
        let nth = self.shown;
        self.shown += 1;
        let index = self.open.last_mut().map_or(0, |caller| {
            caller.calls += 1;
            caller.calls - 1
        });
        let value = trace.value;
        self.open.push(Open { nth: Some(nth), index, calls: 0, value, at, destroyed: None });
        let outcome = match &mut self.purpose {
            Purpose::Survey(outcomes) => {
                outcomes.push(Outcome::default());
                return OUTCOME_BYTES;
            }
            Purpose::Text(found, ..) | Purpose::Items(found, ..) => {
                found.outcomes.get(nth).expect("both runs make the same calls")
            }
        };
        let (calls, fault) = (outcome.calls, outcome.fault);
        trace.status = Some(outcome.status);
        trace.gas_used = outcome.gas_used;
        trace.output = outcome.output.clone();
        self.say_call(trace, (calls, fault))
    }

    fn say_call(&mut self, trace: CallTrace, (calls, fault): (usize, Option<Fault>)) -> usize {
        let status = trace.status;
        let node = CallTraceNode { trace, ..CallTraceNode::default() };
        let mut said = node.parity_transaction_trace(self.address());
        if let (Shape::Geth { converts_errors, .. }, Some(status)) = (self.shape, status) {
            let error = End { status, output: Bytes::new(), gas_used: 0, fault }.error();
            let converted = |error: String| match parity_words(&error) {
                Some(words) if converts_errors => words.to_owned(),
                _ => error,
            };
            said.error = error.map(converted);
            // What a creation reverted with takes the place of its code.
            if let (Action::Create(_), Some(TraceOutput::Call(call))) =
                (&said.action, &mut said.result)
            {
                let (gas_used, code) = (call.gas_used, std::mem::take(&mut call.output));
                let created = CreateOutput { gas_used, code, address: Address::ZERO };
                said.result = Some(TraceOutput::Create(created));
            }
        }
        self.say(TransactionTrace { subtraces: calls, ..said })
    }

    /// The place of the call on top in the tree of calls.
    fn address(&self) -> Vec<usize> {
        self.open.iter().skip(1).map(|call| call.index).collect()
    }

    /// A contract destroys itself.
    pub(super) fn selfdestructs(&mut self, address: Address, heir: Address, balance: U256) {
        if let Some(call) = self.open.last_mut() {
            call.destroyed = Some(SelfdestructAction { address, balance, refund_address: heir });
        }
    }

    /// A call has ended; returns the bytes that it takes.
    pub(super) fn call_ends<DB: Database>(
        &mut self,
        context: &VmContext<DB>,
        outcome: &CallOutcome,
    ) -> usize {
        self.ends(context, &outcome.result, outcome.result.result)
    }

    /// A creation has ended; returns the bytes that it takes.
    pub(super) fn create_ends<DB: Database>(
        &mut self,
        context: &VmContext<DB>,
        inputs: &CreateInputs,
        outcome: &CreateOutcome,
    ) -> usize {
        self.ends(context, &outcome.result, created_as(context, inputs, outcome))
    }

    fn ends<DB: Database>(
        &mut self,
        context: &VmContext<DB>,
        result: &InterpreterResult,
        status: InstructionResult,
    ) -> usize {
        let Some(call) = self.open.last_mut() else { return 0 };
        if status == InstructionResult::SelfDestruct && call.destroyed.is_none() {
            // To itself, which leaves nothing in the journal (EIP-6780).
            let balance = balance_of(context, call.at);
            call.destroyed =
                Some(SelfdestructAction { address: call.at, balance, refund_address: call.at });
        }
        let (destroyed, calls) = (call.destroyed, call.calls);
        let mut bytes = 0;
        match (&mut self.purpose, call.nth) {
            (Purpose::Survey(outcomes), Some(nth)) => {
                let calls = calls + usize::from(destroyed.is_some());
                let has_output = status.is_ok_or_revert();
                let output = if has_output { result.output.clone() } else { Bytes::new() };
                bytes = output.len();
                let gas_used = result.gas.total_gas_spent();
                let fault = context.chain.fault;
                outcomes[nth] = Outcome { status, calls, gas_used, output, fault };
            }
            (Purpose::Text(..) | Purpose::Items(..), Some(_)) => {
                if let Some(destroyed) = destroyed {
                    let mut trace_address = self.address();
                    trace_address.push(calls);
                    let action = Action::Selfdestruct(destroyed);
                    bytes = self.say(TransactionTrace {
                        action,
                        trace_address,
                        ..TransactionTrace::default()
                    });
                }
            }
            (_, None) => {}
        }
        self.open.pop();
        bytes
    }

    /// The transaction that was surveyed has taken so much gas.
    pub(super) fn survey_ends(&mut self, gas_used: u64) {
        if let (Shape::Geth { .. }, Purpose::Survey(outcomes)) = (self.shape, &mut self.purpose)
            && let Some(own) = outcomes.first_mut()
        {
            own.gas_used = gas_used;
        }
    }

    /// The transaction has ended as `result`.
    pub(super) fn end(&mut self, result: &ExecutionResult, tx: &TxEnv) {
        if self.shown == 0 {
            // It ran out of gas before its call began.
            let (kind, address) = match tx.kind {
                TxKind::Call(to) => (CallKind::Call, to),
                TxKind::Create => (CallKind::Create, tx.caller.create(tx.nonce)),
            };
            let trace = CallTrace {
                caller: tx.caller,
                address,
                kind,
                value: tx.value,
                data: tx.data.clone(),
                gas_limit: tx.gas_limit,
                gas_used: result.tx_gas_used(),
                status: Some(InstructionResult::OutOfGas),
                ..CallTrace::default()
            };
            self.say_call(trace, (0, None));
        }
        if let Purpose::Text(_, text, _) = &mut self.purpose {
            text.push_text("]");
        }
    }

    /// Adds to the list; returns the bytes that it takes.
    fn say(&mut self, mut trace: TransactionTrace) -> usize {
        let data_bytes: usize = data_of(&mut trace).map(|(_, data)| data.len()).sum();
        let place_bytes = size_of_val(trace.trace_address.as_slice());
        let bytes = TRACE_CALL_BYTES + data_bytes + place_bytes;
        match &mut self.purpose {
            Purpose::Survey(_) => {}
            Purpose::Text(_, text, info) => {
                // The first one is the transaction's own.
                text.push_text(if trace.trace_address.is_empty() { "" } else { "," });
                let geths = matches!(self.shape, Shape::Geth { .. }).then_some(*info);
                show(trace, geths, text);
            }
            Purpose::Items(_, items, info) => {
                items.traces.push(placed(trace, *info));
                items.bytes += bytes;
            }
        }
        bytes
    }
}

/// What of a call may be long, by the names of members.
fn data_of(trace: &mut TransactionTrace) -> impl Iterator<Item = (&'static str, &mut Bytes)> {
    let given = match &mut trace.action {
        Action::Call(call) => Some(("input", &mut call.input)),
        Action::Create(create) => Some(("init", &mut create.init)),
        Action::Selfdestruct(_) | Action::Reward(_) => None,
    };
    let returned = trace.result.as_mut().map(|result| match result {
        TraceOutput::Call(call) => ("output", &mut call.output),
        TraceOutput::Create(create) => ("code", &mut create.code),
    });
    given.into_iter().chain(returned)
}

fn placed(trace: TransactionTrace, info: TransactionInfo) -> LocalizedTransactionTrace {
    let TransactionInfo { hash, index, block_hash, block_number, .. } = info;
    LocalizedTransactionTrace {
        trace,
        transaction_position: index,
        transaction_hash: hash,
        block_number,
        block_hash,
    }
}

/// As geth has it: no result if it failed otherwise than by a revert, of a creation that was
/// reverted no address, and the place in the chain also where there is none.
fn geths(trace: LocalizedTransactionTrace) -> serde_json::Result<Value> {
    let mut trace = serde_json::to_value(trace)?;
    let has_failed = trace.get("error").is_some();
    if let Some(members) = trace.as_object_mut() {
        match members.get_mut("result") {
            Some(Value::Object(result)) if has_failed => drop(result.remove("address")),
            Some(Value::Null) => drop(members.remove("result")),
            _ => {}
        }
        members.entry("blockHash").or_insert(Value::Null);
        let position = members.entry("transactionPosition").or_insert(Value::Null);
        if position.is_null() {
            *position = Value::from(0);
        }
    }
    Ok(trace)
}

/// Parity's words for geth's of an error, where they are others.
fn parity_words(error: &str) -> Option<&'static str> {
    Some(match error {
        "out of gas"
        | "gas uint64 overflow"
        | "max code size exceeded"
        | "contract creation code storage out of gas" => "Out of gas",
        "invalid jump destination" => "Bad jump destination",
        REVERTED => "Reverted",
        "return data out of bounds" => "Out of bounds",
        "stack limit reached 1024 (1023)" => "Out of stack",
        // In our words: revm does not say why.
        "precompile error" => "Built-in failed",
        _ if error.starts_with("out of gas:") => "Out of gas",
        _ if error.starts_with("invalid opcode:") => "Bad instruction",
        _ if error.starts_with("stack underflow") => "Stack underflow",
        _ => return None,
    })
}

/// Writes a call, as geth's with its place in the chain if that is there. What may be long is left
/// empty at first, and then written piece by piece in its place.
fn show(mut trace: TransactionTrace, info: Option<TransactionInfo>, text: &mut Text) {
    let long = data_of(&mut trace).map(|(name, data)| (name, std::mem::take(data)));
    let long: Vec<_> = long.filter(|(_, data)| !data.is_empty()).collect();
    let json = match info {
        Some(info) => geths(placed(trace, info)).map(|trace| trace.to_string()),
        None => serde_json::to_string(&trace),
    };
    let json = json.expect("numbers and names of our own have a JSON form");
    let mut rest = &*json;
    for (name, data) in long {
        let empty = format!(r#""{name}":"0x"#);
        let at = rest.find(&empty).expect("it is a member") + empty.len();
        text.push_text(&rest[..at]);
        text.push(Part::Hex(data));
        rest = &rest[at..];
    }
    text.push_text(rest);
}
