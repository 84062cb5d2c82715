//! `anvil_dumpState`, `anvil_loadState`: the state in anvil's format, gzip in hex.
//!
//! An answer is one string and has a bound; files of any size go by the flags of the command line.
//! What is loaded lies on the head as cheats until the next block, in memory: so it has one too.

use std::{
    io::{self, Read},
    sync::Arc,
};

use alloy_primitives::{Address, U256, hex};
use evenkeel_chain::{
    Cheat, Command, Loaded,
    state_file::{
        self, Compressor, Contents, FileAccount, FileBlock, FileEnv, FileReceipt, ReadError,
    },
};
use evenkeel_runtime::{Class, Spawn, Yielder, checkpoint, consume};
use serde_json::value::RawValue;

use super::limits::{
    LOAD_PIECE_BYTES, LOAD_STRING_BYTES_MAX, LOAD_TEXT_BYTES_MAX, LOAD_WEIGHT_MAX, PACK_BYTES,
    PACK_REDUCTIONS,
};
use crate::{
    api::{Api, Request},
    body::Owned,
    error::RpcError,
    limits::JOB_SLICE_BYTES,
    params::{self, Params, refuse},
    position::order,
    render::{Answered, answer},
};

/// `anvil_dumpState`: the head with its state and all blocks. The argument asks for earlier states
/// too; the format has them whole, block by block, and they are not written.
pub(super) async fn dump(api: &Api, request: Request<'_>) -> Answered {
    let with_history = Params::new(request.params, 1)?.optional::<bool>(0)?.unwrap_or(false);
    if with_history {
        tracing::warn!("anvil_dumpState: historical states are not written");
    }
    let _only_one = api.flags.take_state_file()?;
    // Twice as many digits as bytes, and the quotes.
    let bytes_max = api.config.response_bytes_max.saturating_sub(2) / 2;
    let mut dump = api.durable.get().dump(&api.spec);
    let packing = async move {
        let mut packer = Compressor::default();
        let (mut text, mut pieces, mut bytes) = (Vec::new(), Vec::new(), 0);
        loop {
            let is_more = dump.step(&mut text)?;
            for piece in text.chunks(PACK_BYTES) {
                packer.push(piece);
                consume(PACK_REDUCTIONS);
                checkpoint().await;
            }
            text.clear();
            let piece = packer.take();
            bytes += piece.len();
            if bytes > bytes_max {
                return Err(too_large(bytes_max));
            }
            pieces.push(piece);
            if !is_more {
                pieces.push(packer.finish());
                return Ok(pieces);
            }
        }
    };
    let spawn = Spawn::new("state dump", Class::Call).share(request.client.share.clone());
    let packed = Owned::new(api.system.spawn_future(spawn, packing)).await;
    let lost = |error: &dyn std::fmt::Display| RpcError::internal(format!("state dump: {error}"));
    let pieces: Vec<Vec<u8>> = packed.map_err(|error| lost(&error))??;
    let joining = api.system.compute_async(move |yielder| quoted_hex(pieces, yielder)).await;
    joining.map_err(|error| lost(&error))?
}

fn too_large(bytes_max: usize) -> RpcError {
    RpcError::new(
        -32_003,
        format!(
            "response too large: the state file is longer than {bytes_max} bytes; start the node \
             with --dump-state PATH to have it written to a file"
        ),
    )
}

fn quoted_hex(pieces: Vec<Vec<u8>>, yielder: &Yielder) -> Answered {
    let bytes: usize = pieces.iter().map(Vec::len).sum();
    let mut text = String::with_capacity(4 + 2 * bytes);
    text.push_str("\"0x");
    for piece in pieces {
        for slice in piece.chunks(JOB_SLICE_BYTES) {
            if yielder.should_stop() {
                return Err(RpcError::internal("state dump: cancelled"));
            }
            text.push_str(&hex::encode(slice));
        }
    }
    text.push('"');
    RawValue::from_string(text).map_err(|error| RpcError::internal(error.to_string()))
}

/// `anvil_loadState`: accounts and slots go over those that are there, as on anvil. Blocks are not
/// taken, and the head stays: this chain has a history that they have no place in.
pub(super) async fn load(api: &Api, request: Request<'_>) -> Answered {
    const EXPECTED: &str = "hexutil.Bytes";
    let params = Params::new(request.params, 1)?;
    let raw = params.raw(0);
    let raw = raw.ok_or_else(|| {
        RpcError::invalid_params("missing value for required argument 0: a state file in hex")
    })?;
    let text = params::text(raw, EXPECTED).map_err(|refusal| refuse(0, &refusal))?;
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let digits = digits.ok_or_else(|| refuse(0, "a state file in hex, after 0x"))?;
    let _only_one = api.flags.take_state_file()?;
    // Copied for the pool piece by piece: all at once is milliseconds.
    let mut pieces = Vec::with_capacity(digits.len() / LOAD_PIECE_BYTES + 1);
    for piece in digits.as_bytes().chunks(LOAD_PIECE_BYTES) {
        pieces.push(piece.to_vec());
        consume(PACK_REDUCTIONS);
        checkpoint().await;
    }
    let reading = api.system.compute_async(move |yielder| taken(pieces, yielder)).await;
    let (parts, left_out) =
        reading.map_err(|error| RpcError::internal(format!("state file: {error}")))??;
    if !left_out.is_empty() {
        let left_out = left_out.join(", ");
        tracing::warn!(left_out, "anvil_loadState takes accounts only, and the head stays");
    }
    // One order: it is carried out as a whole, also if the client leaves.
    order(api, Command::Cheat(Cheat::Load(parts))).await?;
    answer(&true)
}

