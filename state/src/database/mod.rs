//! The durable chain: one batch with one sync per commit, the head pointer in it.
//!
//! # Invariants
//!
//! - D1: what is on disk is the state after some block, wholly: a crash leaves the head of the last
//!   acknowledged commit or of the one in flight.
//! - D2: flat rows are the state after the head *without* cheats; those are kept beside it, by
//!   height and number, until a revert drops them.
//! - D3: every key is readable at every height from the genesis to the head.
//! - D4: after a failed write the database refuses all others.

mod datadir;
mod genesis;
mod load;
mod restore;
mod revert;
mod sort;
mod stage;
mod verify;

pub use restore::{RestoreError, RestoreReport};
pub use verify::{VerifyFault, VerifyReport};

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use alloy_primitives::B256;
use evenkeel_chain::{ChainSpec, Header, Height};

use self::{datadir::Datadir, stage::Stage};
use crate::{
    base::{Base, Restored, corrupt},
    cache::Caches,
    change::ChangeSet,
    dropped::Dropped,
    error::{OpenError, StateError, StoreError},
    limits::{CACHE_BYTES_DEFAULT, TRIE_NODES_MAX},
    reader::{ChainReader, read_diffs},
    recent::Recent,
    rows,
    store::{Batch, Family, Memory, Rocks, Snapshot, Store, Sync},
    tip::{Durable, ExecutedBlock, Tip},
    trie::Trie,
    view::View,
};

/// Where and how a database is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// The datadir; `None` keeps everything in memory.
    pub path: Option<PathBuf>,
    /// Bytes of RocksDB's caches and memtables together; capped at
    /// [`CACHE_BYTES_MAX`](crate::limits::CACHE_BYTES_MAX).
    pub cache_bytes: usize,
    /// Whether every commit waits for the disk. Without, a crash of the machine may lose the last
    /// blocks; a crash of the process loses nothing either way.
    pub fsync: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { path: None, cache_bytes: CACHE_BYTES_DEFAULT, fsync: true }
    }
}

/// The durable chain and the right to write it. One per store.
pub struct Database {
    store: Arc<dyn Store>,
    sync: Sync,
    /// Holds the lock of the datadir; none in memory.
    datadir: Option<Datadir>,
    base: Arc<Base>,
    header: Arc<Header>,
    hash: B256,
    trie: Trie,
    diffs: Vec<Arc<ChangeSet>>,
    generation: u64,
    dropped: Dropped,
    next_mark: u64,
    /// The write that failed, if one did (D4).
    failed: Option<StoreError>,
}

impl Database {
    /// Opens or creates the database; an empty one gets the genesis of `spec`.
    ///
    /// # Errors
    ///
    /// [`OpenError`]. A datadir that is locked, foreign or of another format is refused before
    /// anything is written.
    pub fn open(options: &Options, spec: &ChainSpec) -> Result<Self, OpenError> {
        let fill = |store: &dyn Store, sync| Ok(genesis::write(store, spec, sync)?);
        Self::open_or(options, spec, fill).map(|(database, _)| database)
    }

    /// Opens the database; an empty one is filled by `fill`, which says what it has done. Where it
    /// fails, nothing is left in the datadir.
    fn open_or<T, E: From<OpenError>>(
        options: &Options,
        spec: &ChainSpec,
        fill: impl FnOnce(&dyn Store, Sync) -> Result<T, E>,
    ) -> Result<(Self, Option<T>), E> {
        let sync = if options.fsync { Sync::Yes } else { Sync::No };
        let Some(path) = &options.path else {
            let store = Arc::new(Memory::new());
            let filled = fill(store.as_ref(), sync)?;
            return Ok((Self::load(store, sync).map_err(OpenError::from)?, Some(filled)));
        };
        let mut datadir = Datadir::open(path, spec)?;
        let store = Rocks::open(&datadir.store(), options.cache_bytes).map_err(|error| {
            if error.is_locked() {
                return OpenError::Locked { path: path.clone() };
            }
            OpenError::from(error)
        })?;
        let mut filled = None;
        if !holds(&store, spec, datadir.path())? {
            if datadir.is_complete() {
                return Err(OpenError::StoreMissing { path: datadir.store() }.into());
            }
            match fill(&store, sync) {
                Ok(done) => filled = Some(done),
                Err(error) => {
                    drop(store);
                    datadir.discard();
                    return Err(error);
                }
            }
        }
        let mut database = Self::load(Arc::new(store), sync).map_err(OpenError::from)?;
        datadir.complete()?;
        database.datadir = Some(datadir);
        Ok((database, filled))
    }

