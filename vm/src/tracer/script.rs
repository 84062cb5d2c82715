//! geth's tracers that are JavaScript there, by name: `eth/tracers/js/internal/tracers`. Pure.
//!
//! They see every instruction that is begun. As there, members of an object come in the order in
//! which they were first seen. Deviation: where an instruction has too few operands, the script
//! fails on geth and the trace with it; here the instruction is passed over.

use std::fmt::Write as _;

use alloy_primitives::{Address, Bytes, KECCAK256_EMPTY, U256, hex, map::HashMap};
use revm::{
    Database,
    bytecode::opcode::{self, OpCode},
    context::{
        BlockEnv, JournalTr, TxEnv,
        result::{ExecutionResult, HaltReason, ResultAndState},
    },
    interpreter::{
        InstructionResult, Interpreter,
        interpreter_types::{Jumps, MemoryTr as _},
    },
    state::AccountInfo,
};
use serde_json::value::RawValue;

use super::{call_legacy::Calls, evmdis::Evmdis, prestate_legacy::Prestate};
use crate::{
    error::{Halt, OpcodeName},
    long::Fault,
    overlay::Overlay,
    slice::VmContext,
};

/// Bytes of a counter with its key (guess).
const COUNTER_BYTES: usize = 96;

/// One of the scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    Noop,
    OpCount,
    /// How often so many instructions followed each other.
    Grams(usize),
    FourByte,
    Evmdis,
    Calls,
    Prestate,
}

impl Script {
    /// The one that geth has under this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "noopTracerLegacy" => Self::Noop,
            "opcountTracer" => Self::OpCount,
            "unigramTracer" => Self::Grams(1),
            "bigramTracer" => Self::Grams(2),
            "trigramTracer" => Self::Grams(3),
            "4byteTracerLegacy" => Self::FourByte,
            "evmdisTracer" => Self::Evmdis,
            "callTracerLegacy" => Self::Calls,
            "prestateTracerLegacy" => Self::Prestate,
            _ => return None,
        })
    }

    /// It, before the first instruction.
    pub(super) fn run(self) -> Running {
        match self {
            Self::Noop => Running::Noop,
            Self::OpCount => Running::Count(0),
            Self::Grams(len) => Running::Grams(Grams { len, ..Grams::default() }),
            Self::FourByte => Running::FourByte(Counters::default()),
            Self::Evmdis => Running::Evmdis(Box::default()),
            Self::Calls => Running::Calls(Box::default()),
            Self::Prestate => Running::Prestate(Box::default()),
        }
    }
}

/// A transaction that has ended.
#[derive(Clone, Copy)]
pub(super) struct Ended<'a> {
    pub(super) tx: &'a TxEnv,
    pub(super) block: &'a BlockEnv,
    pub(super) after: &'a ResultAndState<HaltReason>,
    pub(super) fault: Option<Fault>,
    /// The state before it.
    pub(super) overlay: &'a Overlay,
}

impl Ended<'_> {
    /// geth's words for why it failed, if it did.
    pub(super) fn error(&self) -> Option<String> {
        match &self.after.result {
            ExecutionResult::Success { .. } => None,
            ExecutionResult::Revert { .. } => Some(REVERTED.to_owned()),
            ExecutionResult::Halt { reason, .. } => {
                Some(Halt { reason: reason.clone(), fault: self.fault }.to_string())
            }
        }
    }

    /// What of the price of its gas the fee recipient gets, which scripts take for the price.
    pub(super) fn tip(&self) -> u128 {
        let above = self.tx.gas_price.saturating_sub(u128::from(self.block.basefee));
        self.tx.gas_priority_fee.unwrap_or(self.tx.gas_price).min(above)
    }
}

pub(super) const REVERTED: &str = "execution reverted";

/// A script under way.
pub(super) enum Running {
    Noop,
    Count(u64),
    Grams(Grams),
    FourByte(Counters<String>),
    Evmdis(Box<Evmdis>),
    Calls(Box<Calls>),
    Prestate(Box<Prestate>),
}

impl Running {
    /// Before an instruction; returns the bytes recorded.
    pub(super) fn step<DB: Database>(
        &mut self,
        interpreter: &Interpreter,
        context: &mut VmContext<DB>,
    ) -> usize {
        let (opcode, depth) = (interpreter.bytecode.opcode(), context.journaled_state.depth());
        match self {
            Self::Noop => 0,
            Self::Count(count) => {
                *count += 1;
                0
            }
            Self::Grams(grams) => grams.step(opcode, depth),
            Self::FourByte(ids) => called(interpreter, context).map_or(0, |id| ids.count(id)),
            Self::Evmdis(evmdis) => evmdis.step(interpreter, depth),
            Self::Calls(calls) => calls.step(interpreter, context),
            Self::Prestate(prestate) => prestate.step(interpreter, context),
        }
    }

