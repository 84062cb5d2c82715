//! The store on disk: RocksDB with few column families, a log that is synced per batch, and a
//! memory cap over caches and memtables.
//!
//! Our families share RocksDB's by how they are used; a key begins with the number of its family.
//! Each family of RocksDB costs three syncs when a datadir is made, a file per flush, and a block
//! of memtable (`arena_block_size`) however little is in it.

use std::{path::Path, sync::Arc};

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB,
    DBRecoveryMode, LogLevel, Options, ReadOptions, WriteBatch, WriteOptions,
};
use self_cell::self_cell;

use super::{Batch, Family, Op, Range, Row, Snapshot, Store, Sync};
use crate::{
    error::StoreError,
    limits::{
        CACHE_BYTES_MAX, CACHE_BYTES_MIN, CHAIN_LEVEL_BYTES, MEMTABLE_BLOOM_RATIO,
        MEMTABLES_DIVISOR, METADATA_BLOCK_BYTES, OPEN_FILES_MAX, SCAN_ROWS_MAX,
    },
};

/// Flushed files at which they are merged, and at which writes slow down and stop until they are:
/// RocksDB's defaults.
const FLUSHED_FILES: [&str; 3] = ["4", "20", "36"];
/// The same while a state file is loaded, which reads little. Their filters and indexes are held in
/// memory: some 60 KB each (guess).
const FLUSHED_FILES_BULK: [&str; 3] = ["16", "40", "60"];

type RocksSnapshot<'a> = rocksdb::Snapshot<'a>;

self_cell!(
    /// A snapshot with the database it reads, which it keeps open.
    struct Pinned {
        owner: Arc<DB>,
        #[covariant]
        dependent: RocksSnapshot,
    }
);

/// The store on disk.
pub struct Rocks {
    db: Arc<DB>,
}

impl Rocks {
    /// Opens or creates the database in `folder`; cache and memtables take up to `cache_bytes`,
    /// which is brought within the limits.
    ///
    /// # Errors
    ///
    /// [`StoreError::Rocks`] with what RocksDB says.
    pub fn open(folder: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        let (options, columns) = options(cache_bytes)?;
        let db = DB::open_cf_descriptors(&options, folder, columns)?;
        Ok(Self { db: Arc::new(db) })
    }

    /// Opens the database in `folder` to read it; a write is an error. The caller has seen that
    /// the folder is there: the binding would make it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Rocks`] with what RocksDB says.
    pub fn open_read_only(folder: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        let (options, columns) = options(cache_bytes)?;
        let db = DB::open_cf_descriptors_read_only(&options, folder, columns, false)?;
        Ok(Self { db: Arc::new(db) })
    }
}

/// Options of the database and of its column families, with `cache_bytes` between them.
fn options(
    cache_bytes: usize,
) -> Result<(Options, [ColumnFamilyDescriptor; Column::ALL.len()]), StoreError> {
    let cache_bytes = cache_bytes.clamp(CACHE_BYTES_MIN, CACHE_BYTES_MAX);
    let memtables_bytes = cache_bytes / MEMTABLES_DIVISOR;
    let cache = Cache::new_lru_cache(cache_bytes - memtables_bytes)?;
    let columns = Column::ALL.map(|column| {
        let options = column_options(column, &cache, memtables_bytes);
        ColumnFamilyDescriptor::new(column.name(), options)
    });
    Ok((database_options(memtables_bytes), columns))
}

/// A column family of RocksDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    /// Read by exact key, often one that is not there; written all over.
    Exact,
    /// Read by the first key above another; written all over.
    History,
    /// Grows at the end: keys begin with a height, or with the number of a run.
    Chain,
}

impl Column {
    const ALL: [Self; 3] = [Self::Exact, Self::History, Self::Chain];

    const fn of(family: Family) -> Self {
        match family {
            Family::Meta
            | Family::Accounts
            | Family::Storage
            | Family::Codes
            | Family::Heights
            | Family::Transactions
            | Family::Nodes => Self::Exact,
            Family::AccountHistory | Family::StorageHistory | Family::LogIndex => Self::History,
            Family::Changes
            | Family::Headers
            | Family::Bodies
            | Family::Receipts
            | Family::Diffs
            | Family::Sorting => Self::Chain,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            // Every database has this one.
            Self::Exact => rocksdb::DEFAULT_COLUMN_FAMILY_NAME,
            Self::History => "history",
            Self::Chain => "chain",
        }
    }
}

