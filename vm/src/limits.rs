//! Limits of this crate: value, unit, why.

use std::time::Duration;

use evenkeel_runtime::Time;

/// Gas that one reduction stands for. 100,000 gas take 40 to 120 us (`examples/slice_cost.rs`), so
/// a quantum of 4,000 reductions is about 100 us of execution.
pub const GAS_PER_REDUCTION: u64 = 25;

/// Gas between two looks at the clock within a turn. A suspend and resume costs about 25 ns, so
/// this costs nothing, and code whose gas is cheaper than its time (hashing, cold reads) is still
/// cut after a fraction of a millisecond.
pub const SLICE_GAS: u64 = 20_000;

/// A turn ends after this much time even if reductions are left.
pub const TURN_TIME_MAX: Duration = Duration::from_micros(200);

/// How often a call that waits for the compute pool looks whether its caller is still there.
pub const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Precompile calls priced above this never run on a worker. At 100,000 gas some run for more than
/// a millisecond (a pairing 1.6 ms, BLAKE2F 1.0 ms); at this price the longest takes about half a
/// millisecond (`examples/uncut.rs`), and putting a call elsewhere costs some 50 us.
pub const HEAVY_GAS: u64 = 40_000;

/// Bytes of EVM memory that one execution may hold over all its frames. A copy of all of it within
/// the memory takes 1.3 ms (`examples/uncut.rs`).
pub const MEMORY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// `KECCAK256` over more bytes than this is cut: hashing 8 KiB takes about 16 us.
pub const KECCAK_INLINE_BYTES: usize = 8 * 1024;

/// Fuel (in gas) charged per byte of a cut `KECCAK256`: hashing runs at about 500 MB/s, which is
/// 2 ns a byte, and a gas is about 1 ns.
pub const KECCAK_FUEL_PER_BYTE: u64 = 2;

/// Bytes that a cut `KECCAK256` hashes at least before it looks at its fuel again.
pub const KECCAK_CHUNK_BYTES: usize = 4 * 1024;

/// `LOG`, `RETURN` and `REVERT` of more bytes than this are cut: copying 64 KiB to fresh memory
/// takes about 60 us.
pub const COPY_INLINE_BYTES: usize = 64 * 1024;

/// Fuel (in gas) charged per byte of a cut copy: fresh memory takes about 1 ns a byte.
pub const COPY_FUEL_PER_BYTE: u64 = 1;

/// Bytes that a cut copy copies at least before it looks at its fuel again.
pub const COPY_CHUNK_BYTES: usize = 16 * 1024;

/// Bytes of log data after which one execution may log no more (out of gas). A gas buys an eighth
/// of a byte, so this is 537 Mgas; calls need it, since they may have no gas cap.
pub const LOG_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Changes of a failed frame that are undone in one go; more are undone in slices.
pub const UNDO_INLINE: usize = 64;

/// Fuel (in gas) charged per change that is undone in slices: about 180 ns when the slots no longer
/// lie in the cache.
pub const UNDO_FUEL: u64 = 200;

/// Fuel (in gas) charged for a step of a search for storage that found none yet: up to 32 reads
/// (guess).
pub const SEARCH_FUEL: u64 = 50_000;

/// Rounds of `BLAKE2b` that run between two looks at the stop flag: about 100 us.
pub const BLAKE2_ROUNDS_PER_CHUNK: u32 = 8_000;

/// Trie nodes per slice of a root computation; a node is about 1 us of hashing and merging.
pub const TRIE_NODES_PER_SLICE: usize = 128;

/// Fuel (in gas) charged per trie node.
pub const TRIE_FUEL_PER_NODE: u64 = 1_000;

/// Gas charged as fuel for work per transaction outside the interpreter: validation, commit,
/// receipt. About 3 us.
pub const TX_FUEL: u64 = 4_000;

/// Fuel (in gas) charged per account whose changes are collected: about a microsecond.
pub const ACCOUNT_FUEL: u64 = 1_000;

/// Fuel (in gas) charged per authorization of EIP-7702 whose signer is recovered: about 50 us.
pub const AUTHORITY_FUEL: u64 = 50_000;

/// Blocks that one simulation makes, those that fill gaps among them; geth's value.
pub const SIMULATED_BLOCKS_MAX: usize = 256;

/// Calls in one simulated block; geth's value.
pub const SIMULATED_CALLS_PER_BLOCK_MAX: usize = 5_000;

/// Gas that all calls of a simulation may use unless the node says otherwise; geth's `RPCGasCap`.
/// It is in the answer: a call that names no gas is shown with what is left of this.
pub const SIMULATED_GAS_MAX: u64 = 50_000_000;
/// Calls of one simulation; geth's value.
pub const SIMULATED_CALLS_MAX: usize = 10_000;