    /// Opens the database in the datadir `path` to read it. Nothing is made or written, also not
    /// by RocksDB; what would write to the database fails.
    ///
    /// # Errors
    ///
    /// [`OpenError`], which names the file that is missing or damaged.
    pub fn open_read_only(path: &Path, spec: &ChainSpec) -> Result<Self, OpenError> {
        let datadir = Datadir::open_read_only(path)?;
        let store = Rocks::open_read_only(&datadir.store(), CACHE_BYTES_DEFAULT)?;
        if !holds(&store, spec, path)? {
            return Err(OpenError::StoreMissing { path: datadir.store() });
        }
        let mut database = Self::load(Arc::new(store), Sync::No)?;
        database.datadir = Some(datadir);
        Ok(database)
    }

    /// Takes the database off the disk; the datadir itself stays. Nothing else may read it.
    ///
    /// # Errors
    ///
    /// [`OpenError::Io`] if a file cannot be removed.
    pub fn remove(self) -> Result<(), OpenError> {
        let Self { store, datadir, base, trie, .. } = self;
        // RocksDB closes when the last that reads from it is gone.
        drop((store, base, trie));
        datadir.map_or(Ok(()), Datadir::remove)
    }

    /// The spec of the chain that the datadir of `options` holds; `None` if it holds none yet.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if the folder cannot be read or is of another format.
    pub fn stored_spec(options: &Options) -> Result<Option<ChainSpec>, OpenError> {
        options.path.as_deref().map_or(Ok(None), datadir::stored_spec)
    }

    /// Opens the database in a store that is at hand: tests, and [`Database::open`].
    ///
    /// # Errors
    ///
    /// As [`Database::open`].
    pub fn open_store(
        store: Arc<dyn Store>,
        spec: &ChainSpec,
        sync: Sync,
    ) -> Result<Self, OpenError> {
        if !holds(store.as_ref(), spec, Path::new("memory"))? {
            genesis::write(store.as_ref(), spec, sync)?;
        }
        Ok(Self::load(store, sync)?)
    }

    /// Reads the head and what belongs to it.
    fn load(store: Arc<dyn Store>, sync: Sync) -> Result<Self, StateError> {
        let snapshot = store.snapshot();
        let (head, hash) = rows::decode_head(&meta(snapshot.as_ref(), rows::META_HEAD)?)
            .ok_or_else(|| not_readable(rows::META_HEAD))?;
        let genesis = Height::new(meta_u64(snapshot.as_ref(), rows::META_GENESIS)?);
        let generation = meta_u64(snapshot.as_ref(), rows::META_GENERATION)?;
        let next_mark = meta_u64(snapshot.as_ref(), rows::META_NEXT_MARK)?;
        let caches = Arc::new(Caches::default());
        let recent = Recent::default();
        let snapshot_of_base = Arc::clone(&snapshot);
        let restored = match snapshot.get(Family::Meta, rows::META_RESTORED)? {
            Some(row) => {
                let (height, root) =
                    rows::decode_head(&row).ok_or_else(|| not_readable(rows::META_RESTORED))?;
                Some(Restored { height, root })
            }
            None => None,
        };
        let base = Base { snapshot: snapshot_of_base, head, genesis, restored, caches, recent };
        let base = Arc::new(base);
        let header = ChainReader::new(&base).header(head)?;
        let header = header.filter(|header| header.hash == hash).ok_or_else(|| {
            corrupt(Family::Headers, &rows::height_key(head), "not the header of the head")
        })?;
        let header = Arc::new(header.header.clone());
        Ok(Self {
            store,
            sync,
            datadir: None,
            trie: Trie::stored(Arc::clone(&snapshot), base.state_root(&header)),
            diffs: read_diffs(snapshot.as_ref(), head)?,
            base,
            header,
            hash,
            generation,
            dropped: Dropped::default(),
            next_mark,
            failed: None,
        })
    }

