//! What a script is told while the transaction runs: instructions, failures, calls. Pure.

use std::{ops::Range, sync::Arc};

use alloy_primitives::{Address, Bytes, U256, map::AddressSet};
use revm::{
    Database,
    bytecode::opcode as op,
    context::JournalTr,
    interpreter::{
        CallInput, CallInputs, CallOutcome, CallScheme, CreateInputs, CreateOutcome,
        InstructionResult, Interpreter, InterpreterResult,
        interpreter_types::{InputsTr, Jumps, MemoryTr as _},
    },
    state::AccountInfo,
};

use super::{
    Running, array,
    host::{Contract, Sight},
    number, value,
};
use crate::{
    limits::JS_STEP_BYTES,
    long::Fault,
    slice::VmContext,
    tracer::{
        script::{self, REVERTED, is_refused},
        steps::{error_of, outcome},
    },
};

/// An instruction that has begun, and what it found that it may change.
pub(super) struct Begun {
    opcode: u8,
    pc: usize,
    gas: u64,
    depth: usize,
    stack: Vec<U256>,
    memory_len: usize,
    /// Where it may write to memory, and what was there.
    overwritten: (usize, Vec<u8>),
    /// A slot that it may write, and accounts whose balances it may move.
    slot: Option<(Address, U256, U256)>,
    accounts: Vec<(Address, Option<AccountInfo>)>,
}

/// The transaction between two instructions, as the first of them found it.
struct AtStep<'a, DB: Database> {
    begun: &'a Begun,
    interpreter: &'a Interpreter,
    context: &'a mut VmContext<DB>,
}

impl<DB: Database> Sight for AtStep<'_, DB> {
    fn stack(&self) -> &[U256] {
        &self.begun.stack
    }

    fn memory_len(&self) -> usize {
        self.begun.memory_len
    }

    fn memory(&self, range: Range<usize>) -> Vec<u8> {
        if range.is_empty() {
            return Vec::new();
        }
        let mut bytes = self.interpreter.memory.slice(range.clone()).to_vec();
        let (at, old) = &self.begun.overwritten;
        let (from, to) = (range.start.max(*at), range.end.min(at + old.len()));
        if from < to {
            bytes[from - range.start..to - range.start].copy_from_slice(&old[from - at..to - at]);
        }
        bytes
    }

    fn contract(&self) -> Contract {
        let input = &self.interpreter.input;
        let data = match input.input() {
            CallInput::Bytes(bytes) => bytes.clone(),
            CallInput::SharedBuffer(range) => {
                Bytes::copy_from_slice(&self.interpreter.memory.global_slice(range.clone()))
            }
        };
        Contract {
            caller: input.caller_address(),
            address: input.target_address(),
            value: input.call_value(),
            input: data,
        }
    }

    fn account(&mut self, address: Address) -> Result<Option<AccountInfo>, String> {
        if let Some((_, info)) = self.begun.accounts.iter().find(|(at, _)| *at == address) {
            return Ok(info.clone());
        }
        script::account(self.context, address).map_err(|error| error.to_string())
    }

    fn code(&mut self, address: Address) -> Result<Bytes, String> {
        let Some(info) = self.account(address)? else { return Ok(Bytes::new()) };
        if let Some(code) = info.code {
            return Ok(code.original_bytes());
        }
        let code = self.context.journaled_state.db_mut().code_by_hash(info.code_hash);
        code.map(|code| code.original_bytes()).map_err(|error| error.to_string())
    }

    fn slot(&mut self, address: Address, key: U256) -> Result<U256, String> {
        match self.begun.slot {
            Some((at, of, value)) if (at, of) == (address, key) => Ok(value),
            _ => script::slot(self.context, address, key).map_err(|error| error.to_string()),
        }
    }

    fn is_precompile(&self, address: Address) -> bool {
        self.context.journaled_state.precompile_addresses().contains(&address)
    }
}

/// Where in memory an instruction writes, by its operands.
fn written(opcode: u8, stack: &[U256]) -> Option<(U256, U256)> {
    let operand = |nth: usize| stack.iter().rev().nth(nth).copied();
    Some(match opcode {
        op::MSTORE => (operand(0)?, U256::from(32)),
        op::MSTORE8 => (operand(0)?, U256::ONE),
        op::CALLDATACOPY | op::CODECOPY | op::RETURNDATACOPY | op::MCOPY => {
            (operand(0)?, operand(2)?)
        }
        op::EXTCODECOPY => (operand(1)?, operand(3)?),
        _ => return None,
    })
}

