//! Limits of the scheduler: value, unit, why.

use std::time::Duration;

/// Reductions of one turn. With [`REDUCTION_NS`] about 100 µs: short enough that a consensus actor
/// behind one running turn is not late, long enough that dispatch (about 100 ns) is noise.
pub const QUANTUM_REDUCTIONS: u32 = 4_000;

/// Nominal nanoseconds of one reduction; the simulated clock advances by exactly this.
pub const REDUCTION_NS: u64 = 25;

/// Nominal nanoseconds of one quantum.
pub const QUANTUM_NS: u64 = QUANTUM_REDUCTIONS as u64 * REDUCTION_NS;

/// A share's processes never get less than a quantum divided by this: below it dispatch would cost
/// more than the work.
pub const SHARE_SPLIT_MAX: u32 = 64;
const _: () = assert!(QUANTUM_REDUCTIONS / SHARE_SPLIT_MAX > 0);

/// The weight of a share that nobody has set; weights are counted in parts of it.
pub const SHARE_WEIGHT_ONE: u32 = 64;

/// The highest weight of a share: 64 times one. The lowest is 1, which is 1/64.
pub const SHARE_WEIGHT_MAX: u32 = 64 * SHARE_WEIGHT_ONE;
const _: () = {
    let weight = SHARE_WEIGHT_MAX as u64;
    assert!((QUANTUM_REDUCTIONS as u64).checked_mul(weight * weight).is_some());
};

/// One reduction of a spent process pays for so many of fresh ones of its class, so the spent keep
/// at least a quarter of the class while both wait.
pub const SPENT_PART: u64 = 3;

/// Reductions of fresh processes before a waiting spent one of the same class gets a turn: three
/// quanta. Counted in reductions and not in turns, so that ten thousand light processes that are
/// woken at once do not each pay for a third of a heavy one's quantum.
pub const FRESH_REDUCTIONS_MAX: u64 = SPENT_PART * QUANTUM_REDUCTIONS as u64;

/// Reductions of fresh processes with a deadline before one without gets a turn: a quantum. After
/// that they take turns of the same length, so a deadline costs the others half of the class at
/// most.
pub const DATED_REDUCTIONS_MAX: u64 = QUANTUM_REDUCTIONS as u64;

/// What must be left of a quantum for the process that a turn has woken to run right after it, in
/// what is left: below it the turn would be hardly more than its dispatch.
pub const CHAIN_REDUCTIONS_MIN: u32 = QUANTUM_REDUCTIONS / 8;

/// What a turn counts between fresh and spent processes at the least: about what drawing it costs
/// (a guess, 200 ns). It also bounds how many in a row sit their turn out.
pub const TURN_REDUCTIONS_MIN: u64 = 8;

/// A turn that looks longer than so many quanta is looked at again, by the time that its thread had
/// the processor: a system call of about a microsecond (1.2 measured, with a caller in Python),
/// which shorter turns are spared.
pub const TURN_DOUBTED_NS: u64 = 2 * QUANTUM_NS;

/// Quanta of debt that are remembered: a process whose one message takes for ever is late by 1.6 ms
/// of its class's time with the next, and not by ever.
pub const DEBT_QUANTA_MAX: u32 = 16;

/// Free blocks that a thread trades with the depot at a time: the depot's lock once in so many.
pub const MAGAZINE_BLOCKS: usize = 64;

/// Full magazines the depot keeps per size; what is beyond goes back to its chunk. Few, because one
/// block of a chunk keeps all of it: after a burst whose cells ended in the order they were born
/// some ten chunks of 2 MiB (a guess), in any order as many as were needed at once.
pub const MAGAZINES_MAX: usize = 32;

/// A turn longer than this is counted: it is ten quanta, and everything behind it felt it.
pub const TURN_SLOW_NS: u64 = 1_000_000;

/// Names of processes with turns longer than that which are remembered, in each of three lists of
/// at most 2 KiB: more than a node has.
pub const SLOW_NAMES_MAX: usize = 32;

/// How many of them are shown: the slowest.
pub const SLOW_NAMES_SHOWN: usize = 8;
const _: () = assert!(SLOW_NAMES_SHOWN <= SLOW_NAMES_MAX);

/// Half of the time for which they are seen, in nanoseconds: one to two of them, so that a person
/// who looks within half a minute sees what was slow.
pub const SLOW_HALF_NS: u64 = 30_000_000_000;

/// How often a line is logged of the dead letters of one receiver and reason: what comes between is
/// counted in the next one.
pub const DEAD_LINE_EVERY: Duration = Duration::from_secs(1);

