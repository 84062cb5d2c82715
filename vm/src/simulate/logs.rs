//! The logs of simulated calls as geth numbers them, with those of ether transfers if wanted.
//!
//! Pure. Source: geth `internal/ethapi/logtracer.go`; ERC-7528 for the address. A number, once
//! given, is not given again, though its log be taken back by a revert.

use alloy_primitives::{Address, B256, Bytes, Log, U256, address, b256};
use revm::{
    Database, JournalEntry,
    context::JournalTr,
    handler::{EvmTr, FrameData, FrameResult, ItemOrResult},
    inspector::JournalExt,
    interpreter::{
        CallScheme, CallValue, FrameInput, InstructionResult, InterpreterAction,
        interpreter_action::FrameInit,
    },
};

use crate::{
    block::Observer,
    slice::{ExecutionError, Frames, Machine, Said, VmContext, run_plain},
};

/// Where the logs of transfers seem to come from.
const TRANSFER_ADDRESS: Address = address!("0xeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee");
/// `Transfer(address,address,uint256)`
const TRANSFER_TOPIC: B256 =
    b256!("0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");

/// A log with its number in the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberedLog {
    /// Logs before it in the block, reverted ones too.
    pub number: u64,
    /// The log.
    pub log: Log,
}

/// Watches the frames of a block's calls.
#[derive(Debug, Default)]
pub(crate) struct CallLogs {
    has_transfers: bool,
    /// Numbers given so far in the block.
    count: u64,
    /// What the transaction logged and was not taken back.
    entries: Vec<Entry>,
    /// How many of them are logs of the EVM.
    logs: usize,
    /// `entries` and `logs` as they were before each frame under way.
    frames: Vec<(usize, usize)>,
}

#[derive(Debug)]
enum Entry {
    Log { number: u64 },
    Transfer { number: u64, from: Address, to: Address, value: U256 },
}

impl CallLogs {
    pub(crate) fn new(has_transfers: bool) -> Self {
        Self { has_transfers, ..Self::default() }
    }

    fn number(&mut self) -> u64 {
        self.count += 1;
        self.count - 1
    }

    /// Takes in the logs since the last time; `logs` are there now.
    fn observe(&mut self, logs: usize) {
        while self.logs < logs {
            let number = self.number();
            self.entries.push(Entry::Log { number });
            self.logs += 1;
        }
    }

    fn transfer(&mut self, from: Address, to: Address, value: U256) {
        if self.has_transfers && !value.is_zero() {
            let number = self.number();
            self.entries.push(Entry::Transfer { number, from, to, value });
        }
    }

    fn take_back(&mut self, (entries, logs): (usize, usize)) {
        self.entries.truncate(entries);
        self.logs = logs;
    }
}

impl Observer for CallLogs {
    fn tx_begins(&mut self) {
        self.entries.clear();
        self.frames.clear();
        self.logs = 0;
    }

    fn tx_ends(&mut self, logs: &[Log]) -> Vec<NumberedLog> {
        let mut logs = logs.iter();
        let entries = self.entries.drain(..).filter_map(|entry| match entry {
            Entry::Log { number } => Some(NumberedLog { number, log: logs.next()?.clone() }),
            Entry::Transfer { number, from, to, value } => {
                let topics = vec![TRANSFER_TOPIC, from.into_word(), to.into_word()];
                let data = Bytes::from(value.to_be_bytes_vec());
                let log = Log::new_unchecked(TRANSFER_ADDRESS, topics, data);
                Some(NumberedLog { number, log })
            }
        });
        entries.collect()
    }
}

impl<DB: Database> Frames<DB> for Machine<DB, CallLogs> {
    fn push(&mut self, init: FrameInit) -> Result<Option<FrameResult>, ExecutionError<DB>> {
        let (logs, call) = (self.ctx.journaled_state.logs().len(), sent(&init.frame_input));
        self.inspector.observe(logs);
        let before = (self.inspector.entries.len(), self.inspector.logs);
        match self.frame_init(init)? {
            ItemOrResult::Item(_) => {
                self.inspector.frames.push(before);
                let frame = self.frame_stack.get();
                match (&frame.data, &frame.input) {
                    (FrameData::Create(data), FrameInput::Create(create)) => {
                        let to = data.created_address;
                        self.inspector.transfer(create.caller(), to, create.value());
                    }
                    _ => {
                        if let Some((from, to, value)) = call {
                            self.inspector.transfer(from, to, value);
                        }
                    }
                }
                Ok(None)
            }
            ItemOrResult::Result(result) => {
                if result.interpreter_result().is_ok()
                    && let Some((from, to, value)) = call
                {
                    self.inspector.transfer(from, to, value);
                }
                Ok(Some(result))
            }
        }
    }

    fn run(&mut self, fuel: &mut u64) -> Option<InterpreterAction> {
        run_plain(self, fuel)
    }

    fn carry_out(&mut self, action: InterpreterAction) -> Result<Said, ExecutionError<DB>> {
        self.inspector.observe(self.ctx.journaled_state.logs().len());
        let frame = self.frame_stack.get();
        if let InterpreterAction::Return(result) = &action
            && result.result == InstructionResult::SelfDestruct
        {
            let address = frame.interpreter.input.target_address;
            let (to, value) = bequeathed(&self.ctx, address);
            self.inspector.transfer(address, to, value);
        }
        let said = frame.process_next_action::<_, ExecutionError<DB>>(&mut self.ctx, action)?;
        if let ItemOrResult::Result(result) = &said {
            frame.set_finished(true);
            let before = self.inspector.frames.pop().expect("every frame was pushed");
            if !result.interpreter_result().is_ok() {
                self.inspector.take_back(before);
            }
        }
        Ok(said)
    }
}

/// What a call sends, from whom and to whom. `CALLCODE` sends to itself, which is no transfer.
fn sent(input: &FrameInput) -> Option<(Address, Address, U256)> {
    let FrameInput::Call(call) = input else { return None };
    match call.value {
        CallValue::Transfer(value) if call.scheme == CallScheme::Call => {
            Some((call.caller, call.target_address, value))
        }
        CallValue::Transfer(_) | CallValue::Apparent(_) => None,
    }
}

/// To whom a contract that destroyed itself just now left its balance.
fn bequeathed<DB: Database>(context: &VmContext<DB>, address: Address) -> (Address, U256) {
    match context.journaled_state.journal().last() {
        Some(JournalEntry::AccountDestroyed { address: of, target, had_balance, .. })
            if *of == address =>
        {
            (*target, *had_balance)
        }
        Some(JournalEntry::BalanceTransfer { from, to, balance }) if *from == address => {
            (*to, *balance)
        }
        // To itself: nothing changes, but it is logged.
        _ => {
            let account = context.journaled_state.state.get(&address);
            (address, account.map_or(U256::ZERO, |account| account.info.balance))
        }
    }
}
