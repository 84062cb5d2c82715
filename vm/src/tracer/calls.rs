//! geth's `callTracer`: the tree of calls, written while they are made; and, with what each of them
//! uses (`erc7562.rs`), its `erc7562Tracer`. Pure.
//!
//! What is known of a call at its begin is written there, the rest at its end. So nothing stays but
//! the calls under way, what they have logged and used, what was hashed, and the text of one
//! instruction; in return members
//! come in another order than geth's: what a call came to stands after the calls that it made.
//! Source: geth `eth/tracers/native/call.go`. Deviation: gas that runs out for the code of a new
//! contract is `out of gas`, as revm says it.
//!
//! Logs of a call that comes to nothing are not shown, nor those of the calls within it: whoever
//! wants logs runs the transaction twice, first under a [`Survey`](super::survey::Survey).

use std::{fmt::Write as _, sync::Arc};

use alloy_primitives::{Address, Bytes, Log, U256};
use alloy_rpc_types_trace::geth::CallConfig;
use revm::{
    Database,
    context::{
        TxEnv,
        result::{ExecutionResult, ResultGas},
    },
    interpreter::{
        CallInputs, CallOutcome, CallScheme, CreateInputs, CreateOutcome, CreateScheme,
        InstructionResult, Interpreter, InterpreterResult,
    },
    primitives::{TxKind, hardfork::SpecId},
};

use super::{
    Known,
    erc7562::{Options, Usage},
    script::{REVERTED, is_priced},
    steps::error_of,
    survey::Found,
    text::{Logged, Part, Text},
};
use crate::{limits::TRACE_STEP_BYTES, long::Fault, revert::Reason, slice::VmContext};

/// The calls of one transaction.
pub(super) struct Calls {
    config: CallConfig,
    found: Arc<Found>,
    text: Text,
    open: Vec<Open>,
    /// Calls that began.
    began: usize,
    /// Calls under way that are not shown: how many logs came before each.
    hidden: Vec<u64>,
    /// Logs of the block so far that were not undone.
    log_count: u64,
    /// Bytes of the logs of open calls.
    kept: usize,
    /// How the transaction's own call ended.
    root_end: Option<End>,
    /// Whether gas has two dimensions (EIP-8037).
    has_state_gas: bool,
    /// What the calls use, if that is asked for.
    usage: Option<Box<Usage>>,
}

/// A call under way.
struct Open {
    is_create: bool,
    value: U256,
    /// Whose storage it changes; of a creation, where it creates.
    at: Address,
    calls: u64,
    keeps_logs: bool,
    logs: Vec<Logged>,
    logs_bytes: usize,
    /// Logs before it.
    logs_before: u64,
    destroyed: Option<Destroyed>,
}

struct Destroyed {
    contract: Address,
    heir: Address,
    balance: U256,
}

/// A call that begins.
struct Begin {
    kind: &'static str,
    from: Address,
    /// What it calls; of a creation, where it creates.
    to: Address,
    /// Whose storage it changes.
    at: Address,
    gas: u64,
    /// Nothing if it can send none.
    value: Option<U256>,
    input: Bytes,
}

/// How a call has ended.
pub(super) struct End {
    pub(super) status: InstructionResult,
    pub(super) output: Bytes,
    pub(super) gas_used: u64,
    pub(super) fault: Option<Fault>,
}

impl End {
    pub(super) fn new(result: &InterpreterResult, fault: Option<Fault>) -> Self {
        // A failure takes all that was handed on.
        let is_exact = result.result.is_ok_or_revert();
        let gas_used = if is_exact { result.gas.total_gas_spent() } else { result.gas.limit() };
        Self { status: result.result, output: result.output.clone(), gas_used, fault }
    }

    /// Whether geth calls its failure out of gas.
    fn is_out_of_gas(&self) -> bool {
        use InstructionResult as R;
        let is_gas = matches!(
            self.status,
            R::OutOfGas
                | R::MemoryOOG
                | R::MemoryLimitOOG
                | R::PrecompileOOG
                | R::ReentrancySentryOOG
        );
        is_gas || self.fault.is_some_and(|at| is_priced(self.status, at.opcode))
    }

