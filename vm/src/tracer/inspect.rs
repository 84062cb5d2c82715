//! The hooks of a [`Tracer`]: each counts what it records, then hands on. Pure.

use alloy_primitives::{Address, Log, U256};
use revm::{
    Database, Inspector,
    bytecode::opcode,
    context::JournalTr,
    interpreter::{
        CallInputs, CallOutcome, CreateInputs, CreateOutcome, Interpreter, interpreter_types::Jumps,
    },
};
use revm_inspectors::tracing::DebugInspector;

use super::{
    Part, Tracer,
    calls::{Calls, End, created_as},
    flat::Flat,
    survey::Survey,
    vm_trace::VmTrace,
};
use crate::{
    limits::{TRACE_CALL_BYTES, TRACE_STEP_BYTES},
    slice::VmContext,
    trace::Observer,
};

impl Part {
    /// Whether it keeps every call with its input and output.
    fn keeps_calls(&self) -> bool {
        match self {
            Self::Operations(_) => true,
            Self::Geth(inspector) => matches!(&**inspector, DebugInspector::FourByte(_)),
            Self::Steps(_)
            | Self::Calls(_)
            | Self::VmTrace(_)
            | Self::Flat(_)
            | Self::Nobody
            | Self::OpcodeGas(_)
            | Self::Preimages(_)
            | Self::Script(_)
            | Self::Js(_)
            | Self::AccessList { .. } => false,
        }
    }
}

impl Tracer {
    fn count(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.cost = self.cost.saturating_add(bytes as u64);
    }

    fn tell_scripts(&mut self, mut tell: impl FnMut(&mut super::js::Running) -> u64) {
        for part in &mut self.parts {
            if let Part::Js(script) = part {
                self.cost = self.cost.saturating_add(tell(script));
            }
        }
    }

    fn tell_calls(&mut self, mut tell: impl FnMut(&mut Calls) -> usize) {
        for part in &mut self.parts {
            if let Part::Calls(calls) = part {
                self.cost = self.cost.saturating_add(tell(calls) as u64);
            }
        }
    }

    /// What surveys counts what it keeps.
    fn tell_flat(&mut self, mut tell: impl FnMut(&mut Flat) -> usize) {
        if let Some(flat) = self.survey.as_mut().and_then(|survey| survey.flat.as_mut()) {
            let bytes = tell(flat);
            self.count(bytes);
        }
        if let Some(Part::Flat(flat)) = self.parts.first_mut() {
            self.cost = self.cost.saturating_add(tell(flat) as u64);
        }
    }

    fn tell_steps(&mut self, end: impl FnOnce() -> End) {
        if let Some(Part::Steps(log)) = self.parts.first_mut() {
            self.cost = self.cost.saturating_add(log.call_ends(end) as u64);
        }
    }

    fn tell_vm_trace(&mut self, tell: impl FnOnce(&mut VmTrace)) {
        if let Some(Part::VmTrace(trace)) = self.parts.first_mut() {
            tell(trace);
        }
    }

    fn tell_survey(&mut self, tell: impl FnOnce(&mut Survey)) {
        if let Some(survey) = &mut self.survey {
            tell(survey);
        }
    }

    fn count_calls(&mut self, bytes: usize) {
        let keeping = self.parts.iter().filter(|part| part.keeps_calls()).count();
        self.count(keeping * bytes);
    }
}

macro_rules! each {
    ($parts:expr, $context:ty, $method:ident($($argument:expr),*)) => {
        for part in $parts {
            match part {
                Part::Steps(_)
                | Part::Calls(_)
                | Part::VmTrace(_)
                | Part::Flat(_)
                | Part::Preimages(_)
                | Part::Script(_)
                | Part::Js(_)
                | Part::Nobody => {}
                Part::Geth(one) => {
                    let _nothing = Inspector::<$context>::$method(&mut **one, $($argument),*);
                }
                Part::OpcodeGas(one) => {
                    let _nothing = Inspector::<$context>::$method(one, $($argument),*);
                }
                Part::Operations(one) => {
                    let _nothing = Inspector::<$context>::$method(one, $($argument),*);
                }
                Part::AccessList { inspector: one, .. } => {
                    let _nothing = Inspector::<$context>::$method(one, $($argument),*);
                }
            }
        }
    };
}

