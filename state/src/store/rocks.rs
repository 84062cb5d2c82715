//! The store on disk: RocksDB with one column family per table, a log that is synced per batch,
//! and a memory cap over caches and memtables.

use std::{path::Path, sync::Arc};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBRecoveryMode, LogLevel,
    Options, ReadOptions, WriteBatch, WriteOptions,
};
use self_cell::self_cell;

use super::{Batch, Family, Range, Row, Snapshot, Store, Sync};
use crate::{
    error::StoreError,
    limits::{CACHE_BYTES_MAX, CACHE_BYTES_MIN, MEMTABLES_DIVISOR, OPEN_FILES_MAX, SCAN_ROWS_MAX},
};

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
        let cache_bytes = cache_bytes.clamp(CACHE_BYTES_MIN, CACHE_BYTES_MAX);
        let memtables_bytes = cache_bytes / MEMTABLES_DIVISOR;
        let cache = Cache::new_lru_cache(cache_bytes - memtables_bytes)?;
        let families = Family::ALL.map(|family| {
            ColumnFamilyDescriptor::new(
                family.name(),
                family_options(family, &cache, memtables_bytes),
            )
        });
        // Every database has this family; it stays empty.
        let default = ColumnFamilyDescriptor::new(
            rocksdb::DEFAULT_COLUMN_FAMILY_NAME,
            family_options(Family::Meta, &cache, memtables_bytes),
        );
        let families = families.into_iter().chain([default]);
        let db = DB::open_cf_descriptors(&database_options(memtables_bytes), folder, families)?;
        Ok(Self { db: Arc::new(db) })
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

/// Options of one family. All share one cache; its indexes and filters live in it, so they count.
fn family_options(family: Family, cache: &Cache, memtables_bytes: usize) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_format_version(5);
    let mut options = Options::default();
    options.set_write_buffer_size(memtables_bytes / 2);
    match family {
        // Read by exact key, often one that is not there.
        Family::Accounts
        | Family::Storage
        | Family::Codes
        | Family::Heights
        | Family::Transactions
        | Family::Nodes => table.set_bloom_filter(10.0, false),
        Family::Meta
        | Family::AccountHistory
        | Family::StorageHistory
        | Family::Changes
        | Family::Headers
        | Family::Bodies
        | Family::Receipts
        | Family::Diffs => {}
    }
    options.set_block_based_table_factory(&table);
    options
}

fn handle(db: &DB, family: Family) -> &ColumnFamily {
    db.cf_handle(family.name()).expect("all families are opened with the database")
}

impl Store for Rocks {
    fn snapshot(&self) -> Arc<dyn Snapshot> {
        Arc::new(Pinned::new(Arc::clone(&self.db), |db| db.snapshot()))
    }

    fn write(&self, batch: &Batch, sync: Sync) -> Result<(), StoreError> {
        let handles = Family::ALL.map(|family| handle(&self.db, family));
        let mut rows = WriteBatch::default();
        for op in batch.ops() {
            let family = handles[op.family as usize];
            match op.value {
                Some(value) => rows.put_cf(family, op.key, value),
                None => rows.delete_cf(family, op.key),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync == Sync::Yes);
        Ok(self.db.write_opt(rows, &options)?)
    }
}

impl Snapshot for Pinned {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.borrow_dependent().get_cf(handle(self.borrow_owner(), family), key)?)
    }

    fn scan(&self, family: Family, range: Range<'_>) -> Result<Vec<Row>, StoreError> {
        let mut options = ReadOptions::default();
        if let Some(end) = end_of_prefix(range.prefix) {
            options.set_iterate_upper_bound(end);
        }
        let family = handle(self.borrow_owner(), family);
        let mut rows = Vec::new();
        let mut iterator = self.borrow_dependent().raw_iterator_cf_opt(family, options);
        iterator.seek(range.from.max(range.prefix));
        while rows.len() < range.rows_max.min(SCAN_ROWS_MAX) {
            let Some((key, value)) = iterator.item() else { break };
            rows.push((key.to_vec(), value.to_vec()));
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
