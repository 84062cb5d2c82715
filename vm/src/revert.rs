//! What a contract says when it reverts, in Solidity's encoding; why a transaction failed. Pure.

use std::{borrow::Cow, fmt};

use alloy_primitives::{U256, hex};
use revm::context::result::ExecutionResult;

use crate::{error::Halt, limits::FAILURE_BYTES_MAX, long::Fault};

/// Selector of Solidity's `Error(string)`.
const ERROR_SELECTOR: [u8; 4] = [0x08, 0xc3, 0x79, 0xa0];
/// Selector of Solidity's `Panic(uint256)`.
const PANIC_SELECTOR: [u8; 4] = [0x4e, 0x48, 0x7b, 0x71];

/// What Solidity's `revert("..")`, `require` or a failed check said.
pub(crate) enum Reason {
    Error(String),
    Panic(U256),
}

impl Reason {
    /// What `data` says, if that is one of them; of a text as much as `bytes_max`.
    pub(crate) fn of(data: &[u8], bytes_max: usize) -> Option<Self> {
        let (selector, arguments) = data.split_first_chunk::<4>()?;
        match *selector {
            ERROR_SELECTOR => {
                let offset = usize::try_from(word(arguments, 0)?).ok()?;
                let len = usize::try_from(word(arguments, offset)?).ok()?;
                let start = offset.checked_add(32)?;
                let text = arguments.get(start..start.checked_add(len)?)?;
                let text = &text[..text.len().min(bytes_max)];
                Some(Self::Error(String::from_utf8_lossy(text).into_owned()))
            }
            PANIC_SELECTOR => Some(Self::Panic(word(arguments, 0)?)),
            _ => None,
        }
    }

    /// In geth's words.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Error(text) => text.into(),
            Self::Panic(code) => panic_text(*code),
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<U256> {
    U256::try_from_be_slice(bytes.get(at..at.checked_add(32)?)?)
}

/// geth's texts for Solidity's panic codes.
fn panic_text(code: U256) -> Cow<'static, str> {
    let text = match u64::try_from(code) {
        Ok(0x00) => "generic panic",
        Ok(0x01) => "assert(false)",
        Ok(0x11) => "arithmetic underflow or overflow",
        Ok(0x12) => "division or modulo by zero",
        Ok(0x21) => "enum overflow",
        Ok(0x22) => "invalid encoded storage byte array accessed",
        Ok(0x31) => "out-of-bounds array access; popping on an empty array",
        Ok(0x32) => "out-of-bounds access of an array or bytesN",
        Ok(0x41) => "out of memory",
        Ok(0x51) => "uninitialized function",
        _ => {
            let bytes = code.to_be_bytes_trimmed_vec();
            return format!("unknown panic code: 0x{}", hex::encode(bytes)).into();
        }
    };
    text.into()
}

/// Why a transaction failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It reverted and returned nothing.
    Silent,
    /// What it said, or why it used up its gas; some [`FAILURE_BYTES_MAX`] bytes at most.
    Told(String),
}

impl Failure {
    /// The failure that `result` is, if it is one.
    pub(crate) fn of(result: &ExecutionResult, fault: Option<Fault>) -> Option<Self> {
        match result {
            ExecutionResult::Success { .. } => None,
            ExecutionResult::Revert { output, .. } if output.is_empty() => Some(Self::Silent),
            ExecutionResult::Revert { output, .. } => Some(Self::Told(said(output))),
            ExecutionResult::Halt { reason, .. } => {
                Some(Self::Told(Halt { reason: reason.clone(), fault }.to_string()))
            }
        }
    }
}

/// As anvil shows what a contract reverted with; errors of its own as they are.
pub(crate) fn said(output: &[u8]) -> String {
    match Reason::of(output, FAILURE_BYTES_MAX) {
        Some(Reason::Error(text)) => text,
        Some(Reason::Panic(code)) => format!("panic: {} ({code:#04x})", panic_text(code)),
        None => {
            // Two digits a byte.
            let shown = &output[..output.len().min(FAILURE_BYTES_MAX / 2)];
            let more = if shown.len() < output.len() { ".." } else { "" };
            match shown.split_first_chunk::<4>() {
                Some((selector, arguments)) => {
                    let selector = hex::encode_prefixed(selector);
                    format!("custom error {selector}: {}{more}", hex::encode(arguments))
                }
                None => hex::encode_prefixed(shown),
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => write!(f, "reverted"),
            Self::Told(reason) => write!(f, "reverted with: {reason}"),
        }
    }
}