    /// After an instruction.
    pub(super) fn step_end(&mut self, interpreter: &mut Interpreter) {
        match self {
            Self::Evmdis(evmdis) => evmdis.step_end(interpreter),
            Self::Calls(calls) => calls.step_end(interpreter),
            Self::Noop
            | Self::Count(_)
            | Self::Grams(_)
            | Self::FourByte(_)
            | Self::Prestate(_) => {}
        }
    }

    /// What it says of the transaction.
    pub(super) fn result(self, ended: &Ended<'_>) -> Result<Box<RawValue>, serde_json::Error> {
        let text = match self {
            Self::Noop => "{}".to_owned(),
            Self::Count(count) => count.to_string(),
            Self::Grams(grams) => grams.result(),
            Self::FourByte(mut ids) => {
                if let Some((id, rest)) = ended.tx.data.split_at_checked(4) {
                    ids.count(selector(id, rest.len()));
                }
                ids.result(Clone::clone)
            }
            Self::Evmdis(evmdis) => evmdis.result(),
            Self::Calls(calls) => calls.result(ended),
            Self::Prestate(prestate) => prestate.result(ended),
        };
        RawValue::from_string(text)
    }
}

/// Counters in the order in which they began.
pub(super) struct Counters<K> {
    places: HashMap<K, usize>,
    counts: Vec<(K, u64)>,
}

impl<K> Default for Counters<K> {
    fn default() -> Self {
        Self { places: HashMap::default(), counts: Vec::new() }
    }
}

impl<K: Clone + Eq + std::hash::Hash> Counters<K> {
    /// Counts one more of a key; returns the bytes recorded.
    fn count(&mut self, key: K) -> usize {
        if let Some(&place) = self.places.get(&key) {
            self.counts[place].1 += 1;
            return 0;
        }
        self.places.insert(key.clone(), self.counts.len());
        self.counts.push((key, 1));
        COUNTER_BYTES
    }

    /// As an object. Keys need no escape.
    fn result(&self, name: impl Fn(&K) -> String) -> String {
        let mut text = "{".to_owned();
        for (nth, (key, count)) in self.counts.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            write!(text, r#"{comma}"{}":{count}"#, name(key)).expect("memory takes text");
        }
        text + "}"
    }
}

/// Instructions that followed each other at one depth.
#[derive(Default)]
pub(super) struct Grams {
    /// How many are looked at together.
    len: usize,
    counters: Counters<[Option<u8>; 3]>,
    /// Those before; none at the beginning of a depth.
    last: [Option<u8>; 2],
    last_depth: usize,
}

impl Grams {
    fn step(&mut self, opcode: u8, depth: usize) -> usize {
        let [before, last] = self.last;
        let op = Some(opcode);
        let is_new_depth = std::mem::replace(&mut self.last_depth, depth) != depth;
        match self.len {
            1 => self.counters.count([None, None, op]),
            2 => {
                self.last = [None, op];
                if is_new_depth { 0 } else { self.counters.count([None, last, op]) }
            }
            // The first instruction at a depth is not even remembered.
            _ if is_new_depth => {
                self.last = [None; 2];
                0
            }
            _ => {
                self.last = [last, op];
                self.counters.count([before, last, op])
            }
        }
    }

    fn result(&self) -> String {
        self.counters.result(|key| {
            let names = key[3 - self.len..].iter();
            names.map(|op| op.map(name).unwrap_or_default()).collect::<Vec<_>>().join("-")
        })
    }
}

/// geth's name of an instruction.
pub(super) fn name(opcode: u8) -> String {
    match OpCode::new(opcode) {
        Some(known) => known.as_str().to_owned(),
        None => OpcodeName(opcode).to_string(),
    }
}

/// An account as it is now, without making it warm. What a call of nothing has only touched is not
/// there.
pub(super) fn account<DB: Database>(
    context: &mut VmContext<DB>,
    address: Address,
) -> Result<Option<AccountInfo>, DB::Error> {
    let journal = &mut context.journaled_state;
    match journal.state.get(&address) {
        Some(account) if account.is_loaded_as_not_existing() && account.info.is_empty() => Ok(None),
        Some(account) => Ok(Some(account.info.clone())),
        None => journal.db_mut().basic(address),
    }
}