/// Reads the whole file, on the compute pool: nothing of one that is broken is taken. Accounts and
/// slots, and the fields that are left out.
fn taken(
    pieces: Vec<Vec<u8>>,
    yielder: &Yielder,
) -> Result<(Arc<[Loaded]>, Vec<String>), RpcError> {
    let wrong = |error: &dyn std::fmt::Display| refuse(0, &format!("the state file: {error}"));
    let mut taken = Taken::default();
    let packed = Digits { pieces: pieces.into_iter(), piece: Vec::new(), next: 0 };
    let text = state_file::open(Stoppable { from: packed, yielder }).map_err(|e| wrong(&e))?;
    // What is packed may be endless, and one string.
    let mut text = ShortStrings::new(text).take(LOAD_TEXT_BYTES_MAX);
    let read = state_file::read(&mut text, &mut taken);
    if text.limit() == 0 {
        return Err(too_much(&format!("its text is longer than {LOAD_TEXT_BYTES_MAX} bytes")));
    }
    if text.get_ref().is_too_long() {
        return Err(too_much(&format!(
            "a string in it has more than {LOAD_STRING_BYTES_MAX} bytes"
        )));
    }
    match read {
        // Copied once more here, where it holds nobody up.
        Ok(()) => Ok((taken.parts.into(), taken.left_out)),
        Err(ReadError::Format(error)) => Err(wrong(&error)),
        Err(ReadError::Taken(error)) => Err(error),
    }
}

fn too_much(what: &str) -> RpcError {
    RpcError::limit(format!(
        "the state file is too large for a running node: {what}; start one with --load-state PATH"
    ))
}

/// What is taken of a file: accounts and slots.
#[derive(Default)]
struct Taken {
    parts: Vec<Loaded>,
    weight: usize,
    left_out: Vec<String>,
}

impl Taken {
    /// A code weighs as much as the values that take as long to read.
    fn add(&mut self, part: Loaded) -> Result<(), RpcError> {
        self.weight += part.size_bytes().div_ceil(size_of::<Loaded>());
        if self.weight > LOAD_WEIGHT_MAX {
            return Err(too_much(&format!("more than {LOAD_WEIGHT_MAX} accounts and slots")));
        }
        self.parts.push(part);
        Ok(())
    }
}

impl Contents for Taken {
    type Error = RpcError;

    fn takes_blocks(&self) -> bool {
        false
    }

    fn env(&mut self, _env: FileEnv) -> Result<(), RpcError> {
        Ok(())
    }

    fn slot(&mut self, address: Address, slot: U256, value: U256) -> Result<(), RpcError> {
        self.add(Loaded::Slot(address, slot, value))
    }

    fn account(&mut self, address: Address, account: FileAccount) -> Result<(), RpcError> {
        self.add(Loaded::Account(address, account))
    }

    fn best_block(&mut self, _number: u64) -> Result<(), RpcError> {
        Ok(())
    }

    fn block(&mut self, _block: FileBlock) -> Result<(), RpcError> {
        unreachable!("blocks are skipped")
    }

    fn receipt(&mut self, _receipt: FileReceipt) -> Result<(), RpcError> {
        unreachable!("blocks are skipped")
    }

    fn left_out(&mut self, field: &str) {
        if self.left_out.len() < 16 {
            self.left_out.push(field.chars().take(64).collect());
        }
    }
}

/// The bytes of hex digits that lie in pieces of even length, but for the last.
struct Digits {
    pieces: std::vec::IntoIter<Vec<u8>>,
    /// Decoded.
    piece: Vec<u8>,
    next: usize,
}

impl Read for Digits {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.next == self.piece.len() {
            let Some(digits) = self.pieces.next() else { return Ok(0) };
            let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
            self.piece = hex::decode(digits).map_err(invalid)?;
            self.next = 0;
        }
        let count = to.len().min(self.piece.len() - self.next);
        to[..count].copy_from_slice(&self.piece[self.next..self.next + count]);
        self.next += count;
        Ok(count)
    }
}

/// JSON that ends where a string in it gets too long: a reader holds a string as a whole.
struct ShortStrings<R> {
    from: R,
    /// Bytes of the string at hand so far; `None` outside of strings.
    string: Option<usize>,
    /// The byte before was a backslash that escapes the next.
    is_escaped: bool,
}

impl<R> ShortStrings<R> {
    const fn new(from: R) -> Self {
        Self { from, string: None, is_escaped: false }
    }

    fn is_too_long(&self) -> bool {
        self.string.is_some_and(|bytes| bytes > LOAD_STRING_BYTES_MAX)
    }
}

impl<R: Read> Read for ShortStrings<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(to)?;
        for &byte in &to[..count] {
            self.string = match (self.string, byte) {
                (None, b'"') => Some(0),
                (None, _) => None,
                (Some(_), b'"') if !self.is_escaped => None,
                (Some(bytes), _) => {
                    self.is_escaped = byte == b'\\' && !self.is_escaped;
                    Some(bytes + 1)
                }
            };
            if self.is_too_long() {
                return Err(io::Error::other("a string is too long"));
            }
        }
        Ok(count)
    }
}

/// Ends when nobody waits for the result any more.
struct Stoppable<'a, R> {
    from: R,
    yielder: &'a Yielder,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.yielder.should_stop() {
            return Err(io::Error::other("cancelled"));
        }
        self.from.read(to)
    }
}
