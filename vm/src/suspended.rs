//! An EVM with an execution that may be stopped in its middle, as one value that can be moved to
//! another thread.
//!
//! # Invariants
//!
//! - M1: nothing that the EVM shares within itself (memory buffer, code pointer) leaves it.
//! - M2: a panic in a slice drops the whole EVM; the value left behind answers nothing more.
#![allow(unsafe_code, reason = "one `unsafe impl Send`; style.md C9 names this file")]

use std::sync::Arc;

use alloy_primitives::{Address, map::AddressSet};
use revm::{
    Database, Journal, MainContext,
    bytecode::opcode,
    context::{
        BlockEnv, CfgEnv, Context, Evm, JournalTr, LocalContext, TxEnv, result::ExecutionResult,
    },
    context_interface::{FrameStack, context::ContextError, transaction::AuthorizationTr},
    handler::{PrecompileProvider, instructions::EthInstructions},
    interpreter::{
        Instruction,
        interpreter::EthInterpreter,
        interpreter_types::{Jumps, LoopControl},
    },
    primitives::hardfork::SpecId,
    state::EvmState,
};

use crate::{
    collision::StorageSearch,
    constantinople,
    grow::{self, growing},
    heavy::{HeavyResult, MovedPrecompiles, SlicedPrecompiles},
    long::{self, Fault, Progress},
    noted::{Noted, Notes, Noting},
    overlay::Overlay,
    slice::{ExecutionError, Frames, Machine, Slice, Sliced, VmContext},
};

/// An EVM over `DB`, observed by `I`, and the transaction that it is in the middle of, if any.
pub struct Suspended<DB: Database, I = ()> {
    /// None after a panic in a slice (M2).
    inner: Option<Box<Inner<DB, I>>>,
}

struct Inner<DB: Database, I> {
    evm: Machine<DB, I>,
    sliced: Sliced,
}

// SAFETY: two kinds of fields keep `Machine` and `Sliced` from being `Send`. (1) `Rc`s of the one
// memory buffer: `ctx.local`, the interpreters of the frames (pooled ones too) and
// `Sliced::pending` hold clones of the same `Rc`, made by this machine from its own `LocalContext`;
// all of them are fields of `Inner`, so they move together, and no public function hands one out
// (M1: fields are private; inspectors get `&mut Interpreter` but are ours or revm-inspectors'
// tracer, which copies bytes and keeps no memory handle). (2) The instruction pointer of
// `ExtBytecode`: it points into the heap allocation of the reference-counted `Bytecode` that the
// same interpreter owns; moving the owner does not move the bytes, which never change. Everything
// else is `Send` if `DB` and `I` are: the journal, environments and results are plain data, the
// instruction table is function pointers. There is no `Sync` impl.
unsafe impl<DB: Database + Send, I: Send> Send for Suspended<DB, I> where DB::Error: Send {}

/// What the argument above takes for granted of the other parts; it does not compile otherwise.
const fn other_parts_are_send<DB: Database<Error: Send> + Send, I: Send>() {
    const fn is_send<T: Send>() {}
    is_send::<(Journal<DB>, BlockEnv, TxEnv, CfgEnv, Progress, SlicedPrecompiles, I)>();
    is_send::<EthInstructions<EthInterpreter, VmContext<DB>>>();
    is_send::<ContextError<DB::Error>>();
}
const _: () = other_parts_are_send::<Overlay, ()>();

/// Where an execution is: for those who look at it, nothing depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// Call frames under way; 0 before the first and after the last.
    pub depth: usize,
    /// Place of the next instruction in the code of the frame on top.
    pub pc: Option<usize>,
    /// The next instruction.
    pub opcode: Option<u8>,
    /// Gas that is left to the frame on top.
    pub gas_left: Option<u64>,
    /// Instructions that were stepped through one by one.
    pub steps: u64,
    /// Gas of all transactions that have run: of those that have ended what their receipts would
    /// say, of the one under way what is gone by now.
    pub gas_used: u64,
}

