//! Limits of the methods: value, unit, why.
//!
//! Those a user may set are in [`RpcConfig`](crate::RpcConfig).

use std::time::Duration;

/// Filters alive at once; a kilobyte each, or what their addresses and topics take.
pub(crate) const FILTERS_MAX: usize = 1_024;

/// A filter nobody polls for so long is dropped; geth's value.
pub(crate) const FILTER_IDLE: Duration = Duration::from_mins(5);

/// Addresses in one log filter; geth's value.
pub(crate) const FILTER_ADDRESSES_MAX: usize = 1_000;

/// Alternatives at one topic position; geth's value.
pub(crate) const FILTER_SUBTOPICS_MAX: usize = 1_000;

/// Block hashes one answer of a block filter holds; the rest waits for the next poll.
pub(crate) const FILTER_BLOCKS_MAX: u64 = 10_000;

/// Logs that one poll of a log filter brings unless the operator says otherwise, some 10 MB, and
/// those of one block at least; the rest waits for the next poll. See [`FILTER_BYTES_PART`].
pub(crate) const FILTER_LOGS_MAX: usize = 20_000;

/// What part of the bytes of an answer one poll of a log filter brings, those of one block at
/// least: 10 MiB unless the operator says otherwise, so that no poll takes much longer than others.
/// More than some KiB are streamed: what is refused as too large would be lost, as the filter has
/// moved on.
pub(crate) const FILTER_BYTES_PART: usize = 16;

/// Bytes of the JSON of a log beside its topics and data.
pub(crate) const LOG_BYTES: usize = 420;

/// Reductions (25 ns) charged for decoding one chunk of a block, for one receipt looked through
/// and for one item shown, at least; a turn looks at its clock every 500 (guesses).
pub(crate) const CHUNK_REDUCTIONS: u32 = 2_000;
/// See [`CHUNK_REDUCTIONS`]: one header or account read, which the database may not have cached.
pub(crate) const READ_REDUCTIONS: u32 = 100;
/// See [`CHUNK_REDUCTIONS`]: some pages of the index of logs.
pub(crate) const SEARCH_REDUCTIONS: u32 = 2_000;
/// See [`CHUNK_REDUCTIONS`].
pub(crate) const RECEIPT_REDUCTIONS: u32 = 10;
/// See [`CHUNK_REDUCTIONS`].
pub(crate) const ITEM_REDUCTIONS: u32 = 100;

/// Blocks that one `trace_filter` spans: each with transactions is executed again. reth has 100;
/// the deadline comes first where blocks are full.
pub(crate) const TRACE_FILTER_BLOCKS_MAX: u64 = 1_000;

/// Transactions in one page of Otterscan's lists; it asks for 25.
pub(crate) const OTS_PAGE_MAX: usize = 1_000;

/// Calls in one `debug_traceCallMany`, `trace_callMany` or `eth_callMany`, in all bundles.
pub(crate) const TRACE_CALLS_MAX: usize = 1_000;

/// Blocks one `eth_feeHistory` spans; geth's value.
pub(crate) const FEE_HISTORY_BLOCKS_MAX: u64 = 1_024;

/// Percentiles in one `eth_feeHistory`; geth's value.
pub(crate) const FEE_HISTORY_PERCENTILES_MAX: usize = 100;

/// Addresses impersonated at once: far above any test, 20 bytes each.
pub(crate) const IMPERSONATED_MAX: usize = 100_000;

/// Snapshots that `anvil_metadata` lists, 56 bytes each; the oldest are left out beyond it.
pub(crate) const SNAPSHOTS_LISTED_MAX: usize = 4_096;

/// Priority fee offered when a sender names none, in wei: 1 gwei, anvil's and geth's on a calm net.
pub(crate) const PRIORITY_FEE_DEFAULT: u128 = 1_000_000_000;

/// Groups of processes that `sched_queues` lists unless it is told how many.
pub(crate) const QUEUES_DEFAULT: usize = 50;

/// Groups of processes that `sched_queues` lists at most.
pub(crate) const QUEUES_MAX: usize = 1_000;
const _: () = assert!(QUEUES_DEFAULT <= QUEUES_MAX);

/// Executions of all clients that are held or whose result is kept. Each has a place while it runs,
/// so this is a quarter of all places.
pub(crate) const EXECS_MAX: usize = 64;

/// Executions of one client that are held or whose result is kept: a quarter of all.
pub(crate) const EXECS_PER_CLIENT_MAX: usize = 16;
const _: () = assert!(EXECS_PER_CLIENT_MAX <= EXECS_MAX / 4);
const _: () = assert!(EXECS_MAX <= crate::limits::EXECUTIONS_MAX / 4);

/// Bytes of the parameters of all held executions that run or are paused; four of the largest
/// requests, and more than any sane number of calls. A client's own have a quarter.
pub(crate) const EXEC_PARAMS_BYTES_MAX: usize = 64 << 20;

/// The longest time that an execution may be held, from its start.
pub(crate) const EXEC_TIME_MAX: Duration = Duration::from_mins(10);

/// Bytes that `debug_standardTraceBlockToFile` writes before it gives up: 100 million lines of 160
/// bytes. What was written is removed.
pub(crate) const TRACE_FILES_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;

/// Bytes of a trace that are written to a file at a time.
pub(crate) const TRACE_WRITE_BYTES: usize = 256 * 1024;

/// How long the result of a held execution is kept after its end.
pub(crate) const EXEC_KEPT: Duration = Duration::from_mins(1);