    /// The durable chain now.
    #[must_use]
    pub fn durable(&self) -> Durable {
        Durable {
            header: Arc::clone(&self.header),
            hash: self.hash,
            view: self.view(),
            diffs: self.diffs.len() as u64,
            generation: self.generation,
            dropped: self.dropped.clone(),
            chain: ChainReader::new(&self.base),
            head_since: Duration::ZERO,
            trie: self.trie.clone(),
        }
    }

    /// What the next block is to be executed on.
    #[must_use]
    pub fn tip(&self) -> Tip {
        Tip {
            header: Arc::clone(&self.header),
            hash: self.hash,
            view: self.view(),
            trie: self.trie.clone(),
            diffs: self.diffs.clone(),
        }
    }

    /// The head with its cheats.
    fn view(&self) -> View {
        let head = View::at(&self.base, self.base.head);
        self.diffs.iter().fold(head, |view, changes| view.with(Arc::clone(changes)))
    }

    /// Writes blocks: one batch, one sync, the head pointer in it (D1). O(values changed).
    ///
    /// # Errors
    ///
    /// [`StateError::OutOfOrder`] if the first is not the child of the head, or one not that of
    /// the one before; nothing is written then. [`StateError::Store`] is fatal (D4).
    pub fn commit(&mut self, blocks: &[Arc<ExecutedBlock>]) -> Result<Durable, StateError> {
        let Some(last) = blocks.last() else { return Ok(self.durable()) };
        check_order(blocks, self.base.head, self.hash)?;
        let base = Arc::clone(&self.base);
        let mut stage = Stage::new(&base);
        for executed in blocks {
            stage.block(executed)?;
        }
        let head = rows::encode_head(last.block.height(), last.block.hash);
        stage.batch().put(Family::Meta, rows::META_HEAD, head);
        let (batch, recent) = stage.finish();
        self.write(&batch)?;
        self.keep(blocks);
        self.header = Arc::new(last.block.header.clone());
        self.hash = last.block.hash;
        self.diffs.clear();
        self.trie = last.trie.clone();
        self.move_to(last.block.height(), recent);
        Ok(self.durable())
    }

    /// What was just written is read soon.
    fn keep(&self, blocks: &[Arc<ExecutedBlock>]) {
        for executed in blocks {
            self.base.caches.keep_block(&executed.block);
            self.base.caches.keep_receipts(executed.block.hash, &executed.receipts);
        }
    }

    /// Writes a cheat on top of the head; survives a restart.
    ///
    /// # Errors
    ///
    /// [`StateError::Store`], which is fatal.
    pub fn commit_diff(&mut self, changes: &Arc<ChangeSet>) -> Result<Durable, StateError> {
        self.commit_diffs(std::slice::from_ref(changes))
    }

    /// Writes cheats on top of the head in this order, all or none; they survive a restart.
    ///
    /// # Errors
    ///
    /// [`StateError::Store`], which is fatal.
    pub fn commit_diffs(&mut self, changes: &[Arc<ChangeSet>]) -> Result<Durable, StateError> {
        let mut batch = Batch::default();
        for (number, one) in (self.diffs.len() as u64..).zip(changes) {
            let key = rows::diff_key(self.base.head, number);
            batch.put(Family::Diffs, key, rows::encode_changes(one));
        }
        self.write(&batch)?;
        self.diffs.extend_from_slice(changes);
        self.move_to(self.base.head, self.base.recent.clone());
        Ok(self.durable())
    }