/// Options of the whole database.
fn database_options(memtables_bytes: usize) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // A torn end of the log is a batch that was never acknowledged; anything else is corruption.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_db_write_buffer_size(memtables_bytes);
    options.set_max_total_wal_size(2 * memtables_bytes as u64);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_background_jobs(2);
    // There is one writer, so inserts need no atomics.
    options.set_allow_concurrent_memtable_write(false);
    options.set_log_level(LogLevel::Fatal);
    options.set_keep_log_file_num(1);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

/// Options of one column family. All share one cache; its indexes and filters live in it, so they
/// count.
fn column_options(column: Column, cache: &Cache, memtables_bytes: usize) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    // In pieces: the cache has shards of 512 KiB, and would not hold those of a file of 64 MB, so
    // that each read would bring them in anew.
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(column == Column::Exact);
    table.set_metadata_block_size(METADATA_BLOCK_BYTES);
    table.set_format_version(5);
    let mut options = Options::default();
    options.set_write_buffer_size(memtables_bytes / 2);
    match column {
        Column::Exact => {
            table.set_bloom_filter(10.0, false);
            // Most keys that are looked up are not in the memtable.
            options.set_memtable_whole_key_filtering(true);
            options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_RATIO);
        }
        Column::History => {}
        Column::Chain => {
            // Each flush spans all its families, so it is merged with all of the first level: keep
            // that small. Below it, files hold new heights and just move.
            options.set_max_bytes_for_level_base(CHAIN_LEVEL_BYTES);
            options.set_target_file_size_base(CHAIN_LEVEL_BYTES / 8);
        }
    }
    options.set_block_based_table_factory(&table);
    options
}

fn handle(db: &DB, column: Column) -> &ColumnFamily {
    db.cf_handle(column.name()).expect("all column families are opened with the database")
}

/// The key of a row in its column family.
fn stored_key(family: Family, key: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(1 + key.len());
    stored.push(family as u8);
    stored.extend_from_slice(key);
    stored
}

impl Store for Rocks {
    fn snapshot(&self) -> Arc<dyn Snapshot> {
        Arc::new(Pinned::new(Arc::clone(&self.db), |db| db.snapshot()))
    }

    fn write(&self, batch: &Batch, sync: Sync) -> Result<(), StoreError> {
        let handles = Column::ALL.map(|column| handle(&self.db, column));
        let mut rows = WriteBatch::default();
        let mut key = Vec::new();
        // In the order of the keys each insert finds its place near the one before. The sort is
        // stable: of two changes of one row the later stays last.
        let mut ops: Vec<Op<'_>> = batch.ops().collect();
        ops.sort_by_key(|op| (op.family, op.key));
        for op in ops {
            let column = handles[Column::of(op.family) as usize];
            key.clear();
            key.push(op.family as u8);
            key.extend_from_slice(op.key);
            match op.value {
                Some(value) => rows.put_cf(column, &key, value),
                None => rows.delete_cf(column, &key),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync == Sync::Yes);
        Ok(self.db.write_opt(rows, &options)?)
    }

    /// Flushed files gather for longer before they are merged, since each merge writes much of what
    /// is there anew.
    fn set_bulk(&self, is_bulk: bool) -> Result<(), StoreError> {
        let [merge, slow, stop] = if is_bulk { FLUSHED_FILES_BULK } else { FLUSHED_FILES };
        let options = [
            ("level0_file_num_compaction_trigger", merge),
            ("level0_slowdown_writes_trigger", slow),
            ("level0_stop_writes_trigger", stop),
        ];
        Ok(self.db.set_options_cf(handle(&self.db, Column::Exact), &options)?)
    }
}

impl Snapshot for Pinned {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let column = handle(self.borrow_owner(), Column::of(family));
        Ok(self.borrow_dependent().get_cf(column, stored_key(family, key))?)
    }

    fn scan(&self, family: Family, range: Range<'_>) -> Result<Vec<Row>, StoreError> {
        let mut options = ReadOptions::default();
        if let Some(end) = end_of_prefix(&stored_key(family, range.prefix)) {
            options.set_iterate_upper_bound(end);
        }
        let column = handle(self.borrow_owner(), Column::of(family));
        let mut rows = Vec::new();
        let mut iterator = self.borrow_dependent().raw_iterator_cf_opt(column, options);
        iterator.seek(stored_key(family, range.from.max(range.prefix)));
        while rows.len() < range.rows_max.min(SCAN_ROWS_MAX) {
            let Some((key, value)) = iterator.item() else { break };
            rows.push((key[1..].to_vec(), value.to_vec()));
            iterator.next();
        }
        iterator.status()?;
        Ok(rows)
    }
}

/// The smallest key above all keys with `prefix`, if there is one.
fn end_of_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut end = prefix[..=kept].to_vec();
    end[kept] += 1;
    Some(end)
}
