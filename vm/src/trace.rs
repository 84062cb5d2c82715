//! Frames run under a tracer, in slices: revm's `inspect_instructions` restated so that it
//! can stop between two instructions.
//!
//! Pure. The tracer sees exactly the hooks of an uncut run, in the same order.

use revm::{
    Database, Inspector, JournalEntry,
    context::JournalTr,
    handler::{FrameResult, ItemOrResult},
    inspector::{InspectorEvmTr, JournalExt},
    interpreter::{
        FrameInput, InstructionResult, Interpreter, InterpreterAction, interpreter::EthInterpreter,
        interpreter_action::FrameInit, interpreter_types::LoopControl,
    },
};
use revm_inspectors::tracing::TracingInspector;

use crate::{
    long::Fault,
    slice::{ExecutionError, Frames, Machine, Said, VmContext, gas_used},
};

/// An inspector whose work is charged to the execution that it observes.
pub(crate) trait Observer {
    /// Fuel (in gas) that its work took since it was last asked.
    fn take_cost(&mut self) -> u64;
}

impl Observer for TracingInspector {
    fn take_cost(&mut self) -> u64 {
        0
    }
}

impl<DB: Database, I: Observer + Inspector<VmContext<DB>>> Frames<DB> for Machine<DB, I> {
    fn push(&mut self, init: FrameInit) -> Result<Option<FrameResult>, ExecutionError<DB>> {
        match self.inspect_frame_init(init)? {
            ItemOrResult::Item(_) => Ok(None),
            ItemOrResult::Result(result) => Ok(Some(result)),
        }
    }

    fn carry_out(&mut self, action: InterpreterAction) -> Result<Said, ExecutionError<DB>> {
        let frame = self.frame_stack.get();
        let mut said = frame.process_next_action::<_, ExecutionError<DB>>(&mut self.ctx, action)?;
        if let ItemOrResult::Result(result) = &mut said {
            observe_end(&mut self.ctx, &mut self.inspector, &frame.input, result);
            frame.set_finished(true);
        }
        Ok(said)
    }

    fn run(&mut self, fuel: &mut u64) -> Option<InterpreterAction> {
        let interpreter = &mut self.frame_stack.get().interpreter;
        let (context, tracer) = (&mut self.ctx, &mut self.inspector);
        let start = interpreter.gas.remaining();
        let mut floor = start.saturating_sub(*fuel);
        let mut observing = tracer.take_cost();
        let mut journal_len = None;
        if let Some(logs) = context.chain.step_end_due.take() {
            observe_logs(interpreter, context, tracer, logs);
            tracer.step_end(interpreter, context);
        }
        // A long RETURN has left its action behind already.
        while !interpreter.bytecode.is_end() {
            tracer.step(interpreter, context);
            if interpreter.bytecode.is_end() {
                break;
            }
            journal_len = Some(context.journaled_state.journal().len());
            let logs = context.journaled_state.logs().len();
            let (table, gas) = (self.instruction.instruction_table(), self.instruction.gas_table());
            if let Err(end) = interpreter.step(table, gas, context)
                && interpreter.bytecode.action().is_none()
            {
                if end == InstructionResult::Suspend && context.chain.is_in_instruction() {
                    context.chain.step_end_due = Some(logs);
                    let used = start.saturating_sub(interpreter.gas.remaining());
                    *fuel = fuel.saturating_sub(used.saturating_add(observing));
                    return None;
                }
                context.chain.fault = Fault::last(interpreter);
                interpreter.halt(end);
            }
            observe_logs(interpreter, context, tracer, logs);
            tracer.step_end(interpreter, context);
            if interpreter.bytecode.is_end() {
                break;
            }
            let cost = tracer.take_cost();
            observing = observing.saturating_add(cost);
            floor = floor.saturating_add(cost);
            if interpreter.gas.remaining() < floor {
                *fuel = 0;
                return None;
            }
        }
        let action = interpreter.take_next_action();
        *fuel =
            fuel.saturating_sub(gas_used(start, interpreter, &action).saturating_add(observing));
        if let (InterpreterAction::Return(result), Some(from)) = (&action, journal_len)
            && result.result == InstructionResult::SelfDestruct
        {
            observe_selfdestruct(context, tracer, from);
        }
        Some(action)
    }
}

fn observe_logs<DB: Database>(
    interpreter: &mut Interpreter<EthInterpreter>,
    context: &mut VmContext<DB>,
    tracer: &mut impl Inspector<VmContext<DB>>,
    from: usize,
) {
    if context.journaled_state.logs().len() == from {
        return;
    }
    let logs = context.journaled_state.logs()[from..].to_vec();
    for log in logs {
        tracer.log_full(interpreter, context, log);
    }
}

fn observe_selfdestruct<DB: Database>(
    context: &mut VmContext<DB>,
    tracer: &mut impl Inspector<VmContext<DB>>,
    from: usize,
) {
    let entries = context.journaled_state.journal().get(from..);
    if let Some(
        JournalEntry::AccountDestroyed { address, target, had_balance: balance, .. }
        | JournalEntry::BalanceTransfer { from: address, to: target, balance, .. },
    ) = entries.and_then(<[JournalEntry]>::last)
    {
        tracer.selfdestruct(*address, *target, *balance);
    }
}

fn observe_end<DB: Database>(
    context: &mut VmContext<DB>,
    tracer: &mut impl Inspector<VmContext<DB>>,
    input: &FrameInput,
    result: &mut FrameResult,
) {
    match (&mut *result, input) {
        (FrameResult::Call(outcome), FrameInput::Call(call)) => {
            tracer.call_end(context, call, outcome);
        }
        (FrameResult::Create(outcome), FrameInput::Create(create)) => {
            tracer.create_end(context, create, outcome);
        }
        _ => unreachable!("a frame ends as what it began as"),
    }
    tracer.frame_end(context, input, result);
}
