//! One transaction on revm, run in slices: revm's frame loop restated so that it can stop.
//!
//! Pure. Follows `Handler::run` and `Handler::run_exec_loop` of revm 43 step by step; all call
//! frames stay in `evm.frame_stack` and all changes in the journal, so nothing lives on the Rust
//! stack between two slices. The gas floor after each instruction is variant a1 of
//! `vm-state.md` 1.2.
//!
//! # Invariants
//!
//! - X1: result, gas, logs and state are those of an uncut run, at any fuel.
//! - X2: after `cancel` the EVM is as before `begin`.
//! - X3: a slice ends after its fuel plus at most one instruction, or one light precompile.

use revm::{
    Database, Journal,
    context::{
        BlockEnv, CfgEnv, Context, ContextSetters, ContextTr, Evm, JournalTr, LocalContext, TxEnv,
        result::{EVMError, ExecutionResult, HaltReason, ResultGas},
    },
    context_interface::{
        LocalContextTr,
        journaled_state::{JournalCheckpoint, entry::JournalEntryTr},
    },
    handler::{
        EthFrame, EvmTr, FrameResult, Handler, ItemOrResult, MainnetHandler, execution,
        instructions::EthInstructions, post_execution,
    },
    interpreter::{
        FrameInput, GasTracker, InitialAndFloorGas, InstructionResult, Interpreter,
        InterpreterAction,
        interpreter::EthInterpreter,
        interpreter_action::FrameInit,
        interpreter_types::{LoopControl, ReturnData},
    },
    primitives::hardfork::SpecId,
};

use crate::{
    collision::{Search, StorageSearch},
    heavy::{HeavyCall, SlicedPrecompiles},
    limits::{UNDO_FUEL, UNDO_INLINE},
    long::{self, Fault, Progress},
    noted::Notes,
};

/// revm's context with our resumable instructions' state in it.
pub(crate) type VmContext<DB> =
    Context<BlockEnv, TxEnv, CfgEnv, DB, Journal<DB>, Progress, LocalContext>;

/// revm's EVM as we run it; `I` observes it.
pub(crate) type Machine<DB, I> = Evm<
    VmContext<DB>,
    I,
    EthInstructions<EthInterpreter, VmContext<DB>>,
    SlicedPrecompiles,
    EthFrame<EthInterpreter>,
>;

/// What revm reports when a transaction cannot be executed.
pub type ExecutionError<DB> = EVMError<<DB as Database>::Error>;

/// How far a slice came.
#[derive(Debug)]
pub enum Slice {
    /// The fuel is used up.
    More,
    /// A heavy precompile is to be run elsewhere; `provide` its result, then go on.
    Offload(HeavyCall),
    /// The transaction is done; its changes are in the journal.
    Done(ExecutionResult<HaltReason>),
}

/// What follows when a frame has something to say: the call that it makes, or its end.
pub(crate) type Said = ItemOrResult<FrameInit, FrameResult>;

/// The ways to run a frame: plain, observed by the tracer (`trace.rs`), or watched from outside
/// (`simulate/logs.rs`).
pub(crate) trait Frames<DB: Database> {
    /// Pushes the frame; `Some` if it ended at once (precompile, no code, not enough funds).
    fn push(&mut self, init: FrameInit) -> Result<Option<FrameResult>, ExecutionError<DB>>;
    /// Runs instructions of the frame on top until it has something to say, or the fuel is used
    /// up, or a long instruction wants to go on (`None`).
    fn run(&mut self, fuel: &mut u64) -> Option<InterpreterAction>;
    /// Carries out what the frame on top says.
    fn carry_out(&mut self, action: InterpreterAction) -> Result<Said, ExecutionError<DB>>;
}

impl<DB: Database> Frames<DB> for Machine<DB, ()> {
    fn push(&mut self, init: FrameInit) -> Result<Option<FrameResult>, ExecutionError<DB>> {
        match self.frame_init(init)? {
            ItemOrResult::Item(_) => Ok(None),
            ItemOrResult::Result(result) => Ok(Some(result)),
        }
    }

    fn run(&mut self, fuel: &mut u64) -> Option<InterpreterAction> {
        run_plain(self, fuel)
    }

    fn carry_out(&mut self, action: InterpreterAction) -> Result<Said, ExecutionError<DB>> {
        let frame = self.frame_stack.get();
        frame.process_next_action(&mut self.ctx, action).inspect(|said| {
            if said.is_result() {
                frame.set_finished(true);
            }
        })
    }
}

