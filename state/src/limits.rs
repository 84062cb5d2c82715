//! Limits of the state, each with its unit and reason.

use evenkeel_chain::limits::REORG_BLOCKS_MAX;

/// Block cache and memtables of RocksDB together, in bytes. The node must stay flat in memory over
/// a million blocks, and the working set of a devnet is far smaller.
pub const CACHE_BYTES_MAX: usize = 96 << 20;
/// What a node takes of it unless told otherwise: with it and the limits below, memory stays flat
/// from block 10,000 to 100,000 (`benches/rss`).
pub const CACHE_BYTES_DEFAULT: usize = 24 << 20;
/// Least of the same: below this RocksDB would flush all the time.
pub const CACHE_BYTES_MIN: usize = 4 << 20;
const _: () = assert!(CACHE_BYTES_MIN <= CACHE_BYTES_DEFAULT);
const _: () = assert!(CACHE_BYTES_DEFAULT <= CACHE_BYTES_MAX);

/// Share of [`CACHE_BYTES_MAX`] that all memtables together may take: 1 / this. What is not yet
/// flushed is replayed from the log at start, so it also bounds the time to open (guess: 100 MB/s).
pub const MEMTABLES_DIVISOR: usize = 3;

/// Share of a memtable's bytes for a Bloom filter of its keys: at 200 bytes a row, 32 bits each.
pub const MEMTABLE_BLOOM_RATIO: f64 = 0.02;

/// Bytes of a piece of a file's index or filter, nearly: what a read brings in of them.
pub const METADATA_BLOCK_BYTES: usize = 4 << 10;

/// Files RocksDB holds open. Their indexes live in the block cache, so this bounds descriptors
/// only.
pub const OPEN_FILES_MAX: i32 = 512;

/// Bytes of the first level of the column family that grows at its end. Each flush is merged with
/// all of it, so it is a few flushes large and not RocksDB's 256 MB.
pub const CHAIN_LEVEL_BYTES: u64 = 32 << 20;

/// Blocks of one address or topic that a search for logs reads at once: 8 bytes each, for up to
/// 1,000 addresses and as many topics at each of four positions.
pub const LOG_INDEX_PAGE_ROWS: usize = 32;
const _: () = assert!(LOG_INDEX_PAGE_ROWS <= SCAN_ROWS_MAX);

/// Pages that one step of such a search reads: some 10 us each when they are in no cache (guess).
pub const LOG_INDEX_READS: usize = 8;

/// Rows one call of `Snapshot::scan` returns at most, so that no read is unbounded.
pub const SCAN_ROWS_MAX: usize = 1_024;

/// Slots that one step of a search for storage looks at, or addresses of one for accounts. Each is
/// up to four reads, some 10 us when none of them is in a cache (guess).
pub const SEARCH_SLOTS: usize = 8;

/// Rows that are read ahead while a state is listed: one seek for so many, some 30 us when they are
/// in a cache (guess).
pub const CONTENTS_ROWS: usize = 64;

/// Values of a layer of cheats that is still merged with the one below: some 200 us (guess).
pub const LAYER_MERGE_VALUES_MAX: usize = 1_024;

/// Bytes of text, nearly, that one step of a dump makes: it is packed in the same turn, at about
/// 20 ns a byte (guess).
pub const DUMP_STEP_BYTES: usize = 8 << 10;

/// Accounts, transactions or receipts that one step of a dump looks at: each is some reads.
pub const DUMP_STEP_ITEMS: usize = 64;

/// Values that are set back to find the trie of an earlier height; who asks for an older one is
/// refused. About 100 bytes each, so 100 MB at most (guess).
pub const REWIND_VALUES_MAX: usize = 1_000_000;

/// Values set back in one step: a read each, some 100 us when none of them is in a cache (guess).
pub const REWIND_VALUES_STEP: usize = 64;

/// Bytes of a row that holds several transactions or receipts of a block. Reading one of them reads
/// that row: about 70 transfers, a few microseconds, and as much as a slice should decode.
pub const CHUNK_BYTES: usize = 8 << 10;