/// Bytes of a result or an error that is kept; a larger one is replaced by an error that says so. A
/// trace can have 128 MB, a revert twice the memory of the EVM.
pub(crate) const EXEC_RESULT_BYTES_MAX: usize = 16 << 20;

/// Bytes of all results and errors that are kept; a client's own have a quarter, which is one of
/// the largest. What comes beyond is replaced by an error that says so.
pub(crate) const EXEC_KEPT_BYTES_MAX: usize = 64 << 20;
const _: () = assert!(EXEC_RESULT_BYTES_MAX <= EXEC_KEPT_BYTES_MAX / 4);

/// Instructions of one `exec_step`: some 100 ms of work.
pub(crate) const EXEC_STEPS_MAX: usize = 1_000_000;

/// The least time between what is told of an execution and of its progress after that. Changes of
/// its state do not wait: each is due to an order of its client.
pub(crate) const EXEC_TOLD_EVERY: Duration = Duration::from_millis(100);

/// Clients whose weights are remembered while they execute nothing.
pub(crate) const WEIGHTS_MAX: usize = 1_024;

const _: () = assert!(FILTER_BLOCKS_MAX > FEE_HISTORY_BLOCKS_MAX);

/// Struct types in one EIP-712 message. Real ones have a handful.
pub(crate) const TYPES_MAX: usize = 128;

/// Fields of one EIP-712 struct with all structs in it written out, which hashing does.
pub(crate) const TYPES_FIELDS_MAX: usize = 10_000;

/// Array brackets after one EIP-712 type.
pub(crate) const TYPE_DIMENSIONS_MAX: usize = 8;

/// Bytes of one EIP-712 type name.
pub(crate) const TYPE_NAME_BYTES_MAX: usize = 256;

/// Divergences in one answer of `shadow_report`.
pub(crate) const SHADOW_NEWEST: usize = 64;

/// Gas limit that a block built by `testing_buildBlockV1` moves towards; geth's default.
pub(crate) const PAYLOAD_GAS_LIMIT_TARGET: u64 = 60_000_000;

/// Transactions that one `testing_buildBlockV1` is given at most: finding out who signed them takes
/// 50 us each, so half of the deadline.
pub(crate) const PAYLOAD_TXS_MAX: usize = 50_000;

/// Transactions that one `anvil_reorg` is given at most, for the same reason.
pub(crate) const REORG_TXS_MAX: usize = 50_000;

/// See [`CHUNK_REDUCTIONS`]: the signer of one transaction (50 us).
pub(crate) const RECOVER_REDUCTIONS: u32 = 2_000;

/// Slots of one `eth_getProof` or `eth_getStorageValues`; geth's value.
pub(crate) const SLOTS_MAX: usize = 1_024;

/// Slots in one answer of `debug_storageRangeAt`: 16 MB of JSON. Where the next ones begin is said.
pub(crate) const STORAGE_RANGE_MAX: usize = 65_536;

/// Accounts in one answer of `debug_accountRange`; geth's value.
pub(crate) const ACCOUNT_RANGE_MAX: usize = 256;

/// Slots of all accounts in one answer of `debug_accountRange`; whoever wants more leaves them out.
pub(crate) const ACCOUNT_RANGE_SLOTS_MAX: usize = 65_536;

/// Keys that the blocks of one `debug_getModifiedAccountsByNumber` may have changed, about 50 bytes
/// each; what `eth_getProof` sets back.
pub(crate) const MODIFIED_KEYS_MAX: usize = 1_000_000;

/// See [`CHUNK_REDUCTIONS`]: one step of a search for slots or accounts (up to 100 us, a guess).
pub(crate) const RANGE_REDUCTIONS: u32 = 400;

/// Nodes or values that are worked on between two looks at the clock (about 100 us, a guess).
pub(crate) const TRIE_STEP: usize = 32;

/// Bytes of a piece of a witness above which showing it takes as long as decoding a chunk: a node
/// has 532 at most, code 24 KiB and more.
pub(crate) const WITNESS_PIECE_BYTES: usize = 1_024;

/// Bytes of text that `anvil_dumpState` packs between two looks at the clock, some 200 us (guess).
pub(crate) const PACK_BYTES: usize = 8 << 10;
/// See [`CHUNK_REDUCTIONS`]: for that.
pub(crate) const PACK_REDUCTIONS: u32 = 8_000;

/// Digits of the argument of `anvil_loadState` that are copied in one piece; even, so that no byte
/// is divided.
pub(crate) const LOAD_PIECE_BYTES: usize = 64 << 10;
const _: () = assert!(LOAD_PIECE_BYTES.is_multiple_of(2));

/// Bytes of the text of a state file that `anvil_loadState` reads: a request of 15 MiB may pack a
/// thousand times as much. Some seconds on the compute pool.
pub(crate) const LOAD_TEXT_BYTES_MAX: u64 = 512 << 20;

/// Accounts and slots, with their code counted in the same unit of about 200 bytes, that
/// `anvil_loadState` takes: they are one order, and lie in memory as cheats until a block is made,
/// some 50 MB (guess).
pub(crate) const LOAD_WEIGHT_MAX: usize = 1 << 17;

/// Bytes of one string in that text, which is held as a whole, and as bytes: the code of a contract
/// of 4 MiB, 170 times what a chain allows.
pub(crate) const LOAD_STRING_BYTES_MAX: usize = 8 << 20;

/// How long a send waits for its receipt unless it says otherwise, as on anvil.
pub(crate) const SYNC_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest such wait: a connection is held for it.
pub(crate) const SYNC_TIMEOUT_MAX: Duration = Duration::from_mins(2);