/// How long the code of an account is now, without making it warm.
pub(super) fn code_len<DB: Database>(
    context: &mut VmContext<DB>,
    address: Address,
) -> Result<usize, DB::Error> {
    match account(context, address)? {
        Some(AccountInfo { code: Some(code), .. }) => Ok(code.len()),
        Some(there) if there.code_hash != KECCAK256_EMPTY => {
            Ok(context.journaled_state.db_mut().code_by_hash(there.code_hash)?.len())
        }
        Some(_) | None => Ok(0),
    }
}

/// The value of a slot, as [`account`].
pub(super) fn slot<DB: Database>(
    context: &mut VmContext<DB>,
    address: Address,
    key: U256,
) -> Result<U256, DB::Error> {
    let journal = &mut context.journaled_state;
    let there = journal.state.get(&address);
    let is_new = there.is_some_and(revm::state::Account::is_created);
    match there.and_then(|there| there.storage.get(&key)) {
        Some(slot) => Ok(slot.present_value()),
        None if is_new => Ok(U256::ZERO),
        None => journal.db_mut().storage(address, key),
    }
}

/// Whether the instruction failed before it was paid for and executed: then its error is seen with
/// the step, and nothing else of it. In a static call geth refuses to execute a log and `TSTORE`,
/// and to let anything else that writes be paid for.
pub(super) fn is_refused(ended: InstructionResult, opcode: u8) -> bool {
    use InstructionResult as R;
    match ended {
        R::OutOfGas
        | R::MemoryOOG
        | R::MemoryLimitOOG
        | R::InvalidOperandOOG
        | R::ReentrancySentryOOG
        | R::StackUnderflow
        | R::StackOverflow => true,
        _ => is_priced(ended, opcode),
    }
}

/// Whether it failed for something that geth finds out with its price, and calls out of gas.
pub(super) fn is_priced(ended: InstructionResult, opcode: u8) -> bool {
    use InstructionResult as R;
    match ended {
        R::CallNotAllowedInsideStatic | R::CreateInitCodeSizeLimit => true,
        R::StateChangeDuringStaticCall => {
            !matches!(opcode, opcode::LOG0..=opcode::LOG4 | opcode::TSTORE)
        }
        _ => false,
    }
}

/// What the instruction calls with which selector, if it calls a contract with one.
fn called<DB: Database>(interpreter: &Interpreter, context: &VmContext<DB>) -> Option<String> {
    let input = match interpreter.bytecode.opcode() {
        opcode::CALL | opcode::CALLCODE => 3,
        opcode::DELEGATECALL | opcode::STATICCALL => 2,
        _ => return None,
    };
    let operand = |nth| interpreter.stack.peek(nth).ok();
    let to = Address::from_word(operand(1)?.into());
    if context.journaled_state.precompile_addresses().contains(&to) {
        return None;
    }
    let rest = small(operand(input + 1)?)?.checked_sub(4)?;
    let id = memory(interpreter, operand(input)?, U256::from(4));
    Some(selector(&id, rest))
}

fn selector(id: &[u8], rest: usize) -> String {
    format!("0x{}-{rest}", hex::encode(id))
}

fn small(operand: U256) -> Option<usize> {
    usize::try_from(operand).ok()
}

/// Bytes of memory, with zeros for what is beyond it. Nothing where no memory can be.
pub(super) fn memory(interpreter: &Interpreter, offset: U256, len: U256) -> Bytes {
    let (Some(offset), Some(len)) = (small(offset), small(len)) else { return Bytes::new() };
    if len > crate::limits::MEMORY_BYTES_MAX {
        return Bytes::new();
    }
    let mut bytes = vec![0; len];
    let there = interpreter.memory.size().saturating_sub(offset).min(len);
    if there > 0 {
        bytes[..there].copy_from_slice(&interpreter.memory.slice_len(offset, there));
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what follows what is counted as geth's scripts do, over changes of depth.
    /// Source: the scripts, by hand.
    #[test]
    fn grams_are_counted_at_one_depth() {
        let steps = [(0x60, 1), (0x01, 1), (0x60, 1), (0xf1, 1), (0x00, 2), (0x50, 1), (0x0c, 1)];
        let expected = [
            r#"{"PUSH1":2,"ADD":1,"CALL":1,"STOP":1,"POP":1,"opcode 0xc not defined":1}"#,
            r#"{"PUSH1-ADD":1,"ADD-PUSH1":1,"PUSH1-CALL":1,"POP-opcode 0xc not defined":1}"#,
            r#"{"--ADD":1,"-ADD-PUSH1":1,"ADD-PUSH1-CALL":1,"--opcode 0xc not defined":1}"#,
        ];
        for (len, expected) in (1..).zip(expected) {
            let mut grams = Grams { len, ..Grams::default() };
            for (opcode, depth) in steps {
                grams.step(opcode, depth);
            }
            assert_eq!(grams.result(), expected);
        }
    }
}