impl Whereabouts {
    /// So many instructions were stepped through, and another one is next: what comes after the
    /// last one is no place to stop at.
    pub(crate) const fn has_stepped(&self, steps: u64) -> bool {
        self.steps >= steps && self.opcode.is_some()
    }

    /// The same, where so much was counted before.
    pub(crate) const fn after(self, before: Self) -> Self {
        let steps = before.steps + self.steps;
        Self { steps, gas_used: before.gas_used.saturating_add(self.gas_used), ..self }
    }
}

/// How an EVM is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Fork, chain id, limits, checks.
    pub cfg: CfgEnv,
    /// The block that transactions run in.
    pub block: BlockEnv,
    /// Precompile calls priced above this are offloaded; `u64::MAX`: none.
    pub heavy_gas: u64,
    /// `SSTORE` by EIP-1283: Constantinople, as which revm knows only Petersburg.
    pub is_net_metered: bool,
    /// The precompiles, if they are not those of the fork.
    pub precompiles: Option<Arc<MovedPrecompiles>>,
}

impl<DB: Database, I> Suspended<DB, I> {
    /// An EVM that runs nothing yet.
    pub fn new(mut setup: Setup, db: DB, inspector: I) -> Self {
        let spec = setup.cfg.spec;
        let mut instruction = EthInstructions::new_mainnet_with_spec(spec);
        let table = instruction.instruction_table_mut();
        let long = [
            (opcode::KECCAK256, Instruction::new(long::keccak256::<DB>)),
            (opcode::LOG0, Instruction::new(long::log::<0, DB>)),
            (opcode::LOG1, Instruction::new(long::log::<1, DB>)),
            (opcode::LOG2, Instruction::new(long::log::<2, DB>)),
            (opcode::LOG3, Instruction::new(long::log::<3, DB>)),
            (opcode::LOG4, Instruction::new(long::log::<4, DB>)),
            (opcode::RETURN, Instruction::new(long::ret::<DB>)),
            (opcode::MLOAD, Instruction::new(grow::mload::<DB>)),
            (opcode::MSTORE, Instruction::new(grow::mstore::<DB>)),
            (opcode::MSTORE8, Instruction::new(growing::<{ opcode::MSTORE8 }, DB>)),
            (opcode::MCOPY, Instruction::new(growing::<{ opcode::MCOPY }, DB>)),
            (opcode::CALLDATACOPY, Instruction::new(growing::<{ opcode::CALLDATACOPY }, DB>)),
            (opcode::CODECOPY, Instruction::new(growing::<{ opcode::CODECOPY }, DB>)),
            (opcode::RETURNDATACOPY, Instruction::new(growing::<{ opcode::RETURNDATACOPY }, DB>)),
            (opcode::EXTCODECOPY, Instruction::new(growing::<{ opcode::EXTCODECOPY }, DB>)),
            (opcode::CREATE, Instruction::new(growing::<{ opcode::CREATE }, DB>)),
            (opcode::CREATE2, Instruction::new(growing::<{ opcode::CREATE2 }, DB>)),
            (opcode::CALL, Instruction::new(growing::<{ opcode::CALL }, DB>)),
            (opcode::CALLCODE, Instruction::new(growing::<{ opcode::CALLCODE }, DB>)),
            (opcode::DELEGATECALL, Instruction::new(growing::<{ opcode::DELEGATECALL }, DB>)),
            (opcode::STATICCALL, Instruction::new(growing::<{ opcode::STATICCALL }, DB>)),
        ];
        for (opcode, instruction) in long {
            table[usize::from(opcode)] = instruction;
        }
        if spec.is_enabled_in(SpecId::BYZANTIUM) {
            table[usize::from(opcode::REVERT)] = Instruction::new(long::revert::<DB>);
        }
        if setup.is_net_metered {
            table[usize::from(opcode::SSTORE)] = Instruction::new(constantinople::sstore::<DB>);
            constantinople::set_gas(&mut setup.cfg.gas_params);
        }
        let ctx = Context::mainnet()
            .with_db(db)
            .with_cfg(setup.cfg)
            .with_block(setup.block)
            .with_chain(Progress::default())
            .with_local(LocalContext::default());
        let precompiles = SlicedPrecompiles::new(spec, setup.heavy_gas, setup.precompiles);
        // Eight preallocated frames would take 50 KiB per execution.
        let frame_stack = FrameStack::new();
        let evm = Evm { ctx, inspector, instruction, precompiles, frame_stack };
        Self { inner: Some(Box::new(Inner { evm, sliced: Sliced::new() })) }
    }

