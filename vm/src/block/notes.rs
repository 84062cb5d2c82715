//! What transactions say beside their receipts: to the console, and why they failed. Pure.

use alloy_primitives::B256;
use revm::context::result::ExecutionResult;

use super::{observer::Observer, run::BlockRun};
use crate::{
    console::ConsoleCalls,
    limits::NOTED_FAILURES_MAX,
    long::Fault,
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
    /// Its calls of the console.
    pub console: ConsoleCalls,
    /// Why it failed, if it did and is among the first [`NOTED_FAILURES_MAX`].
    pub failure: Option<Failure>,
}

impl BlockRun {
    /// Notes from here on why transactions fail, and if `has_console` what they say to the console;
    /// of all of them together as much as of one call.
    pub fn note_txs(&mut self, has_console: bool) {
        self.notes = Some(Vec::new());
        self.evm().listen(has_console);
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
        let (index, console) = (self.body.txs.len(), self.evm().take_console());
        let is_noted = index < NOTED_FAILURES_MAX;
        let failure = is_noted.then(|| Failure::of(result, fault)).flatten();
        if let Some(notes) = &mut self.notes
            && (failure.is_some() || !console.is_empty())
        {
            notes.push(TxNote { index, console, failure });
        }
    }
}
