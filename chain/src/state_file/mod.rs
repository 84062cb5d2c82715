//! State files in the format of anvil (`--dump-state`, `anvil_dumpState`), read and written piece
//! by piece, so that memory does not grow with the file.
//!
//! Pure. Source: foundry v1.7.1, `SerializableState` in `crates/anvil/src/eth/backend/db.rs`: an
//! object with the block environment, the accounts with their storage, the number of the head, the
//! blocks and the transactions with their receipts, each in any order. On disk it is plain JSON, in
//! an answer gzip of it; both are read wherever one is.

mod error;
mod json;
mod read;
mod write;

pub use error::{FormatError, ReadError};
pub use json::TxPlace;
pub use read::{Contents, FileAccount, FileBlock, FileEnv, FileReceipt, open, read};
pub use write::{
    Compressor, put_account, put_account_end, put_block, put_block_end, put_blocks, put_comma,
    put_end, put_receipt, put_slot, put_start, put_transactions, put_tx,
};

#[cfg(test)]
mod tests;
