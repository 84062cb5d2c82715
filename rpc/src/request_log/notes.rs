//! What the executor notes of a block, until the block is written into the log. Pure.

use std::collections::VecDeque;

use alloy_primitives::B256;
use evenkeel_vm::{
    BlockNotes, ConsoleLine, Failure, TxNote,
    limits::{CONSOLE_BYTES_MAX, FAILURE_BYTES_MAX, NOTED_TXS_MAX, TREES_BYTES_MAX},
};

use crate::limits::LOG_NOTES_BYTES_MAX;

// Any block's notes have room, and whatever is shown of it is noted.
const _: () = assert!(CONSOLE_BYTES_MAX + TREES_BYTES_MAX < LOG_NOTES_BYTES_MAX / 2);
const _: () = assert!(NOTED_TXS_MAX * (FAILURE_BYTES_MAX + 100) < LOG_NOTES_BYTES_MAX / 2);
const _: () = assert!(crate::limits::LOG_TXS_MAX <= NOTED_TXS_MAX);

/// Notes in the order of their blocks' execution.
#[derive(Debug, Default)]
pub(super) struct Notes {
    blocks: VecDeque<BlockNotes>,
    bytes: usize,
}

impl Notes {
    /// Keeps the notes of a block; the oldest give way where there is no room. Blocks that never
    /// become final leave theirs here until then.
    pub(super) fn keep(&mut self, notes: BlockNotes) {
        self.bytes += size_bytes(&notes);
        self.blocks.push_back(notes);
        while self.bytes > LOG_NOTES_BYTES_MAX
            && let Some(oldest) = self.blocks.pop_front()
        {
            self.bytes -= size_bytes(&oldest);
        }
    }

    /// Takes those of a block; none if it has none.
    pub(super) fn take(&mut self, block: B256) -> Vec<TxNote> {
        let found = self.blocks.iter().position(|notes| notes.hash == block);
        let Some(notes) = found.and_then(|at| self.blocks.remove(at)) else { return Vec::new() };
        self.bytes -= size_bytes(&notes);
        notes.txs
    }
}

fn size_bytes(notes: &BlockNotes) -> usize {
    let of_tx = |note: &TxNote| {
        let console = note.noted.console.lines.iter().map(ConsoleLine::size_bytes).sum::<usize>();
        let failure = match &note.failure {
            Some(Failure::Told(reason)) => reason.len(),
            Some(Failure::Silent) | None => 0,
        };
        size_of::<TxNote>() + console + note.noted.calls.size_bytes() + failure
    };
    size_of::<BlockNotes>() + notes.txs.iter().map(of_tx).sum::<usize>()
}