impl Running {
    fn has_step(&self) -> bool {
        self.engine.as_ref().is_some_and(|engine| engine.has_step)
    }

    /// Whether frames below the first are told of.
    fn tells_frames<DB: Database>(&self, context: &VmContext<DB>) -> bool {
        context.journaled_state.depth() > 0
            && self.engine.as_ref().is_some_and(|engine| engine.has_frames)
    }

    /// Before an instruction; returns the fuel that it took.
    pub(in crate::tracer) fn step<DB: Database>(
        &mut self,
        interpreter: &Interpreter,
        context: &mut VmContext<DB>,
    ) -> u64 {
        let (opcode, stack) = (interpreter.bytecode.opcode(), interpreter.stack.data());
        let depth = context.journaled_state.depth();
        let memory_len = interpreter.memory.size();
        let overwritten = written(opcode, stack).map_or((0, Vec::new()), |(at, len)| {
            let at = at.saturating_to::<usize>().min(memory_len);
            let len = len.saturating_to::<usize>().min(memory_len - at);
            (at, script::memory(interpreter, U256::from(at), U256::from(len)).to_vec())
        });
        let here = interpreter.input.target_address();
        let top = stack.last().copied();
        // An error of the store is met again by the instruction itself.
        let slot = match (opcode, top) {
            (op::SSTORE, Some(key)) => {
                script::slot(context, here, key).ok().map(|before| (here, key, before))
            }
            _ => None,
        };
        let accounts = match (opcode, top) {
            (op::SELFDESTRUCT, Some(heir)) => [here, Address::from_word(heir.into())]
                .into_iter()
                .filter_map(|at| Some((at, script::account(context, at).ok()?)))
                .collect(),
            _ => Vec::new(),
        };
        let bytes = JS_STEP_BYTES + overwritten.1.len() + size_of_val(stack.as_slice());
        self.open = Some(Begun {
            opcode,
            pc: interpreter.bytecode.pc(),
            gas: interpreter.gas.remaining(),
            depth,
            stack: stack.clone(),
            memory_len,
            overwritten,
            slot,
            accounts,
        });
        bytes as u64
    }

    /// After an instruction; returns the fuel that it took.
    pub(in crate::tracer) fn step_end<DB: Database>(
        &mut self,
        interpreter: &mut Interpreter,
        context: &mut VmContext<DB>,
    ) -> u64 {
        let Some(begun) = self.open.take() else { return 0 };
        let (cost, ended) = outcome(interpreter, begun.gas);
        let before = context.chain.authorization_refund;
        let refund = self.refunds.now(begun.depth, interpreter.gas.refunded(), before);
        let error = match ended {
            Some(InstructionResult::Revert) => Some(REVERTED.to_owned()),
            Some(ended) => {
                let (opcode, stack_len) = (begun.opcode, begun.stack.len());
                let error = error_of(ended, opcode, stack_len);
                self.fault = error.as_ref().map(|_| Fault { opcode, stack_len });
                error
            }
            None => None,
        };
        let was_refused =
            error.is_some() && ended.is_some_and(|ended| is_refused(ended, begun.opcode));
        let mut fuel = 0;
        let mut tell = |running: &mut Self, hook, error: Option<&str>| {
            let mut sight = AtStep { begun: &begun, interpreter, context };
            fuel += running.call(hook, &mut sight, |ctx| {
                Ok(vec![
                    value(ctx, begun.opcode)?,
                    value(ctx, script::name(begun.opcode))?,
                    value(ctx, begun.pc)?,
                    value(ctx, number(begun.gas))?,
                    value(ctx, number(cost))?,
                    value(ctx, begun.depth)?,
                    value(ctx, number(refund))?,
                    value(ctx, error)?,
                ])
            });
        };
        if self.has_step() {
            tell(self, "step", error.as_deref().filter(|_| was_refused));
        }
        if let Some(error) = error.filter(|_| !was_refused) {
            tell(self, "fault", Some(&error));
        }
        fuel
    }

