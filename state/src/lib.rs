//! Keeps accounts and their Merkle trie in an ordered store, with one writer.
//!
//! [`Database`] is the durable chain; the [`Writer`] actor owns it. Everybody else reads pinned
//! instants: [`Durable`] (RPC), [`Tip`] (the executor, some blocks ahead), [`View`] (one state).

mod base;
mod blocks;
mod cache;
mod change;
mod chunks;
mod contents;
mod database;
mod dropped;
mod dump;
mod error;
pub mod limits;
mod log_index;
mod reader;
mod reading;
mod recent;
mod rewind;
mod rows;
pub mod store;
#[cfg(test)]
mod testing;
mod tip;
mod trie;
mod view;
mod writer;

pub use blocks::SealedHeader;
pub use change::{Account, ChangeSet, StorageChange};
pub use chunks::PlacedReceipt;
pub use database::{Database, Options, RestoreError, RestoreReport, VerifyFault, VerifyReport};
pub use dropped::{Dropped, DroppedBlock, DroppedLog, Revert};
pub use dump::StateDump;
pub use error::{OpenError, StateError, StoreError};
pub use log_index::{LogKey, LogSearch, LogStep};
pub use reader::{ChainReader, Changed, MinedTx, TxLocation};
pub use reading::{BlockReading, ReceiptsReading};
pub use rewind::Rewind;
pub use tip::{Durable, ExecutedBlock, Tip};
pub use trie::{
    AccountProof, SlotProof, Trie, TrieNodes, TrieStep, TrieUpdate, TrieWitness, secure_root,
};
pub use view::{AccountSearch, SlotSearch, View, address_after};
pub use writer::{Committed, Synced, Writer, WriterMessage};