impl<DB: Database> Inspector<VmContext<DB>> for Tracer {
    fn initialize_interp(&mut self, interpreter: &mut Interpreter, context: &mut VmContext<DB>) {
        if let Some(Part::VmTrace(trace)) = self.parts.first_mut() {
            self.cost += trace.code_begins(interpreter) as u64;
        }
        each!(&mut self.parts, VmContext<DB>, initialize_interp(interpreter, context));
    }

    fn step(&mut self, interpreter: &mut Interpreter, context: &mut VmContext<DB>) {
        // No code is no instruction, though the interpreter stops at one.
        if interpreter.bytecode.is_empty() {
            return;
        }
        let mut bytes = 0;
        for part in &mut self.parts {
            match part {
                Part::Steps(log) => self.cost += log.step(interpreter, context) as u64,
                Part::VmTrace(trace) => self.cost += trace.step(interpreter) as u64,
                Part::Geth(one) => one.step(interpreter, context),
                Part::OpcodeGas(one) => one.step(interpreter, context),
                Part::Preimages(one) => self.cost += one.step(interpreter) as u64,
                Part::Script(one) => bytes += one.step(interpreter, context),
                Part::Js(one) => self.cost += one.step(interpreter, context),
                Part::Calls(calls) => self.cost += calls.step(interpreter, context) as u64,
                Part::Flat(_) | Part::Operations(_) | Part::Nobody => {}
                Part::AccessList { inspector, accesses, .. } => {
                    *accesses += usize::from(may_access(interpreter.bytecode.opcode()));
                    inspector.step(interpreter, context);
                }
            }
        }
        self.count(bytes);
    }

    fn step_end(&mut self, interpreter: &mut Interpreter, context: &mut VmContext<DB>) {
        if interpreter.bytecode.is_empty() {
            return;
        }
        let mut bytes = 0;
        for part in &mut self.parts {
            match part {
                Part::Steps(log) => {
                    let (kept, fuel) = log.step_end(interpreter, context);
                    bytes += kept;
                    self.cost += fuel as u64;
                }
                Part::VmTrace(trace) => self.cost += trace.step_end(interpreter) as u64,
                Part::Geth(one) => one.step_end(interpreter, context),
                Part::OpcodeGas(one) => one.step_end(interpreter, context),
                Part::Preimages(one) => {
                    let (kept, fuel) = one.step_end(interpreter);
                    bytes += kept;
                    self.cost += fuel as u64;
                }
                Part::Script(one) => one.step_end(interpreter),
                Part::Js(one) => self.cost += one.step_end(interpreter, context),
                Part::Calls(_)
                | Part::Flat(_)
                | Part::Operations(_)
                | Part::AccessList { .. }
                | Part::Nobody => {}
            }
        }
        self.count(bytes);
    }

    fn log(&mut self, context: &mut VmContext<DB>, log: Log) {
        self.count_calls(log.data.data.len() + TRACE_STEP_BYTES);
        self.tell_calls(|calls| calls.logs(&log));
        each!(&mut self.parts, VmContext<DB>, log(context, log.clone()));
    }

    fn log_full(&mut self, interpreter: &mut Interpreter, context: &mut VmContext<DB>, log: Log) {
        self.count_calls(log.data.data.len() + TRACE_STEP_BYTES);
        self.tell_calls(|calls| calls.logs(&log));
        each!(&mut self.parts, VmContext<DB>, log_full(interpreter, context, log.clone()));
    }