/// Runs the frame on top as nobody observes its instructions.
pub(crate) fn run_plain<DB: Database, I>(
    evm: &mut Machine<DB, I>,
    fuel: &mut u64,
) -> Option<InterpreterAction> {
    run_fuel(
        &mut evm.frame_stack.get().interpreter,
        evm.instruction.instruction_table(),
        evm.instruction.gas_table(),
        &mut evm.ctx,
        fuel,
    )
}

/// Runs instructions until the frame has something to say, or the fuel is used up (`None`).
///
/// Never inlined: the hot loop must be a function of its own to be compiled well.
#[inline(never)]
fn run_fuel<DB: Database>(
    interpreter: &mut Interpreter<EthInterpreter>,
    table: &revm::interpreter::InstructionTable<EthInterpreter, VmContext<DB>>,
    gas_table: &revm::interpreter::instructions::GasTable,
    context: &mut VmContext<DB>,
    fuel: &mut u64,
) -> Option<InterpreterAction> {
    let start = interpreter.gas.remaining();
    let floor = start.saturating_sub(*fuel);
    // A long RETURN has left its action behind already.
    if interpreter.bytecode.action().is_none() {
        let end = loop {
            if let Err(end) = interpreter.step(table, gas_table, context) {
                break end;
            }
            // The only thing that an uncut run does not do: one compare per instruction.
            if interpreter.gas.remaining() < floor {
                *fuel = 0;
                return None;
            }
        };
        if interpreter.bytecode.action().is_none() {
            if end == InstructionResult::Suspend && context.chain.is_in_instruction() {
                *fuel = fuel.saturating_sub(start.saturating_sub(interpreter.gas.remaining()));
                return None;
            }
            context.chain.fault = Fault::last(interpreter);
            interpreter.halt(end);
        }
    }
    let action = interpreter.take_next_action();
    *fuel = fuel.saturating_sub(gas_used(start, interpreter, &action));
    Some(action)
}

/// Goes on with what the frame on top waits for; false if that is only the end of the frame.
fn go_on_waiting<DB: StorageSearch, I>(
    evm: &mut Machine<DB, I>,
    fuel: &mut u64,
) -> Result<bool, ExecutionError<DB>> {
    let frame = evm.frame_stack.get();
    if let Some(search) = evm.ctx.chain.search {
        search.go_on(frame, &mut evm.ctx, fuel).map_err(EVMError::Database)?;
        return Ok(true);
    }
    let is_in_instruction = evm.ctx.chain.is_in_instruction();
    if is_in_instruction {
        let table = evm.instruction.instruction_table();
        long::go_on(&mut frame.interpreter, &mut evm.ctx, table, fuel);
    }
    Ok(is_in_instruction)
}

/// Undoes what a frame that failed did, newest first; true: at most a little is left to undo, or
/// the frame did not fail.
///
/// As the first part of revm's `checkpoint_revert`, which would undo all of it in one step.
pub(crate) fn undo_some<DB: Database>(
    context: &mut VmContext<DB>,
    checkpoint: JournalCheckpoint,
    (action, fuel): (&InterpreterAction, &mut u64),
) -> bool {
    let InterpreterAction::Return(result) = action else { return true };
    if result.result.is_ok() {
        return true;
    }
    let journal = &mut context.journaled_state.inner;
    let has_empty_accounts = !journal.cfg.spec.is_enabled_in(SpecId::SPURIOUS_DRAGON);
    while journal.journal.len() > checkpoint.journal_i + UNDO_INLINE {
        if *fuel == 0 {
            return false;
        }
        *fuel = fuel.saturating_sub(UNDO_FUEL);
        let entry = journal.journal.pop().expect("it is longer than the checkpoint");
        let transient = Some(&mut journal.transient_storage);
        entry.revert(&mut journal.state, transient, !has_empty_accounts);
    }
    true
}

/// Gas that a frame begins with.
fn gas_given(frame: &FrameInput) -> u64 {
    match frame {
        FrameInput::Call(call) => call.gas_limit,
        FrameInput::Create(create) => create.gas_limit(),
        FrameInput::Empty => 0,
    }
}

/// Gas that the frame itself used since `start`: what it forwards to a child is not used yet.
pub(crate) fn gas_used(
    start: u64,
    interpreter: &Interpreter<EthInterpreter>,
    action: &InterpreterAction,
) -> u64 {
    let forwarded = match action {
        InterpreterAction::NewFrame(frame) => gas_given(frame),
        InterpreterAction::Return(_) => 0,
    };
    start.saturating_sub(interpreter.gas.remaining()).saturating_sub(forwarded)
}

