//! What can go wrong in the state, by family: storage, opening, reading.

use std::path::PathBuf;

use alloy_primitives::{Address, B256};
use evenkeel_chain::Height;

use crate::limits::REWIND_VALUES_MAX;

/// A failure of the ordered store below.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// RocksDB or the disk under it failed.
    #[error("rocksdb: {0}")]
    Rocks(#[from] rocksdb::Error),
    /// A fault that a test injected.
    #[error("injected fault at write {write}")]
    Injected {
        /// Number of the write since the store was made.
        write: u64,
    },
}

impl StoreError {
    /// Returns true if another process has the store open. RocksDB says so in words only.
    pub(crate) fn is_locked(&self) -> bool {
        match self {
            Self::Rocks(error) => error.as_ref().contains("/LOCK: "),
            Self::Injected { .. } => false,
        }
    }
}

/// Why the state could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row that must be there is missing or does not decode.
    #[error("corrupt row in {family}: {reason} (key 0x{})", alloy_primitives::hex::encode(key))]
    CorruptRow {
        /// Name of the family.
        family: &'static str,
        /// The key of the row.
        key: Vec<u8>,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A trie node that its parent names is missing.
    #[error("trie node {expected} is missing at path 0x{}", alloy_primitives::hex::encode(path))]
    NodeMissing {
        /// Hash that the parent holds.
        expected: B256,
        /// Key of the row.
        path: Vec<u8>,
    },
    /// A trie node is not the one its parent names.
    #[error(
        "trie node at path 0x{} hashes to {found}, its parent says {expected}",
        alloy_primitives::hex::encode(path)
    )]
    NodeMismatch {
        /// Hash that the parent holds.
        expected: B256,
        /// Hash of the row.
        found: B256,
        /// Key of the row.
        path: Vec<u8>,
    },
    /// Code that an account names is missing.
    #[error("code {hash} is missing")]
    CodeMissing {
        /// Hash that the account holds.
        hash: B256,
    },
    /// An account and its storage disagree.
    #[error("account {address} has no leaf in the trie but storage root {root}")]
    OrphanStorage {
        /// The account.
        address: Address,
        /// Root of the storage without owner.
        root: B256,
    },
    /// A block was committed that is not the child of the head.
    #[error("block {found} ({parent} as parent) does not follow head {head} ({head_hash})")]
    OutOfOrder {
        /// Height of the block.
        found: Height,
        /// Its parent hash.
        parent: B256,
        /// Height of the head.
        head: Height,
        /// Hash of the head.
        head_hash: B256,
    },
    /// The root of the trie is not the one in the header.
    #[error("state root of block {height} is {found}, its header says {expected}")]
    RootMismatch {
        /// Height of the block.
        height: Height,
        /// Root computed.
        found: B256,
        /// Root in the header.
        expected: B256,
    },
    /// Too much changed since an earlier height for its trie to be found.
    #[error(
        "state of block {height} is too old: more than {REWIND_VALUES_MAX} values changed since"
    )]
    TooFar {
        /// The height asked for.
        height: Height,
    },
}

impl StateError {
    /// Returns true if the process must stop: the database may disagree with memory.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        match self {
            Self::Store(_)
            | Self::CorruptRow { .. }
            | Self::NodeMissing { .. }
            | Self::NodeMismatch { .. }
            | Self::CodeMissing { .. }
            | Self::OrphanStorage { .. }
            | Self::RootMismatch { .. } => true,
            // The caller's mistake; nothing was written.
            Self::OutOfOrder { .. } | Self::TooFar { .. } => false,
        }
    }
}

/// Why a database could not be opened. Nothing was written in any of these cases.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the datadir.
    #[error("datadir {} is locked: another evenkeel runs on it", path.display())]
    Locked {
        /// The datadir.
        path: PathBuf,
    },
    /// The folder holds something that is not ours.
    #[error("{} is not empty and not an evenkeel datadir", path.display())]
    NotDatadir {
        /// The folder.
        path: PathBuf,
    },
    /// The datadir belongs to another chain.
    #[error(
        "datadir {} holds chain {found}, not {expected}: wrong genesis or options",
        path.display()
    )]
    Foreign {
        /// The datadir.
        path: PathBuf,
        /// Hash of the spec in the datadir.
        found: B256,
        /// Hash of the spec asked for.
        expected: B256,
    },
    /// The datadir was written by a newer version.
    #[error("datadir {} has format {found}, this version knows up to {known}", path.display())]
    Newer {
        /// The datadir.
        path: PathBuf,
        /// Format number found.
        found: u32,
        /// Newest format number known.
        known: u32,
    },
    /// The datadir was written by an older version, whose rows this one does not know.
    #[error(
        "datadir {} has format {found}, this version needs {known}: start with a new datadir",
        path.display()
    )]
    Older {
        /// The datadir.
        path: PathBuf,
        /// Format number found.
        found: u32,
        /// Format number needed.
        known: u32,
    },
    /// The store is gone from a datadir that held a chain.
    #[error(
        "{} is missing or empty, but the datadir held a chain: restore it, or start with a new \
         datadir",
        path.display()
    )]
    StoreMissing {
        /// The folder of the store, or the file in it.
        path: PathBuf,
    },
    /// The file that says whose the datadir is says nothing.
    #[error(
        "{} is damaged: restore it, or delete it and have it made anew by a start with the \
         chain's own settings",
        path.display()
    )]
    Label {
        /// The file.
        path: PathBuf,
    },
    /// The file that keeps the chain's spec does not.
    #[error("{} is damaged: {reason}", path.display())]
    Spec {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file or the folder cannot be made, read or written.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The folder cannot be made, or nothing can be written to it.
    #[error(
        "cannot use {} as datadir (expected a folder that is there or can be made, and that this \
         user may write to): {source}",
        path.display()
    )]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The rows of the database do not fit together.
    #[error(transparent)]
    State(#[from] StateError),
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::State(error.into())
    }
}
