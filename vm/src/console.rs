//! What contracts say to whoever reads the log: calls of the console, which is what Hardhat's and
//! Foundry's `console.log` comes to, and events of ds-test. Heard here, understood by whoever
//! prints them. Pure.
//!
//! Nothing stands at the console's address, so that the calls do nothing. Frames that are reverted
//! later are heard too: they are what one looks for.

use std::sync::LazyLock;

use alloy_primitives::{Address, B256, Bytes, Log, address, keccak256};
use revm::{
    Database,
    interpreter::{FrameInput, interpreter_action::FrameInit},
};

use crate::{
    limits::{CONSOLE_BYTES_MAX, CONSOLE_CALL_BYTES, CONSOLE_CALL_BYTES_MAX},
    slice::VmContext,
};

/// Bytes before the arguments of a call.
const SELECTOR_BYTES: usize = 4;

/// Where the console is: the ASCII letters of `console.log`.
pub const CONSOLE: Address = address!("0x000000000000000000636F6e736F6c652e6c6f67");

/// The events of ds-test; nothing in them is indexed.
pub const TEST_EVENTS: [&str; 22] = [
    "log(string)",
    "logs(bytes)",
    "log_address(address)",
    "log_bytes32(bytes32)",
    "log_int(int256)",
    "log_uint(uint256)",
    "log_bytes(bytes)",
    "log_string(string)",
    "log_array(uint256[])",
    "log_array(int256[])",
    "log_array(address[])",
    "log_named_address(string,address)",
    "log_named_bytes32(string,bytes32)",
    "log_named_decimal_int(string,int256,uint256)",
    "log_named_decimal_uint(string,uint256,uint256)",
    "log_named_int(string,int256)",
    "log_named_uint(string,uint256)",
    "log_named_bytes(string,bytes)",
    "log_named_string(string,string)",
    "log_named_array(string,uint256[])",
    "log_named_array(string,int256[])",
    "log_named_array(string,address[])",
];

/// Their topics. Made with the first log of one topic: some us (guess).
static TEST_TOPICS: LazyLock<[B256; TEST_EVENTS.len()]> =
    LazyLock::new(|| TEST_EVENTS.map(keccak256));

/// What was said to the console.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsoleCalls {
    /// In order.
    pub lines: Vec<ConsoleLine>,
    /// Lines after these, which had no room.
    pub left_out: u64,
}

/// One thing that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsoleLine {
    /// The input of a call of the console, cut after [`CONSOLE_CALL_BYTES_MAX`].
    Call(Bytes),
    /// One of [`TEST_EVENTS`]: its topic and its data, cut so that both have the same arguments.
    Event(B256, Bytes),
}

impl ConsoleLine {
    /// Bytes that it holds.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let (Self::Call(data) | Self::Event(_, data)) = self;
        data.len() + CONSOLE_CALL_BYTES
    }
}

impl ConsoleCalls {
    /// Returns true if nothing was said.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.left_out == 0
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
            self.keep(&call.input.as_bytes(context), CONSOLE_CALL_BYTES_MAX, ConsoleLine::Call);
        }
    }

    /// Keeps the log if it is an event of ds-test.
    pub(crate) fn hear_log(&mut self, log: &Log) {
        if let [topic] = *log.topics()
            && TEST_TOPICS.contains(&topic)
        {
            let line = |data| ConsoleLine::Event(topic, data);
            self.keep(&log.data.data, CONSOLE_CALL_BYTES_MAX - SELECTOR_BYTES, line);
        }
    }

    fn keep(&mut self, data: &[u8], bytes_max: usize, line: impl FnOnce(Bytes) -> ConsoleLine) {
        let data = &data[..data.len().min(bytes_max)];
        let bytes = data.len() + CONSOLE_CALL_BYTES;
        // One that has no room is the last, so that those that are kept have no gaps.
        if self.heard.left_out > 0 || bytes > self.bytes_left {
            self.bytes_left = 0;
            self.heard.left_out += 1;
            return;
        }
        self.bytes_left -= bytes;
        self.heard.lines.push(line(Bytes::copy_from_slice(data)));
    }

    /// Takes what was heard since the last time; the room that it took is not given back.
    pub(crate) fn take(&mut self) -> ConsoleCalls {
        std::mem::take(&mut self.heard)
    }
}