/// Withdrawals in one simulated block: all are credited in one step (about 1 us each, a guess). A
/// block of Ethereum has 16.
pub const WITHDRAWALS_PER_BLOCK_MAX: usize = 256;

/// Bytes that the results of one simulation may hold. As JSON they are twice as long, which is what
/// an answer may have.
pub const SIMULATED_BYTES_MAX: usize = 64 * 1024 * 1024;

const _: () = assert!(SIMULATED_CALLS_PER_BLOCK_MAX <= SIMULATED_CALLS_MAX);

/// Bytes that the new blocks of one reorg may hold together, with what they change: they wait in
/// memory for the last one. As much as fits the writer's mailbox beside other work.
pub const REORG_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Slots that are overridden in one step: a read each, some 100 us when none of them is in a cache
/// (guess).
pub const OVERRIDE_SLOTS_PER_STEP: usize = 64;

/// Accounts and slots of a state file that are taken in between two looks at the turn: a read and
/// the hash of a code each, some 100 us (guess).
pub const LOADED_PER_STEP: usize = 16;

/// Accounts and slots of one change of the state, with code in the same unit (about 200 bytes): the
/// next block takes in a change within one turn.
pub const LOADED_PER_CHANGE: usize = 1_024;
const _: () = assert!(LOADED_PER_STEP < LOADED_PER_CHANGE);

/// Reductions charged for that (25 ns each).
pub const LOADED_REDUCTIONS: u32 = 2_000;

/// Fuel (in gas) charged for such a step (guess).
pub const OVERRIDE_FUEL: u64 = 20_000;

/// Bytes that the traces of one request may record, counted while they are recorded; of one
/// transaction where they are streamed. Beyond it the trace is refused. Rendered, hex makes twice
/// as much of call data.
pub const TRACE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of JSON that the traces of one request may have, or of one transaction where they are
/// streamed; beyond it they are refused. Less than an answer may have (160 MiB unless the operator
/// says otherwise).
pub const TRACE_TEXT_BYTES_MAX: usize = 128 * 1024 * 1024;
const _: () = assert!(TRACE_BYTES_MAX <= TRACE_TEXT_BYTES_MAX);

/// Bytes counted for a recorded call beside its data: the frame while it is recorded (guess).
pub const TRACE_CALL_BYTES: usize = 640;

/// Bytes counted for a recorded instruction beside stack and memory (guess).
pub const TRACE_STEP_BYTES: usize = 192;

/// Traces that recorded more bytes than this are rendered on the compute pool: up to it that takes
/// some 100 us on the worker (guess).
pub const RENDER_INLINE_BYTES: usize = 16 * 1024;

/// Bytes of a trace's text that are written in one step: hex digits take about 1 ns each (guess).
pub const TEXT_STEP_BYTES: usize = 16 * 1024;

/// Accounts that a transaction touched of which a trace writes in one step: a read each, some
/// 100 us when none of them is in a cache (guess).
pub const TOUCHED_PER_STEP: usize = 16;

/// Bytes of a piece of text that was rendered whole and is streamed (a guess: some writes of a
/// socket).
pub const TEXT_PIECE_BYTES: usize = 64 * 1024;

/// What an answer that is streamed may be ahead of its reader, in bytes.
pub const TEXT_AHEAD_BYTES: usize = 256 * 1024;
/// The same in pieces: a step writes one.
pub const TEXT_AHEAD_PIECES: usize = 64;
const _: () = assert!(TEXT_STEP_BYTES < TEXT_AHEAD_BYTES);

/// Bytes that a user's script may hold on its heap. To free as much takes 80 ms where it is in
/// small objects (measured), which may be on a worker.
pub const JS_HEAP_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of stack that a user's script may use: an eighth of what a thread of the pool has.
pub const JS_STACK_BYTES_MAX: usize = 256 * 1024;

/// Jumps and calls of one hook of a user's script, and places of arrays and strings that natives
/// go through for it: about two seconds (guess).
pub const JS_UNITS_PER_HOOK_MAX: u64 = 20_000_000;

/// Fuel (in gas) charged for a call of a hook (a guess: 2 us). A unit of work in it costs some
/// 50 ns (guess).
pub const JS_HOOK_FUEL: u64 = 2_000;
/// Fuel (in gas) charged for a unit of work in a hook; see [`JS_HOOK_FUEL`].
pub const JS_UNIT_FUEL: u64 = 50;

/// Bytes of what a script throws that an error shows.
pub const JS_THROWN_BYTES_MAX: usize = 1_024;

/// Fuel (in gas) that a transaction under a script uses on the compute pool before it comes back to
/// its worker: some milliseconds, beside which the way there and back is nothing.
pub const JS_JOB_FUEL: u64 = 5_000_000;

/// Bytes counted for what an instruction may change, beside stack and memory (guess).
pub const JS_STEP_BYTES: usize = 192;

