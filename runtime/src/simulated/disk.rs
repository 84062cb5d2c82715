//! The content of a disk that may lose, tear and refuse. Pure; `node` has the handle to it.
//!
//! A write goes to the cache, where reads see it; a sync makes durable what a file's cache holds. A
//! crash empties the cache. Names of files are durable with their first durable byte.
//!
//! # Invariants
//!
//! - D1: what was synced is there after a crash, unless it was changed since.
//! - D2: what was not synced is there by whole sectors: each sector of each change alone, or
//!   nothing of it where disks do not tear.
//! - D3: after a sync that failed the cache does not write its content again (as in Linux): what
//!   was to be synced may be lost whatever is synced later. The node has to stop.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    entropy::Entropy,
    limits::{DISK_BYTES_MAX, DISK_SECTOR_BYTES, DISK_UNSYNCED_MAX},
};

/// What goes wrong with the disk of a node. "One in n" is seeded; zero is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskFaults {
    /// At a crash each sector that was not synced is lost or kept alone; else all are lost.
    pub is_torn: bool,
    /// One write in so many fails, after a part of it.
    pub write_error_in: u64,
    /// One sync in so many fails.
    pub sync_error_in: u64,
    /// One read in so many fails.
    pub read_error_in: u64,
}

impl DiskFaults {
    /// The disk is good, but a crash loses what was not synced.
    #[must_use]
    pub const fn none() -> Self {
        Self { is_torn: false, write_error_in: 0, sync_error_in: 0, read_error_in: 0 }
    }
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// The disk refused a write; a part of it may be there.
    #[error("the disk failed to write")]
    Write,
    /// The disk refused to make the file durable; what was written may be lost.
    #[error("the disk failed to sync")]
    Sync,
    /// The disk refused to read.
    #[error("the disk failed to read")]
    Read,
    /// There is no such file.
    #[error("there is no such file")]
    NotFound,
    /// It would hold more than it can.
    #[error("the disk is full")]
    Full,
    /// The node has crashed, and this handle with it.
    #[error("the node has crashed")]
    Crashed,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate { length: usize },
}

impl Change {
    const fn size(&self) -> usize {
        match self {
            Self::Write { bytes, .. } => bytes.len(),
            Self::Truncate { .. } => 0,
        }
    }

    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => write(content, *offset, bytes),
            Self::Truncate { length } => content.truncate(*length),
        }
    }
}

fn write(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

#[derive(Debug, Default)]
struct File {
    durable: Vec<u8>,
    /// What reads see: the durable content with all changes.
    cached: Vec<u8>,
    /// Changes that are not durable.
    changes: VecDeque<Change>,
    unsynced: usize,
}

impl File {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.cached);
        self.unsynced += change.size();
        self.changes.push_back(change);
        while self.unsynced > DISK_UNSYNCED_MAX {
            self.write_back();
        }
    }

    fn write_back(&mut self) {
        if let Some(oldest) = self.changes.pop_front() {
            self.unsynced -= oldest.size();
            oldest.apply(&mut self.durable);
        }
    }

    fn sync(&mut self) {
        while !self.changes.is_empty() {
            self.write_back();
        }
    }

    /// Gives up on the changes; a drawn part of them has got to the disk.
    fn lose(&mut self, entropy: &mut Entropy, is_torn: bool) {
        self.unsynced = 0;
        for change in self.changes.drain(..) {
            match change {
                _ if !is_torn => {}
                Change::Truncate { length } => {
                    if entropy.once_in(2) {
                        self.durable.truncate(length);
                    }
                }
                Change::Write { offset, bytes } => {
                    for (at, sector) in sectors(offset, &bytes) {
                        if entropy.once_in(2) {
                            write(&mut self.durable, at, sector);
                        }
                    }
                }
            }
        }
    }
}

/// The parts of a write that lie in one sector each.
fn sectors(offset: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done;
        let rest = bytes.get(done..).filter(|rest| !rest.is_empty())?;
        let length = (DISK_SECTOR_BYTES - at % DISK_SECTOR_BYTES).min(rest.len());
        done += length;
        Some((at, &rest[..length]))
    })
}

/// The disk of one node.
pub(super) struct Image {
    files: BTreeMap<String, File>,
    entropy: Entropy,
    faults: DiskFaults,
}

impl Image {
    pub(super) const fn new(entropy: Entropy, faults: DiskFaults) -> Self {
        Self { files: BTreeMap::new(), entropy, faults }
    }

    fn fails(&mut self, one_in: u64) -> bool {
        one_in > 0 && self.entropy.once_in(one_in)
    }

    /// O(bytes + files).
    pub(super) fn write(&mut self, file: &str, at: usize, bytes: &[u8]) -> Result<(), DiskError> {
        let end = at.checked_add(bytes.len()).ok_or(DiskError::Full)?;
        let others = self.files.iter().filter(|(name, _)| *name != file);
        let held: usize = others.map(|(_, file)| file.cached.len()).sum();
        if held + end.max(self.length(file)) > DISK_BYTES_MAX {
            return Err(DiskError::Full);
        }
        let is_failure = self.fails(self.faults.write_error_in);
        let written = if is_failure {
            let some = self.entropy.below(bytes.len() as u64 + 1);
            &bytes[..usize::try_from(some).expect("no more than the bytes")]
        } else {
            bytes
        };
        let change = Change::Write { offset: at, bytes: written.to_vec() };
        self.files.entry(file.to_owned()).or_default().change(change);
        if is_failure { Err(DiskError::Write) } else { Ok(()) }
    }

    pub(super) fn truncate(&mut self, file: &str, length: usize) -> Result<(), DiskError> {
        if self.fails(self.faults.write_error_in) {
            return Err(DiskError::Write);
        }
        let file = self.files.get_mut(file).ok_or(DiskError::NotFound)?;
        file.change(Change::Truncate { length });
        Ok(())
    }

    pub(super) fn read(&mut self, file: &str) -> Result<Vec<u8>, DiskError> {
        if self.fails(self.faults.read_error_in) {
            return Err(DiskError::Read);
        }
        Ok(self.files.get(file).ok_or(DiskError::NotFound)?.cached.clone())
    }

    pub(super) fn length(&self, file: &str) -> usize {
        self.files.get(file).map_or(0, |file| file.cached.len())
    }

    pub(super) fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        let is_failure = self.fails(self.faults.sync_error_in);
        let file = self.files.get_mut(name).ok_or(DiskError::NotFound)?;
        if is_failure {
            // D3.
            file.lose(&mut self.entropy, true);
            return Err(DiskError::Sync);
        }
        file.sync();
        Ok(())
    }

    /// Empties the cache.
    pub(super) fn crash(&mut self) {
        for file in self.files.values_mut() {
            file.lose(&mut self.entropy, self.faults.is_torn);
            file.cached.clone_from(&file.durable);
        }
        self.files.retain(|_, file| !file.durable.is_empty());
    }
}

#[cfg(test)]
mod tests;