/// Gas that is left to the frame on top, if there is one.
fn frame_gas_left<DB: Database, I>(evm: &mut Machine<DB, I>) -> Option<u64> {
    evm.frame_stack.index()?;
    Some(evm.frame_stack.get().interpreter.gas.remaining())
}

/// Gas of the transaction while its frames run.
struct Running {
    initial: InitialAndFloorGas,
    gas: GasTracker,
    is_system: bool,
}

/// One transaction in flight on a [`Machine`].
pub(crate) struct Sliced {
    running: Option<Running>,
    /// The frame to push next. The memory it shares belongs to the same machine.
    pending: Option<FrameInit>,
    /// The pending frame waits for the result of a heavy precompile.
    is_offloaded: bool,
    /// Stops after every instruction.
    is_stepping: bool,
    /// Instructions ended while stepping.
    steps: u64,
    /// Gas of the transactions that have ended.
    gas_ended: u64,
    /// Gas that is left to the frames below the one on top: of each with those below it.
    gas_below: Vec<u64>,
    /// Who hears what executions say, of one transaction after another.
    pub(crate) notes: Option<Box<Notes>>,
}

type MachineHandler<DB, I> =
    MainnetHandler<Machine<DB, I>, ExecutionError<DB>, EthFrame<EthInterpreter>>;

impl Sliced {
    pub(crate) const fn new() -> Self {
        Self {
            running: None,
            pending: None,
            is_offloaded: false,
            is_stepping: false,
            steps: 0,
            gas_ended: 0,
            gas_below: Vec::new(),
            notes: None,
        }
    }

    /// Returns true while a transaction is in flight.
    pub(crate) const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Validates `tx`, takes its fee, loads its access list and prepares its first frame. Returns
    /// the result if that is all there is to do.
    ///
    /// # Errors
    ///
    /// The transaction is invalid, or the database failed; the machine is as before.
    pub(crate) fn begin<DB: Database, I>(
        &mut self,
        evm: &mut Machine<DB, I>,
        tx: TxEnv,
    ) -> Result<Option<ExecutionResult<HaltReason>>, ExecutionError<DB>> {
        assert!(self.running.is_none(), "one transaction at a time");
        evm.ctx.set_tx(tx);
        evm.ctx.chain.clear();
        if let Some(notes) = &mut self.notes {
            notes.begins(false);
        }
        let begun = self.begin_validated(evm).map_err(|error| self.give_up(evm, error))?;
        self.count_gas(begun.as_ref());
        Ok(begun)
    }

    /// As `Handler::run_without_catch_error` up to the first frame.
    fn begin_validated<DB: Database, I>(
        &mut self,
        evm: &mut Machine<DB, I>,
    ) -> Result<Option<ExecutionResult<HaltReason>>, ExecutionError<DB>> {
        let mut handler = MachineHandler::<DB, I>::default();
        let initial = handler.validate(evm)?;
        let mut gas = handler.tx_gas(evm, &initial);
        let pre = handler.pre_execution(evm, &mut gas)?;
        let refund = pre.as_ref().map_or(0, |pre| pre.eip7702_refund);
        let refund = i64::try_from(refund).expect("a refund is far below 2^63");
        evm.ctx.chain.authorization_refund = refund;
        if let Some(pre) = pre {
            match handler.first_frame_input(evm, &mut gas)? {
                Some(first) => {
                    // EIP-2780: the runtime gas phase is complete.
                    evm.ctx.journal_mut().checkpoint_commit();
                    self.running = Some(Running { initial, gas, is_system: false });
                    self.pending = Some(first);
                    return Ok(None);
                }
                None => execution::runtime_oog_unwind(&mut evm.ctx, pre.checkpoint)?,
            }
        }
        let mut result = handler.runtime_oog_result(evm, &initial, &mut gas)?;
        let result_gas = handler.post_execution(evm, &mut result, initial, refund)?;
        handler.execution_result(evm, result, result_gas).map(Some)
    }

