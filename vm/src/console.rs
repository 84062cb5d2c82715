//! Calls of the console, which is what Hardhat's and Foundry's `console.log` comes to: heard here,
//! understood by whoever prints them. Pure.
//!
//! Nothing stands at its address, so that the calls do nothing. Those of frames that are reverted
//! later are heard too: they are what one looks for.

use alloy_primitives::{Address, Bytes, address};
use revm::{
    Database,
    interpreter::{FrameInput, interpreter_action::FrameInit},
};

use crate::{
    limits::{CONSOLE_BYTES_MAX, CONSOLE_CALL_BYTES, CONSOLE_CALL_BYTES_MAX},
    slice::VmContext,
};

/// Where the console is: the ASCII letters of `console.log`.
pub const CONSOLE: Address = address!("0x000000000000000000636F6e736F6c652e6c6f67");

/// Calls of the console.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsoleCalls {
    /// Their inputs in order, each cut after [`CONSOLE_CALL_BYTES_MAX`].
    pub inputs: Vec<Bytes>,
    /// Calls after these, which had no room.
    pub left_out: u64,
}

impl ConsoleCalls {
    /// Returns true if there were no calls.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.inputs.is_empty() && self.left_out == 0
    }
}

/// Who hears them.
#[derive(Debug)]
pub(crate) struct Listener {
    heard: ConsoleCalls,
    bytes_left: usize,
}

impl Listener {
    pub(crate) fn new() -> Self {
        Self { heard: ConsoleCalls::default(), bytes_left: CONSOLE_BYTES_MAX }
    }

    /// Keeps the call that `init` makes if it is one of the console. Quick if it is not, for it is
    /// asked of every call.
    #[inline]
    pub(crate) fn hear<DB: Database>(&mut self, init: &FrameInit, context: &VmContext<DB>) {
        if let FrameInput::Call(call) = &init.frame_input
            && call.bytecode_address == CONSOLE
        {
            self.keep(&call.input.as_bytes(context));
        }
    }

    fn keep(&mut self, input: &[u8]) {
        let input = &input[..input.len().min(CONSOLE_CALL_BYTES_MAX)];
        let bytes = input.len() + CONSOLE_CALL_BYTES;
        // One that has no room is the last, so that those that are kept have no gaps.
        if self.heard.left_out > 0 || bytes > self.bytes_left {
            self.bytes_left = 0;
            self.heard.left_out += 1;
            return;
        }
        self.bytes_left -= bytes;
        self.heard.inputs.push(Bytes::copy_from_slice(input));
    }

    /// Takes what was heard since the last time; the room that it took is not given back.
    pub(crate) fn take(&mut self) -> ConsoleCalls {
        std::mem::take(&mut self.heard)
    }
}
