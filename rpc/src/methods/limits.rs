//! Limits of the methods: value, unit, why.
//!
//! Those a user may set are in [`RpcConfig`](crate::RpcConfig).

use std::time::Duration;

/// Filters alive at once. Each may hold [`SENT_LOGS_MAX`] logs, so this bounds them together.
pub(crate) const FILTERS_MAX: usize = 1_024;

/// A filter nobody polls for so long is dropped; geth's value.
pub(crate) const FILTER_IDLE: Duration = Duration::from_mins(5);

/// Delivered logs one filter or subscription remembers to take them back after a revert.
pub(crate) const SENT_LOGS_MAX: usize = 256;

/// Addresses in one log filter; geth's value.
pub(crate) const FILTER_ADDRESSES_MAX: usize = 1_000;

/// Alternatives at one topic position; geth's value.
pub(crate) const FILTER_SUBTOPICS_MAX: usize = 1_000;

/// Block hashes one answer of a block filter holds; the rest waits for the next poll.
pub(crate) const FILTER_BLOCKS_MAX: u64 = 10_000;

/// Reductions (25 ns) charged for decoding one chunk of a block, for one receipt looked through
/// and for one item shown, at least; a turn looks at its clock every 500 (guesses).
pub(crate) const CHUNK_REDUCTIONS: u32 = 2_000;
/// See [`CHUNK_REDUCTIONS`].
pub(crate) const RECEIPT_REDUCTIONS: u32 = 10;
/// See [`CHUNK_REDUCTIONS`].
pub(crate) const ITEM_REDUCTIONS: u32 = 100;

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

/// Reverts the common lineage remembers. More between two polls of one filter cost it repeats.
pub(crate) const REVERTS_MAX: usize = 64;

/// Blocks `evm_mine` and its sisters take in one call: what the engine can do before the deadline.
pub(crate) const MINE_BLOCKS_MAX: u64 = 10_000_000;

const _: () = assert!(FILTER_BLOCKS_MAX > FEE_HISTORY_BLOCKS_MAX);

/// Struct types in one EIP-712 message. Real ones have a handful.
pub(crate) const TYPES_MAX: usize = 128;

/// Fields of one EIP-712 struct with all structs in it written out, which hashing does.
pub(crate) const TYPES_FIELDS_MAX: usize = 10_000;

/// Array brackets after one EIP-712 type.
pub(crate) const TYPE_DIMENSIONS_MAX: usize = 8;

/// Bytes of one EIP-712 type name.
pub(crate) const TYPE_NAME_BYTES_MAX: usize = 256;
