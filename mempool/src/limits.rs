//! Every bound of this crate: value, unit, why.

use evenkeel_chain::limits::{BLOB_TX_SIZE_BYTES_MAX, TX_SIZE_BYTES_MAX};

/// Transactions in the pool: three blocks' worth of the fastest sender we know (20,000 a second).
pub const POOL_COUNT_MAX: usize = 65_536;
/// Encoded bytes in the pool; with the maps around them about twice that in memory (a guess).
pub const POOL_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Transactions of one sender: a dev chain has few senders, so one may fill half the pool.
pub const PER_SENDER_MAX: usize = POOL_COUNT_MAX / 2;
/// Percent by which a replacement must pay more (geth's `PriceBump`).
pub const PRICE_BUMP_PERCENT: u64 = 10;
/// Percent by which what replaces a blob transaction must pay more (geth's, of its blob pool).
pub const BLOB_PRICE_BUMP_PERCENT: u64 = 100;
/// Blob transactions of which one admission actor keeps the blobs until they are proven, one after
/// the other: 64 MiB at most.
pub const PROOFS_WAITING_MAX: usize = 64;
/// Bytes of blobs that are kept for who asks, mined ones too: 512 or more.
pub const BLOBS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Newest arrivals that filters and subscriptions may still read.
pub const FEED_MAX: usize = 16_384;
/// Dropped transactions of which the reason is remembered, for the one who asks what became of it.
pub const REASONS_MAX: usize = 1_024;
/// Changes of the pool after which what is published must follow, however busy the mailbox is.
pub const UNPUBLISHED_MAX: usize = 256;
/// Reductions of recovering one sender: 47 us (vm-state.md 3) at 25 ns each.
pub const RECOVER_REDUCTIONS: u32 = 1_900;
/// Reductions of placing or removing one transaction: 3 us at 25 ns each (a guess).
pub const PLACE_REDUCTIONS: u32 = 120;
/// Reductions of asking whether an account has transactions here: 100 ns at 25 ns each (a guess).
pub const LOOKUP_REDUCTIONS: u32 = 4;
/// Milliseconds after which a signal that the engine had no room for is sent again.
pub const RETRY_MS: u64 = 5;

const _: () = assert!(POOL_BYTES_MAX > TX_SIZE_BYTES_MAX + BLOB_TX_SIZE_BYTES_MAX);
const _: () = assert!(BLOBS_BYTES_MAX > BLOB_TX_SIZE_BYTES_MAX);
const _: () = assert!(PER_SENDER_MAX <= POOL_COUNT_MAX);