    /// Starts a transaction; returns its result if it is done at once.
    ///
    /// # Errors
    ///
    /// The transaction is invalid or the database failed; nothing has changed.
    ///
    /// # Panics
    ///
    /// If a transaction is running, or an earlier slice panicked.
    pub fn begin(&mut self, tx: TxEnv) -> Result<Option<ExecutionResult>, ExecutionError<DB>> {
        self.whole(|inner| inner.sliced.begin(&mut inner.evm, tx))
    }

    /// Starts a system call.
    ///
    /// # Errors
    ///
    /// The database failed; nothing has changed.
    ///
    /// # Panics
    ///
    /// As [`Self::begin`].
    pub fn begin_system(&mut self, tx: TxEnv) -> Result<(), ExecutionError<DB>> {
        self.whole(|inner| inner.sliced.begin_system(&mut inner.evm, tx))
    }

    /// Goes on for about `fuel` gas; what is left of it stays in `fuel`.
    ///
    /// # Errors
    ///
    /// The database failed; the transaction is undone.
    ///
    /// # Panics
    ///
    /// If no transaction is running, it waits for [`Self::provide`], or an earlier slice panicked.
    #[allow(private_bounds, reason = "implemented for `()` and the tracers; not for others")]
    pub fn resume(&mut self, fuel: &mut u64) -> Result<Slice, ExecutionError<DB>>
    where
        DB: StorageSearch,
        Machine<DB, I>: Frames<DB>,
    {
        self.whole(|inner| inner.sliced.resume(&mut inner.evm, fuel))
    }

    /// Hands in the result of the offloaded call.
    ///
    /// # Panics
    ///
    /// If nothing is offloaded, the call was stopped, or an earlier slice panicked.
    pub fn provide(&mut self, result: HeavyResult) {
        self.whole(|inner| {
            inner.sliced.provided();
            inner.evm.precompiles.provide(result);
        });
    }

    /// Drops the running transaction and everything it did.
    ///
    /// # Panics
    ///
    /// If an earlier slice panicked.
    pub fn cancel(&mut self) {
        self.whole(|inner| inner.sliced.cancel(&mut inner.evm));
    }

    /// Takes the changes of the transactions since the last time.
    ///
    /// # Panics
    ///
    /// If a transaction is running, or an earlier slice panicked.
    pub fn finalize(&mut self) -> EvmState {
        self.whole(|inner| {
            assert!(!inner.sliced.is_running(), "a transaction is running");
            inner.evm.ctx.journaled_state.finalize()
        })
    }

    /// Number of call frames under way.
    ///
    /// # Panics
    ///
    /// If an earlier slice panicked.
    pub fn depth(&self) -> usize {
        self.get().evm.frame_stack.index().map_or(0, |index| index + 1)
    }

    /// Whether every instruction ends its slice.
    pub(crate) fn set_stepping(&mut self, is_stepping: bool) {
        self.get_mut().sliced.set_stepping(is_stepping);
    }

