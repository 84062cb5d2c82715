//! What a transaction or call did, call by call, as a tree: recorded here, written by whoever
//! prints it. Pure.
//!
//! Recorded at the borders of frames, and after each slice of one, from what the journal has by
//! then: instructions run as fast as ever. Frames that are reverted later are recorded too.

use alloy_primitives::{Address, B256, Bytes, Log, U256};
use revm::{
    Database, JournalEntry,
    handler::FrameResult,
    interpreter::{CallScheme, FrameInput, interpreter_action::FrameInit},
    state::EvmStorageSlot,
};

use crate::{
    limits::{
        TREE_BYTES_MAX, TREE_DATA_BYTES_MAX, TREE_INDENT_BYTES, TREE_ITEM_BYTES, TREE_SLOT_BYTES,
        TREE_SLOTS_PER_CALL_MAX, TREES_BYTES_MAX,
    },
    revert::said,
    slice::VmContext,
};

/// The calls of a transaction or call, as far as they had room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallTree {
    /// What happened, in order.
    pub items: Vec<TreeItem>,
    /// Calls, logs and slots that had no room.
    pub left_out: u64,
}

impl CallTree {
    /// Returns true if nothing was recorded, and nothing left out.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.items.is_empty() && self.left_out == 0
    }

    /// Bytes that it holds, about.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.items.iter().map(TreeItem::size_bytes).sum()
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeItem {
    /// A call began.
    Call(Box<TreeCall>),
    /// The call under way logged something.
    Log(Box<TreeLog>),
    /// The call under way ended.
    End,
}

impl TreeItem {
    fn size_bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Call(call) => {
                    let said = call.end.as_ref().map_or(0, |end| end.said.size_bytes());
                    let slots = call.slots.len() * size_of::<SlotChange>();
                    size_of::<TreeCall>() + call.input.bytes.len() + slots + said
                }
                Self::Log(log) => {
                    let topics = log.topics.len() * size_of::<B256>();
                    size_of::<TreeLog>() + topics + log.data.bytes.len()
                }
                Self::End => 0,
            }
    }
}

/// A call or creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeCall {
    /// How it was made.
    pub kind: TreeKind,
    /// Whose code runs; of a creation, where it creates.
    pub to: Address,
    /// Wei that come with it, or seem to.
    pub value: U256,
    /// Its input; of a creation nothing.
    pub input: Excerpt,
    /// Slots that it changed itself, in the order of their last change.
    pub slots: Vec<SlotChange>,
    /// How it ended; `None` if it was broken off.
    pub end: Option<TreeEnd>,
}

/// How a call was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeKind {
    /// `CALL`, or a transaction.
    Call,
    /// `CALLCODE`.
    CallCode,
    /// `DELEGATECALL`.
    DelegateCall,
    /// `STATICCALL`.
    StaticCall,
    /// `CREATE`, `CREATE2`, or a transaction.
    Create,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEnd {
    /// Gas that it took, its own calls' with it, refunds not taken off.
    pub gas_used: u64,
    /// revm's name of how it ended: `Return`, `Revert`, `OutOfGas`.
    pub status: String,
    /// What it left.
    pub said: Said,
}

/// What a call left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Its output.
    Output(Excerpt),
    /// Code of so many bytes.
    Code(usize),
    /// Why it failed.
    Failure(String),
}

impl Said {
    fn size_bytes(&self) -> usize {
        match self {
            Self::Output(output) => output.bytes.len(),
            Self::Failure(text) => text.len(),
            Self::Code(_) => 0,
        }
    }
}

/// A log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeLog {
    /// Four at most.
    pub topics: Vec<B256>,
    /// The rest.
    pub data: Excerpt,
}

/// A slot that a call changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotChange {
    /// Which.
    pub key: U256,
    /// Its value before the call changed it.
    pub before: U256,
    /// The last that the call gave it.
    pub after: U256,
}

/// The first bytes of something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// [`TREE_DATA_BYTES_MAX`] at most.
    pub bytes: Bytes,
    /// How many there were.
    pub len: usize,
}

impl Excerpt {
    fn new(bytes: &[u8]) -> Self {
        let kept = &bytes[..bytes.len().min(TREE_DATA_BYTES_MAX)];
        Self { bytes: Bytes::copy_from_slice(kept), len: bytes.len() }
    }
}