    /// geth's words for its failure, if it failed.
    pub(super) fn error(&self) -> Option<String> {
        if self.status == InstructionResult::Revert {
            return Some(REVERTED.to_owned());
        }
        let (opcode, stack_len) = self.fault.map_or((0xfe, 0), |at| (at.opcode, at.stack_len));
        error_of(self.status, opcode, stack_len)
    }
}

impl Calls {
    /// One whose text begins with `text`.
    pub(super) fn new(config: CallConfig, known: &Known<'_>, text: Text) -> Self {
        Self {
            config,
            found: Arc::clone(known.found),
            text,
            open: Vec::new(),
            began: 0,
            hidden: Vec::new(),
            log_count: known.logs_before,
            kept: 0,
            root_end: None,
            has_state_gas: false,
            usage: None,
        }
    }

    /// The same as `erc7562Tracer`.
    pub(super) fn with_usage(options: &Options, known: &Known<'_>, text: Text) -> Self {
        let config = CallConfig { with_log: Some(options.with_log), ..CallConfig::default() };
        let usage = Some(Box::new(Usage::new(options)));
        Self { usage, ..Self::new(config, known, text) }
    }

    /// Whether a tracer with these options has to know which calls come to nothing.
    pub(super) fn needs_survey(config: CallConfig) -> bool {
        // The transaction's own call is over before its logs are shown.
        config.with_log.unwrap_or_default() && !config.only_top_call.unwrap_or_default()
    }

    /// What is written.
    pub(super) const fn text(&mut self) -> &mut Text {
        &mut self.text
    }

    /// Bytes that stay recorded.
    pub(super) fn kept(&self) -> usize {
        self.kept + self.usage.as_ref().map_or(0, |usage| usage.kept())
    }

    /// Before an instruction; returns the fuel that it took.
    pub(super) fn step<DB: Database>(
        &mut self,
        interpreter: &Interpreter,
        context: &mut VmContext<DB>,
    ) -> usize {
        self.usage.as_mut().map_or(0, |usage| usage.step(interpreter, context))
    }

    /// A call begins; returns the fuel that it took.
    pub(super) fn call_begins<DB: Database>(
        &mut self,
        context: &mut VmContext<DB>,
        inputs: &CallInputs,
    ) -> usize {
        if self.hides() {
            return 0;
        }
        self.see(context.cfg.spec);
        let (code, caller) = (inputs.bytecode_address, inputs.caller);
        let (at, sent) = (inputs.target_address, Some(inputs.call_value()));
        let (kind, from, to, value) = match inputs.scheme {
            CallScheme::Call => ("CALL", caller, at, sent),
            CallScheme::CallCode => ("CALLCODE", at, code, sent),
            CallScheme::DelegateCall => {
                ("DELEGATECALL", at, code, self.open.last().map(|call| call.value).or(sent))
            }
            CallScheme::StaticCall => ("STATICCALL", caller, at, None),
        };
        let gas = self.gas(context.tx.gas_limit, inputs.gas_limit);
        let input = inputs.input.bytes(context);
        self.begin(Begin { kind, from, to, at, gas, value, input })
    }

    /// A creation begins; returns the fuel that it took.
    pub(super) fn create_begins<DB: Database>(
        &mut self,
        context: &mut VmContext<DB>,
        inputs: &CreateInputs,
    ) -> usize {
        if self.hides() {
            return 0;
        }
        self.see(context.cfg.spec);
        let gas = self.gas(context.tx.gas_limit, inputs.gas_limit());
        let (from, input) = (inputs.caller(), inputs.init_code().clone());
        let caller = context.journaled_state.state.get(&from);
        let to = inputs.created_address(caller.map_or(0, |caller| caller.info.nonce));
        let kind = match inputs.scheme() {
            CreateScheme::Create2 { .. } => "CREATE2",
            CreateScheme::Create | CreateScheme::Custom { .. } => "CREATE",
        };
        let value = Some(inputs.value());
        self.begin(Begin { kind, from, to, at: to, gas, value, input })
    }

    /// Of the first call that of the transaction, as geth.
    fn gas(&self, of_tx: u64, of_call: u64) -> u64 {
        if self.open.is_empty() { of_tx } else { of_call }
    }

    fn see(&mut self, spec: SpecId) {
        self.has_state_gas = spec.is_enabled_in(SpecId::AMSTERDAM);
    }