    /// Remembers the head with its cheats (`evm_snapshot`); survives a restart. Numbers start at
    /// zero and are never used again.
    ///
    /// # Errors
    ///
    /// [`StateError::Store`], which is fatal.
    pub fn mark(&mut self) -> Result<u64, StateError> {
        let mark = self.next_mark;
        let place = rows::encode_pair(self.base.head.get(), self.diffs.len() as u64);
        let mut batch = Batch::default();
        batch.put(Family::Meta, rows::mark_key(mark), place);
        batch.put(Family::Meta, rows::META_NEXT_MARK, (mark + 1).to_be_bytes());
        self.write(&batch)?;
        self.next_mark += 1;
        self.move_to(self.base.head, self.base.recent.clone());
        Ok(mark)
    }

    /// D4: after a failure nothing more is written.
    fn write(&mut self, batch: &Batch) -> Result<(), StateError> {
        if let Some(error) = &self.failed {
            return Err(error.clone().into());
        }
        let written = self.store.write(batch, self.sync);
        self.failed = written.as_ref().err().cloned();
        Ok(written?)
    }

    /// Pins what was written, with `head` as the last block.
    fn move_to(&mut self, head: Height, recent: Recent) {
        let snapshot = self.store.snapshot();
        self.trie.rebase(&snapshot);
        self.trie.trim(self.trie.version(), TRIE_NODES_MAX);
        let Base { genesis, restored, .. } = *self.base;
        let caches = Arc::clone(&self.base.caches);
        self.base = Arc::new(Base { snapshot, head, genesis, restored, caches, recent });
    }
}

/// Checks that the first block is the child of the head, and each that of the one before.
fn check_order(
    blocks: &[Arc<ExecutedBlock>],
    mut head: Height,
    mut head_hash: B256,
) -> Result<(), StateError> {
    for executed in blocks {
        let block = &executed.block;
        let parent = block.header.parent_hash;
        if block.height() != head.next() || parent != head_hash {
            let found = block.height();
            return Err(StateError::OutOfOrder { found, parent, head, head_hash });
        }
        (head, head_hash) = (block.height(), block.hash);
    }
    Ok(())
}

/// Compares the chain in `store` with `spec`; returns false if there is none.
fn holds(store: &dyn Store, spec: &ChainSpec, path: &Path) -> Result<bool, OpenError> {
    let snapshot = store.snapshot();
    let Some(format) = snapshot.get(Family::Meta, rows::META_FORMAT)? else { return Ok(false) };
    let number = format.as_slice().try_into().map(u32::from_be_bytes);
    let number = number.map_err(|_| not_readable(rows::META_FORMAT))?;
    let found = meta(snapshot.as_ref(), rows::META_SPEC)?;
    let is_hash = found.len() == 32;
    let found = if is_hash { B256::from_slice(&found) } else { B256::ZERO };
    datadir::check(path, number, found, spec.hash())?;
    Ok(true)
}

fn meta(snapshot: &dyn Snapshot, key: &[u8]) -> Result<Vec<u8>, StateError> {
    let row = snapshot.get(Family::Meta, key)?;
    row.ok_or_else(|| corrupt(Family::Meta, key, "missing"))
}

fn meta_u64(snapshot: &dyn Snapshot, key: &[u8]) -> Result<u64, StateError> {
    rows::decode_u64(&meta(snapshot, key)?).ok_or_else(|| not_readable(key))
}

fn not_readable(key: &[u8]) -> StateError {
    corrupt(Family::Meta, key, "not readable")
}

#[cfg(test)]
mod tests;