    /// A call begins; returns the fuel that it took.
    pub(in crate::tracer) fn call_begins<DB: Database>(
        &mut self,
        context: &mut VmContext<DB>,
        inputs: &CallInputs,
    ) -> u64 {
        if !self.tells_frames(context) {
            return 0;
        }
        let sent = Some(inputs.call_value());
        let (kind, from, to, sent) = match inputs.scheme {
            CallScheme::Call => ("CALL", inputs.caller, inputs.target_address, sent),
            CallScheme::CallCode => ("CALLCODE", inputs.caller, inputs.bytecode_address, sent),
            CallScheme::DelegateCall => {
                ("DELEGATECALL", inputs.target_address, inputs.bytecode_address, sent)
            }
            CallScheme::StaticCall => ("STATICCALL", inputs.caller, inputs.target_address, None),
        };
        let input = inputs.input.bytes(context);
        self.entered(kind, [from, to], &input, inputs.gas_limit, sent)
    }

    /// A creation begins; returns the fuel that it took.
    pub(in crate::tracer) fn create_begins<DB: Database>(
        &mut self,
        context: &mut VmContext<DB>,
        inputs: &CreateInputs,
    ) -> u64 {
        if !self.tells_frames(context) {
            return 0;
        }
        let caller = context.journaled_state.state.get(&inputs.caller());
        let to = inputs.created_address(caller.map_or(0, |caller| caller.info.nonce));
        let kind = match inputs.scheme() {
            revm::interpreter::CreateScheme::Create2 { .. } => "CREATE2",
            _ => "CREATE",
        };
        let (from, sent) = (inputs.caller(), Some(inputs.value()));
        self.entered(kind, [from, to], inputs.init_code(), inputs.gas_limit(), sent)
    }

    fn entered(
        &mut self,
        kind: &'static str,
        [from, to]: [Address; 2],
        input: &[u8],
        gas: u64,
        sent: Option<U256>,
    ) -> u64 {
        self.fault = None;
        let mut sight = Between(Arc::clone(&self.precompiles));
        self.call("enter", &mut sight, |ctx| {
            Ok(vec![
                value(ctx, kind)?,
                array(ctx, from.as_slice())?,
                array(ctx, to.as_slice())?,
                array(ctx, input)?,
                value(ctx, number(gas))?,
                value(ctx, sent.map(|sent| sent.to_string()))?,
            ])
        }) + input.len() as u64
    }

    /// A call has ended; returns the fuel that it took.
    pub(in crate::tracer) fn call_ends<DB: Database>(
        &mut self,
        context: &VmContext<DB>,
        outcome: &CallOutcome,
    ) -> u64 {
        if self.tells_frames(context) { self.left(&outcome.result) } else { 0 }
    }

    /// A creation has ended; returns the fuel that it took.
    pub(in crate::tracer) fn create_ends<DB: Database>(
        &mut self,
        context: &VmContext<DB>,
        outcome: &CreateOutcome,
    ) -> u64 {
        if self.tells_frames(context) { self.left(&outcome.result) } else { 0 }
    }

    fn left(&mut self, result: &InterpreterResult) -> u64 {
        let fault = self.fault.take();
        let error = match result.result {
            InstructionResult::Revert => Some(REVERTED.to_owned()),
            ended => {
                let fault = fault.map_or((0, 0), |fault| (fault.opcode, fault.stack_len));
                error_of(ended, fault.0, fault.1)
            }
        };
        // A failure takes all that was handed on.
        let used = if result.result.is_ok_or_revert() {
            result.gas.total_gas_spent()
        } else {
            result.gas.limit()
        };
        self.exited(used, &result.output, error.as_deref())
    }

    fn exited(&mut self, used: u64, output: &[u8], error: Option<&str>) -> u64 {
        let mut sight = Between(Arc::clone(&self.precompiles));
        self.call("exit", &mut sight, |ctx| {
            Ok(vec![value(ctx, number(used))?, array(ctx, output)?, value(ctx, error)?])
        }) + output.len() as u64
    }

    /// A contract destroys itself; returns the fuel that it took.
    pub(in crate::tracer) fn selfdestructs(
        &mut self,
        contract: Address,
        heir: Address,
        balance: U256,
    ) -> u64 {
        if !self.engine.as_ref().is_some_and(|engine| engine.has_frames) {
            return 0;
        }
        self.entered("SELFDESTRUCT", [contract, heir], &[], 0, Some(balance))
            + self.exited(0, &[], None)
    }
}

/// Between two frames nothing is to be seen: geth gives neither `log` nor `db` to these hooks.
struct Between(Arc<AddressSet>);

impl Sight for Between {
    fn is_precompile(&self, address: Address) -> bool {
        self.0.contains(&address)
    }
}