    /// Whether the call that begins is not shown.
    fn hides(&mut self) -> bool {
        let is_hidden = self.config.only_top_call.unwrap_or_default() && !self.open.is_empty();
        self.hidden.extend(is_hidden.then_some(self.log_count));
        is_hidden
    }

    fn begin(&mut self, begin: Begin) -> usize {
        let nth = self.began;
        self.began += 1;
        let mut keeps_logs = self.config.with_log.unwrap_or_default();
        if let Some(parent) = self.open.last_mut() {
            self.text.push_text(if parent.calls == 0 { r#","calls":["# } else { "," });
            parent.calls += 1;
            keeps_logs = parent.keeps_logs;
        }
        let Begin { kind, from, to, at, gas, value, input } = begin;
        let is_create = matches!(kind, "CREATE" | "CREATE2");
        let mut head = format!(r#"{{"type":"{kind}","from":"{from:#x}","gas":"{gas:#x}""#);
        if !is_create {
            write!(head, r#","to":"{to:#x}""#).expect("memory takes text");
        }
        if let Some(value) = value {
            write!(head, r#","value":"{value:#x}""#).expect("memory takes text");
        }
        head.push_str(r#","input":"0x"#);
        if let Some(usage) = &mut self.usage {
            usage.begins();
        }
        let cost = head.len() + input.len();
        self.text.push_text(&head);
        self.text.push(Part::Hex(input));
        self.text.push_text("\"");
        self.open.push(Open {
            is_create,
            value: value.unwrap_or_default(),
            at,
            calls: 0,
            keeps_logs: keeps_logs && !self.found.undone.has(nth),
            logs: Vec::new(),
            logs_bytes: 0,
            logs_before: self.log_count,
            destroyed: None,
        });
        cost
    }

    /// Something is logged; returns the fuel that it took.
    pub(super) fn logs(&mut self, log: &Log) -> usize {
        let index = self.log_count;
        self.log_count += 1;
        let Some(call) = self.open.last_mut().filter(|call| call.keeps_logs) else { return 0 };
        if !self.hidden.is_empty() {
            return 0;
        }
        let bytes = TRACE_STEP_BYTES + log.data.data.len();
        call.logs.push(Logged { log: log.clone(), index, position: call.calls });
        call.logs_bytes += bytes;
        self.kept += bytes;
        bytes
    }

    /// A contract destroys itself.
    pub(super) fn selfdestructs(&mut self, contract: Address, heir: Address, balance: U256) {
        if self.hidden.is_empty()
            && let Some(call) = self.open.last_mut()
        {
            call.destroyed = Some(Destroyed { contract, heir, balance });
        }
    }

    /// A call has ended; returns the fuel that it took.
    pub(super) fn call_ends<DB: Database>(
        &mut self,
        context: &VmContext<DB>,
        outcome: &CallOutcome,
    ) -> usize {
        self.ends(context, End::new(&outcome.result, context.chain.fault))
    }

    /// A creation has ended; returns the fuel that it took.
    pub(super) fn create_ends<DB: Database>(
        &mut self,
        context: &VmContext<DB>,
        inputs: &CreateInputs,
        outcome: &CreateOutcome,
    ) -> usize {
        let mut end = End::new(&outcome.result, context.chain.fault);
        end.status = created_as(context, inputs, outcome);
        self.ends(context, end)
    }

    fn ends<DB: Database>(&mut self, context: &VmContext<DB>, end: End) -> usize {
        if let Some(logs_before) = self.hidden.pop() {
            if !end.status.is_ok() {
                self.log_count = logs_before;
            }
            return 0;
        }
        let Some(call) = self.open.last_mut() else { return 0 };
        if end.status == InstructionResult::SelfDestruct && call.destroyed.is_none() {
            // To itself, which leaves nothing in the journal (EIP-6780).
            let balance = balance_of(context, call.at);
            call.destroyed = Some(Destroyed { contract: call.at, heir: call.at, balance });
        }
        if !end.status.is_ok() {
            self.log_count = call.logs_before;
        }
        if self.open.len() == 1 {
            // What it used is known when the transaction is over.
            self.root_end = Some(end);
            return 0;
        }
        let cost = end.output.len();
        self.close(end, "");
        cost
    }

    /// Writes the end of the call on top, and `more` members.
    fn close(&mut self, end: End, more: &str) {
        let Some(call) = self.open.pop() else { return };
        let (is_ok, error) = (end.status.is_ok(), end.error());
        let mut tail = String::new();
        if let Some(Destroyed { contract, heir, balance }) = call.destroyed {
            tail.push_str(if call.calls == 0 { r#","calls":["# } else { "," });
            let used = if self.usage.is_some() { Usage::NOTHING } else { "" };
            let destroyed = format!(
                r#"{{"type":"SELFDESTRUCT","from":"{contract:#x}","gas":"0x0","gasUsed":"0x0","to":"{heir:#x}","input":"0x","value":"{balance:#x}"{used}}}]"#
            );
            tail.push_str(&destroyed);
        } else if call.calls > 0 {
            tail.push(']');
        }
        write!(tail, r#","gasUsed":"{:#x}"{more}"#, end.gas_used).expect("memory takes text");
        if call.is_create && is_ok {
            write!(tail, r#","to":"{:#x}""#, call.at).expect("memory takes text");
        }
        self.text.push_text(&tail);
        if let Some(usage) = &mut self.usage {
            usage.ends(end.is_out_of_gas(), &mut self.text);
        }
        let is_revert = end.status == InstructionResult::Revert;
        if let Some(error) = error {
            self.text.push_text(&format!(r#","error":{}"#, serde_json::Value::from(error)));
            if is_revert && let Some(reason) = Reason::of(&end.output, usize::MAX) {
                let reason = serde_json::Value::from(reason.text());
                self.text.push_text(&format!(r#","revertReason":{reason}"#));
            }
        }
        if (is_ok || is_revert) && !end.output.is_empty() {
            self.text.push_text(r#","output":"0x"#);
            self.text.push(Part::Hex(end.output));
            self.text.push_text("\"");
        }
        self.kept -= call.logs_bytes;
        if is_ok && !call.logs.is_empty() {
            self.text.push_text(r#","logs":["#);
            self.text.push(Part::logs(call.logs));
            self.text.push_text("]");
        }
        self.text.push_text("}");
    }

    /// The transaction has ended as `result`.
    pub(super) fn end(&mut self, result: &ExecutionResult, tx: &TxEnv) {
        if self.open.is_empty() {
            self.begin_unseen(tx);
        }
        let mut end = self.root_end.take().unwrap_or(End {
            status: InstructionResult::OutOfGas,
            output: Bytes::new(),
            gas_used: 0,
            fault: None,
        });
        end.gas_used = result.tx_gas_used();
        let more = if self.has_state_gas && self.usage.is_none() {
            state_gas(result.gas())
        } else {
            String::new()
        };
        self.close(end, &more);
    }

    /// A transaction that ran out of gas before its call began.
    fn begin_unseen(&mut self, tx: &TxEnv) {
        let (kind, to) = match tx.kind {
            TxKind::Call(to) => ("CALL", to),
            TxKind::Create => ("CREATE", tx.caller.create(tx.nonce)),
        };
        let (from, input, gas) = (tx.caller, tx.data.clone(), tx.gas_limit);
        self.begin(Begin { kind, from, to, at: to, gas, value: Some(tx.value), input });
    }
}

/// What an account that was loaded has.
pub(super) fn balance_of<DB: Database>(context: &VmContext<DB>, at: Address) -> U256 {
    let account = context.journaled_state.state.get(&at);
    account.map_or(U256::ZERO, |account| account.info.balance)
}

/// How a creation has ended: revm has a creator whose nonce cannot grow succeed with nothing.
pub(super) fn created_as<DB: Database>(
    context: &VmContext<DB>,
    inputs: &CreateInputs,
    outcome: &CreateOutcome,
) -> InstructionResult {
    let creator = context.journaled_state.state.get(&inputs.caller());
    let status = outcome.result.result;
    if outcome.address.is_none()
        && status == InstructionResult::Return
        && creator.is_some_and(|creator| creator.info.nonce == u64::MAX)
    {
        return InstructionResult::NonceOverflow;
    }
    status
}

/// The two dimensions of a transaction's gas, as members.
fn state_gas(gas: &ResultGas) -> String {
    let (execution, state) = (gas.block_regular_gas_used(), gas.block_state_gas_used());
    let refund = gas.final_refunded();
    format!(
        r#","executionGasUsed":"{execution:#x}","stateGasUsed":"{state:#x}","gasRefund":"{refund:#x}""#
    )
}