/// Characters of a tracer's name that an error repeats.
pub const TRACER_NAME_CHARS_MAX: usize = 64;

/// Addresses and slots in one access list of `eth_createAccessList`: 2 Mgas of accesses pay for a
/// thousand.
pub const ACCESS_LIST_SLOTS_MAX: usize = 100_000;

/// Bytes of trie nodes in one witness; as JSON they are twice as long, which is what an answer may
/// have.
pub const WITNESS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of what is said to the console that are kept of one call or of one block, so that 4,096
/// lines at most: they wait in memory until they are printed.
pub const CONSOLE_BYTES_MAX: usize = 256 * 1024;
/// Bytes of the input of one call of the console, or of an event beside its topic with as much
/// beside; more is cut off.
pub const CONSOLE_CALL_BYTES_MAX: usize = 4 * 1024;
/// Bytes counted for one beside its input.
pub const CONSOLE_CALL_BYTES: usize = 64;

/// Bytes of the calls that are recorded of one transaction or call (`--print-traces`), with the
/// indentation that they will have: as text twice as many at most, for hex.
pub const TREE_BYTES_MAX: usize = 128 * 1024;
/// The same of a block: they wait in memory until they are printed.
pub const TREES_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a call's input, of its output or of a log that are recorded.
pub const TREE_DATA_BYTES_MAX: usize = 4 * 1024;
/// Bytes counted for a line beside its data.
pub const TREE_ITEM_BYTES: usize = 128;
/// Bytes counted for a slot that a call changed.
pub const TREE_SLOT_BYTES: usize = 160;
/// Bytes counted for each call around a line.
pub const TREE_INDENT_BYTES: usize = 6;
/// Slots recorded of one call: each change looks through them.
pub const TREE_SLOTS_PER_CALL_MAX: usize = 64;
const _: () = assert!(TREE_BYTES_MAX < TREES_BYTES_MAX);

/// Transactions of a block of which is noted why they failed and what they called: nobody reads
/// more at once.
pub const NOTED_TXS_MAX: usize = 128;
/// Bytes of why a transaction failed.
pub const FAILURE_BYTES_MAX: usize = 1_024;

/// Gas of a system call (EIP-4788, 2935, 7002, 7251).
pub const SYSTEM_CALL_GAS: u64 = 30_000_000;

/// Executed blocks that are neither finalized nor discarded; the oldest is dropped beyond it.
pub const CANDIDATE_BLOCKS_MAX: usize = 64;

/// Candidates that one block build tries at most, so that a pool of unusable transactions cannot
/// hold up a block.
pub const CANDIDATES_MAX: usize = 200_000;

const _: () = assert!(KECCAK_CHUNK_BYTES <= KECCAK_INLINE_BYTES);
const _: () = assert!(COPY_CHUNK_BYTES <= COPY_INLINE_BYTES);
const _: () = assert!(SLICE_GAS >= GAS_PER_REDUCTION);

/// Changes of state of a held call that wait for one of its watches, 100 bytes each. Each is due to
/// an order, and they are heard at once.
pub const WATCH_CHANGES_MAX: usize = 64;

/// Everything that limits one execution.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Gas of a call at most; None: no cap.
    pub gas_cap: Option<u64>,
    /// Bytes of EVM memory over all frames of the execution.
    pub memory_bytes_max: usize,
    /// When the call is given up.
    pub deadline: Option<Time>,
    /// The time that the deadline stands for, as the error text says it.
    pub timeout: Duration,
    /// Whether the client chose that time, so that nobody is to go before others for it.
    pub is_own_time: bool,
    /// Precompile calls priced above this go to the compute pool.
    pub heavy_gas: u64,
    /// Bytes of contract code; None: as the fork says.
    pub code_size_max: Option<usize>,
    /// Whether the gas limit of a transaction is capped (EIP-7825).
    pub tx_gas_cap: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            gas_cap: None,
            memory_bytes_max: MEMORY_BYTES_MAX,
            deadline: None,
            timeout: Duration::from_secs(5),
            is_own_time: false,
            heavy_gas: HEAVY_GAS,
            code_size_max: None,
            tx_gas_cap: false,
        }
    }
}

impl Limits {
    /// What Ethereum limits, and nothing else: for blocks that others made.
    #[must_use]
    pub fn consensus() -> Self {
        Self { memory_bytes_max: usize::MAX, tx_gas_cap: true, ..Self::default() }
    }
}

/// Divergences that a report of a canary keeps, about 100 bytes each; all are counted.
pub const DIVERGENCES_KEPT: usize = 256;

/// Reports that a canary keeps on the rules that it ran before: some 30 KiB each, and the reasons
/// in them.
pub const SHADOW_REPORTS_KEPT: usize = 8;