/// Nodes of the in-memory trie above which clean subtrees are given back to the store. A node takes
/// about 300 bytes with its share of the branch above (guess), so this is about 10 MB: all of a
/// state of 20,000 accounts.
pub const TRIE_NODES_MAX: usize = 32_768;
/// What a trim leaves at most; the gap keeps trims rare.
pub const TRIE_NODES_KEPT: usize = TRIE_NODES_MAX / 2;
const _: () = assert!(TRIE_NODES_KEPT < TRIE_NODES_MAX);

/// Bytes of contract code in the shared cache: about 1,300 contracts of the largest size.
pub const CODE_CACHE_BYTES_MAX: usize = 32 << 20;
/// Bytes of recent blocks with their receipts in the shared cache: some blocks of 20,000 transfers,
/// which would be decoded anew for each receipt that is asked for.
pub const BLOCK_CACHE_BYTES_MAX: usize = 64 << 20;
/// Entries of one cache, so that small blocks fill it to a few MB and not to its bytes.
pub const CACHE_ENTRIES_MAX: usize = 2_048;
/// Bytes that a cached block, or the receipts of one, takes besides what is in it: its places in
/// the maps and its vectors (guess from a heap profile of one-transfer blocks).
pub const BLOCK_CACHE_ENTRY_BYTES: usize = 512;

/// Accounts, and as many slots, that recent blocks set and that are kept at hand; there may be
/// twice as many while a generation changes. About 100 bytes each: 4 MB in all (guess).
pub const RECENT_ITEMS_MAX: usize = 8_192;

/// Reverts that are remembered for readers who have not followed them; older ones are merged, and
/// their logs forgotten. Some 100 bytes each.
pub const DROPPED_REVERTS_MAX: usize = 1_024;
/// Dropped blocks with logs that are remembered with them, of all reverts together.
pub const DROPPED_BLOCKS_MAX: usize = 4_096;
/// Bytes of their logs: 70,000 transfers of a token. A reader to whom more was taken back is told
/// that logs are lost.
pub const DROPPED_BYTES_MAX: usize = 16 << 20;
/// What a log counts as in it beside its data, and a block as two of them.
pub const DROPPED_LOG_BYTES: usize = 224;
const _: () = assert!(REORG_BLOCKS_MAX < DROPPED_BLOCKS_MAX);

/// Blocks one batch may hold: one sync is shared by them, and a batch stays small against memory.
pub const BATCH_BLOCKS_MAX: usize = 64;
/// Trie nodes per slice when a revert or the genesis recomputes the root off the workers.
pub const TRIE_STEP_NODES: usize = 4_096;
/// Bytes of the genesis state, roughly, that are written in one batch: its rows and trie nodes take
/// about three times as much while it is made (guess).
pub const GENESIS_PART_BYTES: usize = 4 << 20;
/// What an account or a slot counts as in it.
pub const GENESIS_VALUE_BYTES: usize = 256;
/// Bytes of blocks or receipts of a state file, roughly, that are written in one batch.
pub const RESTORE_BATCH_BYTES: usize = 4 << 20;
/// Bytes of accounts and slots of a state file that are sorted at once, some 60,000 of them; twice
/// as many are held while they are written.
pub const SORT_RUN_BYTES: usize = 8 << 20;
/// Bytes of a row of sorted values, nearly. One row of each run is held while they are merged: a
/// thousandth of what is sorted.
pub const SORT_PIECE_BYTES: usize = 8 << 10;
const _: () = assert!(SORT_PIECE_BYTES < SORT_RUN_BYTES);

/// Faults `verify` lists before it gives up on the rest.
pub const VERIFY_FAULTS_MAX: usize = 100;
/// Jobs that wait in the writer beside the one in flight, up to 64 blocks each. Then it leaves
/// messages in its mailbox, and the executor pauses once that is full.
pub const WAITING_MAX: usize = 64;