/// Receivers and reasons of which that is remembered, so also the most lines a second.
pub const DEAD_LINES_MAX: usize = 64;

/// How often a worker compares its queue with a random other one. Stealing when idle alone leaves
/// 10 against 100 runnable actors as they are. What waits behind a turn longer than this is taken
/// over whole.
pub const BALANCE_NS: u64 = 10_000_000;

/// How often a worker that has work looks at the timers of the others: one of them may be in a turn
/// that does not end, and its timers are then late by so much more.
pub const TIMERS_LOOK_NS: u64 = 1_000_000;

/// Timers that one wheel fires between two turns, at most: what is made runnable costs some 50 ns
/// each (a guess), so together less than a quantum.
pub const TIMERS_AT_ONCE: usize = 256;

/// Worker threads; parked workers are a bit set in one word.
pub const WORKERS_MAX: usize = 64;

/// Looks for work before a worker parks, [`SEARCH_PAUSES`] pauses apart: together about 2 µs, less
/// than parking and being woken costs (both guesses).
pub const SEARCHES: u32 = 8;

/// Pauses of the processor between two looks for work, 10 to 50 ns each.
pub const SEARCH_PAUSES: u32 = 8;

/// Compute jobs that may be queued or running. Actors bound their own jobs; this stops a runaway
/// (about 16 MB of closures at 1 KB).
pub const COMPUTE_JOBS_MAX: usize = 16_384;

/// Compute jobs of one share that may wait for the one that runs. A client has one per call.
pub const SHARE_JOBS_MAX: usize = 1_024;

/// Blocking jobs that may wait for a thread.
pub const BLOCKING_JOBS_MAX: usize = 4_096;

/// Added to the niceness of compute threads, so that a worker that wakes gets a core at once. At 5
/// a worker beside busy compute threads waited up to 16 ms (p99, `benches/fair`, hostile mix).
pub const POOL_NICE: i32 = 15;

/// The longest a compute job sleeps between two slices to let urgent actors run. With slices of a
/// millisecond it keeps a third of a core on a machine whose urgent actors never rest.
pub const GIVE_WAY_MAX: Duration = Duration::from_millis(2);

/// How often it looks meanwhile: half a quantum.
pub const GIVE_WAY_STEP: Duration = Duration::from_micros(50);

/// Reductions a turn runs before it asks another worker to take over what it has made runnable.
/// A shorter turn hands its single follow-up to itself, which is cheaper than waking a thread.
pub const NUDGE_REDUCTIONS: u32 = QUANTUM_REDUCTIONS / 8;

/// The longest a simulated compute or blocking job takes, in nanoseconds, unless faults say other.
pub const SIMULATED_JOB_NS_MAX: u64 = 2_000_000;

/// Simulated messages that are under way from one node to another; one more is lost.
pub const LINK_MESSAGES_MAX: usize = 1_024;

/// What a simulated disk writes as a whole or not at all, in bytes: the smallest sector that disks
/// have promised.
pub const DISK_SECTOR_BYTES: usize = 512;

/// What the files of one simulated disk may hold, in bytes; a write beyond it fails. 64 MiB, so
/// that a simulation of tens of nodes fits in memory.
pub const DISK_BYTES_MAX: usize = 64 << 20;

/// Bytes of one file that are written but not synced, in a simulation; beyond it the oldest are
/// made durable, as a kernel does that runs out of dirty pages.
pub const DISK_UNSYNCED_MAX: usize = 4 << 20;

/// Children of one supervisor, which looks at each of them after a failure. More belong under
/// several supervisors.
pub const CHILDREN_MAX: u32 = 1_024;

/// Processes that may watch one other; about 100 bytes each. One more is refused.
pub const MONITORS_MAX: usize = 4_096;

/// Links of one process, which are looked through one by one. One more is refused.
pub const LINKS_MAX: usize = 256;

/// Names that are given at once: a registry for what is found by name, not for every session.
pub const NAMES_MAX: usize = 65_536;

/// Groups at once. One more is refused.
pub const GROUPS_MAX: usize = 4_096;

/// Members of one group: a broadcast sends to them in one turn. One more is refused.
pub const GROUP_MEMBERS_MAX: usize = 1_024;

/// Dead letters kept as a sample, for a person to read; all are counted.
pub const DEAD_LETTERS_KEPT: usize = 64;

/// Versions of one behaviour that are published at once; they are looked through one by one.
pub const VERSIONS_MAX: usize = 256;
