//! The ordered store: byte rows by family, atomic batches, cheap snapshots.
//!
//! Three implementors: [`Memory`] (default of a devnet without a datadir), [`Rocks`] (on disk),
//! [`Faulty`] (tests: a simulated disk with seeded faults).
//!
//! # Invariants
//!
//! - S1: a batch is applied wholly or not at all, also across a crash.
//! - S2: a snapshot never changes, whatever is written after it.
//! - S3: after `write(.., Sync::Yes)` returned, the batch and all before it survive a crash.

mod batch;
mod faulty;
mod memory;
mod rocks;

pub use batch::{Batch, Op};
pub use faulty::{Faults, Faulty};
pub use memory::Memory;
pub use rocks::Rocks;

use std::sync::Arc;

use crate::error::StoreError;

/// A table of the store. Its number is part of the format on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Family {
    /// Format, spec, head pointer, marks.
    Meta,
    /// Address -> account at the head.
    Accounts,
    /// Address ++ slot -> value at the head.
    Storage,
    /// Code hash -> code.
    Codes,
    /// Address ++ height -> account before the block.
    AccountHistory,
    /// Address ++ slot ++ height -> value before the block.
    StorageHistory,
    /// Height -> the keys the block changed.
    Changes,
    /// Height -> hash and header.
    Headers,
    /// Height -> number of transactions, ommers, withdrawals; height ++ last index -> transactions
    /// with senders.
    Bodies,
    /// Height ++ last index -> receipts.
    Receipts,
    /// Block hash -> height.
    Heights,
    /// Transaction hash -> height and index.
    Transactions,
    /// Path -> trie node.
    Nodes,
    /// Height ++ number -> cheats on top of that block.
    Diffs,
    /// What a log is found by ++ height -> nothing.
    LogIndex,
    /// Number of a run ++ number of a piece -> sorted values. Empty but while a state file is
    /// loaded.
    Sorting,
}

impl Family {
    /// All families, in the order of their numbers.
    pub const ALL: [Self; 16] = [
        Self::Meta,
        Self::Accounts,
        Self::Storage,
        Self::Codes,
        Self::AccountHistory,
        Self::StorageHistory,
        Self::Changes,
        Self::Headers,
        Self::Bodies,
        Self::Receipts,
        Self::Heights,
        Self::Transactions,
        Self::Nodes,
        Self::Diffs,
        Self::LogIndex,
        Self::Sorting,
    ];

    /// Name of the family, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Accounts => "accounts",
            Self::Storage => "storage",
            Self::Codes => "codes",
            Self::AccountHistory => "account_history",
            Self::StorageHistory => "storage_history",
            Self::Changes => "changes",
            Self::Headers => "headers",
            Self::Bodies => "bodies",
            Self::Receipts => "receipts",
            Self::Heights => "heights",
            Self::Transactions => "transactions",
            Self::Nodes => "nodes",
            Self::Diffs => "diffs",
            Self::LogIndex => "log_index",
            Self::Sorting => "sorting",
        }
    }
}

/// Whether a write returns before or after it is safe from a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// The batch may be lost by a crash of the machine, never torn.
    No,
    /// The batch is on the disk when the call returns.
    Yes,
}

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// The ordered store. One writer at a time; any number of snapshots.
pub trait Store: Send + std::marker::Sync + 'static {
    /// Pins the present content. Cheap; holds back compaction while it lives.
    fn snapshot(&self) -> Arc<dyn Snapshot>;

    /// Applies the batch (S1, S3).
    ///
    /// # Errors
    ///
    /// [`StoreError`]; whether the batch will be there after a restart is then unknown, so the
    /// caller must stop using the store.
    fn write(&self, batch: &Batch, sync: Sync) -> Result<(), StoreError>;

    /// Says whether millions of new rows come, all over. Changes speed alone.
    ///
    /// # Errors
    ///
    /// [`StoreError`], as for [`write`](Self::write).
    fn set_bulk(&self, _is_bulk: bool) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The content of the store at one instant (S2).
pub trait Snapshot: Send + std::marker::Sync + 'static {
    /// Reads one row.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the disk fails.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Rows with `prefix` and key >= `from`, in order: at most `rows_max`, and never more than
    /// [`SCAN_ROWS_MAX`](crate::limits::SCAN_ROWS_MAX).
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the disk fails.
    fn scan(&self, family: Family, range: Range<'_>) -> Result<Vec<Row>, StoreError>;
}

/// What to scan.
#[derive(Clone, Copy, Debug)]
pub struct Range<'a> {
    /// Only keys that start with this.
    pub prefix: &'a [u8],
    /// First key that may be returned; it need not have the prefix.
    pub from: &'a [u8],
    /// Most rows to return.
    pub rows_max: usize,
}

/// Calls `visit` for all rows with `prefix`, in bounded scans.
///
/// # Errors
///
/// Those of the store and of `visit`.
pub fn for_each<E: From<StoreError>>(
    snapshot: &dyn Snapshot,
    family: Family,
    prefix: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let rows_max = crate::limits::SCAN_ROWS_MAX;
    let mut from = prefix.to_vec();
    loop {
        let rows = snapshot.scan(family, Range { prefix, from: &from, rows_max })?;
        for (key, value) in &rows {
            visit(key, value)?;
        }
        match rows.into_iter().next_back() {
            // The smallest key after `last` is `last` and a zero byte.
            Some((last, _)) => {
                from = last;
                from.push(0);
            }
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
