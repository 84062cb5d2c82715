//! Every bound of this crate: value, unit, why.

use std::time::Duration;

use evenkeel_chain::limits::MINE_BLOCKS_MAX;

/// Commands that wait for a build to end. One build lasts well under a second, and an operator's
/// scripts wait for their answers; more than this is a loop gone wild.
pub const COMMANDS_WAITING_MAX: usize = 1_024;
/// The shortest time between the blocks of an interval: a build and its sync take some 10 ms each
/// on a slow disk (a guess), and half of the time is to stay free.
pub const INTERVAL_MIN: Duration = Duration::from_millis(50);
/// Blocks all `Mine`s together may still be owed: 64 MiB of hashes.
pub const MINE_BLOCKS_OWED_MAX: u64 = 2 * MINE_BLOCKS_MAX;
/// `Mine`s worked on at the same time, one block each in turn.
pub const MINE_JOBS_MAX: usize = 1_024;
/// Failed builds in a row after which a `Mine` is given up and answered.
pub const MINE_FAILURES_MAX: u32 = 5;
/// Blocks finalized and not yet durable while another is built (a guess: hides one slow sync).
pub const UNAPPLIED_MAX: usize = 8;
/// Wait after a first failed build; doubled by each further one.
pub const RETRY_DELAY_MIN: Duration = Duration::from_millis(50);
/// The longest wait between failed builds: an operator who repairs something sees it soon.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(5);
/// Latest second a clock may be set to: far from where adding to it could overflow.
pub const TIMESTAMP_MAX: u64 = 1 << 62;

/// Blocks that a tree of blocks holds, all branches together: a header each, and what the caller
/// keeps for it.
pub const TREE_BLOCKS_MAX: usize = 8_192;
/// Blocks below the head that a tree keeps at least: a branch may begin there. A day of Ethereum's
/// proof of work never went back by more than a few.
pub const TREE_DEPTH: u64 = 1_024;

/// Commands without an answer yet: waiting in the engine, being mined, or at the executor.
pub const TICKETS_MAX: usize = 4_096;
/// Items in the mailbox of the actor.
pub const MAILBOX_ITEMS_MAX: usize = 8_192;
/// Bytes in the mailbox of the actor; commands with code in them are the big ones.
pub const MAILBOX_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Commands are refused at the door while this many messages are queued, so that what the pool
/// says finds room. What executor and writer say comes beyond the bound: it answers orders of this
/// actor.
pub const COMMANDS_QUEUED_MAX: usize = MAILBOX_ITEMS_MAX / 2;
/// The same in bytes.
pub const COMMANDS_BYTES_MAX: usize = MAILBOX_BYTES_MAX / 2;
/// Wait before an effect is tried again that found the executor's mailbox full.
pub const RESEND_DELAY: Duration = Duration::from_millis(1);

const _: () = assert!(COMMANDS_WAITING_MAX + MINE_JOBS_MAX < TICKETS_MAX);
const _: () = assert!(TREE_DEPTH < TREE_BLOCKS_MAX as u64 / 2);
const _: () = assert!(TICKETS_MAX < MAILBOX_ITEMS_MAX);
