//! Every bound of this crate: value, unit, why.

use alloy_primitives::U256;

/// Bytes of one transaction in EIP-2718 form; geth's `txMaxSize` (4 slots of 32 KiB).
pub const TX_SIZE_BYTES_MAX: usize = 128 * 1024;
/// The same under the name the contracts between the crates use.
pub const TX_SIZE_MAX: usize = TX_SIZE_BYTES_MAX;
/// Blobs of one transaction, whatever its block may have (EIP-7594, `MAX_BLOBS_PER_TX`): what comes
/// with them stays below [`BLOB_TX_SIZE_BYTES_MAX`].
pub const TX_BLOBS_MAX: u64 = 6;
/// Bytes of one blob transaction with its blobs; geth's `txMaxSize` of its blob pool.
pub const BLOB_TX_SIZE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of RLP a block may have since Osaka: EIP-7934 (10 MiB less 2 MiB for the consensus layer).
pub const BLOCK_SIZE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes that are decoded as one block, whatever its fork. Before Osaka only gas bounds a block: at
/// 4 gas a zero byte this is one of 256 Mgas.
pub const BLOCK_DECODE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of `extra_data` on Ethereum chains (yellow paper, 4.4.4).
pub const EXTRA_DATA_BYTES_MAX: usize = 32;
/// Lowest difficulty of a mined block (yellow paper, 4.4.4: D0).
pub const DIFFICULTY_MIN: U256 = U256::from_limbs([131_072, 0, 0, 0]);
/// Ommers a block may name (yellow paper, 11.1).
pub const OMMERS_MAX: usize = 2;
/// Generations between a block and its ommer at most (yellow paper, 11.1).
pub const OMMER_DEPTH_MAX: u64 = 6;
/// Lowest gas limit of a block (geth `MinGasLimit`).
pub const GAS_LIMIT_MIN: u64 = 5_000;
/// Highest gas limit of a block (geth `MaxGasLimit`): it must fit a signed word.
pub const GAS_LIMIT_MAX: u64 = i64::MAX as u64;
/// Number of a first block: its children have 2^63 more, so no height overflows.
pub const GENESIS_NUMBER_MAX: u64 = i64::MAX as u64;
/// Second of a first block: as far as the clock of a dev node may be set, and far from where adding
/// to it could overflow.
pub const GENESIS_TIMESTAMP_MAX: u64 = 1 << 62;
/// A child's gas limit differs from its parent's by less than `parent / 1024`.
pub const GAS_LIMIT_BOUND_DIVISOR: u64 = 1_024;
/// Wei per gas when London starts (EIP-1559).
pub const BASE_FEE_INITIAL: u64 = 1_000_000_000;
/// Bytes of init code (EIP-3860), twice the code size bound of EIP-170.
pub const INIT_CODE_BYTES_MAX: usize = 2 * 24_576;
/// Gas one transaction may ask for since Osaka (EIP-7825).
pub const TX_GAS_LIMIT_MAX: u64 = 1 << 24;
/// Blobs a block may be configured to have; what a proposal's commitment list holds (EIP-4844).
pub const BLOBS_MAX: u64 = 4_096;
/// Dev accounts one node derives; each costs a point multiplication at start (a guess: 10 s).
pub const DEV_ACCOUNTS_MAX: usize = 100_000;
/// Changes of the chain id that are remembered (`anvil_setChainId`); a test makes a handful.
pub const CHAIN_IDS_MAX: usize = 1_024;
/// Characters of a value that are shown where two specs differ: more than a word, less than code.
pub const DIFFERENCE_CHARS_MAX: usize = 80;
/// Blocks one `Mine` command may ask for: its answer is their hashes, 32 MiB at this many. Who
/// orders more has made a typing error.
pub const MINE_BLOCKS_MAX: u64 = 1_000_000;
/// Blocks one `Reorg` may put in the place of others: all are in memory until they are written in
/// one batch, some 20 KB each without transactions (guess).
pub const REORG_BLOCKS_MAX: usize = 1_024;

const _: () = assert!(TX_SIZE_BYTES_MAX < BLOCK_SIZE_BYTES_MAX);
const _: () = assert!(BLOCK_SIZE_BYTES_MAX < BLOCK_DECODE_BYTES_MAX);
const _: () = assert!(INIT_CODE_BYTES_MAX < TX_SIZE_BYTES_MAX);
const _: () = assert!(GAS_LIMIT_MIN < GAS_LIMIT_MAX);

/// The mark of the first block, without cheats: every chain has it, and it is never used up.
/// Marks are numbered from zero by one; no chain lives to reach it.
pub const GENESIS_MARK: u64 = u64::MAX;
