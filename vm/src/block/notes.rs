//! What transactions say beside their receipts, and why they failed. Pure.

use alloy_primitives::B256;
use revm::context::result::ExecutionResult;

use super::{observer::Observer, run::BlockRun};
use crate::{
    limits::NOTED_TXS_MAX,
    long::Fault,
    noted::{Noted, Noting},
    overlay::Overlay,
    revert::Failure,
    slice::{Frames, Machine},
};

/// What the transactions of a block say beside their receipts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockNotes {
    /// Hash of the block.
    pub hash: B256,
    /// Of those that say something, in order.
    pub txs: Vec<TxNote>,
}

/// What one of them says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxNote {
    /// Its place in the block.
    pub index: usize,
    /// What was heard of it; its calls only if it is among the first [`NOTED_TXS_MAX`].
    pub noted: Noted,
    /// Why it failed, if it did and is among them too.
    pub failure: Option<Failure>,
}

impl BlockRun {
    /// Notes from here on why transactions fail, and what `noting` asks for.
    pub fn note_txs(&mut self, noting: Noting) {
        self.notes = Some(Vec::new());
        self.evm().note(noting);
    }

    /// What was noted, in order.
    pub fn take_notes(&mut self) -> Vec<TxNote> {
        self.notes.take().unwrap_or_default()
    }
}

impl<I: Observer> BlockRun<I>
where
    Machine<Overlay, I>: Frames<Overlay>,
{
    /// Notes what the transaction that ended as `result` says.
    pub(super) fn note(&mut self, result: &ExecutionResult, fault: Option<Fault>) {
        if self.notes.is_none() {
            return;
        }
        let (index, noted) = (self.body.txs.len(), self.evm().take_noted());
        let is_noted = index < NOTED_TXS_MAX;
        if index + 1 == NOTED_TXS_MAX {
            self.evm().end_calls();
        }
        let failure = is_noted.then(|| Failure::of(result, fault)).flatten();
        if let Some(notes) = &mut self.notes
            && (failure.is_some() || !noted.is_empty())
        {
            notes.push(TxNote { index, noted, failure });
        }
    }
}