    fn call(
        &mut self,
        context: &mut VmContext<DB>,
        inputs: &mut CallInputs,
    ) -> Option<CallOutcome> {
        // The place of a call in the tree is as long as it is deep.
        let depth = context.journaled_state.depth() * size_of::<usize>();
        self.count_calls(TRACE_CALL_BYTES + inputs.input.len() + depth);
        self.tell_scripts(|script| script.call_begins(context, inputs));
        self.tell_calls(|calls| calls.call_begins(context, inputs));
        self.tell_flat(|flat| flat.call_begins(context, inputs));
        self.tell_vm_trace(VmTrace::call_begins);
        self.tell_survey(Survey::begins);
        each!(&mut self.parts, VmContext<DB>, call(context, inputs));
        None
    }

    fn call_end(
        &mut self,
        context: &mut VmContext<DB>,
        inputs: &CallInputs,
        outcome: &mut CallOutcome,
    ) {
        self.count_calls(outcome.result.output.len());
        self.tell_scripts(|script| script.call_ends(context, outcome));
        self.tell_steps(|| End::new(&outcome.result, context.chain.fault));
        self.tell_calls(|calls| calls.call_ends(context, outcome));
        self.tell_flat(|flat| flat.call_ends(context, outcome));
        self.tell_vm_trace(|trace| trace.call_ends(outcome.result.result));
        self.tell_survey(|survey| survey.ends(outcome.result.result));
        each!(&mut self.parts, VmContext<DB>, call_end(context, inputs, outcome));
    }

    fn create(
        &mut self,
        context: &mut VmContext<DB>,
        inputs: &mut CreateInputs,
    ) -> Option<CreateOutcome> {
        let depth = context.journaled_state.depth() * size_of::<usize>();
        self.count_calls(TRACE_CALL_BYTES + inputs.init_code().len() + depth);
        self.tell_scripts(|script| script.create_begins(context, inputs));
        self.tell_calls(|calls| calls.create_begins(context, inputs));
        self.tell_flat(|flat| flat.create_begins(context, inputs));
        self.tell_vm_trace(VmTrace::call_begins);
        self.tell_survey(Survey::begins);
        each!(&mut self.parts, VmContext<DB>, create(context, inputs));
        None
    }

    fn create_end(
        &mut self,
        context: &mut VmContext<DB>,
        inputs: &CreateInputs,
        outcome: &mut CreateOutcome,
    ) {
        self.count_calls(outcome.result.output.len());
        self.tell_scripts(|script| script.create_ends(context, outcome));
        let status = created_as(context, inputs, outcome);
        self.tell_steps(|| End { status, ..End::new(&outcome.result, context.chain.fault) });
        self.tell_calls(|calls| calls.create_ends(context, inputs, outcome));
        self.tell_flat(|flat| flat.create_ends(context, inputs, outcome));
        self.tell_vm_trace(|trace| trace.call_ends(status));
        self.tell_survey(|survey| survey.ends(status));
        each!(&mut self.parts, VmContext<DB>, create_end(context, inputs, outcome));
    }

    fn selfdestruct(&mut self, contract: Address, target: Address, value: U256) {
        self.count_calls(TRACE_CALL_BYTES);
        self.tell_scripts(|script| script.selfdestructs(contract, target, value));
        self.tell_calls(|calls| {
            calls.selfdestructs(contract, target, value);
            0
        });
        self.tell_flat(|flat| {
            flat.selfdestructs(contract, target, value);
            0
        });
        each!(&mut self.parts, VmContext<DB>, selfdestruct(contract, target, value));
    }
}

/// Whether the access list may grow with the instruction.
fn may_access(opcode: u8) -> bool {
    matches!(
        opcode,
        opcode::SLOAD
            | opcode::SSTORE
            | opcode::EXTCODECOPY
            | opcode::EXTCODEHASH
            | opcode::EXTCODESIZE
            | opcode::BALANCE
            | opcode::SELFDESTRUCT
            | opcode::DELEGATECALL
            | opcode::CALL
            | opcode::STATICCALL
            | opcode::CALLCODE
    )
}

impl Observer for Tracer {
    fn take_cost(&mut self) -> u64 {
        std::mem::take(&mut self.cost)
    }
}