/// Who records it.
#[derive(Debug)]
pub(crate) struct Recorder {
    tree: CallTree,
    /// The items of the calls under way; `None` for those that had no room.
    open: Vec<Option<usize>>,
    entries_seen: usize,
    /// Of the transaction under way.
    room: usize,
    /// Of those to come.
    room_after: usize,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self {
            tree: CallTree::default(),
            open: Vec::new(),
            entries_seen: 0,
            room: 0,
            room_after: TREES_BYTES_MAX,
        }
    }

    /// A transaction begins; what the last one left, if it was not taken, is dropped.
    pub(crate) fn tx_begins(&mut self) {
        drop(self.take());
        self.room_after += self.room;
        self.room = TREE_BYTES_MAX.min(self.room_after);
        self.room_after -= self.room;
    }

    /// A frame begins.
    pub(crate) fn begins<DB: Database>(&mut self, init: &FrameInit, context: &VmContext<DB>) {
        self.see_all(context);
        let call = match &init.frame_input {
            FrameInput::Call(call) => {
                let (kind, to) = match call.scheme {
                    CallScheme::Call => (TreeKind::Call, call.target_address),
                    CallScheme::StaticCall => (TreeKind::StaticCall, call.target_address),
                    CallScheme::CallCode => (TreeKind::CallCode, call.bytecode_address),
                    CallScheme::DelegateCall => (TreeKind::DelegateCall, call.bytecode_address),
                };
                let input = Excerpt::new(&call.input.as_bytes(context));
                Some((kind, to, call.call_value(), input))
            }
            FrameInput::Create(create) => {
                let caller = context.journaled_state.state.get(&create.caller());
                let nonce = caller.map_or(0, |caller| caller.info.nonce);
                let to = create.created_address(nonce);
                Some((TreeKind::Create, to, create.value(), Excerpt::default()))
            }
            FrameInput::Empty => None,
        };
        let item = call.and_then(|(kind, to, value, input)| {
            let value = match (kind, self.open_call()) {
                // It goes on with its caller's.
                (TreeKind::DelegateCall, Some(caller)) => caller.value,
                _ => value,
            };
            let bytes = 2 * TREE_ITEM_BYTES + input.bytes.len();
            let call = TreeCall { kind, to, value, input, slots: Vec::new(), end: None };
            self.push(TreeItem::Call(Box::new(call)), (2, bytes))
        });
        self.open.push(item);
    }

    /// The frame on top ran for a while, and logged this.
    pub(crate) fn ran<DB: Database>(&mut self, logs: &[Log], context: &VmContext<DB>) {
        for log in logs {
            let topics = log.topics().to_vec();
            let data = Excerpt::new(&log.data.data);
            let lines = topics.len() + 1;
            let bytes = lines * TREE_ITEM_BYTES + data.bytes.len();
            self.push(TreeItem::Log(Box::new(TreeLog { topics, data })), (lines, bytes));
        }
        let journal = &context.journaled_state.inner;
        // Fewer than before while a failed frame is undone.
        let first = self.entries_seen.min(journal.journal.len());
        for entry in &journal.journal[first..] {
            if let JournalEntry::StorageChanged { address, key, had_value } = entry {
                let account = journal.state.get(address);
                let slot = account.and_then(|account| account.storage.get(key));
                let after = slot.map_or(*had_value, EvmStorageSlot::present_value);
                self.changed(SlotChange { key: *key, before: *had_value, after });
            }
        }
        self.see_all(context);
    }

    /// A frame ended, and what it did is undone if it failed.
    pub(crate) fn ends<DB: Database>(&mut self, result: &FrameResult, context: &VmContext<DB>) {
        self.see_all(context);
        let Some(Some(item)) = self.open.pop() else { return };
        let outcome = result.interpreter_result();
        let said = match result {
            _ if !outcome.result.is_ok() => Said::Failure(match &outcome.output[..] {
                [] => format!("EvmError: {:?}", outcome.result),
                output => said(output),
            }),
            FrameResult::Create(_) => Said::Code(outcome.output.len()),
            FrameResult::Call(_) => Said::Output(Excerpt::new(&outcome.output)),
        };
        // Said even where there is no room for it: at most so much for each call that had some.
        self.room = self.room.saturating_sub(said.size_bytes());
        let gas_used = result.gas().total_gas_spent();
        if let TreeItem::Call(call) = &mut self.tree.items[item] {
            if let FrameResult::Create(created) = result
                && let Some(address) = created.address
            {
                call.to = address;
            }
            call.end = Some(TreeEnd { gas_used, status: format!("{:?}", outcome.result), said });
        }
        self.tree.items.push(TreeItem::End);
    }

    /// Takes what was recorded since the last time; calls under way are broken off.
    pub(crate) fn take(&mut self) -> CallTree {
        for _ in self.open.drain(..).flatten() {
            self.tree.items.push(TreeItem::End);
        }
        std::mem::take(&mut self.tree)
    }

    fn see_all<DB: Database>(&mut self, context: &VmContext<DB>) {
        self.entries_seen = context.journaled_state.inner.journal.len();
    }

    /// The call under way, if it had room.
    fn open_call(&mut self) -> Option<&mut TreeCall> {
        match self.tree.items.get_mut((*self.open.last()?)?)? {
            TreeItem::Call(call) => Some(call),
            TreeItem::Log(_) | TreeItem::End => None,
        }
    }

    /// Adds an item of so many lines and bytes, if there is room; what has none is the last, so
    /// that what is kept has no gaps.
    fn push(&mut self, item: TreeItem, (lines, bytes): (usize, usize)) -> Option<usize> {
        if !self.pay(lines * self.open.len() * TREE_INDENT_BYTES + bytes) {
            return None;
        }
        self.tree.items.push(item);
        Some(self.tree.items.len() - 1)
    }

    fn changed(&mut self, change: SlotChange) {
        let depth = self.open.len();
        let Some(call) = self.open_call() else {
            self.tree.left_out += 1;
            return;
        };
        if let Some(at) = call.slots.iter().position(|slot| slot.key == change.key) {
            let before = call.slots.remove(at).before;
            call.slots.push(SlotChange { before, ..change });
        } else if call.slots.len() == TREE_SLOTS_PER_CALL_MAX {
            self.tree.left_out += 1;
        } else if self.pay(depth * TREE_INDENT_BYTES + TREE_SLOT_BYTES)
            && let Some(call) = self.open_call()
        {
            call.slots.push(change);
        }
    }

    /// Takes so much of the room; what finds none is counted.
    fn pay(&mut self, bytes: usize) -> bool {
        if bytes > self.room {
            self.room = 0;
            self.tree.left_out += 1;
            return false;
        }
        self.room -= bytes;
        true
    }
}