    /// Where the execution is between two slices.
    pub(crate) fn whereabouts(&mut self) -> Whereabouts {
        let depth = self.depth();
        let inner = self.get_mut();
        let (steps, gas_used) = (inner.sliced.steps(), inner.sliced.gas_used(&mut inner.evm));
        let mut here = Whereabouts { depth, steps, gas_used, ..Whereabouts::default() };
        if depth > 0 {
            let interpreter = &inner.evm.frame_stack.get().interpreter;
            here.gas_left = Some(interpreter.gas.remaining());
            // A frame that is being undone has no next one either.
            if inner.evm.ctx.chain.ending.is_none() && !interpreter.bytecode.is_end() {
                here.pc = Some(interpreter.bytecode.pc());
                here.opcode = Some(interpreter.bytecode.opcode());
            }
        }
        here
    }

    /// Returns true while a transaction is in flight.
    pub fn is_running(&self) -> bool {
        self.get().sliced.is_running()
    }

    /// Whether the next transactions' senders may have code: impersonated ones may (EIP-3607).
    pub(crate) fn allow_code_at_sender(&mut self, is_allowed: bool) {
        self.get_mut().evm.ctx.cfg.disable_eip3607 = is_allowed;
    }

    /// Whether the next transactions may offer less than the base fee.
    pub(crate) fn allow_any_fee(&mut self, is_allowed: bool) {
        self.get_mut().evm.ctx.cfg.disable_base_fee = is_allowed;
    }

    /// What the next transactions pay for a unit of blob gas, where there are blobs.
    pub(crate) fn set_blob_price(&mut self, wei: u128) {
        if let Some(blob) = &mut self.get_mut().evm.ctx.block.blob_excess_gas_and_price {
            blob.blob_gasprice = wei;
        }
    }

    /// What is noted from here on.
    pub(crate) fn note(&mut self, noting: Noting) {
        self.get_mut().sliced.notes = Notes::new(noting);
    }

    /// Records no more calls from here on.
    pub(crate) fn end_calls(&mut self) {
        if let Some(notes) = &mut self.get_mut().sliced.notes {
            notes.end_calls();
        }
    }

    /// Takes what was noted since the last time.
    pub(crate) fn take_noted(&mut self) -> Noted {
        self.get_mut().sliced.notes.as_mut().map(|notes| notes.take()).unwrap_or_default()
    }

    /// What stopped the last frame that failed.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.get().evm.ctx.chain.fault
    }

    /// Who signed the authorizations of the last transaction (EIP-7702), valid or not.
    pub(crate) fn authorities(&self) -> Vec<Address> {
        let signed = self.get().evm.ctx.tx.authorization_list.iter();
        signed.filter_map(AuthorizationTr::authority).collect()
    }

    /// Who observes.
    pub(crate) fn inspector_mut(&mut self) -> &mut I {
        &mut self.get_mut().evm.inspector
    }

    /// Where precompiles are, and who observes.
    pub(crate) fn precompiles_and_inspector(&mut self) -> (&AddressSet, &mut I) {
        let evm = &mut self.get_mut().evm;
        (PrecompileProvider::<VmContext<DB>>::warm_addresses(&evm.precompiles), &mut evm.inspector)
    }

    pub(crate) fn db_mut(&mut self) -> &mut DB {
        &mut self.get_mut().evm.ctx.journaled_state.database
    }

    /// The database and the inspector; a running transaction is dropped.
    ///
    /// # Panics
    ///
    /// If an earlier slice panicked.
    pub fn into_parts(mut self) -> (DB, I) {
        let inner = self.inner.take().expect("M2: no slice panicked before");
        (inner.evm.ctx.journaled_state.database, inner.evm.inspector)
    }

    fn get(&self) -> &Inner<DB, I> {
        self.inner.as_deref().expect("M2: no slice panicked before")
    }

    fn get_mut(&mut self) -> &mut Inner<DB, I> {
        self.inner.as_deref_mut().expect("M2: no slice panicked before")
    }

    /// M2: the EVM is out of `self` while `work` runs, so that unwinding drops it.
    fn whole<T>(&mut self, work: impl FnOnce(&mut Inner<DB, I>) -> T) -> T {
        let mut inner = self.inner.take().expect("M2: no slice panicked before");
        let result = work(&mut inner);
        self.inner = Some(inner);
        result
    }
}