    /// Prepares a system call, as `Handler::run_system_call`: no validation, no fee, no reward.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub(crate) fn begin_system<DB: Database, I>(
        &mut self,
        evm: &mut Machine<DB, I>,
        tx: TxEnv,
    ) -> Result<(), ExecutionError<DB>> {
        assert!(self.running.is_none(), "one transaction at a time");
        evm.ctx.set_tx(tx);
        evm.ctx.chain.clear();
        if let Some(notes) = &mut self.notes {
            notes.begins(true);
        }
        let mut handler = MachineHandler::<DB, I>::default();
        let initial = InitialAndFloorGas::new(0, 0);
        let mut gas = handler.tx_gas(evm, &initial);
        let _checkpoint = evm.ctx.journal_mut().checkpoint();
        let first = match handler.first_frame_input(evm, &mut gas) {
            Ok(first) => first.expect("a call without value charges nothing before its frame"),
            Err(error) => return Err(self.give_up(evm, error)),
        };
        evm.ctx.journal_mut().checkpoint_commit();
        self.running = Some(Running { initial, gas, is_system: true });
        self.pending = Some(first);
        Ok(())
    }

    /// Runs for about `fuel` gas; what is left of it stays in `fuel`.
    ///
    /// # Errors
    ///
    /// The database failed; the transaction is gone and the machine as before it.
    pub(crate) fn resume<DB: StorageSearch, I>(
        &mut self,
        evm: &mut Machine<DB, I>,
        fuel: &mut u64,
    ) -> Result<Slice, ExecutionError<DB>>
    where
        Machine<DB, I>: Frames<DB>,
    {
        assert!(self.running.is_some() && !self.is_offloaded, "begin, or provide, first");
        self.run_frames(evm, fuel).map_err(|error| self.give_up(evm, error))
    }

    /// As `Handler::run_exec_loop`.
    fn run_frames<DB: StorageSearch, I>(
        &mut self,
        evm: &mut Machine<DB, I>,
        fuel: &mut u64,
    ) -> Result<Slice, ExecutionError<DB>>
    where
        Machine<DB, I>: Frames<DB>,
    {
        let mut next = self.pending.take();
        loop {
            let result = if let Some(init) = next.take() {
                if evm.precompiles.may_be_heavy(&init)
                    && let Some(call) = evm.precompiles.heavy_call(&evm.ctx, &init)
                {
                    self.pending = Some(init);
                    self.is_offloaded = true;
                    return Ok(Slice::Offload(call));
                }
                if let Some(notes) = &mut self.notes {
                    notes.frame_begins(&init, &evm.ctx);
                }
                let left = frame_gas_left(evm);
                let Some(result) = evm.push(init)? else {
                    if let Some(left) = left {
                        self.gas_below.push(self.gas_below.last().unwrap_or(&0) + left);
                    }
                    if let Some(search) = Search::before(evm.frame_stack.get(), &evm.ctx) {
                        evm.ctx.chain.search = Some(search);
                    }
                    continue;
                };
                evm.precompiles.forget();
                *fuel = fuel.saturating_sub(result.gas().total_gas_spent());
                result
            } else {
                if *fuel == 0 {
                    return Ok(Slice::More);
                }
                if evm.ctx.chain.is_waiting() {
                    // What else it may wait for is the search before a frame.
                    let is_in_instruction = evm.ctx.chain.is_in_instruction();
                    if go_on_waiting(evm, fuel)? {
                        let has_ended = is_in_instruction && !evm.ctx.chain.is_waiting();
                        self.steps += u64::from(self.is_stepping && has_ended);
                        continue;
                    }
                }
                let Some(action) = self.run_top(evm, fuel) else { continue };
                let checkpoint = evm.frame_stack.get().checkpoint;
                if !undo_some(&mut evm.ctx, checkpoint, (&action, fuel)) {
                    evm.ctx.chain.ending = Some(action);
                    continue;
                }
                match evm.carry_out(action)? {
                    ItemOrResult::Item(init) => {
                        // Nothing can read it before the call's end replaces it; kept, a deep chain
                        // of calls would hold as many buffers as frames.
                        let returned = &mut evm.frame_stack.get().interpreter.return_data;
                        if !returned.buffer().is_empty() {
                            returned.clear();
                        }
                        next = Some(init);
                        continue;
                    }
                    ItemOrResult::Result(result) => result,
                }
            };
            if let Some(notes) = &mut self.notes {
                notes.frame_ends(&result, &evm.ctx);
            }
            if evm.frame_stack.index().is_none() {
                // A transfer, or a transaction to a precompile: there is no frame to return to.
                return self.end(evm, result).map(Slice::Done);
            }
            if let Some(result) = evm.frame_return_result(result)? {
                return self.end(evm, result).map(Slice::Done);
            }
            self.gas_below.truncate(evm.frame_stack.index().unwrap_or(0));
        }
    }

    /// Runs the frame on top, or takes the end that it has come to already.
    fn run_top<DB: Database, I>(
        &mut self,
        evm: &mut Machine<DB, I>,
        fuel: &mut u64,
    ) -> Option<InterpreterAction>
    where
        Machine<DB, I>: Frames<DB>,
    {
        let action = match evm.ctx.chain.ending.take() {
            None if self.is_stepping => {
                let bytecode = &mut evm.frame_stack.get().interpreter.bytecode;
                // A long RETURN has ended, and was counted.
                let is_over = bytecode.action().is_some();
                // No fuel: it ends after the first instruction, all of which cost gas.
                *fuel = 0;
                let action = evm.run(&mut 0);
                self.steps += u64::from(!is_over && !evm.ctx.chain.is_in_instruction());
                action
            }
            None => evm.run(fuel),
            ending => ending,
        };
        if let Some(notes) = &mut self.notes {
            notes.frame_ran(&evm.ctx);
        }
        action
    }

    /// Whether every instruction ends its slice; the next may begin with any fuel above 0.
    pub(crate) const fn set_stepping(&mut self, is_stepping: bool) {
        self.is_stepping = is_stepping;
    }

    /// Instructions that ended while stepping.
    pub(crate) const fn steps(&self) -> u64 {
        self.steps
    }

    /// Gas that the transactions so far have used; of the one in flight what is gone by now,
    /// without refunds. System calls do not count.
    pub(crate) fn gas_used<DB: Database, I>(&self, evm: &mut Machine<DB, I>) -> u64 {
        if self.running.as_ref().is_none_or(|running| running.is_system) {
            return self.gas_ended;
        }
        let pending = self.pending.as_ref().map_or(0, |init| gas_given(&init.frame_input));
        let below = self.gas_below.last().copied().unwrap_or(0);
        let left = pending.saturating_add(below).saturating_add(frame_gas_left(evm).unwrap_or(0));
        self.gas_ended.saturating_add(evm.ctx.tx.gas_limit.saturating_sub(left))
    }

    fn count_gas(&mut self, ended: Option<&ExecutionResult<HaltReason>>) {
        let gas = ended.map_or(0, ExecutionResult::tx_gas_used);
        self.gas_ended = self.gas_ended.saturating_add(gas);
    }

    /// Hands in what the heavy call came to; the pending frame takes it as its own.
    pub(crate) fn provided(&mut self) {
        assert!(self.is_offloaded, "nothing is offloaded");
        self.is_offloaded = false;
    }

    fn end<DB: Database, I>(
        &mut self,
        evm: &mut Machine<DB, I>,
        mut result: FrameResult,
    ) -> Result<ExecutionResult<HaltReason>, ExecutionError<DB>> {
        let mut handler = MachineHandler::<DB, I>::default();
        let refund = evm.ctx.chain.authorization_refund;
        let Running { initial, mut gas, is_system } =
            self.running.take().expect("frames run for a transaction");
        self.gas_below.clear();
        handler.last_frame_result(evm, &mut result, &mut gas)?;
        let result_gas: ResultGas = if is_system {
            post_execution::build_result_gas(false, result.gas(), initial)
        } else {
            handler.post_execution(evm, &mut result, initial, refund)?
        };
        let result = handler.execution_result(evm, result, result_gas)?;
        self.count_gas(Some(&result).filter(|_| !is_system));
        Ok(result)
    }

    /// Undoes the transaction after `error`, as `Handler::catch_error`.
    fn give_up<DB: Database, I>(
        &mut self,
        evm: &mut Machine<DB, I>,
        error: ExecutionError<DB>,
    ) -> ExecutionError<DB> {
        self.cancel(evm);
        error
    }

    /// Drops the transaction and everything it did.
    pub(crate) fn cancel<DB: Database, I>(&mut self, evm: &mut Machine<DB, I>) {
        let (notes, steps, gas_ended) = (self.notes.take(), self.steps, self.gas_ended);
        *self = Self { steps, gas_ended, notes, ..Self::new() };
        evm.ctx.chain.clear();
        evm.precompiles.forget();
        evm.ctx.local_mut().clear();
        evm.ctx.journal_mut().discard_tx();
        evm.frame_stack.clear();
        *evm.ctx.error() = Ok(());
    }
}
